/*
 * Several nodes of one group in this process: each with a volume in a scratch directory, an arena,
 * a loop where requests run (the test's own thread) and one where its group does. They talk over
 * an address of loopback that is this process's own.
 */
#ifndef TESTS_UNIT_CLUSTER_FIXTURE_H
#define TESTS_UNIT_CLUSTER_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <stdatomic.h>
#include <unistd.h>

#include "replication/group.h"
#include "replication/link.h"
#include "tests/unit/own_address.h"

#define NODES               3u
#define CLUSTER_ARENA_LARGE 12u

/* The system's clock, but what goes on while a node is suspended is the test's to stop and to set
 * forward. */
struct fixture_clock {
    struct clock clock;
    _Atomic uint64_t stands_at_ns; /* boot; 0: it goes */
    _Atomic uint64_t slept_ns;
};

static inline uint64_t fixture_clock_mono(struct clock *clock)
{
    return clock_mono_ns(clock_system());
}
static inline uint64_t fixture_clock_real(struct clock *clock)
{
    return clock_real_ns(clock_system());
}
static inline uint64_t fixture_clock_boot(struct clock *clock)
{
    struct fixture_clock *own = (struct fixture_clock *)clock;
    uint64_t stands_at_ns = atomic_load(&own->stands_at_ns);
    return stands_at_ns != 0 ? stands_at_ns
                             : clock_boot_ns(clock_system()) + atomic_load(&own->slept_ns);
}
/* Nothing ends any more: no lease, no promise, no wait. */
static inline void fixture_clock_stop(struct fixture_clock *own)
{
    atomic_store(&own->stands_at_ns, fixture_clock_boot(&own->clock));
}
static inline void fixture_clock_go(struct fixture_clock *own, uint64_t slept_ns)
{
    atomic_fetch_add(&own->slept_ns, slept_ns);
    atomic_store(&own->stands_at_ns, 0);
}

struct cluster_node {
    char dir[96];
    struct fixture_clock clock;
    struct arena *arena;
    struct loop *loop, *group_loop;
    struct work_pool *pool;
    struct volume *volume;
    struct group *group;
    bool is_open;
};

/* Of nodes opened from now on; 0: as usual. */
static uint64_t fixture_disk_timeout_ns;
/* Of nodes that are opened from now on. */
static char fixture_cluster_id[16] = "test-cluster-id";

struct cluster_fixture {
    char dir[64];
    uint32_t in_sync_min;
    uint64_t log_records; /* 0: as usual */
    struct cluster_node nodes[NODES];
    struct group_peer peers[NODES];
};

/* The error is group_open()'s. */
static inline enum err fixture_try_open_node(struct cluster_fixture *f, unsigned index)
{
    struct cluster_node *node = &f->nodes[index];
    struct err_trail trail = {0};
    assert_int_equal(arena_open(&(struct arena_options){.large_count = CLUSTER_ARENA_LARGE,
                                                        .small_count = 48,
                                                        .share_count = 2,
                                                        .landing_count = NODES - 1,
                                                        .landing_bytes = LINK_AREA_BYTES_USUAL},
                                &node->arena),
                     ERR_OK);
    assert_int_equal(loop_open(&(struct loop_options){.arena = node->arena, .name = "test"},
                               &node->loop, &trail),
                     ERR_OK);
    assert_int_equal(loop_open(&(struct loop_options){.clock = &node->clock.clock,
                                                      .arena = node->arena,
                                                      .arena_share = 1,
                                                      .name = "group"},
                               &node->group_loop, &trail),
                     ERR_OK);
    assert_int_equal(work_pool_open(2, "test", &node->pool), ERR_OK);
    enum err e =
        volume_open(&(struct volume_options){.dir = node->dir,
                                             .direct = VOLUME_DIRECT_ANY,
                                             .has_log = true,
                                             .data_epoch = 1ull << 63 | rand_u64(rand_system())},
                    &node->volume, &trail);
    if (e)
        fail_msg("%s", err_trail_text(&trail, e));
    struct group_peers_options peers = {
        .loop = node->group_loop,
        .arena = node->arena,
        .self = index + 1,
        .node_count = NODES,
        .choice = TRANSPORT_FORCE_TCP,
        .key = "a key that all of them know....",
        .in_sync_min = f->in_sync_min,
        .log_records = f->log_records,
        .disk_timeout_ns = fixture_disk_timeout_ns,
    };
    memcpy(peers.nodes, f->peers, sizeof f->peers);
    memcpy(peers.cluster, fixture_cluster_id, sizeof peers.cluster);
    e = group_open(
        &(struct group_options){.volume = node->volume, .work_pool = node->pool, .peers = &peers},
        &node->group, &trail);
    if (e)
        print_message("node %u: %s\n", index + 1, err_trail_text(&trail, e));
    node->is_open = true;
    return e;
}

static inline void fixture_open_node(struct cluster_fixture *f, unsigned index)
{
    assert_int_equal(fixture_try_open_node(f, index), ERR_OK);
}

static inline void fixture_close_node(struct cluster_fixture *f, unsigned index)
{
    struct cluster_node *node = &f->nodes[index];
    if (!node->is_open)
        return;
    node->is_open = false;
    group_close(TAKE(node->group));
    volume_close(node->volume);
    work_pool_close(node->pool);
    loop_close(node->group_loop);
    loop_close(node->loop);
    arena_close(node->arena);
}

static inline void fixture_wait_ready(struct cluster_fixture *f, unsigned index)
{
    struct err_trail trail = {0};
    enum err e = group_wait_ready(f->nodes[index].group, 60 * NS_PER_SECOND, &trail);
    if (e)
        fail_msg("node %u: %s", index + 1, err_trail_text(&trail, e));
}

/* Another than node `index` that leads, with its status; NODES: none. */
static inline unsigned fixture_another_primary(struct cluster_fixture *f, unsigned index,
                                               struct group_status *ret_status)
{
    for (unsigned i = 0; i < NODES; i++) {
        if (i == index || !f->nodes[i].is_open)
            continue;
        group_status(f->nodes[i].group, ret_status);
        if (ret_status->is_primary)
            return i;
    }
    return NODES;
}

/* Until another than node `index` leads, and has that one out of sync; which. */
static inline unsigned fixture_wait_another_leads(struct cluster_fixture *f, unsigned index)
{
    struct group_status status;
    for (unsigned tries = 0; tries < 3000; tries++) {
        unsigned leads = fixture_another_primary(f, index, &status);
        if (leads < NODES && !status.peers[index].is_in_sync)
            return leads;
        usleep(10000);
    }
    fail_msg("nobody takes over from node %u", index + 1);
    return NODES;
}

/* Until all open nodes are ready and somebody says that `count` are in sync. */
static inline void fixture_wait_in_sync(struct cluster_fixture *f, unsigned count)
{
    for (unsigned tries = 0; tries < 6000; tries++) {
        bool all_ready = true, in_sync = false;
        for (unsigned i = 0; i < NODES; i++) {
            struct err_trail trail = {0};
            if (!f->nodes[i].is_open)
                continue;
            if (group_wait_ready(f->nodes[i].group, 0, &trail) != ERR_OK)
                all_ready = false;
            struct group_status status;
            group_status(f->nodes[i].group, &status);
            in_sync = in_sync || (status.is_primary && status.in_sync == count);
        }
        if (all_ready && in_sync)
            return;
        usleep(10000);
    }
    for (unsigned i = 0; i < NODES; i++) {
        struct group_status status;
        if (!f->nodes[i].is_open)
            continue;
        group_status(f->nodes[i].group, &status);
        print_message("node %u: %s, epoch %llu, in sync %u: %s\n", i + 1,
                      group_role_name(status.role), (unsigned long long)status.epoch,
                      status.in_sync, status.sentence);
    }
    fail_msg("%u nodes are never in sync", count);
}

static inline unsigned fixture_primary(struct cluster_fixture *f)
{
    for (unsigned i = 0; i < NODES; i++) {
        struct group_status status;
        if (!f->nodes[i].is_open)
            continue;
        group_status(f->nodes[i].group, &status);
        if (status.is_primary)
            return i;
    }
    fail_msg("there is no primary");
    return 0;
}

/* A disk with nothing on it, in the place of what was there. */
static inline void fixture_format_node(struct cluster_fixture *f, unsigned index)
{
    struct err_trail trail = {0};
    enum err e = volume_format(&(struct volume_format_options){.dir = f->nodes[index].dir,
                                                               .segment_bytes = MIB(16),
                                                               .direct = VOLUME_DIRECT_ANY},
                               &trail);
    if (e)
        fail_msg("%s", err_trail_text(&trail, e));
}

static inline void fixture_replace_disk(struct cluster_fixture *f, unsigned index)
{
    char command[160];
    assert_false(f->nodes[index].is_open);
    snprintf(command, sizeof command, "rm -rf %s", f->nodes[index].dir);
    assert_int_equal(system(command), 0);
    fixture_format_node(f, index);
}

/* `in_sync_min` copies without which nothing is acknowledged; `log_records`: 0, as usual. */
static inline int fixture_setup_as(void **state, uint32_t in_sync_min, uint64_t log_records)
{
    struct cluster_fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    *state = f;
    f->in_sync_min = in_sync_min;
    f->log_records = log_records;
    snprintf(f->dir, sizeof f->dir, "/var/tmp/sluice-cluster-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    int sockets[NODES]; /* held until all are chosen, so that they differ */
    for (unsigned i = 0; i < NODES; i++) {
        struct sockaddr_in *address = (struct sockaddr_in *)&f->peers[i].address;
        socklen_t size = sizeof *address;
        *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = own_address()};
        sockets[i] = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(bind(sockets[i], (struct sockaddr *)address, sizeof *address), 0);
        assert_int_equal(getsockname(sockets[i], (struct sockaddr *)address, &size), 0);
        f->peers[i].node = i + 1;
        f->peers[i].address_size = sizeof *address;
        f->nodes[i].clock.clock =
            (struct clock){fixture_clock_mono, fixture_clock_boot, fixture_clock_real};
        snprintf(f->nodes[i].dir, sizeof f->nodes[i].dir, "%s/%u", f->dir, i + 1);
        fixture_format_node(f, i);
    }
    for (unsigned i = 0; i < NODES; i++)
        close(sockets[i]);
    for (unsigned i = 0; i < NODES; i++)
        fixture_open_node(f, i);
    return 0;
}

static inline int fixture_setup(void **state)
{
    return fixture_setup_as(state, 2, 0);
}

static inline int fixture_teardown(void **state)
{
    struct cluster_fixture *f = *state;
    for (unsigned i = 0; i < NODES; i++)
        fixture_close_node(f, i);
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", f->dir);
    int rc = system(command);
    free(f);
    return rc;
}

/* ---- requests, through one node ---- */

struct fixture_put {
    struct body_write write;
    struct mutation m;
    bool is_written, is_done;
    enum err err;
};

static inline void fixture_put_written(struct body_write *write, enum err e)
{
    struct fixture_put *put = CONTAINER_OF(write, struct fixture_put, write);
    put->is_written = true;
    put->err = e;
}

static inline void fixture_put_done(struct mutation *m)
{
    CONTAINER_OF(m, struct fixture_put, m)->is_done = true;
}

static inline void fixture_fill(uint8_t *data, uint64_t offset, uint32_t size, uint32_t seed)
{
    for (uint32_t i = 0; i < size; i++)
        data[i] = (uint8_t)((offset + i) * 2654435761u >> 13 ^ seed);
}

/* Writes `size` bytes and proposes their name: put->is_done follows. ERR_CLOSED when the node takes
 * no body. */
static inline enum err fixture_propose(struct cluster_node *node, struct bucket_id bucket,
                                       const char *key, uint64_t size, uint32_t seed,
                                       struct fixture_put *put)
{
    struct body *body;
    *put = (struct fixture_put){0};
    struct slot *slot = slot_take(loop_arena(node->loop), SLOT_LARGE);
    assert_non_null(slot);
    enum err e =
        group_body_open(node->group, &(struct body_options){.loop = node->loop, .size = size},
                        &body, &put->m.trail);
    uint64_t offset = 0;
    while (e == ERR_OK) {
        uint32_t here =
            size - offset < SLOT_LARGE_BYTES ? (uint32_t)(size - offset) : SLOT_LARGE_BYTES;
        bool last = offset + here == size;
        fixture_fill(slot->data, offset, here, seed);
        put->is_written = false;
        e = group_body_write(node->group, body, &put->write, slot->data, here, last,
                             fixture_put_written, &put->m.trail);
        while (e == ERR_OK && !put->is_written)
            loop_run_once(node->loop, NS_PER_SECOND);
        if (e == ERR_OK)
            e = put->err;
        offset += here;
        if (last)
            break;
    }
    slot_put(slot);
    if (e)
        return e;
    put->m = (struct mutation){
        .kind = MUTATION_OBJECT_PUT,
        .bucket = bucket,
        .key = bytes_of_string(key),
        .body = body,
        .size = size,
        .loop = node->loop,
        .done = fixture_put_done,
    };
    group_propose(node->group, &put->m);
    return ERR_OK;
}

/* The outcome is the mutation's, or fixture_propose()'s error. */
static inline enum err fixture_store(struct cluster_node *node, struct bucket_id bucket,
                                     const char *key, uint64_t size, uint32_t seed,
                                     struct receipt *ret_receipt)
{
    struct fixture_put put = {0};
    enum err e = fixture_propose(node, bucket, key, size, seed, &put);
    while (e == ERR_OK && !put.is_done)
        loop_run_once(node->loop, NS_PER_SECOND);
    if (e == ERR_OK)
        e = put.m.err;
    if (e)
        print_message("%s: %s\n", key, err_trail_text(&put.m.trail, e));
    if (ret_receipt != NULL)
        *ret_receipt = put.m.receipt;
    return e;
}

struct fixture_ask {
    struct group_ask ask;
    bool is_done;
};

static inline void fixture_asked(struct group_ask *ask)
{
    CONTAINER_OF(ask, struct fixture_ask, ask)->is_done = true;
}

static inline enum err fixture_fresh(struct cluster_node *node)
{
    if (group_is_fresh(node->group))
        return ERR_OK;
    struct fixture_ask wait = {.ask = {.loop = node->loop, .done = fixture_asked}};
    group_fresh(node->group, &wait.ask);
    while (!wait.is_done)
        loop_run_once(node->loop, NS_PER_SECOND);
    return wait.ask.err;
}

/* Finds and reads the object through `node`, comparing each byte. ERR_NO_SUCH_OBJECT; ERR_BUSY */
static inline enum err fixture_read(struct cluster_node *node, struct bucket_id bucket,
                                    const char *key, uint64_t size, uint32_t seed)
{
    enum err e = fixture_fresh(node);
    if (e)
        return e;
    struct fixture_ask wait = {.ask = {.loop = node->loop,
                                       .done = fixture_asked,
                                       .bucket = bucket,
                                       .key = bytes_of_string(key)}};
    group_lookup(node->group, &wait.ask);
    while (!wait.is_done)
        loop_run_once(node->loop, NS_PER_SECOND);
    if (wait.ask.err)
        return wait.ask.err;
    struct object *object = wait.ask.object;
    assert_int_equal(object_info(object)->size, size);
    struct read_plan plan;
    read_plan_open(&plan, object, 0, size);
    object_put(object);
    uint64_t offset = 0;
    while (read_plan_left(&plan) > 0) {
        struct read_span span;
        assert_int_equal(read_plan_span(&plan, &span), ERR_OK);
        uint8_t *got = malloc(span.size), *wanted = malloc(span.size);
        if (span.inline_data != NULL)
            memcpy(got, span.inline_data, span.size);
        else
            assert_int_equal(span.buffered->disk->ops->pread(span.buffered, got,
                                                             (uint32_t)span.size, span.file_offset),
                             ERR_OK);
        fixture_fill(wanted, offset, (uint32_t)span.size, seed);
        assert_memory_equal(got, wanted, span.size);
        free(got);
        free(wanted);
        offset += span.size;
        read_plan_advance(&plan, span.size);
    }
    read_plan_close(&plan);
    return ERR_OK;
}

/* Stored through one node, it can be read through each. */
static inline void fixture_expect_stored(struct cluster_fixture *f, unsigned through,
                                         struct bucket_id bucket, const char *key, uint64_t size)
{
    assert_int_equal(fixture_store(&f->nodes[through], bucket, key, size, 9, NULL), ERR_OK);
    for (unsigned i = 0; i < NODES; i++)
        assert_int_equal(fixture_read(&f->nodes[i], bucket, key, size, 9), ERR_OK);
}

static inline struct bucket_id fixture_bucket(struct cluster_node *node, const char *name)
{
    struct mutation m = {
        .kind = MUTATION_BUCKET_CREATE,
        .bucket_name = bytes_of_string(name),
        .owner = BYTES("somebody"),
        .region = BYTES("us-east-1"),
    };
    enum err e = group_propose_wait(node->group, &m);
    if (e)
        fail_msg("make a bucket: %s", err_trail_text(&m.trail, e));
    return m.new_bucket;
}

#endif
