/* Freeing blocks of a file, anywhere in it. */
#include "rep_ext_internal.h"

typedef struct release {
    rep_ext *ext;
    const block_map *ranges;
    uint64_t freed;
    errcode_t failure;
} release;

static int is_in_ranges(const block_map *ranges, uint64_t logical)
{
    const run *at = rep_ext_map_find(ranges, logical);

    return at && at->logical <= logical;
}

/* Whether a pointer block points nowhere any more. */
static errcode_t is_empty(rep_ext *ext, blk64_t physical, int *empty)
{
    size_t size = ext->fs->blocksize;
    unsigned char *block = malloc(size);
    errcode_t failure =
        block ? -rep_ext_cache_read(ext->cache, block, size, physical * size) : ENOMEM;

    *empty = !failure && block[0] == 0 && memcmp(block, block + 1, size - 1) == 0;
    free(block);
    return failure;
}

/* Called for each block, for a pointer block after those it points to. */
static int release_block(ext2_filsys fs, blk64_t *physical, e2_blkcnt_t logical, blk64_t reference,
                         int offset, void *context)
{
    release *at = context;
    int goes = 0;

    (void)reference;
    (void)offset;
    if (*physical == 0)
        return 0;
    if (!rep_ext_is_inside(at->ext, *physical, 1))
        at->failure = EXT2_ET_BAD_BLOCK_NUM;
    else if (logical >= 0)
        goes = is_in_ranges(at->ranges, (uint64_t)logical);
    else
        at->failure = is_empty(at->ext, *physical, &goes);
    if (at->failure)
        return BLOCK_ABORT;
    if (!goes)
        return 0;
    ext2fs_block_alloc_stats2(fs, *physical, -1);
    *physical = 0;
    at->freed++;
    return BLOCK_CHANGED;
}

/* ext2fs_punch isn't used on block pointers: of a range that ends it forgets the part behind a
 * level of pointers, and below the second level it frees more than the range. */
static errcode_t release_pointers(rep_ext *ext, uint32_t inode, const block_map *ranges)
{
    release context = {.ext = ext, .ranges = ranges};
    struct ext2_inode small = {0};
    errcode_t failure = ext2fs_block_iterate3(ext->fs, inode, BLOCK_FLAG_DEPTH_TRAVERSE, NULL,
                                              release_block, &context);

    if (!failure)
        failure = context.failure;
    if (!failure)
        failure = ext2fs_read_inode(ext->fs, inode, &small);
    if (!failure)
        failure = ext2fs_iblk_sub_blocks(ext->fs, &small, context.freed);
    return failure ? failure : ext2fs_write_inode(ext->fs, inode, &small);
}

static errcode_t release_extents(rep_ext *ext, uint32_t inode, const block_map *map,
                                 const block_map *ranges)
{
    uint64_t blocks = ext2fs_blocks_count(ext->fs->super);
    int holds_last = 0;
    errcode_t failure = 0;

    for (size_t i = 0; i < map->count; i++)
        holds_last |= map->runs[i].physical + map->runs[i].count == blocks;
    /* libext2fs takes an extent that ends with the file system's last block for one that ends
     * behind it, after it has left the tree. Its bitmaps reach further, so one more block may be
     * counted while it looks. */
    if (holds_last)
        ext2fs_blocks_count_add(ext->fs->super, 1);
    for (size_t i = 0; !failure && i < ranges->count; i++) {
        const run *range = &ranges->runs[i];
        uint64_t end = range->logical + range->count;
        uint64_t last = end == UINT64_MAX ? UINT64_MAX : end - 1;
        failure = ext2fs_punch(ext->fs, inode, NULL, NULL, range->logical, last);
    }
    if (holds_last)
        ext2fs_blocks_count_set(ext->fs->super, blocks);
    return failure;
}

int rep_ext_map_release(rep_ext *ext, uint32_t inode, const block_map *ranges)
{
    struct ext2_inode small = {0};
    block_map map = {0};
    errcode_t failure;
    int code = ranges->count ? rep_ext_map_load(ext, inode, &map) : 0;

    if (code < 0 || ranges->count == 0) {
        rep_ext_map_free(&map);
        return code;
    }
    failure = ext2fs_read_inode(ext->fs, inode, &small);
    if (!failure)
        failure = small.i_flags & EXT4_EXTENTS_FL ? release_extents(ext, inode, &map, ranges)
                                                  : release_pointers(ext, inode, ranges);
    rep_ext_map_free(&map);
    return failure ? rep_ext_failed(ext, "blocks of inode", inode, failure) : 0;
}

int rep_ext_map_release_from(rep_ext *ext, uint32_t inode, uint64_t logical)
{
    run to_end = {.logical = logical, .count = UINT64_MAX - logical};
    block_map ranges = {.runs = &to_end, .count = 1};
    return rep_ext_map_release(ext, inode, &ranges);
}
