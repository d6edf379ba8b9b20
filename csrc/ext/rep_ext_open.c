/* Opening, flushing and closing; what is refused, and why. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "rep_ext_internal.h"

#define SUPER_OFFSET 1024U
#define INCOMPAT_RECOVER 0x00004U
#define RO_COMPAT_ORPHAN_PRESENT 0x10000U

__attribute__((format(printf, 4, 5))) static int
refuse(rep_ext_error *error, rep_ext_refusal refusal, int code, const char *format, ...)
{
    va_list arguments;

    error->refusal = refusal;
    error->code = code;
    va_start(arguments, format);
    vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    return code;
}

/* libext2fs's own codes say that the content is wrong; an errno, that the volume failed. */
static int refuse_code(rep_ext *ext, rep_ext_error *error, const char *what, errcode_t failure)
{
    rep_ext_refusal refusal = failure > 0 && failure < 1024 ? REP_EXT_UNREADABLE : REP_EXT_DAMAGED;
    const char *transfer = rep_ext_cache_failure(ext->cache);

    return refuse(error, refusal, rep_ext_errno(failure), "%s: %s", what,
                  *transfer ? transfer : error_message(failure));
}

/* Whether another host has the file system mounted, or had when it went down. Only asked when we
 * would write: what is only read can't clash. */
static int check_mount_protection(rep_ext *ext, struct ext2_super_block *super,
                                  uint64_t block_bytes, rep_ext_error *error)
{
    struct mmp_struct block;
    int code;

    if (!ext->writable || !ext2fs_has_feature_mmp(super))
        return 0;
    if (super->s_mmp_block >= ext2fs_blocks_count(super)
        || super->s_mmp_block < super->s_first_data_block)
        return refuse(error, REP_EXT_DAMAGED, -EUCLEAN, "multiple mount protection: block %" PRIu64,
                      (uint64_t)super->s_mmp_block);
    code = rep_ext_cache_read(ext->cache, &block, sizeof block, super->s_mmp_block * block_bytes);
    if (code < 0)
        return refuse(error, REP_EXT_UNREADABLE, code, "%s", rep_ext_cache_failure(ext->cache));
    if (block.mmp_magic != EXT4_MMP_MAGIC)
        return refuse(error, REP_EXT_DAMAGED, -EUCLEAN, "multiple mount protection: wrong magic");
    if (block.mmp_seq != EXT4_MMP_SEQ_CLEAN)
        return refuse(
            error, REP_EXT_NEEDS_RECOVERY, -EUCLEAN,
            "multiple mount protection (mmp): it is in use by %.32s, or was not unmounted",
            (const char *)block.mmp_nodename);
    return 0;
}

/* Looks at the superblock alone, so that each refusal has its own name. */
static int check_super(rep_ext *ext, rep_ext_access access, rep_ext_error *error)
{
    struct ext2_super_block super;
    char names[192];
    uint64_t blocks;
    uint64_t block_bytes;
    int code;

    if (ext->io->size_bytes < SUPER_OFFSET + sizeof super)
        return refuse(error, REP_EXT_NOT_EXT, -EMEDIUMTYPE,
                      "the volume is too small for a superblock: size=%" PRIu64,
                      ext->io->size_bytes);
    code = rep_ext_cache_read(ext->cache, &super, sizeof super, SUPER_OFFSET);
    if (code < 0)
        return refuse(error, REP_EXT_UNREADABLE, code, "%s", rep_ext_cache_failure(ext->cache));
    if (super.s_magic != EXT2_SUPER_MAGIC)
        return refuse(error, REP_EXT_NOT_EXT, -EMEDIUMTYPE,
                      "no ext2, ext3 or ext4 superblock: magic=0x%04x", super.s_magic);
    if (rep_ext_check_features(&super, access, names, sizeof names) < 0)
        return refuse(error, REP_EXT_UNSUPPORTED, -ENOTSUP, "%s", names);
    if (super.s_log_block_size > 6)
        return refuse(error, REP_EXT_DAMAGED, -EUCLEAN, "superblock: block size 2^%" PRIu64,
                      (uint64_t)super.s_log_block_size + 10);
    block_bytes = 1024ULL << super.s_log_block_size;
    blocks = ext2fs_blocks_count(&super);
    if (blocks > ext->io->size_bytes / block_bytes)
        return refuse(error, REP_EXT_DAMAGED, -EUCLEAN,
                      "it is cut short: it has %" PRIu64 " blocks of %" PRIu64
                      " bytes, the volume %" PRIu64 " bytes",
                      blocks, block_bytes, ext->io->size_bytes);
    if (super.s_feature_incompat & INCOMPAT_RECOVER)
        return refuse(error, REP_EXT_NEEDS_RECOVERY, -EUCLEAN, "its journal isn't replayed");
    /* A reader isn't concerned: no name leads to a deleted one, and one that was being shortened has
     * its new size. Who writes could free what is on the list. */
    if (access == REP_EXT_READ_WRITE
        && (super.s_feature_ro_compat & RO_COMPAT_ORPHAN_PRESENT || super.s_last_orphan != 0))
        return refuse(error, REP_EXT_NEEDS_RECOVERY, -EUCLEAN,
                      "files that were deleted while open aren't cleaned up");
    if (super.s_state & EXT2_ERROR_FS)
        return refuse(error, REP_EXT_DAMAGED, -EUCLEAN, "it is marked as having errors");
    if (!(super.s_state & EXT2_VALID_FS))
        return refuse(error, REP_EXT_NEEDS_RECOVERY, -EUCLEAN,
                      "it is mounted, or wasn't unmounted");
    return check_mount_protection(ext, &super, block_bytes, error);
}

/* Descriptors and, for writing, bitmaps: damage is found before the first change. */
static int check_groups(rep_ext *ext, rep_ext_error *error)
{
    errcode_t failure;

    for (dgrp_t group = 0; group < ext->fs->group_desc_count; group++)
        if (!ext2fs_group_desc_csum_verify(ext->fs, group))
            return refuse(error, REP_EXT_DAMAGED, -EUCLEAN,
                          "group descriptors: wrong checksum of group %u", group);
    failure = ext2fs_check_desc(ext->fs);
    if (failure)
        return refuse_code(ext, error, "group descriptors", failure);
    if (!ext->writable)
        return 0;
    failure = ext2fs_read_bitmaps(ext->fs);
    if (failure)
        return refuse_code(ext, error, "bitmaps", failure);
    if (rep_ext_quota_check(ext) < 0)
        return refuse(error, REP_EXT_DAMAGED, -EUCLEAN, "%s", ext->text);
    return 0;
}

static int open_all(rep_ext *ext, rep_ext_access access, rep_ext_error *error)
{
    /* The extents of the system's own library may carry checksums it verifies itself. */
    int flags =
        EXT2_FLAG_64BITS | EXT2_FLAG_SKIP_MMP | (access == REP_EXT_READ_WRITE ? EXT2_FLAG_RW : 0);
    errcode_t failure;
    int code = check_super(ext, access, error);

    if (code < 0)
        return code;
    failure = ext2fs_open2("volume", NULL, flags, 0, 0, rep_ext_manager_for(ext), &ext->fs);
    if (failure) {
        ext->fs = NULL;
        return refuse_code(ext, error, "superblock", failure);
    }
    code = check_groups(ext, error);
    ext->written_super = *ext->fs->super;
    return code;
}

int rep_ext_open(rep_io *io, rep_ext_access access, rep_ext **out, rep_ext_error *error)
{
    rep_ext *ext = calloc(1, sizeof *ext);
    int code;

    memset(error, 0, sizeof *error);
    if (!ext)
        return refuse(error, REP_EXT_UNREADABLE, -ENOMEM, "no memory");
    ext->io = io;
    ext->writable = access == REP_EXT_READ_WRITE;
    ext->cache = rep_ext_cache_new(io, ext->writable);
    code = ext->cache ? open_all(ext, access, error)
                      : refuse(error, REP_EXT_UNREADABLE, -ENOMEM, "no memory");
    if (code < 0) {
        rep_ext_free(ext);
        return code;
    }
    *out = ext;
    return 0;
}

/* Whether anything of the file system was changed since the last flush. */
static int is_changed(rep_ext *ext)
{
    return ext->fs->flags & EXT2_FLAG_DIRTY || ext2fs_test_bb_dirty(ext->fs)
           || ext2fs_test_ib_dirty(ext->fs) || rep_ext_cache_dirty(ext->cache) > 0;
}

int rep_ext_flush(rep_ext *ext)
{
    struct ext2_super_block *super = ext->fs->super;
    errcode_t failure = 0;
    int code;

    if (!ext->writable)
        return 0;
    code = rep_ext_check_change(ext);
    if (code < 0)
        return code;
    rep_ext_reserve_end(ext);
    if (is_changed(ext)) {
        code = rep_ext_end_change(ext, rep_ext_quota_update(ext));
        if (code < 0)
            return code;
    }
    if (ext->fs->flags & EXT2_FLAG_DIRTY || ext2fs_test_bb_dirty(ext->fs)
        || ext2fs_test_ib_dirty(ext->fs)) {
        /* A change that ended as it began leaves the time of writing alone, hence the block. */
        int same = memcmp(super, &ext->written_super, sizeof *super) == 0;
        ext->fs->now = same ? (time_t)super->s_wtime : time(NULL);
        failure = ext2fs_flush2(ext->fs, EXT2_FLAG_FLUSH_NO_SYNC);
        ext->fs->now = 0;
    }
    if (failure) {
        ext->broken = 1;
        return rep_ext_failed(ext, "flush of file system", 0, failure);
    }
    code = rep_ext_cache_flush(ext->cache);
    if (code < 0)
        return rep_ext_refuse(ext, code, rep_ext_cache_failure(ext->cache));
    ext->written_super = *super;
    return 0;
}

void rep_ext_free(rep_ext *ext)
{
    if (!ext)
        return;
    if (ext->fs) {
        rep_ext_reserve_end(ext);
        ext2fs_free(ext->fs);
    }
    rep_ext_cache_free(ext->cache);
    free(ext);
}

void rep_ext_info_get(rep_ext *ext, rep_ext_info *out)
{
    const struct ext2_super_block *super = ext->fs->super;

    memset(out, 0, sizeof *out);
    out->blocks = ext2fs_blocks_count(ext->fs->super);
    out->free_blocks = ext2fs_free_blocks_count(ext->fs->super);
    out->bytes_written = rep_ext_cache_written(ext->cache);
    out->bytes_dirty = rep_ext_cache_dirty(ext->cache);
    out->block_bytes = ext->fs->blocksize;
    out->inodes = super->s_inodes_count;
    out->free_inodes = super->s_free_inodes_count;
    out->inode_bytes = (uint32_t)EXT2_INODE_SIZE(super);
    out->has_extents = ext2fs_has_feature_extents(ext->fs->super) ? 1U : 0U;
    out->cluster_blocks = (uint32_t)EXT2FS_CLUSTER_RATIO(ext->fs);
    out->has_quota = ext2fs_has_feature_quota(ext->fs->super) ? 1U : 0U;
    out->has_value_inodes = ext2fs_has_feature_ea_inode(ext->fs->super) ? 1U : 0U;
    memcpy(out->uuid, super->s_uuid, sizeof out->uuid);
}
