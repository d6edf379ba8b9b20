/* rep_ext_cache: write-back cache between libext2fs and a rep_io.
 *
 * Metadata goes through lines of 4 KiB and is written at the flush; file data goes past the lines,
 * which are kept equal to it (a block freed as metadata may come back as data). Whatever is written
 * is compared first: bytes that the volume holds already are not written again, which keeps the
 * pending bitmaps above it small.
 *
 * The line is 4 KiB whatever the file system's block size, the smallest chunk a pair can have:
 * finer comparison would save nothing.
 *
 * Threads: one at a time.
 */
#ifndef REP_EXT_CACHE_H
#define REP_EXT_CACHE_H

#include <stdint.h>

#include "../rep_io.h"

typedef struct rep_ext_cache rep_ext_cache;

/* Borrows `io`. NULL when memory lacks. */
rep_ext_cache *rep_ext_cache_new(rep_io *io, int writable);
/* Drops what wasn't flushed. */
void rep_ext_cache_free(rep_ext_cache *cache);

/* -ERANGE past the end of the volume, or what the storage answered. */
int rep_ext_cache_read(rep_ext_cache *cache, void *buffer, uint64_t length, uint64_t offset);
/* Changes lines; reaches the volume at the flush or when too much waits. -EROFS. */
int rep_ext_cache_write(rep_ext_cache *cache, const void *buffer, uint64_t length, uint64_t offset);
/* File data: past the lines, but with what they hold. */
int rep_ext_cache_read_data(rep_ext_cache *cache, void *buffer, uint64_t length, uint64_t offset);
/* Writes at once what differs. */
int rep_ext_cache_write_data(rep_ext_cache *cache, const void *buffer, uint64_t length,
                             uint64_t offset);
/* Writes dirty lines that differ, in ascending order, then makes all writes durable. Does nothing
 * when nothing was written. After a failure the lines are still dirty. */
int rep_ext_cache_flush(rep_ext_cache *cache);

uint64_t rep_ext_cache_written(const rep_ext_cache *cache);
uint64_t rep_ext_cache_dirty(const rep_ext_cache *cache);
/* The last failed transfer: "read of 4096 bytes at offset 8192 of the volume: ...", or "". */
const char *rep_ext_cache_failure(const rep_ext_cache *cache);
void rep_ext_cache_failure_clear(rep_ext_cache *cache);

#endif
