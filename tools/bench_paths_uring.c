/*
 * Techniques that ask io_uring: spliced pages, and Direct I/O into registered memory that SEND_ZC
 * sends from. One ring a server, one object at a time, as few system calls as it takes.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "tools/bench_paths.h"

#ifndef IORING_SEND_ZC_REPORT_USAGE /* Linux 6.2 */
#define IORING_SEND_ZC_REPORT_USAGE  (1u << 3)
#define IORING_NOTIF_USAGE_ZC_COPIED (1u << 31)
#endif

#define ENTRIES    32u
#define PIPE_BYTES (1u << 20)
#define PAIRS_MAX  8u /* file to pipe to socket, linked: one system call moves 8 MiB */

#define MEMORY_BYTES   (4u << 20)
#define SLOT_BYTES_MAX (1u << 20)
/* Small ones are many: each waits for the client's acknowledgement before it is used again. */
#define SLOTS_MAX 256u
#define READS_MAX 4u /* ahead of the one that is sent */
_Static_assert(2 * PAIRS_MAX <= ENTRIES && READS_MAX + 1 <= ENTRIES, "what is queued at once fits");

struct uring {
    struct io_uring ring;
    bool is_open;
    /* splice */
    int pipe_out, pipe_in;
    uint32_t pipe_bytes;
    /* Direct I/O and SEND_ZC */
    char *memory; /* slots, registered */
    uint32_t slot_count, slot_bytes;
    struct zc_slot {
        enum {
            SLOT_FREE,
            SLOT_READING,
            SLOT_READ,
            SLOT_SENDING,
            SLOT_SENT
        } state; /* SENT: waits for its notice */
        uint32_t bytes, sent;
    } slots[SLOTS_MAX];
    unsigned zc_flags;
    uint32_t chunks_before; /* of earlier objects: the next object takes the next slots, whose
                               notices are the oldest */
};

/* ---- the ring ---- */

static int uring_open(struct bench_sender *sender)
{
    struct uring *uring = calloc(1, sizeof *uring);
    sender->state = uring;
    if (uring == NULL)
        return ENOMEM;
    uring->pipe_out = uring->pipe_in = -1;
    struct io_uring_params params = {.flags =
                                         IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN};
    int result = io_uring_queue_init_params(ENTRIES, &uring->ring, &params);
    if (result == -EINVAL) {
        params = (struct io_uring_params){0};
        result = io_uring_queue_init_params(ENTRIES, &uring->ring, &params);
    }
    if (result < 0) {
        snprintf(sender->reason, BENCH_REASON_BYTES, "io_uring: %s (sluice doctor tells more)",
                 strerrordesc_np(-result));
        return -result;
    }
    uring->is_open = true;
    /* The kernel's workers keep to the server's core, as every other technique does. Older kernels
     * cannot; no harm. */
    cpu_set_t cores;
    if (sched_getaffinity(0, sizeof cores, &cores) == 0)
        (void)io_uring_register_iowq_aff(&uring->ring, sizeof cores, &cores);
    return 0;
}

static void uring_close(struct bench_sender *sender)
{
    struct uring *uring = sender->state;
    if (uring == NULL)
        return;
    if (uring->is_open)
        io_uring_queue_exit(&uring->ring);
    if (uring->pipe_out >= 0)
        (void)close(uring->pipe_out);
    if (uring->pipe_in >= 0)
        (void)close(uring->pipe_in);
    if (uring->memory != NULL)
        CHECK(munmap(uring->memory, MEMORY_BYTES) == 0);
    free(uring);
}

static int has_operation(struct bench_sender *sender, int code, const char *name, const char *since)
{
    struct uring *uring = sender->state;
    struct io_uring_probe *probe = io_uring_get_probe_ring(&uring->ring);
    bool is_there = probe != NULL && io_uring_opcode_supported(probe, code);
    io_uring_free_probe(probe);
    if (is_there)
        return 0;
    snprintf(sender->reason, BENCH_REASON_BYTES, "this kernel's io_uring has no %s (Linux %s)",
             name, since);
    return EOPNOTSUPP;
}

static struct io_uring_sqe *entry_take(struct uring *uring)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);
    CHECK(sqe != NULL); /* what is queued at once fits: see above */
    return sqe;
}

static int submit_and_wait(struct bench_sender *sender, unsigned results)
{
    struct uring *uring = sender->state;
    sender->calls++;
    int result = io_uring_submit_and_wait(&uring->ring, results);
    return result < 0 && result != -EINTR ? -result : 0;
}

/* ---- io_uring splice ---- */

static int splice_open(struct bench_sender *sender)
{
    int fds[2], result = uring_open(sender);
    if (result == 0)
        result = has_operation(sender, IORING_OP_SPLICE, "SPLICE", "5.7");
    if (result != 0)
        return result;
    struct uring *uring = sender->state;
    if (pipe2(fds, O_CLOEXEC) < 0)
        return errno;
    uring->pipe_out = fds[0], uring->pipe_in = fds[1];
    int bytes = fcntl(uring->pipe_in, F_SETPIPE_SZ, PIPE_BYTES);
    if (bytes < 0)
        bytes = fcntl(uring->pipe_in, F_GETPIPE_SZ);
    if (bytes < 0)
        return errno;
    uring->pipe_bytes = (uint32_t)bytes;
    return 0;
}

#define TO_SOCKET 1u

static void queue_splice(struct bench_sender *sender, uint64_t data, uint64_t offset,
                         uint32_t bytes, bool is_last)
{
    struct uring *uring = sender->state;
    struct io_uring_sqe *sqe = entry_take(uring);
    if (data == TO_SOCKET)
        io_uring_prep_splice(sqe, uring->pipe_out, -1, sender->socket, -1, bytes,
                             SPLICE_F_MOVE | (is_last ? 0 : SPLICE_F_MORE));
    else
        io_uring_prep_splice(sqe, sender->file_fd, (int64_t)offset, uring->pipe_in, -1, bytes,
                             SPLICE_F_MOVE);
    if (!is_last)
        sqe->flags |= IOSQE_IO_LINK;
    sqe->user_data = data;
}

struct splicing {
    uint32_t read, sent; /* of the object, into and out of the pipe */
};

/* What is in the pipe first, then pairs; a short one ends the chain and the rest comes back
 * cancelled. */
static unsigned queue_chain(struct bench_sender *sender, uint64_t offset, const struct splicing *at)
{
    const struct uring *uring = sender->state;
    uint32_t left = sender->object_bytes - at->read, read = at->read;
    unsigned queued = 0;
    if (at->read > at->sent) {
        queue_splice(sender, TO_SOCKET, 0, at->read - at->sent, left == 0);
        queued++;
    }
    for (unsigned i = 0; i < PAIRS_MAX - 1 && left > 0; i++) {
        uint32_t bytes = left < uring->pipe_bytes ? left : uring->pipe_bytes;
        bool is_last = bytes == left || i == PAIRS_MAX - 2;
        queue_splice(sender, 0, offset + read, bytes, false);
        queue_splice(sender, TO_SOCKET, 0, bytes, is_last);
        queued += 2;
        read += bytes;
        left -= bytes;
    }
    return queued;
}

static int splice_send(struct bench_sender *sender, uint64_t offset)
{
    struct uring *uring = sender->state;
    struct splicing at = {0};
    while (at.sent < sender->object_bytes) {
        int problem = 0;
        unsigned queued = queue_chain(sender, offset, &at);
        int result = submit_and_wait(sender, queued);
        if (result != 0)
            return result;
        for (unsigned left = queued; left > 0; left--) {
            struct io_uring_cqe *cqe;
            /* Enters the kernel only after a signal. */
            if (io_uring_wait_cqe(&uring->ring, &cqe) < 0)
                return EIO;
            if (cqe->res > 0 && cqe->user_data == TO_SOCKET)
                at.sent += (uint32_t)cqe->res;
            else if (cqe->res > 0)
                at.read += (uint32_t)cqe->res;
            else if (cqe->res == 0 || (cqe->res != -ECANCELED && cqe->res != -EINTR))
                problem = cqe->res < 0 ? -cqe->res : EIO;
            io_uring_cqe_seen(&uring->ring, cqe);
        }
        if (problem != 0)
            return problem;
    }
    return 0;
}

const struct bench_technique bench_uring_splice = {
    .id = "uring_splice",
    .name = "io_uring splice",
    .short_name = "io_uring splice",
    .how = "file to pipe to socket, linked, up to 7 MiB a system call",
    .copies = 0,
    .open = splice_open,
    .send = splice_send,
    .close = uring_close,
};

/* ---- Direct I/O into registered memory, SEND_ZC out of it ---- */

static int direct_zc_open(struct bench_sender *sender)
{
    int result = uring_open(sender);
    if (result == 0)
        result = has_operation(sender, IORING_OP_SEND_ZC, "SEND_ZC", "6.0");
    if (result != 0)
        return result;
    struct uring *uring = sender->state;
    void *memory = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED)
        return ENOMEM;
    uring->memory = memory;
    uring->slot_bytes =
        sender->object_bytes < SLOT_BYTES_MAX ? sender->object_bytes : SLOT_BYTES_MAX;
    uring->slot_count = MEMORY_BYTES / uring->slot_bytes;
    if (uring->slot_count > SLOTS_MAX)
        uring->slot_count = SLOTS_MAX;
    struct iovec piece = {uring->memory, MEMORY_BYTES};
    result = io_uring_register_buffers(&uring->ring, &piece, 1);
    if (result < 0) {
        snprintf(sender->reason, BENCH_REASON_BYTES, "registering 4 MiB: %s (RLIMIT_MEMLOCK)",
                 strerrordesc_np(-result));
        return -result;
    }
    uring->zc_flags = IORING_RECVSEND_FIXED_BUF | IORING_SEND_ZC_REPORT_USAGE;
    return 0;
}

struct sending {
    uint64_t offset; /* of the object */
    uint32_t chunks; /* it has */
    uint32_t next_read, next_send;
    uint32_t is_sent; /* chunks whose send has ended */
};

static unsigned index_of(const struct uring *uring, uint32_t chunk)
{
    return (uring->chunks_before + chunk) % uring->slot_count;
}

static struct zc_slot *slot_of(struct uring *uring, uint32_t chunk)
{
    return &uring->slots[index_of(uring, chunk)];
}

static void queue_read(struct bench_sender *sender, const struct sending *at, uint32_t chunk)
{
    struct uring *uring = sender->state;
    struct zc_slot *slot = slot_of(uring, chunk);
    uint32_t done = chunk * uring->slot_bytes, left = sender->object_bytes - done;
    *slot = (struct zc_slot){.state = SLOT_READING,
                             .bytes = left < uring->slot_bytes ? left : uring->slot_bytes};
    struct io_uring_sqe *sqe = entry_take(uring);
    unsigned index = index_of(uring, chunk);
    io_uring_prep_read_fixed(sqe, sender->direct_fd, uring->memory + index * uring->slot_bytes,
                             slot->bytes, at->offset + done, 0);
    sqe->user_data = index;
}

static void queue_send(struct bench_sender *sender, uint32_t chunk)
{
    struct uring *uring = sender->state;
    struct zc_slot *slot = slot_of(uring, chunk);
    unsigned index = index_of(uring, chunk);
    struct io_uring_sqe *sqe = entry_take(uring);
    io_uring_prep_send_zc_fixed(
        sqe, sender->socket, uring->memory + index * uring->slot_bytes + slot->sent,
        slot->bytes - slot->sent, MSG_NOSIGNAL | MSG_WAITALL, uring->zc_flags, 0);
    sqe->user_data = index;
    slot->state = SLOT_SENDING;
}

/* Reads ahead into free slots; sends one chunk at a time, or bytes of two would mix. */
static void queue_possible(struct bench_sender *sender, struct sending *at)
{
    struct uring *uring = sender->state;
    while (at->next_read < at->chunks && at->next_read - at->is_sent < READS_MAX &&
           slot_of(uring, at->next_read)->state == SLOT_FREE)
        queue_read(sender, at, at->next_read++);
    if (at->next_send == at->is_sent && at->next_send < at->next_read &&
        slot_of(uring, at->next_send)->state == SLOT_READ)
        queue_send(sender, at->next_send++);
}

static void take_notice(struct bench_sender *sender, struct zc_slot *slot,
                        const struct io_uring_cqe *cqe)
{
    const struct uring *uring = sender->state;
    CHECK(slot->state == SLOT_SENT);
    slot->state = SLOT_FREE;
    if (!(uring->zc_flags & IORING_SEND_ZC_REPORT_USAGE))
        return;
    sender->zero_copy_sends++;
    sender->zero_copy_copied += (uint32_t)cqe->res == IORING_NOTIF_USAGE_ZC_COPIED;
}

/* One result. at is NULL when only notices can come. */
static int take_result(struct bench_sender *sender, struct sending *at,
                       const struct io_uring_cqe *cqe)
{
    struct uring *uring = sender->state;
    struct zc_slot *slot = &uring->slots[cqe->user_data];
    if (cqe->flags & IORING_CQE_F_NOTIF) {
        take_notice(sender, slot, cqe);
        return 0;
    }
    if (slot->state == SLOT_READING) {
        if (cqe->res != (int)slot->bytes)
            return cqe->res < 0 ? -cqe->res : EIO;
        slot->state = SLOT_READ;
        return 0;
    }
    CHECK(slot->state == SLOT_SENDING && at != NULL);
    if (cqe->res == -EINVAL && uring->zc_flags & IORING_SEND_ZC_REPORT_USAGE) {
        uring->zc_flags &= ~IORING_SEND_ZC_REPORT_USAGE; /* before Linux 6.2: nothing was sent */
        slot->state = SLOT_READ;
        at->next_send--;
        return 0;
    }
    /* MSG_WAITALL: short only when it fails. */
    if (cqe->res < 0 || (uint32_t)cqe->res != slot->bytes)
        return cqe->res < 0 ? -cqe->res : EIO;
    slot->state = cqe->flags & IORING_CQE_F_MORE ? SLOT_SENT : SLOT_FREE;
    at->is_sent++;
    return 0;
}

static int take_results(struct bench_sender *sender, struct sending *at)
{
    struct uring *uring = sender->state;
    struct io_uring_cqe *cqe;
    int result = 0;
    while (result == 0 && io_uring_peek_cqe(&uring->ring, &cqe) == 0) {
        result = take_result(sender, at, cqe);
        io_uring_cqe_seen(&uring->ring, cqe);
    }
    return result;
}

static int direct_zc_finish(struct bench_sender *sender)
{
    struct uring *uring = sender->state;
    int result = 0;
    for (unsigned i = 0; i < uring->slot_count && result == 0; i++)
        while (uring->slots[i].state != SLOT_FREE && result == 0) {
            result = submit_and_wait(sender, 1);
            if (result == 0)
                result = take_results(sender, NULL);
        }
    return result;
}

static int direct_zc_send(struct bench_sender *sender, uint64_t offset)
{
    struct uring *uring = sender->state;
    struct sending at = {.offset = offset,
                         .chunks =
                             (sender->object_bytes + uring->slot_bytes - 1) / uring->slot_bytes};
    while (at.is_sent < at.chunks) {
        queue_possible(sender, &at);
        int result = submit_and_wait(sender, 1);
        if (result == 0)
            result = take_results(sender, &at);
        if (result != 0)
            return result;
    }
    uring->chunks_before += at.chunks;
    return 0;
}

const struct bench_technique bench_direct_send_zc = {
    .id = "direct_send_zc",
    .name = "Direct I/O + SEND_ZC",
    .short_name = "direct + SEND_ZC",
    .how = "io_uring READ_FIXED into registered memory, SEND_ZC from it",
    .copies = 0,
    .is_direct = true,
    .is_zero_copy = true,
    .open = direct_zc_open,
    .send = direct_zc_send,
    .finish = direct_zc_finish,
    .close = uring_close,
};
