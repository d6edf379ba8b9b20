/* bitmap_model: a bitmap beside a plain array with one byte per bit. */
#ifndef BITMAP_MODEL_H
#define BITMAP_MODEL_H

#include "bitmap_parts.h"
#include "check.h"
#include "rep_bitmap.h"

typedef struct bitmap_model {
    rep_bitmap *bitmap;
    uint64_t size;
    char *bits;
} bitmap_model;

static inline bitmap_model bitmap_model_new(uint64_t size)
{
    bitmap_model m = {.size = size, .bits = check_alloc(size)};
    CHECK_OK(rep_bitmap_new(size, &m.bitmap));
    return m;
}

static inline void bitmap_model_free(bitmap_model m)
{
    rep_bitmap_free(m.bitmap);
    free(m.bits);
}

static inline void bitmap_model_set(bitmap_model m, uint64_t first, uint64_t count)
{
    CHECK_OK(rep_bitmap_set(m.bitmap, first, count));
    memset(m.bits + first, 1, count);
}

static inline void bitmap_model_clear(bitmap_model m, uint64_t first, uint64_t count)
{
    CHECK_OK(rep_bitmap_clear(m.bitmap, first, count));
    memset(m.bits + first, 0, count);
}

/* The first byte of `bits` that is `bit`, at or after `from`; `size` when there is none. */
static inline uint64_t bitmap_model_find(const char *bits, uint64_t from, uint64_t size, int bit)
{
    const char *found = from < size ? memchr(bits + from, bit, size - from) : NULL;
    return found ? (uint64_t)(found - bits) : size;
}

/* Runs in bulk, from `from` on, are those of `bits`. */
static inline void bitmap_model_check_bulk(const rep_bitmap *a, const rep_bitmap *b, int join,
                                           uint64_t from, int capacity, const char *bits)
{
    uint64_t size = rep_bitmap_size(a);
    uint64_t *firsts = check_alloc((size_t)capacity * sizeof *firsts);
    uint64_t *counts = check_alloc((size_t)capacity * sizeof *counts);
    uint64_t at = from;
    while (at < size) {
        uint64_t resume;
        int found = rep_bitmap_runs(a, b, join, at, firsts, counts, capacity, &resume);
        CHECK(found >= 0 && found <= capacity && resume > at);
        for (int i = 0; i < found; i++) {
            CHECK_EQ(firsts[i], bitmap_model_find(bits, at, size, 1));
            at = bitmap_model_find(bits, firsts[i], size, 0);
            CHECK_EQ(counts[i], at - firsts[i]);
        }
        CHECK(resume >= at);
        CHECK_EQ(bitmap_model_find(bits, at, size, 1), bitmap_model_find(bits, resume, size, 1));
        at = resume;
    }
    free(firsts);
    free(counts);
}

/* Runs of a, or of a joined with b, are those of `bits`. */
static inline void bitmap_model_check_runs(const rep_bitmap *a, const rep_bitmap *b, int join,
                                           uint64_t most, const char *bits)
{
    uint64_t size = rep_bitmap_size(a);
    uint64_t from = 0;
    const int capacities[] = {1, 63, 64, 100, 5000};
    for (size_t i = 0; i < sizeof capacities / sizeof *capacities; i++)
        bitmap_model_check_bulk(a, b, join, i * size / 7, capacities[i], bits);
    for (;;) {
        uint64_t first;
        uint64_t count;
        uint64_t expected = bitmap_model_find(bits, from, size, 1);
        int rc = rep_bitmap_next_run(a, b, join, from, most, &first, &count);
        if (expected == size) {
            CHECK_EQ(rc, 0);
            return;
        }
        uint64_t limit = most && most < size - expected ? expected + most : size;
        uint64_t end = bitmap_model_find(bits, expected, limit, 0);
        CHECK_EQ(rc, 1);
        CHECK_EQ(first, expected);
        CHECK_EQ(count, end - expected);
        from = end;
    }
}

/* Each summary bit says what the word below holds: so it must be whenever nothing runs. */
static inline void bitmap_model_check_summary(const rep_bitmap *bitmap)
{
    for (int level = 1; level < bitmap->level_count; level++)
        for (uint64_t i = 0; i < bitmap->word_counts[level - 1]; i++) {
            bool empty = !rep_bitmap_load(bitmap, level - 1, i);
            bool said = rep_bitmap_load(bitmap, level, i / REP_WORD_BITS) & rep_bit(i);
            if (empty == said)
                CHECK_FAIL("level %d, bit %" PRIu64 ": %d above a word that is %sempty", level, i,
                           said, empty ? "" : "not ");
        }
}

static inline void bitmap_model_check(bitmap_model m)
{
    uint64_t count = 0;
    for (uint64_t i = 0; i < m.size; i++)
        count += (uint64_t)m.bits[i];
    CHECK_EQ(rep_bitmap_count(m.bitmap), count);
    CHECK_EQ(rep_bitmap_any(m.bitmap), count > 0);
    bitmap_model_check_runs(m.bitmap, NULL, REP_BITMAP_UNION, 0, m.bits);
    bitmap_model_check_summary(m.bitmap);
}

/* A range of any length, short ones mostly. */
static inline void bitmap_model_range(bitmap_model m, uint64_t *random, uint64_t *first,
                                      uint64_t *count)
{
    *first = check_below(random, m.size);
    uint64_t room = m.size - *first;
    uint64_t most = check_random(random) % 8 ? 200 : room;
    *count = check_below(random, (most < room ? most : room) + 1);
}

static inline void bitmap_model_scatter(bitmap_model m, uint64_t *random, int ranges)
{
    for (int i = 0; i < ranges; i++) {
        uint64_t first;
        uint64_t count;
        bitmap_model_range(m, random, &first, &count);
        if (check_random(random) % 3)
            bitmap_model_set(m, first, count);
        else
            bitmap_model_clear(m, first, count);
    }
}

#endif
