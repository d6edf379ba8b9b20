/* rep_pump: a path in its steady state, without whoever called: frames are received, applied and
 * acknowledged, and acknowledgements taken, for as long as nothing else comes.
 *
 * A pump comes back for what it doesn't know, which the caller handles before it calls again; what
 * it can't take it leaves untouched, and the caller finds out why. It ends with its socket.
 *
 * Threads: one pump at a time per line. What it was given lives until it returns.
 * Source: Fig. 1, path 150.
 */
#ifndef REP_PUMP_H
#define REP_PUMP_H

#include <stdint.h>

#include "rep_api.h"
#include "rep_apply.h"
#include "rep_envelope.h"
#include "rep_line.h"
#include "rep_ship.h"

REP_API_BEGIN

/* cdef:begin */
/* What a pump came back for. */
enum rep_pump_left {
    REP_PUMP_ENVELOPE =
        1,               /* one that it doesn't take, in `envelope`; its body is still to be read */
    REP_PUMP_FRAME = 2,  /* a frame that it couldn't take, and that had no effect, in `frame` */
    REP_PUMP_FAILED = 3, /* frames were applied, their volumes failed: errors are to be taken, and
                              acknowledged, of applies[index] */
    REP_PUMP_NUMBERS = 4 /* numbers that it couldn't take, in `numbers` */
};

typedef struct rep_pump {
    uint8_t envelope[REP_ENVELOPE_BYTES];
    uint8_t numbers[REP_NUMBERS_BYTES];
    const uint8_t *frame; /* valid until the line receives again */
    uint64_t frame_bytes;
    uint32_t index;
} rep_pump;

/* Takes frames from `data` for `applies`, and acknowledges over `control` what has come together,
 * made durable first if a barrier is among it (INV-3). A REP_PUMP_*, or a negative errno: -ECANCELED: `wake` was raised
 * in the midst of a frame; else the socket's, -EPIPE when it has ended. */
int rep_pump_frames(rep_line *data, rep_line *control, rep_apply *const *applies, uint32_t count,
                    rep_wake *wake, rep_pump *left);
/* Takes numbers from `control` for `streams`. As rep_pump_frames. */
int rep_pump_numbers(rep_line *control, rep_stream *const *streams, uint32_t count, rep_pump *left);
/* cdef:end */

REP_API_END

#endif
