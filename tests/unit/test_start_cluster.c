/*
 * Nodes of a cluster started in this process: one that waits says for what and can be stopped; two
 * found each other, share one root key, and each says what it is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <semaphore.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "server/banner.h"
#include "tests/unit/own_address.h"

#define NODES 2u

struct starter {
    struct node *node;
    struct err_trail trail;
    enum err err;
    pthread_t thread;
};

struct fixture {
    char base[64], peers[CONFIG_TEXT_MAX];
    struct starter starters[NODES];
    _Atomic bool is_to_stop;
};

static uint16_t free_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = own_address()};
    socklen_t size = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &size), 0);
    close(fd);
    return ntohs(at.sin_port);
}

static bool is_to_stop(void *context)
{
    return ((struct fixture *)context)->is_to_stop;
}

static void configure(struct fixture *f, unsigned n)
{
    struct node *node = f->starters[n].node;
    memset(node, 0, sizeof *node);
    config_init(&node->config);
    node->config.s3_listen.port = 0;
    node->config.admin_listen.port = 0;
    node->config.memory_arena = MIB(32);
    node->config.cluster_landing = MIB(4);
    node->config.storage_allow_buffered = true;
    node->config.storage_segment_size = MIB(16);
    node->config.log_level = LOG_ERROR;
    node->config.cluster_node = n + 1;
    node->config.cluster_backend = CLUSTER_TCP;
    strcpy(node->config.cluster_name, "unit");
    strcpy(node->config.cluster_peers, f->peers);
    snprintf(node->config.cluster_key_file, CONFIG_TEXT_MAX, "%s/cluster.key", f->base);
    snprintf(node->dir, sizeof node->dir, "%s/data%u", f->base, n + 1);
    node->is_asked_to_stop = is_to_stop;
    node->stop_context = f;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    *state = f;
    strcpy(f->base, "/var/tmp/sluice-start-cluster-XXXXXX");
    assert_non_null(mkdtemp(f->base));
    setenv("XDG_CONFIG_HOME", f->base, 1);
    char address[INET_ADDRSTRLEN];
    struct in_addr own = own_address();
    inet_ntop(AF_INET, &own, address, sizeof address);
    snprintf(f->peers, sizeof f->peers, "1=%s:%u, 2=%s:%u", address, free_port(), address,
             free_port());
    assert_int_equal(node_file_write(f->base, "cluster.key",
                                     BYTES("0123456789abcdef0123456789abcdef\n"), 0600,
                                     NODE_FILE_NEW, NULL),
                     ERR_OK);
    for (unsigned n = 0; n < NODES; n++) {
        f->starters[n].node = calloc(1, sizeof *f->starters[n].node);
        assert_non_null(f->starters[n].node);
        configure(f, n);
    }
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    for (unsigned n = 0; n < NODES; n++) {
        node_stop(f->starters[n].node);
        free(f->starters[n].node);
    }
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", f->base);
    int rc = system(command);
    free(f);
    return rc;
}

static void *start_main(void *context)
{
    struct starter *starter = context;
    err_trail_reset(&starter->trail);
    starter->err = node_start(starter->node, &starter->trail);
    return NULL;
}

static void start_begin(struct starter *starter)
{
    assert_int_equal(pthread_create(&starter->thread, NULL, start_main, starter), 0);
}

static enum err start_end(struct starter *starter)
{
    assert_int_equal(pthread_join(starter->thread, NULL), 0);
    return starter->err;
}

static void start_both(struct fixture *f)
{
    for (unsigned n = 0; n < NODES; n++)
        start_begin(&f->starters[n]);
    for (unsigned n = 0; n < NODES; n++)
        if (start_end(&f->starters[n]))
            fail_msg("node %u: %s", n + 1,
                     err_trail_text(&f->starters[n].trail, f->starters[n].err));
}

static void post(void *context)
{
    sem_post(context);
}

static void drain_and_stop(struct node *node)
{
    sem_t drained;
    sem_init(&drained, 0, 0);
    node_drain(node, NS_PER_SECOND, post, &drained);
    while (sem_wait(&drained) != 0)
        ;
    sem_destroy(&drained);
    node_stop(node);
}

static bool has_file(const struct node *node, const char *name)
{
    char path[NODE_PATH_MAX];
    return node_path(path, node->dir, name) && access(path, F_OK) == 0;
}

/* ---- */

static void one_that_waits_can_be_stopped(void **state)
{
    struct fixture *f = *state;
    struct starter *first = &f->starters[0];
    start_begin(first);
    usleep(700 * 1000);
    f->is_to_stop = true;
    assert_int_equal(start_end(first), ERR_CANCELLED);
    assert_non_null(strstr(first->trail.text, "stopped while waiting"));
    assert_non_null(strstr(first->trail.text, "node 2"));
    assert_false(has_file(first->node, "root-credentials"));
    assert_false(has_file(first->node, "endpoint.json"));
}

static void two_share_one_root_key(void **state)
{
    struct fixture *f = *state;
    start_both(f);
    const struct node *one = f->starters[0].node, *two = f->starters[1].node;
    assert_int_equal(one->root_origin, ROOT_KEY_DRAWN);
    assert_int_equal(two->root_origin, ROOT_KEY_DRAWN);
    assert_string_equal(one->root.access_key, two->root.access_key);
    assert_string_equal(one->root.secret_key, two->root.secret_key);
    assert_int_equal(keyring_count(one->keyring), 1);
    assert_int_equal(keyring_count(two->keyring), 1);
    for (unsigned n = 0; n < NODES; n++) {
        struct root_credentials told;
        struct text_buf banner = {0};
        char who[32];
        assert_int_equal(root_credentials_read(f->starters[n].node->dir, &told, NULL), ERR_OK);
        assert_string_equal(told.secret_key, one->root.secret_key);
        assert_false(has_file(f->starters[n].node, "node.key"));
        banner_print(f->starters[n].node, &banner);
        snprintf(who, sizeof who, "node %u of unit", n + 1);
        assert_non_null(strstr(banner.data, who));
        assert_non_null(strstr(banner.data, "by tcp on"));
        assert_null(strstr(banner.data, "NOT ENCRYPTED")); /* on loopback nobody listens */
        text_free(&banner);
    }
    struct root_credentials first = one->root;
    drain_and_stop(f->starters[1].node);
    drain_and_stop(f->starters[0].node);

    for (unsigned n = 0; n < NODES; n++)
        configure(f, n);
    start_both(f);
    for (unsigned n = 0; n < NODES; n++) {
        struct access_key key;
        assert_int_equal(f->starters[n].node->root_origin, ROOT_KEY_KEPT);
        assert_int_equal(
            keyring_find(f->starters[n].node->keyring, bytes_of_string(first.access_key), &key),
            ERR_OK);
        assert_string_equal(key.secret, first.secret_key);
    }
    drain_and_stop(f->starters[0].node);
    drain_and_stop(f->starters[1].node);
}

static void a_key_given_to_one_is_the_key_of_both(void **state)
{
    struct fixture *f = *state;
    for (unsigned n = 0; n < NODES; n++) {
        strcpy(f->starters[n].node->given.access_key, "AKGIVEN");
        strcpy(f->starters[n].node->given.secret_key,
               n == 0 ? "given-secret-one" : "given-secret-two");
    }
    start_both(f);
    unsigned ignored = 0;
    struct access_key keys[NODES];
    for (unsigned n = 0; n < NODES; n++) {
        ignored += f->starters[n].node->given_is_ignored;
        assert_int_equal(keyring_find(f->starters[n].node->keyring, BYTES("AKGIVEN"), &keys[n]),
                         ERR_OK);
        assert_false(has_file(f->starters[n].node, "root-credentials"));
    }
    assert_int_equal(ignored, 1); /* one of them came first */
    assert_string_equal(keys[0].secret, keys[1].secret);
    drain_and_stop(f->starters[0].node);
    drain_and_stop(f->starters[1].node);
}

/* And before memory is taken for it. */
static void a_lone_nodes_volume_is_refused(void **state)
{
    struct fixture *f = *state;
    struct starter *starter = &f->starters[0];
    starter->node->config.cluster_peers[0] = '\0';
    start_begin(starter);
    assert_int_equal(start_end(starter), ERR_OK);
    drain_and_stop(starter->node);
    configure(f, 0);
    start_begin(starter);
    assert_int_equal(start_end(starter), ERR_INVALID);
    assert_non_null(strstr(starter->trail.text, "this volume is a lone node's"));
    assert_int_equal(starter->node->arena_bytes, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(one_that_waits_can_be_stopped),
        TEST(two_share_one_root_key),
        TEST(a_key_given_to_one_is_the_key_of_both),
        TEST(a_lone_nodes_volume_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
