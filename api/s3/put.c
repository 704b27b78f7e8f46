/*
 * PutObject: conditions are foreseen before the body is received, to spare it, and judged exactly
 * when the object is named.
 *
 *     FORESEE --> JUDGE --> RECEIVE <-> (slots) --> NAME --> (durable) --> DONE
 *                                                      any step may end in an error
 *
 * Until NAME nothing exists but an unnamed body; whatever fails before or in it leaves nothing.
 */
#include "api/s3/conditions.h"
#include "api/s3/meta.h"
#include "api/s3/object_headers.h"
#include "api/s3/payload.h"
#include "api/s3/receive.h"
#include "api/s3/request.h"

enum { PUT_FORESEE, PUT_JUDGE, PUT_RECEIVE, PUT_NAME, PUT_DONE, PUT_STEP_COUNT };

struct put {
    struct s3_request *r;
    struct s3_lookup lookup;
    struct s3_payload payload;
    struct s3_receive receive;
    struct s3_change change;
    struct conditions conditions;
    size_t attrs_size;
    uint8_t attrs[META_BYTES_MAX]; /* last: not cleared before use */
};

_Static_assert(sizeof(struct put) <= S3_BLOCK_BYTES - 16, "fits a block, attributes and all");

static struct put *put_of(struct s3_request *r)
{
    return *S3_OWN(r, struct put *);
}

static struct s3_request *put_request(struct op *op)
{
    return CONTAINER_OF(op, struct s3_request, op);
}

static void put_release(struct s3_request *r)
{
    struct put *put = put_of(r);
    s3_lookup_fini(&put->lookup);
    s3_receive_fini(&put->receive);
    s3_payload_fini(&put->payload);
}

static int put_foresee(struct op *op)
{
    struct s3_request *r = put_request(op);
    struct put *put = put_of(r);
    if (!s3_conditions_any(&put->conditions))
        return PUT_RECEIVE;
    return s3_lookup_begin(r, &put->lookup, r->bucket.id, r->key) ? PUT_JUDGE : op_wait(PUT_JUDGE);
}

static int put_judge(struct op *op)
{
    struct s3_request *r = put_request(op);
    struct put *put = put_of(r);
    enum err e = s3_lookup_end(&put->lookup);
    if (e && e != ERR_NO_SUCH_OBJECT)
        return s3_fail_err(r, e);
    e = s3_conditions_foresee(&put->conditions,
                              put->lookup.object ? object_info(put->lookup.object) : NULL);
    s3_lookup_fini(&put->lookup); /* its space may be wanted while the body comes in */
    return e ? s3_fail_err(r, e) : PUT_RECEIVE;
}

static void put_received(struct s3_receive *receive)
{
    struct put *put = CONTAINER_OF(receive, struct put, receive);
    op_run(&put->r->op);
}

static int put_receive(struct op *op)
{
    struct s3_request *r = put_request(op);
    struct put *put = put_of(r);
    enum err e = s3_receive_begin(&put->receive, &(struct s3_receive_options){
                                                     .x = r->x,
                                                     .group = s3_group(r),
                                                     .payload = &put->payload,
                                                     .slots = s3_put_slots(r),
                                                     .lanes = s3_lanes(r),
                                                     .done = put_received,
                                                 });
    if (e)
        return s3_fail_trail(r, e, &put->receive.trail);
    return op_wait(PUT_NAME);
}

static int put_name(struct op *op)
{
    struct s3_request *r = put_request(op);
    struct put *put = put_of(r);
    r->trail = put->receive.trail;
    if (!s3_payload_judge(r, &put->payload, put->receive.err))
        return OP_END;
    s3_change_init(r, &put->change, MUTATION_OBJECT_PUT);
    struct mutation *m = &put->change.m;
    m->attrs = bytes_of(put->attrs, put->attrs_size);
    m->body = s3_receive_take(&put->receive);
    m->size = put->receive.size;
    memcpy(m->etag.md5, put->payload.md5, sizeof m->etag.md5);
    m->checksum = put->payload.checksum;
    m->conditions = put->conditions;
    s3_change_submit(r, &put->change);
    return op_wait(PUT_DONE);
}

static int put_done(struct op *op)
{
    struct s3_request *r = put_request(op);
    const struct mutation *m = &put_of(r)->change.m;
    if (m->err)
        return s3_fail_trail(r, m->err, &m->trail);
    s3_header_etag(r, &m->etag);
    s3_header_checksum(r, &m->checksum, 0);
    s3_header_receipt(r, &m->receipt);
    return s3_respond_empty(r, 200);
}

static const struct op_step put_steps[PUT_STEP_COUNT] = {
    [PUT_FORESEE] = {"foresee", put_foresee, TO(PUT_JUDGE) | TO(PUT_RECEIVE)},
    [PUT_JUDGE] = {"judge", put_judge, TO(PUT_RECEIVE) | TO_END},
    [PUT_RECEIVE] = {"receive", put_receive, TO(PUT_NAME) | TO_END},
    [PUT_NAME] = {"name", put_name, TO(PUT_DONE) | TO_END},
    [PUT_DONE] = {"done", put_done, TO_END},
};
static const struct op_kind put_kind = {"put", put_steps, PUT_STEP_COUNT};

void s3_put_object(struct s3_request *r)
{
    /* Half of a part's address: taking it for an upload of the whole object would destroy what is
     * there. */
    if (s3_param(r, "uploadId").data != NULL || s3_param(r, "partNumber").data != NULL) {
        s3_fail_text(r, S3_E(InvalidArgument),
                     "A part is addressed by both partNumber and uploadId");
        return;
    }
    struct put *put = s3_take(r, offsetof(struct put, attrs));
    if (put == NULL) {
        s3_fail(r, S3_E(SlowDown));
        return;
    }
    put->r = r;
    *S3_OWN(r, struct put *) = put;
    r->release = put_release;
    if (!s3_meta_from_request(r, put->attrs, &put->attrs_size))
        return;
    struct s3_payload_options options = {
        .size_max = PUT_BYTES_MAX,
        .hashes = S3_PAYLOAD_OBJECT,
    };
    if (!s3_payload_accept(r, &put->payload, &options))
        return;
    s3_conditions_write(s3_header(r, "if-match"), s3_header(r, "if-none-match"), &put->conditions);
    op_init(&r->op, &put_kind, http_loop(r->x));
    op_run(&r->op);
}
