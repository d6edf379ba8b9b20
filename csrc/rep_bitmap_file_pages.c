/* The pages of a bitmap file: bits in and out. */
#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bitmap_file_parts.h"
#include "rep_crc.h"

/* Pages moved by one call, 256 KiB: larger calls gain nothing. */
#define BATCH_PAGES 64U

typedef struct page {
    uint64_t words[REP_PAGE_WORDS];
    uint64_t index;
    uint32_t reserved;
    uint32_t crc;
} page;

static_assert(sizeof(page) == REP_PAGE_BYTES, "the page's layout is a format");

static bool is_filled(const rep_bitmap_file *file)
{
    return (file->flags & REP_FILE_FILLED) != 0;
}

static uint64_t page_offset(uint64_t index)
{
    return (1 + index) * REP_PAGE_BYTES;
}

static uint64_t page_words(const rep_bitmap_file *file, uint64_t index)
{
    uint64_t words = (file->key.bit_count + REP_WORD_BITS - 1) / REP_WORD_BITS;
    uint64_t first = index * REP_PAGE_WORDS;
    return words - first < REP_PAGE_WORDS ? words - first : REP_PAGE_WORDS;
}

static bool all_zero(const page *p)
{
    const char *bytes = (const char *)p;
    return !bytes[0] && !memcmp(bytes, bytes + 1, sizeof *p - 1);
}

static void mark_pages(uint64_t first, uint64_t end, rep_bitmap *bitmap)
{
    uint64_t bit = first * REP_PAGE_BITS;
    uint64_t left = rep_bitmap_size(bitmap) - bit;
    uint64_t count = (end - first) * REP_PAGE_BITS;
    rep_bitmap_set(bitmap, bit, left < count ? left : count);
}

static int decode_page(const rep_bitmap_file *file, uint64_t index, page *p, rep_bitmap *bitmap)
{
    if (all_zero(p)) {
        if (is_filled(file))
            mark_pages(index, index + 1, bitmap);
        return 0;
    }
    if (le32toh(p->crc) != rep_crc32c(0, p, REP_PAGE_CRC_OFFSET) || le64toh(p->index) != index
        || p->reserved)
        return -EBADMSG;
    uint64_t count = page_words(file, index);
    for (uint64_t i = count; i < REP_PAGE_WORDS; i++)
        if (p->words[i])
            return -EBADMSG;
    for (uint64_t i = 0; i < count; i++)
        p->words[i] = le64toh(p->words[i]);
    return rep_bitmap_words_or(bitmap, index * REP_PAGE_WORDS, count, p->words) ? -EBADMSG : 0;
}

/* Loads pages [first, end); *damaged is raised for every bad one. */
static int load_pages(rep_bitmap_file *file, uint64_t first, uint64_t end, page *batch,
                      rep_bitmap *bitmap, bool *damaged)
{
    while (first < end) {
        uint64_t count = end - first < BATCH_PAGES ? end - first : BATCH_PAGES;
        int rc = rep_io_pread(file->io, batch, count * REP_PAGE_BYTES, page_offset(first));
        if (rc)
            return rc;
        for (uint64_t i = 0; i < count; i++) {
            if (!decode_page(file, first + i, &batch[i], bitmap))
                continue;
            mark_pages(first + i, first + i + 1, bitmap);
            *damaged = true;
        }
        first += count;
    }
    return 0;
}

/* Mutex held. */
static int load_held(rep_bitmap_file *file, rep_bitmap *bitmap)
{
    page *batch = malloc(BATCH_PAGES * sizeof *batch);
    if (!batch)
        return -ENOMEM;
    uint64_t pages = rep_bitmap_file_pages(&file->key);
    uint64_t next = 0;
    bool damaged = false;
    int rc = 0;
    while (!rc && next < pages) {
        rep_extent data;
        size_t found;
        uint64_t resume;
        uint64_t left = (pages - next) * REP_PAGE_BYTES;
        rc = rep_io_extents(file->io, page_offset(next), left, &data, 1, &found, &resume);
        if (rc)
            break;
        /* Extents may begin and end inside a page where the file system's blocks are smaller. */
        uint64_t begin = found ? data.offset / REP_PAGE_BYTES - 1 : pages;
        if (is_filled(file))
            mark_pages(next, begin, bitmap);
        if (!found)
            break;
        next = (data.offset + data.length + REP_PAGE_BYTES - 1) / REP_PAGE_BYTES - 1;
        rc = load_pages(file, begin, next, batch, bitmap, &damaged);
    }
    free(batch);
    if (!rc && damaged)
        return -EBADMSG;
    return rc;
}

int rep_bitmap_file_load(rep_bitmap_file *file, rep_bitmap *bitmap)
{
    if (rep_bitmap_size(bitmap) != file->key.bit_count)
        return -EINVAL;
    pthread_mutex_lock(&file->mutex);
    int rc = load_held(file, bitmap);
    pthread_mutex_unlock(&file->mutex);
    return rc;
}

static void seal(page *p, uint64_t index)
{
    p->index = htole64(index);
    p->crc = htole32(rep_crc32c(0, p, REP_PAGE_CRC_OFFSET));
}

/* Writes a page of zeros as what it means. */
static void spell(const rep_bitmap_file *file, uint64_t index, page *out)
{
    uint64_t left = file->key.bit_count - index * REP_PAGE_BITS;
    for (uint64_t i = 0; is_filled(file) && i < page_words(file, index); i++) {
        uint64_t bits = left - i * REP_WORD_BITS;
        out->words[i] = htole64(bits < REP_WORD_BITS ? rep_bit(bits) - 1 : ~0ULL);
    }
    seal(out, index);
}

/* Pages [first, end), at most a batch: those of zeros are spelled out. */
static int spell_batch(rep_bitmap_file *file, uint64_t first, uint64_t end, page *batch)
{
    int rc = rep_io_pread(file->io, batch, (end - first) * REP_PAGE_BYTES, page_offset(first));
    for (uint64_t i = first; !rc && i < end;) {
        uint64_t next = i;
        for (; next < end && all_zero(&batch[next - first]); next++)
            spell(file, next, &batch[next - first]);
        if (next > i)
            rc = rep_io_pwrite(file->io, &batch[i - first], (next - i) * REP_PAGE_BYTES,
                               page_offset(i));
        i = next + 1;
    }
    return rc;
}

/* Afterwards no page is of zeros, whatever that means: each says durably what it said before. */
static int spell_out(rep_bitmap_file *file)
{
    page *batch = malloc(BATCH_PAGES * sizeof *batch);
    if (!batch)
        return -ENOMEM;
    int rc = 0;
    uint64_t pages = rep_bitmap_file_pages(&file->key);
    for (uint64_t first = 0; !rc && first < pages; first += BATCH_PAGES)
        rc = spell_batch(file, first, pages - first < BATCH_PAGES ? pages : first + BATCH_PAGES,
                         batch);
    free(batch);
    return rc ? rc : rep_io_flush(file->io);
}

int rep_bitmap_file_turn(rep_bitmap_file *file, bool filled)
{
    int rc = file->unsure ? rep_bitmap_file_change(file, &file->key, file->flags) : 0;
    if (rc || filled == is_filled(file))
        return rc;
    /* A page of zeros would say the opposite of what it was written for. Under the open mark nobody
     * asks it: a fresh pair's file, of which all is pending, costs nothing. */
    if (!(file->flags & REP_FILE_OPEN))
        rc = spell_out(file);
    return rc ? rc : rep_bitmap_file_change(file, &file->key, file->flags ^ REP_FILE_FILLED);
}

/* Whether the page has to be written: at some moment of this call it wasn't what a hole means, or
 * nobody knows what that is. */
static bool encode_page(const rep_bitmap_file *file, uint64_t index, const rep_page_source *source,
                        page *out)
{
    uint64_t words[REP_PAGE_WORDS];
    uint64_t count = page_words(file, index);
    uint64_t differs = 0;
    memset(out, 0, sizeof *out);
    for (int s = 0; s < source->count; s++) {
        /* Inside the bitmap: can't fail. */
        rep_bitmap_words_get(source->bitmaps[s], index * REP_PAGE_WORDS, count, words);
        for (uint64_t i = 0; i < count; i++)
            out->words[i] |= words[i];
    }
    for (uint64_t i = 0; i < count; i++) {
        uint64_t hole = is_filled(file)
                            ? rep_bitmap_ones(source->bitmaps[0], 0, index * REP_PAGE_WORDS + i)
                            : 0;
        differs |= out->words[i] ^ hole;
        out->words[i] = htole64(out->words[i]);
    }
    if (!differs && !file->unsure) {
        memset(out, 0, sizeof *out);
        return false; /* zeros, as a hole */
    }
    seal(out, index);
    return true;
}

/* The first page at or after `from` that isn't what a hole means, or the page count. */
static uint64_t next_page(const rep_bitmap_file *file, const rep_bitmap *first,
                          const rep_bitmap *second, uint64_t from)
{
    uint64_t bit;
    uint64_t count;
    uint64_t pages = rep_bitmap_file_pages(&file->key);
    uint64_t size = file->key.bit_count;
    if (from >= pages)
        return pages;
    if (is_filled(file)) {
        bit = rep_bitmap_next_clear(first, second, from * REP_PAGE_BITS, size);
        return bit < size ? bit / REP_PAGE_BITS : pages;
    }
    int rc =
        rep_bitmap_next_run(first, second, REP_BITMAP_UNION, from * REP_PAGE_BITS, 1, &bit, &count);
    return rc == 1 ? bit / REP_PAGE_BITS : pages;
}

/* Writes adjacent pages from `index` on, at most a batch; *end is the page after the last. */
static int save_batch(rep_bitmap_file *file, const rep_bitmap *first, const rep_bitmap *second,
                      uint64_t index, page *batch, uint64_t *end)
{
    uint64_t count = 0;
    uint64_t pages = rep_bitmap_file_pages(&file->key);
    const rep_bitmap *bitmaps[] = {first, second};
    rep_page_source source = {bitmaps, second ? 2 : 1};
    while (count < BATCH_PAGES && index + count < pages
           && encode_page(file, index + count, &source, &batch[count]))
        count++;
    *end = index + count;
    return rep_io_pwrite(file->io, batch, count * REP_PAGE_BYTES, page_offset(index));
}

static int save_pages(rep_bitmap_file *file, const rep_bitmap *first, const rep_bitmap *second)
{
    page *batch = malloc(BATCH_PAGES * sizeof *batch);
    if (!batch)
        return -ENOMEM;
    uint64_t pages = rep_bitmap_file_pages(&file->key);
    uint64_t done = 0;
    int rc = 0;
    while (!rc && done < pages) {
        uint64_t next = next_page(file, first, second, done);
        rc = rep_io_zero(file->io, page_offset(done), (next - done) * REP_PAGE_BYTES);
        done = next;
        if (!rc && done < pages)
            rc = save_batch(file, first, second, done, batch, &done);
    }
    free(batch);
    return rc ? rc : rep_io_flush(file->io);
}

/* Mutex held. */
static int save_held(rep_bitmap_file *file, const rep_bitmap *first, const rep_bitmap *second)
{
    int rc = rep_bitmap_file_turn(file, rep_bitmap_count(first) > file->key.bit_count / 2);
    return rc ? rc : save_pages(file, first, second);
}

int rep_bitmap_file_save(rep_bitmap_file *file, const rep_bitmap *first, const rep_bitmap *second)
{
    if (rep_bitmap_size(first) != file->key.bit_count
        || (second && rep_bitmap_size(second) != file->key.bit_count))
        return -EINVAL;
    pthread_mutex_lock(&file->mutex);
    int rc = save_held(file, first, second);
    pthread_mutex_unlock(&file->mutex);
    return rc;
}

/* Whether no bit of these pages is set, as a hole says. Of most of a large volume's pages none is:
 * they aren't even encoded. */
static bool mean_holes(const rep_bitmap_file *file, const rep_page_source *source, uint64_t first,
                       uint64_t end)
{
    uint64_t bit;
    uint64_t count;
    if (is_filled(file) || file->unsure)
        return false;
    for (int s = 0; s < source->count; s++)
        if (rep_bitmap_next_run(source->bitmaps[s], NULL, REP_BITMAP_UNION, first * REP_PAGE_BITS,
                                1, &bit, &count)
                == 1
            && bit < end * REP_PAGE_BITS)
            return false;
    return true;
}

/* Mutex held: pages [first, end), at most a batch. Those that mean what a hole does are punched if
 * there is nothing else, and else are zeros among the others. */
static int put_batch(rep_bitmap_file *file, const rep_page_source *source, uint64_t first,
                     uint64_t end, page *batch)
{
    bool any = false;
    uint64_t length = (end - first) * REP_PAGE_BYTES;
    if (mean_holes(file, source, first, end))
        return rep_io_zero(file->io, page_offset(first), length);
    for (uint64_t i = first; i < end; i++)
        any |= encode_page(file, i, source, &batch[i - first]);
    return any ? rep_io_pwrite(file->io, batch, length, page_offset(first))
               : rep_io_zero(file->io, page_offset(first), length);
}

int rep_bitmap_file_put(rep_bitmap_file *file, const rep_page_source *source, uint64_t first,
                        uint64_t end)
{
    page *batch = malloc((end - first < BATCH_PAGES ? end - first : BATCH_PAGES) * sizeof *batch);
    if (!batch)
        return -ENOMEM;
    int rc = 0;
    pthread_mutex_lock(&file->mutex);
    while (!rc && first < end) {
        uint64_t stop = end - first < BATCH_PAGES ? end : first + BATCH_PAGES;
        rc = put_batch(file, source, first, stop, batch);
        first = stop;
    }
    pthread_mutex_unlock(&file->mutex);
    free(batch);
    return rc;
}

int rep_bitmap_file_flush(rep_bitmap_file *file)
{
    return rep_io_flush(file->io); /* needs no mutex: it may take long, and others put meanwhile */
}
