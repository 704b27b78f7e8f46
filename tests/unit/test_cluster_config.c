/*
 * What a node is told of its cluster: who is who, whatever order they are written in; each mistake
 * in one sentence; and what is derived from the cluster's key.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "server/cluster.h"
#include "server/node_files.h"

struct fixture {
    struct config config;
    struct cluster_plan plan;
    struct err_trail trail;
    char path[64];
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    strcpy(f->path, "/tmp/sluice-cluster-XXXXXX");
    int fd = mkstemp(f->path);
    assert_true(fd >= 0);
    close(fd);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    unlink(f->path);
    free(f);
    return 0;
}

/* "name=lab node=2": as [cluster] would have them. */
static enum err plan_of(struct fixture *f, const char *const settings[], size_t count)
{
    config_init(&f->config);
    err_trail_reset(&f->trail);
    for (size_t i = 0; i < count && settings[i] != NULL; i++) {
        char key[32];
        struct bytes value = bytes_of_string(settings[i]), name = bytes_split(&value, '=');
        snprintf(key, sizeof key, "%.*s", (int)name.size, name.data);
        assert_int_equal(config_set(&f->config, "cluster", key, value, CONFIG_FILE, &f->trail),
                         ERR_OK);
    }
    enum err e = cluster_plan_make(&f->config, &f->plan, &f->trail);
    if (e == ERR_OK)
        e = config_judge(&f->config, &f->trail);
    return e;
}
#define PLAN(f, ...)                                                                               \
    plan_of(f, (const char *const[]){__VA_ARGS__},                                                 \
            sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))

#define GOOD  "name=lab", "key-file=/k", "node=2"
#define THREE "peers=1=10.0.0.1:9100, 2=10.0.0.2:9100, 3=10.0.0.3:9100"

static void without_peers_a_node_is_alone(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(PLAN(f, "busy-poll=10ms"), ERR_OK);
    assert_int_equal(f->plan.count, 0);
}

static void every_node_sees_the_same_order(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(PLAN(f, GOOD, "peers=30=[::1]:9,2=10.0.0.2:7 7=10.0.0.7:7"), ERR_OK);
    assert_int_equal(f->plan.count, 3);
    static const uint32_t order[] = {2, 7, 30};
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(f->plan.members[i].node, order[i]);
    assert_string_equal(f->plan.members[2].address.host, "::1");
    assert_int_equal(f->plan.self, 2);
    assert_int_equal(f->plan.listen.port, 7);
    assert_string_equal(f->plan.listen.host, "10.0.0.2");
    assert_int_equal(f->plan.in_sync_min, 2);
}

static void the_minimum_follows_the_number_of_nodes(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(PLAN(f, GOOD, "peers=1=10.0.0.1:9100, 2=10.0.0.2:9100"), ERR_OK);
    assert_int_equal(f->plan.in_sync_min, 1);
    assert_int_equal(PLAN(f, GOOD, THREE, "in-sync-min=3", "listen=0.0.0.0:9200"), ERR_OK);
    assert_int_equal(f->plan.in_sync_min, 3);
    assert_int_equal(f->plan.listen.port, 9200);
}

static void each_mistake_has_its_sentence(void **state)
{
    static const struct {
        const char *settings[6], *complaint;
    } rows[] = {
        {{"node=1"}, "node is set and [cluster] peers is not"},
        {{"name=lab"}, "name is set and [cluster] peers is not"},
        {{"in-sync-min=2"}, "in-sync-min is set and [cluster] peers is not"},
        {{"log-records=5000"}, "log-records is set and [cluster] peers is not"},
        {{THREE}, "[cluster] name is not"},
        {{THREE, "name=a b"}, "'a b' is not 1 to 63 letters"},
        {{THREE, "name=lab"}, "sluice cluster key FILE"},
        {{THREE, "name=lab", "key-file=/k"}, "which of 1, 2, 3 is this?"},
        {{THREE, "name=lab", "key-file=/k", "node=4"}, "node is 4 and peers lists 1, 2, 3"},
        {{GOOD, "peers=2=10.0.0.2:9100"}, "names one node"},
        {{GOOD, "peers=2=10.0.0.2:9100, 2=10.0.0.3:9100"}, "names node 2 twice"},
        {{GOOD, "peers=2=10.0.0.2:9100, 3=10.0.0.2:9100"}, "nodes 2 and 3 have one address"},
        {{GOOD, "peers=2=10.0.0.2:9100, 3:10.0.0.2:9100"}, "'3:10.0.0.2:9100' is not NODE=ADDRESS"},
        {{GOOD, "peers=0=10.0.0.2:9100, 2=10.0.0.3:9100"}, "does not begin with a node's number"},
        {{GOOD, "peers=x=10.0.0.2:9100, 2=10.0.0.3:9100"}, "does not begin with a node's number"},
        {{GOOD, "peers=70000=10.0.0.2:9, 2=10.0.0.3:9"}, "a node's number, 1 to 65535"},
        {{GOOD, "peers=1=0.0.0.0:9100, 2=10.0.0.3:9100"}, "the others cannot call"},
        {{GOOD, "peers=1=10.0.0.1:0, 2=10.0.0.3:9100"}, "the others cannot call"},
        {{GOOD, "peers=1=storage-1:9100, 2=10.0.0.3:9100"}, "numeric address"},
        {{GOOD, "peers=1=10.0.0.1:1 2=10.0.0.1:2 3=10.0.0.1:3 4=10.0.0.1:4 5=10.0.0.1:5 "
                "6=10.0.0.1:6 7=10.0.0.1:7 8=10.0.0.1:8"},
         "names 8 nodes; there are at most 7"},
        {{GOOD, THREE, "in-sync-min=4"}, "in-sync-min is 4 and there are 3 nodes"},
        {{GOOD, THREE, "listen=nowhere"}, "[cluster] listen"},
        {{GOOD, THREE, "listen=0.0.0.0:0"}, "must know the port"},
        {{GOOD, THREE, "listen=127.0.0.1:9001"}, "the S3 or the admin port too"},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        enum err e = plan_of(f, rows[i].settings, COUNT_OF(rows[i].settings));
        if (e != ERR_INVALID || strstr(f->trail.text, rows[i].complaint) == NULL)
            fail_msg("row %zu: '%s' does not say '%s'", i, f->trail.text, rows[i].complaint);
    }
}

/* ---- the key ---- */

static enum err load(struct fixture *f, const char *content, size_t size, mode_t mode,
                     struct cluster_keys *keys)
{
    FILE *file = fopen(f->path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(content, 1, size, file), size);
    fclose(file);
    assert_int_equal(chmod(f->path, mode), 0);
    err_trail_reset(&f->trail);
    return cluster_keys_load(f->path, keys, &f->trail);
}

static void a_key_is_long_secret_and_the_same_with_a_line_end(void **state)
{
    static const char key[] = "0123456789abcdef0123456789abcdef0123\n";
    struct fixture *f = *state;
    struct cluster_keys keys, again;
    assert_int_equal(load(f, key, strlen(key), 0600, &keys), ERR_OK);
    assert_int_equal(load(f, key, strlen(key) - 1, 0400, &again), ERR_OK);
    assert_memory_equal(&keys, &again, sizeof keys);
    assert_memory_not_equal(keys.peers, keys.secrets, 32);
    assert_int_equal(load(f, key, strlen(key) - 2, 0600, &again), ERR_OK);
    assert_memory_not_equal(keys.peers, again.peers, 32);
    assert_memory_not_equal(keys.secrets, again.secrets, 32);

    assert_int_equal(load(f, key, 31, 0600, &again), ERR_INVALID);
    assert_non_null(strstr(f->trail.text, "does not hold 32"));
    static char big[NODE_FILE_BYTES_MAX];
    assert_int_equal(load(f, big, sizeof big, 0600, &again), ERR_INVALID);
    assert_int_equal(load(f, key, strlen(key), 0640, &again), ERR_DENIED);
    assert_non_null(strstr(f->trail.text, "chmod 600"));
    unlink(f->path);
    err_trail_reset(&f->trail);
    assert_int_equal(cluster_keys_load(f->path, &again, &f->trail), ERR_NO_SUCH_FILE);
    assert_non_null(strstr(f->trail.text, "sluice cluster key"));
}

static void another_name_or_list_is_another_cluster(void **state)
{
    struct cluster_plan three = {.count = 3, .members = {{.node = 1}, {.node = 2}, {.node = 3}}};
    struct cluster_plan without = {.count = 2, .members = {{.node = 2}, {.node = 3}}};
    struct cluster_plan elsewhere = three;
    uint8_t one[16], same[16], other[16];
    elsewhere.self = 2;
    strcpy(elsewhere.members[0].address.host, "10.0.0.1");
    cluster_id("lab", &three, one);
    cluster_id("lab", &elsewhere, same);
    assert_memory_equal(one, same, 16);
    cluster_id("lab2", &three, other);
    assert_memory_not_equal(one, other, 16);
    cluster_id("lab", &without, other);
    assert_memory_not_equal(one, other, 16);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(without_peers_a_node_is_alone),
        TEST(every_node_sees_the_same_order),
        TEST(the_minimum_follows_the_number_of_nodes),
        TEST(each_mistake_has_its_sentence),
        TEST(a_key_is_long_secret_and_the_same_with_a_line_end),
        TEST(another_name_or_list_is_another_cluster),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
