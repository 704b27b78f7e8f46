/*
 * Up to three nodes in one process and one thread, each with its arena, loop and links to the
 * others, pumped in turns. Handlers only write down and compare: cmocka's jump must not leave a
 * loop's turn.
 */
#ifndef TESTS_LINKS_FIXTURE_H
#define TESTS_LINKS_FIXTURE_H

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/log.h"
#include "replication/link_priv.h"
#include "replication/transport_faults.h"
#include "tests/unit/own_address.h"

/* Set by the program: which backend, over which ring, between which addresses. */
struct links_case {
    enum transport_choice choice;
    enum ring_choice ring;
    const char *address[3];
};
static struct links_case links_case;

#define NODES      3u
#define AREA_BYTES LINK_AREA_BYTES_MIN
#define WAIT_NS    (60 * NS_PER_SECOND) /* of a machine under load and sanitizers */
#define HELD_MAX   64u

struct held {
    struct link_token token;
    const uint8_t *payload;
    uint32_t size;
    uint64_t sum;
};

struct seen { /* of one link; cleared by forget() */
    unsigned ups, downs, rooms;
    char sentence[320];
    uint32_t ctl_in, ctl_wrong;
    uint32_t messages_in, messages_wrong, next_message;
    uint32_t chunks_in, chunks_wrong;
};

struct node {
    unsigned index;
    struct arena *arena;
    struct loop *loop;
    struct links *links;
    bool closed;
    struct transport_faults transport_faults;
    struct link_faults faults;
    struct sockaddr_in address;
    struct slot *source;
    struct seen seen[NODES]; /* by the index of the other node */
    enum err admits;
    /* What becomes of chunks: held until a test says so, or answered at once. */
    bool holds_chunks;
    enum err answers;
    struct held held[HELD_MAX];
    unsigned held_count;
    const char *handler_saw;
};

struct cluster {
    struct node nodes[NODES];
    unsigned count;
};

#define EXPECT(node, condition)                                                                    \
    do {                                                                                           \
        if (!(condition) && (node)->handler_saw == NULL)                                           \
            (node)->handler_saw = "not " #condition;                                               \
    } while (0)

static inline uint64_t now_ns(void)
{
    return clock_mono_ns(clock_system());
}

/* ---- content: of message or chunk number n, whatever its size ---- */

static inline void fill_pattern(uint8_t *data, size_t size, uint32_t number)
{
    uint32_t x = number * 2654435761u + 1;
    for (size_t i = 0; i < size; i++) {
        data[i] = (uint8_t)(x >> 24);
        x = x * 1664525u + 1013904223u;
    }
}

static inline bool is_pattern(const void *data, size_t size, uint32_t number)
{
    const uint8_t *bytes = data;
    uint32_t x = number * 2654435761u + 1;
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != (uint8_t)(x >> 24))
            return false;
        x = x * 1664525u + 1013904223u;
    }
    return true;
}

/* ---- handlers ---- */

static inline struct seen *seen_of(struct node *node, const struct link *link)
{
    return &node->seen[link_node(link) - 1];
}

static inline enum err on_admit(void *context, uint32_t other, const uint8_t disk[16],
                                struct err_trail *trail)
{
    struct node *node = context;
    EXPECT(node, disk[0] == 'd' && disk[1] == '0' + other);
    if (node->admits)
        return err_say(trail, node->admits, "node %u is not wanted", other);
    return ERR_OK;
}

static inline void on_up(void *context, struct link *link)
{
    struct node *node = context;
    EXPECT(node, link_is_up(link));
    seen_of(node, link)->ups++;
}

static inline void on_down(void *context, struct link *link, const char *sentence)
{
    struct node *node = context;
    struct seen *seen = seen_of(node, link);
    EXPECT(node, !link_is_up(link));
    EXPECT(node, link_ctl(link, "x", 1) == ERR_CLOSED);
    seen->downs++;
    EXPECT(node, seen->downs <= seen->ups);
    snprintf(seen->sentence, sizeof seen->sentence, "%s", sentence);
}

static inline void on_ctl(void *context, struct link *link, const uint8_t *data, size_t size)
{
    struct seen *seen = seen_of(context, link);
    seen->ctl_wrong += !is_pattern(data, size, seen->ctl_in);
    seen->ctl_in++;
}

static inline void on_message(void *context, struct link *link, uint8_t kind, struct bytes body)
{
    struct seen *seen = seen_of(context, link);
    seen->messages_wrong += kind != (uint8_t)seen->next_message ||
                            !is_pattern(body.data, body.size, seen->next_message);
    seen->messages_in++;
    seen->next_message++;
}

static inline void on_chunk(void *context, struct link *link, const struct link_chunk_head *head,
                            uint8_t *payload, struct link_token token)
{
    struct node *node = context;
    struct seen *seen = seen_of(node, link);
    EXPECT(node, (uintptr_t)payload % 4096 == 0);
    seen->chunks_in++;
    for (uint32_t i = 0; i < head->sum_count; i++) {
        uint32_t at = i * SUM_CHUNK_BYTES, left = head->size - at;
        uint32_t size = left < SUM_CHUNK_BYTES ? left : SUM_CHUNK_BYTES;
        seen->chunks_wrong += xxh3_64(payload + at, size) != head->sums[i];
    }
    seen->chunks_wrong += !is_pattern(payload, head->size, (uint32_t)head->data.counter);
    if (!node->holds_chunks) {
        link_chunk_done(node->links, token, node->answers);
        return;
    }
    EXPECT(node, node->held_count < HELD_MAX);
    node->held[node->held_count++] = (struct held){
        .token = token,
        .payload = payload,
        .size = head->size,
        .sum = xxh3_64(payload, head->size),
    };
}

static inline void on_room(void *context, struct link *link)
{
    seen_of(context, link)->rooms++;
}

static const struct links_handlers events = {
    .admit = on_admit,
    .up = on_up,
    .down = on_down,
    .ctl = on_ctl,
    .message = on_message,
    .chunk = on_chunk,
    .room = on_room,
};

static inline void on_closed(void *context)
{
    ((struct node *)context)->closed = true;
}

/* ---- pumping ---- */

/* One turn of each loop. Sleeps a little when many in a row brought nothing to any. */
static inline void pump(struct cluster *cluster)
{
    static unsigned idle;
    static uint64_t before;
    uint64_t progress = 0;
    for (unsigned i = 0; i < NODES; i++) {
        struct node *node = &cluster->nodes[i];
        if (node->loop == NULL)
            continue;
        loop_run_once(node->loop, 0);
        for (unsigned o = 0; o < NODES; o++)
            progress += node->seen[o].ctl_in + node->seen[o].messages_in + node->seen[o].chunks_in;
    }
    idle = progress == before ? idle + 1 : 0;
    before = progress;
    if (idle > 100)
        (void)usleep(20);
}

static inline void saw_nothing_wrong(struct cluster *cluster)
{
    for (unsigned i = 0; i < NODES; i++) {
        struct node *node = &cluster->nodes[i];
        if (node->handler_saw != NULL)
            fail_msg("a handler of node %u saw: %s", i + 1, node->handler_saw);
        for (unsigned o = 0; o < NODES; o++) {
            const struct seen *seen = &node->seen[o];
            if (seen->ctl_wrong || seen->messages_wrong || seen->chunks_wrong)
                fail_msg("node %u got something else than node %u sent", i + 1, o + 1);
        }
    }
}

#define AWAIT(cluster, condition)                                                                  \
    do {                                                                                           \
        uint64_t until_ = now_ns() + WAIT_NS;                                                      \
        while (!(condition)) {                                                                     \
            if (now_ns() > until_)                                                                 \
                fail_msg("waited in vain for: %s (\"%s\" / \"%s\")", #condition,                   \
                         (cluster)->nodes[0].seen[1].sentence,                                     \
                         (cluster)->nodes[1].seen[0].sentence);                                    \
            pump(cluster);                                                                         \
            saw_nothing_wrong(cluster);                                                            \
        }                                                                                          \
    } while (0)

static inline void pump_for(struct cluster *cluster, uint64_t ns)
{
    for (uint64_t until = now_ns() + ns; now_ns() < until;)
        pump(cluster);
    saw_nothing_wrong(cluster);
}

/* ---- life ---- */

static inline struct link_peer_options peer_of(const struct node *other)
{
    struct link_peer_options peer = {.node = other->index + 1,
                                     .address_size = sizeof other->address};
    memcpy(&peer.address, &other->address, sizeof other->address);
    return peer;
}

static inline struct links_options options_of(struct cluster *cluster, unsigned index,
                                              struct link_peer_options peers[NODES])
{
    struct node *node = &cluster->nodes[index];
    struct links_options options = {
        .loop = node->loop,
        .arena = node->arena,
        .choice = links_case.choice,
        .address = (const struct sockaddr *)&node->address,
        .address_size = sizeof node->address,
        .self = {.node = index + 1, .cluster = "cluster number 1"},
        .cluster_key = "a key of thirty-two bytes: ours!",
        .peers = peers,
        .handlers = &events,
        .context = node,
        .transport_faults = &node->transport_faults,
        .faults = &node->faults,
    };
    options.self.disk[0] = 'd';
    options.self.disk[1] = (uint8_t)('1' + index);
    rand_fill(rand_system(), options.self.incarnation, sizeof options.self.incarnation);
    for (unsigned i = 0; i < cluster->count; i++)
        if (i != index)
            peers[options.peer_count++] = peer_of(&cluster->nodes[i]);
    return options;
}

static inline void node_open_links(struct cluster *cluster, unsigned index)
{
    struct node *node = &cluster->nodes[index];
    struct link_peer_options peers[NODES];
    struct links_options options = options_of(cluster, index, peers);
    struct err_trail trail = {0};
    enum err e = links_open(&options, &node->links, &trail);
    if (e)
        fail_msg("%s", err_trail_text(&trail, e));
    struct transport_status status;
    links_transport_status(node->links, &status);
    memcpy(&node->address, &status.address, sizeof node->address);
}

static inline void node_close_links(struct cluster *cluster, unsigned index)
{
    struct node *node = &cluster->nodes[index];
    if (node->links == NULL)
        return;
    node->closed = false;
    links_close(node->links, on_closed);
    AWAIT(cluster, node->closed);
    links_free(node->links);
    node->links = NULL;
}

static inline void node_init(struct cluster *cluster, unsigned index)
{
    struct node *node = &cluster->nodes[index];
    *node = (struct node){
        .index = index,
        .transport_faults = TRANSPORT_NO_FAULTS,
        .faults = {.flip_meta_at = FAULT_NEVER,
                   .flip_chunk_at = FAULT_NEVER,
                   .retries_at_once = true},
        .address = {.sin_family = AF_INET},
    };
    struct arena_options arena = {.large_count = 2,
                                  .small_count = LINKS_SMALL_SLOTS(NODES - 1),
                                  .share_count = 1,
                                  .landing_count = NODES - 1,
                                  .landing_bytes = AREA_BYTES};
    assert_int_equal(arena_open(&arena, &node->arena), ERR_OK);
    struct loop_options loop = {
        .arena = node->arena, .name = "node", .ring_choice = links_case.ring};
    assert_int_equal(loop_open(&loop, &node->loop, NULL), ERR_OK);
    node->source = slot_take(loop_arena(node->loop), SLOT_LARGE);
    assert_int_equal(inet_pton(AF_INET, links_case.address[index], &node->address.sin_addr), 1);
}

/* The highest first: it is only called, and the others must know its port. */
static inline struct cluster *cluster_open(void **state, unsigned count)
{
    struct cluster *cluster = *state;
    cluster->count = count;
    for (unsigned i = 0; i < count; i++)
        node_init(cluster, i);
    for (unsigned i = count; i-- > 0;)
        node_open_links(cluster, i);
    return cluster;
}

static inline struct link *link_to(struct cluster *cluster, unsigned from, unsigned to)
{
    return links_find(cluster->nodes[from].links, to + 1);
}

static inline bool all_up(struct cluster *cluster)
{
    for (unsigned a = 0; a < cluster->count; a++)
        for (unsigned b = 0; b < cluster->count; b++)
            if (a != b && !link_is_up(link_to(cluster, a, b)))
                return false;
    return true;
}

static inline struct cluster *cluster_up(void **state, unsigned count)
{
    struct cluster *cluster = cluster_open(state, count);
    AWAIT(cluster, all_up(cluster));
    return cluster;
}

static inline void forget(struct cluster *cluster)
{
    for (unsigned i = 0; i < NODES; i++) {
        memset(cluster->nodes[i].seen, 0, sizeof cluster->nodes[i].seen);
        for (unsigned o = 0; o < cluster->count && cluster->nodes[i].links != NULL; o++)
            if (i != o && link_is_up(link_to(cluster, i, o)))
                cluster->nodes[i].seen[o].ups = 1;
    }
}

static inline int set_up(void **state)
{
    *state = calloc(1, sizeof(struct cluster));
    return *state == NULL;
}

static inline void let_go(struct node *node, enum err e)
{
    for (unsigned i = 0; i < node->held_count; i++)
        link_chunk_done(node->links, node->held[i].token, e);
    node->held_count = 0;
}

static inline int tear_down(void **state)
{
    struct cluster *cluster = *state;
    for (unsigned i = 0; i < NODES; i++)
        if (cluster->nodes[i].links != NULL) {
            cluster->nodes[i].holds_chunks = false;
            let_go(&cluster->nodes[i], ERR_OK);
        }
    for (unsigned i = 0; i < NODES; i++) {
        memset(cluster->nodes[i].seen, 0, sizeof cluster->nodes[i].seen);
        for (unsigned o = 0; o < NODES; o++)
            cluster->nodes[i].seen[o].ups = 1000000;
        cluster->nodes[i].handler_saw = NULL;
    }
    for (unsigned i = 0; i < NODES; i++)
        node_close_links(cluster, i);
    for (unsigned i = 0; i < NODES; i++) {
        struct node *node = &cluster->nodes[i];
        if (node->loop == NULL)
            continue;
        slot_put(node->source);
        loop_close(node->loop);
        arena_close(node->arena);
    }
    free(cluster);
    return 0;
}

/* ---- sending ---- */

/* Message number `number` of `size` bytes, in up to four parts. */
static inline enum err send_message(struct link *link, uint32_t number, uint32_t size)
{
    static uint8_t bytes[LINK_MESSAGE_BYTES_MAX];
    fill_pattern(bytes, size, number);
    uint32_t cut = size / 3;
    struct bytes parts[] = {bytes_of(bytes, cut), bytes_of(NULL, 0), bytes_of(bytes + cut, cut),
                            bytes_of(bytes + 2 * cut, size - 2 * cut)};
    return link_message(link, (uint8_t)number, parts, COUNT_OF(parts));
}

static inline enum err send_ctl(struct link *link, uint32_t number, uint32_t size)
{
    uint8_t bytes[LINK_CTL_BYTES_MAX];
    fill_pattern(bytes, size, number);
    return link_ctl(link, bytes, size);
}

struct chunk {
    struct link_chunk chunk;
    unsigned written, landed;
    enum err written_err, landed_err;
    bool out_of_order; /* landed() before written() */
};

static inline void on_chunk_written(struct link_chunk *one, enum err e)
{
    struct chunk *chunk = CONTAINER_OF(one, struct chunk, chunk);
    chunk->written++;
    chunk->written_err = e;
}

static inline void on_chunk_landed(struct link_chunk *one, enum err e)
{
    struct chunk *chunk = CONTAINER_OF(one, struct chunk, chunk);
    chunk->out_of_order |= chunk->written != 1;
    chunk->landed++;
    chunk->landed_err = e;
}

/* Chunk `number` of its own data, its bytes at `at` of the node's source. */
static inline void chunk_make(struct node *node, struct chunk *chunk, uint32_t number, size_t at,
                              uint32_t size)
{
    uint8_t *data = node->source->data + at;
    fill_pattern(data, size, number);
    *chunk = (struct chunk){.chunk = {.data = data,
                                      .written = on_chunk_written,
                                      .landed = on_chunk_landed,
                                      .head = {.data = {.epoch = 7, .counter = number},
                                               .data_size = size,
                                               .size = size,
                                               .last = true}}};
    struct link_chunk_head *head = &chunk->chunk.head;
    for (uint32_t from = 0; from < size; from += SUM_CHUNK_BYTES) {
        uint32_t part = size - from < SUM_CHUNK_BYTES ? size - from : SUM_CHUNK_BYTES;
        head->sums[head->sum_count++] = xxh3_64(data + from, part);
    }
}

/* ---- the program ---- */

/*
 * Runs its tests over TCP, on each ring; or over RDMA, when three addresses of devices that reach
 * each other are given by SLUICE_RDMA_ADDRESSES="10.0.0.1 10.0.0.2 10.0.0.3": tests/lab does so.
 */
static inline int links_run(int (*run)(const char *name))
{
    static char addresses[3][64], own[INET_ADDRSTRLEN];
    struct in_addr address = own_address();
    const char *given = getenv("SLUICE_RDMA_ADDRESSES");
    log_set_level(LOG_ERROR); /* thousands of links go down */
    if (given != NULL &&
        sscanf(given, "%63s %63s %63s", addresses[0], addresses[1], addresses[2]) == 3) {
        links_case = (struct links_case){
            TRANSPORT_FORCE_VERBS, RING_AUTO, {addresses[0], addresses[1], addresses[2]}};
        return run("verbs");
    }
    inet_ntop(AF_INET, &address, own, sizeof own);
    links_case = (struct links_case){TRANSPORT_FORCE_TCP, RING_AUTO, {own, own, own}};
    int failed = run("TCP, io_uring");
    links_case.ring = RING_FORCE_POLL;
    return failed + run("TCP, epoll");
}

#endif
