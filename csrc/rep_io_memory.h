/* rep_io_memory: zero-filled private memory as rep_io: baseline of benchmarks and test double. */
#ifndef REP_IO_MEMORY_H
#define REP_IO_MEMORY_H

#include "rep_api.h"
#include "rep_io.h"

REP_API_BEGIN

/* cdef:begin */
/* -ENOMEM, -EINVAL (size 0). Pages are touched lazily. */
int rep_io_memory_new(uint64_t size_bytes, rep_io **out);
/* cdef:end */

REP_API_END

#endif
