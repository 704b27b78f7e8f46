/*
 * Bodies on this node that no record has named yet, by the id of their data: arriving from a peer
 * in chunks, or complete, be they from a peer or from a gateway of this node.
 *
 *     chunk of a peer --> ARRIVING --last chunk on the disk--> COMPLETE --incoming_take()--> log
 *     incoming_put() of a local gateway --------------------------^
 *
 * A chunk is written to the disk straight from the landing slot; its sums, which the write computes
 * anyway, are compared with those in its head, and the slot goes back to the peer with what became
 * of it. Chunks of one body come in order from one peer: what came already is acknowledged again,
 * what is out of order is refused, and a chunk that fails fails the body. Data is immutable and its
 * id is unique, so a body that failed or was never sent is asked for (pull.h), from anybody; and so
 * is one whose sender gave it up in the middle, which then goes on with whoever sends what is next.
 *
 * Nothing here survives a restart. A body whose peer goes down before it is complete is dropped; so
 * is one that nothing happens to for INCOMING_IDLE_NS, since whoever would have named it gave up:
 * unless it is complete and is_named() says that somebody has, whose turn is yet to come.
 * Number and size of peers' bodies are bounded: what is beyond is refused with ERR_BUSY. A gateway
 * holds its bodies, and counts their memory, until it knows what became of them, or never will:
 * incoming_let_go() puts them among the peers'.
 *
 * Everything on one loop.
 */
#ifndef REPLICATION_INCOMING_H
#define REPLICATION_INCOMING_H

#include "replication/link.h"
#include "storage/body.h"
#include "storage/log.h"

#define INCOMING_IDLE_NS    (60 * NS_PER_SECOND)
#define INCOMING_STALLED_NS (5 * NS_PER_SECOND)
#define INCOMING_COUNT_MAX  2048u
#define INCOMING_BYTES_MAX  GIB(256) /* on the disk: fifty of the largest that one PUT may have */
#define INCOMING_BODY_BYTES KIB(20)  /* of memory, each, besides the sums of a long one */
#define INCOMING_MEMORY_BYTES                                                                      \
    (INCOMING_COUNT_MAX * INCOMING_BODY_BYTES + incoming_sums_bytes(INCOMING_BYTES_MAX))

/* Of the memory of a body of so many bytes: there may be room for twice as many sums. */
static inline uint64_t incoming_sums_bytes(uint64_t size)
{
    return 2 * sizeof(uint64_t) * (size / SUM_CHUNK_BYTES);
}

struct incoming;

enum incoming_state {
    INCOMING_NONE, /* nothing of it is here, or it failed: ask for it */
    INCOMING_ARRIVING,
    INCOMING_STALLED,  /* some is here, and nothing has come for INCOMING_STALLED_NS: ask for it */
    INCOMING_COMPLETE, /* to be taken */
};

struct incoming_options {
    struct loop *loop;     /* borrowed */
    struct volume *volume; /* borrowed */
    /* The landing slot may go back: link_chunk_done(). Also from inside incoming_chunk(). */
    void (*chunk_done)(void *context, struct link_token token, enum err e);
    /* Something is complete now, or is not coming any more. Not for what incoming_drop(),
     * incoming_put() or incoming_take() were called with. May be NULL. */
    void (*settled)(void *context, struct data_id id, enum incoming_state state);
    /* Whether who will take it is known: a record on its way to the log. May be NULL: nobody is. */
    bool (*is_named)(void *context, struct data_id id);
    void *context;
    uint32_t count_max; /* 0: INCOMING_COUNT_MAX */
    uint64_t bytes_max; /* 0: INCOMING_BYTES_MAX */
};

enum err incoming_open(const struct incoming_options *options,
                       struct incoming **ret_incoming) MUST_USE;
/* Drops what is there. incoming_is_idle() first; NULL does nothing. */
void incoming_close(struct incoming *incoming);
bool incoming_is_idle(const struct incoming *incoming); /* no landing slot is being written from */
/* Now and then: drops what is idle. */
void incoming_tick(struct incoming *incoming, uint64_t now_ns);

/* ---- what comes ---- */
/* A chunk as the link brought it; chunk_done() follows exactly once. */
void incoming_chunk(struct incoming *incoming, struct link *link,
                    const struct link_chunk_head *head, uint8_t *payload, struct link_token token);
/* Takes a body all of whose writes have ended, and holds it. ERR_NO_MEMORY: it is closed. */
enum err incoming_put(struct incoming *incoming, struct body *body) MUST_USE;
/* Nobody waits for a body that was put any more: if it is still here, and not too many others are,
 * it stays as long as one of a peer. None: does nothing. */
void incoming_let_go(struct incoming *incoming, struct data_id id);

/* ---- what is here ---- */
/*
 * `data` is what a record says, so it also tells where a body ends whose size nobody knew while it
 * was sent: that may make it complete (settled() follows). One of another size is dropped.
 */
enum incoming_state incoming_state(struct incoming *incoming, const struct log_data *data);
/* Of a COMPLETE one, which is the caller's from now on. */
struct body *incoming_take(struct incoming *incoming, struct data_id id);

/* ---- what will not be needed ---- */
void incoming_drop(struct incoming *incoming, struct data_id id); /* none: does nothing */
/* Nobody ever names it: nor does it begin to arrive, for its chunks may come behind who says so.
 * That is known of the last so many. */
#define INCOMING_DISOWNED_KNOWN 256u
void incoming_disown(struct incoming *incoming, struct data_id id);
void incoming_link_down(struct incoming *incoming, struct link *link);

struct incoming_counts {
    uint32_t arriving, complete; /* now */
    uint64_t bytes;              /* of these */
    uint64_t landed_bytes;       /* since open: written to the disk for peers */
    uint64_t refused_chunks;     /* since open, for whatever reason */
    uint64_t bad_sums;           /* of these: not the bytes that were sent */
    uint64_t dropped;            /* bodies nobody named */
};
void incoming_counts(const struct incoming *incoming, struct incoming_counts *ret_counts);

/* Another who wants to know what settles; the struct is the caller's and stays. */
struct incoming_watch {
    void (*settled)(struct incoming_watch *watch, struct data_id id, enum incoming_state state);
    struct list link;
};
void incoming_watch(struct incoming *incoming, struct incoming_watch *watch);

#endif
