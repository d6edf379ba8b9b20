/* Ceilings of copies: exactly these runs from one file to the other, by one thread or several. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define PAGE_BYTES 4096
#define THREADS_MAX 16
/* Runs that a thread takes at once: small ones by the MiB, so that the threads don't get in each
 * other's way. */
#define TAKE_BYTES (1U << 20)

typedef struct job {
    int source;
    int target;
    const uint64_t *offsets;
    const uint64_t *lengths;
    uint64_t count;
    uint64_t largest;
    uint64_t take;
    int by_range; /* copy_file_range instead of pread and pwrite */
    _Atomic uint64_t next;
    _Atomic int error;
} job;

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int copy_range(const job *j, uint64_t offset, uint64_t length)
{
    off_t from = (off_t)offset;
    off_t to = (off_t)offset;
    while (length) {
        ssize_t done = copy_file_range(j->source, &from, j->target, &to, length, 0);
        if (done <= 0)
            return done ? -errno : -EIO;
        length -= (uint64_t)done;
    }
    return 0;
}

static int copy_one(const job *j, char *buffer, uint64_t offset, uint64_t length)
{
    if (j->by_range)
        return copy_range(j, offset, length);
    if (pread(j->source, buffer, length, (off_t)offset) != (ssize_t)length
        || pwrite(j->target, buffer, length, (off_t)offset) != (ssize_t)length)
        return -EIO;
    return 0;
}

static void *work(void *argument)
{
    job *j = argument;
    uint64_t room = (j->largest + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
    char *buffer = aligned_alloc(PAGE_BYTES, room ? room : PAGE_BYTES);
    if (!buffer)
        atomic_store(&j->error, -ENOMEM);
    while (buffer && !atomic_load(&j->error)) {
        uint64_t at = atomic_fetch_add(&j->next, j->take);
        if (at >= j->count)
            break;
        uint64_t end = at + j->take < j->count ? at + j->take : j->count;
        for (; at < end; at++) {
            int rc = copy_one(j, buffer, j->offsets[at], j->lengths[at]);
            if (rc)
                atomic_store(&j->error, rc);
        }
    }
    free(buffer);
    return NULL;
}

/* Copies `count` runs, then fdatasync. Returns nanoseconds, or a negative errno; *written is the time
 * to the last write. */
int64_t ceiling_copy_runs(int source, int target, const uint64_t *offsets, const uint64_t *lengths,
                          uint64_t count, int threads, int by_range, int64_t *written)
{
    job j = {.source = source,
             .target = target,
             .offsets = offsets,
             .lengths = lengths,
             .count = count,
             .by_range = by_range};
    pthread_t started[THREADS_MAX];
    if (threads < 1 || threads > THREADS_MAX)
        return -EINVAL;
    for (uint64_t i = 0; i < count; i++)
        if (lengths[i] > j.largest)
            j.largest = lengths[i];
    j.take = threads == 1 ? count : TAKE_BYTES / (j.largest ? j.largest : 1);
    if (!j.take)
        j.take = 1;
    int64_t start = now_ns();
    int others = 0;
    while (others < threads - 1 && !pthread_create(&started[others], NULL, work, &j))
        others++;
    work(&j);
    while (others)
        pthread_join(started[--others], NULL);
    *written = now_ns() - start;
    int rc = fdatasync(target) ? -errno : atomic_load(&j.error);
    return rc ? rc : now_ns() - start;
}
