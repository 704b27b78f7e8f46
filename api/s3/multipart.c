/*
 * CreateMultipartUpload and AbortMultipartUpload: one mutation each.
 *
 *     PROPOSE --> (durable) --> DONE
 */
#include "api/s3/multipart.h"

#include "api/s3/checksum.h"
#include "api/s3/document.h"
#include "api/s3/meta.h"
#include "api/s3/object_headers.h"

enum { UPLOAD_PROPOSE, UPLOAD_DONE, UPLOAD_STEP_COUNT };

struct upload {
    struct s3_change change;
    struct upload_id id;
    struct checksum checksum;
    size_t attrs_size;
    uint8_t attrs[META_BYTES_MAX]; /* last: not cleared before use */
};

_Static_assert(sizeof(struct upload) <= S3_BLOCK_BYTES - 16, "fits a block, attributes and all");

/* ---- names ---- */

struct bytes s3_upload_text(const struct upload_id *id, char out[UPLOAD_TEXT_BYTES])
{
    hex_encode(id->bytes, sizeof id->bytes, out);
    return bytes_of(out, UPLOAD_TEXT_BYTES - 1);
}

bool s3_upload_parse(struct bytes text, struct upload_id *ret_id)
{
    return text.size == UPLOAD_TEXT_BYTES - 1 &&
           hex_decode(text, ret_id->bytes, sizeof ret_id->bytes) == ERR_OK;
}

bool s3_upload_address(struct s3_request *r, struct upload_id *ret_id)
{
    if (s3_upload_parse(s3_param(r, "uploadId"), ret_id))
        return true;
    s3_fail(r, S3_E(NoSuchUpload));
    return false;
}

bool s3_part_address(struct s3_request *r, struct upload_id *ret_id, uint16_t *ret_number)
{
    uint64_t number;
    if (bytes_to_u64(s3_param(r, "partNumber"), &number) || number < 1 || number > PARTS_MAX) {
        s3_fail_text(r, S3_E(InvalidArgument),
                     "Part number must be an integer between 1 and 10000, inclusive");
        return false;
    }
    *ret_number = (uint16_t)number;
    return s3_upload_address(r, ret_id);
}

/* ---- checksums ---- */

bool s3_upload_checksum_wanted(struct s3_request *r, struct checksum *ret_wanted)
{
    struct bytes algorithm = bytes_trim(s3_header(r, "x-amz-checksum-algorithm"));
    struct bytes type = s3_header(r, "x-amz-checksum-type");
    const struct s3_checksum_name *name =
        s3_checksum_by_name(algorithm.size > 0 ? algorithm : BYTES("CRC64NVME"));
    if (name == NULL) {
        s3_fail_text(r, S3_E(InvalidRequest),
                     "Checksum algorithm provided is unsupported. Please try again with any of the "
                     "valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]");
        return false;
    }
    struct checksum wanted = {
        .algorithm = name->algorithm,
        .type = s3_checksum_type_default(name->algorithm),
    };
    if (type.data != NULL && algorithm.size == 0) {
        s3_fail_text(r, S3_E(InvalidRequest),
                     "The x-amz-checksum-type header can only be used with the "
                     "x-amz-checksum-algorithm header.");
        return false;
    }
    if (type.data != NULL && (!s3_checksum_type_parse(type, &wanted.type) ||
                              !s3_checksum_type_fits(wanted.algorithm, wanted.type))) {
        s3_fail_text(r, S3_E(InvalidRequest),
                     "The %.*s checksum type cannot be used with the %s checksum algorithm.",
                     (int)type.size, type.data, name->name);
        return false;
    }
    *ret_wanted = wanted;
    return true;
}

/* ---- CreateMultipartUpload ---- */

static struct upload *upload_of(struct s3_request *r)
{
    return *S3_OWN(r, struct upload *);
}

static struct s3_request *upload_request(struct op *op)
{
    return CONTAINER_OF(op, struct s3_request, op);
}

static int create_propose(struct op *op)
{
    struct s3_request *r = upload_request(op);
    struct upload *upload = upload_of(r);
    s3_change_init(r, &upload->change, MUTATION_UPLOAD_CREATE);
    struct mutation *m = &upload->change.m;
    m->upload = upload->id;
    m->attrs = bytes_of(upload->attrs, upload->attrs_size);
    m->checksum = upload->checksum;
    s3_change_submit(r, &upload->change);
    return op_wait(UPLOAD_DONE);
}

static int create_done(struct op *op)
{
    struct s3_request *r = upload_request(op);
    struct upload *upload = upload_of(r);
    const struct mutation *m = &upload->change.m;
    if (m->err)
        return s3_fail_trail(r, m->err, &m->trail);
    char id[UPLOAD_TEXT_BYTES];
    struct text_buf text = {0};
    doc_begin(&text, "InitiateMultipartUploadResult");
    doc_text(&text, "Bucket", r->bucket_name);
    doc_text(&text, "Key", r->key);
    doc_text(&text, "UploadId", s3_upload_text(&upload->id, id));
    doc_end(&text, "InitiateMultipartUploadResult");
    s3_header_checksum_kind(r, &upload->checksum);
    return s3_respond_xml(r, 200, &text);
}

static const struct op_step create_steps[UPLOAD_STEP_COUNT] = {
    [UPLOAD_PROPOSE] = {"propose", create_propose, TO(UPLOAD_DONE)},
    [UPLOAD_DONE] = {"done", create_done, TO_END},
};
static const struct op_kind create_kind = {"create_upload", create_steps, UPLOAD_STEP_COUNT};

void s3_create_upload(struct s3_request *r)
{
    struct upload *upload = s3_take(r, offsetof(struct upload, attrs));
    if (upload == NULL) {
        s3_fail(r, S3_E(SlowDown));
        return;
    }
    *S3_OWN(r, struct upload *) = upload;
    if (!s3_meta_from_request(r, upload->attrs, &upload->attrs_size) ||
        !s3_upload_checksum_wanted(r, &upload->checksum))
        return;
    put_be64(upload->id.bytes, s3_now_ns(r));
    rand_fill(s3_rand(r), upload->id.bytes + 8, sizeof upload->id.bytes - 8);
    op_init(&r->op, &create_kind, http_loop(r->x));
    op_run(&r->op);
}

/* ---- AbortMultipartUpload ---- */

static int abort_propose(struct op *op)
{
    struct s3_request *r = upload_request(op);
    struct upload *upload = upload_of(r);
    s3_change_init(r, &upload->change, MUTATION_UPLOAD_ABORT);
    upload->change.m.upload = upload->id;
    s3_change_submit(r, &upload->change);
    return op_wait(UPLOAD_DONE);
}

static int abort_done(struct op *op)
{
    struct s3_request *r = upload_request(op);
    const struct mutation *m = &upload_of(r)->change.m;
    if (m->err)
        return s3_fail_trail(r, m->err, &m->trail);
    return s3_respond_empty(r, 204);
}

static const struct op_step abort_steps[UPLOAD_STEP_COUNT] = {
    [UPLOAD_PROPOSE] = {"propose", abort_propose, TO(UPLOAD_DONE)},
    [UPLOAD_DONE] = {"done", abort_done, TO_END},
};
static const struct op_kind abort_kind = {"abort_upload", abort_steps, UPLOAD_STEP_COUNT};

void s3_abort_upload(struct s3_request *r)
{
    struct upload *upload = s3_take(r, offsetof(struct upload, attrs));
    if (upload == NULL) {
        s3_fail(r, S3_E(SlowDown));
        return;
    }
    *S3_OWN(r, struct upload *) = upload;
    if (!s3_upload_address(r, &upload->id))
        return;
    op_init(&r->op, &abort_kind, http_loop(r->x));
    op_run(&r->op);
}
