/* rep_jbd2: replays the journal of an ext3 or ext4 file system that needs recovery, over rep_io
 * alone: no mount, no root, no library.
 *
 * It does what a mount or `e2fsck -E journal_only` does before anything else: committed
 * transactions of the log reach their blocks, but for copies that a revoke record keeps back; the
 * log is marked empty and needs_recovery cleared. Nothing more: orphan lists, times and the lists
 * of free blocks stay as the journal has left them.
 *
 * A transaction without its commit block, or with a torn one, ends the log at the one before it. A
 * commit whose checksum is wrong ends it there too; if it can't be the last one, being torn
 * (without ASYNC_COMMIT, or with another commit behind it), the transactions before it are
 * replayed and the file system is marked as having errors (`failed`), as an error that the journal
 * itself has recorded is. Everything else that contradicts itself in a committed transaction is
 * refused, and then nothing was written: all is checked before the first write.
 *
 * The journal may be hostile: every field is checked. Memory is 24 bytes for each block of the log
 * that a committed transaction describes, and 32 for each piece the journal lies in; time is that
 * of reading the log three times and writing each block once.
 *
 * Crash: it may be stopped before any of its writes and called again: the log stays until all
 * blocks are durable. Threads: the caller keeps others from writing to `io` meanwhile.
 *
 * Source: what is on disk, docs/adr/0008-an-own-journal-replay.md. Step 530; INV-4: a generation is
 * given as a view.
 */
#ifndef REP_JBD2_H
#define REP_JBD2_H

#include <stdint.h>

#include "rep_api.h"
#include "rep_io.h"

REP_API_BEGIN

/* cdef:begin */
enum rep_jbd2_refusal {
    REP_JBD2_NOT_REFUSED = 0,
    REP_JBD2_UNSUPPORTED, /* a feature isn't handled; `text` names it */
    REP_JBD2_DAMAGED,     /* the journal, or what leads to it, contradicts itself */
    REP_JBD2_UNREADABLE   /* the storage failed, or memory is short */
};

typedef struct rep_jbd2_report {
    int recovered;   /* 1: it needed recovery, and has been recovered */
    int from_backup; /* 1: the journal was found by the superblock's copy of its inode */
    int failed;      /* 1: transaction `failed_sequence` is damaged, or the journal had an error */
    uint32_t failed_sequence;
    uint32_t first_sequence; /* of the log's first transaction */
    uint32_t block_bytes;
    uint64_t transactions; /* replayed */
    uint64_t blocks;       /* written, each once */
    uint64_t revoked;      /* copies in the log that revoke records kept back */
    int refusal;           /* enum rep_jbd2_refusal */
    char text[200];        /* why it was refused: numbers as key=value */
} rep_jbd2_report;

/* 0: replayed, or there was nothing to replay (`recovered` says which; storage that holds no ext
 * file system has nothing to replay). -ENOTSUP, -EUCLEAN: refused, nothing was written. -ENOMEM,
 * errno of the storage: as above, or stopped half-way; call it again. */
int rep_jbd2_replay(rep_io *io, rep_jbd2_report *report);
/* cdef:end */

REP_API_END

#endif
