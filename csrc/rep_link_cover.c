/* A row's cover: what is pending, what is unsettled, in two epochs, and its share of the marks. */
#include <errno.h>

#include "parts.h"
#include "rep_link.h"

#define RUNS 64

/* into |= P (and U) | shared marks. A pass over no bytes holds the intervals still. */
static int gather(rep_link *link, bool with_unsettled, rep_bitmap *into)
{
    rep_pass pass;
    int rc = rep_tree_enter(&link->volume->tree, &pass, 0, 0, REP_NO_DEADLINE, NULL);
    if (rc)
        return rc;
    pthread_mutex_lock(&link->mutex);
    /* P before U: a copier may be moving bits that way. Breaks and drops wait for the mutex. */
    rc = rep_bitmap_or(into, link->pending);
    for (int i = 0; with_unsettled && !rc && i < 2; i++)
        rc = rep_bitmap_or(into, link->unsettled[i]);
    pthread_mutex_unlock(&link->mutex);
    const rep_volume *volume = link->volume;
    for (int i = 0; link->epoch_start && !rc && i < volume->epoch_count; i++)
        if (volume->epochs[i].sequence >= link->epoch_start)
            rc = rep_bitmap_or(into, volume->epochs[i].bitmap);
    rep_tree_exit(&pass);
    return rc;
}

int rep_link_collect(rep_link *link, rep_bitmap *into)
{
    return gather(link, true, into);
}

int rep_link_collect_pending(rep_link *link, rep_bitmap *into)
{
    return gather(link, false, into);
}

int rep_link_pending_count(rep_link *link, uint64_t *count)
{
    if (!link->epoch_start) {
        *count = rep_bitmap_count(link->pending);
        return 0;
    }
    rep_bitmap *all;
    int rc = rep_bitmap_new(rep_link_chunk_count(link), &all);
    if (rc)
        return rc;
    rc = gather(link, false, all);
    if (!rc)
        *count = rep_bitmap_count(all);
    rep_bitmap_free(all);
    return rc;
}

void rep_link_give_up_unsettled(rep_link *link)
{
    pthread_mutex_lock(&link->mutex);
    /* Equal sizes: can't fail. */
    rep_bitmap_merge(link->pending, link->unsettled[0]);
    rep_bitmap_merge(link->pending, link->unsettled[1]);
    pthread_mutex_unlock(&link->mutex);
}

/* Clear, not reset: a writer that has the old epoch's number may be setting a bit. */
void rep_link_drop_held(rep_link *link, uint64_t epoch)
{
    rep_bitmap *closed = link->unsettled[epoch & 1];
    rep_bitmap_clear(closed, 0, rep_bitmap_size(closed));
}

void rep_link_drop_epoch(rep_link *link, uint64_t epoch)
{
    pthread_mutex_lock(&link->mutex);
    rep_link_drop_held(link, epoch);
    pthread_mutex_unlock(&link->mutex);
}

/* Inside a pass, where the target stands still. */
static int close_epoch(rep_link *link, rep_volume **target, const rep_link **origin,
                       uint64_t *closed, uint64_t *duty)
{
    rep_pass pass;
    int rc = rep_tree_enter(&link->volume->tree, &pass, 0, 0, REP_NO_DEADLINE, NULL);
    if (rc)
        return rc;
    if (atomic_load(&link->mode) == REP_LINK_SHIP || !link->target) {
        rc = -EINVAL;
    } else {
        *target = link->target;
        *origin = link->target_link;
        *duty = link->duty;
        *closed = atomic_fetch_add(&link->epoch, 1);
    }
    rep_tree_exit(&pass);
    return rc;
}

/* One epoch: everything set in it before the flip was written to the target before it, or its
 * writer sees the flip and sets the new epoch too. No gate is held while the target flushes: a cut
 * would wait for it. */
static int settle_once(rep_link *link)
{
    rep_volume *target;
    const rep_link *origin;
    uint64_t closed;
    uint64_t duty;
    int rc = close_epoch(link, &target, &origin, &closed, &duty);
    if (rc)
        return rc;
    rc = rep_volume_make_durable(target);
    if (rc) /* its hosts' next flush would be told nothing */
        rep_volume_lose_track(target, origin, rc);
    pthread_mutex_lock(&link->mutex);
    bool same = link->duty == duty;
    if (same && !rc)
        rep_link_drop_held(link, closed);
    pthread_mutex_unlock(&link->mutex);
    if (!same)
        return -ESTALE;
    /* A flush that failed isn't made good by a later one that succeeds: the kernel reports once. */
    if (rc)
        rep_link_break(link, rc);
    return atomic_load(&link->broken);
}

int rep_link_settle(rep_link *link)
{
    pthread_mutex_lock(&link->settling);
    int rc = settle_once(link);
    if (!rc)
        rc = settle_once(link);
    pthread_mutex_unlock(&link->settling);
    return rc;
}

int rep_link_settle_epoch(rep_link *link)
{
    pthread_mutex_lock(&link->settling);
    int rc = settle_once(link);
    pthread_mutex_unlock(&link->settling);
    return rc;
}

uint64_t rep_link_unsettled_count(const rep_link *link)
{
    uint64_t firsts[RUNS];
    uint64_t counts[RUNS];
    uint64_t size = rep_bitmap_size(link->pending);
    uint64_t found = 0;
    for (uint64_t at = 0; at < size;) {
        int runs = rep_bitmap_runs(link->unsettled[0], link->unsettled[1], REP_BITMAP_UNION, at,
                                   firsts, counts, RUNS, &at);
        for (int i = 0; i < runs; i++)
            found += counts[i];
        if (runs < 0)
            break; /* equal sizes: can't be */
    }
    return found;
}
