/* copy_rig: a local pair to copy, and what the tests of copies share. */
#ifndef COPY_RIG_H
#define COPY_RIG_H

#include "rig.h"

typedef struct local {
    rep_tree *tree;
    vol source;
    vol target;
    rep_link *row;
    rep_link *mirror_row;
} local;

static inline local local_of(uint64_t size_bytes)
{
    local l = {.tree = tree_new(1)};
    l.source = vol_new(l.tree, size_bytes);
    l.target = vol_new(l.tree, size_bytes);
    l.row = link_new(l.source, 1);
    l.mirror_row = link_new(l.target, 0);
    return l;
}

static inline int local_forward(const local *l)
{
    return rep_link_forward(l->row, l->target.volume, l->mirror_row);
}

static inline void local_free(local *l)
{
    rep_link_free(l->row);
    rep_link_free(l->mirror_row);
    vol_free(l->source);
    vol_free(l->target);
    rep_tree_free(l->tree);
}

static inline void pend(rep_link *link, uint64_t first, uint64_t count)
{
    CHECK_EQ(rep_bitmap_set(rep_link_pending(link), first, count), 0);
}

static inline int run(rep_link *link, uint64_t most_bytes, rep_copy_progress *progress)
{
    rep_copier *copier;
    CHECK_EQ(rep_copier_new(link, 1, &copier), 0);
    int rc = rep_copier_run(copier, 0, most_bytes, REP_NO_DEADLINE, NULL, progress);
    rep_copier_free(copier);
    return rc;
}

#endif
