#include "check.h"
#include "rep_envelope.h"

static void an_envelope_comes_out_as_it_went_in(void)
{
    uint8_t bytes[REP_ENVELOPE_BYTES];
    rep_envelope out;
    rep_envelope_put(bytes,
                     &(rep_envelope){.kind = 5, .body_bytes = 0x01020304, .tag = UINT64_MAX});
    CHECK_OK(rep_envelope_get(bytes, &out));
    CHECK_EQ(out.kind, 5);
    CHECK_EQ(out.body_bytes, 0x01020304);
    CHECK(out.tag == UINT64_MAX);
}

static void an_envelope_with_any_bit_changed_is_refused(void)
{
    uint8_t bytes[REP_ENVELOPE_BYTES];
    rep_envelope out;
    rep_envelope_put(bytes, &(rep_envelope){.kind = 10, .body_bytes = 4096});
    for (unsigned bit = 0; bit < 8 * sizeof bytes; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
        CHECK_ERRNO(rep_envelope_get(bytes, &out), EBADMSG);
        bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    CHECK_OK(rep_envelope_get(bytes, &out));
}

static void numbers_with_any_bit_changed_are_refused(void)
{
    uint8_t bytes[REP_NUMBERS_BYTES];
    rep_numbers out;
    rep_numbers_put(bytes,
                    &(rep_numbers){.stream_id = 1, .attempt = 2, .received = 3, .durable = 4});
    for (unsigned bit = 0; bit < 8 * sizeof bytes; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
        CHECK_ERRNO(rep_numbers_get(bytes, &out), EBADMSG);
        bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    CHECK_OK(rep_numbers_get(bytes, &out));
    CHECK(out.stream_id == 1 && out.attempt == 2 && out.received == 3 && out.durable == 4);
}

int main(void)
{
    RUN(an_envelope_comes_out_as_it_went_in);
    RUN(an_envelope_with_any_bit_changed_is_refused);
    RUN(numbers_with_any_bit_changed_are_refused);
    return 0;
}
