#include "replication/cluster_priv.h"

#include <stdlib.h>

#include "base/log.h"

/*
 * A copy of this node's index for a peer that the log cannot fill any more: the primary's side. One
 * copy a peer, out of one snapshot, which lives while the peer asks for run after run; where it is,
 * the peer says in each question, so nothing is kept here but the snapshot.
 *
 * And the log is kept for it: every node holds on to the records behind the copy's until the peer
 * has caught up, or nothing has been heard of it for CLUSTER_HOLD_NS, or space is short here.
 */

#define SERVE_IDLE_NS (20 * NS_PER_SECOND)

static void run_closed(struct work *work)
{
    struct peer *peer = CONTAINER_OF(work, struct peer, serve.work);
    copy_source_close(TAKE(peer->serve.old));
}

static void is_closed(struct work *work)
{
    struct copy_serve *serve = &CONTAINER_OF(work, struct peer, serve.work)->serve;
    serve->is_running = serve->is_over = false;
}

/* Letting go of a snapshot may wait for the index, so that is the pool's. */
static void serve_end(struct peer *peer)
{
    struct copy_serve *serve = &peer->serve;
    if (serve->is_running) {
        serve->is_over = true; /* when the run is read */
        return;
    }
    free(TAKE(serve->rows));
    serve->id = 0;
    serve->is_over = false;
    if (serve->source == NULL)
        return;
    serve->old = TAKE(serve->source);
    serve->is_running = true;
    serve->work = (struct work){.run = run_closed, .done = is_closed, .loop = peer->cluster->loop};
    work_submit(peer->cluster->work_pool, &serve->work);
}

static void say_lost(struct peer *peer, uint64_t id)
{
    uint8_t bytes[LINK_CTL_BYTES_MAX];
    cluster__ctl(peer, bytes, message_copy_lost_encode(id, bytes)); /* lost: asked again */
}

/* ---- on the pool ---- */

static void read_run(struct work *work)
{
    struct peer *peer = CONTAINER_OF(work, struct peer, serve.work);
    struct copy_serve *serve = &peer->serve;
    serve->err = ERR_OK;
    err_trail_reset(&serve->trail);
    copy_source_close(TAKE(serve->old));
    if (serve->source == NULL)
        serve->err = copy_source_open(peer->cluster->volume, &serve->source, &serve->trail);
    if (serve->err == ERR_OK)
        serve->err = copy_source_read(serve->source, serve->family, key_bytes(&serve->after),
                                      serve->rows, &serve->upto, &serve->run);
}

/* ---- runs ---- */

static void send_run(struct peer *peer)
{
    struct copy_serve *serve = &peer->serve;
    struct message_copy_run run = {
        .id = serve->id,
        .psn = copy_source_psn(serve->source),
        .term = copy_source_term(serve->source),
        .rows_in_all = copy_source_rows(serve->source),
        .run = serve->run,
    };
    uint8_t head[MESSAGE_COPY_RUN_BYTES];
    message_copy_run_encode(&run, head);
    struct bytes parts[] = {bytes_of(head, sizeof head), run.run.after, run.run.upto, run.run.rows};
    (void)cluster__message(peer, MESSAGE_COPY_RUN, parts, COUNT_OF(parts)); /* no: asked again */
}

static void run_is_read(struct work *work)
{
    struct peer *peer = CONTAINER_OF(work, struct peer, serve.work);
    struct cluster *cluster = peer->cluster;
    struct copy_serve *serve = &peer->serve;
    serve->is_running = false;
    if (serve->is_over || cluster->is_stopped) {
        serve_end(peer);
        return;
    }
    if (serve->err) {
        LOG_LIMITED(LOG_WARN, "replication", "the index is not copied to node %u: %s", peer->node,
                    err_trail_text(&serve->trail, serve->err));
        say_lost(peer, serve->id);
        serve_end(peer);
        return;
    }
    cluster__hold_log(peer, copy_source_psn(serve->source));
    send_run(peer);
}

/* A snapshot has no largest age: what began again would take as long once more. What it costs is
 * space, of what is replaced and deleted meanwhile, so it is for when there is space. */
static bool has_space(const struct cluster *cluster)
{
    struct volume_status status;
    volume_status(cluster->volume, &status);
    return status.state == VOLUME_OK;
}

/* Who is in sync is not to be emptied, and who is asked must know what is committed. */
static bool may_serve(const struct cluster *cluster, const struct peer *peer)
{
    return has_space(cluster) && cluster->has_config && !cluster->is_stopped &&
           cluster->pg.role == PG_OPEN && !pg_mask_has(cluster->pg.d.config.in_sync, peer->index) &&
           !pg_mask_has(cluster->pg.armed, peer->index);
}

static bool begin(struct cluster *cluster, struct peer *peer, const struct message_copy_ask *ask)
{
    peer->serve.old = TAKE(peer->serve.source); /* of a copy that it has given up */
    if (peer->serve.rows == NULL)
        peer->serve.rows = malloc(COPY_ROWS_BYTES_MAX);
    if (peer->serve.rows == NULL) {
        peer->serve.source = TAKE(peer->serve.old);
        serve_end(peer);
        return false;
    }
    peer->serve.id = ask->id;
    /* What it had acknowledged it has no more: its log is matched anew when it comes back. */
    pg_peer_disk_changed(&cluster->pg, peer->index);
    LOG(LOG_INFO, "replication", "node %u is being filled by a copy of the index", peer->node);
    return true;
}

void cluster__copy_asked(struct cluster *cluster, struct peer *peer, struct bytes body)
{
    struct message_copy_ask ask;
    struct copy_serve *serve = &peer->serve;
    if (message_copy_ask_decode(body, &ask) != ERR_OK) {
        link_violated(peer->link, "a question for rows that is none");
        return;
    }
    if (serve->is_running && serve->id == 0)
        say_lost(peer, ask.id); /* the one before is still being closed */
    if (serve->is_running)
        return; /* asked again, or by a life before: it comes again */
    bool is_first = ask.family == cluster__copy_first_family() && ask.after.size == 0;
    bool is_known = ask.id != 0 && ask.id == serve->id;
    if (!may_serve(cluster, peer) || (!is_known && !is_first) ||
        (!is_known && !begin(cluster, peer, &ask))) {
        say_lost(peer, ask.id);
        return;
    }
    serve->family = ask.family;
    memcpy(serve->after.data, ask.after.data, ask.after.size);
    serve->after.size = (uint16_t)ask.after.size;
    serve->asked_ns = cluster__now(cluster);
    serve->is_running = true;
    serve->work = (struct work){.run = read_run, .done = run_is_read, .loop = cluster->loop};
    work_submit(cluster->work_pool, &serve->work);
}

void cluster__copy_serve_down(struct peer *peer)
{
    if (peer->serve.id != 0)
        serve_end(peer);
}

/* ---- the log is kept ---- */

/* Also when it is less than before: names that began again with another primary may be of an
 * earlier record. */
void cluster__hold_log(struct peer *peer, uint64_t psn)
{
    peer->hold.psn = psn;
    peer->hold.until_ns = cluster__now(peer->cluster) + CLUSTER_HOLD_NS;
}

/* Records behind this one are still wanted by somebody. */
uint64_t cluster__held_log(const struct cluster *cluster, uint64_t now_ns)
{
    uint64_t psn = UINT64_MAX;
    if (!has_space(cluster))
        return psn; /* who lags is copied again */
    for (unsigned i = 0; i < cluster->node_count; i++) {
        const struct peer *peer = &cluster->peers[i];
        if (peer->hold.until_ns > now_ns && peer->hold.psn < psn)
            psn = peer->hold.psn;
    }
    return psn;
}

void cluster__copy_state_told(struct peer *peer, const struct message_copy_state *state)
{
    bool is_data = state->bytes_in_all > 0;
    peer->copy = *state;
    peer->copy_told_ns = cluster__now(peer->cluster);
    copy_pace_note(&peer->copy_pace, peer->copy_told_ns, is_data,
                   is_data ? state->bytes : state->rows);
    if (state->psn > 0 && peer->index != peer->cluster->self)
        cluster__hold_log(peer, state->psn);
}

static void give_up(struct peer *peer)
{
    if (!peer->serve.is_over)
        LOG(LOG_WARN, "replication",
            "the copy for node %u is given up, for it keeps what is deleted and space is short "
            "here: "
            "it begins again when there is space",
            peer->node);
    serve_end(peer);
}

/* From the copy's end until it is in sync it catches up by what was kept. */
static void follow(struct cluster *cluster, struct peer *peer, uint64_t now_ns)
{
    const struct pg_peer *known = &cluster->pg.peers[peer->index];
    if (peer->hold.until_ns == 0 || !cluster->has_config)
        return;
    if (pg_mask_has(cluster->pg.d.config.in_sync, peer->index) || peer->hold.until_ns < now_ns)
        peer->hold.until_ns = 0;
    else if (known->is_synced && known->acked > peer->hold.psn)
        cluster__hold_log(peer, known->acked);
}

void cluster__copy_serve_tick(struct cluster *cluster)
{
    for (unsigned i = 0; i < cluster->node_count; i++) {
        struct peer *peer = &cluster->peers[i];
        if (peer->serve.id != 0 && !has_space(cluster))
            give_up(peer);
        if (peer->serve.id != 0 && cluster__now(cluster) > peer->serve.asked_ns + SERVE_IDLE_NS)
            serve_end(peer);
        follow(cluster, peer, cluster__now(cluster));
    }
}

bool cluster__copy_serve_is_idle(const struct cluster *cluster)
{
    for (unsigned i = 0; i < cluster->node_count; i++)
        if (cluster->peers[i].serve.is_running)
            return false;
    return true;
}

void cluster__copy_serve_fini(struct cluster *cluster)
{
    for (unsigned i = 0; i < cluster->node_count; i++) {
        copy_source_close(TAKE(cluster->peers[i].serve.source));
        free(TAKE(cluster->peers[i].serve.rows));
    }
}
