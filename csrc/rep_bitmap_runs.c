/* Runs in bulk. A run begins and ends where a bit differs from the one before: the words of a group
 * are copied, their transitions found for all of them at once, and only words that have some are
 * looked into, which is where branches are guessed wrong. Positions of transitions alternate
 * between firsts and ends. */
#include <errno.h>
#include <string.h>

#include "bitmap_parts.h"

#ifdef REP_VECTORS
#include <immintrin.h>
#endif

/* Transitions kept at most before they become runs: 32 KiB, which stays in the first cache. */
#define KEPT 4096
/* A word has 64 transitions at most, and they are written in pairs. */
#define SPARE (REP_WORD_BITS + 2)
/* With fewer words than a group has cache lines, only theirs are read. */
#define FEW 8

/* So many blocks are asked for ahead, or a few more: what they hold stays in the first cache. */
#define FETCHED 64
/* With no more words than these, each is looked at by itself. */
#define FEW_WORDS 3

typedef struct scan {
    const rep_bitmap *a;
    const rep_bitmap *b; /* NULL: a alone */
    bool minus;
    bool vectors;
    uint64_t from;  /* no bit before it counts */
    uint64_t carry; /* 1: the bit before the next word is set */
    uint64_t kept;
    uint64_t room; /* of `positions`, at most KEPT */
    uint64_t positions[KEPT + SPARE];
} scan;

/* What a block or a group is known to be without a look at its words. */
enum known { KNOWN_EMPTY, KNOWN_FULL, KNOWN_MIXED };

static inline void copy_words(const rep_bitmap *bitmap, uint64_t group, uint64_t which,
                              uint64_t *words)
{
    const _Atomic uint64_t *from = &bitmap->levels[0][group * REP_WORD_BITS];
    if (which == ~0ULL) {
        for (unsigned i = 0; i < REP_WORD_BITS; i++)
            words[i] = atomic_load_explicit(&from[i], memory_order_relaxed);
        return;
    }
    memset(words, 0, REP_WORD_BITS * sizeof *words);
    while (which) {
        unsigned i = rep_take_lowest(&which);
        words[i] = atomic_load_explicit(&from[i], memory_order_relaxed);
    }
}

static inline uint64_t summary_of(const rep_bitmap *bitmap, int level, uint64_t index)
{
    return atomic_load_explicit(&bitmap->levels[level][index], memory_order_acquire);
}

/* `b` of a block where it isn't full; `a` likewise. */
static void join_words(const scan *s, uint64_t group, uint64_t which, uint64_t *words)
{
    uint64_t other[REP_WORD_BITS];
    uint64_t there = summary_of(s->b, 1, group);
    if (s->minus)
        there &= which;
    if (!which) {
        copy_words(s->b, group, there, words);
        return;
    }
    copy_words(s->a, group, which, words);
    if (!there)
        return;
    copy_words(s->b, group, there, other);
    for (unsigned i = 0; i < REP_WORD_BITS; i++)
        words[i] = s->minus ? words[i] & ~other[i] : words[i] | other[i];
}

/* words[-1] is the word before. Writes each word's transitions; returns which have any. */
static inline uint64_t find_transitions(const uint64_t *words, uint64_t *transitions)
{
    uint64_t some = 0;
    for (int i = 0; i < (int)REP_WORD_BITS; i++) {
        transitions[i] = words[i] ^ (words[i] << 1 | words[i - 1] >> 63);
        some |= (uint64_t)(transitions[i] != 0) << i;
    }
    return some;
}

#ifdef REP_VECTORS
__attribute__((target("avx2"))) static inline uint64_t find_transitions_avx2(const uint64_t *words,
                                                                             uint64_t *transitions)
{
    uint64_t some = 0;
    for (int i = 0; i < (int)REP_WORD_BITS; i += 4) {
        __m256i here = _mm256_loadu_si256((const __m256i *)(words + i));
        __m256i before = _mm256_loadu_si256((const __m256i *)(words + i - 1));
        __m256i shifted =
            _mm256_or_si256(_mm256_slli_epi64(here, 1), _mm256_srli_epi64(before, 63));
        __m256i found = _mm256_xor_si256(here, shifted);
        __m256i none = _mm256_cmpeq_epi64(found, _mm256_setzero_si256());
        _mm256_storeu_si256((__m256i *)(transitions + i), found);
        some |= (uint64_t)(unsigned)(~_mm256_movemask_pd(_mm256_castsi256_pd(none)) & 15) << i;
    }
    return some;
}
#endif

/* Keeps the positions of the transitions of `some` words from `base` on. Stops where there is no
 * room; returns the index of the word it stopped at, or 64. */
static inline __attribute__((always_inline)) unsigned
keep(scan *s, uint64_t base, const uint64_t *transitions, uint64_t some)
{
    uint64_t kept = s->kept;
    while (some) {
        unsigned i = (unsigned)__builtin_ctzll(some);
        uint64_t left = transitions[i];
        uint64_t *out = s->positions + kept;
        uint64_t at = base + (uint64_t)i * REP_WORD_BITS;
        unsigned count = (unsigned)__builtin_popcountll(left);
        if (kept + count > s->room) {
            s->kept = kept;
            return i;
        }
        /* Two at a time without a branch: how many there are can't be guessed. The top bit stands
         * for none: nothing is taken from a word without bits. */
        unsigned k = 0;
        do {
            out[k] = at + (unsigned)__builtin_ctzll(left | 1ULL << 63);
            left &= left - 1;
            out[k + 1] = at + (unsigned)__builtin_ctzll(left | 1ULL << 63);
            left &= left - 1;
            k += 2;
        } while (k < count);
        kept += count;
        some &= some - 1;
    }
    s->kept = kept;
    return REP_WORD_BITS;
}

/* One group of words from `skip` on, with words[-1] before them; the index of the word it stopped
 * at, or 64. */
static inline __attribute__((always_inline)) unsigned
scan_words(scan *s, uint64_t group, unsigned skip, uint64_t *words, bool fast)
{
    uint64_t transitions[REP_WORD_BITS];
    /* The words before are as the last one's top bit, so that they have no transitions. */
    for (int i = -1; i < (int)skip; i++)
        words[i] = s->carry ? ~0ULL : 0;
#ifdef REP_VECTORS
    uint64_t some =
        fast ? find_transitions_avx2(words, transitions) : find_transitions(words, transitions);
#else
    (void)fast;
    uint64_t some = find_transitions(words, transitions);
#endif
    unsigned end =
        keep(s, group * REP_WORD_BITS * REP_WORD_BITS, transitions, some & ~0ULL << skip);
    s->carry = words[(int)end - 1] >> 63;
    return end;
}

#ifdef REP_VECTORS
__attribute__((target("avx2,bmi,popcnt"))) static unsigned
scan_words_fast(scan *s, uint64_t group, unsigned skip, uint64_t *words)
{
    return scan_words(s, group, skip, words, true);
}

/* A whole group, straight out of the bitmap, each word read once. */
__attribute__((target("avx2,bmi,popcnt"))) static unsigned scan_memory(scan *s, uint64_t group)
{
    const __m256i *words = (const __m256i *)(const void *)&s->a->levels[0][group * REP_WORD_BITS];
    uint64_t transitions[REP_WORD_BITS];
    uint64_t lasts[4];
    uint64_t some = 0;
    __m256i rotated = _mm256_set1_epi64x(s->carry ? -1 : 0);
    for (int i = 0; i < (int)REP_WORD_BITS / 4; i++) {
        __m256i here = _mm256_loadu_si256(words + i);
        __m256i turned = _mm256_permute4x64_epi64(here, _MM_SHUFFLE(2, 1, 0, 3));
        __m256i before = _mm256_blend_epi32(turned, rotated, 3);
        __m256i shifted =
            _mm256_or_si256(_mm256_slli_epi64(here, 1), _mm256_srli_epi64(before, 63));
        __m256i found = _mm256_xor_si256(here, shifted);
        __m256i none = _mm256_cmpeq_epi64(found, _mm256_setzero_si256());
        rotated = turned;
        _mm256_storeu_si256((__m256i *)(void *)(transitions + (size_t)i * 4), found);
        some |= (uint64_t)(unsigned)(~_mm256_movemask_pd(_mm256_castsi256_pd(none)) & 15)
                << (i * 4);
    }
    /* No room is rare: the group is looked at again then, by words. */
    _mm256_storeu_si256((__m256i *)(void *)lasts, rotated);
    uint64_t kept = s->kept;
    if (keep(s, group * REP_WORD_BITS * REP_WORD_BITS, transitions, some) < REP_WORD_BITS) {
        s->kept = kept;
        return 0;
    }
    s->carry = lasts[0] >> 63;
    return REP_WORD_BITS;
}
#endif

static bool has_vectors(void)
{
#ifdef REP_VECTORS
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi")
           && __builtin_cpu_supports("popcnt");
#else
    return false;
#endif
}

static unsigned scan_mixed(scan *s, uint64_t group, unsigned skip, uint64_t *words)
{
#ifdef REP_VECTORS
    if (s->vectors)
        return scan_words_fast(s, group, skip, words);
#endif
    return scan_words(s, group, skip, words, false);
}

/* Whether all of the group's memory may be read, and should be. */
static bool scan_whole(scan *s, uint64_t *at, uint64_t which)
{
#ifdef REP_VECTORS
    if (!s->vectors || s->b || *at % REP_WORD_BITS || *at * REP_WORD_BITS < s->from
        || *at + REP_WORD_BITS > s->a->word_counts[0] || __builtin_popcountll(which) < FEW)
        return false;
    if (scan_memory(s, *at / REP_WORD_BITS) < REP_WORD_BITS)
        return false;
    *at += REP_WORD_BITS;
    return true;
#else
    (void)s, (void)at, (void)which;
    return false;
#endif
}

/* Goes on over bits that are all alike from word `at` on. false: no room. */
static bool keep_uniform(scan *s, uint64_t at, bool set)
{
    uint64_t bit = at * REP_WORD_BITS;
    if (s->carry == set)
        return true;
    if (s->kept == s->room)
        return false;
    s->positions[s->kept++] = bit < s->from ? s->from : bit;
    s->carry = set;
    return true;
}

static enum known block_known(const scan *s, uint64_t block)
{
    bool full = rep_bitmap_is_full(s->a, block);
    bool other_full = s->b && rep_bitmap_is_full(s->b, block);
    if (s->minus && other_full)
        return KNOWN_EMPTY;
    if (full || other_full)
        return s->b && s->minus && summary_of(s->b, 2, block) ? KNOWN_MIXED : KNOWN_FULL;
    if (summary_of(s->a, 2, block) || (s->b && !s->minus && summary_of(s->b, 2, block)))
        return KNOWN_MIXED;
    return KNOWN_EMPTY;
}

/* Of a full block less another: its own words mean nothing. */
static void load_words(const scan *s, uint64_t group, uint64_t *words)
{
    for (unsigned i = 0; i < REP_WORD_BITS; i++) {
        uint64_t index = group * REP_WORD_BITS + i;
        words[i] = index < s->a->word_counts[0] ? rep_bitmap_load(s->a, 0, index) : 0;
        /* Without `b`, or in a union, it was filled since the block was looked at. */
        if (s->b && s->minus && words[i])
            words[i] &= ~rep_bitmap_load(s->b, 0, index);
    }
}

/* Where a group's words may hold bits. */
typedef struct where {
    uint64_t a;
    uint64_t b;
} where;

static where words_of(const scan *s, uint64_t group)
{
    return (where){summary_of(s->a, 1, group), s->b ? summary_of(s->b, 1, group) : 0};
}

/* A word that holds nothing isn't read: it costs a miss, and perhaps a page. */
static uint64_t joined_word(const scan *s, uint64_t index, where held)
{
    uint64_t bit = 1ULL << index % REP_WORD_BITS;
    uint64_t word = held.a & bit ? rep_bitmap_load(s->a, 0, index) : 0;
    if (held.b & bit) {
        uint64_t other = rep_bitmap_load(s->b, 0, index);
        word = s->minus ? word & ~other : word | other;
    }
    return index == s->from / REP_WORD_BITS ? word & ~0ULL << (s->from % REP_WORD_BITS) : word;
}

/* As `scan_group`, where few words hold bits: the others aren't looked at. */
static bool scan_few(scan *s, uint64_t *at, uint64_t which, where held)
{
    uint64_t group = *at / REP_WORD_BITS;
    uint64_t end = (group + 1) * REP_WORD_BITS;
    while (which) {
        uint64_t index = group * REP_WORD_BITS + rep_take_lowest(&which);
        if (index != *at && !keep_uniform(s, *at, false))
            return false;
        *at = index;
        uint64_t word = joined_word(s, index, held);
        uint64_t transitions = word ^ (word << 1 | s->carry);
        if (s->kept + (unsigned)__builtin_popcountll(transitions) > s->room)
            return false;
        while (transitions)
            s->positions[s->kept++] = index * REP_WORD_BITS + rep_take_lowest(&transitions);
        s->carry = word >> 63;
        *at = index + 1;
    }
    if (*at < end && !keep_uniform(s, *at, false))
        return false;
    *at = end;
    return true;
}

/* From word *at to the end of its group. false: no room, at word *at. */
static bool scan_group(scan *s, uint64_t *at, bool full)
{
    uint64_t space[1 + REP_WORD_BITS];
    uint64_t *words = space + 1;
    uint64_t group = *at / REP_WORD_BITS;
    uint64_t skip = *at % REP_WORD_BITS;
    if (!full) {
        where held = words_of(s, group);
        uint64_t which = (s->minus ? held.a : held.a | held.b) & ~0ULL << skip;
        if (__builtin_popcountll(which) <= FEW_WORDS)
            return scan_few(s, at, which, held);
    }
    if (!full && scan_whole(s, at, summary_of(s->a, 1, group)))
        return true;
    if (full)
        load_words(s, group, words);
    else if (s->b)
        join_words(s, group, summary_of(s->a, 1, group), words);
    else
        copy_words(s->a, group, summary_of(s->a, 1, group), words);
    if (*at == s->from / REP_WORD_BITS)
        words[skip] &= ~0ULL << (s->from % REP_WORD_BITS);
    unsigned end = scan_mixed(s, group, (unsigned)skip, words);
    *at = group * REP_WORD_BITS + end;
    return end == REP_WORD_BITS;
}

/* From word *at to the end of its block. false: no room, at word *at. */
static bool scan_block(scan *s, uint64_t *at)
{
    uint64_t block = *at / REP_BLOCK_WORDS;
    uint64_t first = *at / REP_WORD_BITS;
    bool full = rep_bitmap_is_full(s->a, block);
    uint64_t groups = full ? rep_bitmap_ones(s->a, 2, block) : summary_of(s->a, 2, block);
    if (s->b && !s->minus)
        groups |= summary_of(s->b, 2, block);
    groups &= ~0ULL << (first % REP_WORD_BITS);
    while (groups) {
        uint64_t group = block * REP_WORD_BITS + rep_take_lowest(&groups);
        if (group != *at / REP_WORD_BITS) {
            if (!keep_uniform(s, *at, false))
                return false;
            *at = group * REP_WORD_BITS;
        }
        if (!scan_group(s, at, full))
            return false;
    }
    if (*at < (block + 1) * REP_BLOCK_WORDS && !keep_uniform(s, *at, false))
        return false;
    *at = (block + 1) * REP_BLOCK_WORDS;
    return true;
}

/* The first block from `block` on that may hold something, or `count`. */
static uint64_t next_block(const scan *s, uint64_t block, uint64_t count)
{
    uint64_t one;
    uint64_t other;
    uint64_t index = block / REP_WORD_BITS;
    if (block < count) { /* often it is near */
        uint64_t some = summary_of(s->a, REP_BLOCK_LEVEL, index);
        if (s->b && !s->minus)
            some |= summary_of(s->b, REP_BLOCK_LEVEL, index);
        some &= ~0ULL << (block % REP_WORD_BITS);
        if (some)
            return index * REP_WORD_BITS + (unsigned)__builtin_ctzll(some);
    }
    if (!rep_bitmap_find(s->a, REP_BLOCK_LEVEL, block, &one))
        one = count;
    if (!s->b || s->minus || !rep_bitmap_find(s->b, REP_BLOCK_LEVEL, block, &other))
        other = count;
    return one < other ? one : other;
}

/* Where little is set, each bit costs a miss of every cache at each level: what some dozens of blocks
 * hold is asked for, level 2, then 1, then 0, before the first of it is needed. Returns the index
 * of the first word of the block level that wasn't looked at. */
static uint64_t fetch_blocks(const rep_bitmap *bitmap, uint64_t index)
{
    uint64_t end = bitmap->word_counts[REP_BLOCK_LEVEL];
    uint64_t blocks[FETCHED + REP_WORD_BITS];
    uint64_t groups[FETCHED + REP_WORD_BITS];
    unsigned block_count = 0;
    unsigned count = 0;
    if (end > index + FETCHED)
        end = index + FETCHED;
    for (; index < end && block_count < FETCHED; index++) {
        uint64_t some = summary_of(bitmap, REP_BLOCK_LEVEL, index)
                        & ~atomic_load_explicit(&bitmap->full[index], memory_order_relaxed);
        while (some) {
            uint64_t block = index * REP_WORD_BITS + rep_take_lowest(&some);
            __builtin_prefetch((void *)&bitmap->levels[2][block]);
            blocks[block_count++] = block;
        }
    }
    for (unsigned i = 0; i < block_count; i++) {
        uint64_t some = summary_of(bitmap, 2, blocks[i]);
        if (!some)
            continue;
        groups[count] = blocks[i] * REP_WORD_BITS + (unsigned)__builtin_ctzll(some);
        __builtin_prefetch((void *)&bitmap->levels[1][groups[count++]]);
    }
    for (unsigned i = 0; i < count; i++) {
        uint64_t some = summary_of(bitmap, 1, groups[i]);
        if (some)
            __builtin_prefetch((void *)&bitmap->levels[0][groups[i] * REP_WORD_BITS
                                                          + (unsigned)__builtin_ctzll(some)]);
    }
    return index;
}

/* From word *at on. false: no room, at word *at; else *at is past the last one. */
static bool scan_blocks(scan *s, uint64_t *at)
{
    uint64_t words = s->a->word_counts[0];
    uint64_t fetched = 0;
    uint64_t fetched_other = 0;
    while (*at < words) {
        uint64_t block = *at / REP_BLOCK_WORDS;
        if (block / REP_WORD_BITS >= fetched)
            fetched = fetch_blocks(s->a, block / REP_WORD_BITS);
        if (s->b && block / REP_WORD_BITS >= fetched_other)
            fetched_other = fetch_blocks(s->b, block / REP_WORD_BITS);
        enum known known = block_known(s, block);
        if (known == KNOWN_MIXED) {
            if (!scan_block(s, at))
                return false;
            continue;
        }
        if (!keep_uniform(s, *at, known == KNOWN_FULL))
            return false;
        block++;
        if (known == KNOWN_EMPTY)
            block = next_block(s, block, s->a->word_counts[2]);
        *at = block * REP_BLOCK_WORDS;
    }
    return true;
}

/* Turns pairs of positions into runs; an odd one, where a run is still open, is kept. */
static int hand_out(scan *s, uint64_t *firsts, uint64_t *counts)
{
    uint64_t runs = s->kept / 2;
    for (uint64_t i = 0; i < runs; i++) {
        firsts[i] = s->positions[2 * i];
        counts[i] = s->positions[2 * i + 1] - s->positions[2 * i];
    }
    if (s->kept % 2)
        s->positions[0] = s->positions[s->kept - 1];
    s->kept %= 2;
    return (int)runs;
}

static int runs_in_bulk(scan *s, uint64_t *firsts, uint64_t *counts, int capacity, uint64_t *resume)
{
    uint64_t at = s->from / REP_WORD_BITS;
    int found = 0;
    bool done = false;
    while (!done && capacity - found >= (int)REP_WORD_BITS) {
        uint64_t room = 2 * (uint64_t)(capacity - found);
        s->room = room < KEPT ? room : KEPT;
        done = scan_blocks(s, &at);
        if (done && s->carry)
            s->positions[s->kept++] = s->a->bit_count;
        found += hand_out(s, firsts + found, counts + found);
    }
    if (done)
        *resume = s->a->bit_count;
    else if (s->kept)
        *resume = s->positions[0]; /* its end comes with the next call */
    else
        *resume = at * REP_WORD_BITS;
    return found;
}

static int runs_one_by_one(const scan *s, uint64_t *firsts, uint64_t *counts, int capacity,
                           uint64_t *resume)
{
    int join = s->minus ? REP_BITMAP_DIFFERENCE : REP_BITMAP_UNION;
    int found = 0;
    *resume = s->from;
    while (found < capacity) {
        if (rep_bitmap_next_run(s->a, s->b, join, *resume, 0, &firsts[found], &counts[found])
            != 1) {
            *resume = s->a->bit_count;
            break;
        }
        *resume = firsts[found] + counts[found];
        found++;
    }
    return found;
}

int rep_bitmap_runs(const rep_bitmap *a, const rep_bitmap *b, int join, uint64_t from,
                    uint64_t *firsts, uint64_t *counts, int capacity, uint64_t *resume)
{
    if (capacity <= 0 || (join != REP_BITMAP_UNION && join != REP_BITMAP_DIFFERENCE)
        || (b && b->bit_count != a->bit_count))
        return -EINVAL;
    if (from > a->bit_count)
        return -ERANGE;
    scan s;
    s.a = a;
    s.b = b;
    s.minus = b && join == REP_BITMAP_DIFFERENCE;
    s.vectors = has_vectors();
    s.from = from;
    s.carry = 0;
    s.kept = 0;
    if (capacity < (int)REP_WORD_BITS)
        return runs_one_by_one(&s, firsts, counts, capacity, resume);
    return runs_in_bulk(&s, firsts, counts, capacity, resume);
}
