#include "bitmap_model.h"

static void check_join(int join)
{
    const uint64_t sizes[] = {1, 64, 100, 5000, 300000};
    const uint64_t limits[] = {0, 1, 7, 64, 1000};
    uint64_t random = (uint64_t)join;
    for (size_t i = 0; i < 25; i++) {
        bitmap_model a = bitmap_model_new(sizes[i % 5]);
        bitmap_model b = bitmap_model_new(sizes[i % 5]);
        char *joined = check_alloc(a.size);
        bitmap_model_scatter(a, &random, 40);
        bitmap_model_scatter(b, &random, 40);
        for (uint64_t bit = 0; bit < a.size; bit++)
            joined[bit] = join == REP_BITMAP_UNION ? (char)(a.bits[bit] | b.bits[bit])
                                                   : (char)(a.bits[bit] & !b.bits[bit]);
        bitmap_model_check_runs(a.bitmap, b.bitmap, join, limits[i / 5], joined);
        bitmap_model_check_runs(a.bitmap, NULL, join, limits[i / 5], a.bits);
        free(joined);
        bitmap_model_free(a);
        bitmap_model_free(b);
    }
}

static void runs_of_a_union_are_found(void)
{
    check_join(REP_BITMAP_UNION);
}

static void runs_of_a_difference_are_found(void)
{
    check_join(REP_BITMAP_DIFFERENCE);
}

/* One to five words of a group of 4096 bits hold something: some groups are looked at word by word,
 * others whole; runs also go from one group to the next. */
static void scatter_few(bitmap_model m, uint64_t *random)
{
    for (uint64_t group = 0; group + 4096 <= m.size; group += 4096) {
        uint64_t ranges = check_below(random, 5);
        for (uint64_t i = 0; i < ranges; i++) {
            uint64_t first = check_random(random) % 4 ? group + check_below(random, 4096)
                                                      : group + 4096 - check_below(random, 3);
            uint64_t count = 1 + check_below(random, check_random(random) % 4 ? 4 : 130);
            if (first < m.size)
                bitmap_model_set(m, first, count < m.size - first ? count : m.size - first);
        }
    }
}

static void runs_of_sparse_bitmaps_are_found(void)
{
    uint64_t random = 11;
    for (int round = 0; round < 12; round++) {
        bitmap_model a = bitmap_model_new(600000);
        bitmap_model b = bitmap_model_new(600000);
        char *joined = check_alloc(a.size);
        scatter_few(a, &random);
        scatter_few(b, &random);
        for (int join = REP_BITMAP_UNION; join <= REP_BITMAP_DIFFERENCE; join++) {
            for (uint64_t bit = 0; bit < a.size; bit++)
                joined[bit] = join == REP_BITMAP_UNION ? (char)(a.bits[bit] | b.bits[bit])
                                                       : (char)(a.bits[bit] & !b.bits[bit]);
            bitmap_model_check_runs(a.bitmap, b.bitmap, join, 0, joined);
        }
        bitmap_model_check_runs(a.bitmap, NULL, REP_BITMAP_UNION, 0, a.bits);
        free(joined);
        bitmap_model_free(a);
        bitmap_model_free(b);
    }
}

static void a_difference_of_equals_has_no_run(void)
{
    uint64_t first;
    uint64_t count;
    bitmap_model a = bitmap_model_new(300000);
    bitmap_model b = bitmap_model_new(300000);
    bitmap_model_set(a, 0, 300000);
    bitmap_model_set(b, 0, 300000);
    CHECK_EQ(rep_bitmap_next_run(a.bitmap, b.bitmap, REP_BITMAP_DIFFERENCE, 0, 0, &first, &count),
             0);
    bitmap_model_clear(b, 299999, 1);
    CHECK_EQ(rep_bitmap_next_run(a.bitmap, b.bitmap, REP_BITMAP_DIFFERENCE, 0, 0, &first, &count),
             1);
    CHECK_EQ(first, 299999);
    CHECK_EQ(count, 1);
    bitmap_model_free(a);
    bitmap_model_free(b);
}

static void a_run_that_began_before_is_found_from_inside(void)
{
    uint64_t first;
    uint64_t count;
    bitmap_model m = bitmap_model_new(1000);
    bitmap_model_set(m, 10, 500);
    CHECK_EQ(rep_bitmap_next_run(m.bitmap, NULL, REP_BITMAP_UNION, 300, 0, &first, &count), 1);
    CHECK_EQ(first, 300);
    CHECK_EQ(count, 210);
    bitmap_model_free(m);
}

static void looking_past_the_end_is_refused_and_at_the_end_finds_nothing(void)
{
    uint64_t first = 77;
    uint64_t count = 78;
    uint64_t resume;
    bitmap_model m = bitmap_model_new(100);
    bitmap_model_set(m, 0, 100);
    CHECK_EQ(rep_bitmap_next_run(m.bitmap, NULL, REP_BITMAP_UNION, 100, 0, &first, &count), 0);
    CHECK_ERRNO(rep_bitmap_next_run(m.bitmap, NULL, REP_BITMAP_UNION, 101, 0, &first, &count),
                ERANGE);
    CHECK_ERRNO(rep_bitmap_next_run(m.bitmap, NULL, 2, 0, 0, &first, &count), EINVAL);
    CHECK_ERRNO(rep_bitmap_runs(m.bitmap, NULL, 0, 101, &first, &count, 1, &resume), ERANGE);
    CHECK_ERRNO(rep_bitmap_runs(m.bitmap, NULL, 0, 0, &first, &count, 0, &resume), EINVAL);
    CHECK_EQ(rep_bitmap_runs(m.bitmap, NULL, 0, 100, &first, &count, 1, &resume), 0);
    CHECK_EQ(resume, 100);
    CHECK_EQ(first, 77);
    CHECK_EQ(count, 78);
    bitmap_model_free(m);
}

static void runs_come_in_portions_that_resume(void)
{
    uint64_t random = 5;
    bitmap_model m = bitmap_model_new(20000);
    bitmap_model_scatter(m, &random, 200);
    for (int capacity = 1; capacity < 9; capacity++) {
        uint64_t firsts[8];
        uint64_t counts[8];
        uint64_t expected = 0;
        uint64_t from = 0;
        while (from < m.size) {
            int found = rep_bitmap_runs(m.bitmap, NULL, 0, from, firsts, counts, capacity, &from);
            CHECK(found >= 0 && found <= capacity);
            CHECK(found == capacity || from == m.size);
            for (int i = 0; i < found; i++) {
                CHECK_EQ(firsts[i], bitmap_model_find(m.bits, expected, m.size, 1));
                expected = bitmap_model_find(m.bits, firsts[i], m.size, 0);
                CHECK_EQ(counts[i], expected - firsts[i]);
            }
        }
        CHECK_EQ(bitmap_model_find(m.bits, expected, m.size, 1), m.size);
    }
    bitmap_model_free(m);
}

static void the_last_bit_of_a_partial_word_ends_its_run(void)
{
    uint64_t first;
    uint64_t count;
    for (uint64_t size = 1; size < 200; size++) {
        rep_bitmap *bitmap;
        CHECK_OK(rep_bitmap_new(size, &bitmap));
        rep_bitmap_fill(bitmap);
        CHECK_EQ(rep_bitmap_next_run(bitmap, NULL, REP_BITMAP_UNION, 0, 0, &first, &count), 1);
        CHECK_EQ(first, 0);
        CHECK_EQ(count, size);
        CHECK_EQ(rep_bitmap_next_run(bitmap, NULL, REP_BITMAP_UNION, size - 1, 5, &first, &count),
                 1);
        CHECK_EQ(first, size - 1);
        CHECK_EQ(count, 1);
        rep_bitmap_free(bitmap);
    }
}

int main(void)
{
    RUN(runs_of_a_union_are_found);
    RUN(runs_of_a_difference_are_found);
    RUN(runs_of_sparse_bitmaps_are_found);
    RUN(a_difference_of_equals_has_no_run);
    RUN(a_run_that_began_before_is_found_from_inside);
    RUN(looking_past_the_end_is_refused_and_at_the_end_finds_nothing);
    RUN(runs_come_in_portions_that_resume);
    RUN(the_last_bit_of_a_partial_word_ends_its_run);
    return 0;
}
