/*
 * Data paths: how an object's bytes get from the disk to the socket. One path is one file behind
 * this interface; which one serves a response is decided by path_choose(), a pure function of
 * facts, so that it can be tested as a table and explained to a user.
 *
 *   inline    bytes in memory (of the index record), with the head in one send
 *   sendfile  page cache -> socket, nothing copied; for what is resident and verified
 *   direct    O_DIRECT read into arena slots, each 64 KiB checked before its first byte leaves
 *
 * A path that cannot go on as it is (sendfile meets pages that are gone) hands over to another in
 * mid-response; this is counted.
 */
#ifndef API_HTTP_PATH_H
#define API_HTTP_PATH_H

#include "api/http/tls.h"
#include "base/loop.h"
#include "replication/group.h"

struct path_send;

struct path {
    const char *name; /* as in x-sluice-path */
    unsigned copies;  /* copies of the body by the CPU in user space */
    /* Sends send->head (if any is left) and the plan to its end; then path_done(). Asynchronous. */
    void (*start)(struct path_send *send);
    /* The connection is to be given up: end soon, through path_done(). */
    void (*cancel)(struct path_send *send);
};

extern const struct path path_inline, path_sendfile, path_direct;

struct path_facts {
    uint64_t size;
    bool is_inline;
    bool is_resident; /* wholly in the page cache, put there by a verified read */
    bool has_fd;      /* sendfile is possible */
    bool is_hot;      /* worth bringing into the page cache */
};
const struct path *path_choose(const struct path_facts *facts);

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
    uint8_t attempts;
};

struct verified;
struct path_send {
    /* set by the engine */
    const struct path *path;
    struct loop *loop;         /* borrowed */
    struct group *group;       /* borrowed */
    struct verified *verified; /* borrowed: the worker's */
    int fd;                    /* the socket */
    struct tls
        *tls; /* borrowed: makes records of what is sent; NULL: the socket takes it as it is */
    bool is_hot;
    struct bytes head;      /* what is left of it */
    struct bytes body;      /* memory to be sent after it: a text, or bytes of an inline object */
    struct read_plan *plan; /* borrowed; NULL: `body` is all */
    struct group_ask *ask;  /* borrowed, free to use */

    /* the paths' */
    bool is_cancelled;
    bool has_sent; /* something has gone out: too late for another answer */
    bool is_loading, is_in_line;
    enum err err;         /* why it ends early */
    uint64_t span_left;   /* inline: bytes of the plan's span in `body` */
    uint64_t promoted_to; /* sendfile: object offset up to which a promotion was tried */
    void (*next)(struct path_send *send);   /* when head and body are sent */
    void (*loaded)(struct path_send *send); /* when the plan is */
    struct ring_op op;
    struct iovec iov[2];
    struct msghdr msg;
    uint32_t records_count; /* bytes that have left in records, to be told in the next turn */
    enum err records_err;
    struct arena_waiter waiter;
    uint8_t to_read, to_send; /* direct: index of the next window */
    struct path_window windows[2];
};

/* What the path tells the engine. path_done() comes once; the path touches `send` no more. */
void path_done(struct path_send *send, enum err e);
/* `size` bytes more have left, head included. False: the client is too slow, give up. */
bool path_progress(struct path_send *send, uint64_t size);
/* Another path goes on from here. */
void path_hand_over(struct path_send *send, const struct path *to);
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
/* Whether sendfile may send the window's bytes right now: checked, and resident. */
bool path__may_sendfile(const struct path_send *send, const struct read_span *window);
/* Says which bytes of the disk are bad, once they are known to be. */
void path__log_corrupt(const struct path_window *window);

#endif
