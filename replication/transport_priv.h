/*
 * What transport.c shares with its two backends. transport.c owns a peer's life, its handshake,
 * credits, regions and the messages of the CTL lane; a backend makes connections, moves frames and
 * writes, and says when it has let go of everything.
 *
 *     FREE -> DIALLING -> GREETING -> ATTACHING -> UP ----.
 *                            |                             >-> ENDING -> (quiet) -> down() -> FREE
 *                            `-> REFUSING (a REFUSE is on its way out) -'
 *
 * Credit: what a lane's receiver has taken in so far is told as a total in every message. A sender
 * has posted - returned on their way and stops at the depth its peer offered. On CTL the last
 * CTL_RESERVE are for our own messages, so that credit can always be returned: one is sent when
 * half a lane's depth was not told yet.
 */
#ifndef REPLICATION_TRANSPORT_PRIV_H
#define REPLICATION_TRANSPORT_PRIV_H

#include "replication/handshake.h"
#include "replication/transport.h"
#include "replication/transport_faults.h"

#define CTL_RESERVE 8u /* two CREDITs a depth, the grants, READY */
_Static_assert(CTL_RESERVE > TRANSPORT_REGIONS_MAX + 3, "a grant never waits for credit");
_Static_assert(TRANSPORT_DEPTH_MIN >= 2 * CTL_RESERVE, "as much for the layer above");

/* Connections in the handshake: more than peers that come back at once. */
#define STRANGERS_MAX 16u
/* Messages queued to a peer: its depth and the handshake's; a power of two. */
#define CTL_RING         128u
#define DEPTH_MAX        1024u               /* of what a peer offers we use no more */
#define REFUSE_LINGER_NS (1 * NS_PER_SECOND) /* for the peer to take the REFUSE and close */

_Static_assert(CTL_RING >= TRANSPORT_CTL_DEPTH * 2, "");

enum peer_state {
    PEER_FREE,
    PEER_DIALLING,
    PEER_GREETING,
    PEER_ATTACHING,
    PEER_UP,
    PEER_REFUSING,
    PEER_ENDING,
};

struct transport_lane_state {
    struct transport_peer *peer; /* whose it is */
    uint32_t depth;              /* the peer's offer */
    uint32_t posted, returned;   /* out: totals, wrap */
    uint32_t taken, told;        /* in: totals, wrap */
    uint32_t seq_out, seq_in;    /* frames; the backend's on META and BULK */
    struct list queue;           /* of transport_write: accepted, not yet with the backend */
    bool wants_room;             /* a post was refused */
    bool hold_is_over;           /* fault: delayed, and now it may go */
    struct timer hold;
    struct transport_lane_counts counts;
};

struct transport_region_in { /* granted by us */
    uint8_t *data;
    uint64_t size;
    uint32_t key;
    void *registered; /* verbs: its struct ibv_mr */
};

struct transport_region_out { /* granted to us */
    uint64_t size, address;
    uint32_t key;
};

#define PEER_MAGIC 0x54706572u
struct transport_peer {
    uint32_t magic;
    struct transport *transport;
    struct list link; /* transport's peers or free */
    enum peer_state state;
    bool is_connecting; /* we called */
    bool is_counted;    /* in peers_taken */
    bool was_up;
    char address[80];
    struct handshake handshake;
    uint32_t generation;
    uint64_t session;
    struct timer deadline;

    struct transport_lane_state lanes[LANE_COUNT];
    uint32_t attached; /* bits of lanes that are there */
    struct transport_region_in regions_in[TRANSPORT_REGIONS_MAX];
    struct transport_region_out regions_out[TRANSPORT_REGIONS_MAX];
    unsigned regions_in_count, regions_out_count;

    /* Messages in order; ctl_sent..ctl_queued wait, ctl_freed..ctl_sent are with the backend. */
    uint8_t (*ctl)[WIRE_MESSAGE_BYTES]; /* owned by the transport: CTL_RING of them */
    uint32_t ctl_queued, ctl_sent, ctl_freed;

    struct list dirty_link; /* in transport->dirty */
    enum transport_end why;
    char sentence[ERR_TRAIL_BYTES + 96];
    void *user;    /* borrowed: the layer's above */
    void *backend; /* owned by the backend, as long as the transport lives */
};

struct transport_ops {
    enum transport_backend backend;
    enum err (*open)(struct transport *t, struct err_trail *trail);
    void (*stop_listening)(struct transport *t); /* asks */
    /* After that: nothing of the listener is in flight. */
    bool (*is_quiet)(const struct transport *t);
    void (*free)(struct transport *t); /* also of a half-opened one */

    enum err (*dial)(struct transport_peer *peer, const struct sockaddr *address, socklen_t size,
                     struct err_trail *trail);
    /* META and BULK, by the side that called. */
    enum err (*attach)(struct transport_peer *peer, struct err_trail *trail);
    void (*ready)(struct transport_peer *peer); /* all lanes are attached: receive writes */
    void (*flush)(struct transport_peer *peer); /* send what is queued, as far as it goes */
    enum err (*grant)(struct transport_peer *peer, unsigned region, uint64_t *ret_address,
                      struct err_trail *trail);
    void (*end)(struct transport_peer *peer); /* asks; is_ended() tells */
    bool (*is_ended)(const struct transport_peer *peer);
    void (*release)(struct transport_peer *peer); /* it is ended: give back what it has */
};
extern const struct transport_ops transport__tcp_ops, transport__verbs_ops;

struct transport {
    const struct transport_ops *ops;
    struct loop *loop;
    struct arena *arena;
    struct rand *rand;
    struct transport_handlers handlers;
    void *context;
    struct transport_faults *faults;
    struct handshake_rules rules;
    struct sockaddr_storage address; /* as asked for, then with the port */
    socklen_t address_size;
    uint64_t busy_poll_ns;
    uint32_t peers_max, peers_taken; /* calls and admitted peers */
    uint32_t pool_size;
    struct transport_peer *pool; /* owned: peers_max + STRANGERS_MAX */
    uint8_t *ctl_memory;         /* owned: the pool's CTL rings */
    size_t ctl_memory_size;
    struct list peers, free_peers, dirty;
    uint32_t strangers; /* peers that called and are not admitted yet */

    struct loop_msg turn; /* end of turn: flushes the dirty, buries the ended */
    bool turn_posted;
    bool is_closing, is_closed;
    void (*closed)(void *context);

    struct transport_counts counts;
    char device[80], reason[200];
    bool is_registered;
    void *backend; /* owned by the backend */
};

static inline uint32_t lane_room(const struct transport_lane_state *lane, uint32_t reserve)
{
    uint32_t used = lane->posted - lane->returned;
    return lane->depth > used + reserve ? lane->depth - used - reserve : 0;
}

/* ---- between transport.c and transport_peer.c ---- */
extern const uint16_t transport__depth[LANE_COUNT]; /* what we offer */
enum err transport__admit(struct handshake *hs, enum wire_refusal *refusal,
                          struct err_trail *trail);
void transport__peer_uncount(struct transport_peer *peer);
void transport__deadline_passed(struct timer *timer);
/* Has something to send: flushed at the turn's end. */
void transport__mark_dirty(struct transport_peer *peer);

/* ---- for backends ---- */
/* A stranger called; the backend sets peer->backend up. NULL: no room. */
struct transport_peer *transport__stranger(struct transport *t, const struct sockaddr *address);
void transport__dialled(struct transport_peer *peer); /* the CTL lane stands: begin the handshake */
/* A whole message, head and body, of the CTL lane. */
void transport__message_in(struct transport_peer *peer, const uint8_t *message);
/* The peer this ATTACH belongs to, its lane not attached yet; NULL: none, counted. */
struct transport_peer *transport__attach_to(struct transport *t, const struct wire_attach *attach);
void transport__attach_of(const struct transport_peer *peer, enum transport_lane lane,
                          struct wire_attach *ret_attach);
void transport__attached(struct transport_peer *peer, enum transport_lane lane);
void transport__landed(struct transport_peer *peer, enum transport_lane lane, uint32_t imm,
                       uint32_t size);
/* A write is through, or it is not. */
void transport__written(struct transport_peer *peer, struct transport_write *write, enum err e);
/* Messages taken by the kernel or adapter. */
void transport__ctl_freed(struct transport_peer *peer, uint32_t count);
/* Where a write's region lies at the peer, faults applied. */
const struct transport_region_out *transport__target(struct transport_peer *peer,
                                                     const struct transport_write *write,
                                                     uint64_t *ret_offset, uint32_t *ret_key);
/* Whether the lane's queue may go out now (faults: not before its delay). */
bool transport__lane_may_send(struct transport_peer *peer, enum transport_lane lane);
/* Ends the peer, if it does not end already; the first reason counts. */
void transport__break(struct transport_peer *peer, enum transport_end why, const char *format, ...)
    PRINTF_LIKE(3, 4);
/* Something changed that the end of a turn looks at. */
void transport__turn_later(struct transport *t);
static inline struct transport_lane_faults *transport__faults(const struct transport_peer *peer,
                                                              enum transport_lane lane)
{
    struct transport_faults *faults = peer->transport->faults;
    return faults != NULL ? &faults->lanes[lane] : NULL;
}

/* ---- transport_net.c ---- */
void transport__format_address(const struct sockaddr *address, char out[80]);
/* The interface that has this address: "lo", "eth0"; "any" for none. */
void transport__interface_of(const struct sockaddr *address, char *out, size_t size);

#endif
