/*
 * ListObjects, both versions of it, and ListObjectVersions: one page of a bucket's keys in bytewise
 * order. Where versioning was never switched on, a key has one version and its id is "null".
 *
 *     ASK --> (a pool thread writes the entries' XML while it reads) --> ANSWER
 *
 * The head of the document says how many entries follow, so entries are written to texts of their
 * own and put behind it.
 */
#include "api/s3/document.h"
#include "api/s3/meta.h"
#include "api/s3/request.h"
#include "api/s3/token.h"

enum { LIST_ASK, LIST_ANSWER, LIST_STEP_COUNT };

enum list_form { LIST_V1, LIST_V2, LIST_VERSIONS };

/* What the forms call their parts. */
static const struct {
    const char *document, *entry, *marker;
} list_forms[] = {
    [LIST_V1] = {"ListBucketResult", "Contents", "marker"},
    [LIST_V2] = {"ListBucketResult", "Contents", "start-after"},
    [LIST_VERSIONS] = {"ListVersionsResult", "Version", "key-marker"},
};

struct list_page {
    enum list_form form;
    struct s3_ask *ask;
    struct bytes prefix, delimiter, marker, version_marker, token; /* as given */
    uint32_t max;
    bool has_owners, ends_with_prefix;
    enum doc_names names;
    struct bytes owner;
    struct text_buf contents, prefixes;
    char after[KEY_BYTES_MAX]; /* from a token */
    char token_text[TOKEN_TEXT_BYTES];
};

/* Any thread: touches the page alone, whose owner waits. */
static enum err list_each(void *context, const struct list_entry *entry)
{
    struct list_page *page = context;
    page->ends_with_prefix = entry->is_prefix;
    if (entry->is_prefix) {
        struct text_buf *text = &page->prefixes;
        doc_open(text, "CommonPrefixes");
        doc_name(text, "Prefix", entry->key, page->names);
        doc_close(text, "CommonPrefixes");
        return text->failed ? ERR_NO_MEMORY : ERR_OK;
    }
    struct text_buf *text = &page->contents;
    doc_open(text, list_forms[page->form].entry);
    doc_name(text, "Key", entry->key, page->names);
    if (page->form == LIST_VERSIONS) {
        doc_text(text, "VersionId", BYTES("null"));
        doc_bool(text, "IsLatest", true);
    }
    doc_time(text, "LastModified", entry->info.mtime_ns);
    doc_etag(text, &entry->info.etag);
    doc_checksum_kind(text, &entry->info.checksum);
    doc_u64(text, "Size", entry->info.size);
    if (page->has_owners)
        doc_owner(text, "Owner", page->owner);
    doc_text(text, "StorageClass", s3_meta_storage_class(entry->info.attrs));
    doc_close(text, list_forms[page->form].entry);
    return text->failed ? ERR_NO_MEMORY : ERR_OK;
}

static struct list_page *list_page_of(struct s3_request *r)
{
    return *S3_OWN(r, struct list_page *);
}

static struct s3_request *list_request(struct op *op)
{
    return CONTAINER_OF(op, struct s3_request, op);
}

static void list_release(struct s3_request *r)
{
    struct list_page *page = list_page_of(r);
    text_free(&page->contents);
    text_free(&page->prefixes);
}

static int list_ask(struct op *op)
{
    struct s3_request *r = list_request(op);
    struct list_page *page = list_page_of(r);
    page->ask = s3_ask_take(r);
    if (page->ask == NULL)
        return s3_fail(r, S3_E(SlowDown));
    struct group_ask *ask = &page->ask->ask;
    struct bytes after = page->marker;
    if (page->token.data != NULL) {
        size_t size;
        if (s3_token_read(page->token, page->after, &size))
            return s3_fail_text(r, S3_E(InvalidArgument),
                                "The continuation token provided is incorrect");
        after = bytes_of(page->after, size);
    }
    ask->list = (struct list_query){
        .bucket = r->bucket.id,
        .prefix = page->prefix,
        .delimiter = page->delimiter,
        .after = after,
        .max = page->max,
    };
    ask->each.list = list_each;
    ask->context = page;
    group_list(s3_group(r), ask);
    return op_wait(LIST_ANSWER);
}

static void list_head_v1(struct list_page *page, const struct list_result *result,
                         struct text_buf *text)
{
    doc_name(text, "Marker", page->marker, page->names);
    /* S3 leaves it out when the last key of the page says the same. */
    if (result->truncated && page->delimiter.size > 0)
        doc_name(text, "NextMarker", bytes_of(result->last, result->last_size), page->names);
}

static void list_head_v2(struct list_page *page, const struct list_result *result,
                         struct text_buf *text)
{
    if (page->marker.data != NULL)
        doc_name(text, "StartAfter", page->marker, page->names);
    if (page->token.data != NULL)
        doc_text(text, "ContinuationToken", page->token);
    if (result->truncated)
        doc_text(text, "NextContinuationToken",
                 s3_token_make(bytes_of(result->last, result->last_size), page->token_text));
    doc_u64(text, "KeyCount", result->count);
}

static void list_head_versions(struct list_page *page, const struct list_result *result,
                               struct text_buf *text)
{
    doc_name(text, "KeyMarker", page->marker, page->names);
    doc_text(text, "VersionIdMarker", page->version_marker);
    if (!result->truncated)
        return;
    doc_name(text, "NextKeyMarker", bytes_of(result->last, result->last_size), page->names);
    if (!page->ends_with_prefix)
        doc_text(text, "NextVersionIdMarker", BYTES("null"));
}

static int list_answer(struct op *op)
{
    struct s3_request *r = list_request(op);
    struct list_page *page = list_page_of(r);
    const struct group_ask *ask = &page->ask->ask;
    if (ask->err)
        return s3_fail_err(r, ask->err);
    const struct list_result *result = &ask->list_result;
    struct text_buf text = {0};
    doc_begin(&text, list_forms[page->form].document);
    doc_text(&text, "Name", r->bucket_name);
    doc_name(&text, "Prefix", page->prefix, page->names);
    if (page->form == LIST_V1)
        list_head_v1(page, result, &text);
    else if (page->form == LIST_V2)
        list_head_v2(page, result, &text);
    else
        list_head_versions(page, result, &text);
    doc_u64(&text, "MaxKeys", page->max);
    if (page->delimiter.size > 0)
        doc_name(&text, "Delimiter", page->delimiter, page->names);
    if (page->names == DOC_NAMES_URL)
        doc_text(&text, "EncodingType", BYTES("url"));
    doc_bool(&text, "IsTruncated", result->truncated);
    text_put(&text, text_bytes(&page->contents));
    text_put(&text, text_bytes(&page->prefixes));
    doc_end(&text, list_forms[page->form].document);
    return s3_respond_xml(r, 200, &text);
}

static const struct op_step list_steps[LIST_STEP_COUNT] = {
    [LIST_ASK] = {"ask", list_ask, TO(LIST_ANSWER) | TO_END},
    [LIST_ANSWER] = {"answer", list_answer, TO_END},
};
static const struct op_kind list_kind = {"list", list_steps, LIST_STEP_COUNT};

/* What only some forms have; otherwise answered with what is wrong. */
static bool list_read_rest(struct s3_request *r, struct list_page *page)
{
    if (page->form == LIST_V2) {
        page->token = s3_param(r, "continuation-token");
        if (page->token.data != NULL && page->token.size == 0) {
            s3_fail_text(r, S3_E(InvalidArgument), "The continuation token provided is incorrect");
            return false;
        }
    }
    if (page->form == LIST_VERSIONS) {
        page->version_marker = s3_param(r, "version-id-marker");
        if (page->version_marker.size > 0 && page->marker.size == 0) {
            s3_fail_text(r, S3_E(InvalidArgument),
                         "A version-id marker cannot be specified without a key marker.");
            return false;
        }
        if (page->version_marker.size > 0 && !bytes_equal(page->version_marker, BYTES("null"))) {
            s3_fail_text(r, S3_E(InvalidArgument), "Invalid version id specified");
            return false;
        }
    }
    return true;
}

static void list_begin(struct s3_request *r, enum list_form form)
{
    struct list_page *page = s3_take(r, sizeof *page);
    if (page == NULL) {
        s3_fail(r, S3_E(SlowDown));
        return;
    }
    *page = (struct list_page){
        .form = form,
        .prefix = s3_param(r, "prefix"),
        .delimiter = s3_param(r, "delimiter"),
        .marker = s3_param(r, list_forms[form].marker),
        .owner = bytes_of_string(r->bucket.owner),
    };
    if (!list_read_rest(r, page))
        return;
    page->has_owners =
        form != LIST_V2 || bytes_equal_nocase(s3_param(r, "fetch-owner"), BYTES("true"));
    if (!s3_param_names(r, &page->names) || !s3_param_max(r, "max-keys", LIST_KEYS_MAX, &page->max))
        return;
    *S3_OWN(r, struct list_page *) = page;
    r->release = list_release;
    op_init(&r->op, &list_kind, http_loop(r->x));
    op_run(&r->op);
}

void s3_list_objects(struct s3_request *r)
{
    list_begin(r, LIST_V1);
}

void s3_list_objects_v2(struct s3_request *r)
{
    list_begin(r, LIST_V2);
}

void s3_list_object_versions(struct s3_request *r)
{
    list_begin(r, LIST_VERSIONS);
}
