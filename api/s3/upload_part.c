/*
 * UploadPart: the upload is asked for before the body is received; whether it still exists is
 * judged exactly when the part is named.
 *
 *     UPLOAD --> RECEIVE <-> (slots) --> NAME --> (durable) --> DONE
 */
#include "api/s3/multipart.h"
#include "api/s3/object_headers.h"
#include "api/s3/payload.h"
#include "api/s3/receive.h"
#include "api/s3/request.h"

enum { PART_UPLOAD, PART_RECEIVE, PART_NAME, PART_DONE, PART_STEP_COUNT };

struct part_put {
    struct s3_request *r;
    struct s3_ask *ask;
    struct upload_id upload;
    uint16_t number;
    struct s3_payload payload;
    struct s3_receive receive;
    struct s3_change change;
};

static struct part_put *part_of(struct s3_request *r)
{
    return *S3_OWN(r, struct part_put *);
}

static struct s3_request *part_request(struct op *op)
{
    return CONTAINER_OF(op, struct s3_request, op);
}

static void part_release(struct s3_request *r)
{
    struct part_put *part = part_of(r);
    s3_receive_fini(&part->receive);
    s3_payload_fini(&part->payload);
}

static int part_upload(struct op *op)
{
    struct s3_request *r = part_request(op);
    struct part_put *part = part_of(r);
    part->ask = s3_ask_take(r);
    if (part->ask == NULL)
        return s3_fail(r, S3_E(SlowDown));
    part->ask->ask.upload = part->upload;
    group_upload(s3_group(r), &part->ask->ask);
    return op_wait(PART_RECEIVE);
}

static void part_received(struct s3_receive *receive)
{
    struct part_put *part = CONTAINER_OF(receive, struct part_put, receive);
    op_run(&part->r->op);
}

static int part_receive(struct op *op)
{
    struct s3_request *r = part_request(op);
    struct part_put *part = part_of(r);
    if (part->ask->ask.err)
        return s3_fail_err(r, part->ask->ask.err);
    struct s3_payload_options options = {
        .size_max = PUT_BYTES_MAX,
        .hashes = S3_PAYLOAD_OBJECT,
        .stored_as = part->ask->ask.upload_info.checksum.algorithm,
    };
    if (!s3_payload_accept(r, &part->payload, &options))
        return OP_END;
    enum err e = s3_receive_begin(&part->receive, &(struct s3_receive_options){
                                                      .x = r->x,
                                                      .group = s3_group(r),
                                                      .payload = &part->payload,
                                                      .slots = s3_put_slots(r),
                                                      .lanes = s3_lanes(r),
                                                      .done = part_received,
                                                  });
    if (e)
        return s3_fail_trail(r, e, &part->receive.trail);
    return op_wait(PART_NAME);
}

static int part_name(struct op *op)
{
    struct s3_request *r = part_request(op);
    struct part_put *part = part_of(r);
    r->trail = part->receive.trail;
    if (!s3_payload_judge(r, &part->payload, part->receive.err))
        return OP_END;
    s3_change_init(r, &part->change, MUTATION_PART_PUT);
    struct mutation *m = &part->change.m;
    m->upload = part->upload;
    m->part_number = part->number;
    m->body = s3_receive_take(&part->receive);
    m->size = part->receive.size;
    memcpy(m->etag.md5, part->payload.md5, sizeof m->etag.md5);
    m->checksum = part->payload.checksum;
    s3_change_submit(r, &part->change);
    return op_wait(PART_DONE);
}

static int part_done(struct op *op)
{
    struct s3_request *r = part_request(op);
    const struct mutation *m = &part_of(r)->change.m;
    if (m->err)
        return s3_fail_trail(r, m->err, &m->trail);
    s3_header_etag(r, &m->etag);
    s3_header_part_checksum(r, &m->checksum);
    s3_header_receipt(r, &m->receipt);
    return s3_respond_empty(r, 200);
}

static const struct op_step part_steps[PART_STEP_COUNT] = {
    [PART_UPLOAD] = {"upload", part_upload, TO(PART_RECEIVE) | TO_END},
    [PART_RECEIVE] = {"receive", part_receive, TO(PART_NAME) | TO_END},
    [PART_NAME] = {"name", part_name, TO(PART_DONE) | TO_END},
    [PART_DONE] = {"done", part_done, TO_END},
};
static const struct op_kind part_kind = {"upload_part", part_steps, PART_STEP_COUNT};

void s3_upload_part(struct s3_request *r)
{
    struct part_put *part = s3_take(r, sizeof *part);
    if (part == NULL) {
        s3_fail(r, S3_E(SlowDown));
        return;
    }
    part->r = r;
    *S3_OWN(r, struct part_put *) = part;
    r->release = part_release;
    if (!s3_part_address(r, &part->upload, &part->number))
        return;
    op_init(&r->op, &part_kind, http_loop(r->x));
    op_run(&r->op);
}
