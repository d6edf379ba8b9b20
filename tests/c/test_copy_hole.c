#include "copy_parts.h"
#include "copy_rig.h"

#define SIZE (96ULL << 20)
#define CHUNKS (SIZE / CHUNK)

static const rep_extent NOTHING[1];

static void make_hole(vol v)
{
    v.disk->extents = NOTHING;
    v.disk->extent_count = 0;
}

static local holes_of(uint64_t size_bytes)
{
    local l = local_of(size_bytes);
    make_hole(l.source);
    make_hole(l.target);
    pend(l.row, 0, (size_bytes + CHUNK - 1) / CHUNK);
    CHECK_EQ(local_forward(&l), 0);
    return l;
}

static void a_hole_at_both_ends_is_not_sent(void)
{
    local l = holes_of(SIZE + 7);
    rep_copy_progress progress = {0};
    CHECK_EQ(run(l.row, UINT64_MAX, &progress), 0);
    CHECK_EQ(progress.copied_bytes, SIZE + 7);
    CHECK_EQ(progress.zero_bytes, SIZE + 7);
    CHECK_EQ(progress.passes, 0);
    CHECK_EQ(l.target.disk->pwrite_bytes + l.target.disk->zero_bytes, 0);
    CHECK_EQ(cover_count(l.row), 0);
    local_free(&l);
}

static void only_what_is_pending_of_a_hole_counts(void)
{
    local l = local_of(SIZE);
    rep_copy_progress progress = {0};
    make_hole(l.source);
    make_hole(l.target);
    pend(l.row, 0, CHUNKS / 2);
    pend(l.row, CHUNKS - 3, 3);
    CHECK_EQ(local_forward(&l), 0);
    CHECK_EQ(run(l.row, UINT64_MAX, &progress), 0);
    CHECK_EQ(progress.copied_bytes, SIZE / 2 + 3 * CHUNK);
    CHECK_EQ(pending_count(l.row), 0);
    local_free(&l);
}

static void data_between_holes_is_found(void)
{
    local l = local_of(SIZE);
    rep_copy_progress progress = {0};
    const rep_extent data[] = {{50 * CHUNK, CHUNK}, {SIZE - CHUNK - 100, 50}};
    make_hole(l.target);
    l.source.disk->extents = data;
    l.source.disk->extent_count = 2;
    CHECK_EQ(put_bytes(l.source, data[0].offset, data[0].length, 1), 0);
    CHECK_EQ(put_bytes(l.source, data[1].offset, data[1].length, 2), 0);
    pend(l.row, 0, CHUNKS);
    CHECK_EQ(local_forward(&l), 0);
    CHECK_EQ(run(l.row, UINT64_MAX, &progress), 0);
    CHECK_EQ(progress.copied_bytes, SIZE);
    CHECK_EQ(l.target.disk->pwrite_bytes, 2 * CHUNK);
    CHECK(volumes_equal(l.source, l.target));
    local_free(&l);
}

static void data_of_the_target_becomes_a_hole_in_few_pieces(void)
{
    local l = local_of(SIZE);
    rep_copy_progress progress = {0};
    const rep_extent data[] = {{0, CHUNK}, {SIZE / 2, CHUNK}};
    make_hole(l.source);
    l.target.disk->extents = data;
    l.target.disk->extent_count = 2;
    CHECK_EQ(put_chunk(l.target, 0, 1), 0);
    CHECK_EQ(put_bytes(l.target, SIZE / 2, CHUNK, 2), 0);
    uint64_t before = rep_volatile_unflushed_count(l.target.disk->faulty);
    pend(l.row, 0, CHUNKS);
    CHECK_EQ(local_forward(&l), 0);
    CHECK_EQ(run(l.row, UINT64_MAX, &progress), 0);
    CHECK_EQ(progress.copied_bytes, SIZE);
    CHECK(rep_volatile_unflushed_count(l.target.disk->faulty) <= before + 2);
    CHECK(volumes_equal(l.source, l.target));
    local_free(&l);
}

static void write_into_the_hole(disk *d)
{
    static rep_extent data[] = {{40 * CHUNK, CHUNK}};
    local *l = d->hook_data;
    CHECK_EQ(put_chunk(l->source, 40, 5), 0);
    l->source.disk->extents = data;
    l->source.disk->extent_count = 1;
}

static void a_write_into_a_hole_that_was_seen_is_copied(void)
{
    local l = holes_of(SIZE);
    l.target.disk->hook_data = &l;
    l.target.disk->before_flush = write_into_the_hole; /* outside the pass */
    CHECK_EQ(copy_all(l.row), 0);
    CHECK_EQ(chunk_byte(l.target, 40), 5);
    CHECK(volumes_equal(l.source, l.target));
    local_free(&l);
}

/* The target's hole was punched a moment ago, and only in its cache. */
static void a_hole_that_could_come_back_as_data_is_flushed_or_covered(void)
{
    local l = local_of(SIZE);
    CHECK_EQ(put_chunk(l.target, 7, 9), 0);
    CHECK_EQ(rep_io_flush(&l.target.disk->io), 0);
    CHECK_EQ(rep_io_zero(&l.target.disk->io, 7 * CHUNK, CHUNK), 0);
    make_hole(l.source);
    make_hole(l.target);
    pend(l.row, 0, CHUNKS);
    CHECK_EQ(local_forward(&l), 0);
    CHECK_EQ(copy_all(l.row), 0);
    CHECK_EQ(rep_volatile_lose(l.target.disk->faulty, 1, 0, 0), 0);
    CHECK(is_covered(l.row, 7) || chunks_equal(l.source, l.target, 7));
    local_free(&l);
}

static void a_target_that_cannot_be_made_durable_ends_the_copy(void)
{
    local l = holes_of(SIZE);
    rep_volatile_fail_after(l.target.disk->faulty, 0, -EIO);
    CHECK_EQ(copy_all(l.row), -EPIPE);
    CHECK_EQ(info_of(l.row).broken, -EIO);
    CHECK_EQ(pending_count(l.row), CHUNKS);
    local_free(&l);
}

/* What its hosts wrote before may be lost with it; the kernel tells only once. */
static void other_rows_of_a_target_that_lost_its_writes_are_all_pending(void)
{
    for (int by_settle = 0; by_settle < 2; by_settle++) {
        local l = holes_of(SIZE);
        rep_link *other = link_new(l.target, 1);
        CHECK_EQ(rep_link_mark(other), 0);
        rep_volatile_fail_after(l.target.disk->faulty, 0, -EIO);
        CHECK_EQ(by_settle ? rep_link_settle(l.row) : copy_all(l.row), by_settle ? -EIO : -EPIPE);
        CHECK_EQ(pending_count(other), CHUNKS);
        CHECK_EQ(pending_count(l.mirror_row), 0);
        rep_link_free(other);
        local_free(&l);
    }
}

static void fail_the_flush_of_the_source(disk *d)
{
    local *l = d->hook_data;
    rep_ticket ticket = {0};
    rep_volatile_fail_after(l->source.disk->faulty, 0, -EIO);
    CHECK_EQ(rep_volume_flush(l->source.volume, &ticket), -EIO);
}

static void look_again(disk *d)
{
    local *l = d->hook_data;
    l->target.disk->before_extents = fail_the_flush_of_the_source;
}

/* Its cache was lost: what it holds of the hole that was just seen isn't known either. */
static void a_source_that_fails_while_a_hole_is_skipped_stays_pending(void)
{
    local l = holes_of(SIZE);
    l.target.disk->hook_data = &l;
    l.target.disk->before_flush = look_again;
    CHECK_EQ(copy_all(l.row), -EPIPE);
    CHECK_EQ(info_of(l.row).broken, -EIO);
    CHECK_EQ(pending_count(l.row), CHUNKS);
    local_free(&l);
}

static void storage_that_cannot_tell_is_read(void)
{
    local l = local_of(SIZE / 8);
    rep_copy_progress progress = {0};
    CHECK_EQ(put_chunk(l.source, 11, 3), 0);
    CHECK_EQ(put_chunk(l.target, 12, 3), 0);
    pend(l.row, 0, CHUNKS / 8);
    CHECK_EQ(local_forward(&l), 0);
    CHECK_EQ(run(l.row, UINT64_MAX, &progress), 0);
    CHECK_EQ(progress.copied_bytes - progress.zero_bytes, CHUNK);
    CHECK(volumes_equal(l.source, l.target));
    local_free(&l);
}

static void a_hole_takes_few_records_to_a_remote_target(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    rep_stream_break(r.stream, -EPIPE);
    CHECK_EQ(put_bytes(r.target, 0, SIZE / 2, 1), 0);
    make_hole(r.source);
    pend(r.row, 0, CHUNKS);
    remote_reopen(&r);
    CHECK_EQ(copy_all(r.row), 0);
    CHECK(stream_info(r.stream).last <= 2);
    CHECK_EQ(cover_count(r.row), CHUNKS);
    pump_durable(r.stream, r.apply);
    CHECK_EQ(cover_count(r.row), 0);
    CHECK(volumes_equal(r.source, r.target));
    remote_free(&r);
}

/* A new remote pair: all of it pending, the target blank. */
static remote blank_of(const rep_extent *data, size_t count)
{
    remote r = remote_new(SIZE + 7, REP_ACK_QUEUED);
    rep_bitmap_fill(r.row->pending);
    r.source.disk->extents = data;
    r.source.disk->extent_count = count;
    for (size_t i = 0; i < count; i++)
        CHECK_OK(put_bytes(r.source, data[i].offset, data[i].length, 1 + (int)i));
    CHECK_EQ(stream_info(r.stream).last, 0);
    return r;
}

static rep_copier *onto_blank(const remote *r)
{
    rep_copier *copier;
    CHECK_OK(rep_copier_new(r->row, 1, &copier));
    CHECK_OK(rep_copier_expect_blank(copier));
    return copier;
}

static int go_on(rep_copier *copier, uint64_t most_bytes, rep_copy_progress *progress)
{
    return rep_copier_run(copier, 0, most_bytes, REP_NO_DEADLINE, NULL, progress);
}

static void onto_a_blank_target_nothing_but_data_is_sent(void)
{
    const rep_extent data[] = {
        {50 * CHUNK + 100, CHUNK}, {40ULL << 20, 2 * CHUNK}, {SIZE - 100, 107}};
    remote r = blank_of(data, 3);
    rep_copy_progress progress = {0};
    rep_copier *copier = onto_blank(&r);
    CHECK_OK(go_on(copier, UINT64_MAX, &progress));
    CHECK_EQ(progress.copied_bytes, SIZE + 7);
    CHECK_EQ(pending_count(r.row), 0);
    pump_durable(r.stream, r.apply);
    CHECK_EQ(cover_count(r.row), 0);
    CHECK_EQ(r.target.disk->zero_bytes, 0);
    CHECK(r.target.disk->pwrite_bytes <= 8 * CHUNK);
    CHECK(volumes_equal(r.source, r.target));
    rep_copier_free(copier);
    remote_free(&r);
}

static void onto_a_blank_target_a_volume_without_data_sends_nothing(void)
{
    remote r = blank_of(NOTHING, 0);
    rep_copy_progress progress = {0};
    rep_copier *copier = onto_blank(&r);
    CHECK_OK(go_on(copier, UINT64_MAX, &progress));
    CHECK_EQ(stream_info(r.stream).last, 0);
    CHECK_EQ(cover_count(r.row), 0);
    rep_copier_free(copier);
    remote_free(&r);
}

/* What was sent is shipped from then on; zeros over it must arrive. */
static void zeros_over_what_was_sent_arrive_at_a_target_that_was_blank(void)
{
    const rep_extent data[] = {{0, 32 * CHUNK}, {60ULL << 20, 32 * CHUNK}};
    remote r = blank_of(data, 2);
    rep_copy_progress progress = {0};
    rep_ticket ticket = {0};
    uint64_t done;
    rep_copier *copier = onto_blank(&r);
    CHECK_EQ(go_on(copier, 32 * CHUNK, &progress), 1);
    CHECK_OK(rep_volume_zero(r.source.volume, CHUNK, CHUNK, 0, PAST, NULL, &ticket, &done));
    CHECK_OK(rep_volume_zero(r.source.volume, CHUNK, 60ULL << 20, 0, PAST, NULL, &ticket, &done));
    CHECK_OK(go_on(copier, UINT64_MAX, &progress));
    pump_durable(r.stream, r.apply);
    CHECK(volumes_equal(r.source, r.target));
    CHECK_EQ(cover_count(r.row), 0);
    rep_copier_free(copier);
    remote_free(&r);
}

/* The path was lost: what was sent is pending again, and may be a hole by now. */
static void a_target_that_was_sent_to_is_blank_no_more_after_the_path_was_lost(void)
{
    rep_extent data[] = {{0, 32 * CHUNK}};
    remote r = blank_of(data, 1);
    rep_copy_progress progress = {0};
    rep_ticket ticket = {0};
    uint64_t done;
    rep_copier *copier = onto_blank(&r);
    CHECK_EQ(go_on(copier, 32 * CHUNK, &progress), 1);
    pump(r.stream, r.apply);
    rep_stream_break(r.stream, -EPIPE);
    CHECK_OK(rep_volume_zero(r.source.volume, SIZE, 0, 0, PAST, NULL, &ticket, &done));
    r.source.disk->extent_count = 0;
    CHECK_EQ(go_on(copier, UINT64_MAX, &progress), -EPIPE);
    remote_reopen(&r);
    CHECK_OK(go_on(copier, UINT64_MAX, &progress));
    pump_durable(r.stream, r.apply);
    CHECK(volumes_equal(r.source, r.target));
    CHECK_EQ(cover_count(r.row), 0);
    rep_copier_free(copier);
    remote_free(&r);
}

/* The queue is full: zeros over what was sent are only marked, and sent by the copy's next round. */
static void zeros_that_found_no_room_arrive_at_a_target_that_was_blank(void)
{
    const rep_extent data[] = {{0, 32 * CHUNK}, {60ULL << 20, 32 * CHUNK}};
    remote r = blank_of(data, 2);
    rep_copy_progress progress = {0};
    rep_ticket ticket = {0};
    uint64_t done;
    rep_copier *copier = onto_blank(&r);
    rep_link_set_congestion(r.row, REP_CONGESTION_PULL_AHEAD);
    CHECK_EQ(go_on(copier, 32 * CHUNK, &progress), 1);
    pump(r.stream, r.apply);
    CHECK_EQ(rep_stream_reserve(r.stream, CAPACITY), 0);
    CHECK_OK(rep_volume_zero(r.source.volume, CHUNK, CHUNK, 0, PAST, NULL, &ticket, &done));
    CHECK(is_pending(r.row, 1));
    rep_stream_unreserve(r.stream, CAPACITY);
    CHECK_OK(go_on(copier, UINT64_MAX, &progress));
    CHECK_EQ(rep_link_follow(r.row), 0);
    pump_durable(r.stream, r.apply);
    CHECK(volumes_equal(r.source, r.target));
    rep_copier_free(copier);
    remote_free(&r);
}

static void fail_reads(disk *d)
{
    rep_volatile_fail_reads(d->faulty, -EIO);
}

/* A run's first piece was sent, its second can't be read: the run stays pending, and isn't blank. */
static void a_run_that_was_sent_in_part_is_not_taken_for_blank(void)
{
    const uint64_t far = 16 * CHUNK;
    const rep_extent data[] = {{0, 2 * CHUNK}, {far, 2 * CHUNK}};
    remote r = blank_of(data, 2);
    rep_copy_progress progress = {0};
    rep_ticket ticket = {0};
    uint64_t done;
    rep_copier *copier = onto_blank(&r);
    /* It knows where the first piece is: its first look for data is for the second. */
    copier->workers[0].data_from = 0;
    copier->workers[0].data_until = 2 * CHUNK;
    r.source.disk->before_extents = fail_reads;
    CHECK_EQ(go_on(copier, UINT64_MAX, &progress), -EIO);
    CHECK_EQ(stream_info(r.stream).last, 1);
    CHECK(is_pending(r.row, 0));
    rep_volatile_fail_reads(r.source.disk->faulty, 0);
    CHECK_OK(rep_volume_zero(r.source.volume, 2 * CHUNK, 0, 0, PAST, NULL, &ticket, &done));
    CHECK_OK(go_on(copier, UINT64_MAX, &progress));
    pump_durable(r.stream, r.apply);
    CHECK(volumes_equal(r.source, r.target));
    rep_copier_free(copier);
    remote_free(&r);
}

static void a_row_that_has_sent_something_is_not_believed_to_go_onto_a_blank_target(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    rep_copier *copier;
    rep_bitmap_fill(r.row->pending);
    CHECK_OK(rep_bitmap_clear(r.row->pending, 5, 1));
    CHECK_OK(rep_copier_new(r.row, 1, &copier));
    CHECK_ERRNO(rep_copier_expect_blank(copier), EINVAL);
    rep_copier_free(copier);
    remote_free(&r);
}

static void one_chunk_waits_for_one_chunks_room(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    CHECK_EQ(rep_stream_reserve(r.stream, CAPACITY / 2 - 2 * CHUNK), 0);
    pend(r.row, 5, 1);
    rep_copier *copier;
    rep_copy_progress progress = {0};
    CHECK_EQ(rep_copier_new(r.row, 1, &copier), 0);
    CHECK_EQ(rep_copier_run(copier, 0, UINT64_MAX, PAST, NULL, &progress), 0);
    rep_stream_unreserve(r.stream, CAPACITY / 2 - 2 * CHUNK);
    rep_copier_free(copier);
    remote_free(&r);
}

int main(void)
{
    RUN(a_hole_at_both_ends_is_not_sent);
    RUN(only_what_is_pending_of_a_hole_counts);
    RUN(data_between_holes_is_found);
    RUN(data_of_the_target_becomes_a_hole_in_few_pieces);
    RUN(a_write_into_a_hole_that_was_seen_is_copied);
    RUN(a_hole_that_could_come_back_as_data_is_flushed_or_covered);
    RUN(a_target_that_cannot_be_made_durable_ends_the_copy);
    RUN(other_rows_of_a_target_that_lost_its_writes_are_all_pending);
    RUN(a_source_that_fails_while_a_hole_is_skipped_stays_pending);
    RUN(storage_that_cannot_tell_is_read);
    RUN(a_hole_takes_few_records_to_a_remote_target);
    RUN(onto_a_blank_target_nothing_but_data_is_sent);
    RUN(onto_a_blank_target_a_volume_without_data_sends_nothing);
    RUN(zeros_over_what_was_sent_arrive_at_a_target_that_was_blank);
    RUN(a_target_that_was_sent_to_is_blank_no_more_after_the_path_was_lost);
    RUN(zeros_that_found_no_room_arrive_at_a_target_that_was_blank);
    RUN(a_run_that_was_sent_in_part_is_not_taken_for_blank);
    RUN(a_row_that_has_sent_something_is_not_believed_to_go_onto_a_blank_target);
    RUN(one_chunk_waits_for_one_chunks_room);
    return 0;
}
