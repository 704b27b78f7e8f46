#include "replication/cluster_priv.h"

#include <netdb.h>
#include <stdlib.h>
#include <time.h>

/* What people and other threads are told: a copy that the loop refreshes. */

#define COPY_FRESH_NS (3 * NS_PER_SECOND) /* who is being copied says so twice a second */

static enum group_role role_of(const struct cluster *cluster)
{
    if (cluster->is_stopped)
        return GROUP_STOPPED;
    if (cluster->copy.is_on)
        return GROUP_COPYING;
    if (!cluster->has_config)
        return GROUP_JOINING;
    switch (cluster->pg.role) {
    case PG_FOLLOWER:
        return GROUP_REPLICA;
    case PG_OPENING:
        return GROUP_OPENING;
    case PG_OPEN:
        return GROUP_PRIMARY;
    }
    return GROUP_STOPPED;
}

static void text_of_address(const struct group_peer *node, char *out, size_t size)
{
    char host[64] = "?", port[8] = "?";
    (void)!getnameinfo((const struct sockaddr *)&node->address, node->address_size, host,
                       sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(out, size, node->address.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

/* What is still to come to a peer, in bytes of records and of the data they bring; UINT64_MAX: more
 * than is in memory. */
static uint64_t lag_bytes(const struct cluster *cluster, uint64_t acked)
{
    uint64_t bytes = 0;
    if (cluster->pg.d.log.last - acked >= CLUSTER_WINDOW)
        return UINT64_MAX;
    for (uint64_t psn = acked + 1; psn <= cluster->pg.d.log.last; psn++) {
        const struct entry *entry = cluster__entry(cluster, psn);
        if (entry == NULL)
            return UINT64_MAX;
        bytes += entry->record_size + entry->data.size;
    }
    return bytes;
}

static void describe_link(const struct cluster *cluster, const struct peer *peer,
                          struct group_peer_status *status)
{
    struct link_status link;
    link_status(peer->link, &link);
    status->is_up = peer->is_up;
    const struct link_counts *counts = &link.counts;
    if (peer->is_up) {
        snprintf(status->backend, sizeof status->backend, "%s",
                 transport_backend_name(link.backend));
        snprintf(status->device, sizeof status->device, "%s", link.device);
        status->up_ns = loop_now_ns(cluster->loop) - link.since_ns;
    } else {
        snprintf(status->sentence, sizeof status->sentence, "%s", link.sentence);
    }
    snprintf(status->disk, sizeof status->disk, "%s", peer->disk_text);
    status->connects = counts->ups;
    status->lanes[LANE_CTL] =
        (struct transport_lane_counts){.sent = counts->ctl_out, .received = counts->ctl_in};
    status->lanes[LANE_META] =
        (struct transport_lane_counts){.sent = counts->messages_out,
                                       .sent_bytes = counts->message_bytes_out,
                                       .received = counts->messages_in,
                                       .received_bytes = counts->message_bytes_in,
                                       .in_flight = link.meta_in_flight};
    status->lanes[LANE_BULK] =
        (struct transport_lane_counts){.sent = counts->chunks_out,
                                       .sent_bytes = counts->chunk_bytes_out,
                                       .received = counts->chunks_in,
                                       .received_bytes = counts->chunk_bytes_in,
                                       .in_flight = link.bulk_in_flight};
    status->landed_bytes = peer->landed_bytes;
}

static void describe_peer(struct cluster *cluster, unsigned index, struct group_peer_status *status)
{
    const struct peer *peer = &cluster->peers[index];
    const struct pg *pg = &cluster->pg;
    *status = (struct group_peer_status){
        .node = peer->node,
        .is_self = index == cluster->self,
        .up_ns = UINT64_MAX,
        .heard_ns = UINT64_MAX,
        .acked_psn = UINT64_MAX,
        .lag_records = UINT64_MAX,
        .lag_bytes = UINT64_MAX,
        .lag_ns = UINT64_MAX,
    };
    text_of_address(&cluster->options.nodes[index], status->address, sizeof status->address);
    if (peer->link != NULL)
        describe_link(cluster, peer, status);
    bool is_there = peer->is_up || status->is_self;
    status->is_copied = is_there && peer->copy_told_ns != 0 && !peer->copy.is_over &&
                        cluster__now(cluster) < peer->copy_told_ns + COPY_FRESH_NS;
    if (status->is_copied) {
        status->copied_rows = peer->copy.rows;
        status->copied_rows_in_all = peer->copy.rows_in_all;
        status->copied_bytes = peer->copy.bytes;
        status->copied_bytes_in_all = peer->copy.bytes_in_all;
        status->copied_per_second = copy_pace_per_second(&peer->copy_pace);
        status->copied_left_ns = copy_pace_left_ns(&peer->copy_pace, peer->copy.bytes_in_all > 0
                                                                         ? peer->copy.bytes_in_all
                                                                         : peer->copy.rows_in_all);
    }
    if (peer->heard_ns != 0)
        status->heard_ns = cluster__now(cluster) - peer->heard_ns;
    if (status->is_self) {
        status->is_up = true;
        hex_encode(cluster->disk, sizeof cluster->disk, status->disk);
    }
    if (!cluster->has_config)
        return;
    status->is_primary = pg->d.config.primary == index;
    status->is_in_sync = pg_mask_has(pg->d.config.in_sync, index);
    status->is_armed = pg_mask_has(pg->armed, index);
    if (pg->role == PG_FOLLOWER)
        return;
    bool is_known = status->is_self || pg->peers[index].is_synced;
    if (!is_known)
        return;
    status->acked_psn = status->is_self ? pg->durable : pg->peers[index].acked;
    status->lag_records =
        pg->d.log.last > status->acked_psn ? pg->d.log.last - status->acked_psn : 0;
    status->lag_bytes = status->lag_records > 0 ? lag_bytes(cluster, status->acked_psn) : 0;
    status->lag_ns = status->lag_records == 0 || status->is_self
                         ? 0
                         : cluster__now(cluster) - pg->peers[index].progress_ns;
}

/* What the disk does not take, in words; or "". */
static void say_full(struct cluster *cluster, char out[200])
{
    struct err_trail trail = {0};
    enum err e = volume_judge(cluster->volume, MUTATION_OBJECT_PUT, &trail);
    if (e == ERR_OK)
        e = body_judge_size(cluster->volume, SLOT_LARGE_BYTES, &trail);
    out[0] = '\0';
    if (e)
        snprintf(out, 200, "takes no new objects: %s", err_trail_text(&trail, e));
}

static void say_copy(const struct copy_target *copy, char out[200])
{
    if (copy->bytes_in_all > 0)
        snprintf(out, 200, "this node is filled by a copy: %llu of %llu bytes of data are here",
                 (unsigned long long)copy->bytes, (unsigned long long)copy->bytes_in_all);
    else
        snprintf(out, 200, "this node is filled by a copy: %llu of about %llu rows are here",
                 (unsigned long long)copy->rows, (unsigned long long)copy->rows_in_all);
}

/* Nobody is to empty a disk that may be the only one with all of it. */
void cluster__say_no_log(const struct cluster *cluster, char out[200])
{
    unsigned primary = cluster->pg.d.config.primary;
    bool is_led = cluster->has_config && primary != cluster->self && cluster->peers[primary].is_up;
    bool leads = cluster->has_config && cluster->pg.role != PG_FOLLOWER;
    struct buf buf = {.data = out, .capacity = 199};
    switch (cluster->no_log) {
    case NO_LOG_FINE:
        break;
    case NO_LOG_REFUSED:
        buf_printf(&buf,
                   "the disk takes no changes: make room on it or replace it; until then this node "
                   "does not lead (%s)",
                   cluster->no_log_text);
        break;
    case NO_LOG_DAMAGED:
        buf_printf(&buf, "the disk takes no changes: %s (%s)",
                   is_led
                       ? "empty its directory and start this node again, then the others fill it"
                       : "when another node leads, empty its directory and start this node again",
                   cluster->no_log_text);
        break;
    case NO_LOG_HANGS:
        buf_printf(&buf,
                   "the disk has not answered for %llu s: look at it and into the kernel's log; %s",
                   (unsigned long long)(cluster->disk_watch.waits_ns / NS_PER_SECOND),
                   leads ? "this node leads on, for no other one can"
                         : "until it does this node does not lead");
        break;
    }
    out[buf.size] = '\0';
}

/* Whoever is in sync and away is waited for, until most of the nodes have taken it out of the set.
 */
static bool waits_for_majority(const struct cluster *cluster)
{
    bool is_one_away = false;
    for (unsigned i = 0; i < cluster->node_count; i++)
        is_one_away |= i != cluster->self && !cluster->peers[i].is_up &&
                       pg_mask_has(cluster->pg.d.config.in_sync, i);
    return is_one_away && 1 + cluster__others_up(cluster) <= cluster->node_count / 2;
}

/* All are there for this node, and not for each other. */
static void say_apart(const struct cluster *cluster, char out[200])
{
    uint8_t apart = cluster__not_voting(cluster);
    struct buf buf = {.data = out, .capacity = 199};
    buf_printf(&buf, "no configuration of the group is known yet");
    for (unsigned i = 0, count = 0; i < cluster->node_count; i++)
        if (pg_mask_has(apart, i))
            buf_printf(&buf, "%snode %u", count++ > 0 ? ", " : "; not yet heard by all others: ",
                       cluster->peers[i].node);
    out[buf.size] = '\0';
}

/* What keeps this node from serving, in words. */
static void say_why(struct cluster *cluster, char out[200])
{
    char missing[120] = "";
    struct buf buf = {.data = missing, .capacity = sizeof missing - 1};
    unsigned away = 0;
    for (unsigned i = 0; i < cluster->node_count; i++) {
        const struct peer *peer = &cluster->peers[i];
        if (peer->link == NULL || peer->is_up)
            continue;
        struct link_status link;
        link_status(peer->link, &link);
        buf_printf(&buf, "%snode %u (%s)", away++ > 0 ? ", " : "", peer->node, link.address_text);
    }
    missing[buf.size] = '\0';
    if (cluster->no_log != NO_LOG_FINE)
        cluster__say_no_log(cluster, out);
    else if (cluster->copy.is_on)
        say_copy(&cluster->copy, out);
    else if (!cluster->has_config && quorum_is_lost(&cluster->quorum))
        snprintf(out, 200,
                 "the disks of most nodes are new, and what the group had agreed on may be lost "
                 "with the old ones: start those nodes with their old disks");
    else if (!cluster->has_config && away == 0)
        say_apart(cluster, out);
    else if (!cluster->has_config)
        snprintf(out, 200, "no configuration of the group is known yet; not there: %s", missing);
    else if (cluster->pg.role == PG_FOLLOWER &&
             !cluster->peers[cluster->pg.d.config.primary].is_up &&
             cluster->pg.d.config.primary != cluster->self)
        snprintf(out, 200, "the primary is away%s%s", away > 0 ? "; not there: " : "", missing);
    else if (cluster->pg.role == PG_FOLLOWER && cluster->pg.d.config.primary == cluster->self)
        snprintf(out, 200, "this node is to take a new term%s%s%s",
                 cluster->stands_late ? " when its disk, which hung, has answered well for a while"
                                      : "",
                 away > 0 ? "; not there: " : "", missing);
    else if (cluster->pg.role == PG_OPENING)
        snprintf(out, 200, "the others in sync have not followed into term %llu yet%s%s",
                 (unsigned long long)cluster->pg.d.config.term, away > 0 ? "; not there: " : "",
                 missing);
    else if (waits_for_majority(cluster))
        snprintf(out, 200, "more than half of the nodes must be there for this one; not there: %s",
                 missing);
    else if (cluster->pg.d.synced_term != cluster->pg.d.config.term)
        snprintf(out, 200, "the primary, node %u, has not matched its log with this node's yet",
                 cluster->peers[cluster->pg.d.config.primary].node);
    else
        snprintf(out, 200, "this node catches up: record %llu of %llu",
                 (unsigned long long)cluster->applied, (unsigned long long)cluster->pg.d.log.last);
}

/* A replica serves when its primary is there and what that has committed is in the index here. */
static bool is_ready(struct cluster *cluster)
{
    if (cluster->is_stopped || !cluster->has_config || cluster->no_log != NO_LOG_FINE ||
        waits_for_majority(cluster))
        return false;
    const struct pg *pg = &cluster->pg;
    if (pg->role == PG_OPEN)
        return cluster->applied >= pg->barrier;
    return pg->role == PG_FOLLOWER && pg_mask_has(pg->d.config.in_sync, cluster->self) &&
           pg->d.config.primary != cluster->self && cluster->peers[pg->d.config.primary].is_up &&
           pg->d.synced_term == pg->d.config.term &&
           cluster->applied + CLUSTER_WINDOW > pg->d.commit;
}

static void describe_transport(const struct cluster *cluster, struct group_status *status)
{
    struct transport_status transport;
    struct transport_counts counts;
    links_transport_status(cluster->links, &transport);
    links_transport_counts(cluster->links, &counts);
    snprintf(status->backend, sizeof status->backend, "%s",
             transport_backend_name(transport.backend));
    snprintf(status->device, sizeof status->device, "%s", transport.device);
    snprintf(status->backend_reason, sizeof status->backend_reason, "%s", transport.reason);
    status->refused_calls = counts.refused;
    status->rule_breaks = counts.protocol_errors;
    for (unsigned i = 0; i < links_count(cluster->links); i++) {
        struct link_status link;
        link_status(links_at(cluster->links, i), &link);
        status->rule_breaks += link.counts.violations;
    }
}

void cluster__publish_status(struct cluster *cluster)
{
    struct group_status status = {
        .members = cluster->node_count,
        .in_sync_min = cluster->options.in_sync_min,
        .config_register = "quorum",
        .role = role_of(cluster),
        .self = cluster->options.self,
        .psn_applied = cluster->applied,
        .waiting_proposals = cluster->waiting_count,
        .waiting_bytes = cluster->waiting_bytes,
        .refused_proposals = cluster->refused_proposals,
        .disk_waits_ns = cluster->disk_watch.waits_ns,
        .peer_count = cluster->node_count,
    };
    struct log_range range;
    volume_log_range(cluster->volume, &range);
    status.psn_first = range.first;
    status.psn_last = range.last;
    if (cluster->has_config) {
        const struct pg *pg = &cluster->pg;
        status.epoch = pg->d.config.epoch;
        status.term = pg->d.config.term;
        status.psn_committed = pg->d.commit;
        status.in_sync = (uint32_t)__builtin_popcount(pg->d.config.in_sync);
        status.is_primary = pg->role == PG_OPEN;
        status.primary = cluster->peers[pg->d.config.primary].node;
    }
    for (unsigned i = 0; i < cluster->node_count && i < GROUP_NODES_MAX; i++)
        describe_peer(cluster, i, &status.peers[i]);
    describe_transport(cluster, &status);
    struct incoming_counts incoming;
    incoming_counts(cluster->incoming, &incoming);
    status.refused_chunks = incoming.refused_chunks;
    status.bad_sums = incoming.bad_sums;
    struct pull_counts pull;
    pull_counts(cluster->pull, &pull);
    status.pulled_bytes = pull.pulled_bytes;
    bool ready = is_ready(cluster);
    if (cluster->is_stopped)
        snprintf(status.sentence, sizeof status.sentence, "%s", cluster->sentence);
    else if (!ready)
        say_why(cluster, status.sentence);
    say_full(cluster, status.refuses);
    if (!cluster->is_stopped)
        memcpy(cluster->sentence, status.sentence, sizeof cluster->sentence);
    pthread_mutex_lock(&cluster->lock);
    cluster->status = status;
    cluster->is_ready = ready;
    pthread_cond_broadcast(&cluster->changed);
    pthread_mutex_unlock(&cluster->lock);
}

/*
 * What waits for a peer is at most in one place: the link's queue, or the rows read for it. A run
 * of a copy may be at hand for each peer, and for this node.
 */
uint64_t cluster_memory_bytes(unsigned peers)
{
    uint64_t run = MESSAGE_COPY_RUN_BYTES + 2 * KV_KEY_BYTES_MAX + COPY_ROWS_BYTES_MAX;
    uint64_t of_peer = LINK_QUEUE_BYTES_MAX + LINK_MESSAGE_BYTES_MAX + CLUSTER_LOAD_BYTES_MAX +
                       LOG_RECORD_BYTES_MAX + COPY_ROWS_BYTES_MAX + COPY_SOURCE_BYTES_MAX;
    return sizeof(struct cluster) + CLUSTER_PROPOSALS_MAX * sizeof(struct proposal) +
           CLUSTER_PROPOSAL_BYTES_MAX + CLUSTER_WINDOW_BYTES_MAX + INCOMING_MEMORY_BYTES + run +
           COPY_STEP_BYTES_MAX + peers * of_peer;
}

void cluster_status(struct cluster *cluster, struct group_status *ret_status)
{
    pthread_mutex_lock(&cluster->lock);
    *ret_status = cluster->status;
    pthread_mutex_unlock(&cluster->lock);
}

enum err cluster_wait_ready(struct cluster *cluster, uint64_t timeout_ns, struct err_trail *trail)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    uint64_t until_ns =
        (uint64_t)until.tv_sec * NS_PER_SECOND + (uint64_t)until.tv_nsec + timeout_ns;
    until.tv_sec = (time_t)(until_ns / NS_PER_SECOND);
    until.tv_nsec = (long)(until_ns % NS_PER_SECOND);
    pthread_mutex_lock(&cluster->lock);
    int error = 0;
    while (!cluster->is_ready && error == 0)
        error = pthread_cond_timedwait(&cluster->changed, &cluster->lock, &until);
    enum err e =
        cluster->is_ready ? ERR_OK : err_say(trail, ERR_TIMEOUT, "%s", cluster->status.sentence);
    pthread_mutex_unlock(&cluster->lock);
    return e;
}

static void unwatch(struct cluster *cluster, struct bytes prefix)
{
    for (struct setting_watch **at = &cluster->watches; *at != NULL; at = &(*at)->next) {
        struct setting_watch *watch = *at;
        if (!bytes_equal(watch->prefix, prefix))
            continue;
        *at = watch->next;
        free(watch);
        return;
    }
}

/* The lock is held while a watcher is called, so one that was removed is not called any more. */
void cluster_watch_settings(struct cluster *cluster, struct bytes prefix,
                            group_setting_changed_fn *changed, void *context)
{
    struct setting_watch *watch = changed != NULL ? calloc(1, sizeof *watch) : NULL;
    CHECK(watch != NULL || changed == NULL);
    pthread_mutex_lock(&cluster->watch_lock);
    if (watch == NULL) {
        unwatch(cluster, prefix);
    } else {
        *watch = (struct setting_watch){
            .next = cluster->watches, .prefix = prefix, .changed = changed, .context = context};
        cluster->watches = watch;
    }
    pthread_mutex_unlock(&cluster->watch_lock);
}
