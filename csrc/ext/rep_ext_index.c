/* The index of a large directory: finding a name's block without reading all of them, and making
 * an index, as the kernel does it, since libext2fs only extends those that are there. */
#include "rep_ext_internal.h"

/* Where the index begins in a directory's first block: behind the entries of . and .. */
#define INDEX_OFFSET 24U
/* The high bits of a block number in the index are reserved. */
#define BLOCK_MASK 0x0FFFFFFFU
/* Of the stored hash: names of this hash began in the block before. */
#define CONTINUED 1U

static size_t tail_bytes(const rep_ext *ext)
{
    return ext2fs_has_feature_metadata_csum(ext->fs->super) ? sizeof(struct ext2_dir_entry_tail)
                                                            : 0;
}

static errcode_t read_block(rep_ext *ext, uint32_t directory, uint64_t logical, char *block,
                            blk64_t *physical)
{
    errcode_t failure = ext2fs_bmap2(ext->fs, directory, NULL, NULL, 0, logical, NULL, physical);

    if (!failure && *physical == 0)
        failure = EXT2_ET_DIR_CORRUPTED;
    return failure ? failure : ext2fs_read_dir_block4(ext->fs, *physical, block, 0, directory);
}

/* The offset of a name's entry in a leaf; 1 when found. *before is the entry's predecessor. */
static errcode_t search_leaf(rep_ext *ext, char *block, const char *name, size_t length,
                             size_t *offset, size_t *before, int *found)
{
    size_t limit = ext->fs->blocksize - tail_bytes(ext);
    unsigned entry_bytes = 0;

    *found = 0;
    *before = 0;
    for (size_t at = 0; at < limit; at += entry_bytes) {
        struct ext2_dir_entry *entry = (struct ext2_dir_entry *)(void *)(block + at);
        errcode_t failure = ext2fs_get_rec_len(ext->fs, entry, &entry_bytes);
        if (failure)
            return failure;
        if (entry_bytes < 8 || entry_bytes > limit - at)
            return EXT2_ET_DIR_CORRUPTED;
        if (entry->inode && (size_t)ext2fs_dirent_name_len(entry) == length
            && memcmp(entry->name, name, length) == 0) {
            *offset = at;
            *found = 1;
            return 0;
        }
        *before = at;
    }
    return 0;
}

static errcode_t hash_name(rep_ext *ext, const char *root, const char *name, size_t length,
                           uint32_t *hash, unsigned *levels)
{
    const struct ext2_dx_root_info *info =
        (const struct ext2_dx_root_info *)(const void *)(root + INDEX_OFFSET);
    int version = info->hash_version;
    uint32_t minor = 0;

    if (version > EXT2_HASH_TEA || info->indirect_levels > 2)
        return EXT2_ET_DIRHASH_UNSUPP;
    if (ext->fs->super->s_flags & EXT2_FLAGS_UNSIGNED_HASH)
        version += 3;
    *levels = info->indirect_levels;
    return ext2fs_dirhash2(version, name, (int)length, NULL, 0, ext->fs->super->s_hash_seed, hash,
                           &minor);
}

/* The entry of a node that covers a hash, and how many entries there are. */
static errcode_t search_node(rep_ext *ext, char *block, uint32_t hash,
                             struct ext2_dx_entry **entries, unsigned *at, unsigned *count)
{
    struct ext2_dx_countlimit *counts = NULL;
    unsigned low = 1;
    unsigned high;
    errcode_t failure =
        ext2fs_get_dx_countlimit(ext->fs, (struct ext2_dir_entry *)(void *)block, &counts, NULL);

    if (failure)
        return failure;
    *count = ext2fs_le16_to_cpu(counts->count);
    if (*count == 0 || *count > ext2fs_le16_to_cpu(counts->limit))
        return EXT2_ET_DIR_CORRUPTED;
    *entries = (struct ext2_dx_entry *)(void *)counts;
    for (high = *count; low < high;) {
        unsigned middle = low + (high - low) / 2;
        if (ext2fs_le32_to_cpu((*entries)[middle].hash) > hash)
            high = middle;
        else
            low = middle + 1;
    }
    *at = low - 1;
    return 0;
}

/* Goes down to the node above the leaves. */
static errcode_t find_node(rep_ext *ext, uint32_t directory, const char *name, size_t length,
                           char *node, uint32_t *hash, unsigned *levels,
                           struct ext2_dx_entry **entries, unsigned *at, unsigned *count)
{
    blk64_t physical = 0;
    errcode_t failure = read_block(ext, directory, 0, node, &physical);

    if (!failure)
        failure = hash_name(ext, node, name, length, hash, levels);
    if (!failure)
        failure = search_node(ext, node, *hash, entries, at, count);
    for (unsigned level = 0; !failure && level < *levels; level++) {
        uint32_t next = ext2fs_le32_to_cpu((*entries)[*at].block) & BLOCK_MASK;
        failure = read_block(ext, directory, next, node, &physical);
        if (!failure)
            failure = search_node(ext, node, *hash, entries, at, count);
    }
    return failure;
}

index_answer rep_ext_index_find(rep_ext *ext, uint32_t directory, const char *name, size_t length,
                                index_place *out)
{
    size_t block_bytes = ext->fs->blocksize;
    char *node = malloc(block_bytes);
    struct ext2_dx_entry *entries = NULL;
    unsigned at = 0;
    unsigned count = 0;
    unsigned levels = 0;
    uint32_t hash = 0;
    int found = 0;
    int more = 1;
    errcode_t failure = node && out->block ? 0 : ENOMEM;

    if (!failure)
        failure =
            find_node(ext, directory, name, length, node, &hash, &levels, &entries, &at, &count);
    while (!failure && !found && more) {
        uint32_t leaf = ext2fs_le32_to_cpu(entries[at].block) & BLOCK_MASK;
        failure = read_block(ext, directory, leaf, out->block, &out->physical);
        if (!failure)
            failure =
                search_leaf(ext, out->block, name, length, &out->offset, &out->before, &found);
        at++;
        more = at < count && ext2fs_le32_to_cpu(entries[at].hash) == (hash | CONTINUED);
    }
    free(node);
    if (failure)
        return INDEX_UNSURE;
    if (found)
        return INDEX_FOUND;
    /* The names of one hash may go on in a leaf of the next node. */
    return at == count && levels > 0 ? INDEX_UNSURE : INDEX_ABSENT;
}

/* Moves the entries of `from`, except . and .., into the empty block `to`. */
static errcode_t move_entries(rep_ext *ext, char *from, char *to)
{
    ext2_filsys fs = ext->fs;
    size_t limit = fs->blocksize - tail_bytes(ext);
    struct ext2_dir_entry *last = NULL;
    size_t used = 0;
    unsigned length = 0;

    memset(to, 0, fs->blocksize);
    for (size_t at = 0; at < limit; at += length) {
        struct ext2_dir_entry *entry = (struct ext2_dir_entry *)(void *)(from + at);
        __u8 name_length = (__u8)ext2fs_dirent_name_len(entry);
        errcode_t failure = ext2fs_get_rec_len(fs, entry, &length);
        if (failure)
            return failure;
        if (length < 8 || length > limit - at)
            return EXT2_ET_DIR_CORRUPTED;
        if (entry->inode == 0 || (name_length == 1 && entry->name[0] == '.')
            || (name_length == 2 && memcmp(entry->name, "..", 2) == 0))
            continue;
        last = (struct ext2_dir_entry *)(void *)(to + used);
        memcpy(last, entry, 8U + name_length);
        failure = ext2fs_set_rec_len(fs, (unsigned)EXT2_DIR_REC_LEN(name_length), last);
        if (failure)
            return failure;
        used += (size_t)EXT2_DIR_REC_LEN(name_length);
    }
    if (!last)
        return EXT2_ET_DIR_CORRUPTED; /* a block without names isn't full */
    if (tail_bytes(ext))
        ext2fs_initialize_dirent_tail(fs, EXT2_DIRENT_TAIL(to, fs->blocksize));
    return ext2fs_set_rec_len(fs, (unsigned)(limit - (size_t)((char *)last - to)), last);
}

/* Makes of the directory's first block the root of an index whose one leaf is block 1. */
static errcode_t write_root(rep_ext *ext, char *block)
{
    ext2_filsys fs = ext->fs;
    size_t start = INDEX_OFFSET + sizeof(struct ext2_dx_root_info);
    size_t csum_bytes =
        ext2fs_has_feature_metadata_csum(fs->super) ? sizeof(struct ext2_dx_tail) : 0;
    struct ext2_dir_entry *parent = (struct ext2_dir_entry *)(void *)(block + 12);
    struct ext2_dx_root_info *info = (struct ext2_dx_root_info *)(void *)(block + INDEX_OFFSET);
    struct ext2_dx_countlimit *counts = (struct ext2_dx_countlimit *)(void *)(block + start);
    struct ext2_dx_entry *entries = (struct ext2_dx_entry *)(void *)(block + start);
    struct ext2_dir_entry *self = (struct ext2_dir_entry *)(void *)block;

    if (self->rec_len != 12 || ext2fs_dirent_name_len(parent) != 2)
        return EXT2_ET_DIR_CORRUPTED;
    memset(block + INDEX_OFFSET, 0, fs->blocksize - INDEX_OFFSET);
    info->hash_version = fs->super->s_def_hash_version;
    info->info_length = sizeof *info;
    entries[0].block = ext2fs_cpu_to_le32(1);
    counts->limit = ext2fs_cpu_to_le16(
        (uint16_t)((fs->blocksize - start - csum_bytes) / sizeof(struct ext2_dx_entry)));
    counts->count = ext2fs_cpu_to_le16(1);
    return ext2fs_set_rec_len(fs, fs->blocksize - 12, parent);
}

int rep_ext_index_make(rep_ext *ext, uint32_t directory)
{
    ext2_filsys fs = ext->fs;
    char *blocks = malloc(2 * (size_t)fs->blocksize);
    struct ext2_inode small = {0};
    blk64_t root = 0;
    blk64_t leaf = 0;
    errcode_t failure = blocks ? 0 : ENOMEM;
    int code = 0;

    if (!failure)
        failure = ext2fs_bmap2(fs, directory, NULL, NULL, 0, 0, NULL, &root);
    if (!failure)
        failure = ext2fs_read_dir_block4(fs, root, blocks, 0, directory);
    if (!failure)
        failure = move_entries(ext, blocks, blocks + fs->blocksize);
    if (!failure)
        failure = write_root(ext, blocks);
    if (!failure)
        code = rep_ext_map_allocate(ext, directory, 1, 1, root + 1, PLACE_NEAR);
    if (!failure && code == 0)
        failure = ext2fs_bmap2(fs, directory, NULL, NULL, 0, 1, NULL, &leaf);
    if (!failure && code == 0)
        failure = ext2fs_write_dir_block4(fs, leaf, blocks + fs->blocksize, 0, directory);
    if (!failure && code == 0)
        failure = ext2fs_write_dir_block4(fs, root, blocks, 0, directory);
    if (!failure && code == 0)
        failure = ext2fs_read_inode(fs, directory, &small);
    if (!failure && code == 0) {
        small.i_flags |= EXT2_INDEX_FL;
        failure = ext2fs_inode_size_set(fs, &small, 2 * (ext2_off64_t)fs->blocksize);
    }
    if (!failure && code == 0)
        failure = ext2fs_write_inode(fs, directory, &small);
    free(blocks);
    return failure ? rep_ext_failed(ext, "index of directory", directory, failure) : code;
}
