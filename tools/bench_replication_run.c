#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "base/rand.h"
#include "tools/bench_replication.h"

#define SAMPLES_MAX (1u << 20)        /* latencies kept: the first million */
#define WAKE_NS     (100 * NS_PER_MS) /* how late an interruption is seen */
#define SMALL_BYTES 4096u
#define LARGE_BYTES SLOT_LARGE_BYTES

_Static_assert(SMALL_BYTES <= INLINE_BYTES_MAX && LARGE_BYTES > INLINE_BYTES_MAX,
               "the small ones are in the record, the large ones are bodies");

/* ---- an interruption ---- */

static atomic_bool is_interrupted;

static void interrupt(int number)
{
    atomic_store(&is_interrupted, true);
}

struct handlers {
    struct sigaction before[2];
};
static const int interrupts[] = {SIGINT, SIGTERM};

static void handlers_set(struct handlers *handlers)
{
    atomic_store(&is_interrupted, false);
    struct sigaction action = {.sa_handler = interrupt};
    for (size_t i = 0; i < COUNT_OF(interrupts); i++)
        CHECK(sigaction(interrupts[i], &action, &handlers->before[i]) == 0);
}

static void handlers_reset(const struct handlers *handlers)
{
    for (size_t i = 0; i < COUNT_OF(interrupts); i++)
        CHECK(sigaction(interrupts[i], &handlers->before[i], NULL) == 0);
}

/* ---- the client: objects stored one after the other, `depth` at a time ---- */

struct client;
struct op {
    struct client *client;
    struct body *body; /* owned until it is proposed */
    struct body_write write;
    struct mutation m;
    uint8_t *data; /* in the arena: the op's alone */
    char key[32];
    uint64_t began_ns;
};

struct client {
    struct bench_node *node;
    struct bucket_id bucket;
    struct op *ops;                                                /* owned: BENCH_IN_FLIGHT_MAX */
    uint32_t *samples;                                             /* owned: SAMPLES_MAX */
    struct slot *small[BENCH_IN_FLIGHT_MAX], *large[BENCH_BODIES]; /* what is sent */
    uint32_t small_count;
    struct bench_replication_figure *figure; /* being measured */
    uint64_t number, until_ns;
    uint32_t in_flight, sample_count;
    enum err e; /* the first failure: ends it */
    struct err_trail trail;
};

/* The op ends and no other takes its place. */
static void op_fail(struct op *op, enum err e, const struct err_trail *trail)
{
    struct client *client = op->client;
    if (client->e == ERR_OK) {
        client->e = e;
        client->trail = *trail;
    }
    group_body_close(client->node->group, TAKE(op->body));
    client->in_flight--;
}

static void op_begin(struct op *op);

static void op_done(struct mutation *m)
{
    struct op *op = CONTAINER_OF(m, struct op, m);
    struct client *client = op->client;
    struct bench_replication_figure *figure = client->figure;
    const struct receipt *receipt = &m->receipt;
    uint64_t now = bench_now_ns();
    if (m->err) {
        op_fail(op, m->err, &m->trail);
        return;
    }
    uint32_t replicas = receipt->synced ? receipt->replicas_synced : 0;
    if (figure->operations++ == 0 || replicas < figure->replicas_least)
        figure->replicas_least = replicas;
    figure->by_rdma += receipt->by_rdma;
    figure->by_tcp += receipt->by_tcp;
    if (client->sample_count < SAMPLES_MAX) {
        uint64_t took = now - op->began_ns;
        client->samples[client->sample_count++] = took > UINT32_MAX ? UINT32_MAX : (uint32_t)took;
    }
    if (now < client->until_ns && client->e == ERR_OK && !atomic_load(&is_interrupted))
        op_begin(op);
    else
        client->in_flight--;
}

static void op_written(struct body_write *write, enum err e)
{
    struct op *op = CONTAINER_OF(write, struct op, write);
    struct client *client = op->client;
    if (e) {
        struct err_trail trail = {0};
        op_fail(op, e, &trail);
        return;
    }
    op->m = (struct mutation){
        .kind = MUTATION_OBJECT_PUT,
        .bucket = client->bucket,
        .key = bytes_of_string(op->key),
        .body = TAKE(op->body),
        .size = client->figure->size,
        .loop = client->node->loop,
        .done = op_done,
    };
    group_propose(client->node->group, &op->m);
}

/* Each a new object of other bytes. */
static void op_begin(struct op *op)
{
    struct client *client = op->client;
    struct group *group = client->node->group;
    uint32_t size = client->figure->size;
    struct err_trail trail = {0};
    snprintf(op->key, sizeof op->key, "%u/%016llx", size, (unsigned long long)++client->number);
    put_le64(op->data, client->number);
    op->began_ns = bench_now_ns();
    op->write = (struct body_write){0};
    struct body_options body = {.loop = client->node->loop, .size = size};
    enum err e = group_body_open(group, &body, &op->body, &trail);
    if (e == ERR_OK)
        e = group_body_write(group, op->body, &op->write, op->data, size, true, op_written, &trail);
    if (e)
        op_fail(op, e, &trail);
}

/* All ops over and over until `until_ns`: each at least once. */
static void client_store(struct client *client, uint64_t until_ns)
{
    client->until_ns = until_ns;
    client->in_flight = client->figure->depth;
    for (uint32_t i = 0; i < client->figure->depth; i++)
        op_begin(&client->ops[i]);
    while (client->in_flight > 0) /* the group bounds each op */
        loop_run_once(client->node->loop, WAKE_NS);
}

static void client_measure(struct client *client, struct bench_replication_figure *figure,
                           double seconds)
{
    const struct bench_replication_figure planned = *figure;
    client->figure = figure;
    for (uint32_t i = 0; i < figure->depth; i++)
        client->ops[i].data = figure->size == LARGE_BYTES
                                  ? client->large[i]->data
                                  : client->small[i / (SLOT_SMALL_BYTES / SMALL_BYTES)]->data +
                                        i % (SLOT_SMALL_BYTES / SMALL_BYTES) * SMALL_BYTES;
    client_store(client, 0); /* once, not counted: segments and connections are ready then */
    if (client->e || atomic_load(&is_interrupted))
        return;
    *figure = planned;
    client->sample_count = 0;
    uint64_t began = bench_now_ns(), cpu = bench_cpu_ns();
    client_store(client, began + (uint64_t)(seconds * (double)NS_PER_SECOND));
    figure->elapsed_ns = bench_now_ns() - began;
    figure->cpu_ns = bench_cpu_ns() - cpu;
    bench_percentiles(client->samples, client->sample_count, &figure->p50_ns, &figure->p99_ns);
}

static struct slot *filled_slot(struct client *client, enum slot_size size)
{
    struct slot *slot = slot_take(loop_arena(client->node->loop), size);
    CHECK(slot != NULL); /* the arena was sized for it and nobody else takes */
    rand_fill(rand_system(), slot->data, slot->size);
    return slot;
}

static enum err client_open(struct client *client, struct bench_node *node, uint32_t in_flight,
                            struct err_trail *trail)
{
    *client = (struct client){.node = node};
    client->ops = calloc(BENCH_IN_FLIGHT_MAX, sizeof *client->ops);
    client->samples = malloc(SAMPLES_MAX * sizeof *client->samples);
    if (client->ops == NULL || client->samples == NULL)
        return err_say(trail, ERR_NO_MEMORY, "get memory");
    for (uint32_t i = 0; i < BENCH_IN_FLIGHT_MAX; i++)
        client->ops[i].client = client;
    while (client->small_count * (SLOT_SMALL_BYTES / SMALL_BYTES) < in_flight)
        client->small[client->small_count++] = filled_slot(client, SLOT_SMALL);
    for (uint32_t i = 0; i < BENCH_BODIES; i++)
        client->large[i] = filled_slot(client, SLOT_LARGE);
    struct mutation m = {.kind = MUTATION_BUCKET_CREATE,
                         .bucket_name = BYTES("bench"),
                         .owner = BYTES("bench"),
                         .region = BYTES("us-east-1")};
    enum err e = group_propose_wait(node->group, &m);
    if (e)
        *trail = m.trail;
    client->bucket = m.new_bucket;
    return e;
}

static void client_close(struct client *client)
{
    for (uint32_t i = 0; i < client->small_count; i++)
        slot_put(client->small[i]);
    for (uint32_t i = 0; i < BENCH_BODIES; i++)
        slot_put(client->large[i]);
    free(client->ops);
    free(client->samples);
}

/* ---- one set of nodes, both sizes ---- */

/* A receipt that names fewer nodes than there are is another measurement than the one asked for. */
static enum err judge(const struct bench_replication_figure *figure, struct err_trail *trail)
{
    if (figure->operations > 0 && figure->replicas_least == figure->nodes)
        return ERR_OK;
    return err_say(trail, ERR_BUSY, "%s: a receipt says replicas %u/%u: the group lost a node",
                   figure->name, figure->replicas_least, figure->nodes);
}

static enum err measure_with(struct client *client, const struct bench_replication_options *options,
                             struct bench_replication_figure *figures, struct err_trail *trail)
{
    for (unsigned i = 0; i < 2; i++) {
        client_measure(client, &figures[i], options->seconds);
        if (client->e) {
            *trail = client->trail;
            return err_note(trail, client->e, "%s", figures[i].name);
        }
        if (atomic_load(&is_interrupted))
            return err_say(trail, ERR_CLOSED, "interrupted");
        enum err e = judge(&figures[i], trail);
        if (e)
            return e;
    }
    return ERR_OK;
}

static void describe(const struct bench_node *node, struct bench_replication_result *result)
{
    struct group_status group;
    struct volume_status volume;
    group_status(node->group, &group);
    volume_status(node->volume, &volume);
    snprintf(result->backend, sizeof result->backend, "%s", group.backend);
    snprintf(result->device, sizeof result->device, "%s", group.device);
    snprintf(result->reason, sizeof result->reason, "%s", group.backend_reason);
    snprintf(result->file_system, sizeof result->file_system, "%s", volume.file_system);
    result->is_direct = volume.direct;
}

static enum err measure_nodes(const struct bench_replication_options *options, const char *dir,
                              unsigned count, struct bench_replication_result *result,
                              struct err_trail *trail)
{
    struct bench_nodes *nodes = malloc(sizeof *nodes);
    struct bench_replication_figure *figures = &result->figures[count > 1 ? 2 : 0];
    struct bench_node *primary = NULL;
    if (nodes == NULL)
        return ERR_NO_MEMORY;
    figures[0] = (struct bench_replication_figure){
        .name = "4 KiB", .size = SMALL_BYTES, .depth = options->in_flight, .nodes = count};
    figures[1] = (struct bench_replication_figure){
        .name = "1 MiB", .size = LARGE_BYTES, .depth = BENCH_BODIES, .nodes = count};
    enum err e = bench_nodes_open(nodes, options, dir, count > 1 ? "group" : "alone", count, trail);
    if (e == ERR_OK)
        e = bench_nodes_wait(nodes, &is_interrupted, &primary, trail);
    if (e == ERR_OK) {
        struct client client;
        describe(primary, result);
        e = client_open(&client, primary, options->in_flight, trail);
        if (e == ERR_OK)
            e = measure_with(&client, options, figures, trail);
        client_close(&client);
    }
    bench_nodes_close(nodes);
    free(nodes);
    return e;
}

/* ---- the scratch directory ---- */

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *where)
{
    return remove(path);
}

static enum err remove_tree(const char *dir, struct err_trail *trail)
{
    if (nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0)
        return ERR_OK;
    return err_say(trail, err_from_errno(errno), "remove %s: %s", dir, strerror(errno));
}

static enum err run_in(const struct bench_replication_options *options,
                       struct bench_replication_result *result, struct err_trail *trail)
{
    char dir[NODE_PATH_MAX];
    int size = snprintf(dir, sizeof dir, "%s/sluice-bench-XXXXXX", options->dir);
    if (size < 0 || (size_t)size >= sizeof dir)
        return err_say(trail, ERR_INVALID, "--dir: the path is too long");
    if (mkdtemp(dir) == NULL)
        return err_say(trail, err_from_errno(errno), "make a directory in %s: %s", options->dir,
                       strerror(errno));
    enum err e = measure_nodes(options, dir, 1, result, trail);
    if (e == ERR_OK)
        e = measure_nodes(options, dir, options->node_count, result, trail);
    struct err_trail removal = {0};
    enum err e_removal = remove_tree(dir, &removal);
    if (e == ERR_OK && e_removal != ERR_OK) {
        *trail = removal;
        e = e_removal;
    }
    return e;
}

void bench_replication_run(const struct bench_replication_options *options,
                           struct bench_replication_result *result)
{
    struct handlers handlers;
    struct err_trail trail = {0};
    *result = (struct bench_replication_result){0};
    handlers_set(&handlers);
    result->e = run_in(options, result, &trail);
    handlers_reset(&handlers);
    if (result->e)
        snprintf(result->sentence, sizeof result->sentence, "%s",
                 err_trail_text(&trail, result->e));
}
