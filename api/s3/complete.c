/*
 * CompleteMultipartUpload: the parts named become the object; no byte moves.
 *
 *     COLLECT --> UPLOAD --> PARTS --> JUDGE --> NAME --> (durable) --> DONE
 *                    \--> NAME      the upload is gone: it may have been completed by this very
 *                                   request, sent again
 *
 * What JUDGE finds is found again, exactly, where the mutation is applied; here it yields S3's
 * precise answers and the object's checksum.
 */
#include "api/s3/checksum.h"
#include "api/s3/collect.h"
#include "api/s3/conditions.h"
#include "api/s3/document.h"
#include "api/s3/multipart.h"
#include "api/s3/object_headers.h"
#include "api/s3/xml.h"

enum {
    COMPLETE_COLLECT,
    COMPLETE_UPLOAD,
    COMPLETE_PARTS,
    COMPLETE_JUDGE,
    COMPLETE_NAME,
    COMPLETE_DONE,
    COMPLETE_STEP_COUNT
};

struct complete {
    struct s3_collect collect;
    struct s3_ask *ask;
    struct s3_change change;
    struct upload_id upload;
    struct completed_part *wanted; /* owned: as the request lists them */
    size_t wanted_count;
    struct object_part *found; /* owned: what there is of each, in the same order */
    size_t found_count;
    struct checksum promised; /* by x-amz-checksum-* for the whole object; algorithm 0: none */
    struct checksum checksum;
    enum s3_error found_error; /* of the first part that will not do */
    uint64_t size;
};

static struct complete *complete_of(struct s3_request *r)
{
    return *S3_OWN(r, struct complete *);
}

static struct s3_request *complete_request(struct op *op)
{
    return CONTAINER_OF(op, struct s3_request, op);
}

static void complete_release(struct s3_request *r)
{
    struct complete *complete = complete_of(r);
    s3_collect_fini(&complete->collect);
    free(complete->wanted);
    free(complete->found);
}

static int complete_collect(struct op *op)
{
    struct s3_request *r = complete_request(op);
    struct complete *complete = complete_of(r);
    return s3_collect_begin(r, &complete->collect, S3_PAYLOAD_DOCUMENT_ONLY)
               ? op_wait(COMPLETE_UPLOAD)
               : OP_END;
}

/* One line of the request, judged by itself. */
static enum s3_error complete_read_part(const struct xml_completed_part *line,
                                        struct completed_part *ret_part)
{
    struct completed_part part = {.number = (uint16_t)line->number};
    if (line->number < 1 || line->number > PARTS_MAX)
        return S3_E(InvalidArgument);
    if (!s3_etag_parse(line->etag, &part.etag))
        return S3_E(InvalidPart);
    if (line->checksum_algorithm != 0 &&
        !s3_checksum_parse(line->checksum_algorithm, line->checksum, &part.checksum))
        return S3_E(InvalidPart);
    *ret_part = part;
    return S3_E(None);
}

static enum s3_error complete_read(struct complete *complete, struct bytes document)
{
    struct xml_complete xml;
    enum err e = xml_read_complete(document, &xml);
    if (e)
        return e == ERR_NO_MEMORY ? S3_E(SlowDown) : S3_E(MalformedXML);
    enum s3_error error = xml.count == 0 ? S3_E(MalformedXML) : S3_E(None);
    complete->wanted = calloc(xml.count + 1, sizeof *complete->wanted);
    if (complete->wanted == NULL)
        error = S3_E(SlowDown);
    for (size_t i = 0; i < xml.count && !error; i++) {
        error = complete_read_part(&xml.parts[i], &complete->wanted[i]);
        if (!error && i > 0 && complete->wanted[i].number <= complete->wanted[i - 1].number)
            error = S3_E(InvalidPartOrder);
    }
    complete->wanted_count = xml.count;
    xml_complete_free(&xml);
    return error;
}

static int complete_upload(struct op *op)
{
    struct s3_request *r = complete_request(op);
    struct complete *complete = complete_of(r);
    struct bytes document;
    if (!s3_collect_end(r, &complete->collect, &document))
        return OP_END;
    enum s3_error error = complete_read(complete, document);
    if (error)
        return s3_fail(r, error);
    complete->found = calloc(complete->wanted_count, sizeof *complete->found);
    complete->ask = s3_ask_take(r);
    if (complete->found == NULL || complete->ask == NULL)
        return s3_fail(r, S3_E(SlowDown));
    complete->ask->ask.upload = complete->upload;
    group_upload(s3_group(r), &complete->ask->ask);
    return op_wait(COMPLETE_PARTS);
}

/* Any thread: touches the operation alone, which waits. Parts come in ascending order, as those
 * wanted do. */
static enum err complete_each(void *context, const struct part_info *part)
{
    struct complete *complete = context;
    if (complete->found_error || complete->found_count == complete->wanted_count)
        return ERR_OK;
    const struct completed_part *wanted = &complete->wanted[complete->found_count];
    if (part->number < wanted->number)
        return ERR_OK; /* uploaded and not wanted: dropped with the upload */
    bool sum_differs =
        wanted->checksum.algorithm != 0 && !s3_checksum_equal(&wanted->checksum, &part->checksum);
    if (part->number > wanted->number || !s3_etag_equal(&part->etag, &wanted->etag) ||
        sum_differs) {
        complete->found_error = S3_E(InvalidPart);
        return ERR_OK;
    }
    if (complete->found_count + 1 < complete->wanted_count && part->size < PART_BYTES_MIN) {
        complete->found_error = S3_E(EntityTooSmall);
        return ERR_OK;
    }
    complete->found[complete->found_count++] = (struct object_part){
        .number = part->number, .size = part->size, .checksum = part->checksum};
    complete->size += part->size;
    return ERR_OK;
}

static int complete_parts(struct op *op)
{
    struct s3_request *r = complete_request(op);
    struct complete *complete = complete_of(r);
    struct group_ask *ask = &complete->ask->ask;
    if (ask->err == ERR_NO_SUCH_UPLOAD)
        return COMPLETE_NAME;
    if (ask->err)
        return s3_fail_err(r, ask->err);
    ask->after_part = 0;
    ask->max = PARTS_MAX;
    ask->each.part = complete_each;
    ask->context = complete;
    group_parts(s3_group(r), ask);
    return op_wait(COMPLETE_JUDGE);
}

/* The object's checksum out of its parts'. False: a part has none of that kind. */
static bool complete_sum(struct complete *complete, const struct checksum *wanted)
{
    if (wanted->algorithm == 0)
        return true;
    for (size_t i = 0; i < complete->found_count; i++)
        if (complete->found[i].checksum.algorithm != wanted->algorithm)
            return false;
    struct s3_checksum_whole whole;
    s3_checksum_whole_init(&whole, wanted);
    for (size_t i = 0; i < complete->found_count; i++)
        s3_checksum_whole_add(&whole, &complete->found[i].checksum, complete->found[i].size);
    s3_checksum_whole_final(&whole, &complete->checksum);
    return true;
}

static int complete_judge(struct op *op)
{
    struct s3_request *r = complete_request(op);
    struct complete *complete = complete_of(r);
    const struct group_ask *ask = &complete->ask->ask;
    if (ask->err == ERR_NO_SUCH_UPLOAD)
        return COMPLETE_NAME;
    if (ask->err)
        return s3_fail_err(r, ask->err);
    if (complete->found_error)
        return s3_fail(r, complete->found_error);
    if (complete->found_count < complete->wanted_count)
        return s3_fail(r, S3_E(InvalidPart));
    if (complete->size > OBJECT_BYTES_MAX)
        return s3_fail(r, S3_E(EntityTooLarge));
    struct bytes size_promised = s3_header(r, "x-amz-mp-object-size");
    uint64_t size;
    if (size_promised.data != NULL &&
        (bytes_to_u64(size_promised, &size) || size != complete->size))
        return s3_fail_text(r, S3_E(InvalidRequest),
                            "The provided 'x-amz-mp-object-size' header value does not match what "
                            "was computed");
    if (!complete_sum(complete, &ask->upload_info.checksum))
        return s3_fail(r, S3_E(InvalidPart));
    if (complete->promised.algorithm != 0 &&
        !s3_checksum_equal(&complete->promised, &complete->checksum))
        return s3_fail(r, S3_E(BadDigest));
    return COMPLETE_NAME;
}

static int complete_name(struct op *op)
{
    struct s3_request *r = complete_request(op);
    struct complete *complete = complete_of(r);
    s3_change_init(r, &complete->change, MUTATION_UPLOAD_COMPLETE);
    struct mutation *m = &complete->change.m;
    m->upload = complete->upload;
    m->completed = complete->wanted;
    m->completed_count = complete->wanted_count;
    m->size = complete->size;
    m->checksum = complete->checksum;
    s3_conditions_write(s3_header(r, "if-match"), s3_header(r, "if-none-match"), &m->conditions);
    s3_change_submit(r, &complete->change);
    return op_wait(COMPLETE_DONE);
}

static int complete_done(struct op *op)
{
    struct s3_request *r = complete_request(op);
    struct complete *complete = complete_of(r);
    const struct mutation *m = &complete->change.m;
    if (m->err)
        return s3_fail_trail(r, m->err, &m->trail);
    struct text_buf text = {0};
    doc_begin(&text, "CompleteMultipartUploadResult");
    struct text_buf location = {0};
    text_printf(&location, "http://%.*s%.*s", (int)r->http->host.size, r->http->host.data,
                (int)r->http->path.size, r->http->path.data);
    doc_text(&text, "Location", text_bytes(&location));
    text_free(&location);
    doc_text(&text, "Bucket", r->bucket_name);
    doc_text(&text, "Key", r->key);
    doc_etag(&text, &m->etag);
    doc_checksum(&text, &m->checksum, (uint32_t)complete->wanted_count);
    if (m->checksum.algorithm != 0)
        doc_text(&text, "ChecksumType", bytes_of_string(s3_checksum_type_name(m->checksum.type)));
    doc_end(&text, "CompleteMultipartUploadResult");
    s3_header_receipt(r, &m->receipt);
    return s3_respond_xml(r, 200, &text);
}

static const struct op_step complete_steps[COMPLETE_STEP_COUNT] = {
    [COMPLETE_COLLECT] = {"collect", complete_collect, TO(COMPLETE_UPLOAD) | TO_END},
    [COMPLETE_UPLOAD] = {"upload", complete_upload, TO(COMPLETE_PARTS) | TO_END},
    [COMPLETE_PARTS] = {"parts", complete_parts, TO(COMPLETE_JUDGE) | TO(COMPLETE_NAME) | TO_END},
    [COMPLETE_JUDGE] = {"judge", complete_judge, TO(COMPLETE_NAME) | TO_END},
    [COMPLETE_NAME] = {"name", complete_name, TO(COMPLETE_DONE)},
    [COMPLETE_DONE] = {"done", complete_done, TO_END},
};
static const struct op_kind complete_kind = {"complete", complete_steps, COMPLETE_STEP_COUNT};

/* The object's checksum as the client has it; a composite one may come with its "-N". False:
 * answered with an error. */
static bool complete_promise(struct s3_request *r, struct complete *complete)
{
    for (size_t i = 0; i < r->headers.count; i++) {
        const struct s3_checksum_name *name = s3_checksum_by_header(r->headers.at[i].name);
        struct bytes value = r->headers.at[i].value;
        if (name == NULL)
            continue;
        if (complete->promised.algorithm == 0 &&
            s3_checksum_parse(name->algorithm, bytes_split(&value, '-'), &complete->promised))
            continue;
        s3_fail_text(r, S3_E(InvalidRequest),
                     "Expecting a single well-formed x-amz-checksum- header");
        return false;
    }
    return true;
}

void s3_complete_upload(struct s3_request *r)
{
    struct complete *complete = s3_take(r, sizeof *complete);
    if (complete == NULL) {
        s3_fail(r, S3_E(SlowDown));
        return;
    }
    *S3_OWN(r, struct complete *) = complete;
    r->release = complete_release;
    if (!s3_upload_address(r, &complete->upload) || !complete_promise(r, complete))
        return;
    op_init(&r->op, &complete_kind, http_loop(r->x));
    op_run(&r->op);
}
