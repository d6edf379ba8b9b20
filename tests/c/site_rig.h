/* site_rig: a secondary with two local mirrors, for tests of what reaches which row. */
#ifndef SITE_RIG_H
#define SITE_RIG_H

#include "rig.h"

#define SIZE (16 * CHUNK)

/* System 100b: 105b, target of pair 130, with two local mirrors. */
typedef struct site {
    rep_tree *tree;
    vol v105;
    vol v106;
    vol v107;
    rep_link *row130; /* 105b's row of the remote pair */
    rep_link *row106; /* 105b's rows of its local pairs */
    rep_link *row107;
    rep_link *mirror106; /* 106b's and 107b's own */
    rep_link *mirror107;
} site;

static inline site site_new(void)
{
    site s = {.tree = tree_new(1)};
    s.v105 = vol_new(s.tree, SIZE);
    s.v106 = vol_new(s.tree, SIZE);
    s.v107 = vol_new(s.tree, SIZE);
    s.row130 = link_new(s.v105, 0);
    s.row106 = link_new(s.v105, 1);
    s.row107 = link_new(s.v105, 1);
    s.mirror106 = link_new(s.v106, 0);
    s.mirror107 = link_new(s.v107, 0);
    return s;
}

static inline void site_forward(const site *s)
{
    CHECK_EQ(rep_link_forward(s->row106, s->v106.volume, s->mirror106), 0);
    CHECK_EQ(rep_link_forward(s->row107, s->v107.volume, s->mirror107), 0);
}

static inline void site_free(site *s)
{
    rep_link *links[] = {s->row130, s->row106, s->row107, s->mirror106, s->mirror107};
    for (int i = 0; i < 5; i++)
        rep_link_free(links[i]);
    vol_free(s->v105);
    vol_free(s->v106);
    vol_free(s->v107);
    rep_tree_free(s->tree);
}

static inline int write_through(vol v, rep_link *origin, uint64_t chunk, int byte)
{
    uint8_t buffer[CHUNK];
    memset(buffer, byte, sizeof buffer);
    return rep_volume_write_through(v.volume, origin, REP_RECORD_DATA, 0, buffer, chunk * CHUNK,
                                    CHUNK, NULL);
}

#endif
