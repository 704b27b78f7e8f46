/*
 * A running server for tests of the engine: workers on threads of their own, a small service over a
 * fake object (fake_object.h), and clients on blocking sockets.
 *
 * The service answers by path:
 *   GET  /empty /nocontent /notmodified    without body
 *   GET  /text?SIZE   /async?SIZE          SIZE bytes of text, at once or from a timer
 *   GET  /bad-header                       tries to send a header with a line break in it
 *   GET  /object?FROM-SIZE[h][r]           bytes of the fake object; h: hot, r: with receipt;
 *                                          x-sluice-path, -require-path and -verify are its policy
 *   GET  /pieces?PIECE,PIECE...[;hr]       each a text, "<PIECE>", and the bytes of the fake object
 *                                          if it is FROM-SIZE
 *   PUT  /sink[-slow|-aws|-signed]?SIZE    receives into slots; SIZE expected (empty: unknown);
 *                                          says what came
 *   PUT  /later                            as /sink, but asks for the body from a timer
 *   POST /collect                          gives the body back
 *   any  /early                            403 without reading the body
 *   PUT  /giveup                           500 after the first slot
 */
#ifndef TESTS_UNIT_HTTP_FIXTURE_H
#define TESTS_UNIT_HTTP_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include "api/http/http.h"
#include "base/digest.h"
#include "base/disk.h"
#include "base/log.h"
#include "tests/unit/fake_object.h"

#define WORKERS 2

/* ---- the service ---- */

struct sink_state {
    struct http_body_sink sink;
    struct http_aws_chunks aws;
    struct http_collect collect;
    struct exchange *x;
    struct read_plan plan;
    struct http_pieces pieces;
    struct bytes pieces_left; /* of the query */
    struct timer timer;
    struct slot *held; /* /sink-slow: put back by the timer */
    uint64_t bytes, chunk_bytes, size;
    uint64_t hash; /* of payload, in order */
    uint64_t aws_hash;
    unsigned slots, chunks, trailers, largest;
    bool was_last, ends, gives_up, collects;
    enum err end_err;
};
_Static_assert(sizeof(struct sink_state) <= HTTP_STATE_BYTES, "the test's state fits");

static _Atomic int begins, ends, sink_ends, sinks_read;

static uint64_t hash_more(uint64_t hash, const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ data[i]) * 0x100000001b3ull;
    return hash;
}

static void text_of_size(struct text_buf *text, uint64_t size)
{
    char block[10000];
    for (size_t i = 0; i < sizeof block; i++)
        block[i] = "abcdefghij"[i % 10];
    for (; size > sizeof block; size -= sizeof block)
        text_put(text, bytes_of(block, sizeof block));
    text_put(text, bytes_of(block, (size_t)size));
}

static struct sink_state *sink_state_of(struct http_body_sink *sink)
{
    return CONTAINER_OF(sink, struct sink_state, sink);
}

static void respond_sink(struct sink_state *s)
{
    struct text_buf text = {0};
    text_printf(&text,
                "%s bytes=%llu hash=%016llx aws=%016llx slots=%u chunks=%u trailers=%u largest=%u",
                err_name(s->end_err), (unsigned long long)s->bytes, (unsigned long long)s->hash,
                (unsigned long long)s->aws_hash, s->slots, s->chunks, s->trailers, s->largest);
    http_respond_text(s->x, s->end_err ? 400 : 200, &text);
}

static void slow_put(struct timer *timer)
{
    struct sink_state *s = CONTAINER_OF(timer, struct sink_state, timer);
    slot_put(TAKE(s->held));
    http_body_resume(s->x);
    if (s->ends)
        respond_sink(s);
}

static void sink_slot(struct http_body_sink *sink, struct slot *slot, uint32_t size, bool is_last)
{
    struct sink_state *s = sink_state_of(sink);
    CHECK(size > 0 && size <= slot->size);
    CHECK(!s->was_last);                                       /* nothing after the last */
    CHECK(s->slots == 0 || (s->bytes % SUM_CHUNK_BYTES) == 0); /* only the last is odd */
    s->hash = hash_more(s->hash, slot->data, size);
    s->bytes += size;
    s->slots++;
    s->was_last = is_last;
    s->largest = slot->size > s->largest ? slot->size : s->largest;
    if (s->timer.fire == slow_put) {
        CHECK(s->held == NULL); /* slots_max is 1 */
        s->held = slot;
        timer_start(http_loop(s->x), &s->timer, 5 * NS_PER_MS, slow_put);
        return;
    }
    slot_put(slot);
    http_body_resume(s->x);
    if (s->gives_up && s->slots == 1)
        http_respond_empty(s->x, 500);
}

static void sink_end(struct http_body_sink *sink, enum err e)
{
    struct sink_state *s = sink_state_of(sink);
    CHECK(!s->ends); /* once */
    s->ends = true;
    atomic_fetch_add(&sink_ends, 1);
    if (s->gives_up && s->slots >= 1) {
        CHECK(e == ERR_CANCELLED || e == ERR_OK);
        return;
    }
    s->end_err = e;
    if (s->held == NULL)
        respond_sink(s);
}

static enum err aws_begin(struct http_aws_chunks *aws, uint64_t size, struct bytes signature)
{
    struct sink_state *s = CONTAINER_OF(aws, struct sink_state, aws);
    s->chunk_bytes = size;
    s->chunks++;
    return ERR_OK;
}

static void aws_data(struct http_aws_chunks *aws, const uint8_t *data, size_t size)
{
    struct sink_state *s = CONTAINER_OF(aws, struct sink_state, aws);
    CHECK(size <= s->chunk_bytes);
    s->chunk_bytes -= size;
    s->aws_hash = hash_more(s->aws_hash, data, size);
}

static enum err aws_end(struct http_aws_chunks *aws)
{
    struct sink_state *s = CONTAINER_OF(aws, struct sink_state, aws);
    CHECK(s->chunk_bytes == 0);
    return ERR_OK;
}

static enum err aws_trailer(struct http_aws_chunks *aws, struct bytes name, struct bytes value)
{
    struct sink_state *s = CONTAINER_OF(aws, struct sink_state, aws);
    s->trailers++;
    return ERR_OK;
}

static void collected(struct http_collect *collect, enum err e)
{
    struct sink_state *s = CONTAINER_OF(collect, struct sink_state, collect);
    struct text_buf text = {0};
    if (e)
        text_put_string(&text, err_name(e));
    else
        text_put(&text, text_bytes(&collect->text));
    http_respond_text(s->x, e ? 400 : 200, &text);
}

static void read_now(struct sink_state *s)
{
    atomic_fetch_add(&sinks_read, 1);
    http_body_read(s->x, &s->sink);
}

static void read_later(struct timer *timer)
{
    read_now(CONTAINER_OF(timer, struct sink_state, timer));
}

static void text_later(struct timer *timer)
{
    struct sink_state *s = CONTAINER_OF(timer, struct sink_state, timer);
    struct text_buf text = {0};
    text_of_size(&text, s->size);
    http_respond_text(s->x, 200, &text);
}

static uint64_t number(struct bytes text, uint64_t otherwise)
{
    uint64_t value;
    return bytes_to_u64(text, &value) ? otherwise : value;
}

static bool has_flag(struct bytes query, char flag)
{
    return bytes_find_char(query, 0, flag) != SIZE_MAX;
}

static bool next_piece(struct http_pieces *pieces, struct buf *text, struct read_plan *plan)
{
    struct sink_state *s = CONTAINER_OF(pieces, struct sink_state, pieces);
    struct bytes piece = bytes_split(&s->pieces_left, ',');
    assert_null(plan->object); /* the one before was closed */
    if (piece.data == NULL)
        return false;
    buf_put_char(text, '<');
    buf_put(text, piece);
    buf_put_char(text, '>');
    struct bytes size = piece, from = bytes_split(&size, '-');
    if (size.data == NULL)
        return true;
    read_plan_open(plan, fake_object, number(from, 0), number(size, 0));
    atomic_fetch_add(&plans_open, 1);
    return true;
}

/* "10-5,20-7;hr": pieces, then flags. */
static void serve_pieces(struct exchange *x, struct sink_state *s, struct bytes query)
{
    struct bytes flags = query, pieces = bytes_split(&flags, ';');
    s->pieces.next = next_piece;
    s->pieces_left = pieces;
    while (pieces.data != NULL) {
        struct bytes piece = bytes_split(&pieces, ',');
        s->pieces.size += piece.size + 2;
        (void)bytes_split(&piece, '-');
        s->pieces.size += number(piece, 0);
    }
    struct http_object object = {
        .plan = &s->plan,
        .pieces = &s->pieces,
        .object = fake_object,
        .is_hot = has_flag(flags, 'h'),
        .receipt = has_flag(flags, 'r'),
    };
    http_respond_object(x, 206, &object);
}

static void serve_object(struct exchange *x, struct sink_state *s, struct bytes query)
{
    struct bytes rest = query;
    struct bytes from = bytes_split(&rest, '-');
    size_t digits = 0;
    while (digits < rest.size && rest.data[digits] >= '0' && rest.data[digits] <= '9')
        digits++;
    struct bytes flags = bytes_slice(rest, digits, SIZE_MAX);
    read_plan_open(&s->plan, fake_object, number(from, 0),
                   number(bytes_slice(rest, 0, digits), fake_object->size));
    atomic_fetch_add(&plans_open, 1);
    http_header(x, "ETag", BYTES("\"etag\""));
    struct http_object object = {
        .plan = &s->plan,
        .object = fake_object,
        .is_hot = bytes_find_char(flags, 0, 'h') != SIZE_MAX,
        .receipt = bytes_find_char(flags, 0, 'r') != SIZE_MAX,
    };
    const struct http_request *request = http_request(x);
    struct bytes path = http_request_header(request, "x-sluice-path");
    struct bytes require = http_request_header(request, "x-sluice-require-path");
    struct bytes verify = http_request_header(request, "x-sluice-verify");
    CHECK(path.data == NULL || path_name_parse(path, &object.policy.path) == ERR_OK);
    CHECK(require.data == NULL || path_require_parse(require, &object.policy.require) == ERR_OK);
    CHECK(verify.data == NULL || path_verify_parse(verify, &object.policy) == ERR_OK);
    http_respond_object(x, 200, &object);
}

static void serve_sink(struct exchange *x, struct sink_state *s, struct bytes path,
                       struct bytes query)
{
    bool is_signed = bytes_equal(path, BYTES("/sink-signed"));
    bool is_slow = bytes_equal(path, BYTES("/sink-slow"));
    s->gives_up = bytes_equal(path, BYTES("/giveup"));
    s->aws = (struct http_aws_chunks){aws_begin, aws_data, aws_end, aws_trailer, is_signed, true};
    s->sink = (struct http_body_sink){
        .slot = sink_slot,
        .end = sink_end,
        .slots_max = is_slow ? 1 : 4,
        .aws = is_signed || bytes_equal(path, BYTES("/sink-aws")) ? &s->aws : NULL,
        .expected_size = number(query, UINT64_MAX),
        .size_max = 100u << 20,
    };
    if (is_slow)
        s->timer.fire = slow_put;
    if (bytes_equal(path, BYTES("/later")))
        timer_start(http_loop(x), &s->timer, 5 * NS_PER_MS, read_later);
    else
        read_now(s);
}

static void service_begin(struct http_service *service, struct exchange *x)
{
    const struct http_request *r = http_request(x);
    struct sink_state *s = http_state(x);
    const uint8_t *raw = http_state(x);
    for (size_t i = 0; i < HTTP_STATE_BYTES; i++)
        CHECK(raw[i] == 0);
    CHECK(((uintptr_t)raw & 15) == 0);
    atomic_fetch_add(&begins, 1);
    s->x = x;
    s->size = number(r->query, 0);
    http_log_operation(x, "Test", BYTES("a key"));
    struct text_buf text = {0};
    if (bytes_equal(r->path, BYTES("/empty"))) {
        http_respond_empty(x, 200);
    } else if (bytes_equal(r->path, BYTES("/nocontent"))) {
        http_respond_empty(x, 204);
    } else if (bytes_equal(r->path, BYTES("/notmodified"))) {
        http_respond_empty(x, 304);
    } else if (bytes_equal(r->path, BYTES("/early"))) {
        http_respond_empty(x, 403);
    } else if (bytes_equal(r->path, BYTES("/bad-header"))) {
        http_header(x, "X-Good", BYTES("1"));
        http_header(x, "X-Bad", BYTES("a\r\nX-Injected: 1"));
        http_header(x, "X-Bad", BYTES("a\nb"));
        http_header(x, "X Bad", BYTES("a"));
        http_header_u64(x, "X-Number", 42);
        http_respond_empty(x, 200);
    } else if (bytes_equal(r->path, BYTES("/text"))) {
        text_of_size(&text, s->size);
        if (r->method == HTTP_HEAD && s->size == 7)
            http_respond_head(x, 200, 7);
        else
            http_respond_text(x, 200, &text);
        text_free(&text);
    } else if (bytes_equal(r->path, BYTES("/async"))) {
        timer_start(http_loop(x), &s->timer, 5 * NS_PER_MS, text_later);
    } else if (bytes_equal(r->path, BYTES("/collect"))) {
        s->collect = (struct http_collect){.done = collected, .size_max = 100000};
        http_body_collect(x, &s->collect);
    } else if (bytes_equal(r->path, BYTES("/object"))) {
        serve_object(x, s, r->query);
    } else if (bytes_equal(r->path, BYTES("/pieces"))) {
        serve_pieces(x, s, r->query);
    } else if (bytes_equal(r->path, BYTES("/peer"))) {
        text_printf(&text, "%s %u", http_peer(x), http_worker(x));
        http_respond_text(x, 200, &text);
    } else {
        serve_sink(x, s, r->path, r->query);
    }
}

static void service_end(struct http_service *service, struct exchange *x)
{
    struct sink_state *s = http_state(x);
    CHECK(s->x == x);
    CHECK(s->held == NULL);
    CHECK(!timer_is_running(&s->timer));
    s->x = NULL;
    atomic_fetch_add(&ends, 1);
}

static void service_refuse(struct http_service *service, enum http_refusal why, const char *text,
                           const char *request_id, struct text_buf *body)
{
    text_printf(body, "<Error><Why>%d</Why><Text>%s</Text><RequestId>%s</RequestId></Error>", why,
                text, request_id);
}

/* ---- the server on threads ---- */

struct fixture {
    enum ring_choice ring;
    struct arena *arena;
    struct loop *loops[WORKERS];
    pthread_t threads[WORKERS];
    struct http_service service;
    struct http_server *server;
    struct http_limits limits;
    uint16_t port, tls_port;
    struct tls_store *tls; /* borrowed: the port speaks TLS */
    bool has_both;         /* or a second one does */
    unsigned large_slots, small_slots;
    enum zero_copy_mode zero_copy;
    _Atomic bool is_drained;
};

static void *loop_thread(void *loop)
{
    loop_run(loop);
    return NULL;
}

static void fixture_drained(void *context)
{
    struct fixture *f = context;
    f->is_drained = true;
}

static const struct http_limits test_limits = {
    .connections_max = 1000,
    .handshake_timeout_ns = 20 * NS_PER_SECOND,
    .head_timeout_ns = 20 * NS_PER_SECOND,
    .idle_timeout_ns = 20 * NS_PER_SECOND,
    .body_timeout_ns = 20 * NS_PER_SECOND,
    .body_rate_min = 1,
    .admission_timeout_ns = 20 * NS_PER_SECOND,
};

static void fixture_start(struct fixture *f)
{
    struct arena_options arena_options = {.large_count = f->large_slots ? f->large_slots : 8,
                                          .small_count = f->small_slots ? f->small_slots : 16,
                                          .share_count = WORKERS};
    struct err_trail trail = {0};
    assert_int_equal(arena_open(&arena_options, &f->arena), ERR_OK);
    for (unsigned i = 0; i < WORKERS; i++) {
        struct loop_options options = {
            .arena = f->arena, .arena_share = i, .ring_choice = f->ring, .name = "worker"};
        assert_int_equal(loop_open(&options, &f->loops[i], &trail), ERR_OK);
    }
    f->service = (struct http_service){service_begin, service_end, service_refuse};
    struct http_server_options options = {
        .address = "127.0.0.1",
        .loops = f->loops,
        .worker_count = WORKERS,
        .service = &f->service,
        .limits = f->limits.connections_max ? f->limits : test_limits,
        .access_log = true,
        .zero_copy = f->zero_copy,
        .tls = f->tls,
        .tls_address = f->has_both ? "127.0.0.1" : NULL,
    };
    enum err e = http_server_open(&options, &f->server, &trail);
    if (e)
        print_error("%s\n", err_trail_text(&trail, e));
    assert_int_equal(e, ERR_OK);
    f->port = http_server_port(f->server);
    f->tls_port = f->has_both ? http_server_tls_port(f->server) : f->port;
    f->is_drained = false;
    for (unsigned i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&f->threads[i], NULL, loop_thread, f->loops[i]), 0);
}

static void fixture_stop(struct fixture *f, uint64_t grace_ns)
{
    if (f->server == NULL)
        return;
    http_server_drain(f->server, grace_ns, fixture_drained, f);
    for (int i = 0; i < 4000 && !f->is_drained; i++)
        usleep(5000);
    assert_true(f->is_drained);
    for (unsigned i = 0; i < WORKERS; i++) {
        loop_stop(f->loops[i]);
        pthread_join(f->threads[i], NULL);
    }
    http_server_close(TAKE(f->server));
    for (unsigned i = 0; i < WORKERS; i++)
        loop_close(TAKE(f->loops[i]));
    arena_close(TAKE(f->arena)); /* checks that every slot came back */
    assert_int_equal(begins, ends);
    assert_int_equal(sinks_read, sink_ends);
    assert_int_equal(plans_open, 0);
}

/* ---- clients ---- */

struct client {
    int fd;
    void *session; /* tests of TLS: theirs, NULL: plain */
    char in[1 << 16];
    size_t in_size;
};

struct response {
    int status;
    char head[16384];
    uint8_t *body; /* owned */
    size_t size;
    bool closes;
};

static int client_mss; /* of clients that connect now; 0: loopback's, which is 64 KiB */

static int client_connect(const struct fixture *f)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(f->port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    assert_true(fd >= 0);
    struct timeval timeout = {.tv_sec = 15};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (client_mss > 0)
        setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &client_mss, sizeof client_mss);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        assert_int_equal(errno, EINTR); /* see client_more(); it goes on by itself */
        struct pollfd pollfd = {.fd = fd, .events = POLLOUT};
        while (poll(&pollfd, 1, 15000) < 0)
            assert_int_equal(errno, EINTR);
    }
    return fd;
}

/* How the bytes of a client with a session travel. */
static struct {
    void *(*open)(int fd);
    ssize_t (*send)(void *session, const void *data, size_t size);
    ssize_t (*recv)(void *session, void *data, size_t size);
    void (*close)(void *session);
} client_sessions;

static void client_open(struct client *c, const struct fixture *f)
{
    c->fd = client_connect(f);
    c->in_size = 0;
    c->session = client_sessions.open ? client_sessions.open(c->fd) : NULL;
}

static void client_close(struct client *c)
{
    if (c->session)
        client_sessions.close(TAKE(c->session));
    close(c->fd);
    c->fd = -1;
}

/* False: the server would not have it. */
static bool client_put(struct client *c, const void *data, size_t size)
{
    for (size_t at = 0; at < size;) {
        ssize_t sent = c->session
                           ? client_sessions.send(c->session, (const char *)data + at, size - at)
                           : send(c->fd, (const char *)data + at, size - at, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return false;
        at += (size_t)sent;
    }
    return true;
}

static void client_say(struct client *c, const char *text)
{
    assert_true(client_put(c, text, strlen(text)));
}

/* More bytes into c->in; 0 at the end of the stream, -1 when it broke. */
static ssize_t client_more(struct client *c)
{
    assert_true(c->in_size < sizeof c->in);
    ssize_t got;
    do /* rings that were closed a moment ago still interrupt the thread that opened them */
        got = c->session
                  ? client_sessions.recv(c->session, c->in + c->in_size, sizeof c->in - c->in_size)
                  : recv(c->fd, c->in + c->in_size, sizeof c->in - c->in_size, 0);
    while (got < 0 && errno == EINTR);
    if (got > 0)
        c->in_size += (size_t)got;
    return got;
}

static void client_eat(struct client *c, size_t size)
{
    memmove(c->in, c->in + size, c->in_size - size);
    c->in_size -= size;
}

static size_t number_after(const char *head, const char *name)
{
    const char *at = strcasestr(head, name);
    return at ? strtoull(at + strlen(name), NULL, 10) : 0;
}

/* Reads a response; its body only if it has one. False: the stream ended before its end. */
static bool client_read(struct client *c, struct response *r, bool has_body)
{
    char *end;
    *r = (struct response){0};
    while ((end = memmem(c->in, c->in_size, "\r\n\r\n", 4)) == NULL)
        if (client_more(c) <= 0)
            return false;
    size_t head_size = (size_t)(end - c->in) + 4;
    assert_true(head_size < sizeof r->head);
    memcpy(r->head, c->in, head_size);
    client_eat(c, head_size);
    assert_memory_equal(r->head, "HTTP/1.1 ", 9);
    r->status = atoi(r->head + 9);
    r->closes = strcasestr(r->head, "\r\nConnection: close\r\n") != NULL;
    if (!has_body || r->status == 204 || r->status == 304 || r->status == 100)
        return true;
    assert_non_null(strcasestr(r->head, "\r\nContent-Length: "));
    r->size = number_after(r->head, "\r\nContent-Length: ");
    r->body = malloc(r->size + 1);
    r->body[r->size] = '\0';
    for (size_t at = 0; at < r->size;) {
        if (c->in_size == 0 && client_more(c) <= 0) {
            free(TAKE(r->body));
            return false;
        }
        size_t part = r->size - at < c->in_size ? r->size - at : c->in_size;
        memcpy(r->body + at, c->in, part);
        client_eat(c, part);
        at += part;
    }
    return true;
}

__attribute__((unused)) static bool client_is_at_end(struct client *c)
{
    return c->in_size == 0 && client_more(c) <= 0;
}

/* Asks and reads the answer. */
__attribute__((unused)) static void client_get(struct client *c, const char *target,
                                               struct response *r)
{
    char text[512];
    snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: h\r\n\r\n", target);
    client_say(c, text);
    assert_true(client_read(c, r, true));
}

__attribute__((unused)) static void response_free(struct response *r)
{
    free(TAKE(r->body));
}

#endif
