/* Listing a directory, or the tree below it, in one call. */
#include "rep_ext_internal.h"

typedef struct walk {
    rep_ext *ext;
    rep_ext_listing *out;
    uint32_t parent;
    int is_encrypted;
    int is_inline;
    int code;
} walk;

static int grow(void **items, size_t item_size, size_t *capacity, size_t wanted)
{
    size_t next = *capacity ? *capacity * 2 : 256;
    void *grown;

    if (wanted <= *capacity)
        return 0;
    while (next < wanted)
        next *= 2;
    grown = realloc(*items, next * item_size);
    if (!grown)
        return -ENOMEM;
    *items = grown;
    *capacity = next;
    return 0;
}

static int add_entry(walk *at, uint32_t inode, const char *name, size_t length)
{
    rep_ext_listing *out = at->out;
    rep_ext_entry *entry;
    void *entries = out->entries;
    void *names = out->names;
    int code = grow(&entries, sizeof *out->entries, &out->capacity, out->count + 1);

    out->entries = entries;
    if (code == 0)
        code = grow(&names, 1, &out->names_capacity, out->names_length + length);
    out->names = names;
    if (code < 0)
        return code;
    entry = &out->entries[out->count++];
    memset(entry, 0, sizeof *entry);
    entry->stat.inode = inode;
    entry->parent = at->parent;
    entry->name_offset = out->names_length;
    entry->name_length = (uint32_t)length;
    memcpy(out->names + out->names_length, name, length);
    out->names_length += length;
    return 0;
}

/* NOLINTBEGIN(readability-non-const-parameter): libext2fs's type */
static int visit_name(ext2_ino_t directory, int kind, struct ext2_dir_entry *entry, int offset,
                      int block_bytes, char *block, void *context)
/* NOLINTEND(readability-non-const-parameter) */
{
    walk *at = context;
    size_t length = (size_t)ext2fs_dirent_name_len(entry);
    const struct ext2_super_block *super = at->ext->fs->super;

    (void)directory;
    (void)offset;
    (void)block_bytes;
    (void)block;
    if (kind == DIRENT_DOT_FILE || kind == DIRENT_DOT_DOT_FILE || entry->inode == 0)
        return 0;
    /* Of a directory inside its inode libext2fs says that .. is any name. */
    if (at->is_inline && length == 2 && memcmp(entry->name, "..", 2) == 0)
        return 0;
    if (at->is_encrypted && length > 0 && entry->inode <= super->s_inodes_count) {
        char coded[REP_EXT_CODED_MAX];
        at->code =
            add_entry(at, entry->inode, coded, rep_ext_name_code(entry->name, length, coded));
        return at->code < 0 ? DIRENT_ABORT : 0;
    }
    if (length == 0 || memchr(entry->name, '/', length) || memchr(entry->name, '\0', length)
        || entry->inode > super->s_inodes_count
        || (length <= 2 && memcmp(entry->name, "..", length) == 0))
        at->code = -EUCLEAN;
    else
        at->code = add_entry(at, entry->inode, entry->name, length);
    return at->code < 0 ? DIRENT_ABORT : 0;
}

static int list_directory(rep_ext *ext, uint32_t directory, uint32_t parent, rep_ext_listing *out)
{
    walk at = {.ext = ext, .out = out, .parent = parent};
    struct ext2_inode small = {0};
    errcode_t failure = ext2fs_read_inode(ext->fs, directory, &small);

    at.is_inline = (small.i_flags & EXT4_INLINE_DATA_FL) != 0;
    at.is_encrypted = (small.i_flags & EXT4_ENCRYPT_FL) != 0;
    if (!failure)
        failure = ext2fs_dir_iterate2(ext->fs, directory, 0, NULL, visit_name, &at);

    if (failure || at.code == -EUCLEAN)
        return rep_ext_failed(ext, "directory", directory,
                              failure ? failure : EXT2_ET_DIR_CORRUPTED);
    return at.code < 0 ? rep_ext_refuse(ext, at.code, "no memory") : 0;
}

static int fill_stats(rep_ext *ext, rep_ext_listing *out, size_t from)
{
    inode_buffer buffer;
    int code = 0;

    for (size_t i = from; code == 0 && i < out->count; i++) {
        uint32_t inode = out->entries[i].stat.inode;
        code = rep_ext_inode_read(ext, inode, &buffer);
        if (code == 0 && (buffer.large.i_mode == 0 || buffer.large.i_links_count == 0))
            code =
                rep_ext_failed(ext, "a name leads to the free inode", inode, EXT2_ET_DIR_CORRUPTED);
        if (code == 0)
            rep_ext_stat_from(ext, inode, &buffer, &out->entries[i].stat);
    }
    return code;
}

/* A directory that is reached twice would be walked for ever. */
static int mark_seen(rep_ext *ext, unsigned char *seen, uint32_t inode)
{
    unsigned char bit = (unsigned char)(1U << (inode % 8));

    if (seen[inode / 8] & bit)
        return rep_ext_failed(ext, "two names lead to directory", inode, EXT2_ET_DIR_CORRUPTED);
    seen[inode / 8] |= bit;
    return 0;
}

int rep_ext_walk(rep_ext *ext, uint32_t directory, int deep, rep_ext_listing *out)
{
    struct ext2_inode small = {0};
    unsigned char *seen = calloc(1, (size_t)ext->fs->super->s_inodes_count / 8 + 1);
    int code;

    memset(out, 0, sizeof *out);
    if (!seen)
        return rep_ext_refuse(ext, -ENOMEM, "no memory");
    code = rep_ext_inode_get(ext, directory, LINUX_S_IFDIR, &small);
    if (code == 0)
        code = mark_seen(ext, seen, directory);
    if (code == 0)
        code = list_directory(ext, directory, UINT32_MAX, out);
    if (code == 0)
        code = fill_stats(ext, out, 0);
    /* The list is its own queue. */
    for (size_t i = 0; code == 0 && deep && i < out->count; i++) {
        size_t before = out->count;
        if (!LINUX_S_ISDIR(out->entries[i].stat.mode))
            continue;
        if (i >= UINT32_MAX)
            code = rep_ext_refuse(ext, -EFBIG, "more names than can be listed");
        if (code == 0)
            code = mark_seen(ext, seen, out->entries[i].stat.inode);
        if (code == 0)
            code = list_directory(ext, out->entries[i].stat.inode, (uint32_t)i, out);
        if (code == 0)
            code = fill_stats(ext, out, before);
    }
    free(seen);
    return code;
}

void rep_ext_listing_free(rep_ext_listing *listing)
{
    free(listing->entries);
    free(listing->names);
    memset(listing, 0, sizeof *listing);
}
