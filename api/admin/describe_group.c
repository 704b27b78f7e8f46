#include "api/admin/describe_group.h"

#include <string.h>

#include "base/check.h"
#include "base/clock.h"

static json_t *json_u64(uint64_t value)
{
    return json_integer((json_int_t)value); /* sizes and times of this world are below 2^63 */
}

/* UINT64_MAX is how the status says that it does not know. */
static json_t *json_known(uint64_t value)
{
    return value == UINT64_MAX ? json_null() : json_u64(value);
}

static json_t *json_node(uint32_t node)
{
    return node == 0 ? json_null() : json_u64(node);
}

static json_t *json_seconds(uint64_t ns)
{
    return ns == UINT64_MAX ? json_null() : json_real((double)(ns / NS_PER_MS) / 1000.0);
}

/* RDMA is said of verbs and of nothing else. */
static json_t *describe_transport(const struct group_status *status)
{
    return json_pack("{s:s, s:s, s:b, s:s, s:o, s:o}", "backend", status->backend, "device",
                     status->device, "rdma", (int)(strcmp(status->backend, "verbs") == 0), "reason",
                     status->backend_reason, "refused_calls", json_u64(status->refused_calls),
                     "rule_breaks", json_u64(status->rule_breaks));
}

static json_t *describe_lane(const struct transport_lane_counts *lane)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o}", "sent", json_u64(lane->sent), "sent_bytes",
                     json_u64(lane->sent_bytes), "received", json_u64(lane->received),
                     "received_bytes", json_u64(lane->received_bytes), "in_flight",
                     json_u64(lane->in_flight));
}

static json_t *describe_lanes(const struct group_peer_status *peer)
{
    json_t *lanes = json_object();
    for (int lane = 0; lane < LANE_COUNT; lane++)
        json_object_set_new(lanes, transport_lane_name((enum transport_lane)lane),
                            describe_lane(&peer->lanes[lane]));
    return lanes;
}

/* null: it is not being filled by a copy. */
static json_t *describe_copy(const struct group_peer_status *peer)
{
    if (!peer->is_copied)
        return json_null();
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o}", "rows", json_u64(peer->copied_rows), "rows_in_all",
        json_u64(peer->copied_rows_in_all), "bytes", json_u64(peer->copied_bytes), "bytes_in_all",
        json_u64(peer->copied_bytes_in_all), "per_second", json_u64(peer->copied_per_second),
        "seconds_left", json_seconds(peer->copied_left_ns));
}

static json_t *describe_node(const struct group_peer_status *peer)
{
    return json_pack("{s:o, s:s, s:s, s:b, s:b, s:b, s:b, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o, "
                     "s:o, s:o, s:o, s:o, s:o, s:o}",
                     "node", json_u64(peer->node), "address", peer->address, "state",
                     peer->is_self ? "this node"
                     : peer->is_up ? "up"
                                   : "down",
                     "self", (int)peer->is_self, "primary", (int)peer->is_primary, "in_sync",
                     (int)peer->is_in_sync, "armed", (int)peer->is_armed, "backend", peer->backend,
                     "device", peer->device, "disk", peer->disk, "sentence", peer->sentence,
                     "since_seconds", json_seconds(peer->up_ns), "heard_seconds",
                     json_seconds(peer->heard_ns), "connects", json_u64(peer->connects), "lanes",
                     describe_lanes(peer), "landed_bytes", json_u64(peer->landed_bytes),
                     "acked_psn", json_known(peer->acked_psn), "lag_records",
                     json_known(peer->lag_records), "lag_bytes", json_known(peer->lag_bytes),
                     "lag_seconds", json_seconds(peer->lag_ns), "copy", describe_copy(peer));
}

enum which_nodes { ALL_NODES, OTHER_NODES };

static json_t *describe_nodes(const struct group_status *status, enum which_nodes which)
{
    json_t *nodes = json_array();
    for (uint32_t i = 0; i < status->peer_count; i++)
        if (which == ALL_NODES || !status->peers[i].is_self)
            json_array_append_new(nodes, describe_node(&status->peers[i]));
    return nodes;
}

json_t *describe_peers(const struct group_status *status)
{
    return json_pack("{s:o, s:o, s:o}", "node", json_node(status->self), "transport",
                     describe_transport(status), "peers", describe_nodes(status, OTHER_NODES));
}

json_t *describe_replication(const struct group_status *status)
{
    json_t *json =
        json_pack("{s:o, s:s, s:o, s:b, s:s, s:s, s:s}", "node", json_node(status->self), "role",
                  group_role_name(status->role), "primary", json_node(status->primary), "alone",
                  (int)(status->peer_count == 0), "sentence", status->sentence, "refuses",
                  status->refuses, "register", status->config_register);
    if (json == NULL)
        return NULL;
    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {
        {"epoch", status->epoch},
        {"term", status->term},
        {"members", status->members},
        {"in_sync", status->in_sync},
        {"in_sync_min", status->in_sync_min},
        {"pulled_bytes", status->pulled_bytes},
        {"refused_chunks", status->refused_chunks},
        {"bad_sums", status->bad_sums},
        {"waiting_proposals", status->waiting_proposals},
        {"waiting_bytes", status->waiting_bytes},
        {"refused_proposals", status->refused_proposals},
    };
    for (size_t i = 0; i < COUNT_OF(numbers); i++)
        json_object_set_new(json, numbers[i].name, json_u64(numbers[i].value));
    json_object_set_new(json, "disk_waits_seconds",
                        json_seconds(status->peer_count > 0 ? status->disk_waits_ns : UINT64_MAX));
    json_object_set_new(json, "log",
                        json_pack("{s:o, s:o, s:o, s:o}", "first", json_u64(status->psn_first),
                                  "last", json_u64(status->psn_last), "committed",
                                  json_u64(status->psn_committed), "applied",
                                  json_u64(status->psn_applied)));
    json_object_set_new(json, "transport", describe_transport(status));
    json_object_set_new(json, "nodes", describe_nodes(status, ALL_NODES));
    return json;
}
