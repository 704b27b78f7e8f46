/*
 * sluice bench paths: every technique delivers the file's bytes, whatever the object's size and
 * place; a small run of all of it; what is told when a machine lacks something; the plot.
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

#include <errno.h>
#include <expat.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/check.h"
#include "base/limits.h"
#include "base/rand.h"
#include "tests/unit/capture.h"
#include "tools/bench_paths.h"
#include "tools/loopback.h"

#define CONTENT_BYTES (6u << 20)

struct fixture {
    char dir[40], path[64];
    struct capture out;
    struct cli cli;
    int file_fd, direct_fd;
    char *content, *received;
    struct bench_run run;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    *state = f;
    f->file_fd = f->direct_fd = -1;
    strcpy(f->dir, "/var/tmp/sluice-bench-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof f->path, "%s/file", f->dir);
    snprintf(f->out.path, sizeof f->out.path, "%s/out", f->dir);
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
    bench_run_fini(&f->run);
    if (f->file_fd >= 0)
        close(f->file_fd);
    if (f->direct_fd >= 0)
        close(f->direct_fd);
    free(f->content);
    free(f->received);
    snprintf(command, sizeof command, "rm -rf %s", f->dir);
    int rc = system(command);
    free(f);
    return rc;
}

/* ---- each technique alone ---- */

static void file_make(struct fixture *f)
{
    struct rand_seeded seeded;
    rand_seeded_init(&seeded, 7);
    f->content = malloc(CONTENT_BYTES);
    f->received = malloc(CONTENT_BYTES);
    assert_true(f->content != NULL && f->received != NULL);
    rand_fill(&seeded.rand, f->content, CONTENT_BYTES);
    f->file_fd = open(f->path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    assert_true(f->file_fd >= 0);
    assert_int_equal(write(f->file_fd, f->content, CONTENT_BYTES), CONTENT_BYTES);
    assert_int_equal(fdatasync(f->file_fd), 0);
    f->direct_fd = open(f->path, O_RDONLY | O_DIRECT | O_CLOEXEC);
}

/* In a process of its own: objects of that size from these places, three times. Ends with 0, or 77
 * when open() refused. */
_Noreturn static void serve(const struct fixture *f, const struct bench_technique *technique,
                            int fd, uint32_t object_bytes, uint64_t offset)
{
    char reason[BENCH_REASON_BYTES] = "";
    struct bench_sender sender = {.socket = fd,
                                  .file_fd = f->file_fd,
                                  .direct_fd = f->direct_fd,
                                  .object_bytes = object_bytes,
                                  .reason = reason};
    signal(SIGPIPE, SIG_IGN);
    int result = technique->open != NULL ? technique->open(&sender) : 0;
    if (result != 0)
        _exit(77);
    for (unsigned i = 0; i < 3 && result == 0; i++)
        result = technique->send(&sender, offset);
    if (result == 0 && technique->finish != NULL)
        result = technique->finish(&sender);
    if (result == 0 && technique->is_zero_copy && sender.zero_copy_copied > sender.zero_copy_sends)
        result = EPROTO;
    if (technique->close != NULL)
        technique->close(&sender);
    _exit(result != 0);
}

static size_t receive_all(int fd, char *out, size_t size)
{
    size_t done = 0;
    for (ssize_t got; done < size; done += (size_t)got) {
        got = recv(fd, out + done, size - done, 0);
        if (got <= 0)
            break;
    }
    return done;
}

static void deliver(struct fixture *f, const struct bench_technique *technique,
                    uint32_t object_bytes, uint64_t offset)
{
    int server, client, status;
    assert_int_equal(loopback_pair(&server, &client), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(client);
        serve(f, technique, server, object_bytes, offset);
    }
    close(server);
    bool is_same = true;
    for (unsigned i = 0; i < 3 && is_same; i++) {
        memset(f->received, 0, object_bytes);
        is_same = receive_all(client, f->received, object_bytes) == object_bytes &&
                  memcmp(f->received, f->content + offset, object_bytes) == 0;
    }
    bool is_end = receive_all(client, f->received, 1) == 0;
    close(client);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        return; /* this machine has it not */
    if (!is_same || !is_end || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("%s, %u bytes from %llu: same %d, ends %d, status %d", technique->id, object_bytes,
                 (unsigned long long)offset, is_same, is_end, status);
}

static void every_technique_delivers_the_files_bytes(void **state)
{
    struct fixture *f = *state;
    /* A unit; a slot and a unit; a pipe and a unit; more than a chain of pipes would be 7 MiB:
     * covered by the run below. */
    static const struct {
        uint32_t object_bytes;
        uint64_t offset;
    } rows[] = {{4096, 0},      {4096, 4096 * 7},       {65536, 4096},
                {266240, 8192}, {(1u << 20) + 4096, 0}, {(5u << 20) + 12288, 4096 * 3}};
    file_make(f);
    for (unsigned t = 0; t < BENCH_TECHNIQUES; t++)
        for (size_t i = 0; i < COUNT_OF(rows); i++)
            if (!bench_techniques[t]->is_direct || f->direct_fd >= 0)
                deliver(f, bench_techniques[t], rows[i].object_bytes, rows[i].offset);
}

/* A client that hangs up ends a technique with an error, and never a hang. */
static void a_client_that_leaves_ends_the_sending(void **state)
{
    struct fixture *f = *state;
    file_make(f);
    for (unsigned t = 0; t < BENCH_TECHNIQUES; t++) {
        int server, client, status;
        if (bench_techniques[t]->is_direct && f->direct_fd < 0)
            continue;
        assert_int_equal(loopback_pair(&server, &client), 0);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            close(client);
            alarm(120); /* a hang is a failure, and ends */
            serve(f, bench_techniques[t], server, 5u << 20, 0);
        }
        close(server);
        (void)receive_all(client, f->received, 4096);
        close(client);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (!WIFEXITED(status) || WEXITSTATUS(status) == 0)
            fail_msg("%s: status %d", bench_techniques[t]->id, status);
    }
}

/* ---- all of it ---- */

static const struct bench_point *point_of(const struct bench_run *run,
                                          const struct bench_technique *technique,
                                          uint32_t object_bytes, bool is_cold)
{
    for (size_t i = 0; i < run->point_count; i++) {
        const struct bench_point *point = &run->points[i];
        if (point->technique == technique && point->object_bytes == object_bytes &&
            point->is_cold == is_cold)
            return point;
    }
    fail_msg("no point of %s", technique->id);
    return NULL;
}

static void a_run_measures_each_point_and_compared_it_first(void **state)
{
    struct fixture *f = *state;
    struct bench_options options = {.dir = f->dir,
                                    .sizes = {65536, 16u << 20},
                                    .size_count = 2,
                                    .seconds = 0.005,
                                    .with_cold = true};
    assert_int_equal(bench_paths_run(&f->cli, &options, &f->run), EXIT_DONE);
    assert_int_equal(f->run.point_count, 2 * 2 * BENCH_TECHNIQUES);
    for (size_t i = 0; i < f->run.point_count; i++) {
        const struct bench_point *point = &f->run.points[i];
        if (point->reason[0] != '\0')
            continue; /* told below, by what is taken away on purpose */
        assert_true(point->is_verified);
        assert_int_equal(point->rounds, BENCH_ROUNDS);
        assert_true(point->median.mib_per_s > 0);
        assert_true(point->median.cpu_s_per_gib >= 0);
        assert_true(point->median.calls_per_object >= 1);
        assert_true(point->median.copied_share <= 1);
    }
    /* What is counted is what the techniques do: two calls a buffer, three an object, one. */
    const struct bench_point *point = point_of(&f->run, &bench_read_write, 65536, false);
    assert_true(point->rounds > 0);
    assert_true(point->median.calls_per_object >= 2 && point->median.calls_per_object < 3);
    point = point_of(&f->run, &bench_mmap_write, 16u << 20, false);
    assert_true(point->median.calls_per_object >= 3);
    point = point_of(&f->run, &bench_sendfile, 65536, false);
    assert_true(point->median.calls_per_object >= 1 && point->median.calls_per_object < 2);
    assert_true(point_of(&f->run, &bench_sendfile, 65536, true)->rounds > 0);
}

static void a_directory_that_cannot_be_written_is_told(void **state)
{
    struct fixture *f = *state;
    struct bench_options options = {
        .dir = "/proc/self", .sizes = {4096}, .size_count = 1, .seconds = 0.001};
    capture_begin(&f->out);
    enum exit_code code = bench_paths_run(&f->cli, &options, &f->run);
    capture_end(&f->out);
    assert_int_equal(code, EXIT_REFUSED);
    json_t *json = capture_json(&f->out);
    assert_non_null(strstr(json_text(json_object_get(json, "error"), "message"), "/proc/self"));
    json_decref(json);
}

static void without_direct_io_its_rows_say_so_and_the_others_go_on(void **state)
{
    struct fixture *f = *state;
    struct statvfs space;
    if (statvfs("/dev/shm", &space) != 0 || (uint64_t)space.f_bavail * space.f_frsize < MIB(80))
        skip(); /* some containers have less than the 64 MiB that are written */
    struct bench_options options = {
        .dir = "/dev/shm", .sizes = {65536}, .size_count = 1, .seconds = 0.005};
    capture_begin(&f->out);
    enum exit_code code = bench_paths_run(&f->cli, &options, &f->run);
    capture_end(&f->out);
    assert_int_equal(code, EXIT_DONE);
    for (size_t i = 0; i < f->run.point_count; i++)
        if (f->run.points[i].technique->is_direct) {
            assert_non_null(strstr(f->run.points[i].reason, "tmpfs"));
            assert_int_equal(f->run.points[i].rounds, 0);
        }
    assert_int_equal(point_of(&f->run, &bench_sendfile, 65536, false)->rounds, BENCH_ROUNDS);
}

/* As Docker's profile does. For ever: in a process of its own. */
static void forbid_io_uring(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = COUNT_OF(code), .filter = code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        _exit(77);
}

static void where_io_uring_is_forbidden_its_rows_say_so_and_the_others_go_on(void **state)
{
    struct fixture *f = *state;
    int status;
    fflush(stdout);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct bench_options options = {
            .dir = f->dir, .sizes = {65536}, .size_count = 1, .seconds = 0.005};
        forbid_io_uring();
        if (bench_paths_run(&f->cli, &options, &f->run) != EXIT_DONE)
            _exit(2);
        const struct bench_point *forbidden = point_of(&f->run, &bench_uring_splice, 65536, false),
                                 *free_to_go = point_of(&f->run, &bench_splice, 65536, false);
        _exit(forbidden->rounds == 0 && strstr(forbidden->reason, "io_uring") != NULL &&
                      strstr(forbidden->reason, "permitted") != NULL &&
                      free_to_go->rounds == BENCH_ROUNDS
                  ? 0
                  : 3);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        skip();
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void a_wrong_command_line_is_told(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *a, *b, *message;
    } rows[] = {
        {NULL, NULL, "paths"},
        {"path", NULL, "no sluice bench path"},
        {"paths", "--sizes=", "at least one"},
        {"paths", "--sizes=4KiB,,1MiB", "multiple of 4 KiB"},
        {"paths", "--sizes=5000", "multiple of 4 KiB"},
        {"paths", "--sizes=512MiB", "256 MiB"},
        {"paths", "--sizes=1MiB,4KiB", "grow"},
        {"paths", "--sizes=4KiB,4KiB", "grow"},
        {"paths",
         "--sizes=4KiB,8KiB,12KiB,16KiB,20KiB,24KiB,28KiB,32KiB,36KiB,40KiB,44KiB,48KiB,52KiB",
         "at most 12"},
        {"paths", "--seconds=0", "above 0"},
        {"paths", "--seconds=nan", "above 0"},
        {"paths", "--seconds=1x", "above 0"},
        {"paths", "--second=1", "no option"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char *argv[] = {"bench", (char *)rows[i].a, (char *)rows[i].b, NULL};
        capture_begin(&f->out);
        enum exit_code code = cmd_bench.run(&f->cli,
                                            rows[i].a == NULL   ? 1
                                            : rows[i].b == NULL ? 2
                                                                : 3,
                                            argv);
        capture_end(&f->out);
        assert_int_equal(code, EXIT_WRONG_USAGE);
        json_t *json = capture_json(&f->out);
        const char *message = json_text(json_object_get(json, "error"), "message");
        if (strstr(message, rows[i].message) == NULL)
            fail_msg("row %zu says '%s'", i, message);
        json_decref(json);
    }
}

/* ---- telling ---- */

static void medians_are_the_middle(void **state)
{
    static const struct {
        double values[5], median;
        size_t count;
    } rows[] = {
        {{3, 1, 2}, 2, 3}, {{5, 4, 3, 2, 1}, 3, 5}, {{4, 1}, 2.5, 2}, {{7}, 7, 1}, {{0}, 0, 0}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        double values[5];
        memcpy(values, rows[i].values, sizeof values);
        assert_true(bench_median(values, rows[i].count) == rows[i].median);
    }
}

/* A run as if measured: technique t at size s costs (t + 1) / (s + 1); the one named is missing. */
static void pretend_run(struct fixture *f, bool with_cold, unsigned missing)
{
    f->run = (struct bench_run){.options = {.sizes = {4096, 1u << 20},
                                            .size_count = 2,
                                            .seconds = 1,
                                            .with_cold = with_cold},
                                .date = "2026-01-02",
                                .kernel = "Linux <6> & \"more\"",
                                .cpu = "A\tCPU",
                                .file_system = "xfs",
                                .cores = 2};
    f->run.points = calloc(2 * 2 * BENCH_TECHNIQUES, sizeof *f->run.points);
    assert_non_null(f->run.points);
    for (unsigned half = 0; half < (with_cold ? 2u : 1u); half++)
        for (unsigned s = 0; s < 2; s++)
            for (unsigned t = 0; t < BENCH_TECHNIQUES; t++) {
                struct bench_point *point = &f->run.points[f->run.point_count++];
                *point = (struct bench_point){.technique = bench_techniques[t],
                                              .object_bytes = f->run.options.sizes[s],
                                              .is_cold = half == 1,
                                              .is_verified = true};
                if (t == missing || missing == UINT32_MAX) {
                    strcpy(point->reason, "not here");
                    continue;
                }
                point->rounds = 1;
                point->median = point->round[0] =
                    (struct bench_figures){.mib_per_s = 100.0 * (s + 1) / (t + 1),
                                           .cpu_s_per_gib = (t + 1.0) / (s + 1),
                                           .copied_share = -1};
            }
}

static unsigned count_of(const char *text, const char *part)
{
    unsigned count = 0;
    for (; (text = strstr(text, part)) != NULL; text += strlen(part))
        count++;
    return count;
}

static void the_plot_is_well_formed_and_has_a_line_for_what_was_measured(void **state)
{
    struct fixture *f = *state;
    for (unsigned with_cold = 0; with_cold < 2; with_cold++) {
        struct text_buf svg = {0};
        pretend_run(f, with_cold, 2);
        assert_true(bench_paths_svg(&f->run, &svg));
        XML_Parser parser = XML_ParserCreate(NULL);
        assert_non_null(parser);
        assert_int_equal(XML_Parse(parser, svg.data, (int)svg.size, 1), XML_STATUS_OK);
        XML_ParserFree(parser);
        unsigned panels = with_cold ? 4 : 2;
        assert_int_equal(count_of(svg.data, "polyline class=\"s"), panels * (BENCH_TECHNIQUES - 1));
        /* The missing one has no name either. */
        assert_int_equal(count_of(svg.data, ">sendfile</text>"), 0);
        assert_int_equal(count_of(svg.data, ">splice</text>"), panels);
        assert_int_equal(count_of(svg.data, "nan"), 0);
        assert_int_equal(count_of(svg.data, "inf"), 0);
        text_free(&svg);
        bench_run_fini(&f->run);
    }
    struct text_buf svg = {0};
    pretend_run(f, false, UINT32_MAX);
    assert_false(bench_paths_svg(&f->run, &svg));
    text_free(&svg);
}

static void the_json_says_what_is_missing_and_why(void **state)
{
    struct fixture *f = *state;
    pretend_run(f, false, 3);
    json_t *json = bench_paths_json(&f->run);
    assert_non_null(json);
    const json_t *points = json_object_get(json, "points");
    assert_int_equal(json_array_size(points), 2 * BENCH_TECHNIQUES);
    const json_t *missing = json_array_get(points, 3), *there = json_array_get(points, 0);
    assert_false(json_is_true(json_object_get(missing, "measured")));
    assert_string_equal(json_text(missing, "reason"), "not here");
    assert_null(json_object_get(missing, "median"));
    assert_true(json_is_null(json_object_get(json_object_get(there, "median"), "copied_share")));
    assert_true(
        json_real_value(json_object_get(json_object_get(there, "median"), "cpu_s_per_gib")) == 1.0);
    json_decref(json);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(every_technique_delivers_the_files_bytes),
        TEST(a_client_that_leaves_ends_the_sending),
        TEST(a_run_measures_each_point_and_compared_it_first),
        TEST(a_directory_that_cannot_be_written_is_told),
        TEST(without_direct_io_its_rows_say_so_and_the_others_go_on),
        TEST(where_io_uring_is_forbidden_its_rows_say_so_and_the_others_go_on),
        TEST(a_wrong_command_line_is_told),
        TEST(medians_are_the_middle),
        TEST(the_plot_is_well_formed_and_has_a_line_for_what_was_measured),
        TEST(the_json_says_what_is_missing_and_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
