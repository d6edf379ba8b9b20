/* What needn't be sent: long holes, and what was a hole at both ends before. */
#include <errno.h>

#include "alog_parts.h"
#include "copy_parts.h"

/* A pass over a hole is short, whatever its length, but for clearing so many bits: 0.2 ms. */
#define SPAN_BYTES (16ULL << 30)

typedef struct hole {
    uint64_t offset;
    uint64_t end;   /* of the hole at the source */
    uint64_t equal; /* up to here the target has one, too */
    bool missing;   /* a region of a log of the target's */
    rep_hold_entry region;
} hole;

static int look(rep_copier *copier, rep_copy_worker *worker, hole *h)
{
    rep_link *link = copier->link;
    int rc = rep_copy_next_data(link, worker, h->offset, h->end, &h->end);
    h->equal = h->offset;
    if (!rc && rep_copy_onto_blank(copier))
        h->equal = h->end;
    if (rc || h->end == h->offset || atomic_load(&link->mode) != REP_LINK_FORWARD)
        return rc;
    rep_extent extent;
    size_t count;
    uint64_t resume;
    if (!rep_io_extents(link->target->io, h->offset, h->end - h->offset, &extent, 1, &count,
                        &resume))
        h->equal = count ? extent.offset : resume;
    return 0;
}

/* Whole chunks of [offset, end), the volume's last one included. */
static uint64_t chunks_up_to(const rep_link *link, uint64_t offset, uint64_t end)
{
    uint64_t size = link->volume->io->size_bytes;
    uint64_t past = end == size ? rep_link_chunk_count(link) : end >> link->chunk_shift;
    return past - (offset >> link->chunk_shift);
}

static void count_done(const rep_link *link, rep_copy_worker *worker, uint64_t first,
                       uint64_t count)
{
    uint64_t offset = first << link->chunk_shift;
    uint64_t length = count << link->chunk_shift;
    uint64_t size = link->volume->io->size_bytes;
    worker->progress->copied_bytes += length > size - offset ? size - offset : length;
}

/* Nothing was written, so nothing becomes unsettled: what the flush of rep_copy_hole found punched
 * is durable, and whoever punched since has set U. */
static int skip(rep_link *link, rep_copy_worker *worker, uint64_t first, uint64_t count)
{
    uint64_t end = first + count;
    uint64_t run;
    uint64_t length;
    uint64_t before = worker->progress->copied_bytes;
    for (uint64_t at = first;
         at < end
         && rep_bitmap_next_run(link->pending, NULL, REP_BITMAP_UNION, at, end - at, &run, &length)
                == 1
         && run < end;
         at = run + length) {
        if (length > end - run)
            length = end - run;
        count_done(link, worker, run, length);
    }
    worker->progress->zero_bytes += worker->progress->copied_bytes - before;
    int rc = rep_bitmap_clear(link->pending, first, count);
    /* Whoever broke the link between may have made them pending before the clear. */
    if (!rc && atomic_load(&link->broken))
        rc = rep_bitmap_set(link->pending, first, count) ? -ERANGE : -EPIPE;
    return rc;
}

static int send_hole(rep_copier *copier, rep_copy_worker *worker, uint64_t first, uint64_t count)
{
    rep_link *link = copier->link;
    uint64_t before = worker->progress->copied_bytes;
    uint64_t offset = first << link->chunk_shift;
    count_done(link, worker, first, count);
    uint64_t length = worker->progress->copied_bytes - before;
    worker->progress->copied_bytes = before;
    int rc = rep_copy_send_zeros(copier, worker, offset, length);
    if (!rc)
        rc = rep_copy_sent(link, first, count);
    if (!rc)
        worker->progress->copied_bytes += length;
    return rc;
}

static uint64_t piece_bytes(const rep_link *link)
{
    uint64_t most = REP_ZERO_PIECE_BYTES;
    const rep_alog *log =
        atomic_load(&link->mode) == REP_LINK_FORWARD ? atomic_load(&link->target->log) : NULL;
    return log && rep_alog_piece_bytes(log) < most ? rep_alog_piece_bytes(log) : most;
}

static int take_room(rep_link *link, rep_copy_worker *worker, uint64_t first, uint64_t count,
                     rep_stream **full, uint64_t *full_bytes)
{
    rep_write write = {.type = REP_RECORD_ZERO,
                       .offset = first << link->chunk_shift,
                       .length = count << link->chunk_shift,
                       .room = &worker->room};
    if (atomic_load(&link->mode) == REP_LINK_FORWARD)
        return rep_room_take(link->target, link->target_link, &write, full, full_bytes);
    return rep_room_add(&worker->room, link->stream,
                        rep_stream_room(REP_RECORD_ZERO, write.length, 1), full, full_bytes);
}

/* Inside a pass over [h->offset, h->end). */
static int fill(rep_copier *copier, rep_copy_worker *worker, hole *h, bool *flush,
                rep_stream **full, uint64_t *full_bytes)
{
    rep_link *link = copier->link;
    uint64_t first = h->offset >> link->chunk_shift;
    if (!rep_link_works(link))
        return -EPIPE;
    int rc = look(copier, worker, h);
    if (rc)
        return rc;
    uint64_t equal = chunks_up_to(link, h->offset, h->equal);
    if (equal) {
        *flush = atomic_load(&link->mode) == REP_LINK_FORWARD && !copier->target_flushed;
        rc = *flush ? 0 : skip(link, worker, first, equal);
        return rc ? rc : 1;
    }
    uint64_t most = piece_bytes(link) >> link->chunk_shift;
    uint64_t zeros = chunks_up_to(link, h->offset, h->end);
    uint64_t found;
    uint64_t count;
    if (!zeros
        || rep_bitmap_next_run(link->pending, NULL, REP_BITMAP_UNION, first,
                               zeros < most ? zeros : most, &found, &count)
               != 1
        || found != first)
        return 0;
    zeros = count;
    rc = take_room(link, worker, first, zeros, full, full_bytes);
    if (!rc && atomic_load(&link->mode) == REP_LINK_FORWARD)
        while ((rc = rep_hold_take(link->target, link->target_link, h->offset,
                                   zeros << link->chunk_shift, &worker->hold, &h->region))
               == -EMSGSIZE)
            zeros /= 2;
    h->missing = rc == -EAGAIN && !*full;
    if (!rc)
        rc = send_hole(copier, worker, first, zeros);
    rep_room_give_back(&worker->room);
    return rc ? rc : 1;
}

/* Outside the pass: a cut would wait for it. */
static int flush_target(rep_copier *copier, rep_volume *target, const rep_link *origin)
{
    int rc = rep_volume_make_durable(target);
    if (rc) {
        rep_volume_lose_track(target, origin, rc);
        rep_link_break(copier->link, rc);
        return -EPIPE;
    }
    copier->target_flushed = true;
    return 1;
}

int rep_copy_hole(rep_copier *copier, rep_copy_worker *worker, uint64_t first, uint64_t deadline_ns,
                  rep_wake *wake)
{
    rep_link *link = copier->link;
    uint64_t size = link->volume->io->size_bytes;
    hole h = {.offset = first << link->chunk_shift};
    h.end = size - h.offset < SPAN_BYTES ? size : h.offset + SPAN_BYTES;
    rep_pass pass;
    rep_stream *full = NULL;
    uint64_t full_bytes = 0;
    bool flush = false;
    int rc =
        rep_tree_enter(&link->volume->tree, &pass, h.offset, h.end - h.offset, deadline_ns, wake);
    if (rc)
        return rc;
    rep_volume *target = atomic_load(&link->mode) == REP_LINK_FORWARD ? link->target : NULL;
    const rep_link *origin = link->target_link;
    rc = fill(copier, worker, &h, &flush, &full, &full_bytes);
    if (!h.missing)
        rep_hold_give_back(&worker->hold);
    rep_tree_exit(&pass);
    if (h.missing) {
        /* It isn't kept over calls either: the region is hot for the next one. */
        rc = rep_hold_await(&worker->hold, &h.region, deadline_ns, wake);
        rep_hold_give_back(&worker->hold);
        return rc ? rc : 1;
    }
    if (flush && rc >= 0)
        return flush_target(copier, target, origin);
    if (!full)
        return rc;
    rc = rep_room_await(&worker->room, full, full_bytes, deadline_ns, wake);
    rep_room_give_back(&worker->room); /* it isn't kept over calls */
    return rc ? rc : 1;
}
