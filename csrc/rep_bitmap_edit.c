/* Changes beside others: words, their summaries, whole blocks (bitmap_parts.h). */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bitmap_parts.h"

static void publish_up_held(rep_bitmap *bitmap, int level, uint64_t index, uint64_t present)
{
    for (; present && level < bitmap->level_count; level++) {
        atomic_fetch_or(&bitmap->levels[level][index], present);
        present = rep_bit(index);
        index /= REP_WORD_BITS;
    }
}

/* With the mutex held no word can become empty: what isn't empty now deserves its summary. */
static void publish_held(rep_bitmap *bitmap, uint64_t group, uint64_t which)
{
    uint64_t present = 0;
    while (which) {
        unsigned i = rep_take_lowest(&which);
        if (atomic_load(&bitmap->levels[0][group * REP_WORD_BITS + i]))
            present |= rep_bit(i);
    }
    publish_up_held(bitmap, 1, group, present);
}

/* `emptying` must be read before the summaries: raised and lowered again in between, it would hide
 * that a summary bit seen at first has gone. */
static bool published(const rep_bitmap *bitmap, uint64_t group, uint64_t which)
{
    if (atomic_load(&bitmap->emptying))
        return false;
    for (int level = 1; level < bitmap->level_count; level++) {
        if ((atomic_load(&bitmap->levels[level][group]) & which) != which)
            return false;
        which = rep_bit(group);
        group /= REP_WORD_BITS;
    }
    return true;
}

static void publish(rep_bitmap *bitmap, uint64_t group, uint64_t which)
{
    if (published(bitmap, group, which))
        return;
    pthread_mutex_lock(&bitmap->summary_mutex);
    publish_held(bitmap, group, which);
    pthread_mutex_unlock(&bitmap->summary_mutex);
}

void rep_bitmap_retract_held(rep_bitmap *bitmap, int level, uint64_t index, uint64_t emptied)
{
    for (; emptied && level < bitmap->level_count; level++) {
        uint64_t before = atomic_fetch_and(&bitmap->levels[level][index], ~emptied);
        emptied = before & ~emptied ? 0 : rep_bit(index);
        index /= REP_WORD_BITS;
    }
}

/* Clearing again, words that it may leave empty. */
static void clear_emptying(rep_bitmap *bitmap, uint64_t group, uint64_t which,
                           const uint64_t *operand)
{
    uint64_t emptied = 0;
    uint64_t kept = 0;
    pthread_mutex_lock(&bitmap->summary_mutex);
    atomic_store(&bitmap->emptying, true);
    /* A block filled meanwhile: these bits were cleared before. */
    if (rep_bitmap_is_full(bitmap, group / REP_WORD_BITS))
        which = 0;
    while (which) {
        unsigned i = rep_take_lowest(&which);
        _Atomic uint64_t *word = &bitmap->levels[0][group * REP_WORD_BITS + i];
        uint64_t left = atomic_fetch_and(word, ~operand[i]) & ~operand[i];
        *(left ? &kept : &emptied) |= rep_bit(i);
    }
    publish_held(bitmap, group, kept);
    rep_bitmap_retract_held(bitmap, 1, group, emptied);
    atomic_store(&bitmap->emptying, false);
    pthread_mutex_unlock(&bitmap->summary_mutex);
}

void rep_bitmap_edit_or(rep_bitmap *bitmap, uint64_t group, uint64_t which,
                        const uint64_t operand[REP_WORD_BITS])
{
    _Atomic uint64_t *words = &bitmap->levels[0][group * REP_WORD_BITS];
    if (rep_bitmap_is_full(bitmap, group / REP_WORD_BITS))
        return;
    uint64_t here = atomic_load(&bitmap->levels[1][group]);
    for (uint64_t left = which; left;) {
        unsigned i = rep_take_lowest(&left);
        if (!operand[i])
            which &= ~rep_bit(i);
        /* What is set isn't set again, which would cost the cache line; what is empty isn't read
         * first, which would cost a page fault. */
        else if (!(here & rep_bit(i)) || (atomic_load(&words[i]) & operand[i]) != operand[i])
            atomic_fetch_or(&words[i], operand[i]);
    }
    /* Also when nothing changed: whoever set these bits may not have published them yet. */
    if (which)
        publish(bitmap, group, which);
}

void rep_bitmap_edit_andnot(rep_bitmap *bitmap, uint64_t group, uint64_t which,
                            const uint64_t operand[REP_WORD_BITS])
{
    _Atomic uint64_t *words = &bitmap->levels[0][group * REP_WORD_BITS];
    uint64_t emptied = 0;
    rep_block_spread(bitmap, group / REP_WORD_BITS);
    while (which) {
        unsigned i = rep_take_lowest(&which);
        uint64_t old = atomic_load(&words[i]);
        uint64_t new;
        do {
            new = old & ~operand[i];
            if (!new && old)
                emptied |= rep_bit(i);
        } while (new && new != old && !atomic_compare_exchange_weak(&words[i], &old, new));
    }
    if (emptied)
        clear_emptying(bitmap, group, emptied, operand);
}

void rep_block_fill_held(rep_bitmap *bitmap, uint64_t block)
{
    publish_up_held(bitmap, REP_BLOCK_LEVEL, block / REP_WORD_BITS, rep_bit(block));
    atomic_fetch_or(&bitmap->full[block / REP_WORD_BITS], rep_bit(block));
}

void rep_block_fill(rep_bitmap *bitmap, uint64_t block)
{
    pthread_mutex_lock(&bitmap->summary_mutex);
    rep_block_fill_held(bitmap, block);
    pthread_mutex_unlock(&bitmap->summary_mutex);
}

static void store_words(rep_bitmap *bitmap, int level, uint64_t block, bool ones)
{
    uint64_t first = block << (12 - 6 * level);
    uint64_t end = (block + 1) << (12 - 6 * level);
    if (end > bitmap->word_counts[level])
        end = bitmap->word_counts[level];
    for (uint64_t i = first; i < end; i++) {
        uint64_t word = ones ? rep_bitmap_ones(bitmap, level, i) : 0;
        /* Zeros aren't written over zeros: that would give the page memory. */
        if (ones || atomic_load_explicit(&bitmap->levels[level][i], memory_order_relaxed))
            atomic_store_explicit(&bitmap->levels[level][i], word, memory_order_relaxed);
    }
}

static void lower_full_held(rep_bitmap *bitmap, uint64_t block)
{
    atomic_fetch_and(&bitmap->full[block / REP_WORD_BITS], ~rep_bit(block));
}

void rep_block_spread_held(rep_bitmap *bitmap, uint64_t block)
{
    if (!rep_bitmap_is_full(bitmap, block))
        return;
    for (int level = 0; level < REP_BLOCK_LEVEL; level++)
        store_words(bitmap, level, block, true);
    lower_full_held(bitmap, block);
}

void rep_block_spread(rep_bitmap *bitmap, uint64_t block)
{
    if (!rep_bitmap_is_full(bitmap, block))
        return;
    pthread_mutex_lock(&bitmap->summary_mutex);
    rep_block_spread_held(bitmap, block);
    pthread_mutex_unlock(&bitmap->summary_mutex);
}

void rep_block_zero_held(rep_bitmap *bitmap, uint64_t block)
{
    _Atomic uint64_t *words = &bitmap->levels[0][block * REP_BLOCK_WORDS];
    size_t bytes = REP_BLOCK_WORDS * sizeof *words;
    /* Gives the memory back. Fails where pages are larger than a block, or locked. */
    if (rep_block_words(bitmap, block) < REP_BLOCK_WORDS
        || madvise((void *)words, bytes, MADV_DONTNEED))
        store_words(bitmap, 0, block, false);
    store_words(bitmap, 1, block, false);
    store_words(bitmap, 2, block, false);
}

void rep_block_empty(rep_bitmap *bitmap, uint64_t block)
{
    pthread_mutex_lock(&bitmap->summary_mutex);
    if (rep_bitmap_is_full(bitmap, block)) {
        atomic_store(&bitmap->emptying, true);
        rep_block_zero_held(bitmap, block);
        lower_full_held(bitmap, block);
        rep_bitmap_retract_held(bitmap, REP_BLOCK_LEVEL, block / REP_WORD_BITS, rep_bit(block));
        atomic_store(&bitmap->emptying, false);
    }
    pthread_mutex_unlock(&bitmap->summary_mutex);
}

static void merge_group(rep_bitmap *target, const rep_bitmap *source, uint64_t group)
{
    uint64_t operand[REP_WORD_BITS];
    uint64_t which = rep_bitmap_load(source, 1, group);
    for (uint64_t left = which; left;) {
        unsigned i = rep_take_lowest(&left);
        operand[i] = rep_bitmap_load(source, 0, group * REP_WORD_BITS + i);
    }
    rep_bitmap_edit_or(target, group, which, operand);
}

int rep_bitmap_merge(rep_bitmap *target, const rep_bitmap *source)
{
    if (target->bit_count != source->bit_count)
        return -EINVAL;
    uint64_t group = 0;
    while (rep_bitmap_find(source, 2, group, &group)) {
        uint64_t block = group / REP_WORD_BITS;
        if (rep_bitmap_is_full(source, block))
            rep_block_fill(target, block);
        if (rep_bitmap_is_full(target, block))
            group = (block + 1) * REP_WORD_BITS;
        else
            merge_group(target, source, group++);
    }
    return 0;
}
