/* The portable Roaring format out and in; what other writers make of it: tests/property. */
#include "bitmap_model.h"
#include "rep_roaring.h"

#define SIZE 300000U

static void check_round_trip(bitmap_model m)
{
    rep_roaring sent;
    uint64_t highest = 0;
    bitmap_model into = bitmap_model_new(m.size);
    CHECK_OK(rep_roaring_encode(m.bitmap, &sent));
    CHECK_OK(rep_roaring_decode(sent.bytes, sent.byte_count, into.bitmap, &highest));
    memcpy(into.bits, m.bits, m.size);
    bitmap_model_check(into);
    /* Every shortened one is refused, and so is a byte more. */
    uint64_t step = sent.byte_count / 200 + 1;
    for (uint64_t length = 0; length < sent.byte_count; length += step) {
        rep_bitmap *untouched;
        CHECK_OK(rep_bitmap_new(m.size, &untouched));
        uint8_t *copy = check_alloc(length + 1);
        memcpy(copy, sent.bytes, length);
        CHECK_ERRNO(rep_roaring_decode(copy, length, untouched, &highest), EBADMSG);
        CHECK_EQ(rep_bitmap_any(untouched), 0);
        free(copy);
        rep_bitmap_free(untouched);
    }
    uint8_t *longer = check_alloc(sent.byte_count + 1);
    memcpy(longer, sent.bytes, sent.byte_count);
    CHECK_ERRNO(rep_roaring_decode(longer, sent.byte_count + 1, into.bitmap, &highest), EBADMSG);
    free(longer);
    rep_roaring_release(&sent);
    bitmap_model_free(into);
}

static void any_bits_round_trip(void)
{
    const uint64_t sizes[] = {1, 64, 65536, 65537, SIZE};
    uint64_t random = 3;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int round = 0; round < 12; round++) {
            bitmap_model m = bitmap_model_new(sizes[i]);
            bitmap_model_scatter(m, &random, round * round);
            check_round_trip(m);
            bitmap_model_free(m);
        }
}

static void arrays_bitsets_and_runs_are_chosen_by_their_size(void)
{
    bitmap_model m = bitmap_model_new(SIZE);
    rep_roaring sent;
    for (uint64_t i = 0; i < 65536; i += 16)
        bitmap_model_set(m, i, 1); /* 4096 values: an array, 8192 bytes */
    for (uint64_t i = 65536; i < 131072; i += 15)
        bitmap_model_set(m, i, 1); /* more: a bitset, 8192 bytes */
    bitmap_model_set(m, 131072, 65536);
    bitmap_model_set(m, 262144, 3); /* 6 bytes both ways: a run */
    CHECK_OK(rep_roaring_encode(m.bitmap, &sent));
    CHECK_EQ(sent.byte_count, 4 + 1 + 4 * 8 + 8192 + 8192 + 6 + 6);
    CHECK_EQ(sent.bytes[4], 1 << 2 | 1 << 3);
    rep_roaring_release(&sent);
    check_round_trip(m);
    bitmap_model_free(m);
}

static void a_bit_that_32_bits_cannot_name_is_an_error(void)
{
    rep_bitmap *bitmap;
    rep_roaring sent;
    CHECK_OK(rep_bitmap_new((1ULL << 32) + 100, &bitmap));
    CHECK_OK(rep_bitmap_set(bitmap, UINT32_MAX, 1));
    CHECK_OK(rep_roaring_encode(bitmap, &sent));
    rep_roaring_release(&sent);
    CHECK_OK(rep_bitmap_set(bitmap, 1ULL << 32, 1));
    CHECK_ERRNO(rep_roaring_encode(bitmap, &sent), EOVERFLOW);
    rep_bitmap_free(bitmap);
}

/* Refused by every size, nothing set. `bytes` on the heap, for the sanitizer. */
static void check_refused(const uint8_t *bytes, size_t length, int code)
{
    uint64_t highest = 0;
    rep_bitmap *bitmap;
    uint8_t *copy = check_alloc(length);
    CHECK_OK(rep_bitmap_new(65536, &bitmap));
    memcpy(copy, bytes, length);
    CHECK_ERRNO(rep_roaring_decode(copy, length, bitmap, &highest), code);
    CHECK_EQ(rep_bitmap_any(bitmap), 0);
    free(copy);
    rep_bitmap_free(bitmap);
}

#define REFUSED(code, ...)                                                                         \
    check_refused((const uint8_t[]){__VA_ARGS__}, sizeof (uint8_t[]){__VA_ARGS__}, code)
#define PLAIN(count) 0x3a, 0x30, 0, 0, count, 0, 0, 0
#define RUNS(count) 0x3b, 0x30, (count) - 1, 0

static void what_lies_is_refused(void)
{
    uint64_t highest = 0;
    rep_bitmap *bitmap;
    const uint8_t good[] = {PLAIN(1), 0, 0, 1, 0, 16, 0, 0, 0, 5, 0, 9, 0};
    CHECK_OK(rep_bitmap_new(10, &bitmap));
    CHECK_OK(rep_roaring_decode(good, sizeof good, bitmap, &highest));
    CHECK_EQ(rep_bitmap_count(bitmap), 2);
    CHECK_EQ(highest, 9);
    rep_bitmap_free(bitmap);
    REFUSED(EBADMSG, 0x3c, 0x30, 0, 0, 0, 0, 0, 0);                  /* another cookie */
    REFUSED(EBADMSG, 0x3a, 0x30, 1, 0, 0, 0, 0, 0);                  /* bits above it */
    REFUSED(EBADMSG, 0x3a, 0x30, 0, 0, 1, 0, 1, 0);                  /* 65537 containers */
    REFUSED(EBADMSG, PLAIN(1), 0, 0, 1, 0, 17, 0, 0, 0, 5, 0, 9, 0); /* an offset */
    REFUSED(EBADMSG, PLAIN(1), 0, 0, 1, 0, 16, 0, 0, 0, 9, 0, 5, 0); /* unsorted */
    REFUSED(EBADMSG, PLAIN(1), 0, 0, 1, 0, 16, 0, 0, 0, 5, 0, 5, 0); /* twice */
    REFUSED(EBADMSG, PLAIN(1), 0, 0, 0, 0, 16, 0, 0, 0, 5, 0, 9, 0); /* fewer than there are */
    REFUSED(EBADMSG, PLAIN(2), 1, 0, 0, 0, 1, 0, 0, 0, 24, 0, 0, 0, 26, 0, 0, 0, 5, 0, 9, 0);
    REFUSED(ERANGE, PLAIN(1), 1, 0, 0, 0, 16, 0, 0, 0, 0, 0);               /* past the size */
    REFUSED(EBADMSG, RUNS(1), 1, 0, 0, 4, 0, 1, 0, 5, 0, 5, 0);             /* six, not five */
    REFUSED(EBADMSG, RUNS(1), 1, 0, 0, 0, 0, 0, 0);                         /* no run */
    REFUSED(EBADMSG, RUNS(1), 1, 0, 0, 1, 0, 1, 0, 0xff, 0xff, 1, 0);       /* past its container */
    REFUSED(EBADMSG, RUNS(1), 1, 0, 0, 3, 0, 2, 0, 5, 0, 1, 0, 6, 0, 1, 0); /* overlapping */
    REFUSED(EBADMSG, RUNS(1), 1, 0, 0, 1, 0, 2, 0, 7, 0, 0, 0, 5, 0, 0, 0); /* unsorted runs */
}

static void a_bitset_that_miscounts_is_refused(void)
{
    uint8_t bytes[16 + 8192] = {PLAIN(1), 0, 0, 0, 16, 16};
    memset(bytes + 16, 0xff, 513);
    check_refused(bytes, sizeof bytes, EBADMSG); /* 4104 bits, told as 4097 */
    bytes[16 + 512] = 1;
    rep_bitmap *bitmap;
    uint64_t highest;
    CHECK_OK(rep_bitmap_new(4097, &bitmap));
    CHECK_OK(rep_roaring_decode(bytes, sizeof bytes, bitmap, &highest));
    CHECK_EQ(rep_bitmap_count(bitmap), 4097);
    rep_bitmap_free(bitmap);
}

static void any_changed_byte_is_refused_or_harmless(void)
{
    uint64_t random = 7;
    bitmap_model m = bitmap_model_new(SIZE);
    rep_roaring sent;
    bitmap_model_scatter(m, &random, 60);
    CHECK_OK(rep_roaring_encode(m.bitmap, &sent));
    uint8_t *copy = check_alloc(sent.byte_count);
    for (int round = 0; round < 2000; round++) {
        uint64_t highest = 0;
        rep_bitmap *into;
        CHECK_OK(rep_bitmap_new(SIZE, &into));
        memcpy(copy, sent.bytes, sent.byte_count);
        uint64_t among = round % 2 && sent.byte_count > 100 ? 100 : sent.byte_count;
        copy[check_below(&random, among)] ^= (uint8_t)(1U << check_below(&random, 8));
        int rc = rep_roaring_decode(copy, sent.byte_count, into, &highest);
        if (rc) {
            CHECK(rc == -EBADMSG || (rc == -ERANGE && highest >= SIZE));
            CHECK_EQ(rep_bitmap_any(into), 0);
        } else {
            CHECK(highest < SIZE);
            CHECK_EQ(rep_bitmap_test(into, highest), 1);
        }
        rep_bitmap_free(into);
    }
    free(copy);
    rep_roaring_release(&sent);
    bitmap_model_free(m);
}

int main(void)
{
    RUN(any_bits_round_trip);
    RUN(arrays_bitsets_and_runs_are_chosen_by_their_size);
    RUN(a_bit_that_32_bits_cannot_name_is_an_error);
    RUN(what_lies_is_refused);
    RUN(a_bitset_that_miscounts_is_refused);
    RUN(any_changed_byte_is_refused_or_harmless);
    return 0;
}
