/* rep_volume: a volume, its links and its fences: the write path.
 *
 * A write: pass (gate shared, byte range) -> fence check -> queue room (where there is none: leave,
 * wait outside, again) -> mark -> pwrite -> forward / ship -> leave -> (by ticket, outside) wait for
 * the acknowledgement. It marks, forwards or ships in every link of the volume except the one it came
 * through (the path's or the copier's).
 * If the pwrite fails, the range becomes pending in every link of the volume and those that forward
 * or ship break, before the caller gets the error. If only a link fails, that link breaks and the
 * write succeeds.
 *
 * Fences: the *role* fence follows from the pairs (INV-4, INV-5) and lets no host through; the
 * *lease* fence is a workflow's (Fig. 5, 510) and lets only the holder of its token write.
 *
 * Threads: reads, writes, flushes may run beside each other and beside everything but
 * rep_volume_free. Source: Fig. 1 (volumes), Fig. 3, steps 420 and 510.
 */
#ifndef REP_VOLUME_H
#define REP_VOLUME_H

#include <stdint.h>

#include "rep_api.h"
#include "rep_bitmap.h"
#include "rep_io.h"
#include "rep_link.h"
#include "rep_tree.h"
#include "rep_wait.h"

REP_API_BEGIN

/* cdef:begin */
enum rep_fence {
    REP_FENCE_NONE = 0,
    REP_FENCE_WRITES = 1,
    REP_FENCE_READS = 2,
    /* Hosts may write, but something has to be durable first: -REP_FENCED_FIRST, and nothing is
     * written. Whoever has noted it sets the fence without this flag, and the write is repeated. */
    REP_FENCE_FIRST = 4
};
/* What a fence answers, negated as an errno is. None of them is one: a storage that answers EROFS or
 * EBUSY of its own isn't a fence. */
enum rep_fenced {
    REP_FENCED_ROLE = 5001,
    REP_FENCED_LEASE = 5002,
    REP_FENCED_READS = 5003,
    REP_FENCED_MIRROR = 5004,
    REP_FENCED_FIRST = 5005
};

/* The acknowledgements that a synchronous write still waits for. */
typedef struct rep_ticket_entry {
    rep_stream *stream;
    uint64_t attempt;
    uint64_t number;
    int ack;
    int guarded;      /* the link's: see rep_link_guard */
    const void *link; /* a guarded one, to compare with: it may be gone */
} rep_ticket_entry;
typedef struct rep_ticket {
    int count;
    rep_ticket_entry entries[8];
    int unmirrored;   /* a guarded entry's stream broke before it was answered */
    rep_stream *full; /* where the last call waited for room when its time was over, or NULL */
    uint64_t full_attempt;
    int awaited; /* there ever was an entry */
} rep_ticket;

/* `io` and `tree` stay the caller's and outlive the volume. -ENOMEM. */
int rep_volume_new(rep_io *io, rep_tree *tree, rep_volume **out);
/* Its links must have been freed. NULL is allowed. */
void rep_volume_free(rep_volume *volume);
uint64_t rep_volume_size(const rep_volume *volume);

/* Reads. -ERANGE, -REP_FENCED_READS (the content is inconsistent), errno of the storage, where those
 * that have a meaning here (-ERANGE, -ETIMEDOUT, -ECANCELED, -EAGAIN, -EPIPE) are -EIO. */
int rep_volume_pread(rep_volume *volume, void *buffer, uint64_t length, uint64_t offset);
/* Write, zero, trim in pieces of at most 1 MiB (64 MiB for zero and trim); *done is how far it got,
 * all of `length` on success. `token`: 0 for hosts, or a lease's. The ticket is added to, never
 * cleared. -ERANGE, -REP_FENCED_ROLE, -REP_FENCED_LEASE, -REP_FENCED_FIRST, -ETIMEDOUT or -ECANCELED
 * (a wait for gate, range or room ended): bytes from *done on are untouched; -REP_FENCED_MIRROR
 * (untouched; or written and pending, if the link broke just now); errno of the storage as above. */
int rep_volume_pwrite(rep_volume *volume, const void *buffer, uint64_t length, uint64_t offset,
                      uint64_t token, uint64_t deadline_ns, rep_wake *wake, rep_ticket *ticket,
                      uint64_t *done);
int rep_volume_zero(rep_volume *volume, uint64_t length, uint64_t offset, uint64_t token,
                    uint64_t deadline_ns, rep_wake *wake, rep_ticket *ticket, uint64_t *done);
int rep_volume_trim(rep_volume *volume, uint64_t length, uint64_t offset, uint64_t token,
                    uint64_t deadline_ns, rep_wake *wake, rep_ticket *ticket, uint64_t *done);
/* Makes the volume durable; its streams get a barrier, and the ticket what mode durable waits for.
 * When the storage can't, nobody knows what it holds: everything is pending in every row of the
 * volume, and those that forward or ship are broken, their targets whole. Storage reports once: a
 * flush that failed for another host while this one waited, or for somebody else (a settle, the path)
 * after hosts wrote, is told here, too. Who flushes while another one does shares the next. */
int rep_volume_flush(rep_volume *volume, rep_ticket *ticket);
/* Waits for every entry and empties the ticket. A stream that broke meanwhile counts as answered
 * (the range is pending). -ETIMEDOUT, -ECANCELED: entries not yet answered stay. -REP_FENCED_MIRROR: all are
 * answered, but a guarded one by its stream's end. */
int rep_ticket_wait(rep_ticket *ticket, uint64_t deadline_ns, rep_wake *wake);
/* Breaks the streams of what is still unanswered (a peer past its time-out), and empties it. 0, or
 * -REP_FENCED_MIRROR as rep_ticket_wait. */
int rep_ticket_give_up(rep_ticket *ticket);
/* Breaks the stream that the last write waited for room in until its time was over. 1, or 0: it
 * waited for something else. */
int rep_ticket_give_up_room(rep_ticket *ticket);

/* Sets the role fence (rep_fence flags) or the lease's token (0: none). Closes the gate: when it
 * returns, no write of the old rule is under way. -ETIMEDOUT, -ECANCELED. */
int rep_volume_fence(rep_volume *volume, int fence, uint64_t deadline_ns, rep_wake *wake);
int rep_volume_lease(rep_volume *volume, uint64_t token, uint64_t deadline_ns, rep_wake *wake);

/* Moves volumes between trees (a local pair is created or dissolved) with both gates closed. */
int rep_volumes_move(rep_volume *const *volumes, int count, rep_tree *from, rep_tree *to);

/* Intervals of shared marks, ascending; for saving at close and restoring at open, while no host
 * writes. push appends one with all bits clear (-EINVAL: sequence not ascending). */
int rep_volume_epoch_count(const rep_volume *volume);
uint64_t rep_volume_epoch_sequence(const rep_volume *volume, int index);
rep_bitmap *rep_volume_epoch_bitmap(const rep_volume *volume, int index);
int rep_volume_epoch_push(rep_volume *volume, uint64_t chunk_bytes, uint64_t sequence);

/* The volume as rep_io: every write goes through the tracked path with `token`, and waits for its
 * acknowledgements (at most ack_timeout_ns; then the stream is given up). `wake` ends all waits.
 * Fences answer as storage would: -EROFS, -EBUSY (the lease's), -ESTALE (reading). */
int rep_volume_io_new(rep_volume *volume, uint64_t token, uint64_t ack_timeout_ns, rep_wake *wake,
                      rep_io **out);
/* cdef:end */

REP_API_END

#endif
