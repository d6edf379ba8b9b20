/* Volumes of fence level data: a write that its mirror lacks is an error. */
#include "rep_door.h"
#include "rig.h"
#include "ship_parts.h"

#define SIZE (8ULL << 20)

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

int main(void)
{
    RUN(a_guarded_volume_takes_writes_only_while_its_mirror_does);
    RUN(a_write_whose_answer_never_came_is_an_error_of_a_guarded_volume_alone);
    RUN(what_the_peer_has_and_cannot_write_is_an_error_of_a_guarded_volume_alone);
    RUN(refusals_of_many_pairs_at_once_are_none_of_them_forgotten);
    RUN(a_refusal_is_no_concern_of_pairs_that_are_well);
    RUN(a_refusal_of_one_of_two_guarded_mirrors_of_a_volume_is_the_writes_error);
    RUN(a_mirror_lost_in_the_middle_of_a_guarded_write_is_that_writes_error);
    RUN(a_cut_that_releases_writers_releases_no_guarded_one);
    return 0;
}
