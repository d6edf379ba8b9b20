/* Room in a stream's ring: taken before a write's pass, used by its records. */
#include <errno.h>
#include <string.h>

#include "ship_parts.h"

uint64_t rep_stream_room(uint8_t type, uint64_t length, uint64_t pieces)
{
    if (type != REP_RECORD_DATA)
        return pieces * REP_RECORD_HEADER_BYTES;
    return length + (pieces + length / REP_RECORD_DATA_BYTES + 1) * REP_RECORD_HEADER_BYTES;
}

/* Longer than a waiter's slice of time, between which it is away for a moment. */
#define CLAIM_NS 1000000000ULL

static bool has_room(const rep_stream *stream, uint64_t bytes)
{
    return rep_stream_used(stream) + stream->reserved + bytes <= stream->capacity;
}

static bool is_claimed(const rep_stream *stream)
{
    return stream->claim_bytes && rep_now_ns() < stream->claim_ns;
}

/* Room beside what is kept for who waits. */
static bool has_spare_room(const rep_stream *stream, uint64_t bytes)
{
    return has_room(stream, is_claimed(stream) ? stream->claim_bytes + bytes : bytes);
}

/* Its own claim, or that of another one of its size: either may take what is kept. */
static bool may_take(const rep_stream *stream, uint64_t bytes)
{
    return stream->claim_bytes == bytes ? has_room(stream, bytes) : has_spare_room(stream, bytes);
}

int rep_stream_reserve(rep_stream *stream, uint64_t bytes)
{
    pthread_mutex_lock(&stream->mutex);
    int rc = !stream->open ? -EPIPE : has_spare_room(stream, bytes) ? 0 : -EAGAIN;
    if (!rc)
        stream->reserved += bytes;
    else if (rc == -EAGAIN)
        rep_stream_note_full(stream);
    pthread_mutex_unlock(&stream->mutex);
    return rc;
}

/* Longer, and a copy beside hosts that fill the queue would crawl; shorter, and it would be they
 * who find it full. */
#define COPY_PATIENCE_NS 50000000ULL

static bool has_room_for_copy(const rep_stream *stream, uint64_t bytes)
{
    return has_spare_room(stream, stream->capacity / 2 + bytes);
}

int rep_stream_reserve_for_copy(rep_stream *stream, uint64_t bytes)
{
    pthread_mutex_lock(&stream->mutex);
    int rc = !stream->open ? -EPIPE : has_room_for_copy(stream, bytes) ? 0 : -EAGAIN;
    if (!rc)
        stream->reserved += bytes;
    pthread_mutex_unlock(&stream->mutex);
    return rc;
}

void rep_stream_unreserve(rep_stream *stream, uint64_t bytes)
{
    if (!bytes)
        return;
    pthread_mutex_lock(&stream->mutex);
    stream->reserved -= bytes;
    rep_stream_note_room(stream);
    if (stream->room_waiters)
        rep_stream_changed(stream);
    pthread_mutex_unlock(&stream->mutex);
}

int rep_stream_wait_room(rep_stream *stream, uint64_t bytes, uint64_t deadline_ns, rep_wake *wake)
{
    int rc = 0;
    pthread_mutex_lock(&stream->mutex);
    stream->room_waiters++;
    rep_stream_nudge(stream);
    while (!rc && stream->open && !may_take(stream, bytes)) {
        if (!is_claimed(stream))
            stream->claim_bytes = bytes;
        if (stream->claim_bytes == bytes)
            stream->claim_ns = rep_now_ns() + CLAIM_NS;
        /* A claim whose owner doesn't come back ends by time alone. */
        uint64_t until = stream->claim_ns < deadline_ns ? stream->claim_ns : deadline_ns;
        rc = rep_wait_on(&stream->changed, &stream->mutex, until, wake);
        if (rc == -ETIMEDOUT && until != deadline_ns)
            rc = 0;
    }
    stream->room_waiters--;
    if (!rc && !stream->open)
        rc = -EPIPE;
    if (!rc)
        stream->reserved += bytes;
    if (rc != -ETIMEDOUT && stream->claim_bytes == bytes) { /* it won't be back for it */
        stream->claim_bytes = 0;
        if (stream->room_waiters)
            rep_stream_changed(stream);
    }
    pthread_mutex_unlock(&stream->mutex);
    return rc;
}

int rep_stream_wait_room_for_copy(rep_stream *stream, uint64_t bytes, uint64_t deadline_ns,
                                  rep_wake *wake)
{
    uint64_t patient = rep_now_ns() + COPY_PATIENCE_NS;
    uint64_t until = patient < deadline_ns ? patient : deadline_ns;
    int rc = 0;
    pthread_mutex_lock(&stream->mutex);
    stream->room_waiters++;
    while (!rc && stream->open && !has_room_for_copy(stream, bytes))
        rc = rep_wait_on(&stream->changed, &stream->mutex, until, wake);
    stream->room_waiters--;
    if (!rc && !stream->open)
        rc = -EPIPE;
    if (!rc)
        stream->reserved += bytes;
    pthread_mutex_unlock(&stream->mutex);
    /* Then as hosts do, with what becomes free kept for it: a copy ends, however they write. */
    if (rc == -ETIMEDOUT && until < deadline_ns)
        rc = rep_stream_wait_room(stream, bytes, deadline_ns, wake);
    return rc;
}

void rep_stream_ring_put(rep_stream *stream, const void *data, uint64_t length)
{
    uint64_t at = stream->write_position % stream->ring_bytes;
    uint64_t head = stream->ring_bytes - at < length ? stream->ring_bytes - at : length;
    memcpy(stream->ring + at, data, head);
    memcpy(stream->ring, (const uint8_t *)data + head, length - head);
    stream->write_position += length;
}

void rep_stream_ring_get(const rep_stream *stream, uint64_t position, void *data, uint64_t length)
{
    uint64_t at = position % stream->ring_bytes;
    uint64_t head = stream->ring_bytes - at < length ? stream->ring_bytes - at : length;
    memcpy(data, stream->ring + at, head);
    memcpy((uint8_t *)data + head, stream->ring, length - head);
}

void rep_stream_put_record(rep_stream *stream, const rep_record *record)
{
    uint8_t header[REP_RECORD_HEADER_BYTES];
    rep_record_put_header(header, record);
    rep_stream_ring_put(stream, header, sizeof header);
    if (record->type == REP_RECORD_DATA)
        rep_stream_ring_put(stream, record->payload, record->length);
}
