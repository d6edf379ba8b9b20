/* rep_io_device: a block device as rep_io, through the page cache: any offset and length.
 *
 * It is claimed for us alone (O_EXCL): a device that is mounted, swapped to, part of something else
 * or a volume already is -EBUSY, by whatever path it is named, in any process.
 * Zero and trim are one: the kernel's write-zeroes, which unmaps where the device then reads as
 * zeros, and else zeros written. A plain discard (BLKDISCARD) is never used: since Linux 4.12 no
 * device promises what it reads afterwards.
 * A device can't tell data from holes: all of it is data. Source: Fig. 1, volumes 105a, 105b, 106b.
 */
#ifndef REP_IO_DEVICE_H
#define REP_IO_DEVICE_H

#include "rep_api.h"
#include "rep_io.h"

REP_API_BEGIN

/* cdef:begin */
/* Opens an existing block device read-write. -ENOENT, -EACCES, -EROFS, -EBUSY (in use), -EINVAL (not
 * a block device). Nothing is changed on failure. */
int rep_io_device_open(const char *path, rep_io **out);
/* What the kernel says of it at this moment. -ENOTSUP: `io` isn't a device. */
typedef struct rep_io_device_identity {
    uint32_t major;
    uint32_t minor;
    uint64_t size_bytes;
    uint64_t sequence; /* of the disk since boot, never given out twice; 0: this kernel has none */
} rep_io_device_identity;
int rep_io_device_identify(rep_io *io, rep_io_device_identity *out);
/* cdef:end */

REP_API_END

#endif
