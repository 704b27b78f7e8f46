#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/check.h"
#include "base/cleanup.h"
#include "replication/transport_tcp.h"

/*
 * Connections: a listener, calls, and strangers, sockets that were accepted and have not said yet
 * whether they are a new peer's CTL lane (HELLO) or a lane of one we know (ATTACH).
 */

#define LISTEN_BACKLOG  64
#define USER_TIMEOUT_MS 3000u /* replication.md: an operation's deadline */
#define ACCEPT_RETRY_NS (100 * NS_PER_MS)
#define STRANGER_NS     TRANSPORT_HANDSHAKE_NS

struct tcp_stranger {
    struct tcp *tcp;
    int fd; /* owned; -1: free */
    struct ring_op op;
    struct timer deadline;
    uint32_t have;
    uint8_t first[WIRE_MESSAGE_BYTES];
};

struct tcp {
    struct transport *transport;
    int listen_fd; /* owned */
    struct ring_op accept_op;
    struct timer accept_again;
    struct tcp_peer *peers; /* owned: the pool's */
    struct tcp_stranger strangers[STRANGERS_MAX];
};

static void set_options(int fd)
{
    int on = 1;
    unsigned timeout_ms = USER_TIMEOUT_MS;
    /* Without them it is slower, and a dead peer is found by the layer above: no reason to fail. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof timeout_ms);
}

/* ---- calling ---- */

static void called(struct ring_op *op, enum err e, uint32_t count);

static void set_port(struct sockaddr_storage *address, uint16_t port)
{
    if (address->ss_family == AF_INET)
        ((struct sockaddr_in *)address)->sin_port = port;
    else if (address->ss_family == AF_INET6)
        ((struct sockaddr_in6 *)address)->sin6_port = port;
}

/* From our own address, so that the peer sees which node calls, and several nodes may share a
 * machine. */
static enum err call(struct tcp_lane *lane, const struct sockaddr *address, socklen_t size,
                     struct err_trail *trail)
{
    struct transport *t = lane->peer->transport;
    CLEANUP(fd_close)
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_note(trail, err_from_errno(errno), "make a socket");
    set_options(fd);
    struct sockaddr_storage from = t->address;
    int on = 1;
    (void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on); /* spares ports */
    set_port(&from, 0);
    if (from.ss_family == address->sa_family &&
        bind(fd, (struct sockaddr *)&from, t->address_size) != 0)
        return err_note(trail, err_from_errno(errno), "use this node's address");
    if (connect(fd, address, size) != 0 && errno != EINPROGRESS)
        return err_say(trail, err_from_errno(errno), "%s", strerrordesc_np(errno));
    lane->fd = TAKE_FD(fd);
    ring_poll(loop_ring(t->loop), &lane->out_op, lane->fd, POLLOUT, called);
    return ERR_OK;
}

static void attach_sent(struct ring_op *op, enum err e, uint32_t count)
{
    struct tcp_lane *lane = CONTAINER_OF(op, struct tcp_lane, out_op);
    CHECK_MAGIC(lane, TCP_LANE_MAGIC);
    if (lane->peer->state == PEER_ENDING)
        transport__turn_later(lane->peer->transport);
    else if (e || count != sizeof lane->attach) /* a fresh socket takes so few bytes at once */
        tcp__lane_failed(lane, e ? e : ERR_IO);
    else
        transport__attached(lane->peer, lane->lane);
}

static void send_attach(struct tcp_lane *lane)
{
    struct wire_attach attach;
    struct wire_head head = {
        .op = OP_ATTACH, .lane = (uint8_t)lane->lane, .size = WIRE_ATTACH_BYTES};
    transport__attach_of(lane->peer, lane->lane, &attach);
    wire_attach_encode(&attach, lane->attach + WIRE_HEAD_BYTES);
    wire_head_encode(&head, lane->attach + WIRE_HEAD_BYTES, lane->attach);
    ring_send(loop_ring(lane->peer->transport->loop), &lane->out_op, lane->fd, lane->attach,
              sizeof lane->attach, 0, attach_sent);
}

static void called(struct ring_op *op, enum err e, uint32_t count)
{
    struct tcp_lane *lane = CONTAINER_OF(op, struct tcp_lane, out_op);
    CHECK_MAGIC(lane, TCP_LANE_MAGIC);
    int errnum = 0;
    socklen_t size = sizeof errnum;
    if (lane->peer->state == PEER_ENDING) {
        transport__turn_later(lane->peer->transport);
    } else if (e) {
        tcp__lane_failed(lane, e);
    } else if (getsockopt(lane->fd, SOL_SOCKET, SO_ERROR, &errnum, &size) != 0 || errnum != 0) {
        transport__break(lane->peer, errnum == ETIMEDOUT ? END_TIMEOUT : END_BROKEN,
                         "it cannot be reached: %s", strerrordesc_np(errnum ? errnum : errno));
    } else if (lane->lane != LANE_CTL) {
        send_attach(lane);
    } else {
        tcp__lane_receive(lane);
        transport__dialled(lane->peer);
    }
}

static void prepare(struct transport_peer *peer)
{
    for (int lane = 0; lane < LANE_COUNT; lane++)
        tcp__lane_init(tcp_lane_of(peer, lane), peer, (enum transport_lane)lane);
}

static enum err tcp_dial(struct transport_peer *peer, const struct sockaddr *address,
                         socklen_t size, struct err_trail *trail)
{
    prepare(peer);
    return call(tcp_lane_of(peer, LANE_CTL), address, size, trail);
}

static enum err tcp_attach(struct transport_peer *peer, struct err_trail *trail)
{
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    if (getpeername(tcp_lane_of(peer, LANE_CTL)->fd, (struct sockaddr *)&address, &size) != 0)
        return err_from_errno(errno);
    enum err e = call(tcp_lane_of(peer, LANE_META), (struct sockaddr *)&address, size, trail);
    return e ? e : call(tcp_lane_of(peer, LANE_BULK), (struct sockaddr *)&address, size, trail);
}

/* ---- strangers ---- */

static void stranger_received(struct ring_op *op, enum err e, uint32_t count);

static void stranger_receive(struct tcp_stranger *stranger)
{
    ring_recv(loop_ring(stranger->tcp->transport->loop), &stranger->op, stranger->fd,
              stranger->first + stranger->have, (uint32_t)sizeof stranger->first - stranger->have,
              stranger_received);
}

static void stranger_close(struct tcp_stranger *stranger)
{
    CHECK(!ring_op_is_pending(&stranger->op));
    timer_stop(stranger->tcp->transport->loop, &stranger->deadline);
    if (stranger->fd >= 0)
        (void)close(stranger->fd); /* nothing of ours is in it */
    stranger->fd = -1;
    transport__turn_later(stranger->tcp->transport);
}

static void stranger_late(struct timer *timer)
{
    struct tcp_stranger *stranger = CONTAINER_OF(timer, struct tcp_stranger, deadline);
    (void)shutdown(stranger->fd, SHUT_RDWR); /* its receive ends and closes it */
    ring_cancel(loop_ring(stranger->tcp->transport->loop), &stranger->op);
}

static void turn_away(struct tcp_stranger *stranger, enum transport_end why, const char *text)
{
    struct transport *t = stranger->tcp->transport;
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof address;
    char name[80] = "somebody", sentence[200];
    if (getpeername(stranger->fd, (struct sockaddr *)&address, &size) == 0)
        transport__format_address((struct sockaddr *)&address, name);
    snprintf(sentence, sizeof sentence, "%s: %s", name, text);
    t->counts.refused++;
    t->counts.ends[why]++;
    stranger_close(stranger);
    if (t->handlers.turned_away)
        t->handlers.turned_away(t->context, why, sentence);
}

static void become_peer(struct tcp_stranger *stranger)
{
    struct sockaddr_storage address = {.ss_family = AF_UNSPEC};
    socklen_t size = sizeof address;
    (void)getpeername(stranger->fd, (struct sockaddr *)&address, &size); /* gone: found out soon */
    struct transport_peer *peer =
        transport__stranger(stranger->tcp->transport, (struct sockaddr *)&address);
    if (peer == NULL) {
        turn_away(stranger, END_REFUSED, "too many connections are in the handshake");
        return;
    }
    prepare(peer);
    struct tcp_lane *lane = tcp_lane_of(peer, LANE_CTL);
    lane->fd = TAKE_FD(stranger->fd);
    uint8_t first[WIRE_MESSAGE_BYTES];
    memcpy(first, stranger->first, sizeof first);
    stranger_close(stranger);
    transport__message_in(peer, first);
    if (peer->state != PEER_ENDING)
        tcp__lane_receive(lane);
}

static void become_lane(struct tcp_stranger *stranger, const struct wire_head *head)
{
    struct transport *t = stranger->tcp->transport;
    struct wire_attach attach;
    struct transport_peer *peer = NULL;
    if (head->size == WIRE_ATTACH_BYTES && wire_message_generation(stranger->first, head) == 0) {
        wire_attach_decode(stranger->first + WIRE_HEAD_BYTES, &attach);
        peer = transport__attach_to(t, &attach);
    }
    if (peer == NULL) {
        turn_away(stranger, END_PROTOCOL,
                  "it wanted to attach to a connection that is not its own");
        return;
    }
    struct tcp_lane *lane = tcp_lane_of(peer, (enum transport_lane)attach.lane);
    CHECK(lane->fd < 0);
    lane->fd = TAKE_FD(stranger->fd);
    stranger_close(stranger);
    transport__attached(peer, lane->lane);
}

/* Exactly one frame: whoever sends more before our answer is no node. */
static void stranger_received(struct ring_op *op, enum err e, uint32_t count)
{
    struct tcp_stranger *stranger = CONTAINER_OF(op, struct tcp_stranger, op);
    struct transport *t = stranger->tcp->transport;
    stranger->have += count;
    if (t->is_closing) {
        stranger_close(stranger);
        return;
    }
    if (e || count == 0) {
        turn_away(stranger, e == ERR_CANCELLED ? END_TIMEOUT : END_PEER_CLOSED,
                  "it did not say who it is");
        return;
    }
    struct wire_head head;
    if (stranger->have < WIRE_HEAD_BYTES) {
        stranger_receive(stranger);
    } else if (wire_head_decode(stranger->first, &head) ||
               (head.op != OP_HELLO && head.op != OP_ATTACH) ||
               stranger->have > WIRE_HEAD_BYTES + head.size) {
        turn_away(stranger, END_PROTOCOL,
                  "it is no Sluice node: its first bytes are something else");
    } else if (stranger->have < WIRE_HEAD_BYTES + head.size) {
        stranger_receive(stranger);
    } else if (head.op == OP_HELLO) {
        become_peer(stranger);
    } else {
        become_lane(stranger, &head);
    }
}

/* ---- listening ---- */

static void accepted(struct ring_op *op, enum err e, uint32_t count);

static void accept_next(struct tcp *tcp)
{
    ring_accept(loop_ring(tcp->transport->loop), &tcp->accept_op, tcp->listen_fd, accepted);
}

static void accept_again(struct timer *timer)
{
    accept_next(CONTAINER_OF(timer, struct tcp, accept_again));
}

static void take_stranger(struct tcp *tcp, int fd)
{
    for (unsigned i = 0; i < STRANGERS_MAX; i++) {
        struct tcp_stranger *stranger = &tcp->strangers[i];
        if (stranger->fd >= 0 || ring_op_is_pending(&stranger->op))
            continue;
        set_options(fd);
        stranger->fd = fd;
        stranger->have = 0;
        timer_start(tcp->transport->loop, &stranger->deadline, STRANGER_NS, stranger_late);
        stranger_receive(stranger);
        return;
    }
    (void)close(fd); /* it calls again; those before it have a deadline */
    tcp->transport->counts.refused++;
}

static void accepted(struct ring_op *op, enum err e, uint32_t count)
{
    struct tcp *tcp = CONTAINER_OF(op, struct tcp, accept_op);
    struct transport *t = tcp->transport;
    if (t->is_closing) {
        if (e == ERR_OK)
            (void)close((int)count);
        transport__turn_later(t);
    } else if (e) { /* out of descriptors, most likely */
        timer_start(t->loop, &tcp->accept_again, ACCEPT_RETRY_NS, accept_again);
    } else {
        take_stranger(tcp, (int)count);
        accept_next(tcp);
    }
}

static void tcp_stop_listening(struct transport *t)
{
    struct tcp *tcp = t->backend;
    loop_stay_awake(t->loop, 0);
    timer_stop(t->loop, &tcp->accept_again);
    ring_cancel(loop_ring(t->loop), &tcp->accept_op);
    for (unsigned i = 0; i < STRANGERS_MAX; i++)
        if (tcp->strangers[i].fd >= 0)
            stranger_late(&tcp->strangers[i].deadline);
}

static bool tcp_is_quiet(const struct transport *t)
{
    const struct tcp *tcp = t->backend;
    bool quiet = !ring_op_is_pending(&tcp->accept_op);
    for (unsigned i = 0; i < STRANGERS_MAX; i++)
        quiet = quiet && tcp->strangers[i].fd < 0;
    return quiet;
}

static void tcp_free(struct transport *t)
{
    struct tcp *tcp = t->backend;
    if (tcp == NULL)
        return;
    if (tcp->listen_fd >= 0)
        (void)close(tcp->listen_fd);
    free(tcp->peers);
    free(tcp);
    t->backend = NULL;
}

static enum err listen_on(struct tcp *tcp, struct err_trail *trail)
{
    struct transport *t = tcp->transport;
    char name[80];
    int on = 1;
    transport__format_address((struct sockaddr *)&t->address, name);
    tcp->listen_fd = socket(t->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (tcp->listen_fd < 0)
        return err_note(trail, err_from_errno(errno), "make a socket");
    (void)setsockopt(tcp->listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(tcp->listen_fd, (struct sockaddr *)&t->address, t->address_size) != 0 ||
        listen(tcp->listen_fd, LISTEN_BACKLOG) != 0)
        return err_say(trail, err_from_errno(errno), "listen on %s: %s", name,
                       strerrordesc_np(errno));
    socklen_t size = sizeof t->address;
    if (getsockname(tcp->listen_fd, (struct sockaddr *)&t->address, &size) != 0)
        return err_note(trail, err_from_errno(errno), "listen on %s", name);
    return ERR_OK;
}

static enum err tcp_open(struct transport *t, struct err_trail *trail)
{
    struct tcp *tcp = t->backend = calloc(1, sizeof *tcp);
    if (tcp == NULL)
        return ERR_NO_MEMORY;
    tcp->transport = t;
    tcp->listen_fd = -1;
    for (unsigned i = 0; i < STRANGERS_MAX; i++) {
        tcp->strangers[i].tcp = tcp;
        tcp->strangers[i].fd = -1;
    }
    tcp->peers = calloc(t->pool_size, sizeof *tcp->peers);
    if (tcp->peers == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < t->pool_size; i++)
        t->pool[i].backend = &tcp->peers[i];
    enum err e = listen_on(tcp, trail);
    if (e)
        return e;
    transport__interface_of((struct sockaddr *)&t->address, t->device, sizeof t->device);
    t->is_registered = ring_has_fixed_buffers(loop_ring(t->loop));
    loop_stay_awake(t->loop, t->busy_poll_ns);
    accept_next(tcp);
    return ERR_OK;
}

/* ---- a peer ---- */

static void tcp_ready(struct transport_peer *peer)
{
    tcp__lane_receive(tcp_lane_of(peer, LANE_META));
    tcp__lane_receive(tcp_lane_of(peer, LANE_BULK));
}

static void tcp_flush(struct transport_peer *peer)
{
    for (int lane = 0; lane < LANE_COUNT; lane++)
        tcp__lane_send(tcp_lane_of(peer, lane));
}

static enum err tcp_grant(struct transport_peer *peer, unsigned region, uint64_t *ret_address,
                          struct err_trail *trail)
{
    *ret_address = 0; /* offsets count from the area's start; its key was drawn already */
    return ERR_OK;
}

static void tcp_end(struct transport_peer *peer)
{
    struct ring *ring = loop_ring(peer->transport->loop);
    for (int i = 0; i < LANE_COUNT; i++) {
        struct tcp_lane *lane = tcp_lane_of(peer, i);
        if (lane->fd >= 0)
            (void)shutdown(lane->fd, SHUT_RDWR); /* not connected: nothing to shut */
        ring_cancel(ring, &lane->in_op);
        ring_cancel(ring, &lane->out_op);
    }
}

static bool tcp_is_ended(const struct transport_peer *peer)
{
    for (int i = 0; i < LANE_COUNT; i++) {
        const struct tcp_lane *lane = tcp_lane_of(peer, i);
        if (ring_op_is_pending(&lane->in_op) || ring_op_is_pending(&lane->out_op))
            return false;
    }
    return true;
}

static void tcp_release(struct transport_peer *peer)
{
    for (int i = 0; i < LANE_COUNT; i++) {
        struct tcp_lane *lane = tcp_lane_of(peer, i);
        tcp__lane_release(lane);
        if (lane->fd >= 0)
            (void)close(lane->fd);
        lane->fd = -1;
    }
}

const struct transport_ops transport__tcp_ops = {
    .backend = TRANSPORT_TCP,
    .open = tcp_open,
    .stop_listening = tcp_stop_listening,
    .is_quiet = tcp_is_quiet,
    .free = tcp_free,
    .dial = tcp_dial,
    .attach = tcp_attach,
    .ready = tcp_ready,
    .flush = tcp_flush,
    .grant = tcp_grant,
    .end = tcp_end,
    .is_ended = tcp_is_ended,
    .release = tcp_release,
};
