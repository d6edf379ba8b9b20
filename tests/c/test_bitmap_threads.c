/* Bits set, cleared and looked for at the same time. */
#include <pthread.h>

#include "bitmap_model.h"

#define WORKERS 3

typedef struct worker {
    pthread_t thread;
    rep_bitmap *bitmap;
    const rep_bitmap *other;
    uint64_t index;
    int rounds;
    atomic_bool *stop;
    char *bits; /* what this worker's bits end as; bit i is worker i % WORKERS's */
} worker;

static void run_workers(worker *workers, int count, void *(*job)(void *))
{
    for (int i = 0; i < count; i++)
        CHECK_OK(pthread_create(&workers[i].thread, NULL, job, &workers[i]));
    for (int i = 0; i < count; i++)
        CHECK_OK(pthread_join(workers[i].thread, NULL));
}

/* Whether a search from the start, which must go through the summaries, leads to `index`. */
static bool leads_to(const rep_bitmap *bitmap, uint64_t index)
{
    uint64_t first = 0;
    uint64_t count = 0;
    while (rep_bitmap_next_run(bitmap, NULL, REP_BITMAP_UNION, first + count, 0, &first, &count)
           == 1)
        if (index < first + count)
            return index >= first;
    return false;
}

/* Whether a search from `index`, which climbs and descends, finds it. */
static bool leads_to_from(const rep_bitmap *bitmap, uint64_t index)
{
    uint64_t first;
    uint64_t count;
    int rc = rep_bitmap_next_run(bitmap, NULL, REP_BITMAP_UNION, index, 1, &first, &count);
    return rc == 1 && first == index;
}

static void *toggle_one_bit(void *argument)
{
    const worker *w = argument;
    for (int i = 0; i < w->rounds; i++) {
        CHECK_OK(rep_bitmap_set(w->bitmap, w->index, 1));
        CHECK_EQ(rep_bitmap_any(w->bitmap), 1);
        CHECK(leads_to(w->bitmap, w->index));
        CHECK_OK(rep_bitmap_clear(w->bitmap, w->index, 1));
    }
    return NULL;
}

/* The harm: a resync that looks while a neighbour is cleared would call the pair equal. */
static void check_toggling(const uint64_t *indexes)
{
    worker workers[WORKERS];
    rep_bitmap *bitmap;
    CHECK_OK(rep_bitmap_new(1000000, &bitmap));
    for (int i = 0; i < WORKERS; i++)
        workers[i] = (worker){.bitmap = bitmap, .index = indexes[i], .rounds = 60000};
    run_workers(workers, WORKERS, toggle_one_bit);
    CHECK_EQ(rep_bitmap_any(bitmap), 0);
    CHECK_EQ(rep_bitmap_count(bitmap), 0);
    bitmap_model_check_summary(bitmap);
    rep_bitmap_free(bitmap);
}

static void a_set_bit_never_hides_while_its_word_is_emptied(void)
{
    check_toggling((const uint64_t[]){500000, 500001, 500002});
}

static void a_set_bit_never_hides_while_its_group_is_emptied(void)
{
    check_toggling((const uint64_t[]){500000, 500064, 500128});
}

static void a_set_bit_never_hides_while_its_neighbour_group_is_emptied(void)
{
    check_toggling((const uint64_t[]){499712, 495616, 491520});
}

static void *scatter_own_bits(void *argument)
{
    worker *w = argument;
    uint64_t random = w->index;
    for (int i = 0; i < w->rounds; i++) {
        uint64_t bit = check_below(&random, 20000) * WORKERS + w->index;
        if (check_random(&random) % 2) {
            CHECK_OK(rep_bitmap_set(w->bitmap, bit, 1));
            w->bits[bit] = 1;
        } else {
            CHECK_OK(rep_bitmap_clear(w->bitmap, bit, 1));
            w->bits[bit] = 0;
        }
        CHECK_EQ(rep_bitmap_test(w->bitmap, bit), w->bits[bit]);
    }
    return NULL;
}

static void neighbours_in_a_word_do_not_disturb_each_other(void)
{
    worker workers[WORKERS];
    bitmap_model m = bitmap_model_new(60000);
    for (uint64_t i = 0; i < WORKERS; i++)
        workers[i] = (worker){.bitmap = m.bitmap, .index = i, .rounds = 50000, .bits = m.bits};
    run_workers(workers, WORKERS, scatter_own_bits);
    bitmap_model_check(m);
    bitmap_model_free(m);
}

#define STABLE_FIRST 5000
#define STABLE_COUNT 700

static void *scan_for_the_stable_run(void *argument)
{
    const worker *w = argument;
    uint64_t first;
    uint64_t count;
    while (!atomic_load(w->stop)) {
        CHECK_EQ(rep_bitmap_next_run(w->bitmap, w->other, REP_BITMAP_UNION, STABLE_FIRST, 0, &first,
                                     &count),
                 1);
        CHECK_EQ(first, STABLE_FIRST);
        CHECK(count >= STABLE_COUNT);
        CHECK(rep_bitmap_count(w->bitmap) >= STABLE_COUNT);
        CHECK(leads_to(w->bitmap, STABLE_FIRST));
    }
    return NULL;
}

static void *churn_around_the_stable_run(void *argument)
{
    const worker *w = argument;
    const uint64_t after = STABLE_FIRST + STABLE_COUNT;
    for (int i = 0; i < w->rounds; i++) {
        CHECK_OK(rep_bitmap_set(w->bitmap, 0, STABLE_FIRST));
        CHECK_OK(rep_bitmap_set(w->bitmap, after, 300000 - after));
        CHECK_OK(rep_bitmap_clear(w->bitmap, 0, STABLE_FIRST));
        CHECK_OK(rep_bitmap_clear(w->bitmap, after, 300000 - after));
    }
    atomic_store(w->stop, true);
    return NULL;
}

static void readers_see_what_stays_set_while_all_around_changes(void)
{
    atomic_bool stop = false;
    bitmap_model m = bitmap_model_new(300000);
    rep_bitmap *other;
    CHECK_OK(rep_bitmap_new(300000, &other));
    bitmap_model_set(m, STABLE_FIRST, STABLE_COUNT);
    worker reader = {.bitmap = m.bitmap, .other = other, .stop = &stop};
    worker writer = {.bitmap = m.bitmap, .rounds = 200, .stop = &stop};
    CHECK_OK(pthread_create(&reader.thread, NULL, scan_for_the_stable_run, &reader));
    CHECK_OK(pthread_create(&writer.thread, NULL, churn_around_the_stable_run, &writer));
    CHECK_OK(pthread_join(writer.thread, NULL));
    CHECK_OK(pthread_join(reader.thread, NULL));
    bitmap_model_check(m);
    rep_bitmap_free(other);
    bitmap_model_free(m);
}

static void *merge_and_clear_other(void *argument)
{
    const worker *w = argument;
    for (int i = 0; i < w->rounds; i++) {
        CHECK_OK(rep_bitmap_merge(w->bitmap, w->other));
        for (uint64_t bit = 0; bit < rep_bitmap_size(w->bitmap); bit += WORKERS)
            CHECK_OK(rep_bitmap_clear(w->bitmap, bit, 1));
    }
    return NULL;
}

static void a_merge_loses_no_bit_set_beside_it(void)
{
    bitmap_model m = bitmap_model_new(60000);
    rep_bitmap *other;
    CHECK_OK(rep_bitmap_new(60000, &other));
    for (uint64_t i = 0; i < 60000; i += WORKERS)
        CHECK_OK(rep_bitmap_set(other, i, 1));
    worker combiner = {.bitmap = m.bitmap, .other = other, .rounds = 60};
    worker workers[2];
    for (uint64_t i = 0; i < 2; i++)
        workers[i] = (worker){.bitmap = m.bitmap, .index = i + 1, .rounds = 40000, .bits = m.bits};
    CHECK_OK(pthread_create(&combiner.thread, NULL, merge_and_clear_other, &combiner));
    run_workers(workers, 2, scatter_own_bits);
    CHECK_OK(pthread_join(combiner.thread, NULL));
    bitmap_model_check(m);
    rep_bitmap_free(other);
    bitmap_model_free(m);
}

/* Block 1 becomes full and empty again and again; block 0 and 2 are this worker's alone. */
static void *fill_and_empty_a_block(void *argument)
{
    const worker *w = argument;
    for (int i = 0; i < w->rounds; i++) {
        CHECK_OK(rep_bitmap_set(w->bitmap, REP_BLOCK_BITS - 3, REP_BLOCK_BITS + 6));
        CHECK_OK(rep_bitmap_clear(w->bitmap, REP_BLOCK_BITS - 3, REP_BLOCK_BITS + 6));
    }
    atomic_store(w->stop, true);
    return NULL;
}

/* Where others fill and empty the block around it: what is certain is what it sees while none of
 * them clears. */
static void *set_in_the_block(void *argument)
{
    const worker *w = argument;
    uint64_t random = w->index;
    while (!atomic_load(w->stop)) {
        uint64_t bit = REP_BLOCK_BITS + check_below(&random, REP_BLOCK_BITS);
        CHECK_OK(rep_bitmap_set(w->bitmap, bit, 1 + check_below(&random, 3)));
        CHECK_OK(rep_bitmap_clear(w->bitmap, bit + 1, check_below(&random, 100)));
        rep_bitmap_count(w->bitmap);
    }
    return NULL;
}

static void a_block_is_filled_and_emptied_beside_edits(void)
{
    atomic_bool stop = false;
    worker workers[2];
    rep_bitmap *bitmap;
    CHECK_OK(rep_bitmap_new(3 * REP_BLOCK_BITS, &bitmap));
    worker filler = {.bitmap = bitmap, .rounds = 2000, .stop = &stop};
    for (uint64_t i = 0; i < 2; i++)
        workers[i] = (worker){.bitmap = bitmap, .index = i + 1, .stop = &stop};
    CHECK_OK(pthread_create(&filler.thread, NULL, fill_and_empty_a_block, &filler));
    run_workers(workers, 2, set_in_the_block);
    CHECK_OK(pthread_join(filler.thread, NULL));
    bitmap_model_check_summary(bitmap);
    rep_bitmap_free(bitmap);
}

/* Bits that stay set, in a block that is filled, spread and filled again around them. */
static void *check_own_bits(void *argument)
{
    const worker *w = argument;
    uint64_t random = w->index;
    while (!atomic_load(w->stop)) {
        uint64_t bit = check_below(&random, REP_BLOCK_BITS / 2) * 2;
        CHECK_OK(rep_bitmap_set(w->bitmap, bit, 1));
        CHECK_EQ(rep_bitmap_test(w->bitmap, bit), 1);
        CHECK(leads_to_from(w->bitmap, bit));
    }
    return NULL;
}

static void *fill_and_clear_odd_bits(void *argument)
{
    const worker *w = argument;
    uint64_t random = 9;
    for (int i = 0; i < w->rounds; i++) {
        rep_bitmap_fill(w->bitmap);
        for (int k = 0; k < 20; k++)
            CHECK_OK(
                rep_bitmap_clear(w->bitmap, check_below(&random, REP_BLOCK_BITS / 2) * 2 + 1, 1));
    }
    atomic_store(w->stop, true);
    return NULL;
}

static void a_set_bit_never_hides_while_its_block_is_filled(void)
{
    atomic_bool stop = false;
    worker workers[2];
    rep_bitmap *bitmap;
    CHECK_OK(rep_bitmap_new(2 * REP_BLOCK_BITS, &bitmap));
    worker filler = {.bitmap = bitmap, .rounds = 500, .stop = &stop};
    for (uint64_t i = 0; i < 2; i++)
        workers[i] = (worker){.bitmap = bitmap, .index = i + 1, .stop = &stop};
    CHECK_OK(pthread_create(&filler.thread, NULL, fill_and_clear_odd_bits, &filler));
    run_workers(workers, 2, check_own_bits);
    CHECK_OK(pthread_join(filler.thread, NULL));
    bitmap_model_check_summary(bitmap);
    rep_bitmap_free(bitmap);
}

int main(void)
{
    RUN(a_set_bit_never_hides_while_its_word_is_emptied);
    RUN(a_set_bit_never_hides_while_its_group_is_emptied);
    RUN(a_set_bit_never_hides_while_its_neighbour_group_is_emptied);
    RUN(neighbours_in_a_word_do_not_disturb_each_other);
    RUN(readers_see_what_stays_set_while_all_around_changes);
    RUN(a_merge_loses_no_bit_set_beside_it);
    RUN(a_block_is_filled_and_emptied_beside_edits);
    RUN(a_set_bit_never_hides_while_its_block_is_filled);
    return 0;
}
