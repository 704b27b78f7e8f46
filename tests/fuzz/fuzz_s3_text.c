/*
 * What clients put into request lines and headers, thrown at every parser of api/s3 that takes it:
 * targets, queries, ranges, dates, credentials, checksums, stored headers, form policies. Each
 * either refuses or answers within its limits; the sanitizers say whether it stayed inside.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "api/s3/checksum.h"
#include "api/s3/meta.h"
#include "api/s3/post_policy.h"
#include "api/s3/range.h"
#include "api/s3/sigv4.h"
#include "api/s3/time.h"
#include "base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ignore(void *context, struct bytes name, struct bytes value)
{
    size_t *total = context;
    *total += name.size + value.size;
}

static void try_target(struct bytes text)
{
    static const struct bytes domains[] = {{"s3.local", 8}};
    char key[KEY_BYTES_MAX + 1];
    struct s3_target target;
    struct bytes rest = text;
    struct bytes host = bytes_split(&rest, '\n');
    if (s3_target_parse(rest, host, domains, 1, key, &target) == S3_TARGET_OK)
        CHECK(target.key.size <= KEY_BYTES_MAX && bytes_is_utf8(target.key));
    (void)s3_bucket_name_is_valid(text);
}

static void check_ranges(const struct s3_ranges *ranges, uint64_t object_size)
{
    uint64_t total = 0;
    CHECK(ranges->count > 0 && ranges->count <= S3_RANGES_MAX);
    for (uint32_t i = 0; i < ranges->count; i++) {
        const struct s3_range *a = &ranges->at[i];
        CHECK(a->size > 0 && a->offset + a->size <= object_size);
        total += a->size;
        for (uint32_t j = 0; j < i; j++) {
            const struct s3_range *b = &ranges->at[j];
            CHECK(a->offset > b->offset + b->size || b->offset > a->offset + a->size);
        }
    }
    CHECK(total <= object_size);
}

static void try_range(struct bytes text)
{
    struct s3_range range;
    struct s3_ranges ranges;
    static const uint64_t sizes[] = {0, 1, 1000, OBJECT_BYTES_MAX};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        if (s3_ranges_parse(text, sizes[i], &ranges) == S3_RANGE_OK)
            check_ranges(&ranges, sizes[i]);
        if (s3_copy_range_parse(text, sizes[i], &range) == ERR_OK)
            CHECK(range.size > 0 && range.offset + range.size <= sizes[i]);
    }
}

/* The text as lines of a request: path, query, then "name:value". */
static void try_signature(struct bytes text)
{
    struct s3_header headers[16];
    struct s3_query query;
    struct sigv4_request request = {
        .method = BYTES("GET"), .query = &query, .now_seconds = 1369353600};
    request.path = bytes_split(&text, '\n');
    if (s3_query_parse(bytes_split(&text, '\n'), &query))
        return;
    size_t count = 0;
    while (text.data != NULL && count < COUNT_OF(headers)) {
        struct bytes line = bytes_split(&text, '\n');
        headers[count].name = bytes_split(&line, ':');
        headers[count++].value = line;
    }
    request.headers = (struct s3_headers){headers, count};
    struct sigv4 sigv4;
    if (sigv4_parse(&request, &sigv4) == S3_E(None) && !sigv4.is_anonymous)
        (void)sigv4_verify(&request, &sigv4, BYTES("secret"), NULL);
    uint8_t attrs[META_BYTES_MAX];
    size_t size, total = 0;
    if (s3_meta_encode(&request.headers, attrs, &size) == S3_E(None))
        CHECK(s3_meta_each(bytes_of(attrs, size), ignore, &total) == ERR_OK);
    struct checksum checksum;
    (void)s3_checksum_from_headers(&request.headers, &checksum);
}

static void try_times(struct bytes text)
{
    uint64_t seconds;
    char out[S3_TIME_ISO_BYTES];
    if (s3_time_parse_http(text, &seconds) == ERR_OK ||
        s3_time_parse_iso(text, &seconds) == ERR_OK ||
        s3_time_parse_basic(text, &seconds) == ERR_OK)
        s3_time_iso(seconds * 1000000000u, out);
}

static void try_policy(struct bytes text)
{
    size_t size = BASE64_SIZE(text.size) + 1;
    char *base64 = malloc(size);
    if (base64 == NULL)
        return;
    base64_encode(text.data, text.size, base64);
    const struct post_field fields[] = {{BYTES("key"), BYTES("k")},
                                        {BYTES("Content-Type"), BYTES("a,b")}};
    struct post_form form = {fields, COUNT_OF(fields), BYTES("b"), 0};
    struct post_limits limits;
    char message[POST_MESSAGE_BYTES];
    (void)post_policy_judge(bytes_of(base64, size - 1), &form, &limits, message);
    (void)post_policy_judge(text, &form, &limits, message);
    free(base64);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* A copy of just that size, so that one byte too far is seen. */
    char *copy = malloc(size + 1);
    if (copy == NULL)
        return 0;
    if (size > 0)
        memcpy(copy, data, size);
    struct bytes text = bytes_of(copy, size);
    size_t total = 0;
    try_target(text);
    try_range(text);
    try_signature(text);
    try_times(text);
    try_policy(text);
    (void)s3_meta_each(text, ignore, &total);
    (void)s3_meta_storage_class(text);
    free(copy);
    return 0;
}
