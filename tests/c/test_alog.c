/* The activity log of a volume that runs. What a power loss leaves: test_alog_crash.c. */
#include <sched.h>

#include "alog_rig.h"

static void end(plant *p)
{
    plant_stop(p);
    plant_free(p);
}

static uint64_t log_flushes(plant *p)
{
    return p->log_store->flushes;
}

static void a_write_to_a_hot_region_needs_no_durable_write(void)
{
    plant *p = plant_running();
    uint64_t before = log_flushes(p);
    CHECK_OK(plant_write(p, 0, CHUNK, 1));
    CHECK_EQ(log_flushes(p), before + 1);
    for (uint64_t i = 1; i < REGION / CHUNK; i++)
        CHECK_OK(plant_write(p, i * CHUNK, CHUNK, 1));
    CHECK_EQ(log_flushes(p), before + 1);
    CHECK_EQ(plant_info(p).hot, 1);
    end(p);
}

static void a_write_across_two_regions_admits_both_at_once(void)
{
    plant *p = plant_running();
    uint64_t before = log_flushes(p);
    CHECK_OK(plant_write(p, REGION - CHUNK, 2 * CHUNK, 1));
    CHECK_EQ(log_flushes(p), before + 1);
    CHECK_EQ(plant_info(p).hot, 2);
    end(p);
}

static void the_least_recently_used_region_leaves(void)
{
    plant *p = plant_running();
    for (uint64_t r = 0; r < SLOTS; r++)
        CHECK_OK(plant_write(p, r * REGION, CHUNK, 1));
    CHECK_OK(plant_write(p, 0, CHUNK, 2)); /* 1 is the oldest now */
    uint64_t before = log_flushes(p);
    CHECK_OK(plant_write(p, SLOTS * REGION, CHUNK, 1));
    CHECK_EQ(log_flushes(p), before + 1);
    CHECK_OK(plant_write(p, 0, CHUNK, 3));
    CHECK_OK(plant_write(p, 2 * REGION, CHUNK, 3));
    CHECK_EQ(log_flushes(p), before + 1);
    CHECK_OK(plant_write(p, REGION, CHUNK, 3));
    CHECK_EQ(log_flushes(p), before + 2);
    CHECK_EQ(plant_info(p).hot, SLOTS);
    end(p);
}

static void many_misses_cost_one_flush_of_the_volume_per_hot_set(void)
{
    plant *p = plant_running();
    for (uint64_t i = 0; i < 20 * REGIONS; i++)
        CHECK_OK(plant_write(p, i % REGIONS * REGION, CHUNK, 1));
    rep_alog_info info = plant_info(p);
    CHECK_EQ(info.admissions, 20 * REGIONS);
    CHECK_EQ(info.transactions, 20 * REGIONS + 1);
    CHECK(info.volume_flushes <= 20 * REGIONS / SLOTS);
    end(p);
}

static void the_ring_is_reused_after_a_checkpoint(void)
{
    plant *p = plant_running();
    uint64_t ring = plant_info(p).ring_blocks;
    for (uint64_t i = 0; i < 3 * ring; i++)
        CHECK_OK(plant_write(p, i % REGIONS * REGION, CHUNK, (int)(1 + i % 250)));
    rep_alog_info info = plant_info(p);
    CHECK(info.checkpoints >= 3);
    CHECK(info.used_blocks < ring);
    CHECK_EQ(info.state, REP_ALOG_WORKING);
    CHECK_EQ(rep_alog_checkpoint(p->log, 0), 1);
    CHECK_EQ(plant_info(p).used_blocks, 0);
    CHECK_EQ(rep_alog_checkpoint(p->log, 0), 0);
    for (int i = 0; i < ROWS; i++)
        CHECK_EQ(plant_missed(p, i), 0);
    end(p);
}

static void a_log_that_fails_leaves_open_marks_and_lets_writes_go_on(void)
{
    plant *p = plant_running();
    CHECK_OK(plant_write(p, 0, CHUNK, 1));
    rep_volatile_fail_after(p->log_store->disk, 0, -EIO);
    CHECK_OK(plant_write(p, REGION, CHUNK, 1));
    CHECK_EQ(plant_info(p).state, REP_ALOG_BYPASSED);
    CHECK_EQ(plant_info(p).error, -EIO);
    for (int i = 0; i < ROWS; i++)
        CHECK_EQ(rep_bitmap_file_marked_open(p->rows[i]), 1);
    CHECK_OK(plant_write(p, 2 * REGION, CHUNK, 1));
    CHECK_ERRNO(rep_link_save(p->links[1]), ENOTCONN);
    rep_volatile_fail_after(p->log_store->disk, 0, 0);
    CHECK_OK(rep_alog_begin(p->log, p->volume));
    for (int i = 0; i < ROWS; i++) {
        CHECK_OK(rep_link_save(p->links[i]));
        CHECK_EQ(rep_bitmap_file_marked_logged(p->rows[i]), 1);
    }
    CHECK_OK(plant_write(p, 3 * REGION, CHUNK, 1));
    plant_crash(p, 0);
    plant_free(p);
}

static void a_write_fails_while_neither_log_nor_open_mark_can_be_written(void)
{
    plant *p = plant_running();
    rep_volatile_fail_after(p->log_store->disk, 0, -EIO);
    rep_volatile_fail_after(p->files[1]->disk, 0, -ENOSPC);
    CHECK_ERRNO(plant_write(p, 0, CHUNK, 1), ENOSPC);
    CHECK_EQ(plant_info(p).state, REP_ALOG_FAILED);
    CHECK_ERRNO(plant_write(p, 0, CHUNK, 1), ENOSPC);
    /* Nor when somebody tries to begin anew meanwhile: then writes would go by both. */
    CHECK_ERRNO(rep_alog_begin(p->log, p->volume), ENOSPC);
    CHECK_ERRNO(plant_write(p, 0, CHUNK, 1), ENOSPC);
    CHECK_EQ(plant_info(p).state, REP_ALOG_FAILED);
    rep_volatile_fail_after(p->files[1]->disk, 0, 0);
    CHECK_OK(plant_write(p, 0, CHUNK, 1));
    CHECK_EQ(plant_info(p).state, REP_ALOG_BYPASSED);
    end(p);
}

static void a_page_that_fails_is_tried_again_by_the_next_checkpoint(void)
{
    plant *p = plant_running();
    for (uint64_t r = 0; r < REGIONS; r++)
        CHECK_OK(plant_write(p, r * REGION, CHUNK, 1));
    rep_volatile_fail_after(p->files[1]->disk, 0, -ENOSPC);
    CHECK_ERRNO(rep_alog_checkpoint(p->log, 0), ENOSPC);
    rep_volatile_fail_after(p->files[1]->disk, 0, 0);
    CHECK_EQ(rep_alog_checkpoint(p->log, 0), 1);
    plant_crash(p, 0);
    plant_free(p);
}

static void an_older_write_that_ends_late_leaves_a_newer_one_its_flush(void)
{
    plant *p = plant_running();
    CHECK_OK(plant_write(p, 0, CHUNK, 1));
    rep_alog_slot *slot = &p->log->slots[(p->log->regions[0] >> REP_ALOG_SLOT_SHIFT) - 1];
    uint64_t before = p->log->flush_started; /* as a writer has it who goes on much later */
    CHECK_OK(rep_volume_make_durable(p->volume));
    CHECK_OK(plant_write(p, CHUNK, CHUNK, 2));
    rep_alog_note_written(slot, before);
    CHECK_OK(rep_link_settle(p->links[0])); /* the mirror holds both */
    for (uint64_t r = 1; r <= SLOTS; r++)
        CHECK_OK(plant_write(p, r * REGION, CHUNK, 3));
    CHECK_EQ(p->log->regions[0] >> REP_ALOG_SLOT_SHIFT, 0); /* it has left */
    plant_crash(p, 0);
    plant_free(p);
}

static void a_flush_of_the_volume_that_fails_leaves_open_marks(void)
{
    plant *p = plant_running();
    rep_ticket ticket = {0};
    rep_volatile_fail_after(p->source->disk, 0, -EIO);
    CHECK_ERRNO(rep_volume_flush(p->volume, &ticket), EIO);
    for (int i = 0; i < ROWS; i++)
        CHECK_EQ(rep_bitmap_file_marked_open(p->rows[i]), 1);
    rep_volatile_fail_after(p->source->disk, 0, 0);
    end(p);
}

typedef struct job {
    plant *p;
    uint64_t seed;
    _Atomic int *left;
} job;

static void *write_much(void *argument)
{
    job *j = argument;
    for (int i = 0; i < 400; i++) {
        uint64_t chunk = check_below(&j->seed, CHUNKS - 2);
        CHECK_OK(plant_write(j->p, chunk * CHUNK, CHUNK * (1 + (uint64_t)i % 2), 1 + i % 250));
    }
    atomic_fetch_sub(j->left, 1);
    return NULL;
}

static void *tend(void *argument)
{
    job *j = argument;
    while (atomic_load(j->left)) {
        CHECK(rep_alog_checkpoint(j->p->log, 8) >= 0);
        CHECK_OK(rep_alog_forget(j->p->log));
        CHECK_OK(rep_link_save(j->p->links[1]));
        CHECK_OK(rep_link_settle(j->p->links[0]));
    }
    return NULL;
}

static void many_writers_share_few_slots_and_all_get_on(void)
{
    plant *p = plant_running();
    _Atomic int left = 6;
    job jobs[7];
    pthread_t threads[7];
    for (int i = 0; i < 7; i++) {
        jobs[i] = (job){p, (uint64_t)i + 1, &left};
        CHECK_EQ(pthread_create(&threads[i], NULL, i < 6 ? write_much : tend, &jobs[i]), 0);
    }
    for (int i = 0; i < 7; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    CHECK_EQ(plant_info(p).state, REP_ALOG_WORKING);
    /* As the power goes when everybody is done: the mirror holds all, what it has not flushed is
     * unsettled. */
    plant_crash(p, 4);
    plant_free(p);
}

static plant *meeting;

static int waiting_writers(void)
{
    int count = 0;
    pthread_mutex_lock(&meeting->log->mutex);
    for (const rep_alog_request *r = meeting->log->head; r; r = r->following)
        count++;
    pthread_mutex_unlock(&meeting->log->mutex);
    return count;
}

/* The first one's transaction takes until all others wait behind it. */
static void await_others(store *s)
{
    (void)s;
    while (waiting_writers() < (int)SLOTS)
        sched_yield();
}

static void *write_one(void *region)
{
    CHECK_OK(plant_write(meeting, (uint64_t)(uintptr_t)region * REGION, CHUNK, 1));
    return NULL;
}

static void writers_who_wait_for_a_transaction_share_the_next_one(void)
{
    plant *p = meeting = plant_running();
    pthread_t threads[SLOTS];
    uint64_t before = plant_info(p).transactions;
    p->log_store->before_flush = await_others;
    for (uint64_t r = 0; r < SLOTS; r++)
        CHECK_EQ(pthread_create(&threads[r], NULL, write_one, (void *)(uintptr_t)r), 0);
    for (uint64_t r = 0; r < SLOTS; r++)
        CHECK_EQ(pthread_join(threads[r], NULL), 0);
    CHECK_EQ(plant_info(p).admissions, SLOTS);
    CHECK_EQ(plant_info(p).transactions - before, 2);
    end(p);
}

static void a_wait_for_a_region_can_be_given_up(void)
{
    plant *p = plant_running();
    for (uint64_t r = 0; r < SLOTS; r++) { /* all slots are referenced */
        rep_alog_enter(p->log);
        CHECK_OK(rep_alog_admit(p->log, r, r + 1, REP_NO_DEADLINE, NULL));
    }
    rep_alog_enter(p->log);
    CHECK_ERRNO(rep_alog_admit(p->log, 5, 6, PAST, NULL), ETIMEDOUT);
    CHECK_ERRNO(rep_alog_admit(p->log, 5, 7, PAST, NULL), ETIMEDOUT);
    rep_alog_give_back(p->log, 0, 1);
    CHECK_ERRNO(rep_alog_admit(p->log, 5, 7, PAST, NULL), ETIMEDOUT); /* has one of two */
    rep_alog_give_back(p->log, 1, 2);
    CHECK_OK(rep_alog_admit(p->log, 5, 7, REP_NO_DEADLINE, NULL));
    rep_alog_give_back(p->log, 5, 7);
    rep_alog_give_back(p->log, 2, SLOTS);
    for (uint64_t r = 0; r <= SLOTS; r++)
        rep_alog_leave(p->log);
    end(p);
}

static int saved(plant *p, uint64_t bit)
{
    rep_bitmap *bits;
    CHECK_OK(rep_bitmap_new(CHUNKS, &bits));
    CHECK_OK(rep_bitmap_file_load(p->rows[0], bits));
    int set = rep_bitmap_test(bits, bit);
    rep_bitmap_free(bits);
    return set;
}

static void what_is_expected_is_in_the_pages_and_nowhere_else(void)
{
    plant *p = plant_running();
    const uint64_t bit = REGION / CHUNK + 3;
    rep_bitmap *expected;
    rep_bitmap *other;
    CHECK_OK(rep_bitmap_new(CHUNKS, &expected));
    CHECK_OK(rep_bitmap_new(CHUNKS - 1, &other));
    CHECK_OK(rep_bitmap_set(expected, bit, 1));
    CHECK_ERRNO(rep_link_expect(p->links[0], other), EINVAL);
    CHECK_OK(rep_link_expect(p->links[0], expected));
    CHECK_OK(rep_link_save(p->links[0]));
    CHECK_EQ(saved(p, bit), 1);
    CHECK_EQ(rep_bitmap_any(rep_link_pending(p->links[0])), 0);
    for (uint64_t r = 0; r < REGIONS; r++)
        CHECK_OK(plant_write(p, r * REGION, CHUNK, 1));
    CHECK_EQ(rep_alog_checkpoint(p->log, 0), 1); /* of its page, too: its region has left */
    CHECK_EQ(saved(p, bit), 1);
    CHECK_OK(rep_link_expect(p->links[0], NULL));
    CHECK_OK(rep_link_save(p->links[0]));
    CHECK_EQ(saved(p, bit), 0);
    rep_bitmap_free(expected);
    rep_bitmap_free(other);
    end(p);
}

int main(void)
{
    RUN(a_write_to_a_hot_region_needs_no_durable_write);
    RUN(a_write_across_two_regions_admits_both_at_once);
    RUN(the_least_recently_used_region_leaves);
    RUN(many_misses_cost_one_flush_of_the_volume_per_hot_set);
    RUN(the_ring_is_reused_after_a_checkpoint);
    RUN(a_log_that_fails_leaves_open_marks_and_lets_writes_go_on);
    RUN(a_write_fails_while_neither_log_nor_open_mark_can_be_written);
    RUN(a_page_that_fails_is_tried_again_by_the_next_checkpoint);
    RUN(an_older_write_that_ends_late_leaves_a_newer_one_its_flush);
    RUN(a_flush_of_the_volume_that_fails_leaves_open_marks);
    RUN(many_writers_share_few_slots_and_all_get_on);
    RUN(writers_who_wait_for_a_transaction_share_the_next_one);
    RUN(a_wait_for_a_region_can_be_given_up);
    RUN(what_is_expected_is_in_the_pages_and_nowhere_else);
    return 0;
}
