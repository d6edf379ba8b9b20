/* bitmap_parts: what the files of rep_bitmap know of each other. Not a public header.
 *
 * Level 0 holds the bits. A bit of level n+1 says that a word of level n isn't empty; the top level
 * is one word. A *group* is 64 words of level 0 that share one word of level 1.
 *
 * How set and clear keep the summary true while they run beside each other:
 *  - A word is changed by compare-and-swap. Only the holder of `summary_mutex` turns a word of any
 *    level empty, or changes a summary at all; it raises `emptying` before it empties anything.
 *  - set changes its word, then looks at `emptying`, then at the summaries. Lowered, and every
 *    summary bit there: it is done. Whoever empties the word afterwards finds the new bit in it;
 *    whoever did before has already taken the summary bit away, where set finds it missing.
 *    Otherwise set takes the mutex and puts the summary right.
 *  - So the summary is exact whenever nothing runs, and no set that has returned is hidden.
 * Clearing without `emptying` (word, then summary, then a look whether to restore it) is the
 * tempting way: between the last two a bit whose set has returned is invisible, and a resync that
 * looks just then calls the pair equal.
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

struct rep_bitmap {
    uint64_t bit_count;
    int level_count; /* 2 at least */
    _Atomic uint64_t *levels[REP_BITMAP_LEVELS_MAX];
    uint64_t word_counts[REP_BITMAP_LEVELS_MAX];
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

static inline uint64_t rep_bitmap_load(const rep_bitmap *bitmap, int level, uint64_t index)
{
    return atomic_load_explicit(&bitmap->levels[level][index], memory_order_acquire);
}

static inline uint64_t rep_bit(uint64_t index)
{
    return 1ULL << (index % REP_WORD_BITS);
}

/* Takes the lowest set bit out of *bits and answers its index. *bits isn't 0. */
static inline unsigned rep_take_lowest(uint64_t *bits)
{
    unsigned index = (unsigned)__builtin_ctzll(*bits);
    *bits &= *bits - 1;
    return index;
}

/* word[i] = word[i] OP operand[i] for every i in `which`, words of one group; each atomically. */
void rep_bitmap_edit(rep_bitmap *bitmap, enum rep_bitmap_op op, uint64_t group, uint64_t which,
                     const uint64_t operand[REP_WORD_BITS]);

/* The first bit of `level` (1: a word that isn't empty) at or after `from`. */
bool rep_bitmap_find(const rep_bitmap *bitmap, int level, uint64_t from, uint64_t *found);

#endif
