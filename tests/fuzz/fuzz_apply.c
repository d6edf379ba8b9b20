/* rep_apply: two volumes fed by one stream, beside a model that knows what each record does. What
 * is refused has no effect; what a fault or a loss of power takes away is covered (INV-1, INV-3). */
#include "fuzz.h"
#include "rig.h"

#define CHUNKS 5U
#define SIZE (CHUNKS * CHUNK - 512U) /* the last chunk is short */
#define SIDES 2U                     /* channels 1 and 2 */
#define STREAM 7U
#define FRAME_BYTES ((size_t)64 << 10)

typedef struct side {
    vol vol;
    rep_link *link;
    uint8_t content[SIZE];
    bool bound;
    bool written; /* since the last settle */
} side;

typedef struct model {
    side sides[SIDES];
    rep_tree *tree;
    rep_apply *apply;
    bool lacks; /* durable stays where it is until the next start */
    uint8_t frame[FRAME_BYTES];
} model;

static void read_all(const side *s, uint8_t *content)
{
    rep_volatile_fail_reads(s->vol.disk->faulty, 0);
    FUZZ_CHECK(rep_io_pread(s->vol.disk->faulty, content, SIZE, 0) == 0);
}

static void set_bound(model *m, uint32_t index, bool bound)
{
    side *s = &m->sides[index];
    if (bound == s->bound)
        return;
    s->bound = bound;
    if (bound) {
        FUZZ_CHECK(rep_apply_bind(m->apply, index + 1, s->link) == 0);
        return;
    }
    if (index) {
        m->lacks |= rep_apply_unbind_durably(m->apply, index + 1) != 0;
        FUZZ_CHECK(!info_of(s->link).any_unsettled);
    } else {
        m->lacks |= s->written;
        rep_apply_unbind(m->apply, index + 1);
    }
    s->written = false;
    /* As whoever unbinds a row does: what was unsettled becomes pending. */
    FUZZ_CHECK(rep_link_mark(s->link) == 0);
    FUZZ_CHECK(rep_link_idle(s->link) == 0);
}

static void model_new(model *m)
{
    m->tree = tree_new(1);
    CHECK_OK(rep_apply_new(STREAM, &m->apply));
    CHECK_OK(rep_apply_start(m->apply, 1, 1));
    for (uint32_t i = 0; i < SIDES; i++) {
        m->sides[i].vol = vol_new(m->tree, SIZE);
        m->sides[i].link = link_new(m->sides[i].vol, 0);
        set_bound(m, i, true);
    }
}

static void model_free(model *m)
{
    for (uint32_t i = 0; i < SIDES; i++) {
        set_bound(m, i, false);
        rep_link_free(m->sides[i].link);
        vol_free(m->sides[i].vol);
    }
    rep_apply_free(m->apply);
    rep_tree_free(m->tree);
}

/* Every chunk that isn't as the model has it is covered; from here on it is as it is. */
static void check_cover(side *s)
{
    uint8_t now[SIZE];
    read_all(s, now);
    rep_bitmap *cover = cover_of(s->link);
    for (uint64_t chunk = 0; chunk < CHUNKS; chunk++) {
        size_t first = (size_t)(chunk * CHUNK);
        size_t length = SIZE - first < CHUNK ? SIZE - first : (size_t)CHUNK;
        if (memcmp(now + first, s->content + first, length) != 0)
            FUZZ_CHECK(rep_bitmap_test(cover, chunk) == 1);
    }
    rep_bitmap_free(cover);
    memcpy(s->content, now, SIZE);
}

static void check_content(const side *s)
{
    uint8_t now[SIZE];
    read_all(s, now);
    FUZZ_CHECK(!memcmp(now, s->content, SIZE));
}

/* What the records of a frame that was taken do. They are covered, all of them. */
static void follow(model *m, const rep_frame_info *info)
{
    const uint8_t *at = m->frame + REP_FRAME_HEADER_BYTES;
    for (uint32_t i = 0; i < info->record_count; i++) {
        rep_record record;
        at += rep_record_get(at, REP_FRAME_BYTES, &record);
        if (record.type == REP_RECORD_BARRIER)
            continue;
        side *s = &m->sides[record.channel - 1];
        s->written = true;
        if (record.type == REP_RECORD_DATA)
            memcpy(s->content + record.offset, record.payload, record.length);
        else
            memset(s->content + record.offset, 0, record.length);
        for (uint64_t chunk = record.offset / CHUNK;
             chunk <= (record.offset + record.length - 1) / CHUNK; chunk++)
            FUZZ_CHECK(is_covered(s->link, chunk));
    }
}

static int offer(model *m, size_t length)
{
    rep_frame_info info;
    int barrier;
    rep_apply_info before = apply_info(m->apply);
    int rc = rep_apply_frame(m->apply, m->frame, length, NULL, &barrier);
    rep_apply_info after = apply_info(m->apply);
    if (rc == 0) {
        FUZZ_CHECK(rep_frame_check(m->frame, length, &info) == 0);
        FUZZ_CHECK(info.stream_id == STREAM && info.attempt == before.attempt);
        FUZZ_CHECK(info.first_number == before.applied + 1);
        FUZZ_CHECK(after.applied == before.applied + info.record_count);
        follow(m, &info);
    } else {
        FUZZ_CHECK(!barrier && !memcmp(&before, &after, sizeof before));
    }
    for (uint32_t i = 0; i < SIDES; i++) {
        if (rep_apply_take_error(m->apply, i + 1))
            check_cover(&m->sides[i]);
        else
            check_content(&m->sides[i]);
    }
    return rc;
}

/* A record of the input's choice; *sound turns false when it must be refused. */
static size_t put_record(model *m, size_t at, uint64_t number, fuzz_input *input, bool *sound)
{
    static const uint8_t types[] = {REP_RECORD_DATA, REP_RECORD_ZERO, REP_RECORD_TRIM,
                                    REP_RECORD_BARRIER};
    rep_record record = {.type = types[fuzz_u8(input) % 4], .number = number};
    if (record.type != REP_RECORD_BARRIER) {
        record.channel = fuzz_u8(input) % 4;
        record.offset = fuzz_u16(input) % (SIZE + 256);
        record.length = fuzz_u16(input) % (2 * (uint32_t)CHUNK);
        bool bound =
            record.channel >= 1 && record.channel <= SIDES && m->sides[record.channel - 1].bound;
        if (!record.length || !bound || record.offset + record.length > SIZE)
            *sound = false;
    }
    rep_record_put_header(m->frame + at, &record);
    if (record.type != REP_RECORD_DATA)
        return REP_RECORD_HEADER_BYTES;
    memset(m->frame + at + REP_RECORD_HEADER_BYTES, fuzz_u8(input), record.length);
    return REP_RECORD_HEADER_BYTES + record.length;
}

static void offer_records(model *m, fuzz_input *input)
{
    rep_apply_info now = apply_info(m->apply);
    uint8_t wrong = fuzz_u8(input);
    rep_frame_info info = {
        .stream_id = STREAM + (wrong == 1),
        .attempt = now.attempt + (wrong == 2),
        .first_number = now.applied + 1 + (wrong == 3),
        .record_count = fuzz_u8(input) % 6U,
    };
    bool sound = info.record_count && (wrong < 1 || wrong > 3);
    size_t length = REP_FRAME_HEADER_BYTES;
    for (uint32_t i = 0; i < info.record_count; i++)
        length += put_record(m, length, info.first_number + i, input, &sound);
    info.body_bytes = (uint32_t)(length - REP_FRAME_HEADER_BYTES);
    rep_frame_put_header(m->frame, &info);
    FUZZ_CHECK((offer(m, length) == 0) == sound);
}

static void offer_bytes(model *m, fuzz_input *input)
{
    size_t length = fuzz_u16(input) % FRAME_BYTES;
    const uint8_t *bytes = fuzz_bytes(input, &length);
    if (length)
        memcpy(m->frame, bytes, length);
    offer(m, length);
}

static void settle(model *m)
{
    rep_apply_info before = apply_info(m->apply);
    FUZZ_CHECK(rep_apply_settle(m->apply) == 0);
    rep_apply_info info = apply_info(m->apply);
    FUZZ_CHECK(info.durable == (m->lacks ? before.durable : info.applied));
    for (uint32_t i = 0; i < SIDES; i++) {
        side *s = &m->sides[i];
        if (s->bound)
            FUZZ_CHECK(!info_of(s->link).any_unsettled);
        s->written = false;
        rep_apply_take_error(m->apply, i + 1);
        check_content(s);
    }
}

static void start(model *m, fuzz_input *input)
{
    uint64_t attempt = apply_info(m->apply).attempt + fuzz_u8(input) % 3U;
    uint64_t next = fuzz_u8(input) ? fuzz_u64(input) >> 1 : 1;
    bool newer = attempt > apply_info(m->apply).attempt;
    FUZZ_CHECK((rep_apply_start(m->apply, attempt, next) == 0) == (newer && next));
    m->lacks &= !(newer && next);
}

static void step(model *m, fuzz_input *input)
{
    uint8_t choice = fuzz_u8(input);
    uint32_t index = choice & 1;
    side *s = &m->sides[index];
    switch ((choice >> 1) % 8) {
    case 0:
        offer_bytes(m, input);
        break;
    case 1:
        settle(m);
        break;
    case 2:
        rep_volatile_fail_after(s->vol.disk->faulty, fuzz_u8(input) % 8U,
                                fuzz_u8(input) % 4 ? -EIO : 0);
        break;
    case 3:
        start(m, input);
        break;
    case 4:
        set_bound(m, index, !s->bound);
        break;
    case 5:
        FUZZ_CHECK(rep_volatile_lose(s->vol.disk->faulty, fuzz_u8(input), fuzz_u8(input) % 3,
                                     fuzz_u8(input) % 2)
                   == 0);
        check_cover(s);
        break;
    default:
        offer_records(m, input);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {.at = data, .left = size};
    model *m = check_alloc(sizeof *m);
    model_new(m);
    for (int i = 0; input.left && i < 200; i++)
        step(m, &input);
    model_free(m);
    free(m);
    return 0;
}

/* Steps are written as step() reads them: choice = 2 * case + side. */
void fuzz_seeds(fuzz_take *take)
{
    static const uint8_t applied[] = {12, 9, 2, 0, 1,  0, 16, 0, 16, 'a', 1,   2, 0,
                                      0,  1, 0, 2, 12, 0, 1,  3, 12, 0,   2,   2, 1,
                                      1,  0, 9, 9, 0,  2, 0,  0, 4,  4,   'b', 2};
    static const uint8_t faulty[] = {4,  1,   1, 12, 0, 3, 0, 1, 0, 0, 0, 16, 'a', 0,  1, 0, 32, 0,
                                     16, 'b', 1, 1,  8, 8, 8, 8, 2, 4, 0, 0,  2,   10, 5, 2, 1,  2};
    static const uint8_t bound[] = {8, 12, 0, 1, 0, 1, 0,   0,  1, 0, 'a', 8, 6, 1, 0, 12, 0,   1,
                                    0, 1,  0, 0, 1, 0, 'a', 12, 1, 1, 0,   1, 0, 0, 1, 0,  'a', 2};
    take("applied", applied, sizeof applied);
    take("faulty", faulty, sizeof faulty);
    take("bound", bound, sizeof bound);
    uint8_t frame[1 + 2 + REP_FRAME_HEADER_BYTES + REP_RECORD_HEADER_BYTES] = {0};
    frame[1] = sizeof frame - 3;
    rep_frame_put_header(frame + 3, &(rep_frame_info){.stream_id = STREAM,
                                                      .attempt = 1,
                                                      .first_number = 1,
                                                      .record_count = 1,
                                                      .body_bytes = REP_RECORD_HEADER_BYTES});
    rep_record_put_header(frame + 3 + REP_FRAME_HEADER_BYTES,
                          &(rep_record){.type = REP_RECORD_BARRIER, .number = 1});
    take("frame", frame, sizeof frame);
}
