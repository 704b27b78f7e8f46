/*
 * A whole node in the test's process, for tests of S3's operations: volume and index in memory
 * (disk_sim, kv_sim, which fail on demand), group, keyring, service and HTTP server with one worker
 * on a thread of its own; and a client on a blocking socket that signs like any other.
 *
 *     struct node *n = *state;                       from node_setup / node_teardown
 *     struct answer a = put(n, "/b/k", bytes);       one connection a request
 *     assert_answer(a, 200, NULL);                   status, and the error's code
 *     answer_free(&a);
 */
#ifndef TESTS_UNIT_S3_HARNESS_H
#define TESTS_UNIT_S3_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/s3/service.h"
#include "api/s3/sigv4.h"
#include "api/s3/time.h"
#include "base/digest.h"
#include "base/log.h"

#define MAYBE_UNUSED __attribute__((unused))

#define ROOT_ID     "AKROOT"
#define ROOT_SECRET "root-secret-0123456789"
#define SIM_BYTES   MIB(512)
#define EMPTY_HASH  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

struct node {
    struct rand_seeded rand;
    struct disk_sim *sim;
    struct kv *kv; /* the volume's */
    struct volume *volume;
    struct work_pool *pool;
    struct group *group;
    struct keyring *keyring;
    uint8_t node_key[32];
    struct arena *arena;
    struct loop *loop;
    pthread_t thread;
    struct s3_service *service;
    struct http_server *http;
    uint16_t port;
    _Atomic bool is_drained;
};

/* ---- the node ---- */

static void *node_run(void *context)
{
    loop_run(((struct node *)context)->loop);
    return NULL;
}

static void must(enum err e, const struct err_trail *trail)
{
    if (e)
        fail_msg("%s", err_trail_text(trail, e));
}

static void node_open_store(struct node *n)
{
    struct err_trail trail = {0};
    rand_seeded_init(&n->rand, 1);
    must(disk_sim_open(
             &(struct disk_sim_options){.capacity_bytes = SIM_BYTES, .rand = &n->rand.rand},
             &n->sim),
         &trail);
    struct disk *disk = disk_sim_disk(n->sim);
    must(volume_format(
             &(struct volume_format_options){
                 .dir = "/vol", .disk = disk, .rand = rand_system(), .segment_bytes = MIB(16)},
             &trail),
         &trail);
    must(kv_sim_open(&n->kv), &trail);
    must(volume_open(
             &(struct volume_options){
                 .dir = "/vol", .disk = disk, .kv = n->kv, .rand = rand_system()},
             &n->volume, &trail),
         &trail);
    must(work_pool_open(2, "test", &n->pool), &trail);
    must(group_open(&(struct group_options){.volume = n->volume, .work_pool = n->pool}, &n->group,
                    &trail),
         &trail);
    must(keyring_open(&(struct keyring_options){.group = n->group,
                                                .clock = clock_system(),
                                                .rand = rand_system(),
                                                .node_key = n->node_key},
                      &n->keyring, &trail),
         &trail);
}

static void node_open_server(struct node *n)
{
    struct err_trail trail = {0};
    must(arena_open(&(struct arena_options){.large_count = 12, .small_count = 16, .share_count = 1},
                    &n->arena),
         &trail);
    must(loop_open(&(struct loop_options){.arena = n->arena, .name = "worker"}, &n->loop, &trail),
         &trail);
    static const char *const domains[] = {"s3.test"}, *const gzip_buckets[] = {"other", "site"};
    must(s3_service_open(&(struct s3_service_options){.group = n->group,
                                                      .keyring = n->keyring,
                                                      .domains = domains,
                                                      .domain_count = 1,
                                                      .gzip_buckets = gzip_buckets,
                                                      .gzip_bucket_count = 2,
                                                      .worker_count = 1},
                         &n->service, &trail),
         &trail);
    struct loop *loops[] = {n->loop};
    must(http_server_open(&(struct http_server_options){.address = "127.0.0.1",
                                                        .loops = loops,
                                                        .worker_count = 1,
                                                        .group = n->group,
                                                        .service = s3_service_http(n->service),
                                                        .limits = http_limits_default},
                          &n->http, &trail),
         &trail);
    n->port = http_server_port(n->http);
    assert_int_equal(pthread_create(&n->thread, NULL, node_run, n), 0);
}

static void node_add_key(struct node *n, const struct access_key *draft)
{
    struct err_trail trail = {0};
    struct access_key made;
    must(keyring_create(n->keyring, draft, &made, &trail), &trail);
}

MAYBE_UNUSED static int node_setup(void **state)
{
    struct node *n = calloc(1, sizeof *n);
    *state = n;
    log_set_level(LOG_ERROR);
    node_open_store(n);
    node_add_key(n, &(struct access_key){.id = ROOT_ID, .secret = ROOT_SECRET, .is_root = true});
    node_open_server(n);
    return 0;
}

static void node_drained(void *context)
{
    atomic_store(&((struct node *)context)->is_drained, true);
}

MAYBE_UNUSED static int node_teardown(void **state)
{
    struct node *n = *state;
    http_server_drain(n->http, NS_PER_SECOND, node_drained, n);
    for (unsigned i = 0; i < 1000 && !atomic_load(&n->is_drained); i++)
        poll(NULL, 0, 5);
    assert_true(atomic_load(&n->is_drained));
    loop_stop(n->loop);
    pthread_join(n->thread, NULL);
    http_server_close(n->http);
    s3_service_close(n->service);
    keyring_close(n->keyring);
    group_close(n->group);
    work_pool_close(n->pool);
    loop_close(n->loop);
    arena_close(n->arena);
    volume_close(n->volume);
    disk_sim_close(n->sim);
    free(n);
    return 0;
}

/* ---- the client ---- */

struct header {
    const char *name, *value;
};

struct request {
    const char *method, *path, *query; /* path as sent; query raw, or NULL */
    struct header headers[12];         /* up to the first without a name; signed when x-amz- */
    struct bytes body;
    const char *payload;     /* x-amz-content-sha256; NULL: the body's hash */
    const char *host;        /* NULL: 127.0.0.1 */
    const char *id, *secret; /* NULL: the root key's */
    const char *length;      /* Content-Length instead of the body's own; "" for none */
    bool is_unsigned;
};

struct answer {
    int status;
    char *text; /* owned: head and body */
    struct bytes head, body;
    /* what it was signed with, for chunk signatures */
    struct sigv4 sigv4;
    char scope[64];
};

MAYBE_UNUSED static void answer_free(struct answer *answer)
{
    free(answer->text);
    *answer = (struct answer){0};
}

/* The value of a response header, or NULL size. */
MAYBE_UNUSED static struct bytes answer_header(const struct answer *answer, const char *name)
{
    struct bytes rest = answer->head;
    while (rest.size > 0) {
        struct bytes line = bytes_trim(bytes_split(&rest, '\n'));
        struct bytes value = line, found = bytes_split(&value, ':');
        if (bytes_equal_nocase(found, bytes_of_string(name))) {
            value = bytes_trim(value);
            if (value.size > 0 && value.data[value.size - 1] == '\r')
                value.size--;
            return value;
        }
    }
    return (struct bytes){0};
}

MAYBE_UNUSED static bool answer_says(const struct answer *answer, const char *text)
{
    return bytes_find(answer->body, 0, bytes_of_string(text)) != SIZE_MAX;
}

MAYBE_UNUSED static void assert_answer_at(const struct answer *answer, int status, const char *code,
                                          const char *file, int line)
{
    char element[100] = "";
    if (code != NULL)
        snprintf(element, sizeof element, "<Code>%s</Code>", code);
    if (answer->status != status || (code != NULL && !answer_says(answer, element))) {
        print_error("%s:%d: expected %d %s, got %.*s\n%.*s\n", file, line, status, code ? code : "",
                    (int)answer->head.size, answer->head.data,
                    (int)(answer->body.size < 600 ? answer->body.size : 600), answer->body.data);
        fail();
    }
}
#define assert_answer(answer, status, code)                                                        \
    assert_answer_at(&(answer), status, code, __FILE__, __LINE__)
/* Sends, judges, forgets. */
#define expect(n, request_, status, code)                                                          \
    do {                                                                                           \
        struct answer answer_ = send_request((n), &(struct request)request_);                      \
        assert_answer(answer_, status, code);                                                      \
        answer_free(&answer_);                                                                     \
    } while (0)
#define ASK(...)                                                                                   \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

static void sign_request_(const struct node *n, const struct request *request,
                          struct text_buf *head, struct answer *answer, const char *host,
                          const char *payload)
{
    (void)n;
    static struct s3_query query;
    struct s3_header headers[20];
    size_t count = 0;
    char names[600] = "host;x-amz-content-sha256;x-amz-date";
    struct sigv4 *sigv4 = &answer->sigv4;
    s3_time_basic(clock_real_ns(clock_system()), sigv4->time);
    headers[count++] = (struct s3_header){BYTES("host"), bytes_of_string(host)};
    headers[count++] = (struct s3_header){BYTES("x-amz-content-sha256"), bytes_of_string(payload)};
    headers[count++] = (struct s3_header){BYTES("x-amz-date"), bytes_of_string(sigv4->time)};
    for (size_t i = 0; i < COUNT_OF(request->headers) && request->headers[i].name; i++) {
        headers[count++] = (struct s3_header){bytes_of_string(request->headers[i].name),
                                              bytes_of_string(request->headers[i].value)};
        strcat(strcat(names, ";"), request->headers[i].name);
    }
    assert_int_equal(s3_query_parse(bytes_of_string(request->query), &query), ERR_OK);
    struct sigv4_request signed_request = {
        .method = bytes_of_string(request->method),
        .path = bytes_of_string(request->path),
        .query = &query,
        .headers = {.at = headers, .count = count},
    };
    snprintf(answer->scope, sizeof answer->scope, "%.8s/us-east-1/s3/aws4_request", sigv4->time);
    sigv4->date = bytes_of(answer->scope, 8);
    sigv4->region = BYTES("us-east-1");
    sigv4->scope = bytes_of_string(answer->scope);
    sigv4->signed_headers = bytes_of_string(names);
    sigv4->payload_text = bytes_of_string(payload);
    struct bytes secret = bytes_of_string(request->secret ? request->secret : ROOT_SECRET);
    sigv4_sign(&signed_request, sigv4, secret, sigv4->signature);
    (void)sigv4_verify(&signed_request, sigv4, secret, NULL); /* for its signing key */
    text_printf(head,
                "x-amz-content-sha256: %s\r\nx-amz-date: %s\r\nAuthorization: AWS4-HMAC-SHA256 "
                "Credential=%s/%s, SignedHeaders=%s, Signature=%s\r\n",
                payload, sigv4->time, request->id ? request->id : ROOT_ID, answer->scope, names,
                sigv4->signature);
}

static int client_connect(const struct node *n)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(n->port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    struct timeval timeout = {.tv_sec = 60};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout), 0);
    return fd;
}

/* The server may answer and close before it has read all: that is no failure of ours. */
static void client_send(int fd, struct bytes bytes)
{
    while (bytes.size > 0) {
        ssize_t sent = send(fd, bytes.data, bytes.size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return;
        bytes = bytes_slice(bytes, (size_t)sent, SIZE_MAX);
    }
}

static void client_receive(int fd, struct answer *answer)
{
    struct text_buf text = {0};
    char part[16384];
    ssize_t got;
    /* A thread that opened a ring may be interrupted for it, a socket with a timeout does not
     * resume. */
    while ((got = recv(fd, part, sizeof part, 0)) > 0 || (got < 0 && errno == EINTR))
        text_put(&text, bytes_of(part, got > 0 ? (size_t)got : 0));
    size_t end = bytes_find(text_bytes(&text), 0, BYTES("\r\n\r\n"));
    if (end == SIZE_MAX)
        fail_msg("no answer (%s): %.*s", got < 0 ? strerror(errno) : "closed", (int)text.size,
                 text.data ? text.data : "");
    answer->text = text.data;
    answer->head = bytes_slice(text_bytes(&text), 0, end + 2);
    answer->body = bytes_slice(text_bytes(&text), end + 4, SIZE_MAX);
    answer->status = atoi(text.data + strlen("HTTP/1.1 "));
}

MAYBE_UNUSED static int begin_request(struct node *n, const struct request *request,
                                      struct answer *ret_answer)
{
    struct text_buf head = {0};
    char host[80], hash[65];
    uint8_t sha[32];
    snprintf(host, sizeof host, "%s:%u", request->host ? request->host : "127.0.0.1", n->port);
    sha256(request->body.data, request->body.size, sha);
    hex_encode(sha, sizeof sha, hash);
    *ret_answer = (struct answer){0};
    text_printf(&head, "%s %s%s%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n", request->method,
                request->path, request->query ? "?" : "", request->query ? request->query : "",
                host);
    for (size_t i = 0; i < COUNT_OF(request->headers) && request->headers[i].name; i++)
        text_printf(&head, "%s: %s\r\n", request->headers[i].name, request->headers[i].value);
    if (!request->is_unsigned)
        sign_request_(n, request, &head, ret_answer, host,
                      request->payload ? request->payload : hash);
    if (request->length == NULL)
        text_printf(&head, "Content-Length: %zu\r\n", request->body.size);
    else if (request->length[0] != '\0')
        text_printf(&head, "Content-Length: %s\r\n", request->length);
    text_put_string(&head, "\r\n");
    int fd = client_connect(n);
    client_send(fd, text_bytes(&head));
    text_free(&head);
    return fd;
}

MAYBE_UNUSED static struct answer send_request(struct node *n, const struct request *request)
{
    struct answer answer;
    int fd = begin_request(n, request, &answer);
    client_send(fd, request->body);
    client_receive(fd, &answer);
    close(fd);
    return answer;
}

/* ---- what tests say most ---- */

MAYBE_UNUSED static struct answer get(struct node *n, const char *path)
{
    return send_request(n, &(struct request){.method = "GET", .path = path});
}

MAYBE_UNUSED static struct answer put(struct node *n, const char *path, struct bytes body)
{
    return send_request(n, &(struct request){.method = "PUT", .path = path, .body = body});
}

MAYBE_UNUSED static void put_ok(struct node *n, const char *path, struct bytes body)
{
    struct answer answer = put(n, path, body);
    assert_answer(answer, 200, NULL);
    answer_free(&answer);
}

MAYBE_UNUSED static void assert_holds(struct node *n, const char *path, struct bytes body)
{
    struct answer answer = get(n, path);
    assert_answer(answer, 200, NULL);
    assert_int_equal(answer.body.size, body.size);
    assert_memory_equal(answer.body.data, body.data, body.size);
    answer_free(&answer);
}

MAYBE_UNUSED static void assert_absent(struct node *n, const char *path)
{
    expect(n, ASK(.method = "GET", .path = path), 404, "NoSuchKey");
}

/* Space claimed by uploads that came to nothing would show here. */
MAYBE_UNUSED static void assert_nothing_reserved(struct node *n)
{
    struct volume_status status;
    for (unsigned i = 0; i < 400; i++) {
        volume_status(n->volume, &status);
        if (status.reserved_bytes == 0)
            return;
        poll(NULL, 0, 5);
    }
    fail_msg("%llu bytes are still reserved", (unsigned long long)status.reserved_bytes);
}

/* Text between <element> and </element>, the nth from 0 on; {NULL, 0}: none. */
MAYBE_UNUSED static struct bytes element(struct bytes xml, const char *name, unsigned nth)
{
    char open[64], shut[64];
    snprintf(open, sizeof open, "<%s>", name);
    snprintf(shut, sizeof shut, "</%s>", name);
    size_t at = 0;
    for (;;) {
        at = bytes_find(xml, at, bytes_of_string(open));
        if (at == SIZE_MAX)
            return (struct bytes){0};
        at += strlen(open);
        if (nth-- == 0)
            return bytes_slice(xml, at, bytes_find(xml, at, bytes_of_string(shut)) - at);
    }
}

/* Noise that differs from place to place and run of bytes to run of bytes. */
MAYBE_UNUSED static struct bytes noise(size_t size, uint64_t seed)
{
    struct rand_seeded rand;
    char *data = malloc(size + 1);
    rand_seeded_init(&rand, seed);
    rand_fill(&rand.rand, data, size);
    return bytes_of(data, size);
}

#endif
