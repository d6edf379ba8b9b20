/* Ceilings of the path between two systems: one TCP connection between two processes. The caller
 * makes the connection and sets TCP_NODELAY; each function has it for itself until it returns. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PAGE_BYTES 4096
#define SEND_BYTES (1U << 20)
#define OUTSTANDING_MAX 64U

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int send_all(int sock, const void *data, uint64_t length)
{
    const char *at = data;
    while (length) {
        ssize_t sent = send(sock, at, length, MSG_NOSIGNAL);
        if (sent <= 0)
            return -errno;
        at += sent;
        length -= (uint64_t)sent;
    }
    return 0;
}

static int receive_all(int sock, void *data, uint64_t length)
{
    char *at = data;
    while (length) {
        ssize_t got = recv(sock, at, length, 0);
        if (got <= 0)
            return got ? -errno : -EPIPE;
        at += got;
        length -= (uint64_t)got;
    }
    return 0;
}

/* As long as a cache line: the kernel copies to odd addresses at a third. */
typedef struct run_header {
    uint64_t offset;
    uint64_t length; /* 0: the last one */
    uint64_t unused[6];
} run_header;

/* Runs of at most SEND_BYTES, sent by the MiB, headers and data in one buffer, into which they are
 * read. Returns nanoseconds until the other end says that they are durable there; *written until
 * all are written there. */
int64_t ceiling_send_runs(int sock, int source, const uint64_t *offsets, const uint64_t *lengths,
                          uint64_t count, int64_t *written)
{
    char *buffer = aligned_alloc(PAGE_BYTES, 2 * SEND_BYTES + PAGE_BYTES);
    if (!buffer)
        return -ENOMEM;
    int64_t start = now_ns();
    uint64_t used = 0;
    int rc = 0;
    for (uint64_t i = 0; !rc && i < count; i++) {
        run_header header = {offsets[i], lengths[i], {0}};
        memcpy(buffer + used, &header, sizeof header);
        used += sizeof header;
        if (pread(source, buffer + used, lengths[i], (off_t)offsets[i]) != (ssize_t)lengths[i])
            rc = -EIO;
        used += lengths[i];
        if (used >= SEND_BYTES) {
            rc = rc ? rc : send_all(sock, buffer, used);
            used = 0;
        }
    }
    run_header last = {0};
    memcpy(buffer + used, &last, sizeof last);
    rc = rc ? rc : send_all(sock, buffer, used + sizeof last);
    char answer;
    rc = rc ? rc : receive_all(sock, &answer, 1);
    *written = now_ns() - start;
    rc = rc ? rc : receive_all(sock, &answer, 1);
    int64_t took = now_ns() - start;
    free(buffer);
    return rc ? rc : took;
}

/* The other end: writes each run as soon as it is there; then one fdatasync. */
int64_t ceiling_receive_runs(int sock, int target)
{
    uint64_t room = 3 * (uint64_t)SEND_BYTES;
    char *buffer = aligned_alloc(PAGE_BYTES, room);
    if (!buffer)
        return -ENOMEM;
    uint64_t begin = 0;
    uint64_t end = 0;
    int rc = 0;
    while (!rc) {
        run_header header = {0, SEND_BYTES, {0}};
        if (end - begin >= sizeof header)
            memcpy(&header, buffer + begin, sizeof header);
        if (!header.length)
            break;
        if (end - begin >= sizeof header && end - begin - sizeof header >= header.length) {
            if (pwrite(target, buffer + begin + sizeof header, header.length, (off_t)header.offset)
                != (ssize_t)header.length)
                rc = -EIO;
            begin += sizeof header + header.length;
            continue;
        }
        if (room - begin < SEND_BYTES + sizeof header) {
            memmove(buffer, buffer + begin, end - begin);
            end -= begin;
            begin = 0;
        }
        ssize_t got = recv(sock, buffer + end, room - end, 0);
        if (got <= 0)
            rc = got ? -errno : -EPIPE;
        else
            end += (uint64_t)got;
    }
    rc = rc ? rc : send_all(sock, "w", 1);
    if (!rc && fdatasync(target))
        rc = -errno;
    rc = rc ? rc : send_all(sock, "d", 1);
    free(buffer);
    return rc;
}

/* One writer with `outstanding` writes on their way: each is written here and sent, and done when
 * the other end has answered. `took` gets the nanoseconds of each. A request is its offset and its
 * data, an answer how many more are done. Returns nanoseconds in all. */
int64_t ceiling_ask(int sock, int source, const char *data, uint64_t length,
                    const uint64_t *offsets, uint64_t count, uint64_t outstanding, uint64_t *took)
{
    char *request = malloc(sizeof(uint64_t) + length);
    if (!request || !outstanding || outstanding > OUTSTANDING_MAX) {
        free(request);
        return -EINVAL;
    }
    memcpy(request + sizeof(uint64_t), data, length);
    int64_t began[OUTSTANDING_MAX];
    int64_t start = now_ns();
    uint64_t sent = 0;
    uint64_t done = 0;
    int rc = 0;
    while (!rc && done < count) {
        while (!rc && sent < count && sent - done < outstanding) {
            began[sent % outstanding] = now_ns();
            if (pwrite(source, data, length, (off_t)offsets[sent]) != (ssize_t)length)
                rc = -EIO;
            memcpy(request, &offsets[sent], sizeof(uint64_t));
            rc = rc ? rc : send_all(sock, request, sizeof(uint64_t) + length);
            sent++;
        }
        uint32_t more = 0;
        rc = rc ? rc : receive_all(sock, &more, sizeof more);
        int64_t now = now_ns();
        for (; more && done < sent; more--, done++)
            took[done] = (uint64_t)(now - began[done % outstanding]);
    }
    int64_t all = now_ns() - start;
    free(request);
    return rc ? rc : all;
}

/* The other end: writes what has come, with `durable` one fdatasync for all of it, answers. */
int64_t ceiling_answer(int sock, int target, uint64_t length, uint64_t count, int durable)
{
    uint64_t request = sizeof(uint64_t) + length;
    char *buffer = malloc(request * OUTSTANDING_MAX);
    if (!buffer)
        return -ENOMEM;
    uint64_t used = 0;
    int rc = 0;
    while (!rc && count) {
        ssize_t got = recv(sock, buffer + used, request * OUTSTANDING_MAX - used, 0);
        if (got <= 0) {
            rc = got ? -errno : -EPIPE;
            break;
        }
        used += (uint64_t)got;
        uint32_t done = 0;
        for (; !rc && used - done * request >= request; done++) {
            uint64_t offset;
            memcpy(&offset, buffer + done * request, sizeof offset);
            if (pwrite(target, buffer + done * request + sizeof offset, length, (off_t)offset)
                != (ssize_t)length)
                rc = -EIO;
        }
        if (!done)
            continue;
        used -= done * request;
        memmove(buffer, buffer + done * request, used);
        if (!rc && durable && fdatasync(target))
            rc = -errno;
        rc = rc ? rc : send_all(sock, &done, sizeof done);
        count -= done;
    }
    free(buffer);
    return rc;
}
