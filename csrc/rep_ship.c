#include "rep_ship.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "ship_parts.h"

#define CAPACITY_MIN (4ULL << 20)

int rep_stream_new(uint64_t stream_id, uint64_t capacity_bytes, rep_stream **out)
{
    if (capacity_bytes < CAPACITY_MIN)
        return -EINVAL;
    rep_stream *stream = calloc(1, sizeof *stream);
    if (!stream)
        return -ENOMEM;
    stream->stream_id = stream_id;
    stream->capacity = capacity_bytes;
    stream->ring_bytes = capacity_bytes + REP_FRAME_BYTES;
    void *ring = mmap(NULL, stream->ring_bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    int rc = ring == MAP_FAILED ? -ENOMEM : -pthread_mutex_init(&stream->mutex, NULL);
    if (!rc) {
        rc = -pthread_mutex_init(&stream->turn, NULL);
        if (rc)
            pthread_mutex_destroy(&stream->mutex);
    }
    if (!rc) {
        stream->ring = ring;
        rc = rep_wait_cond_init(&stream->changed);
        if (!rc) {
            rc = rep_wait_cond_init(&stream->takable);
            if (rc)
                pthread_cond_destroy(&stream->changed);
        }
        if (rc) {
            pthread_mutex_destroy(&stream->mutex);
            pthread_mutex_destroy(&stream->turn);
        }
    }
    if (rc) {
        if (ring != MAP_FAILED)
            munmap(ring, stream->ring_bytes);
        free(stream);
        return rc;
    }
    *out = stream;
    return 0;
}

void rep_stream_free(rep_stream *stream)
{
    if (!stream)
        return;
    munmap(stream->ring, stream->ring_bytes);
    pthread_cond_destroy(&stream->takable);
    pthread_cond_destroy(&stream->changed);
    pthread_mutex_destroy(&stream->mutex);
    pthread_mutex_destroy(&stream->turn);
    free(stream->small);
    free(stream);
}

uint64_t rep_stream_id(const rep_stream *stream)
{
    return stream->stream_id;
}

int rep_stream_open(rep_stream *stream, uint64_t attempt, uint64_t *next_number)
{
    pthread_mutex_lock(&stream->mutex);
    int rc = stream->open || attempt <= stream->attempt ? -EINVAL : 0;
    if (!rc) {
        stream->open = true;
        stream->attempt = attempt;
        stream->barrier_ns = rep_now_ns();
        *next_number = stream->last + 1;
    }
    pthread_mutex_unlock(&stream->mutex);
    return rc;
}

static void break_locked(rep_stream *stream, int cause)
{
    if (!stream->open)
        return;
    stream->open = false;
    for (rep_link *link = stream->links; link; link = link->next_in_stream)
        rep_link_break(link, cause);
    /* What was queued is pending now; its numbers are never used again. */
    stream->take_position = stream->free_position = stream->write_position;
    stream->taken = stream->received = stream->durable = stream->last;
    stream->flight_count = 0;
    stream->barrier_wanted = false;
    stream->group_wanted = false;
    stream->closing_number = 0;
    stream->late_barrier = false;
    stream->corked = false;
    rep_stream_drop_ages(stream);
    rep_stream_note_room(stream);
    rep_stream_changed(stream);
    rep_stream_answer_all(stream);
    rep_stream_wake_sender(stream);
}

void rep_stream_break(rep_stream *stream, int cause)
{
    pthread_mutex_lock(&stream->mutex);
    break_locked(stream, cause);
    pthread_mutex_unlock(&stream->mutex);
}

void rep_stream_break_attempt(rep_stream *stream, uint64_t attempt, int cause)
{
    pthread_mutex_lock(&stream->mutex);
    if (stream->attempt == attempt)
        break_locked(stream, cause);
    pthread_mutex_unlock(&stream->mutex);
}

int rep_stream_is_open(rep_stream *stream)
{
    pthread_mutex_lock(&stream->mutex);
    int open = stream->open;
    pthread_mutex_unlock(&stream->mutex);
    return open;
}

int rep_stream_join(rep_stream *stream, rep_link *link)
{
    pthread_mutex_lock(&stream->mutex);
    int rc = stream->open ? 0 : -EPIPE;
    if (!rc) {
        link->next_in_stream = stream->links;
        stream->links = link;
    }
    pthread_mutex_unlock(&stream->mutex);
    return rc;
}

void rep_stream_leave(rep_stream *stream, rep_link *link)
{
    pthread_mutex_lock(&stream->mutex);
    for (rep_link **at = &stream->links; *at; at = &(*at)->next_in_stream)
        if (*at == link) {
            *at = link->next_in_stream;
            break;
        }
    link->next_in_stream = NULL;
    pthread_mutex_unlock(&stream->mutex);
}

static uint64_t record_most(uint8_t type)
{
    return type == REP_RECORD_DATA ? REP_RECORD_DATA_BYTES : REP_ZERO_PIECE_BYTES;
}

/* What put_shipment takes of the ring. */
static uint64_t shipment_bytes(const rep_shipment *what)
{
    uint64_t most = record_most(what->type);
    uint64_t headers = (what->length + most - 1) / most * REP_RECORD_HEADER_BYTES;
    return what->type == REP_RECORD_DATA ? headers + what->length : headers;
}

static void put_shipment(rep_stream *stream, const rep_link *link, const rep_shipment *what)
{
    uint64_t most = record_most(what->type);
    for (uint64_t done = 0; done < what->length;) {
        uint64_t left = what->length - done;
        rep_record record = {
            .type = what->type,
            .flags = what->flags,
            .channel = link->channel,
            .number = ++stream->last,
            .offset = what->offset + done,
            .length = (uint32_t)(left < most ? left : most),
            .payload = what->payload ? what->payload + done : NULL,
        };
        rep_stream_put_record(stream, &record);
        done += record.length;
    }
}

int rep_stream_append(rep_stream *stream, rep_link *link, const rep_shipment *what,
                      uint64_t *reserved, uint64_t *attempt, uint64_t *number)
{
    uint64_t need = shipment_bytes(what);
    rep_chunks chunks = rep_chunks_of(link, what->offset, what->length);
    pthread_mutex_lock(&stream->mutex);
    int rc = 0;
    if (!stream->open || atomic_load(&link->broken))
        rc = -EPIPE;
    else if (need > *reserved)
        rc = -ENOBUFS;
    if (!rc)
        /* With the number, under the mutex that barriers take: a barrier behind this record never
         * closes an epoch that lacks it, one before it never drops it. INV-3. */
        rc = rep_bitmap_set(link->unsettled[atomic_load(&link->epoch) & 1], chunks.first,
                            chunks.count);
    if (!rc) {
        rep_stream_note_age(stream, stream->last + 1);
        put_shipment(stream, link, what);
        stream->data_last = stream->last;
        *reserved -= need;
        stream->reserved -= need;
        *attempt = stream->attempt;
        *number = stream->last;
        if (rep_stream_used(stream) > stream->queued_peak)
            stream->queued_peak = rep_stream_used(stream);
        if (what->quiet && link->ack == REP_ACK_DURABLE)
            stream->group_wanted = true;
        if (!what->quiet && rep_stream_needs_sender(stream))
            rep_stream_wake_sender(stream);
    }
    pthread_mutex_unlock(&stream->mutex);
    return rc;
}

static void settle(rep_stream *stream)
{
    if (!stream->closing_number || stream->durable < stream->closing_number)
        return;
    for (rep_link *link = stream->links; link; link = link->next_in_stream)
        if (!atomic_load(&link->broken))
            rep_link_drop_epoch(link, atomic_load(&link->epoch) - 1);
    stream->closing_number = 0;
    if (!stream->late_barrier)
        return;
    stream->late_ns = rep_now_ns();
    if (!stream->late_patiently)
        stream->barrier_wanted = true;
}

int rep_stream_ack(rep_stream *stream, uint64_t attempt, uint64_t received, uint64_t durable)
{
    int rc = 0;
    rep_bells bells = {.count = 0};
    pthread_mutex_lock(&stream->mutex);
    if (!stream->open || attempt != stream->attempt)
        rc = -ESTALE;
    else if (received > stream->taken || durable > received)
        rc = -EBADMSG;
    if (!rc) {
        /* What the sender may have waited for: a slot, room for a barrier, the last one's answer. */
        bool sender_waits = stream->barrier_wanted
                            || (stream->group_wanted && !atomic_load(&stream->carried))
                            || stream->flight_count == IN_FLIGHT
                            || rep_stream_used(stream) + stream->reserved + REP_RECORD_HEADER_BYTES
                                   > stream->ring_bytes;
        if (received > stream->received)
            stream->received = received;
        if (durable > stream->durable)
            stream->durable = durable;
        while (stream->flight_count
               && stream->flights[stream->flight_first].last_number <= stream->received) {
            stream->free_position = stream->flights[stream->flight_first].end;
            stream->flight_first = (stream->flight_first + 1) % IN_FLIGHT;
            stream->flight_count--;
        }
        /* From the front again: a queue that is mostly empty stays in memory that is warm. */
        if (!rep_stream_used(stream))
            stream->write_position = stream->take_position = stream->free_position = 0;
        settle(stream);
        rep_stream_drop_ages(stream);
        rep_stream_note_room(stream);
        if (stream->room_waiters)
            rep_stream_changed(stream);
        rep_stream_answer(stream, stream->received, &bells);
        if (sender_waits || stream->barrier_wanted)
            rep_stream_wake_sender(stream);
    }
    pthread_mutex_unlock(&stream->mutex);
    rep_bells_ring(&bells);
    return rc;
}

int rep_stream_cork(rep_stream *stream, bool release, uint64_t *point)
{
    pthread_mutex_lock(&stream->mutex);
    int rc = !stream->open ? -EPIPE : stream->corked ? -EALREADY : 0;
    if (!rc) {
        stream->corked = true;
        stream->cork_releases = release;
        stream->point = stream->last;
        stream->queued_peak = rep_stream_used(stream);
        *point = stream->point;
        rep_stream_answer_all(stream);
    }
    pthread_mutex_unlock(&stream->mutex);
    return rc;
}

void rep_stream_release(rep_stream *stream)
{
    pthread_mutex_lock(&stream->mutex);
    stream->cork_releases = true;
    rep_stream_answer_all(stream);
    pthread_mutex_unlock(&stream->mutex);
}

void rep_stream_uncork(rep_stream *stream)
{
    pthread_mutex_lock(&stream->mutex);
    stream->corked = false;
    rep_stream_wake_sender(stream);
    pthread_mutex_unlock(&stream->mutex);
}

void rep_stream_info_get(rep_stream *stream, rep_stream_info *out)
{
    pthread_mutex_lock(&stream->mutex);
    *out = (rep_stream_info){
        .open = stream->open,
        .corked = stream->corked,
        .attempt = stream->attempt,
        .last = stream->last,
        .taken = stream->taken,
        .received = stream->received,
        .durable = stream->durable,
        .queued_bytes = rep_stream_used(stream),
        .queued_peak_bytes = stream->queued_peak,
        .frame_bytes = stream->frame_bytes,
        .received_lag_ns = rep_stream_age_ns(stream, stream->received),
        .durable_lag_ns = rep_stream_age_ns(stream, stream->durable),
        .full_ns = rep_stream_full_ns(stream),
        .pulled = stream->pulled,
        .pull_count = stream->pull_count,
    };
    pthread_mutex_unlock(&stream->mutex);
}
