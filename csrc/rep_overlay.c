#include "rep_overlay.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "rep_bitmap.h"

#define PAGE_BYTES 4096ULL
/* Private memory comes in slabs of this size, touched page by page: a table of single pages would
 * cost 8 bytes for each, one mapping of the whole size more address space than there is. */
#define SLAB_BYTES (1ULL << 20)

typedef struct overlay {
    rep_io io;
    rep_io *base;
    /* Guards all below, and the bytes of the slabs: overlapping calls are allowed (rep_io.h). */
    pthread_rwlock_t lock;
    char **slabs;
    uint64_t slab_count;
    rep_bitmap *held;   /* pages whose bytes are here */
    rep_bitmap *zeroed; /* pages that read as zeros; never held too */
} overlay;

static overlay *as_overlay(rep_io *io)
{
    return (overlay *)(void *)io;
}

static uint64_t pages_for(uint64_t bytes)
{
    return (bytes + PAGE_BYTES - 1) / PAGE_BYTES;
}

/* Where a held page's bytes are. */
static char *page_at(const overlay *o, uint64_t page)
{
    uint64_t offset = page * PAGE_BYTES;
    return o->slabs[offset / SLAB_BYTES] + offset % SLAB_BYTES;
}

/* How much of [offset, end) lies in the page of `offset`. */
static size_t piece_of(uint64_t offset, uint64_t end)
{
    uint64_t room = PAGE_BYTES - offset % PAGE_BYTES;
    return (size_t)(end - offset < room ? end - offset : room);
}

static bool untouched(const overlay *o, uint64_t page)
{
    return !rep_bitmap_test(o->held, page) && !rep_bitmap_test(o->zeroed, page);
}

/* The end of the stretch of untouched pages from `offset` on, at most `end`. */
static uint64_t untouched_end(const overlay *o, uint64_t offset, uint64_t end)
{
    uint64_t page;
    uint64_t count;
    int found = rep_bitmap_next_run(o->held, o->zeroed, REP_BITMAP_UNION, offset / PAGE_BYTES, 1,
                                    &page, &count);
    return found == 1 && page * PAGE_BYTES < end ? page * PAGE_BYTES : end;
}

static int read_locked(overlay *o, char *to, uint64_t offset, uint64_t end)
{
    while (offset < end) {
        uint64_t page = offset / PAGE_BYTES;
        uint64_t piece;
        if (untouched(o, page)) {
            piece = untouched_end(o, offset, end) - offset;
            int rc = rep_io_pread(o->base, to, piece, offset);
            if (rc)
                return rc;
        } else {
            piece = piece_of(offset, end);
            if (rep_bitmap_test(o->held, page) == 1)
                memcpy(to, page_at(o, page) + offset % PAGE_BYTES, (size_t)piece);
            else
                memset(to, 0, (size_t)piece);
        }
        to += piece;
        offset += piece;
    }
    return 0;
}

static int overlay_pread(rep_io *io, void *buffer, uint64_t length, uint64_t offset)
{
    overlay *o = as_overlay(io);
    pthread_rwlock_rdlock(&o->lock);
    int rc = read_locked(o, buffer, offset, offset + length);
    pthread_rwlock_unlock(&o->lock);
    return rc;
}

static int make_slab(overlay *o, uint64_t page)
{
    uint64_t index = page * PAGE_BYTES / SLAB_BYTES;
    if (o->slabs[index])
        return 0;
    void *slab = mmap(NULL, SLAB_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (slab == MAP_FAILED)
        return -ENOMEM;
    o->slabs[index] = slab;
    return 0;
}

/* Makes the page's bytes private, as they read now unless all of them are about to be written. */
static int hold(overlay *o, uint64_t page, bool written_whole)
{
    if (rep_bitmap_test(o->held, page) == 1)
        return 0;
    int rc = make_slab(o, page);
    if (rc)
        return rc;
    uint64_t first = page * PAGE_BYTES;
    uint64_t left = o->io.size_bytes - first;
    size_t bytes = (size_t)(left < PAGE_BYTES ? left : PAGE_BYTES);
    if (!written_whole) {
        rc = read_locked(o, page_at(o, page), first, first + bytes);
        if (rc)
            return rc;
    }
    rep_bitmap_set(o->held, page, 1);
    rep_bitmap_clear(o->zeroed, page, 1);
    return 0;
}

/* `from` NULL: zeros. */
static int write_piece(overlay *o, const char *from, uint64_t offset, size_t piece)
{
    uint64_t page = offset / PAGE_BYTES;
    int rc = hold(o, page, piece == PAGE_BYTES);
    if (rc)
        return rc;
    char *to = page_at(o, page) + offset % PAGE_BYTES;
    if (from)
        memcpy(to, from, piece);
    else
        memset(to, 0, piece);
    return 0;
}

static int overlay_pwrite(rep_io *io, const void *buffer, uint64_t length, uint64_t offset)
{
    overlay *o = as_overlay(io);
    const char *from = buffer;
    uint64_t end = offset + length;
    int rc = 0;
    pthread_rwlock_wrlock(&o->lock);
    while (!rc && offset < end) {
        size_t piece = piece_of(offset, end);
        rc = write_piece(o, from, offset, piece);
        from += piece;
        offset += piece;
    }
    pthread_rwlock_unlock(&o->lock);
    return rc;
}

static void give_back_page(overlay *o, uint64_t page)
{
    madvise(page_at(o, page), PAGE_BYTES, MADV_DONTNEED); /* only memory is lost if it fails */
}

/* Whole pages: no bytes are needed to know what they read as. */
static void zero_pages(overlay *o, uint64_t page, uint64_t end)
{
    uint64_t first;
    uint64_t count;
    uint64_t next = page;
    while (rep_bitmap_next_run(o->held, NULL, REP_BITMAP_UNION, next, 1, &first, &count) == 1
           && first < end) {
        give_back_page(o, first);
        next = first + 1;
    }
    rep_bitmap_clear(o->held, page, end - page);
    rep_bitmap_set(o->zeroed, page, end - page);
}

static int overlay_zero(rep_io *io, uint64_t offset, uint64_t length)
{
    overlay *o = as_overlay(io);
    uint64_t end = offset + length;
    int rc = 0;
    pthread_rwlock_wrlock(&o->lock);
    while (!rc && offset < end) {
        bool whole = !(offset % PAGE_BYTES) && end - offset >= PAGE_BYTES;
        uint64_t piece = whole ? (end - offset) / PAGE_BYTES * PAGE_BYTES : piece_of(offset, end);
        if (whole)
            zero_pages(o, offset / PAGE_BYTES, (offset + piece) / PAGE_BYTES);
        else
            rc = write_piece(o, NULL, offset, (size_t)piece);
        offset += piece;
    }
    pthread_rwlock_unlock(&o->lock);
    return rc;
}

/* The end of the run of set pages that `page` lies in, at most `end`. */
static uint64_t run_end(const rep_bitmap *pages, uint64_t page, uint64_t end)
{
    uint64_t first;
    uint64_t count;
    int found = rep_bitmap_next_run(pages, NULL, REP_BITMAP_UNION, page, 0, &first, &count);
    uint64_t after = (found == 1 ? first + count : page + 1) * PAGE_BYTES;
    return after < end ? after : end;
}

static int overlay_extents(rep_io *io, uint64_t offset, uint64_t length, rep_extent *out,
                           size_t capacity, size_t *count, uint64_t *resume_offset)
{
    overlay *o = as_overlay(io);
    uint64_t end = offset + length;
    size_t found = 0;
    int rc = 0;
    pthread_rwlock_rdlock(&o->lock);
    while (!rc && offset < end && found < capacity) {
        uint64_t page = offset / PAGE_BYTES;
        if (untouched(o, page)) {
            size_t more = 0;
            uint64_t piece = untouched_end(o, offset, end) - offset;
            rc = rep_io_extents(o->base, offset, piece, out + found, capacity - found, &more,
                                &offset);
            found += more;
        } else if (rep_bitmap_test(o->held, page) == 1) {
            uint64_t after = run_end(o->held, page, end);
            out[found++] = (rep_extent){.offset = offset, .length = after - offset};
            offset = after;
        } else {
            offset = run_end(o->zeroed, page, end);
        }
    }
    pthread_rwlock_unlock(&o->lock);
    *count = found;
    *resume_offset = offset;
    return rc;
}

static int overlay_flush(rep_io *io)
{
    (void)io;
    return 0;
}

static void overlay_free(rep_io *io)
{
    overlay *o = as_overlay(io);
    for (uint64_t i = 0; i < o->slab_count; i++)
        if (o->slabs[i])
            munmap(o->slabs[i], SLAB_BYTES);
    free(o->slabs);
    rep_bitmap_free(o->held);
    rep_bitmap_free(o->zeroed);
    pthread_rwlock_destroy(&o->lock);
    free(o);
}

static const rep_io_ops overlay_ops = {
    .name = "overlay",
    .pread = overlay_pread,
    .pwrite = overlay_pwrite,
    .flush = overlay_flush,
    .zero = overlay_zero,
    .trim = overlay_zero,
    .extents = overlay_extents,
    .free = overlay_free,
};

int rep_overlay_new(rep_io *base, rep_io **out)
{
    uint64_t size_bytes = rep_io_size(base);
    if (!size_bytes)
        return -EINVAL;
    overlay *o = calloc(1, sizeof *o);
    if (!o)
        return -ENOMEM;
    int failed = pthread_rwlock_init(&o->lock, NULL);
    if (failed) {
        free(o);
        return -failed;
    }
    o->io = (rep_io){.ops = &overlay_ops, .size_bytes = size_bytes};
    o->base = base;
    o->slab_count = (size_bytes + SLAB_BYTES - 1) / SLAB_BYTES;
    int rc = rep_bitmap_new(pages_for(size_bytes), &o->held);
    if (!rc)
        rc = rep_bitmap_new(pages_for(size_bytes), &o->zeroed);
    if (!rc) {
        o->slabs = calloc((size_t)o->slab_count, sizeof *o->slabs);
        rc = o->slabs ? 0 : -ENOMEM;
    }
    if (rc) {
        o->slab_count = 0;
        overlay_free(&o->io);
        return rc;
    }
    *out = &o->io;
    return 0;
}

uint64_t rep_overlay_dirty_bytes(rep_io *io)
{
    overlay *o = as_overlay(io);
    pthread_rwlock_rdlock(&o->lock);
    uint64_t pages = rep_bitmap_count(o->held);
    pthread_rwlock_unlock(&o->lock);
    return pages * PAGE_BYTES;
}
