/* Signatures against the examples Amazon publishes ("Signature Calculations for the Authorization
 * Header", "... Transferring Payload in Multiple Chunks", "Authenticating Requests: Using Query
 * Parameters"), and what must be refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/s3/sigv4.h"
#include "api/s3/time.h"
#include "base/check.h"
#include "base/digest.h"

#define SECRET BYTES("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
#define EMPTY  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define NOW    1369353600u /* 2013-05-24 00:00:00 */
#define CREDENTIAL                                                                                 \
    "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
#define HOST "examplebucket.s3.amazonaws.com"

struct example {
    const char *name, *method, *path, *query;
    const char *headers[10][2];
    enum sigv4_payload payload;
};

static const struct example examples[] = {
    {"get object",
     "GET",
     "/test.txt",
     "",
     {{"Host", HOST},
      {"Authorization",
       CREDENTIAL "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,Signature="
                  "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
      {"Range", "bytes=0-9"},
      {"x-amz-content-sha256", EMPTY},
      {"x-amz-date", "20130524T000000Z"}},
     SIGV4_PAYLOAD_SHA256},
    {"put object",
     "PUT",
     "/test%24file.text",
     "",
     {{"Host", HOST},
      {"Date", "Fri, 24 May 2013 00:00:00 GMT"},
      {"Authorization", CREDENTIAL
       "SignedHeaders=date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class,Signature="
       "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
      {"x-amz-date", "20130524T000000Z"},
      {"x-amz-storage-class", "REDUCED_REDUNDANCY"},
      {"x-amz-content-sha256", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"}},
     SIGV4_PAYLOAD_SHA256},
    {"bucket lifecycle",
     "GET",
     "/",
     "lifecycle",
     {{"Host", HOST},
      {"Authorization",
       CREDENTIAL "SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature="
                  "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
      {"x-amz-date", "20130524T000000Z"},
      {"x-amz-content-sha256", EMPTY}},
     SIGV4_PAYLOAD_SHA256},
    {"list objects",
     "GET",
     "/",
     "max-keys=2&prefix=J",
     {{"Host", HOST},
      {"Authorization",
       CREDENTIAL "SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature="
                  "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
      {"x-amz-date", "20130524T000000Z"},
      {"x-amz-content-sha256", EMPTY}},
     SIGV4_PAYLOAD_SHA256},
    {"presigned get",
     "GET",
     "/test.txt",
     "X-Amz-Algorithm=AWS4-HMAC-SHA256"
     "&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
     "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
     "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
     {{"Host", HOST}},
     SIGV4_PAYLOAD_UNSIGNED},
    {"chunks",
     "PUT",
     "/examplebucket/chunkObject.txt",
     "",
     {{"Host", "s3.amazonaws.com"},
      {"x-amz-date", "20130524T000000Z"},
      {"x-amz-storage-class", "REDUCED_REDUNDANCY"},
      {"Authorization", CREDENTIAL
       "SignedHeaders=content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;"
       "x-amz-decoded-content-length;x-amz-storage-class,Signature="
       "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"},
      {"x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"},
      {"Content-Encoding", "aws-chunked"},
      {"x-amz-decoded-content-length", "66560"},
      {"Content-Length", "66824"}},
     SIGV4_PAYLOAD_CHUNKS},
};

struct built {
    struct s3_query query;
    struct s3_header headers[12];
    struct sigv4_request request;
};

static void build(const struct example *example, struct built *built)
{
    memset(built, 0, sizeof *built);
    size_t count = 0;
    for (; count < 10 && example->headers[count][0] != NULL; count++)
        built->headers[count] = (struct s3_header){bytes_of_string(example->headers[count][0]),
                                                   bytes_of_string(example->headers[count][1])};
    assert_int_equal(s3_query_parse(bytes_of_string(example->query), &built->query), ERR_OK);
    built->request = (struct sigv4_request){
        .method = bytes_of_string(example->method),
        .path = bytes_of_string(example->path),
        .query = &built->query,
        .query_text = bytes_of_string(example->query),
        .headers = {built->headers, count},
        .now_seconds = NOW,
    };
}

static void published_examples_verify(void **state)
{
    (void)state;
    struct sigv4_cache *cache = calloc(1, sizeof *cache);
    for (size_t round = 0; round < 2; round++) /* the second time keys come from the cache */
        for (size_t i = 0; i < COUNT_OF(examples); i++) {
            struct built built;
            struct sigv4 sigv4;
            build(&examples[i], &built);
            assert_int_equal(sigv4_parse(&built.request, &sigv4), S3_E(None));
            assert_true(bytes_equal(sigv4.access_key, BYTES("AKIAIOSFODNN7EXAMPLE")));
            assert_int_equal(sigv4.payload, examples[i].payload);
            if (sigv4_verify(&built.request, &sigv4, SECRET, cache) != S3_E(None))
                fail_msg("%s: does not verify", examples[i].name);
            assert_int_equal(sigv4_verify(&built.request, &sigv4, BYTES("another secret"), cache),
                             S3_E(SignatureDoesNotMatch));
        }
    free(cache);
}

static void a_change_anywhere_breaks_the_signature(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(examples); i++) {
        struct built built;
        struct sigv4 sigv4;
        build(&examples[i], &built);
        built.request.path = BYTES("/other.txt");
        assert_int_equal(sigv4_parse(&built.request, &sigv4), S3_E(None));
        assert_int_equal(sigv4_verify(&built.request, &sigv4, SECRET, NULL),
                         S3_E(SignatureDoesNotMatch));
        build(&examples[i], &built);
        built.request.method = BYTES("DELETE");
        assert_int_equal(sigv4_verify(&built.request, &sigv4, SECRET, NULL),
                         S3_E(SignatureDoesNotMatch));
        build(&examples[i], &built);
        built.headers[0].value = BYTES("elsewhere.example.com");
        assert_int_equal(sigv4_verify(&built.request, &sigv4, SECRET, NULL),
                         S3_E(SignatureDoesNotMatch));
    }
}

static void a_chain_of_chunks_verifies(void **state)
{
    (void)state;
    static const struct {
        size_t size;
        const char *signature;
    } chunks[] = {
        {65536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"},
        {1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"},
        {0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"},
    };
    struct built built;
    struct sigv4 sigv4;
    build(&examples[5], &built);
    assert_int_equal(sigv4_parse(&built.request, &sigv4), S3_E(None));
    assert_int_equal(sigv4_verify(&built.request, &sigv4, SECRET, NULL), S3_E(None));
    char previous[65], next[65];
    memcpy(previous, sigv4.signature, sizeof previous);
    char *data = malloc(65536);
    memset(data, 'a', 65536);
    for (size_t i = 0; i < COUNT_OF(chunks); i++) {
        uint8_t hash[32];
        sha256(data, chunks[i].size, hash);
        sigv4_chunk_signature(&sigv4, previous, hash, next);
        assert_string_equal(next, chunks[i].signature);
        memcpy(previous, next, sizeof previous);
    }
    free(data);
}

/* "Signature calculations for trailing headers", Amazon S3 API reference. */
static const struct example trailer_example = {
    "chunks and a trailer",
    "PUT",
    "/examplebucket/chunkObject.txt",
    "",
    {{"Host", "s3.amazonaws.com"},
     {"x-amz-date", "20130524T000000Z"},
     {"x-amz-storage-class", "REDUCED_REDUNDANCY"},
     {"Authorization",
      CREDENTIAL "SignedHeaders=content-encoding;host;x-amz-content-sha256;x-amz-date;"
                 "x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer,Signature="
                 "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"},
     {"x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"},
     {"Content-Encoding", "aws-chunked"},
     {"x-amz-decoded-content-length", "66560"},
     {"x-amz-trailer", "x-amz-checksum-crc32c"},
     {"Content-Length", "66946"}},
    SIGV4_PAYLOAD_CHUNKS_TRAILER};

static void a_trailer_ends_the_chain(void **state)
{
    (void)state;
    /* of the last, empty chunk */
    static const char last[65] = "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992";
    struct built built;
    struct sigv4 sigv4;
    build(&trailer_example, &built);
    assert_int_equal(sigv4_parse(&built.request, &sigv4), S3_E(None));
    assert_int_equal(sigv4.payload, SIGV4_PAYLOAD_CHUNKS_TRAILER);
    assert_int_equal(sigv4_verify(&built.request, &sigv4, SECRET, NULL), S3_E(None));
    uint8_t hash[32];
    char signature[65];
    sha256("x-amz-checksum-crc32c:sOO8/Q==\n", 31, hash);
    sigv4_trailer_signature(&sigv4, last, hash, signature);
    assert_string_equal(signature,
                        "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435");
}

/* "Browser-based upload using HTTP POST", Amazon S3 API reference. */
static void a_published_policy_is_signed_as_published(void **state)
{
    (void)state;
    static const char policy[] =
        "eyAiZXhwaXJhdGlvbiI6ICIyMDE1LTEyLTMwVDEyOjAwOjAwLjAwMFoiLA0KICAiY29uZGl0aW9ucyI6IFsNCiAg"
        "ICB7ImJ1Y2tldCI6ICJzaWd2NGV4YW1wbGVidWNrZXQifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRrZXkiLCAi"
        "dXNlci91c2VyMS8iXSwNCiAgICB7ImFjbCI6ICJwdWJsaWMtcmVhZCJ9LA0KICAgIHsic3VjY2Vzc19hY3Rpb25f"
        "cmVkaXJlY3QiOiAiaHR0cDovL3NpZ3Y0ZXhhbXBsZWJ1Y2tldC5zMy5hbWF6b25hd3MuY29tL3N1Y2Nlc3NmdWxf"
        "dXBsb2FkLmh0bWwifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRDb250ZW50LVR5cGUiLCAiaW1hZ2UvIl0sDQog"
        "ICAgeyJ4LWFtei1tZXRhLXV1aWQiOiAiMTQzNjUxMjM2NTEyNzQifSwNCiAgICB7IngtYW16LXNlcnZlci1zaWRl"
        "LWVuY3J5cHRpb24iOiAiQUVTMjU2In0sDQogICAgWyJzdGFydHMtd2l0aCIsICIkeC1hbXotbWV0YS10YWciLCAi"
        "Il0sDQoNCiAgICB7IngtYW16LWNyZWRlbnRpYWwiOiAiQUtJQUlPU0ZPRE5ON0VYQU1QTEUvMjAxNTEyMjkvdXMt"
        "ZWFzdC0xL3MzL2F3czRfcmVxdWVzdCJ9LA0KICAgIHsieC1hbXotYWxnb3JpdGhtIjogIkFXUzQtSE1BQy1TSEEy"
        "NTYifSwNCiAgICB7IngtYW16LWRhdGUiOiAiMjAxNTEyMjlUMDAwMDAwWiIgfQ0KICBdDQp9";
    struct sigv4_credential credential;
    char signature[65];
    assert_true(sigv4_credential_parse(
        BYTES("AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request"), &credential));
    sigv4_policy_signature(&credential, SECRET, BYTES(policy), signature);
    assert_string_equal(signature,
                        "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e");
}

/* Date, region and secret are three things, whatever they spell together. */
static void a_cached_key_is_found_by_its_own_name_alone(void **state)
{
    (void)state;
    static const struct {
        struct bytes region, secret;
    } rows[] = {
        {{"us", 2}, {"-east-1secret", 13}},
        {{"us-east-1", 9}, {"secret", 6}},
        {{"us-east-1s", 10}, {"ecret", 5}},
    };
    struct sigv4_cache *cache = calloc(1, sizeof *cache);
    for (size_t round = 0; round < 2; round++)
        for (size_t i = 0; i < COUNT_OF(rows); i++) {
            struct built built;
            struct sigv4 with, without;
            build(&examples[0], &built);
            assert_int_equal(sigv4_parse(&built.request, &with), S3_E(None));
            with.region = rows[i].region;
            without = with;
            (void)sigv4_verify(&built.request, &with, rows[i].secret, cache);
            (void)sigv4_verify(&built.request, &without, rows[i].secret, NULL);
            assert_memory_equal(&with.signing_key, &without.signing_key, sizeof with.signing_key);
        }
    free(cache);
}

/* ---- presigned URLs that are asked for again ---- */

/* Whether it verified without a hash: the signing key was left as it was. */
static bool verifies_from_memory(const struct built *built, struct bytes secret,
                                 struct sigv4_cache *cache)
{
    struct sigv4 sigv4;
    static const struct hmac_key untouched = {.inner = {1, 2, 3}};
    assert_int_equal(sigv4_parse(&built->request, &sigv4), S3_E(None));
    sigv4.signing_key = untouched;
    assert_int_equal(sigv4_verify(&built->request, &sigv4, secret, cache), S3_E(None));
    return memcmp(&sigv4.signing_key, &untouched, sizeof untouched) == 0;
}

static enum s3_error verify_with(const struct built *built, struct bytes secret,
                                 struct sigv4_cache *cache)
{
    struct sigv4 sigv4;
    assert_int_equal(sigv4_parse(&built->request, &sigv4), S3_E(None));
    return sigv4_verify(&built->request, &sigv4, secret, cache);
}

/* Signs what is built, whose query ends with X-Amz-Signature=, and puts the signature behind it. */
static void sign_again(struct built *built, char *query, size_t size)
{
    struct sigv4 sigv4;
    char signature[65];
    size_t end = strlen(query);
    assert_true(end + 65 <= size);
    assert_int_equal(s3_query_parse(bytes_of_string(query), &built->query), ERR_OK);
    assert_int_equal(sigv4_parse(&built->request, &sigv4), S3_E(None));
    sigv4_sign(&built->request, &sigv4, SECRET, signature);
    memcpy(query + end, signature, sizeof signature);
    assert_int_equal(s3_query_parse(bytes_of_string(query), &built->query), ERR_OK);
    built->request.query_text = bytes_of_string(query);
}

static const struct example *presigned_example(void)
{
    for (size_t i = 0; i < COUNT_OF(examples); i++)
        if (strcmp(examples[i].name, "presigned get") == 0)
            return &examples[i];
    fail();
    return NULL;
}

static void a_presigned_url_is_hashed_once(void **state)
{
    (void)state;
    struct sigv4_cache *cache = calloc(1, sizeof *cache);
    struct built built;
    build(presigned_example(), &built);
    assert_false(verifies_from_memory(&built, SECRET, cache));
    assert_true(verifies_from_memory(&built, SECRET, cache));
    assert_false(verifies_from_memory(&built, SECRET, NULL));

    /* what is signed in a header has another time each time: not worth remembering */
    build(&examples[0], &built);
    assert_false(verifies_from_memory(&built, SECRET, cache));
    assert_false(verifies_from_memory(&built, SECRET, cache));
    free(cache);
}

/* What is remembered helps nobody who changes a byte of what was signed, nor who lost his key. */
static void a_remembered_url_is_compared_whole(void **state)
{
    (void)state;
    struct sigv4_cache *cache = calloc(1, sizeof *cache);
    struct built built;
    build(presigned_example(), &built);
    assert_int_equal(verify_with(&built, SECRET, cache), S3_E(None));

    assert_int_equal(verify_with(&built, BYTES("another secret"), cache),
                     S3_E(SignatureDoesNotMatch));
    /* Any one character of the query. */
    for (size_t i = 0; i < strlen(presigned_example()->query); i++) {
        char query[512];
        struct sigv4 sigv4;
        build(presigned_example(), &built);
        strcpy(query, presigned_example()->query);
        query[i] ^= 1;
        if (s3_query_parse(bytes_of_string(query), &built.query) != ERR_OK)
            continue;
        built.request.query_text = bytes_of_string(query);
        if (sigv4_parse(&built.request, &sigv4) == S3_E(None) && !sigv4.is_anonymous)
            assert_int_equal(sigv4_verify(&built.request, &sigv4, SECRET, cache),
                             S3_E(SignatureDoesNotMatch));
    }
    static const struct {
        struct bytes method, path, host;
    } rows[] = {
        {{"HEAD", 4}, {"/test.txt", 9}, {HOST, sizeof HOST - 1}},
        {{"GET", 3}, {"/test.txu", 9}, {HOST, sizeof HOST - 1}},
        {{"GET", 3}, {"/test.txt", 9}, {"elsewhere.example.com", 21}},
        {{"GET", 3}, {"/test.txt", 9}, {"", 0}},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        build(presigned_example(), &built);
        built.request.method = rows[i].method;
        built.request.path = rows[i].path;
        built.headers[0].value = rows[i].host;
        assert_int_equal(verify_with(&built, SECRET, cache), S3_E(SignatureDoesNotMatch));
    }
    build(presigned_example(), &built); /* a second Host is signed with the first, as "a,b" */
    built.headers[1] = built.headers[0];
    built.request.headers.count = 2;
    assert_int_equal(verify_with(&built, SECRET, cache), S3_E(SignatureDoesNotMatch));

    build(presigned_example(), &built);
    assert_true(verifies_from_memory(&built, SECRET, cache)); /* and is still there */
    built.request.now_seconds = NOW + 86401;
    struct sigv4 sigv4;
    assert_int_equal(sigv4_parse(&built.request, &sigv4), S3_E(AccessDenied)); /* but expires */
    free(cache);
}

#define PRESIGNED_QUERY                                                                            \
    "X-Amz-Algorithm=AWS4-HMAC-SHA256"                                                             \
    "&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"            \
    "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"

static void what_cannot_be_remembered_is_checked_each_time(void **state)
{
    (void)state;
    struct sigv4_cache *cache = calloc(1, sizeof *cache);
    struct built built;
    char query[2048];
    char filler[1001] = {0};
    memset(filler, 'x', sizeof filler - 1);
    const struct {
        const char *what, *params;
    } rows[] = {
        {"chunks, which go on from the signing key",
         "&X-Amz-Content-Sha256=STREAMING-AWS4-HMAC-SHA256-PAYLOAD&X-Amz-Signature="},
        {"a signed body", "&X-Amz-Content-Sha256=" EMPTY "&X-Amz-Signature="},
        {"a long one", NULL},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        build(presigned_example(), &built);
        if (rows[i].params != NULL)
            snprintf(query, sizeof query, "%s%s", PRESIGNED_QUERY, rows[i].params);
        else
            snprintf(query, sizeof query, "%s&prefix=%s&X-Amz-Signature=", PRESIGNED_QUERY, filler);
        sign_again(&built, query, sizeof query);
        for (size_t round = 0; round < 2; round++)
            if (verifies_from_memory(&built, SECRET, cache))
                fail_msg("%s was remembered", rows[i].what);
    }
    free(cache);
}

/* More URLs than there is room for: each verifies, whether or not it is still there. */
static void more_urls_than_are_remembered_all_verify(void **state)
{
    (void)state;
    struct sigv4_cache *cache = calloc(1, sizeof *cache);
    unsigned remembered = 0;
    for (size_t round = 0; round < 2; round++)
        for (size_t i = 0; i < 2 * PRESIGNED_ENTRIES; i++) {
            struct built built;
            char query[512];
            build(presigned_example(), &built);
            snprintf(query, sizeof query, "%s&marker=%zu&X-Amz-Signature=", PRESIGNED_QUERY, i);
            sign_again(&built, query, sizeof query);
            remembered += verifies_from_memory(&built, SECRET, cache);
        }
    assert_in_range(remembered, 1, 2 * PRESIGNED_ENTRIES);
    free(cache);
}

/* ---- what is refused before any secret is asked for ---- */

static enum s3_error parse_with(const char *header, const char *value, uint64_t now)
{
    struct built built;
    struct sigv4 sigv4;
    build(&examples[0], &built);
    built.request.now_seconds = now;
    for (size_t i = 0; header != NULL && i < built.request.headers.count; i++)
        if (bytes_equal_nocase(built.headers[i].name, bytes_of_string(header)))
            built.headers[i].value = bytes_of_string(value);
    return sigv4_parse(&built.request, &sigv4);
}

static void clocks_apart_by_a_quarter_of_an_hour_are_refused(void **state)
{
    (void)state;
    assert_int_equal(parse_with(NULL, NULL, NOW + 900), S3_E(None));
    assert_int_equal(parse_with(NULL, NULL, NOW + 901), S3_E(RequestTimeTooSkewed));
    assert_int_equal(parse_with(NULL, NULL, NOW - 900), S3_E(None));
    assert_int_equal(parse_with(NULL, NULL, NOW - 901), S3_E(RequestTimeTooSkewed));
}

static void malformed_headers_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        enum s3_error error;
    } rows[] = {
        {"AWS AKIAIOSFODNN7EXAMPLE:frJIUN8DYpKDtOLCwo//yllqDzg=", S3_E(InvalidRequest)},
        {"", S3_E(InvalidArgument)},
        {"Bearer token", S3_E(InvalidArgument)},
        {"AWS4-HMAC-SHA256", S3_E(AuthorizationHeaderMalformed)},
        {"AWS4-HMAC-SHA256 Credential=A/20130524/us-east-1/s3,SignedHeaders=host,Signature=" EMPTY,
         S3_E(AuthorizationHeaderMalformed)},
        {"AWS4-HMAC-SHA256 Credential=A/20130524/us-east-1/sqs/aws4_request,"
         "SignedHeaders=host,Signature=" EMPTY,
         S3_E(AuthorizationHeaderMalformed)},
        {"AWS4-HMAC-SHA256 Credential=A/20130525/us-east-1/s3/aws4_request,"
         "SignedHeaders=host,Signature=" EMPTY,
         S3_E(AuthorizationHeaderMalformed)},
        {CREDENTIAL "SignedHeaders=host,Signature=1234", S3_E(AuthorizationHeaderMalformed)},
        {CREDENTIAL "Signature=" EMPTY, S3_E(AuthorizationHeaderMalformed)},
        /* what is there must be signed */
        {CREDENTIAL "SignedHeaders=host,Signature=" EMPTY, S3_E(AccessDenied)},
        {CREDENTIAL "SignedHeaders=x-amz-content-sha256;x-amz-date,Signature=" EMPTY,
         S3_E(AccessDenied)},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        assert_int_equal(parse_with("Authorization", rows[i].value, NOW), rows[i].error);
    assert_int_equal(parse_with("x-amz-content-sha256", "sha", NOW), S3_E(InvalidArgument));
    assert_int_equal(parse_with("x-amz-date", "yesterday", NOW),
                     S3_E(AuthorizationHeaderMalformed));
}

static void presigned_urls_expire(void **state)
{
    (void)state;
    struct built built;
    struct sigv4 sigv4;
    build(&examples[4], &built);
    built.request.now_seconds = NOW + 86400;
    assert_int_equal(sigv4_parse(&built.request, &sigv4), S3_E(None));
    built.request.now_seconds = NOW + 86401;
    assert_int_equal(sigv4_parse(&built.request, &sigv4), S3_E(AccessDenied));
    assert_string_equal(sigv4.message, "Request has expired");
}

static void no_signature_is_anonymous(void **state)
{
    (void)state;
    const struct example plain = {"", "GET", "/b/k", "prefix=x", {{"Host", HOST}}, 0};
    struct built built;
    struct sigv4 sigv4;
    build(&plain, &built);
    assert_int_equal(sigv4_parse(&built.request, &sigv4), S3_E(None));
    assert_true(sigv4.is_anonymous);
}

/* A client that leaves bytes unencoded in the path signs either what it sends or S3's canonical
 * form. */
static void a_path_sent_unencoded_verifies_either_way(void **state)
{
    (void)state;
    const struct example odd = {
        "",
        "GET",
        "/b/a(1)+b",
        "",
        {{"Host", HOST},
         {"Authorization",
          CREDENTIAL "SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature=" EMPTY},
         {"x-amz-date", "20130524T000000Z"},
         {"x-amz-content-sha256", EMPTY}},
        0};
    static const char *const signed_paths[] = {"/b/a(1)+b", "/b/a%281%29%2Bb"};
    for (size_t i = 0; i < COUNT_OF(signed_paths); i++) {
        struct built built;
        struct sigv4 sigv4;
        build(&odd, &built);
        assert_int_equal(sigv4_parse(&built.request, &sigv4), S3_E(None));
        /* sign by hand over the path as given: hash it as sent */
        uint8_t key[32], hash[32], mac[32];
        char hex[65], text[1024], canonical[1024];
        struct buf c = BUF_ON(canonical), t = BUF_ON(text);
        buf_printf(&c,
                   "GET\n%s\n\nhost:" HOST "\nx-amz-content-sha256:" EMPTY
                   "\nx-amz-date:20130524T000000Z\n\nhost;x-amz-content-sha256;x-amz-date\n" EMPTY,
                   signed_paths[i]);
        sha256(c.data, c.size, hash);
        hex_encode(hash, 32, hex);
        buf_printf(&t, "AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/us-east-1/s3/aws4_request\n%s",
                   hex);
        char first[64];
        struct buf f = BUF_ON(first);
        buf_put_string(&f, "AWS4");
        buf_put(&f, SECRET);
        hmac_sha256(f.data, f.size, "20130524", 8, key);
        hmac_sha256(key, 32, "us-east-1", 9, key);
        hmac_sha256(key, 32, "s3", 2, key);
        hmac_sha256(key, 32, "aws4_request", 12, key);
        hmac_sha256(key, 32, t.data, t.size, mac);
        hex_encode(mac, 32, sigv4.signature);
        assert_int_equal(sigv4_verify(&built.request, &sigv4, SECRET, NULL), S3_E(None));
    }
}

/* As curl 7.88 does it: no x-amz-content-sha256, the hash of no body is signed. */
static void a_missing_payload_hash_means_no_body(void **state)
{
    (void)state;
    static const char empty[] = EMPTY;
    struct built without;
    struct sigv4 sigv4;
    const struct example plain = {
        "",
        "GET",
        "/b/k",
        "",
        {{"Host", HOST},
         {"Authorization", CREDENTIAL "SignedHeaders=host;x-amz-date,Signature=" EMPTY},
         {"x-amz-date", "20130524T000000Z"}},
        0};
    build(&plain, &without);
    assert_int_equal(sigv4_parse(&without.request, &sigv4), S3_E(None));
    assert_int_equal(sigv4.payload, SIGV4_PAYLOAD_SHA256);
    assert_true(bytes_equal(sigv4.payload_text, bytes_of_string(empty)));
    sigv4_sign(&without.request, &sigv4, SECRET, sigv4.signature);
    assert_int_equal(sigv4_verify(&without.request, &sigv4, SECRET, NULL), S3_E(None));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_examples_verify),
        cmocka_unit_test(a_change_anywhere_breaks_the_signature),
        cmocka_unit_test(a_chain_of_chunks_verifies),
        cmocka_unit_test(a_trailer_ends_the_chain),
        cmocka_unit_test(a_published_policy_is_signed_as_published),
        cmocka_unit_test(a_cached_key_is_found_by_its_own_name_alone),
        cmocka_unit_test(a_presigned_url_is_hashed_once),
        cmocka_unit_test(a_remembered_url_is_compared_whole),
        cmocka_unit_test(what_cannot_be_remembered_is_checked_each_time),
        cmocka_unit_test(more_urls_than_are_remembered_all_verify),
        cmocka_unit_test(clocks_apart_by_a_quarter_of_an_hour_are_refused),
        cmocka_unit_test(malformed_headers_are_refused),
        cmocka_unit_test(presigned_urls_expire),
        cmocka_unit_test(no_signature_is_anonymous),
        cmocka_unit_test(a_path_sent_unencoded_verifies_either_way),
        cmocka_unit_test(a_missing_payload_hash_means_no_body),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
