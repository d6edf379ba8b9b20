/* The operations on whole bitmaps whose target belongs to the caller alone. Its words are read and
 * written without compare-and-swap: several times as fast where bitmaps are dense. The source may
 * be in use. */
#include <errno.h>

#include "bitmap_parts.h"

#ifdef REP_VECTORS
#include <immintrin.h>
#endif

static inline uint64_t apply(enum rep_bitmap_op op, uint64_t word, uint64_t operand)
{
    switch (op) {
    case REP_BITMAP_OR:
        return word | operand;
    case REP_BITMAP_AND:
        return word & operand;
    case REP_BITMAP_ANDNOT:
        return word & ~operand;
    case REP_BITMAP_XOR:
    default:
        return word ^ operand;
    }
}

static inline uint64_t get(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

static inline void put(_Atomic uint64_t *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_relaxed);
}

/* Into words that are empty: not to read them first spares a page fault of two. */
static uint64_t copy_words(_Atomic uint64_t *target, const _Atomic uint64_t *source, uint64_t which)
{
    uint64_t left = 0;
    while (which) {
        unsigned i = rep_take_lowest(&which);
        uint64_t word = get(&source[i]);
        if (word)
            put(&target[i], word);
        left |= (uint64_t)(word != 0) << i;
    }
    return left;
}

static uint64_t present_words(const _Atomic uint64_t *words)
{
    uint64_t present = 0;
    for (unsigned i = 0; i < REP_WORD_BITS; i++)
        present |= (uint64_t)(get(&words[i]) != 0) << i;
    return present;
}

#ifdef REP_VECTORS
/* All words of one group; whether some of them are empty afterwards. Inlined for each `op`. */
__attribute__((target("avx2"), always_inline)) static inline bool
combine_vectors(enum rep_bitmap_op op, _Atomic uint64_t *target, const _Atomic uint64_t *source)
{
    __m256i *to = (__m256i *)(void *)target;
    const __m256i *from = (const __m256i *)(const void *)source;
    __m256i empty = _mm256_setzero_si256();
    for (unsigned i = 0; i < REP_WORD_BITS / 4; i++) {
        __m256i word = _mm256_loadu_si256(to + i);
        __m256i operand = _mm256_loadu_si256(from + i);
        if (op == REP_BITMAP_OR)
            word = _mm256_or_si256(word, operand);
        else if (op == REP_BITMAP_AND)
            word = _mm256_and_si256(word, operand);
        else if (op == REP_BITMAP_ANDNOT)
            word = _mm256_andnot_si256(operand, word);
        else
            word = _mm256_xor_si256(word, operand);
        _mm256_storeu_si256(to + i, word);
        empty = _mm256_or_si256(empty, _mm256_cmpeq_epi64(word, _mm256_setzero_si256()));
    }
    return _mm256_movemask_epi8(empty);
}

__attribute__((target("avx2"))) static bool
combine_fast(enum rep_bitmap_op op, _Atomic uint64_t *target, const _Atomic uint64_t *source)
{
    switch (op) {
    case REP_BITMAP_OR:
        return combine_vectors(REP_BITMAP_OR, target, source);
    case REP_BITMAP_AND:
        return combine_vectors(REP_BITMAP_AND, target, source);
    case REP_BITMAP_ANDNOT:
        return combine_vectors(REP_BITMAP_ANDNOT, target, source);
    case REP_BITMAP_XOR:
    default:
        return combine_vectors(REP_BITMAP_XOR, target, source);
    }
}
#endif

/* Words `which` of one group; returns those that aren't empty afterwards. Inlined for each `op`. */
static inline __attribute__((always_inline)) uint64_t combine_words(enum rep_bitmap_op op,
                                                                    _Atomic uint64_t *target,
                                                                    const _Atomic uint64_t *source,
                                                                    uint64_t which)
{
    uint64_t left = 0;
#ifdef REP_VECTORS
    if (which == ~0ULL && __builtin_cpu_supports("avx2"))
        return combine_fast(op, target, source) ? present_words(target) : ~0ULL;
#endif
    if (which == ~0ULL) {
        /* Where bits are dense hardly a word becomes empty: to count those costs half of noting for
         * each whether it is. */
        unsigned empty = 0;
        for (unsigned i = 0; i < REP_WORD_BITS; i++) {
            uint64_t word = apply(op, get(&target[i]), get(&source[i]));
            put(&target[i], word);
            empty += word == 0;
        }
        return empty ? present_words(target) : ~0ULL;
    }
    while (which) {
        unsigned i = rep_take_lowest(&which);
        uint64_t word = apply(op, get(&target[i]), get(&source[i]));
        put(&target[i], word);
        left |= (uint64_t)(word != 0) << i;
    }
    return left;
}

static void combine_group(enum rep_bitmap_op op, rep_bitmap *target, const rep_bitmap *source,
                          uint64_t group)
{
    _Atomic uint64_t *words = &target->levels[0][group * REP_WORD_BITS];
    const _Atomic uint64_t *operands = &source->levels[0][group * REP_WORD_BITS];
    uint64_t here = get(&target->levels[1][group]);
    uint64_t there = atomic_load_explicit(&source->levels[1][group], memory_order_acquire);
    uint64_t which = there;
    uint64_t left = 0;
    switch (op) {
    case REP_BITMAP_OR:
        left = here ? combine_words(REP_BITMAP_OR, words, operands, which)
                    : copy_words(words, operands, which);
        break;
    case REP_BITMAP_XOR:
        left = here ? combine_words(REP_BITMAP_XOR, words, operands, which)
                    : copy_words(words, operands, which);
        break;
    case REP_BITMAP_ANDNOT:
        /* What the target lacks can't be taken from it. */
        which &= here;
        left = combine_words(REP_BITMAP_ANDNOT, words, operands, which);
        break;
    case REP_BITMAP_AND:
        which = here;
        for (uint64_t without = here & ~there; without;)
            put(&words[rep_take_lowest(&without)], 0);
        left = combine_words(REP_BITMAP_AND, words, operands, here & there);
        break;
    }
    put(&target->levels[1][group], (here & ~which) | left);
}

/* Level 2 of the block, and what stands above, as level 1 has them now. */
static void sum_up(rep_bitmap *target, uint64_t block, uint64_t touched)
{
    uint64_t summary = get(&target->levels[2][block]);
    for (uint64_t left = touched; left;) {
        unsigned i = rep_take_lowest(&left);
        if (get(&target->levels[1][block * REP_WORD_BITS + i]))
            summary |= rep_bit(i);
        else
            summary &= ~rep_bit(i);
    }
    put(&target->levels[2][block], summary);
    if (!summary) {
        rep_bitmap_retract_held(target, REP_BLOCK_LEVEL, block / REP_WORD_BITS, rep_bit(block));
        return;
    }
    for (int level = REP_BLOCK_LEVEL; level < target->level_count; level++) {
        put(&target->levels[level][block / REP_WORD_BITS],
            get(&target->levels[level][block / REP_WORD_BITS]) | rep_bit(block));
        block /= REP_WORD_BITS;
    }
}

static void empty_block(rep_bitmap *target, uint64_t block)
{
    _Atomic uint64_t *full = &target->full[block / REP_WORD_BITS];
    rep_block_zero_held(target, block);
    put(full, get(full) & ~rep_bit(block));
    rep_bitmap_retract_held(target, REP_BLOCK_LEVEL, block / REP_WORD_BITS, rep_bit(block));
}

static void complement_block(rep_bitmap *target, uint64_t block)
{
    uint64_t first = block * REP_BLOCK_WORDS;
    uint64_t end = first + rep_block_words(target, block);
    for (uint64_t i = first; i < end; i++) {
        uint64_t word = ~get(&target->levels[0][i]) & rep_bitmap_ones(target, 0, i);
        _Atomic uint64_t *summary = &target->levels[1][i / REP_WORD_BITS];
        put(&target->levels[0][i], word);
        put(summary, word ? get(summary) | rep_bit(i) : get(summary) & ~rep_bit(i));
    }
    uint64_t groups = (end - first + REP_WORD_BITS - 1) / REP_WORD_BITS;
    sum_up(target, block, ~0ULL >> (REP_WORD_BITS - groups));
}

static void combine_full(enum rep_bitmap_op op, rep_bitmap *target, uint64_t block)
{
    bool full = rep_bitmap_is_full(target, block);
    if (op == REP_BITMAP_OR)
        rep_block_fill_held(target, block);
    else if (op == REP_BITMAP_ANDNOT || (op == REP_BITMAP_XOR && full))
        empty_block(target, block);
    else if (op == REP_BITMAP_XOR)
        complement_block(target, block);
}

static void combine_block(enum rep_bitmap_op op, rep_bitmap *target, const rep_bitmap *source,
                          uint64_t block)
{
    /* Once: it may be cleared in part meanwhile. */
    if (rep_bitmap_is_full(source, block)) {
        combine_full(op, target, block);
        return;
    }
    uint64_t there = atomic_load_explicit(&source->levels[2][block], memory_order_acquire);
    if (!there) {
        if (op == REP_BITMAP_AND)
            empty_block(target, block);
        return;
    }
    if (rep_bitmap_is_full(target, block)) {
        if (op == REP_BITMAP_OR)
            return;
        rep_block_spread_held(target, block);
    }
    uint64_t here = get(&target->levels[2][block]);
    uint64_t touched = op == REP_BITMAP_AND ? here : op == REP_BITMAP_ANDNOT ? here & there : there;
    for (uint64_t left = touched; left;)
        combine_group(op, target, source, block * REP_WORD_BITS + rep_take_lowest(&left));
    sum_up(target, block, touched);
}

/* Block by block, wherever `where` has a bit: elsewhere nothing changes. */
static int combine(enum rep_bitmap_op op, rep_bitmap *target, const rep_bitmap *source,
                   const rep_bitmap *where)
{
    if (target->bit_count != source->bit_count)
        return -EINVAL;
    for (uint64_t block = 0; rep_bitmap_find(where, REP_BLOCK_LEVEL, block, &block); block++)
        combine_block(op, target, source, block);
    return 0;
}

int rep_bitmap_or(rep_bitmap *target, const rep_bitmap *source)
{
    return combine(REP_BITMAP_OR, target, source, source);
}

int rep_bitmap_and(rep_bitmap *target, const rep_bitmap *source)
{
    return combine(REP_BITMAP_AND, target, source, target);
}

int rep_bitmap_andnot(rep_bitmap *target, const rep_bitmap *source)
{
    return combine(REP_BITMAP_ANDNOT, target, source, source);
}

int rep_bitmap_xor(rep_bitmap *target, const rep_bitmap *source)
{
    return combine(REP_BITMAP_XOR, target, source, source);
}

static void or_words(rep_bitmap *bitmap, uint64_t first, uint64_t count, const uint64_t *words)
{
    uint64_t group = first / REP_WORD_BITS;
    uint64_t here = get(&bitmap->levels[1][group]);
    uint64_t present = 0;
    for (uint64_t i = 0; i < count; i++) {
        _Atomic uint64_t *word = &bitmap->levels[0][first + i];
        if (!words[i])
            continue;
        put(word, here & rep_bit(first + i) ? get(word) | words[i] : words[i]);
        present |= rep_bit(first + i);
    }
    if (!present)
        return;
    put(&bitmap->levels[1][group], here | present);
    sum_up(bitmap, group / REP_WORD_BITS, rep_bit(group));
}

int rep_bitmap_words_or(rep_bitmap *bitmap, uint64_t first_word, uint64_t word_count,
                        const uint64_t *words)
{
    if (word_count > bitmap->word_counts[0] || first_word > bitmap->word_counts[0] - word_count)
        return -ERANGE;
    uint64_t last = bitmap->word_counts[0] - 1;
    if (word_count && first_word + word_count - 1 == last
        && words[word_count - 1] & ~bitmap->last_words[0])
        return -ERANGE;
    for (uint64_t done = 0; done < word_count;) {
        uint64_t first = first_word + done;
        uint64_t count = REP_WORD_BITS - first % REP_WORD_BITS;
        if (count > word_count - done)
            count = word_count - done;
        if (!rep_bitmap_is_full(bitmap, first / REP_BLOCK_WORDS))
            or_words(bitmap, first, count, words + done);
        done += count;
    }
    return 0;
}
