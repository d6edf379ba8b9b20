/* What a write holds in activity logs (rep_alog.h), from before its pass until it is done. */
#include <errno.h>

#include "alog_parts.h"

void rep_hold_give_back(rep_hold *hold)
{
    for (int i = 0; i < hold->count; i++) {
        const rep_hold_entry *one = &hold->entries[i];
        if (!one->bypassed)
            rep_alog_give_back(one->log, one->first, one->end);
        if (one->entered)
            rep_alog_leave(one->log);
    }
    hold->count = 0;
}

static bool is_held(const rep_hold *hold, const rep_hold_entry *wanted)
{
    for (int i = 0; i < hold->count; i++) {
        const rep_hold_entry *one = &hold->entries[i];
        if (one->log == wanted->log && one->first <= wanted->first && one->end >= wanted->end)
            /* It may have begun (anew) since: then what was let through without isn't enough. */
            return !one->bypassed || atomic_load(&one->log->state) == REP_ALOG_BYPASSED;
    }
    return false;
}

static int take(rep_alog *log, uint64_t offset, uint64_t length, rep_hold *hold,
                rep_hold_entry *missing)
{
    *missing = (rep_hold_entry){.log = log,
                                .first = offset >> log->region_shift,
                                .end = ((offset + length - 1) >> log->region_shift) + 1};
    if (is_held(hold, missing))
        return 0;
    if (hold->count == REP_HOLDS_MAX)
        return -ENOBUFS;
    if (missing->end - missing->first > log->shape.slot_count / 2)
        return -EMSGSIZE;
    int rc = rep_alog_take(log, missing->first, missing->end);
    if (rc < 0) {
        rep_alog_enter(log);
        return rc;
    }
    missing->bypassed = rc;
    hold->entries[hold->count++] = *missing;
    return 0;
}

/* Only rows that a write may mark: of the one it came through the other side knows; in one that is
 * IDLE nothing is marked. */
static bool has_rows(const rep_volume *volume, const rep_link *origin)
{
    for (int i = 0; i < volume->link_count; i++)
        if (volume->links[i] != origin && atomic_load(&volume->links[i]->mode) != REP_LINK_IDLE)
            return true;
    return false;
}

int rep_hold_take(rep_volume *volume, const rep_link *origin, uint64_t offset, uint64_t length,
                  rep_hold *hold, rep_hold_entry *missing)
{
    int rc = 0;
    rep_alog *log = atomic_load(&volume->log);
    if (log && length && has_rows(volume, origin))
        rc = take(log, offset, length, hold, missing);
    for (int i = 0; !rc && i < volume->link_count; i++) {
        const rep_link *link = volume->links[i];
        if (link != origin && atomic_load(&link->mode) == REP_LINK_FORWARD && rep_link_works(link))
            rc = rep_hold_take(link->target, link->target_link, offset, length, hold, missing);
    }
    return rc;
}

int rep_hold_await(rep_hold *hold, const rep_hold_entry *missing, uint64_t deadline_ns,
                   rep_wake *wake)
{
    /* Nobody who waits for a log holds another: their slots may be few. */
    rep_hold_give_back(hold);
    int rc = rep_alog_admit(missing->log, missing->first, missing->end, deadline_ns, wake);
    if (rc < 0) {
        rep_alog_leave(missing->log);
        return rc == -ESHUTDOWN ? 0 : rc;
    }
    hold->entries[0] = *missing;
    hold->entries[0].entered = true;
    hold->entries[0].bypassed = rc;
    hold->count = 1;
    return 0;
}

int rep_volume_flush_io(rep_volume *volume)
{
    rep_alog *log = atomic_load(&volume->log);
    uint64_t number = log ? atomic_fetch_add(&log->flush_started, 1) + 1 : 0;
    int rc = rep_io_flush(volume->io);
    if (log && !rc) {
        uint64_t flushed = atomic_load(&log->flushed);
        while (flushed < number && !atomic_compare_exchange_weak(&log->flushed, &flushed, number))
            ;
    }
    return rc;
}
