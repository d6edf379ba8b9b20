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
    uint64_t started = atomic_load(&log->flush_started);
    if (atomic_load_explicit(&slot->written, memory_order_relaxed) != started)
        atomic_store(&slot->written, started);
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

/* --- planning, under the mutex ----------------------------------------------------------------- */

/* A slot for a region: a free one, or the least recently used one that nobody references. */
static bool find_slot(rep_alog *log, rep_alog_move *move)
{
    for (;;) {
        uint32_t best = REP_ALOG_EMPTY;
        uint64_t oldest = UINT64_MAX;
        for (uint32_t i = 0; i < log->shape.slot_count; i++) {
            rep_alog_slot *slot = &log->slots[i];
            if (atomic_load_explicit(&slot->round, memory_order_relaxed) == log->round)
                continue;
            uint64_t used = slot->region == REP_ALOG_EMPTY
                                ? 0
                                : 1 + atomic_load_explicit(&slot->used, memory_order_relaxed);
            if (used < oldest) {
                oldest = used;
                best = i;
                if (!used)
                    break;
            }
        }
        if (best == REP_ALOG_EMPTY)
            return false;
        rep_alog_slot *slot = &log->slots[best];
        atomic_store_explicit(&slot->round, log->round, memory_order_relaxed);
        uint64_t idle = (uint64_t)(best + 1) << REP_ALOG_SLOT_SHIFT;
        /* From here on nobody gets in any more: a write to it waits for the next transaction. */
        if (slot->region == REP_ALOG_EMPTY
            || atomic_compare_exchange_strong(&log->regions[slot->region], &idle, 0)) {
            move->slot = best;
            move->left = slot->region;
            return true;
        }
    }
}

/* References the request's regions, as many as there are slots for. */
static void plan_request(rep_alog *log, rep_alog_request *request)
{
    for (; request->next < request->end; request->next++) {
        uint64_t region = request->next;
        uint64_t word = atomic_load(&log->regions[region]);
        if (word >> REP_ALOG_SLOT_SHIFT) { /* hot, or arriving: only the mutex changes that */
            atomic_fetch_add(&log->regions[region], 1);
            continue;
        }
        if (log->move_count == REP_ALOG_REGIONS_MAX)
            return;
        rep_alog_move *move = &log->moves[log->move_count];
        if (!find_slot(log, move))
            return;
        move->region = (uint32_t)region;
        log->move_count++;
        log->slots[move->slot].region = move->region;
        atomic_store(&log->slots[move->slot].used, atomic_load(&log->tick) + 1);
        atomic_store(&log->regions[region],
                     (uint64_t)(move->slot + 1) << REP_ALOG_SLOT_SHIFT | REP_ALOG_ARRIVING | 1);
    }
}

/* In the order of asking; only the first may hold a part of what it wants, so that nobody waits for
 * somebody who waits. Whether there is anything to do. */
static bool plan(rep_alog *log)
{
    log->move_count = 0;
    log->round++;
    bool found = false;
    for (rep_alog_request *r = log->head; r; r = r->following) {
        uint64_t first = r->next;
        plan_request(log, r);
        found |= r->next > first;
        if (r->next < r->end) {
            if (r != log->head) {
                /* What it has got a slot for stays hot. */
                for (uint64_t i = first; i < r->next; i++)
                    atomic_fetch_sub(&log->regions[i], 1);
                r->next = first;
            }
            break;
        }
    }
    return found;
}

static void take_out(rep_alog *log, const rep_alog_request *request)
{
    rep_alog_request **at = &log->head;
    while (*at && *at != request)
        at = &(*at)->following;
    if (*at)
        *at = request->following;
}

static void answer(rep_alog *log, int rc)
{
    while (log->head && (rc || log->head->next == log->head->end)) {
        rep_alog_request *r = log->head;
        log->head = r->following;
        r->done = true;
        r->rc = rc;
    }
    pthread_cond_broadcast(&log->changed);
}

/* --- a transaction, by the leader, without the mutex -------------------------------------------- */

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

/* The cover of what leaves is read inside a pass: the rows and intervals stand still. Whoever wrote
 * there is out, and nobody gets in. */
static int put_moves(rep_alog *log)
{
    rep_pass pass;
    rep_volume *volume = log->volume;
    rep_alog_put_begin(log);
    int rc = rep_tree_enter(&volume->tree, &pass, 0, 0, REP_NO_DEADLINE, NULL);
    if (rc)
        return rc;
    for (int i = 0; !rc && i < log->move_count; i++) {
        const rep_alog_move *move = &log->moves[i];
        for (int l = 0; !rc && move->left != REP_ALOG_EMPTY && l < volume->link_count; l++)
            if (volume->links[l]->file)
                rc = put_row(log, volume->links[l], move);
        if (!rc)
            rc = rep_alog_put_slot(log, move);
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

static int commit(rep_alog *log, bool all_slots)
{
    pthread_mutex_lock(&log->mutex);
    uint64_t tail = log->tail;
    uint64_t reset = log->reset;
    pthread_mutex_unlock(&log->mutex);
    int rc = all_slots ? rep_alog_put_all_slots(log) : 0;
    if (!rc && all_slots)
        tail = reset = log->next;
    if (!rc)
        rc = rep_alog_write(log, tail, reset);
    pthread_mutex_lock(&log->mutex);
    log->transactions++;
    if (!rc) {
        log->next += log->block_count;
        log->durable_tail = tail;
        log->reset = reset;
        if (all_slots)
            log->tail = tail;
        atomic_fetch_add(&log->tick, 1);
    }
    pthread_mutex_unlock(&log->mutex);
    return rc;
}

static int transact(rep_alog *log)
{
    if (!log->move_count)
        return 0; /* somebody else's transaction has brought what they wait for */
    int rc = flush_volume(log);
    if (!rc)
        rc = put_moves(log);
    if (!rc)
        rc = make_room(log);
    return rc ? rc : commit(log, false);
}

/* Mutex held: what the transaction said has come true; or the log is of no use any more. */
static void arrive(rep_alog *log)
{
    for (int i = 0; i < log->move_count; i++) {
        const rep_alog_move *move = &log->moves[i];
        atomic_fetch_and(&log->regions[move->region], ~REP_ALOG_ARRIVING);
        log->admissions++;
        if (move->left == REP_ALOG_EMPTY)
            log->hot++;
        else
            (void)rep_bitmap_set(log->left[log->current], move->left, 1);
    }
}

/* Mutex held, released meanwhile. */
static void lead(rep_alog *log)
{
    int rc = log->error;
    if (atomic_load(&log->state) == REP_ALOG_WORKING) {
        pthread_mutex_unlock(&log->mutex);
        rc = transact(log);
        pthread_mutex_lock(&log->mutex);
        arrive(log);
        /* A device's own time-out, taken for that of a wait, would be repeated for ever. */
        if (rc == -ETIMEDOUT || rc == -ECANCELED || rc == -EAGAIN)
            rc = -EIO;
    }
    if (!rc) {
        atomic_store(&log->starving, 0);
        answer(log, 0);
        return;
    }
    /* Nobody knows whether the transaction is on the disk: without it what left isn't hot any more,
     * and with it what was asked for is. The open mark says all. */
    pthread_mutex_unlock(&log->mutex);
    int failed = rep_alog_distrust(log);
    pthread_mutex_lock(&log->mutex);
    if (!log->error)
        log->error = rc;
    atomic_store(&log->state, failed ? REP_ALOG_FAILED : REP_ALOG_BYPASSED);
    for (rep_alog_request *r = log->head; r; r = r->following)
        while (r->next > r->first)
            atomic_fetch_sub(&log->regions[--r->next], 1);
    atomic_store(&log->starving, 0);
    answer(log, failed ? failed : 1);
}

static void append(rep_alog *log, rep_alog_request *request)
{
    rep_alog_request **at = &log->head;
    while (*at)
        at = &(*at)->following;
    *at = request;
}

/* Mutex held. One leader at a time takes everybody's wishes into one transaction. */
static int take_turn(rep_alog *log, uint64_t deadline_ns, rep_wake *wake)
{
    if (log->stopped)
        return -ESHUTDOWN;
    if (!log->leading && atomic_load(&log->state) == REP_ALOG_BYPASSED) {
        answer(log, 1);
        return 0;
    }
    if (!log->leading && (atomic_load(&log->state) != REP_ALOG_WORKING || plan(log))) {
        log->leading = true;
        lead(log);
        log->leading = false;
        pthread_cond_broadcast(&log->changed);
        return 0;
    }
    /* Every slot is referenced. Those who left before the flag was raised are seen by another look. */
    if (!log->leading && !atomic_exchange(&log->starving, 1))
        return 0;
    return rep_wait_on(&log->changed, &log->mutex, deadline_ns, wake);
}

int rep_alog_admit(rep_alog *log, uint64_t first, uint64_t end, uint64_t deadline_ns,
                   rep_wake *wake)
{
    if (end - first > log->shape.slot_count / 2)
        return -EINVAL;
    rep_alog_request self = {.first = first, .next = first, .end = end};
    pthread_mutex_lock(&log->mutex);
    append(log, &self);
    int rc = 0;
    while (!rc && !self.done)
        rc = take_turn(log, deadline_ns, wake);
    if (self.done) {
        rc = self.rc;
    } else {
        take_out(log, &self);
        for (uint64_t region = first; region < self.next; region++)
            atomic_fetch_sub(&log->regions[region], 1);
        atomic_store(&log->starving, 0); /* the next in the queue says it anew */
        pthread_cond_broadcast(&log->changed);
    }
    pthread_mutex_unlock(&log->mutex);
    return rc;
}

int rep_alog_flush(rep_alog *log)
{
    int rc = rep_volume_make_durable(log->volume);
    return rc ? rep_volume_lose_track(log->volume, NULL, rc) : 0;
}

/* --- the beginning ----------------------------------------------------------------------------- */

static int attach(rep_alog *log, rep_volume *volume)
{
    rep_tree *tree;
    int rc = rep_volume_close_gate(volume, &tree);
    if (rc)
        return rc;
    log->volume = volume;
    atomic_store(&volume->log, log);
    /* With the gate closed: whoever went without the log is out. */
    atomic_store(&log->state, REP_ALOG_WORKING);
    rep_tree_open_all(&tree, 1);
    return 0;
}

int rep_alog_begin(rep_alog *log, rep_volume *volume)
{
    pthread_mutex_lock(&log->mutex);
    while (log->leading)
        pthread_cond_wait(&log->changed, &log->mutex);
    log->leading = true;
    log->tail = log->durable_tail = log->reset = log->next;
    pthread_mutex_unlock(&log->mutex);
    int rc = attach(log, volume);
    if (!rc) {
        rep_alog_put_begin(log);
        rc = commit(log, true);
    }
    pthread_mutex_lock(&log->mutex);
    log->error = rc;
    if (rc)
        atomic_store(&log->state, REP_ALOG_BYPASSED);
    log->leading = false;
    pthread_cond_broadcast(&log->changed);
    free(log->past);
    log->past = NULL;
    free(log->past_slots);
    log->past_slots = NULL;
    pthread_mutex_unlock(&log->mutex);
    return rc;
}
