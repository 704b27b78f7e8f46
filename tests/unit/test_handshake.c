#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* the four above first: cmocka wants them */
#include <cmocka.h>
#include <string.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/rand.h"
#include "replication/handshake.h"

/* ---- frames ---- */

static void a_head_is_read_as_it_was_written(void **state)
{
    const struct wire_head written = {.op = OP_WRITE,
                                      .lane = LANE_BULK,
                                      .seq = 0x01020304,
                                      .gen = 0xa1a2a3a4,
                                      .size = TRANSPORT_WRITE_BYTES_MAX,
                                      .a = 1,
                                      .b = UINT32_MAX,
                                      .c = 3};
    uint8_t bytes[WIRE_HEAD_BYTES], again[WIRE_HEAD_BYTES];
    struct wire_head read;
    wire_head_encode(&written, NULL, bytes);
    assert_int_equal(wire_head_decode(bytes, &read), ERR_OK);
    assert_int_equal(read.b, written.b);
    wire_head_encode(&read, NULL, again);
    assert_memory_equal(again, bytes, sizeof again);
    for (unsigned bit = 0; bit < WIRE_HEAD_BYTES * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(wire_head_decode(bytes, &read), ERR_CORRUPT);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static void sizes_past_their_limits_are_no_heads(void **state)
{
    static const struct wire_head rows[] = {
        {.op = OP_WRITE, .size = 0},
        {.op = OP_WRITE, .size = TRANSPORT_WRITE_BYTES_MAX + 1},
        {.op = OP_CTL, .size = TRANSPORT_CTL_BYTES_MAX + 1},
        {.op = OP_HELLO, .size = UINT32_MAX},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint8_t bytes[WIRE_HEAD_BYTES];
        struct wire_head head;
        wire_head_encode(&rows[i], NULL, bytes);
        assert_int_equal(wire_head_decode(bytes, &head), ERR_CORRUPT);
    }
}

static void a_damaged_body_is_of_another_generation(void **state)
{
    uint8_t message[WIRE_MESSAGE_BYTES];
    struct wire_head head = {.op = OP_CTL, .gen = 77, .size = TRANSPORT_CTL_BYTES_MAX};
    for (unsigned i = 0; i < head.size; i++)
        message[WIRE_HEAD_BYTES + i] = (uint8_t)i;
    wire_head_encode(&head, message + WIRE_HEAD_BYTES, message);
    assert_int_equal(wire_head_decode(message, &head), ERR_OK);
    assert_int_equal(wire_message_generation(message, &head), 77);
    for (unsigned bit = 0; bit < head.size * 8; bit++) {
        message[WIRE_HEAD_BYTES + bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_not_equal(wire_message_generation(message, &head), 77);
        message[WIRE_HEAD_BYTES + bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

/* ---- the handshake ---- */

static enum err admits;

static enum err admit(struct handshake *hs, enum wire_refusal *refusal, struct err_trail *trail)
{
    return admits;
}

struct sides {
    struct handshake_rules rules[2]; /* 0 calls */
    struct handshake hs[2];
    struct rand_seeded rand;
    struct handshake_message sent[4]; /* HELLO, CHALLENGE, PROOF, WELCOME */
    struct err_trail trail;
};

static void sides_init(struct sides *sides)
{
    memset(sides, 0, sizeof *sides);
    rand_seeded_init(&sides->rand, 4711);
    for (unsigned i = 0; i < 2; i++) {
        sides->rules[i] = (struct handshake_rules){
            .self = {.node = i + 1}, .depth = {64, 256, 64}, .admit = admit};
        memset(sides->rules[i].self.cluster, 7, 16);
        memset(sides->rules[i].self.disk, (int)(10 + i), 16);
        memset(sides->rules[i].key, 42, 32);
    }
    admits = ERR_OK;
}

/*
 * Runs it; message `damaged` has `mask` put on its byte `at`. Returns the first error. On success
 * both have derived the same.
 */
static enum err run(struct sides *sides, unsigned damaged, unsigned at, uint8_t mask)
{
    err_trail_reset(&sides->trail);
    handshake_listen(&sides->hs[1], &sides->rules[1]);
    handshake_begin(&sides->hs[0], &sides->rules[0], &sides->rand.rand, &sides->sent[0]);
    for (unsigned i = 0; i < 4; i++) {
        struct handshake_message *message = &sides->sent[i], unused;
        if (i == damaged && at < message->size)
            message->body[at] ^= mask;
        enum err e =
            handshake_take(&sides->hs[(i + 1) % 2], &sides->rand.rand, message->op, message->body,
                           message->size, i < 3 ? &sides->sent[i + 1] : &unused, &sides->trail);
        if (e)
            return e;
    }
    return ERR_OK;
}

#define NOTHING 9

static void both_prove_themselves_and_derive_the_same(void **state)
{
    struct sides sides;
    sides_init(&sides);
    assert_int_equal(run(&sides, NOTHING, 0, 0), ERR_OK);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(sides.hs[i].state, HANDSHAKE_DONE);
        assert_int_equal(sides.hs[i].peer.identity.node, 2 - i);
        assert_memory_equal(sides.hs[i].peer.identity.disk, sides.rules[1 - i].self.disk, 16);
        assert_int_equal(sides.hs[i].peer.depth[LANE_META], 256);
    }
    assert_true(handshake_session(&sides.hs[0]) == handshake_session(&sides.hs[1]));
    assert_int_equal(handshake_generation(&sides.hs[0]), handshake_generation(&sides.hs[1]));
    uint8_t tokens[3][32];
    handshake_token(&sides.hs[0], LANE_META, tokens[0]);
    handshake_token(&sides.hs[1], LANE_META, tokens[1]);
    handshake_token(&sides.hs[1], LANE_BULK, tokens[2]);
    assert_memory_equal(tokens[0], tokens[1], 32);
    assert_memory_not_equal(tokens[0], tokens[2], 32);

    uint64_t session = handshake_session(&sides.hs[0]);
    assert_int_equal(run(&sides, NOTHING, 0, 0), ERR_OK);
    assert_true(handshake_session(&sides.hs[0]) != session); /* each connection its own */
}

static void every_byte_counts(void **state)
{
    struct sides sides;
    sides_init(&sides);
    for (unsigned message = 0; message < 3; message++) {
        unsigned size = message == 0   ? WIRE_GREETING_BYTES
                        : message == 1 ? WIRE_GREETING_BYTES + WIRE_MAC_BYTES
                                       : WIRE_MAC_BYTES;
        for (unsigned at = 0; at < size; at++)
            for (unsigned bit = 0; bit < 8; bit += 3)
                assert_int_not_equal(run(&sides, message, at, (uint8_t)(1u << bit)), ERR_OK);
    }
}

static void what_does_not_belong_is_refused_with_a_sentence(void **state)
{
    static const struct {
        unsigned key, cluster, node, admits;
        enum wire_refusal refusal;
        const char *sentence;
    } rows[] = {
        {1, 0, 0, ERR_OK, REFUSED_KEY, "does not have this cluster's key"},
        {0, 1, 0, ERR_OK, REFUSED_CLUSTER, "another cluster"},
        {0, 0, 1, ERR_OK, REFUSED_SELF, "this node's own number, 2"},
        {0, 0, 0, ERR_DENIED, REFUSED_NODE, "not permitted"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct sides sides;
        sides_init(&sides);
        sides.rules[0].key[31] ^= (uint8_t)rows[i].key;
        sides.rules[0].self.cluster[15] ^= (uint8_t)rows[i].cluster;
        sides.rules[0].self.node += rows[i].node;
        admits = (enum err)rows[i].admits;
        assert_int_equal(run(&sides, NOTHING, 0, 0), ERR_DENIED);
        assert_non_null(strstr(err_trail_text(&sides.trail, ERR_DENIED), rows[i].sentence));
        /* And the other side is told the number, from which it makes a sentence of its own. */
        const struct handshake_message *refusal = NULL;
        for (unsigned m = 1; m < 4; m++)
            if (sides.sent[m].op == OP_REFUSE)
                refusal = &sides.sent[m];
        assert_non_null(refusal);
        assert_int_equal(get_le32(refusal->body), rows[i].refusal);
        struct handshake_message unused;
        struct handshake other = {.rules = &sides.rules[0], .state = HANDSHAKE_WAIT_CHALLENGE};
        err_trail_reset(&sides.trail);
        assert_int_equal(handshake_take(&other, &sides.rand.rand, refusal->op, refusal->body,
                                        refusal->size, &unused, &sides.trail),
                         ERR_DENIED);
        assert_true(sides.trail.text[0] != '\0');
        assert_int_equal(other.state, HANDSHAKE_FAILED);
    }
}

static void a_recorded_proof_proves_nothing_later(void **state)
{
    struct sides sides;
    sides_init(&sides);
    assert_int_equal(run(&sides, NOTHING, 0, 0), ERR_OK);
    struct handshake_message hello = sides.sent[0], proof = sides.sent[2], out;
    handshake_listen(&sides.hs[1], &sides.rules[1]);
    assert_int_equal(handshake_take(&sides.hs[1], &sides.rand.rand, hello.op, hello.body,
                                    hello.size, &out, &sides.trail),
                     ERR_OK);
    assert_int_equal(out.op, OP_CHALLENGE);
    assert_int_equal(handshake_take(&sides.hs[1], &sides.rand.rand, proof.op, proof.body,
                                    proof.size, &out, &sides.trail),
                     ERR_DENIED);
    assert_int_equal(out.op, OP_REFUSE);
    /* Nor does the listening side's own mac, played back to it. */
    handshake_listen(&sides.hs[1], &sides.rules[1]);
    assert_int_equal(handshake_take(&sides.hs[1], &sides.rand.rand, hello.op, hello.body,
                                    hello.size, &out, &sides.trail),
                     ERR_OK);
    struct handshake_message echo = out;
    assert_int_equal(handshake_take(&sides.hs[1], &sides.rand.rand, OP_PROOF,
                                    echo.body + WIRE_GREETING_BYTES, WIRE_MAC_BYTES, &out,
                                    &sides.trail),
                     ERR_DENIED);
}

static void messages_out_of_turn_end_it(void **state)
{
    struct sides sides;
    struct handshake_message out;
    static const uint8_t body[TRANSPORT_CTL_BYTES_MAX] = {WIRE_VERSION};
    for (unsigned op = 1; op < OP_COUNT; op++)
        for (uint32_t size = 0; size <= sizeof body; size++) {
            sides_init(&sides);
            handshake_listen(&sides.hs[1], &sides.rules[1]);
            enum err e = handshake_take(&sides.hs[1], &sides.rand.rand, (uint8_t)op, body, size,
                                        &out, &sides.trail);
            assert_int_not_equal(e, ERR_OK); /* a HELLO of zeros is another cluster's */
            assert_int_equal(sides.hs[1].state, HANDSHAKE_FAILED);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_is_read_as_it_was_written),
        cmocka_unit_test(sizes_past_their_limits_are_no_heads),
        cmocka_unit_test(a_damaged_body_is_of_another_generation),
        cmocka_unit_test(both_prove_themselves_and_derive_the_same),
        cmocka_unit_test(every_byte_counts),
        cmocka_unit_test(what_does_not_belong_is_refused_with_a_sentence),
        cmocka_unit_test(a_recorded_proof_proves_nothing_later),
        cmocka_unit_test(messages_out_of_turn_end_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
