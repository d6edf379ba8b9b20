/* rep_envelope: what stands before each message and frame on a path's sockets, and the one message
 * that the core reads and writes itself (docs/formats.md is normative).
 *
 * An envelope is 32 bytes, little endian: 0 kind u8 · 1 zeros · 4 body_bytes u32 · 8 tag u64 ·
 * 16 zeros · 24 digest u64 (rep_crc32c_lanes of the 24 bytes before).
 * Numbers of a stream, 40 bytes: 0 digest u64 (of the rest) · 8 stream_id u64 · 16 attempt u64 ·
 * 24 received u64 · 32 durable u64.
 * Threads: pure functions, any thread. Source: Fig. 1, path 150.
 */
#ifndef REP_ENVELOPE_H
#define REP_ENVELOPE_H

#include <stdint.h>

#include "rep_api.h"

REP_API_BEGIN

/* cdef:begin */
#define REP_ENVELOPE_BYTES 32
#define REP_NUMBERS_BYTES 40

/* The kinds that the core knows. */
enum rep_envelope_kind { REP_ENVELOPE_FRAME = 10, REP_ENVELOPE_NUMBERS = 11 };

typedef struct rep_envelope {
    uint8_t kind;
    uint32_t body_bytes;
    uint64_t tag;
} rep_envelope;

/* As the incoming side of a stream has them (rep_apply_info). */
typedef struct rep_numbers {
    uint64_t stream_id;
    uint64_t attempt;
    uint64_t received;
    uint64_t durable;
} rep_numbers;

/* Writes REP_ENVELOPE_BYTES. */
void rep_envelope_put(void *at, const rep_envelope *envelope);
/* Reads as many. -EBADMSG: its digest or its zeros aren't right. The kind may be any. */
int rep_envelope_get(const void *at, rep_envelope *out);
/* Writes REP_NUMBERS_BYTES. */
void rep_numbers_put(void *at, const rep_numbers *numbers);
/* Reads as many. -EBADMSG: the digest isn't right. */
int rep_numbers_get(const void *at, rep_numbers *out);
/* cdef:end */

REP_API_END

#endif
