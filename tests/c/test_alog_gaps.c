/* What others may do while the log lets go of its locks: at one such moment after the other the one
 * thread of these tests does it, instead of another one that would have to come just then. */
#include "alog_rig.h"

/* NOLINTBEGIN(cert-dcl51-cpp,misc-use-internal-linkage): the linker's names, from --wrap */
int __real_pthread_mutex_unlock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex);
/* NOLINTEND(cert-dcl51-cpp,misc-use-internal-linkage) */

/* NULL while nobody else is about. */
static plant *present;
static void (*comes)(plant *p);
static int moments; /* until it comes: once, or what it did last would hide what it broke first */
static bool came;

/* Whoever tends the log would have to wait for this lock, or has it. */
static bool is_tended(rep_alog *log)
{
    if (pthread_mutex_trylock(&log->checkpointing))
        return true;
    __real_pthread_mutex_unlock(&log->checkpointing);
    return false;
}

int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    int rc = __real_pthread_mutex_unlock(mutex);
    plant *p = present;
    bool free = p && (mutex == &p->log->mutex || mutex == &p->log->checkpointing)
                && !is_tended(p->log) && !moments--;
    if (free) {
        present = NULL;
        came = true;
        comes(p);
    }
    return rc;
}

static void expect(plant *p, void (*who)(plant *p), int when)
{
    present = p;
    comes = who;
    moments = when;
    came = false;
}

static void checkpoint(plant *p)
{
    CHECK(rep_alog_checkpoint(p->log, 0) >= 0);
}

static void stop_and_check(plant *p, uint64_t seed)
{
    present = NULL;
    plant_crash(p, seed);
    plant_free(p);
}

/* Seed 1: nothing is lost, as by kill -9; 0: all that wasn't flushed. */
static bool admit_beside_a_checkpoint(int moment, uint64_t seed)
{
    plant *p = plant_new();
    CHECK_OK(plant_start(p));
    for (uint64_t r = 0; r < SLOTS; r++)
        CHECK_OK(plant_write(p, r * REGION, CHUNK, 1));
    expect(p, checkpoint, moment);
    CHECK_OK(plant_write(p, SLOTS * REGION, CHUNK, 1));
    present = NULL;
    CHECK_OK(plant_write(p, (SLOTS + 1) * REGION, CHUNK, 1)); /* makes the new tail durable */
    stop_and_check(p, seed);
    return came;
}

static void a_checkpoint_at_any_moment_of_an_admission_forgets_nothing(void)
{
    int moment = 0;
    while (admit_beside_a_checkpoint(moment, 0) && admit_beside_a_checkpoint(moment, 1))
        moment++;
    CHECK(moment > 3);
}

static void save_rows(plant *p)
{
    for (int i = 0; i < ROWS; i++)
        (void)rep_link_save(p->links[i]); /* refused, or done in time */
}

/* The rows are saved at a moment of the log's failure, or of its new beginning, which fails again. */
static bool fail_beside_a_save(int moment, bool again)
{
    plant *p = plant_new();
    CHECK_OK(plant_start(p));
    for (uint64_t r = 0; r < SLOTS; r++)
        CHECK_OK(plant_write(p, r * REGION, CHUNK, 1));
    rep_volatile_fail_after(p->log_store->disk, 0, -EIO);
    if (!again)
        expect(p, save_rows, moment);
    CHECK_OK(plant_write(p, SLOTS * REGION, CHUNK, 1));
    if (again) {
        expect(p, save_rows, moment);
        CHECK_ERRNO(rep_alog_begin(p->log, p->volume), EIO);
    }
    present = NULL;
    for (int i = 0; i < ROWS; i++)
        CHECK_EQ(rep_bitmap_file_marked_open(p->rows[i]), 1);
    for (uint64_t r = SLOTS + 1; r < REGIONS; r++)
        CHECK_OK(plant_write(p, r * REGION, CHUNK, 2)); /* without the log */
    CHECK_OK(rep_link_settle(p->links[0]));
    rep_volatile_fail_after(p->log_store->disk, 0, 0);
    stop_and_check(p, 4);
    return came;
}

static void a_save_at_any_moment_of_a_logs_failure_leaves_the_open_marks(void)
{
    int moment = 0;
    while (fail_beside_a_save(moment, false))
        moment++;
    CHECK(moment > 3);
}

static void a_save_at_any_moment_of_a_new_beginning_that_fails_leaves_them_too(void)
{
    int moment = 0;
    while (fail_beside_a_save(moment, true))
        moment++;
    CHECK(moment > 3);
}

static void write_without_the_log(plant *p)
{
    if (atomic_load(&p->log->state) != REP_ALOG_BYPASSED)
        return;
    CHECK_OK(plant_write(p, 6 * REGION, CHUNK, 3));
    CHECK_OK(rep_link_settle(p->links[0])); /* the mirror has it, durably */
}

static bool begin_beside_a_write(int moment)
{
    plant *p = plant_new();
    CHECK_OK(plant_start(p));
    rep_volatile_fail_after(p->log_store->disk, 0, -EIO);
    CHECK_OK(plant_write(p, 0, CHUNK, 1));
    rep_volatile_fail_after(p->log_store->disk, 0, 0);
    expect(p, write_without_the_log, moment);
    CHECK_OK(rep_alog_begin(p->log, p->volume));
    present = NULL;
    save_rows(p);
    CHECK_EQ(rep_bitmap_file_marked_logged(p->rows[0]), 1);
    stop_and_check(p, 0);
    return came;
}

static void a_write_at_any_moment_of_a_new_beginning_is_durable_or_hot(void)
{
    int moment = 0;
    while (begin_beside_a_write(moment))
        moment++;
    CHECK(moment > 1);
}

int main(void)
{
    RUN(a_checkpoint_at_any_moment_of_an_admission_forgets_nothing);
    RUN(a_save_at_any_moment_of_a_logs_failure_leaves_the_open_marks);
    RUN(a_save_at_any_moment_of_a_new_beginning_that_fails_leaves_them_too);
    RUN(a_write_at_any_moment_of_a_new_beginning_is_durable_or_hot);
    return 0;
}
