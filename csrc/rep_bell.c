#include "bell_parts.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000ULL
/* Nobody rings when a handle is raised: joining its list of waiters would be two locks for each
 * wait, against a cancellation that comes this much later. */
#define SLICE_NS (50ULL * 1000 * 1000)

int rep_bell_wait(rep_bell *bell, uint64_t deadline_ns, rep_wake *wake)
{
    while (!atomic_load_explicit(bell, memory_order_acquire)) {
        uint64_t now = rep_now_ns();
        if (wake && rep_wake_raised(wake))
            return -ECANCELED;
        if (now >= deadline_ns)
            return -ETIMEDOUT;
        uint64_t until = wake && deadline_ns - now > SLICE_NS ? now + SLICE_NS : deadline_ns;
        struct timespec at = {.tv_sec = (time_t)(until / NS_PER_S),
                              .tv_nsec = (long)(until % NS_PER_S)};
        /* Whatever it answers (rung, interrupted, too late), the bell is looked at. */
        (void)syscall(SYS_futex, bell, FUTEX_WAIT_BITSET_PRIVATE, 0,
                      until == REP_NO_DEADLINE ? NULL : &at, NULL, FUTEX_BITSET_MATCH_ANY);
    }
    return 0;
}

void rep_bell_set(rep_bells *bells, rep_bell *bell, uint32_t answer)
{
    if (bells->count == REP_BELLS)
        rep_bells_ring(bells);
    bells->all[bells->count++] = bell;
    atomic_store_explicit(bell, answer, memory_order_release);
}

void rep_bells_ring(rep_bells *bells)
{
    /* An address only: what has become of a bell whose waiter has seen it already is woken for
     * nothing, or isn't there, which the kernel says and nobody needs to know. */
    for (int i = 0; i < bells->count; i++)
        (void)syscall(SYS_futex, bells->all[i], FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    bells->count = 0;
}
