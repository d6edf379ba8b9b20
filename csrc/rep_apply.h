/* rep_apply: the incoming side of a stream: checks frames and applies them in order.
 *
 * A frame is checked whole before its first record has an effect: structure (rep_wire), attempt,
 * numbers (the first must be the last applied + 1), channels, ranges. The digest is the caller's
 * to check before. A record whose volume fails marks its range pending in the row it came through,
 * and the channel's error is kept; the stream goes on for the others. Until a settle, that row's U
 * holds what was applied; if the flush fails, that becomes pending (INV-1: the peer drops its own).
 * A bound row is IDLE; it is unbound before its mode changes.
 *
 * Threads: frame and settle by one thread at a time; bind, unbind, info by any.
 */
#ifndef REP_APPLY_H
#define REP_APPLY_H

#include <stdbool.h>

#include "rep_api.h"
#include "rep_link.h"
#include "rep_wait.h"

REP_API_BEGIN

/* cdef:begin */
typedef struct rep_apply rep_apply;
typedef struct rep_apply_info {
    uint64_t attempt;
    uint64_t applied; /* number of the last record applied */
    uint64_t durable; /* all up to here was made durable */
} rep_apply_info;

int rep_apply_new(uint64_t stream_id, rep_apply **out);
void rep_apply_free(rep_apply *apply);
/* A new connection: frames of `attempt` only, from next_number on. -EINVAL: not a higher attempt. */
int rep_apply_start(rep_apply *apply, uint64_t attempt, uint64_t next_number);
/* The row through which records of channel `number` (1..65535) come. -EEXIST, -EINVAL, -ENOMEM. */
int rep_apply_bind(rep_apply *apply, uint32_t number, rep_link *link);
/* Waits for a frame in progress. Harmless when not bound. What came through it and no settle made
 * durable, or whose error nobody took, will never be flushed or told: `durable` stays where it is
 * until the next start (INV-3). */
void rep_apply_unbind(rep_apply *apply, uint32_t number);
/* The same with a settle of this channel right before, while no frame comes between. Answers its
 * error that nobody has taken, of this flush or of an earlier write, or 0: what was lost is pending in
 * its row, and `durable` stays where it is as above. */
int rep_apply_unbind_durably(rep_apply *apply, uint32_t number);
/* Applies a frame; *barrier is 1 when it held one (then settle). -EBADMSG, -EPROTO, -ESTALE (another attempt or
 * stream), -EILSEQ (number), -ENOENT (channel), -ERANGE: no effect. -ECANCELED: applied as far as info says. */
int rep_apply_frame(rep_apply *apply, const void *frame, uint64_t length, rep_wake *wake,
                    int *barrier);
/* Makes the volumes written since the last settle durable; then durable = applied, unless an unbind
 * keeps it where it is. On failure of a volume what was written is pending in its channel's row and all
 * of it in its other rows (as rep_link_flush), the channel's error is kept and the rest goes on: it
 * answers 0. */
int rep_apply_settle(rep_apply *apply);
void rep_apply_info_get(rep_apply *apply, rep_apply_info *out);
uint64_t rep_apply_stream_id(const rep_apply *apply);
/* What may be acknowledged: 0 and the numbers; or 1, and *out is as it was: a channel has an error that
 * nobody has taken, which the peer must hear of with or before these numbers, or it drops what is
 * missing here from its cover. One step: no settle beside it comes between error and numbers. INV-3. */
int rep_apply_answer(rep_apply *apply, rep_apply_info *out);
/* The first error of a channel (negative errno) or 0; reading it clears it. */
int rep_apply_take_error(rep_apply *apply, uint32_t number);
/* cdef:end */

/* For rep_group_cut, gates closed: true when everything up to `number` has been applied and nothing
 * of a later record has. */
bool rep_apply_stands_at(rep_apply *apply, uint64_t number);

REP_API_END

#endif
