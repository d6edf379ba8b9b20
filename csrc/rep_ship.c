#include "rep_ship.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "parts.h"

#define CAPACITY_MIN (4ULL << 20)
#define BARRIER_EVERY_NS 1000000000ULL
/* Frames sent and not yet received; beyond that the sender waits. */
#define IN_FLIGHT 4096U

typedef struct flight {
    uint64_t last_number;
    uint64_t end; /* position behind its last byte */
} flight;

struct rep_stream {
    uint64_t stream_id;
    pthread_mutex_t mutex; /* all below; see rep_tree.h for the order of locks */
    pthread_cond_t changed;
    bool open;
    uint64_t attempt;
    /* The ring. Positions only grow; a byte stands at position % ring_bytes. A barrier needs no
     * reserved room, so the ring is a little larger than the capacity. */
    uint8_t *ring;
    uint64_t ring_bytes;
    uint64_t capacity;
    uint64_t reserved;
    int room_waiters;
    uint64_t write_position;
    uint64_t take_position;
    uint64_t free_position;
    uint64_t last;
    uint64_t taken;
    uint64_t received;
    uint64_t durable;
    flight flights[IN_FLIGHT];
    unsigned flight_first;
    unsigned flight_count;
    /* Barriers: wanted behind `last`; the number of the newest; the one that closed U's epoch. */
    bool barrier_wanted;
    uint64_t barrier_number;
    uint64_t barrier_ns;
    uint64_t closing_number;
    bool late_barrier; /* one was put while an epoch was closing: U wants another */
    bool corked;
    bool cork_releases;
    uint64_t point;
    uint64_t queued_peak;
    uint64_t frame_bytes;
    rep_link *links;
};

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
        stream->ring = ring;
        rc = rep_wait_cond_init(&stream->changed);
        if (rc)
            pthread_mutex_destroy(&stream->mutex);
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
    pthread_cond_destroy(&stream->changed);
    pthread_mutex_destroy(&stream->mutex);
    free(stream);
}

static uint64_t used(const rep_stream *stream)
{
    return stream->write_position - stream->free_position;
}

static void changed(rep_stream *stream)
{
    pthread_cond_broadcast(&stream->changed);
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
    stream->closing_number = 0;
    stream->late_barrier = false;
    stream->corked = false;
    changed(stream);
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

uint64_t rep_stream_room(uint8_t type, uint64_t length, uint64_t pieces)
{
    if (type != REP_RECORD_DATA)
        return pieces * REP_RECORD_HEADER_BYTES;
    return length + (pieces + length / REP_RECORD_DATA_BYTES + 1) * REP_RECORD_HEADER_BYTES;
}

static bool has_room(const rep_stream *stream, uint64_t bytes)
{
    return used(stream) + stream->reserved + bytes <= stream->capacity;
}

int rep_stream_reserve(rep_stream *stream, uint64_t bytes)
{
    pthread_mutex_lock(&stream->mutex);
    int rc = !stream->open ? -EPIPE : has_room(stream, bytes) ? 0 : -EAGAIN;
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
    if (stream->room_waiters)
        changed(stream);
    pthread_mutex_unlock(&stream->mutex);
}

int rep_stream_wait_room(rep_stream *stream, uint64_t bytes, uint64_t deadline_ns, rep_wake *wake)
{
    int rc = 0;
    pthread_mutex_lock(&stream->mutex);
    stream->room_waiters++;
    while (!rc && stream->open && !has_room(stream, bytes))
        rc = rep_wait_on(&stream->changed, &stream->mutex, deadline_ns, wake);
    stream->room_waiters--;
    if (!rc && !stream->open)
        rc = -EPIPE;
    pthread_mutex_unlock(&stream->mutex);
    return rc;
}

static void ring_put(rep_stream *stream, const void *data, uint64_t length)
{
    uint64_t at = stream->write_position % stream->ring_bytes;
    uint64_t head = stream->ring_bytes - at < length ? stream->ring_bytes - at : length;
    memcpy(stream->ring + at, data, head);
    memcpy(stream->ring, (const uint8_t *)data + head, length - head);
    stream->write_position += length;
}

static void ring_get(const rep_stream *stream, uint64_t position, void *data, uint64_t length)
{
    uint64_t at = position % stream->ring_bytes;
    uint64_t head = stream->ring_bytes - at < length ? stream->ring_bytes - at : length;
    memcpy(data, stream->ring + at, head);
    memcpy((uint8_t *)data + head, stream->ring, length - head);
}

static void put_record(rep_stream *stream, const rep_record *record)
{
    uint8_t header[REP_RECORD_HEADER_BYTES];
    rep_record_put_header(header, record);
    ring_put(stream, header, sizeof header);
    if (record->type == REP_RECORD_DATA)
        ring_put(stream, record->payload, record->length);
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
        put_record(stream, &record);
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
        put_shipment(stream, link, what);
        *reserved -= need;
        stream->reserved -= need;
        *attempt = stream->attempt;
        *number = stream->last;
        if (used(stream) > stream->queued_peak)
            stream->queued_peak = used(stream);
        changed(stream);
    }
    pthread_mutex_unlock(&stream->mutex);
    return rc;
}

/* A barrier behind everything appended so far; closes U's epoch unless one is closing already. */
static void put_barrier(rep_stream *stream)
{
    rep_record record = {.type = REP_RECORD_BARRIER, .number = ++stream->last};
    put_record(stream, &record);
    stream->barrier_wanted = false;
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
        || used(stream) + stream->reserved + REP_RECORD_HEADER_BYTES > stream->ring_bytes)
        return REP_NO_DEADLINE;
    if (stream->barrier_wanted)
        return 0;
    return stream->last > stream->barrier_number ? stream->barrier_ns + BARRIER_EVERY_NS
                                                 : REP_NO_DEADLINE;
}

static uint64_t take_limit(const rep_stream *stream)
{
    return stream->corked ? stream->point : stream->last;
}

/* How many whole records, in bytes and count, go into one frame from the take position on. */
static void measure_frame(const rep_stream *stream, rep_frame_info *info)
{
    uint64_t position = stream->take_position;
    uint64_t number = stream->taken;
    uint64_t room = REP_FRAME_BYTES - REP_FRAME_HEADER_BYTES;
    while (number < take_limit(stream)) {
        uint8_t header[REP_RECORD_HEADER_BYTES];
        ring_get(stream, position, header, sizeof header);
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

static uint64_t take_frame(rep_stream *stream, uint8_t *frame)
{
    rep_frame_info info = {
        .stream_id = stream->stream_id,
        .attempt = stream->attempt,
        .first_number = stream->taken + 1,
    };
    measure_frame(stream, &info);
    rep_frame_put_header(frame, &info);
    ring_get(stream, stream->take_position, frame + REP_FRAME_HEADER_BYTES, info.body_bytes);
    stream->take_position += info.body_bytes;
    stream->taken += info.record_count;
    unsigned slot = (stream->flight_first + stream->flight_count++) % IN_FLIGHT;
    stream->flights[slot] = (flight){stream->taken, stream->take_position};
    stream->frame_bytes += REP_FRAME_HEADER_BYTES + info.body_bytes;
    return REP_FRAME_HEADER_BYTES + info.body_bytes;
}

int rep_stream_take(rep_stream *stream, void *frame, uint64_t deadline_ns, rep_wake *wake,
                    uint64_t *length)
{
    int rc = 0;
    pthread_mutex_lock(&stream->mutex);
    while (!rc) {
        if (!stream->open) {
            rc = -EPIPE;
            break;
        }
        if (barrier_at(stream) <= rep_now_ns())
            put_barrier(stream);
        if (stream->taken < take_limit(stream) && stream->flight_count < IN_FLIGHT) {
            *length = take_frame(stream, frame);
            break;
        }
        uint64_t until = barrier_at(stream);
        if (until > deadline_ns)
            until = deadline_ns;
        rc = rep_wait_on(&stream->changed, &stream->mutex, until, wake);
        if (rc == -ETIMEDOUT && until != deadline_ns)
            rc = 0;
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
    if (stream->late_barrier)
        stream->barrier_wanted = true;
}

int rep_stream_ack(rep_stream *stream, uint64_t attempt, uint64_t received, uint64_t durable)
{
    int rc = 0;
    pthread_mutex_lock(&stream->mutex);
    if (!stream->open || attempt != stream->attempt)
        rc = -ESTALE;
    else if (received > stream->taken || durable > received)
        rc = -EBADMSG;
    if (!rc) {
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
        settle(stream);
        changed(stream);
    }
    pthread_mutex_unlock(&stream->mutex);
    return rc;
}

/* Behind everything appended so far, unless nothing was since the last one. */
static void want_barrier(rep_stream *stream)
{
    if (!stream->open || stream->barrier_wanted || stream->last == stream->barrier_number)
        return;
    stream->barrier_wanted = true;
    changed(stream);
}

void rep_stream_barrier(rep_stream *stream)
{
    pthread_mutex_lock(&stream->mutex);
    /* A late barrier is behind everything already; settle puts the one that U wants. */
    want_barrier(stream);
    pthread_mutex_unlock(&stream->mutex);
}

static bool answered(const rep_stream *stream, uint64_t number, int ack)
{
    if (ack == REP_ACK_QUEUED || (stream->corked && stream->cork_releases))
        return true;
    return (ack == REP_ACK_DURABLE ? stream->durable : stream->received) >= number;
}

int rep_stream_wait_attempt(rep_stream *stream, uint64_t attempt, uint64_t number, int ack,
                            uint64_t deadline_ns, rep_wake *wake)
{
    int rc = 0;
    pthread_mutex_lock(&stream->mutex);
    while (!rc) {
        if (!stream->open || stream->attempt != attempt)
            rc = -EPIPE;
        else if (answered(stream, number, ack))
            break;
        if (rc)
            break;
        if (ack == REP_ACK_DURABLE && number > stream->barrier_number)
            want_barrier(stream);
        rc = rep_wait_on(&stream->changed, &stream->mutex, deadline_ns, wake);
    }
    pthread_mutex_unlock(&stream->mutex);
    return rc;
}

int rep_stream_wait(rep_stream *stream, uint64_t number, int ack, uint64_t deadline_ns,
                    rep_wake *wake)
{
    pthread_mutex_lock(&stream->mutex);
    uint64_t attempt = stream->attempt;
    pthread_mutex_unlock(&stream->mutex);
    return rep_stream_wait_attempt(stream, attempt, number, ack, deadline_ns, wake);
}

int rep_stream_cork(rep_stream *stream, bool release, uint64_t *point)
{
    pthread_mutex_lock(&stream->mutex);
    int rc = !stream->open ? -EPIPE : stream->corked ? -EALREADY : 0;
    if (!rc) {
        stream->corked = true;
        stream->cork_releases = release;
        stream->point = stream->last;
        stream->queued_peak = used(stream);
        *point = stream->point;
        changed(stream);
    }
    pthread_mutex_unlock(&stream->mutex);
    return rc;
}

void rep_stream_uncork(rep_stream *stream)
{
    pthread_mutex_lock(&stream->mutex);
    stream->corked = false;
    changed(stream);
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
        .queued_bytes = used(stream),
        .queued_peak_bytes = stream->queued_peak,
        .frame_bytes = stream->frame_bytes,
    };
    pthread_mutex_unlock(&stream->mutex);
}
