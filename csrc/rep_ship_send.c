/* A stream that is sent over a line: by the thread that pumps it, or by the writers that wait. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "rep_envelope.h"
#include "rep_line.h"
#include "ship_parts.h"

/* What a writer sends itself: it goes into a socket that takes anything at all. */
#define SMALL_BYTES (16ULL << 10)
/* Of these, before it is the pump's turn. */
#define HELPS_MOST 4
#define PUMPED_BYTES (REP_ENVELOPE_BYTES + (uint64_t)REP_FRAME_BYTES)

int rep_stream_carry(rep_stream *stream, rep_line *line)
{
    int rc = 0;
    pthread_mutex_lock(&stream->turn);
    if (line && !stream->small) {
        stream->small = aligned_alloc(4096, SMALL_BYTES + 4096);
        rc = stream->small ? 0 : -ENOMEM;
    }
    if (!rc) {
        stream->line = line;
        atomic_store(&stream->carried, line != NULL);
    }
    pthread_mutex_unlock(&stream->turn);
    return rc;
}

/* The envelope stands in the room before the frame. Returns the bytes of both. */
static uint64_t seal(uint8_t *both, uint64_t length)
{
    rep_envelope envelope = {.kind = REP_ENVELOPE_FRAME, .body_bytes = (uint32_t)length};
    rep_frame_seal(both + REP_ENVELOPE_BYTES, length);
    rep_envelope_put(both, &envelope);
    return REP_ENVELOPE_BYTES + length;
}

/* One frame, if there is one: a writer may have been faster. */
static int send_one(rep_stream *stream, uint8_t *both, rep_wake *wake)
{
    uint64_t length;
    pthread_mutex_lock(&stream->turn);
    int rc = stream->line ? rep_stream_take(stream, both + REP_ENVELOPE_BYTES, 0, NULL, &length)
                          : -EPIPE;
    if (!rc)
        rc = rep_line_send_until(stream->line, both, seal(both, length), wake);
    else if (rc == -ETIMEDOUT)
        rc = 0;
    pthread_mutex_unlock(&stream->turn);
    return rc;
}

int rep_stream_pump(rep_stream *stream, rep_wake *wake)
{
    void *both = mmap(NULL, PUMPED_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (both == MAP_FAILED)
        return -ENOMEM;
    int rc;
    do {
        rc = rep_stream_await(stream, REP_NO_DEADLINE, wake);
        if (!rc)
            rc = send_one(stream, both, wake);
        if (!rc)
            rc = rep_stream_linger(stream, wake);
    } while (!rc);
    munmap(both, PUMPED_BYTES);
    return rc;
}

/* One frame over the line, if it goes at once. 0: sent; -EAGAIN: nothing, or nothing now; else the
 * socket's error, and *attempt is the frame's. `turn` held. */
static int help_once(rep_stream *stream, uint64_t *attempt)
{
    uint64_t length;
    if (!stream->line || rep_line_begin(stream->line))
        return -EAGAIN;
    uint8_t *frame = stream->small + REP_ENVELOPE_BYTES;
    int rc = rep_stream_take_small(stream, SMALL_BYTES, frame, &length);
    if (!rc) {
        rc = rep_line_send_begun(stream->line, stream->small, seal(stream->small, length));
        rep_frame_info info;
        if (rc && !rep_frame_check(frame, length, &info))
            *attempt = info.attempt;
    } else {
        rc = -EAGAIN;
    }
    rep_line_finish(stream->line);
    return rc;
}

void rep_stream_help(rep_stream *stream)
{
    if (!atomic_load(&stream->carried))
        return;
    /* Who finds another one sending leaves it to that one, which looks again when it has given the
     * turn back: else each of several writers would wake the pump's thread for what the other does
     * anyway. */
    int rc = 0;
    uint64_t attempt = 0;
    for (int i = 0; !rc && i < HELPS_MOST; i++) {
        if (pthread_mutex_trylock(&stream->turn))
            return;
        rc = help_once(stream, &attempt);
        pthread_mutex_unlock(&stream->turn);
        if (!rc && !rep_stream_is_takable(stream))
            return;
    }
    if (!rc || rc == -EAGAIN)
        rep_stream_see_sent(stream); /* by the pump: it is much, or the socket takes nothing */
    else
        /* That attempt alone: a later one may have been opened since. The pump's thread sees it, and
         * tells. */
        rep_stream_break_attempt(stream, attempt, -EPIPE);
}

bool rep_stream_is_carried(rep_stream *stream)
{
    return atomic_load(&stream->carried);
}
