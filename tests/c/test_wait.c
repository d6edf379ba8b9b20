#include <errno.h>
#include <pthread.h>

#include "check.h"
#include "rep_wait.h"

typedef struct bed {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    rep_wake *wake;
    int result;
} bed;

static void bed_make(bed *b)
{
    CHECK_EQ(pthread_mutex_init(&b->mutex, NULL), 0);
    CHECK_EQ(rep_wait_cond_init(&b->cond), 0);
    CHECK_EQ(rep_wake_new(&b->wake), 0);
    b->result = 1;
}

static void bed_clear(bed *b)
{
    rep_wake_free(b->wake);
    pthread_cond_destroy(&b->cond);
    pthread_mutex_destroy(&b->mutex);
}

static int wait_once(bed *b, uint64_t deadline_ns, rep_wake *wake)
{
    pthread_mutex_lock(&b->mutex);
    int rc = rep_wait_on(&b->cond, &b->mutex, deadline_ns, wake);
    pthread_mutex_unlock(&b->mutex);
    return rc;
}

/* As every user does: until the condition is true, or the wait is over. */
static void *wait_until_cancelled(void *argument)
{
    bed *b = argument;
    int rc = 0;
    pthread_mutex_lock(&b->mutex);
    while (!rc)
        rc = rep_wait_on(&b->cond, &b->mutex, REP_NO_DEADLINE, b->wake);
    pthread_mutex_unlock(&b->mutex);
    b->result = rc;
    return NULL;
}

static void a_deadline_that_is_over_ends_a_wait_at_once(void)
{
    bed b;
    bed_make(&b);
    CHECK_EQ(wait_once(&b, 0, NULL), -ETIMEDOUT);
    CHECK_EQ(wait_once(&b, rep_now_ns(), b.wake), -ETIMEDOUT);
    bed_clear(&b);
}

static void a_wait_ends_at_its_deadline(void)
{
    bed b;
    bed_make(&b);
    uint64_t deadline_ns = rep_now_ns() + 1000000;
    int rc = 0;
    while (!rc)
        rc = wait_once(&b, deadline_ns, b.wake);
    CHECK_EQ(rc, -ETIMEDOUT);
    CHECK(rep_now_ns() >= deadline_ns);
    bed_clear(&b);
}

static void a_raised_handle_ends_a_wait_at_once(void)
{
    bed b;
    bed_make(&b);
    rep_wake_raise(b.wake);
    CHECK_EQ(rep_wake_raised(b.wake), 1);
    CHECK_EQ(wait_once(&b, REP_NO_DEADLINE, b.wake), -ECANCELED);
    CHECK_EQ(wait_once(&b, REP_NO_DEADLINE, b.wake), -ECANCELED);
    bed_clear(&b);
}

static void a_handle_that_was_reset_lets_waits_go_on(void)
{
    bed b;
    bed_make(&b);
    rep_wake_raise(b.wake);
    rep_wake_reset(b.wake);
    CHECK_EQ(rep_wake_raised(b.wake), 0);
    CHECK_EQ(wait_once(&b, 0, b.wake), -ETIMEDOUT);
    bed_clear(&b);
}

static void one_handle_ends_several_waits(void)
{
    bed beds[3];
    pthread_t threads[3];
    rep_wake *shared;
    CHECK_EQ(rep_wake_new(&shared), 0);
    for (int i = 0; i < 3; i++) {
        bed_make(&beds[i]);
        rep_wake_free(beds[i].wake);
        beds[i].wake = shared;
        CHECK_EQ(pthread_create(&threads[i], NULL, wait_until_cancelled, &beds[i]), 0);
    }
    rep_wake_raise(shared);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
        CHECK_EQ(beds[i].result, -ECANCELED);
        beds[i].wake = NULL;
        bed_clear(&beds[i]);
    }
    rep_wake_free(shared);
}

int main(void)
{
    RUN(a_deadline_that_is_over_ends_a_wait_at_once);
    RUN(a_wait_ends_at_its_deadline);
    RUN(a_raised_handle_ends_a_wait_at_once);
    RUN(a_handle_that_was_reset_lets_waits_go_on);
    RUN(one_handle_ends_several_waits);
    return 0;
}
