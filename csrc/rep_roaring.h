/* rep_roaring: bitmaps as portable 32-bit Roaring bitmaps, both ways (RoaringFormatSpec). That is
 * how pending chunks travel between systems and how embedders get them.
 *
 * Each 2^16 bits with a bit set are a container: an array, a bitset, or runs, whichever is smallest
 * (on a tie runs). Little endian, as the format is.
 * Threads: encode reads `bitmap` like any reader; decode changes it as rep_bitmap_words_or does.
 */
#ifndef REP_ROARING_H
#define REP_ROARING_H

#include "rep_api.h"
#include "rep_bitmap.h"

REP_API_BEGIN

/* cdef:begin */
typedef struct rep_roaring {
    const uint8_t *bytes;
    uint64_t byte_count;
    void *memory; /* what `bytes` lies in */
    uint64_t memory_bytes;
} rep_roaring;

/* Fills *out, to be given to rep_roaring_release. -ENOMEM; -EOVERFLOW: a bit from 2^32 on is set.
 * On failure nothing has to be released. */
int rep_roaring_encode(const rep_bitmap *bitmap, rep_roaring *out);
void rep_roaring_release(rep_roaring *roaring);
/* ORs the bits of `bytes` into `bitmap`, after all of them have been checked: on failure nothing
 * has changed. -EBADMSG: truncated, bytes after the end, unsorted, empty or overlapping containers
 * or runs, values past the container, counts or offsets that don't fit what is there; -ERANGE: a
 * bit past the bitmap's size, *highest is the highest bit of `bytes`. */
int rep_roaring_decode(const uint8_t *bytes, uint64_t byte_count, rep_bitmap *bitmap,
                       uint64_t *highest);
/* cdef:end */

REP_API_END

#endif
