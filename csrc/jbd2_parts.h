/* jbd2_parts: what the files of the journal replay know of each other. Not a public header. */
#ifndef JBD2_PARTS_H
#define JBD2_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "rep_crc.h"
#include "rep_jbd2.h"

#define JBD2_SUPER_OFFSET 1024U /* of the file system's superblock, bytes */
#define JBD2_SUPER_BYTES 1024U

/* Consecutive blocks of the log that lie together in the file system. */
typedef struct jbd2_run {
    uint32_t first; /* block of the log */
    uint32_t count;
    uint64_t block; /* of the file system */
} jbd2_run;

/* A copy of a block in the log, described by a tag of a committed transaction. */
typedef struct jbd2_copy {
    uint64_t target;
    uint32_t position;    /* blocks from the log's start on */
    uint32_t transaction; /* from 0 at the log's first */
    uint32_t checksum;
    bool escaped;
    bool revoked;
} jbd2_copy;

typedef struct jbd2 {
    rep_io *io;
    rep_jbd2_report *report;
    /* The file system. */
    uint8_t super[JBD2_SUPER_BYTES];
    uint32_t block_bytes;
    uint64_t blocks;
    uint8_t *scratch[2]; /* a block each; [0] is what the walk reads, [1] what lies behind it */
    /* Where the log is: runs in its own order, and again by where they lie. */
    jbd2_run *runs;
    jbd2_run *runs_by_block;
    size_t run_count;
    size_t run_capacity;
    uint32_t length; /* blocks */
    /* The log, from its own superblock. */
    uint8_t log_super[JBD2_SUPER_BYTES];
    uint32_t first;
    uint32_t last; /* one past the last */
    uint32_t start;
    uint32_t sequence;
    uint32_t transactions; /* committed, in the log */
    uint32_t seed;
    uint32_t tag_bytes;
    uint32_t tail_bytes;
    bool sums_commits; /* COMPAT_CHECKSUM: one over a whole transaction, in its commit block */
    bool sums_blocks;  /* CSUM_V2 or CSUM_V3 */
    bool sums_in_full; /* CSUM_V3 */
    bool is_64bit;
    bool is_async;
    bool has_fast_commits;
    jbd2_copy *copies;
    size_t copy_count;
    size_t copy_capacity;
} jbd2;

/* Notes why, and returns `code`. */
__attribute__((format(printf, 4, 5))) int jbd2_refuse(jbd2 *j, int refusal, int code,
                                                      const char *format, ...);
/* Grows *array to hold one more. -ENOMEM is noted. */
int jbd2_grow(jbd2 *j, void **array, size_t count, size_t *capacity, size_t item_bytes);
/* Whole blocks of the file system. */
int jbd2_read_block(jbd2 *j, void *buffer, uint64_t block);
int jbd2_read_log(jbd2 *j, void *buffer, uint32_t log_block);
int jbd2_read_copy(jbd2 *j, void *buffer, const jbd2_copy *copy);

/* rep_jbd2_find.c. 1: there is a journal to replay, and `super`, `runs` are known; 0: there isn't. */
int jbd2_find(jbd2 *j);
/* Refuses as damaged. */
int jbd2_damaged(jbd2 *j, const char *what, uint64_t value);
/* Of a superblock: blocks, and whether the file system has checksums (metadata_csum). */
uint64_t jbd2_count_blocks(const uint8_t *super);
bool jbd2_has_sums(const uint8_t *super);
/* What the checksums of inodes and extent blocks begin with. */
uint32_t jbd2_sum_seed(const jbd2 *j);
/* Checks and writes a superblock's own checksum, where the file system has one. */
bool jbd2_super_fits(const uint8_t *super);
void jbd2_seal_super(uint8_t *super);

/* rep_jbd2_map.c. Maps the log by an inode, or by the superblock's copy of it (`number` 0). */
int jbd2_map_inode(jbd2 *j, const uint8_t *inode, uint32_t number, bool has_extents);
/* The run that file system block `block` lies in, or NULL. */
const jbd2_run *jbd2_run_of(const jbd2 *j, uint64_t block);

/* rep_jbd2_log.c */
int jbd2_load(jbd2 *j);
void jbd2_seal_log_super(jbd2 *j);
bool jbd2_tail_fits(const jbd2 *j, const uint8_t *block);
bool jbd2_commit_fits(const jbd2 *j, uint8_t *block);
bool jbd2_copy_fits(const jbd2 *j, const jbd2_copy *copy, const uint8_t *block);
/* One step of the big-endian CRC-32 of COMPAT_CHECKSUM; begins with ~0. */
uint32_t jbd2_crc32_be(uint32_t crc, const uint8_t *data, size_t length);
/* -ENOTSUP when there are fast commits behind the last transaction. */
int jbd2_check_fast_commits(jbd2 *j);

/* rep_jbd2_scan.c: finds the log's end; then its copies, sorted by target and age, and which of
 * them are revoked. */
int jbd2_scan(jbd2 *j);
int jbd2_collect(jbd2 *j);

static inline uint32_t jbd2_le16(const uint8_t *at)
{
    return at[0] | (uint32_t)at[1] << 8;
}

static inline uint32_t jbd2_le32(const uint8_t *at)
{
    return jbd2_le16(at) | jbd2_le16(at + 2) << 16;
}

static inline uint32_t jbd2_be16(const uint8_t *at)
{
    return (uint32_t)at[0] << 8 | at[1];
}

static inline uint32_t jbd2_be32(const uint8_t *at)
{
    return jbd2_be16(at) << 16 | jbd2_be16(at + 2);
}

static inline uint64_t jbd2_be64(const uint8_t *at)
{
    return (uint64_t)jbd2_be32(at) << 32 | jbd2_be32(at + 4);
}

static inline void jbd2_put_le32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

static inline void jbd2_put_be32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (24 - 8 * i));
}

/* CRC-32C as ext4 and JBD2 carry it: no inversion at either end. */
static inline uint32_t jbd2_crc32c(uint32_t crc, const void *data, size_t length)
{
    return ~rep_crc32c(~crc, data, length);
}

#endif
