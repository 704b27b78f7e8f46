/*
 * Tests of the HTTP engine that run three times: on io_uring, where there is one; by TLS; and on
 * epoll. Include instead of http_fixture.h.
 */
#ifndef TESTS_UNIT_ENGINE_FIXTURE_H
#define TESTS_UNIT_ENGINE_FIXTURE_H

#include "tests/unit/http_fixture.h"
#include "tests/unit/tls_fixture.h"

static enum ring_choice ring_choice;
static struct tls_store *tls; /* NULL: plain */

/* ---- a server for each test ---- */

static inline int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->ring = ring_choice;
    f->tls = tls;
    *state = f;
    return 0;
}

static inline int set_up_running(void **state)
{
    set_up(state);
    fixture_start(*state);
    return 0;
}

static inline int tear_down(void **state)
{
    struct fixture *f = *state;
    fixture_stop(f, 5 * NS_PER_SECOND);
    free(f);
    return 0;
}

#define RUNNING(test) cmocka_unit_test_setup_teardown(test, set_up_running, tear_down)
#define STOPPED(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

static inline struct fixture *start_with(void **state, struct http_limits limits)
{
    struct fixture *f = *state;
    f->limits = limits;
    fixture_start(f);
    return f;
}

static inline bool wait_until(bool (*holds)(void))
{
    for (int i = 0; i < 2000 && !holds(); i++)
        usleep(1000);
    return holds();
}

static inline bool all_ended(void)
{
    return begins == ends;
}

static inline uint8_t *random_bytes(size_t size, unsigned seed)
{
    uint8_t *bytes = malloc(size ? size : 1);
    for (size_t i = 0; i < size; i++) {
        seed = seed * 1103515245 + 12345;
        bytes[i] = (uint8_t)(seed >> 16);
    }
    return bytes;
}

/* ---- the program ---- */

static inline int begin_tls(void **state)
{
    if (tls_dir_make(state))
        return -1;
    make_certificate("host", "localhost", "127.0.0.1", -1, 30);
    tls = store_open("host");
    clients_speak_tls();
    return 0;
}

static inline int end_tls(void **state)
{
    clients_speak_plainly();
    tls_store_close(TAKE(tls));
    return tls_dir_remove(state);
}

/* How a program runs a group of its tests; `plain`, if any, those that do not run by TLS. */
typedef int engine_run_fn(const char *name, CMFixtureFunction begin, CMFixtureFunction end);

static inline int engine_run(engine_run_fn *tests, engine_run_fn *plain)
{
    log_set_level(getenv("HTTP_TEST_LOG") ? LOG_INFO : LOG_ERROR);
    ring_choice = RING_AUTO;
    int failed = tests("http on io_uring", NULL, NULL) +
                 (plain ? plain("plain http on io_uring", NULL, NULL) : 0) +
                 tests("https on io_uring", begin_tls, end_tls);
    ring_choice = RING_FORCE_POLL;
    return failed + tests("http on epoll", NULL, NULL) +
           (plain ? plain("plain http on epoll", NULL, NULL) : 0);
}

#endif
