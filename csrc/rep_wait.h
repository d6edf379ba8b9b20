/* rep_wait: deadlines and wake handles for everything in the core that may wait.
 *
 * A deadline is an absolute CLOCK_MONOTONIC time in nanoseconds; REP_NO_DEADLINE waits for ever.
 * A wake handle lets another thread end a wait early (Ctrl-C, cancel, close): the wait returns
 * -ECANCELED. One handle may serve several waits at once. A raised handle stays raised until reset.
 */
#ifndef REP_WAIT_H
#define REP_WAIT_H

#include <pthread.h>
#include <stdint.h>

#include "rep_api.h"

REP_API_BEGIN

#define REP_NO_DEADLINE UINT64_MAX

/* cdef:begin */
typedef struct rep_wake rep_wake;

/* Nanoseconds of CLOCK_MONOTONIC. Any thread. */
uint64_t rep_now_ns(void);
/* Makes a lowered handle. -ENOMEM. */
int rep_wake_new(rep_wake **out);
/* Frees a handle; no wait may use it any more. NULL is allowed. */
void rep_wake_free(rep_wake *wake);
/* Ends every wait that uses the handle, now and later, with -ECANCELED. Any thread. */
void rep_wake_raise(rep_wake *wake);
/* Lowers the handle again. Any thread. */
void rep_wake_reset(rep_wake *wake);
/* 1 when raised. Any thread. */
int rep_wake_raised(const rep_wake *wake);
/* cdef:end */

/* Initialises a condition variable on CLOCK_MONOTONIC, as rep_wait_on needs it. Negative errno. */
int rep_wait_cond_init(pthread_cond_t *cond);

/* Waits once on `cond`, whose `mutex` the caller holds, and returns with it held.
 * 0 when woken (perhaps spuriously: the caller tests its condition again), -ETIMEDOUT past the
 * deadline, -ECANCELED when `wake` (may be NULL) is raised. */
int rep_wait_on(pthread_cond_t *cond, pthread_mutex_t *mutex, uint64_t deadline_ns, rep_wake *wake);

REP_API_END

#endif
