/*
 * Two nodes in one process and one thread, each with its arena, loop and transport, pumped in
 * turns. Everything that a handler is told is written down; a write that landed is compared, inside
 * write_in(), with what its immediate value says it must be (C2).
 */
#ifndef TESTS_TRANSPORT_FIXTURE_H
#define TESTS_TRANSPORT_FIXTURE_H
#pragma GCC diagnostic ignored "-Wunused-function" /* no test needs all of it */

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "replication/transport.h"
#include "replication/transport_faults.h"

/* Set by the program: which backend, over which ring, between which addresses. */
struct conformance_case {
    enum transport_choice choice;
    enum ring_choice ring;
    const char *address[2];
};
static struct conformance_case conformance;

#define LANDING_BYTES MIB(8)
#define SLOT_BYTES    (MIB(1) + KIB(4)) /* landing slot i begins at i * SLOT_BYTES */
#define SLOTS         7u
#define SMALL_BYTES   4096u
#define WRITES_MAX    4096u
#define WAIT_NS       (60 * NS_PER_SECOND) /* of a machine under load and sanitizers */

struct node_write {
    struct transport_write write;
    struct node *node;
    unsigned runs;
    enum err e;
};

struct node {
    struct arena *arena;
    struct loop *loop;
    struct transport *transport;
    struct transport_faults faults;
    struct transport_peer *peer; /* the last one up or called */
    struct landing *landing;     /* granted to it when it comes up, unless grants_nothing */
    bool grants_nothing, grants_may_fail, closed;
    enum err admits; /* what admit() answers */
    struct sockaddr_in address;
    struct slot *source;

    unsigned ups, downs, turned_away, rooms[LANE_COUNT], granted;
    enum transport_end why;
    char sentence[512];
    uint32_t ctl_in, ctl_wrong;
    uint32_t writes_in[LANE_COUNT], next_imm[LANE_COUNT], writes_wrong;
    bool fence_on_write;       /* fences in the middle of the stream */
    uint64_t sum_at_down;      /* of the landing area */
    struct node_write *writes; /* WRITES_MAX */
    unsigned posted, written, written_failed;
    /* What a handler found wrong: cmocka's jump must not leave a loop's turn. */
    const char *handler_saw;
};

struct pair {
    struct node nodes[2]; /* 0 calls, 1 listens */
};

/* ---- what a write carries ---- */

/* imm: lane, a number that counts up, and where it lies. */
#define IMM(lane, number, slot)                                                                    \
    ((uint32_t)(lane) << 30 | (uint32_t)(number) << 8 | (uint32_t)(slot))

static void fill_pattern(uint8_t *data, uint32_t size, uint32_t imm)
{
    for (uint32_t i = 0; i < size; i += 4)
        put_le32(data + i, imm * 2654435761u + i);
}

static bool is_pattern(const uint8_t *data, uint32_t size, uint32_t imm)
{
    for (uint32_t i = 0; i < size; i += 4)
        if (get_le32(data + i) != imm * 2654435761u + i)
            return false;
    return true;
}

static uint64_t landing_sum(const struct landing *landing)
{
    uint64_t sum = 0;
    const uint64_t *words = (const uint64_t *)(const void *)landing->data;
    for (size_t i = 0; i < landing->size / 8; i++)
        sum = (sum ^ words[i]) * 0x9e3779b97f4a7c15u;
    return sum;
}

/* ---- handlers ---- */

static enum err on_admit(void *context, const struct transport_identity *identity,
                         struct err_trail *trail)
{
    struct node *node = context;
    if (node->admits)
        return err_say(trail, node->admits, "node %u is not in the configuration", identity->node);
    return ERR_OK;
}

#define EXPECT(node, condition)                                                                    \
    do {                                                                                           \
        if (!(condition) && (node)->handler_saw == NULL)                                           \
            (node)->handler_saw = "not " #condition;                                               \
    } while (0)

static void on_up(void *context, struct transport_peer *peer)
{
    struct node *node = context;
    node->ups++;
    node->peer = peer;
    if (node->grants_nothing || transport_grant(peer, node->landing, NULL) == ERR_OK)
        return;
    EXPECT(node, node->grants_may_fail);
    transport_fence(peer);
}

static void on_down(void *context, struct transport_peer *peer, enum transport_end why,
                    const char *sentence)
{
    struct node *node = context;
    node->downs++;
    node->why = why;
    snprintf(node->sentence, sizeof node->sentence, "%s", sentence);
    node->sum_at_down = landing_sum(node->landing);
    EXPECT(node, node->written == node->posted); /* C7 */
    if (node->peer == peer)
        node->peer = NULL;
}

static void on_turned_away(void *context, enum transport_end why, const char *sentence)
{
    struct node *node = context;
    node->turned_away++;
    node->why = why;
    snprintf(node->sentence, sizeof node->sentence, "%s", sentence);
}

static void on_granted(void *context, struct transport_peer *peer, uint8_t region, uint64_t size)
{
    struct node *node = context;
    EXPECT(node, region == node->granted);
    EXPECT(node, size == LANDING_BYTES);
    node->granted++;
}

static void on_ctl(void *context, struct transport_peer *peer, const uint8_t *data, size_t size)
{
    struct node *node = context;
    if (size < 4 || get_le32(data) != node->ctl_in ||
        (size >= 8 && data[size - 1] != (uint8_t)size))
        node->ctl_wrong++;
    node->ctl_in++;
}

static void on_write(void *context, struct transport_peer *peer, enum transport_lane lane,
                     uint32_t imm, uint32_t size)
{
    struct node *node = context;
    uint32_t number = imm >> 8 & 0x3fffff, slot = imm & 0xff;
    if (imm >> 30 != lane || number != node->next_imm[lane] || slot >= SLOTS ||
        !is_pattern(node->landing->data + slot * SLOT_BYTES, size, imm))
        node->writes_wrong++;
    node->next_imm[lane]++;
    node->writes_in[lane]++;
    if (node->fence_on_write && node->writes_in[lane] == 3)
        transport_fence(peer);
}

static void on_room(void *context, struct transport_peer *peer, enum transport_lane lane)
{
    struct node *node = context;
    node->rooms[lane]++;
}

static const struct transport_handlers handlers = {
    .admit = on_admit,
    .up = on_up,
    .down = on_down,
    .turned_away = on_turned_away,
    .granted = on_granted,
    .ctl_in = on_ctl,
    .write_in = on_write,
    .room = on_room,
};

static void on_closed(void *context)
{
    ((struct node *)context)->closed = true;
}

static void on_written(struct transport_write *write, enum err e)
{
    struct node_write *one = CONTAINER_OF(write, struct node_write, write);
    one->runs++;
    one->e = e;
    one->node->written++;
    one->node->written_failed += e != ERR_OK;
}

/* ---- life ---- */

static uint64_t now_ns(void)
{
    return clock_mono_ns(clock_system());
}

/* One turn of each loop. Sleeps a little when many in a row brought nothing to either. */
static void pump(struct pair *pair)
{
    static unsigned idle;
    uint32_t before[2];
    for (int i = 0; i < 2; i++) {
        before[i] = pair->nodes[i].written + pair->nodes[i].ctl_in;
        if (pair->nodes[i].loop)
            loop_run_once(pair->nodes[i].loop, 0);
    }
    for (int i = 0; i < 2; i++)
        if (before[i] != pair->nodes[i].written + pair->nodes[i].ctl_in)
            idle = 0;
    if (++idle > 100)
        (void)usleep(20);
}

static void saw_nothing_wrong(const struct pair *pair)
{
    for (int i = 0; i < 2; i++)
        if (pair->nodes[i].handler_saw != NULL)
            fail_msg("a handler of node %d saw: %s", i + 1, pair->nodes[i].handler_saw);
}

#define AWAIT(pair, condition)                                                                     \
    do {                                                                                           \
        uint64_t until_ = now_ns() + WAIT_NS;                                                      \
        while (!(condition)) {                                                                     \
            if (now_ns() > until_)                                                                 \
                fail_msg("waited in vain for: %s (\"%s\" / \"%s\")", #condition,                   \
                         (pair)->nodes[0].sentence, (pair)->nodes[1].sentence);                    \
            pump(pair);                                                                            \
            saw_nothing_wrong(pair);                                                               \
        }                                                                                          \
    } while (0)

static void pump_for(struct pair *pair, uint64_t ns)
{
    for (uint64_t until = now_ns() + ns; now_ns() < until;)
        pump(pair);
}

static struct transport_options options_of(struct node *node, unsigned index)
{
    struct transport_options options = {
        .loop = node->loop,
        .arena = node->arena,
        .choice = conformance.choice,
        .address = (const struct sockaddr *)&node->address,
        .address_size = sizeof node->address,
        .self = {.node = index + 1, .cluster = "cluster number 1", .disk = "disk"},
        .cluster_key = "a key of thirty-two bytes: ours!",
        .peers_max = 2,
        .handlers = &handlers,
        .context = node,
        .faults = &node->faults,
    };
    return options;
}

static void node_listen(struct node *node, const struct transport_options *options)
{
    struct err_trail trail = {0};
    enum err e = transport_open(options, &node->transport, &trail);
    if (e)
        fail_msg("%s", err_trail_text(&trail, e));
    struct transport_status status;
    transport_status(node->transport, &status);
    memcpy(&node->address, &status.address, sizeof node->address);
}

static void node_open(struct node *node, unsigned index)
{
    struct arena_options arena = {.large_count = 4,
                                  .small_count = 4,
                                  .share_count = 1,
                                  .landing_count = 1,
                                  .landing_bytes = LANDING_BYTES};
    *node = (struct node){.faults = TRANSPORT_NO_FAULTS};
    node->writes = calloc(WRITES_MAX, sizeof *node->writes);
    assert_non_null(node->writes);
    assert_int_equal(arena_open(&arena, &node->arena), ERR_OK);
    struct loop_options loop = {
        .arena = node->arena, .name = "node", .ring_choice = conformance.ring};
    assert_int_equal(loop_open(&loop, &node->loop, NULL), ERR_OK);
    node->landing = arena_landing_take(node->arena);
    memset(node->landing->data, 0xee, node->landing->size);
    node->source = slot_take(arena_share(node->arena, 0), SLOT_LARGE);
    node->address = (struct sockaddr_in){.sin_family = AF_INET};
    assert_int_equal(inet_pton(AF_INET, conformance.address[index], &node->address.sin_addr), 1);
}

static int pair_set_up(void **state)
{
    struct pair *pair = calloc(1, sizeof *pair);
    *state = pair;
    for (unsigned i = 0; i < 2; i++) {
        node_open(&pair->nodes[i], i);
        struct transport_options options = options_of(&pair->nodes[i], i);
        node_listen(&pair->nodes[i], &options);
    }
    return 0;
}

static void node_close_transport(struct pair *pair, struct node *node)
{
    if (node->transport == NULL)
        return;
    node->closed = false;
    transport_close(node->transport, on_closed);
    AWAIT(pair, node->closed);
    transport_free(node->transport);
    node->transport = NULL;
}

static int pair_tear_down(void **state)
{
    struct pair *pair = *state;
    for (int i = 0; i < 2; i++) {
        pair->nodes[i].handler_saw = NULL;
        pair->nodes[i].fence_on_write = false;
    }
    for (int i = 0; i < 2; i++)
        node_close_transport(pair, &pair->nodes[i]);
    for (int i = 0; i < 2; i++) {
        struct node *node = &pair->nodes[i];
        slot_put(node->source);
        arena_landing_put(node->arena, node->landing);
        loop_close(node->loop);
        arena_close(node->arena);
        free(node->writes);
    }
    free(pair);
    return 0;
}

static void node_call(struct node *node, const struct node *other)
{
    struct err_trail trail = {0};
    enum err e = transport_connect(node->transport, (const struct sockaddr *)&other->address,
                                   sizeof other->address, &node->peer, &trail);
    if (e)
        fail_msg("%s", err_trail_text(&trail, e));
}

static struct pair *connected(void **state)
{
    struct pair *pair = *state;
    node_call(&pair->nodes[0], &pair->nodes[1]);
    AWAIT(pair, pair->nodes[0].granted == 1 && pair->nodes[1].granted == 1);
    assert_int_equal(pair->nodes[0].ups, 1);
    assert_int_equal(pair->nodes[1].ups, 1);
    return pair;
}

/* One write of `size` bytes, in as many pieces as allowed when `pieces` says so. */
static enum err post(struct node *node, enum transport_lane lane, uint32_t slot, uint32_t size,
                     unsigned pieces)
{
    assert_true(node->posted < WRITES_MAX);
    struct node_write *one = &node->writes[node->posted];
    uint32_t number = 0;
    for (unsigned i = 0; i < node->posted; i++)
        number += node->writes[i].write.lane == lane;
    one->node = node;
    one->write = (struct transport_write){
        .written = on_written,
        .lane = lane,
        .imm = IMM(lane, number, slot),
        .offset = (uint64_t)slot * SLOT_BYTES,
        .piece_count = (uint8_t)pieces,
    };
    /* Sources must stand until written(): each write in flight has its own place where they are
     * small. */
    uint8_t *from = node->source->data;
    if (size <= SMALL_BYTES)
        from += (size_t)(node->posted % (SLOT_LARGE_BYTES / SMALL_BYTES)) * SMALL_BYTES;
    fill_pattern(from, size, one->write.imm);
    uint32_t at = 0;
    for (unsigned i = 0; i < pieces; i++) {
        uint32_t piece = i + 1 == pieces ? size - at : 8 * (i + 1);
        one->write.pieces[i] = (struct iovec){from + at, piece};
        at += piece;
    }
    enum err e = transport_write(node->peer, &one->write);
    if (e == ERR_OK)
        node->posted++;
    return e;
}

static void settle(struct pair *pair)
{
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pair->nodes[i].writes_wrong, 0);
        assert_int_equal(pair->nodes[i].ctl_wrong, 0);
        for (unsigned w = 0; w < pair->nodes[i].posted; w++)
            assert_int_equal(pair->nodes[i].writes[w].runs, 1);
    }
}

#endif
