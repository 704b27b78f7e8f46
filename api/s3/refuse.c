#include "api/s3/refuse.h"

struct refusal {
    struct bytes prefix; /* of the header's name */
    const char *allowed; /* values that are fine, separated by '|'; NULL: none */
    enum s3_error error;
};

/* A canned ACL that means "the bucket's owner and nobody else" is how everything is stored. */
static const struct refusal refusals[] = {
    {{"x-amz-acl", 9},
     "private|bucket-owner-full-control|bucket-owner-read",
     S3_E(AccessControlListNotSupported)},
    {{"x-amz-grant-", 12}, NULL, S3_E(AccessControlListNotSupported)},
    {{"x-amz-server-side-encryption", 28}, NULL, S3_E(NotImplemented)},
    {{"x-amz-copy-source-server-side-encryption", 40}, NULL, S3_E(NotImplemented)},
    {{"x-amz-tagging-directive", 23}, "COPY|REPLACE", S3_E(NotImplemented)},
    {{"x-amz-tagging", 13}, "", S3_E(NotImplemented)},
    {{"x-amz-object-lock-legal-hold", 28}, "OFF", S3_E(NotImplemented)},
    {{"x-amz-object-lock-", 18}, NULL, S3_E(NotImplemented)},
    {{"x-amz-bucket-object-lock-enabled", 32}, "false", S3_E(NotImplemented)},
    {{"x-amz-object-ownership", 22}, "BucketOwnerEnforced", S3_E(NotImplemented)},
    {{"x-amz-mfa", 9}, NULL, S3_E(NotImplemented)},
    {{"x-amz-if-match-", 15}, NULL, S3_E(NotImplemented)},
    {{"x-sluice-require-", 17}, NULL, S3_E(NotImplemented)},
};

static bool value_is_allowed(const char *allowed, struct bytes value)
{
    if (allowed == NULL)
        return false;
    struct bytes rest = bytes_of_string(allowed);
    do {
        if (bytes_equal_nocase(bytes_split(&rest, '|'), value))
            return true;
    } while (rest.data != NULL);
    return false;
}

static const struct refusal *find_refusal(const struct s3_header *header)
{
    for (size_t i = 0; i < COUNT_OF(refusals); i++)
        if (bytes_start_with_nocase(header->name, refusals[i].prefix))
            return value_is_allowed(refusals[i].allowed, bytes_trim(header->value)) ? NULL
                                                                                    : &refusals[i];
    return NULL;
}

/* What a GET may require is judged where its path is chosen. */
static bool is_path_requirement(const struct s3_request *r, const struct s3_header *header)
{
    return bytes_equal_nocase(header->name, BYTES("x-sluice-require-path")) &&
           r->resource == S3_OBJECT &&
           (r->http->method == HTTP_GET || r->http->method == HTTP_HEAD);
}

/* Whoever names the owner they expect wants nothing done to somebody else's bucket. */
static bool owner_is_expected(const struct s3_request *r, const struct s3_header *header)
{
    return !bytes_equal_nocase(header->name, BYTES("x-amz-expected-bucket-owner")) ||
           r->resource == S3_SERVICE || r->route->makes_bucket ||
           bytes_equal(bytes_trim(header->value), bytes_of_string(r->bucket.owner));
}

bool s3_refuse_unsupported(struct s3_request *r)
{
    for (size_t i = 0; i < r->headers.count; i++) {
        const struct s3_header *header = &r->headers.at[i];
        if (!bytes_start_with_nocase(header->name, BYTES("x-")))
            continue;
        r->has_sluice_headers |= bytes_start_with_nocase(header->name, BYTES("x-sluice-"));
        if (is_path_requirement(r, header))
            continue;
        if (!owner_is_expected(r, header)) {
            s3_fail(r, S3_E(AccessDenied));
            return false;
        }
        const struct refusal *refusal = find_refusal(header);
        if (refusal != NULL) {
            s3_fail(r, refusal->error);
            return false;
        }
    }
    return true;
}
