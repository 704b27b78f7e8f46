#include "volume_fixture.h"

static struct data_id data_of(struct object *object)
{
    return object->pieces[0].stored.piece.data;
}

static void deleted_space_comes_back(void **state)
{
    struct fixture f;
    fixture_up(&f, MIB(256), MIB(16));
    for (unsigned i = 0; i < 30; i++) { /* three times what the disk holds */
        assert_int_equal(fixture_put(&f, "k", MIB(25), i), ERR_OK);
        assert_int_equal(fixture_get(&f, "k", MIB(25), i), ERR_OK);
        fixture_check(&f);
        assert_int_equal(fixture_status(&f).used_bytes, MIB(25));
        if (i % 2)
            assert_int_equal(fixture_delete(&f, "k"), ERR_OK);
    }
    fixture_fini(&f);
}

static void a_reader_keeps_what_it_reads(void **state)
{
    struct fixture f;
    struct object *object;
    struct read_plan plan;
    fixture_up(&f, MIB(256), MIB(16));
    assert_int_equal(fixture_put(&f, "k", MIB(3), 1), ERR_OK);
    assert_int_equal(fixture_lookup(&f, "k", &object), ERR_OK);
    read_plan_open(&plan, object, 0, MIB(3));
    object_put(object);
    assert_int_equal(fixture_delete(&f, "k"), ERR_OK);
    assert_int_equal(fixture_get(&f, "k", MIB(3), 1), ERR_NO_SUCH_OBJECT);
    assert_int_equal(fixture_status(&f).reclaiming_bytes, MIB(3));
    for (unsigned i = 0; i < 20; i++) { /* whoever writes now writes elsewhere */
        assert_int_equal(fixture_put(&f, "other", MIB(20), 100 + i), ERR_OK);
        volume_step(f.volume);
    }
    assert_int_equal(fixture_status(&f).reclaiming_bytes, MIB(3));
    assert_int_equal(fixture_read_plan(&plan, 1, 0), ERR_OK);
    read_plan_close(&plan);
    volume_step(f.volume);
    fixture_check(&f);
    fixture_fini(&f);
}

static void the_last_of_several_readers_frees(void **state)
{
    struct fixture f;
    struct object *objects[5];
    fixture_up(&f, MIB(256), MIB(16));
    assert_int_equal(fixture_put(&f, "k", MIB(1), 1), ERR_OK);
    for (unsigned i = 0; i < COUNT_OF(objects); i++)
        assert_int_equal(fixture_lookup(&f, "k", &objects[i]), ERR_OK);
    assert_int_equal(fixture_put(&f, "k", MIB(1), 2), ERR_OK);
    for (unsigned i = 0; i < COUNT_OF(objects); i++) {
        volume_step(f.volume);
        assert_int_equal(fixture_status(&f).reclaiming_bytes, MIB(1));
        object_put(objects[i]);
    }
    volume_step(f.volume);
    fixture_check(&f);
    assert_int_equal(fixture_get(&f, "k", MIB(1), 2), ERR_OK);
    fixture_fini(&f);
}

/* The last drop wakes the keeper; until then nothing runs. */
static void nobody_polls_for_a_reader(void **state)
{
    struct fixture f;
    struct object *object;
    fixture_up(&f, MIB(256), MIB(16));
    assert_int_equal(fixture_put(&f, "k", MIB(1), 1), ERR_OK);
    assert_int_equal(fixture_lookup(&f, "k", &object), ERR_OK);
    struct data_id data = data_of(object);
    assert_true(pins_has(f.volume->pins, data));
    assert_int_equal(fixture_delete(&f, "k"), ERR_OK);
    clock_manual_advance(&f.clock, 11 * NS_PER_SECOND); /* the superblock's turn */
    (void)keeper_step(f.volume);
    f.volume->keeper.is_wanted = false;
    assert_int_equal(keeper_step(f.volume), UINT64_MAX); /* nothing due: sleeps until woken */
    assert_false(f.volume->keeper.is_wanted);
    object_put(object);
    assert_true(f.volume->keeper.is_wanted);
    assert_false(pins_has(f.volume->pins, data));
    volume_step(f.volume);
    fixture_check(&f);
    fixture_fini(&f);
}

static void what_was_dying_in_a_crash_is_free_afterwards(void **state)
{
    struct fixture f;
    struct object *object;
    fixture_up(&f, MIB(256), MIB(16));
    assert_int_equal(fixture_put(&f, "k", MIB(9), 1), ERR_OK);
    assert_int_equal(fixture_lookup(&f, "k", &object), ERR_OK);
    assert_int_equal(fixture_delete(&f, "k"), ERR_OK);
    assert_int_equal(fixture_status(&f).reclaiming_bytes, MIB(9));
    object_put(object);
    fixture_cut_power(&f);
    assert_int_equal(fixture_open(&f), ERR_OK);
    assert_int_equal(fixture_status(&f).used_bytes, 0);
    fixture_check(&f);
    fixture_fini(&f);
}

/* Data of several shards is looked up as it is read: its records wait for the reader, too. */
static void records_wait_for_a_reader_of_large_data(void **state)
{
    struct fixture f;
    struct object *object;
    struct read_plan plan;
    const uint64_t size = DATA_SHARD_BYTES + MIB(1) + 5;
    fixture_up(&f, GIB(1), MIB(64));
    assert_int_equal(fixture_put(&f, "k", size, 1), ERR_OK);
    assert_int_equal(fixture_lookup(&f, "k", &object), ERR_OK);
    assert_false(object->has_layout);
    read_plan_open(&plan, object, DATA_SHARD_BYTES - MIB(1), MIB(2) + 5);
    object_put(object);
    assert_int_equal(fixture_delete(&f, "k"), ERR_OK);
    volume_step(f.volume);
    assert_int_equal(fixture_read_plan(&plan, 1, DATA_SHARD_BYTES - MIB(1)), ERR_OK);
    read_plan_close(&plan);
    volume_step(f.volume);
    volume_step(f.volume);
    fixture_check(&f);
    assert_int_equal(fixture_status(&f).used_bytes, 0);
    fixture_fini(&f);
}

static void empty_segments_go_back_to_the_file_system(void **state)
{
    struct fixture f;
    char key[16];
    fixture_up(&f, MIB(512), MIB(16));
    for (unsigned i = 0; i < 12; i++) {
        snprintf(key, sizeof key, "k%u", i);
        assert_int_equal(fixture_put(&f, key, MIB(15), i), ERR_OK);
    }
    uint32_t many = fixture_status(&f).segment_count;
    assert_true(many >= 12);
    for (unsigned i = 0; i < 11; i++) {
        snprintf(key, sizeof key, "k%u", i);
        assert_int_equal(fixture_delete(&f, key), ERR_OK);
    }
    for (unsigned i = 0; i < 4; i++)
        volume_step(f.volume);
    assert_in_range(fixture_status(&f).segment_count, 1, 2); /* the one in use and a spare */
    assert_int_equal(atomic_load(&f.volume->segments.count), fixture_status(&f).segment_count);
    fixture_check(&f);
    fixture_reopen(&f);
    assert_int_equal(fixture_get(&f, "k11", MIB(15), 11), ERR_OK);
    assert_int_equal(fixture_put(&f, "k0", MIB(40), 50), ERR_OK);
    assert_int_equal(fixture_get(&f, "k0", MIB(40), 50), ERR_OK);
    fixture_check(&f);
    fixture_fini(&f);
}

/* ---- pins alone ---- */

static void count_idle(void *context)
{
    ++*(unsigned *)context;
}

static void pins_agree_with_a_plain_count(void **state)
{
    enum { DATA = 500 };
    static unsigned counts[DATA], watched[DATA];
    unsigned idle = 0, expected = 0;
    struct pins *pins;
    struct rand_seeded seeded;
    rand_seeded_init(&seeded, 3);
    memset(counts, 0, sizeof counts);
    memset(watched, 0, sizeof watched);
    assert_int_equal(pins_open(&pins), ERR_OK);
    pins_on_idle(pins, count_idle, &idle);
    for (unsigned i = 0; i < 60000; i++) {
        unsigned k = (unsigned)rand_below(&seeded.rand, DATA);
        struct data_id data = {1 + k % 3, 1 + k};
        unsigned what = (unsigned)rand_below(&seeded.rand, 10);
        if (what < (i / 10000 % 2 ? 3 : 5)) {
            assert_int_equal(pins_add(pins, data), ERR_OK);
            counts[k]++;
        } else if (what < 9 && counts[k] > 0) {
            pins_drop(pins, data);
            if (--counts[k] == 0 && watched[k]) {
                expected++;
                watched[k] = 0;
            }
        } else if (what == 9) {
            assert_int_equal(pins_watch(pins, data), counts[k] > 0);
            watched[k] = counts[k] > 0;
        }
        assert_int_equal(idle, expected);
        assert_int_equal(pins_has(pins, data), counts[k] > 0);
    }
    size_t pinned = 0;
    for (unsigned k = 0; k < DATA; k++)
        pinned += counts[k] > 0;
    assert_int_equal(pins_count(pins), pinned);
    for (unsigned k = 0; k < DATA; k++)
        while (counts[k]-- > 0)
            pins_drop(pins, (struct data_id){1 + k % 3, 1 + k});
    assert_int_equal(pins_count(pins), 0);
    pins_close(pins);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(deleted_space_comes_back),
        cmocka_unit_test(a_reader_keeps_what_it_reads),
        cmocka_unit_test(the_last_of_several_readers_frees),
        cmocka_unit_test(nobody_polls_for_a_reader),
        cmocka_unit_test(what_was_dying_in_a_crash_is_free_afterwards),
        cmocka_unit_test(records_wait_for_a_reader_of_large_data),
        cmocka_unit_test(empty_segments_go_back_to_the_file_system),
        cmocka_unit_test(pins_agree_with_a_plain_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
