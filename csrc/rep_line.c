#include "rep_line.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "rep_wait.h"

/* Read at most, before it is known how long a frame is. */
#define AHEAD_BYTES (64ULL << 10)
#define MEMORY_BYTES (REP_LINE_WANT_BYTES + AHEAD_BYTES)
/* How late who sends finds out that it was called off. */
#define SLICE_MS 50

struct rep_line {
    int fd;
    pthread_mutex_t mutex; /* the next three */
    pthread_cond_t freed;
    bool sending; /* somebody is; not the mutex itself, for who waits for it may be called off */
    bool ended;
    _Atomic uint64_t heard_ns;
    /* The receiver's. Begins on a page: envelopes, headers and most data are multiples of 32 bytes
     * long, and what is received is copied to multiples of 32 three times as fast (ADR 18). */
    uint8_t *memory;
    uint64_t begin;
    uint64_t end;
};

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

/* Waits until nobody else sends. -ECANCELED (`wake`, perhaps NULL). */
static int begin_sending(rep_line *line, rep_wake *wake)
{
    int rc = 0;
    pthread_mutex_lock(&line->mutex);
    while (!rc && line->sending)
        rc = rep_wait_on(&line->freed, &line->mutex, REP_NO_DEADLINE, wake);
    if (!rc)
        line->sending = true;
    pthread_mutex_unlock(&line->mutex);
    return rc;
}

static void finish_sending(rep_line *line)
{
    pthread_mutex_lock(&line->mutex);
    line->sending = false;
    pthread_cond_signal(&line->freed);
    pthread_mutex_unlock(&line->mutex);
}

static bool has_ended(rep_line *line)
{
    pthread_mutex_lock(&line->mutex);
    bool ended = line->ended;
    pthread_mutex_unlock(&line->mutex);
    return ended;
}

static void note_ended(rep_line *line)
{
    pthread_mutex_lock(&line->mutex);
    line->ended = true;
    pthread_mutex_unlock(&line->mutex);
}

/* Until the socket takes something, or has failed, or a slice is over. -ECANCELED. */
static int await_writable(const rep_line *line, const rep_wake *wake)
{
    struct pollfd writable = {.fd = line->fd, .events = POLLOUT};
    if (rep_wake_raised(wake))
        return -ECANCELED;
    return poll(&writable, 1, SLICE_MS) < 0 && errno != EINTR ? -errno : 0;
}

/* By who is sending. `wake`: NULL when it isn't to be called off. */
static int send_pieces(rep_line *line, struct iovec *pieces, size_t count, const rep_wake *wake)
{
    struct msghdr message = {.msg_iov = pieces, .msg_iovlen = count};
    bool torn = false;
    if (has_ended(line))
        return -EPIPE;
    while (message.msg_iovlen) {
        ssize_t sent = sendmsg(line->fd, &message, MSG_NOSIGNAL | (wake ? MSG_DONTWAIT : 0));
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && wake && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            int rc = await_writable(line, wake);
            if (rc && torn)
                note_ended(line); /* what anybody sent now would be taken for the rest of this */
            if (rc)
                return rc;
            continue;
        }
        if (sent < 0)
            return -errno;
        torn = true;
        size_t left = (size_t)sent;
        while (message.msg_iovlen && left >= message.msg_iov->iov_len) {
            left -= message.msg_iov->iov_len;
            message.msg_iov++;
            message.msg_iovlen--;
        }
        if (message.msg_iovlen) {
            message.msg_iov->iov_base = (uint8_t *)message.msg_iov->iov_base + left;
            message.msg_iov->iov_len -= left;
        }
    }
    return 0;
}

int rep_line_send(rep_line *line, const void *head, uint64_t head_bytes, const void *body,
                  uint64_t body_bytes)
{
    /* sendmsg only reads; its struct has no const. */
    struct iovec pieces[2] = {{(void *)(uintptr_t)head, head_bytes},
                              {(void *)(uintptr_t)body, body_bytes}};
    int rc = begin_sending(line, NULL);
    if (rc)
        return rc;
    rc = send_pieces(line, pieces, body_bytes ? 2 : 1, NULL);
    finish_sending(line);
    return rc;
}

int rep_line_send_until(rep_line *line, const void *data, uint64_t length, rep_wake *wake)
{
    struct iovec piece = {(void *)(uintptr_t)data, length};
    int rc = begin_sending(line, wake);
    if (rc)
        return rc;
    rc = send_pieces(line, &piece, 1, wake);
    finish_sending(line);
    return rc;
}

void rep_line_end(rep_line *line)
{
    /* Without a handle nothing but a broken mutex ends the wait. */
    int rc = begin_sending(line, NULL);
    note_ended(line);
    if (!rc)
        finish_sending(line);
}

int rep_line_begin(rep_line *line)
{
    pthread_mutex_lock(&line->mutex);
    bool ended = line->ended;
    bool begun = !line->sending;
    line->sending = true;
    pthread_mutex_unlock(&line->mutex);
    if (!begun)
        return -EAGAIN;
    /* A socket that is writable has a third of its buffer free. An ended one says so when it is
     * sent to; its descriptor may be another's by now. */
    struct pollfd writable = {.fd = line->fd, .events = POLLOUT};
    if (ended || poll(&writable, 1, 0) == 1)
        return 0;
    finish_sending(line);
    return -EAGAIN;
}

int rep_line_send_begun(rep_line *line, const void *data, uint64_t length)
{
    struct iovec piece = {(void *)(uintptr_t)data, length};
    return send_pieces(line, &piece, 1, NULL);
}

void rep_line_finish(rep_line *line)
{
    finish_sending(line);
}

/* How many bytes came, at least 1; or a negative errno. */
static int64_t receive(rep_line *line, void *to, uint64_t most, int flags)
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
        int64_t got = receive(line, line->memory + line->end, most, ahead ? 0 : MSG_WAITALL);
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
        return receive(line, to, most, 0);
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
                                              : receive(line, at, length, MSG_WAITALL);
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
