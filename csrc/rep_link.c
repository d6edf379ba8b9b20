#include "rep_link.h"

#include <errno.h>
#include <stdlib.h>

#include "parts.h"

#define CHUNK_BYTES_MIN 4096ULL
#define CHUNK_BYTES_MAX (1ULL << 20)
#define RUNS 64

static uint64_t chunks_of_volume(const rep_volume *volume, unsigned shift)
{
    return (volume->io->size_bytes + (1ULL << shift) - 1) >> shift;
}

static int bitmaps_new(rep_link *link)
{
    uint64_t chunks = chunks_of_volume(link->volume, link->chunk_shift);
    int rc = rep_bitmap_new(chunks, &link->pending);
    for (int i = 0; !rc && i < 2; i++)
        rc = rep_bitmap_new(chunks, &link->unsettled[i]);
    return rc;
}

static void destroy(rep_link *link)
{
    rep_bitmap_free(link->pending);
    rep_bitmap_free(link->unsettled[0]);
    rep_bitmap_free(link->unsettled[1]);
    pthread_mutex_destroy(&link->settling);
    pthread_mutex_destroy(&link->mutex);
    free(link);
}

/* Gate closed. A volume's marks have one chunk size. */
static int attach(rep_volume *volume, rep_link *link)
{
    for (int i = 0; link->shares_marks && i < volume->link_count; i++)
        if (volume->links[i]->shares_marks && volume->links[i]->chunk_shift != link->chunk_shift)
            return -EINVAL;
    rep_link **grown =
        realloc(volume->links, ((size_t)volume->link_count + 1) * sizeof *volume->links);
    if (!grown)
        return -ENOMEM;
    volume->links = grown;
    volume->links[volume->link_count++] = link;
    if (link->shares_marks)
        volume->marks_shift = link->chunk_shift;
    return 0;
}

int rep_link_new(rep_volume *volume, uint64_t chunk_bytes, int shares_marks, rep_link **out)
{
    if (chunk_bytes < CHUNK_BYTES_MIN || chunk_bytes > CHUNK_BYTES_MAX
        || (chunk_bytes & (chunk_bytes - 1)))
        return -EINVAL;
    rep_link *link = calloc(1, sizeof *link);
    if (!link)
        return -ENOMEM;
    link->volume = volume;
    link->chunk_shift = (unsigned)__builtin_ctzll(chunk_bytes);
    link->shares_marks = shares_marks != 0;
    int rc = -pthread_mutex_init(&link->mutex, NULL);
    if (rc) {
        free(link);
        return rc;
    }
    rc = -pthread_mutex_init(&link->settling, NULL);
    if (rc) {
        pthread_mutex_destroy(&link->mutex);
        free(link);
        return rc;
    }
    rc = bitmaps_new(link);
    if (!rc) {
        rep_tree *tree;
        rc = rep_volume_close_gate(volume, &tree);
        if (!rc) {
            rc = attach(volume, link);
            rep_tree_open_all(&tree, 1);
        }
    }
    if (rc) {
        destroy(link);
        return rc;
    }
    *out = link;
    return 0;
}

static void stop_shipping(rep_link *link)
{
    if (link->stream) {
        rep_stream_leave(link->stream, link);
        link->stream = NULL;
    }
}

void rep_link_free(rep_link *link)
{
    if (!link)
        return;
    rep_volume *volume = link->volume;
    rep_tree *tree;
    rep_link_keep(link, NULL, NULL);
    int rc = rep_volume_close_gate(volume, &tree);
    stop_shipping(link);
    volume->guards -= atomic_load(&link->guarded);
    for (int i = 0; i < volume->link_count; i++)
        if (volume->links[i] == link) {
            volume->links[i] = volume->links[--volume->link_count];
            break;
        }
    atomic_store(&link->mode, REP_LINK_IDLE);
    link->epoch_start = 0;
    rep_volume_prune_epochs(volume);
    if (!rc)
        rep_tree_open_all(&tree, 1);
    destroy(link);
}

void rep_link_info_get(rep_link *link, rep_link_info *out)
{
    pthread_mutex_lock(&link->mutex);
    *out = (rep_link_info){
        .mode = atomic_load(&link->mode),
        .broken = atomic_load(&link->broken),
        .source_failed = atomic_load(&link->source_failed),
        .epoch_start = link->epoch_start,
        .any_pending = rep_bitmap_any(link->pending),
        .any_unsettled = rep_bitmap_any(link->unsettled[0]) || rep_bitmap_any(link->unsettled[1]),
    };
    pthread_mutex_unlock(&link->mutex);
}

uint64_t rep_link_chunk_count(const rep_link *link)
{
    return rep_bitmap_size(link->pending);
}

rep_bitmap *rep_link_pending(rep_link *link)
{
    return link->pending;
}

/* into |= P (and U) | shared marks. A pass over no bytes holds the intervals still. */
static int gather(rep_link *link, bool with_unsettled, rep_bitmap *into)
{
    rep_pass pass;
    int rc = rep_tree_enter(&link->volume->tree, &pass, 0, 0, REP_NO_DEADLINE, NULL);
    if (rc)
        return rc;
    pthread_mutex_lock(&link->mutex);
    /* P before U: a copier may be moving bits that way. Breaks and drops wait for the mutex. */
    rc = rep_bitmap_or(into, link->pending);
    for (int i = 0; with_unsettled && !rc && i < 2; i++)
        rc = rep_bitmap_or(into, link->unsettled[i]);
    pthread_mutex_unlock(&link->mutex);
    const rep_volume *volume = link->volume;
    for (int i = 0; link->epoch_start && !rc && i < volume->epoch_count; i++)
        if (volume->epochs[i].sequence >= link->epoch_start)
            rc = rep_bitmap_or(into, volume->epochs[i].bitmap);
    rep_tree_exit(&pass);
    return rc;
}

int rep_link_collect(rep_link *link, rep_bitmap *into)
{
    return gather(link, true, into);
}

int rep_link_collect_pending(rep_link *link, rep_bitmap *into)
{
    return gather(link, false, into);
}

int rep_link_pending_count(rep_link *link, uint64_t *count)
{
    if (!link->epoch_start) {
        *count = rep_bitmap_count(link->pending);
        return 0;
    }
    rep_bitmap *all;
    int rc = rep_bitmap_new(rep_link_chunk_count(link), &all);
    if (rc)
        return rc;
    rc = gather(link, false, all);
    if (!rc)
        *count = rep_bitmap_count(all);
    rep_bitmap_free(all);
    return rc;
}

void rep_link_give_up_unsettled(rep_link *link)
{
    pthread_mutex_lock(&link->mutex);
    /* Equal sizes: can't fail. */
    rep_bitmap_merge(link->pending, link->unsettled[0]);
    rep_bitmap_merge(link->pending, link->unsettled[1]);
    pthread_mutex_unlock(&link->mutex);
}

/* `mutex` held. Clear, not reset: a writer that has the old epoch's number may be setting a bit. */
static void drop_held(rep_link *link, uint64_t epoch)
{
    rep_bitmap *closed = link->unsettled[epoch & 1];
    rep_bitmap_clear(closed, 0, rep_bitmap_size(closed));
}

void rep_link_drop_epoch(rep_link *link, uint64_t epoch)
{
    pthread_mutex_lock(&link->mutex);
    drop_held(link, epoch);
    pthread_mutex_unlock(&link->mutex);
}

void rep_link_break(rep_link *link, int cause)
{
    int none = 0;
    /* First the flag, then the merge: a writer either sees the flag after setting its U and sets P
     * itself, or its U is merged here. */
    atomic_compare_exchange_strong(&link->broken, &none, cause);
    rep_link_give_up_unsettled(link);
}

/* Gate closed: out of whatever it does, with everything unsettled pending. */
static void stop_working(rep_link *link)
{
    stop_shipping(link);
    rep_link_give_up_unsettled(link);
    pthread_mutex_lock(&link->mutex);
    drop_held(link, 0);
    drop_held(link, 1);
    link->duty++;
    pthread_mutex_unlock(&link->mutex);
    link->target = NULL;
    link->target_link = NULL;
    atomic_store(&link->follows, 0);
    atomic_store(&link->broken, 0);
    atomic_store(&link->source_failed, 0);
}

void rep_link_split(rep_link *link, rep_bitmap **fresh)
{
    /* A local target's U is settled by the SVOL's flush, later. Of what was shipped nobody will
     * know: the link leaves its stream here. */
    if (atomic_load(&link->mode) == REP_LINK_SHIP)
        stop_working(link);
    atomic_store(&link->mode, REP_LINK_MARK);
    rep_link_start_interval(link, fresh);
}

/* Gate closed: whether anything is pending, shared marks included. */
static bool has_pending(const rep_link *link)
{
    const rep_volume *volume = link->volume;
    bool any = rep_bitmap_any(link->pending);
    for (int i = 0; link->epoch_start && !any && i < volume->epoch_count; i++)
        any = volume->epochs[i].sequence >= link->epoch_start
              && rep_bitmap_any(volume->epochs[i].bitmap);
    return any;
}

/* Gate closed: what the intervals hold for this link moves into its own P. */
static int fold_marks(rep_link *link)
{
    rep_volume *volume = link->volume;
    int rc = 0;
    for (int i = 0; link->epoch_start && !rc && i < volume->epoch_count; i++)
        if (volume->epochs[i].sequence >= link->epoch_start)
            rc = rep_bitmap_merge(link->pending, volume->epochs[i].bitmap);
    if (!rc) {
        link->epoch_start = 0;
        rep_volume_prune_epochs(volume);
    }
    return rc;
}

int rep_link_idle(rep_link *link)
{
    rep_tree *tree;
    int rc = rep_volume_close_gate(link->volume, &tree);
    if (rc)
        return rc;
    rc = fold_marks(link);
    if (!rc) {
        stop_working(link);
        atomic_store(&link->mode, REP_LINK_IDLE);
    }
    rep_tree_open_all(&tree, 1);
    return rc;
}

int rep_link_mark(rep_link *link)
{
    rep_bitmap *fresh;
    int rc = rep_link_fresh_marks(link, &fresh);
    if (rc)
        return rc;
    rep_tree *tree;
    rc = rep_volume_close_gate(link->volume, &tree);
    if (!rc) {
        /* A row that marks already may still have its split's U to settle: leave it alone. */
        if (atomic_load(&link->mode) != REP_LINK_MARK) {
            stop_working(link);
            atomic_store(&link->mode, REP_LINK_MARK);
            rep_link_start_interval(link, &fresh);
        }
        rep_tree_open_all(&tree, 1);
    }
    rep_bitmap_free(fresh);
    return rc;
}

int rep_link_mark_from(rep_link *link, uint64_t epoch_start)
{
    if (!epoch_start)
        return rep_link_mark(link);
    rep_volume *volume = link->volume;
    rep_tree *tree;
    int rc = rep_volume_close_gate(volume, &tree);
    if (rc)
        return rc;
    rc = -EINVAL;
    for (int i = 0; link->shares_marks && i < volume->epoch_count; i++)
        if (volume->epochs[i].sequence == epoch_start
            && rep_bitmap_size(volume->epochs[i].bitmap) == rep_link_chunk_count(link))
            rc = 0;
    if (!rc) {
        stop_working(link);
        link->epoch_start = epoch_start;
        atomic_store(&link->mode, REP_LINK_MARK);
    }
    rep_tree_open_all(&tree, 1);
    return rc;
}

int rep_link_forward(rep_link *link, rep_volume *target, rep_link *target_link)
{
    if (target->io->size_bytes != link->volume->io->size_bytes || target == link->volume)
        return -EINVAL;
    rep_tree *tree;
    int rc = rep_volume_close_gate(link->volume, &tree);
    if (rc)
        return rc;
    if (atomic_load(&target->tree) != tree)
        rc = -EXDEV;
    if (!rc)
        rc = fold_marks(link);
    if (!rc) {
        stop_working(link);
        link->target = target;
        link->target_link = target_link;
        atomic_store(&link->mode, REP_LINK_FORWARD);
    }
    rep_tree_open_all(&tree, 1);
    return rc;
}

static int ship(rep_link *link, rep_stream *stream, uint32_t channel, int ack, bool clean)
{
    rep_tree *tree;
    int rc = rep_volume_close_gate(link->volume, &tree);
    if (rc)
        return rc;
    rc = clean && has_pending(link) ? -EBUSY : fold_marks(link);
    if (!rc) {
        stop_working(link);
        link->channel = channel;
        link->ack = ack;
        rc = rep_stream_join(stream, link);
        if (!rc) {
            link->stream = stream;
            atomic_store(&link->follows, clean);
        }
        /* A stream that isn't open leaves a row that marks: nothing is lost by the failure. */
        atomic_store(&link->mode, rc ? REP_LINK_MARK : REP_LINK_SHIP);
    }
    rep_tree_open_all(&tree, 1);
    return rc;
}

int rep_link_ship(rep_link *link, rep_stream *stream, uint32_t channel, int ack)
{
    return ship(link, stream, channel, ack, false);
}

int rep_link_ship_clean(rep_link *link, rep_stream *stream, uint32_t channel, int ack)
{
    return ship(link, stream, channel, ack, true);
}

void rep_link_set_congestion(rep_link *link, int congestion)
{
    atomic_store(&link->congestion, congestion);
}

int rep_link_follow(rep_link *link)
{
    rep_tree *tree;
    int rc = rep_volume_close_gate(link->volume, &tree);
    if (rc)
        return rc;
    if (atomic_load(&link->mode) == REP_LINK_SHIP) {
        if (atomic_load(&link->broken))
            rc = -EPIPE;
        else if (rep_bitmap_any(link->pending))
            rc = -EBUSY;
        else
            atomic_store(&link->follows, 1);
    }
    rep_tree_open_all(&tree, 1);
    return rc;
}

int rep_link_guard(rep_link *link, int on)
{
    if (atomic_load(&link->guarded) == (on != 0))
        return 0;
    rep_tree *tree;
    int rc = rep_volume_close_gate(link->volume, &tree);
    if (rc)
        return rc;
    link->volume->guards += (on != 0) - atomic_load(&link->guarded);
    atomic_store(&link->guarded, on != 0);
    rep_tree_open_all(&tree, 1);
    return 0;
}

int rep_link_clean(rep_link *link)
{
    rep_bitmap *fresh;
    int rc = rep_link_fresh_marks(link, &fresh);
    if (rc)
        return rc;
    rep_tree *tree;
    rc = rep_volume_close_gate(link->volume, &tree);
    if (!rc) {
        int mode = atomic_load(&link->mode);
        if (mode == REP_LINK_FORWARD || mode == REP_LINK_SHIP) {
            rc = -EBUSY;
        } else {
            rep_bitmap_clear(link->pending, 0, rep_bitmap_size(link->pending));
            if (mode == REP_LINK_MARK) {
                rep_link_drop_epoch(link, 0);
                rep_link_drop_epoch(link, 1);
                rep_link_start_interval(link, &fresh);
            }
        }
        rep_tree_open_all(&tree, 1);
    }
    rep_bitmap_free(fresh);
    return rc;
}

/* Inside a pass, where the target stands still. */
static int close_epoch(rep_link *link, rep_volume **target, const rep_link **origin,
                       uint64_t *closed, uint64_t *duty)
{
    rep_pass pass;
    int rc = rep_tree_enter(&link->volume->tree, &pass, 0, 0, REP_NO_DEADLINE, NULL);
    if (rc)
        return rc;
    if (atomic_load(&link->mode) == REP_LINK_SHIP || !link->target) {
        rc = -EINVAL;
    } else {
        *target = link->target;
        *origin = link->target_link;
        *duty = link->duty;
        *closed = atomic_fetch_add(&link->epoch, 1);
    }
    rep_tree_exit(&pass);
    return rc;
}

/* One epoch: everything set in it before the flip was written to the target before it, or its
 * writer sees the flip and sets the new epoch too. No gate is held while the target flushes: a cut
 * would wait for it. */
static int settle_once(rep_link *link)
{
    rep_volume *target;
    const rep_link *origin;
    uint64_t closed;
    uint64_t duty;
    int rc = close_epoch(link, &target, &origin, &closed, &duty);
    if (rc)
        return rc;
    rc = rep_volume_make_durable(target);
    if (rc) /* its hosts' next flush would be told nothing */
        rep_volume_lose_track(target, origin, rc);
    pthread_mutex_lock(&link->mutex);
    bool same = link->duty == duty;
    if (same && !rc)
        drop_held(link, closed);
    pthread_mutex_unlock(&link->mutex);
    if (!same)
        return -ESTALE;
    /* A flush that failed isn't made good by a later one that succeeds: the kernel reports once. */
    if (rc)
        rep_link_break(link, rc);
    return atomic_load(&link->broken);
}

int rep_link_settle(rep_link *link)
{
    pthread_mutex_lock(&link->settling);
    int rc = settle_once(link);
    if (!rc)
        rc = settle_once(link);
    pthread_mutex_unlock(&link->settling);
    return rc;
}

int rep_link_settle_epoch(rep_link *link)
{
    pthread_mutex_lock(&link->settling);
    int rc = settle_once(link);
    pthread_mutex_unlock(&link->settling);
    return rc;
}

uint64_t rep_link_unsettled_count(const rep_link *link)
{
    uint64_t firsts[RUNS];
    uint64_t counts[RUNS];
    uint64_t size = rep_bitmap_size(link->pending);
    uint64_t found = 0;
    for (uint64_t at = 0; at < size;) {
        int runs = rep_bitmap_runs(link->unsettled[0], link->unsettled[1], REP_BITMAP_UNION, at,
                                   firsts, counts, RUNS, &at);
        for (int i = 0; i < runs; i++)
            found += counts[i];
        if (runs < 0)
            break; /* equal sizes: can't be */
    }
    return found;
}

int rep_link_flush(rep_link *link)
{
    int rc = rep_volume_make_durable(link->volume);
    return rc ? rep_volume_lose_track(link->volume, link, rc) : 0;
}
