/* A full queue: who waits, who is marked, and the group that pulls ahead of its secondary. */
#include <sched.h>

#include "rig.h"
#include "ship_parts.h"

#define SIZE (8ULL << 20)
#define CHUNKS (SIZE / CHUNK)

/* A remote pair in DUPLEX that pulls ahead. */
static remote ahead_new(int ack)
{
    remote r = remote_new(SIZE, ack);
    rep_link_set_congestion(r.row, REP_CONGESTION_PULL_AHEAD);
    CHECK_EQ(rep_link_follow(r.row), 0);
    return r;
}

/* Writes ascending chunks until one isn't queued; answers its number. */
static uint64_t fill(const remote *r)
{
    uint64_t chunk = 0;
    do
        CHECK_EQ(try_put(r->source, chunk++, 7), 0);
    while (!info_of(r->row).broken);
    return chunk - 1;
}

static void a_write_that_finds_no_room_goes_on_and_the_group_pulls_ahead(void)
{
    remote r = ahead_new(REP_ACK_QUEUED);
    uint64_t first_ahead = fill(&r);
    CHECK_EQ(info_of(r.row).broken, -EXFULL);
    rep_stream_info info = stream_info(r.stream);
    CHECK(info.open);
    CHECK_EQ(info.pulled, info.last);
    CHECK_EQ(info.pull_count, 1);
    for (uint64_t chunk = 0; chunk <= first_ahead; chunk++)
        CHECK(is_pending(r.row, chunk));
    CHECK_EQ(chunk_byte(r.source, first_ahead), 7);
    /* What was queued still arrives, and nothing behind it. */
    CHECK_EQ(try_put(r.source, 0, 8), 0);
    pump(r.stream, r.apply);
    CHECK(stream_info(r.stream).received >= info.pulled);
    for (uint64_t chunk = 0; chunk < first_ahead; chunk++)
        CHECK_EQ(chunk_byte(r.target, chunk), 7);
    CHECK_EQ(chunk_byte(r.target, first_ahead), 0);
    /* INV-3: its barrier's answer clears nothing any more. */
    pump_durable(r.stream, r.apply);
    CHECK(is_pending(r.row, 0) && is_pending(r.row, first_ahead));
    /* And back: the row marks, ships, copies. */
    CHECK_EQ(rep_link_mark(r.row), 0);
    CHECK_EQ(rep_link_ship(r.row, r.stream, 1, REP_ACK_QUEUED), 0);
    CHECK_EQ(copy_all(r.row), 0);
    pump_durable(r.stream, r.apply);
    CHECK(volumes_equal(r.source, r.target));
    CHECK_EQ(cover_count(r.row), 0);
    remote_free(&r);
}

static void a_synchronous_write_that_pulls_ahead_waits_for_nobody(void)
{
    remote r = ahead_new(REP_ACK_RECEIVED);
    uint64_t chunk = fill(&r);
    rep_ticket ticket = {0};
    CHECK_EQ(put_for(r.source, chunk + 1, 3, PAST, &ticket), 0);
    CHECK_EQ(ticket.count, 0);
    remote_free(&r);
}

/* INV-6: two volumes of one group and one host that writes to both in turn. The second volume's row
 * would have room for its write, but nothing goes out behind what the first one has left out. */
static void all_volumes_of_a_group_leave_at_one_point(void)
{
    remote r = ahead_new(REP_ACK_QUEUED);
    vol source = vol_new(r.trees[0], SIZE);
    vol target = vol_new(r.trees[1], SIZE);
    rep_link *row = link_new(source, 0);
    rep_link *mirror_row = link_new(target, 0);
    CHECK_EQ(rep_apply_bind(r.apply, 2, mirror_row), 0);
    rep_link_set_congestion(row, REP_CONGESTION_PULL_AHEAD);
    CHECK_EQ(rep_link_ship_clean(row, r.stream, 2, REP_ACK_RECEIVED), 0);
    uint64_t chunk = 0;
    do {
        CHECK_EQ(try_put(r.source, chunk, 1), 0);
        CHECK_EQ(try_put(source, chunk, 1), 0);
        chunk++;
    } while (!info_of(r.row).broken);
    CHECK_EQ(info_of(row).broken, -EXFULL);
    pump(r.stream, r.apply);
    CHECK_EQ(try_put(source, chunk, 1), 0); /* there is room again; it has left all the same */
    pump(r.stream, r.apply);
    uint64_t first = 0;
    uint64_t second = 0;
    while (chunk_byte(r.target, first) == 1)
        first++;
    while (chunk_byte(target, second) == 1)
        second++;
    CHECK(first == second || first == second + 1);
    CHECK(first > 0 && first < chunk);
    rep_link_free(row);
    rep_apply_unbind(r.apply, 2);
    rep_link_free(mirror_row);
    vol_free(source);
    vol_free(target);
    remote_free(&r);
}

static void a_row_of_the_group_that_is_still_copied_stays_in_the_stream(void)
{
    remote r = ahead_new(REP_ACK_QUEUED);
    vol source = vol_new(r.trees[0], SIZE);
    rep_link *row = link_new(source, 0);
    CHECK_EQ(rep_bitmap_set(rep_link_pending(row), 0, 1), 0);
    CHECK_EQ(rep_link_ship(row, r.stream, 2, REP_ACK_QUEUED), 0);
    (void)fill(&r);
    CHECK_EQ(info_of(row).broken, 0);
    rep_link_free(row);
    vol_free(source);
    remote_free(&r);
}

static void during_a_copy_a_write_without_room_is_left_to_the_copier(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    rep_link_set_congestion(r.row, REP_CONGESTION_PULL_AHEAD);
    CHECK_EQ(rep_stream_reserve(r.stream, CAPACITY), 0);
    CHECK_EQ(try_put(r.source, 3, 9), 0);
    CHECK(is_pending(r.row, 3));
    CHECK_EQ(info_of(r.row).broken, 0);
    rep_stream_unreserve(r.stream, CAPACITY);
    CHECK_EQ(rep_link_follow(r.row), -EBUSY); /* its copy isn't at its end */
    CHECK_EQ(copy_all(r.row), 0);
    CHECK_EQ(rep_link_follow(r.row), 0);
    pump_durable(r.stream, r.apply);
    CHECK(volumes_equal(r.source, r.target));
    CHECK_EQ(cover_count(r.row), 0);
    remote_free(&r);
}

static void a_copy_leaves_half_of_the_room_to_hosts(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    CHECK_EQ(put_bytes(r.source, 0, CAPACITY / 2, 5), 0);
    pump(r.stream, r.apply);
    CHECK_EQ(rep_link_mark(r.row), 0);
    rep_bitmap_fill(rep_link_pending(r.row));
    CHECK_EQ(rep_link_ship(r.row, r.stream, 1, REP_ACK_QUEUED), 0);
    rep_copier *copier;
    rep_copy_progress progress = {0};
    CHECK_EQ(rep_copier_new(r.row, 1, &copier), 0);
    CHECK_EQ(rep_copier_run(copier, 0, UINT64_MAX, PAST, NULL, &progress), -ETIMEDOUT);
    CHECK(stream_info(r.stream).queued_bytes <= CAPACITY / 2);
    CHECK_EQ(rep_stream_reserve(r.stream, CAPACITY / 2), 0);
    /* But it isn't starved by them: after a while it takes what it can get. */
    rep_stream_unreserve(r.stream, CAPACITY / 4 + (64ULL << 10));
    uint64_t before = progress.copied_bytes;
    uint64_t soon = rep_now_ns() + 10000000000ULL;
    CHECK_EQ(rep_copier_run(copier, 0, 1, soon, NULL, &progress), 1);
    CHECK(progress.copied_bytes > before);
    rep_copier_free(copier);
    remote_free(&r);
}

static void blocked_writers_wait_and_can_give_the_stream_up(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    CHECK_EQ(rep_link_follow(r.row), 0);
    CHECK_EQ(rep_stream_reserve(r.stream, CAPACITY), 0);
    rep_ticket ticket = {0};
    CHECK_EQ(put_for(r.source, 0, 1, PAST, &ticket), -ETIMEDOUT);
    CHECK_EQ(chunk_byte(r.source, 0), 0);
    CHECK(ticket.full == r.stream);
    CHECK(stream_info(r.stream).full_ns > 0);
    CHECK_EQ(rep_ticket_give_up_room(&ticket), 1);
    CHECK_EQ(info_of(r.row).broken, -ETIMEDOUT);
    CHECK_EQ(put_for(r.source, 0, 1, PAST, &ticket), 0);
    CHECK(is_pending(r.row, 0));
    CHECK_EQ(rep_ticket_give_up_room(&ticket), 0); /* it waited for nothing */
    remote_free(&r);
}

static void a_newer_connection_is_not_given_up_for_the_old_ones_sake(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    CHECK_EQ(rep_stream_reserve(r.stream, CAPACITY), 0);
    rep_ticket ticket = {0};
    CHECK_EQ(put_for(r.source, 0, 1, PAST, &ticket), -ETIMEDOUT);
    rep_stream_break(r.stream, -EPIPE);
    remote_reopen(&r);
    CHECK_EQ(rep_ticket_give_up_room(&ticket), 1);
    CHECK(stream_info(r.stream).open);
    rep_stream_unreserve(r.stream, CAPACITY);
    remote_free(&r);
}

typedef struct host {
    const remote *remote;
    uint64_t seed;
    int result;
} host;

static void *write_on(void *argument)
{
    host *h = argument;
    for (int i = 0; i < 3000 && !h->result; i++)
        h->result = put_chunk(h->remote->source, check_below(&h->seed, CHUNKS), i);
    return NULL;
}

/* What there is room for. */
static int copy_some(rep_link *link)
{
    rep_copier *copier;
    rep_copy_progress progress = {0};
    CHECK_EQ(rep_copier_new(link, 1, &copier), 0);
    int rc = rep_copier_run(copier, 0, UINT64_MAX, PAST, NULL, &progress);
    rep_copier_free(copier);
    return rc;
}

/* Hosts that write on, the group ahead again and again, copies between: nothing is ever lost. */
static void hosts_never_wait_and_every_difference_is_covered(void)
{
    remote r = ahead_new(REP_ACK_QUEUED);
    host hosts[2] = {{.remote = &r, .seed = 3}, {.remote = &r, .seed = 4}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        threads[i] = thread_start(write_on, &hosts[i]);
    for (int round = 0; round < 30; round++) {
        pump(r.stream, r.apply);
        if (info_of(r.row).broken) {
            CHECK_EQ(rep_link_mark(r.row), 0);
            CHECK_EQ(rep_link_ship(r.row, r.stream, 1, REP_ACK_QUEUED), 0);
        }
        (void)copy_some(r.row);
        (void)rep_link_follow(r.row);
    }
    for (int i = 0; i < 2; i++) {
        thread_join(threads[i]);
        CHECK_EQ(hosts[i].result, 0);
    }
    rep_bitmap *cover = cover_of(r.row);
    pump(r.stream, r.apply);
    for (uint64_t chunk = 0; chunk < CHUNKS; chunk++)
        CHECK(chunks_equal(r.source, r.target, chunk) || rep_bitmap_test(cover, chunk) == 1);
    rep_bitmap_free(cover);
    CHECK_EQ(rep_link_mark(r.row), 0);
    CHECK_EQ(rep_link_ship(r.row, r.stream, 1, REP_ACK_QUEUED), 0);
    while (copy_some(r.row) || rep_link_follow(r.row))
        pump(r.stream, r.apply);
    pump_durable(r.stream, r.apply);
    CHECK(volumes_equal(r.source, r.target));
    CHECK_EQ(cover_count(r.row), 0);
    remote_free(&r);
}

typedef struct turns {
    const remote *remote;
    vol second;
    rep_link *second_row;
    int result;
} turns;

/* One host, two volumes, in turn: the number of a write is in it. */
static void *write_in_turn(void *argument)
{
    turns *t = argument;
    for (uint32_t number = 1; !t->result && !info_of(t->second_row).broken; number++) {
        for (int second = 0; !t->result && second < 2; second++) {
            uint64_t done;
            rep_ticket ticket = {0};
            vol to = second ? t->second : t->remote->source;
            t->result = rep_volume_pwrite(to.volume, &number, sizeof number, 0, 0, REP_NO_DEADLINE,
                                          NULL, &ticket, &done);
            if (!t->result)
                t->result = rep_ticket_wait(&ticket, REP_NO_DEADLINE, NULL);
        }
    }
    return NULL;
}

static uint32_t number_in(vol v)
{
    uint32_t number = 0;
    CHECK_EQ(rep_io_pread(v.disk->faulty, &number, sizeof number, 0), 0);
    return number;
}

/* Whatever the acknowledgement points of the group's members. INV-6. */
static void after_a_cut_at_any_moment_the_group_is_at_one_point(void)
{
    uint64_t seed = 11;
    for (int round = 0; round < 40; round++) {
        remote r = remote_new(SIZE, round % 3 ? REP_ACK_QUEUED : REP_ACK_RECEIVED);
        turns t = {.remote = &r, .second = vol_new(r.trees[0], SIZE)};
        vol target = vol_new(r.trees[1], SIZE);
        t.second_row = link_new(t.second, 0);
        rep_link *mirror_row = link_new(target, 0);
        CHECK_EQ(rep_apply_bind(r.apply, 2, mirror_row), 0);
        int ack = round % 2 ? REP_ACK_QUEUED : REP_ACK_DURABLE;
        CHECK_EQ(rep_link_ship_clean(t.second_row, r.stream, 2, ack), 0);
        pthread_t thread = thread_start(write_in_turn, &t);
        for (uint64_t left = 1 + check_below(&seed, 20); left;) {
            if (carry(r.stream, r.apply)) {
                sched_yield(); /* nothing yet */
                continue;
            }
            rep_apply_info info = apply_info(r.apply);
            CHECK_EQ(rep_stream_ack(r.stream, info.attempt, info.applied, info.durable), 0);
            left--;
        }
        rep_stream_break(r.stream, -EPIPE);
        thread_join(thread);
        CHECK_EQ(t.result, 0);
        uint32_t first = number_in(r.target);
        uint32_t second = number_in(target);
        CHECK(first == second || first == second + 1);
        CHECK(first > 0 && first <= number_in(r.source));
        rep_link_free(t.second_row);
        rep_apply_unbind(r.apply, 2);
        rep_link_free(mirror_row);
        vol_free(t.second);
        vol_free(target);
        remote_free(&r);
    }
}

int main(void)
{
    RUN(a_write_that_finds_no_room_goes_on_and_the_group_pulls_ahead);
    RUN(a_synchronous_write_that_pulls_ahead_waits_for_nobody);
    RUN(all_volumes_of_a_group_leave_at_one_point);
    RUN(a_row_of_the_group_that_is_still_copied_stays_in_the_stream);
    RUN(during_a_copy_a_write_without_room_is_left_to_the_copier);
    RUN(a_copy_leaves_half_of_the_room_to_hosts);
    RUN(blocked_writers_wait_and_can_give_the_stream_up);
    RUN(a_newer_connection_is_not_given_up_for_the_old_ones_sake);
    RUN(hosts_never_wait_and_every_difference_is_covered);
    RUN(after_a_cut_at_any_moment_the_group_is_at_one_point);
    return 0;
}
