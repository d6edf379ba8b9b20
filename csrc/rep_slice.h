/* rep_slice: a range of another rep_io as a rep_io of its own: a partition of a volume.
 *
 * Offset 0 is the range's first byte; nothing outside the range can be read or written through it.
 * Flush is the base's. `base` stays the caller's and must outlive the slice. Threads: as the base.
 */
#ifndef REP_SLICE_H
#define REP_SLICE_H

#include "rep_api.h"
#include "rep_io.h"

REP_API_BEGIN

/* cdef:begin */
/* -ENOMEM, -EINVAL (no length), -ERANGE (past the base's end). */
int rep_slice_new(rep_io *base, uint64_t offset, uint64_t length, rep_io **out);
/* cdef:end */

REP_API_END

#endif
