#include "api/s3/request.h"

#include <stdio.h>

#include "api/s3/meta.h"
#include "api/s3/service_priv.h"
#include "base/log.h"

/* ---- memory ---- */

void *s3_take(struct s3_request *r, size_t size)
{
    struct s3_block *block = s3_block_take(&r->worker->blocks, size);
    if (block == NULL)
        return NULL;
    block->next = r->blocks;
    r->blocks = block;
    return block->memory;
}

/* ---- what was asked ---- */

bool s3_param_u32(struct s3_request *r, const char *name, uint32_t otherwise, uint32_t *ret_value)
{
    struct bytes text = s3_param(r, name);
    uint64_t value;
    if (text.size == 0) {
        *ret_value = otherwise;
        return true;
    }
    if (bytes_to_u64(text, &value) || value > INT32_MAX) {
        s3_fail_text(r, S3_E(InvalidArgument),
                     "Argument %s must be an integer between 0 and 2147483647", name);
        return false;
    }
    *ret_value = (uint32_t)value;
    return true;
}

bool s3_param_max(struct s3_request *r, const char *name, uint32_t max, uint32_t *ret_value)
{
    if (!s3_param_u32(r, name, max, ret_value))
        return false;
    if (*ret_value > max)
        *ret_value = max;
    return true;
}

bool s3_param_names(struct s3_request *r, enum doc_names *ret_names)
{
    struct bytes encoding = s3_param(r, "encoding-type");
    if (encoding.size > 0 && !bytes_equal(encoding, BYTES("url"))) {
        s3_fail_text(r, S3_E(InvalidArgument), "Invalid Encoding Method specified in Request");
        return false;
    }
    *ret_names = encoding.size > 0 ? DOC_NAMES_URL : DOC_NAMES_PLAIN;
    return true;
}

bool s3_version_is_null(struct s3_request *r)
{
    struct bytes version = s3_param(r, "versionId");
    if (version.data == NULL || bytes_equal(version, BYTES("null")))
        return true;
    s3_fail_text(r, S3_E(InvalidArgument), "Invalid version id specified");
    return false;
}

bool s3_meta_from_request(struct s3_request *r, uint8_t attrs[META_BYTES_MAX], size_t *ret_size)
{
    enum s3_error error = s3_meta_encode(&r->headers, attrs, ret_size);
    if (error)
        s3_fail(r, error);
    return error == S3_E(None);
}

/* ---- the service's ---- */

struct group *s3_group(const struct s3_request *r)
{
    return r->service->group;
}

uint64_t s3_now_ns(const struct s3_request *r)
{
    return clock_real_ns(r->service->clock);
}

struct rand *s3_rand(const struct s3_request *r)
{
    return r->service->rand;
}

struct s3_lane_worker *s3_lanes(const struct s3_request *r)
{
    return &r->worker->lanes;
}

unsigned s3_put_slots(const struct s3_request *r)
{
    return r->service->put_slots;
}

bool s3_tells_receipts(const struct s3_request *r)
{
    bool is_signed = r->auth.key.id[0] != '\0';
    return r->service->receipts == S3_RECEIPTS_ALL ||
           (r->service->receipts == S3_RECEIPTS_SIGNED && is_signed);
}

/* ---- questions ---- */

static void ask_done(struct group_ask *group_ask)
{
    struct s3_ask *ask = CONTAINER_OF(group_ask, struct s3_ask, ask);
    CHECK_MAGIC(ask, S3_ASK_MAGIC);
    op_run(&ask->r->op);
}

struct s3_ask *s3_ask_take(struct s3_request *r)
{
    struct s3_ask *ask = s3_take(r, sizeof *ask);
    if (ask == NULL)
        return NULL;
    ask->magic = S3_ASK_MAGIC;
    ask->r = r;
    ask->ask.loop = http_loop(r->x);
    ask->ask.done = ask_done;
    ask->ask.bucket = r->bucket.id;
    ask->ask.key = r->key;
    return ask;
}

void s3_ask_put(struct s3_ask *ask)
{
    struct s3_request *r = ask->r;
    struct s3_block *block = r->blocks;
    CHECK(block != NULL && block->memory == (void *)ask);
    ask->magic = 0;
    r->blocks = block->next;
    s3_block_put(&r->worker->blocks, block);
}

/* ---- changes ---- */

static void change_done(struct mutation *m)
{
    struct s3_change *change = CONTAINER_OF(m, struct s3_change, m);
    CHECK_MAGIC(change, S3_CHANGE_MAGIC);
    op_run(&change->r->op);
}

void s3_change_init(struct s3_request *r, struct s3_change *change, enum mutation_kind kind)
{
    *change = (struct s3_change){.magic = S3_CHANGE_MAGIC, .r = r};
    change->m.kind = kind;
    change->m.bucket = r->bucket.id;
    change->m.key = r->key;
    change->m.loop = http_loop(r->x);
    change->m.done = change_done;
}

void s3_change_submit(struct s3_request *r, struct s3_change *change)
{
    group_propose(s3_group(r), &change->m);
}

/* ---- finding an object ---- */

bool s3_lookup_begin(struct s3_request *r, struct s3_lookup *lookup, struct bucket_id bucket,
                     struct bytes key)
{
    lookup->err = group_lookup_now(s3_group(r), bucket, key, &lookup->object);
    if (lookup->err != ERR_WOULD_BLOCK)
        return true;
    if (lookup->ask == NULL)
        lookup->ask = s3_ask_take(r);
    if (lookup->ask == NULL) {
        lookup->err = ERR_BUSY;
        return true;
    }
    lookup->ask->ask.bucket = bucket;
    lookup->ask->ask.key = key;
    lookup->is_asking = true;
    group_lookup(s3_group(r), &lookup->ask->ask);
    return false;
}

enum err s3_lookup_end(struct s3_lookup *lookup)
{
    if (lookup->is_asking) {
        lookup->is_asking = false;
        lookup->err = lookup->ask->ask.err;
        lookup->object = TAKE(lookup->ask->ask.object);
    }
    CHECK((lookup->err == ERR_OK) == (lookup->object != NULL));
    return lookup->err;
}

void s3_lookup_fini(struct s3_lookup *lookup)
{
    object_put(TAKE(lookup->object));
}

/* ---- answers ---- */

int s3_respond_empty(struct s3_request *r, int status)
{
    CHECK(!r->has_answered);
    r->has_answered = true;
    http_respond_empty(r->x, status);
    return OP_END;
}

static void respond_text(struct s3_request *r, int status, struct text_buf *text)
{
    CHECK(!r->has_answered);
    r->has_answered = true;
    http_header(r->x, "Content-Type", BYTES("application/xml"));
    http_respond_text(r->x, status, text);
}

int s3_respond_xml(struct s3_request *r, int status, struct text_buf *text)
{
    if (text->failed) {
        text_free(text);
        return s3_fail(r, S3_E(SlowDown));
    }
    respond_text(r, status, text);
    return OP_END;
}

/* The element in which S3 says what exactly was not found. */
static void error_names(const struct s3_request *r, enum s3_error error,
                        struct s3_error_detail *detail)
{
    if (error == S3_E(NoSuchBucket) || error == S3_E(BucketNotEmpty) ||
        error == S3_E(BucketAlreadyExists) || error == S3_E(BucketAlreadyOwnedByYou) ||
        error == S3_E(InvalidBucketName)) {
        detail->extras[0] = (struct s3_error_extra){"BucketName", r->bucket_name};
    } else if (error == S3_E(NoSuchKey)) {
        detail->extras[0] = (struct s3_error_extra){"Key", r->key};
    }
}

static int fail_with(struct s3_request *r, enum s3_error error, struct bytes message,
                     const struct s3_error_extra extras[S3_ERROR_EXTRAS_MAX])
{
    int status = s3_error_status(error);
    CHECK(error != S3_E(None));
    r->error = error;
    /* Statuses without a body of their own; a HEAD's answer has none either. */
    if (r->http->method == HTTP_HEAD || status == 304)
        return s3_respond_empty(r, status);
    struct s3_error_detail detail = {
        .message = message,
        .resource = r->http->path,
        .request_id = bytes_of_string(http_request_id(r->x)),
    };
    if (extras != NULL)
        memcpy(detail.extras, extras, sizeof detail.extras);
    else
        error_names(r, error, &detail);
    if (status == 503)
        http_header(r->x, "Retry-After", BYTES("1"));
    struct text_buf text = {0};
    s3_error_write(&text, error, &detail);
    if (text.failed) {
        text_free(&text);
        return s3_respond_empty(r, status);
    }
    respond_text(r, status, &text);
    return OP_END;
}

int s3_fail(struct s3_request *r, enum s3_error error)
{
    return fail_with(r, error, (struct bytes){0}, NULL);
}

int s3_fail_extras(struct s3_request *r, enum s3_error error,
                   const struct s3_error_extra extras[S3_ERROR_EXTRAS_MAX])
{
    return fail_with(r, error, (struct bytes){0}, extras);
}

int s3_fail_text(struct s3_request *r, enum s3_error error, const char *format, ...)
{
    char text[300];
    va_list args;
    va_start(args, format);
    int size = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return fail_with(
        r, error, bytes_of(text, size < (int)sizeof text ? (size_t)size : sizeof text - 1), NULL);
}

/* Our own side's trouble is said in the log, once and here: the client learns only that there is
 * some. */
static void log_failure(const struct s3_request *r, enum err e, const struct err_trail *trail)
{
    switch (err_family(e)) {
    case FAM_IO:
    case FAM_DATA:
    case FAM_FULL:
    case FAM_BUG:
        if (e != ERR_PEER_CLOSED)
            LOG_LIMITED(LOG_ERROR, "s3", "%s failed: %s id=%s bucket=%s", r->route->operation,
                        err_trail_text(trail, e), http_request_id(r->x), r->bucket.name);
        break;
    case FAM_OK:
    case FAM_ABSENT:
    case FAM_EXISTS:
    case FAM_CALLER:
    case FAM_DENIED:
    case FAM_BUSY:
        break;
    }
}

int s3_fail_trail(struct s3_request *r, enum err e, const struct err_trail *trail)
{
    log_failure(r, e, trail);
    return s3_fail(r, s3_error_of(e));
}

int s3_fail_err(struct s3_request *r, enum err e)
{
    return s3_fail_trail(r, e, &r->trail);
}
