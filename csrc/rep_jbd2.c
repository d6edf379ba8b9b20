#include "rep_jbd2.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "jbd2_parts.h"

#define SUPER_LOG_BLOCK_SIZE 24
#define SUPER_MAGIC 56
#define SUPER_STATE 58
#define SUPER_INCOMPAT 96
#define EXT_MAGIC 0xef53U
#define INCOMPAT_RECOVER 0x4U
#define STATE_ERRORS 0x2U

#define LOG_SEQUENCE 24
#define LOG_START 28
#define LOG_ERRNO 32

#define BATCH_BYTES (256U << 10)

int jbd2_refuse(jbd2 *j, int refusal, int code, const char *format, ...)
{
    va_list arguments;

    j->report->refusal = refusal;
    va_start(arguments, format);
    vsnprintf(j->report->text, sizeof j->report->text, format, arguments);
    va_end(arguments);
    return code;
}

int jbd2_grow(jbd2 *j, void **array, size_t count, size_t *capacity, size_t item_bytes)
{
    size_t wanted;
    void *grown;

    if (count < *capacity)
        return 0;
    wanted = *capacity ? *capacity * 2 : 64;
    grown = wanted > SIZE_MAX / item_bytes ? NULL : realloc(*array, wanted * item_bytes);
    if (!grown)
        return jbd2_refuse(j, REP_JBD2_UNREADABLE, -ENOMEM, "no memory: items=%zu", wanted);
    *array = grown;
    *capacity = wanted;
    return 0;
}

int jbd2_read_block(jbd2 *j, void *buffer, uint64_t block)
{
    int rc;

    if (block >= j->blocks)
        return jbd2_refuse(j, REP_JBD2_DAMAGED, -EUCLEAN,
                           "a block past the file system's end: block=%llu",
                           (unsigned long long)block);
    rc = rep_io_pread(j->io, buffer, j->block_bytes, block * j->block_bytes);
    return rc ? jbd2_refuse(j, REP_JBD2_UNREADABLE, rc, "read failed: block=%llu",
                            (unsigned long long)block)
              : 0;
}

int jbd2_read_log(jbd2 *j, void *buffer, uint32_t log_block)
{
    size_t low = 0;
    size_t high = j->run_count;

    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (j->runs[middle].first <= log_block)
            low = middle;
        else
            high = middle;
    }
    return jbd2_read_block(j, buffer, j->runs[low].block + (log_block - j->runs[low].first));
}

int jbd2_read_copy(jbd2 *j, void *buffer, const jbd2_copy *copy)
{
    static const uint8_t magic[4] = {0xc0, 0x3b, 0x39, 0x98};
    uint32_t room = j->last - j->start;
    uint32_t log_block =
        copy->position < room ? j->start + copy->position : j->first + (copy->position - room);
    int rc = jbd2_read_log(j, buffer, log_block);

    if (rc == 0 && !jbd2_copy_fits(j, copy, buffer))
        return jbd2_refuse(j, REP_JBD2_DAMAGED, -EUCLEAN,
                           "journal: wrong checksum of a copy: block=%llu transaction=%u",
                           (unsigned long long)copy->target, j->sequence + copy->transaction);
    if (rc == 0 && copy->escaped)
        memcpy(buffer, magic, sizeof magic);
    return rc;
}

/* Whether it is the copy whose content its target gets. */
static bool is_final(const jbd2 *j, size_t index)
{
    return !j->copies[index].revoked
           && (index + 1 == j->copy_count
               || j->copies[index + 1].target != j->copies[index].target);
}

/* Where the superblock lies in the block that has it. */
static uint8_t *super_in(const jbd2 *j, uint8_t *block)
{
    return block + JBD2_SUPER_OFFSET % j->block_bytes;
}

/* A copy of the superblock says how large the file system has grown. It must be of this one. */
static int check_super_copy(jbd2 *j, uint64_t *limit)
{
    const uint8_t *super = super_in(j, j->scratch[0]);

    if (jbd2_le16(super + SUPER_MAGIC) != EXT_MAGIC
        || jbd2_le32(super + SUPER_LOG_BLOCK_SIZE) != jbd2_le32(j->super + SUPER_LOG_BLOCK_SIZE)
        || !jbd2_super_fits(super))
        return jbd2_refuse(j, REP_JBD2_DAMAGED, -EUCLEAN, "journal: no superblock for its block");
    if (jbd2_count_blocks(super) > *limit)
        *limit = jbd2_count_blocks(super);
    return 0;
}

/* Reads every copy that would be written, before anything is. */
static int check_copies(jbd2 *j)
{
    uint64_t limit = j->blocks;
    uint64_t room = rep_io_size(j->io) / j->block_bytes;

    for (size_t i = 0; i < j->copy_count; i++) {
        const jbd2_copy *copy = &j->copies[i];
        int rc;
        if (copy->revoked)
            continue;
        rc = jbd2_read_copy(j, j->scratch[0], copy);
        if (rc == 0 && copy->target == JBD2_SUPER_OFFSET / j->block_bytes)
            rc = check_super_copy(j, &limit);
        if (rc)
            return rc;
        if (copy->target >= limit || copy->target >= room)
            return jbd2_refuse(j, REP_JBD2_DAMAGED, -EUCLEAN,
                               "journal: a copy of a block past the file system's end: block=%llu",
                               (unsigned long long)copy->target);
        if (jbd2_run_of(j, copy->target))
            return jbd2_refuse(j, REP_JBD2_DAMAGED, -EUCLEAN,
                               "journal: a copy of a block of the journal itself: block=%llu",
                               (unsigned long long)copy->target);
    }
    return 0;
}

static int written(jbd2 *j, int rc)
{
    return rc ? jbd2_refuse(j, REP_JBD2_UNREADABLE, rc, "write failed") : 0;
}

/* Writes each target once, neighbours together. The superblock keeps needs_recovery: stopped here,
 * the replay begins again. */
static int write_copies(jbd2 *j)
{
    uint32_t most = BATCH_BYTES / j->block_bytes;
    uint8_t *batch = malloc(BATCH_BYTES);
    uint64_t first = 0;
    uint32_t count = 0;
    int rc = 0;

    if (!batch)
        return jbd2_refuse(j, REP_JBD2_UNREADABLE, -ENOMEM, "no memory");
    for (size_t i = 0; i <= j->copy_count && rc == 0; i++) {
        bool is_end = i == j->copy_count;
        uint8_t *at;
        if (!is_end && !is_final(j, i))
            continue;
        if (count && (is_end || count == most || j->copies[i].target != first + count)) {
            rc = written(j, rep_io_pwrite(j->io, batch, (uint64_t)count * j->block_bytes,
                                          first * j->block_bytes));
            count = 0;
        }
        if (is_end || rc)
            continue;
        if (!count)
            first = j->copies[i].target;
        at = batch + (size_t)count++ * j->block_bytes;
        rc = jbd2_read_copy(j, at, &j->copies[i]);
        if (rc == 0 && j->copies[i].target == JBD2_SUPER_OFFSET / j->block_bytes) {
            memcpy(j->super, super_in(j, at), sizeof j->super);
            j->super[SUPER_INCOMPAT] |= INCOMPAT_RECOVER;
            jbd2_seal_super(j->super);
            memcpy(super_in(j, at), j->super, sizeof j->super);
        }
        j->report->blocks++;
    }
    free(batch);
    return rc;
}

static int write_super(jbd2 *j)
{
    int rc;
    jbd2_seal_super(j->super);
    rc = rep_io_pwrite(j->io, j->super, sizeof j->super, JBD2_SUPER_OFFSET);
    return written(j, rc ? rc : rep_io_flush(j->io));
}

/* Empties the log, then says that nothing is to be recovered: each durable before the next. */
static int end_log(jbd2 *j)
{
    /* One on from the transaction that would follow, so that none of the log fits any more. */
    uint32_t next = j->sequence + j->transactions + 1;
    int rc;

    if (jbd2_be32(j->log_super + LOG_ERRNO))
        j->report->failed = 1;
    if (j->report->failed) {
        j->super[SUPER_STATE] |= STATE_ERRORS; /* before the log forgets it */
        rc = write_super(j);
        if (rc)
            return rc;
    }
    jbd2_put_be32(j->log_super + LOG_START, 0);
    jbd2_put_be32(j->log_super + LOG_SEQUENCE, next);
    jbd2_put_be32(j->log_super + LOG_ERRNO, 0);
    jbd2_seal_log_super(j);
    rc = rep_io_pwrite(j->io, j->log_super, sizeof j->log_super, j->runs[0].block * j->block_bytes);
    rc = written(j, rc ? rc : rep_io_flush(j->io));
    if (rc)
        return rc;
    j->super[SUPER_INCOMPAT] &= (uint8_t)~INCOMPAT_RECOVER;
    return write_super(j);
}

static int replay(jbd2 *j)
{
    int rc = jbd2_find(j);

    if (rc <= 0)
        return rc;
    rc = jbd2_load(j);
    if (rc)
        return rc;
    j->report->first_sequence = j->sequence;
    if (j->start) {
        rc = jbd2_scan(j);
        rc = rc ? rc : jbd2_collect(j);
        rc = rc ? rc : check_copies(j);
        rc = rc ? rc : write_copies(j);
        rc = rc ? rc : written(j, rep_io_flush(j->io));
        if (rc)
            return rc;
    }
    rc = end_log(j);
    if (rc)
        return rc;
    j->report->transactions = j->transactions;
    j->report->recovered = 1;
    return 0;
}

int rep_jbd2_replay(rep_io *io, rep_jbd2_report *report)
{
    jbd2 j = {.io = io, .report = report};
    int rc;

    memset(report, 0, sizeof *report);
    rc = replay(&j);
    if (rc)
        report->failed = 0;
    free(j.scratch[0]);
    free(j.scratch[1]);
    free(j.runs);
    free(j.runs_by_block);
    free(j.copies);
    return rc;
}
