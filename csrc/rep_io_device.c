#include "rep_io_device.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "fd_parts.h"

#ifndef BLKGETDISKSEQ /* Linux 5.15; the headers may be older than the kernel */
#define BLKGETDISKSEQ _IOR(0x12, 128, __u64)
#endif

typedef struct device_io {
    rep_io io;
    int fd;
    uint64_t block_bytes; /* logical: what write-zeroes is aligned to */
} device_io;

static device_io *as_device(rep_io *io)
{
    return (device_io *)(void *)io;
}

static int device_pread(rep_io *io, void *buffer, uint64_t length, uint64_t offset)
{
    return rep_fd_pread(as_device(io)->fd, buffer, length, offset);
}

static int device_pwrite(rep_io *io, const void *buffer, uint64_t length, uint64_t offset)
{
    return rep_fd_pwrite(as_device(io)->fd, buffer, length, offset);
}

static int device_flush(rep_io *io)
{
    return rep_fd_flush(as_device(io)->fd);
}

static int zero_blocks(int fd, uint64_t offset, uint64_t length)
{
    int rc = rep_fd_fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
    if (rc == -EOPNOTSUPP) /* it can't unmap: the kernel writes zeros, faster than we do */
        rc = rep_fd_fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, offset, length);
    return rc == -EOPNOTSUPP || rc == -ENOSYS ? rep_fd_write_zeros(fd, offset, length) : rc;
}

/* Whole blocks by the kernel, the ends by writing. */
static int device_zero(rep_io *io, uint64_t offset, uint64_t length)
{
    const device_io *device = as_device(io);
    uint64_t mask = device->block_bytes - 1;
    uint64_t end = offset + length;
    uint64_t first = (offset + mask) & ~mask;
    uint64_t last = end & ~mask;
    if (first >= last)
        return rep_fd_write_zeros(device->fd, offset, length);
    int rc = rep_fd_write_zeros(device->fd, offset, first - offset);
    if (!rc)
        rc = zero_blocks(device->fd, first, last - first);
    if (!rc)
        rc = rep_fd_write_zeros(device->fd, last, end - last);
    return rc;
}

static void device_free(rep_io *io)
{
    close(as_device(io)->fd);
    free(io);
}

static const rep_io_ops device_ops = {
    .name = "device",
    .pread = device_pread,
    .pwrite = device_pwrite,
    .flush = device_flush,
    .zero = device_zero,
    .free = device_free,
};

static int wrap(int fd, rep_io **out)
{
    struct stat status;
    uint64_t size_bytes;
    int block_bytes;
    if (fstat(fd, &status) < 0)
        return -errno;
    if (!S_ISBLK(status.st_mode))
        return -EINVAL;
    if (ioctl(fd, BLKGETSIZE64, &size_bytes) < 0 || ioctl(fd, BLKSSZGET, &block_bytes) < 0)
        return -errno;
    device_io *device = malloc(sizeof *device);
    if (!device)
        return -ENOMEM;
    *device = (device_io){
        .io = {.ops = &device_ops, .size_bytes = size_bytes},
        .fd = fd,
        .block_bytes = (uint64_t)block_bytes,
    };
    *out = &device->io;
    return 0;
}

int rep_io_device_open(const char *path, rep_io **out)
{
    struct stat status;
    /* O_EXCL means something else to what isn't a block device. */
    if (stat(path, &status) < 0)
        return -errno;
    if (!S_ISBLK(status.st_mode))
        return -EINVAL;
    int fd = open(path, O_RDWR | O_EXCL | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return -errno;
    int rc = wrap(fd, out);
    if (rc)
        close(fd);
    return rc;
}

int rep_io_device_identify(rep_io *io, rep_io_device_identity *out)
{
    if (io->ops != &device_ops)
        return -ENOTSUP;
    struct stat status;
    if (fstat(as_device(io)->fd, &status) < 0)
        return -errno;
    uint64_t size_bytes;
    if (ioctl(as_device(io)->fd, BLKGETSIZE64, &size_bytes) < 0)
        return -errno;
    uint64_t sequence;
    if (ioctl(as_device(io)->fd, BLKGETDISKSEQ, &sequence) < 0)
        sequence = 0;
    *out = (rep_io_device_identity){
        .major = major(status.st_rdev),
        .minor = minor(status.st_rdev),
        .size_bytes = size_bytes,
        .sequence = sequence,
    };
    return 0;
}
