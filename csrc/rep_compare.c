#include "rep_compare.h"

#include <errno.h>
#include <stdlib.h>

#include "parts.h"

/* A listing ends after this much of the volume: a begin clears what was noticed in all of it. */
#define WINDOW_BYTES (16ULL << 30)

struct rep_compare {
    rep_link *link;
    rep_bitmap *noticed;
    uint64_t duty; /* the link's work that it is about */
    rep_compare *next;
};

void rep_compare_notice(rep_compare *first, uint64_t chunk, uint64_t count)
{
    for (rep_compare *each = first; each; each = each->next)
        /* Inside the volume (checked), so it can't be refused. */
        (void)rep_bitmap_set(each->noticed, chunk, count);
}

static bool still_works(const rep_compare *compare)
{
    rep_link *link = compare->link;
    pthread_mutex_lock(&link->mutex);
    bool same = link->duty == compare->duty;
    pthread_mutex_unlock(&link->mutex);
    return same && rep_link_works(link);
}

int rep_compare_new(rep_link *link, rep_compare **out)
{
    rep_compare *compare = calloc(1, sizeof *compare);
    if (!compare)
        return -ENOMEM;
    compare->link = link;
    rep_tree *tree;
    int rc = rep_bitmap_new(rep_link_chunk_count(link), &compare->noticed);
    if (!rc)
        rc = rep_volume_close_gate(link->volume, &tree);
    if (rc) {
        rep_bitmap_free(compare->noticed);
        free(compare);
        return rc;
    }
    compare->duty = link->duty; /* changes with the gate closed */
    rc = rep_link_works(link) ? 0 : -EPIPE;
    if (!rc) {
        compare->next = link->comparers;
        link->comparers = compare;
    }
    rep_tree_open_all(&tree, 1);
    if (rc) {
        rep_bitmap_free(compare->noticed);
        free(compare);
        return rc;
    }
    *out = compare;
    return 0;
}

void rep_compare_free(rep_compare *compare)
{
    if (!compare)
        return;
    rep_tree *tree;
    int rc = rep_volume_close_gate(compare->link->volume, &tree);
    for (rep_compare **at = &compare->link->comparers; *at; at = &(*at)->next)
        if (*at == compare) {
            *at = compare->next;
            break;
        }
    if (!rc)
        rep_tree_open_all(&tree, 1);
    rep_bitmap_free(compare->noticed);
    free(compare);
}

static bool is_power_of_two(uint64_t number)
{
    return number && !(number & (number - 1));
}

/* The next run of `bitmap` in [from, end), cut at `most`. */
static bool next_run(const rep_bitmap *bitmap, uint64_t from, uint64_t end, uint64_t most,
                     uint64_t *first, uint64_t *count)
{
    if (from >= end
        || rep_bitmap_next_run(bitmap, NULL, REP_BITMAP_UNION, from, most, first, count) != 1
        || *first >= end)
        return false;
    if (*count > end - *first)
        *count = end - *first;
    return true;
}

typedef struct data_seen {
    uint64_t from; /* bytes that aren't a hole, as was looked up last */
    uint64_t until;
} data_seen;

/* The first chunk from `chunk` on that isn't wholly a hole; chunk_count when there is none. A hint:
 * who passes over a hole that has been written to since leaves it pending. */
static int skip_hole(const rep_link *link, data_seen *seen, uint64_t *chunk)
{
    uint64_t size = link->volume->io->size_bytes;
    uint64_t offset = *chunk << link->chunk_shift;
    if (offset >= seen->from && offset < seen->until)
        return 0;
    rep_extent extent;
    size_t count;
    uint64_t resume;
    uint64_t length = size - offset < WINDOW_BYTES ? size - offset : WINDOW_BYTES;
    int rc = rep_io_extents(link->volume->io, offset, length, &extent, 1, &count, &resume);
    if (rc)
        return rc;
    if (!count) {
        *chunk = offset + length == size ? rep_link_chunk_count(link)
                                         : (offset + length) >> link->chunk_shift;
        return 0;
    }
    seen->from = extent.offset & ~((1ULL << link->chunk_shift) - 1);
    seen->until = extent.offset + extent.length;
    if (seen->from > offset)
        *chunk = seen->from >> link->chunk_shift;
    return 0;
}

int rep_compare_pending(rep_compare *compare, uint64_t from, uint64_t group_bytes,
                        uint64_t most_bytes, uint64_t *firsts, uint64_t *counts, int capacity,
                        uint64_t *resume)
{
    const rep_link *link = compare->link;
    uint64_t size = rep_link_chunk_count(link);
    uint64_t group = group_bytes >> link->chunk_shift;
    uint64_t left = most_bytes >> link->chunk_shift;
    if (!is_power_of_two(group_bytes) || !group || !left || capacity < 1)
        return -EINVAL;
    if (from > size)
        return -ERANGE;
    uint64_t window = WINDOW_BYTES >> link->chunk_shift;
    uint64_t end = size;
    data_seen seen = {0};
    int found = 0;
    uint64_t first;
    uint64_t count;
    while (found < capacity && left && next_run(link->pending, from, end, group, &first, &count)) {
        uint64_t data = first;
        int rc = skip_hole(link, &seen, &data);
        if (rc)
            return rc;
        if (data != first) {
            from = data;
            continue;
        }
        uint64_t to_border = group - first % group;
        count = count < to_border ? count : to_border;
        count = count < left ? count : left;
        if (!found && size - first > window)
            end = first + window;
        firsts[found] = first;
        counts[found] = count;
        found++;
        left -= count;
        from = first + count;
    }
    *resume = found == capacity || !left || from >= end ? from : end;
    if (*resume > size)
        *resume = size;
    return found;
}

static int enter(const rep_compare *compare, rep_pass *pass, uint64_t first, uint64_t count,
                 uint64_t deadline_ns, rep_wake *wake)
{
    const rep_link *link = compare->link;
    uint64_t size = rep_link_chunk_count(link);
    if (first > size || count > size - first)
        return -ERANGE;
    return rep_tree_enter(&link->volume->tree, pass, first << link->chunk_shift,
                          count << link->chunk_shift, deadline_ns, wake);
}

int rep_compare_begin(rep_compare *compare, uint64_t first, uint64_t count, uint64_t deadline_ns,
                      rep_wake *wake)
{
    rep_pass pass;
    int rc = enter(compare, &pass, first, count, deadline_ns, wake);
    if (rc)
        return rc;
    rc = still_works(compare) ? rep_bitmap_clear(compare->noticed, first, count) : -EPIPE;
    rep_tree_exit(&pass);
    return rc;
}

/* Inside a pass: clears what is pending in [first, end) of P. */
static int clear(const rep_link *link, uint64_t first, uint64_t end, uint64_t *cleared)
{
    uint64_t size = link->volume->io->size_bytes;
    uint64_t run;
    uint64_t count;
    for (uint64_t at = first; next_run(link->pending, at, end, 0, &run, &count); at = run + count) {
        uint64_t stop = (run + count) << link->chunk_shift;
        *cleared += (stop < size ? stop : size) - (run << link->chunk_shift);
    }
    return rep_bitmap_clear(link->pending, first, end - first);
}

/* Inside a pass over the run: all of it but what was noticed. */
static int settle_run(const rep_compare *compare, uint64_t first, uint64_t count, uint64_t *cleared)
{
    rep_link *link = compare->link;
    uint64_t end = first + count;
    uint64_t written = first;
    uint64_t length = 0;
    int rc = 0;
    if (!still_works(compare))
        return -EPIPE;
    for (uint64_t at = first; !rc && at < end; at = written + length) {
        if (!next_run(compare->noticed, at, end, 0, &written, &length)) {
            written = end;
            length = 0;
        }
        rc = clear(link, at, written, cleared);
    }
    /* Whoever broke the link between may have made them pending before the clear: because the
     * target, or the volume, can't say any more what it holds. */
    if (!rc && atomic_load(&link->broken))
        rc = rep_bitmap_set(link->pending, first, count) ? -ERANGE : -EPIPE;
    return rc;
}

int rep_compare_settle(rep_compare *compare, const uint64_t *firsts, const uint64_t *counts,
                       int run_count, uint64_t deadline_ns, rep_wake *wake, int *done,
                       uint64_t *cleared_bytes)
{
    int rc = 0;
    for (*done = 0; *done < run_count; ++*done) {
        rep_pass pass;
        uint64_t cleared = 0;
        rc = enter(compare, &pass, firsts[*done], counts[*done], deadline_ns, wake);
        if (rc)
            break;
        rc = settle_run(compare, firsts[*done], counts[*done], &cleared);
        rep_tree_exit(&pass);
        if (rc)
            break;
        *cleared_bytes += cleared;
    }
    return rc;
}

int rep_compare_written(rep_compare *compare, const uint64_t *firsts, const uint64_t *counts,
                        int run_count, uint64_t deadline_ns, rep_wake *wake, int *done,
                        uint8_t *written)
{
    int rc = 0;
    for (*done = 0; *done < run_count; ++*done) {
        rep_pass pass;
        uint64_t first = firsts[*done];
        uint64_t end = first + counts[*done];
        uint64_t run;
        uint64_t length;
        rc = enter(compare, &pass, first, counts[*done], deadline_ns, wake);
        if (rc)
            break;
        if (!still_works(compare))
            rc = -EPIPE;
        written[*done] = next_run(compare->noticed, first, end, 0, &run, &length)
                         || next_run(compare->link->pending, first, end, 0, &run, &length);
        rep_tree_exit(&pass);
        if (rc)
            break;
    }
    return rc;
}

int rep_compare_read(rep_io *io, uint64_t chunk_bytes, uint64_t group_bytes, const uint64_t *firsts,
                     const uint64_t *counts, int run_count, void *buffer, uint64_t buffer_bytes,
                     uint64_t *lengths, int capacity)
{
    uint64_t size = io->size_bytes;
    uint64_t filled = 0;
    uint64_t group = UINT64_MAX; /* none: an offset has fewer bits */
    int groups = 0;
    if (!is_power_of_two(chunk_bytes) || !is_power_of_two(group_bytes) || group_bytes < chunk_bytes)
        return -EINVAL;
    uint64_t chunks = size / chunk_bytes + (size % chunk_bytes != 0);
    uint64_t past = 0; /* behind the run before */
    for (int i = 0; i < run_count; i++) {
        if (firsts[i] < past || !counts[i])
            return -EINVAL;
        if (firsts[i] > chunks || counts[i] > chunks - firsts[i])
            return -ERANGE;
        past = firsts[i] + counts[i];
        uint64_t offset = firsts[i] * chunk_bytes;
        uint64_t end = past == chunks ? size : past * chunk_bytes;
        if (end - offset > buffer_bytes - filled)
            return -EINVAL;
        int rc = rep_io_pread(io, (uint8_t *)buffer + filled, end - offset, offset);
        if (rc)
            return rc;
        while (offset < end) {
            uint64_t border = (offset / group_bytes + 1) * group_bytes;
            uint64_t step = (border < end ? border : end) - offset;
            if (offset / group_bytes != group) {
                if (groups == capacity)
                    return -EINVAL;
                group = offset / group_bytes;
                lengths[groups++] = 0;
            }
            lengths[groups - 1] += step;
            filled += step;
            offset += step;
        }
    }
    return groups;
}
