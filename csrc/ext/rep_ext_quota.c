/* The hidden quota files (feature quota): usage by user, group and project, counted anew from the
 * inodes at a flush and written where it differs; limits and grace times stay.
 *
 * The file is a tree of blocks of 1 KiB: a header, then four levels of references, one byte of the
 * id each, to leaves of 14 entries. Leaves with room, and blocks in no use, are chained.
 */
#include "rep_ext_quota.h"

#define BLOCK 1024U
#define ROOT_BLOCK 1U
#define LEVELS 4U
#define LEAF_HEADER 16U
#define ENTRY_BYTES 72U
#define LEAF_ENTRIES ((BLOCK - LEAF_HEADER) / ENTRY_BYTES)
#define VERSION 1U
#define FILE_BYTES_MAX (256ULL << 20)

/* Offsets in the first block. */
#define AT_MAGIC 0U
#define AT_VERSION 4U
#define AT_BLOCKS 20U
#define AT_FREE_BLOCK 24U
#define AT_FREE_LEAF 28U
/* In a leaf: the chain of leaves with room, or of blocks in no use. */
#define AT_NEXT 0U
#define AT_PREVIOUS 4U
#define AT_COUNT 8U
/* In an entry. */
#define AT_ID 0U
#define AT_INODES 24U
#define AT_SPACE 48U
#define AT_INODE_TIME 64U

static const uint32_t magics[MAXQUOTAS_HERE] = {0xd9c01f11U, 0xd9c01927U, 0xd9c03f14U};

uint32_t rep_ext_quota_inode(const rep_ext *ext, unsigned type)
{
    const struct ext2_super_block *super = ext->fs->super;

    if (!ext2fs_has_feature_quota(ext->fs->super))
        return 0;
    return type == 0   ? super->s_usr_quota_inum
           : type == 1 ? super->s_grp_quota_inum
                       : super->s_prj_quota_inum;
}

static uint32_t get32(const unsigned char *at)
{
    uint32_t value;

    memcpy(&value, at, sizeof value);
    return ext2fs_le32_to_cpu(value);
}

static uint64_t get64(const unsigned char *at)
{
    return get32(at) | (uint64_t)get32(at + 4) << 32;
}

static void put32(unsigned char *at, uint32_t value)
{
    value = ext2fs_cpu_to_le32(value);
    memcpy(at, &value, sizeof value);
}

static void put64(unsigned char *at, uint64_t value)
{
    put32(at, (uint32_t)value);
    put32(at + 4, (uint32_t)(value >> 32));
}

static unsigned get_count(const unsigned char *leaf)
{
    return leaf[AT_COUNT] | (unsigned)leaf[AT_COUNT + 1] << 8;
}

static int damaged(quota_file *file)
{
    return rep_ext_failed(file->ext, "quota file, inode", file->inode, EXT2_ET_INODE_CORRUPTED);
}

/* A block that a reference leads to; NULL: outside the file. */
static unsigned char *block_of(quota_file *file, uint32_t number)
{
    return number > ROOT_BLOCK && number < file->blocks ? file->bytes + (size_t)number * BLOCK
                                                        : NULL;
}

int rep_ext_quota_load(rep_ext *ext, unsigned type, quota_file *file)
{
    struct ext2_inode small = {0};
    uint64_t got = 0;
    uint64_t size;
    int code;

    memset(file, 0, sizeof *file);
    file->ext = ext;
    file->inode = rep_ext_quota_inode(ext, type);
    code = rep_ext_inode_get(ext, file->inode, LINUX_S_IFREG, &small);
    size = EXT2_I_SIZE(&small);
    if (code < 0)
        return code;
    if (size < (uint64_t)(ROOT_BLOCK + 1) * BLOCK || size > FILE_BYTES_MAX)
        return damaged(file);
    file->capacity = (size_t)(size / BLOCK);
    file->bytes = malloc(file->capacity * BLOCK);
    if (!file->bytes)
        return rep_ext_refuse(ext, -ENOMEM, "no memory");
    code = rep_ext_read(ext, file->inode, file->bytes, file->capacity * BLOCK, 0, &got);
    if (code == 0) {
        file->blocks = get32(file->bytes + AT_BLOCKS);
        if (get32(file->bytes + AT_MAGIC) != magics[type]
            || get32(file->bytes + AT_VERSION) != VERSION || file->blocks > file->capacity
            || file->blocks <= ROOT_BLOCK)
            code = damaged(file);
    }
    return code;
}

void rep_ext_quota_free(quota_file *file)
{
    free(file->bytes);
    memset(file, 0, sizeof *file);
}

static int is_empty(const unsigned char *entry)
{
    return entry[0] == 0 && memcmp(entry, entry + 1, ENTRY_BYTES - 1) == 0;
}

/* The entry of an id; *out is NULL when there is none. */
static int find_entry(quota_file *file, uint32_t id, unsigned char **out)
{
    unsigned char *block = file->bytes + (size_t)ROOT_BLOCK * BLOCK;

    *out = NULL;
    for (unsigned level = 0; level < LEVELS; level++) {
        uint32_t next = get32(block + (size_t)4 * ((id >> (8U * (LEVELS - 1 - level))) & 255U));
        if (next == 0)
            return 0;
        block = block_of(file, next);
        if (!block)
            return damaged(file);
    }
    for (unsigned i = 0; i < LEAF_ENTRIES && !*out; i++) {
        unsigned char *entry = block + LEAF_HEADER + (size_t)i * ENTRY_BYTES;
        if (get32(entry + AT_ID) == id && !is_empty(entry))
            *out = entry;
    }
    return *out ? 0 : damaged(file);
}

/* Sets what an entry counts; one of id 0 that would be all zeros would count as none. */
static void set_usage(unsigned char *entry, uint64_t space, uint64_t inodes)
{
    put64(entry + AT_SPACE, space);
    put64(entry + AT_INODES, inodes);
    if (is_empty(entry))
        put64(entry + AT_INODE_TIME, 1);
}

/* A block in no use, zeroed: from the chain, or at the end. Moves the file's bytes. */
static int take_block(quota_file *file, uint32_t *number)
{
    uint32_t chained = get32(file->bytes + AT_FREE_BLOCK);
    unsigned char *block = block_of(file, chained);

    if (chained && !block)
        return damaged(file);
    if (block) {
        put32(file->bytes + AT_FREE_BLOCK, get32(block + AT_NEXT));
    } else {
        if (file->blocks == file->capacity) {
            unsigned char *grown = realloc(file->bytes, (file->capacity + 64) * BLOCK);
            if (!grown)
                return rep_ext_refuse(file->ext, -ENOMEM, "no memory");
            file->bytes = grown;
            file->capacity += 64;
        }
        chained = (uint32_t)file->blocks++;
        put32(file->bytes + AT_BLOCKS, chained + 1);
        block = file->bytes + (size_t)chained * BLOCK;
    }
    memset(block, 0, BLOCK);
    *number = chained;
    return 0;
}

/* A place in a leaf with room. */
static int take_entry(quota_file *file, uint32_t *leaf, unsigned *slot)
{
    uint32_t number = get32(file->bytes + AT_FREE_LEAF);
    unsigned char *block;
    unsigned char *next;
    int code = number ? 0 : take_block(file, &number);

    block = code == 0 ? block_of(file, number) : NULL;
    if (!block)
        return code < 0 ? code : damaged(file);
    put32(file->bytes + AT_FREE_LEAF, number);
    for (*slot = 0; *slot < LEAF_ENTRIES; (*slot)++)
        if (is_empty(block + LEAF_HEADER + (size_t)*slot * ENTRY_BYTES))
            break;
    if (*slot == LEAF_ENTRIES || get_count(block) >= LEAF_ENTRIES)
        return damaged(file);
    block[AT_COUNT] = (unsigned char)(get_count(block) + 1);
    if (get_count(block) == LEAF_ENTRIES) {
        next = block_of(file, get32(block + AT_NEXT));
        put32(file->bytes + AT_FREE_LEAF, get32(block + AT_NEXT));
        put32(block + AT_NEXT, 0);
        if (next)
            put32(next + AT_PREVIOUS, 0);
    }
    *leaf = number;
    return 0;
}

/* Makes an entry for an id that has none. */
static int add_entry(quota_file *file, uint32_t id, uint64_t space, uint64_t inodes)
{
    uint32_t at = ROOT_BLOCK;
    uint32_t leaf = 0;
    unsigned slot = 0;
    unsigned char *entry;
    int code = take_entry(file, &leaf, &slot);

    for (unsigned level = 0; code == 0 && level < LEVELS; level++) {
        size_t reference =
            (size_t)at * BLOCK + (size_t)4 * ((id >> (8U * (LEVELS - 1 - level))) & 255U);
        uint32_t next = get32(file->bytes + reference);
        if (level == LEVELS - 1)
            next = leaf;
        else if (next == 0)
            code = take_block(file, &next);
        if (code == 0 && !block_of(file, next))
            code = damaged(file);
        if (code == 0)
            put32(file->bytes + reference, next);
        at = next;
    }
    if (code < 0)
        return code;
    entry = file->bytes + (size_t)leaf * BLOCK + LEAF_HEADER + (size_t)slot * ENTRY_BYTES;
    put32(entry + AT_ID, id);
    set_usage(entry, space, inodes);
    return 0;
}

int rep_ext_quota_set(quota_file *file, const quota_usage *usage)
{
    unsigned char *entry = NULL;
    int code = find_entry(file, usage->id, &entry);

    if (code < 0)
        return code;
    if (!entry)
        return add_entry(file, usage->id, usage->space, usage->inodes);
    if (get64(entry + AT_SPACE) != usage->space || get64(entry + AT_INODES) != usage->inodes)
        set_usage(entry, usage->space, usage->inodes);
    return 0;
}

/* Says of every entry below a block that is in no usage that nothing is used. */
static int clear_below(quota_file *file, uint32_t number, unsigned level, unsigned char *seen,
                       const quota_usages *usages)
{
    unsigned char *block = file->bytes + (size_t)number * BLOCK;
    int code = 0;

    for (unsigned i = 0; level < LEVELS && code == 0 && i < 256; i++) {
        uint32_t next = get32(block + (size_t)4 * i);
        if (next == 0)
            continue;
        if (!block_of(file, next) || (seen[next] && level + 1 < LEVELS))
            return damaged(file);
        if (!seen[next]) {
            seen[next] = 1;
            code = clear_below(file, next, level + 1, seen, usages);
        }
    }
    for (unsigned i = 0; level == LEVELS && i < LEAF_ENTRIES; i++) {
        unsigned char *entry = block + LEAF_HEADER + (size_t)i * ENTRY_BYTES;
        if (!is_empty(entry) && !rep_ext_quota_find(usages, get32(entry + AT_ID)))
            set_usage(entry, 0, 0);
    }
    return code;
}

int rep_ext_quota_clear_others(quota_file *file, const quota_usages *usages)
{
    unsigned char *seen = calloc(file->blocks, 1);
    int code = seen ? clear_below(file, ROOT_BLOCK, 0, seen, usages)
                    : rep_ext_refuse(file->ext, -ENOMEM, "no memory");

    free(seen);
    return code;
}

int rep_ext_quota_store(quota_file *file)
{
    uint64_t changed = 0;

    return rep_ext_write(file->ext, file->inode, file->bytes, (uint64_t)file->blocks * BLOCK, 0,
                         &changed);
}
