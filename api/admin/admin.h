/*
 * The admin port: health, metrics, and the JSON API that the `sluice` tool and operators' scripts
 * use. It runs on libmicrohttpd with threads of its own, touches no object bytes, and shares
 * nothing with the S3 port but what both may ask: the group, the volume, the keyring.
 *
 *     GET    /healthz          200 while the process lives; no token
 *     GET    /readyz           200 when S3 requests are served and acknowledged, else 503; no token
 *     GET    /metrics          Prometheus text; token, unless metrics_open
 *     GET    /v1/status        the node
 *     GET    /v1/volume        its volume
 *     GET    /v1/replication   the group of nodes as this one sees it
 *     GET    /v1/peers         the others, and what went to them
 *     GET    /v1/keys          access keys, without secrets
 *     POST   /v1/keys          makes one; the answer holds the secret, once
 *     DELETE /v1/keys/ID
 *     GET    /v1/bucket        ?bucket=B: a bucket and what is set for it
 *     PUT    /v1/bucket        ?bucket=B sets: {"get-path": "splice", "verify": "default"}
 *     GET    /v1/extents       ?segment=N &unit=N &max=N: extents in order of place, paged
 *     GET    /v1/extents/map   occupancy of each segment
 *     GET    /v1/extents/show  ?bucket=B &key=K: where one object's bytes lie
 *     GET    /v1/object        ?bucket=B &key=K: one object's record
 *     GET    /v1/explain       ?bucket=B &key=K: and which data path a GET would take now, and why
 *
 * /v1 asks for "Authorization: Bearer TOKEN". Every answer under /v1 is JSON; an error is {"error":
 * {"code", "message", "hint"}}. Bodies and answers are bounded; more comes by pages.
 */
#ifndef API_ADMIN_ADMIN_H
#define API_ADMIN_ADMIN_H

#include "api/http/http.h"
#include "api/s3/bucket_settings.h"
#include "api/s3/keyring.h"
#include "replication/group.h"
#include "storage/scrub.h"
#include "storage/volume.h"

struct admin;

struct admin_options {
    const char *host;                        /* numeric */
    uint16_t port;                           /* 0: any free one */
    const char *token;                       /* borrowed for the call */
    bool metrics_open;                       /* /metrics without the token */
    struct group *group;                     /* borrowed */
    struct volume *volume;                   /* borrowed: this node's disk, for inspection */
    struct keyring *keyring;                 /* borrowed */
    struct bucket_settings *bucket_settings; /* borrowed; NULL: there are none */
    struct scrub *scrub;                     /* borrowed; NULL: there is none */
    /* Borrowed: asked how it would send an object; NULL: nothing is explained. */
    struct http_server *s3;
    struct path_policy get_policy; /* the node's own */
    struct clock *clock;           /* NULL: system */
    const char *version;           /* borrowed */
    const char *region;            /* borrowed */
    const char *s3_endpoint;       /* borrowed: "127.0.0.1:9000" */
    /* Borrowed: where S3 is served by TLS, perhaps the same; "": nowhere. */
    const char *tls_endpoint;
};

/* Listens and answers at once; /readyz says 503 until admin_set_ready(). ERR_IN_USE, ERR_DENIED
 * with a sentence. */
enum err admin_open(const struct admin_options *options, struct admin **ret_admin,
                    struct err_trail *trail) MUST_USE;
uint16_t admin_port(const struct admin *admin);
/* Why S3 requests are not served ("starting", "draining"), or NULL: they are. Borrowed for ever;
 * any thread. */
void admin_set_ready(struct admin *admin, const char *why_not);
void admin_close(struct admin *admin); /* waits for running requests; NULL does nothing */

#endif
