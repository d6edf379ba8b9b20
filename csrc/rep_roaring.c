/* In: one walk checks, a second one, over the same bytes, sets. */
#include "rep_roaring.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "bitmap_parts.h"
#include "roaring_parts.h"

typedef struct decoder {
    const uint8_t *bytes;
    uint64_t byte_count;
    uint32_t count;
    const uint8_t *run_flags; /* NULL: no container holds runs */
    const uint8_t *descriptions;
    const uint8_t *offsets; /* NULL: none */
    uint64_t begin;         /* of the first container */
} decoder;

typedef struct container {
    uint32_t key;
    uint32_t cardinality;
    bool runs;
    const uint8_t *bytes;
    uint64_t byte_count;
} container;

static uint32_t get16(const uint8_t *from)
{
    return from[0] | (uint32_t)from[1] << 8;
}

static uint32_t get32(const uint8_t *from)
{
    return get16(from) | get16(from + 2) << 16;
}

static uint64_t get64(const uint8_t *from)
{
    uint64_t value;
    memcpy(&value, from, sizeof value);
    return le64toh(value);
}

/* The next `count` bytes, or NULL when there are fewer. */
static const uint8_t *take(const decoder *d, uint64_t *at, uint64_t count)
{
    if (count > d->byte_count - *at)
        return NULL;
    const uint8_t *taken = d->bytes + *at;
    *at += count;
    return taken;
}

static int read_header(decoder *d)
{
    uint64_t at = 0;
    const uint8_t *cookie = take(d, &at, 4);
    if (!cookie)
        return -EBADMSG;
    uint32_t value = get32(cookie);
    if ((value & 0xffff) == REP_ROARING_COOKIE_RUNS) {
        d->count = (value >> 16) + 1;
        d->run_flags = take(d, &at, (d->count + 7) / 8);
        if (!d->run_flags)
            return -EBADMSG;
    } else {
        const uint8_t *count = take(d, &at, 4);
        if (value != REP_ROARING_COOKIE || !count || get32(count) > UINT16_MAX + 1U)
            return -EBADMSG;
        d->count = get32(count);
    }
    d->descriptions = take(d, &at, (uint64_t)d->count * 4);
    if (!d->descriptions)
        return -EBADMSG;
    if (!d->run_flags || d->count >= REP_ROARING_OFFSETS_FROM) {
        d->offsets = take(d, &at, (uint64_t)d->count * 4);
        if (!d->offsets)
            return -EBADMSG;
    }
    d->begin = at;
    return 0;
}

/* Container `index`, which begins at *at; false: it reaches past the end. */
static bool next_container(const decoder *d, uint32_t index, uint64_t *at, container *c)
{
    const uint8_t *description = d->descriptions + (size_t)index * 4;
    uint64_t here = *at;
    c->key = get16(description);
    c->cardinality = get16(description + 2) + 1;
    c->runs = d->run_flags && d->run_flags[index / 8] >> (index % 8) & 1;
    if (c->runs) {
        const uint8_t *count = take(d, &here, 2);
        if (!count)
            return false;
        c->byte_count = (uint64_t)get16(count) * 4;
    } else if (c->cardinality <= REP_ROARING_ARRAY_MAX) {
        c->byte_count = (uint64_t)c->cardinality * 2;
    } else {
        c->byte_count = REP_CONTAINER_BYTES;
    }
    c->bytes = take(d, &here, c->byte_count);
    if (!c->bytes)
        return false;
    *at = here;
    return true;
}

/* The highest value, or -1 when the container isn't what it says. */
static int check_array(const container *c)
{
    int highest = -1;
    for (uint64_t i = 0; i < c->byte_count; i += 2) {
        int value = (int)get16(c->bytes + i);
        if (value <= highest)
            return -1;
        highest = value;
    }
    return highest;
}

static int check_runs(const container *c)
{
    int64_t highest = -1;
    uint32_t bits = 0;
    for (uint64_t i = 0; i < c->byte_count; i += 4) {
        int64_t first = get16(c->bytes + i);
        int64_t last = first + get16(c->bytes + i + 2);
        if (first <= highest || last > UINT16_MAX)
            return -1;
        bits += (uint32_t)(last - first + 1);
        highest = last;
    }
    return bits == c->cardinality ? (int)highest : -1;
}

static inline __attribute__((always_inline)) int check_words(const container *c)
{
    int highest = -1;
    uint32_t bits = 0;
    for (unsigned i = 0; i < REP_CONTAINER_WORDS; i++)
        bits += (unsigned)__builtin_popcountll(get64(c->bytes + (size_t)i * 8));
    for (unsigned i = REP_CONTAINER_WORDS; i-- && highest < 0;) {
        uint64_t word = get64(c->bytes + (size_t)i * 8);
        if (word)
            highest =
                (int)(i * REP_WORD_BITS + REP_WORD_BITS - 1) - (int)(unsigned)__builtin_clzll(word);
    }
    return bits == c->cardinality ? highest : -1;
}

#if defined(__x86_64__)
__attribute__((target("popcnt"))) static int check_words_fast(const container *c)
{
    return check_words(c);
}

static int check_bitset(const container *c)
{
    return __builtin_cpu_supports("popcnt") ? check_words_fast(c) : check_words(c);
}
#else
static int check_bitset(const container *c)
{
    return check_words(c);
}
#endif

static int check(const decoder *d, uint64_t size, uint64_t *highest)
{
    uint64_t at = d->begin;
    int64_t key = -1;
    bool any = false;
    for (uint32_t i = 0; i < d->count; i++) {
        container c;
        if (d->offsets && get32(d->offsets + (size_t)i * 4) != (uint32_t)at)
            return -EBADMSG;
        if (!next_container(d, i, &at, &c) || c.key <= key)
            return -EBADMSG;
        key = c.key;
        int last = c.runs                                   ? check_runs(&c)
                   : c.cardinality <= REP_ROARING_ARRAY_MAX ? check_array(&c)
                                                            : check_bitset(&c);
        if (last < 0)
            return -EBADMSG;
        *highest = (uint64_t)c.key * REP_CONTAINER_BITS + (unsigned)last;
        any = true;
    }
    if (at != d->byte_count)
        return -EBADMSG;
    return any && *highest >= size ? -ERANGE : 0;
}

/* All values lie inside: none of these can fail. */
static void set_array(const container *c, rep_bitmap *bitmap)
{
    uint64_t words[REP_CONTAINER_WORDS] = {0};
    uint32_t last = 0;
    for (uint64_t i = 0; i < c->byte_count; i += 2) {
        last = get16(c->bytes + i);
        words[last / REP_WORD_BITS] |= rep_bit(last);
    }
    rep_bitmap_words_or(bitmap, (uint64_t)c->key * REP_CONTAINER_WORDS, last / REP_WORD_BITS + 1,
                        words);
}

/* A run that goes on in the next container is set as one: blocks that it fills cost a bit then. */
static void set_runs(const container *c, rep_bitmap *bitmap, uint64_t *first, uint64_t *count)
{
    for (uint64_t i = 0; i < c->byte_count; i += 4) {
        uint64_t begin = (uint64_t)c->key * REP_CONTAINER_BITS + get16(c->bytes + i);
        uint64_t length = get16(c->bytes + i + 2) + 1ULL;
        if (begin != *first + *count) {
            rep_bitmap_set(bitmap, *first, *count);
            *first = begin;
            *count = 0;
        }
        *count += length;
    }
}

static void set_bitset(const container *c, rep_bitmap *bitmap)
{
    uint64_t words[REP_CONTAINER_WORDS];
    uint64_t first = (uint64_t)c->key * REP_CONTAINER_WORDS;
    uint64_t left = rep_bitmap_word_count(bitmap) - first;
    for (unsigned i = 0; i < REP_CONTAINER_WORDS; i++)
        words[i] = get64(c->bytes + (size_t)i * 8);
    rep_bitmap_words_or(bitmap, first, left < REP_CONTAINER_WORDS ? left : REP_CONTAINER_WORDS,
                        words);
}

static bool is_bitset(const container *c)
{
    return !c->runs && c->cardinality > REP_ROARING_ARRAY_MAX;
}

/* How many containers from `index` on, at `at`, are bitsets beside each other. */
static uint32_t stretch(const decoder *d, uint32_t index, uint64_t at)
{
    uint32_t count = 0;
    uint32_t key = get16(d->descriptions + (size_t)index * 4);
    container c;
    while (index + count < d->count && next_container(d, index + count, &at, &c)
           && c.key == key + count && is_bitset(&c))
        count++;
    return count;
}

static void set_containers(const decoder *d, rep_bitmap *bitmap)
{
    uint64_t at = d->begin;
    uint64_t run_first = 0;
    uint64_t run_count = 0;
    uint32_t expected = 0;
    for (uint32_t i = 0; i < d->count; i++) {
        container c;
        if (i >= expected) {
            uint32_t count = stretch(d, i, at);
            expected = i + count + !count;
            uint64_t word = (uint64_t)get16(d->descriptions + (size_t)i * 4) * REP_CONTAINER_WORDS;
            uint64_t left = rep_bitmap_word_count(bitmap) - word;
            uint64_t words = (uint64_t)count * REP_CONTAINER_WORDS;
            rep_bitmap_expect(bitmap, word, words < left ? words : left);
        }
        next_container(d, i, &at, &c);
        if (is_bitset(&c))
            set_bitset(&c, bitmap);
        else if (!c.runs)
            set_array(&c, bitmap);
        else
            set_runs(&c, bitmap, &run_first, &run_count);
    }
    rep_bitmap_set(bitmap, run_first, run_count);
}

int rep_roaring_decode(const uint8_t *bytes, uint64_t byte_count, rep_bitmap *bitmap,
                       uint64_t *highest)
{
    decoder d = {.bytes = bytes, .byte_count = byte_count};
    int rc = read_header(&d);
    if (!rc)
        rc = check(&d, rep_bitmap_size(bitmap), highest);
    if (!rc)
        set_containers(&d, bitmap);
    return rc;
}
