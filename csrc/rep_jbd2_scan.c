/* Walks the log: first to its end, then again for what its transactions hold. */
#include <errno.h>
#include <stdlib.h>

#include "jbd2_parts.h"

#define JBD2_MAGIC 0xc03b3998U
#define HEADER_BYTES 12U
#define REVOKE_HEADER_BYTES 16U
#define TYPE_DESCRIPTOR 1U
#define TYPE_COMMIT 2U
#define TYPE_REVOKE 5U
#define FLAG_ESCAPE 1U
#define FLAG_SAME_UUID 2U
#define FLAG_LAST 8U
#define UUID_BYTES 16U
#define COMMIT_SUM_TYPE 12
#define COMMIT_SUM_SIZE 13
#define COMMIT_SUM 16
#define COMMIT_SECONDS 48
#define SUM_CRC32 1

/* Where a walk is. No log is longer than its area: a walk ends there, whatever the blocks say. */
typedef struct log_walk {
    jbd2 *j;
    uint32_t at;
    uint32_t left;
    uint32_t transaction; /* from 0 */
    uint32_t type;        /* of the block in scratch[0] */
} log_walk;

static log_walk begin(jbd2 *j)
{
    return (log_walk){j, j->start, j->last - j->first, 0, 0};
}

/* Takes the next block's number; false at the end of the area. */
static bool take(log_walk *walk, uint32_t *log_block)
{
    if (!walk->left)
        return false;
    walk->left--;
    *log_block = walk->at++;
    if (walk->at == walk->j->last)
        walk->at = walk->j->first;
    return true;
}

static bool skip(log_walk *walk, uint32_t count)
{
    uint32_t ignored;
    bool there = true;
    while (count-- && there)
        there = take(walk, &ignored);
    return there;
}

/* 1: the next block, in scratch[0], belongs to the transaction that is due; 0: the log ends. */
static int next_block(log_walk *walk)
{
    const uint8_t *block = walk->j->scratch[0];
    uint32_t log_block;
    int rc;

    if (!take(walk, &log_block))
        return 0;
    rc = jbd2_read_log(walk->j, walk->j->scratch[0], log_block);
    if (rc)
        return rc;
    if (jbd2_be32(block) != JBD2_MAGIC
        || jbd2_be32(block + 8) != walk->j->sequence + walk->transaction)
        return 0;
    walk->type = jbd2_be32(block + 4);
    return walk->type == TYPE_DESCRIPTOR || walk->type == TYPE_COMMIT || walk->type == TYPE_REVOKE;
}

typedef struct tag_walk {
    uint32_t offset; /* in scratch[0]; 0 before the first */
    bool ended;
    uint32_t flags;
    jbd2_copy copy;
} tag_walk;

/* The next tag of the descriptor block in scratch[0]. Tags of three lengths begin alike: number's
 * low half, then a checksum's low half or (CSUM_V3) the flags' high half, flags, number's high half. */
static bool next_tag(const jbd2 *j, tag_walk *tags)
{
    const uint8_t *tag;

    if (!tags->offset)
        tags->offset = HEADER_BYTES;
    if (tags->ended || tags->offset + j->tag_bytes > j->block_bytes - j->tail_bytes)
        return false;
    tag = j->scratch[0] + tags->offset;
    tags->flags = jbd2_be16(tag + 6);
    tags->ended = tags->flags & FLAG_LAST;
    tags->offset += j->tag_bytes + (tags->flags & FLAG_SAME_UUID ? 0 : UUID_BYTES);
    tags->copy = (jbd2_copy){.target = jbd2_be32(tag), .escaped = tags->flags & FLAG_ESCAPE};
    if (j->is_64bit)
        tags->copy.target |= (uint64_t)jbd2_be32(tag + 8) << 32;
    tags->copy.checksum = j->sums_in_full ? jbd2_be32(tag + 12) : jbd2_be16(tag + 4);
    return true;
}

static uint32_t count_tags(const jbd2 *j)
{
    tag_walk tags = {0};
    uint32_t count = 0;
    while (next_tag(j, &tags))
        count++;
    return count;
}

typedef struct scan {
    log_walk walk;
    uint32_t sum;     /* COMPAT_CHECKSUM: of the transaction so far */
    uint64_t last_s;  /* time of the last good commit */
    bool is_doubtful; /* a descriptor or revoke block of this transaction doesn't fit its sum */
    bool is_ended; /* an asynchronous commit didn't fit: what follows only says how to judge it */
    uint32_t ended_at; /* that transaction */
} scan;

/* Adds a descriptor block and the blocks behind it to the transaction's sum. 0: the log ends. */
static int sum_descriptor(scan *s)
{
    jbd2 *j = s->walk.j;
    uint32_t count = count_tags(j);
    uint32_t log_block;

    s->sum = jbd2_crc32_be(s->sum, j->scratch[0], j->block_bytes);
    while (count--) {
        int rc;
        if (!take(&s->walk, &log_block))
            return 0;
        rc = jbd2_read_log(j, j->scratch[1], log_block);
        if (rc)
            return rc;
        s->sum = jbd2_crc32_be(s->sum, j->scratch[1], j->block_bytes);
    }
    return 1;
}

static bool sum_fits(const scan *s, const uint8_t *commit)
{
    uint32_t found = jbd2_be32(commit + COMMIT_SUM);

    if (!s->walk.j->sums_commits)
        return true;
    if (commit[COMMIT_SUM_TYPE] == SUM_CRC32 && commit[COMMIT_SUM_SIZE] == 4)
        return found == s->sum;
    return commit[COMMIT_SUM_TYPE] == 0 && commit[COMMIT_SUM_SIZE] == 0 && found == 0;
}

static void note_failed(jbd2 *j, uint32_t transaction)
{
    j->report->failed = 1;
    j->report->failed_sequence = j->sequence + transaction;
}

/* A commit block. 1: go on; 0: the log ends here. What doesn't fit may be left from an earlier
 * round of the log, which its time tells: then the log simply ends. */
static int scan_commit(scan *s)
{
    jbd2 *j = s->walk.j;
    uint64_t time_s = jbd2_be64(j->scratch[0] + COMMIT_SECONDS);

    if (s->is_ended) {
        note_failed(j, s->ended_at);
        return 0;
    }
    if (s->is_doubtful) {
        if (time_s < s->last_s)
            return 0;
        return jbd2_refuse(j, REP_JBD2_DAMAGED, -EUCLEAN,
                           "journal: wrong checksum of a descriptor: transaction=%u",
                           j->sequence + s->walk.transaction);
    }
    if (!sum_fits(s, j->scratch[0]) || !jbd2_commit_fits(j, j->scratch[0])) {
        if (time_s < s->last_s)
            return 0;
        s->is_ended = true;
        s->ended_at = s->walk.transaction;
        if (!j->is_async) {
            note_failed(j, s->ended_at);
            return 0;
        }
    }
    s->sum = ~0U;
    s->last_s = time_s;
    s->walk.transaction++;
    return 1;
}

int jbd2_scan(jbd2 *j)
{
    scan s = {.walk = begin(j), .sum = ~0U};
    int rc;

    while ((rc = next_block(&s.walk)) > 0) {
        if (s.walk.type != TYPE_COMMIT && !jbd2_tail_fits(j, j->scratch[0]))
            s.is_doubtful = true;
        if (s.walk.type == TYPE_COMMIT)
            rc = scan_commit(&s);
        else if (s.walk.type == TYPE_DESCRIPTOR && j->sums_commits && !s.is_ended)
            rc = sum_descriptor(&s);
        else if (s.walk.type == TYPE_DESCRIPTOR)
            rc = skip(&s.walk, count_tags(j)) ? 1 : 0;
        if (rc <= 0)
            break;
    }
    if (rc < 0)
        return rc;
    j->transactions = s.is_ended ? s.ended_at : s.walk.transaction;
    return jbd2_check_fast_commits(j);
}

/* Notes the copies that the descriptor block in scratch[0] describes. */
static int collect_tags(log_walk *walk)
{
    jbd2 *j = walk->j;
    tag_walk tags = {0};

    while (next_tag(j, &tags)) {
        int rc =
            jbd2_grow(j, (void **)&j->copies, j->copy_count, &j->copy_capacity, sizeof *j->copies);
        if (rc)
            return rc;
        tags.copy.transaction = walk->transaction;
        tags.copy.position = j->last - j->first - walk->left;
        if (!skip(walk, 1))
            return jbd2_refuse(j, REP_JBD2_DAMAGED, -EUCLEAN, "journal: longer than its area");
        j->copies[j->copy_count++] = tags.copy;
    }
    return 0;
}

/* By target, then by age. */
static int by_target(const void *a, const void *b)
{
    const jbd2_copy *x = a;
    const jbd2_copy *y = b;
    if (x->target != y->target)
        return x->target < y->target ? -1 : 1;
    return x->position < y->position ? -1 : x->position > y->position;
}

/* All copies of `target` that aren't newer than `transaction` are kept back. They are before those
 * that are, and revoke records come by age: what was kept back before needs no second look. */
static void revoke(jbd2 *j, uint64_t target, uint32_t transaction)
{
    size_t low = 0;
    size_t high = j->copy_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const jbd2_copy *copy = &j->copies[middle];
        if (copy->target < target || (copy->target == target && copy->transaction <= transaction))
            low = middle + 1;
        else
            high = middle;
    }
    while (low > 0 && j->copies[low - 1].target == target && !j->copies[low - 1].revoked) {
        j->copies[--low].revoked = true;
        j->report->revoked++;
    }
}

static int collect_revokes(log_walk *walk)
{
    jbd2 *j = walk->j;
    const uint8_t *block = j->scratch[0];
    uint32_t end = jbd2_be32(block + HEADER_BYTES);
    uint32_t record = j->is_64bit ? 8 : 4;

    if (end > j->block_bytes - j->tail_bytes)
        return jbd2_refuse(j, REP_JBD2_DAMAGED, -EUCLEAN, "journal: revoke block: bytes=%u", end);
    for (uint32_t at = REVOKE_HEADER_BYTES; at + record <= end; at += record)
        revoke(j, j->is_64bit ? jbd2_be64(block + at) : jbd2_be32(block + at), walk->transaction);
    return 0;
}

/* Walks the committed transactions, for their copies or for their revoke records. */
static int collect(jbd2 *j, bool revokes)
{
    log_walk walk = begin(j);

    while (walk.transaction < j->transactions) {
        int rc = next_block(&walk);
        if (rc < 0)
            return rc;
        if (rc == 0 || (walk.type != TYPE_COMMIT && !jbd2_tail_fits(j, j->scratch[0])))
            return jbd2_refuse(j, REP_JBD2_DAMAGED, -EUCLEAN,
                               "journal: it changes while it is read: transaction=%u",
                               j->sequence + walk.transaction);
        if (walk.type == TYPE_COMMIT)
            walk.transaction++;
        else if (walk.type == TYPE_REVOKE)
            rc = revokes ? collect_revokes(&walk) : 0;
        else if (revokes)
            rc = skip(&walk, count_tags(j)) ? 0 : -EUCLEAN;
        else
            rc = collect_tags(&walk);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int jbd2_collect(jbd2 *j)
{
    int rc = collect(j, false);

    if (rc || !j->copy_count)
        return rc;
    qsort(j->copies, j->copy_count, sizeof *j->copies, by_target);
    return collect(j, true);
}
