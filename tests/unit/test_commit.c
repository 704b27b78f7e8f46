#include "volume_fixture.h"

/* ---- what is asked of the disk and of the index ---- */

struct recorded {
    struct fixture f;
    struct disk_record *record;
};

static void up_recorded(struct recorded *r)
{
    fixture_init(&r->f, MIB(256));
    assert_int_equal(disk_record_open(r->f.disk, &r->record), ERR_OK);
    r->f.disk = disk_record_disk(r->record);
    assert_int_equal(fixture_format(&r->f, MIB(16)), ERR_OK);
    assert_int_equal(fixture_open(&r->f), ERR_OK);
    fixture_make_bucket(&r->f);
}

static void down_recorded(struct recorded *r)
{
    fixture_close_volume(&r->f);
    disk_record_close(r->record);
    r->f.disk = disk_sim_disk(r->f.sim);
    fixture_fini(&r->f);
}

static unsigned count_events(struct recorded *r, enum disk_event_kind kind, size_t from)
{
    const struct disk_event *events;
    size_t count = disk_record_events(r->record, &events);
    unsigned found = 0;
    for (size_t i = from; i < count; i++)
        found += events[i].kind == kind;
    return found;
}

static size_t events_so_far(struct recorded *r)
{
    const struct disk_event *events;
    return disk_record_events(r->record, &events);
}

static void many_bodies_share_one_sync(void **state)
{
    enum { COUNT = 20 };
    struct recorded r;
    struct commit_wait waits[COUNT];
    char keys[COUNT][16];
    up_recorded(&r);
    uint64_t commits = fixture_status(&r.f).commits;
    size_t from = events_so_far(&r);
    for (unsigned i = 0; i < COUNT; i++) {
        struct body *body;
        snprintf(keys[i], sizeof keys[i], "k%u", i);
        assert_int_equal(fixture_body(&r.f, 20000, true, i, &body), ERR_OK);
        fixture_put_mutation(&r.f, &waits[i], keys[i], body, 20000);
        fixture_submit(&r.f, &waits[i]);
    }
    assert_int_equal(count_events(&r, DISK_EVENT_WRITE, from), COUNT);
    assert_int_equal(count_events(&r, DISK_EVENT_SYNC, from), 0);
    volume_step(r.f.volume);
    loop_run_once(r.f.loop, 0);
    for (unsigned i = 0; i < COUNT; i++) {
        assert_true(waits[i].is_done);
        assert_int_equal(waits[i].m.err, ERR_OK);
        assert_true(waits[i].m.receipt.synced);
        assert_int_equal(waits[i].m.receipt.replicas_synced, 1);
        assert_int_equal(waits[i].m.receipt.replicas_wanted, 1);
        if (i > 0)
            assert_true(waits[i].m.psn > waits[i - 1].m.psn);
    }
    assert_int_equal(fixture_status(&r.f).commits, commits + 1);
    const struct disk_event *events;
    size_t count = disk_record_events(r.record, &events);
    unsigned syncs = 0;
    for (size_t i = from; i < count; i++)
        syncs += events[i].kind == DISK_EVENT_SYNC && strstr(events[i].path, "/seg/") != NULL;
    assert_int_equal(syncs, 1);
    for (size_t i = from; i < count; i++) /* and never otherwise than directly */
        if (events[i].kind == DISK_EVENT_WRITE && strstr(events[i].path, "/seg/") != NULL)
            assert_true(events[i].direct);
    down_recorded(&r);
}

static void an_inline_object_syncs_no_segment(void **state)
{
    struct recorded r;
    up_recorded(&r);
    size_t from = events_so_far(&r);
    assert_int_equal(fixture_put(&r.f, "k", 4096, 1), ERR_OK);
    assert_int_equal(count_events(&r, DISK_EVENT_SYNC, from), 0);
    assert_int_equal(count_events(&r, DISK_EVENT_WRITE, from), 0);
    down_recorded(&r);
}

static void a_batch_that_changes_nothing_is_not_written(void **state)
{
    struct fixture f;
    fixture_up(&f, MIB(256), MIB(16));
    uint64_t commits = fixture_status(&f).commits;
    assert_int_equal(fixture_delete(&f, "absent"), ERR_OK);
    assert_int_equal(fixture_status(&f).commits, commits);
    fixture_fini(&f);
}

/* ---- order ---- */

static void mutations_see_each_other_in_their_order(void **state)
{
    struct fixture f;
    struct commit_wait waits[5];
    fixture_up(&f, MIB(256), MIB(16));
    for (unsigned i = 0; i < COUNT_OF(waits); i++) {
        struct body *body;
        assert_int_equal(fixture_body(&f, 30000, true, i, &body), ERR_OK);
        fixture_put_mutation(&f, &waits[i], "k", body, 30000);
        waits[i].m.conditions.if_none_match_any = i != 3;
    }
    struct commit_wait gone = {
        .m = {.kind = MUTATION_OBJECT_DELETE, .bucket = f.bucket, .key = BYTES("k")}};
    fixture_submit(&f, &waits[0]); /* makes it */
    fixture_submit(&f, &waits[1]); /* it is there */
    fixture_submit(&f, &gone);
    fixture_submit(&f, &waits[2]); /* makes it anew */
    fixture_submit(&f, &waits[3]); /* replaces it */
    fixture_submit(&f, &waits[4]); /* it is there */
    volume_step(f.volume);
    loop_run_once(f.loop, 0);
    static const enum err expected[] = {ERR_OK, ERR_PRECONDITION, ERR_OK, ERR_OK, ERR_PRECONDITION};
    for (unsigned i = 0; i < COUNT_OF(waits); i++)
        assert_int_equal(waits[i].m.err, expected[i]);
    assert_true(gone.m.existed);
    assert_int_equal(fixture_get(&f, "k", 30000, 3), ERR_OK);
    fixture_check(&f); /* what lost, or was replaced, left nothing */
    fixture_reopen(&f);
    assert_int_equal(fixture_get(&f, "k", 30000, 3), ERR_OK);
    fixture_fini(&f);
}

static void given_numbers_must_grow(void **state)
{
    struct fixture f;
    struct commit_wait wait;
    struct body *body;
    static const struct {
        uint64_t psn;
        enum err expected;
    } table[] = {
        {1000, ERR_OK}, {1000, ERR_INVALID}, {999, ERR_INVALID}, {0, ERR_OK}, {1002, ERR_OK}};
    fixture_up(&f, MIB(256), MIB(16));
    for (unsigned i = 0; i < COUNT_OF(table); i++) {
        assert_int_equal(fixture_body(&f, 10, true, i, &body), ERR_OK);
        fixture_put_mutation(&f, &wait, "k", body, 10);
        wait.m.psn = table[i].psn;
        assert_int_equal(fixture_commit(&f, &wait), table[i].expected);
    }
    assert_int_equal(wait.m.psn, 1002);
    fixture_reopen(&f);
    assert_int_equal(fixture_status(&f).last_psn, 1002);
    assert_int_equal(fixture_body(&f, 10, true, 9, &body), ERR_OK);
    fixture_put_mutation(&f, &wait, "k", body, 10);
    assert_int_equal(fixture_commit(&f, &wait), ERR_OK);
    assert_int_equal(wait.m.psn, 1003);
    fixture_fini(&f);
}

static void a_long_queue_is_cut_into_batches(void **state)
{
    enum { COUNT = 2500 };
    struct fixture f;
    fixture_up(&f, MIB(256), MIB(16));
    struct commit_wait *waits = calloc(COUNT, sizeof *waits);
    uint64_t commits = fixture_status(&f).commits;
    static char keys[COUNT][16];
    for (unsigned i = 0; i < COUNT; i++) {
        struct body *body;
        snprintf(keys[i], sizeof keys[i], "k%u", i);
        assert_int_equal(fixture_body(&f, INLINE_BYTES_MAX, true, i, &body), ERR_OK);
        fixture_put_mutation(&f, &waits[i], keys[i], body, INLINE_BYTES_MAX);
        fixture_submit(&f, &waits[i]);
    }
    volume_step(f.volume);
    loop_run_once(f.loop, 0);
    for (unsigned i = 0; i < COUNT; i++)
        assert_true(waits[i].is_done && waits[i].m.err == ERR_OK);
    assert_in_range(fixture_status(&f).commits - commits, 3, 10);
    free(waits);
    fixture_fini(&f);
}

/* ---- what a crash leaves ---- */

static void what_was_acknowledged_survives_and_nothing_else(void **state)
{
    unsigned seen = 0;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct fixture f;
        struct body *unnamed, *queued;
        struct commit_wait wait;
        fixture_up(&f, MIB(256), MIB(16));
        rand_seeded_init(&f.chances, seed);
        assert_int_equal(fixture_put(&f, "small", 100, 1), ERR_OK);
        assert_int_equal(fixture_put(&f, "large", MIB(3) + 7, 2), ERR_OK);
        assert_int_equal(fixture_put(&f, "gone", MIB(2), 3), ERR_OK);
        assert_int_equal(fixture_put(&f, "large", MIB(2) + 9, 4), ERR_OK);
        assert_int_equal(fixture_delete(&f, "gone"), ERR_OK);
        assert_int_equal(fixture_body(&f, MIB(1), true, 5, &unnamed), ERR_OK);
        assert_int_equal(fixture_body(&f, MIB(1), true, 6, &queued), ERR_OK);
        fixture_put_mutation(&f, &wait, "small", queued, MIB(1));
        fixture_submit(&f, &wait); /* nobody was told yet */
        body_close(unnamed);
        fixture_cut_power(&f);
        assert_int_equal(wait.m.err, ERR_VOLUME_FAILED);
        assert_int_equal(fixture_open(&f), ERR_OK);
        assert_int_equal(fixture_get(&f, "large", MIB(2) + 9, 4), ERR_OK);
        assert_int_equal(fixture_get(&f, "gone", MIB(2), 3), ERR_NO_SUCH_OBJECT);
        assert_int_equal(fixture_get(&f, "small", 100, 1), ERR_OK);
        fixture_check(&f);
        seen++;
        fixture_fini(&f);
    }
    assert_int_equal(seen, 20);
}

/* ---- errors ---- */

static void a_failed_sync_fails_the_volume_for_good(void **state)
{
    struct recorded r;
    struct body *body, *other;
    struct commit_wait wait, next;
    up_recorded(&r);
    assert_int_equal(fixture_put(&r.f, "before", 50000, 1), ERR_OK);
    assert_int_equal(fixture_body(&r.f, 50000, true, 2, &body), ERR_OK);
    assert_int_equal(fixture_body(&r.f, 50000, true, 3, &other), ERR_OK);
    fixture_put_mutation(&r.f, &wait, "k", body, 50000);
    size_t from = events_so_far(&r);
    disk_sim_fail_nth(r.f.sim, 1, ERR_IO);
    assert_int_equal(fixture_commit(&r.f, &wait), ERR_VOLUME_FAILED);
    assert_true(disk_sim_fault_fired(r.f.sim));
    disk_sim_fail_nth(r.f.sim, 0, ERR_OK);
    assert_int_equal(fixture_status(&r.f).state, VOLUME_FAILED);
    assert_non_null(strstr(fixture_status(&r.f).reason, "sync segment"));

    fixture_put_mutation(&r.f, &next, "k", other, 50000);
    assert_int_equal(fixture_commit(&r.f, &next), ERR_VOLUME_FAILED);
    /* A failed sync is never tried again. */
    assert_int_equal(count_events(&r, DISK_EVENT_SYNC, from), 1);
    assert_int_equal(body_open(r.f.volume, &(struct body_options){r.f.loop, 10}, &body, &r.f.trail),
                     ERR_VOLUME_FAILED);
    fixture_close_volume(&r.f);
    assert_int_equal(fixture_open(&r.f), ERR_OK);
    assert_int_equal(fixture_get(&r.f, "before", 50000, 1), ERR_OK);
    assert_int_equal(fixture_get(&r.f, "k", 50000, 2), ERR_NO_SUCH_OBJECT);
    fixture_check(&r.f);
    down_recorded(&r);
}

static void a_failed_index_write_fails_the_volume_for_good(void **state)
{
    struct fixture f;
    fixture_up(&f, MIB(256), MIB(16));
    assert_int_equal(fixture_put(&f, "before", 50000, 1), ERR_OK);
    unsigned nth = 1;
    /* Reads come first: an error there is that mutation's alone. */
    for (; nth < FAULTS_MAX; nth++) {
        kv_sim_fail_nth(f.kv, nth, ERR_IO);
        enum err e = fixture_put(&f, "k", 50000, nth);
        kv_sim_fail_nth(f.kv, 0, ERR_OK);
        if (e == ERR_VOLUME_FAILED || e == ERR_OK)
            break;
        assert_int_equal(e, ERR_IO);
        assert_int_equal(fixture_status(&f).state, VOLUME_OK);
        fixture_check(&f);
    }
    assert_true(nth > 1);
    assert_int_equal(fixture_status(&f).state, VOLUME_FAILED);
    assert_int_equal(fixture_put(&f, "k", 10, 1), ERR_VOLUME_FAILED);
    fixture_close_volume(&f);
    assert_int_equal(fixture_open(&f), ERR_OK);
    assert_int_equal(fixture_get(&f, "before", 50000, 1), ERR_OK);
    fixture_check(&f);
    fixture_fini(&f);
}

/* Fails the write of the next batch. */
static enum err put_on_full_index(struct fixture *f, const char *key, uint64_t size)
{
    enum err e = ERR_OK;
    for (unsigned nth = 1; nth < FAULTS_MAX && fixture_status(f).state == VOLUME_OK; nth++) {
        struct body *body;
        struct commit_wait wait;
        assert_int_equal(fixture_body(f, size, true, 7, &body), ERR_OK);
        fixture_put_mutation(f, &wait, key, body, size);
        kv_sim_fail_nth(f->kv, nth, ERR_DISK_FULL);
        fixture_submit(f, &wait);
        (void)commit_step(f->volume); /* the keeper would mend it at once */
        kv_sim_fail_nth(f->kv, 0, ERR_OK);
        loop_run_once(f->loop, 0);
        assert_true(wait.is_done);
        e = wait.m.err;
    }
    return e;
}

static void a_full_index_takes_deletes_and_then_everything_again(void **state)
{
    struct fixture f;
    struct body *body;
    fixture_up(&f, MIB(256), MIB(16));
    assert_int_equal(fixture_put(&f, "before", 50000, 1), ERR_OK);
    assert_int_equal(put_on_full_index(&f, "k", 50000), ERR_DISK_FULL);
    assert_int_equal(fixture_status(&f).state, VOLUME_READ_ONLY);
    assert_non_null(strstr(fixture_status(&f).reason, "no space"));
    assert_int_equal(f.volume->commit.limbo.count, 1); /* it may come back from the log */
    assert_int_equal(body_open(f.volume, &(struct body_options){f.loop, 10}, &body, &f.trail),
                     ERR_READ_ONLY);
    assert_non_null(strstr(f.trail.text, "no space"));

    struct commit_wait put = {
        .m = {.kind = MUTATION_SETTING_PUT, .key = BYTES("s"), .attrs = BYTES("v")}};
    struct commit_wait gone = {
        .m = {.kind = MUTATION_OBJECT_DELETE, .bucket = f.bucket, .key = BYTES("before")}};
    fixture_submit(&f, &put);
    fixture_submit(&f, &gone);
    assert_true(commit_step(f.volume));
    loop_run_once(f.loop, 0);
    assert_int_equal(put.m.err, ERR_READ_ONLY);
    assert_int_equal(gone.m.err, ERR_OK);

    volume_step(f.volume); /* the keeper finds space on the disk and tries the index */
    assert_int_equal(fixture_status(&f).state, VOLUME_OK);
    assert_string_equal(fixture_status(&f).reason, "");
    volume_step(f.volume);
    assert_int_equal(fixture_put(&f, "k", 50000, 2), ERR_OK);
    assert_int_equal(fixture_get(&f, "k", 50000, 2), ERR_OK);
    fixture_check(&f);
    fixture_fini(&f);
}

/* Fails the Nth call of disk or index in a sequence of everything; the volume may fail, but what
 * was acknowledged is there when it is opened again, what was not is there wholly or not, and no
 * unit is lost. */
struct outcome {
    enum err put_a, put_b, delete_a;
};

static struct outcome run_sequence(struct fixture *f)
{
    struct outcome outcome;
    outcome.put_a = fixture_put(f, "a", MIB(1) + 3, 11);
    outcome.put_b = fixture_put(f, "b", 3000, 12);
    outcome.delete_a = fixture_delete(f, "a");
    return outcome;
}

static void judge_sequence(struct fixture *f, struct outcome outcome)
{
    enum err a = fixture_get(f, "a", MIB(1) + 3, 11), b = fixture_get(f, "b", 3000, 12);
    assert_true(a == ERR_OK || a == ERR_NO_SUCH_OBJECT);
    assert_true(b == ERR_OK || b == ERR_NO_SUCH_OBJECT);
    if (outcome.put_b == ERR_OK)
        assert_int_equal(b, ERR_OK);
    if (outcome.delete_a == ERR_OK)
        assert_int_equal(a, ERR_NO_SUCH_OBJECT);
    if (outcome.put_a == ERR_OK && outcome.delete_a != ERR_OK &&
        outcome.delete_a != ERR_VOLUME_FAILED)
        assert_int_equal(a, ERR_OK);
    fixture_check(f);
}

static void every_error_leaves_what_was_acknowledged(void **state)
{
    static const enum err errors[] = {ERR_IO, ERR_DISK_FULL, ERR_NO_MEMORY};
    unsigned runs = 0;
    for (unsigned what = 0; what < 2 * COUNT_OF(errors); what++)
        for (unsigned nth = 1; nth < FAULTS_MAX; nth++, runs++) {
            struct fixture f;
            fixture_up(&f, MIB(256), MIB(16));
            if (what % 2)
                disk_sim_fail_nth(f.sim, nth, errors[what / 2]);
            else
                kv_sim_fail_nth(f.kv, nth, errors[what / 2]);
            struct outcome outcome = run_sequence(&f);
            bool fired = what % 2 ? disk_sim_fault_fired(f.sim) : kv_sim_fault_fired(f.kv);
            disk_sim_fail_nth(f.sim, 0, ERR_OK);
            kv_sim_fail_nth(f.kv, 0, ERR_OK);
            if (nth % 2)
                fixture_cut_power(&f);
            else
                fixture_close_volume(&f);
            assert_int_equal(fixture_open(&f), ERR_OK);
            volume_step(f.volume);
            judge_sequence(&f, outcome);
            fixture_fini(&f);
            if (!fired) {
                assert_true(outcome.put_a == ERR_OK && outcome.put_b == ERR_OK &&
                            outcome.delete_a == ERR_OK);
                break;
            }
        }
    assert_true(runs > 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_bodies_share_one_sync),
        cmocka_unit_test(an_inline_object_syncs_no_segment),
        cmocka_unit_test(a_batch_that_changes_nothing_is_not_written),
        cmocka_unit_test(mutations_see_each_other_in_their_order),
        cmocka_unit_test(given_numbers_must_grow),
        cmocka_unit_test(a_long_queue_is_cut_into_batches),
        cmocka_unit_test(what_was_acknowledged_survives_and_nothing_else),
        cmocka_unit_test(a_failed_sync_fails_the_volume_for_good),
        cmocka_unit_test(a_failed_index_write_fails_the_volume_for_good),
        cmocka_unit_test(a_full_index_takes_deletes_and_then_everything_again),
        cmocka_unit_test(every_error_leaves_what_was_acknowledged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
