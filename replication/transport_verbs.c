#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "base/check.h"
#include "base/log.h"
#include "replication/transport_verbs.h"

#define POLL_BATCH    32
#define POLL_BUDGET   1024u /* completions a turn; then the loop's others have theirs */
#define SENDS_OF_PEER (CTL_RING + 2 * TRANSPORT_META_DEPTH + 2 * TRANSPORT_BULK_DEPTH)

/* ---- completions ---- */

static void cq_ready(struct ring_op *op, enum err e, uint32_t count);

static uint32_t poll_some(struct verbs *verbs)
{
    struct ibv_wc wcs[POLL_BATCH];
    uint32_t found = 0;
    int count;
    while (found < POLL_BUDGET && (count = ibv_poll_cq(verbs->cq, POLL_BATCH, wcs)) > 0) {
        verbs->transport->counts.system_calls++;
        for (int i = 0; i < count; i++)
            verbs__completed(&wcs[i]);
        found += (uint32_t)count;
    }
    return found;
}

static void poll_again(struct verbs *verbs);

/*
 * Looks for completions; then, while some were found lately, again at the next turn, so that what
 * handlers posted goes out between; else arms the notice, looks once more, because what came before
 * arming gives none, and sleeps.
 */
static void poll_cq(struct verbs *verbs)
{
    struct transport *t = verbs->transport;
    if (poll_some(verbs) > 0)
        verbs->found_ns = loop_now_ns(t->loop);
    if (verbs->found_ns + t->busy_poll_ns > loop_now_ns(t->loop)) {
        poll_again(verbs);
        return;
    }
    CHECK(ibv_req_notify_cq(verbs->cq, 0) == 0);
    if (poll_some(verbs) > 0)
        poll_again(verbs);
    else if (!ring_op_is_pending(&verbs->cq_op) && !verbs->is_stopping)
        ring_poll(loop_ring(t->loop), &verbs->cq_op, verbs->channel->fd, POLLIN, cq_ready);
}

static void polled(struct loop_msg *msg)
{
    struct verbs *verbs = CONTAINER_OF(msg, struct verbs, poll);
    verbs->poll_posted = false;
    poll_cq(verbs);
    transport__turn_later(verbs->transport);
}

static void poll_again(struct verbs *verbs)
{
    if (verbs->poll_posted)
        return;
    verbs->poll_posted = true;
    verbs->poll.deliver = polled;
    loop_post(verbs->transport->loop, &verbs->poll);
}

static void take_notices(struct verbs *verbs)
{
    struct ibv_cq *cq;
    void *context;
    while (ibv_get_cq_event(verbs->channel, &cq, &context) == 0)
        verbs->unacked++;
    if (verbs->unacked > 0)
        ibv_ack_cq_events(verbs->cq, verbs->unacked);
    verbs->unacked = 0;
}

static void cq_ready(struct ring_op *op, enum err e, uint32_t count)
{
    struct verbs *verbs = CONTAINER_OF(op, struct verbs, cq_op);
    transport__turn_later(verbs->transport);
    if (e == ERR_CANCELLED)
        return;
    take_notices(verbs);
    poll_cq(verbs);
}

/* ---- connection and device events ---- */

static void cm_ready(struct ring_op *op, enum err e, uint32_t count)
{
    struct verbs *verbs = CONTAINER_OF(op, struct verbs, cm_op);
    transport__turn_later(verbs->transport);
    if (e == ERR_CANCELLED)
        return;
    verbs__cm_event(verbs);
    if (!verbs->is_stopping)
        ring_poll(loop_ring(verbs->transport->loop), op, verbs->events->fd, POLLIN, cm_ready);
}

/* Every one is taken and acknowledged, or destroying a queue pair would wait for it for ever. */
static void async_ready(struct ring_op *op, enum err e, uint32_t count)
{
    struct verbs *verbs = CONTAINER_OF(op, struct verbs, async_op);
    struct ibv_async_event event;
    transport__turn_later(verbs->transport);
    if (e == ERR_CANCELLED)
        return;
    while (ibv_get_async_event(verbs->device, &event) == 0) {
        struct verbs_lane *lane = NULL;
        const char *text = ibv_event_type_str(event.event_type);
        if (event.event_type == IBV_EVENT_QP_FATAL || event.event_type == IBV_EVENT_QP_REQ_ERR ||
            event.event_type == IBV_EVENT_QP_ACCESS_ERR)
            lane = event.element.qp->qp_context;
        else if (event.event_type != IBV_EVENT_COMM_EST &&
                 event.event_type != IBV_EVENT_QP_LAST_WQE_REACHED)
            LOG_LIMITED(LOG_WARN, "transport", "the RDMA device tells: %s", text);
        if (lane != NULL)
            transport__break(lane->peer, END_PROTOCOL, "its %s lane failed: %s",
                             transport_lane_name(lane->lane), text);
        ibv_ack_async_event(&event);
    }
    if (!verbs->is_stopping)
        ring_poll(loop_ring(verbs->transport->loop), op, verbs->device->async_fd, POLLIN,
                  async_ready);
}

/* ---- opening ---- */

static void explain_registration(int errnum, size_t size, struct err_trail *trail)
{
    struct rlimit limit = {0};
    (void)getrlimit(RLIMIT_MEMLOCK, &limit); /* 0 then: told as it is */
    (void)err_say(trail, err_from_errno(errnum),
                  "the RDMA device does not register %zu MiB: %s; locked memory is limited to %llu "
                  "KiB (systemd LimitMEMLOCK=infinity, docker --ulimit memlock=-1, ulimit -l)",
                  size >> 20, strerrordesc_np(errnum), (unsigned long long)(limit.rlim_cur >> 10));
}

static enum err register_memory(struct ibv_pd *domain, void *data, size_t size, int access,
                                struct ibv_mr **ret_mr, struct err_trail *trail)
{
    *ret_mr = ibv_reg_mr(domain, data, size, access);
    if (*ret_mr != NULL)
        return ERR_OK;
    int errnum = errno;
    explain_registration(errnum, size, trail);
    return err_from_errno(errnum);
}

static enum err register_all(struct verbs *verbs, struct err_trail *trail)
{
    struct transport *t = verbs->transport;
    size_t receive_size = (size_t)t->pool_size * CTL_RECEIVES * WIRE_MESSAGE_BYTES;
    verbs->receive_memory = aligned_alloc(4096, receive_size);
    if (verbs->receive_memory == NULL)
        return ERR_NO_MEMORY;
    enum err e = register_memory(verbs->ctl_domain, verbs->receive_memory, receive_size,
                                 IBV_ACCESS_LOCAL_WRITE, &verbs->receive_mr, trail);
    if (e == ERR_OK)
        e = register_memory(verbs->ctl_domain, t->ctl_memory, t->ctl_memory_size, 0, &verbs->ctl_mr,
                            trail);
    if (e == ERR_OK) /* read only, and the slots only: a peer's landing area is never a source */
        e = register_memory(verbs->data_domain, arena_base(t->arena),
                            arena_slots_size_bytes(t->arena), 0, &verbs->arena_mr, trail);
    return e;
}

static enum err make_queues(struct verbs *verbs, struct err_trail *trail)
{
    struct transport *t = verbs->transport;
    struct ibv_device_attr attributes;
    uint32_t of_peer = SENDS_OF_PEER, of_stranger = CTL_RING + CTL_RECEIVES;
    for (int lane = 0; lane < LANE_COUNT; lane++)
        of_peer += verbs__receives_of((enum transport_lane)lane);
    uint64_t size = (uint64_t)of_peer * t->peers_max + (uint64_t)of_stranger * STRANGERS_MAX;
    if (ibv_query_device(verbs->device, &attributes) != 0)
        return err_note(trail, ERR_IO, "ask the RDMA device what it can");
    verbs->is_software = attributes.vendor_id == VENDOR_SOFTWARE;
    if (size > (uint64_t)attributes.max_cqe)
        return err_say(trail, ERR_TOO_LARGE,
                       "%u peers want a completion queue of %llu and the RDMA device has %d: "
                       "configure fewer",
                       t->peers_max, (unsigned long long)size, attributes.max_cqe);
    verbs->ctl_domain = ibv_alloc_pd(verbs->device);
    verbs->data_domain = ibv_alloc_pd(verbs->device);
    verbs->channel = ibv_create_comp_channel(verbs->device);
    if (verbs->ctl_domain == NULL || verbs->data_domain == NULL || verbs->channel == NULL)
        return err_note(trail, err_from_errno(errno), "set up the RDMA device");
    verbs->cq = ibv_create_cq(verbs->device, (int)size, NULL, verbs->channel, 0);
    if (verbs->cq == NULL)
        return err_note(trail, err_from_errno(errno), "make a completion queue of %llu",
                        (unsigned long long)size);
    return ERR_OK;
}

static enum err make_peers(struct verbs *verbs)
{
    struct transport *t = verbs->transport;
    verbs->peers = calloc(t->pool_size, sizeof *verbs->peers);
    verbs->sends = calloc((size_t)t->pool_size * SENDS_OF_PEER, sizeof *verbs->sends);
    if (verbs->peers == NULL || verbs->sends == NULL)
        return ERR_NO_MEMORY;
    struct verbs_wr *sends = verbs->sends;
    for (uint32_t i = 0; i < t->pool_size; i++) {
        t->pool[i].backend = &verbs->peers[i];
        for (int k = 0; k < LANE_COUNT; k++) {
            struct verbs_lane *lane = &verbs->peers[i].lanes[k];
            lane->magic = VERBS_LANE_MAGIC;
            lane->lane = (enum transport_lane)k;
            lane->peer = &t->pool[i];
            lane->sends = sends;
            lane->sends_max = verbs__sends_max[k];
            sends += lane->sends_max;
            lane->buffers =
                (void *)(verbs->receive_memory + (size_t)i * CTL_RECEIVES * WIRE_MESSAGE_BYTES);
        }
    }
    return ERR_OK;
}

static void set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    CHECK(flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0);
}

static enum err listen_on(struct verbs *verbs, struct err_trail *trail)
{
    struct transport *t = verbs->transport;
    char name[80];
    transport__format_address((struct sockaddr *)&t->address, name);
    verbs->events = rdma_create_event_channel();
    if (verbs->events == NULL)
        return err_say(trail, ERR_UNSUPPORTED,
                       "there is no RDMA device (/dev/infiniband/rdma_cm: %s)",
                       strerrordesc_np(errno));
    if (rdma_create_id(verbs->events, &verbs->listener, NULL, RDMA_PS_TCP) != 0)
        return err_note(trail, err_from_errno(errno), "make the listener's id");
    if (rdma_bind_addr(verbs->listener, (struct sockaddr *)&t->address) != 0) {
        enum err e = errno == ENODEV ? ERR_UNSUPPORTED : err_from_errno(errno);
        return err_say(trail, e, "%s is no address of an RDMA device: %s", name,
                       strerrordesc_np(errno));
    }
    if (verbs->listener->verbs == NULL)
        return err_say(trail, ERR_UNSUPPORTED,
                       "%s does not name one RDMA device: give this node's peer address in full",
                       name);
    verbs->device = verbs->listener->verbs;
    if (verbs->device->device->transport_type == IBV_TRANSPORT_IWARP)
        return err_say(trail, ERR_UNSUPPORTED,
                       "%s is iWARP, which has no write with immediate data",
                       ibv_get_device_name(verbs->device->device));
    if (rdma_listen(verbs->listener, STRANGERS_MAX) != 0)
        return err_say(trail, err_from_errno(errno), "listen on %s: %s", name,
                       strerrordesc_np(errno));
    const struct sockaddr *bound = rdma_get_local_addr(verbs->listener);
    memcpy(&t->address, bound, t->address_size);
    return ERR_OK;
}

static void name_device(struct verbs *verbs)
{
    struct transport *t = verbs->transport;
    struct ibv_port_attr port = {0};
    char interface[32];
    uint8_t number = verbs->listener->port_num;
    bool is_roce = ibv_query_port(verbs->device, number, &port) == 0 &&
                   port.link_layer == IBV_LINK_LAYER_ETHERNET;
    transport__interface_of((struct sockaddr *)&t->address, interface, sizeof interface);
    snprintf(t->device, sizeof t->device, "%.24s port %u (%s, %.16s)",
             ibv_get_device_name(verbs->device->device), number, is_roce ? "RoCE" : "InfiniBand",
             interface);
}

static enum err verbs_open(struct transport *t, struct err_trail *trail)
{
    struct verbs *verbs = t->backend = calloc(1, sizeof *verbs);
    if (verbs == NULL)
        return ERR_NO_MEMORY;
    verbs->transport = t;
    enum err e = listen_on(verbs, trail);
    if (e == ERR_OK)
        e = make_queues(verbs, trail);
    if (e == ERR_OK)
        e = register_all(verbs, trail);
    if (e == ERR_OK)
        e = make_peers(verbs);
    if (e)
        return e;
    name_device(verbs);
    t->is_registered = true;
    set_nonblocking(verbs->events->fd);
    set_nonblocking(verbs->channel->fd);
    set_nonblocking(verbs->device->async_fd);
    struct ring *ring = loop_ring(t->loop);
    CHECK(ibv_req_notify_cq(verbs->cq, 0) == 0);
    ring_poll(ring, &verbs->cm_op, verbs->events->fd, POLLIN, cm_ready);
    ring_poll(ring, &verbs->cq_op, verbs->channel->fd, POLLIN, cq_ready);
    ring_poll(ring, &verbs->async_op, verbs->device->async_fd, POLLIN, async_ready);
    return ERR_OK;
}

/* ---- closing ---- */

static void verbs_stop_listening(struct transport *t)
{
    /* Peers that end still need completions and events: the notices stop when they are gone. */
}

static bool verbs_is_quiet(const struct transport *t)
{
    struct verbs *verbs = verbs_of(t);
    struct ring *ring = loop_ring(t->loop);
    verbs->is_stopping = true; /* asked only when no peer is left */
    affinity_end(&verbs->affinity);
    ring_cancel(ring, &verbs->cm_op);
    ring_cancel(ring, &verbs->cq_op);
    ring_cancel(ring, &verbs->async_op);
    return !ring_op_is_pending(&verbs->cm_op) && !ring_op_is_pending(&verbs->cq_op) &&
           !ring_op_is_pending(&verbs->async_op) && !verbs->poll_posted;
}

static void verbs_free(struct transport *t)
{
    struct verbs *verbs = verbs_of(t);
    if (verbs == NULL)
        return;
    if (verbs->listener != NULL)
        (void)rdma_destroy_id(verbs->listener);
    if (verbs->arena_mr != NULL)
        (void)ibv_dereg_mr(verbs->arena_mr);
    if (verbs->ctl_mr != NULL)
        (void)ibv_dereg_mr(verbs->ctl_mr);
    if (verbs->receive_mr != NULL)
        (void)ibv_dereg_mr(verbs->receive_mr);
    if (verbs->cq != NULL)
        (void)ibv_destroy_cq(verbs->cq);
    if (verbs->channel != NULL)
        (void)ibv_destroy_comp_channel(verbs->channel);
    if (verbs->ctl_domain != NULL)
        (void)ibv_dealloc_pd(verbs->ctl_domain);
    if (verbs->data_domain != NULL)
        (void)ibv_dealloc_pd(verbs->data_domain);
    if (verbs->events != NULL)
        rdma_destroy_event_channel(verbs->events);
    free(verbs->receive_memory);
    free(verbs->peers);
    free(verbs->sends);
    free(verbs);
    t->backend = NULL;
}

/* ---- a peer ---- */

static void verbs_ready(struct transport_peer *peer)
{
    /* The receives were posted before the connection was. */
}

/*
 * Soft-RoCE sends on the CPU of whoever posts. A loop that was moved at a wake-up overtakes what
 * still waits on the CPU it came from; the receiver sees a gap, and all behind it is sent again.
 */
static void stay_on_cpu(struct verbs *verbs)
{
    if (verbs->is_software)
        affinity_stay(&verbs->affinity, loop_now_ns(verbs->transport->loop));
}

static void verbs_flush(struct transport_peer *peer)
{
    stay_on_cpu(verbs_of(peer->transport));
    for (int lane = 0; lane < LANE_COUNT && peer->state != PEER_ENDING; lane++)
        verbs__lane_send(verbs_lane_of(peer, (enum transport_lane)lane));
}

static enum err verbs_grant(struct transport_peer *peer, unsigned region, uint64_t *ret_address,
                            struct err_trail *trail)
{
    struct transport_region_in *in = &peer->regions_in[region];
    struct ibv_mr *mr;
    enum err e = register_memory(
        verbs_of(peer->transport)->data_domain, in->data, in->size,
        IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_RELAXED_ORDERING, &mr, trail);
    if (e)
        return e;
    in->registered = mr;
    in->key = mr->rkey;
    *ret_address = (uintptr_t)in->data;
    return ERR_OK;
}

const struct transport_ops transport__verbs_ops = {
    .backend = TRANSPORT_VERBS,
    .open = verbs_open,
    .stop_listening = verbs_stop_listening,
    .is_quiet = verbs_is_quiet,
    .free = verbs_free,
    .dial = verbs__dial,
    .attach = verbs__attach,
    .ready = verbs_ready,
    .flush = verbs_flush,
    .grant = verbs_grant,
    .end = verbs__end,
    .is_ended = verbs__is_ended,
    .release = verbs__release,
};
