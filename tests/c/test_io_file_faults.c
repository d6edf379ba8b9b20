#include "check.h"
#include "faulty_calls.h"
#include "io_model.h"
#include "rep_io_file.h"

static rep_io *open_file(const char *name, uint64_t size)
{
    rep_io *io;
    int fd = open(check_path(name), O_CREAT | O_RDWR, 0600);
    CHECK(fd >= 0);
    CHECK_OK(ftruncate(fd, (off_t)size));
    CHECK_OK(close(fd));
    CHECK_OK(rep_io_file_open(check_path(name), &io));
    return io;
}

static void short_and_interrupted_calls_are_gone_on_with(void)
{
    rep_io *io = open_file("short", 20000);
    char *model = check_alloc(20000);
    most_bytes = 777;
    interrupt_every_second_call = true;
    io_model_run(io, model, 1, 200);
    heal();
    io_model_compare(io, model);
    free(model);
    rep_io_free(io);
}

static void where_holes_can_not_be_punched_zeros_are_written(void)
{
    const int errors[] = {EOPNOTSUPP, ENOSYS};
    for (size_t i = 0; i < 2; i++) {
        rep_io *io = open_file("unpunched", 200000);
        char *model = check_alloc(200000);
        CHECK_OK(rep_io_pread(io, model, 200000, 0));
        fallocate_fault = (fault){.error = errors[i], .failures = 1000};
        io_model_run(io, model, i, 200);
        heal();
        free(model);
        rep_io_free(io);
    }
}

static void another_failure_to_punch_is_reported(void)
{
    rep_io *io = open_file("punch", 8192);
    fallocate_fault = (fault){.error = EIO, .failures = 1};
    CHECK_ERRNO(rep_io_zero(io, 0, 8192), EIO);
    CHECK_OK(rep_io_zero(io, 0, 8192));
    heal();
    rep_io_free(io);
}

static void where_holes_can_not_be_told_all_is_data(void)
{
    rep_extent extents[2];
    size_t count;
    uint64_t resume;
    rep_io *io = open_file("untold", 1 << 20);
    lseek_fault = (fault){.error = EINVAL};
    CHECK_OK(rep_io_extents(io, 4096, 8192, extents, 2, &count, &resume));
    heal();
    CHECK_EQ(count, 1);
    CHECK_EQ(extents[0].offset, 4096);
    CHECK_EQ(extents[0].length, 8192);
    CHECK_EQ(resume, 12288);
    rep_io_free(io);
}

static void a_failure_to_look_for_holes_is_reported(void)
{
    rep_extent extent;
    size_t count;
    uint64_t resume;
    rep_io *io = open_file("unlooked", 4096);
    lseek_fault = (fault){.error = EIO};
    CHECK_ERRNO(rep_io_extents(io, 0, 4096, &extent, 1, &count, &resume), EIO);
    heal();
    rep_io_free(io);
}

static void failures_to_write_and_flush_are_reported(void)
{
    char byte = 1;
    rep_io *io = open_file("failing", 4096);
    pwrite_fault = (fault){.error = ENOSPC, .failures = 1};
    CHECK_ERRNO(rep_io_pwrite(io, &byte, 1, 0), ENOSPC);
    CHECK_OK(rep_io_pwrite(io, &byte, 1, 0));
    fdatasync_fault = (fault){.error = EIO, .failures = 1};
    CHECK_ERRNO(rep_io_flush(io), EIO);
    CHECK_OK(rep_io_flush(io));
    heal();
    rep_io_free(io);
}

int main(void)
{
    RUN(short_and_interrupted_calls_are_gone_on_with);
    RUN(where_holes_can_not_be_punched_zeros_are_written);
    RUN(another_failure_to_punch_is_reported);
    RUN(where_holes_can_not_be_told_all_is_data);
    RUN(a_failure_to_look_for_holes_is_reported);
    RUN(failures_to_write_and_flush_are_reported);
    return 0;
}
