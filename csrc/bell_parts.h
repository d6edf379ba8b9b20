/* A bell: what one thread waits for by itself, rung once. Not a public header.
 *
 * A condition wakes everybody who waits at it, one after the other into one mutex; of sixteen who
 * wait for acknowledgements fifteen may have nothing to do. A bell is its waiter's own: whoever has
 * its answer sets it with the lock held that guards the list of waiters, and rings when that is
 * released; the waiter takes no lock on its way out.
 */
#ifndef REP_BELL_PARTS_H
#define REP_BELL_PARTS_H

#include <stdatomic.h>
#include <stdint.h>

#include "rep_wait.h"

/* 0: silent. Lives on its waiter's stack. */
typedef _Atomic uint32_t rep_bell;

/* Bells that were set and are to be rung. */
#define REP_BELLS 64
typedef struct rep_bells {
    int count;
    rep_bell *all[REP_BELLS];
} rep_bells;

/* Waits until `bell` is set: 0; -ETIMEDOUT; -ECANCELED, when `wake` (may be NULL) is raised, which is
 * seen within 50 ms. */
int rep_bell_wait(rep_bell *bell, uint64_t deadline_ns, rep_wake *wake);
/* Sets it to `answer`, not 0. From then on its waiter may be gone, and its memory be another's. */
void rep_bell_set(rep_bells *bells, rep_bell *bell, uint32_t answer);
/* Wakes those who wait for the bells that were set, in order. */
void rep_bells_ring(rep_bells *bells);

#endif
