/* Changes to words and their summaries, and the operations on whole bitmaps (bitmap_parts.h). */
#include <errno.h>

#include "bitmap_parts.h"

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

/* With the mutex held no word can become empty: what isn't empty now deserves its summary. */
static void publish_held(rep_bitmap *bitmap, uint64_t group, uint64_t which)
{
    uint64_t present = 0;
    while (which) {
        unsigned i = rep_take_lowest(&which);
        if (atomic_load(&bitmap->levels[0][group * REP_WORD_BITS + i]))
            present |= rep_bit(i);
    }
    for (int level = 1; present && level < bitmap->level_count; level++) {
        atomic_fetch_or(&bitmap->levels[level][group], present);
        present = rep_bit(group);
        group /= REP_WORD_BITS;
    }
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

static void retract_held(rep_bitmap *bitmap, uint64_t group, uint64_t emptied)
{
    for (int level = 1; emptied && level < bitmap->level_count; level++) {
        uint64_t before = atomic_fetch_and(&bitmap->levels[level][group], ~emptied);
        emptied = before & ~emptied ? 0 : rep_bit(group);
        group /= REP_WORD_BITS;
    }
}

/* The edit again for words that it may leave empty. */
static void edit_emptying(rep_bitmap *bitmap, enum rep_bitmap_op op, uint64_t group, uint64_t which,
                          const uint64_t *operand)
{
    uint64_t emptied = 0;
    uint64_t kept = 0;
    pthread_mutex_lock(&bitmap->summary_mutex);
    atomic_store(&bitmap->emptying, true);
    while (which) {
        unsigned i = rep_take_lowest(&which);
        _Atomic uint64_t *word = &bitmap->levels[0][group * REP_WORD_BITS + i];
        uint64_t old = atomic_load(word);
        uint64_t new;
        do
            new = apply(op, old, operand[i]);
        while (new != old && !atomic_compare_exchange_weak(word, &old, new));
        *(new ? &kept : &emptied) |= rep_bit(i);
    }
    publish_held(bitmap, group, kept);
    retract_held(bitmap, group, emptied);
    atomic_store(&bitmap->emptying, false);
    pthread_mutex_unlock(&bitmap->summary_mutex);
}

static inline __attribute__((always_inline)) void edit_word(_Atomic uint64_t *words,
                                                            enum rep_bitmap_op op, unsigned i,
                                                            const uint64_t *operand, uint64_t *set,
                                                            uint64_t *emptied)
{
    uint64_t old = atomic_load(&words[i]);
    uint64_t new;
    do {
        new = apply(op, old, operand[i]);
        if (!new && old) {
            *emptied |= rep_bit(i);
            return;
        }
    } while (new != old && !atomic_compare_exchange_weak(&words[i], &old, new));
    /* Also when nothing changed: whoever set these bits may not have published them yet. */
    *set |= (uint64_t)!!new << i;
}

/* Inlined for each `op`. Whole groups go without a search for the next bit: a third less time where
 * bitmaps are dense. */
static inline __attribute__((always_inline)) uint64_t edit_words(_Atomic uint64_t *words,
                                                                 enum rep_bitmap_op op,
                                                                 uint64_t which,
                                                                 const uint64_t *operand,
                                                                 uint64_t *emptied)
{
    uint64_t set = 0;
    if (which == ~0ULL)
        for (unsigned i = 0; i < REP_WORD_BITS; i++)
            edit_word(words, op, i, operand, &set, emptied);
    else
        while (which)
            edit_word(words, op, rep_take_lowest(&which), operand, &set, emptied);
    return set;
}

void rep_bitmap_edit(rep_bitmap *bitmap, enum rep_bitmap_op op, uint64_t group, uint64_t which,
                     const uint64_t operand[REP_WORD_BITS])
{
    _Atomic uint64_t *words = &bitmap->levels[0][group * REP_WORD_BITS];
    uint64_t set = 0;
    uint64_t emptied = 0;
    switch (op) {
    case REP_BITMAP_OR:
        set = edit_words(words, REP_BITMAP_OR, which, operand, &emptied);
        break;
    case REP_BITMAP_AND:
        edit_words(words, REP_BITMAP_AND, which, operand, &emptied);
        break;
    case REP_BITMAP_ANDNOT:
        edit_words(words, REP_BITMAP_ANDNOT, which, operand, &emptied);
        break;
    case REP_BITMAP_XOR:
        set = edit_words(words, REP_BITMAP_XOR, which, operand, &emptied);
        break;
    }
    if (set)
        publish(bitmap, group, set);
    if (emptied)
        edit_emptying(bitmap, op, group, emptied, operand);
}

static void gather(const rep_bitmap *source, uint64_t group, uint64_t which, uint64_t *operand)
{
    uint64_t first = group * REP_WORD_BITS;
    if (which == ~0ULL) {
        for (unsigned i = 0; i < REP_WORD_BITS; i++)
            operand[i] = rep_bitmap_load(source, 0, first + i);
        return;
    }
    while (which) {
        unsigned i = rep_take_lowest(&which);
        operand[i] = rep_bitmap_load(source, 0, first + i);
    }
}

/* Applies `op` wherever a word of `where` isn't empty: elsewhere it changes nothing. */
static int combine(enum rep_bitmap_op op, rep_bitmap *target, const rep_bitmap *source,
                   const rep_bitmap *where)
{
    if (target->bit_count != source->bit_count)
        return -EINVAL;
    uint64_t word = 0;
    while (rep_bitmap_find(where, 1, word, &word)) {
        uint64_t operand[REP_WORD_BITS];
        uint64_t group = word / REP_WORD_BITS;
        uint64_t which = rep_bitmap_load(where, 1, group);
        /* What the target lacks can't be taken from it. */
        if (op == REP_BITMAP_ANDNOT)
            which &= rep_bitmap_load(target, 1, group);
        gather(source, group, which, operand);
        rep_bitmap_edit(target, op, group, which, operand);
        word = (group + 1) * REP_WORD_BITS;
    }
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
