/* How data is sent: a region's pending runs are read and passed on. */
#include <errno.h>
#include <string.h>

#include "copy_parts.h"

/* Shorter runs aren't looked at for holes: two calls cost what reading 8 KiB does, and the zero test
 * finds a hole at once. */
#define SCAN_BYTES (64ULL << 10)
/* How far the data is followed: it is remembered for the regions after this one. */
#define AHEAD_BYTES (1ULL << 30)

static bool is_zero(const uint8_t *data, uint64_t length)
{
    /* Each byte equals the one before it, and the first is 0: memcmp leaves at the first that
     * isn't; data that differs only in its last byte is data. */
    return data[0] == 0 && memcmp(data, data + 1, length - 1) == 0;
}

int rep_copy_send(rep_link *link, rep_copy_worker *worker, uint8_t type, const uint8_t *data,
                  uint64_t offset, uint64_t length)
{
    rep_write write = {
        .type = type,
        .flags = REP_RECORD_FLAG_RESYNC,
        .buffer = data,
        .offset = offset,
        .length = length,
        .room = &worker->room,
    };
    int rc = atomic_load(&link->mode) == REP_LINK_SHIP
                 ? rep_link_ship_piece(link, &write, offset, length)
                 : rep_volume_write_inside(link->target, link->target_link, &write);
    /* The target failed, not the source: that ends the link, and the answer tells them apart. */
    if (rc)
        rep_link_break(link, rc);
    return rc ? -EPIPE : 0;
}

/* A target that can't be asked is written to. */
static bool target_has_hole(const rep_link *link, uint64_t offset, uint64_t length)
{
    rep_extent extent;
    size_t count;
    uint64_t resume;
    return atomic_load(&link->mode) == REP_LINK_FORWARD
           && !rep_io_extents(link->target->io, offset, length, &extent, 1, &count, &resume)
           && !count && resume == offset + length;
}

int rep_copy_send_zeros(rep_copier *copier, rep_copy_worker *worker, uint64_t offset,
                        uint64_t length)
{
    worker->progress->zero_bytes += length;
    if (rep_copy_onto_blank(copier) || target_has_hole(copier->link, offset, length))
        return 0;
    return rep_copy_send(copier->link, worker, REP_RECORD_ZERO, NULL, offset, length);
}

/* Data that was read: runs of whole chunks of zeros travel as zeros. */
static int send_data(rep_copier *copier, rep_copy_worker *worker, uint64_t offset, uint64_t length)
{
    rep_link *link = copier->link;
    const uint8_t *data = worker->buffer;
    uint64_t chunk_bytes = 1ULL << link->chunk_shift;
    uint64_t at = 0;
    int rc = 0;
    while (!rc && at < length) {
        uint64_t end = at;
        bool zero = false;
        do {
            uint64_t step = chunk_bytes - ((offset + end) & (chunk_bytes - 1));
            if (step > length - end)
                step = length - end;
            bool this_zero = is_zero(data + end, step);
            if (end == at)
                zero = this_zero;
            else if (this_zero != zero)
                break;
            end += step;
        } while (end < length);
        rc = zero ? rep_copy_send_zeros(copier, worker, offset + at, end - at)
                  : rep_copy_send(link, worker, REP_RECORD_DATA, data + at, offset + at, end - at);
        at = end;
    }
    return rc;
}

static int read_and_send(rep_copier *copier, rep_copy_worker *worker, uint64_t offset,
                         uint64_t length)
{
    int rc =
        rep_storage_answer(rep_io_pread(copier->link->volume->io, worker->buffer, length, offset));
    return rc ? rc : send_data(copier, worker, offset, length);
}

int rep_copy_next_data(rep_link *link, rep_copy_worker *worker, uint64_t offset, uint64_t end,
                       uint64_t *data)
{
    uint64_t size = link->volume->io->size_bytes;
    uint64_t ahead = end - offset > AHEAD_BYTES ? end - offset : AHEAD_BYTES;
    rep_extent extent;
    size_t count;
    uint64_t resume;
    if (offset >= worker->data_from && offset < worker->data_until) {
        *data = offset;
        return 0;
    }
    int rc = rep_io_extents(link->volume->io, offset, ahead < size - offset ? ahead : size - offset,
                            &extent, 1, &count, &resume);
    if (rc)
        return rep_storage_answer(rc);
    *data = end;
    if (!count)
        return 0;
    worker->data_from = extent.offset & ~(REP_HOLE_GRAIN - 1);
    if (worker->data_from < offset)
        worker->data_from = offset;
    worker->data_until =
        (extent.offset + extent.length + REP_HOLE_GRAIN - 1) & ~(REP_HOLE_GRAIN - 1);
    if (worker->data_from < end)
        *data = worker->data_from;
    return 0;
}

/* A long run: its holes aren't read. */
static int send_scanned(rep_copier *copier, rep_copy_worker *worker, uint64_t offset, uint64_t end)
{
    int rc = 0;
    while (!rc && offset < end) {
        uint64_t data = end;
        rc = rep_copy_next_data(copier->link, worker, offset, end, &data);
        if (!rc && data > offset)
            rc = rep_copy_send_zeros(copier, worker, offset, data - offset);
        if (!rc && data < end) {
            uint64_t stop = worker->data_until < end ? worker->data_until : end;
            rc = read_and_send(copier, worker, data, stop - data);
            data = stop;
        }
        offset = data;
    }
    return rc;
}

int rep_copy_sent(rep_link *link, uint64_t first, uint64_t count)
{
    int rc = 0;
    /* Shipping has set U with each record's number. Here the bytes are written already: an epoch
     * that is closed from now on is closed by a flush that sees them. */
    if (atomic_load(&link->mode) == REP_LINK_FORWARD)
        rc = rep_bitmap_set(link->unsettled[atomic_load(&link->epoch) & 1], first, count);
    if (!rc)
        rc = rep_bitmap_clear(link->pending, first, count);
    if (rc)
        return rc;
    /* Whoever broke the link between may have merged U before the clear. */
    if (atomic_load(&link->broken))
        return rep_bitmap_set(link->pending, first, count) ? -ERANGE : -EPIPE;
    return 0;
}

/* P stays until everything is sent: the writers that would have to be marked wait for the region,
 * and a barrier whose answer drops the first piece's U finds the run covered. */
static int copy_run(rep_copier *copier, rep_copy_worker *worker, uint64_t first, uint64_t count)
{
    rep_link *link = copier->link;
    uint64_t offset = first << link->chunk_shift;
    uint64_t length = count << link->chunk_shift;
    uint64_t size = link->volume->io->size_bytes;
    if (length > size - offset)
        length = size - offset;
    int rc = length < SCAN_BYTES ? read_and_send(copier, worker, offset, length)
                                 : send_scanned(copier, worker, offset, offset + length);
    if (!rc)
        rc = rep_copy_sent(link, first, count);
    if (!rc)
        worker->progress->copied_bytes += length;
    return rc;
}

/* The next pending run in [from, end). */
static bool next_run(const rep_link *link, uint64_t from, uint64_t end, uint64_t *first,
                     uint64_t *count)
{
    if (from >= end
        || rep_bitmap_next_run(link->pending, NULL, REP_BITMAP_UNION, from, end - from, first,
                               count)
               != 1
        || *first >= end)
        return false;
    if (*count > end - *first)
        *count = end - *first;
    return true;
}

/* Room for what is pending here, and no more: one chunk in a region waits for one chunk's room. */
static int take_room(rep_link *link, rep_copy_worker *worker, uint64_t offset, uint64_t length,
                     rep_stream **full, uint64_t *full_bytes)
{
    rep_write write = {
        .type = REP_RECORD_DATA, .offset = offset, .length = length, .room = &worker->room};
    if (!rep_link_works(link))
        return -EPIPE;
    if (atomic_load(&link->mode) == REP_LINK_FORWARD)
        return rep_room_take(link->target, link->target_link, &write, full, full_bytes);
    rep_chunks chunks = rep_chunks_of(link, offset, length);
    uint64_t end = chunks.first + chunks.count;
    uint64_t bytes = 0;
    uint64_t first;
    uint64_t count;
    for (uint64_t at = chunks.first; next_run(link, at, end, &first, &count); at = first + count)
        bytes += count << link->chunk_shift;
    uint64_t pieces = bytes / REP_HOLE_GRAIN;
    return rep_room_add_for_copy(&worker->room, link->stream,
                                 rep_stream_room(REP_RECORD_DATA, bytes, pieces), full, full_bytes);
}

static int copy_runs(rep_copier *copier, rep_copy_worker *worker, uint64_t offset, uint64_t length)
{
    const rep_link *link = copier->link;
    rep_chunks chunks = rep_chunks_of(link, offset, length);
    uint64_t end = chunks.first + chunks.count;
    uint64_t first;
    uint64_t count;
    int rc = 0;
    for (uint64_t at = chunks.first; !rc && next_run(link, at, end, &first, &count);
         at = first + count)
        rc = copy_run(copier, worker, first, count);
    if (rc) /* a part of the run may have been sent, and it is pending still */
        atomic_store(&copier->blank_duty, 0);
    return rc;
}

/* In the logs of the target, whose other rows are marked. */
static int take_hold(rep_link *link, rep_copy_worker *worker, uint64_t offset, uint64_t length,
                     rep_hold_entry *missing)
{
    if (atomic_load(&link->mode) != REP_LINK_FORWARD)
        return 0;
    return rep_hold_take(link->target, link->target_link, offset, length, &worker->hold, missing);
}

/* Somebody beside the copy's own workers: writers of the tree, readers of either volume. */
static bool meets_hosts(const rep_copier *copier, const rep_pass *pass)
{
    const rep_link *link = copier->link;
    return pass->others >= atomic_load(&copier->busy)
           || atomic_load_explicit(&link->volume->readers, memory_order_relaxed)
           || (atomic_load(&link->mode) == REP_LINK_FORWARD
               && atomic_load_explicit(&link->target->readers, memory_order_relaxed));
}

int rep_copy_region(rep_copier *copier, rep_copy_worker *worker, uint64_t offset, uint64_t length,
                    uint64_t deadline_ns, rep_wake *wake)
{
    rep_link *link = copier->link;
    for (;;) {
        rep_pass pass;
        rep_stream *full = NULL;
        uint64_t full_bytes = 0;
        rep_hold_entry region;
        bool missing = false;
        int rc = rep_tree_enter(&link->volume->tree, &pass, offset, length, deadline_ns, wake);
        if (rc) {
            rep_room_give_back(&worker->room);
            rep_hold_give_back(&worker->hold);
            return rc;
        }
        worker->progress->passes++;
        worker->progress->crowded += meets_hosts(copier, &pass);
        rc = take_room(link, worker, offset, length, &full, &full_bytes);
        if (!rc) {
            rc = take_hold(link, worker, offset, length, &region);
            missing = rc == -EAGAIN;
        }
        if (!rc)
            rc = copy_runs(copier, worker, offset, length);
        rep_room_give_back(&worker->room);
        if (!missing)
            rep_hold_give_back(&worker->hold);
        rep_tree_exit(&pass);
        if (missing)
            rc = rep_hold_await(&worker->hold, &region, deadline_ns, wake);
        else if (full)
            /* Perhaps a stream of the target's: its end doesn't end this link. */
            rc = rep_room_await_for_copy(&worker->room, full, full_bytes, deadline_ns, wake);
        else
            return rc;
        if (rc)
            return rc;
    }
}
