#include "rep_group.h"

#include <errno.h>
#include <stdlib.h>

#include "parts.h"

typedef struct cut {
    rep_cut_item *items;
    int count;
    rep_tree **trees;
    int tree_count;
    rep_bitmap **fresh; /* one per item, NULL where none is needed */
} cut;

static rep_volume *volume_of(const rep_cut_item *item)
{
    if (item->verb == REP_CUT_GATE)
        return item->volume;
    return item->verb == REP_CUT_SPLIT ? item->link->volume : NULL;
}

/* Everything that could fail for want of memory, before a gate is closed. */
static int prepare(cut *c)
{
    c->trees = calloc((size_t)c->count + 1, sizeof(rep_tree *));
    c->fresh = calloc((size_t)c->count + 1, sizeof(rep_bitmap *));
    if (!c->trees || !c->fresh)
        return -ENOMEM;
    int rc = 0;
    for (int i = 0; !rc && i < c->count; i++) {
        const rep_volume *volume = volume_of(&c->items[i]);
        if (volume)
            c->trees[c->tree_count++] = atomic_load(&volume->tree);
        if (c->items[i].verb == REP_CUT_SPLIT)
            rc = rep_link_fresh_marks(c->items[i].link, &c->fresh[i]);
    }
    return rc;
}

static void discard(cut *c)
{
    for (int i = 0; c->fresh && i < c->count; i++)
        rep_bitmap_free(c->fresh[i]);
    free(c->fresh);
    free(c->trees);
}

static int check(const rep_cut_item *item)
{
    switch (item->verb) {
    case REP_CUT_GATE:
    case REP_CUT_CORK:
    case REP_CUT_CORK_RELEASE:
        return 0;
    case REP_CUT_SPLIT:
        return rep_link_works(item->link) && !rep_bitmap_any(item->link->pending) ? 0 : -EBUSY;
    case REP_CUT_APPLIED:
        return rep_apply_stands_at(item->apply, item->number) ? 0 : -EBUSY;
    default:
        return -EINVAL;
    }
}

static bool corks(const rep_cut_item *item)
{
    return item->verb == REP_CUT_CORK || item->verb == REP_CUT_CORK_RELEASE;
}

/* Writers are let go when all streams are corked: else one that wakes meanwhile takes a cut that then
 * fails for its acknowledgement. */
static int cork(const cut *c, int *failed)
{
    for (int i = 0; i < c->count; i++) {
        if (!corks(&c->items[i]))
            continue;
        int rc = rep_stream_cork(c->items[i].stream, false, &c->items[i].number);
        if (rc) {
            *failed = i;
            while (i-- > 0)
                if (corks(&c->items[i]))
                    rep_stream_uncork(c->items[i].stream);
            return rc;
        }
    }
    for (int i = 0; i < c->count; i++)
        if (c->items[i].verb == REP_CUT_CORK_RELEASE)
            rep_stream_release(c->items[i].stream);
    return 0;
}

/* Fig. 4, 420 and 450, with every gate closed: the point. U stays until the SVOL's flush. */
static int perform(cut *c, int *failed)
{
    for (int i = 0; i < c->count; i++) {
        int rc = check(&c->items[i]);
        if (rc) {
            *failed = i;
            return rc;
        }
    }
    int rc = cork(c, failed);
    for (int i = 0; !rc && i < c->count; i++)
        if (c->items[i].verb == REP_CUT_SPLIT)
            rep_link_split(c->items[i].link, &c->fresh[i]);
    return rc;
}

/* A volume may have moved to another tree between prepare and the closing. */
static int trees_stand(const cut *c)
{
    for (int i = 0; i < c->count; i++) {
        const rep_volume *volume = volume_of(&c->items[i]);
        bool found = !volume;
        for (int t = 0; !found && t < c->tree_count; t++)
            found = c->trees[t] == atomic_load(&volume->tree);
        if (!found)
            return 0;
    }
    return 1;
}

/* -EAGAIN: a volume has moved. */
static int cut_once(rep_cut_item *items, int count, uint64_t deadline_ns, rep_wake *wake,
                    uint64_t *closed_ns, int *failed)
{
    cut c = {.items = items, .count = count};
    *failed = -1;
    *closed_ns = 0;
    int rc = prepare(&c);
    if (!rc) {
        uint64_t start = rep_now_ns();
        rc = rep_tree_close_all(c.trees, c.tree_count, deadline_ns, wake);
        if (rc >= 0) {
            c.tree_count = rc;
            rc = trees_stand(&c) ? perform(&c, failed) : -EAGAIN;
            rep_tree_open_all(c.trees, c.tree_count);
        }
        *closed_ns = rep_now_ns() - start;
    }
    discard(&c);
    return rc;
}

int rep_group_cut(rep_cut_item *items, int count, uint64_t deadline_ns, rep_wake *wake,
                  uint64_t *closed_ns, int *failed)
{
    int rc;
    do
        rc = cut_once(items, count, deadline_ns, wake, closed_ns, failed);
    while (rc == -EAGAIN);
    return rc;
}
