/* faulty_calls: system calls that the core makes on files, failing on demand. A test program that
 * includes this has these instead of libc's. */
#ifndef FAULTY_CALLS_H
#define FAULTY_CALLS_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef struct fault {
    int error;    /* 0: none */
    int good;     /* calls that still succeed */
    int failures; /* then so many fail; what comes after succeeds again */
} fault;

static fault pwrite_fault;
static fault fdatasync_fault;
static fault fallocate_fault;
static fault lseek_fault;
static size_t most_bytes = SIZE_MAX; /* of one pread or pwrite */
static bool interrupt_every_second_call;
static unsigned call_count;

static inline bool fails(fault *f)
{
    if (interrupt_every_second_call && ++call_count % 2) {
        errno = EINTR;
        return true;
    }
    if (!f->error || !f->failures)
        return false;
    if (f->good) {
        f->good--;
        return false;
    }
    f->failures--;
    errno = f->error;
    return true;
}

static inline void heal(void)
{
    pwrite_fault = fdatasync_fault = fallocate_fault = lseek_fault = (fault){0};
    most_bytes = SIZE_MAX;
    interrupt_every_second_call = false;
}

ssize_t pread(int fd, void *buffer, size_t length, off_t offset)
{
    fault none = {0};
    if (fails(&none))
        return -1;
    return syscall(SYS_pread64, fd, buffer, length < most_bytes ? length : most_bytes, offset);
}

ssize_t pwrite(int fd, const void *buffer, size_t length, off_t offset)
{
    if (fails(&pwrite_fault))
        return -1;
    return syscall(SYS_pwrite64, fd, buffer, length < most_bytes ? length : most_bytes, offset);
}

int fdatasync(int fd)
{
    return fails(&fdatasync_fault) ? -1 : (int)syscall(SYS_fdatasync, fd);
}

int fallocate(int fd, int mode, off_t offset, off_t length)
{
    return fails(&fallocate_fault) ? -1 : (int)syscall(SYS_fallocate, fd, mode, offset, length);
}

off_t lseek(int fd, off_t offset, int whence)
{
    if (lseek_fault.error) { /* on every call, until healed */
        errno = lseek_fault.error;
        return -1;
    }
    return syscall(SYS_lseek, fd, offset, whence);
}

#endif
