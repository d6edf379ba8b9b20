/* rep_link: one row of a volume at work: what a write to that volume does for that pair.
 *
 * Modes: IDLE (the volume is the target of a running pair: nothing), MARK (set the chunk's pending
 * bit), FORWARD (write it to a volume of the same tree), SHIP (append it to a stream). A link in
 * FORWARD or SHIP whose chunk is pending only leaves it pending: the copier will send it. A link
 * that breaks (its target or path failed) goes on as MARK after P |= U; rep_link_info.broken says
 * why, until the next change of mode.
 *
 * Cover: pending bits P, and unsettled bits U in two epochs (chunks whose newest bytes were
 * forwarded, shipped or copied but aren't known to be durable at the target). INV-1, INV-3.
 * Source: Fig. 3 (one row), pending bitmap 360.
 *
 * Marks of siblings: the local pairs of which a volume is the source share one bitmap of marks per
 * interval between two splits, kept by the volume (docs/adr/0001); a link that shares_marks owns,
 * while in MARK, all marks of the volume from its epoch_start on, beside its own P.
 *
 * Threads: the calls that change a mode close the gates concerned (they wait for passes only) and
 * run one at a time per volume; the others may run beside everything. After a failure nothing has
 * changed unless said otherwise.
 */
#ifndef REP_LINK_H
#define REP_LINK_H

#include <stdint.h>

#include "rep_api.h"
#include "rep_bitmap.h"
#include "rep_wait.h"

REP_API_BEGIN

/* cdef:begin */
typedef struct rep_link rep_link;
typedef struct rep_volume rep_volume;
typedef struct rep_stream rep_stream;

enum rep_link_mode {
    REP_LINK_IDLE = 0,
    REP_LINK_MARK = 1,
    REP_LINK_FORWARD = 2,
    REP_LINK_SHIP = 3
};
/* When a synchronous write is acknowledged; QUEUED doesn't wait. */
enum rep_link_ack { REP_ACK_QUEUED = 0, REP_ACK_RECEIVED = 1, REP_ACK_DURABLE = 2 };
/* What a host's write does that finds no room in the stream. */
enum rep_link_congestion { REP_CONGESTION_BLOCK = 0, REP_CONGESTION_PULL_AHEAD = 1 };

typedef struct rep_link_info {
    int mode;
    int broken; /* 0, or the negative errno that ended the link's work; -EXFULL: pulled ahead */
    int source_failed;    /* broken because its own volume failed: the target is whole */
    uint64_t epoch_start; /* 0: no shared marks belong to it */
    int any_pending;      /* own P only */
    int any_unsettled;
    uint64_t unsettled_epoch; /* of U that is open: what was unsettled at a number is settled, or
                                 pending, two numbers on */
} rep_link_info;

/* A new IDLE link of `volume`. chunk_bytes: power of two, 4 KiB to 1 MiB. -EINVAL (chunk size, or a
 * sharing sibling with another one), -ENOMEM. */
int rep_link_new(rep_volume *volume, uint64_t chunk_bytes, int shares_marks, rep_link **out);
/* Takes the link out of its volume and stream, and frees it; no link may forward to it, nor a
 * channel be bound to it, any more. NULL is allowed. */
void rep_link_free(rep_link *link);
void rep_link_info_get(rep_link *link, rep_link_info *out);
uint64_t rep_link_chunk_count(const rep_link *link);
/* The link's own P, for set, clear, fill, merge and reading; borrowed. */
rep_bitmap *rep_link_pending(rep_link *link);
/* into |= P | U | shared marks: all of the cover. -EINVAL (sizes). `into`, here and below, is the
 * caller's alone. */
int rep_link_collect(rep_link *link, rep_bitmap *into);
/* into |= the shared marks made between the splits of two links of one volume: what their targets
 * may differ in, as long as both hold what they were split with. Of links that share one interval:
 * nothing. -EINVAL: two volumes, or sizes; -ENODATA: one of them has no shared marks. */
int rep_link_marks_between(rep_link *one, rep_link *other, rep_bitmap *into);
/* into |= P | shared marks: what rep_link_pending_count counts. -EINVAL (sizes). */
int rep_link_collect_pending(rep_link *link, rep_bitmap *into);
/* Pending chunks: P and shared marks, without U. */
int rep_link_pending_count(rep_link *link, uint64_t *count);

/* To IDLE. From FORWARD or SHIP first P |= U. P is kept. */
int rep_link_idle(rep_link *link);
/* To MARK. From FORWARD or SHIP first P |= U. A sharing link starts a new interval. */
int rep_link_mark(rep_link *link);
/* To MARK after a reopen, owning the volume's restored marks from epoch_start on (0: begin a new
 * interval). -EINVAL: no such epoch, or one of another chunk size. Restore every row that has an
 * epoch_start before the volume's first other change of mode: that drops what no row owns. */
int rep_link_mark_from(rep_link *link, uint64_t epoch_start);
/* To FORWARD into `target`, a volume of the same tree, whose row of this pair is `target_link`
 * (it gets no echo). Shared marks are folded into P first. -EXDEV: another tree; -EINVAL: sizes. */
int rep_link_forward(rep_link *link, rep_volume *target, rep_link *target_link);
/* To SHIP into `stream` as `channel`. -EPIPE: the stream isn't open; the link is in MARK then. */
int rep_link_ship(rep_link *link, rep_stream *stream, uint32_t channel, int ack);
/* The same if nothing is pending, with the gate closed: from the first write on the target follows
 * in order. -EBUSY: something is; the link is as it was. */
int rep_link_ship_clean(rep_link *link, rep_stream *stream, uint32_t channel, int ack);
/* What happens when the stream is full; BLOCK at first. Of PULL_AHEAD: until rep_link_follow the
 * write is marked and the copier sends it, from then on the whole group pulls ahead. Any time. */
void rep_link_set_congestion(rep_link *link, int congestion);
/* The end of a copy in SHIP: with the gate closed, nothing is pending, and from here on the target
 * follows in order. -EBUSY: something is pending, the copy has to go on. -EPIPE: the link is broken,
 * and marks. 0 in other modes. */
int rep_link_follow(rep_link *link);
/* Fence level data: as long as it is on, hosts' writes to the volume fail with -REP_FENCED_MIRROR unless the
 * link ships and isn't broken. Closes the gate: when it returns, no write of the old rule is under
 * way. */
int rep_link_guard(rep_link *link, int on);
/* Clears P of a link that is IDLE or MARK, and starts a new interval of shared marks: the end of a
 * reverse copy or of a settled copy on its other side. In MARK also U; in IDLE that belongs to the
 * records being applied through it. -EBUSY in other modes. */
int rep_link_clean(rep_link *link);
/* Ends the link's work because of `cause` (negative errno): P |= U, then it marks. Takes no gate. */
void rep_link_break(rep_link *link, int cause);
/* Local links: closes the U epoch, makes the target durable, drops what was closed; twice, so that
 * what is unsettled at the call is settled after it. In MARK after a split: the SVOL's flush. When
 * the target can't flush, the link breaks: P |= U (in MARK it goes on marking, broken tells why).
 * The target's other rows are all pending then: what its hosts wrote before may be lost with it.
 * Answers with what broke the link as long as it is broken: its target then lacks what is pending.
 * -EINVAL: no target (it ships, or never forwarded). -ESTALE: it was given other work meanwhile,
 * what was unsettled is pending. Waits for another settle of the same link. */
int rep_link_settle(rep_link *link);
/* The same of one epoch, with one flush: what is unsettled at the call may still be so after it, but
 * not after a second one. */
int rep_link_settle_epoch(rep_link *link);
/* Chunks in U. Costs by what is set there. */
uint64_t rep_link_unsettled_count(const rep_link *link);
/* Makes the link's own volume durable, on behalf of the pair through which it was written. When it
 * can't, all is pending in the volume's other rows, as after rep_volume_flush: storage reports once.
 * What came through this link is still in its own U. 0; errno of the storage. */
int rep_link_flush(rep_link *link);
/* cdef:end */

REP_API_END

#endif
