/* rep_pump: whatever comes over a line, the pump ends, takes only sealed frames of the next number,
 * and says of what it leaves what it is. */
#include <errno.h>
#include <sys/socket.h>

#include "fuzz.h"
#include "rep_pump.h"
#include "rig.h"

#define SIZE (4 * CHUNK)
#define STREAM 7U
#define MOST_BYTES 2048U /* of one piece; all go into the socket before anything is received */

typedef struct ends {
    int fds[2];
    rep_line *lines[2];
} ends;

static ends ends_new(void)
{
    ends e;
    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, e.fds) == 0);
    FUZZ_CHECK(rep_line_new(e.fds[0], &e.lines[0]) == 0);
    FUZZ_CHECK(rep_line_new(e.fds[1], &e.lines[1]) == 0);
    return e;
}

static void ends_free(ends e)
{
    for (int i = 0; i < 2; i++) {
        rep_line_end(e.lines[i]);
        close(e.fds[i]);
        rep_line_free(e.lines[i]);
    }
}

/* A frame of the stream with whatever body there is, sealed or not. */
static void send_frame(rep_line *line, fuzz_input *input, uint64_t number)
{
    uint8_t bytes[REP_ENVELOPE_BYTES + REP_FRAME_HEADER_BYTES + MOST_BYTES];
    uint8_t *frame = bytes + REP_ENVELOPE_BYTES;
    uint8_t how = fuzz_u8(input);
    size_t size = fuzz_u16(input) % MOST_BYTES;
    const uint8_t *body = fuzz_bytes(input, &size);
    rep_frame_put_header(frame, &(rep_frame_info){.stream_id = STREAM,
                                                  .attempt = 1,
                                                  .first_number = number,
                                                  .record_count = 1,
                                                  .body_bytes = (uint32_t)size});
    if (size)
        memcpy(frame + REP_FRAME_HEADER_BYTES, body, size);
    if (how & 1)
        rep_frame_seal(frame, REP_FRAME_HEADER_BYTES + size);
    rep_envelope_put(bytes,
                     &(rep_envelope){.kind = REP_ENVELOPE_FRAME,
                                     .body_bytes = (uint32_t)(REP_FRAME_HEADER_BYTES + size)});
    (void)rep_line_send(line, bytes, REP_ENVELOPE_BYTES + REP_FRAME_HEADER_BYTES + size, NULL, 0);
}

static void send_all(rep_line *line, fuzz_input *input)
{
    for (uint64_t number = 1; input->left && number < 40; number++) {
        if (fuzz_u8(input) & 1) {
            send_frame(line, input, number);
            continue;
        }
        size_t size = fuzz_u16(input) % MOST_BYTES;
        const uint8_t *bytes = fuzz_bytes(input, &size);
        if (size)
            (void)rep_line_send(line, bytes, size, NULL, 0);
    }
}

static void check_left(int rc, const rep_pump *left, rep_apply *apply)
{
    int barrier;
    rep_envelope envelope;
    if (rc == REP_PUMP_FRAME)
        /* As rep_apply would have it: asked again, it refuses it again, without an effect. */
        FUZZ_CHECK(!rep_frame_is_sealed(left->frame, left->frame_bytes)
                   || rep_apply_frame(apply, left->frame, left->frame_bytes, NULL, &barrier) < 0);
    else if (rc == REP_PUMP_ENVELOPE)
        FUZZ_CHECK(rep_envelope_get(left->envelope, &envelope)
                   || envelope.kind != REP_ENVELOPE_FRAME || envelope.tag
                   || envelope.body_bytes > REP_FRAME_BYTES);
    else
        FUZZ_CHECK(rc == REP_PUMP_FAILED || rc == -EPIPE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    ends frames = ends_new();
    ends numbers = ends_new();
    rep_pump left;
    int rc;
    send_all(frames.lines[0], &input);
    shutdown(frames.fds[0], SHUT_WR);
    do {
        rc = rep_pump_frames(frames.lines[1], numbers.lines[1], &r.apply, 1, NULL, &left);
        check_left(rc, &left, r.apply);
        if (rc == REP_PUMP_FAILED)
            (void)rep_apply_take_error(r.apply, 1);
    } while (rc > 0);
    /* The same bytes as answers. */
    input = (fuzz_input){data, size};
    send_all(numbers.lines[0], &input);
    shutdown(numbers.fds[0], SHUT_WR);
    do
        rc = rep_pump_numbers(numbers.lines[1], &r.stream, 1, &left);
    while (rc > 0);
    FUZZ_CHECK(rc == -EPIPE);
    FUZZ_CHECK(stream_info(r.stream).received == 0);
    ends_free(frames);
    ends_free(numbers);
    remote_free(&r);
    return 0;
}

void fuzz_seeds(fuzz_take *take)
{
    uint8_t seed[4 + REP_RECORD_HEADER_BYTES + 5] = {1, 1, REP_RECORD_HEADER_BYTES + 5, 0};
    rep_record record = {.type = REP_RECORD_DATA, .channel = 1, .number = 1, .length = 5};
    rep_record_put_header(seed + 4, &record);
    memcpy(seed + 4 + REP_RECORD_HEADER_BYTES, "bytes", 5);
    take("sealed", seed, sizeof seed);
    seed[1] = 0;
    take("unsealed", seed, sizeof seed);
    uint8_t raw[3 + REP_ENVELOPE_BYTES] = {0, REP_ENVELOPE_BYTES, 0};
    rep_envelope_put(
        raw + 3, &(rep_envelope){.kind = REP_ENVELOPE_NUMBERS, .body_bytes = REP_NUMBERS_BYTES});
    take("envelope", raw, sizeof raw);
}
