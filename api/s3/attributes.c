/*
 * GetObjectAttributes: chosen facts about an object in one document, its parts a page at a time.
 *
 *     LOOKUP --> JUDGE --> ANSWER
 *                  \--> (the part table) --> ANSWER
 */
#include "api/s3/checksum.h"
#include "api/s3/conditions.h"
#include "api/s3/document.h"
#include "api/s3/meta.h"
#include "api/s3/object_headers.h"
#include "api/s3/request.h"

enum { ATTRS_LOOKUP, ATTRS_JUDGE, ATTRS_ANSWER, ATTRS_STEP_COUNT };

enum attribute {
    ATTRIBUTE_ETAG = 1,
    ATTRIBUTE_CHECKSUM = 2,
    ATTRIBUTE_PARTS = 4,
    ATTRIBUTE_STORAGE_CLASS = 8,
    ATTRIBUTE_SIZE = 16,
};
static const struct {
    struct bytes name;
    enum attribute bit;
} attributes[] = {
    {{"ETag", 4}, ATTRIBUTE_ETAG},          {{"Checksum", 8}, ATTRIBUTE_CHECKSUM},
    {{"ObjectParts", 11}, ATTRIBUTE_PARTS}, {{"StorageClass", 12}, ATTRIBUTE_STORAGE_CLASS},
    {{"ObjectSize", 10}, ATTRIBUTE_SIZE},
};

#define ATTRIBUTE_PARTS_MAX 1000u

struct attrs {
    struct s3_lookup lookup;
    struct s3_ask *ask; /* for the part table */
    unsigned wanted;    /* enum attribute */
    uint32_t parts_max, parts_after;
};

static struct attrs *attrs_of(struct s3_request *r)
{
    return S3_OWN(r, struct attrs);
}

static struct s3_request *attrs_request(struct op *op)
{
    return CONTAINER_OF(op, struct s3_request, op);
}

static void attrs_release(struct s3_request *r)
{
    struct attrs *attrs = attrs_of(r);
    if (attrs->ask != NULL)
        free(attrs->ask->ask.parts);
    s3_lookup_fini(&attrs->lookup);
}

static int attrs_lookup(struct op *op)
{
    struct s3_request *r = attrs_request(op);
    return s3_lookup_begin(r, &attrs_of(r)->lookup, r->bucket.id, r->key) ? ATTRS_JUDGE
                                                                          : op_wait(ATTRS_JUDGE);
}

static int attrs_judge(struct op *op)
{
    struct s3_request *r = attrs_request(op);
    struct attrs *attrs = attrs_of(r);
    enum err e = s3_lookup_end(&attrs->lookup);
    if (e)
        return s3_fail_err(r, e);
    if (!(attrs->wanted & ATTRIBUTE_PARTS) || object_info(attrs->lookup.object)->part_count == 0)
        return ATTRS_ANSWER;
    attrs->ask = attrs->lookup.ask != NULL ? attrs->lookup.ask : s3_ask_take(r);
    if (attrs->ask == NULL)
        return s3_fail(r, S3_E(SlowDown));
    attrs->ask->ask.of = attrs->lookup.object;
    group_object_parts(s3_group(r), &attrs->ask->ask);
    return op_wait(ATTRS_ANSWER);
}

static void put_parts(const struct attrs *attrs, const struct object_info *info,
                      struct text_buf *text)
{
    const struct group_ask *ask = &attrs->ask->ask;
    size_t first = 0;
    while (first < ask->part_count && ask->parts[first].number <= attrs->parts_after)
        first++;
    size_t count = ask->part_count - first;
    bool truncated = count > attrs->parts_max;
    if (truncated)
        count = attrs->parts_max;
    doc_open(text, "ObjectParts");
    doc_u64(text, "PartsCount", info->part_count);
    doc_u64(text, "PartNumberMarker", attrs->parts_after);
    if (count > 0)
        doc_u64(text, "NextPartNumberMarker", ask->parts[first + count - 1].number);
    doc_u64(text, "MaxParts", attrs->parts_max);
    doc_bool(text, "IsTruncated", truncated);
    /* S3 lists parts only where each has a checksum of its own to tell. */
    for (size_t i = first; i < first + count; i++) {
        const struct object_part *part = &ask->parts[i];
        if (part->checksum.algorithm == 0)
            break;
        doc_open(text, "Part");
        doc_checksum(text, &part->checksum, 0);
        doc_u64(text, "PartNumber", part->number);
        doc_u64(text, "Size", part->size);
        doc_close(text, "Part");
    }
    doc_close(text, "ObjectParts");
}

static void put_attributes(const struct attrs *attrs, const struct object_info *info,
                           struct text_buf *text)
{
    if (attrs->wanted & ATTRIBUTE_ETAG) { /* the one place where S3 shows it without quotes */
        char shown[ETAG_TEXT_BYTES];
        struct bytes etag = s3_etag_text(&info->etag, shown);
        doc_text(text, "ETag", bytes_slice(etag, 1, etag.size - 2));
    }
    if ((attrs->wanted & ATTRIBUTE_CHECKSUM) && info->checksum.algorithm != 0) {
        doc_open(text, "Checksum");
        doc_checksum(text, &info->checksum, info->part_count);
        doc_text(text, "ChecksumType", bytes_of_string(s3_checksum_type_name(info->checksum.type)));
        doc_close(text, "Checksum");
    }
    if (attrs->ask != NULL && attrs->ask->ask.parts != NULL)
        put_parts(attrs, info, text);
    if (attrs->wanted & ATTRIBUTE_STORAGE_CLASS)
        doc_text(text, "StorageClass", s3_meta_storage_class(info->attrs));
    if (attrs->wanted & ATTRIBUTE_SIZE)
        doc_u64(text, "ObjectSize", info->size);
}

static int attrs_answer(struct op *op)
{
    struct s3_request *r = attrs_request(op);
    struct attrs *attrs = attrs_of(r);
    if (attrs->ask != NULL && attrs->ask->ask.err)
        return s3_fail_err(r, attrs->ask->ask.err);
    const struct object_info *info = object_info(attrs->lookup.object);
    struct text_buf text = {0};
    doc_begin(&text, "GetObjectAttributesResponse");
    put_attributes(attrs, info, &text);
    doc_end(&text, "GetObjectAttributesResponse");
    s3_header_last_modified(r, info->mtime_ns);
    return s3_respond_xml(r, 200, &text);
}

static const struct op_step attrs_steps[ATTRS_STEP_COUNT] = {
    [ATTRS_LOOKUP] = {"lookup", attrs_lookup, TO(ATTRS_JUDGE)},
    [ATTRS_JUDGE] = {"judge", attrs_judge, TO(ATTRS_ANSWER) | TO_END},
    [ATTRS_ANSWER] = {"answer", attrs_answer, TO_END},
};
static const struct op_kind attrs_kind = {"attributes", attrs_steps, ATTRS_STEP_COUNT};

/* x-amz-object-attributes may be one list or several headers. 0: an unknown name, or none at all.
 */
static unsigned attributes_wanted(const struct s3_request *r)
{
    unsigned wanted = 0;
    for (size_t i = 0; i < r->headers.count; i++) {
        if (!bytes_equal_nocase(r->headers.at[i].name, BYTES("x-amz-object-attributes")))
            continue;
        struct bytes rest = r->headers.at[i].value;
        while (rest.data != NULL) {
            struct bytes name = bytes_trim(bytes_split(&rest, ','));
            unsigned bit = 0;
            for (size_t k = 0; k < COUNT_OF(attributes); k++)
                if (bytes_equal_nocase(name, attributes[k].name))
                    bit = attributes[k].bit;
            if (bit == 0)
                return 0;
            wanted |= bit;
        }
    }
    return wanted;
}

/* The page of parts is asked for by headers, in this operation alone. */
static bool header_u32(struct s3_request *r, const char *name, uint32_t otherwise,
                       uint32_t *ret_value)
{
    struct bytes text = bytes_trim(s3_header(r, name));
    uint64_t value = otherwise;
    if (text.size > 0 && (bytes_to_u64(text, &value) || value > INT32_MAX)) {
        s3_fail_text(r, S3_E(InvalidArgument), "%s must be an integer between 0 and 2147483647",
                     name);
        return false;
    }
    *ret_value = (uint32_t)value;
    return true;
}

void s3_get_object_attributes(struct s3_request *r)
{
    struct attrs *attrs = attrs_of(r);
    attrs->wanted = attributes_wanted(r);
    if (attrs->wanted == 0) {
        s3_fail_text(r, S3_E(InvalidArgument), "Invalid attribute name specified.");
        return;
    }
    if (!s3_version_is_null(r) ||
        !header_u32(r, "x-amz-max-parts", ATTRIBUTE_PARTS_MAX, &attrs->parts_max) ||
        !header_u32(r, "x-amz-part-number-marker", 0, &attrs->parts_after))
        return;
    if (attrs->parts_max > ATTRIBUTE_PARTS_MAX)
        attrs->parts_max = ATTRIBUTE_PARTS_MAX;
    r->release = attrs_release;
    op_init(&r->op, &attrs_kind, http_loop(r->x));
    op_run(&r->op);
}
