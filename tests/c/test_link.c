#include "rig.h"

#define SIZE (16 * CHUNK)

/* 105b and two mirrors in one tree, the first at work. */
typedef struct local {
    rep_tree *tree;
    vol source;
    vol target;
    rep_link *row;
    rep_link *mirror_row;
} local;

static local local_new(void)
{
    local l = {.tree = tree_new(1)};
    l.source = vol_new(l.tree, SIZE);
    l.target = vol_new(l.tree, SIZE);
    l.row = link_new(l.source, 1);
    l.mirror_row = link_new(l.target, 0);
    CHECK_EQ(rep_link_forward(l.row, l.target.volume, l.mirror_row), 0);
    return l;
}

static void local_free(local *l)
{
    rep_link_free(l->row);
    rep_link_free(l->mirror_row);
    vol_free(l->source);
    vol_free(l->target);
    rep_tree_free(l->tree);
}

static void a_chunk_size_that_is_no_power_of_two_in_range_is_refused(void)
{
    rep_tree *tree = tree_new(1);
    vol v = vol_new(tree, SIZE);
    rep_link *link;
    CHECK_EQ(rep_link_new(v.volume, 2048, 0, &link), -EINVAL);
    CHECK_EQ(rep_link_new(v.volume, 12288, 0, &link), -EINVAL);
    CHECK_EQ(rep_link_new(v.volume, 2U << 20, 0, &link), -EINVAL);
    vol_free(v);
    rep_tree_free(tree);
}

static void siblings_that_share_marks_have_one_chunk_size(void)
{
    rep_tree *tree = tree_new(1);
    vol v = vol_new(tree, SIZE);
    rep_link *first = link_new(v, 1);
    rep_link *other;
    CHECK_EQ(rep_link_new(v.volume, 2 * CHUNK, 1, &other), -EINVAL);
    CHECK_EQ(rep_link_new(v.volume, 2 * CHUNK, 0, &other), 0);
    rep_link_free(other);
    rep_link_free(first);
    vol_free(v);
    rep_tree_free(tree);
}

static void an_idle_row_takes_no_marks(void)
{
    rep_tree *tree = tree_new(1);
    vol v = vol_new(tree, SIZE);
    rep_link *row = link_new(v, 0);
    CHECK_EQ(put_chunk(v, 3, 1), 0);
    CHECK_EQ(cover_count(row), 0);
    rep_link_free(row);
    vol_free(v);
    rep_tree_free(tree);
}

static void a_row_that_marks_has_every_written_chunk_pending(void)
{
    rep_tree *tree = tree_new(1);
    vol v = vol_new(tree, SIZE);
    rep_link *row = link_new(v, 0);
    CHECK_EQ(rep_link_mark(row), 0);
    CHECK_EQ(put_bytes(v, 3 * CHUNK - 1, 2, 1), 0);
    CHECK_EQ(pending_count(row), 2);
    CHECK(is_pending(row, 2) && is_pending(row, 3));
    rep_link_free(row);
    vol_free(v);
    rep_tree_free(tree);
}

static void a_row_forwards_into_its_own_tree_only(void)
{
    local l = local_new();
    rep_tree *elsewhere = tree_new(2);
    vol far = vol_new(elsewhere, SIZE);
    vol small = vol_new(l.tree, SIZE / 2);
    CHECK_EQ(rep_link_forward(l.row, far.volume, NULL), -EXDEV);
    CHECK_EQ(rep_link_forward(l.row, small.volume, NULL), -EINVAL);
    CHECK_EQ(rep_link_forward(l.row, l.source.volume, NULL), -EINVAL);
    CHECK_EQ(info_of(l.row).mode, REP_LINK_FORWARD);
    CHECK_EQ(put_chunk(l.source, 0, 7), 0);
    CHECK_EQ(chunk_byte(l.target, 0), 7);
    vol_free(far);
    vol_free(small);
    rep_tree_free(elsewhere);
    local_free(&l);
}

static void what_was_forwarded_is_unsettled_until_the_target_is_durable(void)
{
    local l = local_new();
    CHECK_EQ(put_chunk(l.source, 4, 9), 0);
    CHECK(is_unsettled(l.row, 4));
    CHECK(!is_pending(l.row, 4));
    uint64_t flushes = rep_volatile_flush_count(l.target.disk->faulty);
    CHECK_EQ(rep_link_settle(l.row), 0);
    CHECK(rep_volatile_flush_count(l.target.disk->faulty) > flushes);
    CHECK_EQ(rep_volatile_unflushed_count(l.target.disk->faulty), 0);
    CHECK_EQ(cover_count(l.row), 0);
    local_free(&l);
}

static void a_break_makes_everything_unsettled_pending(void)
{
    local l = local_new();
    CHECK_EQ(put_chunk(l.source, 4, 9), 0);
    rep_link_break(l.row, -EIO);
    CHECK(is_pending(l.row, 4));
    CHECK_EQ(info_of(l.row).broken, -EIO);
    CHECK_EQ(put_chunk(l.source, 5, 9), 0);
    CHECK(is_pending(l.row, 5));
    CHECK_EQ(chunk_byte(l.target, 5), 0);
    local_free(&l);
}

static void the_first_cause_of_a_break_is_kept(void)
{
    local l = local_new();
    rep_link_break(l.row, -EIO);
    rep_link_break(l.row, -EPIPE);
    CHECK_EQ(info_of(l.row).broken, -EIO);
    local_free(&l);
}

static void leaving_work_makes_everything_unsettled_pending(void)
{
    local l = local_new();
    CHECK_EQ(put_chunk(l.source, 1, 9), 0);
    CHECK_EQ(rep_link_idle(l.row), 0);
    CHECK(is_pending(l.row, 1));
    CHECK_EQ(info_of(l.row).any_unsettled, 0);
    CHECK_EQ(rep_link_forward(l.row, l.target.volume, l.mirror_row), 0);
    CHECK_EQ(put_chunk(l.source, 2, 9), 0);
    CHECK_EQ(rep_link_mark(l.row), 0);
    CHECK(is_pending(l.row, 1) && is_pending(l.row, 2));
    CHECK_EQ(info_of(l.row).any_unsettled, 0);
    local_free(&l);
}

static void a_target_that_cannot_flush_breaks_the_row_for_good(void)
{
    local l = local_new();
    CHECK_EQ(put_chunk(l.source, 6, 9), 0);
    rep_volatile_fail_after(l.target.disk->faulty, 0, -EIO);
    CHECK_EQ(rep_link_settle(l.row), -EIO);
    rep_volatile_fail_after(l.target.disk->faulty, 0, 0);
    CHECK_EQ(rep_link_settle(l.row), -EIO); /* the flush that succeeds now proves nothing */
    CHECK(is_pending(l.row, 6));
    CHECK_EQ(info_of(l.row).broken, -EIO);
    local_free(&l);
}

static void a_split_that_cannot_be_flushed_has_its_chunks_pending(void)
{
    local l = local_new();
    rep_cut_item item = {.verb = REP_CUT_SPLIT, .link = l.row};
    uint64_t closed_ns;
    int failed;
    CHECK_EQ(put_chunk(l.source, 6, 9), 0);
    CHECK_EQ(rep_group_cut(&item, 1, REP_NO_DEADLINE, NULL, &closed_ns, &failed), 0);
    CHECK_EQ(pending_count(l.row), 0);
    rep_volatile_fail_after(l.target.disk->faulty, 0, -EIO);
    CHECK_EQ(rep_link_settle(l.row), -EIO);
    CHECK(is_pending(l.row, 6));
    local_free(&l);
}

static void settle_in_the_middle(disk *d)
{
    CHECK_EQ(rep_link_settle(d->hook_data), 0);
}

/* Settling closes two epochs and so comes back to the first bitmap. INV-3. */
static void a_write_that_sleeps_over_a_settle_stays_unsettled(void)
{
    local l = local_new();
    l.target.disk->hook_data = l.row;
    l.target.disk->before_pwrite = settle_in_the_middle;
    CHECK_EQ(put_chunk(l.source, 3, 5), 0);
    CHECK_EQ(rep_volatile_unflushed_count(l.target.disk->faulty), 1);
    CHECK(is_unsettled(l.row, 3));
    local_free(&l);
}

static void write_in_the_middle(disk *d)
{
    vol *source = d->hook_data;
    CHECK_EQ(put_chunk(*source, 7, 5), 0);
}

static void a_write_beside_the_flush_of_a_settle_is_durable_or_unsettled(void)
{
    local l = local_new();
    l.target.disk->hook_data = &l.source;
    l.target.disk->before_flush = write_in_the_middle;
    CHECK_EQ(rep_link_settle(l.row), 0);
    CHECK(rep_volatile_unflushed_count(l.target.disk->faulty) == 0 || is_unsettled(l.row, 7));
    local_free(&l);
}

/* INV-3: the flush had begun, so that nobody knows whether it took that write along. */
static void what_is_written_while_an_epoch_settles_is_of_the_next_one(void)
{
    local l = local_new();
    CHECK_EQ(put_chunk(l.source, 2, 5), 0);
    CHECK_EQ(put_chunk(l.source, 3, 5), 0);
    CHECK_EQ(rep_link_unsettled_count(l.row), 2);
    uint64_t flushes = rep_volatile_flush_count(l.target.disk->faulty);
    l.target.disk->hook_data = &l.source;
    l.target.disk->before_flush = write_in_the_middle;
    CHECK_EQ(rep_link_settle_epoch(l.row), 0);
    CHECK_EQ(rep_volatile_flush_count(l.target.disk->faulty), flushes + 1);
    CHECK(!is_unsettled(l.row, 2));
    CHECK(is_unsettled(l.row, 7));
    CHECK_EQ(rep_link_unsettled_count(l.row), 1);
    CHECK_EQ(put_chunk(l.source, 2, 6), 0);
    CHECK_EQ(put_chunk(l.source, 7, 6), 0);
    CHECK_EQ(rep_link_settle_epoch(l.row), 0);
    CHECK_EQ(rep_link_unsettled_count(l.row), 0);
    local_free(&l);
}

static void idle_in_the_middle(disk *d)
{
    CHECK_EQ(rep_link_idle(d->hook_data), 0);
}

static void a_settle_notices_that_the_row_was_given_other_work(void)
{
    local l = local_new();
    CHECK_EQ(put_chunk(l.source, 2, 5), 0);
    l.target.disk->hook_data = l.row;
    l.target.disk->before_flush = idle_in_the_middle;
    CHECK_EQ(rep_link_settle(l.row), -ESTALE);
    CHECK(is_pending(l.row, 2));
    local_free(&l);
}

static void work_begun_beside_a_settle(disk *d)
{
    local *l = d->hook_data;
    CHECK_EQ(rep_link_idle(l->row), 0);
    CHECK_EQ(rep_link_clean(l->row), 0);
    CHECK_EQ(rep_link_forward(l->row, l->target.volume, l->mirror_row), 0);
    CHECK_EQ(put_chunk(l->source, 9, 5), 0);
    CHECK(is_unsettled(l->row, 9));
}

static void a_settle_never_drops_what_newer_work_left_unsettled(void)
{
    local l = local_new();
    CHECK_EQ(put_chunk(l.source, 2, 5), 0);
    l.target.disk->hook_data = &l;
    l.target.disk->before_flush = work_begun_beside_a_settle;
    CHECK_EQ(rep_link_settle(l.row), -ESTALE);
    CHECK(is_unsettled(l.row, 9));
    local_free(&l);
}

/* Its marks are of one interval with its siblings': folded, they would be counted from the start. */
static void a_row_that_may_not_ship_yet_is_as_it_was(void)
{
    local l = local_new();
    rep_stream *stream = stream_new();
    CHECK_EQ(rep_link_mark(l.row), 0);
    CHECK_EQ(put_chunk(l.source, 2, 5), 0);
    uint64_t epoch_start = info_of(l.row).epoch_start;
    CHECK(epoch_start != 0);
    CHECK_EQ(rep_link_ship_clean(l.row, stream, 1, REP_ACK_QUEUED), -EBUSY);
    CHECK_EQ(info_of(l.row).mode, REP_LINK_MARK);
    CHECK_EQ(info_of(l.row).epoch_start, epoch_start);
    CHECK_EQ(info_of(l.row).any_pending, 0);
    CHECK_EQ(pending_count(l.row), 1);
    CHECK_EQ(rep_link_clean(l.row), 0);
    CHECK_EQ(rep_link_ship_clean(l.row, stream, 1, REP_ACK_QUEUED), 0);
    local_free(&l);
    rep_stream_free(stream);
}

static void the_target_of_a_row_that_broke_does_not_follow(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    rep_link_break(r.row, -EIO);
    CHECK_EQ(rep_link_follow(r.row), -EPIPE);
    CHECK_EQ(put_chunk(r.source, 2, 5), 0);
    CHECK_EQ(rep_link_follow(r.row), -EPIPE);
    remote_free(&r);
}

/* The stream's barriers count the same epochs on. */
static void shipping_begun_beside_a_settle(disk *d)
{
    remote *r = d->hook_data;
    CHECK_EQ(rep_link_ship(r->row, r->stream, 1, REP_ACK_QUEUED), 0);
    CHECK_EQ(put_chunk(r->source, 8, 5), 0);
    rep_stream_barrier(r->stream);
    CHECK_EQ(carry(r->stream, r->apply), 0);
    CHECK_EQ(put_chunk(r->source, 9, 5), 0);
}

static void a_settle_never_drops_what_was_shipped_meanwhile(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    vol mirror = vol_new(r.trees[0], SIZE);
    CHECK_EQ(rep_link_forward(r.row, mirror.volume, NULL), 0);
    mirror.disk->hook_data = &r;
    mirror.disk->before_flush = shipping_begun_beside_a_settle;
    CHECK_EQ(rep_link_settle(r.row), -ESTALE);
    CHECK(is_unsettled(r.row, 8) && is_unsettled(r.row, 9));
    remote_free(&r);
    vol_free(mirror);
}

/* A writer that read the epoch just before it was closed sets its bit in the closed one. */
static void a_settle_settles_both_epochs(void)
{
    local l = local_new();
    CHECK_EQ(rep_bitmap_set(l.row->unsettled[0], 1, 1), 0);
    CHECK_EQ(rep_bitmap_set(l.row->unsettled[1], 2, 1), 0);
    CHECK_EQ(rep_link_settle(l.row), 0);
    CHECK_EQ(cover_count(l.row), 0);
    local_free(&l);
}

static void a_row_without_a_target_cannot_be_settled(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    CHECK_EQ(rep_link_settle(r.row), -EINVAL);
    CHECK_EQ(rep_link_settle(r.mirror_row), -EINVAL);
    remote_free(&r);
}

static void a_row_at_work_is_not_cleaned(void)
{
    local l = local_new();
    CHECK_EQ(rep_link_clean(l.row), -EBUSY);
    CHECK_EQ(rep_link_idle(l.row), 0);
    CHECK_EQ(rep_bitmap_set(rep_link_pending(l.row), 0, 16), 0);
    CHECK_EQ(rep_link_clean(l.row), 0);
    CHECK_EQ(cover_count(l.row), 0);
    local_free(&l);
}

static void shipping_into_a_closed_stream_leaves_a_row_that_marks(void)
{
    rep_tree *tree = tree_new(1);
    vol v = vol_new(tree, SIZE);
    rep_link *row = link_new(v, 0);
    rep_stream *stream;
    CHECK_EQ(rep_stream_new(7, CAPACITY, &stream), 0);
    CHECK_EQ(rep_link_ship(row, stream, 1, REP_ACK_QUEUED), -EPIPE);
    CHECK_EQ(put_chunk(v, 2, 1), 0);
    CHECK(is_pending(row, 2));
    rep_link_free(row);
    rep_stream_free(stream);
    vol_free(v);
    rep_tree_free(tree);
}

static void a_freed_row_hinders_neither_its_volume_nor_its_stream(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    rep_link *second = link_new(r.source, 0);
    CHECK_EQ(rep_link_ship(second, r.stream, 2, REP_ACK_QUEUED), 0);
    rep_link_free(second);
    CHECK_EQ(put_chunk(r.source, 0, 1), 0);
    CHECK_EQ(stream_info(r.stream).last, 1);
    rep_stream_break(r.stream, -EPIPE);
    CHECK(is_pending(r.row, 0));
    remote_free(&r);
}

int main(void)
{
    RUN(a_chunk_size_that_is_no_power_of_two_in_range_is_refused);
    RUN(siblings_that_share_marks_have_one_chunk_size);
    RUN(an_idle_row_takes_no_marks);
    RUN(a_row_that_marks_has_every_written_chunk_pending);
    RUN(a_row_forwards_into_its_own_tree_only);
    RUN(what_was_forwarded_is_unsettled_until_the_target_is_durable);
    RUN(a_break_makes_everything_unsettled_pending);
    RUN(the_first_cause_of_a_break_is_kept);
    RUN(leaving_work_makes_everything_unsettled_pending);
    RUN(a_target_that_cannot_flush_breaks_the_row_for_good);
    RUN(a_split_that_cannot_be_flushed_has_its_chunks_pending);
    RUN(a_write_that_sleeps_over_a_settle_stays_unsettled);
    RUN(a_write_beside_the_flush_of_a_settle_is_durable_or_unsettled);
    RUN(what_is_written_while_an_epoch_settles_is_of_the_next_one);
    RUN(a_settle_notices_that_the_row_was_given_other_work);
    RUN(a_settle_never_drops_what_newer_work_left_unsettled);
    RUN(a_settle_never_drops_what_was_shipped_meanwhile);
    RUN(a_settle_settles_both_epochs);
    RUN(a_row_without_a_target_cannot_be_settled);
    RUN(a_row_at_work_is_not_cleaned);
    RUN(shipping_into_a_closed_stream_leaves_a_row_that_marks);
    RUN(a_freed_row_hinders_neither_its_volume_nor_its_stream);
    RUN(a_row_that_may_not_ship_yet_is_as_it_was);
    RUN(the_target_of_a_row_that_broke_does_not_follow);
    return 0;
}
