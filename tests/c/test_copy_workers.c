#include "copy_rig.h"

#define SIZE (16ULL << 20)
#define CHUNKS (SIZE / CHUNK)
#define WORKERS 3

typedef struct work {
    rep_copier *copier;
    int worker;
    rep_copy_progress progress;
} work;

static void *copy_in_a_thread(void *argument)
{
    work *w = argument;
    int rc;
    while ((rc = rep_copier_run(w->copier, w->worker, 1 << 20, REP_NO_DEADLINE, NULL, &w->progress))
           == 1)
        ;
    CHECK_EQ(rc, 0);
    return NULL;
}

static void several_workers_deal_every_chunk_once(void)
{
    local l = local_of(SIZE);
    work works[WORKERS] = {0};
    pthread_t threads[WORKERS];
    rep_copier *copier;
    uint64_t seed = 3;
    uint64_t copied = 0;
    CHECK_EQ(put_bytes(l.source, 0, SIZE, 1), 0);
    for (uint64_t chunk = 0; chunk < CHUNKS; chunk++)
        if (check_below(&seed, 3))
            pend(l.row, chunk, 1);
    uint64_t dirty = pending_count(l.row) * CHUNK;
    CHECK_EQ(local_forward(&l), 0);
    CHECK_EQ(rep_copier_new(l.row, WORKERS, &copier), 0);
    for (int i = 0; i < WORKERS; i++) {
        works[i] = (work){.copier = copier, .worker = i};
        threads[i] = thread_start(copy_in_a_thread, &works[i]);
    }
    for (int i = 0; i < WORKERS; i++) {
        thread_join(threads[i]);
        copied += works[i].progress.copied_bytes;
    }
    CHECK_EQ(copied, dirty);
    CHECK_EQ(l.target.disk->pwrite_bytes, dirty);
    CHECK_EQ(pending_count(l.row), 0);
    rep_copier_free(copier);
    local_free(&l);
}

static void hosts_write_while_several_workers_copy(void)
{
    local l = local_of(SIZE);
    work works[WORKERS] = {0};
    pthread_t threads[WORKERS];
    rep_copier *copier;
    uint64_t seed = 3;
    for (uint64_t chunk = 0; chunk < CHUNKS; chunk++)
        CHECK_EQ(put_chunk(l.source, chunk, (int)check_below(&seed, 3)), 0);
    pend(l.row, 0, CHUNKS);
    CHECK_EQ(local_forward(&l), 0);
    CHECK_EQ(rep_copier_new(l.row, WORKERS, &copier), 0);
    for (int i = 0; i < WORKERS; i++) {
        works[i] = (work){.copier = copier, .worker = i};
        threads[i] = thread_start(copy_in_a_thread, &works[i]);
    }
    for (uint64_t i = 0; i < 500; i++)
        CHECK_EQ(put_chunk(l.source, check_below(&seed, CHUNKS), (int)check_below(&seed, 3)), 0);
    for (int i = 0; i < WORKERS; i++)
        thread_join(threads[i]);
    CHECK_EQ(pending_count(l.row), 0);
    CHECK(volumes_equal(l.source, l.target));
    rep_copier_free(copier);
    local_free(&l);
}

static void what_failed_is_dealt_again_to_whoever_comes(void)
{
    local l = local_of(SIZE);
    rep_copier *copier;
    rep_copy_progress progress = {0};
    CHECK_EQ(put_bytes(l.source, 0, SIZE, 1), 0);
    pend(l.row, 0, 2);
    pend(l.row, CHUNKS - 1, 1);
    CHECK_EQ(local_forward(&l), 0);
    CHECK_EQ(rep_copier_new(l.row, 2, &copier), 0);
    rep_volatile_fail_reads(l.source.disk->faulty, -EIO);
    CHECK_EQ(rep_copier_run(copier, 0, UINT64_MAX, PAST, NULL, &progress), -EIO);
    rep_volatile_fail_reads(l.source.disk->faulty, 0);
    CHECK_EQ(rep_copier_run(copier, 1, UINT64_MAX, PAST, NULL, &progress), 0);
    CHECK_EQ(pending_count(l.row), 0);
    CHECK(chunks_equal(l.source, l.target, 1));
    rep_copier_free(copier);
    local_free(&l);
}

static void a_copier_needs_a_worker(void)
{
    local l = local_of(SIZE);
    rep_copier *copier;
    CHECK_EQ(rep_copier_new(l.row, 0, &copier), -EINVAL);
    local_free(&l);
}

/* In the pass that copies: a host waits for the same bytes. */
typedef struct host {
    local *l;
    pthread_t thread;
} host;

static void *write_a_chunk(void *argument)
{
    const host *h = argument;
    CHECK_EQ(put_chunk(h->l->source, 0, 2), 0);
    return NULL;
}

static void let_a_host_wait(disk *d)
{
    host *h = d->hook_data;
    rep_pass pass; /* over no bytes: tells who else is there */
    h->thread = thread_start(write_a_chunk, h);
    do {
        CHECK_EQ(rep_tree_enter(&h->l->source.volume->tree, &pass, 0, 0, REP_NO_DEADLINE, NULL), 0);
        rep_tree_exit(&pass);
    } while (pass.others < 2);
}

static void regions_entered_beside_hosts_are_counted(void)
{
    local l = local_of(SIZE);
    rep_copier *copier;
    rep_copy_progress progress = {0};
    host h = {.l = &l};
    pend(l.row, 0, 1);
    CHECK_EQ(local_forward(&l), 0);
    CHECK_EQ(rep_copier_new(l.row, 1, &copier), 0);
    l.source.disk->hook_data = &h;
    l.source.disk->before_pread = let_a_host_wait;
    CHECK_EQ(rep_copier_run(copier, 0, UINT64_MAX, REP_NO_DEADLINE, NULL, &progress), 0);
    CHECK_EQ(progress.passes, 1);
    CHECK_EQ(progress.crowded, 0);
    thread_join(h.thread);
    rep_pass pass; /* a host elsewhere in the volume */
    CHECK_EQ(rep_tree_enter(&l.source.volume->tree, &pass, SIZE - 1, 1, PAST, NULL), 0);
    pend(l.row, 0, 1);
    CHECK_EQ(rep_copier_run(copier, 0, UINT64_MAX, REP_NO_DEADLINE, NULL, &progress), 0);
    rep_tree_exit(&pass);
    CHECK_EQ(progress.passes, 2);
    CHECK_EQ(progress.crowded, 1);
    CHECK(volumes_equal(l.source, l.target));
    rep_copier_free(copier);
    local_free(&l);
}

typedef struct reader {
    rep_volume *volume;
    _Atomic bool reads;
    _Atomic bool may_end;
} reader;

static void hold_the_read(disk *d)
{
    reader *r = d->hook_data;
    atomic_store(&r->reads, true);
    while (!atomic_load(&r->may_end))
        sched_yield();
}

static void *read_a_chunk(void *data)
{
    reader *r = data;
    uint8_t buffer[CHUNK];
    CHECK_EQ(rep_volume_pread(r->volume, buffer, CHUNK, SIZE - CHUNK), 0);
    return NULL;
}

/* A region is entered while a host reads the source, then the target; then while nobody reads. */
static void regions_entered_beside_readers_are_counted(void)
{
    local l = local_of(SIZE);
    struct rep_volume *volumes[] = {l.source.volume, l.target.volume};
    disk *disks[] = {l.source.disk, l.target.disk};
    rep_copier *copier;
    rep_copy_progress progress = {0};
    CHECK_EQ(local_forward(&l), 0);
    CHECK_EQ(rep_copier_new(l.row, 1, &copier), 0);
    for (int i = 0; i < 2; i++) {
        reader r = {.volume = volumes[i]};
        disks[i]->hook_data = &r;
        disks[i]->before_pread = hold_the_read;
        pthread_t thread = thread_start(read_a_chunk, &r);
        while (!atomic_load(&r.reads))
            sched_yield();
        pend(l.row, 0, 1);
        CHECK_EQ(rep_copier_run(copier, 0, UINT64_MAX, REP_NO_DEADLINE, NULL, &progress), 0);
        CHECK_EQ(progress.crowded, (uint64_t)i + 1);
        atomic_store(&r.may_end, true);
        thread_join(thread);
    }
    pend(l.row, 0, 1);
    CHECK_EQ(rep_copier_run(copier, 0, UINT64_MAX, REP_NO_DEADLINE, NULL, &progress), 0);
    CHECK_EQ(progress.passes, 3);
    CHECK_EQ(progress.crowded, 2);
    rep_copier_free(copier);
    local_free(&l);
}

int main(void)
{
    RUN(several_workers_deal_every_chunk_once);
    RUN(hosts_write_while_several_workers_copy);
    RUN(what_failed_is_dealt_again_to_whoever_comes);
    RUN(a_copier_needs_a_worker);
    RUN(regions_entered_beside_hosts_are_counted);
    RUN(regions_entered_beside_readers_are_counted);
    return 0;
}
