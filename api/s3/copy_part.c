/*
 * UploadPartCopy: a part made of a range of an object. Its bytes stay where they are; they are
 * read, once, where the part's MD5 or checksum is one that nobody has.
 *
 *     UPLOAD --> LOOKUP --> JUDGE --> PIECES --> NAME --> (durable) --> DONE
 *                   ^          \--> HASHED --^                           |
 *                   +------------ the source has changed ----------------+
 */
#include "api/s3/checksum.h"
#include "api/s3/copy_source.h"
#include "api/s3/document.h"
#include "api/s3/multipart.h"
#include "api/s3/object_headers.h"
#include "api/s3/range.h"
#include "api/s3/rehash.h"

enum {
    SLICE_UPLOAD,
    SLICE_LOOKUP,
    SLICE_JUDGE,
    SLICE_HASHED,
    SLICE_PIECES,
    SLICE_NAME,
    SLICE_DONE,
    SLICE_STEP_COUNT
};

struct slice {
    struct s3_copy_source source;
    struct s3_rehash rehash;
    struct s3_ask *upload_ask, *pieces;
    struct s3_change change;
    struct upload_id upload;
    uint16_t number;
    struct s3_range range;
    struct etag etag;
    struct checksum checksum;
};

static struct slice *slice_of(struct s3_request *r)
{
    return *S3_OWN(r, struct slice *);
}

static struct s3_request *slice_request(struct op *op)
{
    return CONTAINER_OF(op, struct s3_request, op);
}

/* What was found out about the source. */
static void slice_forget(struct slice *slice)
{
    s3_rehash_fini(&slice->rehash);
    slice->rehash = (struct s3_rehash){0};
    slice->checksum = (struct checksum){0};
    if (slice->pieces != NULL)
        free(TAKE(slice->pieces->ask.pieces));
}

static void slice_release(struct s3_request *r)
{
    struct slice *slice = slice_of(r);
    s3_copy_source_fini(&slice->source);
    slice_forget(slice);
}

static int slice_upload(struct op *op)
{
    struct s3_request *r = slice_request(op);
    struct slice *slice = slice_of(r);
    slice->upload_ask = s3_ask_take(r);
    if (slice->upload_ask == NULL)
        return s3_fail(r, S3_E(SlowDown));
    slice->upload_ask->ask.upload = slice->upload;
    group_upload(s3_group(r), &slice->upload_ask->ask);
    return op_wait(SLICE_LOOKUP);
}

static int slice_lookup(struct op *op)
{
    struct s3_request *r = slice_request(op);
    struct slice *slice = slice_of(r);
    if (slice->upload_ask->ask.err)
        return s3_fail_err(r, slice->upload_ask->ask.err);
    return s3_copy_source_find(r, &slice->source) ? SLICE_JUDGE : op_wait(SLICE_JUDGE);
}

static bool slice_range(struct s3_request *r, struct slice *slice, uint64_t size)
{
    struct bytes header = s3_header(r, "x-amz-copy-source-range");
    slice->range = (struct s3_range){.size = size};
    if (header.data != NULL && s3_copy_range_parse(header, size, &slice->range)) {
        s3_fail_text(r, S3_E(InvalidArgument),
                     "Range specified is not valid for source object of size: %llu",
                     (unsigned long long)size);
        return false;
    }
    if (slice->range.size > COPY_BYTES_MAX) {
        s3_fail_text(
            r, S3_E(InvalidRequest),
            "The specified copy source is larger than the maximum allowable size for a copy "
            "source: 5368709120");
        return false;
    }
    return true;
}

static int slice_judge(struct op *op)
{
    struct s3_request *r = slice_request(op);
    struct slice *slice = slice_of(r);
    if (!s3_copy_source_judge(r, &slice->source))
        return OP_END;
    struct object *object = slice->source.lookup.object;
    const struct object_info *info = object_info(object);
    if (!slice_range(r, slice, info->size))
        return OP_END;
    uint8_t algorithm = slice->upload_ask->ask.upload_info.checksum.algorithm;
    bool is_known = slice->range.size == info->size && info->etag.parts == 0 &&
                    (algorithm == 0 || (algorithm == info->checksum.algorithm &&
                                        info->checksum.type == S3_CHECKSUM_FULL_OBJECT));
    if (is_known) {
        slice->etag = info->etag;
        if (algorithm != 0)
            slice->checksum = info->checksum;
        return SLICE_PIECES;
    }
    return s3_rehash_begin(r, &slice->rehash, object, slice->range.offset, slice->range.size,
                           algorithm)
               ? op_wait(SLICE_HASHED)
               : OP_END;
}

static int slice_hashed(struct op *op)
{
    struct s3_request *r = slice_request(op);
    struct slice *slice = slice_of(r);
    enum err e = s3_rehash_end(&slice->rehash, slice->etag.md5, &slice->checksum);
    return e ? s3_fail_err(r, e) : SLICE_PIECES;
}

static int slice_pieces(struct op *op)
{
    struct s3_request *r = slice_request(op);
    struct slice *slice = slice_of(r);
    if (slice->pieces == NULL)
        slice->pieces = s3_ask_take(r);
    if (slice->pieces == NULL)
        return s3_fail(r, S3_E(SlowDown));
    slice->pieces->ask.of = slice->source.lookup.object;
    group_object_pieces(s3_group(r), &slice->pieces->ask, slice->range.offset, slice->range.size);
    return op_wait(SLICE_NAME);
}

static int slice_name(struct op *op)
{
    struct s3_request *r = slice_request(op);
    struct slice *slice = slice_of(r);
    if (slice->pieces->ask.err)
        return s3_fail_err(r, slice->pieces->ask.err);
    s3_change_init(r, &slice->change, MUTATION_PART_PUT);
    struct mutation *m = &slice->change.m;
    m->upload = slice->upload;
    m->part_number = slice->number;
    m->pieces = slice->pieces->ask.pieces;
    m->piece_count = slice->pieces->ask.piece_count;
    m->size = slice->range.size;
    m->etag = slice->etag;
    m->checksum = slice->checksum;
    s3_copy_source_note(&slice->source, m);
    s3_change_submit(r, &slice->change);
    return op_wait(SLICE_DONE);
}

static int slice_done(struct op *op)
{
    struct s3_request *r = slice_request(op);
    struct slice *slice = slice_of(r);
    const struct mutation *m = &slice->change.m;
    if (m->err == ERR_CONFLICT) {
        slice_forget(slice);
        return s3_copy_source_again(r, &slice->source) ? op_wait(SLICE_LOOKUP) : OP_END;
    }
    if (m->err)
        return s3_fail_trail(r, m->err, &m->trail);
    struct text_buf text = {0};
    doc_begin(&text, "CopyPartResult");
    doc_time(&text, "LastModified", m->mtime_ns);
    doc_etag(&text, &m->etag);
    doc_checksum(&text, &m->checksum, 0);
    doc_end(&text, "CopyPartResult");
    s3_header_receipt(r, &m->receipt);
    return s3_respond_xml(r, 200, &text);
}

static const struct op_step slice_steps[SLICE_STEP_COUNT] = {
    [SLICE_UPLOAD] = {"upload", slice_upload, TO(SLICE_LOOKUP) | TO_END},
    [SLICE_LOOKUP] = {"lookup", slice_lookup, TO(SLICE_JUDGE) | TO_END},
    [SLICE_JUDGE] = {"judge", slice_judge, TO(SLICE_PIECES) | TO(SLICE_HASHED) | TO_END},
    [SLICE_HASHED] = {"hashed", slice_hashed, TO(SLICE_PIECES) | TO_END},
    [SLICE_PIECES] = {"pieces", slice_pieces, TO(SLICE_NAME) | TO_END},
    [SLICE_NAME] = {"name", slice_name, TO(SLICE_DONE) | TO_END},
    [SLICE_DONE] = {"done", slice_done, TO(SLICE_LOOKUP) | TO_END},
};
static const struct op_kind slice_kind = {"copy_part", slice_steps, SLICE_STEP_COUNT};

void s3_upload_part_copy(struct s3_request *r)
{
    struct slice *slice = s3_take(r, sizeof *slice);
    if (slice == NULL) {
        s3_fail(r, S3_E(SlowDown));
        return;
    }
    *S3_OWN(r, struct slice *) = slice;
    r->release = slice_release;
    if (!s3_part_address(r, &slice->upload, &slice->number) ||
        !s3_copy_source_parse(r, &slice->source))
        return;
    op_init(&r->op, &slice_kind, http_loop(r->x));
    op_run(&r->op);
}
