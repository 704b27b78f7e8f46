#include "base/ring.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/ring_priv.h"

enum err ring_open(const struct ring_options *options, struct ring **ret_ring,
                   struct err_trail *trail)
{
    char reason[sizeof((struct ring *)0)->reason] = "";
    if (options->choice != RING_FORCE_POLL) {
        enum err e = ring__uring_open(options, ret_ring, reason, sizeof reason);
        if (e == ERR_OK)
            return ERR_OK;
        if (options->choice == RING_FORCE_URING)
            return err_note(trail, e, "%s", reason);
    } else {
        snprintf(reason, sizeof reason, "configured to do without io_uring");
    }

    enum err e = ring__poll_open(options, ret_ring);
    if (e)
        return err_note(trail, e, "open an epoll ring (%s)", reason);
    struct ring *ring = *ret_ring;
    memcpy(ring->reason, reason, sizeof reason);
    snprintf(ring->fixed_reason, sizeof ring->fixed_reason, "fixed buffers need io_uring");
    return ERR_OK;
}

void ring_close(struct ring *ring)
{
    if (ring == NULL)
        return;
    CHECK(ring->pending == 0);
    CHECK(!ring->is_waiting);
    ring->ops->close(ring);
}

enum ring_backend ring_backend(const struct ring *ring)
{
    return ring->ops->backend;
}

const char *ring_reason(const struct ring *ring)
{
    return ring->reason;
}

bool ring_has_fixed_buffers(const struct ring *ring)
{
    return ring->has_fixed_buffers;
}

const char *ring_fixed_reason(const struct ring *ring)
{
    return ring->fixed_reason;
}

static void submit(struct ring *ring, struct ring_op *op, enum ring_kind kind, int fd,
                   ring_done_fn *done)
{
    CHECK(op->magic != RING_OP_MAGIC); /* still pending */
    CHECK(fd >= 0);
    CHECK(done != NULL);
    op->magic = RING_OP_MAGIC;
    op->done = done;
    op->kind = (uint8_t)kind;
    op->state = 0;
    op->fd = fd;
    op->link = (struct list){NULL, NULL};
    ring->pending++;
    ring->ops->submit(ring, op);
}

void ring_accept(struct ring *ring, struct ring_op *op, int listen_fd, ring_done_fn *done)
{
    submit(ring, op, RING_ACCEPT, listen_fd, done);
}

void ring_recv(struct ring *ring, struct ring_op *op, int fd, void *data, uint32_t size,
               ring_done_fn *done)
{
    op->data = data, op->size = size, op->flags = 0;
    submit(ring, op, RING_RECV, fd, done);
}

void ring_recv_later(struct ring *ring, struct ring_op *op, int fd, void *data, uint32_t size,
                     ring_done_fn *done)
{
    op->data = data, op->size = size, op->flags = 0;
    submit(ring, op, RING_RECV_LATER, fd, done);
}

void ring_recvmsg(struct ring *ring, struct ring_op *op, int fd, struct msghdr *msg,
                  ring_done_fn *done)
{
    op->data = msg, op->flags = 0;
    submit(ring, op, RING_RECVMSG, fd, done);
}

void ring_send(struct ring *ring, struct ring_op *op, int fd, const void *data, uint32_t size,
               int flags, ring_done_fn *done)
{
    op->data = (void *)data, op->size = size, op->flags = flags | MSG_NOSIGNAL;
    submit(ring, op, RING_SEND, fd, done);
}

void ring_sendmsg(struct ring *ring, struct ring_op *op, int fd, const struct msghdr *msg,
                  int flags, ring_done_fn *done)
{
    op->data = (void *)msg, op->flags = flags | MSG_NOSIGNAL;
    submit(ring, op, RING_SENDMSG, fd, done);
}

void ring_poll(struct ring *ring, struct ring_op *op, int fd, uint32_t poll_events,
               ring_done_fn *done)
{
    op->flags = (int)poll_events;
    submit(ring, op, RING_POLL, fd, done);
}

void ring_read(struct ring *ring, struct ring_op *op, int fd, void *data, uint32_t size,
               uint64_t offset, ring_done_fn *done)
{
    op->data = data, op->size = size, op->offset = offset;
    submit(ring, op, RING_READ, fd, done);
}

void ring_write(struct ring *ring, struct ring_op *op, int fd, const void *data, uint32_t size,
                uint64_t offset, ring_done_fn *done)
{
    op->data = (void *)data, op->size = size, op->offset = offset;
    submit(ring, op, RING_WRITE, fd, done);
}

bool ring_has_splice(const struct ring *ring)
{
    return ring->has_splice;
}

void ring_splice(struct ring *ring, struct ring_op *op, struct ring_splice *splice,
                 ring_done_fn *done)
{
    CHECK(ring->has_splice);
    CHECK(splice->drain > 0 && splice->pipe_in >= 0 && splice->pipe_out >= 0);
    splice->filled = splice->drained = 0;
    op->data = splice, op->flags = 0;
    submit(ring, op, RING_SPLICE, splice->socket_fd, done);
}

bool ring_has_zero_copy(const struct ring *ring)
{
    return ring->has_zero_copy;
}

bool ring_tells_usage(const struct ring *ring)
{
    return ring->tells_usage;
}

static void zero_copy_ended(struct ring_op *op, enum err e, uint32_t usage)
{
    struct ring_zero_copy *send = CONTAINER_OF(op, struct ring_zero_copy, op);
    if (!send->is_sent)
        send->sent(send, e, 0);
    send->released(send, (enum ring_usage)usage);
}

void ring_send_zero_copy(struct ring *ring, struct ring_zero_copy *send, int fd, const void *data,
                         uint32_t size, int flags)
{
    CHECK(ring->has_zero_copy);
    CHECK(send->sent != NULL && send->released != NULL);
    struct ring_op *op = &send->op;
    op->data = (void *)data, op->size = size, op->flags = flags | MSG_NOSIGNAL;
    send->is_sent = false;
    submit(ring, op, RING_ZERO_COPY, fd, zero_copy_ended);
}

void ring_cancel(struct ring *ring, struct ring_op *op)
{
    if (ring_op_is_pending(op))
        ring->ops->cancel(ring, op);
}

bool ring_op_is_pending(const struct ring_op *op)
{
    return op->magic == RING_OP_MAGIC;
}

uint32_t ring_wait(struct ring *ring, uint64_t timeout_ns)
{
    CHECK(!ring->is_waiting); /* a callback must not wait */
    ring->is_waiting = true;
    uint32_t ran = ring->ops->wait(ring, timeout_ns);
    ring->is_waiting = false;
    return ran;
}

void ring_set_spin(struct ring *ring, uint64_t spin_ns)
{
    ring->spin_ns = spin_ns;
}

bool ring_spin_was_preempted(struct ring *ring)
{
    bool was = ring->spin_was_preempted;
    ring->spin_was_preempted = false;
    return was;
}

void ring_flush(struct ring *ring)
{
    ring->ops->flush(ring);
}

void ring__abandon(struct ring *ring, struct ring_op *op)
{
    if (!ring_op_is_pending(op))
        return;
    CHECK(op->kind == RING_POLL);
    CHECK(ring->pending > 0);
    ring->pending--;
    op->magic = 0;
    list_remove(&op->link);
}
