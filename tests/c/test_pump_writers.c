/* Writers that wait send themselves, and for each other. */
#include <sched.h>

#include "path_rig.h"
#include "ship_parts.h"

static void a_writer_that_waits_sends_without_the_pump(void)
{
    path p = path_new(REP_ACK_RECEIVED);
    receivers ends = path_receive(&p);
    for (unsigned i = 0; i < 20; i++)
        write_and_wait(&p, i % 16, (int)i + 1);
    CHECK(volumes_equal(p.remote.source, p.remote.target));
    path_end(&p, ends);
}

typedef struct host {
    path *path;
    unsigned first; /* of four chunks */
    pthread_t thread;
} host;

static void *write_many(void *argument)
{
    const host *h = argument;
    for (unsigned i = 0; i < 500; i++)
        write_and_wait(h->path, h->first + i % 4, (int)i + 1);
    return NULL;
}

/* Nobody else is there to send what one of them would leave behind. */
static void several_writers_leave_nothing_unsent_without_the_pump(int ack)
{
    path p = path_new(ack);
    receivers ends = path_receive(&p);
    host hosts[4];
    for (unsigned i = 0; i < 4; i++) {
        hosts[i] = (host){.path = &p, .first = 4 * i};
        hosts[i].thread = thread_start(write_many, &hosts[i]);
    }
    for (unsigned i = 0; i < 4; i++)
        thread_join(hosts[i].thread);
    CHECK(volumes_equal(p.remote.source, p.remote.target));
    path_end(&p, ends);
}

static void several_writers_send_for_each_other(void)
{
    several_writers_leave_nothing_unsent_without_the_pump(REP_ACK_RECEIVED);
}

static void so_do_those_that_wait_until_they_are_durable(void)
{
    several_writers_leave_nothing_unsent_without_the_pump(REP_ACK_DURABLE);
}

/* Each has its barrier with it: the peer flushes once for all three, without being asked again. */
static void writers_that_come_together_are_durable_after_one_flush(void)
{
    path p = path_new(REP_ACK_DURABLE);
    rep_pump left;
    for (uint64_t i = 0; i < 3; i++) {
        CHECK_OK(put_chunk(p.remote.source, i, 'a'));
        rep_stream_help(p.remote.stream);
        CHECK_EQ(stream_info(p.remote.stream).taken, 2 * (i + 1));
    }
    shutdown(p.data_fds[NEAR], SHUT_RDWR);
    CHECK_ERRNO(pump_frames(&p, &left), EPIPE);
    rep_numbers numbers = next_numbers(&p);
    CHECK_EQ(numbers.received, 6);
    CHECK_EQ(numbers.durable, 6);
    CHECK(!has_numbers(&p));
    path_free(&p);
}

/* INV-3: what came while an epoch was closing is settled by another barrier, which no writer puts. */
static void what_is_unsettled_is_settled_when_such_writers_have_gone(void)
{
    path p = path_new(REP_ACK_DURABLE);
    for (uint64_t i = 0; i < 3; i++) {
        CHECK_OK(put_chunk(p.remote.source, i, 'a'));
        rep_stream_help(p.remote.stream);
    }
    receivers ends = path_receive(&p);
    pthread_t sender = thread_start(send_frames, &p);
    while (stream_info(p.remote.stream).durable < 6)
        sched_yield();
    while (info_of(p.remote.row).any_unsettled)
        sched_yield();
    CHECK_EQ(stream_info(p.remote.stream).durable, 7);
    CHECK(volumes_equal(p.remote.source, p.remote.target));
    rep_wake_raise(p.wake);
    thread_join(sender);
    path_end(&p, ends);
}

static void who_asks_for_a_barrier_gets_it_before_a_late_one_is_due(void)
{
    path p = path_new(REP_ACK_DURABLE);
    for (uint64_t i = 0; i < 2; i++) {
        CHECK_OK(put_chunk(p.remote.source, i, 'a'));
        rep_stream_help(p.remote.stream);
    }
    CHECK_OK(rep_stream_ack(p.remote.stream, 1, 4, 4));
    CHECK(is_unsettled(p.remote.row, 1));
    rep_stream_barrier(p.remote.stream);
    rep_stream_help(p.remote.stream);
    CHECK_EQ(stream_info(p.remote.stream).taken, 5);
    CHECK_OK(rep_stream_ack(p.remote.stream, 1, 5, 5));
    CHECK(!is_unsettled(p.remote.row, 1));
    path_free(&p);
}

static void a_writer_whose_frame_does_not_go_has_it_pending(void)
{
    path p = path_new(REP_ACK_RECEIVED);
    path_cut(&p);
    write_and_wait(&p, 3, 'x');
    CHECK(is_pending(p.remote.row, 3));
    CHECK_EQ(stream_info(p.remote.stream).open, 0);
    CHECK_ERRNO(rep_stream_pump(p.remote.stream, p.wake), EPIPE);
    path_free(&p);
}

static void *help_it(void *argument)
{
    rep_stream_help(argument);
    return NULL;
}

/* Its writer has the old one's error in hand, and is slow to act on it. */
static void a_later_connection_is_not_broken_because_of_the_one_before(void)
{
    path p = path_new(REP_ACK_QUEUED);
    rep_stream *stream = p.remote.stream;
    const int bytes = 1; /* as little as there is: less than the frame */
    CHECK_OK(setsockopt(p.data_fds[NEAR], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes));
    CHECK_OK(put_bytes(p.remote.source, 0, 3 * CHUNK, 'x'));
    pthread_t thread = thread_start(help_it, stream);
    while (!stream_info(stream).taken)
        sched_yield();
    pthread_mutex_lock(&stream->mutex); /* nobody breaks the stream now */
    path_cut(&p);
    /* Until the writer has failed, and given it back. */
    while (pthread_mutex_trylock(&stream->turn))
        sched_yield();
    pthread_mutex_unlock(&stream->turn);
    stream->attempt = 2; /* as opened anew meanwhile */
    pthread_mutex_unlock(&stream->mutex);
    thread_join(thread);
    CHECK_EQ(stream_info(stream).open, 1);
    path_free(&p);
}

static void no_writer_waits_for_a_socket_that_takes_nothing(void)
{
    path p = path_new(REP_ACK_RECEIVED);
    clog_up(&p);
    CHECK_ERRNO(rep_line_begin(p.data[NEAR]), EAGAIN);
    CHECK_OK(put_chunk(p.remote.source, 0, 'x'));
    rep_stream_help(p.remote.stream);
    CHECK_EQ(stream_info(p.remote.stream).taken, 0);
    path_free(&p);
}

int main(void)
{
    RUN_PLAIN_AND_SECURED(a_writer_that_waits_sends_without_the_pump);
    RUN_PLAIN_AND_SECURED(several_writers_send_for_each_other);
    RUN_PLAIN_AND_SECURED(so_do_those_that_wait_until_they_are_durable);
    RUN_PLAIN_AND_SECURED(writers_that_come_together_are_durable_after_one_flush);
    RUN_PLAIN_AND_SECURED(what_is_unsettled_is_settled_when_such_writers_have_gone);
    RUN_PLAIN_AND_SECURED(who_asks_for_a_barrier_gets_it_before_a_late_one_is_due);
    RUN_PLAIN_AND_SECURED(a_writer_whose_frame_does_not_go_has_it_pending);
    RUN_PLAIN_AND_SECURED(a_later_connection_is_not_broken_because_of_the_one_before);
    RUN_PLAIN_AND_SECURED(no_writer_waits_for_a_socket_that_takes_nothing);
    return 0;
}
