#include "tests/unit/log_fixture.h"

/* A log on a node that fails: memory, index, disk, and space. */

/* Each call of the index fails once while a record is appended, then applied, then refused. */
static void an_error_of_the_node_is_never_an_outcome(void **state)
{
    static const struct {
        enum err fault;
        bool is_refused;
        uint64_t size;
    } table[] = {
        {ERR_NO_MEMORY, false, 30000}, {ERR_NO_MEMORY, true, 30000}, {ERR_IO, false, 30000},
        {ERR_IO, true, 30000},         {ERR_DISK_FULL, false, 100},  {ERR_CORRUPT, true, 100},
    };
    unsigned faults = 0;
    for (unsigned i = 0; i < COUNT_OF(table); i++) {
        struct fixture f;
        log_up(&f, MIB(256), MIB(16));
        assert_int_equal(log_make_bucket(&f), ERR_OK);
        assert_int_equal(log_put(&f, "k", 5 << 20, 1), ERR_OK); /* will have to go */
        log_settle(&f);
        struct body *body = NULL;
        assert_int_equal(fixture_body(&f, table[i].size, true, 2, &body), ERR_OK);
        struct piece piece = {.data = body_data_id(body), .size = table[i].size};
        assert_int_equal(log_append_body(&f, 3, body), ERR_OK);
        struct commit_wait wait;
        unsigned nth = 1;
        for (; nth < FAULTS_MAX; nth++) {
            log_put_mutation(&f, &wait, 3, "k", &piece);
            wait.m.conditions.if_none_match_any = table[i].is_refused;
            kv_sim_fail_nth(f.kv, nth, table[i].fault);
            enum err e = fixture_commit(&f, &wait);
            if (!kv_sim_fault_fired(f.kv))
                break;
            kv_sim_fail_nth(f.kv, 0, ERR_OK);
            faults++;
            if (log_range(&f).applied == 3 && fixture_status(&f).state != VOLUME_FAILED)
                break; /* it was gc behind it that failed */
            assert_false(mutation_is_outcome(e));
            if (fixture_status(&f).state == VOLUME_FAILED)
                log_crash(&f);
            clock_manual_advance(&f.clock, 2 * NS_PER_SECOND);
            volume_step(f.volume); /* out of READ_ONLY */
            assert_int_equal(log_range(&f).applied, 2);
            assert_int_equal(fixture_get(&f, "k", 5 << 20, 1), ERR_OK);
            (void)log_check(&f);
        }
        assert_true(nth > 3 && nth < FAULTS_MAX);
        kv_sim_fail_nth(f.kv, 0, ERR_OK);
        assert_int_equal(wait.m.err, table[i].is_refused ? ERR_PRECONDITION : ERR_OK);
        (void)log_check(&f);
        assert_int_equal(fixture_get(&f, "k", table[i].is_refused ? 5 << 20 : table[i].size,
                                     table[i].is_refused ? 1 : 2),
                         ERR_OK);
        fixture_fini(&f);
    }
    print_message("    %u faults\n", faults);
    assert_true(faults > 20);
}

/* Each call of the index and of the disk fails once while a record with a body is appended. */
static void what_cannot_be_appended_leaves_nothing(void **state)
{
    unsigned faults = 0;
    for (unsigned target = 0; target < 3; target++) {
        struct fixture f;
        log_up(&f, MIB(256), MIB(16));
        assert_int_equal(log_make_bucket(&f), ERR_OK);
        log_settle(&f);
        enum err e = ERR_IO;
        for (unsigned nth = 1; nth < FAULTS_MAX; nth++) {
            struct body *body = NULL;
            assert_int_equal(fixture_body(&f, 300000, true, 2, &body), ERR_OK);
            if (target < 2)
                kv_sim_fail_nth(f.kv, nth, target == 0 ? ERR_NO_MEMORY : ERR_IO);
            else
                disk_sim_fail_nth(f.sim, nth, ERR_IO);
            e = log_append_body(&f, 2, body);
            bool fired = target < 2 ? kv_sim_fault_fired(f.kv) : disk_sim_fault_fired(f.sim);
            kv_sim_fail_nth(f.kv, 0, ERR_OK);
            disk_sim_fail_nth(f.sim, 0, ERR_OK);
            if (!fired)
                break;
            faults++;
            if (fixture_status(&f).state == VOLUME_FAILED)
                log_crash(&f);
            /* It may be something else that failed, or a write whose outcome only opening tells;
             * and space of one that is not there comes back with the next batch. */
            assert_int_equal(log_save(&f, BYTES("s"), 1), ERR_OK);
            assert_int_equal(log_check(&f).bytes_stored, 0);
        }
        assert_int_equal(e, ERR_OK);
        assert_int_equal(log_check(&f).bytes_stored, 300000);
        fixture_fini(&f);
    }
    print_message("    %u faults\n", faults);
    assert_true(faults > 5);
}

static void a_full_disk_takes_records_without_bodies(void **state)
{
    struct fixture f;
    struct body *body = NULL;
    log_up(&f, MIB(256), MIB(16));
    assert_int_equal(log_make_bucket(&f), ERR_OK);
    assert_int_equal(log_put(&f, "k", 30000, 1), ERR_OK);
    assert_int_equal(fixture_body(&f, 30000, true, 2, &body), ERR_OK);
    volume__enter_read_only(f.volume, "a test wants it");
    struct append_wait with_body = {.a = {.psn = 4, .term = 7, .body = body}},
                       without = {.a = {.psn = 3, .term = 7}};
    log_submit_append(&f, &without);
    log_submit_append(&f, &with_body);
    (void)commit_step(f.volume);
    loop_run_once(f.loop, 0);
    assert_int_equal(without.a.err, ERR_OK);
    assert_int_equal(with_body.a.err, ERR_READ_ONLY);
    assert_int_equal(volume_judge(f.volume, MUTATION_OBJECT_PUT, &f.trail), ERR_READ_ONLY);
    assert_int_equal(volume_judge(f.volume, MUTATION_OBJECT_DELETE, &f.trail), ERR_OK);
    struct commit_wait wait = {
        .m = {.kind = MUTATION_OBJECT_DELETE, .bucket = f.bucket, .key = BYTES("k")}};
    log_mutation(&wait, 3);
    assert_int_equal(fixture_commit(&f, &wait), ERR_OK);
    assert_true(wait.m.existed);
    fixture_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_of_the_node_is_never_an_outcome),
        cmocka_unit_test(what_cannot_be_appended_leaves_nothing),
        cmocka_unit_test(a_full_disk_takes_records_without_bodies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
