#include "api/http/conn.h"
#include "api/http/measure.h"

/*
 * A request's body on its way in. The framing says how many payload bytes come next; they are
 * received straight into the slot being filled, and what may follow them (framing, the next chunk's
 * beginning) into the small stash, from where payload is copied.
 *
 *     UNREAD --http_body_read/collect--> ACTIVE --over or failed, end() called--> OVER
 */

static const char continue_line[] = "HTTP/1.1 100 Continue\r\n\r\n";

/* Payload runs from here on are chunks worth a small stash: less is copied. */
#define COARSE_RUN_BYTES   KIB(16)
#define COARSE_STASH_BYTES 256u

static bool has_body(const struct http_request *r)
{
    return r->is_chunked || (r->has_content_length && r->content_length > 0);
}

void request_body__open(struct exchange *x)
{
    struct framing_options options = {
        .is_chunked = x->request.is_chunked,
        .content_length = x->request.content_length,
        .size_max = UINT64_MAX,
    };
    enum err e = framing_init(&x->body.framing, &options);
    CHECK(e == ERR_OK); /* nothing is larger than that */
    x->body.state = has_body(&x->request) ? BODY_UNREAD : BODY_OVER;
    x->body.was_continued = !x->request.expects_continue;
}

uint64_t request_body__unread(const struct exchange *x)
{
    bool is_read = x->body.state == BODY_OVER && x->body.err == ERR_OK;
    return is_read ? 0 : framing_left(&x->body.framing);
}

/* ---- what a service asks for ---- */

static void begin_reading(struct exchange *x, struct http_aws_chunks *aws, uint64_t size_max)
{
    struct request_body *body = &x->body;
    CHECK(x->has_begun && x->answer == ANSWER_NONE);
    CHECK(body->state != BODY_ACTIVE);
    struct framing_options options = {
        .is_chunked = x->request.is_chunked,
        .content_length = x->request.content_length,
        .aws = aws,
        .size_max = size_max,
    };
    bool is_plain = !x->request.is_chunked && aws == NULL;
    if (is_plain)
        body->total = x->request.content_length;
    body->state = BODY_ACTIVE;
    body->err = framing_init(&body->framing, &options);
    if (x->conn->is_gone)
        body->err = ERR_PEER_CLOSED;
    conn__rate_start(x->conn);
    conn__wake(x->conn);
}

void http_body_read(struct exchange *x, struct http_body_sink *sink)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    CHECK(x->body.sink == NULL && x->body.collect == NULL);
    CHECK(sink->slots_max >= 1 && sink->slots_max <= 8);
    x->body.sink = sink;
    x->body.total = sink->expected_size;
    begin_reading(x, sink->aws,
                  sink->size_max < sink->expected_size ? sink->size_max : sink->expected_size);
    if (!x->body.err && x->body.total < sink->expected_size && sink->expected_size != UINT64_MAX)
        x->body.err = ERR_TOO_SMALL; /* the message is known to be shorter than it says it is */
}

void http_body_collect(struct exchange *x, struct http_collect *collect)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    CHECK(x->body.sink == NULL && x->body.collect == NULL);
    x->body.collect = collect;
    x->body.total = UINT64_MAX;
    begin_reading(x, collect->aws, collect->size_max);
}

void http_body_resume(struct exchange *x)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    CHECK(x->body.slots_out > 0);
    x->body.slots_out--;
    if (x->body.state != BODY_ACTIVE)
        return;
    if (x->body.slots_out + 1 == x->body.sink->slots_max)
        conn__rate_start(x->conn); /* the pause was ours */
    conn__wake(x->conn);
}

/* ---- slots ---- */

static void admitted(struct exchange *x)
{
    x->body.is_in_line = false;
    measure_slot_wait(-1);
    conn__rate_start(x->conn);
}

static void slot_ready(struct arena_waiter *waiter, struct slot *slot)
{
    struct exchange *x = CONTAINER_OF(waiter, struct exchange, body.waiter);
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    x->body.slot = slot;
    x->body.fill = 0;
    admitted(x);
    conn__wake(x->conn);
}

static enum slot_size slot_size_for(const struct exchange *x, const struct arena_share *share)
{
    const struct request_body *body = &x->body;
    bool is_small = body->total != UINT64_MAX && body->total - body->received <= SLOT_SMALL_BYTES;
    enum slot_size wanted = is_small ? SLOT_SMALL : SLOT_LARGE;
    return share->total_count[wanted] > 0 ? wanted : is_small ? SLOT_LARGE : SLOT_SMALL;
}

/* A slot to fill. False: the sink has all it may have, or the arena is empty and we stand in line.
 */
static bool has_slot(struct exchange *x)
{
    struct request_body *body = &x->body;
    struct arena_share *share = loop_arena(x->conn->worker->loop);
    if (body->slot)
        return true;
    if (body->is_in_line)
        return false;
    if (body->slots_out >= body->sink->slots_max) {
        conn__no_deadline(x->conn); /* it is the sink we wait for, which has deadlines of its own */
        return false;
    }
    CHECK(share != NULL); /* a loop that receives bodies has an arena */
    enum slot_size size = slot_size_for(x, share);
    body->slot = slot_take(share, size);
    body->fill = 0;
    if (body->slot)
        return true;
    body->is_in_line = true;
    body->waiter.ready = slot_ready;
    measure_slot_wait(1);
    conn__deadline(x->conn, x->conn->worker->server->limits.admission_timeout_ns);
    arena_wait(share, &body->waiter, size);
    return false;
}

static void hand_over_slot(struct request_body *body, bool is_last)
{
    struct slot *slot = TAKE(body->slot);
    uint32_t fill = TAKE(body->fill);
    body->slots_out++;
    body->sink->slot(body->sink, slot, fill, is_last);
}

/* ---- bytes ---- */

/* Payload has come to where it belongs. */
static void payload_came(struct request_body *body, const uint8_t *data, uint32_t size)
{
    framing_passed(&body->framing, data, size);
    body->received += size;
    if (body->sink)
        body->fill += size;
}

static void collect(struct request_body *body, const uint8_t *data, uint32_t size)
{
    text_put(&body->collect->text, bytes_of(data, size));
    if (body->collect->text.failed)
        body->err = ERR_NO_MEMORY;
}

/* Takes what was received into the stash or with the head. */
static enum step consume(struct exchange *x)
{
    struct request_body *body = &x->body;
    struct conn *c = x->conn;
    if (framing_next(&body->framing) == FRAMING_MARKUP) {
        size_t used = 0;
        body->err = framing_markup(&body->framing, c->in, c->in_size, &used);
        c->in += used, c->in_size -= (uint32_t)used;
        return STEP_ON;
    }
    uint64_t run = framing_run(&body->framing);
    uint32_t size = run < c->in_size ? (uint32_t)run : c->in_size;
    const uint8_t *data = c->in;
    if (body->sink) {
        uint32_t room = body->slot->size - body->fill;
        size = size < room ? size : room;
        data = memcpy(body->slot->data + body->fill, c->in, size);
    } else {
        collect(body, data, size);
    }
    payload_came(body, data, size);
    c->in += size, c->in_size -= size;
    return STEP_ON;
}

static void body_received(struct ring_op *op, enum err e, uint32_t count)
{
    struct conn *c = CONTAINER_OF(op, struct conn, in_op);
    CHECK_MAGIC(c, CONN_MAGIC);
    struct exchange *x = c->x;
    struct request_body *body = &x->body;
    if (e || count == 0) {
        /* A client that closed its half may still read what we make of it; one that reset the
         * connection will not. */
        c->is_gone |= e != ERR_OK && e != ERR_CANCELLED;
        body->err = body->err ? body->err : ERR_PEER_CLOSED;
    } else {
        uint32_t direct = count < body->slot_room ? count : body->slot_room;
        if (direct > 0)
            payload_came(body, body->slot->data + body->fill, direct);
        c->in = x->stash;
        c->in_size = count - direct;
        if (!conn__progress(c, count) && !body->err)
            body->err = ERR_TIMEOUT;
    }
    conn__run(c);
}

/* Sent only now: a client whose request is refused before keeps its body to itself. */
static void say_continue(struct exchange *x)
{
    if (x->body.was_continued)
        return;
    x->body.was_continued = true;
    /* So few bytes into an empty buffer go at once, or the connection is dead, which the receive
     * will tell. */
    size_t size = sizeof continue_line - 1, put = 0;
    if (!conn__makes_records(x->conn))
        (void)send(x->conn->fd, continue_line, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    else if (tls_write(x->conn->tls->tls, continue_line, size, &put) != TLS_DONE || put < size)
        x->body.err = ERR_PEER_CLOSED; /* a record that is half out must not meet another */
}

static enum step receive(struct exchange *x)
{
    struct request_body *body = &x->body;
    struct conn *c = x->conn;
    say_continue(x);
    if (body->err)
        return STEP_ON;
    uint64_t run = framing_run(&body->framing);
    body->slot_room = 0;
    if (body->sink == NULL || run == 0) {
        /* Never beyond the message when its length is known: what follows stays in the socket for
         * the next head. */
        uint64_t left = framing_left(&body->framing);
        uint32_t size = left < STASH_BYTES ? (uint32_t)left : STASH_BYTES;
        conn__recv(c, x->stash, size, body_received);
        return STEP_WAIT;
    }
    uint8_t *to = body->slot->data + body->fill;
    uint32_t room = body->slot->size - body->fill;
    body->slot_room = run < room ? (uint32_t)run : room;
    bool is_plain = body->framing.aws == NULL && !x->request.is_chunked;
    if (is_plain || body->slot_room < run) {
        conn__recv(c, to, body->slot_room, body_received);
        return STEP_WAIT;
    }
    uint64_t left = framing_left(&body->framing) - run;
    uint32_t stash = run >= COARSE_RUN_BYTES ? COARSE_STASH_BYTES : STASH_BYTES;
    body->iov[0] = (struct iovec){to, body->slot_room};
    body->iov[1] = (struct iovec){x->stash, left < stash ? left : stash};
    body->msg = (struct msghdr){.msg_iov = body->iov, .msg_iovlen = 2};
    conn__recvmsg(c, &body->msg, body_received);
    return STEP_WAIT;
}

/* ---- steps ---- */

static enum step finish(struct exchange *x)
{
    struct request_body *body = &x->body;
    if (ring_op_is_pending(&x->conn->in_op)) {
        conn__recv_cancel(x->conn);
        return STEP_WAIT;
    }
    if (body->is_in_line) {
        arena_wait_cancel(&body->waiter);
        admitted(x);
    }
    slot_put(TAKE(body->slot));
    body->state = BODY_OVER;
    conn__no_deadline(x->conn);
    if (body->sink)
        body->sink->end(body->sink, body->err);
    else
        body->collect->done(body->collect, body->err);
    return STEP_ON;
}

static enum step message_over(struct exchange *x)
{
    struct request_body *body = &x->body;
    bool is_short = body->total != UINT64_MAX && body->received < body->total;
    if (is_short) {
        body->err = ERR_TOO_SMALL;
        return STEP_ON;
    }
    if (body->fill > 0) {
        hand_over_slot(body, true);
        return STEP_ON;
    }
    return finish(x);
}

static enum step advance(struct exchange *x)
{
    struct request_body *body = &x->body;
    bool has_all = body->received == body->total;
    if (body->fill > 0 && (has_all || body->fill == body->slot->size)) {
        hand_over_slot(body, has_all);
        return STEP_ON;
    }
    switch (framing_next(&body->framing)) {
    case FRAMING_OVER:
        return message_over(x);
    case FRAMING_BROKEN:
        body->err = ERR_BAD_SYNTAX;
        return STEP_ON;
    case FRAMING_PAYLOAD:
        if (body->sink && !has_slot(x))
            return STEP_WAIT;
        break;
    case FRAMING_MARKUP:
        break;
    }
    return x->conn->in_size > 0 ? consume(x) : receive(x);
}

enum step request_body__step(struct exchange *x)
{
    struct request_body *body = &x->body;
    if (body->state != BODY_ACTIVE)
        return STEP_WAIT;
    if (x->answer != ANSWER_NONE && !body->err)
        body->err = ERR_CANCELLED; /* answered before the end: the rest is not wanted */
    if (body->err)
        return finish(x);
    if (ring_op_is_pending(&x->conn->in_op))
        return STEP_WAIT;
    return advance(x);
}

void request_body__fail(struct exchange *x, enum err e)
{
    if (x->body.state == BODY_ACTIVE && !x->body.err)
        x->body.err = e;
}
