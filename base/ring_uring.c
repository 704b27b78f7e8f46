#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/check.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/ring_priv.h"

/*
 * The io_uring backend.
 *
 * An operation has at most one entry in the kernel at a time, whose user_data is the operation; a
 * splice has two, linked, of which the first is tagged (FILL_TAG) and ends before the second; a
 * zero-copy send has one, which ends twice: with its result and with the notice that its memory is
 * free.
 * Entries of our own (cancellations) have user_data 0 and their results are dropped. What does not
 * fit into the submission queue, or comes before the ring is enabled, stands in `backlog` and goes
 * out at the next flush; so submitting never fails.
 *
 * The ring is created disabled and enabled by the first ring_wait(): SINGLE_ISSUER binds it to the
 * thread that enables it, which is the loop's own and often not the one that opened it.
 */

#define ENTRIES_DEFAULT 1024u
#define CQ_FACTOR       4u /* a burst of results before the kernel must keep an overflow list */
#define LOOK_LONG_NS    300000ull /* of spin(): others compute; the kernel's threads take less */
#define FILL_TAG        1u        /* in user_data, where an operation's address has a zero */
/* Kernel workers for what may block for ever, which here is splices alone: they copy nothing and
 * wait only for pages that went between the look at the cache and the splice. Unset, it is
 * RLIMIT_NPROC. */
#define WORKERS_UNBOUND_MAX 16u
#define BUFFER_BYTES_MAX    GIB(1) /* io_uring_register(2): the most one fixed buffer may have */
#define BUFFER_BITS         30
_Static_assert(BUFFER_BYTES_MAX == 1ull << BUFFER_BITS,
               "a buffer's index is the high part of the offset in the arena");

#ifndef IORING_SEND_ZC_REPORT_USAGE /* newer than liburing 2.3 */
#define IORING_SEND_ZC_REPORT_USAGE  (1u << 3)
#define IORING_NOTIF_USAGE_ZC_COPIED (1u << 31)
#endif
/* Linux 6.3. Usage is reported from 6.2 on, but no feature says so, and asking an older kernel for
 * it fails the send. */
#define FEAT_REG_REG_RING (1u << 13)

enum {
    OP_CANCELLED = 1,  /* ring_cancel() was called: a retry must not follow */
    OP_POLLING = 2,    /* its entry in the kernel is a poll that comes before itself */
    OP_ASYNC = 4,      /* tried inline and answered EAGAIN: hand it to a kernel worker */
    OP_BACKLOG = 8,    /* in ring->backlog, not in the kernel */
    OP_TO_CANCEL = 16, /* in ring->to_cancel: in the kernel, and the cancellation found no room */
    OP_DROPPED = 32,   /* in ring->dropped: cancelled before it reached the kernel */
    OP_DRY = 64,       /* a splice whose file gave nothing; flags says why */
    OP_SENT = 128,     /* a zero-copy send that has told its result */
    OP_AGAIN = 256,    /* a zero-copy send to be tried again, after the notice of the first try */
};

struct uring {
    struct ring ring; /* first: ring_priv.h */
    struct io_uring io;
    bool is_open; /* io is to be closed */
    bool is_enabled;
    bool polls_first;          /* the kernel knows IORING_RECVSEND_POLL_FIRST */
    const uint8_t *fixed_base; /* the registered arena; NULL: none */
    size_t fixed_size_bytes;
    struct list backlog;   /* of ring_op */
    struct list to_cancel; /* of ring_op */
    struct list dropped;   /* of ring_op */
};

static struct uring *uring_of(struct ring *ring)
{
    return CONTAINER_OF(ring, struct uring, ring);
}

/* ---- filling entries ---- */

/* Index of the fixed buffer that wholly holds the memory, or -1. */
static int fixed_index(const struct uring *uring, const void *data, uint32_t size)
{
    uintptr_t from = (uintptr_t)data - (uintptr_t)uring->fixed_base;
    if (uring->fixed_base == NULL || from >= uring->fixed_size_bytes ||
        size > uring->fixed_size_bytes - from || size == 0)
        return -1;
    size_t first = from >> BUFFER_BITS, last = (from + size - 1) >> BUFFER_BITS;
    return first == last ? (int)first : -1;
}

static uint32_t poll_events_for(const struct ring_op *op)
{
    switch ((enum ring_kind)op->kind) {
    case RING_ACCEPT:
    case RING_RECV:
    case RING_RECV_LATER:
    case RING_RECVMSG:
    case RING_READ:
        return POLLIN;
    case RING_SEND:
    case RING_SENDMSG:
    case RING_WRITE:
    case RING_SPLICE:
    case RING_ZERO_COPY:
        return POLLOUT;
    case RING_POLL:
        return (uint32_t)op->flags;
    }
    CHECK(!"a known kind");
    return 0;
}

static void prepare_file(const struct uring *uring, struct io_uring_sqe *sqe,
                         const struct ring_op *op)
{
    int index = fixed_index(uring, op->data, op->size);
    if (op->kind == RING_READ && index >= 0)
        io_uring_prep_read_fixed(sqe, op->fd, op->data, op->size, op->offset, index);
    else if (op->kind == RING_READ)
        io_uring_prep_read(sqe, op->fd, op->data, op->size, op->offset);
    else if (index >= 0)
        io_uring_prep_write_fixed(sqe, op->fd, op->data, op->size, op->offset, index);
    else
        io_uring_prep_write(sqe, op->fd, op->data, op->size, op->offset);
    if (op->state & OP_ASYNC)
        sqe->flags |= IOSQE_ASYNC;
}

static void prepare_fill(struct io_uring_sqe *sqe, struct ring_op *op)
{
    const struct ring_splice *splice = op->data;
    io_uring_prep_splice(sqe, splice->file_fd, (int64_t)splice->file_offset, splice->pipe_in, -1,
                         splice->fill, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    sqe->flags |= IOSQE_IO_LINK;
    io_uring_sqe_set_data64(sqe, (uintptr_t)op | FILL_TAG);
}

static void prepare_drain(struct io_uring_sqe *sqe, const struct ring_op *op)
{
    const struct ring_splice *splice = op->data;
    io_uring_prep_splice(sqe, splice->pipe_out, -1, splice->socket_fd, -1, splice->drain,
                         SPLICE_F_MOVE | SPLICE_F_NONBLOCK | (splice->more ? SPLICE_F_MORE : 0));
}

static void prepare_zero_copy(const struct uring *uring, struct io_uring_sqe *sqe,
                              const struct ring_op *op)
{
    unsigned flags = uring->ring.tells_usage ? IORING_SEND_ZC_REPORT_USAGE : 0;
    int index = fixed_index(uring, op->data, op->size);
    if (index >= 0)
        flags |= IORING_RECVSEND_FIXED_BUF;
    io_uring_prep_send_zc(sqe, op->fd, op->data, op->size, op->flags, flags);
    sqe->buf_index = index >= 0 ? (uint16_t)index : 0;
}

static void prepare(const struct uring *uring, struct io_uring_sqe *sqe, struct ring_op *op)
{
    if (op->state & OP_POLLING) {
        io_uring_prep_poll_add(sqe, op->fd, poll_events_for(op));
        io_uring_sqe_set_data(sqe, op);
        return;
    }
    switch ((enum ring_kind)op->kind) {
    case RING_ACCEPT:
        io_uring_prep_accept(sqe, op->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        break;
    case RING_RECV:
        io_uring_prep_recv(sqe, op->fd, op->data, op->size, op->flags);
        break;
    case RING_RECV_LATER:
        io_uring_prep_recv(sqe, op->fd, op->data, op->size, op->flags);
        if (uring->polls_first)
            sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
        break;
    case RING_RECVMSG:
        io_uring_prep_recvmsg(sqe, op->fd, op->data, (unsigned)op->flags);
        break;
    case RING_SEND:
        io_uring_prep_send(sqe, op->fd, op->data, op->size, op->flags);
        break;
    case RING_SENDMSG:
        io_uring_prep_sendmsg(sqe, op->fd, op->data, (unsigned)op->flags);
        break;
    case RING_POLL:
        io_uring_prep_poll_add(sqe, op->fd, poll_events_for(op));
        break;
    case RING_READ:
    case RING_WRITE:
        prepare_file(uring, sqe, op);
        break;
    case RING_SPLICE:
        prepare_drain(sqe, op);
        break;
    case RING_ZERO_COPY:
        prepare_zero_copy(uring, sqe, op);
        break;
    }
    io_uring_sqe_set_data(sqe, op);
}

/* A free entry, made by submitting when there is none. NULL: not now (not enabled yet, or the
 * kernel has no room for results). */
static struct io_uring_sqe *take_entry(struct uring *uring)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->io);
    if (sqe == NULL && uring->is_enabled && io_uring_submit(&uring->io) > 0)
        sqe = io_uring_get_sqe(&uring->io);
    return sqe;
}

static bool has_fill(const struct ring_op *op)
{
    return op->kind == RING_SPLICE && !(op->state & OP_POLLING) &&
           ((const struct ring_splice *)op->data)->fill > 0;
}

static bool try_queue(struct uring *uring, struct ring_op *op)
{
    /* A link ends where a submission does, so both entries are there before the first is filled. */
    bool is_linked = has_fill(op);
    if (is_linked && io_uring_sq_space_left(&uring->io) < 2 &&
        (!uring->is_enabled || io_uring_submit(&uring->io) <= 0 ||
         io_uring_sq_space_left(&uring->io) < 2))
        return false;
    struct io_uring_sqe *sqe = take_entry(uring);
    if (sqe == NULL)
        return false;
    if (is_linked) {
        prepare_fill(sqe, op);
        sqe = io_uring_get_sqe(&uring->io);
        CHECK(sqe != NULL);
    }
    prepare(uring, sqe, op);
    return true;
}

static void queue(struct uring *uring, struct ring_op *op)
{
    /* Behind those that wait already, or they might wait for ever. */
    if (list_is_empty(&uring->backlog) && try_queue(uring, op))
        return;
    op->state |= OP_BACKLOG;
    list_push_back(&uring->backlog, &op->link);
}

static bool try_queue_cancel(struct uring *uring, struct ring_op *op)
{
    struct io_uring_sqe *sqe = take_entry(uring);
    if (sqe == NULL)
        return false;
    io_uring_prep_cancel(sqe, op, 0);
    io_uring_sqe_set_data(sqe, NULL);
    return true;
}

static void queue_waiting(struct uring *uring)
{
    LIST_EACH (&uring->to_cancel, node) {
        struct ring_op *op = LIST_ENTRY(node, struct ring_op, link);
        if (!try_queue_cancel(uring, op))
            return;
        list_remove(node);
        op->state &= (uint16_t)~OP_TO_CANCEL;
    }
    LIST_EACH (&uring->backlog, node) {
        struct ring_op *op = LIST_ENTRY(node, struct ring_op, link);
        if (!try_queue(uring, op))
            return;
        list_remove(node);
        op->state &= (uint16_t)~OP_BACKLOG;
    }
}

static void uring_submit(struct ring *ring, struct ring_op *op)
{
    queue(uring_of(ring), op);
}

static void uring_cancel(struct ring *ring, struct ring_op *op)
{
    struct uring *uring = uring_of(ring);
    if (op->state & (OP_CANCELLED | OP_SENT)) /* nothing ends the wait for a notice */
        return;
    op->state |= OP_CANCELLED;
    if (op->state & OP_BACKLOG) {
        list_remove(&op->link);
        op->state = (uint16_t)((op->state & ~OP_BACKLOG) | OP_DROPPED);
        list_push_back(&uring->dropped, &op->link);
    } else if (!try_queue_cancel(uring, op)) {
        op->state |= OP_TO_CANCEL;
        list_push_back(&uring->to_cancel, &op->link);
    }
}

static void uring_flush(struct ring *ring)
{
    struct uring *uring = uring_of(ring);
    if (!uring->is_enabled)
        return;
    queue_waiting(uring);
    /* What the kernel does not take now goes with the next ring_wait(). */
    if (io_uring_sq_ready(&uring->io) > 0)
        (void)io_uring_submit(&uring->io);
}

/* ---- results ---- */

/* The first of a splice's two results; the second follows in any case. */
static void fill_ended(struct ring_op *op, int result)
{
    struct ring_splice *splice = op->data;
    CHECK(op->kind == RING_SPLICE);
    if (result > 0) {
        splice->filled = (uint32_t)result;
        return;
    }
    op->state |= OP_DRY;
    op->flags = result == -EAGAIN ? -ENOBUFS : result; /* the pipe is full */
}

/* The kernel cancels the second half of a splice whose first fell short: it goes on with what there
 * is. */
static bool splice_goes_on(struct uring *uring, struct ring_op *op)
{
    struct ring_splice *splice = op->data;
    if (op->state & OP_DRY) {
        if (op->flags != -EINTR)
            return false;
        op->state &= (uint16_t)~OP_DRY;
        queue(uring, op);
        return true;
    }
    if (splice->fill == 0)
        return false;
    uint32_t missing = splice->fill - splice->filled;
    splice->fill = 0;
    splice->drain -= missing;
    if (missing > 0)
        queue(uring, op);
    return missing > 0;
}

/* Whether the result was not the operation's own end and it is on its way again. */
static bool goes_on(struct uring *uring, struct ring_op *op, int result)
{
    bool was_polling = op->state & OP_POLLING;
    if (op->state & OP_CANCELLED)
        return false;
    if (was_polling && result >= 0) {
        op->state &= (uint16_t)~OP_POLLING;
        queue(uring, op);
        return true;
    }
    if (op->kind == RING_SPLICE && !was_polling && splice_goes_on(uring, op))
        return true;
    if (op->state & OP_DRY)
        return false;
    if (result == -EINTR) {
        queue(uring, op);
        return true;
    }
    if (result == -EAGAIN) {
        /* The kernel waits by itself in most cases; not on O_NONBLOCK pipes, nor where an old
         * kernel takes O_NONBLOCK of a socket for "do not wait". A regular file is always ready,
         * and the second try is a worker's, who may block. */
        op->state |= OP_POLLING | OP_ASYNC;
        queue(uring, op);
        return true;
    }
    return false;
}

/* The result as it is told: ERR_OK and a count, or an error. */
static enum err told(const struct ring_op *op, int result, uint32_t *ret_count)
{
    bool was_polling = op->state & OP_POLLING;
    if (op->state & OP_DRY)
        result = op->flags;
    if (result == -EAGAIN || result == -EINTR || (was_polling && result >= 0))
        result = -ECANCELED; /* what would have been tried again, had it not been cancelled */
    *ret_count = result < 0 ? 0 : (uint32_t)result;
    return result < 0 ? err_from_errno(-result) : ERR_OK;
}

static void forget_cancel(struct ring_op *op)
{
    if (op->state & OP_TO_CANCEL)
        list_remove(&op->link);
    op->state &= (uint16_t)~OP_TO_CANCEL;
}

static void end(struct uring *uring, struct ring_op *op, int result)
{
    uint32_t count;
    forget_cancel(op);
    enum err e = told(op, result, &count);
    if (op->kind == RING_SPLICE)
        ((struct ring_splice *)op->data)->drained = count;
    ring__end(&uring->ring, op, e, count);
}

/* ---- zero-copy sends ---- */

static enum ring_usage usage_of(const struct uring *uring, uint32_t notice)
{
    if (!uring->ring.tells_usage)
        return RING_USAGE_UNKNOWN;
    return notice & IORING_NOTIF_USAGE_ZC_COPIED ? RING_USAGE_COPIED : RING_USAGE_ZERO_COPY;
}

/*
 * A try that failed may have a notice, too (IORING_CQE_F_MORE says so), and it would pass for the
 * next try's: so that waits for it. Returns how many callbacks ran.
 */
static uint32_t zero_copy_ended(struct uring *uring, struct ring_op *op, int result, uint32_t flags)
{
    bool has_notice = flags & IORING_CQE_F_MORE;
    bool may_try_again = result == -EAGAIN || result == -EINTR;
    if (flags & IORING_CQE_F_NOTIF) {
        if (!(op->state & OP_AGAIN)) {
            ring__end(&uring->ring, op, ERR_OK, usage_of(uring, (uint32_t)result));
            return 1;
        }
        op->state &= (uint16_t)~OP_AGAIN;
        result = -EAGAIN;
    } else if (may_try_again && has_notice) {
        op->state |= OP_AGAIN;
        return 0;
    }
    if (goes_on(uring, op, result))
        return 0;
    uint32_t count;
    enum err e = told(op, result, &count);
    forget_cancel(op);
    op->state |= OP_SENT;
    ring__sent(op, e, count);
    if (has_notice)
        return 1;
    ring__end(&uring->ring, op, ERR_OK, RING_USAGE_UNKNOWN);
    return 2;
}

/* Results there are now; what callbacks cause waits for the next turn, so that timers and messages
 * get theirs. */
static uint32_t reap(struct uring *uring)
{
    uint32_t ran = 0;
    for (unsigned left = io_uring_cq_ready(&uring->io); left > 0; left--) {
        struct io_uring_cqe *cqe;
        if (io_uring_peek_cqe(&uring->io, &cqe) != 0)
            break;
        uint64_t tagged = io_uring_cqe_get_data64(cqe);
        struct ring_op *op = (struct ring_op *)(uintptr_t)(tagged & ~(uint64_t)FILL_TAG);
        int result = cqe->res;
        uint32_t flags = cqe->flags;
        io_uring_cqe_seen(&uring->io, cqe);
        if (op == NULL)
            continue;
        CHECK_MAGIC(op, RING_OP_MAGIC);
        if (tagged & FILL_TAG) {
            fill_ended(op, result);
            continue;
        }
        if (op->kind == RING_ZERO_COPY) {
            ran += zero_copy_ended(uring, op, result, flags);
            continue;
        }
        if (goes_on(uring, op, result))
            continue;
        end(uring, op, result);
        ran++;
    }
    return ran;
}

static uint32_t end_dropped(struct uring *uring)
{
    uint32_t ran = 0;
    struct list now;
    list_init(&now);
    list_splice_back(&now, &uring->dropped);
    for (struct list *node; (node = list_pop_front(&now)) != NULL; ran++)
        ring__end(&uring->ring, LIST_ENTRY(node, struct ring_op, link), ERR_CANCELLED, 0);
    return ran;
}

/* ETIME, EINTR: nothing came. EAGAIN, EBUSY: the kernel wants its results taken first, and they
 * will be. Anything else means that operations are lost (EBADR) or that a second thread uses the
 * ring (EEXIST). */
static void check_entered(int result)
{
    CHECK(result >= 0 || result == -ETIME || result == -EINTR || result == -EAGAIN ||
          result == -EBUSY);
}

/* A look that took so long did much, or the thread lost its CPU in it: the kernel knows which. */
static void look_was_long(struct uring *uring)
{
    struct rusage usage;
    CHECK(getrusage(RUSAGE_THREAD, &usage) == 0);
    uring->ring.spin_was_preempted |= usage.ru_nivcsw != uring->ring.preemptions;
    uring->ring.preemptions = usage.ru_nivcsw;
}

/*
 * Awake for a while, because waking up would take longer than what is awaited. Not by
 * sched_yield(): whoever yields waits behind all that compute for milliseconds, and who sleeps does
 * not.
 */
static void spin(struct uring *uring, uint64_t spin_ns)
{
    uint64_t now_ns = clock_mono_ns(clock_system()), until_ns = now_ns + spin_ns, last_ns;
    do {
        check_entered(io_uring_submit_and_get_events(&uring->io));
        last_ns = now_ns;
        now_ns = clock_mono_ns(clock_system());
        if (now_ns - last_ns > LOOK_LONG_NS)
            look_was_long(uring);
    } while (io_uring_cq_ready(&uring->io) == 0 && now_ns < until_ns);
}

/* Submits and waits with one system call; with none when results are there and nothing is to be
 * submitted. */
static void enter(struct uring *uring, uint64_t timeout_ns)
{
    struct __kernel_timespec timeout = {
        .tv_sec = (int64_t)(timeout_ns / NS_PER_SECOND),
        .tv_nsec = (long long)(timeout_ns % NS_PER_SECOND),
    };
    struct __kernel_timespec *limit = timeout_ns == UINT64_MAX ? NULL : &timeout;
    if (uring->ring.spin_ns > 0 && timeout_ns > uring->ring.spin_ns &&
        io_uring_cq_ready(&uring->io) == 0)
        spin(uring, uring->ring.spin_ns);
    if (timeout_ns == 0 || io_uring_cq_ready(&uring->io) > 0) {
        if (io_uring_sq_ready(&uring->io) == 0 && io_uring_cq_ready(&uring->io) > 0)
            return;
        check_entered(io_uring_submit_and_get_events(&uring->io));
    } else {
        struct io_uring_cqe *cqe;
        check_entered(io_uring_submit_and_wait_timeout(&uring->io, &cqe, 1, limit, NULL));
    }
}

/* By the system call itself: liburing 2.3 declares io_uring_enable_rings() and its shared library
 * does not export it. */
static void enable(struct uring *uring)
{
    CHECK(syscall(SYS_io_uring_register, uring->io.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL,
                  0) == 0);
    uring->is_enabled = true;
}

static uint32_t uring_wait(struct ring *ring, uint64_t timeout_ns)
{
    struct uring *uring = uring_of(ring);
    if (!uring->is_enabled)
        enable(uring);
    queue_waiting(uring);
    bool is_stuck = !list_is_empty(&uring->backlog) || !list_is_empty(&uring->to_cancel) ||
                    !list_is_empty(&uring->dropped);
    enter(uring, is_stuck ? 0 : timeout_ns);
    ring__tell_woken(ring);
    uint32_t ran = end_dropped(uring);
    return ran + reap(uring);
}

/* ---- opening ---- */

static void uring_close(struct ring *ring)
{
    struct uring *uring = uring_of(ring);
    if (uring->is_open)
        io_uring_queue_exit(&uring->io);
    free(uring);
}

static void uring_close__scope(struct uring **uring)
{
    if (*uring)
        uring_close(&(*uring)->ring);
}

static const struct ring_backend_ops uring_ops = {
    .backend = RING_BACKEND_URING,
    .submit = uring_submit,
    .cancel = uring_cancel,
    .flush = uring_flush,
    .wait = uring_wait,
    .close = uring_close,
};

static void explain_setup(int errnum, char *reason, size_t size)
{
    switch (errnum) {
    case EPERM:
    case EACCES:
        snprintf(reason, size,
                 "io_uring_setup: not permitted: allow io_uring_setup, io_uring_enter and "
                 "io_uring_register in the seccomp profile (containers: --security-opt "
                 "seccomp=...), or set sysctl kernel.io_uring_disabled=0");
        break;
    case ENOSYS:
        snprintf(reason, size,
                 "io_uring_setup: this kernel has none, or a seccomp profile hides it: allow "
                 "io_uring_* or use Linux 5.11 or newer");
        break;
    case ENOMEM:
        snprintf(reason, size,
                 "io_uring_setup: over the limit of locked memory: raise it (systemd "
                 "LimitMEMLOCK=infinity, docker --ulimit memlock=-1)");
        break;
    default:
        snprintf(reason, size, "io_uring_setup: %s",
                 strerrordesc_np(errnum) ? strerrordesc_np(errnum) : "unknown error");
    }
}

/* Best first: each row leaves out what an older kernel answers with EINVAL. */
static const unsigned setup_flags[] = {
    /* Linux 6.1 */
    IORING_SETUP_R_DISABLED | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER |
        IORING_SETUP_DEFER_TASKRUN,
    /* 6.0 */
    IORING_SETUP_R_DISABLED | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER |
        IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
    /* 5.19 */
    IORING_SETUP_R_DISABLED | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN |
        IORING_SETUP_TASKRUN_FLAG,
    /* 5.10 */
    IORING_SETUP_R_DISABLED,
};

static int set_up(struct uring *uring, unsigned entries)
{
    int result = -EINVAL;
    for (size_t i = 0; i < COUNT_OF(setup_flags) && result == -EINVAL; i++) {
        struct io_uring_params params = {
            .flags = setup_flags[i] | IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE,
            .cq_entries = entries * CQ_FACTOR,
        };
        result = io_uring_queue_init_params(entries, &uring->io, &params);
        uring->polls_first = params.flags & IORING_SETUP_COOP_TASKRUN ||
                             params.flags & IORING_SETUP_DEFER_TASKRUN; /* 5.19 has all three */
    }
    return result;
}

/* Whether the kernel has all we use; otherwise the sentence that says what is missing. */
static bool is_capable(struct uring *uring, char *reason, size_t size)
{
    static const uint8_t needed[] = {
        IORING_OP_ACCEPT,      IORING_OP_RECV,         IORING_OP_RECVMSG, IORING_OP_SEND,
        IORING_OP_SENDMSG,     IORING_OP_POLL_ADD,     IORING_OP_READ,    IORING_OP_READ_FIXED,
        IORING_OP_WRITE_FIXED, IORING_OP_ASYNC_CANCEL, IORING_OP_WRITE,
    };
    unsigned features = IORING_FEAT_EXT_ARG | IORING_FEAT_NODROP | IORING_FEAT_FAST_POLL |
                        IORING_FEAT_SUBMIT_STABLE;
    if ((uring->io.features & features) != features) {
        snprintf(reason, size,
                 "io_uring: this kernel's is too old (features 0x%x of 0x%x): use Linux 5.11",
                 uring->io.features & features, features);
        return false;
    }
    struct io_uring_probe *probe = io_uring_get_probe_ring(&uring->io);
    if (probe == NULL) {
        snprintf(reason, size,
                 "io_uring_register: cannot ask which operations there are: allow it in the "
                 "seccomp profile");
        return false;
    }
    bool all = true;
    for (size_t i = 0; i < COUNT_OF(needed) && all; i++) {
        all = io_uring_opcode_supported(probe, needed[i]);
        if (!all)
            snprintf(reason, size,
                     "io_uring: this kernel lacks operation %u: use Linux 5.11 or newer",
                     needed[i]);
    }
    uring->ring.has_splice = io_uring_opcode_supported(probe, IORING_OP_SPLICE);
    uring->ring.has_zero_copy = io_uring_opcode_supported(probe, IORING_OP_SEND_ZC);
    uring->ring.tells_usage = uring->ring.has_zero_copy && uring->io.features & FEAT_REG_REG_RING;
    io_uring_free_probe(probe);
    return all;
}

static void explain_register(struct uring *uring, int errnum, size_t arena_bytes)
{
    char *reason = uring->ring.fixed_reason;
    size_t size = sizeof uring->ring.fixed_reason;
    struct rlimit limit = {0};
    if (errnum != ENOMEM || getrlimit(RLIMIT_MEMLOCK, &limit) != 0) {
        const char *text = strerrordesc_np(errnum);
        snprintf(reason, size, "io_uring_register_buffers: %s", text ? text : "unknown error");
        return;
    }
    snprintf(reason, size,
             "io_uring_register_buffers: %zu MiB are over the limit of locked memory, %llu KiB: "
             "raise it (systemd LimitMEMLOCK=infinity, docker --ulimit memlock=-1, ulimit -l) or "
             "grant CAP_IPC_LOCK",
             arena_bytes >> 20, (unsigned long long)(limit.rlim_cur >> 10));
}

/* Without fixed buffers everything works, a little slower: so this cannot fail, only tell. */
static void register_arena(struct uring *uring, const struct arena *arena)
{
    size_t size = arena_size_bytes(arena);
    size_t count = (size + BUFFER_BYTES_MAX - 1) / BUFFER_BYTES_MAX;
    CLEANUP(free) struct iovec *pieces = calloc(count, sizeof *pieces);
    if (pieces == NULL) {
        explain_register(uring, ENOMEM, size);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        size_t from = i * BUFFER_BYTES_MAX, left = size - from;
        pieces[i].iov_base = arena_base(arena) + from;
        pieces[i].iov_len = left < BUFFER_BYTES_MAX ? left : BUFFER_BYTES_MAX;
    }
    int result = io_uring_register_buffers(&uring->io, pieces, (unsigned)count);
    if (result != 0) {
        explain_register(uring, -result, size);
        return;
    }
    uring->fixed_base = arena_base(arena);
    uring->fixed_size_bytes = size;
    uring->ring.has_fixed_buffers = true;
}

enum err ring__uring_open(const struct ring_options *options, struct ring **ret_ring, char *reason,
                          size_t reason_size)
{
    CLEANUP(uring_close) struct uring *uring = calloc(1, sizeof *uring);
    if (uring == NULL) {
        snprintf(reason, reason_size, "out of memory");
        return ERR_NO_MEMORY;
    }
    uring->ring.ops = &uring_ops;
    list_init(&uring->backlog);
    list_init(&uring->to_cancel);
    list_init(&uring->dropped);

    int result = set_up(uring, options->entries ? options->entries : ENTRIES_DEFAULT);
    if (result < 0) {
        explain_setup(-result, reason, reason_size);
        return err_from_errno(-result);
    }
    uring->is_open = true;
    if (!is_capable(uring, reason, reason_size))
        return ERR_UNSUPPORTED;
    /* Linux 5.15; an older one keeps its own limit. */
    (void)io_uring_register_iowq_max_workers(&uring->io, (unsigned[2]){0, WORKERS_UNBOUND_MAX});
    if (options->arena)
        register_arena(uring, options->arena);
    else
        snprintf(uring->ring.fixed_reason, sizeof uring->ring.fixed_reason,
                 "this ring has no arena");
    *ret_ring = &TAKE(uring)->ring;
    return ERR_OK;
}
