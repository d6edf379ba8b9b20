/* rep_crc: CRC-32C (Castagnoli, reflected, initial and final XOR 0xffffffff) of bitmap pages and
 * headers. Test vector: "123456789" gives 0xe3069283. Uses SSE4.2 where the processor has it. Any
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
/* cdef:end */

/* The same by tables, as it is done without SSE4.2. */
uint32_t rep_crc32c_by_table(uint32_t crc, const void *data, size_t length);

REP_API_END

#endif
