/* A bitmap that is wrong loses writes silently: whatever is off must be noticed. */
#include <endian.h>

#include "bitmap_file_rig.h"
#include "rep_crc.h"

static int open_as(const rep_bitmap_key *key)
{
    rep_bitmap_file *file;
    int rc = rep_bitmap_file_open(check_path("key"), key, &file);
    if (!rc)
        rep_bitmap_file_free(file);
    return rc;
}

static void each_mismatch_of_the_key_has_its_errno(void)
{
    rep_bitmap *bits = rig_bitmap(100);
    rig_make(check_path("key"), bits);
    rep_bitmap_key key = rig_key(100);
    CHECK_OK(open_as(&key));
    key.system_id[15] ^= 1;
    CHECK_ERRNO(open_as(&key), EXDEV);
    key = rig_key(100);
    key.volume_id[0] ^= 1;
    CHECK_ERRNO(open_as(&key), EXDEV);
    key = rig_key(100);
    key.row_id[7] ^= 1;
    CHECK_ERRNO(open_as(&key), EXDEV);
    key = rig_key(101);
    CHECK_ERRNO(open_as(&key), EXDEV);
    key = rig_key(100);
    key.chunk_bytes *= 2;
    CHECK_ERRNO(open_as(&key), EXDEV);
    key = rig_key(100);
    key.data_id++;
    CHECK_ERRNO(open_as(&key), ESTALE);
    rep_bitmap_free(bits);
}

/* Writes a field of the header with a checksum that fits, as another version would have. */
static int open_with(uint64_t offset, uint32_t value)
{
    unsigned char header[REP_PAGE_BYTES];
    rep_bitmap *bits = rig_bitmap(100);
    rep_bitmap_key key = rig_key(100);
    rig_make(check_path("key"), bits);
    rep_bitmap_free(bits);
    rig_read(check_path("key"), header, sizeof header, 0);
    for (unsigned i = 0; i < 4; i++)
        header[offset + i] = (unsigned char)(value >> (8 * i));
    uint32_t crc = rep_crc32c(0, header, REP_PAGE_CRC_OFFSET);
    for (unsigned i = 0; i < 4; i++)
        header[REP_PAGE_CRC_OFFSET + i] = (unsigned char)(crc >> (8 * i));
    rig_write(check_path("key"), header, sizeof header, 0);
    return open_as(&key);
}

static void the_header_is_laid_out_as_documented(void)
{
    CHECK_OK(open_with(8, 3));     /* version */
    CHECK_OK(open_with(12, 1));    /* the open mark */
    CHECK_OK(open_with(88, 4096)); /* bytes of a page */
}

static void version_1_is_read_and_becomes_3(void)
{
    uint32_t version;
    rep_bitmap_file *file;
    rep_bitmap_key key = rig_key(100);
    CHECK_OK(open_with(8, 1));
    CHECK_OK(rep_bitmap_file_open(check_path("key"), &key, &file));
    CHECK_OK(rep_bitmap_file_mark_open(file));
    rep_bitmap_file_free(file);
    rig_read(check_path("key"), &version, sizeof version, 8);
    CHECK_EQ(le32toh(version), 3);
}

static void a_newer_version_is_told_from_damage(void)
{
    CHECK_ERRNO(open_with(8, 4), EPROTO);
    CHECK_ERRNO(open_with(8, 0), EBADMSG);
    CHECK_ERRNO(open_with(12, 8), EBADMSG);
    CHECK_ERRNO(open_with(88, 8192), EBADMSG);
    CHECK_ERRNO(open_with(0, 0), EBADMSG);
}

/* Flips bits of every byte in turn; no damage may go unnoticed or hide a bit that was set. */
static void check_every_byte(uint64_t bit_count, const uint64_t *set, size_t set_count)
{
    const unsigned char flips[] = {0x01, 0xff};
    const char *path = check_path("bytes");
    rep_bitmap *bits = rig_bitmap(bit_count);
    rep_bitmap *loaded = rig_bitmap(bit_count);
    uint64_t size = (1 + (bit_count + REP_PAGE_BITS - 1) / REP_PAGE_BITS) * REP_PAGE_BYTES;
    for (size_t i = 0; i < set_count; i++)
        CHECK_OK(rep_bitmap_set(bits, set[i], 1));
    rig_make(path, bits);
    for (uint64_t at = 0; at < size; at++) {
        for (size_t f = 0; f < sizeof flips; f++) {
            unsigned char good;
            uint64_t first;
            uint64_t count;
            rep_bitmap_reset(loaded);
            rig_read(path, &good, 1, at);
            unsigned char bad = good ^ flips[f];
            rig_write(path, &bad, 1, at);
            int rc = rig_load(path, loaded);
            if (!rc)
                CHECK_FAIL("byte %" PRIu64 " changed unnoticed, by 0x%02x", at, flips[f]);
            CHECK_ERRNO(rc, EBADMSG);
            if (at >= REP_PAGE_BYTES)
                CHECK_EQ(
                    rep_bitmap_next_run(bits, loaded, REP_BITMAP_DIFFERENCE, 0, 0, &first, &count),
                    0);
            rig_write(path, &good, 1, at);
        }
    }
    rep_bitmap_reset(loaded);
    CHECK_OK(rig_load(path, loaded));
    rig_check_equal(loaded, bits);
    rep_bitmap_free(loaded);
    rep_bitmap_free(bits);
}

static void every_changed_byte_is_noticed(void)
{
    check_every_byte(100, (const uint64_t[]){3, 64, 99}, 3);
}

static void every_changed_byte_is_noticed_in_holes_too(void)
{
    check_every_byte(REP_PAGE_BITS + 1, (const uint64_t[]){REP_PAGE_BITS}, 1);
}

static void a_file_cut_short_anywhere_is_refused(void)
{
    const uint64_t bit_count = 3 * REP_PAGE_BITS - 5;
    const char *path = check_path("short");
    rep_bitmap *bits = rig_bitmap(bit_count);
    rep_bitmap *loaded = rig_bitmap(bit_count);
    rep_bitmap_fill(bits);
    rig_make(path, bits);
    for (off_t size = 4 * REP_PAGE_BYTES - 1; size >= 0; size -= 511) {
        CHECK_OK(truncate(path, size));
        CHECK_ERRNO(rig_load(path, loaded), ENODATA);
    }
    CHECK_OK(truncate(path, 0));
    CHECK_ERRNO(rig_load(path, loaded), ENODATA);
    rep_bitmap_free(bits);
    rep_bitmap_free(loaded);
}

static void bytes_after_the_last_page_are_refused(void)
{
    rep_bitmap *bits = rig_bitmap(100);
    rig_make(check_path("long"), bits);
    CHECK_OK(truncate(check_path("long"), 2 * REP_PAGE_BYTES + 1));
    CHECK_ERRNO(rig_load(check_path("long"), bits), EBADMSG);
    rep_bitmap_free(bits);
}

static void a_torn_page_marks_all_it_covered_and_nothing_else(void)
{
    const uint64_t bit_count = 3 * REP_PAGE_BITS;
    unsigned char half[REP_PAGE_BYTES / 2];
    const char *path = check_path("torn");
    rep_bitmap *bits = rig_bitmap(bit_count);
    rep_bitmap *expected = rig_bitmap(bit_count);
    rep_bitmap *loaded = rig_bitmap(bit_count);
    CHECK_OK(rep_bitmap_set(bits, 10, 1));
    CHECK_OK(rep_bitmap_set(bits, REP_PAGE_BITS + 20, 1));
    CHECK_OK(rep_bitmap_set(bits, 2 * REP_PAGE_BITS + 30, 1));
    rig_make(path, bits);
    rig_read(path, half, sizeof half, (uint64_t)2 * REP_PAGE_BYTES);
    CHECK_OK(rep_bitmap_set(bits, REP_PAGE_BITS, REP_PAGE_BITS / 2));
    rig_make(path, bits);
    rig_write(path, half, sizeof half, (uint64_t)2 * REP_PAGE_BYTES);
    CHECK_ERRNO(rig_load(path, loaded), EBADMSG);
    CHECK_OK(rep_bitmap_set(expected, 10, 1));
    CHECK_OK(rep_bitmap_set(expected, REP_PAGE_BITS, REP_PAGE_BITS));
    CHECK_OK(rep_bitmap_set(expected, 2 * REP_PAGE_BITS + 30, 1));
    rig_check_equal(loaded, expected);
    rep_bitmap_free(bits);
    rep_bitmap_free(expected);
    rep_bitmap_free(loaded);
}

static void a_torn_last_page_marks_up_to_the_end(void)
{
    const uint64_t bit_count = REP_PAGE_BITS + 77;
    const char byte = 1;
    rep_bitmap *bits = rig_bitmap(bit_count);
    rep_bitmap *loaded = rig_bitmap(bit_count);
    rig_make(check_path("last"), bits);
    rig_write(check_path("last"), &byte, 1, (uint64_t)2 * REP_PAGE_BYTES + 4000);
    CHECK_ERRNO(rig_load(check_path("last"), loaded), EBADMSG);
    CHECK_OK(rep_bitmap_set(bits, REP_PAGE_BITS, 77));
    rig_check_equal(loaded, bits);
    rep_bitmap_free(bits);
    rep_bitmap_free(loaded);
}

static void misplaced_pages_mark_all_they_covered(void)
{
    unsigned char pages[2][REP_PAGE_BYTES];
    const char *path = check_path("misplaced");
    rep_bitmap *bits = rig_bitmap(3 * REP_PAGE_BITS);
    rep_bitmap *loaded = rig_bitmap(3 * REP_PAGE_BITS);
    for (uint64_t i = 0; i < 3; i++)
        CHECK_OK(rep_bitmap_set(bits, i * REP_PAGE_BITS + i, 1));
    rig_make(path, bits);
    rig_read(path, pages, sizeof pages, REP_PAGE_BYTES);
    rig_write(path, pages[1], REP_PAGE_BYTES, REP_PAGE_BYTES);
    rig_write(path, pages[0], REP_PAGE_BYTES, (uint64_t)2 * REP_PAGE_BYTES);
    CHECK_ERRNO(rig_load(path, loaded), EBADMSG);
    CHECK_OK(rep_bitmap_set(bits, 0, 2 * REP_PAGE_BITS));
    rig_check_equal(loaded, bits);
    rep_bitmap_free(bits);
    rep_bitmap_free(loaded);
}

static void bits_past_the_end_are_damage(void)
{
    unsigned char page[REP_PAGE_BYTES];
    rep_bitmap *wide = rig_bitmap(128);
    rep_bitmap *bits = rig_bitmap(100);
    rep_bitmap *loaded = rig_bitmap(100);
    CHECK_OK(rep_bitmap_set(wide, 101, 1));
    rig_make(check_path("past"), wide);
    rig_read(check_path("past"), page, sizeof page, REP_PAGE_BYTES);
    rig_make(check_path("past"), bits);
    rig_write(check_path("past"), page, sizeof page, REP_PAGE_BYTES);
    CHECK_ERRNO(rig_load(check_path("past"), loaded), EBADMSG);
    CHECK_EQ(rep_bitmap_count(loaded), 100);
    rep_bitmap_free(wide);
    rep_bitmap_free(bits);
    rep_bitmap_free(loaded);
}

int main(void)
{
    RUN(each_mismatch_of_the_key_has_its_errno);
    RUN(the_header_is_laid_out_as_documented);
    RUN(version_1_is_read_and_becomes_3);
    RUN(a_newer_version_is_told_from_damage);
    RUN(every_changed_byte_is_noticed);
    RUN(every_changed_byte_is_noticed_in_holes_too);
    RUN(a_file_cut_short_anywhere_is_refused);
    RUN(bytes_after_the_last_page_are_refused);
    RUN(a_torn_page_marks_all_it_covered_and_nothing_else);
    RUN(a_torn_last_page_marks_up_to_the_end);
    RUN(misplaced_pages_mark_all_they_covered);
    RUN(bits_past_the_end_are_damage);
    return 0;
}
