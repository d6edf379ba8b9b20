/* What others may do while the log lets go of its locks: at one such moment after the other the one
 * thread of these tests does it, instead of another one that would have to come just then. */
#include "alog_rig.h"

int __real_pthread_mutex_unlock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex);

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
    plant_stop(p);
    plant_lose(p, seed);
    for (int i = 0; i < ROWS; i++)
        CHECK_EQ(plant_missed(p, i), 0);
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

int main(void)
{
    RUN(a_checkpoint_at_any_moment_of_an_admission_forgets_nothing);
    return 0;
}
