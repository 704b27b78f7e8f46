/*
 * The verbs backend's own: one RC queue pair a lane. transport_verbs.c owns the device,
 * transport_verbs_cm.c makes and ends connections, transport_verbs_lane.c posts and completes.
 *
 * Two protection domains. CTL lanes, which strangers reach, live in one that has no remotely
 * writable memory at all; META and BULK, which exist only after the handshake, in the other. There
 * the arena's slots are registered for local use, and a landing area only when it is granted,
 * under a new key each time, and no longer than the peer lives.
 *
 * Receives of META and BULK carry no memory: a write says itself where it goes; the receive is only
 * the notice. There are as many as the lane's depth, posted again before credit goes back, so a
 * peer never meets a receiver that is not ready, and the connection may refuse to wait for one.
 *
 * A queue pair in the error state touches no memory and gives everything posted back; a lane is
 * drained when it has all of it (C5, C7).
 */
#ifndef REPLICATION_TRANSPORT_VERBS_H
#define REPLICATION_TRANSPORT_VERBS_H

#include <rdma/rdma_cma.h>

#include "base/affinity.h"
#include "replication/transport_priv.h"

#define CTL_RECEIVES (TRANSPORT_CTL_DEPTH + 16u) /* and the handshake's, which has no credit */
#define SIGNAL_EVERY 16u /* and the last of each chain: what was posted is known to be through */
#define CHAIN_MAX    32u /* posted with one doorbell */
#define RESOLVE_MS   1000
/* 4.096 us * 2^14 = 67 ms, and RETRIES of them: a dead peer is found in about a second. */
#define ACK_TIMEOUT 14u
#define RETRIES     6u /* not 7: soft-RoCE takes that for ever */
/* A receiver that is not ready is an error in our credits, to be seen at once. */
#define RNR_RETRIES 0u
#define DRAIN_NS    (2 * NS_PER_SECOND) /* then the queue pair is destroyed undrained */

#define VENDOR_SOFTWARE 0xffffffu /* soft-RoCE's */

#define VERBS_WR_MAGIC 0x56777272u
struct verbs_lane;
struct verbs_wr { /* what a wr_id points to */
    uint32_t magic;
    bool is_receive;
    struct verbs_lane *lane;
    struct transport_write *write; /* META, BULK sends */
};

#define VERBS_LANE_MAGIC 0x566c616eu
struct verbs_lane {
    uint32_t magic;
    enum transport_lane lane;
    struct transport_peer *peer;
    struct rdma_cm_id *id; /* owned */
    bool is_established, has_qp, is_inline;
    uint32_t qp_number;
    struct verbs_wr *sends; /* owned: a ring of sends_max */
    uint32_t sends_max, sends_from, sends_to, unsignaled, not_posted;
    struct verbs_wr receives[CTL_RECEIVES]; /* CTL: one a buffer; else the first is all */
    uint32_t receives_posted;
    /* CTL: CTL_RECEIVES of them, in verbs->receive_memory. */
    uint8_t (*buffers)[WIRE_MESSAGE_BYTES];
    uint64_t posted; /* faults: cut_at */
};

struct verbs_peer {
    struct verbs_lane lanes[LANE_COUNT];
    struct timer drain;
    bool is_drained_enough;
    struct sockaddr_storage address;
    socklen_t address_size;
};

struct verbs {
    struct transport *transport;
    struct rdma_event_channel *events; /* owned */
    struct rdma_cm_id *listener;       /* owned */
    struct ibv_context *device;        /* librdmacm's */
    struct ibv_pd *ctl_domain, *data_domain;
    struct ibv_comp_channel *channel;
    struct ibv_cq *cq;
    struct ibv_mr *arena_mr, *ctl_mr, *receive_mr;
    uint8_t *receive_memory;
    struct verbs_peer *peers; /* owned: the pool's */
    struct verbs_wr *sends;   /* owned: all lanes' */
    struct ring_op cm_op, cq_op, async_op;
    struct loop_msg poll;
    bool poll_posted, is_stopping;
    uint64_t found_ns; /* when completions were last found */
    unsigned unacked;  /* completion events */

    bool is_software;         /* soft-RoCE: packets leave by the CPU of whoever posts */
    struct affinity affinity; /* of the loop's thread, when it is */
};

static inline struct verbs *verbs_of(const struct transport *t)
{
    return t->backend;
}
static inline struct verbs_peer *verbs_peer_of(const struct transport_peer *peer)
{
    return peer->backend;
}
static inline struct verbs_lane *verbs_lane_of(const struct transport_peer *peer,
                                               enum transport_lane lane)
{
    return &verbs_peer_of(peer)->lanes[lane];
}

/* ---- transport_verbs_lane.c ---- */
extern const uint32_t verbs__sends_max[LANE_COUNT];
uint32_t verbs__receives_of(enum transport_lane lane);
/* lane->id knows its device; posts the receives. */
enum err verbs__lane_make_qp(struct verbs_lane *lane, struct err_trail *trail);
void verbs__lane_send(struct verbs_lane *lane);
void verbs__lane_to_error(struct verbs_lane *lane);
bool verbs__lane_is_drained(const struct verbs_lane *lane);
void verbs__lane_release(struct verbs_lane *lane);
void verbs__completed(struct ibv_wc *wc);

/* ---- transport_verbs_cm.c ---- */
void verbs__cm_event(struct verbs *verbs); /* takes all that are there */
enum err verbs__dial(struct transport_peer *peer, const struct sockaddr *address, socklen_t size,
                     struct err_trail *trail);
enum err verbs__attach(struct transport_peer *peer, struct err_trail *trail);
void verbs__end(struct transport_peer *peer);
bool verbs__is_ended(const struct transport_peer *peer);
void verbs__release(struct transport_peer *peer);

#endif
