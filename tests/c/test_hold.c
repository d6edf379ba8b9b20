/* What a write holds before it is done, where there is too much of it to hold. */
#include "alog_rig.h"

#define STREAMS (REP_ROOM_STREAMS + 1)

/* A record of the path that reaches more streams than a write may: its bytes are nowhere, and the
 * row it came through says so. */
static void a_write_through_a_row_that_cannot_be_done_is_pending_in_every_row(void)
{
    rep_tree *tree = tree_new(1);
    vol v = vol_new(tree, SIZE);
    rep_link *origin = link_new(v, 0);
    rep_stream *streams[STREAMS];
    rep_link *links[STREAMS];
    for (int i = 0; i < STREAMS; i++) {
        streams[i] = stream_new();
        links[i] = link_new(v, 0);
        CHECK_OK(rep_link_ship(links[i], streams[i], 1, REP_ACK_QUEUED));
    }
    uint8_t bytes[CHUNK] = {1};
    CHECK_ERRNO(rep_volume_write_through(v.volume, origin, REP_RECORD_DATA, 0, bytes, 3 * CHUNK,
                                         CHUNK, NULL),
                ENOBUFS);
    CHECK_EQ(rep_bitmap_test(rep_link_pending(origin), 3), 1);
    for (int i = 0; i < STREAMS; i++) {
        CHECK_EQ(rep_bitmap_test(rep_link_pending(links[i]), 3), 1);
        rep_link_free(links[i]);
        rep_stream_free(streams[i]);
    }
    rep_link_free(origin);
    vol_free(v);
    rep_tree_free(tree);
}

/* 105a has no log (there was no room for its file), 106a has one of few slots. */
static void a_large_zero_goes_in_pieces_that_fit_the_log_of_a_volume_further_down(void)
{
    plant *p = plant_new();
    rep_alog_shape shape = plant_shape();
    rep_bitmap_key key = plant_key(0);
    uint64_t done;
    rep_ticket ticket = {0};
    CHECK_OK(rep_tree_new(1, &p->tree));
    CHECK_OK(rep_volume_new(&p->source->io, p->tree, &p->volume));
    CHECK_OK(rep_volume_new(&p->mirror->io, p->tree, &p->target));
    CHECK_OK(rep_alog_open(&p->log_store->io, &shape, &p->log));
    CHECK_OK(rep_alog_begin(p->log, p->target));
    CHECK_OK(rep_bitmap_file_open_on(&p->files[0]->io, &key, &p->rows[0]));
    CHECK_OK(rep_link_new(p->target, CHUNK, 0, &p->links[0]));
    CHECK_OK(rep_link_keep(p->links[0], p->rows[0], key.row_id));
    CHECK_OK(rep_link_mark(p->links[0]));
    CHECK_OK(rep_link_new(p->volume, CHUNK, 0, &p->links[1]));
    CHECK_OK(rep_link_forward(p->links[1], p->target, NULL));
    CHECK_OK(rep_volume_zero(p->volume, SIZE, 0, 0, REP_NO_DEADLINE, NULL, &ticket, &done));
    CHECK_EQ(done, SIZE);
    CHECK_EQ(rep_bitmap_count(rep_link_pending(p->links[0])), CHUNKS);
    CHECK_EQ(plant_info(p).state, REP_ALOG_WORKING);
    plant_stop(p);
    plant_free(p);
}

int main(void)
{
    RUN(a_write_through_a_row_that_cannot_be_done_is_pending_in_every_row);
    RUN(a_large_zero_goes_in_pieces_that_fit_the_log_of_a_volume_further_down);
    return 0;
}
