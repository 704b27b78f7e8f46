#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "api/http/conn.h"
#include "api/http/measure.h"
#include "base/log.h"

#define ACCEPT_PAUSE_NS       (100 * NS_PER_MS)
#define EXCHANGES_MAX_DEFAULT 2048u
#define BACKLOG               4096

const struct http_limits http_limits_default = {
    .connections_max = 10000,
    .handshake_timeout_ns = 10 * NS_PER_SECOND,
    .head_timeout_ns = 20 * NS_PER_SECOND,
    .idle_timeout_ns = 75 * NS_PER_SECOND,
    .body_timeout_ns = 30 * NS_PER_SECOND,
    .body_rate_min = 1024,
    .admission_timeout_ns = 5 * NS_PER_SECOND,
    .exchanges_max = EXCHANGES_MAX_DEFAULT,
};

static uint32_t exchanges_max(const struct http_limits *limits)
{
    uint32_t max = limits->exchanges_max ? limits->exchanges_max : EXCHANGES_MAX_DEFAULT;
    return max < limits->connections_max ? max : limits->connections_max;
}

uint64_t http_memory_bytes(const struct http_limits *limits)
{
    return (uint64_t)limits->connections_max * sizeof(struct conn) +
           (uint64_t)exchanges_max(limits) * sizeof(struct exchange);
}

/*
 * Measured with OpenSSL 3.0: an idle connection holds 7 KiB more by TLS than without. The buffers
 * of a record each way are there only while one is under way: in a request, or in a handshake.
 */
#define TLS_IDLE_BYTES    KIB(8)
#define TLS_BUFFERS_BYTES (TLS_READ_BUFFER_BYTES + KIB(20))

uint64_t http_tls_memory_bytes(const struct http_limits *limits, unsigned worker_count)
{
    uint64_t busy = exchanges_max(limits) + (uint64_t)worker_count * TLS_HANDSHAKES_MAX;
    if (busy > limits->connections_max)
        busy = limits->connections_max;
    return limits->connections_max * TLS_IDLE_BYTES + busy * TLS_BUFFERS_BYTES;
}

/* ---- pools: made on demand up to the limit, then kept ---- */

struct exchange *worker__exchange_take(struct worker *worker)
{
    struct list *node = list_pop_front(&worker->free_exchanges);
    if (node)
        return LIST_ENTRY(node, struct exchange, link);
    if (worker->exchange_count == worker->exchanges_max)
        return NULL;
    struct exchange *x = aligned_alloc(64, (sizeof *x + 63) / 64 * 64);
    if (x == NULL)
        return NULL;
    worker->exchange_count++;
    x->link = (struct list){NULL, NULL};
    return x;
}

/* To the connection that has waited longest, or back into the pool, where the warmest is taken
 * first. */
void worker__exchange_put(struct worker *worker, struct exchange *x)
{
    x->magic = 0;
    struct list *node = list_pop_front(&worker->starved);
    if (node) {
        struct conn *conn = LIST_ENTRY(node, struct conn, starved_link);
        conn->x = x;
        x->conn = conn;
        conn__wake(conn);
        return;
    }
    list_push_front(&worker->free_exchanges, &x->link);
}

/* Unique in the process's life because each step is a bijection of (worker, count); spread out
 * because people compare ids by eye. */
void worker__request_id(struct worker *worker, char out[17])
{
    static const char digits[] = "0123456789ABCDEF";
    uint64_t id = ((uint64_t)worker->index << 48 | (worker->request_count++ & 0xffffffffffffull)) ^
                  worker->server->id_seed;
    id = (id ^ id >> 30) * 0xbf58476d1ce4e5b9ull;
    id = (id ^ id >> 27) * 0x94d049bb133111ebull;
    id ^= id >> 31;
    for (int i = 15; i >= 0; i--, id >>= 4)
        out[i] = digits[id & 15];
    out[16] = '\0';
}

/* ---- draining ---- */

static void drained_if_done(struct worker *worker)
{
    if (!worker->is_draining || worker->is_drained || worker->conn_count > 0 ||
        worker->accepts_pending > 0)
        return;
    worker->is_drained = true;
    timer_stop(worker->loop, &worker->grace_timer);
    struct http_server *server = worker->server;
    if (atomic_fetch_sub(&server->workers_left, 1) == 1)
        server->drained(server->drained_context);
}

void worker__conn_gone(struct worker *worker, struct conn *conn)
{
    atomic_fetch_sub(&worker->server->conn_count, 1);
    measure_connections(-1);
    worker->conn_count--;
    if (conn) {
        worker->surplus_count -= conn->is_surplus;
        list_remove(&conn->link);
        list_push_front(&worker->free_conns, &conn->link);
    }
    drained_if_done(worker);
}

static void grace_is_over(struct timer *timer)
{
    struct worker *worker = CONTAINER_OF(timer, struct worker, grace_timer);
    LIST_EACH (&worker->conns, node) {
        struct conn *conn = LIST_ENTRY(node, struct conn, link);
        conn__cut(conn);
        conn__wake(conn);
    }
}

static void drain_delivered(struct loop_msg *msg)
{
    struct worker *worker = CONTAINER_OF(msg, struct worker, drain_msg);
    worker->is_draining = true;
    timer_stop(worker->loop, &worker->accept_timer);
    for (unsigned l = 0; l < worker->server->listener_count; l++) {
        struct worker_listener *listener = &worker->listeners[l];
        for (unsigned i = 0; i < ACCEPTS; i++)
            ring_cancel(worker->ring, &listener->accepts[i].op);
        /* Shut down before it is closed: the kernel then ends the accepts on every backend, and
         * nobody new gets in line. */
        (void)shutdown(listener->fd, SHUT_RDWR);
    }
    timer_start(worker->loop, &worker->grace_timer, worker->server->grace_ns, grace_is_over);
    LIST_EACH (&worker->conns, node)
        conn__drain(LIST_ENTRY(node, struct conn, link));
    drained_if_done(worker);
}

void http_server_drain(struct http_server *server, uint64_t grace_ns,
                       void (*drained)(void *context), void *context)
{
    server->grace_ns = grace_ns;
    server->drained = drained;
    server->drained_context = context;
    atomic_store(&server->workers_left, server->worker_count);
    for (unsigned i = 0; i < server->worker_count; i++)
        loop_post(server->workers[i].loop, &server->workers[i].drain_msg);
}

/* ---- accepting ---- */

static void accept_again(struct worker *worker);

static void admit(struct worker *worker, int fd, bool is_tls)
{
    uint32_t before = atomic_fetch_add(&worker->server->conn_count, 1);
    bool is_surplus = before >= worker->server->limits.connections_max;
    measure_connections(1);
    worker->conn_count++;
    if (is_surplus && worker->surplus_count == REFUSED_CONNS_MAX) {
        (void)close(fd); /* politeness has its limit, too */
        worker__conn_gone(worker, NULL);
        return;
    }
    worker->surplus_count += is_surplus;
    conn__open(worker, fd, &(struct conn_options){.is_surplus = is_surplus, .is_tls = is_tls});
}

static void accept_paused(struct timer *timer)
{
    accept_again(CONTAINER_OF(timer, struct worker, accept_timer));
}

static void accepted(struct ring_op *op, enum err e, uint32_t count)
{
    struct worker_accept *accept = CONTAINER_OF(op, struct worker_accept, op);
    struct worker *worker = accept->worker;
    worker->accepts_pending--;
    if (!e && worker->is_draining) {
        (void)close((int)count); /* came with the end */
    } else if (!e) {
        admit(worker, (int)count, accept->listener->is_tls);
    } else if (!worker->is_draining && err_family(e) != FAM_IO) {
        /* Out of descriptors or memory; a connection that died in the queue (FAM_IO) costs nothing
         * but itself. */
        LOG_LIMITED(LOG_WARN, "http", "cannot accept connections for now error=%s", err_name(e));
        timer_start(worker->loop, &worker->accept_timer, ACCEPT_PAUSE_NS, accept_paused);
    }
    accept_again(worker);
    drained_if_done(worker);
}

static void accept_again(struct worker *worker)
{
    if (worker->is_draining || timer_is_running(&worker->accept_timer))
        return;
    for (unsigned l = 0; l < worker->server->listener_count; l++) {
        struct worker_listener *listener = &worker->listeners[l];
        for (unsigned i = 0; i < ACCEPTS; i++) {
            if (ring_op_is_pending(&listener->accepts[i].op))
                continue;
            worker->accepts_pending++;
            ring_accept(worker->ring, &listener->accepts[i].op, listener->fd, accepted);
        }
    }
}

static void start_delivered(struct loop_msg *msg)
{
    accept_again(CONTAINER_OF(msg, struct worker, start_msg));
}

/* ---- opening and closing ---- */

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static enum err parse_address(const char *text, uint16_t port, union address *ret_address,
                              socklen_t *ret_size)
{
    union address address = {.v4 = {.sin_family = AF_INET, .sin_port = htons(port)}};
    if (inet_pton(AF_INET, text, &address.v4.sin_addr) == 1) {
        *ret_address = address;
        *ret_size = sizeof address.v4;
        return ERR_OK;
    }
    address = (union address){.v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)}};
    if (inet_pton(AF_INET6, text, &address.v6.sin6_addr) != 1)
        return ERR_BAD_SYNTAX;
    *ret_address = address;
    *ret_size = sizeof address.v6;
    return ERR_OK;
}

static enum err listen_errno(struct err_trail *trail, const char *what, const char *address,
                             unsigned port)
{
    int errnum = errno;
    enum err e = errnum == EADDRINUSE ? ERR_IN_USE
                 : errnum == EACCES   ? ERR_DENIED
                                      : err_from_errno(errnum);
    const char *text = strerrordesc_np(errnum);
    return err_note(trail, e, "%s %s port %u: %s", what, address, port,
                    text ? text : "unknown error");
}

/*
 * SO_REUSEPORT lets a stranger's process of the same user listen beside us unnoticed, so the first
 * listener asks for the port without it and only then shares it with the others.
 */
static enum err port_is_free(const union address *address, socklen_t size, const char *text,
                             unsigned port, struct err_trail *trail)
{
    CLEANUP(fd_close) int fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        bind(fd, &address->any, size) != 0 || (port != 0 && listen(fd, 1) != 0))
        return listen_errno(trail, "listen on", text, port);
    return ERR_OK;
}

/* *port 0 becomes the one that was found. */
static enum err listener_open(const char *text, uint16_t *port, int *ret_fd,
                              struct err_trail *trail)
{
    union address address;
    socklen_t size;
    enum err e = parse_address(text, *port, &address, &size);
    if (e)
        return err_note(trail, e, "\"%s\" is no IP address", text);
    CLEANUP(fd_close)
    int fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int one = 1;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) != 0 ||
        bind(fd, &address.any, size) != 0 || listen(fd, BACKLOG) != 0)
        return listen_errno(trail, "listen on", text, *port);
    size = sizeof address;
    CHECK(getsockname(fd, &address.any, &size) == 0);
    *port = ntohs(address.any.sa_family == AF_INET ? address.v4.sin_port : address.v6.sin6_port);
    *ret_fd = TAKE_FD(fd);
    return ERR_OK;
}

/* One listener a worker on that address. */
static enum err listeners_open(struct http_server *server, const char *text, uint16_t *port,
                               bool is_tls, struct err_trail *trail)
{
    union address address;
    socklen_t size;
    enum err e = parse_address(text, *port, &address, &size);
    if (e)
        return err_note(trail, e, "\"%s\" is no IP address", text);
    e = port_is_free(&address, size, text, *port, trail);
    unsigned index = server->listener_count++;
    CHECK(index < LISTENERS_MAX);
    for (unsigned i = 0; !e && i < server->worker_count; i++) {
        struct worker_listener *listener = &server->workers[i].listeners[index];
        listener->is_tls = is_tls;
        e = listener_open(text, port, &listener->fd, trail);
    }
    return e;
}

static void worker_init(struct worker *worker, struct http_server *server, unsigned index,
                        struct loop *loop)
{
    worker->server = server;
    worker->loop = loop;
    worker->ring = loop_ring(loop);
    worker->index = index;
    for (unsigned l = 0; l < LISTENERS_MAX; l++) {
        struct worker_listener *listener = &worker->listeners[l];
        listener->fd = -1;
        for (unsigned i = 0; i < ACCEPTS; i++)
            listener->accepts[i] = (struct worker_accept){.worker = worker, .listener = listener};
    }
    worker->exchanges_max =
        (exchanges_max(&server->limits) + server->worker_count - 1) / server->worker_count;
    list_init(&worker->conns);
    list_init(&worker->free_conns);
    list_init(&worker->free_exchanges);
    list_init(&worker->starved);
    list_init(&worker->handshakes);
    worker->start_msg.deliver = start_delivered;
    worker->drain_msg.deliver = drain_delivered;
}

CLEANUP_DEFINE(http_server_close, struct http_server *)

enum err http_server_open(const struct http_server_options *options,
                          struct http_server **ret_server, struct err_trail *trail)
{
    CHECK(options->worker_count > 0);
    size_t size = sizeof(struct http_server) + options->worker_count * sizeof(struct worker);
    CLEANUP(http_server_close) struct http_server *server = calloc(1, size);
    if (server == NULL)
        return err_note(trail, ERR_NO_MEMORY, "open the HTTP server");
    server->service = options->service;
    server->group = options->group;
    server->tls = options->tls;
    server->limits = options->limits;
    server->access_log = options->access_log;
    server->zero_copy = (uint8_t)options->zero_copy;
    server->port = options->port;
    server->tls_port = options->tls_port;
    server->id_seed = clock_real_ns(loop_clock(options->loops[0]));
    server->worker_count = options->worker_count;
    for (unsigned i = 0; i < options->worker_count; i++)
        worker_init(&server->workers[i], server, i, options->loops[i]);

    bool has_second = options->tls && options->tls_address;
    enum err e =
        listeners_open(server, options->address, &server->port, options->tls && !has_second, trail);
    if (!e && has_second)
        e = listeners_open(server, options->tls_address, &server->tls_port, true, trail);
    for (unsigned i = 0; !e && i < server->worker_count; i++) {
        e = verified_open(&server->workers[i].verified);
        if (!e)
            e = pipes_open(&server->workers[i].pipes);
    }
    if (e)
        return e;
    measure_register();
    /* sendfile() has no MSG_NOSIGNAL, and a client that hangs up is no reason to die. */
    (void)signal(SIGPIPE, SIG_IGN);
    for (unsigned i = 0; i < server->worker_count; i++)
        loop_post(server->workers[i].loop, &server->workers[i].start_msg);
    *ret_server = TAKE(server);
    return ERR_OK;
}

uint16_t http_server_port(const struct http_server *server)
{
    return server->port;
}

uint16_t http_server_tls_port(const struct http_server *server)
{
    return server->listener_count > 1 ? server->tls_port : 0;
}

void http_server_close(struct http_server *server)
{
    if (server == NULL)
        return;
    for (unsigned i = 0; i < server->worker_count; i++) {
        struct worker *worker = &server->workers[i];
        if (worker->server == NULL)
            continue; /* never came to be */
        CHECK(list_is_empty(&worker->conns));
        CHECK(worker->accepts_pending == 0);
        for (unsigned l = 0; l < LISTENERS_MAX; l++)
            if (worker->listeners[l].fd >= 0)
                (void)close(worker->listeners[l].fd); /* a listener has nothing to lose */
        for (struct list *node; (node = list_pop_front(&worker->free_conns));)
            conn__free(LIST_ENTRY(node, struct conn, link));
        for (struct list *node; (node = list_pop_front(&worker->free_exchanges));)
            free(LIST_ENTRY(node, struct exchange, link));
        verified_close(worker->verified);
        pipes_close(worker->pipes);
    }
    free(server);
}
