#include "rep_io_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fd_parts.h"

#define NS_PER_S 1000000000LL

typedef struct file_io {
    rep_io io;
    int fd;
    bool writable;
} file_io;

static file_io *as_file(rep_io *io)
{
    return (file_io *)(void *)io;
}

static int file_pread(rep_io *io, void *buffer, uint64_t length, uint64_t offset)
{
    return rep_fd_pread(as_file(io)->fd, buffer, length, offset);
}

static int file_pwrite(rep_io *io, const void *buffer, uint64_t length, uint64_t offset)
{
    const file_io *file = as_file(io);
    return file->writable ? rep_fd_pwrite(file->fd, buffer, length, offset) : -EROFS;
}

static int file_flush(rep_io *io)
{
    return rep_fd_flush(as_file(io)->fd);
}

static int file_zero(rep_io *io, uint64_t offset, uint64_t length)
{
    const file_io *file = as_file(io);
    if (!file->writable)
        return -EROFS;
    int rc = rep_fd_fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
    if (rc != -EOPNOTSUPP && rc != -ENOSYS)
        return rc;
    return rep_fd_write_zeros(file->fd, offset, length);
}

/* Nothing but a hole from here to the end of the file, which must still be where it was: what a
 * shortened file has lost is damage, and calling it a hole would copy it as zeros. */
static int confirm_size(const file_io *file)
{
    struct stat status;
    if (fstat(file->fd, &status) < 0)
        return -errno;
    return (uint64_t)status.st_size < file->io.size_bytes ? -EIO : 0;
}

static int file_extents(rep_io *io, uint64_t offset, uint64_t length, rep_extent *out,
                        size_t capacity, size_t *count, uint64_t *resume_offset)
{
    const file_io *file = as_file(io);
    uint64_t end = offset + length;
    size_t found = 0;
    while (offset < end && found < capacity) {
        off_t data = lseek(file->fd, (off_t)offset, SEEK_DATA);
        if (data < 0 && errno == ENXIO) {
            int rc = confirm_size(file);
            if (rc)
                return rc;
            offset = end;
            break;
        }
        if (data < 0 && errno != EINVAL)
            return -errno;
        /* -EINVAL: this file system can't tell; all of it is data. */
        uint64_t first = data < 0 ? offset : (uint64_t)data;
        if (first >= end) {
            offset = end;
            break;
        }
        off_t hole = data < 0 ? -1 : lseek(file->fd, data, SEEK_HOLE);
        uint64_t after = hole < 0 || (uint64_t)hole > end ? end : (uint64_t)hole;
        out[found++] = (rep_extent){.offset = first, .length = after - first};
        offset = after;
    }
    *count = found;
    *resume_offset = offset;
    return 0;
}

static int file_descriptor(rep_io *io)
{
    return as_file(io)->fd;
}

static void file_free(rep_io *io)
{
    close(as_file(io)->fd);
    free(io);
}

static const rep_io_ops file_ops = {
    .name = "file",
    .pread = file_pread,
    .pwrite = file_pwrite,
    .flush = file_flush,
    .zero = file_zero,
    .extents = file_extents,
    .descriptor = file_descriptor,
    .free = file_free,
};

static int wrap(int fd, bool writable, rep_io **out)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        return -errno;
    if (!S_ISREG(status.st_mode))
        return -EINVAL;
    /* The lock belongs to this open file description: a second open conflicts in one process too,
     * which locks that belong to processes (fcntl) would not see. */
    if (writable && flock(fd, LOCK_EX | LOCK_NB) < 0)
        return -errno;
    /* The size again, now that nobody else of us can change it. */
    if (fstat(fd, &status) < 0)
        return -errno;
    file_io *file = malloc(sizeof *file);
    if (!file)
        return -ENOMEM;
    *file = (file_io){
        .io = {.ops = &file_ops, .size_bytes = (uint64_t)status.st_size},
        .fd = fd,
        .writable = writable,
    };
    *out = &file->io;
    return 0;
}

static int open_file(const char *path, bool writable, rep_io **out)
{
    /* O_NONBLOCK: a FIFO must be refused, not waited for; it means nothing to a regular file. */
    int fd = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) /* a directory, a socket */
        return errno == EISDIR || errno == ENXIO ? -EINVAL : -errno;
    int rc = wrap(fd, writable, out);
    if (rc)
        close(fd);
    return rc;
}

int rep_io_file_open(const char *path, rep_io **out)
{
    return open_file(path, true, out);
}

int rep_io_file_open_readonly(const char *path, rep_io **out)
{
    return open_file(path, false, out);
}

int rep_io_file_identify(rep_io *io, rep_io_file_identity *out)
{
    if (io->ops != &file_ops)
        return -ENOTSUP;
    struct stat status;
    if (fstat(as_file(io)->fd, &status) < 0)
        return -errno;
    *out = (rep_io_file_identity){
        .device = (uint64_t)status.st_dev,
        .inode = (uint64_t)status.st_ino,
        .size_bytes = (uint64_t)status.st_size,
        .mtime_ns = (int64_t)status.st_mtim.tv_sec * NS_PER_S + status.st_mtim.tv_nsec,
        .ctime_ns = (int64_t)status.st_ctim.tv_sec * NS_PER_S + status.st_ctim.tv_nsec,
    };
    return 0;
}
