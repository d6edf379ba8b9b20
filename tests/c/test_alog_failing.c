/* The activity log fails, and begins again: who may do what meanwhile, and what is told afterwards. */
#include "alog_rig.h"

/* With every slot taken. */
static plant *running(void)
{
    plant *p = plant_running();
    for (uint64_t r = 0; r < SLOTS; r++)
        CHECK_OK(plant_write(p, r * REGION, CHUNK, 1));
    return p;
}

static void fail_log(plant *p, int error)
{
    rep_volatile_fail_after(p->log_store->disk, 0, error);
}

/* As the watch does it. */
static int begin_again(plant *p)
{
    fail_log(p, 0);
    int rc = rep_alog_begin(p->log, p->volume);
    for (int i = 0; !rc && i < ROWS; i++)
        rc = rep_link_save(p->links[i]);
    return rc;
}

static void check_after_a_loss(plant *p, uint64_t seed)
{
    plant_crash(p, seed);
    plant_free(p);
}

static void what_was_written_without_the_log_is_durable_before_it_begins_again(void)
{
    plant *p = running();
    fail_log(p, -EIO);
    CHECK_OK(plant_write(p, 5 * REGION, CHUNK, 2));
    CHECK_OK(plant_write(p, 6 * REGION, CHUNK, 3)); /* in no region */
    CHECK_OK(rep_link_settle(p->links[0]));         /* the mirror has it, durably */
    CHECK_OK(begin_again(p));
    CHECK_EQ(rep_bitmap_file_marked_logged(p->rows[0]), 1);
    check_after_a_loss(p, 4);
}

static void a_volume_that_cannot_be_flushed_keeps_its_log_from_beginning_again(void)
{
    plant *p = running();
    fail_log(p, -EIO);
    CHECK_OK(plant_write(p, 5 * REGION, CHUNK, 2));
    rep_volatile_fail_after(p->source->disk, 0, -EIO);
    CHECK_ERRNO(begin_again(p), EIO);
    CHECK_EQ(plant_info(p).state, REP_ALOG_BYPASSED);
    for (int i = 0; i < ROWS; i++) {
        CHECK_EQ(rep_bitmap_file_marked_open(p->rows[i]), 1);
        CHECK_EQ(rep_bitmap_count(rep_link_pending(p->links[i])), CHUNKS);
    }
    rep_volatile_fail_after(p->source->disk, 0, 0);
    CHECK_OK(begin_again(p));
    check_after_a_loss(p, 4);
}

/* What runs at the next write to a store, once. */
static plant *present;

static void try_to_get_in(store *s)
{
    (void)s;
    CHECK_ERRNO(rep_alog_take(present->log, 5, 6), EAGAIN);
}

static void nobody_gets_into_a_region_whose_transaction_failed_before_the_open_marks_are_there(void)
{
    plant *p = present = running();
    fail_log(p, -EIO);
    p->files[0]->before_pwrite = try_to_get_in;
    CHECK_OK(plant_write(p, 5 * REGION, CHUNK, 2));
    CHECK(!p->files[0]->before_pwrite);
    CHECK_EQ(plant_info(p).state, REP_ALOG_BYPASSED);
    CHECK_OK(begin_again(p));
    CHECK_OK(plant_write(p, 5 * REGION, CHUNK, 3));
    check_after_a_loss(p, 4);
}

static void the_same_while_the_open_marks_fail_too(void)
{
    plant *p = running();
    fail_log(p, -EIO);
    rep_volatile_fail_after(p->files[1]->disk, 0, -ENOSPC);
    CHECK_ERRNO(plant_write(p, 5 * REGION, CHUNK, 2), ENOSPC);
    /* A writer that looked at the state before it changed. */
    atomic_store(&p->log->state, REP_ALOG_WORKING);
    CHECK_ERRNO(rep_alog_take(p->log, 5, 6), EAGAIN);
    atomic_store(&p->log->state, REP_ALOG_FAILED);
    rep_volatile_fail_after(p->files[1]->disk, 0, 0);
    CHECK_OK(begin_again(p));
    CHECK_OK(plant_write(p, 5 * REGION, CHUNK, 3));
    check_after_a_loss(p, 4);
}

/* Regions and rows that need several blocks: 64 MiB in chunks of 4 KiB, 2 KiB a row. */
#define WIDE (64ULL << 20)
#define WIDE_REGIONS 8ULL
#define WIDE_CHUNKS (WIDE_REGIONS * WIDE / CHUNK)
#define WIDE_ROWS 40

typedef struct wide {
    rep_io *disk;
    rep_io *log_memory;
    rep_io *log_io;
    rep_tree *tree;
    rep_volume *volume;
    rep_alog *log;
    rep_io *pages[WIDE_ROWS];
    rep_bitmap_file *files[WIDE_ROWS];
    rep_link *links[WIDE_ROWS];
} wide;

static rep_alog_shape wide_shape(void)
{
    return (rep_alog_shape){
        .size_bytes = WIDE_REGIONS * WIDE, .region_bytes = WIDE, .slot_count = SLOTS};
}

static wide *wide_running(void)
{
    rep_alog_shape shape = wide_shape();
    wide *w = calloc(1, sizeof *w);
    CHECK(w);
    CHECK_OK(rep_io_memory_new(shape.size_bytes, &w->disk));
    CHECK_OK(rep_io_memory_new(rep_alog_bytes(&shape), &w->log_memory));
    CHECK_OK(rep_volatile_new(w->log_memory, &w->log_io));
    CHECK_OK(rep_alog_format(w->log_io, &shape));
    CHECK_OK(rep_alog_open(w->log_io, &shape, &w->log));
    w->tree = tree_new(1);
    CHECK_OK(rep_volume_new(w->disk, w->tree, &w->volume));
    CHECK_OK(rep_alog_begin(w->log, w->volume));
    for (int i = 0; i < WIDE_ROWS; i++) {
        rep_bitmap_key key = {.bit_count = WIDE_CHUNKS, .chunk_bytes = CHUNK, .data_id = 1};
        memset(key.row_id, i + 1, sizeof key.row_id);
        CHECK_OK(rep_io_memory_new(rep_bitmap_file_bytes(&key), &w->pages[i]));
        CHECK_OK(rep_bitmap_file_create_on(w->pages[i], &key, 0, &w->files[i]));
        CHECK_OK(rep_link_new(w->volume, CHUNK, 1, &w->links[i]));
        CHECK_OK(rep_link_keep(w->links[i], w->files[i], key.row_id));
        CHECK_OK(rep_link_mark(w->links[i]));
    }
    return w;
}

static void wide_stop(wide *w)
{
    for (int i = 0; i < WIDE_ROWS; i++)
        rep_link_free(w->links[i]);
    rep_volume_free(w->volume);
    rep_alog_free(w->log);
    for (int i = 0; i < WIDE_ROWS; i++) {
        rep_bitmap_file_free(w->files[i]);
        rep_io_free(w->pages[i]);
    }
    rep_tree_free(w->tree);
    rep_io_free(w->disk);
}

static void wide_free(wide *w)
{
    rep_io_free(w->log_io);
    rep_io_free(w->log_memory);
    free(w);
}

static void wide_write(wide *w, uint64_t offset, uint64_t length)
{
    vol v = {.volume = w->volume};
    CHECK_OK(put_bytes(v, offset, length, 1));
}

/* Whether the first chunks of both regions below the hot ones are found in a row. */
static void wide_check(wide *w, int row, uint64_t first, uint64_t end)
{
    rep_alog_shape shape = wide_shape();
    uint8_t row_id[16];
    rep_alog *log;
    rep_bitmap *bits;
    memset(row_id, row + 1, sizeof row_id);
    CHECK_OK(rep_bitmap_new(WIDE_CHUNKS, &bits));
    CHECK_OK(rep_alog_open(w->log_io, &shape, &log));
    CHECK_OK(rep_alog_replay(log, row_id, CHUNK, bits));
    for (uint64_t r = first; r < end; r++)
        CHECK_EQ(rep_bitmap_test(bits, r * (WIDE / CHUNK)), 1);
    rep_alog_free(log);
    rep_bitmap_free(bits);
}

static void what_is_too_much_for_one_transaction_goes_into_several(void)
{
    wide *w = wide_running();
    for (uint64_t r = 0; r < SLOTS; r++)
        wide_write(w, r * WIDE, CHUNK);
    rep_alog_info before;
    rep_alog_info after;
    rep_alog_info_get(w->log, &before);
    /* Two regions come, two leave, each with 2 KiB for each of 40 rows: a block holds one. */
    wide_write(w, (SLOTS + 1) * WIDE - CHUNK, 2 * CHUNK);
    rep_alog_info_get(w->log, &after);
    CHECK_EQ(after.state, REP_ALOG_WORKING);
    CHECK_EQ(after.admissions - before.admissions, 2);
    CHECK_EQ(after.transactions - before.transactions, 2);
    wide_stop(w);
    for (int i = 0; i < WIDE_ROWS; i++)
        wide_check(w, i, 0, SLOTS + 2);
    wide_free(w);
}

static void one_of_several_transactions_that_is_lost_leaves_what_the_others_said(void)
{
    for (uint64_t good = 0; good < 5; good++) {
        wide *w = wide_running();
        for (uint64_t r = 0; r < SLOTS; r++)
            wide_write(w, r * WIDE, CHUNK);
        CHECK_OK(rep_io_flush(w->log_io));
        rep_volatile_fail_after(w->log_io, good, -EIO);
        wide_write(w, (SLOTS + 1) * WIDE - CHUNK, 2 * CHUNK);
        wide_stop(w);
        rep_volatile_fail_after(w->log_io, 0, 0);
        CHECK_OK(rep_volatile_lose(w->log_io, good, 0, 0));
        for (int i = 0; i < WIDE_ROWS; i++)
            wide_check(w, i, 0, SLOTS);
        wide_free(w);
    }
}

static void a_long_transaction_that_failed_is_no_damage_to_what_follows(void)
{
    wide *w = wide_running();
    for (uint64_t r = 0; r < SLOTS; r++)
        wide_write(w, r * WIDE, CHUNK);
    rep_volatile_fail_after(w->log_io, 1, -EIO); /* its blocks are written, and not flushed */
    wide_write(w, SLOTS * WIDE, CHUNK);
    rep_volatile_fail_after(w->log_io, 0, 0);
    CHECK_OK(rep_alog_begin(w->log, w->volume));
    rep_alog_info info;
    rep_alog_info_get(w->log, &info);
    CHECK_EQ(info.state, REP_ALOG_WORKING);
    wide_stop(w);
    wide_check(w, 0, 1, SLOTS + 1);
    wide_free(w);
}

/* Row 1's file fails after `good` more operations while the row is saved, and the log after that. */
static void a_header_that_may_say_logged_is_written_before_it_counts_as_open(void)
{
    for (uint64_t good = 0; good < 8; good++) {
        plant *p = running();
        fail_log(p, -EIO);
        CHECK_OK(plant_write(p, 5 * REGION, CHUNK, 2));
        CHECK_EQ(plant_info(p).state, REP_ALOG_BYPASSED);
        fail_log(p, 0);
        CHECK_OK(rep_alog_begin(p->log, p->volume));
        rep_volatile_fail_after(p->files[1]->disk, good, -EIO);
        (void)rep_link_save(p->links[1]);
        fail_log(p, -EIO);
        int rc = 0;
        for (uint64_t r = 0; !rc && r < REGIONS; r++)
            rc = plant_write(p, r * REGION + 20 * CHUNK, CHUNK, 9);
        CHECK(!rc || rc == -EIO);
        plant_stop(p);
        fail_log(p, 0);
        rep_volatile_fail_after(p->files[1]->disk, 0, 0);
        /* The power goes when the disks have written all that they could. */
        for (int i = 0; i < ROWS; i++)
            CHECK_OK(rep_volatile_lose(p->files[i]->disk, 1, 1, 0));
        CHECK_OK(rep_volatile_lose(p->source->disk, 1, 1, 0));
        CHECK_OK(rep_volatile_lose(p->mirror->disk, 1, 0, 0));
        CHECK_OK(rep_volatile_lose(p->log_store->disk, 1, 1, 0));
        for (int i = 0; i < ROWS; i++)
            CHECK_EQ(plant_missed(p, i), 0);
        plant_free(p);
    }
}

/* So many slots that the log begins with ten blocks. */
#define MANY 1237U

static rep_alog_shape many_shape(void)
{
    return (rep_alog_shape){.size_bytes = SIZE, .region_bytes = REGION, .slot_count = MANY};
}

/* Opens the log, and lets it begin while the power goes: `good` operations are done before, and what
 * isn't durable is lost or torn as `seed` says. Whether the power went in time; else nothing was. */
static bool begin_torn(rep_io *log_io, rep_io *store_io, uint64_t good, uint64_t seed)
{
    rep_alog_shape shape = many_shape();
    rep_alog *log;
    rep_volume *volume;
    rep_tree *tree = tree_new(1);
    uint8_t *before = malloc(rep_alog_bytes(&shape));
    CHECK(before);
    CHECK_OK(rep_io_pread(log_io, before, rep_alog_bytes(&shape), 0));
    CHECK_OK(rep_volume_new(store_io, tree, &volume));
    CHECK_OK(rep_alog_open(log_io, &shape, &log));
    CHECK_EQ(rep_alog_past_hot(log), 3);
    rep_volatile_fail_after(log_io, good, -EIO);
    bool torn = rep_alog_begin(log, volume) != 0;
    rep_volatile_fail_after(log_io, 0, 0);
    rep_volume_free(volume);
    rep_alog_free(log);
    rep_tree_free(tree);
    CHECK_OK(rep_volatile_lose(log_io, seed, 1, 1));
    if (!torn) {
        CHECK_OK(rep_io_pwrite(log_io, before, rep_alog_bytes(&shape), 0));
        CHECK_OK(rep_io_flush(log_io));
    }
    free(before);
    return torn;
}

static void a_beginning_that_loses_power_again_and_again_costs_what_was_hot(void)
{
    rep_alog_shape shape = many_shape();
    rep_io *store_io;
    rep_io *memory;
    rep_io *log_io;
    rep_alog *log;
    rep_volume *volume;
    rep_link *row;
    rep_bitmap_file *file;
    rep_io *pages;
    rep_bitmap_key key = {
        .bit_count = shape.size_bytes / CHUNK, .chunk_bytes = CHUNK, .data_id = 1};
    CHECK_OK(rep_io_memory_new(shape.size_bytes, &store_io));
    CHECK_OK(rep_io_memory_new(rep_alog_bytes(&shape), &memory));
    CHECK_OK(rep_volatile_new(memory, &log_io));
    CHECK_OK(rep_io_memory_new(rep_bitmap_file_bytes(&key), &pages));
    CHECK_OK(rep_bitmap_file_create_on(pages, &key, 0, &file));
    CHECK_OK(rep_alog_format(log_io, &shape));
    CHECK_OK(rep_alog_open(log_io, &shape, &log));
    rep_tree *tree = tree_new(1);
    CHECK_OK(rep_volume_new(store_io, tree, &volume));
    CHECK_OK(rep_alog_begin(log, volume));
    CHECK_OK(rep_link_new(volume, CHUNK, 1, &row));
    CHECK_OK(rep_link_keep(row, file, key.row_id));
    CHECK_OK(rep_link_mark(row));
    vol v = {.volume = volume};
    for (uint64_t r = 0; r < 3; r++)
        CHECK_OK(put_bytes(v, r * REGION, CHUNK, 1));
    rep_link_free(row);
    rep_volume_free(volume);
    rep_alog_free(log);
    rep_tree_free(tree);
    int torn = 0;
    for (uint64_t seed = 0; seed < 200; seed++)
        torn += begin_torn(log_io, store_io, 1 + seed % 14, seed);
    CHECK(torn >= 30);
    CHECK_OK(rep_alog_open(log_io, &shape, &log));
    CHECK_EQ(rep_alog_past_hot(log), 3);
    rep_alog_free(log);
    rep_bitmap_file_free(file);
    rep_io_free(pages);
    rep_io_free(log_io);
    rep_io_free(memory);
    rep_io_free(store_io);
}

int main(void)
{
    RUN(what_was_written_without_the_log_is_durable_before_it_begins_again);
    RUN(a_volume_that_cannot_be_flushed_keeps_its_log_from_beginning_again);
    RUN(nobody_gets_into_a_region_whose_transaction_failed_before_the_open_marks_are_there);
    RUN(the_same_while_the_open_marks_fail_too);
    RUN(what_is_too_much_for_one_transaction_goes_into_several);
    RUN(one_of_several_transactions_that_is_lost_leaves_what_the_others_said);
    RUN(a_long_transaction_that_failed_is_no_damage_to_what_follows);
    RUN(a_header_that_may_say_logged_is_written_before_it_counts_as_open);
    RUN(a_beginning_that_loses_power_again_and_again_costs_what_was_hot);
    return 0;
}
