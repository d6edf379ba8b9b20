/* rig: what the tests of the write path share: disks with hooks and faults, volumes on them, a path
 * between two systems that is pumped by hand. */
#ifndef RIG_H
#define RIG_H

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "parts.h"
#include "rep_apply.h"
#include "rep_copy.h"
#include "rep_group.h"
#include "rep_io_memory.h"
#include "rep_volatile.h"
#include "ship_parts.h"

#define CHUNK 4096ULL
#define PAST 0ULL /* a deadline that is over */
#define CAPACITY (4ULL << 20)

/* A disk: hooks over faults over memory. A hook runs before its operation, or after it, once: it takes
 * itself off, so that it may do I/O of its own. */
typedef struct disk {
    rep_io io;
    rep_io *memory;
    rep_io *faulty;
    void (*before_pread)(struct disk *disk);
    void (*before_pwrite)(struct disk *disk);
    void (*before_flush)(struct disk *disk);
    void (*after_flush)(struct disk *disk);
    void (*before_extents)(struct disk *disk);
    void *hook_data;
    const rep_extent *extents; /* what to say of holes; NULL: can't tell */
    size_t extent_count;
    uint64_t pwrite_bytes;
    uint64_t zero_bytes;
} disk;

static inline void run_hook(disk *d, void (**hook)(disk *))
{
    void (*now)(disk *) = *hook;
    if (now) {
        *hook = NULL;
        now(d);
    }
}

static inline int disk_pread(rep_io *io, void *buffer, uint64_t length, uint64_t offset)
{
    disk *d = (disk *)(void *)io;
    run_hook(d, &d->before_pread);
    return rep_io_pread(d->faulty, buffer, length, offset);
}

static inline int disk_pwrite(rep_io *io, const void *buffer, uint64_t length, uint64_t offset)
{
    disk *d = (disk *)(void *)io;
    run_hook(d, &d->before_pwrite);
    __atomic_add_fetch(&d->pwrite_bytes, length, __ATOMIC_RELAXED);
    return rep_io_pwrite(d->faulty, buffer, length, offset);
}

static inline int disk_flush(rep_io *io)
{
    disk *d = (disk *)(void *)io;
    run_hook(d, &d->before_flush);
    int rc = rep_io_flush(d->faulty);
    run_hook(d, &d->after_flush);
    return rc;
}

static inline int disk_zero(rep_io *io, uint64_t offset, uint64_t length)
{
    disk *d = (disk *)(void *)io;
    __atomic_add_fetch(&d->zero_bytes, length, __ATOMIC_RELAXED);
    return rep_io_zero(d->faulty, offset, length);
}

static inline int disk_trim(rep_io *io, uint64_t offset, uint64_t length)
{
    return rep_io_trim(((disk *)(void *)io)->faulty, offset, length);
}

static inline int disk_extents(rep_io *io, uint64_t offset, uint64_t length, rep_extent *out,
                               size_t capacity, size_t *count, uint64_t *resume_offset)
{
    disk *d = (disk *)(void *)io;
    uint64_t end = offset + length;
    run_hook(d, &d->before_extents);
    *count = 0;
    *resume_offset = end;
    if (!d->extents) {
        out[(*count)++] = (rep_extent){offset, length};
        return 0;
    }
    for (size_t i = 0; i < d->extent_count; i++) {
        uint64_t first = d->extents[i].offset;
        uint64_t stop = first + d->extents[i].length;
        first = first > offset ? first : offset;
        stop = stop < end ? stop : end;
        if (first >= stop)
            continue;
        if (*count == capacity) {
            *resume_offset = first;
            break;
        }
        out[(*count)++] = (rep_extent){first, stop - first};
    }
    return 0;
}

static inline void disk_free(rep_io *io)
{
    disk *d = (disk *)(void *)io;
    rep_io_free(d->faulty);
    rep_io_free(d->memory);
    free(d);
}

static inline disk *disk_new(uint64_t size_bytes)
{
    static const rep_io_ops ops = {
        .name = "disk",
        .pread = disk_pread,
        .pwrite = disk_pwrite,
        .flush = disk_flush,
        .zero = disk_zero,
        .trim = disk_trim,
        .extents = disk_extents,
        .free = disk_free,
    };
    disk *d = calloc(1, sizeof *d);
    CHECK(d);
    CHECK_EQ(rep_io_memory_new(size_bytes, &d->memory), 0);
    CHECK_EQ(rep_volatile_new(d->memory, &d->faulty), 0);
    d->io = (rep_io){.ops = &ops, .size_bytes = size_bytes};
    return d;
}

/* A volume on a disk of its own. */
typedef struct vol {
    disk *disk;
    rep_volume *volume;
} vol;

static inline vol vol_new(rep_tree *tree, uint64_t size_bytes)
{
    vol v = {.disk = disk_new(size_bytes)};
    CHECK_EQ(rep_volume_new(&v.disk->io, tree, &v.volume), 0);
    return v;
}

static inline void vol_free(vol v)
{
    rep_volume_free(v.volume);
    rep_io_free(&v.disk->io);
}

static inline rep_tree *tree_new(uint64_t tree_id)
{
    rep_tree *tree;
    CHECK_EQ(rep_tree_new(tree_id, &tree), 0);
    return tree;
}

static inline rep_link *link_new(vol v, int shares_marks)
{
    rep_link *link;
    CHECK_EQ(rep_link_new(v.volume, CHUNK, shares_marks, &link), 0);
    return link;
}

static inline rep_stream *stream_new(void)
{
    rep_stream *stream;
    uint64_t next;
    CHECK_EQ(rep_stream_new(7, CAPACITY, &stream), 0);
    CHECK_EQ(rep_stream_open(stream, 1, &next), 0);
    /* No barrier by time alone, a second from now: what has which number doesn't depend on how fast
     * the machine is. */
    stream->barrier_ns = UINT64_MAX / 2;
    return stream;
}

/* A host writes `length` bytes of `byte`. */
static inline int put_bytes(vol v, uint64_t offset, uint64_t length, int byte)
{
    uint8_t *buffer = malloc(length);
    CHECK(buffer);
    memset(buffer, byte, length);
    rep_ticket ticket = {0};
    uint64_t done;
    int rc = rep_volume_pwrite(v.volume, buffer, length, offset, 0, REP_NO_DEADLINE, NULL, &ticket,
                               &done);
    free(buffer);
    return rc;
}

static inline int put_chunk(vol v, uint64_t chunk, int byte)
{
    return put_bytes(v, chunk * CHUNK, CHUNK, byte);
}

/* As a host that waits for room until then, and for acknowledgements by its ticket. */
static inline int put_for(vol v, uint64_t chunk, int byte, uint64_t deadline_ns, rep_ticket *ticket)
{
    uint8_t bytes[CHUNK];
    uint64_t done;
    memset(bytes, byte, sizeof bytes);
    return rep_volume_pwrite(v.volume, bytes, CHUNK, chunk * CHUNK, 0, deadline_ns, NULL, ticket,
                             &done);
}

static inline int try_put(vol v, uint64_t chunk, int byte)
{
    rep_ticket ticket = {0};
    return put_for(v, chunk, byte, PAST, &ticket);
}

/* The byte at an offset, past fences and links. */
static inline int byte_at(vol v, uint64_t offset)
{
    uint8_t byte = 0;
    CHECK_EQ(rep_io_pread(v.disk->faulty, &byte, 1, offset), 0);
    return byte;
}

static inline int chunk_byte(vol v, uint64_t chunk)
{
    return byte_at(v, chunk * CHUNK);
}

static inline bool chunks_equal(vol a, vol b, uint64_t chunk)
{
    uint8_t left[CHUNK];
    uint8_t right[CHUNK];
    uint64_t size = a.disk->io.size_bytes;
    uint64_t length = size - chunk * CHUNK < CHUNK ? size - chunk * CHUNK : CHUNK;
    CHECK_EQ(rep_io_pread(a.disk->faulty, left, length, chunk * CHUNK), 0);
    CHECK_EQ(rep_io_pread(b.disk->faulty, right, length, chunk * CHUNK), 0);
    return memcmp(left, right, length) == 0;
}

static inline bool volumes_equal(vol a, vol b)
{
    for (uint64_t chunk = 0; chunk * CHUNK < a.disk->io.size_bytes; chunk++)
        if (!chunks_equal(a, b, chunk))
            return false;
    return true;
}

static inline bool is_pending(const rep_link *link, uint64_t chunk)
{
    return rep_bitmap_test(link->pending, chunk) == 1;
}

static inline bool is_unsettled(const rep_link *link, uint64_t chunk)
{
    return rep_bitmap_test(link->unsettled[0], chunk) == 1
           || rep_bitmap_test(link->unsettled[1], chunk) == 1;
}

static inline uint64_t pending_count(rep_link *link)
{
    uint64_t count;
    CHECK_EQ(rep_link_pending_count(link, &count), 0);
    return count;
}

static inline rep_bitmap *cover_of(rep_link *link)
{
    rep_bitmap *cover;
    CHECK_EQ(rep_bitmap_new(rep_link_chunk_count(link), &cover), 0);
    CHECK_EQ(rep_link_collect(link, cover), 0);
    return cover;
}

static inline bool is_covered(rep_link *link, uint64_t chunk)
{
    rep_bitmap *cover = cover_of(link);
    bool covered = rep_bitmap_test(cover, chunk) == 1;
    rep_bitmap_free(cover);
    return covered;
}

static inline uint64_t cover_count(rep_link *link)
{
    rep_bitmap *cover = cover_of(link);
    uint64_t count = rep_bitmap_count(cover);
    rep_bitmap_free(cover);
    return count;
}

static inline rep_link_info info_of(rep_link *link)
{
    rep_link_info info;
    rep_link_info_get(link, &info);
    return info;
}

static inline rep_stream_info stream_info(rep_stream *stream)
{
    rep_stream_info info;
    rep_stream_info_get(stream, &info);
    return info;
}

static inline rep_apply_info apply_info(rep_apply *apply)
{
    rep_apply_info info;
    rep_apply_info_get(apply, &info);
    return info;
}

/* Takes one frame and applies it; without an answer. 0, or take's or apply's error. */
static inline int carry(rep_stream *stream, rep_apply *apply)
{
    uint8_t *frame = malloc(REP_FRAME_BYTES);
    CHECK(frame);
    uint64_t length;
    int barrier;
    int rc = rep_stream_take(stream, frame, PAST, NULL, &length);
    if (!rc)
        rc = rep_apply_frame(apply, frame, length, NULL, &barrier);
    if (!rc && barrier)
        rc = rep_apply_settle(apply);
    free(frame);
    return rc;
}

/* Everything queued, with answers; asks for no barrier. */
static inline void pump(rep_stream *stream, rep_apply *apply)
{
    int rc;
    while ((rc = carry(stream, apply)) == 0) {
        rep_apply_info info = apply_info(apply);
        CHECK_EQ(rep_stream_ack(stream, info.attempt, info.applied, info.durable), 0);
    }
    CHECK_EQ(rc, -ETIMEDOUT);
}

/* Until nothing is unsettled: a barrier, and the one that a late barrier wants. */
static inline void pump_durable(rep_stream *stream, rep_apply *apply)
{
    rep_stream_barrier(stream);
    pump(stream, apply);
    rep_stream_barrier(stream);
    pump(stream, apply);
}

static inline int copy_all(rep_link *link)
{
    rep_copier *copier;
    rep_copy_progress progress = {0};
    CHECK_EQ(rep_copier_new(link, 1, &copier), 0);
    int rc = rep_copier_run(copier, 0, UINT64_MAX, REP_NO_DEADLINE, NULL, &progress);
    rep_copier_free(copier);
    return rc;
}

/* A remote pair: `source` of one system ships into `target` of another. */
typedef struct remote {
    rep_tree *trees[2];
    vol source;
    vol target;
    rep_link *row;        /* of the source */
    rep_link *mirror_row; /* of the target, idle and bound */
    rep_stream *stream;
    rep_apply *apply;
} remote;

static inline remote remote_new(uint64_t size_bytes, int ack)
{
    remote r = {.trees = {tree_new(1), tree_new(2)}, .stream = stream_new()};
    r.source = vol_new(r.trees[0], size_bytes);
    r.target = vol_new(r.trees[1], size_bytes);
    r.row = link_new(r.source, 0);
    r.mirror_row = link_new(r.target, 0);
    CHECK_EQ(rep_apply_new(7, &r.apply), 0);
    CHECK_EQ(rep_apply_start(r.apply, 1, 1), 0);
    CHECK_EQ(rep_apply_bind(r.apply, 1, r.mirror_row), 0);
    CHECK_EQ(rep_link_ship(r.row, r.stream, 1, ack), 0);
    return r;
}

/* The next connection, the row shipping again. */
static inline void remote_reopen(remote *r)
{
    uint64_t next;
    uint64_t attempt = stream_info(r->stream).attempt + 1;
    CHECK_EQ(rep_stream_open(r->stream, attempt, &next), 0);
    CHECK_EQ(rep_apply_start(r->apply, attempt, next), 0);
    CHECK_EQ(rep_link_ship(r->row, r->stream, 1, r->row->ack), 0);
}

static inline void remote_free(remote *r)
{
    rep_link_free(r->row);
    rep_apply_unbind(r->apply, 1);
    rep_link_free(r->mirror_row);
    rep_apply_free(r->apply);
    rep_stream_free(r->stream);
    vol_free(r->source);
    vol_free(r->target);
    rep_tree_free(r->trees[0]);
    rep_tree_free(r->trees[1]);
}

typedef void *(*thread_body)(void *);
static inline pthread_t thread_start(thread_body body, void *argument)
{
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, body, argument), 0);
    return thread;
}

static inline void thread_join(pthread_t thread)
{
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

#endif
