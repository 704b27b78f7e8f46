/*
 * Configuration: names, values, where they come from, and that whatever is wrong is told with its
 * place and the nearest name.
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

#include "base/check.h"
#include "server/args.h"
#include "server/nearest.h"

struct fixture {
    struct config config;
    struct err_trail trail;
    char path[64];
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    config_init(&f->config);
    strcpy(f->path, "/tmp/sluice-config-XXXXXX");
    int fd = mkstemp(f->path);
    assert_true(fd >= 0);
    close(fd);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    unlink(f->path);
    free(f);
    return 0;
}

static enum err read_text(struct fixture *f, const char *text)
{
    FILE *file = fopen(f->path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    err_trail_reset(&f->trail);
    return config_read_file(&f->config, f->path, &f->trail);
}

static void assert_says(const struct fixture *f, const char *part)
{
    if (strstr(f->trail.text, part) == NULL)
        fail_msg("'%s' does not say '%s'", f->trail.text, part);
}

/* ---- names ---- */

static void distances_count_typing_mistakes(void **state)
{
    static const struct {
        const char *a, *b;
        unsigned distance;
    } rows[] = {
        {"", "", 0},
        {"listen", "listen", 0},
        {"lisen", "listen", 1},
        {"listne", "listen", 1},
        {"kitten", "sitting", 3},
        {"ab", "ba", 1},
        {"", "abc", 3},
        {"level", "lvel", 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(name_distance(rows[i].a, rows[i].b), rows[i].distance);
        assert_int_equal(name_distance(rows[i].b, rows[i].a), rows[i].distance);
    }
}

static void a_far_name_is_no_suggestion(void **state)
{
    struct nearest nearest = {.wanted = "frobnicate"};
    nearest_offer(&nearest, "listen");
    nearest_offer(&nearest, "region");
    assert_null(nearest.name);
}

/* ---- values ---- */

static void values_are_judged(void **state)
{
    static const struct {
        const char *section, *key, *value, *complaint; /* NULL: good */
    } rows[] = {
        {"s3", "listen", "0.0.0.0:80", NULL},
        {"s3", "listen", "[::1]:9000", NULL},
        {"s3", "listen", "[::]:0", NULL},
        {"s3", "listen", "localhost:1", NULL},
        {"s3", "listen", "::1:9000", "brackets"},
        {"s3", "listen", "9000", "ADDRESS:PORT"},
        {"s3", "listen", "example.com:9000", "numeric address"},
        {"s3", "listen", "1.2.3.4:65536", "port number"},
        {"s3", "listen", "1.2.3.4:", "port number"},
        {"s3", "listen", "[1.2.3.4]:80", "ADDRESS:PORT"},
        {"s3", "workers", "auto", NULL},
        {"s3", "workers", "8", NULL},
        {"s3", "workers", "0", "outside 1 to 256"},
        {"s3", "workers", "257", "outside 1 to 256"},
        {"s3", "workers", "8x", "whole number"},
        {"s3", "idle-timeout", "90s", NULL},
        {"s3", "idle-timeout", "90", "a time such as"},
        {"s3", "idle-timeout", "-1s", "a time such as"},
        {"s3", "idle-timeout", "1ms", "outside 100ms"},
        {"s3", "region", "eu-north-1", NULL},
        {"tls", "certificate", "/etc/sluice/tls.crt", NULL},
        {"tls", "min-version", "1.3", NULL},
        {"tls", "min-version", "1.1", "none of 1.2|1.3"},
        {"tls", "cert", "x", "did you mean certificate?"},
        {"memory", "arena", "auto", NULL},
        {"memory", "arena", "128MiB", NULL},
        {"memory", "arena", "1.5GiB", NULL},
        {"memory", "arena", "1 GB", NULL},
        {"memory", "arena", "64", "outside 8MiB"},
        {"memory", "arena", "64XiB", "a size such as"},
        {"memory", "arena", "99999999999999999999", "a size such as"},
        {"memory", "arena", "18446744073709551615PiB", "a size such as"},
        {"memory", "index-cache", "auto", "a size such as"},
        {"storage", "allow-buffered", "YES", NULL},
        {"storage", "allow-buffered", "off", NULL},
        {"storage", "allow-buffered", "maybe", "neither yes nor no"},
        {"log", "level", "debug", NULL},
        {"log", "level", "loud", "none of error|warn|info|debug"},
        {"log", "lvel", "debug", "did you mean level?"},
        {"log", "listen", "x", "it belongs to [s3]"},
        {"lgo", "level", "debug", "did you mean [log]?"},
        {"weather", "level", "debug", "--print-config"},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct config before = f->config;
        err_trail_reset(&f->trail);
        enum err e = config_set(&f->config, rows[i].section, rows[i].key,
                                bytes_of_string(rows[i].value), CONFIG_FLAG, &f->trail);
        if (rows[i].complaint == NULL) {
            if (e)
                fail_msg("%s = %s: %s", rows[i].key, rows[i].value, f->trail.text);
            continue;
        }
        if (e != ERR_INVALID)
            fail_msg("%s = %s is taken", rows[i].key, rows[i].value);
        assert_says(f, rows[i].complaint);
        assert_memory_equal(&before, &f->config, sizeof before);
    }
}

static void sizes_mean_what_they_say(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } rows[] = {{"0", 0},
                {"4096", 4096},
                {"64KiB", 65536},
                {"64kib", 65536},
                {"1.5GiB", 1610612736},
                {"10GB", 10000000000},
                {"0.25MiB", 262144},
                {"16PiB", 1ull << 54}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t bytes;
        assert_int_equal(size_parse(bytes_of_string(rows[i].text), &bytes), ERR_OK);
        assert_int_equal(bytes, rows[i].bytes);
    }
}

static void what_is_printed_can_be_read_back(void **state)
{
    static const uint64_t values[] = {0, 1, 1023, 1024, 65537, MIB(64), GIB(3) + 1, TIB(2)};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        char text[64];
        uint64_t back;
        struct buf size = BUF_ON(text);
        size_print(values[i], &size);
        assert_int_equal(size_parse(buf_bytes(&size), &back), ERR_OK);
        assert_int_equal(back, values[i]);
        struct buf duration = BUF_ON(text);
        duration_print(values[i] * NS_PER_MS, &duration);
        assert_int_equal(duration_parse(buf_bytes(&duration), &back), ERR_OK);
        assert_int_equal(back, values[i] * NS_PER_MS);
    }
}

/* ---- files ---- */

static void a_file_sets_what_it_names(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(
        read_text(f, "# a comment that is longer than libinih's lines: "
                     "0123456789012345678901234567890123456789012345678901234567890123456789"
                     "0123456789012345678901234567890123456789012345678901234567890123456789\n"
                     "[s3]\n"
                     "  listen = [::1]:7000   ; indented, with a comment behind it\n"
                     "domains: s3.example.com, s3.example.org\n"
                     "\r\n"
                     "[memory]\n"
                     "arena=256MiB"),
        ERR_OK);
    assert_string_equal(f->config.s3_listen.host, "::1");
    assert_int_equal(f->config.s3_listen.port, 7000);
    assert_int_equal(f->config.memory_arena, MIB(256));
    assert_int_equal(f->config.source[CONFIG_KEY_memory_arena], CONFIG_FILE);
    assert_int_equal(f->config.source[CONFIG_KEY_log_level], CONFIG_DEFAULT);
    char scratch[CONFIG_TEXT_MAX];
    const char *words[2];
    assert_int_equal(config_words(f->config.s3_domains, scratch, words, 2), 2);
    assert_string_equal(words[1], "s3.example.org");
}

static void a_bad_file_is_refused_with_its_line_and_changes_nothing(void **state)
{
    static const struct {
        const char *text, *line, *complaint;
    } rows[] = {
        {"[s3]\nlisten = 1.2.3.4:5\nlissten = 1\n", ":3: ", "did you mean listen?"},
        {"[s3]\nlisten = 1.2.3.4:5\nlisten = 1.2.3.4:6\n", ":3: ", "set twice"},
        {"\n\n[s4]\n", ":3: ", "did you mean [s3]?"},
        {"[s3\nlisten = 1.2.3.4:5\n", ":1: ", "no ]"},
        {"listen = 1.2.3.4:5\n", ":1: ", "before the first [section]"},
        {"[log]\nlevel = debug\nloud\n", ":3: ", "neither [section] nor key = value"},
        {"[log]\nlevel = louder\n", ":2: ", "none of"},
        {"[s3]\ndomains = "
         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
         "aaaa"
         "aaaaaaaaaaaaaaaaaaaaaaaaaaa\n",
         ":2: ", "longer than"},
        {"[s3]\nregion = \xff\xfe\n", ":2: ", "UTF-8"},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct config before = f->config;
        assert_int_equal(read_text(f, rows[i].text), ERR_INVALID);
        assert_says(f, rows[i].line);
        assert_says(f, rows[i].complaint);
        assert_memory_equal(&before, &f->config, sizeof before);
    }
    err_trail_reset(&f->trail);
    assert_int_equal(config_read_file(&f->config, "/nowhere/sluice.ini", &f->trail),
                     ERR_NO_SUCH_FILE);
    assert_says(f, "/nowhere/sluice.ini");
}

/* ---- environment, precedence ---- */

static void variables_are_known_or_refused(void **state)
{
    struct fixture *f = *state;
    char *good[] = {"HOME=/root", "SLUICE_S3_CONNECTIONS_MAX=77", "SLUICE_ACCESS_KEY=abc",
                    "SLUICE_LOG_LEVEL=warn", NULL};
    assert_int_equal(config_read_environment(&f->config, good, &f->trail), ERR_OK);
    assert_int_equal(f->config.s3_connections_max, 77);
    assert_int_equal(f->config.log_level, 1);
    char *misspelt[] = {"SLUICE_S3_LISTN=1.2.3.4:5", NULL};
    assert_int_equal(config_read_environment(&f->config, misspelt, &f->trail), ERR_INVALID);
    assert_says(f, "did you mean SLUICE_S3_LISTEN?");
    char *bad[] = {"SLUICE_LOG_LEVEL=loud", NULL};
    err_trail_reset(&f->trail);
    assert_int_equal(config_read_environment(&f->config, bad, &f->trail), ERR_INVALID);
    assert_says(f, "SLUICE_LOG_LEVEL");
}

static enum err parse(struct fixture *f, char **variables, struct args *args, const char *first,
                      ...)
{
    char *argv[16] = {"sluiced"};
    int argc = 1;
    va_list rest;
    va_start(rest, first);
    for (const char *arg = first; arg != NULL; arg = va_arg(rest, const char *))
        argv[argc++] = (char *)arg;
    va_end(rest);
    err_trail_reset(&f->trail);
    return args_parse(argc, argv, variables, args, &f->config, &f->trail);
}

static void flags_are_told_as_a_shell_takes_them(void **state)
{
    static const struct {
        char *argv[8];
        const char *told;
    } rows[] = {
        {{"sluiced", "/data"}, ""},
        {{"sluiced", "/data", "--config", "etc/a b.ini", "--s3=[::1]:0"},
         " --config '/here/etc/a b.ini' --s3 '[::1]:0'"},
        {{"sluiced", "--allow-buffered", "--config=/etc/sluice.ini", "data"},
         " --allow-buffered --config /etc/sluice.ini"},
        {{"sluiced", "data", "--set", "s3.domains=it's one"}, " --set 's3.domains=it'\\''s one'"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char text[256];
        struct buf out = BUF_ON(text);
        int argc = 0;
        while (rows[i].argv[argc] != NULL)
            argc++;
        args_flags(argc, rows[i].argv, "/here", &out);
        assert_true(bytes_equal(buf_bytes(&out), bytes_of_string(rows[i].told)));
    }
    char small[8];
    struct buf out = BUF_ON(small);
    args_flags(4, rows[3].argv, "/here", &out);
    assert_true(out.overflowed);
}

static void a_flag_outdoes_environment_file_and_default(void **state)
{
    struct fixture *f = *state;
    char *none[] = {NULL};
    char *some[] = {"SLUICE_S3_LISTEN=127.0.0.1:3", "SLUICE_LOG_LEVEL=error", NULL};
    struct args args;
    assert_int_equal(
        read_text(f, "[s3]\nlisten = 127.0.0.1:2\nregion = file\n[log]\nlevel=debug\n"), ERR_OK);
    assert_int_equal(parse(f, none, &args, "/data", NULL), ERR_OK);
    assert_int_equal(f->config.s3_listen.port, 9000);
    assert_string_equal(args.dir, "/data");
    assert_int_equal(parse(f, none, &args, "/data", "--config", f->path, NULL), ERR_OK);
    assert_int_equal(f->config.s3_listen.port, 2);
    assert_int_equal(parse(f, some, &args, "/data", "--config", f->path, NULL), ERR_OK);
    assert_int_equal(f->config.s3_listen.port, 3);
    assert_string_equal(f->config.s3_region, "file");
    assert_int_equal(parse(f, some, &args, "--s3=[::1]:4", "--set", "log.level=info", "/data",
                           "--config", f->path, NULL),
                     ERR_OK);
    assert_int_equal(f->config.s3_listen.port, 4);
    assert_int_equal(f->config.log_level, 2);
    assert_int_equal(f->config.source[CONFIG_KEY_s3_listen], CONFIG_FLAG);
}

static void a_wrong_command_line_is_told_in_a_sentence(void **state)
{
    struct fixture *f = *state;
    char *none[] = {NULL};
    static const struct {
        const char *a, *b, *c, *complaint;
    } rows[] = {
        {NULL, NULL, NULL, "which directory?"},
        {"--s4", "x", "/d", "did you mean --s3?"},
        {"/d", "--s3", NULL, "--s3 wants ADDR:PORT"},
        {"/d", "/e", NULL, "two directories"},
        {"/d", "--allow-buffered=yes", NULL, "takes no value"},
        {"/d", "--set", "log.level", "SECTION.KEY=VALUE"},
        {"/d", "--set", "log.lvel=debug", "did you mean level?"},
        {"/d", "--s3", "127.0.0.1:9001", "both 9001"},
        {"/d", "", NULL, "empty argument"},
        {"/d", "--set", "storage.segment-size=17MiB", "power of two"},
        {"/d", "--tls-key", "k", "[tls] certificate is not"},
        {"/d", "--set", "tls.listen=0.0.0.0:9443", "there is no certificate"},
        {"/d", "--set", "tls.listen=9443", "[tls] listen"},
    };
    struct args args;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(parse(f, none, &args, rows[i].a, rows[i].b, rows[i].c, NULL), ERR_INVALID);
        assert_says(f, rows[i].complaint);
    }
}

static void tls_has_the_s3_port_or_one_of_its_own(void **state)
{
    struct fixture *f = *state;
    char *none[] = {NULL};
    struct args args;
    struct address listen;
    assert_int_equal(parse(f, none, &args, "/d", NULL), ERR_OK);
    assert_false(config_has_tls(&f->config));
    assert_int_equal(parse(f, none, &args, "/d", "--tls-cert", "c", "--tls-key", "k", NULL),
                     ERR_OK);
    assert_true(config_has_tls(&f->config));
    assert_false(config_tls_listen(&f->config, &listen));
    assert_int_equal(
        parse(f, none, &args, "/d", "--tls-cert=c", "--set", "tls.listen=[::]:9443", NULL), ERR_OK);
    assert_true(config_tls_listen(&f->config, &listen));
    assert_int_equal(listen.port, 9443);
    assert_int_equal(
        parse(f, none, &args, "/d", "--tls-cert=c", "--set", "tls.listen=[::]:9000", NULL),
        ERR_INVALID);
    assert_says(f, "port 9000 of [tls] listen is another's too");
}

static void help_is_given_whatever_else_is_wrong(void **state)
{
    struct fixture *f = *state;
    char *bad[] = {"SLUICE_LOG_LEVEL=loud", NULL};
    struct args args;
    assert_int_equal(parse(f, bad, &args, "--help", NULL), ERR_OK);
    assert_int_equal(args.action, ARGS_HELP);
}

/* ---- the documented file ---- */

static void the_printed_configuration_reads_back_as_itself(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(read_text(f, "[s3]\nlisten=[::1]:7\n[memory]\narena=100MiB\n[log]\naccess="
                                  "on\n[server]\ndrain-timeout=1500ms\n"),
                     ERR_OK);
    struct text_buf text = {0};
    config_print(&f->config, &text);
    struct config before = f->config;
    config_init(&f->config);
    assert_int_equal(read_text(f, text.data), ERR_OK);
    text_free(&text);
    assert_memory_equal(&before, &f->config, sizeof before);
}

/* The example is what `sluiced --print-config` prints when nothing is set. */
static void the_example_is_up_to_date(void **state)
{
    struct fixture *f = *state;
    FILE *file = fopen(SOURCE_ROOT "/deploy/sluice.ini.example", "r");
    assert_non_null(file);
    static char example[65536];
    size_t size = fread(example, 1, sizeof example - 1, file);
    fclose(file);
    example[size] = '\0';
    struct text_buf text = {0};
    config_print(&f->config, &text);
    assert_non_null(text.data);
    int difference = strcmp(text.data, example);
    text_free(&text);
    if (difference != 0)
        fail_msg("deploy/sluice.ini.example is not what sluiced --print-config prints");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(distances_count_typing_mistakes),
        TEST(a_far_name_is_no_suggestion),
        TEST(values_are_judged),
        TEST(sizes_mean_what_they_say),
        TEST(what_is_printed_can_be_read_back),
        TEST(a_file_sets_what_it_names),
        TEST(a_bad_file_is_refused_with_its_line_and_changes_nothing),
        TEST(variables_are_known_or_refused),
        TEST(flags_are_told_as_a_shell_takes_them),
        TEST(a_flag_outdoes_environment_file_and_default),
        TEST(a_wrong_command_line_is_told_in_a_sentence),
        TEST(tls_has_the_s3_port_or_one_of_its_own),
        TEST(help_is_given_whatever_else_is_wrong),
        TEST(the_printed_configuration_reads_back_as_itself),
        TEST(the_example_is_up_to_date),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
