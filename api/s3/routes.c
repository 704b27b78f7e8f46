#include "api/s3/routes.h"

#include <pthread.h>

#include "api/s3/handlers.h"
#include "api/s3/keyring.h"

/* S3 has it, we do not. */
#define MISSING(a_method, a_resource, a_query, a_operation)                                        \
    {                                                                                              \
        .method = a_method, .resource = a_resource, .query = a_query, .operation = a_operation     \
    }

const struct s3_route s3_routes[] = {
    /* ---- the service ---- */
    {HTTP_GET, S3_SERVICE, .operation = "ListBuckets", .handler = s3_list_buckets},

    /* ---- buckets ---- */
    {HTTP_GET, S3_BUCKET, "list-type=2", .operation = "ListObjectsV2",
     .handler = s3_list_objects_v2, .needs = GRANT_READ},
    {HTTP_GET, S3_BUCKET, "location", .operation = "GetBucketLocation",
     .handler = s3_get_bucket_location, .needs = GRANT_READ},
    {HTTP_GET, S3_BUCKET, "uploads", .operation = "ListMultipartUploads",
     .handler = s3_list_uploads, .needs = GRANT_READ},
    {HTTP_GET, S3_BUCKET, "versioning", .operation = "GetBucketVersioning",
     .handler = s3_get_bucket_versioning, .needs = GRANT_READ},
    {HTTP_GET, S3_BUCKET, "versions", .operation = "ListObjectVersions",
     .handler = s3_list_object_versions, .needs = GRANT_READ},
    {HTTP_GET, S3_BUCKET, "acl", .operation = "GetBucketAcl", .handler = s3_get_bucket_acl,
     .needs = GRANT_READ},
    MISSING(HTTP_GET, S3_BUCKET, "abac", "GetBucketAbac"),
    MISSING(HTTP_GET, S3_BUCKET, "accelerate", "GetBucketAccelerateConfiguration"),
    MISSING(HTTP_GET, S3_BUCKET, "analytics", "GetBucketAnalyticsConfiguration"),
    MISSING(HTTP_GET, S3_BUCKET, "cors", "GetBucketCors"),
    MISSING(HTTP_GET, S3_BUCKET, "encryption", "GetBucketEncryption"),
    MISSING(HTTP_GET, S3_BUCKET, "intelligent-tiering", "GetBucketIntelligentTieringConfiguration"),
    MISSING(HTTP_GET, S3_BUCKET, "inventory", "GetBucketInventoryConfiguration"),
    MISSING(HTTP_GET, S3_BUCKET, "lifecycle", "GetBucketLifecycleConfiguration"),
    MISSING(HTTP_GET, S3_BUCKET, "logging", "GetBucketLogging"),
    MISSING(HTTP_GET, S3_BUCKET, "metadataConfiguration", "GetBucketMetadataConfiguration"),
    MISSING(HTTP_GET, S3_BUCKET, "metadataTable", "GetBucketMetadataTableConfiguration"),
    MISSING(HTTP_GET, S3_BUCKET, "metrics", "GetBucketMetricsConfiguration"),
    MISSING(HTTP_GET, S3_BUCKET, "notification", "GetBucketNotificationConfiguration"),
    MISSING(HTTP_GET, S3_BUCKET, "object-lock", "GetObjectLockConfiguration"),
    MISSING(HTTP_GET, S3_BUCKET, "ownershipControls", "GetBucketOwnershipControls"),
    MISSING(HTTP_GET, S3_BUCKET, "policy", "GetBucketPolicy"),
    MISSING(HTTP_GET, S3_BUCKET, "policyStatus", "GetBucketPolicyStatus"),
    MISSING(HTTP_GET, S3_BUCKET, "publicAccessBlock", "GetPublicAccessBlock"),
    MISSING(HTTP_GET, S3_BUCKET, "replication", "GetBucketReplication"),
    MISSING(HTTP_GET, S3_BUCKET, "requestPayment", "GetBucketRequestPayment"),
    MISSING(HTTP_GET, S3_BUCKET, "session", "CreateSession"),
    MISSING(HTTP_GET, S3_BUCKET, "tagging", "GetBucketTagging"),
    MISSING(HTTP_GET, S3_BUCKET, "website", "GetBucketWebsite"),
    {HTTP_GET, S3_BUCKET, .operation = "ListObjects", .handler = s3_list_objects,
     .needs = GRANT_READ},

    {HTTP_HEAD, S3_BUCKET, .operation = "HeadBucket", .handler = s3_head_bucket,
     .needs = GRANT_READ},

    MISSING(HTTP_PUT, S3_BUCKET, "abac", "PutBucketAbac"),
    MISSING(HTTP_PUT, S3_BUCKET, "accelerate", "PutBucketAccelerateConfiguration"),
    MISSING(HTTP_PUT, S3_BUCKET, "acl", "PutBucketAcl"),
    MISSING(HTTP_PUT, S3_BUCKET, "analytics", "PutBucketAnalyticsConfiguration"),
    MISSING(HTTP_PUT, S3_BUCKET, "cors", "PutBucketCors"),
    MISSING(HTTP_PUT, S3_BUCKET, "encryption", "PutBucketEncryption"),
    MISSING(HTTP_PUT, S3_BUCKET, "intelligent-tiering", "PutBucketIntelligentTieringConfiguration"),
    MISSING(HTTP_PUT, S3_BUCKET, "inventory", "PutBucketInventoryConfiguration"),
    MISSING(HTTP_PUT, S3_BUCKET, "lifecycle", "PutBucketLifecycleConfiguration"),
    MISSING(HTTP_PUT, S3_BUCKET, "logging", "PutBucketLogging"),
    MISSING(HTTP_PUT, S3_BUCKET, "metadataInventoryTable",
            "UpdateBucketMetadataInventoryTableConfiguration"),
    MISSING(HTTP_PUT, S3_BUCKET, "metadataJournalTable",
            "UpdateBucketMetadataJournalTableConfiguration"),
    MISSING(HTTP_PUT, S3_BUCKET, "metrics", "PutBucketMetricsConfiguration"),
    MISSING(HTTP_PUT, S3_BUCKET, "notification", "PutBucketNotificationConfiguration"),
    MISSING(HTTP_PUT, S3_BUCKET, "object-lock", "PutObjectLockConfiguration"),
    MISSING(HTTP_PUT, S3_BUCKET, "ownershipControls", "PutBucketOwnershipControls"),
    MISSING(HTTP_PUT, S3_BUCKET, "policy", "PutBucketPolicy"),
    MISSING(HTTP_PUT, S3_BUCKET, "publicAccessBlock", "PutPublicAccessBlock"),
    MISSING(HTTP_PUT, S3_BUCKET, "replication", "PutBucketReplication"),
    MISSING(HTTP_PUT, S3_BUCKET, "requestPayment", "PutBucketRequestPayment"),
    MISSING(HTTP_PUT, S3_BUCKET, "tagging", "PutBucketTagging"),
    MISSING(HTTP_PUT, S3_BUCKET, "versioning", "PutBucketVersioning"),
    MISSING(HTTP_PUT, S3_BUCKET, "website", "PutBucketWebsite"),
    {HTTP_PUT, S3_BUCKET, .operation = "CreateBucket", .handler = s3_create_bucket,
     .needs = GRANT_OWN, .body = S3_BODY_XML, .makes_bucket = true},

    {HTTP_POST, S3_BUCKET, "delete", .operation = "DeleteObjects", .handler = s3_delete_objects,
     .needs = GRANT_WRITE, .body = S3_BODY_XML},
    MISSING(HTTP_POST, S3_BUCKET, "metadataConfiguration", "CreateBucketMetadataConfiguration"),
    MISSING(HTTP_POST, S3_BUCKET, "metadataTable", "CreateBucketMetadataTableConfiguration"),
    {HTTP_POST, S3_BUCKET, .header = "content-type=multipart/form-data", .operation = "PostObject",
     .handler = s3_post_object, .needs = GRANT_WRITE, .body = S3_BODY_FORM, .is_anonymous = true},

    MISSING(HTTP_DELETE, S3_BUCKET, "analytics", "DeleteBucketAnalyticsConfiguration"),
    MISSING(HTTP_DELETE, S3_BUCKET, "cors", "DeleteBucketCors"),
    MISSING(HTTP_DELETE, S3_BUCKET, "encryption", "DeleteBucketEncryption"),
    MISSING(HTTP_DELETE, S3_BUCKET, "intelligent-tiering",
            "DeleteBucketIntelligentTieringConfiguration"),
    MISSING(HTTP_DELETE, S3_BUCKET, "inventory", "DeleteBucketInventoryConfiguration"),
    MISSING(HTTP_DELETE, S3_BUCKET, "lifecycle", "DeleteBucketLifecycle"),
    MISSING(HTTP_DELETE, S3_BUCKET, "metadataConfiguration", "DeleteBucketMetadataConfiguration"),
    MISSING(HTTP_DELETE, S3_BUCKET, "metadataTable", "DeleteBucketMetadataTableConfiguration"),
    MISSING(HTTP_DELETE, S3_BUCKET, "metrics", "DeleteBucketMetricsConfiguration"),
    MISSING(HTTP_DELETE, S3_BUCKET, "ownershipControls", "DeleteBucketOwnershipControls"),
    MISSING(HTTP_DELETE, S3_BUCKET, "policy", "DeleteBucketPolicy"),
    MISSING(HTTP_DELETE, S3_BUCKET, "publicAccessBlock", "DeletePublicAccessBlock"),
    MISSING(HTTP_DELETE, S3_BUCKET, "replication", "DeleteBucketReplication"),
    MISSING(HTTP_DELETE, S3_BUCKET, "tagging", "DeleteBucketTagging"),
    MISSING(HTTP_DELETE, S3_BUCKET, "website", "DeleteBucketWebsite"),
    {HTTP_DELETE, S3_BUCKET, .operation = "DeleteBucket", .handler = s3_delete_bucket,
     .needs = GRANT_OWN},

    {HTTP_OPTIONS, S3_BUCKET, .operation = "PreflightBucket", .handler = s3_preflight,
     .is_anonymous = true},

    /* ---- objects ---- */
    {HTTP_GET, S3_OBJECT, "uploadId", .operation = "ListParts", .handler = s3_list_parts,
     .needs = GRANT_READ},
    {HTTP_GET, S3_OBJECT, "attributes", .operation = "GetObjectAttributes",
     .handler = s3_get_object_attributes, .needs = GRANT_READ},
    {HTTP_GET, S3_OBJECT, "acl", .operation = "GetObjectAcl", .handler = s3_get_object_acl,
     .needs = GRANT_READ},
    {HTTP_GET, S3_OBJECT, "tagging", .operation = "GetObjectTagging",
     .handler = s3_get_object_tagging, .needs = GRANT_READ},
    MISSING(HTTP_GET, S3_OBJECT, "legal-hold", "GetObjectLegalHold"),
    MISSING(HTTP_GET, S3_OBJECT, "retention", "GetObjectRetention"),
    MISSING(HTTP_GET, S3_OBJECT, "torrent", "GetObjectTorrent"),
    {HTTP_GET, S3_OBJECT, .operation = "GetObject", .handler = s3_get_object, .needs = GRANT_READ},

    {HTTP_HEAD, S3_OBJECT, .operation = "HeadObject", .handler = s3_head_object,
     .needs = GRANT_READ},

    {HTTP_PUT, S3_OBJECT, "partNumber", "uploadId", "x-amz-copy-source",
     .operation = "UploadPartCopy", .handler = s3_upload_part_copy, .needs = GRANT_WRITE},
    {HTTP_PUT, S3_OBJECT, "partNumber", "uploadId", .operation = "UploadPart",
     .handler = s3_upload_part, .needs = GRANT_WRITE, .body = S3_BODY_OBJECT},
    MISSING(HTTP_PUT, S3_OBJECT, "acl", "PutObjectAcl"),
    MISSING(HTTP_PUT, S3_OBJECT, "encryption", "UpdateObjectEncryption"),
    MISSING(HTTP_PUT, S3_OBJECT, "legal-hold", "PutObjectLegalHold"),
    MISSING(HTTP_PUT, S3_OBJECT, "renameObject", "RenameObject"),
    MISSING(HTTP_PUT, S3_OBJECT, "retention", "PutObjectRetention"),
    MISSING(HTTP_PUT, S3_OBJECT, "tagging", "PutObjectTagging"),
    {HTTP_PUT, S3_OBJECT, .header = "x-amz-write-offset-bytes", .operation = "AppendObject"},
    {HTTP_PUT, S3_OBJECT, .header = "x-amz-copy-source", .operation = "CopyObject",
     .handler = s3_copy_object, .needs = GRANT_WRITE},
    {HTTP_PUT, S3_OBJECT, .operation = "PutObject", .handler = s3_put_object, .needs = GRANT_WRITE,
     .body = S3_BODY_OBJECT},

    {HTTP_POST, S3_OBJECT, "uploads", .operation = "CreateMultipartUpload",
     .handler = s3_create_upload, .needs = GRANT_WRITE},
    {HTTP_POST, S3_OBJECT, "uploadId", .operation = "CompleteMultipartUpload",
     .handler = s3_complete_upload, .needs = GRANT_WRITE, .body = S3_BODY_XML},
    MISSING(HTTP_POST, S3_OBJECT, "restore", "RestoreObject"),
    MISSING(HTTP_POST, S3_OBJECT, "select", "SelectObjectContent"),

    MISSING(HTTP_DELETE, S3_OBJECT, "tagging", "DeleteObjectTagging"),
    {HTTP_DELETE, S3_OBJECT, "uploadId", .operation = "AbortMultipartUpload",
     .handler = s3_abort_upload, .needs = GRANT_WRITE},
    {HTTP_DELETE, S3_OBJECT, .operation = "DeleteObject", .handler = s3_delete_object,
     .needs = GRANT_WRITE},

    {HTTP_OPTIONS, S3_OBJECT, .operation = "PreflightObject", .handler = s3_preflight,
     .is_anonymous = true},
};
const size_t s3_route_count = COUNT_OF(s3_routes);

/*
 * What is known of the table beforehand, so that a request looks at the rows of its method and
 * resource alone, and at their texts' lengths only once: rows [from, to), which stand together, and
 * each row's query parameter as "name" and perhaps "value".
 */
#define ROUTES_MAX 160
static struct {
    uint16_t from, to;
} groups[HTTP_METHOD_OTHER + 1][S3_RESOURCE_COUNT];
static struct {
    struct bytes name, value;
} queries[ROUTES_MAX];
static pthread_once_t prepared = PTHREAD_ONCE_INIT;

static void prepare(void)
{
    CHECK(s3_route_count <= ROUTES_MAX);
    for (size_t i = 0; i < s3_route_count; i++) {
        const struct s3_route *route = &s3_routes[i];
        if (groups[route->method][route->resource].to == 0)
            groups[route->method][route->resource].from = (uint16_t)i;
        else
            CHECK(groups[route->method][route->resource].to == i);
        groups[route->method][route->resource].to = (uint16_t)(i + 1);
        queries[i].value = bytes_of_string(route->query);
        queries[i].name = bytes_split(&queries[i].value, '=');
    }
}

/* Against what the request has. */
static bool query_fits(const struct s3_query *query, struct bytes name, struct bytes value)
{
    struct bytes present;
    return s3_query_find(query, name, &present) &&
           (value.data == NULL || bytes_equal(present, value));
}

static bool header_fits(const struct http_request *http, const char *wanted)
{
    char name[64];
    struct bytes value = bytes_of_string(wanted);
    struct bytes name_part = bytes_split(&value, '=');
    CHECK(name_part.size < sizeof name);
    memcpy(name, name_part.data, name_part.size);
    name[name_part.size] = '\0';
    struct bytes present = http_request_header(http, name);
    if (present.data == NULL)
        return false;
    return value.data == NULL || bytes_start_with_nocase(present, value);
}

static bool route_fits(size_t row, const struct http_request *http, const struct s3_query *query)
{
    const struct s3_route *route = &s3_routes[row];
    if (route->query != NULL && !query_fits(query, queries[row].name, queries[row].value))
        return false;
    if (route->query_too != NULL &&
        !query_fits(query, bytes_of_string(route->query_too), (struct bytes){NULL, 0}))
        return false;
    return route->header == NULL || header_fits(http, route->header);
}

const struct s3_route *s3_route_find(const struct http_request *http, enum s3_resource resource,
                                     const struct s3_query *query)
{
    CHECK(pthread_once(&prepared, prepare) == 0);
    CHECK(http->method <= HTTP_METHOD_OTHER && resource < S3_RESOURCE_COUNT);
    size_t to = groups[http->method][resource].to;
    for (size_t i = groups[http->method][resource].from; i < to; i++)
        if (route_fits(i, http, query))
            return &s3_routes[i];
    return NULL;
}

/* ---- printing ---- */

static const char *const method_names[] = {
    [HTTP_GET] = "GET",   [HTTP_HEAD] = "HEAD",     [HTTP_PUT] = "PUT",
    [HTTP_POST] = "POST", [HTTP_DELETE] = "DELETE", [HTTP_OPTIONS] = "OPTIONS",
};

static const char *const resource_paths[S3_RESOURCE_COUNT] = {
    [S3_SERVICE] = "/",
    [S3_BUCKET] = "/bucket",
    [S3_OBJECT] = "/bucket/key",
};

static void route_print(const struct s3_route *route, struct text_buf *out)
{
    text_printf(out, "| %s | `%s %s", route->operation, method_names[route->method],
                resource_paths[route->resource]);
    if (route->query != NULL)
        text_printf(out, "?%s", route->query);
    if (route->query_too != NULL)
        text_printf(out, "&%s", route->query_too);
    text_put_string(out, "`");
    if (route->header != NULL)
        text_printf(out, " with `%s`", route->header);
    static const struct {
        uint8_t bit;
        const char *name;
    } needs[] = {{GRANT_READ, "read"}, {GRANT_WRITE, "write"}, {GRANT_OWN, "own"}};
    const char *shown = route->is_anonymous ? "nothing" : "any key";
    for (size_t i = 0; i < COUNT_OF(needs); i++)
        if (route->needs & needs[i].bit)
            shown = needs[i].name;
    text_printf(out, " | %s |\n", shown);
}

void s3_routes_print(struct text_buf *out)
{
    text_put_string(out, "| operation | request | needs |\n|---|---|---|\n");
    for (size_t i = 0; i < s3_route_count; i++)
        if (s3_routes[i].handler != NULL)
            route_print(&s3_routes[i], out);
    text_put_string(out, "\nAnswered with 501 NotImplemented:");
    const char *separator = " ";
    for (size_t i = 0; i < s3_route_count; i++) {
        if (s3_routes[i].handler != NULL)
            continue;
        text_printf(out, "%s%s", separator, s3_routes[i].operation);
        separator = ", ";
    }
    text_put_string(out, ".\n");
}
