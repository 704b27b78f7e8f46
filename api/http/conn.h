/*
 * Inside the engine: a connection, the exchange it is busy with, the worker both live on. A
 * connection is a small thing; an exchange is large and taken from the worker's pool only while a
 * request is there, so that idle connections are cheap.
 *
 *   [HANDSHAKE] of TLS --> HEAD
 *     HEAD --complete--> SERVICE --answered--> SENDING --> ENDING --> [DISCARDING] --> HEAD
 *       |                                                    |
 *       +--refused--> REFUSING --> LINGERING <---unread------+
 *                                      |                     |
 *                                      +------> CLOSING <----+
 *
 * conn__run() is the only loop: it runs the phase's step until that has to wait. Callbacks store
 * what came and call it; a service calling in from inside a step finds it running and returns at
 * once, from elsewhere it is woken by a message. So no callback of the service is ever called from
 * inside a http_*() function.
 *
 *   conn.c     phases, deadlines, heads        body.c      request bodies
 *   respond.c  response heads, refusals        path_*.c    object bytes
 *   server.c   listeners, workers, drain       exchange.c  what a service may ask
 *   measure.c  metrics and the access log                tls_conn.c  the same by TLS
 */
#ifndef API_HTTP_CONN_H
#define API_HTTP_CONN_H

#include "api/http/framing.h"
#include "api/http/head.h"
#include "api/http/http.h"
#include "api/http/path.h"
#include "api/http/pipes.h"
#include "api/http/tls.h"
#include "api/http/verified.h"
#include "api/http/zero_copy.h"

#define CONN_SMALL_BYTES  2048u /* most heads fit; longer ones move to the exchange's buffer */
#define STASH_BYTES       4096u
#define OUT_PREFIX_BYTES  512u /* status line and our own headers, put before the service's */
#define ACCEPTS           4u   /* accepts outstanding a worker */
#define REFUSED_CONNS_MAX 64u  /* a worker's connections over the limit that get a polite answer */
#define RATE_WINDOW_NS    (30 * NS_PER_SECOND)
#define LINGER_NS         (5 * NS_PER_SECOND)
#define LINGER_BYTES_MAX  MIB(64)
#define DISCARD_BYTES_MAX KIB(64)
/* Of small pieces in a row: then other connections have their turn. */
#define PIECES_TURN_BYTES MIB(4)
#define DISCARD_NS        (5 * NS_PER_SECOND)

enum step { STEP_WAIT, STEP_ON };

/* ---- request bodies: body.c ---- */
enum body_state { BODY_UNREAD, BODY_ACTIVE, BODY_OVER };

struct request_body {
    uint8_t state;      /* enum body_state */
    bool was_continued; /* 100 Continue went out, or need not */
    bool is_in_line;    /* for a slot */
    enum err err;       /* why it ends before its end */
    unsigned slots_out;
    uint32_t fill;                /* bytes in `slot` */
    uint32_t slot_room;           /* of the receive under way: how much of it goes to the slot */
    uint64_t received;            /* payload */
    uint64_t total;               /* payload if known, else UINT64_MAX */
    struct http_body_sink *sink;  /* borrowed; NULL: collected */
    struct http_collect *collect; /* borrowed */
    struct slot *slot;            /* owned: being filled */
    struct arena_waiter waiter;
    struct iovec iov[2];
    struct msghdr msg;
    struct framing framing;
};

/* ---- exchanges ---- */
enum answer { ANSWER_NONE, ANSWER_EMPTY, ANSWER_HEAD, ANSWER_TEXT, ANSWER_OBJECT };

#define EXCHANGE_MAGIC 0x45786368u
struct exchange {
    /* Zeroed for each request, down to `headers`. */
    uint32_t magic;
    struct conn *conn; /* borrowed */
    struct list link;  /* worker's, while free */
    struct http_request request;
    uint64_t begun_ns;
    uint64_t content_length; /* of the answer */
    uint64_t bytes_out;      /* head included */
    uint32_t text_left; /* of the answer's head and its pieces' texts: sent, and no object bytes */
    int status;
    uint8_t answer;           /* enum answer */
    bool closes_after;        /* asked for by the service */
    bool keeps;               /* the connection goes on after this response */
    bool has_begun;           /* begin() was called and end() is due */
    bool is_sent, is_refused; /* path_done() came; the answer was replaced by a refusal */
    bool has_head;            /* of the answer: it is written, and maybe sent */
    bool receipt;
    char id[17];
    const char *operation;   /* for the access log; borrowed until end() */
    struct bytes access_key; /* likewise */
    /* For the log: the path begun with, the one the last object bytes left by (NULL: none have),
     * and how often the CPU copied those that it copied most. */
    const struct path *path, *last_path;
    uint8_t copies;
    struct text_buf text; /* owned */
    struct request_body body;
    struct path_send send;
    struct http_pieces *pieces; /* the service's; NULL: none, or no more */
    uint32_t piece_size;        /* of `piece` */
    uint64_t turn_began;        /* `bytes_out` when other connections had their turn */
    uint32_t out_size;          /* of `out`, the room for the prefix included */
    uint32_t receipt_at;        /* where the receipt begins in it */

    struct http_header headers[HTTP_HEADERS_MAX];
    _Alignas(16) uint8_t state[HTTP_STATE_BYTES]; /* the service's, zeroed for each request */
    char out[OUT_PREFIX_BYTES + HTTP_RESPONSE_HEAD_BYTES_MAX + HTTP_PIECE_TEXT_BYTES_MAX];
    char piece[HTTP_PIECE_TEXT_BYTES_MAX]; /* a piece's text; the first leaves with the head */
    uint8_t stash[STASH_BYTES];            /* received bytes that are not (or not surely) payload */
    /* A head of more than CONN_SMALL_BYTES; one byte more tells that it is too long. */
    uint8_t head[HTTP_HEAD_BYTES_MAX + 1];
    struct group_ask ask; /* for the rare plan that has to be loaded */
    struct path_flight flights[PATH_FLIGHTS_MAX];
};

/* ---- connections ---- */
enum conn_phase {
    CONN_HANDSHAKE,  /* of TLS */
    CONN_HEAD,       /* idle, or a head is arriving */
    CONN_SERVICE,    /* the exchange is the service's; its body may be arriving */
    CONN_SENDING,    /* the answer is on its way */
    CONN_ENDING,     /* end() is due */
    CONN_DISCARDING, /* the rest of a small body nobody wanted */
    CONN_REFUSING,   /* a refusal is on its way */
    CONN_LINGERING,  /* said all; reads until the client has seen it */
    CONN_CLOSING,    /* waits for operations to end */
    CONN_CLOSED,
    CONN_PHASE_COUNT,
};

#define CONN_MAGIC 0x436f6e6eu
struct conn {
    uint32_t magic;
    int fd;
    uint8_t phase;            /* enum conn_phase */
    bool is_running;          /* conn__run() is on the stack */
    bool is_woken;            /* `wake` is posted */
    bool is_gone;             /* the client is known to be away */
    bool is_surplus;          /* over connections_max: answered 503 and closed */
    bool has_shut;            /* our side of the stream is closed */
    bool must_reset;          /* close with RST: what is unsent is not worth keeping */
    uint8_t zero_copy;        /* enum zero_copy_peer */
    struct worker *worker;    /* borrowed */
    struct exchange *x;       /* owned while there; NULL: idle */
    struct conn_tls *tls;     /* owned; NULL: plain */
    struct list link;         /* worker's connections */
    struct list starved_link; /* worker's, waiting for an exchange */
    struct ring_op in_op, out_op;
    struct timer timer;
    uint64_t deadline_ns; /* UINT64_MAX: none. The timer may fire earlier and looks here */
    uint64_t rate_since_ns, rate_bytes;
    /* Bytes in the socket when the last deadline passed; UINT32_MAX: there was progress since. */
    uint32_t out_queued;
    uint64_t skip_left; /* bytes to be read and dropped */
    const uint8_t *in;  /* received and not consumed: in `head` or the stash */
    uint32_t in_size;
    uint8_t *head; /* `small`, or the exchange's */
    uint32_t head_size, head_capacity;
    struct head_scan scan;
    struct loop_msg wake;
    struct text_buf refusal; /* owned */
    uint32_t refusal_sent;
    char peer[56]; /* "" until asked for */
    uint8_t small[CONN_SMALL_BYTES];
};

/* What a connection by TLS has besides. */
struct conn_tls {
    struct tls *tls;    /* owned */
    struct conn *conn;  /* borrowed */
    struct list link;   /* worker's handshakes, until it is over */
    struct iovec in[2]; /* the receive under way */
    unsigned in_pieces;
    bool in_cancelled;
    ring_done_fn *in_done;
    struct bytes out; /* the send under way; borrowed */
    uint32_t out_count;
    enum err out_err;
    ring_done_fn *out_done;
};

/* ---- workers: one a loop, sharing nothing ---- */
#define LISTENERS_MAX 2u /* plain and TLS */

struct worker {
    struct http_server *server; /* borrowed */
    struct loop *loop;          /* borrowed */
    struct ring *ring;          /* borrowed from loop */
    unsigned index;
    struct worker_listener {
        int fd; /* owned; -1: closed */
        bool is_tls;
        struct worker_accept {
            struct worker *worker;
            struct worker_listener *listener;
            struct ring_op op;
        } accepts[ACCEPTS];
    } listeners[LISTENERS_MAX];
    unsigned accepts_pending;
    struct timer accept_timer; /* after running out of descriptors */
    bool is_draining, is_drained;
    struct timer grace_timer;
    struct loop_msg start_msg, drain_msg;
    struct list conns, free_conns, free_exchanges, starved;
    struct list handshakes; /* the oldest first */
    uint32_t handshake_count, handshake_turn_count;
    uint64_t handshake_turn_ns; /* the turn that is counted */
    uint32_t conn_count, surplus_count, exchange_count, exchanges_max;
    uint64_t request_count;
    uint64_t date_until_ns; /* mono: when `date` is to be written anew */
    char date[32];
    struct verified *verified; /* owned */
    struct pipes *pipes;       /* owned */
    struct zero_copy_table zero_copy;
};

struct http_server {
    struct http_service *service; /* borrowed */
    struct group *group;          /* borrowed */
    struct tls_store *tls;        /* borrowed; NULL: none */
    struct http_limits limits;
    bool access_log;
    uint8_t zero_copy; /* enum zero_copy_mode */
    unsigned listener_count;
    uint16_t port, tls_port; /* 0: none */
    uint64_t id_seed;
    _Atomic uint32_t conn_count;
    _Atomic uint32_t workers_left; /* to be drained */
    uint64_t grace_ns;
    void (*drained)(void *context);
    void *drained_context;
    unsigned worker_count;
    struct worker workers[];
};

/* conn.c */
struct conn_options {
    bool is_surplus; /* one too many: answered 503 */
    bool is_tls;
};
/* Takes fd, also when it fails. */
void conn__open(struct worker *worker, int fd, const struct conn_options *options);
void conn__refuse(struct conn *conn, enum http_refusal why);
void conn__run(struct conn *conn);
void conn__wake(struct conn *conn);  /* runs it, soon */
void conn__cut(struct conn *conn);   /* it is lost, or to be; to be run or woken afterwards */
void conn__drain(struct conn *conn); /* closes it if it is idle */
void conn__free(struct conn *conn);  /* at the server's end */
void conn__deadline(struct conn *conn, uint64_t delay_ns);
static inline void conn__no_deadline(struct conn *conn)
{
    conn->deadline_ns = UINT64_MAX;
}
void conn__rate_start(struct conn *conn);
bool conn__progress(struct conn *conn, uint64_t bytes); /* false: slower than allowed */
const char *conn__peer(struct conn *conn);

/* tls_conn.c: for connections that have c->tls */
bool conn_tls__open(struct conn *conn); /* false: no memory */
void conn_tls__close(struct conn *conn);
enum step conn_tls__handshake_step(struct conn *conn);
void conn_tls__timed_out(struct conn *conn);
void conn_tls__recv(struct conn *conn, const struct iovec *pieces, unsigned count,
                    ring_done_fn *done);
void conn_tls__recv_cancel(struct conn *conn);
int conn_tls__input_fd(const struct conn *conn); /* readable when there is something to read */
bool conn_tls__skip(struct conn *conn);          /* of skip_left what is there; false: over */
void conn_tls__send(struct conn *conn, const void *data, uint32_t size, ring_done_fn *done);

/* Whether what is sent has to be made into records first: TLS, and the kernel does not do it. */
static inline bool conn__makes_records(const struct conn *conn)
{
    return conn->tls != NULL && !tls_kernel_sends(conn->tls->tls);
}
/* As ring_recv(), ring_recvmsg(), ring_send(), on in_op and out_op, whatever the connection speaks.
 */
static inline void conn__recv(struct conn *conn, void *data, uint32_t size, ring_done_fn *done)
{
    if (conn->tls)
        conn_tls__recv(conn, &(struct iovec){data, size}, 1, done);
    else
        ring_recv(conn->worker->ring, &conn->in_op, conn->fd, data, size, done);
}
static inline void conn__recvmsg(struct conn *conn, struct msghdr *msg, ring_done_fn *done)
{
    if (conn->tls)
        conn_tls__recv(conn, msg->msg_iov, (unsigned)msg->msg_iovlen, done);
    else
        ring_recvmsg(conn->worker->ring, &conn->in_op, conn->fd, msg, done);
}
static inline void conn__recv_cancel(struct conn *conn)
{
    if (conn->tls)
        conn_tls__recv_cancel(conn);
    else
        ring_cancel(conn->worker->ring, &conn->in_op);
}
static inline void conn__send(struct conn *conn, const void *data, uint32_t size,
                              ring_done_fn *done)
{
    if (conn__makes_records(conn))
        conn_tls__send(conn, data, size, done);
    else
        ring_send(conn->worker->ring, &conn->out_op, conn->fd, data, size, 0, done);
}

/* body.c */
void request_body__open(struct exchange *x);
enum step request_body__step(struct exchange *x);
void request_body__fail(struct exchange *x, enum err e); /* a deadline has passed */
/* What of the message is unread: 0, a size, or UINT64_MAX for not known. */
uint64_t request_body__unread(const struct exchange *x);

/* respond.c */
void respond__start(struct exchange *x); /* the answer's head and path; then path_done() */
/* One piece has left: sends the next. False: there is none. */
bool respond__next(struct exchange *x);
/* It failed before anything left: sends a refusal instead. False: too late, or no memory. */
bool respond__replace(struct exchange *x);
/* Writes conn->refusal, head and body. */
void respond__refusal(struct conn *conn, enum http_refusal why);
/* What speaks for which path as of the next window. ERR_WOULD_BLOCK: the plan is to be loaded. */
enum err respond__find_facts(const struct worker *worker, struct path_send *send,
                             struct path_facts *facts) MUST_USE;
const char *respond__date(struct worker *worker);

/* zero_copy_choose.c */
/* Whether sends out of memory may do without a copy, as far as that is the same for every peer. */
enum path_zero_copy_send zero_copy__outlook(const struct worker *worker, uint64_t size);
/* And for this response's: sets what its facts say and whether it is tried. Under TLS the bytes
 * that are sent are not those in memory. */
void zero_copy__decide(struct exchange *x);

/* server.c */
struct exchange *worker__exchange_take(struct worker *worker); /* NULL: all are in use */
void worker__exchange_put(struct worker *worker, struct exchange *x);
void worker__conn_gone(struct worker *worker, struct conn *conn);
void worker__request_id(struct worker *worker, char out[17]);

#endif
