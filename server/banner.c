#include "server/banner.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/check.h"
#include "server/units.h"
#include "sluice_config.h"

/*
 * Measured: code, libraries and heap of the process at rest, stacks of its threads, the index's
 * memtables and writers. What S3 requests need besides their connections (XML, listings) comes out
 * of the service's blocks.
 */
#define PROCESS_BYTES MIB(96)

static void put_size(struct text_buf *out, uint64_t bytes)
{
    char memory[32];
    struct buf buf = BUF_ON(memory);
    size_print_human(bytes, &buf);
    text_put(out, buf_bytes(&buf));
}

static void put_label(struct text_buf *out, const char *label)
{
    text_printf(out, "  %-12s", label);
}

/* A further line under the same label. */
static void put_more(struct text_buf *out)
{
    put_label(out, "");
}

/* ---- memory ---- */

struct memory_row {
    const char *name;
    uint64_t bytes;
};
#define MEMORY_ROWS 8

static void memory_rows(const struct node *node, struct memory_row rows[MEMORY_ROWS])
{
    rows[0] = (struct memory_row){"arena", node->arena_bytes};
    rows[1] = (struct memory_row){"index cache", node->config.memory_index_cache};
    rows[2] = (struct memory_row){"object cache", node->config.memory_object_cache};
    rows[3] = (struct memory_row){"connections", http_memory_bytes(&node->http_limits)};
    rows[4] = (struct memory_row){"requests", s3_memory_bytes(node->worker_count, 0)};
    rows[5] = (struct memory_row){"process", PROCESS_BYTES};
    rows[6] = (struct memory_row){"replication", group_memory_bytes(node_peers(node))};
    rows[7] = (struct memory_row){
        "TLS", node->tls ? http_tls_memory_bytes(&node->http_limits, node->worker_count) : 0};
}

uint64_t node_memory_bytes(const struct node *node)
{
    struct memory_row rows[MEMORY_ROWS];
    uint64_t sum = 0;
    memory_rows(node, rows);
    for (size_t i = 0; i < MEMORY_ROWS; i++)
        sum += rows[i].bytes;
    return sum;
}

static void put_memory(const struct node *node, struct text_buf *out)
{
    struct memory_row rows[MEMORY_ROWS];
    memory_rows(node, rows);
    put_label(out, "memory");
    text_put_string(out, "at most ");
    put_size(out, node_memory_bytes(node));
    text_put_string(out, ":");
    for (size_t i = 0; i < MEMORY_ROWS; i++) {
        if (rows[i].bytes == 0)
            continue;
        text_printf(out, "%s %s ", i > 0 ? " +" : "", rows[i].name);
        put_size(out, rows[i].bytes);
        if (rows[i].bytes == http_memory_bytes(&node->http_limits) && i == 3)
            text_printf(out, " (%u)", node->http_limits.connections_max);
        if (i == 2) {
            text_put_string(out, "\n");
            put_more(out);
            text_put_string(out, "       ");
        }
    }
    text_put_string(out, "\n");
}

/* ---- the disk ---- */

static void put_volume(const struct node *node, struct text_buf *out)
{
    struct volume_status status;
    volume_status(node->volume, &status);
    char uuid[33];
    hex_encode(status.uuid, sizeof status.uuid, uuid);

    put_label(out, "data");
    text_printf(out, "%s (%s)\n", node->dir,
                node->is_new ? "a new volume, made just now" : "volume opened");
    put_more(out);
    text_printf(out, "volume %.8s-%.4s-%.4s-%.4s-%.12s on %s, %s\n", uuid, uuid + 8, uuid + 12,
                uuid + 16, uuid + 20, status.file_system,
                status.direct ? "Direct I/O is real"
                              : "WITHOUT Direct I/O: bytes pass through the page cache");
    put_more(out);
    text_put_string(out, "room for ");
    put_size(out, status.capacity_bytes);
    text_put_string(out, ", ");
    put_size(out, status.used_bytes);
    text_put_string(out, " of it used; ");
    put_size(out, status.disk_free_bytes);
    text_put_string(out, " free on the disk\n");
    if (status.state != VOLUME_OK) {
        put_more(out);
        text_printf(out, "%s: %s\n", status.state == VOLUME_FAILED ? "FAILED" : "READ-ONLY",
                    status.reason);
    }
}

/* ---- the cluster, and what an acknowledgement means ---- */

static void put_durability_alone(struct text_buf *out)
{
    put_label(out, "durability");
    text_put_string(out,
                    "an acknowledged PUT is on this disk: fdatasync of its data, then a synced "
                    "index record.\n");
    put_more(out);
    text_put_string(out, "1 copy: this node is alone. If its disk dies, the objects are gone.\n");
}

static void put_nodes(const struct node *node, struct text_buf *out)
{
    for (unsigned i = 0; i < node->plan.count; i++) {
        char text[64];
        struct buf address = BUF_ON(text);
        const struct cluster_member *member = &node->plan.members[i];
        address_print(&member->address, &address);
        text_printf(out, "%s%u at %.*s%s", i > 0 ? ", " : "", member->node, (int)address.size,
                    address.data, member->node == node->plan.self ? " (this)" : "");
    }
    text_put_string(out, "\n");
}

static void put_cluster(const struct node *node, const struct group_status *group,
                        struct text_buf *out)
{
    put_label(out, "cluster");
    text_printf(out, "node %u of %s: ", node->plan.self, node->config.cluster_name);
    put_nodes(node, out);
    put_more(out);
    text_printf(out, "%s%s in term %llu; %u of %u nodes in sync\n", group->is_primary ? "" : "a ",
                group_role_name(group->role), (unsigned long long)group->term, group->in_sync,
                group->members);
    put_more(out);
    text_printf(out, "bytes to peers go by %s on %s%s%s\n", group->backend, group->device,
                group->backend_reason[0] != '\0' ? ": " : "", group->backend_reason);
    put_label(out, "durability");
    text_printf(out,
                "an acknowledged PUT is on the disk of every node in sync, %u at least: fdatasync "
                "of its data,\n",
                group->in_sync_min);
    put_more(out);
    text_printf(out, "then a synced index record, on each. Its receipt: replicas:%u/%u path:%s\n",
                group->in_sync, group->members,
                strcmp(group->backend, "verbs") == 0 ? "rdma" : group->backend);
}

static void put_group(const struct node *node, struct text_buf *out)
{
    struct group_status group;
    group_status(node->group, &group);
    if (node->plan.count > 0)
        put_cluster(node, &group, out);
    else
        put_durability_alone(out);
}

/* ---- the machine ---- */

static unsigned dir_entries(const char *path)
{
    DIR *dir = opendir(path);
    unsigned count = 0;
    if (dir == NULL)
        return 0;
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir))
        count += entry->d_name[0] != '.';
    (void)closedir(dir);
    return count;
}

static void put_io(const struct node *node, struct text_buf *out)
{
    const struct ring *ring = loop_ring(node->workers[0].loop);
    put_label(out, "I/O");
    text_printf(out, "%u workers, %s%s\n", node->worker_count,
                ring_backend(ring) == RING_BACKEND_URING
                    ? "io_uring"
                    : "epoll, pread and pwrite INSTEAD OF io_uring",
                ring_has_fixed_buffers(ring) ? ", arena registered as fixed buffers" : "");
    if (ring_reason(ring)[0] != '\0') {
        put_more(out);
        text_printf(out, "%s\n", ring_reason(ring));
    }
    if (!ring_has_fixed_buffers(ring) && ring_fixed_reason(ring)[0] != '\0') {
        put_more(out);
        text_printf(out, "%s\n", ring_fixed_reason(ring));
    }
}

/* ---- TLS ---- */

static void put_date(struct text_buf *out, int64_t seconds)
{
    char text[32];
    struct tm tm;
    time_t time = (time_t)seconds;
    gmtime_r(&time, &tm);
    strftime(text, sizeof text, "%Y-%m-%d", &tm);
    text_put_string(out, text);
}

static void put_tls(const struct node *node, struct text_buf *out)
{
    if (node->tls == NULL)
        return;
    struct tls_store_info info;
    tls_store_info(node->tls, &info);
    put_label(out, "TLS");
    text_printf(out, "%s, %s\n", node->config.tls_min_version == TLS_MIN_13 ? "1.3" : "1.2 and 1.3",
                info.has_kernel ? "encrypted by the kernel (kTLS): objects go out without a copy"
                : node->config.tls_kernel == TLS_KERNEL_OFF
                    ? "encrypted by OpenSSL: kTLS is turned off"
                    : "encrypted by OpenSSL, which copies: this kernel has no kTLS (modprobe tls)");
    put_more(out);
    text_printf(out, "%u certificate%s, for %s%s; expires ", info.count, info.count == 1 ? "" : "s",
                info.names[0] != '\0' ? info.names : "no host",
                info.count > 1 ? " and others" : "");
    put_date(out, info.expires_s);
    text_put_string(out, "\n");
}

static void put_missing(const struct node *node, struct text_buf *out)
{
    if (node->plan.count > 0)
        return; /* what carries bytes to the peers was said */
    put_label(out, "not here");
    unsigned devices = dir_entries("/sys/class/infiniband");
    if (devices == 0)
        text_put_string(out,
                        "RDMA: no device in /sys/class/infiniband, nor needed by a node alone\n");
    else
        text_printf(out, "RDMA: %u device%s here, not used by a node alone\n", devices,
                    devices == 1 ? "" : "s");
}

/* ---- keys, and how to begin ---- */

static void put_keys(const struct node *node, struct text_buf *out)
{
    put_label(out, "keys");
    switch (node->root_origin) {
    case ROOT_KEY_KEPT:
        text_printf(out, "%zu access key%s, as before (sluice key list)\n",
                    keyring_count(node->keyring), keyring_count(node->keyring) == 1 ? "" : "s");
        break;
    case ROOT_KEY_GIVEN:
        text_printf(out, "root key %s from SLUICE_ACCESS_KEY; its secret is not shown\n",
                    node->root.access_key);
        break;
    case ROOT_KEY_DRAWN:
        text_printf(out, "access key  %s\n", node->root.access_key);
        put_more(out);
        text_printf(out, "secret key  %s\n", node->root.secret_key);
        put_more(out);
        text_printf(out, "shown this once; kept in %s/root-credentials (0600)\n", node->dir);
    }
    if (node->given_is_ignored) {
        put_more(out);
        text_printf(
            out,
            "WARNING: SLUICE_ACCESS_KEY=%s was NOT taken: it counts at the first start only.\n",
            node->given.access_key);
        put_more(out);
        text_put_string(out, "To add it: sluice key create --access-key ID --secret-stdin\n");
    }
}

static void put_try(const struct node *node, struct text_buf *out)
{
    struct address reachable = node->s3_address;
    if (address_is_any(&reachable))
        strcpy(reachable.host, strchr(reachable.host, ':') != NULL ? "::1" : "127.0.0.1");
    char text[64];
    struct buf address = BUF_ON(text);
    address_print(&reachable, &address);

    text_put_string(out, "\n  Try it:\n");
    text_printf(out,
                "    export AWS_ACCESS_KEY_ID=%s AWS_SECRET_ACCESS_KEY=%s AWS_DEFAULT_REGION=%s\n",
                node->root.access_key[0] != '\0' ? node->root.access_key : "...",
                node->root_origin == ROOT_KEY_DRAWN ? node->root.secret_key : "...",
                node->config.s3_region);
    text_printf(out, "    alias s3='aws --endpoint-url %s://%.*s s3'%s\n",
                node_is_tls_only(node) ? "https" : "http", (int)address.size, address.data,
                node_is_tls_only(node) ? "    # --ca-bundle FILE for a certificate of your own"
                                       : "");
    text_put_string(out,
                    "    s3 mb s3://photos && s3 cp cat.jpg s3://photos/ && s3 ls s3://photos/\n");
}

static bool peers_are_on_loopback(const struct node *node)
{
    bool all = true;
    for (unsigned i = 0; i < node->plan.count; i++)
        all = all && address_is_loopback(&node->plan.members[i].address);
    return all;
}

static void put_warnings(const struct node *node, struct text_buf *out)
{
    if (!peers_are_on_loopback(node))
        text_put_string(
            out,
            "\n  WARNING: what goes between the nodes is authenticated and NOT ENCRYPTED: keep it "
            "on a private\n           network.\n");
    if (!address_is_loopback(&node->s3_address) && !node_is_tls_only(node))
        text_printf(
            out,
            "\n  WARNING: S3 listens on %s WITHOUT TLS: whoever is on the way can read objects "
            "and\n"
            "           replay requests. Give it a certificate (--tls-cert, --tls-key), or listen "
            "on "
            "loopback.\n",
            node->s3_text);
    if (!address_is_loopback(&node->admin_address))
        text_printf(out,
                    "\n  WARNING: the admin port listens on %s WITHOUT TLS: its token can be read "
                    "on the way\n"
                    "           and makes access keys. Keep it on loopback or a private network.\n",
                    node->admin_text);
    struct rlimit core;
    if (getrlimit(RLIMIT_NOFILE, &core) == 0 && node->files_max < node->config.s3_connections_max)
        text_printf(out,
                    "\n  WARNING: only %llu open files are allowed: fewer than connections-max "
                    "(%llu). ulimit -n\n",
                    (unsigned long long)node->files_max,
                    (unsigned long long)node->config.s3_connections_max);
}

void banner_print(const struct node *node, struct text_buf *out)
{
    text_printf(out, "\nSluice %s is ready\n\n", SLUICE_VERSION);
    put_label(out, "S3");
    text_printf(out, "%s://%s   region %s\n", node_is_tls_only(node) ? "https" : "http",
                node->s3_text, node->config.s3_region);
    if (node->tls != NULL && !node_is_tls_only(node)) {
        put_more(out);
        text_printf(out, "https://%s\n", node->tls_text);
    }
    put_tls(node, out);
    put_label(out, "admin");
    text_printf(out, "http://%s   (%s; token in %s/admin-token)\n", node->admin_text,
                "health, metrics, the sluice tool", node->dir);
    put_keys(node, out);
    put_volume(node, out);
    put_group(node, out);
    put_memory(node, out);
    put_io(node, out);
    put_missing(node, out);
    put_try(node, out);
    put_warnings(node, out);
    text_put_string(out, "\n  Look inside: sluice status      Stop: Ctrl-C or SIGTERM\n\n");
}
