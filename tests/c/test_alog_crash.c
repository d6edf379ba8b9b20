/* Power is lost at every write and flush of a run, on all storage at once: what pages and log then
 * say covers every difference (INV-1, INV-2). And the checker is shown to see what must not be. */
#include "alog_rig.h"

#define STEPS 90

/* One thread, which has no races: the thread sanitizer only makes it slow. */
#ifdef __SANITIZE_THREAD__
#define STRIDE 23
#else
#define STRIDE 5
#endif

/* The log's storage fails, until this is done again: then the log begins anew, as by the watch. */
static int fail_or_begin(plant *p)
{
    if (plant_info(p).state == REP_ALOG_WORKING) {
        rep_volatile_fail_after(p->log_store->disk, 0, -EIO);
        return 0;
    }
    rep_volatile_fail_after(p->log_store->disk, 0, 0);
    int rc = rep_alog_begin(p->log, p->volume);
    for (int i = 0; !rc && i < ROWS; i++)
        rc = rep_link_save(p->links[i]);
    return rc;
}

/* One step of a host, a mirror's flush, or the log's own tending. What fails for want of power ends
 * the run. */
static int step(plant *p, uint64_t *seed, int number)
{
    rep_ticket ticket = {0};
    uint64_t what = check_below(seed, 20);
    uint64_t chunk = check_below(seed, CHUNKS - 2);
    switch (what) {
    case 0:
        return rep_volume_flush(p->volume, &ticket);
    case 1:
    case 2:
        return rep_link_settle(p->links[0]);
    case 3: {
        int rc = rep_alog_checkpoint(p->log, 0);
        if (rc < 0)
            return rc;
        return number % 2 ? 0 : rep_alog_forget(p->log);
    }
    case 4:
        return number % 3 ? 0 : rep_link_save(p->links[number % ROWS]);
    case 5:
    case 6:
    case 7:
        return fail_or_begin(p);
    default:
        return plant_write(p, chunk * CHUNK, CHUNK * (1 + what % 2), 1 + number % 250);
    }
}

typedef void (*fault)(plant *p);

/* Runs until the power goes after `operations` more; how many were there, if it stays. */
static uint64_t run(plant *p, uint64_t operations, uint64_t seed)
{
    uint64_t before = p->power.spent;
    p->power.left = operations;
    for (int i = 0; i < STEPS && p->power.left; i++)
        (void)step(p, &seed, i);
    rep_volatile_fail_after(p->log_store->disk, 0, 0);
    return p->power.spent - before;
}

/* The chunks missed when power goes after `operations`; *done: it didn't go. */
static uint64_t crash(uint64_t operations, uint64_t seed, fault breaks, bool *done)
{
    plant *p = plant_new();
    CHECK_OK(plant_start(p));
    if (breaks)
        breaks(p);
    *done = run(p, operations, seed) < operations;
    plant_stop(p);
    plant_lose(p, seed + operations);
    uint64_t missed = 0;
    for (int i = 0; i < ROWS; i++)
        missed += plant_missed(p, i);
    if (!breaks && !missed) {
        /* Recovery itself may end anywhere, and be begun again. */
        uint64_t random = seed + operations;
        p->power.left = check_below(&random, 24);
        (void)plant_start(p);
        plant_stop(p);
        plant_lose(p, random);
        for (int i = 0; i < ROWS; i++)
            missed += plant_missed(p, i);
    }
    plant_free(p);
    return missed;
}

static void every_difference_is_covered_wherever_the_power_goes(void)
{
    for (uint64_t seed = 1; seed <= 3; seed++) {
        bool done = false;
        for (uint64_t k = 0; !done; k += seed == 1 ? STRIDE / 5 : STRIDE) {
            uint64_t missed = crash(k, seed, NULL, &done);
            if (missed)
                CHECK_FAIL("seed %" PRIu64 ", power lost after %" PRIu64 " operations: %" PRIu64
                           " chunks not covered",
                           seed, k, missed);
        }
    }
}

/* Whether the checker sees what the fault does, in any of a few runs. */
static bool seen(fault breaks)
{
    for (uint64_t seed = 1; seed <= 4; seed++) {
        bool done = false;
        for (uint64_t k = 40; !done; k += 7)
            if (crash(k, seed, breaks, &done))
                return true;
    }
    return false;
}

static void log_after_data(plant *p)
{
    p->log_store->lies = true;
}

static void page_after_log(plant *p)
{
    for (int i = 0; i < ROWS; i++)
        p->files[i]->lies = true;
}

static void clear_before_the_targets_flush(plant *p)
{
    p->mirror->lies = true;
}

static void leave_before_the_sources_flush(plant *p)
{
    p->source->lies = true;
}

static void the_checker_sees_a_log_that_is_durable_after_the_data(void)
{
    CHECK(seen(log_after_data));
}

static void the_checker_sees_a_log_reused_before_the_page_is_durable(void)
{
    CHECK(seen(page_after_log));
}

static void the_checker_sees_a_bit_cleared_before_the_targets_flush(void)
{
    CHECK(seen(clear_before_the_targets_flush));
}

static void the_checker_sees_a_region_that_leaves_before_the_sources_flush(void)
{
    CHECK(seen(leave_before_the_sources_flush));
}

/* Damage. */

static int open_log(plant *p)
{
    rep_alog_shape shape = plant_shape();
    rep_alog *log;
    int rc = rep_alog_open(p->log_store->disk, &shape, &log);
    if (!rc)
        rep_alog_free(log);
    return rc;
}

static plant *with_history(uint64_t *tip)
{
    plant *p = plant_new();
    CHECK_OK(plant_start(p));
    for (uint64_t i = 0; i < 40; i++)
        CHECK_OK(plant_write(p, i % REGIONS * REGION, CHUNK, 1));
    *tip = p->log->next - 1;
    plant_stop(p);
    plant_lose(p, 0);
    CHECK_OK(open_log(p));
    return p;
}

static void flip(plant *p, uint64_t offset)
{
    uint8_t byte;
    CHECK_OK(rep_io_pread(p->log_store->disk, &byte, 1, offset));
    byte ^= 0x10;
    CHECK_OK(rep_io_pwrite(p->log_store->disk, &byte, 1, offset));
}

static void a_damaged_block_that_is_needed_makes_the_log_unusable(void)
{
    uint64_t tip;
    plant *p = with_history(&tip);
    for (uint64_t back = 1; back < 30; back++) {
        uint64_t offset = (1 + (tip - back) % p->log_store->io.size_bytes) * REP_ALOG_BLOCK + 100;
        flip(p, offset);
        CHECK_ERRNO(open_log(p), EBADMSG);
        flip(p, offset);
    }
    CHECK_OK(open_log(p));
    plant_free(p);
}

static void a_torn_last_transaction_never_happened(void)
{
    uint64_t tip;
    plant *p = with_history(&tip);
    flip(p, (1 + tip) * REP_ALOG_BLOCK + 100);
    CHECK_OK(open_log(p));
    plant_free(p);
}

static void a_header_that_is_not_ours_is_told_from_damage(void)
{
    uint64_t tip;
    plant *p = with_history(&tip);
    rep_alog_shape shape = plant_shape();
    rep_alog *log;
    flip(p, 40);
    CHECK_ERRNO(open_log(p), EBADMSG);
    flip(p, 40);
    shape.volume_id[3] ^= 1;
    CHECK_ERRNO(rep_alog_open(p->log_store->disk, &shape, &log), EXDEV);
    shape = plant_shape();
    shape.size_bytes += REGION;
    CHECK_ERRNO(rep_alog_open(p->log_store->disk, &shape, &log), EXDEV);
    shape = plant_shape();
    shape.slot_count = 100; /* another option now: what was written is read all the same */
    CHECK_OK(rep_alog_open(p->log_store->disk, &shape, &log));
    rep_alog_free(log);
    plant_free(p);
}

int main(void)
{
    RUN(every_difference_is_covered_wherever_the_power_goes);
    RUN(the_checker_sees_a_log_that_is_durable_after_the_data);
    RUN(the_checker_sees_a_log_reused_before_the_page_is_durable);
    RUN(the_checker_sees_a_bit_cleared_before_the_targets_flush);
    RUN(the_checker_sees_a_region_that_leaves_before_the_sources_flush);
    RUN(a_damaged_block_that_is_needed_makes_the_log_unusable);
    RUN(a_torn_last_transaction_never_happened);
    RUN(a_header_that_is_not_ours_is_told_from_damage);
    return 0;
}
