/* A stream that is full: for how long hosts found it so, and the group that pulls ahead of it. */
#include <errno.h>

#include "ship_parts.h"

void rep_stream_note_full(rep_stream *stream)
{
    if (!stream->full_since_ns)
        stream->full_since_ns = rep_now_ns();
}

/* Room for a whole piece: for less, the next host's write would find none again. */
void rep_stream_note_room(rep_stream *stream)
{
    if (!stream->full_since_ns)
        return;
    uint64_t used = rep_stream_used(stream) + stream->reserved;
    if (stream->open && used + REP_PIECE_BYTES > stream->capacity)
        return;
    stream->full_ns += rep_now_ns() - stream->full_since_ns;
    stream->full_since_ns = 0;
}

uint64_t rep_stream_full_ns(const rep_stream *stream)
{
    uint64_t now = stream->full_since_ns ? rep_now_ns() - stream->full_since_ns : 0;
    return stream->full_ns + now;
}

/* Under the mutex that numbers are given out under: all of the group leave at one point of the
 * order of writes, and what is queued brings the targets to exactly that point. P |= U, although
 * most of U will settle: which of it, this side doesn't look at any more (INV-1, INV-3). */
void rep_stream_pull_ahead(rep_stream *stream)
{
    pthread_mutex_lock(&stream->mutex);
    bool any = false;
    for (rep_link *link = stream->open ? stream->links : NULL; link; link = link->next_in_stream)
        if (atomic_load(&link->follows) && !atomic_load(&link->broken)) {
            rep_link_break(link, -EXFULL);
            any = true;
        }
    if (any) {
        stream->pulled = stream->last;
        stream->pull_count++;
    }
    pthread_mutex_unlock(&stream->mutex);
}
