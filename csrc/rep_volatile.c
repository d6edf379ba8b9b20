#include "rep_volatile.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "rep_overlay.h"

#define SECTOR_BYTES 512ULL

typedef enum write_kind { KIND_WRITE, KIND_ZERO, KIND_TRIM } write_kind;

typedef struct unflushed {
    struct unflushed *next;
    write_kind kind;
    uint64_t offset;
    uint64_t length;
    char bytes[]; /* KIND_WRITE */
} unflushed;

typedef struct volatile_io {
    rep_io io;
    rep_io *base;
    pthread_mutex_t mutex; /* guards all below */
    rep_io *image;         /* `base` as reads see it: with the unflushed writes */
    unflushed *head;       /* in their order */
    unflushed **tail;
    uint64_t unflushed_count;
    uint64_t flush_count;
    uint64_t good_operations; /* until write_error */
    int write_error;
    int read_error;
} volatile_io;

static volatile_io *as_volatile(rep_io *io)
{
    return (volatile_io *)(void *)io;
}

/* Counts one operation that writes or flushes. */
static int fault(volatile_io *v)
{
    if (!v->write_error)
        return 0;
    if (!v->good_operations)
        return v->write_error;
    v->good_operations--;
    return 0;
}

static int volatile_pread(rep_io *io, void *buffer, uint64_t length, uint64_t offset)
{
    volatile_io *v = as_volatile(io);
    pthread_mutex_lock(&v->mutex);
    int rc = v->read_error;
    if (!rc)
        rc = rep_io_pread(v->image, buffer, length, offset);
    pthread_mutex_unlock(&v->mutex);
    return rc;
}

/* The first `length` bytes of the write. */
static int apply(rep_io *io, const unflushed *write, uint64_t length)
{
    switch (write->kind) {
    case KIND_WRITE:
        return rep_io_pwrite(io, write->bytes, length, write->offset);
    case KIND_ZERO:
        return rep_io_zero(io, write->offset, length);
    case KIND_TRIM:
    default:
        return rep_io_trim(io, write->offset, length);
    }
}

static int record(volatile_io *v, write_kind kind, const void *bytes, uint64_t length,
                  uint64_t offset)
{
    size_t kept_bytes = kind == KIND_WRITE ? (size_t)length : 0;
    unflushed *write = malloc(sizeof *write + kept_bytes);
    if (!write)
        return -ENOMEM;
    write->next = NULL;
    write->kind = kind;
    write->offset = offset;
    write->length = length;
    if (kept_bytes)
        memcpy(write->bytes, bytes, kept_bytes);
    pthread_mutex_lock(&v->mutex);
    int rc = fault(v);
    if (!rc)
        rc = apply(v->image, write, length);
    if (rc) {
        free(write);
    } else {
        *v->tail = write;
        v->tail = &write->next;
        v->unflushed_count++;
    }
    pthread_mutex_unlock(&v->mutex);
    return rc;
}

static int volatile_pwrite(rep_io *io, const void *buffer, uint64_t length, uint64_t offset)
{
    return record(as_volatile(io), KIND_WRITE, buffer, length, offset);
}

static int volatile_zero(rep_io *io, uint64_t offset, uint64_t length)
{
    return record(as_volatile(io), KIND_ZERO, NULL, length, offset);
}

static int volatile_trim(rep_io *io, uint64_t offset, uint64_t length)
{
    return record(as_volatile(io), KIND_TRIM, NULL, length, offset);
}

static int volatile_extents(rep_io *io, uint64_t offset, uint64_t length, rep_extent *out,
                            size_t capacity, size_t *count, uint64_t *resume_offset)
{
    volatile_io *v = as_volatile(io);
    pthread_mutex_lock(&v->mutex);
    int rc = v->read_error;
    if (!rc)
        rc = rep_io_extents(v->image, offset, length, out, capacity, count, resume_offset);
    pthread_mutex_unlock(&v->mutex);
    return rc;
}

static void drop_first(volatile_io *v)
{
    unflushed *write = v->head;
    v->head = write->next;
    if (!v->head)
        v->tail = &v->head;
    v->unflushed_count--;
    free(write);
}

static int volatile_flush(rep_io *io)
{
    volatile_io *v = as_volatile(io);
    rep_io *image = NULL;
    int rc = rep_overlay_new(v->base, &image);
    if (rc)
        return rc;
    pthread_mutex_lock(&v->mutex);
    rc = fault(v);
    while (!rc && v->head) {
        rc = apply(v->base, v->head, v->head->length);
        if (!rc)
            drop_first(v);
    }
    if (!rc)
        rc = rep_io_flush(v->base);
    if (!rc) {
        /* The old image would read the same, but hold its memory for ever. */
        rep_io *old = v->image;
        v->image = image;
        image = old;
        v->flush_count++;
    }
    pthread_mutex_unlock(&v->mutex);
    rep_io_free(image);
    return rc;
}

static void volatile_free(rep_io *io)
{
    volatile_io *v = as_volatile(io);
    while (v->head)
        drop_first(v);
    rep_io_free(v->image);
    pthread_mutex_destroy(&v->mutex);
    free(v);
}

static const rep_io_ops volatile_ops = {
    .name = "volatile",
    .pread = volatile_pread,
    .pwrite = volatile_pwrite,
    .flush = volatile_flush,
    .zero = volatile_zero,
    .trim = volatile_trim,
    .extents = volatile_extents,
    .free = volatile_free,
};

int rep_volatile_new(rep_io *base, rep_io **out)
{
    volatile_io *v = calloc(1, sizeof *v);
    if (!v)
        return -ENOMEM;
    int rc = rep_overlay_new(base, &v->image);
    if (!rc)
        rc = -pthread_mutex_init(&v->mutex, NULL);
    if (rc) {
        rep_io_free(v->image);
        free(v);
        return rc;
    }
    v->io = (rep_io){.ops = &volatile_ops, .size_bytes = rep_io_size(base)};
    v->base = base;
    v->tail = &v->head;
    *out = &v->io;
    return 0;
}

/* splitmix64: every seed gives a good sequence, 0 too. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15ULL;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

static void choose(volatile_io *v, uint64_t *state, unsigned keep_one_in)
{
    unflushed **link = &v->head;
    while (*link) {
        unflushed *write = *link;
        if (keep_one_in && next_random(state) % keep_one_in == 0) {
            link = &write->next;
            continue;
        }
        *link = write->next;
        v->unflushed_count--;
        free(write);
    }
    v->tail = link;
}

int rep_volatile_lose(rep_io *io, uint64_t seed, unsigned keep_one_in, int tear)
{
    volatile_io *v = as_volatile(io);
    rep_io *image = NULL;
    int rc = rep_overlay_new(v->base, &image);
    if (rc)
        return rc;
    pthread_mutex_lock(&v->mutex);
    choose(v, &seed, keep_one_in);
    while (v->head) {
        uint64_t length = v->head->length;
        if (tear && !v->head->next)
            length =
                next_random(&seed) % ((length + SECTOR_BYTES - 1) / SECTOR_BYTES) * SECTOR_BYTES;
        if (!rc)
            rc = apply(v->base, v->head, length);
        drop_first(v);
    }
    rep_io *old = v->image;
    v->image = image;
    pthread_mutex_unlock(&v->mutex);
    rep_io_free(old);
    return rc;
}

void rep_volatile_fail_after(rep_io *io, uint64_t operations, int error)
{
    volatile_io *v = as_volatile(io);
    pthread_mutex_lock(&v->mutex);
    v->good_operations = operations;
    v->write_error = error;
    pthread_mutex_unlock(&v->mutex);
}

void rep_volatile_fail_reads(rep_io *io, int error)
{
    volatile_io *v = as_volatile(io);
    pthread_mutex_lock(&v->mutex);
    v->read_error = error;
    pthread_mutex_unlock(&v->mutex);
}

uint64_t rep_volatile_unflushed_count(rep_io *io)
{
    volatile_io *v = as_volatile(io);
    pthread_mutex_lock(&v->mutex);
    uint64_t count = v->unflushed_count;
    pthread_mutex_unlock(&v->mutex);
    return count;
}

uint64_t rep_volatile_flush_count(rep_io *io)
{
    volatile_io *v = as_volatile(io);
    pthread_mutex_lock(&v->mutex);
    uint64_t count = v->flush_count;
    pthread_mutex_unlock(&v->mutex);
    return count;
}
