/* A file that becomes filled, or no longer: whatever stops it, no page says anything but what it said
 * before or is about to say. The harm: everything pending, or pages of zeros that mean the opposite
 * of what they were written for. */
#include "bitmap_file_rig.h"
#include "rep_io_memory.h"
#include "rep_volatile.h"

#define PAGES 70ULL /* more than a batch */
#define BITS (PAGES * REP_PAGE_BITS - 100)

/* A file of these bits on storage that can lose power, with the log mark. */
typedef struct disk {
    rep_io *memory;
    rep_io *io;
    rep_bitmap_key key;
    rep_bitmap_file *file;
} disk;

static void disk_open(disk *d)
{
    rep_volatile_fail_after(d->io, 0, 0);
    CHECK_OK(rep_bitmap_file_open_on(d->io, &d->key, &d->file));
}

static disk disk_of(const rep_bitmap *bits)
{
    disk d = {.key = rig_key(BITS)};
    CHECK_OK(rep_io_memory_new(rep_bitmap_file_bytes(&d.key), &d.memory));
    CHECK_OK(rep_volatile_new(d.memory, &d.io));
    CHECK_OK(rep_bitmap_file_create_on(d.io, &d.key, 1, &d.file));
    CHECK_OK(rep_bitmap_file_save(d.file, bits, NULL));
    CHECK_OK(rep_bitmap_file_mark_logged(d.file));
    return d;
}

static void disk_free(disk *d)
{
    rep_bitmap_file_free(d->file);
    rep_io_free(d->io);
    rep_io_free(d->memory);
}

/* As the row of a system that is open is saved: rep_link_save. */
static int save_by_parts(rep_bitmap_file *file, const rep_bitmap *bits)
{
    const rep_bitmap *bitmaps[] = {bits};
    rep_page_source source = {bitmaps, 1};
    uint64_t openings;
    int rc = rep_bitmap_file_begin(file, rep_bitmap_count(bits) > BITS / 2, &openings);
    if (!rc)
        rc = rep_bitmap_file_put(file, &source, 0, PAGES);
    if (!rc)
        rc = rep_bitmap_file_flush(file);
    return rc ? rc : rep_bitmap_file_done(file, openings);
}

static int save(disk *d, const rep_bitmap *bits, bool by_parts)
{
    return by_parts ? save_by_parts(d->file, bits) : rep_bitmap_file_save(d->file, bits, NULL);
}

/* Bits of one page. */
static bool same(const rep_bitmap *a, const rep_bitmap *b, uint64_t page)
{
    uint64_t ours[REP_PAGE_WORDS];
    uint64_t theirs[REP_PAGE_WORDS];
    uint64_t words = (BITS + REP_WORD_BITS - 1) / REP_WORD_BITS - page * REP_PAGE_WORDS;
    uint64_t count = words < REP_PAGE_WORDS ? words : REP_PAGE_WORDS;
    CHECK_OK(rep_bitmap_words_get(a, page * REP_PAGE_WORDS, count, ours));
    CHECK_OK(rep_bitmap_words_get(b, page * REP_PAGE_WORDS, count, theirs));
    return memcmp(ours, theirs, count * sizeof *ours) == 0;
}

/* Each page is the old one or the new one; one that is torn has all of its bits set. */
static void check_pages(disk *d, const rep_bitmap *before, const rep_bitmap *after, bool torn)
{
    rep_bitmap *found = rig_bitmap(BITS);
    rep_bitmap *all = rig_bitmap(BITS);
    rep_bitmap_fill(all);
    CHECK_EQ(rep_bitmap_file_marked_logged(d->file), 1);
    int rc = rep_bitmap_file_load(d->file, found);
    CHECK(!rc || (torn && rc == -EBADMSG));
    uint64_t full = 0;
    for (uint64_t page = 0; page < PAGES; page++) {
        if (same(found, before, page) || same(found, after, page))
            continue;
        CHECK(rc && same(found, all, page));
        full++;
    }
    CHECK(full <= 1);
    rep_bitmap_free(found);
    rep_bitmap_free(all);
}

/* Pages that are full, empty and mixed, each becoming each. */
static void make_bits(rep_bitmap *few, rep_bitmap *many)
{
    rep_bitmap_fill(many);
    for (uint64_t page = 0; page < PAGES; page++) {
        uint64_t bit = page * REP_PAGE_BITS;
        if (page % 5 == 1)
            CHECK_OK(rep_bitmap_clear(many, bit + page, 3));
        if (page % 7 == 3)
            CHECK_OK(rep_bitmap_clear(many, bit, REP_PAGE_BITS));
        if (page % 3 == 1)
            CHECK_OK(rep_bitmap_set(few, bit + 2 * page, 5));
        if (page % 11 == 2)
            CHECK_OK(rep_bitmap_set(few, bit, REP_PAGE_BITS));
    }
    CHECK_OK(rep_bitmap_set(few, BITS - 1, 1));
}

/* Whether it got to its end within so many operations. */
static bool lose(uint64_t operations, uint64_t seed, bool fills, bool by_parts)
{
    rep_bitmap *few = rig_bitmap(BITS);
    rep_bitmap *many = rig_bitmap(BITS);
    make_bits(few, many);
    const rep_bitmap *before = fills ? few : many;
    const rep_bitmap *after = fills ? many : few;
    disk d = disk_of(before);
    rep_volatile_fail_after(d.io, operations, -EIO);
    int rc = save(&d, after, by_parts);
    rep_bitmap_file_free(d.file);
    rep_volatile_fail_after(d.io, 0, 0);
    CHECK_OK(rep_volatile_lose(d.io, seed, (unsigned)(seed % 4), seed % 2 == 0));
    disk_open(&d);
    check_pages(&d, rc ? before : after, after, seed % 2 == 0);
    disk_free(&d);
    rep_bitmap_free(few);
    rep_bitmap_free(many);
    return !rc;
}

static void a_power_loss_leaves_each_page_as_it_was_or_as_it_is_to_be(void)
{
    for (unsigned way = 0; way < 4; way++)
        for (uint64_t seed = 0; seed < 4; seed++) {
            uint64_t k = 0;
            while (!lose(k, seed, way & 1, way & 2))
                k++;
            CHECK(k > 5);
        }
}

/* Whether it is turned within so many operations. */
static bool fail(uint64_t operations, uint64_t seed, bool fills, int *unsure)
{
    rep_bitmap *few = rig_bitmap(BITS);
    rep_bitmap *many = rig_bitmap(BITS);
    make_bits(few, many);
    const rep_bitmap *before = fills ? few : many;
    const rep_bitmap *after = fills ? many : few;
    const rep_bitmap *bitmaps[] = {after};
    rep_page_source source = {bitmaps, 1};
    disk d = disk_of(before);
    uint64_t openings;
    rep_volatile_fail_after(d.io, operations, -EIO);
    int rc = rep_bitmap_file_begin(d.file, fills, &openings);
    *unsure += d.file->unsure;
    rep_volatile_fail_after(d.io, 0, 0);
    CHECK_OK(rep_bitmap_file_put(d.file, &source, 0, PAGES));
    rep_bitmap_file_free(d.file);
    CHECK_OK(rep_volatile_lose(d.io, seed, (unsigned)(seed % 4), 0));
    disk_open(&d);
    check_pages(&d, before, after, false);
    CHECK_OK(save(&d, after, seed % 2));
    check_pages(&d, after, after, false);
    disk_free(&d);
    rep_bitmap_free(few);
    rep_bitmap_free(many);
    return !rc;
}

/* The header's write fails, and so does taking it back: nobody knows whether the file is filled. */
static void pages_put_while_the_header_is_not_known_mean_the_same_both_ways(void)
{
    for (unsigned way = 0; way < 2; way++)
        for (uint64_t seed = 1; seed < 3; seed++) {
            int unsure = 0;
            for (uint64_t k = 0; !fail(k, seed, way, &unsure);)
                k++;
            CHECK_EQ(unsure, 2); /* it isn't written; it is, and not durable */
        }
}

int main(void)
{
    RUN(a_power_loss_leaves_each_page_as_it_was_or_as_it_is_to_be);
    RUN(pages_put_while_the_header_is_not_known_mean_the_same_both_ways);
    return 0;
}
