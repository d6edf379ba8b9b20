/* io_model: any rep_io beside a plain array of bytes. */
#ifndef IO_MODEL_H
#define IO_MODEL_H

#include "check.h"
#include "rep_io.h"

static inline void io_model_fill(uint64_t *random, char *bytes, uint64_t length)
{
    for (uint64_t i = 0; i < length; i++)
        bytes[i] = (char)check_random(random);
}

static inline void io_model_compare(rep_io *io, const char *model)
{
    char *bytes = check_alloc(rep_io_size(io));
    CHECK_OK(rep_io_pread(io, bytes, rep_io_size(io), 0));
    CHECK_BYTES(bytes, model, rep_io_size(io));
    free(bytes);
}

static inline void io_model_step(rep_io *io, char *model, uint64_t *random, char *bytes)
{
    uint64_t size = rep_io_size(io);
    uint64_t offset = check_below(random, size);
    uint64_t length = check_below(random, check_random(random) % 4 ? 600 : size) % (size - offset);
    switch (check_below(random, 8)) {
    case 0:
        CHECK_OK(rep_io_zero(io, offset, length));
        memset(model + offset, 0, length);
        break;
    case 1:
        CHECK_OK(rep_io_trim(io, offset, length));
        memset(model + offset, 0, length);
        break;
    case 2:
        CHECK_OK(rep_io_flush(io));
        break;
    case 3:
    case 4:
        CHECK_OK(rep_io_pread(io, bytes, length, offset));
        CHECK_BYTES(bytes, model + offset, length);
        break;
    default:
        io_model_fill(random, bytes, length);
        CHECK_OK(rep_io_pwrite(io, bytes, length, offset));
        memcpy(model + offset, bytes, length);
    }
}

/* Random operations; `model` holds what `io` holds, before and after. */
static inline void io_model_run(rep_io *io, char *model, uint64_t seed, int steps)
{
    char *bytes = check_alloc(rep_io_size(io));
    for (int i = 0; i < steps; i++)
        io_model_step(io, model, &seed, bytes);
    free(bytes);
    io_model_compare(io, model);
}

/* What isn't in an extent reads as zeros; extents come in order, whatever the room for them. */
static inline void io_model_check_extents(rep_io *io, const char *model)
{
    uint64_t size = rep_io_size(io);
    uint64_t done = 0;
    for (uint64_t at = 0; at < size;) {
        rep_extent out[2];
        size_t count;
        uint64_t before = at;
        CHECK_OK(rep_io_extents(io, at, size - at, out, 2, &count, &at));
        CHECK(at > before && at <= size);
        for (size_t i = 0; i < count; i++) {
            CHECK(out[i].offset >= done && out[i].length && out[i].offset + out[i].length <= at);
            for (uint64_t hole = done; hole < out[i].offset; hole++)
                CHECK_EQ(model[hole], 0);
            done = out[i].offset + out[i].length;
        }
    }
    for (uint64_t hole = done; hole < size; hole++)
        CHECK_EQ(model[hole], 0);
}

/* Ranges past the end change nothing and are refused by every operation. */
static inline void io_model_check_ranges(rep_io *io)
{
    uint64_t size = rep_io_size(io);
    const rep_extent bad[] = {
        {size, 1},
        {size - 1, 2},
        {0, size + 1},
        {size + 1, 0},
        {UINT64_MAX, 1},
        {1, UINT64_MAX},
        {UINT64_MAX, UINT64_MAX},
    };
    char *before = check_alloc(size);
    char byte[2] = {1, 1};
    rep_extent extent;
    size_t count;
    uint64_t resume;
    CHECK_OK(rep_io_pread(io, before, size, 0));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint64_t offset = bad[i].offset;
        uint64_t length = bad[i].length;
        CHECK_ERRNO(rep_io_pread(io, byte, length, offset), ERANGE);
        CHECK_ERRNO(rep_io_pwrite(io, byte, length, offset), ERANGE);
        CHECK_ERRNO(rep_io_zero(io, offset, length), ERANGE);
        CHECK_ERRNO(rep_io_trim(io, offset, length), ERANGE);
        CHECK_ERRNO(rep_io_extents(io, offset, length, &extent, 1, &count, &resume), ERANGE);
    }
    CHECK_OK(rep_io_pwrite(io, byte, 0, size));
    CHECK_ERRNO(rep_io_extents(io, 0, size, &extent, 0, &count, &resume), EINVAL);
    io_model_compare(io, before);
    free(before);
}

#endif
