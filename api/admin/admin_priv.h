/*
 * What the door to libmicrohttpd (http.c) and the handlers share. A handler is a plain function
 * from a request to a reply: it knows paths and JSON, and nothing of HTTP's bytes or of the
 * library. It runs on a thread of its own that may block.
 */
#ifndef API_ADMIN_ADMIN_PRIV_H
#define API_ADMIN_ADMIN_PRIV_H

#include <jansson.h>
#include <stdatomic.h>

#include "api/admin/admin.h"
#include "base/metric.h"

#define ADMIN_BODY_BYTES_MAX KIB(64) /* a key with sixteen grants is 3 KiB */

struct admin {
    struct group *group;                     /* borrowed */
    struct volume *volume;                   /* borrowed */
    struct keyring *keyring;                 /* borrowed */
    struct bucket_settings *bucket_settings; /* borrowed; may be NULL */
    struct scrub *scrub;                     /* borrowed; may be NULL */
    struct http_server *s3;                  /* borrowed; may be NULL */
    struct path_policy get_policy;
    struct clock *clock;                                       /* borrowed */
    const char *version, *region, *s3_endpoint, *tls_endpoint; /* borrowed */
    char token[129];
    bool metrics_open;
    uint64_t started_ns; /* monotonic */
    _Atomic(const char *) why_not_ready;
    void *daemon; /* owned: http.c's */
    uint16_t port;
    struct metric_source metrics, group_metrics;
};

struct admin_request {
    const char *rest; /* what follows a route's path when it takes more: "ID" of /v1/keys/ID */
    /* A query parameter; {NULL, 0} when absent. */
    struct bytes (*query)(const struct admin_request *request, const char *name);
    void *connection;   /* query's */
    const json_t *body; /* borrowed; NULL when none came */
};

struct admin_reply {
    int status;
    json_t *json;         /* owned, or NULL: then text */
    struct text_buf text; /* owned */
};

typedef void admin_handler_fn(struct admin *admin, const struct admin_request *request,
                              struct admin_reply *reply);

enum admin_access { ADMIN_OPEN, ADMIN_METRICS, ADMIN_TOKEN };

struct admin_route {
    const char *method; /* HEAD is served by GET's route */
    const char *path;   /* ends in '/': takes what follows */
    enum admin_access access;
    admin_handler_fn *handler;
};

/* NULL: *ret_methods says which methods the path has ("GET, POST"), or is empty: no such path. */
const struct admin_route *admin_route_find(const char *method, const char *path,
                                           char ret_methods[64]);

admin_handler_fn admin_health, admin_ready, admin_metrics, admin_status, admin_volume;
admin_handler_fn admin_keys_list, admin_key_create, admin_key_remove;
admin_handler_fn admin_bucket, admin_bucket_set;
admin_handler_fn admin_replication, admin_peers;
admin_handler_fn admin_scrub, admin_scrub_set;
admin_handler_fn admin_extents, admin_extents_map, admin_extents_show, admin_object, admin_explain;

/* An error as status and {"error": ...}. The trail may be empty, the hint NULL. */
void admin_reply_error(struct admin_reply *reply, enum err e, const struct err_trail *trail,
                       const char *hint);
/* Takes; NULL is out of memory. */
void admin_reply_json(struct admin_reply *reply, int status, json_t *json);

/* So that what follows reads what any node acknowledged before. False: the reply says why it cannot
 * be made sure of. */
bool admin_freshen(struct admin *admin, struct admin_reply *reply);
/* The same for what looks at this node's own disk, which is worth seeing also when it cannot be
 * made sure of. */
void admin_try_freshen(struct admin *admin);

/* Gauges of the group and its peers, likewise of admin_metrics_open(). */
void admin_group_metrics_open(struct admin *admin);
void admin_group_metrics_close(struct admin *admin);

/* Gauges of the process, written with the others. */
void admin_metrics_open(struct admin *admin);
void admin_metrics_close(struct admin *admin);

#endif
