/*
 * The ring: asynchronous I/O on file descriptors for one thread. Behind it stands io_uring where
 * the kernel allows it (ring_uring.c, the only file that knows liburing), else epoll with
 * non-blocking sockets and pread/pwrite (ring_poll.c); which one and why is told by ring_backend()
 * and ring_reason(), and the owner says it loudly.
 *
 * The caller embeds a struct ring_op in its own request, so submitting allocates nothing. The
 * promise of every submit: the callback runs exactly once, later, on this thread, from ring_wait();
 * never from inside the submitting function. Until then op, buffer and iovecs belong to the ring.
 * ring_cancel() asks for an early end; the callback still comes, with ERR_CANCELLED or the result
 * it had reached. EINTR and EAGAIN never come out.
 *
 * Submissions are batched: they reach the kernel at the next ring_wait() (or ring_flush()), so one
 * system call carries many requests.
 */
#ifndef BASE_RING_H
#define BASE_RING_H

#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/arena.h"
#include "base/err.h"

struct ring;
struct ring_op;

/* count: bytes moved, the new descriptor (accept) or the ready events (poll); 0 when e is not
 * ERR_OK. */
typedef void ring_done_fn(struct ring_op *op, enum err e, uint32_t count);

#define RING_OP_MAGIC 0x52694f70u
struct ring_op {
    uint32_t magic; /* RING_OP_MAGIC while the ring owns it */
    ring_done_fn *done;
    /* Below is the backend's own. */
    uint8_t kind;
    uint16_t state;
    int fd;
    uint32_t size;
    int flags;
    uint64_t offset;
    void *data;
    struct list link;
};

struct ring_options {
    uint32_t entries;    /* submission queue; 0: 1024 */
    struct arena *arena; /* registered as fixed buffers; NULL: none. borrowed */
    enum ring_choice { RING_AUTO, RING_FORCE_URING, RING_FORCE_POLL } choice;
};

enum ring_backend { RING_BACKEND_URING, RING_BACKEND_POLL };

enum err ring_open(const struct ring_options *options, struct ring **ret_ring,
                   struct err_trail *trail) MUST_USE;
void ring_close(struct ring *ring); /* no operation may be pending */

enum ring_backend ring_backend(const struct ring *ring);
/* Why this backend and what is missing ("io_uring_setup: not permitted: seccomp or
 * kernel.io_uring_disabled; ..."), or "". */
const char *ring_reason(const struct ring *ring);
/* Whether the arena is registered as fixed buffers, and if not, a sentence that says why and what
 * to do. */
bool ring_has_fixed_buffers(const struct ring *ring);
const char *ring_fixed_reason(const struct ring *ring);

/* ---- sockets (non-blocking ones; MSG_NOSIGNAL is added) ---- */
/* `count` is the new descriptor, SOCK_CLOEXEC and SOCK_NONBLOCK. */
void ring_accept(struct ring *ring, struct ring_op *op, int listen_fd, ring_done_fn *done);
void ring_recv(struct ring *ring, struct ring_op *op, int fd, void *data, uint32_t size,
               ring_done_fn *done);
/* For a socket that has probably nothing yet: waits first instead of trying in vain. */
void ring_recv_later(struct ring *ring, struct ring_op *op, int fd, void *data, uint32_t size,
                     ring_done_fn *done);
void ring_recvmsg(struct ring *ring, struct ring_op *op, int fd, struct msghdr *msg,
                  ring_done_fn *done);
void ring_send(struct ring *ring, struct ring_op *op, int fd, const void *data, uint32_t size,
               int flags, ring_done_fn *done);
void ring_sendmsg(struct ring *ring, struct ring_op *op, int fd, const struct msghdr *msg,
                  int flags, ring_done_fn *done);
void ring_poll(struct ring *ring, struct ring_op *op, int fd, uint32_t poll_events,
               ring_done_fn *done); /* one shot */

/* ---- files: READ_FIXED / WRITE_FIXED when the memory lies in the registered arena ---- */
void ring_read(struct ring *ring, struct ring_op *op, int fd, void *data, uint32_t size,
               uint64_t offset, ring_done_fn *done);
void ring_write(struct ring *ring, struct ring_op *op, int fd, const void *data, uint32_t size,
                uint64_t offset, ring_done_fn *done);

/* ---- files to sockets through a pipe: pages change hands, nobody copies ---- */
/*
 * One step: `fill` bytes of the file into the pipe, and when they are in, `drain` bytes out of it
 * into the socket: two linked splices on kernel workers. Only with io_uring; without it splice(2)
 * on the loop's thread does the same, and nothing is gained by hiding it here. Ends when something
 * reached the socket, when the file had nothing to give, or with an error; count is `drained`. What
 * was filled and not drained is still in the pipe, after an error, too.
 */
struct ring_splice {
    int file_fd;
    uint64_t file_offset;
    uint32_t fill; /* 0: only what the pipe holds; at most what fits into it */
    int pipe_in, pipe_out;
    int socket_fd;  /* non-blocking */
    uint32_t drain; /* not more than the pipe then holds */
    bool more;      /* more follows at once: MSG_MORE */
    /* results */
    uint32_t filled, drained;
};
bool ring_has_splice(const struct ring *ring);
void ring_splice(struct ring *ring, struct ring_op *op, struct ring_splice *splice,
                 ring_done_fn *done);

/* ---- memory to a socket without a copy ---- */
/*
 * The socket sends from the memory itself, so the bytes must stay as they are until the kernel lets
 * go of them, which is when the peer has acknowledged them or the connection was reset:
 *
 *     ring_send_zero_copy() --> sent(): so many bytes are the socket's
 *                           --> released(): the memory is the caller's again
 *
 * Both run exactly once, in this order, whatever happens; released() soon after sent() when nothing
 * was sent. Until released() the structure and the memory belong to the ring. ring_cancel() of its
 * `op` ends the wait for room in the socket. What the socket has taken comes back when it is
 * acknowledged, or by connect(2) to AF_UNSPEC, which resets the connection, and by nothing else:
 * after shutdown(2) it is still sent.
 *
 * Out of the registered arena no page is pinned for it. Where there is no device that fetches bytes
 * from where they lie (loopback, veth, a tap) the kernel copies after all, and tells.
 */
enum ring_usage { RING_USAGE_UNKNOWN, RING_USAGE_ZERO_COPY, RING_USAGE_COPIED };
struct ring_zero_copy {
    struct ring_op op;
    void (*sent)(struct ring_zero_copy *send, enum err e, uint32_t count);
    void (*released)(struct ring_zero_copy *send, enum ring_usage usage);
    bool is_sent; /* the ring's own */
};
bool ring_has_zero_copy(const struct ring *ring); /* with io_uring, from Linux 6.0 on */
bool ring_tells_usage(const struct ring *ring);   /* from 6.3 on; else it is always unknown */
void ring_send_zero_copy(struct ring *ring, struct ring_zero_copy *send, int fd, const void *data,
                         uint32_t size, int flags);

void ring_cancel(struct ring *ring, struct ring_op *op); /* op may have ended already */
bool ring_op_is_pending(const struct ring_op *op);

/* Submits what is queued, waits at most timeout_ns (0: do not wait, UINT64_MAX: no limit) for
 * something to end, runs callbacks. Returns how many ran. */
uint32_t ring_wait(struct ring *ring, uint64_t timeout_ns);
/* The next waits look for results for so long before they sleep (0, as at first: they do not). On
 * epoll it does nothing. */
void ring_set_spin(struct ring *ring, uint64_t spin_ns);
/* Whether somebody else was given the CPU while the last waits looked for results; asking forgets
 * it. */
bool ring_spin_was_preempted(struct ring *ring);
void ring_flush(struct ring *ring);

#endif
