/* Keeping blocks free for the files that want just these, and finding others meanwhile.
 *
 * A deleted file's blocks still hold its data. Restored to the same blocks it isn't written at all,
 * as long as no other new file, directory or map has taken one of them first; each that does pushes
 * another file from its place in turn.
 */
#include "rep_ext_internal.h"

static rep_ext *owner_of(ext2_filsys fs)
{
    return fs->priv_data;
}

/* What is handed out is noted here at once: libext2fs's own callback for ranges in use comes with a
 * length of 0. Too much noted only means that something else is taken first. */
static errcode_t find_block(ext2_filsys fs, blk64_t goal, blk64_t *out,
                            struct blk_alloc_ctx *context)
{
    ext2fs_block_bitmap avoided = owner_of(fs)->avoided;
    errcode_t failure = ext2fs_new_block3(fs, goal, avoided, out, context);

    if (failure == EXT2_ET_BLOCK_ALLOC_FAIL)
        failure = ext2fs_new_block3(fs, goal, fs->block_map, out, context);
    if (!failure)
        ext2fs_mark_block_bitmap2(avoided, *out);
    return failure;
}

static errcode_t find_range(ext2_filsys fs, int flags, blk64_t goal, blk64_t length, blk64_t *out,
                            blk64_t *out_length)
{
    ext2fs_block_bitmap avoided = owner_of(fs)->avoided;
    errcode_t failure = ext2fs_new_range(fs, flags, goal, length, avoided, out, out_length);

    if (failure == EXT2_ET_BLOCK_ALLOC_FAIL)
        failure = ext2fs_new_range(fs, flags, goal, length, fs->block_map, out, out_length);
    if (!failure)
        ext2fs_mark_block_bitmap_range2(avoided, *out, (blk_t)*out_length);
    return failure;
}

static int begin(rep_ext *ext)
{
    ext2_filsys fs = ext->fs;
    errcode_t failure;

    if (ext->avoided)
        return 0;
    failure = ext2fs_copy_bitmap(fs->block_map, &ext->avoided);
    if (failure) {
        ext->avoided = NULL;
        return rep_ext_failed(ext, "reservations of file system", 0, failure);
    }
    fs->priv_data = ext;
    fs->get_alloc_block2 = find_block;
    ext2fs_set_new_range_callback(fs, find_range, NULL);
    return 0;
}

void rep_ext_reserve_end(rep_ext *ext)
{
    ext2_filsys fs = ext->fs;

    if (!ext->avoided)
        return;
    fs->get_alloc_block2 = NULL;
    ext2fs_set_new_range_callback(fs, NULL, NULL);
    ext2fs_free_block_bitmap(ext->avoided);
    ext->avoided = NULL;
}

int rep_ext_is_same_layout(const rep_ext *source, const rep_ext *target)
{
    const struct ext2_super_block *from = source->fs->super;
    const struct ext2_super_block *to = target->fs->super;

    return memcmp(from->s_uuid, to->s_uuid, sizeof from->s_uuid) == 0
           && source->fs->blocksize == target->fs->blocksize
           && ext2fs_blocks_count(source->fs->super) == ext2fs_blocks_count(target->fs->super);
}

int rep_ext_reserve(rep_ext *ext, rep_ext *source, uint32_t source_inode)
{
    block_map map = {0};
    int code = rep_ext_check_change(ext);

    if (code < 0 || !rep_ext_is_same_layout(source, ext))
        return code;
    code = begin(ext);
    if (code == 0)
        code = rep_ext_map_load(source, source_inode, &map);
    for (size_t i = 0; code == 0 && i < map.count; i++)
        if (map.runs[i].state == RUN_DATA)
            ext2fs_mark_block_bitmap_range2(ext->avoided, map.runs[i].physical,
                                            (blk_t)map.runs[i].count);
    rep_ext_map_free(&map);
    return code;
}

uint64_t rep_ext_first_block(rep_ext *ext, uint32_t inode)
{
    block_map map = {0};
    uint64_t first = 0;

    if (rep_ext_map_load(ext, inode, &map) == 0 && map.count > 0)
        first = map.runs[0].physical;
    rep_ext_map_free(&map);
    return first;
}

int rep_ext_find_blocks(rep_ext *ext, uint64_t goal, place wanted, uint64_t count, uint64_t *found,
                        uint64_t *got)
{
    ext2_filsys fs = ext->fs;
    uint64_t last = goal + count - 1;
    blk64_t first = 0;
    blk64_t length = 0;
    blk64_t change = 0;
    errcode_t failure;

    if (wanted == PLACE_OWN && goal >= fs->super->s_first_data_block
        && last < ext2fs_blocks_count(fs->super)) {
        int in_use = ext2fs_test_block_bitmap2(fs->block_map, goal);
        failure = in_use ? ext2fs_find_first_zero_block_bitmap2(fs->block_map, goal, last, &change)
                         : ext2fs_find_first_set_block_bitmap2(fs->block_map, goal, last, &change);
        if (!failure)
            count = change - goal;
        if (!in_use) {
            *found = goal;
            *got = count;
            if (ext->avoided)
                ext2fs_mark_block_bitmap_range2(ext->avoided, goal, (blk_t)count);
            return 0;
        }
    }
    failure = ext2fs_new_range(fs, 0, goal, count, NULL, &first, &length);
    *found = first;
    *got = length < count ? length : count;
    return failure ? rep_ext_failed(ext, "new blocks of file system", 0, failure) : 0;
}
