/*
 * The cluster as the configuration has it, the group, and waiting for it. Alone, all of that is
 * done at once.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "server/start_priv.h"

#define WAIT_LOOK_NS (NS_PER_SECOND / 4) /* between two looks at whether to give up */
#define WAIT_SAY_NS  (2 * NS_PER_SECOND) /* between two sentences on what is waited for */

_Static_assert(CLUSTER_NODES_MAX == GROUP_NODES_MAX, "as many as a group has");
_Static_assert((int)CLUSTER_AUTO == (int)TRANSPORT_AUTO &&
                   (int)CLUSTER_TCP == (int)TRANSPORT_FORCE_TCP &&
                   (int)CLUSTER_VERBS == (int)TRANSPORT_FORCE_VERBS,
               "the configuration's choices are the transport's");

enum err start__cluster(void *context, struct err_trail *trail)
{
    struct node *node = context;
    enum err e = cluster_plan_make(&node->config, &node->plan, trail);
    if (e || node->plan.count == 0)
        return e;
    return cluster_keys_load(node->config.cluster_key_file, &node->cluster_keys, trail);
}

void start__cluster_stop(void *context)
{
    struct node *node = context;
    explicit_bzero(&node->cluster_keys, sizeof node->cluster_keys);
}

socklen_t start__socket_address(const struct address *address, struct sockaddr_storage *out)
{
    struct sockaddr_in *four = (struct sockaddr_in *)out;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)out;
    memset(out, 0, sizeof *out);
    if (inet_pton(AF_INET, address->host, &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        four->sin_port = htons(address->port);
        return sizeof *four;
    }
    int rc = inet_pton(AF_INET6, address->host, &six->sin6_addr);
    CHECK(rc == 1); /* address_parse() took it */
    six->sin6_family = AF_INET6;
    six->sin6_port = htons(address->port);
    return sizeof *six;
}

static struct group_peers_options peers_options(const struct node *node)
{
    const struct cluster_plan *plan = &node->plan;
    struct group_peers_options options = {
        .loop = node->peer_loop,
        .arena = node->arena,
        .self = plan->self,
        .node_count = plan->count,
        .choice = (enum transport_choice)node->config.cluster_backend,
        .in_sync_min = plan->in_sync_min,
        .log_records = node->config.cluster_log_records,
        .busy_poll_ns = node->config.cluster_busy_poll,
        .disk_timeout_ns = node->config.cluster_disk_timeout,
    };
    for (unsigned i = 0; i < plan->count; i++) {
        options.nodes[i].node = plan->members[i].node;
        options.nodes[i].address_size =
            start__socket_address(&plan->members[i].address, &options.nodes[i].address);
    }
    options.listen_size = start__socket_address(&plan->listen, &options.listen);
    cluster_id(node->config.cluster_name, plan, options.cluster);
    memcpy(options.key, node->cluster_keys.peers, sizeof options.key);
    return options;
}

/* Before there are memory and threads for a group that would not have it. */
enum err start__whose_volume(void *context, struct err_trail *trail)
{
    struct node *node = context;
    return group_judge_volume(node->volume, node->plan.count > 0, trail);
}

enum err start__group(void *context, struct err_trail *trail)
{
    struct node *node = context;
    struct group_options options = {.volume = node->volume, .work_pool = node->work_pool};
    struct group_peers_options peers;
    if (node->plan.count > 0) {
        peers = peers_options(node);
        options.peers = &peers;
    }
    enum err e = group_open(&options, &node->group, trail);
    if (options.peers != NULL)
        explicit_bzero(&peers, sizeof peers);
    return e;
}

void start__group_stop(void *context)
{
    struct node *node = context;
    group_close(TAKE(node->group));
}

/* ---- waiting ---- */

enum err start__wait_for_group(void *context, struct err_trail *trail)
{
    struct node *node = context;
    uint64_t said_ns = 0;
    for (;;) {
        struct err_trail why = {0};
        enum err e = group_wait_ready(node->group, WAIT_LOOK_NS, &why);
        if (e != ERR_TIMEOUT) {
            if (e)
                *trail = why;
            return e;
        }
        if (node->is_asked_to_stop != NULL && node->is_asked_to_stop(node->stop_context))
            return err_say(trail, ERR_CANCELLED, "stopped while waiting: %s",
                           err_trail_text(&why, e));
        uint64_t now_ns = clock_mono_ns(clock_system());
        if (said_ns != 0 && now_ns - said_ns < WAIT_SAY_NS)
            continue;
        said_ns = now_ns;
        LOG(LOG_INFO, "start", "waiting for the group: %s", err_trail_text(&why, e));
    }
}

bool start__try_again(struct node *node, enum err e, enum err *ret_err, struct err_trail *trail)
{
    *ret_err = e;
    if (node->plan.count == 0 || e == ERR_OK || err_family(e) != FAM_BUSY)
        return false;
    err_trail_reset(trail);
    *ret_err = start__wait_for_group(node, trail);
    return *ret_err == ERR_OK;
}

/* A disk that takes no writes now, or a group that does not, is no reason not to start: they are
 * dropped another time. */
enum err start__tidy(void *context, struct err_trail *trail)
{
    struct node *node = context;
    enum err e = bucket_settings_tidy(node->bucket_settings, trail);
    switch (err_family(e)) {
    case FAM_FULL:
    case FAM_BUSY:
        err_trail_reset(trail);
        return ERR_OK;
    case FAM_OK:
    case FAM_ABSENT:
    case FAM_EXISTS:
    case FAM_CALLER:
    case FAM_DENIED:
    case FAM_IO:
    case FAM_DATA:
    case FAM_BUG:
        break;
    }
    return e;
}
