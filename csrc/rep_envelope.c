#include "rep_envelope.h"

#include <endian.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "rep_crc.h"

typedef struct wire_envelope {
    uint8_t kind;
    uint8_t zeros[3];
    uint32_t body_bytes;
    uint64_t tag;
    uint64_t more_zeros;
    uint64_t digest;
} wire_envelope;

typedef struct wire_numbers {
    uint64_t digest;
    uint64_t words[4];
} wire_numbers;

_Static_assert(sizeof(wire_envelope) == REP_ENVELOPE_BYTES, "an envelope has no gaps");
_Static_assert(sizeof(wire_numbers) == REP_NUMBERS_BYTES, "numbers have no gaps");

void rep_envelope_put(void *at, const rep_envelope *envelope)
{
    wire_envelope wire = {
        .kind = envelope->kind,
        .body_bytes = htole32(envelope->body_bytes),
        .tag = htole64(envelope->tag),
    };
    wire.digest = htole64(rep_crc32c_lanes(&wire, offsetof(wire_envelope, digest)));
    memcpy(at, &wire, sizeof wire);
}

int rep_envelope_get(const void *at, rep_envelope *out)
{
    wire_envelope wire;
    memcpy(&wire, at, sizeof wire);
    if (le64toh(wire.digest) != rep_crc32c_lanes(&wire, offsetof(wire_envelope, digest))
        || wire.zeros[0] || wire.zeros[1] || wire.zeros[2] || wire.more_zeros)
        return -EBADMSG;
    *out = (rep_envelope){
        .kind = wire.kind,
        .body_bytes = le32toh(wire.body_bytes),
        .tag = le64toh(wire.tag),
    };
    return 0;
}

void rep_numbers_put(void *at, const rep_numbers *numbers)
{
    wire_numbers wire = {.words = {htole64(numbers->stream_id), htole64(numbers->attempt),
                                   htole64(numbers->received), htole64(numbers->durable)}};
    wire.digest = htole64(rep_crc32c_lanes(wire.words, sizeof wire.words));
    memcpy(at, &wire, sizeof wire);
}

int rep_numbers_get(const void *at, rep_numbers *out)
{
    wire_numbers wire;
    memcpy(&wire, at, sizeof wire);
    if (le64toh(wire.digest) != rep_crc32c_lanes(wire.words, sizeof wire.words))
        return -EBADMSG;
    *out = (rep_numbers){
        .stream_id = le64toh(wire.words[0]),
        .attempt = le64toh(wire.words[1]),
        .received = le64toh(wire.words[2]),
        .durable = le64toh(wire.words[3]),
    };
    return 0;
}
