/* The route table: each request finds its operation, and no sub-resource we lack is taken for one
 * we have. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "api/s3/routes.h"

struct case_row {
    enum http_method method;
    enum s3_resource resource;
    const char *query;
    const char *header, *value;
    const char *operation; /* NULL: no row */
};

static const struct s3_route *find(const struct case_row *row)
{
    static struct s3_query query;
    struct http_header header = {bytes_of_string(row->header), bytes_of_string(row->value)};
    struct http_request http = {
        .method = row->method,
        .headers = &header,
        .header_count = row->header != NULL ? 1 : 0,
    };
    assert_int_equal(s3_query_parse(bytes_of_string(row->query), &query), ERR_OK);
    return s3_route_find(&http, row->resource, &query);
}

static void requests_find_their_operations(void **state)
{
    (void)state;
    static const struct case_row rows[] = {
        {HTTP_GET, S3_SERVICE, "", .operation = "ListBuckets"},
        {HTTP_GET, S3_SERVICE, "x-id=ListBuckets", .operation = "ListBuckets"},
        {HTTP_PUT, S3_SERVICE, "", .operation = NULL},
        {HTTP_GET, S3_BUCKET, "", .operation = "ListObjects"},
        {HTTP_GET, S3_BUCKET, "prefix=a&delimiter=%2F", .operation = "ListObjects"},
        {HTTP_GET, S3_BUCKET, "list-type=2", .operation = "ListObjectsV2"},
        {HTTP_GET, S3_BUCKET, "list-type=1", .operation = "ListObjects"},
        {HTTP_GET, S3_BUCKET, "location", .operation = "GetBucketLocation"},
        {HTTP_GET, S3_BUCKET, "location=", .operation = "GetBucketLocation"},
        {HTTP_GET, S3_BUCKET, "uploads&prefix=a", .operation = "ListMultipartUploads"},
        {HTTP_GET, S3_BUCKET, "versions&prefix=a", .operation = "ListObjectVersions"},
        {HTTP_GET, S3_BUCKET, "object-lock", .operation = "GetObjectLockConfiguration"},
        {HTTP_HEAD, S3_BUCKET, "", .operation = "HeadBucket"},
        {HTTP_PUT, S3_BUCKET, "", .operation = "CreateBucket"},
        {HTTP_PUT, S3_BUCKET, "versioning", .operation = "PutBucketVersioning"},
        {HTTP_PUT, S3_BUCKET, "acl", .operation = "PutBucketAcl"},
        {HTTP_DELETE, S3_BUCKET, "", .operation = "DeleteBucket"},
        {HTTP_DELETE, S3_BUCKET, "policy", .operation = "DeleteBucketPolicy"},
        {HTTP_POST, S3_BUCKET, "delete", .operation = "DeleteObjects"},
        {HTTP_POST, S3_BUCKET, "", "Content-Type", "multipart/form-data; boundary=x", "PostObject"},
        {HTTP_POST, S3_BUCKET, "", "Content-Type", "text/plain", NULL},
        {HTTP_GET, S3_OBJECT, "", .operation = "GetObject"},
        {HTTP_GET, S3_OBJECT, "partNumber=1", .operation = "GetObject"},
        {HTTP_GET, S3_OBJECT, "uploadId=1", .operation = "ListParts"},
        {HTTP_GET, S3_OBJECT, "attributes", .operation = "GetObjectAttributes"},
        {HTTP_GET, S3_OBJECT, "torrent", .operation = "GetObjectTorrent"},
        {HTTP_HEAD, S3_OBJECT, "", .operation = "HeadObject"},
        {HTTP_PUT, S3_OBJECT, "", .operation = "PutObject"},
        {HTTP_PUT, S3_OBJECT, "", "X-Amz-Copy-Source", "/b/k", "CopyObject"},
        {HTTP_PUT, S3_OBJECT, "partNumber=1&uploadId=2", .operation = "UploadPart"},
        {HTTP_PUT, S3_OBJECT, "uploadId=2&partNumber=1", "x-amz-copy-source", "/b/k",
         "UploadPartCopy"},
        {HTTP_PUT, S3_OBJECT, "", "x-amz-write-offset-bytes", "5", "AppendObject"},
        {HTTP_PUT, S3_OBJECT, "tagging", .operation = "PutObjectTagging"},
        {HTTP_PUT, S3_OBJECT, "legal-hold", .operation = "PutObjectLegalHold"},
        {HTTP_PUT, S3_OBJECT, "retention", .operation = "PutObjectRetention"},
        {HTTP_POST, S3_OBJECT, "uploads", .operation = "CreateMultipartUpload"},
        {HTTP_POST, S3_OBJECT, "uploadId=2", .operation = "CompleteMultipartUpload"},
        {HTTP_POST, S3_OBJECT, "restore", .operation = "RestoreObject"},
        {HTTP_POST, S3_OBJECT, "", .operation = NULL},
        {HTTP_DELETE, S3_OBJECT, "", .operation = "DeleteObject"},
        {HTTP_DELETE, S3_OBJECT, "uploadId=2", .operation = "AbortMultipartUpload"},
        {HTTP_DELETE, S3_OBJECT, "tagging", .operation = "DeleteObjectTagging"},
        {HTTP_OPTIONS, S3_OBJECT, "", .operation = "PreflightObject"},
        {HTTP_METHOD_OTHER, S3_OBJECT, "", .operation = NULL},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const struct s3_route *route = find(&rows[i]);
        if (rows[i].operation == NULL) {
            assert_null(route);
            continue;
        }
        assert_non_null(route);
        assert_string_equal(route->operation, rows[i].operation);
    }
}

/* A row that an earlier one swallows would be a hole: S3's PutObjectAcl stored as an object. */
static void no_row_is_hidden_by_one_above_it(void **state)
{
    (void)state;
    for (size_t i = 0; i < s3_route_count; i++) {
        const struct s3_route *route = &s3_routes[i];
        char text[200];
        struct buf query = {.data = text, .capacity = sizeof text - 1};
        if (route->query != NULL)
            buf_put_string(&query, route->query);
        if (route->query_too != NULL) {
            buf_put_char(&query, '&');
            buf_put_string(&query, route->query_too);
        }
        text[query.size] = '\0';
        struct bytes value = bytes_of_string(route->header);
        struct bytes name = bytes_split(&value, '=');
        char name_text[80] = "", value_text[80] = "";
        if (route->header != NULL) {
            memcpy(name_text, name.data, name.size);
            memcpy(value_text, value.data != NULL ? value.data : "", value.size);
        }
        struct case_row row = {route->method, route->resource,
                               text,          route->header ? name_text : NULL,
                               value_text,    NULL};
        assert_ptr_equal(find(&row), route);
    }
}

static void operations_are_named_once(void **state)
{
    (void)state;
    for (size_t i = 0; i < s3_route_count; i++)
        for (size_t k = i + 1; k < s3_route_count; k++)
            assert_string_not_equal(s3_routes[i].operation, s3_routes[k].operation);
}

static void the_printed_table_has_every_operation(void **state)
{
    (void)state;
    struct text_buf text = {0};
    s3_routes_print(&text);
    assert_false(text.failed);
    for (size_t i = 0; i < s3_route_count; i++)
        assert_int_not_equal(
            bytes_find(text_bytes(&text), 0, bytes_of_string(s3_routes[i].operation)), SIZE_MAX);
    assert_int_not_equal(
        bytes_find(text_bytes(&text), 0,
                   BYTES("| UploadPart | `PUT /bucket/key?partNumber&uploadId` | write |")),
        SIZE_MAX);
    text_free(&text);
}

/* The README says what the table does, or this fails: put the printed text there again. */
static void the_readme_holds_the_table(void **state)
{
    (void)state;
    struct text_buf printed = {0}, readme = {0};
    s3_routes_print(&printed);
    FILE *file = fopen(SOURCE_ROOT "/api/s3/README.md", "r");
    assert_non_null(file);
    char part[4096];
    for (size_t size; (size = fread(part, 1, sizeof part, file)) > 0;)
        text_put(&readme, bytes_of(part, size));
    fclose(file);
    assert_int_not_equal(bytes_find(text_bytes(&readme), 0, text_bytes(&printed)), SIZE_MAX);
    text_free(&printed);
    text_free(&readme);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_find_their_operations),
        cmocka_unit_test(no_row_is_hidden_by_one_above_it),
        cmocka_unit_test(operations_are_named_once),
        cmocka_unit_test(the_printed_table_has_every_operation),
        cmocka_unit_test(the_readme_holds_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
