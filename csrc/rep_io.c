#include "rep_io.h"

#include <errno.h>

int rep_io_check(const rep_io *io, uint64_t offset, uint64_t length)
{
    if (length > io->size_bytes || offset > io->size_bytes - length)
        return -ERANGE;
    return 0;
}

uint64_t rep_io_size(const rep_io *io)
{
    return io->size_bytes;
}

int rep_io_pread(rep_io *io, void *buffer, uint64_t length, uint64_t offset)
{
    int rc = rep_io_check(io, offset, length);
    return rc || !length ? rc : io->ops->pread(io, buffer, length, offset);
}

int rep_io_pwrite(rep_io *io, const void *buffer, uint64_t length, uint64_t offset)
{
    int rc = rep_io_check(io, offset, length);
    return rc || !length ? rc : io->ops->pwrite(io, buffer, length, offset);
}

int rep_io_flush(rep_io *io)
{
    return io->ops->flush(io);
}

int rep_io_zero(rep_io *io, uint64_t offset, uint64_t length)
{
    int rc = rep_io_check(io, offset, length);
    return rc || !length ? rc : io->ops->zero(io, offset, length);
}

int rep_io_trim(rep_io *io, uint64_t offset, uint64_t length)
{
    int rc = rep_io_check(io, offset, length);
    if (rc || !length)
        return rc;
    return io->ops->trim ? io->ops->trim(io, offset, length) : io->ops->zero(io, offset, length);
}

int rep_io_extents(rep_io *io, uint64_t offset, uint64_t length, rep_extent *out, size_t capacity,
                   size_t *count, uint64_t *resume_offset)
{
    int rc = rep_io_check(io, offset, length);
    if (rc)
        return rc;
    if (!capacity)
        return -EINVAL; /* a caller that loops until it is done would never be */
    *count = 0;
    *resume_offset = offset + length;
    if (!length)
        return 0;
    if (io->ops->extents)
        return io->ops->extents(io, offset, length, out, capacity, count, resume_offset);
    out[0] = (rep_extent){.offset = offset, .length = length};
    *count = 1;
    return 0;
}

int rep_io_descriptor(rep_io *io)
{
    return io->ops->descriptor ? io->ops->descriptor(io) : -ENOTSUP;
}

void rep_io_free(rep_io *io)
{
    if (io)
        io->ops->free(io);
}
