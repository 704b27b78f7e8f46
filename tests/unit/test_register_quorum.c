#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/digest.h"
#include "replication/register_quorum.h"

/* The register's bytes. What it does is the simulator's matter (tests/sim). */

static const struct quorum_value value = {
    .config = {.epoch = 9, .term = 7, .nonce = 0x1122334455667788, .primary = 2, .in_sync = 6},
    .disks = {{1, 2, 3}, {4}, {5, [15] = 6}},
};

static struct quorum_message message_of(enum quorum_message_type type)
{
    return (struct quorum_message){
        .type = type,
        .is_blank = type == QUORUM_READ,
        .is_copied = type == QUORUM_STATE,
        .ballot = {.round = 5, .life = 77, .node = 1},
        .other = {.round = 4, .life = UINT64_MAX, .node = 2},
        .promised = {.round = 6, .life = 1, .node = 0},
        .value = value,
    };
}

static void assert_values_equal(const struct quorum_value *a, const struct quorum_value *b)
{
    assert_int_equal(a->config.epoch, b->config.epoch);
    assert_int_equal(a->config.term, b->config.term);
    assert_int_equal(a->config.nonce, b->config.nonce);
    assert_int_equal(a->config.primary, b->config.primary);
    assert_int_equal(a->config.in_sync, b->config.in_sync);
    assert_memory_equal(a->disks, b->disks, sizeof a->disks);
}

static void assert_ballots_equal(const struct quorum_ballot *a, const struct quorum_ballot *b)
{
    assert_int_equal(a->round, b->round);
    assert_int_equal(a->life, b->life);
    assert_int_equal(a->node, b->node);
}

static void messages_come_back_as_they_were(void **unused)
{
    (void)unused;
    for (int type = QUORUM_PREPARE; type <= QUORUM_STATE; type++) {
        struct quorum_message out = message_of((enum quorum_message_type)type), in;
        uint8_t bytes[QUORUM_MESSAGE_BYTES];
        quorum_message_encode(&out, bytes);
        assert_int_equal(quorum_message_decode(bytes_of(bytes, sizeof bytes), 3, &in), ERR_OK);
        assert_int_equal(in.type, out.type);
        assert_int_equal(in.is_blank, out.is_blank);
        assert_int_equal(in.is_copied, out.is_copied);
        assert_ballots_equal(&in.ballot, &out.ballot);
        assert_ballots_equal(&in.other, &out.other);
        assert_ballots_equal(&in.promised, &out.promised);
        assert_values_equal(&in.value, &out.value);
    }
}

static void messages_of_no_such_group_are_refused(void **unused)
{
    (void)unused;
    static const struct {
        size_t at;
        uint8_t value;
    } wrong[] = {
        {0, 0},        {0, 8},   {1, 4},     /* type, blank */
        {2 + 7, 0x80}, {18, 3},  {35, 3},    /* round, nodes */
        {52, 3},       {77, 3},  {78, 0x0e}, /* nodes, primary, in_sync with a fourth */
        {78, 2},       {61, 10},             /* the primary is not in sync, term > epoch */
    };
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        struct quorum_message out = message_of(QUORUM_PROMISE), in;
        uint8_t bytes[QUORUM_MESSAGE_BYTES];
        quorum_message_encode(&out, bytes);
        bytes[wrong[i].at] = wrong[i].value;
        assert_int_equal(quorum_message_decode(bytes_of(bytes, sizeof bytes), 3, &in), ERR_CORRUPT);
    }
    uint8_t zeros[QUORUM_MESSAGE_BYTES + 1] = {0};
    struct quorum_message in;
    for (size_t size = 0; size <= sizeof zeros; size++)
        assert_int_equal(quorum_message_decode(bytes_of(zeros, size), 3, &in), ERR_CORRUPT);
}

static void state_comes_back_or_is_known_to_be_damaged(void **unused)
{
    (void)unused;
    struct quorum_state out = {
        .is_copied = true,
        .promised = {.round = 6, .life = 1, .node = 0},
        .accepted = {.round = 4, .life = 9, .node = 2},
        .value = value,
    };
    struct quorum_state in;
    uint8_t bytes[QUORUM_STATE_BYTES];
    quorum_state_encode(&out, bytes);
    assert_int_equal(quorum_state_decode(bytes_of(bytes, sizeof bytes), &in), ERR_OK);
    assert_false(in.is_blank);
    assert_true(in.is_copied);
    assert_ballots_equal(&in.promised, &out.promised);
    assert_ballots_equal(&in.accepted, &out.accepted);
    assert_values_equal(&in.value, &out.value);
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] ^= 0x10;
        assert_int_equal(quorum_state_decode(bytes_of(bytes, sizeof bytes), &in), ERR_CORRUPT);
        bytes[i] ^= 0x10;
    }
    assert_int_equal(quorum_state_decode(bytes_of(bytes, sizeof bytes - 1), &in), ERR_CORRUPT);
    bytes[0] = 2;
    put_le64(bytes + sizeof bytes - 8, xxh3_64(bytes, sizeof bytes - 8));
    assert_int_equal(quorum_state_decode(bytes_of(bytes, sizeof bytes), &in), ERR_FORMAT_NEWER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_come_back_as_they_were),
        cmocka_unit_test(messages_of_no_such_group_are_refused),
        cmocka_unit_test(state_comes_back_or_is_known_to_be_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
