#include <string.h>
#include <sys/socket.h>

#include "base/bytes.h"
#include "base/check.h"
#include "replication/transport_tcp.h"

void tcp__lane_init(struct tcp_lane *lane, struct transport_peer *peer, enum transport_lane id)
{
    CHECK(!ring_op_is_pending(&lane->in_op) && !ring_op_is_pending(&lane->out_op));
    *lane = (struct tcp_lane){.magic = TCP_LANE_MAGIC, .lane = id, .peer = peer, .fd = -1};
    list_init(&lane->sending);
}

static struct ring *ring_of(const struct tcp_lane *lane)
{
    return loop_ring(lane->peer->transport->loop);
}

/* Once the peer ends, results only tell that the kernel is done. */
static bool is_over(const struct tcp_lane *lane)
{
    if (lane->peer->state != PEER_ENDING)
        return false;
    transport__turn_later(lane->peer->transport);
    return true;
}

void tcp__lane_failed(struct tcp_lane *lane, enum err e)
{
    const char *name = transport_lane_name(lane->lane);
    if (e == ERR_PEER_CLOSED)
        transport__break(lane->peer, END_PEER_CLOSED, "it closed the connection (%s lane)", name);
    else if (e == ERR_TIMEOUT)
        transport__break(lane->peer, END_TIMEOUT, "it stopped answering (%s lane)", name);
    else
        transport__break(lane->peer, END_BROKEN, "the connection failed (%s lane): %s", name,
                         err_text(e));
}

/* ---- receiving ---- */

static void received(struct ring_op *op, enum err e, uint32_t count);

static uint32_t receive_limit(const struct tcp_lane *lane)
{
    const struct transport_faults *faults = lane->peer->transport->faults;
    return faults != NULL && faults->recv_max > 0 ? faults->recv_max : UINT32_MAX;
}

static void receive_one(struct tcp_lane *lane, void *to, uint32_t size)
{
    uint32_t limit = receive_limit(lane);
    ring_recv(ring_of(lane), &lane->in_op, lane->fd, to, size < limit ? size : limit, received);
}

void tcp__lane_receive(struct tcp_lane *lane)
{
    lane->peer->transport->counts.system_calls++;
    if (lane->lane == LANE_CTL) {
        receive_one(lane, lane->ctl + lane->ctl_have, TCP_CTL_BYTES - lane->ctl_have);
    } else if (lane->body_left == 0) {
        receive_one(lane, lane->head + lane->head_have, WIRE_HEAD_BYTES - lane->head_have);
    } else if (receive_limit(lane) < lane->body_left + WIRE_HEAD_BYTES) {
        receive_one(lane, lane->to, lane->body_left);
    } else {
        CHECK(lane->head_have == 0);
        lane->in_iov[0] = (struct iovec){lane->to, lane->body_left};
        lane->in_iov[1] = (struct iovec){lane->head, WIRE_HEAD_BYTES};
        lane->in_msg = (struct msghdr){.msg_iov = lane->in_iov, .msg_iovlen = 2};
        ring_recvmsg(ring_of(lane), &lane->in_op, lane->fd, &lane->in_msg, received);
    }
}

/* The only place where a byte of the peer's choosing gets an address of ours (C4). */
static bool find_target(struct tcp_lane *lane, const struct wire_head *head)
{
    const struct transport_peer *peer = lane->peer;
    for (unsigned i = 0; i < peer->regions_in_count; i++) {
        const struct transport_region_in *region = &peer->regions_in[i];
        if (region->key != head->a)
            continue;
        if (head->b > region->size || head->size > region->size - head->b)
            return false;
        lane->to = region->data + head->b;
        return true;
    }
    return false;
}

static void take_head(struct tcp_lane *lane)
{
    struct wire_head head;
    lane->head_have = 0;
    if (wire_head_decode(lane->head, &head)) {
        transport__break(lane->peer, END_PROTOCOL, "it sent a damaged frame on its %s lane",
                         transport_lane_name(lane->lane));
    } else if (head.op != OP_WRITE || head.lane != lane->lane ||
               head.seq != lane->peer->lanes[lane->lane].seq_in ||
               head.gen != lane->peer->generation) {
        transport__break(lane->peer, END_PROTOCOL,
                         "it sent a frame of another connection or lane on its %s lane",
                         transport_lane_name(lane->lane));
    } else if (!find_target(lane, &head)) {
        transport__break(lane->peer, END_PROTOCOL,
                         "it wrote outside the memory that was granted to it");
    } else {
        lane->peer->lanes[lane->lane].seq_in++;
        lane->body_left = lane->body_size = head.size;
        lane->imm = head.c;
    }
}

static void take_bytes(struct tcp_lane *lane, uint32_t count)
{
    if (lane->body_left > 0) {
        uint32_t body = count < lane->body_left ? count : lane->body_left;
        lane->to += body;
        lane->body_left -= body;
        count -= body;
        if (lane->body_left == 0)
            transport__landed(lane->peer, lane->lane, lane->imm, lane->body_size);
    }
    lane->head_have += count;
    CHECK(lane->head_have <= WIRE_HEAD_BYTES);
    if (lane->head_have == WIRE_HEAD_BYTES && lane->peer->state != PEER_ENDING)
        take_head(lane);
}

/* Whole messages at the front of the buffer; what is left of one moves there. */
static void take_messages(struct tcp_lane *lane, uint32_t count)
{
    uint32_t at = 0;
    lane->ctl_have += count;
    while (lane->ctl_have - at >= WIRE_HEAD_BYTES && lane->peer->state != PEER_ENDING) {
        struct wire_head head;
        if (wire_head_decode(lane->ctl + at, &head) || head.op == OP_WRITE) {
            transport__break(lane->peer, END_PROTOCOL,
                             "it sent a damaged message, or is no Sluice node");
            return;
        }
        if (lane->ctl_have - at < WIRE_HEAD_BYTES + head.size)
            break;
        transport__message_in(lane->peer, lane->ctl + at);
        at += WIRE_HEAD_BYTES + head.size;
    }
    lane->ctl_have -= at;
    memmove(lane->ctl, lane->ctl + at, lane->ctl_have);
}

static void received(struct ring_op *op, enum err e, uint32_t count)
{
    struct tcp_lane *lane = CONTAINER_OF(op, struct tcp_lane, in_op);
    CHECK_MAGIC(lane, TCP_LANE_MAGIC);
    if (is_over(lane))
        return;
    if (e || count == 0) {
        tcp__lane_failed(lane, e ? e : ERR_PEER_CLOSED);
        return;
    }
    if (lane->lane == LANE_CTL)
        take_messages(lane, count);
    else
        take_bytes(lane, count);
    if (!is_over(lane))
        tcp__lane_receive(lane);
}

/* ---- sending ---- */

static void sent(struct ring_op *op, enum err e, uint32_t count);

static void corrupt(struct tcp_lane *lane, uint8_t *ours, uint32_t size)
{
    const struct transport_lane_faults *faults = transport__faults(lane->peer, lane->lane);
    if (faults != NULL && faults->corrupt_at - lane->gathered < size)
        ours[faults->corrupt_at - lane->gathered] ^= 0x10;
}

static void gather_messages(struct tcp_lane *lane)
{
    struct transport_peer *peer = lane->peer;
    while (peer->ctl_sent != peer->ctl_queued && lane->out_count < TCP_BATCH_PIECES) {
        uint8_t *message = peer->ctl[peer->ctl_sent++ % CTL_RING];
        uint32_t size = WIRE_HEAD_BYTES + get_le32(message + 12);
        corrupt(lane, message, size);
        lane->out_iov[lane->out_count++] = (struct iovec){message, size};
        lane->sending_messages++;
        lane->gathered += size;
    }
}

static void gather_write(struct tcp_lane *lane, struct transport_write *write)
{
    struct transport_peer *peer = lane->peer;
    const struct transport_lane_faults *faults = transport__faults(peer, lane->lane);
    uint64_t offset;
    struct wire_head head = {.op = OP_WRITE,
                             .lane = (uint8_t)lane->lane,
                             .seq = peer->lanes[lane->lane].seq_out++,
                             .gen = peer->generation + (faults != NULL && faults->wrong_gen),
                             .size = write->size,
                             .c = write->imm};
    (void)transport__target(peer, write, &offset, &head.a);
    head.b = (uint32_t)offset;
    wire_head_encode(&head, NULL, write->head);
    corrupt(lane, write->head, WIRE_HEAD_BYTES);
    lane->out_iov[lane->out_count++] = (struct iovec){write->head, WIRE_HEAD_BYTES};
    for (unsigned i = 0; i < write->piece_count; i++)
        lane->out_iov[lane->out_count++] = write->pieces[i];
    lane->gathered += WIRE_HEAD_BYTES + write->size;
    list_push_back(&lane->sending, &write->link);
}

static void gather_writes(struct tcp_lane *lane)
{
    struct list *queue = &lane->peer->lanes[lane->lane].queue;
    uint64_t from = lane->gathered;
    while (!list_is_empty(queue) && lane->gathered - from < TCP_BATCH_BYTES &&
           lane->out_count + 1 + TRANSPORT_PIECES_MAX <= TCP_BATCH_PIECES)
        gather_write(lane, LIST_ENTRY(list_pop_front(queue), struct transport_write, link));
}

/* Faults: how much of the batch may go with this system call; UINT64_MAX: all of it. */
static uint64_t send_limit(struct tcp_lane *lane)
{
    const struct transport_faults *faults = lane->peer->transport->faults;
    if (faults == NULL)
        return UINT64_MAX;
    uint64_t limit = faults->send_max > 0 ? faults->send_max : UINT64_MAX;
    uint64_t left = faults->lanes[lane->lane].cut_at - lane->sent;
    return left < limit ? left : limit;
}

static void send_batch(struct tcp_lane *lane)
{
    uint64_t limit = send_limit(lane);
    lane->peer->transport->counts.system_calls++;
    if (limit == 0) {
        (void)shutdown(lane->fd, SHUT_RDWR); /* fault: cut here; the receive tells */
        return;
    }
    lane->out_msg = (struct msghdr){.msg_iov = lane->out_iov + lane->out_first,
                                    .msg_iovlen = lane->out_count - lane->out_first};
    if (limit != UINT64_MAX) {
        lane->out_cut = lane->out_iov[lane->out_first];
        if (lane->out_cut.iov_len > limit)
            lane->out_cut.iov_len = limit;
        lane->out_msg = (struct msghdr){.msg_iov = &lane->out_cut, .msg_iovlen = 1};
    }
    ring_sendmsg(ring_of(lane), &lane->out_op, lane->fd, &lane->out_msg, MSG_WAITALL, sent);
}

void tcp__lane_send(struct tcp_lane *lane)
{
    if (lane->fd < 0 || ring_op_is_pending(&lane->out_op) || lane->out_first < lane->out_count)
        return;
    lane->out_first = lane->out_count = 0;
    if (!transport__lane_may_send(lane->peer, lane->lane))
        return;
    if (lane->lane == LANE_CTL)
        gather_messages(lane);
    else
        gather_writes(lane);
    if (lane->out_count > 0)
        send_batch(lane);
}

static void skip_sent(struct tcp_lane *lane, uint32_t count)
{
    lane->sent += count;
    while (count > 0) {
        struct iovec *piece = &lane->out_iov[lane->out_first];
        CHECK(lane->out_first < lane->out_count);
        if (count < piece->iov_len) {
            piece->iov_base = (uint8_t *)piece->iov_base + count;
            piece->iov_len -= count;
            return;
        }
        count -= (uint32_t)piece->iov_len;
        lane->out_first++;
    }
}

/* Ends the writes that the kernel has taken whole. */
static void end_sent(struct tcp_lane *lane, uint32_t count)
{
    lane->sending_done += count;
    for (struct list *node; (node = list_first(&lane->sending)) != NULL;) {
        struct transport_write *write = LIST_ENTRY(node, struct transport_write, link);
        if (lane->sending_done < WIRE_HEAD_BYTES + write->size)
            return;
        lane->sending_done -= WIRE_HEAD_BYTES + write->size;
        list_remove(node);
        transport__written(lane->peer, write, ERR_OK);
    }
}

static void sent(struct ring_op *op, enum err e, uint32_t count)
{
    struct tcp_lane *lane = CONTAINER_OF(op, struct tcp_lane, out_op);
    CHECK_MAGIC(lane, TCP_LANE_MAGIC);
    if (is_over(lane))
        return;
    if (e) {
        tcp__lane_failed(lane, e);
        return;
    }
    skip_sent(lane, count);
    bool is_whole = lane->out_first == lane->out_count;
    if (lane->lane != LANE_CTL) {
        end_sent(lane, count);
    } else if (is_whole) {
        uint32_t messages = lane->sending_messages;
        lane->sending_messages = 0;
        transport__ctl_freed(lane->peer, messages);
    }
    if (is_over(lane))
        return;
    if (is_whole)
        tcp__lane_send(lane);
    else
        send_batch(lane);
}

void tcp__lane_release(struct tcp_lane *lane)
{
    CHECK(!ring_op_is_pending(&lane->in_op) && !ring_op_is_pending(&lane->out_op));
    for (struct list *node; (node = list_pop_front(&lane->sending)) != NULL;)
        transport__written(lane->peer, LIST_ENTRY(node, struct transport_write, link),
                           ERR_PEER_CLOSED);
}
