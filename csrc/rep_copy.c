#include "rep_copy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "parts.h"

/* One pass and one extent scan each. Larger regions keep writers out for longer; smaller ones scan
 * more often. A power of two, at least the largest chunk. */
#define REGION_BYTES (1ULL << 20)
#define EXTENTS 64

struct rep_copier {
    rep_link *link;
    uint64_t cursor; /* chunk */
    uint8_t *buffer; /* REGION_BYTES */
};

typedef struct region {
    rep_copier *copier;
    rep_room room;
    uint64_t offset;
    uint64_t length;
    rep_extent extents[EXTENTS]; /* data within [scanned_from, scanned_to) */
    size_t extent_count;
    uint64_t scanned_to;
    rep_copy_progress *progress;
} region;

int rep_copier_new(rep_link *link, rep_copier **out)
{
    rep_copier *copier = calloc(1, sizeof *copier);
    if (!copier)
        return -ENOMEM;
    copier->link = link;
    copier->buffer = malloc(REGION_BYTES);
    if (!copier->buffer) {
        free(copier);
        return -ENOMEM;
    }
    *out = copier;
    return 0;
}

void rep_copier_free(rep_copier *copier)
{
    if (!copier)
        return;
    free(copier->buffer);
    free(copier);
}

static bool is_zero(const uint8_t *data, uint64_t length)
{
    /* Each byte equals the one before it, and the first is 0: memcmp leaves at the first that
     * isn't; data that differs only in its last byte is data. */
    return data[0] == 0 && memcmp(data, data + 1, length - 1) == 0;
}

static int send(region *r, uint8_t type, const uint8_t *data, uint64_t offset, uint64_t length)
{
    rep_link *link = r->copier->link;
    rep_write write = {
        .type = type,
        .flags = REP_RECORD_FLAG_RESYNC,
        .buffer = data,
        .offset = offset,
        .length = length,
        .room = &r->room,
    };
    if (type == REP_RECORD_ZERO)
        r->progress->zero_bytes += length;
    int rc = atomic_load(&link->mode) == REP_LINK_SHIP
                 ? rep_link_ship_piece(link, &write, offset, length)
                 : rep_volume_write_inside(link->target, link->target_link, &write);
    /* The target failed, not the source: that ends the link, and the answer tells them apart. */
    if (rc)
        rep_link_break(link, rc);
    return rc ? -EPIPE : 0;
}

/* Data that was read: runs of whole chunks of zeros travel as zeros. */
static int send_data(region *r, const uint8_t *data, uint64_t offset, uint64_t length)
{
    uint64_t chunk_bytes = 1ULL << r->copier->link->chunk_shift;
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
        rc = send(r, zero ? REP_RECORD_ZERO : REP_RECORD_DATA, zero ? NULL : data + at, offset + at,
                  end - at);
        at = end;
    }
    return rc;
}

static int read_and_send(region *r, uint64_t offset, uint64_t length)
{
    int rc = rep_io_pread(r->copier->link->volume->io, r->copier->buffer, length, offset);
    return rc ? rc : send_data(r, r->copier->buffer, offset, length);
}

static int scan_from(region *r, uint64_t offset)
{
    uint64_t end = r->offset + r->length;
    return rep_io_extents(r->copier->link->volume->io, offset, end - offset, r->extents, EXTENTS,
                          &r->extent_count, &r->scanned_to);
}

/* The next stretch of [offset, end) that is all data or all hole; offset < scanned_to. */
static uint64_t stretch(const region *r, uint64_t offset, uint64_t end, bool *data)
{
    *data = false;
    for (size_t i = 0; i < r->extent_count; i++) {
        const rep_extent *e = &r->extents[i];
        if (e->offset + e->length <= offset)
            continue;
        *data = e->offset <= offset;
        uint64_t stop = *data ? e->offset + e->length : e->offset;
        return stop < end ? stop : end;
    }
    return end;
}

static int send_run(region *r, uint64_t offset, uint64_t length)
{
    uint64_t end = offset + length;
    int rc = 0;
    while (!rc && offset < end) {
        if (offset >= r->scanned_to) {
            rc = scan_from(r, offset);
            if (rc)
                break;
        }
        bool data;
        uint64_t stop = stretch(r, offset, end < r->scanned_to ? end : r->scanned_to, &data);
        rc = data ? read_and_send(r, offset, stop - offset)
                  : send(r, REP_RECORD_ZERO, NULL, offset, stop - offset);
        offset = stop;
    }
    return rc;
}

/* P stays until everything is sent: the writers that would have to be marked wait for the region,
 * and a barrier whose answer drops the first piece's U finds the run covered. */
static int copy_run(region *r, uint64_t first, uint64_t count)
{
    rep_link *link = r->copier->link;
    uint64_t offset = first << link->chunk_shift;
    uint64_t length = count << link->chunk_shift;
    uint64_t size = link->volume->io->size_bytes;
    if (length > size - offset)
        length = size - offset;
    int rc = send_run(r, offset, length);
    /* Shipping has set U with each record's number. Here the bytes are written already: an epoch
     * that is closed from now on is closed by a flush that sees them. */
    if (!rc && atomic_load(&link->mode) == REP_LINK_FORWARD)
        rc = rep_bitmap_set(link->unsettled[atomic_load(&link->epoch) & 1], first, count);
    if (!rc)
        rc = rep_bitmap_clear(link->pending, first, count);
    if (rc)
        return rc;
    /* Whoever broke the link between may have merged U before the clear. */
    if (atomic_load(&link->broken))
        return rep_bitmap_set(link->pending, first, count) ? -ERANGE : -EPIPE;
    r->progress->copied_bytes += length;
    return 0;
}

static int copy_runs(region *r)
{
    rep_link *link = r->copier->link;
    uint64_t from = r->offset >> link->chunk_shift;
    uint64_t end = from + rep_chunks_of(link, r->offset, r->length).count;
    int rc = 0;
    while (!rc && from < end) {
        uint64_t first;
        uint64_t count;
        if (rep_bitmap_next_run(link->pending, NULL, REP_BITMAP_UNION, from, end - from, &first,
                                &count)
                != 1
            || first >= end)
            break;
        if (count > end - first)
            count = end - first;
        rc = copy_run(r, first, count);
        from = first + count;
    }
    return rc;
}

static int take_room(region *r, rep_stream **full, uint64_t *full_bytes)
{
    rep_link *link = r->copier->link;
    rep_write write = {
        .type = REP_RECORD_DATA, .offset = r->offset, .length = r->length, .room = &r->room};
    if (!rep_link_works(link))
        return -EPIPE;
    if (atomic_load(&link->mode) == REP_LINK_FORWARD)
        return rep_room_take(link->target, link->target_link, &write, full, full_bytes);
    /* Chunk by chunk at worst, each perhaps cut by an extent. */
    uint64_t pieces = 2 * rep_chunks_of(link, r->offset, r->length).count + EXTENTS;
    return rep_room_add(&r->room, link->stream, rep_stream_room(REP_RECORD_DATA, r->length, pieces),
                        full, full_bytes);
}

static int copy_region(region *r, uint64_t deadline_ns, rep_wake *wake)
{
    rep_link *link = r->copier->link;
    for (;;) {
        rep_pass pass;
        rep_stream *full = NULL;
        uint64_t full_bytes = 0;
        int rc =
            rep_tree_enter(&link->volume->tree, &pass, r->offset, r->length, deadline_ns, wake);
        if (rc)
            return rc;
        rc = take_room(r, &full, &full_bytes);
        if (!rc)
            rc = copy_runs(r);
        rep_room_give_back(&r->room);
        rep_tree_exit(&pass);
        if (!full)
            return rc;
        /* Perhaps a stream of the target's: its end doesn't end this link. */
        rc = rep_stream_wait_room(full, full_bytes, deadline_ns, wake);
        if (rc && rc != -EPIPE)
            return rc;
    }
}

int rep_copier_run(rep_copier *copier, uint64_t most_bytes, uint64_t deadline_ns, rep_wake *wake,
                   rep_copy_progress *progress)
{
    rep_link *link = copier->link;
    uint64_t start = progress->copied_bytes;
    uint64_t size = link->volume->io->size_bytes;
    while (progress->copied_bytes - start < most_bytes) {
        uint64_t first;
        uint64_t count;
        if (wake && rep_wake_raised(wake))
            return -ECANCELED;
        if (!rep_link_works(link))
            return -EPIPE;
        if (rep_bitmap_next_run(link->pending, NULL, REP_BITMAP_UNION, copier->cursor, 1, &first,
                                &count)
            != 1) {
            if (!copier->cursor)
                return 0;
            copier->cursor = 0;
            continue;
        }
        region r = {.copier = copier, .progress = progress};
        r.offset = (first << link->chunk_shift) & ~(REGION_BYTES - 1);
        r.length = size - r.offset < REGION_BYTES ? size - r.offset : REGION_BYTES;
        int rc = copy_region(&r, deadline_ns, wake);
        if (rc)
            return rc;
        copier->cursor = first + 1;
        if (copier->cursor >= rep_link_chunk_count(link))
            copier->cursor = 0;
    }
    return 1;
}
