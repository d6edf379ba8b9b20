#include "rep_wait.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#define NS_PER_S 1000000000ULL
/* A raise that falls between a waiter's test of the flag and its sleep is missed by the broadcast;
 * sleeping in slices bounds what that costs. */
#define SLICE_NS (50ULL * 1000 * 1000)

typedef struct waiter {
    pthread_cond_t *cond;
    struct waiter *next;
} waiter;

struct rep_wake {
    atomic_bool raised;
    pthread_mutex_t mutex; /* guards `waiters`; nothing else is locked while it is held */
    waiter *waiters;
};

uint64_t rep_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

int rep_wake_new(rep_wake **out)
{
    rep_wake *wake = calloc(1, sizeof *wake);
    if (!wake)
        return -ENOMEM;
    int failed = pthread_mutex_init(&wake->mutex, NULL);
    if (failed) {
        free(wake);
        return -failed;
    }
    *out = wake;
    return 0;
}

void rep_wake_free(rep_wake *wake)
{
    if (!wake)
        return;
    pthread_mutex_destroy(&wake->mutex);
    free(wake);
}

void rep_wake_raise(rep_wake *wake)
{
    atomic_store(&wake->raised, true);
    pthread_mutex_lock(&wake->mutex);
    for (waiter *w = wake->waiters; w; w = w->next)
        pthread_cond_broadcast(w->cond);
    pthread_mutex_unlock(&wake->mutex);
}

void rep_wake_reset(rep_wake *wake)
{
    atomic_store(&wake->raised, false);
}

int rep_wake_raised(const rep_wake *wake)
{
    return atomic_load(&wake->raised) ? 1 : 0;
}

int rep_wait_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attributes;
    int failed = pthread_condattr_init(&attributes);
    if (failed)
        return -failed;
    failed = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    if (!failed)
        failed = pthread_cond_init(cond, &attributes);
    pthread_condattr_destroy(&attributes);
    return -failed;
}

static void enlist(rep_wake *wake, waiter *self)
{
    pthread_mutex_lock(&wake->mutex);
    self->next = wake->waiters;
    wake->waiters = self;
    pthread_mutex_unlock(&wake->mutex);
}

static void delist(rep_wake *wake, const waiter *self)
{
    pthread_mutex_lock(&wake->mutex);
    waiter **link = &wake->waiters;
    while (*link != self)
        link = &(*link)->next;
    *link = self->next;
    pthread_mutex_unlock(&wake->mutex);
}

int rep_wait_on(pthread_cond_t *cond, pthread_mutex_t *mutex, uint64_t deadline_ns, rep_wake *wake)
{
    if (wake && rep_wake_raised(wake))
        return -ECANCELED;
    uint64_t now = rep_now_ns();
    if (deadline_ns != REP_NO_DEADLINE && now >= deadline_ns)
        return -ETIMEDOUT;
    if (!wake && deadline_ns == REP_NO_DEADLINE)
        return -pthread_cond_wait(cond, mutex);

    uint64_t until = now + SLICE_NS;
    if (!wake || until > deadline_ns)
        until = deadline_ns;
    struct timespec at = {.tv_sec = (time_t)(until / NS_PER_S),
                          .tv_nsec = (long)(until % NS_PER_S)};
    waiter self = {.cond = cond};
    if (wake)
        enlist(wake, &self);
    int failed = pthread_cond_timedwait(cond, mutex, &at);
    if (wake)
        delist(wake, &self);
    /* The caller tests its condition first and comes back here; then the clock decides. */
    return failed == ETIMEDOUT ? 0 : -failed;
}
