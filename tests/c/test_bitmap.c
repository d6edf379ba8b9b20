#include <sys/mman.h>

#include "bitmap_model.h"

/* Sizes around words and around each further summary level, of which there are three at least. */
static const uint64_t sizes[] = {1,    63,   64,    65,     100,    4095,
                                 4096, 4097, 10000, 262144, 262145, 16777217};
#define SIZES (sizeof sizes / sizeof *sizes)

static void it_is_empty_at_first(void)
{
    for (size_t i = 0; i < SIZES; i++) {
        bitmap_model m = bitmap_model_new(sizes[i]);
        CHECK_EQ(rep_bitmap_size(m.bitmap), sizes[i]);
        CHECK_EQ(rep_bitmap_any(m.bitmap), 0);
        CHECK_EQ(rep_bitmap_count(m.bitmap), 0);
        bitmap_model_free(m);
    }
}

static void sizes_need_the_summary_levels_they_should(void)
{
    const int levels[SIZES] = {4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 5};
    for (size_t i = 0; i < SIZES; i++) {
        rep_bitmap *bitmap;
        CHECK_OK(rep_bitmap_new(sizes[i], &bitmap));
        CHECK_EQ(bitmap->level_count, levels[i]);
        CHECK_EQ(bitmap->word_counts[bitmap->level_count - 1], 1);
        rep_bitmap_free(bitmap);
    }
}

static void sizes_it_can_not_have_are_refused(void)
{
    rep_bitmap *bitmap;
    CHECK_ERRNO(rep_bitmap_new(0, &bitmap), EINVAL);
    CHECK_ERRNO(rep_bitmap_new((1ULL << 40) + 1, &bitmap), EINVAL);
    CHECK_ERRNO(rep_bitmap_new(UINT64_MAX, &bitmap), EINVAL);
    rep_bitmap_free(NULL);
}

static void the_largest_costs_only_what_is_set(void)
{
    const uint64_t size = 1ULL << 40;
    rep_bitmap *bitmap;
    uint64_t first;
    uint64_t count;
    CHECK_OK(rep_bitmap_new(size, &bitmap));
    CHECK_OK(rep_bitmap_set(bitmap, size - 1, 1));
    CHECK_OK(rep_bitmap_set(bitmap, 1ULL << 35, 3));
    CHECK_EQ(rep_bitmap_count(bitmap), 4);
    CHECK_EQ(rep_bitmap_next_run(bitmap, NULL, REP_BITMAP_UNION, 0, 0, &first, &count), 1);
    CHECK_EQ(first, 1ULL << 35);
    CHECK_EQ(count, 3);
    CHECK_EQ(rep_bitmap_next_run(bitmap, NULL, REP_BITMAP_UNION, first + 3, 0, &first, &count), 1);
    CHECK_EQ(first, size - 1);
    CHECK_OK(rep_bitmap_clear(bitmap, 0, size));
    CHECK_EQ(rep_bitmap_any(bitmap), 0);
    rep_bitmap_free(bitmap);
}

static void it_holds_what_was_set_and_cleared(void)
{
    uint64_t random = 1;
    for (size_t i = 0; i < SIZES; i++) {
        bitmap_model m = bitmap_model_new(sizes[i]);
        int rounds = sizes[i] > 1000000 ? 2 : 30;
        for (int round = 0; round < rounds; round++) {
            bitmap_model_scatter(m, &random, 20);
            bitmap_model_check(m);
        }
        bitmap_model_clear(m, 0, m.size);
        bitmap_model_check(m);
        bitmap_model_free(m);
    }
}

static void a_bit_is_read_as_it_was_written(void)
{
    uint64_t random = 2;
    bitmap_model m = bitmap_model_new(1000);
    bitmap_model_scatter(m, &random, 30);
    for (uint64_t i = 0; i < m.size; i++)
        CHECK_EQ(rep_bitmap_test(m.bitmap, i), m.bits[i]);
    bitmap_model_free(m);
}

static void a_range_it_can_not_mark_is_an_error_and_changes_nothing(void)
{
    bitmap_model m = bitmap_model_new(100);
    bitmap_model_set(m, 90, 10);
    const struct {
        uint64_t first;
        uint64_t count;
    } bad[] = {{100, 1}, {99, 2}, {0, 101}, {101, 0}, {UINT64_MAX, 2}, {1, UINT64_MAX}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_ERRNO(rep_bitmap_set(m.bitmap, bad[i].first, bad[i].count), ERANGE);
        CHECK_ERRNO(rep_bitmap_clear(m.bitmap, bad[i].first, bad[i].count), ERANGE);
    }
    CHECK_ERRNO(rep_bitmap_test(m.bitmap, 100), ERANGE);
    CHECK_ERRNO(rep_bitmap_test(m.bitmap, UINT64_MAX), ERANGE);
    bitmap_model_check(m);
    bitmap_model_free(m);
}

static void an_empty_range_changes_nothing(void)
{
    bitmap_model m = bitmap_model_new(100);
    bitmap_model_set(m, 99, 1);
    CHECK_OK(rep_bitmap_set(m.bitmap, 50, 0));
    CHECK_OK(rep_bitmap_set(m.bitmap, 100, 0));
    CHECK_OK(rep_bitmap_clear(m.bitmap, 99, 0));
    bitmap_model_check(m);
    bitmap_model_free(m);
}

static void fill_sets_every_bit_and_none_past_the_end(void)
{
    for (size_t i = 0; i < SIZES; i++) {
        bitmap_model m = bitmap_model_new(sizes[i]);
        rep_bitmap_fill(m.bitmap);
        memset(m.bits, 1, m.size);
        bitmap_model_check(m);
        bitmap_model_clear(m, 0, m.size);
        bitmap_model_check(m);
        bitmap_model_free(m);
    }
}

/* Pages of level 0, where nearly all of a bitmap lies, that have memory. */
static uint64_t resident_pages(const rep_bitmap *bitmap)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t pages = bitmap->word_counts[0] * sizeof(uint64_t) / page;
    unsigned char *there = check_alloc(pages);
    uint64_t count = 0;
    CHECK_OK(mincore(bitmap->mapping, pages * page, there));
    for (size_t i = 0; i < pages; i++)
        count += there[i] & 1;
    free(there);
    return count;
}

static void all_bits_set_cost_next_to_no_memory_until_some_are_cleared(void)
{
    const uint64_t size = 1ULL << 31;
    /* A block, or where the system gives huge pages one of these. */
    const uint64_t touched_pages = (2U << 20) / (uint64_t)sysconf(_SC_PAGESIZE);
    rep_bitmap *bitmap;
    rep_bitmap *other;
    CHECK_OK(rep_bitmap_new(size, &bitmap));
    CHECK_OK(rep_bitmap_new(size, &other));
    rep_bitmap_fill(bitmap);
    CHECK_OK(rep_bitmap_merge(other, bitmap));
    CHECK_OK(rep_bitmap_or(other, bitmap));
    CHECK_OK(rep_bitmap_set(other, 0, size));
    CHECK_EQ(rep_bitmap_count(other), size);
    CHECK_EQ(resident_pages(bitmap) + resident_pages(other), 0);
    CHECK_OK(rep_bitmap_clear(bitmap, 12345678, 1));
    CHECK_OK(rep_bitmap_clear(bitmap, size - 1, 1));
    CHECK_EQ(rep_bitmap_count(bitmap), size - 2);
    CHECK(resident_pages(bitmap) <= 2 * touched_pages);
    CHECK_OK(rep_bitmap_andnot(other, bitmap));
    CHECK_EQ(rep_bitmap_count(other), 2);
    CHECK(resident_pages(other) <= 2 * touched_pages);
    CHECK_OK(rep_bitmap_clear(bitmap, 0, size));
    CHECK_EQ(rep_bitmap_any(bitmap), 0);
    /* What was spread stays until it is freed. */
    CHECK(resident_pages(bitmap) <= 2 * touched_pages);
    rep_bitmap_free(bitmap);
    rep_bitmap_free(other);
}

static void reset_clears_every_bit(void)
{
    for (size_t i = 0; i < SIZES; i++) {
        bitmap_model m = bitmap_model_new(sizes[i]);
        rep_bitmap_fill(m.bitmap);
        rep_bitmap_reset(m.bitmap);
        bitmap_model_check(m);
        bitmap_model_set(m, sizes[i] / 2, 1);
        bitmap_model_check(m);
        bitmap_model_free(m);
    }
}

static void words_go_out_and_come_in(void)
{
    uint64_t random = 3;
    uint64_t words[10];
    bitmap_model from = bitmap_model_new(10000);
    bitmap_model to = bitmap_model_new(10000);
    bitmap_model_scatter(from, &random, 50);
    bitmap_model_scatter(to, &random, 50);
    CHECK_EQ(rep_bitmap_word_count(from.bitmap), 157);
    for (uint64_t first = 0; first < 157; first += 10) {
        uint64_t count = 157 - first < 10 ? 157 - first : 10;
        CHECK_OK(rep_bitmap_words_get(from.bitmap, first, count, words));
        CHECK_OK(rep_bitmap_words_or(to.bitmap, first, count, words));
    }
    for (uint64_t i = 0; i < to.size; i++)
        to.bits[i] |= from.bits[i];
    bitmap_model_check(to);
    bitmap_model_free(from);
    bitmap_model_free(to);
}

static void words_with_bits_past_the_end_are_refused_whole(void)
{
    uint64_t words[3] = {1, 1ULL << 36, 0};
    bitmap_model m = bitmap_model_new(100);
    CHECK_ERRNO(rep_bitmap_words_or(m.bitmap, 0, 2, words), ERANGE);
    CHECK_ERRNO(rep_bitmap_words_or(m.bitmap, 0, 3, words), ERANGE);
    CHECK_ERRNO(rep_bitmap_words_or(m.bitmap, 2, 1, words), ERANGE);
    CHECK_ERRNO(rep_bitmap_words_get(m.bitmap, 1, 2, words), ERANGE);
    CHECK_ERRNO(rep_bitmap_words_get(m.bitmap, UINT64_MAX, 2, words), ERANGE);
    bitmap_model_check(m);
    words[1] = 1ULL << 35;
    CHECK_OK(rep_bitmap_words_or(m.bitmap, 0, 2, words));
    m.bits[0] = m.bits[99] = 1;
    bitmap_model_check(m);
    bitmap_model_free(m);
}

int main(void)
{
    RUN(it_is_empty_at_first);
    RUN(sizes_need_the_summary_levels_they_should);
    RUN(sizes_it_can_not_have_are_refused);
    RUN(the_largest_costs_only_what_is_set);
    RUN(it_holds_what_was_set_and_cleared);
    RUN(a_bit_is_read_as_it_was_written);
    RUN(a_range_it_can_not_mark_is_an_error_and_changes_nothing);
    RUN(an_empty_range_changes_nothing);
    RUN(fill_sets_every_bit_and_none_past_the_end);
    RUN(all_bits_set_cost_next_to_no_memory_until_some_are_cleared);
    RUN(reset_clears_every_bit);
    RUN(words_go_out_and_come_in);
    RUN(words_with_bits_past_the_end_are_refused_whole);
    return 0;
}
