/* Regions on their way into the activity log: who waits, which slots they get, one leader at a time. */
#include <errno.h>

#include "alog_parts.h"

/* A slot for a region: a free one, or the least recently used one that nobody references. */
static bool find_slot(rep_alog *log, rep_alog_move *move)
{
    for (;;) {
        uint32_t best = REP_ALOG_EMPTY;
        uint64_t oldest = UINT64_MAX;
        for (uint32_t i = 0; i < log->shape.slot_count; i++) {
            rep_alog_slot *slot = &log->slots[i];
            if (atomic_load_explicit(&slot->round, memory_order_relaxed) == log->round)
                continue;
            uint64_t used = slot->region == REP_ALOG_EMPTY
                                ? 0
                                : 1 + atomic_load_explicit(&slot->used, memory_order_relaxed);
            if (used < oldest) {
                oldest = used;
                best = i;
                if (!used)
                    break;
            }
        }
        if (best == REP_ALOG_EMPTY)
            return false;
        rep_alog_slot *slot = &log->slots[best];
        atomic_store_explicit(&slot->round, log->round, memory_order_relaxed);
        uint64_t idle = (uint64_t)(best + 1) << REP_ALOG_SLOT_SHIFT;
        /* From here on nobody gets in any more: a write to it waits for the next transaction. */
        if (slot->region == REP_ALOG_EMPTY
            || atomic_compare_exchange_strong(&log->regions[slot->region], &idle, 0)) {
            move->slot = best;
            move->left = slot->region;
            return true;
        }
    }
}

/* References the request's regions, as many as there are slots for. */
static void plan_request(rep_alog *log, rep_alog_request *request)
{
    for (; request->next < request->end; request->next++) {
        uint64_t region = request->next;
        uint64_t word = atomic_load(&log->regions[region]);
        if (word >> REP_ALOG_SLOT_SHIFT) { /* hot, or arriving: only the mutex changes that */
            atomic_fetch_add(&log->regions[region], 1);
            continue;
        }
        if (log->move_count == REP_ALOG_REGIONS_MAX)
            return;
        rep_alog_move *move = &log->moves[log->move_count];
        if (!find_slot(log, move))
            return;
        move->region = (uint32_t)region;
        log->move_count++;
        log->slots[move->slot].region = move->region;
        atomic_store(&log->slots[move->slot].used, atomic_load(&log->tick) + 1);
        atomic_store(&log->regions[region],
                     (uint64_t)(move->slot + 1) << REP_ALOG_SLOT_SHIFT | REP_ALOG_ARRIVING | 1);
    }
}

/* In the order of asking; only the first may hold a part of what it wants, so that nobody waits for
 * somebody who waits. Whether there is anything to do. */
static bool plan(rep_alog *log)
{
    log->move_count = 0;
    log->round++;
    bool found = false;
    for (rep_alog_request *r = log->head; r; r = r->following) {
        uint64_t first = r->next;
        plan_request(log, r);
        found |= r->next > first;
        if (r->next < r->end) {
            if (r != log->head) {
                /* What it has got a slot for stays hot. */
                for (uint64_t i = first; i < r->next; i++)
                    atomic_fetch_sub(&log->regions[i], 1);
                r->next = first;
            }
            break;
        }
    }
    return found;
}

static void take_out(rep_alog *log, const rep_alog_request *request)
{
    rep_alog_request **at = &log->head;
    while (*at && *at != request)
        at = &(*at)->following;
    if (*at)
        *at = request->following;
}

static void answer(rep_alog *log, int rc)
{
    while (log->head && (rc || log->head->next == log->head->end)) {
        rep_alog_request *r = log->head;
        log->head = r->following;
        r->done = true;
        r->rc = rc;
    }
    pthread_cond_broadcast(&log->changed);
}

void rep_alog_arrive(rep_alog *log)
{
    for (int i = 0; i < log->move_count; i++) {
        const rep_alog_move *move = &log->moves[i];
        atomic_fetch_and(&log->regions[move->region], ~REP_ALOG_ARRIVING);
        log->admissions++;
        log->hot += move->left == REP_ALOG_EMPTY;
    }
    log->move_count = 0;
}

/* Mutex held, released meanwhile. By the leader whose transaction failed: nobody knows whether it is
 * on the disk. Without it what left isn't hot any more, and with it what was asked for is. The open
 * mark says all; before it is there nobody gets into a region that was asked for. */
static void give_up(rep_alog *log, int rc)
{
    pthread_mutex_unlock(&log->mutex);
    int failed = rep_alog_distrust(log);
    pthread_mutex_lock(&log->mutex);
    if (!log->error)
        log->error = rc;
    if (!failed)
        rep_alog_arrive(log);
    for (rep_alog_request *r = log->head; r; r = r->following)
        while (r->next > r->first)
            atomic_fetch_sub(&log->regions[--r->next], 1);
    atomic_store(&log->starving, 0);
    answer(log, failed ? failed : 1);
}

/* Mutex held, released meanwhile. */
static void lead(rep_alog *log)
{
    int rc = log->error;
    if (atomic_load(&log->state) == REP_ALOG_WORKING) {
        pthread_mutex_unlock(&log->mutex);
        rc = rep_alog_transact(log);
        pthread_mutex_lock(&log->mutex);
        /* A device's own time-out, taken for that of a wait, would be repeated for ever. */
        if (rc == -ETIMEDOUT || rc == -ECANCELED || rc == -EAGAIN)
            rc = -EIO;
    }
    if (!rc) {
        rep_alog_arrive(log);
        atomic_store(&log->starving, 0);
        answer(log, 0);
        return;
    }
    give_up(log, rc);
}

/* Mutex held. Whether the last durable transaction has a recovery replay cover that is freed. */
static bool knows_more(const rep_alog *log)
{
    return atomic_load(&log->state) == REP_ALOG_WORKING && log->told < log->tail
           && log->told < log->covers_end;
}

int rep_alog_forget(rep_alog *log)
{
    pthread_mutex_lock(&log->mutex);
    while (log->leading && knows_more(log)) /* mostly the leader's transaction tells */
        pthread_cond_wait(&log->changed, &log->mutex);
    int rc = 0;
    if (!log->leading && knows_more(log)) {
        log->leading = true;
        pthread_mutex_unlock(&log->mutex);
        rc = rep_alog_tell_tail(log);
        pthread_mutex_lock(&log->mutex);
        if (rc)
            give_up(log, rc);
        log->leading = false;
        pthread_cond_broadcast(&log->changed);
    }
    pthread_mutex_unlock(&log->mutex);
    return rc;
}

static void append(rep_alog *log, rep_alog_request *request)
{
    rep_alog_request **at = &log->head;
    while (*at)
        at = &(*at)->following;
    *at = request;
}

/* Mutex held. One leader at a time takes everybody's wishes into one transaction. */
static int take_turn(rep_alog *log, uint64_t deadline_ns, rep_wake *wake)
{
    if (log->stopped)
        return -ESHUTDOWN;
    if (!log->leading && atomic_load(&log->state) == REP_ALOG_BYPASSED) {
        answer(log, 1);
        return 0;
    }
    if (!log->leading && (atomic_load(&log->state) != REP_ALOG_WORKING || plan(log))) {
        log->leading = true;
        lead(log);
        log->leading = false;
        pthread_cond_broadcast(&log->changed);
        return 0;
    }
    /* Every slot is referenced. Those who left before the flag was raised are seen by another look. */
    if (!log->leading && !atomic_exchange(&log->starving, 1))
        return 0;
    return rep_wait_on(&log->changed, &log->mutex, deadline_ns, wake);
}

int rep_alog_admit(rep_alog *log, uint64_t first, uint64_t end, uint64_t deadline_ns,
                   rep_wake *wake)
{
    if (end - first > log->shape.slot_count / 2)
        return -EINVAL;
    rep_alog_request self = {.first = first, .next = first, .end = end};
    pthread_mutex_lock(&log->mutex);
    append(log, &self);
    int rc = 0;
    while (!rc && !self.done)
        rc = take_turn(log, deadline_ns, wake);
    if (self.done) {
        rc = self.rc;
    } else {
        take_out(log, &self);
        for (uint64_t region = first; region < self.next; region++)
            atomic_fetch_sub(&log->regions[region], 1);
        atomic_store(&log->starving, 0); /* the next in the queue says it anew */
        pthread_cond_broadcast(&log->changed);
    }
    pthread_mutex_unlock(&log->mutex);
    return rc;
}
