/* What the files of a stream share: life and numbers (rep_ship.c), room in its ring
 * (rep_ship_room.c), frames and barriers (rep_ship_take.c), who waits for answers
 * (rep_ship_answer.c). Not a public header. */
#ifndef REP_SHIP_PARTS_H
#define REP_SHIP_PARTS_H

#include "bell_parts.h"
#include "parts.h"
#include "rep_line.h"

/* Frames sent and not yet received; beyond that the sender waits. */
#define IN_FLIGHT 4096U

/* Samples of when records were appended: enough that an age is known to a 128th. */
#define AGE_SAMPLES 256U

typedef struct age_sample {
    uint64_t number; /* a record */
    uint64_t ns;     /* when it was appended */
} age_sample;

/* A link whose volume failed at the peer, and the last record that was then appended. */
typedef struct refusal {
    const void *link; /* to compare with */
    uint64_t number;
} refusal;

#define REP_REFUSALS 8U

typedef struct rep_waiter rep_waiter;

typedef struct flight {
    uint64_t last_number;
    uint64_t end; /* position behind its last byte */
} flight;

struct rep_stream {
    uint64_t stream_id;
    /* Held from taking a frame to having sent it: frames go in order (rep_ship_send.c). */
    pthread_mutex_t turn;
    rep_line *line;         /* `turn` held */
    uint8_t *small;         /* `turn` held: what a writer sends itself */
    pthread_mutex_t mutex;  /* all below; see rep_tree.h for the order of locks */
    pthread_cond_t changed; /* who waits for room */
    pthread_cond_t takable; /* the sender */
    /* Who waits for answers (rep_ship_answer.c), by ascending number. */
    rep_waiter *first_waiter;
    rep_waiter *last_waiter;
    bool open;
    atomic_bool carried; /* `line` is set: read without a mutex */
    bool lingers;        /* the sender looks again soon, without being woken */
    uint64_t attempt;
    /* The ring. Positions only grow until nothing is queued; a byte stands at position % ring_bytes. A barrier needs no
     * reserved room, so the ring is a little larger than the capacity. */
    uint8_t *ring;
    uint64_t ring_bytes;
    uint64_t capacity;
    uint64_t reserved;
    int room_waiters;
    /* Who waits for room, one at a time whatever its size, has the next room kept free for it until
     * claim_ns: a large write would starve behind small ones that always find some. */
    uint64_t claim_bytes; /* 0: nobody */
    uint64_t claim_ns;
    uint64_t write_position;
    uint64_t take_position;
    uint64_t free_position;
    uint64_t last;
    uint64_t taken;
    uint64_t received;
    uint64_t durable;
    flight flights[IN_FLIGHT];
    unsigned flight_first;
    unsigned flight_count;
    /* Barriers: the number of the newest; the one that closed U's epoch; since when U has waited for
     * another one. */
    uint64_t barrier_number;
    uint64_t barrier_ns;
    uint64_t closing_number;
    uint64_t late_ns;
    bool barrier_wanted; /* behind `last` */
    bool group_wanted;   /* by a writer in mode durable */
    bool late_barrier;   /* one was put while an epoch was closing: U wants another */
    bool late_patiently; /* of the newest barrier: writers wanted it, more of them may come */
    bool corked;
    bool cork_releases;
    uint64_t point;
    uint64_t queued_peak;
    uint64_t frame_bytes;
    /* Ages (rep_ship_age.c), of what isn't durable yet. */
    uint64_t data_last; /* the newest record that isn't a barrier */
    age_sample ages[AGE_SAMPLES];
    unsigned age_count;
    uint64_t age_gap_ns;
    /* Congestion (rep_ship_congestion.c). */
    uint64_t full_since_ns; /* a host found no room, and there has been none since; 0: there is */
    uint64_t full_ns;
    uint64_t pulled;
    uint64_t pull_count;
    rep_link *links;
    refusal refusals[REP_REFUSALS]; /* the newest ones, for who still waits */
    unsigned refusal_count;
    uint64_t refused_floor; /* up to here there were others, whose links are forgotten */
};

static inline uint64_t rep_stream_used(const rep_stream *stream)
{
    return stream->write_position - stream->free_position;
}

static inline void rep_stream_changed(rep_stream *stream)
{
    pthread_cond_broadcast(&stream->changed);
}

/* `mutex` held: there is something to take, or to put a barrier behind. */
static inline void rep_stream_wake_sender(rep_stream *stream)
{
    pthread_cond_broadcast(&stream->takable);
}

/* `mutex` held: a writer sleeps now that was to see to the sending of what it appended. */
static inline void rep_stream_nudge(rep_stream *stream)
{
    if (stream->taken < stream->last)
        rep_stream_wake_sender(stream);
}

/* All with `mutex` held. `number` was appended just now; what is durable needs no age any more; the
 * age of the oldest record behind `answered`. */
void rep_stream_note_age(rep_stream *stream, uint64_t number);
void rep_stream_drop_ages(rep_stream *stream);
uint64_t rep_stream_age_ns(const rep_stream *stream, uint64_t answered);
/* A host found no room; perhaps there is some again. */
void rep_stream_note_full(rep_stream *stream);
void rep_stream_note_room(rep_stream *stream);
uint64_t rep_stream_full_ns(const rep_stream *stream);

/* `mutex` held, room reserved: copies into the ring at the write position, or out of it. */
void rep_stream_ring_put(rep_stream *stream, const void *data, uint64_t length);
void rep_stream_ring_get(const rep_stream *stream, uint64_t position, void *data, uint64_t length);
void rep_stream_put_record(rep_stream *stream, const rep_record *record);
/* `mutex` held: sets the bells of those who wait for numbers up to `up_to` and have their answer; the
 * caller rings when it has released the mutex. */
void rep_stream_answer(rep_stream *stream, uint64_t up_to, rep_bells *bells);
/* `mutex` held: the same for all, and rings. */
void rep_stream_answer_all(rep_stream *stream);
/* As rep_stream_wait_attempt; of a guarded entry a cut's release is no answer. */
int rep_stream_wait_answer(rep_stream *stream, const rep_ticket_entry *what, uint64_t deadline_ns,
                           rep_wake *wake);
/* `mutex` held: whether the sender has to be woken for what nobody waits for. */
bool rep_stream_needs_sender(const rep_stream *stream);
/* Lets records that nobody waits for come together, for a millisecond at most; who waits for one, or
 * for room, wakes the sender as ever. -ECANCELED. */
int rep_stream_linger(rep_stream *stream, rep_wake *wake);
/* Whether there is a frame to take at once. */
bool rep_stream_is_takable(rep_stream *stream);
/* `mutex` held: a barrier behind everything appended so far, unless nothing was since the last. */
void rep_stream_want_barrier(rep_stream *stream);

#endif
