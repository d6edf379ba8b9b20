/* What has left and is settled costs a crash nothing, also if nobody writes any more: pages and log
 * forget it. */
#include <sched.h>

#include "alog_rig.h"

static void write_everywhere(plant *p)
{
    for (uint64_t r = 0; r < REGIONS; r++)
        CHECK_OK(plant_write(p, r * REGION, CHUNK, 1));
}

/* How many chunks of a region the mirror's row would have pending after a crash. */
static uint64_t pending_in(plant *p, uint64_t region)
{
    bool lost;
    rep_alog *log = plant_log(p, &lost);
    CHECK(!lost);
    rep_bitmap *bits;
    CHECK_OK(rep_bitmap_new(CHUNKS, &bits));
    rep_bitmap_key key = plant_key(0);
    rep_bitmap_file *file;
    CHECK_OK(rep_bitmap_file_open_on(&p->files[0]->io, &key, &file));
    CHECK_EQ(rep_bitmap_file_marked_logged(file), 1);
    CHECK_OK(rep_bitmap_file_load(file, bits));
    CHECK_OK(rep_alog_replay(log, key.row_id, CHUNK, bits));
    rep_bitmap_file_free(file);
    rep_alog_free(log);
    uint64_t count = 0;
    for (uint64_t i = 0; i < REGION / CHUNK; i++)
        count += rep_bitmap_test(bits, region * (REGION / CHUNK) + i) == 1;
    rep_bitmap_free(bits);
    return count;
}

/* How many transactions a call takes. */
static uint64_t forgetting(plant *p)
{
    uint64_t before = plant_info(p).transactions;
    CHECK_OK(rep_alog_forget(p->log));
    return plant_info(p).transactions - before;
}

static void settle_and_save(plant *p)
{
    CHECK_OK(rep_link_settle(p->links[0]));
    CHECK_EQ(rep_alog_checkpoint(p->log, 0), 1);
    CHECK_OK(rep_link_save(p->links[0]));
}

static void what_left_and_was_settled_is_not_pending_after_a_crash(void)
{
    plant *p = plant_running();
    write_everywhere(p);
    CHECK_EQ(pending_in(p, 0), 1);
    settle_and_save(p);
    CHECK_EQ(pending_in(p, 0), 1); /* the log says so, as long as nobody is admitted */
    CHECK_EQ(forgetting(p), 1);
    CHECK_EQ(pending_in(p, 0), 0);
    CHECK_EQ(pending_in(p, REGIONS - 1), REGION / CHUNK); /* hot */
    plant_crash(p, 1);
    plant_free(p);
}

static void what_is_unsettled_stays_pending(void)
{
    plant *p = plant_running();
    write_everywhere(p);
    CHECK_EQ(rep_alog_checkpoint(p->log, 0), 1);
    CHECK_OK(rep_link_save(p->links[0]));
    CHECK_OK(rep_alog_forget(p->log));
    CHECK_EQ(pending_in(p, 0), 1);
    plant_stop(p);
    plant_free(p);
}

static plant *amid;

/* Region 0 is written to, and leaves. */
static void let_one_leave(store *s)
{
    (void)s;
    CHECK_OK(plant_write(amid, 0, CHUNK, 2));
    for (uint64_t r = SLOTS; r < REGIONS; r++)
        CHECK_OK(plant_write(amid, r * REGION, CHUNK, 2));
}

static void what_leaves_amid_a_checkpoint_is_not_forgotten(void)
{
    plant *p = amid = plant_running();
    for (uint64_t r = SLOTS; r < REGIONS; r++)
        CHECK_OK(plant_write(p, r * REGION, CHUNK, 1));
    for (uint64_t r = 0; r < SLOTS; r++)
        CHECK_OK(plant_write(p, r * REGION, CHUNK, 1));
    CHECK_OK(rep_link_settle(p->links[0]));
    p->files[ROWS - 1]->before_flush = let_one_leave; /* its pages are written */
    CHECK_EQ(rep_alog_checkpoint(p->log, 0), 1);
    CHECK_EQ(forgetting(p), 1);
    CHECK_EQ(pending_in(p, 0), 1);
    plant_crash(p, 1);
    plant_free(p);
}

static void without_anything_to_forget_nothing_is_written(void)
{
    plant *p = plant_running();
    uint64_t before = plant_info(p).transactions;
    CHECK_OK(rep_alog_forget(p->log));
    CHECK_OK(plant_write(p, 0, CHUNK, 1));
    CHECK_EQ(rep_alog_checkpoint(p->log, 0), 0);
    CHECK_OK(rep_alog_forget(p->log));
    CHECK_EQ(plant_info(p).transactions, before + 1); /* of the write: nothing has left */
    plant_stop(p);
    plant_free(p);
}

static void each_thing_is_forgotten_once_through_the_whole_ring_and_again(void)
{
    plant *p = plant_running();
    uint64_t rounds = 3 * plant_info(p).ring_blocks;
    for (uint64_t i = 0; i < rounds; i++) {
        CHECK_OK(plant_write(p, i % REGIONS * REGION, CHUNK, (int)(1 + i % 250)));
        if (i % 7 == 0 && i > SLOTS) { /* freed, and told with the next admission */
            CHECK_EQ(rep_alog_checkpoint(p->log, 0), 1);
            CHECK_OK(plant_write(p, (i + SLOTS) % REGIONS * REGION, CHUNK, 1));
        }
        CHECK_EQ(forgetting(p), 0); /* no page has it yet */
        CHECK_OK(rep_link_settle(p->links[0]));
        int done = rep_alog_checkpoint(p->log, 0);
        CHECK(done >= 0);
        CHECK_EQ(forgetting(p), (uint64_t)done);
        CHECK_EQ(rep_alog_checkpoint(p->log, 0), 0);
        CHECK_EQ(forgetting(p), 0);
    }
    CHECK_EQ(plant_info(p).state, REP_ALOG_WORKING);
    plant_crash(p, 2);
    CHECK_OK(plant_start(p));
    plant_stop(p);
    plant_free(p);
}

static void forget_in_vain(store *s)
{
    (void)s;
    CHECK_EQ(rep_alog_forget(amid->log), 0);
}

static void who_has_nothing_to_tell_waits_for_no_transaction(void)
{
    plant *p = amid = plant_running();
    write_everywhere(p);
    p->log_store->before_flush = forget_in_vain;
    CHECK_OK(plant_write(p, 0, CHUNK, 2));
    CHECK(!p->log_store->before_flush);
    plant_stop(p);
    plant_free(p);
}

static void free_all(store *s)
{
    (void)s;
    CHECK_EQ(rep_alog_checkpoint(amid->log, 0), 1);
}

static void what_is_freed_while_a_transaction_is_written_is_forgotten(void)
{
    plant *p = amid = plant_running();
    for (uint64_t r = 0; r <= SLOTS; r++)
        CHECK_OK(plant_write(p, r * REGION, CHUNK, 1));
    CHECK_OK(rep_link_settle(p->links[0]));
    p->log_store->before_flush = free_all; /* for the first time since it began */
    CHECK_OK(plant_write(p, (SLOTS + 1) * REGION, CHUNK, 1));
    CHECK_EQ(pending_in(p, 0), 1);
    CHECK_EQ(forgetting(p), 1);
    CHECK_EQ(pending_in(p, 0), 0);
    p->log_store->before_flush = free_all;
    CHECK_OK(plant_write(p, (SLOTS + 2) * REGION, CHUNK, 1));
    CHECK_EQ(forgetting(p), 1);
    plant_crash(p, 4);
    plant_free(p);
}

static void *write_across(void *argument)
{
    plant *p = argument;
    CHECK_OK(plant_write(p, 5 * REGION - CHUNK, 2 * CHUNK, 2));
    return NULL;
}

/* Somebody has got the first of two regions, and waits for a slot for the other. */
static void one_that_fails_lets_those_who_wait_go_by_the_log(void)
{
    plant *p = plant_running();
    for (uint64_t r = 0; r < SLOTS; r++)
        CHECK_OK(plant_write(p, r * REGION, CHUNK, 1));
    CHECK_OK(rep_alog_take(p->log, 0, SLOTS - 1));
    pthread_t writer;
    CHECK_EQ(pthread_create(&writer, NULL, write_across, p), 0);
    while (!atomic_load(&p->log->starving) || !(p->log->regions[4] & REP_ALOG_REFERENCES))
        sched_yield();
    CHECK_EQ(rep_alog_checkpoint(p->log, 0), 1);
    rep_volatile_fail_after(p->log_store->disk, 0, -EIO);
    CHECK_ERRNO(rep_alog_forget(p->log), EIO);
    CHECK_EQ(pthread_join(writer, NULL), 0);
    CHECK_EQ(plant_info(p).state, REP_ALOG_BYPASSED);
    CHECK_EQ(plant_info(p).error, -EIO);
    for (int i = 0; i < ROWS; i++)
        CHECK_EQ(rep_bitmap_file_marked_open(p->rows[i]), 1);
    CHECK_OK(rep_alog_forget(p->log)); /* as nobody is admitted now */
    rep_alog_give_back(p->log, 0, SLOTS - 1);
    for (uint64_t r = 0; r < REGIONS; r++)
        CHECK_EQ(p->log->regions[r] & REP_ALOG_REFERENCES, 0);
    rep_volatile_fail_after(p->log_store->disk, 0, 0);
    CHECK_OK(rep_alog_begin(p->log, p->volume));
    for (int i = 0; i < ROWS; i++)
        CHECK_OK(rep_link_save(p->links[i]));
    write_everywhere(p);
    plant_crash(p, 3);
    plant_free(p);
}

int main(void)
{
    RUN(what_left_and_was_settled_is_not_pending_after_a_crash);
    RUN(what_is_unsettled_stays_pending);
    RUN(what_leaves_amid_a_checkpoint_is_not_forgotten);
    RUN(without_anything_to_forget_nothing_is_written);
    RUN(each_thing_is_forgotten_once_through_the_whole_ring_and_again);
    RUN(who_has_nothing_to_tell_waits_for_no_transaction);
    RUN(what_is_freed_while_a_transaction_is_written_is_forgotten);
    RUN(one_that_fails_lets_those_who_wait_go_by_the_log);
    return 0;
}
