/* bitmap_parts: what the files of rep_bitmap know of each other. Not a public header.
 *
 * Level 0 holds the bits. A bit of level n+1 says that a word of level n isn't empty; the top level
 * is one word. A *group* is 64 words of level 0 that share one word of level 1; a *block* is the 64
 * groups that share one word of level 2, and has a bit of its own in level 3.
 *
 * A block whose bit in `full` is raised has all of its bits set, and its words of levels 0 to 2
 * mean nothing: a fresh pair's "all pending" costs a bit per 2^18 chunks. Readers look at `full`
 * first. To clear a part of such a block, its words are written first (all ones), then the bit is
 * lowered; to clear all of it, its words become zeros, then the bit is lowered.
 *
 * How set and clear keep the summary true while they run beside each other:
 *  - A word is changed by compare-and-swap. Only the holder of `summary_mutex` turns a word of any
 *    level empty, or changes a summary or `full` at all; it raises `emptying` before it empties
 *    anything.
 *  - set changes its word, then looks at `emptying`, then at the summaries. Lowered, and every
 *    summary bit there: it is done. Whoever empties the word afterwards finds the new bit in it;
 *    whoever did before has already taken the summary bit away, where set finds it missing.
 *    Otherwise set takes the mutex and puts the summary right.
 *  - So the summary is exact whenever nothing runs, and no set that has returned is hidden.
 * Clearing without `emptying` (word, then summary, then a look whether to restore it) is the
 * tempting way: between the last two a bit whose set has returned is invisible, and a resync that
 * looks just then calls the pair equal.
 *
 * And `full`: its bit is raised after the summaries above say that the block isn't empty, so a set
 * that sees it raised is done. Words below keep what they held: a reader that saw the bit lowered
 * still reads every bit that was set before. An edit that saw it lowered and comes late changes
 * words that mean nothing, and takes place, as it may, before the block was filled; a late set
 * whose word is then zeroed with the block finds its summary missing, looks at the word under the
 * mutex, and was cleared.
 */
#ifndef REP_BITMAP_PARTS_H
#define REP_BITMAP_PARTS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "rep_bitmap.h"

#define REP_BITMAP_BITS_MAX (1ULL << 40)
/* 2^40 bits: 2^34 words, and 2^28, 2^22, 2^16, 2^10, 2^4, 1 above them. */
#define REP_BITMAP_LEVELS_MAX 7
#define REP_WORD_BITS 64U
/* Levels below this one lie in a block. */
#define REP_BLOCK_LEVEL 3
#define REP_BLOCK_WORDS 4096U
#define REP_BLOCK_BITS ((uint64_t)REP_BLOCK_WORDS * REP_WORD_BITS)

/* Where words that others may change are read as vectors. These are made of aligned 64-bit loads
 * that no processor splits, though no manual promises it; the thread sanitizer can't know. */
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
#define REP_VECTORS
#endif

struct rep_bitmap {
    uint64_t bit_count;
    int level_count; /* REP_BLOCK_LEVEL + 1 at least */
    _Atomic uint64_t *levels[REP_BITMAP_LEVELS_MAX];
    uint64_t word_counts[REP_BITMAP_LEVELS_MAX];
    uint64_t last_words[REP_BITMAP_LEVELS_MAX]; /* the last word of each, with all bits set */
    _Atomic uint64_t *full;                     /* as many words as level 3 */
    void *mapping;
    size_t mapping_bytes;
    atomic_bool emptying;
    pthread_mutex_t summary_mutex;
};

enum rep_bitmap_op {
    REP_BITMAP_OR,
    REP_BITMAP_AND,
    REP_BITMAP_ANDNOT,
    REP_BITMAP_XOR,
};

static inline uint64_t rep_bit(uint64_t index)
{
    return 1ULL << (index % REP_WORD_BITS);
}

static inline bool rep_bitmap_is_full(const rep_bitmap *bitmap, uint64_t block)
{
    return atomic_load(&bitmap->full[block / REP_WORD_BITS]) & rep_bit(block);
}

/* A word with all of its bits set. */
static inline uint64_t rep_bitmap_ones(const rep_bitmap *bitmap, int level, uint64_t index)
{
    return index == bitmap->word_counts[level] - 1 ? bitmap->last_words[level] : ~0ULL;
}

static inline uint64_t rep_bitmap_load(const rep_bitmap *bitmap, int level, uint64_t index)
{
    if (level < REP_BLOCK_LEVEL && rep_bitmap_is_full(bitmap, index >> (12 - 6 * level)))
        return rep_bitmap_ones(bitmap, level, index);
    return atomic_load_explicit(&bitmap->levels[level][index], memory_order_acquire);
}

/* Takes the lowest set bit out of *bits and answers its index. *bits isn't 0. */
static inline unsigned rep_take_lowest(uint64_t *bits)
{
    unsigned index = (unsigned)__builtin_ctzll(*bits);
    *bits &= *bits - 1;
    return index;
}

/* How many words of level 0 the block has: all but the last have the same. */
static inline uint64_t rep_block_words(const rep_bitmap *bitmap, uint64_t block)
{
    uint64_t left = bitmap->word_counts[0] - block * REP_BLOCK_WORDS;
    return left < REP_BLOCK_WORDS ? left : REP_BLOCK_WORDS;
}

static inline uint64_t rep_block_bits(const rep_bitmap *bitmap, uint64_t block)
{
    uint64_t left = bitmap->bit_count - block * REP_BLOCK_BITS;
    return left < REP_BLOCK_BITS ? left : REP_BLOCK_BITS;
}

/* Sets, or clears, the bits operand[i] of word i for every i in `which`, words of one group; each
 * atomically. */
void rep_bitmap_edit_or(rep_bitmap *bitmap, uint64_t group, uint64_t which,
                        const uint64_t operand[REP_WORD_BITS]);
void rep_bitmap_edit_andnot(rep_bitmap *bitmap, uint64_t group, uint64_t which,
                            const uint64_t operand[REP_WORD_BITS]);

/* Sets all bits of the block / writes the words of a full one / clears all bits of a full one.
 * Beside anything. */
void rep_block_fill(rep_bitmap *bitmap, uint64_t block);
void rep_block_spread(rep_bitmap *bitmap, uint64_t block);
void rep_block_empty(rep_bitmap *bitmap, uint64_t block);
/* The same with the mutex held, or with the bitmap owned alone. */
void rep_block_fill_held(rep_bitmap *bitmap, uint64_t block);
void rep_block_spread_held(rep_bitmap *bitmap, uint64_t block);
/* Its words of levels 0 to 2 become zeros. */
void rep_block_zero_held(rep_bitmap *bitmap, uint64_t block);
/* Word `index` of `level` has become empty in the bits `emptied`: what stands above follows. */
void rep_bitmap_retract_held(rep_bitmap *bitmap, int level, uint64_t index, uint64_t emptied);

/* These words of level 0 are about to be written, all of them: huge pages save page faults, which
 * would take longer than the writing. Changes nothing. */
void rep_bitmap_expect(rep_bitmap *bitmap, uint64_t first_word, uint64_t word_count);

/* The first bit of `level` (1: a word that isn't empty) at or after `from`. */
bool rep_bitmap_find(const rep_bitmap *bitmap, int level, uint64_t from, uint64_t *found);
/* The first bit from `from` on that is clear in `a` and in `b` (which may be NULL), or `limit`. */
uint64_t rep_bitmap_next_clear(const rep_bitmap *a, const rep_bitmap *b, uint64_t from,
                               uint64_t limit);

#endif
