#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "api/http/head.h"

/* Scans and parses as a connection does; the bytes stand at the end of a heap block, so that
 * reading too far is noticed. */
static enum http_refusal parse(const char *text, size_t size, struct http_request *r,
                               struct http_header *headers, char **ret_copy)
{
    char *copy = malloc(size ? size : 1);
    memcpy(copy, text, size);
    struct head_scan scan = {0};
    uint32_t head_size = 0;
    enum http_refusal why = head_scan(&scan, copy, size, &head_size);
    if (!why) {
        assert_int_equal(head_size, size);
        why = head_parse(copy, head_size, r, headers);
    }
    *ret_copy = copy;
    return why;
}

struct sentence {
    const char *head;
    enum http_refusal expected;
};

#define OK   HTTP_REFUSE_NONE
#define HOST "Host: h\r\n"

static const struct sentence sentences[] = {
    /* request line */
    {"GET / HTTP/1.1\r\nHost: h\r\n\r\n", OK},
    {"\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", OK},
    {"\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", HTTP_REFUSE_BAD_SYNTAX},
    {"GET  / HTTP/1.1\r\nHost: h\r\n\r\n", HTTP_REFUSE_BAD_SYNTAX},
    {"GET / HTTP/1.1 \r\nHost: h\r\n\r\n", HTTP_REFUSE_BAD_SYNTAX},
    {"GET /\tHTTP/1.1\r\nHost: h\r\n\r\n", HTTP_REFUSE_BAD_SYNTAX},
    {" GET / HTTP/1.1\r\nHost: h\r\n\r\n", HTTP_REFUSE_BAD_SYNTAX},
    {"GET /\r\nHost: h\r\n\r\n", HTTP_REFUSE_BAD_SYNTAX},
    {"GET / HTTP/1.1\nHost: h\r\n\r\n", HTTP_REFUSE_BAD_SYNTAX},
    {"GET / HTTP/1.1\r\nHost: h\n\r\n", HTTP_REFUSE_BAD_SYNTAX},
    {"GET / HTTP/1.1\r\nHost: h\r\n\n", HTTP_REFUSE_BAD_SYNTAX},
    {"GET / HTTP/1.1\rHost: h\r\n\r\n", HTTP_REFUSE_BAD_SYNTAX},
    {"G(T / HTTP/1.1\r\nHost: h\r\n\r\n", HTTP_REFUSE_BAD_SYNTAX},
    {"/ HTTP/1.1\r\nHost: h\r\n\r\n", HTTP_REFUSE_BAD_SYNTAX},
    {"GET / http/1.1\r\nHost: h\r\n\r\n", HTTP_REFUSE_BAD_SYNTAX},
    {"GET / HTTP/1.10\r\nHost: h\r\n\r\n", HTTP_REFUSE_BAD_SYNTAX},
    {"GET / HTTP/1.\r\nHost: h\r\n\r\n", HTTP_REFUSE_BAD_SYNTAX},
    {"GET / HTTP/1.9\r\nHost: h\r\n\r\n", OK},
    {"GET / HTTP/0.9\r\nHost: h\r\n\r\n", HTTP_REFUSE_BAD_VERSION},
    {"PRI * HTTP/2.0\r\n\r\n", HTTP_REFUSE_BAD_VERSION},
    {"THISMETHODNAMEISLONGERTHANANYBODYNEEDS / HTTP/1.1\r\nHost: h\r\n\r\n",
     HTTP_REFUSE_BAD_SYNTAX},
    /* target */
    {"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", OK},
    {"GET * HTTP/1.1\r\nHost: h\r\n\r\n", HTTP_REFUSE_BAD_SYNTAX},
    {"GET http://h/ HTTP/1.1\r\nHost: other\r\n\r\n", OK},
    {"GET HTTPS://h HTTP/1.1\r\nHost: other\r\n\r\n", OK},
    {"GET http:/// HTTP/1.1\r\nHost: h\r\n\r\n", HTTP_REFUSE_BAD_HOST},
    {"GET http://user@h/ HTTP/1.1\r\nHost: h\r\n\r\n", HTTP_REFUSE_BAD_HOST},
    {"GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n", HTTP_REFUSE_BAD_SYNTAX},
    {"CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n", HTTP_REFUSE_BAD_SYNTAX},
    {"GET path HTTP/1.1\r\nHost: h\r\n\r\n", HTTP_REFUSE_BAD_SYNTAX},
    {"GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n", HTTP_REFUSE_BAD_SYNTAX},
    {"GET /a\x01 HTTP/1.1\r\nHost: h\r\n\r\n", HTTP_REFUSE_BAD_SYNTAX},
    {"GET /a\x7f HTTP/1.1\r\nHost: h\r\n\r\n", HTTP_REFUSE_BAD_SYNTAX},
    {"GET /\xc3\xa4 HTTP/1.1\r\nHost: h\r\n\r\n", OK},
    /* header lines */
    {"GET / HTTP/1.1\r\nHost : h\r\n\r\n", HTTP_REFUSE_BAD_SYNTAX},
    {"GET / HTTP/1.1\r\n" HOST "A: b\r\n folded\r\n\r\n", HTTP_REFUSE_BAD_SYNTAX},
    {"GET / HTTP/1.1\r\n" HOST "A: b\r\n\tfolded\r\n\r\n", HTTP_REFUSE_BAD_SYNTAX},
    {"GET / HTTP/1.1\r\n Host: h\r\n\r\n", HTTP_REFUSE_BAD_SYNTAX},
    {"GET / HTTP/1.1\r\n" HOST ": empty name\r\n\r\n", HTTP_REFUSE_BAD_SYNTAX},
    {"GET / HTTP/1.1\r\n" HOST "no colon\r\n\r\n", HTTP_REFUSE_BAD_SYNTAX},
    {"GET / HTTP/1.1\r\n" HOST "nocolon\r\n\r\n", HTTP_REFUSE_BAD_SYNTAX},
    {"GET / HTTP/1.1\r\n" HOST "A\x80: b\r\n\r\n", HTTP_REFUSE_BAD_SYNTAX},
    {"GET / HTTP/1.1\r\n" HOST "A: b\x01\r\n\r\n", HTTP_REFUSE_BAD_SYNTAX},
    {"GET / HTTP/1.1\r\n" HOST "A: long enough for words\x7f of eight\r\n\r\n",
     HTTP_REFUSE_BAD_SYNTAX},
    {"GET / HTTP/1.1\r\n" HOST "A: a stray \r in the middle\r\n\r\n", HTTP_REFUSE_BAD_SYNTAX},
    {"GET / HTTP/1.1\r\n" HOST "A: tab\tand \xff are fine\r\n\r\n", OK},
    {"GET / HTTP/1.1\r\n" HOST "A:\r\n\r\n", OK},
    /* Host */
    {"GET / HTTP/1.1\r\n\r\n", HTTP_REFUSE_BAD_HOST},
    {"GET / HTTP/1.0\r\n\r\n", OK},
    {"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", HTTP_REFUSE_BAD_HOST},
    {"GET / HTTP/1.0\r\nHost: a\r\nhost: a\r\n\r\n", HTTP_REFUSE_BAD_HOST},
    {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", HTTP_REFUSE_BAD_HOST},
    {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", HTTP_REFUSE_BAD_HOST},
    {"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", HTTP_REFUSE_BAD_HOST},
    {"GET / HTTP/1.1\r\nHost: [::1]:9000\r\n\r\n", OK},
    {"GET / HTTP/1.1\r\nHost:\r\n\r\n", OK},
    /* lengths */
    {"PUT / HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\n", OK},
    {"PUT / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
     HTTP_REFUSE_BAD_LENGTH},
    {"PUT / HTTP/1.1\r\n" HOST "Content-Length: 5\r\ncontent-length: 6\r\n\r\n",
     HTTP_REFUSE_BAD_LENGTH},
    {"PUT / HTTP/1.1\r\n" HOST "Content-Length: 5, 5\r\n\r\n", HTTP_REFUSE_BAD_LENGTH},
    {"PUT / HTTP/1.1\r\n" HOST "Content-Length: +5\r\n\r\n", HTTP_REFUSE_BAD_LENGTH},
    {"PUT / HTTP/1.1\r\n" HOST "Content-Length: -5\r\n\r\n", HTTP_REFUSE_BAD_LENGTH},
    {"PUT / HTTP/1.1\r\n" HOST "Content-Length: 0x5\r\n\r\n", HTTP_REFUSE_BAD_LENGTH},
    {"PUT / HTTP/1.1\r\n" HOST "Content-Length:\r\n\r\n", HTTP_REFUSE_BAD_LENGTH},
    {"PUT / HTTP/1.1\r\n" HOST "Content-Length: 9223372036854775808\r\n\r\n",
     HTTP_REFUSE_BAD_LENGTH},
    {"PUT / HTTP/1.1\r\n" HOST "Content-Length: 18446744073709551621\r\n\r\n",
     HTTP_REFUSE_BAD_LENGTH},
    {"PUT / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n", OK},
    {"PUT / HTTP/1.1\r\n" HOST "Transfer-Encoding: Chunked\r\n\r\n", OK},
    {"PUT / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
     HTTP_REFUSE_BAD_LENGTH},
    {"PUT / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
     HTTP_REFUSE_BAD_LENGTH},
    {"PUT / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
     HTTP_REFUSE_BAD_LENGTH},
    {"PUT / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n", HTTP_REFUSE_BAD_CODING},
    {"PUT / HTTP/1.1\r\n" HOST "Transfer-Encoding: identity\r\n\r\n", HTTP_REFUSE_BAD_CODING},
    {"PUT / HTTP/1.1\r\n" HOST "Transfer-Encoding: \x0b"
     "chunked\r\n\r\n",
     HTTP_REFUSE_BAD_SYNTAX},
    {"PUT / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n", HTTP_REFUSE_BAD_LENGTH},
    /* Expect */
    {"PUT / HTTP/1.1\r\n" HOST "Expect: 100-Continue\r\n\r\n", OK},
    {"PUT / HTTP/1.1\r\n" HOST "Expect: tea\r\n\r\n", HTTP_REFUSE_EXPECTATION},
    {"PUT / HTTP/1.0\r\n" HOST "Expect: tea\r\n\r\n", OK},
};

static void each_ambiguity_has_one_answer(void **state)
{
    struct http_header headers[HTTP_HEADERS_MAX];
    struct http_request r;
    for (size_t i = 0; i < COUNT_OF(sentences); i++) {
        char *copy;
        enum http_refusal why =
            parse(sentences[i].head, strlen(sentences[i].head), &r, headers, &copy);
        if (why != sentences[i].expected)
            print_error("sentence %zu: %s\n", i, sentences[i].head);
        assert_int_equal(why, sentences[i].expected);
        free(copy);
    }
}

static void nul_bytes_are_refused_everywhere(void **state)
{
    static const char head[] = "GET /key?a=b HTTP/1.1\r\nHost: host\r\nName: value\r\n\r\n";
    struct http_header headers[HTTP_HEADERS_MAX];
    struct http_request r;
    for (size_t at = 0; at < sizeof head - 1; at++) {
        char text[sizeof head], *copy;
        memcpy(text, head, sizeof head);
        text[at] = '\0';
        struct head_scan scan = {0};
        uint32_t size = 0;
        enum http_refusal why = head_scan(&scan, text, sizeof head - 1, &size);
        if (!why && size == 0)
            continue; /* the NUL ate the head's end: it goes on */
        if (!why) {
            copy = malloc(size);
            memcpy(copy, text, size);
            why = head_parse(copy, size, &r, headers);
            free(copy);
        }
        assert_int_not_equal(why, OK);
    }
}

static void assert_bytes(struct bytes actual, const char *expected)
{
    assert_int_equal(actual.size, strlen(expected));
    assert_memory_equal(actual.data, expected, actual.size);
}

static void a_request_is_taken_apart(void **state)
{
    static const char head[] =
        "PUT /bucket/a%20key?partNumber=3&uploadId=x?y HTTP/1.1\r\nHOST: s3.example:9000\r\n"
        "Content-Length:  42\t\r\nX-Amz-Meta-A:  two words  \r\nExpect: 100-continue\r\n\r\n";
    struct http_header headers[HTTP_HEADERS_MAX];
    struct http_request r;
    char *copy;
    assert_int_equal(parse(head, sizeof head - 1, &r, headers, &copy), OK);
    assert_int_equal(r.method, HTTP_PUT);
    assert_bytes(r.method_name, "PUT");
    assert_bytes(r.target, "/bucket/a%20key?partNumber=3&uploadId=x?y");
    assert_bytes(r.path, "/bucket/a%20key");
    assert_bytes(r.query, "partNumber=3&uploadId=x?y");
    assert_bytes(r.host, "s3.example:9000");
    assert_int_equal(r.header_count, 4);
    assert_true(r.has_content_length);
    assert_int_equal(r.content_length, 42);
    assert_true(r.expects_continue);
    assert_true(r.keeps_alive);
    assert_false(r.is_chunked);
    assert_int_equal(r.minor_version, 1);
    assert_bytes(http_request_header(&r, "x-amz-meta-a"), "two words");
    assert_null(http_request_header(&r, "x-amz-meta-b").data);
    free(copy);
}

static void targets_are_split(void **state)
{
    static const struct {
        const char *target, *path, *query, *host;
    } rows[] = {
        {"/", "/", "", "h"},
        {"/?", "/", "", "h"},
        {"/a?b?c", "/a", "b?c", "h"},
        {"http://other:1/a?b", "/a", "b", "other:1"},
        {"http://other", "/", "", "other"},
        {"http://other?list-type=2", "/", "list-type=2", "other"},
    };
    struct http_header headers[HTTP_HEADERS_MAX];
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char head[200], *copy;
        struct http_request r;
        int size =
            snprintf(head, sizeof head, "GET %s HTTP/1.1\r\nHost: h\r\n\r\n", rows[i].target);
        assert_int_equal(parse(head, (size_t)size, &r, headers, &copy), OK);
        assert_bytes(r.path, rows[i].path);
        assert_bytes(r.query, rows[i].query);
        assert_bytes(r.host, rows[i].host);
        free(copy);
    }
}

static void keep_alive_follows_version_and_connection(void **state)
{
    static const struct {
        const char *version, *connection;
        bool keeps;
    } rows[] = {
        {"1.1", "", true},
        {"1.1", "Connection: close\r\n", false},
        {"1.1", "Connection: TE, Close\r\n", false},
        {"1.1", "Connection: closed\r\n", true},
        {"1.1", "Connection: keep-alive\r\nConnection: close\r\n", false},
        {"1.0", "", false},
        {"1.0", "Connection: Keep-Alive\r\n", true},
        {"1.0", "Connection: keep-alive, close\r\n", false},
    };
    struct http_header headers[HTTP_HEADERS_MAX];
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char head[200], *copy;
        struct http_request r;
        int size = snprintf(head, sizeof head, "GET / HTTP/%s\r\nHost: h\r\n%s\r\n",
                            rows[i].version, rows[i].connection);
        assert_int_equal(parse(head, (size_t)size, &r, headers, &copy), OK);
        assert_int_equal(r.keeps_alive, rows[i].keeps);
        free(copy);
    }
}

static void a_head_in_pieces_is_found_like_a_whole_one(void **state)
{
    static const char head[] = "\r\nGET /a HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\nGET /next";
    uint32_t end = (uint32_t)(strstr(head, "GET /next") - head);
    for (size_t step = 1; step < sizeof head; step++) {
        struct head_scan scan = {0};
        uint32_t size = 0;
        size_t have = 0;
        while (size == 0 && have < sizeof head - 1) {
            have = have + step < sizeof head - 1 ? have + step : sizeof head - 1;
            assert_int_equal(head_scan(&scan, head, have, &size), OK);
            assert_true(size == 0 ? have < end : have >= end);
        }
        assert_int_equal(size, end);
    }
}

static void another_protocol_is_refused_at_its_first_byte(void **state)
{
    struct head_scan scan = {0};
    uint32_t size = 0;
    assert_int_equal(head_scan(&scan, "\x16\x03\x01", 3, &size), HTTP_REFUSE_BAD_SYNTAX); /* TLS */
    assert_int_equal(head_scan(&scan, "\x16", 1, &size), HTTP_REFUSE_BAD_SYNTAX);
}

static void large_heads_are_refused_before_their_end(void **state)
{
    char *text = malloc(HTTP_HEAD_BYTES_MAX + 1);
    struct head_scan scan = {0};
    uint32_t size = 0;
    memset(text, 'a', HTTP_HEAD_BYTES_MAX + 1);
    assert_int_equal(head_scan(&scan, text, HTTP_URI_BYTES_MAX, &size), OK);
    assert_int_equal(head_scan(&scan, text, HTTP_URI_BYTES_MAX + 100, &size),
                     HTTP_REFUSE_URI_TOO_LONG);

    scan = (struct head_scan){0};
    memcpy(text, "GET / HTTP/1.1\r\n", 16);
    assert_int_equal(head_scan(&scan, text, HTTP_HEAD_BYTES_MAX, &size), OK);
    assert_int_equal(head_scan(&scan, text, HTTP_HEAD_BYTES_MAX + 1, &size),
                     HTTP_REFUSE_HEAD_TOO_LARGE);
    free(text);
}

static void the_longest_target_fits_and_one_byte_more_does_not(void **state)
{
    struct http_header headers[HTTP_HEADERS_MAX];
    struct http_request r;
    char *head = malloc(HTTP_URI_BYTES_MAX + 100);
    for (unsigned more = 0; more < 2; more++) {
        char *to = stpcpy(head, "GET /"), *copy;
        to = memset(to, 'k', HTTP_URI_BYTES_MAX - 1 + more);
        strcpy(to + HTTP_URI_BYTES_MAX - 1 + more, " HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_int_equal(parse(head, strlen(head), &r, headers, &copy),
                         more ? HTTP_REFUSE_URI_TOO_LONG : OK);
        free(copy);
    }
    free(head);
}

static void too_many_headers_are_refused(void **state)
{
    struct http_header headers[HTTP_HEADERS_MAX];
    struct http_request r;
    for (unsigned count = HTTP_HEADERS_MAX; count <= HTTP_HEADERS_MAX + 1; count++) {
        char head[4096] = "GET / HTTP/1.1\r\nHost: h\r\n", *copy;
        for (unsigned i = 1; i < count; i++)
            strcat(head, "A: b\r\n");
        strcat(head, "\r\n");
        assert_int_equal(parse(head, strlen(head), &r, headers, &copy),
                         count > HTTP_HEADERS_MAX ? HTTP_REFUSE_HEAD_TOO_LARGE : OK);
        free(copy);
    }
}

static void field_text_is_judged_byte_by_byte(void **state)
{
    for (unsigned c = 0; c < 256; c++) {
        for (size_t at = 0; at < 17; at++) {
            char text[17];
            memset(text, 'x', sizeof text);
            text[at] = (char)c;
            bool is_allowed = c == '\t' || (c >= 0x20 && c != 0x7f);
            assert_int_equal(head_is_field_text(bytes_of(text, sizeof text)), is_allowed);
        }
    }
    assert_true(head_is_field_text(BYTES("")));
    assert_false(head_is_token(BYTES("")));
}

static void every_refusal_has_a_status_and_a_sentence(void **state)
{
    for (int why = 1; why < HTTP_REFUSE_COUNT; why++) {
        assert_in_range(http_refusal_status((enum http_refusal)why), 400, 599);
        assert_true(strlen(http_refusal_text((enum http_refusal)why)) > 10);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_ambiguity_has_one_answer),
        cmocka_unit_test(nul_bytes_are_refused_everywhere),
        cmocka_unit_test(a_request_is_taken_apart),
        cmocka_unit_test(targets_are_split),
        cmocka_unit_test(keep_alive_follows_version_and_connection),
        cmocka_unit_test(a_head_in_pieces_is_found_like_a_whole_one),
        cmocka_unit_test(another_protocol_is_refused_at_its_first_byte),
        cmocka_unit_test(large_heads_are_refused_before_their_end),
        cmocka_unit_test(the_longest_target_fits_and_one_byte_more_does_not),
        cmocka_unit_test(too_many_headers_are_refused),
        cmocka_unit_test(field_text_is_judged_byte_by_byte),
        cmocka_unit_test(every_refusal_has_a_status_and_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
