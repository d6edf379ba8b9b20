/* The pages of a volume's rows, while hosts write: checkpoints of the activity log, and whole rows. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "alog_parts.h"

/* Of a whole row, per pass: 64 pages are 256 KiB, or 2 million chunks. */
#define PAGES_PER_PASS 64U

uint64_t rep_alog_bits(const rep_alog *log, const rep_link *link, uint64_t region, uint64_t *first)
{
    unsigned shift = log->region_shift - link->chunk_shift;
    uint64_t size = rep_bitmap_size(link->pending);
    *first = region << shift;
    return size - *first < 1ULL << shift ? size - *first : 1ULL << shift;
}

int rep_alog_cover(const rep_link *link, const rep_bitmap ***bitmaps, int *count)
{
    const rep_volume *volume = link->volume;
    const rep_bitmap **all = calloc(4 + (size_t)volume->epoch_count, sizeof *all);
    if (!all)
        return -ENOMEM;
    int used = 0;
    /* P before U: a copier may be moving bits that way. */
    all[used++] = link->pending;
    all[used++] = link->unsettled[0];
    all[used++] = link->unsettled[1];
    for (int i = 0; link->epoch_start && i < volume->epoch_count; i++)
        if (volume->epochs[i].sequence >= link->epoch_start)
            all[used++] = volume->epochs[i].bitmap;
    if (link->expected)
        all[used++] = link->expected;
    *bitmaps = all;
    *count = used;
    return 0;
}

/* `checkpointing` held: these pages of one row, as its cover is. */
static int put_pages(rep_link *link, rep_bitmap_file *file, uint64_t first, uint64_t end)
{
    rep_pass pass;
    int rc = rep_tree_enter(&link->volume->tree, &pass, 0, 0, REP_NO_DEADLINE, NULL);
    if (rc)
        return rc;
    const rep_bitmap **bitmaps;
    int count;
    pthread_mutex_lock(&link->mutex);
    rc = rep_alog_cover(link, &bitmaps, &count);
    if (!rc) {
        rep_page_source source = {bitmaps, count};
        rc = rep_bitmap_file_put(file, &source, first, end);
        free(bitmaps);
    }
    pthread_mutex_unlock(&link->mutex);
    rep_tree_exit(&pass);
    return rc;
}

/* The pages of one row that hold these regions. */
static int put_regions(rep_alog *log, const rep_alog_kept *kept, const rep_bitmap *left)
{
    uint64_t done = 0; /* pages */
    uint64_t region;
    uint64_t count;
    uint64_t bit;
    int rc = 0;
    for (uint64_t at = 0;
         !rc && at < log->region_count
         && rep_bitmap_next_run(left, NULL, REP_BITMAP_UNION, at, 0, &region, &count) == 1;
         at = region + count) {
        uint64_t bits = rep_alog_bits(log, kept->link, region + count - 1, &bit);
        uint64_t end = (bit + bits - 1) / REP_PAGE_BITS + 1;
        rep_alog_bits(log, kept->link, region, &bit);
        uint64_t first = bit / REP_PAGE_BITS;
        if (first < done)
            first = done;
        if (first < end)
            rc = put_pages(kept->link, kept->file, first, end);
        done = end > done ? end : done;
    }
    return rc;
}

static int write_pages(rep_alog *log, const rep_bitmap *left)
{
    int rc = 0;
    int count = atomic_load(&log->kept_count);
    for (int i = 0; !rc && i < count; i++)
        rc = put_regions(log, &log->kept[i], left);
    for (int i = 0; !rc && i < count; i++)
        rc = rep_bitmap_file_flush(log->kept[i].file);
    return rc;
}

int rep_alog_checkpoint(rep_alog *log, uint64_t at_least)
{
    pthread_mutex_lock(&log->checkpointing);
    pthread_mutex_lock(&log->mutex);
    uint64_t upto = log->next;
    bool wanted = atomic_load(&log->state) == REP_ALOG_WORKING && upto - log->tail >= at_least
                  && rep_bitmap_any(log->left[log->current]);
    rep_bitmap *closed = log->left[log->current];
    if (wanted)
        log->current ^= 1;
    pthread_mutex_unlock(&log->mutex);
    int rc = wanted ? write_pages(log, closed) : 0;
    pthread_mutex_lock(&log->mutex);
    if (wanted && rc) {
        /* Equal sizes: can't fail. */
        rep_bitmap_merge(log->left[log->current], closed);
    } else if (wanted || (upto > log->tail && !rep_bitmap_any(closed))) {
        log->tail = upto;
    }
    if (wanted) {
        rep_bitmap_reset(closed);
        log->checkpoints++;
        log->page_flushes += (uint64_t)atomic_load(&log->kept_count);
    }
    pthread_mutex_unlock(&log->mutex);
    pthread_mutex_unlock(&log->checkpointing);
    return rc ? rc : wanted;
}

int rep_alog_distrust(rep_alog *log)
{
    int rc = 0;
    pthread_mutex_lock(&log->checkpointing);
    for (int i = 0; i < atomic_load(&log->kept_count); i++) {
        int failed = rep_bitmap_file_mark_open(log->kept[i].file);
        if (failed)
            rc = failed;
    }
    /* Before others may save a row, which would take the mark off again. */
    atomic_store(&log->state, rc ? REP_ALOG_FAILED : REP_ALOG_BYPASSED);
    pthread_mutex_unlock(&log->checkpointing);
    return rc;
}

/* --- rows --------------------------------------------------------------------------------------- */

static rep_alog *log_of(const rep_link *link)
{
    return atomic_load(&link->volume->log);
}

/* `checkpointing` held. */
static int list(rep_alog *log, rep_link *link, rep_bitmap_file *file)
{
    int count = atomic_load(&log->kept_count);
    for (int i = 0; i < count; i++)
        if (log->kept[i].link == link) {
            log->kept[i].file = file;
            if (!file) {
                log->kept[i] = log->kept[count - 1];
                atomic_store(&log->kept_count, count - 1);
            }
            return 0;
        }
    if (!file)
        return 0;
    rep_alog_kept *grown = realloc(log->kept, ((size_t)count + 1) * sizeof *grown);
    if (!grown)
        return -ENOMEM;
    grown[count] = (rep_alog_kept){link, file};
    log->kept = grown;
    atomic_store(&log->kept_count, count + 1);
    return 0;
}

int rep_link_keep(rep_link *link, rep_bitmap_file *file, const uint8_t row_id[16])
{
    rep_alog *log = log_of(link);
    if (!log)
        return file ? -EINVAL : 0;
    pthread_mutex_lock(&log->checkpointing);
    rep_tree *tree;
    int rc = rep_volume_close_gate(link->volume, &tree);
    if (!rc) {
        rc = list(log, link, file);
        if (!rc) {
            link->file = file;
            if (file)
                memcpy(link->row_id, row_id, sizeof link->row_id);
        }
        rep_tree_open_all(&tree, 1);
    }
    pthread_mutex_unlock(&log->checkpointing);
    return rc;
}

int rep_link_expect(rep_link *link, const rep_bitmap *expected)
{
    if (expected && rep_bitmap_size(expected) != rep_link_chunk_count(link))
        return -EINVAL;
    pthread_mutex_lock(&link->mutex);
    link->expected = expected;
    pthread_mutex_unlock(&link->mutex);
    return 0;
}

static int save_held(rep_link *link, rep_bitmap_file *file)
{
    uint64_t size = rep_bitmap_size(link->pending);
    uint64_t pages = (size + REP_PAGE_BITS - 1) / REP_PAGE_BITS;
    uint64_t openings;
    int rc = rep_bitmap_file_begin(file, rep_bitmap_count(link->pending) > size / 2, &openings);
    for (uint64_t page = 0; !rc && page < pages; page += PAGES_PER_PASS)
        rc = put_pages(link, file, page,
                       pages - page < PAGES_PER_PASS ? pages : page + PAGES_PER_PASS);
    if (!rc)
        rc = rep_bitmap_file_flush(file);
    return rc ? rc : rep_bitmap_file_done(file, openings);
}

int rep_link_save(rep_link *link)
{
    rep_alog *log = log_of(link);
    if (!log || !link->file)
        return -EINVAL;
    int rc;
    pthread_mutex_lock(&log->checkpointing);
    do
        rc = atomic_load(&log->state) == REP_ALOG_WORKING ? save_held(link, link->file) : -ENOTCONN;
    while (rc == -EAGAIN); /* all became pending meanwhile: the pages must say so */
    pthread_mutex_unlock(&log->checkpointing);
    return rc;
}
