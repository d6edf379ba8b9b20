/* Extended attributes, packed for one call. */
#include "rep_ext_internal.h"

/* One attribute of the packed form, pointing into it. */
typedef struct attribute {
    const char *name;
    const char *value;
    uint32_t name_length;
    uint32_t value_length;
} attribute;

typedef struct packing {
    char *bytes;
    size_t length;
    size_t capacity;
    int failed;
} packing;

static int pack_one(char *name, char *value, size_t value_length, void *context)
{
    packing *out = context;
    uint32_t lengths[2] = {(uint32_t)strlen(name), (uint32_t)value_length};
    size_t added = sizeof lengths + lengths[0] + lengths[1];

    /* Where libext2fs keeps a small file or directory; no attribute to anyone else. */
    if (strcmp(name, "system.data") == 0)
        return 0;
    if (out->length + added > out->capacity) {
        size_t capacity = (out->length + added) * 2;
        char *bytes = realloc(out->bytes, capacity);
        out->failed = !bytes;
        if (!bytes)
            return XATTR_ABORT;
        out->bytes = bytes;
        out->capacity = capacity;
    }
    memcpy(out->bytes + out->length, lengths, sizeof lengths);
    memcpy(out->bytes + out->length + sizeof lengths, name, lengths[0]);
    if (lengths[1])
        memcpy(out->bytes + out->length + sizeof lengths + lengths[0], value, lengths[1]);
    out->length += added;
    return 0;
}

static errcode_t open_attributes(rep_ext *ext, uint32_t inode, struct ext2_xattr_handle **out)
{
    unsigned flags = XATTR_HANDLE_FLAG_RAW; /* ACLs as they are on disk */
    errcode_t failure = ext2fs_xattrs_open(ext->fs, inode, out);

    if (failure)
        return failure;
    failure = ext2fs_xattrs_flags(*out, &flags, NULL);
    return failure ? failure : ext2fs_xattrs_read(*out);
}

int rep_ext_xattrs_get(rep_ext *ext, uint32_t inode, char **packed, size_t *length)
{
    struct ext2_xattr_handle *handle = NULL;
    struct ext2_inode small = {0};
    packing out = {0};
    errcode_t failure;
    int code = rep_ext_inode_get(ext, inode, 0, &small);

    *packed = NULL;
    *length = 0;
    if (code < 0 || !ext2fs_has_feature_xattr(ext->fs->super))
        return code;
    failure = open_attributes(ext, inode, &handle);
    if (!failure)
        failure = ext2fs_xattrs_iterate(handle, pack_one, &out);
    if (handle)
        ext2fs_xattrs_close(&handle);
    if (!failure && out.failed)
        failure = ENOMEM;
    if (failure) {
        free(out.bytes);
        return rep_ext_failed(ext, "attributes of inode", inode, failure);
    }
    *packed = out.bytes;
    *length = out.length;
    return 0;
}

void rep_ext_buffer_free(char *buffer)
{
    free(buffer);
}

/* Takes the next attribute off; 0 at the end, -EINVAL when the form is wrong. */
static int unpack_one(const char **at, const char *end, attribute *out)
{
    uint32_t lengths[2];

    if (*at == end)
        return 0;
    if ((size_t)(end - *at) < sizeof lengths)
        return -EINVAL;
    memcpy(lengths, *at, sizeof lengths);
    *at += sizeof lengths;
    if (lengths[0] == 0 || lengths[0] > 300 || lengths[1] > 65536
        || (size_t)(end - *at) < (size_t)lengths[0] + lengths[1])
        return -EINVAL;
    out->name = *at;
    out->name_length = lengths[0];
    out->value = *at + lengths[0];
    out->value_length = lengths[1];
    *at += (size_t)lengths[0] + lengths[1];
    return 1;
}

static int find_one(const char *packed, size_t length, const attribute *wanted, attribute *out)
{
    const char *at = packed;

    while (length > 0 && unpack_one(&at, packed + length, out) > 0)
        if (out->name_length == wanted->name_length
            && memcmp(out->name, wanted->name, wanted->name_length) == 0)
            return 1;
    return 0;
}

static int same_value(const attribute *left, const attribute *right)
{
    return left->value_length == right->value_length
           && memcmp(left->value, right->value, left->value_length) == 0;
}

/* Removes the attributes of `held` that `wanted` lacks or has otherwise. Changed ones go first too:
 * their old value may be what takes the room. */
static errcode_t remove_others(struct ext2_xattr_handle *handle, const char *held,
                               size_t held_length, const char *wanted, size_t wanted_length,
                               int *changed)
{
    const char *at = held;
    attribute old;
    attribute found;
    char name[301];
    errcode_t failure = 0;

    while (!failure && held_length > 0 && unpack_one(&at, held + held_length, &old) > 0) {
        if (find_one(wanted, wanted_length, &old, &found) && same_value(&old, &found))
            continue;
        memcpy(name, old.name, old.name_length);
        name[old.name_length] = '\0';
        failure = ext2fs_xattr_remove(handle, name);
        *changed = 1;
    }
    return failure;
}

static errcode_t add_missing(struct ext2_xattr_handle *handle, const char *held, size_t held_length,
                             const char *wanted, size_t wanted_length, int *changed)
{
    const char *at = wanted;
    attribute new;
    attribute found;
    char name[301];
    errcode_t failure = 0;

    while (!failure && wanted_length > 0 && unpack_one(&at, wanted + wanted_length, &new) > 0) {
        if (find_one(held, held_length, &new, &found) && same_value(&new, &found))
            continue;
        memcpy(name, new.name, new.name_length);
        name[new.name_length] = '\0';
        failure = ext2fs_xattr_set(handle, name, new.value, new.value_length);
        *changed = 1;
    }
    return failure;
}

/* libext2fs leaves the block in place, empty, when what is left fits the inode. */
static int drop_empty_block(rep_ext *ext, uint32_t inode)
{
    inode_buffer buffer;
    uint32_t first = 0;
    blk64_t at;
    char *block;
    errcode_t failure;
    int code = rep_ext_inode_read(ext, inode, &buffer);

    at = ext2fs_file_acl_block(ext->fs, rep_ext_small(&buffer));
    if (code < 0 || at == 0)
        return code;
    block = malloc(ext->fs->blocksize);
    failure = block ? ext2fs_read_ext_attr3(ext->fs, at, block, inode) : ENOMEM;
    if (!failure)
        memcpy(&first, block + sizeof(struct ext2_ext_attr_header), sizeof first);
    free(block);
    if (!failure && first != 0)
        return 0;
    if (!failure)
        failure = ext2fs_free_ext_attr(ext->fs, inode, &buffer.large);
    if (failure)
        return rep_ext_failed(ext, "attributes of inode", inode, failure);
    return rep_ext_inode_write(ext, inode, &buffer);
}

static int check_packed(rep_ext *ext, const char *packed, size_t length)
{
    const char *at = packed;
    attribute one;
    int code;

    do {
        code = unpack_one(&at, packed + length, &one);
        if (code > 0 && memchr(one.name, '\0', one.name_length))
            code = -EINVAL;
    } while (code > 0);
    return code < 0 ? rep_ext_refuse(ext, code, "attributes aren't packed as they should be") : 0;
}

int rep_ext_xattrs_set(rep_ext *ext, uint32_t inode, const char *packed, size_t length)
{
    struct ext2_xattr_handle *handle = NULL;
    char *held = NULL;
    size_t held_length = 0;
    uint64_t clusters = 0;
    int changed = 0;
    errcode_t failure;
    int code = rep_ext_check_change(ext);

    if (code == 0)
        code = check_packed(ext, packed, length);
    if (code == 0)
        code = rep_ext_xattrs_get(ext, inode, &held, &held_length);
    if (code < 0 || (length == 0 && held_length == 0)) {
        free(held);
        return code;
    }
    code = rep_ext_values_begin(ext, inode, &clusters);
    if (code < 0) {
        free(held);
        return code;
    }
    failure = open_attributes(ext, inode, &handle);
    if (!failure)
        failure = remove_others(handle, held, held_length, packed, length, &changed);
    if (!failure)
        failure = add_missing(handle, held, held_length, packed, length, &changed);
    if (handle)
        ext2fs_xattrs_close(&handle);
    free(held);
    if (failure)
        code = rep_ext_failed(ext, "attributes of inode", inode, failure);
    else if (changed)
        code = drop_empty_block(ext, inode);
    /* After a lack of room too: what was to go is gone. */
    if ((code == 0 || code == -ENOSPC) && changed) {
        int counted = rep_ext_values_end(ext, inode, clusters);
        code = counted < 0 ? counted : code;
    }
    return rep_ext_end_change(ext, code);
}
