/* What leads to the journal: superblock, group descriptor, inode or its copy. */
#include <errno.h>
#include <stdlib.h>

#include "jbd2_parts.h"

#define EXT_MAGIC 0xef53U
#define COMPAT_HAS_JOURNAL 0x4U
#define INCOMPAT_RECOVER 0x4U
#define INCOMPAT_JOURNAL_DEV 0x8U
#define INCOMPAT_META_BG 0x10U
#define INCOMPAT_64BIT 0x80U
#define INCOMPAT_CSUM_SEED 0x2000U
#define RO_COMPAT_SPARSE_SUPER 0x1U
#define RO_COMPAT_METADATA_CSUM 0x400U
#define COMPAT_SPARSE_SUPER2 0x200U

#define SUPER_INODES 0
#define SUPER_BLOCKS 4
#define SUPER_FIRST_BLOCK 20
#define SUPER_LOG_BLOCK_SIZE 24
#define SUPER_BLOCKS_PER_GROUP 32
#define SUPER_INODES_PER_GROUP 40
#define SUPER_MAGIC 56
#define SUPER_REVISION 76
#define SUPER_INODE_SIZE 88
#define SUPER_COMPAT 92
#define SUPER_INCOMPAT 96
#define SUPER_RO_COMPAT 100
#define SUPER_UUID 104
#define SUPER_JOURNAL_INODE 224
#define SUPER_JOURNAL_DEVICE 228
#define SUPER_BACKUP_TYPE 253
#define SUPER_DESCRIPTOR_SIZE 254
#define SUPER_FIRST_META_BG 260
#define SUPER_BACKUP 268 /* 15 words of i_block, the size's high and low word */
#define SUPER_BLOCKS_HIGH 336
#define SUPER_CHECKSUM_SEED 624
#define SUPER_CHECKSUM 1020

#define INODE_BYTES 160 /* as much of an inode as is looked at */
#define INODE_MODE 0
#define INODE_SIZE 4
#define INODE_LINKS 26
#define INODE_FLAGS 32
#define INODE_BLOCK 40
#define INODE_GENERATION 100
#define INODE_SIZE_HIGH 108
#define INODE_CHECKSUM_LOW 124
#define INODE_EXTRA 128
#define INODE_CHECKSUM_HIGH 130
#define FLAG_EXTENTS 0x80000U
#define FLAG_INLINE_DATA 0x10000000U

#define EXTENT_MAGIC 0xf30aU

int jbd2_damaged(jbd2 *j, const char *what, uint64_t value)
{
    return jbd2_refuse(j, REP_JBD2_DAMAGED, -EUCLEAN, "%s: value=%llu", what,
                       (unsigned long long)value);
}

uint64_t jbd2_count_blocks(const uint8_t *super)
{
    uint64_t high = jbd2_le32(super + SUPER_INCOMPAT) & INCOMPAT_64BIT
                        ? jbd2_le32(super + SUPER_BLOCKS_HIGH)
                        : 0;
    return high << 32 | jbd2_le32(super + SUPER_BLOCKS);
}

bool jbd2_has_sums(const uint8_t *super)
{
    return jbd2_le32(super + SUPER_RO_COMPAT) & RO_COMPAT_METADATA_CSUM;
}

uint32_t jbd2_sum_seed(const jbd2 *j)
{
    if (jbd2_le32(j->super + SUPER_INCOMPAT) & INCOMPAT_CSUM_SEED)
        return jbd2_le32(j->super + SUPER_CHECKSUM_SEED);
    return jbd2_crc32c(~0U, j->super + SUPER_UUID, 16);
}

bool jbd2_super_fits(const uint8_t *super)
{
    return !jbd2_has_sums(super)
           || jbd2_le32(super + SUPER_CHECKSUM) == jbd2_crc32c(~0U, super, SUPER_CHECKSUM);
}

void jbd2_seal_super(uint8_t *super)
{
    if (jbd2_has_sums(super))
        jbd2_put_le32(super + SUPER_CHECKSUM, jbd2_crc32c(~0U, super, SUPER_CHECKSUM));
}

/* 1: needs recovery; 0: doesn't, or isn't ext. */
static int read_super(jbd2 *j)
{
    uint32_t log_size;
    int rc;

    if (rep_io_size(j->io) < JBD2_SUPER_OFFSET + JBD2_SUPER_BYTES)
        return 0;
    rc = rep_io_pread(j->io, j->super, JBD2_SUPER_BYTES, JBD2_SUPER_OFFSET);
    if (rc)
        return jbd2_refuse(j, REP_JBD2_UNREADABLE, rc, "the superblock can't be read");
    if (jbd2_le16(j->super + SUPER_MAGIC) != EXT_MAGIC
        || jbd2_le32(j->super + SUPER_INCOMPAT) & INCOMPAT_JOURNAL_DEV
        || !(jbd2_le32(j->super + SUPER_INCOMPAT) & INCOMPAT_RECOVER))
        return 0;
    if (!jbd2_super_fits(j->super))
        return jbd2_damaged(j, "superblock: wrong checksum", jbd2_le32(j->super + SUPER_CHECKSUM));
    if (!(jbd2_le32(j->super + SUPER_COMPAT) & COMPAT_HAS_JOURNAL))
        return jbd2_damaged(j, "superblock: needs recovery, but has no journal",
                            jbd2_le32(j->super + SUPER_COMPAT));
    log_size = jbd2_le32(j->super + SUPER_LOG_BLOCK_SIZE);
    if (log_size > 6)
        return jbd2_damaged(j, "superblock: size of blocks", log_size);
    j->block_bytes = 1024U << log_size;
    j->blocks = jbd2_count_blocks(j->super);
    if (j->blocks < 2 || j->blocks > rep_io_size(j->io) / j->block_bytes)
        return jbd2_damaged(j, "superblock: count of blocks", j->blocks);
    if (!jbd2_le32(j->super + SUPER_BLOCKS_PER_GROUP)
        || !jbd2_le32(j->super + SUPER_INODES_PER_GROUP))
        return jbd2_damaged(j, "superblock: size of groups", 0);
    j->report->block_bytes = j->block_bytes;
    return 1;
}

static bool is_power_of(uint64_t value, uint64_t base)
{
    uint64_t power = base;
    while (power < value)
        power *= base;
    return power == value;
}

/* Whether a group has a copy of the superblock, after which its descriptors lie. */
static bool has_super(const jbd2 *j, uint64_t group)
{
    if (group == 0)
        return true;
    if (jbd2_le32(j->super + SUPER_COMPAT) & COMPAT_SPARSE_SUPER2)
        return false; /* but for two groups, of which no journal's inode is */
    if (group == 1 || !(jbd2_le32(j->super + SUPER_RO_COMPAT) & RO_COMPAT_SPARSE_SUPER))
        return true;
    return is_power_of(group, 3) || is_power_of(group, 5) || is_power_of(group, 7);
}

/* The block that has descriptor block `index`. */
static uint64_t descriptor_block(const jbd2 *j, uint64_t index, uint32_t per_block)
{
    uint64_t group = index * per_block;

    if (!(jbd2_le32(j->super + SUPER_INCOMPAT) & INCOMPAT_META_BG)
        || index < jbd2_le32(j->super + SUPER_FIRST_META_BG) || index == 0)
        return JBD2_SUPER_OFFSET / j->block_bytes + 1 + index;
    return jbd2_le32(j->super + SUPER_FIRST_BLOCK)
           + group * jbd2_le32(j->super + SUPER_BLOCKS_PER_GROUP) + (has_super(j, group) ? 1 : 0);
}

static bool inode_fits(const jbd2 *j, uint32_t number, const uint8_t *inode, uint32_t inode_bytes)
{
    uint8_t sealed[4096];
    uint8_t key[8];
    uint32_t found = jbd2_le16(inode + INODE_CHECKSUM_LOW);
    uint32_t mask = 0xffff;
    uint32_t crc;

    if (!jbd2_has_sums(j->super))
        return true;
    memcpy(sealed, inode, inode_bytes);
    memset(sealed + INODE_CHECKSUM_LOW, 0, 2);
    if (inode_bytes > 128 && jbd2_le16(inode + INODE_EXTRA) >= 4) {
        found |= jbd2_le16(inode + INODE_CHECKSUM_HIGH) << 16;
        mask = ~0U;
        memset(sealed + INODE_CHECKSUM_HIGH, 0, 2);
    }
    jbd2_put_le32(key, number);
    memcpy(key + 4, inode + INODE_GENERATION, 4);
    crc = jbd2_crc32c(jbd2_crc32c(jbd2_sum_seed(j), key, sizeof key), sealed, inode_bytes);
    return (crc & mask) == found;
}

/* Reads the journal's inode: at most 4096 bytes into `inode`. */
static int read_inode(jbd2 *j, uint32_t number, uint8_t *inode)
{
    uint32_t inode_bytes =
        jbd2_le32(j->super + SUPER_REVISION) ? jbd2_le16(j->super + SUPER_INODE_SIZE) : 128;
    bool wide = jbd2_le32(j->super + SUPER_INCOMPAT) & INCOMPAT_64BIT;
    uint32_t descriptor_bytes = wide ? jbd2_le16(j->super + SUPER_DESCRIPTOR_SIZE) : 32;
    uint32_t per_group = jbd2_le32(j->super + SUPER_INODES_PER_GROUP);
    uint32_t per_block;
    uint64_t group = (number - 1) / per_group;
    uint64_t table;
    uint64_t offset;
    int rc;

    if (number > jbd2_le32(j->super + SUPER_INODES))
        return jbd2_damaged(j, "journal's inode: number", number);
    if (inode_bytes < 128 || inode_bytes > j->block_bytes || inode_bytes > 4096
        || inode_bytes & (inode_bytes - 1))
        return jbd2_damaged(j, "superblock: size of inodes", inode_bytes);
    if (descriptor_bytes < (wide ? 64 : 32) || descriptor_bytes > j->block_bytes
        || descriptor_bytes & (descriptor_bytes - 1))
        return jbd2_damaged(j, "superblock: size of group descriptors", descriptor_bytes);
    per_block = j->block_bytes / descriptor_bytes;
    rc = jbd2_read_block(j, j->scratch[0], descriptor_block(j, group / per_block, per_block));
    if (rc)
        return rc;
    offset = group % per_block * descriptor_bytes;
    table = jbd2_le32(j->scratch[0] + offset + 8);
    if (wide)
        table |= (uint64_t)jbd2_le32(j->scratch[0] + offset + 40) << 32;
    offset = (uint64_t)((number - 1) % per_group) * inode_bytes;
    if (table >= j->blocks || offset / j->block_bytes >= j->blocks - table)
        return jbd2_damaged(j, "journal's inode: past the file system's end", table);
    rc = jbd2_read_block(j, j->scratch[0], table + offset / j->block_bytes);
    if (rc)
        return rc;
    memcpy(inode, j->scratch[0] + offset % j->block_bytes, inode_bytes);
    if (!inode_fits(j, number, inode, inode_bytes))
        return jbd2_damaged(j, "journal's inode: wrong checksum", number);
    return 0;
}

static int map_by_inode(jbd2 *j, uint32_t number)
{
    uint8_t inode[4096] = {0};
    int rc = read_inode(j, number, inode);

    if (rc)
        return rc;
    if ((jbd2_le16(inode + INODE_MODE) & 0xf000) != 0x8000 || !jbd2_le16(inode + INODE_LINKS)
        || jbd2_le32(inode + INODE_FLAGS) & FLAG_INLINE_DATA)
        return jbd2_damaged(j, "journal's inode: not a file", jbd2_le16(inode + INODE_MODE));
    return jbd2_map_inode(j, inode, number, jbd2_le32(inode + INODE_FLAGS) & FLAG_EXTENTS);
}

static int map_by_backup(jbd2 *j)
{
    uint8_t inode[INODE_BYTES] = {0};
    const uint8_t *backup = j->super + SUPER_BACKUP;

    memcpy(inode + INODE_BLOCK, backup, 60);
    memcpy(inode + INODE_SIZE_HIGH, backup + 60, 4);
    memcpy(inode + INODE_SIZE, backup + 64, 4);
    return jbd2_map_inode(j, inode, 0, jbd2_le16(backup) == EXTENT_MAGIC);
}

int jbd2_find(jbd2 *j)
{
    uint32_t number;
    int rc = read_super(j);

    if (rc <= 0)
        return rc;
    number = jbd2_le32(j->super + SUPER_JOURNAL_INODE);
    if (!number)
        return jbd2_refuse(j, REP_JBD2_UNSUPPORTED, -ENOTSUP,
                           "external journal: s_journal_dev=0x%x",
                           jbd2_le32(j->super + SUPER_JOURNAL_DEVICE));
    j->scratch[0] = malloc(j->block_bytes);
    j->scratch[1] = malloc(j->block_bytes);
    if (!j->scratch[0] || !j->scratch[1])
        return jbd2_refuse(j, REP_JBD2_UNREADABLE, -ENOMEM, "no memory");
    rc = map_by_inode(j, number);
    if (rc == -EUCLEAN && j->super[SUPER_BACKUP_TYPE] == 1) {
        rep_jbd2_report first = *j->report;
        rc = map_by_backup(j);
        if (rc == -EUCLEAN)
            *j->report = first; /* what is wrong with the inode is the one to see */
        else if (rc == 0)
            j->report->from_backup = 1;
    }
    if (rc)
        return rc;
    j->report->refusal = REP_JBD2_NOT_REFUSED;
    j->report->text[0] = '\0';
    return 1;
}
