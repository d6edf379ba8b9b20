/* Ceilings: what plain C takes for the same work on the same data, in the same run.
 * Each function returns nanoseconds, or a negative errno. Loaded by ceilings.py through ctypes. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* target |= source and target &= ~source over 64-bit words. */
int64_t ceiling_or(uint64_t *restrict target, const uint64_t *restrict source, uint64_t words)
{
    int64_t start = now_ns();
    for (uint64_t i = 0; i < words; i++)
        target[i] |= source[i];
    return now_ns() - start;
}

int64_t ceiling_andnot(uint64_t *restrict target, const uint64_t *restrict source, uint64_t words)
{
    int64_t start = now_ns();
    for (uint64_t i = 0; i < words; i++)
        target[i] &= ~source[i];
    return now_ns() - start;
}

int64_t ceiling_popcount(const uint64_t *words, uint64_t count, uint64_t *set)
{
    int64_t start = now_ns();
    uint64_t found = 0;
    for (uint64_t i = 0; i < count; i++)
        found += (uint64_t)__builtin_popcountll(words[i]);
    *set = found;
    return now_ns() - start;
}

/* Finds all runs, word by word by counting trailing zeros, and hands them out in portions of
 * `capacity`, which overwrite each other. */
int64_t ceiling_runs(const uint64_t *words, uint64_t count, uint64_t *firsts, uint64_t *counts,
                     uint64_t capacity, uint64_t *runs)
{
    int64_t start = now_ns();
    uint64_t found = 0;
    uint64_t slot = 0;
    uint64_t first = 0;
    int open = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t word = words[i];
        unsigned at = 0;
        for (;;) {
            /* The next bit that isn't as those before it, from `at` on. */
            uint64_t left = (open ? ~word : word) >> at << at;
            if (!left)
                break;
            at = (unsigned)__builtin_ctzll(left);
            if (open) {
                firsts[slot] = first;
                counts[slot] = i * 64 + at - first;
                found++;
                if (++slot == capacity)
                    slot = 0;
            } else {
                first = i * 64 + at;
            }
            open = !open;
        }
    }
    *runs = found + (uint64_t)open;
    return now_ns() - start;
}

/* `count` writes of `length` bytes at the given offsets. */
int64_t ceiling_pwrites(int target, const void *data, uint64_t length, const uint64_t *offsets,
                        uint64_t count)
{
    int64_t start = now_ns();
    for (uint64_t i = 0; i < count; i++)
        if (pwrite(target, data, length, (off_t)offsets[i]) != (ssize_t)length)
            return -EIO;
    return now_ns() - start;
}
