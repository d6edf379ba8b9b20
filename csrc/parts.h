/* parts: what the files of the write path know of each other. Not a public header. */
#ifndef REP_PARTS_H
#define REP_PARTS_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "rep_alog.h"
#include "rep_bitmap.h"
#include "rep_io.h"
#include "rep_link.h"
#include "rep_ship.h"
#include "rep_volume.h"
#include "tree_parts.h"

#define REP_PIECE_BYTES (1ULL << 20)
#define REP_ZERO_PIECE_BYTES (64ULL << 20)

struct rep_link {
    rep_volume *volume;
    unsigned chunk_shift;
    bool shares_marks;
    /* Changed with the gate closed, but for `broken`: anybody may set it, once. */
    _Atomic int mode;
    _Atomic int broken;
    _Atomic int source_failed;    /* with `broken` */
    _Atomic uint64_t epoch_start; /* changed with the gate closed, asked for by anybody */
    rep_volume *target;
    rep_link *target_link;
    rep_stream *stream;
    uint32_t channel;
    int ack;
    _Atomic int congestion;
    _Atomic int follows; /* ships, with nothing left to copy: its target is a moment of the past */
    _Atomic int guarded;
    /* How often a write of a copy's time was marked for want of room: what is pending then may have been
     * sent before. */
    _Atomic uint64_t left_behind;
    rep_bitmap *pending;
    /* U: the open epoch is unsettled[epoch & 1]. The number only grows: a writer must see that
     * epochs were closed meanwhile, also when an even count of closings brought the same bitmap
     * round again. Of a shipping link it changes under its stream's mutex. */
    rep_bitmap *unsettled[2];
    _Atomic uint64_t epoch;
    pthread_mutex_t mutex; /* whoever moves whole bitmaps between U and P */
    uint64_t duty; /* under `mutex`: how often it was given other work; see rep_link_settle */
    pthread_mutex_t settling; /* one settle at a time; outermost, held while the target flushes */
    rep_link *next_in_stream;
    rep_bitmap_file *file; /* changed with the gate closed and `checkpointing` of the log held */
    uint8_t row_id[16];
    const rep_bitmap *expected;    /* under `mutex`; see rep_link_expect */
    struct rep_compare *comparers; /* changed with the gate closed */
};

typedef struct rep_epoch {
    uint64_t sequence;
    rep_bitmap *bitmap;
} rep_epoch;

struct rep_volume {
    rep_io *io;
    _Atomic(rep_tree *) tree;
    pthread_mutex_t flushing; /* what is said of flushes; innermost */
    pthread_cond_t flushed;
    bool flush_runs;
    int flush_sharers; /* who waits for the one that runs, or for the next */
    uint64_t flushes_begun;
    uint64_t flushes_done;
    uint64_t flush_failures;
    int flush_error;         /* of the last one that failed */
    _Atomic int untold;      /* one that wasn't a host's failed, and no host knows it */
    _Atomic int host_wrote;  /* since hosts were let in */
    _Atomic int readers;     /* hosts that read just now: copies give way to them, too */
    _Atomic(rep_alog *) log; /* NULL until it has begun; then it stays */
    /* All below change with the gate closed. */
    rep_link **links;
    int link_count;
    _Atomic int fence;
    uint64_t lease;
    int guards;        /* links that are guarded */
    rep_epoch *epochs; /* ascending; the last one takes the marks */
    int epoch_count;
    uint64_t next_sequence;
    unsigned marks_shift;
};

typedef struct rep_chunks {
    uint64_t first;
    uint64_t count;
} rep_chunks;

static inline rep_chunks rep_chunks_of(const rep_link *link, uint64_t offset, uint64_t length)
{
    uint64_t first = offset >> link->chunk_shift;
    return (rep_chunks){first, ((offset + length - 1) >> link->chunk_shift) - first + 1};
}

static inline bool rep_link_works(const rep_link *link)
{
    int mode = atomic_load(&link->mode);
    return (mode == REP_LINK_FORWARD || mode == REP_LINK_SHIP) && !atomic_load(&link->broken);
}

/* What the storage answered. A device's own time-out, taken for that of a wait, would be repeated for
 * ever, its EPIPE for a lost path, its EMSGSIZE for a piece that is too large. */
static inline int rep_storage_answer(int rc)
{
    switch (rc) {
    case -ETIMEDOUT:
    case -ECANCELED:
    case -EAGAIN:
    case -ERANGE:
    case -EPIPE:
    case -EMSGSIZE:
        return -EIO;
    default:
        return rc;
    }
}

/* Queue room taken before the pass, for every stream that a write may reach. */
#define REP_ROOM_STREAMS 8
typedef struct rep_room {
    int count;
    bool acknowledged; /* a stream's mode makes the writer wait for the peer */
    bool unmirrored;   /* a guarded link broke under the write */
    struct rep_room_entry {
        rep_stream *stream;
        uint64_t bytes;  /* reserved */
        uint64_t needed; /* of these, for rows seen so far */
    } entries[REP_ROOM_STREAMS];
} rep_room;
typedef struct rep_room_entry rep_room_entry;

/* Its entries aren't touched: clearing them cost more than the mark of a write. */
static inline void rep_room_empty(rep_room *room)
{
    room->count = 0;
    room->acknowledged = false;
    room->unmirrored = false;
}

typedef struct rep_write {
    uint8_t type; /* REP_RECORD_DATA, ZERO or TRIM */
    uint8_t flags;
    const uint8_t *buffer;
    uint64_t offset;
    uint64_t length;
    rep_room *room;
    rep_ticket *ticket; /* NULL: nobody waits */
} rep_write;

/* Takes room in every stream that a write of this size to `volume`, coming through `origin`, may
 * reach. Inside a pass. -EAGAIN: *full and *full_bytes say where to wait; nothing is kept. */
int rep_room_take(rep_volume *volume, const rep_link *origin, const rep_write *write,
                  rep_stream **full, uint64_t *full_bytes);
int rep_room_add(rep_room *room, rep_stream *stream, uint64_t bytes, rep_stream **full,
                 uint64_t *full_bytes);
/* A copy's, into its own stream. */
int rep_room_add_for_copy(rep_room *room, rep_stream *stream, uint64_t bytes, rep_stream **full,
                          uint64_t *full_bytes);
/* Waits, outside every pass, until the empty `room` has these bytes; or 0 when the stream broke. */
int rep_room_await(rep_room *room, rep_stream *stream, uint64_t bytes, uint64_t deadline_ns,
                   rep_wake *wake);
int rep_room_await_for_copy(rep_room *room, rep_stream *stream, uint64_t bytes,
                            uint64_t deadline_ns, rep_wake *wake);
uint64_t *rep_room_of(rep_room *room, const rep_stream *stream);
void rep_room_give_back(rep_room *room);
/* It stays taken while its owner is outside, to be taken into account again. */
void rep_room_keep(rep_room *room);

/* A host's write of at most one piece, if nothing makes it wait. -EAGAIN: something would; nothing
 * was written. Else as rep_volume_pwrite. */
int rep_volume_pwrite_at_once(rep_volume *volume, const void *buffer, uint64_t length,
                              uint64_t offset, uint64_t token);
/* The write itself, inside a pass that covers it: mark, pwrite, forward, ship. `origin` gets no
 * echo (NULL: a host wrote). */
int rep_volume_write_inside(rep_volume *volume, rep_link *origin, const rep_write *write);
/* Flushes on behalf of whoever isn't a host. If it fails and hosts have written, the next one of them
 * that flushes is told, too. */
int rep_volume_make_durable(rep_volume *volume);
/* A flush of the volume failed: all is pending in every row but `origin`, that of the pair through
 * which it was flushed, whose U knows what it wrote. Outside every pass. Returns `cause`. */
int rep_volume_lose_track(rep_volume *volume, const rep_link *origin, int cause);
/* A whole write through the gate, for whoever isn't a host (the incoming path). */
int rep_volume_write_through(rep_volume *volume, rep_link *origin, uint8_t type, uint8_t flags,
                             const uint8_t *buffer, uint64_t offset, uint64_t length,
                             rep_wake *wake);

/* References to the regions of activity logs that a write may touch: taken like room, before it. */
#define REP_HOLDS_MAX 64
typedef struct rep_hold {
    int count;
    struct rep_hold_entry {
        rep_alog *log;
        uint64_t first; /* regions */
        uint64_t end;
        bool entered;  /* taken outside of a pass: the log is told to wait for it */
        bool bypassed; /* there is nothing to give back */
    } entries[REP_HOLDS_MAX];
} rep_hold;
typedef struct rep_hold_entry rep_hold_entry;

/* Holds what a write of these bytes to `volume`, coming through `origin`, may touch in the logs of
 * volumes that have other rows. Inside a pass; what is held already counts. -EAGAIN: *missing has to
 * be admitted outside (it is entered); what is held stays so. -ENOBUFS: too many volumes; -EMSGSIZE: a
 * log has too few slots for so many bytes at once; 1 MiB always fits. */
int rep_hold_take(rep_volume *volume, const rep_link *origin, uint64_t offset, uint64_t length,
                  rep_hold *hold, rep_hold_entry *missing);
/* Gives back what is held, then waits, outside every pass, until `missing` is held. A log that goes
 * with its volume, or went without: nothing is held. */
int rep_hold_await(rep_hold *hold, const rep_hold_entry *missing, uint64_t deadline_ns,
                   rep_wake *wake);
void rep_hold_give_back(rep_hold *hold);

/* Flushes the volume's storage, and tells its log. */
int rep_volume_flush_io(rep_volume *volume);

/* A write to these chunks is passed on, or left pending, by a link: its comparers are told (NULL: it
 * has none). Inside a pass that covers them. */
void rep_compare_notice(struct rep_compare *first, uint64_t chunk, uint64_t count);

/* Sends [offset, length) of a write for a link in SHIP. */
int rep_link_ship_piece(rep_link *link, const rep_write *write, uint64_t offset, uint64_t length);
/* P |= U of both epochs. */
void rep_link_give_up_unsettled(rep_link *link);
/* Drops every bit of unsettled[epoch & 1]. */
void rep_link_drop_epoch(rep_link *link, uint64_t epoch);
/* The same; link->mutex is held. */
void rep_link_drop_held(rep_link *link, uint64_t epoch);

/* A cut's split, gate closed: nothing is pending; `fresh` as below. */
void rep_link_split(rep_link *link, rep_bitmap **fresh);
/* Split, gate closed, `fresh` preallocated (taken when used, then NULL). */
void rep_link_start_interval(rep_link *link, rep_bitmap **fresh);
int rep_link_fresh_marks(const rep_link *link, rep_bitmap **out);
/* Drops and merges intervals that no link tells apart any more. Gate closed. */
void rep_volume_prune_epochs(rep_volume *volume);

/* Closes the gate of the tree that the volume is in, however it moves meanwhile. */
int rep_volume_close_gate(rep_volume *volume, rep_tree **tree);

/* false: the ticket is full (nobody has more streams and guarded links than it has entries). */
bool rep_ticket_add(rep_ticket *ticket, const rep_link *link, uint64_t attempt, uint64_t number);

#endif
