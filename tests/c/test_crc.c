#include "check.h"
#include "rep_crc.h"

static void the_test_vector_is_met(void)
{
    CHECK_EQ(rep_crc32c(0, "123456789", 9), 0xe3069283U);
    CHECK_EQ(rep_crc32c_by_table(0, "123456789", 9), 0xe3069283U);
}

/* RFC 3720, B.4. */
static void the_vectors_of_iscsi_are_met(void)
{
    unsigned char bytes[32];
    memset(bytes, 0, sizeof bytes);
    CHECK_EQ(rep_crc32c(0, bytes, sizeof bytes), 0x8a9136aaU);
    memset(bytes, 0xff, sizeof bytes);
    CHECK_EQ(rep_crc32c(0, bytes, sizeof bytes), 0x62a8ab43U);
    for (unsigned char i = 0; i < sizeof bytes; i++)
        bytes[i] = i;
    CHECK_EQ(rep_crc32c(0, bytes, sizeof bytes), 0x46dd794eU);
}

static void nothing_changes_nothing(void)
{
    CHECK_EQ(rep_crc32c(0, "", 0), 0);
    CHECK_EQ(rep_crc32c(0xe3069283U, "", 0), 0xe3069283U);
}

static void both_ways_agree_at_every_length_and_alignment(void)
{
    unsigned char bytes[300];
    uint64_t random = 1;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)check_random(&random);
    for (size_t start = 0; start < 9; start++)
        for (size_t length = 0; start + length <= sizeof bytes; length++)
            CHECK_EQ(rep_crc32c(7, bytes + start, length),
                     rep_crc32c_by_table(7, bytes + start, length));
}

static void pieces_give_what_the_whole_gives(void)
{
    unsigned char bytes[100];
    uint64_t random = 2;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)check_random(&random);
    uint32_t whole = rep_crc32c(0, bytes, sizeof bytes);
    for (size_t cut = 0; cut <= sizeof bytes; cut++)
        CHECK_EQ(rep_crc32c(rep_crc32c(0, bytes, cut), bytes + cut, sizeof bytes - cut), whole);
}

static void two_lanes_are_the_crcs_of_every_other_word(void)
{
    unsigned char bytes[300];
    unsigned char lanes[2][300];
    uint64_t random = 3;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)check_random(&random);
    for (size_t start = 0; start < 9; start++)
        for (size_t length = 0; start + length <= sizeof bytes; length++) {
            size_t used[2] = {0, 0};
            for (size_t i = 0; i < length; i++)
                lanes[i / 8 % 2][used[i / 8 % 2]++] = bytes[start + i];
            uint64_t expected = (uint64_t)rep_crc32c_by_table(0, lanes[1], used[1]) << 32
                                | rep_crc32c_by_table(0, lanes[0], used[0]);
            CHECK_EQ(rep_crc32c_lanes(bytes + start, length), expected);
            CHECK_EQ(rep_crc32c_lanes_by_table(bytes + start, length), expected);
        }
}

int main(void)
{
    RUN(two_lanes_are_the_crcs_of_every_other_word);
    RUN(the_test_vector_is_met);
    RUN(the_vectors_of_iscsi_are_met);
    RUN(nothing_changes_nothing);
    RUN(both_ways_agree_at_every_length_and_alignment);
    RUN(pieces_give_what_the_whole_gives);
    return 0;
}
