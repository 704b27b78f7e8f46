#include "tests/unit/http_fixture.h"
#include "tests/unit/tls_fixture.h"

/* Run on io_uring, where there is one, on epoll, and by TLS. */
static enum ring_choice ring_choice;
static struct tls_store *tls; /* NULL: plain */

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->ring = ring_choice;
    f->tls = tls;
    *state = f;
    return 0;
}

static int set_up_running(void **state)
{
    set_up(state);
    fixture_start(*state);
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    fixture_stop(f, 5 * NS_PER_SECOND);
    free(f);
    return 0;
}

static bool wait_until(bool (*holds)(void))
{
    for (int i = 0; i < 2000 && !holds(); i++)
        usleep(1000);
    return holds();
}

static bool all_ended(void)
{
    return begins == ends;
}

/* ---- responses ---- */

static void responses_have_the_head_they_should(void **state)
{
    struct client c;
    struct response r;
    client_open(&c, *state);
    client_get(&c, "/text?25", &r);
    assert_int_equal(r.status, 200);
    assert_string_equal((char *)r.body, "abcdefghijabcdefghijabcde");
    assert_memory_equal(r.head, "HTTP/1.1 200 OK\r\n", 17);
    assert_non_null(strstr(r.head, "\r\nServer: Sluice\r\n"));
    assert_non_null(strstr(r.head, " GMT\r\n"));
    assert_int_equal(strspn(strstr(r.head, "x-amz-request-id: ") + 18, "0123456789ABCDEF"), 16);
    assert_false(r.closes);
    response_free(&r);
    client_close(&c);
}

static void a_connection_serves_one_request_after_another(void **state)
{
    struct client c;
    struct response r;
    client_open(&c, *state);
    for (int i = 0; i < 200; i++) {
        char target[40];
        snprintf(target, sizeof target, i % 3 ? "/text?%d" : "/async?%d", i * 50);
        client_get(&c, target, &r);
        assert_int_equal(r.status, 200);
        assert_int_equal(r.size, i * 50);
        response_free(&r);
    }
    client_close(&c);
}

static void a_large_text_arrives_whole(void **state)
{
    struct client c;
    struct response r;
    client_open(&c, *state);
    client_get(&c, "/text?9000000", &r);
    assert_int_equal(r.size, 9000000);
    for (size_t i = 0; i < r.size; i++)
        if (r.body[i] != "abcdefghij"[i % 10])
            fail();
    response_free(&r);
    client_close(&c);
}

static void statuses_without_body_have_none(void **state)
{
    struct client c;
    struct response r;
    client_open(&c, *state);
    client_say(
        &c, "GET /nocontent HTTP/1.1\r\nHost: h\r\n\r\nGET /notmodified HTTP/1.1\r\nHost: h\r\n\r\n"
            "HEAD /text?7 HTTP/1.1\r\nHost: h\r\n\r\nHEAD /text?9 HTTP/1.1\r\nHost: h\r\n\r\nGET "
            "/empty HTTP/1.1\r\nHost: h\r\n\r\n");
    static const struct {
        int status, length;
    } rows[] = {{204, -1}, {304, -1}, {200, 7}, {200, 9}, {200, 0}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        assert_true(client_read(&c, &r, false));
        assert_int_equal(r.status, rows[i].status);
        const char *length = strcasestr(r.head, "content-length: ");
        assert_int_equal(length ? atoi(length + 16) : -1, rows[i].length);
        response_free(&r);
    }
    client_close(&c);
}

static void headers_that_would_break_the_head_are_left_out(void **state)
{
    struct client c;
    struct response r;
    client_open(&c, *state);
    client_get(&c, "/bad-header", &r);
    assert_non_null(strstr(r.head, "\r\nX-Good: 1\r\n"));
    assert_non_null(strstr(r.head, "\r\nX-Number: 42\r\n"));
    assert_null(strstr(r.head, "X-Bad"));
    assert_null(strstr(r.head, "X Bad"));
    assert_null(strstr(r.head, "Injected"));
    response_free(&r);
    client_close(&c);
}

static void old_and_closing_clients_get_their_way(void **state)
{
    static const struct {
        const char *request;
        bool closes;
    } rows[] = {
        {"GET /text?5 HTTP/1.0\r\n\r\n", true},
        {"GET /text?5 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", false},
        {"GET /text?5 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", true},
        {"GET http://h/text?5 HTTP/1.1\r\nHost: other\r\n\r\n", false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct client c;
        struct response r;
        client_open(&c, *state);
        client_say(&c, rows[i].request);
        assert_true(client_read(&c, &r, true));
        assert_string_equal((char *)r.body, "abcde");
        assert_int_equal(r.closes, rows[i].closes);
        response_free(&r);
        if (rows[i].closes) {
            assert_true(client_is_at_end(&c));
        } else {
            client_say(&c, rows[i].request);
            assert_true(client_read(&c, &r, true));
            response_free(&r);
        }
        client_close(&c);
    }
}

static void the_peer_is_known(void **state)
{
    struct client c;
    struct response r;
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    char expected[64];
    client_open(&c, *state);
    getsockname(c.fd, (struct sockaddr *)&address, &size);
    snprintf(expected, sizeof expected, "127.0.0.1:%u ", ntohs(address.sin_port));
    client_get(&c, "/peer", &r);
    assert_memory_equal(r.body, expected, strlen(expected));
    response_free(&r);
    client_close(&c);
}

/* ---- heads ---- */

static void requests_may_be_pipelined(void **state)
{
    struct client c;
    struct response r;
    struct text_buf text = {0};
    client_open(&c, *state);
    for (int i = 0; i < 300; i++)
        text_printf(&text,
                    i % 5 == 4 ? "PUT /sink HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
                               : "GET /text?%d HTTP/1.1\r\nHost: h\r\n\r\n",
                    i);
    client_say(&c, text.data);
    text_free(&text);
    for (int i = 0; i < 300; i++) {
        assert_true(client_read(&c, &r, true));
        assert_int_equal(r.status, 200);
        if (i % 5 == 4)
            assert_non_null(strstr((char *)r.body, "OK bytes=5 "));
        else
            assert_int_equal(r.size, i);
        response_free(&r);
    }
    client_close(&c);
}

static void heads_may_come_byte_by_byte(void **state)
{
    struct client c;
    struct response r;
    client_open(&c, *state);
    static const char request[] = "GET /text?3 HTTP/1.1\r\nHost: h\r\nName: value\r\n\r\n";
    for (int times = 0; times < 2; times++) {
        for (const char *at = request; *at; at++) {
            assert_true(client_put(&c, at, 1));
            usleep(100);
        }
        assert_true(client_read(&c, &r, true));
        assert_string_equal((char *)r.body, "abc");
        response_free(&r);
    }
    client_close(&c);
}

static void long_heads_are_taken_up_to_the_limit(void **state)
{
    struct client c;
    struct response r;
    for (size_t size = 1900; size < HTTP_HEAD_BYTES_MAX + 300; size += 257) {
        struct text_buf text = {0};
        text_put_string(&text, "GET /text?3 HTTP/1.1\r\nHost: h\r\n");
        while (text.size + 1010 < size)
            text_printf(&text, "A: %0997d\r\n", 0);
        text_printf(&text, "B: %0*d\r\n\r\n", (int)(size - text.size - 7), 0);
        assert_int_equal(text.size, size);
        client_open(&c, *state);
        (void)client_put(&c, text.data, text.size); /* may be refused before its end */
        assert_true(client_read(&c, &r, true));
        assert_int_equal(r.status, size <= HTTP_HEAD_BYTES_MAX ? 200 : 431);
        response_free(&r);
        if (size <= HTTP_HEAD_BYTES_MAX) { /* and the connection still works */
            client_get(&c, "/text?4", &r);
            assert_string_equal((char *)r.body, "abcd");
            response_free(&r);
        }
        text_free(&text);
        client_close(&c);
    }
}

static void bad_heads_are_answered_and_the_connection_closed(void **state)
{
    static const struct {
        const char *head;
        int status;
    } rows[] = {
        {"GET / HTTP/1.1\nHost: h\n\n", 400},
        {"GET / HTTP/1.1\r\nHost : h\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n\r\n", 400},
        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
        {"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: "
         "chunked\r\n\r\n0\r\n\r\n",
         400},
        {"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501},
        {"PUT / HTTP/1.1\r\nHost: h\r\nExpect: tea\r\n\r\n", 417},
        {"\x16\x03\x01\x02\x00\x01", 400},
    };
    int begun = begins;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct client c;
        struct response r;
        client_open(&c, *state);
        client_say(&c, rows[i].head);
        client_say(&c,
                   "GET /text?3 HTTP/1.1\r\nHost: h\r\n\r\n"); /* not to be looked at any more */
        assert_true(client_read(&c, &r, true));
        assert_int_equal(r.status, rows[i].status);
        assert_true(r.closes);
        assert_memory_equal(r.body, "<Error><Why>", 12);
        assert_non_null(strstr(r.head, "Content-Type: application/xml\r\n"));
        assert_true(client_is_at_end(&c));
        response_free(&r);
        client_close(&c);
    }
    assert_int_equal(begins, begun);
}

/* ---- bodies ---- */

static uint8_t *random_bytes(size_t size, unsigned seed)
{
    uint8_t *bytes = malloc(size ? size : 1);
    for (size_t i = 0; i < size; i++) {
        seed = seed * 1103515245 + 12345;
        bytes[i] = (uint8_t)(seed >> 16);
    }
    return bytes;
}

static void assert_received(const struct response *r, const uint8_t *bytes, size_t size)
{
    char expected[100];
    assert_int_equal(r->status, 200);
    snprintf(expected, sizeof expected, "OK bytes=%zu hash=%016llx ", size,
             (unsigned long long)hash_more(0, bytes, size));
    if (memcmp(r->body, expected, strlen(expected)) != 0)
        print_error("got %s\nexpected %s\n", (char *)r->body, expected);
    assert_memory_equal(r->body, expected, strlen(expected));
}

static void bodies_of_every_size_arrive_in_slots(void **state)
{
    static const size_t sizes[] = {0,      1,      100,    2047,    2048,    65536,
                                   262143, 262144, 262145, 1048576, 1048577, 5000000};
    struct client c;
    struct response r;
    client_open(&c, *state);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        static const char *const paths[] = {"/sink", "/sink-slow", "/later"};
        for (size_t p = 0; p < COUNT_OF(paths); p++) {
            uint8_t *bytes = random_bytes(sizes[i], (unsigned)i);
            char head[200];
            snprintf(head, sizeof head, "PUT %s HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n",
                     paths[p], sizes[i]);
            client_say(&c, head);
            assert_true(client_put(&c, bytes, sizes[i]));
            assert_true(client_read(&c, &r, true));
            assert_received(&r, bytes, sizes[i]);
            assert_int_equal(number_after((char *)r.body, "largest="),
                             sizes[i] == 0                  ? 0
                             : sizes[i] <= SLOT_SMALL_BYTES ? SLOT_SMALL_BYTES
                                                            : SLOT_LARGE_BYTES);
            response_free(&r);
            free(bytes);
        }
    }
    client_close(&c);
}

/* Writes `bytes` as chunks of at most `chunk`, each framed by http or by aws. */
static void put_chunks(struct text_buf *out, const uint8_t *bytes, size_t size, size_t chunk,
                       const char *extension, const char *end)
{
    for (size_t at = 0; at < size;) {
        size_t part = size - at < chunk ? size - at : chunk;
        text_printf(out, "%zx%s\r\n", part, extension);
        text_put(out, bytes_of(bytes + at, part));
        text_put_string(out, "\r\n");
        at += part;
    }
    text_printf(out, "0%s\r\n%s\r\n", extension, end);
}

#define EXT ";chunk-signature=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void send_in_pieces(struct client *c, const struct text_buf *text, size_t step)
{
    for (size_t at = 0; at < text->size; at += step) {
        size_t part = text->size - at < step ? text->size - at : step;
        assert_true(client_put(c, text->data + at, part));
        if (step < 100 && at % 64 == 0)
            usleep(50); /* so that pieces stay pieces */
    }
}

static void framed_bodies_arrive_whatever_the_pieces(void **state)
{
    static const struct {
        size_t size, chunk, step;
    } rows[] = {
        {10, 3, 1},
        {300, 7, 1},
        {0, 1, 1},
        {2000, 1000, 13},
        {100000, 8192, 1777},
        {70000, 65536, 300},
        {3000000, 65536, 100000},
        {3000000, 1048576, 7000},
        {3000000, 300000, 3000000},
        {40000, 1, 40000},
    };
    struct client c;
    struct response r;
    client_open(&c, *state);
    for (size_t i = 0; i < COUNT_OF(rows) * 4; i++) {
        unsigned kind = (unsigned)i % 4; /* chunked, aws, aws signed, aws signed in chunked */
        size_t size = rows[i / 4].size;
        uint8_t *bytes = random_bytes(size, (unsigned)i);
        struct text_buf body = {0}, message = {0};
        put_chunks(&body, bytes, size, rows[i / 4].chunk, kind >= 2 ? EXT : "",
                   kind >= 1 ? "x-amz-checksum-crc32:AAAAAA==\r\n" : "");
        text_printf(&message, "PUT %s?%s HTTP/1.1\r\nHost: h\r\n",
                    kind == 0   ? "/sink"
                    : kind == 1 ? "/sink-aws"
                                : "/sink-signed",
                    kind == 1 ? "" : "0123456789" + 10);
        if (kind == 0) {
            text_put_string(&message, "Transfer-Encoding: chunked\r\n\r\n");
            text_put(&message, text_bytes(&body));
        } else if (kind == 3) {
            text_put_string(&message, "Transfer-Encoding: chunked\r\n\r\n");
            put_chunks(&message, (const uint8_t *)body.data, body.size, rows[i / 4].chunk * 2 + 11,
                       "", "");
        } else {
            text_printf(&message, "Content-Length: %zu\r\n\r\n", body.size);
            text_put(&message, text_bytes(&body));
        }
        if (rows[i / 4].chunk > 1 || kind < 3)
            send_in_pieces(&c, &message, rows[i / 4].step);
        else
            send_in_pieces(&c, &message, 5000);
        assert_true(client_read(&c, &r, true));
        assert_received(&r, bytes, size);
        if (kind >= 1) {
            char expected[40];
            snprintf(expected, sizeof expected, " aws=%016llx ",
                     (unsigned long long)hash_more(0, bytes, size));
            assert_non_null(strstr((char *)r.body, expected));
            assert_int_equal(number_after((char *)r.body, "trailers="), 1);
        }
        response_free(&r);
        text_free(&body);
        text_free(&message);
        free(bytes);
    }
    client_close(&c);
}

static void sizes_that_do_not_fit_are_refused(void **state)
{
    static const struct {
        const char *head, *body, *answer;
    } rows[] = {
        {"PUT /sink?4 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n", "hello", "TOO_LARGE"},
        {"PUT /sink?6 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n", "hello", "TOO_SMALL"},
        {"PUT /sink?4 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
         "5\r\nhello\r\n0\r\n\r\n", "TOO_LARGE"},
        {"PUT /sink?6 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
         "5\r\nhello\r\n0\r\n\r\n", "TOO_SMALL"},
        {"PUT /sink-aws?4 HTTP/1.1\r\nHost: h\r\nContent-Length: 15\r\n\r\n",
         "5\r\nhello\r\n0\r\n\r\n", "TOO_LARGE"},
        {"PUT /sink-aws?6 HTTP/1.1\r\nHost: h\r\nContent-Length: 15\r\n\r\n",
         "5\r\nhello\r\n0\r\n\r\n", "TOO_SMALL"},
        {"PUT /sink-aws HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n", "hello", "BAD_SYNTAX"},
        {"PUT /sink-signed HTTP/1.1\r\nHost: h\r\nContent-Length: 15\r\n\r\n",
         "5\r\nhello\r\n0\r\n\r\n", "BAD_SYNTAX"},
        {"PUT /sink HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
         "5\r\nhelloX\r\n0\r\n\r\n", "BAD_SYNTAX"},
        {"PUT /sink HTTP/1.1\r\nHost: h\r\nContent-Length: 104857601\r\n\r\n", "", "TOO_LARGE"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct client c;
        struct response r;
        client_open(&c, *state);
        client_say(&c, rows[i].head);
        client_say(&c, rows[i].body);
        assert_true(client_read(&c, &r, true));
        assert_int_equal(r.status, 400);
        assert_true(r.closes); /* nobody knows where the next request would begin */
        assert_memory_equal(r.body, rows[i].answer, strlen(rows[i].answer));
        assert_true(client_is_at_end(&c));
        response_free(&r);
        client_close(&c);
    }
}

static void continue_is_said_when_the_body_is_wanted(void **state)
{
    static const char *const paths[] = {"/sink", "/later", "/collect"};
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        struct client c;
        struct response r;
        char head[200];
        client_open(&c, *state);
        snprintf(head, sizeof head,
                 "PUT %s HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
                 paths[i]);
        for (int times = 0; times < 2; times++) {
            client_say(&c, head);
            assert_true(client_read(&c, &r, true));
            assert_int_equal(r.status, 100);
            client_say(&c, "hello");
            assert_true(client_read(&c, &r, true));
            assert_int_equal(r.status, 200);
            response_free(&r);
        }
        client_close(&c);
    }
}

static void continue_is_not_said_when_the_request_is_refused(void **state)
{
    struct client c;
    struct response r;
    client_open(&c, *state);
    client_say(
        &c, "PUT /early HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert_true(client_read(&c, &r, true));
    assert_int_equal(r.status, 403);
    assert_true(r.closes); /* the client may send its body now, or not */
    response_free(&r);
    assert_true(client_is_at_end(&c));
    client_close(&c);
}

static void a_small_unread_body_is_dropped_and_the_connection_kept(void **state)
{
    struct client c;
    struct response r;
    client_open(&c, *state);
    for (size_t size = 0; size <= 65536; size = size * 2 + 1000) {
        uint8_t *bytes = random_bytes(size, 1);
        char head[200];
        snprintf(head, sizeof head, "PUT /early HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n",
                 size);
        client_say(&c, head);
        if (size % 2 == 0)
            usleep(3000); /* so that the answer is out before the body comes */
        assert_true(client_put(&c, bytes, size));
        client_say(&c, "GET /text?3 HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_true(client_read(&c, &r, true));
        assert_int_equal(r.status, 403);
        assert_false(r.closes);
        response_free(&r);
        assert_true(client_read(&c, &r, true));
        assert_string_equal((char *)r.body, "abc");
        response_free(&r);
        free(bytes);
    }
    client_close(&c);
}

/* The client goes on writing for a while; it must see the answer and no reset before it. */
static void a_large_unread_body_does_not_hide_the_answer(void **state)
{
    static const char *const paths[] = {"/early", "/giveup"};
    uint8_t *bytes = random_bytes(8 << 20, 1);
    for (size_t i = 0; i < 2; i++) {
        struct client c;
        struct response r;
        char head[200];
        client_open(&c, *state);
        snprintf(head, sizeof head, "PUT %s HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n",
                 paths[i], 8 << 20);
        client_say(&c, head);
        assert_true(client_put(&c, bytes, 8 << 20));
        assert_true(client_read(&c, &r, true));
        assert_int_equal(r.status, i == 0 ? 403 : 500);
        assert_true(r.closes);
        response_free(&r);
        assert_true(client_is_at_end(&c));
        client_close(&c);
    }
    free(bytes);
}

static void collected_bodies_come_back(void **state)
{
    static const size_t sizes[] = {0, 5, 3000, 4096, 50000, 100000, 100001};
    struct client c;
    struct response r;
    for (size_t i = 0; i < COUNT_OF(sizes) * 2; i++) {
        bool is_chunked = i % 2;
        size_t size = sizes[i / 2];
        uint8_t *bytes = random_bytes(size, 3);
        struct text_buf message = {0};
        text_put_string(&message, "POST /collect HTTP/1.1\r\nHost: h\r\n");
        if (is_chunked) {
            text_put_string(&message, "Transfer-Encoding: chunked\r\n\r\n");
            put_chunks(&message, bytes, size, 1000, "", "");
        } else {
            text_printf(&message, "Content-Length: %zu\r\n\r\n", size);
            text_put(&message, bytes_of(bytes, size));
        }
        client_open(&c, *state);
        (void)client_put(&c, message.data, message.size);
        assert_true(client_read(&c, &r, true));
        if (size <= 100000) {
            assert_int_equal(r.size, size);
            assert_memory_equal(r.body, bytes, size);
        } else {
            assert_string_equal((char *)r.body, "TOO_LARGE");
        }
        response_free(&r);
        text_free(&message);
        free(bytes);
        client_close(&c);
    }
}

static void clients_that_leave_in_the_middle_leave_nothing_behind(void **state)
{
    static const char *const beginnings[] = {
        "",
        "GE",
        "GET /text?5 HTTP/1.1\r\nHo",
        "PUT /sink HTTP/1.1\r\nHost: h\r\nContent-Length: 500000\r\n\r\nhello",
        "PUT /sink HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        "PUT /sink-aws HTTP/1.1\r\nHost: h\r\nContent-Length: 999\r\n\r\n5\r\nhello\r\n7;ch",
        "PUT /later HTTP/1.1\r\nHost: h\r\nContent-Length: 999\r\n\r\nhello",
        "PUT /early HTTP/1.1\r\nHost: h\r\nContent-Length: 999\r\n\r\nhello",
        "GET /async?5 HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /async?9000000 HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /text?9000000 HTTP/1.1\r\nHost: h\r\n\r\n",
        "POST /collect HTTP/1.1\r\nHost: h\r\nContent-Length: 999\r\n\r\nhello",
    };
    for (size_t i = 0; i < COUNT_OF(beginnings) * 2; i++) {
        struct client c;
        client_open(&c, *state);
        client_say(&c, beginnings[i / 2]);
        usleep(i % 3 * 2000);
        if (i % 2) {
            struct linger linger = {.l_onoff = 1};
            setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger); /* a reset */
        }
        client_close(&c);
    }
    assert_true(wait_until(all_ended));
}

static void bodies_wait_for_slots_in_line(void **state)
{
    struct fixture *f = *state;
    enum { CLIENTS = 12 };
    struct client *clients = calloc(CLIENTS, sizeof *clients);
    uint8_t *bytes = random_bytes(700000, 9);
    struct response r;
    f->large_slots = f->small_slots = WORKERS; /* one of each a worker */
    fixture_start(f);
    for (int i = 0; i < CLIENTS; i++) {
        client_open(&clients[i], f);
        client_say(&clients[i],
                   "PUT /sink-slow HTTP/1.1\r\nHost: h\r\nContent-Length: 700000\r\n\r\n");
        assert_true(client_put(&clients[i], bytes, 100000));
    }
    for (int i = 0; i < CLIENTS; i++)
        assert_true(client_put(&clients[i], bytes + 100000, 600000));
    for (int i = 0; i < CLIENTS; i++) {
        assert_true(client_read(&clients[i], &r, true));
        assert_received(&r, bytes, 700000);
        response_free(&r);
        client_close(&clients[i]);
    }
    free(bytes);
    free(clients);
}

/* ---- deadlines ---- */

static struct fixture *start_with(void **state, struct http_limits limits)
{
    struct fixture *f = *state;
    f->limits = limits;
    fixture_start(f);
    return f;
}

static void slow_heads_are_refused_and_idle_connections_closed(void **state)
{
    struct http_limits limits = test_limits;
    limits.head_timeout_ns = 100 * NS_PER_MS;
    limits.idle_timeout_ns = 150 * NS_PER_MS;
    struct fixture *f = start_with(state, limits);
    struct client slow, idle;
    struct response r;
    client_open(&slow, f);
    client_open(&idle, f);
    for (const char *at = "GET / HTTP"; *at;
         at++) { /* progress does not help: a head has one deadline */
        if (!client_put(&slow, at, 1))
            break;
        usleep(20000);
    }
    assert_true(client_read(&slow, &r, true));
    assert_int_equal(r.status, 408);
    response_free(&r);
    client_close(&slow);
    assert_true(client_is_at_end(&idle));
    client_close(&idle);

    client_open(&idle, f);
    client_get(&idle, "/text?1", &r);
    response_free(&r);
    assert_true(client_is_at_end(&idle));
    client_close(&idle);
}

static void stalled_bodies_time_out(void **state)
{
    struct http_limits limits = test_limits;
    limits.body_timeout_ns = 100 * NS_PER_MS;
    struct fixture *f = start_with(state, limits);
    static const char *const paths[] = {"/sink", "/collect"};
    for (size_t i = 0; i < 2; i++) {
        struct client c;
        struct response r;
        char head[100];
        client_open(&c, f);
        snprintf(head, sizeof head,
                 "PUT %s HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nhello", paths[i]);
        client_say(&c, head);
        assert_true(client_read(&c, &r, true));
        assert_int_equal(r.status, 400);
        assert_memory_equal(r.body, "TIMEOUT", 7);
        assert_true(r.closes);
        response_free(&r);
        client_close(&c);
    }
}

static void bodies_that_trickle_time_out(void **state)
{
    struct http_limits limits = test_limits;
    limits.rate_window_ns = 100 * NS_PER_MS;
    limits.body_rate_min = 10000;
    struct fixture *f = start_with(state, limits);
    struct client c;
    struct response r;
    client_open(&c, f);
    client_say(&c, "PUT /sink HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n");
    for (int i = 0; i < 100; i++) { /* always some progress, and never enough */
        if (!client_put(&c, "x", 1))
            break;
        usleep(3000);
    }
    assert_true(client_read(&c, &r, true));
    assert_int_equal(r.status, 400);
    assert_memory_equal(r.body, "TIMEOUT", 7);
    response_free(&r);
    client_close(&c);
}

static void readers_that_stall_are_cut_off(void **state)
{
    struct http_limits limits = test_limits;
    limits.body_timeout_ns = 200 * NS_PER_MS;
    struct fixture *f = start_with(state, limits);
    struct client c;
    struct response r;
    client_open(&c, f);
    client_say(&c, "GET /text?50000000 HTTP/1.1\r\nHost: h\r\n\r\n");
    usleep(100000);
    assert_true(wait_until(all_ended)); /* the server's side is done though nobody read */
    assert_false(client_read(&c, &r, true));
    client_close(&c);
}

static void waiting_for_a_slot_has_an_end(void **state)
{
    struct http_limits limits = test_limits;
    limits.admission_timeout_ns = 100 * NS_PER_MS;
    struct fixture *f = *state;
    f->large_slots = f->small_slots = WORKERS;
    f->limits = limits;
    fixture_start(f);
    enum { CLIENTS = 2 * WORKERS + 4 };
    struct client *clients = calloc(CLIENTS, sizeof *clients);
    unsigned busy = 0;
    for (int i = 0; i < CLIENTS; i++) { /* each takes a slot and keeps it */
        client_open(&clients[i], f);
        client_say(&clients[i],
                   "PUT /sink HTTP/1.1\r\nHost: h\r\nContent-Length: 900000\r\n\r\nhello");
    }
    for (int i = 0; i < CLIENTS; i++) {
        struct pollfd pollfd = {.fd = clients[i].fd, .events = POLLIN};
        struct response r;
        if (poll(&pollfd, 1, 300) == 1) {
            assert_true(client_read(&clients[i], &r, true));
            assert_memory_equal(r.body, "BUSY", 4);
            response_free(&r);
            busy++;
        }
        client_close(&clients[i]);
    }
    assert_in_range(busy, CLIENTS - WORKERS, CLIENTS - 1);
    free(clients);
}

static void surplus_connections_are_told_so(void **state)
{
    struct http_limits limits = test_limits;
    limits.connections_max = 10;
    struct fixture *f = start_with(state, limits);
    struct client clients[14];
    struct response r;
    for (int i = 0; i < 14; i++) {
        client_open(&clients[i], f);
        if (i < 10) {
            client_get(&clients[i], "/text?1", &r);
            assert_int_equal(r.status, 200);
        } else {
            assert_true(client_read(&clients[i], &r, true));
            assert_int_equal(r.status, 503);
            assert_non_null(strstr(r.head, "Retry-After: "));
            assert_true(client_is_at_end(&clients[i]));
        }
        response_free(&r);
    }
    for (int i = 0; i < 14; i++)
        client_close(&clients[i]);
    usleep(50000); /* the server notices */
    client_open(&clients[0], f);
    client_get(&clients[0], "/text?1", &r);
    assert_int_equal(r.status, 200);
    response_free(&r);
    client_close(&clients[0]);
}

static void requests_beyond_the_exchanges_wait_their_turn(void **state)
{
    struct http_limits limits = test_limits;
    limits.exchanges_max = WORKERS; /* one a worker */
    struct fixture *f = start_with(state, limits);
    struct client clients[20];
    struct response r;
    for (int i = 0; i < 20; i++) {
        client_open(&clients[i], f);
        client_say(
            &clients[i],
            "GET /async?10 HTTP/1.1\r\nHost: h\r\n\r\nGET /async?11 HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    for (int i = 0; i < 20; i++) {
        for (int times = 0; times < 2; times++) {
            assert_true(client_read(&clients[i], &r, true));
            assert_int_equal(r.size, 10 + times);
            response_free(&r);
        }
    }
    for (int i = 0; i < 20; i++)
        client_close(&clients[i]);
}

/* ---- many, and the end ---- */

struct crowd {
    const struct fixture *f;
    unsigned seed;
    bool failed;
};

/* No asserts here: they belong to the main thread. */
static void *crowd_member(void *context)
{
    struct crowd *crowd = context;
    struct client *c = calloc(1, sizeof *c);
    client_open(c, crowd->f);
    for (unsigned i = 0; i < 60 && !crowd->failed; i++) {
        unsigned size = (crowd->seed * 7919 + i * 104729) % 300000;
        bool is_put = (crowd->seed + i) % 3 == 0;
        char head[200];
        struct response r;
        uint8_t *bytes = random_bytes(size, i);
        if (is_put)
            snprintf(head, sizeof head,
                     "PUT /sink?%u HTTP/1.1\r\nHost: h\r\nContent-Length: %u\r\n\r\n", size, size);
        else
            snprintf(head, sizeof head, "GET /%s?%u HTTP/1.1\r\nHost: h\r\n\r\n",
                     i % 2 ? "text" : "async", size);
        bool ok = client_put(c, head, strlen(head)) && (!is_put || client_put(c, bytes, size)) &&
                  client_read(c, &r, true);
        if (ok) {
            ok = r.status == 200 &&
                 (is_put ? strstr((char *)r.body, "OK bytes=") != NULL : r.size == size);
            response_free(&r);
        }
        crowd->failed = !ok;
        free(bytes);
        if (i % 20 == 19) {
            client_close(c);
            client_open(c, crowd->f);
        }
    }
    client_close(c);
    free(c);
    return NULL;
}

static void many_clients_are_served_side_by_side(void **state)
{
    enum { CROWD = 24 };
    pthread_t threads[CROWD];
    struct crowd crowds[CROWD];
    for (unsigned i = 0; i < CROWD; i++) {
        crowds[i] = (struct crowd){.f = *state, .seed = i};
        assert_int_equal(pthread_create(&threads[i], NULL, crowd_member, &crowds[i]), 0);
    }
    for (unsigned i = 0; i < CROWD; i++) {
        pthread_join(threads[i], NULL);
        assert_false(crowds[i].failed);
    }
}

static void draining_lets_requests_end_and_closes_the_rest(void **state)
{
    struct fixture *f = *state;
    struct client idle, busy;
    struct response r;
    client_open(&idle, f);
    client_get(&idle, "/text?1", &r);
    response_free(&r);
    client_open(&busy, f);
    client_say(&busy, "PUT /sink HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhello");
    usleep(50000);
    http_server_drain(f->server, 10 * NS_PER_SECOND, fixture_drained, f);
    assert_true(client_is_at_end(&idle));
    assert_false(f->is_drained);
    usleep(50000); /* the other worker has heard of it, too */
    client_say(&busy, "world");
    assert_true(client_read(&busy, &r, true));
    assert_int_equal(r.status, 200);
    assert_true(r.closes);
    response_free(&r);
    assert_true(client_is_at_end(&busy));
    for (int i = 0; i < 1000 && !f->is_drained; i++)
        usleep(1000);
    assert_true(f->is_drained);
    client_close(&idle);
    client_close(&busy);
    for (unsigned i = 0; i < WORKERS; i++) {
        loop_stop(f->loops[i]);
        pthread_join(f->threads[i], NULL);
    }
    http_server_close(TAKE(f->server));
    for (unsigned i = 0; i < WORKERS; i++)
        loop_close(TAKE(f->loops[i]));
    arena_close(TAKE(f->arena));
}

static void draining_cuts_what_does_not_end(void **state)
{
    struct fixture *f = *state;
    struct client c[4];
    static const char *const beginnings[] = {
        "GET /te",
        "PUT /sink HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhello",
        "GET /text?50000000 HTTP/1.1\r\nHost: h\r\n\r\n",
        "PUT /early HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhello",
    };
    for (int i = 0; i < 4; i++) {
        client_open(&c[i], f);
        client_say(&c[i], beginnings[i]);
    }
    usleep(50000);
    fixture_stop(f, 50 * NS_PER_MS);
    for (int i = 0; i < 4; i++)
        client_close(&c[i]);
}

static void a_port_in_use_is_told(void **state)
{
    struct fixture *f = *state;
    struct http_server *server = NULL;
    struct err_trail trail = {0};
    struct http_server_options options = {.address = "127.0.0.1",
                                          .port = f->port,
                                          .loops = f->loops,
                                          .worker_count = WORKERS,
                                          .service = &f->service,
                                          .limits = test_limits};
    assert_int_equal(http_server_open(&options, &server, &trail), ERR_IN_USE);
    assert_non_null(strstr(trail.text, "127.0.0.1"));
    options.address = "not an address";
    err_trail_reset(&trail);
    assert_int_equal(http_server_open(&options, &server, &trail), ERR_BAD_SYNTAX);
    assert_null(server);
    assert_true(http_memory_bytes(&http_limits_default) > 0);
}

#define RUNNING(test) cmocka_unit_test_setup_teardown(test, set_up_running, tear_down)
#define STOPPED(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

static int begin_tls(void **state)
{
    if (tls_dir_make(state))
        return -1;
    make_certificate("host", "localhost", "127.0.0.1", -1, 30);
    tls = store_open("host");
    clients_speak_tls();
    return 0;
}

static int end_tls(void **state)
{
    clients_speak_plainly();
    tls_store_close(TAKE(tls));
    return tls_dir_remove(state);
}

int main(void)
{
    const struct CMUnitTest tests[] =
        {
            RUNNING(responses_have_the_head_they_should),
            RUNNING(a_connection_serves_one_request_after_another),
            RUNNING(a_large_text_arrives_whole),
            RUNNING(statuses_without_body_have_none),
            RUNNING(headers_that_would_break_the_head_are_left_out),
            RUNNING(old_and_closing_clients_get_their_way),
            RUNNING(the_peer_is_known),
            RUNNING(requests_may_be_pipelined),
            RUNNING(heads_may_come_byte_by_byte),
            RUNNING(long_heads_are_taken_up_to_the_limit),
            RUNNING(bad_heads_are_answered_and_the_connection_closed),
            RUNNING(bodies_of_every_size_arrive_in_slots),
            RUNNING(framed_bodies_arrive_whatever_the_pieces),
            RUNNING(sizes_that_do_not_fit_are_refused),
            RUNNING(continue_is_said_when_the_body_is_wanted),
            RUNNING(continue_is_not_said_when_the_request_is_refused),
            RUNNING(a_small_unread_body_is_dropped_and_the_connection_kept),
            RUNNING(a_large_unread_body_does_not_hide_the_answer),
            RUNNING(collected_bodies_come_back),
            RUNNING(clients_that_leave_in_the_middle_leave_nothing_behind),
            STOPPED(bodies_wait_for_slots_in_line),
            STOPPED(slow_heads_are_refused_and_idle_connections_closed),
            STOPPED(stalled_bodies_time_out),
            STOPPED(bodies_that_trickle_time_out),
            STOPPED(readers_that_stall_are_cut_off),
            STOPPED(requests_beyond_the_exchanges_wait_their_turn),
            RUNNING(many_clients_are_served_side_by_side),
            RUNNING(draining_lets_requests_end_and_closes_the_rest),
            RUNNING(draining_cuts_what_does_not_end),
        },
                            plain_tests[] = {
                                STOPPED(
                                    waiting_for_a_slot_has_an_end), /* waits on sockets, which TLS's
                                                                       own messages make ready */
                                STOPPED(surplus_connections_are_told_so),
                                RUNNING(a_port_in_use_is_told),
                            };
    log_set_level(getenv("HTTP_TEST_LOG") ? LOG_INFO : LOG_ERROR);
    ring_choice = RING_AUTO;
    int failed = cmocka_run_group_tests_name("http on io_uring", tests, NULL, NULL) +
                 cmocka_run_group_tests_name("plain http on io_uring", plain_tests, NULL, NULL) +
                 cmocka_run_group_tests_name("https on io_uring", tests, begin_tls, end_tls);
    ring_choice = RING_FORCE_POLL;
    failed += cmocka_run_group_tests_name("http on epoll", tests, NULL, NULL) +
              cmocka_run_group_tests_name("plain http on epoll", plain_tests, NULL, NULL);
    return failed;
}
