#include <stdio.h>
#include <time.h>

#include "api/http/conn.h"
#include "api/http/measure.h"

/*
 * Answers: the service's headers are collected in `out` behind room for a prefix; when the answer
 * is known, status line and the engine's own headers are written right before them, so that the
 * head is one piece and leaves with the first bytes of the body.
 */

#define REASONS(X)                                                                                 \
    X(200, "OK")                                                                                   \
    X(201, "Created")                                                                              \
    X(202, "Accepted")                                                                             \
    X(204, "No Content")                                                                           \
    X(206, "Partial Content")                                                                      \
    X(301, "Moved Permanently")                                                                    \
    X(302, "Found")                                                                                \
    X(303, "See Other")                                                                            \
    X(304, "Not Modified")                                                                         \
    X(307, "Temporary Redirect")                                                                   \
    X(308, "Permanent Redirect")                                                                   \
    X(400, "Bad Request")                                                                          \
    X(401, "Unauthorized")                                                                         \
    X(403, "Forbidden")                                                                            \
    X(404, "Not Found")                                                                            \
    X(405, "Method Not Allowed")                                                                   \
    X(408, "Request Timeout")                                                                      \
    X(409, "Conflict")                                                                             \
    X(411, "Length Required")                                                                      \
    X(412, "Precondition Failed")                                                                  \
    X(413, "Content Too Large")                                                                    \
    X(414, "URI Too Long")                                                                         \
    X(415, "Unsupported Media Type")                                                               \
    X(416, "Range Not Satisfiable")                                                                \
    X(417, "Expectation Failed")                                                                   \
    X(429, "Too Many Requests")                                                                    \
    X(431, "Request Header Fields Too Large")                                                      \
    X(500, "Internal Server Error")                                                                \
    X(501, "Not Implemented")                                                                      \
    X(503, "Service Unavailable")                                                                  \
    X(505, "HTTP Version Not Supported")                                                           \
    X(507, "Insufficient Storage")

/* A client must not read the phrase (RFC 9112, 4), so a number we have none for goes without. */
static const char *reason_of(int status)
{
    switch (status) {
#define X(number, text)                                                                            \
    case number:                                                                                   \
        return text;
        REASONS(X)
#undef X
    default:
        return "";
    }
}

const char *respond__date(struct worker *worker)
{
    uint64_t now_ns = loop_now_ns(worker->loop);
    if (now_ns < worker->date_until_ns)
        return worker->date;
    uint64_t real_ns = clock_real_ns(loop_clock(worker->loop));
    time_t seconds = (time_t)(real_ns / NS_PER_SECOND);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    /* Not strftime: its names are the locale's. */
    snprintf(worker->date, sizeof worker->date, "%s, %02d %s %04d %02d:%02d:%02d GMT",
             days[tm.tm_wday], tm.tm_mday, months[tm.tm_mon], (tm.tm_year + 1900) % 10000,
             tm.tm_hour, tm.tm_min, tm.tm_sec);
    worker->date_until_ns = now_ns + NS_PER_SECOND - real_ns % NS_PER_SECOND;
    return worker->date;
}

/* ---- headers ---- */

static bool has_line_break(struct bytes value)
{
    return !head_is_field_text(value) && /* all but a few values end here */
           (memchr(value.data, '\r', value.size) || memchr(value.data, '\n', value.size) ||
            memchr(value.data, '\0', value.size));
}

void http_header_named(struct exchange *x, struct bytes name, struct bytes value)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    CHECK(x->answer == ANSWER_NONE);
    size_t size = name.size + value.size + 4;
    bool is_sound = head_is_token(name) && !has_line_break(value);
    size_t room = sizeof x->out - sizeof x->piece - x->out_size;
    if (!is_sound || size + 2 > room) { /* 2: the empty line at the end */
        measure_header_left_out();
        return;
    }
    char *to = x->out + x->out_size;
    to = mempcpy(to, name.data, name.size);
    *to++ = ':', *to++ = ' ';
    if (value.size > 0)
        to = mempcpy(to, value.data, value.size);
    *to++ = '\r', *to++ = '\n';
    x->out_size += (uint32_t)size;
}

void http_header_u64(struct exchange *x, const char *name, uint64_t value)
{
    char text[24];
    struct buf buf = BUF_ON(text);
    buf_put_u64(&buf, value);
    http_header(x, name, buf_bytes(&buf));
}

/* Statuses whose responses have neither body nor length: RFC 9110, 8.6. */
static bool has_no_length(int status)
{
    return status < 200 || status == 204 || status == 304;
}

/* Completes the head; the room for the prefix, the final empty line and a piece's text is kept free
 * for this. */
static struct bytes finish_head(struct exchange *x)
{
    struct worker *worker = x->conn->worker;
    char prefix[OUT_PREFIX_BYTES];
    struct buf buf = BUF_ON(prefix);
    buf_put_string(&buf, "HTTP/1.1 ");
    buf_put_u64(&buf, (uint64_t)x->status);
    buf_put_char(&buf, ' ');
    buf_put_string(&buf, reason_of(x->status));
    buf_put_string(&buf, "\r\nDate: ");
    buf_put_string(&buf, respond__date(worker));
    buf_put_string(&buf, "\r\nServer: Sluice\r\nx-amz-request-id: ");
    buf_put_string(&buf, x->id);
    if (!has_no_length(x->status)) {
        buf_put_string(&buf, "\r\nContent-Length: ");
        buf_put_u64(&buf, x->content_length);
    }
    if (!x->keeps)
        buf_put_string(&buf, "\r\nConnection: close");
    else if (x->request.minor_version == 0)
        buf_put_string(&buf, "\r\nConnection: keep-alive");
    buf_put_string(&buf, "\r\n");
    CHECK(!buf.overflowed);
    char *head = x->out + OUT_PREFIX_BYTES - buf.size;
    memcpy(head, prefix, buf.size);
    char *end = mempcpy(x->out + x->out_size, "\r\n", 2);
    end = mempcpy(end, x->piece, x->piece_size);
    return bytes_of(head, (size_t)(end - head));
}

/* ---- what a service answers ---- */

static void answered(struct exchange *x, enum answer answer, int status, uint64_t content_length)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    CHECK(x->has_begun && x->answer == ANSWER_NONE);
    CHECK(status >= 200 && status <= 599);
    x->answer = (uint8_t)answer;
    x->status = status;
    x->content_length = content_length;
    conn__wake(x->conn);
}

void http_respond_empty(struct exchange *x, int status)
{
    answered(x, ANSWER_EMPTY, status, 0);
}

void http_respond_head(struct exchange *x, int status, uint64_t content_length)
{
    answered(x, ANSWER_HEAD, status, content_length);
}

void http_respond_text(struct exchange *x, int status, struct text_buf *text)
{
    if (text->failed) { /* half a document is worse than none */
        text_free(text);
        answered(x, ANSWER_EMPTY, 500, 0);
        return;
    }
    answered(x, ANSWER_TEXT, status, text->size);
    x->text = *text;
    *text = (struct text_buf){0};
}

void http_respond_object(struct exchange *x, int status, const struct http_object *object)
{
    CHECK(x->request.method != HTTP_HEAD);
    struct http_pieces *pieces = object->pieces;
    answered(x, ANSWER_OBJECT, status, pieces ? pieces->size : read_plan_left(object->plan));
    x->pieces = pieces;
    x->send.plan = object->plan;
    x->send.is_hot = object->is_hot;
    x->send.policy = object->policy;
    x->receipt = object->receipt;
}

void http_close_after(struct exchange *x)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    x->closes_after = true;
}

/* ---- sending ---- */

/* Whether the connection can serve another request after this response. */
static bool can_keep(const struct exchange *x)
{
    if (!x->request.keeps_alive || x->closes_after || x->conn->worker->is_draining)
        return false;
    if (x->body.err)
        return false;
    uint64_t unread = request_body__unread(x);
    /* A client that waits for 100 Continue may send its body after this answer, or not: nobody can
     * tell what its next bytes mean. */
    return unread == 0 || (unread <= DISCARD_BYTES_MAX && x->body.was_continued);
}

static void put_receipt(struct exchange *x, const struct path *path)
{
    struct read_plan_shape shape;
    x->answer = ANSWER_NONE; /* so that headers are taken once more */
    x->receipt_at = x->out_size;
    http_header(x, "x-sluice-path", bytes_of_string(path->name));
    http_header_u64(x, "x-sluice-copies", path_copies_told(path, &x->send.facts));
    read_plan_shape(x->send.plan, &shape);
    /* Else it would have to be read from the disk to be told, or is that of the first range. */
    if (shape.is_known && x->pieces == NULL)
        http_header_u64(x, "x-sluice-extents", shape.extents);
    x->answer = ANSWER_OBJECT;
}

static void write_head(struct exchange *x, const struct path *path)
{
    if (x->receipt)
        put_receipt(x, path);
    x->send.head = finish_head(x);
    x->send.head_room = (uint32_t)(sizeof x->out - x->out_size - 2 - x->piece_size);
}

/* Nothing has left yet, so the receipt need not name a path that no byte will take. */
static void rewrite_head(struct exchange *x, const struct path *path)
{
    x->out_size = x->receipt_at;
    write_head(x, path);
    x->text_left = (uint32_t)x->send.head.size;
}

/* The head is written when the path is known: it may name it. */
static void begin_head(struct exchange *x, const struct path *path)
{
    write_head(x, path);
    x->path = x->send.plan ? path : NULL;
    if (x->path)
        measure_path_begun(path);
    x->has_head = true;
}

static void start(struct exchange *x, const struct path *path)
{
    if (x->has_head) {
        x->send.head = bytes_of(x->piece, x->piece_size);
        x->send.head_room = (uint32_t)sizeof x->piece - x->piece_size;
    } else {
        begin_head(x, path);
    }
    x->text_left = (uint32_t)x->send.head.size;
    x->send.path = path;
    path->start(&x->send);
}

/* What speaks for which path, as of the first window; the paths look again at each. */
enum err respond__find_facts(const struct worker *worker, struct path_send *send,
                             struct path_facts *facts)
{
    struct read_span span = {.fd = -1};
    *facts = (struct path_facts){
        .size = read_plan_left(send->plan),
        .is_hot = send->is_hot,
        .has_ring_splice = ring_has_splice(worker->ring),
        .zero_copy = (uint8_t)zero_copy__outlook(worker, read_plan_left(send->plan)),
        .tls = send->facts.tls,
        .tls_takes_memory = send->facts.tls_takes_memory,
    };
    enum err e = facts->size > 0 ? read_plan_span(send->plan, &span) : ERR_OK;
    if (e)
        return e;
    facts->is_inline = span.inline_data != NULL;
    facts->has_fd = span.fd >= 0;
    if (!facts->is_inline && facts->size > 0)
        facts->has_inline_tail = read_plan_has_inline(send->plan);
    if (facts->has_fd && !facts->is_inline && !facts->is_hot) {
        path__window_cut(&send->windows[0], &span, PATH_WINDOW_BYTES);
        facts->is_resident = path__may_send_cached(send, &send->windows[0].span);
    }
    return ERR_OK;
}

static void deny(struct path_send *send, enum path_obstacle why)
{
    send->denied = (uint8_t)why;
    path_done(send, ERR_UNSUPPORTED);
}

static void choose(struct path_send *send)
{
    struct exchange *x = CONTAINER_OF(send, struct exchange, send);
    enum err e = send->err ? send->err : respond__find_facts(x->conn->worker, send, &send->facts);
    if (e == ERR_WOULD_BLOCK) {
        path__load(send, choose);
        return;
    }
    if (e) {
        path_done(send, e);
        return;
    }
    zero_copy__decide(x);
    struct path_choice choice = path_resolve(&send->facts, &send->policy);
    if (choice.path == NULL) {
        deny(send, choice.obstacle);
        return;
    }
    if (choice.obstacle != OBSTACLE_NONE)
        measure_fallback(choice.obstacle);
    if (choice.path->reads_cache)
        send->is_hot |= !send->facts.is_resident; /* who wants it from there has it brought there */
    start(x, choice.path);
}

static void choosing_start(struct path_send *send)
{
    choose(send);
}

static void choosing_cancel(struct path_send *send)
{
    send->is_cancelled = true; /* the load ends by itself */
}

/* What stands in send->path until the first span is known. */
static const struct path path_undecided = {
    .name = "-", .id = PATH_AUTO, .start = choosing_start, .cancel = choosing_cancel};

static bool take_piece(struct exchange *x)
{
    struct buf text = BUF_ON(x->piece);
    bool is_one = x->pieces->next(x->pieces, &text, x->send.plan);
    CHECK(!text.overflowed);
    x->piece_size = (uint32_t)text.size;
    return is_one;
}

void respond__start(struct exchange *x)
{
    struct worker *worker = x->conn->worker;
    struct path_send *send = &x->send;
    send->path = &path_undecided;
    send->loop = worker->loop;
    send->group = worker->server->group;
    send->verified = worker->verified;
    send->pipes = worker->pipes;
    send->fd = x->conn->fd;
    send->tls = conn__makes_records(x->conn) ? x->conn->tls->tls : NULL;
    send->facts.tls = send->tls ? PATH_TLS_USER : x->conn->tls ? PATH_TLS_KERNEL : PATH_TLS_NONE;
    send->facts.tls_takes_memory =
        send->facts.tls == PATH_TLS_KERNEL && strcmp(tls_version(x->conn->tls->tls), "1.3") == 0;
    send->ask = &x->ask;
    send->flights = x->flights;
    x->keeps = can_keep(x);
    if (x->conn->is_gone) {
        path_done(send, ERR_PEER_CLOSED);
        return;
    }
    if (x->answer == ANSWER_OBJECT) {
        if (x->pieces)
            take_piece(x);
        send->path->start(send);
        return;
    }
    if (x->answer == ANSWER_TEXT && x->request.method != HTTP_HEAD && !has_no_length(x->status))
        send->body = text_bytes(&x->text);
    start(x, &path_inline);
}

bool respond__next(struct exchange *x)
{
    struct path_send *send = &x->send;
    if (x->pieces == NULL || x->conn->is_gone)
        return false;
    read_plan_close(send->plan);
    if (!take_piece(x)) {
        x->pieces = NULL;
        return false;
    }
    x->is_sent = false;
    send->promoted_to = send->judged_to = 0; /* ranges come in any order */
    send->path = &path_undecided;
    if (x->bytes_out - x->turn_began < PIECES_TURN_BYTES) {
        send->path->start(send);
    } else {
        x->turn_began = x->bytes_out;
        path__wait_writable(send, choose); /* which it is at once, after the others */
    }
    return true;
}

void path_done(struct path_send *send, enum err e)
{
    struct exchange *x = CONTAINER_OF(send, struct exchange, send);
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    CHECK(!x->is_sent);
    pipes_put(send->pipes, TAKE(send->pipe));
    x->is_sent = true;
    send->err = e;
    conn__run(x->conn);
}

bool path_progress(struct path_send *send, uint64_t size)
{
    struct exchange *x = CONTAINER_OF(send, struct exchange, send);
    uint64_t of_text = size < x->text_left ? size : x->text_left;
    x->text_left -= (uint32_t)of_text;
    x->bytes_out += size;
    bool is_told_later = send->path == &path_direct && send->flies;
    unsigned copies = is_told_later ? 0 : path_copies(send->path, &send->facts);
    if (send->plan && size > of_text) {
        measure_path_bytes(send->path, size - of_text, copies);
        x->last_path = send->path;
        x->copies = copies > x->copies ? (uint8_t)copies : x->copies;
    }
    return conn__progress(x->conn, size);
}

void path_hand_over(struct path_send *send, const struct path *to, enum path_obstacle why)
{
    struct exchange *x = CONTAINER_OF(send, struct exchange, send);
    bool is_inline_end = to == &path_inline && why == OBSTACLE_NONE;
    if (!path_is_permitted(to, &send->facts, &send->policy)) {
        deny(send, is_inline_end ? OBSTACLE_INLINE_TAIL : why);
        return;
    }
    if (why != OBSTACLE_NONE)
        measure_fallback(why);
    pipes_put(send->pipes, TAKE(send->pipe));
    send->path = to;
    if (x->receipt && !send->has_sent)
        rewrite_head(x, to);
    to->start(send);
}

void path_waits_for_slot(struct path_send *send)
{
    struct exchange *x = CONTAINER_OF(send, struct exchange, send);
    const struct http_limits *limits = &x->conn->worker->server->limits;
    measure_slot_wait(1);
    conn__deadline(x->conn,
                   send->has_sent ? limits->body_timeout_ns : limits->admission_timeout_ns);
}

void path_admitted(struct path_send *send)
{
    struct exchange *x = CONTAINER_OF(send, struct exchange, send);
    measure_slot_wait(-1);
    conn__rate_start(x->conn);
}

/* ---- refusals ---- */

static enum http_refusal refusal_for(const struct path_send *send)
{
    if (send->denied)
        return path_obstacle_passes(send->denied) ? HTTP_REFUSE_PATH_NOW : HTTP_REFUSE_PATH;
    if (send->err == ERR_CORRUPT)
        return HTTP_REFUSE_CORRUPT;
    return err_family(send->err) == FAM_BUSY ? HTTP_REFUSE_BUSY : HTTP_REFUSE_INTERNAL;
}

static void refusal_body(struct worker *worker, enum http_refusal why, const char *sentence,
                         const char *id, struct text_buf *body)
{
    struct http_service *service = worker->server->service;
    if (service->refuse)
        service->refuse(service, why, sentence, id, body);
    else
        text_printf(body, "%s\n", sentence);
}

/* Why the response is refused, in words. */
static void refusal_sentence(const struct path_send *send, enum http_refusal why, char *out,
                             size_t out_size)
{
    if (send->denied)
        snprintf(out, out_size, "The data path that is required, %s, cannot be taken%s: %s.",
                 path_require_name(send->policy.require),
                 path_obstacle_passes(send->denied) ? " now" : "",
                 path_obstacle_text(send->denied));
    else
        snprintf(out, out_size, "%s", http_refusal_text(why));
}

static const char *refusal_type(const struct worker *worker)
{
    return worker->server->service->refuse ? "application/xml" : "text/plain; charset=utf-8";
}

bool respond__replace(struct exchange *x)
{
    struct worker *worker = x->conn->worker;
    enum http_refusal why = refusal_for(&x->send);
    char sentence[300];
    if (x->send.has_sent && x->send.denied)
        measure_path_cut();
    if (x->send.has_sent || x->is_refused || x->answer != ANSWER_OBJECT)
        return false;
    text_free(&x->text);
    refusal_sentence(&x->send, why, sentence, sizeof sentence);
    refusal_body(worker, why, sentence, x->id, &x->text);
    if (x->text.failed)
        return false;
    if (x->send.denied)
        measure_path_refused(x->send.denied);
    read_plan_close(x->send.plan);
    x->send.plan = NULL;
    x->pieces = NULL;
    x->piece_size = 0;
    x->has_head = false;
    x->send.err = ERR_OK;
    x->is_sent = false;
    x->is_refused = true;
    x->receipt = false;
    x->keeps = x->keeps && x->send.denied; /* nothing is wrong with the connection, or the node */
    x->out_size = OUT_PREFIX_BYTES; /* what the service said of the object is not true of this */
    x->answer = ANSWER_NONE;
    http_header(x, "Content-Type", bytes_of_string(refusal_type(worker)));
    if (why == HTTP_REFUSE_BUSY || why == HTTP_REFUSE_PATH_NOW)
        http_header(x, "Retry-After", BYTES("1"));
    x->answer = ANSWER_TEXT;
    x->status = http_refusal_status(why);
    x->content_length = x->text.size;
    x->send.body = text_bytes(&x->text);
    conn__rate_start(x->conn);
    start(x, &path_inline);
    return true;
}

void respond__refusal(struct conn *conn, enum http_refusal why)
{
    struct worker *worker = conn->worker;
    struct text_buf *text = &conn->refusal;
    CLEANUP(text_free) struct text_buf body = {0};
    char id[17];
    worker__request_id(worker, id);
    refusal_body(worker, why, http_refusal_text(why), id, &body);
    text_free(text);
    text_printf(text,
                "HTTP/1.1 %d %s\r\nDate: %s\r\nServer: Sluice\r\nx-amz-request-id: "
                "%s\r\nContent-Type: %s\r\n"
                "Content-Length: %zu\r\n%sConnection: close\r\n\r\n",
                http_refusal_status(why), reason_of(http_refusal_status(why)),
                respond__date(worker), id, refusal_type(worker), body.size,
                why == HTTP_REFUSE_BUSY ? "Retry-After: 1\r\n" : "");
    text_put(text, text_bytes(&body));
    measure_refused(why);
}
