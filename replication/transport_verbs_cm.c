#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/log.h"
#include "replication/transport_verbs.h"

/*
 * Connections by RDMA-CM. A request's private data says what it is for: a new peer's CTL lane, or a
 * lane of a peer that has shown who it is. Everything else is said on the CTL lane.
 */
#define REQUEST_CTL    0x31434c53u /* "SLC1" */
#define REQUEST_ATTACH 0x31414c53u /* "SLA1" and a wire_attach */
#define REQUEST_BYTES  (4u + WIRE_ATTACH_BYTES)
_Static_assert(REQUEST_BYTES <= 56, "what an InfiniBand connection request can carry");

static void prepare(struct transport_peer *peer)
{
    struct verbs_peer *verbs_peer = verbs_peer_of(peer);
    verbs_peer->is_drained_enough = false;
    for (int i = 0; i < LANE_COUNT; i++) {
        struct verbs_lane *lane = &verbs_peer->lanes[i];
        CHECK(lane->id == NULL && !lane->has_qp);
        lane->peer = peer;
        lane->sends_from = lane->sends_to = lane->unsignaled = lane->not_posted = 0;
        lane->receives_posted = 0;
        lane->posted = 0;
        lane->is_established = false;
    }
}

/* ---- calling ---- */

static enum err call(struct verbs_lane *lane, struct err_trail *trail)
{
    struct transport_peer *peer = lane->peer;
    struct verbs_peer *verbs_peer = verbs_peer_of(peer);
    struct transport *t = peer->transport;
    struct sockaddr_storage from = t->address;
    if (from.ss_family == AF_INET)
        ((struct sockaddr_in *)&from)->sin_port = 0;
    else
        ((struct sockaddr_in6 *)&from)->sin6_port = 0;
    if (rdma_create_id(verbs_of(t)->events, &lane->id, lane, RDMA_PS_TCP) != 0)
        return err_note(trail, err_from_errno(errno), "make a connection's id");
    uint8_t timeout = ACK_TIMEOUT;
    /* An old kernel's own will do: a dead peer is found by the layer above. */
    (void)rdma_set_option(lane->id, RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT, &timeout,
                          sizeof timeout);
    if (rdma_resolve_addr(lane->id, (struct sockaddr *)&from,
                          (struct sockaddr *)&verbs_peer->address, RESOLVE_MS) != 0)
        return err_note(trail, err_from_errno(errno), "find the way to the peer");
    return ERR_OK;
}

enum err verbs__dial(struct transport_peer *peer, const struct sockaddr *address, socklen_t size,
                     struct err_trail *trail)
{
    struct verbs_peer *verbs_peer = verbs_peer_of(peer);
    prepare(peer);
    CHECK(size <= sizeof verbs_peer->address);
    memcpy(&verbs_peer->address, address, size);
    verbs_peer->address_size = size;
    return call(verbs_lane_of(peer, LANE_CTL), trail);
}

enum err verbs__attach(struct transport_peer *peer, struct err_trail *trail)
{
    enum err e = call(verbs_lane_of(peer, LANE_META), trail);
    return e ? e : call(verbs_lane_of(peer, LANE_BULK), trail);
}

static void give_up(struct verbs_lane *lane, enum transport_end why, const char *what, int errnum)
{
    const char *text = errnum != 0 ? strerrordesc_np(errnum) : NULL;
    transport__break(lane->peer, why, "%s%s%s", what, text ? ": " : "", text ? text : "");
}

static void address_resolved(struct verbs_lane *lane)
{
    if (lane->id->verbs != verbs_of(lane->peer->transport)->device)
        give_up(lane, END_BROKEN, "the way to it is not by this node's RDMA device", 0);
    else if (rdma_resolve_route(lane->id, RESOLVE_MS) != 0)
        give_up(lane, END_BROKEN, "no RDMA route to it", errno);
}

static void route_resolved(struct verbs_lane *lane)
{
    uint8_t request[REQUEST_BYTES] = {0};
    struct err_trail trail = {0};
    put_le32(request, lane->lane == LANE_CTL ? REQUEST_CTL : REQUEST_ATTACH);
    if (lane->lane != LANE_CTL) {
        struct wire_attach attach;
        transport__attach_of(lane->peer, lane->lane, &attach);
        wire_attach_encode(&attach, request + 4);
    }
    enum err e = verbs__lane_make_qp(lane, &trail);
    if (e) {
        give_up(lane, END_BROKEN, err_trail_text(&trail, e), 0);
        return;
    }
    struct rdma_conn_param param = {.private_data = request,
                                    .private_data_len = sizeof request,
                                    .retry_count = RETRIES,
                                    .rnr_retry_count = RNR_RETRIES};
    if (rdma_connect(lane->id, &param) != 0)
        give_up(lane, END_BROKEN, "it cannot be reached", errno);
}

static void established(struct verbs_lane *lane)
{
    struct transport_peer *peer = lane->peer;
    lane->is_established = true;
    if (lane->lane != LANE_CTL)
        transport__attached(peer, lane->lane);
    else if (peer->is_connecting)
        transport__dialled(peer);
    else
        transport__mark_dirty(peer); /* an answer may wait already */
}

/* ---- being called ---- */

static bool accept_lane(struct transport_peer *peer, enum transport_lane which,
                        struct rdma_cm_id *id)
{
    struct verbs_lane *lane = verbs_lane_of(peer, which);
    struct err_trail trail = {0};
    struct rdma_conn_param param = {.retry_count = RETRIES, .rnr_retry_count = RNR_RETRIES};
    uint8_t timeout = ACK_TIMEOUT;
    lane->id = id;
    id->context = lane;
    (void)rdma_set_option(id, RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT, &timeout, sizeof timeout);
    enum err e = verbs__lane_make_qp(lane, &trail);
    if (e == ERR_OK && rdma_accept(id, &param) != 0)
        e = err_note(&trail, err_from_errno(errno), "accept the connection");
    if (e)
        give_up(lane, END_BROKEN, err_trail_text(&trail, e), 0);
    return true; /* the id is the lane's, whatever comes of it */
}

/* Whether the id was taken; if not, it is to be refused and destroyed. */
static bool requested(struct verbs *verbs, struct rdma_cm_id *id,
                      const struct rdma_conn_param *param)
{
    struct transport *t = verbs->transport;
    const uint8_t *request = param->private_data;
    uint32_t kind = param->private_data_len >= REQUEST_BYTES ? get_le32(request) : 0;
    struct transport_peer *peer = NULL;
    if (verbs->is_stopping || id->verbs != verbs->device)
        return false;
    if (kind == REQUEST_CTL) {
        peer = transport__stranger(t, rdma_get_peer_addr(id));
        if (peer != NULL)
            prepare(peer);
        return peer != NULL && accept_lane(peer, LANE_CTL, id);
    }
    if (kind == REQUEST_ATTACH) {
        struct wire_attach attach;
        wire_attach_decode(request + 4, &attach);
        peer = transport__attach_to(t, &attach);
        if (peer != NULL && verbs_lane_of(peer, attach.lane)->id == NULL)
            return accept_lane(peer, (enum transport_lane)attach.lane, id);
        return false;
    }
    t->counts.refused++;
    return false;
}

/* ---- events ---- */

static void lane_event(struct verbs_lane *lane, enum rdma_cm_event_type type, int status)
{
    CHECK_MAGIC(lane, VERBS_LANE_MAGIC);
    if (lane->peer->state == PEER_ENDING || lane->peer->state == PEER_FREE)
        return;
    int errnum = status < 0 ? -status : 0;
    switch (type) {
    case RDMA_CM_EVENT_ADDR_RESOLVED:
        address_resolved(lane);
        break;
    case RDMA_CM_EVENT_ROUTE_RESOLVED:
        route_resolved(lane);
        break;
    case RDMA_CM_EVENT_ESTABLISHED:
        established(lane);
        break;
    case RDMA_CM_EVENT_ADDR_ERROR:
    case RDMA_CM_EVENT_ROUTE_ERROR:
    case RDMA_CM_EVENT_UNREACHABLE:
        give_up(lane, END_TIMEOUT, "it cannot be reached", errnum);
        break;
    case RDMA_CM_EVENT_REJECTED:
        give_up(lane, END_BROKEN,
                lane->lane == LANE_CTL ? "it cannot be reached: nobody listens there"
                                       : "it did not take the connection's other lanes",
                0);
        break;
    case RDMA_CM_EVENT_CONNECT_ERROR:
        give_up(lane, END_BROKEN, "the connection failed", errnum);
        break;
    case RDMA_CM_EVENT_DISCONNECTED:
        give_up(lane, END_PEER_CLOSED, "it closed the connection", 0);
        break;
    case RDMA_CM_EVENT_DEVICE_REMOVAL:
        give_up(lane, END_BROKEN, "this node's RDMA device is being removed", 0);
        break;
    case RDMA_CM_EVENT_CONNECT_REQUEST:
    case RDMA_CM_EVENT_CONNECT_RESPONSE:
    case RDMA_CM_EVENT_MULTICAST_JOIN:
    case RDMA_CM_EVENT_MULTICAST_ERROR:
    case RDMA_CM_EVENT_ADDR_CHANGE:
    case RDMA_CM_EVENT_TIMEWAIT_EXIT:
        break;
    }
}

void verbs__cm_event(struct verbs *verbs)
{
    struct rdma_cm_event *event;
    while (rdma_get_cm_event(verbs->events, &event) == 0) {
        struct rdma_cm_id *refused = NULL;
        if (event->event == RDMA_CM_EVENT_CONNECT_REQUEST) {
            if (!requested(verbs, event->id, &event->param.conn))
                refused = event->id;
        } else if (event->id != verbs->listener) {
            lane_event(event->id->context, event->event, event->status);
        } else {
            LOG(LOG_ERROR, "transport", "the RDMA listener is told: %s",
                rdma_event_str(event->event));
        }
        (void)rdma_ack_cm_event(event); /* before its id may be destroyed */
        if (refused != NULL) {
            (void)rdma_reject(refused, NULL, 0); /* it finds out anyway */
            (void)rdma_destroy_id(refused);
        }
    }
}

/* ---- ending ---- */

static void drain_is_late(struct timer *timer)
{
    struct verbs_peer *verbs_peer = CONTAINER_OF(timer, struct verbs_peer, drain);
    verbs_peer->is_drained_enough = true;
    transport__turn_later(verbs_peer->lanes[0].peer->transport);
}

void verbs__end(struct transport_peer *peer)
{
    for (int i = 0; i < LANE_COUNT; i++) {
        struct verbs_lane *lane = verbs_lane_of(peer, (enum transport_lane)i);
        verbs__lane_to_error(lane); /* from here on no byte comes or goes */
        if (lane->is_established)
            (void)rdma_disconnect(lane->id); /* tells the peer, if it is there */
    }
    timer_start(peer->transport->loop, &verbs_peer_of(peer)->drain, DRAIN_NS, drain_is_late);
}

bool verbs__is_ended(const struct transport_peer *peer)
{
    bool drained = true;
    for (int i = 0; i < LANE_COUNT; i++)
        drained = drained && verbs__lane_is_drained(verbs_lane_of(peer, (enum transport_lane)i));
    return drained || verbs_peer_of(peer)->is_drained_enough;
}

void verbs__release(struct transport_peer *peer)
{
    timer_stop(peer->transport->loop, &verbs_peer_of(peer)->drain);
    for (int i = 0; i < LANE_COUNT; i++)
        verbs__lane_release(verbs_lane_of(peer, (enum transport_lane)i));
    for (unsigned i = 0; i < peer->regions_in_count; i++) {
        struct ibv_mr *mr = peer->regions_in[i].registered;
        if (mr != NULL)
            CHECK(ibv_dereg_mr(mr) == 0); /* or a peer's key would live on */
    }
}
