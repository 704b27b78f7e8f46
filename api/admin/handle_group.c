/*
 * The group of nodes: its state, its peers, its gauges; and answers that are as fresh as an S3
 * client's would be.
 */
#include <stdio.h>

#include "api/admin/admin_priv.h"
#include "api/admin/describe_group.h"
#include "base/check.h"
#include "base/cleanup.h"

void admin_replication(struct admin *admin, const struct admin_request *request,
                       struct admin_reply *reply)
{
    struct group_status status;
    group_status(admin->group, &status);
    admin_reply_json(reply, 200, describe_replication(&status));
}

void admin_peers(struct admin *admin, const struct admin_request *request,
                 struct admin_reply *reply)
{
    struct group_status status;
    group_status(admin->group, &status);
    admin_reply_json(reply, 200, describe_peers(&status));
}

/* ---- the read barrier, for a thread without a loop ---- */

struct waiting {
    struct group_ask ask;
    bool is_done;
};

static void waiting_done(struct group_ask *ask)
{
    CONTAINER_OF(ask, struct waiting, ask)->is_done = true;
}

CLEANUP_DEFINE(loop_close, struct loop *)

static enum err freshen(struct admin *admin, struct err_trail *trail)
{
    if (group_is_fresh(admin->group))
        return ERR_OK;
    CLEANUP(loop_close) struct loop *loop = NULL;
    /* The poll backend: one eventfd is all this loop ever waits for. */
    enum err e =
        loop_open(&(struct loop_options){.name = "admin-fresh", .ring_choice = RING_FORCE_POLL},
                  &loop, trail);
    if (e)
        return e;
    struct waiting waiting = {.ask = {.loop = loop, .done = waiting_done}};
    group_fresh(admin->group, &waiting.ask); /* has a deadline of its own */
    while (!waiting.is_done)
        loop_run_once(loop, UINT64_MAX);
    return waiting.ask.err;
}

void admin_try_freshen(struct admin *admin)
{
    enum err e = freshen(admin, NULL);
    (void)e; /* what there is, is shown */
}

bool admin_freshen(struct admin *admin, struct admin_reply *reply)
{
    struct err_trail trail = {0};
    enum err e = freshen(admin, &trail);
    if (e == ERR_OK)
        return true;
    struct group_status status;
    group_status(admin->group, &status);
    if (e == ERR_BUSY)
        (void)err_say(&trail, e,
                      "this node cannot make sure now that it has what the others have%s%s",
                      status.sentence[0] != '\0' ? ": " : "", status.sentence);
    admin_reply_error(reply, e, &trail, "sluice replication status");
    return false;
}

/* ---- metrics ---- */

#define GAUGE(text)   .help = text, .kind = METRIC_GAUGE
#define COUNTER(text) .help = text, .kind = METRIC_COUNTER

static struct metric members = {.name = "sluice_group_members",
                                GAUGE("Nodes that hold the same objects, as configured.")};
static struct metric in_sync = {
    .name = "sluice_group_in_sync",
    GAUGE("Nodes on whose disks an acknowledged change is, as this node knows.")};
static struct metric in_sync_min = {.name = "sluice_group_in_sync_min",
                                    GAUGE("Copies without which nothing is acknowledged.")};
static struct metric serves = {.name = "sluice_group_serves",
                               GAUGE("1 when this node serves reads and changes.")};
static struct metric is_primary = {.name = "sluice_group_primary",
                                   GAUGE("1 on the node that puts changes into order.")};
static struct metric epoch = {.name = "sluice_group_epoch",
                              GAUGE("Number of the group's configuration.")};
static struct metric term = {.name = "sluice_group_term",
                             GAUGE("Epoch at which the present primary took the group.")};
static struct metric committed = {.name = "sluice_group_committed_psn",
                                  GAUGE("Last change known to be committed.")};
static struct metric applied = {.name = "sluice_group_applied_psn",
                                GAUGE("Last change that can be read here.")};
static struct metric log_records = {.name = "sluice_group_log_records",
                                    GAUGE("Records kept for replicas that lag.")};
static struct metric disk_waits = {
    .name = "sluice_group_disk_waits_seconds",
    GAUGE("How long this node's disk has not answered what it was asked; near 0 while it does."),
    .unit_per_one = NS_PER_SECOND};
static struct metric waiting = {.name = "sluice_group_waiting_proposals",
                                GAUGE("Changes on their way to being acknowledged.")};
static struct metric waiting_bytes = {
    .name = "sluice_group_waiting_bytes",
    GAUGE("Memory of changes that wait for a place in the log, and of bodies "
          "whose outcome is not known yet.")};
static struct metric refused_proposals = {
    .name = "sluice_group_refused_proposals_total",
    COUNTER("Changes refused because too many wait: the client is told to slow down.")};
static struct metric pulled = {
    .name = "sluice_group_pulled_bytes_total",
    COUNTER("Bytes fetched from the primary because they were missing.")};
static struct metric refused = {.name = "sluice_group_refused_chunks_total",
                                COUNTER("Chunks of peers that were refused.")};
static struct metric bad_sums = {
    .name = "sluice_group_bad_sums_total",
    COUNTER("Chunks whose bytes were not what their sender had summed.")};

static struct metric refused_calls = {
    .name = "sluice_group_refused_calls_total",
    COUNTER("Connections between nodes that one of the two sides refused.")};
static struct metric rule_breaks = {
    .name = "sluice_group_rule_breaks_total",
    COUNTER("Connections cut off for bytes that break the peer protocol's rules.")};

/* Of one peer; the labels name it and what carries its bytes. */
enum peer_gauge {
    PEER_UP,
    PEER_IN_SYNC,
    PEER_CONNECTS,
    PEER_LAG_RECORDS,
    PEER_LAG_BYTES,
    PEER_LANDED,
    PEER_GAUGES
};
static const struct metric peer_kinds[PEER_GAUGES] = {
    [PEER_UP] = {.name = "sluice_peer_up", GAUGE("1 while there is a connection.")},
    [PEER_IN_SYNC] = {.name = "sluice_peer_in_sync",
                      GAUGE("1 while acknowledgements wait for it.")},
    [PEER_CONNECTS] = {.name = "sluice_peer_connects_total", COUNTER("Connections that came up.")},
    [PEER_LAG_RECORDS] = {.name = "sluice_peer_lag_records",
                          GAUGE("Records it lacks, as the primary sees it; -1: not known here.")},
    [PEER_LAG_BYTES] = {.name = "sluice_peer_lag_bytes",
                        GAUGE("Bytes of records and data it lacks, likewise.")},
    [PEER_LANDED] = {.name = "sluice_peer_landed_bytes_total",
                     COUNTER("Bytes of bodies that it has on its disk, as it says.")},
};
enum lane_gauge { LANE_SENT, LANE_RECEIVED, LANE_GAUGES };
static const struct metric lane_kinds[LANE_GAUGES] = {
    [LANE_SENT] = {.name = "sluice_peer_sent_bytes_total", COUNTER("Bytes sent to a peer.")},
    [LANE_RECEIVED] = {.name = "sluice_peer_received_bytes_total",
                       COUNTER("Bytes received from a peer.")},
};

#define LABEL_BYTES 80
static struct metric of_peers[GROUP_NODES_MAX][PEER_GAUGES];
static struct metric of_lanes[GROUP_NODES_MAX][LANE_COUNT][LANE_GAUGES];
static char peer_labels[GROUP_NODES_MAX][LABEL_BYTES];
static char lane_labels[GROUP_NODES_MAX][LANE_COUNT][LABEL_BYTES];

static void refresh_peer(unsigned i, const struct group_peer_status *peer)
{
    const int64_t values[PEER_GAUGES] = {
        [PEER_UP] = peer->is_up,
        [PEER_IN_SYNC] = peer->is_in_sync,
        [PEER_CONNECTS] = (int64_t)peer->connects,
        [PEER_LAG_RECORDS] = peer->lag_records == UINT64_MAX ? -1 : (int64_t)peer->lag_records,
        [PEER_LAG_BYTES] = peer->lag_bytes == UINT64_MAX ? -1 : (int64_t)peer->lag_bytes,
        [PEER_LANDED] = (int64_t)peer->landed_bytes,
    };
    for (int k = 0; k < PEER_GAUGES; k++)
        metric_set(&of_peers[i][k], values[k]);
    for (int lane = 0; lane < LANE_COUNT; lane++) {
        metric_set(&of_lanes[i][lane][LANE_SENT], (int64_t)peer->lanes[lane].sent_bytes);
        metric_set(&of_lanes[i][lane][LANE_RECEIVED], (int64_t)peer->lanes[lane].received_bytes);
    }
}

static void refresh_group(void *context)
{
    struct admin *admin = context;
    struct group_status status;
    group_status(admin->group, &status);
    const struct {
        struct metric *metric;
        uint64_t value;
    } values[] = {
        {&members, status.members},
        {&in_sync, status.in_sync},
        {&in_sync_min, status.in_sync_min},
        {&serves, status.sentence[0] == '\0' && status.role != GROUP_STOPPED},
        {&is_primary, status.is_primary},
        {&epoch, status.epoch},
        {&term, status.term},
        {&committed, status.psn_committed},
        {&applied, status.psn_applied},
        {&log_records, status.psn_first > 0 ? status.psn_last - status.psn_first + 1 : 0},
        {&disk_waits, status.disk_waits_ns},
        {&waiting, status.waiting_proposals},
        {&waiting_bytes, status.waiting_bytes},
        {&refused_proposals, status.refused_proposals},
        {&pulled, status.pulled_bytes},
        {&refused, status.refused_chunks},
        {&bad_sums, status.bad_sums},
        {&refused_calls, status.refused_calls},
        {&rule_breaks, status.rule_breaks},
    };
    for (size_t i = 0; i < COUNT_OF(values); i++)
        metric_set(values[i].metric, (int64_t)values[i].value);
    for (unsigned i = 0; i < status.peer_count; i++)
        refresh_peer(i, &status.peers[i]);
}

static void register_peer(unsigned i, const struct group_status *status)
{
    uint32_t node = status->peers[i].node;
    snprintf(peer_labels[i], LABEL_BYTES, "node=\"%u\"", node);
    for (int k = 0; k < PEER_GAUGES; k++) {
        of_peers[i][k] = peer_kinds[k];
        of_peers[i][k].labels = peer_labels[i];
    }
    for (int lane = 0; lane < LANE_COUNT; lane++) {
        snprintf(lane_labels[i][lane], LABEL_BYTES,
                 "node=\"%u\",lane=\"%s\",backend=\"%s\",path=\"%s\"", node,
                 transport_lane_name((enum transport_lane)lane), status->backend,
                 strcmp(status->backend, "verbs") == 0 ? "rdma" : status->backend);
        for (int k = 0; k < LANE_GAUGES; k++) {
            of_lanes[i][lane][k] = lane_kinds[k];
            of_lanes[i][lane][k].labels = lane_labels[i][lane];
        }
    }
}

/* All of one name in turn: their lines stand together in what is written. */
static void register_peers(const struct group_status *status)
{
    bool is_shown[GROUP_NODES_MAX] = {false};
    for (unsigned i = 0; i < status->peer_count; i++) {
        is_shown[i] = !status->peers[i].is_self;
        if (is_shown[i])
            register_peer(i, status);
    }
    for (int k = 0; k < PEER_GAUGES; k++)
        for (unsigned i = 0; i < status->peer_count; i++)
            if (is_shown[i])
                metric_register(&of_peers[i][k]);
    for (int k = 0; k < LANE_GAUGES; k++)
        for (unsigned i = 0; i < status->peer_count; i++)
            for (int lane = 0; lane < LANE_COUNT; lane++)
                if (is_shown[i])
                    metric_register(&of_lanes[i][lane][k]);
}

void admin_group_metrics_open(struct admin *admin)
{
    static struct metric *const all[] = {
        &members,       &in_sync,     &in_sync_min,   &serves,
        &is_primary,    &epoch,       &term,          &committed,
        &applied,       &log_records, &waiting,       &pulled,
        &refused,       &bad_sums,    &waiting_bytes, &refused_proposals,
        &refused_calls, &rule_breaks,
    };
    struct group_status status;
    for (size_t i = 0; i < COUNT_OF(all); i++)
        metric_register(all[i]);
    group_status(admin->group, &status);
    if (status.peer_count > 0) /* alone, nobody watches */
        metric_register(&disk_waits);
    register_peers(&status);
    admin->group_metrics = (struct metric_source){.refresh = refresh_group, .context = admin};
    metric_source_register(&admin->group_metrics);
}

void admin_group_metrics_close(struct admin *admin)
{
    metric_source_remove(&admin->group_metrics);
}
