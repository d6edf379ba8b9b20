/* rep_alog: a volume's activity log: the bounded, durable set of regions that may have writes whose
 * cover isn't durable yet. Source: INV-1, INV-2; docs/adr/0020.
 *
 * A write takes a reference to the regions it touches before it enters them. A region that has a
 * slot is *hot*: then that costs two atomic operations. One that hasn't is *admitted*: one durable
 * write (a transaction) records the new region and, of the region that leaves the slot for it, the
 * cover (P, U and shared marks) in each row that keeps a bitmap file. So after a crash
 *
 *     the row's pages  OR  what left and isn't in the pages yet  OR  all of the hot regions
 *
 * holds every bit that the row had. Pages are written by checkpoints, before the log reuses a
 * transaction. A region leaves when no write is in it and the volume was flushed since the last one:
 * what a mirror has made durable and this volume hasn't is lost here by a power loss, and only the
 * hot region tells. Nobody waits for a peer.
 *
 * When the log fails, every row's file gets the open mark and writes go on without it; if that fails
 * too, writes do, until it succeeds.
 *
 * On disk (normative text in docs/formats.md; little endian, blocks of 4096 bytes): block 0 is the
 * header: magic "pyrepAL\0", version u32 = 1, flags u32 = 0, system_id, volume_id, size_bytes u64,
 * region_bytes u64, slot_count u32, ring_blocks u32, zeros, CRC-32C. Behind it the ring; the block of
 * sequence s is at 1 + s % ring_blocks. alog_parts.h has a block's layout.
 *
 * Threads: all calls may run beside each other, but for open, replay and free. Locks: `checkpointing`
 * (outermost), then a pass over no bytes of the volume's tree, then a link's mutex, then a bitmap
 * file's; the log's own mutex is held with none of them but `checkpointing`.
 */
#ifndef REP_ALOG_H
#define REP_ALOG_H

#include <stdint.h>

#include "rep_api.h"
#include "rep_bitmap.h"
#include "rep_bitmap_file.h"
#include "rep_io.h"
#include "rep_link.h"

REP_API_BEGIN

/* cdef:begin */
typedef struct rep_alog rep_alog;
typedef struct rep_alog_shape {
    uint8_t system_id[16];
    uint8_t volume_id[16];
    uint64_t size_bytes;   /* of the volume */
    uint64_t region_bytes; /* a power of two, 1 MiB to 64 MiB */
    uint32_t slot_count;   /* hot regions at most, 4 to 65535 */
} rep_alog_shape;

enum rep_alog_state {
    REP_ALOG_OPENED = 0, /* read; not begun */
    REP_ALOG_WORKING = 1,
    REP_ALOG_BYPASSED = 2, /* it failed: the rows' files have the open mark */
    REP_ALOG_FAILED = 3    /* and these couldn't be given it: writes fail */
};
typedef struct rep_alog_info {
    int state;
    int error; /* negative errno that ended its work, or 0 */
    uint64_t slot_count;
    uint64_t hot;            /* regions that have a slot */
    uint64_t admissions;     /* regions admitted */
    uint64_t transactions;   /* durable writes of the log */
    uint64_t volume_flushes; /* for regions that left */
    uint64_t checkpoints;
    uint64_t page_flushes; /* flushes of bitmap files by checkpoints */
    uint64_t used_blocks;  /* of the ring, that a checkpoint would free */
    uint64_t ring_blocks;
} rep_alog_info;

/* Bytes of a log of this shape: what its storage must have; 0: no such shape. */
uint64_t rep_alog_bytes(const rep_alog_shape *shape);
/* Writes an empty log; durable when it returns 0. A crash may leave any half of it: give it its name
 * afterwards. -EINVAL. */
int rep_alog_format(rep_io *io, const rep_alog_shape *shape);
/* Reads a log and checks it. Whatever slots and regions it has, it is read; system, volume and size
 * must be the expected ones. `io` stays the caller's and outlives the log.
 * -EBADMSG damaged: it tells nothing; -EPROTO a version newer than this one; -EXDEV another system's or
 * volume's; -ENODATA truncated; errno of the storage. */
int rep_alog_open(rep_io *io, const rep_alog_shape *expected, rep_alog **out);
/* The volume it was begun for must be freed first (rep_volume_free stops it), or there was none. */
void rep_alog_free(rep_alog *log);
void rep_alog_shape_get(const rep_alog *log, rep_alog_shape *out);
/* into |= what the log holds for a row: bits that left, and all of the hot regions. Of a log that
 * isn't begun. `into` is the caller's alone. -EINVAL (chunk or size). */
int rep_alog_replay(const rep_alog *log, const uint8_t row_id[16], uint64_t chunk_bytes,
                    rep_bitmap *into);
/* How many regions were hot when it was written last. */
uint64_t rep_alog_past_hot(const rep_alog *log);
/* Begins anew, durably, for this volume: what the log held is forgotten, it must be in the pages by
 * now (rep_bitmap_file_save). From now on every write to the volume takes the log's way. Also after it
 * was bypassed: then every row has to be saved (rep_link_save). What rows with work wrote without it
 * is flushed first; errno of the volume's storage: it couldn't be, and all is pending. On failure it
 * is bypassed; one that had failed is so only once the files have the open mark. */
int rep_alog_begin(rep_alog *log, rep_volume *volume);
/* Writes the pages of regions that left, and lets the log reuse their transactions. `at_least`: only
 * if this many blocks would become free. 1: done, 0: there was nothing to do; errno of a file's
 * storage: it may be called again, nothing is lost. */
int rep_alog_checkpoint(rep_alog *log, uint64_t at_least);
/* Makes durable what checkpoints have freed, if nobody has been admitted since, whose transaction says
 * so as well: until then a recovery replays what left before them. With rep_link_save behind the
 * checkpoint a crash costs no more than what is pending and hot. 0: so it is, or the log doesn't work;
 * errno of its storage: it is bypassed or has failed, as after an admission. */
int rep_alog_forget(rep_alog *log);
/* Makes the volume durable, on behalf of whoever isn't a host: what was written before its rows took
 * part is in no hot region, and a copy is about to make it durable elsewhere. As rep_volume_flush. */
int rep_alog_flush(rep_alog *log);
void rep_alog_info_get(rep_alog *log, rep_alog_info *out);

/* The row's bitmap file, for checkpoints and the log; it outlives the link, or is taken away (NULL)
 * first. row_id names the row in the log. */
int rep_link_keep(rep_link *link, rep_bitmap_file *file, const uint8_t row_id[16]);
/* Chunks that are about to become pending, for a cause that no region is hot for: until another call
 * pages and log hold them beside the row's cover (rep_link_save makes them durable), while writes go
 * on as if they weren't. So they are durable before whoever relies on them (INV-2), and a crash
 * costs them, not everything. NULL: none; before, they must have become pending, or else they are
 * forgotten by and by. The bitmap isn't changed meanwhile. -EINVAL: of another size. */
int rep_link_expect(rep_link *link, const rep_bitmap *expected);
/* Writes all pages with the row's cover as it is, while hosts write, then sets the log mark, unless the
 * log fails meanwhile: from now on a crash costs what is pending and what is hot, not everything. -EINVAL: no file is kept;
 * -ENOTCONN: the log doesn't work (the open mark stays); errno of the storage: the marks are as they
 * were, or the open mark is set. */
int rep_link_save(rep_link *link);
/* cdef:end */

REP_API_END

#endif
