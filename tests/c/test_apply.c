#include <sched.h>

#include "rep_wire.h"
#include "rig.h"

#define SIZE (16 * CHUNK)

typedef struct frame {
    uint8_t bytes[4 * CHUNK];
    uint64_t length;
    uint64_t attempt;
    uint64_t first_number;
    uint32_t count;
} frame;

static frame frame_new(uint64_t attempt, uint64_t first_number)
{
    frame f = {.length = REP_FRAME_HEADER_BYTES, .attempt = attempt, .first_number = first_number};
    return f;
}

static void add(frame *f, uint8_t type, uint32_t channel, uint64_t offset, const char *text)
{
    rep_record record = {.type = type,
                         .channel = channel,
                         .number = f->first_number + f->count++,
                         .offset = offset,
                         .length = type == REP_RECORD_BARRIER ? 0 : (uint32_t)strlen(text)};
    rep_record_put_header(f->bytes + f->length, &record);
    f->length += REP_RECORD_HEADER_BYTES;
    if (type == REP_RECORD_DATA) {
        memcpy(f->bytes + f->length, text, record.length);
        f->length += record.length;
    }
}

static int offer(rep_apply *apply, frame *f, uint64_t stream_id, rep_wake *wake, int *barrier)
{
    rep_frame_info info = {
        .stream_id = stream_id,
        .attempt = f->attempt,
        .first_number = f->first_number,
        .record_count = f->count,
        .body_bytes = (uint32_t)(f->length - REP_FRAME_HEADER_BYTES),
    };
    rep_frame_put_header(f->bytes, &info);
    return rep_apply_frame(apply, f->bytes, f->length, wake, barrier);
}

static int deliver(rep_apply *apply, frame *f)
{
    int barrier;
    return offer(apply, f, 7, NULL, &barrier);
}

static int deliver_one(rep_apply *apply, uint64_t number, uint64_t offset, const char *text)
{
    frame f = frame_new(1, number);
    add(&f, REP_RECORD_DATA, 1, offset, text);
    return deliver(apply, &f);
}

static void records_are_applied_in_their_order(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    frame f = frame_new(1, 1);
    int barrier;
    add(&f, REP_RECORD_DATA, 1, 10, "aaaa");
    add(&f, REP_RECORD_DATA, 1, 11, "bb");
    add(&f, REP_RECORD_ZERO, 1, 12, "z");
    add(&f, REP_RECORD_BARRIER, 0, 0, "");
    CHECK_EQ(offer(r.apply, &f, 7, NULL, &barrier), 0);
    CHECK_EQ(barrier, 1);
    CHECK_EQ(byte_at(r.target, 10), 'a');
    CHECK_EQ(byte_at(r.target, 11), 'b');
    CHECK_EQ(byte_at(r.target, 12), 0);
    CHECK_EQ(byte_at(r.target, 13), 'a');
    CHECK_EQ(apply_info(r.apply).applied, 4);
    CHECK_EQ(apply_info(r.apply).durable, 0);
    remote_free(&r);
}

static void a_number_that_is_not_the_next_has_no_effect(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    CHECK_EQ(deliver_one(r.apply, 2, 0, "x"), -EILSEQ);
    CHECK_EQ(deliver_one(r.apply, 1, 0, "x"), 0);
    CHECK_EQ(deliver_one(r.apply, 1, 0, "y"), -EILSEQ);
    CHECK_EQ(byte_at(r.target, 0), 'x');
    CHECK_EQ(apply_info(r.apply).applied, 1);
    remote_free(&r);
}

static void another_attempt_or_stream_has_no_effect(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    frame f = frame_new(2, 1);
    int barrier;
    add(&f, REP_RECORD_DATA, 1, 0, "x");
    CHECK_EQ(deliver(r.apply, &f), -ESTALE);
    f.attempt = 1;
    CHECK_EQ(offer(r.apply, &f, 8, NULL, &barrier), -ESTALE);
    CHECK_EQ(byte_at(r.target, 0), 0);
    CHECK_EQ(deliver(r.apply, &f), 0);
    remote_free(&r);
}

static void a_frame_is_checked_whole_before_its_first_record_has_an_effect(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    frame channel = frame_new(1, 1);
    add(&channel, REP_RECORD_DATA, 1, 0, "x");
    add(&channel, REP_RECORD_DATA, 2, 0, "x");
    CHECK_EQ(deliver(r.apply, &channel), -ENOENT);
    frame far = frame_new(1, 1);
    add(&far, REP_RECORD_DATA, 1, 0, "x");
    add(&far, REP_RECORD_DATA, 70000, 0, "x");
    CHECK_EQ(deliver(r.apply, &far), -ENOENT);
    frame range = frame_new(1, 1);
    add(&range, REP_RECORD_DATA, 1, 0, "x");
    add(&range, REP_RECORD_DATA, 1, SIZE - 1, "xx");
    CHECK_EQ(deliver(r.apply, &range), -ERANGE);
    frame wraps = frame_new(1, 1);
    add(&wraps, REP_RECORD_DATA, 1, 0, "x");
    add(&wraps, REP_RECORD_TRIM, 1, UINT64_MAX, "xx");
    CHECK_EQ(deliver(r.apply, &wraps), -ERANGE);
    frame torn = frame_new(1, 1);
    add(&torn, REP_RECORD_DATA, 1, 0, "x");
    add(&torn, 9, 1, 0, "x");
    CHECK_EQ(deliver(r.apply, &torn), -EBADMSG);
    CHECK_EQ(byte_at(r.target, 0), 0);
    CHECK_EQ(apply_info(r.apply).applied, 0);
    CHECK_EQ(cover_count(r.mirror_row), 0);
    remote_free(&r);
}

static void an_attempt_supersedes_lower_ones_only(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    CHECK_EQ(rep_apply_start(r.apply, 1, 5), -EINVAL);
    CHECK_EQ(rep_apply_start(r.apply, 2, 0), -EINVAL);
    CHECK_EQ(rep_apply_start(r.apply, 2, 5), 0);
    CHECK_EQ(apply_info(r.apply).applied, 4);
    CHECK_EQ(deliver_one(r.apply, 5, 0, "x"), -ESTALE);
    remote_free(&r);
}

static void channels_are_bound_once_and_in_range(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    CHECK_EQ(rep_apply_bind(r.apply, 1, r.mirror_row), -EEXIST);
    CHECK_EQ(rep_apply_bind(r.apply, 0, r.mirror_row), -EINVAL);
    CHECK_EQ(rep_apply_bind(r.apply, 65536, r.mirror_row), -EINVAL);
    rep_apply_unbind(r.apply, 60000);
    rep_apply_unbind(r.apply, 1);
    CHECK_EQ(deliver_one(r.apply, 1, 0, "x"), -ENOENT);
    CHECK_EQ(rep_apply_bind(r.apply, 1, r.mirror_row), 0);
    CHECK_EQ(deliver_one(r.apply, 1, 0, "x"), 0);
    remote_free(&r);
}

static void what_is_applied_is_in_the_rows_cover_until_its_flush(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    CHECK_EQ(deliver_one(r.apply, 1, 3 * CHUNK, "x"), 0);
    CHECK(is_unsettled(r.mirror_row, 3));
    CHECK(!is_pending(r.mirror_row, 3)); /* no echo */
    CHECK_EQ(rep_apply_settle(r.apply), 0);
    CHECK_EQ(cover_count(r.mirror_row), 0);
    CHECK_EQ(rep_volatile_unflushed_count(r.target.disk->faulty), 0);
    CHECK_EQ(apply_info(r.apply).durable, 1);
    remote_free(&r);
}

/* The peer drops its own bits when it hears the number. INV-3. */
static void a_flush_that_fails_leaves_what_was_applied_pending(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    CHECK_EQ(deliver_one(r.apply, 1, 3 * CHUNK, "x"), 0);
    rep_volatile_fail_after(r.target.disk->faulty, 0, -EIO);
    CHECK_EQ(rep_apply_settle(r.apply), 0);
    rep_volatile_fail_after(r.target.disk->faulty, 0, 0);
    CHECK_EQ(apply_info(r.apply).durable, 1);
    CHECK(is_pending(r.mirror_row, 3));
    CHECK_EQ(rep_apply_settle(r.apply), 0);
    CHECK(is_pending(r.mirror_row, 3));
    CHECK_EQ(rep_apply_take_error(r.apply, 1), -EIO);
    CHECK_EQ(rep_apply_take_error(r.apply, 1), 0);
    remote_free(&r);
}

/* The storage reports once: a later flush that succeeds says nothing of what was written before. */
static void a_flush_that_fails_makes_all_pending_in_the_volumes_other_rows(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    vol mirror = vol_new(r.trees[1], SIZE);
    rep_link *row = link_new(r.target, 1);
    rep_link *mirror_row = link_new(mirror, 0);
    CHECK_EQ(rep_link_forward(row, mirror.volume, mirror_row), 0);
    CHECK_EQ(deliver_one(r.apply, 1, 3 * CHUNK, "x"), 0);
    CHECK_EQ(rep_link_settle(row), 0);
    CHECK_EQ(cover_count(row), 0);
    rep_volatile_fail_after(r.target.disk->faulty, 0, -EIO);
    CHECK_EQ(rep_apply_settle(r.apply), 0);
    rep_volatile_fail_after(r.target.disk->faulty, 0, 0);
    CHECK_EQ(rep_apply_take_error(r.apply, 1), -EIO);
    CHECK_EQ(pending_count(row), rep_link_chunk_count(row));
    CHECK_EQ(info_of(row).broken, -EIO);
    CHECK_EQ(info_of(row).source_failed, 1); /* the mirror has it all */
    CHECK_EQ(pending_count(r.mirror_row), 1);
    CHECK_EQ(rep_link_idle(row), 0);
    rep_link_free(row);
    rep_link_free(mirror_row);
    vol_free(mirror);
    remote_free(&r);
}

static void a_volume_that_fails_keeps_its_bits_and_the_others_go_on(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    vol other = vol_new(r.trees[1], SIZE);
    rep_link *row = link_new(other, 0);
    CHECK_EQ(rep_apply_bind(r.apply, 2, row), 0);
    rep_volatile_fail_after(r.target.disk->faulty, 0, -EIO);
    frame f = frame_new(1, 1);
    add(&f, REP_RECORD_DATA, 1, 2 * CHUNK, "x");
    add(&f, REP_RECORD_DATA, 2, 2 * CHUNK, "x");
    CHECK_EQ(deliver(r.apply, &f), 0);
    rep_volatile_fail_after(r.target.disk->faulty, 0, 0);
    CHECK_EQ(apply_info(r.apply).applied, 2);
    CHECK(is_pending(r.mirror_row, 2));
    CHECK_EQ(byte_at(other, 2 * CHUNK), 'x');
    CHECK_EQ(rep_apply_settle(r.apply), 0);
    CHECK(is_pending(r.mirror_row, 2));
    CHECK_EQ(rep_apply_take_error(r.apply, 1), -EIO);
    CHECK_EQ(rep_apply_take_error(r.apply, 2), 0);
    CHECK_EQ(rep_apply_take_error(r.apply, 40000), 0);
    CHECK_EQ(cover_count(row), 0);
    rep_apply_unbind(r.apply, 2);
    rep_link_free(row);
    vol_free(other);
    remote_free(&r);
}

/* Whoever binds a channel anew settles from a thread of its own, beside who answers. */
typedef struct beside {
    rep_apply *apply;
    _Atomic uint64_t turn; /* a settle is wanted */
    _Atomic uint64_t done;
} beside;

#define TURNS 500

static void *settle_beside(void *argument)
{
    beside *b = argument;
    for (uint64_t turn = 1; turn <= TURNS; turn++) {
        while (atomic_load(&b->turn) < turn)
            sched_yield();
        CHECK_EQ(rep_apply_settle(b->apply), 0);
        atomic_store(&b->done, turn);
    }
    return NULL;
}

/* INV-3: else the peer drops its own bits, and the difference is nowhere. */
static void numbers_never_count_as_durable_what_has_failed_untold(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    beside b = {.apply = r.apply};
    pthread_t thread = thread_start(settle_beside, &b);
    for (uint64_t turn = 1; turn <= TURNS; turn++) {
        rep_apply_info info = {0};
        CHECK_EQ(deliver_one(r.apply, turn, 0, "x"), 0);
        rep_volatile_fail_after(r.target.disk->faulty, 0, -EIO);
        atomic_store(&b.turn, turn);
        while (rep_apply_answer(r.apply, &info) == 0)
            CHECK_EQ(info.durable, turn - 1);
        CHECK_EQ(rep_apply_take_error(r.apply, 1), -EIO);
        while (atomic_load(&b.done) < turn)
            sched_yield();
        rep_volatile_fail_after(r.target.disk->faulty, 0, 0);
        CHECK_EQ(rep_apply_answer(r.apply, &info), 0);
        CHECK_EQ(info.durable, turn);
    }
    thread_join(thread);
    remote_free(&r);
}

static void what_was_applied_before_an_unbind_stays_in_the_rows_cover(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    CHECK_EQ(deliver_one(r.apply, 1, 3 * CHUNK, "x"), 0);
    rep_apply_unbind(r.apply, 1);
    CHECK_EQ(rep_apply_settle(r.apply), 0);
    CHECK(is_covered(r.mirror_row, 3));
    CHECK_EQ(rep_link_mark(r.mirror_row), 0);
    CHECK(is_pending(r.mirror_row, 3));
    remote_free(&r);
}

/* Nobody flushes what came through it: said to be durable, the peer would drop its own bits. INV-3. */
static void
a_channel_unbound_before_its_flush_keeps_durable_where_it_is_until_the_next_attempt(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    CHECK_EQ(deliver_one(r.apply, 1, 0, "x"), 0);
    CHECK_EQ(rep_apply_settle(r.apply), 0);
    CHECK_EQ(deliver_one(r.apply, 2, 3 * CHUNK, "x"), 0);
    rep_apply_unbind(r.apply, 1);
    CHECK_EQ(rep_apply_bind(r.apply, 1, r.mirror_row), 0);
    CHECK_EQ(deliver_one(r.apply, 3, 5 * CHUNK, "x"), 0);
    CHECK_EQ(rep_apply_settle(r.apply), 0);
    CHECK_EQ(apply_info(r.apply).applied, 3);
    CHECK_EQ(apply_info(r.apply).durable, 1);
    CHECK_EQ(rep_apply_start(r.apply, 2, 9), 0);
    CHECK_EQ(rep_apply_settle(r.apply), 0);
    CHECK_EQ(apply_info(r.apply).durable, 8);
    remote_free(&r);
}

static void a_channel_unbound_after_its_flush_keeps_nothing_back(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    CHECK_EQ(deliver_one(r.apply, 1, 0, "x"), 0);
    CHECK_EQ(rep_apply_settle(r.apply), 0);
    rep_apply_unbind(r.apply, 1);
    CHECK_EQ(rep_apply_bind(r.apply, 1, r.mirror_row), 0);
    CHECK_EQ(deliver_one(r.apply, 2, 0, "x"), 0);
    CHECK_EQ(rep_apply_settle(r.apply), 0);
    CHECK_EQ(apply_info(r.apply).durable, 2);
    remote_free(&r);
}

static void a_channel_unbound_durably_is_flushed_and_settled_first(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    CHECK_EQ(rep_apply_unbind_durably(r.apply, 60000), 0);
    CHECK_EQ(deliver_one(r.apply, 1, 3 * CHUNK, "x"), 0);
    CHECK_EQ(rep_apply_unbind_durably(r.apply, 1), 0);
    CHECK_EQ(rep_volatile_unflushed_count(r.target.disk->faulty), 0);
    CHECK_EQ(cover_count(r.mirror_row), 0);
    CHECK_EQ(deliver_one(r.apply, 2, 0, "x"), -ENOENT);
    CHECK_EQ(apply_info(r.apply).durable, 0);
    CHECK_EQ(rep_apply_settle(r.apply), 0);
    CHECK_EQ(apply_info(r.apply).durable, 1);
    remote_free(&r);
}

static void a_channel_whose_last_flush_fails_is_told_as_it_is_unbound_and_never_durable(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    CHECK_EQ(deliver_one(r.apply, 1, 3 * CHUNK, "x"), 0);
    rep_volatile_fail_after(r.target.disk->faulty, 0, -EIO);
    CHECK_EQ(rep_apply_unbind_durably(r.apply, 1), -EIO);
    rep_volatile_fail_after(r.target.disk->faulty, 0, 0);
    CHECK(is_pending(r.mirror_row, 3));
    rep_apply_info none;
    CHECK_EQ(rep_apply_answer(r.apply, &none), 0);
    CHECK_EQ(rep_apply_settle(r.apply), 0);
    CHECK_EQ(apply_info(r.apply).durable, 0);
    remote_free(&r);
}

/* The peer was never told of it, and nobody can tell it any more. */
static void an_error_that_nobody_took_before_an_unbind_keeps_durable_where_it_is(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    rep_volatile_fail_after(r.target.disk->faulty, 0, -EIO);
    CHECK_EQ(deliver_one(r.apply, 1, 3 * CHUNK, "x"), 0);
    rep_volatile_fail_after(r.target.disk->faulty, 0, 0);
    CHECK_EQ(rep_apply_unbind_durably(r.apply, 1), -EIO);
    CHECK_EQ(rep_apply_settle(r.apply), 0);
    CHECK_EQ(apply_info(r.apply).durable, 0);
    remote_free(&r);
}

static void a_clean_of_the_row_keeps_what_the_stream_has_yet_to_flush(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    CHECK_EQ(deliver_one(r.apply, 1, 3 * CHUNK, "x"), 0);
    CHECK_EQ(rep_bitmap_set(rep_link_pending(r.mirror_row), 9, 1), 0);
    CHECK_EQ(rep_link_clean(r.mirror_row), 0);
    CHECK(!is_covered(r.mirror_row, 9));
    CHECK(is_covered(r.mirror_row, 3));
    remote_free(&r);
}

static void a_raised_handle_stops_a_frame_between_its_records(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    rep_wake *wake;
    rep_pass pass;
    int barrier;
    CHECK_EQ(rep_wake_new(&wake), 0);
    rep_wake_raise(wake);
    CHECK_EQ(rep_tree_enter(&r.target.volume->tree, &pass, CHUNK, 1, PAST, NULL), 0);
    frame f = frame_new(1, 1);
    add(&f, REP_RECORD_DATA, 1, 0, "x");
    add(&f, REP_RECORD_DATA, 1, CHUNK, "x");
    CHECK_EQ(offer(r.apply, &f, 7, wake, &barrier), -ECANCELED);
    rep_tree_exit(&pass);
    CHECK_EQ(apply_info(r.apply).applied, 1);
    CHECK_EQ(byte_at(r.target, 0), 'x');
    CHECK_EQ(byte_at(r.target, CHUNK), 0);
    rep_wake_free(wake);
    remote_free(&r);
}

int main(void)
{
    RUN(records_are_applied_in_their_order);
    RUN(a_number_that_is_not_the_next_has_no_effect);
    RUN(another_attempt_or_stream_has_no_effect);
    RUN(a_frame_is_checked_whole_before_its_first_record_has_an_effect);
    RUN(an_attempt_supersedes_lower_ones_only);
    RUN(channels_are_bound_once_and_in_range);
    RUN(what_is_applied_is_in_the_rows_cover_until_its_flush);
    RUN(a_flush_that_fails_leaves_what_was_applied_pending);
    RUN(a_flush_that_fails_makes_all_pending_in_the_volumes_other_rows);
    RUN(a_volume_that_fails_keeps_its_bits_and_the_others_go_on);
    RUN(numbers_never_count_as_durable_what_has_failed_untold);
    RUN(what_was_applied_before_an_unbind_stays_in_the_rows_cover);
    RUN(a_channel_unbound_before_its_flush_keeps_durable_where_it_is_until_the_next_attempt);
    RUN(a_channel_unbound_after_its_flush_keeps_nothing_back);
    RUN(a_channel_unbound_durably_is_flushed_and_settled_first);
    RUN(a_channel_whose_last_flush_fails_is_told_as_it_is_unbound_and_never_durable);
    RUN(an_error_that_nobody_took_before_an_unbind_keeps_durable_where_it_is);
    RUN(a_clean_of_the_row_keeps_what_the_stream_has_yet_to_flush);
    RUN(a_raised_handle_stops_a_frame_between_its_records);
    return 0;
}
