/* Room in a queue: who finds it, who waits for it, what is kept for whom. */
#include <sched.h>

#include "rig.h"

#define SIZE (1ULL << 20)

typedef struct room_waiter {
    rep_stream *stream;
    uint64_t bytes;
    _Atomic bool begun;
    int result;
} room_waiter;

static void *wait_for_room(void *argument)
{
    room_waiter *w = argument;
    atomic_store(&w->begun, true);
    w->result = rep_stream_wait_room(w->stream, w->bytes, REP_NO_DEADLINE, NULL);
    return NULL;
}

/* Nobody else wakes it: no handle, no deadline, nothing to acknowledge. */
static void room_that_is_given_back_wakes_who_waits_for_it(void)
{
    for (int i = 0; i < 200; i++) {
        rep_stream *stream = stream_new();
        CHECK_EQ(rep_stream_reserve(stream, CAPACITY), 0);
        CHECK_EQ(rep_stream_reserve(stream, 1), -EAGAIN);
        room_waiter w = {.stream = stream, .bytes = CAPACITY / 2, .result = 1};
        pthread_t thread = thread_start(wait_for_room, &w);
        while (!atomic_load(&w.begun))
            sched_yield();
        for (int yields = 0; yields < i; yields++) /* mostly asleep by then, sometimes not yet */
            sched_yield();
        rep_stream_unreserve(stream, CAPACITY);
        thread_join(thread);
        CHECK_EQ(w.result, 0);
        rep_stream_free(stream);
    }
}

/* Else small writes, which always find some room, would keep a large one waiting for ever. */
static void what_becomes_free_is_kept_for_who_waits_also_while_it_is_away_for_a_moment(void)
{
    const uint64_t large = CAPACITY / 4;
    rep_stream *stream = stream_new();
    CHECK_EQ(rep_stream_reserve(stream, CAPACITY - 100), 0);
    CHECK_EQ(rep_stream_wait_room(stream, large, PAST, NULL), -ETIMEDOUT);
    CHECK_EQ(rep_stream_reserve(stream, 50), -EAGAIN);
    rep_stream_unreserve(stream, large / 2);
    CHECK_EQ(rep_stream_reserve(stream, 50), -EAGAIN);
    CHECK_EQ(rep_stream_wait_room(stream, 50, PAST, NULL), -ETIMEDOUT);
    rep_stream_unreserve(stream, large / 2);
    CHECK_EQ(rep_stream_reserve(stream, 101), -EAGAIN);
    CHECK_EQ(rep_stream_reserve(stream, 100), 0); /* what is over */
    CHECK_EQ(rep_stream_wait_room(stream, large, PAST, NULL), 0);
    CHECK_EQ(rep_stream_reserve(stream, 1), -EAGAIN);
    rep_stream_unreserve(stream, large);
    CHECK_EQ(rep_stream_reserve(stream, large), 0); /* nothing is kept any more */
    rep_stream_free(stream);
}

static void a_record_without_reserved_room_is_refused(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    uint8_t bytes[64] = {0};
    uint64_t attempt;
    uint64_t number;
    uint64_t reserved = 0;
    rep_shipment zero = {.type = REP_RECORD_ZERO, .length = CHUNK};
    CHECK_EQ(rep_stream_append(r.stream, r.row, &zero, &reserved, &attempt, &number), -ENOBUFS);
    CHECK_EQ(rep_stream_reserve(r.stream, 95), 0);
    reserved = 95;
    rep_shipment data = {.type = REP_RECORD_DATA, .length = 64, .payload = bytes};
    CHECK_EQ(rep_stream_append(r.stream, r.row, &data, &reserved, &attempt, &number), -ENOBUFS);
    CHECK_EQ(reserved, 95);
    CHECK_EQ(rep_stream_reserve(r.stream, 1), 0);
    reserved = 96;
    CHECK_EQ(rep_stream_append(r.stream, r.row, &data, &reserved, &attempt, &number), 0);
    CHECK_EQ(reserved, 0);
    CHECK_EQ(number, 1);
    remote_free(&r);
}

static void room_for_a_write_is_given_back_whole(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    uint64_t seed = 9;
    for (int i = 0; i < 500; i++) {
        uint64_t offset = check_below(&seed, SIZE - 1);
        uint64_t length = 1 + check_below(&seed, SIZE - offset);
        uint64_t chunk = check_below(&seed, SIZE / CHUNK);
        CHECK_EQ(rep_bitmap_set(rep_link_pending(r.row), chunk, 1), 0);
        CHECK_EQ(put_bytes(r.source, offset, length, i), 0);
        if (i % 3 == 0)
            CHECK_EQ(copy_all(r.row), 0);
        pump(r.stream, r.apply);
    }
    CHECK_EQ(copy_all(r.row), 0);
    pump(r.stream, r.apply);
    CHECK(volumes_equal(r.source, r.target));
    CHECK_EQ(rep_stream_reserve(r.stream, CAPACITY), 0); /* nothing was kept */
    CHECK_EQ(info_of(r.row).broken, 0);
    remote_free(&r);
}

static void two_rows_that_ship_into_one_stream_find_room_each(void)
{
    remote r = remote_new(1 << 20, REP_ACK_QUEUED);
    vol target = vol_new(r.trees[1], 1 << 20);
    rep_link *second = link_new(r.source, 0);
    rep_link *mirror_row = link_new(target, 0);
    CHECK_EQ(rep_link_ship(second, r.stream, 2, REP_ACK_QUEUED), 0);
    CHECK_EQ(rep_apply_bind(r.apply, 2, mirror_row), 0);
    CHECK_EQ(put_bytes(r.source, 0, 1 << 20, 5), 0);
    CHECK_EQ(info_of(second).broken, 0);
    CHECK_EQ(info_of(r.row).broken, 0);
    pump(r.stream, r.apply);
    CHECK(volumes_equal(r.source, r.target));
    CHECK(volumes_equal(r.source, target));
    rep_link_free(second);
    rep_apply_unbind(r.apply, 2);
    rep_link_free(mirror_row);
    vol_free(target);
    remote_free(&r);
}

static void who_lacks_room_for_two_rows_waits_for_room_for_both(void)
{
    rep_stream *stream = stream_new();
    rep_room room = {0};
    rep_stream *full = NULL;
    uint64_t full_bytes = 0;
    CHECK_EQ(rep_stream_reserve(stream, CAPACITY - 100), 0);
    CHECK_EQ(rep_room_add(&room, stream, 60, &full, &full_bytes), 0);
    CHECK_EQ(rep_room_add(&room, stream, 60, &full, &full_bytes), -EAGAIN);
    CHECK(full == stream);
    CHECK_EQ(full_bytes, 120);
    rep_room_give_back(&room);
    CHECK_EQ(rep_stream_reserve(stream, 100), 0);
    rep_stream_free(stream);
}

static uint64_t fill_queue(remote *r, rep_wake *wake, uint64_t deadline_ns, int *rc)
{
    uint64_t length = 1 << 20;
    uint8_t *buffer = check_alloc(length);
    rep_ticket ticket = {0};
    uint64_t written = 0;
    uint64_t done = 0;
    do {
        *rc = rep_volume_pwrite(r->source.volume, buffer, length, 0, 0, deadline_ns, wake, &ticket,
                                &done);
        written += done;
    } while (!*rc);
    free(buffer);
    return written;
}

static void a_full_queue_keeps_a_write_out_untouched(void)
{
    remote r = remote_new(1 << 20, REP_ACK_QUEUED);
    int rc;
    uint64_t written = fill_queue(&r, NULL, PAST, &rc);
    CHECK_EQ(rc, -ETIMEDOUT);
    CHECK(written > 0 && written <= CAPACITY);
    CHECK_EQ(info_of(r.row).broken, 0);
    CHECK(stream_info(r.stream).queued_bytes <= CAPACITY);
    uint64_t bytes = r.source.disk->pwrite_bytes;
    CHECK_EQ(put_bytes(r.source, 0, 0, 1), 0);
    CHECK_EQ(r.source.disk->pwrite_bytes, bytes);
    pump(r.stream, r.apply);
    CHECK_EQ(put_bytes(r.source, 0, 1 << 20, 9), 0);
    pump(r.stream, r.apply);
    CHECK(volumes_equal(r.source, r.target));
    remote_free(&r);
}

typedef struct writer {
    remote *r;
    rep_wake *wake;
    int result;
} writer;

static void *write_until_it_fails(void *argument)
{
    writer *w = argument;
    (void)fill_queue(w->r, w->wake, REP_NO_DEADLINE, &w->result);
    return NULL;
}

static void a_stalled_reader_blocks_writers_but_never_a_cut(void)
{
    remote r = remote_new(1 << 20, REP_ACK_QUEUED);
    rep_wake *wake;
    CHECK_EQ(rep_wake_new(&wake), 0);
    writer writers[2] = {{.r = &r, .wake = wake}, {.r = &r, .wake = wake}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        threads[i] = thread_start(write_until_it_fails, &writers[i]);
    for (int i = 0; i < 200; i++) {
        rep_cut_item items[] = {
            {.verb = REP_CUT_GATE, .volume = r.source.volume},
            {.verb = REP_CUT_CORK, .stream = r.stream},
        };
        uint64_t closed_ns;
        int failed;
        CHECK_EQ(rep_group_cut(items, 2, REP_NO_DEADLINE, NULL, &closed_ns, &failed), 0);
        rep_stream_uncork(r.stream);
    }
    rep_wake_raise(wake);
    for (int i = 0; i < 2; i++) {
        thread_join(threads[i]);
        CHECK_EQ(writers[i].result, -ECANCELED);
    }
    CHECK_EQ(info_of(r.row).broken, 0);
    rep_wake_free(wake);
    remote_free(&r);
}

int main(void)
{
    RUN(room_that_is_given_back_wakes_who_waits_for_it);
    RUN(what_becomes_free_is_kept_for_who_waits_also_while_it_is_away_for_a_moment);
    RUN(a_record_without_reserved_room_is_refused);
    RUN(room_for_a_write_is_given_back_whole);
    RUN(two_rows_that_ship_into_one_stream_find_room_each);
    RUN(who_lacks_room_for_two_rows_waits_for_room_for_both);
    RUN(a_full_queue_keeps_a_write_out_untouched);
    RUN(a_stalled_reader_blocks_writers_but_never_a_cut);
    return 0;
}
