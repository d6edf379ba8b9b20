#include <pthread.h>

#include "check.h"
#include "io_model.h"
#include "rep_io_memory.h"
#include "rep_overlay.h"

/* A base that ends the program when it is changed, and can fail to be read. */
typedef struct guarded {
    rep_io io;
    rep_io *memory;
    int read_error;
} guarded;

static int guarded_pread(rep_io *io, void *buffer, uint64_t length, uint64_t offset)
{
    const guarded *g = (guarded *)(void *)io;
    return g->read_error ? g->read_error : rep_io_pread(g->memory, buffer, length, offset);
}

static int guarded_pwrite(rep_io *io, const void *buffer, uint64_t length, uint64_t offset)
{
    (void)io;
    (void)buffer;
    CHECK_FAIL("base written at %" PRIu64 ", %" PRIu64 " bytes", offset, length);
}

static int guarded_zero(rep_io *io, uint64_t offset, uint64_t length)
{
    (void)io;
    CHECK_FAIL("base zeroed at %" PRIu64 ", %" PRIu64 " bytes", offset, length);
}

static int guarded_flush(rep_io *io)
{
    (void)io;
    CHECK_FAIL("base flushed");
}

static void guarded_free(rep_io *io)
{
    guarded *g = (guarded *)(void *)io;
    rep_io_free(g->memory);
    free(g);
}

static const rep_io_ops guarded_ops = {
    .name = "guarded",
    .pread = guarded_pread,
    .pwrite = guarded_pwrite,
    .flush = guarded_flush,
    .zero = guarded_zero,
    .trim = guarded_zero,
    .free = guarded_free,
};

/* Random bytes, given out in `model`. */
static guarded *make_base(uint64_t size, char *model)
{
    uint64_t random = size;
    guarded *g = check_alloc(sizeof *g);
    CHECK_OK(rep_io_memory_new(size, &g->memory));
    io_model_fill(&random, model, size);
    CHECK_OK(rep_io_pwrite(g->memory, model, size, 0));
    g->io = (rep_io){.ops = &guarded_ops, .size_bytes = size};
    return g;
}

static void it_holds_what_was_written_and_never_writes_its_base(void)
{
    const uint64_t sizes[] = {1, 4095, 4096, 4097, 40000, 3000000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        rep_io *overlay;
        char *model = check_alloc(sizes[i]);
        char *before = check_alloc(sizes[i]);
        guarded *base = make_base(sizes[i], model);
        memcpy(before, model, sizes[i]);
        CHECK_OK(rep_overlay_new(&base->io, &overlay));
        io_model_compare(overlay, model);
        io_model_run(overlay, model, i, 300);
        io_model_check_extents(overlay, model);
        io_model_compare(&base->io, before);
        rep_io_free(overlay);
        rep_io_free(&base->io);
        free(model);
        free(before);
    }
}

static void ranges_past_the_end_are_refused(void)
{
    rep_io *overlay;
    char model[5000];
    guarded *base = make_base(sizeof model, model);
    CHECK_OK(rep_overlay_new(&base->io, &overlay));
    io_model_check_ranges(overlay);
    rep_io_free(overlay);
    rep_io_free(&base->io);
}

static void it_costs_the_pages_that_were_written(void)
{
    rep_io *overlay;
    char *model = check_alloc(100 * 4096);
    guarded *base = make_base(100 * 4096, model);
    CHECK_OK(rep_overlay_new(&base->io, &overlay));
    CHECK_EQ(rep_overlay_dirty_bytes(overlay), 0);
    CHECK_OK(rep_io_pwrite(overlay, model, 2, 3 * 4096 - 1));
    CHECK_EQ(rep_overlay_dirty_bytes(overlay), 2 * 4096);
    CHECK_OK(rep_io_pwrite(overlay, model, 4096, 3 * 4096));
    CHECK_EQ(rep_overlay_dirty_bytes(overlay), 2 * 4096);
    rep_io_free(overlay);
    rep_io_free(&base->io);
    free(model);
}

static void whole_pages_of_zeros_cost_nothing(void)
{
    rep_io *overlay;
    char *model = check_alloc(100 * 4096);
    guarded *base = make_base(100 * 4096, model);
    CHECK_OK(rep_overlay_new(&base->io, &overlay));
    CHECK_OK(rep_io_pwrite(overlay, model, 10 * 4096, 0));
    CHECK_OK(rep_io_zero(overlay, 0, 100 * 4096));
    CHECK_EQ(rep_overlay_dirty_bytes(overlay), 0);
    memset(model, 0, 100 * 4096);
    io_model_compare(overlay, model);
    model[5000] = 1;
    CHECK_OK(rep_io_pwrite(overlay, model + 5000, 1, 5000));
    CHECK_EQ(rep_overlay_dirty_bytes(overlay), 4096);
    io_model_compare(overlay, model);
    rep_io_free(overlay);
    rep_io_free(&base->io);
    free(model);
}

static void check_extent(rep_io *io, uint64_t from, uint64_t first, uint64_t end)
{
    rep_extent extent;
    size_t count;
    uint64_t resume;
    CHECK_OK(rep_io_extents(io, from, rep_io_size(io) - from, &extent, 1, &count, &resume));
    CHECK_EQ(count, 1);
    CHECK_EQ(extent.offset, first);
    CHECK_EQ(extent.offset + extent.length, end);
    CHECK_EQ(resume, end);
}

static void its_holes_are_the_pages_zeroed_here_or_below(void)
{
    rep_io *lower;
    rep_io *upper;
    char *model = check_alloc(100 * 4096);
    guarded *base = make_base(100 * 4096, model);
    CHECK_OK(rep_overlay_new(&base->io, &lower));
    CHECK_OK(rep_overlay_new(lower, &upper));
    check_extent(upper, 0, 0, 100 * 4096);
    CHECK_OK(rep_io_zero(lower, 10 * 4096, 20 * 4096));
    CHECK_OK(rep_io_zero(upper, 40 * 4096, 20 * 4096));
    check_extent(upper, 0, 0, 10 * 4096);
    check_extent(upper, 10 * 4096, 30 * 4096, 40 * 4096);
    check_extent(upper, 40 * 4096, 60 * 4096, 100 * 4096);
    CHECK_OK(rep_io_pwrite(upper, model, 1, 15 * 4096));
    CHECK_OK(rep_io_pwrite(upper, model, 2, 45 * 4096 - 1));
    check_extent(upper, 10 * 4096, 15 * 4096, 16 * 4096);
    check_extent(upper, 40 * 4096, 44 * 4096, 46 * 4096);
    rep_io_free(upper);
    rep_io_free(lower);
    rep_io_free(&base->io);
    free(model);
}

static void a_base_that_can_not_be_read_fails_only_what_needs_it(void)
{
    rep_io *overlay;
    char model[3 * 4096];
    char byte = 1;
    guarded *base = make_base(sizeof model, model);
    CHECK_OK(rep_overlay_new(&base->io, &overlay));
    base->read_error = -EIO;
    CHECK_ERRNO(rep_io_pwrite(overlay, &byte, 1, 100), EIO);
    CHECK_ERRNO(rep_io_pread(overlay, &byte, 1, 100), EIO);
    CHECK_OK(rep_io_pwrite(overlay, model + 1, 4096, 4096));
    CHECK_EQ(rep_overlay_dirty_bytes(overlay), 4096);
    memmove(model + 4096, model + 1, 4096);
    base->read_error = 0;
    io_model_compare(overlay, model);
    rep_io_free(overlay);
    rep_io_free(&base->io);
}

static void an_empty_base_is_refused(void)
{
    rep_io empty = {.ops = &guarded_ops, .size_bytes = 0};
    rep_io *overlay;
    CHECK_ERRNO(rep_overlay_new(&empty, &overlay), EINVAL);
}

#define WORKERS 4
#define SHARED_BYTES 65536

static void *write_and_read(void *argument)
{
    rep_io *overlay = argument;
    char bytes[6000];
    uint64_t random = 1;
    memset(bytes, 7, sizeof bytes);
    for (int i = 0; i < 2000; i++) {
        uint64_t offset = check_below(&random, SHARED_BYTES - sizeof bytes);
        CHECK_OK(rep_io_pwrite(overlay, bytes, sizeof bytes, offset));
        CHECK_OK(rep_io_pread(overlay, bytes, sizeof bytes, offset));
    }
    return NULL;
}

static void overlapping_calls_may_run_beside_each_other(void)
{
    rep_io *overlay;
    pthread_t workers[WORKERS];
    char *model = check_alloc(SHARED_BYTES);
    guarded *base = make_base(SHARED_BYTES, model);
    CHECK_OK(rep_overlay_new(&base->io, &overlay));
    for (int i = 0; i < WORKERS; i++)
        CHECK_OK(pthread_create(&workers[i], NULL, write_and_read, overlay));
    for (int i = 0; i < WORKERS; i++)
        CHECK_OK(pthread_join(workers[i], NULL));
    rep_io_free(overlay);
    rep_io_free(&base->io);
    free(model);
}

int main(void)
{
    RUN(it_holds_what_was_written_and_never_writes_its_base);
    RUN(ranges_past_the_end_are_refused);
    RUN(it_costs_the_pages_that_were_written);
    RUN(whole_pages_of_zeros_cost_nothing);
    RUN(its_holes_are_the_pages_zeroed_here_or_below);
    RUN(a_base_that_can_not_be_read_fails_only_what_needs_it);
    RUN(an_empty_base_is_refused);
    RUN(overlapping_calls_may_run_beside_each_other);
    return 0;
}
