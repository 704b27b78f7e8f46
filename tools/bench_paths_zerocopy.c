/*
 * MSG_ZEROCOPY (Linux 4.14, Documentation/networking/msg_zerocopy.rst) from mapped pages of the
 * page cache. Each send is numbered by the kernel; the error queue tells ranges of numbers whose
 * memory is free again, and whether they were copied after all.
 */
#include <errno.h>
#include <time.h>

#include <linux/errqueue.h> /* wants struct timespec */

#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/check.h"
#include "tools/bench_paths.h"

#define PENDING_MAX    256u  /* sends whose notice is outstanding, before the queue is read */
#define NOTICE_WAIT_MS 10000 /* the client's acknowledgement, not the disk */

static int zerocopy_open(struct bench_sender *sender)
{
    int on = 1;
    return setsockopt(sender->socket, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof on) < 0 ? errno : 0;
}

/* sender->state counts what is outstanding: no memory of its own. */
static uint64_t pending_of(const struct bench_sender *sender)
{
    return (uint64_t)(uintptr_t)sender->state;
}

static void pending_set(struct bench_sender *sender, uint64_t pending)
{
    sender->state = (void *)(uintptr_t)pending;
}

static void take_notice(struct bench_sender *sender, struct msghdr *message)
{
    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part != NULL;
         part = CMSG_NXTHDR(message, part)) {
        struct sock_extended_err notice;
        if (part->cmsg_len < CMSG_LEN(sizeof notice))
            continue;
        memcpy(&notice, CMSG_DATA(part), sizeof notice);
        if (notice.ee_origin != SO_EE_ORIGIN_ZEROCOPY || notice.ee_errno != 0)
            continue;
        /* A range of numbers. */
        uint64_t sends = (uint64_t)(uint32_t)(notice.ee_data - notice.ee_info) + 1;
        CHECK(sends <= pending_of(sender));
        pending_set(sender, pending_of(sender) - sends);
        if (notice.ee_code & SO_EE_CODE_ZEROCOPY_COPIED)
            sender->zero_copy_copied += sends;
    }
}

/* Reads what the queue holds until at most `most` sends are outstanding; waits for it if need be.
 */
static int reap(struct bench_sender *sender, uint64_t most)
{
    while (pending_of(sender) > most) {
        char control[CMSG_SPACE(sizeof(struct sock_extended_err) + sizeof(struct sockaddr_in6))];
        struct msghdr message = {.msg_control = control, .msg_controllen = sizeof control};
        ssize_t got = recvmsg(sender->socket, &message, MSG_ERRQUEUE | MSG_DONTWAIT);
        sender->calls++;
        if (got >= 0) {
            take_notice(sender, &message);
            continue;
        }
        if (errno != EAGAIN && errno != EINTR)
            return errno;
        struct pollfd ready = {.fd = sender->socket}; /* POLLERR comes unasked */
        int count = poll(&ready, 1, NOTICE_WAIT_MS);
        sender->calls++;
        if (count == 0)
            return ETIMEDOUT;
    }
    return 0;
}

static int send_mapped(struct bench_sender *sender, const char *data, size_t size)
{
    for (size_t sent = 0; sent < size;) {
        ssize_t moved = send(sender->socket, data + sent, size - sent, MSG_ZEROCOPY | MSG_NOSIGNAL);
        sender->calls++;
        if (moved < 0 && errno == ENOBUFS && pending_of(sender) > 0) {
            /* The socket's memory for notices is full (net.core.optmem_max). */
            int result = reap(sender, pending_of(sender) - 1);
            if (result != 0)
                return result;
            continue;
        }
        if (moved < 0 && errno == EINTR)
            continue;
        if (moved < 0)
            return errno;
        sender->zero_copy_sends++;
        pending_set(sender, pending_of(sender) + 1);
        sent += (size_t)moved;
    }
    return 0;
}

static int zerocopy_send(struct bench_sender *sender, uint64_t offset)
{
    void *map =
        mmap(NULL, sender->object_bytes, PROT_READ, MAP_SHARED, sender->file_fd, (off_t)offset);
    sender->calls++;
    if (map == MAP_FAILED)
        return errno;
    int result = send_mapped(sender, map, sender->object_bytes);
    CHECK(munmap(map, sender->object_bytes) == 0); /* the kernel holds the pages it still needs */
    sender->calls++;
    if (result == 0 && pending_of(sender) > PENDING_MAX)
        result = reap(sender, PENDING_MAX / 2);
    return result;
}

static int zerocopy_finish(struct bench_sender *sender)
{
    return reap(sender, 0);
}

const struct bench_technique bench_mmap_zerocopy = {
    .id = "mmap_zerocopy",
    .name = "mmap + MSG_ZEROCOPY",
    .short_name = "mmap + ZEROCOPY",
    .how = "the object mapped, its pages pinned and sent, notices read",
    .copies = 0,
    .is_zero_copy = true,
    .open = zerocopy_open,
    .send = zerocopy_send,
    .finish = zerocopy_finish,
};
