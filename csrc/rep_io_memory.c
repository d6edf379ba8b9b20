#include "rep_io_memory.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct memory_io {
    rep_io io;
    char *bytes;
    /* Overlapping calls are allowed (rep_io.h) and memory has no kernel below it to order them. */
    pthread_rwlock_t lock;
} memory_io;

static memory_io *as_memory(rep_io *io)
{
    return (memory_io *)(void *)io;
}

static int memory_pread(rep_io *io, void *buffer, uint64_t length, uint64_t offset)
{
    memory_io *memory = as_memory(io);
    pthread_rwlock_rdlock(&memory->lock);
    memcpy(buffer, memory->bytes + offset, (size_t)length);
    pthread_rwlock_unlock(&memory->lock);
    return 0;
}

static int memory_pwrite(rep_io *io, const void *buffer, uint64_t length, uint64_t offset)
{
    memory_io *memory = as_memory(io);
    pthread_rwlock_wrlock(&memory->lock);
    memcpy(memory->bytes + offset, buffer, (size_t)length);
    pthread_rwlock_unlock(&memory->lock);
    return 0;
}

static int memory_flush(rep_io *io)
{
    (void)io;
    return 0;
}

static int memory_zero(rep_io *io, uint64_t offset, uint64_t length)
{
    memory_io *memory = as_memory(io);
    uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t end = offset + length;
    uint64_t first_page = (offset + page_bytes - 1) / page_bytes * page_bytes;
    uint64_t pages_end = end / page_bytes * page_bytes;
    pthread_rwlock_wrlock(&memory->lock);
    /* Whole pages are given back and read as zeros; the ragged ends are written. */
    if (first_page < pages_end
        && !madvise(memory->bytes + first_page, (size_t)(pages_end - first_page), MADV_DONTNEED)) {
        memset(memory->bytes + offset, 0, (size_t)(first_page - offset));
        memset(memory->bytes + pages_end, 0, (size_t)(end - pages_end));
    } else {
        memset(memory->bytes + offset, 0, (size_t)length);
    }
    pthread_rwlock_unlock(&memory->lock);
    return 0;
}

static void memory_free(rep_io *io)
{
    memory_io *memory = as_memory(io);
    pthread_rwlock_destroy(&memory->lock);
    munmap(memory->bytes, (size_t)io->size_bytes);
    free(memory);
}

static const rep_io_ops memory_ops = {
    .name = "memory",
    .pread = memory_pread,
    .pwrite = memory_pwrite,
    .flush = memory_flush,
    .zero = memory_zero,
    .trim = memory_zero,
    .free = memory_free,
};

int rep_io_memory_new(uint64_t size_bytes, rep_io **out)
{
    if (!size_bytes)
        return -EINVAL;
    memory_io *memory = calloc(1, sizeof *memory);
    if (!memory)
        return -ENOMEM;
    void *bytes = mmap(NULL, (size_t)size_bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (bytes == MAP_FAILED) {
        free(memory);
        return -ENOMEM;
    }
    int failed = pthread_rwlock_init(&memory->lock, NULL);
    if (failed) {
        munmap(bytes, (size_t)size_bytes);
        free(memory);
        return -failed;
    }
    memory->io = (rep_io){.ops = &memory_ops, .size_bytes = size_bytes};
    memory->bytes = bytes;
    *out = &memory->io;
    return 0;
}
