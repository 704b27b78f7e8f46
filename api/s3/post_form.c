/*
 * PostObject: an upload by a browser's form. The signature is in the form, over a policy that says
 * what may be uploaded, so nothing is believed and no space reserved before the fields are read;
 * they lie before the file, in the first slot.
 *
 *     RECEIVE <-> (head: fields, policy, key) <-> (file, slot by slot)
 *             --> NAME --> (durable) --> DONE
 *
 * The file begins anywhere in a slot and its end is only found by its delimiter, but the disk wants
 * slots filled from their start. So file bytes are moved to a slot's start, the only copy, and a
 * slot is held until what follows shows that the delimiter does not begin in it.
 */
#include "api/s3/conditions.h"
#include "api/s3/document.h"
#include "api/s3/form.h"
#include "api/s3/object_headers.h"
#include "api/s3/payload.h"
#include "api/s3/receive.h"
#include "api/s3/refuse.h"
#include "api/s3/service_priv.h"

enum { POST_RECEIVE, POST_NAME, POST_DONE, POST_STEP_COUNT };

struct post {
    struct s3_request *r;
    struct s3_payload payload;
    struct s3_receive receive;
    struct s3_change change;
    struct form_delimiter delimiter;
    struct form_head head; /* views into head_text */
    struct post_limits limits;
    char *head_text; /* owned: the form up to the file */
    bool in_file, file_is_over;
    struct slot *held;         /* file bytes from its start on, not yet written */
    uint32_t fill;             /* of it */
    struct s3_header *headers; /* in a block: the fields as headers */
    struct {                   /* what the answer is made of */
        struct bytes redirect, status;
    } success;
    size_t attrs_size;
    uint8_t *attrs; /* in a block, META_BYTES_MAX */
};

static struct post *post_of(struct s3_request *r)
{
    return *S3_OWN(r, struct post *);
}

static struct s3_request *post_request(struct op *op)
{
    return CONTAINER_OF(op, struct s3_request, op);
}

static void post_release(struct s3_request *r)
{
    struct post *post = post_of(r);
    slot_put(TAKE(post->held));
    s3_receive_fini(&post->receive);
    s3_payload_fini(&post->payload);
    free(post->head_text);
}

/* ---- the head: who uploads what ---- */

static struct bytes post_field(const struct post *post, const char *name)
{
    struct post_form form = {.fields = post->head.fields, .count = post->head.field_count};
    return post_form_field(&form, bytes_of_string(name));
}

static bool post_fail(struct s3_request *r, enum s3_error error, const char *message)
{
    s3_fail_text(r, error, "%s", message != NULL ? message : s3_error_text(error));
    return false;
}

static bool post_read_head(struct post *post, struct bytes data)
{
    struct s3_request *r = post->r;
    size_t size = data.size < FORM_HEAD_BYTES_MAX ? data.size : FORM_HEAD_BYTES_MAX;
    post->head_text = malloc(size + 1);
    if (post->head_text == NULL)
        return post_fail(r, S3_E(SlowDown), NULL);
    memcpy(post->head_text, data.data, size);
    switch (form_head_parse(bytes_of(data.data, data.size), &post->delimiter, &post->head)) {
    case ERR_OK:
        break;
    case ERR_TOO_LARGE:
        return post_fail(r, S3_E(MaxPostPreDataLengthExceededError), NULL);
    case ERR_TOO_SMALL:
        return post_fail(r, S3_E(InvalidArgument),
                         "POST requires exactly one file upload per request.");
    default:
        return post_fail(r, S3_E(MalformedPOSTRequest), NULL);
    }
    /* The slot's bytes are about to move: views go over to the copy. */
    for (size_t i = 0; i < post->head.field_count; i++) {
        struct post_field *field = &post->head.fields[i];
        field->name.data = post->head_text + (field->name.data - data.data);
        field->value.data = post->head_text + (field->value.data - data.data);
    }
    if (post->head.file_name.size > 0)
        post->head.file_name.data = post->head_text + (post->head.file_name.data - data.data);
    return true;
}

/* The key, with ${filename} replaced by the file's name; put into the field too, so that the policy
 * judges what is stored. */
static bool post_key(struct post *post)
{
    struct s3_request *r = post->r;
    struct bytes key = post_field(post, "key");
    if (key.size == 0)
        return post_fail(r, S3_E(UserKeyMustBeSpecified), NULL);
    struct bytes variable = BYTES("${filename}");
    struct buf out = {.data = r->key_text, .capacity = KEY_BYTES_MAX};
    for (size_t from = 0;;) {
        size_t at = bytes_find(key, from, variable);
        buf_put(&out, bytes_slice(key, from, at == SIZE_MAX ? SIZE_MAX : at - from));
        if (at == SIZE_MAX)
            break;
        buf_put(&out, post->head.file_name);
        from = at + variable.size;
    }
    if (out.overflowed)
        return post_fail(r, S3_E(KeyTooLongError), NULL);
    r->key = buf_bytes(&out);
    if (bytes_find_char(r->key, 0, '\0') != SIZE_MAX || !bytes_is_utf8(r->key))
        return post_fail(r, S3_E(InvalidURI), NULL);
    for (size_t i = 0; i < post->head.field_count; i++)
        if (bytes_equal_nocase(post->head.fields[i].name, BYTES("key")))
            post->head.fields[i].value = r->key;
    return true;
}

static bool post_authenticate(struct post *post)
{
    struct s3_request *r = post->r;
    struct bytes policy = post_field(post, "policy");
    struct bytes signature = bytes_trim(post_field(post, "x-amz-signature"));
    struct sigv4_credential credential;
    char expected[65];
    if (policy.data == NULL)
        return post_fail(r, S3_E(AccessDenied), NULL);
    if (!bytes_equal(post_field(post, "x-amz-algorithm"), BYTES("AWS4-HMAC-SHA256")))
        return post_fail(r, S3_E(UnsupportedSignature), NULL);
    if (!sigv4_credential_parse(post_field(post, "x-amz-credential"), &credential))
        return post_fail(r, S3_E(InvalidArgument),
                         "Bucket POST must contain a well-formed X-Amz-Credential field");
    if (!s3_authenticate_key(r, credential.access_key))
        return false;
    sigv4_policy_signature(&credential, bytes_of_string(r->auth.key.secret), policy, expected);
    s3_auth_forget_secret(r);
    if (!bytes_equal_secret(signature, bytes_of(expected, 64)))
        return post_fail(r, S3_E(SignatureDoesNotMatch), NULL);
    if (!access_key_may(&r->auth.key, &r->bucket, r->route->needs))
        return post_fail(r, S3_E(AccessDenied), NULL);
    return true;
}

static bool post_judge_policy(struct post *post)
{
    struct s3_request *r = post->r;
    struct post_form form = {
        .fields = post->head.fields,
        .count = post->head.field_count,
        .bucket = r->bucket_name,
        .now_seconds = s3_now_ns(r) / NS_PER_SECOND,
    };
    char message[POST_MESSAGE_BYTES];
    enum s3_error error =
        post_policy_judge(post_field(post, "policy"), &form, &post->limits, message);
    if (error)
        return post_fail(r, error, message[0] == '\0' ? NULL : message);
    if (post->limits.size_max > PUT_BYTES_MAX)
        post->limits.size_max = PUT_BYTES_MAX;
    return true;
}

/* A field means what the header of that name means. */
static bool post_accept_fields(struct post *post)
{
    struct s3_request *r = post->r;
    size_t count = post->head.field_count;
    post->headers = s3_take(r, count * sizeof *post->headers);
    post->attrs = s3_take(r, META_BYTES_MAX);
    if (post->headers == NULL || post->attrs == NULL)
        return post_fail(r, S3_E(SlowDown), NULL);
    for (size_t i = 0; i < count; i++) {
        struct bytes name = post->head.fields[i].name;
        if (bytes_equal_nocase(name, BYTES("acl"))) /* the two that forms call otherwise */
            name = BYTES("x-amz-acl");
        else if (bytes_equal_nocase(name, BYTES("tagging")))
            name = BYTES("x-amz-tagging");
        post->headers[i] = (struct s3_header){name, post->head.fields[i].value};
    }
    r->headers = (struct s3_headers){.at = post->headers, .count = count};
    post->success.redirect = post_field(post, "success_action_redirect");
    if (post->success.redirect.data == NULL)
        post->success.redirect = post_field(post, "redirect");
    post->success.status = post_field(post, "success_action_status");
    struct s3_payload_options options = {
        .size_max = post->limits.size_max,
        .hashes = S3_PAYLOAD_OBJECT,
        .is_part_of_body = true,
    };
    return s3_refuse_unsupported(r) && s3_meta_from_request(r, post->attrs, &post->attrs_size) &&
           s3_payload_accept(r, &post->payload, &options);
}

/* False: answered with an error. */
static bool post_open(struct post *post, struct bytes data)
{
    if (!post_read_head(post, data) || !post_key(post) || !post_authenticate(post) ||
        !post_judge_policy(post) || !post_accept_fields(post))
        return false;
    enum err e = s3_receive_open(&post->receive);
    if (e) {
        s3_fail_trail(post->r, e, &post->receive.trail);
        return false;
    }
    post->in_file = true;
    return true;
}

/* ---- the file ---- */

static void post_write_held(struct post *post, uint32_t size, bool is_last)
{
    struct slot *slot = TAKE(post->held);
    post->fill = 0;
    post->file_is_over = is_last;
    uint64_t total = post->receive.size + size;
    if (total > post->limits.size_max || (is_last && total < post->limits.size_min)) {
        post->payload.error =
            total > post->limits.size_max ? S3_E(EntityTooLarge) : S3_E(EntityTooSmall);
        s3_receive_fail(&post->receive, ERR_TOO_LARGE);
        s3_receive_return(&post->receive, slot);
    } else if (size == 0) {
        s3_receive_return(&post->receive, slot);
        s3_receive_write(&post->receive, NULL, 0, is_last);
    } else {
        s3_receive_write(&post->receive, slot, size, is_last);
    }
}

/* Looks for the file's end among the held bytes from `from` on. True: it was there, and the last of
 * them is on its way. */
static bool post_ends_in_held(struct post *post, uint32_t from)
{
    uint32_t reach = (uint32_t)post->delimiter.size - 1; /* it may have begun before */
    size_t end = form_find_end(bytes_of(post->held->data, post->fill),
                               from > reach ? from - reach : 0, &post->delimiter);
    if (end == SIZE_MAX)
        return false;
    post_write_held(post, (uint32_t)end, true);
    return true;
}

/* The held slot becomes this one, whose file bytes begin at `from`. */
static void post_hold(struct post *post, struct slot *slot, uint32_t from, uint32_t size)
{
    memmove(slot->data, slot->data + from, size - from);
    post->held = slot;
    post->fill = size - from;
    (void)post_ends_in_held(post, 0);
}

static void post_file_bytes(struct post *post, struct slot *slot, uint32_t size)
{
    uint32_t room = post->held->size - post->fill, before = post->fill;
    uint32_t moved = size < room ? size : room;
    memcpy(post->held->data + post->fill, slot->data, moved);
    post->fill += moved;
    if (post_ends_in_held(post, before) || moved == size) {
        s3_receive_return(&post->receive, slot);
        return;
    }
    struct bytes rest = bytes_of(slot->data + moved, size - moved);
    size_t begun =
        form_find_end_across(bytes_of(post->held->data, post->fill), rest, &post->delimiter);
    bool is_last = begun > 0;
    post_write_held(post, post->fill - (uint32_t)begun, is_last);
    if (is_last || post->receive.err)
        s3_receive_return(&post->receive, slot);
    else
        post_hold(post, slot, moved, size);
}

static void post_slot(struct s3_receive *receive, struct slot *slot, uint32_t size, bool is_last)
{
    struct post *post = CONTAINER_OF(receive, struct post, receive);
    (void)is_last;            /* of the form, not of the file */
    if (post->file_is_over) { /* what follows the file is ignored */
        s3_receive_return(receive, slot);
    } else if (post->in_file) {
        post_file_bytes(post, slot, size);
    } else if (post_open(post, bytes_of(slot->data, size))) {
        post_hold(post, slot, (uint32_t)post->head.file_offset, size);
    } else {
        s3_receive_return(receive, slot);
        s3_receive_forget(receive);
    }
}

/* ---- steps ---- */

static void post_received(struct s3_receive *receive)
{
    struct post *post = CONTAINER_OF(receive, struct post, receive);
    op_run(&post->r->op);
}

static int post_receive(struct op *op)
{
    struct s3_request *r = post_request(op);
    struct post *post = post_of(r);
    unsigned slots = s3_put_slots(r);
    enum err e = s3_receive_begin(
        &post->receive,
        &(struct s3_receive_options){
            .x = r->x,
            .group = s3_group(r),
            .payload = &post->payload,
            .slots = slots < 2 ? 2 : slots, /* one is held while the next comes in */
            .lanes = s3_lanes(r),
            .done = post_received,
            .filter = post_slot,
            .message_size = r->http->has_content_length ? r->http->content_length : S3_SIZE_UNKNOWN,
        });
    return e ? s3_fail_trail(r, e, &post->receive.trail) : op_wait(POST_NAME);
}

static int post_name(struct op *op)
{
    struct s3_request *r = post_request(op);
    struct post *post = post_of(r);
    r->trail = post->receive.trail;
    if (post->receive.err == ERR_TOO_SMALL && !post->in_file)
        return s3_fail_text(r, S3_E(InvalidArgument),
                            "POST requires exactly one file upload per request.");
    if (post->receive.err == ERR_TOO_SMALL)
        return s3_fail(r, S3_E(MalformedPOSTRequest));
    if (!s3_payload_judge(r, &post->payload, post->receive.err))
        return OP_END;
    s3_change_init(r, &post->change, MUTATION_OBJECT_PUT);
    struct mutation *m = &post->change.m;
    m->attrs = bytes_of(post->attrs, post->attrs_size);
    m->body = s3_receive_take(&post->receive);
    m->size = post->receive.size;
    memcpy(m->etag.md5, post->payload.md5, sizeof m->etag.md5);
    m->checksum = post->payload.checksum;
    s3_change_submit(r, &post->change);
    return op_wait(POST_DONE);
}

/* http://host/bucket/key, the bucket in the path or in the host as the request had it. */
static void post_location(const struct s3_request *r, struct text_buf *out)
{
    text_put_string(out, "http://");
    text_put(out, r->http->host);
    text_put(out, r->http->path);
    if (out->size > 0 && out->data[out->size - 1] != '/')
        text_put_string(out, "/");
    uri_encode(r->key, URI_SLASH_KEPT, out);
}

static int post_redirect(struct s3_request *r, const struct post *post, struct bytes etag)
{
    struct text_buf to = {0};
    text_put(&to, post->success.redirect);
    bool has_query = bytes_find_char(post->success.redirect, 0, '?') != SIZE_MAX;
    text_put_string(&to, has_query ? "&bucket=" : "?bucket=");
    uri_encode(r->bucket_name, URI_SLASH_ENCODED, &to);
    text_put_string(&to, "&key=");
    uri_encode(r->key, URI_SLASH_ENCODED, &to);
    text_put_string(&to, "&etag=");
    uri_encode(etag, URI_SLASH_ENCODED, &to);
    http_header(r->x, "Location", text_bytes(&to));
    text_free(&to);
    return s3_respond_empty(r, 303);
}

static int post_done(struct op *op)
{
    struct s3_request *r = post_request(op);
    struct post *post = post_of(r);
    const struct mutation *m = &post->change.m;
    if (m->err)
        return s3_fail_trail(r, m->err, &m->trail);
    char shown[ETAG_TEXT_BYTES];
    struct bytes etag = s3_etag_text(&m->etag, shown);
    http_header(r->x, "ETag", etag);
    s3_header_checksum(r, &m->checksum, 0);
    s3_header_receipt(r, &m->receipt);
    if (post->success.redirect.size > 0)
        return post_redirect(r, post, etag);
    struct text_buf location = {0}, text = {0};
    post_location(r, &location);
    http_header(r->x, "Location", text_bytes(&location));
    int status = bytes_equal(post->success.status, BYTES("200"))   ? 200
                 : bytes_equal(post->success.status, BYTES("201")) ? 201
                                                                   : 204;
    if (status == 201) {
        text_put_string(&text, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<PostResponse>");
        doc_text(&text, "Location", text_bytes(&location));
        doc_text(&text, "Bucket", r->bucket_name);
        doc_text(&text, "Key", r->key);
        doc_etag(&text, &m->etag);
        doc_close(&text, "PostResponse");
    }
    text_free(&location);
    return status == 201 ? s3_respond_xml(r, status, &text) : s3_respond_empty(r, status);
}

static const struct op_step post_steps[POST_STEP_COUNT] = {
    [POST_RECEIVE] = {"receive", post_receive, TO(POST_NAME) | TO_END},
    [POST_NAME] = {"name", post_name, TO(POST_DONE) | TO_END},
    [POST_DONE] = {"done", post_done, TO_END},
};
static const struct op_kind post_kind = {"post", post_steps, POST_STEP_COUNT};

void s3_post_object(struct s3_request *r)
{
    struct post *post = s3_take(r, sizeof *post);
    if (post == NULL) {
        s3_fail(r, S3_E(SlowDown));
        return;
    }
    post->r = r;
    *S3_OWN(r, struct post *) = post;
    r->release = post_release;
    if (!r->http->has_content_length && !r->http->is_chunked) {
        s3_fail(r, S3_E(MissingContentLength));
        return;
    }
    if (form_delimiter_parse(s3_header(r, "content-type"), &post->delimiter)) {
        s3_fail(r, S3_E(MalformedPOSTRequest));
        return;
    }
    op_init(&r->op, &post_kind, http_loop(r->x));
    op_run(&r->op);
}
