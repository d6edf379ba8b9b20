/* The echo of ceilings_path.c with hosts that are threads of the caller: each call writes here, sends,
 * and sleeps until it is answered. What any design costs that is called so, whatever it does. */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define OUTSTANDING_MAX 64U

typedef struct hosts {
    int sock;
    int source;
    pthread_mutex_t sending;
    uint64_t sent;
    sem_t answered[OUTSTANDING_MAX];
} hosts;

hosts *ceiling_hosts_new(int sock, int source)
{
    hosts *h = calloc(1, sizeof *h);
    if (!h || pthread_mutex_init(&h->sending, NULL))
        abort();
    h->sock = sock;
    h->source = source;
    for (unsigned i = 0; i < OUTSTANDING_MAX; i++)
        if (sem_init(&h->answered[i], 0, 0))
            abort();
    return h;
}

void ceiling_hosts_free(hosts *h)
{
    for (unsigned i = 0; i < OUTSTANDING_MAX; i++)
        (void)sem_destroy(&h->answered[i]);
    (void)pthread_mutex_destroy(&h->sending);
    free(h);
}

/* One host's write. At most OUTSTANDING_MAX at once. */
int ceiling_hosts_write(hosts *h, const void *data, uint64_t length, uint64_t offset)
{
    if (pwrite(h->source, data, length, (off_t)offset) != (ssize_t)length)
        return -EIO;
    /* sendmsg only reads; its struct has no const. */
    struct iovec pieces[2] = {{&offset, sizeof offset}, {(void *)(uintptr_t)data, length}};
    struct msghdr message = {.msg_iov = pieces, .msg_iovlen = 2};
    pthread_mutex_lock(&h->sending);
    sem_t *answered = &h->answered[h->sent++ % OUTSTANDING_MAX];
    ssize_t sent = sendmsg(h->sock, &message, MSG_NOSIGNAL);
    pthread_mutex_unlock(&h->sending);
    if (sent != (ssize_t)(sizeof offset + length))
        return -EIO;
    while (sem_wait(answered))
        if (errno != EINTR)
            return -errno;
    return 0;
}

/* Takes the answers to `count` writes, in a thread of its own. */
int ceiling_hosts_hear(hosts *h, uint64_t count)
{
    for (uint64_t done = 0; done < count;) {
        uint32_t more = 0;
        if (recv(h->sock, &more, sizeof more, MSG_WAITALL) != (ssize_t)sizeof more)
            return -EPIPE;
        for (; more; more--, done++)
            if (sem_post(&h->answered[done % OUTSTANDING_MAX]))
                return -errno;
    }
    return 0;
}
