/* New files and new names. */
#include "rep_ext_internal.h"

/* Above this many links a directory's count says 1: "too many to count" (feature dir_nlink). */
#define LINKS_MAX 65000U

int rep_ext_links_count(rep_ext *ext, uint32_t inode, int change)
{
    inode_buffer buffer;
    int code = rep_ext_inode_read(ext, inode, &buffer);
    int is_directory = LINUX_S_ISDIR(buffer.large.i_mode);

    if (code < 0)
        return code;
    if (is_directory && buffer.large.i_links_count == 1)
        return 0;
    if (change > 0 && buffer.large.i_links_count >= LINKS_MAX) {
        if (!is_directory || !ext2fs_has_feature_dir_nlink(ext->fs->super))
            return rep_ext_refuse(ext, -EMLINK, "an inode can't have more links");
        buffer.large.i_links_count = 1;
    } else {
        buffer.large.i_links_count = (uint16_t)(buffer.large.i_links_count + change);
    }
    return rep_ext_inode_write(ext, inode, &buffer);
}

static int check_absent(rep_ext *ext, uint32_t directory, const char *name)
{
    uint32_t found = 0;
    int code = rep_ext_lookup(ext, directory, name, strlen(name), &found);

    if (code == 0)
        return rep_ext_failed(ext, "directory", directory, EEXIST);
    return code == -ENOENT ? 0 : code;
}

int rep_ext_link(rep_ext *ext, uint32_t directory, const char *name, uint32_t inode,
                 int name_is_new)
{
    struct ext2_inode small = {0};
    int code = rep_ext_check_change(ext);

    if (code == 0)
        code = rep_ext_name_check(ext, name);
    if (code == 0)
        code = rep_ext_inode_get(ext, directory, LINUX_S_IFDIR, &small);
    if (code == 0)
        code = rep_ext_check_names(ext, directory, &small);
    if (code == 0 && !name_is_new)
        code = check_absent(ext, directory, name);
    if (code == 0)
        code = rep_ext_inode_get(ext, inode, 0, &small);
    if (code == 0 && LINUX_S_ISDIR(small.i_mode))
        code = rep_ext_refuse(ext, -EISDIR, "a directory can't have a second name");
    if (code == 0)
        code = rep_ext_links_count(ext, inode, +1);
    if (code < 0)
        return rep_ext_end_change(ext, code);
    code = rep_ext_name_add(ext, directory, name, inode, small.i_mode);
    if (code < 0 && rep_ext_links_count(ext, inode, -1) < 0)
        ext->broken = 1;
    return rep_ext_end_change(ext, code);
}

/* The kind-specific part of a new inode, besides what rep_ext_stat_into sets. */
static int fill_inode(rep_ext *ext, const rep_ext_making *making, inode_buffer *buffer)
{
    struct ext2_inode_large *large = &buffer->large;
    const struct ext2_super_block *super = ext->fs->super;
    unsigned kind = making->stat.mode & LINUX_S_IFMT;
    size_t length = making->target ? strlen(making->target) : 0;
    int is_slow_link = kind == LINUX_S_IFLNK && length >= sizeof large->i_block;

    memset(buffer, 0, sizeof *buffer);
    large->i_mode = (uint16_t)kind;
    large->i_generation = making->stat.generation;
    large->i_links_count = kind == LINUX_S_IFDIR ? 2 : 1;
    if (EXT2_INODE_SIZE(super) > EXT2_GOOD_OLD_INODE_SIZE) {
        unsigned room = (unsigned)EXT2_INODE_SIZE(super) - EXT2_GOOD_OLD_INODE_SIZE;
        unsigned extra = sizeof(struct ext2_inode_large) - EXT2_GOOD_OLD_INODE_SIZE;
        if (super->s_want_extra_isize >= 4 && super->s_want_extra_isize % 4 == 0)
            extra = super->s_want_extra_isize;
        large->i_extra_isize = (uint16_t)(extra < room ? extra : room);
    }
    if (kind == LINUX_S_IFLNK) {
        if (length == 0 || length >= ext->fs->blocksize || length > 4095)
            return rep_ext_refuse(ext, -ENAMETOOLONG,
                                  "a symbolic link's target is empty or too long");
        large->i_size = (uint32_t)length;
        if (!is_slow_link)
            memcpy(large->i_block, making->target, length);
    }
    if (kind == LINUX_S_IFDIR)
        large->i_size = ext->fs->blocksize;
    if (ext2fs_has_feature_extents(ext->fs->super)
        && (kind == LINUX_S_IFREG || kind == LINUX_S_IFDIR || is_slow_link))
        rep_ext_map_begin(rep_ext_small(buffer));
    return rep_ext_stat_into(ext, &making->stat, buffer);
}

/* The one block that a directory begins with, or that holds a long symbolic link. */
static int fill_block(rep_ext *ext, const rep_ext_making *making, uint32_t inode)
{
    ext2_filsys fs = ext->fs;
    char *block = NULL;
    blk64_t at = 0;
    errcode_t failure;
    int code = rep_ext_map_allocate(ext, inode, 0, 1, making->goal_block,
                                    making->goal_block ? PLACE_OWN : PLACE_NEAR);

    if (code < 0)
        return code;
    failure = ext2fs_bmap2(fs, inode, NULL, NULL, 0, 0, NULL, &at);
    if (!failure && making->target) {
        failure = ext2fs_get_memzero(fs->blocksize, &block);
        if (!failure) {
            memcpy(block, making->target, strlen(making->target));
            failure = -rep_ext_cache_write(ext->cache, block, fs->blocksize, at * fs->blocksize);
        }
    } else if (!failure) {
        failure = ext2fs_new_dir_block(fs, inode, making->directory, &block);
        if (!failure)
            failure = ext2fs_write_dir_block4(fs, at, block, 0, inode);
    }
    if (block)
        ext2fs_free_mem(&block);
    return failure ? rep_ext_failed(ext, "first block of inode", inode, failure) : 0;
}

static int make_inode(rep_ext *ext, const rep_ext_making *making, inode_buffer *buffer,
                      uint32_t inode)
{
    unsigned kind = making->stat.mode & LINUX_S_IFMT;
    int code = rep_ext_inode_write(ext, inode, buffer);

    if (code == 0
        && (kind == LINUX_S_IFDIR
            || (kind == LINUX_S_IFLNK && buffer->large.i_size >= sizeof buffer->large.i_block)))
        code = fill_block(ext, making, inode);
    if (code == 0 && kind == LINUX_S_IFREG && making->stat.storage & REP_EXT_INLINE
        && ext2fs_has_feature_inline_data(ext->fs->super))
        code = rep_ext_inline_enter(ext, inode);
    if (code == 0)
        code = rep_ext_name_add(ext, making->directory, making->name, inode, kind);
    if (code < 0 && rep_ext_inode_release(ext, inode) < 0)
        ext->broken = 1;
    return code;
}

int rep_ext_make(rep_ext *ext, const rep_ext_making *making, uint32_t *inode)
{
    int is_directory = LINUX_S_ISDIR(making->stat.mode);
    struct ext2_inode small = {0};
    inode_buffer buffer;
    uint32_t made = 0;
    int code = rep_ext_check_change(ext);

    if (code == 0)
        code = rep_ext_name_check(ext, making->name);
    if (code == 0
        && (rep_ext_file_type(making->stat.mode) == EXT2_FT_UNKNOWN
            || !LINUX_S_ISLNK(making->stat.mode) != !making->target))
        code = rep_ext_refuse(ext, -EINVAL, "not a kind of file that can be made so");
    if (code == 0)
        code = rep_ext_inode_get(ext, making->directory, LINUX_S_IFDIR, &small);
    if (code == 0)
        code = rep_ext_check_names(ext, making->directory, &small);
    if (code == 0 && !making->name_is_new)
        code = check_absent(ext, making->directory, making->name);
    if (code == 0)
        code = fill_inode(ext, making, &buffer);
    if (code == 0 && is_directory)
        code = rep_ext_links_count(ext, making->directory, +1);
    if (code < 0)
        return rep_ext_end_change(ext, code);
    code =
        rep_ext_inode_claim(ext, making->preferred_inode, making->directory, is_directory, &made);
    if (code == 0)
        code = make_inode(ext, making, &buffer, made);
    if (code < 0 && is_directory && rep_ext_links_count(ext, making->directory, -1) < 0)
        ext->broken = 1;
    *inode = made;
    return rep_ext_end_change(ext, code);
}
