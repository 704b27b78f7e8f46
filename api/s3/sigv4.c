#include "api/s3/sigv4.h"

#include "api/s3/time.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/digest.h"

#define ALGORITHM    BYTES("AWS4-HMAC-SHA256")
#define EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

/* ---- what the request says ---- */

static enum s3_error fault(struct sigv4 *sigv4, enum s3_error error, const char *message)
{
    sigv4->message = message;
    return error;
}

bool sigv4_credential_parse(struct bytes text, struct sigv4_credential *ret_credential)
{
    /* An access key may hold '/', so the four fields of the scope are counted from the end. */
    size_t slashes[4], found = 0;
    for (size_t i = text.size; i > 0 && found < 4; i--)
        if (text.data[i - 1] == '/')
            slashes[found++] = i - 1;
    if (found < 4)
        return false;
    struct sigv4_credential c = {
        .access_key = bytes_slice(text, 0, slashes[3]),
        .date = bytes_slice(text, slashes[3] + 1, slashes[2] - slashes[3] - 1),
        .region = bytes_slice(text, slashes[2] + 1, slashes[1] - slashes[2] - 1),
        .scope = bytes_slice(text, slashes[3] + 1, SIZE_MAX),
    };
    if (c.access_key.size == 0 || c.date.size != 8 || c.region.size == 0 ||
        c.region.size > SIGV4_REGION_BYTES_MAX ||
        !bytes_equal(bytes_slice(text, slashes[1] + 1, SIZE_MAX), BYTES("s3/aws4_request")))
        return false;
    *ret_credential = c;
    return true;
}

static bool set_credential(struct sigv4 *sigv4, struct bytes text)
{
    struct sigv4_credential credential;
    if (!sigv4_credential_parse(text, &credential))
        return false;
    sigv4->access_key = credential.access_key;
    sigv4->date = credential.date;
    sigv4->region = credential.region;
    sigv4->scope = credential.scope;
    return true;
}

static bool set_signature(struct sigv4 *sigv4, struct bytes text)
{
    uint8_t ignored[32];
    if (text.size != 64 || hex_decode(text, ignored, sizeof ignored))
        return false;
    memcpy(sigv4->signature, text.data, 64);
    sigv4->signature[64] = '\0';
    return true;
}

/* Also judges that the scope's date is the time's. */
static bool set_time(struct sigv4 *sigv4, struct bytes text, uint64_t *ret_seconds)
{
    if (text.size != sizeof sigv4->time - 1 || s3_time_parse_basic(text, ret_seconds))
        return false;
    memcpy(sigv4->time, text.data, text.size);
    sigv4->time[text.size] = '\0';
    return bytes_equal(bytes_slice(text, 0, 8), sigv4->date);
}

static bool names_header(struct bytes signed_headers, struct bytes name)
{
    while (signed_headers.data != NULL)
        if (bytes_equal_nocase(bytes_split(&signed_headers, ';'), name))
            return true;
    return false;
}

/* host and every x-amz-* header present must be signed: what is not signed could have been added by
 * anybody. */
static enum s3_error judge_signed_headers(const struct sigv4_request *request, struct sigv4 *sigv4)
{
    static const char unsigned_headers[] =
        "There were headers present in the request which were not signed";
    if (!names_header(sigv4->signed_headers, BYTES("host")))
        return fault(sigv4, S3_E(AccessDenied), unsigned_headers);
    for (size_t i = 0; i < request->headers.count; i++) {
        struct bytes name = request->headers.at[i].name;
        if (bytes_start_with_nocase(name, BYTES("x-amz-")) &&
            !names_header(sigv4->signed_headers, name))
            return fault(sigv4, S3_E(AccessDenied), unsigned_headers);
    }
    return S3_E(None);
}

static enum s3_error judge_payload(struct sigv4 *sigv4, struct bytes text)
{
    static const struct {
        struct bytes text;
        enum sigv4_payload payload;
    } words[] = {
        {{"UNSIGNED-PAYLOAD", 16}, SIGV4_PAYLOAD_UNSIGNED},
        {{"STREAMING-AWS4-HMAC-SHA256-PAYLOAD", 34}, SIGV4_PAYLOAD_CHUNKS},
        {{"STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", 42}, SIGV4_PAYLOAD_CHUNKS_TRAILER},
        {{"STREAMING-UNSIGNED-PAYLOAD-TRAILER", 34}, SIGV4_PAYLOAD_UNSIGNED_TRAILER},
    };
    sigv4->payload_text = text;
    for (size_t i = 0; i < COUNT_OF(words); i++)
        if (bytes_equal(text, words[i].text)) {
            sigv4->payload = words[i].payload;
            return S3_E(None);
        }
    sigv4->payload = SIGV4_PAYLOAD_SHA256;
    if (hex_decode(text, sigv4->payload_sha256, sizeof sigv4->payload_sha256))
        return fault(
            sigv4, S3_E(InvalidArgument),
            "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, "
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or "
            "a valid sha256 value.");
    return S3_E(None);
}

/* "AWS4-HMAC-SHA256 Credential=..., SignedHeaders=..., Signature=..." */
static enum s3_error parse_header(const struct sigv4_request *request, struct bytes header,
                                  struct sigv4 *sigv4)
{
    struct bytes rest = bytes_slice(header, ALGORITHM.size, SIZE_MAX);
    bool has_credential = false, has_signature = false;
    while (rest.data != NULL) {
        struct bytes value = bytes_trim(bytes_split(&rest, ','));
        struct bytes name = bytes_split(&value, '=');
        if (bytes_equal(name, BYTES("Credential")))
            has_credential = set_credential(sigv4, value);
        else if (bytes_equal(name, BYTES("SignedHeaders")))
            sigv4->signed_headers = value;
        else if (bytes_equal(name, BYTES("Signature")))
            has_signature = set_signature(sigv4, value);
    }
    if (!has_credential)
        return fault(
            sigv4, S3_E(AuthorizationHeaderMalformed),
            "The authorization header is malformed; the Credential is mal-formed; expecting "
            "\"<YOUR-AKID>/YYYYMMDD/REGION/s3/aws4_request\".");
    if (!has_signature || sigv4->signed_headers.size == 0)
        return fault(sigv4, S3_E(AuthorizationHeaderMalformed), NULL);

    struct bytes time = s3_headers_find(&request->headers, BYTES("x-amz-date"));
    char from_date[S3_TIME_BASIC_BYTES];
    uint64_t seconds;
    if (time.data == NULL) {
        struct bytes date = s3_headers_find(&request->headers, BYTES("date"));
        if (date.data == NULL || s3_time_parse_http(date, &seconds) ||
            seconds > UINT64_MAX / NS_PER_SECOND) /* the year 2554 */
            return fault(sigv4, S3_E(AccessDenied),
                         "AWS authentication requires a valid Date or x-amz-date header");
        s3_time_basic(seconds * NS_PER_SECOND, from_date);
        time = bytes_of(from_date, sizeof from_date - 1);
    }
    if (!set_time(sigv4, bytes_trim(time), &seconds))
        return fault(sigv4, S3_E(AuthorizationHeaderMalformed),
                     "The authorization header is malformed; the date of the Credential is not the "
                     "date of the request.");
    uint64_t now = request->now_seconds;
    if (seconds > now + SIGV4_SKEW_SECONDS || now > seconds + SIGV4_SKEW_SECONDS)
        return fault(sigv4, S3_E(RequestTimeTooSkewed), NULL);

    /* S3 asks for this header; curl before 8.10 does not send it and signs the hash of no body.
     * Taken at its word: then the body must be empty, or its hash will not match. */
    struct bytes payload = s3_headers_find(&request->headers, BYTES("x-amz-content-sha256"));
    return judge_payload(sigv4, payload.data != NULL ? bytes_trim(payload) : BYTES(EMPTY_SHA256));
}

static enum s3_error parse_query(const struct sigv4_request *request, struct sigv4 *sigv4)
{
    static const char incomplete[] =
        "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, "
        "X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.";
    struct bytes algorithm, credential, date, expires_text, signature;
    sigv4->is_presigned = true;
    if (!s3_query_find(request->query, BYTES("X-Amz-Algorithm"), &algorithm) ||
        !s3_query_find(request->query, BYTES("X-Amz-Credential"), &credential) ||
        !s3_query_find(request->query, BYTES("X-Amz-Date"), &date) ||
        !s3_query_find(request->query, BYTES("X-Amz-Expires"), &expires_text) ||
        !s3_query_find(request->query, BYTES("X-Amz-SignedHeaders"), &sigv4->signed_headers) ||
        !s3_query_find(request->query, BYTES("X-Amz-Signature"), &signature))
        return fault(sigv4, S3_E(AuthorizationQueryParametersError), incomplete);
    if (!bytes_equal(algorithm, ALGORITHM))
        return fault(sigv4, S3_E(AuthorizationQueryParametersError),
                     "X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\"");
    if (!set_credential(sigv4, credential))
        return fault(sigv4, S3_E(AuthorizationQueryParametersError),
                     "Error parsing the X-Amz-Credential parameter.");
    (void)set_signature(sigv4, signature); /* one that is none stays empty and matches nothing */
    uint64_t expires, seconds;
    if (bytes_to_u64(expires_text, &expires))
        return fault(sigv4, S3_E(AuthorizationQueryParametersError),
                     bytes_start_with(expires_text, BYTES("-"))
                         ? "X-Amz-Expires must be non-negative"
                         : "X-Amz-Expires should be a number");
    if (expires > SIGV4_EXPIRES_MAX)
        return fault(sigv4, S3_E(AuthorizationQueryParametersError),
                     "X-Amz-Expires must be less than a week (in seconds) that is 604800");
    if (!set_time(sigv4, date, &seconds))
        return fault(sigv4, S3_E(AuthorizationQueryParametersError),
                     "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"");
    if (seconds > request->now_seconds + SIGV4_SKEW_SECONDS)
        return fault(sigv4, S3_E(AccessDenied), "Request is not valid yet");
    if (request->now_seconds > seconds + expires || expires == 0)
        return fault(sigv4, S3_E(AccessDenied), "Request has expired");

    struct bytes payload;
    if (!s3_query_find(request->query, BYTES("X-Amz-Content-Sha256"), &payload))
        payload = bytes_trim(s3_headers_find(&request->headers, BYTES("x-amz-content-sha256")));
    return judge_payload(sigv4, payload.size > 0 ? payload : BYTES("UNSIGNED-PAYLOAD"));
}

enum s3_error sigv4_parse(const struct sigv4_request *request, struct sigv4 *ret_sigv4)
{
    memset(ret_sigv4, 0, offsetof(struct sigv4, signing_key));
    struct bytes header = s3_headers_find(&request->headers, BYTES("authorization"));
    struct bytes ignored;
    static const char version_2[] =
        "The authorization mechanism you have provided is not supported. "
        "Please use AWS4-HMAC-SHA256.";
    bool is_presigned = s3_query_find(request->query, BYTES("X-Amz-Algorithm"), &ignored) ||
                        s3_query_find(request->query, BYTES("X-Amz-Signature"), &ignored) ||
                        s3_query_find(request->query, BYTES("X-Amz-Credential"), &ignored);
    enum s3_error error;
    if (header.data != NULL && is_presigned)
        return fault(
            ret_sigv4, S3_E(InvalidArgument),
            "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, "
            "Signature query string parameter or the Authorization header should be specified");
    if (is_presigned) {
        error = parse_query(request, ret_sigv4);
    } else if (header.data != NULL) {
        header = bytes_trim(header);
        if (bytes_start_with(header, BYTES("AWS ")))
            return fault(ret_sigv4, S3_E(InvalidRequest), version_2);
        if (!bytes_start_with(header, ALGORITHM))
            return fault(ret_sigv4, S3_E(InvalidArgument), "Unsupported Authorization Type");
        error = parse_header(request, header, ret_sigv4);
    } else if (s3_query_find(request->query, BYTES("AWSAccessKeyId"), &ignored)) {
        return fault(ret_sigv4, S3_E(InvalidRequest), version_2);
    } else {
        ret_sigv4->is_anonymous = true;
        return S3_E(None);
    }
    return error != S3_E(None) ? error : judge_signed_headers(request, ret_sigv4);
}

bool sigv4_is_own_param(struct bytes name)
{
    static const struct bytes names[] = {
        {"X-Amz-Algorithm", 15}, {"X-Amz-Credential", 16},    {"X-Amz-Date", 10},
        {"X-Amz-Expires", 13},   {"X-Amz-SignedHeaders", 19}, {"X-Amz-Signature", 15},
    };
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (bytes_equal(name, names[i]))
            return true;
    return false;
}

/* ---- the canonical request, hashed as it is made ---- */

/* Pieces are short, often of one byte: they are gathered and hashed in larger ones. */
struct hasher {
    struct digest digest;
    size_t size;
    char gathered[1024];
};

static void hasher_flush(struct hasher *hasher)
{
    digest_update(&hasher->digest, hasher->gathered, hasher->size);
    hasher->size = 0;
}

static void hash_bytes(struct hasher *hasher, struct bytes bytes)
{
    if (bytes.size > sizeof hasher->gathered - hasher->size) {
        hasher_flush(hasher);
        if (bytes.size > sizeof hasher->gathered) {
            digest_update(&hasher->digest, bytes.data, bytes.size);
            return;
        }
    }
    if (bytes.size > 0)
        memcpy(hasher->gathered + hasher->size, bytes.data, bytes.size);
    hasher->size += bytes.size;
}

enum path_form { PATH_CANONICAL, PATH_AS_SENT };

static void hash_encoded(struct hasher *hasher, struct bytes text, enum uri_slash slash)
{
    for (size_t done = 0, part; done < text.size; done += part) {
        part = text.size - done < sizeof hasher->gathered / 3 ? text.size - done
                                                              : sizeof hasher->gathered / 3;
        if (3 * part > sizeof hasher->gathered - hasher->size)
            hasher_flush(hasher);
        hasher->size +=
            uri_encode_short(bytes_slice(text, done, part), slash, hasher->gathered + hasher->size);
    }
}

static void hash_path(struct hasher *hasher, struct bytes path, enum path_form form)
{
    char decoded[HTTP_URI_BYTES_MAX];
    struct buf out = BUF_ON(decoded);
    if (form == PATH_CANONICAL && bytes_find_char(path, 0, '%') == SIZE_MAX)
        hash_encoded(hasher, path, URI_SLASH_KEPT);
    else if (form == PATH_CANONICAL && uri_decode(path, URI_PLUS_LITERAL, &out))
        hash_encoded(hasher, buf_bytes(&out), URI_SLASH_KEPT);
    else
        hash_bytes(hasher, path);
}

/* Order of the encoded forms: what must be encoded begins with '%', which sorts before everything
 * that stands for itself. */
static int compare_encoded(struct bytes a, struct bytes b)
{
    for (size_t i = 0; i < a.size && i < b.size; i++) {
        if (a.data[i] == b.data[i])
            continue;
        bool a_plain = uri_is_unreserved(a.data[i]), b_plain = uri_is_unreserved(b.data[i]);
        if (a_plain != b_plain)
            return a_plain ? 1 : -1;
        return (unsigned char)a.data[i] < (unsigned char)b.data[i] ? -1 : 1;
    }
    return a.size < b.size ? -1 : a.size > b.size;
}

static int compare_params(const struct s3_query_param *a, const struct s3_query_param *b)
{
    int order = compare_encoded(a->name, b->name);
    return order != 0 ? order : compare_encoded(a->value, b->value);
}

static void hash_query(struct hasher *hasher, const struct s3_query *query)
{
    const struct s3_query_param *sorted[S3_QUERY_PARAMS_MAX];
    size_t count = 0;
    for (uint32_t i = 0; i < query->count; i++) {
        const struct s3_query_param *param = &query->params[i];
        if (bytes_equal(param->name, BYTES("X-Amz-Signature")))
            continue;
        size_t at = count++;
        for (; at > 0 && compare_params(sorted[at - 1], param) > 0; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = param;
    }
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            hash_bytes(hasher, BYTES("&"));
        hash_encoded(hasher, sorted[i]->name, URI_SLASH_ENCODED);
        hash_bytes(hasher, BYTES("="));
        hash_encoded(hasher, sorted[i]->value, URI_SLASH_ENCODED);
    }
}

/* Trimmed, with runs of blanks inside made one. */
static void hash_header_value(struct hasher *hasher, struct bytes value)
{
    value = bytes_trim(value);
    size_t from = 0;
    for (size_t i = 1; i < value.size; i++)
        if (value.data[i] == ' ' && value.data[i - 1] == ' ') {
            hash_bytes(hasher, bytes_slice(value, from, i - from));
            while (i < value.size && value.data[i] == ' ')
                i++;
            from = i;
        }
    hash_bytes(hasher, bytes_slice(value, from, SIZE_MAX));
}

static void hash_lower(struct hasher *hasher, struct bytes name)
{
    char lower[128];
    size_t size = name.size < sizeof lower ? name.size : sizeof lower;
    for (size_t i = 0; i < size; i++)
        lower[i] =
            name.data[i] >= 'A' && name.data[i] <= 'Z' ? (char)(name.data[i] | 0x20) : name.data[i];
    hash_bytes(hasher, bytes_of(lower, size));
}

static void hash_headers(struct hasher *hasher, const struct sigv4_request *request,
                         struct bytes signed_headers)
{
    while (signed_headers.data != NULL) {
        struct bytes name = bytes_split(&signed_headers, ';');
        hash_lower(hasher, name);
        hash_bytes(hasher, BYTES(":"));
        bool is_first = true;
        for (size_t i = 0; i < request->headers.count; i++) {
            if (!bytes_equal_nocase(request->headers.at[i].name, name))
                continue;
            if (!is_first)
                hash_bytes(hasher, BYTES(","));
            is_first = false;
            hash_header_value(hasher, request->headers.at[i].value);
        }
        hash_bytes(hasher, BYTES("\n"));
    }
}

static void hash_request(const struct sigv4_request *request, const struct sigv4 *sigv4,
                         enum path_form form, uint8_t out[32])
{
    struct hasher hasher;
    hasher.size = 0;
    CHECK(digest_init(&hasher.digest, DIGEST_SHA256) == ERR_OK);
    hash_bytes(&hasher, request->method);
    hash_bytes(&hasher, BYTES("\n"));
    hash_path(&hasher, request->path, form);
    hash_bytes(&hasher, BYTES("\n"));
    hash_query(&hasher, request->query);
    hash_bytes(&hasher, BYTES("\n"));
    hash_headers(&hasher, request, sigv4->signed_headers);
    hash_bytes(&hasher, BYTES("\n"));
    hash_bytes(&hasher, sigv4->signed_headers);
    hash_bytes(&hasher, BYTES("\n"));
    hash_bytes(&hasher, sigv4->payload_text);
    hasher_flush(&hasher);
    digest_final(&hasher.digest, out);
}

/* ---- keys and signatures ---- */

static void derive_key(struct bytes secret, struct bytes date, struct bytes region, uint8_t out[32])
{
    char first[4 + SIGV4_SECRET_BYTES_MAX];
    CHECK(secret.size <= SIGV4_SECRET_BYTES_MAX);
    memcpy(first, "AWS4", 4);
    memcpy(first + 4, secret.data, secret.size);
    hmac_sha256(first, 4 + secret.size, date.data, date.size, out);
    hmac_sha256(out, 32, region.data, region.size, out);
    hmac_sha256(out, 32, "s3", 2, out);
    hmac_sha256(out, 32, "aws4_request", 12, out);
    explicit_bzero(first, sizeof first);
}

static void derive_hmac_key(struct bytes secret, struct bytes date, struct bytes region,
                            struct hmac_key *ret_key)
{
    uint8_t key[32];
    derive_key(secret, date, region, key);
    hmac_key_init(ret_key, key, sizeof key);
    explicit_bzero(key, sizeof key);
}

static void signing_key(const struct sigv4 *sigv4, struct bytes secret, struct sigv4_cache *cache,
                        struct hmac_key *ret_key)
{
    if (cache == NULL) {
        derive_hmac_key(secret, sigv4->date, sigv4->region, ret_key);
        return;
    }
    char text[SIGV4_CACHE_NAME_BYTES];
    struct buf name = BUF_ON(text);
    buf_put(&name, sigv4->date);
    buf_put_char(&name, (char)sigv4->region.size);
    buf_put(&name, sigv4->region);
    buf_put(&name, secret);
    CHECK(!name.overflowed);
    size_t at = xxh3_64(text, name.size) % SIGV4_CACHE_ENTRIES;
    if (!bytes_equal(bytes_of(cache->entries[at].name, cache->entries[at].name_size),
                     buf_bytes(&name))) {
        derive_hmac_key(secret, sigv4->date, sigv4->region, &cache->entries[at].key);
        memcpy(cache->entries[at].name, text, name.size);
        cache->entries[at].name_size = (uint32_t)name.size;
    }
    *ret_key = cache->entries[at].key;
    explicit_bzero(text, name.size); /* the secret is in it */
}

static void sign_text(const struct hmac_key *key, const struct buf *text, char out[65])
{
    CHECK(!text->overflowed);
    uint8_t mac[32];
    hmac_key_sha256(key, text->data, text->size, mac);
    hex_encode(mac, sizeof mac, out);
}

static void sign_request(const struct sigv4_request *request, const struct sigv4 *sigv4,
                         const struct hmac_key *key, enum path_form form, char out[65])
{
    uint8_t hash[32];
    char hex[65], memory[512];
    hash_request(request, sigv4, form, hash);
    hex_encode(hash, sizeof hash, hex);
    struct buf text = BUF_ON(memory);
    buf_put_string(&text, "AWS4-HMAC-SHA256\n");
    buf_put_string(&text, sigv4->time);
    buf_put_char(&text, '\n');
    buf_put(&text, sigv4->scope);
    buf_put_char(&text, '\n');
    buf_put_string(&text, hex);
    sign_text(key, &text, out);
}

static bool signature_is(const struct sigv4 *sigv4, const char expected[65])
{
    return bytes_equal_secret(bytes_of(sigv4->signature, 64), bytes_of(expected, 64));
}

static bool is_right(const struct sigv4_request *request, const struct sigv4 *sigv4)
{
    char expected[65];
    sign_request(request, sigv4, &sigv4->signing_key, PATH_CANONICAL, expected);
    if (signature_is(sigv4, expected))
        return true;
    sign_request(request, sigv4, &sigv4->signing_key, PATH_AS_SENT, expected);
    return signature_is(sigv4, expected);
}

enum s3_error sigv4_verify(const struct sigv4_request *request, struct sigv4 *sigv4,
                           struct bytes secret, struct sigv4_cache *cache)
{
    CHECK(!sigv4->is_anonymous);
    struct presigned_text text;
    bool may_recur = cache != NULL && presigned_write(request, sigv4, secret, &text);
    bool verifies = may_recur && presigned_has(&cache->presigned, sigv4->signature, &text);
    if (!verifies) {
        signing_key(sigv4, secret, cache, &sigv4->signing_key);
        verifies = is_right(request, sigv4);
        if (verifies && may_recur)
            presigned_add(&cache->presigned, sigv4->signature, &text);
    }
    if (may_recur)
        explicit_bzero(&text, sizeof text);
    return verifies ? S3_E(None) : S3_E(SignatureDoesNotMatch);
}

void sigv4_sign(const struct sigv4_request *request, const struct sigv4 *sigv4, struct bytes secret,
                char out[65])
{
    struct hmac_key key;
    derive_hmac_key(secret, sigv4->date, sigv4->region, &key);
    sign_request(request, sigv4, &key, PATH_CANONICAL, out);
}

/* ---- bodies and forms ---- */

static void sign_next(const struct sigv4 *sigv4, const char *algorithm, const char previous[65],
                      const char *middle, const uint8_t sha256_bytes[32], char out[65])
{
    char hex[65], memory[512];
    hex_encode(sha256_bytes, 32, hex);
    struct buf text = BUF_ON(memory);
    buf_put_string(&text, algorithm);
    buf_put_char(&text, '\n');
    buf_put_string(&text, sigv4->time);
    buf_put_char(&text, '\n');
    buf_put(&text, sigv4->scope);
    buf_put_char(&text, '\n');
    buf_put_string(&text, previous);
    buf_put_char(&text, '\n');
    buf_put_string(&text, middle);
    buf_put_string(&text, hex);
    sign_text(&sigv4->signing_key, &text, out);
}

void sigv4_chunk_signature(const struct sigv4 *sigv4, const char previous[65],
                           const uint8_t chunk_sha256[32], char out[65])
{
    sign_next(sigv4, "AWS4-HMAC-SHA256-PAYLOAD", previous, EMPTY_SHA256 "\n", chunk_sha256, out);
}

void sigv4_trailer_signature(const struct sigv4 *sigv4, const char previous[65],
                             const uint8_t trailer_sha256[32], char out[65])
{
    sign_next(sigv4, "AWS4-HMAC-SHA256-TRAILER", previous, "", trailer_sha256, out);
}

void sigv4_policy_signature(const struct sigv4_credential *credential, struct bytes secret,
                            struct bytes policy, char out[65])
{
    uint8_t key[32], mac[32];
    derive_key(secret, credential->date, credential->region, key);
    hmac_sha256(key, sizeof key, policy.data, policy.size, mac);
    hex_encode(mac, sizeof mac, out);
}
