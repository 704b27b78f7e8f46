/*
 * What ring.c shares with its two backends. ring.c fills in the operation and keeps the books
 * (magic, how many are pending); a backend queues it, and ends it with ring__end(). A backend
 * embeds struct ring as its first member.
 */
#ifndef BASE_RING_PRIV_H
#define BASE_RING_PRIV_H

#include "base/ring.h"

enum ring_kind {
    RING_ACCEPT = 1,
    RING_RECV,
    RING_RECV_LATER,
    RING_RECVMSG,
    RING_SEND,
    RING_SENDMSG,
    RING_POLL,
    RING_READ,
    RING_WRITE,
    RING_SPLICE,
    RING_ZERO_COPY, /* ends with released(); see ring__sent() */
};

struct ring_backend_ops {
    enum ring_backend backend;
    void (*submit)(struct ring *ring, struct ring_op *op);
    void (*cancel)(struct ring *ring, struct ring_op *op);
    void (*flush)(struct ring *ring);
    uint32_t (*wait)(struct ring *ring, uint64_t timeout_ns);
    void (*close)(struct ring *ring);
};

struct ring {
    const struct ring_backend_ops *ops;
    uint32_t pending; /* operations submitted and not ended */
    uint64_t spin_ns; /* io_uring: to look for results before sleeping */
    bool spin_was_preempted;
    long preemptions; /* of this thread, when last asked */
    bool is_waiting;  /* inside ring_wait() */
    bool has_fixed_buffers;
    bool has_splice;
    bool has_zero_copy, tells_usage;
    /* Called in ring_wait() when the waiting is over and before callbacks run; the loop takes the
     * time there. NULL: nobody. */
    void (*woken)(void *context);
    void *woken_context;
    char reason[320];
    char fixed_reason[320];
};

/* `reason` gets a sentence when the kernel does not let us. */
enum err ring__uring_open(const struct ring_options *options, struct ring **ret_ring, char *reason,
                          size_t reason_size) MUST_USE;
enum err ring__poll_open(const struct ring_options *options, struct ring **ret_ring) MUST_USE;

/* Hands a finished operation back. The callback may free it or submit it again. */
static inline void ring__end(struct ring *ring, struct ring_op *op, enum err e, uint32_t count)
{
    CHECK_MAGIC(op, RING_OP_MAGIC);
    CHECK(ring->pending > 0);
    ring->pending--;
    op->magic = 0;
    op->done(op, e, count);
}

/* The first of the two things a zero-copy send tells; the second is its ring__end(), whose count is
 * the enum ring_usage. One that ends without the first was never tried. */
static inline void ring__sent(struct ring_op *op, enum err e, uint32_t count)
{
    struct ring_zero_copy *send = CONTAINER_OF(op, struct ring_zero_copy, op);
    CHECK_MAGIC(op, RING_OP_MAGIC);
    CHECK(op->kind == RING_ZERO_COPY && !send->is_sent);
    send->is_sent = true;
    send->sent(send, e, count);
}

static inline void ring__tell_woken(struct ring *ring)
{
    if (ring->woken)
        ring->woken(ring->woken_context);
}

/*
 * Gives up an operation that is never to call back although it is pending, right before
 * ring_close(). Only for one that refers to no memory, a poll: the loop's own wake-up, which cannot
 * be cancelled once the loop's thread is gone.
 */
void ring__abandon(struct ring *ring, struct ring_op *op);

#endif
