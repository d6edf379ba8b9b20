/* How old what is on its way is: a sample of times, taken as records are appended. */
#include <time.h>

#include "ship_parts.h"

#define GAP_NS 10000000ULL

/* To the kernel's tick (4 ms or less), in 6 ns: the fine clock would be a tenth of an append. */
static uint64_t coarse_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
}

/* Every second one stays. A longer backlog is known less finely, in proportion. */
static void thin(rep_stream *stream)
{
    for (size_t i = 1; 2 * i < stream->age_count; i++)
        stream->ages[i] = stream->ages[2 * i];
    stream->age_count = (stream->age_count + 1) / 2;
    stream->age_gap_ns *= 2;
}

void rep_stream_note_age(rep_stream *stream, uint64_t number)
{
    uint64_t now = coarse_ns();
    if (!stream->age_count)
        stream->age_gap_ns = GAP_NS;
    else if (now - stream->ages[stream->age_count - 1].ns < stream->age_gap_ns)
        return;
    if (stream->age_count == AGE_SAMPLES)
        thin(stream);
    stream->ages[stream->age_count++] = (age_sample){number, now};
}

/* The last sample that isn't behind the record. */
static unsigned sample_of(const rep_stream *stream, uint64_t number)
{
    unsigned low = 0;
    for (unsigned high = stream->age_count; high - low > 1;) {
        unsigned middle = low + (high - low) / 2;
        if (stream->ages[middle].number <= number)
            low = middle;
        else
            high = middle;
    }
    return low;
}

void rep_stream_drop_ages(rep_stream *stream)
{
    if (stream->durable >= stream->data_last)
        stream->age_count = 0;
    if (!stream->age_count)
        return;
    unsigned first = sample_of(stream, stream->durable + 1);
    if (!first)
        return;
    stream->age_count -= first;
    for (unsigned i = 0; i < stream->age_count; i++)
        stream->ages[i] = stream->ages[first + i];
}

uint64_t rep_stream_age_ns(const rep_stream *stream, uint64_t answered)
{
    if (answered >= stream->data_last || !stream->age_count)
        return 0;
    uint64_t then = stream->ages[sample_of(stream, answered + 1)].ns;
    uint64_t now = rep_now_ns();
    return now > then ? now - then : 0;
}
