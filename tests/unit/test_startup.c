/*
 * Starting: the table of steps, the small files of a node, and a whole node started in this
 * process, more than once.
 */
#include <ctype.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <fcntl.h>
#include <semaphore.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "server/banner.h"

struct fixture {
    char base[64], dir[80];
    struct node *node;
    struct err_trail trail;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    *state = f;
    strcpy(f->base, "/var/tmp/sluice-startup-XXXXXX");
    assert_non_null(mkdtemp(f->base));
    snprintf(f->dir, sizeof f->dir, "%s/data", f->base);
    setenv("XDG_CONFIG_HOME", f->base, 1);
    f->node = calloc(1, sizeof *f->node);
    assert_non_null(f->node);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    node_stop(f->node);
    free(f->node);
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", f->base);
    int rc = system(command);
    free(f);
    return rc;
}

/* ---- steps ---- */

#define STEPS 4
struct walk {
    unsigned calls, fail_at; /* 1-based; 0: never */
    char log[64];
};

static enum err step_start(void *context, struct err_trail *trail)
{
    struct walk *walk = context;
    if (++walk->calls == walk->fail_at)
        return err_note(trail, ERR_IO, "broken on purpose");
    sprintf(walk->log + strlen(walk->log), "+%u", walk->calls);
    return ERR_OK;
}

static void step_stop(void *context)
{
    struct walk *walk = context;
    sprintf(walk->log + strlen(walk->log), "-");
}

static void a_failed_step_undoes_the_finished_ones(void **state)
{
    static const struct start_step steps[STEPS] = {
        {"one", step_start, step_stop},
        {"two", step_start, step_stop},
        {"three", step_start, NULL},
        {"four", step_start, step_stop},
    };
    static const char *const logs[STEPS + 1] = {"+1+2+3+4", "", "+1-", "+1+2--", "+1+2+3--"};
    for (unsigned nth = 0; nth <= STEPS; nth++) {
        struct walk walk = {.fail_at = nth};
        struct err_trail trail = {0};
        struct start_run run = {.steps = steps, .count = STEPS, .context = &walk};
        enum err e = steps_start(&run, &trail);
        assert_int_equal(e, nth == 0 ? ERR_OK : ERR_IO);
        assert_string_equal(walk.log, logs[nth]);
        if (e)
            assert_memory_equal(trail.text, steps[nth - 1].name, strlen(steps[nth - 1].name));
        steps_stop(&run);
        assert_string_equal(walk.log + strlen(logs[nth]), nth == 0 ? "---" : "");
        steps_stop(&run);
        assert_int_equal(run.started, 0);
    }
}

/* ---- files ---- */

static void a_file_appears_whole_and_replaces_only_when_asked(void **state)
{
    struct fixture *f = *state;
    char text[NODE_FILE_BYTES_MAX], path[NODE_PATH_MAX];
    size_t size;
    struct stat stat_;
    assert_int_equal(node_file_read(f->base, "x", text, &size, false, &f->trail), ERR_NO_SUCH_FILE);
    assert_int_equal(node_file_write(f->base, "x", BYTES("one"), 0600, NODE_FILE_NEW, &f->trail),
                     ERR_OK);
    assert_int_equal(node_file_write(f->base, "x", BYTES("two"), 0600, NODE_FILE_NEW, &f->trail),
                     ERR_FILE_EXISTS);
    assert_int_equal(node_file_read(f->base, "x", text, &size, true, &f->trail), ERR_OK);
    assert_memory_equal(text, "one", 3);
    assert_int_equal(
        node_file_write(f->base, "x", BYTES("three"), 0644, NODE_FILE_REPLACE, &f->trail), ERR_OK);
    assert_int_equal(node_file_read(f->base, "x", text, &size, false, &f->trail), ERR_OK);
    assert_int_equal(size, 5);
    assert_int_equal(node_file_read(f->base, "x", text, &size, true, &f->trail), ERR_DENIED);
    assert_true(node_path(path, f->base, "x.new"));
    assert_int_equal(stat(path, &stat_), -1);
    assert_int_equal(node_file_write("/nowhere", "x", BYTES("one"), 0600, NODE_FILE_NEW, &f->trail),
                     ERR_NO_SUCH_FILE);
}

static void what_a_crash_left_does_not_matter(void **state)
{
    struct fixture *f = *state;
    uint8_t key[32], again[32];
    assert_int_equal(
        node_file_write(f->base, "node.key.new", BYTES("half"), 0600, NODE_FILE_NEW, &f->trail),
        ERR_OK);
    assert_int_equal(node_key_load(f->base, rand_system(), true, key, &f->trail), ERR_OK);
    assert_int_equal(node_key_load(f->base, rand_system(), true, again, &f->trail), ERR_OK);
    assert_memory_equal(key, again, 32);
}

static void a_missing_node_key_is_not_replaced_when_keys_depend_on_it(void **state)
{
    struct fixture *f = *state;
    uint8_t key[32];
    assert_int_equal(node_key_load(f->base, rand_system(), false, key, &f->trail),
                     ERR_NO_SUCH_FILE);
    assert_non_null(strstr(f->trail.text, "backup"));
    assert_int_equal(
        node_file_write(f->base, "node.key", BYTES("short"), 0600, NODE_FILE_NEW, &f->trail),
        ERR_OK);
    assert_int_equal(node_key_load(f->base, rand_system(), true, key, &f->trail), ERR_CORRUPT);
}

static void tokens_and_credentials_are_kept(void **state)
{
    struct fixture *f = *state;
    admin_token token, again;
    assert_int_equal(admin_token_load(f->base, rand_system(), token, &f->trail), ERR_OK);
    assert_int_equal(admin_token_load(f->base, rand_system(), again, &f->trail), ERR_OK);
    assert_string_equal(token, again);
    assert_int_equal(strlen(token), 64);
    struct root_credentials wrote = {"SLUIABC", "secret+/="}, read;
    assert_int_equal(root_credentials_read(f->base, &read, &f->trail), ERR_NO_SUCH_FILE);
    assert_int_equal(root_credentials_write(f->base, &wrote, NODE_FILE_NEW, &f->trail), ERR_OK);
    assert_int_equal(root_credentials_read(f->base, &read, &f->trail), ERR_OK);
    assert_string_equal(read.access_key, wrote.access_key);
    assert_string_equal(read.secret_key, wrote.secret_key);
}

static void the_last_node_is_remembered(void **state)
{
    struct fixture *f = *state;
    char dir[NODE_PATH_MAX];
    assert_int_equal(last_node_read(dir), ERR_NO_SUCH_FILE);
    last_node_write(f->base);
    assert_int_equal(last_node_read(dir), ERR_OK);
    assert_string_equal(dir, f->base);
}

static void the_arena_fits_the_machine(void **state)
{
    assert_int_equal(arena_default_bytes(MIB(256)), MIB(64));
    assert_int_equal(arena_default_bytes(GIB(4)), MIB(256));
    assert_int_equal(arena_default_bytes(GIB(512)), GIB(1));
    assert_int_equal(arena_default_bytes(GIB(4) + MIB(100)) % MIB(8), 0);
}

/* Two places say what is usual; they say the same. */
static void the_configuration_agrees_with_the_engine(void **state)
{
    struct config config;
    config_init(&config);
    assert_int_equal(config.s3_head_timeout, http_limits_default.head_timeout_ns);
    assert_int_equal(config.s3_idle_timeout, http_limits_default.idle_timeout_ns);
    assert_int_equal(config.s3_body_timeout, http_limits_default.body_timeout_ns);
    assert_int_equal(config.s3_body_rate_min, http_limits_default.body_rate_min);
    assert_int_equal(config.s3_admission_timeout, http_limits_default.admission_timeout_ns);
}

/* ---- a node ---- */

static void configure(struct fixture *f)
{
    memset(f->node, 0, sizeof *f->node);
    config_init(&f->node->config);
    f->node->config.s3_listen.port = 0;
    f->node->config.admin_listen.port = 0;
    f->node->config.memory_arena = MIB(32);
    f->node->config.storage_allow_buffered = true;
    f->node->config.storage_segment_size = MIB(16);
    f->node->config.log_level = LOG_ERROR;
    strcpy(f->node->dir, f->dir);
}

static void start(struct fixture *f)
{
    enum err e = node_start(f->node, &f->trail);
    if (e)
        fail_msg("%s", err_trail_text(&f->trail, e));
}

static void post(void *context)
{
    sem_post(context);
}

static void drain_and_stop(struct fixture *f)
{
    sem_t drained;
    sem_init(&drained, 0, 0);
    node_drain(f->node, NS_PER_SECOND, post, &drained);
    while (sem_wait(&drained) != 0)
        ;
    sem_destroy(&drained);
    node_stop(f->node);
}

/* The status line's code of a GET, or -1. */
static int get(const struct address *address, const char *path)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(address->port)};
    inet_pton(AF_INET, address->host, &to.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), status = -1;
    char text[512];
    snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0 && write(fd, text, strlen(text)) > 0) {
        ssize_t size = read(fd, text, sizeof text - 1);
        text[size > 0 ? size : 0] = '\0';
        if (sscanf(text, "HTTP/1.1 %d", &status) != 1)
            status = -1;
    }
    close(fd);
    return status;
}

static bool has_file(const struct fixture *f, const char *name, mode_t mode)
{
    char path[NODE_PATH_MAX];
    struct stat stat_;
    return node_path(path, f->dir, name) && stat(path, &stat_) == 0 &&
           (stat_.st_mode & 0777) == mode;
}

static void a_first_start_makes_everything_and_a_second_finds_it(void **state)
{
    struct fixture *f = *state;
    configure(f);
    start(f);
    assert_true(f->node->is_new);
    assert_int_equal(f->node->root_origin, ROOT_KEY_DRAWN);
    assert_true(has_file(f, "node.key", 0600));
    assert_true(has_file(f, "admin-token", 0600));
    assert_true(has_file(f, "root-credentials", 0600));
    assert_true(has_file(f, "endpoint.json", 0644));
    assert_int_equal(get(&f->node->admin_address, "/readyz"), 200);
    assert_int_equal(get(&f->node->admin_address, "/v1/status"), 401);
    assert_int_equal(get(&f->node->s3_address, "/"), 403);
    struct text_buf banner = {0};
    banner_print(f->node, &banner);
    assert_non_null(strstr(banner.data, f->node->root.secret_key));
    assert_non_null(strstr(banner.data, "fdatasync"));
    text_free(&banner);
    struct root_credentials first = f->node->root;
    drain_and_stop(f);
    assert_false(has_file(f, "endpoint.json", 0644));

    configure(f);
    start(f);
    assert_false(f->node->is_new);
    assert_int_equal(f->node->root_origin, ROOT_KEY_KEPT);
    struct access_key key;
    assert_int_equal(keyring_find(f->node->keyring, bytes_of_string(first.access_key), &key),
                     ERR_OK);
    assert_string_equal(key.secret, first.secret_key);
    assert_true(key.is_root);
    banner_print(f->node, &banner);
    assert_null(strstr(banner.data, first.secret_key));
    text_free(&banner);
    drain_and_stop(f);
}

/* "1.2 GiB" in the text, which moves behind it; 0: there is none. */
static double take_size(const char **text)
{
    static const char *const units[] = {" B", " KiB", " MiB", " GiB"};
    for (; **text != '\0'; (*text)++) {
        if (!isdigit((unsigned char)**text))
            continue;
        char *end;
        double value = strtod(*text, &end), factor = 1;
        for (size_t i = 0; i < COUNT_OF(units); i++, factor *= 1024)
            if (strncmp(end, units[i], strlen(units[i])) == 0) {
                *text = end + strlen(units[i]);
                return value * factor;
            }
        *text = end - 1; /* another number */
    }
    return 0;
}

static void the_banner_promises_the_sum_of_all_that_may_be_taken(void **state)
{
    struct fixture *f = *state;
    struct text_buf banner = {0};
    configure(f);
    f->node->config.memory_object_cache = MIB(200);
    start(f);
    banner_print(f->node, &banner);
    const char *text = strstr(banner.data, "\n  memory ");
    char *end = strstr(banner.data, "\n  I/O ");
    assert_true(text != NULL && end > text);
    *end = '\0';
    assert_non_null(strstr(text, "object cache 200 MiB"));
    double total = take_size(&text), sum = 0, one;
    while ((one = take_size(&text)) > 0)
        sum += one;
    assert_true(fabs(sum - total) <= total / 100); /* each is rounded for people */
    assert_true(fabs((double)node_memory_bytes(f->node) - total) <= total / 100);
    text_free(&banner);
    drain_and_stop(f);

    /* A worker's requests: 1,024 blocks of 16 KiB, 256 presigned URLs of 1 KiB and 128 keys of some
     * hundred bytes. */
    assert_int_equal(s3_memory_bytes(3, 0), 3 * s3_memory_bytes(1, 0));
    assert_in_range(s3_memory_bytes(1, 0), MIB(16) + 256 * 1014 + 128 * 400,
                    MIB(16) + 256 * 1024 + 128 * 512);
}

static void a_given_key_counts_at_the_first_start_and_is_not_written_down(void **state)
{
    struct fixture *f = *state;
    configure(f);
    strcpy(f->node->given.access_key, "AKIAGIVEN");
    strcpy(f->node->given.secret_key, "givenSecret123");
    start(f);
    assert_int_equal(f->node->root_origin, ROOT_KEY_GIVEN);
    assert_false(has_file(f, "root-credentials", 0600));
    drain_and_stop(f);
    configure(f);
    strcpy(f->node->given.access_key, "AKIAGIVEN");
    strcpy(f->node->given.secret_key, "givenSecret123");
    start(f);
    assert_false(f->node->given_is_ignored);
    drain_and_stop(f);
    configure(f);
    strcpy(f->node->given.access_key, "AKIAGIVEN");
    strcpy(f->node->given.secret_key, "another one");
    start(f);
    assert_true(f->node->given_is_ignored);
    drain_and_stop(f);
}

static int taken_port(uint16_t *ret_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    *ret_port = ntohs(address.sin_port);
    return fd;
}

static void refuse_taken_ports(struct fixture *f, uint16_t port)
{
    for (unsigned i = 0; i < 2; i++) {
        configure(f);
        struct config *config = &f->node->config;
        (i == 0 ? &config->admin_listen : &config->s3_listen)->port = port;
        err_trail_reset(&f->trail);
        assert_int_equal(node_start(f->node, &f->trail), ERR_IN_USE);
        assert_non_null(strstr(f->trail.text, i == 0 ? "--admin" : "--s3"));
    }
}

/* Late failures: everything before them is undone, and the next start works. */
static void a_start_that_fails_leaves_nothing_running(void **state)
{
    struct fixture *f = *state;
    uint16_t port;
    configure(f);
    start(f);
    drain_and_stop(f);
    int fd = taken_port(&port);
    refuse_taken_ports(f, port);
    close(fd);
    configure(f);
    start(f);
    drain_and_stop(f);
}

static void a_first_start_that_finds_its_ports_taken_makes_no_volume(void **state)
{
    struct fixture *f = *state;
    uint16_t port;
    int fd = taken_port(&port);
    refuse_taken_ports(f, port);
    configure(f);
    f->node->config.s3_listen.port = f->node->config.admin_listen.port = (uint16_t)(port ^ 1);
    assert_int_not_equal(node_start(f->node, &f->trail), ERR_OK); /* one port for both */
    close(fd);
    assert_int_not_equal(access(f->dir, F_OK), 0);
}

static void a_configuration_that_cannot_be_is_refused_before_a_volume_is_made(void **state)
{
    static const struct {
        const char *verify, *domains, *gzip_variants, *says;
    } rows[] = {
        {"sample:0", "", "", "[get] verify"},
        {"cold", "a b c d e f g h i", "", "[s3] domains: 9 are given and 8 can be"},
        {"cold", "", "0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2",
         "[s3] gzip-variants: 33 are given and 32 can be"},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        configure(f);
        err_trail_reset(&f->trail);
        assert_int_equal(node_judge(&f->node->config, &f->trail), ERR_OK);
        strcpy(f->node->config.get_verify, rows[i].verify);
        strcpy(f->node->config.s3_domains, rows[i].domains);
        strcpy(f->node->config.s3_gzip_variants, rows[i].gzip_variants);
        assert_int_equal(node_judge(&f->node->config, &f->trail), ERR_INVALID);
        assert_non_null(strstr(f->trail.text, rows[i].says));
        assert_int_equal(node_start(f->node, &f->trail), ERR_INVALID);
        assert_int_not_equal(access(f->dir, F_OK), 0);
    }
}

/* 192.0.2.0/24 is for documentation (RFC 5737). The first start asks for its ports beforehand. */
static void an_address_that_no_interface_has_is_refused_by_that_name(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 4; i++) {
        configure(f);
        strcpy((i % 2 == 0 ? &f->node->config.admin_listen : &f->node->config.s3_listen)->host,
               "192.0.2.1");
        err_trail_reset(&f->trail);
        assert_int_not_equal(node_start(f->node, &f->trail), ERR_OK);
        assert_non_null(strstr(f->trail.text, "192.0.2.1 port 0: Cannot assign requested address"));
        if (i == 1) {
            configure(f);
            start(f);
            drain_and_stop(f);
        }
    }
}

static void a_directory_that_is_no_volume_is_refused_untouched(void **state)
{
    struct fixture *f = *state;
    char path[NODE_PATH_MAX];
    configure(f);
    strcpy(f->node->dir, f->base);
    assert_int_equal(
        node_file_write(f->base, "letter.txt", BYTES("dear"), 0644, NODE_FILE_NEW, &f->trail),
        ERR_OK);
    assert_int_not_equal(node_start(f->node, &f->trail), ERR_OK);
    assert_true(node_path(path, f->base, "node.key"));
    assert_int_not_equal(access(path, F_OK), 0);
    assert_true(node_path(path, f->base, "superblock"));
    assert_int_not_equal(access(path, F_OK), 0);
}

static void keys_without_their_node_key_are_not_served(void **state)
{
    struct fixture *f = *state;
    char path[NODE_PATH_MAX];
    configure(f);
    start(f);
    drain_and_stop(f);
    assert_true(node_path(path, f->dir, "node.key"));
    assert_int_equal(unlink(path), 0);
    configure(f);
    err_trail_reset(&f->trail);
    assert_int_equal(node_start(f->node, &f->trail), ERR_NO_SUCH_FILE);
    assert_non_null(strstr(f->trail.text, "node.key is missing"));
    assert_int_not_equal(access(path, F_OK), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_failed_step_undoes_the_finished_ones),
        TEST(a_file_appears_whole_and_replaces_only_when_asked),
        TEST(what_a_crash_left_does_not_matter),
        TEST(a_missing_node_key_is_not_replaced_when_keys_depend_on_it),
        TEST(tokens_and_credentials_are_kept),
        TEST(the_last_node_is_remembered),
        TEST(the_arena_fits_the_machine),
        TEST(the_configuration_agrees_with_the_engine),
        TEST(a_first_start_makes_everything_and_a_second_finds_it),
        TEST(the_banner_promises_the_sum_of_all_that_may_be_taken),
        TEST(a_given_key_counts_at_the_first_start_and_is_not_written_down),
        TEST(a_start_that_fails_leaves_nothing_running),
        TEST(a_first_start_that_finds_its_ports_taken_makes_no_volume),
        TEST(a_configuration_that_cannot_be_is_refused_before_a_volume_is_made),
        TEST(an_address_that_no_interface_has_is_refused_by_that_name),
        TEST(a_directory_that_is_no_volume_is_refused_untouched),
        TEST(keys_without_their_node_key_are_not_served),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
