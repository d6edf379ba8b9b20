#include "bitmap_model.h"

typedef int (*operation)(rep_bitmap *target, const rep_bitmap *source);
typedef char (*bit_rule)(char target, char source);

static char or_rule(char target, char source)
{
    return (char)(target | source);
}

static char and_rule(char target, char source)
{
    return (char)(target & source);
}

static char andnot_rule(char target, char source)
{
    return (char)(target & !source);
}

static char xor_rule(char target, char source)
{
    return (char)(target ^ source);
}

/* Runs of bits, and now and then everything, so that there are full blocks too. */
static void change(bitmap_model m, uint64_t *random, int round)
{
    if (check_random(random) % 5 == 0) {
        rep_bitmap_fill(m.bitmap);
        memset(m.bits, 1, m.size);
    }
    bitmap_model_scatter(m, random, round);
}

static void check_operation(operation run, bit_rule rule)
{
    const uint64_t sizes[] = {1, 64, 100, 5000, 300000, 3 * REP_BLOCK_BITS};
    uint64_t random = 1;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        bitmap_model target = bitmap_model_new(sizes[i]);
        bitmap_model source = bitmap_model_new(sizes[i]);
        for (int round = 0; round < 20; round++) {
            change(target, &random, round / 2);
            change(source, &random, round / 2);
            CHECK_OK(run(target.bitmap, source.bitmap));
            for (uint64_t bit = 0; bit < target.size; bit++)
                target.bits[bit] = rule(target.bits[bit], source.bits[bit]);
            bitmap_model_check(target);
        }
        bitmap_model_check(source);
        bitmap_model_free(target);
        bitmap_model_free(source);
    }
}

static void or_keeps_what_either_has(void)
{
    check_operation(rep_bitmap_or, or_rule);
}

static void merge_keeps_what_either_has(void)
{
    check_operation(rep_bitmap_merge, or_rule);
}

static void and_keeps_what_both_have(void)
{
    check_operation(rep_bitmap_and, and_rule);
}

static void andnot_takes_away_what_the_source_has(void)
{
    check_operation(rep_bitmap_andnot, andnot_rule);
}

static void xor_keeps_what_only_one_has(void)
{
    check_operation(rep_bitmap_xor, xor_rule);
}

static void a_bitmap_without_itself_is_empty(void)
{
    uint64_t random = 2;
    bitmap_model m = bitmap_model_new(300000);
    bitmap_model_scatter(m, &random, 100);
    CHECK_OK(rep_bitmap_or(m.bitmap, m.bitmap));
    CHECK_OK(rep_bitmap_and(m.bitmap, m.bitmap));
    bitmap_model_check(m);
    CHECK_OK(rep_bitmap_andnot(m.bitmap, m.bitmap));
    memset(m.bits, 0, m.size);
    bitmap_model_check(m);
    bitmap_model_scatter(m, &random, 100);
    CHECK_OK(rep_bitmap_xor(m.bitmap, m.bitmap));
    memset(m.bits, 0, m.size);
    bitmap_model_check(m);
    bitmap_model_free(m);
}

static void unequal_sizes_are_refused(void)
{
    bitmap_model a = bitmap_model_new(100);
    bitmap_model b = bitmap_model_new(101);
    uint64_t first;
    uint64_t count;
    bitmap_model_set(b, 0, 101);
    CHECK_ERRNO(rep_bitmap_or(a.bitmap, b.bitmap), EINVAL);
    CHECK_ERRNO(rep_bitmap_merge(a.bitmap, b.bitmap), EINVAL);
    CHECK_ERRNO(rep_bitmap_and(b.bitmap, a.bitmap), EINVAL);
    CHECK_ERRNO(rep_bitmap_andnot(b.bitmap, a.bitmap), EINVAL);
    CHECK_ERRNO(rep_bitmap_xor(a.bitmap, b.bitmap), EINVAL);
    CHECK_ERRNO(rep_bitmap_next_run(a.bitmap, b.bitmap, REP_BITMAP_UNION, 0, 0, &first, &count),
                EINVAL);
    bitmap_model_check(a);
    bitmap_model_check(b);
    bitmap_model_free(a);
    bitmap_model_free(b);
}

int main(void)
{
    RUN(or_keeps_what_either_has);
    RUN(merge_keeps_what_either_has);
    RUN(and_keeps_what_both_have);
    RUN(andnot_takes_away_what_the_source_has);
    RUN(xor_keeps_what_only_one_has);
    RUN(a_bitmap_without_itself_is_empty);
    RUN(unequal_sizes_are_refused);
    return 0;
}
