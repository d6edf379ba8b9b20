/* What leaves a stream: frames of whole records, and the barriers between them. */
#include <errno.h>

#include "ship_parts.h"

#define BARRIER_EVERY_NS 1000000000ULL
/* How long U waits for a barrier of writers in mode durable to close its epoch, before it gets one of
 * its own: while they come, one more would be one more flush at the peer for each of theirs. */
#define LATE_NS 10000000ULL

/* A barrier behind everything appended so far; closes U's epoch unless one is closing already. */
static void put_barrier(rep_stream *stream)
{
    rep_record record = {.type = REP_RECORD_BARRIER, .number = ++stream->last};
    rep_stream_put_record(stream, &record);
    stream->late_patiently = atomic_load(&stream->carried) && !stream->barrier_wanted;
    stream->barrier_wanted = false;
    stream->group_wanted = false;
    stream->barrier_number = stream->last;
    stream->barrier_ns = rep_now_ns();
    stream->late_barrier = stream->closing_number != 0;
    if (stream->late_barrier)
        return;
    stream->closing_number = stream->last;
    for (rep_link *link = stream->links; link; link = link->next_in_stream)
        atomic_fetch_add(&link->epoch, 1);
}

/* When a barrier has to be put at the latest: now when somebody wants one, else a while after the
 * last one if anything was appended since. Barriers reserve no room: what is reserved comes first,
 * and the ring must hold both. Corked, one would stand past the point. */
static uint64_t barrier_at(const rep_stream *stream)
{
    if (stream->corked
        || rep_stream_used(stream) + stream->reserved + REP_RECORD_HEADER_BYTES
               > stream->ring_bytes)
        return REP_NO_DEADLINE;
    if (stream->barrier_wanted)
        return 0;
    /* Group commit: who comes while one is on its way shares the next. Over a line it is the peer
     * who makes durable together what has come together (rep_pump_frames), without being asked a
     * second time. */
    if (stream->group_wanted && stream->last > stream->barrier_number
        && (atomic_load(&stream->carried) || stream->durable >= stream->barrier_number))
        return 0;
    if (stream->late_barrier && !stream->closing_number)
        return stream->late_ns + LATE_NS;
    return stream->last > stream->barrier_number ? stream->barrier_ns + BARRIER_EVERY_NS
                                                 : REP_NO_DEADLINE;
}

static uint64_t take_limit(const rep_stream *stream)
{
    return stream->corked ? stream->point : stream->last;
}

/* How many whole records, in bytes and count, go into one frame of at most `most_bytes` from the take
 * position on. */
static void measure_frame(const rep_stream *stream, uint64_t most_bytes, rep_frame_info *info)
{
    uint64_t position = stream->take_position;
    uint64_t number = stream->taken;
    uint64_t room = most_bytes - REP_FRAME_HEADER_BYTES;
    while (number < take_limit(stream)) {
        uint8_t header[REP_RECORD_HEADER_BYTES];
        rep_stream_ring_get(stream, position, header, sizeof header);
        uint64_t size = sizeof header;
        if (header[0] == REP_RECORD_DATA)
            size += (uint64_t)header[24] | (uint64_t)header[25] << 8 | (uint64_t)header[26] << 16
                    | (uint64_t)header[27] << 24;
        if (info->body_bytes + size > room)
            break;
        position += size;
        number++;
        info->body_bytes += (uint32_t)size;
        info->record_count++;
    }
}

/* 0: its first record is longer than `most_bytes`. */
static uint64_t take_frame(rep_stream *stream, uint64_t most_bytes, uint8_t *frame)
{
    rep_frame_info info = {
        .stream_id = stream->stream_id,
        .attempt = stream->attempt,
        .first_number = stream->taken + 1,
    };
    measure_frame(stream, most_bytes, &info);
    if (!info.record_count)
        return 0;
    rep_frame_put_header(frame, &info);
    rep_stream_ring_get(stream, stream->take_position, frame + REP_FRAME_HEADER_BYTES,
                        info.body_bytes);
    stream->take_position += info.body_bytes;
    stream->taken += info.record_count;
    unsigned slot = (stream->flight_first + stream->flight_count++) % IN_FLIGHT;
    stream->flights[slot] = (flight){stream->taken, stream->take_position};
    stream->frame_bytes += REP_FRAME_HEADER_BYTES + info.body_bytes;
    return REP_FRAME_HEADER_BYTES + info.body_bytes;
}

/* `mutex` held: 0 when a frame can be taken. */
static int wait_takable(rep_stream *stream, uint64_t deadline_ns, rep_wake *wake)
{
    for (;;) {
        if (!stream->open)
            return -EPIPE;
        if (barrier_at(stream) <= rep_now_ns())
            put_barrier(stream);
        if (stream->taken < take_limit(stream) && stream->flight_count < IN_FLIGHT)
            return 0;
        uint64_t until = barrier_at(stream);
        if (until > deadline_ns)
            until = deadline_ns;
        int rc = rep_wait_on(&stream->takable, &stream->mutex, until, wake);
        if (rc && (rc != -ETIMEDOUT || until == deadline_ns))
            return rc;
    }
}

int rep_stream_take(rep_stream *stream, void *frame, uint64_t deadline_ns, rep_wake *wake,
                    uint64_t *length)
{
    pthread_mutex_lock(&stream->mutex);
    int rc = wait_takable(stream, deadline_ns, wake);
    if (!rc)
        *length = take_frame(stream, REP_FRAME_BYTES, frame);
    pthread_mutex_unlock(&stream->mutex);
    return rc;
}

int rep_stream_await(rep_stream *stream, uint64_t deadline_ns, rep_wake *wake)
{
    pthread_mutex_lock(&stream->mutex);
    int rc = wait_takable(stream, deadline_ns, wake);
    pthread_mutex_unlock(&stream->mutex);
    return rc;
}

/* What nobody waits for may come together: for so long, or until there is so much of it. A host that
 * needn't wait doesn't pay for waking another thread either, which costs it as much as the write. */
#define LINGER_NS 1000000ULL
#define LINGER_BYTES (256ULL << 10)

bool rep_stream_needs_sender(const rep_stream *stream)
{
    return !stream->lingers || stream->write_position - stream->take_position >= LINGER_BYTES;
}

int rep_stream_linger(rep_stream *stream, rep_wake *wake)
{
    int rc = 0;
    pthread_mutex_lock(&stream->mutex);
    stream->lingers = true;
    if (!rep_stream_needs_sender(stream))
        rc = rep_wait_on(&stream->takable, &stream->mutex, rep_now_ns() + LINGER_NS, wake);
    stream->lingers = false;
    pthread_mutex_unlock(&stream->mutex);
    /* A thread that the machine kept away for so long has lingered, too. */
    return rc == -ETIMEDOUT ? 0 : rc;
}

int rep_stream_take_small(rep_stream *stream, uint64_t most_bytes, void *frame, uint64_t *length)
{
    pthread_mutex_lock(&stream->mutex);
    int rc = stream->open ? 0 : -EPIPE;
    if (!rc && barrier_at(stream) <= rep_now_ns())
        put_barrier(stream);
    if (!rc && (stream->taken >= take_limit(stream) || stream->flight_count == IN_FLIGHT))
        rc = -EAGAIN;
    if (!rc) {
        *length = take_frame(stream, most_bytes, frame);
        rc = *length ? 0 : -EAGAIN;
    }
    pthread_mutex_unlock(&stream->mutex);
    return rc;
}

bool rep_stream_is_takable(rep_stream *stream)
{
    pthread_mutex_lock(&stream->mutex);
    bool takable = stream->open && stream->flight_count < IN_FLIGHT
                   && (stream->taken < take_limit(stream) || barrier_at(stream) <= rep_now_ns());
    pthread_mutex_unlock(&stream->mutex);
    return takable;
}

void rep_stream_see_sent(rep_stream *stream)
{
    pthread_mutex_lock(&stream->mutex);
    rep_stream_nudge(stream);
    pthread_mutex_unlock(&stream->mutex);
}

void rep_stream_want_barrier(rep_stream *stream)
{
    bool late = stream->late_barrier && !stream->closing_number;
    if (!stream->open || stream->barrier_wanted
        || (stream->last == stream->barrier_number && !late))
        return;
    stream->barrier_wanted = true;
    rep_stream_wake_sender(stream);
}

void rep_stream_barrier(rep_stream *stream)
{
    pthread_mutex_lock(&stream->mutex);
    /* A late barrier is behind everything already; settle puts the one that U wants. */
    rep_stream_want_barrier(stream);
    pthread_mutex_unlock(&stream->mutex);
}
