/* copy_parts: what rep_copy.c (who copies what), rep_copy_region.c (how data is sent) and
 * rep_copy_hole.c (what needn't be) know of each other. Not a public header. */
#ifndef COPY_PARTS_H
#define COPY_PARTS_H

#include <pthread.h>
#include <stdbool.h>

#include "parts.h"
#include "rep_copy.h"

/* One pass each. Larger regions keep writers out for longer, smaller ones take a pass more often. A
 * power of two, at least the largest chunk. */
#define REP_REGION_BYTES (1ULL << 20)
/* Where a hole begins and ends is rounded to this: bounds how many pieces a region falls into. */
#define REP_HOLE_GRAIN 4096ULL

typedef struct rep_copy_worker {
    uint8_t
        *buffer; /* REP_REGION_BYTES, on a page: the kernel copies to odd addresses at a third */
    /* The source had data here. It may be a hole by now; that is found by its zeros. Holes aren't
     * remembered beyond a pass: somebody may write there. INV-1. */
    uint64_t data_from;
    uint64_t data_until;
    rep_room room;
    rep_hold hold;
    rep_copy_progress *progress;
} rep_copy_worker;

struct rep_copier {
    rep_link *link;
    pthread_mutex_t mutex; /* who deals; outside every other lock */
    uint64_t cursor;       /* chunk: everything before it is dealt */
    _Atomic int busy;      /* regions dealt and not yet done; changed under the mutex */
    bool target_flushed;
    /* The link's duty, plus one, under which whatever is pending was never sent to a target that was
     * blank; 0: nobody knows. */
    _Atomic uint64_t blank_duty;
    uint64_t blank_left; /* the link's `left_behind` then */
    int worker_count;
    rep_copy_worker workers[];
};

/* Copies what is pending in [offset, offset+length), a part of one region. As rep_copier_run. */
int rep_copy_region(rep_copier *copier, rep_copy_worker *worker, uint64_t offset, uint64_t length,
                    uint64_t deadline_ns, rep_wake *wake);
/* If the source has a hole from the pending chunk `first` on: skips or zeroes it. 1: something was
 * done, or should be tried again; 0: there is no hole; as rep_copier_run. Under the copier's mutex. */
int rep_copy_hole(rep_copier *copier, rep_copy_worker *worker, uint64_t first, uint64_t deadline_ns,
                  rep_wake *wake);

/* Inside a pass: whether what is pending reads as zeros at the target. */
static inline bool rep_copy_onto_blank(const rep_copier *copier)
{
    uint64_t duty = atomic_load(&copier->blank_duty);
    return duty && copier->link->duty + 1 == duty
           && atomic_load(&copier->link->left_behind) == copier->blank_left;
}
/* Inside a pass: sends zeros, unless the target has them already. */
int rep_copy_send_zeros(rep_copier *copier, rep_copy_worker *worker, uint64_t offset,
                        uint64_t length);
int rep_copy_send(rep_link *link, rep_copy_worker *worker, uint8_t type, const uint8_t *data,
                  uint64_t offset, uint64_t length);
/* Inside a pass: what was sent leaves P and is in U. */
int rep_copy_sent(rep_link *link, uint64_t first, uint64_t count);
/* The source's first data at or after `offset`, before `end`; `end` when all of it is a hole.
 * Remembers how far the data goes. */
int rep_copy_next_data(rep_link *link, rep_copy_worker *worker, uint64_t offset, uint64_t end,
                       uint64_t *data);

#endif
