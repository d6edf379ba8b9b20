#include "bitmap_file_rig.h"
#include "faulty_calls.h"

static int stored_mark(const char *path, const rep_bitmap_key *key)
{
    rep_bitmap_file *file;
    CHECK_OK(rep_bitmap_file_open(path, key, &file));
    int marked = rep_bitmap_file_marked_open(file);
    rep_bitmap_file_free(file);
    return marked;
}

static void a_close_that_failed_leaves_it_marked_open(void)
{
    const char *path = check_path("close");
    rep_bitmap_file *file;
    rep_bitmap_key key = rig_key(100);
    CHECK_OK(rep_bitmap_file_create(path, &key, 1, &file));
    fdatasync_fault = (fault){.error = EIO, .failures = 1};
    CHECK_ERRNO(rep_bitmap_file_mark_closed(file, 99), EIO);
    CHECK_EQ(rep_bitmap_file_marked_open(file), 1);
    pwrite_fault = (fault){.error = ENOSPC, .failures = 1};
    CHECK_ERRNO(rep_bitmap_file_mark_closed(file, 99), ENOSPC);
    heal();
    rep_bitmap_file_free(file);
    CHECK_EQ(stored_mark(path, &key), 1);
}

static void a_close_may_be_repeated_after_a_failure(void)
{
    const char *path = check_path("again");
    rep_bitmap_file *file;
    rep_bitmap_key key = rig_key(100);
    CHECK_OK(rep_bitmap_file_create(path, &key, 1, &file));
    fdatasync_fault = (fault){.error = EIO, .failures = 1};
    CHECK_ERRNO(rep_bitmap_file_mark_closed(file, 99), EIO);
    CHECK_OK(rep_bitmap_file_mark_closed(file, 99));
    heal();
    rep_bitmap_file_free(file);
    key.data_id = 99;
    CHECK_EQ(stored_mark(path, &key), 0);
}

static void a_mark_that_failed_leaves_it_closed(void)
{
    const char *path = check_path("mark");
    rep_bitmap_file *file;
    rep_bitmap_key key = rig_key(100);
    CHECK_OK(rep_bitmap_file_create(path, &key, 0, &file));
    fdatasync_fault = (fault){.error = EIO, .failures = 1};
    CHECK_ERRNO(rep_bitmap_file_mark_open(file), EIO);
    CHECK_EQ(rep_bitmap_file_marked_open(file), 0);
    heal();
    rep_bitmap_file_free(file);
    CHECK_EQ(stored_mark(path, &key), 0);
}

static void a_file_that_could_not_be_made_is_not_there(void)
{
    const char *path = check_path("unmade");
    rep_bitmap_file *file;
    rep_bitmap_key key = rig_key(100);
    pwrite_fault = (fault){.error = ENOSPC, .failures = 1};
    CHECK_ERRNO(rep_bitmap_file_create(path, &key, 0, &file), ENOSPC);
    CHECK_EQ(access(path, F_OK), -1);
    fdatasync_fault = (fault){.error = EIO, .failures = 1};
    CHECK_ERRNO(rep_bitmap_file_create(path, &key, 0, &file), EIO);
    CHECK_EQ(access(path, F_OK), -1);
    heal();
    CHECK_OK(rep_bitmap_file_create(path, &key, 0, &file));
    rep_bitmap_file_free(file);
}

static void a_save_that_found_the_disk_full_may_be_repeated(void)
{
    const uint64_t bit_count = 200 * REP_PAGE_BITS;
    const char *path = check_path("full");
    rep_bitmap_file *file;
    rep_bitmap_key key = rig_key(bit_count);
    rep_bitmap *bits = rig_bitmap(bit_count);
    rep_bitmap *loaded = rig_bitmap(bit_count);
    for (uint64_t page = 0; page < 200; page++)
        CHECK_OK(rep_bitmap_set(bits, page * REP_PAGE_BITS, 1));
    CHECK_OK(rep_bitmap_file_create(path, &key, 1, &file));
    pwrite_fault = (fault){.error = ENOSPC, .good = 1, .failures = 1};
    CHECK_ERRNO(rep_bitmap_file_save(file, bits, NULL), ENOSPC);
    fdatasync_fault = (fault){.error = EIO, .failures = 1};
    CHECK_ERRNO(rep_bitmap_file_save(file, bits, NULL), EIO);
    fallocate_fault = (fault){.error = EIO, .failures = 1};
    CHECK_OK(rep_bitmap_clear(bits, 0, REP_PAGE_BITS));
    CHECK_ERRNO(rep_bitmap_file_save(file, bits, NULL), EIO);
    heal();
    CHECK_OK(rep_bitmap_file_save(file, bits, NULL));
    CHECK_OK(rep_bitmap_file_load(file, loaded));
    rig_check_equal(loaded, bits);
    rep_bitmap_file_free(file);
    rep_bitmap_free(bits);
    rep_bitmap_free(loaded);
}

/* What it said before: its pages of zeros aren't taken for the opposite of what they were written
 * for, and everything isn't set either. */
static void a_file_that_failed_to_become_filled_says_what_it_said(void)
{
    const char *path = check_path("turning");
    rep_bitmap_file *file;
    rep_bitmap_key key = rig_key(3 * REP_PAGE_BITS);
    rep_bitmap *before = rig_bitmap(key.bit_count);
    rep_bitmap *bits = rig_bitmap(key.bit_count);
    rep_bitmap *loaded = rig_bitmap(key.bit_count);
    CHECK_OK(rep_bitmap_set(before, 0, 1));
    CHECK_OK(rep_bitmap_file_create(path, &key, 0, &file));
    CHECK_OK(rep_bitmap_file_save(file, before, NULL));
    rep_bitmap_fill(bits);
    CHECK_OK(rep_bitmap_clear(bits, 5, 1));
    pwrite_fault = (fault){.error = ENOSPC, .failures = 1};
    CHECK_ERRNO(rep_bitmap_file_save(file, bits, NULL), ENOSPC);
    heal();
    rep_bitmap_file_free(file);
    CHECK_OK(rep_bitmap_file_open(path, &key, &file));
    CHECK_EQ(rep_bitmap_file_marked_open(file), 0);
    CHECK_OK(rep_bitmap_file_load(file, loaded));
    rig_check_equal(loaded, before);
    CHECK_OK(rep_bitmap_file_save(file, bits, NULL));
    CHECK_OK(rep_bitmap_file_mark_closed(file, key.data_id));
    CHECK_OK(rep_bitmap_file_load(file, loaded));
    rig_check_equal(loaded, bits);
    rep_bitmap_file_free(file);
    rep_bitmap_free(before);
    rep_bitmap_free(bits);
    rep_bitmap_free(loaded);
}

static void holes_are_not_needed(void)
{
    const uint64_t bit_count = 5 * REP_PAGE_BITS;
    const char *path = check_path("no holes");
    rep_bitmap_file *file;
    rep_bitmap_key key = rig_key(bit_count);
    rep_bitmap *bits = rig_bitmap(bit_count);
    rep_bitmap *loaded = rig_bitmap(bit_count);
    fallocate_fault = (fault){.error = EOPNOTSUPP, .failures = 1000};
    lseek_fault = (fault){.error = EINVAL};
    most_bytes = 1000;
    CHECK_OK(rep_bitmap_file_create(path, &key, 1, &file));
    rep_bitmap_fill(bits);
    CHECK_OK(rep_bitmap_file_save(file, bits, NULL));
    CHECK_OK(rep_bitmap_clear(bits, 0, 2 * REP_PAGE_BITS));
    CHECK_OK(rep_bitmap_file_save(file, bits, NULL));
    CHECK_OK(rep_bitmap_file_load(file, loaded));
    rig_check_equal(loaded, bits);
    CHECK_OK(rep_bitmap_clear(bits, 2 * REP_PAGE_BITS, 2 * REP_PAGE_BITS));
    CHECK_OK(rep_bitmap_file_save(file, bits, NULL));
    rep_bitmap_reset(loaded);
    CHECK_OK(rep_bitmap_file_load(file, loaded));
    rig_check_equal(loaded, bits);
    heal();
    rep_bitmap_file_free(file);
    rep_bitmap_free(bits);
    rep_bitmap_free(loaded);
}

int main(void)
{
    RUN(a_close_that_failed_leaves_it_marked_open);
    RUN(a_close_may_be_repeated_after_a_failure);
    RUN(a_mark_that_failed_leaves_it_closed);
    RUN(a_file_that_could_not_be_made_is_not_there);
    RUN(a_save_that_found_the_disk_full_may_be_repeated);
    RUN(a_file_that_failed_to_become_filled_says_what_it_said);
    RUN(holes_are_not_needed);
    return 0;
}
