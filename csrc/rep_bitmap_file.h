/* rep_bitmap_file: a bitmap on disk: a checked header and pages with checksums.
 *
 * Layout (little endian; normative text in docs/formats.md):
 *   header, 4096 bytes at 0: magic "pyrepBM\0", version u32 = 3, flags u32 (bit 0: the open mark,
 *   bit 1: filled, bit 2: the log mark), the key below in its order, page_bytes u32 = 4096, a
 *   balance u32 that keeps the checksum what it was when the file was made, zeros, and in the last 4
 *   bytes the CRC-32C of the 4092 before. Every version keeps magic, version and
 *   this CRC where they are. Version 1, which knows no filled files, and 2, which knows no log mark,
 *   are read and become 3 at the next mark.
 *   page i, 4096 bytes at 4096*(1+i): words u64[510], then page index u64, reserved u32 = 0,
 *   CRC-32C u32 of the 4092 bytes before. A page of all zero bytes (a hole) means no bit set,
 *   in a filled file all bits set.
 *   The file ends with its last page: 1 + ceil(bit_count / (510 * 64)) pages in all.
 * The key binds the file to one system, volume, row and data identifier: a bitmap used with the
 * wrong data corrupts silently, so it is refused.
 *
 * Marks: none: the pages say all. Open: whatever the pages say, all bits are set. Log: the pages are
 * true together with the activity log of the volume (rep_alog.h): what a running system leaves.
 *
 * Threads: calls may run beside each other, but for free; one at a time is served. What is saved may
 * be in use by others; a bitmap that is loaded into belongs to the caller alone.
 * Durability: create, the marks and save are durable when they return 0.
 * Any call may be repeated after a failure; a failed call has left the open mark as it was (a
 * header write that failed half-way is undone, as far as the storage lets it), save perhaps raised.
 * The file is locked while it is open, as rep_io_file says.
 */
#ifndef REP_BITMAP_FILE_H
#define REP_BITMAP_FILE_H

#include "rep_api.h"
#include "rep_bitmap.h"
#include "rep_io.h"

REP_API_BEGIN

/* cdef:begin */
typedef struct rep_bitmap_file rep_bitmap_file;
typedef struct rep_bitmap_key {
    uint8_t system_id[16];
    uint8_t volume_id[16];
    uint8_t row_id[16];
    uint64_t bit_count;
    uint64_t chunk_bytes;
    uint64_t data_id;
} rep_bitmap_key;

/* Makes the file with its header, marked open or closed, and all bits clear. -EEXIST, -ENOSPC,
 * -EACCES, -EINVAL (bit_count is none that a bitmap can have). On failure there is no file. */
int rep_bitmap_file_create(const char *path, const rep_bitmap_key *key, int marked_open,
                           rep_bitmap_file **out);
/* Opens and checks the header. -ENOENT; -EWOULDBLOCK open elsewhere; -EBADMSG corrupt header, wrong
 * magic or bytes after the last page; -EPROTO a version newer than this one; -ENODATA truncated;
 * -EXDEV another system, volume, row or geometry; -ESTALE another data identifier
 * (not asked of a file with the open mark or the log mark). */
int rep_bitmap_file_open(const char *path, const rep_bitmap_key *expected, rep_bitmap_file **out);
/* The same two on storage that stays the caller's and outlives the file (a test's double, say).
 * bytes: how large it must be. create_on wants storage that reads as zeros. */
uint64_t rep_bitmap_file_bytes(const rep_bitmap_key *key);
int rep_bitmap_file_create_on(rep_io *io, const rep_bitmap_key *key, int marked_open,
                              rep_bitmap_file **out);
int rep_bitmap_file_open_on(rep_io *io, const rep_bitmap_key *expected, rep_bitmap_file **out);
/* 1 when the open mark is set: the last user didn't close cleanly. */
int rep_bitmap_file_marked_open(rep_bitmap_file *file);
/* 1 when the log mark is set (and not the open mark). */
int rep_bitmap_file_marked_logged(rep_bitmap_file *file);
/* ORs the stored bits into `bitmap`. -EBADMSG: a page is torn or misplaced (`bitmap` then holds the
 * good pages and all bits of the bad ones). -EINVAL: of another size. Errno of the storage: `bitmap`
 * holds a part, and is of no use. */
int rep_bitmap_file_load(rep_bitmap_file *file, rep_bitmap *bitmap);
/* Writes all pages of first OR second (second may be NULL), punching holes for empty pages (where
 * more than half of `first` is set: for full ones, and the file is filled), then fdatasync. Costs by
 * what differs from all clear, or from all set. -EINVAL: of another size; -ENOSPC. After a failure,
 * and after a crash meanwhile, each page is the old one, the new one or, after a crash, torn; the
 * marks are as they were. A file that is to become filled, or no longer, has its holes written out
 * as pages first, unless it has the open mark. */
int rep_bitmap_file_save(rep_bitmap_file *file, const rep_bitmap *first, const rep_bitmap *second);
int rep_bitmap_file_mark_open(rep_bitmap_file *file);
/* Sets the log mark in place of the open mark. The pages must say enough: rep_link_save does both. */
int rep_bitmap_file_mark_logged(rep_bitmap_file *file);
/* Clears both marks and sets the data identifier, in one header write. */
int rep_bitmap_file_mark_closed(rep_bitmap_file *file, uint64_t data_id);
void rep_bitmap_file_free(rep_bitmap_file *file);
/* cdef:end */

REP_API_END

#endif
