#include <sched.h>

#include "rig.h"

typedef _Atomic(rep_tree *) place;

static int enter(place *where, rep_pass *pass, uint64_t offset, uint64_t length)
{
    return rep_tree_enter(where, pass, offset, length, PAST, NULL);
}

static void passes_on_different_bytes_are_inside_together(void)
{
    place where = tree_new(1);
    rep_pass left;
    rep_pass right;
    CHECK_EQ(enter(&where, &left, 0, 10), 0);
    CHECK_EQ(enter(&where, &right, 10, 10), 0);
    rep_tree_exit(&left);
    rep_tree_exit(&right);
    rep_tree_free(where);
}

static void a_pass_waits_for_an_earlier_one_on_the_same_bytes(void)
{
    place where = tree_new(1);
    rep_pass first;
    rep_pass second;
    CHECK_EQ(enter(&where, &first, 0, 10), 0);
    CHECK_EQ(enter(&where, &second, 9, 1), -ETIMEDOUT);
    rep_tree_exit(&first);
    CHECK_EQ(enter(&where, &second, 9, 1), 0);
    rep_tree_exit(&second);
    rep_tree_free(where);
}

static void a_pass_over_no_bytes_waits_for_the_gate_alone(void)
{
    place where = tree_new(1);
    rep_pass wide;
    rep_pass none;
    rep_tree *trees[] = {where};
    CHECK_EQ(enter(&where, &wide, 0, UINT64_MAX), 0);
    CHECK_EQ(enter(&where, &none, 0, 0), 0);
    rep_tree_exit(&none);
    rep_tree_exit(&wide);
    CHECK_EQ(rep_tree_close_all(trees, 1, PAST, NULL), 1);
    CHECK_EQ(enter(&where, &none, 0, 0), -ETIMEDOUT);
    rep_tree_open_all(trees, 1);
    rep_tree_free(where);
}

static void a_closed_gate_lets_nobody_in_until_it_opens(void)
{
    place where = tree_new(1);
    rep_tree *trees[] = {where};
    rep_pass pass;
    CHECK_EQ(rep_tree_close_all(trees, 1, PAST, NULL), 1);
    CHECK_EQ(enter(&where, &pass, 0, 1), -ETIMEDOUT);
    rep_tree_open_all(trees, 1);
    CHECK_EQ(enter(&where, &pass, 0, 1), 0);
    rep_tree_exit(&pass);
    rep_tree_free(where);
}

static void a_closing_that_gives_up_leaves_no_gate_closed(void)
{
    place first = tree_new(1);
    place second = tree_new(2);
    rep_tree *trees[] = {second, first};
    rep_pass inside;
    rep_pass other;
    CHECK_EQ(enter(&second, &inside, 0, 1), 0);
    CHECK_EQ(rep_tree_close_all(trees, 2, PAST, NULL), -ETIMEDOUT);
    CHECK_EQ(enter(&first, &other, 0, 1), 0);
    rep_tree_exit(&other);
    CHECK_EQ(enter(&second, &other, 5, 1), 0);
    rep_tree_exit(&other);
    rep_tree_exit(&inside);
    rep_tree_free(first);
    rep_tree_free(second);
}

static void a_raised_handle_ends_a_closing_and_an_entry(void)
{
    place where = tree_new(1);
    rep_tree *trees[] = {where};
    rep_pass inside;
    rep_pass other;
    rep_wake *wake;
    CHECK_EQ(rep_wake_new(&wake), 0);
    rep_wake_raise(wake);
    CHECK_EQ(enter(&where, &inside, 0, 1), 0);
    CHECK_EQ(rep_tree_close_all(trees, 1, REP_NO_DEADLINE, wake), -ECANCELED);
    CHECK_EQ(rep_tree_enter(&where, &other, 0, 1, REP_NO_DEADLINE, wake), -ECANCELED);
    rep_tree_exit(&inside);
    rep_wake_free(wake);
    rep_tree_free(where);
}

static void a_tree_named_twice_is_closed_once(void)
{
    place where = tree_new(1);
    rep_tree *other = tree_new(2);
    rep_tree *trees[] = {where, other, where};
    CHECK_EQ(rep_tree_close_all(trees, 3, PAST, NULL), 2);
    CHECK(trees[0] == where && trees[1] == other);
    rep_tree_open_all(trees, 2);
    rep_tree_free(where);
    rep_tree_free(other);
}

typedef struct queued {
    place *where;
    uint64_t offset;
    uint64_t length;
    int result;
} queued;

static void *enter_and_exit(void *argument)
{
    queued *q = argument;
    rep_pass pass;
    q->result = rep_tree_enter(q->where, &pass, q->offset, q->length, REP_NO_DEADLINE, NULL);
    if (!q->result)
        rep_tree_exit(&pass);
    return NULL;
}

/* Refused means that somebody waits for these bytes: no other way to see it from outside. */
static void await_refusal(place *where, uint64_t offset)
{
    rep_pass pass;
    while (enter(where, &pass, offset, 1) == 0) {
        rep_tree_exit(&pass);
        sched_yield();
    }
}

static void a_waiting_long_pass_is_not_overtaken_by_short_ones(void)
{
    place where = tree_new(1);
    rep_pass first;
    queued waiting = {.where = &where, .length = 20, .result = 1};
    CHECK_EQ(enter(&where, &first, 0, 10), 0);
    pthread_t thread = thread_start(enter_and_exit, &waiting);
    await_refusal(&where, 15); /* free, but asked for before */
    rep_tree_exit(&first);
    thread_join(thread);
    CHECK_EQ(waiting.result, 0);
    rep_tree_free(where);
}

static void a_closing_waits_for_those_inside_and_no_longer(void)
{
    place where = tree_new(1);
    rep_tree *trees[] = {where};
    rep_pass inside;
    queued late = {.where = &where, .length = 1, .result = 1};
    CHECK_EQ(enter(&where, &inside, 0, 1), 0);
    CHECK_EQ(rep_tree_close_all(trees, 1, PAST, NULL), -ETIMEDOUT);
    rep_tree_exit(&inside);
    CHECK_EQ(rep_tree_close_all(trees, 1, PAST, NULL), 1);
    pthread_t thread = thread_start(enter_and_exit, &late);
    CHECK_EQ(late.result, 1);
    rep_tree_open_all(trees, 1);
    thread_join(thread);
    CHECK_EQ(late.result, 0);
    rep_tree_free(where);
}

static void who_waits_for_a_volume_follows_it_to_its_new_tree(void)
{
    rep_tree *from = tree_new(1);
    rep_tree *to = tree_new(2);
    vol v = vol_new(from, CHUNK);
    rep_pass inside;
    queued waiting = {.where = &v.volume->tree, .length = 1, .result = 1};
    place old = from;
    CHECK_EQ(enter(&old, &inside, 0, 1), 0);
    pthread_t thread = thread_start(enter_and_exit, &waiting);
    await_refusal(&old, 0);
    rep_tree_exit(&inside);
    CHECK_EQ(rep_volumes_move(&v.volume, 1, from, to), 0);
    thread_join(thread);
    CHECK_EQ(waiting.result, 0);
    CHECK(atomic_load(&v.volume->tree) == to);
    CHECK_EQ(put_chunk(v, 0, 1), 0);
    vol_free(v);
    rep_tree_free(from);
    rep_tree_free(to);
}

int main(void)
{
    RUN(passes_on_different_bytes_are_inside_together);
    RUN(a_pass_waits_for_an_earlier_one_on_the_same_bytes);
    RUN(a_pass_over_no_bytes_waits_for_the_gate_alone);
    RUN(a_closed_gate_lets_nobody_in_until_it_opens);
    RUN(a_closing_that_gives_up_leaves_no_gate_closed);
    RUN(a_raised_handle_ends_a_closing_and_an_entry);
    RUN(a_tree_named_twice_is_closed_once);
    RUN(a_waiting_long_pass_is_not_overtaken_by_short_ones);
    RUN(a_closing_waits_for_those_inside_and_no_longer);
    RUN(who_waits_for_a_volume_follows_it_to_its_new_tree);
    return 0;
}
