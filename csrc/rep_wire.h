/* rep_wire: the only codec of frames and records (docs/formats.md is normative).
 *
 * A frame is a header of 64 bytes and a body of whole records, at most REP_FRAME_BYTES in all.
 * Little endian:
 *   0 magic "pyrepFR\0" · 8 digest u64 (rep_crc32c_lanes of all bytes from 16 on; set and checked
 *   by the caller, rep_frame_seal and rep_frame_is_sealed) · 16 version u16 = 1 · 18 flags u16 = 0 · 20 record_count u32 · 24 stream_id u64 ·
 *   32 attempt u64 · 40 first_number u64 · 48 body_bytes u32 · 52 reserved (12 bytes, zero)
 * A record is a header of 32 bytes, then (DATA only) `length` bytes:
 *   0 type u8 · 1 flags u8 (bit 0: sent by a resync) · 2 reserved u16 = 0 · 4 channel u32 ·
 *   8 number u64 · 16 offset u64 · 24 length u32 · 28 reserved u32 = 0
 * Numbers of the records of a frame are consecutive from first_number. A BARRIER has channel,
 * offset, length and flags 0: "make everything before this number durable".
 * Threads: pure functions, any thread. Source: Fig. 1, path 150.
 */
#ifndef REP_WIRE_H
#define REP_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include "rep_api.h"

REP_API_BEGIN

/* cdef:begin */
#define REP_FRAME_BYTES 1048576
#define REP_FRAME_HEADER_BYTES 64
#define REP_FRAME_DIGEST_OFFSET 8
#define REP_FRAME_DIGEST_FROM 16
#define REP_RECORD_HEADER_BYTES 32
#define REP_RECORD_DATA_BYTES 262144

enum rep_record_type {
    REP_RECORD_DATA = 1,
    REP_RECORD_ZERO = 2,
    REP_RECORD_TRIM = 3,
    REP_RECORD_BARRIER = 4
};

typedef struct rep_frame_info {
    uint64_t stream_id;
    uint64_t attempt;
    uint64_t first_number;
    uint32_t record_count;
    uint32_t body_bytes;
} rep_frame_info;

/* Checks the structure of a whole frame, every record included, but not its digest. 0; -EBADMSG:
 * not a frame or malformed; -EPROTO: a version that this code doesn't speak. */
int rep_frame_check(const void *frame, uint64_t length, rep_frame_info *out);
/* Writes the digest into a frame that stands there whole, at least its header. */
void rep_frame_seal(void *frame, uint64_t length);
/* 1 when its digest matches. Of any bytes. */
int rep_frame_is_sealed(const void *frame, uint64_t length);
/* cdef:end */

#define REP_RECORD_FLAG_RESYNC 1

typedef struct rep_record {
    uint8_t type;
    uint8_t flags;
    uint32_t channel;
    uint64_t number;
    uint64_t offset;        /* bytes */
    uint32_t length;        /* bytes */
    const uint8_t *payload; /* DATA only, inside the frame */
} rep_record;

/* Writes the header of a frame whose body of `info->body_bytes` stands behind it; digest is 0. */
void rep_frame_put_header(void *frame, const rep_frame_info *info);
/* Writes a record's header (32 bytes), not its payload. */
void rep_record_put_header(void *at, const rep_record *record);
/* Reads one record at body[0..available): its whole size in bytes, or -EBADMSG. */
int rep_record_get(const uint8_t *body, uint64_t available, rep_record *out);

REP_API_END

#endif
