/* alog_ring_parts: how a block of the ring and its records are laid out (alog_parts.h), for who
 * writes them and who reads what a crash has left. Not a public header. */
#ifndef ALOG_RING_PARTS_H
#define ALOG_RING_PARTS_H

#include <assert.h>
#include <endian.h>
#include <stddef.h>
#include <string.h>

#include "alog_parts.h"
#include "rep_crc.h"

#define BLOCK_MAGIC 0x314c4150U /* "PAL1" */

typedef struct block {
    uint32_t magic;
    uint32_t block_count;
    uint64_t sequence;
    uint64_t first;
    uint64_t tail;
    uint64_t reset;
    uint32_t context_slot;
    uint32_t context_count;
    uint32_t body_bytes;
    uint32_t zeros;
    uint8_t volume_id[16];
    uint8_t body[REP_ALOG_BODY];
    uint32_t crc;
} block;

static_assert(sizeof(block) == REP_ALOG_BLOCK && offsetof(block, body) == REP_ALOG_HEAD,
              "the block's layout is a format");

typedef struct record {
    uint16_t type;
    uint16_t bytes;
    uint32_t region;
} record;

static inline uint64_t block_offset(const rep_alog *log, uint64_t sequence)
{
    return (1 + sequence % log->ring_blocks) * REP_ALOG_BLOCK;
}

static inline void seal(block *b, const rep_alog_shape *shape)
{
    b->magic = htole32(BLOCK_MAGIC);
    memcpy(b->volume_id, shape->volume_id, sizeof b->volume_id);
    b->crc = htole32(rep_crc32c(0, b, REP_ALOG_CRC_OFFSET));
}

#endif
