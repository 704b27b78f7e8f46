/* Three nodes with a log of a few records: who was away, or lost its disk, is filled by a copy. */
#include "tests/unit/cluster_fixture.h"

#include <sys/prctl.h>

#include "storage/apply.h"
#include "storage/copy.h"
#include "storage/volume_priv.h"

#define LOG_RECORDS 32u
#define OBJECTS     70u
#define TRIES       3000u

/* ---- steps of a copy that are refused, each kind so often ---- */

static struct {
    atomic_uint left[COPY_STEP_END + 1], refused;
    atomic_uint objects_left; /* of runs of names of objects, besides */
    atomic_uint began, data;  /* steps that were taken */
    atomic_bool stays_full;
} faults;

enum err __real_apply_copy(struct apply *apply, struct copy_step *step,
                           const struct copy_mark *mark, const struct log_range *log);
enum err __wrap_apply_copy(struct apply *apply, struct copy_step *step,
                           const struct copy_mark *mark, const struct log_range *log);
enum err __wrap_apply_copy(struct apply *apply, struct copy_step *step,
                           const struct copy_mark *mark, const struct log_range *log)
{
    bool is_of_objects = step->kind == COPY_STEP_ROWS && step->run.family == KV_OBJECT;
    atomic_uint *left = is_of_objects ? &faults.objects_left : &faults.left[step->kind];
    if (atomic_load(left) > 0) {
        atomic_fetch_sub(left, 1);
        atomic_fetch_add(&faults.refused, 1);
        return err_note(&step->trail, ERR_NO_MEMORY, "the test refuses step %d", step->kind);
    }
    atomic_fetch_add(&faults.began, step->kind == COPY_STEP_BEGIN);
    atomic_fetch_add(&faults.data, step->kind == COPY_STEP_DATA);
    return __real_apply_copy(apply, step, mark, log);
}

/* ---- snapshots ---- */

static struct {
    atomic_uint opened, closed, closed_on_loop;
} snapshots;

enum err __real_copy_source_open(struct volume *volume, struct copy_source **ret_source,
                                 struct err_trail *trail);
enum err __wrap_copy_source_open(struct volume *volume, struct copy_source **ret_source,
                                 struct err_trail *trail);
enum err __wrap_copy_source_open(struct volume *volume, struct copy_source **ret_source,
                                 struct err_trail *trail)
{
    enum err e = __real_copy_source_open(volume, ret_source, trail);
    atomic_fetch_add(&snapshots.opened, e == ERR_OK);
    return e;
}

void __real_copy_source_close(struct copy_source *source);
void __wrap_copy_source_close(struct copy_source *source);
void __wrap_copy_source_close(struct copy_source *source)
{
    char name[16] = "";
    (void)prctl(PR_GET_NAME, name);
    atomic_fetch_add(&snapshots.closed, source != NULL);
    atomic_fetch_add(&snapshots.closed_on_loop, source != NULL && strcmp(name, "group") == 0);
    __real_copy_source_close(source);
}

/* A disk that is full stays so until the test says otherwise. */
void __real_volume__leave_read_only(struct volume *volume);
void __wrap_volume__leave_read_only(struct volume *volume);
void __wrap_volume__leave_read_only(struct volume *volume)
{
    if (!atomic_load(&faults.stays_full))
        __real_volume__leave_read_only(volume);
}

static int setup(void **state)
{
    memset(&faults, 0, sizeof faults);
    memset(&snapshots, 0, sizeof snapshots);
    return fixture_setup_as(state, 2, LOG_RECORDS);
}

/* ---- what is stored ---- */

static uint64_t size_of(unsigned i)
{
    static const uint64_t sizes[] = {0, 5, 300, 16384, 16385, 70000, 1300000};
    return sizes[i % COUNT_OF(sizes)];
}

/* Every third one is put over another. */
static void store_all(struct cluster_fixture *f, unsigned through, struct bucket_id bucket)
{
    for (unsigned i = 0; i < OBJECTS; i++) {
        char key[32];
        snprintf(key, sizeof key, "object-%u", i % 3 == 2 ? i - 2 : i);
        assert_int_equal(fixture_store(&f->nodes[through], bucket, key, size_of(i), i, NULL),
                         ERR_OK);
    }
}

static void read_all(struct cluster_fixture *f, unsigned through, struct bucket_id bucket)
{
    for (unsigned i = 0; i < OBJECTS; i++) {
        char key[32];
        if (i % 3 == 0 && i + 2 < OBJECTS)
            continue; /* what was put over it is read */
        snprintf(key, sizeof key, "object-%u", i % 3 == 2 ? i - 2 : i);
        assert_int_equal(fixture_read(&f->nodes[through], bucket, key, size_of(i), i), ERR_OK);
    }
}

/* Two go on without node `away`, and without what they had in memory. */
static struct bucket_id outgrow(struct cluster_fixture *f, unsigned away)
{
    fixture_wait_in_sync(f, 3);
    struct bucket_id bucket = fixture_bucket(&f->nodes[0], "photos");
    assert_int_equal(fixture_store(&f->nodes[0], bucket, "before", 100000, 1, NULL), ERR_OK);
    fixture_close_node(f, away);
    fixture_wait_in_sync(f, 2);
    store_all(f, (away + 1) % NODES, bucket);
    for (unsigned i = 0; i < NODES; i++)
        if (i != away)
            fixture_close_node(f, i);
    for (unsigned i = 0; i < NODES; i++)
        if (i != away)
            fixture_open_node(f, i);
    fixture_wait_in_sync(f, 2);
    return bucket;
}

static void expect_filled(struct cluster_fixture *f, unsigned node, struct bucket_id bucket)
{
    fixture_wait_in_sync(f, 3);
    assert_int_equal(volume_copy_mark(f->nodes[node].volume).phase, COPY_NONE);
    assert_true(atomic_load(&faults.began) > 0);
    assert_int_equal(fixture_read(&f->nodes[node], bucket, "before", 100000, 1), ERR_OK);
    read_all(f, node, bucket);
    assert_int_equal(fixture_store(&f->nodes[node], bucket, "after", 70000, 3, NULL), ERR_OK);
    for (unsigned i = 0; i < NODES; i++)
        assert_int_equal(fixture_read(&f->nodes[i], bucket, "after", 70000, 3), ERR_OK);
}

/* In sync again, it is waited for by nobody's log: not the primary's, and not the other's. */
static void expect_logs_go(struct cluster_fixture *f, struct bucket_id bucket)
{
    struct log_range range;
    volume_log_range(f->nodes[0].volume, &range);
    uint64_t end = range.last;
    for (unsigned i = 0; i < 2 * LOG_RECORDS; i++)
        assert_int_equal(fixture_store(&f->nodes[0], bucket, "more", 5, i, NULL), ERR_OK);
    for (unsigned i = 0, tries = 0; i < NODES; tries++) {
        volume_log_range(f->nodes[i].volume, &range);
        if (range.first > end) {
            i++;
            continue;
        }
        assert_true(tries < TRIES);
        usleep(10000);
    }
}

static void who_was_away_for_too_long_is_filled_by_a_copy(void **state)
{
    struct cluster_fixture *f = *state;
    struct bucket_id bucket = outgrow(f, 2);
    fixture_open_node(f, 2);
    expect_filled(f, 2, bucket);
    assert_true(atomic_load(&faults.data) > 5);
    expect_logs_go(f, bucket);
}

static void a_new_disk_is_filled_by_a_copy(void **state)
{
    struct cluster_fixture *f = *state;
    struct bucket_id bucket = outgrow(f, 1);
    fixture_replace_disk(f, 1);
    fixture_open_node(f, 1);
    expect_filled(f, 1, bucket);
}

static void a_step_that_is_refused_is_tried_again(void **state)
{
    struct cluster_fixture *f = *state;
    struct bucket_id bucket = outgrow(f, 2);
    for (int kind = COPY_STEP_BEGIN; kind <= COPY_STEP_END; kind++)
        atomic_store(&faults.left[kind], 1 + (kind == COPY_STEP_DATA));
    atomic_store(&faults.objects_left, 1);
    fixture_open_node(f, 2);
    expect_filled(f, 2, bucket);
    assert_int_equal(atomic_load(&faults.refused), COPY_STEP_END + 3);
    assert_int_equal(atomic_load(&snapshots.opened), 1); /* no other step was */
}

static void wait_snapshots(atomic_uint *count, unsigned least)
{
    for (unsigned tries = 0; atomic_load(count) < least; tries++) {
        assert_true(tries < TRIES);
        usleep(10000);
    }
}

/* A snapshot keeps what is deleted. */
static void a_primary_that_is_full_gives_the_copy_up(void **state)
{
    struct cluster_fixture *f = *state;
    struct bucket_id bucket = outgrow(f, 2);
    struct volume *volume = f->nodes[fixture_primary(f)].volume;
    atomic_store(&faults.objects_left, 1u << 30);
    fixture_open_node(f, 2);
    wait_snapshots(&faults.refused, 1);
    assert_int_equal(atomic_load(&snapshots.closed), 0);
    atomic_store(&faults.stays_full, true);
    volume__enter_read_only(volume, "the test has filled the disk");
    uint64_t began_ns = clock_mono_ns(clock_system());
    wait_snapshots(&snapshots.closed, 1);
    assert_true(clock_mono_ns(clock_system()) - began_ns < 15 * NS_PER_SECOND); /* not as idle */
    usleep(500000); /* time enough to ask again */
    assert_int_equal(atomic_load(&snapshots.opened), 1);
    atomic_store(&faults.stays_full, false);
    atomic_store(&faults.objects_left, 0);
    expect_filled(f, 2, bucket);
    assert_int_equal(atomic_load(&snapshots.opened), 2);
}

static bool is_copying(struct cluster_fixture *f, unsigned node, enum copy_phase phase)
{
    return volume_copy_mark(f->nodes[node].volume).phase == phase;
}

/* The node itself and the others say that it is half a copy. */
static void wait_told(struct cluster_fixture *f, unsigned node)
{
    struct group_status own, other;
    for (unsigned tries = 0; tries < TRIES; tries++) {
        group_status(f->nodes[node].group, &own);
        group_status(f->nodes[0].group, &other);
        if (own.role == GROUP_COPYING && strstr(own.sentence, "filled by a copy") != NULL &&
            other.peers[node].is_copied && !other.peers[node].is_in_sync)
            return;
        usleep(10000);
    }
    fail_msg("node %u says '%s', node 1 says that it is%s copied", node + 1, own.sentence,
             other.peers[node].is_copied ? "" : " not");
}

/* In the middle of names, and of data, by steps that are refused for as long as it takes. */
static void closed_in_the_middle_it_goes_on(void **state)
{
    static const struct {
        enum copy_step_kind stuck;
        enum copy_phase phase;
    } table[] = {
        {COPY_STEP_NAMED, COPY_ROWS}, {COPY_STEP_DATA, COPY_DATA}, {COPY_STEP_END, COPY_DATA}};
    struct cluster_fixture *f = *state;
    struct bucket_id bucket = outgrow(f, 2);
    for (unsigned i = 0; i < COUNT_OF(table); i++) {
        atomic_store(&faults.left[table[i].stuck], 1u << 30);
        unsigned refused = atomic_load(&faults.refused), tries = 0;
        fixture_open_node(f, 2);
        while (!is_copying(f, 2, table[i].phase) || atomic_load(&faults.refused) == refused) {
            assert_true(tries++ < TRIES);
            usleep(10000);
        }
        wait_told(f, 2);
        if (i == 0)
            assert_int_equal(fixture_fresh(&f->nodes[2]), ERR_BUSY); /* nothing half is read */
        fixture_close_node(f, 2);
        atomic_store(&faults.left[table[i].stuck], 0);
    }
    wait_snapshots(&snapshots.closed, 1);
    assert_int_equal(atomic_load(&snapshots.closed_on_loop), 0); /* it may wait for the disk */
    fixture_open_node(f, 2);
    expect_filled(f, 2, bucket);
}

static void the_primary_goes_in_the_middle(void **state)
{
    struct cluster_fixture *f = *state;
    struct bucket_id bucket = outgrow(f, 2);
    unsigned primary = fixture_primary(f), tries = 0;
    atomic_store(&faults.left[COPY_STEP_NAMED], 1u << 30);
    fixture_open_node(f, 2);
    while (atomic_load(&faults.refused) == 0) {
        assert_true(tries++ < TRIES);
        usleep(10000);
    }
    fixture_close_node(f, primary);
    atomic_store(&faults.left[COPY_STEP_NAMED], 0);
    fixture_wait_in_sync(f, 2);
    fixture_open_node(f, primary);
    expect_filled(f, 2, bucket);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(who_was_away_for_too_long_is_filled_by_a_copy, setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(a_new_disk_is_filled_by_a_copy, setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_step_that_is_refused_is_tried_again, setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(a_primary_that_is_full_gives_the_copy_up, setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(closed_in_the_middle_it_goes_on, setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(the_primary_goes_in_the_middle, setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
