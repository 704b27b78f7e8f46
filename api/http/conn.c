#include "api/http/conn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "api/http/measure.h"

static struct http_limits *limits_of(struct conn *c)
{
    return &c->worker->server->limits;
}

/* ---- deadlines: one timer, moved only when it would fire too late ---- */

static void timed_out(struct conn *c);

static void timer_fired(struct timer *timer)
{
    struct conn *c = CONTAINER_OF(timer, struct conn, timer);
    CHECK_MAGIC(c, CONN_MAGIC);
    if (c->deadline_ns == UINT64_MAX)
        return;
    uint64_t now_ns = loop_now_ns(c->worker->loop);
    if (now_ns < c->deadline_ns) {
        timer_start(c->worker->loop, &c->timer, c->deadline_ns - now_ns, timer_fired);
        return;
    }
    c->deadline_ns = UINT64_MAX;
    timed_out(c);
}

void conn__deadline(struct conn *c, uint64_t delay_ns)
{
    c->deadline_ns = loop_now_ns(c->worker->loop) + delay_ns;
    if (!timer_is_running(&c->timer) || c->timer.due_ns > c->deadline_ns)
        timer_start(c->worker->loop, &c->timer, delay_ns, timer_fired);
}

void conn__rate_start(struct conn *c)
{
    c->rate_since_ns = loop_now_ns(c->worker->loop);
    c->rate_bytes = 0;
    c->out_queued = UINT32_MAX;
    conn__deadline(c, limits_of(c)->body_timeout_ns);
}

bool conn__progress(struct conn *c, uint64_t bytes)
{
    uint64_t now_ns = loop_now_ns(c->worker->loop);
    uint64_t passed_ns = now_ns - c->rate_since_ns;
    c->rate_bytes += bytes;
    c->out_queued = UINT32_MAX;
    conn__deadline(c, limits_of(c)->body_timeout_ns);
    uint64_t window_ns =
        limits_of(c)->rate_window_ns ? limits_of(c)->rate_window_ns : RATE_WINDOW_NS;
    if (passed_ns < window_ns)
        return true;
    bool is_fast = c->rate_bytes >= limits_of(c)->body_rate_min * (passed_ns / NS_PER_MS) / 1000;
    conn__rate_start(c);
    return is_fast;
}

void conn__refuse(struct conn *c, enum http_refusal why)
{
    conn__recv_cancel(c);
    respond__refusal(c, why);
    c->refusal_sent = 0;
    c->phase = CONN_REFUSING;
    conn__deadline(c, limits_of(c)->body_timeout_ns);
}

/*
 * The socket says that it takes more only after a third of its buffer has drained, which is
 * megabytes: a slow but honest reader may need longer for that than a deadline lasts. So when one
 * passes the kernel is asked how much is queued, and the reader goes on as long as that shrinks
 * fast enough. The first time there is nothing to compare with; a reader that stands still is cut
 * off after two deadlines at most.
 */
static bool reader_goes_on(struct conn *c)
{
    int queued = 0;
    if (ioctl(c->fd, SIOCOUTQ, &queued) != 0)
        return false;
    uint64_t seconds = limits_of(c)->body_timeout_ns / NS_PER_SECOND;
    uint64_t wanted = limits_of(c)->body_rate_min * (seconds > 0 ? seconds : 1);
    bool is_first = c->out_queued == UINT32_MAX;
    bool goes_on = is_first || (uint64_t)queued + wanted <= c->out_queued;
    c->out_queued = (uint32_t)queued;
    return goes_on;
}

/* A path that ends at once must not end the connection below its caller, who runs it afterwards. */
static void cancel_path(struct conn *c, enum err why)
{
    struct path_send *send = &c->x->send;
    bool was_running = c->is_running;
    c->is_running = true;
    if (!send->err)
        send->err = why;
    send->path->cancel(send);
    c->is_running = was_running;
}

static void timed_out(struct conn *c)
{
    switch ((enum conn_phase)c->phase) {
    case CONN_HANDSHAKE:
        conn_tls__timed_out(c);
        break;
    case CONN_HEAD:
        if (list_is_linked(&c->starved_link))
            conn__refuse(c, HTTP_REFUSE_BUSY);
        else if (c->head_size > 0)
            conn__refuse(c, HTTP_REFUSE_HEAD_TIMEOUT);
        else
            conn__cut(c);
        list_remove(&c->starved_link);
        break;
    case CONN_SERVICE:
        request_body__fail(c->x, c->x->body.is_in_line ? ERR_BUSY : ERR_TIMEOUT);
        break;
    case CONN_SENDING: {
        /* A path that has sent nothing and only waits for memory can still be answered for. */
        bool only_waits = c->x->send.is_in_line && !c->x->send.has_sent;
        if (only_waits) {
            cancel_path(c, ERR_BUSY);
        } else if (!c->x->send.is_in_line && reader_goes_on(c)) {
            conn__deadline(c, limits_of(c)->body_timeout_ns);
        } else {
            measure_cut_off();
            c->must_reset = true;
            conn__cut(c);
        }
        break;
    }
    case CONN_REFUSING:
    case CONN_LINGERING:
    case CONN_DISCARDING:
        conn__cut(c);
        break;
    case CONN_ENDING:
    case CONN_CLOSING:
    case CONN_CLOSED:
    case CONN_PHASE_COUNT:
        break;
    }
    conn__run(c);
}

/* ---- HEAD ---- */

static void head_received(struct ring_op *op, enum err e, uint32_t count)
{
    struct conn *c = CONTAINER_OF(op, struct conn, in_op);
    CHECK_MAGIC(c, CONN_MAGIC);
    if (c->phase == CONN_HEAD && (e || count == 0))
        c->phase = CONN_CLOSING; /* the client has left: nothing half said is worth an answer */
    if (c->phase == CONN_HEAD && c->head_size == 0)
        conn__deadline(c, limits_of(c)->head_timeout_ns);
    c->head_size += count;
    conn__run(c);
}

/* An exchange of its own for the connection. False: it stands in line. */
static bool has_exchange(struct conn *c)
{
    if (c->x)
        return true;
    if (list_is_linked(&c->starved_link))
        return false;
    c->x = worker__exchange_take(c->worker);
    if (c->x) {
        c->x->conn = c;
        return true;
    }
    list_push_back(&c->worker->starved, &c->starved_link);
    conn__deadline(c, limits_of(c)->admission_timeout_ns);
    return false;
}

static enum step head_grow(struct conn *c)
{
    if (!has_exchange(c))
        return STEP_WAIT;
    memcpy(c->x->head, c->head, c->head_size);
    c->head = c->x->head;
    c->head_capacity = sizeof c->x->head;
    return STEP_ON;
}

static enum step head_refused(struct conn *c, enum http_refusal why)
{
    conn__refuse(c, why);
    return STEP_ON;
}

/* The head is complete: an exchange begins. */
static enum step exchange_begin(struct conn *c, uint32_t head_size)
{
    if (!has_exchange(c))
        return STEP_WAIT;
    struct exchange *x = c->x;
    memset(x, 0, offsetof(struct exchange, headers));
    x->magic = EXCHANGE_MAGIC;
    x->conn = c;
    enum http_refusal why = head_parse((const char *)c->head, head_size, &x->request, x->headers);
    if (why)
        return head_refused(c, why);
    struct http_service *service = c->worker->server->service;
    memset(x->state, 0,
           service->state_zeroed_bytes ? service->state_zeroed_bytes : sizeof x->state);
    x->out_size = OUT_PREFIX_BYTES;
    x->begun_ns = loop_now_ns(c->worker->loop);
    worker__request_id(c->worker, x->id);
    c->in = c->head + head_size;
    c->in_size = c->head_size - head_size;
    request_body__open(x);
    c->phase = CONN_SERVICE;
    conn__no_deadline(c);
    x->has_begun = true;
    service->begin(service, x);
    return STEP_ON;
}

static enum step head_step(struct conn *c)
{
    if (ring_op_is_pending(&c->in_op))
        return STEP_WAIT;
    if (c->head_size > 0) {
        uint32_t size = 0;
        enum http_refusal why = head_scan(&c->scan, (const char *)c->head, c->head_size, &size);
        if (why)
            return head_refused(c, why);
        if (size > 0)
            return exchange_begin(c, size);
        if (c->head_size == c->head_capacity)
            return head_grow(c);
    }
    void *to = c->head + c->head_size;
    uint32_t room = c->head_capacity - c->head_size;
    /* Whoever has just been answered has rarely asked again already. */
    if (c->head_size > 0 || c->tls)
        conn__recv(c, to, room, head_received);
    else
        ring_recv_later(c->worker->ring, &c->in_op, c->fd, to, room, head_received);
    return STEP_WAIT;
}

/* ---- SERVICE, SENDING, ENDING ---- */

static enum step service_step(struct conn *c)
{
    if (request_body__step(c->x) == STEP_ON)
        return STEP_ON;
    if (c->x->answer == ANSWER_NONE || c->x->body.state == BODY_ACTIVE)
        return STEP_WAIT;
    c->phase = CONN_SENDING;
    conn__rate_start(c);
    respond__start(c->x);
    return STEP_ON;
}

/* All is sent and not yet acknowledged. A peer acknowledges the end of the stream at once, the last
 * of the data after 40 ms. */
static void end_stream_early(struct conn *c)
{
    bool is_last = !c->x->keeps && !c->tls && c->in_size == 0 && request_body__unread(c->x) == 0;
    if (is_last && !c->has_shut && !c->is_gone) {
        c->has_shut = true;
        (void)shutdown(c->fd, SHUT_WR); /* fails when the client has gone: the flights tell */
    }
}

static enum step sending_step(struct conn *c)
{
    struct exchange *x = c->x;
    if (!x->is_sent)
        return STEP_WAIT;
    bool goes_on = x->send.err ? !c->is_gone && respond__replace(x) : respond__next(x);
    if (goes_on)
        return STEP_ON;
    if (x->send.err)
        conn__cut(c);
    if (x->send.flights_out > 0) {
        end_stream_early(c);
        return STEP_WAIT;
    }
    c->phase = CONN_ENDING;
    conn__no_deadline(c);
    return STEP_ON;
}

/* Bytes behind the request, if there are any, are the next one's beginning. */
static enum step next_request(struct conn *c)
{
    bool is_pipelined = c->in_size > 0;
    if (is_pipelined) {
        memmove(c->x->head, c->in, c->in_size);
        c->head = c->x->head;
        c->head_capacity = sizeof c->x->head;
    } else {
        worker__exchange_put(c->worker, TAKE(c->x));
        c->head = c->small;
        c->head_capacity = sizeof c->small;
    }
    c->head_size = c->in_size;
    c->in_size = 0;
    c->scan = (struct head_scan){0};
    c->phase = CONN_HEAD;
    conn__deadline(c, is_pipelined ? limits_of(c)->head_timeout_ns : limits_of(c)->idle_timeout_ns);
    if (c->worker->is_draining && !is_pipelined)
        conn__cut(c);
    return STEP_ON;
}

static enum step ending_step(struct conn *c)
{
    struct exchange *x = c->x;
    struct http_service *service = c->worker->server->service;
    measure_exchange(x);
    if (x->send.plan)
        read_plan_close(x->send.plan);
    text_free(&x->text);
    if (x->body.collect)
        text_free(&x->body.collect->text);
    x->has_begun = false;
    service->end(service, x);

    uint64_t unread = request_body__unread(x);
    if (c->is_gone) {
        c->phase = CONN_CLOSING;
    } else if (!x->keeps) {
        c->phase = unread > 0 || c->in_size > 0 ? CONN_LINGERING : CONN_CLOSING;
    } else if (unread > 0) {
        uint64_t here = unread < c->in_size ? unread : c->in_size;
        c->in += here, c->in_size -= (uint32_t)here;
        c->skip_left = unread - here;
        c->phase = CONN_DISCARDING;
        conn__deadline(c, DISCARD_NS);
    } else {
        return next_request(c);
    }
    return STEP_ON;
}

/* ---- reading and dropping ---- */

/* False: nothing more will come. */
static bool skip_some(struct conn *c)
{
    if (c->tls)
        return conn_tls__skip(c);
    /* With MSG_TRUNC TCP drops the bytes without copying them anywhere. */
    size_t part = c->skip_left < MIB(1) ? (size_t)c->skip_left : MIB(1);
    ssize_t got = recv(c->fd, NULL, part, MSG_TRUNC | MSG_DONTWAIT);
    if (got > 0)
        c->skip_left -= (uint64_t)got;
    return got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR));
}

static void skip_ready(struct ring_op *op, enum err e, uint32_t events)
{
    struct conn *c = CONTAINER_OF(op, struct conn, in_op);
    CHECK_MAGIC(c, CONN_MAGIC);
    bool skips = c->phase == CONN_DISCARDING || c->phase == CONN_LINGERING;
    if (e || (skips && !skip_some(c)))
        conn__cut(c);
    conn__run(c);
}

static enum step skip_wait(struct conn *c)
{
    if (!ring_op_is_pending(&c->in_op))
        ring_poll(c->worker->ring, &c->in_op, c->tls ? conn_tls__input_fd(c) : c->fd, POLLIN,
                  skip_ready);
    return STEP_WAIT;
}

static enum step discarding_step(struct conn *c)
{
    return c->skip_left > 0 ? skip_wait(c) : next_request(c);
}

static enum step lingering_step(struct conn *c)
{
    if (!c->has_shut) {
        c->has_shut = true;
        if (c->tls)
            tls_say_end(c->tls->tls);
        (void)shutdown(c->fd, SHUT_WR); /* fails when the client has gone: the read tells */
        c->skip_left = LINGER_BYTES_MAX;
        conn__deadline(c, LINGER_NS);
    }
    if (c->skip_left > 0)
        return skip_wait(c);
    conn__cut(c);
    return STEP_ON;
}

/* ---- REFUSING ---- */

static void refusal_sent(struct ring_op *op, enum err e, uint32_t count)
{
    struct conn *c = CONTAINER_OF(op, struct conn, out_op);
    CHECK_MAGIC(c, CONN_MAGIC);
    c->refusal_sent += count;
    if (e || count == 0)
        conn__cut(c);
    conn__run(c);
}

static enum step refusing_step(struct conn *c)
{
    if (ring_op_is_pending(&c->out_op) || ring_op_is_pending(&c->in_op))
        return STEP_WAIT;
    uint32_t left = (uint32_t)c->refusal.size - c->refusal_sent;
    if (left > 0) {
        conn__send(c, c->refusal.data + c->refusal_sent, left, refusal_sent);
        return STEP_WAIT;
    }
    text_free(&c->refusal);
    if (c->x)
        worker__exchange_put(c->worker, TAKE(c->x));
    c->phase = CONN_LINGERING;
    return STEP_ON;
}

/* ---- CLOSING ---- */

static enum step closing_step(struct conn *c)
{
    conn__no_deadline(c);
    if (ring_op_is_pending(&c->in_op) || ring_op_is_pending(&c->out_op)) {
        if (!c->is_gone)
            conn__cut(c);
        return STEP_WAIT;
    }
    if (c->is_woken)
        return STEP_WAIT;
    c->phase = CONN_CLOSED;
    return STEP_WAIT;
}

static void release(struct conn *c)
{
    timer_stop(c->worker->loop, &c->timer);
    list_remove(&c->starved_link);
    text_free(&c->refusal);
    if (c->x)
        worker__exchange_put(c->worker, TAKE(c->x));
    if (c->must_reset) {
        /* Unsent bytes for somebody who does not read would stay in the kernel for minutes. */
        struct linger linger = {.l_onoff = 1, .l_linger = 0};
        (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    }
    if (c->tls) {
        bool is_orderly = !c->has_shut && !c->must_reset && !c->is_gone;
        if (is_orderly)
            tls_say_end(c->tls->tls);
        conn_tls__close(c);
    }
    (void)close(c->fd); /* a socket's close tells nothing we could act on */
    c->fd = -1;
    c->magic = 0;
    worker__conn_gone(c->worker, c);
}

static enum step closed_step(struct conn *c)
{
    return STEP_WAIT;
}

/* ---- running ---- */

#define TO(phase) (1u << (phase))

static const struct conn_step {
    const char *name;
    enum step (*run)(struct conn *c);
    uint32_t next; /* phases it may move to, by itself or by a callback */
} steps[CONN_PHASE_COUNT] = {
    [CONN_HANDSHAKE] = {"handshake", conn_tls__handshake_step,
                        TO(CONN_HEAD) | TO(CONN_REFUSING) | TO(CONN_CLOSING)},
    [CONN_HEAD] = {"head", head_step, TO(CONN_SERVICE) | TO(CONN_REFUSING) | TO(CONN_CLOSING)},
    [CONN_SERVICE] = {"service", service_step, TO(CONN_SENDING)},
    [CONN_SENDING] = {"sending", sending_step, TO(CONN_ENDING)},
    [CONN_ENDING] = {"ending", ending_step,
                     TO(CONN_HEAD) | TO(CONN_DISCARDING) | TO(CONN_LINGERING) | TO(CONN_CLOSING)},
    [CONN_DISCARDING] = {"discarding", discarding_step, TO(CONN_HEAD) | TO(CONN_CLOSING)},
    [CONN_REFUSING] = {"refusing", refusing_step, TO(CONN_LINGERING) | TO(CONN_CLOSING)},
    [CONN_LINGERING] = {"lingering", lingering_step, TO(CONN_CLOSING)},
    [CONN_CLOSING] = {"closing", closing_step, TO(CONN_CLOSED)},
    [CONN_CLOSED] = {"closed", closed_step, 0},
};

void conn__run(struct conn *c)
{
    CHECK_MAGIC(c, CONN_MAGIC);
    if (c->is_running)
        return;
    c->is_running = true;
    for (enum step step = STEP_ON; step == STEP_ON;) {
        uint8_t from = c->phase;
        step = steps[from].run(c);
        CHECK(c->phase == from || c->phase == CONN_CLOSING || (steps[from].next & TO(c->phase)));
    }
    c->is_running = false;
    if (c->phase == CONN_CLOSED)
        release(c);
}

static void woken(struct loop_msg *msg)
{
    struct conn *c = CONTAINER_OF(msg, struct conn, wake);
    CHECK_MAGIC(c, CONN_MAGIC);
    c->is_woken = false;
    conn__run(c);
}

void conn__wake(struct conn *c)
{
    if (c->is_running || c->is_woken)
        return;
    c->is_woken = true;
    c->wake.deliver = woken;
    loop_post(c->worker->loop, &c->wake);
}

/*
 * Shutting the socket down makes every pending operation on it end by itself, on either backend;
 * what the connection was doing then finds it gone.
 */
void conn__cut(struct conn *c)
{
    if (!c->is_gone) {
        c->is_gone = true;
        if (c->tls && c->phase == CONN_HEAD)
            tls_say_end(c->tls->tls);     /* idle: in the middle of an answer it would lie */
        (void)shutdown(c->fd, SHUT_RDWR); /* ENOTCONN when the client was faster */
    }
    switch ((enum conn_phase)c->phase) {
    case CONN_SERVICE:
        request_body__fail(c->x, ERR_PEER_CLOSED);
        break;
    case CONN_SENDING:
        if (!c->x->is_sent && !c->x->send.is_cancelled)
            cancel_path(c, ERR_PEER_CLOSED);
        if (c->x->send.flights_out > 0) {
            (void)conn__peer(c); /* for the log: the socket forgets it */
            path__flights_abort(&c->x->send);
        }
        break;
    case CONN_ENDING:
    case CONN_CLOSED:
        break;
    case CONN_HANDSHAKE:
    case CONN_HEAD:
    case CONN_DISCARDING:
    case CONN_REFUSING:
    case CONN_LINGERING:
    case CONN_CLOSING:
    case CONN_PHASE_COUNT:
        c->phase = CONN_CLOSING;
        break;
    }
}

void conn__drain(struct conn *c)
{
    bool is_idle = c->phase == CONN_HEAD && c->head_size == 0;
    if (is_idle || c->phase == CONN_HANDSHAKE || c->phase == CONN_LINGERING) {
        conn__cut(c);
        conn__run(c);
    }
}

/* ---- life ---- */

/* One too many is told so, but not by TLS: a handshake is what an overloaded server cannot spare.
 */
static void begin(struct conn *c, const struct conn_options *options)
{
    if (options->is_surplus && options->is_tls) {
        conn__cut(c);
    } else if (options->is_surplus) {
        conn__refuse(c, HTTP_REFUSE_BUSY);
    } else if (!options->is_tls) {
        conn__deadline(c, limits_of(c)->idle_timeout_ns);
    } else if (conn_tls__open(c)) {
        c->phase = CONN_HANDSHAKE;
        conn__deadline(c, limits_of(c)->handshake_timeout_ns);
    } else {
        conn__cut(c);
    }
}

void conn__open(struct worker *worker, int fd, const struct conn_options *options)
{
    struct list *node = list_pop_front(&worker->free_conns);
    struct conn *c = node ? LIST_ENTRY(node, struct conn, link) : malloc(sizeof *c);
    if (c == NULL) {
        (void)close(fd);
        worker__conn_gone(worker, NULL);
        return;
    }
    memset(c, 0, offsetof(struct conn, small));
    c->magic = CONN_MAGIC;
    c->fd = fd;
    c->worker = worker;
    c->is_surplus = options->is_surplus;
    c->phase = CONN_HEAD;
    c->head = c->small;
    c->head_capacity = sizeof c->small;
    c->deadline_ns = UINT64_MAX;
    list_push_back(&worker->conns, &c->link);
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* without it only slower */
    begin(c, options);
    conn__run(c);
}

void conn__free(struct conn *c)
{
    free(c);
}

const char *conn__peer(struct conn *c)
{
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    if (c->peer[0] != '\0')
        return c->peer;
    snprintf(c->peer, sizeof c->peer, "-");
    if (getpeername(c->fd, (struct sockaddr *)&address, &size) != 0)
        return c->peer; /* gone before anybody asked */
    char text[INET6_ADDRSTRLEN] = "";
    if (address.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&address;
        inet_ntop(AF_INET, &in->sin_addr, text, sizeof text);
        snprintf(c->peer, sizeof c->peer, "%s:%u", text, ntohs(in->sin_port));
    } else if (address.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)&address;
        inet_ntop(AF_INET6, &in->sin6_addr, text, sizeof text);
        snprintf(c->peer, sizeof c->peer, "[%s]:%u", text, ntohs(in->sin6_port));
    }
    return c->peer;
}
