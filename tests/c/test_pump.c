#include <sched.h>

#include "path_rig.h"

/* Puts what the stream has to send into the data line's far end, without a pump. */
static void send_one(path *p)
{
    uint8_t *frame = check_alloc(REP_FRAME_BYTES);
    uint8_t envelope[REP_ENVELOPE_BYTES];
    uint64_t length;
    CHECK_OK(rep_stream_take(p->remote.stream, frame, PAST, NULL, &length));
    rep_frame_seal(frame, length);
    rep_envelope_put(envelope,
                     &(rep_envelope){.kind = REP_ENVELOPE_FRAME, .body_bytes = (uint32_t)length});
    CHECK_OK(rep_line_send(p->data[NEAR], envelope, sizeof envelope, frame, length));
    free(frame);
}

static void writes_are_carried_and_answered(int ack)
{
    path p = path_new(ack);
    receivers ends = path_receive(&p);
    pthread_t sender = thread_start(send_frames, &p);
    for (unsigned i = 0; i < 200; i++)
        write_and_wait(&p, i % 16, (int)i);
    CHECK(volumes_equal(p.remote.source, p.remote.target));
    rep_wake_raise(p.wake);
    thread_join(sender);
    path_end(&p, ends);
}

static void synchronous_writes_are_carried_and_answered(void)
{
    writes_are_carried_and_answered(REP_ACK_RECEIVED);
}

static void so_are_those_that_wait_until_they_are_durable(void)
{
    writes_are_carried_and_answered(REP_ACK_DURABLE);
}

/* Far less than what the pump is woken for at once. */
static void what_nobody_waits_for_is_sent_all_the_same(void)
{
    path p = path_new(REP_ACK_QUEUED);
    receivers ends = path_receive(&p);
    pthread_t sender = thread_start(send_frames, &p);
    for (unsigned i = 0; i < 40; i++) {
        CHECK_OK(put_chunk(p.remote.source, i % 16, (int)i + 1));
        while (i % 10 == 9 && stream_info(p.remote.stream).received <= i)
            sched_yield();
    }
    CHECK(volumes_equal(p.remote.source, p.remote.target));
    rep_wake_raise(p.wake);
    thread_join(sender);
    path_end(&p, ends);
}

static void the_pump_ends_with_its_socket_and_leaves_the_stream_to_who_called(void)
{
    path p = path_new(REP_ACK_QUEUED);
    path_cut(&p);
    CHECK_OK(put_chunk(p.remote.source, 3, 'x'));
    CHECK_ERRNO(rep_stream_pump(p.remote.stream, p.wake), EPIPE);
    CHECK(is_unsettled(p.remote.row, 3));
    rep_stream_break(p.remote.stream, -EPIPE);
    CHECK(is_pending(p.remote.row, 3));
    path_free(&p);
}

/* Has something sent, stops the pump in the midst of it, and waits until it has ended. */
static void stop_while_it_sends(path *p)
{
    CHECK_OK(put_bytes(p->remote.source, 0, SIZE, 'x'));
    pthread_t thread = thread_start(send_frames, p);
    while (!stream_info(p->remote.stream).taken)
        sched_yield();
    rep_wake_raise(p->wake);
    thread_join(thread);
}

/* Half-open: its owner joins the thread before anybody has found out. */
static void a_pump_that_is_stopped_does_not_wait_for_a_socket_that_takes_nothing(void)
{
    path p = path_new(REP_ACK_QUEUED);
    clog_up(&p);
    stop_while_it_sends(&p);
    path_free(&p);
}

static void nor_for_somebody_else_who_sends(void)
{
    path p = path_new(REP_ACK_QUEUED);
    CHECK_OK(rep_line_begin(p.data[NEAR]));
    stop_while_it_sends(&p);
    rep_line_finish(p.data[NEAR]);
    CHECK_OK(rep_line_send(p.data[NEAR], "a", 1, NULL, 0)); /* nothing of the frame has gone */
    path_free(&p);
}

static void what_would_follow_a_part_of_a_frame_is_not_sent(void)
{
    path p = path_new(REP_ACK_QUEUED);
    const int bytes = 1; /* as little as there is: less than the frame */
    CHECK_OK(setsockopt(p.data_fds[NEAR], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes));
    CHECK_OK(put_bytes(p.remote.source, 0, SIZE, 'x'));
    pthread_t thread = thread_start(send_frames, &p);
    uint8_t part;
    CHECK_EQ(recv(p.data_fds[FAR], &part, 1, MSG_PEEK), 1); /* waits: a part has gone */
    rep_wake_raise(p.wake);
    thread_join(thread);
    CHECK_ERRNO(rep_line_send(p.data[NEAR], "a", 1, NULL, 0), EPIPE);
    path_free(&p);
}

/* Three frames, the second with a barrier, that are there when the pump begins. */
static void frames_that_came_together_are_answered_once_after_one_flush(void)
{
    path p = path_new(REP_ACK_QUEUED);
    rep_pump left;
    for (uint64_t i = 0; i < 3; i++) {
        CHECK_OK(put_chunk(p.remote.source, i, 'a'));
        if (i == 1)
            rep_stream_barrier(p.remote.stream);
        send_one(&p);
    }
    shutdown(p.data_fds[NEAR], SHUT_RDWR);
    CHECK_ERRNO(pump_frames(&p, &left), EPIPE);
    rep_numbers numbers = next_numbers(&p);
    CHECK_EQ(numbers.stream_id, 7);
    CHECK_EQ(numbers.attempt, 1);
    CHECK_EQ(numbers.received, 4);
    CHECK_EQ(numbers.durable, 4);
    CHECK(!has_numbers(&p));
    /* INV-3: what was called durable is there when the power goes. */
    CHECK_OK(rep_volatile_lose(p.remote.target.disk->faulty, 1, 0, 0));
    for (uint64_t i = 0; i < 3; i++)
        CHECK_EQ(chunk_byte(p.remote.target, i), 'a');
    path_free(&p);
}

static void without_a_barrier_nothing_is_called_durable(void)
{
    path p = path_new(REP_ACK_QUEUED);
    rep_pump left;
    CHECK_OK(put_chunk(p.remote.source, 1, 'a'));
    send_one(&p);
    shutdown(p.data_fds[NEAR], SHUT_RDWR);
    CHECK_ERRNO(pump_frames(&p, &left), EPIPE);
    rep_numbers numbers = next_numbers(&p);
    CHECK_EQ(numbers.received, 1);
    CHECK_EQ(numbers.durable, 0);
    path_free(&p);
}

static void a_frame_of_a_stream_that_it_was_not_given_is_left(void)
{
    path p = path_new(REP_ACK_QUEUED);
    rep_pump left;
    rep_frame_info info;
    CHECK_OK(put_chunk(p.remote.source, 1, 'a'));
    send_one(&p);
    CHECK_EQ(rep_pump_frames(p.data[FAR], p.control[FAR], NULL, 0, p.wake, &left), REP_PUMP_FRAME);
    CHECK_EQ(left.frame_bytes, REP_FRAME_HEADER_BYTES + REP_RECORD_HEADER_BYTES + CHUNK);
    CHECK(rep_frame_is_sealed(left.frame, left.frame_bytes));
    CHECK_OK(rep_frame_check(left.frame, left.frame_bytes, &info));
    CHECK_EQ(apply_info(p.remote.apply).applied, 0);
    CHECK(!has_numbers(&p));
    path_free(&p);
}

/* Each bit of a small frame, its envelope included: whatever it says, nothing has an effect. */
static void a_changed_bit_is_never_taken(void)
{
    uint8_t bytes[REP_ENVELOPE_BYTES + REP_FRAME_HEADER_BYTES + REP_RECORD_HEADER_BYTES + 2];
    const uint8_t text[2] = {'a', 'b'};
    uint8_t *frame = bytes + REP_ENVELOPE_BYTES;
    uint64_t length = sizeof bytes - REP_ENVELOPE_BYTES;
    rep_record record = {
        .type = REP_RECORD_DATA, .channel = 1, .number = 1, .offset = CHUNK, .length = 2};
    rep_frame_info info = {.stream_id = 7,
                           .attempt = 1,
                           .first_number = 1,
                           .record_count = 1,
                           .body_bytes = REP_RECORD_HEADER_BYTES + 2};
    rep_frame_put_header(frame, &info);
    rep_record_put_header(frame + REP_FRAME_HEADER_BYTES, &record);
    memcpy(frame + REP_FRAME_HEADER_BYTES + REP_RECORD_HEADER_BYTES, text, sizeof text);
    rep_frame_seal(frame, length);
    rep_envelope_put(bytes,
                     &(rep_envelope){.kind = REP_ENVELOPE_FRAME, .body_bytes = (uint32_t)length});
    path p = path_new(REP_ACK_QUEUED);
    rep_pump left;
    for (unsigned bit = 0; bit < 8 * sizeof bytes; bit++) {
        uint8_t rest[sizeof bytes];
        bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
        CHECK_OK(rep_line_send(p.data[NEAR], bytes, sizeof bytes, NULL, 0));
        int expected = bit / 8 < REP_ENVELOPE_BYTES ? REP_PUMP_ENVELOPE : REP_PUMP_FRAME;
        CHECK_EQ(pump_frames(&p, &left), expected);
        if (expected == REP_PUMP_ENVELOPE) {
            CHECK_BYTES(left.envelope, bytes, sizeof left.envelope);
            CHECK_OK(rep_line_fill(p.data[FAR], rest, length));
        }
        bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    CHECK_EQ(apply_info(p.remote.apply).applied, 0);
    CHECK_EQ(byte_at(p.remote.target, CHUNK), 0);
    CHECK_OK(rep_line_send(p.data[NEAR], bytes, sizeof bytes, NULL, 0));
    shutdown(p.data_fds[NEAR], SHUT_WR);
    CHECK_ERRNO(pump_frames(&p, &left), EPIPE);
    CHECK_EQ(byte_at(p.remote.target, CHUNK), 'a');
    path_free(&p);
}

static void a_volume_that_fails_is_told_before_the_peer_is(void)
{
    path p = path_new(REP_ACK_QUEUED);
    rep_pump left;
    CHECK_OK(put_chunk(p.remote.source, 1, 'a'));
    send_one(&p);
    rep_volatile_fail_after(p.remote.target.disk->faulty, 0, -EIO);
    shutdown(p.data_fds[NEAR], SHUT_RDWR);
    CHECK_EQ(pump_frames(&p, &left), REP_PUMP_FAILED);
    CHECK_EQ(left.index, 0);
    CHECK(!has_numbers(&p));
    rep_apply_info info;
    CHECK_EQ(rep_apply_answer(p.remote.apply, &info), 1);
    CHECK_ERRNO(rep_apply_take_error(p.remote.apply, 1), EIO);
    CHECK_EQ(rep_apply_answer(p.remote.apply, &info), 0);
    CHECK(is_pending(p.remote.mirror_row, 1));
    path_free(&p);
}

static int offer_numbers(path *p, rep_numbers numbers, rep_pump *left)
{
    uint8_t bytes[BOTH];
    rep_envelope_put(
        bytes, &(rep_envelope){.kind = REP_ENVELOPE_NUMBERS, .body_bytes = REP_NUMBERS_BYTES});
    rep_numbers_put(bytes + REP_ENVELOPE_BYTES, &numbers);
    CHECK_OK(rep_line_send(p->control[FAR], bytes, sizeof bytes, NULL, 0));
    return pump_numbers(p, left);
}

static void numbers_that_cannot_be_are_left(void)
{
    path p = path_new(REP_ACK_QUEUED);
    rep_pump left;
    rep_numbers out;
    rep_numbers never = {.stream_id = 7, .attempt = 1, .received = 9, .durable = 9};
    CHECK_EQ(offer_numbers(&p, never, &left), REP_PUMP_NUMBERS);
    CHECK_OK(rep_numbers_get(left.numbers, &out));
    CHECK_EQ(out.received, 9);
    rep_numbers other = {.stream_id = 8, .attempt = 1};
    CHECK_EQ(offer_numbers(&p, other, &left), REP_PUMP_NUMBERS);
    path_free(&p);
}

static void numbers_of_an_attempt_that_is_over_are_passed_over(void)
{
    path p = path_new(REP_ACK_QUEUED);
    rep_pump left;
    rep_numbers stale = {.stream_id = 7, .attempt = 0, .received = 9, .durable = 9};
    shutdown(p.control_fds[NEAR], SHUT_WR);
    uint8_t bytes[BOTH];
    rep_envelope_put(
        bytes, &(rep_envelope){.kind = REP_ENVELOPE_NUMBERS, .body_bytes = REP_NUMBERS_BYTES});
    rep_numbers_put(bytes + REP_ENVELOPE_BYTES, &stale);
    CHECK_OK(rep_line_send(p.control[FAR], bytes, sizeof bytes, NULL, 0));
    shutdown(p.control_fds[FAR], SHUT_WR);
    CHECK_ERRNO(pump_numbers(&p, &left), EPIPE);
    CHECK_EQ(stream_info(p.remote.stream).received, 0);
    path_free(&p);
}

static void another_envelope_is_left_with_its_body_unread(void)
{
    path p = path_new(REP_ACK_QUEUED);
    uint8_t envelope[REP_ENVELOPE_BYTES];
    uint8_t body[5];
    rep_pump left;
    rep_envelope_put(envelope, &(rep_envelope){.kind = 5, .body_bytes = 5, .tag = 77});
    CHECK_OK(rep_line_send(p.control[FAR], envelope, sizeof envelope, "hello", 5));
    CHECK_EQ(pump_numbers(&p, &left), REP_PUMP_ENVELOPE);
    CHECK_BYTES(left.envelope, envelope, sizeof envelope);
    CHECK_OK(rep_line_fill(p.control[NEAR], body, sizeof body));
    CHECK_BYTES(body, "hello", 5);
    CHECK(rep_line_heard_ns(p.control[NEAR]) != 0);
    path_free(&p);
}

static void a_line_that_was_ended_sends_nothing(void)
{
    path p = path_new(REP_ACK_QUEUED);
    rep_line_end(p.data[NEAR]);
    CHECK_ERRNO(rep_line_send(p.data[NEAR], "a", 1, "b", 1), EPIPE);
    CHECK_OK(rep_line_begin(p.data[NEAR]));
    CHECK_ERRNO(rep_line_send_begun(p.data[NEAR], "a", 1), EPIPE);
    rep_line_finish(p.data[NEAR]);
    path_free(&p);
}

int main(void)
{
    RUN_PLAIN_AND_SECURED(synchronous_writes_are_carried_and_answered);
    RUN_PLAIN_AND_SECURED(so_are_those_that_wait_until_they_are_durable);
    RUN_PLAIN_AND_SECURED(what_nobody_waits_for_is_sent_all_the_same);
    RUN_PLAIN_AND_SECURED(the_pump_ends_with_its_socket_and_leaves_the_stream_to_who_called);
    RUN_PLAIN_AND_SECURED(a_pump_that_is_stopped_does_not_wait_for_a_socket_that_takes_nothing);
    RUN_PLAIN_AND_SECURED(nor_for_somebody_else_who_sends);
    RUN_PLAIN_AND_SECURED(what_would_follow_a_part_of_a_frame_is_not_sent);
    RUN_PLAIN_AND_SECURED(frames_that_came_together_are_answered_once_after_one_flush);
    RUN_PLAIN_AND_SECURED(without_a_barrier_nothing_is_called_durable);
    RUN_PLAIN_AND_SECURED(a_frame_of_a_stream_that_it_was_not_given_is_left);
    RUN_PLAIN_AND_SECURED(a_changed_bit_is_never_taken);
    RUN_PLAIN_AND_SECURED(a_volume_that_fails_is_told_before_the_peer_is);
    RUN_PLAIN_AND_SECURED(numbers_that_cannot_be_are_left);
    RUN_PLAIN_AND_SECURED(numbers_of_an_attempt_that_is_over_are_passed_over);
    RUN_PLAIN_AND_SECURED(another_envelope_is_left_with_its_body_unread);
    RUN_PLAIN_AND_SECURED(a_line_that_was_ended_sends_nothing);
    return 0;
}
