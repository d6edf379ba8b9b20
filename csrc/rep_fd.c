#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <unistd.h>

#include "fd_parts.h"

/* Linux moves at most 0x7ffff000 bytes in one call; asking for less keeps calls interruptible. */
#define CALL_BYTES_MAX (64ULL << 20)
#define ZEROS_BYTES (64ULL << 10)

static size_t at_most(uint64_t length, uint64_t limit)
{
    return (size_t)(length < limit ? length : limit);
}

int rep_fd_pread(int fd, void *buffer, uint64_t length, uint64_t offset)
{
    char *to = buffer;
    while (length) {
        ssize_t done = pread(fd, to, at_most(length, CALL_BYTES_MAX), (off_t)offset);
        if (done < 0) {
            if (errno == EINTR)
                continue;
            return -errno;
        }
        if (!done)
            return -EIO; /* somebody shortened what is below us */
        to += done;
        offset += (uint64_t)done;
        length -= (uint64_t)done;
    }
    return 0;
}

int rep_fd_pwrite(int fd, const void *buffer, uint64_t length, uint64_t offset)
{
    const char *from = buffer;
    while (length) {
        ssize_t done = pwrite(fd, from, at_most(length, CALL_BYTES_MAX), (off_t)offset);
        if (done < 0) {
            if (errno == EINTR)
                continue;
            return -errno;
        }
        if (!done)
            return -EIO;
        from += done;
        offset += (uint64_t)done;
        length -= (uint64_t)done;
    }
    return 0;
}

int rep_fd_write_zeros(int fd, uint64_t offset, uint64_t length)
{
    static const char zeros[ZEROS_BYTES];
    int rc = 0;
    while (!rc && length) {
        size_t piece = at_most(length, sizeof zeros);
        rc = rep_fd_pwrite(fd, zeros, piece, offset);
        offset += piece;
        length -= piece;
    }
    return rc;
}

int rep_fd_fallocate(int fd, int mode, uint64_t offset, uint64_t length)
{
    int rc;
    do
        rc = fallocate(fd, mode, (off_t)offset, (off_t)length);
    while (rc < 0 && errno == EINTR);
    return rc < 0 ? -errno : 0;
}

int rep_fd_flush(int fd)
{
    int rc;
    do
        rc = fdatasync(fd);
    while (rc < 0 && errno == EINTR);
    return rc < 0 ? -errno : 0;
}
