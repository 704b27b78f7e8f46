#include "replication/cluster_priv.h"

#include <stdlib.h>

/*
 * The gateway's side of a body: the slot that is being written to this node's disk also leaves for
 * every peer. Worker loops come here; the links are the group's loop's, so a slot goes there and
 * back by message.
 */

struct gateway_write {
    struct gateway_write *next; /* free list */
    struct cluster *cluster;
    struct loop *loop;        /* the body's */
    struct body_write *write; /* the caller's */
    body_written_fn *written;
    struct loop_msg there, back;
    struct link_chunk_head head;
    const uint8_t *data;
    struct gateway_chunk {
        struct link_chunk chunk;
        struct gateway_write *gateway;
    } chunks[GROUP_NODES_MAX];
    /* On the group's loop, one more while chunks are handed out. */
    unsigned written_pending, landed_pending;
    atomic_uint users; /* both loops */
    /* the body's loop */
    bool is_local_done, is_sent;
    enum err err;
};

static struct gateway_write *take_gateway(struct cluster *cluster)
{
    pthread_mutex_lock(&cluster->gateway_lock);
    struct gateway_write *gateway = cluster->gateway_free;
    if (gateway != NULL)
        cluster->gateway_free = gateway->next;
    pthread_mutex_unlock(&cluster->gateway_lock);
    return gateway != NULL ? gateway : calloc(1, sizeof *gateway);
}

static void put_gateway(struct gateway_write *gateway)
{
    struct cluster *cluster = gateway->cluster;
    if (atomic_fetch_sub(&gateway->users, 1) > 1)
        return;
    pthread_mutex_lock(&cluster->gateway_lock);
    gateway->next = cluster->gateway_free;
    cluster->gateway_free = gateway;
    pthread_mutex_unlock(&cluster->gateway_lock);
}

void cluster__gateway_fini(struct cluster *cluster)
{
    while (cluster->gateway_free != NULL) {
        struct gateway_write *next = cluster->gateway_free->next;
        free(cluster->gateway_free);
        cluster->gateway_free = next;
    }
    pthread_mutex_destroy(&cluster->gateway_lock);
}

/* ---- the body's loop ---- */

static void finish(struct gateway_write *gateway)
{
    if (!gateway->is_local_done || !gateway->is_sent)
        return;
    body_written_fn *written = gateway->written;
    struct body_write *write = gateway->write;
    enum err e = gateway->err;
    put_gateway(gateway); /* before: who is told may be the last that keeps the cluster open */
    written(write, e);    /* its slot, and it, may be gone now */
}

static void local_done(struct body_write *write, enum err e)
{
    struct gateway_write *gateway = write->user;
    gateway->is_local_done = true;
    gateway->err = e;
    finish(gateway);
}

static void came_back(struct loop_msg *msg)
{
    struct gateway_write *gateway = CONTAINER_OF(msg, struct gateway_write, back);
    gateway->is_sent = true;
    finish(gateway);
}

/* ---- the group's loop ---- */

/* All bytes have left, or never will: the slot goes back. */
static void one_written(struct gateway_write *gateway)
{
    if (--gateway->written_pending == 0)
        loop_post(gateway->loop, &gateway->back);
}

static void one_landed(struct gateway_write *gateway)
{
    if (--gateway->landed_pending == 0)
        put_gateway(gateway);
}

static void chunk_written(struct link_chunk *chunk, enum err e)
{
    (void)e; /* a peer that was lost pulls what it lacks */
    one_written(CONTAINER_OF(chunk, struct gateway_chunk, chunk)->gateway);
}

static void chunk_landed(struct link_chunk *chunk, enum err e)
{
    struct gateway_write *gateway = CONTAINER_OF(chunk, struct gateway_chunk, chunk)->gateway;
    if (e == ERR_OK)
        ((struct peer *)link_user(chunk->link))->landed_bytes += chunk->head.size;
    one_landed(gateway);
}

/* Again, when a place has come back since. */
static bool takes_no_bodies(struct peer *peer)
{
    peer->takes_no_bodies &= link_chunks_back(peer->link) == peer->places_back;
    return peer->takes_no_bodies;
}

static void send_chunks(struct loop_msg *msg)
{
    struct gateway_write *gateway = CONTAINER_OF(msg, struct gateway_write, there);
    struct cluster *cluster = gateway->cluster;
    gateway->written_pending = gateway->landed_pending = 1;
    for (unsigned i = 0; i < cluster->node_count; i++) {
        struct peer *peer = &cluster->peers[i];
        if (peer->link == NULL || !peer->is_up || takes_no_bodies(peer))
            continue;
        struct link_chunk *chunk = &gateway->chunks[i].chunk;
        gateway->chunks[i].gateway = gateway;
        *chunk = (struct link_chunk){
            .head = gateway->head,
            .data = gateway->data,
            .written = chunk_written,
            .landed = chunk_landed,
        };
        if (link_chunk_send(peer->link, chunk) != ERR_OK)
            continue;
        gateway->written_pending++;
        gateway->landed_pending++;
    }
    one_written(gateway);
    one_landed(gateway);
}

/* ---- from the gateway ---- */

static void note_head(struct gateway_write *gateway, const struct body *body, uint64_t offset,
                      uint32_t size, bool last)
{
    uint32_t count;
    const uint64_t *sums = body_sums(body, &count);
    uint32_t first = (uint32_t)(offset / SUM_CHUNK_BYTES);
    gateway->head = (struct link_chunk_head){
        .data = body_data_id(body),
        .data_size = body_size_expected(body),
        .offset = offset,
        .size = size,
        .last = last,
        .sum_count = count - first,
    };
    CHECK(gateway->head.sum_count <= COUNT_OF(gateway->head.sums));
    memcpy(gateway->head.sums, sums + first, gateway->head.sum_count * sizeof *sums);
}

enum err cluster_write(struct cluster *cluster, struct body *body, struct body_write *write,
                       uint8_t *data, uint32_t size, bool last, body_written_fn *written,
                       struct err_trail *trail)
{
    struct gateway_write *gateway = take_gateway(cluster);
    if (gateway == NULL)
        return err_note(trail, ERR_BUSY, "no memory for another slot on its way to the peers");
    uint64_t offset = body_size(body);
    enum err e = body_write(body, write, data, size, last, local_done, trail);
    bool stays = e == ERR_OK && (body_is_inline(body) || size == 0);
    if (e || stays) {
        if (stays)
            write->written = written; /* nothing leaves before the record does */
        atomic_store(&gateway->users, 1);
        gateway->cluster = cluster;
        put_gateway(gateway);
        return e;
    }
    gateway->cluster = cluster;
    gateway->loop = body_loop(body);
    gateway->write = write;
    gateway->written = written;
    gateway->data = data;
    gateway->is_local_done = gateway->is_sent = false;
    gateway->there.deliver = send_chunks;
    gateway->back.deliver = came_back;
    atomic_store(&gateway->users, 2);
    note_head(gateway, body, offset, size, last);
    write->user = gateway;
    body_set_user(body, cluster); /* peers have bytes of it */
    loop_post(cluster->loop, &gateway->there);
    return ERR_OK;
}

/* ---- a body that will have no name ---- */

struct gateway_drop {
    struct loop_msg msg;
    struct cluster *cluster;
    struct data_id id;
};

void cluster__drop_at_peers(struct cluster *cluster, struct data_id id)
{
    uint8_t bytes[LINK_CTL_BYTES_MAX];
    size_t size = message_drop_encode(id, bytes);
    for (unsigned i = 0; i < cluster->node_count; i++)
        cluster__ctl(&cluster->peers[i], bytes, size); /* lost: they forget it after a while */
}

static void drop(struct loop_msg *msg)
{
    struct gateway_drop *dropped = CONTAINER_OF(msg, struct gateway_drop, msg);
    cluster__drop_at_peers(dropped->cluster, dropped->id);
    free(dropped);
}

void cluster_body_close(struct cluster *cluster, struct body *body)
{
    if (body == NULL)
        return;
    if (body_user(body) != NULL) {
        struct gateway_drop *dropped = calloc(1, sizeof *dropped);
        if (dropped != NULL) {
            dropped->cluster = cluster;
            dropped->id = body_data_id(body);
            dropped->msg.deliver = drop;
            loop_post(cluster->loop, &dropped->msg);
        }
    }
    body_close(body);
}
