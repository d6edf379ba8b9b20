/* rep_group: one cut through several trees, links and streams at one point (INV-6).
 *
 * Source: Fig. 4, steps 420 (at the primary: cork) and 450 (at the secondary: split).
 */
#ifndef REP_GROUP_H
#define REP_GROUP_H

#include "rep_api.h"
#include "rep_apply.h"
#include "rep_link.h"
#include "rep_ship.h"
#include "rep_volume.h"

REP_API_BEGIN

/* cdef:begin */
enum rep_cut_verb {
    REP_CUT_GATE = 0,         /* volume: its gate is closed with the others */
    REP_CUT_SPLIT = 1,        /* link: FORWARD or SHIP with nothing pending -> MARK with a fresh
                                 P; a local target's U stays, what was shipped goes into P */
    REP_CUT_CORK = 2,         /* stream: corked; number <- its last record, the point */
    REP_CUT_CORK_RELEASE = 3, /* the same, and synchronous writers don't wait in the hold: they are
                                 let go when the whole cut is done */
    REP_CUT_APPLIED = 4       /* apply: refused unless it has applied exactly `number` */
};
typedef struct rep_cut_item {
    int verb;
    rep_volume *volume;
    rep_link *link;
    rep_stream *stream;
    rep_apply *apply;
    uint64_t number;
} rep_cut_item;

/* Closes the gates of all volumes named or concerned, checks every item, does all of them, reopens:
 * one point of the order of writes. Never returns with a gate closed. *closed_ns is how long they
 * were. On failure nothing has changed and *failed is the item: -EBUSY (SPLIT: pending, broken or
 * not forwarding; APPLIED: another number), -EPIPE (CORK: not open), -EALREADY (corked), -ETIMEDOUT,
 * -ECANCELED, -ENOMEM (*failed = -1). */
int rep_group_cut(rep_cut_item *items, int count, uint64_t deadline_ns, rep_wake *wake,
                  uint64_t *closed_ns, int *failed);
/* cdef:end */

REP_API_END

#endif
