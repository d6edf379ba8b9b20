#include "rep_link.h"

#include <errno.h>
#include <stdlib.h>

#include "parts.h"

#define CHUNK_BYTES_MIN 4096ULL
#define CHUNK_BYTES_MAX (1ULL << 20)

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
        .unsettled_epoch = atomic_load(&link->epoch),
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
    rep_link_drop_held(link, 0);
    rep_link_drop_held(link, 1);
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

int rep_link_flush(rep_link *link)
{
    int rc = rep_volume_make_durable(link->volume);
    return rc ? rep_volume_lose_track(link->volume, link, rc) : 0;
}
