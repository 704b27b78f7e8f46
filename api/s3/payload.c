#include "api/s3/payload.h"

#include "api/s3/request.h"

/* ---- aws-chunked: what the engine asks about chunks and trailers ---- */

static struct s3_payload *payload_of(struct http_aws_chunks *aws)
{
    return CONTAINER_OF(aws, struct s3_payload, aws);
}

static enum err chunk_refuse(struct s3_payload *payload, enum s3_error error)
{
    payload->error = error;
    return ERR_DENIED;
}

static bool copy_signature(struct bytes signature, char out[65])
{
    if (signature.size != 64)
        return false;
    memcpy(out, signature.data, 64);
    out[64] = '\0';
    return true;
}

static enum err chunk_begin(struct http_aws_chunks *aws, uint64_t size, struct bytes signature)
{
    struct s3_payload *payload = payload_of(aws);
    (void)size;
    if (!aws->is_signed)
        return ERR_OK;
    if (!copy_signature(signature, payload->chunk_signature))
        return chunk_refuse(payload, S3_E(SignatureDoesNotMatch));
    return digest_init(&payload->chunk, DIGEST_SHA256);
}

static void chunk_data(struct http_aws_chunks *aws, const uint8_t *data, size_t size)
{
    if (aws->is_signed)
        digest_update(&payload_of(aws)->chunk, data, size);
}

static enum err chunk_end(struct http_aws_chunks *aws)
{
    struct s3_payload *payload = payload_of(aws);
    if (!aws->is_signed)
        return ERR_OK;
    uint8_t hash[DIGEST_BYTES_MAX];
    char expected[65];
    digest_final(&payload->chunk, hash);
    sigv4_chunk_signature(payload->sigv4, payload->previous_signature, hash, expected);
    if (!bytes_equal_secret(bytes_of(expected, 64), bytes_of(payload->chunk_signature, 64)))
        return chunk_refuse(payload, S3_E(SignatureDoesNotMatch));
    memcpy(payload->previous_signature, expected, sizeof expected);
    return ERR_OK;
}

static enum err trailer_signature(struct s3_payload *payload, struct bytes value)
{
    uint8_t hash[DIGEST_BYTES_MAX];
    char expected[65];
    digest_final(&payload->trailer, hash);
    sigv4_trailer_signature(payload->sigv4, payload->previous_signature, hash, expected);
    if (!bytes_equal_secret(bytes_of(expected, 64), value))
        return chunk_refuse(payload, S3_E(SignatureDoesNotMatch));
    payload->has_trailer_signature = true;
    return ERR_OK;
}

/* Only the trailer that was announced may come, once, and behind it nothing but the signature over
 * it. */
static enum err chunk_trailer(struct http_aws_chunks *aws, struct bytes name, struct bytes value)
{
    struct s3_payload *payload = payload_of(aws);
    value = bytes_trim(value);
    if (payload->has_trailer_signature)
        return chunk_refuse(payload, S3_E(InvalidRequest));
    if (aws->is_signed && bytes_equal_nocase(name, BYTES("x-amz-trailer-signature")))
        return trailer_signature(payload, value);
    const struct s3_checksum_name *checksum = s3_checksum_by_header(name);
    if (checksum == NULL || checksum->algorithm != payload->promised.algorithm ||
        payload->promised.size > 0)
        return chunk_refuse(payload, S3_E(InvalidRequest));
    if (!s3_checksum_parse(checksum->algorithm, value, &payload->promised))
        return chunk_refuse(payload, S3_E(InvalidRequest));
    if (aws->is_signed) {
        digest_update(&payload->trailer, checksum->header, strlen(checksum->header));
        digest_update(&payload->trailer, ":", 1);
        digest_update(&payload->trailer, value.data, value.size);
        digest_update(&payload->trailer, "\n", 1);
    }
    return ERR_OK;
}

struct http_aws_chunks *s3_payload_chunks(struct s3_payload *payload)
{
    return payload->is_chunked ? &payload->aws : NULL;
}

/* ---- headers ---- */

static bool accept_framing(struct s3_request *r, struct s3_payload *payload)
{
    enum sigv4_payload mode = payload->sigv4->payload;
    payload->aws = (struct http_aws_chunks){
        .chunk_begin = chunk_begin,
        .chunk_data = chunk_data,
        .chunk_end = chunk_end,
        .trailer = chunk_trailer,
        .is_signed = mode == SIGV4_PAYLOAD_CHUNKS || mode == SIGV4_PAYLOAD_CHUNKS_TRAILER,
        .has_trailer =
            mode == SIGV4_PAYLOAD_CHUNKS_TRAILER || mode == SIGV4_PAYLOAD_UNSIGNED_TRAILER,
    };
    payload->is_chunked = payload->aws.is_signed || payload->aws.has_trailer;
    memcpy(payload->previous_signature, payload->sigv4->signature,
           sizeof payload->previous_signature);
    if (mode == SIGV4_PAYLOAD_CHUNKS_TRAILER && digest_init(&payload->trailer, DIGEST_SHA256)) {
        s3_fail(r, S3_E(SlowDown));
        return false;
    }
    return true;
}

static bool accept_size(struct s3_request *r, struct s3_payload *payload)
{
    payload->size = S3_SIZE_UNKNOWN;
    if (payload->is_chunked) {
        struct bytes decoded = s3_header(r, "x-amz-decoded-content-length");
        if (decoded.data == NULL) {
            s3_fail(r, S3_E(MissingContentLength));
            return false;
        }
        if (bytes_to_u64(bytes_trim(decoded), &payload->size)) {
            s3_fail_text(r, S3_E(InvalidArgument),
                         "x-amz-decoded-content-length must be a number of bytes");
            return false;
        }
    } else if (r->http->has_content_length) {
        payload->size = r->http->content_length;
    } else if (!r->http->is_chunked) {
        payload->size = 0;
        if (payload->hashes == S3_PAYLOAD_OBJECT) {
            s3_fail(r, S3_E(MissingContentLength));
            return false;
        }
    }
    if (payload->size != S3_SIZE_UNKNOWN && payload->size > payload->size_max) {
        s3_fail(r, payload->hashes == S3_PAYLOAD_OBJECT ? S3_E(EntityTooLarge)
                                                        : S3_E(MaxMessageLengthExceeded));
        return false;
    }
    return true;
}

/* The checksum promised: its value in a header, or its name in x-amz-trailer. */
static bool accept_checksum(struct s3_request *r, struct s3_payload *payload)
{
    if (payload->hashes == S3_PAYLOAD_DOCUMENT_ONLY)
        return true;
    if (!s3_checksum_from_headers(&r->headers, &payload->promised)) {
        s3_fail_text(r, S3_E(InvalidRequest),
                     "Expecting a single well-formed x-amz-checksum- header");
        return false;
    }
    struct bytes trailer = s3_header(r, "x-amz-trailer");
    if (trailer.data == NULL)
        return true;
    const struct s3_checksum_name *name = s3_checksum_by_header(bytes_trim(trailer));
    if (name == NULL || !payload->aws.has_trailer || payload->promised.algorithm != 0) {
        s3_fail_text(r, S3_E(InvalidRequest),
                     "The value specified in the x-amz-trailer header is not supported");
        return false;
    }
    payload->promised = (struct checksum){.algorithm = name->algorithm};
    return true;
}

static bool accept_stored(struct s3_request *r, struct s3_payload *payload, uint8_t stored_as)
{
    const struct s3_checksum_name *hint =
        s3_checksum_by_name(bytes_trim(s3_header(r, "x-amz-sdk-checksum-algorithm")));
    uint8_t promised = payload->promised.algorithm;
    uint8_t fallback = S3_CHECKSUM_ALGORITHM(DIGEST_CRC64NVME);
    payload->stored_algorithm = stored_as  ? stored_as
                                : promised ? promised
                                : hint     ? hint->algorithm
                                           : fallback;
    /* An upload begun without naming an algorithm has the fallback; whoever named one must keep to
     * it. */
    if (promised && promised != payload->stored_algorithm &&
        payload->stored_algorithm != fallback) {
        s3_fail_text(r, S3_E(InvalidRequest),
                     "Checksum Type mismatch occurred, expected checksum Type: %s, actual checksum "
                     "Type: %s",
                     s3_checksum_name(payload->stored_algorithm)->name,
                     s3_checksum_name(promised)->name);
        return false;
    }
    return true;
}

static bool accept_md5(struct s3_request *r, struct s3_payload *payload)
{
    struct bytes md5 = s3_header(r, "content-md5");
    if (md5.data == NULL)
        return true;
    payload->has_content_md5 = true;
    if (s3_content_md5_parse(md5, payload->content_md5))
        return true;
    s3_fail(r, S3_E(InvalidDigest));
    return false;
}

static bool begin_hashes(struct s3_request *r, struct s3_payload *payload)
{
    bool is_object = payload->hashes == S3_PAYLOAD_OBJECT;
    uint8_t promised = payload->promised.algorithm, stored = payload->stored_algorithm;
    const struct {
        bool is_used;
        enum digest_kind kind;
    } wanted[PAYLOAD_HASH_COUNT] = {
        [PAYLOAD_MD5] = {is_object || payload->has_content_md5, DIGEST_MD5},
        [PAYLOAD_SHA256] = {payload->sigv4->payload == SIGV4_PAYLOAD_SHA256, DIGEST_SHA256},
        [PAYLOAD_PROMISED] = {promised != 0, s3_checksum_digest(promised ? promised : stored)},
        [PAYLOAD_STORED] = {is_object && stored != promised, s3_checksum_digest(stored)},
    };
    for (unsigned i = 0; i < PAYLOAD_HASH_COUNT; i++) {
        if (!wanted[i].is_used)
            continue;
        if (digest_init(&payload->digests[i], wanted[i].kind)) {
            s3_fail(r, S3_E(SlowDown));
            return false;
        }
        payload->uses[i] = true;
    }
    return true;
}

bool s3_payload_accept(struct s3_request *r, struct s3_payload *payload,
                       const struct s3_payload_options *options)
{
    payload->sigv4 = &r->auth.sigv4;
    payload->size_max = options->size_max;
    payload->hashes = options->hashes;
    payload->size = S3_SIZE_UNKNOWN;
    if (!options->is_part_of_body && !(accept_framing(r, payload) && accept_size(r, payload)))
        return false;
    return accept_checksum(r, payload) && accept_stored(r, payload, options->stored_as) &&
           accept_md5(r, payload) && begin_hashes(r, payload);
}

/* ---- bytes ---- */

void s3_payload_update(struct s3_payload *payload, const void *data, size_t size)
{
    for (unsigned i = 0; i < PAYLOAD_HASH_COUNT; i++)
        if (payload->uses[i])
            digest_update(&payload->digests[i], data, size);
}

void s3_payload_update_others(struct s3_payload *payload, const void *data, size_t size)
{
    for (unsigned i = 0; i < PAYLOAD_HASH_COUNT; i++)
        if (payload->uses[i] && i != PAYLOAD_MD5)
            digest_update(&payload->digests[i], data, size);
}

struct digest *s3_payload_md5(struct s3_payload *payload)
{
    return payload->uses[PAYLOAD_MD5] ? &payload->digests[PAYLOAD_MD5] : NULL;
}

/* ---- judgement ---- */

static void fail_received(struct s3_request *r, const struct s3_payload *payload, enum err received)
{
    if (payload->error) {
        s3_fail(r, payload->error);
        return;
    }
    switch (received) {
    case ERR_TOO_LARGE:
        if (payload->size == S3_SIZE_UNKNOWN)
            s3_fail(r, payload->hashes == S3_PAYLOAD_OBJECT ? S3_E(EntityTooLarge)
                                                            : S3_E(MaxMessageLengthExceeded));
        else
            s3_fail(r, S3_E(IncompleteBody));
        return;
    case ERR_BAD_SYNTAX:
        s3_fail_text(r, S3_E(IncompleteBody), "The chunks of the request body are not well-formed");
        return;
    default: /* too short, too slow, gone; or our own side */
        s3_fail_err(r, received);
    }
}

/* The promised checksum against the one computed. */
static bool judge_checksum(struct s3_request *r, struct s3_payload *payload, const uint8_t *value)
{
    const struct s3_checksum_name *name = s3_checksum_name(payload->promised.algorithm);
    if (payload->promised.size == 0) {
        s3_fail_text(r, S3_E(InvalidRequest), "The trailer %s was announced and did not come",
                     name->header);
        return false;
    }
    if (memcmp(payload->promised.value, value, payload->promised.size) == 0)
        return true;
    s3_fail_text(r, S3_E(BadDigest), "The %s you specified did not match the calculated checksum.",
                 name->name);
    return false;
}

static void keep_checksum(struct s3_payload *payload, const uint8_t *value)
{
    enum digest_kind kind = s3_checksum_digest(payload->stored_algorithm);
    payload->checksum = (struct checksum){
        .algorithm = payload->stored_algorithm,
        .type = S3_CHECKSUM_FULL_OBJECT,
        .size = (uint8_t)digest_size_bytes(kind),
    };
    memcpy(payload->checksum.value, value, payload->checksum.size);
}

bool s3_payload_judge(struct s3_request *r, struct s3_payload *payload, enum err received)
{
    if (received) {
        fail_received(r, payload, received);
        return false;
    }
    if (payload->sigv4->payload == SIGV4_PAYLOAD_CHUNKS_TRAILER &&
        !payload->has_trailer_signature) {
        s3_fail(r, S3_E(SignatureDoesNotMatch));
        return false;
    }
    uint8_t values[PAYLOAD_HASH_COUNT][DIGEST_BYTES_MAX];
    for (unsigned i = 0; i < PAYLOAD_HASH_COUNT; i++)
        if (payload->uses[i])
            digest_final(&payload->digests[i], values[i]);
    if (payload->has_content_md5 &&
        memcmp(values[PAYLOAD_MD5], payload->content_md5, sizeof payload->content_md5) != 0) {
        s3_fail(r, S3_E(BadDigest));
        return false;
    }
    if (payload->uses[PAYLOAD_SHA256] &&
        memcmp(values[PAYLOAD_SHA256], payload->sigv4->payload_sha256, 32) != 0) {
        s3_fail(r, S3_E(XAmzContentSHA256Mismatch));
        return false;
    }
    if (payload->uses[PAYLOAD_PROMISED] && !judge_checksum(r, payload, values[PAYLOAD_PROMISED]))
        return false;
    if (payload->hashes == S3_PAYLOAD_OBJECT) {
        memcpy(payload->md5, values[PAYLOAD_MD5], sizeof payload->md5);
        keep_checksum(payload,
                      values[payload->uses[PAYLOAD_STORED] ? PAYLOAD_STORED : PAYLOAD_PROMISED]);
    }
    return true;
}

void s3_payload_fini(struct s3_payload *payload)
{
    for (unsigned i = 0; i < PAYLOAD_HASH_COUNT; i++)
        digest_fini(&payload->digests[i]);
    digest_fini(&payload->chunk);
    digest_fini(&payload->trailer);
}
