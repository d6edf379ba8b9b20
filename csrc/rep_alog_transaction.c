/* A transaction of the activity log, by its leader, without the mutex: regions that come, and the
 * cover of those that leave. */
#include <errno.h>
#include <stdlib.h>

#include "alog_parts.h"

/* Every region that leaves has been made durable in the volume since its last write. */
static int flush_volume(rep_alog *log)
{
    uint64_t flushed = atomic_load(&log->flushed);
    bool needed = false;
    for (int i = 0; i < log->move_count; i++)
        needed |= log->moves[i].left != REP_ALOG_EMPTY
                  && atomic_load(&log->slots[log->moves[i].slot].written) >= flushed;
    if (!needed)
        return 0;
    pthread_mutex_lock(&log->mutex);
    log->volume_flushes++;
    pthread_mutex_unlock(&log->mutex);
    int rc = rep_volume_make_durable(log->volume);
    return rc ? rep_volume_lose_track(log->volume, NULL, rc) : 0;
}

static int put_row(rep_alog *log, rep_link *link, const rep_alog_move *move)
{
    uint64_t words[REP_ALOG_WORDS_MAX] = {0};
    uint64_t first;
    uint64_t any = 0;
    uint64_t count = rep_alog_bits(log, link, move->left, &first);
    uint64_t word_count = (count + REP_WORD_BITS - 1) / REP_WORD_BITS;
    pthread_mutex_lock(&link->mutex);
    const rep_bitmap **parts;
    int part_count;
    int rc = rep_alog_cover(link, &parts, &part_count);
    for (int p = 0; !rc && p < part_count; p++)
        for (uint64_t i = 0; i < count;) {
            uint64_t word;
            uint64_t bit = first + i;
            uint64_t in_word = bit % REP_WORD_BITS;
            uint64_t take =
                REP_WORD_BITS - in_word < count - i ? REP_WORD_BITS - in_word : count - i;
            /* Inside the bitmap: can't fail. */
            rep_bitmap_words_get(parts[p], bit / REP_WORD_BITS, 1, &word);
            word >>= in_word;
            if (take < REP_WORD_BITS)
                word &= (1ULL << take) - 1;
            words[i / REP_WORD_BITS] |= word << (i % REP_WORD_BITS);
            any |= word;
            i += take;
        }
    pthread_mutex_unlock(&link->mutex);
    if (!rc)
        free(parts);
    if (rc || !any)
        return rc;
    return rep_alog_put_cover(log, move->left, link->row_id, words, (uint32_t)word_count);
}

static int put_move(rep_alog *log, const rep_alog_move *move)
{
    const rep_volume *volume = log->volume;
    int rc = 0;
    for (int l = 0; !rc && move->left != REP_ALOG_EMPTY && l < volume->link_count; l++)
        if (volume->links[l]->file)
            rc = put_row(log, volume->links[l], move);
    return rc ? rc : rep_alog_put_slot(log, move);
}

/* Moves from `first` on, as many as there is room for in one transaction; *end: those before it. The
 * cover of what leaves is read inside a pass: the rows and intervals stand still. Whoever wrote there
 * is out, and nobody gets in. */
static int put_moves(rep_alog *log, int first, int *end)
{
    rep_pass pass;
    rep_alog_put_begin(log);
    int rc = rep_tree_enter(&log->volume->tree, &pass, 0, 0, REP_NO_DEADLINE, NULL);
    if (rc)
        return rc;
    for (*end = first; !rc && *end < log->move_count; (*end)++) {
        uint32_t blocks = log->block_count;
        uint32_t used = log->block_used;
        rc = put_move(log, &log->moves[*end]);
        if (rc == -ENOSPC && *end > first) {
            rep_alog_put_back(log, blocks, used);
            rc = 0;
            break;
        }
    }
    rep_tree_exit(&pass);
    return rc;
}

/* The blocks to be written may not hold anything that a recovery from the last durable transaction
 * would ask for; a part of the ring stays free, so that the new tail gets durable in time. */
static int make_room(rep_alog *log)
{
    pthread_mutex_lock(&log->mutex);
    bool full = log->next - log->tail + 2ULL * log->blocks_max > log->ring_blocks;
    pthread_mutex_unlock(&log->mutex);
    int rc = full ? rep_alog_checkpoint(log, 0) : 0;
    return rc < 0 ? rc : 0;
}

/* Mutex held. What left is told of with the blocks that cover it, in one hold: a checkpoint that saw
 * these and not that would let the log forget them, and write no page. */
static void note_left(rep_alog *log, int first, int end)
{
    for (int i = first; i < end; i++)
        if (log->moves[i].left != REP_ALOG_EMPTY) {
            /* Inside the bitmap: can't fail. */
            (void)rep_bitmap_set(log->left[log->current], log->moves[i].left, 1);
            log->covers_end = log->next;
        }
}

/* Writes log->blocks: the moves of [first, end). `reset` 0: as it was; else whatever was before is
 * forgotten. */
static int write_out(rep_alog *log, int first, int end, uint64_t reset)
{
    pthread_mutex_lock(&log->mutex);
    uint64_t tail = reset ? reset : log->tail;
    uint64_t from = reset ? reset : log->reset;
    pthread_mutex_unlock(&log->mutex);
    int rc = rep_alog_write(log, tail, from);
    pthread_mutex_lock(&log->mutex);
    log->transactions++;
    /* Of one that failed, too: its blocks may be there, and would be taken for the rest of a later
     * one that is shorter. */
    log->next += log->block_count;
    if (!rc) {
        log->reset = from;
        if (reset) /* else a checkpoint may have moved it on meanwhile */
            log->tail = tail;
        log->told = tail;
        note_left(log, first, end);
        atomic_fetch_add(&log->tick, 1);
    }
    pthread_mutex_unlock(&log->mutex);
    return rc;
}

int rep_alog_commit_all(rep_alog *log)
{
    rep_alog_put_begin(log);
    int rc = rep_alog_put_all_slots(log);
    return rc ? rc : write_out(log, 0, 0, log->next);
}

/* There is room: the last durable transaction has left blocks_max blocks free behind it, and a tail
 * that has moved on since frees one at least. */
int rep_alog_tell_tail(rep_alog *log)
{
    rep_alog_put_begin(log);
    int rc = rep_alog_put_block(log);
    return rc ? rc : write_out(log, 0, 0, 0);
}

/* What the slots say of moves from `first` on: that they have taken place, or that they haven't. */
static void tell(rep_alog *log, int first, bool moved)
{
    for (int i = first; i < log->move_count; i++)
        log->slots[log->moves[i].slot].region = moved ? log->moves[i].region : log->moves[i].left;
}

int rep_alog_transact(rep_alog *log)
{
    if (!log->move_count)
        return 0; /* somebody else's transaction has brought what they wait for */
    int rc = flush_volume(log);
    int end = 0;
    for (int first = 0; !rc && first < log->move_count; first = end) {
        rc = put_moves(log, first, &end);
        if (!rc)
            rc = make_room(log);
        tell(log, end, false); /* each block tells of slots as they are after its transaction */
        if (!rc)
            rc = write_out(log, first, end, 0);
        tell(log, end, true);
    }
    return rc;
}
