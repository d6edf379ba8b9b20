/* A pump whose thread the machine keeps from running, just when it has looked at the clock. */
#include <sched.h>

#include "path_rig.h"

/* NOLINTBEGIN(cert-dcl51-cpp,misc-use-internal-linkage): the linker's names, from --wrap */
uint64_t __real_rep_now_ns(void);
uint64_t __wrap_rep_now_ns(void);
/* NOLINTEND(cert-dcl51-cpp,misc-use-internal-linkage) */

/* By as much as it was away for, what it has read is of the past when it waits (rep_wait.c looks for
 * itself). Longer than any pause of the pump's own. */
#define AWAY_NS 20000000ULL

uint64_t __wrap_rep_now_ns(void)
{
    return __real_rep_now_ns() - AWAY_NS;
}

static void a_pump_that_was_kept_away_while_it_lingered_goes_on(void)
{
    path p = path_new(REP_ACK_QUEUED);
    receivers ends = path_receive(&p);
    pthread_t sender = thread_start(send_frames, &p);
    for (unsigned i = 0; i < 40; i++) {
        CHECK_OK(put_chunk(p.remote.source, i % 16, (int)i + 1));
        while (stream_info(p.remote.stream).received <= i)
            sched_yield();
    }
    CHECK(volumes_equal(p.remote.source, p.remote.target));
    rep_wake_raise(p.wake);
    thread_join(sender);
    path_end(&p, ends);
}

int main(void)
{
    RUN_PLAIN_AND_SECURED(a_pump_that_was_kept_away_while_it_lingered_goes_on);
    return 0;
}
