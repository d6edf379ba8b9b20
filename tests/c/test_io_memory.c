#include "check.h"
#include "io_model.h"
#include "rep_io_memory.h"

static void it_holds_what_was_written(void)
{
    const uint64_t sizes[] = {1, 511, 4096, 4097, 100000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        rep_io *io;
        char *model = check_alloc(sizes[i]);
        CHECK_OK(rep_io_memory_new(sizes[i], &io));
        io_model_run(io, model, i, 400);
        rep_io_free(io);
        free(model);
    }
}

static void ranges_past_the_end_are_refused(void)
{
    rep_io *io;
    CHECK_OK(rep_io_memory_new(5000, &io));
    io_model_check_ranges(io);
    rep_io_free(io);
}

static void an_empty_one_is_refused(void)
{
    rep_io *io;
    CHECK_ERRNO(rep_io_memory_new(0, &io), EINVAL);
}

static void it_can_not_tell_holes_so_all_is_data(void)
{
    rep_io *io;
    rep_extent extents[2];
    size_t count;
    uint64_t resume;
    CHECK_OK(rep_io_memory_new(10000, &io));
    CHECK_OK(rep_io_extents(io, 100, 9000, extents, 2, &count, &resume));
    CHECK_EQ(count, 1);
    CHECK_EQ(extents[0].offset, 100);
    CHECK_EQ(extents[0].length, 9000);
    CHECK_EQ(resume, 9100);
    CHECK_OK(rep_io_extents(io, 100, 0, extents, 2, &count, &resume));
    CHECK_EQ(count, 0);
    CHECK_EQ(resume, 100);
    rep_io_free(io);
}

static void it_has_no_descriptor(void)
{
    rep_io *io;
    CHECK_OK(rep_io_memory_new(1, &io));
    CHECK_ERRNO(rep_io_descriptor(io), ENOTSUP);
    rep_io_free(io);
}

static void freeing_nothing_is_allowed(void)
{
    rep_io_free(NULL);
}

int main(void)
{
    RUN(it_holds_what_was_written);
    RUN(ranges_past_the_end_are_refused);
    RUN(an_empty_one_is_refused);
    RUN(it_can_not_tell_holes_so_all_is_data);
    RUN(it_has_no_descriptor);
    RUN(freeing_nothing_is_allowed);
    return 0;
}
