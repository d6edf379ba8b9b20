/* rep_wire: what it takes for a frame reads as whole records, and writes back to the same bytes. */
#include <errno.h>

#include "fuzz.h"
#include "rep_wire.h"

static void check_records(const uint8_t *frame, const rep_frame_info *info)
{
    const uint8_t *at = frame + REP_FRAME_HEADER_BYTES;
    uint64_t left = info->body_bytes;
    for (uint32_t i = 0; i < info->record_count; i++) {
        uint8_t header[REP_RECORD_HEADER_BYTES];
        rep_record record;
        int size = rep_record_get(at, left, &record);
        FUZZ_CHECK(size >= REP_RECORD_HEADER_BYTES && (uint64_t)size <= left);
        FUZZ_CHECK(record.number == info->first_number + i);
        rep_record_put_header(header, &record);
        FUZZ_CHECK(!memcmp(header, at, sizeof header));
        if (record.type == REP_RECORD_DATA) {
            FUZZ_CHECK(record.payload == at + REP_RECORD_HEADER_BYTES);
            FUZZ_CHECK((uint32_t)size == REP_RECORD_HEADER_BYTES + record.length);
        }
        at += size;
        left -= (uint64_t)size;
    }
    FUZZ_CHECK(left == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rep_frame_info info = {.stream_id = 1};
    rep_record record;
    int rc = rep_frame_check(data, size, &info);
    if (rc) {
        FUZZ_CHECK(rc == -EBADMSG || rc == -EPROTO);
        rc = rep_record_get(data, size, &record);
        FUZZ_CHECK(rc == -EBADMSG || (rc >= REP_RECORD_HEADER_BYTES && (size_t)rc <= size));
        return 0;
    }
    uint8_t header[REP_FRAME_HEADER_BYTES];
    rep_frame_put_header(header, &info);
    memcpy(header + REP_FRAME_DIGEST_OFFSET, data + REP_FRAME_DIGEST_OFFSET,
           REP_FRAME_DIGEST_FROM - REP_FRAME_DIGEST_OFFSET);
    FUZZ_CHECK(!memcmp(header, data, sizeof header));
    check_records(data, &info);
    return 0;
}

static size_t put(uint8_t *at, rep_record record)
{
    rep_record_put_header(at, &record);
    if (record.type != REP_RECORD_DATA)
        return REP_RECORD_HEADER_BYTES;
    memset(at + REP_RECORD_HEADER_BYTES, 'x', record.length);
    return REP_RECORD_HEADER_BYTES + record.length;
}

void fuzz_seeds(fuzz_take *take)
{
    uint8_t frame[1024];
    uint8_t *at = frame + REP_FRAME_HEADER_BYTES;
    rep_frame_info info = {.stream_id = 7, .attempt = 1, .first_number = 1, .record_count = 4};
    at += put(at, (rep_record){.type = REP_RECORD_DATA, .channel = 1, .number = 1, .length = 100});
    at += put(at, (rep_record){
                      .type = REP_RECORD_ZERO, .flags = 1, .channel = 2, .number = 2, .length = 9});
    at += put(at, (rep_record){.type = REP_RECORD_TRIM, .channel = 3, .number = 3, .length = 9});
    at += put(at, (rep_record){.type = REP_RECORD_BARRIER, .number = 4});
    info.body_bytes = (uint32_t)(at - frame - REP_FRAME_HEADER_BYTES);
    rep_frame_put_header(frame, &info);
    take("four-records", frame, (size_t)(at - frame));
    take("record", frame + REP_FRAME_HEADER_BYTES, info.body_bytes);
    take("empty", frame, 0);
}
