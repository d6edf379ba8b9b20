#include "rep_pump.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

/* What was applied and isn't acknowledged yet: frames that came together are answered together. */
typedef struct batch {
    rep_apply *apply; /* NULL: nothing */
    uint32_t index;
    bool barrier;
} batch;

typedef struct incoming {
    rep_line *data;
    rep_line *control;
    rep_apply *const *applies;
    uint32_t count;
    rep_wake *wake;
    batch batch;
} incoming;

static int send_numbers(rep_line *control, uint64_t stream_id, const rep_apply_info *info)
{
    uint8_t bytes[REP_ENVELOPE_BYTES + REP_NUMBERS_BYTES];
    rep_envelope envelope = {.kind = REP_ENVELOPE_NUMBERS, .body_bytes = REP_NUMBERS_BYTES};
    rep_numbers numbers = {.stream_id = stream_id,
                           .attempt = info->attempt,
                           .received = info->applied,
                           .durable = info->durable};
    rep_envelope_put(bytes, &envelope);
    rep_numbers_put(bytes + REP_ENVELOPE_BYTES, &numbers);
    return rep_line_send(control, bytes, sizeof bytes, NULL, 0);
}

/* 0, REP_PUMP_FAILED or a negative errno. */
static int acknowledge(incoming *in, rep_pump *left)
{
    batch now = in->batch;
    if (!now.apply)
        return 0;
    in->batch = (batch){0};
    if (now.barrier)
        (void)rep_apply_settle(now.apply);
    rep_apply_info info;
    if (rep_apply_answer(now.apply, &info)) {
        left->index = now.index;
        return REP_PUMP_FAILED;
    }
    return send_numbers(in->control, rep_apply_stream_id(now.apply), &info);
}

/* Whether a whole frame lies there unread. What an envelope says isn't believed by that. */
static bool has_come(const rep_line *data)
{
    const uint8_t *at;
    rep_envelope envelope;
    uint64_t unread = rep_line_unread(data, &at);
    return unread >= REP_ENVELOPE_BYTES && !rep_envelope_get(at, &envelope)
           && envelope.body_bytes <= unread - REP_ENVELOPE_BYTES;
}

/* 0 when applied; REP_PUMP_FRAME: left alone; REP_PUMP_FAILED: what came before it is to be told first,
 * it is untouched; negative errno. */
static int take_frame(incoming *in, const uint8_t *frame, uint64_t length, rep_pump *left)
{
    rep_frame_info info;
    uint32_t index = 0;
    if (!rep_frame_is_sealed(frame, length) || rep_frame_check(frame, length, &info))
        return REP_PUMP_FRAME;
    while (index < in->count && rep_apply_stream_id(in->applies[index]) != info.stream_id)
        index++;
    if (index == in->count)
        return REP_PUMP_FRAME;
    rep_apply *apply = in->applies[index];
    if (in->batch.apply && in->batch.apply != apply) {
        int rc = acknowledge(in, left);
        if (rc)
            return rc;
    }
    int barrier;
    int rc = rep_apply_frame(apply, frame, length, in->wake, &barrier);
    if (rc == -ECANCELED)
        return rc;
    if (rc)
        return REP_PUMP_FRAME;
    in->batch.apply = apply;
    in->batch.index = index;
    in->batch.barrier |= barrier;
    return 0;
}

/* One envelope and its frame. */
static int take_next(incoming *in, rep_pump *left)
{
    const uint8_t *at;
    rep_envelope envelope;
    int rc = has_come(in->data) ? 0 : acknowledge(in, left);
    if (!rc)
        rc = rep_line_want(in->data, REP_ENVELOPE_BYTES, true, &at);
    if (rc)
        return rc;
    if (rep_envelope_get(at, &envelope) || envelope.kind != REP_ENVELOPE_FRAME || envelope.tag
        || envelope.body_bytes > REP_FRAME_BYTES) {
        rc = acknowledge(in, left);
        if (rc)
            return rc;
        memcpy(left->envelope, at, sizeof left->envelope);
        rep_line_consume(in->data, REP_ENVELOPE_BYTES);
        return REP_PUMP_ENVELOPE;
    }
    uint64_t length = REP_ENVELOPE_BYTES + (uint64_t)envelope.body_bytes;
    rc = rep_line_want(in->data, length, false, &at);
    if (!rc)
        rc = take_frame(in, at + REP_ENVELOPE_BYTES, envelope.body_bytes, left);
    if (rc == REP_PUMP_FRAME && in->batch.apply) {
        int before = acknowledge(in, left);
        if (before)
            return before; /* the frame is looked at again */
    }
    if (rc == REP_PUMP_FRAME) {
        left->frame = at + REP_ENVELOPE_BYTES;
        left->frame_bytes = envelope.body_bytes;
    }
    if (!rc || rc == REP_PUMP_FRAME)
        rep_line_consume(in->data, length);
    return rc;
}

int rep_pump_frames(rep_line *data, rep_line *control, rep_apply *const *applies, uint32_t count,
                    rep_wake *wake, rep_pump *left)
{
    incoming in = {
        .data = data, .control = control, .applies = applies, .count = count, .wake = wake};
    int rc;
    do
        rc = take_next(&in, left);
    while (!rc);
    return rc;
}

/* 0 when taken, or of an attempt that is over; else they are the caller's. */
static int take_numbers(rep_stream *const *streams, uint32_t count, const void *body)
{
    rep_numbers numbers;
    if (rep_numbers_get(body, &numbers))
        return REP_PUMP_NUMBERS;
    for (uint32_t i = 0; i < count; i++)
        if (rep_stream_id(streams[i]) == numbers.stream_id) {
            int rc = rep_stream_ack(streams[i], numbers.attempt, numbers.received, numbers.durable);
            return rc == -EBADMSG ? REP_PUMP_NUMBERS : 0;
        }
    return REP_PUMP_NUMBERS;
}

int rep_pump_numbers(rep_line *control, rep_stream *const *streams, uint32_t count, rep_pump *left)
{
    for (;;) {
        const uint8_t *at;
        rep_envelope envelope;
        int rc = rep_line_want(control, REP_ENVELOPE_BYTES, true, &at);
        if (rc)
            return rc;
        if (rep_envelope_get(at, &envelope) || envelope.kind != REP_ENVELOPE_NUMBERS || envelope.tag
            || envelope.body_bytes != REP_NUMBERS_BYTES) {
            memcpy(left->envelope, at, sizeof left->envelope);
            rep_line_consume(control, REP_ENVELOPE_BYTES);
            return REP_PUMP_ENVELOPE;
        }
        rc = rep_line_want(control, REP_ENVELOPE_BYTES + REP_NUMBERS_BYTES, true, &at);
        if (rc)
            return rc;
        rc = take_numbers(streams, count, at + REP_ENVELOPE_BYTES);
        if (rc)
            memcpy(left->numbers, at + REP_ENVELOPE_BYTES, sizeof left->numbers);
        rep_line_consume(control, REP_ENVELOPE_BYTES + REP_NUMBERS_BYTES);
        if (rc)
            return rc;
    }
}
