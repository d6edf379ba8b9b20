#include "rep_volume.h"

#include <errno.h>
#include <stdlib.h>

#include "alog_parts.h"
#include "ship_parts.h"

int rep_volume_new(rep_io *io, rep_tree *tree, rep_volume **out)
{
    rep_volume *volume = calloc(1, sizeof *volume);
    if (!volume)
        return -ENOMEM;
    int rc = -pthread_mutex_init(&volume->flushing, NULL);
    if (!rc) {
        rc = rep_wait_cond_init(&volume->flushed);
        if (rc)
            pthread_mutex_destroy(&volume->flushing);
    }
    if (rc) {
        free(volume);
        return rc;
    }
    volume->io = io;
    volume->next_sequence = 1;
    atomic_store(&volume->tree, tree);
    *out = volume;
    return 0;
}

void rep_volume_free(rep_volume *volume)
{
    if (!volume)
        return;
    rep_alog *log = atomic_load(&volume->log);
    if (log)
        rep_alog_stop(log);
    for (int i = 0; i < volume->epoch_count; i++)
        rep_bitmap_free(volume->epochs[i].bitmap);
    free(volume->epochs);
    free(volume->links);
    pthread_cond_destroy(&volume->flushed);
    pthread_mutex_destroy(&volume->flushing);
    free(volume);
}

uint64_t rep_volume_size(const rep_volume *volume)
{
    return volume->io->size_bytes;
}

int rep_volume_pread(rep_volume *volume, void *buffer, uint64_t length, uint64_t offset)
{
    if (atomic_load(&volume->fence) & REP_FENCE_READS)
        return -REP_FENCED_READS;
    int rc = rep_io_check(volume->io, offset, length);
    if (rc)
        return rc;
    atomic_fetch_add_explicit(&volume->readers, 1, memory_order_relaxed);
    rc = rep_io_pread(volume->io, buffer, length, offset);
    atomic_fetch_sub_explicit(&volume->readers, 1, memory_order_relaxed);
    return rep_storage_answer(rc);
}

static int close_gate(rep_volume *volume, rep_tree **tree, uint64_t deadline_ns, rep_wake *wake)
{
    for (;;) {
        *tree = atomic_load(&volume->tree);
        int rc = rep_tree_close_all(tree, 1, deadline_ns, wake);
        if (rc < 0)
            return rc;
        if (atomic_load(&volume->tree) == *tree)
            return 0;
        rep_tree_open_all(tree, 1);
    }
}

int rep_volume_close_gate(rep_volume *volume, rep_tree **tree)
{
    return close_gate(volume, tree, REP_NO_DEADLINE, NULL);
}

int rep_volume_fence(rep_volume *volume, int fence, uint64_t deadline_ns, rep_wake *wake)
{
    rep_tree *tree;
    int rc = close_gate(volume, &tree, deadline_ns, wake);
    if (rc)
        return rc;
    atomic_store(&volume->fence, fence);
    if (fence & REP_FENCE_WRITES) { /* what hosts wrote until now is for a copy to replace */
        atomic_store(&volume->host_wrote, 0);
        atomic_store(&volume->untold, 0);
    }
    rep_tree_open_all(&tree, 1);
    return 0;
}

int rep_volume_lease(rep_volume *volume, uint64_t token, uint64_t deadline_ns, rep_wake *wake)
{
    rep_tree *tree;
    int rc = close_gate(volume, &tree, deadline_ns, wake);
    if (rc)
        return rc;
    volume->lease = token;
    rep_tree_open_all(&tree, 1);
    return 0;
}

int rep_volumes_move(rep_volume *const *volumes, int count, rep_tree *from, rep_tree *to)
{
    rep_tree *trees[2] = {from, to};
    int closed = rep_tree_close_all(trees, 2, REP_NO_DEADLINE, NULL);
    if (closed < 0)
        return closed;
    for (int i = 0; i < count; i++)
        atomic_store(&volumes[i]->tree, to);
    rep_tree_open_all(trees, closed);
    return 0;
}

/* Where a ticket's entry for the stream is, or a new one; NULL when the ticket is full. Guarded links
 * have one each, since what the peer refuses it refuses of a link. */
static rep_ticket_entry *entry_of(rep_ticket *ticket, rep_stream *stream, const rep_link *guarded)
{
    for (int i = 0; i < ticket->count; i++)
        if (ticket->entries[i].stream == stream && ticket->entries[i].link == guarded)
            return &ticket->entries[i];
    int room = (int)(sizeof ticket->entries / sizeof *ticket->entries);
    if (ticket->count == room)
        return NULL;
    rep_ticket_entry *entry = &ticket->entries[ticket->count++];
    *entry = (rep_ticket_entry){.stream = stream, .guarded = guarded != NULL, .link = guarded};
    ticket->awaited = 1;
    return entry;
}

bool rep_ticket_add(rep_ticket *ticket, const rep_link *link, uint64_t attempt, uint64_t number)
{
    const rep_link *guarded = atomic_load(&link->guarded) ? link : NULL;
    rep_ticket_entry *entry = entry_of(ticket, link->stream, guarded);
    if (!entry)
        return false;
    entry->attempt = attempt;
    entry->number = number;
    if (link->ack > entry->ack)
        entry->ack = link->ack;
    return true;
}

int rep_ticket_wait(rep_ticket *ticket, uint64_t deadline_ns, rep_wake *wake)
{
    const int count = ticket->count;
    for (int i = 0; i < count; i++) {
        rep_stream_help(ticket->entries[i].stream);
        if (i + 1 < count) /* the last one is waited for first */
            rep_stream_see_sent(ticket->entries[i].stream);
    }
    while (ticket->count > 0) {
        const rep_ticket_entry *entry = &ticket->entries[ticket->count - 1];
        int rc = rep_stream_wait_answer(entry->stream, entry, deadline_ns, wake);
        if (rc && rc != -EPIPE)
            return rc;
        if (rc)
            ticket->unmirrored |= entry->guarded;
        ticket->count--;
    }
    return ticket->unmirrored ? -REP_FENCED_MIRROR : 0;
}

int rep_ticket_give_up(rep_ticket *ticket)
{
    for (int i = 0; i < ticket->count; i++) {
        rep_stream_break_attempt(ticket->entries[i].stream, ticket->entries[i].attempt, -ETIMEDOUT);
        ticket->unmirrored |= ticket->entries[i].guarded;
    }
    ticket->count = 0;
    return ticket->unmirrored ? -REP_FENCED_MIRROR : 0;
}

int rep_ticket_give_up_room(rep_ticket *ticket)
{
    if (!ticket->full)
        return 0;
    rep_stream_break_attempt(ticket->full, ticket->full_attempt, -ETIMEDOUT);
    ticket->full = NULL;
    return 1;
}

/* `flushing` held, and released while the storage flushes. */
static void flush_once(rep_volume *volume, bool host)
{
    uint64_t number = ++volume->flushes_begun;
    volume->flush_runs = true;
    pthread_mutex_unlock(&volume->flushing);
    int rc = rep_storage_answer(rep_volume_flush_io(volume));
    pthread_mutex_lock(&volume->flushing);
    volume->flush_runs = false;
    volume->flushes_done = number;
    if (rc) {
        volume->flush_failures++;
        volume->flush_error = rc;
        if (!host && atomic_load(&volume->host_wrote))
            atomic_store(&volume->untold, rc);
    }
    pthread_cond_broadcast(&volume->flushed);
}

/* A flush that began after the call did, shared with all who came until it began. Storage reports a
 * failure to one of the flushes under way, and none of them knows whose writes it meant: whoever
 * was there while one failed has failed, too. One at a time, or it could be told after another one
 * has answered that all is well. `flushing` held. */
static int flush_shared(rep_volume *volume, bool host)
{
    uint64_t failures = volume->flush_failures;
    uint64_t mine = volume->flushes_begun + 1;
    while (volume->flushes_done < mine) {
        if (!volume->flush_runs) {
            flush_once(volume, host);
            continue;
        }
        volume->flush_sharers++;
        pthread_cond_wait(&volume->flushed, &volume->flushing);
        volume->flush_sharers--;
    }
    return volume->flush_failures == failures ? 0 : volume->flush_error;
}

int rep_volume_make_durable(rep_volume *volume)
{
    pthread_mutex_lock(&volume->flushing);
    int rc = flush_shared(volume, false);
    pthread_mutex_unlock(&volume->flushing);
    return rc;
}

/* Nobody knows which of the writes since the last good flush are durable here: the kernel reports
 * once, and may read the old bytes again later. Their U is no help, a mirror may have settled it.
 * So all is pending, in every row, before the host hears of it. INV-1. */
int rep_volume_lose_track(rep_volume *volume, const rep_link *origin, int cause)
{
    rep_pass pass;
    int rc = rep_tree_enter(&volume->tree, &pass, 0, 0, REP_NO_DEADLINE, NULL);
    if (rc)
        return rc;
    for (int i = 0; i < volume->link_count; i++) {
        rep_link *link = volume->links[i];
        if (link == origin)
            continue;
        if (rep_link_works(link)) {
            atomic_store(&link->source_failed, 1);
            rep_link_break(link, cause);
        }
        rep_bitmap_fill(link->pending);
        /* No region is hot for these bits. If the mark can't be set either there is nothing left
         * that could be done. */
        if (link->file)
            (void)rep_bitmap_file_mark_open(link->file);
    }
    rep_tree_exit(&pass);
    return cause;
}

int rep_volume_flush(rep_volume *volume, rep_ticket *ticket)
{
    pthread_mutex_lock(&volume->flushing);
    int rc = flush_shared(volume, true);
    int untold = atomic_exchange(&volume->untold, 0);
    pthread_mutex_unlock(&volume->flushing);
    if (rc)
        return rep_volume_lose_track(volume, NULL, rc);
    if (untold)
        return untold; /* whoever saw it has lost track already */
    rep_pass pass;     /* over no bytes: holds the links still */
    rc = rep_tree_enter(&volume->tree, &pass, 0, 0, REP_NO_DEADLINE, NULL);
    for (int i = 0; !rc && i < volume->link_count; i++) {
        const rep_link *link = volume->links[i];
        if (atomic_load(&link->mode) != REP_LINK_SHIP || !rep_link_works(link))
            continue;
        rep_stream_info info;
        rep_stream_barrier(link->stream);
        rep_stream_info_get(link->stream, &info);
        if (link->ack == REP_ACK_DURABLE && info.durable < info.last
            && !rep_ticket_add(ticket, link, info.attempt, info.last))
            rc = -ENOBUFS;
    }
    if (rc != -ETIMEDOUT && rc != -ECANCELED)
        rep_tree_exit(&pass);
    return rc;
}
