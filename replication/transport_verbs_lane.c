#include <endian.h>
#include <errno.h>
#include <stdio.h>

#include "base/bytes.h"
#include "base/check.h"
#include "replication/transport_verbs.h"

/* A send's place in the queue is free when its completion was seen, which may be after its credit
 * came back: so there are twice as many as credits. */
const uint32_t verbs__sends_max[LANE_COUNT] = {
    [LANE_CTL] = CTL_RING,
    [LANE_META] = 2 * TRANSPORT_META_DEPTH,
    [LANE_BULK] = 2 * TRANSPORT_BULK_DEPTH,
};

uint32_t verbs__receives_of(enum transport_lane lane)
{
    return lane == LANE_CTL ? CTL_RECEIVES : transport__depth[lane];
}

static struct verbs *verbs_of_lane(const struct verbs_lane *lane)
{
    return verbs_of(lane->peer->transport);
}

/* ---- receiving ---- */

static int post_receive(struct verbs_lane *lane, struct verbs_wr *wr)
{
    struct ibv_sge piece;
    struct ibv_recv_wr receive = {.wr_id = (uintptr_t)wr}, *bad;
    if (lane->lane == LANE_CTL) {
        piece = (struct ibv_sge){.addr = (uintptr_t)lane->buffers[wr - lane->receives],
                                 .length = WIRE_MESSAGE_BYTES,
                                 .lkey = verbs_of_lane(lane)->receive_mr->lkey};
        receive.sg_list = &piece;
        receive.num_sge = 1;
    }
    int result = ibv_post_recv(lane->id->qp, &receive, &bad);
    lane->receives_posted += result == 0;
    return result;
}

static enum err post_receives(struct verbs_lane *lane, struct err_trail *trail)
{
    for (uint32_t i = 0; i < verbs__receives_of(lane->lane); i++) {
        struct verbs_wr *wr = &lane->receives[lane->lane == LANE_CTL ? i : 0];
        *wr = (struct verbs_wr){.magic = VERBS_WR_MAGIC, .is_receive = true, .lane = lane};
        int result = post_receive(lane, wr);
        if (result != 0)
            return err_note(trail, err_from_errno(result), "post the receives of a lane");
    }
    return ERR_OK;
}

static void take_message(struct verbs_lane *lane, struct verbs_wr *wr, uint32_t size)
{
    uint8_t message[WIRE_MESSAGE_BYTES];
    struct wire_head head;
    memcpy(message, lane->buffers[wr - lane->receives], sizeof message);
    if (size < WIRE_HEAD_BYTES || wire_head_decode(message, &head) || head.op == OP_WRITE ||
        head.size + WIRE_HEAD_BYTES != size) {
        transport__break(lane->peer, END_PROTOCOL,
                         "it sent a damaged message, or is no Sluice node");
        return;
    }
    if (post_receive(lane, wr) != 0) { /* before its credit goes back */
        transport__break(lane->peer, END_BROKEN, "the adapter takes no more receives");
        return;
    }
    transport__message_in(lane->peer, message);
}

static void received(struct verbs_lane *lane, struct verbs_wr *wr, const struct ibv_wc *wc)
{
    if (lane->peer->state == PEER_ENDING)
        return;
    if (lane->lane == LANE_CTL) {
        take_message(lane, wr, wc->byte_len);
    } else if (wc->opcode != IBV_WC_RECV_RDMA_WITH_IMM) {
        transport__break(lane->peer, END_PROTOCOL, "it sent a message on its %s lane",
                         transport_lane_name(lane->lane));
    } else if (post_receive(lane, wr) != 0) {
        transport__break(lane->peer, END_BROKEN, "the adapter takes no more receives");
    } else {
        transport__landed(lane->peer, lane->lane, be32toh(wc->imm_data), wc->byte_len);
    }
}

/* ---- sending ---- */

struct chain {
    struct ibv_send_wr sends[CHAIN_MAX];
    struct ibv_sge pieces[CHAIN_MAX][TRANSPORT_PIECES_MAX];
    uint32_t count;
};

static bool has_send_room(const struct verbs_lane *lane, const struct chain *chain)
{
    return chain->count < CHAIN_MAX && lane->sends_to - lane->sends_from < lane->sends_max;
}

static struct ibv_send_wr *chain_add(struct verbs_lane *lane, struct chain *chain,
                                     struct transport_write *write)
{
    struct verbs_wr *wr = &lane->sends[lane->sends_to++ % lane->sends_max];
    struct ibv_send_wr *send = &chain->sends[chain->count];
    *wr = (struct verbs_wr){.magic = VERBS_WR_MAGIC, .lane = lane, .write = write};
    *send = (struct ibv_send_wr){.wr_id = (uintptr_t)wr, .sg_list = chain->pieces[chain->count]};
    if (chain->count > 0)
        chain->sends[chain->count - 1].next = send;
    chain->count++;
    if (++lane->unsignaled >= SIGNAL_EVERY) {
        send->send_flags = IBV_SEND_SIGNALED;
        lane->unsignaled = 0;
    }
    return send;
}

static void chain_messages(struct verbs_lane *lane, struct chain *chain)
{
    struct transport_peer *peer = lane->peer;
    while (peer->ctl_sent != peer->ctl_queued && has_send_room(lane, chain)) {
        const uint8_t *message = peer->ctl[peer->ctl_sent++ % CTL_RING];
        struct ibv_send_wr *send = chain_add(lane, chain, NULL);
        send->opcode = IBV_WR_SEND;
        send->num_sge = 1;
        send->sg_list[0] = (struct ibv_sge){.addr = (uintptr_t)message,
                                            .length = WIRE_HEAD_BYTES + get_le32(message + 12),
                                            .lkey = verbs_of_lane(lane)->ctl_mr->lkey};
        if (lane->is_inline)
            send->send_flags |= IBV_SEND_INLINE;
    }
}

static void chain_write(struct verbs_lane *lane, struct chain *chain, struct transport_write *write)
{
    uint64_t offset;
    uint32_t key;
    const struct transport_region_out *region = transport__target(lane->peer, write, &offset, &key);
    struct ibv_send_wr *send = chain_add(lane, chain, write);
    send->opcode = IBV_WR_RDMA_WRITE_WITH_IMM;
    send->imm_data = htobe32(write->imm);
    send->wr.rdma.remote_addr = region->address + offset;
    send->wr.rdma.rkey = key;
    send->num_sge = write->piece_count;
    for (unsigned i = 0; i < write->piece_count; i++)
        send->sg_list[i] = (struct ibv_sge){.addr = (uintptr_t)write->pieces[i].iov_base,
                                            .length = (uint32_t)write->pieces[i].iov_len,
                                            .lkey = verbs_of_lane(lane)->arena_mr->lkey};
}

/* Faults: whether the lane was cut before this chain. */
static bool is_cut(struct verbs_lane *lane, uint32_t count)
{
    const struct transport_lane_faults *faults = transport__faults(lane->peer, lane->lane);
    lane->posted += count;
    return faults != NULL && lane->posted > faults->cut_at;
}

static void post_chain(struct verbs_lane *lane, struct chain *chain)
{
    struct ibv_send_wr *bad = NULL;
    chain->sends[chain->count - 1].send_flags |= IBV_SEND_SIGNALED;
    lane->unsignaled = 0;
    lane->peer->transport->counts.system_calls++;
    if (is_cut(lane, chain->count)) {
        verbs__lane_to_error(lane); /* what is posted now is flushed */
    }
    int result = ibv_post_send(lane->id->qp, chain->sends, &bad);
    if (result == 0)
        return;
    /* What was not posted will not complete: its writes are ended with the lane. */
    transport__break(lane->peer, END_BROKEN, "the adapter takes no more sends (%s lane): %s",
                     transport_lane_name(lane->lane), err_text(err_from_errno(result)));
    for (struct ibv_send_wr *left = bad; left != NULL; left = left->next)
        lane->not_posted++;
}

void verbs__lane_send(struct verbs_lane *lane)
{
    struct list *queue = &lane->peer->lanes[lane->lane].queue;
    struct transport_peer *peer = lane->peer;
    bool has_work =
        lane->lane == LANE_CTL ? peer->ctl_sent != peer->ctl_queued : !list_is_empty(queue);
    if (!lane->is_established || !has_work || !transport__lane_may_send(peer, lane->lane))
        return;
    for (struct chain chain;;) {
        chain.count = 0;
        if (lane->lane == LANE_CTL)
            chain_messages(lane, &chain);
        while (!list_is_empty(queue) && has_send_room(lane, &chain))
            chain_write(lane, &chain,
                        LIST_ENTRY(list_pop_front(queue), struct transport_write, link));
        if (chain.count == 0)
            return; /* all posted, or the queue is full: gone on with when completions come */
        post_chain(lane, &chain);
        if (peer->state == PEER_ENDING)
            return;
    }
}

/* ---- completions ---- */

static void end_send(struct verbs_lane *lane, const struct verbs_wr *wr, enum err e)
{
    if (wr->write != NULL)
        transport__written(lane->peer, wr->write, e);
    else
        transport__ctl_freed(lane->peer, 1);
}

/* Sends complete in order, and one that was not signaled with the next that was. */
static void completed_sends(struct verbs_lane *lane, const struct verbs_wr *upto, enum err e)
{
    const struct verbs_wr *wr;
    do {
        CHECK(lane->sends_from != lane->sends_to);
        wr = &lane->sends[lane->sends_from++ % lane->sends_max];
        end_send(lane, wr, wr == upto ? e : ERR_OK);
    } while (wr != upto);
}

static void failed(struct verbs_lane *lane, const struct ibv_wc *wc)
{
    const char *name = transport_lane_name(lane->lane);
    if (wc->status == IBV_WC_WR_FLUSH_ERR)
        transport__break(lane->peer, END_PEER_CLOSED, "it closed the connection (%s lane)", name);
    else if (wc->status == IBV_WC_RETRY_EXC_ERR)
        transport__break(lane->peer, END_TIMEOUT, "it stopped answering (%s lane)", name);
    else
        transport__break(lane->peer, END_BROKEN, "the connection failed (%s lane): %s", name,
                         ibv_wc_status_str(wc->status));
}

/* Faults: the status that a test has put in the place of this completion's own. */
static enum ibv_wc_status status_of(struct verbs_lane *lane, const struct ibv_wc *wc)
{
    struct transport_lane_faults *faults = transport__faults(lane->peer, lane->lane);
    if (faults == NULL || faults->wc_after == FAULT_NEVER || faults->wc_after-- > 0)
        return wc->status;
    faults->wc_after = FAULT_NEVER;
    return (enum ibv_wc_status)faults->wc_status;
}

void verbs__completed(struct ibv_wc *wc)
{
    struct verbs_wr *wr = (struct verbs_wr *)(uintptr_t)wc->wr_id;
    CHECK_MAGIC(wr, VERBS_WR_MAGIC);
    struct verbs_lane *lane = wr->lane;
    CHECK_MAGIC(lane, VERBS_LANE_MAGIC);
    if (!lane->has_qp || wc->qp_num != lane->qp_number)
        return; /* of a queue pair that was destroyed undrained */
    struct transport *t = lane->peer->transport;
    wc->status = status_of(lane, wc);
    if (wc->status != IBV_WC_SUCCESS)
        failed(lane, wc);
    if (wr->is_receive) {
        CHECK(lane->receives_posted > 0);
        lane->receives_posted--;
        if (wc->status == IBV_WC_SUCCESS)
            received(lane, wr, wc);
    } else {
        completed_sends(lane, wr, wc->status == IBV_WC_SUCCESS ? ERR_OK : ERR_PEER_CLOSED);
        if (lane->peer->state != PEER_ENDING)
            verbs__lane_send(lane);
    }
    if (lane->peer->state == PEER_ENDING)
        transport__turn_later(t);
}

/* ---- life ---- */

enum err verbs__lane_make_qp(struct verbs_lane *lane, struct err_trail *trail)
{
    struct verbs *verbs = verbs_of_lane(lane);
    struct ibv_qp_init_attr attributes = {
        .qp_context = lane,
        .send_cq = verbs->cq,
        .recv_cq = verbs->cq,
        .cap = {.max_send_wr = lane->sends_max,
                .max_recv_wr = verbs__receives_of(lane->lane),
                .max_send_sge = TRANSPORT_PIECES_MAX,
                .max_recv_sge = 1,
                .max_inline_data = lane->lane == LANE_CTL ? WIRE_MESSAGE_BYTES : 0},
        .qp_type = IBV_QPT_RC,
    };
    struct ibv_pd *domain = lane->lane == LANE_CTL ? verbs->ctl_domain : verbs->data_domain;
    lane->is_inline = lane->lane == LANE_CTL;
    int result = rdma_create_qp(lane->id, domain, &attributes);
    if (result != 0 && lane->is_inline) { /* an adapter that takes no such inline data */
        attributes.cap.max_inline_data = 0;
        lane->is_inline = false;
        result = rdma_create_qp(lane->id, domain, &attributes);
    }
    if (result != 0)
        return err_note(trail, err_from_errno(errno), "make a queue pair");
    lane->has_qp = true;
    lane->qp_number = lane->id->qp->qp_num;
    return post_receives(lane, trail);
}

void verbs__lane_to_error(struct verbs_lane *lane)
{
    struct ibv_qp_attr attributes = {.qp_state = IBV_QPS_ERR};
    if (lane->has_qp)
        CHECK(ibv_modify_qp(lane->id->qp, &attributes, IBV_QP_STATE) == 0);
}

bool verbs__lane_is_drained(const struct verbs_lane *lane)
{
    return !lane->has_qp ||
           (lane->receives_posted == 0 && lane->sends_to - lane->sends_from == lane->not_posted);
}

void verbs__lane_release(struct verbs_lane *lane)
{
    if (lane->has_qp)
        rdma_destroy_qp(lane->id); /* undrained, too: afterwards nothing is read or written */
    lane->has_qp = false;
    while (lane->sends_from != lane->sends_to)
        end_send(lane, &lane->sends[lane->sends_from++ % lane->sends_max], ERR_PEER_CLOSED);
    if (lane->id != NULL)
        (void)rdma_destroy_id(lane->id); /* nothing to do about a failure */
    lane->id = NULL;
    lane->is_established = false;
}
