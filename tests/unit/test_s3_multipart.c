/* Uploads in parts, copies, deletions in bulk, and pages of what there is. */
#include "tests/unit/s3_harness.h"

static int setup(void **state)
{
    int rc = node_setup(state);
    put_ok(*state, "/bucket", (struct bytes){0});
    return rc;
}

static void hex_md5(struct bytes bytes, char out[33])
{
    uint8_t hash[16];
    md5(bytes.data, bytes.size, hash);
    hex_encode(hash, sizeof hash, out);
}

/* The id of a new upload of `path`. */
static void begin_upload(struct node *n, const char *path, struct header header, char id[40])
{
    struct answer answer = send_request(
        n,
        &(struct request){.method = "POST", .path = path, .query = "uploads", .headers = {header}});
    assert_answer(answer, 200, NULL);
    struct bytes found = element(answer.body, "UploadId", 0);
    assert_int_equal(found.size, 32);
    memcpy(id, found.data, found.size);
    id[found.size] = '\0';
    answer_free(&answer);
}

static void put_part(struct node *n, const char *path, const char *id, unsigned number,
                     struct bytes body)
{
    char query[100];
    snprintf(query, sizeof query, "partNumber=%u&uploadId=%s", number, id);
    expect(n, ASK(.method = "PUT", .path = path, .query = query, .body = body), 200, NULL);
}

static void add_line(struct text_buf *xml, unsigned number, struct bytes part)
{
    char etag[33];
    hex_md5(part, etag);
    text_printf(xml, "<Part><PartNumber>%u</PartNumber><ETag>&quot;%s&quot;</ETag></Part>", number,
                etag);
}

static struct answer complete(struct node *n, const char *path, const char *id,
                              const struct text_buf *lines, struct header header)
{
    char query[100];
    struct text_buf xml = {0};
    snprintf(query, sizeof query, "uploadId=%s", id);
    text_printf(&xml, "<CompleteMultipartUpload>%s</CompleteMultipartUpload>", lines->data);
    struct answer answer = send_request(n, &(struct request){.method = "POST",
                                                             .path = path,
                                                             .query = query,
                                                             .body = text_bytes(&xml),
                                                             .headers = {header}});
    text_free(&xml);
    return answer;
}

static void parts_become_an_object_and_a_retry_is_answered_alike(void **state)
{
    struct node *n = *state;
    static const char path[] = "/bucket/dir/big";
    struct bytes body = noise((10 << 20) + 12345, 1);
    struct bytes parts[] = {bytes_slice(body, 0, 5 << 20), bytes_slice(body, 5 << 20, 5 << 20),
                            bytes_slice(body, 10 << 20, SIZE_MAX)};
    static const unsigned numbers[] = {2, 7, 10000};
    struct text_buf lines = {0};
    char id[40], etag[64], hex[33];
    uint8_t sums[3 * 16];
    begin_upload(n, path, (struct header){"x-amz-meta-a", "b"}, id);
    put_part(n, path, id, 7, BYTES("to be replaced"));
    for (size_t i = 0; i < 3; i++) {
        put_part(n, path, id, numbers[i], parts[i]);
        add_line(&lines, numbers[i], parts[i]);
        md5(parts[i].data, parts[i].size, sums + 16 * i);
    }
    assert_absent(n, path);
    hex_md5(bytes_of(sums, sizeof sums), hex);
    snprintf(etag, sizeof etag, "&quot;%s-3&quot;", hex);
    for (int retry = 0; retry < 2; retry++) {
        struct answer answer = complete(n, path, id, &lines, (struct header){0});
        assert_answer(answer, 200, NULL);
        assert_true(bytes_equal(element(answer.body, "ETag", 0), bytes_of_string(etag)));
        assert_true(bytes_equal(element(answer.body, "Key", 0), BYTES("dir/big")));
        answer_free(&answer);
    }
    assert_holds(n, path, body);
    text_free(&lines);

    for (unsigned number = 1; number <= 3; number++) {
        char query[32];
        snprintf(query, sizeof query, "partNumber=%u", number);
        struct answer answer =
            send_request(n, &(struct request){.method = "GET", .path = path, .query = query});
        assert_answer(answer, 206, NULL);
        assert_int_equal(answer.body.size, parts[number - 1].size);
        assert_memory_equal(answer.body.data, parts[number - 1].data, answer.body.size);
        assert_true(bytes_equal(answer_header(&answer, "x-amz-mp-parts-count"), BYTES("3")));
        answer_free(&answer);
    }
    expect(n, ASK(.method = "GET", .path = path, .query = "partNumber=4"), 416,
           "InvalidPartNumber");
    struct answer answer = send_request(
        n, &(struct request){.method = "GET",
                             .path = path,
                             .query = "attributes",
                             .headers = {{"x-amz-object-attributes", "ETag,ObjectParts,ObjectSize"},
                                         {"x-amz-max-parts", "2"}}});
    assert_answer(answer, 200, NULL);
    assert_true(bytes_equal(element(answer.body, "PartsCount", 0), BYTES("3")));
    assert_true(bytes_equal(element(answer.body, "IsTruncated", 0), BYTES("true")));
    assert_true(bytes_equal(element(answer.body, "PartNumber", 1), BYTES("7")));
    answer_free(&answer);
    free((void *)body.data);
    assert_nothing_reserved(n);
}

static void what_is_wrong_with_a_completion_is_told(void **state)
{
    struct node *n = *state;
    static const char path[] = "/bucket/wrong";
    struct bytes large = noise(5 << 20, 2), small = BYTES("small");
    struct text_buf lines = {0};
    char id[40];
    begin_upload(n, path, (struct header){"x-amz-checksum-algorithm", "CRC32C"}, id);
    put_part(n, path, id, 1, large);
    put_part(n, path, id, 2, small);
    put_part(n, path, id, 3, small);
    struct {
        unsigned first, second;
        struct bytes body_first, body_second;
        struct header header;
        int status;
        const char *code;
    } rows[] = {
        {1, 4, large, small, {0}, 400, "InvalidPart"},
        {1, 2, large, large, {0}, 400, "InvalidPart"},
        {2, 1, small, large, {0}, 400, "InvalidPartOrder"},
        {1, 1, large, large, {0}, 400, "InvalidPartOrder"},
        {2, 3, small, small, {0}, 400, "EntityTooSmall"},
        {1, 2, large, small, {"x-amz-mp-object-size", "5"}, 400, "InvalidRequest"},
        {1, 2, large, small, {"x-amz-checksum-crc32c", "AAAAAA=="}, 400, "BadDigest"},
        {1, 2, large, small, {"if-match", "*"}, 404, "NoSuchKey"},
        {1, 2, large, small, {"if-none-match", "*"}, 200, NULL},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        text_free(&lines);
        add_line(&lines, rows[i].first, rows[i].body_first);
        add_line(&lines, rows[i].second, rows[i].body_second);
        struct answer answer = complete(n, path, id, &lines, rows[i].header);
        assert_answer(answer, rows[i].status, rows[i].code);
        answer_free(&answer);
    }
    text_free(&lines);
    free((void *)large.data);
    char query[100];
    snprintf(query, sizeof query, "uploadId=%s", id);
    expect(n, ASK(.method = "POST", .path = path, .query = query, .body = BYTES("<a/>")), 400,
           "MalformedXML");
    expect(n, ASK(.method = "DELETE", .path = path, .query = query), 404, "NoSuchUpload");
    expect(n, ASK(.method = "GET", .path = path, .query = "uploadId=none"), 404, "NoSuchUpload");
    snprintf(query, sizeof query, "partNumber=1&uploadId=%s", id);
    expect(n, ASK(.method = "PUT", .path = path, .query = query), 404, "NoSuchUpload");
    snprintf(query, sizeof query, "partNumber=10001&uploadId=%s", id);
    expect(n, ASK(.method = "PUT", .path = path, .query = query), 400, "InvalidArgument");
    expect(n,
           ASK(.method = "POST", .path = path, .query = "uploads",
               .headers = {{"x-amz-checksum-algorithm", "SHA256"},
                           {"x-amz-checksum-type", "FULL_OBJECT"}}),
           400, "InvalidRequest");
    assert_nothing_reserved(n);
}

/* Slices that begin and end anywhere: their MD5 must be that of their bytes, which are read for it.
 */
static void parts_are_made_of_slices_of_objects(void **state)
{
    struct node *n = *state;
    static const char path[] = "/bucket/sliced";
    struct bytes source = noise((7 << 20) + 77, 3);
    static const struct {
        size_t from, to; /* inclusive */
    } slices[] = {{1, 5242881}, {65535, 5308500}, {0, 7340108}, {70000, 70000}};
    struct text_buf lines = {0}, whole = {0};
    char id[40], query[100], range[60], etag[64], hex[33];
    put_ok(n, "/bucket/a%20source+", source);
    begin_upload(n, path, (struct header){0}, id);
    for (unsigned i = 0; i < COUNT_OF(slices); i++) {
        struct bytes slice = bytes_slice(source, slices[i].from, slices[i].to - slices[i].from + 1);
        snprintf(query, sizeof query, "partNumber=%u&uploadId=%s", i + 1, id);
        snprintf(range, sizeof range, "bytes=%zu-%zu", slices[i].from, slices[i].to);
        struct answer answer = send_request(
            n, &(struct request){.method = "PUT",
                                 .path = path,
                                 .query = query,
                                 .headers = {{"x-amz-copy-source", "/bucket/a%20source+"},
                                             {"x-amz-copy-source-range", range}}});
        assert_answer(answer, 200, NULL);
        hex_md5(slice, hex);
        snprintf(etag, sizeof etag, "&quot;%s&quot;", hex);
        assert_true(bytes_equal(element(answer.body, "ETag", 0), bytes_of_string(etag)));
        answer_free(&answer);
        add_line(&lines, i + 1, slice);
        text_put(&whole, slice);
    }
    snprintf(query, sizeof query, "partNumber=9&uploadId=%s", id);
    expect(n,
           ASK(.method = "PUT", .path = path, .query = query,
               .headers = {{"x-amz-copy-source", "bucket/a%20source+"},
                           {"x-amz-copy-source-range", "bytes=0-99999999"}}),
           400, "InvalidArgument");
    struct answer answer = complete(n, path, id, &lines, (struct header){0});
    assert_answer(answer, 200, NULL);
    answer_free(&answer);
    expect(n, ASK(.method = "DELETE", .path = "/bucket/a%20source+"), 204, NULL);
    assert_holds(n, path, text_bytes(&whole)); /* the slices keep what the source let go */
    text_free(&lines);
    text_free(&whole);
    free((void *)source.data);
}

static void copies_share_bytes_and_choose_their_headers(void **state)
{
    struct node *n = *state;
    struct bytes body = noise(300001, 4);
    expect(n,
           ASK(.method = "PUT", .path = "/bucket/one", .body = body,
               .headers = {{"x-amz-meta-a", "1"}, {"content-type", "x/y"}}),
           200, NULL);
    static const struct {
        struct header headers[3];
        int status;
        const char *code;
        const char *type; /* of the copy */
    } rows[] = {
        {{{"x-amz-copy-source", "bucket/one"}}, 200, NULL, "x/y"},
        {{{"x-amz-copy-source", "bucket/one"}, {"content-type", "a/b"}}, 200, NULL, "x/y"},
        {{{"x-amz-copy-source", "bucket/one"},
          {"content-type", "a/b"},
          {"x-amz-metadata-directive", "REPLACE"}},
         200,
         NULL,
         "a/b"},
        {{{"x-amz-copy-source", "bucket/one"}, {"x-amz-checksum-algorithm", "SHA256"}},
         200,
         NULL,
         "x/y"},
        {{{"x-amz-copy-source", "bucket/one"}, {"x-amz-metadata-directive", "MAYBE"}},
         400,
         "InvalidArgument",
         NULL},
        {{{"x-amz-copy-source", "bucket/none"}}, 404, "NoSuchKey", NULL},
        {{{"x-amz-copy-source", "nowhere/one"}}, 404, "NoSuchBucket", NULL},
        {{{"x-amz-copy-source", "bucket"}}, 400, "InvalidArgument", NULL},
        {{{"x-amz-copy-source", "bucket/one?versionId=7"}}, 400, "InvalidArgument", NULL},
        {{{"x-amz-copy-source", "bucket/one"}, {"x-amz-copy-source-if-match", "\"x\""}},
         412,
         "PreconditionFailed",
         NULL},
        {{{"x-amz-copy-source", "bucket/one"}, {"x-amz-copy-source-if-none-match", "*"}},
         412,
         "PreconditionFailed",
         NULL},
        {{{"x-amz-copy-source", "bucket/one"}, {"if-match", "*"}}, 404, "NoSuchKey", NULL},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct request request = {.method = "PUT", .path = "/bucket/two"};
        memcpy(request.headers, rows[i].headers, sizeof rows[i].headers);
        struct answer answer = send_request(n, &request);
        assert_answer(answer, rows[i].status, rows[i].code);
        if (rows[i].type == NULL) {
            answer_free(&answer);
            assert_absent(n, "/bucket/two");
            continue;
        }
        answer_free(&answer);
        answer = get(n, "/bucket/two");
        assert_true(
            bytes_equal(answer_header(&answer, "content-type"), bytes_of_string(rows[i].type)));
        assert_int_equal(answer.body.size, body.size);
        assert_memory_equal(answer.body.data, body.data, body.size);
        answer_free(&answer);
        expect(n, ASK(.method = "DELETE", .path = "/bucket/two"), 204, NULL);
    }
    expect(n,
           ASK(.method = "PUT", .path = "/bucket/one",
               .headers = {{"x-amz-copy-source", "bucket/one"}}),
           400, "InvalidRequest");
    expect(
        n,
        ASK(.method = "PUT", .path = "/bucket/one",
            .headers = {{"x-amz-copy-source", "bucket/one"}, {"x-amz-storage-class", "GLACIER"}}),
        200, NULL);
    assert_holds(n, "/bucket/one", body);
    free((void *)body.data);
}

/* ---- deletions in bulk ---- */

static void a_thousand_keys_go_at_once(void **state)
{
    struct node *n = *state;
    struct text_buf xml = {0};
    for (unsigned i = 0; i < 10; i++) {
        char path[40];
        snprintf(path, sizeof path, "/bucket/%04u", i * 100);
        put_ok(n, path, BYTES("x"));
    }
    text_put_string(&xml, "<Delete>");
    for (unsigned i = 0; i < 1000; i++)
        text_printf(&xml, "<Object><Key>%04u</Key></Object>", i);
    struct text_buf quiet = {0}, much = {0};
    text_printf(&quiet, "%s<Quiet>true</Quiet></Delete>", xml.data);
    text_printf(&much, "%s<Object><Key>a</Key></Object></Delete>", xml.data);
    text_put_string(&xml, "</Delete>");
    uint8_t hash[16];
    char base64[30], base64_much[30];
    md5(xml.data, xml.size, hash);
    base64_encode(hash, sizeof hash, base64);
    md5(much.data, much.size, hash);
    base64_encode(hash, sizeof hash, base64_much);
    struct request request = {.method = "POST",
                              .path = "/bucket",
                              .query = "delete",
                              .body = text_bytes(&xml),
                              .headers = {{"content-md5", base64}}};
    struct answer answer = send_request(n, &request);
    assert_answer(answer, 200, NULL);
    assert_true(bytes_equal(element(answer.body, "Key", 999), BYTES("0999")));
    answer_free(&answer);
    expect(n, ASK(.method = "HEAD", .path = "/bucket/0900"), 404, NULL);
    request.headers[0].name = NULL;
    answer = send_request(n, &request);
    assert_answer(answer, 400, "InvalidRequest"); /* no hash of the list */
    answer_free(&answer);
    request.headers[0] = (struct header){"content-md5", base64_much};
    request.body = text_bytes(&much);
    answer = send_request(n, &request);
    assert_answer(answer, 400, "MalformedXML");
    answer_free(&answer);
    md5(quiet.data, quiet.size, hash);
    base64_encode(hash, sizeof hash, base64);
    request.headers[0].value = base64;
    request.body = text_bytes(&quiet);
    answer = send_request(n, &request);
    assert_answer(answer, 200, NULL);
    assert_false(answer_says(&answer, "<Deleted>"));
    answer_free(&answer);
    text_free(&xml);
    text_free(&quiet);
    text_free(&much);
}

/* ---- pages ---- */

static const char *const keys[] = {"a",   "a/1", "a/2", "a/2/x", "a0",
                                   "b b", "b/1", "b/2", "c%d",   "d&<e>"};
static const char *const paths[] = {
    "/bucket/a",     "/bucket/a/1", "/bucket/a/2", "/bucket/a/2/x", "/bucket/a0",
    "/bucket/b%20b", "/bucket/b/1", "/bucket/b/2", "/bucket/c%25d", "/bucket/d%26%3Ce%3E"};

static void pages_of_every_size_add_up(void **state)
{
    struct node *n = *state;
    for (size_t i = 0; i < COUNT_OF(paths); i++)
        put_ok(n, paths[i], BYTES("x"));
    for (int version = 1; version <= 2; version++)
        for (unsigned size = 1; size <= COUNT_OF(keys) + 1; size++) {
            size_t seen = 0;
            char marker[200] = "";
            for (bool more = true; more;) {
                char query[400];
                const char *form = version == 1 ? "max-keys=%u%s%s" : "list-type=2&max-keys=%u%s%s";
                snprintf(query, sizeof query, form, size,
                         marker[0] == '\0' ? ""
                         : version == 1    ? "&marker="
                                           : "&continuation-token=",
                         marker);
                struct answer answer = send_request(
                    n, &(struct request){.method = "GET", .path = "/bucket", .query = query});
                assert_answer(answer, 200, NULL);
                struct bytes last = {0};
                for (unsigned i = 0;; i++) {
                    struct bytes key = element(answer.body, "Key", i);
                    if (key.data == NULL)
                        break;
                    struct text_buf shown = {0};
                    assert_true(seen < COUNT_OF(keys));
                    for (const char *c = keys[seen]; *c; c++)
                        text_printf(&shown,
                                    *c == '&'   ? "&amp;"
                                    : *c == '<' ? "&lt;"
                                    : *c == '>' ? "&gt;"
                                                : "%c",
                                    *c);
                    assert_true(bytes_equal(key, text_bytes(&shown)));
                    text_free(&shown);
                    last = key;
                    seen++;
                }
                more = answer_says(&answer, "<IsTruncated>true</IsTruncated>");
                if (version == 2)
                    last = element(answer.body, "NextContinuationToken", 0);
                if (more) {
                    struct text_buf encoded = {0};
                    uri_encode(last, URI_SLASH_ENCODED, &encoded);
                    snprintf(marker, sizeof marker, "%s", encoded.data);
                    text_free(&encoded);
                }
                answer_free(&answer);
            }
            assert_int_equal(seen, COUNT_OF(keys));
        }
}

static void prefixes_delimiters_and_arguments(void **state)
{
    struct node *n = *state;
    for (size_t i = 0; i < COUNT_OF(paths); i++)
        put_ok(n, paths[i], BYTES("x"));
    static const struct {
        const char *query;
        int status;
        const char *says, *says_not;
    } rows[] = {
        {"list-type=2&delimiter=%2F", 200, "<KeyCount>7</KeyCount>", "<Key>a/1</Key>"},
        {"list-type=2&delimiter=%2F", 200, "<CommonPrefixes><Prefix>b/</Prefix></CommonPrefixes>",
         NULL},
        {"list-type=2&prefix=a%2F&delimiter=%2F", 200, "<Prefix>a/2/</Prefix>", "<Key>a</Key>"},
        {"list-type=2&delimiter=2", 200, "<Prefix>a/2</Prefix>", "<Key>a/2</Key>"},
        {"list-type=2&start-after=b%2F1", 200, "<StartAfter>b/1</StartAfter>", "<Key>b/1</Key>"},
        {"list-type=2&encoding-type=url", 200, "<Key>c%25d</Key>", "<Key>c%d</Key>"},
        {"list-type=2&encoding-type=url", 200, "<Key>b%20b</Key>", NULL},
        {"list-type=2&fetch-owner=true", 200, "<Owner>", NULL},
        {"list-type=2", 200, "<StorageClass>STANDARD</StorageClass>", "<Owner>"},
        {"list-type=2&max-keys=0", 200, "<IsTruncated>false</IsTruncated>", "<Contents>"},
        {"list-type=2&max-keys=5000", 200, "<MaxKeys>1000</MaxKeys>", NULL},
        {"list-type=2&max-keys=-1", 400, "InvalidArgument", NULL},
        {"list-type=2&max-keys=x", 400, "InvalidArgument", NULL},
        {"list-type=2&encoding-type=utf", 400, "InvalidArgument", NULL},
        {"list-type=2&continuation-token=made-up", 400, "InvalidArgument", NULL},
        {"list-type=2&continuation-token=", 400, "InvalidArgument", NULL},
        {"delimiter=%2F&max-keys=2", 200, "<NextMarker>a/</NextMarker>", NULL},
        {"delimiter=%2F&marker=a%2F", 200, "<Key>a0</Key>", "<Prefix>a/</Prefix>"},
        {"max-keys=2", 200, "<Marker></Marker>", "<NextMarker>"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct answer answer = send_request(
            n, &(struct request){.method = "GET", .path = "/bucket", .query = rows[i].query});
        assert_answer(answer, rows[i].status, NULL);
        if (!answer_says(&answer, rows[i].says) ||
            (rows[i].says_not != NULL && answer_says(&answer, rows[i].says_not)))
            fail_msg("%s: %.*s", rows[i].query, (int)answer.body.size, answer.body.data);
        answer_free(&answer);
    }
}

static void uploads_and_parts_are_listed(void **state)
{
    struct node *n = *state;
    char ids[3][40], query[200];
    begin_upload(n, "/bucket/u/1", (struct header){0}, ids[0]);
    begin_upload(n, "/bucket/u/1", (struct header){0}, ids[1]);
    begin_upload(n, "/bucket/v", (struct header){0}, ids[2]);
    struct answer answer = send_request(
        n, &(struct request){.method = "GET", .path = "/bucket", .query = "uploads&max-uploads=1"});
    assert_answer(answer, 200, NULL);
    assert_true(
        bytes_equal(element(answer.body, "NextUploadIdMarker", 0), bytes_of_string(ids[0])));
    answer_free(&answer);
    snprintf(query, sizeof query, "uploads&key-marker=u%%2F1&upload-id-marker=%s", ids[0]);
    answer = send_request(n, &(struct request){.method = "GET", .path = "/bucket", .query = query});
    assert_answer(answer, 200, NULL);
    assert_true(bytes_equal(element(answer.body, "UploadId", 0), bytes_of_string(ids[1])));
    assert_true(bytes_equal(element(answer.body, "UploadId", 1), bytes_of_string(ids[2])));
    answer_free(&answer);
    expect(
        n,
        ASK(.method = "GET", .path = "/bucket", .query = "uploads&key-marker=a&upload-id-marker=x"),
        400, "InvalidArgument");
    for (unsigned number = 1; number <= 3; number++)
        put_part(n, "/bucket/v", ids[2], number, BYTES("part"));
    snprintf(query, sizeof query, "uploadId=%s&max-parts=2", ids[2]);
    answer =
        send_request(n, &(struct request){.method = "GET", .path = "/bucket/v", .query = query});
    assert_answer(answer, 200, NULL);
    assert_true(bytes_equal(element(answer.body, "NextPartNumberMarker", 0), BYTES("2")));
    assert_true(bytes_equal(element(answer.body, "IsTruncated", 0), BYTES("true")));
    answer_free(&answer);
    for (size_t i = 0; i < 3; i++) {
        snprintf(query, sizeof query, "uploadId=%s", ids[i]);
        expect(n,
               ASK(.method = "DELETE", .path = i < 2 ? "/bucket/u/1" : "/bucket/v", .query = query),
               204, NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(parts_become_an_object_and_a_retry_is_answered_alike, setup,
                                        node_teardown),
        cmocka_unit_test_setup_teardown(what_is_wrong_with_a_completion_is_told, setup,
                                        node_teardown),
        cmocka_unit_test_setup_teardown(parts_are_made_of_slices_of_objects, setup, node_teardown),
        cmocka_unit_test_setup_teardown(copies_share_bytes_and_choose_their_headers, setup,
                                        node_teardown),
        cmocka_unit_test_setup_teardown(a_thousand_keys_go_at_once, setup, node_teardown),
        cmocka_unit_test_setup_teardown(pages_of_every_size_add_up, setup, node_teardown),
        cmocka_unit_test_setup_teardown(prefixes_delimiters_and_arguments, setup, node_teardown),
        cmocka_unit_test_setup_teardown(uploads_and_parts_are_listed, setup, node_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
