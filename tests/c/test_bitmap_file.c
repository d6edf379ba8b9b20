#include <sys/stat.h>

#include "bitmap_file_rig.h"

static void bits_come_back(void)
{
    const uint64_t sizes[] = {1, 64, 32639, 32640, 32641, 100000, 5000000};
    uint64_t random = 1;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        rep_bitmap *bits = rig_bitmap(sizes[i]);
        rep_bitmap *loaded = rig_bitmap(sizes[i]);
        const char *path = check_path("bits");
        for (int n = 0; n < 50; n++)
            CHECK_OK(rep_bitmap_set(bits, check_below(&random, sizes[i]), 1));
        CHECK_OK(rep_bitmap_set(bits, sizes[i] - 1, 1));
        rig_make(path, bits);
        CHECK_OK(rig_load(path, loaded));
        rig_check_equal(loaded, bits);
        rep_bitmap_fill(bits);
        rig_make(path, bits);
        CHECK_OK(rig_load(path, loaded));
        rig_check_equal(loaded, bits);
        rep_bitmap_free(bits);
        rep_bitmap_free(loaded);
    }
}

static void loading_adds_to_what_is_set(void)
{
    rep_bitmap *bits = rig_bitmap(1000);
    rep_bitmap *loaded = rig_bitmap(1000);
    CHECK_OK(rep_bitmap_set(bits, 500, 1));
    CHECK_OK(rep_bitmap_set(loaded, 10, 1));
    rig_make(check_path("adds"), bits);
    CHECK_OK(rig_load(check_path("adds"), loaded));
    CHECK_OK(rep_bitmap_set(bits, 10, 1));
    rig_check_equal(loaded, bits);
    rep_bitmap_free(bits);
    rep_bitmap_free(loaded);
}

static void saving_two_saves_their_union(void)
{
    rep_bitmap_file *file;
    rep_bitmap_key key = rig_key(200000);
    rep_bitmap *first = rig_bitmap(key.bit_count);
    rep_bitmap *second = rig_bitmap(key.bit_count);
    rep_bitmap *loaded = rig_bitmap(key.bit_count);
    CHECK_OK(rep_bitmap_set(first, 3, 5));
    CHECK_OK(rep_bitmap_set(second, 5, 5));
    CHECK_OK(rep_bitmap_set(second, 150000, 40000));
    CHECK_OK(rep_bitmap_file_create(check_path("union"), &key, 1, &file));
    CHECK_OK(rep_bitmap_file_save(file, first, second));
    CHECK_OK(rep_bitmap_file_load(file, loaded));
    CHECK_OK(rep_bitmap_or(first, second));
    rig_check_equal(loaded, first);
    rep_bitmap_file_free(file);
    rep_bitmap_free(first);
    rep_bitmap_free(second);
    rep_bitmap_free(loaded);
}

static void a_page_that_became_empty_becomes_a_hole(void)
{
    struct stat before;
    struct stat after;
    rep_bitmap_file *file;
    rep_bitmap_key key = rig_key(10 * REP_PAGE_BITS);
    rep_bitmap *bits = rig_bitmap(key.bit_count);
    rep_bitmap *loaded = rig_bitmap(key.bit_count);
    for (uint64_t page = 0; page < 10; page++)
        CHECK_OK(rep_bitmap_set(bits, page * REP_PAGE_BITS + page, 1));
    CHECK_OK(rep_bitmap_file_create(check_path("hole"), &key, 1, &file));
    CHECK_OK(rep_bitmap_file_save(file, bits, NULL));
    CHECK_OK(stat(check_path("hole"), &before));
    CHECK_OK(rep_bitmap_clear(bits, REP_PAGE_BITS, 7 * REP_PAGE_BITS));
    CHECK_OK(rep_bitmap_file_save(file, bits, NULL));
    CHECK_OK(stat(check_path("hole"), &after));
    CHECK_EQ(after.st_size, before.st_size);
    CHECK(after.st_blocks < before.st_blocks);
    CHECK_OK(rep_bitmap_file_load(file, loaded));
    rig_check_equal(loaded, bits);
    rep_bitmap_file_free(file);
    rep_bitmap_free(bits);
    rep_bitmap_free(loaded);
}

static void the_largest_of_a_pair_costs_only_what_is_set(void)
{
    struct stat status;
    rep_bitmap *bits = rig_bitmap(1ULL << 32);
    rep_bitmap *loaded = rig_bitmap(1ULL << 32);
    CHECK_OK(rep_bitmap_set(bits, 7, 1));
    CHECK_OK(rep_bitmap_set(bits, (1ULL << 32) - 1, 1));
    rig_make(check_path("large"), bits);
    CHECK_OK(stat(check_path("large"), &status));
    CHECK(status.st_blocks * 512 < 1 << 20);
    CHECK_OK(rig_load(check_path("large"), loaded));
    rig_check_equal(loaded, bits);
    rep_bitmap_free(bits);
    rep_bitmap_free(loaded);
}

static void all_bits_set_cost_only_what_is_cleared(void)
{
    struct stat status;
    rep_bitmap *bits = rig_bitmap((1ULL << 32) - 5);
    rep_bitmap *loaded = rig_bitmap((1ULL << 32) - 5);
    rep_bitmap_fill(bits);
    rig_make(check_path("filled"), bits);
    CHECK_OK(stat(check_path("filled"), &status));
    CHECK(status.st_blocks * 512 < 1 << 16);
    CHECK_OK(rig_load(check_path("filled"), loaded));
    CHECK_EQ(rep_bitmap_count(loaded), (1ULL << 32) - 5);
    CHECK_OK(rep_bitmap_clear(bits, 7, 1));
    CHECK_OK(rep_bitmap_clear(bits, 3 * REP_PAGE_BITS, 2 * REP_PAGE_BITS));
    CHECK_OK(rep_bitmap_clear(bits, (1ULL << 32) - 6, 1));
    rig_make(check_path("filled"), bits);
    CHECK_OK(stat(check_path("filled"), &status));
    CHECK(status.st_blocks * 512 < 1 << 20);
    rep_bitmap_reset(loaded);
    CHECK_OK(rig_load(check_path("filled"), loaded));
    rig_check_equal(loaded, bits);
    rep_bitmap_free(bits);
    rep_bitmap_free(loaded);
}

/* What a page of zeros means changes with the header: both ways, whatever the pages held before. */
static void a_file_is_filled_and_no_longer(void)
{
    rep_bitmap_file *file;
    rep_bitmap_key key = rig_key(9 * REP_PAGE_BITS + 100);
    rep_bitmap *bits = rig_bitmap(key.bit_count);
    rep_bitmap *loaded = rig_bitmap(key.bit_count);
    uint64_t random = 3;
    CHECK_OK(rep_bitmap_file_create(check_path("turns"), &key, 0, &file));
    for (int round = 0; round < 60; round++) {
        uint64_t first = check_below(&random, key.bit_count);
        uint64_t count = check_below(&random, key.bit_count - first) + 1;
        if (round % 2)
            CHECK_OK(rep_bitmap_clear(bits, first, count));
        else
            CHECK_OK(rep_bitmap_set(bits, first, count));
        CHECK_OK(rep_bitmap_file_save(file, bits, NULL));
        CHECK_EQ(rep_bitmap_file_marked_open(file), 0);
        rep_bitmap_file_free(file);
        CHECK_OK(rep_bitmap_file_open(check_path("turns"), &key, &file));
        rep_bitmap_reset(loaded);
        CHECK_OK(rep_bitmap_file_load(file, loaded));
        rig_check_equal(loaded, bits);
    }
    rep_bitmap_file_free(file);
    rep_bitmap_free(bits);
    rep_bitmap_free(loaded);
}

static void bitmaps_of_another_size_are_refused(void)
{
    rep_bitmap_file *file;
    rep_bitmap_key key = rig_key(100);
    rep_bitmap *bits = rig_bitmap(100);
    rep_bitmap *other = rig_bitmap(101);
    CHECK_OK(rep_bitmap_file_create(check_path("size"), &key, 0, &file));
    CHECK_ERRNO(rep_bitmap_file_save(file, other, NULL), EINVAL);
    CHECK_ERRNO(rep_bitmap_file_save(file, bits, other), EINVAL);
    CHECK_ERRNO(rep_bitmap_file_load(file, other), EINVAL);
    rep_bitmap_file_free(file);
    rep_bitmap_free(bits);
    rep_bitmap_free(other);
}

static void the_open_mark_stays_until_it_is_closed_with_its_data_identifier(void)
{
    rep_bitmap_file *file;
    rep_bitmap_key key = rig_key(100);
    CHECK_OK(rep_bitmap_file_create(check_path("mark"), &key, 1, &file));
    CHECK_EQ(rep_bitmap_file_marked_open(file), 1);
    rep_bitmap_file_free(file);
    CHECK_OK(rep_bitmap_file_open(check_path("mark"), &key, &file));
    CHECK_EQ(rep_bitmap_file_marked_open(file), 1);
    CHECK_OK(rep_bitmap_file_mark_closed(file, 43));
    CHECK_EQ(rep_bitmap_file_marked_open(file), 0);
    rep_bitmap_file_free(file);
    CHECK_ERRNO(rep_bitmap_file_open(check_path("mark"), &key, &file), ESTALE);
    key.data_id = 43;
    CHECK_OK(rep_bitmap_file_open(check_path("mark"), &key, &file));
    CHECK_EQ(rep_bitmap_file_marked_open(file), 0);
    CHECK_OK(rep_bitmap_file_mark_open(file));
    rep_bitmap_file_free(file);
    CHECK_OK(rep_bitmap_file_open(check_path("mark"), &key, &file));
    CHECK_EQ(rep_bitmap_file_marked_open(file), 1);
    rep_bitmap_file_free(file);
}

static void marking_keeps_the_bits(void)
{
    rep_bitmap_file *file;
    rep_bitmap_key key = rig_key(100000);
    rep_bitmap *bits = rig_bitmap(key.bit_count);
    rep_bitmap *loaded = rig_bitmap(key.bit_count);
    CHECK_OK(rep_bitmap_set(bits, 0, 50000));
    rig_make(check_path("keeps"), bits);
    CHECK_OK(rep_bitmap_file_open(check_path("keeps"), &key, &file));
    CHECK_OK(rep_bitmap_file_mark_open(file));
    CHECK_OK(rep_bitmap_file_mark_closed(file, 1));
    CHECK_OK(rep_bitmap_file_load(file, loaded));
    rig_check_equal(loaded, bits);
    rep_bitmap_file_free(file);
    rep_bitmap_free(bits);
    rep_bitmap_free(loaded);
}

static void one_file_is_open_once(void)
{
    rep_bitmap_file *file;
    rep_bitmap_file *second;
    rep_bitmap_key key = rig_key(100);
    CHECK_OK(rep_bitmap_file_create(check_path("once"), &key, 1, &file));
    CHECK_ERRNO(rep_bitmap_file_open(check_path("once"), &key, &second), EWOULDBLOCK);
    CHECK_ERRNO(rep_bitmap_file_create(check_path("once"), &key, 1, &second), EEXIST);
    rep_bitmap_file_free(file);
    CHECK_OK(rep_bitmap_file_open(check_path("once"), &key, &second));
    rep_bitmap_file_free(second);
}

static void what_can_not_be_made_or_opened_is_refused(void)
{
    rep_bitmap_file *file;
    rep_bitmap_key key = rig_key(100);
    CHECK_ERRNO(rep_bitmap_file_open(check_path("absent"), &key, &file), ENOENT);
    CHECK_ERRNO(rep_bitmap_file_create(check_path("absent/bits"), &key, 0, &file), ENOENT);
    key.bit_count = 0;
    CHECK_ERRNO(rep_bitmap_file_create(check_path("none"), &key, 0, &file), EINVAL);
    CHECK_ERRNO(rep_bitmap_file_open(check_path("none"), &key, &file), EINVAL);
    key.bit_count = (1ULL << 40) + 1;
    CHECK_ERRNO(rep_bitmap_file_create(check_path("none"), &key, 0, &file), EINVAL);
    CHECK_EQ(access(check_path("none"), F_OK), -1);
    rep_bitmap_file_free(NULL);
}

int main(void)
{
    RUN(bits_come_back);
    RUN(loading_adds_to_what_is_set);
    RUN(saving_two_saves_their_union);
    RUN(a_page_that_became_empty_becomes_a_hole);
    RUN(the_largest_of_a_pair_costs_only_what_is_set);
    RUN(all_bits_set_cost_only_what_is_cleared);
    RUN(a_file_is_filled_and_no_longer);
    RUN(bitmaps_of_another_size_are_refused);
    RUN(the_open_mark_stays_until_it_is_closed_with_its_data_identifier);
    RUN(marking_keeps_the_bits);
    RUN(one_file_is_open_once);
    RUN(what_can_not_be_made_or_opened_is_refused);
    return 0;
}
