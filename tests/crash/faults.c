/* faults: preloaded into a process (LD_PRELOAD), lets its calls on some files fail, write less than
 * they were asked to, or end the process, as `rule` says: a page that another process changes
 * while this one runs (faults.py; PYREP_FAULTS names its file).
 *
 * What matches is counted whether or not it fails, so that a run without faults says how many
 * places there are. Calls that libc makes inside itself aren't seen; SQLite's and the core's are. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum call { WRITE = 1, SYNC = 2, SIZE = 4, READ = 8 };
enum act { FAIL = 0, LESS = 1, KILL = 2 };

/* faults.py has this layout, too. */
struct rule {
    _Atomic uint32_t calls; /* which kinds match; 0: none */
    uint32_t act;
    int32_t error;
    uint32_t bytes;        /* LESS: so many at once */
    uint64_t first;        /* matches before this one (from 0) are let through */
    uint64_t end;          /* as are those from this one on */
    _Atomic uint64_t hits; /* matches so far */
    char patterns[1024];   /* of paths, one a line */
};

static struct rule *rule;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("PYREP_FAULTS");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *found = mmap(NULL, sizeof *rule, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (found != MAP_FAILED)
        rule = found;
    close(fd);
}

static int is_meant(int fd)
{
    char link[64];
    char path[4096];
    char patterns[sizeof rule->patterns];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    memcpy(patterns, rule->patterns, sizeof patterns);
    char *rest = patterns;
    for (char *one; (one = strsep(&rest, "\n"));)
        if (*one && fnmatch(one, path, 0) == 0)
            return 1;
    return 0;
}

/* -1: errno says why it fails; 0: it goes on; else: so many bytes at most. */
static ssize_t judge(int fd, enum call call)
{
    int saved = errno;
    if (!rule || !(atomic_load(&rule->calls) & call) || !is_meant(fd)) {
        errno = saved;
        return 0;
    }
    uint64_t number = atomic_fetch_add(&rule->hits, 1);
    errno = saved;
    if (number < rule->first || number >= rule->end)
        return 0;
    switch (rule->act) {
    case KILL:
        kill(getpid(), SIGKILL);
        pause();
        return 0;
    case LESS:
        return call == WRITE ? (ssize_t)rule->bytes : 0;
    default:
        errno = rule->error;
        return -1;
    }
}

#define REAL(name) __typeof__(name) *real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

#define WRITER(name, offset_type)                                                                  \
    ssize_t name(int fd, const void *data, size_t size, offset_type offset)                        \
    {                                                                                              \
        REAL(name);                                                                                \
        ssize_t most = judge(fd, WRITE);                                                           \
        if (most < 0)                                                                              \
            return -1;                                                                             \
        return real(fd, data, most && (size_t)most < size ? (size_t)most : size, offset);          \
    }
WRITER(pwrite, off_t)
WRITER(pwrite64, off64_t)

ssize_t write(int fd, const void *data, size_t size)
{
    REAL(write);
    ssize_t most = judge(fd, WRITE);
    if (most < 0)
        return -1;
    return real(fd, data, most && (size_t)most < size ? (size_t)most : size);
}

#define READER(name, offset_type)                                                                  \
    ssize_t name(int fd, void *data, size_t size, offset_type offset)                              \
    {                                                                                              \
        REAL(name);                                                                                \
        return judge(fd, READ) < 0 ? -1 : real(fd, data, size, offset);                            \
    }
READER(pread, off_t)
READER(pread64, off64_t)

int fdatasync(int fd)
{
    REAL(fdatasync);
    return judge(fd, SYNC) < 0 ? -1 : real(fd);
}

int fsync(int fd)
{
    REAL(fsync);
    return judge(fd, SYNC) < 0 ? -1 : real(fd);
}

#define TRUNCATER(name, offset_type)                                                               \
    int name(int fd, offset_type size)                                                             \
    {                                                                                              \
        REAL(name);                                                                                \
        return judge(fd, SIZE) < 0 ? -1 : real(fd, size);                                          \
    }
TRUNCATER(ftruncate, off_t)
TRUNCATER(ftruncate64, off64_t)

#define ALLOCATER(name, offset_type)                                                               \
    int name(int fd, int mode, offset_type offset, offset_type size)                               \
    {                                                                                              \
        REAL(name);                                                                                \
        return judge(fd, SIZE) < 0 ? -1 : real(fd, mode, offset, size);                            \
    }
ALLOCATER(fallocate, off_t)
ALLOCATER(fallocate64, off64_t)

#define POSIX_ALLOCATER(name, offset_type)                                                         \
    int name(int fd, offset_type offset, offset_type size)                                         \
    {                                                                                              \
        REAL(name);                                                                                \
        return judge(fd, SIZE) < 0 ? errno : real(fd, offset, size);                               \
    }
POSIX_ALLOCATER(posix_fallocate, off_t)
POSIX_ALLOCATER(posix_fallocate64, off64_t)
