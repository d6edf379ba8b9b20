#include "site_rig.h"

static void a_write_is_not_echoed_into_the_row_it_came_through(void)
{
    site s = site_new();
    CHECK_EQ(rep_link_mark(s.row130), 0);
    CHECK_EQ(rep_link_mark(s.row106), 0);
    CHECK_EQ(write_through(s.v105, s.row130, 3, 1), 0);
    CHECK_EQ(cover_count(s.row130), 0);
    CHECK(is_covered(s.row106, 3));
    site_free(&s);
}

static void a_write_is_not_passed_on_through_the_row_it_came_through(void)
{
    site s = site_new();
    site_forward(&s);
    CHECK_EQ(write_through(s.v105, s.row106, 3, 1), 0);
    CHECK_EQ(chunk_byte(s.v106, 3), 0);
    CHECK_EQ(cover_count(s.row106), 0);
    CHECK_EQ(chunk_byte(s.v107, 3), 1);
    site_free(&s);
}

static void a_forwarded_write_is_not_echoed_into_the_mirrors_own_row(void)
{
    site s = site_new();
    CHECK_EQ(rep_link_forward(s.row106, s.v106.volume, s.mirror106), 0);
    CHECK_EQ(rep_link_mark(s.mirror106), 0);
    CHECK_EQ(put_chunk(s.v105, 3, 1), 0);
    CHECK_EQ(chunk_byte(s.v106, 3), 1);
    CHECK_EQ(cover_count(s.mirror106), 0);
    site_free(&s);
}

static void a_remote_write_reaches_the_local_mirrors(void)
{
    site s = site_new();
    site_forward(&s);
    CHECK_EQ(write_through(s.v105, s.row130, 3, 8), 0);
    CHECK_EQ(chunk_byte(s.v106, 3), 8);
    CHECK_EQ(chunk_byte(s.v107, 3), 8);
    site_free(&s);
}

/* 650: else 670 would miss what came back from the generation. */
static void what_650_writes_to_105b_is_marked_in_its_row_of_pair_130(void)
{
    site s = site_new();
    CHECK_EQ(rep_link_mark(s.row130), 0);
    CHECK_EQ(rep_link_mark(s.row107), 0);
    CHECK_EQ(put_chunk(s.v106, 5, 9), 0);
    CHECK_EQ(rep_bitmap_set(rep_link_pending(s.mirror106), 5, 1), 0);
    CHECK_EQ(rep_link_forward(s.mirror106, s.v105.volume, s.row106), 0);
    CHECK_EQ(copy_all(s.mirror106), 0);
    CHECK_EQ(chunk_byte(s.v105, 5), 9);
    CHECK(is_pending(s.row130, 5));
    CHECK(is_covered(s.row107, 5));
    CHECK_EQ(cover_count(s.row106), 0);
    site_free(&s);
}

static void a_write_to_a_pending_chunk_is_left_to_the_copier(void)
{
    site s = site_new();
    site_forward(&s);
    CHECK_EQ(rep_bitmap_set(rep_link_pending(s.row106), 3, 1), 0);
    CHECK_EQ(put_bytes(s.v105, 2 * CHUNK, 3 * CHUNK, 6), 0);
    CHECK_EQ(chunk_byte(s.v106, 2), 6);
    CHECK_EQ(chunk_byte(s.v106, 3), 0);
    CHECK_EQ(chunk_byte(s.v106, 4), 6);
    CHECK(is_pending(s.row106, 3));
    CHECK(!is_pending(s.row106, 2) && !is_pending(s.row106, 4));
    CHECK_EQ(chunk_byte(s.v107, 3), 6);
    CHECK_EQ(copy_all(s.row106), 0);
    CHECK(volumes_equal(s.v105, s.v106));
    site_free(&s);
}

static void a_write_to_a_pending_chunk_is_not_shipped(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    CHECK_EQ(rep_bitmap_set(rep_link_pending(r.row), 3, 1), 0);
    CHECK_EQ(put_chunk(r.source, 3, 6), 0);
    CHECK_EQ(stream_info(r.stream).last, 0);
    CHECK_EQ(put_bytes(r.source, 2 * CHUNK, 3 * CHUNK, 7), 0);
    CHECK_EQ(stream_info(r.stream).last, 2);
    pump(r.stream, r.apply);
    CHECK_EQ(chunk_byte(r.target, 2), 7);
    CHECK_EQ(chunk_byte(r.target, 3), 0);
    CHECK_EQ(chunk_byte(r.target, 4), 7);
    CHECK(is_pending(r.row, 3));
    remote_free(&r);
}

static void fences_keep_hosts_off_and_let_pairs_through(void)
{
    site s = site_new();
    uint8_t byte;
    CHECK_EQ(rep_volume_fence(s.v105.volume, REP_FENCE_WRITES, PAST, NULL), 0);
    CHECK_EQ(put_chunk(s.v105, 0, 1), -REP_FENCED_ROLE);
    CHECK_EQ(rep_volume_pread(s.v105.volume, &byte, 1, 0), 0);
    CHECK_EQ(rep_volume_fence(s.v105.volume, REP_FENCE_WRITES | REP_FENCE_READS, PAST, NULL), 0);
    CHECK_EQ(rep_volume_pread(s.v105.volume, &byte, 1, 0), -REP_FENCED_READS);
    CHECK_EQ(write_through(s.v105, s.row130, 0, 2), 0);
    CHECK_EQ(chunk_byte(s.v105, 0), 2);
    site_free(&s);
}

static void a_first_write_is_not_done_before_it_is_noted(void)
{
    site s = site_new();
    CHECK_EQ(rep_link_mark(s.row130), 0);
    CHECK_EQ(rep_volume_fence(s.v105.volume, REP_FENCE_FIRST, PAST, NULL), 0);
    CHECK_EQ(put_chunk(s.v105, 0, 1), -REP_FENCED_FIRST);
    CHECK_EQ(chunk_byte(s.v105, 0), 0);
    CHECK_EQ(cover_count(s.row130), 0);
    CHECK_EQ(write_through(s.v105, s.row130, 0, 2), 0); /* a pair's own write is nobody's first */
    CHECK_EQ(rep_volume_lease(s.v105.volume, 77, PAST, NULL), 0);
    CHECK_EQ(put_chunk(s.v105, 0, 1), -REP_FENCED_LEASE);
    CHECK_EQ(rep_volume_lease(s.v105.volume, 0, PAST, NULL), 0);
    CHECK_EQ(rep_volume_fence(s.v105.volume, REP_FENCE_NONE, PAST, NULL), 0);
    CHECK_EQ(put_chunk(s.v105, 0, 1), 0);
    site_free(&s);
}

static void a_lease_lets_its_holder_write_and_nobody_else(void)
{
    site s = site_new();
    rep_ticket ticket = {0};
    uint64_t done;
    CHECK_EQ(rep_volume_lease(s.v105.volume, 77, PAST, NULL), 0);
    CHECK_EQ(put_chunk(s.v105, 0, 1), -REP_FENCED_LEASE);
    CHECK_EQ(rep_volume_pwrite(s.v105.volume, "x", 1, 0, 76, PAST, NULL, &ticket, &done),
             -REP_FENCED_LEASE);
    CHECK_EQ(rep_volume_pwrite(s.v105.volume, "x", 1, 0, 77, PAST, NULL, &ticket, &done), 0);
    CHECK_EQ(done, 1);
    CHECK_EQ(rep_volume_lease(s.v105.volume, 0, PAST, NULL), 0);
    CHECK_EQ(put_chunk(s.v105, 0, 1), 0);
    site_free(&s);
}

static void a_range_outside_the_volume_is_refused_and_marks_nothing(void)
{
    site s = site_new();
    CHECK_EQ(rep_link_mark(s.row130), 0);
    CHECK_EQ(put_bytes(s.v105, SIZE - 1, 2, 1), -ERANGE);
    CHECK_EQ(put_bytes(s.v105, UINT64_MAX, 2, 1), -ERANGE);
    CHECK_EQ(cover_count(s.row130), 0);
    CHECK_EQ(put_bytes(s.v105, SIZE, 0, 1), 0);
    CHECK_EQ(cover_count(s.row130), 0);
    site_free(&s);
}

static void the_last_partial_chunk_is_marked_forwarded_and_shipped(void)
{
    remote r = remote_new(3 * CHUNK + 100, REP_ACK_QUEUED);
    vol mirror = vol_new(r.trees[0], 3 * CHUNK + 100);
    rep_link *row = link_new(r.source, 1);
    CHECK_EQ(rep_link_chunk_count(row), 4);
    CHECK_EQ(rep_link_forward(row, mirror.volume, NULL), 0);
    CHECK_EQ(put_bytes(r.source, 3 * CHUNK + 50, 50, 4), 0);
    CHECK_EQ(byte_at(mirror, 3 * CHUNK + 99), 4);
    CHECK(is_unsettled(row, 3) && is_unsettled(r.row, 3));
    pump(r.stream, r.apply);
    CHECK(volumes_equal(r.source, r.target));
    CHECK_EQ(rep_link_mark(row), 0);
    CHECK_EQ(put_bytes(r.source, 3 * CHUNK + 99, 1, 5), 0);
    CHECK(is_covered(row, 3));
    rep_link_free(row);
    vol_free(mirror);
    remote_free(&r);
}

static void zero_and_trim_go_the_way_of_a_write(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    vol mirror = vol_new(r.trees[0], SIZE);
    rep_link *row = link_new(r.source, 1);
    rep_ticket ticket = {0};
    uint64_t done;
    CHECK_EQ(rep_link_forward(row, mirror.volume, NULL), 0);
    CHECK_EQ(put_bytes(r.source, 0, SIZE, 3), 0);
    CHECK_EQ(rep_volume_zero(r.source.volume, CHUNK, CHUNK, 0, PAST, NULL, &ticket, &done), 0);
    CHECK_EQ(rep_volume_trim(r.source.volume, CHUNK, 5 * CHUNK, 0, PAST, NULL, &ticket, &done), 0);
    pump(r.stream, r.apply);
    CHECK_EQ(chunk_byte(r.source, 1), 0);
    CHECK_EQ(chunk_byte(r.source, 5), 0);
    CHECK(volumes_equal(r.source, mirror));
    CHECK(volumes_equal(r.source, r.target));
    rep_link_free(row);
    vol_free(mirror);
    remote_free(&r);
}

static void a_sync_write_waits_for_its_number_and_a_broken_stream_answers(void)
{
    remote r = remote_new(SIZE, REP_ACK_DURABLE);
    rep_ticket ticket = {0};
    uint64_t done;
    CHECK_EQ(rep_volume_pwrite(r.source.volume, "x", 1, 0, 0, PAST, NULL, &ticket, &done), 0);
    CHECK_EQ(ticket.count, 1);
    CHECK_EQ(rep_ticket_wait(&ticket, PAST, NULL), -ETIMEDOUT);
    CHECK_EQ(ticket.count, 1);
    pump(r.stream, r.apply); /* the wait has asked for the barrier */
    CHECK_EQ(rep_ticket_wait(&ticket, PAST, NULL), 0);
    CHECK_EQ(ticket.count, 0);
    CHECK_EQ(rep_volume_pwrite(r.source.volume, "y", 1, CHUNK, 0, PAST, NULL, &ticket, &done), 0);
    rep_ticket_give_up(&ticket);
    CHECK_EQ(ticket.count, 0);
    CHECK_EQ(info_of(r.row).broken, -ETIMEDOUT);
    CHECK(is_pending(r.row, 1));
    CHECK(!is_pending(r.row, 0));
    remote_free(&r);
}

static void a_flush_waits_for_the_peer_in_mode_durable_only(void)
{
    remote r = remote_new(SIZE, REP_ACK_DURABLE);
    rep_ticket ticket = {0};
    uint64_t flushes = rep_volatile_flush_count(r.source.disk->faulty);
    CHECK_EQ(rep_volume_flush(r.source.volume, &ticket), 0);
    CHECK_EQ(ticket.count, 0); /* nothing to wait for */
    CHECK_EQ(rep_volatile_flush_count(r.source.disk->faulty), flushes + 1);
    CHECK_EQ(put_chunk(r.source, 0, 1), 0);
    CHECK_EQ(rep_volume_flush(r.source.volume, &ticket), 0);
    CHECK_EQ(ticket.count, 1);
    pump(r.stream, r.apply);
    CHECK_EQ(rep_ticket_wait(&ticket, PAST, NULL), 0);
    CHECK_EQ(cover_count(r.row), 0);
    remote_free(&r);
}

static void a_volume_as_storage_takes_the_tracked_path(void)
{
    remote r = remote_new(SIZE, REP_ACK_DURABLE);
    rep_io *io;
    CHECK_EQ(rep_volume_lease(r.source.volume, 5, PAST, NULL), 0);
    CHECK_EQ(rep_volume_io_new(r.source.volume, 5, 0, NULL, &io), 0);
    CHECK_EQ(rep_io_size(io), SIZE);
    /* Nobody answers: its time-out gives the stream up, and the bytes are pending. */
    CHECK_EQ(rep_io_pwrite(io, "abc", 3, CHUNK), 0);
    CHECK(is_pending(r.row, 1));
    CHECK_EQ(info_of(r.row).broken, -ETIMEDOUT);
    CHECK_EQ(rep_io_zero(io, 2 * CHUNK, CHUNK), 0);
    CHECK(is_pending(r.row, 2));
    CHECK_EQ(rep_io_flush(io), 0);
    rep_io_free(io);
    remote_free(&r);
}

int main(void)
{
    RUN(a_write_is_not_echoed_into_the_row_it_came_through);
    RUN(a_write_is_not_passed_on_through_the_row_it_came_through);
    RUN(a_forwarded_write_is_not_echoed_into_the_mirrors_own_row);
    RUN(a_remote_write_reaches_the_local_mirrors);
    RUN(what_650_writes_to_105b_is_marked_in_its_row_of_pair_130);
    RUN(a_write_to_a_pending_chunk_is_left_to_the_copier);
    RUN(a_write_to_a_pending_chunk_is_not_shipped);
    RUN(fences_keep_hosts_off_and_let_pairs_through);
    RUN(a_first_write_is_not_done_before_it_is_noted);
    RUN(a_lease_lets_its_holder_write_and_nobody_else);
    RUN(a_range_outside_the_volume_is_refused_and_marks_nothing);
    RUN(the_last_partial_chunk_is_marked_forwarded_and_shipped);
    RUN(zero_and_trim_go_the_way_of_a_write);
    RUN(a_sync_write_waits_for_its_number_and_a_broken_stream_answers);
    RUN(a_flush_waits_for_the_peer_in_mode_durable_only);
    RUN(a_volume_as_storage_takes_the_tracked_path);
    return 0;
}
