/* rep_io: the seam for storage. A small vtable with whole-or-error semantics.
 *
 * Every implementation embeds `rep_io` as its first member. Offsets and lengths are bytes. A range
 * past the end is -ERANGE and does nothing. Short I/O and EINTR are handled inside: a call has
 * done all of its range, or it returns a negative errno and the range's content is undefined
 * (for writes) while everything outside the range is untouched.
 *
 * Threads: pread, pwrite, zero, trim, flush and extents may run beside each other on one object;
 * overlapping writes give one or the other's bytes. rep_io_free may run beside nothing.
 */
#ifndef REP_IO_H
#define REP_IO_H

#include <stddef.h>
#include <stdint.h>

#include "rep_api.h"

REP_API_BEGIN

/* cdef:begin */
typedef struct rep_io rep_io;
typedef struct rep_extent {
    uint64_t offset; /* bytes */
    uint64_t length; /* bytes, > 0 */
} rep_extent;

/* Size in bytes, fixed for the object's life. */
uint64_t rep_io_size(const rep_io *io);
int rep_io_pread(rep_io *io, void *buffer, uint64_t length, uint64_t offset);
int rep_io_pwrite(rep_io *io, const void *buffer, uint64_t length, uint64_t offset);
/* Makes everything written before the call durable (fdatasync). */
int rep_io_flush(rep_io *io);
/* Makes the range read as zeros, releasing space where the storage can. */
int rep_io_zero(rep_io *io, uint64_t offset, uint64_t length);
/* Says that the range isn't needed. It reads as zeros afterwards, whatever the storage: a trim may
 * be passed on as a trim to another one, and both ends stay equal. */
int rep_io_trim(rep_io *io, uint64_t offset, uint64_t length);
/* Data extents (what isn't a hole) within [offset, offset+length), ascending, at most `capacity`.
 * *count is how many were written; *resume_offset is where to go on (== offset+length when done).
 * Storage that can't tell answers with one extent over the whole range. -EINVAL: no capacity. */
int rep_io_extents(rep_io *io, uint64_t offset, uint64_t length, rep_extent *out, size_t capacity,
                   size_t *count, uint64_t *resume_offset);
/* Frees the object; it doesn't flush. NULL is allowed. */
void rep_io_free(rep_io *io);

typedef struct rep_io_ops {
    const char *name; /* for messages: "file", "memory", ... */
    int (*pread)(rep_io *io, void *buffer, uint64_t length, uint64_t offset);
    int (*pwrite)(rep_io *io, const void *buffer, uint64_t length, uint64_t offset);
    int (*flush)(rep_io *io);
    int (*zero)(rep_io *io, uint64_t offset, uint64_t length);
    /* NULL: `zero` is used. Only what then reads as zeros may do something else. */
    int (*trim)(rep_io *io, uint64_t offset, uint64_t length);
    /* NULL: can't tell. */
    int (*extents)(rep_io *io, uint64_t offset, uint64_t length, rep_extent *out, size_t capacity,
                   size_t *count, uint64_t *resume_offset);
    /* NULL: no file descriptor below. Otherwise one usable for copy_file_range at equal offsets. */
    int (*descriptor)(rep_io *io);
    void (*free)(rep_io *io);
} rep_io_ops;

struct rep_io {
    const rep_io_ops *ops;
    uint64_t size_bytes;
};
/* cdef:end */

/* 0 when [offset, offset+length) lies inside the object, else -ERANGE. */
int rep_io_check(const rep_io *io, uint64_t offset, uint64_t length);
/* The descriptor below, or -ENOTSUP. */
int rep_io_descriptor(rep_io *io);

REP_API_END

#endif
