/* Two files' contents: what differs, and making the target's like the source's. */
#include "rep_ext_internal.h"

/* What is read of both files in one go, at most. */
#define WINDOW_BYTES (1ULL << 20)

struct rep_ext_delta {
    rep_ext *source;
    rep_ext *target;
    uint32_t source_inode;
    uint32_t inode; /* 0: there is none yet */
    block_map from; /* of the source, cut at its end */
    block_map to;
    /* Content inside the inode, a whole number of blocks long, zeros behind its end; else NULL. */
    unsigned char *from_inline;
    unsigned char *to_inline;
    uint64_t from_blocks; /* of from_inline */
    uint64_t to_blocks;
    uint64_t size;        /* of the source, bytes */
    uint64_t target_size; /* bytes */
    uint64_t at;          /* block where comparing or writing goes on */
    uint64_t window;      /* bytes that the next two have room for: less for small files */
    unsigned char *wanted;
    unsigned char *held;
};

/* Data runs within `blocks` blocks: what lies behind the end isn't the file's. */
static void cut_map(block_map *map, uint64_t blocks)
{
    while (map->count > 0 && map->runs[map->count - 1].logical >= blocks)
        map->count--;
    if (map->count > 0) {
        run *last = &map->runs[map->count - 1];
        if (last->logical + last->count > blocks)
            last->count = blocks - last->logical;
    }
}

static int load_inline(rep_ext *ext, uint32_t inode, unsigned char **out, uint64_t *blocks)
{
    uint64_t block_bytes = ext->fs->blocksize;
    unsigned char *whole = NULL;
    size_t size = 0;
    int code = rep_ext_inline_load(ext, inode, &whole, &size);

    if (code < 0)
        return code;
    *blocks = (size + block_bytes - 1) / block_bytes;
    *out = calloc(1, (size_t)(*blocks * block_bytes) + 1);
    if (*out)
        memcpy(*out, whole, size);
    free(whole);
    return *out ? 0 : rep_ext_refuse(ext, -ENOMEM, "no memory");
}

static int load_source(rep_ext_delta *delta)
{
    struct ext2_inode small = {0};
    uint64_t block_bytes = delta->source->fs->blocksize;
    int code = rep_ext_inode_get(delta->source, delta->source_inode, LINUX_S_IFREG, &small);

    if (code == 0)
        code = rep_ext_check_readable(delta->source, delta->source_inode, &small);
    if (code < 0)
        return code;
    delta->size = EXT2_I_SIZE(&small);
    if (small.i_flags & EXT4_INLINE_DATA_FL)
        return load_inline(delta->source, delta->source_inode, &delta->from_inline,
                           &delta->from_blocks);
    code = rep_ext_map_load(delta->source, delta->source_inode, &delta->from);
    if (code == 0)
        cut_map(&delta->from, (delta->size + block_bytes - 1) / block_bytes);
    return code;
}

static int load_target(rep_ext_delta *delta)
{
    struct ext2_inode small = {0};
    int code;

    rep_ext_map_free(&delta->to);
    free(delta->to_inline);
    delta->to_inline = NULL;
    delta->to_blocks = 0;
    if (delta->inode == 0)
        return 0;
    code = rep_ext_inode_get(delta->target, delta->inode, LINUX_S_IFREG, &small);
    if (code == 0)
        code = rep_ext_check_readable(delta->target, delta->inode, &small);
    if (code < 0)
        return code;
    delta->target_size = EXT2_I_SIZE(&small);
    if (small.i_flags & EXT4_INLINE_DATA_FL)
        return load_inline(delta->target, delta->inode, &delta->to_inline, &delta->to_blocks);
    return rep_ext_map_load(delta->target, delta->inode, &delta->to);
}

int rep_ext_delta_new(rep_ext *source, uint32_t source_inode, rep_ext *target, uint32_t inode,
                      rep_ext_delta **out)
{
    rep_ext_delta *delta;
    int code;

    if (source->fs->blocksize != target->fs->blocksize)
        return rep_ext_refuse(target, -ENOTSUP, "the file systems' block sizes differ");
    delta = calloc(1, sizeof *delta);
    if (!delta)
        return rep_ext_refuse(target, -ENOMEM, "no memory");
    delta->source = source;
    delta->source_inode = source_inode;
    delta->target = target;
    delta->inode = inode;
    code = load_source(delta);
    if (code < 0)
        rep_ext_refuse(target, code, source->text);
    else
        code = load_target(delta);
    if (code < 0) {
        rep_ext_delta_free(delta);
        return code;
    }
    *out = delta;
    return 0;
}

void rep_ext_delta_free(rep_ext_delta *delta)
{
    if (!delta)
        return;
    rep_ext_map_free(&delta->from);
    rep_ext_map_free(&delta->to);
    free(delta->from_inline);
    free(delta->to_inline);
    free(delta->wanted);
    free(delta->held);
    free(delta);
}

/* A stretch of the file over which neither map changes. */
typedef struct stretch {
    uint64_t logical;
    uint64_t count;
    const run *from; /* NULL: a hole, or never written */
    const run *to;   /* NULL: no block */
} stretch;

static uint64_t next_change(const block_map *map, uint64_t logical, const run **covering)
{
    const run *at = rep_ext_map_find(map, logical);

    *covering = at && at->logical <= logical ? at : NULL;
    if (!at)
        return UINT64_MAX;
    return *covering ? at->logical + at->count : at->logical;
}

/* The stretch at `logical`; 0 when neither map has anything from there on. */
static int get_stretch(const rep_ext_delta *delta, uint64_t logical, stretch *out)
{
    uint64_t from_end = next_change(&delta->from, logical, &out->from);
    uint64_t to_end = next_change(&delta->to, logical, &out->to);
    uint64_t end = from_end < to_end ? from_end : to_end;

    if (end == UINT64_MAX)
        return 0;
    if (out->from && out->from->state == RUN_UNWRITTEN)
        out->from = NULL;
    out->logical = logical;
    out->count = end - logical;
    return 1;
}

/* What a stretch needs: the target a block, or none. An unwritten block of the target counts as
 * none where the source has data, and stays where the source has none. */
static int needs_block(const stretch *at)
{
    return at->from && !(at->to && at->to->state == RUN_DATA);
}

static int needs_release(const rep_ext_delta *delta, const stretch *at)
{
    uint64_t block_bytes = delta->target->fs->blocksize;
    uint64_t blocks = (delta->size + block_bytes - 1) / block_bytes;

    if (!at->to)
        return 0;
    if (at->to->state == RUN_UNWRITTEN)
        return at->from != NULL || at->logical >= blocks;
    return at->from == NULL;
}

/* The map's own blocks for `added` more data blocks, at most: with extents when each lies alone,
 * with pointers when each needs its own path. */
static uint64_t map_blocks(const rep_ext_delta *delta, uint64_t added)
{
    uint64_t block_bytes = delta->target->fs->blocksize;
    int has_extents = ext2fs_has_feature_extents(delta->target->fs->super);
    uint64_t entries = has_extents ? (block_bytes - 16) / 12 : block_bytes / 4;
    uint64_t total = 0;

    /* Four extents lie in the inode; so do twelve pointers. */
    if (added == 0 || (has_extents && added <= 4 && delta->inode == 0))
        return 0;
    if (!has_extents && delta->size <= EXT2_NDIR_BLOCKS * block_bytes)
        return 0;
    if (!has_extents)
        /* Each run of the source touches at most its share of pointer blocks, and an edge more on
         * each level. */
        return added / entries + 3 + 3 * (uint64_t)delta->from.count;
    for (uint64_t level = added; level > 1; level = (level + entries - 1) / entries)
        total += (level + entries / 2 - 1) / (entries / 2);
    return total + 1;
}

/* Whether the places of the source's blocks are free for a stretch of the target. */
static int is_own_place_free(const rep_ext_delta *delta, const stretch *at)
{
    uint64_t first = at->from->physical + (at->logical - at->from->logical);
    blk64_t used = 0;

    /* Bitmaps are read for writing; without them nothing is known to be free. */
    return delta->target->fs->block_map && rep_ext_is_inside(delta->target, first, at->count)
           && ext2fs_find_first_set_block_bitmap2(delta->target->fs->block_map, first,
                                                  first + at->count - 1, &used)
                  == ENOENT;
}

/* A source inside its inode: the target gets inside its own, or needs a block where it can't. */
static void inline_needs(const rep_ext_delta *delta, rep_ext_needs *out)
{
    uint64_t ratio = (uint64_t)EXT2FS_CLUSTER_RATIO(delta->target->fs);
    stretch at;

    for (uint64_t logical = 0; get_stretch(delta, logical, &at); logical += at.count)
        out->blocks_to_unmap += at.to ? at.count : 0;
    if (!ext2fs_has_feature_inline_data(delta->target->fs->super)) {
        out->blocks_to_map = out->blocks_to_unmap == 0 && delta->from_blocks ? 1 : 0;
        out->blocks_to_unmap -= out->blocks_to_unmap ? 1 : 0;
    }
    out->blocks_to_take = delta->from_blocks * ratio;
}

/* Whole clusters that a stretch takes; *behind is the first one not counted yet. */
static uint64_t clusters_of(const stretch *at, uint64_t ratio, uint64_t *behind)
{
    uint64_t first = at->logical / ratio;
    uint64_t end = (at->logical + at->count + ratio - 1) / ratio;

    if (first < *behind)
        first = *behind;
    *behind = end > *behind ? end : *behind;
    return end > first ? end - first : 0;
}

void rep_ext_delta_needs(const rep_ext_delta *delta, rep_ext_needs *out)
{
    uint64_t ratio = (uint64_t)EXT2FS_CLUSTER_RATIO(delta->target->fs);
    uint64_t behind = 0;
    stretch at;

    memset(out, 0, sizeof *out);
    /* A file that leaves or enters its inode changes, even when it has no other block. */
    out->size_differs =
        delta->inode != 0
        && (delta->size != delta->target_size || (delta->to_inline && !delta->from_inline));
    if (delta->from_inline) {
        inline_needs(delta, out);
        return;
    }
    out->own_places_free = rep_ext_is_same_layout(delta->source, delta->target);
    for (uint64_t logical = 0; get_stretch(delta, logical, &at); logical += at.count) {
        if (needs_block(&at)) {
            out->blocks_to_map += at.count;
            out->blocks_to_take += clusters_of(&at, ratio, &behind) * ratio;
            out->own_places_free = out->own_places_free && is_own_place_free(delta, &at);
        }
        if (needs_release(delta, &at))
            out->blocks_to_unmap += at.count;
    }
    out->map_blocks = map_blocks(delta, out->blocks_to_map) * ratio;
}

static int is_touched(const run *at, uint64_t block_bytes, const rep_extent *changed, size_t count)
{
    uint64_t start = at->physical * block_bytes;
    uint64_t end = start + at->count * block_bytes;
    size_t low = 0;
    size_t high = count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (changed[middle].offset + changed[middle].length <= start)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && changed[low].offset < end;
}

int rep_ext_delta_is_untouched(const rep_ext_delta *delta, const rep_extent *changed, size_t count)
{
    const block_map *from = &delta->from;
    const block_map *to = &delta->to;

    if (delta->inode == 0 || delta->size != delta->target_size || delta->from_inline
        || delta->to_inline || from->count != to->count
        || !rep_ext_is_same_layout(delta->source, delta->target))
        return 0;
    for (size_t i = 0; i < from->count; i++) {
        const run *a = &from->runs[i];
        const run *b = &to->runs[i];
        if (a->logical != b->logical || a->physical != b->physical || a->count != b->count
            || a->state != b->state
            || (a->state == RUN_DATA
                && is_touched(a, delta->source->fs->blocksize, changed, count)))
            return 0;
    }
    return 1;
}

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

static int release_all(rep_ext_delta *delta)
{
    block_map ranges = {0};
    stretch at;
    int code = 0;

    for (uint64_t logical = 0; code == 0 && get_stretch(delta, logical, &at); logical += at.count)
        if (needs_release(delta, &at))
            code =
                rep_ext_map_add(&ranges, at.logical, at.to->physical + (logical - at.to->logical),
                                at.count, at.to->state);
    if (code == 0)
        code = rep_ext_map_release(delta->target, delta->inode, &ranges);
    rep_ext_map_free(&ranges);
    return code == 0 ? load_target(delta) : code;
}

static int allocate_all(rep_ext_delta *delta)
{
    place wanted = rep_ext_is_same_layout(delta->source, delta->target) ? PLACE_OWN : PLACE_NEAR;
    stretch at;
    int code = 0;

    for (uint64_t logical = 0; code == 0 && get_stretch(delta, logical, &at); logical += at.count) {
        uint64_t goal = 0;
        if (!needs_block(&at))
            continue;
        if (wanted == PLACE_OWN)
            goal = at.from->physical + (at.logical - at.from->logical);
        code =
            rep_ext_map_allocate(delta->target, delta->inode, at.logical, at.count, goal, wanted);
    }
    return code == 0 ? load_target(delta) : code;
}

/* A source inside its inode: its content comes with rep_ext_delta_write, as a whole. */
static int map_inline(rep_ext_delta *delta)
{
    int code = 0;

    if (!delta->to_inline && ext2fs_has_feature_inline_data(delta->target->fs->super))
        code = rep_ext_inline_enter(delta->target, delta->inode);
    return code == 0 ? load_target(delta) : code;
}

static int map_blocks_like_source(rep_ext_delta *delta)
{
    int code = 0;

    if (delta->to_inline)
        code = rep_ext_inline_leave(delta->target, delta->inode);
    if (code == 0 && delta->to_inline)
        code = load_target(delta);
    if (code == 0)
        code = release_all(delta);
    if (code == 0)
        code = rep_ext_size_set(delta->target, delta->inode, delta->size);
    return code == 0 ? allocate_all(delta) : code;
}

static int check_sealed(const rep_ext_delta *delta)
{
    struct ext2_inode small = {0};
    int code = rep_ext_inode_get(delta->target, delta->inode, LINUX_S_IFREG, &small);

    return code == 0 ? rep_ext_check_content(delta->target, delta->inode, &small) : code;
}

int rep_ext_delta_map(rep_ext_delta *delta)
{
    int code = rep_ext_check_change(delta->target);

    if (code == 0)
        code = check_sealed(delta);
    if (code == 0)
        code = delta->from_inline ? map_inline(delta) : map_blocks_like_source(delta);
    delta->at = 0;
    return rep_ext_end_change(delta->target, code);
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
