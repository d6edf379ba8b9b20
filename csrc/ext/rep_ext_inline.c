/* Files inside their inodes: 60 bytes in the place of the block map, the rest as the attribute
 * system.data. libext2fs's own ways of writing such files aren't used: one overruns its buffer, and
 * growing out of the inode takes a detour through another. */
#include "rep_ext_internal.h"

#define CONTENT_NAME "system.data"
#define MAP_BYTES (sizeof(((struct ext2_inode *)0)->i_block))

int rep_ext_inline_load(rep_ext *ext, uint32_t inode, unsigned char **out, size_t *size)
{
    struct ext2_inode small = {0};
    size_t room = 0;
    char *whole = NULL;
    errcode_t failure = ext2fs_read_inode(ext->fs, inode, &small);

    *out = NULL;
    *size = (size_t)EXT2_I_SIZE(&small);
    if (!failure)
        failure = ext2fs_inline_data_size(ext->fs, inode, &room);
    if (!failure && *size > room)
        failure = EXT2_ET_INODE_CORRUPTED;
    if (!failure) {
        whole = calloc(1, room);
        failure = whole ? ext2fs_inline_data_get(ext->fs, inode, &small, whole, &room) : ENOMEM;
    }
    if (failure || !whole) {
        int code = rep_ext_failed(ext, "content of inode", inode, failure);
        free(whole);
        return code < 0 ? code : -ENOMEM;
    }
    *out = (unsigned char *)whole;
    return 0;
}

int rep_ext_inline_read(rep_ext *ext, uint32_t inode, void *buffer, uint64_t length,
                        uint64_t offset)
{
    unsigned char *whole = NULL;
    size_t size = 0;
    int code = rep_ext_inline_load(ext, inode, &whole, &size);

    if (code == 0 && (offset > size || length > size - offset))
        code = rep_ext_failed(ext, "content of inode", inode, EXT2_ET_INODE_CORRUPTED);
    if (code == 0 && whole)
        memcpy(buffer, whole + offset, (size_t)length);
    free(whole);
    return code;
}

static errcode_t set_rest(rep_ext *ext, uint32_t inode, const unsigned char *rest, size_t length)
{
    struct ext2_xattr_handle *handle = NULL;
    unsigned flags = XATTR_HANDLE_FLAG_RAW;
    errcode_t failure = ext2fs_xattrs_open(ext->fs, inode, &handle);

    if (!failure)
        failure = ext2fs_xattrs_flags(handle, &flags, NULL);
    if (!failure)
        failure = ext2fs_xattrs_read(handle);
    if (!failure && rest)
        failure = ext2fs_xattr_set(handle, CONTENT_NAME, rest, length);
    else if (!failure)
        failure = ext2fs_xattr_remove(handle, CONTENT_NAME);
    if (handle)
        ext2fs_xattrs_close(&handle);
    return failure;
}

int rep_ext_inline_store(rep_ext *ext, uint32_t inode, const unsigned char *bytes, size_t size)
{
    struct ext2_inode small = {0};
    size_t head = size < MAP_BYTES ? size : MAP_BYTES;
    errcode_t failure;

    if (size > MAP_BYTES + EXT2_INODE_SIZE(ext->fs->super))
        return -ENOSPC;
    /* First what may not fit: then nothing has changed. */
    failure = set_rest(ext, inode, bytes + head, size - head);
    if (failure == EXT2_ET_EA_NO_SPACE || failure == EXT2_ET_INLINE_DATA_NO_SPACE)
        return -ENOSPC;
    if (!failure)
        failure = ext2fs_read_inode(ext->fs, inode, &small);
    if (!failure) {
        memset(small.i_block, 0, sizeof small.i_block);
        memcpy(small.i_block, bytes, head);
        failure = ext2fs_inode_size_set(ext->fs, &small, (ext2_off64_t)size);
    }
    if (!failure)
        failure = ext2fs_write_inode(ext->fs, inode, &small);
    return failure ? rep_ext_failed(ext, "content of inode", inode, failure) : 0;
}

int rep_ext_inline_leave(rep_ext *ext, uint32_t inode)
{
    struct ext2_inode small = {0};
    errcode_t failure = set_rest(ext, inode, NULL, 0);

    if (!failure)
        failure = ext2fs_read_inode(ext->fs, inode, &small);
    if (!failure) {
        small.i_flags &= ~(uint32_t)EXT4_INLINE_DATA_FL;
        memset(small.i_block, 0, sizeof small.i_block);
        if (ext2fs_has_feature_extents(ext->fs->super))
            rep_ext_map_begin(&small);
        failure = ext2fs_inode_size_set(ext->fs, &small, 0);
    }
    if (!failure)
        failure = ext2fs_write_inode(ext->fs, inode, &small);
    return failure ? rep_ext_failed(ext, "content of inode", inode, failure) : 0;
}

int rep_ext_inline_enter(rep_ext *ext, uint32_t inode)
{
    struct ext2_inode small = {0};
    errcode_t failure = 0;
    int code = rep_ext_map_release_from(ext, inode, 0);

    if (code < 0)
        return code;
    failure = ext2fs_read_inode(ext->fs, inode, &small);
    if (!failure) {
        small.i_flags &= ~(uint32_t)EXT4_EXTENTS_FL;
        small.i_flags |= EXT4_INLINE_DATA_FL;
        memset(small.i_block, 0, sizeof small.i_block);
        failure = ext2fs_inode_size_set(ext->fs, &small, 0);
    }
    if (!failure)
        failure = ext2fs_write_inode(ext->fs, inode, &small);
    if (!failure)
        failure = set_rest(ext, inode, (const unsigned char *)"", 0);
    if (failure == EXT2_ET_EA_NO_SPACE || failure == EXT2_ET_INLINE_DATA_NO_SPACE)
        return rep_ext_inline_leave(ext, inode); /* not even the empty attribute fits */
    return failure ? rep_ext_failed(ext, "content of inode", inode, failure) : 0;
}

int rep_ext_inline_replace(rep_ext *ext, uint32_t inode, const unsigned char *bytes, size_t size)
{
    uint64_t changed = 0;
    int code = rep_ext_inline_store(ext, inode, bytes, size);

    if (code != -ENOSPC)
        return code;
    code = rep_ext_inline_leave(ext, inode);
    return code == 0 ? rep_ext_write(ext, inode, bytes, size, 0, &changed) : code;
}

int rep_ext_inline_resize(rep_ext *ext, uint32_t inode, uint64_t size)
{
    unsigned char *whole = NULL;
    unsigned char *resized = NULL;
    size_t held = 0;
    int code = rep_ext_inline_load(ext, inode, &whole, &held);

    if (code == 0 && size > ext->fs->blocksize) {
        /* Only what is there moves to blocks; the rest is a hole. */
        code = rep_ext_inline_leave(ext, inode);
        if (code == 0 && held > 0)
            code = rep_ext_write(ext, inode, whole, held, 0, &(uint64_t){0});
        if (code == 0)
            code = rep_ext_size_set(ext, inode, size);
    } else if (code == 0) {
        resized = calloc(1, (size_t)size + 1);
        if (!resized)
            code = -ENOMEM;
        else if (whole)
            memcpy(resized, whole, held < size ? held : (size_t)size);
        if (code == 0)
            code = rep_ext_inline_replace(ext, inode, resized, (size_t)size);
    }
    free(resized);
    free(whole);
    return code;
}

/* What the content would be after a write; NULL: no memory. */
static unsigned char *combine(const unsigned char *whole, size_t held, const unsigned char *buffer,
                              size_t length, size_t offset, size_t *size)
{
    unsigned char *wanted;

    *size = offset + length > held ? offset + length : held;
    wanted = calloc(1, *size + 1);
    if (wanted && whole) {
        memcpy(wanted, whole, held);
        memcpy(wanted + offset, buffer, length);
    }
    return wanted;
}

int rep_ext_inline_write(rep_ext *ext, uint32_t inode, const unsigned char *buffer, uint64_t length,
                         uint64_t offset, uint64_t *changed)
{
    unsigned char *whole = NULL;
    unsigned char *wanted = NULL;
    size_t held = 0;
    size_t size = 0;
    int code = rep_ext_inline_load(ext, inode, &whole, &held);

    if (code == 0 && (offset > ext->fs->blocksize || length > ext->fs->blocksize)) {
        /* It can't stay; its content goes first, then the rest comes as to any file. */
        code = rep_ext_inline_leave(ext, inode);
        if (code == 0 && held > 0)
            code = rep_ext_write(ext, inode, whole, held, 0, changed);
        if (code == 0)
            code = rep_ext_write(ext, inode, buffer, length, offset, changed);
        free(whole);
        return code;
    }
    if (code == 0) {
        wanted = combine(whole, held, buffer, (size_t)length, (size_t)offset, &size);
        code = wanted ? 0 : -ENOMEM;
    }
    if (code == 0 && (size != held || memcmp(wanted, whole, size) != 0)) {
        *changed = ext->fs->blocksize;
        code = rep_ext_inline_replace(ext, inode, wanted, size);
    }
    free(wanted);
    free(whole);
    return code;
}
