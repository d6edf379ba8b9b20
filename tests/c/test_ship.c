#include <sched.h>

#include "rep_wire.h"
#include "rig.h"

#define SIZE (1ULL << 20)

static uint8_t frame[REP_FRAME_BYTES];

static int take(rep_stream *stream, rep_frame_info *info)
{
    uint64_t length;
    int rc = rep_stream_take(stream, frame, PAST, NULL, &length);
    return rc ? rc : rep_frame_check(frame, length, info);
}

/* Takes all there is; answers the last record's number. */
static uint64_t take_all(rep_stream *stream)
{
    rep_frame_info info = {0};
    while (take(stream, &info) == 0)
        ;
    return stream_info(stream).taken;
}

static void acknowledge(rep_stream *stream, uint64_t received, uint64_t durable)
{
    CHECK_EQ(rep_stream_ack(stream, stream_info(stream).attempt, received, durable), 0);
}

static void records_are_numbered_in_the_order_of_the_writes(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    for (uint64_t i = 0; i < 3; i++)
        CHECK_EQ(put_chunk(r.source, 2 - i, (int)i), 0);
    rep_frame_info info;
    CHECK_EQ(take(r.stream, &info), 0);
    CHECK_EQ(info.stream_id, 7);
    CHECK_EQ(info.attempt, 1);
    CHECK_EQ(info.first_number, 1);
    CHECK_EQ(info.record_count, 3);
    const uint8_t *at = frame + REP_FRAME_HEADER_BYTES;
    for (uint64_t i = 0; i < 3; i++) {
        rep_record record;
        int size = rep_record_get(at, REP_FRAME_BYTES, &record);
        CHECK_EQ(size, REP_RECORD_HEADER_BYTES + (int)CHUNK);
        CHECK_EQ(record.offset, (2 - i) * CHUNK);
        CHECK_EQ(record.channel, 1);
        CHECK_EQ(record.payload[0], i);
        at += size;
    }
    CHECK_EQ(take(r.stream, &info), -ETIMEDOUT);
    remote_free(&r);
}

static void the_ring_wraps_without_mixing_bytes(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    uint64_t seed = 5;
    for (int round = 0; round < 40; round++) {
        for (int i = 0; i < 3; i++) {
            uint64_t offset = check_below(&seed, SIZE - 1);
            uint64_t length = 1 + check_below(&seed, SIZE - offset);
            CHECK_EQ(put_bytes(r.source, offset, length, round + i), 0);
        }
        /* Something stays queued: an empty ring would begin at its front again. */
        CHECK_EQ(put_chunk(r.source, 0, round), 0);
        uint64_t queued = stream_info(r.stream).last;
        while (apply_info(r.apply).applied + 1 < queued && carry(r.stream, r.apply) == 0) {
            uint64_t applied = apply_info(r.apply).applied;
            acknowledge(r.stream, applied < queued ? applied : queued - 1, 0);
        }
        CHECK(stream_info(r.stream).queued_bytes > 0);
        if (apply_info(r.apply).applied < queued)
            CHECK_EQ(carry(r.stream, r.apply), 0);
        CHECK(volumes_equal(r.source, r.target));
    }
    CHECK(stream_info(r.stream).frame_bytes > 2 * CAPACITY);
    pump(r.stream, r.apply);
    acknowledge(r.stream, apply_info(r.apply).applied, 0);
    CHECK_EQ(stream_info(r.stream).queued_bytes, 0);
    remote_free(&r);
}

static void memory_is_freed_when_the_peer_has_received(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    CHECK_EQ(put_chunk(r.source, 0, 1), 0);
    uint64_t queued = stream_info(r.stream).queued_bytes;
    CHECK_EQ(queued, CHUNK + REP_RECORD_HEADER_BYTES);
    (void)take_all(r.stream);
    CHECK_EQ(stream_info(r.stream).queued_bytes, queued);
    acknowledge(r.stream, 1, 0);
    CHECK_EQ(stream_info(r.stream).queued_bytes, 0);
    remote_free(&r);
}

static void numbers_that_were_never_sent_are_not_acknowledged(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    CHECK_EQ(put_chunk(r.source, 0, 1), 0);
    CHECK_EQ(rep_stream_ack(r.stream, 1, 1, 0), -EBADMSG);
    (void)take_all(r.stream);
    CHECK_EQ(rep_stream_ack(r.stream, 1, 1, 2), -EBADMSG);
    CHECK_EQ(rep_stream_ack(r.stream, 2, 1, 1), -ESTALE);
    CHECK_EQ(stream_info(r.stream).received, 0);
    CHECK_EQ(rep_stream_ack(r.stream, 1, 1, 1), 0);
    remote_free(&r);
}

static void received_frees_memory_and_settles_nothing(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    CHECK_EQ(put_chunk(r.source, 0, 1), 0);
    rep_stream_barrier(r.stream);
    uint64_t last = take_all(r.stream);
    CHECK_EQ(last, 2);
    acknowledge(r.stream, last, 0);
    CHECK(is_unsettled(r.row, 0));
    acknowledge(r.stream, last, 1); /* the record, not yet its barrier */
    CHECK(is_unsettled(r.row, 0));
    acknowledge(r.stream, last, 2);
    CHECK_EQ(cover_count(r.row), 0);
    remote_free(&r);
}

static void a_late_acknowledgement_leaves_a_newer_mark_alone(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    CHECK_EQ(put_chunk(r.source, 0, 1), 0);
    CHECK_EQ(put_chunk(r.source, 1, 1), 0);
    rep_stream_barrier(r.stream);
    uint64_t barrier = take_all(r.stream);
    CHECK_EQ(put_chunk(r.source, 0, 2), 0); /* the same chunk, newer bytes */
    CHECK_EQ(rep_bitmap_set(rep_link_pending(r.row), 5, 1), 0);
    acknowledge(r.stream, barrier, barrier);
    CHECK(is_unsettled(r.row, 0));
    CHECK(!is_unsettled(r.row, 1));
    CHECK(is_pending(r.row, 5));
    remote_free(&r);
}

static void a_barrier_before_a_record_never_drops_its_bit(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    uint64_t durable = 0;
    for (uint64_t i = 0; i < 50; i++) {
        CHECK_EQ(put_chunk(r.source, i % 7, (int)i), 0);
        rep_stream_barrier(r.stream);
        uint64_t barrier = take_all(r.stream);
        CHECK_EQ(put_chunk(r.source, i % 7, (int)i), 0);
        if (i % 3 == 0)
            durable = barrier; /* answers come late, for several barriers at once */
        acknowledge(r.stream, barrier, durable);
        CHECK(is_unsettled(r.row, i % 7));
    }
    remote_free(&r);
}

static void a_barrier_put_while_another_is_unanswered_settles_in_the_end(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    CHECK_EQ(put_chunk(r.source, 0, 1), 0);
    rep_stream_barrier(r.stream);
    uint64_t first = take_all(r.stream);
    CHECK_EQ(put_chunk(r.source, 1, 1), 0);
    rep_stream_barrier(r.stream);
    uint64_t second = take_all(r.stream);
    acknowledge(r.stream, second, first);
    CHECK(!is_unsettled(r.row, 0));
    CHECK(is_unsettled(r.row, 1));
    uint64_t third = take_all(r.stream); /* asked for by nobody but the stream itself */
    CHECK_EQ(third, second + 1);
    acknowledge(r.stream, third, third);
    CHECK_EQ(cover_count(r.row), 0);
    remote_free(&r);
}

static void barriers_for_a_stalled_peer_do_not_pile_up(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    CHECK_EQ(put_chunk(r.source, 0, 1), 0);
    rep_stream_barrier(r.stream);
    (void)take_all(r.stream);
    CHECK_EQ(put_chunk(r.source, 1, 1), 0);
    for (int i = 0; i < 50000; i++) {
        rep_stream_barrier(r.stream);
        (void)take_all(r.stream);
    }
    CHECK_EQ(stream_info(r.stream).last, 4);
    remote_free(&r);
}

static void waiting_for_a_number_not_given_out_yet_asks_for_no_barrier(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    CHECK_EQ(rep_stream_wait(r.stream, 10, REP_ACK_DURABLE, PAST, NULL), -ETIMEDOUT);
    CHECK_EQ(take_all(r.stream), 0);
    remote_free(&r);
}

static void a_break_makes_what_is_unsettled_pending_and_ends_every_wait(void)
{
    remote r = remote_new(SIZE, REP_ACK_RECEIVED);
    CHECK_EQ(put_chunk(r.source, 0, 1), 0);
    CHECK_EQ(put_chunk(r.source, 1, 1), 0);
    (void)take_all(r.stream);
    rep_stream_break(r.stream, -ECONNRESET);
    CHECK(is_pending(r.row, 0) && is_pending(r.row, 1));
    CHECK_EQ(info_of(r.row).broken, -ECONNRESET);
    CHECK_EQ(rep_stream_wait_attempt(r.stream, 1, 2, REP_ACK_RECEIVED, PAST, NULL), -EPIPE);
    CHECK_EQ(rep_stream_wait_room(r.stream, 1, PAST, NULL), -EPIPE);
    CHECK_EQ(take(r.stream, &(rep_frame_info){0}), -EPIPE);
    CHECK_EQ(rep_stream_ack(r.stream, 1, 2, 2), -ESTALE);
    CHECK_EQ(put_chunk(r.source, 2, 1), 0);
    CHECK(is_pending(r.row, 2));
    remote_free(&r);
}

static void a_new_attempt_goes_on_behind_the_numbers_of_the_old(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    uint64_t next;
    CHECK_EQ(put_chunk(r.source, 0, 1), 0);
    CHECK_EQ(rep_stream_open(r.stream, 2, &next), -EINVAL); /* still open */
    rep_stream_break(r.stream, -EPIPE);
    CHECK_EQ(rep_stream_open(r.stream, 1, &next), -EINVAL); /* not higher */
    CHECK_EQ(rep_stream_open(r.stream, 2, &next), 0);
    CHECK_EQ(next, 2);
    /* Open again, but the row has its own break to get over. */
    CHECK_EQ(put_chunk(r.source, 1, 1), 0);
    CHECK(is_pending(r.row, 1));
    CHECK_EQ(stream_info(r.stream).last, 1);
    CHECK_EQ(rep_apply_start(r.apply, 2, next), 0);
    CHECK_EQ(rep_link_ship(r.row, r.stream, 1, REP_ACK_QUEUED), 0);
    CHECK_EQ(copy_all(r.row), 0);
    pump_durable(r.stream, r.apply);
    CHECK(volumes_equal(r.source, r.target));
    CHECK_EQ(cover_count(r.row), 0);
    remote_free(&r);
}

static void an_answer_to_the_old_attempt_settles_nothing_of_the_new(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    CHECK_EQ(put_chunk(r.source, 0, 1), 0);
    rep_stream_break(r.stream, -EPIPE);
    remote_reopen(&r);
    CHECK_EQ(copy_all(r.row), 0);
    rep_stream_barrier(r.stream);
    uint64_t last = take_all(r.stream);
    CHECK_EQ(rep_stream_ack(r.stream, 1, last, last), -ESTALE);
    CHECK(is_unsettled(r.row, 0));
    remote_free(&r);
}

static void corked_nothing_past_the_point_is_taken(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    uint64_t point;
    CHECK_EQ(put_chunk(r.source, 0, 1), 0);
    CHECK_EQ(rep_stream_cork(r.stream, false, &point), 0);
    CHECK_EQ(point, 1);
    CHECK_EQ(rep_stream_cork(r.stream, false, &point), -EALREADY);
    CHECK_EQ(put_chunk(r.source, 1, 1), 0);
    rep_stream_barrier(r.stream);
    CHECK_EQ(take_all(r.stream), 1);
    acknowledge(r.stream, 1, 0);
    CHECK_EQ(take_all(r.stream), 1);
    CHECK(is_unsettled(r.row, 1));
    CHECK(stream_info(r.stream).queued_peak_bytes >= CHUNK);
    rep_stream_uncork(r.stream);
    CHECK_EQ(take_all(r.stream), 3); /* and the barrier that waited */
    remote_free(&r);
}

static void in_the_hold_a_sync_write_waits_unless_the_cut_releases_it(void)
{
    remote r = remote_new(SIZE, REP_ACK_RECEIVED);
    uint64_t point;
    CHECK_EQ(rep_stream_cork(r.stream, false, &point), 0);
    CHECK_EQ(put_chunk(r.source, 0, 1), 0);
    CHECK_EQ(rep_stream_wait(r.stream, 1, REP_ACK_RECEIVED, PAST, NULL), -ETIMEDOUT);
    rep_stream_uncork(r.stream);
    CHECK_EQ(rep_stream_cork(r.stream, true, &point), 0);
    CHECK_EQ(rep_stream_wait_attempt(r.stream, 1, 1, REP_ACK_RECEIVED, PAST, NULL), 0);
    /* But a backup's wait for its point isn't a writer's. */
    CHECK_EQ(rep_stream_wait(r.stream, 1, REP_ACK_RECEIVED, PAST, NULL), -ETIMEDOUT);
    remote_free(&r);
}

static void a_break_in_the_hold_leaves_no_cork(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    uint64_t point;
    CHECK_EQ(rep_stream_cork(r.stream, false, &point), 0);
    rep_stream_break(r.stream, -EPIPE);
    CHECK_EQ(rep_stream_cork(r.stream, false, &point), -EPIPE);
    remote_reopen(&r);
    CHECK_EQ(put_chunk(r.source, 0, 1), 0);
    CHECK_EQ(take_all(r.stream), 1);
    remote_free(&r);
}

typedef struct answer_waiter {
    rep_stream *stream;
    uint64_t number;
    _Atomic bool begun;
    int result;
    pthread_t thread;
} answer_waiter;

static void *wait_for_answer(void *argument)
{
    answer_waiter *w = argument;
    atomic_store(&w->begun, true);
    w->result =
        rep_stream_wait_attempt(w->stream, 1, w->number, REP_ACK_RECEIVED, REP_NO_DEADLINE, NULL);
    return NULL;
}

/* Nothing but its own answer wakes a waiter: no handle, no deadline. */
static void each_waiter_is_told_when_its_own_number_is_reached(void)
{
    enum { COUNT = 6 };
    for (int round = 0; round < 50; round++) {
        remote r = remote_new(SIZE, REP_ACK_QUEUED);
        answer_waiter waiters[COUNT];
        for (uint64_t i = 0; i < COUNT; i++)
            CHECK_EQ(put_chunk(r.source, i, 1), 0);
        (void)take_all(r.stream);
        /* The last number first: the order is that of the numbers, not of who came. */
        for (int i = COUNT - 1; i >= 0; i--) {
            waiters[i] =
                (answer_waiter){.stream = r.stream, .number = (uint64_t)i + 1, .result = 1};
            waiters[i].thread = thread_start(wait_for_answer, &waiters[i]);
            while (!atomic_load(&waiters[i].begun))
                sched_yield();
            for (int yields = 0; yields < round; yields++)
                sched_yield();
        }
        acknowledge(r.stream, 1, 0);
        thread_join(waiters[0].thread);
        acknowledge(r.stream, 4, 0); /* three at a time */
        for (int i = 1; i < 4; i++)
            thread_join(waiters[i].thread);
        rep_stream_break(r.stream, -EPIPE);
        for (int i = 4; i < COUNT; i++)
            thread_join(waiters[i].thread);
        for (int i = 0; i < COUNT; i++)
            CHECK_EQ(waiters[i].result, i < 4 ? 0 : -EPIPE);
        remote_free(&r);
    }
}

static void a_cut_that_releases_writers_wakes_them(void)
{
    remote r = remote_new(SIZE, REP_ACK_RECEIVED);
    uint64_t point;
    CHECK_EQ(put_chunk(r.source, 0, 1), 0);
    answer_waiter w = {.stream = r.stream, .number = 1, .result = 1};
    w.thread = thread_start(wait_for_answer, &w);
    while (!atomic_load(&w.begun))
        sched_yield();
    CHECK_EQ(rep_stream_cork(r.stream, true, &point), 0);
    thread_join(w.thread);
    CHECK_EQ(w.result, 0);
    remote_free(&r);
}

static void a_large_write_is_cut_into_records_and_frames(void)
{
    remote r = remote_new(2 * SIZE, REP_ACK_QUEUED);
    CHECK_EQ(put_bytes(r.source, 100, SIZE + 5, 6), 0);
    rep_frame_info info;
    uint64_t records = 0;
    while (take(r.stream, &info) == 0)
        records += info.record_count;
    CHECK_EQ(records, SIZE / REP_RECORD_DATA_BYTES + 1);
    remote_free(&r);
}

static void a_small_frame_is_taken_at_once(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    const uint64_t whole = REP_FRAME_HEADER_BYTES + REP_RECORD_HEADER_BYTES + CHUNK;
    uint64_t length = 0;
    rep_frame_info info;
    CHECK_EQ(rep_stream_take_small(r.stream, whole, frame, &length), -EAGAIN);
    CHECK_EQ(rep_stream_await(r.stream, PAST, NULL), -ETIMEDOUT);
    CHECK_EQ(put_chunk(r.source, 3, 1), 0);
    CHECK_EQ(rep_stream_take_small(r.stream, whole - 1, frame, &length), -EAGAIN);
    CHECK_EQ(rep_stream_await(r.stream, PAST, NULL), 0);
    CHECK_EQ(rep_stream_take_small(r.stream, whole, frame, &length), 0);
    CHECK_EQ(length, whole);
    CHECK_EQ(rep_frame_check(frame, length, &info), 0);
    CHECK_EQ(info.first_number, 1);
    uint64_t point;
    CHECK_EQ(rep_stream_cork(r.stream, false, &point), 0);
    CHECK_EQ(put_chunk(r.source, 4, 1), 0);
    CHECK_EQ(rep_stream_take_small(r.stream, whole, frame, &length), -EAGAIN);
    rep_stream_uncork(r.stream);
    CHECK_EQ(rep_stream_take_small(r.stream, whole, frame, &length), 0);
    rep_stream_break(r.stream, -EPIPE);
    CHECK_EQ(rep_stream_take_small(r.stream, whole, frame, &length), -EPIPE);
    CHECK_EQ(rep_stream_await(r.stream, PAST, NULL), -EPIPE);
    remote_free(&r);
}

static void a_small_frame_has_as_many_whole_records_as_go_into_it(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    const uint64_t record = REP_RECORD_HEADER_BYTES + CHUNK;
    rep_frame_info info;
    uint64_t length = 0;
    for (uint64_t i = 0; i < 3; i++)
        CHECK_EQ(put_chunk(r.source, i, 1), 0);
    for (uint64_t left = 3; left; left -= info.record_count) {
        CHECK_EQ(rep_stream_take_small(r.stream, REP_FRAME_HEADER_BYTES + 2 * record + 9, frame,
                                       &length),
                 0);
        CHECK_EQ(rep_frame_check(frame, length, &info), 0);
        CHECK_EQ(info.record_count, left > 2 ? 2 : left);
        CHECK_EQ(info.first_number, 4 - left);
    }
    remote_free(&r);
}

static void writers_in_mode_durable_share_the_barrier_after_the_one_under_way(void)
{
    remote r = remote_new(SIZE, REP_ACK_DURABLE);
    rep_frame_info info;
    CHECK_EQ(put_chunk(r.source, 0, 1), 0);
    CHECK_EQ(rep_stream_wait(r.stream, 1, REP_ACK_DURABLE, PAST, NULL), -ETIMEDOUT);
    CHECK_EQ(take(r.stream, &info), 0);
    CHECK_EQ(info.record_count, 2); /* with its barrier */
    for (uint64_t i = 1; i < 4; i++) {
        CHECK_EQ(put_chunk(r.source, i, 1), 0);
        CHECK_EQ(rep_stream_wait(r.stream, 2 + i, REP_ACK_DURABLE, PAST, NULL), -ETIMEDOUT);
        CHECK_EQ(take(r.stream, &info), 0);
        CHECK_EQ(info.record_count, 1);
    }
    acknowledge(r.stream, 5, 2);
    CHECK_EQ(take(r.stream, &info), 0);
    CHECK_EQ(info.first_number, 6);
    CHECK_EQ(info.record_count, 1); /* one for the three */
    acknowledge(r.stream, 6, 6);
    CHECK_EQ(rep_stream_wait(r.stream, 5, REP_ACK_DURABLE, PAST, NULL), 0);
    remote_free(&r);
}

static void a_stream_smaller_than_its_least_is_refused(void)
{
    rep_stream *stream;
    CHECK_EQ(rep_stream_new(1, CAPACITY - 1, &stream), -EINVAL);
}

int main(void)
{
    RUN(records_are_numbered_in_the_order_of_the_writes);
    RUN(the_ring_wraps_without_mixing_bytes);
    RUN(memory_is_freed_when_the_peer_has_received);
    RUN(numbers_that_were_never_sent_are_not_acknowledged);
    RUN(received_frees_memory_and_settles_nothing);
    RUN(a_late_acknowledgement_leaves_a_newer_mark_alone);
    RUN(a_barrier_before_a_record_never_drops_its_bit);
    RUN(a_barrier_put_while_another_is_unanswered_settles_in_the_end);
    RUN(barriers_for_a_stalled_peer_do_not_pile_up);
    RUN(waiting_for_a_number_not_given_out_yet_asks_for_no_barrier);
    RUN(a_break_makes_what_is_unsettled_pending_and_ends_every_wait);
    RUN(a_new_attempt_goes_on_behind_the_numbers_of_the_old);
    RUN(an_answer_to_the_old_attempt_settles_nothing_of_the_new);
    RUN(corked_nothing_past_the_point_is_taken);
    RUN(in_the_hold_a_sync_write_waits_unless_the_cut_releases_it);
    RUN(a_break_in_the_hold_leaves_no_cork);
    RUN(each_waiter_is_told_when_its_own_number_is_reached);
    RUN(a_cut_that_releases_writers_wakes_them);
    RUN(a_large_write_is_cut_into_records_and_frames);
    RUN(a_small_frame_is_taken_at_once);
    RUN(a_small_frame_has_as_many_whole_records_as_go_into_it);
    RUN(writers_in_mode_durable_share_the_barrier_after_the_one_under_way);
    RUN(a_stream_smaller_than_its_least_is_refused);
    return 0;
}
