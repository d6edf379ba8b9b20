/* alog_rig: a volume with three rows, its activity log and their files, on storage that all loses
 * power at one moment: after a given number of writes and flushes. */
#ifndef ALOG_RIG_H
#define ALOG_RIG_H

#include "alog_parts.h"
#include "rig.h"

#define REGION (1ULL << 20)
#define REGIONS 8ULL
#define SIZE (REGIONS * REGION)
#define CHUNKS (SIZE / CHUNK)
#define SLOTS 4U
#define ROWS 3

/* What the power keeps alive. */
typedef struct power {
    _Atomic uint64_t left; /* operations until it goes; UINT64_MAX: it stays */
    _Atomic uint64_t spent;
} power;

/* Storage on that power. `lies`: a flush says that it is done, and does nothing. What runs before a
 * write or flush does so once. */
typedef struct store {
    rep_io io;
    rep_io *memory;
    rep_io *disk;
    power *power;
    bool lies;
    void (*before_pwrite)(struct store *s);
    void (*before_flush)(struct store *s);
    _Atomic uint64_t flushes;
} store;

static inline void store_run(store *s, void (**hook)(store *))
{
    void (*now)(store *) = *hook;
    if (now) {
        *hook = NULL;
        now(s);
    }
}

static inline int store_spend(store *s)
{
    if (!s->power->left)
        return -EIO;
    if (s->power->left != UINT64_MAX)
        s->power->left--;
    s->power->spent++;
    return 0;
}

static inline int store_pread(rep_io *io, void *buffer, uint64_t length, uint64_t offset)
{
    return rep_io_pread(((store *)(void *)io)->disk, buffer, length, offset);
}

static inline int store_pwrite(rep_io *io, const void *buffer, uint64_t length, uint64_t offset)
{
    store *s = (store *)(void *)io;
    store_run(s, &s->before_pwrite);
    int rc = store_spend(s);
    return rc ? rc : rep_io_pwrite(s->disk, buffer, length, offset);
}

static inline int store_zero(rep_io *io, uint64_t offset, uint64_t length)
{
    store *s = (store *)(void *)io;
    int rc = store_spend(s);
    return rc ? rc : rep_io_zero(s->disk, offset, length);
}

static inline int store_flush(rep_io *io)
{
    store *s = (store *)(void *)io;
    store_run(s, &s->before_flush);
    int rc = store_spend(s);
    s->flushes++;
    return rc || s->lies ? rc : rep_io_flush(s->disk);
}

static inline void store_free(rep_io *io)
{
    store *s = (store *)(void *)io;
    rep_io_free(s->disk);
    rep_io_free(s->memory);
    free(s);
}

static inline store *store_new(uint64_t bytes, power *p)
{
    static const rep_io_ops ops = {
        .name = "store",
        .pread = store_pread,
        .pwrite = store_pwrite,
        .flush = store_flush,
        .zero = store_zero,
        .free = store_free,
    };
    store *s = calloc(1, sizeof *s);
    CHECK(s);
    CHECK_OK(rep_io_memory_new(bytes, &s->memory));
    CHECK_OK(rep_volatile_new(s->memory, &s->disk));
    s->io = (rep_io){.ops = &ops, .size_bytes = bytes};
    s->power = p;
    return s;
}

/* 105a, which is forwarded to 106a (row 0), and has a row of its own marks (1) and one of marks that
 * siblings share (2), both since it was all zeros. */
typedef struct plant {
    power power;
    store *source;
    store *mirror;
    store *log_store;
    store *files[ROWS];
    rep_tree *tree;
    rep_volume *volume;
    rep_volume *target;
    rep_alog *log;
    rep_link *links[ROWS];
    rep_bitmap_file *rows[ROWS];
} plant;

static inline rep_alog_shape plant_shape(void)
{
    rep_alog_shape shape = {.size_bytes = SIZE, .region_bytes = REGION, .slot_count = SLOTS};
    memset(shape.system_id, 0x11, sizeof shape.system_id);
    memset(shape.volume_id, 0x22, sizeof shape.volume_id);
    return shape;
}

static inline rep_bitmap_key plant_key(int row)
{
    rep_bitmap_key key = {.bit_count = CHUNKS, .chunk_bytes = CHUNK, .data_id = 1};
    memset(key.system_id, 0x11, sizeof key.system_id);
    memset(key.volume_id, 0x22, sizeof key.volume_id);
    memset(key.row_id, 0x30 + row, sizeof key.row_id);
    return key;
}

/* The storage of a plant, with an empty log and files that are marked open. */
static inline plant *plant_new(void)
{
    plant *p = calloc(1, sizeof *p);
    CHECK(p);
    p->power.left = UINT64_MAX;
    rep_alog_shape shape = plant_shape();
    p->source = store_new(SIZE, &p->power);
    p->mirror = store_new(SIZE, &p->power);
    p->log_store = store_new(rep_alog_bytes(&shape), &p->power);
    CHECK_OK(rep_alog_format(&p->log_store->io, &shape));
    for (int i = 0; i < ROWS; i++) {
        rep_bitmap_key key = plant_key(i);
        rep_bitmap_file *file;
        p->files[i] = store_new(rep_bitmap_file_bytes(&key), &p->power);
        CHECK_OK(rep_bitmap_file_create_on(&p->files[i]->io, &key, 0, &file));
        rep_bitmap_file_free(file);
    }
    return p;
}

/* The log as it is found. Of one that failed and was torn when it began again nothing can be told:
 * then the rows bear the open mark, and it is made anew. */
static inline rep_alog *plant_log(plant *p, bool *lost)
{
    rep_alog_shape shape = plant_shape();
    rep_alog *log;
    int rc = rep_alog_open(&p->log_store->io, &shape, &log);
    *lost = rc == -EBADMSG;
    if (*lost) {
        CHECK_OK(rep_alog_format(p->log_store->disk, &shape));
        rc = rep_alog_open(&p->log_store->io, &shape, &log);
    }
    CHECK_OK(rc);
    return log;
}

/* Opens everything as an engine does: the bits come from pages and log, are saved, and the log
 * begins anew. Negative errno when the power went meanwhile. */
static inline int plant_start(plant *p)
{
    int rc = 0;
    bool lost;
    p->log = plant_log(p, &lost);
    CHECK_OK(rep_tree_new(1, &p->tree));
    CHECK_OK(rep_volume_new(&p->source->io, p->tree, &p->volume));
    CHECK_OK(rep_volume_new(&p->mirror->io, p->tree, &p->target));
    for (int i = 0; i < ROWS; i++) {
        rep_bitmap_key key = plant_key(i);
        CHECK_OK(rep_bitmap_file_open_on(&p->files[i]->io, &key, &p->rows[i]));
        CHECK_OK(rep_link_new(p->volume, CHUNK, i == 2, &p->links[i]));
        rep_bitmap *bits = rep_link_pending(p->links[i]);
        int loaded = rep_bitmap_file_load(p->rows[i], bits);
        CHECK(!loaded || loaded == -EBADMSG);
        if (rep_bitmap_file_marked_open(p->rows[i]))
            rep_bitmap_fill(bits);
        else if (rep_bitmap_file_marked_logged(p->rows[i]))
            CHECK_OK(rep_alog_replay(p->log, key.row_id, CHUNK, bits));
        if (!rc)
            rc = rep_bitmap_file_save(p->rows[i], bits, NULL);
    }
    if (!rc)
        rc = rep_alog_begin(p->log, p->volume);
    for (int i = 0; !rc && i < ROWS; i++) {
        rep_bitmap_key key = plant_key(i);
        rc = rep_link_keep(p->links[i], p->rows[i], key.row_id);
        if (!rc)
            rc = i ? rep_link_mark(p->links[i]) : rep_link_forward(p->links[i], p->target, NULL);
        if (!rc)
            rc = rep_link_save(p->links[i]);
    }
    return rc;
}

static inline plant *plant_running(void)
{
    plant *p = plant_new();
    CHECK_OK(plant_start(p));
    return p;
}

/* The process ends. */
static inline void plant_stop(plant *p)
{
    for (int i = 0; i < ROWS; i++)
        rep_link_free(p->links[i]);
    rep_volume_free(p->volume);
    rep_volume_free(p->target);
    rep_alog_free(p->log);
    for (int i = 0; i < ROWS; i++)
        rep_bitmap_file_free(p->rows[i]);
    rep_tree_free(p->tree);
}

static inline void plant_free(plant *p)
{
    for (int i = 0; i < ROWS; i++)
        rep_io_free(&p->files[i]->io);
    rep_io_free(&p->log_store->io);
    rep_io_free(&p->source->io);
    rep_io_free(&p->mirror->io);
    free(p);
}

/* The power comes back: of what wasn't flushed each write is kept or lost, the last one torn. */
static inline void plant_lose(plant *p, uint64_t seed)
{
    store *all[3 + ROWS] = {p->source, p->mirror, p->log_store};
    for (int i = 0; i < ROWS; i++)
        all[3 + i] = p->files[i];
    for (int i = 0; i < 3 + ROWS; i++)
        CHECK_OK(rep_volatile_lose(all[i]->disk, seed + (uint64_t)i * 77, (unsigned)(seed % 4),
                                   (int)(seed % 2)));
    p->power.left = UINT64_MAX;
}

/* How many chunks a row would have to cover, and doesn't, by its file and the log. */
static inline uint64_t plant_missed(plant *p, int row)
{
    static uint8_t ours[REGION], theirs[REGION];
    bool lost;
    rep_alog *log = plant_log(p, &lost);
    rep_bitmap *bits;
    rep_bitmap_file *file;
    rep_bitmap_key key = plant_key(row);
    uint64_t missed = 0;
    CHECK_OK(rep_bitmap_new(CHUNKS, &bits));
    CHECK_OK(rep_bitmap_file_open_on(&p->files[row]->io, &key, &file));
    int rc = rep_bitmap_file_load(file, bits);
    CHECK(!rc || rc == -EBADMSG);
    CHECK(!lost || rep_bitmap_file_marked_open(file));
    if (rep_bitmap_file_marked_open(file))
        rep_bitmap_fill(bits);
    CHECK_OK(rep_alog_replay(log, key.row_id, CHUNK, bits));
    rep_alog_free(log);
    rep_bitmap_file_free(file);
    for (uint64_t i = 0; i < CHUNKS; i++) {
        uint64_t at = i * CHUNK % REGION;
        if (!at) {
            memset(theirs, 0, sizeof theirs);
            CHECK_OK(rep_io_pread(p->source->disk, ours, REGION, i * CHUNK));
            if (row == 0)
                CHECK_OK(rep_io_pread(p->mirror->disk, theirs, REGION, i * CHUNK));
        }
        if (memcmp(ours + at, theirs + at, CHUNK) != 0 && rep_bitmap_test(bits, i) != 1)
            missed++;
    }
    rep_bitmap_free(bits);
    return missed;
}

/* Power is lost while it runs: every difference is covered. It can be started again. */
static inline void plant_crash(plant *p, uint64_t seed)
{
    plant_stop(p);
    plant_lose(p, seed);
    for (int i = 0; i < ROWS; i++)
        CHECK_EQ(plant_missed(p, i), 0);
}

static inline rep_alog_info plant_info(plant *p)
{
    rep_alog_info info;
    rep_alog_info_get(p->log, &info);
    return info;
}

static inline int plant_write(plant *p, uint64_t offset, uint64_t length, int byte)
{
    vol v = {.volume = p->volume};
    return put_bytes(v, offset, length, byte);
}

#endif
