#include <sched.h>

#include "copy_rig.h"

#define SIZE (4ULL << 20)
#define CHUNKS (SIZE / CHUNK)

static void only_what_is_pending_is_copied(void)
{
    local l = local_of(SIZE);
    CHECK_EQ(put_bytes(l.source, 0, SIZE, 1), 0);
    pend(l.row, 3, 2);
    pend(l.row, 300, 1);
    CHECK_EQ(local_forward(&l), 0);
    rep_copy_progress progress = {0};
    CHECK_EQ(run(l.row, UINT64_MAX, &progress), 0);
    CHECK_EQ(progress.copied_bytes, 3 * CHUNK);
    CHECK_EQ(progress.zero_bytes, 0);
    CHECK_EQ(l.target.disk->pwrite_bytes, 3 * CHUNK);
    CHECK_EQ(chunk_byte(l.target, 4), 1);
    CHECK_EQ(chunk_byte(l.target, 5), 0);
    CHECK_EQ(pending_count(l.row), 0);
    CHECK(is_unsettled(l.row, 300));
    CHECK_EQ(rep_link_settle(l.row), 0);
    CHECK_EQ(cover_count(l.row), 0);
    local_free(&l);
}

static void zeros_are_punched_and_all_but_zero_is_data(void)
{
    local l = local_of(SIZE);
    CHECK_EQ(put_bytes(l.target, 0, SIZE, 9), 0);
    CHECK_EQ(put_bytes(l.source, 0, SIZE, 0), 0);
    CHECK_EQ(put_bytes(l.source, 5 * CHUNK - 1, 1, 1), 0); /* NUL except its last byte */
    CHECK_EQ(put_bytes(l.source, 7 * CHUNK, 1, 1), 0);
    pend(l.row, 0, CHUNKS);
    CHECK_EQ(local_forward(&l), 0);
    rep_copy_progress progress = {0};
    uint64_t before = l.target.disk->pwrite_bytes;
    CHECK_EQ(run(l.row, UINT64_MAX, &progress), 0);
    CHECK_EQ(l.target.disk->pwrite_bytes - before, 2 * CHUNK);
    CHECK_EQ(progress.zero_bytes, SIZE - 2 * CHUNK);
    CHECK(volumes_equal(l.source, l.target));
    local_free(&l);
}

static void holes_stay_holes_and_are_not_read(void)
{
    local l = local_of(SIZE);
    rep_extent extents[70];
    for (uint64_t i = 0; i < 70; i++) /* more than one scan can hold */
        extents[i] = (rep_extent){.offset = 2 * i * CHUNK, .length = CHUNK / 2};
    l.source.disk->extents = extents;
    l.source.disk->extent_count = 70;
    for (uint64_t i = 0; i < 70; i++)
        CHECK_EQ(put_bytes(l.source, extents[i].offset, extents[i].length, 4), 0);
    CHECK_EQ(put_bytes(l.target, 0, SIZE, 9), 0);
    pend(l.row, 0, CHUNKS);
    CHECK_EQ(local_forward(&l), 0);
    rep_copy_progress progress = {0};
    uint64_t before = l.target.disk->pwrite_bytes;
    CHECK_EQ(run(l.row, UINT64_MAX, &progress), 0);
    CHECK_EQ(l.target.disk->pwrite_bytes - before, 70 * CHUNK);
    CHECK(volumes_equal(l.source, l.target));
    local_free(&l);
}

static void a_copy_stops_about_where_it_should_and_goes_on_there(void)
{
    local l = local_of(SIZE);
    rep_copier *copier;
    rep_copy_progress progress = {0};
    CHECK_EQ(put_bytes(l.source, 0, SIZE, 1), 0);
    pend(l.row, 0, CHUNKS);
    CHECK_EQ(local_forward(&l), 0);
    CHECK_EQ(rep_copier_new(l.row, 1, &copier), 0);
    CHECK_EQ(rep_copier_run(copier, 0, 1, PAST, NULL, &progress), 1);
    CHECK_EQ(progress.copied_bytes, SIZE / 4); /* a region */
    CHECK_EQ(pending_count(l.row), CHUNKS * 3 / 4);
    CHECK_EQ(rep_copier_run(copier, 0, SIZE / 2, PAST, NULL, &progress), 1);
    CHECK_EQ(progress.copied_bytes, SIZE * 3 / 4);
    pend(l.row, 0, 1); /* behind the cursor */
    CHECK_EQ(rep_copier_run(copier, 0, UINT64_MAX, PAST, NULL, &progress), 0);
    CHECK_EQ(progress.copied_bytes, SIZE + CHUNK);
    CHECK_EQ(pending_count(l.row), 0);
    rep_copier_free(copier);
    local_free(&l);
}

static void the_last_partial_chunk_is_copied(void)
{
    local l = local_of(3 * CHUNK + 7);
    CHECK_EQ(put_bytes(l.source, 0, 3 * CHUNK + 7, 1), 0);
    pend(l.row, 0, 4);
    CHECK_EQ(local_forward(&l), 0);
    rep_copy_progress progress = {0};
    CHECK_EQ(run(l.row, UINT64_MAX, &progress), 0);
    CHECK_EQ(progress.copied_bytes, 3 * CHUNK + 7);
    CHECK(volumes_equal(l.source, l.target));
    local_free(&l);
}

static void a_row_that_does_not_work_is_not_copied(void)
{
    local l = local_of(SIZE);
    pend(l.row, 0, 1);
    CHECK_EQ(copy_all(l.row), -EPIPE);
    CHECK_EQ(rep_link_mark(l.row), 0);
    CHECK_EQ(copy_all(l.row), -EPIPE);
    CHECK(is_pending(l.row, 0));
    local_free(&l);
}

static void a_source_that_cannot_be_read_leaves_the_run_pending_and_the_row_at_work(void)
{
    local l = local_of(SIZE);
    pend(l.row, 5, 2);
    CHECK_EQ(local_forward(&l), 0);
    rep_volatile_fail_reads(l.source.disk->faulty, -EIO);
    CHECK_EQ(copy_all(l.row), -EIO);
    CHECK_EQ(info_of(l.row).broken, 0);
    CHECK_EQ(pending_count(l.row), 2);
    rep_volatile_fail_reads(l.source.disk->faulty, 0);
    CHECK_EQ(copy_all(l.row), 0);
    CHECK_EQ(pending_count(l.row), 0);
    local_free(&l);
}

static void a_target_that_fails_breaks_the_row_and_leaves_the_run_pending(void)
{
    local l = local_of(SIZE);
    pend(l.row, 5, 2);
    CHECK_EQ(local_forward(&l), 0);
    rep_volatile_fail_after(l.target.disk->faulty, 0, -ENOSPC);
    CHECK_EQ(copy_all(l.row), -EPIPE);
    CHECK_EQ(info_of(l.row).broken, -ENOSPC);
    CHECK_EQ(pending_count(l.row), 2);
    local_free(&l);
}

static void a_copy_into_a_volume_that_has_no_row_of_the_pair_may_fail_too(void)
{
    local l = local_of(SIZE);
    pend(l.row, 5, 2);
    CHECK_EQ(rep_link_forward(l.row, l.target.volume, NULL), 0);
    rep_volatile_fail_after(l.target.disk->faulty, 0, -EIO);
    CHECK_EQ(copy_all(l.row), -EPIPE);
    CHECK_EQ(pending_count(l.row), 2);
    local_free(&l);
}

static void a_copy_is_cancelled_between_its_regions(void)
{
    local l = local_of(SIZE);
    rep_wake *wake;
    rep_copier *copier;
    rep_copy_progress progress = {0};
    CHECK_EQ(rep_wake_new(&wake), 0);
    rep_wake_raise(wake);
    pend(l.row, 0, 1);
    CHECK_EQ(local_forward(&l), 0);
    CHECK_EQ(rep_copier_new(l.row, 1, &copier), 0);
    CHECK_EQ(rep_copier_run(copier, 0, UINT64_MAX, REP_NO_DEADLINE, wake, &progress), -ECANCELED);
    CHECK(is_pending(l.row, 0));
    rep_copier_free(copier);
    rep_wake_free(wake);
    local_free(&l);
}

static void settle_in_the_middle(disk *d)
{
    CHECK_EQ(rep_link_settle(d->hook_data), 0);
}

static void a_run_that_sleeps_over_a_settle_stays_unsettled(void)
{
    local l = local_of(SIZE);
    CHECK_EQ(put_chunk(l.source, 3, 1), 0);
    pend(l.row, 3, 1);
    CHECK_EQ(local_forward(&l), 0);
    l.target.disk->hook_data = l.row;
    l.target.disk->before_pwrite = settle_in_the_middle;
    CHECK_EQ(copy_all(l.row), 0);
    CHECK_EQ(rep_volatile_unflushed_count(l.target.disk->faulty), 1);
    CHECK(is_unsettled(l.row, 3));
    local_free(&l);
}

static void break_in_the_middle(disk *d)
{
    rep_link_break(d->hook_data, -EIO);
}

static void a_break_during_a_run_leaves_it_pending(void)
{
    local l = local_of(SIZE);
    CHECK_EQ(put_chunk(l.source, 3, 1), 0);
    pend(l.row, 3, 1);
    CHECK_EQ(local_forward(&l), 0);
    l.target.disk->hook_data = l.row;
    l.target.disk->before_pwrite = break_in_the_middle;
    CHECK_EQ(copy_all(l.row), -EPIPE);
    CHECK(is_pending(l.row, 3));
    local_free(&l);
}

static void what_is_copied_to_a_remote_target_is_unsettled_until_durable(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    rep_stream_break(r.stream, -EPIPE);
    CHECK_EQ(put_bytes(r.source, 8 * CHUNK, 8 * CHUNK, 1), 0);
    remote_reopen(&r);
    CHECK_EQ(copy_all(r.row), 0);
    CHECK_EQ(pending_count(r.row), 0);
    CHECK_EQ(cover_count(r.row), 8);
    pump(r.stream, r.apply);
    CHECK(volumes_equal(r.source, r.target));
    CHECK_EQ(cover_count(r.row), 8);
    pump_durable(r.stream, r.apply);
    CHECK_EQ(cover_count(r.row), 0);
    CHECK_EQ(info_of(r.row).any_unsettled, 0);
    remote_free(&r);
}

/* The source is slow to read; meanwhile everything sent becomes durable. */
static void settle_the_stream(disk *d)
{
    remote *r = d->hook_data;
    pump_durable(r->stream, r->apply);
    CHECK(is_covered(r->row, 20));
    CHECK(is_covered(r->row, 21));
}

static void a_run_is_covered_all_the_while_it_is_read(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    rep_extent extents[] = {{20 * CHUNK, CHUNK}, {21 * CHUNK, CHUNK}}; /* two reads */
    CHECK_EQ(rep_link_mark(r.row), 0);
    CHECK_EQ(put_bytes(r.source, 20 * CHUNK, 2 * CHUNK, 1), 0);
    r.source.disk->extents = extents;
    r.source.disk->extent_count = 2;
    CHECK_EQ(rep_link_ship(r.row, r.stream, 1, REP_ACK_QUEUED), 0);
    CHECK_EQ(put_chunk(r.source, 0, 1), 0);
    r.source.disk->hook_data = &r;
    r.source.disk->before_pread = settle_the_stream;
    CHECK_EQ(copy_all(r.row), 0);
    pump_durable(r.stream, r.apply);
    CHECK_EQ(info_of(r.row).any_unsettled, 0);
    CHECK_EQ(cover_count(r.row), 0);
    CHECK(volumes_equal(r.source, r.target));
    remote_free(&r);
}

static void break_the_stream(disk *d)
{
    rep_stream_break(d->hook_data, -EPIPE);
}

static void a_path_lost_while_a_run_is_read_leaves_it_pending(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    CHECK_EQ(put_chunk(r.source, 20, 1), 0);
    rep_stream_break(r.stream, -EPIPE);
    remote_reopen(&r);
    r.source.disk->hook_data = r.stream;
    r.source.disk->before_pread = break_the_stream;
    CHECK_EQ(copy_all(r.row), -EPIPE);
    CHECK(is_pending(r.row, 20));
    CHECK_EQ(stream_info(r.stream).last, 1);
    remote_free(&r);
}

/* 105b ships to a third system while 106b is copied into it. */
static void a_stream_of_the_target_that_breaks_does_not_end_the_copy(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    vol generation = vol_new(r.trees[0], SIZE);
    rep_link *row = link_new(generation, 0);
    CHECK_EQ(put_bytes(generation, 0, SIZE, 3), 0);
    pend(row, 0, CHUNKS);
    CHECK_EQ(rep_link_forward(row, r.source.volume, NULL), 0);
    r.source.disk->hook_data = r.stream;
    r.source.disk->before_pwrite = break_the_stream;
    CHECK_EQ(copy_all(row), 0);
    CHECK_EQ(info_of(row).broken, 0);
    CHECK(volumes_equal(generation, r.source));
    CHECK_EQ(pending_count(r.row), CHUNKS);
    rep_link_free(row);
    vol_free(generation);
    remote_free(&r);
}

typedef struct copying {
    rep_link *row;
    _Atomic bool begun;
    int result;
} copying;

static void *copy_and_tell(void *argument)
{
    copying *c = argument;
    atomic_store(&c->begun, true);
    c->result = copy_all(c->row);
    return NULL;
}

static void a_full_stream_of_the_target_that_breaks_does_not_end_the_copy(void)
{
    for (int i = 0; i < 50; i++) {
        remote r = remote_new(1 << 20, REP_ACK_QUEUED);
        vol generation = vol_new(r.trees[0], 1 << 20);
        copying c = {.row = link_new(generation, 0), .result = 1};
        CHECK_EQ(rep_stream_reserve(r.stream, CAPACITY), 0);
        CHECK_EQ(put_bytes(generation, 0, 1 << 20, 3), 0);
        pend(c.row, 0, (1 << 20) / CHUNK);
        CHECK_EQ(rep_link_forward(c.row, r.source.volume, NULL), 0);
        pthread_t thread = thread_start(copy_and_tell, &c);
        while (!atomic_load(&c.begun))
            sched_yield();
        for (int yields = 0; yields < 10 * i; yields++) /* mostly asleep by then */
            sched_yield();
        rep_stream_break(r.stream, -EPIPE);
        thread_join(thread);
        CHECK_EQ(c.result, 0);
        CHECK(volumes_equal(generation, r.source));
        rep_link_free(c.row);
        vol_free(generation);
        remote_free(&r);
    }
}

static void a_copy_waits_for_queue_room_without_holding_anything(void)
{
    remote r = remote_new(2 * SIZE, REP_ACK_QUEUED);
    rep_copier *copier;
    rep_copy_progress progress = {0};
    rep_stream_break(r.stream, -EPIPE);
    CHECK_EQ(put_bytes(r.source, 0, 2 * SIZE, 6), 0);
    remote_reopen(&r);
    CHECK_EQ(rep_copier_new(r.row, 1, &copier), 0);
    int rc;
    while ((rc = rep_copier_run(copier, 0, UINT64_MAX, PAST, NULL, &progress)) == -ETIMEDOUT) {
        CHECK_EQ(rep_volume_fence(r.source.volume, REP_FENCE_NONE, PAST, NULL), 0);
        pump(r.stream, r.apply);
    }
    CHECK_EQ(rc, 0);
    CHECK_EQ(progress.copied_bytes, 2 * SIZE);
    pump(r.stream, r.apply);
    CHECK(volumes_equal(r.source, r.target));
    rep_copier_free(copier);
    remote_free(&r);
}

#define MANY_CHUNKS (1ULL << 18)

typedef struct mover {
    local *l;
    _Atomic uint64_t phase; /* odd: the chunk is pending, on its way, or unsettled */
    _Atomic uint64_t begun; /* gatherings of the cover */
    _Atomic uint64_t ended;
    _Atomic bool stop;
} mover;

static void await_next(const mover *m, const _Atomic uint64_t *count)
{
    for (uint64_t seen = atomic_load(count); seen == atomic_load(count);)
        if (atomic_load(&m->stop))
            return;
        else
            sched_yield();
}

static void *move_to_and_fro(void *argument)
{
    mover *m = argument;
    uint64_t seed = 1;
    while (!atomic_load(&m->stop)) {
        pend(m->l->row, 3, 1);
        /* Much else in the other epoch: gathering the cover takes a while between the bitmaps. */
        CHECK_EQ(rep_bitmap_set(m->l->row->unsettled[1], 8, MANY_CHUNKS - 8), 0);
        atomic_fetch_add(&m->phase, 1);
        await_next(m, &m->begun);
        for (uint64_t i = check_below(&seed, 2000); i; i--)
            (void)atomic_load(&m->begun);
        CHECK_EQ(copy_all(m->l->row), 0);
        await_next(m, &m->ended);
        atomic_fetch_add(&m->phase, 1);
        CHECK_EQ(rep_link_settle(m->l->row), 0);
    }
    return NULL;
}

static void a_chunk_on_its_way_from_pending_to_unsettled_is_never_out_of_sight(void)
{
    local l = local_of(MANY_CHUNKS * CHUNK);
    mover m = {.l = &l};
    rep_bitmap *cover;
    CHECK_EQ(rep_bitmap_new(MANY_CHUNKS, &cover), 0);
    CHECK_EQ(put_chunk(l.source, 3, 1), 0);
    CHECK_EQ(local_forward(&l), 0);
    pthread_t thread = thread_start(move_to_and_fro, &m);
    for (int seen = 0; seen < 400;) {
        uint64_t phase = atomic_load(&m.phase);
        rep_bitmap_reset(cover);
        atomic_fetch_add(&m.begun, 1);
        CHECK_EQ(rep_link_collect(l.row, cover), 0);
        bool same = atomic_load(&m.phase) == phase;
        atomic_fetch_add(&m.ended, 1);
        if (phase % 2 == 0 || !same)
            continue;
        CHECK_EQ(rep_bitmap_test(cover, 3), 1);
        seen++;
    }
    atomic_store(&m.stop, true);
    thread_join(thread);
    rep_bitmap_free(cover);
    local_free(&l);
}

int main(void)
{
    RUN(only_what_is_pending_is_copied);
    RUN(zeros_are_punched_and_all_but_zero_is_data);
    RUN(holes_stay_holes_and_are_not_read);
    RUN(a_copy_stops_about_where_it_should_and_goes_on_there);
    RUN(the_last_partial_chunk_is_copied);
    RUN(a_row_that_does_not_work_is_not_copied);
    RUN(a_source_that_cannot_be_read_leaves_the_run_pending_and_the_row_at_work);
    RUN(a_target_that_fails_breaks_the_row_and_leaves_the_run_pending);
    RUN(a_copy_into_a_volume_that_has_no_row_of_the_pair_may_fail_too);
    RUN(a_copy_is_cancelled_between_its_regions);
    RUN(a_run_that_sleeps_over_a_settle_stays_unsettled);
    RUN(a_break_during_a_run_leaves_it_pending);
    RUN(what_is_copied_to_a_remote_target_is_unsettled_until_durable);
    RUN(a_run_is_covered_all_the_while_it_is_read);
    RUN(a_path_lost_while_a_run_is_read_leaves_it_pending);
    RUN(a_stream_of_the_target_that_breaks_does_not_end_the_copy);
    RUN(a_full_stream_of_the_target_that_breaks_does_not_end_the_copy);
    RUN(a_copy_waits_for_queue_room_without_holding_anything);
    RUN(a_chunk_on_its_way_from_pending_to_unsettled_is_never_out_of_sight);
    return 0;
}
