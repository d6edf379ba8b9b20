/* The write path (ARCHITECTURE.md: life of a write). */
#include <errno.h>
#include <string.h>

#include "alog_parts.h"
#include "parts.h"

static int mark(rep_link *link, uint64_t offset, uint64_t length)
{
    rep_chunks chunks = rep_chunks_of(link, offset, length);
    return rep_bitmap_set(link->pending, chunks.first, chunks.count);
}

/* There is no room for this link, and it doesn't wait. A target that follows keeps the moment that
 * it is at: nothing of the group may go out behind it. During a copy order is nothing, and the
 * copier sends what is marked. Then the write needs no room here. */
static int go_without(rep_link *link, const rep_write *write)
{
    if (!atomic_load(&link->follows)) {
        atomic_fetch_add(&link->left_behind, 1);
        return mark(link, write->offset, write->length);
    }
    rep_stream_pull_ahead(link->stream);
    return 0;
}

int rep_room_take(rep_volume *volume, const rep_link *origin, const rep_write *write,
                  rep_stream **full, uint64_t *full_bytes)
{
    int rc = 0;
    for (int i = 0; !rc && i < volume->link_count; i++) {
        rep_link *link = volume->links[i];
        if (link == origin || !rep_link_works(link))
            continue;
        if (atomic_load(&link->mode) == REP_LINK_FORWARD) {
            rc = rep_room_take(link->target, link->target_link, write, full, full_bytes);
        } else {
            /* In a copy, only the chunks already sent are shipped: perhaps in many pieces. */
            rep_chunks chunks = rep_chunks_of(link, write->offset, write->length);
            uint64_t pieces = rep_bitmap_any(link->pending) ? chunks.count : 1;
            uint64_t bytes = rep_stream_room(write->type, write->length, pieces);
            write->room->acknowledged |= link->ack != REP_ACK_QUEUED;
            rc = rep_room_add(write->room, link->stream, bytes, full, full_bytes);
            if (rc == -EAGAIN && atomic_load(&link->congestion) == REP_CONGESTION_PULL_AHEAD) {
                *full = NULL;
                rc = go_without(link, write);
            }
        }
    }
    return rc;
}

static int put(rep_io *io, const rep_write *write)
{
    switch (write->type) {
    case REP_RECORD_DATA:
        return rep_storage_answer(rep_io_pwrite(io, write->buffer, write->length, write->offset));
    case REP_RECORD_ZERO:
        return rep_storage_answer(rep_io_zero(io, write->offset, write->length));
    default:
        return rep_storage_answer(rep_io_trim(io, write->offset, write->length));
    }
}

/* Every row that marks: its own bit, or one bit for all siblings together. */
static int mark_all(rep_volume *volume, const rep_link *origin, const rep_write *write)
{
    bool shared = false;
    int rc = 0;
    for (int i = 0; !rc && i < volume->link_count; i++) {
        rep_link *link = volume->links[i];
        if (link == origin || atomic_load(&link->mode) == REP_LINK_IDLE || rep_link_works(link))
            continue;
        if (link->epoch_start)
            shared = true;
        else
            rc = mark(link, write->offset, write->length);
    }
    if (!rc && shared) {
        uint64_t first = write->offset >> volume->marks_shift;
        uint64_t last = (write->offset + write->length - 1) >> volume->marks_shift;
        rc =
            rep_bitmap_set(volume->epochs[volume->epoch_count - 1].bitmap, first, last - first + 1);
    }
    return rc;
}

/* The volume itself failed: nobody knows what the range holds now. INV-1. */
static void pend_everywhere(rep_volume *volume, const rep_write *write, int cause)
{
    for (int i = 0; i < volume->link_count; i++) {
        rep_link *link = volume->links[i];
        /* Inside the volume (checked), so it can't be refused. */
        (void)mark(link, write->offset, write->length);
        if (rep_link_works(link)) {
            atomic_store(&link->source_failed, 1);
            rep_link_break(link, cause);
        }
    }
}

static int forward_piece(rep_link *link, const rep_write *piece)
{
    rep_chunks chunks = rep_chunks_of(link, piece->offset, piece->length);
    uint64_t epoch = atomic_load(&link->epoch);
    int rc = rep_bitmap_set(link->unsettled[epoch & 1], chunks.first, chunks.count);
    if (!rc)
        rc = rep_volume_write_inside(link->target, link->target_link, piece);
    /* The epoch was closed meanwhile: its flush may have missed this write. */
    uint64_t now = atomic_load(&link->epoch);
    if (!rc && now != epoch)
        rc = rep_bitmap_set(link->unsettled[now & 1], chunks.first, chunks.count);
    return rc;
}

int rep_link_ship_piece(rep_link *link, const rep_write *write, uint64_t offset, uint64_t length)
{
    uint64_t *reserved = rep_room_of(write->room, link->stream);
    if (!reserved)
        return -EPIPE;
    uint64_t attempt;
    uint64_t number;
    rep_shipment what = {
        .type = write->type,
        .flags = write->flags,
        .offset = offset,
        .length = length,
        .payload = write->buffer ? write->buffer + (offset - write->offset) : NULL,
        .quiet = write->ticket && link->ack != REP_ACK_QUEUED,
    };
    int rc = rep_stream_append(link->stream, link, &what, reserved, &attempt, &number);
    if (!rc && write->ticket && link->ack != REP_ACK_QUEUED
        && !rep_ticket_add(write->ticket, link, attempt, number))
        rc = -ENOBUFS;
    return rc;
}

static int pass_on_piece(rep_link *link, const rep_write *write, uint64_t offset, uint64_t length)
{
    if (atomic_load(&link->mode) == REP_LINK_SHIP)
        return rep_link_ship_piece(link, write, offset, length);
    rep_write piece = *write;
    piece.buffer = write->buffer ? write->buffer + (offset - write->offset) : NULL;
    piece.offset = offset;
    piece.length = length;
    return forward_piece(link, &piece);
}

/* The end of the run of chunks from `from` on that all are, or all aren't, pending. */
static uint64_t run_end(const rep_link *link, uint64_t from, uint64_t end, bool *pending)
{
    uint64_t chunk = from >> link->chunk_shift;
    *pending = rep_bitmap_test(link->pending, chunk) == 1;
    do
        chunk++;
    while (chunk << link->chunk_shift < end
           && (rep_bitmap_test(link->pending, chunk) == 1) == *pending);
    uint64_t stop = chunk << link->chunk_shift;
    return stop < end ? stop : end;
}

/* Forwards or ships what isn't pending; what is, the copier will send. */
static void pass_on(rep_link *link, const rep_write *write)
{
    uint64_t end = write->offset + write->length;
    int rc = 0;
    if (link->comparers) {
        rep_chunks chunks = rep_chunks_of(link, write->offset, write->length);
        rep_compare_notice(link->comparers, chunks.first, chunks.count);
    }
    if (!rep_bitmap_any(link->pending)) {
        rc = pass_on_piece(link, write, write->offset, write->length);
    } else {
        uint64_t at = write->offset;
        while (!rc && at < end) {
            bool pending;
            uint64_t stop = run_end(link, at, end, &pending);
            if (!pending)
                rc = pass_on_piece(link, write, at, stop - at);
            at = stop;
        }
    }
    if (rc && rc != -EPIPE)
        rep_link_break(link, rc);
    if (!rc && !atomic_load(&link->broken))
        return;
    (void)mark(link, write->offset, write->length);
    if (atomic_load(&link->guarded))
        write->room->unmirrored = true;
}

int rep_volume_write_inside(rep_volume *volume, rep_link *origin, const rep_write *write)
{
    int rc = mark_all(volume, origin, write);
    if (!rc)
        rc = put(volume->io, write);
    if (rc) {
        pend_everywhere(volume, write, rc);
        return rc;
    }
    for (int i = 0; i < volume->link_count; i++) {
        rep_link *link = volume->links[i];
        int mode = atomic_load(&link->mode);
        if (link != origin && (mode == REP_LINK_FORWARD || mode == REP_LINK_SHIP))
            pass_on(link, write);
    }
    return 0;
}

typedef struct entry {
    bool host;
    bool at_once; /* rather not at all than wait, for the peer either */
    uint64_t token;
    uint64_t deadline_ns;
    rep_wake *wake;
} entry;

/* What a piece waits for, outside of its pass. */
typedef struct waits {
    rep_stream *full;
    uint64_t full_bytes;
    bool missing;
    rep_hold_entry region;
    rep_hold *hold;
} waits;

static int refused(const rep_volume *volume, const entry *who)
{
    if (!who->host)
        return 0;
    int fence = atomic_load(&volume->fence);
    if (fence & REP_FENCE_WRITES)
        return -REP_FENCED_ROLE;
    if (volume->lease && volume->lease != who->token)
        return -REP_FENCED_LEASE;
    for (int i = 0; volume->guards && i < volume->link_count; i++) {
        const rep_link *link = volume->links[i];
        bool ships = atomic_load(&link->mode) == REP_LINK_SHIP && rep_link_works(link);
        if (atomic_load(&link->guarded) && !ships)
            return -REP_FENCED_MIRROR;
    }
    return fence & REP_FENCE_FIRST ? -REP_FENCED_FIRST : 0;
}

/* Where the writer waited in vain: it may give that stream up. */
static void note_waited(rep_ticket *ticket, rep_stream *full)
{
    rep_stream_info info;
    rep_stream_info_get(full, &info);
    ticket->full = full;
    ticket->full_attempt = info.attempt;
}

/* Inside a pass. What is missing, room or a hot region, is told. */
static int try_piece(rep_volume *volume, rep_link *origin, const rep_write *write, const entry *who,
                     waits *waiting)
{
    int rc = refused(volume, who);
    if (!rc)
        rc = rep_room_take(volume, origin, write, &waiting->full, &waiting->full_bytes);
    if (!rc && who->at_once && write->room->acknowledged)
        rc = -EAGAIN;
    if (!rc) {
        rc = rep_hold_take(volume, origin, write->offset, write->length, waiting->hold,
                           &waiting->region);
        waiting->missing = rc == -EAGAIN;
    }
    if (!rc && who->host && !atomic_load(&volume->host_wrote))
        atomic_store(&volume->host_wrote, 1);
    if (!rc)
        rc = rep_volume_write_inside(volume, origin, write);
    if (!rc && write->room->unmirrored && who->host)
        rc = -REP_FENCED_MIRROR; /* the link broke just now: as the next write will be told */
    return rc;
}

static int await_room(rep_room *room, const rep_write *write, const waits *waiting,
                      const entry *who)
{
    int rc = rep_room_await(room, waiting->full, waiting->full_bytes, who->deadline_ns, who->wake);
    if (rc == -ETIMEDOUT && write->ticket)
        note_waited(write->ticket, waiting->full);
    return rc;
}

/* Somebody else's write that isn't done: its bytes are lost here. INV-1. */
static int give_up(rep_volume *volume, const rep_write *write, const entry *who, int cause)
{
    rep_pass pass;
    if (who->host || cause == -ETIMEDOUT || cause == -ECANCELED
        || rep_tree_enter(&volume->tree, &pass, write->offset, write->length, REP_NO_DEADLINE,
                          NULL))
        return cause;
    pend_everywhere(volume, write, cause);
    rep_tree_exit(&pass);
    return cause;
}

static int write_piece(rep_volume *volume, rep_link *origin, const rep_write *wanted,
                       const entry *who)
{
    rep_write write = *wanted;
    rep_room room;
    rep_room_empty(&room);
    rep_hold hold;
    hold.count = 0;
    write.room = &room;
    for (;;) {
        rep_pass pass;
        waits waiting = {.hold = &hold};
        int rc = rep_tree_enter(&volume->tree, &pass, write.offset, write.length, who->deadline_ns,
                                who->wake);
        if (rc) {
            rep_room_give_back(&room);
            rep_hold_give_back(&hold);
            return rc;
        }
        rc = try_piece(volume, origin, &write, who, &waiting);
        if (rc && !who->host && !waiting.missing && !waiting.full && rc != -EMSGSIZE)
            pend_everywhere(volume, &write, rc); /* its bytes are lost here. INV-1 */
        if (waiting.missing)
            rep_room_keep(&room); /* a log waits for no peer: what was hard to get stays */
        else
            rep_room_give_back(&room);
        if (!waiting.missing)
            rep_hold_give_back(&hold);
        rep_tree_exit(&pass);
        if (waiting.missing)
            rc = rep_hold_await(&hold, &waiting.region, who->deadline_ns, who->wake);
        else if (waiting.full)
            rc = await_room(&room, &write, &waiting, who);
        else
            return rc;
        if (rc) {
            rep_room_give_back(&room);
            return give_up(volume, &write, who, rc);
        }
    }
}

static int write_all(rep_volume *volume, rep_link *origin, rep_write *write, const entry *who,
                     uint64_t *done)
{
    const uint8_t *buffer = write->buffer;
    uint64_t offset = write->offset;
    uint64_t length = write->length;
    uint64_t most = write->type == REP_RECORD_DATA ? REP_PIECE_BYTES : REP_ZERO_PIECE_BYTES;
    const rep_alog *log = atomic_load(&volume->log);
    if (log && rep_alog_piece_bytes(log) < most)
        most = rep_alog_piece_bytes(log);
    *done = 0;
    if (write->ticket)
        write->ticket->full = NULL;
    int rc = rep_io_check(volume->io, offset, length);
    while (!rc && *done < length) {
        uint64_t left = length - *done;
        write->offset = offset + *done;
        write->length = left < most ? left : most;
        write->buffer = buffer ? buffer + *done : NULL;
        rc = write_piece(volume, origin, write, who);
        if (rc == -EMSGSIZE) { /* for the log of a volume further down */
            most = write->length / 2;
            rc = 0;
        } else if (!rc) {
            *done += write->length;
        }
    }
    return rc;
}

int rep_volume_write_through(rep_volume *volume, rep_link *origin, uint8_t type, uint8_t flags,
                             const uint8_t *buffer, uint64_t offset, uint64_t length,
                             rep_wake *wake)
{
    uint64_t done;
    rep_write write = {
        .type = type, .flags = flags, .buffer = buffer, .offset = offset, .length = length};
    entry who = {.deadline_ns = REP_NO_DEADLINE, .wake = wake};
    return write_all(volume, origin, &write, &who, &done);
}

int rep_volume_pwrite(rep_volume *volume, const void *buffer, uint64_t length, uint64_t offset,
                      uint64_t token, uint64_t deadline_ns, rep_wake *wake, rep_ticket *ticket,
                      uint64_t *done)
{
    rep_write write = {.type = REP_RECORD_DATA,
                       .buffer = buffer,
                       .offset = offset,
                       .length = length,
                       .ticket = ticket};
    entry who = {.host = true, .token = token, .deadline_ns = deadline_ns, .wake = wake};
    return write_all(volume, NULL, &write, &who, done);
}

int rep_volume_pwrite_at_once(rep_volume *volume, const void *buffer, uint64_t length,
                              uint64_t offset, uint64_t token)
{
    rep_write write = {
        .type = REP_RECORD_DATA, .buffer = buffer, .offset = offset, .length = length};
    entry who = {.host = true, .at_once = true, .token = token};
    int rc = rep_io_check(volume->io, offset, length);
    if (rc || !length)
        return rc;
    rc = length > REP_PIECE_BYTES ? -EAGAIN : write_piece(volume, NULL, &write, &who);
    return rc == -ETIMEDOUT ? -EAGAIN : rc; /* its deadline is over before any wait */
}

int rep_volume_zero(rep_volume *volume, uint64_t length, uint64_t offset, uint64_t token,
                    uint64_t deadline_ns, rep_wake *wake, rep_ticket *ticket, uint64_t *done)
{
    rep_write write = {
        .type = REP_RECORD_ZERO, .offset = offset, .length = length, .ticket = ticket};
    entry who = {.host = true, .token = token, .deadline_ns = deadline_ns, .wake = wake};
    return write_all(volume, NULL, &write, &who, done);
}

int rep_volume_trim(rep_volume *volume, uint64_t length, uint64_t offset, uint64_t token,
                    uint64_t deadline_ns, rep_wake *wake, rep_ticket *ticket, uint64_t *done)
{
    rep_write write = {
        .type = REP_RECORD_TRIM, .offset = offset, .length = length, .ticket = ticket};
    entry who = {.host = true, .token = token, .deadline_ns = deadline_ns, .wake = wake};
    return write_all(volume, NULL, &write, &who, done);
}
