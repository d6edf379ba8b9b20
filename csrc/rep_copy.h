/* rep_copy: sends what is pending in a link's row: union -> coalesced runs -> bytes.
 *
 * Works by regions of 1 MiB: one pass over the region, then every pending run in it is read and
 * sent; its U is set, then its P is cleared when it is sent (nobody writes to the region
 * meanwhile). Long runs are looked at for holes first, short ones are read: reading a hole is
 * cheaper than asking. Holes and zeros travel as zeros and are punched at the target. Where both ends
 * of a local pair have a hole, nothing is sent; nor where a new remote pair's target is blank still.
 * The link must be in FORWARD or SHIP; what it writes to a local target goes through that volume's
 * other links (650 marks in 105b's row of pair 130).
 * Stops and resumes at a region. Source: steps 460, 550, 650, 670.
 *
 * Threads: the copier's workers run beside each other, each used by one thread at a time; regions are
 * dealt to them, none twice.
 */
#ifndef REP_COPY_H
#define REP_COPY_H

#include "rep_api.h"
#include "rep_link.h"
#include "rep_wait.h"

REP_API_BEGIN

/* cdef:begin */
typedef struct rep_copier rep_copier;
typedef struct rep_copy_progress {
    uint64_t copied_bytes; /* chunks done, their bytes, holes included */
    uint64_t zero_bytes;   /* of these, not written as data: zeros, and holes at both ends */
    uint64_t passes;       /* regions entered */
    uint64_t crowded;      /* of these, while a host wrote in the tree, or read either volume */
} rep_copy_progress;

/* `workers` is at least 1. -ENOMEM, -EINVAL. */
int rep_copier_new(rep_link *link, int workers, rep_copier **out);
void rep_copier_free(rep_copier *copier);
/* The target of the shipping link was blank, nobody but this link writes there, and it has sent
 * nothing yet: what isn't sent before it breaks or is given other work is zeros there, and zeros needn't
 * be sent, until a write that finds no room is marked (REP_CONGESTION_PULL_AHEAD): from then on what is
 * pending may have been sent. Before the first run; -EINVAL: not everything is pending. */
int rep_copier_expect_blank(rep_copier *copier);
/* Sends about `most_bytes` of data, then returns 1; 0 when nothing is left for this worker (others
 * may still be sending; when all have returned 0, nothing is pending). *progress is added to.
 * -EPIPE: the link broke, perhaps because its target failed (info.broken; what wasn't sent is
 * pending); -ETIMEDOUT, -ECANCELED; errno of the storage that was read: the run stays pending. */
int rep_copier_run(rep_copier *copier, int worker, uint64_t most_bytes, uint64_t deadline_ns,
                   rep_wake *wake, rep_copy_progress *progress);
/* cdef:end */

REP_API_END

#endif
