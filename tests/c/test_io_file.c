#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "check.h"
#include "io_model.h"
#include "rep_io_file.h"
#include "rep_io_memory.h"

#define MIB (1ULL << 20)

static const char *make_file(const char *name, uint64_t size)
{
    const char *path = check_path(name);
    int fd = open(path, O_CREAT | O_RDWR | O_TRUNC, 0600);
    CHECK(fd >= 0);
    CHECK_OK(ftruncate(fd, (off_t)size));
    CHECK_OK(close(fd));
    return path;
}

static rep_io *open_file(const char *name, uint64_t size)
{
    rep_io *io;
    CHECK_OK(rep_io_file_open(make_file(name, size), &io));
    return io;
}

/* 16 MiB of hole but for 2..3 MiB and 8..9 MiB. */
static rep_io *open_sparse(const char *name)
{
    char *bytes = check_alloc(MIB);
    rep_io *io = open_file(name, 16 * MIB);
    memset(bytes, 1, MIB);
    CHECK_OK(rep_io_pwrite(io, bytes, MIB, 2 * MIB));
    CHECK_OK(rep_io_pwrite(io, bytes, MIB, 8 * MIB));
    CHECK_OK(rep_io_flush(io));
    free(bytes);
    return io;
}

static void it_holds_what_was_written(void)
{
    const uint64_t sizes[] = {1, 4096, 70001, 300000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        rep_io *io = open_file("model", sizes[i]);
        char *model = check_alloc(sizes[i]);
        CHECK_EQ(rep_io_size(io), sizes[i]);
        io_model_run(io, model, i, 200);
        rep_io_free(io);
        CHECK_OK(rep_io_file_open(check_path("model"), &io));
        io_model_compare(io, model);
        rep_io_free(io);
        free(model);
    }
}

static void ranges_past_the_end_are_refused_and_it_keeps_its_size(void)
{
    struct stat status;
    rep_io *io = open_file("ranges", 5000);
    io_model_check_ranges(io);
    CHECK_OK(rep_io_zero(io, 4000, 1000));
    CHECK_OK(stat(check_path("ranges"), &status));
    CHECK_EQ(status.st_size, 5000);
    rep_io_free(io);
}

static void what_is_not_a_regular_file_is_refused(void)
{
    rep_io *io;
    CHECK_OK(mkfifo(check_path("fifo"), 0600));
    CHECK_ERRNO(rep_io_file_open(check_path("missing"), &io), ENOENT);
    CHECK_ERRNO(rep_io_file_open("/", &io), EINVAL);
    CHECK_ERRNO(rep_io_file_open_readonly("/", &io), EINVAL);
    CHECK_ERRNO(rep_io_file_open("/dev/null", &io), EINVAL);
    CHECK_ERRNO(rep_io_file_open(check_path("fifo"), &io), EINVAL);
    CHECK_ERRNO(rep_io_file_open_readonly(check_path("fifo"), &io), EINVAL);
}

static void a_second_open_in_this_process_conflicts(void)
{
    rep_io *io;
    rep_io *second;
    io = open_file("locked", 4096);
    CHECK_ERRNO(rep_io_file_open(check_path("locked"), &second), EWOULDBLOCK);
    CHECK_OK(link(check_path_in(0, "locked"), check_path_in(1, "locked too")));
    CHECK_ERRNO(rep_io_file_open(check_path("locked too"), &second), EWOULDBLOCK);
    rep_io_free(io);
    CHECK_OK(rep_io_file_open(check_path("locked"), &second));
    rep_io_free(second);
}

static void another_process_conflicts(void)
{
    rep_io *io = open_file("shared", 4096);
    pid_t child = fork();
    CHECK(child >= 0);
    if (!child) {
        rep_io *second;
        _exit(rep_io_file_open(check_path("shared"), &second) == -EWOULDBLOCK ? 0 : 1);
    }
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    rep_io_free(io);
}

static void a_reader_needs_no_lock_and_can_not_write(void)
{
    char byte = 1;
    rep_io *reader;
    rep_io *io = open_file("read", 4096);
    CHECK_OK(rep_io_file_open_readonly(check_path("read"), &reader));
    CHECK_OK(rep_io_pwrite(io, &byte, 1, 7));
    byte = 0;
    CHECK_OK(rep_io_pread(reader, &byte, 1, 7));
    CHECK_EQ(byte, 1);
    CHECK_ERRNO(rep_io_pwrite(reader, &byte, 1, 7), EROFS);
    CHECK_ERRNO(rep_io_zero(reader, 0, 8), EROFS);
    CHECK_ERRNO(rep_io_trim(reader, 0, 8), EROFS);
    CHECK_OK(rep_io_flush(reader));
    rep_io_free(reader);
    rep_io_free(io);
}

static void its_descriptor_closes_on_exec(void)
{
    rep_io *io = open_file("exec", 4096);
    int fd = rep_io_descriptor(io);
    CHECK(fd >= 0);
    CHECK_EQ(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    rep_io_free(io);
}

static void a_file_of_holes_has_no_extents(void)
{
    rep_extent extent;
    size_t count;
    uint64_t resume;
    rep_io *io = open_file("holes", 16 * MIB);
    CHECK_OK(rep_io_extents(io, 0, 16 * MIB, &extent, 1, &count, &resume));
    CHECK_EQ(count, 0);
    CHECK_EQ(resume, 16 * MIB);
    rep_io_free(io);
}

static void extents_name_data_and_leave_out_holes(void)
{
    rep_extent extents[8];
    size_t count;
    uint64_t resume;
    rep_io *io = open_sparse("sparse");
    CHECK_OK(rep_io_extents(io, 0, 16 * MIB, extents, 8, &count, &resume));
    CHECK_EQ(count, 2);
    CHECK_EQ(extents[0].offset, 2 * MIB);
    CHECK_EQ(extents[0].length, MIB);
    CHECK_EQ(extents[1].offset, 8 * MIB);
    CHECK_EQ(extents[1].length, MIB);
    CHECK_EQ(resume, 16 * MIB);
    rep_io_free(io);
}

static void extents_are_cut_to_the_range_and_resume(void)
{
    rep_extent extents[1];
    size_t count;
    uint64_t resume;
    rep_io *io = open_sparse("cut");
    CHECK_OK(rep_io_extents(io, 2 * MIB + 65536, 65536, extents, 1, &count, &resume));
    CHECK_EQ(count, 1);
    CHECK_EQ(extents[0].offset, 2 * MIB + 65536);
    CHECK_EQ(extents[0].length, 65536);
    CHECK_EQ(resume, 2 * MIB + 131072);
    CHECK_OK(rep_io_extents(io, 0, 16 * MIB, extents, 1, &count, &resume));
    CHECK_EQ(count, 1);
    CHECK_EQ(resume, 3 * MIB);
    CHECK_OK(rep_io_extents(io, resume, 16 * MIB - resume, extents, 1, &count, &resume));
    CHECK_EQ(count, 1);
    CHECK_EQ(extents[0].offset, 8 * MIB);
    CHECK_OK(rep_io_extents(io, resume, 16 * MIB - resume, extents, 1, &count, &resume));
    CHECK_EQ(count, 0);
    CHECK_EQ(resume, 16 * MIB);
    rep_io_free(io);
}

static void zeros_become_holes(void)
{
    struct stat before;
    struct stat after;
    rep_extent extents[2];
    size_t count;
    uint64_t resume;
    rep_io *io = open_sparse("punched");
    CHECK_OK(stat(check_path("punched"), &before));
    CHECK_OK(rep_io_zero(io, 2 * MIB, MIB));
    CHECK_OK(rep_io_trim(io, 8 * MIB, MIB));
    CHECK_OK(rep_io_flush(io));
    CHECK_OK(stat(check_path("punched"), &after));
    CHECK(after.st_blocks < before.st_blocks);
    CHECK_OK(rep_io_extents(io, 0, 16 * MIB, extents, 2, &count, &resume));
    CHECK_EQ(count, 0);
    rep_io_free(io);
}

static void a_shortened_file_is_an_error_not_zeros(void)
{
    char byte;
    rep_extent extent;
    size_t count;
    uint64_t resume;
    rep_io *io = open_file("shortened", MIB);
    CHECK_OK(truncate(check_path("shortened"), 4096));
    CHECK_ERRNO(rep_io_pread(io, &byte, 1, MIB - 1), EIO);
    CHECK_ERRNO(rep_io_extents(io, 0, MIB, &extent, 1, &count, &resume), EIO);
    rep_io_free(io);
}

static void it_is_recognised_until_something_changes(void)
{
    rep_io_file_identity first;
    rep_io_file_identity second;
    struct stat status;
    rep_io *io = open_file("identity", 12345);
    CHECK_OK(rep_io_file_identify(io, &first));
    rep_io_free(io);
    CHECK_OK(stat(check_path("identity"), &status));
    CHECK_EQ(first.inode, status.st_ino);
    CHECK_EQ(first.device, status.st_dev);
    CHECK_EQ(first.size_bytes, 12345);
    CHECK_EQ(first.mtime_ns % 1000000000, status.st_mtim.tv_nsec);
    CHECK_OK(rep_io_file_open(check_path("identity"), &io));
    CHECK_OK(rep_io_file_identify(io, &second));
    CHECK_EQ(first.ctime_ns, second.ctime_ns);
    const struct timespec times[2] = {{.tv_sec = 1, .tv_nsec = 0}, {.tv_sec = 2, .tv_nsec = 3}};
    CHECK_OK(futimens(rep_io_descriptor(io), times));
    CHECK_OK(rep_io_file_identify(io, &second));
    CHECK_EQ(second.mtime_ns, 2000000003);
    CHECK(first.ctime_ns <= second.ctime_ns);
    rep_io_free(io);
}

static void only_files_have_an_identity(void)
{
    rep_io_file_identity identity;
    rep_io *io;
    CHECK_OK(rep_io_memory_new(1, &io));
    CHECK_ERRNO(rep_io_file_identify(io, &identity), ENOTSUP);
    rep_io_free(io);
}

int main(void)
{
    RUN(it_holds_what_was_written);
    RUN(ranges_past_the_end_are_refused_and_it_keeps_its_size);
    RUN(what_is_not_a_regular_file_is_refused);
    RUN(a_second_open_in_this_process_conflicts);
    RUN(another_process_conflicts);
    RUN(a_reader_needs_no_lock_and_can_not_write);
    RUN(its_descriptor_closes_on_exec);
    RUN(a_file_of_holes_has_no_extents);
    RUN(extents_name_data_and_leave_out_holes);
    RUN(extents_are_cut_to_the_range_and_resume);
    RUN(zeros_become_holes);
    RUN(a_shortened_file_is_an_error_not_zeros);
    RUN(it_is_recognised_until_something_changes);
    RUN(only_files_have_an_identity);
    return 0;
}
