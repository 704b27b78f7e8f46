/*
 * GetObject and HeadObject: the same question, with and without bytes.
 *
 *     LOOKUP ----> JUDGE --> ANSWER            a record in memory: no wait, nothing allocated
 *       |            \--> PARTS --> PART --> ANSWER    ?partNumber of an object made of parts
 *       \--> VARIANT --> VARIANT_FOUND --> JUDGE       key.gz for key, where that is asked for
 */
#include "api/s3/byteranges.h"
#include "api/s3/conditions.h"
#include "api/s3/get_policy.h"
#include "api/s3/meta.h"
#include "api/s3/object_headers.h"
#include "api/s3/request.h"
#include "api/s3/variant.h"

enum {
    GET_LOOKUP,
    GET_VARIANT,
    GET_VARIANT_FOUND,
    GET_JUDGE,
    GET_PARTS,
    GET_PART,
    GET_ANSWER,
    GET_STEP_COUNT
};

struct get {
    struct s3_lookup lookup;
    struct s3_variant *variant; /* looked for; NULL: none */
    bool may_vary;              /* by Accept-Encoding */
    bool serves_variant;
    struct s3_ask *ask;   /* for the part table */
    uint16_t part_number; /* asked for; 0: none */
    bool is_partial;      /* 206 */
    uint64_t offset, size;
    struct s3_byteranges *several; /* ranges; NULL: one, or none */
    struct checksum checksum;      /* of the bytes answered with, when there is one */
    uint32_t checksum_parts;       /* shown behind a composite one */
    struct read_plan plan;
    struct http_object answer;
};

static struct s3_request *get_request(struct op *op)
{
    return CONTAINER_OF(op, struct s3_request, op);
}

static struct get *get_of(struct s3_request *r)
{
    return S3_OWN(r, struct get);
}

static void get_release(struct s3_request *r)
{
    struct get *get = get_of(r);
    if (get->ask != NULL)
        free(get->ask->ask.parts);
    if (get->variant != NULL)
        s3_lookup_fini(&get->variant->lookup);
    s3_lookup_fini(&get->lookup);
}

/* Whose bytes are served. */
static struct object *get_object(const struct get *get)
{
    return get->serves_variant ? get->variant->lookup.object : get->lookup.object;
}

static int get_lookup(struct op *op)
{
    struct s3_request *r = get_request(op);
    struct get *get = get_of(r);
    int next = get->may_vary ? GET_VARIANT : GET_JUDGE;
    return s3_lookup_begin(r, &get->lookup, r->bucket.id, r->key) ? next : op_wait(next);
}

static int get_variant(struct op *op)
{
    struct s3_request *r = get_request(op);
    struct get *get = get_of(r);
    enum err e = s3_lookup_end(&get->lookup);
    if (e)
        return s3_fail_err(r, e);
    if (!s3_variant_is_wanted(r, object_info(get->lookup.object)))
        return GET_JUDGE;
    get->variant = s3_take(r, sizeof *get->variant);
    if (get->variant == NULL)
        return s3_fail(r, S3_E(SlowDown));
    return s3_variant_begin(r, get->variant) ? GET_VARIANT_FOUND : op_wait(GET_VARIANT_FOUND);
}

static int get_variant_found(struct op *op)
{
    struct s3_request *r = get_request(op);
    struct get *get = get_of(r);
    enum err e =
        s3_variant_end(get->variant, object_info(get->lookup.object), &get->serves_variant);
    return e ? s3_fail_err(r, e) : GET_JUDGE;
}

static void get_vary(struct s3_request *r, const struct get *get)
{
    if (get->may_vary)
        http_header(r->x, "Vary", BYTES("Accept-Encoding"));
}

static int get_not_modified(struct s3_request *r, const struct get *get,
                            const struct object_info *info)
{
    s3_header_etag(r, &info->etag);
    s3_header_last_modified(r, info->mtime_ns);
    s3_header_attrs(r, object_info(get->lookup.object), S3_ATTRS_NOT_MODIFIED);
    get_vary(r, get);
    return s3_respond_empty(r, 304);
}

/* Whether it can stand in a header of ours: a response-* parameter may hold anything. */
static bool is_field_value(struct bytes value)
{
    for (size_t i = 0; i < value.size; i++)
        if ((uint8_t)value.data[i] < ' ' && value.data[i] != '\t')
            return false;
    return true;
}

/* Several ranges, unless the whole object has to do: a multipart body has no place for the object's
 * own Content-Encoding, since one in the head would be said of the multipart; and that a path is
 * taken as required could be told of the first piece only. */
static bool get_several(struct s3_request *r, struct get *get, const struct s3_ranges *ranges)
{
    const struct object_info *info = object_info(get->lookup.object);
    struct bytes type = s3_attr(r, info, "Content-Type");
    if (get->answer.policy.require != PATH_AUTO || get->serves_variant ||
        s3_attr(r, info, "Content-Encoding").data != NULL ||
        type.size > BYTERANGES_TYPE_BYTES_MAX || !is_field_value(type))
        return true;
    get->several = s3_take(r, sizeof *get->several);
    if (get->several == NULL) {
        s3_fail(r, S3_E(SlowDown));
        return false;
    }
    s3_byteranges_init(get->several, ranges, get->lookup.object, type, s3_rand(r));
    get->is_partial = true;
    get->size = get->several->pieces.size;
    return true;
}

/* The bytes asked for by Range, if any. False: answered with an error. */
static bool get_range(struct s3_request *r, struct get *get, const struct object_info *info)
{
    struct bytes range = s3_header(r, "range");
    if (range.data == NULL || !s3_if_range_holds(s3_header(r, "if-range"), info))
        return true;
    struct s3_ranges asked;
    switch (s3_ranges_parse(range, info->size, &asked)) {
    case S3_RANGE_NONE: /* the whole object, as RFC 9110 14.2 has it */
        return true;
    case S3_RANGE_OK:
        if (asked.count > 1)
            return get_several(r, get, &asked);
        get->is_partial = true;
        get->offset = asked.at[0].offset;
        get->size = asked.at[0].size;
        return true;
    case S3_RANGE_UNSATISFIABLE: {
        char text[32];
        struct buf value = BUF_ON(text);
        buf_printf(&value, "bytes */%llu", (unsigned long long)info->size);
        http_header(r->x, "Content-Range", buf_bytes(&value));
        s3_fail_extras(r, S3_E(InvalidRange),
                       (struct s3_error_extra[S3_ERROR_EXTRAS_MAX]){
                           {"RangeRequested", range},
                           {"ActualObjectSize", bytes_slice(buf_bytes(&value), 8, SIZE_MAX)}});
        return false;
    }
    }
    return true;
}

static int get_judge(struct op *op)
{
    struct s3_request *r = get_request(op);
    struct get *get = get_of(r);
    enum err e = s3_lookup_end(&get->lookup);
    if (e)
        return s3_fail_err(r, e);
    const struct object_info *info = object_info(get_object(get));

    struct s3_read_conditions conditions = {
        .if_match = s3_header(r, "if-match"),
        .if_none_match = s3_header(r, "if-none-match"),
        .if_modified_since = s3_header(r, "if-modified-since"),
        .if_unmodified_since = s3_header(r, "if-unmodified-since"),
    };
    switch (s3_conditions_read(&conditions, info)) {
    case S3_HOLDS:
        break;
    case S3_NOT_MODIFIED:
        return get_not_modified(r, get, info);
    case S3_PRECONDITION_FAILED:
        return s3_fail_extras(
            r, S3_E(PreconditionFailed),
            (struct s3_error_extra[S3_ERROR_EXTRAS_MAX]){
                {"Condition", conditions.if_match.data != NULL ? BYTES("If-Match")
                                                               : BYTES("If-Unmodified-Since")}});
    }

    if (!s3_get_policy(r, &get->answer.policy))
        return OP_END;
    get->size = info->size;
    get->checksum = info->checksum;
    get->checksum_parts = info->part_count;
    if (get->part_number > 0) {
        if (s3_header(r, "range").data != NULL)
            return s3_fail_text(r, S3_E(InvalidRequest),
                                "Cannot specify both Range header and partNumber query parameter");
        if (info->part_count > 0)
            return GET_PARTS;
        if (get->part_number > 1)
            return s3_fail(r, S3_E(InvalidPartNumber));
        get->is_partial = info->size > 0; /* an object without parts is its own part 1 */
        return GET_ANSWER;
    }
    return get_range(r, get, info) ? GET_ANSWER : OP_END;
}

static int get_parts(struct op *op)
{
    struct s3_request *r = get_request(op);
    struct get *get = get_of(r);
    get->ask = get->lookup.ask != NULL ? get->lookup.ask : s3_ask_take(r);
    if (get->ask == NULL)
        return s3_fail(r, S3_E(SlowDown));
    get->ask->ask.of = get->lookup.object;
    group_object_parts(s3_group(r), &get->ask->ask);
    return op_wait(GET_PART);
}

static int get_part(struct op *op)
{
    struct s3_request *r = get_request(op);
    struct get *get = get_of(r);
    const struct group_ask *ask = &get->ask->ask;
    if (ask->err)
        return s3_fail_err(r, ask->err);
    /* S3 counts an object's parts from 1 in their order, whatever numbers they were uploaded under.
     */
    if (get->part_number > ask->part_count)
        return s3_fail(r, S3_E(InvalidPartNumber));
    for (size_t i = 0; i + 1 < get->part_number; i++)
        get->offset += ask->parts[i].size;
    const struct object_part *part = &ask->parts[get->part_number - 1];
    get->size = part->size;
    /* x-amz-checksum-type is the object's, of each part. */
    uint8_t type_of_whole = get->checksum.type;
    get->checksum = part->checksum;
    get->checksum.type = type_of_whole;
    get->checksum_parts = 0;
    get->is_partial = true;
    return GET_ANSWER;
}

static void get_headers(struct s3_request *r, const struct get *get, const struct object_info *info)
{
    s3_header_last_modified(r, info->mtime_ns);
    s3_header_etag(r, &info->etag);
    http_header(r->x, "Accept-Ranges", BYTES("bytes"));
    s3_header_attrs(r, object_info(get->lookup.object),
                    get->several ? S3_ATTRS_OF_PIECES : S3_ATTRS_ALL);
    if (get->serves_variant)
        http_header(r->x, "Content-Encoding", BYTES("gzip"));
    get_vary(r, get);
    if (get->several) {
        s3_byteranges_header(r, get->several);
    } else if (get->is_partial) {
        char text[80];
        struct buf value = BUF_ON(text);
        s3_range_put(&value, &(struct s3_range){get->offset, get->size}, info->size);
        http_header(r->x, "Content-Range", buf_bytes(&value));
    }
    if (get->part_number > 0 && info->part_count > 0)
        http_header_u64(r->x, "x-amz-mp-parts-count", info->part_count);
    /* A sum of other bytes would mislead. */
    bool is_known = get->part_number > 0 || !get->is_partial;
    if (is_known && bytes_equal_nocase(s3_header(r, "x-amz-checksum-mode"), BYTES("ENABLED")))
        s3_header_checksum(r, &get->checksum, get->checksum_parts);
}

static int get_answer(struct op *op)
{
    struct s3_request *r = get_request(op);
    struct get *get = get_of(r);
    struct object *object = get_object(get);
    const struct object_info *info = object_info(object);
    get_headers(r, get, info);
    r->has_answered = true;
    int status = get->is_partial ? 206 : 200;
    if (r->http->method == HTTP_HEAD) {
        http_respond_head(r->x, status, get->size);
        return OP_END;
    }
    if (get->size == 0) {
        http_respond_empty(r->x, status);
        return OP_END;
    }
    uint32_t reads = object_touch(object, loop_now_ns(r->op.loop));
    if (get->several == NULL)
        read_plan_open(&get->plan, object, get->offset, get->size); /* the engine's from here on */
    get->answer = (struct http_object){
        .plan = &get->plan,
        .pieces = get->several ? &get->several->pieces : NULL,
        .object = object,
        .receipt = s3_tells_receipts(r),
        .is_hot = reads >= GET_HOT_READS,
        .policy = get->answer.policy,
    };
    http_respond_object(r->x, status, &get->answer);
    return OP_END;
}

static const struct op_step get_steps[GET_STEP_COUNT] = {
    [GET_LOOKUP] = {"lookup", get_lookup, TO(GET_JUDGE) | TO(GET_VARIANT)},
    [GET_VARIANT] = {"variant", get_variant, TO(GET_VARIANT_FOUND) | TO(GET_JUDGE) | TO_END},
    [GET_VARIANT_FOUND] = {"variant found", get_variant_found, TO(GET_JUDGE) | TO_END},
    [GET_JUDGE] = {"judge", get_judge, TO(GET_ANSWER) | TO(GET_PARTS) | TO_END},
    [GET_PARTS] = {"parts", get_parts, TO(GET_PART) | TO_END},
    [GET_PART] = {"part", get_part, TO(GET_ANSWER) | TO_END},
    [GET_ANSWER] = {"answer", get_answer, TO_END},
};
static const struct op_kind get_kind = {"get", get_steps, GET_STEP_COUNT};

void s3_get_object(struct s3_request *r)
{
    struct get *get = get_of(r);
    struct bytes part = s3_param(r, "partNumber");
    if (!s3_version_is_null(r))
        return;
    if (part.data != NULL) {
        uint64_t number;
        if (bytes_to_u64(part, &number) || number < 1 || number > PARTS_MAX) {
            s3_fail_text(r, S3_E(InvalidArgument),
                         "Part number must be an integer between 1 and 10000, inclusive");
            return;
        }
        get->part_number = (uint16_t)number;
    }
    get->may_vary = get->part_number == 0 && s3_variant_may_be(r);
    r->release = get_release;
    op_init(&r->op, &get_kind, http_loop(r->x));
    op_run(&r->op);
}

void s3_head_object(struct s3_request *r)
{
    s3_get_object(r);
}
