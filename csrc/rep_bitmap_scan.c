/* Readers: what is set, where the next run is. They descend through the summaries. */
#include <errno.h>

#include "bitmap_parts.h"

/* What is read as one: a, a UNION b, or a minus b. */
typedef struct joined {
    const rep_bitmap *a;
    const rep_bitmap *b; /* may be NULL */
    bool minus;
} joined;

/* Whether the summary above says that word `index` of `level` isn't empty. Not asking the memory
 * of empty words spares it: to read a page is to get it. */
static inline bool present(const rep_bitmap *bitmap, int level, uint64_t index)
{
    return level == bitmap->level_count - 1
           || rep_bitmap_load(bitmap, level + 1, index / REP_WORD_BITS) & rep_bit(index);
}

static inline uint64_t joined_load(const joined *j, int level, uint64_t index)
{
    if (!j->b)
        return rep_bitmap_load(j->a, level, index);
    uint64_t word = present(j->a, level, index) ? rep_bitmap_load(j->a, level, index) : 0;
    /* The summary of the difference isn't known: that of `a` leads to every bit of it. */
    if ((j->minus && (level || !word)) || !present(j->b, level, index))
        return word;
    uint64_t other = rep_bitmap_load(j->b, level, index);
    return j->minus ? word & ~other : word | other;
}

/* Climbs where a word holds nothing more, descends where a summary says there is something; a word
 * below that turns out empty (just cleared, or subtracted) sends it up again, one further on. */
static bool find(const joined *j, int bottom, uint64_t from, uint64_t *found)
{
    int level = bottom;
    uint64_t index = from;
    for (;;) {
        uint64_t word_index = index / REP_WORD_BITS;
        if (level == j->a->level_count || word_index >= j->a->word_counts[level])
            return false;
        uint64_t bits = joined_load(j, level, word_index) & (~0ULL << (index % REP_WORD_BITS));
        if (!bits) {
            level++;
            index = word_index + 1;
            continue;
        }
        index = word_index * REP_WORD_BITS + (unsigned)__builtin_ctzll(bits);
        if (level == bottom) {
            *found = index;
            return true;
        }
        level--;
        index *= REP_WORD_BITS;
    }
}

bool rep_bitmap_find(const rep_bitmap *bitmap, int level, uint64_t from, uint64_t *found)
{
    const joined alone = {.a = bitmap};
    return find(&alone, level, from, found);
}

/* Whether every bit of the block is in the join, without a look at its words. */
static bool joined_full(const joined *j, uint64_t block)
{
    if (j->b && j->minus)
        return false;
    return rep_bitmap_is_full(j->a, block) || (j->b && rep_bitmap_is_full(j->b, block));
}

/* The first clear bit from `index` on, at most `limit`. */
static uint64_t run_end(const joined *j, uint64_t index, uint64_t limit)
{
    while (index < limit) {
        uint64_t word_index = index / REP_WORD_BITS;
        if (joined_full(j, word_index / REP_BLOCK_WORDS)) {
            index = (word_index / REP_BLOCK_WORDS + 1) * REP_BLOCK_BITS;
            continue;
        }
        uint64_t clear = ~joined_load(j, 0, word_index) & (~0ULL << (index % REP_WORD_BITS));
        if (clear) {
            uint64_t end = word_index * REP_WORD_BITS + (unsigned)__builtin_ctzll(clear);
            return end < limit ? end : limit;
        }
        index = (word_index + 1) * REP_WORD_BITS;
    }
    return limit;
}

uint64_t rep_bitmap_next_clear(const rep_bitmap *a, const rep_bitmap *b, uint64_t from,
                               uint64_t limit)
{
    const joined j = {.a = a, .b = b};
    return run_end(&j, from, limit);
}

int rep_bitmap_next_run(const rep_bitmap *a, const rep_bitmap *b, int join, uint64_t from,
                        uint64_t most, uint64_t *first, uint64_t *count)
{
    if (join != REP_BITMAP_UNION && join != REP_BITMAP_DIFFERENCE)
        return -EINVAL;
    if (b && b->bit_count != a->bit_count)
        return -EINVAL;
    if (from > a->bit_count)
        return -ERANGE;
    const joined j = {.a = a, .b = b, .minus = join == REP_BITMAP_DIFFERENCE};
    uint64_t start;
    if (!find(&j, 0, from, &start))
        return 0;
    uint64_t room = a->bit_count - start;
    if (most && most < room)
        room = most;
    *first = start;
    /* The bit found may have been cleared since: it was set at some moment of this call. */
    *count = run_end(&j, start + 1, start + room) - start;
    return 1;
}

int rep_bitmap_any(const rep_bitmap *bitmap)
{
    return rep_bitmap_load(bitmap, bitmap->level_count - 1, 0) ? 1 : 0;
}

static inline __attribute__((always_inline)) uint64_t count_group(const rep_bitmap *bitmap,
                                                                  uint64_t group)
{
    const _Atomic uint64_t *words = &bitmap->levels[0][group * REP_WORD_BITS];
    uint64_t which = atomic_load_explicit(&bitmap->levels[1][group], memory_order_acquire);
    uint64_t count = 0;
    if (which == ~0ULL)
        for (unsigned i = 0; i < REP_WORD_BITS; i++)
            count += (unsigned)__builtin_popcountll(
                atomic_load_explicit(&words[i], memory_order_relaxed));
    else
        while (which)
            count += (unsigned)__builtin_popcountll(
                atomic_load_explicit(&words[rep_take_lowest(&which)], memory_order_relaxed));
    return count;
}

static inline __attribute__((always_inline)) uint64_t count_all(const rep_bitmap *bitmap)
{
    uint64_t count = 0;
    for (uint64_t block = 0; rep_bitmap_find(bitmap, REP_BLOCK_LEVEL, block, &block); block++) {
        if (rep_bitmap_is_full(bitmap, block)) {
            count += rep_block_bits(bitmap, block);
            continue;
        }
        uint64_t which = atomic_load_explicit(&bitmap->levels[2][block], memory_order_acquire);
        while (which)
            count += count_group(bitmap, block * REP_WORD_BITS + rep_take_lowest(&which));
    }
    return count;
}

#if defined(__x86_64__)
/* Without the instruction, which plain x86-64 lacks, each word is a call. */
__attribute__((target("popcnt"))) static uint64_t count_fast(const rep_bitmap *bitmap)
{
    return count_all(bitmap);
}

uint64_t rep_bitmap_count(const rep_bitmap *bitmap)
{
    return __builtin_cpu_supports("popcnt") ? count_fast(bitmap) : count_all(bitmap);
}
#else
uint64_t rep_bitmap_count(const rep_bitmap *bitmap)
{
    return count_all(bitmap);
}
#endif
