/* Whose bytes of the volume are whose: extents of the volume, joined with what the inodes map. */
#include "rep_ext_internal.h"

typedef struct owning {
    rep_ext *ext;
    const rep_extent *extents; /* ascending, not overlapping */
    size_t count;
    rep_ext_owners *out;
    size_t capacity;
} owning;

/* The bytes of [start, end) that lie in the extents. */
static uint64_t overlap(const owning *at, uint64_t start, uint64_t end)
{
    size_t low = 0;
    size_t high = at->count;
    uint64_t bytes = 0;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (at->extents[middle].offset + at->extents[middle].length <= start)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < at->count && at->extents[low].offset < end; low++) {
        uint64_t from = at->extents[low].offset;
        uint64_t to = from + at->extents[low].length;
        from = from > start ? from : start;
        to = to < end ? to : end;
        bytes += to > from ? to - from : 0;
    }
    return bytes;
}

static uint64_t overlap_runs(const owning *at, const block_map *map)
{
    uint64_t block_bytes = at->ext->fs->blocksize;
    uint64_t bytes = 0;

    for (size_t i = 0; i < map->count; i++)
        bytes += overlap(at, map->runs[i].physical * block_bytes,
                         (map->runs[i].physical + map->runs[i].count) * block_bytes);
    return bytes;
}

static int add_inode(owning *at, uint32_t inode)
{
    rep_ext_owners *out = at->out;

    if (out->count == at->capacity) {
        size_t capacity = at->capacity ? at->capacity * 2 : 256;
        uint32_t *inodes = realloc(out->inodes, capacity * sizeof *inodes);
        if (!inodes)
            return -ENOMEM;
        out->inodes = inodes;
        at->capacity = capacity;
    }
    out->inodes[out->count++] = inode;
    return 0;
}

/* The block of the inode table that an inode lies in. */
static uint64_t inode_block(rep_ext *ext, uint32_t inode)
{
    const struct ext2_super_block *super = ext->fs->super;
    dgrp_t group = ext2fs_group_of_ino(ext->fs, inode);
    uint64_t within = (inode - 1) % super->s_inodes_per_group * (uint64_t)EXT2_INODE_SIZE(super);

    return ext2fs_inode_table_loc(ext->fs, group) + within / ext->fs->blocksize;
}

/* One inode in use: its content, its map and its attributes. What lies inside the inode shares a
 * block of the inode table with others: it may have changed. */
static int join_inode(owning *at, uint32_t inode, struct ext2_inode *small)
{
    rep_ext *ext = at->ext;
    uint64_t block_bytes = ext->fs->blocksize;
    uint64_t attributes = ext2fs_file_acl_block(ext->fs, small);
    block_map map = {0};
    uint64_t bytes = 0;
    int is_own = inode < EXT2_FIRST_INODE(ext->fs->super) && inode != EXT2_ROOT_INO;
    int may_differ = 0;
    int code = rep_ext_map_load_all(ext, inode, &map);

    if (code == 0) {
        bytes = overlap_runs(at, &map);
        if (attributes)
            bytes += overlap(at, attributes * block_bytes, (attributes + 1) * block_bytes);
        may_differ = bytes > 0;
    }
    if (code == 0 && small->i_flags & EXT4_INLINE_DATA_FL) {
        uint64_t block = inode_block(ext, inode);
        may_differ |= overlap(at, block * block_bytes, (block + 1) * block_bytes) > 0;
    }
    rep_ext_map_free(&map);
    /* The journal and its like are the file system's own; so are the values of attributes. */
    if (code < 0 || is_own || small->i_flags & EXT4_EA_INODE_FL)
        return code;
    at->out->file_bytes += bytes;
    return may_differ ? add_inode(at, inode) : 0;
}

static int join_inodes(owning *at)
{
    ext2_inode_scan scan = NULL;
    struct ext2_inode small;
    ext2_ino_t inode = 0;
    errcode_t failure = ext2fs_open_inode_scan(at->ext->fs, 0, &scan);
    int code = 0;

    while (!failure && code == 0) {
        failure = ext2fs_get_next_inode(scan, &inode, &small);
        if (failure || inode == 0)
            break;
        if (small.i_links_count > 0 && small.i_mode != 0)
            code = join_inode(at, inode, &small);
    }
    if (scan)
        ext2fs_close_inode_scan(scan);
    return failure ? rep_ext_failed(at->ext, "inodes behind inode", inode, failure) : code;
}

/* Adds up what of the extents isn't in use, or lies behind the file system. */
static int count_free(owning *at)
{
    ext2_filsys fs = at->ext->fs;
    uint64_t block_bytes = fs->blocksize;
    uint64_t blocks = ext2fs_blocks_count(fs->super);
    errcode_t failure = fs->block_map ? 0 : ext2fs_read_block_bitmap(fs);
    blk64_t from = fs->super->s_first_data_block;
    blk64_t to = 0;

    if (failure)
        return rep_ext_failed(at->ext, "bitmaps of file system", 0, failure);
    at->out->free_bytes = overlap(at, blocks * block_bytes, UINT64_MAX);
    while (from < blocks
           && ext2fs_find_first_zero_block_bitmap2(fs->block_map, from, blocks - 1, &from) == 0) {
        if (ext2fs_find_first_set_block_bitmap2(fs->block_map, from, blocks - 1, &to) != 0)
            to = blocks;
        at->out->free_bytes += overlap(at, from * block_bytes, to * block_bytes);
        from = to;
    }
    return 0;
}

static int check_extents(rep_ext *ext, const rep_extent *extents, size_t count)
{
    uint64_t behind = 0;

    for (size_t i = 0; i < count; i++) {
        if (extents[i].offset < behind || extents[i].length == 0
            || extents[i].length > UINT64_MAX - extents[i].offset)
            return rep_ext_refuse(ext, -EINVAL, "extents don't ascend, or overlap");
        behind = extents[i].offset + extents[i].length;
    }
    return 0;
}

int rep_ext_owners_get(rep_ext *ext, const rep_extent *extents, size_t count, rep_ext_owners *out)
{
    owning at = {.ext = ext, .extents = extents, .count = count, .out = out};
    uint64_t total = 0;
    int code;

    memset(out, 0, sizeof *out);
    code = check_extents(ext, extents, count);
    if (code == 0)
        code = join_inodes(&at);
    if (code == 0)
        code = count_free(&at);
    if (code < 0) {
        rep_ext_owners_free(out);
        return code;
    }
    for (size_t i = 0; i < count; i++)
        total += extents[i].length;
    /* Blocks that several files share are counted in each of them. */
    if (total > out->file_bytes + out->free_bytes)
        out->metadata_bytes = total - out->file_bytes - out->free_bytes;
    return 0;
}

void rep_ext_owners_free(rep_ext_owners *owners)
{
    free(owners->inodes);
    memset(owners, 0, sizeof *owners);
}

static int compare_inodes(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left;
    uint32_t b = *(const uint32_t *)right;

    return a < b ? -1 : a > b;
}

static int is_among(const rep_ext_owners *owners, uint32_t inode)
{
    return owners->count > 0
           && bsearch(&inode, owners->inodes, owners->count, sizeof inode, compare_inodes) != NULL;
}

/* Marks the entries whose inodes are wanted, and the directories above them. */
static void mark_wanted(const rep_ext_owners *owners, const rep_ext_listing *listing,
                        unsigned char *keep)
{
    for (size_t i = 0; i < listing->count; i++) {
        uint32_t above = listing->entries[i].parent;
        if (!is_among(owners, listing->entries[i].stat.inode))
            continue;
        keep[i] |= 2;
        while (above != UINT32_MAX && !(keep[above] & 1)) {
            keep[above] |= 1;
            above = listing->entries[above].parent;
        }
    }
}

/* Drops the other entries; a parent's place is noted where its own entry stood. */
static void keep_marked(rep_ext_listing *listing, const unsigned char *keep, uint32_t *places)
{
    size_t kept = 0;

    for (size_t i = 0; i < listing->count; i++) {
        rep_ext_entry entry = listing->entries[i];
        if (!keep[i])
            continue;
        if (entry.parent != UINT32_MAX)
            entry.parent = places[entry.parent];
        entry.is_wanted = keep[i] & 2 ? 1U : 0U;
        places[i] = (uint32_t)kept;
        listing->entries[kept++] = entry;
    }
    listing->count = kept;
}

int rep_ext_owners_names(rep_ext *ext, const rep_ext_owners *owners, rep_ext_listing *out)
{
    unsigned char *keep = NULL;
    uint32_t *places = NULL;
    int code = rep_ext_walk(ext, EXT2_ROOT_INO, 1, out);

    if (code == 0) {
        keep = calloc(out->count + 1, 1);
        places = calloc(out->count + 1, sizeof *places);
        if (!keep || !places)
            code = rep_ext_refuse(ext, -ENOMEM, "no memory");
    }
    if (code == 0 && keep && places) {
        mark_wanted(owners, out, keep);
        keep_marked(out, keep, places);
    }
    free(keep);
    free(places);
    return code;
}
