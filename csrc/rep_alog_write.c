/* The transactions of an activity log as they are put together and written. */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "alog_ring_parts.h"

static block *block_at(rep_alog *log, uint32_t index)
{
    return (block *)(void *)(log->blocks + (uint64_t)index * REP_ALOG_BLOCK);
}

int rep_alog_put_block(rep_alog *log)
{
    if (log->block_count == log->blocks_max)
        return -ENOSPC;
    memset(block_at(log, log->block_count), 0, REP_ALOG_BLOCK);
    log->block_count++;
    uint32_t slots = log->shape.slot_count;
    log->block_used = 4 * (slots < REP_ALOG_CONTEXT ? slots : REP_ALOG_CONTEXT);
    return 0;
}

void rep_alog_put_begin(rep_alog *log)
{
    log->block_count = 0;
    log->block_used = REP_ALOG_BODY;
}

/* Room for a record, perhaps in another block. NULL: the transaction is full. */
static uint8_t *put(rep_alog *log, uint16_t type, uint32_t region, uint32_t bytes)
{
    if (bytes > REP_ALOG_BODY - log->block_used && rep_alog_put_block(log))
        return NULL;
    record r = {htole16(type), htole16((uint16_t)bytes), htole32(region)};
    uint8_t *at = block_at(log, log->block_count - 1)->body + log->block_used;
    memcpy(at, &r, sizeof r);
    log->block_used += bytes;
    block_at(log, log->block_count - 1)->body_bytes = htole32(log->block_used);
    return at + sizeof r;
}

int rep_alog_put_slot(rep_alog *log, const rep_alog_move *move)
{
    uint8_t *body = put(log, REP_ALOG_SLOT, move->region, 16);
    uint32_t slot = htole32(move->slot);
    if (!body)
        return -ENOSPC;
    memcpy(body, &slot, sizeof slot);
    return 0;
}

int rep_alog_put_cover(rep_alog *log, uint32_t region, const uint8_t row_id[16],
                       const uint64_t *words, uint32_t count)
{
    uint8_t *body = put(log, REP_ALOG_COVER, region, 24 + 8 * count);
    if (!body)
        return -ENOSPC;
    memcpy(body, row_id, 16);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t word = htole64(words[i]);
        memcpy(body + 16 + 8ULL * i, &word, sizeof word);
    }
    return 0;
}

void rep_alog_put_back(rep_alog *log, uint32_t block_count, uint32_t block_used)
{
    log->block_count = block_count;
    log->block_used = block_used;
    block *last = block_at(log, block_count - 1);
    last->body_bytes = htole32(block_used);
    memset(last->body + block_used, 0, REP_ALOG_BODY - block_used);
}

int rep_alog_put_all_slots(rep_alog *log)
{
    uint32_t cycle = (log->shape.slot_count + REP_ALOG_CONTEXT - 1) / REP_ALOG_CONTEXT;
    int rc = 0;
    while (!rc && log->block_count < cycle)
        rc = rep_alog_put_block(log);
    return rc;
}

static void put_context(rep_alog *log, block *b)
{
    uint32_t slots = log->shape.slot_count;
    uint32_t count = slots < REP_ALOG_CONTEXT ? slots : REP_ALOG_CONTEXT;
    if (!slots)
        return; /* rep_alog_shape_check has seen to it; clang-tidy can't know */
    b->context_slot = htole32(log->context_slot);
    b->context_count = htole32(count);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t region = htole32(log->slots[(log->context_slot + i) % slots].region);
        memcpy(b->body + 4ULL * i, &region, sizeof region);
    }
    if (le32toh(b->body_bytes) < 4 * count)
        b->body_bytes = htole32(4 * count);
    log->context_slot = (log->context_slot + count) % slots;
}

static int write_blocks(rep_alog *log, uint32_t first, uint32_t count)
{
    return rep_io_pwrite(log->io, block_at(log, first), (uint64_t)count * REP_ALOG_BLOCK,
                         block_offset(log, log->next + first));
}

int rep_alog_write(rep_alog *log, uint64_t tail, uint64_t reset)
{
    for (uint32_t i = 0; i < log->block_count; i++) {
        block *b = block_at(log, i);
        b->block_count = htole32(log->block_count);
        b->sequence = htole64(log->next + i);
        b->first = htole64(log->next);
        b->tail = htole64(tail);
        b->reset = htole64(reset);
        put_context(log, b);
        seal(b, &log->shape);
    }
    uint64_t to_end = log->ring_blocks - log->next % log->ring_blocks;
    uint32_t head = log->block_count < to_end ? log->block_count : (uint32_t)to_end;
    int rc = write_blocks(log, 0, head);
    if (!rc && head < log->block_count)
        rc = write_blocks(log, head, log->block_count - head);
    return rc ? rc : rep_io_flush(log->io);
}
