#include "tests/unit/engine_fixture.h"

/* Clients that are slow, that stall, or that are too many: each wait has an end. */

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
    /* Progress does not help: a head has one deadline. */
    for (const char *at = "GET / HTTP"; *at; at++) {
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
    for (unsigned tries = 0;; tries++) { /* till the server has noticed */
        client_open(&clients[0], f);
        client_get(&clients[0], "/text?1", &r);
        int status = r.status;
        response_free(&r);
        client_close(&clients[0]);
        if (status == 200)
            break;
        assert_int_equal(status, 503);
        assert_true(tries < 500);
        usleep(10000);
    }
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

static int run(const char *name, CMFixtureFunction begin, CMFixtureFunction end)
{
    const struct CMUnitTest tests[] = {
        STOPPED(slow_heads_are_refused_and_idle_connections_closed),
        STOPPED(stalled_bodies_time_out),
        STOPPED(bodies_that_trickle_time_out),
        STOPPED(readers_that_stall_are_cut_off),
        STOPPED(requests_beyond_the_exchanges_wait_their_turn),
    };
    return cmocka_run_group_tests_name(name, tests, begin, end);
}

static int run_plain(const char *name, CMFixtureFunction begin, CMFixtureFunction end)
{
    const struct CMUnitTest tests[] = {
        /* waits on sockets, which TLS's own messages make ready */
        STOPPED(waiting_for_a_slot_has_an_end),
        STOPPED(surplus_connections_are_told_so),
    };
    return cmocka_run_group_tests_name(name, tests, begin, end);
}

int main(void)
{
    return engine_run(run, run_plain);
}
