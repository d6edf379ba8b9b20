#include <sched.h>

#include "rig.h"

#define SIZE (16 * CHUNK)

/* System 100b: 105b, target of pair 130, with two local mirrors. */
typedef struct site {
    rep_tree *tree;
    vol v105;
    vol v106;
    vol v107;
    rep_link *row130; /* 105b's row of the remote pair */
    rep_link *row106; /* 105b's rows of its local pairs */
    rep_link *row107;
    rep_link *mirror106; /* 106b's and 107b's own */
    rep_link *mirror107;
} site;

static site site_new(void)
{
    site s = {.tree = tree_new(1)};
    s.v105 = vol_new(s.tree, SIZE);
    s.v106 = vol_new(s.tree, SIZE);
    s.v107 = vol_new(s.tree, SIZE);
    s.row130 = link_new(s.v105, 0);
    s.row106 = link_new(s.v105, 1);
    s.row107 = link_new(s.v105, 1);
    s.mirror106 = link_new(s.v106, 0);
    s.mirror107 = link_new(s.v107, 0);
    return s;
}

static void site_forward(const site *s)
{
    CHECK_EQ(rep_link_forward(s->row106, s->v106.volume, s->mirror106), 0);
    CHECK_EQ(rep_link_forward(s->row107, s->v107.volume, s->mirror107), 0);
}

static void site_free(site *s)
{
    rep_link *links[] = {s->row130, s->row106, s->row107, s->mirror106, s->mirror107};
    for (int i = 0; i < 5; i++)
        rep_link_free(links[i]);
    vol_free(s->v105);
    vol_free(s->v106);
    vol_free(s->v107);
    rep_tree_free(s->tree);
}

static int write_through(vol v, rep_link *origin, uint64_t chunk, int byte)
{
    uint8_t buffer[CHUNK];
    memset(buffer, byte, sizeof buffer);
    return rep_volume_write_through(v.volume, origin, REP_RECORD_DATA, 0, buffer, chunk * CHUNK,
                                    CHUNK, NULL);
}

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

static void a_write_that_fails_is_pending_in_every_row(void)
{
    site s = site_new();
    CHECK_EQ(rep_link_forward(s.row106, s.v106.volume, s.mirror106), 0);
    CHECK_EQ(rep_link_mark(s.row107), 0);
    rep_volatile_fail_after(s.v105.disk->faulty, 0, -EIO);
    CHECK_EQ(write_through(s.v105, s.row130, 2, 1), -EIO);
    CHECK(is_pending(s.row130, 2)); /* the row it came through, idle, too */
    CHECK(is_pending(s.row106, 2));
    CHECK(is_covered(s.row107, 2));
    CHECK_EQ(info_of(s.row106).broken, -EIO);
    CHECK_EQ(info_of(s.row106).source_failed, 1);
    CHECK_EQ(info_of(s.row107).broken, 0);
    CHECK_EQ(chunk_byte(s.v106, 2), 0);
    site_free(&s);
}

/* What the last good flush left open may have been settled at the mirror: its U doesn't tell. */
static void a_flush_that_fails_makes_all_pending_and_leaves_the_mirrors_whole(void)
{
    site s = site_new();
    rep_ticket ticket = {0};
    CHECK_EQ(rep_link_forward(s.row106, s.v106.volume, s.mirror106), 0);
    CHECK_EQ(rep_link_mark(s.row107), 0);
    CHECK_EQ(put_chunk(s.v105, 2, 1), 0);
    CHECK_EQ(rep_link_settle(s.row106), 0);
    CHECK_EQ(pending_count(s.row106), 0);
    rep_volatile_fail_after(s.v105.disk->faulty, 0, -EIO);
    CHECK_EQ(rep_volume_flush(s.v105.volume, &ticket), -EIO);
    rep_volatile_fail_after(s.v105.disk->faulty, 0, 0);
    CHECK_EQ(pending_count(s.row106), rep_link_chunk_count(s.row106));
    CHECK_EQ(pending_count(s.row107), rep_link_chunk_count(s.row107));
    CHECK_EQ(pending_count(s.row130), rep_link_chunk_count(s.row130));
    CHECK_EQ(info_of(s.row106).broken, -EIO);
    CHECK_EQ(info_of(s.row106).source_failed, 1);
    CHECK_EQ(chunk_byte(s.v106, 2), 1);
    site_free(&s);
}

/* Storage reports a failed flush once: to the settle here. Its host would take its own for good. */
static void a_flush_that_failed_for_a_settle_is_told_to_the_host_that_flushes_next(void)
{
    site s = site_new();
    rep_ticket ticket = {0};
    site_forward(&s);
    CHECK_EQ(put_chunk(s.v106, 3, 7), 0);
    rep_volatile_fail_after(s.v106.disk->faulty, 0, -EIO);
    CHECK_EQ(rep_link_settle(s.row106), -EIO);
    rep_volatile_fail_after(s.v106.disk->faulty, 0, 0);
    CHECK_EQ(rep_volume_flush(s.v106.volume, &ticket), -EIO);
    CHECK_EQ(rep_volume_flush(s.v106.volume, &ticket), 0);
    site_free(&s);
}

static void a_flush_that_failed_for_a_settle_is_nothing_to_hosts_that_have_not_written(void)
{
    site s = site_new();
    rep_ticket ticket = {0};
    site_forward(&s);
    CHECK_EQ(put_chunk(s.v106, 3, 7), 0);
    CHECK_OK(rep_volume_fence(s.v106.volume, REP_FENCE_WRITES, PAST, NULL));
    CHECK_EQ(put_chunk(s.v105, 2, 1), 0);
    rep_volatile_fail_after(s.v106.disk->faulty, 0, -EIO);
    CHECK_EQ(rep_link_settle(s.row106), -EIO);
    rep_volatile_fail_after(s.v106.disk->faulty, 0, 0);
    CHECK_EQ(rep_volume_flush(s.v106.volume, &ticket), 0);
    site_free(&s);
}

static void *flush_as_another_host(void *argument)
{
    const site *s = argument;
    rep_ticket ticket = {0};
    CHECK_EQ(rep_volume_flush(s->v106.volume, &ticket), -EIO);
    return NULL;
}

static void *settle_the_mirror(void *argument)
{
    const site *s = argument;
    CHECK_EQ(rep_link_settle(s->row106), -EIO);
    return NULL;
}

typedef struct overlap {
    site *site;
    thread_body body;
    pthread_t thread;
} overlap;

/* The flush under way here will fail; somebody else has come meanwhile. */
static void fail_with_another_one_there(disk *d)
{
    overlap *o = d->hook_data;
    rep_volume *volume = o->site->v106.volume;
    int sharers = 0;
    o->thread = thread_start(o->body, o->site);
    while (!sharers) {
        pthread_mutex_lock(&volume->flushing);
        sharers = volume->flush_sharers;
        pthread_mutex_unlock(&volume->flushing);
        sched_yield();
    }
    rep_volatile_fail_after(d->faulty, 0, -EIO);
}

static void heal_it(disk *d)
{
    rep_volatile_fail_after(d->faulty, 0, 0);
}

/* Storage says it once, to the host here: what the other one is told by its own flush is no answer. */
static void fail_beside(thread_body body)
{
    site s = site_new();
    rep_ticket ticket = {0};
    overlap o = {.site = &s, .body = body};
    disk *d = s.v106.disk;
    site_forward(&s);
    CHECK_EQ(put_chunk(s.v105, 2, 1), 0);
    CHECK_EQ(put_chunk(s.v106, 3, 1), 0);
    d->hook_data = &o;
    d->before_flush = fail_with_another_one_there;
    d->after_flush = heal_it;
    CHECK_EQ(rep_volume_flush(s.v106.volume, &ticket), -EIO);
    thread_join(o.thread);
    CHECK(is_covered(s.row106, 2));
    CHECK_EQ(rep_volume_flush(s.v106.volume, &ticket), 0);
    site_free(&s);
}

static void a_flush_that_fails_is_told_to_every_host_that_flushes_meanwhile(void)
{
    fail_beside(flush_as_another_host);
}

/* INV-3: it would drop what the mirror hasn't got. */
static void nor_does_a_settle_take_a_flush_for_good_beside_a_hosts_that_failed(void)
{
    fail_beside(settle_the_mirror);
}

static void storage_that_refuses_on_its_own_is_no_fence_and_no_wait(void)
{
    static const int own[] = {-EROFS, -EBUSY, -ESTALE, -ENOSPC};
    static const int ours[] = {-ETIMEDOUT, -ECANCELED, -EAGAIN, -ERANGE, -EPIPE};
    site s = site_new();
    uint8_t byte;
    for (int i = 0; i < 9; i++) {
        int error = i < 4 ? own[i] : ours[i - 4];
        int seen = i < 4 ? error : -EIO;
        rep_ticket ticket = {0};
        rep_volatile_fail_after(s.v105.disk->faulty, 0, error);
        rep_volatile_fail_reads(s.v105.disk->faulty, error);
        CHECK_EQ(put_chunk(s.v105, 1, 1), seen);
        CHECK_EQ(rep_volume_pread(s.v105.volume, &byte, 1, 0), seen);
        CHECK_EQ(rep_volume_flush(s.v105.volume, &ticket), seen);
    }
    site_free(&s);
}

static void a_copy_whose_source_times_out_ends_with_an_error_and_is_not_repeated_for_ever(void)
{
    site s = site_new();
    CHECK_EQ(put_chunk(s.v105, 1, 1), 0);
    CHECK_EQ(rep_link_forward(s.row106, s.v106.volume, s.mirror106), 0);
    CHECK_EQ(rep_bitmap_set(s.row106->pending, 1, 1), 0);
    rep_volatile_fail_reads(s.v105.disk->faulty, -ETIMEDOUT);
    CHECK_EQ(copy_all(s.row106), -EIO);
    rep_volatile_fail_reads(s.v105.disk->faulty, -EPIPE);
    CHECK_EQ(copy_all(s.row106), -EIO);
    CHECK(is_pending(s.row106, 1));
    site_free(&s);
}

static void a_failing_mirror_breaks_its_own_row_alone(void)
{
    site s = site_new();
    site_forward(&s);
    CHECK_EQ(put_chunk(s.v105, 1, 1), 0);
    rep_volatile_fail_after(s.v106.disk->faulty, 0, -EIO);
    CHECK_EQ(put_chunk(s.v105, 2, 1), 0);
    CHECK_EQ(info_of(s.row106).broken, -EIO);
    CHECK_EQ(info_of(s.row106).source_failed, 0);
    CHECK(is_pending(s.row106, 1) && is_pending(s.row106, 2));
    CHECK_EQ(info_of(s.row107).broken, 0);
    CHECK_EQ(chunk_byte(s.v107, 2), 1);
    CHECK_EQ(pending_count(s.row107), 0);
    site_free(&s);
}

static void a_broken_row_marks_and_leaves_its_target_alone(void)
{
    site s = site_new();
    site_forward(&s);
    rep_link_break(s.row106, -EIO);
    CHECK_EQ(put_chunk(s.v105, 4, 1), 0);
    CHECK(is_pending(s.row106, 4));
    CHECK_EQ(chunk_byte(s.v106, 4), 0);
    site_free(&s);
}

static void break_in_the_middle(disk *d)
{
    rep_link_break(d->hook_data, -EIO);
}

static void a_break_during_a_write_leaves_its_chunk_pending(void)
{
    site s = site_new();
    site_forward(&s);
    s.v106.disk->hook_data = s.row106;
    s.v106.disk->before_pwrite = break_in_the_middle;
    CHECK_EQ(put_chunk(s.v105, 4, 1), 0);
    CHECK(is_pending(s.row106, 4));
    s.v105.disk->hook_data = s.row107;
    s.v105.disk->before_pwrite = break_in_the_middle;
    CHECK_EQ(put_chunk(s.v105, 5, 1), 0);
    CHECK(is_pending(s.row107, 5));
    site_free(&s);
}

static void break_the_stream(disk *d)
{
    rep_stream_break(d->hook_data, -EPIPE);
}

static void a_path_lost_during_a_write_leaves_its_chunk_pending(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    r.source.disk->hook_data = r.stream;
    r.source.disk->before_pwrite = break_the_stream;
    CHECK_EQ(put_chunk(r.source, 4, 1), 0);
    CHECK(is_pending(r.row, 4));
    CHECK_EQ(info_of(r.row).broken, -EPIPE);
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

static void two_rows_that_ship_into_one_stream_find_room_each(void)
{
    remote r = remote_new(1 << 20, REP_ACK_QUEUED);
    vol target = vol_new(r.trees[1], 1 << 20);
    rep_link *second = link_new(r.source, 0);
    rep_link *mirror_row = link_new(target, 0);
    CHECK_EQ(rep_link_ship(second, r.stream, 2, REP_ACK_QUEUED), 0);
    CHECK_EQ(rep_apply_bind(r.apply, 2, mirror_row), 0);
    CHECK_EQ(put_bytes(r.source, 0, 1 << 20, 5), 0);
    CHECK_EQ(info_of(second).broken, 0);
    CHECK_EQ(info_of(r.row).broken, 0);
    pump(r.stream, r.apply);
    CHECK(volumes_equal(r.source, r.target));
    CHECK(volumes_equal(r.source, target));
    rep_link_free(second);
    rep_apply_unbind(r.apply, 2);
    rep_link_free(mirror_row);
    vol_free(target);
    remote_free(&r);
}

static void who_lacks_room_for_two_rows_waits_for_room_for_both(void)
{
    rep_stream *stream = stream_new();
    rep_room room = {0};
    rep_stream *full = NULL;
    uint64_t full_bytes = 0;
    CHECK_EQ(rep_stream_reserve(stream, CAPACITY - 100), 0);
    CHECK_EQ(rep_room_add(&room, stream, 60, &full, &full_bytes), 0);
    CHECK_EQ(rep_room_add(&room, stream, 60, &full, &full_bytes), -EAGAIN);
    CHECK(full == stream);
    CHECK_EQ(full_bytes, 120);
    rep_room_give_back(&room);
    CHECK_EQ(rep_stream_reserve(stream, 100), 0);
    rep_stream_free(stream);
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

static uint64_t fill_queue(remote *r, rep_wake *wake, uint64_t deadline_ns, int *rc)
{
    uint64_t length = 1 << 20;
    uint8_t *buffer = check_alloc(length);
    rep_ticket ticket = {0};
    uint64_t written = 0;
    uint64_t done = 0;
    do {
        *rc = rep_volume_pwrite(r->source.volume, buffer, length, 0, 0, deadline_ns, wake, &ticket,
                                &done);
        written += done;
    } while (!*rc);
    free(buffer);
    return written;
}

static void a_full_queue_keeps_a_write_out_untouched(void)
{
    remote r = remote_new(1 << 20, REP_ACK_QUEUED);
    int rc;
    uint64_t written = fill_queue(&r, NULL, PAST, &rc);
    CHECK_EQ(rc, -ETIMEDOUT);
    CHECK(written > 0 && written <= CAPACITY);
    CHECK_EQ(info_of(r.row).broken, 0);
    CHECK(stream_info(r.stream).queued_bytes <= CAPACITY);
    uint64_t bytes = r.source.disk->pwrite_bytes;
    CHECK_EQ(put_bytes(r.source, 0, 0, 1), 0);
    CHECK_EQ(r.source.disk->pwrite_bytes, bytes);
    pump(r.stream, r.apply);
    CHECK_EQ(put_bytes(r.source, 0, 1 << 20, 9), 0);
    pump(r.stream, r.apply);
    CHECK(volumes_equal(r.source, r.target));
    remote_free(&r);
}

typedef struct writer {
    remote *r;
    rep_wake *wake;
    int result;
} writer;

static void *write_until_it_fails(void *argument)
{
    writer *w = argument;
    (void)fill_queue(w->r, w->wake, REP_NO_DEADLINE, &w->result);
    return NULL;
}

static void a_stalled_reader_blocks_writers_but_never_a_cut(void)
{
    remote r = remote_new(1 << 20, REP_ACK_QUEUED);
    rep_wake *wake;
    CHECK_EQ(rep_wake_new(&wake), 0);
    writer writers[2] = {{.r = &r, .wake = wake}, {.r = &r, .wake = wake}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        threads[i] = thread_start(write_until_it_fails, &writers[i]);
    for (int i = 0; i < 200; i++) {
        rep_cut_item items[] = {
            {.verb = REP_CUT_GATE, .volume = r.source.volume},
            {.verb = REP_CUT_CORK, .stream = r.stream},
        };
        uint64_t closed_ns;
        int failed;
        CHECK_EQ(rep_group_cut(items, 2, REP_NO_DEADLINE, NULL, &closed_ns, &failed), 0);
        rep_stream_uncork(r.stream);
    }
    rep_wake_raise(wake);
    for (int i = 0; i < 2; i++) {
        thread_join(threads[i]);
        CHECK_EQ(writers[i].result, -ECANCELED);
    }
    CHECK_EQ(info_of(r.row).broken, 0);
    rep_wake_free(wake);
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
    RUN(a_write_that_fails_is_pending_in_every_row);
    RUN(a_flush_that_fails_makes_all_pending_and_leaves_the_mirrors_whole);
    RUN(a_flush_that_failed_for_a_settle_is_told_to_the_host_that_flushes_next);
    RUN(a_flush_that_failed_for_a_settle_is_nothing_to_hosts_that_have_not_written);
    RUN(a_flush_that_fails_is_told_to_every_host_that_flushes_meanwhile);
    RUN(nor_does_a_settle_take_a_flush_for_good_beside_a_hosts_that_failed);
    RUN(storage_that_refuses_on_its_own_is_no_fence_and_no_wait);
    RUN(a_copy_whose_source_times_out_ends_with_an_error_and_is_not_repeated_for_ever);
    RUN(a_failing_mirror_breaks_its_own_row_alone);
    RUN(a_broken_row_marks_and_leaves_its_target_alone);
    RUN(a_break_during_a_write_leaves_its_chunk_pending);
    RUN(a_path_lost_during_a_write_leaves_its_chunk_pending);
    RUN(fences_keep_hosts_off_and_let_pairs_through);
    RUN(a_first_write_is_not_done_before_it_is_noted);
    RUN(a_lease_lets_its_holder_write_and_nobody_else);
    RUN(a_range_outside_the_volume_is_refused_and_marks_nothing);
    RUN(the_last_partial_chunk_is_marked_forwarded_and_shipped);
    RUN(zero_and_trim_go_the_way_of_a_write);
    RUN(two_rows_that_ship_into_one_stream_find_room_each);
    RUN(who_lacks_room_for_two_rows_waits_for_room_for_both);
    RUN(a_sync_write_waits_for_its_number_and_a_broken_stream_answers);
    RUN(a_flush_waits_for_the_peer_in_mode_durable_only);
    RUN(a_volume_as_storage_takes_the_tracked_path);
    RUN(a_full_queue_keeps_a_write_out_untouched);
    RUN(a_stalled_reader_blocks_writers_but_never_a_cut);
    return 0;
}
