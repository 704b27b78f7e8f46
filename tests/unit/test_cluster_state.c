#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/digest.h"
#include "replication/cluster_state.h"

/* What a node keeps of the group, as bytes on its disk. */

static struct cluster_state state_with(uint32_t runs)
{
    struct cluster_state state = {
        .node = 3,
        .cluster = "of three, in it",
        .has_pg = runs > 0,
        .quorum = {.promised = {.round = 5, .life = 77, .node = 1}},
    };
    if (runs == 0)
        return state;
    state.pg = (struct pg_durable){
        .config = {.epoch = 9, .term = 7, .nonce = 0x1122334455667788, .primary = 2, .in_sync = 6},
        .synced_term = 7,
        .commit = 100,
        .log = {.base = 10, .last = 120, .run_count = runs},
    };
    for (uint32_t i = 0; i < runs; i++)
        state.pg.log.runs[i] = (struct pg_run){.first_psn = 11 + i, .term = 1 + i};
    return state;
}

static void assert_states_equal(const struct cluster_state *a, const struct cluster_state *b)
{
    assert_int_equal(a->has_pg, b->has_pg);
    assert_memory_equal(&a->pg.config, &b->pg.config, sizeof a->pg.config);
    assert_int_equal(a->pg.synced_term, b->pg.synced_term);
    assert_int_equal(a->pg.commit, b->pg.commit);
    assert_int_equal(a->pg.log.base, b->pg.log.base);
    assert_int_equal(a->pg.log.last, b->pg.log.last);
    assert_int_equal(a->pg.log.run_count, b->pg.log.run_count);
    for (uint32_t i = 0; i < a->pg.log.run_count; i++) {
        assert_int_equal(a->pg.log.runs[i].first_psn, b->pg.log.runs[i].first_psn);
        assert_int_equal(a->pg.log.runs[i].term, b->pg.log.runs[i].term);
    }
    assert_int_equal(a->quorum.promised.round, b->quorum.promised.round);
    assert_int_equal(a->quorum.promised.life, b->quorum.promised.life);
}

static void what_was_kept_is_found(void **unused)
{
    (void)unused;
    static const uint32_t counts[] = {0, 1, 5};
    for (size_t i = 0; i < COUNT_OF(counts); i++) {
        uint8_t bytes[CLUSTER_STATE_BYTES_MAX];
        struct cluster_state out = state_with(counts[i]), in;
        size_t size = cluster_state_encode(&out, bytes);
        assert_int_equal(cluster_state_decode(bytes_of(bytes, size), &in), ERR_OK);
        assert_states_equal(&out, &in);
        assert_int_equal(in.node, 3);
        assert_memory_equal(in.cluster, out.cluster, sizeof in.cluster);
    }
}

static void put_sum(uint8_t *bytes, size_t size)
{
    put_le64(bytes + size - 8, xxh3_64(bytes, size - 8));
}

/* Version 1 ended its head before the id. */
static void the_version_before_is_read(void **unused)
{
    (void)unused;
    for (uint32_t runs = 0; runs < 3; runs++) {
        uint8_t bytes[CLUSTER_STATE_BYTES_MAX];
        static const uint8_t zeros[16];
        struct cluster_state out = state_with(runs), in;
        size_t size = cluster_state_encode(&out, bytes);
        memmove(bytes + 72, bytes + 88, size - 88);
        bytes[0] = 1;
        put_sum(bytes, size - 16);
        assert_int_equal(cluster_state_decode(bytes_of(bytes, size - 16), &in), ERR_OK);
        assert_states_equal(&out, &in);
        assert_memory_equal(in.cluster, zeros, sizeof in.cluster);
    }
}

static void other_bytes_are_refused(void **unused)
{
    (void)unused;
    uint8_t bytes[CLUSTER_STATE_BYTES_MAX];
    struct cluster_state out = state_with(2), in;
    size_t size = cluster_state_encode(&out, bytes);
    for (size_t bit = 0; bit < 8 * size; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(cluster_state_decode(bytes_of(bytes, size), &in), ERR_CORRUPT);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t cut = 0; cut < size; cut++)
        assert_int_equal(cluster_state_decode(bytes_of(bytes, cut), &in), ERR_CORRUPT);
    /* With a right sum over them. */
    static const struct {
        size_t at;
        uint8_t byte;
        enum err e;
    } rows[] = {
        {0, 0, ERR_CORRUPT},   {0, 1, ERR_CORRUPT},    {0, 3, ERR_FORMAT_NEWER},
        {1, 2, ERR_CORRUPT},   {1, 0, ERR_CORRUPT},    {2, 3, ERR_CORRUPT},
        {3, 1, ERR_CORRUPT},   {32, 200, ERR_CORRUPT}, {48, 121, ERR_CORRUPT},
        {16, 10, ERR_CORRUPT},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint8_t before = bytes[rows[i].at];
        bytes[rows[i].at] = rows[i].byte;
        put_sum(bytes, size);
        assert_int_equal(cluster_state_decode(bytes_of(bytes, size), &in), rows[i].e);
        bytes[rows[i].at] = before;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_kept_is_found),
        cmocka_unit_test(the_version_before_is_read),
        cmocka_unit_test(other_bytes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
