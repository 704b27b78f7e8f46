#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "tools/bench_transport.h"

#define LANDING_BYTES MIB(32)
#define WAKE_NS       (100 * NS_PER_MS)    /* how late a server sees that nobody will come */
#define UP_NS         (10 * NS_PER_SECOND) /* to connect and be granted memory */

static const struct bench_transport_figure plan[BENCH_FIGURES] = {
    {.name = "4 KiB, one at a time", .size = 4096, .depth = 1, .lane = LANE_META},
    {.name = "4 KiB", .size = 4096, .depth = BENCH_DEPTH_SMALL, .lane = LANE_META},
    {.name = "1 MiB", .size = 1u << 20, .depth = BENCH_DEPTH_LARGE, .lane = LANE_BULK},
};

/* Where a write of this number lands. Writes of one lane have places of their own. */
static uint64_t place_of(enum transport_lane lane, uint32_t slot)
{
    return lane == LANE_META ? (uint64_t)(slot % BENCH_DEPTH_SMALL) * 4096
                             : (uint64_t)(slot % BENCH_DEPTH_LARGE) * BENCH_SLOT_BYTES;
}

/* ---- a side: what client and server both have ---- */

struct side {
    struct arena *arena;         /* owned */
    struct loop *loop;           /* owned */
    struct transport *transport; /* owned */
    struct landing *landing;     /* from the arena */
    bool is_up, is_down, is_closed;
    char sentence[400];
};

static enum err side_open(struct side *side, const struct bench_transport_options *options,
                          const struct sockaddr_storage *address, socklen_t address_size,
                          uint32_t node, const struct transport_handlers *handlers, void *context,
                          struct err_trail *trail)
{
    struct arena_options arena = {.large_count = BENCH_DEPTH_LARGE,
                                  .small_count = 4,
                                  .share_count = 1,
                                  .landing_count = 1,
                                  .landing_bytes = LANDING_BYTES};
    enum err e = arena_open(&arena, &side->arena);
    if (e)
        return err_note(trail, e, "get memory");
    side->landing = arena_landing_take(side->arena);
    struct loop_options loop = {.arena = side->arena, .name = node == 1 ? "client" : "server"};
    e = loop_open(&loop, &side->loop, trail);
    if (e)
        return e;
    struct transport_options transport = {
        .loop = side->loop,
        .arena = side->arena,
        .choice = options->choice,
        .address = (const struct sockaddr *)address,
        .address_size = address_size,
        .self = {.node = node, .cluster = "sluice bench"},
        .cluster_key = "sluice bench transport",
        .peers_max = 1,
        .busy_poll_ns = options->busy_poll_ns,
        .handlers = handlers,
        .context = context,
    };
    return transport_open(&transport, &side->transport, trail);
}

static void side_is_closed(void *context)
{
    struct side *side = context; /* first in client and server */
    side->is_closed = true;
    loop_stop(side->loop);
}

/* On the side's own thread. */
static void side_close(struct side *side)
{
    if (side->transport != NULL) {
        transport_close(side->transport, side_is_closed);
        while (!side->is_closed)
            loop_run(side->loop);
        transport_free(side->transport);
    }
    if (side->loop != NULL)
        loop_close(side->loop);
    if (side->arena != NULL) {
        arena_landing_put(side->arena, side->landing);
        arena_close(side->arena);
    }
}

static void side_up(struct side *side, struct transport_peer *peer)
{
    struct err_trail trail = {0};
    side->is_up = true;
    enum err e = transport_grant(peer, side->landing, &trail);
    if (e == ERR_OK)
        return;
    snprintf(side->sentence, sizeof side->sentence, "%s", err_trail_text(&trail, e));
    transport_fence(peer);
}

static void side_down(struct side *side, const char *sentence)
{
    side->is_down = true;
    if (side->sentence[0] == '\0')
        snprintf(side->sentence, sizeof side->sentence, "%s", sentence);
    loop_stop(side->loop);
}

/* ---- the server ---- */

struct server {
    struct side side;
    const struct bench_transport_options *options;
    /* Acks the CTL lane had no room for. */
    uint32_t unsent[TRANSPORT_META_DEPTH + TRANSPORT_BULK_DEPTH];
    uint32_t unsent_from, unsent_to;
    struct transport_peer *peer; /* while it is up */
    struct loop_msg turn;
    bool turn_posted;
    uint64_t wrong;
    atomic_bool is_stopping;
    pthread_t thread;
};

/* At the end of a turn: one message acknowledges all that landed in it, as the protocol's do. */
static void send_acks(struct server *server)
{
    uint8_t ack[TRANSPORT_CTL_BYTES_MAX];
    while (server->peer != NULL && server->unsent_from != server->unsent_to) {
        uint32_t count = server->unsent_to - server->unsent_from;
        if (count > sizeof ack / 4)
            count = sizeof ack / 4;
        for (uint32_t i = 0; i < count; i++)
            put_le32(ack + (size_t)4 * i,
                     server->unsent[(server->unsent_from + i) % COUNT_OF(server->unsent)]);
        if (transport_ctl(server->peer, ack, (size_t)4 * count) != ERR_OK)
            return; /* room() or down() follows */
        server->unsent_from += count;
    }
}

static void turn_ends(struct loop_msg *msg)
{
    struct server *server = CONTAINER_OF(msg, struct server, turn);
    server->turn_posted = false;
    send_acks(server);
}

static void server_up(void *context, struct transport_peer *peer)
{
    ((struct server *)context)->peer = peer;
    side_up(context, peer);
}

static void server_down(void *context, struct transport_peer *peer, enum transport_end why,
                        const char *sentence)
{
    ((struct server *)context)->peer = NULL;
    side_down(context, sentence);
}

/* The immediate value says the slot, what lies there its number; both go back as the ack. */
static void server_write_in(void *context, struct transport_peer *peer, enum transport_lane lane,
                            uint32_t imm, uint32_t size)
{
    struct server *server = context;
    const uint8_t *at = server->side.landing->data + place_of(lane, imm >> 24);
    server->wrong += get_le32(at) != imm || get_le32(at + size - 4) != imm;
    server->unsent[server->unsent_to++ % COUNT_OF(server->unsent)] =
        server->wrong == 0 ? imm : ~imm;
    if (server->turn_posted)
        return;
    server->turn_posted = true;
    server->turn.deliver = turn_ends;
    loop_post(server->side.loop, &server->turn);
}

static void server_room(void *context, struct transport_peer *peer, enum transport_lane lane)
{
    send_acks(context);
}

static const struct transport_handlers server_handlers = {
    .up = server_up, .down = server_down, .write_in = server_write_in, .room = server_room};

static void *server_run(void *context)
{
    struct server *server = context;
    while (!server->side.is_down && !atomic_load(&server->is_stopping))
        loop_run_once(server->side.loop, WAKE_NS);
    while (server->turn_posted)
        loop_run_once(server->side.loop, 0);
    side_close(&server->side);
    return NULL;
}

enum err bench_transport_serve(const struct bench_transport_options *options,
                               void (*serving)(const struct transport_status *status),
                               struct err_trail *trail)
{
    struct server server = {.options = options};
    enum err e = side_open(&server.side, options, &options->from, options->from_size, 2,
                           &server_handlers, &server, trail);
    if (e) {
        side_close(&server.side);
        return e;
    }
    struct transport_status status;
    transport_status(server.side.transport, &status);
    serving(&status);
    (void)server_run(&server);
    return ERR_OK;
}

/* ---- the client ---- */

struct client_write {
    struct transport_write write;
    struct client *client;
    uint32_t slot; /* its number: where its bytes lie here and land there */
    uint64_t posted_ns;
    bool is_unwritten, is_unacked;
};

struct client {
    struct side side;
    struct transport_peer *peer;
    struct client_write writes[BENCH_DEPTH_SMALL];
    struct bench_transport_figure *figure; /* being measured */
    uint32_t number, in_flight;
    uint64_t until_ns;
    struct slot *small, *large[BENCH_DEPTH_LARGE]; /* what is sent */
    uint32_t *samples;                             /* owned: BENCH_SAMPLES_MAX */
    uint32_t sample_count;
    bool is_granted, is_wrong;
};

static void client_up(void *context, struct transport_peer *peer)
{
    struct client *client = context;
    client->peer = peer;
    side_up(&client->side, peer);
}

static void client_down(void *context, struct transport_peer *peer, enum transport_end why,
                        const char *sentence)
{
    struct client *client = context;
    client->peer = NULL;
    side_down(&client->side, sentence);
}

static void client_granted(void *context, struct transport_peer *peer, uint8_t region,
                           uint64_t size)
{
    struct client *client = context;
    client->is_granted = true;
    loop_stop(client->side.loop);
}

static void client_go_on(struct client *client, struct client_write *one);

static void client_written(struct transport_write *write, enum err e)
{
    struct client_write *one = CONTAINER_OF(write, struct client_write, write);
    one->is_unwritten = false;
    if (e == ERR_OK)
        client_go_on(one->client, one);
}

/* Its memory and its slot are free again only when it was both written and acknowledged. */
static void client_go_on(struct client *client, struct client_write *one)
{
    const struct bench_transport_figure *figure = client->figure;
    if (one->is_unwritten || one->is_unacked)
        return;
    if (bench_now_ns() >= client->until_ns) {
        client->in_flight--;
        if (client->in_flight == 0)
            loop_stop(client->side.loop);
        return;
    }
    uint32_t imm = one->slot << 24 | (++client->number & 0xffffff);
    uint8_t *data = figure->lane == LANE_META ? client->small->data + (size_t)one->slot * 4096
                                              : client->large[one->slot]->data;
    put_le32(data, imm);
    put_le32(data + figure->size - 4, imm);
    one->write = (struct transport_write){.written = client_written,
                                          .lane = figure->lane,
                                          .imm = imm,
                                          .offset = place_of(figure->lane, one->slot),
                                          .piece_count = 1,
                                          .pieces = {{data, figure->size}}};
    one->is_unwritten = one->is_unacked = true;
    one->posted_ns = bench_now_ns();
    enum err e = transport_write(client->peer, &one->write);
    CHECK(e == ERR_OK || e == ERR_CLOSED); /* the depth is below the lane's */
    if (e)
        one->is_unwritten = false;
}

static void client_ack(struct client *client, uint32_t imm)
{
    struct client_write *one = &client->writes[(imm >> 24) % BENCH_DEPTH_SMALL];
    if (!one->is_unacked || one->write.imm != imm) {
        client->is_wrong = true;
        transport_fence(client->peer);
        return;
    }
    one->is_unacked = false;
    client->figure->writes++;
    if (client->sample_count < BENCH_SAMPLES_MAX)
        client->samples[client->sample_count++] = (uint32_t)(bench_now_ns() - one->posted_ns);
    client_go_on(client, one);
}

static void client_ctl(void *context, struct transport_peer *peer, const uint8_t *data, size_t size)
{
    for (size_t at = 0; at + 4 <= size; at += 4)
        client_ack(context, get_le32(data + at));
}

static const struct transport_handlers client_handlers = {
    .up = client_up, .down = client_down, .granted = client_granted, .ctl_in = client_ctl};

static void client_measure(struct client *client, struct bench_transport_figure *figure,
                           double seconds)
{
    struct transport_counts before, after;
    transport_counts(client->side.transport, &before);
    client->figure = figure;
    client->sample_count = 0;
    client->in_flight = figure->depth;
    uint64_t began = bench_now_ns(), cpu = bench_cpu_ns();
    client->until_ns = began + (uint64_t)(seconds * (double)NS_PER_SECOND);
    for (uint32_t i = 0; i < figure->depth; i++)
        client_go_on(client, &client->writes[i]);
    while (client->in_flight > 0 && !client->side.is_down)
        loop_run(client->side.loop);
    figure->elapsed_ns = bench_now_ns() - began;
    figure->cpu_ns = bench_cpu_ns() - cpu;
    transport_counts(client->side.transport, &after);
    figure->system_calls = after.system_calls - before.system_calls;
    bench_percentiles(client->samples, client->sample_count, &figure->p50_ns, &figure->p99_ns);
}

static void wait_is_over(struct timer *timer)
{
    /* Only ends the loop's sleep: who waits looks at the time. */
}

static enum err client_connect(struct client *client, const struct sockaddr *to, socklen_t to_size,
                               struct err_trail *trail)
{
    struct timer limit = {0};
    struct transport_peer *peer;
    uint64_t until = bench_now_ns() + UP_NS;
    enum err e = transport_connect(client->side.transport, to, to_size, &peer, trail);
    if (e)
        return e;
    timer_start(client->side.loop, &limit, UP_NS, wait_is_over);
    while (!client->is_granted && !client->side.is_down && bench_now_ns() < until)
        loop_run_once(client->side.loop, UP_NS);
    timer_stop(client->side.loop, &limit);
    if (client->is_granted)
        return ERR_OK;
    return err_say(trail, ERR_TIMEOUT, "%s",
                   client->side.is_down ? client->side.sentence : "the other side granted nothing");
}

_Static_assert(BENCH_DEPTH_SMALL * 4096 <= SLOT_SMALL_BYTES, "all small writes have room");

static void client_take_memory(struct client *client)
{
    struct arena_share *share = arena_share(client->side.arena, 0);
    client->small = slot_take(share, SLOT_SMALL);
    for (uint32_t i = 0; i < BENCH_DEPTH_LARGE; i++)
        client->large[i] = slot_take(share, SLOT_LARGE);
    for (uint32_t i = 0; i < BENCH_DEPTH_SMALL; i++) {
        client->writes[i].client = client;
        client->writes[i].slot = i;
    }
}

static void client_put_memory(struct client *client)
{
    slot_put(client->small);
    for (uint32_t i = 0; i < BENCH_DEPTH_LARGE; i++)
        slot_put(client->large[i]);
}

static void client_run(struct client *client, const struct bench_transport_options *options,
                       const struct sockaddr *to, socklen_t to_size,
                       struct bench_transport_result *result)
{
    struct err_trail trail = {0};
    memcpy(result->figures, plan, sizeof plan);
    result->e = side_open(&client->side, options, &options->from, options->from_size, 1,
                          &client_handlers, client, &trail);
    if (result->e == ERR_OK) {
        client_take_memory(client);
        transport_status(client->side.transport, &result->status);
        result->e = client_connect(client, to, to_size, &trail);
    }
    if (result->e) {
        snprintf(result->sentence, sizeof result->sentence, "%s",
                 err_trail_text(&trail, result->e));
        return;
    }
    snprintf(result->peer, sizeof result->peer, "%s", transport_peer_address(client->peer));
    for (unsigned i = 0; i < BENCH_FIGURES && !client->side.is_down; i++)
        client_measure(client, &result->figures[i], options->seconds);
    if (client->side.is_down) {
        result->e = client->is_wrong ? ERR_CORRUPT : ERR_PEER_CLOSED;
        snprintf(result->sentence, sizeof result->sentence, "%s",
                 client->is_wrong ? "a write landed with other bytes than were sent"
                                  : client->side.sentence);
    }
}

void bench_transport_run(const struct bench_transport_options *options,
                         struct bench_transport_result *result)
{
    struct client client = {.samples = malloc(BENCH_SAMPLES_MAX * sizeof(uint32_t))};
    struct server server = {.options = options};
    struct sockaddr_storage to = options->to;
    struct err_trail trail = {0};
    bool has_server = false;
    *result = (struct bench_transport_result){0};
    if (client.samples == NULL)
        result->e = ERR_NO_MEMORY;
    if (result->e == ERR_OK && options->is_local) {
        result->e = side_open(&server.side, options, &options->to, options->to_size, 2,
                              &server_handlers, &server, &trail);
        if (result->e == ERR_OK) {
            struct transport_status status;
            transport_status(server.side.transport, &status);
            to = status.address;
            has_server = pthread_create(&server.thread, NULL, server_run, &server) == 0;
            if (!has_server)
                result->e = ERR_NO_MEMORY;
        }
        if (result->e)
            snprintf(result->sentence, sizeof result->sentence, "%s",
                     err_trail_text(&trail, result->e));
    }
    if (result->e == ERR_OK)
        client_run(&client, options, (struct sockaddr *)&to, options->to_size, result);
    if (client.peer != NULL)
        transport_fence(client.peer); /* the server sees it and ends */
    atomic_store(&server.is_stopping, true);
    while (client.peer != NULL)
        loop_run_once(client.side.loop, WAKE_NS);
    client_put_memory(&client);
    side_close(&client.side);
    if (has_server)
        CHECK(pthread_join(server.thread, NULL) == 0);
    else
        side_close(&server.side);
    free(client.samples);
}
