/* Names in directories: finding, adding, removing; a directory that outgrows a block gets an index,
 * as the kernel does it, since libext2fs only extends those that have one. */
#include "rep_ext_internal.h"

#define NAME_MAX_BYTES 255U
/* Where the index begins in a directory's first block: behind the entries of . and .. */
#define INDEX_OFFSET 24U

int rep_ext_name_check(rep_ext *ext, const char *name)
{
    size_t length = strlen(name);

    if (length > NAME_MAX_BYTES)
        return rep_ext_refuse(ext, -ENAMETOOLONG, "a name is longer than 255 bytes");
    if (length == 0 || strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return rep_ext_refuse(ext, -EINVAL, "not a name for a file");
    return 0;
}

int rep_ext_lookup(rep_ext *ext, uint32_t directory, const char *name, size_t length,
                   uint32_t *inode)
{
    struct ext2_inode small = {0};
    ext2_ino_t found = 0;
    errcode_t failure;
    int code = rep_ext_inode_get(ext, directory, LINUX_S_IFDIR, &small);

    if (code < 0)
        return code;
    if (length > NAME_MAX_BYTES)
        return rep_ext_refuse(ext, -ENAMETOOLONG, "a name is longer than 255 bytes");
    failure = ext2fs_lookup(ext->fs, directory, name, (int)length, NULL, &found);
    if (failure)
        return rep_ext_failed(ext, "directory", directory, failure);
    *inode = found;
    return 0;
}

int rep_ext_file_type(unsigned mode)
{
    switch (mode & LINUX_S_IFMT) {
    case LINUX_S_IFREG:
        return EXT2_FT_REG_FILE;
    case LINUX_S_IFDIR:
        return EXT2_FT_DIR;
    case LINUX_S_IFCHR:
        return EXT2_FT_CHRDEV;
    case LINUX_S_IFBLK:
        return EXT2_FT_BLKDEV;
    case LINUX_S_IFIFO:
        return EXT2_FT_FIFO;
    case LINUX_S_IFSOCK:
        return EXT2_FT_SOCK;
    case LINUX_S_IFLNK:
        return EXT2_FT_SYMLINK;
    default:
        return EXT2_FT_UNKNOWN;
    }
}

static size_t tail_bytes(const rep_ext *ext)
{
    return ext2fs_has_feature_metadata_csum(ext->fs->super) ? sizeof(struct ext2_dir_entry_tail)
                                                            : 0;
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

/* Turns a full directory of one block into one with an index. */
static int make_index(rep_ext *ext, uint32_t directory)
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

int rep_ext_name_add(rep_ext *ext, uint32_t directory, const char *name, uint32_t inode,
                     unsigned mode)
{
    struct ext2_inode small = {0};
    errcode_t failure = EXT2_ET_DIR_NO_SPACE;
    int code = 0;

    /* The index may have to grow by a level, then by a leaf, before the name fits. */
    for (int attempt = 0; code == 0 && failure == EXT2_ET_DIR_NO_SPACE && attempt < 4; attempt++) {
        failure = ext2fs_link(ext->fs, directory, name, inode, rep_ext_file_type(mode));
        if (failure != EXT2_ET_DIR_NO_SPACE)
            break;
        code = rep_ext_inode_get(ext, directory, LINUX_S_IFDIR, &small);
        if (code < 0 || small.i_flags & EXT2_INDEX_FL)
            continue;
        if (ext2fs_has_feature_dir_index(ext->fs->super)
            && EXT2_I_SIZE(&small) == ext->fs->blocksize) {
            code = make_index(ext, directory);
        } else {
            errcode_t growth = ext2fs_expand_dir(ext->fs, directory);
            if (growth)
                code = rep_ext_failed(ext, "directory", directory, growth);
        }
    }
    if (code < 0)
        return code;
    return failure ? rep_ext_failed(ext, "name in directory", directory, failure) : 0;
}
