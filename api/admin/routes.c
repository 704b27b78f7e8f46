#include <stdio.h>
#include <string.h>

#include "api/admin/admin_priv.h"
#include "api/admin/describe.h"
#include "base/check.h"

static const struct admin_route routes[] = {
    {"GET", "/healthz", ADMIN_OPEN, admin_health},
    {"GET", "/readyz", ADMIN_OPEN, admin_ready},
    {"GET", "/metrics", ADMIN_METRICS, admin_metrics},
    {"GET", "/v1/status", ADMIN_TOKEN, admin_status},
    {"GET", "/v1/volume", ADMIN_TOKEN, admin_volume},
    {"GET", "/v1/replication", ADMIN_TOKEN, admin_replication},
    {"GET", "/v1/peers", ADMIN_TOKEN, admin_peers},
    {"GET", "/v1/scrub", ADMIN_TOKEN, admin_scrub},
    {"POST", "/v1/scrub", ADMIN_TOKEN, admin_scrub_set},
    {"GET", "/v1/keys", ADMIN_TOKEN, admin_keys_list},
    {"POST", "/v1/keys", ADMIN_TOKEN, admin_key_create},
    {"DELETE", "/v1/keys/", ADMIN_TOKEN, admin_key_remove},
    {"GET", "/v1/bucket", ADMIN_TOKEN, admin_bucket},
    {"PUT", "/v1/bucket", ADMIN_TOKEN, admin_bucket_set},
    {"GET", "/v1/extents", ADMIN_TOKEN, admin_extents},
    {"GET", "/v1/extents/map", ADMIN_TOKEN, admin_extents_map},
    {"GET", "/v1/extents/show", ADMIN_TOKEN, admin_extents_show},
    {"GET", "/v1/object", ADMIN_TOKEN, admin_object},
    {"GET", "/v1/explain", ADMIN_TOKEN, admin_explain},
};

static bool path_fits(const char *pattern, const char *path)
{
    size_t size = strlen(pattern);
    if (pattern[size - 1] == '/')
        return strncmp(path, pattern, size) == 0 && path[size] != '\0';
    return strcmp(path, pattern) == 0;
}

const struct admin_route *admin_route_find(const char *method, const char *path,
                                           char ret_methods[64])
{
    if (strcmp(method, "HEAD") == 0)
        method = "GET";
    struct buf methods = {.data = ret_methods, .capacity = 63};
    for (size_t i = 0; i < COUNT_OF(routes); i++) {
        if (!path_fits(routes[i].path, path))
            continue;
        if (strcmp(routes[i].method, method) == 0)
            return &routes[i];
        buf_printf(&methods, "%s%s", methods.size > 0 ? ", " : "", routes[i].method);
    }
    ret_methods[methods.size] = '\0';
    return NULL;
}

/* ---- replies ---- */

static int status_of(enum err e)
{
    switch (err_family(e)) {
    case FAM_OK:
        return 200;
    case FAM_ABSENT:
        return 404;
    case FAM_EXISTS:
        return 409;
    case FAM_CALLER:
        return e == ERR_TOO_LARGE ? 413 : 400;
    case FAM_DENIED:
        return 403;
    case FAM_BUSY:
        return 503;
    case FAM_FULL:
        return 507;
    case FAM_IO:
    case FAM_DATA:
    case FAM_BUG:
        return 500;
    }
    return 500;
}

void admin_reply_error(struct admin_reply *reply, enum err e, const struct err_trail *trail,
                       const char *hint)
{
    reply->status = status_of(e);
    reply->json = describe_error(e, err_trail_text(trail, e), hint);
}

void admin_reply_json(struct admin_reply *reply, int status, json_t *json)
{
    if (json == NULL) {
        admin_reply_error(reply, ERR_NO_MEMORY, NULL, NULL);
        return;
    }
    reply->status = status;
    reply->json = json;
}
