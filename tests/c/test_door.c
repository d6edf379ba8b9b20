#include "rep_door.h"

#include "rig.h"

#define SIZE (512 * CHUNK)

typedef struct room {
    rep_tree *tree;
    vol v105;
    rep_link *row;
    rep_door *door;
} room;

static room room_new(void)
{
    room r = {.tree = tree_new(1)};
    r.v105 = vol_new(r.tree, SIZE);
    r.row = link_new(r.v105, 1);
    CHECK_OK(rep_link_mark(r.row));
    CHECK_OK(rep_door_new(r.v105.volume, &r.door));
    return r;
}

static void room_free(room *r)
{
    rep_link_free(r->row);
    vol_free(r->v105);
    rep_tree_free(r->tree);
    rep_door_free(r->door);
}

static int put_at_once(const room *r, uint64_t chunk, uint64_t count, int byte)
{
    uint8_t *buffer = malloc(count * CHUNK);
    CHECK(buffer);
    memset(buffer, byte, count * CHUNK);
    int rc = rep_door_pwrite(r->door, buffer, count * CHUNK, chunk * CHUNK, 0);
    free(buffer);
    return rc;
}

static void a_write_through_the_door_is_marked_and_read_back(void)
{
    room r = room_new();
    uint8_t byte;
    CHECK_OK(put_at_once(&r, 3, 2, 7));
    CHECK_OK(rep_door_pread(r.door, &byte, 1, 4 * CHUNK));
    CHECK_EQ(byte, 7);
    CHECK_EQ(cover_count(r.row), 2);
    CHECK(is_covered(r.row, 3) && is_covered(r.row, 4));
    room_free(&r);
}

static void a_write_past_the_end_or_into_a_fence_is_refused(void)
{
    room r = room_new();
    CHECK_ERRNO(put_at_once(&r, SIZE / CHUNK, 1, 7), ERANGE);
    CHECK_OK(rep_volume_fence(r.v105.volume, REP_FENCE_WRITES, REP_NO_DEADLINE, NULL));
    CHECK_ERRNO(put_at_once(&r, 0, 1, 7), REP_FENCED_ROLE);
    CHECK_OK(rep_volume_fence(r.v105.volume, REP_FENCE_NONE, REP_NO_DEADLINE, NULL));
    CHECK_OK(rep_volume_lease(r.v105.volume, 5, REP_NO_DEADLINE, NULL));
    CHECK_ERRNO(put_at_once(&r, 0, 1, 7), REP_FENCED_LEASE);
    CHECK_EQ(cover_count(r.row), 0);
    room_free(&r);
}

static void a_shut_door_lets_nobody_in_until_it_is_opened(void)
{
    room r = room_new();
    uint8_t byte;
    CHECK_OK(rep_door_shut(r.door, PAST));
    CHECK_ERRNO(rep_door_enter(r.door), ECANCELED);
    CHECK_ERRNO(put_at_once(&r, 0, 1, 7), ECANCELED);
    CHECK_ERRNO(rep_door_pread(r.door, &byte, 1, 0), ECANCELED);
    CHECK_EQ(byte_at(r.v105, 0), 0);
    rep_door_open(r.door);
    CHECK_OK(put_at_once(&r, 0, 1, 7));
    room_free(&r);
}

static void a_door_outlives_its_volume(void)
{
    room r = room_new();
    CHECK_OK(rep_door_shut(r.door, PAST));
    rep_link_free(r.row);
    vol_free(r.v105);
    rep_tree_free(r.tree);
    CHECK_ERRNO(put_at_once(&r, 0, 1, 7), ECANCELED);
    rep_door_free(r.door);
}

static void whoever_is_inside_is_waited_for(void)
{
    room r = room_new();
    CHECK_OK(rep_door_enter(r.door));
    CHECK_ERRNO(rep_door_shut(r.door, PAST), ETIMEDOUT);
    rep_door_leave(r.door);
    CHECK_OK(rep_door_shut(r.door, PAST));
    room_free(&r);
}

typedef struct closing {
    room *room;
    _Atomic int refused;
} closing;

static void *write_until_shut(void *argument)
{
    closing *c = argument;
    int rc;
    do
        rc = put_at_once(c->room, 1, 1, 9);
    while (!rc || rc == -EAGAIN);
    CHECK_ERRNO(rc, ECANCELED);
    atomic_fetch_add(&c->refused, 1);
    return NULL;
}

static void a_volume_is_freed_beside_writers_once_its_door_is_shut(void)
{
    for (int round = 0; round < 50; round++) {
        room r = room_new();
        closing c = {.room = &r};
        pthread_t threads[3];
        for (int i = 0; i < 3; i++)
            CHECK_OK(pthread_create(&threads[i], NULL, write_until_shut, &c));
        CHECK_OK(rep_door_shut(r.door, REP_NO_DEADLINE));
        rep_link_free(r.row);
        vol_free(r.v105);
        rep_tree_free(r.tree);
        for (int i = 0; i < 3; i++)
            CHECK_OK(pthread_join(threads[i], NULL));
        CHECK_EQ(atomic_load(&c.refused), 3);
        rep_door_free(r.door);
    }
}

static void *leave(void *door)
{
    rep_door_leave(door);
    return NULL;
}

/* In C nobody else may hold it: who shuts it frees it at once. */
static void a_door_is_freed_as_soon_as_the_last_one_is_counted_out(void)
{
    room r = room_new();
    for (int round = 0; round < 300; round++) {
        rep_door *door;
        pthread_t threads[2];
        CHECK_OK(rep_door_new(r.v105.volume, &door));
        for (int i = 0; i < 2; i++)
            CHECK_OK(rep_door_enter(door));
        for (int i = 0; i < 2; i++)
            CHECK_OK(pthread_create(&threads[i], NULL, leave, door));
        CHECK_OK(rep_door_shut(door, REP_NO_DEADLINE));
        rep_door_free(door);
        for (int i = 0; i < 2; i++)
            CHECK_OK(pthread_join(threads[i], NULL));
    }
    room_free(&r);
}

static void a_write_that_would_wait_at_the_gate_or_for_a_range_is_left_to_the_caller(void)
{
    room r = room_new();
    _Atomic(rep_tree *) where = r.tree;
    rep_pass pass;
    rep_tree *tree = r.tree;
    CHECK_OK(rep_tree_enter(&where, &pass, 2 * CHUNK, CHUNK, PAST, NULL));
    CHECK_ERRNO(put_at_once(&r, 2, 1, 7), EAGAIN);
    CHECK_OK(put_at_once(&r, 3, 1, 7));
    rep_tree_exit(&pass);
    CHECK_EQ(rep_tree_close_all(&tree, 1, PAST, NULL), 1);
    CHECK_ERRNO(put_at_once(&r, 2, 1, 7), EAGAIN);
    rep_tree_open_all(&tree, 1);
    CHECK_EQ(cover_count(r.row), 1);
    CHECK_ERRNO(put_at_once(&r, 0, REP_PIECE_BYTES / CHUNK + 1, 7), EAGAIN);
    CHECK_EQ(byte_at(r.v105, 0), 0);
    room_free(&r);
}

static void a_write_that_a_peer_has_to_acknowledge_is_left_to_the_caller(void)
{
    room r = room_new();
    rep_stream *stream = stream_new();
    rep_link *row = link_new(r.v105, 0);
    CHECK_OK(rep_link_ship(row, stream, 1, REP_ACK_QUEUED));
    CHECK_OK(put_at_once(&r, 1, 1, 7));
    CHECK_EQ(stream_info(stream).last, 1);
    CHECK_OK(rep_link_ship(row, stream, 1, REP_ACK_RECEIVED));
    CHECK_ERRNO(put_at_once(&r, 2, 1, 7), EAGAIN);
    CHECK_EQ(stream_info(stream).last, 1);
    CHECK_EQ(byte_at(r.v105, 2 * CHUNK), 0);
    rep_link_free(row);
    rep_stream_free(stream);
    room_free(&r);
}

static void a_devices_own_time_out_is_an_error_and_no_wait(void)
{
    room r = room_new();
    rep_volatile_fail_after(r.v105.disk->faulty, 0, -ETIMEDOUT);
    CHECK_ERRNO(put_at_once(&r, 2, 1, 7), EIO);
    CHECK_ERRNO(put_chunk(r.v105, 3, 7), EIO);
    CHECK(is_covered(r.row, 2) && is_covered(r.row, 3));
    room_free(&r);
}

static void a_flush_names_the_mirrors_that_have_to_be_waited_for(void)
{
    room r = room_new();
    rep_ticket ticket = {.count = 3, .unmirrored = 1, .awaited = 1};
    CHECK_OK(put_at_once(&r, 1, 1, 7));
    CHECK_OK(rep_door_flush(r.door, &ticket));
    CHECK_EQ(ticket.count, 0);
    rep_stream *stream = stream_new();
    rep_link *row = link_new(r.v105, 0);
    CHECK_OK(rep_link_ship(row, stream, 1, REP_ACK_DURABLE));
    CHECK_OK(rep_door_flush(r.door, &ticket));
    CHECK_EQ(ticket.count, 0);
    CHECK_OK(put_chunk(r.v105, 1, 7));
    CHECK_ERRNO(rep_door_flush(r.door, &ticket), EINPROGRESS);
    CHECK_EQ(ticket.count, 1);
    CHECK_OK(rep_door_shut(r.door, REP_NO_DEADLINE));
    CHECK_ERRNO(rep_door_flush(r.door, &ticket), ECANCELED);
    CHECK_EQ(ticket.count, 0);
    rep_link_free(row);
    rep_stream_free(stream);
    room_free(&r);
}

static void a_failed_flush_is_told_through_the_door_and_all_is_pending(void)
{
    room r = room_new();
    rep_ticket ticket;
    rep_volatile_fail_after(r.v105.disk->faulty, 0, -EIO);
    CHECK_ERRNO(rep_door_flush(r.door, &ticket), EIO);
    CHECK_EQ(cover_count(r.row), SIZE / CHUNK);
    room_free(&r);
}

int main(void)
{
    RUN(a_write_through_the_door_is_marked_and_read_back);
    RUN(a_write_past_the_end_or_into_a_fence_is_refused);
    RUN(a_shut_door_lets_nobody_in_until_it_is_opened);
    RUN(a_door_outlives_its_volume);
    RUN(whoever_is_inside_is_waited_for);
    RUN(a_volume_is_freed_beside_writers_once_its_door_is_shut);
    RUN(a_door_is_freed_as_soon_as_the_last_one_is_counted_out);
    RUN(a_write_that_would_wait_at_the_gate_or_for_a_range_is_left_to_the_caller);
    RUN(a_write_that_a_peer_has_to_acknowledge_is_left_to_the_caller);
    RUN(a_devices_own_time_out_is_an_error_and_no_wait);
    RUN(a_flush_names_the_mirrors_that_have_to_be_waited_for);
    RUN(a_failed_flush_is_told_through_the_door_and_all_is_pending);
    return 0;
}
