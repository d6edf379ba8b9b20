/* Inside of rep_ext_delta: two files' maps side by side, for what counts, maps and copies. */
#ifndef REP_EXT_DELTA_H
#define REP_EXT_DELTA_H

#include "rep_ext_internal.h"

struct rep_ext_delta {
    rep_ext *source;
    rep_ext *target;
    uint32_t source_inode;
    uint32_t inode; /* 0: there is none yet */
    block_map from; /* of the source, cut at its end */
    block_map to;
    /* Content inside the inode, a whole number of blocks long, zeros behind its end; else NULL. */
    unsigned char *from_inline;
    unsigned char *to_inline;
    uint64_t from_blocks; /* of from_inline */
    uint64_t to_blocks;
    uint64_t size;        /* of the source, bytes */
    uint64_t target_size; /* bytes */
    uint64_t at;          /* block where comparing or writing goes on */
    uint64_t window;      /* bytes that the next two have room for: less for small files */
    unsigned char *wanted;
    unsigned char *held;
};

/* A stretch of the file over which neither map changes. */
typedef struct stretch {
    uint64_t logical;
    uint64_t count;
    const run *from; /* NULL: a hole, or never written */
    const run *to;   /* NULL: no block */
} stretch;

/* The stretch at `logical`; 0 when neither map has anything from there on. */
int rep_ext_delta_stretch(const rep_ext_delta *delta, uint64_t logical, stretch *out);
/* What a stretch needs: the target a block, or none. An unwritten block of the target counts as
 * none where the source has data, and stays where the source has none. */
int rep_ext_stretch_needs_block(const stretch *at);
int rep_ext_stretch_needs_release(const rep_ext_delta *delta, const stretch *at);

#endif
