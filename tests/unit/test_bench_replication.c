/*
 * sluice bench replication: a short run of real nodes on a real disk, whose figures and receipts
 * are judged and which leaves nothing behind; what is told when it cannot be, and of wrong flags.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <dirent.h>

#include "base/check.h"
#include "tests/unit/capture.h"
#include "tools/bench_replication.h"

struct fixture {
    char dir[64];
    struct cli cli;
    struct capture out;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    *state = f;
    strcpy(f->dir, "/var/tmp/sluice-bench-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->out.path, sizeof f->out.path, "%s.out", f->dir);
    f->cli.json = true;
    f->cli.dir_from = "--dir";
    f->cli.command = &cmd_bench;
    strcpy(f->cli.dir, f->dir);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char command[96];
    capture_end(&f->out);
    (void)unlink(f->out.path); /* absent in some tests */
    snprintf(command, sizeof command, "rm -rf %s", f->dir);
    int rc = system(command);
    free(f);
    return rc;
}

/* Runs `sluice bench` with argv; what it printed is parsed as JSON: the caller's. */
static enum exit_code run(struct fixture *f, int argc, char *argv[], json_t **ret_json)
{
    capture_begin(&f->out);
    enum exit_code code = cmd_bench.run(&f->cli, argc, argv);
    capture_end(&f->out);
    *ret_json = capture_json(&f->out);
    assert_non_null(*ret_json);
    return code;
}

static unsigned entries(const char *dir)
{
    unsigned count = 0;
    DIR *stream = opendir(dir);
    assert_non_null(stream);
    for (struct dirent *entry; (entry = readdir(stream)) != NULL;)
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(stream);
    return count;
}

static void judge_figure(const json_t *figure, unsigned nodes, unsigned size, unsigned in_flight)
{
    static const char *const positive[] = {"seconds",       "p50_us",
                                           "p99_us",        "operations_per_second",
                                           "mb_per_second", "cpu_seconds_per_1000"};
    for (size_t i = 0; i < COUNT_OF(positive); i++)
        if (!(json_real_value(json_object_get(figure, positive[i])) > 0))
            fail_msg("%s of %u bytes on %u nodes is not above 0", positive[i], size, nodes);
    assert_int_equal(json_number(figure, "nodes"), nodes);
    assert_int_equal(json_number(figure, "size"), size);
    assert_int_equal(json_number(figure, "in_flight"), in_flight);
    assert_int_equal(json_number(figure, "replicas_in_each_receipt"), nodes);
    assert_true(json_number(figure, "operations") >= in_flight);
    assert_string_equal(json_text(figure, "carried_by"), nodes > 1 ? "tcp" : "none");
    assert_true(json_real_value(json_object_get(figure, "p50_us")) <=
                json_real_value(json_object_get(figure, "p99_us")));
}

static void a_short_run_says_three_replicas_and_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    char *argv[] = {"bench",         "replication",   "--seconds=0.05",
                    "--backend=tcp", "--in-flight=7", NULL};
    json_t *json;
    enum exit_code code = run(f, 5, argv, &json);
    if (code != EXIT_DONE)
        fail_msg("%s", json_text(json_object_get(json, "error"), "message"));
    assert_string_equal(json_text(json, "backend"), "tcp");
    assert_true(json_text(json, "device")[0] != '\0');
    assert_int_equal(json_number(json, "nodes"), 3);
    assert_true(json_real_value(json_object_get(json, "small_of_alone")) > 0);
    assert_true(json_real_value(json_object_get(json, "large_of_alone")) > 0);
    const json_t *figures = json_object_get(json, "figures");
    assert_int_equal(json_array_size(figures), 4);
    judge_figure(json_array_get(figures, 0), 1, 4096, 7);
    judge_figure(json_array_get(figures, 1), 1, 1u << 20, BENCH_BODIES);
    judge_figure(json_array_get(figures, 2), 3, 4096, 7);
    judge_figure(json_array_get(figures, 3), 3, 1u << 20, BENCH_BODIES);
    json_decref(json);
    assert_int_equal(entries(f->dir), 0);
}

static void two_nodes_with_an_address_each_and_the_most_in_flight(void **state)
{
    struct fixture *f = *state;
    struct bench_replication_options options = {
        .dir = f->dir,
        .node_count = 2,
        .address_count = 2,
        .choice = TRANSPORT_FORCE_TCP,
        .in_flight = BENCH_IN_FLIGHT_MAX,
        .seconds = 0.01,
    };
    struct bench_replication_result result;
    for (unsigned i = 0; i < 2; i++) {
        struct sockaddr_in *address = (struct sockaddr_in *)&options.addresses[i];
        *address = (struct sockaddr_in){.sin_family = AF_INET,
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK + i)};
        options.address_sizes[i] = sizeof *address;
    }
    bench_replication_run(&options, &result);
    if (result.e)
        fail_msg("%s", result.sentence);
    for (unsigned i = 0; i < BENCH_REPLICATION_FIGURES; i++) {
        const struct bench_replication_figure *figure = &result.figures[i];
        assert_int_equal(figure->replicas_least, i < 2 ? 1 : 2);
        assert_true(figure->operations >= figure->depth);
        assert_int_equal(figure->by_tcp, i < 2 ? 0 : figure->operations);
        assert_int_equal(figure->by_rdma, 0);
    }
    assert_int_equal(entries(f->dir), 0);
}

static void a_directory_that_is_not_there_is_told(void **state)
{
    struct fixture *f = *state;
    char *argv[] = {"bench", "replication", NULL};
    json_t *json;
    snprintf(f->cli.dir, sizeof f->cli.dir, "%s/absent", f->dir);
    assert_int_equal(run(f, 2, argv, &json), EXIT_REFUSED);
    assert_non_null(strstr(json_text(json_object_get(json, "error"), "message"), "/absent"));
    json_decref(json);
}

/* The node alone was measured by then: its directory goes as well. */
static void an_address_of_another_machine_is_told_and_nothing_is_left(void **state)
{
    struct fixture *f = *state;
    char *argv[] = {"bench", "replication", "--seconds=0.01", "--address=192.0.2.1", NULL};
    json_t *json;
    assert_int_equal(run(f, 4, argv, &json), EXIT_REFUSED);
    assert_non_null(strstr(json_text(json_object_get(json, "error"), "message"), "port for node"));
    json_decref(json);
    assert_int_equal(entries(f->dir), 0);
}

static void a_wrong_command_line_is_told(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *a, *b, *message;
    } rows[] = {
        {"--nodes=1", NULL, "2 to 5"},
        {"--nodes=6", NULL, "2 to 5"},
        {"--nodes=x", NULL, "whole number"},
        {"--in-flight=0", NULL, "1 to 256"},
        {"--in-flight=257", NULL, "1 to 256"},
        {"--seconds=0", NULL, "above 0"},
        {"--seconds=nan", NULL, "above 0"},
        {"--seconds=61", NULL, "at most 60"},
        {"--backend=rdma", NULL, "none of auto, tcp, verbs"},
        {"--address=nowhere", NULL, "no address"},
        {"--address=127.0.0.1:80", NULL, "ports are chosen"},
        {"--address=127.0.0.1", "--address=127.0.0.2", "2 are given for 3 nodes"},
        {"--second=1", NULL, "no option"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char *argv[] = {"bench", "replication", (char *)rows[i].a, (char *)rows[i].b, NULL};
        json_t *json;
        enum exit_code code = run(f, rows[i].b == NULL ? 3 : 4, argv, &json);
        const char *message = json_text(json_object_get(json, "error"), "message");
        if (code != EXIT_WRONG_USAGE || strstr(message, rows[i].message) == NULL)
            fail_msg("%s: exit code %d, '%s'", rows[i].a, code, message);
        json_decref(json);
    }
    assert_int_equal(entries(f->dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_short_run_says_three_replicas_and_leaves_nothing, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(two_nodes_with_an_address_each_and_the_most_in_flight,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_directory_that_is_not_there_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(an_address_of_another_machine_is_told_and_nothing_is_left,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_wrong_command_line_is_told, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
