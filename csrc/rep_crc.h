/* rep_crc: CRC-32C (Castagnoli, reflected, initial and final XOR 0xffffffff) of bitmap pages and
 * headers, and in two lanes of what crosses a path. Test vector: "123456789" gives 0xe3069283. Uses SSE4.2 where the processor has it. Any
 * thread. */
#ifndef REP_CRC_H
#define REP_CRC_H

#include <stddef.h>
#include <stdint.h>

#include "rep_api.h"

REP_API_BEGIN

/* cdef:begin */
/* Goes on from `crc`, the answer for the bytes before (0 at the start). */
uint32_t rep_crc32c(uint32_t crc, const void *data, size_t length);
/* CRC-32C in two lanes: the 1st, 3rd, … word of 8 bytes in the low half, the 2nd, 4th, … in the high
 * one; a last piece of less than 8 bytes is in the lane whose turn it is. What changes up to three
 * bits, or a burst of up to 32, changes a lane as it would a CRC; and two lanes take half the time
 * of one: an instruction needn't wait for the one before. */
uint64_t rep_crc32c_lanes(const void *data, size_t length);
/* cdef:end */

/* The same by tables, as it is done without SSE4.2. */
uint32_t rep_crc32c_by_table(uint32_t crc, const void *data, size_t length);
uint64_t rep_crc32c_lanes_by_table(const void *data, size_t length);

REP_API_END

#endif
