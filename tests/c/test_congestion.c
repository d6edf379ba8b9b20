/* A full queue: who waits, who is marked, and the group that pulls ahead of its secondary. */
#include <sched.h>

#include "rep_door.h"
#include "rig.h"
#include "ship_parts.h"

#define SIZE (8ULL << 20)
#define CHUNKS (SIZE / CHUNK)

static int put_for(vol v, uint64_t chunk, int byte, uint64_t deadline_ns, rep_ticket *ticket)
{
    uint8_t bytes[CHUNK];
    uint64_t done;
    memset(bytes, byte, sizeof bytes);
    return rep_volume_pwrite(v.volume, bytes, CHUNK, chunk * CHUNK, 0, deadline_ns, NULL, ticket,
                             &done);
}

static int try_put(vol v, uint64_t chunk, int byte)
{
    rep_ticket ticket = {0};
    return put_for(v, chunk, byte, PAST, &ticket);
}

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

static void time_without_room_ends_when_there_is_room_again(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    CHECK_EQ(stream_info(r.stream).full_ns, 0);
    CHECK_EQ(rep_stream_reserve(r.stream, CAPACITY), 0);
    CHECK_EQ(try_put(r.source, 0, 1), -ETIMEDOUT);
    uint64_t then = stream_info(r.stream).full_ns;
    CHECK(stream_info(r.stream).full_ns > then); /* it still is */
    rep_stream_unreserve(r.stream, CAPACITY);
    uint64_t total = stream_info(r.stream).full_ns;
    CHECK_EQ(stream_info(r.stream).full_ns, total);
    remote_free(&r);
}

static void the_oldest_record_has_an_age_until_it_is_durable(void)
{
    remote r = remote_new(SIZE, REP_ACK_QUEUED);
    CHECK_EQ(stream_info(r.stream).received_lag_ns, 0);
    CHECK_EQ(put_chunk(r.source, 0, 1), 0);
    uint64_t begun = rep_now_ns();
    while (rep_now_ns() - begun < 30000000ULL) { /* three samples: of this time, not the test's */
        CHECK_EQ(put_chunk(r.source, 1, 1), 0);
        pump(r.stream, r.apply);
    }
    CHECK_EQ(stream_info(r.stream).received_lag_ns, 0);
    CHECK(stream_info(r.stream).durable_lag_ns >= 30000000ULL);
    CHECK_EQ(put_chunk(r.source, 2, 1), 0);
    rep_stream_info info = stream_info(r.stream);
    CHECK(info.received_lag_ns > 0);
    CHECK(info.received_lag_ns < info.durable_lag_ns);
    pump_durable(r.stream, r.apply);
    info = stream_info(r.stream);
    CHECK_EQ(info.received_lag_ns, 0);
    CHECK_EQ(info.durable_lag_ns, 0);
    remote_free(&r);
}

static void ages_of_a_long_backlog_stay_in_proportion(void)
{
    rep_stream *stream = stream_new();
    uint64_t now = rep_now_ns();
    pthread_mutex_lock(&stream->mutex);
    stream->age_gap_ns = 1;
    for (uint64_t number = 1; number <= 100000; number++) {
        stream->data_last = stream->last = number;
        /* As if a millisecond had passed between two. */
        for (unsigned i = 0; i < stream->age_count; i++)
            stream->ages[i].ns -= 1000000ULL;
        rep_stream_note_age(stream, number);
    }
    for (uint64_t answered = 0; answered < 100000; answered += 7777) {
        uint64_t true_ns = (100000 - answered - 1) * 1000000ULL;
        uint64_t age = rep_stream_age_ns(stream, answered);
        CHECK(age + 20000000ULL >= true_ns);
        /* What the loop itself took, on a busy machine seconds, is in the ages. */
        uint64_t took_ns = rep_now_ns() - now;
        CHECK(age <= true_ns + true_ns / 50 + 1000000000ULL + took_ns);
    }
    CHECK(stream->age_count <= AGE_SAMPLES);
    CHECK(rep_now_ns() > now);
    pthread_mutex_unlock(&stream->mutex);
    rep_stream_free(stream);
}

static void a_guarded_volume_takes_writes_only_while_its_mirror_does(void)
{
    remote r = remote_new(SIZE, REP_ACK_RECEIVED);
    CHECK_EQ(rep_link_guard(r.row, 1), 0);
    CHECK_EQ(try_put(r.source, 0, 1), 0);
    rep_stream_break(r.stream, -EPIPE);
    CHECK_EQ(try_put(r.source, 0, 2), -REP_FENCED_MIRROR);
    CHECK_EQ(chunk_byte(r.source, 0), 1);
    CHECK_EQ(rep_link_mark(r.row), 0);
    CHECK_EQ(try_put(r.source, 0, 2), -REP_FENCED_MIRROR);
    uint64_t done;
    rep_ticket ticket = {0};
    CHECK_EQ(rep_volume_zero(r.source.volume, CHUNK, 0, 0, PAST, NULL, &ticket, &done),
             -REP_FENCED_MIRROR);
    CHECK_EQ(rep_volume_trim(r.source.volume, CHUNK, 0, 0, PAST, NULL, &ticket, &done),
             -REP_FENCED_MIRROR);
    rep_door *door;
    CHECK_EQ(rep_door_new(r.source.volume, &door), 0);
    CHECK_EQ(rep_door_pwrite(door, "x", 1, 0, 0), -REP_FENCED_MIRROR);
    rep_door_free(door);
    CHECK_EQ(chunk_byte(r.source, 0), 1);
    remote_reopen(&r);
    CHECK_EQ(try_put(r.source, 0, 2), 0);
    rep_stream_break(r.stream, -EPIPE);
    CHECK_EQ(rep_link_guard(r.row, 0), 0);
    CHECK_EQ(try_put(r.source, 0, 3), 0);
    CHECK(is_pending(r.row, 0));
    remote_free(&r);
}

static void a_write_whose_answer_never_came_is_an_error_of_a_guarded_volume_alone(void)
{
    for (int guarded = 0; guarded < 2; guarded++) {
        remote r = remote_new(SIZE, REP_ACK_RECEIVED);
        CHECK_EQ(rep_link_guard(r.row, guarded), 0);
        rep_ticket ticket = {0};
        CHECK_EQ(put_for(r.source, 0, 1, PAST, &ticket), 0);
        CHECK_EQ(ticket.count, 1);
        rep_ticket late = ticket;
        rep_stream_break(r.stream, -EPIPE);
        CHECK_EQ(rep_ticket_wait(&ticket, PAST, NULL), guarded ? -REP_FENCED_MIRROR : 0);
        CHECK_EQ(rep_ticket_give_up(&late), guarded ? -REP_FENCED_MIRROR : 0);
        remote_free(&r);
    }
}

static void what_the_peer_has_and_cannot_write_is_an_error_of_a_guarded_volume_alone(void)
{
    for (int guarded = 0; guarded < 2; guarded++) {
        remote r = remote_new(SIZE, REP_ACK_RECEIVED);
        CHECK_EQ(rep_link_guard(r.row, guarded), 0);
        rep_ticket ticket = {0};
        CHECK_EQ(put_for(r.source, 0, 1, PAST, &ticket), 0);
        uint64_t number = ticket.entries[0].number;
        rep_stream_refuse(r.stream, r.row, -EIO);
        CHECK(is_pending(r.row, 0));
        r.stream->taken = number; /* the frame is at the peer, which answers */
        CHECK_EQ(rep_stream_ack(r.stream, ticket.entries[0].attempt, number, number), 0);
        CHECK_EQ(rep_ticket_wait(&ticket, PAST, NULL), guarded ? -REP_FENCED_MIRROR : 0);
        remote_free(&r);
    }
}

/* One disk below all of them failed there. */
static void refusals_of_many_pairs_at_once_are_none_of_them_forgotten(void)
{
    enum { PAIRS = 3 * REP_REFUSALS };
    rep_tree *tree = tree_new(1);
    rep_stream *stream = stream_new();
    vol volumes[PAIRS];
    rep_link *rows[PAIRS];
    rep_ticket tickets[PAIRS] = {{0}};
    for (unsigned i = 0; i < PAIRS; i++) {
        volumes[i] = vol_new(tree, SIZE);
        rows[i] = link_new(volumes[i], 0);
        CHECK_EQ(rep_link_ship(rows[i], stream, i + 1, REP_ACK_RECEIVED), 0);
        CHECK_EQ(rep_link_guard(rows[i], 1), 0);
        CHECK_EQ(put_for(volumes[i], 0, 1, PAST, &tickets[i]), 0);
    }
    stream->taken = PAIRS;
    for (unsigned i = 0; i < PAIRS; i++)
        rep_stream_refuse(stream, rows[i], -EIO);
    CHECK_EQ(rep_stream_ack(stream, 1, PAIRS, 0), 0);
    for (unsigned i = 0; i < PAIRS; i++)
        CHECK_EQ(rep_ticket_wait(&tickets[i], PAST, NULL), -REP_FENCED_MIRROR);
    for (unsigned i = 0; i < PAIRS; i++) {
        rep_link_free(rows[i]);
        vol_free(volumes[i]);
    }
    rep_stream_free(stream);
    rep_tree_free(tree);
}

/* A link that is refused again and again takes no other one's place; and who waits for a point of the
 * stream, not for a write, isn't refused. */
static void a_refusal_is_no_concern_of_pairs_that_are_well(void)
{
    remote r = remote_new(SIZE, REP_ACK_RECEIVED);
    vol other = vol_new(r.trees[0], SIZE);
    rep_link *row = link_new(other, 0);
    rep_ticket ticket = {0};
    CHECK_EQ(rep_link_ship(row, r.stream, 2, REP_ACK_RECEIVED), 0);
    CHECK_EQ(rep_link_guard(row, 1), 0);
    CHECK_EQ(put_for(other, 0, 1, PAST, &ticket), 0);
    for (unsigned i = 0; i < 2 * REP_REFUSALS; i++)
        rep_stream_refuse(r.stream, r.row, -EIO);
    r.stream->taken = 1;
    CHECK_EQ(rep_stream_ack(r.stream, 1, 1, 0), 0);
    CHECK_EQ(rep_stream_wait(r.stream, 1, REP_ACK_RECEIVED, PAST, NULL), 0);
    CHECK_EQ(rep_ticket_wait(&ticket, PAST, NULL), 0);
    rep_link_free(row);
    vol_free(other);
    remote_free(&r);
}

/* Two mirrors of one volume in one stream: the record of the second one has the higher number. */
static void a_refusal_of_one_of_two_guarded_mirrors_of_a_volume_is_the_writes_error(void)
{
    for (int first = 0; first < 2; first++) {
        remote r = remote_new(SIZE, REP_ACK_RECEIVED);
        rep_link *second = link_new(r.source, 0);
        rep_ticket ticket = {0};
        CHECK_EQ(rep_link_ship(second, r.stream, 2, REP_ACK_RECEIVED), 0);
        CHECK_EQ(rep_link_guard(r.row, 1), 0);
        CHECK_EQ(rep_link_guard(second, 1), 0);
        CHECK_EQ(put_for(r.source, 0, 1, PAST, &ticket), 0);
        rep_stream_refuse(r.stream, first ? r.row : second, -EIO);
        r.stream->taken = 2;
        CHECK_EQ(rep_stream_ack(r.stream, 1, 2, 0), 0);
        CHECK_EQ(rep_ticket_wait(&ticket, PAST, NULL), -REP_FENCED_MIRROR);
        rep_link_free(second);
        remote_free(&r);
    }
}

static void break_it(disk *d)
{
    rep_stream_break(d->hook_data, -EPIPE);
}

static void a_mirror_lost_in_the_middle_of_a_guarded_write_is_that_writes_error(void)
{
    remote r = remote_new(SIZE, REP_ACK_RECEIVED);
    CHECK_EQ(rep_link_guard(r.row, 1), 0);
    r.source.disk->hook_data = r.stream;
    r.source.disk->before_pwrite = break_it;
    CHECK_EQ(try_put(r.source, 4, 6), -REP_FENCED_MIRROR);
    CHECK(is_pending(r.row, 4)); /* INV-1: it may be on the disk */
    remote_free(&r);
}

static void a_cut_that_releases_writers_releases_no_guarded_one(void)
{
    remote r = remote_new(SIZE, REP_ACK_RECEIVED);
    CHECK_EQ(rep_link_guard(r.row, 1), 0);
    uint64_t point;
    CHECK_EQ(rep_stream_cork(r.stream, true, &point), 0);
    rep_ticket ticket = {0};
    CHECK_EQ(put_for(r.source, 0, 1, PAST, &ticket), 0);
    CHECK_EQ(rep_ticket_wait(&ticket, PAST, NULL), -ETIMEDOUT);
    rep_stream_uncork(r.stream);
    pump(r.stream, r.apply);
    CHECK_EQ(rep_ticket_wait(&ticket, PAST, NULL), 0);
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
    RUN(time_without_room_ends_when_there_is_room_again);
    RUN(the_oldest_record_has_an_age_until_it_is_durable);
    RUN(ages_of_a_long_backlog_stay_in_proportion);
    RUN(a_guarded_volume_takes_writes_only_while_its_mirror_does);
    RUN(a_write_whose_answer_never_came_is_an_error_of_a_guarded_volume_alone);
    RUN(what_the_peer_has_and_cannot_write_is_an_error_of_a_guarded_volume_alone);
    RUN(refusals_of_many_pairs_at_once_are_none_of_them_forgotten);
    RUN(a_refusal_is_no_concern_of_pairs_that_are_well);
    RUN(a_refusal_of_one_of_two_guarded_mirrors_of_a_volume_is_the_writes_error);
    RUN(a_mirror_lost_in_the_middle_of_a_guarded_write_is_that_writes_error);
    RUN(a_cut_that_releases_writers_releases_no_guarded_one);
    RUN(hosts_never_wait_and_every_difference_is_covered);
    RUN(after_a_cut_at_any_moment_the_group_is_at_one_point);
    return 0;
}
