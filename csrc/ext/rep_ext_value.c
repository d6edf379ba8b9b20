/* Values of attributes that lie in inodes of their own (ea_inode). libext2fs makes and frees those
 * inodes, but their blocks count in the inode that has the attribute too, which it leaves out. */
#include "rep_ext_internal.h"

typedef struct values {
    uint64_t clusters;
    int shares; /* a block of attributes that names such inodes belongs to other files too */
} values;

/* Adds up the entries between `at` and `end`; damaged ones are libext2fs's to report. */
static void count_entries(rep_ext *ext, const unsigned char *at, const unsigned char *end,
                          values *out, int is_shared)
{
    uint64_t block_bytes = ext->fs->blocksize;
    uint64_t ratio = (uint64_t)EXT2FS_CLUSTER_RATIO(ext->fs);
    struct ext2_ext_attr_entry entry;

    while ((size_t)(end - at) >= sizeof entry) {
        memcpy(&entry, at, sizeof entry);
        if (entry.e_name_len == 0 && entry.e_name_index == 0)
            return;
        if (entry.e_value_inum) {
            uint64_t blocks = (entry.e_value_size + block_bytes - 1) / block_bytes;
            out->clusters += (blocks + ratio - 1) / ratio;
            out->shares |= is_shared;
        }
        if (EXT2_EXT_ATTR_LEN(entry.e_name_len) > (size_t)(end - at))
            return;
        at += EXT2_EXT_ATTR_LEN(entry.e_name_len);
    }
}

static int count_block(rep_ext *ext, uint32_t inode, blk64_t block, values *out)
{
    struct ext2_ext_attr_header header;
    unsigned char *bytes = malloc(ext->fs->blocksize);
    errcode_t failure = bytes ? ext2fs_read_ext_attr3(ext->fs, block, bytes, inode) : ENOMEM;

    if (!failure) {
        memcpy(&header, bytes, sizeof header);
        count_entries(ext, bytes + sizeof header, bytes + ext->fs->blocksize, out,
                      header.h_refcount > 1);
    }
    free(bytes);
    return failure ? rep_ext_failed(ext, "attributes of inode", inode, failure) : 0;
}

static int count_all(rep_ext *ext, uint32_t inode, values *out)
{
    inode_buffer buffer;
    const unsigned char *bytes = (const unsigned char *)&buffer;
    size_t size = EXT2_INODE_SIZE(ext->fs->super);
    size_t at;
    uint32_t magic = 0;
    blk64_t block;
    int code = rep_ext_inode_read(ext, inode, &buffer);

    memset(out, 0, sizeof *out);
    if (code < 0)
        return code;
    if (size > sizeof buffer)
        size = sizeof buffer;
    at = EXT2_GOOD_OLD_INODE_SIZE + (size_t)buffer.large.i_extra_isize;
    if (size > EXT2_GOOD_OLD_INODE_SIZE && at + sizeof magic <= size)
        memcpy(&magic, bytes + at, sizeof magic);
    if (magic == EXT2_EXT_ATTR_MAGIC)
        count_entries(ext, bytes + at + sizeof magic, bytes + size, out, 0);
    block = ext2fs_file_acl_block(ext->fs, rep_ext_small(&buffer));
    if (block == 0)
        return 0;
    if (!rep_ext_is_inside(ext, block, 1))
        return rep_ext_failed(ext, "attributes of inode", inode, EXT2_ET_BAD_EA_BLOCK_NUM);
    return count_block(ext, inode, block, out);
}

int rep_ext_values_begin(rep_ext *ext, uint32_t inode, uint64_t *clusters)
{
    values found = {0};
    int code = 0;

    *clusters = 0;
    if (ext2fs_has_feature_ea_inode(ext->fs->super))
        code = count_all(ext, inode, &found);
    *clusters = found.clusters;
    if (code == 0 && found.shares)
        code = rep_ext_refuse(ext, -ENOTSUP,
                              "files share attributes whose values are in inodes (ea_inode)");
    return code;
}

int rep_ext_values_end(rep_ext *ext, uint32_t inode, uint64_t before)
{
    struct ext2_inode small = {0};
    values found = {0};
    errcode_t failure;
    int code;

    if (!ext2fs_has_feature_ea_inode(ext->fs->super))
        return 0;
    code = count_all(ext, inode, &found);
    if (code < 0 || found.clusters == before)
        return code;
    failure = ext2fs_read_inode(ext->fs, inode, &small);
    if (!failure && found.clusters > before)
        failure = ext2fs_iblk_add_blocks(ext->fs, &small, found.clusters - before);
    else if (!failure)
        failure = ext2fs_iblk_sub_blocks(ext->fs, &small, before - found.clusters);
    if (!failure)
        failure = ext2fs_write_inode(ext->fs, inode, &small);
    return failure ? rep_ext_failed(ext, "attributes of inode", inode, failure) : 0;
}
