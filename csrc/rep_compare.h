/* rep_compare: finds out which chunks hold the same bytes at both ends of a working link, while hosts
 * write: the watch over a row that a digest resync and an online verification stand on.
 *
 * A comparer notices every write that its link is asked to pass on. Between rep_compare_begin and the
 * question whether a chunk was written, the caller reads and digests both ends in its own time,
 * outside every pass. A chunk that wasn't written in between, and of which no record was on its way
 * at the begin, had the bytes that were read at both ends at one moment, and still has. INV-1, INV-3
 * (docs/adr/0017-what-is-equal-is-not-sent.md has the argument).
 *
 * The link must be in FORWARD or SHIP. What ends its work, or gives it other work, ends the comparer's:
 * every later call answers -EPIPE.
 *
 * Threads: new and free close the gate for a moment; the others may run beside each other on ranges
 * that don't overlap, and beside everything else.
 */
#ifndef REP_COMPARE_H
#define REP_COMPARE_H

#include "rep_api.h"
#include "rep_io.h"
#include "rep_link.h"
#include "rep_wait.h"

REP_API_BEGIN

/* cdef:begin */
typedef struct rep_compare rep_compare;

/* Begins to notice writes. The link outlives it. -EPIPE: it doesn't work; -ENOMEM. */
int rep_compare_new(rep_link *link, rep_compare **out);
void rep_compare_free(rep_compare *compare);
/* Lists pending runs from chunk `from` on, cut where a group of group_bytes (a power of two, a chunk
 * or more) ends, until they hold most_bytes, are `capacity`, or reach 16 GiB. What is a hole of the
 * volume is passed over: it costs the copier no bytes. *resume is where to go on, the count of chunks
 * when done. Returns how many. -EINVAL (also: less than a chunk), -ERANGE; errno of the storage. */
int rep_compare_pending(rep_compare *compare, uint64_t from, uint64_t group_bytes,
                        uint64_t most_bytes, uint64_t *firsts, uint64_t *counts, int capacity,
                        uint64_t *resume);
/* Forgets what was noticed in [first, first+count) chunks: writes that began before have ended, and
 * their records have numbers up to the stream's last. -EPIPE, -ERANGE, -ETIMEDOUT, -ECANCELED. */
int rep_compare_begin(rep_compare *compare, uint64_t first, uint64_t count, uint64_t deadline_ns,
                      rep_wake *wake);
/* These runs hold, durably, the same bytes at both ends, as read since their begin: what of them is
 * still pending and wasn't written since leaves P, by nobody's record. *done is how many runs were
 * gone through, *cleared_bytes is added to. -EPIPE (what it clears then is pending again), -ERANGE,
 * -ETIMEDOUT, -ECANCELED: the runs from *done on are as they were. */
int rep_compare_settle(rep_compare *compare, const uint64_t *firsts, const uint64_t *counts,
                       int run_count, uint64_t deadline_ns, rep_wake *wake, int *done,
                       uint64_t *cleared_bytes);
/* written[i] = 1 if a host wrote to a chunk of run i since its begin, or one of them is pending.
 * Returns as rep_compare_settle. */
int rep_compare_written(rep_compare *compare, const uint64_t *firsts, const uint64_t *counts,
                        int run_count, uint64_t deadline_ns, rep_wake *wake, int *done,
                        uint8_t *written);
/* Reads these runs of chunks, ascending, one behind the other into `buffer`; lengths[i] are the
 * bytes of the i-th group of group_bytes that something was read of. Returns how many groups.
 * -EINVAL (runs or bytes that don't fit), -ERANGE (past the volume); errno of the storage. */
int rep_compare_read(rep_io *io, uint64_t chunk_bytes, uint64_t group_bytes, const uint64_t *firsts,
                     const uint64_t *counts, int run_count, void *buffer, uint64_t buffer_bytes,
                     uint64_t *lengths, int capacity);
/* cdef:end */

REP_API_END

#endif
