/* Inodes: what they say, in host terms; claiming and releasing them. */
#include <time.h>

#include "rep_ext_internal.h"

/* Those that chattr sets and that don't describe how the file is stored. */
#define USER_FLAGS                                                                                 \
    (EXT2_SECRM_FL | EXT2_UNRM_FL | EXT2_SYNC_FL | EXT2_IMMUTABLE_FL | EXT2_APPEND_FL              \
     | EXT2_NODUMP_FL | EXT2_NOATIME_FL | EXT3_JOURNAL_DATA_FL | EXT2_NOTAIL_FL | EXT2_DIRSYNC_FL  \
     | EXT2_TOPDIR_FL | EXT4_PROJINHERIT_FL)

#define ATTRIBUTES_MAGIC 0xEA020000U

struct ext2_inode *rep_ext_small(inode_buffer *buffer)
{
    return (struct ext2_inode *)(void *)&buffer->large;
}

static size_t inode_bytes(const rep_ext *ext)
{
    size_t size = EXT2_INODE_SIZE(ext->fs->super);

    return size < sizeof(inode_buffer) ? size : sizeof(inode_buffer);
}

int rep_ext_inode_read(rep_ext *ext, uint32_t inode, inode_buffer *out)
{
    errcode_t failure;

    memset(out, 0, sizeof *out);
    failure = ext2fs_read_inode_full(ext->fs, inode, rep_ext_small(out), (int)inode_bytes(ext));
    return failure ? rep_ext_failed(ext, "inode", inode, failure) : 0;
}

int rep_ext_inode_write(rep_ext *ext, uint32_t inode, inode_buffer *buffer)
{
    errcode_t failure =
        ext2fs_write_inode_full(ext->fs, inode, rep_ext_small(buffer), (int)inode_bytes(ext));

    return failure ? rep_ext_failed(ext, "inode", inode, failure) : 0;
}

int rep_ext_inode_get(rep_ext *ext, uint32_t inode, unsigned kind, struct ext2_inode *out)
{
    errcode_t failure = ext2fs_read_inode(ext->fs, inode, out);
    unsigned found;

    if (failure)
        return rep_ext_failed(ext, "inode", inode, failure);
    found = out->i_mode & LINUX_S_IFMT;
    if (found == 0 || out->i_links_count == 0)
        return rep_ext_failed(ext, "inode", inode, ENOENT);
    if (kind == 0 || found == kind)
        return 0;
    if (kind == LINUX_S_IFDIR)
        return rep_ext_failed(ext, "inode", inode, ENOTDIR);
    return rep_ext_failed(ext, "inode", inode, found == LINUX_S_IFDIR ? EISDIR : EINVAL);
}

/* Whether the inode's second half has the field that ends at `end`. */
static int has_field(const rep_ext *ext, const struct ext2_inode_large *large, size_t end)
{
    size_t size = EXT2_INODE_SIZE(ext->fs->super);

    return size > EXT2_GOOD_OLD_INODE_SIZE && size >= end
           && EXT2_GOOD_OLD_INODE_SIZE + (size_t)large->i_extra_isize >= end;
}

#define HAS(ext, large, field)                                                                     \
    has_field(ext, large, offsetof(struct ext2_inode_large, field) + sizeof(large)->field)

static void time_from(uint32_t low, uint32_t extra, int64_t *seconds, uint32_t *nanoseconds)
{
    *seconds = (int64_t)(int32_t)low + ((int64_t)(extra & 3U) << 32);
    *nanoseconds = extra >> 2;
}

/* 0, or -1 when the time doesn't fit. Without `extra` there are no nanoseconds to keep. */
static int time_into(int64_t seconds, uint32_t nanoseconds, uint32_t *low, uint32_t *extra)
{
    int64_t base = (int64_t)(int32_t)(uint32_t)seconds;
    int64_t epoch = (seconds - base) >> 32;

    if (epoch < 0 || epoch > (extra ? 3 : 0))
        return -1;
    *low = (uint32_t)seconds;
    if (extra)
        *extra = (uint32_t)epoch | (nanoseconds << 2U);
    return 0;
}

static void device_from(const struct ext2_inode *inode, rep_ext_stat *out)
{
    uint32_t old = inode->i_block[0];
    uint32_t wide = inode->i_block[1];

    if (!LINUX_S_ISCHR(inode->i_mode) && !LINUX_S_ISBLK(inode->i_mode))
        return;
    out->device_major = old ? (old >> 8) & 0xFFU : (wide & 0xFFF00U) >> 8;
    out->device_minor = old ? old & 0xFFU : (wide & 0xFFU) | ((wide >> 12) & 0xFFF00U);
}

static void device_into(const rep_ext_stat *stat, struct ext2_inode *inode)
{
    uint32_t major = stat->device_major;
    uint32_t minor = stat->device_minor;

    if (!LINUX_S_ISCHR(inode->i_mode) && !LINUX_S_ISBLK(inode->i_mode))
        return;
    if (major < 256 && minor < 256)
        inode->i_block[0] = (major << 8) | minor;
    else
        inode->i_block[1] = (minor & 0xFFU) | (major << 8) | ((minor & ~0xFFU) << 12);
}

static uint32_t may_have_xattrs(rep_ext *ext, const inode_buffer *buffer)
{
    size_t at = EXT2_GOOD_OLD_INODE_SIZE + (size_t)buffer->large.i_extra_isize;
    uint32_t magic = 0;

    if (ext2fs_file_acl_block(ext->fs, (const struct ext2_inode *)(const void *)&buffer->large))
        return 1;
    if (inode_bytes(ext) <= EXT2_GOOD_OLD_INODE_SIZE || at + sizeof magic > inode_bytes(ext))
        return 0;
    memcpy(&magic, (const unsigned char *)buffer + at, sizeof magic);
    return magic == ATTRIBUTES_MAGIC ? 1U : 0U;
}

static uint32_t storage_from(uint32_t flags)
{
    uint32_t storage = 0;

    storage |= flags & EXT4_INLINE_DATA_FL ? (uint32_t)REP_EXT_INLINE : 0U;
    storage |= flags & EXT4_ENCRYPT_FL ? (uint32_t)REP_EXT_ENCRYPTED : 0U;
    storage |= flags & EXT4_VERITY_FL ? (uint32_t)REP_EXT_VERITY : 0U;
    storage |= flags & EXT4_CASEFOLD_FL ? (uint32_t)REP_EXT_CASEFOLDED : 0U;
    return storage;
}

void rep_ext_stat_from(rep_ext *ext, uint32_t inode, const inode_buffer *buffer, rep_ext_stat *out)
{
    const struct ext2_inode_large *large = &buffer->large;
    const struct ext2_inode *small = (const struct ext2_inode *)(const void *)large;
    uint64_t sectors = ext2fs_get_stat_i_blocks(ext->fs, (struct ext2_inode *)(uintptr_t)small);

    memset(out, 0, sizeof *out);
    out->inode = inode;
    out->mode = large->i_mode;
    out->uid = large->i_uid | (uint32_t)large->osd2.linux2.l_i_uid_high << 16;
    out->gid = large->i_gid | (uint32_t)large->osd2.linux2.l_i_gid_high << 16;
    out->links = large->i_links_count;
    out->generation = large->i_generation;
    out->flags = large->i_flags & USER_FLAGS;
    out->size = large->i_size;
    if (LINUX_S_ISREG(large->i_mode) || LINUX_S_ISDIR(large->i_mode))
        out->size |= (uint64_t)large->i_size_high << 32;
    out->blocks = sectors / (ext->fs->blocksize / 512U);
    time_from(large->i_atime, HAS(ext, large, i_atime_extra) ? large->i_atime_extra : 0,
              &out->atime_s, &out->atime_ns);
    time_from(large->i_mtime, HAS(ext, large, i_mtime_extra) ? large->i_mtime_extra : 0,
              &out->mtime_s, &out->mtime_ns);
    time_from(large->i_ctime, HAS(ext, large, i_ctime_extra) ? large->i_ctime_extra : 0,
              &out->ctime_s, &out->ctime_ns);
    if (HAS(ext, large, i_crtime))
        time_from(large->i_crtime, HAS(ext, large, i_crtime_extra) ? large->i_crtime_extra : 0,
                  &out->crtime_s, &out->crtime_ns);
    device_from(small, out);
    out->project = HAS(ext, large, i_projid) ? large->i_projid : 0;
    out->storage = storage_from(large->i_flags);
    out->has_xattrs = may_have_xattrs(ext, buffer);
}

int rep_ext_stat_into(rep_ext *ext, const rep_ext_stat *stat, inode_buffer *buffer)
{
    struct ext2_inode_large *large = &buffer->large;
    int misfit = 0;

    misfit |= time_into(stat->atime_s, stat->atime_ns, &large->i_atime,
                        HAS(ext, large, i_atime_extra) ? &large->i_atime_extra : NULL);
    misfit |= time_into(stat->mtime_s, stat->mtime_ns, &large->i_mtime,
                        HAS(ext, large, i_mtime_extra) ? &large->i_mtime_extra : NULL);
    misfit |= time_into(stat->ctime_s, stat->ctime_ns, &large->i_ctime,
                        HAS(ext, large, i_ctime_extra) ? &large->i_ctime_extra : NULL);
    if (HAS(ext, large, i_crtime))
        misfit |= time_into(stat->crtime_s, stat->crtime_ns, &large->i_crtime,
                            HAS(ext, large, i_crtime_extra) ? &large->i_crtime_extra : NULL);
    if (misfit)
        return rep_ext_refuse(ext, -EOVERFLOW, "a time doesn't fit this file system's inodes");
    large->i_mode = (uint16_t)((large->i_mode & LINUX_S_IFMT) | (stat->mode & 07777U));
    large->i_uid = (uint16_t)stat->uid;
    large->osd2.linux2.l_i_uid_high = (uint16_t)(stat->uid >> 16);
    large->i_gid = (uint16_t)stat->gid;
    large->osd2.linux2.l_i_gid_high = (uint16_t)(stat->gid >> 16);
    large->i_flags = (large->i_flags & ~(uint32_t)USER_FLAGS) | (stat->flags & USER_FLAGS);
    if (HAS(ext, large, i_projid))
        large->i_projid = stat->project;
    device_into(stat, rep_ext_small(buffer));
    return 0;
}

int rep_ext_stat_get(rep_ext *ext, uint32_t inode, rep_ext_stat *out)
{
    struct ext2_inode small = {0};
    inode_buffer buffer;
    int code = rep_ext_inode_get(ext, inode, 0, &small);

    if (code == 0)
        code = rep_ext_inode_read(ext, inode, &buffer);
    if (code == 0)
        rep_ext_stat_from(ext, inode, &buffer, out);
    return code;
}

int rep_ext_attributes_set(rep_ext *ext, uint32_t inode, const rep_ext_stat *stat)
{
    struct ext2_inode small = {0};
    inode_buffer buffer;
    inode_buffer before;
    int code = rep_ext_check_change(ext);

    if (code == 0)
        code = rep_ext_inode_get(ext, inode, 0, &small);
    if (code == 0)
        code = rep_ext_inode_read(ext, inode, &buffer);
    if (code != 0)
        return code;
    before = buffer;
    code = rep_ext_stat_into(ext, stat, &buffer);
    if (code == 0 && memcmp(&before, &buffer, inode_bytes(ext)) != 0)
        code = rep_ext_inode_write(ext, inode, &buffer);
    return rep_ext_end_change(ext, code);
}

/* Whether `inode` may be taken: free, not one of the file system's own, and in the part of the
 * inode table that was initialised (what lies behind may hold anything). */
static int may_take(rep_ext *ext, uint32_t inode)
{
    const struct ext2_super_block *super = ext->fs->super;
    dgrp_t group;
    uint32_t initialised;

    if (inode < EXT2_FIRST_INODE(super) || inode > super->s_inodes_count
        || ext2fs_test_inode_bitmap2(ext->fs->inode_map, inode))
        return 0;
    if (!ext2fs_has_group_desc_csum(ext->fs))
        return 1;
    group = ext2fs_group_of_ino(ext->fs, inode);
    initialised = super->s_inodes_per_group - ext2fs_bg_itable_unused(ext->fs, group);
    return (inode - 1) % super->s_inodes_per_group < initialised
           && !ext2fs_bg_flags_test(ext->fs, group, EXT2_BG_INODE_UNINIT);
}

int rep_ext_inode_claim(rep_ext *ext, uint32_t preferred, uint32_t directory, int is_directory,
                        uint32_t *out)
{
    ext2_ino_t found = preferred;
    errcode_t failure = 0;

    if (!may_take(ext, preferred))
        failure = ext2fs_new_inode(ext->fs, directory, 0, NULL, &found);
    if (failure)
        return rep_ext_failed(ext, "new inode in directory", directory, failure);
    ext2fs_inode_alloc_stats2(ext->fs, found, +1, is_directory);
    *out = found;
    return 0;
}

/* Blocks of the file's content and of its map. */
static int release_blocks(rep_ext *ext, uint32_t inode, struct ext2_inode *small)
{
    if (LINUX_S_ISCHR(small->i_mode) || LINUX_S_ISBLK(small->i_mode)
        || !ext2fs_inode_has_valid_blocks2(ext->fs, small))
        return 0;
    return rep_ext_map_release_from(ext, inode, 0);
}

int rep_ext_inode_release(rep_ext *ext, uint32_t inode)
{
    inode_buffer buffer;
    int is_directory;
    errcode_t failure;
    int code = 0;

    /* Values in inodes of their own go with the attribute that names them. */
    if (ext2fs_has_feature_ea_inode(ext->fs->super))
        code = rep_ext_xattrs_set(ext, inode, "", 0);
    if (code == 0)
        code = rep_ext_inode_read(ext, inode, &buffer);
    if (code == 0)
        code = release_blocks(ext, inode, rep_ext_small(&buffer));
    if (code == 0)
        code = rep_ext_inode_read(ext, inode, &buffer);
    if (code < 0)
        return code;
    failure = ext2fs_free_ext_attr(ext->fs, inode, &buffer.large);
    if (failure)
        return rep_ext_failed(ext, "attributes of inode", inode, failure);
    is_directory = LINUX_S_ISDIR(buffer.large.i_mode);
    buffer.large.i_links_count = 0;
    buffer.large.i_dtime = (uint32_t)time(NULL);
    code = rep_ext_inode_write(ext, inode, &buffer);
    if (code == 0)
        ext2fs_inode_alloc_stats2(ext->fs, inode, -1, is_directory);
    return code;
}
