/* Where the journal's blocks lie, by its inode: an extent tree or indirect blocks. */
#include <errno.h>
#include <stdlib.h>

#include "jbd2_parts.h"

#define INODE_SIZE 4
#define INODE_BLOCK 40
#define INODE_GENERATION 100
#define INODE_SIZE_HIGH 108
#define EXTENT_MAGIC 0xf30aU
#define EXTENT_DEPTH_MAX 5
#define EXTENT_BYTES 12
#define MIN_LOG_BLOCKS 1024U

/* The next `count` blocks of the log lie at `block`. */
static int add_run(jbd2 *j, uint32_t *at, uint64_t block, uint32_t count)
{
    jbd2_run *last = j->run_count ? &j->runs[j->run_count - 1] : NULL;
    int rc;

    if (block <= JBD2_SUPER_OFFSET / j->block_bytes || block >= j->blocks
        || count > j->blocks - block)
        return jbd2_damaged(j, "journal's blocks: outside the file system", block);
    if (count > j->length - *at)
        count = j->length - *at;
    if (last && last->block + last->count == block) {
        last->count += count;
    } else {
        rc = jbd2_grow(j, (void **)&j->runs, j->run_count, &j->run_capacity, sizeof *j->runs);
        if (rc)
            return rc;
        j->runs[j->run_count++] = (jbd2_run){*at, count, block};
    }
    *at += count;
    return 0;
}

static bool extent_block_fits(const jbd2 *j, const uint8_t *inode, uint32_t number,
                              const uint8_t *node)
{
    uint32_t offset = EXTENT_BYTES * (1 + jbd2_le16(node + 4));
    uint8_t key[8];

    if (!jbd2_has_sums(j->super))
        return true;
    if (offset > j->block_bytes - 4)
        return false;
    jbd2_put_le32(key, number);
    memcpy(key + 4, inode + INODE_GENERATION, 4);
    return jbd2_le32(node + offset)
           == jbd2_crc32c(jbd2_crc32c(jbd2_sum_seed(j), key, sizeof key), node, offset);
}

typedef struct extent_walk {
    const uint8_t *inode;
    uint32_t number; /* of the inode; 0: no checksums, it is the superblock's copy */
    uint32_t at;     /* the next block of the log */
} extent_walk;

/* A node of `bytes` bytes and depth `depth`. The log has no holes, so every extent begins where the
 * one before has ended: no node is walked twice, whatever its parents say. */
static int walk_extents(jbd2 *j, extent_walk *walk, const uint8_t *node, uint32_t bytes,
                        uint32_t depth)
{
    uint32_t entries = jbd2_le16(node + 2);
    uint8_t *child;
    int rc = 0;

    if (jbd2_le16(node) != EXTENT_MAGIC || jbd2_le16(node + 6) != depth || entries == 0
        || entries > bytes / EXTENT_BYTES - 1)
        return jbd2_damaged(j, "journal's extents: header of depth", depth);
    child = depth ? calloc(1, j->block_bytes) : NULL;
    if (depth && !child)
        return jbd2_refuse(j, REP_JBD2_UNREADABLE, -ENOMEM, "no memory");
    for (uint32_t i = 1; i <= entries && rc == 0 && walk->at < j->length; i++) {
        const uint8_t *entry = node + (size_t)i * EXTENT_BYTES;
        uint32_t high = jbd2_le16(entry + (depth ? 8 : 6));
        uint64_t block = (uint64_t)high << 32 | jbd2_le32(entry + (depth ? 4 : 8));
        uint32_t count = jbd2_le16(entry + 4);
        if (jbd2_le32(entry) != walk->at)
            rc = jbd2_damaged(j, "journal's extents: hole or overlap at block", walk->at);
        else if (!depth && (count == 0 || count > 32768))
            rc = jbd2_damaged(j, "journal's extents: length", count);
        else if (!depth)
            rc = add_run(j, &walk->at, block, count);
        else
            rc = jbd2_read_block(j, child, block);
        if (rc || !depth)
            continue;
        if (walk->number && !extent_block_fits(j, walk->inode, walk->number, child))
            rc = jbd2_damaged(j, "journal's extents: wrong checksum of block", block);
        else
            rc = walk_extents(j, walk, child, j->block_bytes, depth - 1);
    }
    free(child);
    return rc;
}

/* `count` numbers of blocks at `at`, each of the log (depth 0) or of further numbers. */
static int walk_indirect(jbd2 *j, uint32_t *at, const uint8_t *numbers, uint32_t count,
                         uint32_t depth)
{
    uint8_t *child = depth ? calloc(1, j->block_bytes) : NULL;
    int rc = 0;

    if (depth && !child)
        return jbd2_refuse(j, REP_JBD2_UNREADABLE, -ENOMEM, "no memory");
    for (uint32_t i = 0; i < count && rc == 0 && *at < j->length; i++) {
        uint32_t block = jbd2_le32(numbers + (size_t)i * 4);
        if (!depth) {
            rc = add_run(j, at, block, 1);
            continue;
        }
        rc = jbd2_read_block(j, child, block);
        if (rc == 0)
            rc = walk_indirect(j, at, child, j->block_bytes / 4, depth - 1);
    }
    free(child);
    return rc;
}

static int by_block(const void *a, const void *b)
{
    const jbd2_run *x = a;
    const jbd2_run *y = b;
    return x->block < y->block ? -1 : x->block > y->block;
}

/* The runs again by where they lie; no block of the file system is two of the log. */
static int sort_runs(jbd2 *j)
{
    j->runs_by_block = malloc(j->run_count * sizeof *j->runs);
    if (!j->runs_by_block)
        return jbd2_refuse(j, REP_JBD2_UNREADABLE, -ENOMEM, "no memory");
    memcpy(j->runs_by_block, j->runs, j->run_count * sizeof *j->runs);
    qsort(j->runs_by_block, j->run_count, sizeof *j->runs, by_block);
    for (size_t i = 1; i < j->run_count; i++) {
        const jbd2_run *before = &j->runs_by_block[i - 1];
        if (before->block + before->count > j->runs_by_block[i].block)
            return jbd2_damaged(j, "journal's blocks: one is there twice",
                                j->runs_by_block[i].block);
    }
    return 0;
}

const jbd2_run *jbd2_run_of(const jbd2 *j, uint64_t block)
{
    size_t low = 0;
    size_t high = j->run_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (j->runs_by_block[middle].block <= block)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0 || block - j->runs_by_block[low - 1].block >= j->runs_by_block[low - 1].count)
        return NULL;
    return &j->runs_by_block[low - 1];
}

int jbd2_map_inode(jbd2 *j, const uint8_t *inode, uint32_t number, bool has_extents)
{
    uint64_t size =
        (uint64_t)jbd2_le32(inode + INODE_SIZE_HIGH) << 32 | jbd2_le32(inode + INODE_SIZE);
    const uint8_t *root = inode + INODE_BLOCK;
    extent_walk walk = {inode, number, 0};
    int rc = 0;

    j->run_count = 0;
    free(j->runs_by_block);
    j->runs_by_block = NULL;
    if (size / j->block_bytes < MIN_LOG_BLOCKS || size / j->block_bytes >= j->blocks
        || size / j->block_bytes > UINT32_MAX)
        return jbd2_damaged(j, "journal's inode: size", size);
    j->length = (uint32_t)(size / j->block_bytes);
    if (has_extents) {
        uint32_t depth = jbd2_le16(root + 6);
        if (depth > EXTENT_DEPTH_MAX)
            return jbd2_damaged(j, "journal's extents: depth", depth);
        rc = walk_extents(j, &walk, root, 60, depth);
    } else {
        rc = walk_indirect(j, &walk.at, root, 12, 0);
        for (uint32_t depth = 1; depth <= 3 && rc == 0; depth++)
            rc = walk_indirect(j, &walk.at, root + 44 + (size_t)depth * 4, 1, depth);
    }
    if (rc == 0 && walk.at < j->length)
        rc = jbd2_damaged(j, "journal's inode: too few blocks", walk.at);
    return rc ? rc : sort_runs(j);
}
