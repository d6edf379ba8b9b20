/* check: what the C tests are written with. A failed check names its line and the values, and ends
 * the program; every test program runs its tests in order:
 *
 *     static void a_set_bit_is_found(void) { ... CHECK_EQ(rep_bitmap_test(bitmap, 3), 1); ... }
 *     int main(void) { RUN(a_set_bit_is_found); return 0; }
 */
#ifndef CHECK_H
#define CHECK_H

#include <dirent.h>
#include <errno.h>
#include <execinfo.h>
#include <ftw.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Checks may fail in any thread; leak checkers have nothing to say about a failed run. */
#define CHECK_FAIL(...)                                                                            \
    do {                                                                                           \
        fprintf(stderr, "%s:%d: ", __FILE__, __LINE__);                                            \
        fprintf(stderr, __VA_ARGS__);                                                              \
        fputc('\n', stderr);                                                                       \
        check_remove_directory();                                                                  \
        _Exit(1);                                                                                  \
    } while (0)

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            CHECK_FAIL("not so: %s", #condition);                                                  \
    } while (0)

/* Integers of any type. */
#define CHECK_EQ(actual, expected)                                                                 \
    do {                                                                                           \
        long long actual_ = (long long)(actual);                                                   \
        long long expected_ = (long long)(expected);                                               \
        if (actual_ != expected_)                                                                  \
            CHECK_FAIL("%s is %lld (0x%llx), not %s = %lld (0x%llx)", #actual, actual_,            \
                       (unsigned long long)actual_, #expected, expected_,                          \
                       (unsigned long long)expected_);                                             \
    } while (0)

/* The call succeeds / fails with this errno (positive, as errno.h names it). */
#define CHECK_OK(call) CHECK_ERRNO(call, 0)
#define CHECK_ERRNO(call, code)                                                                    \
    do {                                                                                           \
        long long answer_ = (long long)(call);                                                     \
        int expected_ = -(code);                                                                   \
        if (answer_ != expected_)                                                                  \
            CHECK_FAIL("%s is %lld (%s), not %d (%s)", #call, answer_,                             \
                       answer_ > 0 ? "no errno" : strerror((int)-answer_), expected_,              \
                       strerror(-expected_));                                                      \
    } while (0)

#define CHECK_BYTES(actual, expected, length)                                                      \
    do {                                                                                           \
        size_t at_ = check_difference(actual, expected, (size_t)(length));                         \
        if (at_ < (size_t)(length))                                                                \
            CHECK_FAIL("%s differs from %s at byte %zu of %zu: 0x%02x, not 0x%02x", #actual,       \
                       #expected, at_, (size_t)(length), ((const unsigned char *)(actual))[at_],   \
                       ((const unsigned char *)(expected))[at_]);                                  \
    } while (0)

#define RUN(test)                                                                                  \
    do {                                                                                           \
        check_watch(#test);                                                                        \
        test();                                                                                    \
        puts("ok " #test);                                                                         \
        fflush(stdout);                                                                            \
    } while (0)

/* Index of the first byte that differs, or `length`. */
static inline size_t check_difference(const void *a, const void *b, size_t length)
{
    size_t at = 0;
    if (!memcmp(a, b, length))
        return length;
    while (((const char *)a)[at] == ((const char *)b)[at])
        at++;
    return at;
}

/* splitmix64. Tests print nothing random: the same seed gives the same run. */
static inline uint64_t check_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15ULL;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

/* Below `limit` > 0. */
static inline uint64_t check_below(uint64_t *state, uint64_t limit)
{
    return check_random(state) % limit;
}

static inline void *check_alloc(size_t bytes)
{
    void *memory = calloc(1, bytes);
    if (!memory)
        abort();
    return memory;
}

static char check_directory[512];

static inline int check_remove_one(const char *path, const struct stat *status, int type,
                                   struct FTW *where)
{
    (void)status;
    (void)type;
    (void)where;
    return remove(path);
}

static inline void check_remove_directory(void)
{
    if (check_directory[0])
        nftw(check_directory, check_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* A path in this program's own directory, which goes when it ends. Valid until the next call with
 * the same `slot` (0 to 3). */
static inline const char *check_path_in(unsigned slot, const char *name)
{
    static char paths[4][768];
    if (!check_directory[0]) {
        const char *parent = getenv("TMPDIR");
        snprintf(check_directory, sizeof check_directory, "%s/pyrep-c-XXXXXX",
                 parent ? parent : "/tmp");
        if (!mkdtemp(check_directory))
            abort();
        atexit(check_remove_directory);
    }
    snprintf(paths[slot], sizeof paths[slot], "%s/%s", check_directory, name);
    return paths[slot];
}

/* A test that takes longer hangs. Less than the 300 s after which CTest says no more than that. */
#define CHECK_HANGS_S 200U

static const char *check_running;

/* Which test, where the thread is that hears of it (the main one, mostly), and the call that each
 * other one is in: /proc's number of it, and its arguments. */
static inline void check_tell_hang(int number)
{
    (void)number;
    void *frames[32];
    fprintf(stderr, "hangs: %s\n", check_running);
    backtrace_symbols_fd(frames, backtrace(frames, 32), STDERR_FILENO);
    DIR *threads = opendir("/proc/self/task");
    for (struct dirent *one = threads ? readdir(threads) : NULL; one; one = readdir(threads)) {
        char path[300];
        char line[200];
        snprintf(path, sizeof path, "/proc/self/task/%s/syscall", one->d_name);
        FILE *file = one->d_name[0] == '.' ? NULL : fopen(path, "r");
        if (file && fgets(line, sizeof line, file))
            fprintf(stderr, "  thread %s: %s", one->d_name, line);
        if (file)
            fclose(file);
    }
    check_remove_directory();
    _Exit(1);
}

static inline void check_watch(const char *test)
{
    check_running = test;
    signal(SIGALRM, check_tell_hang);
    alarm(CHECK_HANGS_S);
}

static inline const char *check_path(const char *name)
{
    return check_path_in(0, name);
}

#endif
