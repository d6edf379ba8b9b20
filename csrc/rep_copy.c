/* Copiers and their dealing: which worker copies what. */
#include "rep_copy.h"

#include <errno.h>
#include <stdlib.h>

#include "copy_parts.h"

#define PAGE_BYTES 4096
/* Pending runs as long as this are looked at for a hole that reaches beyond the region. */
#define LONG_BYTES (8ULL << 20)
/* What a region counts at least. */
#define STEP_BYTES (64ULL << 10)

int rep_copier_new(rep_link *link, int workers, rep_copier **out)
{
    if (workers < 1)
        return -EINVAL;
    rep_copier *copier = calloc(1, sizeof *copier + (size_t)workers * sizeof copier->workers[0]);
    if (!copier)
        return -ENOMEM;
    int rc = -pthread_mutex_init(&copier->mutex, NULL);
    if (rc) {
        free(copier);
        return rc;
    }
    copier->link = link;
    copier->worker_count = workers;
    for (int i = 0; i < workers; i++) {
        copier->workers[i].buffer = aligned_alloc(PAGE_BYTES, REP_REGION_BYTES);
        if (!copier->workers[i].buffer) {
            rep_copier_free(copier);
            return -ENOMEM;
        }
    }
    *out = copier;
    return 0;
}

void rep_copier_free(rep_copier *copier)
{
    if (!copier)
        return;
    for (int i = 0; i < copier->worker_count; i++)
        free(copier->workers[i].buffer);
    pthread_mutex_destroy(&copier->mutex);
    free(copier);
}

int rep_copier_expect_blank(rep_copier *copier)
{
    rep_link *link = copier->link;
    copier->blank_left = atomic_load(&link->left_behind);
    if (rep_bitmap_count(link->pending) != rep_link_chunk_count(link))
        return -EINVAL;
    pthread_mutex_lock(&link->mutex);
    atomic_store(&copier->blank_duty, link->duty + 1);
    pthread_mutex_unlock(&link->mutex);
    return 0;
}

/* The next pending run at or after the cursor, cut at LONG_BYTES. At the end once round again, for
 * what became pending behind the cursor; not while others work: theirs is still pending. */
static bool next_run(rep_copier *copier, uint64_t *first, uint64_t *count)
{
    const rep_link *link = copier->link;
    uint64_t most = LONG_BYTES >> link->chunk_shift;
    for (;;) {
        if (rep_bitmap_next_run(link->pending, NULL, REP_BITMAP_UNION, copier->cursor, most, first,
                                count)
            == 1)
            return true;
        if (!copier->cursor || copier->busy)
            return false;
        copier->cursor = 0;
    }
}

/* Deals the next region: 1, *offset, *length. 0: nothing is left; 2: a hole is done. Under the mutex. */
static int deal(rep_copier *copier, rep_copy_worker *worker, uint64_t *offset, uint64_t *length,
                uint64_t deadline_ns, rep_wake *wake)
{
    rep_link *link = copier->link;
    uint64_t size = link->volume->io->size_bytes;
    uint64_t first;
    uint64_t count;
    if (!next_run(copier, &first, &count))
        return 0;
    *offset = first << link->chunk_shift;
    if (count << link->chunk_shift == LONG_BYTES
        && (*offset < worker->data_from || *offset >= worker->data_until)) {
        int rc = rep_copy_hole(copier, worker, first, deadline_ns, wake);
        if (rc)
            return rc < 0 ? rc : 2;
    }
    uint64_t end = (*offset & ~(REP_REGION_BYTES - 1)) + REP_REGION_BYTES;
    *length = (end < size ? end : size) - *offset;
    copier->cursor = first + rep_chunks_of(link, *offset, *length).count;
    return 1;
}

static int one_region(rep_copier *copier, rep_copy_worker *worker, uint64_t deadline_ns,
                      rep_wake *wake)
{
    uint64_t offset;
    uint64_t length;
    pthread_mutex_lock(&copier->mutex);
    int rc = deal(copier, worker, &offset, &length, deadline_ns, wake);
    if (rc == 1)
        copier->busy++;
    pthread_mutex_unlock(&copier->mutex);
    if (rc != 1)
        return rc == 2 ? 1 : rc;
    rc = rep_copy_region(copier, worker, offset, length, deadline_ns, wake);
    pthread_mutex_lock(&copier->mutex);
    copier->busy--;
    /* What wasn't copied is dealt again. */
    if (rc && offset >> copier->link->chunk_shift < copier->cursor)
        copier->cursor = offset >> copier->link->chunk_shift;
    pthread_mutex_unlock(&copier->mutex);
    return rc ? rc : 1;
}

int rep_copier_run(rep_copier *copier, int worker, uint64_t most_bytes, uint64_t deadline_ns,
                   rep_wake *wake, rep_copy_progress *progress)
{
    rep_copy_worker *self = &copier->workers[worker];
    uint64_t done = 0;
    self->progress = progress;
    while (done < most_bytes) {
        uint64_t before = progress->copied_bytes - progress->zero_bytes;
        if (wake && rep_wake_raised(wake))
            return -ECANCELED;
        if (!rep_link_works(copier->link))
            return -EPIPE;
        int rc = one_region(copier, self, deadline_ns, wake);
        if (rc != 1)
            return rc;
        /* Holes and zeros take time, too. */
        uint64_t data = progress->copied_bytes - progress->zero_bytes - before;
        done += data > STEP_BYTES ? data : STEP_BYTES;
    }
    return 1;
}
