/*
 * AWS Signature Version 4 for S3 ("Authenticating Requests", Amazon S3 API reference): in the
 * Authorization header, in the query of a presigned URL, chunk by chunk in an aws-chunked body, and
 * under a POST form's policy. Pure: no key is looked up and no clock read here.
 *
 *     sigv4_parse    what the request says of itself; whose key it is
 *     (the caller finds that key's secret)
 *     sigv4_verify   whether the secret's owner signed just this request
 *
 * S3's canonical path is the path decoded once and encoded once. Clients differ in what they leave
 * unencoded, so where that differs from the path as sent, a signature over either is accepted: both
 * mean the same bytes.
 */
#ifndef API_S3_SIGV4_H
#define API_S3_SIGV4_H

#include "api/s3/error.h"
#include "api/s3/headers.h"
#include "api/s3/presigned.h"
#include "api/s3/uri.h"
#include "base/digest.h"

#define SIGV4_SKEW_SECONDS 900u
#define SIGV4_EXPIRES_MAX  604800u

enum sigv4_payload {
    SIGV4_PAYLOAD_UNSIGNED,
    /* The hash of the whole body is signed and must be checked by who reads it. */
    SIGV4_PAYLOAD_SHA256,
    SIGV4_PAYLOAD_CHUNKS,           /* STREAMING-AWS4-HMAC-SHA256-PAYLOAD */
    SIGV4_PAYLOAD_CHUNKS_TRAILER,   /* ...-TRAILER */
    SIGV4_PAYLOAD_UNSIGNED_TRAILER, /* STREAMING-UNSIGNED-PAYLOAD-TRAILER */
};

struct sigv4_request {
    struct bytes method, path; /* raw */
    const struct s3_query *query;
    struct bytes query_text; /* raw; NULL: what is verified of a presigned URL is not remembered */
    struct s3_headers headers;
    uint64_t now_seconds;
};

/* Views borrow from the request. */
struct sigv4 {
    bool is_anonymous; /* no signature at all; nothing else is set */
    bool is_presigned;
    struct bytes access_key, region;
    struct bytes date;           /* yyyymmdd, of the scope */
    struct bytes scope;          /* date/region/s3/aws4_request */
    struct bytes signed_headers; /* names separated by ';' */
    char time[17];               /* yyyymmddThhmmssZ */
    char signature[65];          /* hex, as sent */
    enum sigv4_payload payload;
    struct bytes payload_text;  /* what stands in the canonical request */
    uint8_t payload_sha256[32]; /* SIGV4_PAYLOAD_SHA256 */
    const char *message;        /* why an error was returned; NULL: the code's own sentence */
    /* Set by sigv4_verify, and by nothing else; not when a presigned URL was remembered. */
    struct hmac_key signing_key;
};

/* Everything that can be told without the secret: form, time, expiry, that what must be signed is.
 * S3_E(None) when fine. */
enum s3_error sigv4_parse(const struct sigv4_request *request, struct sigv4 *ret_sigv4);

/* Whether a query parameter is part of a presigned URL's signature, and so nothing else's
 * business. */
bool sigv4_is_own_param(struct bytes name);

#define SIGV4_REGION_BYTES_MAX 64u
#define SIGV4_SECRET_BYTES_MAX 128u /* what a keyring takes */

/*
 * Derived keys, ready for HMAC, so that a request costs two hashes and not six. Each worker its
 * own; zeroed is empty. An entry is found by date, region and secret whole, not by a hash of them:
 * what it holds decides who somebody is, and a client chooses the region.
 */
#define SIGV4_CACHE_ENTRIES    128u
#define SIGV4_CACHE_NAME_BYTES (8 + 1 + SIGV4_REGION_BYTES_MAX + SIGV4_SECRET_BYTES_MAX)
struct sigv4_cache {
    struct {
        uint32_t name_size;
        char name[SIGV4_CACHE_NAME_BYTES]; /* date, size of region, region, secret */
        struct hmac_key key;
    } entries[SIGV4_CACHE_ENTRIES];
    struct presigned presigned;
};

/* S3_E(None) or S3_E(SignatureDoesNotMatch). Time does not depend on how much of the signature is
 * right. cache may be NULL. */
enum s3_error sigv4_verify(const struct sigv4_request *request, struct sigv4 *sigv4,
                           struct bytes secret, struct sigv4_cache *cache);

/* ---- what a verified request's body is signed with ---- */

/* The signature of the next chunk, given the one before it (the request's own for the first). hex,
 * 64 characters and a NUL. */
void sigv4_chunk_signature(const struct sigv4 *sigv4, const char previous[65],
                           const uint8_t chunk_sha256[32], char out[65]);
/* `trailer_sha256`: of the lines "name:value\n" in the order sent, without
 * x-amz-trailer-signature. */
void sigv4_trailer_signature(const struct sigv4 *sigv4, const char previous[65],
                             const uint8_t trailer_sha256[32], char out[65]);

/* ---- POST forms ---- */
/* The policy's base64 text is what is signed. credential: "id/date/region/s3/aws4_request" */
struct sigv4_credential {
    struct bytes access_key, date, region, scope;
};
bool sigv4_credential_parse(struct bytes text, struct sigv4_credential *ret_credential);
void sigv4_policy_signature(const struct sigv4_credential *credential, struct bytes secret,
                            struct bytes policy, char out[65]);

/* ---- signing, for tests and tools ---- */
/* The Authorization value or the signature over a request with all its parts set. */
void sigv4_sign(const struct sigv4_request *request, const struct sigv4 *sigv4, struct bytes secret,
                char out[65]);

#endif
