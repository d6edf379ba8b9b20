/* jbd2_image: a small file system of blocks of 1 KiB with a journal of 1024, written by a script.
 *
 * The first byte of the input says which features it has; each byte after it is a step: a sound
 * descriptor with its copies, revoke records, a commit, or bytes of any block, and at the end the
 * superblocks are sealed, unless the script says otherwise. So damage gets behind the checksums.
 */
#ifndef JBD2_IMAGE_H
#define JBD2_IMAGE_H

#include "fuzz.h"
#include "jbd2_parts.h"

#define BLOCK 1024U
#define BLOCKS 1120U
#define IMAGE_BYTES ((size_t)BLOCK * BLOCKS)
#define LOG_FIRST 32U
#define LOG_LENGTH 1024U
#define SPARE 1056U
#define INODE_AT (4U * BLOCK + 768U) /* of inode 8: blocks 3 to 6 have 16 of 256 bytes each */
#define FAST_BLOCKS 16U

enum {
    HAS_WIDE = 1,
    HAS_ASYNC = 2,
    HAS_V2 = 4,
    HAS_V3 = 8,
    HAS_V1 = 16,
    HAS_FAST = 32,
    HAS_SUMS = 64,    /* the file system's own: metadata_csum */
    HAS_EXTENTS = 128 /* the journal's inode, in a tree; else indirect blocks */
};

typedef struct image {
    uint8_t *bytes;
    uint8_t features;
    uint32_t seed;
    uint32_t sequence;
    uint32_t last;
    uint32_t at;
    uint32_t sum; /* COMPAT_CHECKSUM: of the transaction so far */
    uint64_t time_s;
} image;

static uint8_t *image_block(const image *i, uint32_t block)
{
    return i->bytes + (size_t)block * BLOCK;
}

static uint8_t *image_log(const image *i, uint32_t log_block)
{
    return image_block(i, LOG_FIRST + log_block);
}

static void put_le16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

static void put_be16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static int image_sums_blocks(const image *i)
{
    return i->features & (HAS_V2 | HAS_V3);
}

static void image_seal_log(const image *i)
{
    uint8_t *super = image_log(i, 0);
    jbd2_put_be32(super + 252, 0);
    if (image_sums_blocks(i))
        jbd2_put_be32(super + 252, jbd2_crc32c(~0U, super, BLOCK));
}

static void image_seal_super(const image *i)
{
    uint8_t *super = image_block(i, 1);
    if (i->features & HAS_SUMS)
        jbd2_put_le32(super + 1020, jbd2_crc32c(~0U, super, 1020));
}

/* What inode 8's checksum, and those of its extent blocks, begin with. */
static uint32_t image_inode_seed(const image *i)
{
    static const uint8_t key[8] = {8};
    return jbd2_crc32c(jbd2_crc32c(~0U, image_block(i, 1) + 104, 16), key, sizeof key);
}

static void image_seal_inode(const image *i)
{
    uint8_t *inode = i->bytes + INODE_AT;
    uint32_t crc;
    if (!(i->features & HAS_SUMS))
        return;
    memset(inode + 124, 0, 2);
    memset(inode + 130, 0, 2);
    crc = jbd2_crc32c(image_inode_seed(i), inode, 256);
    put_le16(inode + 124, crc);
    put_le16(inode + 130, crc >> 16);
}

static void image_put_extent(uint8_t *at, uint32_t first, uint32_t count)
{
    jbd2_put_le32(at, first);
    put_le16(at + 4, count);
    jbd2_put_le32(at + 8, LOG_FIRST + first);
}

/* Two extents in a block of their own. */
static void image_map_extents(const image *i, uint8_t *map)
{
    uint8_t *leaf = image_block(i, 7);
    put_le16(map, 0xf30a);
    put_le16(map + 2, 1);
    put_le16(map + 4, 4);
    put_le16(map + 6, 1);
    jbd2_put_le32(map + 16, 7);
    put_le16(leaf, 0xf30a);
    put_le16(leaf + 2, 2);
    put_le16(leaf + 4, 84);
    image_put_extent(leaf + 12, 0, 500);
    image_put_extent(leaf + 24, 500, LOG_LENGTH - 500);
    jbd2_put_le32(leaf + BLOCK - 4, jbd2_crc32c(image_inode_seed(i), leaf, BLOCK - 4));
}

static void image_map_indirect(const image *i, uint8_t *map)
{
    for (uint32_t at = 0; at < 12; at++)
        jbd2_put_le32(map + (size_t)at * 4, LOG_FIRST + at);
    jbd2_put_le32(map + 48, 8);
    jbd2_put_le32(map + 52, 9);
    for (uint32_t at = 12; at < LOG_LENGTH; at++) {
        uint32_t node = (at - 12) / 256;
        if (node)
            jbd2_put_le32(image_block(i, 9) + (size_t)(node - 1) * 4, 9 + node);
        jbd2_put_le32(image_block(i, node ? 9 + node : 8) + (size_t)((at - 12) % 256) * 4,
                      LOG_FIRST + at);
    }
}

static void image_make_fs(const image *i)
{
    uint8_t *super = image_block(i, 1);
    uint8_t *inode = i->bytes + INODE_AT;

    jbd2_put_le32(super, 16);
    jbd2_put_le32(super + 4, BLOCKS);
    jbd2_put_le32(super + 20, 1);
    jbd2_put_le32(super + 32, 8192);
    jbd2_put_le32(super + 40, 16);
    put_le16(super + 56, 0xef53);
    put_le16(super + 58, 1);
    jbd2_put_le32(super + 76, 1);
    put_le16(super + 88, 256);
    jbd2_put_le32(super + 92, 4);
    jbd2_put_le32(super + 96, 4);
    jbd2_put_le32(super + 100, i->features & HAS_SUMS ? 0x400 : 0);
    memset(super + 104, 'u', 16);
    jbd2_put_le32(super + 224, 8);
    super[253] = 1;
    jbd2_put_le32(image_block(i, 2) + 8, 3);
    put_le16(inode, 0x8180);
    jbd2_put_le32(inode + 4, LOG_LENGTH * BLOCK);
    put_le16(inode + 26, 1);
    put_le16(inode + 128, 32);
    if (i->features & HAS_EXTENTS) {
        jbd2_put_le32(inode + 32, 0x80000);
        image_map_extents(i, inode + 40);
    } else {
        image_map_indirect(i, inode + 40);
    }
    memcpy(super + 268, inode + 40, 60);
    jbd2_put_le32(super + 332, LOG_LENGTH * BLOCK);
}

static void image_make_log(image *i)
{
    uint8_t *super = image_log(i, 0);
    uint32_t incompat = 1U | (i->features & HAS_WIDE ? 2U : 0) | (i->features & HAS_ASYNC ? 4U : 0)
                        | (i->features & HAS_V2 ? 8U : 0) | (i->features & HAS_V3 ? 16U : 0)
                        | (i->features & HAS_FAST ? 32U : 0);

    i->last = LOG_LENGTH;
    jbd2_put_be32(super, 0xc03b3998);
    jbd2_put_be32(super + 4, 4);
    jbd2_put_be32(super + 12, BLOCK);
    jbd2_put_be32(super + 16, LOG_LENGTH);
    jbd2_put_be32(super + 20, 1);
    jbd2_put_be32(super + 24, i->sequence);
    jbd2_put_be32(super + 28, i->at);
    jbd2_put_be32(super + 36, i->features & HAS_V1 ? 1 : 0);
    jbd2_put_be32(super + 40, incompat);
    memset(super + 48, 'j', 16);
    super[80] = 4;
    i->seed = jbd2_crc32c(~0U, super + 48, 16);
}

static uint8_t *image_take(image *i)
{
    uint8_t *block = image_log(i, i->at);
    i->at = i->at + 1 == i->last ? 1 : i->at + 1;
    memset(block, 0, BLOCK);
    return block;
}

static uint8_t *image_begin(image *i, uint32_t type)
{
    uint8_t *block = image_take(i);
    jbd2_put_be32(block, 0xc03b3998);
    jbd2_put_be32(block + 4, type);
    jbd2_put_be32(block + 8, i->sequence);
    return block;
}

static void image_seal_tail(const image *i, uint8_t *block)
{
    if (image_sums_blocks(i))
        jbd2_put_be32(block + BLOCK - 4, jbd2_crc32c(i->seed, block, BLOCK));
}

/* One tag, and the block it describes. Returns the tag's length. */
static uint32_t image_copy(image *i, uint8_t *tag, uint32_t target, uint32_t flags, uint8_t fill)
{
    uint8_t *block = image_take(i);
    uint8_t sequence[4];
    uint32_t crc;
    uint32_t length = 8;

    memset(block, fill, BLOCK);
    if (flags & 1)
        memset(block, 0, 4);
    jbd2_put_be32(sequence, i->sequence);
    crc = jbd2_crc32c(jbd2_crc32c(i->seed, sequence, 4), block, BLOCK);
    jbd2_put_be32(tag, target);
    put_be16(tag + 6, flags);
    if (i->features & HAS_V3) {
        jbd2_put_be32(tag + 12, crc);
        length = 16;
    } else {
        if (i->features & HAS_V2)
            put_be16(tag + 4, crc & 0xffff);
        length += (i->features & HAS_WIDE ? 4U : 0) + (i->features & HAS_V2 ? 2U : 0);
    }
    return length + (flags & 2 ? 0 : 16);
}

/* The transaction's sum takes the descriptor before its copies. */
static void image_descriptor(image *i, fuzz_input *input)
{
    uint8_t *block = image_begin(i, 1);
    uint32_t count = fuzz_u8(input) % 8 + 1;
    uint32_t length = 12;
    uint32_t first = i->at;
    uint32_t sum = i->sum;

    for (uint32_t n = 0; n < count; n++) {
        uint32_t target = fuzz_u8(input);
        uint32_t flags = fuzz_u8(input) & 7;
        /* One in four anywhere in 64 K blocks, the others where nothing lies. */
        target = target < 64 ? target << 8 | fuzz_u8(input) : SPARE + target % 64;
        flags |= n + 1 == count ? 8U : 0;
        length += image_copy(i, block + length, target, flags, (uint8_t)(i->at + i->sequence));
    }
    image_seal_tail(i, block);
    i->sum = jbd2_crc32_be(sum, block, BLOCK);
    while (first != i->at) {
        i->sum = jbd2_crc32_be(i->sum, image_log(i, first), BLOCK);
        first = first + 1 == i->last ? 1 : first + 1;
    }
}

static void image_revoke(image *i, fuzz_input *input)
{
    uint8_t *block = image_begin(i, 5);
    uint32_t count = fuzz_u8(input) % 8;
    uint32_t record = i->features & HAS_WIDE ? 8 : 4;

    for (uint32_t n = 0; n < count; n++)
        jbd2_put_be32(block + 16 + (size_t)n * record + record - 4, SPARE + fuzz_u8(input) % 64);
    jbd2_put_be32(block + 12, 16 + count * record);
    image_seal_tail(i, block);
}

static void image_commit(image *i, fuzz_input *input)
{
    uint8_t *block = image_begin(i, 2);
    uint8_t how = fuzz_u8(input);

    i->time_s += how & 1 ? 0 : 1;
    jbd2_put_be32(block + 52, (uint32_t)(how & 2 ? i->time_s - 2 : i->time_s));
    if (i->features & HAS_V1) {
        block[12] = 1;
        block[13] = 4;
        jbd2_put_be32(block + 16, i->sum);
    } else if (image_sums_blocks(i)) {
        jbd2_put_be32(block + 16, jbd2_crc32c(i->seed, block, BLOCK));
    }
    block[16] ^= how & 4 ? 1 : 0;
    i->sum = ~0U;
    i->sequence++;
}

static void image_fast_commit(image *i, fuzz_input *input)
{
    uint8_t *block = image_log(i, LOG_LENGTH - FAST_BLOCKS + 1);
    uint8_t how = fuzz_u8(input);

    jbd2_put_be32(image_log(i, 0) + 84, FAST_BLOCKS);
    put_le16(block, 9);
    put_le16(block + 2, 8);
    jbd2_put_le32(block + 8, i->sequence + (how & 1));
    put_le16(block + 12, 8);
    put_le16(block + 14, 8);
    jbd2_put_le32(block + 16, i->sequence);
    jbd2_put_le32(block + 20, jbd2_crc32c(0, block, 20) + (how & 2));
}

/* Returns what is to be left unsealed at the end. */
static uint8_t image_step(image *i, fuzz_input *input)
{
    size_t length;
    uint32_t offset;
    const uint8_t *bytes;

    switch (fuzz_u8(input) % 8) {
    case 0:
    case 1:
        image_descriptor(i, input);
        return 0;
    case 2:
        image_revoke(i, input);
        return 0;
    case 3:
        image_commit(i, input);
        return 0;
    case 4:
        image_fast_commit(i, input);
        return 0;
    case 5: /* a word of a superblock, of the inode or its tree */
        offset = fuzz_u8(input);
        bytes = fuzz_bytes(input, &(size_t){4});
        memcpy((offset & 1   ? image_block(i, 1)
                : offset & 2 ? image_log(i, 0)
                : offset & 4 ? i->bytes + INODE_AT
                             : image_block(i, 7))
                   + (size_t)(offset >> 3) * 4,
               bytes, input->left ? 4 : 0);
        return 0;
    case 6:
        offset = fuzz_u16(input) % BLOCKS * BLOCK + fuzz_u16(input) % BLOCK;
        length = fuzz_u8(input);
        bytes = fuzz_bytes(input, &length);
        memcpy(i->bytes + offset, bytes, length < IMAGE_BYTES - offset ? length : 0);
        return 0;
    default:
        return fuzz_u8(input);
    }
}

/* Fills `bytes` (IMAGE_BYTES) as the script says. */
static void image_write(uint8_t *bytes, fuzz_input *input)
{
    image i = {.bytes = bytes, .features = fuzz_u8(input), .sum = ~0U, .time_s = 1000};
    uint8_t unsealed = 0;

    memset(bytes, 0, IMAGE_BYTES);
    i.at = fuzz_u16(input) % (LOG_LENGTH - 1) + 1;
    i.sequence = (uint32_t)fuzz_number(input, 4);
    if (i.features & HAS_FAST)
        jbd2_put_be32(image_log(&i, 0) + 84, FAST_BLOCKS);
    image_make_fs(&i);
    image_make_log(&i);
    if (i.features & HAS_FAST)
        i.at = (i.at - 1) % (LOG_LENGTH - FAST_BLOCKS - 1) + 1;
    while (input->left)
        unsealed |= image_step(&i, input);
    if (!(unsealed & 1))
        image_seal_super(&i);
    if (!(unsealed & 2))
        image_seal_log(&i);
    if (!(unsealed & 4))
        image_seal_inode(&i);
}

#endif
