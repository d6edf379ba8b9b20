/* Two files' bytes, window by window: what differs, and writing it. */
#include "rep_ext_delta.h"

/* What is read of both files in one go, at most. */
#define WINDOW_BYTES (1ULL << 20)

static uint64_t end_of(const block_map *map, uint64_t at_least)
{
    const run *last = map->count ? &map->runs[map->count - 1] : NULL;

    return last && last->logical + last->count > at_least ? last->logical + last->count : at_least;
}

static int get_windows(rep_ext_delta *delta)
{
    uint64_t blocks = end_of(&delta->to, end_of(&delta->from, delta->from_blocks));
    uint64_t wanted;

    blocks = delta->to_blocks > blocks ? delta->to_blocks : blocks;
    wanted = blocks < WINDOW_BYTES / delta->target->fs->blocksize
                 ? (blocks + 1) * delta->target->fs->blocksize
                 : WINDOW_BYTES;
    if (wanted > WINDOW_BYTES)
        wanted = WINDOW_BYTES;
    if (wanted <= delta->window)
        return 0;
    free(delta->wanted);
    free(delta->held);
    delta->wanted = malloc((size_t)wanted);
    delta->held = malloc((size_t)wanted);
    delta->window = delta->wanted && delta->held ? wanted : 0;
    return delta->window ? 0 : rep_ext_refuse(delta->target, -ENOMEM, "no memory");
}

static void copy_inline(unsigned char *to, const unsigned char *from, uint64_t held,
                        uint64_t length, uint64_t offset)
{
    uint64_t part = offset < held ? held - offset : 0;

    if (part > length)
        part = length;
    memset(to, 0, (size_t)length);
    if (part)
        memcpy(to, from + offset, (size_t)part);
}

/* Reads what the target shall hold of `count` blocks: zeros behind the file's end. */
static int read_wanted(rep_ext_delta *delta, uint64_t logical, uint64_t count)
{
    uint64_t block_bytes = delta->source->fs->blocksize;
    uint64_t offset = logical * block_bytes;
    uint64_t length = count * block_bytes;
    uint64_t inside = offset >= delta->size ? 0 : delta->size - offset;
    int code = 0;

    if (delta->from_inline)
        copy_inline(delta->wanted, delta->from_inline, delta->from_blocks * block_bytes, length,
                    offset);
    else
        code = rep_ext_content_read(delta->source, &delta->from, delta->wanted, length, offset);
    if (code < 0)
        return rep_ext_refuse(delta->target, code, delta->source->text);
    if (inside < length)
        memset(delta->wanted + inside, 0, (size_t)(length - inside));
    return 0;
}

/* The next window that either map has blocks in; 0 at the end. */
static uint64_t next_window(rep_ext_delta *delta, uint64_t *logical)
{
    uint64_t window = delta->window / delta->target->fs->blocksize;
    const run *from = rep_ext_map_find(&delta->from, *logical);
    const run *to = rep_ext_map_find(&delta->to, *logical);
    uint64_t inside = delta->from_blocks > delta->to_blocks ? delta->from_blocks : delta->to_blocks;
    uint64_t start = UINT64_MAX;
    uint64_t end = 0;

    if (from && from->logical < start)
        start = from->logical;
    if (to && to->logical < start)
        start = to->logical;
    if (*logical < inside) {
        start = *logical;
        end = inside;
    }
    if (start == UINT64_MAX)
        return 0;
    if (start > *logical)
        *logical = start;
    /* Up to the end of the last run that begins inside. */
    for (const block_map *map = &delta->from; map; map = map == &delta->from ? &delta->to : NULL) {
        const run *at = rep_ext_map_find(map, *logical);
        for (; at && at < map->runs + map->count && at->logical < *logical + window; at++)
            end = at->logical + at->count > end ? at->logical + at->count : end;
    }
    return end - *logical < window ? end - *logical : window;
}

/* Counts the blocks of a window that differ, where source or target has data. */
static int compare_window(rep_ext_delta *delta, uint64_t logical, uint64_t count, uint64_t *differ)
{
    uint64_t block_bytes = delta->target->fs->blocksize;
    uint64_t offset = logical * block_bytes;
    int code = read_wanted(delta, logical, count);

    if (code == 0 && delta->to_inline)
        copy_inline(delta->held, delta->to_inline, delta->to_blocks * block_bytes,
                    count * block_bytes, offset);
    else if (code == 0)
        code = rep_ext_content_read(delta->target, &delta->to, delta->held, count * block_bytes,
                                    offset);
    if (code < 0 || memcmp(delta->wanted, delta->held, (size_t)(count * block_bytes)) == 0)
        return code;
    for (uint64_t at = 0; at < count * block_bytes; at += block_bytes)
        if (memcmp(delta->wanted + at, delta->held + at, (size_t)block_bytes) != 0)
            *differ += block_bytes;
    return 0;
}

int rep_ext_delta_compare(rep_ext_delta *delta, uint64_t budget, uint64_t *differ,
                          uint64_t *compared)
{
    uint64_t block_bytes = delta->target->fs->blocksize;
    int code = get_windows(delta);

    for (uint64_t done = 0; code == 0 && done < budget;) {
        uint64_t count = next_window(delta, &delta->at);
        if (count == 0)
            return 0;
        code = compare_window(delta, delta->at, count, differ);
        delta->at += count;
        done += count * block_bytes;
        *compared += count * block_bytes;
    }
    return code < 0 ? code : 1;
}

/* Writes the part of a window that the target has blocks for. Where it has none the source has a
 * hole. */
static int write_window(rep_ext_delta *delta, uint64_t logical, uint64_t count)
{
    uint64_t block_bytes = delta->target->fs->blocksize;
    uint64_t end = logical + count;
    const run *at = rep_ext_map_find(&delta->to, logical);
    int code = read_wanted(delta, logical, count);

    for (; code == 0 && at && at < delta->to.runs + delta->to.count && at->logical < end; at++) {
        uint64_t first = at->logical > logical ? at->logical : logical;
        uint64_t behind = at->logical + at->count < end ? at->logical + at->count : end;
        if (at->state == RUN_DATA)
            code = rep_ext_content_write(delta->target, &delta->to,
                                         delta->wanted + (first - logical) * block_bytes,
                                         (behind - first) * block_bytes, first * block_bytes);
    }
    return code;
}

/* 0 at the end: such a file is written in one go. */
static int write_inline(rep_ext_delta *delta, uint64_t *compared)
{
    uint64_t changed = 0;
    int code = rep_ext_truncate(delta->target, delta->inode, delta->size);

    if (code == 0)
        code = rep_ext_write(delta->target, delta->inode, delta->from_inline, delta->size, 0,
                             &changed);
    *compared += delta->size;
    return code;
}

int rep_ext_delta_write(rep_ext_delta *delta, uint64_t budget, uint64_t *written,
                        uint64_t *compared)
{
    uint64_t block_bytes = delta->target->fs->blocksize;
    uint64_t before = rep_ext_cache_written(delta->target->cache);
    int more = 1;
    int code = rep_ext_check_change(delta->target);

    if (code == 0)
        code = get_windows(delta);
    if (code == 0 && delta->from_inline) {
        code = write_inline(delta, compared);
        more = 0;
    }
    for (uint64_t done = 0; code == 0 && more && done < budget;) {
        uint64_t count = next_window(delta, &delta->at);
        more = count > 0;
        if (more)
            code = write_window(delta, delta->at, count);
        delta->at += count;
        done += count * block_bytes;
        *compared += count * block_bytes;
    }
    *written += rep_ext_cache_written(delta->target->cache) - before;
    return code < 0 ? rep_ext_end_change(delta->target, code) : more;
}
