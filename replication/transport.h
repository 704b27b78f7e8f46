/*
 * The transport carries bytes between this node and its peers: small control messages, and writes
 * that land in memory the receiver has granted. Two backends do the same: verbs (RDMA: RC queue
 * pairs, WRITE_WITH_IMM into registered memory) and TCP (received straight into the same memory by
 * io_uring). Which one carries a peer is told by transport_status(); TCP is never called RDMA.
 *
 *     transport_connect() ---\
 *                             >-- handshake --> up(peer) --> ctl, write, grant ... any time
 *     listening: a stranger -/       |             \
 *                                    |              `--> fence(), or a lane breaks --> down(peer)
 *                                    `--> refused: down(peer) and one sentence; nothing was granted
 *
 * A peer is one connection with one other node: three lanes, each ordered for itself, and one life.
 * When a lane breaks the peer is fenced; a new connection is a new peer with new keys. Who connects
 * again, and when, is for the layer above.
 *
 * The contract, the same on both backends (tests/unit/transport_conformance.h checks each point):
 *
 *  C1  written(): the bytes of that write may be reused, or the lane broke. It says nothing of what
 *      the peer has or does.
 *
 *  C2  write_in() comes after every byte of that write is visible to this CPU.
 *
 *  C3  What is posted on one lane comes in that order, each once, or the lane breaks. Lanes have no
 *      order between them.
 *
 *  C4  A write outside the granted area, with a wrong key or of another connection changes no byte
 *      and breaks the lane.
 *
 *  C5  Once down() was called, no byte of the areas granted to that peer changes any more.
 *
 *  C6  Part of a write whose lane broke may have landed; write_in() is never called for it.
 *
 *  C7  Every write that was accepted calls written() exactly once, at the latest before down().
 *
 * Everything runs on one loop: calls come from it, handlers are called on it, and never from inside
 * a call of this header.
 */
#ifndef REPLICATION_TRANSPORT_H
#define REPLICATION_TRANSPORT_H

#include <sys/socket.h>
#include <sys/uio.h>

#include "base/arena.h"
#include "base/loop.h"
#include "base/rand.h"

struct transport;
struct transport_peer;

enum transport_backend { TRANSPORT_TCP, TRANSPORT_VERBS };
const char *transport_backend_name(enum transport_backend backend); /* "tcp", "verbs" */

/*
 * Lanes. What must not wait behind bulk data has a lane of its own.
 *   CTL   messages of at most TRANSPORT_CTL_BYTES_MAX bytes, copied at both ends: beacons,
 *         acknowledgements
 *   META  writes of records and small objects
 *   BULK  writes of bodies
 */
enum transport_lane { LANE_CTL, LANE_META, LANE_BULK, LANE_COUNT };
const char *transport_lane_name(enum transport_lane lane);

#define TRANSPORT_CTL_BYTES_MAX 224u /* with our 32-byte head it fits what adapters send inline */
#define TRANSPORT_PIECES_MAX    4u   /* of one write: header, record, body, padding */
/* Areas one peer may be granted: its first one and room to grow. */
#define TRANSPORT_REGIONS_MAX 4u
/* A slot of the largest kind and its header page, with room to grow. */
#define TRANSPORT_WRITE_BYTES_MAX (2u << 20)

/* How many messages or writes of a lane may be on their way to a peer: what its receiver holds
 * ready for. The receiver's number counts, both sides tell theirs in the handshake. */
#define TRANSPORT_CTL_DEPTH  64u
#define TRANSPORT_META_DEPTH 256u
#define TRANSPORT_BULK_DEPTH 64u
#define TRANSPORT_DEPTH_MIN  16u /* less would leave nothing beside what we keep for ourselves */

/* ---- who is who ---- */
struct transport_identity {
    uint8_t cluster[16]; /* the same on all its nodes, and on no others */
    uint32_t node;       /* its number in the configuration, > 0 */
    uint8_t disk[16];    /* the volume's uuid: an empty disk under an old name is another replica */
    uint8_t incarnation[16]; /* random at each start */
};

/* Why a connection ended, for code; the sentence for people comes with it. */
enum transport_end {
    END_FENCED,      /* transport_fence() here */
    END_PEER_CLOSED, /* the other side fenced or died */
    END_BROKEN,      /* the connection failed */
    END_TIMEOUT,     /* no connection or no handshake in time */
    END_PROTOCOL,    /* the peer sent what it may not: bad frame, write outside its areas, more than
                        its credit */
    END_REFUSED, /* the handshake: wrong cluster, key, version, node or disk; refused by either side
                  */
};

/* All members may be NULL but up and down. `context` is transport_options.context. */
struct transport_handlers {
    /* After the peer has proved that it has the cluster's key: ERR_OK lets it in. Otherwise the
     * sentence in `trail` is logged and the peer is told only that it was refused. */
    enum err (*admit)(void *context, const struct transport_identity *identity,
                      struct err_trail *trail);
    void (*up)(void *context, struct transport_peer *peer);
    /* The last event of a peer that was up or that we called; it is gone when this returns.
     * `sentence` names address and cause. */
    void (*down)(void *context, struct transport_peer *peer, enum transport_end why,
                 const char *sentence);
    /* Somebody called who was not let in, or did not say who they are in time. */
    void (*turned_away)(void *context, enum transport_end why, const char *sentence);
    /* The peer lets us write `size` bytes of its memory from now on; `region` names it in our
     * writes, 0 being the first. */
    void (*granted)(void *context, struct transport_peer *peer, uint8_t region, uint64_t size);
    /* `data` is valid until this returns. */
    void (*ctl_in)(void *context, struct transport_peer *peer, const uint8_t *data, size_t size);
    /* A write has landed. Where is not told (an RDMA receiver is not told either): `imm` has to say
     * it, and what lies there to prove it. */
    void (*write_in)(void *context, struct transport_peer *peer, enum transport_lane lane,
                     uint32_t imm, uint32_t size);
    /* After a call on this lane was refused with ERR_BUSY: there is room again. */
    void (*room)(void *context, struct transport_peer *peer, enum transport_lane lane);
};

/* ---- life ---- */
enum transport_choice { TRANSPORT_AUTO, TRANSPORT_FORCE_TCP, TRANSPORT_FORCE_VERBS };

struct transport_faults; /* replication/transport_faults.h, for tests; NULL in production */

struct transport_options {
    struct loop *loop;   /* borrowed */
    struct arena *arena; /* borrowed: pieces of writes lie in its slots, and the areas granted are
                            its landing areas */
    struct rand *rand;   /* borrowed; NULL: system. Nonces and keys come from it */
    enum transport_choice choice; /* AUTO: verbs when `address` belongs to an RDMA device, else TCP,
                                     and why is in the status */
    /* This node's: listened on, and the source of connections. Port 0: any free one. */
    const struct sockaddr *address;
    socklen_t address_size;
    struct transport_identity self;
    uint8_t cluster_key[32];
    uint32_t peers_max; /* connections with peers; strangers in the handshake have their own small
                           number */
    /* How long to stay awake for the next event while there is traffic, which may then cost a core;
     * 0: not at all. On TCP by loop_stay_awake(), on verbs by looking for completions so long after
     * the last one. */
    uint64_t busy_poll_ns;
    const struct transport_handlers *handlers; /* borrowed */
    void *context;
    struct transport_faults *faults; /* borrowed */
};

/* Listens from now on. ERR_UNSUPPORTED with the reason when the backend forced cannot be had. */
enum err transport_open(const struct transport_options *options, struct transport **ret_transport,
                        struct err_trail *trail) MUST_USE;
/*
 * Fences every peer and stops listening; closed() is called on the loop when the last down() has
 * been and nothing is in flight. transport_free() then, not inside closed().
 */
void transport_close(struct transport *transport, void (*closed)(void *context));
void transport_free(struct transport *transport); /* NULL does nothing; CHECKs that it is closed */

/* Begins a connection; up() or down() follows, the latter within TRANSPORT_HANDSHAKE_NS. ERR_BUSY:
 * peers_max are there. */
#define TRANSPORT_HANDSHAKE_NS (3 * NS_PER_SECOND)
enum err transport_connect(struct transport *transport, const struct sockaddr *address,
                           socklen_t address_size, struct transport_peer **ret_peer,
                           struct err_trail *trail) MUST_USE;

/* Ends the connection; asks, does not wait: down() is called once no late byte can land any more
 * (C5). Calling it again does nothing. */
void transport_fence(struct transport_peer *peer);

/* ---- a peer ---- */
/* After up(). */
const struct transport_identity *transport_peer_identity(const struct transport_peer *peer);
const char *transport_peer_address(const struct transport_peer *peer); /* "10.0.0.2:7001" */
/* Between up() and the start of its end. */
bool transport_peer_is_up(const struct transport_peer *peer);
/* Borrowed: the layer's above. */
void transport_peer_set_user(struct transport_peer *peer, void *user);
void *transport_peer_user(const struct transport_peer *peer);

/*
 * Lets this peer, and no other, write into `landing`, until down(). The area goes back to the arena
 * after down(), by whoever took it. ERR_BUSY: not up, or the peer has TRANSPORT_REGIONS_MAX;
 * ERR_NO_MEMORY: the adapter cannot register it.
 */
enum err transport_grant(struct transport_peer *peer, const struct landing *landing,
                         struct err_trail *trail) MUST_USE;

/* Copies. ERR_BUSY: the lane is full, room() follows. ERR_CLOSED: the peer is not up. */
enum err transport_ctl(struct transport_peer *peer, const void *data, size_t size) MUST_USE;

struct transport_write;
/* ERR_OK, or ERR_PEER_CLOSED: the lane broke. */
typedef void transport_written_fn(struct transport_write *write, enum err e);

#define TRANSPORT_WRITE_MAGIC 0x54727772u
struct transport_write {
    uint32_t magic; /* TRANSPORT_WRITE_MAGIC while the transport owns it */
    transport_written_fn *written;
    enum transport_lane lane; /* META or BULK */
    uint8_t region;
    uint8_t piece_count;
    uint32_t imm;
    uint64_t offset;                           /* in the region */
    struct iovec pieces[TRANSPORT_PIECES_MAX]; /* in slots of the arena; borrowed until written() */
    /* Below is the transport's own. */
    uint32_t size;
    uint8_t head[32];
    struct list link;
};
/*
 * ERR_OK: written() will be called. ERR_BUSY: the lane is full, room() follows. ERR_CLOSED: the
 * peer is not up. ERR_INVALID: outside the region, empty, or larger than TRANSPORT_WRITE_BYTES_MAX.
 */
enum err transport_write(struct transport_peer *peer, struct transport_write *write) MUST_USE;

/* ---- looking ---- */
struct transport_lane_counts {
    uint64_t sent, sent_bytes, received, received_bytes;
    uint32_t in_flight; /* posted here, and the peer's credit for them not returned */
};
struct transport_counts { /* since transport_open(), of all peers */
    struct transport_lane_counts lanes[LANE_COUNT];
    uint64_t connects, handshakes, refused, protocol_errors, broken, fenced;
    uint64_t ends[END_REFUSED + 1];
    uint64_t system_calls; /* TCP: sends and receives given to the ring; verbs: doorbells and polls
                              that found something */
};

struct transport_status {
    enum transport_backend backend;
    char device[80];                 /* "rxe0 port 1 (RoCE v2, eth0)", "lo", "eth0" */
    char reason[200];                /* why not verbs, when AUTO chose TCP; else "" */
    struct sockaddr_storage address; /* listened on, with the port */
    uint32_t peers_up;
    bool is_registered; /* the arena is known to the adapter (verbs) or the ring (TCP: fixed
                           buffers) */
};
void transport_status(const struct transport *transport, struct transport_status *ret_status);
void transport_counts(const struct transport *transport, struct transport_counts *ret_counts);
void transport_peer_counts(const struct transport_peer *peer,
                           struct transport_lane_counts ret_lanes[LANE_COUNT]);

#endif
