/*
 * Health, readiness, metrics, and the node at a glance.
 */
#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "api/admin/admin_priv.h"
#include "api/admin/describe.h"
#include "base/check.h"
#include "base/metric.h"

void admin_health(struct admin *admin, const struct admin_request *request,
                  struct admin_reply *reply)
{
    reply->status = 200;
    text_put_string(&reply->text, "alive\n");
}

/* With peers also: there is a primary, and this node is not behind. */
static bool node_serves(const char *why_not, const struct volume_status *volume,
                        const struct group_status *group)
{
    return why_not == NULL && volume->state != VOLUME_FAILED && group->sentence[0] == '\0' &&
           group->role != GROUP_STOPPED;
}

/* A read-only volume (a full disk) still serves reads and deletes: it is ready and says what it is.
 */
void admin_ready(struct admin *admin, const struct admin_request *request,
                 struct admin_reply *reply)
{
    const char *why_not = atomic_load(&admin->why_not_ready);
    struct volume_status status;
    volume_status(admin->volume, &status);
    struct group_status group;
    group_status(admin->group, &group);
    bool is_ready = node_serves(why_not, &status, &group);
    reply->status = is_ready ? 200 : 503;
    if (why_not != NULL && group.sentence[0] != '\0')
        text_printf(&reply->text, "not ready: %s: %s\n", why_not, group.sentence);
    else if (why_not != NULL)
        text_printf(&reply->text, "not ready: %s\n", why_not);
    else if (status.state == VOLUME_FAILED)
        text_printf(&reply->text, "not ready: the volume failed: %s\n", status.reason);
    else if (!is_ready)
        text_printf(&reply->text, "not ready: %s\n",
                    group.sentence[0] != '\0' ? group.sentence : group_role_name(group.role));
    else if (status.state == VOLUME_READ_ONLY)
        text_printf(&reply->text, "ready, read-only: %s\n", status.reason);
    else
        text_put_string(&reply->text, "ready\n");
}

/* ---- metrics of the process ---- */

static struct metric resident = {.name = "process_resident_memory_bytes",
                                 .help = "Memory of the process that is in RAM.",
                                 .kind = METRIC_GAUGE};
static struct metric open_files = {
    .name = "process_open_fds", .help = "Open file descriptors.", .kind = METRIC_GAUGE};
static struct metric uptime = {
    .name = "sluice_uptime_seconds", .help = "Time since the start.", .kind = METRIC_GAUGE};
static struct metric key_count = {
    .name = "sluice_access_keys", .help = "Access keys.", .kind = METRIC_GAUGE};
static struct metric ready = {.name = "sluice_ready",
                              .help = "1 when S3 requests are served and acknowledged.",
                              .kind = METRIC_GAUGE};

static uint64_t resident_bytes(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%*u %lu", &pages) != 1)
        pages = 0;
    (void)fclose(file); /* only read from */
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static unsigned count_open_files(void)
{
    unsigned count = 0;
    DIR *dir = opendir("/proc/self/fd");
    if (dir == NULL)
        return 0;
    while (readdir(dir) != NULL)
        count++;
    (void)closedir(dir);
    return count > 3 ? count - 3 : 0; /* ., .. and the directory itself */
}

static void refresh(void *context)
{
    struct admin *admin = context;
    struct volume_status status;
    volume_status(admin->volume, &status);
    metric_set(&resident, (int64_t)resident_bytes());
    metric_set(&open_files, count_open_files());
    metric_set(&uptime,
               (int64_t)((clock_mono_ns(admin->clock) - admin->started_ns) / NS_PER_SECOND));
    metric_set(&key_count, (int64_t)keyring_count(admin->keyring));
    struct group_status group;
    group_status(admin->group, &group);
    metric_set(&ready, node_serves(atomic_load(&admin->why_not_ready), &status, &group));
}

void admin_metrics_open(struct admin *admin)
{
    static struct metric *const all[] = {&resident, &open_files, &uptime, &key_count, &ready};
    for (size_t i = 0; i < COUNT_OF(all); i++)
        metric_register(all[i]);
    admin->metrics = (struct metric_source){.refresh = refresh, .context = admin};
    metric_source_register(&admin->metrics);
    admin_group_metrics_open(admin);
}

void admin_metrics_close(struct admin *admin)
{
    admin_group_metrics_close(admin);
    metric_source_remove(&admin->metrics);
}

void admin_metrics(struct admin *admin, const struct admin_request *request,
                   struct admin_reply *reply)
{
    reply->status = 200;
    metric_write_all(&reply->text);
}

/* ---- /v1 ---- */

static enum err count_bucket(void *context, const struct bucket_info *bucket)
{
    (*(json_int_t *)context)++;
    return ERR_OK;
}

void admin_status(struct admin *admin, const struct admin_request *request,
                  struct admin_reply *reply)
{
    struct group_status group;
    group_status(admin->group, &group);
    json_int_t buckets = 0;
    enum err e = group_buckets(admin->group, count_bucket, &buckets);
    if (e) {
        admin_reply_error(reply, e, NULL, NULL);
        return;
    }
    const char *why_not = atomic_load(&admin->why_not_ready);
    uint64_t up_ns = clock_mono_ns(admin->clock) - admin->started_ns;
    json_t *json = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:{s:I, s:I, s:I, s:I, s:I, s:I, s:b, "
        "s:s, s:s}, s:o}",
        "version", admin->version, "state", why_not != NULL ? why_not : "ready", "region",
        admin->region, "s3_endpoint", admin->s3_endpoint, "tls_endpoint", admin->tls_endpoint,
        "pid", (json_int_t)getpid(), "uptime_seconds", (json_int_t)(up_ns / NS_PER_SECOND),
        "resident_bytes", (json_int_t)resident_bytes(), "access_keys",
        (json_int_t)keyring_count(admin->keyring), "buckets", buckets, "group", "epoch",
        (json_int_t)group.epoch, "term", (json_int_t)group.term, "psn_committed",
        (json_int_t)group.psn_committed, "members", (json_int_t)group.members, "in_sync",
        (json_int_t)group.in_sync, "in_sync_min", (json_int_t)group.in_sync_min, "primary",
        (int)group.is_primary, "register", group.config_register, "role",
        group_role_name(group.role), "volume", describe_volume(admin->volume));
    admin_reply_json(reply, 200, json);
}

void admin_volume(struct admin *admin, const struct admin_request *request,
                  struct admin_reply *reply)
{
    admin_reply_json(reply, 200, describe_volume(admin->volume));
}
