/* The shared marks of sibling pairs: one bitmap per interval between two splits (docs/adr/0001). */
#include <errno.h>
#include <stdlib.h>

#include "parts.h"

int rep_link_fresh_marks(const rep_link *link, rep_bitmap **out)
{
    *out = NULL;
    return link->shares_marks ? rep_bitmap_new(rep_link_chunk_count(link), out) : 0;
}

/* Gate closed. false: no memory, nothing has changed. */
static bool push(rep_volume *volume, rep_bitmap *bitmap, uint64_t sequence)
{
    size_t count = (size_t)volume->epoch_count;
    rep_epoch *grown = realloc(volume->epochs, (count + 1) * sizeof *volume->epochs);
    if (!grown)
        return false;
    grown[count] = (rep_epoch){sequence, bitmap};
    volume->epochs = grown;
    volume->epoch_count++;
    volume->next_sequence = sequence + 1;
    return true;
}

void rep_link_start_interval(rep_link *link, rep_bitmap **fresh)
{
    rep_volume *volume = link->volume;
    if (!link->shares_marks)
        return;
    link->epoch_start = 0;
    rep_volume_prune_epochs(volume);
    int last = volume->epoch_count - 1;
    if (last >= 0 && !rep_bitmap_any(volume->epochs[last].bitmap)) {
        link->epoch_start = volume->epochs[last].sequence;
        return;
    }
    uint64_t sequence = volume->next_sequence;
    if (push(volume, *fresh, sequence)) {
        *fresh = NULL;
        link->epoch_start = sequence;
    }
    /* No memory for 16 bytes: the link marks in its own P (epoch_start 0). Slower, never wrong. */
}

static bool told_apart(const rep_volume *volume, uint64_t sequence)
{
    for (int i = 0; i < volume->link_count; i++)
        if (volume->links[i]->epoch_start == sequence)
            return true;
    return false;
}

static void drop(rep_volume *volume, int index)
{
    rep_bitmap_free(volume->epochs[index].bitmap);
    volume->epoch_count--;
    for (int i = index; i < volume->epoch_count; i++)
        volume->epochs[i] = volume->epochs[i + 1];
}

void rep_volume_prune_epochs(rep_volume *volume)
{
    while (volume->epoch_count && !told_apart(volume, volume->epochs[0].sequence))
        drop(volume, 0);
    for (int i = 1; i < volume->epoch_count;) {
        if (told_apart(volume, volume->epochs[i].sequence)) {
            i++;
            continue;
        }
        /* Nobody marks while the gate is closed. Equal sizes: can't fail. */
        rep_bitmap_or(volume->epochs[i - 1].bitmap, volume->epochs[i].bitmap);
        drop(volume, i);
    }
}

int rep_link_marks_between(rep_link *one, rep_link *other, rep_bitmap *into)
{
    rep_volume *volume = one->volume;
    if (other->volume != volume)
        return -EINVAL;
    rep_pass pass;
    /* Over no bytes: it holds the intervals still while hosts go on marking. */
    int rc = rep_tree_enter(&volume->tree, &pass, 0, 0, REP_NO_DEADLINE, NULL);
    if (rc)
        return rc;
    uint64_t from = one->epoch_start, to = other->epoch_start;
    if (!from || !to)
        rc = -ENODATA;
    if (from > to) { /* the older one may have been restored from, and was split again since */
        uint64_t later = from;
        from = to;
        to = later;
    }
    for (int i = 0; !rc && i < volume->epoch_count; i++)
        if (volume->epochs[i].sequence >= from && volume->epochs[i].sequence < to)
            rc = rep_bitmap_or(into, volume->epochs[i].bitmap);
    rep_tree_exit(&pass);
    return rc;
}

int rep_volume_epoch_count(const rep_volume *volume)
{
    return volume->epoch_count;
}

uint64_t rep_volume_epoch_sequence(const rep_volume *volume, int index)
{
    return volume->epochs[index].sequence;
}

rep_bitmap *rep_volume_epoch_bitmap(const rep_volume *volume, int index)
{
    return volume->epochs[index].bitmap;
}

int rep_volume_epoch_push(rep_volume *volume, uint64_t chunk_bytes, uint64_t sequence)
{
    if (sequence < volume->next_sequence || !chunk_bytes)
        return -EINVAL;
    rep_bitmap *bitmap;
    uint64_t chunks = (volume->io->size_bytes + chunk_bytes - 1) / chunk_bytes;
    int rc = rep_bitmap_new(chunks, &bitmap);
    if (rc)
        return rc;
    rep_tree *tree;
    rc = rep_volume_close_gate(volume, &tree);
    if (!rc) {
        if (!push(volume, bitmap, sequence))
            rc = -ENOMEM;
        rep_tree_open_all(&tree, 1);
    }
    if (rc)
        rep_bitmap_free(bitmap);
    return rc;
}
