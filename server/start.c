#include "server/start.h"

#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "api/http/pipes.h"
#include "base/check.h"
#include "base/log.h"
#include "replication/link.h"
#include "server/start_priv.h"
#include "sluice_config.h"

#define WORKERS_MIN     2u
#define SHARE_LARGE_MIN 8u /* slots a worker cannot do without: two uploads' worth */
#define SHARE_SMALL_MIN 8u
#define FILES_WANTED    1024u            /* besides one a connection: segments, index, rings */
#define WORKER_FILES    (2u * PIPES_MAX) /* the ends of a worker's pipes */

static unsigned wanted_workers(const struct node *node)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (node->config.s3_workers > 0)
        return (unsigned)node->config.s3_workers;
    if (cores < (long)WORKERS_MIN)
        return WORKERS_MIN;
    return cores < (long)WORKERS_MAX ? (unsigned)cores : WORKERS_MAX;
}

/* ---- limits: taken as far as they may be, told in the banner ---- */

static uint64_t limit_raise(int resource, uint64_t wanted)
{
    struct rlimit limit;
    if (getrlimit((__rlimit_resource_t)resource, &limit) != 0)
        return 0;
    struct rlimit raised = {.rlim_cur = wanted, .rlim_max = limit.rlim_max};
    if (limit.rlim_max != RLIM_INFINITY && wanted > limit.rlim_max) {
        /* root may raise the hard limit too; others get what there is */
        struct rlimit both = {.rlim_cur = wanted, .rlim_max = wanted};
        if (setrlimit((__rlimit_resource_t)resource, &both) == 0)
            return wanted;
        raised.rlim_cur = limit.rlim_max;
    }
    if (limit.rlim_cur != RLIM_INFINITY && raised.rlim_cur > limit.rlim_cur &&
        setrlimit((__rlimit_resource_t)resource, &raised) == 0)
        return raised.rlim_cur;
    return limit.rlim_cur;
}

static enum err limits_start(void *context, struct err_trail *trail)
{
    struct node *node = context;
    uint64_t wanted = node->config.s3_connections_max + FILES_WANTED +
                      (uint64_t)wanted_workers(node) * WORKER_FILES;
    node->files_max = limit_raise(RLIMIT_NOFILE, wanted);
    node->memlock_max = limit_raise(RLIMIT_MEMLOCK, RLIM_INFINITY);
    if (node->files_max < wanted)
        LOG(LOG_WARN, "start",
            "only %llu open files are allowed and %llu connections may come: raise `ulimit -n` "
            "(LimitNOFILE= in systemd) or lower [s3] connections-max",
            (unsigned long long)node->files_max,
            (unsigned long long)node->config.s3_connections_max);
    return ERR_OK;
}

static enum err get_policy_read(const struct config *config, struct path_policy *ret_policy,
                                struct err_trail *trail)
{
    /* The configuration's choices leave inline out, which nobody can ask for. */
    static const uint8_t paths[] = {PATH_AUTO,   PATH_SENDFILE, PATH_SPLICE, PATH_RING_SPLICE,
                                    PATH_DIRECT, PATH_MMAP,     PATH_COPY};
    CHECK(config->get_path < COUNT_OF(paths));
    *ret_policy = (struct path_policy){.path = paths[config->get_path]};
    if (path_verify_parse(bytes_of_string(config->get_verify), ret_policy))
        return err_say(trail, ERR_INVALID,
                       "[get] verify: '%.40s' is none of off, cold, sample:N and always",
                       config->get_verify);
    return ERR_OK;
}

static enum err count_judge(const char *key, unsigned count, unsigned max, struct err_trail *trail)
{
    return count <= max ? ERR_OK
                        : err_say(trail, ERR_INVALID, "[s3] %s: %u are given and %u can be", key,
                                  count, max);
}

enum err node_judge(const struct config *config, struct err_trail *trail)
{
    struct path_policy policy;
    char scratch[CONFIG_TEXT_MAX];
    const char *words[S3_GZIP_BUCKETS_MAX];
    _Static_assert(S3_DOMAINS_MAX <= S3_GZIP_BUCKETS_MAX, "words hold either");
    enum err e = get_policy_read(config, &policy, trail);
    if (!e)
        e = count_judge("domains", config_words(config->s3_domains, scratch, words, S3_DOMAINS_MAX),
                        S3_DOMAINS_MAX, trail);
    if (!e)
        e = count_judge("gzip-variants",
                        config_words(config->s3_gzip_variants, scratch, words, S3_GZIP_BUCKETS_MAX),
                        S3_GZIP_BUCKETS_MAX, trail);
    return e;
}

static enum err configuration_start(void *context, struct err_trail *trail)
{
    struct node *node = context;
    enum err e = node_judge(&node->config, trail);
    return e ? e : get_policy_read(&node->config, &node->get_policy, trail);
}

static enum err log_start(void *context, struct err_trail *trail)
{
    struct node *node = context;
    log_set_level((enum log_level)node->config.log_level);
    log_set_format((enum log_format)node->config.log_format);
    return ERR_OK;
}

/* ---- the volume ---- */

static enum volume_direct wanted_direct(const struct node *node)
{
    return node->config.storage_allow_buffered ? VOLUME_DIRECT_ANY : VOLUME_DIRECT_REQUIRED;
}

/* An empty or absent directory becomes a volume; one that holds anything is left to volume_open()
 * to judge. */
static enum err format_start(void *context, struct err_trail *trail)
{
    struct node *node = context;
    struct err_trail why = {0};
    enum err e = volume_format(
        &(struct volume_format_options){
            .dir = node->dir,
            .segment_bytes = node->config.storage_segment_size,
            .direct = wanted_direct(node),
        },
        &why);
    if (e == ERR_FILE_EXISTS)
        return ERR_OK;
    node->is_new = e == ERR_OK;
    if (e)
        *trail = why;
    return e;
}

/* Data made here is named by ids that no other node gives, nor this one in another life. */
static uint64_t draw_data_epoch(void)
{
    uint64_t drawn;
    rand_fill(rand_system(), &drawn, sizeof drawn);
    return drawn | DATA_EPOCH_DRAWN;
}

static enum err volume_start(void *context, struct err_trail *trail)
{
    struct node *node = context;
    bool has_peers = node_peers(node) > 0;
    return volume_open(
        &(struct volume_options){
            .dir = node->dir,
            .direct = wanted_direct(node),
            .threads = VOLUME_THREADS,
            .index_cache_bytes = node->config.memory_index_cache,
            .record_cache_bytes = node->config.memory_object_cache,
            .has_log = has_peers,
            .data_epoch = has_peers ? draw_data_epoch() : 0,
        },
        &node->volume, trail);
}

static void volume_stop(void *context)
{
    struct node *node = context;
    volume_close(TAKE(node->volume));
}

/* ---- pool ---- */

static enum err pool_start(void *context, struct err_trail *trail)
{
    struct node *node = context;
    return work_pool_open((unsigned)node->config.storage_threads, "blocking", &node->work_pool);
}

static void pool_stop(void *context)
{
    struct node *node = context;
    work_pool_close(TAKE(node->work_pool));
}

/* ---- memory and threads ---- */

uint64_t arena_default_bytes(uint64_t ram_bytes)
{
    uint64_t bytes = ram_bytes / 16;
    bytes = bytes < MIB(64) ? MIB(64) : bytes > GIB(1) ? GIB(1) : bytes;
    return bytes / MIB(8) * MIB(8);
}

static uint64_t machine_ram_bytes(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    return pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : GIB(1);
}

/* Of the arena, besides the slots: what the peers may write into. */
static uint64_t landing_bytes(const struct node *node)
{
    return node->config.cluster_landing > 0 ? node->config.cluster_landing : LINK_AREA_BYTES_USUAL;
}

/* Three quarters in large slots, which bodies stream through; a quarter in small ones, which small
 * objects and tails take. With peers, the replication thread has a share as the workers have. */
static enum err arena_start(void *context, struct err_trail *trail)
{
    struct node *node = context;
    node->worker_count = wanted_workers(node);
    uint32_t peers = node_peers(node), shares = node->worker_count + (peers > 0);
    uint32_t small_min = SHARE_SMALL_MIN + (peers > 0 ? LINKS_SMALL_SLOTS(peers) : 0);
    uint64_t bytes = node->config.memory_arena > 0 ? node->config.memory_arena
                                                   : arena_default_bytes(machine_ram_bytes());
    uint64_t least = shares * (SHARE_LARGE_MIN * (uint64_t)SLOT_LARGE_BYTES +
                               small_min * (uint64_t)SLOT_SMALL_BYTES);
    uint64_t large = bytes * 3 / 4 / SLOT_LARGE_BYTES;
    uint64_t small = (bytes - large * SLOT_LARGE_BYTES) / SLOT_SMALL_BYTES;
    if (bytes < least) {
        LOG(LOG_WARN, "start",
            "an arena of %llu MiB is too small for %u workers%s and is made %llu MiB",
            (unsigned long long)(bytes >> 20), node->worker_count,
            peers > 0 ? " and replication" : "", (unsigned long long)((least + MIB(1) - 1) >> 20));
        large = (uint64_t)shares * SHARE_LARGE_MIN;
        small = (uint64_t)shares * small_min;
    }
    /* Shares are equal: with many peers and a small arena the small slots must be more than a
     * quarter. */
    small = small < (uint64_t)shares * small_min ? (uint64_t)shares * small_min : small;
    node->arena_large = (uint32_t)large;
    node->arena_small = (uint32_t)small;
    enum err e = arena_open(&(struct arena_options){.large_count = node->arena_large,
                                                    .small_count = node->arena_small,
                                                    .share_count = shares,
                                                    .landing_count = peers,
                                                    .landing_bytes = landing_bytes(node)},
                            &node->arena);
    if (e)
        return err_note(trail, e, "map %llu MiB; lower [memory] arena",
                        (unsigned long long)(bytes >> 20));
    node->arena_bytes = arena_size_bytes(node->arena);
    return ERR_OK;
}

static void arena_stop(void *context)
{
    struct node *node = context;
    arena_close(TAKE(node->arena));
}

static void loops_stop(void *context)
{
    struct node *node = context;
    loop_close(TAKE(node->peer_loop));
    for (unsigned i = 0; i < node->worker_count; i++)
        loop_close(TAKE(node->workers[i].loop));
}

static enum err loops_start(void *context, struct err_trail *trail)
{
    struct node *node = context;
    for (unsigned i = 0; i < node->worker_count; i++) {
        char name[24];
        snprintf(name, sizeof name, "worker-%u", i);
        enum err e =
            loop_open(&(struct loop_options){.arena = node->arena, .arena_share = i, .name = name},
                      &node->workers[i].loop, trail);
        if (e) {
            loops_stop(node);
            return err_note(trail, e, "loop of worker %u", i);
        }
    }
    if (node_peers(node) == 0)
        return ERR_OK;
    enum err e = loop_open(&(struct loop_options){.arena = node->arena,
                                                  .arena_share = node->worker_count,
                                                  .name = "replication"},
                           &node->peer_loop, trail);
    if (e) {
        loops_stop(node);
        return err_note(trail, e, "loop of replication");
    }
    return ERR_OK;
}

static void *worker_main(void *context)
{
    struct worker *worker = context;
    loop_run(worker->loop);
    return NULL;
}

static void workers_stop(void *context)
{
    struct node *node = context;
    for (unsigned i = 0; i < node->worker_count; i++)
        if (node->workers[i].has_thread)
            loop_stop(node->workers[i].loop);
    for (unsigned i = 0; i < node->worker_count; i++)
        if (node->workers[i].has_thread) {
            CHECK(pthread_join(node->workers[i].thread, NULL) == 0);
            node->workers[i].has_thread = false;
        }
}

static enum err workers_start(void *context, struct err_trail *trail)
{
    struct node *node = context;
    for (unsigned i = 0; i < node->worker_count; i++) {
        int rc = pthread_create(&node->workers[i].thread, NULL, worker_main, &node->workers[i]);
        if (rc != 0) {
            workers_stop(node);
            return err_note(trail, err_from_errno(rc), "start thread %u", i);
        }
        node->workers[i].has_thread = true;
    }
    return ERR_OK;
}

/* ---- S3 ---- */

static enum err bucket_settings_start(void *context, struct err_trail *trail)
{
    struct node *node = context;
    return bucket_settings_open(node->group, &node->bucket_settings, trail);
}

static void bucket_settings_stop(void *context)
{
    struct node *node = context;
    bucket_settings_close(TAKE(node->bucket_settings));
}

static enum err service_start(void *context, struct err_trail *trail)
{
    struct node *node = context;
    char scratch[CONFIG_TEXT_MAX];
    const char *domains[S3_DOMAINS_MAX];
    unsigned count = config_words(node->config.s3_domains, scratch, domains, S3_DOMAINS_MAX);
    char gzip_scratch[CONFIG_TEXT_MAX];
    const char *gzip_buckets[S3_GZIP_BUCKETS_MAX];
    unsigned gzip_count = config_words(node->config.s3_gzip_variants, gzip_scratch, gzip_buckets,
                                       S3_GZIP_BUCKETS_MAX);
    CHECK(count <= S3_DOMAINS_MAX && gzip_count <= S3_GZIP_BUCKETS_MAX); /* node_judge() */
    return s3_service_open(
        &(struct s3_service_options){
            .group = node->group,
            .keyring = node->keyring,
            .region = node->config.s3_region,
            .domains = domains,
            .domain_count = count,
            .gzip_buckets = gzip_buckets,
            .gzip_bucket_count = gzip_count,
            .worker_count = node->worker_count,
            .put_slots = (uint32_t)node->config.s3_upload_slots,
            .receipts = (enum s3_receipts)node->config.s3_receipts,
            .bucket_settings = node->bucket_settings,
            .get_policy = node->get_policy,
        },
        &node->service, trail);
}

static void service_stop(void *context)
{
    struct node *node = context;
    s3_service_close(TAKE(node->service));
}

static void address_bound(struct address *address, const struct address *wanted, uint16_t port,
                          char *text, size_t text_size)
{
    *address = *wanted;
    address->port = port;
    struct buf out = {.data = text, .capacity = text_size - 1};
    address_print(address, &out);
    text[out.size] = '\0';
}

static struct tls_options tls_options(const struct config *config)
{
    return (struct tls_options){
        .certificate = config->tls_certificate,
        .key = config->tls_key,
        .directory = config->tls_directory,
        .only_13 = config->tls_min_version == TLS_MIN_13,
        .without_kernel = config->tls_kernel == TLS_KERNEL_OFF,
    };
}

static enum err tls_start(void *context, struct err_trail *trail)
{
    struct node *node = context;
    if (!config_has_tls(&node->config))
        return ERR_OK;
    struct tls_options options = tls_options(&node->config);
    return tls_store_open(&options, &node->tls, trail);
}

static void tls_stop(void *context)
{
    struct node *node = context;
    tls_store_close(TAKE(node->tls));
}

enum err node_reload_tls(struct node *node, const struct config *config, struct err_trail *trail)
{
    bool is_wanted = config_has_tls(config), is_there = node->tls != NULL;
    if (is_wanted != is_there)
        return err_say(trail, ERR_UNSUPPORTED, "TLS is turned %s by a restart only",
                       is_wanted ? "on" : "off");
    if (!is_there)
        return ERR_OK;
    struct tls_options options = tls_options(config);
    return tls_store_reload(node->tls, &options, trail);
}

/* Where TLS is served: known when the ports are. */
static void tls_address_bound(struct node *node)
{
    struct address wanted;
    node->tls_text[0] = '\0';
    if (node_is_tls_only(node)) {
        node->tls_address = node->s3_address;
        strcpy(node->tls_text, node->s3_text);
    } else if (node->tls != NULL && config_tls_listen(&node->config, &wanted)) {
        address_bound(&node->tls_address, &wanted, http_server_tls_port(node->http), node->tls_text,
                      sizeof node->tls_text);
    }
}

static enum err http_start(void *context, struct err_trail *trail)
{
    struct node *node = context;
    const struct config *config = &node->config;
    struct loop *loops[WORKERS_MAX];
    for (unsigned i = 0; i < node->worker_count; i++)
        loops[i] = node->workers[i].loop;
    node->http_limits = http_limits_default;
    node->http_limits.connections_max = (uint32_t)config->s3_connections_max;
    node->http_limits.handshake_timeout_ns = config->tls_handshake_timeout;
    node->http_limits.head_timeout_ns = config->s3_head_timeout;
    node->http_limits.idle_timeout_ns = config->s3_idle_timeout;
    node->http_limits.body_timeout_ns = config->s3_body_timeout;
    node->http_limits.body_rate_min = config->s3_body_rate_min;
    node->http_limits.admission_timeout_ns = config->s3_admission_timeout;
    struct address tls_listen = {0};
    bool has_both = config_tls_listen(config, &tls_listen);
    enum err e = http_server_open(
        &(struct http_server_options){
            .address = config->s3_listen.host,
            .port = config->s3_listen.port,
            .tls = node->tls,
            .tls_address = has_both ? tls_listen.host : NULL,
            .tls_port = tls_listen.port,
            .loops = loops,
            .worker_count = node->worker_count,
            .group = node->group,
            .service = s3_service_http(node->service),
            .limits = node->http_limits,
            .access_log = config->log_access,
            .zero_copy = (enum zero_copy_mode)config->get_zero_copy,
        },
        &node->http, trail);
    if (e == ERR_IN_USE && !has_both)
        return start__port_in_use(&config->s3_listen, START_HOW_S3, trail);
    if (e == ERR_IN_USE)
        return err_note(trail, e, "[s3] listen or [tls] listen is in use by another process");
    if (e)
        return e;
    address_bound(&node->s3_address, &config->s3_listen, http_server_port(node->http),
                  node->s3_text, sizeof node->s3_text);
    tls_address_bound(node);
    return ERR_OK;
}

static void post(void *context)
{
    CHECK(sem_post(context) == 0);
}

/* A start that failed later on has not drained. The engine is closed when nothing turns its loops
 * any more. */
static void http_stop(void *context)
{
    struct node *node = context;
    if (!node->is_draining) {
        sem_t drained;
        CHECK(sem_init(&drained, 0, 0) == 0);
        http_server_drain(node->http, 0, post, &drained);
        while (sem_wait(&drained) != 0)
            CHECK(errno == EINTR);
        CHECK(sem_destroy(&drained) == 0);
    }
    workers_stop(node);
    http_server_close(TAKE(node->http));
}

/* ---- the admin port ---- */

static bool metrics_are_open(const struct node *node)
{
    switch ((enum admin_metrics_policy)node->config.admin_metrics) {
    case METRICS_OPEN:
        return true;
    case METRICS_TOKEN:
        return false;
    case METRICS_AUTO:
        break;
    }
    return address_is_loopback(&node->config.admin_listen);
}

static enum err admin_start(void *context, struct err_trail *trail)
{
    struct node *node = context;
    admin_token token;
    enum err e = admin_token_load(node->dir, rand_system(), token, trail);
    if (e)
        return e;
    e = admin_open(
        &(struct admin_options){
            .host = node->config.admin_listen.host,
            .port = node->config.admin_listen.port,
            .token = token,
            .metrics_open = metrics_are_open(node),
            .group = node->group,
            .volume = node->volume,
            .keyring = node->keyring,
            .bucket_settings = node->bucket_settings,
            .scrub = node->scrub,
            .s3 = node->http,
            .get_policy = node->get_policy,
            .version = SLUICE_VERSION,
            .region = node->config.s3_region,
            .s3_endpoint = node->s3_text,
            .tls_endpoint = node->tls_text,
        },
        &node->admin, trail);
    explicit_bzero(token, sizeof token);
    if (e)
        return e;
    address_bound(&node->admin_address, &node->config.admin_listen, admin_port(node->admin),
                  node->admin_text, sizeof node->admin_text);
    return ERR_OK;
}

static void admin_stop(void *context)
{
    struct node *node = context;
    admin_close(TAKE(node->admin));
}

/* ---- ready ---- */

static enum err endpoint_start(void *context, struct err_trail *trail)
{
    struct node *node = context;
    char text[512];
    struct buf out = BUF_ON(text);
    buf_printf(&out, "{\"s3\": \"%s\", \"tls\": \"%s\", \"admin\": \"%s\", \"pid\": %ld}\n",
               node->s3_text, node->tls_text, node->admin_text, (long)getpid());
    enum err e = node_file_write(node->dir, "start-flags", bytes_of_string(node->start_flags), 0644,
                                 NODE_FILE_REPLACE, trail);
    if (e == ERR_OK)
        e = node_file_write(node->dir, "endpoint.json", buf_bytes(&out), 0644, NODE_FILE_REPLACE,
                            trail);
    if (e == ERR_OK)
        last_node_write(node->dir);
    return e;
}

static void endpoint_stop(void *context)
{
    struct node *node = context;
    node_file_remove(node->dir, "endpoint.json");
}

static enum err ready_start(void *context, struct err_trail *trail)
{
    struct node *node = context;
    admin_set_ready(node->admin, NULL);
    return ERR_OK;
}

static void ready_stop(void *context)
{
    struct node *node = context;
    admin_set_ready(node->admin, "stopping");
}

/*
 * Read backwards for shutdown. The S3 port's stop stops the workers, because the engine is closed
 * between its threads and its loops; the pool is closed while the loops it answers to still exist;
 * the volume outlives everybody who may hold an object of it. The ports are open before there is a
 * group, so that a node that waits for its peers can say so: S3 requests are 503 until then.
 */
static const struct start_step start_steps[] = {
    {"log", log_start, NULL},
    {"limits", limits_start, NULL},
    {"configuration", configuration_start, NULL},
    {"TLS certificates", tls_start, tls_stop},
    {"cluster", start__cluster, start__cluster_stop},
    {"ports of a new node", start__ports, NULL},
    {"format the volume", format_start, NULL},
    {"open the volume", volume_start, volume_stop},
    {"whose volume it is", start__whose_volume, NULL},
    {"arena", arena_start, arena_stop},
    {"loops", loops_start, loops_stop},
    {"blocking threads", pool_start, pool_stop},
    {"group", start__group, start__group_stop},
    {"access keys", start__keyring, start__keyring_stop},
    {"root key", start__root_key_alone, NULL},
    {"buckets' settings", bucket_settings_start, bucket_settings_stop},
    {"S3 service", service_start, service_stop},
    {"workers", workers_start, workers_stop},
    {"S3 port", http_start, http_stop},
    {"scrub", start__scrub, start__scrub_stop},
    {"admin port", admin_start, admin_stop},
    {"endpoint file", endpoint_start, endpoint_stop},
    {"wait for the group", start__wait_for_group, NULL},
    {"root key of the cluster", start__root_key_shared, NULL},
    {"tidy buckets' settings", start__tidy, NULL},
    {"ready", ready_start, ready_stop},
};

enum err node_start(struct node *node, struct err_trail *trail)
{
    node->run =
        (struct start_run){.steps = start_steps, .count = COUNT_OF(start_steps), .context = node};
    return steps_start(&node->run, trail);
}

void node_drain(struct node *node, uint64_t grace_ns, void (*drained)(void *context), void *context)
{
    node->is_draining = true;
    admin_set_ready(node->admin, "draining");
    http_server_drain(node->http, grace_ns, drained, context);
}

void node_stop(struct node *node)
{
    steps_stop(&node->run);
    explicit_bzero(&node->root, sizeof node->root);
    explicit_bzero(&node->given, sizeof node->given);
}
