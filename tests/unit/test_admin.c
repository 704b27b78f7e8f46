/*
 * The admin port as its clients see it: over a socket, over a real volume. Health without a token,
 * everything else with one; keys made and removed; bad requests told in JSON.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <jansson.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/admin/admin.h"
#include "api/admin/describe_group.h"

#define TOKEN     "0123456789abcdef0123456789abcdef"
#define REPLY_MAX 65536

struct fixture {
    char dir[64];
    struct work_pool *pool;
    struct volume *volume;
    struct group *group;
    struct keyring *keyring;
    struct scrub *scrub;
    struct admin *admin;
    uint8_t node_key[32];
    char reply[REPLY_MAX];
    json_t *json; /* of the last reply, or NULL */
};

static void open_admin(struct fixture *f, bool metrics_open)
{
    struct err_trail trail = {0};
    enum err e = admin_open(&(struct admin_options){.host = "127.0.0.1",
                                                    .token = TOKEN,
                                                    .metrics_open = metrics_open,
                                                    .group = f->group,
                                                    .volume = f->volume,
                                                    .keyring = f->keyring,
                                                    .scrub = f->scrub,
                                                    .version = "1.2.3",
                                                    .region = "here",
                                                    .s3_endpoint = "127.0.0.1:1"},
                            &f->admin, &trail);
    if (e)
        fail_msg("%s", err_trail_text(&trail, e));
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    *state = f;
    strcpy(f->dir, "/var/tmp/sluice-admin-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    struct err_trail trail = {0};
    assert_int_equal(work_pool_open(1, "test", &f->pool), ERR_OK);
    assert_int_equal(volume_format(&(struct volume_format_options){.dir = f->dir,
                                                                   .segment_bytes = MIB(16),
                                                                   .direct = VOLUME_DIRECT_ANY},
                                   &trail),
                     ERR_OK);
    assert_int_equal(
        volume_open(&(struct volume_options){.dir = f->dir, .direct = VOLUME_DIRECT_ANY},
                    &f->volume, &trail),
        ERR_OK);
    assert_int_equal(group_open(&(struct group_options){.volume = f->volume, .work_pool = f->pool},
                                &f->group, &trail),
                     ERR_OK);
    assert_int_equal(
        keyring_open(&(struct keyring_options){.group = f->group, .node_key = f->node_key},
                     &f->keyring, &trail),
        ERR_OK);
    assert_int_equal(scrub_open(&(struct scrub_options){.volume = f->volume}, &f->scrub, &trail),
                     ERR_OK);
    open_admin(f, true);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    json_decref(f->json);
    admin_close(f->admin);
    scrub_close(f->scrub);
    keyring_close(f->keyring);
    group_close(f->group);
    volume_close(f->volume);
    work_pool_close(f->pool);
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", f->dir);
    int rc = system(command);
    free(f);
    return rc;
}

/* ---- a client ---- */

static int exchange(struct fixture *f, const char *text, size_t size)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(admin_port(f->admin)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), status = -1;
    size_t got = 0;
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    for (size_t sent = 0; sent < size;) {
        ssize_t n = send(fd, text + sent, size - sent, MSG_NOSIGNAL);
        if (n <= 0)
            break; /* refused before the end: the answer tells */
        sent += (size_t)n;
    }
    for (ssize_t n; (n = read(fd, f->reply + got, REPLY_MAX - 1 - got)) > 0;)
        got += (size_t)n;
    close(fd);
    f->reply[got] = '\0';
    json_decref(f->json);
    const char *body = strstr(f->reply, "\r\n\r\n");
    f->json = body != NULL ? json_loads(body + 4, 0, NULL) : NULL;
    return sscanf(f->reply, "HTTP/1.1 %d", &status) == 1 ? status : -1;
}

static int call(struct fixture *f, const char *token, const char *method, const char *path,
                const char *body)
{
    char text[8192];
    int size = snprintf(
        text, sizeof text,
        "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s%s%sContent-Length: %zu\r\n\r\n%s",
        method, path, token ? "Authorization: Bearer " : "", token ? token : "",
        token ? "\r\n" : "", body ? strlen(body) : 0, body ? body : "");
    assert_in_range(size, 1, sizeof text - 1);
    return exchange(f, text, (size_t)size);
}

static const char *error_code(const struct fixture *f)
{
    const char *code =
        json_string_value(json_object_get(json_object_get(f->json, "error"), "code"));
    return code != NULL ? code : "none";
}

static const char *field(const struct fixture *f, const char *name)
{
    const char *text = json_string_value(json_object_get(f->json, name));
    return text != NULL ? text : "none";
}

/* ---- tests ---- */

static void health_needs_no_token_and_readiness_follows_the_node(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(call(f, NULL, "GET", "/healthz", NULL), 200);
    assert_int_equal(call(f, NULL, "GET", "/readyz", NULL), 503);
    assert_non_null(strstr(f->reply, "starting"));
    admin_set_ready(f->admin, NULL);
    assert_int_equal(call(f, NULL, "GET", "/readyz", NULL), 200);
    assert_int_equal(call(f, NULL, "HEAD", "/readyz", NULL), 200);
    admin_set_ready(f->admin, "draining");
    assert_int_equal(call(f, NULL, "GET", "/readyz", NULL), 503);
    assert_int_equal(call(f, NULL, "GET", "/healthz", NULL), 200);
}

static void everything_else_needs_the_token(void **state)
{
    static const char *const paths[] = {"/v1/status",      "/v1/volume",
                                        "/v1/keys",        "/v1/extents",
                                        "/v1/extents/map", "/v1/extents/show?bucket=b&key=k",
                                        "/v1/object",      "/v1/replication",
                                        "/v1/peers",       "/v1/scrub"};
    static const char *const wrong[] = {"", "x", TOKEN "0", "0123456789abcdef0123456789abcdeF"};
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        assert_int_equal(call(f, NULL, "GET", paths[i], NULL), 401);
        assert_string_equal(error_code(f), "DENIED");
        for (size_t k = 0; k < sizeof wrong / sizeof wrong[0]; k++)
            assert_int_equal(call(f, wrong[k], "GET", paths[i], NULL), 401);
    }
    assert_int_equal(call(f, NULL, "POST", "/v1/keys", "{}"), 401);
    assert_int_equal(call(f, NULL, "DELETE", "/v1/keys/abc", NULL), 401);
    assert_int_equal(keyring_count(f->keyring), 0);
}

static void metrics_are_open_or_not_as_configured(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(call(f, NULL, "GET", "/metrics", NULL), 200);
    assert_non_null(strstr(f->reply, "# TYPE process_resident_memory_bytes gauge"));
    admin_close(f->admin);
    open_admin(f, false);
    assert_int_equal(call(f, NULL, "GET", "/metrics", NULL), 401);
    assert_int_equal(call(f, TOKEN, "GET", "/metrics", NULL), 200);
}

static void the_status_says_what_the_node_is(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(call(f, TOKEN, "GET", "/v1/status", NULL), 200);
    assert_string_equal(field(f, "version"), "1.2.3");
    assert_string_equal(field(f, "state"), "starting");
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(f->json, "volume"), "state")), "ok");
    assert_int_equal(call(f, TOKEN, "GET", "/v1/volume", NULL), 200);
    assert_int_equal(json_integer_value(json_object_get(f->json, "segment_bytes")), MIB(16));
}

/* ---- the group ---- */

static void a_node_alone_says_so(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(call(f, TOKEN, "GET", "/v1/replication", NULL), 200);
    assert_true(json_is_true(json_object_get(f->json, "alone")));
    assert_true(json_is_null(json_object_get(f->json, "node")));
    assert_string_equal(field(f, "role"), "primary");
    assert_int_equal(json_array_size(json_object_get(f->json, "nodes")), 0);
    assert_int_equal(call(f, TOKEN, "GET", "/v1/peers", NULL), 200);
    assert_int_equal(json_array_size(json_object_get(f->json, "peers")), 0);
    assert_int_equal(call(f, NULL, "GET", "/metrics", NULL), 200);
    assert_non_null(strstr(f->reply, "sluice_group_members 1"));
    assert_null(strstr(f->reply, "sluice_peer_up"));
}

static const json_t *at(const json_t *json, const char *array, size_t i)
{
    return json_array_get(json_object_get(json, array), i);
}

/* What is not known is null; RDMA is verbs and nothing else. */
static void a_group_is_described_as_it_is(void **state)
{
    struct group_status status = {
        .epoch = 7,
        .term = 5,
        .psn_committed = 40,
        .psn_applied = 39,
        .psn_last = 41,
        .psn_first = 2,
        .members = 3,
        .in_sync = 2,
        .in_sync_min = 2,
        .config_register = "quorum",
        .role = GROUP_REPLICA,
        .self = 2,
        .primary = 1,
        .backend = "tcp",
        .device = "lo",
        .backend_reason = "no RDMA device",
        .sentence = "",
        .disk_waits_ns = 12500 * NS_PER_MS,
        .peer_count = 3,
        .peers =
            {
                {.node = 1,
                 .address = "10.0.0.1:9100",
                 .is_primary = true,
                 .is_in_sync = true,
                 .is_up = true,
                 .backend = "tcp",
                 .device = "lo",
                 .up_ns = 90 * NS_PER_SECOND,
                 .heard_ns = 20 * NS_PER_MS,
                 .connects = 3,
                 .acked_psn = UINT64_MAX,
                 .lag_records = UINT64_MAX,
                 .lag_bytes = UINT64_MAX,
                 .lag_ns = UINT64_MAX,
                 .lanes = {[LANE_BULK] = {.sent = 4, .sent_bytes = 1 << 20, .in_flight = 2}}},
                {.node = 2,
                 .address = "10.0.0.2:9100",
                 .is_self = true,
                 .is_in_sync = true,
                 .up_ns = UINT64_MAX,
                 .heard_ns = UINT64_MAX,
                 .acked_psn = 41,
                 .lag_records = 0},
                {.node = 9,
                 .address = "10.0.0.9:9100",
                 .sentence = "connection refused",
                 .up_ns = UINT64_MAX,
                 .heard_ns = UINT64_MAX,
                 .acked_psn = 3,
                 .lag_records = 38,
                 .lag_ns = 1500 * NS_PER_MS},
            },
    };
    json_t *json = describe_replication(&status);
    assert_non_null(json);
    assert_int_equal(json_integer_value(json_object_get(json, "primary")), 1);
    assert_true(json_is_false(json_object_get(json_object_get(json, "transport"), "rdma")));
    assert_int_equal(json_integer_value(json_object_get(json_object_get(json, "log"), "applied")),
                     39);
    assert_true(json_real_value(json_object_get(json, "disk_waits_seconds")) == 12.5);
    assert_int_equal(json_array_size(json_object_get(json, "nodes")), 3);
    const json_t *first = at(json, "nodes", 0), *last = at(json, "nodes", 2);
    assert_true(json_is_null(json_object_get(first, "lag_records")));
    assert_int_equal(json_integer_value(json_object_get(last, "lag_records")), 38);
    assert_true(json_real_value(json_object_get(last, "lag_seconds")) == 1.5);
    assert_true(json_is_null(json_object_get(last, "heard_seconds")));
    assert_string_equal(json_string_value(json_object_get(at(json, "nodes", 1), "state")),
                        "this node");
    json_decref(json);

    strcpy(status.backend, "verbs");
    json = describe_peers(&status);
    assert_true(json_is_true(json_object_get(json_object_get(json, "transport"), "rdma")));
    assert_int_equal(json_array_size(json_object_get(json, "peers")), 2);
    const json_t *bulk = json_object_get(json_object_get(at(json, "peers", 0), "lanes"), "bulk");
    assert_int_equal(json_integer_value(json_object_get(bulk, "sent_bytes")), 1 << 20);
    assert_int_equal(json_integer_value(json_object_get(bulk, "in_flight")), 2);
    assert_string_equal(json_string_value(json_object_get(at(json, "peers", 1), "sentence")),
                        "connection refused");
    json_decref(json);
}

static void keys_are_made_listed_and_removed(void **state)
{
    struct fixture *f = *state;
    char id[64], path[128];
    struct access_key key;
    assert_int_equal(call(f, TOKEN, "POST", "/v1/keys",
                          "{\"name\": \"backup\", \"grants\": [{\"bucket\": \"photos\", "
                          "\"permissions\": \"rw\"}]}"),
                     201);
    strcpy(id, field(f, "access_key"));
    assert_int_equal(keyring_find(f->keyring, bytes_of_string(id), &key), ERR_OK);
    assert_string_equal(field(f, "secret_key"), key.secret);
    assert_int_equal(key.grants[0].bits, GRANT_READ | GRANT_WRITE);
    assert_false(key.is_root);

    assert_int_equal(call(f, TOKEN, "GET", "/v1/keys", NULL), 200);
    assert_int_equal(json_array_size(json_object_get(f->json, "keys")), 1);
    assert_null(strstr(f->reply, key.secret));

    snprintf(path, sizeof path, "/v1/keys/%s", id);
    assert_int_equal(call(f, TOKEN, "DELETE", path, NULL), 200);
    assert_int_equal(call(f, TOKEN, "DELETE", path, NULL), 404);
    assert_string_equal(error_code(f), "NO_SUCH_KEY_ID");
    assert_int_equal(keyring_count(f->keyring), 0);

    assert_int_equal(
        call(f, TOKEN, "POST", "/v1/keys",
             "{\"access_key\": \"AKIAOLD\", \"secret_key\": \"0123456789\", \"owner\": \"alice\", "
             "\"display_name\": \"Alice\", \"root\": true}"),
        201);
    assert_int_equal(keyring_find(f->keyring, BYTES("AKIAOLD"), &key), ERR_OK);
    assert_true(key.is_root);
    assert_string_equal(key.owner, "alice");
    assert_int_equal(call(f, TOKEN, "POST", "/v1/keys",
                          "{\"access_key\": \"AKIAOLD\", \"secret_key\": \"0123456789\"}"),
                     409);
}

static void wrong_bodies_make_no_key(void **state)
{
    static const char *const bodies[] = {
        "",
        "{",
        "[]",
        "{\"nmae\": \"x\"}",
        "{\"name\": 1}",
        "{\"name\": \"a\", \"name\": \"b\"}",
        "{\"root\": 1}",
        "{\"access_key\": \"abc\"}",
        "{\"secret_key\": \"0123456789\"}",
        "{\"access_key\": \"abc\", \"secret_key\": \"x\"}",
        "{\"name\": \"a\\u0000b\"}",
        "{\"grants\": {}}",
        "{\"grants\": [{\"bucket\": \"photos\"}]}",
        "{\"grants\": [{\"bucket\": \"photos\", \"permissions\": \"rx\"}]}",
        "{\"grants\": [{\"bucket\": \"photos\", \"permissions\": \"\"}]}",
        "{\"grants\": [{\"bucket\": \"Photos\", \"permissions\": \"r\"}]}",
        "{\"grants\": [{\"bucket\": \"photos\", \"permissions\": \"r\", \"prefix\": \"x\"}]}",
        "{\"grants\": [\"photos\"]}",
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        int status = call(f, TOKEN, "POST", "/v1/keys", bodies[i]);
        if (status != 400 || json_object_get(f->json, "error") == NULL)
            fail_msg("%s: %d %s", bodies[i], status, f->reply);
    }
    assert_int_equal(keyring_count(f->keyring), 0);
}

static void a_body_that_is_too_long_is_refused_unread(void **state)
{
    struct fixture *f = *state;
    const char *declared = "POST /v1/keys HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " TOKEN
                           "\r\nContent-Length: 1000000\r\n\r\n";
    assert_int_equal(exchange(f, declared, strlen(declared)), 413);
    /* And one that does not say how long it is: the connection is closed. */
    size_t size = 0;
    char *text = malloc(400000);
    assert_non_null(text);
    size +=
        (size_t)sprintf(text, "POST /v1/keys HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " TOKEN
                              "\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (unsigned i = 0; i < 300; i++)
        size += (size_t)sprintf(text + size, "400\r\n%01024d\r\n", 0);
    assert_int_not_equal(exchange(f, text, size), 200);
    free(text);
    assert_int_equal(keyring_count(f->keyring), 0);
    assert_int_equal(call(f, NULL, "GET", "/healthz", NULL), 200);
}

static void unknown_paths_and_methods_are_told_apart(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(call(f, TOKEN, "GET", "/v2/status", NULL), 404);
    assert_int_equal(call(f, TOKEN, "GET", "/v1/keys/", NULL), 404);
    assert_int_equal(call(f, TOKEN, "PUT", "/v1/keys", "{}"), 405);
    assert_non_null(strstr(f->reply, "Allow: GET, POST"));
    assert_int_equal(call(f, TOKEN, "GET", "/v1/keys/abc", NULL), 405);
}

static void inspection_judges_its_questions(void **state)
{
    static const struct {
        const char *path;
        int status;
    } rows[] = {
        {"/v1/extents", 200},
        {"/v1/extents?max=5&segment=0&unit=0", 200},
        {"/v1/extents?max=x", 400},
        {"/v1/extents?segment=-1", 400},
        {"/v1/extents?segment=4294967296", 400},
        {"/v1/extents/map", 200},
        {"/v1/object", 400},
        {"/v1/object?bucket=b", 400},
        {"/v1/object?bucket=photos&key=cat.jpg", 404},
        {"/v1/extents/show?bucket=photos&key=cat.jpg", 404},
        {"/v1/object?bucket=photos&key=a%00b", 404},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int status = call(f, TOKEN, "GET", rows[i].path, NULL);
        if (status != rows[i].status || f->json == NULL)
            fail_msg("%s: %d", rows[i].path, status);
    }
}

static void an_inline_object_is_described(void **state)
{
    struct fixture *f = *state;
    struct mutation make = {.kind = MUTATION_BUCKET_CREATE,
                            .bucket_name = BYTES("photos"),
                            .owner = BYTES("alice"),
                            .region = BYTES("here")};
    assert_int_equal(group_propose_wait(f->group, &make), ERR_OK);
    struct mutation put = {
        .kind = MUTATION_OBJECT_PUT, .bucket = make.new_bucket, .key = BYTES("not utf8 \xff")};
    assert_int_equal(group_propose_wait(f->group, &put), ERR_OK);
    assert_int_equal(call(f, TOKEN, "GET", "/v1/object?bucket=photos&key=not+utf8+%FF", NULL), 200);
    assert_string_equal(field(f, "bucket"), "photos");
    assert_string_equal(field(f, "owner"), "alice");
    assert_string_equal(field(f, "key_hex"), "6e6f74207574663820ff");
    assert_int_equal(call(f, TOKEN, "GET", "/v1/extents/show?bucket=photos&key=not+utf8+%FF", NULL),
                     200);
    assert_int_equal(json_array_size(json_object_get(f->json, "extents")), 0);
}

static void a_scrub_is_started_watched_and_paused(void **state)
{
    static const char *const wrong[] = {"",
                                        "{}",
                                        "[]",
                                        "{\"action\": 1}",
                                        "{\"action\": \"stop\"}",
                                        "{\"action\": \"start\", \"rate\": 1}",
                                        "{\"action\": \"start\", \"rate_bytes\": -1}",
                                        "{\"action\": \"start\", \"rate_bytes\": 5}"};
    struct fixture *f = *state;
    assert_int_equal(call(f, TOKEN, "GET", "/v1/scrub", NULL), 200);
    assert_string_equal(field(f, "state"), "never");
    assert_true(json_is_null(json_object_get(f->json, "started")));
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(call(f, TOKEN, "POST", "/v1/scrub", wrong[i]), 400);
        assert_string_equal(error_code(f), "INVALID");
    }
    assert_int_equal(call(f, TOKEN, "POST", "/v1/scrub",
                          "{\"action\": \"start\", \"rate_bytes\": 5000000, \"anew\": true}"),
                     200);
    assert_int_equal(json_integer_value(json_object_get(f->json, "rate_bytes")), 5000000);
    while (strcmp(field(f, "state"), "done") != 0) /* of next to nothing */
        assert_int_equal(call(f, TOKEN, "GET", "/v1/scrub", NULL), 200);
    assert_true(json_is_string(json_object_get(f->json, "ended")));
    assert_int_equal(json_integer_value(json_object_get(f->json, "damaged_chunks")), 0);
    assert_int_equal(call(f, TOKEN, "POST", "/v1/scrub", "{\"action\": \"pause\"}"), 200);
    assert_string_equal(field(f, "state"), "done"); /* nothing runs that could be paused */
}

static void a_port_in_use_is_told(void **state)
{
    struct fixture *f = *state;
    struct admin *second = NULL;
    struct err_trail trail = {0};
    struct admin_options options = {.host = "127.0.0.1",
                                    .port = admin_port(f->admin),
                                    .token = TOKEN,
                                    .group = f->group,
                                    .volume = f->volume,
                                    .keyring = f->keyring};
    assert_int_equal(admin_open(&options, &second, &trail), ERR_IN_USE);
    assert_non_null(strstr(trail.text, "--admin"));
    options.host = "not an address";
    assert_int_not_equal(admin_open(&options, &second, &trail), ERR_OK);
    assert_null(second);
}

/* Idle and half-sent connections do not keep the port from closing. */
static void closing_does_not_wait_for_idle_clients(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(admin_port(f->admin)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int idle = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
        half = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(idle, (struct sockaddr *)&to, sizeof to), 0);
    assert_int_equal(connect(half, (struct sockaddr *)&to, sizeof to), 0);
    assert_int_equal(write(half, "GET /hea", 8), 8);
    assert_int_equal(call(f, NULL, "GET", "/healthz", NULL), 200);
    uint64_t before_ns = clock_mono_ns(clock_system());
    admin_close(f->admin);
    f->admin = NULL;
    assert_true(clock_mono_ns(clock_system()) - before_ns < 5 * NS_PER_SECOND);
    close(idle);
    close(half);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(health_needs_no_token_and_readiness_follows_the_node),
        TEST(everything_else_needs_the_token),
        TEST(metrics_are_open_or_not_as_configured),
        TEST(the_status_says_what_the_node_is),
        TEST(a_node_alone_says_so),
        TEST(a_group_is_described_as_it_is),
        TEST(keys_are_made_listed_and_removed),
        TEST(wrong_bodies_make_no_key),
        TEST(a_body_that_is_too_long_is_refused_unread),
        TEST(unknown_paths_and_methods_are_told_apart),
        TEST(inspection_judges_its_questions),
        TEST(an_inline_object_is_described),
        TEST(a_scrub_is_started_watched_and_paused),
        TEST(a_port_in_use_is_told),
        TEST(closing_does_not_wait_for_idle_clients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
