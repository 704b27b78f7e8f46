#include "tests/unit/engine_fixture.h"

/* Responses, heads, many clients at once, and how a server ends. */

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
        /* Not to be looked at any more. */
        client_say(&c, "GET /text?3 HTTP/1.1\r\nHost: h\r\n\r\n");
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

static int run(const char *name, CMFixtureFunction begin, CMFixtureFunction end)
{
    const struct CMUnitTest tests[] = {
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
        RUNNING(many_clients_are_served_side_by_side),
        RUNNING(draining_lets_requests_end_and_closes_the_rest),
        RUNNING(draining_cuts_what_does_not_end),
    };
    return cmocka_run_group_tests_name(name, tests, begin, end);
}

static int run_plain(const char *name, CMFixtureFunction begin, CMFixtureFunction end)
{
    const struct CMUnitTest tests[] = {
        RUNNING(a_port_in_use_is_told),
    };
    return cmocka_run_group_tests_name(name, tests, begin, end);
}

int main(void)
{
    return engine_run(run, run_plain);
}
