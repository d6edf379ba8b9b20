/* path_rig: a remote pair, and sockets between its two sides that pumps carry. */
#ifndef PATH_RIG_H
#define PATH_RIG_H

#include <sys/socket.h>

#include "rep_envelope.h"
#include "rep_line.h"
#include "rep_pump.h"
#include "rep_wire.h"
#include "rig.h"
#include "tls_rig.h"

#define SIZE (16 * CHUNK)
#define BOTH (REP_ENVELOPE_BYTES + REP_NUMBERS_BYTES)

enum { NEAR, FAR };

/* A remote pair, and a connection: a data and a control line with two ends each. */
typedef struct path {
    remote remote;
    int data_fds[2];
    int control_fds[2];
    rep_line *data[2];
    rep_line *control[2];
    rep_tls *data_tls[2]; /* NULL: not secured */
    rep_tls *control_tls[2];
    rep_wake *wake;
} path;

/* Whether paths are made over TLS. */
static bool path_is_secured;

#define RUN_PLAIN_AND_SECURED(test)                                                                \
    do {                                                                                           \
        path_is_secured = false;                                                                   \
        RUN(test);                                                                                 \
        path_is_secured = true;                                                                    \
        RUN(test);                                                                                 \
    } while (0)

static inline void connect_pair(int fds[2], rep_line *lines[2], rep_tls *tls[2])
{
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    if (path_is_secured)
        tls_agree(tls);
    for (int end = NEAR; end <= FAR; end++) {
        CHECK_OK(rep_line_new(fds[end], &lines[end]));
        if (path_is_secured)
            rep_line_secure(lines[end], tls[end]);
    }
}

static inline path path_new(int ack)
{
    path p = {.remote = remote_new(SIZE, ack)};
    connect_pair(p.data_fds, p.data, p.data_tls);
    connect_pair(p.control_fds, p.control, p.control_tls);
    CHECK_OK(rep_wake_new(&p.wake));
    CHECK_OK(rep_stream_carry(p.remote.stream, p.data[NEAR]));
    return p;
}

static inline void path_cut(path *p)
{
    shutdown(p->data_fds[NEAR], SHUT_RDWR);
    shutdown(p->control_fds[NEAR], SHUT_RDWR);
}

static inline void path_free(path *p)
{
    remote_free(&p->remote);
    for (int end = NEAR; end <= FAR; end++) {
        rep_line_end(p->data[end]);
        rep_line_end(p->control[end]);
        close(p->data_fds[end]);
        close(p->control_fds[end]);
        rep_line_free(p->data[end]);
        rep_line_free(p->control[end]);
        rep_tls_free(p->data_tls[end]);
        rep_tls_free(p->control_tls[end]);
    }
    rep_wake_free(p->wake);
}

static inline int pump_frames(path *p, rep_pump *left)
{
    return rep_pump_frames(p->data[FAR], p->control[FAR], &p->remote.apply, 1, p->wake, left);
}

static inline int pump_numbers(path *p, rep_pump *left)
{
    return rep_pump_numbers(p->control[NEAR], &p->remote.stream, 1, left);
}

static inline void *receive_frames(void *argument)
{
    rep_pump left;
    CHECK_ERRNO(pump_frames(argument, &left), EPIPE);
    return NULL;
}

static inline void *receive_numbers(void *argument)
{
    rep_pump left;
    CHECK_ERRNO(pump_numbers(argument, &left), EPIPE);
    return NULL;
}

/* Both sides receive, each in a thread of its own, until the path is cut. */
typedef struct receivers {
    pthread_t frames;
    pthread_t numbers;
} receivers;

static inline receivers path_receive(path *p)
{
    return (receivers){thread_start(receive_frames, p), thread_start(receive_numbers, p)};
}

/* Cuts the path, ends who receives, and frees it. */
static inline void path_end(path *p, receivers r)
{
    path_cut(p);
    thread_join(r.frames);
    thread_join(r.numbers);
    path_free(p);
}

static inline void *send_frames(void *argument)
{
    path *p = argument;
    CHECK_ERRNO(rep_stream_pump(p->remote.stream, p->wake), ECANCELED);
    return NULL;
}

/* A host writes and waits. */
static inline void write_and_wait(path *p, uint64_t chunk, int byte)
{
    uint8_t buffer[CHUNK];
    rep_ticket ticket = {0};
    uint64_t done;
    memset(buffer, byte, sizeof buffer);
    CHECK_OK(rep_volume_pwrite(p->remote.source.volume, buffer, sizeof buffer, chunk * CHUNK, 0,
                               REP_NO_DEADLINE, NULL, &ticket, &done));
    CHECK_EQ(ticket.count, 1);
    CHECK_OK(rep_ticket_wait(&ticket, REP_NO_DEADLINE, NULL));
    CHECK_EQ(ticket.count, 0);
}

static inline rep_numbers next_numbers(path *p)
{
    uint8_t bytes[BOTH];
    rep_envelope envelope;
    rep_numbers numbers;
    CHECK_OK(rep_line_fill(p->control[NEAR], bytes, sizeof bytes));
    CHECK_OK(rep_envelope_get(bytes, &envelope));
    CHECK_EQ(envelope.kind, REP_ENVELOPE_NUMBERS);
    CHECK_OK(rep_numbers_get(bytes + REP_ENVELOPE_BYTES, &numbers));
    return numbers;
}

static inline bool has_numbers(const path *p)
{
    uint8_t byte;
    return recv(p->control_fds[NEAR], &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
}

/* What the socket still takes, so that whoever sends has to wait. */
static inline void clog_up(const path *p)
{
    uint8_t bytes[4096] = {0};
    while (send(p->data_fds[NEAR], bytes, sizeof bytes, MSG_DONTWAIT) > 0)
        continue;
}

#endif
