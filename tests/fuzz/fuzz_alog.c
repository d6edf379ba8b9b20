/* rep_alog: a log of any bytes is refused, or read as far as its file goes; what it holds for a row
 * lies in the row's bitmap; and a log that was read begins anew: what is written then is found by
 * the next one to read it.
 *
 * Of the input, byte 0 says what the file is: an own one from its first byte on, or patches (block,
 * offset in fours, length, bytes) of a log that a volume has worked with. Bit 1: the checksums of
 * what was changed are put right, so that damage reaches what is behind them. */
#include <endian.h>
#include <errno.h>

#include "alog_parts.h"
#include "fuzz.h"
#include "rep_crc.h"
#include "rep_io_memory.h"

#define REGION (1ULL << 20)
#define REGIONS 6ULL
#define SIZE (REGIONS * REGION - 4096)
#define CHUNK 8192ULL
#define SLOTS 4U
#define PATCHES 1U
#define RIGHT 2U

static const uint8_t row[16] = {3};

static rep_alog_shape fuzz_shape(void)
{
    rep_alog_shape shape = {.size_bytes = SIZE, .region_bytes = REGION, .slot_count = SLOTS};
    memset(shape.system_id, 1, sizeof shape.system_id);
    memset(shape.volume_id, 2, sizeof shape.volume_id);
    return shape;
}

/* A volume with one row that marks, on a log; the row's file is in memory, too. */
typedef struct site {
    rep_io *disk;
    rep_io *pages;
    rep_tree *tree;
    rep_volume *volume;
    rep_link *link;
    rep_bitmap_file *file;
} site;

static void site_begin(site *s, rep_alog *log)
{
    rep_bitmap_key key = {.bit_count = (SIZE + CHUNK - 1) / CHUNK, .chunk_bytes = CHUNK};
    FUZZ_CHECK(!rep_io_memory_new(SIZE, &s->disk));
    FUZZ_CHECK(!rep_io_memory_new(rep_bitmap_file_bytes(&key), &s->pages));
    FUZZ_CHECK(!rep_tree_new(1, &s->tree));
    FUZZ_CHECK(!rep_volume_new(s->disk, s->tree, &s->volume));
    FUZZ_CHECK(!rep_link_new(s->volume, CHUNK, 0, &s->link));
    FUZZ_CHECK(!rep_bitmap_file_create_on(s->pages, &key, 1, &s->file));
    FUZZ_CHECK(!rep_alog_begin(log, s->volume));
    FUZZ_CHECK(!rep_link_keep(s->link, s->file, row));
    FUZZ_CHECK(!rep_link_mark(s->link));
}

static void site_write(const site *s, uint64_t region)
{
    uint64_t done;
    FUZZ_CHECK(!rep_volume_pwrite(s->volume, "x", 1, region * REGION, 0, REP_NO_DEADLINE, NULL,
                                  NULL, &done));
}

static void site_end(const site *s, rep_alog *log)
{
    rep_link_free(s->link);
    rep_volume_free(s->volume);
    rep_alog_free(log);
    rep_bitmap_file_free(s->file);
    rep_tree_free(s->tree);
    rep_io_free(s->pages);
    rep_io_free(s->disk);
}

/* Bytes of a log that worked: regions came and left. */
static const uint8_t *worked(void)
{
    static uint8_t *bytes;
    if (bytes)
        return bytes;
    rep_alog_shape shape = fuzz_shape();
    rep_io *io;
    rep_alog *log;
    site s;
    FUZZ_CHECK(!rep_io_memory_new(rep_alog_bytes(&shape), &io));
    FUZZ_CHECK(!rep_alog_format(io, &shape));
    FUZZ_CHECK(!rep_alog_open(io, &shape, &log));
    site_begin(&s, log);
    for (uint64_t i = 0; i < 3 * REGIONS; i++)
        site_write(&s, i * 5 % REGIONS);
    site_end(&s, log);
    bytes = malloc(rep_alog_bytes(&shape));
    FUZZ_CHECK(bytes && !rep_io_pread(io, bytes, rep_alog_bytes(&shape), 0));
    rep_io_free(io);
    return bytes;
}

static void put_checksum(uint8_t *block)
{
    uint32_t crc = htole32(rep_crc32c(0, block, REP_ALOG_CRC_OFFSET));
    memcpy(block + REP_ALOG_CRC_OFFSET, &crc, sizeof crc);
}

static void patch(fuzz_input *input, uint8_t *file, uint64_t blocks, bool right)
{
    memcpy(file, worked(), blocks * REP_ALOG_BLOCK);
    while (input->left) {
        uint8_t *block = file + fuzz_u8(input) % blocks * REP_ALOG_BLOCK;
        size_t offset = fuzz_u16(input) % (REP_ALOG_BLOCK / 4) * 4;
        size_t length = fuzz_u8(input);
        const uint8_t *bytes = fuzz_bytes(input, &length);
        if (length > REP_ALOG_BLOCK - offset)
            length = REP_ALOG_BLOCK - offset;
        if (length)
            memcpy(block + offset, bytes, length);
        if (right)
            put_checksum(block);
    }
}

static void fill(fuzz_input *input, uint8_t *file, uint64_t blocks, bool right)
{
    size_t length = blocks * REP_ALOG_BLOCK;
    const uint8_t *bytes = fuzz_bytes(input, &length);
    if (length)
        memcpy(file, bytes, length);
    for (uint64_t i = 0; right && i < length / REP_ALOG_BLOCK; i++)
        put_checksum(file + i * REP_ALOG_BLOCK);
}

static void check_replay(const rep_alog *log, uint64_t chunk_bytes)
{
    rep_bitmap *bits;
    rep_bitmap *other;
    uint64_t count = (SIZE + chunk_bytes - 1) / chunk_bytes;
    const uint8_t nobody[16] = {9};
    FUZZ_CHECK(!rep_bitmap_new(count, &bits));
    FUZZ_CHECK(!rep_bitmap_new(count, &other));
    FUZZ_CHECK(!rep_alog_replay(log, row, chunk_bytes, bits));
    FUZZ_CHECK(!rep_alog_replay(log, nobody, chunk_bytes, other));
    /* Whoever's row it is, what was hot is pending; it may be the same region in several slots. */
    FUZZ_CHECK(rep_alog_past_hot(log) <= SLOTS);
    FUZZ_CHECK(!rep_alog_past_hot(log) == !rep_bitmap_any(other));
    FUZZ_CHECK(rep_bitmap_count(bits) >= rep_bitmap_count(other));
    rep_bitmap_free(bits);
    rep_bitmap_free(other);
}

static void check_works(rep_io *io, rep_alog *log)
{
    rep_alog_shape shape = fuzz_shape();
    rep_bitmap *bits;
    site s;
    site_begin(&s, log);
    for (uint64_t region = 0; region < REGIONS; region++)
        site_write(&s, region);
    site_end(&s, log);
    FUZZ_CHECK(!rep_alog_open(io, &shape, &log));
    FUZZ_CHECK(rep_alog_past_hot(log) == SLOTS);
    FUZZ_CHECK(!rep_bitmap_new((SIZE + CHUNK - 1) / CHUNK, &bits));
    FUZZ_CHECK(!rep_alog_replay(log, row, CHUNK, bits));
    for (uint64_t region = 0; region < REGIONS; region++)
        FUZZ_CHECK(rep_bitmap_test(bits, region * REGION / CHUNK) == 1);
    rep_bitmap_free(bits);
    rep_alog_free(log);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {.at = data, .left = size};
    rep_alog_shape shape = fuzz_shape();
    uint64_t bytes = rep_alog_bytes(&shape);
    uint8_t how = fuzz_u8(&input);
    uint8_t *file = calloc(1, bytes);
    rep_io *io;
    rep_alog *log;
    FUZZ_CHECK(file);
    if (how & PATCHES)
        patch(&input, file, bytes / REP_ALOG_BLOCK, how & RIGHT);
    else
        fill(&input, file, bytes / REP_ALOG_BLOCK, how & RIGHT);
    FUZZ_CHECK(!rep_io_memory_new(bytes, &io));
    FUZZ_CHECK(!rep_io_pwrite(io, file, bytes, 0));
    free(file);
    int rc = rep_alog_open(io, &shape, &log);
    if (rc) {
        FUZZ_CHECK(rc == -EBADMSG || rc == -EPROTO || rc == -EXDEV || rc == -ENODATA);
    } else if (log->shape.slot_count == SLOTS && log->shape.region_bytes == REGION) {
        check_replay(log, CHUNK);
        check_replay(log, 4096);
        check_replay(log, REGION);
        check_works(io, log);
    } else {
        rep_alog_free(log); /* another shape, of a file as large: the engine makes a new one */
    }
    rep_io_free(io);
    return 0;
}

/* A patch of one field: of a block's head, of the header, of a record. */
static void take_patch(fuzz_take *take, const char *name, uint8_t block, uint16_t offset,
                       uint64_t value)
{
    uint8_t seed[1 + 4 + 8] = {PATCHES | RIGHT, block, (uint8_t)(offset / 4),
                               (uint8_t)(offset / 4 >> 8), 8};
    for (int i = 0; i < 8; i++)
        seed[5 + i] = (uint8_t)(value >> (8 * i));
    take(name, seed, sizeof seed);
}

void fuzz_seeds(fuzz_take *take)
{
    static const uint8_t whole[1] = {PATCHES};
    uint8_t *own = malloc(1 + 24ULL * REP_ALOG_BLOCK);
    FUZZ_CHECK(own);
    take("worked", whole, sizeof whole);
    own[0] = RIGHT;
    memcpy(own + 1, worked(), 24ULL * REP_ALOG_BLOCK);
    take("its-bytes", own, 1 + 24ULL * REP_ALOG_BLOCK);
    take("its-header", own, 1 + REP_ALOG_BLOCK);
    free(own);
    /* The last block that was written is number 20: its sequence is 19. */
    take_patch(take, "far-sequence", 20, 8, 19 + (256ULL << 40));
    take_patch(take, "last-sequence", 20, 8, UINT64_MAX - 236);
    take_patch(take, "early-tail", 20, 24, 1);
    take_patch(take, "late-tail", 20, 24, 1000);
    take_patch(take, "late-reset", 20, 32, 1000);
    take_patch(take, "context", 20, 40, 0x0000000300000002ULL);
    take_patch(take, "body", 20, 48, 0xffffffffULL);
    take_patch(take, "record", 20, 88, 0x0000000200180002ULL);
    take_patch(take, "slots", 0, 64, 0x0000010000000080ULL);
}
