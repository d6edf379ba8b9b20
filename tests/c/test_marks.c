#include "rig.h"

#define CHUNKS 64
#define SIZE (CHUNKS * CHUNK)
#define SIBLINGS 4

/* A volume with sibling mirrors that share its marks. */
typedef struct family {
    rep_tree *tree;
    vol source;
    vol targets[SIBLINGS];
    rep_link *rows[SIBLINGS];
} family;

static family family_new(void)
{
    family f = {.tree = tree_new(1)};
    f.source = vol_new(f.tree, SIZE);
    for (int i = 0; i < SIBLINGS; i++) {
        f.targets[i] = vol_new(f.tree, SIZE);
        f.rows[i] = link_new(f.source, 1);
    }
    return f;
}

static void family_free(family *f)
{
    for (int i = 0; i < SIBLINGS; i++) {
        rep_link_free(f->rows[i]);
        vol_free(f->targets[i]);
    }
    vol_free(f->source);
    rep_tree_free(f->tree);
}

static int forward(family *f, int i)
{
    return rep_link_forward(f->rows[i], f->targets[i].volume, NULL);
}

static void each_sibling_owns_the_marks_since_its_own_split(void)
{
    family f = family_new();
    CHECK_EQ(rep_link_mark(f.rows[0]), 0);
    CHECK_EQ(put_chunk(f.source, 1, 1), 0);
    CHECK_EQ(rep_link_mark(f.rows[1]), 0);
    CHECK_EQ(put_chunk(f.source, 2, 1), 0);
    CHECK_EQ(pending_count(f.rows[0]), 2);
    CHECK_EQ(pending_count(f.rows[1]), 1);
    CHECK(is_covered(f.rows[0], 1) && is_covered(f.rows[0], 2));
    CHECK(!is_covered(f.rows[1], 1) && is_covered(f.rows[1], 2));
    CHECK_EQ(cover_count(f.rows[2]), 0);
    family_free(&f);
}

static void a_write_sets_one_bit_for_all_siblings(void)
{
    family f = family_new();
    for (int i = 0; i < SIBLINGS; i++)
        CHECK_EQ(rep_link_mark(f.rows[i]), 0);
    CHECK_EQ(rep_volume_epoch_count(f.source.volume), 1);
    CHECK_EQ(put_chunk(f.source, 5, 1), 0);
    for (int i = 0; i < SIBLINGS; i++) {
        CHECK_EQ(info_of(f.rows[i]).any_pending, 0);
        CHECK(is_covered(f.rows[i], 5));
    }
    family_free(&f);
}

static void splits_without_a_write_between_share_an_interval(void)
{
    family f = family_new();
    CHECK_EQ(rep_link_mark(f.rows[0]), 0);
    CHECK_EQ(rep_link_mark(f.rows[1]), 0);
    CHECK_EQ(rep_volume_epoch_count(f.source.volume), 1);
    CHECK_EQ(info_of(f.rows[0]).epoch_start, info_of(f.rows[1]).epoch_start);
    family_free(&f);
}

static void an_interval_that_nobody_tells_apart_joins_the_older_one(void)
{
    family f = family_new();
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(rep_link_mark(f.rows[i]), 0);
        CHECK_EQ(put_chunk(f.source, (uint64_t)i, 1), 0);
    }
    CHECK_EQ(rep_volume_epoch_count(f.source.volume), 3);
    CHECK_EQ(forward(&f, 1), 0);
    CHECK_EQ(rep_volume_epoch_count(f.source.volume), 2);
    CHECK_EQ(cover_count(f.rows[0]), 3);
    CHECK_EQ(cover_count(f.rows[1]), 2); /* folded into its own P */
    CHECK_EQ(cover_count(f.rows[2]), 1);
    family_free(&f);
}

static void the_oldest_interval_goes_with_its_last_owner(void)
{
    family f = family_new();
    CHECK_EQ(rep_link_mark(f.rows[0]), 0);
    CHECK_EQ(put_chunk(f.source, 0, 1), 0);
    CHECK_EQ(rep_link_mark(f.rows[1]), 0);
    CHECK_EQ(put_chunk(f.source, 1, 1), 0);
    rep_link_free(f.rows[0]);
    f.rows[0] = NULL;
    CHECK_EQ(rep_volume_epoch_count(f.source.volume), 1);
    CHECK_EQ(cover_count(f.rows[1]), 1);
    family_free(&f);
}

static rep_bitmap *no_bits(void)
{
    rep_bitmap *bitmap;
    CHECK_EQ(rep_bitmap_new(CHUNKS, &bitmap), 0);
    return bitmap;
}

static rep_bitmap *between(family *f, int one, int other)
{
    rep_bitmap *into = no_bits();
    CHECK_EQ(rep_link_marks_between(f->rows[one], f->rows[other], into), 0);
    return into;
}

static void what_was_written_between_two_splits_is_known_by_both(void)
{
    family f = family_new();
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(rep_link_mark(f.rows[i]), 0);
        CHECK_EQ(put_chunk(f.source, (uint64_t)i, 1), 0);
    }
    rep_bitmap *near = between(&f, 0, 1);
    CHECK(rep_bitmap_count(near) == 1 && rep_bitmap_test(near, 0) == 1);
    rep_bitmap *far = between(&f, 2, 0);
    CHECK(rep_bitmap_count(far) == 2 && !rep_bitmap_test(far, 2));
    rep_bitmap *none = between(&f, 1, 1);
    CHECK(!rep_bitmap_any(none));
    /* The row between them goes: what it told apart is still known. */
    CHECK_EQ(forward(&f, 1), 0);
    CHECK_EQ(put_chunk(f.source, 40, 1), 0);
    rep_bitmap *merged = between(&f, 0, 2);
    CHECK(rep_bitmap_count(merged) == 2 && rep_bitmap_test(merged, 1) == 1);
    CHECK_EQ(rep_link_marks_between(f.rows[0], f.rows[1], near), -ENODATA);
    rep_bitmap_free(near);
    rep_bitmap_free(far);
    rep_bitmap_free(none);
    rep_bitmap_free(merged);
    family_free(&f);
}

static void rows_of_two_volumes_have_no_marks_between_them(void)
{
    family f = family_new(), g = family_new();
    CHECK_EQ(rep_link_mark(f.rows[0]), 0);
    CHECK_EQ(rep_link_mark(g.rows[0]), 0);
    rep_bitmap *into = no_bits();
    CHECK_EQ(rep_link_marks_between(f.rows[0], g.rows[0], into), -EINVAL);
    rep_bitmap_free(into);
    family_free(&f);
    family_free(&g);
}

static void marks_go_on_after_the_newest_interval_was_merged_away(void)
{
    family f = family_new();
    CHECK_EQ(rep_link_mark(f.rows[0]), 0);
    CHECK_EQ(put_chunk(f.source, 0, 1), 0);
    CHECK_EQ(rep_link_mark(f.rows[1]), 0);
    CHECK_EQ(forward(&f, 1), 0);
    CHECK_EQ(put_chunk(f.source, 9, 1), 0);
    CHECK(is_covered(f.rows[0], 9));
    CHECK_EQ(rep_link_mark(f.rows[2]), 0);
    CHECK_EQ(cover_count(f.rows[2]), 0);
    family_free(&f);
}

static void a_clean_row_forgets_its_marks_but_not_its_siblings(void)
{
    family f = family_new();
    CHECK_EQ(rep_link_mark(f.rows[0]), 0);
    CHECK_EQ(rep_link_mark(f.rows[1]), 0);
    CHECK_EQ(put_chunk(f.source, 3, 1), 0);
    CHECK_EQ(rep_link_clean(f.rows[0]), 0);
    CHECK_EQ(cover_count(f.rows[0]), 0);
    CHECK_EQ(cover_count(f.rows[1]), 1);
    CHECK_EQ(put_chunk(f.source, 4, 1), 0);
    CHECK_EQ(cover_count(f.rows[0]), 1);
    CHECK_EQ(cover_count(f.rows[1]), 2);
    family_free(&f);
}

static void marking_again_leaves_a_row_that_marks_alone(void)
{
    family f = family_new();
    CHECK_EQ(rep_link_mark(f.rows[0]), 0);
    CHECK_EQ(put_chunk(f.source, 3, 1), 0);
    CHECK_EQ(rep_link_mark(f.rows[0]), 0);
    CHECK_EQ(cover_count(f.rows[0]), 1);
    family_free(&f);
}

static void restored_intervals_belong_to_the_rows_that_name_them(void)
{
    family f = family_new();
    CHECK_EQ(rep_volume_epoch_push(f.source.volume, CHUNK, 7), 0);
    CHECK_EQ(rep_volume_epoch_push(f.source.volume, CHUNK, 9), 0);
    CHECK_EQ(rep_bitmap_set(rep_volume_epoch_bitmap(f.source.volume, 0), 1, 1), 0);
    CHECK_EQ(rep_bitmap_set(rep_volume_epoch_bitmap(f.source.volume, 1), 2, 1), 0);
    CHECK_EQ(rep_link_mark_from(f.rows[0], 7), 0);
    CHECK_EQ(rep_link_mark_from(f.rows[1], 9), 0);
    CHECK_EQ(forward(&f, 2), 0);
    CHECK_EQ(rep_volume_epoch_sequence(f.source.volume, 0), 7);
    CHECK_EQ(put_chunk(f.source, 3, 1), 0);
    CHECK_EQ(cover_count(f.rows[0]), 3);
    CHECK_EQ(cover_count(f.rows[1]), 2);
    CHECK_EQ(rep_link_mark(f.rows[3]), 0);
    CHECK(info_of(f.rows[3]).epoch_start > 9);
    family_free(&f);
}

static void intervals_are_restored_in_order_and_by_their_own_size(void)
{
    family f = family_new();
    CHECK_EQ(rep_volume_epoch_push(f.source.volume, CHUNK, 7), 0);
    CHECK_EQ(rep_volume_epoch_push(f.source.volume, CHUNK, 7), -EINVAL);
    CHECK_EQ(rep_volume_epoch_push(f.source.volume, 2 * CHUNK, 8), 0);
    CHECK_EQ(rep_link_mark_from(f.rows[0], 6), -EINVAL);
    CHECK_EQ(rep_link_mark_from(f.rows[0], 8), -EINVAL);
    CHECK_EQ(info_of(f.rows[0]).mode, REP_LINK_IDLE);
    CHECK_EQ(rep_link_mark_from(f.rows[0], 7), 0);
    family_free(&f);
}

static void a_row_of_its_own_never_owns_shared_marks(void)
{
    family f = family_new();
    rep_link *own = link_new(f.source, 0);
    CHECK_EQ(rep_volume_epoch_push(f.source.volume, CHUNK, 3), 0);
    CHECK_EQ(rep_link_mark_from(own, 3), -EINVAL);
    CHECK_EQ(rep_link_mark(own), 0);
    CHECK_EQ(put_chunk(f.source, 1, 1), 0);
    CHECK(is_pending(own, 1));
    rep_link_free(own);
    family_free(&f);
}

/* The reference: for each row, the chunks by which its two volumes may differ. */
typedef struct reference {
    bool chunks[SIBLINGS][CHUNKS];
} reference;

static void compare(family *f, const reference *expected)
{
    for (int i = 0; i < SIBLINGS; i++) {
        rep_bitmap *cover = cover_of(f->rows[i]);
        for (uint64_t chunk = 0; chunk < CHUNKS; chunk++)
            CHECK_EQ(rep_bitmap_test(cover, chunk), expected->chunks[i][chunk]);
        rep_bitmap_free(cover);
    }
}

static void write_somewhere(family *f, reference *expected, uint64_t chunk)
{
    CHECK_EQ(put_chunk(f->source, chunk, 1), 0);
    for (int i = 0; i < SIBLINGS; i++)
        if (info_of(f->rows[i]).mode != REP_LINK_IDLE)
            expected->chunks[i][chunk] = true;
}

static void change_one(family *f, reference *expected, int i, uint64_t choice)
{
    switch (choice) {
    case 0:
        CHECK_EQ(rep_link_mark(f->rows[i]), 0);
        break;
    case 1:
        CHECK_EQ(forward(f, i), 0);
        break;
    case 2:
        CHECK_EQ(rep_link_idle(f->rows[i]), 0);
        break;
    case 3:
        if (rep_link_clean(f->rows[i]) == 0)
            memset(expected->chunks[i], 0, sizeof expected->chunks[i]);
        break;
    default: /* the whole resync of a row */
        CHECK_EQ(forward(f, i), 0);
        CHECK_EQ(copy_all(f->rows[i]), 0);
        CHECK_EQ(rep_link_settle(f->rows[i]), 0);
        for (uint64_t chunk = 0; chunk < CHUNKS; chunk++)
            CHECK(!expected->chunks[i][chunk] || chunks_equal(f->source, f->targets[i], chunk));
        memset(expected->chunks[i], 0, sizeof expected->chunks[i]);
    }
}

static void any_order_of_splits_writes_and_resyncs_loses_and_invents_no_mark(void)
{
    family f = family_new();
    reference expected = {0};
    uint64_t seed = 20240611;
    for (int step = 0; step < 6000; step++) {
        if (check_below(&seed, 2))
            write_somewhere(&f, &expected, check_below(&seed, CHUNKS));
        else
            change_one(&f, &expected, (int)check_below(&seed, SIBLINGS), check_below(&seed, 5));
        compare(&f, &expected);
        CHECK(rep_volume_epoch_count(f.source.volume) <= SIBLINGS);
    }
    family_free(&f);
}

int main(void)
{
    RUN(each_sibling_owns_the_marks_since_its_own_split);
    RUN(a_write_sets_one_bit_for_all_siblings);
    RUN(splits_without_a_write_between_share_an_interval);
    RUN(an_interval_that_nobody_tells_apart_joins_the_older_one);
    RUN(the_oldest_interval_goes_with_its_last_owner);
    RUN(what_was_written_between_two_splits_is_known_by_both);
    RUN(rows_of_two_volumes_have_no_marks_between_them);
    RUN(marks_go_on_after_the_newest_interval_was_merged_away);
    RUN(a_clean_row_forgets_its_marks_but_not_its_siblings);
    RUN(marking_again_leaves_a_row_that_marks_alone);
    RUN(restored_intervals_belong_to_the_rows_that_name_them);
    RUN(intervals_are_restored_in_order_and_by_their_own_size);
    RUN(a_row_of_its_own_never_owns_shared_marks);
    RUN(any_order_of_splits_writes_and_resyncs_loses_and_invents_no_mark);
    return 0;
}
