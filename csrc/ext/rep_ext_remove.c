/* Names and files that go. */
#include "rep_ext_internal.h"

/* Takes the name away and counts down; the inode goes with its last name. */
static int remove_name(rep_ext *ext, uint32_t directory, const char *name, uint32_t inode)
{
    struct ext2_inode small = {0};
    int code = rep_ext_name_remove(ext, directory, name, inode);

    if (code == 0)
        code = rep_ext_inode_get(ext, inode, 0, &small);
    if (code < 0)
        return code;
    return small.i_links_count > 1 ? rep_ext_links_count(ext, inode, -1)
                                   : rep_ext_inode_release(ext, inode);
}

/* The inode that a name has, which must be a directory or must not. */
static int find_to_remove(rep_ext *ext, uint32_t directory, const char *name, int is_directory,
                          uint32_t *inode)
{
    struct ext2_inode small = {0};
    int code = rep_ext_check_change(ext);

    if (code == 0)
        code = rep_ext_name_check(ext, name);
    if (code == 0)
        code = rep_ext_lookup(ext, directory, name, strlen(name), inode);
    if (code == 0)
        code = rep_ext_inode_get(ext, *inode, is_directory ? LINUX_S_IFDIR : 0, &small);
    if (code == 0 && !is_directory && LINUX_S_ISDIR(small.i_mode))
        code = rep_ext_failed(ext, "inode", *inode, EISDIR);
    if (code == 0 && *inode < EXT2_FIRST_INODE(ext->fs->super))
        code = rep_ext_refuse(ext, -EINVAL, "one of the file system's own files");
    return code;
}

int rep_ext_unlink(rep_ext *ext, uint32_t directory, const char *name)
{
    uint32_t inode = 0;
    int code = find_to_remove(ext, directory, name, 0, &inode);

    if (code < 0)
        return code;
    return rep_ext_end_change(ext, remove_name(ext, directory, name, inode));
}

/* Releases what lies below a directory. Its names aren't taken out one by one: the blocks that
 * hold them go too. */
static int release_below(rep_ext *ext, const rep_ext_listing *listing)
{
    struct ext2_inode small = {0};
    int code = 0;

    for (size_t i = 0; code == 0 && i < listing->count; i++) {
        uint32_t inode = listing->entries[i].stat.inode;
        code = rep_ext_inode_get(ext, inode, 0, &small);
        if (code < 0)
            break;
        if (!LINUX_S_ISDIR(small.i_mode) && small.i_links_count > 1)
            code = rep_ext_links_count(ext, inode, -1);
        else
            code = rep_ext_inode_release(ext, inode);
    }
    return code;
}

int rep_ext_rmdir(rep_ext *ext, uint32_t directory, const char *name, int deep)
{
    rep_ext_listing listing = {0};
    uint32_t inode = 0;
    int code = find_to_remove(ext, directory, name, 1, &inode);

    if (code == 0)
        code = rep_ext_walk(ext, inode, deep, &listing);
    if (code == 0 && !deep && listing.count > 0)
        code = rep_ext_failed(ext, "directory", inode, ENOTEMPTY);
    if (code < 0) {
        rep_ext_listing_free(&listing);
        return code;
    }
    code = release_below(ext, &listing);
    if (code == 0)
        code = rep_ext_name_remove(ext, directory, name, inode);
    if (code == 0)
        code = rep_ext_inode_release(ext, inode);
    if (code == 0)
        code = rep_ext_links_count(ext, directory, -1);
    rep_ext_listing_free(&listing);
    return rep_ext_end_change(ext, code);
}
