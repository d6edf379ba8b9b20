#include "rep_crc.h"

#include <endian.h>
#include <pthread.h>
#include <string.h>

#define POLYNOMIAL 0x82f63b78U /* 0x1edc6f41, reflected */

/* tables[n][byte]: the byte's share of the CRC when n more bytes follow it (slicing by 8). */
static uint32_t tables[8][256];
static pthread_once_t tables_once = PTHREAD_ONCE_INIT;

static void make_tables(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? (crc >> 1) ^ POLYNOMIAL : crc >> 1;
        tables[0][byte] = crc;
    }
    for (uint32_t byte = 0; byte < 256; byte++)
        for (int n = 1; n < 8; n++)
            tables[n][byte] = (tables[n - 1][byte] >> 8) ^ tables[0][tables[n - 1][byte] & 0xff];
}

uint32_t rep_crc32c_by_table(uint32_t crc, const void *data, size_t length)
{
    const uint8_t *at = data;
    pthread_once(&tables_once, make_tables);
    crc = ~crc;
    for (; length >= 8; at += 8, length -= 8) {
        uint64_t word;
        memcpy(&word, at, sizeof word);
        word = le64toh(word) ^ crc;
        crc = 0;
        for (unsigned n = 0; n < 8; n++)
            crc ^= tables[7 - n][(word >> (8 * n)) & 0xff];
    }
    for (; length; at++, length--)
        crc = (crc >> 8) ^ tables[0][(crc ^ *at) & 0xff];
    return ~crc;
}

uint64_t rep_crc32c_lanes_by_table(const void *data, size_t length)
{
    const uint8_t *at = data;
    uint32_t lanes[2] = {0, 0};
    unsigned turn = 0;
    for (; length >= 8; at += 8, length -= 8, turn ^= 1)
        lanes[turn] = rep_crc32c_by_table(lanes[turn], at, 8);
    lanes[turn] = rep_crc32c_by_table(lanes[turn], at, length);
    return (uint64_t)lanes[1] << 32 | lanes[0];
}

#if defined(__x86_64__)
#include <nmmintrin.h>

__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t crc, const void *data,
                                                                 size_t length)
{
    const uint8_t *at = data;
    uint64_t state = ~crc;
    for (; length >= 8; at += 8, length -= 8) {
        uint64_t word;
        memcpy(&word, at, sizeof word);
        state = _mm_crc32_u64(state, word);
    }
    uint32_t rest = (uint32_t)state;
    for (; length; at++, length--)
        rest = _mm_crc32_u8(rest, *at);
    return ~rest;
}

uint32_t rep_crc32c(uint32_t crc, const void *data, size_t length)
{
    return __builtin_cpu_supports("sse4.2") ? by_instruction(crc, data, length)
                                            : rep_crc32c_by_table(crc, data, length);
}

__attribute__((target("sse4.2"))) static uint64_t lanes_by_instruction(const void *data,
                                                                       size_t length)
{
    const uint8_t *at = data;
    uint64_t low = UINT32_MAX;
    uint64_t high = UINT32_MAX;
    for (; length >= 16; at += 16, length -= 16) {
        uint64_t words[2];
        memcpy(words, at, sizeof words);
        low = _mm_crc32_u64(low, words[0]);
        high = _mm_crc32_u64(high, words[1]);
    }
    uint32_t first = ~(uint32_t)low;
    uint32_t second = ~(uint32_t)high;
    if (length >= 8) {
        first = by_instruction(first, at, 8);
        second = by_instruction(second, at + 8, length - 8);
    } else {
        first = by_instruction(first, at, length);
    }
    return (uint64_t)second << 32 | first;
}

uint64_t rep_crc32c_lanes(const void *data, size_t length)
{
    return __builtin_cpu_supports("sse4.2") ? lanes_by_instruction(data, length)
                                            : rep_crc32c_lanes_by_table(data, length);
}
#else
uint64_t rep_crc32c_lanes(const void *data, size_t length)
{
    return rep_crc32c_lanes_by_table(data, length);
}

uint32_t rep_crc32c(uint32_t crc, const void *data, size_t length)
{
    return rep_crc32c_by_table(crc, data, length);
}
#endif
