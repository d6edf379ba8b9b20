/* Room in the queues of streams that one write, or one copier, has reserved. */
#include <errno.h>

#include "parts.h"

/* The stream's entry, perhaps a new one; NULL when all are taken. */
static rep_room_entry *entry_of(rep_room *room, rep_stream *stream)
{
    for (int i = 0; i < room->count; i++)
        if (room->entries[i].stream == stream)
            return &room->entries[i];
    if (room->count == REP_ROOM_STREAMS)
        return NULL;
    rep_room_entry *entry = &room->entries[room->count++];
    *entry = (rep_room_entry){.stream = stream};
    return entry;
}

static int add(rep_room *room, rep_stream *stream, uint64_t bytes,
               int (*reserve)(rep_stream *, uint64_t), rep_stream **full, uint64_t *full_bytes)
{
    rep_room_entry *entry = entry_of(room, stream);
    if (!entry)
        return -ENOBUFS;
    uint64_t need = entry->needed + bytes; /* of two rows with one stream, the sum */
    if (need > entry->bytes) {
        int rc = reserve(stream, need - entry->bytes);
        if (rc == -EPIPE)
            return 0; /* broken: the link will mark, no room needed */
        if (rc) {
            *full = stream;
            *full_bytes = need;
            return rc;
        }
        entry->bytes = need;
    }
    entry->needed = need;
    return 0;
}

int rep_room_add(rep_room *room, rep_stream *stream, uint64_t bytes, rep_stream **full,
                 uint64_t *full_bytes)
{
    return add(room, stream, bytes, rep_stream_reserve, full, full_bytes);
}

int rep_room_add_for_copy(rep_room *room, rep_stream *stream, uint64_t bytes, rep_stream **full,
                          uint64_t *full_bytes)
{
    return add(room, stream, bytes, rep_stream_reserve_for_copy, full, full_bytes);
}

static int awaited(rep_room *room, rep_stream *stream, uint64_t bytes, int rc)
{
    if (rc)
        return rc == -EPIPE ? 0 : rc;
    entry_of(room, stream)->bytes = bytes; /* the room is empty: there is an entry left */
    return 0;
}

int rep_room_await(rep_room *room, rep_stream *stream, uint64_t bytes, uint64_t deadline_ns,
                   rep_wake *wake)
{
    return awaited(room, stream, bytes, rep_stream_wait_room(stream, bytes, deadline_ns, wake));
}

int rep_room_await_for_copy(rep_room *room, rep_stream *stream, uint64_t bytes,
                            uint64_t deadline_ns, rep_wake *wake)
{
    return awaited(room, stream, bytes,
                   rep_stream_wait_room_for_copy(stream, bytes, deadline_ns, wake));
}

uint64_t *rep_room_of(rep_room *room, const rep_stream *stream)
{
    for (int i = 0; i < room->count; i++)
        if (room->entries[i].stream == stream && room->entries[i].needed)
            return &room->entries[i].bytes;
    return NULL;
}

void rep_room_keep(rep_room *room)
{
    for (int i = 0; i < room->count; i++)
        room->entries[i].needed = 0;
    room->acknowledged = false;
}

void rep_room_give_back(rep_room *room)
{
    for (int i = 0; i < room->count; i++)
        rep_stream_unreserve(room->entries[i].stream, room->entries[i].bytes);
    rep_room_empty(room);
}
