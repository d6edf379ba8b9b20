/* The log's superblock, its checksums, and whether fast commits follow it. */
#include <errno.h>

#include "jbd2_parts.h"

#define JBD2_MAGIC 0xc03b3998U
#define SUPER_V1 3U
#define SUPER_V2 4U
#define COMPAT_CHECKSUM 0x1U
#define INCOMPAT_64BIT 0x2U
#define INCOMPAT_ASYNC_COMMIT 0x4U
#define INCOMPAT_CSUM_V2 0x8U
#define INCOMPAT_CSUM_V3 0x10U
#define INCOMPAT_FAST_COMMIT 0x20U
#define INCOMPAT_KNOWN 0x3fU /* these and REVOKE, 0x1 */

#define LOG_BLOCK_TYPE 4
#define LOG_BLOCK_SIZE 12
#define LOG_MAX_LENGTH 16
#define LOG_FIRST 20
#define LOG_SEQUENCE 24
#define LOG_START 28
#define LOG_COMPAT 36
#define LOG_INCOMPAT 40
#define LOG_RO_COMPAT 44
#define LOG_UUID 48
#define LOG_USERS 64
#define LOG_CHECKSUM_TYPE 80
#define LOG_FAST_BLOCKS 84
#define LOG_CHECKSUM 252
#define CHECKSUM_CRC32C 4
#define FAST_BLOCKS_DEFAULT 256U
#define MIN_LOG_BLOCKS 1024U

#define COMMIT_CHECKSUM 16

#define FAST_TAG_TAIL 8U
#define FAST_TAG_HEAD 9U
#define FAST_TAG_BYTES 4U
#define FAST_VALUE_BYTES 8U /* of head (features, tid) and tail (tid, crc) */

static int damaged(jbd2 *j, const char *field)
{
    return jbd2_refuse(j, REP_JBD2_DAMAGED, -EUCLEAN, "journal's superblock: %s", field);
}

static uint32_t log_super_sum(const jbd2 *j)
{
    uint8_t sealed[JBD2_SUPER_BYTES];
    memcpy(sealed, j->log_super, sizeof sealed);
    memset(sealed + LOG_CHECKSUM, 0, 4);
    return jbd2_crc32c(~0U, sealed, sizeof sealed);
}

void jbd2_seal_log_super(jbd2 *j)
{
    if (j->sums_blocks)
        jbd2_put_be32(j->log_super + LOG_CHECKSUM, log_super_sum(j));
}

/* Features say how tags and checksums look. A superblock of version 1 has none. */
static int read_features(jbd2 *j, uint32_t version)
{
    uint32_t compat = version == SUPER_V2 ? jbd2_be32(j->log_super + LOG_COMPAT) : 0;
    uint32_t incompat = version == SUPER_V2 ? jbd2_be32(j->log_super + LOG_INCOMPAT) : 0;
    uint32_t ro_compat = version == SUPER_V2 ? jbd2_be32(j->log_super + LOG_RO_COMPAT) : 0;
    uint32_t sums = incompat & (INCOMPAT_CSUM_V2 | INCOMPAT_CSUM_V3);

    if (incompat & ~INCOMPAT_KNOWN || ro_compat)
        return jbd2_refuse(j, REP_JBD2_UNSUPPORTED, -ENOTSUP,
                           "unknown feature of the journal: incompat=0x%x ro_compat=0x%x",
                           incompat & ~INCOMPAT_KNOWN, ro_compat);
    if (version == SUPER_V2 && jbd2_be32(j->log_super + LOG_USERS) > 1)
        return jbd2_refuse(j, REP_JBD2_UNSUPPORTED, -ENOTSUP,
                           "journal shared by several file systems: users=%u",
                           jbd2_be32(j->log_super + LOG_USERS));
    j->sums_commits = compat & COMPAT_CHECKSUM;
    j->sums_blocks = sums != 0;
    j->sums_in_full = incompat & INCOMPAT_CSUM_V3;
    if ((j->sums_blocks && j->sums_commits) || sums == (INCOMPAT_CSUM_V2 | INCOMPAT_CSUM_V3))
        return damaged(j, "two kinds of checksums");
    j->is_64bit = incompat & INCOMPAT_64BIT;
    j->is_async = incompat & INCOMPAT_ASYNC_COMMIT;
    j->has_fast_commits = incompat & INCOMPAT_FAST_COMMIT;
    j->tail_bytes = j->sums_blocks ? 4 : 0;
    if (j->sums_in_full)
        j->tag_bytes = 16;
    else
        j->tag_bytes = 8 + (j->is_64bit ? 4U : 0) + (sums ? 2U : 0);
    return 0;
}

int jbd2_load(jbd2 *j)
{
    uint32_t version;
    uint32_t length;
    uint32_t fast_blocks;
    int rc = jbd2_read_log(j, j->scratch[0], 0);

    if (rc)
        return rc;
    memcpy(j->log_super, j->scratch[0], sizeof j->log_super);
    version = jbd2_be32(j->log_super + LOG_BLOCK_TYPE);
    if (jbd2_be32(j->log_super) != JBD2_MAGIC)
        return damaged(j, "wrong magic number");
    if (version != SUPER_V1 && version != SUPER_V2)
        return damaged(j, "neither version 1 nor 2");
    rc = read_features(j, version);
    if (rc)
        return rc;
    if (j->sums_blocks
        && (j->log_super[LOG_CHECKSUM_TYPE] != CHECKSUM_CRC32C
            || jbd2_be32(j->log_super + LOG_CHECKSUM) != log_super_sum(j)))
        return damaged(j, "wrong checksum");
    j->seed = jbd2_crc32c(~0U, j->log_super + LOG_UUID, 16);
    if (jbd2_be32(j->log_super + LOG_BLOCK_SIZE) != j->block_bytes)
        return damaged(j, "size of blocks");
    length = jbd2_be32(j->log_super + LOG_MAX_LENGTH);
    if (length > j->length || length < MIN_LOG_BLOCKS)
        return damaged(j, "length");
    fast_blocks = jbd2_be32(j->log_super + LOG_FAST_BLOCKS);
    if (!j->has_fast_commits)
        fast_blocks = 0;
    else if (!fast_blocks)
        fast_blocks = FAST_BLOCKS_DEFAULT;
    if (fast_blocks > length - MIN_LOG_BLOCKS)
        return damaged(j, "count of fast commit blocks");
    j->length = length;
    j->last = length - fast_blocks;
    j->first = jbd2_be32(j->log_super + LOG_FIRST);
    j->start = jbd2_be32(j->log_super + LOG_START);
    j->sequence = jbd2_be32(j->log_super + LOG_SEQUENCE);
    if (j->first == 0 || j->first >= j->last)
        return damaged(j, "first block");
    if (j->start && (j->start < j->first || j->start >= j->last))
        return damaged(j, "start of the log");
    return 0;
}

bool jbd2_tail_fits(const jbd2 *j, const uint8_t *block)
{
    static const uint8_t none[4];
    uint32_t crc;

    if (!j->sums_blocks)
        return true;
    crc = jbd2_crc32c(jbd2_crc32c(j->seed, block, j->block_bytes - 4), none, 4);
    return jbd2_be32(block + j->block_bytes - 4) == crc;
}

/* Changes `block` and changes it back. */
bool jbd2_commit_fits(const jbd2 *j, uint8_t *block)
{
    uint32_t found = jbd2_be32(block + COMMIT_CHECKSUM);
    uint32_t crc;

    if (!j->sums_blocks)
        return true;
    memset(block + COMMIT_CHECKSUM, 0, 4);
    crc = jbd2_crc32c(j->seed, block, j->block_bytes);
    jbd2_put_be32(block + COMMIT_CHECKSUM, found);
    return crc == found;
}

bool jbd2_copy_fits(const jbd2 *j, const jbd2_copy *copy, const uint8_t *block)
{
    uint8_t sequence[4];
    uint32_t crc;

    if (!j->sums_blocks)
        return true;
    jbd2_put_be32(sequence, j->sequence + copy->transaction);
    crc = jbd2_crc32c(jbd2_crc32c(j->seed, sequence, 4), block, j->block_bytes);
    return copy->checksum == (j->sums_in_full ? crc : crc & 0xffff);
}

uint32_t jbd2_crc32_be(uint32_t crc, const uint8_t *data, size_t length)
{
    static const uint32_t nibbles[16] = {
        0x00000000, 0x04c11db7, 0x09823b6e, 0x0d4326d9, 0x130476dc, 0x17c56b6b,
        0x1a864db2, 0x1e475005, 0x2608edb8, 0x22c9f00f, 0x2f8ad6d6, 0x2b4bcb61,
        0x350c9b64, 0x31cd86d3, 0x3c8ea00a, 0x384fbdbd,
    };

    for (; length; data++, length--) {
        crc = crc << 4 ^ nibbles[(crc >> 28 ^ *data >> 4) & 15];
        crc = crc << 4 ^ nibbles[(crc >> 28 ^ *data) & 15];
    }
    return crc;
}

/* One block of the fast commit area, the sum going on from the one before. 1: a whole fast commit
 * ends in it; 0: go on with the next block; -1: nothing valid any more. */
static int scan_fast_block(const jbd2 *j, const uint8_t *block, bool is_first, uint32_t expected,
                           uint32_t *crc)
{
    uint32_t at = 0;

    while (at + FAST_TAG_BYTES <= j->block_bytes) {
        const uint8_t *tag = block + at;
        uint32_t kind = jbd2_le16(tag);
        uint32_t length = jbd2_le16(tag + 2);
        if (is_first && at == 0 && kind != FAST_TAG_HEAD)
            return -1;
        if (kind == 0 || kind > FAST_TAG_HEAD || length > j->block_bytes - FAST_TAG_BYTES - at)
            return -1;
        if (kind >= FAST_TAG_TAIL && length < FAST_VALUE_BYTES)
            return -1;
        if (kind == FAST_TAG_HEAD && jbd2_le32(tag + FAST_TAG_BYTES + 4) != expected)
            return -1;
        if (kind == FAST_TAG_TAIL) {
            *crc = jbd2_crc32c(*crc, tag, FAST_TAG_BYTES + 4);
            return jbd2_le32(tag + FAST_TAG_BYTES) == expected
                           && jbd2_le32(tag + FAST_TAG_BYTES + 4) == *crc
                       ? 1
                       : -1;
        }
        *crc = jbd2_crc32c(*crc, tag, FAST_TAG_BYTES + length);
        at += FAST_TAG_BYTES + length;
    }
    return 0;
}

/* A fast commit counts when it names the transaction that would follow the log's last, and is whole:
 * what older ones left in their area stays there. The area begins one block behind the log's end. */
int jbd2_check_fast_commits(jbd2 *j)
{
    uint32_t expected = j->sequence + j->transactions;
    uint32_t crc = 0;
    int found = 0;

    for (uint32_t at = j->last + 1; j->has_fast_commits && at < j->length && found == 0; at++) {
        int rc = jbd2_read_log(j, j->scratch[0], at);
        if (rc)
            return rc;
        found = scan_fast_block(j, j->scratch[0], at == j->last + 1, expected, &crc);
    }
    if (found <= 0)
        return 0;
    return jbd2_refuse(j, REP_JBD2_UNSUPPORTED, -ENOTSUP,
                       "fast_commit: the journal holds fast commits: transaction=%u", expected);
}
