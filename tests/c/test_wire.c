#include <errno.h>
#include <string.h>

#include "check.h"
#include "rep_wire.h"

#define HEADER REP_FRAME_HEADER_BYTES
#define RECORD REP_RECORD_HEADER_BYTES

typedef struct frame {
    uint8_t bytes[1024];
    uint64_t length;
} frame;

static void add(frame *f, const rep_record *record)
{
    rep_record_put_header(f->bytes + f->length, record);
    f->length += RECORD;
    if (record->type == REP_RECORD_DATA) {
        memcpy(f->bytes + f->length, record->payload, record->length);
        f->length += record->length;
    }
}

static void seal(frame *f, uint64_t first_number, uint32_t record_count)
{
    rep_frame_info info = {
        .stream_id = 0x1122334455667788,
        .attempt = 9,
        .first_number = first_number,
        .record_count = record_count,
        .body_bytes = (uint32_t)(f->length - HEADER),
    };
    rep_frame_put_header(f->bytes, &info);
}

/* One record of each type: DATA at 64 (payload at 96), ZERO at 101, TRIM at 133, BARRIER at 165. */
static frame sample(void)
{
    frame f = {.length = HEADER};
    add(&f, &(rep_record){.type = REP_RECORD_DATA,
                          .flags = REP_RECORD_FLAG_RESYNC,
                          .channel = 3,
                          .number = 41,
                          .offset = 4096,
                          .length = 5,
                          .payload = (const uint8_t *)"hello"});
    add(&f,
        &(rep_record){
            .type = REP_RECORD_ZERO, .channel = 4, .number = 42, .offset = 8192, .length = 4608});
    add(&f, &(rep_record){.type = REP_RECORD_TRIM,
                          .channel = 5,
                          .number = 43,
                          .offset = 1ULL << 40,
                          .length = UINT32_MAX});
    add(&f, &(rep_record){.type = REP_RECORD_BARRIER, .number = 44});
    seal(&f, 41, 4);
    return f;
}

static int check_frame(const frame *f)
{
    rep_frame_info info;
    return rep_frame_check(f->bytes, f->length, &info);
}

static void a_frame_reads_back_as_it_was_written(void)
{
    frame f = sample();
    rep_frame_info info;
    CHECK_EQ(rep_frame_check(f.bytes, f.length, &info), 0);
    CHECK_EQ(info.stream_id, 0x1122334455667788);
    CHECK_EQ(info.attempt, 9);
    CHECK_EQ(info.first_number, 41);
    CHECK_EQ(info.record_count, 4);
    CHECK_EQ(info.body_bytes, f.length - HEADER);
    rep_record r;
    CHECK_EQ(rep_record_get(f.bytes + HEADER, info.body_bytes, &r), RECORD + 5);
    CHECK_EQ(r.type, REP_RECORD_DATA);
    CHECK_EQ(r.flags, REP_RECORD_FLAG_RESYNC);
    CHECK_EQ(r.channel, 3);
    CHECK_EQ(r.number, 41);
    CHECK_EQ(r.offset, 4096);
    CHECK_EQ(r.length, 5);
    CHECK(memcmp(r.payload, "hello", 5) == 0);
    CHECK_EQ(rep_record_get(f.bytes + 133, RECORD, &r), RECORD);
    CHECK_EQ(r.type, REP_RECORD_TRIM);
    CHECK_EQ(r.offset, 1ULL << 40);
    CHECK_EQ(r.length, UINT32_MAX);
    CHECK(!r.payload);
}

static void the_layout_is_the_documented_one(void)
{
    frame f = sample();
    CHECK(memcmp(f.bytes, "pyrepFR", 8) == 0);
    CHECK_EQ(f.bytes[16], 1);
    CHECK_EQ(f.bytes[20], 4);
    CHECK_EQ(f.bytes[24], 0x88);
    CHECK_EQ(f.bytes[32], 9);
    CHECK_EQ(f.bytes[40], 41);
    CHECK_EQ(f.bytes[48], f.length - HEADER);
    CHECK_EQ(f.bytes[64], 1);
    CHECK_EQ(f.bytes[65], 1);
    CHECK_EQ(f.bytes[68], 3);
    CHECK_EQ(f.bytes[72], 41);
    CHECK_EQ(f.bytes[81], 16);
    CHECK_EQ(f.bytes[88], 5);
    CHECK_EQ(f.bytes[96], 'h');
}

static void every_truncation_is_rejected(void)
{
    frame f = sample();
    rep_frame_info info;
    for (uint64_t length = 0; length < f.length; length++)
        CHECK_EQ(rep_frame_check(f.bytes, length, &info), -EBADMSG);
    CHECK_EQ(rep_frame_check(f.bytes, f.length + 1, &info), -EBADMSG);
}

/* Bytes whose change makes another sound frame: the digest is what tells. */
static int is_content(uint64_t byte, int bit)
{
    if (byte >= 8 && byte < 16) /* the digest itself */
        return 1;
    if (byte >= 24 && byte < 40) /* stream, attempt */
        return 1;
    if (byte >= 96 && byte < 101) /* payload */
        return 1;
    for (uint64_t record = 0; record < 3; record++) {
        static const uint64_t starts[] = {64, 101, 133};
        uint64_t at = byte - starts[record];
        if (byte < starts[record] || at >= RECORD)
            continue;
        int zero_or_trim = record > 0;
        return (at == 0 && bit == 0 && zero_or_trim) || (at == 1 && bit == 0) || (at >= 4 && at < 8)
               || (at >= 16 && at < 24) || (at >= 24 && at < 28 && zero_or_trim);
    }
    return 0;
}

static void every_flipped_bit_of_structure_is_rejected(void)
{
    for (uint64_t byte = 0; byte < sample().length; byte++)
        for (int bit = 0; bit < 8; bit++) {
            frame f = sample();
            f.bytes[byte] ^= (uint8_t)(1 << bit);
            int rc = check_frame(&f);
            if (is_content(byte, bit))
                CHECK_EQ(rc, 0);
            else
                CHECK(rc == -EBADMSG || rc == -EPROTO);
        }
}

static void another_version_is_told_apart_from_damage(void)
{
    frame f = sample();
    f.bytes[16] = 2;
    CHECK_EQ(check_frame(&f), -EPROTO);
    f.bytes[0] ^= 1;
    CHECK_EQ(check_frame(&f), -EBADMSG);
}

static void a_frame_without_records_is_rejected(void)
{
    frame f = {.length = HEADER};
    seal(&f, 1, 0);
    CHECK_EQ(check_frame(&f), -EBADMSG);
}

static void numbers_of_a_frame_are_consecutive(void)
{
    frame f = {.length = HEADER};
    add(&f, &(rep_record){.type = REP_RECORD_BARRIER, .number = 1});
    add(&f, &(rep_record){.type = REP_RECORD_BARRIER, .number = 3});
    seal(&f, 1, 2);
    CHECK_EQ(check_frame(&f), -EBADMSG);
}

static void numbers_begin_at_one_and_never_wrap(void)
{
    frame f = {.length = HEADER};
    add(&f, &(rep_record){.type = REP_RECORD_BARRIER, .number = 0});
    seal(&f, 0, 1);
    CHECK_EQ(check_frame(&f), -EBADMSG);
    frame g = {.length = HEADER};
    add(&g, &(rep_record){.type = REP_RECORD_BARRIER, .number = UINT64_MAX});
    seal(&g, UINT64_MAX, 1);
    CHECK_EQ(check_frame(&g), -EBADMSG);
}

static void a_record_of_no_bytes_is_rejected(void)
{
    for (uint8_t type = REP_RECORD_DATA; type <= REP_RECORD_TRIM; type++) {
        frame f = {.length = HEADER};
        add(&f,
            &(rep_record){.type = type, .channel = 1, .number = 1, .payload = (const uint8_t *)""});
        seal(&f, 1, 1);
        CHECK_EQ(check_frame(&f), -EBADMSG);
    }
}

static void data_longer_than_a_record_may_be_is_rejected(void)
{
    uint8_t header[RECORD];
    rep_record r = {.type = REP_RECORD_DATA, .number = 1, .length = REP_RECORD_DATA_BYTES + 1};
    rep_record_put_header(header, &r);
    CHECK_EQ(rep_record_get(header, UINT64_MAX, &r), -EBADMSG);
}

static void data_that_reaches_past_the_frame_is_rejected(void)
{
    frame f = {.length = HEADER};
    add(&f, &(rep_record){.type = REP_RECORD_DATA,
                          .number = 1,
                          .length = 5,
                          .payload = (const uint8_t *)"hello"});
    f.length--;
    seal(&f, 1, 1);
    CHECK_EQ(check_frame(&f), -EBADMSG);
}

static void bytes_behind_the_last_record_are_rejected(void)
{
    frame f = {.length = HEADER};
    add(&f, &(rep_record){.type = REP_RECORD_BARRIER, .number = 1});
    f.bytes[f.length++] = 0;
    seal(&f, 1, 1);
    CHECK_EQ(check_frame(&f), -EBADMSG);
}

static void a_count_beyond_the_body_is_rejected_without_reading_past_it(void)
{
    frame f = {.length = HEADER};
    add(&f, &(rep_record){.type = REP_RECORD_BARRIER, .number = 1});
    seal(&f, 1, UINT32_MAX);
    CHECK_EQ(check_frame(&f), -EBADMSG);
}

int main(void)
{
    RUN(a_frame_reads_back_as_it_was_written);
    RUN(the_layout_is_the_documented_one);
    RUN(every_truncation_is_rejected);
    RUN(every_flipped_bit_of_structure_is_rejected);
    RUN(another_version_is_told_apart_from_damage);
    RUN(a_frame_without_records_is_rejected);
    RUN(numbers_of_a_frame_are_consecutive);
    RUN(numbers_begin_at_one_and_never_wrap);
    RUN(a_record_of_no_bytes_is_rejected);
    RUN(data_longer_than_a_record_may_be_is_rejected);
    RUN(data_that_reaches_past_the_frame_is_rejected);
    RUN(bytes_behind_the_last_record_are_rejected);
    RUN(a_count_beyond_the_body_is_rejected_without_reading_past_it);
    return 0;
}
