/* rep_copy: sends what is pending in a link's row: union -> coalesced runs -> bytes.
 *
 * Works by regions of 1 MiB: one pass over the region, one extent scan, then every pending run in
 * it is read and sent; its U is set before its P is cleared, its P is cleared when it is sent
 * (nobody writes to the region meanwhile). Holes and zeros travel as zeros and are punched at the
 * target. The link must be in FORWARD or SHIP; what it writes to a
 * local target goes through that volume's other links (650 marks in 105b's row of pair 130).
 * Stops and resumes at a region. Source: steps 460, 550, 650, 670.
 *
 * Threads: several copiers may work on one link; each copier is used by one thread at a time.
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
    uint64_t copied_bytes; /* chunks sent, their bytes, holes included */
    uint64_t zero_bytes;   /* of these, sent as zeros */
} rep_copy_progress;

int rep_copier_new(rep_link *link, rep_copier **out);
void rep_copier_free(rep_copier *copier);
/* Sends about `most_bytes`, then returns 1; 0 when nothing was pending any more from the cursor
 * round to the cursor (other copiers may still be sending). *progress is added to. -EPIPE: the link
 * broke, perhaps because its target failed (info.broken; what wasn't sent is pending); -ETIMEDOUT,
 * -ECANCELED; errno of the storage that was read: the run stays pending. */
int rep_copier_run(rep_copier *copier, uint64_t most_bytes, uint64_t deadline_ns, rep_wake *wake,
                   rep_copy_progress *progress);
/* cdef:end */

REP_API_END

#endif
