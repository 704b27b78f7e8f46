/*
 * Data paths: how an object's bytes get from the disk to the socket. One path is one file behind
 * this interface; which one serves a response is decided by path_choose(), a pure function of
 * facts, so that it can be tested as a table and explained to a user.
 *
 *   inline    bytes in memory (of the index record), with the head in one send
 *   sendfile  page cache -> socket, nothing copied; for what is resident and verified
 *   splice    page cache -> pipe -> socket, likewise; through a larger pipe than sendfile's
 *   ring-splice   the same as linked operations of io_uring, on kernel workers. To compare with
 *   direct    O_DIRECT read into arena slots, each 64 KiB checked before its first byte leaves
 *   mmap      the page cache mapped, and sent from there: copied once. To compare with
 *   copy      page cache -> slot -> socket: copied twice. To compare with, and the last resort
 *
 * Paths out of the page cache share path_cached.c (what may be sent, promotion); paths out of slots
 * share path_slots.c (two windows in turn).
 *
 * A path that cannot go on as it is (sendfile meets pages that are gone) hands over to another in
 * mid-response; this is counted with its reason. A response that requires its path is refused
 * instead, or ends short when something has left already.
 */
#ifndef API_HTTP_PATH_H
#define API_HTTP_PATH_H

#include "api/http/policy.h"
#include "api/http/tls.h"
#include "base/loop.h"
#include "replication/group.h"

struct path_send;

struct path {
    const char *name; /* as in x-sluice-path */
    uint8_t id;       /* enum path_id */
    /* How often the CPU copies the body between its place and the socket, before it is sent, the
     * kernel included. What is encrypted on the way is not counted as copied by that. */
    uint8_t copies;
    bool sends_memory; /* by a send, which copies once more unless it is a zero-copy one */
    bool reads_cache; /* out of the page cache by its descriptor; must not send what is unchecked */
    /* Sends send->head (if any is left) and the plan to its end; then path_done(). Asynchronous. */
    void (*start)(struct path_send *send);
    /* The connection is to be given up: end soon, through path_done(). */
    void (*cancel)(struct path_send *send);
};

extern const struct path path_inline, path_sendfile, path_splice, path_ring_splice, path_direct,
    path_mmap, path_copy;
const struct path *path_of(uint8_t id); /* PATH_INLINE .. */

/*
 * Why a path is not possible, or did not last: X(ID, label, passes, sentence). The label is the
 * metric's; `passes`: trying again later may succeed.
 */
#define PATH_OBSTACLES(X)                                                                          \
    X(INLINE, "inline", false, "the object is held in the index and sent from there")              \
    X(IN_FILE, "in_file", false, "the object lies in extents, not in the index")                   \
    X(INLINE_TAIL, "inline_tail", false, "the end of the object is held in the index")             \
    X(NO_FILE, "no_file", false, "the volume has no file descriptor to send from")                 \
    X(TLS, "tls", false, "the connection is encrypted by this process, so bytes pass through it")  \
    X(NO_SPLICE, "no_splice", false, "without io_uring there is no ring-splice")                   \
    X(COPIES, "copies", false, "every path there is copies here")                                  \
    X(NOT_RESIDENT, "not_resident", true, "pages are not in the page cache, or were not checked")  \
    X(NOT_KEPT, "not_kept", true, "pages were read and checked, and the cache did not keep them")  \
    X(NO_SLOT, "no_slot", true, "there is no memory to read and check pages with")                 \
    X(NO_PIPE, "no_pipe", true, "all pipes are in use")                                            \
    X(NO_MAP, "no_map", true, "the pages could not be mapped")

enum path_obstacle {
    OBSTACLE_NONE,
#define X(id, label, passes, text) OBSTACLE_##id,
    PATH_OBSTACLES(X) OBSTACLE_COUNT
#undef X
};
const char *path_obstacle_label(enum path_obstacle obstacle);
const char *path_obstacle_text(enum path_obstacle obstacle);
bool path_obstacle_passes(enum path_obstacle obstacle);

/* ---- choosing: path_choose.c ---- */

enum path_tls {
    PATH_TLS_NONE,
    PATH_TLS_KERNEL, /* kTLS: to the paths a socket like any other */
    PATH_TLS_USER,   /* by this process: only what is in memory can be sent (path__send) */
};

/*
 * Whether what is sent out of the arena may leave without the send's copy: X(ID, sentence). The
 * sentence follows "The send ...". Which peers the kernel then really does not copy for is learned
 * of each: zero_copy.h.
 */
#define PATH_ZERO_COPY_SENDS(X)                                                                    \
    X(NO, "copies")                                                                                \
    X(OFF, "copies, as [get] zero-copy is off")                                                    \
    X(NO_URING, "copies: zero-copy sends need io_uring of Linux 6.0")                              \
    X(NOT_REGISTERED, "copies: zero-copy sends need the arena registered with io_uring")           \
    X(NOT_TOLD, "copies: the kernel does not say whether a zero-copy send copies after all; "      \
                "Linux 6.3 does")                                                                  \
    X(SMALL, "copies: below 256 KiB that costs less than to wait for memory to come back")         \
    X(BY_PEER, "copies nothing for a peer whose network card fetches the bytes from memory; each " \
               "peer is tried once, and on loopback and between containers the kernel copies")     \
    X(ALWAYS, "is a zero-copy one, as [get] zero-copy is on; the kernel may copy after all")

enum path_zero_copy_send {
#define X(id, text) PATH_ZERO_COPY_##id,
    PATH_ZERO_COPY_SENDS(X)
#undef X
};

struct path_facts {
    uint64_t size;
    bool is_inline;
    bool has_inline_tail; /* begins in extents and ends in the index */
    bool is_resident;     /* its first window: in the page cache, put there by a verified read */
    bool has_fd;          /* sendfile is possible */
    bool is_hot;          /* worth bringing into the page cache */
    bool has_ring_splice;
    bool sends_zero_copy; /* a send out of the arena is known not to be copied here */
    uint8_t zero_copy;    /* enum path_zero_copy_send */
    uint8_t tls;          /* enum path_tls */
    /* The kernel encrypts memory that is sent from where it lies: with TLS 1.3; with 1.2 it may
     * copy first, as its cipher may work asynchronously. */
    bool tls_takes_memory;
};
const struct path *path_choose(const struct path_facts *facts);

/* Copies of the body on that path here. */
unsigned path_copies(const struct path *path, const struct path_facts *facts);
/* Of a response that begins so, as a receipt tells: an inline tail is copied by its send. */
unsigned path_copies_told(const struct path *path, const struct path_facts *facts);
/* What is in the way of that path, or OBSTACLE_NONE. Not being resident is none: pages can be
 * brought in. */
enum path_obstacle path_obstacle_to(const struct path *path, const struct path_facts *facts);

/* The choice under a policy: what is wanted if possible, else what auto takes. */
struct path_choice {
    const struct path *path;     /* NULL: refused, as required */
    enum path_obstacle obstacle; /* to what was wanted or required; OBSTACLE_NONE: it is had */
};
struct path_choice path_resolve(const struct path_facts *facts, const struct path_policy *policy);
/* Whether a response under that policy may go (on) that way. */
bool path_is_permitted(const struct path *path, const struct path_facts *facts,
                       const struct path_policy *policy);
/* The choice in words for people: a sentence or two. */
void path_explain(const struct path_facts *facts, const struct path_policy *policy,
                  struct text_buf *out);

/* ---- a response on its way: what a path gets to work with ---- */

#define PATH_WINDOW_BYTES  SLOT_LARGE_BYTES /* read, checked or sent at once */
#define PATH_WINDOW_CHUNKS (PATH_WINDOW_BYTES / SUM_CHUNK_BYTES)

enum path_window_state { WINDOW_EMPTY, WINDOW_READING, WINDOW_READY, WINDOW_SENDING };

/* A run of whole sum chunks in a slot, and which of its bytes are to be sent. */
struct path_window {
    struct path_send *send;
    struct disk_io io;
    struct slot *slot;     /* owned; NULL: none */
    struct read_span span; /* cut down to the window; its sums are those below: the plan goes on */
    uint64_t sums[PATH_WINDOW_CHUNKS];
    uint32_t checked_size; /* whole chunks, from the slot's start */
    uint32_t from, size;   /* to be sent */
    uint8_t state;         /* enum path_window_state */
    uint8_t attempts, repairs;
    struct group_repair repair; /* of one of its chunks, while READING */
    enum err damage;            /* what it is repaired for */
};

/*
 * Bytes of a slot that the kernel was given to send from: the slot is not put back before it has
 * let go of all of them. They outlive the path, so the response ends when the last is back.
 */
#define PATH_FLIGHTS_MAX 8u /* a socket takes a window in a few pieces; then the path waits */
struct path_flight {
    struct path_send *send;
    struct ring_zero_copy op;
    struct slot *slot; /* owned by all flights out of it, and the window; NULL: not in use */
    uint32_t count;    /* bytes the socket took */
};

struct verified;
struct pipes;
struct pipe;
struct path_send {
    /* set by the engine */
    const struct path *path;
    struct loop *loop;         /* borrowed */
    struct group *group;       /* borrowed */
    struct verified *verified; /* borrowed: the worker's */
    struct pipes *pipes;       /* borrowed: the worker's */
    int fd;                    /* the socket */
    /* Borrowed: makes records of what is sent; NULL: the socket takes it as it is. */
    struct tls *tls;
    bool is_hot;
    struct path_policy policy;
    struct path_facts facts;     /* those it was begun with */
    bool tries_zero_copy;        /* what leaves out of slots is sent so, while there are enough */
    bool flies;                  /* the window that is sent is; what came of it is told later */
    struct path_flight *flights; /* PATH_FLIGHTS_MAX, not in use; borrowed */
    struct bytes head;           /* what is left of it */
    uint32_t head_room;     /* bytes of memory behind the head that a short body may be put into */
    struct bytes body;      /* memory to be sent after it: a text, or bytes of an inline object */
    struct read_plan *plan; /* borrowed; NULL: `body` is all */
    struct group_ask *ask;  /* borrowed, free to use */

    /* the paths' */
    bool is_cancelled;
    bool has_sent; /* something has gone out: too late for another answer */
    bool is_loading, is_in_line;
    uint8_t denied;       /* enum path_obstacle: why a required path was not to be had */
    enum err err;         /* why it ends early */
    uint64_t span_left;   /* inline: bytes of the plan's span in `body` */
    uint64_t promoted_to; /* cached: object offset up to which a promotion was tried */
    uint64_t judged_to; /* cached: object offset up to which it is decided to check again or not */
    uint32_t extents;   /* touched so far */
    uint32_t extent_segment, extent_unit;   /* the last of them */
    void (*next)(struct path_send *send);   /* when head and body are sent */
    void (*loaded)(struct path_send *send); /* when the plan is */
    void (*go)(struct path_send *send);     /* cached: when it can go on */
    struct ring_op op;
    struct iovec iov[2];
    struct msghdr msg;
    uint32_t records_count; /* bytes that have left in records, to be told in the next turn */
    enum err records_err;
    struct ring_splice splice;
    struct pipe *pipe; /* splice: owned */
    void *map;         /* mmap: owned */
    size_t map_size;
    struct arena_waiter waiter;
    uint8_t to_read, to_send; /* slots: index of the next window */
    struct path_window windows[2];
    uint8_t flights_out; /* not back yet */
    bool wants_flight;   /* path__flight_send() waits for one */
    struct slot *flight_slot;
    void (*flight_back)(struct path_send *send); /* set by who waits for a slot; called once */
};

/* What the path tells the engine. path_done() comes once; the path touches `send` no more. */
void path_done(struct path_send *send, enum err e);
/* `size` bytes more have left, head included. False: the client is too slow, give up. */
bool path_progress(struct path_send *send, uint64_t size);
/* Another path goes on from here; OBSTACLE_NONE: as it should be. Ends the response instead when it
 * requires otherwise. */
void path_hand_over(struct path_send *send, const struct path *to, enum path_obstacle why);
/* The kernel has let go of `size` bytes of a zero-copy send, and tells what it did. */
void path_zero_copied(struct path_send *send, enum ring_usage told, uint64_t size);
void path_flights_are_back(struct path_send *send); /* and nobody else waits for that */
/* The arena has no slot now: a deadline runs until path_admitted(). */
void path_waits_for_slot(struct path_send *send);
void path_admitted(struct path_send *send);

/* ---- shared by the paths: path_send.c ---- */
/* Sends head and body, then calls next(), with send->err set when it failed. */
void path__send(struct path_send *send, void (*next)(struct path_send *send));
/* Brings in what the plan's next span needs, then calls next(), likewise. The plan must not be
 * asked for a span meanwhile. */
void path__load(struct path_send *send, void (*next)(struct path_send *send));
/* Cuts a window of at most the slot's size from the span's start: fills in all but slot and io.
 * Pure. */
void path__window_cut(struct path_window *window, const struct read_span *span, uint32_t slot_size);
/* Judges what was read into the window's slot. ERR_CORRUPT, ERR_IO when bytes are missing. */
enum err path__window_check(const struct path_window *window, enum err e, uint32_t count) MUST_USE;
uint32_t path__window_read_size(const struct path_window *window); /* whole units */
enum slot_size path__slot_size(const struct path_send *send, uint64_t bytes);
/* Says which bytes of the disk are bad, once they are known to be. */
void path__log_corrupt(const struct path_window *window);
/* Counts the extent the span lies in, when it is another than before. */
void path__count_extent(struct path_send *send, const struct read_span *span);

/* ---- paths out of the page cache: path_cached.c ---- */
/* Whether the window's bytes may be sent out of the page cache right now: checked, and resident. */
bool path__may_send_cached(const struct path_send *send, const struct read_span *window);
/* Remembers that the window was read through the cache and equalled its sums. */
void path__remember_checked(struct path_send *send, const struct path_window *window);
/*
 * Makes windows[0] the next one that may be sent now, of at most `size_max` bytes. False: go() is
 * called when it is to be tried again, or the response has ended or been handed over.
 */
bool path__cached_window(struct path_send *send, uint32_t size_max,
                         void (*go)(struct path_send *send));
/* Puts the head into the socket, which holds it back until the body's first bytes join it. False:
 * go() is called, or the response has ended. */
bool path__cached_head(struct path_send *send, void (*go)(struct path_send *send));
/* Calls go() when the socket takes more. */
void path__wait_writable(struct path_send *send, void (*go)(struct path_send *send));

/* ---- zero-copy sends out of slots: path_flight.c ---- */
/* As path__send(): head by a copy, then the body, which lies in `slot`. */
void path__flight_send(struct path_send *send, struct slot *slot,
                       void (*next)(struct path_send *send));
bool path__is_in_flight(const struct path_send *send, const struct slot *slot);
/* Whether so many slots are in use that none should wait for a reader's acknowledgement. */
bool path__slots_are_scarce(const struct path_send *send, enum slot_size size);
uint32_t path__flight_slots(const struct path_send *send); /* how many lie in the kernel's hands */
/* Resets the connection, so that what the peer does not acknowledge comes back all the same. */
void path__flights_abort(struct path_send *send);

/* ---- paths out of slots: path_slots.c ---- */
void path__slots_start(struct path_send *send);
void path__slots_cancel(struct path_send *send);

#endif
