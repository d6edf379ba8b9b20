/* How old what a secondary lacks is, and how long there was no room. */
#include "rig.h"
#include "ship_parts.h"

#define SIZE (8ULL << 20)

static void time_without_room_ends_when_there_is_room_again(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    CHECK_EQ(stream_info(r.stream).full_ns, 0);
    CHECK_EQ(rep_stream_reserve(r.stream, CAPACITY), 0);
    CHECK_EQ(try_put(r.source, 0, 1), -ETIMEDOUT);
    uint64_t then = stream_info(r.stream).full_ns;
    CHECK(stream_info(r.stream).full_ns > then); /* it still is */
    rep_stream_unreserve(r.stream, CAPACITY);
    uint64_t total = stream_info(r.stream).full_ns;
    CHECK_EQ(stream_info(r.stream).full_ns, total);
    remote_free(&r);
}

static void the_oldest_record_has_an_age_until_it_is_durable(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    CHECK_EQ(stream_info(r.stream).received_lag_ns, 0);
    CHECK_EQ(put_chunk(r.source, 0, 1), 0);
    uint64_t begun = rep_now_ns();
    while (rep_now_ns() - begun < 30000000ULL) { /* three samples: of this time, not the test's */
        CHECK_EQ(put_chunk(r.source, 1, 1), 0);
        pump(r.stream, r.apply);
    }
    CHECK_EQ(stream_info(r.stream).received_lag_ns, 0);
    CHECK(stream_info(r.stream).durable_lag_ns >= 30000000ULL);
    CHECK_EQ(put_chunk(r.source, 2, 1), 0);
    rep_stream_info info = stream_info(r.stream);
    CHECK(info.received_lag_ns > 0);
    CHECK(info.received_lag_ns < info.durable_lag_ns);
    pump_durable(r.stream, r.apply);
    info = stream_info(r.stream);
    CHECK_EQ(info.received_lag_ns, 0);
    CHECK_EQ(info.durable_lag_ns, 0);
    remote_free(&r);
}

static void ages_of_a_long_backlog_stay_in_proportion(void)
{
    rep_stream *stream = stream_new();
    uint64_t now = rep_now_ns();
    pthread_mutex_lock(&stream->mutex);
    stream->age_gap_ns = 1;
    for (uint64_t number = 1; number <= 100000; number++) {
        stream->data_last = stream->last = number;
        /* As if a millisecond had passed between two. */
        for (unsigned i = 0; i < stream->age_count; i++)
            stream->ages[i].ns -= 1000000ULL;
        rep_stream_note_age(stream, number);
    }
    for (uint64_t answered = 0; answered < 100000; answered += 7777) {
        uint64_t true_ns = (100000 - answered - 1) * 1000000ULL;
        uint64_t age = rep_stream_age_ns(stream, answered);
        CHECK(age + 20000000ULL >= true_ns);
        /* What the loop itself took, on a busy machine seconds, is in the ages. */
        uint64_t took_ns = rep_now_ns() - now;
        CHECK(age <= true_ns + true_ns / 50 + 1000000000ULL + took_ns);
    }
    CHECK(stream->age_count <= AGE_SAMPLES);
    CHECK(rep_now_ns() > now);
    pthread_mutex_unlock(&stream->mutex);
    rep_stream_free(stream);
}

int main(void)
{
    RUN(time_without_room_ends_when_there_is_room_again);
    RUN(the_oldest_record_has_an_age_until_it_is_durable);
    RUN(ages_of_a_long_backlog_stay_in_proportion);
    return 0;
}
