#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/check.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/ring_priv.h"

/*
 * The backend for kernels and containers without io_uring. An operation goes
 *
 *     submit -> fresh --tried in ring_wait()--> ended -> callback
 *                            |  would block       ^
 *                            v                    |
 *                     parked on its fd --ready----+
 *
 * Descriptors are armed one-shot: the kernel forgets them when closed and reused under the same
 * number without our being told, and arming anew at each parking is right in every case. Files
 * never park; their pread and pwrite run here and block the loop meanwhile, which is what this
 * backend costs.
 */

#define CHUNK_FDS  256u
#define FDS_MAX    (1u << 22) /* whatever RLIMIT_NOFILE says: 128 KiB of pointers to chunks */
#define EVENTS_MAX 256

enum op_place { OP_FRESH, OP_PARKED, OP_ENDED };

struct fd_slot {
    struct list parked; /* of ring_op, in order of submission */
};
struct fd_chunk {
    struct fd_slot slots[CHUNK_FDS];
};

struct poll_ring {
    struct ring ring; /* first: ring_priv.h */
    int epoll_fd;     /* owned */
    struct list fresh;
    struct list ended; /* state OP_ENDED, result in flags (enum err) and size (count) */
    uint32_t chunk_count;
    struct fd_chunk *chunks[]; /* owned; made when first parked on */
};

static struct poll_ring *poll_ring_of(struct ring *ring)
{
    return CONTAINER_OF(ring, struct poll_ring, ring);
}

static struct ring_op *op_of(struct list *node)
{
    return LIST_ENTRY(node, struct ring_op, link);
}

static void finish(struct poll_ring *poll_ring, struct ring_op *op, enum err e, uint32_t count)
{
    op->state = OP_ENDED;
    op->flags = (int)e;
    op->size = count;
    list_push_back(&poll_ring->ended, &op->link);
}

/* ---- trying ---- */

static uint32_t events_for(const struct ring_op *op)
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

/* Events that are there now, or -1 with errno EAGAIN. */
static ssize_t ready_events(const struct ring_op *op)
{
    struct pollfd entry = {.fd = op->fd, .events = (short)events_for(op)};
    int count = poll(&entry, 1, 0);
    if (count == 0)
        errno = EAGAIN;
    return count > 0 ? entry.revents : -1;
}

/* What is no file with positions (a pipe, an eventfd) may be in blocking mode, and must not block
 * the loop. */
static ssize_t try_stream(const struct ring_op *op)
{
    if (ready_events(op) < 0) {
        /* The wrong end of a pipe is never ready and would wait for ever; io_uring says EBADF. */
        int mode = fcntl(op->fd, F_GETFL) & O_ACCMODE;
        errno = mode == (op->kind == RING_READ ? O_WRONLY : O_RDONLY) ? EBADF : EAGAIN;
        return -1;
    }
    return op->kind == RING_READ ? read(op->fd, op->data, op->size)
                                 : write(op->fd, op->data, op->size);
}

static ssize_t try_file(const struct ring_op *op)
{
    ssize_t moved = op->kind == RING_READ ? pread(op->fd, op->data, op->size, (off_t)op->offset)
                                          : pwrite(op->fd, op->data, op->size, (off_t)op->offset);
    return moved < 0 && errno == ESPIPE ? try_stream(op) : moved;
}

static ssize_t try_once(const struct ring_op *op)
{
    switch ((enum ring_kind)op->kind) {
    case RING_ACCEPT: {
        ssize_t ready = ready_events(op); /* the listener may be a blocking one */
        return ready < 0 ? ready : accept4(op->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    }
    case RING_RECV:
    case RING_RECV_LATER:
        return recv(op->fd, op->data, op->size, op->flags | MSG_DONTWAIT);
    case RING_RECVMSG:
        return recvmsg(op->fd, op->data, op->flags | MSG_DONTWAIT);
    case RING_SEND:
        return send(op->fd, op->data, op->size, op->flags | MSG_DONTWAIT);
    case RING_SENDMSG:
        return sendmsg(op->fd, op->data, op->flags | MSG_DONTWAIT);
    case RING_POLL:
        return ready_events(op);
    case RING_READ:
    case RING_WRITE:
        return try_file(op);
    case RING_SPLICE:
    case RING_ZERO_COPY:
        break; /* not offered */
    }
    CHECK(!"a known kind");
    return -1;
}

/* False: it would block. */
static bool try_op(struct poll_ring *poll_ring, struct ring_op *op)
{
    ssize_t result;
    do
        result = try_once(op);
    while (result < 0 && errno == EINTR);
    if (result < 0 && errno == EAGAIN)
        return false;
    list_remove(&op->link);
    if (result < 0)
        finish(poll_ring, op, err_from_errno(errno), 0);
    else
        finish(poll_ring, op, ERR_OK, (uint32_t)result);
    return true;
}

/* ---- parking ---- */

static struct fd_slot *slot_of(struct poll_ring *poll_ring, int fd)
{
    uint32_t chunk = (uint32_t)fd / CHUNK_FDS;
    if (chunk >= poll_ring->chunk_count || poll_ring->chunks[chunk] == NULL)
        return NULL;
    return &poll_ring->chunks[chunk]->slots[(uint32_t)fd % CHUNK_FDS];
}

static struct fd_slot *make_slot(struct poll_ring *poll_ring, int fd)
{
    struct fd_slot *slot = slot_of(poll_ring, fd);
    uint32_t index = (uint32_t)fd / CHUNK_FDS;
    if (slot || index >= poll_ring->chunk_count)
        return slot;
    struct fd_chunk *chunk = malloc(sizeof *chunk);
    if (chunk == NULL)
        return NULL;
    for (uint32_t i = 0; i < CHUNK_FDS; i++)
        list_init(&chunk->slots[i].parked);
    poll_ring->chunks[index] = chunk;
    return slot_of(poll_ring, fd);
}

static uint32_t parked_events(struct fd_slot *slot)
{
    uint32_t events = 0;
    LIST_EACH (&slot->parked, node)
        events |= events_for(op_of(node));
    return events;
}

/* Asks for one notice when the descriptor is ready for any of what is parked on it. */
static enum err arm(struct poll_ring *poll_ring, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events | EPOLLONESHOT, .data.fd = fd};
    if (epoll_ctl(poll_ring->epoll_fd, EPOLL_CTL_MOD, fd, &event) == 0)
        return ERR_OK;
    if (errno == ENOENT && epoll_ctl(poll_ring->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0)
        return ERR_OK;
    return err_from_errno(errno);
}

static void arm_or_fail(struct poll_ring *poll_ring, int fd, struct fd_slot *slot)
{
    if (list_is_empty(&slot->parked))
        return;
    enum err e = arm(poll_ring, fd, parked_events(slot));
    if (e == ERR_OK)
        return;
    for (struct list *node; (node = list_pop_front(&slot->parked)) != NULL;)
        finish(poll_ring, op_of(node), e, 0);
}

static void start(struct poll_ring *poll_ring, struct ring_op *op)
{
    /* Behind one that waits for the same already, or two receives would swap their bytes. Files
     * have no slot and never wait. */
    struct fd_slot *slot = slot_of(poll_ring, op->fd);
    bool must_queue = slot && (parked_events(slot) & events_for(op)) && op->kind != RING_POLL;
    if (!must_queue && try_op(poll_ring, op))
        return;
    list_remove(&op->link);
    slot = make_slot(poll_ring, op->fd);
    if (slot == NULL) {
        finish(poll_ring, op, ERR_NO_MEMORY, 0);
        return;
    }
    op->state = OP_PARKED;
    list_push_back(&slot->parked, &op->link);
    arm_or_fail(poll_ring, op->fd, slot);
}

/* What could not go on keeps later ones in its direction from being tried. */
static void retry_parked(struct poll_ring *poll_ring, int fd)
{
    struct fd_slot *slot = slot_of(poll_ring, fd);
    CHECK(slot != NULL);
    uint32_t blocked = 0;
    LIST_EACH (&slot->parked, node) {
        struct ring_op *op = op_of(node);
        uint32_t events = events_for(op);
        if (op->kind == RING_POLL)
            (void)try_op(poll_ring, op); /* still waiting is fine: it is armed again below */
        else if ((events & blocked) || !try_op(poll_ring, op))
            blocked |= events;
    }
    arm_or_fail(poll_ring, fd, slot);
}

/* ---- the table ---- */

static void poll_submit(struct ring *ring, struct ring_op *op)
{
    op->state = OP_FRESH;
    list_push_back(&poll_ring_of(ring)->fresh, &op->link);
}

static void poll_cancel(struct ring *ring, struct ring_op *op)
{
    if (op->state == OP_ENDED)
        return;
    list_remove(&op->link); /* its descriptor may stay armed: a notice for nobody is ignored */
    finish(poll_ring_of(ring), op, ERR_CANCELLED, 0);
}

static void poll_flush(struct ring *ring)
{
    /* Nothing is queued anywhere but here, and operations are tried where callbacks may run. */
}

static void start_fresh(struct poll_ring *poll_ring)
{
    struct list *node;
    while ((node = list_first(&poll_ring->fresh)) != NULL)
        start(poll_ring, op_of(node));
}

static int timeout_ms(uint64_t timeout_ns)
{
    if (timeout_ns == UINT64_MAX)
        return -1;
    uint64_t ms = timeout_ns / NS_PER_MS + (timeout_ns % NS_PER_MS != 0);
    return ms < INT32_MAX ? (int)ms : INT32_MAX;
}

static uint32_t run_ended(struct poll_ring *poll_ring)
{
    /* What callbacks end (by cancelling) is for the next turn. */
    struct list now;
    list_init(&now);
    list_splice_back(&now, &poll_ring->ended);
    uint32_t ran = 0;
    for (struct list *node; (node = list_pop_front(&now)) != NULL; ran++) {
        struct ring_op *op = op_of(node);
        ring__end(&poll_ring->ring, op, (enum err)op->flags, op->size);
    }
    return ran;
}

static uint32_t poll_wait(struct ring *ring, uint64_t timeout_ns)
{
    struct poll_ring *poll_ring = poll_ring_of(ring);
    start_fresh(poll_ring);
    struct epoll_event events[EVENTS_MAX];
    int count = epoll_wait(poll_ring->epoll_fd, events, EVENTS_MAX,
                           list_is_empty(&poll_ring->ended) ? timeout_ms(timeout_ns) : 0);
    CHECK(count >= 0 || errno == EINTR);
    for (int i = 0; i < count; i++)
        retry_parked(poll_ring, events[i].data.fd);
    ring__tell_woken(ring);
    return run_ended(poll_ring);
}

static void poll_close(struct ring *ring)
{
    struct poll_ring *poll_ring = poll_ring_of(ring);
    for (uint32_t i = 0; i < poll_ring->chunk_count; i++)
        free(poll_ring->chunks[i]);
    if (poll_ring->epoll_fd >= 0)
        (void)close(poll_ring->epoll_fd); /* holds no data */
    free(poll_ring);
}

static void poll_close__scope(struct poll_ring **poll_ring)
{
    if (*poll_ring)
        poll_close(&(*poll_ring)->ring);
}

static const struct ring_backend_ops poll_ops = {
    .backend = RING_BACKEND_POLL,
    .submit = poll_submit,
    .cancel = poll_cancel,
    .flush = poll_flush,
    .wait = poll_wait,
    .close = poll_close,
};

enum err ring__poll_open(const struct ring_options *options, struct ring **ret_ring)
{
    struct rlimit limit = {0};
    uint64_t fds = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_max < FDS_MAX
                       ? limit.rlim_max
                       : FDS_MAX;
    uint32_t chunk_count = (uint32_t)((fds + CHUNK_FDS - 1) / CHUNK_FDS);
    CLEANUP(poll_close)
    struct poll_ring *poll_ring =
        calloc(1, sizeof *poll_ring + chunk_count * sizeof(struct fd_chunk *));
    if (poll_ring == NULL)
        return ERR_NO_MEMORY;
    poll_ring->ring.ops = &poll_ops;
    poll_ring->chunk_count = chunk_count;
    list_init(&poll_ring->fresh);
    list_init(&poll_ring->ended);
    poll_ring->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (poll_ring->epoll_fd < 0)
        return err_from_errno(errno);
    *ret_ring = &TAKE(poll_ring)->ring;
    return ERR_OK;
}
