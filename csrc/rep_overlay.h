/* rep_overlay: a copy-on-write rep_io over another, which it only reads.
 *
 * Writes, zeros and trims stay in the overlay (private memory, 4 KiB pages, allocated on first
 * write; a page that was zeroed or trimmed whole costs none); flush does nothing durable. `base`
 * stays the caller's and must outlive the overlay. Extents are its own pages, and `base`'s elsewhere.
 * INV-4: a generation is only ever looked at through one of these.
 */
#ifndef REP_OVERLAY_H
#define REP_OVERLAY_H

#include "rep_api.h"
#include "rep_io.h"

REP_API_BEGIN

/* cdef:begin */
/* -ENOMEM, -EINVAL (`base` is empty). */
int rep_overlay_new(rep_io *base, rep_io **out);
/* Bytes held privately so far: whole pages. */
uint64_t rep_overlay_dirty_bytes(rep_io *io);
/* cdef:end */

REP_API_END

#endif
