/*
 * Targets: percent-coding, the query as a list, and which bucket and key a request means. Key bytes
 * are bytes: decoded once, never normalised; only NUL and what is not UTF-8 is refused. Pure.
 */
#ifndef API_S3_URI_H
#define API_S3_URI_H

#include "base/bytes.h"
#include "base/limits.h"

/* Decodes %XX; with `plus_is_space` also '+'. Appends to out; false: malformed, or out is full. */
enum uri_plus { URI_PLUS_LITERAL, URI_PLUS_IS_SPACE };
bool uri_decode(struct bytes text, enum uri_plus plus, struct buf *out);

/* A-Z a-z 0-9 - . _ ~ */
extern const bool uri_unreserved[256];
static inline bool uri_is_unreserved(char c)
{
    return uri_unreserved[(unsigned char)c];
}

/* Encodes all but A-Z a-z 0-9 - . _ ~ and, with URI_SLASH_KEPT, '/'. Upper-case hex. */
enum uri_slash { URI_SLASH_ENCODED, URI_SLASH_KEPT };
void uri_encode(struct bytes text, enum uri_slash slash, struct text_buf *out);
/* The same into memory with room for three times the text; returns how much of it was used. */
size_t uri_encode_short(struct bytes text, enum uri_slash slash, char *out);

/* ---- the query ---- */
#define S3_QUERY_PARAMS_MAX 32
#define S3_QUERY_TEXT_BYTES 2304 /* two keys of 1,024 bytes that needed decoding, and the rest */

struct s3_query_param {
    /* Decoded; borrowed from the raw query or from `text`. value.data NULL: no '=' was there. */
    struct bytes name, value;
};
struct s3_query {
    uint32_t count;
    uint32_t text_size;
    /* A bit for the size (modulo 64) of each name: most names that are looked for are told absent
     * by it. */
    uint64_t name_sizes;
    struct s3_query_param params[S3_QUERY_PARAMS_MAX]; /* as they came */
    char text[S3_QUERY_TEXT_BYTES];
};
static inline void s3_query_clear(struct s3_query *query)
{
    query->count = query->text_size = 0;
    query->name_sizes = 0;
}
static inline uint64_t s3_query_size_bit(size_t name_size)
{
    return 1ull << (name_size & 63);
}
/* ERR_BAD_SYNTAX (percent-coding, NUL, not UTF-8), ERR_TOO_LARGE (parameters, decoded text). The
 * query borrows from raw. */
enum err s3_query_parse(struct bytes raw, struct s3_query *ret_query) MUST_USE;
/* First of that name (case-sensitive). A parameter without a value yields an empty one that is not
 * NULL. */
bool s3_query__find(const struct s3_query *query, struct bytes name, struct bytes *ret_value);
static inline bool s3_query_find(const struct s3_query *query, struct bytes name,
                                 struct bytes *ret_value)
{
    return (query->name_sizes & s3_query_size_bit(name.size)) &&
           s3_query__find(query, name, ret_value);
}

/* ---- bucket and key ---- */
struct s3_target {
    /* Empty: the service itself. Borrowed from host, path or the caller's text. */
    struct bytes bucket;
    struct bytes key; /* empty: the bucket itself. In the caller's text */
    bool is_virtual_host;
};
enum s3_target_fault { S3_TARGET_OK, S3_TARGET_BAD_URI, S3_TARGET_KEY_TOO_LONG };
/*
 * Splits the raw path, and the host where it is a bucket's name in front of one of `domains`, the
 * longest that fits. `text`: KEY_BYTES_MAX + 1 bytes for the decoded key; a bucket name that needed
 * decoding in a path is malformed by itself.
 */
enum s3_target_fault s3_target_parse(struct bytes raw_path, struct bytes host,
                                     const struct bytes *domains, size_t domain_count,
                                     char text[KEY_BYTES_MAX + 1], struct s3_target *ret_target);

/* S3's bucket naming rules for general purpose buckets. */
bool s3_bucket_name_is_valid(struct bytes name);

#endif
