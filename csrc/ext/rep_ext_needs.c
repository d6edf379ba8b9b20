/* What making one file like another needs: blocks to map, to take and to unmap. */
#include "rep_ext_delta.h"

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

    for (uint64_t logical = 0; rep_ext_delta_stretch(delta, logical, &at); logical += at.count)
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
    for (uint64_t logical = 0; rep_ext_delta_stretch(delta, logical, &at); logical += at.count) {
        if (rep_ext_stretch_needs_block(&at)) {
            out->blocks_to_map += at.count;
            out->blocks_to_take += clusters_of(&at, ratio, &behind) * ratio;
            out->own_places_free = out->own_places_free && is_own_place_free(delta, &at);
        }
        if (rep_ext_stretch_needs_release(delta, &at))
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
