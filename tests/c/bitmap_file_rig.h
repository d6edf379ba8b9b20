/* bitmap_file_rig: a bitmap file whose key is known, and ways to damage it. */
#ifndef BITMAP_FILE_RIG_H
#define BITMAP_FILE_RIG_H

#include <fcntl.h>

#include "bitmap_file_parts.h"
#include "check.h"
#include "rep_bitmap_file.h"

static inline rep_bitmap_key rig_key(uint64_t bit_count)
{
    rep_bitmap_key key = {.bit_count = bit_count, .chunk_bytes = 8192, .data_id = 42};
    memset(key.system_id, 0x11, sizeof key.system_id);
    memset(key.volume_id, 0x22, sizeof key.volume_id);
    memset(key.row_id, 0x33, sizeof key.row_id);
    return key;
}

static inline rep_bitmap *rig_bitmap(uint64_t size)
{
    rep_bitmap *bitmap;
    CHECK_OK(rep_bitmap_new(size, &bitmap));
    return bitmap;
}

/* A closed file of these bits. */
static inline void rig_make(const char *path, const rep_bitmap *bits)
{
    rep_bitmap_file *file;
    rep_bitmap_key key = rig_key(rep_bitmap_size(bits));
    unlink(path);
    CHECK_OK(rep_bitmap_file_create(path, &key, 0, &file));
    CHECK_OK(rep_bitmap_file_save(file, bits, NULL));
    rep_bitmap_file_free(file);
}

/* 0, or the errno of the open or of the load; `out` has what the load gave. */
static inline int rig_load(const char *path, rep_bitmap *out)
{
    rep_bitmap_file *file;
    rep_bitmap_key key = rig_key(rep_bitmap_size(out));
    int rc = rep_bitmap_file_open(path, &key, &file);
    if (rc)
        return rc;
    rc = rep_bitmap_file_load(file, out);
    rep_bitmap_file_free(file);
    return rc;
}

static inline void rig_check_equal(const rep_bitmap *a, const rep_bitmap *b)
{
    uint64_t first;
    uint64_t count;
    if (rep_bitmap_next_run(a, b, REP_BITMAP_DIFFERENCE, 0, 0, &first, &count) == 1)
        CHECK_FAIL("%" PRIu64 " bits from %" PRIu64 " are only in the first", count, first);
    if (rep_bitmap_next_run(b, a, REP_BITMAP_DIFFERENCE, 0, 0, &first, &count) == 1)
        CHECK_FAIL("%" PRIu64 " bits from %" PRIu64 " are only in the second", count, first);
}

static inline void rig_read(const char *path, void *bytes, size_t length, uint64_t offset)
{
    int fd = open(path, O_RDONLY);
    CHECK(fd >= 0);
    CHECK_EQ(pread(fd, bytes, length, (off_t)offset), length);
    CHECK_OK(close(fd));
}

static inline void rig_write(const char *path, const void *bytes, size_t length, uint64_t offset)
{
    int fd = open(path, O_RDWR);
    CHECK(fd >= 0);
    CHECK_EQ(pwrite(fd, bytes, length, (off_t)offset), length);
    CHECK_OK(close(fd));
}

#endif
