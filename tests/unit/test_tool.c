/*
 * The admin tool's own parts: command lines, names, numbers as people read them; and commands run
 * against a volume that nobody serves and a node that is not there.
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
#include <sys/stat.h>

#include "base/check.h"
#include "tests/unit/capture.h"
#include "tools/cli.h"

struct fixture {
    char base[64];
    struct cli cli;
    struct capture out;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    *state = f;
    strcpy(f->base, "/var/tmp/sluice-tool-XXXXXX");
    assert_non_null(mkdtemp(f->base));
    snprintf(f->out.path, sizeof f->out.path, "%s/out", f->base);
    snprintf(f->cli.dir, sizeof f->cli.dir, "%s/data", f->base);
    f->cli.dir_from = "--dir";
    f->cli.json = true; /* errors are told on standard output, where a test reads them */
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    capture_end(&f->out);
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", f->base);
    int rc = system(command);
    free(f);
    return rc;
}

static const char *error_text(const json_t *json, const char *name)
{
    const char *text = json_string_value(json_object_get(json_object_get(json, "error"), name));
    return text != NULL ? text : "";
}

/* Runs a command with these words; what it printed is parsed as JSON. */
static enum exit_code run(struct fixture *f, const struct command *command, json_t **ret_json,
                          const char *first, ...)
{
    char *argv[16] = {(char *)command->name, ""};
    int argc = 1;
    va_list rest;
    va_start(rest, first);
    for (const char *word = first; word != NULL; word = va_arg(rest, const char *))
        argv[argc++] = (char *)word;
    va_end(rest);
    f->cli.command = command;
    capture_begin(&f->out);
    enum exit_code code = command->run(&f->cli, argc, argv);
    capture_end(&f->out);
    *ret_json = capture_json(&f->out);
    if (json_object_get(*ret_json, "error") != NULL)
        print_message("# %s %s: %s\n", argv[0], argv[1], error_text(*ret_json, "message"));
    return code;
}

static void assert_contains(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("'%s' does not say '%s'", text, part);
}

/* ---- pure parts ---- */

static void numbers_read_well(void **state)
{
    static const struct {
        uint64_t value;
        const char *count, *size;
    } rows[] = {
        {0, "0", "0 B"},
        {999, "999", "999 B"},
        {1000, "1,000", "1,000 B"},
        {1536, "1,536", "1.5 KiB (1,536 B)"},
        {1288490189, "1,288,490,189", "1.2 GiB (1,288,490,189 B)"},
        {UINT64_MAX, "18,446,744,073,709,551,615", "16384 PiB (18,446,744,073,709,551,615 B)"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char count[32], size[64];
        print_count(rows[i].value, count);
        print_size(rows[i].value, size);
        assert_string_equal(count, rows[i].count);
        assert_string_equal(size, rows[i].size);
    }
}

static void names_are_escaped_for_urls(void **state)
{
    char *text = client_escape("a b/\xc3\xbc&\0-._~", 12);
    assert_string_equal(text, "a%20b%2F%C3%BC%26%00-._~");
    free(text);
}

static void an_object_is_named_by_bucket_and_key(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *name, *bucket, *key; /* bucket NULL: refused */
    } rows[] = {
        {"photos/cat.jpg", "photos", "cat.jpg"},
        {"s3://photos/a/b", "photos", "a/b"},
        {"photos//", "photos", "/"},
        {"photos", NULL, NULL},
        {"photos/", NULL, NULL},
        {"/key", NULL, NULL},
        {"", NULL, NULL},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct bytes bucket, key;
        capture_begin(&f->out);
        enum exit_code code = object_name_split(&f->cli, rows[i].name, &bucket, &key);
        capture_end(&f->out);
        assert_int_equal(code, rows[i].bucket != NULL ? EXIT_DONE : EXIT_WRONG_USAGE);
        if (rows[i].bucket == NULL)
            continue;
        assert_true(bytes_equal(bucket, bytes_of_string(rows[i].bucket)));
        assert_true(bytes_equal(key, bytes_of_string(rows[i].key)));
    }
}

/* ---- command lines ---- */

static void a_wrong_command_line_is_told_with_the_nearest_name(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const struct command *command;
        const char *a, *b, *c, *message, *hint;
    } rows[] = {
        {&cmd_key, NULL, NULL, NULL, "wants one of create, list, rm", "--help"},
        {&cmd_key, "crate", NULL, NULL, "no sluice key crate", "did you mean create?"},
        {&cmd_key, "create", "--nam", "x", "no option --nam", "did you mean --name?"},
        {&cmd_key, "create", "--name", NULL, "--name wants NAME", "sluice key --help"},
        {&cmd_key, "create", "--root=yes", NULL, "takes no value", "--help"},
        {&cmd_key, "create", "--access-key", "abc", "go together", "--secret-stdin"},
        {&cmd_key, "create", "--bucket", "photos", "not BUCKET:PERMISSIONS", "photos:rw"},
        {&cmd_key, "rm", NULL, NULL, "ID is missing", "--help"},
        {&cmd_key, "list", "x", NULL, "one word too many: x", "--help"},
        {&cmd_extents, "list", "--segment", "x", "not a whole number", "--help"},
        {&cmd_extents, "list", "--segment", "4294967296", "not a whole number", "--help"},
        {&cmd_extents, "show", "photos", NULL, "not BUCKET/KEY", "photos/"},
        {&cmd_volume, "format", "--segment-size", "17MiB", "is missing", "--help"},
        {&cmd_object, "state", NULL, NULL, "no sluice object state", "did you mean stat?"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        json_t *json = NULL;
        enum exit_code code = run(f, rows[i].command, &json, rows[i].a, rows[i].b, rows[i].c, NULL);
        assert_int_equal(code, EXIT_WRONG_USAGE);
        assert_contains(error_text(json, "message"), rows[i].message);
        assert_contains(error_text(json, "hint"), rows[i].hint);
        json_decref(json);
    }
}

/* ---- no node ---- */

static void without_a_node_one_is_told_how_to_start_it(void **state)
{
    struct fixture *f = *state;
    json_t *json = NULL;
    assert_int_equal(run(f, &cmd_status, &json, NULL, NULL), EXIT_NO_NODE);
    assert_contains(error_text(json, "hint"), "sluiced ");
    json_decref(json);
    assert_int_equal(mkdir(f->cli.dir, 0755), 0);
    assert_int_equal(node_file_write(f->cli.dir, "start-flags", BYTES(" --config /etc/s.ini"), 0644,
                                     NODE_FILE_NEW, NULL),
                     ERR_OK);
    assert_int_equal(run(f, &cmd_status, &json, NULL, NULL), EXIT_NO_NODE);
    char command[NODE_PATH_MAX + 64];
    snprintf(command, sizeof command, "start it: sluiced %s --config /etc/s.ini", f->cli.dir);
    assert_string_equal(error_text(json, "hint"), command);
    json_decref(json);
    f->cli.dir[0] = '\0';
    assert_int_equal(run(f, &cmd_key, &json, "list", NULL), EXIT_NO_NODE);
    assert_contains(error_text(json, "hint"), "--dir");
    json_decref(json);
}

/* The endpoint file of a killed node leads to a port where nobody is: the disk is asked instead. */
static void a_volume_is_looked_at_while_no_node_runs(void **state)
{
    struct fixture *f = *state;
    json_t *json = NULL;
    assert_int_equal(run(f, &cmd_volume, &json, "format", f->cli.dir, "--segment-size", "16MiB",
                         "--allow-buffered", NULL),
                     EXIT_DONE);
    json_decref(json);
    assert_int_equal(run(f, &cmd_volume, &json, "format", f->cli.dir, "--allow-buffered", NULL),
                     EXIT_REFUSED);
    assert_string_equal(error_text(json, "code"), "FILE_EXISTS");
    json_decref(json);
    assert_int_equal(
        node_file_write(f->cli.dir, "endpoint.json",
                        BYTES("{\"s3\": \"127.0.0.1:1\", \"admin\": \"127.0.0.1:1\", \"pid\": 1}"),
                        0644, NODE_FILE_NEW, NULL),
        ERR_OK);
    assert_int_equal(run(f, &cmd_volume, &json, "status", NULL), EXIT_DONE);
    assert_int_equal(json_number(json, "segment_bytes"), MIB(16));
    json_decref(json);
    assert_int_equal(run(f, &cmd_extents, &json, "list", NULL), EXIT_DONE);
    assert_int_equal(json_array_size(json_object_get(json, "extents")), 0);
    json_decref(json);
    assert_int_equal(run(f, &cmd_extents, &json, "map", NULL), EXIT_DONE);
    json_decref(json);
    assert_int_equal(run(f, &cmd_object, &json, "stat", "photos/cat.jpg", NULL), EXIT_REFUSED);
    assert_string_equal(error_text(json, "code"), "NO_SUCH_BUCKET");
    json_decref(json);
}

static void fsck_tells_clean_found_and_impossible_apart(void **state)
{
    struct fixture *f = *state;
    json_t *json = NULL;
    assert_int_equal(run(f, &cmd_fsck, &json, f->base, NULL), EXIT_REFUSED);
    json_decref(json);
    assert_int_equal(run(f, &cmd_volume, &json, "format", f->cli.dir, "--segment-size", "16MiB",
                         "--allow-buffered", NULL),
                     EXIT_DONE);
    json_decref(json);
    assert_int_equal(run(f, &cmd_fsck, &json, "--data", "--allow-buffered", f->cli.dir, NULL),
                     EXIT_DONE);
    assert_true(json_is_true(json_object_get(json, "clean")));
    json_decref(json);

    char command[NODE_PATH_MAX + 32]; /* a segment the index does not know */
    snprintf(command, sizeof command, "touch %s/seg/0000FFFF", f->cli.dir);
    assert_int_equal(system(command), 0);
    assert_int_equal(run(f, &cmd_fsck, &json, "--allow-buffered", f->cli.dir, NULL), EXIT_FOUND);
    assert_false(json_is_true(json_object_get(json, "clean")));
    assert_true(json_number(json, "findings_total") > 0);
    assert_int_equal(json_array_size(json_object_get(json, "findings")),
                     json_number(json, "findings_total"));
    json_decref(json);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(numbers_read_well),
        TEST(names_are_escaped_for_urls),
        TEST(an_object_is_named_by_bucket_and_key),
        TEST(a_wrong_command_line_is_told_with_the_nearest_name),
        TEST(without_a_node_one_is_told_how_to_start_it),
        TEST(a_volume_is_looked_at_while_no_node_runs),
        TEST(fsck_tells_clean_found_and_impossible_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
