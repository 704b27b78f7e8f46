#include "api/s3/copy_source.h"

#include "api/s3/conditions.h"

static bool source_fail(struct s3_request *r, const char *message)
{
    s3_fail_text(r, S3_E(InvalidArgument), "%s", message);
    return false;
}

/* "/bucket/key" or "bucket/key", percent-coded, with "?versionId=" behind it for whoever has
 * versions. */
static bool source_split(struct s3_request *r, struct s3_copy_source *source,
                         struct bytes *ret_bucket)
{
    struct bytes raw = bytes_trim(s3_header(r, "x-amz-copy-source"));
    size_t query = bytes_find(raw, 0, BYTES("?versionId="));
    if (query != SIZE_MAX) {
        struct bytes version = bytes_slice(raw, query + BYTES("?versionId=").size, SIZE_MAX);
        if (!bytes_equal(version, BYTES("null")))
            return source_fail(r, "Invalid version id specified");
        raw = bytes_slice(raw, 0, query);
    }
    struct buf text = BUF_ON(source->text);
    if (!uri_decode(raw, URI_PLUS_LITERAL, &text))
        return source_fail(r, "Invalid copy source encoding");
    struct bytes rest = buf_bytes(&text);
    if (rest.size > 0 && rest.data[0] == '/')
        rest = bytes_slice(rest, 1, SIZE_MAX);
    *ret_bucket = bytes_split(&rest, '/');
    source->key = rest;
    if (ret_bucket->size == 0 || rest.size == 0 || rest.size > KEY_BYTES_MAX ||
        bytes_find_char(rest, 0, '\0') != SIZE_MAX || !bytes_is_utf8(rest))
        return source_fail(r, "Copy Source must mention the source bucket and key: "
                              "sourcebucket/sourcekey");
    return true;
}

bool s3_copy_source_parse(struct s3_request *r, struct s3_copy_source *source)
{
    struct bytes bucket;
    if (!source_split(r, source, &bucket))
        return false;
    enum err e = group_bucket(s3_group(r), bucket, &source->bucket);
    if (e) {
        s3_fail_err(r, e);
        return false;
    }
    struct bytes expected = s3_header(r, "x-amz-source-expected-bucket-owner");
    bool is_owned = expected.data == NULL ||
                    bytes_equal(bytes_trim(expected), bytes_of_string(source->bucket.owner));
    if (!is_owned || !access_key_may(&r->auth.key, &source->bucket, GRANT_READ)) {
        s3_fail(r, S3_E(AccessDenied));
        return false;
    }
    return true;
}

bool s3_copy_source_find(struct s3_request *r, struct s3_copy_source *source)
{
    if (source->fresh != NULL && source->fresh->ask.err) {
        source->lookup.err = source->fresh->ask.err;
        return true;
    }
    return s3_lookup_begin(r, &source->lookup, source->bucket.id, source->key);
}

bool s3_copy_source_judge(struct s3_request *r, struct s3_copy_source *source)
{
    enum err e = s3_lookup_end(&source->lookup);
    if (e) {
        s3_fail_err(r, e);
        return false;
    }
    struct s3_read_conditions conditions = {
        .if_match = s3_header(r, "x-amz-copy-source-if-match"),
        .if_none_match = s3_header(r, "x-amz-copy-source-if-none-match"),
        .if_modified_since = s3_header(r, "x-amz-copy-source-if-modified-since"),
        .if_unmodified_since = s3_header(r, "x-amz-copy-source-if-unmodified-since"),
    };
    if (s3_conditions_read(&conditions, object_info(source->lookup.object)) != S3_HOLDS) {
        s3_fail(r, S3_E(PreconditionFailed));
        return false;
    }
    return true;
}

void s3_copy_source_note(const struct s3_copy_source *source, struct mutation *m)
{
    m->source = (struct mutation_source){
        .bucket = source->bucket.id,
        .key = source->key,
        .psn = object_info(source->lookup.object)->psn,
    };
}

bool s3_copy_source_again(struct s3_request *r, struct s3_copy_source *source)
{
    if (++source->tries == COPY_TRIES_MAX) {
        s3_fail_text(r, S3_E(SlowDown), "The copy source changes faster than it can be copied.");
        return false;
    }
    s3_lookup_fini(&source->lookup);
    if (source->fresh == NULL)
        source->fresh = s3_ask_take(r);
    if (source->fresh == NULL) {
        s3_fail(r, S3_E(SlowDown));
        return false;
    }
    group_fresh(s3_group(r), &source->fresh->ask);
    return true;
}

void s3_copy_source_fini(struct s3_copy_source *source)
{
    s3_lookup_fini(&source->lookup);
}
