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

static void one_chunk_waits_for_one_chunks_room(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    CHECK_EQ(rep_stream_reserve(r.stream, CAPACITY - 2 * CHUNK), 0);
    pend(r.row, 5, 1);
    rep_copier *copier;
    rep_copy_progress progress = {0};
    CHECK_EQ(rep_copier_new(r.row, 1, &copier), 0);
    CHECK_EQ(rep_copier_run(copier, 0, UINT64_MAX, PAST, NULL, &progress), 0);
    rep_stream_unreserve(r.stream, CAPACITY - 2 * CHUNK);
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
    RUN(one_chunk_waits_for_one_chunks_room);
    return 0;
}
