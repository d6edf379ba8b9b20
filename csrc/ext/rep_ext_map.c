/* Which blocks of the volume hold which blocks of a file, and changing that. */
#include "rep_ext_internal.h"

/* The longest extent that libext2fs writes. */
#define EXTENT_BLOCKS_MAX 32768U

int rep_ext_map_add(block_map *map, uint64_t logical, uint64_t physical, uint64_t count,
                    run_state state)
{
    run *last = map->count ? &map->runs[map->count - 1] : NULL;

    if (last && last->state == state && last->logical + last->count == logical
        && last->physical + last->count == physical) {
        last->count += count;
        return 0;
    }
    if (!map->runs || map->count == map->capacity) {
        size_t capacity = map->capacity ? map->capacity * 2 : 16;
        run *runs = realloc(map->runs, capacity * sizeof *runs);
        if (!runs)
            return -ENOMEM;
        map->runs = runs;
        map->capacity = capacity;
    }
    map->runs[map->count++] = (run){logical, physical, count, state};
    return 0;
}

void rep_ext_map_free(block_map *map)
{
    free(map->runs);
    memset(map, 0, sizeof *map);
}

void rep_ext_map_begin(struct ext2_inode *small)
{
    /* In the form in which the kernel leaves it. */
    struct ext3_extent_header *header = (struct ext3_extent_header *)(void *)small->i_block;

    small->i_flags |= EXT4_EXTENTS_FL;
    header->eh_magic = ext2fs_cpu_to_le16(EXT3_EXT_MAGIC);
    header->eh_max = ext2fs_cpu_to_le16(4);
}

const run *rep_ext_map_find(const block_map *map, uint64_t logical)
{
    size_t low = 0;
    size_t high = map->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const run *at = &map->runs[middle];
        if (at->logical + at->count <= logical)
            low = middle + 1;
        else
            high = middle;
    }
    return low < map->count ? &map->runs[low] : NULL;
}

int rep_ext_is_inside(const rep_ext *ext, uint64_t physical, uint64_t count)
{
    uint64_t blocks = ext2fs_blocks_count(ext->fs->super);

    return physical >= ext->fs->super->s_first_data_block && physical < blocks
           && count <= blocks - physical;
}

static int load_extents(rep_ext *ext, uint32_t inode, int all, block_map *out)
{
    ext2_extent_handle_t handle = NULL;
    struct ext2fs_extent extent;
    uint64_t next = 0; /* extents must ascend */
    int operation = EXT2_EXTENT_ROOT;
    int code = 0;
    errcode_t failure = ext2fs_extent_open(ext->fs, inode, &handle);

    while (!failure && code == 0) {
        failure = ext2fs_extent_get(handle, operation, &extent);
        operation = EXT2_EXTENT_NEXT;
        if (failure)
            continue;
        if (!(extent.e_flags & EXT2_EXTENT_FLAGS_LEAF)) {
            if (all && !(extent.e_flags & EXT2_EXTENT_FLAGS_SECOND_VISIT)
                && rep_ext_is_inside(ext, extent.e_pblk, 1))
                code = rep_ext_map_add(out, extent.e_lblk, extent.e_pblk, 1, RUN_DATA);
            continue;
        }
        if (extent.e_len == 0)
            continue;
        if (extent.e_lblk < next || !rep_ext_is_inside(ext, extent.e_pblk, extent.e_len))
            failure = EXT2_ET_EXTENT_INVALID_LENGTH;
        next = extent.e_lblk + extent.e_len;
        if (!failure)
            code = rep_ext_map_add(out, extent.e_lblk, extent.e_pblk, extent.e_len,
                                   extent.e_flags & EXT2_EXTENT_FLAGS_UNINIT ? RUN_UNWRITTEN
                                                                             : RUN_DATA);
    }
    if (handle)
        ext2fs_extent_free(handle);
    if (failure && failure != EXT2_ET_EXTENT_NO_NEXT && failure != EXT2_ET_NO_CURRENT_NODE)
        return rep_ext_failed(ext, "extents of inode", inode, failure);
    return code;
}

typedef struct block_visit {
    rep_ext *ext;
    block_map *map;
    int all; /* the pointer blocks too */
    int code;
} block_visit;

/* NOLINTNEXTLINE(readability-non-const-parameter): libext2fs's type */
static int visit_block(ext2_filsys fs, blk64_t *physical, e2_blkcnt_t logical, blk64_t reference,
                       int offset, void *context)
{
    block_visit *visit = context;

    (void)fs;
    (void)reference;
    (void)offset;
    if (*physical == 0 || (logical < 0 && !visit->all))
        return 0;
    visit->code = rep_ext_is_inside(visit->ext, *physical, 1)
                      ? rep_ext_map_add(visit->map, logical < 0 ? 0 : (uint64_t)logical, *physical,
                                        1, RUN_DATA)
                      : -EUCLEAN;
    return visit->code < 0 ? BLOCK_ABORT : 0;
}

static int load(rep_ext *ext, uint32_t inode, int all, block_map *out)
{
    struct ext2_inode small = {0};
    block_visit visit = {.ext = ext, .map = out, .all = all};
    int flags = BLOCK_FLAG_READ_ONLY | (all ? 0 : BLOCK_FLAG_DATA_ONLY);
    errcode_t failure = ext2fs_read_inode(ext->fs, inode, &small);

    memset(out, 0, sizeof *out);
    if (failure)
        return rep_ext_failed(ext, "inode", inode, failure);
    if (small.i_flags & EXT4_INLINE_DATA_FL || ext2fs_is_fast_symlink(&small)
        || !ext2fs_inode_has_valid_blocks2(ext->fs, &small))
        return 0;
    if (small.i_flags & EXT4_EXTENTS_FL)
        return load_extents(ext, inode, all, out);
    failure = ext2fs_block_iterate3(ext->fs, inode, flags, NULL, visit_block, &visit);
    if (failure || visit.code == -EUCLEAN)
        return rep_ext_failed(ext, "blocks of inode", inode,
                              failure ? failure : EXT2_ET_BAD_BLOCK_NUM);
    return visit.code;
}

int rep_ext_map_load(rep_ext *ext, uint32_t inode, block_map *out)
{
    return load(ext, inode, 0, out);
}

int rep_ext_map_load_all(rep_ext *ext, uint32_t inode, block_map *out)
{
    return load(ext, inode, 1, out);
}

/* Enters one run of blocks, already claimed, into the extents. */
static errcode_t insert_extent(ext2_extent_handle_t handle, uint64_t logical, uint64_t physical,
                               uint64_t count)
{
    struct ext2fs_extent extent = {.e_pblk = physical, .e_lblk = logical, .e_len = (uint32_t)count};
    struct ext2fs_extent neighbour;
    errcode_t failure;

    /* One block is merged with its neighbours; it is also what an empty tree starts with. */
    if (count == 1)
        return ext2fs_extent_set_bmap(handle, logical, physical, 0);
    ext2fs_extent_goto(handle, logical);
    failure = ext2fs_extent_get(handle, EXT2_EXTENT_CURRENT, &neighbour);
    if (failure == EXT2_ET_NO_CURRENT_NODE)
        neighbour.e_lblk = 0;
    else if (failure)
        return failure;
    failure = ext2fs_extent_insert(
        handle, neighbour.e_lblk > logical ? 0 : EXT2_EXTENT_INSERT_AFTER, &extent);
    return failure ? failure : ext2fs_extent_fix_parents(handle);
}

/* Enters one run of blocks into the block pointers of ext2 and ext3. */
static errcode_t insert_pointers(rep_ext *ext, uint32_t inode, struct ext2_inode *small,
                                 uint64_t logical, uint64_t physical, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        blk64_t at = physical + i;
        errcode_t failure =
            ext2fs_bmap2(ext->fs, inode, small, NULL, BMAP_SET, logical + i, NULL, &at);
        if (failure == EXT2_ET_SET_BMAP_NO_IND) {
            /* The pointer block lacks: the library makes it together with a block that it finds
             * itself; ours takes that one's place. */
            failure = ext2fs_bmap2(ext->fs, inode, small, NULL, BMAP_ALLOC, logical + i, NULL, &at);
            if (failure)
                return failure;
            ext2fs_block_alloc_stats2(ext->fs, at, -1);
            failure = ext2fs_iblk_sub_blocks(ext->fs, small, 1);
            at = physical + i;
            if (!failure)
                failure =
                    ext2fs_bmap2(ext->fs, inode, small, NULL, BMAP_SET, logical + i, NULL, &at);
        }
        if (!failure)
            failure = ext2fs_iblk_add_blocks(ext->fs, small, 1);
        if (failure)
            return failure;
    }
    return 0;
}

/* `clusters` is how many were newly taken for the run; without bigalloc as many as blocks. */
static errcode_t insert_run(rep_ext *ext, uint32_t inode, struct ext2_inode *small,
                            uint64_t logical, uint64_t physical, uint64_t count, uint64_t clusters)
{
    ext2_extent_handle_t handle = NULL;
    errcode_t failure;

    if (!(small->i_flags & EXT4_EXTENTS_FL))
        return insert_pointers(ext, inode, small, logical, physical, count);
    failure = ext2fs_extent_open2(ext->fs, inode, small, &handle);
    if (!failure)
        failure = insert_extent(handle, logical, physical, count);
    if (handle)
        ext2fs_extent_free(handle);
    return failure ? failure : ext2fs_iblk_add_blocks(ext->fs, small, clusters);
}

/* Whether a file can't have a block so far from its start. */
static int is_too_far(const rep_ext *ext, const struct ext2_inode *small, uint64_t logical)
{
    uint64_t pointers = ext->fs->blocksize / sizeof(uint32_t);

    if (logical >= UINT32_MAX)
        return 1;
    return !(small->i_flags & EXT4_EXTENTS_FL)
           && logical >= EXT2_NDIR_BLOCKS + pointers + pointers * pointers
                             + pointers * pointers * pointers;
}

/* Blocks for the start of a range: where they are, how many, and what was taken for them. */
typedef struct taking {
    uint64_t physical;
    uint64_t count;
    uint64_t taken; /* first block taken */
    uint64_t taken_count;
} taking;

/* With bigalloc a block lies in the cluster that its neighbours in the file have, at the same
 * distance from its start; only clusters of which the file has nothing are taken. */
static int take_clusters(rep_ext *ext, uint32_t inode, struct ext2_inode *small, uint64_t logical,
                         uint64_t count, uint64_t goal, place wanted, taking *out)
{
    uint64_t ratio = (uint64_t)EXT2FS_CLUSTER_RATIO(ext->fs);
    uint64_t within = logical % ratio;
    uint64_t last = logical + count - 1;
    blk64_t found = 0;
    errcode_t failure = ext2fs_map_cluster_block(ext->fs, inode, small, logical, &found);
    int code;

    if (!failure && found != 0) {
        *out =
            (taking){.physical = found, .count = count < ratio - within ? count : ratio - within};
        return 0;
    }
    /* What comes behind the range may have its last cluster already. */
    if (!failure && last / ratio != logical / ratio)
        failure = ext2fs_map_cluster_block(ext->fs, inode, small, last, &found);
    if (failure)
        return rep_ext_failed(ext, "clusters of inode", inode, failure);
    if (found != 0)
        count = last / ratio * ratio - logical;
    goal = goal > within ? (goal - within) / ratio * ratio : 0;
    code = rep_ext_find_blocks(ext, goal, wanted, (within + count + ratio - 1) / ratio * ratio,
                               &out->taken, &out->taken_count);
    if (code < 0)
        return code;
    out->physical = out->taken + within;
    out->count = count < out->taken_count - within ? count : out->taken_count - within;
    return 0;
}

static int take(rep_ext *ext, uint32_t inode, struct ext2_inode *small, uint64_t logical,
                uint64_t count, uint64_t goal, place wanted, taking *out)
{
    uint64_t ratio = (uint64_t)EXT2FS_CLUSTER_RATIO(ext->fs);
    int code;

    memset(out, 0, sizeof *out);
    if (count > EXTENT_BLOCKS_MAX)
        count = EXTENT_BLOCKS_MAX;
    if (ratio > 1)
        return take_clusters(ext, inode, small, logical, count, goal, wanted, out);
    code = rep_ext_find_blocks(ext, goal, wanted, count, &out->taken, &out->taken_count);
    out->physical = out->taken;
    out->count = out->taken_count;
    return code;
}

int rep_ext_map_allocate(rep_ext *ext, uint32_t inode, uint64_t logical, uint64_t count,
                         uint64_t goal, place wanted)
{
    uint64_t ratio = (uint64_t)EXT2FS_CLUSTER_RATIO(ext->fs);
    struct ext2_inode small = {0};
    errcode_t failure = ext2fs_read_inode(ext->fs, inode, &small);

    if (!failure && count > 0 && is_too_far(ext, &small, logical + count - 1))
        failure = EXT2_ET_FILE_TOO_BIG;
    if (!failure && ratio > 1 && !(small.i_flags & EXT4_EXTENTS_FL))
        failure = EXT2_ET_OP_NOT_SUPPORTED;
    if (!failure && goal == 0)
        goal = ext2fs_find_inode_goal(ext->fs, inode, &small, logical);
    while (!failure && count > 0) {
        taking got;
        int code = take(ext, inode, &small, logical, count, goal, wanted, &got);
        if (code < 0)
            return code;
        if (got.taken_count)
            ext2fs_block_alloc_stats_range(ext->fs, got.taken, (blk_t)got.taken_count, +1);
        failure = insert_run(ext, inode, &small, logical, got.physical, got.count,
                             got.taken_count / ratio);
        if (!failure)
            failure = ext2fs_write_inode(ext->fs, inode, &small);
        else if (!(small.i_flags & EXT4_EXTENTS_FL))
            ext->broken = 1; /* part of the run may be in use */
        else if (got.taken_count)
            ext2fs_block_alloc_stats_range(ext->fs, got.taken, (blk_t)got.taken_count, -1);
        logical += got.count;
        count -= got.count;
        /* Its own place goes on beside a piece that had to be found elsewhere. */
        goal = wanted == PLACE_OWN ? goal + got.count : got.physical + got.count;
    }
    return failure ? rep_ext_failed(ext, "new blocks of inode", inode, failure) : 0;
}

int rep_ext_size_set(rep_ext *ext, uint32_t inode, uint64_t size)
{
    struct ext2_inode small = {0};
    errcode_t failure = ext2fs_read_inode(ext->fs, inode, &small);

    if (!failure && EXT2_I_SIZE(&small) != size) {
        if (size > 0 && is_too_far(ext, &small, (size - 1) / ext->fs->blocksize))
            failure = EXT2_ET_FILE_TOO_BIG;
        if (!failure)
            failure = ext2fs_inode_size_set(ext->fs, &small, (ext2_off64_t)size);
        if (!failure)
            failure = ext2fs_write_inode(ext->fs, inode, &small);
    }
    return failure ? rep_ext_failed(ext, "size of inode", inode, failure) : 0;
}
