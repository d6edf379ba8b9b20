/* INV-1 under load: whatever breaks and whenever, a chunk by which the two volumes of a pair differ
 * is pending or unsettled in one of the pair's rows; and a resync by that union makes them equal. */
#include <sched.h>

#include "rig.h"

#define SIZE (2ULL << 20)
#define CHUNKS (SIZE / CHUNK)
#define WRITERS 2
#define WRITES 4000 /* of each writer */

/* 105a with its remote mirror 105b and a local mirror 106a. */
typedef struct scene {
    remote r;
    vol mirror;
    rep_link *row;         /* the local pair's */
    rep_wake *wake;        /* ends the waits of those who serve the writers */
    pthread_mutex_t modes; /* changes of mode run one at a time per volume (rep_link.h) */
    _Atomic int writers_left;
    _Atomic uint64_t remote_breaks;
    _Atomic uint64_t local_breaks;
    _Atomic uint64_t settles;
} scene;

static void scene_make(scene *s)
{
    s->r = remote_new(SIZE, REP_ACK_QUEUED);
    s->mirror = vol_new(s->r.trees[0], SIZE);
    s->row = link_new(s->r.source, 1);
    CHECK_EQ(rep_link_forward(s->row, s->mirror.volume, NULL), 0);
    CHECK_EQ(rep_wake_new(&s->wake), 0);
    CHECK_EQ(pthread_mutex_init(&s->modes, NULL), 0);
    atomic_store(&s->writers_left, WRITERS);
}

static void scene_clear(scene *s)
{
    rep_link_free(s->row);
    vol_free(s->mirror);
    remote_free(&s->r);
    rep_wake_free(s->wake);
    pthread_mutex_destroy(&s->modes);
}

static bool over(scene *s)
{
    return atomic_load(&s->writers_left) == 0;
}

typedef struct worker {
    scene *s;
    uint64_t seed;
} worker;

static void write_one(scene *s, uint64_t *seed)
{
    uint8_t buffer[3 * CHUNK];
    uint64_t offset = check_below(seed, SIZE);
    uint64_t length = 1 + check_below(seed, sizeof buffer);
    rep_ticket ticket = {0};
    uint64_t done;
    length = length < SIZE - offset ? length : SIZE - offset;
    memset(buffer, (int)check_below(seed, 256), sizeof buffer);
    int rc = check_below(seed, 8) == 0
                 ? rep_volume_zero(s->r.source.volume, length, offset, 0, REP_NO_DEADLINE, NULL,
                                   &ticket, &done)
                 : rep_volume_pwrite(s->r.source.volume, buffer, length, offset, 0, REP_NO_DEADLINE,
                                     NULL, &ticket, &done);
    CHECK(rc == 0 || rc == -EIO);
}

static void *write_all(void *argument)
{
    worker *w = argument;
    for (int i = 0; i < WRITES; i++) {
        write_one(w->s, &w->seed);
        if (check_below(&w->seed, 50) == 0)
            rep_stream_barrier(w->s->r.stream);
        if (check_below(&w->seed, 500) == 0) { /* the source's disk hiccups */
            rep_volatile_fail_after(w->s->r.source.disk->faulty, 0, -EIO);
            write_one(w->s, &w->seed);
            rep_volatile_fail_after(w->s->r.source.disk->faulty, 0, 0);
        }
    }
    atomic_fetch_sub(&w->s->writers_left, 1);
    return NULL;
}

/* 0, or -EPIPE: broken again before the row was back at work. */
static int reopen_remote(scene *s)
{
    uint64_t next;
    pthread_mutex_lock(&s->modes);
    rep_stream_break(s->r.stream, -EPIPE); /* after a row's own break, too */
    uint64_t attempt = stream_info(s->r.stream).attempt + 1;
    CHECK_EQ(rep_stream_open(s->r.stream, attempt, &next), 0);
    CHECK_EQ(rep_apply_start(s->r.apply, attempt, next), 0);
    int rc = rep_link_ship(s->r.row, s->r.stream, 1, REP_ACK_QUEUED);
    pthread_mutex_unlock(&s->modes);
    atomic_fetch_add(&s->remote_breaks, 1);
    return rc;
}

/* The path: carries frames, loses some with their connection, answers late or not at all. */
static void *serve_path(void *argument)
{
    worker *w = argument;
    scene *s = w->s;
    while (!over(s)) {
        int rc = 0;
        if (check_below(&w->seed, 60) == 0 || !rep_link_works(s->r.row))
            rc = reopen_remote(s);
        CHECK(rc == 0 || rc == -EPIPE);
        rc = carry(s->r.stream, s->r.apply);
        CHECK(rc == 0 || rc == -ETIMEDOUT || rc == -EPIPE);
        rep_apply_info applied = apply_info(s->r.apply);
        if (check_below(&w->seed, 3))
            rc = rep_stream_ack(s->r.stream, applied.attempt, applied.applied, applied.durable);
        CHECK(rc == 0 || rc == -ESTALE || rc == -ETIMEDOUT || rc == -EPIPE);
    }
    return NULL;
}

static void *break_path(void *argument)
{
    worker *w = argument;
    while (!over(w->s)) {
        if (check_below(&w->seed, 2000) == 0)
            rep_stream_break(w->s->r.stream, -ECONNRESET);
        sched_yield();
    }
    return NULL;
}

static void copy_some(rep_link *link, rep_wake *wake)
{
    rep_copier *copier;
    rep_copy_progress progress = {0};
    CHECK_EQ(rep_copier_new(link, 1, &copier), 0);
    int rc = rep_copier_run(copier, 0, SIZE / 8, REP_NO_DEADLINE, wake, &progress);
    CHECK(rc >= 0 || rc == -EPIPE || rc == -ECANCELED || rc == -EIO);
    rep_copier_free(copier);
}

static void *copy_both(void *argument)
{
    scene *s = ((worker *)argument)->s;
    while (!over(s)) {
        copy_some(s->r.row, s->wake);
        copy_some(s->row, s->wake);
        sched_yield();
    }
    return NULL;
}

/* The local mirror: settles, fails now and then, is resynced. */
static void *serve_mirror(void *argument)
{
    worker *w = argument;
    scene *s = w->s;
    while (!over(s)) {
        if (check_below(&w->seed, 40) == 0)
            rep_volatile_fail_after(s->mirror.disk->faulty, check_below(&w->seed, 20), -EIO);
        if (rep_link_settle(s->row) == 0)
            atomic_fetch_add(&s->settles, 1);
        if (info_of(s->row).broken || check_below(&w->seed, 30) == 0) {
            rep_volatile_fail_after(s->mirror.disk->faulty, 0, 0);
            pthread_mutex_lock(&s->modes);
            CHECK_EQ(rep_link_forward(s->row, s->mirror.volume, NULL), 0);
            pthread_mutex_unlock(&s->modes);
            atomic_fetch_add(&s->local_breaks, 1);
        }
        sched_yield();
    }
    return NULL;
}

static rep_bitmap *union_of(rep_link *row, rep_link *mirror_row)
{
    rep_bitmap *cover = cover_of(row);
    if (mirror_row)
        CHECK_EQ(rep_link_collect(mirror_row, cover), 0);
    return cover;
}

static void check_covered(vol source, vol target, rep_link *row, rep_link *mirror_row)
{
    rep_bitmap *cover = union_of(row, mirror_row);
    for (uint64_t chunk = 0; chunk < CHUNKS; chunk++)
        CHECK(chunks_equal(source, target, chunk) || rep_bitmap_test(cover, chunk) == 1);
    rep_bitmap_free(cover);
}

/* 540, 550: the union into the row that copies. */
static void resync_remote(scene *s)
{
    rep_bitmap *both = union_of(s->r.row, s->r.mirror_row);
    CHECK_EQ(reopen_remote(s), 0);
    CHECK_EQ(rep_bitmap_or(rep_link_pending(s->r.row), both), 0);
    rep_bitmap_free(both);
    CHECK_EQ(copy_all(s->r.row), 0);
    pump_durable(s->r.stream, s->r.apply);
    CHECK_EQ(cover_count(s->r.row), 0);
    CHECK(volumes_equal(s->r.source, s->r.target));
}

static void resync_mirror(scene *s)
{
    rep_volatile_fail_after(s->mirror.disk->faulty, 0, 0);
    CHECK_EQ(rep_link_forward(s->row, s->mirror.volume, NULL), 0);
    CHECK_EQ(copy_all(s->row), 0);
    CHECK_EQ(rep_link_settle(s->row), 0);
    CHECK_EQ(cover_count(s->row), 0);
    CHECK(volumes_equal(s->r.source, s->mirror));
}

static void storm(scene *s, uint64_t seed)
{
    worker workers[WRITERS + 4];
    pthread_t threads[WRITERS + 4];
    static const thread_body bodies[] = {write_all,  write_all, serve_path,
                                         break_path, copy_both, serve_mirror};
    for (int i = 0; i < WRITERS + 4; i++) {
        workers[i] = (worker){.s = s, .seed = seed + (uint64_t)i};
        threads[i] = thread_start(bodies[i], &workers[i]);
    }
    for (int i = 0; i < WRITERS; i++)
        thread_join(threads[i]);
    rep_wake_raise(s->wake);
    for (int i = WRITERS; i < WRITERS + 4; i++)
        thread_join(threads[i]);
}

static void every_difference_is_covered_whatever_broke_and_a_resync_ends_equal(void)
{
    for (uint64_t seed = 1; seed <= 2; seed++) {
        scene s = {0};
        scene_make(&s);
        storm(&s, seed * 100);
        check_covered(s.r.source, s.r.target, s.r.row, s.r.mirror_row);
        check_covered(s.r.source, s.mirror, s.row, NULL);
        CHECK(atomic_load(&s.remote_breaks) > 0);
        CHECK(atomic_load(&s.local_breaks) > 0);
        CHECK(atomic_load(&s.settles) > 0);
        resync_remote(&s);
        resync_mirror(&s);
        scene_clear(&s);
    }
}

/* What the targets had not flushed is gone; what the cover has dropped must have been. INV-3. */
static void the_same_holds_when_the_targets_lose_power(void)
{
    for (uint64_t seed = 1; seed <= 2; seed++) {
        scene s = {0};
        scene_make(&s);
        storm(&s, seed * 1000);
        CHECK_EQ(rep_volatile_lose(s.r.target.disk->faulty, seed, 3, 1), 0);
        CHECK_EQ(rep_volatile_lose(s.mirror.disk->faulty, seed, 3, 1), 0);
        check_covered(s.r.source, s.r.target, s.r.row, NULL); /* 105b's own bits went with it */
        check_covered(s.r.source, s.mirror, s.row, NULL);
        resync_remote(&s);
        resync_mirror(&s);
        scene_clear(&s);
    }
}

int main(void)
{
    RUN(every_difference_is_covered_whatever_broke_and_a_resync_ends_equal);
    RUN(the_same_holds_when_the_targets_lose_power);
    return 0;
}
