/* rep_io_file: a regular (sparse) file as rep_io.
 *
 * The file is opened, locked exclusively (flock; -EWOULDBLOCK when another volume, in this process
 * or another, holds it) and keeps the size it has. Punched holes give space back; a file system
 * that can't punch gets zeros written. When somebody shortens the file below the volume, what is
 * missing is -EIO, never zeros. Source: Fig. 1, volumes 105a, 105b, 106b.
 */
#ifndef REP_IO_FILE_H
#define REP_IO_FILE_H

#include "rep_api.h"
#include "rep_io.h"

REP_API_BEGIN

/* cdef:begin */
/* Opens an existing regular file read-write. -ENOENT, -EACCES, -EROFS, -EWOULDBLOCK (locked),
 * -EINVAL (not a regular file). Nothing is changed on failure. */
int rep_io_file_open(const char *path, rep_io **out);
/* Opens read-only and without the lock: for views of what somebody else holds. Writes, zeros and
 * trims are -EROFS. */
int rep_io_file_open_readonly(const char *path, rep_io **out);
/* What identifies the file, as at this moment: device, inode, size in bytes, mtime and ctime in
 * nanoseconds. -ENOTSUP: `io` isn't a file. */
typedef struct rep_io_file_identity {
    uint64_t device;
    uint64_t inode;
    uint64_t size_bytes;
    int64_t mtime_ns;
    int64_t ctime_ns;
} rep_io_file_identity;
int rep_io_file_identify(rep_io *io, rep_io_file_identity *out);
/* cdef:end */

REP_API_END

#endif
