/* rep_bitmap_file: a file of any bytes is refused, or loads as its pages say; a damaged page counts
 * as all set, so no bit hides; and what was loaded is saved and comes back the same.
 *
 * The file is of three pages. Of the input, byte 0 says which checksums are put right before the
 * file is opened: damage that a checksum finds is found at once, and reaches nothing else. */
#include <endian.h>
#include <errno.h>
#include <unistd.h>

#include "bitmap_file_parts.h"
#include "fuzz.h"
#include "rep_crc.h"

#define BITS (2 * REP_PAGE_BITS + 1000)
#define PAGES 4U /* the header among them */
#define BYTES ((size_t)PAGES * REP_PAGE_BYTES)

static rep_bitmap_key fuzz_key(void)
{
    rep_bitmap_key key = {.bit_count = BITS, .chunk_bytes = 8192, .data_id = 42};
    memset(key.system_id, 1, sizeof key.system_id);
    memset(key.volume_id, 2, sizeof key.volume_id);
    memset(key.row_id, 3, sizeof key.row_id);
    return key;
}

/* A name of its own for each process, in the directory it was started in or TMPDIR. */
static const char *file_path(void)
{
    static char path[4096];
    const char *directory = getenv("TMPDIR");
    if (!path[0])
        snprintf(path, sizeof path, "%s/fuzz-bitmap-%d", directory ? directory : "/tmp",
                 (int)getpid());
    return path;
}

static void write_file(const uint8_t *bytes, size_t size)
{
    FILE *file = fopen(file_path(), "wb");
    FUZZ_CHECK(file && fwrite(bytes, 1, size, file) == size && !fclose(file));
}

static rep_bitmap *new_bitmap(void)
{
    rep_bitmap *bitmap;
    FUZZ_CHECK(!rep_bitmap_new(BITS, &bitmap));
    return bitmap;
}

static void check_same(const rep_bitmap *one, const rep_bitmap *other)
{
    uint64_t first;
    uint64_t count;
    FUZZ_CHECK(!rep_bitmap_next_run(one, other, REP_BITMAP_DIFFERENCE, 0, 0, &first, &count));
    FUZZ_CHECK(!rep_bitmap_next_run(other, one, REP_BITMAP_DIFFERENCE, 0, 0, &first, &count));
}

/* What a plain reader makes of page `index`: 1, 0 or, where the page is damaged, -1. */
static int bit_of(const uint8_t *bytes, uint64_t index, uint64_t bit)
{
    const uint8_t *page = bytes + (index + 1) * REP_PAGE_BYTES;
    uint32_t flags = bytes[12];
    uint64_t number;
    uint32_t tail[2];
    bool zero = true;
    for (size_t i = 0; i < REP_PAGE_BYTES; i++)
        zero = zero && !page[i];
    if (zero)
        return flags & 2 ? 1 : 0;
    memcpy(&number, page + 4080, sizeof number);
    memcpy(tail, page + 4088, sizeof tail);
    if (le64toh(number) != index || tail[0]
        || le32toh(tail[1]) != rep_crc32c(0, page, REP_PAGE_CRC_OFFSET))
        return -1;
    uint64_t left = BITS - index * REP_PAGE_BITS;
    for (uint64_t past = left; past < REP_PAGE_BITS; past++)
        if (page[past / 8] >> (past % 8) & 1)
            return -1;
    return page[bit / 8] >> (bit % 8) & 1;
}

static void check_loaded(const uint8_t *bytes, const rep_bitmap *loaded, int rc)
{
    bool damaged = false;
    for (uint64_t index = 0; index < PAGES - 1; index++) {
        uint64_t first = index * REP_PAGE_BITS;
        bool whole = bit_of(bytes, index, 0) < 0;
        damaged = damaged || whole;
        for (uint64_t bit = 0; bit < REP_PAGE_BITS && first + bit < BITS; bit += whole ? 97 : 31) {
            int expected = whole ? 1 : bit_of(bytes, index, bit);
            FUZZ_CHECK(rep_bitmap_test(loaded, first + bit) == expected);
        }
    }
    FUZZ_CHECK(rc == (damaged ? -EBADMSG : 0));
}

static void check_opened(rep_bitmap_file *file, const uint8_t *bytes)
{
    rep_bitmap_key key = fuzz_key();
    rep_bitmap *loaded = new_bitmap();
    rep_bitmap *again = new_bitmap();
    check_loaded(bytes, loaded, rep_bitmap_file_load(file, loaded));
    FUZZ_CHECK(!rep_bitmap_file_save(file, loaded, NULL));
    FUZZ_CHECK(!rep_bitmap_file_mark_closed(file, key.data_id));
    rep_bitmap_file_free(file);
    FUZZ_CHECK(!rep_bitmap_file_open(file_path(), &key, &file));
    FUZZ_CHECK(!rep_bitmap_file_marked_open(file));
    FUZZ_CHECK(!rep_bitmap_file_load(file, again));
    check_same(loaded, again);
    rep_bitmap_file_free(file);
    rep_bitmap_free(loaded);
    rep_bitmap_free(again);
}

static void put_checksum(uint8_t *page)
{
    uint32_t crc = htole32(rep_crc32c(0, page, REP_PAGE_CRC_OFFSET));
    memcpy(page + REP_PAGE_CRC_OFFSET, &crc, sizeof crc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t bytes[BYTES + 1];
    fuzz_input input = {.at = data, .left = size};
    rep_bitmap_key key = fuzz_key();
    rep_bitmap_file *file;
    uint8_t right = fuzz_u8(&input);
    size_t length = sizeof bytes;
    const uint8_t *rest = fuzz_bytes(&input, &length);
    if (length)
        memcpy(bytes, rest, length);
    for (unsigned i = 0; i < PAGES; i++)
        if (right >> i & 1 && (i + 1) * REP_PAGE_BYTES <= length)
            put_checksum(bytes + (size_t)i * REP_PAGE_BYTES);
    write_file(bytes, length);
    int rc = rep_bitmap_file_open(file_path(), &key, &file);
    if (rc) {
        FUZZ_CHECK(rc == -EBADMSG || rc == -EPROTO || rc == -ENODATA || rc == -EXDEV
                   || rc == -ESTALE);
    } else {
        FUZZ_CHECK(length == BYTES);
        check_opened(file, bytes);
    }
    unlink(file_path());
    return 0;
}

static void take_saved(fuzz_take *take, const char *name, const rep_bitmap *bits)
{
    static uint8_t seed[1 + BYTES];
    rep_bitmap_key key = fuzz_key();
    rep_bitmap_file *file;
    unlink(file_path());
    FUZZ_CHECK(!rep_bitmap_file_create(file_path(), &key, 0, &file));
    FUZZ_CHECK(!rep_bitmap_file_save(file, bits, NULL));
    rep_bitmap_file_free(file);
    FILE *saved = fopen(file_path(), "rb");
    FUZZ_CHECK(saved && fread(seed + 1, 1, BYTES, saved) == BYTES && !fclose(saved));
    unlink(file_path());
    seed[0] = 0xff;
    take(name, seed, sizeof seed);
}

void fuzz_seeds(fuzz_take *take)
{
    rep_bitmap *bits = new_bitmap();
    take_saved(take, "empty", bits);
    FUZZ_CHECK(!rep_bitmap_set(bits, 100, 1));
    FUZZ_CHECK(!rep_bitmap_set(bits, REP_PAGE_BITS - 5, 200));
    FUZZ_CHECK(!rep_bitmap_set(bits, BITS - 1, 1));
    take_saved(take, "some", bits);
    rep_bitmap_fill(bits);
    take_saved(take, "full", bits);
    FUZZ_CHECK(!rep_bitmap_clear(bits, 7, 1000));
    take_saved(take, "nearly", bits);
    rep_bitmap_free(bits);
}
