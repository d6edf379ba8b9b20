/* Out: container by container from a copy of its words, so that counts and contents agree whatever
 * is set meanwhile. The header, whose size only the last container settles, is put before them. */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bitmap_parts.h"
#include "rep_roaring.h"
#include "roaring_parts.h"

typedef struct described {
    uint16_t key;
    uint16_t last; /* cardinality less one */
    bool runs;
    uint32_t offset; /* from the first container on */
} described;

typedef struct encoder {
    const rep_bitmap *bitmap;
    described *containers;
    uint32_t count;
    bool any_runs;
    uint8_t *memory;
    size_t start; /* of the containers in it: the largest header fits before */
    size_t end;
} encoder;

static void put16(uint8_t *to, uint32_t value)
{
    to[0] = (uint8_t)value;
    to[1] = (uint8_t)(value >> 8);
}

static void put32(uint8_t *to, uint32_t value)
{
    value = htole32(value);
    memcpy(to, &value, sizeof value);
}

static inline __attribute__((always_inline)) void survey(const uint64_t *words, uint32_t *bits,
                                                         uint32_t *runs)
{
    uint64_t before = 0;
    uint32_t set = 0;
    uint32_t starts = 0;
    for (unsigned i = 0; i < REP_CONTAINER_WORDS; i++) {
        set += (unsigned)__builtin_popcountll(words[i]);
        starts += (unsigned)__builtin_popcountll(words[i] & ~(words[i] << 1 | before));
        before = words[i] >> 63;
    }
    *bits = set;
    *runs = starts;
}

#if defined(__x86_64__)
__attribute__((target("popcnt"))) static void survey_fast(const uint64_t *words, uint32_t *bits,
                                                          uint32_t *runs)
{
    survey(words, bits, runs);
}

static void survey_words(const uint64_t *words, uint32_t *bits, uint32_t *runs)
{
    if (__builtin_cpu_supports("popcnt"))
        survey_fast(words, bits, runs);
    else
        survey(words, bits, runs);
}
#else
static void survey_words(const uint64_t *words, uint32_t *bits, uint32_t *runs)
{
    survey(words, bits, runs);
}
#endif

static uint8_t *put_array(const uint64_t *words, uint8_t *to)
{
    for (uint32_t i = 0; i < REP_CONTAINER_WORDS; i++)
        for (uint64_t left = words[i]; left; to += 2)
            put16(to, i * REP_WORD_BITS + rep_take_lowest(&left));
    return to;
}

/* Starts and ends come in the same order: the ends complete what the starts have begun. */
static uint8_t *put_runs(const uint64_t *words, uint32_t runs, uint8_t *to)
{
    uint8_t *starts = to + 2;
    uint8_t *lengths = to + 4;
    uint64_t before = 0;
    put16(to, runs);
    for (uint32_t i = 0; i < REP_CONTAINER_WORDS; i++) {
        uint64_t shifted = words[i] << 1 | before;
        uint64_t ends = ~words[i] & shifted;
        before = words[i] >> 63;
        for (uint64_t left = words[i] & ~shifted; left; starts += 4)
            put16(starts, i * REP_WORD_BITS + rep_take_lowest(&left));
        for (; ends; lengths += 4)
            put16(lengths, i * REP_WORD_BITS + rep_take_lowest(&ends) - 1);
    }
    if (before)
        put16(lengths, REP_CONTAINER_BITS - 1);
    for (uint32_t i = 0; i < runs; i++) {
        uint8_t *run = to + 2 + (size_t)i * 4;
        put16(run + 2, (run[2] | (uint32_t)run[3] << 8) - (run[0] | (uint32_t)run[1] << 8));
    }
    return to + 2 + (size_t)runs * 4;
}

static uint8_t *put_bitset(uint64_t *words, uint8_t *to)
{
    for (unsigned i = 0; i < REP_CONTAINER_WORDS; i++)
        words[i] = htole64(words[i]);
    memcpy(to, words, REP_CONTAINER_BYTES);
    return to + REP_CONTAINER_BYTES;
}

static void describe(encoder *e, uint32_t key, uint32_t bits, bool runs)
{
    e->containers[e->count++] = (described){
        .key = (uint16_t)key,
        .last = (uint16_t)(bits - 1),
        .runs = runs,
        .offset = (uint32_t)(e->end - e->start),
    };
    e->any_runs |= runs;
}

/* All of its bits, without a look at any. */
static void put_full(encoder *e, uint32_t key)
{
    uint64_t left = rep_bitmap_size(e->bitmap) - (uint64_t)key * REP_CONTAINER_BITS;
    uint32_t bits = left < REP_CONTAINER_BITS ? (uint32_t)left : REP_CONTAINER_BITS;
    uint8_t *to = e->memory + e->end;
    describe(e, key, bits, true);
    put16(to, 1);
    put16(to + 2, 0);
    put16(to + 4, bits - 1);
    e->end += 6;
}

static void put_container(encoder *e, uint32_t key)
{
    uint64_t words[REP_CONTAINER_WORDS] = {0};
    uint64_t first = (uint64_t)key * REP_CONTAINER_WORDS;
    uint64_t left = rep_bitmap_word_count(e->bitmap) - first;
    uint32_t bits;
    uint32_t runs;
    if (rep_bitmap_is_full(e->bitmap, first / REP_BLOCK_WORDS)) {
        put_full(e, key);
        return;
    }
    /* Inside the bitmap: can't fail. */
    rep_bitmap_words_get(e->bitmap, first, left < REP_CONTAINER_WORDS ? left : REP_CONTAINER_WORDS,
                         words);
    survey_words(words, &bits, &runs);
    if (!bits)
        return; /* cleared since it was found */
    bool array = bits <= REP_ROARING_ARRAY_MAX;
    bool in_runs = 2 + runs * 4 <= (array ? bits * 2 : REP_CONTAINER_BYTES);
    uint8_t *to = e->memory + e->end;
    describe(e, key, bits, in_runs);
    if (in_runs)
        to = put_runs(words, runs, to);
    else if (array)
        to = put_array(words, to);
    else
        to = put_bitset(words, to);
    e->end = (size_t)(to - e->memory);
}

/* Right before the containers; returns where it begins. */
static uint8_t *put_header(encoder *e)
{
    uint32_t flag_bytes = e->any_runs ? (e->count + 7) / 8 : 0;
    bool offsets = !e->any_runs || e->count >= REP_ROARING_OFFSETS_FROM;
    uint32_t size = (e->any_runs ? 4 : 8) + flag_bytes + e->count * (offsets ? 8 : 4);
    uint8_t *begin = e->memory + e->start - size;
    uint8_t *to = begin;
    if (e->any_runs) {
        put32(to, REP_ROARING_COOKIE_RUNS | (e->count - 1) << 16);
        to += 4;
        memset(to, 0, flag_bytes);
        for (uint32_t i = 0; i < e->count; i++)
            to[i / 8] |= (uint8_t)(e->containers[i].runs << (i % 8));
        to += flag_bytes;
    } else {
        put32(to, REP_ROARING_COOKIE);
        put32(to + 4, e->count);
        to += 8;
    }
    for (uint32_t i = 0; i < e->count; i++, to += 4) {
        put16(to, e->containers[i].key);
        put16(to + 2, e->containers[i].last);
    }
    for (uint32_t i = 0; offsets && i < e->count; i++, to += 4)
        put32(to, size + e->containers[i].offset);
    return begin;
}

static int put_containers(encoder *e)
{
    const uint64_t words_per_bit = REP_WORD_BITS;
    uint64_t word = 0;
    while (rep_bitmap_find(e->bitmap, 1, word, &word)) {
        uint64_t key = word / REP_CONTAINER_WORDS;
        if (key > UINT16_MAX) {
            uint64_t first;
            uint64_t count;
            /* A word that was found may have been cleared since: only a bit counts. */
            return rep_bitmap_next_run(e->bitmap, NULL, REP_BITMAP_UNION, word * words_per_bit, 1,
                                       &first, &count)
                       ? -EOVERFLOW
                       : 0;
        }
        put_container(e, (uint32_t)key);
        word = (key + 1) * REP_CONTAINER_WORDS;
    }
    return 0;
}

/* Room for the largest outcome, of which only what is written gets memory: in huge pages where the
 * system has them, since 65,536 page faults take longer than to encode what they hold. */
static uint8_t *reserve(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    (void)madvise(memory, bytes, MADV_HUGEPAGE);
    return memory;
}

int rep_roaring_encode(const rep_bitmap *bitmap, rep_roaring *out)
{
    uint64_t most = (rep_bitmap_size(bitmap) + REP_CONTAINER_BITS - 1) / REP_CONTAINER_BITS;
    if (most > UINT16_MAX + 1U)
        most = UINT16_MAX + 1U;
    encoder e = {.bitmap = bitmap, .start = 8 + (size_t)most / 8 + 1 + (size_t)most * 8};
    size_t room = e.start + (size_t)most * REP_CONTAINER_BYTES;
    e.end = e.start;
    e.memory = reserve(room);
    e.containers = calloc(most, sizeof *e.containers);
    int rc = e.memory && e.containers ? put_containers(&e) : -ENOMEM;
    if (rc) {
        if (e.memory)
            munmap(e.memory, room);
    } else {
        const uint8_t *begin = put_header(&e);
        *out = (rep_roaring){
            .bytes = begin,
            .byte_count = (uint64_t)(e.memory + e.end - begin),
            .memory = e.memory,
            .memory_bytes = room,
        };
    }
    free(e.containers);
    return rc;
}

void rep_roaring_release(rep_roaring *roaring)
{
    if (roaring->memory)
        munmap(roaring->memory, roaring->memory_bytes);
    *roaring = (rep_roaring){0};
}
