#include "rep_alog.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "alog_parts.h"

static int words_new(rep_alog *log)
{
    /* Touched where there are writes: 4 million regions cost no memory by themselves. */
    log->mapping_bytes = log->region_count * sizeof(uint64_t);
    log->mapping = mmap(NULL, log->mapping_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (log->mapping == MAP_FAILED) {
        log->mapping = NULL;
        return -ENOMEM;
    }
    log->regions = log->mapping;
    return 0;
}

static int memory_new(rep_alog *log)
{
    uint32_t slots = log->shape.slot_count;
    log->slots = calloc(slots, sizeof *log->slots);
    log->blocks_max = rep_alog_blocks_max(&log->shape);
    log->blocks = calloc(log->blocks_max, REP_ALOG_BLOCK);
    if (!log->slots || !log->blocks)
        return -ENOMEM;
    for (uint32_t i = 0; i < slots; i++)
        log->slots[i].region = REP_ALOG_EMPTY;
    int rc = words_new(log);
    for (int i = 0; !rc && i < 2; i++)
        rc = rep_bitmap_new(log->region_count, &log->left[i]);
    return rc;
}

static void destroy(rep_alog *log)
{
    if (log->mapping)
        munmap(log->mapping, log->mapping_bytes);
    rep_bitmap_free(log->left[0]);
    rep_bitmap_free(log->left[1]);
    pthread_cond_destroy(&log->changed);
    pthread_mutex_destroy(&log->mutex);
    pthread_mutex_destroy(&log->checkpointing);
    free(log->kept);
    free(log->past);
    free(log->past_slots);
    free(log->slots);
    free(log->blocks);
    free(log);
}

static int locks_new(rep_alog *log)
{
    int rc = -pthread_mutex_init(&log->mutex, NULL);
    if (rc)
        return rc;
    rc = -pthread_mutex_init(&log->checkpointing, NULL);
    if (!rc) {
        rc = rep_wait_cond_init(&log->changed);
        if (rc)
            pthread_mutex_destroy(&log->checkpointing);
    }
    if (rc)
        pthread_mutex_destroy(&log->mutex);
    return rc;
}

int rep_alog_open(rep_io *io, const rep_alog_shape *expected, rep_alog **out)
{
    rep_alog *log = calloc(1, sizeof *log);
    if (!log)
        return -ENOMEM;
    log->io = io;
    log->shape = *expected;
    int rc = locks_new(log);
    if (rc) {
        free(log);
        return rc;
    }
    rc = rep_alog_read(log);
    if (!rc)
        rc = memory_new(log);
    if (rc)
        destroy(log);
    else
        *out = log;
    return rc;
}

void rep_alog_free(rep_alog *log)
{
    if (log)
        destroy(log);
}

void rep_alog_shape_get(const rep_alog *log, rep_alog_shape *out)
{
    *out = log->shape;
}

void rep_alog_info_get(rep_alog *log, rep_alog_info *out)
{
    pthread_mutex_lock(&log->mutex);
    *out = (rep_alog_info){
        .state = atomic_load(&log->state),
        .error = log->error,
        .slot_count = log->shape.slot_count,
        .hot = log->hot,
        .admissions = log->admissions,
        .transactions = log->transactions,
        .volume_flushes = log->volume_flushes,
        .checkpoints = log->checkpoints,
        .page_flushes = log->page_flushes,
        .used_blocks = log->next - log->tail,
        .ring_blocks = log->ring_blocks,
    };
    pthread_mutex_unlock(&log->mutex);
}

uint64_t rep_alog_piece_bytes(const rep_alog *log)
{
    uint64_t regions = log->shape.slot_count / 8;
    return (regions ? regions : 1) << log->region_shift;
}

/* --- references ------------------------------------------------------------------------------- */

static bool take_one(rep_alog *log, uint64_t region)
{
    uint64_t word = atomic_load(&log->regions[region]);
    do
        if (!(word >> REP_ALOG_SLOT_SHIFT) || word & REP_ALOG_ARRIVING)
            return false;
    while (!atomic_compare_exchange_weak(&log->regions[region], &word, word + 1));
    rep_alog_slot *slot = &log->slots[(word >> REP_ALOG_SLOT_SHIFT) - 1];
    uint64_t tick = atomic_load_explicit(&log->tick, memory_order_relaxed);
    if (atomic_load_explicit(&slot->used, memory_order_relaxed) != tick)
        atomic_store_explicit(&slot->used, tick, memory_order_relaxed);
    return true;
}

static void give_back_one(rep_alog *log, uint64_t region)
{
    uint64_t word = atomic_load(&log->regions[region]);
    rep_alog_slot *slot = &log->slots[(word >> REP_ALOG_SLOT_SHIFT) - 1];
    /* Before the reference goes: whoever takes the slot away must see it. A flush that begins from
     * now on covers the write. */
    rep_alog_note_written(slot, atomic_load(&log->flush_started));
    word = atomic_fetch_sub(&log->regions[region], 1);
    if ((word & REP_ALOG_REFERENCES) == 1 && atomic_load(&log->starving)) {
        pthread_mutex_lock(&log->mutex);
        pthread_cond_broadcast(&log->changed);
        pthread_mutex_unlock(&log->mutex);
    }
}

int rep_alog_take(rep_alog *log, uint64_t first, uint64_t end)
{
    int state = atomic_load(&log->state);
    if (state == REP_ALOG_BYPASSED)
        return 1;
    if (state != REP_ALOG_WORKING || atomic_load(&log->starving))
        return -EAGAIN;
    for (uint64_t region = first; region < end; region++)
        if (!take_one(log, region)) {
            rep_alog_give_back(log, first, region);
            return -EAGAIN;
        }
    return 0;
}

void rep_alog_give_back(rep_alog *log, uint64_t first, uint64_t end)
{
    for (uint64_t region = first; region < end; region++)
        give_back_one(log, region);
}

void rep_alog_enter(rep_alog *log)
{
    pthread_mutex_lock(&log->mutex);
    log->inside++;
    pthread_mutex_unlock(&log->mutex);
}

void rep_alog_leave(rep_alog *log)
{
    pthread_mutex_lock(&log->mutex);
    log->inside--;
    if (!log->inside)
        pthread_cond_broadcast(&log->changed);
    pthread_mutex_unlock(&log->mutex);
}

void rep_alog_stop(rep_alog *log)
{
    pthread_mutex_lock(&log->mutex);
    log->stopped = true;
    pthread_cond_broadcast(&log->changed);
    while (log->inside)
        pthread_cond_wait(&log->changed, &log->mutex);
    pthread_mutex_unlock(&log->mutex);
}

/* --- the beginning, and a flush ----------------------------------------------------------------- */

int rep_alog_flush(rep_alog *log)
{
    int rc = rep_volume_make_durable(log->volume);
    return rc ? rep_volume_lose_track(log->volume, NULL, rc) : 0;
}

/* Whether a row of this volume has had work before: what was written then is in no hot region. */
static bool has_worked(const rep_volume *volume)
{
    for (int i = 0; i < volume->link_count; i++)
        if (volume->links[i]->duty)
            return true;
    return false;
}

static int attach(rep_alog *log, rep_volume *volume, bool *worked)
{
    rep_tree *tree;
    int rc = rep_volume_close_gate(volume, &tree);
    if (rc)
        return rc;
    *worked = has_worked(volume);
    log->volume = volume;
    atomic_store(&volume->log, log);
    /* With the gate closed: whoever went without the log is out. */
    atomic_store(&log->state, REP_ALOG_WORKING);
    rep_tree_open_all(&tree, 1);
    return 0;
}

/* By the leader. `checkpointing` is held throughout: until the log is durable no row may be saved,
 * whose log mark would be trusted. */
static int take_up(rep_alog *log, rep_volume *volume)
{
    bool worked = false;
    pthread_mutex_lock(&log->checkpointing);
    int rc = attach(log, volume, &worked);
    /* What was written without the log: once the mirror of it is durable, nothing else would tell
     * that a power loss took it from this volume (INV-1). */
    if (!rc && worked)
        rc = rep_alog_flush(log);
    if (!rc)
        rc = rep_alog_commit_all(log);
    if (rc)
        atomic_store(&log->state, REP_ALOG_BYPASSED);
    pthread_mutex_unlock(&log->checkpointing);
    return rc;
}

int rep_alog_begin(rep_alog *log, rep_volume *volume)
{
    /* Before anybody has to wait for it: the flush that counts is a short one then. */
    int rc = log->volume ? rep_alog_flush(log) : 0;
    if (rc)
        return rc;
    pthread_mutex_lock(&log->mutex);
    while (log->leading)
        pthread_cond_wait(&log->changed, &log->mutex);
    log->leading = true;
    pthread_mutex_unlock(&log->mutex);
    rc = rep_alog_clear_rest(log);
    pthread_mutex_lock(&log->mutex);
    log->tail = log->reset = log->next;
    pthread_mutex_unlock(&log->mutex);
    /* Writes come in before the log is durable, or without it: the open marks must be there. */
    if (!rc && atomic_load(&log->state) == REP_ALOG_FAILED)
        rc = rep_alog_distrust(log);
    if (!rc) {
        pthread_mutex_lock(&log->mutex);
        rep_alog_arrive(log);
        pthread_mutex_unlock(&log->mutex);
        rc = take_up(log, volume);
    }
    pthread_mutex_lock(&log->mutex);
    log->error = rc;
    log->leading = false;
    pthread_cond_broadcast(&log->changed);
    free(log->past);
    log->past = NULL;
    free(log->past_slots);
    log->past_slots = NULL;
    pthread_mutex_unlock(&log->mutex);
    return rc;
}
