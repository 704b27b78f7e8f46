/* Three nodes of a group, and calls of the driver and of the volume beneath it that fail in the
 * midst of it. */
#include "tests/unit/cluster_fixture.h"

#include <sys/prctl.h>

#include "replication/repair.h"
#include "storage/apply.h"
#include "storage/volume_priv.h"

/* ---- memory: one allocation of a group's thread fails ---- */

static atomic_uint allocations_left; /* until one fails; 0: none does */
static atomic_bool has_failed;

static bool fails_now(void)
{
    char name[16];
    if (atomic_load(&allocations_left) == 0)
        return false;
    (void)prctl(PR_GET_NAME, name);
    if (strcmp(name, "group") != 0 || atomic_fetch_sub(&allocations_left, 1) != 1)
        return false;
    atomic_store(&has_failed, true);
    return true;
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
    return fails_now() ? NULL : __real_malloc(size);
}

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size)
{
    return fails_now() ? NULL : __real_calloc(count, size);
}

/* ---- the log: so many appends of a node are refused ---- */

static struct append_fault {
    _Atomic(const struct loop *) loop; /* the node's */
    atomic_uint left;
    atomic_uint saves_left;
    enum err err;
    bool fills_disk; /* the first one meets a volume that is full from then on */
} append_faults[NODES];

enum err __real_apply_log_append(struct apply *apply, struct log_append *append);
enum err __wrap_apply_log_append(struct apply *apply, struct log_append *append);
enum err __wrap_apply_log_append(struct apply *apply, struct log_append *append)
{
    for (unsigned i = 0; i < NODES; i++) {
        struct append_fault *fault = &append_faults[i];
        if (atomic_load(&fault->loop) != append->loop || atomic_load(&fault->left) == 0)
            continue;
        atomic_fetch_sub(&fault->left, 1);
        if (fault->fills_disk)
            volume__enter_read_only(CONTAINER_OF(apply, struct volume, commit.apply),
                                    "the test has filled the disk");
        return err_note(&append->trail, fault->err, "the test refuses record %llu",
                        (unsigned long long)append->psn);
    }
    return __real_apply_log_append(apply, append);
}

enum err __real_apply_log_save(struct apply *apply, struct log_save *save, uint64_t last);
enum err __wrap_apply_log_save(struct apply *apply, struct log_save *save, uint64_t last);
enum err __wrap_apply_log_save(struct apply *apply, struct log_save *save, uint64_t last)
{
    for (unsigned i = 0; i < NODES; i++) {
        struct append_fault *fault = &append_faults[i];
        if (atomic_load(&fault->loop) != save->loop || atomic_load(&fault->saves_left) == 0)
            continue;
        atomic_fetch_sub(&fault->saves_left, 1);
        return ERR_NO_MEMORY;
    }
    return __real_apply_log_save(apply, save, last);
}

static void refuse_appends(struct cluster_fixture *f, unsigned index, enum err e, unsigned count)
{
    append_faults[index].err = e;
    atomic_store(&append_faults[index].loop, f->nodes[index].group_loop);
    atomic_store(&append_faults[index].left, count);
}

static void refuse_saves(struct cluster_fixture *f, unsigned index, unsigned count)
{
    atomic_store(&append_faults[index].loop, f->nodes[index].group_loop);
    atomic_store(&append_faults[index].saves_left, count);
}

/* A disk that is full stays so until the test says otherwise. */
static atomic_bool stays_full;
void __real_volume__leave_read_only(struct volume *volume);
void __wrap_volume__leave_read_only(struct volume *volume);
void __wrap_volume__leave_read_only(struct volume *volume)
{
    if (!atomic_load(&stays_full))
        __real_volume__leave_read_only(volume);
}

/* ---- bodies: a node takes none of its peers' ---- */

static _Atomic(const struct loop *) takes_no_bodies; /* the node's */

enum err __real_body_open(struct volume *volume, const struct body_options *options,
                          struct body **ret_body, struct err_trail *trail);
enum err __wrap_body_open(struct volume *volume, const struct body_options *options,
                          struct body **ret_body, struct err_trail *trail);
enum err __wrap_body_open(struct volume *volume, const struct body_options *options,
                          struct body **ret_body, struct err_trail *trail)
{
    if (options->loop == atomic_load(&takes_no_bodies))
        return err_note(trail, ERR_BUSY, "the test takes no body");
    return __real_body_open(volume, options, ret_body, trail);
}

/* ---- how often a change that waits is looked at ---- */

static _Atomic(struct volume *) judging;
static atomic_uint puts_judged; /* by this one */

enum err __real_volume_judge(struct volume *volume, enum mutation_kind kind,
                             struct err_trail *trail);
enum err __wrap_volume_judge(struct volume *volume, enum mutation_kind kind,
                             struct err_trail *trail);
enum err __wrap_volume_judge(struct volume *volume, enum mutation_kind kind,
                             struct err_trail *trail)
{
    bool counts = volume == atomic_load(&judging) && kind == MUTATION_OBJECT_PUT;
    atomic_fetch_add(&puts_judged, counts);
    return __real_volume_judge(volume, kind, trail);
}

static unsigned watch_puts_judged(struct volume *volume)
{
    atomic_store(&judging, volume);
    return atomic_load(&puts_judged);
}

/* ---- opening ---- */

static atomic_bool repair_is_refused;
static atomic_uint links_opened;

enum err __real_repair_open(const struct repair_options *options, struct repair **ret_repair);
enum err __wrap_repair_open(const struct repair_options *options, struct repair **ret_repair);
enum err __wrap_repair_open(const struct repair_options *options, struct repair **ret_repair)
{
    return atomic_load(&repair_is_refused) ? ERR_NO_MEMORY
                                           : __real_repair_open(options, ret_repair);
}

enum err __real_links_open(const struct links_options *options, struct links **ret_links,
                           struct err_trail *trail);
enum err __wrap_links_open(const struct links_options *options, struct links **ret_links,
                           struct err_trail *trail);
enum err __wrap_links_open(const struct links_options *options, struct links **ret_links,
                           struct err_trail *trail)
{
    atomic_fetch_add(&links_opened, 1);
    return __real_links_open(options, ret_links, trail);
}

/* ---- tests ---- */

static void no_faults(void)
{
    memset(append_faults, 0, sizeof append_faults);
    atomic_store(&allocations_left, 0);
    atomic_store(&stays_full, false);
    atomic_store(&repair_is_refused, false);
    atomic_store(&takes_no_bodies, NULL);
}

static int setup(void **state)
{
    no_faults();
    return fixture_setup_as(state, 2, 0);
}

static int setup_one_suffices(void **state)
{
    no_faults();
    return fixture_setup_as(state, 1, 0);
}

/* Who calls others must be able to do what they ask. */
static void who_lacks_a_part_has_no_links(void **state)
{
    struct cluster_fixture *f = *state;
    fixture_wait_in_sync(f, 3);
    fixture_close_node(f, 2);
    unsigned before = atomic_load(&links_opened);
    atomic_store(&repair_is_refused, true);
    assert_int_equal(fixture_try_open_node(f, 2), ERR_NO_MEMORY);
    assert_int_equal(atomic_load(&links_opened), before);
    fixture_close_node(f, 2);
    atomic_store(&repair_is_refused, false);
    fixture_open_node(f, 2);
    fixture_wait_in_sync(f, 3);
}

static void reopen_stopped(struct cluster_fixture *f)
{
    for (unsigned i = 0; i < NODES; i++) {
        struct group_status status;
        group_status(f->nodes[i].group, &status);
        if (status.role != GROUP_STOPPED)
            continue;
        fixture_close_node(f, i);
        fixture_open_node(f, i);
    }
    fixture_wait_in_sync(f, 3);
}

/* Each allocation that a change needs on the groups' threads fails once. */
static void a_change_that_meets_no_memory_has_an_outcome(void **state)
{
    struct cluster_fixture *f = *state;
    fixture_wait_in_sync(f, 3);
    struct bucket_id bucket = fixture_bucket(&f->nodes[0], "photos");
    unsigned nth = 1;
    for (bool goes_on = true; goes_on; nth++) {
        unsigned through = nth % NODES;
        uint64_t size = nth % 2 ? 300 : 70000;
        char key[16];
        snprintf(key, sizeof key, "n%u", nth);
        atomic_store(&has_failed, false);
        atomic_store(&allocations_left, (nth + 5) / 6);
        enum err e = fixture_store(&f->nodes[through], bucket, key, size, nth, NULL);
        goes_on = atomic_load(&has_failed) && nth < 300;
        atomic_store(&allocations_left, 0);
        assert_true(e == ERR_OK || e == ERR_BUSY || e == ERR_NO_MEMORY);
        reopen_stopped(f);
        for (unsigned i = 0; i < NODES && e == ERR_OK; i++)
            assert_int_equal(fixture_read(&f->nodes[i], bucket, key, size, nth), ERR_OK);
    }
    assert_in_range(nth, 20, 299);
}

static void wait_until_stopped(struct cluster_fixture *f, unsigned index,
                               struct group_status *ret_status)
{
    for (unsigned tries = 0; tries < 60000; tries++) {
        group_status(f->nodes[index].group, ret_status);
        if (ret_status->role == GROUP_STOPPED)
            return;
        usleep(1000);
    }
    fail_msg("node %u does not stop", index + 1);
}

/* What it says at once is of now: it has heard from its primary since its timer ticked last. */
static void a_node_that_stops_says_when_it_has_heard_from_others(void **state)
{
    struct cluster_fixture *f = *state;
    fixture_wait_in_sync(f, 3);
    struct bucket_id bucket = fixture_bucket(&f->nodes[0], "photos");
    unsigned primary = fixture_primary(f), stops = (primary + 1) % NODES;
    struct cluster_node *through = &f->nodes[primary];
    struct fixture_put put = {.m = {.kind = MUTATION_OBJECT_DELETE,
                                    .bucket = bucket,
                                    .key = BYTES("none"),
                                    .loop = through->loop,
                                    .done = fixture_put_done}};
    refuse_appends(f, stops, ERR_INVALID, UINT32_MAX);
    group_propose(through->group, &put.m);
    struct group_status status;
    wait_until_stopped(f, stops, &status);
    while (!put.is_done)
        loop_run_once(through->loop, NS_PER_SECOND);
    assert_int_equal(put.m.err, ERR_OK);
    for (unsigned i = 0; i < NODES; i++)
        if (i != stops)
            assert_true(status.peers[i].heard_ns < 60 * NS_PER_SECOND);
    atomic_store(&append_faults[stops].left, 0);
    reopen_stopped(f);
    fixture_expect_stored(f, stops, bucket, "again", 300);
}

/* What the volume does not take is brought to it again, with its data if that is gone. */
static void a_refused_append_is_tried_again(void **state)
{
    static const enum err errors[] = {ERR_BUSY, ERR_NO_MEMORY, ERR_DISK_FULL};
    static const uint64_t sizes[] = {300, 100000};
    struct cluster_fixture *f = *state;
    fixture_wait_in_sync(f, 3);
    struct bucket_id bucket = fixture_bucket(&f->nodes[0], "photos");
    unsigned primary = fixture_primary(f);
    for (unsigned i = 0; i < COUNT_OF(errors) * COUNT_OF(sizes) * 2; i++) {
        char key[16];
        snprintf(key, sizeof key, "e%u", i);
        unsigned whose = (primary + i % 2) % NODES;
        refuse_appends(f, whose, errors[i / 2 % COUNT_OF(errors)], 1 + i % 3 / 2);
        fixture_expect_stored(f, (primary + i % 3) % NODES, bucket, key, sizes[i / 6]);
        assert_int_equal(atomic_load(&append_faults[whose].left), 0);
    }
    assert_int_equal(fixture_primary(f), primary);
}

#define SMALL_LOG 256u /* records: the state is saved with every 16th */

static int setup_small_log(void **state)
{
    no_faults();
    return fixture_setup_as(state, 3, SMALL_LOG);
}

/* What was in line behind it comes to the disk first, and stays there. */
static void a_refused_save_does_not_stop_the_log_nor_cut_it(void **state)
{
    struct cluster_fixture *f = *state;
    fixture_wait_in_sync(f, 3);
    struct bucket_id bucket = fixture_bucket(&f->nodes[0], "photos");
    unsigned primary = fixture_primary(f);
    struct cluster_node *through = &f->nodes[primary];
    struct fixture_put puts[8] = {0};
    for (unsigned n = 0; n < 600 + COUNT_OF(puts); n++) {
        struct fixture_put *put = &puts[n % COUNT_OF(puts)];
        while (n >= COUNT_OF(puts) && !put->is_done)
            loop_run_once(through->loop, NS_PER_SECOND);
        assert_int_equal(put->m.err, ERR_OK);
        if (n >= 600)
            continue;
        if (n % 20 == 0)
            refuse_saves(f, n / 20 % NODES, 1 + n / 60 % 2);
        *put = (struct fixture_put){.m = {.kind = MUTATION_OBJECT_DELETE,
                                          .bucket = bucket,
                                          .key = BYTES("none"),
                                          .loop = through->loop,
                                          .done = fixture_put_done}};
        group_propose(through->group, &put->m);
    }
    fixture_expect_stored(f, primary, bucket, "after", 300);
    for (unsigned i = 0; i < NODES; i++) {
        fixture_close_node(f, i);
        fixture_open_node(f, i);
    }
    fixture_wait_in_sync(f, 3);
    fixture_expect_stored(f, primary, bucket, "again", 300);
}

/* Until the primary says that `count` are in sync. */
static void wait_for_in_sync(struct cluster_fixture *f, unsigned primary, unsigned count)
{
    struct group_status status;
    for (unsigned tries = 0; tries < 3000; tries++) {
        group_status(f->nodes[primary].group, &status);
        if (status.is_primary && status.in_sync == count)
            return;
        usleep(10000);
    }
    fail_msg("the primary has %u in sync, not %u", status.in_sync, count);
}

static void wait_status(struct cluster_fixture *f, unsigned index, const char *what,
                        bool (*is_so)(const struct group_status *status, const char *what))
{
    struct group_status status;
    for (unsigned tries = 0; tries < 1000; tries++) {
        group_status(f->nodes[index].group, &status);
        if (is_so(&status, what))
            return;
        usleep(10000);
    }
    fail_msg("node %u says '%s' and refuses '%s', not '%s'", index + 1, status.sentence,
             status.refuses, what);
}

static bool refuses(const struct group_status *status, const char *what)
{
    return strcmp(status->refuses, what) == 0;
}

/* Not ready, with a sentence that begins so. */
static bool says(const struct group_status *status, const char *what)
{
    return strncmp(status->sentence, what, strlen(what)) == 0;
}

static bool is_alone(const struct group_status *status, const char *what)
{
    (void)what;
    unsigned up = 0;
    for (unsigned i = 0; i < status->peer_count; i++)
        up += status->peers[i].is_up;
    return up == 1; /* itself */
}

/* Alone in sync, its disk refuses a record once and lets go of the data, which nobody else has. */
static void a_primary_alone_in_sync_goes_on_without_a_record_it_lost(void **state)
{
    struct cluster_fixture *f = *state;
    fixture_wait_in_sync(f, 3);
    struct bucket_id bucket = fixture_bucket(&f->nodes[0], "photos");
    unsigned primary = fixture_primary(f), one = (primary + 1) % NODES,
             other = (primary + 2) % NODES;
    struct receipt receipt;
    refuse_appends(f, one, ERR_BUSY, UINT32_MAX);
    refuse_appends(f, other, ERR_BUSY, UINT32_MAX);
    assert_int_equal(fixture_store(&f->nodes[primary], bucket, "before", 300, 9, &receipt), ERR_OK);
    assert_int_equal(receipt.replicas_synced, 1);
    wait_for_in_sync(f, primary, 1);
    refuse_appends(f, primary, ERR_BUSY, 1);
    uint64_t began_ns = clock_mono_ns(clock_system());
    assert_int_equal(fixture_store(&f->nodes[primary], bucket, "lost", 100000, 9, NULL), ERR_BUSY);
    assert_int_equal(fixture_store(&f->nodes[primary], bucket, "after", 100000, 9, NULL), ERR_OK);
    assert_true(clock_mono_ns(clock_system()) - began_ns < 9 * NS_PER_SECOND);
    assert_int_equal(fixture_read(&f->nodes[primary], bucket, "lost", 100000, 9),
                     ERR_NO_SUCH_OBJECT);
    atomic_store(&append_faults[one].left, 0);
    atomic_store(&append_faults[other].left, 0);
    fixture_wait_in_sync(f, 3);
    for (unsigned i = 0; i < NODES; i++) {
        assert_int_equal(fixture_read(&f->nodes[i], bucket, "before", 300, 9), ERR_OK);
        assert_int_equal(fixture_read(&f->nodes[i], bucket, "after", 100000, 9), ERR_OK);
        assert_int_equal(fixture_read(&f->nodes[i], bucket, "lost", 100000, 9), ERR_NO_SUCH_OBJECT);
    }
}

static enum err delete_object(struct cluster_node *node, struct bucket_id bucket, const char *key)
{
    struct mutation m = {
        .kind = MUTATION_OBJECT_DELETE, .bucket = bucket, .key = bytes_of_string(key)};
    return group_propose_wait(node->group, &m);
}

/* Long before they would be forgotten, each by itself. */
static void wait_until_no_body_is_kept(struct cluster_fixture *f)
{
    uint64_t reserved_bytes = 0;
    for (unsigned tries = 0; tries < 1000; tries++) {
        reserved_bytes = 0;
        for (unsigned i = 0; i < NODES; i++) {
            struct volume_status status;
            volume_status(f->nodes[i].volume, &status);
            reserved_bytes += status.reserved_bytes;
        }
        if (reserved_bytes == 0)
            return;
        usleep(10000);
    }
    fail_msg("%llu bytes of bodies without a name are kept", (unsigned long long)reserved_bytes);
}

/* The primary has no room for the body, the others have: nobody keeps what it refused. */
static void what_a_full_primary_refuses_is_kept_by_nobody(void **state)
{
    struct cluster_fixture *f = *state;
    fixture_wait_in_sync(f, 3);
    struct bucket_id bucket = fixture_bucket(&f->nodes[0], "photos");
    unsigned primary = fixture_primary(f), other = (primary + 1) % NODES;
    atomic_store(&stays_full, true);
    volume__enter_read_only(f->nodes[primary].volume, "the test has filled the disk");
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(fixture_store(&f->nodes[other], bucket, "k", 100000, 9, NULL),
                         ERR_READ_ONLY);
    wait_until_no_body_is_kept(f);
}

/* Full between a record's number and its place on the disk: deletions must still come through. */
static void a_full_primary_refuses_what_takes_space_and_says_so(void **state)
{
    static const uint64_t sizes[] = {300, 100000};
    struct cluster_fixture *f = *state;
    fixture_wait_in_sync(f, 3);
    struct bucket_id bucket = fixture_bucket(&f->nodes[0], "photos");
    for (unsigned i = 0; i < COUNT_OF(sizes); i++) {
        unsigned primary = fixture_primary(f), other = (primary + 1) % NODES;
        fixture_expect_stored(f, primary, bucket, "old", 300);
        atomic_store(&stays_full, true);
        append_faults[primary].fills_disk = true;
        refuse_appends(f, primary, ERR_READ_ONLY, 1);
        assert_int_equal(fixture_store(&f->nodes[primary], bucket, "late", sizes[i], 9, NULL),
                         ERR_BUSY); /* not known to it */
        assert_int_equal(fixture_store(&f->nodes[other], bucket, "k", sizes[i], 9, NULL),
                         ERR_READ_ONLY);
        assert_int_equal(fixture_store(&f->nodes[primary], bucket, "k", sizes[i], 9, NULL),
                         ERR_READ_ONLY);
        wait_status(f, primary,
                    "takes no new objects: the volume is read-only: the test has filled "
                    "the disk",
                    refuses);
        fixture_wait_ready(f, primary);
        assert_int_equal(delete_object(&f->nodes[other], bucket, "old"), ERR_OK);
        assert_int_equal(fixture_read(&f->nodes[primary], bucket, "old", 300, 9),
                         ERR_NO_SUCH_OBJECT);
        atomic_store(&stays_full, false);
        wait_status(f, primary, "", refuses);
        fixture_expect_stored(f, other, bucket, "again", sizes[i]);
    }
}

/* ---- a primary whose disk takes nothing more ---- */

/* Neither a record nor the barrier of the term in front of it. */
static void a_primary_whose_disk_takes_no_barrier_leaves_the_group_to_others(void **state)
{
    struct cluster_fixture *f = *state;
    fixture_wait_in_sync(f, 3);
    struct bucket_id bucket = fixture_bucket(&f->nodes[0], "photos");
    unsigned broken = fixture_primary(f);
    fixture_expect_stored(f, broken, bucket, "before", 300);
    refuse_appends(f, broken, ERR_DISK_FULL, UINT32_MAX);
    assert_int_equal(fixture_store(&f->nodes[broken], bucket, "late", 300, 9, NULL), ERR_BUSY);
    unsigned leads = fixture_wait_another_leads(f, broken);
    wait_status(f, broken,
                "the disk takes no changes: make room on it or replace it; until then this "
                "node does not lead (the test refuses record ",
                says);
    struct receipt receipt;
    assert_int_equal(fixture_store(&f->nodes[leads], bucket, "after", 100000, 9, &receipt), ERR_OK);
    assert_int_equal(receipt.replicas_synced, 2);
    atomic_store(&append_faults[broken].left, 0);
    fixture_wait_in_sync(f, 3);
    assert_int_equal(fixture_primary(f), leads);
    fixture_expect_stored(f, broken, bucket, "again", 100000);
    assert_int_equal(fixture_read(&f->nodes[broken], bucket, "before", 300, 9), ERR_OK);
    assert_int_equal(fixture_read(&f->nodes[broken], bucket, "after", 100000, 9), ERR_OK);
}

/* Alone in sync, nobody can take over: it leads again when its disk takes what it refused. */
static void a_primary_that_resigned_alone_leads_again_when_its_disk_does(void **state)
{
    struct cluster_fixture *f = *state;
    fixture_wait_in_sync(f, 3);
    struct bucket_id bucket = fixture_bucket(&f->nodes[0], "photos");
    unsigned primary = fixture_primary(f);
    for (unsigned i = 0; i < NODES; i++)
        if (i != primary)
            refuse_appends(f, i, ERR_BUSY, UINT32_MAX);
    assert_int_equal(fixture_store(&f->nodes[primary], bucket, "before", 300, 9, NULL), ERR_OK);
    wait_for_in_sync(f, primary, 1);
    refuse_appends(f, primary, ERR_BUSY, UINT32_MAX);
    assert_int_equal(fixture_store(&f->nodes[primary], bucket, "late", 300, 9, NULL), ERR_BUSY);
    wait_status(f, primary, "the disk takes no changes: make room on it or replace it; ", says);
    for (unsigned i = 0; i < NODES; i++)
        atomic_store(&append_faults[i].left, 0);
    fixture_wait_in_sync(f, 3);
    assert_int_equal(fixture_primary(f), primary);
    fixture_expect_stored(f, primary, bucket, "after", 300);
    assert_int_equal(fixture_read(&f->nodes[primary], bucket, "before", 300, 9), ERR_OK);
}

static void damage_segment(const struct cluster_node *node)
{
    char path[128];
    snprintf(path, sizeof path, "%s/seg/00000000", node->dir);
    assert_int_equal(truncate(path, 0), 0);
}

/* Found damaged when it is opened, while the register still names it. What it tells to do helps. */
static void a_damaged_primary_leaves_the_group_to_others(void **state)
{
    struct cluster_fixture *f = *state;
    fixture_wait_in_sync(f, 3);
    struct bucket_id bucket = fixture_bucket(&f->nodes[0], "photos");
    unsigned broken = fixture_primary(f);
    fixture_expect_stored(f, broken, bucket, "before", 100000);
    for (unsigned i = 0; i < NODES; i++)
        if (i != broken)
            fixture_clock_stop(&f->nodes[i].clock); /* no promise ends */
    fixture_close_node(f, broken);
    damage_segment(&f->nodes[broken]);
    fixture_open_node(f, broken);
    wait_status(f, broken,
                "the disk takes no changes: when another node leads, empty its directory "
                "and start this node again (the volume is read-only: ",
                says);
    for (unsigned i = 0; i < NODES; i++)
        if (i != broken)
            fixture_clock_go(&f->nodes[i].clock, 0);
    unsigned leads = fixture_wait_another_leads(f, broken);
    wait_status(f, broken,
                "the disk takes no changes: empty its directory and start this node again, "
                "then the others fill it (the volume is read-only: ",
                says);
    assert_int_equal(fixture_store(&f->nodes[leads], bucket, "after", 100000, 9, NULL), ERR_OK);
    fixture_close_node(f, broken);
    fixture_replace_disk(f, broken);
    fixture_open_node(f, broken);
    fixture_wait_in_sync(f, 3);
    assert_int_equal(fixture_read(&f->nodes[broken], bucket, "before", 100000, 9), ERR_OK);
    assert_int_equal(fixture_read(&f->nodes[broken], bucket, "after", 100000, 9), ERR_OK);
}

/* Nothing is written that would tell it. */
static void a_primary_whose_volume_fails_is_followed_by_another(void **state)
{
    struct cluster_fixture *f = *state;
    fixture_wait_in_sync(f, 3);
    struct bucket_id bucket = fixture_bucket(&f->nodes[0], "photos");
    unsigned broken = fixture_primary(f);
    struct err_trail trail = {0};
    struct group_status status;
    (void)err_say(&trail, ERR_IO, "the test has broken the disk");
    volume__fail(f->nodes[broken].volume, ERR_IO, &trail);
    wait_until_stopped(f, broken, &status);
    assert_non_null(strstr(status.sentence, "the volume has failed: the test has broken the disk"));
    unsigned leads = fixture_wait_another_leads(f, broken);
    assert_int_equal(fixture_store(&f->nodes[leads], bucket, "after", 300, 9, NULL), ERR_OK);
    reopen_stopped(f);
    fixture_expect_stored(f, broken, bucket, "again", 300);
}

#define COPIES      40u
#define COPY_PIECES 60000u
#define WAITING_MAX MIB(64) /* what the banner promises */

/* Copies of objects of many pieces have the largest records. Without a primary they wait. */
static void what_waits_is_bounded_in_bytes(void **state)
{
    struct cluster_fixture *f = *state;
    fixture_wait_in_sync(f, 3);
    struct bucket_id bucket = fixture_bucket(&f->nodes[0], "photos");
    unsigned primary = fixture_primary(f), left = (primary + 1) % NODES;
    for (unsigned i = 0; i < NODES; i++)
        if (i != left)
            fixture_close_node(f, i);
    wait_status(f, left, "alone", is_alone);
    fixture_clock_stop(&f->nodes[left].clock); /* none has waited for too long */
    struct piece *pieces = calloc(COPY_PIECES, sizeof *pieces);
    struct fixture_put *puts = calloc(COPIES, sizeof *puts);
    for (unsigned i = 0; i < COPY_PIECES; i++)
        pieces[i] = (struct piece){.data = {77, 1 + i}, .size = 100};
    for (unsigned i = 0; i < COPIES; i++) {
        puts[i].m = (struct mutation){.kind = MUTATION_OBJECT_PUT,
                                      .bucket = bucket,
                                      .key = BYTES("copy"),
                                      .pieces = pieces,
                                      .piece_count = COPY_PIECES,
                                      .size = COPY_PIECES * 100ull,
                                      .loop = f->nodes[left].loop,
                                      .done = fixture_put_done};
        group_propose(f->nodes[left].group, &puts[i].m);
    }
    struct group_status status;
    do {
        loop_run_once(f->nodes[left].loop, 10 * NS_PER_MS);
        group_status(f->nodes[left].group, &status);
    } while (status.waiting_proposals + status.refused_proposals < COPIES);
    assert_in_range(status.waiting_bytes, WAITING_MAX / 2, WAITING_MAX);
    assert_in_range(status.refused_proposals, 1, COPIES);
    fixture_clock_go(&f->nodes[left].clock, 0);
    for (unsigned i = 0; i < COPIES; i++)
        while (!puts[i].is_done)
            loop_run_once(f->nodes[left].loop, NS_PER_SECOND);
    for (unsigned i = 0; i < COPIES; i++)
        assert_int_equal(puts[i].m.err, ERR_BUSY);
    free(puts);
    free(pieces);
}

#define LACKING 40u
#define DELETES 50u

/* A primary is there all the time, and goes on with others: it has not got the bytes. */
static void who_is_refused_for_its_body_is_told_so(void **state)
{
    struct cluster_fixture *f = *state;
    struct fixture_put *puts = calloc(LACKING, sizeof *puts);
    fixture_wait_in_sync(f, 3);
    struct bucket_id bucket = fixture_bucket(&f->nodes[0], "photos");
    unsigned primary = fixture_primary(f);
    struct cluster_node *gateway = &f->nodes[(primary + 1) % NODES];
    atomic_store(&takes_no_bodies, f->nodes[primary].group_loop);
    for (unsigned i = 0; i < LACKING; i++)
        assert_int_equal(fixture_propose(gateway, bucket, "k", 100000, 9, &puts[i]), ERR_OK);
    uint64_t began_ns = clock_mono_ns(clock_system());
    unsigned before = watch_puts_judged(f->nodes[primary].volume);
    for (unsigned i = 0; i < DELETES; i++)
        assert_int_equal(delete_object(&f->nodes[primary], bucket, "none"), ERR_OK);
    unsigned judged = atomic_load(&puts_judged) - before;
    uint64_t ticks = (clock_mono_ns(clock_system()) - began_ns) / (10 * NS_PER_MS) + 2;
    for (unsigned i = 0; i < LACKING; i++) {
        while (!puts[i].is_done)
            loop_run_once(gateway->loop, NS_PER_SECOND);
        assert_int_equal(puts[i].m.err, ERR_BUSY);
        assert_non_null(
            strstr(puts[i].m.trail.text, "the bytes have not come to the primary whole"));
    }
    free(puts);
    assert_true(judged <= LACKING * (ticks + 1) + ticks); /* at ticks, not at each step of others */
    assert_int_equal(fixture_primary(f), primary);
    atomic_store(&takes_no_bodies, NULL);
    fixture_expect_stored(f, primary, bucket, "again", 100000);
}

static uint64_t waiting_bytes_of(struct cluster_node *node, bool has_outcome)
{
    struct group_status status;
    for (unsigned tries = 0; tries < 1000; tries++) {
        group_status(node->group, &status);
        if (status.waiting_proposals == 0 && (status.waiting_bytes == 0) == has_outcome)
            break;
        loop_run_once(node->loop, 10 * NS_PER_MS);
    }
    assert_int_equal(status.waiting_proposals, 0);
    return status.waiting_bytes;
}

/* What a gateway has sent away waits nowhere, but its body is kept. */
static void a_body_counts_until_its_outcome(void **state)
{
    struct cluster_fixture *f = *state;
    struct fixture_put put;
    fixture_wait_in_sync(f, 3);
    struct bucket_id bucket = fixture_bucket(&f->nodes[0], "photos");
    unsigned primary = fixture_primary(f), other = (primary + 1) % NODES;
    struct cluster_node *gateway = &f->nodes[(primary + 2) % NODES];
    refuse_appends(f, other, ERR_BUSY, UINT32_MAX);
    assert_int_equal(fixture_propose(gateway, bucket, "k", MIB(32), 9, &put), ERR_OK);
    assert_in_range(waiting_bytes_of(gateway, false), KIB(24), KIB(32));
    atomic_store(&append_faults[other].left, 0);
    while (!put.is_done)
        loop_run_once(gateway->loop, NS_PER_SECOND);
    assert_int_equal(put.m.err, ERR_OK);
    assert_int_equal(waiting_bytes_of(gateway, true), 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(who_lacks_a_part_has_no_links, setup, fixture_teardown),
    cmocka_unit_test_setup_teardown(a_change_that_meets_no_memory_has_an_outcome, setup,
                                    fixture_teardown),
    cmocka_unit_test_setup_teardown(a_node_that_stops_says_when_it_has_heard_from_others, setup,
                                    fixture_teardown),
    cmocka_unit_test_setup_teardown(a_refused_append_is_tried_again, setup, fixture_teardown),
    cmocka_unit_test_setup_teardown(a_primary_alone_in_sync_goes_on_without_a_record_it_lost,
                                    setup_one_suffices, fixture_teardown),
    cmocka_unit_test_setup_teardown(a_full_primary_refuses_what_takes_space_and_says_so, setup,
                                    fixture_teardown),
    cmocka_unit_test_setup_teardown(what_a_full_primary_refuses_is_kept_by_nobody, setup,
                                    fixture_teardown),
    cmocka_unit_test_setup_teardown(a_refused_save_does_not_stop_the_log_nor_cut_it,
                                    setup_small_log, fixture_teardown),
    cmocka_unit_test_setup_teardown(
        a_primary_whose_disk_takes_no_barrier_leaves_the_group_to_others, setup, fixture_teardown),
    cmocka_unit_test_setup_teardown(a_primary_that_resigned_alone_leads_again_when_its_disk_does,
                                    setup_one_suffices, fixture_teardown),
    cmocka_unit_test_setup_teardown(a_damaged_primary_leaves_the_group_to_others, setup,
                                    fixture_teardown),
    cmocka_unit_test_setup_teardown(a_primary_whose_volume_fails_is_followed_by_another, setup,
                                    fixture_teardown),
    cmocka_unit_test_setup_teardown(what_waits_is_bounded_in_bytes, setup, fixture_teardown),
    cmocka_unit_test_setup_teardown(who_is_refused_for_its_body_is_told_so, setup,
                                    fixture_teardown),
    cmocka_unit_test_setup_teardown(a_body_counts_until_its_outcome, setup, fixture_teardown),
};

int main(void)
{
    return cmocka_run_group_tests(tests, NULL, NULL);
}
