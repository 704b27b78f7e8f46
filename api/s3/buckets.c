/*
 * Buckets. Their table is in memory, so asking never waits; making and removing one is a mutation.
 *
 *     CreateBucket   COLLECT --> PROPOSE --> (durable) --> DONE
 *     DeleteBucket               PROPOSE --> (durable) --> DONE
 */
#include "api/s3/collect.h"
#include "api/s3/document.h"
#include "api/s3/service_priv.h"
#include "api/s3/token.h"
#include "api/s3/xml.h"

/* ---- ListBuckets ---- */

#define LIST_BUCKETS_MAX 10000u

struct buckets_page {
    const struct s3_request *r;
    struct bytes prefix, region, after;
    uint32_t max, count;
    bool truncated;
    char last[BUCKET_NAME_BYTES_MAX + 1];
    struct text_buf *text;
};

static bool bucket_is_shown(const struct buckets_page *page, const struct bucket_info *bucket)
{
    struct bytes name = bytes_of_string(bucket->name);
    const struct access_key *key = &page->r->auth.key;
    return bytes_start_with(name, page->prefix) && bytes_compare(name, page->after) > 0 &&
           (page->region.size == 0 || bytes_equal(page->region, bytes_of_string(bucket->region))) &&
           (access_key_may(key, bucket, GRANT_READ) || access_key_may(key, bucket, GRANT_WRITE));
}

static enum err buckets_each(void *context, const struct bucket_info *bucket)
{
    struct buckets_page *page = context;
    if (page->truncated || !bucket_is_shown(page, bucket))
        return ERR_OK;
    if (page->count == page->max) {
        page->truncated = true;
        return ERR_OK;
    }
    page->count++;
    memcpy(page->last, bucket->name, sizeof page->last);
    doc_open(page->text, "Bucket");
    doc_text(page->text, "Name", bytes_of_string(bucket->name));
    doc_time(page->text, "CreationDate", bucket->created_ns);
    doc_text(page->text, "BucketRegion", bytes_of_string(bucket->region));
    doc_close(page->text, "Bucket");
    return ERR_OK;
}

void s3_list_buckets(struct s3_request *r)
{
    struct text_buf text = {0};
    char after[KEY_BYTES_MAX], token_text[TOKEN_TEXT_BYTES];
    struct buckets_page page = {
        .r = r,
        .prefix = s3_param(r, "prefix"),
        .region = s3_param(r, "bucket-region"),
        .text = &text,
    };
    if (!s3_param_max(r, "max-buckets", LIST_BUCKETS_MAX, &page.max))
        return;
    struct bytes token = s3_param(r, "continuation-token");
    size_t after_size = 0;
    if (page.max == 0 || (token.size > 0 && s3_token_read(token, after, &after_size))) {
        s3_fail(r, S3_E(InvalidArgument));
        return;
    }
    page.after = bytes_of(after, after_size);
    doc_begin(&text, "ListAllMyBucketsResult");
    doc_open(&text, "Owner");
    doc_text(&text, "ID", bytes_of_string(r->auth.key.owner));
    doc_text(&text, "DisplayName", bytes_of_string(r->auth.key.display_name));
    doc_close(&text, "Owner");
    doc_open(&text, "Buckets");
    enum err e = group_buckets(s3_group(r), buckets_each, &page);
    if (e) {
        text_free(&text);
        s3_fail_err(r, e);
        return;
    }
    doc_close(&text, "Buckets");
    if (page.prefix.size > 0)
        doc_text(&text, "Prefix", page.prefix);
    if (page.truncated)
        doc_text(&text, "ContinuationToken", s3_token_make(bytes_of_string(page.last), token_text));
    doc_end(&text, "ListAllMyBucketsResult");
    s3_respond_xml(r, 200, &text);
}

/* ---- HeadBucket, GetBucketLocation, GetBucketVersioning ---- */

void s3_head_bucket(struct s3_request *r)
{
    http_header(r->x, "x-amz-bucket-region", bytes_of_string(r->bucket.region));
    s3_respond_empty(r, 200);
}

void s3_get_bucket_location(struct s3_request *r)
{
    struct text_buf text = {0};
    struct bytes region = bytes_of_string(r->bucket.region);
    doc_begin(&text, "LocationConstraint");
    if (!bytes_equal(region, BYTES("us-east-1"))) /* S3's first region has no name here */
        xml_put_escaped(&text, region);
    doc_end(&text, "LocationConstraint");
    s3_respond_xml(r, 200, &text);
}

/* Versioning was never switched on: the empty document says just that. */
void s3_get_bucket_versioning(struct s3_request *r)
{
    struct text_buf text = {0};
    doc_begin(&text, "VersioningConfiguration");
    doc_end(&text, "VersioningConfiguration");
    s3_respond_xml(r, 200, &text);
}

/* ---- CreateBucket ---- */

enum { CREATE_COLLECT, CREATE_PROPOSE, CREATE_DONE, CREATE_STEP_COUNT };

struct create {
    struct s3_collect collect;
    struct s3_change change;
    char region[32];
};

static struct create *create_of(struct s3_request *r)
{
    return *S3_OWN(r, struct create *);
}

static struct s3_request *bucket_request(struct op *op)
{
    return CONTAINER_OF(op, struct s3_request, op);
}

static void create_release(struct s3_request *r)
{
    s3_collect_fini(&create_of(r)->collect);
}

static int create_collect(struct op *op)
{
    struct s3_request *r = bucket_request(op);
    return s3_collect_begin(r, &create_of(r)->collect, S3_PAYLOAD_DOCUMENT)
               ? op_wait(CREATE_PROPOSE)
               : OP_END;
}

static int create_propose(struct op *op)
{
    struct s3_request *r = bucket_request(op);
    struct create *create = create_of(r);
    struct bytes document;
    if (!s3_collect_end(r, &create->collect, &document))
        return OP_END;
    enum err e = xml_read_create_bucket(document, create->region);
    if (e)
        return s3_fail(r, e == ERR_NO_MEMORY ? S3_E(SlowDown) : S3_E(MalformedXML));
    if (create->region[0] == '\0')
        memcpy(create->region, r->service->region, sizeof create->region);
    s3_change_init(r, &create->change, MUTATION_BUCKET_CREATE);
    struct mutation *m = &create->change.m;
    m->bucket_name = r->bucket_name;
    m->owner = bytes_of_string(r->auth.key.owner);
    m->region = bytes_of_string(create->region);
    s3_change_submit(r, &create->change);
    return op_wait(CREATE_DONE);
}

static int create_done(struct op *op)
{
    struct s3_request *r = bucket_request(op);
    const struct mutation *m = &create_of(r)->change.m;
    if (m->err)
        return s3_fail_trail(r, m->err, &m->trail);
    char text[BUCKET_NAME_BYTES_MAX + 2];
    struct buf location = BUF_ON(text);
    buf_put_char(&location, '/');
    buf_put(&location, r->bucket_name);
    http_header(r->x, "Location", buf_bytes(&location));
    return s3_respond_empty(r, 200);
}

static const struct op_step create_steps[CREATE_STEP_COUNT] = {
    [CREATE_COLLECT] = {"collect", create_collect, TO(CREATE_PROPOSE) | TO_END},
    [CREATE_PROPOSE] = {"propose", create_propose, TO(CREATE_DONE) | TO_END},
    [CREATE_DONE] = {"done", create_done, TO_END},
};
static const struct op_kind create_kind = {"create_bucket", create_steps, CREATE_STEP_COUNT};

/* Whether the key may make a bucket of that name: it would be its owner's. */
static bool create_is_permitted(const struct s3_request *r)
{
    struct bucket_info bucket = {0};
    memcpy(bucket.name, r->bucket_name.data, r->bucket_name.size);
    memcpy(bucket.owner, r->auth.key.owner, sizeof bucket.owner);
    return access_key_may(&r->auth.key, &bucket, GRANT_OWN);
}

void s3_create_bucket(struct s3_request *r)
{
    if (!s3_bucket_name_is_valid(r->bucket_name)) {
        s3_fail(r, S3_E(InvalidBucketName));
        return;
    }
    if (!create_is_permitted(r)) {
        s3_fail(r, S3_E(AccessDenied));
        return;
    }
    struct create *create = s3_take(r, sizeof *create);
    if (create == NULL) {
        s3_fail(r, S3_E(SlowDown));
        return;
    }
    *S3_OWN(r, struct create *) = create;
    r->release = create_release;
    op_init(&r->op, &create_kind, http_loop(r->x));
    op_run(&r->op);
}

/* ---- DeleteBucket ---- */

enum { REMOVE_PROPOSE, REMOVE_DONE, REMOVE_STEP_COUNT };

static int remove_propose(struct op *op)
{
    struct s3_request *r = bucket_request(op);
    struct s3_change *change = S3_OWN(r, struct s3_change);
    s3_change_init(r, change, MUTATION_BUCKET_DELETE);
    change->m.bucket_name = r->bucket_name;
    s3_change_submit(r, change);
    return op_wait(REMOVE_DONE);
}

static int remove_done(struct op *op)
{
    struct s3_request *r = bucket_request(op);
    const struct mutation *m = &S3_OWN(r, struct s3_change)->m;
    if (m->err)
        return s3_fail_trail(r, m->err, &m->trail);
    return s3_respond_empty(r, 204);
}

static const struct op_step remove_steps[REMOVE_STEP_COUNT] = {
    [REMOVE_PROPOSE] = {"propose", remove_propose, TO(REMOVE_DONE)},
    [REMOVE_DONE] = {"done", remove_done, TO_END},
};
static const struct op_kind remove_kind = {"delete_bucket", remove_steps, REMOVE_STEP_COUNT};

void s3_delete_bucket(struct s3_request *r)
{
    op_init(&r->op, &remove_kind, http_loop(r->x));
    op_run(&r->op);
}
