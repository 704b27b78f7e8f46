/* A batch against a naive one: a list of operations searched from its end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/rand.h"
#include "storage/kv.h"

static int batch_setup(void **state)
{
    struct kv_batch *batch;
    if (kv_batch_open(&batch))
        return -1;
    *state = batch;
    return 0;
}

static int batch_teardown(void **state)
{
    kv_batch_close(*state);
    return 0;
}

static void put(struct kv_batch *batch, enum kv_family family, const char *key, const char *value)
{
    assert_int_equal(kv_batch_put(batch, family, bytes_of_string(key), bytes_of_string(value)),
                     ERR_OK);
}

static void expect(const struct kv_batch *batch, enum kv_family family, const char *key, int found,
                   const char *value)
{
    struct bytes got = {0};
    assert_int_equal(kv_batch_find(batch, family, bytes_of_string(key), &got), found);
    if (found == 1)
        assert_true(bytes_equal(got, bytes_of_string(value)));
}

static void the_last_writer_wins(void **state)
{
    struct kv_batch *batch = *state;
    expect(batch, KV_SYS, "a", -1, NULL);
    put(batch, KV_SYS, "a", "1");
    put(batch, KV_SYS, "a", "22");
    expect(batch, KV_SYS, "a", 1, "22");
    assert_int_equal(kv_batch_delete(batch, KV_SYS, BYTES("a")), ERR_OK);
    expect(batch, KV_SYS, "a", 0, NULL);
    put(batch, KV_SYS, "a", "");
    expect(batch, KV_SYS, "a", 1, "");
    assert_int_equal(kv_batch_count(batch), 4);
}

static void families_are_apart(void **state)
{
    struct kv_batch *batch = *state;
    put(batch, KV_DATA, "k", "data");
    put(batch, KV_PART, "k", "part");
    expect(batch, KV_DATA, "k", 1, "data");
    expect(batch, KV_PART, "k", 1, "part");
    expect(batch, KV_GC, "k", -1, NULL);
    assert_int_equal(kv_batch_previous(batch, KV_DATA, KV_BATCH_END), 0);
    assert_int_equal(kv_batch_previous(batch, KV_PART, KV_BATCH_END), 1);
    assert_true(kv_batch_previous(batch, KV_PART, 1) == KV_BATCH_END);
    assert_true(kv_batch_previous(batch, KV_GC, KV_BATCH_END) == KV_BATCH_END);
}

static void reserved_room_is_the_value(void **state)
{
    struct kv_batch *batch = *state;
    uint8_t *room;
    assert_int_equal(kv_batch_reserve(batch, KV_INLINE, BYTES("k"), 5, &room), ERR_OK);
    memcpy(room, "hello", 5);
    put(batch, KV_INLINE, "l", "x");
    expect(batch, KV_INLINE, "k", 1, "hello");
}

static void a_cleared_batch_says_nothing_and_allocates_nothing_when_filled_again(void **state)
{
    struct kv_batch *batch = *state;
    size_t memory = 0;
    for (unsigned round = 0; round < 5; round++) {
        for (unsigned i = 0; i < 5000; i++) {
            char key[16];
            snprintf(key, sizeof key, "key%u", i);
            expect(batch, KV_OBJECT, key, -1, NULL);
            put(batch, KV_OBJECT, key, "a value of some length, that takes room");
        }
        if (round == 0)
            memory = kv_batch_memory_bytes(batch);
        assert_int_equal(kv_batch_memory_bytes(batch), memory);
        kv_batch_clear(batch);
        assert_int_equal(kv_batch_count(batch), 0);
        assert_int_equal(kv_batch_size_bytes(batch), 0);
        assert_true(kv_batch_previous(batch, KV_OBJECT, KV_BATCH_END) == KV_BATCH_END);
    }
}

/* ---- against the model ---- */

#define MODEL_OPS  3000u
#define MODEL_KEYS 200u

struct model_op {
    unsigned family, key;
    int value; /* -1: deleted */
};

static void compare(const struct kv_batch *batch, const struct model_op *ops, size_t count)
{
    assert_int_equal(kv_batch_count(batch), count);
    for (unsigned family = 0; family < 3; family++) {
        for (unsigned k = 0; k < MODEL_KEYS; k++) {
            int expected = -1, value = 0;
            for (size_t i = count; i > 0 && expected < 0; i--)
                if (ops[i - 1].family == family && ops[i - 1].key == k) {
                    expected = ops[i - 1].value >= 0;
                    value = ops[i - 1].value;
                }
            struct bytes got = {0};
            assert_int_equal(
                kv_batch_find(batch, (enum kv_family)family, bytes_of(&k, sizeof k), &got),
                expected);
            if (expected == 1) {
                assert_int_equal(got.size, sizeof value);
                assert_memory_equal(got.data, &value, sizeof value);
            }
        }
        size_t seen = 0, in_family = 0;
        for (size_t i = kv_batch_previous(batch, (enum kv_family)family, KV_BATCH_END);
             i != KV_BATCH_END; i = kv_batch_previous(batch, (enum kv_family)family, i))
            seen++;
        for (size_t i = 0; i < count; i++)
            in_family += ops[i].family == family;
        assert_int_equal(seen, in_family);
    }
}

static void rolling_back_is_as_if_it_never_happened(void **state)
{
    struct kv_batch *batch = *state;
    static struct model_op ops[MODEL_OPS];
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct rand_seeded seeded;
        rand_seeded_init(&seeded, seed);
        struct rand *rand = &seeded.rand;
        size_t count = 0;
        kv_batch_clear(batch);
        while (count < MODEL_OPS - 100) {
            struct kv_mark mark = kv_batch_mark(batch);
            size_t before = count;
            for (uint64_t n = rand_below(rand, 100); n > 0; n--) {
                struct model_op *op = &ops[count++];
                *op = (struct model_op){
                    .family = (unsigned)rand_below(rand, 3),
                    .key = (unsigned)rand_below(rand, MODEL_KEYS),
                    .value = (int)rand_below(rand, 1000) - 300,
                };
                if (op->value < 0)
                    op->value = -1;
                struct bytes key = bytes_of(&op->key, sizeof op->key);
                enum kv_family family = (enum kv_family)op->family;
                enum err e = op->value < 0 ? kv_batch_delete(batch, family, key)
                                           : kv_batch_put(batch, family, key,
                                                          bytes_of(&op->value, sizeof op->value));
                assert_int_equal(e, ERR_OK);
            }
            if (rand_below(rand, 3) == 0) {
                kv_batch_rollback(batch, mark);
                count = before;
            }
            if (rand_below(rand, 10) == 0)
                compare(batch, ops, count);
        }
        compare(batch, ops, count);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_last_writer_wins, batch_setup, batch_teardown),
        cmocka_unit_test_setup_teardown(families_are_apart, batch_setup, batch_teardown),
        cmocka_unit_test_setup_teardown(reserved_room_is_the_value, batch_setup, batch_teardown),
        cmocka_unit_test_setup_teardown(
            a_cleared_batch_says_nothing_and_allocates_nothing_when_filled_again, batch_setup,
            batch_teardown),
        cmocka_unit_test_setup_teardown(rolling_back_is_as_if_it_never_happened, batch_setup,
                                        batch_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
