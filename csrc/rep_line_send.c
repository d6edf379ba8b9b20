#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "line_parts.h"
#include "rep_wait.h"

/* How late who sends finds out that it was called off. */
#define SLICE_MS 50
/* An envelope and what is in it go in one record up to this. */
#define JOIN_BYTES (16ULL << 10)

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

/* Until the socket takes something, or has failed. -ECANCELED. */
static int await_writable(const rep_line *line, const rep_wake *wake)
{
    struct pollfd writable = {.fd = line->fd, .events = POLLOUT};
    for (;;) {
        if (rep_wake_raised(wake))
            return -ECANCELED;
        int ready = poll(&writable, 1, SLICE_MS);
        if (ready > 0)
            return 0;
        if (ready < 0 && errno != EINTR)
            return -errno;
    }
}

/* `torn`: a part has gone before. */
static int send_plain(rep_line *line, struct iovec *pieces, size_t count, const rep_wake *wake,
                      bool torn)
{
    struct msghdr message = {.msg_iov = pieces, .msg_iovlen = count};
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

/* Sends what was encrypted. If not all of it goes, nothing that comes after could be decrypted. */
static int send_encrypted(rep_line *line, const rep_wake *wake)
{
    const uint8_t *at;
    uint64_t length = rep_tls_encrypted(line->tls, &at);
    struct iovec piece = {(void *)(uintptr_t)at, length};
    int rc = send_plain(line, &piece, 1, wake, true);
    rep_tls_sent(line->tls);
    if (rc)
        note_ended(line);
    return rc;
}

/* Encrypts as much of a buffer as there is room for, and sends what fills that. */
static int send_buffer(rep_line *line, const struct iovec *buffer, const rep_wake *wake)
{
    const uint8_t *at = buffer->iov_base;
    uint64_t left = buffer->iov_len;
    while (left) {
        const uint8_t *begin;
        uint64_t used = rep_tls_encrypted(line->tls, &begin);
        if (used >= REP_TLS_PIECE_BYTES) {
            int rc = send_encrypted(line, wake);
            if (rc)
                return rc;
            used = 0;
        }
        uint64_t room = REP_TLS_PIECE_BYTES - used;
        uint64_t length = left < room ? left : room;
        int rc = rep_tls_encrypt(line->tls, at, length);
        if (rc) {
            note_ended(line);
            return rc;
        }
        at += length;
        left -= length;
    }
    return 0;
}

static int send_secured(rep_line *line, const struct iovec *pieces, size_t count,
                        const rep_wake *wake)
{
    uint8_t joined[JOIN_BYTES];
    /* What is encrypted has to go: before that is when it can be called off. */
    int rc = wake ? await_writable(line, wake) : 0;
    if (!rc && count == 2 && pieces[0].iov_len + pieces[1].iov_len <= JOIN_BYTES) {
        struct iovec both = {joined, pieces[0].iov_len + pieces[1].iov_len};
        memcpy(joined, pieces[0].iov_base, pieces[0].iov_len);
        memcpy(joined + pieces[0].iov_len, pieces[1].iov_base, pieces[1].iov_len);
        rc = send_buffer(line, &both, wake);
        count = 0;
    }
    for (size_t i = 0; !rc && i < count; i++)
        rc = send_buffer(line, &pieces[i], wake);
    return rc ? rc : send_encrypted(line, wake);
}

/* By who is sending. `wake`: NULL when it isn't to be called off. */
static int send_pieces(rep_line *line, struct iovec *pieces, size_t count, const rep_wake *wake)
{
    if (has_ended(line))
        return -EPIPE;
    return line->tls ? send_secured(line, pieces, count, wake)
                     : send_plain(line, pieces, count, wake, false);
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
