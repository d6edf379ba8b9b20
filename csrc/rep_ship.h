/* rep_ship: the ordered outgoing stream to one (remote system, consistency group).
 *
 * Records get consecutive numbers from 1 on, for the stream's whole life, in the order of the
 * writes; memory is a ring of fixed capacity, freed when the peer has received (applied) a record.
 * One sender takes frames; one reader of acknowledgements calls ack. An *attempt* is one connection.
 * Barriers are put in at the end of a frame when somebody asked for one and at least every second
 * while something is unsettled: several waiters share one (group commit).
 *
 * Full: a host's write that finds no room waits outside its pass; or (rep_link_set_congestion) the
 * group pulls ahead: every link whose target follows in order breaks with -EXFULL at one point of
 * the order and marks from then on, while what is queued is still sent.
 *
 * Cork: from the cut on, nothing past the point is taken (Fig. 4, 420); uncork at 470.
 * When the path is lost rep_stream_break gives up everything unsettled: P |= U in each of its links.
 *
 * Carried by a line, it is sent by its pump and by writers that wait (rep_stream_help), each with the
 * turn, which is taken before the line's and the stream's own mutex.
 *
 * Threads: every call may run beside every other, take by one thread at a time: the sender of an
 * attempt has ended before the next one begins.
 */
#ifndef REP_SHIP_H
#define REP_SHIP_H

#include <stdbool.h>
#include <stdint.h>

#include "rep_api.h"
#include "rep_line.h"
#include "rep_link.h"
#include "rep_wait.h"
#include "rep_wire.h"

REP_API_BEGIN

/* cdef:begin */
typedef struct rep_stream_info {
    int open;
    int corked;
    uint64_t attempt;
    uint64_t last;              /* number of the newest record, 0: none */
    uint64_t taken;             /* handed to the sender */
    uint64_t received;          /* acknowledged as applied */
    uint64_t durable;           /* acknowledged as durable */
    uint64_t queued_bytes;      /* appended and not yet received */
    uint64_t queued_peak_bytes; /* most since the last cork */
    uint64_t frame_bytes;       /* of all frames ever taken, headers included */
    uint64_t received_lag_ns; /* age of the oldest record not yet received; at most 10 ms too much,
                                   or a 128th of it */
    uint64_t durable_lag_ns;  /* the same of the oldest not yet durable */
    uint64_t full_ns;         /* for how long, in all, hosts found no room */
    uint64_t pulled;          /* the last record when the group pulled ahead; 0: it never has */
    uint64_t pull_count;      /* how often it has */
} rep_stream_info;

/* A closed stream. capacity_bytes >= 4 MiB, or -EINVAL. -ENOMEM. */
int rep_stream_new(uint64_t stream_id, uint64_t capacity_bytes, rep_stream **out);
/* No link may ship into it any more. NULL is allowed. */
void rep_stream_free(rep_stream *stream);
/* A new connection: attempt must be higher than before (-EINVAL). *next_number is what the peer has to expect. */
int rep_stream_open(rep_stream *stream, uint64_t attempt, uint64_t *next_number);
/* The connection ended because of `cause` (negative errno): P |= U in every link, which then marks;
 * the queue is dropped; every wait ends. Opening again is possible. */
void rep_stream_break(rep_stream *stream, int cause);
/* The next frame, digest left 0, into `frame` (REP_FRAME_BYTES). *length in bytes. -ETIMEDOUT,
 * -ECANCELED, -EPIPE (not open). */
int rep_stream_take(rep_stream *stream, void *frame, uint64_t deadline_ns, rep_wake *wake,
                    uint64_t *length);
/* Waits until a frame can be taken, and takes none. As rep_stream_take. */
int rep_stream_await(rep_stream *stream, uint64_t deadline_ns, rep_wake *wake);
/* The peer couldn't apply what came through this link: it breaks, and guarded writes that still wait
 * for an answer get none. Before rep_stream_ack of the numbers that came with it. */
void rep_stream_refuse(rep_stream *stream, rep_link *link, int cause);
/* The peer's two numbers. -ESTALE: another attempt (ignored); -EBADMSG: not taken yet. */
int rep_stream_ack(rep_stream *stream, uint64_t attempt, uint64_t received, uint64_t durable);
/* Asks for a barrier behind everything appended so far. */
void rep_stream_barrier(rep_stream *stream);
/* Waits until `number`, one that was given out, is acknowledged (REP_ACK_*); a cut's release is no
 * acknowledgement. -EPIPE: the stream broke. */
int rep_stream_wait(rep_stream *stream, uint64_t number, int ack, uint64_t deadline_ns,
                    rep_wake *wake);
/* Lets go what a cut has corked. Harmless when it isn't corked. */
void rep_stream_uncork(rep_stream *stream);
void rep_stream_info_get(rep_stream *stream, rep_stream_info *out);
uint64_t rep_stream_id(const rep_stream *stream);
/* Lets the stream be sent over `line` (NULL: by whoever takes frames), which stays there until
 * another one, or the stream's end. Waits for who has the turn. -ENOMEM. */
int rep_stream_carry(rep_stream *stream, rep_line *line);
/* Sends what is appended over the line, until -ECANCELED (`wake`, also while the socket takes nothing:
 * see rep_line_send_until), -EPIPE (not open, or not carried) or the socket's error. After each of
 * these the stream is the caller's to break: a frame that was taken may not have gone. */
int rep_stream_pump(rep_stream *stream, rep_wake *wake);
/* cdef:end */

/* Takes a frame of at most `most_bytes` (<= REP_FRAME_BYTES), at once: there may be more. -EAGAIN: there
 * is nothing, or the first record is longer; -EPIPE. */
int rep_stream_take_small(rep_stream *stream, uint64_t most_bytes, void *frame, uint64_t *length);

/* For who is going to wait for the answer: sends what is queued, if it is little and goes at once, or
 * leaves it to who is sending just now; else wakes the pump's thread, which costs more than sending
 * does (ADR 18). Breaks the frame's attempt if the socket fails.
 * Harmless when it isn't carried. */
void rep_stream_help(rep_stream *stream);
bool rep_stream_is_carried(rep_stream *stream);

/* What a writer puts in: one piece of a write, cut into records of REP_RECORD_DATA_BYTES. */
typedef struct rep_shipment {
    uint8_t type; /* rep_record_type */
    uint8_t flags;
    uint64_t offset;
    uint64_t length;
    const uint8_t *payload;
    bool quiet; /* its writer will wait for the answer (rep_stream_wait_attempt wakes the sender) */
} rep_shipment;

/* Room for a shipment of `length` payload bytes in at most `pieces` pieces. */
uint64_t rep_stream_room(uint8_t type, uint64_t length, uint64_t pieces);
/* Reserves room. -EAGAIN: none now, or what there is is kept for somebody who waits (wait with
 * rep_stream_wait_room, outside every pass); -EPIPE. */
int rep_stream_reserve(rep_stream *stream, uint64_t bytes);
void rep_stream_unreserve(rep_stream *stream, uint64_t bytes);
/* The same two for copies, which take no more than half of the room as long as they find some there
 * within 50 ms: hosts aren't to find a queue that a copy has filled. */
int rep_stream_reserve_for_copy(rep_stream *stream, uint64_t bytes);
int rep_stream_wait_room_for_copy(rep_stream *stream, uint64_t bytes, uint64_t deadline_ns,
                                  rep_wake *wake);
/* The group pulls ahead, see above. Inside a pass. Harmless when the stream isn't open. */
void rep_stream_pull_ahead(rep_stream *stream);
/* Waits for room and reserves it. Room is kept for one waiter after the other, of whatever size:
 * a large one doesn't starve behind small ones. -EPIPE, -ETIMEDOUT, -ECANCELED: nothing reserved. */
int rep_stream_wait_room(rep_stream *stream, uint64_t bytes, uint64_t deadline_ns, rep_wake *wake);
/* Appends for `link` within reserved room, taking what it uses off *reserved, and sets the link's
 * U. *attempt and *number say what to wait for. -EPIPE: stream or link broken, nothing appended. */
int rep_stream_append(rep_stream *stream, rep_link *link, const rep_shipment *what,
                      uint64_t *reserved, uint64_t *attempt, uint64_t *number);
/* For rep_group_cut, gates closed: corks and tells the point. `release` as REP_CUT_CORK_RELEASE. */
int rep_stream_cork(rep_stream *stream, bool release, uint64_t *point);
/* The release alone, of a stream that is corked: a cut lets writers go when it can't fail any more. */
void rep_stream_release(rep_stream *stream);
/* Wakes the sender if something is left to take: who appended quietly waits elsewhere first. */
void rep_stream_see_sent(rep_stream *stream);
/* A link joins or leaves; gate of its volume closed. */
int rep_stream_join(rep_stream *stream, rep_link *link);
void rep_stream_leave(rep_stream *stream, rep_link *link);
/* A host's wait, for one attempt: -EPIPE when that is over; 0 while a cut releases writers. */
int rep_stream_wait_attempt(rep_stream *stream, uint64_t attempt, uint64_t number, int ack,
                            uint64_t deadline_ns, rep_wake *wake);
void rep_stream_break_attempt(rep_stream *stream, uint64_t attempt, int cause);
/* 1 when open. */
int rep_stream_is_open(rep_stream *stream);

REP_API_END

#endif
