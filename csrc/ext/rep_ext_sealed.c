/* What is kept from us: encrypted names and content, content sealed by verity, and directories whose
 * names are alike in any case, which take rules of Unicode to add to. */
#include <stdio.h>

#include "rep_ext_internal.h"

static int refuse(rep_ext *ext, uint32_t inode, const char *what)
{
    char text[128];

    snprintf(text, sizeof text, "inode %u: %s", inode, what);
    return rep_ext_refuse(ext, -ENOTSUP, text);
}

int rep_ext_check_readable(rep_ext *ext, uint32_t inode, const struct ext2_inode *small)
{
    if (small->i_flags & EXT4_ENCRYPT_FL)
        return refuse(ext, inode, "it is encrypted (encrypt): its host has the key");
    return 0;
}

int rep_ext_check_content(rep_ext *ext, uint32_t inode, const struct ext2_inode *small)
{
    if (small->i_flags & EXT4_VERITY_FL)
        return refuse(ext, inode, "its content is sealed (verity) and can't be changed");
    return rep_ext_check_readable(ext, inode, small);
}

int rep_ext_check_names(rep_ext *ext, uint32_t directory, const struct ext2_inode *small)
{
    if (small->i_flags & EXT4_ENCRYPT_FL)
        return refuse(ext, directory, "the directory's names are encrypted (encrypt)");
    if (small->i_flags & EXT4_CASEFOLD_FL)
        return refuse(ext, directory, "the directory's names are alike in any case (casefold)");
    return 0;
}

size_t rep_ext_name_code(const char *name, size_t length, char *out)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint32_t bits = 0;
    unsigned held = 0;
    size_t used = 0;

    for (size_t i = 0; i < length; i++) {
        bits = (bits << 8U) | (unsigned char)name[i];
        for (held += 8; held >= 6; held -= 6)
            out[used++] = letters[(bits >> (held - 6)) & 63U];
    }
    if (held > 0)
        out[used++] = letters[(bits << (6 - held)) & 63U];
    return used;
}

typedef struct search {
    const char *coded;
    size_t length;
    uint32_t found;
} search;

/* NOLINTBEGIN(readability-non-const-parameter): libext2fs's type */
static int visit_name(ext2_ino_t directory, int kind, struct ext2_dir_entry *entry, int offset,
                      int block_bytes, char *block, void *context)
/* NOLINTEND(readability-non-const-parameter) */
{
    search *at = context;
    char coded[REP_EXT_CODED_MAX];
    size_t length;

    (void)directory;
    (void)offset;
    (void)block_bytes;
    (void)block;
    if (kind == DIRENT_DOT_FILE || kind == DIRENT_DOT_DOT_FILE || entry->inode == 0)
        return 0;
    length = rep_ext_name_code(entry->name, (size_t)ext2fs_dirent_name_len(entry), coded);
    if (length != at->length || memcmp(coded, at->coded, length) != 0)
        return 0;
    at->found = entry->inode;
    return DIRENT_ABORT;
}

int rep_ext_coded_lookup(rep_ext *ext, uint32_t directory, const char *coded, size_t length,
                         uint32_t *inode)
{
    search at = {.coded = coded, .length = length};
    errcode_t failure = ext2fs_dir_iterate2(ext->fs, directory, 0, NULL, visit_name, &at);

    if (!failure && at.found == 0)
        failure = EXT2_ET_FILE_NOT_FOUND;
    *inode = at.found;
    return failure ? rep_ext_failed(ext, "directory", directory, failure) : 0;
}
