#include "tests/unit/engine_fixture.h"

/* Bodies that come in: framed, continued, refused, collected, given up. */

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

static int run(const char *name, CMFixtureFunction begin, CMFixtureFunction end)
{
    const struct CMUnitTest tests[] = {
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
    };
    return cmocka_run_group_tests_name(name, tests, begin, end);
}

int main(void)
{
    return engine_run(run, NULL);
}
