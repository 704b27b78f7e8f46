/*
 * What io_uring is allowed and able to do here, by doing it: a ring with the flags that
 * base/ring_uring.c tries, its operations asked of the kernel, memory registered, one zero-copy
 * send over loopback.
 */
#include <errno.h>
#include <liburing.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/cleanup.h"
#include "tools/doctor.h"
#include "tools/loopback.h"

#define PROBE_ENTRIES 8u
/* Registered; less than any limit of locked memory a distribution sets. */
#define PROBE_BYTES (1u << 20)
#define SEND_BYTES  65536u
/* A kernel that took the send and never tells of it is not one to trust. */
#define NOTICE_SECONDS 2

#ifndef IORING_SEND_ZC_REPORT_USAGE /* Linux 6.2 */
#define IORING_SEND_ZC_REPORT_USAGE (1u << 3)
#endif

/* Best first: what base/ring_uring.c tries, by the kernel that brought it. */
static const struct {
    unsigned flags;
    const char *name;
} modes[] = {
    {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, "SINGLE_ISSUER, DEFER_TASKRUN"},
    {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN, "SINGLE_ISSUER, COOP_TASKRUN"},
    {IORING_SETUP_COOP_TASKRUN, "COOP_TASKRUN"},
    {0, "no flags"},
};

static const struct {
    uint8_t code;
    const char *name;
    bool is_needed;
} operations[] = {
    {IORING_OP_ACCEPT, "ACCEPT", true},
    {IORING_OP_RECV, "RECV", true},
    {IORING_OP_RECVMSG, "RECVMSG", true},
    {IORING_OP_SEND, "SEND", true},
    {IORING_OP_SENDMSG, "SENDMSG", true},
    {IORING_OP_POLL_ADD, "POLL_ADD", true},
    {IORING_OP_READ, "READ", true},
    {IORING_OP_READ_FIXED, "READ_FIXED", true},
    {IORING_OP_WRITE, "WRITE", true},
    {IORING_OP_WRITE_FIXED, "WRITE_FIXED", true},
    {IORING_OP_ASYNC_CANCEL, "ASYNC_CANCEL", true},
    {IORING_OP_SPLICE, "SPLICE", false},
    {IORING_OP_SEND_ZC, "SEND_ZC", false},
    {IORING_OP_SENDMSG_ZC, "SENDMSG_ZC", false},
};
_Static_assert(COUNT_OF(operations) <= DOCTOR_OPS_MAX, "every operation has its fact");

static int ring_make(struct doctor_uring *uring, struct io_uring *ring)
{
    int result = -EINVAL;
    for (unsigned i = 0; i < COUNT_OF(modes) && result == -EINVAL; i++) {
        struct io_uring_params params = {.flags = modes[i].flags};
        result = io_uring_queue_init_params(PROBE_ENTRIES, ring, &params);
        uring->mode = modes[i].name;
        uring->mode_rank = i;
    }
    return result;
}

static void look_operations(struct io_uring *ring, struct doctor_uring *uring)
{
    struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
    uring->is_probed = probe != NULL;
    uring->op_count = COUNT_OF(operations);
    for (size_t i = 0; i < COUNT_OF(operations); i++)
        uring->ops[i] = (struct doctor_op){
            .name = operations[i].name,
            .is_needed = operations[i].is_needed,
            .is_there = probe != NULL && io_uring_opcode_supported(probe, operations[i].code),
        };
    io_uring_free_probe(probe);
}

/* The result of the send, then the notice that the memory is free again. */
static void send_zero_copy(struct io_uring *ring, int fd, const void *data,
                           struct doctor_uring *uring, unsigned flags)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
    if (sqe == NULL)
        return;
    io_uring_prep_send_zc(sqe, fd, data, SEND_BYTES, MSG_NOSIGNAL, flags);
    if (io_uring_submit(ring) < 0)
        return;
    bool wants_more = true;
    for (unsigned i = 0; i < 2 && wants_more; i++) {
        struct io_uring_cqe *cqe;
        struct __kernel_timespec limit = {.tv_sec = NOTICE_SECONDS};
        int result = io_uring_wait_cqe_timeout(ring, &cqe, &limit);
        if (result < 0) {
            uring->send_zc = DOCTOR_ZC_REFUSED;
            uring->send_zc_errno = -result;
            return;
        }
        if (!(cqe->flags & IORING_CQE_F_NOTIF)) {
            uring->send_zc = cqe->res < 0 ? DOCTOR_ZC_REFUSED
                             : flags != 0 ? DOCTOR_ZC_SENT_AND_REPORTED
                                          : DOCTOR_ZC_SENT;
            uring->send_zc_errno = cqe->res < 0 ? -cqe->res : 0;
        }
        wants_more = cqe->flags & IORING_CQE_F_MORE;
        io_uring_cqe_seen(ring, cqe);
    }
}

static void look_send_zc(struct io_uring *ring, const void *data, struct doctor_uring *uring)
{
    CLEANUP(fd_close) int server = -1;
    CLEANUP(fd_close) int client = -1;
    bool is_there = false;
    for (unsigned i = 0; i < uring->op_count; i++)
        is_there |= strcmp(uring->ops[i].name, "SEND_ZC") == 0 && uring->ops[i].is_there;
    if (!is_there || loopback_pair(&server, &client) != 0)
        return;
    send_zero_copy(ring, server, data, uring, IORING_SEND_ZC_REPORT_USAGE);
    if (uring->send_zc == DOCTOR_ZC_REFUSED && uring->send_zc_errno == EINVAL)
        send_zero_copy(ring, server, data, uring, 0);
}

static void look_inside(struct io_uring *ring, struct doctor_uring *uring)
{
    const unsigned needed = IORING_FEAT_EXT_ARG | IORING_FEAT_NODROP | IORING_FEAT_FAST_POLL |
                            IORING_FEAT_SUBMIT_STABLE;
    uring->has_features = (ring->features & needed) == needed;
    look_operations(ring, uring);

    void *data = mmap(NULL, PROBE_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (data == MAP_FAILED) {
        uring->fixed_errno = ENOMEM;
        return;
    }
    struct iovec piece = {.iov_base = data, .iov_len = PROBE_BYTES};
    uring->fixed_errno = -io_uring_register_buffers(ring, &piece, 1);
    if (uring->has_features)
        look_send_zc(ring, data, uring);
    /* The ring goes first: what it still holds of the memory, the kernel keeps by itself. */
    CHECK(munmap(data, PROBE_BYTES) == 0);
}

void doctor_look_uring(struct doctor_uring *uring)
{
    char status[4096];
    uint64_t seccomp = 0;
    *uring = (struct doctor_uring){.seccomp = -1, .mode = ""};
    uring->disabled = (int)doctor_read_number("/proc/sys/kernel/io_uring_disabled");
    if (doctor_read("/proc/self/status", status, sizeof status) == 0 &&
        doctor_parse_field(bytes_of_string(status), "Seccomp", 10, &seccomp))
        uring->seccomp = (int)seccomp;

    struct io_uring ring;
    int result = ring_make(uring, &ring);
    uring->setup_errno = result < 0 ? -result : 0;
    if (result < 0)
        return;
    look_inside(&ring, uring);
    io_uring_queue_exit(&ring);
}
