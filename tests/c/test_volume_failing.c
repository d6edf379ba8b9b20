/* Writes, flushes and mirrors whose storage, or path, fails below them. */
#include <sched.h>

#include "site_rig.h"

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

int main(void)
{
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
    return 0;
}
