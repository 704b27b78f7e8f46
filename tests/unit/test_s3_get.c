/* GetObject and HeadObject as the web asks them: validators, ranges, several ranges, and what a
 * cache has to be told. */
#include "api/s3/conditions.h"
#include "api/s3/range.h"
#include "api/s3/variant.h"
#include "tests/unit/s3_harness.h"

#define TYPE "text/x-test; charset=utf-8"

/* 5 MiB, 5 MiB and an inline end: with extents of a simulated disk in between. */
#define BIG_BYTES ((10u << 20) + 3000u)

struct objects {
    struct bytes small, large, big; /* inline, an extent, parts */
};
static struct objects objects;

static void put_with(struct node *n, const char *path, struct bytes body,
                     const struct header *headers)
{
    struct request request = {.method = "PUT", .path = path, .body = body};
    for (size_t i = 0; headers[i].name != NULL; i++)
        request.headers[i] = headers[i];
    struct answer answer = send_request(n, &request);
    assert_answer(answer, 200, NULL);
    answer_free(&answer);
}

static void put_parts(struct node *n, const char *path, struct bytes body)
{
    char id[40], query[100];
    struct text_buf lines = {0};
    struct answer answer = send_request(n, &(struct request){.method = "POST",
                                                             .path = path,
                                                             .query = "uploads",
                                                             .headers = {{"content-type", TYPE}}});
    assert_answer(answer, 200, NULL);
    snprintf(id, sizeof id, "%.32s", element(answer.body, "UploadId", 0).data);
    answer_free(&answer);
    text_put_string(&lines, "<CompleteMultipartUpload>");
    for (unsigned number = 1; body.size > 0; number++) {
        struct bytes part = bytes_slice(body, 0, 5 << 20);
        uint8_t hash[16];
        char etag[33];
        md5(part.data, part.size, hash);
        hex_encode(hash, sizeof hash, etag);
        snprintf(query, sizeof query, "partNumber=%u&uploadId=%s", number, id);
        expect(n, ASK(.method = "PUT", .path = path, .query = query, .body = part), 200, NULL);
        text_printf(&lines, "<Part><PartNumber>%u</PartNumber><ETag>%s</ETag></Part>", number,
                    etag);
        body = bytes_slice(body, part.size, SIZE_MAX);
    }
    text_put_string(&lines, "</CompleteMultipartUpload>");
    snprintf(query, sizeof query, "uploadId=%s", id);
    expect(n, ASK(.method = "POST", .path = path, .query = query, .body = text_bytes(&lines)), 200,
           NULL);
    text_free(&lines);
}

static int setup(void **state)
{
    int rc = node_setup(state);
    struct node *n = *state;
    static const struct header headers[] = {{"content-type", TYPE},
                                            {"cache-control", "max-age=60"},
                                            {"expires", "Thu, 01 Jan 2032 00:00:00 GMT"},
                                            {"content-disposition", "inline"},
                                            {"x-amz-meta-a", "b"},
                                            {NULL}};
    objects = (struct objects){noise(5000, 1), noise(300000, 2), noise(BIG_BYTES, 3)};
    put_ok(n, "/bucket", (struct bytes){0});
    put_with(n, "/bucket/small", objects.small, headers);
    put_with(n, "/bucket/large", objects.large, headers);
    put_parts(n, "/bucket/big", objects.big);
    return rc;
}

static int teardown(void **state)
{
    free((void *)objects.small.data);
    free((void *)objects.large.data);
    free((void *)objects.big.data);
    return node_teardown(state);
}

static struct answer ask(struct node *n, const char *method, const char *path, struct header one,
                         struct header two)
{
    struct request request = {.method = method, .path = path};
    request.headers[0] = one.name ? one : two;
    request.headers[1] = one.name ? two : (struct header){0};
    return send_request(n, &request);
}

static void assert_header(const struct answer *answer, const char *name, const char *value)
{
    struct bytes got = answer_header(answer, name);
    if (value == NULL ? got.data != NULL : !bytes_equal(got, bytes_of_string(value)))
        fail_msg("%s: expected %s, got %.*s in\n%.*s", name, value ? value : "nothing",
                 (int)got.size, got.data ? got.data : "", (int)answer->head.size,
                 answer->head.data);
}

/* ---- validators ---- */

static const char *text_of(struct bytes bytes, char *out, size_t size)
{
    snprintf(out, size, "%.*s", (int)bytes.size, bytes.data);
    return out;
}

struct validators {
    char etag[64], weak[70], list[200], modified[64];
};

static struct validators validators_of(struct node *n, const char *path)
{
    struct validators v;
    struct answer answer = ask(n, "HEAD", path, (struct header){0}, (struct header){0});
    assert_answer(answer, 200, NULL);
    text_of(answer_header(&answer, "etag"), v.etag, sizeof v.etag);
    text_of(answer_header(&answer, "last-modified"), v.modified, sizeof v.modified);
    snprintf(v.weak, sizeof v.weak, "W/%s", v.etag);
    snprintf(v.list, sizeof v.list, "\"x\" , W/\"y\",%s", v.etag);
    answer_free(&answer);
    return v;
}

#define BEFORE "Mon, 01 Jan 2001 00:00:00 GMT"
#define AFTER  "Fri, 01 Jan 2100 00:00:00 GMT"
#define OTHER  "\"5d41402abc4b2a76b9719d911017c592\""

static void conditions_follow_rfc_9110(void **state)
{
    struct node *n = *state;
    struct validators v = validators_of(n, "/bucket/small");
    const struct {
        struct header one, two;
        int status;
    } rows[] = {
        {{"if-none-match", v.etag}, {0}, 304},
        {{"if-none-match", v.weak}, {0}, 304},
        {{"if-none-match", v.list}, {0}, 304},
        {{"if-none-match", "*"}, {0}, 304},
        {{"if-none-match", OTHER}, {0}, 200},
        {{"if-none-match", "\"x\", \"y\""}, {0}, 200},
        {{"if-none-match", ""}, {0}, 200},
        {{"if-match", v.etag}, {0}, 200},
        {{"if-match", v.list}, {0}, 200},
        {{"if-match", "*"}, {0}, 200},
        {{"if-match", v.weak}, {0}, 412}, /* strong comparison: 13.1.1 */
        {{"if-match", OTHER}, {0}, 412},
        {{"if-modified-since", v.modified}, {0}, 304},
        {{"if-modified-since", AFTER}, {0}, 304},
        {{"if-modified-since", BEFORE}, {0}, 200},
        {{"if-modified-since", "yesterday"}, {0}, 200},
        {{"if-unmodified-since", v.modified}, {0}, 200},
        {{"if-unmodified-since", BEFORE}, {0}, 412},
        {{"if-unmodified-since", "yesterday"}, {0}, 200},
        /* an ETag is asked before a date: 13.2.2 */
        {{"if-none-match", OTHER}, {"if-modified-since", AFTER}, 200},
        {{"if-none-match", v.etag}, {"if-modified-since", BEFORE}, 304},
        {{"if-match", v.etag}, {"if-unmodified-since", BEFORE}, 200},
        {{"if-match", OTHER}, {"if-unmodified-since", AFTER}, 412},
        {{"if-match", OTHER}, {"if-none-match", v.etag}, 412},
        {{"if-match", v.etag}, {"if-none-match", v.etag}, 304},
        {{"if-none-match", v.etag}, {"range", "bytes=99999-"}, 304}, /* conditions before ranges */
        {{"if-match", OTHER}, {"range", "bytes=99999-"}, 412},
        {{"if-match", v.etag}, {"range", "bytes=1-2"}, 206},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        static const char *const methods[] = {"GET", "HEAD"};
        for (int m = 0; m < 2; m++) {
            struct answer answer = ask(n, methods[m], "/bucket/small", rows[i].one, rows[i].two);
            if (answer.status != rows[i].status)
                fail_msg("%s with %s: %s and %s: %s is %d", methods[m], rows[i].one.name,
                         rows[i].one.value, rows[i].two.name ? rows[i].two.name : "-",
                         rows[i].two.value ? rows[i].two.value : "", answer.status);
            if (m == 1 || answer.status == 304)
                assert_int_equal(answer.body.size, 0);
            answer_free(&answer);
        }
    }
    expect(n, ASK(.method = "GET", .path = "/bucket/none", .headers = {{"if-match", v.etag}}), 404,
           "NoSuchKey");
    expect(n, ASK(.method = "GET", .path = "/bucket/none", .headers = {{"if-none-match", "*"}}),
           404, "NoSuchKey");
}

static void a_cache_learns_from_304_what_it_would_from_200(void **state)
{
    struct node *n = *state;
    struct validators v = validators_of(n, "/bucket/small");
    struct request request = {
        .method = "GET", .path = "/bucket/small", .headers = {{"if-none-match", v.etag}}};
    for (int i = 0; i < 2; i++) {
        request.query = i ? "response-cache-control=no-store" : NULL;
        struct answer answer = send_request(n, &request);
        assert_answer(answer, 304, NULL);
        assert_header(&answer, "etag", v.etag);
        assert_header(&answer, "last-modified", v.modified);
        assert_header(&answer, "cache-control", i ? "no-store" : "max-age=60");
        assert_header(&answer, "expires", "Thu, 01 Jan 2032 00:00:00 GMT");
        assert_non_null(answer_header(&answer, "date").data);
        /* and nothing that describes a body: 15.4.5 */
        assert_header(&answer, "content-length", NULL);
        assert_header(&answer, "content-type", NULL);
        assert_header(&answer, "content-disposition", NULL);
        assert_header(&answer, "x-amz-meta-a", NULL);
        answer_free(&answer);
    }
}

/* ---- ranges ---- */

static void if_range_decides_whether_a_range_is_one(void **state)
{
    struct node *n = *state;
    struct validators v = validators_of(n, "/bucket/small");
    const struct {
        const char *value;
        int status;
    } rows[] = {
        {v.etag, 206}, {v.modified, 206}, {v.weak, 200}, /* a weak validator is none here: 13.1.5 */
        {OTHER, 200},  {BEFORE, 200},     {AFTER, 200},  /* not the date we told */
        {"", 200},     {"nonsense", 200},
    };
    static const char *const ranges[] = {"bytes=10-19", "bytes=10-19,30-39", "bytes=99999-"};
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        for (size_t j = 0; j < COUNT_OF(ranges); j++) {
            struct answer answer =
                ask(n, "GET", "/bucket/small", (struct header){"if-range", rows[i].value},
                    (struct header){"range", ranges[j]});
            int wanted = rows[i].status == 206 && j == 2 ? 416 : rows[i].status;
            if (answer.status != wanted)
                fail_msg("If-Range: %s, Range: %s is %d", rows[i].value, ranges[j], answer.status);
            if (wanted == 200)
                assert_memory_equal(answer.body.data, objects.small.data, objects.small.size);
            answer_free(&answer);
        }
}

static void what_is_not_there_is_416_with_the_size(void **state)
{
    struct node *n = *state;
    put_ok(n, "/bucket/empty", (struct bytes){0});
    static const struct {
        const char *path, *range, *content_range;
    } rows[] = {
        {"/bucket/small", "bytes=5000-", "bytes */5000"},
        {"/bucket/small", "bytes=5000-5001,6000-,-0", "bytes */5000"},
        {"/bucket/empty", "bytes=0-0", "bytes */0"},
        {"/bucket/empty", "bytes=-1", "bytes */0"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct answer answer = ask(n, "GET", rows[i].path, (struct header){"range", rows[i].range},
                                   (struct header){0});
        assert_answer(answer, 416, "InvalidRange");
        assert_header(&answer, "content-range", rows[i].content_range);
        answer_free(&answer);
        answer = ask(n, "HEAD", rows[i].path, (struct header){"range", rows[i].range},
                     (struct header){0});
        assert_int_equal(answer.status, 416);
        assert_header(&answer, "content-range", rows[i].content_range);
        answer_free(&answer);
    }
}

/* Walks a multipart body and holds each part against the object. */
static unsigned check_parts(const struct answer *answer, struct bytes object)
{
    struct bytes type = answer_header(answer, "content-type"), rest = answer->body;
    char start[100], expected[100];
    assert_true(bytes_start_with(type, BYTES("multipart/byteranges; boundary=")));
    struct bytes boundary = bytes_slice(type, strlen("multipart/byteranges; boundary="), SIZE_MAX);
    snprintf(start, sizeof start, "\r\n--%.*s", (int)boundary.size, boundary.data);
    unsigned count = 0;
    for (;; count++) {
        assert_true(bytes_start_with(rest, bytes_of_string(start)));
        rest = bytes_slice(rest, strlen(start), SIZE_MAX);
        if (bytes_equal(rest, BYTES("--\r\n")))
            return count;
        size_t end = bytes_find(rest, 0, BYTES("\r\n\r\n"));
        assert_true(end != SIZE_MAX);
        char head[400];
        text_of(bytes_slice(rest, 0, end), head, sizeof head);
        unsigned first, last, size;
        assert_non_null(strstr(head, "Content-Range: "));
        assert_int_equal(sscanf(strstr(head, "Content-Range: "), "Content-Range: bytes %u-%u/%u",
                                &first, &last, &size),
                         3);
        snprintf(expected, sizeof expected,
                 "\r\nContent-Type: " TYPE "\r\nContent-Range: bytes %u-%u/%zu", first, last,
                 object.size);
        assert_string_equal(head, expected);
        rest = bytes_slice(rest, end + 4, SIZE_MAX);
        assert_true(rest.size > last - first);
        assert_memory_equal(rest.data, object.data + first, last - first + 1);
        rest = bytes_slice(rest, last - first + 1, SIZE_MAX);
    }
}

static void several_ranges_come_in_one_multipart_answer(void **state)
{
    struct node *n = *state;
    static const struct {
        const char *path;
        const struct bytes *body;
        const char *range;
        unsigned parts; /* 0: one range, or none */
        int status;
    } rows[] = {
        {"/bucket/small", &objects.small, "bytes=0-0,-1", 2, 206},
        {"/bucket/small", &objects.small, "bytes=4000-4999,0-99,200-299", 3, 206},
        {"/bucket/small", &objects.small, "bytes=0-99,100-199", 0, 206}, /* they touch: one */
        {"/bucket/small", &objects.small, "bytes=0-9,20-29,99999-", 2, 206},
        {"/bucket/small", &objects.small, "bytes=0-9,99999-", 0, 206},
        {"/bucket/small", &objects.small, "bytes=0-9,9-2", 0, 200},
        {"/bucket/large", &objects.large, "bytes=65535-65536,0-0,131071-262144,-5000", 4, 206},
        {"/bucket/large", &objects.large, "bytes=299999-,0-299997", 2, 206},
        {"/bucket/big", &objects.big, "bytes=5242879-5242880,10485759-10485760,0-0", 3, 206},
        {"/bucket/big", &objects.big, "bytes=-1,-4000,5000000-6000000", 2,
         206}, /* two tails are one */
        {"/bucket/big", &objects.big, "bytes=10485760-,0-10485758", 2, 206},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct header range = {"range", rows[i].range};
        struct answer answer = ask(n, "GET", rows[i].path, range, (struct header){0});
        struct answer head = ask(n, "HEAD", rows[i].path, range, (struct header){0});
        char size[24];
        snprintf(size, sizeof size, "%zu", answer.body.size);
        if (answer.status != rows[i].status || head.status != rows[i].status)
            fail_msg("%s of %s: %d, HEAD %d", rows[i].range, rows[i].path, answer.status,
                     head.status);
        assert_header(&answer, "content-length", size);
        assert_header(&head, "content-length", size);
        assert_int_equal(head.body.size, 0);
        if (rows[i].parts > 0) {
            assert_int_equal(check_parts(&answer, *rows[i].body), rows[i].parts);
            assert_true(bytes_start_with(answer_header(&head, "content-type"),
                                         BYTES("multipart/byteranges; boundary=")));
            assert_header(&answer, "content-range", NULL); /* 15.3.7.2 */
        } else {
            assert_header(&answer, "content-type", TYPE);
        }
        answer_free(&answer);
        answer_free(&head);
    }
}

static void what_a_multipart_answer_cannot_say_is_sent_whole(void **state)
{
    struct node *n = *state;
    static const struct header encoded[] = {{"content-encoding", "gzip"}, {NULL}};
    put_with(n, "/bucket/encoded", objects.small, encoded);
    char many[S3_RANGES_MAX * 8 + 20] = "bytes=", long_type[400];
    for (unsigned i = 0; i <= S3_RANGES_MAX; i++)
        snprintf(many + strlen(many), sizeof many - strlen(many), "%u-%u,", 10 * i, 10 * i + 1);
    memset(long_type, 'x', sizeof long_type - 1);
    memcpy(long_type, "response-content-type=", 22);
    long_type[sizeof long_type - 1] = '\0';
    const struct {
        const char *path, *query, *range;
    } rows[] = {
        {"/bucket/encoded", NULL, "bytes=0-1,4-5"},
        {"/bucket/small", "response-content-encoding=gzip", "bytes=0-1,4-5"},
        {"/bucket/small", "response-content-type=a%0d%0ab", "bytes=0-1,4-5"},
        {"/bucket/small", long_type, "bytes=0-1,4-5"},
        {"/bucket/small", NULL, many},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct answer answer =
            send_request(n, &(struct request){.method = "GET",
                                              .path = rows[i].path,
                                              .query = rows[i].query,
                                              .headers = {{"range", rows[i].range}}});
        assert_answer(answer, 200, NULL);
        assert_int_equal(answer.body.size, objects.small.size);
        assert_memory_equal(answer.body.data, objects.small.data, objects.small.size);
        answer_free(&answer);
    }
    struct answer answer =
        ask(n, "GET", "/bucket/encoded", (struct header){"range", "bytes=4-5"}, (struct header){0});
    assert_answer(answer, 206, NULL); /* one range is one of the encoded bytes, and says so */
    assert_header(&answer, "content-encoding", "gzip");
    answer_free(&answer);
}

/* ---- HEAD ---- */

static void head_says_what_get_would(void **state)
{
    struct node *n = *state;
    static const char *const paths[] = {"/bucket/small", "/bucket/large", "/bucket/big"};
    static const char *const queries[] = {NULL, "response-content-type=a%2Fb&response-expires=x",
                                          "partNumber=1"};
    static const char *const names[] = {"etag",          "last-modified",       "content-length",
                                        "content-type",  "accept-ranges",       "cache-control",
                                        "expires",       "content-disposition", "x-amz-meta-a",
                                        "content-range", "x-amz-mp-parts-count"};
    for (size_t p = 0; p < COUNT_OF(paths); p++)
        for (size_t q = 0; q < COUNT_OF(queries); q++)
            for (int ranged = 0; ranged < (q == 2 ? 1 : 2); ranged++) {
                struct request request = {.method = "GET", .path = paths[p], .query = queries[q]};
                if (ranged)
                    request.headers[0] = (struct header){"range", "bytes=10-29"};
                struct answer get_answer = send_request(n, &request);
                request.method = "HEAD";
                struct answer head = send_request(n, &request);
                assert_int_equal(head.status, get_answer.status);
                assert_int_equal(head.body.size, 0);
                for (size_t i = 0; i < COUNT_OF(names); i++) {
                    char value[200];
                    struct bytes wanted = answer_header(&get_answer, names[i]);
                    assert_header(&head, names[i],
                                  wanted.data ? text_of(wanted, value, sizeof value) : NULL);
                }
                answer_free(&get_answer);
                answer_free(&head);
            }
}

/* ---- compressed variants ---- */

static void gzip_is_accepted_when_it_is_named_and_welcome(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        bool accepts;
    } rows[] = {
        {"gzip", true},
        {"gzip, deflate, br", true},
        {"br;q=1.0, GZIP;q=0.8, *;q=0.1", true},
        {"deflate , x-gzip ; q=0.001", true},
        {"identity;q=0.5, gzip;q=0.5", true},
        {"identity, gzip;q=0.5", false},
        {"gzip;q=0", false},
        {"gzip;q=0.000", false},
        {"gzip;q=2", false},
        {"gzip;q=x", false},
        {"gzip;level=9", false},
        {"gzipped", false},
        {"*", false},
        {"identity", false},
        {"", false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (s3_accepts_gzip(bytes_of_string(rows[i].value)) != rows[i].accepts)
            fail_msg("Accept-Encoding: %s", rows[i].value);
    assert_false(s3_accepts_gzip((struct bytes){0}));
}

/* One answer for a key that may have a variant. */
static void expect_variant(struct node *n, const char *path, struct header more, int status,
                           struct bytes body, const char *encoding)
{
    static const char *const methods[] = {"GET", "HEAD"};
    for (int m = 0; m < 2; m++) {
        struct answer answer =
            ask(n, methods[m], path, (struct header){"accept-encoding", "gzip"}, more);
        if (answer.status != status)
            fail_msg("%s %s with %s: %d", methods[m], path, more.name ? more.name : "-",
                     answer.status);
        assert_header(&answer, "content-encoding", status == 304 ? NULL : encoding);
        assert_header(&answer, "vary", "Accept-Encoding");
        if (m == 0) {
            assert_int_equal(answer.body.size, body.size);
            assert_memory_equal(answer.body.data, body.data, body.size);
        }
        if (status == 200) {
            assert_header(&answer, "content-type", TYPE);
            assert_header(&answer, "x-amz-meta-a", "b");
        }
        answer_free(&answer);
    }
}

static void a_variant_is_served_to_who_takes_it(void **state)
{
    struct node *n = *state;
    struct bytes plain = objects.small, zipped = bytes_slice(objects.large, 0, 1234);
    static const struct header headers[] = {{"content-type", TYPE}, {"x-amz-meta-a", "b"}, {NULL}};
    static const struct header gz[] = {{"content-type", "application/gzip"}, {NULL}};
    put_ok(n, "/site", (struct bytes){0});
    put_with(n, "/site/page", plain, headers);
    expect_variant(n, "/site/page", (struct header){0}, 200, plain, NULL); /* there is none yet */
    put_with(n, "/site/page.gz", zipped, gz);
    expect_variant(n, "/site/page", (struct header){0}, 200, zipped, "gzip");
    struct validators of_plain = validators_of(n, "/site/page");
    struct validators of_gz = validators_of(n, "/site/page.gz");
    assert_string_not_equal(of_plain.etag, of_gz.etag);
    const struct bytes none = {0};
    expect_variant(n, "/site/page", (struct header){"if-none-match", of_gz.etag}, 304, none, NULL);
    expect_variant(n, "/site/page", (struct header){"if-none-match", of_plain.etag}, 200, zipped,
                   "gzip");
    expect_variant(n, "/site/page", (struct header){"range", "bytes=10-19"}, 206,
                   bytes_slice(zipped, 10, 10), "gzip");
    expect_variant(n, "/site/page", (struct header){"range", "bytes=10-19,30-39"}, 200, zipped,
                   "gzip");

    struct answer answer = get(n, "/site/page"); /* who does not take it */
    assert_answer(answer, 200, NULL);
    assert_header(&answer, "vary", "Accept-Encoding");
    assert_header(&answer, "content-encoding", NULL);
    assert_memory_equal(answer.body.data, plain.data, plain.size);
    answer_free(&answer);
    answer = ask(n, "GET", "/site/page.gz", (struct header){"accept-encoding", "gzip"},
                 (struct header){0});
    assert_answer(answer, 200, NULL); /* by its own name it is itself */
    assert_header(&answer, "content-type", "application/gzip");
    assert_header(&answer, "vary", NULL);
    answer_free(&answer);

    put_with(n, "/site/page", bytes_slice(plain, 0, 4000), headers); /* now page.gz is the older */
    expect_variant(n, "/site/page", (struct header){0}, 200, bytes_slice(plain, 0, 4000), NULL);
    put_with(n, "/site/page.gz", zipped, gz);
    expect_variant(n, "/site/page", (struct header){0}, 200, zipped, "gzip");
    static const struct header encoded[] = {
        {"content-type", TYPE}, {"x-amz-meta-a", "b"}, {"content-encoding", "br"}, {NULL}};
    put_with(n, "/site/page", plain, encoded);
    put_with(n, "/site/page.gz", zipped, gz);
    expect_variant(n, "/site/page", (struct header){0}, 200, plain, "br"); /* it has its own */
    expect(n, ASK(.method = "DELETE", .path = "/site/page"), 204, NULL);
    expect(n, ASK(.method = "GET", .path = "/site/page", .headers = {{"accept-encoding", "gzip"}}),
           404, "NoSuchKey"); /* a variant alone is none */
}

static void other_buckets_know_no_variants(void **state)
{
    struct node *n = *state;
    put_ok(n, "/bucket/small.gz", BYTES("zipped"));
    struct answer answer = ask(n, "GET", "/bucket/small",
                               (struct header){"accept-encoding", "gzip"}, (struct header){0});
    assert_answer(answer, 200, NULL);
    assert_header(&answer, "vary", NULL);
    assert_int_equal(answer.body.size, objects.small.size);
    answer_free(&answer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conditions_follow_rfc_9110),
        cmocka_unit_test(a_cache_learns_from_304_what_it_would_from_200),
        cmocka_unit_test(if_range_decides_whether_a_range_is_one),
        cmocka_unit_test(what_is_not_there_is_416_with_the_size),
        cmocka_unit_test(several_ranges_come_in_one_multipart_answer),
        cmocka_unit_test(what_a_multipart_answer_cannot_say_is_sent_whole),
        cmocka_unit_test(head_says_what_get_would),
        cmocka_unit_test(gzip_is_accepted_when_it_is_named_and_welcome),
        cmocka_unit_test(a_variant_is_served_to_who_takes_it),
        cmocka_unit_test(other_buckets_know_no_variants),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
