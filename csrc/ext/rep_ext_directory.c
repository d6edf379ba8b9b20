/* Names in directories: finding, adding, removing. One that outgrows a block gets an index. */
#include "rep_ext_internal.h"

#define NAME_MAX_BYTES 255U

int rep_ext_name_check(rep_ext *ext, const char *name)
{
    size_t length = strlen(name);

    if (length > NAME_MAX_BYTES)
        return rep_ext_refuse(ext, -ENAMETOOLONG, "a name is longer than 255 bytes");
    if (length == 0 || strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return rep_ext_refuse(ext, -EINVAL, "not a name for a file");
    return 0;
}

/* The index of a casefolded directory is made from other names than those on disk. */
static int is_indexed(const struct ext2_inode *small)
{
    return (small->i_flags & EXT2_INDEX_FL) && !(small->i_flags & EXT4_CASEFOLD_FL);
}

int rep_ext_lookup(rep_ext *ext, uint32_t directory, const char *name, size_t length,
                   uint32_t *inode)
{
    struct ext2_inode small = {0};
    ext2_ino_t found = 0;
    errcode_t failure = 0;
    index_answer answer = INDEX_UNSURE;
    int code = rep_ext_inode_get(ext, directory, LINUX_S_IFDIR, &small);

    if (code < 0)
        return code;
    if (small.i_flags & EXT4_ENCRYPT_FL)
        return rep_ext_coded_lookup(ext, directory, name, length, inode);
    if (length > NAME_MAX_BYTES)
        return rep_ext_refuse(ext, -ENAMETOOLONG, "a name is longer than 255 bytes");
    if (is_indexed(&small)) {
        index_place at = {.block = malloc(ext->fs->blocksize)};
        answer = rep_ext_index_find(ext, directory, name, length, &at);
        if (answer == INDEX_FOUND)
            found = ((struct ext2_dir_entry *)(void *)(at.block + at.offset))->inode;
        free(at.block);
    }
    if (answer == INDEX_UNSURE)
        failure = ext2fs_lookup(ext->fs, directory, name, (int)length, NULL, &found);
    else if (answer == INDEX_ABSENT)
        failure = EXT2_ET_FILE_NOT_FOUND;
    if (failure)
        return rep_ext_failed(ext, "directory", directory, failure);
    *inode = found;
    return 0;
}

/* Takes an entry out of its leaf: its bytes go to the one before it. */
static errcode_t clear_entry(rep_ext *ext, uint32_t directory, const index_place *at)
{
    struct ext2_dir_entry *entry = (struct ext2_dir_entry *)(void *)(at->block + at->offset);
    struct ext2_dir_entry *before = (struct ext2_dir_entry *)(void *)(at->block + at->before);
    unsigned length = 0;
    unsigned before_length = 0;
    errcode_t failure = ext2fs_get_rec_len(ext->fs, entry, &length);

    if (!failure && at->offset == 0) {
        entry->inode = 0;
    } else if (!failure) {
        failure = ext2fs_get_rec_len(ext->fs, before, &before_length);
        if (!failure)
            failure = ext2fs_set_rec_len(ext->fs, before_length + length, before);
    }
    return failure ? failure
                   : ext2fs_write_dir_block4(ext->fs, at->physical, at->block, 0, directory);
}

int rep_ext_name_remove(rep_ext *ext, uint32_t directory, const char *name, uint32_t inode)
{
    struct ext2_inode small = {0};
    index_answer answer = INDEX_UNSURE;
    errcode_t failure = ext2fs_read_inode(ext->fs, directory, &small);

    if (!failure && small.i_flags & EXT4_ENCRYPT_FL)
        return rep_ext_check_names(ext, directory, &small);
    if (!failure && is_indexed(&small)) {
        index_place at = {.block = malloc(ext->fs->blocksize)};
        answer = rep_ext_index_find(ext, directory, name, strlen(name), &at);
        if (answer == INDEX_FOUND)
            failure = clear_entry(ext, directory, &at);
        free(at.block);
    }
    if (!failure && answer != INDEX_FOUND)
        failure = ext2fs_unlink(ext->fs, directory, name, inode, 0);
    return failure ? rep_ext_failed(ext, "name in directory", directory, failure) : 0;
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

int rep_ext_name_add(rep_ext *ext, uint32_t directory, const char *name, uint32_t inode,
                     unsigned mode)
{
    struct ext2_inode small = {0};
    errcode_t failure = EXT2_ET_DIR_NO_SPACE;
    int code = rep_ext_inode_get(ext, directory, LINUX_S_IFDIR, &small);

    if (code == 0)
        code = rep_ext_check_names(ext, directory, &small);
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
            code = rep_ext_index_make(ext, directory);
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
