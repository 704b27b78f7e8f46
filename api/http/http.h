/*
 * The S3 port's HTTP/1.1 engine (RFC 9110, 9112), on io_uring. It knows connections, heads, body
 * framing and how to move bytes; it knows nothing of S3. What a request means is a service's
 * business:
 *
 *     head parsed --> service.begin(x) --> [http_body_read / http_body_collect]
 *                 --> exactly one http_respond_*() --> service.end(x)
 *
 * Between begin() and its http_respond the exchange belongs to the service, however long that
 * takes; if the client goes away meanwhile, body callbacks say so, and responding is still required
 * (and then does nothing). After http_respond the exchange is the engine's until end(x), which
 * comes exactly once, when the last byte is out or the connection is dead: the service releases its
 * state there. All of it runs on the connection's worker loop. No callback of the service is ever
 * called from inside one of these functions.
 *
 * Ambiguous messages are refused, never guessed (request smuggling): one rule for each ambiguity in
 * api/http/head.h. Every wait has a deadline.
 */
#ifndef API_HTTP_HTTP_H
#define API_HTTP_HTTP_H

#include "api/http/policy.h"
#include "api/http/zero_copy.h"
#include "base/bytes.h"
#include "base/limits.h"
#include "base/loop.h"
#include "replication/group.h"

struct exchange;
struct http_server;
struct tls_store;

enum http_method {
    HTTP_GET,
    HTTP_HEAD,
    HTTP_PUT,
    HTTP_POST,
    HTTP_DELETE,
    HTTP_OPTIONS,
    HTTP_METHOD_OTHER
};

/* Laid out as api/s3/headers.h wants it. */
struct http_header {
    struct bytes name, value;
};

struct http_request {
    enum http_method method;
    struct bytes method_name;
    struct bytes target;      /* raw, as sent */
    struct bytes path, query; /* raw: before and after the first '?' */
    struct bytes host;        /* from Host, or from an absolute-form target */
    const struct http_header *headers;
    size_t header_count;
    bool has_content_length;
    uint64_t content_length;
    bool is_chunked; /* Transfer-Encoding: chunked */
    bool expects_continue;
    bool keeps_alive;
    uint8_t minor_version;
};

/* First header of that name, case-insensitive; {NULL, 0} when absent. */
struct bytes http_request_header(const struct http_request *request, const char *name);

/*
 * What the engine answers by itself, without a service: X(name, status, sentence). After a refusal
 * the connection is closed.
 */
#define HTTP_REFUSALS(X)                                                                           \
    X(NONE, 200, "")                                                                               \
    X(BAD_SYNTAX, 400, "the request is not well-formed HTTP/1.1")                                  \
    X(BAD_HOST, 400, "exactly one well-formed Host header is needed")                              \
    X(BAD_LENGTH, 400, "the length of the body is ambiguous or malformed")                         \
    X(PLAIN_HTTP, 400, "this port speaks TLS and was sent plain HTTP: use https://")               \
    X(HEAD_TIMEOUT, 408, "the request did not arrive in time")                                     \
    X(PATH, 412, "the data path that is required cannot serve this object")                        \
    X(URI_TOO_LONG, 414, "the request target is too long")                                         \
    X(EXPECTATION, 417, "the only expectation that can be met is 100-continue")                    \
    X(HEAD_TOO_LARGE, 431, "the request's headers are too large or too many")                      \
    X(CORRUPT, 500, "the stored bytes do not match their checksum, so they are not sent")          \
    X(INTERNAL, 500, "the stored bytes cannot be read")                                            \
    X(BAD_CODING, 501, "the only transfer coding understood is chunked")                           \
    X(BUSY, 503, "the server has no room for this now; please try again later")                    \
    X(PATH_NOW, 503, "the data path that is required cannot serve this object now")                \
    X(BAD_VERSION, 505, "only HTTP/1.1 and HTTP/1.0 are spoken here")

enum http_refusal {
#define X(name, status, text) HTTP_REFUSE_##name,
    HTTP_REFUSALS(X) HTTP_REFUSE_COUNT
#undef X
};
int http_refusal_status(enum http_refusal why);
const char *http_refusal_text(enum http_refusal why);

/* Room for the service's own state in each exchange. */
#define HTTP_STATE_BYTES 8192

struct http_service {
    void (*begin)(struct http_service *service, struct exchange *x);
    void (*end)(struct http_service *service, struct exchange *x);
    /* Writes the XML body of a refusal; `text` is the sentence for it. NULL: refusals are plain
     * text. Any worker's thread. */
    void (*refuse)(struct http_service *service, enum http_refusal why, const char *text,
                   const char *request_id, struct text_buf *body);
    /* How much of the state's beginning is zeroed before begin(); 0: all of it. Clearing 8 KiB
     * costs a small GET 4 % of its time. */
    size_t state_zeroed_bytes;
};

/* ---- what a service may ask of an exchange ---- */
/* Valid until end(); borrowed memory of the connection. */
const struct http_request *http_request(const struct exchange *x);
void *http_state(struct exchange *x); /* HTTP_STATE_BYTES, 16-aligned */
struct loop *http_loop(struct exchange *x);
unsigned http_worker(struct exchange *x); /* 0..worker_count-1, for per-worker caches */
/* 16 upper-case hex digits, unique in the process's life. */
const char *http_request_id(struct exchange *x);
const char *http_peer(struct exchange *x); /* "127.0.0.1:40000" */
/* The client is known to be away: work for it may be skipped. */
bool http_is_gone(const struct exchange *x);

/* ---- request bodies ---- */

/*
 * How aws-chunked chunk signatures and trailers are judged: by the service. All bytes are borrowed
 * for the call. An error returned ends the body with it. The payload of a chunk is hashed by the
 * service as it arrives through sink.slot(): the engine ends a slot's run at chunk borders through
 * chunk_data().
 */
struct http_aws_chunks {
    /* signature is empty when unsigned */
    enum err (*chunk_begin)(struct http_aws_chunks *chunks, uint64_t size, struct bytes signature);
    /* in order, exactly the chunk's payload */
    void (*chunk_data)(struct http_aws_chunks *chunks, const uint8_t *data, size_t size);
    enum err (*chunk_end)(struct http_aws_chunks *chunks); /* also for the last chunk, of size 0 */
    /* x-amz-trailer-signature included */
    enum err (*trailer)(struct http_aws_chunks *chunks, struct bytes name, struct bytes value);
    bool is_signed;   /* each chunk must carry a signature */
    bool has_trailer; /* trailer lines are allowed after the last chunk */
};

struct http_body_sink {
    /* A filled slot, the sink's until slot_put(). size > 0; a multiple of SUM_CHUNK_BYTES unless
     * the body ended there. is_last: this is known to be the last. */
    void (*slot)(struct http_body_sink *sink, struct slot *slot, uint32_t size, bool is_last);
    /* The body is over: ERR_OK, or why not (ERR_PEER_CLOSED, ERR_TIMEOUT, ERR_BAD_SYNTAX,
     * ERR_TOO_LARGE, ERR_TOO_SMALL, ERR_BUSY: no slot in time, ERR_CANCELLED: answered before the
     * end, or what a chunk callback said). Exactly once, after the last slot(); never from inside
     * http_body_read(). */
    void (*end)(struct http_body_sink *sink, enum err e);
    /* Out at once (received, not yet put back), 1..8: beyond it the socket stays unread. The sink
     * calls http_body_resume() after each slot_put, once a slot. */
    unsigned slots_max;
    struct http_aws_chunks *aws; /* NULL: the framing is HTTP's alone */
    /* Decoded bytes if known, else UINT64_MAX: more is ERR_TOO_LARGE, fewer ERR_TOO_SMALL. */
    uint64_t expected_size;
    uint64_t size_max;
};
/* Sends 100 Continue if asked for, then receives straight into slots. At most once an exchange. A
 * service that responds without reading the body closes the connection after the response, unless
 * the rest is small and arrives at once. */
void http_body_read(struct exchange *x, struct http_body_sink *sink);
void http_body_resume(struct exchange *x);

/* Collects a body of at most size_max bytes in memory; done() exactly once, later. text is valid
 * until end(). */
struct http_collect {
    void (*done)(struct http_collect *collect, enum err e);
    struct text_buf text; /* the collector's; freed by the engine */
    size_t size_max;
    struct http_aws_chunks *aws;
};
void http_body_collect(struct exchange *x, struct http_collect *collect);

/* ---- responses: headers first, then exactly one http_respond ---- */
/* Adds a header. CR, LF or NUL in it are our bug or a stored lie: such a header is left out and
 * counted. Date, Server, Connection, Content-Length, x-amz-request-id are the engine's. */
void http_header_named(struct exchange *x, struct bytes name, struct bytes value);
static inline void http_header(struct exchange *x, const char *name, struct bytes value)
{
    http_header_named(x, bytes_of_string(name), value);
}
void http_header_u64(struct exchange *x, const char *name, uint64_t value);

/* Content-Length: 0 (none for 204 and 304). */
void http_respond_empty(struct exchange *x, int status);
/* Answer to HEAD: length as GET's, no body. */
void http_respond_head(struct exchange *x, int status, uint64_t content_length);
/* Takes the text; the body is left out for HEAD. */
void http_respond_text(struct exchange *x, int status, struct text_buf *text);
/*
 * A body in several pieces (multipart/byteranges): each a text and a range of the object behind it.
 * The engine asks for the next when the one before has left, and chooses its data path anew.
 */
struct http_pieces {
    /* Writes the text (at most HTTP_PIECE_TEXT_BYTES_MAX) and opens the plan on the bytes behind
     * it, or leaves the plan as it is for a text alone. False: that was all. On the worker's loop.
     */
    bool (*next)(struct http_pieces *pieces, struct buf *text, struct read_plan *plan);
    uint64_t size; /* of the whole body */
};

/* Object bytes: takes the plan (closed by the engine). The path is chosen by api/http/path.h;
 * x-sluice-path, -copies and -extents are added when `receipt`, and tell of the first piece. */
struct http_object {
    struct read_plan *plan; /* in the service's state, valid until end() */
    /* In the service's state likewise; NULL: the plan is the body. Else the plan comes closed. */
    struct http_pieces *pieces;
    struct object *object;     /* borrowed until end() */
    bool receipt;              /* tell the path in response headers */
    bool is_hot;               /* read often lately: worth the page cache */
    struct path_policy policy; /* zeroed: auto, checked when cold */
};
void http_respond_object(struct exchange *x, int status, const struct http_object *object);
/* Closes the connection after this response (framing lost, or bad faith). Before http_respond. */
void http_close_after(struct exchange *x);
/* Notes for the access log, borrowed until end(): what the request was for. */
void http_log_operation(struct exchange *x, const char *operation, struct bytes access_key);

/* ---- the server ---- */
struct http_limits {
    uint32_t connections_max;      /* of all workers; beyond: accept, 503, close */
    uint64_t handshake_timeout_ns; /* of TLS, from the connection's beginning */
    uint64_t head_timeout_ns;      /* from the first byte of a head to its end */
    uint64_t idle_timeout_ns;      /* between requests */
    uint64_t body_timeout_ns;      /* without any progress */
    uint64_t body_rate_min;        /* bytes/s, both directions: slower than that is cut off */
    uint64_t rate_window_ns;       /* over which the rate is measured; 0: 30 s */
    uint64_t admission_timeout_ns; /* waiting for a slot before 503 SlowDown */
    /* Requests at once, of all workers; 0: the default. Beyond, they wait as for a slot. */
    uint32_t exchanges_max;
};
extern const struct http_limits http_limits_default;

struct http_server_options {
    const char *address;       /* "127.0.0.1", "::1", "0.0.0.0" */
    uint16_t port;             /* 0: any free one */
    struct loop *const *loops; /* one a worker; borrowed */
    unsigned worker_count;
    struct tls_store *tls;        /* borrowed; NULL: no TLS */
    const char *tls_address;      /* a second port, for TLS; NULL: `address` itself speaks it */
    uint16_t tls_port;            /* 0: any free one */
    struct group *group;          /* borrowed: loads read plans */
    struct http_service *service; /* borrowed */
    struct http_limits limits;
    bool access_log; /* a line a request at LOG_INFO */
    enum zero_copy_mode zero_copy;
};
/* Listens (SO_REUSEPORT, one listener a worker). ERR_IN_USE, ERR_DENIED with a sentence. Accepting
 * begins when each loop runs. */
enum err http_server_open(const struct http_server_options *options,
                          struct http_server **ret_server, struct err_trail *trail) MUST_USE;
uint16_t http_server_port(const struct http_server *server);
/* Of `tls_address`; 0: there is none. */
uint16_t http_server_tls_port(const struct http_server *server);
/* Thread-safe: stops accepting, closes idle connections, lets running exchanges end; drained() on
 * an unspecified loop when none is left. Connections still busy after `grace_ns` are cut. */
void http_server_drain(struct http_server *server, uint64_t grace_ns,
                       void (*drained)(void *context), void *context);
void http_server_close(struct http_server *server); /* after drained(), loops stopped */
/* Bytes the engine may use for the given limits: connection and head memory. For the printed
 * budget. */
uint64_t http_memory_bytes(const struct http_limits *limits);
/* What OpenSSL takes besides when connections come by TLS. */
uint64_t http_tls_memory_bytes(const struct http_limits *limits, unsigned worker_count);

#endif
