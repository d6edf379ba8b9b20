#include "rep_apply.h"

#include <errno.h>
#include <stdlib.h>

#include "parts.h"

#define CHANNELS_MAX 65535U

typedef struct channel {
    rep_link *link; /* NULL: not bound */
    bool written;   /* since the last settle */
    int error;
} channel;

struct rep_apply {
    uint64_t stream_id;
    pthread_mutex_t mutex; /* a frame, a settle or a change of channels: one at a time */
    channel *channels;
    uint32_t channel_count;
    /* Read without the mutex: a cut asks while a frame may wait for its gate. */
    _Atomic uint64_t attempt;
    _Atomic uint64_t begun; /* the record that is being applied, or the last applied */
    _Atomic uint64_t applied;
    _Atomic uint64_t durable;
    _Atomic uint32_t failed; /* channels with an error */
    bool lacks;              /* what an unbound channel was written with may never be durable */
};

int rep_apply_new(uint64_t stream_id, rep_apply **out)
{
    rep_apply *apply = calloc(1, sizeof *apply);
    if (!apply)
        return -ENOMEM;
    apply->stream_id = stream_id;
    int rc = -pthread_mutex_init(&apply->mutex, NULL);
    if (rc) {
        free(apply);
        return rc;
    }
    *out = apply;
    return 0;
}

void rep_apply_free(rep_apply *apply)
{
    if (!apply)
        return;
    pthread_mutex_destroy(&apply->mutex);
    free(apply->channels);
    free(apply);
}

int rep_apply_start(rep_apply *apply, uint64_t attempt, uint64_t next_number)
{
    if (!next_number)
        return -EINVAL;
    pthread_mutex_lock(&apply->mutex);
    int rc = attempt > atomic_load(&apply->attempt) ? 0 : -EINVAL;
    if (!rc) {
        atomic_store(&apply->attempt, attempt);
        atomic_store(&apply->begun, next_number - 1);
        atomic_store(&apply->applied, next_number - 1);
        atomic_store(&apply->durable, next_number - 1);
        apply->lacks = false;
    }
    pthread_mutex_unlock(&apply->mutex);
    return rc;
}

static int grow(rep_apply *apply, uint32_t number)
{
    if (number < apply->channel_count)
        return 0;
    channel *grown = realloc(apply->channels, ((size_t)number + 1) * sizeof *grown);
    if (!grown)
        return -ENOMEM;
    for (uint32_t i = apply->channel_count; i <= number; i++)
        grown[i] = (channel){0};
    apply->channels = grown;
    apply->channel_count = number + 1;
    return 0;
}

int rep_apply_bind(rep_apply *apply, uint32_t number, rep_link *link)
{
    if (!number || number > CHANNELS_MAX)
        return -EINVAL;
    pthread_mutex_lock(&apply->mutex);
    int rc = grow(apply, number);
    if (!rc && apply->channels[number].link)
        rc = -EEXIST;
    if (!rc)
        apply->channels[number] = (channel){.link = link};
    pthread_mutex_unlock(&apply->mutex);
    return rc;
}

/* `mutex` held. */
static void note_error(rep_apply *apply, channel *c, int rc)
{
    if (!rc || c->error)
        return;
    c->error = rc;
    atomic_fetch_add(&apply->failed, 1);
}

static int take_error(rep_apply *apply, uint32_t number)
{
    int error = apply->channels[number].error;
    apply->channels[number].error = 0;
    if (error)
        atomic_fetch_sub(&apply->failed, 1);
    return error;
}

/* `mutex` held. */
static int unbind(rep_apply *apply, uint32_t number)
{
    if (number >= apply->channel_count)
        return 0;
    int error = take_error(apply, number);
    apply->lacks |= error || apply->channels[number].written;
    apply->channels[number] = (channel){0};
    return error;
}

void rep_apply_unbind(rep_apply *apply, uint32_t number)
{
    pthread_mutex_lock(&apply->mutex);
    (void)unbind(apply, number);
    pthread_mutex_unlock(&apply->mutex);
}

static const uint8_t *body_of(const void *frame)
{
    return (const uint8_t *)frame + REP_FRAME_HEADER_BYTES;
}

/* Channels and ranges of the whole frame, before its first record has an effect. */
static int check_records(const rep_apply *apply, const void *frame, const rep_frame_info *info)
{
    const uint8_t *at = body_of(frame);
    uint64_t left = info->body_bytes;
    for (uint32_t i = 0; i < info->record_count; i++) {
        rep_record record;
        int size = rep_record_get(at, left, &record);
        if (size < 0)
            return size;
        at += size;
        left -= (uint64_t)size;
        if (record.type == REP_RECORD_BARRIER)
            continue;
        if (record.channel >= apply->channel_count || !apply->channels[record.channel].link)
            return -ENOENT;
        const rep_volume *volume = apply->channels[record.channel].link->volume;
        int rc = rep_io_check(volume->io, record.offset, record.length);
        if (rc)
            return rc;
    }
    return 0;
}

static int check_frame(const rep_apply *apply, const void *frame, uint64_t length,
                       rep_frame_info *info)
{
    int rc = rep_frame_check(frame, length, info);
    if (rc)
        return rc;
    if (info->stream_id != apply->stream_id || info->attempt != atomic_load(&apply->attempt))
        return -ESTALE;
    if (info->first_number != atomic_load(&apply->applied) + 1)
        return -EILSEQ;
    return check_records(apply, frame, info);
}

static int apply_record(rep_apply *apply, const rep_record *record, rep_wake *wake)
{
    channel *to = &apply->channels[record->channel];
    rep_chunks chunks = rep_chunks_of(to->link, record->offset, record->length);
    to->written = true;
    /* Inside the volume (checked), so it can't be refused. */
    (void)rep_bitmap_set(to->link->unsettled[0], chunks.first, chunks.count);
    int rc = rep_volume_write_through(to->link->volume, to->link, record->type, record->flags,
                                      record->payload, record->offset, record->length, wake);
    if (rc == -ECANCELED)
        return rc;
    /* The range is pending in every row of the volume, this one included (rep_volume). */
    note_error(apply, to, rc);
    return 0;
}

int rep_apply_frame(rep_apply *apply, const void *frame, uint64_t length, rep_wake *wake,
                    int *barrier)
{
    rep_frame_info info;
    *barrier = 0;
    pthread_mutex_lock(&apply->mutex);
    int rc = check_frame(apply, frame, length, &info);
    const uint8_t *at = body_of(frame);
    for (uint32_t i = 0; !rc && i < info.record_count; i++) {
        rep_record record;
        at += rep_record_get(at, REP_FRAME_BYTES, &record);
        /* Before its pass: a cut between its pass and `applied` must see that it has begun. */
        atomic_store(&apply->begun, record.number);
        if (record.type == REP_RECORD_BARRIER)
            *barrier = 1;
        else
            rc = apply_record(apply, &record, wake);
        if (!rc)
            atomic_store(&apply->applied, record.number);
    }
    pthread_mutex_unlock(&apply->mutex);
    return rc;
}

static void settle(rep_apply *apply, channel *c)
{
    int rc = rep_link_flush(c->link);
    c->written = false;
    /* A row that was given other work has P |= U behind it. */
    if (atomic_load(&c->link->mode) == REP_LINK_IDLE) {
        if (rc)
            rep_link_give_up_unsettled(c->link);
        rep_link_drop_epoch(c->link, 0);
    }
    note_error(apply, c, rc);
}

int rep_apply_settle(rep_apply *apply)
{
    pthread_mutex_lock(&apply->mutex);
    for (uint32_t i = 0; i < apply->channel_count; i++)
        if (apply->channels[i].link && apply->channels[i].written)
            settle(apply, &apply->channels[i]);
    if (!apply->lacks)
        atomic_store(&apply->durable, atomic_load(&apply->applied));
    pthread_mutex_unlock(&apply->mutex);
    return 0;
}

int rep_apply_unbind_durably(rep_apply *apply, uint32_t number)
{
    pthread_mutex_lock(&apply->mutex);
    if (number < apply->channel_count && apply->channels[number].written)
        settle(apply, &apply->channels[number]);
    int error = unbind(apply, number);
    pthread_mutex_unlock(&apply->mutex);
    return error;
}

void rep_apply_info_get(rep_apply *apply, rep_apply_info *out)
{
    *out = (rep_apply_info){
        .attempt = atomic_load(&apply->attempt),
        .applied = atomic_load(&apply->applied),
        .durable = atomic_load(&apply->durable),
    };
}

uint64_t rep_apply_stream_id(const rep_apply *apply)
{
    return apply->stream_id;
}

int rep_apply_answer(rep_apply *apply, rep_apply_info *out)
{
    pthread_mutex_lock(&apply->mutex);
    int untold = atomic_load(&apply->failed) != 0;
    if (!untold)
        rep_apply_info_get(apply, out);
    pthread_mutex_unlock(&apply->mutex);
    return untold;
}

bool rep_apply_stands_at(rep_apply *apply, uint64_t number)
{
    return atomic_load(&apply->begun) == number && atomic_load(&apply->applied) == number;
}

int rep_apply_take_error(rep_apply *apply, uint32_t number)
{
    int error = 0;
    pthread_mutex_lock(&apply->mutex);
    if (number < apply->channel_count)
        error = take_error(apply, number);
    pthread_mutex_unlock(&apply->mutex);
    return error;
}
