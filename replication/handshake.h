/*
 * The handshake proves to both sides that the other has the cluster's key, without showing it, and
 * that they belong together: same cluster, a version both speak, two different nodes. A pure
 * step machine: messages in, messages out.
 *
 *     connecting                                   listening
 *     HELLO      greeting, nonce        ------->
 *                                       <-------   CHALLENGE  greeting, nonce, mac over both
 *     PROOF      mac over all           ------->
 *                                       <-------   WELCOME
 *
 * mac = HMAC-SHA-256(cluster key, role, HELLO's greeting, CHALLENGE's greeting): fresh nonces on
 * both sides, so nothing recorded proves anything later, and the role keeps one side's proof from
 * being played back as the other's. What both have then derived (session, generation, tokens of
 * the lanes) is known to nobody without the key. Nothing is encrypted: the network between the
 * nodes is to be a private one.
 *
 * Either side may end it with REFUSE, a number; each side says the sentence itself.
 */
#ifndef REPLICATION_HANDSHAKE_H
#define REPLICATION_HANDSHAKE_H

#include "replication/wire.h"

struct handshake;

enum handshake_state {
    HANDSHAKE_WAIT_HELLO,
    HANDSHAKE_WAIT_CHALLENGE,
    HANDSHAKE_WAIT_PROOF,
    HANDSHAKE_WAIT_WELCOME,
    HANDSHAKE_DONE,
    HANDSHAKE_FAILED,
};

struct handshake_rules {
    struct transport_identity self;
    uint8_t key[32];
    uint16_t depth[LANE_COUNT];
    /* The transport's and the layer's above: asked once, when the peer, known as hs->peer, has
     * proved that it has the key. May set *refusal. */
    enum err (*admit)(struct handshake *hs, enum wire_refusal *refusal, struct err_trail *trail);
};

struct handshake {
    const struct handshake_rules *rules; /* borrowed */
    enum handshake_state state;
    bool is_connecting;
    uint8_t hello[WIRE_GREETING_BYTES], challenge[WIRE_GREETING_BYTES];
    struct wire_greeting peer;
    uint8_t session_key[32];
};

struct handshake_message {
    uint8_t op; /* 0: nothing to send */
    uint32_t size;
    uint8_t body[TRANSPORT_CTL_BYTES_MAX];
};

/* The connecting side's first message is in *out; the listening side has none. */
void handshake_begin(struct handshake *hs, const struct handshake_rules *rules, struct rand *rand,
                     struct handshake_message *out);
void handshake_listen(struct handshake *hs, const struct handshake_rules *rules);
/*
 * Takes one message. On an error *out may hold the REFUSE to be sent before the end, and the trail
 * one sentence. After HANDSHAKE_DONE, which the listening side reaches with WELCOME in *out:
 */
enum err handshake_take(struct handshake *hs, struct rand *rand, uint8_t op, const uint8_t *body,
                        uint32_t size, struct handshake_message *out,
                        struct err_trail *trail) MUST_USE;

uint64_t handshake_session(const struct handshake *hs);
uint32_t handshake_generation(const struct handshake *hs);
void handshake_token(const struct handshake *hs, enum transport_lane lane, uint8_t out[32]);
void handshake_wipe(struct handshake *hs); /* what was secret */

#endif
