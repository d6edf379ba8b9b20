#include "rep_slice.h"

#include <errno.h>
#include <stdlib.h>

typedef struct slice_io {
    rep_io io;
    rep_io *base;
    uint64_t start; /* of the range, in the base */
} slice_io;

static slice_io *as_slice(rep_io *io)
{
    return (slice_io *)(void *)io;
}

static int slice_pread(rep_io *io, void *buffer, uint64_t length, uint64_t offset)
{
    const slice_io *slice = as_slice(io);
    return rep_io_pread(slice->base, buffer, length, slice->start + offset);
}

static int slice_pwrite(rep_io *io, const void *buffer, uint64_t length, uint64_t offset)
{
    const slice_io *slice = as_slice(io);
    return rep_io_pwrite(slice->base, buffer, length, slice->start + offset);
}

static int slice_flush(rep_io *io)
{
    return rep_io_flush(as_slice(io)->base);
}

static int slice_zero(rep_io *io, uint64_t offset, uint64_t length)
{
    const slice_io *slice = as_slice(io);
    return rep_io_zero(slice->base, slice->start + offset, length);
}

static int slice_trim(rep_io *io, uint64_t offset, uint64_t length)
{
    const slice_io *slice = as_slice(io);
    return rep_io_trim(slice->base, slice->start + offset, length);
}

static int slice_extents(rep_io *io, uint64_t offset, uint64_t length, rep_extent *out,
                         size_t capacity, size_t *count, uint64_t *resume_offset)
{
    const slice_io *slice = as_slice(io);
    int rc = rep_io_extents(slice->base, slice->start + offset, length, out, capacity, count,
                            resume_offset);
    if (rc)
        return rc;
    for (size_t i = 0; i < *count; i++)
        out[i].offset -= slice->start;
    *resume_offset -= slice->start;
    return 0;
}

static void slice_free(rep_io *io)
{
    free(io);
}

/* No descriptor: that is for equal offsets. */
static const rep_io_ops slice_ops = {
    .name = "slice",
    .pread = slice_pread,
    .pwrite = slice_pwrite,
    .flush = slice_flush,
    .zero = slice_zero,
    .trim = slice_trim,
    .extents = slice_extents,
    .free = slice_free,
};

int rep_slice_new(rep_io *base, uint64_t offset, uint64_t length, rep_io **out)
{
    if (!length)
        return -EINVAL;
    int rc = rep_io_check(base, offset, length);
    if (rc)
        return rc;
    slice_io *slice = malloc(sizeof *slice);
    if (!slice)
        return -ENOMEM;
    *slice = (slice_io){
        .io = {.ops = &slice_ops, .size_bytes = length},
        .base = base,
        .start = offset,
    };
    *out = &slice->io;
    return 0;
}
