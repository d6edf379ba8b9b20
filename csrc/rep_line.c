#include "rep_line.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "line_parts.h"
#include "rep_wait.h"

/* Read at most, before it is known how long a frame is. */
#define AHEAD_BYTES (64ULL << 10)
#define MEMORY_BYTES (REP_LINE_WANT_BYTES + AHEAD_BYTES)

int rep_line_new(int fd, rep_line **out)
{
    rep_line *line = calloc(1, sizeof *line);
    if (!line)
        return -ENOMEM;
    line->fd = fd;
    void *memory = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    int rc = memory == MAP_FAILED ? -ENOMEM : -pthread_mutex_init(&line->mutex, NULL);
    if (!rc) {
        rc = rep_wait_cond_init(&line->freed);
        if (rc)
            pthread_mutex_destroy(&line->mutex);
    }
    if (rc) {
        if (memory != MAP_FAILED)
            munmap(memory, MEMORY_BYTES);
        free(line);
        return rc;
    }
    line->memory = memory;
    *out = line;
    return 0;
}

void rep_line_free(rep_line *line)
{
    if (!line)
        return;
    munmap(line->memory, MEMORY_BYTES);
    pthread_cond_destroy(&line->freed);
    pthread_mutex_destroy(&line->mutex);
    free(line);
}

void rep_line_secure(rep_line *line, rep_tls *tls)
{
    line->tls = tls;
}

/* What the socket has: how many bytes came, at least 1; or a negative errno. */
static int64_t receive_some(rep_line *line, void *to, uint64_t most, int flags)
{
    for (;;) {
        ssize_t got = recv(line->fd, to, most, flags);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (!got)
            return -EPIPE;
        atomic_store_explicit(&line->heard_ns, rep_now_ns(), memory_order_relaxed);
        return got;
    }
}

/* `whole`: as many as asked for, as far as that costs no further call. As receive_some. */
static int64_t receive(rep_line *line, void *to, uint64_t most, bool whole)
{
    if (!line->tls)
        return receive_some(line, to, most, whole ? MSG_WAITALL : 0);
    for (;;) {
        int64_t got = rep_tls_decrypt(line->tls, to, most);
        if (got != -EAGAIN)
            return got;
        got = receive_some(line, rep_tls_room(line->tls), REP_TLS_PIECE_BYTES, 0);
        if (got < 0)
            return got;
        rep_tls_came(line->tls, (uint64_t)got);
    }
}

int rep_line_want(rep_line *line, uint64_t length, bool ahead, const uint8_t **at)
{
    while (line->end - line->begin < length) {
        uint64_t unread = line->end - line->begin;
        if (!unread || line->begin + length + (ahead ? AHEAD_BYTES : 0) > MEMORY_BYTES) {
            memmove(line->memory, line->memory + line->begin, unread);
            line->begin = 0;
            line->end = unread;
        }
        /* No further than what is wanted, unless asked for: nothing has to be moved afterwards. */
        uint64_t most = ahead ? AHEAD_BYTES : length - unread;
        int64_t got = receive(line, line->memory + line->end, most, !ahead);
        if (got < 0)
            return (int)got;
        line->end += (uint64_t)got;
    }
    *at = line->memory + line->begin;
    return 0;
}

uint64_t rep_line_unread(const rep_line *line, const uint8_t **at)
{
    *at = line->memory + line->begin;
    return line->end - line->begin;
}

void rep_line_consume(rep_line *line, uint64_t length)
{
    line->begin += length;
}

int64_t rep_line_some(rep_line *line, void *to, uint64_t most)
{
    uint64_t unread = line->end - line->begin;
    if (!unread)
        return receive(line, to, most, false);
    uint64_t length = unread < most ? unread : most;
    memcpy(to, line->memory + line->begin, length);
    line->begin += length;
    return (int64_t)length;
}

int rep_line_fill(rep_line *line, void *to, uint64_t length)
{
    uint8_t *at = to;
    while (length) {
        int64_t got = line->end > line->begin ? rep_line_some(line, at, length)
                                              : receive(line, at, length, true);
        if (got < 0)
            return (int)got;
        at += got;
        length -= (uint64_t)got;
    }
    return 0;
}

uint64_t rep_line_heard_ns(const rep_line *line)
{
    return atomic_load_explicit(&line->heard_ns, memory_order_relaxed);
}
