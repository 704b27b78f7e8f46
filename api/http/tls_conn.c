#include <poll.h>
#include <stdlib.h>

#include "api/http/conn.h"
#include "api/http/measure.h"
#include "base/log.h"

/*
 * TLS on the ring: handshakes as a phase of the connection, and receives and sends that keep the
 * ring's promise (one callback, later, never from inside the call). OpenSSL reads and writes the
 * socket by itself, so what the ring does is to wait for it; what needs no waiting ends in the next
 * turn, by a poll of a descriptor that is always ready, so that nobody who sends fast keeps the
 * loop for himself.
 */

/* Steps a turn of the loop: an RSA signature takes up to a millisecond. */
#define HANDSHAKES_TURN_MAX 4u
#define TURN_BYTES_MAX      KIB(256) /* en- or decrypted, then others have their turn: 0.1 ms */
#define RECORD_BYTES_MAX    16384u   /* RFC 8446, 5.1 */

/* ---- waiting ---- */

static void wait_for(struct conn *c, enum tls_progress progress, ring_done_fn *done)
{
    uint32_t events = progress == TLS_WANTS_WRITE ? POLLOUT : POLLIN;
    ring_poll(c->worker->ring, &c->in_op, c->fd, events, done);
}

/* ---- handshakes ---- */

static void leave_handshakes(struct conn *c)
{
    if (!list_is_linked(&c->tls->link))
        return;
    list_remove(&c->tls->link);
    c->worker->handshake_count--;
}

static void handshake_failed(struct conn *c, enum tls_failure why)
{
    measure_handshake_failed(why);
    leave_handshakes(c);
    if (why != TLS_FAILURE_CLOSED)
        LOG_LIMITED(LOG_INFO, "tls", "handshake failed peer=%s reason=%s", conn__peer(c),
                    tls_failure_name(why));
}

/* Whoever stands in the handshake longest makes room: honest clients are through in milliseconds.
 */
static void make_room(struct worker *worker)
{
    if (worker->handshake_count < TLS_HANDSHAKES_MAX)
        return;
    struct conn_tls *oldest = LIST_ENTRY(list_first(&worker->handshakes), struct conn_tls, link);
    struct conn *c = oldest->conn;
    handshake_failed(c, TLS_FAILURE_CROWDED);
    conn__cut(c);
    conn__wake(c);
}

bool conn_tls__open(struct conn *c)
{
    struct conn_tls *t = calloc(1, sizeof *t);
    if (t == NULL || tls_open(c->worker->server->tls, c->fd, &t->tls)) {
        free(t);
        measure_handshake_failed(TLS_FAILURE_MEMORY);
        return false;
    }
    make_room(c->worker);
    t->conn = c;
    c->tls = t;
    list_push_back(&c->worker->handshakes, &t->link);
    c->worker->handshake_count++;
    return true;
}

void conn_tls__close(struct conn *c)
{
    leave_handshakes(c);
    tls_close(c->tls->tls);
    free(TAKE(c->tls));
}

void conn_tls__timed_out(struct conn *c)
{
    handshake_failed(c, TLS_FAILURE_TIMEOUT);
    conn__cut(c);
}

static void handshake_ready(struct ring_op *op, enum err e, uint32_t events)
{
    struct conn *c = CONTAINER_OF(op, struct conn, in_op);
    CHECK_MAGIC(c, CONN_MAGIC);
    if (e && c->phase == CONN_HANDSHAKE)
        conn__cut(c);
    conn__run(c);
}

/* A thousand clients at once cost a second of signatures: those who are through are served between.
 */
static bool has_turn(struct worker *worker)
{
    uint64_t now_ns = loop_now_ns(worker->loop);
    if (worker->handshake_turn_ns != now_ns) {
        worker->handshake_turn_ns = now_ns;
        worker->handshake_turn_count = 0;
    }
    return worker->handshake_turn_count++ < HANDSHAKES_TURN_MAX;
}

static enum step handshake_over(struct conn *c)
{
    leave_handshakes(c);
    measure_handshake(c->tls->tls);
    c->phase = CONN_HEAD;
    conn__deadline(c, c->worker->server->limits.idle_timeout_ns);
    return STEP_ON;
}

static enum step handshake_given_up(struct conn *c)
{
    enum tls_failure why = tls_failure(c->tls->tls);
    handshake_failed(c, why);
    if (why == TLS_FAILURE_PLAIN_HTTP) {
        conn_tls__close(c);
        conn__refuse(c, HTTP_REFUSE_PLAIN_HTTP);
    } else {
        conn__cut(c);
    }
    return STEP_ON;
}

enum step conn_tls__handshake_step(struct conn *c)
{
    if (ring_op_is_pending(&c->in_op))
        return STEP_WAIT;
    if (!has_turn(c->worker)) {
        ring_poll(c->worker->ring, &c->in_op, tls_ready_fd(c->tls->tls), POLLIN, handshake_ready);
        return STEP_WAIT;
    }
    enum tls_progress progress = tls_handshake(c->tls->tls);
    switch (progress) {
    case TLS_DONE:
        return handshake_over(c);
    case TLS_WANTS_READ:
    case TLS_WANTS_WRITE:
        wait_for(c, progress, handshake_ready);
        return STEP_WAIT;
    case TLS_ENDED:
    case TLS_FAILED:
        break;
    }
    return handshake_given_up(c);
}

/* ---- receiving ---- */

/* Fills one piece of memory; *count grows. More is asked of the socket only when the piece is worth
 * a record: the question costs a system call. */
static enum tls_progress read_piece(struct tls *tls, const struct iovec *piece, uint32_t *count)
{
    size_t done = 0;
    enum tls_progress progress = TLS_DONE;
    while (done < piece->iov_len && *count < TURN_BYTES_MAX) {
        size_t got = 0;
        if (done > 0 && piece->iov_len < RECORD_BYTES_MAX && !tls_has_input(tls))
            break;
        progress = tls_read(tls, (uint8_t *)piece->iov_base + done, piece->iov_len - done, &got);
        if (progress != TLS_DONE)
            break;
        done += got;
        *count += (uint32_t)got;
    }
    return progress;
}

static void input_ready(struct ring_op *op, enum err e, uint32_t events)
{
    struct conn *c = CONTAINER_OF(op, struct conn, in_op);
    CHECK_MAGIC(c, CONN_MAGIC);
    struct conn_tls *t = c->tls;
    enum tls_progress progress = TLS_DONE;
    uint32_t count = 0;
    if (t->in_cancelled)
        e = ERR_CANCELLED;
    for (unsigned i = 0; !e && i < t->in_pieces && progress == TLS_DONE; i++) {
        if (i > 0 && (count < t->in[0].iov_len || !tls_has_input(t->tls)))
            break; /* the second is for what comes behind a full first */
        progress = read_piece(t->tls, &t->in[i], &count);
    }
    bool must_wait = progress == TLS_WANTS_READ || progress == TLS_WANTS_WRITE;
    if (!e && count == 0 && must_wait) {
        wait_for(c, progress, input_ready);
        return;
    }
    if (!e && count == 0 && progress == TLS_FAILED)
        e = ERR_PEER_CLOSED;
    t->in_done(op, e, count);
}

void conn_tls__recv(struct conn *c, const struct iovec *pieces, unsigned count, ring_done_fn *done)
{
    struct conn_tls *t = c->tls;
    CHECK(count >= 1 && count <= COUNT_OF(t->in));
    for (unsigned i = 0; i < count; i++)
        t->in[i] = pieces[i];
    t->in_pieces = count;
    t->in_done = done;
    t->in_cancelled = false;
    ring_poll(c->worker->ring, &c->in_op, conn_tls__input_fd(c), POLLIN, input_ready);
}

void conn_tls__recv_cancel(struct conn *c)
{
    c->tls->in_cancelled = true;
    ring_cancel(c->worker->ring, &c->in_op);
}

int conn_tls__input_fd(const struct conn *c)
{
    const struct tls *tls = c->tls->tls;
    return tls_has_input(tls) ? tls_ready_fd(tls) : c->fd;
}

bool conn_tls__skip(struct conn *c)
{
    uint8_t scratch[RECORD_BYTES_MAX];
    enum tls_progress progress = TLS_DONE;
    for (uint32_t count = 0; c->skip_left > 0 && count < TURN_BYTES_MAX;) {
        size_t got = 0, part = c->skip_left < sizeof scratch ? c->skip_left : sizeof scratch;
        progress = tls_read(c->tls->tls, scratch, part, &got);
        if (progress != TLS_DONE)
            break;
        c->skip_left -= got;
        count += (uint32_t)got;
    }
    return progress != TLS_ENDED && progress != TLS_FAILED;
}

/* ---- sending ---- */

/* Head and first bytes of the body in one record: two would be two packets. */
static enum tls_progress write_first(struct tls *tls, struct bytes head, struct bytes body,
                                     size_t *ret_size)
{
    uint8_t record[RECORD_BYTES_MAX];
    CHECK(head.size < sizeof record);
    size_t of_body = sizeof record - head.size;
    of_body = body.size < of_body ? body.size : of_body;
    memcpy(record, head.data, head.size);
    memcpy(record + head.size, body.data, of_body);
    return tls_write(tls, record, head.size + of_body, ret_size);
}

enum err tls_send(struct tls *tls, int fd, struct bytes head, struct bytes body,
                  uint32_t *ret_count, struct tls_wait *ret_wait)
{
    enum tls_progress progress = TLS_DONE;
    size_t whole = head.size + body.size, done = 0;
    while (done < whole && done < TURN_BYTES_MAX && progress == TLS_DONE) {
        size_t put = 0, of_body = done > head.size ? done - head.size : 0;
        struct bytes head_left = bytes_slice(head, done < head.size ? done : head.size, SIZE_MAX);
        struct bytes body_left = bytes_slice(body, of_body, SIZE_MAX);
        bool is_joined =
            head_left.size > 0 && body_left.size > 0 && head_left.size < RECORD_BYTES_MAX;
        struct bytes only = head_left.size > 0 ? head_left : body_left;
        progress = is_joined ? write_first(tls, head_left, body_left, &put)
                             : tls_write(tls, only.data, only.size, &put);
        done += put;
    }
    bool is_full = done == 0 && progress == TLS_WANTS_WRITE;
    *ret_count = (uint32_t)done;
    *ret_wait =
        is_full ? (struct tls_wait){fd, POLLOUT} : (struct tls_wait){tls_ready_fd(tls), POLLIN};
    bool is_broken = progress == TLS_FAILED || progress == TLS_ENDED;
    return is_broken && done == 0 ? ERR_PEER_CLOSED : ERR_OK;
}

static void output_try(struct conn *c);

static void output_ready(struct ring_op *op, enum err e, uint32_t events)
{
    struct conn *c = CONTAINER_OF(op, struct conn, out_op);
    CHECK_MAGIC(c, CONN_MAGIC);
    struct conn_tls *t = c->tls;
    e = e ? e : t->out_err;
    if (!e && t->out_count == 0)
        output_try(c);
    else
        t->out_done(op, e, e ? 0 : t->out_count);
}

static void output_try(struct conn *c)
{
    struct conn_tls *t = c->tls;
    struct tls_wait wait;
    t->out_err = tls_send(t->tls, c->fd, t->out, (struct bytes){0}, &t->out_count, &wait);
    ring_poll(c->worker->ring, &c->out_op, wait.fd, wait.events, output_ready);
}

void conn_tls__send(struct conn *c, const void *data, uint32_t size, ring_done_fn *done)
{
    c->tls->out = bytes_of(data, size);
    c->tls->out_done = done;
    output_try(c);
}
