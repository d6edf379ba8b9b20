/* bitmap_file_parts: what the files of rep_bitmap_file know of each other. Not a public header. */
#ifndef REP_BITMAP_FILE_PARTS_H
#define REP_BITMAP_FILE_PARTS_H

#include <stdbool.h>

#include "bitmap_parts.h"
#include "rep_bitmap_file.h"
#include "rep_io.h"

#define REP_PAGE_BYTES 4096U
/* Of the page's and of the header's checksum, which covers all that stands before it. */
#define REP_PAGE_CRC_OFFSET (REP_PAGE_BYTES - 4)
#define REP_PAGE_WORDS 510U
#define REP_PAGE_BITS ((uint64_t)REP_PAGE_WORDS * REP_WORD_BITS)

struct rep_bitmap_file {
    rep_io *io;
    rep_bitmap_key key;
    bool marked_open;
    bool filled; /* a page of zeros has all bits set */
};

static inline uint64_t rep_bitmap_file_pages(const rep_bitmap_key *key)
{
    return (key->bit_count + REP_PAGE_BITS - 1) / REP_PAGE_BITS;
}

/* Writes the header with this mark and this meaning of zeros, durably. On failure the header is as
 * it was, as far as the storage lets it. */
int rep_bitmap_file_change(rep_bitmap_file *file, const rep_bitmap_key *key, bool marked_open,
                           bool filled);

#endif
