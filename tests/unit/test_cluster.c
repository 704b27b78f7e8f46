/* Three nodes of a group in one process, over loopback: everything but the kernel's death of a
 * process. */
#include "tests/unit/cluster_fixture.h"

#include "replication/cluster_priv.h"

static const uint64_t sizes[] = {0,     1,      4096,    16384,           16385,
                                 65536, 300001, 1048576, 5 * 1048576 + 77};

static void what_one_took_each_gives(void **state)
{
    struct cluster_fixture *f = *state;
    fixture_wait_in_sync(f, 3);
    struct bucket_id bucket = fixture_bucket(&f->nodes[1], "photos");
    for (unsigned through = 0; through < NODES; through++)
        for (unsigned i = 0; i < COUNT_OF(sizes); i++) {
            char key[32];
            struct receipt receipt;
            snprintf(key, sizeof key, "%u-%u", through, i);
            assert_int_equal(fixture_store(&f->nodes[through], bucket, key, sizes[i], i, &receipt),
                             ERR_OK);
            assert_true(receipt.synced);
            assert_int_equal(receipt.replicas_synced, 3);
            assert_int_equal(receipt.replicas_wanted, 3);
            assert_true(receipt.by_tcp && !receipt.by_rdma);
            for (unsigned at = 0; at < NODES; at++)
                assert_int_equal(fixture_read(&f->nodes[at], bucket, key, sizes[i], i), ERR_OK);
        }
    for (unsigned i = 0; i < NODES; i++) {
        struct group_status status;
        group_status(f->nodes[i].group, &status);
        assert_int_equal(status.pulled_bytes, 0); /* everything came by itself */
        assert_int_equal(status.bad_sums, 0);
    }
}

static void who_was_away_catches_up(void **state)
{
    struct cluster_fixture *f = *state;
    fixture_wait_in_sync(f, 3);
    struct bucket_id bucket = fixture_bucket(&f->nodes[0], "photos");
    assert_int_equal(fixture_store(&f->nodes[0], bucket, "before", 100000, 1, NULL), ERR_OK);
    unsigned primary = fixture_primary(f), away = (primary + 1) % NODES;
    fixture_close_node(f, away);
    fixture_wait_in_sync(f, 2);
    for (unsigned i = 0; i < 40; i++) {
        char key[32];
        snprintf(key, sizeof key, "meanwhile-%u", i);
        struct receipt receipt;
        assert_int_equal(
            fixture_store(&f->nodes[primary], bucket, key, i % 2 ? 300 : 70000 * i, i, &receipt),
            ERR_OK);
        assert_int_equal(receipt.replicas_synced, 2);
    }
    assert_int_equal(fixture_store(&f->nodes[primary], bucket, "meanwhile-3", 5, 99, NULL), ERR_OK);
    assert_int_equal(fixture_store(&f->nodes[primary], bucket, "meanwhile-4", 80000, 98, NULL),
                     ERR_OK);
    fixture_open_node(f, away);
    fixture_wait_in_sync(f, 3);
    assert_int_equal(fixture_read(&f->nodes[away], bucket, "before", 100000, 1), ERR_OK);
    assert_int_equal(fixture_read(&f->nodes[away], bucket, "meanwhile-3", 5, 99), ERR_OK);
    assert_int_equal(fixture_read(&f->nodes[away], bucket, "meanwhile-4", 80000, 98), ERR_OK);
    for (unsigned i = 5; i < 40; i++) {
        char key[32];
        snprintf(key, sizeof key, "meanwhile-%u", i);
        assert_int_equal(fixture_read(&f->nodes[away], bucket, key, i % 2 ? 300 : 70000 * i, i),
                         ERR_OK);
    }
}

static void the_primary_goes_and_nothing_is_lost(void **state)
{
    struct cluster_fixture *f = *state;
    fixture_wait_in_sync(f, 3);
    struct bucket_id bucket = fixture_bucket(&f->nodes[0], "photos");
    for (unsigned round = 0; round < NODES; round++) {
        unsigned primary = fixture_primary(f);
        char key[32];
        snprintf(key, sizeof key, "round-%u", round);
        assert_int_equal(
            fixture_store(&f->nodes[(primary + round) % NODES], bucket, key, 90000, round, NULL),
            ERR_OK);
        fixture_close_node(f, primary);
        fixture_wait_in_sync(f, 2);
        assert_int_not_equal(fixture_primary(f), primary);
        for (unsigned i = 0; i < NODES; i++)
            if (f->nodes[i].is_open)
                assert_int_equal(fixture_read(&f->nodes[i], bucket, key, 90000, round), ERR_OK);
        fixture_open_node(f, primary);
        fixture_wait_in_sync(f, 3);
    }
    for (unsigned round = 0; round < NODES; round++)
        for (unsigned i = 0; i < NODES; i++) {
            char key[32];
            snprintf(key, sizeof key, "round-%u", round);
            assert_int_equal(fixture_read(&f->nodes[i], bucket, key, 90000, round), ERR_OK);
        }
}

static void all_go_and_come_again(void **state)
{
    struct cluster_fixture *f = *state;
    fixture_wait_in_sync(f, 3);
    struct bucket_id bucket = fixture_bucket(&f->nodes[2], "photos");
    assert_int_equal(fixture_store(&f->nodes[2], bucket, "kept", 123456, 5, NULL), ERR_OK);
    assert_int_equal(fixture_store(&f->nodes[1], bucket, "small", 123, 6, NULL), ERR_OK);
    for (unsigned i = 0; i < NODES; i++)
        fixture_close_node(f, i);
    for (unsigned i = 0; i < NODES; i++)
        fixture_open_node(f, i);
    fixture_wait_in_sync(f, 3);
    for (unsigned i = 0; i < NODES; i++) {
        assert_int_equal(fixture_read(&f->nodes[i], bucket, "kept", 123456, 5), ERR_OK);
        assert_int_equal(fixture_read(&f->nodes[i], bucket, "small", 123, 6), ERR_OK);
    }
}

static enum err open_alone(struct cluster_fixture *f, unsigned index, struct err_trail *trail)
{
    struct volume *volume;
    struct work_pool *pool;
    struct group *group = NULL;
    assert_int_equal(work_pool_open(1, "test", &pool), ERR_OK);
    assert_int_equal(volume_open(&(struct volume_options){.dir = f->nodes[index].dir,
                                                          .direct = VOLUME_DIRECT_ANY},
                                 &volume, trail),
                     ERR_OK);
    enum err e =
        group_open(&(struct group_options){.volume = volume, .work_pool = pool}, &group, trail);
    group_close(group);
    volume_close(volume);
    work_pool_close(pool);
    return e;
}

/* What it took alone would not be in its log, and it could not come back. */
static void a_node_of_a_cluster_does_not_serve_alone(void **state)
{
    struct cluster_fixture *f = *state;
    struct err_trail trail = {0};
    fixture_wait_in_sync(f, 3);
    struct bucket_id bucket = fixture_bucket(&f->nodes[0], "photos");
    assert_int_equal(fixture_store(&f->nodes[0], bucket, "kept", 70000, 5, NULL), ERR_OK);
    fixture_close_node(f, 1);
    assert_int_equal(open_alone(f, 1, &trail), ERR_INVALID);
    assert_non_null(strstr(trail.text, "a node's of a cluster"));
    fixture_open_node(f, 1);
    fixture_wait_in_sync(f, 3);
    assert_int_equal(fixture_read(&f->nodes[1], bucket, "kept", 70000, 5), ERR_OK);
}

static void a_node_that_served_alone_does_not_join(void **state)
{
    struct cluster_fixture *f = *state;
    struct err_trail trail = {0};
    fixture_wait_in_sync(f, 3);
    fixture_close_node(f, 1);
    fixture_replace_disk(f, 1);
    assert_int_equal(open_alone(f, 1, &trail), ERR_OK);
    assert_int_equal(fixture_try_open_node(f, 1), ERR_INVALID);
    fixture_close_node(f, 1);
    assert_int_equal(open_alone(f, 1, &trail), ERR_OK); /* as it was */
}

static void swap_disks(struct cluster_fixture *f, unsigned a, unsigned b)
{
    char dir[sizeof f->nodes[a].dir];
    memcpy(dir, f->nodes[a].dir, sizeof dir);
    memcpy(f->nodes[a].dir, f->nodes[b].dir, sizeof dir);
    memcpy(f->nodes[b].dir, dir, sizeof dir);
}

/* Its promises to the register are that node's. */
static void a_disk_keeps_its_nodes_number(void **state)
{
    struct cluster_fixture *f = *state;
    fixture_wait_in_sync(f, 3);
    fixture_close_node(f, 1);
    fixture_close_node(f, 2);
    swap_disks(f, 1, 2);
    assert_int_equal(fixture_try_open_node(f, 1), ERR_INVALID);
    fixture_close_node(f, 1);
    swap_disks(f, 1, 2);
    fixture_open_node(f, 1);
    fixture_open_node(f, 2);
    fixture_wait_in_sync(f, 3);
}

/* They are about the nodes of its list, each by its place. */
static void a_disk_keeps_its_cluster_and_list(void **state)
{
    struct cluster_fixture *f = *state;
    fixture_wait_in_sync(f, 3);
    fixture_close_node(f, 1);
    fixture_cluster_id[0]++;
    enum err e = fixture_try_open_node(f, 1);
    fixture_cluster_id[0]--;
    assert_int_equal(e, ERR_INVALID);
    fixture_close_node(f, 1);
    fixture_open_node(f, 1);
    fixture_wait_in_sync(f, 3);
}

/* A condition has one outcome, whoever asks and wherever it is judged. */
static void a_name_is_given_once(void **state)
{
    struct cluster_fixture *f = *state;
    fixture_wait_in_sync(f, 3);
    unsigned wins = 0;
    for (unsigned i = 0; i < NODES; i++) {
        struct mutation m = {.kind = MUTATION_SETTING_PUT,
                             .key = BYTES("test/once"),
                             .attrs = BYTES("value"),
                             .must_be_new = true};
        enum err e = group_propose_wait(f->nodes[i].group, &m);
        wins += e == ERR_OK;
        assert_true(e == ERR_OK || e == ERR_KEY_ID_EXISTS);
    }
    assert_int_equal(wins, 1);
}

/* As scrub's thread does before it calls something lost. */
static void who_waits_to_be_fresh_has_what_was_acknowledged(void **state)
{
    struct cluster_fixture *f = *state;
    fixture_wait_in_sync(f, 3);
    struct bucket_id bucket = fixture_bucket(&f->nodes[0], "photos");
    for (unsigned i = 0; i < 60; i++) {
        char key[32];
        struct object *object;
        snprintf(key, sizeof key, "%u", i);
        assert_int_equal(fixture_store(&f->nodes[i % NODES], bucket, key, 100, i, NULL), ERR_OK);
        for (unsigned at = 0; at < NODES; at++) {
            assert_int_equal(group_fresh_wait(f->nodes[at].group), ERR_OK);
            assert_int_equal(
                volume_lookup(f->nodes[at].volume, bucket, bytes_of_string(key), KV_ANY, &object),
                ERR_OK);
            object_put(object);
        }
    }
    fixture_close_node(f, 1);
    fixture_close_node(f, 2);
    enum err e = ERR_OK;
    for (unsigned tries = 0; e == ERR_OK && tries < 1000; tries++) { /* until leases end */
        e = group_fresh_wait(f->nodes[0].group);
        usleep(10000);
    }
    assert_int_equal(e, ERR_BUSY);
}

/* Its metrics are made of that, once. */
static void who_is_in_it_is_known_from_the_beginning(void **state)
{
    struct cluster_fixture *f = *state;
    struct group_status status;
    fixture_close_node(f, 0);
    fixture_open_node(f, 0);
    group_status(f->nodes[0].group, &status);
    assert_int_equal(status.members, 3);
    assert_int_equal(status.peer_count, 3);
    assert_int_equal(status.peers[2].node, 3);
}

static void one_alone_neither_writes_nor_reads(void **state)
{
    struct cluster_fixture *f = *state;
    struct group_status status;
    fixture_wait_in_sync(f, 3);
    struct bucket_id bucket = fixture_bucket(&f->nodes[0], "photos");
    assert_int_equal(fixture_store(&f->nodes[0], bucket, "kept", 100, 5, NULL), ERR_OK);
    unsigned stays = fixture_primary(f), one = (stays + 1) % NODES, other = (stays + 2) % NODES;
    fixture_close_node(f, one);
    fixture_close_node(f, other);
    assert_int_equal(fixture_store(&f->nodes[stays], bucket, "late", 100, 5, NULL), ERR_BUSY);
    assert_int_equal(fixture_read(&f->nodes[stays], bucket, "kept", 100, 5), ERR_BUSY);
    group_status(f->nodes[stays].group, &status);
    assert_non_null(strstr(status.sentence, "; not there: node ")); /* so it is not ready either */
    fixture_open_node(f, other);
    fixture_wait_in_sync(f, 2);
    fixture_wait_ready(f, stays);
    assert_int_equal(fixture_store(&f->nodes[stays], bucket, "again", 100, 7, NULL), ERR_OK);
    assert_int_equal(fixture_read(&f->nodes[other], bucket, "again", 100, 7), ERR_OK);
}

static void expect_no_group(struct cluster_fixture *f, unsigned count)
{
    for (unsigned tries = 0; tries < 15; tries++) {
        usleep(100000);
        for (unsigned i = 0; i < count; i++) {
            struct group_status status;
            group_status(f->nodes[i].group, &status);
            assert_int_equal(status.role, GROUP_JOINING);
            assert_int_equal(status.epoch, 0);
        }
    }
}

/*
 * Two of three is a majority, and their disks know of no group: but the third has one. When it
 * comes, what the other two had agreed on without it is lost all the same: no group is better than
 * one that has forgotten, and there is a sentence.
 */
static void new_disks_do_not_found_a_group_over_one_that_was(void **state)
{
    struct cluster_fixture *f = *state;
    fixture_wait_in_sync(f, 3);
    struct bucket_id bucket = fixture_bucket(&f->nodes[0], "photos");
    assert_int_equal(fixture_store(&f->nodes[0], bucket, "kept", 100, 5, NULL), ERR_OK);
    for (unsigned i = 0; i < NODES; i++)
        fixture_close_node(f, i);
    fixture_replace_disk(f, 0); /* who founds groups */
    fixture_replace_disk(f, 1);
    fixture_open_node(f, 0);
    fixture_open_node(f, 1);
    expect_no_group(f, 2);
    fixture_open_node(f, 2);
    expect_no_group(f, 3);
    for (unsigned i = 0; i < 2; i++) {
        struct group_status status;
        group_status(f->nodes[i].group, &status);
        assert_non_null(strstr(status.sentence, "disks of most nodes are new"));
    }
}

static void one_new_disk_is_filled_by_the_others(void **state)
{
    struct cluster_fixture *f = *state;
    fixture_wait_in_sync(f, 3);
    struct bucket_id bucket = fixture_bucket(&f->nodes[0], "photos");
    assert_int_equal(fixture_store(&f->nodes[0], bucket, "kept", 123456, 5, NULL), ERR_OK);
    for (unsigned i = 0; i < NODES; i++)
        fixture_close_node(f, i);
    fixture_replace_disk(f, 0);
    for (unsigned i = 0; i < NODES; i++)
        fixture_open_node(f, i);
    fixture_wait_in_sync(f, 3);
    assert_int_equal(fixture_read(&f->nodes[0], bucket, "kept", 123456, 5), ERR_OK);
}

static void stop_clocks(struct cluster_fixture *f, unsigned primary)
{
    for (unsigned i = 0; i < NODES; i++)
        if (i != primary)
            fixture_clock_stop(&f->nodes[i].clock); /* it does not take over */
    fixture_clock_stop(&f->nodes[primary].clock);
}

static void mutation_done(struct mutation *m)
{
    *(bool *)m->group_private = true;
}

/* Its leases are judged by a clock that went on while the machine slept: they have ended, whatever
 * it has heard of the world since. */
static void a_primary_that_was_suspended_neither_reads_nor_acknowledges(void **state)
{
    struct cluster_fixture *f = *state;
    fixture_wait_in_sync(f, 3);
    struct bucket_id bucket = fixture_bucket(&f->nodes[0], "photos");
    assert_int_equal(fixture_store(&f->nodes[0], bucket, "kept", 100, 5, NULL), ERR_OK);
    unsigned first = fixture_primary(f);
    struct cluster_node *primary = &f->nodes[first];
    for (stop_clocks(f, first); !group_is_fresh(primary->group); stop_clocks(f, first)) {
        for (unsigned i = 0; i < NODES; i++)
            fixture_clock_go(&f->nodes[i].clock, 0);
        usleep(10000);
    }
    for (unsigned i = 0; i < NODES; i++)
        if (i != first)
            fixture_close_node(f, i);
    assert_true(group_is_fresh(primary->group)); /* no time has gone by */
    assert_int_equal(fixture_read(primary, bucket, "kept", 100, 5), ERR_OK);
    fixture_clock_go(&primary->clock, NS_PER_SECOND);
    assert_false(group_is_fresh(primary->group)); /* at once */
    assert_int_equal(fixture_read(primary, bucket, "kept", 100, 5), ERR_BUSY);
    bool is_done = false;
    struct mutation m = {
        .kind = MUTATION_SETTING_PUT,
        .key = BYTES("test/late"),
        .attrs = BYTES("value"),
        .loop = primary->loop,
        .done = mutation_done,
        .group_private = &is_done,
    };
    group_propose(primary->group, &m);
    loop_run_once(primary->loop, 300 * NS_PER_MS);
    bool was_done = is_done;
    fixture_clock_go(&primary->clock, 60 * NS_PER_SECOND);
    while (!is_done)
        loop_run_once(primary->loop, NS_PER_SECOND);
    assert_false(was_done);
    assert_int_equal(m.err, ERR_BUSY);
}

/* Over which connections is not ours to choose here: the driver is told of some. */
static void a_receipt_names_what_carried_the_copies_to_those_in_sync(void **state)
{
    static const struct {
        enum transport_backend second, third;
        uint8_t in_sync;
        uint32_t copies;
        bool by_rdma, by_tcp;
    } rows[] = {
        {TRANSPORT_TCP, TRANSPORT_TCP, 7, 3, false, true},
        {TRANSPORT_VERBS, TRANSPORT_VERBS, 7, 3, true, false},
        {TRANSPORT_VERBS, TRANSPORT_TCP, 7, 3, true, true},
        {TRANSPORT_VERBS, TRANSPORT_TCP, 3, 2, true, false}, /* the third lags: it has no copy */
        {TRANSPORT_VERBS, TRANSPORT_TCP, 1, 1, false, false},
    };
    struct cluster *cluster = calloc(1, sizeof *cluster);
    struct entry entries[COUNT_OF(rows)] = {0};
    assert_non_null(cluster);
    cluster->node_count = 3;
    for (unsigned i = 1; i < 3; i++)
        cluster->peers[i].link = (struct link *)&entries; /* not looked into */
    for (unsigned i = 0; i < COUNT_OF(rows); i++) {
        struct entry *entry = &entries[i];
        entry->psn = i + 1;
        cluster->window[entry->psn % CLUSTER_WINDOW] = entry;
        cluster->peers[1].backend = rows[i].second;
        cluster->peers[2].backend = rows[i].third;
        cluster->pg.d.config.in_sync = rows[i].in_sync;
        cluster__committed(cluster, entry->psn, true);
        assert_int_equal(entry->copies, rows[i].copies);
        assert_int_equal(entry->by_rdma, rows[i].by_rdma);
        assert_int_equal(entry->by_tcp, rows[i].by_tcp);
    }
    free(cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_one_took_each_gives, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(who_was_away_catches_up, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(the_primary_goes_and_nothing_is_lost, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(all_go_and_come_again, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_node_of_a_cluster_does_not_serve_alone, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(a_node_that_served_alone_does_not_join, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(a_disk_keeps_its_nodes_number, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(a_disk_keeps_its_cluster_and_list, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(a_name_is_given_once, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(who_waits_to_be_fresh_has_what_was_acknowledged,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(who_is_in_it_is_known_from_the_beginning, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(one_alone_neither_writes_nor_reads, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(new_disks_do_not_found_a_group_over_one_that_was,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(one_new_disk_is_filled_by_the_others, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(a_primary_that_was_suspended_neither_reads_nor_acknowledges,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test(a_receipt_names_what_carried_the_copies_to_those_in_sync),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
