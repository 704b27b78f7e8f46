/* PutObject: what is promised of a body is held against it, and a body that does not keep its
 * promise leaves nothing. */
#include "tests/unit/s3_harness.h"

static int setup(void **state)
{
    int rc = node_setup(state);
    put_ok(*state, "/bucket", (struct bytes){0});
    return rc;
}

static void bodies_of_every_size_come_back(void **state)
{
    struct node *n = *state;
    static const size_t sizes[] = {0,       1,       4095,    8191,    8192,    8193,
                                   65535,   65536,   65537,   262143,  262144,  262145,
                                   1048575, 1048576, 1048577, 3000001, 17 << 20};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        struct bytes body = noise(sizes[i], i);
        struct answer answer = put(n, "/bucket/key", body);
        assert_answer(answer, 200, NULL);
        uint8_t hash[16];
        char etag[35] = "\"";
        md5(body.data, body.size, hash);
        hex_encode(hash, sizeof hash, etag + 1);
        strcat(etag, "\"");
        assert_true(bytes_equal(answer_header(&answer, "etag"), bytes_of_string(etag)));
        assert_true(bytes_equal(answer_header(&answer, "x-sluice-durable"),
                                BYTES("local:fdatasync replicas:1/1")));
        answer_free(&answer);
        assert_holds(n, "/bucket/key", body);
        free((void *)body.data);
    }
    assert_nothing_reserved(n);
}

static void broken_promises_are_refused_and_leave_nothing(void **state)
{
    struct node *n = *state;
    static const struct {
        struct header header;
        const char *payload;
        int status;
        const char *code;
    } rows[] = {
        {{"content-md5", "XUFAKrxLKna5cZ2REBfFkg=="}, NULL, 200, NULL},
        {{"content-md5", "1B2M2Y8AsgTpgAmY7PhCfg=="}, NULL, 400, "BadDigest"},
        {{"content-md5", "XUFAKrxLKna5cZ2REBfF"}, NULL, 400, "InvalidDigest"},
        {{"x-amz-checksum-crc32", "NhCmhg=="}, NULL, 200, NULL},
        {{"x-amz-checksum-crc32", "NhCmhw=="}, NULL, 400, "BadDigest"},
        {{"x-amz-checksum-crc32", "NhCm"}, NULL, 400, "InvalidRequest"},
        {{"x-amz-checksum-sha256", "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="},
         NULL,
         200,
         NULL},
        {{"x-amz-checksum-sha256", "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCU="},
         NULL,
         400,
         "BadDigest"},
        {{NULL}, EMPTY_HASH, 400, "XAmzContentSHA256Mismatch"},
        {{NULL}, "UNSIGNED-PAYLOAD", 200, NULL},
        {{NULL}, "nonsense", 400, "InvalidArgument"},
        {{"x-amz-server-side-encryption", "AES256"}, NULL, 501, "NotImplemented"},
        {{"x-amz-acl", "private"}, NULL, 200, NULL},
        {{"x-amz-acl", "public-read"}, NULL, 400, "AccessControlListNotSupported"},
        {{"x-amz-tagging", "a=b"}, NULL, 501, "NotImplemented"},
        {{"x-amz-object-lock-legal-hold", "ON"}, NULL, 501, "NotImplemented"},
        {{"x-amz-storage-class", "TAPE"}, NULL, 400, "InvalidStorageClass"},
        {{"x-amz-expected-bucket-owner", "123456789012"}, NULL, 403, "AccessDenied"},
        {{"if-match", "\"5d41402abc4b2a76b9719d911017c592\""}, NULL, 404, "NoSuchKey"},
        {{"if-none-match", "*"}, NULL, 200, NULL},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct request request = {.method = "PUT",
                                  .path = "/bucket/hello",
                                  .body = BYTES("hello"),
                                  .headers = {rows[i].header},
                                  .payload = rows[i].payload};
        struct answer answer = send_request(n, &request);
        assert_answer(answer, rows[i].status, rows[i].code);
        answer_free(&answer);
        if (rows[i].status == 200)
            assert_holds(n, "/bucket/hello", BYTES("hello"));
        else
            assert_absent(n, "/bucket/hello");
        expect(n, ASK(.method = "DELETE", .path = "/bucket/hello"), 204, NULL);
    }
    assert_nothing_reserved(n);
}

static void lengths_are_judged(void **state)
{
    struct node *n = *state;
    expect(n, ASK(.method = "PUT", .path = "/bucket/k", .length = ""), 411, "MissingContentLength");
    expect(n, ASK(.method = "PUT", .path = "/bucket/k", .length = "5368709121"), 400,
           "EntityTooLarge");
    expect(n, ASK(.method = "PUT", .path = "/bucket/k", .query = "uploadId=x"), 400,
           "InvalidArgument");
    /* A body that stops short. */
    struct answer answer;
    struct bytes body = noise(700000, 3);
    int fd = begin_request(n,
                           &(struct request){.method = "PUT",
                                             .path = "/bucket/k",
                                             .payload = "UNSIGNED-PAYLOAD",
                                             .length = "900000"},
                           &answer);
    client_send(fd, body);
    shutdown(fd, SHUT_WR);
    client_receive(fd, &answer);
    close(fd);
    assert_answer(answer, 400, "IncompleteBody");
    answer_free(&answer);
    free((void *)body.data);
    assert_absent(n, "/bucket/k");
    assert_nothing_reserved(n);
}

static void conditions_hold_on_writes(void **state)
{
    struct node *n = *state;
    static const char hello[] = "\"5d41402abc4b2a76b9719d911017c592\"";
    struct request put_if = {.method = "PUT",
                             .path = "/bucket/c",
                             .body = BYTES("hello"),
                             .headers = {{"if-none-match", "*"}}};
    expect(n, ASK(.method = "PUT", .path = "/bucket/c", .headers = {{"if-match", "*"}}), 404,
           "NoSuchKey");
    struct answer answer = send_request(n, &put_if);
    assert_answer(answer, 200, NULL);
    answer_free(&answer);
    answer = send_request(n, &put_if);
    assert_answer(answer, 412, "PreconditionFailed");
    answer_free(&answer);
    put_if.headers[0] = (struct header){"if-match", hello};
    put_if.body = BYTES("other");
    answer = send_request(n, &put_if);
    assert_answer(answer, 200, NULL);
    answer_free(&answer);
    answer = send_request(n, &put_if);
    assert_answer(answer, 412, "PreconditionFailed");
    answer_free(&answer);
    assert_holds(n, "/bucket/c", BYTES("other"));
    expect(n, ASK(.method = "DELETE", .path = "/bucket/c", .headers = {{"if-match", hello}}), 412,
           "PreconditionFailed");
    expect(n, ASK(.method = "DELETE", .path = "/bucket/c"), 204, NULL);
}

/* ---- aws-chunked ---- */

enum harm {
    UNHARMED,
    BAD_CHUNK,
    BAD_TRAILER_SUM,
    BAD_TRAILER_SIGNATURE,
    NO_TRAILER,
    NO_END,
    HARM_COUNT
};

static void put_chunk(struct text_buf *out, const struct answer *signer, char previous[65],
                      struct bytes data, enum harm harm)
{
    uint8_t hash[32];
    char next[65];
    sha256(data.data, data.size, hash);
    sigv4_chunk_signature(&signer->sigv4, previous, hash, next);
    memcpy(previous, next, 65);
    if (harm == BAD_CHUNK && data.size > 0)
        next[0] = next[0] == '0' ? '1' : '0';
    text_printf(out, "%zx;chunk-signature=%s\r\n", data.size, next);
    text_put(out, data);
    text_put_string(out, data.size > 0 ? "\r\n" : "");
}

static void put_trailer(struct text_buf *out, const struct answer *signer, const char previous[65],
                        struct bytes body, enum harm harm)
{
    struct digest crc;
    uint8_t value[DIGEST_BYTES_MAX], hash[32];
    char base64[20], line[80], signature[65];
    assert_int_equal(digest_init(&crc, DIGEST_CRC32C), ERR_OK);
    digest_update(&crc, body.data, body.size);
    digest_final(&crc, value);
    value[0] ^= harm == BAD_TRAILER_SUM;
    base64_encode(value, 4, base64);
    if (harm != NO_TRAILER)
        text_printf(out, "x-amz-checksum-crc32c:%s\r\n", base64);
    snprintf(line, sizeof line, "x-amz-checksum-crc32c:%s\n", base64);
    sha256(line, harm == NO_TRAILER ? 0 : strlen(line), hash);
    sigv4_trailer_signature(&signer->sigv4, previous, hash, signature);
    signature[5] = harm == BAD_TRAILER_SIGNATURE ? (signature[5] == 'a' ? 'b' : 'a') : signature[5];
    text_printf(out, "x-amz-trailer-signature:%s\r\n", signature);
}

static void signed_chunks_are_verified_one_by_one(void **state)
{
    struct node *n = *state;
    static const struct {
        int status;
        const char *code;
    } outcomes[HARM_COUNT] = {
        [UNHARMED] = {200, NULL},
        [BAD_CHUNK] = {403, "SignatureDoesNotMatch"},
        [BAD_TRAILER_SUM] = {400, "BadDigest"},
        [BAD_TRAILER_SIGNATURE] = {403, "SignatureDoesNotMatch"},
        [NO_TRAILER] = {400, "InvalidRequest"},
        [NO_END] = {400, "IncompleteBody"},
    };
    struct bytes body = noise(1500000, 9);
    for (enum harm harm = UNHARMED; harm < HARM_COUNT; harm++) {
        struct answer answer;
        struct text_buf text = {0};
        char previous[65], length[24];
        size_t framed = 0;
        /* Twice the same: once to learn how long it is, since the length is in the head. */
        for (int pass = 0; pass < 2; pass++) {
            snprintf(length, sizeof length, "%zu", framed);
            struct request request = {
                .method = "PUT",
                .path = "/bucket/chunked",
                .headers = {{"x-amz-decoded-content-length", "1500000"},
                            {"x-amz-trailer", "x-amz-checksum-crc32c"},
                            {"content-encoding", "aws-chunked"}},
                .payload = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
                .length = length,
            };
            if (pass == 0) { /* not sent: no node listens to it */
                snprintf(length, sizeof length, "1");
            }
            int fd = pass == 1 ? begin_request(n, &request, &answer) : -1;
            if (pass == 0) {
                answer = (struct answer){0};
                s3_time_basic(0, answer.sigv4.time);
                answer.sigv4.scope = BYTES("x");
                memset(answer.sigv4.signature, '0', 64);
            }
            memcpy(previous, answer.sigv4.signature, sizeof previous);
            text_free(&text);
            for (size_t at = 0; at < body.size; at += 70001)
                put_chunk(&text, &answer, previous, bytes_slice(body, at, 70001), harm);
            if (harm != NO_END) {
                put_chunk(&text, &answer, previous, (struct bytes){0}, harm);
                put_trailer(&text, &answer, previous, body, harm);
                text_put_string(&text, "\r\n");
            }
            framed = text.size;
            if (pass == 1) {
                client_send(fd, text_bytes(&text));
                shutdown(fd, SHUT_WR);
                client_receive(fd, &answer);
                close(fd);
            }
        }
        text_free(&text);
        assert_answer(answer, outcomes[harm].status, outcomes[harm].code);
        if (harm == UNHARMED) {
            assert_int_not_equal(answer_header(&answer, "x-amz-checksum-crc32c").size, 0);
            assert_holds(n, "/bucket/chunked", body);
            expect(n, ASK(.method = "DELETE", .path = "/bucket/chunked"), 204, NULL);
        }
        answer_free(&answer);
        assert_absent(n, "/bucket/chunked");
    }
    free((void *)body.data);
    assert_nothing_reserved(n);
}

/* ---- failures below ---- */

/*
 * The nth operation of the disk fails, for every n until a put meets none. What was not
 * acknowledged is there wholly or not at all, nothing stays reserved, and no answer but 200 and 5xx
 * is given. A volume that failed for good is made anew.
 */
static void a_failing_disk_leaves_nothing_half_done(void **state)
{
    struct bytes body = noise(700001, 5);
    for (unsigned nth = 1; nth < 60; nth++) {
        struct node *n = *state;
        disk_sim_fail_nth(n->sim, nth, ERR_IO);
        struct answer answer = put(n, "/bucket/faulty", body);
        bool fired = disk_sim_fault_fired(n->sim);
        disk_sim_fail_nth(n->sim, 0, ERR_OK);
        if (answer.status != 200 && answer.status < 500)
            assert_answer(answer, 503, NULL);
        bool is_there = answer.status == 200;
        answer_free(&answer);
        struct answer back = get(n, "/bucket/faulty");
        if (is_there || back.status == 200) {
            assert_answer(back, 200, NULL);
            assert_int_equal(back.body.size, body.size);
            assert_memory_equal(back.body.data, body.data, body.size);
        }
        answer_free(&back);
        assert_nothing_reserved(n);
        if (!fired) {
            assert_true(is_there);
            free((void *)body.data);
            return;
        }
        node_teardown(state);
        setup(state);
    }
    fail_msg("the disk is asked for ever");
}

static void a_failing_index_is_an_error_of_ours(void **state)
{
    for (unsigned nth = 1; nth < 60; nth++) {
        struct node *n = *state;
        kv_sim_fail_nth(n->kv, nth, ERR_IO);
        struct answer answer = put(n, "/bucket/faulty", BYTES("small"));
        bool fired = kv_sim_fault_fired(n->kv);
        kv_sim_fail_nth(n->kv, 0, ERR_OK);
        if (answer.status != 200 && answer.status < 500)
            assert_answer(answer, 503, NULL);
        if (answer.status == 200)
            assert_holds(n, "/bucket/faulty", BYTES("small"));
        answer_free(&answer);
        assert_nothing_reserved(n);
        if (!fired)
            return;
        node_teardown(state);
        setup(state);
    }
    fail_msg("the index is asked for ever");
}

/* ---- reading ---- */

static void ranges_and_conditions_of_reads(void **state)
{
    struct node *n = *state;
    struct bytes body = noise(300000, 4);
    put_ok(n, "/bucket/r", body);
    static const struct {
        const char *range;
        int status;
        size_t from, size;
        const char *content_range;
    } rows[] = {
        {"bytes=0-0", 206, 0, 1, "bytes 0-0/300000"},
        {"bytes=65530-65545", 206, 65530, 16, "bytes 65530-65545/300000"},
        {"bytes=299999-", 206, 299999, 1, "bytes 299999-299999/300000"},
        {"bytes=-5", 206, 299995, 5, "bytes 299995-299999/300000"},
        {"bytes=-999999", 206, 0, 300000, "bytes 0-299999/300000"},
        {"bytes=1-999999999", 206, 1, 299999, "bytes 1-299999/300000"},
        {"bytes=300000-", 416, 0, 0, "bytes */300000"},
        {"bytes=-0", 416, 0, 0, "bytes */300000"},
        {"bytes=5-2", 200, 0, 300000, NULL},
        {"lines=1-2", 200, 0, 300000, NULL},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct request request = {
            .method = "GET", .path = "/bucket/r", .headers = {{"range", rows[i].range}}};
        struct answer answer = send_request(n, &request);
        assert_answer(answer, rows[i].status, rows[i].status == 416 ? "InvalidRange" : NULL);
        assert_true(bytes_equal(answer_header(&answer, "content-range"),
                                bytes_of_string(rows[i].content_range)));
        if (rows[i].status != 416) {
            assert_int_equal(answer.body.size, rows[i].size);
            assert_memory_equal(answer.body.data, body.data + rows[i].from, rows[i].size);
        }
        answer_free(&answer);
        request.method = "HEAD";
        answer = send_request(n, &request);
        assert_answer(answer, rows[i].status, NULL);
        assert_int_equal(answer.body.size, 0);
        answer_free(&answer);
    }
    free((void *)body.data);
    expect(n, ASK(.method = "GET", .path = "/bucket/r", .query = "versionId=x"), 400,
           "InvalidArgument");
    expect(n, ASK(.method = "GET", .path = "/bucket/r", .query = "partNumber=1"), 206, NULL);
    expect(n, ASK(.method = "GET", .path = "/bucket/r", .query = "partNumber=2"), 416,
           "InvalidPartNumber");
    expect(n, ASK(.method = "GET", .path = "/bucket/r", .headers = {{"if-match", "\"x\""}}), 412,
           "PreconditionFailed");
    expect(n, ASK(.method = "GET", .path = "/bucket/r", .headers = {{"if-none-match", "*"}}), 304,
           NULL);
}

static void metadata_comes_back(void **state)
{
    struct node *n = *state;
    expect(n,
           ASK(.method = "PUT", .path = "/bucket/m", .body = BYTES("x"),
               .headers = {{"content-type", "text/x"},
                           {"x-amz-meta-Colour", "blue"},
                           {"cache-control", "no-store"},
                           {"x-amz-storage-class", "GLACIER"}}),
           200, NULL);
    struct answer answer = send_request(
        n, &(struct request){.method = "GET",
                             .path = "/bucket/m",
                             .query = "response-content-type=a%2Fb&response-expires=never",
                             .headers = {{"x-amz-checksum-mode", "ENABLED"}}});
    assert_answer(answer, 200, NULL);
    assert_true(bytes_equal(answer_header(&answer, "content-type"), BYTES("a/b")));
    assert_true(bytes_equal(answer_header(&answer, "expires"), BYTES("never")));
    assert_true(bytes_equal(answer_header(&answer, "cache-control"), BYTES("no-store")));
    assert_true(bytes_equal(answer_header(&answer, "x-amz-meta-colour"), BYTES("blue")));
    assert_true(bytes_equal(answer_header(&answer, "x-amz-storage-class"), BYTES("GLACIER")));
    assert_true(bytes_equal(answer_header(&answer, "x-amz-checksum-type"), BYTES("FULL_OBJECT")));
    assert_int_not_equal(answer_header(&answer, "x-amz-checksum-crc64nvme").size, 0);
    answer_free(&answer);
}

/* ---- who may ---- */

static void keys_do_what_their_grants_allow(void **state)
{
    struct node *n = *state;
    static const struct access_key reader = {.id = "READER",
                                             .secret = "reader-secret",
                                             .grant_count = 1,
                                             .grants = {{"bucket", GRANT_READ}},
                                             .owner = "somebody"};
    struct access_key root;
    struct access_key draft = reader;
    assert_int_equal(keyring_find(n->keyring, BYTES(ROOT_ID), &root), ERR_OK);
    memcpy(draft.owner, root.owner, sizeof draft.owner);
    node_add_key(n, &draft);
    node_add_key(n, &(struct access_key){.id = "STRANGER", .secret = "stranger-secret"});
    put_ok(n, "/bucket/k", BYTES("x"));
    static const struct {
        const char *method, *path, *query, *id, *secret;
        int status;
        const char *code;
    } rows[] = {
        {"GET", "/bucket/k", NULL, "READER", "reader-secret", 200, NULL},
        {"GET", "/bucket", "list-type=2", "READER", "reader-secret", 200, NULL},
        {"PUT", "/bucket/k", NULL, "READER", "reader-secret", 403, "AccessDenied"},
        {"DELETE", "/bucket/k", NULL, "READER", "reader-secret", 403, "AccessDenied"},
        {"DELETE", "/bucket", NULL, "READER", "reader-secret", 403, "AccessDenied"},
        {"PUT", "/made-by-reader", NULL, "READER", "reader-secret", 403, "AccessDenied"},
        {"GET", "/bucket/k", NULL, "READER", "wrong-secret", 403, "SignatureDoesNotMatch"},
        {"GET", "/bucket/k", NULL, "NOBODY", "wrong-secret", 403, "InvalidAccessKeyId"},
        {"GET", "/bucket/k", NULL, "STRANGER", "stranger-secret", 403, "AccessDenied"},
        {"PUT", "/bucket", NULL, "STRANGER", "stranger-secret", 409, "BucketAlreadyExists"},
        {"PUT", "/bucket", NULL, NULL, NULL, 409, "BucketAlreadyOwnedByYou"},
        {"PUT", "/strangers", NULL, "STRANGER", "stranger-secret", 200, NULL},
        {"GET", "/nowhere/k", NULL, NULL, NULL, 404, "NoSuchBucket"},
        {"PUT", "/No_Bucket", NULL, NULL, NULL, 400, "InvalidBucketName"},
        {"DELETE", "/bucket", NULL, NULL, NULL, 409, "BucketNotEmpty"},
        {"GET", "/bucket/k", "acl", NULL, NULL, 200, NULL},
        {"PUT", "/bucket/k", "acl", NULL, NULL, 501, "NotImplemented"},
        {"GET", "/bucket", "website", NULL, NULL, 501, "NotImplemented"},
        {"POST", "/bucket/k", NULL, NULL, NULL, 405, "MethodNotAllowed"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct request request = {.method = rows[i].method,
                                  .path = rows[i].path,
                                  .query = rows[i].query,
                                  .id = rows[i].id,
                                  .secret = rows[i].secret};
        struct answer answer = send_request(n, &request);
        assert_answer(answer, rows[i].status, rows[i].code);
        assert_int_equal(answer_header(&answer, "x-amz-request-id").size, 16);
        answer_free(&answer);
    }
    expect(n, ASK(.method = "GET", .path = "/bucket/k", .is_unsigned = true), 403, "AccessDenied");
    expect(n, ASK(.method = "GET", .path = "/k", .host = "bucket.s3.test"), 200, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(bodies_of_every_size_come_back, setup, node_teardown),
        cmocka_unit_test_setup_teardown(broken_promises_are_refused_and_leave_nothing, setup,
                                        node_teardown),
        cmocka_unit_test_setup_teardown(lengths_are_judged, setup, node_teardown),
        cmocka_unit_test_setup_teardown(conditions_hold_on_writes, setup, node_teardown),
        cmocka_unit_test_setup_teardown(signed_chunks_are_verified_one_by_one, setup,
                                        node_teardown),
        cmocka_unit_test_setup_teardown(a_failing_disk_leaves_nothing_half_done, setup,
                                        node_teardown),
        cmocka_unit_test_setup_teardown(a_failing_index_is_an_error_of_ours, setup, node_teardown),
        cmocka_unit_test_setup_teardown(ranges_and_conditions_of_reads, setup, node_teardown),
        cmocka_unit_test_setup_teardown(metadata_comes_back, setup, node_teardown),
        cmocka_unit_test_setup_teardown(keys_do_what_their_grants_allow, setup, node_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
