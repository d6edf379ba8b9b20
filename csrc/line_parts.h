/* What the files of rep_line share. */
#ifndef LINE_PARTS_H
#define LINE_PARTS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "rep_line.h"
#include "rep_tls.h"

struct rep_line {
    int fd;
    rep_tls *tls;          /* NULL: what is sent and received goes as it is */
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

#endif
