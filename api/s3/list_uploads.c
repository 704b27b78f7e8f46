/*
 * ListMultipartUploads: one page of a bucket's unfinished uploads, by key and then by age.
 *
 *     ASK --> (a pool thread writes the XML) --> ANSWER
 */
#include "api/s3/document.h"
#include "api/s3/meta.h"
#include "api/s3/multipart.h"

enum { UPLOADS_ASK, UPLOADS_ANSWER, UPLOADS_STEP_COUNT };

#define LIST_UPLOADS_MAX 1000u

struct uploads_page {
    struct s3_ask *ask;
    struct bytes prefix, delimiter, key_marker, upload_marker;
    uint32_t max;
    enum doc_names names;
    struct bytes owner;
    struct text_buf uploads, prefixes;
    /* the last one given out: where the next page begins */
    struct upload_id last_id;
    bool last_is_prefix;
    size_t last_size;
    char last_key[KEY_BYTES_MAX];
};

static struct uploads_page *uploads_of(struct s3_request *r)
{
    return *S3_OWN(r, struct uploads_page *);
}

static struct s3_request *uploads_request(struct op *op)
{
    return CONTAINER_OF(op, struct s3_request, op);
}

static void uploads_release(struct s3_request *r)
{
    struct uploads_page *page = uploads_of(r);
    text_free(&page->uploads);
    text_free(&page->prefixes);
}

static enum err uploads_each_prefix(struct uploads_page *page, struct bytes prefix)
{
    struct text_buf *text = &page->prefixes;
    doc_open(text, "CommonPrefixes");
    doc_name(text, "Prefix", prefix, page->names);
    doc_close(text, "CommonPrefixes");
    return text->failed ? ERR_NO_MEMORY : ERR_OK;
}

/* Any thread: touches the page alone, whose owner waits. */
static enum err uploads_each(void *context, bool is_prefix, struct bytes key,
                             const struct upload_info *upload)
{
    struct uploads_page *page = context;
    CHECK(key.size <= sizeof page->last_key);
    memcpy(page->last_key, key.data, key.size);
    page->last_size = key.size;
    page->last_is_prefix = is_prefix;
    if (is_prefix)
        return uploads_each_prefix(page, key);
    page->last_id = upload->id;
    struct text_buf *text = &page->uploads;
    char id[UPLOAD_TEXT_BYTES];
    doc_open(text, "Upload");
    doc_name(text, "Key", key, page->names);
    doc_text(text, "UploadId", s3_upload_text(&upload->id, id));
    doc_owner(text, "Initiator", page->owner);
    doc_owner(text, "Owner", page->owner);
    doc_text(text, "StorageClass", s3_meta_storage_class(upload->attrs));
    doc_time(text, "Initiated", upload->created_ns);
    doc_checksum_kind(text, &upload->checksum);
    doc_close(text, "Upload");
    return text->failed ? ERR_NO_MEMORY : ERR_OK;
}

static int uploads_ask(struct op *op)
{
    struct s3_request *r = uploads_request(op);
    struct uploads_page *page = uploads_of(r);
    page->ask = s3_ask_take(r);
    if (page->ask == NULL)
        return s3_fail(r, S3_E(SlowDown));
    struct group_ask *ask = &page->ask->ask;
    ask->uploads = (struct upload_query){
        .bucket = r->bucket.id,
        .prefix = page->prefix,
        .delimiter = page->delimiter,
        .key_marker = page->key_marker,
        .max = page->max,
    };
    /* Without a key-marker S3 ignores the other one. */
    if (page->key_marker.size > 0 && page->upload_marker.size > 0) {
        if (!s3_upload_parse(page->upload_marker, &ask->uploads.upload_marker))
            return s3_fail_text(r, S3_E(InvalidArgument), "Invalid uploadId marker");
        ask->uploads.has_upload_marker = true;
    }
    ask->each.upload = uploads_each;
    ask->context = page;
    group_uploads(s3_group(r), ask);
    return op_wait(UPLOADS_ANSWER);
}

static int uploads_answer(struct op *op)
{
    struct s3_request *r = uploads_request(op);
    struct uploads_page *page = uploads_of(r);
    const struct group_ask *ask = &page->ask->ask;
    if (ask->err)
        return s3_fail_err(r, ask->err);
    struct text_buf text = {0};
    doc_begin(&text, "ListMultipartUploadsResult");
    doc_text(&text, "Bucket", r->bucket_name);
    doc_name(&text, "KeyMarker", page->key_marker, page->names);
    doc_text(&text, "UploadIdMarker", page->upload_marker);
    if (ask->truncated) {
        char id[UPLOAD_TEXT_BYTES];
        doc_name(&text, "NextKeyMarker", bytes_of(page->last_key, page->last_size), page->names);
        if (!page->last_is_prefix)
            doc_text(&text, "NextUploadIdMarker", s3_upload_text(&page->last_id, id));
    }
    if (page->delimiter.size > 0)
        doc_name(&text, "Delimiter", page->delimiter, page->names);
    doc_name(&text, "Prefix", page->prefix, page->names);
    if (page->names == DOC_NAMES_URL)
        doc_text(&text, "EncodingType", BYTES("url"));
    doc_u64(&text, "MaxUploads", page->max);
    doc_bool(&text, "IsTruncated", ask->truncated);
    text_put(&text, text_bytes(&page->uploads));
    text_put(&text, text_bytes(&page->prefixes));
    doc_end(&text, "ListMultipartUploadsResult");
    return s3_respond_xml(r, 200, &text);
}

static const struct op_step uploads_steps[UPLOADS_STEP_COUNT] = {
    [UPLOADS_ASK] = {"ask", uploads_ask, TO(UPLOADS_ANSWER) | TO_END},
    [UPLOADS_ANSWER] = {"answer", uploads_answer, TO_END},
};
static const struct op_kind uploads_kind = {"list_uploads", uploads_steps, UPLOADS_STEP_COUNT};

void s3_list_uploads(struct s3_request *r)
{
    struct uploads_page *page = s3_take(r, sizeof *page);
    if (page == NULL) {
        s3_fail(r, S3_E(SlowDown));
        return;
    }
    *page = (struct uploads_page){
        .prefix = s3_param(r, "prefix"),
        .delimiter = s3_param(r, "delimiter"),
        .key_marker = s3_param(r, "key-marker"),
        .upload_marker = s3_param(r, "upload-id-marker"),
        .owner = bytes_of_string(r->bucket.owner),
    };
    if (!s3_param_names(r, &page->names) ||
        !s3_param_max(r, "max-uploads", LIST_UPLOADS_MAX, &page->max))
        return;
    *S3_OWN(r, struct uploads_page *) = page;
    r->release = uploads_release;
    op_init(&r->op, &uploads_kind, http_loop(r->x));
    op_run(&r->op);
}
