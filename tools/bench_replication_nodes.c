#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <netinet/in.h>
#include <sys/socket.h>

#include "base/check.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "base/rand.h"
#include "replication/link.h"
#include "tools/bench_replication.h"

#define SMALL_SLOTS  (BENCH_IN_FLIGHT_MAX * 4096u / SLOT_SMALL_BYTES)
#define POOL_THREADS 2u
/* A run is short: not the gigabytes a large disk's node would begin with. */
#define SEGMENT_BYTES MIB(256)
/* To find each other and elect a primary, on a busy machine too. */
#define READY_NS (60 * NS_PER_SECOND)
#define LOOK_NS  (20 * NS_PER_MS)

static void set_port(struct sockaddr_storage *address, in_port_t port)
{
    if (address->ss_family == AF_INET6)
        ((struct sockaddr_in6 *)address)->sin6_port = port;
    else
        ((struct sockaddr_in *)address)->sin_port = port;
}

/* Each node an address with a free port. The sockets are held until all are chosen, so that the
 * ports differ. */
static enum err choose_addresses(struct group_peers_options *peers,
                                 const struct bench_replication_options *options,
                                 struct err_trail *trail)
{
    int sockets[BENCH_NODES_MAX];
    unsigned count = 0;
    enum err e = ERR_OK;
    while (e == ERR_OK && count < peers->node_count) {
        unsigned from = options->address_count > 1 ? count : 0;
        struct group_peer *peer = &peers->nodes[count];
        *peer = (struct group_peer){.node = count + 1,
                                    .address = options->addresses[from],
                                    .address_size = options->address_sizes[from]};
        set_port(&peer->address, 0);
        int fd = socket(peer->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
            e = err_from_errno(errno);
        else
            sockets[count++] = fd;
        if (e == ERR_OK &&
            (bind(fd, (struct sockaddr *)&peer->address, peer->address_size) != 0 ||
             getsockname(fd, (struct sockaddr *)&peer->address, &peer->address_size) != 0))
            e = err_from_errno(errno);
    }
    for (unsigned i = 0; i < count; i++)
        (void)close(sockets[i]);
    return e ? err_note(trail, e, "choose a port for node %u", count) : ERR_OK;
}

static enum err memory_open(struct bench_node *node, unsigned peers, struct err_trail *trail)
{
    /* Shares are equal: the client's, whose slots are what is sent, and the group's. */
    uint32_t shares = peers > 0 ? 2 : 1, small = peers > 0 ? LINKS_SMALL_SLOTS(peers) : 0;
    if (small < SMALL_SLOTS)
        small = SMALL_SLOTS;
    enum err e = arena_open(&(struct arena_options){.large_count = shares * BENCH_BODIES,
                                                    .small_count = shares * small,
                                                    .share_count = shares,
                                                    .landing_count = peers,
                                                    .landing_bytes = LINK_AREA_BYTES_USUAL},
                            &node->arena);
    if (e)
        return err_note(trail, e, "get memory");
    e = loop_open(&(struct loop_options){.arena = node->arena, .name = "client"}, &node->loop,
                  trail);
    if (e || peers == 0)
        return e;
    return loop_open(
        &(struct loop_options){.arena = node->arena, .arena_share = 1, .name = "replication"},
        &node->group_loop, trail);
}

/* As sluiced opens its own. */
static enum err store_open(struct bench_node *node, bool has_peers, struct err_trail *trail)
{
    enum err e = volume_format(&(struct volume_format_options){.dir = node->dir,
                                                               .segment_bytes = SEGMENT_BYTES,
                                                               .direct = VOLUME_DIRECT_ANY},
                               trail);
    if (e)
        return e;
    return volume_open(
        &(struct volume_options){
            .dir = node->dir,
            .direct = VOLUME_DIRECT_ANY,
            .has_log = has_peers,
            .data_epoch = has_peers ? DATA_EPOCH_DRAWN | rand_u64(rand_system()) : 0,
        },
        &node->volume, trail);
}

static enum err node_open(struct bench_nodes *nodes, unsigned index, struct err_trail *trail)
{
    struct bench_node *node = &nodes->node[index];
    bool has_peers = nodes->count > 1;
    enum err e = memory_open(node, nodes->count - 1, trail);
    if (e == ERR_OK)
        e = work_pool_open(POOL_THREADS, "blocking", &node->pool);
    if (e == ERR_OK)
        e = store_open(node, has_peers, trail);
    if (e)
        return e;
    struct group_peers_options peers = nodes->peers;
    peers.loop = node->group_loop;
    peers.arena = node->arena;
    peers.self = index + 1;
    return group_open(&(struct group_options){.volume = node->volume,
                                              .work_pool = node->pool,
                                              .peers = has_peers ? &peers : NULL},
                      &node->group, trail);
}

enum err bench_nodes_open(struct bench_nodes *nodes,
                          const struct bench_replication_options *options, const char *dir,
                          const char *name, unsigned count, struct err_trail *trail)
{
    *nodes = (struct bench_nodes){
        .count = count,
        .peers = {.node_count = count,
                  .choice = options->choice,
                  .in_sync_min = count / 2 + 1,
                  .busy_poll_ns = options->busy_poll_ns},
    };
    CHECK(count >= 1 && count <= BENCH_NODES_MAX);
    rand_fill(rand_system(), nodes->peers.cluster, sizeof nodes->peers.cluster);
    rand_fill(rand_system(), nodes->peers.key, sizeof nodes->peers.key);
    enum err e = count > 1 ? choose_addresses(&nodes->peers, options, trail) : ERR_OK;
    for (unsigned i = 0; i < count && e == ERR_OK; i++) {
        struct bench_node *node = &nodes->node[i];
        int size = snprintf(node->dir, sizeof node->dir, "%s/%s-%u", dir, name, i + 1);
        if (size < 0 || (size_t)size >= sizeof node->dir)
            return err_say(trail, ERR_INVALID, "--dir: the path is too long");
        e = node_open(nodes, i, trail);
        if (e)
            return err_note(trail, e, "open node %s-%u", name, i + 1);
    }
    return e;
}

void bench_nodes_close(struct bench_nodes *nodes)
{
    for (unsigned i = 0; i < nodes->count; i++) {
        struct bench_node *node = &nodes->node[i];
        group_close(TAKE(node->group));
        volume_close(TAKE(node->volume));
        work_pool_close(TAKE(node->pool));
        loop_close(TAKE(node->group_loop));
        loop_close(TAKE(node->loop));
        arena_close(TAKE(node->arena));
    }
}

/* The primary when it has all others in sync and each of them is ready, or NULL. */
static struct bench_node *primary_of_all(struct bench_nodes *nodes, struct group_status *status)
{
    struct bench_node *primary = NULL;
    for (unsigned i = 0; i < nodes->count; i++) {
        struct err_trail why = {0};
        if (group_wait_ready(nodes->node[i].group, 0, &why) != ERR_OK)
            return NULL;
        group_status(nodes->node[i].group, status);
        if (nodes->count == 1 || (status->is_primary && status->in_sync == nodes->count))
            primary = &nodes->node[i];
    }
    return primary;
}

enum err bench_nodes_wait(struct bench_nodes *nodes, const atomic_bool *stop,
                          struct bench_node **ret_primary, struct err_trail *trail)
{
    struct group_status status = {0};
    uint64_t until = clock_mono_ns(clock_system()) + READY_NS;
    while (!atomic_load(stop)) {
        struct bench_node *primary = primary_of_all(nodes, &status);
        if (primary != NULL) {
            *ret_primary = primary;
            return ERR_OK;
        }
        if (clock_mono_ns(clock_system()) >= until)
            return err_say(trail, ERR_TIMEOUT, "%u nodes are not in sync after %llu s: %s",
                           nodes->count, READY_NS / NS_PER_SECOND,
                           status.sentence[0] != '\0' ? status.sentence : "no reason is known");
        (void)nanosleep(&(struct timespec){.tv_nsec = LOOK_NS}, NULL);
    }
    return err_say(trail, ERR_CLOSED, "interrupted");
}
