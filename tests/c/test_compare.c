#include "rep_compare.h"
#include "rig.h"

#define CHUNKS 64ULL
#define SIZE (CHUNKS * CHUNK)
#define GROUP (4 * CHUNK)

static rep_compare *compare_new(rep_link *link)
{
    rep_compare *compare;
    CHECK_EQ(rep_compare_new(link, &compare), 0);
    return compare;
}

/* A remote pair in the midst of a copy: everything is pending. */
static remote pending_new(uint64_t size_bytes)
{
    remote r = remote_new(size_bytes, REP_ACK_QUEUED);
    rep_bitmap_fill(r.row->pending);
    return r;
}

static void begin(rep_compare *compare, uint64_t first, uint64_t count)
{
    CHECK_EQ(rep_compare_begin(compare, first, count, REP_NO_DEADLINE, NULL), 0);
}

static int settle(rep_compare *compare, uint64_t first, uint64_t count, uint64_t *cleared)
{
    int done;
    *cleared = 0;
    return rep_compare_settle(compare, &first, &count, 1, REP_NO_DEADLINE, NULL, &done, cleared);
}

static int written(rep_compare *compare, uint64_t first, uint64_t count)
{
    int done;
    uint8_t answer = 7;
    CHECK_EQ(rep_compare_written(compare, &first, &count, 1, REP_NO_DEADLINE, NULL, &done, &answer),
             0);
    return answer;
}

static void what_is_equal_leaves_the_pending_bits_and_needs_no_record(void)
{
    remote r = pending_new(SIZE);
    rep_compare *compare = compare_new(r.row);
    uint64_t cleared;
    begin(compare, 0, CHUNKS);
    CHECK_EQ(settle(compare, 3, 2, &cleared), 0);
    CHECK_EQ(cleared, 2 * CHUNK);
    CHECK_EQ(pending_count(r.row), CHUNKS - 2);
    CHECK_EQ(cover_count(r.row), CHUNKS - 2);
    CHECK_EQ(stream_info(r.stream).last, 0);
    CHECK_EQ(settle(compare, 3, 2, &cleared), 0);
    CHECK_EQ(cleared, 0);
    rep_compare_free(compare);
    remote_free(&r);
}

static void a_chunk_that_was_written_after_the_begin_stays_pending(void)
{
    remote r = pending_new(SIZE);
    rep_compare *compare = compare_new(r.row);
    uint64_t cleared;
    begin(compare, 0, CHUNKS);
    CHECK_EQ(put_bytes(r.source, 4 * CHUNK + 100, 1, 9), 0);
    CHECK_EQ(settle(compare, 3, 3, &cleared), 0);
    CHECK_EQ(cleared, 2 * CHUNK);
    CHECK(!is_pending(r.row, 3) && is_pending(r.row, 4) && !is_pending(r.row, 5));
    CHECK_EQ(settle(compare, 4, 1, &cleared), 0);
    CHECK(is_pending(r.row, 4));
    begin(compare, 4, 1);
    CHECK_EQ(settle(compare, 4, 1, &cleared), 0);
    CHECK(!is_pending(r.row, 4));
    rep_compare_free(compare);
    remote_free(&r);
}

static void a_write_after_it_was_settled_is_shipped(void)
{
    remote r = pending_new(SIZE);
    rep_compare *compare = compare_new(r.row);
    uint64_t cleared;
    begin(compare, 0, CHUNKS);
    CHECK_EQ(settle(compare, 0, CHUNKS, &cleared), 0);
    CHECK_EQ(put_chunk(r.source, 4, 9), 0);
    CHECK_EQ(stream_info(r.stream).last, 1);
    CHECK(is_unsettled(r.row, 4));
    pump_durable(r.stream, r.apply);
    CHECK(volumes_equal(r.source, r.target));
    CHECK_EQ(cover_count(r.row), 0);
    rep_compare_free(compare);
    remote_free(&r);
}

static void writes_are_noticed_by_each_comparer_of_the_row(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    rep_compare *one = compare_new(r.row);
    rep_compare *other = compare_new(r.row);
    begin(one, 0, CHUNKS);
    begin(other, 0, CHUNKS);
    CHECK_EQ(put_bytes(r.source, 5 * CHUNK - 1, 2, 3), 0);
    CHECK_EQ(written(one, 0, 4), 0);
    CHECK_EQ(written(one, 4, 1), 1);
    CHECK_EQ(written(other, 5, 1), 1);
    CHECK_EQ(written(other, 6, 2), 0);
    begin(one, 4, 1);
    CHECK_EQ(written(one, 4, 1), 0);
    CHECK_EQ(written(one, 5, 1), 1);
    CHECK_EQ(written(other, 4, 1), 1);
    rep_compare_free(one);
    CHECK_EQ(put_chunk(r.source, 7, 3), 0);
    CHECK_EQ(written(other, 7, 1), 1);
    rep_compare_free(other);
    CHECK_EQ(put_chunk(r.source, 8, 3), 0);
    remote_free(&r);
}

static void a_chunk_that_is_pending_counts_as_written(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    rep_compare *compare = compare_new(r.row);
    begin(compare, 0, CHUNKS);
    CHECK_EQ(rep_bitmap_set(r.row->pending, 9, 1), 0);
    CHECK_EQ(written(compare, 8, 1), 0);
    CHECK_EQ(written(compare, 8, 2), 1);
    rep_compare_free(compare);
    remote_free(&r);
}

static void a_link_that_broke_keeps_everything_pending(void)
{
    remote r = pending_new(SIZE);
    rep_compare *compare = compare_new(r.row);
    uint64_t cleared;
    begin(compare, 0, CHUNKS);
    rep_link_break(r.row, -EIO);
    CHECK_EQ(settle(compare, 0, CHUNKS, &cleared), -EPIPE);
    CHECK_EQ(cleared, 0);
    CHECK_EQ(pending_count(r.row), CHUNKS);
    CHECK_EQ(rep_compare_begin(compare, 0, 1, REP_NO_DEADLINE, NULL), -EPIPE);
    rep_compare_free(compare);
    remote_free(&r);
}

/* Split and shipping again in between: what was written meanwhile was noticed by nobody. */
static void other_work_of_the_link_ends_it(void)
{
    remote r = pending_new(SIZE);
    rep_compare *compare = compare_new(r.row);
    uint64_t cleared;
    int done;
    uint8_t answer;
    uint64_t first = 0;
    uint64_t count = 1;
    begin(compare, 0, CHUNKS);
    CHECK_EQ(rep_link_mark(r.row), 0);
    CHECK_EQ(put_chunk(r.source, 0, 1), 0);
    CHECK_EQ(rep_link_ship(r.row, r.stream, 1, REP_ACK_QUEUED), 0);
    CHECK_EQ(settle(compare, 0, CHUNKS, &cleared), -EPIPE);
    CHECK_EQ(pending_count(r.row), CHUNKS);
    CHECK_EQ(rep_compare_written(compare, &first, &count, 1, REP_NO_DEADLINE, NULL, &done, &answer),
             -EPIPE);
    rep_compare_free(compare);
    remote_free(&r);
}

static void a_link_that_only_marks_is_not_compared(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    rep_compare *compare;
    CHECK_EQ(rep_link_mark(r.row), 0);
    CHECK_EQ(rep_compare_new(r.row, &compare), -EPIPE);
    remote_free(&r);
}

static void pending_runs_are_cut_where_a_group_ends(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    rep_compare *compare = compare_new(r.row);
    uint64_t firsts[8];
    uint64_t counts[8];
    uint64_t resume;
    CHECK_EQ(rep_bitmap_set(r.row->pending, 3, 6), 0);
    CHECK_EQ(rep_bitmap_set(r.row->pending, 20, 1), 0);
    CHECK_EQ(rep_compare_pending(compare, 0, GROUP, SIZE, firsts, counts, 8, &resume), 4);
    const uint64_t expected[4][2] = {{3, 1}, {4, 4}, {8, 1}, {20, 1}};
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(firsts[i], expected[i][0]);
        CHECK_EQ(counts[i], expected[i][1]);
    }
    CHECK_EQ(resume, CHUNKS);
    CHECK_EQ(rep_compare_pending(compare, 0, GROUP, SIZE, firsts, counts, 2, &resume), 2);
    CHECK_EQ(resume, 8);
    CHECK_EQ(rep_compare_pending(compare, 0, GROUP, 2 * CHUNK, firsts, counts, 8, &resume), 2);
    CHECK_EQ(counts[1], 1);
    CHECK_EQ(resume, 5);
    CHECK_EQ(rep_compare_pending(compare, resume, GROUP, SIZE, firsts, counts, 8, &resume), 3);
    CHECK_EQ(rep_compare_pending(compare, resume, GROUP, SIZE, firsts, counts, 8, &resume), 0);
    CHECK_EQ(rep_compare_pending(compare, CHUNKS + 1, GROUP, SIZE, firsts, counts, 8, &resume),
             -ERANGE);
    CHECK_EQ(rep_compare_pending(compare, 0, CHUNK / 2, SIZE, firsts, counts, 8, &resume), -EINVAL);
    CHECK_EQ(rep_compare_pending(compare, 0, GROUP, CHUNK - 1, firsts, counts, 8, &resume),
             -EINVAL);
    CHECK_EQ(rep_compare_pending(compare, 0, GROUP, SIZE, firsts, counts, 0, &resume), -EINVAL);
    rep_compare_free(compare);
    remote_free(&r);
}

static void holes_are_left_to_the_copier(void)
{
    remote r = pending_new(SIZE);
    const rep_extent data[2] = {{6 * CHUNK + 512, 512}, {40 * CHUNK, 2 * CHUNK}};
    r.source.disk->extents = data;
    r.source.disk->extent_count = 2;
    rep_compare *compare = compare_new(r.row);
    uint64_t firsts[8];
    uint64_t counts[8];
    uint64_t resume;
    CHECK_EQ(rep_compare_pending(compare, 0, CHUNK, SIZE, firsts, counts, 8, &resume), 3);
    CHECK_EQ(firsts[0], 6);
    CHECK_EQ(firsts[1], 40);
    CHECK_EQ(firsts[2], 41);
    CHECK_EQ(resume, CHUNKS);
    rep_compare_free(compare);
    remote_free(&r);
}

static int read_runs(vol v, uint64_t group, const uint64_t *firsts, const uint64_t *counts, int n,
                     uint8_t *buffer, uint64_t bytes, uint64_t *lengths, int capacity)
{
    return rep_compare_read(&v.disk->io, CHUNK, group, firsts, counts, n, buffer, bytes, lengths,
                            capacity);
}

static void runs_are_read_one_behind_the_other_and_counted_by_group(void)
{
    static uint8_t buffer[SIZE];
    rep_tree *tree = tree_new(1);
    vol v = vol_new(tree, SIZE - 100); /* the last chunk is partial */
    for (uint64_t i = 0; i < CHUNKS - 1; i++)
        CHECK_EQ(put_chunk(v, i, (int)i), 0);
    const uint64_t firsts[4] = {1, 3, 6, CHUNKS - 1};
    const uint64_t counts[4] = {1, 2, 1, 1};
    uint64_t lengths[8];
    CHECK_EQ(read_runs(v, GROUP, firsts, counts, 4, buffer, SIZE, lengths, 8), 3);
    CHECK_EQ(lengths[0], 2 * CHUNK);
    CHECK_EQ(lengths[1], 2 * CHUNK);
    CHECK_EQ(lengths[2], CHUNK - 100);
    const int bytes[4] = {1, 3, 4, 6};
    for (uint64_t i = 0; i < 4; i++)
        CHECK_EQ(buffer[i * CHUNK], bytes[i]);
    CHECK_EQ(read_runs(v, CHUNK, firsts, counts, 4, buffer, SIZE, lengths, 8), 5);
    CHECK_EQ(lengths[4], CHUNK - 100);
    vol_free(v);
    rep_tree_free(tree);
}

static void runs_that_make_no_sense_are_refused(void)
{
    static uint8_t buffer[SIZE];
    rep_tree *tree = tree_new(1);
    vol v = vol_new(tree, SIZE);
    const uint64_t firsts[2] = {8, 4};
    const uint64_t counts[2] = {2, 5};
    const uint64_t zero = 0;
    const uint64_t last = CHUNKS - 1;
    const uint64_t most = UINT64_MAX;
    uint64_t lengths[8];
    CHECK_EQ(read_runs(v, GROUP, firsts, counts, 2, buffer, SIZE, lengths, 8), -EINVAL);
    CHECK_EQ(read_runs(v, GROUP, firsts, &zero, 1, buffer, SIZE, lengths, 8), -EINVAL);
    CHECK_EQ(read_runs(v, GROUP, &last, counts, 1, buffer, SIZE, lengths, 8), -ERANGE);
    CHECK_EQ(read_runs(v, GROUP, &most, counts, 1, buffer, SIZE, lengths, 8), -ERANGE);
    CHECK_EQ(read_runs(v, GROUP, firsts, counts, 1, buffer, CHUNK, lengths, 8), -EINVAL);
    CHECK_EQ(read_runs(v, CHUNK, firsts, counts, 1, buffer, SIZE, lengths, 1), -EINVAL);
    CHECK_EQ(read_runs(v, CHUNK / 2, firsts, counts, 1, buffer, SIZE, lengths, 8), -EINVAL);
    CHECK_EQ(read_runs(v, 3 * CHUNK, firsts, counts, 1, buffer, SIZE, lengths, 8), -EINVAL);
    vol_free(v);
    rep_tree_free(tree);
}

/* One pass of a digest resync with everything else in between: whatever is written when, what isn't
 * covered is equal, and the copier's rest makes all of it so. */
static void every_difference_stays_covered_whenever_a_host_writes(void)
{
    static uint8_t mine[GROUP];
    static uint8_t theirs[GROUP];
    uint64_t seed = 17;
    for (int round = 0; round < 300; round++) {
        remote r = remote_new(SIZE, REP_ACK_QUEUED);
        for (int i = 0; i < 40; i++)
            CHECK_EQ(put_chunk(r.source, check_below(&seed, CHUNKS), (int)check_below(&seed, 3)),
                     0);
        pump_durable(r.stream, r.apply);
        for (int i = 0; i < 10; i++) { /* records on their way, some undone by a later write */
            CHECK_EQ(put_chunk(r.source, check_below(&seed, CHUNKS), (int)check_below(&seed, 3)),
                     0);
        }
        CHECK_EQ(rep_link_ship(r.row, r.stream, 1, REP_ACK_QUEUED), 0); /* P |= U */
        rep_bitmap_fill(r.row->pending);
        rep_compare *compare = compare_new(r.row);
        pump(r.stream, r.apply); /* nothing is on its way of what is pending */
        for (uint64_t first = 0; first < CHUNKS; first += GROUP / CHUNK) {
            uint64_t count = GROUP / CHUNK;
            uint64_t length;
            uint64_t cleared;
            for (int moment = 0; moment < 4; moment++) {
                uint64_t at = first + check_below(&seed, 8);
                if (check_below(&seed, 3) == 0 && at < CHUNKS)
                    CHECK_EQ(put_chunk(r.source, at, (int)check_below(&seed, 3)), 0);
                if (check_below(&seed, 4) == 0)
                    pump(r.stream, r.apply);
                if (moment == 0)
                    begin(compare, first, count);
                if (moment == 1)
                    CHECK_EQ(
                        read_runs(r.target, GROUP, &first, &count, 1, theirs, GROUP, &length, 1),
                        1);
                if (moment == 2)
                    CHECK_EQ(read_runs(r.source, GROUP, &first, &count, 1, mine, GROUP, &length, 1),
                             1);
            }
            for (uint64_t i = 0; i < count; i++)
                if (memcmp(mine + i * CHUNK, theirs + i * CHUNK, CHUNK) == 0)
                    CHECK_EQ(settle(compare, first + i, 1, &cleared), 0);
            for (uint64_t i = 0; i < CHUNKS; i++)
                CHECK(is_covered(r.row, i) || chunks_equal(r.source, r.target, i));
        }
        CHECK(pending_count(r.row) < CHUNKS);
        rep_compare_free(compare);
        CHECK_EQ(copy_all(r.row), 0);
        pump_durable(r.stream, r.apply);
        CHECK(volumes_equal(r.source, r.target));
        CHECK_EQ(cover_count(r.row), 0);
        remote_free(&r);
    }
}

typedef struct hammering {
    vol source;
    uint64_t seed;
    int writes;
} hammering;

static void *hammer(void *argument)
{
    hammering *h = argument;
    for (int i = 0; i < h->writes; i++)
        CHECK_EQ(put_chunk(h->source, check_below(&h->seed, CHUNKS), (int)check_below(&h->seed, 2)),
                 0);
    return NULL;
}

/* A local pair: both ends are written in one pass, so that nothing is ever on its way. */
static void writers_beside_it_leave_no_difference_uncovered(void)
{
    static uint8_t mine[CHUNK];
    static uint8_t theirs[CHUNK];
    rep_tree *tree = tree_new(1);
    vol source = vol_new(tree, SIZE);
    vol target = vol_new(tree, SIZE);
    rep_link *row = link_new(source, 1);
    rep_link *mirror_row = link_new(target, 0);
    CHECK_EQ(rep_link_forward(row, target.volume, mirror_row), 0);
    hammering all[2] = {{source, 1, 6000}, {source, 2, 6000}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        threads[i] = thread_start(hammer, &all[i]);
    rep_compare *compare = compare_new(row);
    for (int round = 0; round < 60; round++) {
        rep_bitmap_fill(row->pending);
        for (uint64_t first = 0; first < CHUNKS; first++) {
            uint64_t count = 1;
            uint64_t length;
            uint64_t cleared;
            begin(compare, first, 1);
            CHECK_EQ(read_runs(source, CHUNK, &first, &count, 1, mine, CHUNK, &length, 1), 1);
            CHECK_EQ(read_runs(target, CHUNK, &first, &count, 1, theirs, CHUNK, &length, 1), 1);
            if (memcmp(mine, theirs, CHUNK) == 0)
                CHECK_EQ(settle(compare, first, 1, &cleared), 0);
        }
    }
    for (int i = 0; i < 2; i++)
        thread_join(threads[i]);
    rep_compare_free(compare);
    for (uint64_t i = 0; i < CHUNKS; i++)
        CHECK(is_pending(row, i) || chunks_equal(source, target, i));
    rep_link_free(row);
    rep_link_free(mirror_row);
    vol_free(source);
    vol_free(target);
    rep_tree_free(tree);
}

int main(void)
{
    RUN(what_is_equal_leaves_the_pending_bits_and_needs_no_record);
    RUN(a_chunk_that_was_written_after_the_begin_stays_pending);
    RUN(a_write_after_it_was_settled_is_shipped);
    RUN(writes_are_noticed_by_each_comparer_of_the_row);
    RUN(a_chunk_that_is_pending_counts_as_written);
    RUN(a_link_that_broke_keeps_everything_pending);
    RUN(other_work_of_the_link_ends_it);
    RUN(a_link_that_only_marks_is_not_compared);
    RUN(pending_runs_are_cut_where_a_group_ends);
    RUN(holes_are_left_to_the_copier);
    RUN(runs_are_read_one_behind_the_other_and_counted_by_group);
    RUN(runs_that_make_no_sense_are_refused);
    RUN(every_difference_stays_covered_whenever_a_host_writes);
    RUN(writers_beside_it_leave_no_difference_uncovered);
    return 0;
}
