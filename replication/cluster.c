#include "replication/cluster_priv.h"

#include <stdarg.h>
#include <stdlib.h>

#include "base/log.h"

/* Life, time, and the effects that pg asks for. */

#define STATUS_NS (100 * NS_PER_MS)

/* ---- stopping ---- */

/*
 * For good: what this node would say next could be wrong. The others go on without it after their
 * time. Who waits here is told at the next turn: this is called in the midst of walks over them.
 */
void cluster__stop(struct cluster *cluster, enum err e, const char *format, ...)
{
    if (cluster->is_stopped)
        return;
    cluster->is_stopped = true;
    va_list args;
    va_start(args, format);
    vsnprintf(cluster->sentence, sizeof cluster->sentence, format, args);
    va_end(args);
    LOG(LOG_ERROR, "replication", "this node takes no part any more: %s error=%s",
        cluster->sentence, err_name(e));
    atomic_store(&cluster->read_until_ns, 0);
    atomic_store(&cluster->disk_hangs, false); /* the volume says what is the matter */
    cluster__turn_soon(cluster);
}

/* ---- effects of pg ---- */

static void op_send(void *context, uint8_t to, const struct pg_message *message)
{
    cluster__send(context, to, message);
}

static void op_send_records(void *context, uint8_t to, uint64_t from_psn, uint64_t to_psn)
{
    cluster__send_records(context, to, from_psn, to_psn);
}

static void op_save(void *context, uint64_t version, const struct pg_durable *state)
{
    struct cluster *cluster = context;
    cluster->saved = *state;
    cluster->pg_version = version;
    cluster__save(cluster, state->log.last);
}

static void op_append(void *context, uint64_t psn, uint64_t term, const void *record)
{
    cluster__append(context, psn, term, (struct entry *)record);
}

static void op_swap(void *context, const struct pg_config *next)
{
    cluster__swap(context, next);
}

static void op_read_config(void *context)
{
    cluster__read_config(context);
}

static void op_committed(void *context, uint64_t psn, bool may_acknowledge)
{
    cluster__committed(context, psn, may_acknowledge);
}

static void op_opened(void *context)
{
    struct cluster *cluster = context;
    LOG(LOG_INFO, "replication", "primary of term %llu",
        (unsigned long long)cluster->pg.d.config.term);
    cluster__look_at_proposals(cluster);
}

static void op_lost(void *context)
{
    struct cluster *cluster = context;
    atomic_store(&cluster->read_until_ns, 0);
    if (cluster->pg.d.config.primary == cluster->self)
        LOG(LOG_WARN, "replication", "primary of term %llu no longer",
            (unsigned long long)cluster->pg.d.config.term);
    else
        LOG(LOG_WARN, "replication", "no longer primary: node %u is, epoch %llu",
            cluster->peers[cluster->pg.d.config.primary].node,
            (unsigned long long)cluster->pg.d.config.epoch);
    cluster__lost_lead(cluster); /* now: the same step may cut the records they wait for */
}

const struct pg_ops cluster__pg_ops = {
    .send = op_send,
    .send_records = op_send_records,
    .save = op_save,
    .append = op_append,
    .swap = op_swap,
    .read_config = op_read_config,
    .committed = op_committed,
    .opened = op_opened,
    .lost = op_lost,
};

/* What pg has decided in one step is carried on here, when it cannot be asked again from inside. */
void cluster__after_step(struct cluster *cluster)
{
    if (cluster->is_stopped)
        return;
    if (cluster->pg.is_damaged) {
        cluster__stop(
            cluster, ERR_CORRUPT,
            "the log of this node lacks what the group has committed: empty its directory "
            "and start it again, then it is filled from the others");
        return;
    }
    cluster__pump_proposals(cluster);
    cluster__pump_log(cluster);
    cluster__publish_lease(cluster);
    cluster__pump_reads(cluster);
}

/* ---- time ---- */

static void tick(struct timer *timer)
{
    struct cluster *cluster = CONTAINER_OF(timer, struct cluster, tick);
    timer_start(cluster->loop, timer, CLUSTER_TICK_NS, tick);
    cluster__watch_links(cluster);
    if (!cluster->is_stopped) {
        cluster__join_tick(cluster);
        cluster__watch_log(cluster);
        if (cluster->has_config)
            pg_tick(&cluster->pg, cluster__now(cluster));
        incoming_tick(cluster->incoming, cluster__now(cluster));
        pull_tick(cluster->pull, cluster__now(cluster));
        repair_tick(cluster->repair, cluster__now(cluster));
        cluster__copy_turn(cluster);
        cluster__copy_serve_tick(cluster);
        cluster__look_at_proposals(cluster);
        cluster__after_step(cluster);
        cluster__expire_proposals(cluster);
    }
    uint64_t now_ns = loop_now_ns(cluster->loop);
    if (now_ns >= cluster->status_due_ns) {
        cluster->status_due_ns = now_ns + STATUS_NS;
        cluster__publish_status(cluster);
    }
}

/* ---- life ---- */

static int by_number(const void *a, const void *b)
{
    const struct group_peer *x = a, *y = b;
    return (x->node > y->node) - (x->node < y->node);
}

static enum err open_links(struct cluster *cluster, struct err_trail *trail)
{
    const struct group_peers_options *o = &cluster->options;
    const struct group_peer *self = &o->nodes[cluster->self];
    struct links_options options = {
        .loop = cluster->loop,
        .arena = o->arena,
        .rand = cluster->rand,
        .choice = o->choice,
        .address = o->listen.ss_family != 0 ? (const struct sockaddr *)&o->listen
                                            : (const struct sockaddr *)&self->address,
        .address_size = o->listen.ss_family != 0 ? o->listen_size : self->address_size,
        .self = {.node = o->self},
        .busy_poll_ns = o->busy_poll_ns,
        .handlers = &cluster__handlers,
        .context = cluster,
    };
    memcpy(options.self.cluster, o->cluster, sizeof options.self.cluster);
    memcpy(options.self.disk, cluster->disk, sizeof options.self.disk);
    rand_fill(cluster->rand, options.self.incarnation, sizeof options.self.incarnation);
    memcpy(options.cluster_key, o->key, sizeof options.cluster_key);
    struct link_peer_options peers[GROUP_NODES_MAX];
    options.peers = peers;
    for (unsigned i = 0; i < cluster->node_count; i++) {
        if (i == cluster->self)
            continue;
        peers[options.peer_count++] =
            (struct link_peer_options){.node = o->nodes[i].node,
                                       .address = o->nodes[i].address,
                                       .address_size = o->nodes[i].address_size};
    }
    enum err e = links_open(&options, &cluster->links, trail);
    if (e)
        return e;
    for (unsigned i = 0; i < cluster->node_count; i++) {
        if (i == cluster->self)
            continue;
        cluster->peers[i].link = links_find(cluster->links, cluster->peers[i].node);
        link_set_user(cluster->peers[i].link, &cluster->peers[i]);
        repair_add_peer(cluster->repair, cluster->peers[i].link);
    }
    return ERR_OK;
}

static void chunk_done(void *context, struct link_token token, enum err e)
{
    struct cluster *cluster = context;
    link_chunk_done(cluster->links, token, e);
}

/* What waits for data may go on: a record on its way to the log, a proposal. */
static void data_settled(void *context, struct data_id id, enum incoming_state state)
{
    struct cluster *cluster = context;
    (void)state;
    cluster__body_settled(cluster, id);
    cluster__turn_soon(cluster);
}

void cluster_repair(struct cluster *cluster, struct group_repair *repair)
{
    repair_chunk(cluster->repair, repair);
}

static void repair_for_pull(void *context, struct group_repair *repair)
{
    cluster_repair(context, repair);
}

/* The links last: what they bring finds every part, and when a part cannot be had there are none to
 * bring anything. */
static enum err start(struct cluster *cluster, struct err_trail *trail)
{
    enum err e = incoming_open(&(struct incoming_options){.loop = cluster->loop,
                                                          .volume = cluster->volume,
                                                          .chunk_done = chunk_done,
                                                          .settled = data_settled,
                                                          .is_named = cluster__names_data,
                                                          .context = cluster},
                               &cluster->incoming);
    if (e == ERR_OK)
        e = pull_open(&(struct pull_options){.loop = cluster->loop,
                                             .volume = cluster->volume,
                                             .work_pool = cluster->work_pool,
                                             .incoming = cluster->incoming,
                                             .repair = repair_for_pull,
                                             .context = cluster},
                      &cluster->pull);
    if (e == ERR_OK)
        e = repair_open(&(struct repair_options){.loop = cluster->loop,
                                                 .volume = cluster->volume,
                                                 .work_pool = cluster->work_pool},
                        &cluster->repair);
    if (e)
        return e;
    cluster__register_open(cluster);
    e = open_links(cluster, trail);
    if (e)
        return e;
    timer_start(cluster->loop, &cluster->tick, 0, tick);
    return ERR_OK;
}

struct start_msg {
    struct loop_msg msg;
    struct cluster *cluster;
};

static void start_here(struct loop_msg *msg)
{
    struct cluster *cluster = CONTAINER_OF(msg, struct start_msg, msg)->cluster;
    struct err_trail trail = {0};
    enum err e = start(cluster, &trail);
    if (e == ERR_OK)
        cluster__publish_status(cluster); /* whoever opens it asks at once who is in it */
    pthread_mutex_lock(&cluster->lock);
    cluster->start_err = e;
    cluster->start_trail = trail;
    cluster->is_started = true;
    pthread_cond_broadcast(&cluster->changed);
    pthread_mutex_unlock(&cluster->lock);
}

static void *run(void *context)
{
    struct cluster *cluster = context;
    loop_run(cluster->loop);
    return NULL;
}

static enum err init(struct cluster *cluster, const struct cluster_options *options)
{
    pthread_condattr_t attr;
    CHECK(pthread_mutex_init(&cluster->lock, NULL) == 0);
    CHECK(pthread_mutex_init(&cluster->watch_lock, NULL) == 0);
    CHECK(pthread_mutex_init(&cluster->gateway_lock, NULL) == 0);
    CHECK(pthread_condattr_init(&attr) == 0);
    CHECK(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(&cluster->changed, &attr) == 0);
    pthread_condattr_destroy(&attr);
    cluster->group = options->group;
    cluster->volume = options->volume;
    cluster->work_pool = options->work_pool;
    cluster->rand = options->rand;
    cluster->options = *options->peers;
    if (cluster->options.log_records == 0)
        cluster->options.log_records = GROUP_LOG_RECORDS;
    if (cluster->options.disk_timeout_ns == 0)
        cluster->options.disk_timeout_ns = GROUP_DISK_TIMEOUT_NS;
    cluster->loop = options->peers->loop;
    cluster->node_count = (uint8_t)options->peers->node_count;
    list_init(&cluster->to_log);
    list_init(&cluster->in_log);
    list_init(&cluster->refused);
    list_init(&cluster->waiting);
    list_init(&cluster->ready);
    list_init(&cluster->aside);
    qsort(cluster->options.nodes, cluster->node_count, sizeof cluster->options.nodes[0], by_number);
    for (unsigned i = 0; i < cluster->node_count; i++) {
        struct peer *peer = &cluster->peers[i];
        peer->cluster = cluster;
        peer->index = (uint8_t)i;
        peer->node = cluster->options.nodes[i].node;
        list_init(&peer->proposals);
        if (peer->node == cluster->options.self)
            cluster->self = (uint8_t)i;
    }
    struct volume_status status;
    volume_status(cluster->volume, &status);
    memcpy(cluster->disk, status.uuid, sizeof cluster->disk);
    cluster->by_op = calloc(CLUSTER_PROPOSALS_MAX, sizeof *cluster->by_op);
    /* Results for a life before must not meet this life's numbers. */
    cluster->op_count = rand_u64(cluster->rand);
    return cluster->by_op != NULL ? ERR_OK : ERR_NO_MEMORY;
}

static void fini(struct cluster *cluster)
{
    cluster__copy_serve_fini(cluster);
    cluster__copy_fini(cluster);
    cluster__forget_log(cluster);
    cluster__gateway_fini(cluster);
    while (cluster->watches != NULL) {
        struct setting_watch *next = cluster->watches->next;
        free(cluster->watches);
        cluster->watches = next;
    }
    free(cluster->by_op);
    pthread_cond_destroy(&cluster->changed);
    pthread_mutex_destroy(&cluster->watch_lock);
    pthread_mutex_destroy(&cluster->lock);
    free(cluster);
}

enum err cluster_open(const struct cluster_options *options, struct cluster **ret_cluster,
                      struct err_trail *trail)
{
    CHECK(options->peers->node_count >= 2 && options->peers->node_count <= GROUP_NODES_MAX);
    struct cluster *cluster = calloc(1, sizeof *cluster);
    if (cluster == NULL)
        return ERR_NO_MEMORY;
    enum err e = init(cluster, options);
    if (e == ERR_OK)
        e = cluster__restore(cluster, trail);
    if (e) {
        fini(cluster);
        return e;
    }
    CHECK(pthread_create(&cluster->thread, NULL, run, cluster) == 0);
    struct start_msg message = {.msg.deliver = start_here, .cluster = cluster};
    loop_post(cluster->loop, &message.msg);
    pthread_mutex_lock(&cluster->lock);
    while (!cluster->is_started)
        pthread_cond_wait(&cluster->changed, &cluster->lock);
    e = cluster->start_err;
    if (e && trail != NULL)
        *trail = cluster->start_trail;
    pthread_mutex_unlock(&cluster->lock);
    if (e) {
        cluster_close(cluster);
        return e;
    }
    *ret_cluster = cluster;
    return ERR_OK;
}

/* ---- closing: what was given to the volume and to the links comes back first ---- */

static bool is_idle(const struct cluster *cluster)
{
    if (!list_is_empty((struct list *)&cluster->in_log) || cluster->turn_is_posted ||
        cluster->applies_pending > 0)
        return false;
    for (unsigned i = 0; i < cluster->node_count; i++)
        if (cluster->peers[i].load.is_running)
            return false;
    if (!cluster__copy_is_idle(cluster) || !cluster__copy_serve_is_idle(cluster))
        return false;
    return (cluster->incoming == NULL || incoming_is_idle(cluster->incoming)) &&
           (cluster->pull == NULL || pull_is_idle(cluster->pull)) &&
           (cluster->repair == NULL || repair_is_idle(cluster->repair));
}

static void wait_idle(struct timer *timer)
{
    struct cluster *cluster = CONTAINER_OF(timer, struct cluster, tick);
    if (!cluster->links_are_closed || !is_idle(cluster)) {
        timer_start(cluster->loop, timer, NS_PER_MS, wait_idle);
        return;
    }
    loop_stop(cluster->loop);
}

static void links_closed(void *context)
{
    struct cluster *cluster = context;
    cluster->links_are_closed = true;
}

static void close_here(struct loop_msg *msg)
{
    struct cluster *cluster = CONTAINER_OF(msg, struct start_msg, msg)->cluster;
    cluster->is_stopped = true;
    snprintf(cluster->sentence, sizeof cluster->sentence, "this node is closing");
    atomic_store(&cluster->read_until_ns, 0);
    cluster__refuse_all(cluster, ERR_CLOSED);
    cluster__pump_reads(cluster);
    if (cluster->repair != NULL)
        repair_stop(cluster->repair);
    timer_start(cluster->loop, &cluster->tick, 0, wait_idle);
    if (cluster->links != NULL)
        links_close(cluster->links, links_closed);
    else
        cluster->links_are_closed = true;
}

void cluster_close(struct cluster *cluster)
{
    if (cluster == NULL)
        return;
    struct start_msg message = {.msg.deliver = close_here, .cluster = cluster};
    loop_post(cluster->loop, &message.msg);
    pthread_join(cluster->thread, NULL);
    repair_close(cluster->repair);
    pull_close(cluster->pull);
    incoming_close(cluster->incoming);
    links_free(cluster->links);
    fini(cluster);
}
