/* Three nodes of a group, and disks that neither fail nor answer until they are let go. One of them
 * takes no records, too. */
#include "tests/unit/cluster_fixture.h"

#include "base/ring.h"
#include "replication/incoming.h"
#include "storage/apply.h"

#define TIMEOUT_NS (500 * NS_PER_MS)

/* ---- disks whose writes are held ---- */

#define HELD_MAX 64u

static struct held_disk {
    _Atomic(struct loop *) group_loop; /* the node's; NULL: its disk answers */
    _Atomic(struct loop *) loop;       /* where its requests run; NULL: their writes come through */
    atomic_bool holds_log, refuses_log;
    /* Of one loop each, and touched by its thread. */
    struct held_writes {
        struct held_write {
            struct ring *ring;
            struct ring_op *op;
            int fd;
            void *data;
            uint32_t size;
            uint64_t offset;
            ring_done_fn *done;
        } writes[HELD_MAX];
        unsigned count;
        struct loop_msg go;
    } held[2];
} disks[NODES];

/* The committer waits, as in a sync that does not end. */
static void wait_for_log(const struct loop *loop)
{
    for (unsigned i = 0; i < NODES; i++)
        while (loop == atomic_load(&disks[i].group_loop) && atomic_load(&disks[i].holds_log))
            usleep(1000);
}

enum err __real_apply_log_append(struct apply *apply, struct log_append *append);
enum err __wrap_apply_log_append(struct apply *apply, struct log_append *append);
enum err __wrap_apply_log_append(struct apply *apply, struct log_append *append)
{
    wait_for_log(append->loop);
    for (unsigned i = 0; i < NODES; i++)
        if (append->loop == atomic_load(&disks[i].group_loop) && atomic_load(&disks[i].refuses_log))
            return err_note(&append->trail, ERR_DISK_FULL, "the test refuses a record");
    return __real_apply_log_append(apply, append);
}

enum err __real_apply_log_save(struct apply *apply, struct log_save *save, uint64_t last);
enum err __wrap_apply_log_save(struct apply *apply, struct log_save *save, uint64_t last);
enum err __wrap_apply_log_save(struct apply *apply, struct log_save *save, uint64_t last)
{
    wait_for_log(save->loop);
    return __real_apply_log_save(apply, save, last);
}

void __real_ring_write(struct ring *ring, struct ring_op *op, int fd, void *data, uint32_t size,
                       uint64_t offset, ring_done_fn *done);
void __wrap_ring_write(struct ring *ring, struct ring_op *op, int fd, void *data, uint32_t size,
                       uint64_t offset, ring_done_fn *done);
void __wrap_ring_write(struct ring *ring, struct ring_op *op, int fd, void *data, uint32_t size,
                       uint64_t offset, ring_done_fn *done)
{
    for (unsigned i = 0; i < NODES; i++) {
        struct loop *loops[] = {atomic_load(&disks[i].loop), atomic_load(&disks[i].group_loop)};
        for (unsigned l = 0; l < COUNT_OF(loops); l++) {
            struct held_writes *held = &disks[i].held[l];
            if (atomic_load(&disks[i].loop) == NULL || loop_ring(loops[l]) != ring)
                continue;
            assert_true(held->count < HELD_MAX);
            held->writes[held->count++] =
                (struct held_write){ring, op, fd, data, size, offset, done};
            return;
        }
    }
    __real_ring_write(ring, op, fd, data, size, offset, done);
}

static void go_on(struct loop_msg *msg)
{
    struct held_writes *held = CONTAINER_OF(msg, struct held_writes, go);
    for (unsigned i = 0; i < held->count; i++) {
        const struct held_write *w = &held->writes[i];
        __real_ring_write(w->ring, w->op, w->fd, w->data, w->size, w->offset, w->done);
    }
    held->count = 0;
}

static void hold_log(struct cluster_fixture *f, unsigned index)
{
    atomic_store(&disks[index].group_loop, f->nodes[index].group_loop);
    atomic_store(&disks[index].holds_log, true);
}

static void hold_bodies(struct cluster_fixture *f, unsigned index)
{
    atomic_store(&disks[index].group_loop, f->nodes[index].group_loop);
    atomic_store(&disks[index].loop, f->nodes[index].loop);
}

static void let_go(struct cluster_fixture *f, unsigned index)
{
    struct held_disk *disk = &disks[index];
    struct loop *loops[] = {f->nodes[index].loop, f->nodes[index].group_loop};
    bool held_bodies = atomic_exchange(&disk->loop, NULL) != NULL;
    atomic_store(&disk->holds_log, false);
    for (unsigned l = 0; l < COUNT_OF(loops) && held_bodies; l++) {
        disk->held[l].go.deliver = go_on;
        loop_post(loops[l], &disk->held[l].go);
    }
}

static int setup(void **state)
{
    memset(disks, 0, sizeof disks);
    fixture_disk_timeout_ns = TIMEOUT_NS;
    return fixture_setup_as(state, 2, 0);
}

/* ---- waiting ---- */

static bool says(struct cluster_fixture *f, unsigned index, const char *what)
{
    struct group_status status;
    group_status(f->nodes[index].group, &status);
    return strstr(status.sentence, what) != NULL;
}

/* Not ready, with a sentence that has this in it. */
static void wait_until_it_says(struct cluster_fixture *f, unsigned index, const char *what)
{
    struct group_status status;
    for (unsigned tries = 0; tries < 3000; tries++) {
        if (says(f, index, what))
            return;
        usleep(10000);
    }
    group_status(f->nodes[index].group, &status);
    fail_msg("node %u says '%s', not '%s'", index + 1, status.sentence, what);
}

/* What it has pulled so far, as told after it has applied more records than that. */
static uint64_t pulled_bytes(struct cluster_fixture *f, unsigned index, uint64_t *psn_applied)
{
    struct group_status status;
    do {
        usleep(1000);
        group_status(f->nodes[index].group, &status);
    } while (status.psn_applied <= *psn_applied);
    *psn_applied = status.psn_applied;
    return status.pulled_bytes;
}

static void expect_not_ready(struct cluster_fixture *f, unsigned index)
{
    struct err_trail trail = {0};
    struct group_status status;
    assert_int_equal(group_wait_ready(f->nodes[index].group, 0, &trail), ERR_TIMEOUT);
    group_status(f->nodes[index].group, &status);
    assert_true(status.disk_waits_ns >= TIMEOUT_NS);
}

/* A change that needs no body, on its way through this node. */
static void propose_delete(struct cluster_node *node, struct bucket_id bucket,
                           struct fixture_put *put)
{
    *put = (struct fixture_put){.m = {.kind = MUTATION_OBJECT_DELETE,
                                      .bucket = bucket,
                                      .key = BYTES("none"),
                                      .loop = node->loop,
                                      .done = fixture_put_done}};
    group_propose(node->group, &put->m);
}

static enum err outcome(struct cluster_node *node, struct fixture_put *put)
{
    while (!put->is_done)
        loop_run_once(node->loop, NS_PER_SECOND);
    return put->m.err;
}

/* ---- tests ---- */

static void a_primary_whose_log_hangs_leaves_the_group_to_another(void **state)
{
    struct cluster_fixture *f = *state;
    fixture_wait_in_sync(f, 3);
    struct bucket_id bucket = fixture_bucket(&f->nodes[0], "photos");
    unsigned broken = fixture_primary(f);
    fixture_expect_stored(f, broken, bucket, "before", 300);
    hold_log(f, broken);
    /* Who waits for the disk is told, as soon as the node has given up waiting. */
    assert_int_equal(fixture_store(&f->nodes[broken], bucket, "late", 300, 9, NULL), ERR_BUSY);
    unsigned leads = fixture_wait_another_leads(f, broken);
    wait_until_it_says(f, broken, "until it does this node does not lead");
    expect_not_ready(f, broken);
    struct receipt receipt;
    assert_int_equal(fixture_store(&f->nodes[leads], bucket, "after", 100000, 9, &receipt), ERR_OK);
    assert_int_equal(receipt.replicas_synced, 2);
    /* Its disk is not given what it would not give back. */
    assert_int_equal(fixture_store(&f->nodes[broken], bucket, "big", 100000, 9, NULL), ERR_BUSY);
    let_go(f, broken);
    fixture_wait_in_sync(f, 3);
    assert_int_equal(fixture_primary(f), leads);
    fixture_expect_stored(f, broken, bucket, "again", 100000);
    assert_int_equal(fixture_read(&f->nodes[broken], bucket, "before", 300, 9), ERR_OK);
    assert_int_equal(fixture_read(&f->nodes[broken], bucket, "after", 100000, 9), ERR_OK);
    enum err late = fixture_read(&f->nodes[leads], bucket, "late", 300, 9);
    assert_true(late == ERR_OK || late == ERR_NO_SUCH_OBJECT);
    assert_int_equal(fixture_read(&f->nodes[broken], bucket, "late", 300, 9), late);
}

#define BODY_BYTES 32768u

/* No record comes as far as the log. */
static void a_primary_whose_bodies_hang_leaves_the_group_to_another(void **state)
{
    struct cluster_fixture *f = *state;
    fixture_wait_in_sync(f, 3);
    struct bucket_id bucket = fixture_bucket(&f->nodes[0], "photos");
    unsigned broken = fixture_primary(f);
    struct cluster_node *node = &f->nodes[broken];
    struct fixture_put put = {0};
    struct slot *slot = slot_take(loop_arena(node->loop), SLOT_LARGE);
    struct body *body;
    assert_non_null(slot);
    hold_bodies(f, broken);
    assert_int_equal(group_body_open(node->group,
                                     &(struct body_options){.loop = node->loop, .size = BODY_BYTES},
                                     &body, &put.m.trail),
                     ERR_OK);
    assert_int_equal(group_body_write(node->group, body, &put.write, slot->data, BODY_BYTES, true,
                                      fixture_put_written, &put.m.trail),
                     ERR_OK);
    unsigned leads = fixture_wait_another_leads(f, broken);
    wait_until_it_says(f, broken, "the disk has not answered for ");
    expect_not_ready(f, broken);
    assert_int_equal(fixture_store(&f->nodes[leads], bucket, "after", 300, 9, NULL), ERR_OK);
    let_go(f, broken);
    while (!put.is_written)
        loop_run_once(node->loop, NS_PER_SECOND);
    assert_int_equal(put.err, ERR_OK);
    group_body_close(node->group, body);
    slot_put(slot);
    fixture_wait_in_sync(f, 3);
    assert_int_equal(fixture_primary(f), leads);
    fixture_expect_stored(f, broken, bucket, "again", 100000);
}

/* Without it the others have no majority: they go on reading through it, from their own disks. */
static void a_primary_that_nobody_can_follow_leads_on(void **state)
{
    struct cluster_fixture *f = *state;
    fixture_wait_in_sync(f, 3);
    struct bucket_id bucket = fixture_bucket(&f->nodes[0], "photos");
    unsigned broken = fixture_primary(f), other = (broken + 1) % NODES, away = (broken + 2) % NODES;
    fixture_expect_stored(f, broken, bucket, "before", 300);
    fixture_close_node(f, away);
    fixture_wait_in_sync(f, 2);
    hold_log(f, broken);
    struct fixture_put put;
    propose_delete(&f->nodes[broken], bucket, &put);
    wait_until_it_says(f, broken, "this node leads on, for no other one can");
    expect_not_ready(f, broken);
    assert_int_equal(fixture_primary(f), broken);
    fixture_wait_ready(f, other);
    assert_int_equal(fixture_read(&f->nodes[other], bucket, "before", 300, 9), ERR_OK);
    /* Until the third comes, which can follow with the other. */
    fixture_open_node(f, away);
    assert_int_equal(fixture_wait_another_leads(f, broken), other);
    assert_int_equal(fixture_store(&f->nodes[other], bucket, "after", 300, 9, NULL), ERR_OK);
    let_go(f, broken);
    (void)outcome(&f->nodes[broken], &put); /* it was on its way when the lead went */
    fixture_wait_in_sync(f, 3);
    fixture_expect_stored(f, broken, bucket, "again", 300);
}

static void without_the_log_of_a_replica_that_hangs_the_others_go_on(void **state)
{
    struct cluster_fixture *f = *state;
    fixture_wait_in_sync(f, 3);
    struct bucket_id bucket = fixture_bucket(&f->nodes[0], "photos");
    unsigned primary = fixture_primary(f), broken = (primary + 1) % NODES;
    hold_log(f, broken);
    hold_bodies(f, broken);
    struct receipt receipt;
    assert_int_equal(fixture_store(&f->nodes[primary], bucket, "first", 100000, 9, &receipt),
                     ERR_OK);
    assert_int_equal(receipt.replicas_synced, 2);
    wait_until_it_says(f, broken, "the disk has not answered for ");
    expect_not_ready(f, broken);
    for (unsigned i = 0; i < 12; i++) /* more than it has memory for, and one is given up halfway */
        assert_int_equal(fixture_store(&f->nodes[primary], bucket, "more", 5000000, i, NULL),
                         ERR_OK);
    assert_int_equal(fixture_primary(f), primary);
    uint64_t answered_ns = clock_mono_ns(clock_system());
    let_go(f, broken);
    fixture_wait_in_sync(f, 3);
    assert_true(clock_mono_ns(clock_system()) - answered_ns < INCOMING_IDLE_NS / 2);
    assert_int_equal(fixture_read(&f->nodes[broken], bucket, "first", 100000, 9), ERR_OK);
    assert_int_equal(fixture_read(&f->nodes[broken], bucket, "more", 5000000, 11), ERR_OK);
    /* Its places are empty again, and so the next body is sent to it, not left to be pulled. */
    uint64_t applied = 0, pulled = pulled_bytes(f, broken, &applied);
    assert_true(pulled > 0);
    assert_int_equal(fixture_store(&f->nodes[primary], bucket, "next", 5000000, 12, &receipt),
                     ERR_OK);
    assert_int_equal(receipt.replicas_synced, 3);
    assert_int_equal(pulled_bytes(f, broken, &applied), pulled);
}

/* That it answers does not say that it takes what it refused before. */
static void a_disk_that_took_no_records_before_it_hung_takes_none_afterwards(void **state)
{
    struct cluster_fixture *f = *state;
    struct group_status status;
    fixture_wait_in_sync(f, 3);
    struct bucket_id bucket = fixture_bucket(&f->nodes[0], "photos");
    unsigned broken = fixture_primary(f);
    atomic_store(&disks[broken].group_loop, f->nodes[broken].group_loop);
    atomic_store(&disks[broken].refuses_log, true);
    assert_int_equal(fixture_store(&f->nodes[broken], bucket, "late", 300, 9, NULL), ERR_BUSY);
    wait_until_it_says(f, broken, "the disk takes no changes: ");
    unsigned leads = fixture_wait_another_leads(f, broken);
    hold_log(f, broken);
    wait_until_it_says(f, broken, "the disk has not answered for ");
    let_go(f, broken);
    while (says(f, broken, "the disk has not answered for "))
        usleep(1000);
    group_status(f->nodes[broken].group, &status);
    assert_non_null(strstr(status.sentence, "the disk takes no changes: "));
    assert_non_null(strstr(status.sentence, "(the test refuses a record"));
    atomic_store(&disks[broken].refuses_log, false);
    fixture_wait_in_sync(f, 3);
    assert_int_equal(fixture_primary(f), leads);
    fixture_expect_stored(f, broken, bucket, "again", 300);
}

/* It answers once in a while, and would take the lead back each time. */
static void a_disk_that_hangs_again_and_again_does_not_keep_the_lead(void **state)
{
    enum { ROUNDS = 12 };
    struct cluster_fixture *f = *state;
    struct fixture_put puts[ROUNDS];
    struct group_status status;
    fixture_wait_in_sync(f, 3);
    struct bucket_id bucket = fixture_bucket(&f->nodes[0], "photos");
    unsigned broken = fixture_primary(f), rounds = 0, leads;
    do {
        hold_log(f, broken);
        propose_delete(&f->nodes[broken], bucket, &puts[rounds++]);
        wait_until_it_says(f, broken, "the disk has not answered for ");
        let_go(f, broken);
        while (says(f, broken, "the disk has not answered for "))
            usleep(1000);
        leads = fixture_another_primary(f, broken, &status);
    } while (leads == NODES && rounds < ROUNDS);
    for (unsigned i = 0; i < rounds; i++)
        (void)outcome(&f->nodes[broken], &puts[i]);
    assert_int_not_equal(leads, NODES);
    fixture_wait_in_sync(f, 3);
    assert_int_not_equal(fixture_primary(f), broken);
    fixture_expect_stored(f, broken, bucket, "again", 100000);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_primary_whose_log_hangs_leaves_the_group_to_another),
        TEST(a_primary_whose_bodies_hang_leaves_the_group_to_another),
        TEST(a_primary_that_nobody_can_follow_leads_on),
        TEST(without_the_log_of_a_replica_that_hangs_the_others_go_on),
        TEST(a_disk_that_took_no_records_before_it_hung_takes_none_afterwards),
        TEST(a_disk_that_hangs_again_and_again_does_not_keep_the_lead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
