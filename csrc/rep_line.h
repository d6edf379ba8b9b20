/* rep_line: one connected stream socket of a path, used by the core itself.
 *
 * The descriptor is borrowed: its owner shuts it down to end whoever receives or sends (they return
 * -EPIPE or the socket's error), calls rep_line_end, and only then closes it.
 *
 * Threads: any may send; what one call sends is in one piece. One at a time receives. rep_line_end
 * may run beside all of it.
 */
#ifndef REP_LINE_H
#define REP_LINE_H

#include <stdbool.h>
#include <stdint.h>

#include "rep_api.h"
#include "rep_tls.h"
#include "rep_wait.h"

REP_API_BEGIN

/* cdef:begin */
typedef struct rep_line rep_line;

/* -ENOMEM. The memory that it receives into is touched as far as it is used. */
int rep_line_new(int fd, rep_line **out);
/* Nobody uses it any more. NULL is allowed. */
void rep_line_free(rep_line *line);
/* Sends and receives through a session from now on, which has agreed with the other side, is borrowed,
 * and has already what came of it. Before anything is sent or received. Then the calls below fail with
 * -EPROTO, too: rep_tls_why has the reason. */
void rep_line_secure(rep_line *line, rep_tls *tls);
/* Sends head, then body, in one piece; waits as long as the socket takes nothing. -EPIPE: ended; or
 * the socket's error: a part may have gone. */
int rep_line_send(rep_line *line, const void *head, uint64_t head_bytes, const void *body,
                  uint64_t body_bytes);
/* Nobody sends any more when it returns: later sends answer -EPIPE. Waits for one that is under way,
 * which the socket's shutdown ends. */
void rep_line_end(rep_line *line);
/* Waits until `length` bytes have come. -EPIPE: it ended, a part may have come. */
int rep_line_fill(rep_line *line, void *to, uint64_t length);
/* Waits for some bytes, at most `most`: how many (positive), or as rep_line_fill. */
int64_t rep_line_some(rep_line *line, void *to, uint64_t most);
/* When bytes came last (CLOCK_MONOTONIC, nanoseconds); 0: never. Any thread. */
uint64_t rep_line_heard_ns(const rep_line *line);
/* cdef:end */

/* The most that rep_line_want can be asked for: an envelope and a frame. */
#define REP_LINE_WANT_BYTES (32ULL + (1ULL << 20))

/* Waits until `length` bytes lie there unread, without consuming them: *at is where, until the next
 * call that receives. `ahead`: takes more if it has come, so that many small ones cost one call of
 * the kernel. As rep_line_fill. */
int rep_line_want(rep_line *line, uint64_t length, bool ahead, const uint8_t **at);
/* How many bytes lie there unread, and where. */
uint64_t rep_line_unread(const rep_line *line, const uint8_t **at);
/* Consumes as many of them. */
void rep_line_consume(rep_line *line, uint64_t length);
/* As rep_line_send, of one piece, for who may be called off: -ECANCELED when `wake` is raised while
 * it waits. If a part had gone by then, the line has ended: nothing else can follow that part. */
int rep_line_send_until(rep_line *line, const void *data, uint64_t length, rep_wake *wake);
/* Begins a send of some KiB that won't wait: 0, then rep_line_send_begun and rep_line_finish; -EAGAIN:
 * somebody is sending, or the socket takes nothing now. */
int rep_line_begin(rep_line *line);
int rep_line_send_begun(rep_line *line, const void *data, uint64_t length);
void rep_line_finish(rep_line *line);

REP_API_END

#endif
