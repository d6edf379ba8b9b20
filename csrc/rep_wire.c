#include "rep_wire.h"

#include <errno.h>
#include <string.h>

#include "rep_crc.h"

#define VERSION 1
static const uint8_t MAGIC[8] = {'p', 'y', 'r', 'e', 'p', 'F', 'R', 0};

static void put_le(uint8_t *at, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get_le(const uint8_t *at, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++)
        value |= (uint64_t)at[i] << (8 * i);
    return value;
}

void rep_frame_put_header(void *frame, const rep_frame_info *info)
{
    uint8_t *at = frame;
    memset(at, 0, REP_FRAME_HEADER_BYTES);
    memcpy(at, MAGIC, sizeof MAGIC);
    put_le(at + 16, VERSION, 2);
    put_le(at + 20, info->record_count, 4);
    put_le(at + 24, info->stream_id, 8);
    put_le(at + 32, info->attempt, 8);
    put_le(at + 40, info->first_number, 8);
    put_le(at + 48, info->body_bytes, 4);
}

void rep_record_put_header(void *at, const rep_record *record)
{
    uint8_t *header = at;
    memset(header, 0, REP_RECORD_HEADER_BYTES);
    header[0] = record->type;
    header[1] = record->flags;
    put_le(header + 4, record->channel, 4);
    put_le(header + 8, record->number, 8);
    put_le(header + 16, record->offset, 8);
    put_le(header + 24, record->length, 4);
}

static int record_is_sound(const uint8_t *header, const rep_record *r)
{
    if (get_le(header + 2, 2) || get_le(header + 28, 4) || (r->flags & ~REP_RECORD_FLAG_RESYNC))
        return 0;
    switch (r->type) {
    case REP_RECORD_DATA:
        return r->length > 0 && r->length <= REP_RECORD_DATA_BYTES;
    case REP_RECORD_ZERO:
    case REP_RECORD_TRIM:
        return r->length > 0;
    case REP_RECORD_BARRIER:
        return !r->flags && !r->channel && !r->offset && !r->length;
    default:
        return 0;
    }
}

int rep_record_get(const uint8_t *body, uint64_t available, rep_record *out)
{
    if (available < REP_RECORD_HEADER_BYTES)
        return -EBADMSG;
    out->type = body[0];
    out->flags = body[1];
    out->channel = (uint32_t)get_le(body + 4, 4);
    out->number = get_le(body + 8, 8);
    out->offset = get_le(body + 16, 8);
    out->length = (uint32_t)get_le(body + 24, 4);
    out->payload = NULL;
    if (!record_is_sound(body, out))
        return -EBADMSG;
    uint32_t size = REP_RECORD_HEADER_BYTES;
    if (out->type == REP_RECORD_DATA) {
        size += out->length;
        out->payload = body + REP_RECORD_HEADER_BYTES;
    }
    return size <= available ? (int)size : -EBADMSG;
}

static int header_is_sound(const uint8_t *at, uint64_t length, const rep_frame_info *info)
{
    for (int i = 52; i < REP_FRAME_HEADER_BYTES; i++)
        if (at[i])
            return 0;
    return !get_le(at + 18, 2) && info->record_count > 0 && info->first_number > 0
           && length - REP_FRAME_HEADER_BYTES == info->body_bytes
           && info->first_number <= UINT64_MAX - info->record_count;
}

int rep_frame_check(const void *frame, uint64_t length, rep_frame_info *out)
{
    const uint8_t *at = frame;
    if (length < REP_FRAME_HEADER_BYTES || length > REP_FRAME_BYTES
        || memcmp(at, MAGIC, sizeof MAGIC) != 0)
        return -EBADMSG;
    if (get_le(at + 16, 2) != VERSION)
        return -EPROTO;
    rep_frame_info info = {
        .stream_id = get_le(at + 24, 8),
        .attempt = get_le(at + 32, 8),
        .first_number = get_le(at + 40, 8),
        .record_count = (uint32_t)get_le(at + 20, 4),
        .body_bytes = (uint32_t)get_le(at + 48, 4),
    };
    if (!header_is_sound(at, length, &info))
        return -EBADMSG;
    uint64_t position = REP_FRAME_HEADER_BYTES;
    for (uint32_t i = 0; i < info.record_count; i++) {
        rep_record record;
        int size = rep_record_get(at + position, length - position, &record);
        if (size < 0 || record.number != info.first_number + i)
            return -EBADMSG;
        position += (uint64_t)size;
    }
    if (position != length)
        return -EBADMSG;
    *out = info;
    return 0;
}

static uint64_t digest_of(const uint8_t *at, uint64_t length)
{
    return rep_crc32c_lanes(at + REP_FRAME_DIGEST_FROM, length - REP_FRAME_DIGEST_FROM);
}

void rep_frame_seal(void *frame, uint64_t length)
{
    uint8_t *at = frame;
    put_le(at + REP_FRAME_DIGEST_OFFSET, digest_of(at, length), 8);
}

int rep_frame_is_sealed(const void *frame, uint64_t length)
{
    const uint8_t *at = frame;
    return length >= REP_FRAME_DIGEST_FROM
           && get_le(at + REP_FRAME_DIGEST_OFFSET, 8) == digest_of(at, length);
}
