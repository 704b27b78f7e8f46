/*
 * Tests of TLS on the S3 port, on io_uring and on epoll: certificates of many kinds, a server that
 * begins with that of "host", clients that speak TLS, and what the metrics say of handshakes that
 * failed. Include instead of http_fixture.h.
 */
#ifndef TESTS_UNIT_TLS_SERVER_FIXTURE_H
#define TESTS_UNIT_TLS_SERVER_FIXTURE_H

#include "tests/unit/http_fixture.h"
#include "tests/unit/tls_fixture.h"

#include "base/metric.h"

static enum ring_choice ring_choice;

struct tls_test {
    struct fixture f;
    struct tls_store *store;
};

static inline int set_up(void **state)
{
    struct tls_test *t = calloc(1, sizeof *t);
    t->f.ring = ring_choice;
    t->store = store_open("host");
    t->f.tls = t->store;
    client_tls_reset();
    clients_speak_tls();
    *state = t;
    return 0;
}

static inline int set_up_running(void **state)
{
    set_up(state);
    fixture_start(&((struct tls_test *)*state)->f);
    return 0;
}

static inline int tear_down(void **state)
{
    struct tls_test *t = *state;
    fixture_stop(&t->f, 5 * NS_PER_SECOND);
    tls_store_close(t->store);
    clients_speak_plainly();
    free(t);
    return 0;
}

static inline int make_all(void **state)
{
    if (tls_dir_make(state))
        return -1;
    make_certificate("host", "localhost", "127.0.0.1", -1, 30);
    make_certificate("other", "other.test", NULL, -1, 30);
    make_certificate("wild", "*.s3.test", "s3.test", -1, 30);
    make_certificate("exact", "photos.s3.test", NULL, -1, 30);
    make_certificate("old", "old.test", NULL, -30, -1);
    make_certificate("early", "early.test", NULL, 1, 30);
    return 0;
}

static inline int64_t failures(enum tls_failure why)
{
    struct text_buf text = {0};
    char name[128];
    metric_write_all(&text);
    snprintf(name, sizeof name, "\nsluice_tls_handshake_failures_total{reason=\"%s\"} ",
             tls_failure_name(why));
    const char *at = text.data ? strstr(text.data, name) : NULL;
    assert_non_null(at);
    int64_t value = strtoll(at + strlen(name), NULL, 10);
    text_free(&text);
    return value;
}

static inline bool failed_since(enum tls_failure why, int64_t before, int64_t wanted)
{
    for (int i = 0; i < 3000 && failures(why) < before + wanted; i++)
        usleep(1000);
    return failures(why) == before + wanted;
}

#define RUNNING(test) cmocka_unit_test_setup_teardown(test, set_up_running, tear_down)
#define STOPPED(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

static inline int tls_run(int (*run)(const char *name))
{
    log_set_level(getenv("HTTP_TEST_LOG") ? LOG_INFO : LOG_ERROR);
    ring_choice = RING_AUTO;
    int failed = run("TLS on io_uring");
    ring_choice = RING_FORCE_POLL;
    return failed + run("TLS on epoll");
}

#endif
