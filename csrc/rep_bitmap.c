#include "rep_bitmap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bitmap_parts.h"

static uint64_t words_for(uint64_t bits)
{
    return (bits + REP_WORD_BITS - 1) / REP_WORD_BITS;
}

/* Sizes of all levels; returns their words together, those of `full` too. */
static uint64_t lay_out(rep_bitmap *bitmap)
{
    uint64_t total = 0;
    uint64_t bits = bitmap->bit_count;
    int level = 0;
    do {
        unsigned unused = (unsigned)(-bits % REP_WORD_BITS);
        bitmap->last_words[level] = ~0ULL >> unused;
        bits = words_for(bits);
        bitmap->word_counts[level++] = bits;
        total += bits;
    } while (bits > 1 || level <= REP_BLOCK_LEVEL);
    bitmap->level_count = level;
    return total + bitmap->word_counts[REP_BLOCK_LEVEL];
}

int rep_bitmap_new(uint64_t bit_count, rep_bitmap **out)
{
    if (!bit_count || bit_count > REP_BITMAP_BITS_MAX)
        return -EINVAL;
    rep_bitmap *bitmap = calloc(1, sizeof *bitmap);
    if (!bitmap)
        return -ENOMEM;
    bitmap->bit_count = bit_count;
    bitmap->mapping_bytes = (size_t)lay_out(bitmap) * sizeof(uint64_t);
    bitmap->mapping = mmap(NULL, bitmap->mapping_bytes, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (bitmap->mapping == MAP_FAILED) {
        free(bitmap);
        return -ENOMEM;
    }
    int failed = pthread_mutex_init(&bitmap->summary_mutex, NULL);
    if (failed) {
        munmap(bitmap->mapping, bitmap->mapping_bytes);
        free(bitmap);
        return -failed;
    }
    _Atomic uint64_t *next = bitmap->mapping;
    for (int level = 0; level < bitmap->level_count; level++) {
        bitmap->levels[level] = next;
        next += bitmap->word_counts[level];
    }
    bitmap->full = next;
    *out = bitmap;
    return 0;
}

void rep_bitmap_free(rep_bitmap *bitmap)
{
    if (!bitmap)
        return;
    pthread_mutex_destroy(&bitmap->summary_mutex);
    munmap(bitmap->mapping, bitmap->mapping_bytes);
    free(bitmap);
}

uint64_t rep_bitmap_size(const rep_bitmap *bitmap)
{
    return bitmap->bit_count;
}

static bool inside(const rep_bitmap *bitmap, uint64_t first, uint64_t count)
{
    return count <= bitmap->bit_count && first <= bitmap->bit_count - count;
}

/* The bits of word `word` that lie in [first, last]. */
static uint64_t mask_of(uint64_t word, uint64_t first, uint64_t last)
{
    uint64_t mask = ~0ULL;
    if (word == first / REP_WORD_BITS)
        mask &= ~0ULL << (first % REP_WORD_BITS);
    if (word == last / REP_WORD_BITS)
        mask &= ~0ULL >> (REP_WORD_BITS - 1 - last % REP_WORD_BITS);
    return mask;
}

/* Whether the whole block of this word, its first one, lies in [first, last]. */
static bool whole_block(const rep_bitmap *bitmap, uint64_t word, uint64_t first, uint64_t last)
{
    uint64_t begin = word * REP_WORD_BITS;
    return word % REP_BLOCK_WORDS == 0 && begin >= first
           && rep_block_bits(bitmap, word / REP_BLOCK_WORDS) <= last - begin + 1;
}

int rep_bitmap_set(rep_bitmap *bitmap, uint64_t first, uint64_t count)
{
    if (!inside(bitmap, first, count))
        return -ERANGE;
    if (!count)
        return 0;
    uint64_t last = first + count - 1;
    uint64_t word = first / REP_WORD_BITS;
    while (word <= last / REP_WORD_BITS) {
        if (whole_block(bitmap, word, first, last)) {
            rep_block_fill(bitmap, word / REP_BLOCK_WORDS);
            word += REP_BLOCK_WORDS;
            continue;
        }
        uint64_t operand[REP_WORD_BITS];
        uint64_t group = word / REP_WORD_BITS;
        uint64_t which = 0;
        for (; word <= last / REP_WORD_BITS && word / REP_WORD_BITS == group; word++) {
            operand[word % REP_WORD_BITS] = mask_of(word, first, last);
            which |= rep_bit(word);
        }
        rep_bitmap_edit_or(bitmap, group, which, operand);
    }
    return 0;
}

int rep_bitmap_clear(rep_bitmap *bitmap, uint64_t first, uint64_t count)
{
    if (!inside(bitmap, first, count))
        return -ERANGE;
    if (!count)
        return 0;
    uint64_t last = first + count - 1;
    uint64_t word = first / REP_WORD_BITS;
    while (rep_bitmap_find(bitmap, 1, word, &word) && word <= last / REP_WORD_BITS) {
        uint64_t block = word / REP_BLOCK_WORDS;
        if (rep_bitmap_is_full(bitmap, block) && whole_block(bitmap, word, first, last)) {
            rep_block_empty(bitmap, block);
            continue;
        }
        uint64_t operand[REP_WORD_BITS];
        uint64_t group = word / REP_WORD_BITS;
        uint64_t which =
            rep_bitmap_load(bitmap, 1, group) & mask_of(group, word, last / REP_WORD_BITS);
        for (uint64_t left = which; left;) {
            unsigned i = rep_take_lowest(&left);
            operand[i] = mask_of(group * REP_WORD_BITS + i, first, last);
        }
        rep_bitmap_edit_andnot(bitmap, group, which, operand);
        word = (group + 1) * REP_WORD_BITS;
    }
    return 0;
}

int rep_bitmap_test(const rep_bitmap *bitmap, uint64_t index)
{
    if (index >= bitmap->bit_count)
        return -ERANGE;
    return rep_bitmap_load(bitmap, 0, index / REP_WORD_BITS) & rep_bit(index) ? 1 : 0;
}

void rep_bitmap_fill(rep_bitmap *bitmap)
{
    pthread_mutex_lock(&bitmap->summary_mutex);
    /* The summaries first: who sees that a block is full is done with it. */
    for (int level = bitmap->level_count; level-- > REP_BLOCK_LEVEL;)
        for (uint64_t i = 0; i < bitmap->word_counts[level]; i++)
            atomic_store(&bitmap->levels[level][i], rep_bitmap_ones(bitmap, level, i));
    for (uint64_t i = 0; i < bitmap->word_counts[REP_BLOCK_LEVEL]; i++)
        atomic_store(&bitmap->full[i], rep_bitmap_ones(bitmap, REP_BLOCK_LEVEL, i));
    pthread_mutex_unlock(&bitmap->summary_mutex);
}

void rep_bitmap_reset(rep_bitmap *bitmap)
{
    /* Fails only where the process has locked its memory. */
    if (madvise(bitmap->mapping, bitmap->mapping_bytes, MADV_DONTNEED))
        memset(bitmap->mapping, 0, bitmap->mapping_bytes);
}

void rep_bitmap_expect(rep_bitmap *bitmap, uint64_t first_word, uint64_t word_count)
{
    const uintptr_t huge = 2U << 20;
    uintptr_t begin = (uintptr_t)&bitmap->levels[0][first_word];
    uintptr_t end = (begin + word_count * sizeof(uint64_t)) & ~(huge - 1);
    begin = (begin + huge - 1) & ~(huge - 1);
    if (begin < end)
        (void)madvise((char *)bitmap->mapping + (begin - (uintptr_t)bitmap->mapping), end - begin,
                      MADV_HUGEPAGE);
}

uint64_t rep_bitmap_word_count(const rep_bitmap *bitmap)
{
    return bitmap->word_counts[0];
}

static bool words_inside(const rep_bitmap *bitmap, uint64_t first, uint64_t count)
{
    return count <= bitmap->word_counts[0] && first <= bitmap->word_counts[0] - count;
}

int rep_bitmap_words_get(const rep_bitmap *bitmap, uint64_t first_word, uint64_t word_count,
                         uint64_t *words)
{
    if (!words_inside(bitmap, first_word, word_count))
        return -ERANGE;
    for (uint64_t done = 0; done < word_count;) {
        uint64_t first = first_word + done;
        uint64_t count = REP_BLOCK_WORDS - first % REP_BLOCK_WORDS;
        if (count > word_count - done)
            count = word_count - done;
        bool full = rep_bitmap_is_full(bitmap, first / REP_BLOCK_WORDS);
        for (uint64_t i = 0; i < count; i++)
            words[done + i] =
                full ? rep_bitmap_ones(bitmap, 0, first + i)
                     : atomic_load_explicit(&bitmap->levels[0][first + i], memory_order_acquire);
        done += count;
    }
    return 0;
}
