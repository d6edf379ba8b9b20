/* bitmap_file_parts: what the files of rep_bitmap_file know of each other. Not a public header. */
#ifndef REP_BITMAP_FILE_PARTS_H
#define REP_BITMAP_FILE_PARTS_H

#include <pthread.h>
#include <stdbool.h>

#include "bitmap_parts.h"
#include "rep_bitmap_file.h"
#include "rep_io.h"

#define REP_PAGE_BYTES 4096U
/* Of the page's and of the header's checksum, which covers all that stands before it. */
#define REP_PAGE_CRC_OFFSET (REP_PAGE_BYTES - 4)
#define REP_PAGE_WORDS 510U
#define REP_PAGE_BITS ((uint64_t)REP_PAGE_WORDS * REP_WORD_BITS)

enum rep_bitmap_file_flag {
    REP_FILE_OPEN = 1,
    REP_FILE_FILLED = 2, /* since version 2: a page of zeros has all bits set */
    REP_FILE_LOGGED = 4, /* since version 3 */
};

struct rep_bitmap_file {
    rep_io *io;
    bool owns_io;
    pthread_mutex_t mutex; /* innermost but for rep_bitmap's; guards all below and the pages */
    rep_bitmap_key key;
    uint32_t flags;
    /* A change of the header failed, and so did taking it back: `flags` may not be there, and no page
     * is put as a hole, which could mean either. */
    bool unsure;
    bool has_crc;
    uint32_t crc;      /* the header's, for all of the file's life */
    uint64_t openings; /* how often it was marked open: a save that goes on beside one has failed */
};

/* What a page holds: the OR of some bitmaps of the file's size. */
typedef struct rep_page_source {
    const rep_bitmap *const *bitmaps;
    int count;
} rep_page_source;

static inline uint64_t rep_bitmap_file_pages(const rep_bitmap_key *key)
{
    return (key->bit_count + REP_PAGE_BITS - 1) / REP_PAGE_BITS;
}

/* Mutex held: writes the header with these flags, durably. On failure the header is as it was, or
 * `unsure`: then no mark counts as set before it was written again. */
int rep_bitmap_file_change(rep_bitmap_file *file, const rep_bitmap_key *key, uint32_t flags);

/* Mutex held: a page of zeros means from now on that all of its bits are set, or that none is; no page
 * says anything else than before, at no moment. Costs a write of each page of zeros, unless the file
 * has the open mark: then of nothing. On failure nothing is told otherwise; the header may be
 * `unsure`. */
int rep_bitmap_file_turn(rep_bitmap_file *file, bool filled);
/* Writes the pages [first, end) as `source` has them now: it is read with the mutex held, so that no
 * older state of a page overwrites a newer one. Not flushed. */
int rep_bitmap_file_put(rep_bitmap_file *file, const rep_page_source *source, uint64_t first,
                        uint64_t end);
/* Makes what was put durable. */
int rep_bitmap_file_flush(rep_bitmap_file *file);
/* Before all pages are put, of a source more than half of which is set or isn't. *openings is for
 * done, which sets the log mark unless the file was marked open meanwhile (-EAGAIN). */
int rep_bitmap_file_begin(rep_bitmap_file *file, bool filled, uint64_t *openings);
int rep_bitmap_file_done(rep_bitmap_file *file, uint64_t openings);

#endif
