#include "bell_parts.h"
#include "check.h"

#include <errno.h>
#include <pthread.h>

typedef struct sleeper {
    rep_bell bell;
    rep_wake *wake;
    int result;
    pthread_t thread;
} sleeper;

static void *sleep_at(void *argument)
{
    sleeper *s = argument;
    s->result = rep_bell_wait(&s->bell, REP_NO_DEADLINE, s->wake);
    return NULL;
}

static void sleeper_start(sleeper *s, rep_wake *wake)
{
    atomic_init(&s->bell, 0);
    s->wake = wake;
    s->result = 1;
    CHECK_EQ(pthread_create(&s->thread, NULL, sleep_at, s), 0);
}

static void sleeper_end(sleeper *s, int result)
{
    CHECK_EQ(pthread_join(s->thread, NULL), 0);
    CHECK_EQ(s->result, result);
}

static void a_bell_that_was_set_before_is_not_waited_for(void)
{
    rep_bells bells = {.count = 0};
    rep_bell bell = 0;
    rep_bell_set(&bells, &bell, 7);
    CHECK_EQ(rep_bell_wait(&bell, 0, NULL), 0);
    CHECK_EQ(atomic_load(&bell), 7);
    rep_bells_ring(&bells); /* nobody is there any more */
}

static void a_deadline_that_is_over_ends_the_wait(void)
{
    rep_bell bell = 0;
    uint64_t deadline_ns = rep_now_ns() + 1000000;
    CHECK_EQ(rep_bell_wait(&bell, 0, NULL), -ETIMEDOUT);
    CHECK_EQ(rep_bell_wait(&bell, deadline_ns, NULL), -ETIMEDOUT);
    CHECK(rep_now_ns() >= deadline_ns);
}

static void a_raised_handle_ends_a_wait_that_nobody_rings_for(void)
{
    rep_wake *wake;
    sleeper s;
    CHECK_EQ(rep_wake_new(&wake), 0);
    sleeper_start(&s, wake);
    rep_wake_raise(wake);
    sleeper_end(&s, -ECANCELED);
    rep_wake_free(wake);
}

/* Without a handle or a deadline that would end their waits: each is rung for, and no other. */
static void of_more_sleepers_than_are_rung_for_at_once_each_wakes(void)
{
    enum { COUNT = REP_BELLS + 9 };
    static sleeper sleepers[COUNT];
    sleeper other;
    rep_wake *wake;
    rep_bells bells = {.count = 0};
    CHECK_EQ(rep_wake_new(&wake), 0);
    sleeper_start(&other, wake);
    for (int i = 0; i < COUNT; i++)
        sleeper_start(&sleepers[i], NULL);
    for (int i = 0; i < COUNT; i++)
        rep_bell_set(&bells, &sleepers[i].bell, 1);
    rep_bells_ring(&bells);
    for (int i = 0; i < COUNT; i++)
        sleeper_end(&sleepers[i], 0);
    rep_wake_raise(wake);
    sleeper_end(&other, -ECANCELED);
    rep_wake_free(wake);
}

int main(void)
{
    RUN(a_bell_that_was_set_before_is_not_waited_for);
    RUN(a_deadline_that_is_over_ends_the_wait);
    RUN(a_raised_handle_ends_a_wait_that_nobody_rings_for);
    RUN(of_more_sleepers_than_are_rung_for_at_once_each_wakes);
    return 0;
}
