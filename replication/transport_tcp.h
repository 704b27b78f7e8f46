/*
 * The TCP backend's own: one socket per lane. transport_tcp.c makes and ends connections,
 * transport_tcp_lane.c moves bytes over them.
 *
 * A writes' lane receives [rest of a body][next head] with one receive: the body goes from the
 * socket into the landing area, where its head, checked before, said it may. The CTL lane receives
 * whole messages into a small buffer. A lane sends what is queued as one sendmsg of many frames.
 * There is at most one receive and one send of a lane with the ring; both ended means that the
 * kernel holds no address of ours (C5).
 */
#ifndef REPLICATION_TRANSPORT_TCP_H
#define REPLICATION_TRANSPORT_TCP_H

#include "replication/transport_priv.h"

/* Of one sendmsg: 12 writes of the most pieces, or as many messages. */
#define TCP_BATCH_PIECES 64u
/* Once a batch has so many it goes: what follows would only wait for it. */
#define TCP_BATCH_BYTES (2u << 20)
#define TCP_CTL_BYTES   4096u /* received at once: 16 messages and more */

#define TCP_LANE_MAGIC 0x5443704cu
struct tcp_lane {
    uint32_t magic;
    enum transport_lane lane;
    struct transport_peer *peer; /* whose it is */
    int fd;                      /* owned; -1: none */
    struct ring_op in_op, out_op;

    /* receiving writes */
    uint8_t head[WIRE_HEAD_BYTES];
    uint32_t head_have, body_left, body_size, imm;
    uint8_t *to;
    /* receiving messages */
    uint8_t ctl[TCP_CTL_BYTES];
    uint32_t ctl_have;
    struct iovec in_iov[2];
    struct msghdr in_msg;

    /* sending */
    struct list sending;       /* of transport_write, with the kernel */
    uint32_t sending_done;     /* bytes of the first of them, head included, that are through */
    uint32_t sending_messages; /* CTL */
    uint64_t gathered, sent;   /* bytes of this lane's stream so far: faults */
    struct iovec out_iov[TCP_BATCH_PIECES], out_cut;
    unsigned out_first, out_count;
    struct msghdr out_msg;
    uint8_t attach[WIRE_HEAD_BYTES + WIRE_ATTACH_BYTES];
};

struct tcp_peer {
    struct tcp_lane lanes[LANE_COUNT];
};

static inline struct tcp_lane *tcp_lane_of(const struct transport_peer *peer,
                                           enum transport_lane lane)
{
    return &((struct tcp_peer *)peer->backend)->lanes[lane];
}

/* ---- transport_tcp.c ---- */

/* ---- transport_tcp_lane.c ---- */
void tcp__lane_init(struct tcp_lane *lane, struct transport_peer *peer, enum transport_lane id);
/* Begins to receive; `have` bytes that came before are in lane->ctl. */
void tcp__lane_receive(struct tcp_lane *lane);
void tcp__lane_send(struct tcp_lane *lane);    /* what is queued, unless a send is under way */
void tcp__lane_release(struct tcp_lane *lane); /* nothing pending: ends its writes */
void tcp__lane_failed(struct tcp_lane *lane, enum err e);

#endif
