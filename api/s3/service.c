#include "api/s3/service.h"

#include <stdlib.h>

#include "api/s3/receive.h"
#include "api/s3/refuse.h"
#include "api/s3/service_priv.h"
#include "api/s3/tally.h"
#include "base/log.h"

_Static_assert(sizeof(struct s3_request) <= HTTP_STATE_BYTES,
               "a request lives in its exchange's state");

#define BLOCKS_MAX_DEFAULT 1024u
#define PUT_SLOTS_DEFAULT  4u
#define SLOW_REQUEST_NS    (5 * NS_PER_SECOND) /* said in the log, with where the time went */

static group_asked_fn request_freshened;

/* ---- the way of every request ---- */

static bool request_target(struct s3_request *r)
{
    struct s3_target target;
    switch (s3_target_parse(r->http->path, r->http->host, r->service->domains,
                            r->service->domain_count, r->key_text, &target)) {
    case S3_TARGET_OK:
        break;
    case S3_TARGET_BAD_URI:
        s3_fail(r, S3_E(InvalidURI));
        return false;
    case S3_TARGET_KEY_TOO_LONG:
        s3_fail(r, S3_E(KeyTooLongError));
        return false;
    }
    r->bucket_name = target.bucket;
    r->key = target.key;
    r->resource = target.bucket.size == 0 ? S3_SERVICE
                  : target.key.size == 0  ? S3_BUCKET
                                          : S3_OBJECT;
    switch (s3_query_parse(r->http->query, &r->query)) {
    case ERR_OK:
        return true;
    case ERR_TOO_LARGE:
        s3_fail_text(r, S3_E(InvalidArgument), "The query has too many or too long parameters");
        return false;
    default:
        s3_fail(r, S3_E(InvalidURI));
        return false;
    }
}

static bool request_route(struct s3_request *r)
{
    r->route = s3_route_find(r->http, r->resource, &r->query);
    if (r->route == NULL) {
        s3_fail(r, S3_E(MethodNotAllowed));
        return false;
    }
    http_log_operation(r->x, r->route->operation, (struct bytes){0});
    return true;
}

static bool is_hoisted(struct bytes name)
{
    return bytes_start_with_nocase(name, BYTES("x-amz-")) && !sigv4_is_own_param(name);
}

/*
 * Presigners move x-amz-* headers into the query, where they mean the same. They are put behind the
 * head's own, which win.
 */
static bool request_headers(struct s3_request *r)
{
    size_t hoisted = 0;
    r->headers = (struct s3_headers){.at = (const struct s3_header *)r->http->headers,
                                     .count = r->http->header_count};
    for (uint32_t i = 0; r->auth.sigv4.is_presigned && i < r->query.count; i++)
        hoisted += is_hoisted(r->query.params[i].name);
    if (hoisted == 0)
        return true;
    struct s3_header *all = s3_take(r, (r->headers.count + hoisted) * sizeof *all);
    if (all == NULL) {
        s3_fail(r, S3_E(SlowDown));
        return false;
    }
    size_t count = r->headers.count;
    memcpy(all, r->headers.at, count * sizeof *all);
    for (uint32_t i = 0; i < r->query.count; i++)
        if (is_hoisted(r->query.params[i].name))
            all[count++] = (struct s3_header){r->query.params[i].name, r->query.params[i].value};
    r->headers = (struct s3_headers){.at = all, .count = count};
    return true;
}

/* A bucket that is not there: told apart from one that may not be seen only to who could have it.
 */
static bool request_bucket(struct s3_request *r)
{
    if (r->resource == S3_SERVICE || r->route->makes_bucket)
        return true;
    enum err e = group_bucket(r->service->group, r->bucket_name, &r->bucket);
    if (e) {
        s3_fail_err(r, e);
        return false;
    }
    if (!r->route->is_anonymous && !access_key_may(&r->auth.key, &r->bucket, r->route->needs)) {
        s3_fail(r, S3_E(AccessDenied));
        return false;
    }
    return true;
}

/* ---- freshness ---- */

/*
 * What another node has acknowledged must be seen here before anything is looked up, the bucket's
 * name too. A node alone, and a primary that holds its leases, know that at once; others ask, and
 * the request goes on, or is 503, when they know.
 */
static void request_freshen(struct s3_request *r)
{
    struct s3_ask *ask = s3_ask_take(r);
    if (ask == NULL) {
        s3_fail(r, S3_E(SlowDown));
        return;
    }
    ask->ask.done = request_freshened;
    group_fresh(r->service->group, &ask->ask);
}

static bool request_is_known(struct s3_request *r)
{
    if (r->is_authenticated || r->route->is_anonymous)
        return true;
    switch (s3_authenticate(r)) {
    case S3_AUTH_DONE:
        r->is_authenticated = true;
        return true;
    case S3_AUTH_REFUSED:
        return false;
    case S3_AUTH_UNSURE:
        request_freshen(r);
        return false;
    }
    CHECK(!"an outcome of no known kind");
    return false;
}

/* Again from here when the request had to be made fresh. */
static void request_admit(struct s3_request *r)
{
    if (!request_is_known(r))
        return;
    if (r->route->handler == NULL) {
        s3_fail(r, S3_E(NotImplemented));
        return;
    }
    if (!r->is_fresh && !group_is_fresh(r->service->group)) {
        request_freshen(r);
        return;
    }
    r->is_fresh = true;
    if (!request_headers(r) || !request_bucket(r) || !s3_refuse_unsupported(r))
        return;
    r->route->handler(r);
}

static void request_freshened(struct group_ask *group_ask)
{
    struct s3_ask *ask = CONTAINER_OF(group_ask, struct s3_ask, ask);
    CHECK_MAGIC(ask, S3_ASK_MAGIC);
    struct s3_request *r = ask->r;
    r->is_fresh = group_ask->err == ERR_OK;
    s3_ask_put(ask);
    if (r->is_fresh)
        request_admit(r);
    else
        s3_fail_text(r, S3_E(SlowDown),
                     "This node cannot make sure now that it has what the others have: try again");
}

static void service_begin(struct http_service *http, struct exchange *x)
{
    struct s3_request *r = http_state(x);
    r->magic = S3_REQUEST_MAGIC;
    s3_query_clear(&r->query);
    r->service = CONTAINER_OF(http, struct s3_service, http);
    r->worker = r->service->workers[http_worker(x)];
    r->x = x;
    r->http = http_request(x);
    r->began_ns = loop_now_ns(http_loop(x));
    if (request_target(r) && request_route(r))
        request_admit(r);
}

static void request_tell_slow(const struct s3_request *r, uint64_t took_ns)
{
    char text[200];
    struct buf steps = BUF_ON(text);
    if (r->op.kind != NULL)
        op_print(&r->op, &steps);
    LOG_LIMITED(LOG_INFO, "s3", "slow request id=%s operation=%s took_ms=%llu steps=\"%.*s\"",
                http_request_id(r->x), r->route ? r->route->operation : "none",
                (unsigned long long)(took_ns / NS_PER_MS), (int)steps.size, text);
}

static void service_end(struct http_service *http, struct exchange *x)
{
    struct s3_request *r = http_state(x);
    (void)http;
    CHECK_MAGIC(r, S3_REQUEST_MAGIC);
    if (r->release != NULL)
        r->release(r);
    while (r->blocks != NULL) {
        struct s3_block *block = r->blocks;
        r->blocks = block->next;
        s3_block_put(&r->worker->blocks, block);
    }
    uint64_t took_ns = loop_now_ns(http_loop(x)) - r->began_ns;
    tally_request(r->route, r->error, took_ns);
    if (took_ns > SLOW_REQUEST_NS)
        request_tell_slow(r, took_ns);
    r->magic = 0;
}

/* ---- what the engine refuses before a request is one ---- */

static enum s3_error refusal_error(enum http_refusal why)
{
    switch (why) {
    case HTTP_REFUSE_URI_TOO_LONG:
    case HTTP_REFUSE_HEAD_TOO_LARGE:
        return S3_E(RequestHeaderSectionTooLarge);
    case HTTP_REFUSE_HEAD_TIMEOUT:
        return S3_E(RequestTimeout);
    case HTTP_REFUSE_CORRUPT:
    case HTTP_REFUSE_INTERNAL:
        return S3_E(InternalError);
    case HTTP_REFUSE_BAD_CODING:
    case HTTP_REFUSE_BAD_VERSION:
        return S3_E(NotImplemented);
    case HTTP_REFUSE_BUSY:
        return S3_E(SlowDown);
    case HTTP_REFUSE_PATH:
        return S3_E(PreconditionFailed);
    case HTTP_REFUSE_PATH_NOW:
        return S3_E(ServiceUnavailable);
    case HTTP_REFUSE_NONE:
    case HTTP_REFUSE_BAD_SYNTAX:
    case HTTP_REFUSE_BAD_HOST:
    case HTTP_REFUSE_BAD_LENGTH:
    case HTTP_REFUSE_PLAIN_HTTP:
    case HTTP_REFUSE_EXPECTATION:
    case HTTP_REFUSE_COUNT:
        break;
    }
    return S3_E(BadRequest);
}

static void service_refuse(struct http_service *http, enum http_refusal why, const char *text,
                           const char *request_id, struct text_buf *body)
{
    (void)http;
    struct s3_error_detail detail = {
        .message = bytes_of_string(text),
        .request_id = bytes_of_string(request_id),
    };
    s3_error_write(body, refusal_error(why), &detail);
}

/* ---- life ---- */

static enum err service_names(struct s3_service *service, const struct s3_service_options *options,
                              struct err_trail *trail)
{
    const char *region = options->region ? options->region : "us-east-1";
    if (strlen(region) >= sizeof service->region)
        return err_note(trail, ERR_INVALID, "region %.40s is too long", region);
    strcpy(service->region, region);
    if (options->domain_count > S3_DOMAINS_MAX)
        return err_note(trail, ERR_INVALID, "more than %d domains", S3_DOMAINS_MAX);
    for (unsigned i = 0; i < options->domain_count; i++) {
        size_t size = strlen(options->domains[i]);
        if (size == 0 || size > S3_DOMAIN_BYTES_MAX)
            return err_note(trail, ERR_INVALID, "domain %.40s is empty or too long",
                            options->domains[i]);
        memcpy(service->domain_text[i], options->domains[i], size);
        service->domains[i] = bytes_of(service->domain_text[i], size);
    }
    service->domain_count = options->domain_count;
    return ERR_OK;
}

static enum err service_gzip_buckets(struct s3_service *service,
                                     const struct s3_service_options *options,
                                     struct err_trail *trail)
{
    if (options->gzip_bucket_count > S3_GZIP_BUCKETS_MAX)
        return err_note(trail, ERR_INVALID, "more than %d buckets with variants",
                        S3_GZIP_BUCKETS_MAX);
    for (unsigned i = 0; i < options->gzip_bucket_count; i++) {
        struct bytes name = bytes_of_string(options->gzip_buckets[i]);
        if (!bytes_equal(name, BYTES("*")) && !s3_bucket_name_is_valid(name))
            return err_note(trail, ERR_INVALID, "'%.80s' is no bucket's name, nor *", name.data);
        memcpy(service->gzip_buckets[i], name.data, name.size);
    }
    service->gzip_bucket_count = options->gzip_bucket_count;
    return ERR_OK;
}

static uint32_t blocks_of(uint32_t blocks_max)
{
    return blocks_max ? blocks_max : BLOCKS_MAX_DEFAULT;
}

uint64_t s3_memory_bytes(unsigned worker_count, uint32_t blocks_max)
{
    return worker_count *
           (sizeof(struct s3_worker) + (uint64_t)blocks_of(blocks_max) * sizeof(struct s3_block));
}

static enum err service_workers(struct s3_service *service, unsigned count, uint32_t blocks_max)
{
    for (unsigned i = 0; i < count; i++) {
        service->workers[i] = calloc(1, sizeof *service->workers[i]);
        if (service->workers[i] == NULL)
            return ERR_NO_MEMORY;
        s3_block_pool_init(&service->workers[i]->blocks, blocks_max);
        s3_lane_worker_init(&service->workers[i]->lanes, &service->lanes);
        service->worker_count++;
    }
    return ERR_OK;
}

enum err s3_service_open(const struct s3_service_options *options, struct s3_service **ret_service,
                         struct err_trail *trail)
{
    CHECK(options->group != NULL && options->keyring != NULL && options->worker_count > 0);
    CLEANUP(s3_service_close)
    struct s3_service *service =
        calloc(1, sizeof *service + options->worker_count * sizeof service->workers[0]);
    if (service == NULL)
        return ERR_NO_MEMORY;
    service->http = (struct http_service){
        .begin = service_begin,
        .end = service_end,
        .refuse = service_refuse,
        .state_zeroed_bytes = S3_REQUEST_ZEROED_BYTES,
    };
    s3_lanes_init(&service->lanes);
    service->group = options->group;
    service->keyring = options->keyring;
    service->clock = options->clock ? options->clock : clock_system();
    service->rand = options->rand ? options->rand : rand_system();
    service->put_slots = options->put_slots ? options->put_slots : PUT_SLOTS_DEFAULT;
    if (service->put_slots > RECEIVE_SLOTS_MAX)
        return err_note(trail, ERR_INVALID, "an upload holds at most %d slots", RECEIVE_SLOTS_MAX);
    service->receipts = options->receipts;
    service->bucket_settings = options->bucket_settings;
    service->get_policy = options->get_policy;
    enum err e = service_names(service, options, trail);
    if (!e)
        e = service_gzip_buckets(service, options, trail);
    if (!e)
        e = service_workers(service, options->worker_count, blocks_of(options->blocks_max));
    if (e)
        return e;
    tally_register();
    *ret_service = TAKE(service);
    return ERR_OK;
}

void s3_service_close(struct s3_service *service)
{
    if (service == NULL)
        return;
    for (unsigned i = 0; i < service->worker_count; i++) {
        s3_block_pool_fini(&service->workers[i]->blocks);
        explicit_bzero(service->workers[i], sizeof *service->workers[i]); /* signing keys */
        free(service->workers[i]);
    }
    s3_lanes_fini(&service->lanes);
    free(service);
}

struct http_service *s3_service_http(struct s3_service *service)
{
    return &service->http;
}
