/* Errors, randomness, clocks, log and metrics: small modules, few promises each. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/rand.h"

static void every_error_has_name_sentence_and_family(void **state)
{
    (void)state;
    for (int e = 0; e < ERR_COUNT; e++) {
        assert_true(strlen(err_name((enum err)e)) > 0);
        assert_true(strlen(err_text((enum err)e)) > 0);
        assert_true((err_family((enum err)e) == FAM_OK) == (e == ERR_OK));
        assert_true(strlen(err_family_name(err_family((enum err)e))) > 0);
    }
    for (int errnum = 1; errnum < 200; errnum++)
        assert_int_not_equal(err_from_errno(errnum), ERR_OK);
}

static void a_trail_reads_from_the_outside_in(void **state)
{
    (void)state;
    struct err_trail trail = {0};
    assert_int_equal(err_note(&trail, ERR_IO, "append to segment %u", 7), ERR_IO);
    assert_int_equal(err_note(&trail, ERR_IO, "put photos/cat.jpg"), ERR_IO);
    assert_string_equal(err_trail_text(&trail, ERR_IO),
                        "put photos/cat.jpg: append to segment 7: the disk or socket refused");
    for (int i = 0; i < 20; i++)
        (void)err_note(&trail, ERR_IO, "a phrase of some length, number %d", i);
    assert_true(strlen(trail.text) < ERR_TRAIL_BYTES);
    assert_memory_equal(trail.text, "a phrase of some length, number 19", 34);
    assert_int_equal(err_note(NULL, ERR_BUSY, "nobody listens"), ERR_BUSY);
    err_trail_reset(&trail);
    assert_string_equal(err_trail_text(&trail, ERR_BUSY), err_text(ERR_BUSY));
}

static void a_seed_repeats_itself(void **state)
{
    (void)state;
    struct rand_seeded a, b, c;
    rand_seeded_init(&a, 1);
    rand_seeded_init(&b, 1);
    rand_seeded_init(&c, 2);
    unsigned same = 0;
    for (int i = 0; i < 100; i++) {
        uint64_t value = rand_u64(&a.rand);
        assert_true(value == rand_u64(&b.rand));
        same += value == rand_u64(&c.rand);
        assert_true(rand_below(&a.rand, 7) < 7);
        (void)rand_below(&b.rand, 7);
    }
    assert_int_equal(same, 0);
    uint8_t zero[32] = {0}, drawn[32] = {0};
    rand_fill(rand_system(), drawn, sizeof drawn);
    assert_memory_not_equal(drawn, zero, sizeof zero);
}

static void a_manual_clock_stands_still(void **state)
{
    (void)state;
    struct clock_manual manual;
    clock_manual_init(&manual, 5 * NS_PER_SECOND);
    uint64_t before = clock_mono_ns(&manual.clock);
    assert_int_equal(clock_mono_ns(&manual.clock), before);
    clock_manual_advance(&manual, 3);
    assert_int_equal(clock_mono_ns(&manual.clock), before + 3);
    assert_int_equal(clock_real_ns(&manual.clock), 5 * NS_PER_SECOND + 3);
}

/* What log_write puts on standard error. */
static void logged(enum log_format format, const char *message, char *out, size_t size)
{
    int pipe_fds[2], saved = dup(STDERR_FILENO);
    assert_int_equal(pipe(pipe_fds), 0);
    dup2(pipe_fds[1], STDERR_FILENO);
    log_set_format(format);
    LOG(LOG_INFO, "test", "%s", message);
    LOG(LOG_DEBUG, "test", "below the threshold");
    log_set_format(LOG_TEXT);
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(pipe_fds[1]);
    ssize_t got = read(pipe_fds[0], out, size - 1);
    assert_true(got > 0);
    out[got] = '\0';
    close(pipe_fds[0]);
}

static void a_line_cannot_be_forged(void **state)
{
    (void)state;
    char text[4096];
    logged(LOG_TEXT, "key=a\nb\x1b[0m", text, sizeof text);
    assert_non_null(strstr(text, " info test: key=a\\x0ab\\x1b[0m\n"));
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    logged(LOG_JSON, "say \"hi\"\n", text, sizeof text);
    assert_non_null(strstr(text, "\"message\":\"say \\\"hi\\\"\\u000a\"}\n"));
    char *many = malloc(10000);
    memset(many, 'x', 9999);
    many[9999] = '\0';
    logged(LOG_JSON, many, text, sizeof text);
    assert_string_equal(text + strlen(text) - 3, "\"}\n");
    free(many);
}

/* A log reader takes a line as a whole or not at all: no half escape at the cut, no byte that is
 * not UTF-8. */
static void json_lines_are_json_whatever_is_logged(void **state)
{
    (void)state;
    char text[4096], message[1000];
    /* Six bytes each: the cut falls anywhere in an escape. */
    for (size_t size = 300; size < 380; size++) {
        memset(message, '\x01', size);
        message[size] = '\0';
        logged(LOG_JSON, message, text, sizeof text);
        char *at = strstr(text, "\"message\":\"");
        assert_non_null(at);
        for (at += 11; strncmp(at, "\\u0001", 6) == 0; at += 6)
            ;
        assert_string_equal(at, "\"}\n");
    }
    logged(LOG_JSON, "key=a\xff\xc3", text, sizeof text);
    assert_non_null(strstr(text, "\"message\":\"key=a\\u00ff\\u00c3\"}\n"));
    logged(LOG_TEXT,
           "key=\xc2\x9b"
           "31m",
           text, sizeof text);
    assert_non_null(strstr(text, "key=\\x9b31m\n"));
    logged(LOG_JSON, "key=\xc3\xa9", text, sizeof text);
    assert_non_null(strstr(text, "\"message\":\"key=\xc3\xa9\"}\n"));
}

static void a_site_is_limited_a_second(void **state)
{
    (void)state;
    struct log_limit limit = {0};
    unsigned allowed = 0;
    uint32_t suppressed = 0;
    for (int i = 0; i < 1000; i++)
        allowed += log_limit_allows(&limit, &suppressed);
    assert_in_range(allowed, 1, 10); /* five, or ten across a second's border */
    char field[LOG_SUPPRESSED_BYTES];
    assert_string_equal(log_suppressed(0, field), "");
    assert_string_equal(log_suppressed(UINT32_MAX, field), " suppressed=4294967295");
}

static struct metric requests = {
    .name = "test_requests_total", .labels = "method=\"GET\"", .help = "Requests."};
static struct metric more_requests = {
    .name = "test_requests_total", .labels = "method=\"PUT\"", .help = "Requests."};
static struct metric latency = {.name = "test_seconds",
                                .help = "Time.",
                                .kind = METRIC_HISTOGRAM,
                                .bucket_first = 1000,
                                .unit_per_one = 1000000000};

static void metrics_are_written_as_prometheus_reads_them(void **state)
{
    (void)state;
    metric_register(&requests);
    metric_register(&latency);
    metric_register(&more_requests);
    metric_register(&requests);
    metric_add(&requests, 3);
    metric_add(&more_requests, 1);
    metric_observe(&latency, 500);
    metric_observe(&latency, 1500);
    metric_observe(&latency, UINT64_MAX / 4);
    struct text_buf out = {0};
    metric_write_all(&out);
    assert_non_null(strstr(
        out.data, "# HELP test_requests_total Requests.\n# TYPE test_requests_total counter\n"
                  "test_requests_total{method=\"GET\"} 3\n"
                  "test_requests_total{method=\"PUT\"} 1\n"));
    assert_non_null(strstr(out.data, "# TYPE test_seconds histogram\n"));
    assert_non_null(strstr(
        out.data, "test_seconds_bucket{le=\"1e-06\"} 1\ntest_seconds_bucket{le=\"2e-06\"} 2\n"));
    assert_non_null(strstr(out.data, "test_seconds_bucket{le=\"+Inf\"} 3\n"));
    assert_non_null(strstr(out.data, "test_seconds_count 3\n"));
    text_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_error_has_name_sentence_and_family),
        cmocka_unit_test(a_trail_reads_from_the_outside_in),
        cmocka_unit_test(a_seed_repeats_itself),
        cmocka_unit_test(a_manual_clock_stands_still),
        cmocka_unit_test(a_line_cannot_be_forged),
        cmocka_unit_test(json_lines_are_json_whatever_is_logged),
        cmocka_unit_test(a_site_is_limited_a_second),
        cmocka_unit_test(metrics_are_written_as_prometheus_reads_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
