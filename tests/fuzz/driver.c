/* Runs a target without libFuzzer:
 *   fuzz_NAME              its seeds, and the same DAMAGED copies of each every time
 *   fuzz_NAME FILE...      inputs from files, as libFuzzer leaves them when one crashes
 *   fuzz_NAME --seeds DIR  writes the seeds into a directory that exists
 */
#include <errno.h>

#include "fuzz.h"

#define DAMAGED 300
#define INPUT_MAX ((size_t)64 << 20)

static const char *seed_directory;
static size_t run_count;

/* splitmix64: the same seed gives the same run. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15ULL;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

static void *copy_of(const void *data, size_t size)
{
    /* Of exactly this size, so that a sanitizer sees a read past the end; malloc(0) may be NULL. */
    void *copy = malloc(size ? size : 1);
    if (!copy)
        abort();
    if (size)
        memcpy(copy, data, size);
    return copy;
}

static void run(const void *data, size_t size)
{
    void *input = copy_of(data, size);
    LLVMFuzzerTestOneInput(input, size);
    free(input);
    run_count++;
}

/* Cuts it short, or changes one to four places: a bit, a byte, an extreme number. */
static void run_damaged(const void *data, size_t size, uint64_t *state)
{
    static const uint64_t extremes[] = {0,      1,          0x7f,       0x80,
                                        0xffff, 0x7fffffff, UINT32_MAX, UINT64_MAX};
    uint8_t *input = copy_of(data, size);
    if (size && next_random(state) % 8 == 0)
        size = next_random(state) % size;
    for (uint64_t change = next_random(state) % 4 + 1; size && change; change--) {
        size_t at = next_random(state) % size;
        uint64_t value = extremes[next_random(state) % 8];
        size_t width = (size_t)1 << next_random(state) % 4;
        if (next_random(state) % 2)
            input[at] ^= (uint8_t)(1U << next_random(state) % 8);
        else
            memcpy(input + at, &value, width < size - at ? width : size - at);
    }
    run(input, size);
    free(input);
}

static void write_seed(const char *name, const void *data, size_t size)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", seed_directory, name);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(data, 1, size, file) != size || fclose(file)) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        exit(1);
    }
}

static void run_seed(const char *name, const void *data, size_t size)
{
    uint64_t state = size;
    (void)name;
    run(data, size);
    for (int i = 0; i < DAMAGED; i++)
        run_damaged(data, size, &state);
}

static int write_seeds(const char *directory)
{
    seed_directory = directory;
    fuzz_seeds(write_seed);
    return 0;
}

static void run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = malloc(INPUT_MAX);
    if (!file || !data) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        exit(1);
    }
    size_t size = fread(data, 1, INPUT_MAX, file);
    fclose(file);
    run(data, size);
    free(data);
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "--seeds"))
        return write_seeds(argv[2]);
    if (argc == 1)
        fuzz_seeds(run_seed);
    for (int i = 1; i < argc; i++)
        run_file(argv[i]);
    printf("%zu inputs\n", run_count);
    return 0;
}
