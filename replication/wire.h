/*
 * What the transport puts on the wire. Every frame begins with a head of 32 bytes, little-endian:
 *
 *     0  u16 magic   0x4c53, "SL"
 *     2  u8  op      enum wire_op
 *     3  u8  lane    enum transport_lane
 *     4  u32 seq     frames of this lane and direction before this one; wraps
 *     8  u32 gen     0 in the handshake, then the connection's generation, which both have derived;
 *                    of a message with a body: xor the low half of the body's XXH3-64
 *    12  u32 size    bytes that follow the head
 *    16  u32 a       OP_WRITE: the region's key      otherwise: CTL messages taken in so far
 *    20  u32 b       OP_WRITE: offset in the region  otherwise: META writes taken in so far
 *    24  u32 c       OP_WRITE: immediate value       otherwise: BULK writes taken in so far
 *    28  u32 check   low half of the XXH3-64 of bytes 0..27: no size is believed without it
 *
 * A message (all but OP_WRITE) is head and at most TRANSPORT_CTL_BYTES_MAX bytes; its a, b and c
 * return credit as totals, so that a lost or repeated one does no harm. OP_WRITE exists on TCP
 * only: an RDMA adapter has a head of its own. The bytes of a write carry no check of ours: the
 * layer above has checksums end to end, and one here would be a second pass over each body.
 *
 * A greeting, the body of OP_HELLO (the connecting side's) and the first part of OP_CHALLENGE (the
 * answer), 96 bytes. The version stands first and will for ever; 2 has the list of nodes in the
 * cluster's id (server/cluster.h):
 *
 *     0 u32 version  4 cluster[16]  20 u32 node  24 disk[16]  40 incarnation[16]  56 nonce[32]
 *    88 u16 depth[3]  94 u16 zero
 */
#ifndef REPLICATION_WIRE_H
#define REPLICATION_WIRE_H

#include "replication/transport.h"

#define WIRE_MAGIC          0x4c53u
#define WIRE_VERSION        2u
#define WIRE_HEAD_BYTES     32u
#define WIRE_MESSAGE_BYTES  (WIRE_HEAD_BYTES + TRANSPORT_CTL_BYTES_MAX)
#define WIRE_GREETING_BYTES 96u
#define WIRE_MAC_BYTES      32u
#define WIRE_ATTACH_BYTES   44u /* u64 session, u32 lane, token[32]: an RDMA request has 56 */
#define WIRE_GRANT_BYTES    32u /* u64 size, u64 address, u32 key, u32 region, u64 zero */

_Static_assert(WIRE_MESSAGE_BYTES == 256, "a message is what adapters send inline");
_Static_assert(WIRE_GREETING_BYTES + WIRE_MAC_BYTES <= TRANSPORT_CTL_BYTES_MAX, "one message each");

enum wire_op {
    OP_HELLO = 1, /* greeting */
    OP_CHALLENGE, /* greeting, mac */
    OP_PROOF,     /* mac */
    OP_WELCOME,   /* nothing: the other lanes may attach */
    OP_REFUSE,    /* u32 enum wire_refusal, u32 version */
    OP_ATTACH,    /* TCP: the first frame of a META or BULK socket */
    OP_READY,     /* nothing: all lanes are attached */
    OP_GRANT,     /* an area the receiver of this may write */
    OP_CREDIT,    /* nothing but its a, b and c */
    OP_CTL,       /* the layer's above */
    OP_WRITE,
    OP_COUNT
};

enum wire_refusal {
    REFUSED_VERSION = 1,
    REFUSED_CLUSTER,
    REFUSED_KEY,
    REFUSED_SELF,
    REFUSED_NODE, /* not admitted by the layer above */
    REFUSED_FULL,
};

struct wire_head {
    uint8_t op, lane;
    uint32_t seq, gen, size;
    uint32_t a, b, c;
};
/* body: of a message; NULL for a write. */
void wire_head_encode(const struct wire_head *head, const void *body, uint8_t out[WIRE_HEAD_BYTES]);
/* ERR_CORRUPT: no head of ours. Otherwise its size is within the op's limits. */
enum err wire_head_decode(const uint8_t in[WIRE_HEAD_BYTES], struct wire_head *ret_head) MUST_USE;
/* Of a whole message. A body that was damaged gives another generation than the connection's. */
uint32_t wire_message_generation(const uint8_t *message, const struct wire_head *head);

struct wire_greeting {
    uint32_t version;
    struct transport_identity identity;
    uint8_t nonce[32];
    uint16_t depth[LANE_COUNT];
};
void wire_greeting_encode(const struct wire_greeting *greeting, uint8_t out[WIRE_GREETING_BYTES]);
void wire_greeting_decode(const uint8_t in[WIRE_GREETING_BYTES],
                          struct wire_greeting *ret_greeting);

struct wire_attach {
    uint64_t session;
    uint32_t lane;
    uint8_t token[32];
};
void wire_attach_encode(const struct wire_attach *attach, uint8_t out[WIRE_ATTACH_BYTES]);
void wire_attach_decode(const uint8_t in[WIRE_ATTACH_BYTES], struct wire_attach *ret_attach);

struct wire_grant {
    uint64_t size, address; /* address: RDMA's; TCP counts from 0 */
    uint32_t key, region;
};
void wire_grant_encode(const struct wire_grant *grant, uint8_t out[WIRE_GRANT_BYTES]);
void wire_grant_decode(const uint8_t in[WIRE_GRANT_BYTES], struct wire_grant *ret_grant);

#endif
