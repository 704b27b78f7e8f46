/*
 * A node from nothing to serving and back, as a table of steps (server/steps.h; the table is in
 * start.c and is the list to read).
 *
 *     node_start --(each step)--> serving ... node_drain --> node_stop
 *
 * One thread drives all of it. The node's struct is filled from top to bottom by the steps;
 * whatever a step makes, its stop takes down.
 */
#ifndef SERVER_START_H
#define SERVER_START_H

#include <pthread.h>

#include "api/admin/admin.h"
#include "api/http/http.h"
#include "api/http/tls.h"
#include "api/s3/keyring.h"
#include "api/s3/service.h"
#include "base/work.h"
#include "server/cluster.h"
#include "server/node_files.h"
#include "server/steps.h"

#define WORKERS_MAX 256u

enum root_key_origin {
    ROOT_KEY_KEPT,  /* made at an earlier start */
    ROOT_KEY_GIVEN, /* from SLUICE_ACCESS_KEY and SLUICE_SECRET_KEY, at this start */
    /* At this start, here or by the peer that came first; in DIR/root-credentials. */
    ROOT_KEY_DRAWN,
};

struct worker {
    struct loop *loop; /* owned */
    pthread_t thread;
    bool has_thread;
};

struct node {
    struct config config;
    char dir[NODE_PATH_MAX];
    char start_flags[NODE_FILE_BYTES_MAX]; /* args_flags(); "" when there are none */
    struct root_credentials given;         /* from the environment; empty when not */
    /* Asked now and then by steps that wait: whether to give up. NULL: never. */
    bool (*is_asked_to_stop)(void *context);
    void *stop_context;

    bool is_new;                     /* the directory was formatted at this start */
    uint64_t files_max, memlock_max; /* limits in effect */
    unsigned worker_count;
    struct cluster_plan plan; /* count 0: alone */
    struct cluster_keys cluster_keys;
    struct volume *volume;  /* owned, as everything below */
    struct loop *peer_loop; /* with peers: the group's thread runs it */
    struct work_pool *work_pool;
    struct group *group;
    struct scrub *scrub;
    uint8_t node_key[32];
    struct keyring *keyring;
    enum root_key_origin root_origin;
    struct root_credentials root; /* to be shown once; empty when kept */
    bool given_is_ignored;        /* keys in the environment that are not this node's */
    struct arena *arena;
    uint64_t arena_bytes;
    uint32_t arena_large, arena_small;
    struct worker workers[WORKERS_MAX];
    struct s3_service *service;
    struct tls_store *tls; /* NULL: none is configured */
    struct http_limits http_limits;
    struct http_server *http;
    bool is_draining;                         /* node_drain() was called */
    struct address s3_address, admin_address; /* as bound: port 0 resolved */
    struct address tls_address; /* where S3 is served by TLS: s3_address, or a port of its own */
    char s3_text[64], admin_text[64], tls_text[64]; /* tls_text: "" without TLS */
    struct bucket_settings *bucket_settings;
    struct path_policy get_policy; /* the node's own */
    struct admin *admin;
    struct start_run run;
};

/* What args_parse() cannot judge of a configuration, because it is the API's. Pure. */
enum err node_judge(const struct config *config, struct err_trail *trail) MUST_USE;
/* config, dir and given are set. A failure leaves nothing running; trail is a sentence.
 * ERR_CANCELLED: is_asked_to_stop() said so while the node waited for its peers. */
enum err node_start(struct node *node, struct err_trail *trail) MUST_USE;
/* Takes no new requests; drained(context) on some thread when the running ones have ended or were
 * cut after grace_ns. */
void node_drain(struct node *node, uint64_t grace_ns, void (*drained)(void *context),
                void *context);
void node_stop(struct node *node); /* after drained() */

/* How many other nodes there are. */
static inline uint32_t node_peers(const struct node *node)
{
    return node->plan.count > 0 ? node->plan.count - 1 : 0;
}
/* Whether the S3 port itself speaks TLS, and nothing is served plainly. */
static inline bool node_is_tls_only(const struct node *node)
{
    return node->tls != NULL && node->config.tls_listen[0] == '\0';
}
/* Reads the certificates that `config` names, for new connections. ERR_UNSUPPORTED: TLS cannot be
 * taken up or given up while running. Any failure leaves the old ones in use. */
enum err node_reload_tls(struct node *node, const struct config *config,
                         struct err_trail *trail) MUST_USE;

/* The arena's size for a machine: a sixteenth of its RAM, from 64 MiB to 1 GiB. Pure. */
uint64_t arena_default_bytes(uint64_t ram_bytes);

#endif
