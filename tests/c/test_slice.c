#include "rep_slice.h"

#include "check.h"
#include "io_model.h"
#include "rep_io_memory.h"
#include "rig.h"

#define BASE_BYTES 300000ULL
#define START 12345ULL
#define LENGTH 70001ULL

static rep_io *memory_new(void)
{
    rep_io *base;
    char *bytes = check_alloc(BASE_BYTES);
    CHECK_OK(rep_io_memory_new(BASE_BYTES, &base));
    memset(bytes, 0xee, BASE_BYTES);
    CHECK_OK(rep_io_pwrite(base, bytes, BASE_BYTES, 0));
    free(bytes);
    return base;
}

static void check_filled(rep_io *base, uint64_t from, uint64_t to)
{
    char *bytes = check_alloc(to - from);
    CHECK_OK(rep_io_pread(base, bytes, to - from, from));
    for (uint64_t i = 0; i < to - from; i++)
        CHECK_EQ((unsigned char)bytes[i], 0xee);
    free(bytes);
}

static void it_holds_what_was_written_and_leaves_the_rest_alone(void)
{
    rep_io *base = memory_new();
    rep_io *slice;
    char *model = check_alloc(LENGTH);
    CHECK_OK(rep_slice_new(base, START, LENGTH, &slice));
    CHECK_EQ(rep_io_size(slice), LENGTH);
    CHECK_OK(rep_io_zero(slice, 0, LENGTH));
    memset(model, 0, LENGTH);
    io_model_run(slice, model, 3, 400);
    check_filled(base, 0, START);
    check_filled(base, START + LENGTH, BASE_BYTES);
    rep_io_free(slice);
    rep_io_free(base);
    free(model);
}

static void what_reaches_past_its_end_is_refused(void)
{
    rep_io *base = memory_new();
    rep_io *slice;
    char byte = 1;
    CHECK_OK(rep_slice_new(base, START, LENGTH, &slice));
    CHECK_ERRNO(rep_io_pwrite(slice, &byte, 1, LENGTH), ERANGE);
    CHECK_ERRNO(rep_io_pread(slice, &byte, 1, LENGTH), ERANGE);
    CHECK_ERRNO(rep_io_zero(slice, LENGTH - 1, 2), ERANGE);
    CHECK_ERRNO(rep_io_trim(slice, UINT64_MAX - 1, 2), ERANGE);
    check_filled(base, START + LENGTH, BASE_BYTES);
    rep_io_free(slice);
    rep_io_free(base);
}

static void a_range_past_the_base_is_refused(void)
{
    rep_io *base = memory_new();
    rep_io *slice;
    CHECK_ERRNO(rep_slice_new(base, 0, 0, &slice), EINVAL);
    CHECK_ERRNO(rep_slice_new(base, 1, BASE_BYTES, &slice), ERANGE);
    CHECK_ERRNO(rep_slice_new(base, UINT64_MAX, 2, &slice), ERANGE);
    CHECK_OK(rep_slice_new(base, 0, BASE_BYTES, &slice));
    rep_io_free(slice);
    rep_io_free(base);
}

static void extents_are_its_own_and_resume(void)
{
    disk *d = disk_new(16 * CHUNK);
    const rep_extent data[] = {{0, 3 * CHUNK}, {5 * CHUNK, CHUNK}, {9 * CHUNK, 7 * CHUNK}};
    rep_extent found[8];
    size_t count;
    uint64_t resume;
    rep_io *slice;
    d->extents = data;
    d->extent_count = 3;
    CHECK_OK(rep_slice_new(&d->io, 2 * CHUNK, 8 * CHUNK, &slice));
    CHECK_OK(rep_io_extents(slice, 0, 8 * CHUNK, found, 8, &count, &resume));
    CHECK_EQ(count, 3);
    CHECK_EQ(resume, 8 * CHUNK);
    CHECK(found[0].offset == 0 && found[0].length == CHUNK);
    CHECK(found[1].offset == 3 * CHUNK && found[1].length == CHUNK);
    CHECK(found[2].offset == 7 * CHUNK && found[2].length == CHUNK);
    CHECK_OK(rep_io_extents(slice, 0, 8 * CHUNK, found, 2, &count, &resume));
    CHECK_EQ(count, 2);
    CHECK(resume > 3 * CHUNK && resume <= 7 * CHUNK);
    CHECK_ERRNO(rep_io_descriptor(slice), ENOTSUP);
    rep_io_free(slice);
    rep_io_free(&d->io);
}

int main(void)
{
    RUN(it_holds_what_was_written_and_leaves_the_rest_alone);
    RUN(what_reaches_past_its_end_is_refused);
    RUN(a_range_past_the_base_is_refused);
    RUN(extents_are_its_own_and_resume);
    return 0;
}
