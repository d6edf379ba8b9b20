/* rep_roaring: what it takes is what a plain reader of the format makes of it, and comes back the
 * same; what it refuses sets nothing. The first byte says of what size the bitmap is. */
#include <errno.h>

#include "fuzz.h"
#include "rep_roaring.h"

#define SIZE_STEP 4099U

static void check_same(const rep_bitmap *one, const rep_bitmap *other)
{
    uint64_t first;
    uint64_t count;
    FUZZ_CHECK(!rep_bitmap_next_run(one, other, REP_BITMAP_DIFFERENCE, 0, 0, &first, &count));
    FUZZ_CHECK(!rep_bitmap_next_run(other, one, REP_BITMAP_DIFFERENCE, 0, 0, &first, &count));
}

static void check_taken(const rep_bitmap *bitmap, uint64_t highest)
{
    uint64_t again = 0;
    rep_roaring sent;
    rep_bitmap *back;
    FUZZ_CHECK(!rep_roaring_encode(bitmap, &sent));
    FUZZ_CHECK(!rep_bitmap_new(rep_bitmap_size(bitmap), &back));
    FUZZ_CHECK(!rep_roaring_decode(sent.bytes, sent.byte_count, back, &again));
    check_same(bitmap, back);
    if (rep_bitmap_any(bitmap)) {
        FUZZ_CHECK(highest == again && rep_bitmap_test(bitmap, highest) == 1);
        if (highest + 1 < rep_bitmap_size(bitmap))
            FUZZ_CHECK(!rep_bitmap_next_run(bitmap, NULL, REP_BITMAP_UNION, highest + 1, 0, &again,
                                            &again));
    }
    rep_roaring_release(&sent);
    rep_bitmap_free(back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {.at = data, .left = size};
    uint64_t bits = (fuzz_u8(&input) + 1ULL) * SIZE_STEP;
    uint64_t highest = 0;
    rep_bitmap *bitmap;
    FUZZ_CHECK(!rep_bitmap_new(bits, &bitmap));
    int rc = rep_roaring_decode(input.at, input.left, bitmap, &highest);
    if (rc) {
        FUZZ_CHECK(rc == -EBADMSG || (rc == -ERANGE && highest >= bits));
        FUZZ_CHECK(!rep_bitmap_any(bitmap));
    } else {
        check_taken(bitmap, highest);
    }
    rep_bitmap_free(bitmap);
    return 0;
}

static void take_runs(fuzz_take *take, const char *name, uint64_t step, uint64_t length)
{
    rep_roaring sent;
    rep_bitmap *bitmap;
    FUZZ_CHECK(!rep_bitmap_new(256 * SIZE_STEP, &bitmap));
    for (uint64_t first = 0; first + length <= rep_bitmap_size(bitmap); first += step)
        FUZZ_CHECK(!rep_bitmap_set(bitmap, first, length));
    FUZZ_CHECK(!rep_roaring_encode(bitmap, &sent));
    uint8_t *seed = malloc(sent.byte_count + 1);
    FUZZ_CHECK(seed);
    seed[0] = 255;
    memcpy(seed + 1, sent.bytes, sent.byte_count);
    take(name, seed, sent.byte_count + 1);
    free(seed);
    rep_roaring_release(&sent);
    rep_bitmap_free(bitmap);
}

void fuzz_seeds(fuzz_take *take)
{
    take("empty", "\1\72\60\0\0\0\0\0", 9);
    take_runs(take, "arrays", 70000, 1);
    take_runs(take, "runs", 9000, 100);
    take_runs(take, "bitsets", 7, 3);
    take_runs(take, "full", 600000, 600000);
}
