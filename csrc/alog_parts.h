/* alog_parts: what the files of rep_alog know of each other, and the write path of it. Not a public
 * header.
 *
 * A block of the ring, little endian:
 *   0 magic u32 "PAL1", 4 block_count u32 of its transaction, 8 sequence u64, 16 first u64: the
 *   sequence of its transaction's first block, 24 tail u64: the oldest block whose COVER records
 *   count, 32 reset u64: the first block of the transaction that forgot everything before it,
 *   40 context_slot u32, 44 context_count u32, 48 body_bytes u32 (context included), 52 zeros u32,
 *   56 volume_id[16], 72 body, 4092 CRC-32C of the 4092 bytes before.
 *   The body: context_count regions u32, those in the slots from context_slot on (round the end)
 *   after this transaction; then records of 8 bytes and more: type u16, bytes u16 (all of it),
 *   region u32; SLOT: slot u32, zeros u32: the region is in the slot from now on; COVER: row_id[16],
 *   words u64[]: these chunks of the region (the first is the lowest bit) were pending or unsettled.
 * A transaction counts when all of its blocks are there. What it says takes place at once. */
#ifndef ALOG_PARTS_H
#define ALOG_PARTS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "bitmap_file_parts.h"
#include "parts.h"
#include "rep_alog.h"

#define REP_ALOG_BLOCK 4096U
#define REP_ALOG_HEAD 72U
#define REP_ALOG_CRC_OFFSET (REP_ALOG_BLOCK - 4)
/* Slots told of by each block: the last slot_count / 128 blocks tell the whole hot set. */
#define REP_ALOG_CONTEXT 128U
#define REP_ALOG_BODY (REP_ALOG_CRC_OFFSET - REP_ALOG_HEAD)
#define REP_ALOG_EMPTY UINT32_MAX
/* Of one transaction, unless telling of all slots takes more. */
#define REP_ALOG_BLOCKS_MAX 64U
#define REP_ALOG_REGIONS_MAX 128U
#define REP_ALOG_RING_MIN 256U
/* Of the largest region, 64 MiB, in the smallest chunks, 4 KiB. */
#define REP_ALOG_WORDS_MAX 256U

enum rep_alog_record { REP_ALOG_SLOT = 1, REP_ALOG_COVER = 2 };

/* A region's word: slot + 1 above, then the arriving flag, then references. */
#define REP_ALOG_SLOT_SHIFT 32
#define REP_ALOG_ARRIVING (1ULL << 31)
#define REP_ALOG_REFERENCES (REP_ALOG_ARRIVING - 1)

typedef struct rep_alog_slot {
    uint32_t region;          /* REP_ALOG_EMPTY: none. Under the mutex */
    _Atomic uint32_t round;   /* last planning that looked at it in vain */
    _Atomic uint64_t used;    /* `tick` at the last reference */
    _Atomic uint64_t written; /* `flush_started` when the last write was over */
} rep_alog_slot;

/* A write that is over; `started` flushes had begun. Never backwards: one that comes here late, with
 * an older number, would let a newer write pass for flushed, and its region leave. */
static inline void rep_alog_note_written(rep_alog_slot *slot, uint64_t started)
{
    uint64_t known = atomic_load_explicit(&slot->written, memory_order_relaxed);
    while (known < started && !atomic_compare_exchange_weak(&slot->written, &known, started))
        ;
}

/* Somebody who waits for regions [first, end). */
typedef struct rep_alog_request {
    uint64_t first;
    uint64_t next; /* regions before it are referenced */
    uint64_t end;
    bool done;
    int rc; /* 0: referenced; 1: bypassed, nothing is */
    struct rep_alog_request *following;
} rep_alog_request;

typedef struct rep_alog_move {
    uint32_t slot;
    uint32_t region;
    uint32_t left; /* REP_ALOG_EMPTY: the slot was free */
} rep_alog_move;

typedef struct rep_alog_kept {
    rep_link *link;
    rep_bitmap_file *file;
} rep_alog_kept;

struct rep_alog {
    rep_io *io;
    rep_alog_shape shape;
    uint64_t region_count;
    uint64_t ring_blocks;
    rep_volume *volume;
    uint8_t *past; /* the ring as it was read, until begin */
    uint64_t past_from;
    uint64_t past_tail;
    uint64_t past_tip;
    uint32_t *past_slots;

    _Atomic uint64_t *regions; /* a word each; touched lazily */
    void *mapping;
    size_t mapping_bytes;
    rep_alog_slot *slots;
    _Atomic uint64_t tick; /* transactions, for `used` */
    _Atomic uint64_t flush_started;
    _Atomic uint64_t flushed; /* highest number of a flush that is over */
    _Atomic int state;
    _Atomic int starving; /* the first in the queue finds every slot referenced */
    _Atomic int kept_count;

    pthread_mutex_t checkpointing; /* guards kept; held while pages are written */
    rep_alog_kept *kept;

    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t changed;
    rep_alog_request *head;
    uint64_t next;       /* sequence of the next block */
    uint64_t tail;       /* see the block */
    uint64_t told;       /* the tail, as the last durable transaction has it */
    uint64_t covers_end; /* behind the last block that may hold cover */
    uint64_t reset;
    rep_bitmap *left[2]; /* regions that left since the last checkpoint; left[current] is open */
    uint64_t hot;
    uint64_t admissions;
    uint64_t transactions;
    uint64_t volume_flushes;
    uint64_t checkpoints;
    uint64_t page_flushes;

    int error;
    int inside; /* who waits, or holds references outside of a pass */
    int current;
    bool stopped;
    bool leading;
    uint32_t round;

    /* The leader's. */
    rep_alog_move moves[REP_ALOG_REGIONS_MAX];
    int move_count;
    unsigned region_shift; /* everybody's; it never changes */
    uint32_t context_slot;
    uint8_t *blocks;
    uint32_t blocks_max;
    uint32_t block_count;
    uint32_t block_used; /* bytes of the body of the last one */
};

/* --- rep_alog_ring.c: the bytes --------------------------------------------------------------- */

int rep_alog_shape_check(const rep_alog_shape *shape);
uint64_t rep_alog_ring_blocks(const rep_alog_shape *shape);
/* Blocks of one transaction: a few regions of many rows, or contexts about all slots. */
uint32_t rep_alog_blocks_max(const rep_alog_shape *shape);
/* log->shape is the expected one; fills log->past. */
int rep_alog_read(rep_alog *log);
/* A transaction in log->blocks: begin, records, end; then it is written. -ENOSPC: too large. */
void rep_alog_put_begin(rep_alog *log);
int rep_alog_put_slot(rep_alog *log, const rep_alog_move *move);
int rep_alog_put_cover(rep_alog *log, uint32_t region, const uint8_t row_id[16],
                       const uint64_t *words, uint32_t count);
/* Takes back what was put since the blocks were so many and of the last one so much was used. */
void rep_alog_put_back(rep_alog *log, uint32_t block_count, uint32_t block_used);
/* A block more, of context alone so far. -ENOSPC. */
int rep_alog_put_block(rep_alog *log);
/* More blocks, so that context about all slots is in it. */
int rep_alog_put_all_slots(rep_alog *log);
int rep_alog_write(rep_alog *log, uint64_t tail, uint64_t reset);
/* Before the first transaction: what a crash has left of one behind the tip goes, durably, and the
 * next one takes its place. The rest of two would look like damage, and each takes room that the
 * past is still needed in until the log has begun. */
int rep_alog_clear_rest(rep_alog *log);

/* --- rep_alog_pages.c: covers and pages -------------------------------------------------------- */

/* Chunks of a region in a row: count of bits from *first on. */
uint64_t rep_alog_bits(const rep_alog *log, const rep_link *link, uint64_t region, uint64_t *first);
/* The bitmaps of a row's cover and of what it expects, inside a pass and with the link's mutex held. -ENOMEM. */
int rep_alog_cover(const rep_link *link, const rep_bitmap ***bitmaps, int *count);
/* Every row's file gets the open mark: then the log is bypassed, else it has failed. A row that is
 * being saved meanwhile is told, or marked open afterwards. */
int rep_alog_distrust(rep_alog *log);

/* --- rep_alog_transaction.c: by the leader, without the mutex ---------------------------------- */

/* Makes log->moves durable with the cover of what leaves, in one transaction if it has room for all
 * of them; 0 moves: nothing. -ENOSPC: it hasn't for one, of hundreds of rows. */
int rep_alog_transact(rep_alog *log);
/* A transaction that says what is freed, and nothing else. */
int rep_alog_tell_tail(rep_alog *log);
/* Makes the slots durable as they are; whatever was before is forgotten. */
int rep_alog_commit_all(rep_alog *log);

/* --- rep_alog.c, rep_alog_admit.c: what the write path asks ------------------------------------- */

/* References regions [first, end) that are all hot: 0, or 1: bypassed, there is nothing to give back.
 * -EAGAIN: one isn't, nothing is referenced. */
int rep_alog_take(rep_alog *log, uint64_t first, uint64_t end);
void rep_alog_give_back(rep_alog *log, uint64_t first, uint64_t end);
/* Inside a pass (the volume is there): it stays until leave. */
void rep_alog_enter(rep_alog *log);
void rep_alog_leave(rep_alog *log);
/* By the leader, with the mutex: what it planned is durable, or told by open marks. */
void rep_alog_arrive(rep_alog *log);
/* Outside every pass, entered: admits what isn't hot and references all. As rep_alog_take, or
 * -ETIMEDOUT, -ECANCELED, -ESHUTDOWN (stopped: the volume is going), errno of the storage. */
int rep_alog_admit(rep_alog *log, uint64_t first, uint64_t end, uint64_t deadline_ns,
                   rep_wake *wake);
/* The volume goes: everybody leaves. */
void rep_alog_stop(rep_alog *log);
/* How much one piece of a zero or trim may cover. */
uint64_t rep_alog_piece_bytes(const rep_alog *log);

#endif
