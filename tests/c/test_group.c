#include <sched.h>

#include "rig.h"
#include "ship_parts.h"

#define SIZE (16 * CHUNK)

static int cut(rep_cut_item *items, int count, int *failed)
{
    uint64_t closed_ns;
    return rep_group_cut(items, count, REP_NO_DEADLINE, NULL, &closed_ns, failed);
}

/* Two volumes, each in a tree of its own with a mirror, and each with its own stream to another site
 * that keeps the same: backups are taken at either side. */
#define VOLUMES 2
typedef struct pair {
    rep_tree *trees[2];
    vol pvol;
    vol mirror; /* of the PVOL, at home */
    vol spvol;
    vol svol; /* of the SPVOL */
    rep_link *home_row;
    rep_link *remote_row;
    rep_link *mirror_row; /* the SPVOL's row of the remote pair */
    rep_link *svol_row;   /* the SPVOL's row of its local pair */
    rep_stream *stream;
    rep_apply *apply;
} pair;

typedef struct group {
    pair pairs[VOLUMES];
} group;

static void pair_make(group *g, int i)
{
    pair *p = &g->pairs[i];
    p->trees[0] = tree_new((uint64_t)(10 + i));
    p->trees[1] = tree_new((uint64_t)(20 + i));
    p->pvol = vol_new(p->trees[0], SIZE);
    p->mirror = vol_new(p->trees[0], SIZE);
    p->spvol = vol_new(p->trees[1], SIZE);
    p->svol = vol_new(p->trees[1], SIZE);
    p->home_row = link_new(p->pvol, 1);
    p->remote_row = link_new(p->pvol, 0);
    p->mirror_row = link_new(p->spvol, 0);
    p->svol_row = link_new(p->spvol, 1);
    CHECK_EQ(rep_link_forward(p->home_row, p->mirror.volume, NULL), 0);
    CHECK_EQ(rep_link_forward(p->svol_row, p->svol.volume, NULL), 0);
    p->stream = stream_new();
    CHECK_EQ(rep_apply_new(7, &p->apply), 0);
    CHECK_EQ(rep_apply_start(p->apply, 1, 1), 0);
    CHECK_EQ(rep_apply_bind(p->apply, 1, p->mirror_row), 0);
    CHECK_EQ(rep_link_ship(p->remote_row, p->stream, 1, REP_ACK_QUEUED), 0);
}

static void group_make(group *g)
{
    for (int i = 0; i < VOLUMES; i++)
        pair_make(g, i);
}

static void group_clear(group *g)
{
    for (int i = 0; i < VOLUMES; i++) {
        pair *p = &g->pairs[i];
        rep_apply_unbind(p->apply, 1);
        rep_link *links[] = {p->home_row, p->remote_row, p->mirror_row, p->svol_row};
        for (int k = 0; k < 4; k++)
            rep_link_free(links[k]);
        rep_apply_free(p->apply);
        rep_stream_free(p->stream);
        vol_free(p->pvol);
        vol_free(p->mirror);
        vol_free(p->spvol);
        vol_free(p->svol);
        rep_tree_free(p->trees[0]);
        rep_tree_free(p->trees[1]);
    }
}

static void a_split_keeps_what_is_unsettled_and_begins_with_no_pending_chunk(void)
{
    group g;
    group_make(&g);
    pair *p = &g.pairs[0];
    CHECK_EQ(put_chunk(p->pvol, 1, 1), 0);
    rep_cut_item item = {.verb = REP_CUT_SPLIT, .link = p->home_row};
    int failed;
    CHECK_EQ(cut(&item, 1, &failed), 0);
    CHECK_EQ(info_of(p->home_row).mode, REP_LINK_MARK);
    CHECK_EQ(pending_count(p->home_row), 0);
    CHECK(is_unsettled(p->home_row, 1));
    CHECK_EQ(put_chunk(p->pvol, 2, 1), 0);
    CHECK_EQ(chunk_byte(p->mirror, 2), 0);
    CHECK_EQ(pending_count(p->home_row), 1);
    CHECK_EQ(rep_link_settle(p->home_row), 0);
    CHECK_EQ(cover_count(p->home_row), 1);
    group_clear(&g);
}

static void a_split_of_a_remote_pair_has_what_was_shipped_pending(void)
{
    group g;
    group_make(&g);
    pair *p = &g.pairs[0];
    CHECK_EQ(put_chunk(p->pvol, 1, 1), 0);
    rep_cut_item item = {.verb = REP_CUT_SPLIT, .link = p->remote_row};
    int failed;
    CHECK_EQ(cut(&item, 1, &failed), 0);
    CHECK(is_pending(p->remote_row, 1));
    CHECK_EQ(put_chunk(p->pvol, 2, 1), 0);
    CHECK(is_pending(p->remote_row, 2));
    CHECK_EQ(stream_info(g.pairs[0].stream).last, 1);
    group_clear(&g);
}

static void a_cut_does_all_of_its_items_or_none(void)
{
    group g;
    group_make(&g);
    CHECK_EQ(put_chunk(g.pairs[0].pvol, 1, 1), 0);
    rep_cut_item items[] = {
        {.verb = REP_CUT_SPLIT, .link = g.pairs[0].home_row},
        {.verb = REP_CUT_CORK, .stream = g.pairs[0].stream},
        {.verb = REP_CUT_SPLIT, .link = g.pairs[1].home_row},
    };
    int failed;
    CHECK_EQ(rep_bitmap_set(rep_link_pending(g.pairs[1].home_row), 0, 1), 0);
    CHECK_EQ(cut(items, 3, &failed), -EBUSY);
    CHECK_EQ(failed, 2);
    CHECK_EQ(info_of(g.pairs[0].home_row).mode, REP_LINK_FORWARD);
    CHECK_EQ(stream_info(g.pairs[0].stream).corked, 0);
    CHECK_EQ(put_chunk(g.pairs[0].pvol, 2, 5), 0); /* no gate is left closed */
    CHECK_EQ(chunk_byte(g.pairs[0].mirror, 2), 5);
    CHECK_EQ(rep_bitmap_clear(rep_link_pending(g.pairs[1].home_row), 0, 1), 0);
    CHECK_EQ(cut(items, 3, &failed), 0);
    CHECK_EQ(items[1].number, 2);
    group_clear(&g);
}

static void a_broken_or_idle_pair_is_not_split(void)
{
    group g;
    group_make(&g);
    rep_cut_item item = {.verb = REP_CUT_SPLIT, .link = g.pairs[0].home_row};
    int failed;
    rep_link_break(g.pairs[0].home_row, -EIO);
    CHECK_EQ(cut(&item, 1, &failed), -EBUSY);
    CHECK_EQ(rep_link_idle(g.pairs[0].home_row), 0);
    CHECK_EQ(cut(&item, 1, &failed), -EBUSY);
    CHECK_EQ(failed, 0);
    group_clear(&g);
}

static void a_cork_that_fails_leaves_no_other_stream_corked(void)
{
    rep_stream *first = stream_new();
    rep_stream *second = stream_new();
    rep_cut_item items[] = {
        {.verb = REP_CUT_CORK, .stream = first},
        {.verb = REP_CUT_CORK_RELEASE, .stream = second},
    };
    int failed;
    uint64_t point;
    CHECK_EQ(rep_stream_cork(second, false, &point), 0);
    CHECK_EQ(cut(items, 2, &failed), -EALREADY);
    CHECK_EQ(failed, 1);
    CHECK_EQ(stream_info(first).corked, 0);
    CHECK_EQ(stream_info(second).corked, 1);
    rep_stream_break(second, -EPIPE);
    CHECK_EQ(cut(items, 2, &failed), -EPIPE);
    CHECK_EQ(stream_info(first).corked, 0);
    rep_stream_free(first);
    rep_stream_free(second);
}

typedef struct failing_cut {
    rep_cut_item items[2];
    int failed;
} failing_cut;

static void *cut_and_fail(void *argument)
{
    failing_cut *c = argument;
    CHECK_EQ(cut(c->items, 2, &c->failed), -EPIPE);
    CHECK_EQ(c->failed, 1);
    return NULL;
}

/* Its first stream is corked, its second one is about to say that it isn't open. */
static void a_cut_that_fails_has_released_no_writer(void)
{
    rep_stream *first = stream_new();
    rep_stream *second = stream_new();
    failing_cut c = {.items = {{.verb = REP_CUT_CORK_RELEASE, .stream = first},
                               {.verb = REP_CUT_CORK_RELEASE, .stream = second}}};
    rep_stream_break(second, -EPIPE);
    pthread_mutex_lock(&second->mutex);
    pthread_t thread = thread_start(cut_and_fail, &c);
    while (!stream_info(first).corked)
        sched_yield();
    CHECK_EQ(rep_stream_wait_attempt(first, 1, 1, REP_ACK_RECEIVED, PAST, NULL), -ETIMEDOUT);
    pthread_mutex_unlock(&second->mutex);
    thread_join(thread);
    CHECK_EQ(rep_stream_wait_attempt(first, 1, 1, REP_ACK_RECEIVED, PAST, NULL), -ETIMEDOUT);
    CHECK_EQ(cut(c.items, 1, &c.failed), 0);
    CHECK_EQ(rep_stream_wait_attempt(first, 1, 1, REP_ACK_RECEIVED, PAST, NULL), 0);
    rep_stream_free(first);
    rep_stream_free(second);
}

static void a_late_430_has_no_effect(void)
{
    group g;
    group_make(&g);
    CHECK_EQ(put_chunk(g.pairs[0].pvol, 1, 1), 0);
    CHECK_EQ(put_chunk(g.pairs[0].pvol, 2, 1), 0);
    pump(g.pairs[0].stream, g.pairs[0].apply);
    rep_cut_item items[] = {
        {.verb = REP_CUT_SPLIT, .link = g.pairs[0].svol_row},
        {.verb = REP_CUT_APPLIED, .apply = g.pairs[0].apply, .number = 1},
    };
    int failed;
    CHECK_EQ(cut(items, 2, &failed), -EBUSY);
    CHECK_EQ(failed, 1);
    CHECK_EQ(info_of(g.pairs[0].svol_row).mode, REP_LINK_FORWARD);
    items[1].number = 2;
    CHECK_EQ(cut(items, 2, &failed), 0);
    group_clear(&g);
}

/* Its number is raised after its pass: in between the volume is past the point already. */
static void a_record_that_has_begun_is_past_the_point(void)
{
    group g;
    group_make(&g);
    pair *p = &g.pairs[0];
    rep_wake *wake;
    rep_pass pass;
    uint8_t *frame = check_alloc(REP_FRAME_BYTES);
    uint64_t length;
    int barrier;
    int failed;
    CHECK_EQ(rep_wake_new(&wake), 0);
    rep_wake_raise(wake);
    CHECK_EQ(put_chunk(p->pvol, 1, 1), 0);
    CHECK_EQ(put_chunk(p->pvol, 2, 1), 0);
    CHECK_EQ(rep_stream_take(g.pairs[0].stream, frame, PAST, NULL, &length), 0);
    CHECK_EQ(rep_tree_enter(&p->spvol.volume->tree, &pass, 2 * CHUNK, 1, PAST, NULL), 0);
    CHECK_EQ(rep_apply_frame(g.pairs[0].apply, frame, length, wake, &barrier), -ECANCELED);
    rep_tree_exit(&pass);
    CHECK_EQ(apply_info(g.pairs[0].apply).applied, 1);
    rep_cut_item items[] = {
        {.verb = REP_CUT_SPLIT, .link = p->svol_row},
        {.verb = REP_CUT_APPLIED, .apply = g.pairs[0].apply, .number = 1},
    };
    CHECK_EQ(cut(items, 2, &failed), -EBUSY);
    rep_wake_free(wake);
    free(frame);
    group_clear(&g);
}

static void a_cut_that_cannot_close_its_gates_in_time_changes_nothing(void)
{
    group g;
    group_make(&g);
    rep_pass pass;
    uint64_t closed_ns;
    int failed;
    rep_cut_item item = {.verb = REP_CUT_SPLIT, .link = g.pairs[0].home_row};
    CHECK_EQ(rep_tree_enter(&g.pairs[0].pvol.volume->tree, &pass, 0, 1, PAST, NULL), 0);
    CHECK_EQ(rep_group_cut(&item, 1, PAST, NULL, &closed_ns, &failed), -ETIMEDOUT);
    CHECK_EQ(failed, -1);
    rep_tree_exit(&pass);
    CHECK_EQ(info_of(g.pairs[0].home_row).mode, REP_LINK_FORWARD);
    CHECK_EQ(put_chunk(g.pairs[0].pvol, 0, 1), 0);
    group_clear(&g);
}

static void an_unknown_verb_is_refused(void)
{
    rep_cut_item item = {.verb = 99};
    int failed;
    CHECK_EQ(cut(&item, 1, &failed), -EINVAL);
    CHECK_EQ(failed, 0);
}

static void siblings_split_at_one_point_share_their_marks(void)
{
    group g;
    group_make(&g);
    pair *p = &g.pairs[0];
    vol other = vol_new(p->trees[0], SIZE);
    rep_link *row = link_new(p->pvol, 1);
    CHECK_EQ(rep_link_forward(row, other.volume, NULL), 0);
    rep_cut_item items[] = {
        {.verb = REP_CUT_SPLIT, .link = p->home_row},
        {.verb = REP_CUT_SPLIT, .link = row},
    };
    int failed;
    CHECK_EQ(cut(items, 2, &failed), 0);
    CHECK_EQ(rep_volume_epoch_count(p->pvol.volume), 1);
    CHECK_EQ(put_chunk(p->pvol, 3, 1), 0);
    CHECK(is_covered(row, 3) && is_covered(p->home_row, 3));
    rep_link_free(row);
    vol_free(other);
    group_clear(&g);
}

/* INV-6. Each writer puts a count into the first volume, and when that is acknowledged into the
 * second. Wherever a cut falls, the second is never ahead, and never more than one behind. */
#define WRITERS 2
#define CUTS 2000
#define SPLIT_EVERY 8
#define SLOT_BYTES 64ULL
#define BURST 40 /* writes of each writer per cut, or the rounds would only grow */

typedef struct writer {
    group *g;
    uint64_t slot;
    _Atomic int *cuts;
    uint64_t count;
} writer;

static void *write_a_then_b(void *argument)
{
    writer *w = argument;
    rep_ticket ticket = {0};
    uint64_t done;
    for (int cuts = 0; cuts < CUTS; cuts = atomic_load(w->cuts)) {
        if (w->count >= (uint64_t)(cuts + 1) * BURST) {
            sched_yield();
            continue;
        }
        w->count++;
        for (int i = 0; i < VOLUMES; i++)
            CHECK_EQ(rep_volume_pwrite(w->g->pairs[i].pvol.volume, &w->count, sizeof w->count,
                                       w->slot * SLOT_BYTES, 0, REP_NO_DEADLINE, NULL, &ticket,
                                       &done),
                     0);
    }
    return NULL;
}

static void check_one_point(vol first, vol second)
{
    for (uint64_t slot = 0; slot < WRITERS; slot++) {
        uint64_t a;
        uint64_t b;
        CHECK_EQ(rep_io_pread(second.disk->faulty, &b, sizeof b, slot * SLOT_BYTES), 0);
        CHECK_EQ(rep_io_pread(first.disk->faulty, &a, sizeof a, slot * SLOT_BYTES), 0);
        CHECK(a == b || a == b + 1);
    }
}

/* 450: the secondary splits where it has applied exactly the points. */
static void split_secondary(group *g, const uint64_t points[VOLUMES])
{
    rep_cut_item items[2 * VOLUMES];
    int failed;
    for (int i = 0; i < VOLUMES; i++) {
        const pair *p = &g->pairs[i];
        items[2 * i] = (rep_cut_item){.verb = REP_CUT_SPLIT, .link = p->svol_row};
        items[2 * i + 1] =
            (rep_cut_item){.verb = REP_CUT_APPLIED, .apply = p->apply, .number = points[i]};
    }
    CHECK_EQ(cut(items, 2 * VOLUMES, &failed), 0);
    check_one_point(g->pairs[0].svol, g->pairs[1].svol);
}

static void resync(rep_link *row, vol target)
{
    CHECK_EQ(rep_link_forward(row, target.volume, NULL), 0);
    CHECK_EQ(copy_all(row), 0);
}

static void check_both_sides(group *g)
{
    check_one_point(g->pairs[0].mirror, g->pairs[1].mirror);
    for (int i = 0; i < VOLUMES; i++)
        CHECK(volumes_equal(g->pairs[i].mirror, g->pairs[i].svol));
}

static void cork_once(group *g, bool split)
{
    rep_cut_item items[3 * VOLUMES];
    uint64_t points[VOLUMES];
    int count = 0;
    int failed;
    for (int i = 0; i < VOLUMES; i++) {
        const pair *p = &g->pairs[i];
        items[count++] = (rep_cut_item){.verb = REP_CUT_CORK, .stream = p->stream};
        items[count++] = (rep_cut_item){.verb = REP_CUT_GATE, .volume = p->pvol.volume};
        if (split)
            items[count++] = (rep_cut_item){.verb = REP_CUT_SPLIT, .link = p->home_row};
    }
    CHECK_EQ(cut(items, count, &failed), 0);
    for (int i = 0; i < VOLUMES; i++) {
        points[i] = items[i * count / VOLUMES].number;
        pump(g->pairs[i].stream, g->pairs[i].apply);
        CHECK_EQ(apply_info(g->pairs[i].apply).applied, points[i]);
    }
    check_one_point(g->pairs[0].spvol, g->pairs[1].spvol);
    if (split) {
        split_secondary(g, points);
        check_both_sides(g);
    }
    for (int i = 0; i < VOLUMES; i++)
        rep_stream_uncork(g->pairs[i].stream);
}

/* 460: back to DUPLEX, and what the disks keep of unflushed writes doesn't only grow. */
static void resync_all(group *g)
{
    for (int i = 0; i < VOLUMES; i++) {
        const pair *p = &g->pairs[i];
        CHECK_EQ(rep_io_flush(&p->pvol.disk->io), 0);
        CHECK_EQ(rep_io_flush(&p->spvol.disk->io), 0);
        CHECK_EQ(rep_link_settle(p->home_row), 0);
        CHECK_EQ(rep_link_settle(p->svol_row), 0);
        resync(p->home_row, p->mirror);
        resync(p->svol_row, p->svol);
    }
}

static void no_cut_ever_has_a_write_without_the_one_acknowledged_before_it(void)
{
    group g;
    _Atomic int cuts = 0;
    writer writers[WRITERS];
    pthread_t threads[WRITERS];
    group_make(&g);
    for (uint64_t i = 0; i < WRITERS; i++) {
        writers[i] = (writer){.g = &g, .slot = i, .cuts = &cuts};
        threads[i] = thread_start(write_a_then_b, &writers[i]);
    }
    while (atomic_load(&cuts) < CUTS) {
        bool split = atomic_load(&cuts) % SPLIT_EVERY == 0;
        cork_once(&g, split);
        if (split)
            resync_all(&g);
        atomic_fetch_add(&cuts, 1);
    }
    for (int i = 0; i < WRITERS; i++) {
        thread_join(threads[i]);
        CHECK(writers[i].count > 0);
    }
    for (int i = 0; i < VOLUMES; i++) {
        pump(g.pairs[i].stream, g.pairs[i].apply);
        CHECK(volumes_equal(g.pairs[i].pvol, g.pairs[i].spvol));
        CHECK(volumes_equal(g.pairs[i].pvol, g.pairs[i].mirror));
        CHECK(volumes_equal(g.pairs[i].pvol, g.pairs[i].svol));
    }
    group_clear(&g);
}

int main(void)
{
    RUN(a_split_keeps_what_is_unsettled_and_begins_with_no_pending_chunk);
    RUN(a_split_of_a_remote_pair_has_what_was_shipped_pending);
    RUN(a_cut_does_all_of_its_items_or_none);
    RUN(a_broken_or_idle_pair_is_not_split);
    RUN(a_cork_that_fails_leaves_no_other_stream_corked);
    RUN(a_cut_that_fails_has_released_no_writer);
    RUN(a_late_430_has_no_effect);
    RUN(a_record_that_has_begun_is_past_the_point);
    RUN(a_cut_that_cannot_close_its_gates_in_time_changes_nothing);
    RUN(an_unknown_verb_is_refused);
    RUN(siblings_split_at_one_point_share_their_marks);
    RUN(no_cut_ever_has_a_write_without_the_one_acknowledged_before_it);
    return 0;
}
