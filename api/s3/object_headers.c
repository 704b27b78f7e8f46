#include "api/s3/object_headers.h"

#include "api/s3/checksum.h"
#include "api/s3/conditions.h"
#include "api/s3/meta.h"
#include "api/s3/time.h"
#include "base/log.h"

void s3_header_etag(struct s3_request *r, const struct etag *etag)
{
    char text[ETAG_TEXT_BYTES];
    http_header(r->x, "ETag", s3_etag_text(etag, text));
}

void s3_header_last_modified(struct s3_request *r, uint64_t mtime_ns)
{
    char text[S3_TIME_HTTP_BYTES];
    s3_time_http(mtime_ns, text);
    http_header(r->x, "Last-Modified", bytes_of_string(text));
}

struct bytes s3_checksum_text(const struct checksum *checksum, uint32_t part_count,
                              char out[CHECKSUM_TEXT_BYTES])
{
    struct buf buf = {.data = out, .capacity = CHECKSUM_TEXT_BYTES};
    char base64[BASE64_SIZE(CHECKSUM_BYTES_MAX) + 1];
    base64_encode(checksum->value, checksum->size, base64);
    buf_put_string(&buf, base64);
    if (checksum->type == S3_CHECKSUM_COMPOSITE && part_count > 0) {
        buf_put_char(&buf, '-');
        buf_put_u64(&buf, part_count);
    }
    return buf_bytes(&buf);
}

void s3_header_part_checksum(struct s3_request *r, const struct checksum *checksum)
{
    const struct s3_checksum_name *name = s3_checksum_name(checksum->algorithm);
    char text[CHECKSUM_TEXT_BYTES];
    if (name != NULL)
        http_header(r->x, name->header, s3_checksum_text(checksum, 0, text));
}

void s3_header_checksum(struct s3_request *r, const struct checksum *checksum, uint32_t part_count)
{
    const struct s3_checksum_name *name = s3_checksum_name(checksum->algorithm);
    char text[CHECKSUM_TEXT_BYTES];
    if (name == NULL)
        return;
    http_header(r->x, name->header, s3_checksum_text(checksum, part_count, text));
    http_header(r->x, "x-amz-checksum-type",
                bytes_of_string(s3_checksum_type_name(checksum->type)));
}

void s3_header_checksum_kind(struct s3_request *r, const struct checksum *checksum)
{
    const struct s3_checksum_name *name = s3_checksum_name(checksum->algorithm);
    if (name == NULL)
        return;
    http_header(r->x, "x-amz-checksum-algorithm", bytes_of_string(name->name));
    http_header(r->x, "x-amz-checksum-type",
                bytes_of_string(s3_checksum_type_name(checksum->type)));
}

/* ---- what was stored with the object ---- */

static const struct {
    struct bytes header;
    const char *param;
} overrides[] = {
    {{"Content-Type", 12}, "response-content-type"},
    {{"Content-Language", 16}, "response-content-language"},
    {{"Expires", 7}, "response-expires"},
    {{"Cache-Control", 13}, "response-cache-control"},
    {{"Content-Disposition", 19}, "response-content-disposition"},
    {{"Content-Encoding", 16}, "response-content-encoding"},
};

static bool has_overrides(const struct s3_request *r)
{
    for (uint32_t i = 0; i < r->query.count; i++)
        if (bytes_start_with(r->query.params[i].name, BYTES("response-")))
            return true;
    return false;
}

struct attrs_context {
    struct s3_request *r;
    enum s3_attrs which;
    bool has_overrides;
};

static bool is_wanted(enum s3_attrs which, struct bytes name)
{
    switch (which) {
    case S3_ATTRS_ALL:
        return true;
    case S3_ATTRS_OF_PIECES:
        return !bytes_equal(name, BYTES("Content-Type"));
    case S3_ATTRS_NOT_MODIFIED:
        return bytes_equal(name, BYTES("Cache-Control")) || bytes_equal(name, BYTES("Expires"));
    }
    CHECK(!"which is none");
    return false;
}

static void put_attr(void *context, struct bytes name, struct bytes value)
{
    const struct attrs_context *attrs = context;
    if (!is_wanted(attrs->which, name))
        return;
    if (bytes_equal(name, BYTES("x-amz-storage-class")) && bytes_equal(value, BYTES("STANDARD")))
        return; /* S3 does not say so */
    for (size_t i = 0; attrs->has_overrides && i < COUNT_OF(overrides); i++)
        if (bytes_equal(name, overrides[i].header) &&
            s3_param(attrs->r, overrides[i].param).data != NULL)
            return; /* replaced below */
    http_header_named(attrs->r->x, name, value);
}

void s3_header_attrs(struct s3_request *r, const struct object_info *info, enum s3_attrs which)
{
    struct attrs_context attrs = {.r = r, .which = which, .has_overrides = has_overrides(r)};
    if (s3_meta_each(info->attrs, put_attr, &attrs))
        LOG_LIMITED(LOG_ERROR, "s3", "stored headers are malformed bucket=%s", r->bucket.name);
    for (size_t i = 0; attrs.has_overrides && i < COUNT_OF(overrides); i++) {
        struct bytes value = s3_param(r, overrides[i].param);
        if (value.data != NULL && is_wanted(which, overrides[i].header))
            http_header(r->x, overrides[i].header.data, value);
    }
}

struct bytes s3_attr(const struct s3_request *r, const struct object_info *info, const char *name)
{
    struct bytes header = bytes_of_string(name), value = {0};
    for (size_t i = 0; i < COUNT_OF(overrides); i++)
        if (bytes_equal(header, overrides[i].header))
            value = s3_param(r, overrides[i].param);
    return value.data != NULL ? value : s3_meta_find(info->attrs, header);
}

/* ---- receipts ---- */

struct bytes s3_receipt_text(const struct receipt *receipt, char out[RECEIPT_TEXT_BYTES])
{
    struct buf value = {.data = out, .capacity = RECEIPT_TEXT_BYTES};
    buf_put_string(&value, receipt->synced ? "local:fdatasync" : "local:none");
    buf_put_string(&value, " replicas:");
    buf_put_u64(&value, receipt->replicas_synced);
    buf_put_char(&value, '/');
    buf_put_u64(&value, receipt->replicas_wanted);
    if (receipt->by_rdma || receipt->by_tcp)
        buf_put_string(&value, !receipt->by_tcp    ? " path:rdma"
                               : !receipt->by_rdma ? " path:tcp"
                                                   : " path:rdma,tcp");
    return buf_bytes(&value);
}

void s3_header_receipt(struct s3_request *r, const struct receipt *receipt)
{
    char text[RECEIPT_TEXT_BYTES];
    if (s3_tells_receipts(r))
        http_header(r->x, "x-sluice-durable", s3_receipt_text(receipt, text));
}
