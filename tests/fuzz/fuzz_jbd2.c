/* rep_jbd2: whatever the journal says, a replay refuses it and has written nothing, or ends; it
 * writes nothing into the journal but its superblock; and stopped before any write and begun again
 * it leaves the same. */
#include <errno.h>

#include "fuzz.h"
#include "jbd2_image.h"
#include "rep_jbd2.h"

typedef struct storage {
    rep_io io;
    uint8_t *bytes;
    uint64_t writes;
    uint64_t writes_most; /* then they fail */
    uint64_t reads;
} storage;

/* The log has 1024 blocks; it is read thrice, the copies once more, and what leads to it. */
#define READS_MOST 20000U

static int storage_pread(rep_io *io, void *buffer, uint64_t length, uint64_t offset)
{
    storage *s = (storage *)(void *)io;
    FUZZ_CHECK(++s->reads < READS_MOST);
    memcpy(buffer, s->bytes + offset, length);
    return 0;
}

static int storage_pwrite(rep_io *io, const void *buffer, uint64_t length, uint64_t offset)
{
    storage *s = (storage *)(void *)io;
    if (s->writes == s->writes_most)
        return -EIO;
    s->writes++;
    memcpy(s->bytes + offset, buffer, length);
    return 0;
}

static int storage_flush(rep_io *io)
{
    storage *s = (storage *)(void *)io;
    return s->writes == s->writes_most ? -EIO : 0;
}

static const rep_io_ops storage_ops = {
    .name = "fuzz", .pread = storage_pread, .pwrite = storage_pwrite, .flush = storage_flush};

static int replay(storage *s, uint8_t *bytes, uint64_t writes_most, rep_jbd2_report *report)
{
    *s = (storage){.io = {&storage_ops, IMAGE_BYTES}, .writes_most = writes_most};
    s->bytes = bytes;
    return rep_jbd2_replay(&s->io, report);
}

/* Stopped behind the log's end, the second replay numbers on by one more. */
static void forget_sequence(uint8_t *log_super)
{
    memset(log_super + 24, 0, 4);
    memset(log_super + 252, 0, 4);
}

/* Where the journal's superblock lies: the one block that begins as one and was changed. */
static size_t log_super_of(const uint8_t *before, const uint8_t *done)
{
    for (size_t at = 0; at < IMAGE_BYTES; at += BLOCK)
        if (jbd2_be32(before + at) == 0xc03b3998 && jbd2_be32(before + at + 4) - 3 < 2
            && memcmp(before + at, done + at, BLOCK) != 0)
            return at;
    return (size_t)LOG_FIRST * BLOCK;
}

/* Whether what leads to the journal is as it was: a log may hold copies of that, too, and when they
 * are nonsense, there is no journal to be found any more. */
static int leads_there_still(const uint8_t *before, const uint8_t *done)
{
    uint8_t super[BLOCK];

    memcpy(super, done + BLOCK, BLOCK);
    super[96] |= 4;                             /* needs_recovery */
    memcpy(super + 58, before + BLOCK + 58, 2); /* marked as having errors */
    memcpy(super + 1020, before + BLOCK + 1020, 4);
    return !memcmp(super, before + BLOCK, BLOCK)
           && !memcmp(done + (size_t)2 * BLOCK, before + (size_t)2 * BLOCK,
                      (size_t)(LOG_FIRST - 2) * BLOCK);
}

static void check_again(const uint8_t *before, uint8_t *done, uint64_t writes, uint64_t stop)
{
    static uint8_t again[IMAGE_BYTES];
    storage s;
    rep_jbd2_report report;
    size_t at = log_super_of(before, done);

    memcpy(again, before, IMAGE_BYTES);
    int rc = replay(&s, again, stop % (writes + 1), &report);
    FUZZ_CHECK(rc == 0 || rc == -EIO);
    rc = replay(&s, again, UINT64_MAX, &report);
    FUZZ_CHECK(rc == 0);
    forget_sequence(again + at);
    forget_sequence(done + at);
    FUZZ_CHECK(!memcmp(again, done, IMAGE_BYTES));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t before[IMAGE_BYTES];
    static uint8_t done[IMAGE_BYTES];
    fuzz_input input = {data, size};
    uint64_t stop = fuzz_u8(&input);
    rep_jbd2_report report;
    storage s;

    image_write(before, &input);
    memcpy(done, before, IMAGE_BYTES);
    int rc = replay(&s, done, UINT64_MAX, &report);
    FUZZ_CHECK(memchr(report.text, 0, sizeof report.text));
    if (rc) {
        FUZZ_CHECK(rc == -EUCLEAN || rc == -ENOTSUP);
        FUZZ_CHECK(report.refusal != REP_JBD2_NOT_REFUSED && report.text[0] && !report.recovered);
        FUZZ_CHECK(s.writes == 0);
        return 0;
    }
    FUZZ_CHECK(report.refusal == REP_JBD2_NOT_REFUSED && !report.text[0]);
    if (!report.recovered) {
        FUZZ_CHECK(s.writes == 0);
        return 0;
    }
    FUZZ_CHECK(!(done[1024 + 96] & 4));
    FUZZ_CHECK(report.transactions <= LOG_LENGTH && report.blocks <= LOG_LENGTH);
    if (!leads_there_still(before, done))
        return 0;
    check_again(before, done, s.writes, stop);
    rc = replay(&s, done, UINT64_MAX, &report);
    FUZZ_CHECK(rc == 0 && !report.recovered && s.writes == 0);
    return 0;
}

/* A log with what logs have: copies, escaped ones, revokes, a torn end. */
static void take_log(fuzz_take *take, const char *name, uint8_t features, uint16_t start)
{
    static const uint8_t script[] = {
        0, 3, 100,     0,  101, 3, 102, 2, 103, 2, /* a descriptor of four copies */
        3, 0,                                      /* a commit */
        2, 2, 46,      48,                         /* revokes 46 and 48 of 64 */
        1, 1, 100,     0,  104, 2,                 /* and copies */
        3, 0,                                      /* a commit */
        0, 0, 46 + 64, 0,                          /* a copy newer than its revoke */
        3, 0,                                      /* a commit */
        0, 0, 90,      0,                          /* no commit behind it */
    };
    uint8_t seed[8 + sizeof script] = {3, features, (uint8_t)start, (uint8_t)(start >> 8), 7};

    memcpy(seed + 8, script, sizeof script);
    take(name, seed, sizeof seed);
}

void fuzz_seeds(fuzz_take *take)
{
    static const uint8_t fast[] = {3, HAS_V3 | HAS_FAST, 0, 0, 7, 0, 0, 0, 0, 0, 100, 0, 3, 0, 4,
                                   0};
    static const uint8_t wrong[] = {
        3, HAS_V3 | HAS_ASYNC, 0, 0, 7, 0, 0, 0, 0, 0, 100, 0, 3, 4, 0, 0, 101, 0, 3, 0};

    take_log(take, "plain", 0, 0);
    take_log(take, "wide", HAS_WIDE | HAS_EXTENTS, 5);
    take_log(take, "v1", HAS_V1 | HAS_SUMS, 1015);
    take_log(take, "v2-wide", HAS_V2 | HAS_WIDE, 1015);
    take_log(take, "v3", HAS_V3 | HAS_SUMS | HAS_EXTENTS, 1015);
    take("fast-commit", fast, sizeof fast);
    take("wrong-commit-in-the-middle", wrong, sizeof wrong);
}
