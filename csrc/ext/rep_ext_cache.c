#include "rep_ext_cache.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rep_ext.h"

#define LINE_BYTES 4096U
/* One per line of a small volume, at most so many. */
#define BUCKETS_MAX 65536U
/* Clean lines beyond this many are dropped all at once: cheaper than an order of use, and metadata
 * is read again from the page cache or the volume's own. */
#define LINES_MAX 16384U
/* Lines read, compared and written in one go. */
#define RUN_LINES 256U

typedef struct line {
    struct line *next;
    uint64_t index; /* of LINE_BYTES */
    int dirty;
    unsigned char bytes[LINE_BYTES];
} line;

struct rep_ext_cache {
    rep_io *io;
    int writable;
    int unflushed; /* something was written since the last flush */
    size_t count;
    size_t dirty;
    size_t bucket_count; /* a power of two */
    uint64_t written;
    line **buckets;
    unsigned char *held;   /* what the volume holds, RUN_LINES long */
    unsigned char *staged; /* what it shall hold, RUN_LINES long */
    char failure[160];
};

rep_ext_cache *rep_ext_cache_new(rep_io *io, int writable)
{
    rep_ext_cache *cache = calloc(1, sizeof *cache);

    if (!cache)
        return NULL;
    cache->io = io;
    cache->writable = writable;
    cache->bucket_count = 64;
    while (cache->bucket_count < BUCKETS_MAX && cache->bucket_count < io->size_bytes / LINE_BYTES)
        cache->bucket_count *= 2;
    cache->buckets = calloc(cache->bucket_count, sizeof(line *));
    /* Only who writes stages what shall be written. */
    if (writable) {
        cache->held = malloc((size_t)RUN_LINES * LINE_BYTES);
        cache->staged = malloc((size_t)RUN_LINES * LINE_BYTES);
    }
    if (!cache->buckets || (writable && (!cache->held || !cache->staged))) {
        rep_ext_cache_free(cache);
        return NULL;
    }
    return cache;
}

/* Frees the clean lines, or all. */
static void drop_lines(rep_ext_cache *cache, int all)
{
    for (size_t bucket = 0; bucket < cache->bucket_count; bucket++) {
        line **at = &cache->buckets[bucket];
        while (*at) {
            line *found = *at;
            if (found->dirty && !all) {
                at = &found->next;
                continue;
            }
            *at = found->next;
            cache->count--;
            cache->dirty -= found->dirty ? 1U : 0U;
            free(found);
        }
    }
}

void rep_ext_cache_free(rep_ext_cache *cache)
{
    if (!cache)
        return;
    if (cache->buckets)
        drop_lines(cache, 1);
    free(cache->buckets);
    free(cache->held);
    free(cache->staged);
    free(cache);
}

static int failed(rep_ext_cache *cache, const char *what, uint64_t length, uint64_t offset,
                  int code)
{
    char reason[64];

    snprintf(cache->failure, sizeof cache->failure,
             "%s of %" PRIu64 " bytes at offset %" PRIu64 " of the volume: %s", what, length,
             offset, strerror_r(-code, reason, sizeof reason));
    return code;
}

static int device_read(rep_ext_cache *cache, void *buffer, uint64_t length, uint64_t offset)
{
    int code = cache->io->ops->pread(cache->io, buffer, length, offset);

    return code < 0 ? failed(cache, "read", length, offset, code) : 0;
}

static int device_write(rep_ext_cache *cache, const void *buffer, uint64_t length, uint64_t offset)
{
    int code = cache->io->ops->pwrite(cache->io, buffer, length, offset);

    if (code < 0)
        return failed(cache, "write", length, offset, code);
    cache->unflushed = 1;
    cache->written += length;
    return 0;
}

static int check_range(rep_ext_cache *cache, const char *what, uint64_t length, uint64_t offset)
{
    uint64_t size = cache->io->size_bytes;

    if (offset > size || length > size - offset)
        return failed(cache, what, length, offset, -ERANGE);
    return 0;
}

/* Bytes of a line that the volume has: the last one may be short. */
static size_t line_length(const rep_ext_cache *cache, uint64_t index)
{
    uint64_t left = cache->io->size_bytes - index * LINE_BYTES;

    return left < LINE_BYTES ? (size_t)left : LINE_BYTES;
}

static size_t bucket_of(const rep_ext_cache *cache, uint64_t index)
{
    return (size_t)((index * 0x9E3779B97F4A7C15ULL) >> 48U) & (cache->bucket_count - 1);
}

static line *find_line(const rep_ext_cache *cache, uint64_t index)
{
    line *found = cache->buckets[bucket_of(cache, index)];

    while (found && found->index != index)
        found = found->next;
    return found;
}

static int write_lines(rep_ext_cache *cache);

/* The line, read from the volume unless all of it is about to be replaced. */
static int get_line(rep_ext_cache *cache, uint64_t index, int fill, line **out)
{
    line *found = find_line(cache, index);
    int code = 0;

    if (!found) {
        if (cache->count >= LINES_MAX + cache->dirty)
            drop_lines(cache, 0);
        if (cache->dirty * LINE_BYTES >= REP_EXT_DIRTY_MAX)
            code = write_lines(cache);
        if (code < 0)
            return code;
        found = malloc(sizeof *found);
        if (!found)
            return -ENOMEM;
        found->index = index;
        found->dirty = 0;
        if (fill)
            code = device_read(cache, found->bytes, line_length(cache, index), index * LINE_BYTES);
        if (code < 0) {
            free(found);
            return code;
        }
        found->next = cache->buckets[bucket_of(cache, index)];
        cache->buckets[bucket_of(cache, index)] = found;
        cache->count++;
    }
    *out = found;
    return 0;
}

int rep_ext_cache_read(rep_ext_cache *cache, void *buffer, uint64_t length, uint64_t offset)
{
    unsigned char *to = buffer;
    int code = check_range(cache, "read", length, offset);

    while (code == 0 && length > 0) {
        size_t within = (size_t)(offset % LINE_BYTES);
        size_t part = LINE_BYTES - within < length ? LINE_BYTES - within : (size_t)length;
        line *found = NULL;
        code = get_line(cache, offset / LINE_BYTES, 1, &found);
        if (code < 0)
            break;
        memcpy(to, found->bytes + within, part);
        to += part;
        offset += part;
        length -= part;
    }
    return code;
}

int rep_ext_cache_write(rep_ext_cache *cache, const void *buffer, uint64_t length, uint64_t offset)
{
    const unsigned char *from = buffer;
    int code = cache->writable ? check_range(cache, "write", length, offset) : -EROFS;

    while (code == 0 && length > 0) {
        uint64_t index = offset / LINE_BYTES;
        size_t within = (size_t)(offset % LINE_BYTES);
        size_t part = LINE_BYTES - within < length ? LINE_BYTES - within : (size_t)length;
        line *found = NULL;
        code = get_line(cache, index, part < line_length(cache, index), &found);
        if (code < 0)
            break;
        memcpy(found->bytes + within, from, part);
        cache->dirty += found->dirty ? 0U : 1U;
        found->dirty = 1;
        from += part;
        offset += part;
        length -= part;
    }
    return code;
}

/* Copies between `buffer` and the lines that lie in its range. */
static void overlay(rep_ext_cache *cache, unsigned char *to, const unsigned char *from,
                    uint64_t length, uint64_t offset)
{
    while (cache->count > 0 && length > 0) {
        size_t within = (size_t)(offset % LINE_BYTES);
        size_t part = LINE_BYTES - within < length ? LINE_BYTES - within : (size_t)length;
        line *found = find_line(cache, offset / LINE_BYTES);
        if (found && to)
            memcpy(to, found->bytes + within, part);
        if (found && from)
            memcpy(found->bytes + within, from, part);
        to = to ? to + part : NULL;
        from = from ? from + part : NULL;
        offset += part;
        length -= part;
    }
}

int rep_ext_cache_read_data(rep_ext_cache *cache, void *buffer, uint64_t length, uint64_t offset)
{
    int code = check_range(cache, "read", length, offset);

    if (code == 0)
        code = device_read(cache, buffer, length, offset);
    if (code == 0)
        overlay(cache, buffer, NULL, length, offset);
    return code;
}

/* Writes the lines of `wanted` that differ from `held`, neighbours together. */
static int write_difference(rep_ext_cache *cache, const unsigned char *wanted,
                            const unsigned char *held, uint64_t length, uint64_t offset)
{
    uint64_t at = 0;
    uint64_t start = 0; /* of the run that differs, when open */
    int open = 0;
    int code = 0;

    while (code == 0 && at < length) {
        uint64_t part = LINE_BYTES - (offset + at) % LINE_BYTES;
        if (part > length - at)
            part = length - at;
        int differs = memcmp(wanted + at, held + at, (size_t)part) != 0;
        if (differs && !open)
            start = at;
        else if (!differs && open)
            code = device_write(cache, wanted + start, at - start, offset + start);
        open = differs;
        at += part;
    }
    if (code == 0 && open)
        code = device_write(cache, wanted + start, length - start, offset + start);
    return code;
}

int rep_ext_cache_write_data(rep_ext_cache *cache, const void *buffer, uint64_t length,
                             uint64_t offset)
{
    const unsigned char *from = buffer;
    int code = cache->writable ? check_range(cache, "write", length, offset) : -EROFS;

    while (code == 0 && length > 0) {
        uint64_t part = (uint64_t)RUN_LINES * LINE_BYTES;
        if (part > length)
            part = length;
        code = device_read(cache, cache->held, part, offset);
        if (code == 0)
            code = write_difference(cache, from, cache->held, part, offset);
        if (code == 0)
            overlay(cache, NULL, from, part, offset);
        from += part;
        offset += part;
        length -= part;
    }
    return code;
}

static int compare_lines(const void *left, const void *right)
{
    const line *a = *(line *const *)left;
    const line *b = *(line *const *)right;

    return a->index < b->index ? -1 : a->index > b->index;
}

/* Writes lines that are neighbours, from `lines[0]` on. */
static int write_run(rep_ext_cache *cache, line **lines, size_t count)
{
    uint64_t offset = lines[0]->index * LINE_BYTES;
    uint64_t length = 0;
    int code;

    for (size_t i = 0; i < count; i++) {
        memcpy(cache->staged + length, lines[i]->bytes, LINE_BYTES);
        length += line_length(cache, lines[i]->index);
    }
    code = device_read(cache, cache->held, length, offset);
    if (code == 0)
        code = write_difference(cache, cache->staged, cache->held, length, offset);
    for (size_t i = 0; code == 0 && i < count; i++) {
        lines[i]->dirty = 0;
        cache->dirty--;
    }
    return code;
}

static int write_lines(rep_ext_cache *cache)
{
    size_t total = cache->dirty;
    size_t found = 0;
    line **lines = total ? malloc(total * sizeof(line *)) : NULL;
    int code = 0;

    if (total && !lines)
        return -ENOMEM;
    for (size_t bucket = 0; found < total && bucket < cache->bucket_count; bucket++)
        for (line *at = cache->buckets[bucket]; at; at = at->next)
            if (at->dirty)
                lines[found++] = at;
    if (found)
        qsort(lines, found, sizeof(line *), compare_lines);
    for (size_t i = 0, count; code == 0 && i < found; i += count) {
        count = 1;
        while (count < RUN_LINES && i + count < found
               && lines[i + count]->index == lines[i]->index + count)
            count++;
        code = write_run(cache, lines + i, count);
    }
    free(lines);
    return code;
}

int rep_ext_cache_flush(rep_ext_cache *cache)
{
    int code = write_lines(cache);

    if (code == 0 && cache->unflushed) {
        code = cache->io->ops->flush(cache->io);
        if (code < 0)
            failed(cache, "flush", 0, 0, code);
        else
            cache->unflushed = 0;
    }
    return code;
}

uint64_t rep_ext_cache_written(const rep_ext_cache *cache)
{
    return cache->written;
}

uint64_t rep_ext_cache_dirty(const rep_ext_cache *cache)
{
    return (uint64_t)cache->dirty * LINE_BYTES;
}

const char *rep_ext_cache_failure(const rep_ext_cache *cache)
{
    return cache->failure;
}

void rep_ext_cache_failure_clear(rep_ext_cache *cache)
{
    cache->failure[0] = '\0';
}
