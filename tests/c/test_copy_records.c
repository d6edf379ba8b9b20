/* What a copy to another system costs the path: which records it sends. */
#include "copy_rig.h"
#include "rep_wire.h"

#define SIZE (4ULL << 20)
#define CHUNKS (SIZE / CHUNK)
#define MOST 64

static uint8_t frame[REP_FRAME_BYTES];

typedef struct sent {
    rep_record records[MOST];
    size_t count;
} sent;

static void read_frame(sent *s, uint32_t record_count)
{
    const uint8_t *at = frame + REP_FRAME_HEADER_BYTES;
    for (uint32_t i = 0; i < record_count; i++) {
        rep_record record;
        int size = rep_record_get(at, REP_FRAME_BYTES, &record);
        CHECK(size > 0);
        at += size;
        if (record.type == REP_RECORD_BARRIER)
            continue;
        CHECK(s->count < MOST);
        CHECK_EQ(record.flags, REP_RECORD_FLAG_RESYNC);
        s->records[s->count++] = record;
    }
}

/* Copies what is pending in the row, whose stream is broken, and reads what went into the stream. */
static sent copied(remote *r)
{
    sent s = {.count = 0};
    remote_reopen(r);
    uint64_t before = stream_info(r->stream).last;
    CHECK_OK(copy_all(r->row));
    CHECK(stream_info(r->stream).last - before <= MOST);
    uint64_t length;
    rep_frame_info info;
    while (!rep_stream_take(r->stream, frame, PAST, NULL, &length)) {
        CHECK_OK(rep_frame_check(frame, length, &info));
        read_frame(&s, info.record_count);
    }
    return s;
}

static void check_record(const sent *s, size_t index, int type, uint64_t first, uint64_t count)
{
    CHECK(index < s->count);
    CHECK_EQ(s->records[index].type, type);
    CHECK_EQ(s->records[index].offset, first * CHUNK);
    CHECK_EQ(s->records[index].length, count * CHUNK);
}

static remote split_of(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    rep_stream_break(r.stream, -EPIPE);
    return r;
}

/* A record costs what 8 KiB do; a resync of 1 MiB runs would take several times as long. */
static void adjacent_chunks_cross_as_one_record_as_long_as_one_may_be(void)
{
    const uint64_t longest = REP_RECORD_DATA_BYTES / CHUNK;
    remote r = split_of();
    CHECK_OK(put_bytes(r.source, 0, SIZE, 1));
    CHECK_OK(rep_bitmap_clear(rep_link_pending(r.row), 0, CHUNKS));
    for (uint64_t i = 0; i < longest; i++) /* marked one by one, in no order */
        pend(r.row, (i * 7 + 3) % longest, 1);
    pend(r.row, 300, 1);
    pend(r.row, 302, 3);
    sent s = copied(&r);
    CHECK_EQ(s.count, 3);
    check_record(&s, 0, REP_RECORD_DATA, 0, longest);
    check_record(&s, 1, REP_RECORD_DATA, 300, 1);
    check_record(&s, 2, REP_RECORD_DATA, 302, 3);
    remote_free(&r);
}

static void written_zeros_cross_as_a_record_without_their_bytes(void)
{
    remote r = split_of();
    CHECK_OK(put_bytes(r.source, 0, SIZE, 1));
    CHECK_OK(rep_bitmap_clear(rep_link_pending(r.row), 0, CHUNKS));
    CHECK_OK(put_bytes(r.source, 8 * CHUNK, 8 * CHUNK, 0));
    CHECK_OK(put_bytes(r.source, 40 * CHUNK, CHUNK, 0));
    pend(r.row, 0, 24);
    pend(r.row, 40, 1);
    sent s = copied(&r);
    CHECK_EQ(s.count, 4);
    check_record(&s, 0, REP_RECORD_DATA, 0, 8);
    check_record(&s, 1, REP_RECORD_ZERO, 8, 8);
    check_record(&s, 2, REP_RECORD_DATA, 16, 8);
    check_record(&s, 3, REP_RECORD_ZERO, 40, 1);
    remote_free(&r);
}

static void a_hole_beside_data_crosses_as_a_record_without_its_bytes(void)
{
    static const rep_extent data[] = {{0, 16 * CHUNK}, {48 * CHUNK, 16 * CHUNK}};
    remote r = split_of();
    for (size_t i = 0; i < 2; i++)
        CHECK_OK(put_bytes(r.source, data[i].offset, data[i].length, 1));
    r.source.disk->extents = data;
    r.source.disk->extent_count = 2;
    CHECK_OK(rep_bitmap_clear(rep_link_pending(r.row), 0, CHUNKS));
    pend(r.row, 0, 64);
    sent s = copied(&r);
    CHECK_EQ(s.count, 3);
    check_record(&s, 0, REP_RECORD_DATA, 0, 16);
    check_record(&s, 1, REP_RECORD_ZERO, 16, 32);
    check_record(&s, 2, REP_RECORD_DATA, 48, 16);
    remote_free(&r);
}

int main(void)
{
    RUN(adjacent_chunks_cross_as_one_record_as_long_as_one_may_be);
    RUN(written_zeros_cross_as_a_record_without_their_bytes);
    RUN(a_hole_beside_data_crosses_as_a_record_without_its_bytes);
    return 0;
}
