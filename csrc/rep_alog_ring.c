/* The bytes of an activity log: its header, its ring, what a crash has left in it. */
#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "alog_ring_parts.h"
#include "rep_crc.h"

#define VERSION 1U
/* No log gets there; further on, sums of sequences would end at 0 again. */
#define SEQUENCE_END (1ULL << 62)

static const char magic[8] = "pyrepAL";

typedef struct log_header {
    char magic[8];
    uint32_t version;
    uint32_t flags;
    uint8_t system_id[16];
    uint8_t volume_id[16];
    uint64_t size_bytes;
    uint64_t region_bytes;
    uint32_t slot_count;
    uint32_t ring_blocks;
    uint8_t zeros[REP_ALOG_CRC_OFFSET - 72];
    uint32_t crc;
} log_header;

static_assert(sizeof(log_header) == REP_ALOG_BLOCK && offsetof(log_header, zeros) == 72,
              "the header's layout is a format");

int rep_alog_shape_check(const rep_alog_shape *shape)
{
    uint64_t region = shape->region_bytes;
    bool fits = shape->size_bytes && region >= 1ULL << 20 && region <= 1ULL << 26
                && !(region & (region - 1)) && shape->slot_count >= 4 && shape->slot_count <= 65535;
    return fits && (shape->size_bytes - 1) / region < REP_ALOG_EMPTY ? 0 : -EINVAL;
}

uint64_t rep_alog_ring_blocks(const rep_alog_shape *shape)
{
    uint64_t least = 4ULL * rep_alog_blocks_max(shape);
    return least > REP_ALOG_RING_MIN ? least : REP_ALOG_RING_MIN;
}

uint32_t rep_alog_blocks_max(const rep_alog_shape *shape)
{
    uint32_t cycle = (shape->slot_count + REP_ALOG_CONTEXT - 1) / REP_ALOG_CONTEXT;
    return cycle > REP_ALOG_BLOCKS_MAX ? cycle : REP_ALOG_BLOCKS_MAX;
}

uint64_t rep_alog_bytes(const rep_alog_shape *shape)
{
    return rep_alog_shape_check(shape) ? 0 : (1 + rep_alog_ring_blocks(shape)) * REP_ALOG_BLOCK;
}

int rep_alog_format(rep_io *io, const rep_alog_shape *shape)
{
    uint64_t bytes = rep_alog_bytes(shape);
    if (!bytes || rep_io_size(io) != bytes)
        return -EINVAL;
    /* Written, not punched: a later write of the log finds its block allocated. */
    uint8_t *all = calloc(1, bytes);
    if (!all)
        return -ENOMEM;
    log_header *h = (log_header *)(void *)all;
    memcpy(h->magic, magic, sizeof magic);
    h->version = htole32(VERSION);
    memcpy(h->system_id, shape->system_id, sizeof h->system_id);
    memcpy(h->volume_id, shape->volume_id, sizeof h->volume_id);
    h->size_bytes = htole64(shape->size_bytes);
    h->region_bytes = htole64(shape->region_bytes);
    h->slot_count = htole32(shape->slot_count);
    h->ring_blocks = htole32((uint32_t)rep_alog_ring_blocks(shape));
    h->crc = htole32(rep_crc32c(0, h, REP_ALOG_CRC_OFFSET));
    block *b = (block *)(void *)(all + 2ULL * REP_ALOG_BLOCK); /* sequence 1 */
    b->block_count = htole32(1);
    b->sequence = b->first = b->tail = b->reset = htole64(1);
    seal(b, shape);
    int rc = rep_io_pwrite(io, all, bytes, 0);
    free(all);
    return rc ? rc : rep_io_flush(io);
}

static int check_header(const rep_alog *log, const log_header *h, const rep_alog_shape *expected)
{
    if (memcmp(h->magic, magic, sizeof magic) != 0
        || le32toh(h->crc) != rep_crc32c(0, h, REP_ALOG_CRC_OFFSET))
        return -EBADMSG;
    if (le32toh(h->version) > VERSION)
        return -EPROTO;
    if (!h->version || h->flags || rep_alog_shape_check(&log->shape)
        || le32toh(h->ring_blocks) != rep_alog_ring_blocks(&log->shape))
        return -EBADMSG;
    bool same = memcmp(h->system_id, expected->system_id, sizeof h->system_id) == 0
                && memcmp(h->volume_id, expected->volume_id, sizeof h->volume_id) == 0
                && log->shape.size_bytes == expected->size_bytes;
    return same ? 0 : -EXDEV;
}

static int read_header(rep_alog *log, const rep_alog_shape *expected)
{
    log_header h;
    if (rep_io_size(log->io) < sizeof h)
        return -ENODATA;
    int rc = rep_io_pread(log->io, &h, sizeof h, 0);
    if (rc)
        return rc;
    log->shape = *expected;
    log->shape.size_bytes = le64toh(h.size_bytes);
    log->shape.region_bytes = le64toh(h.region_bytes);
    log->shape.slot_count = le32toh(h.slot_count);
    rc = check_header(log, &h, expected);
    if (!rc && rep_io_size(log->io) != rep_alog_bytes(&log->shape))
        rc = rep_io_size(log->io) < rep_alog_bytes(&log->shape) ? -ENODATA : -EBADMSG;
    if (!rc)
        log->ring_blocks = rep_alog_ring_blocks(&log->shape);
    return rc;
}

static const block *past_block(const rep_alog *log, uint64_t sequence)
{
    return (const block *)(const void *)(log->past + sequence % log->ring_blocks * REP_ALOG_BLOCK);
}

/* The block of this sequence is there, whole and in its place. */
static bool is_there(const rep_alog *log, uint64_t sequence)
{
    const block *b = past_block(log, sequence);
    return le32toh(b->magic) == BLOCK_MAGIC && le64toh(b->sequence) == sequence && sequence
           && sequence < SEQUENCE_END
           && memcmp(b->volume_id, log->shape.volume_id, sizeof b->volume_id) == 0
           && le32toh(b->crc) == rep_crc32c(0, b, REP_ALOG_CRC_OFFSET);
}

/* All blocks of its transaction are there, and it is the last of them. */
static bool ends_transaction(const rep_alog *log, uint64_t sequence)
{
    const block *b = past_block(log, sequence);
    uint64_t first = le64toh(b->first);
    uint32_t count = le32toh(b->block_count);
    if (!first || !count || count > log->ring_blocks || first + count - 1 != sequence)
        return false;
    for (uint64_t s = first; s <= sequence; s++) {
        const block *other = past_block(log, s);
        if (!is_there(log, s) || other->first != b->first || other->block_count != b->block_count)
            return false;
    }
    return true;
}

/* The last transaction that counts; log->next is past everything that was ever written. */
static int find_tip(rep_alog *log)
{
    log->past_tip = 0;
    log->next = 1;
    for (uint64_t i = 0; i < log->ring_blocks; i++) {
        uint64_t sequence = le64toh(past_block(log, i)->sequence);
        if (sequence % log->ring_blocks != i || !is_there(log, sequence))
            continue;
        if (sequence >= log->next)
            log->next = sequence + 1;
        if (sequence > log->past_tip && ends_transaction(log, sequence))
            log->past_tip = sequence;
    }
    return log->past_tip ? 0 : -EBADMSG;
}

/* What is behind the tip must be the rest of the one transaction that a crash has torn: else the tip
 * isn't the tip, but a block that was durable is damaged. */
static int check_beyond(const rep_alog *log)
{
    uint64_t first = 0;
    for (uint64_t i = 0; i < log->ring_blocks; i++) {
        uint64_t s = le64toh(past_block(log, i)->sequence);
        if (s <= log->past_tip || s % log->ring_blocks != i || !is_there(log, s))
            continue;
        uint64_t its = le64toh(past_block(log, s)->first);
        if (its <= log->past_tip || (first && its != first))
            return -EBADMSG;
        first = its;
    }
    return 0;
}

/* The blocks that recovery needs: what may hold cover, and a whole cycle of contexts. */
static int find_window(rep_alog *log)
{
    const block *tip = past_block(log, log->past_tip);
    uint64_t cycle = (log->shape.slot_count + REP_ALOG_CONTEXT - 1) / REP_ALOG_CONTEXT;
    uint64_t reset = le64toh(tip->reset);
    log->past_tail = le64toh(tip->tail);
    if (log->past_tail > log->past_tip || reset > log->past_tip)
        return -EBADMSG;
    log->past_from = log->past_tip > cycle ? log->past_tip - cycle + 1 : 1;
    if (log->past_tail < log->past_from)
        log->past_from = log->past_tail;
    if (log->past_from < reset)
        log->past_from = reset;
    if (!log->past_from || log->past_tip - log->past_from >= log->ring_blocks)
        return -EBADMSG;
    for (uint64_t s = log->past_from; s <= log->past_tip; s++)
        if (!is_there(log, s))
            return -EBADMSG;
    return 0;
}

/* The next record of a block's body: false at its end; *bad: it isn't one. */
static bool next_record(const block *b, uint32_t *at, record *out, const uint8_t **body, bool *bad)
{
    uint32_t end = le32toh(b->body_bytes);
    if (*at >= end || *bad)
        return false;
    *bad = end > REP_ALOG_BODY || end - *at < sizeof *out;
    if (*bad)
        return false;
    memcpy(out, b->body + *at, sizeof *out);
    out->type = le16toh(out->type);
    out->bytes = le16toh(out->bytes);
    out->region = le32toh(out->region);
    *body = b->body + *at + sizeof *out;
    *bad = out->bytes < sizeof *out || out->bytes > end - *at;
    *at += out->bytes;
    return !*bad;
}

static int read_context(rep_alog *log, const block *b)
{
    uint32_t slot = le32toh(b->context_slot);
    uint32_t count = le32toh(b->context_count);
    if (count > REP_ALOG_CONTEXT || count * 4 > le32toh(b->body_bytes)
        || (count && slot >= log->shape.slot_count))
        return -EBADMSG;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t region;
        memcpy(&region, b->body + 4ULL * i, sizeof region);
        region = le32toh(region);
        if (region != REP_ALOG_EMPTY && region >= log->region_count)
            return -EBADMSG;
        log->past_slots[(slot + i) % log->shape.slot_count] = region;
    }
    return 0;
}

static int read_slots(rep_alog *log, const block *b)
{
    uint32_t at = le32toh(b->context_count) * 4;
    record r;
    const uint8_t *body;
    bool bad = false;
    while (next_record(b, &at, &r, &body, &bad)) {
        if (r.type == REP_ALOG_COVER && r.region < log->region_count)
            continue;
        if (r.type != REP_ALOG_SLOT || r.bytes != 16 || r.region >= log->region_count)
            return -EBADMSG;
        uint32_t slot;
        memcpy(&slot, body, sizeof slot);
        slot = le32toh(slot);
        if (slot >= log->shape.slot_count)
            return -EBADMSG;
        log->past_slots[slot] = r.region;
    }
    return bad ? -EBADMSG : 0;
}

/* A transaction's contexts tell how things are after it: its records first. */
static int read_transactions(rep_alog *log)
{
    int rc = 0;
    for (uint64_t s = log->past_from; !rc && s <= log->past_tip;) {
        uint64_t end =
            le64toh(past_block(log, s)->first) + le32toh(past_block(log, s)->block_count);
        if (end <= s || end > log->past_tip + 1)
            return -EBADMSG;
        for (uint64_t i = s; !rc && i < end; i++)
            rc = read_slots(log, past_block(log, i));
        for (; !rc && s < end; s++)
            rc = read_context(log, past_block(log, s));
    }
    return rc;
}

int rep_alog_read(rep_alog *log)
{
    rep_alog_shape expected = log->shape;
    int rc = read_header(log, &expected);
    if (rc)
        return rc;
    log->region_count =
        (log->shape.size_bytes + log->shape.region_bytes - 1) / log->shape.region_bytes;
    log->region_shift = (unsigned)__builtin_ctzll(log->shape.region_bytes);
    log->past = malloc(log->ring_blocks * REP_ALOG_BLOCK);
    log->past_slots = malloc(log->shape.slot_count * sizeof *log->past_slots);
    if (!log->past || !log->past_slots)
        return -ENOMEM;
    for (uint32_t i = 0; i < log->shape.slot_count; i++)
        log->past_slots[i] = REP_ALOG_EMPTY;
    rc = rep_io_pread(log->io, log->past, log->ring_blocks * REP_ALOG_BLOCK, REP_ALOG_BLOCK);
    if (!rc)
        rc = find_tip(log);
    if (!rc)
        rc = check_beyond(log);
    if (!rc)
        rc = find_window(log);
    return rc ? rc : read_transactions(log);
}

static void replay_cover(const record *r, const uint8_t *body, uint64_t first, uint64_t count,
                         rep_bitmap *into)
{
    uint64_t words = (r->bytes - 24U) / 8U;
    if (words
        != (count + REP_WORD_BITS - 1) / REP_WORD_BITS) { /* not of this geometry: all of it */
        rep_bitmap_set(into, first, count);
        return;
    }
    for (uint64_t i = 0; i < count; i++) {
        uint64_t word;
        memcpy(&word, body + 16 + i / REP_WORD_BITS * 8, sizeof word);
        if (le64toh(word) & rep_bit(i))
            rep_bitmap_set(into, first + i, 1);
    }
}

static void chunks_of_region(uint64_t region, unsigned shift, uint64_t size, uint64_t *first,
                             uint64_t *count)
{
    *first = region << shift;
    *count = 1ULL << shift;
    if (*count > size - *first)
        *count = size - *first;
}

int rep_alog_replay(const rep_alog *log, const uint8_t row_id[16], uint64_t chunk_bytes,
                    rep_bitmap *into)
{
    if (!log->past || !chunk_bytes || chunk_bytes & (chunk_bytes - 1)
        || chunk_bytes > log->shape.region_bytes
        || rep_bitmap_size(into) != (log->shape.size_bytes + chunk_bytes - 1) / chunk_bytes)
        return -EINVAL;
    unsigned shift = log->region_shift - (unsigned)__builtin_ctzll(chunk_bytes);
    uint64_t first;
    uint64_t count;
    for (uint64_t s = log->past_tail > log->past_from ? log->past_tail : log->past_from;
         s <= log->past_tip; s++) {
        const block *b = past_block(log, s);
        uint32_t at = le32toh(b->context_count) * 4;
        record r;
        const uint8_t *body;
        bool bad = false;
        while (next_record(b, &at, &r, &body, &bad)) {
            if (r.type != REP_ALOG_COVER || r.bytes < 32 || memcmp(body, row_id, 16) != 0)
                continue;
            chunks_of_region(r.region, shift, rep_bitmap_size(into), &first, &count);
            replay_cover(&r, body, first, count, into);
        }
    }
    for (uint32_t i = 0; i < log->shape.slot_count; i++)
        if (log->past_slots[i] != REP_ALOG_EMPTY) {
            chunks_of_region(log->past_slots[i], shift, rep_bitmap_size(into), &first, &count);
            rep_bitmap_set(into, first, count);
        }
    return 0;
}

uint64_t rep_alog_past_hot(const rep_alog *log)
{
    uint64_t hot = 0;
    for (uint32_t i = 0; log->past_slots && i < log->shape.slot_count; i++)
        hot += log->past_slots[i] != REP_ALOG_EMPTY;
    return hot;
}

int rep_alog_clear_rest(rep_alog *log)
{
    static const uint8_t zeros[REP_ALOG_BLOCK];
    bool any = false;
    for (uint64_t i = 0; log->past && i < log->ring_blocks; i++) {
        uint64_t s = le64toh(past_block(log, i)->sequence);
        if (s <= log->past_tip || s % log->ring_blocks != i || !is_there(log, s))
            continue;
        int rc = rep_io_pwrite(log->io, zeros, sizeof zeros, block_offset(log, s));
        if (rc)
            return rc;
        any = true;
    }
    int rc = any ? rep_io_flush(log->io) : 0;
    if (!rc && any)
        log->next = log->past_tip + 1;
    return rc;
}
