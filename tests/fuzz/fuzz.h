/* fuzz: what every target is written with. A target is one file fuzz_NAME.c, found by CMake, with
 * the two functions below. The driver runs its seeds, many damaged copies of them and the files it
 * is given, with any compiler (`make test`); libFuzzer runs it for longer (`make fuzz`).
 *
 * A target keeps nothing from one input to the next, and its verdict is a crash: a sanitizer's, or
 * that of FUZZ_CHECK, which compares with a simple model. Whatever the input says, the code under
 * test must refuse it or do as its header says; what is refused must have had no effect.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Runs one input. Answers 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* Takes one seed. `name` is of letters, digits and dashes, unique in the target. */
typedef void fuzz_take(const char *name, const void *data, size_t size);
/* Gives `take` each input to begin with: sound ones, that reach deep. */
void fuzz_seeds(fuzz_take *take);

#define FUZZ_CHECK(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* Input read from its front. Past the end everything reads as 0, so that each input means
 * something. */
typedef struct fuzz_input {
    const uint8_t *at;
    size_t left;
} fuzz_input;

static inline uint64_t fuzz_number(fuzz_input *input, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < bytes && input->left; i++, input->left--)
        value |= (uint64_t)*input->at++ << (8 * i);
    return value;
}

static inline uint8_t fuzz_u8(fuzz_input *input)
{
    return (uint8_t)fuzz_number(input, 1);
}

static inline uint16_t fuzz_u16(fuzz_input *input)
{
    return (uint16_t)fuzz_number(input, 2);
}

static inline uint64_t fuzz_u64(fuzz_input *input)
{
    return fuzz_number(input, 8);
}

/* The next `size` bytes, or what is left of them: *size says how many. */
static inline const uint8_t *fuzz_bytes(fuzz_input *input, size_t *size)
{
    const uint8_t *bytes = input->at;
    if (*size > input->left)
        *size = input->left;
    input->at += *size;
    input->left -= *size;
    return bytes;
}

#endif
