#include "rep_door.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "parts.h"
#include "rep_ship.h"

/* `state`: who is inside, in steps of INSIDE, and whether it is shut. In one word, so that whoever
 * leaves knows, as he is counted out, whether somebody may be waiting to free the door. */
#define SHUT 1ULL
#define INSIDE 2ULL

struct rep_door {
    rep_volume *volume;
    _Atomic uint64_t state;
    pthread_mutex_t mutex; /* for `left` alone: coming and going takes no lock while it is open */
    pthread_cond_t left;
};

int rep_door_new(rep_volume *volume, rep_door **out)
{
    rep_door *door = calloc(1, sizeof *door);
    if (!door)
        return -ENOMEM;
    door->volume = volume;
    int failed = pthread_mutex_init(&door->mutex, NULL);
    if (failed) {
        free(door);
        return -failed;
    }
    int rc = rep_wait_cond_init(&door->left);
    if (rc) {
        pthread_mutex_destroy(&door->mutex);
        free(door);
        return rc;
    }
    *out = door;
    return 0;
}

void rep_door_free(rep_door *door)
{
    if (!door)
        return;
    pthread_cond_destroy(&door->left);
    pthread_mutex_destroy(&door->mutex);
    free(door);
}

int rep_door_enter(rep_door *door)
{
    if (!(atomic_fetch_add(&door->state, INSIDE) & SHUT))
        return 0;
    rep_door_leave(door);
    return -ECANCELED;
}

void rep_door_leave(rep_door *door)
{
    uint64_t state = atomic_load(&door->state);
    while (!(state & SHUT))
        if (atomic_compare_exchange_weak(&door->state, &state, state - INSIDE))
            return; /* the door may be gone by now */
    /* Counted out with the mutex held: whoever waits for that can't look, and free it, before. */
    pthread_mutex_lock(&door->mutex);
    atomic_fetch_sub(&door->state, INSIDE);
    pthread_cond_broadcast(&door->left);
    pthread_mutex_unlock(&door->mutex);
}

int rep_door_shut(rep_door *door, uint64_t deadline_ns)
{
    int rc = 0;
    atomic_fetch_or(&door->state, SHUT);
    pthread_mutex_lock(&door->mutex);
    while (!rc && atomic_load(&door->state) >= INSIDE)
        rc = rep_wait_on(&door->left, &door->mutex, deadline_ns, NULL);
    pthread_mutex_unlock(&door->mutex);
    return rc;
}

void rep_door_open(rep_door *door)
{
    atomic_fetch_and(&door->state, ~SHUT);
}

int rep_door_pread(rep_door *door, void *buffer, uint64_t length, uint64_t offset)
{
    int rc = rep_door_enter(door);
    if (rc)
        return rc;
    rc = rep_volume_pread(door->volume, buffer, length, offset);
    rep_door_leave(door);
    return rc;
}

int rep_door_pwrite(rep_door *door, const void *buffer, uint64_t length, uint64_t offset,
                    uint64_t token)
{
    int rc = rep_door_enter(door);
    if (rc)
        return rc;
    rc = rep_volume_pwrite_at_once(door->volume, buffer, length, offset, token);
    rep_door_leave(door);
    return rc;
}

static void ticket_empty(rep_ticket *ticket)
{
    ticket->count = 0;
    ticket->unmirrored = 0;
    ticket->awaited = 0;
}

static int await_answers(rep_ticket *ticket, uint64_t deadline_ns, rep_wake *wake)
{
    for (int i = 0; i < ticket->count; i++)
        if (!rep_stream_is_carried(ticket->entries[i].stream))
            return 0;
    int rc = rep_ticket_wait(ticket, deadline_ns, wake);
    return ticket->count ? 0 : rc; /* else whoever goes on waiting is told again */
}

int rep_door_pwrite_on(rep_door *door, const void *buffer, uint64_t length, uint64_t offset,
                       uint64_t token, uint64_t deadline_ns, rep_wake *wake, rep_ticket *ticket,
                       uint64_t *done)
{
    int rc = rep_door_enter(door);
    *done = 0;
    if (rc)
        return rc;
    rc = rep_volume_pwrite(door->volume, buffer, length, offset, token, deadline_ns, wake, ticket,
                           done);
    if (!rc && ticket->count)
        rc = await_answers(ticket, deadline_ns, wake);
    rep_door_leave(door);
    return rc;
}

int rep_door_pwrite_begin(rep_door *door, const void *buffer, uint64_t length, uint64_t offset,
                          uint64_t token, uint64_t patience_ns, rep_wake *wake, rep_ticket *ticket,
                          uint64_t *done)
{
    ticket_empty(ticket);
    int rc = rep_door_pwrite_on(door, buffer, length, offset, token, rep_now_ns() + patience_ns,
                                wake, ticket, done);
    if (rc)
        return rc;
    if (ticket->count)
        return -EINPROGRESS;
    return ticket->awaited ? 0 : REP_DOOR_AT_ONCE;
}

int rep_door_flush(rep_door *door, rep_ticket *ticket)
{
    ticket_empty(ticket);
    int rc = rep_door_enter(door);
    if (rc)
        return rc;
    rc = rep_volume_flush(door->volume, ticket);
    rep_door_leave(door);
    return !rc && ticket->count ? -EINPROGRESS : rc;
}
