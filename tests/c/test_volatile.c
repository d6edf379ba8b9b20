#include "check.h"
#include "io_model.h"
#include "rep_io_memory.h"
#include "rep_volatile.h"

#define SIZE 65536

typedef struct rig {
    rep_io *base;
    rep_io *io;
} rig;

static rig make_rig(void)
{
    rig r;
    CHECK_OK(rep_io_memory_new(SIZE, &r.base));
    CHECK_OK(rep_volatile_new(r.base, &r.io));
    return r;
}

static void free_rig(rig r)
{
    rep_io_free(r.io);
    rep_io_free(r.base);
}

static void write_byte(rep_io *io, char byte, uint64_t offset)
{
    CHECK_OK(rep_io_pwrite(io, &byte, 1, offset));
}

static int read_byte(rep_io *io, uint64_t offset)
{
    char byte;
    CHECK_OK(rep_io_pread(io, &byte, 1, offset));
    return byte;
}

static void it_holds_what_was_written(void)
{
    rig r = make_rig();
    char *model = check_alloc(SIZE);
    for (uint64_t seed = 0; seed < 20; seed++)
        io_model_run(r.io, model, seed, 100);
    io_model_check_extents(r.io, model);
    CHECK_OK(rep_io_flush(r.io));
    io_model_compare(r.base, model);
    io_model_check_ranges(r.io);
    free(model);
    free_rig(r);
}

static void a_write_is_visible_at_once_and_reaches_the_base_at_flush(void)
{
    rig r = make_rig();
    write_byte(r.io, 5, 100);
    CHECK_EQ(read_byte(r.io, 100), 5);
    CHECK_EQ(read_byte(r.base, 100), 0);
    CHECK_EQ(rep_volatile_unflushed_count(r.io), 1);
    CHECK_OK(rep_io_flush(r.io));
    CHECK_EQ(read_byte(r.base, 100), 5);
    CHECK_EQ(rep_volatile_unflushed_count(r.io), 0);
    CHECK_EQ(rep_volatile_flush_count(r.io), 1);
    free_rig(r);
}

static void unflushed_zeros_and_trims_are_lost_too(void)
{
    rig r = make_rig();
    write_byte(r.io, 5, 100);
    write_byte(r.io, 6, 5000);
    CHECK_OK(rep_io_flush(r.io));
    CHECK_OK(rep_io_zero(r.io, 0, 1000));
    CHECK_OK(rep_io_trim(r.io, 5000, 1));
    CHECK_EQ(read_byte(r.io, 100), 0);
    CHECK_EQ(read_byte(r.io, 5000), 0);
    CHECK_OK(rep_volatile_lose(r.io, 1, 0, 0));
    CHECK_EQ(read_byte(r.io, 100), 5);
    CHECK_EQ(read_byte(r.io, 5000), 6);
    CHECK_EQ(rep_volatile_unflushed_count(r.io), 0);
    free_rig(r);
}

static void what_was_flushed_is_never_lost(void)
{
    rig r = make_rig();
    write_byte(r.io, 5, 100);
    CHECK_OK(rep_io_flush(r.io));
    write_byte(r.io, 6, 100);
    CHECK_OK(rep_volatile_lose(r.io, 1, 0, 0));
    CHECK_EQ(read_byte(r.io, 100), 5);
    CHECK_EQ(read_byte(r.base, 100), 5);
    free_rig(r);
}

static void keeping_all_keeps_their_order(void)
{
    rig r = make_rig();
    write_byte(r.io, 1, 100);
    write_byte(r.io, 2, 100);
    CHECK_OK(rep_volatile_lose(r.io, 1, 1, 0));
    CHECK_EQ(read_byte(r.base, 100), 2);
    free_rig(r);
}

static uint64_t lose_some(uint64_t seed, char *out)
{
    uint64_t kept = 0;
    rig r = make_rig();
    for (unsigned i = 0; i < 1000; i++)
        write_byte(r.io, 1, i);
    CHECK_OK(rep_volatile_lose(r.io, seed, 4, 0));
    CHECK_OK(rep_io_pread(r.base, out, 1000, 0));
    for (unsigned i = 0; i < 1000; i++)
        kept += out[i] == 1;
    free_rig(r);
    return kept;
}

static void each_write_is_kept_or_lost_by_itself(void)
{
    char bytes[1000];
    uint64_t kept = lose_some(7, bytes);
    CHECK(kept > 150 && kept < 350);
}

static void the_same_seed_loses_the_same_writes(void)
{
    char first[1000];
    char second[1000];
    char third[1000];
    lose_some(7, first);
    lose_some(7, second);
    lose_some(8, third);
    CHECK_BYTES(first, second, 1000);
    CHECK(check_difference(first, third, 1000) < 1000);
}

static void a_torn_write_ends_at_a_sector_before_its_end(void)
{
    char ones[2048];
    char seen[3] = {0, 0, 0};
    memset(ones, 1, sizeof ones);
    for (uint64_t seed = 0; seed < 100; seed++) {
        char bytes[2048];
        rig r = make_rig();
        write_byte(r.io, 3, 4000);
        CHECK_OK(rep_io_pwrite(r.io, ones, 1500, 0));
        CHECK_OK(rep_volatile_lose(r.io, seed, 1, 1));
        CHECK_OK(rep_io_pread(r.base, bytes, sizeof bytes, 0));
        size_t whole = check_difference(bytes, ones, sizeof bytes);
        CHECK_EQ(whole % 512, 0);
        CHECK(whole < 1500);
        for (size_t i = whole; i < sizeof bytes; i++)
            CHECK_EQ(bytes[i], 0);
        CHECK_EQ(read_byte(r.base, 4000), 3);
        seen[whole / 512] = 1;
        free_rig(r);
    }
    CHECK(seen[0] && seen[1] && seen[2]);
}

static void writes_and_flushes_fail_from_a_count_on_without_effect(void)
{
    char byte = 9;
    rig r = make_rig();
    rep_volatile_fail_after(r.io, 2, -EIO);
    write_byte(r.io, 1, 0);
    CHECK_OK(rep_io_flush(r.io));
    CHECK_ERRNO(rep_io_pwrite(r.io, &byte, 1, 0), EIO);
    CHECK_ERRNO(rep_io_zero(r.io, 0, 1), EIO);
    CHECK_ERRNO(rep_io_trim(r.io, 0, 1), EIO);
    CHECK_ERRNO(rep_io_flush(r.io), EIO);
    CHECK_EQ(read_byte(r.io, 0), 1);
    CHECK_EQ(rep_volatile_flush_count(r.io), 1);
    rep_volatile_fail_after(r.io, 0, 0);
    write_byte(r.io, 2, 0);
    CHECK_EQ(read_byte(r.io, 0), 2);
    free_rig(r);
}

static void reads_fail_until_healed(void)
{
    char byte;
    rig r = make_rig();
    rep_volatile_fail_reads(r.io, -EIO);
    CHECK_ERRNO(rep_io_pread(r.io, &byte, 1, 0), EIO);
    write_byte(r.io, 4, 0);
    rep_volatile_fail_reads(r.io, 0);
    CHECK_EQ(read_byte(r.io, 0), 4);
    free_rig(r);
}

static void a_flush_that_the_base_fails_loses_nothing(void)
{
    rig r = make_rig();
    rep_io *outer;
    CHECK_OK(rep_volatile_new(r.io, &outer));
    write_byte(outer, 1, 0);
    write_byte(outer, 2, 1);
    rep_volatile_fail_after(r.io, 1, -EIO);
    CHECK_ERRNO(rep_io_flush(outer), EIO);
    CHECK_EQ(rep_volatile_unflushed_count(outer), 1);
    CHECK_EQ(rep_volatile_flush_count(outer), 0);
    CHECK_EQ(read_byte(outer, 0), 1);
    CHECK_EQ(read_byte(outer, 1), 2);
    rep_volatile_fail_after(r.io, 0, 0);
    CHECK_OK(rep_io_flush(outer));
    CHECK_EQ(read_byte(r.base, 0), 1);
    CHECK_EQ(read_byte(r.base, 1), 2);
    rep_io_free(outer);
    free_rig(r);
}

int main(void)
{
    RUN(it_holds_what_was_written);
    RUN(a_write_is_visible_at_once_and_reaches_the_base_at_flush);
    RUN(unflushed_zeros_and_trims_are_lost_too);
    RUN(what_was_flushed_is_never_lost);
    RUN(keeping_all_keeps_their_order);
    RUN(each_write_is_kept_or_lost_by_itself);
    RUN(the_same_seed_loses_the_same_writes);
    RUN(a_torn_write_ends_at_a_sector_before_its_end);
    RUN(writes_and_flushes_fail_from_a_count_on_without_effect);
    RUN(reads_fail_until_healed);
    RUN(a_flush_that_the_base_fails_loses_nothing);
    return 0;
}
