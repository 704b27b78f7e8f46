/*
 * ListParts: one page of what an upload holds.
 *
 *     UPLOAD --> (its checksum's kind and headers) --> PARTS
 *            --> (a pool thread writes the XML) --> ANSWER
 */
#include "api/s3/document.h"
#include "api/s3/meta.h"
#include "api/s3/multipart.h"

enum { PARTS_UPLOAD, PARTS_ASK, PARTS_ANSWER, PARTS_STEP_COUNT };

#define LIST_PARTS_MAX 1000u

struct parts_page {
    struct s3_ask *ask;
    struct upload_id upload;
    uint32_t max;
    uint16_t after, last; /* part numbers */
    struct text_buf parts;
};

static struct parts_page *parts_of(struct s3_request *r)
{
    return S3_OWN(r, struct parts_page);
}

static struct s3_request *parts_request(struct op *op)
{
    return CONTAINER_OF(op, struct s3_request, op);
}

static void parts_release(struct s3_request *r)
{
    text_free(&parts_of(r)->parts);
}

static int parts_upload(struct op *op)
{
    struct s3_request *r = parts_request(op);
    struct parts_page *page = parts_of(r);
    page->ask = s3_ask_take(r);
    if (page->ask == NULL)
        return s3_fail(r, S3_E(SlowDown));
    page->ask->ask.upload = page->upload;
    group_upload(s3_group(r), &page->ask->ask);
    return op_wait(PARTS_ASK);
}

/* Any thread: touches the page alone, whose owner waits. */
static enum err parts_each(void *context, const struct part_info *part)
{
    struct parts_page *page = context;
    struct text_buf *text = &page->parts;
    page->last = part->number;
    doc_open(text, "Part");
    doc_u64(text, "PartNumber", part->number);
    doc_time(text, "LastModified", part->mtime_ns);
    doc_etag(text, &part->etag);
    doc_u64(text, "Size", part->size);
    doc_checksum(text, &part->checksum, 0);
    doc_close(text, "Part");
    return text->failed ? ERR_NO_MEMORY : ERR_OK;
}

static int parts_ask(struct op *op)
{
    struct s3_request *r = parts_request(op);
    struct parts_page *page = parts_of(r);
    struct group_ask *ask = &page->ask->ask;
    if (ask->err)
        return s3_fail_err(r, ask->err);
    ask->after_part = page->after;
    ask->max = page->max;
    ask->each.part = parts_each;
    ask->context = page;
    group_parts(s3_group(r), ask);
    return op_wait(PARTS_ANSWER);
}

static int parts_answer(struct op *op)
{
    struct s3_request *r = parts_request(op);
    struct parts_page *page = parts_of(r);
    const struct group_ask *ask = &page->ask->ask;
    if (ask->err)
        return s3_fail_err(r, ask->err);
    char id[UPLOAD_TEXT_BYTES];
    struct text_buf text = {0};
    enum doc_names names = DOC_NAMES_PLAIN;
    doc_begin(&text, "ListPartsResult");
    doc_text(&text, "Bucket", r->bucket_name);
    doc_name(&text, "Key", r->key, names);
    doc_text(&text, "UploadId", s3_upload_text(&page->upload, id));
    doc_u64(&text, "PartNumberMarker", page->after);
    if (ask->truncated)
        doc_u64(&text, "NextPartNumberMarker", page->last);
    doc_u64(&text, "MaxParts", page->max);
    doc_bool(&text, "IsTruncated", ask->truncated);
    doc_checksum_kind(&text, &ask->upload_info.checksum);
    doc_owner(&text, "Initiator", bytes_of_string(r->bucket.owner));
    doc_owner(&text, "Owner", bytes_of_string(r->bucket.owner));
    doc_text(&text, "StorageClass", s3_meta_storage_class(ask->upload_info.attrs));
    text_put(&text, text_bytes(&page->parts));
    doc_end(&text, "ListPartsResult");
    return s3_respond_xml(r, 200, &text);
}

static const struct op_step parts_steps[PARTS_STEP_COUNT] = {
    [PARTS_UPLOAD] = {"upload", parts_upload, TO(PARTS_ASK) | TO_END},
    [PARTS_ASK] = {"ask", parts_ask, TO(PARTS_ANSWER) | TO_END},
    [PARTS_ANSWER] = {"answer", parts_answer, TO_END},
};
static const struct op_kind parts_kind = {"list_parts", parts_steps, PARTS_STEP_COUNT};

void s3_list_parts(struct s3_request *r)
{
    struct parts_page *page = parts_of(r);
    uint32_t after;
    if (!s3_upload_address(r, &page->upload) ||
        !s3_param_max(r, "max-parts", LIST_PARTS_MAX, &page->max) ||
        !s3_param_u32(r, "part-number-marker", 0, &after))
        return;
    page->after = after > PARTS_MAX ? PARTS_MAX : (uint16_t)after;
    r->release = parts_release;
    op_init(&r->op, &parts_kind, http_loop(r->x));
    op_run(&r->op);
}
