/* Who waits for the peer's answers: each at a bell of its own. */
#include <errno.h>

#include "bell_parts.h"
#include "ship_parts.h"

enum { ANSWERED = 1, LOST = 2 };

/* Lives on its waiter's stack while it is in the stream's list. */
struct rep_waiter {
    const rep_ticket_entry *what;
    rep_bell bell;
    rep_waiter *previous;
    rep_waiter *next;
};

/* The peer has it, and couldn't write it. Of refusals that there was no room for any more only numbers
 * are known: a write that was mirrored may be taken for one of them, never the other way round. */
static bool is_refused(const rep_stream *stream, const rep_ticket_entry *what)
{
    if (!what->guarded || !what->link)
        return false;
    if (what->number <= stream->refused_floor)
        return true;
    for (unsigned i = 0; i < REP_REFUSALS; i++)
        if (stream->refusals[i].link == what->link && what->number <= stream->refusals[i].number)
            return true;
    return false;
}

/* `mutex` held: the link's, or the oldest one, which goes. */
static refusal *refusal_of(rep_stream *stream, const rep_link *link)
{
    for (unsigned i = 0; i < REP_REFUSALS; i++)
        if (stream->refusals[i].link == link)
            return &stream->refusals[i];
    refusal *oldest = &stream->refusals[stream->refusal_count++ % REP_REFUSALS];
    if (oldest->number > stream->refused_floor)
        stream->refused_floor = oldest->number;
    return oldest;
}

static bool is_answered(const rep_stream *stream, const rep_ticket_entry *what)
{
    if (what->ack == REP_ACK_QUEUED || (stream->corked && stream->cork_releases && !what->guarded))
        return true;
    return (what->ack == REP_ACK_DURABLE ? stream->durable : stream->received) >= what->number;
}

/* 0: it has to wait. */
static uint32_t answer_of(const rep_stream *stream, const rep_ticket_entry *what)
{
    if (!stream->open || stream->attempt != what->attempt || is_refused(stream, what))
        return LOST;
    return is_answered(stream, what) ? ANSWERED : 0;
}

/* From the end: who comes later mostly waits for a higher number. */
static void enlist(rep_stream *stream, rep_waiter *waiter)
{
    rep_waiter *before = stream->last_waiter;
    while (before && before->what->number > waiter->what->number)
        before = before->previous;
    waiter->previous = before;
    waiter->next = before ? before->next : stream->first_waiter;
    *(before ? &before->next : &stream->first_waiter) = waiter;
    *(waiter->next ? &waiter->next->previous : &stream->last_waiter) = waiter;
}

static void delist(rep_stream *stream, rep_waiter *waiter)
{
    *(waiter->previous ? &waiter->previous->next : &stream->first_waiter) = waiter->next;
    *(waiter->next ? &waiter->next->previous : &stream->last_waiter) = waiter->previous;
}

void rep_stream_answer(rep_stream *stream, uint64_t up_to, rep_bells *bells)
{
    rep_waiter *next;
    for (rep_waiter *one = stream->first_waiter; one && one->what->number <= up_to; one = next) {
        next = one->next;
        uint32_t answer = answer_of(stream, one->what);
        if (!answer)
            continue;
        delist(stream, one);
        rep_bell_set(bells, &one->bell, answer);
    }
}

void rep_stream_answer_all(rep_stream *stream)
{
    rep_bells bells = {.count = 0};
    rep_stream_answer(stream, UINT64_MAX, &bells);
    rep_bells_ring(&bells);
}

/* `mutex` held: what is waited for is to be sent, and made durable. */
static void see_to_it(rep_stream *stream, const rep_ticket_entry *what)
{
    if (what->ack == REP_ACK_DURABLE && what->number > stream->barrier_number
        && stream->last > stream->barrier_number) {
        stream->group_wanted = true;
        if (atomic_load(&stream->carried) || stream->durable >= stream->barrier_number)
            rep_stream_wake_sender(stream);
    }
    /* Over a line whoever appended sends, or has the sender woken, before he waits. */
    if (!atomic_load(&stream->carried))
        rep_stream_nudge(stream);
}

static int result_of(uint32_t answer)
{
    return answer == LOST ? -EPIPE : 0;
}

int rep_stream_wait_answer(rep_stream *stream, const rep_ticket_entry *what, uint64_t deadline_ns,
                           rep_wake *wake)
{
    rep_waiter self = {.what = what};
    pthread_mutex_lock(&stream->mutex);
    uint32_t answer = answer_of(stream, what);
    if (!answer) {
        enlist(stream, &self);
        see_to_it(stream, what);
    }
    pthread_mutex_unlock(&stream->mutex);
    if (answer)
        return result_of(answer);
    int rc = rep_bell_wait(&self.bell, deadline_ns, wake);
    if (rc) {
        pthread_mutex_lock(&stream->mutex);
        answer = atomic_load(&self.bell);
        if (!answer)
            delist(stream, &self);
        pthread_mutex_unlock(&stream->mutex);
        return answer ? result_of(answer) : rc;
    }
    return result_of(atomic_load(&self.bell));
}

int rep_stream_wait_attempt(rep_stream *stream, uint64_t attempt, uint64_t number, int ack,
                            uint64_t deadline_ns, rep_wake *wake)
{
    rep_ticket_entry what = {.attempt = attempt, .number = number, .ack = ack};
    return rep_stream_wait_answer(stream, &what, deadline_ns, wake);
}

int rep_stream_wait(rep_stream *stream, uint64_t number, int ack, uint64_t deadline_ns,
                    rep_wake *wake)
{
    pthread_mutex_lock(&stream->mutex);
    /* Who asks isn't a host that a cut lets go: 410 waits so for its point. */
    rep_ticket_entry what = {
        .attempt = stream->attempt, .number = number, .ack = ack, .guarded = 1};
    pthread_mutex_unlock(&stream->mutex);
    return rep_stream_wait_answer(stream, &what, deadline_ns, wake);
}

void rep_stream_refuse(rep_stream *stream, rep_link *link, int cause)
{
    pthread_mutex_lock(&stream->mutex);
    *refusal_of(stream, link) = (refusal){.link = link, .number = stream->last};
    rep_link_break(link, cause);
    rep_stream_answer_all(stream);
    pthread_mutex_unlock(&stream->mutex);
}
