/* rep_volatile: a rep_io double over another that keeps unflushed writes apart and can lose them,
 * and fails on demand. Public to embedders through pyrep.testing.
 *
 * Fault model (contract):
 *  - A write (pwrite, zero, trim) is visible to reads at once, but reaches `base` only at flush,
 *    which flushes `base` too. A flush that fails keeps what `base` hasn't taken.
 *  - rep_volatile_lose throws away unflushed writes: each one is kept or lost independently,
 *    decided by a seeded generator (keep_one_in = 0 loses all, 1 keeps all, n keeps one in n on
 *    average). Kept ones reach `base` in their order. When `tear` is set, the last write that was
 *    kept reaches `base` only up to a random multiple of 512 bytes, less than its length.
 *  - rep_volatile_fail_after(n, error): after n more operations that write or flush, each further
 *    one fails with `error` (negative errno) and has no effect; error 0 heals.
 *  - rep_volatile_fail_reads(error): every read fails; 0 heals.
 * Losing changes nothing about failing: it is the power that goes, not the fault.
 * `base` stays the caller's, must outlive the double and changes through it alone.
 *
 * Threads: as rep_io; lose and the fail functions may run beside all but free. One call at a time
 * is served.
 */
#ifndef REP_VOLATILE_H
#define REP_VOLATILE_H

#include "rep_api.h"
#include "rep_io.h"

REP_API_BEGIN

/* cdef:begin */
/* -ENOMEM, -EINVAL (`base` is empty). */
int rep_volatile_new(rep_io *base, rep_io **out);
/* Power loss: see the fault model. Afterwards nothing is unflushed. Negative errno of `base`: what
 * was kept then reached it in part. -ENOMEM: nothing is changed. */
int rep_volatile_lose(rep_io *io, uint64_t seed, unsigned keep_one_in, int tear);
void rep_volatile_fail_after(rep_io *io, uint64_t operations, int error);
void rep_volatile_fail_reads(rep_io *io, int error);
/* Writes not flushed yet (count), and flushes done so far. */
uint64_t rep_volatile_unflushed_count(rep_io *io);
uint64_t rep_volatile_flush_count(rep_io *io);
/* cdef:end */

REP_API_END

#endif
