/* rep_door: lets callers into a volume that somebody else may be closing.
 *
 * The door outlives its volume: whoever has the door may knock at any time, and is let in or told
 * that it is shut. Once it is shut and nobody is inside, the volume may be freed. Counting here,
 * within the call that writes, costs two atomic additions; counting in Python cost more than the
 * write.
 *
 * Threads: all calls may run beside each other, except rep_door_free.
 */
#ifndef REP_DOOR_H
#define REP_DOOR_H

#include <stdint.h>

#include "rep_api.h"
#include "rep_volume.h"

REP_API_BEGIN

/* cdef:begin */
typedef struct rep_door rep_door;
enum rep_door_answer { REP_DOOR_AT_ONCE = 1 };

/* An open door to `volume`, which stays the caller's. -ENOMEM. */
int rep_door_new(rep_volume *volume, rep_door **out);
/* Nobody may be inside, nor come any more. NULL is allowed. */
void rep_door_free(rep_door *door);
/* Counts the caller in: the volume isn't freed until it is counted out. -ECANCELED: shut. */
int rep_door_enter(rep_door *door);
void rep_door_leave(rep_door *door);
/* Lets nobody in any more, and waits until everybody has left: 0, or -ETIMEDOUT (still shut). After
 * 0 the door itself may be freed, too, if nobody knocks any more: who left doesn't touch it. */
int rep_door_shut(rep_door *door, uint64_t deadline_ns);
/* Undoes rep_door_shut, before the volume was freed. */
void rep_door_open(rep_door *door);

/* In, rep_volume_pread, out. -ECANCELED: shut. */
int rep_door_pread(rep_door *door, void *buffer, uint64_t length, uint64_t offset);
/* In, a host's write that needs no waiting, out. -ECANCELED: shut. -EAGAIN: it would have to wait
 * for gate, range, room or an acknowledgement, or is longer than a piece (1 MiB); nothing was
 * written, and rep_volume_pwrite does it. Else as rep_volume_pwrite. */
int rep_door_pwrite(rep_door *door, const void *buffer, uint64_t length, uint64_t offset,
                    uint64_t token);
/* In, rep_volume_pwrite, then, if the core sends all of its streams, rep_ticket_wait up to the same
 * deadline; out. 0 with an empty ticket: done. 0 with a ticket: who waits for it is the caller. Else
 * as rep_volume_pwrite. -ECANCELED: shut, or woken. */
int rep_door_pwrite_on(rep_door *door, const void *buffer, uint64_t length, uint64_t offset,
                       uint64_t token, uint64_t deadline_ns, rep_wake *wake, rep_ticket *ticket,
                       uint64_t *done);
/* rep_door_pwrite_on as the first call of a write: with a ticket that it empties, and until patience_ns
 * from now. One call of it is what a host's write to a synchronous mirror costs its caller, who may
 * hold a lock that all hosts share whenever he isn't in it. 0: done, and peers have answered;
 * REP_DOOR_AT_ONCE: done, there was nobody to wait for; -EINPROGRESS: who waits for the ticket is the
 * caller. Else as rep_door_pwrite_on. */
int rep_door_pwrite_begin(rep_door *door, const void *buffer, uint64_t length, uint64_t offset,
                          uint64_t token, uint64_t patience_ns, rep_wake *wake, rep_ticket *ticket,
                          uint64_t *done);
/* In, rep_volume_flush with a ticket that it empties, out. 0: durable, at mirrors in mode durable, too.
 * -EINPROGRESS: durable here; who waits for the ticket is the caller. -ECANCELED: shut. Else as
 * rep_volume_flush. */
int rep_door_flush(rep_door *door, rep_ticket *ticket);
/* cdef:end */

REP_API_END

#endif
