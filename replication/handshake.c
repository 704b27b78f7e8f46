#include "replication/handshake.h"

#include "base/check.h"
#include "base/digest.h"

/* ---- what is derived from the key and both greetings ---- */

static void mac_of(const struct handshake *hs, const char role[8], uint8_t out[32])
{
    uint8_t text[8 + 2 * WIRE_GREETING_BYTES];
    memcpy(text, role, 8);
    memcpy(text + 8, hs->hello, WIRE_GREETING_BYTES);
    memcpy(text + 8 + WIRE_GREETING_BYTES, hs->challenge, WIRE_GREETING_BYTES);
    hmac_sha256(hs->rules->key, sizeof hs->rules->key, text, sizeof text, out);
}

#define ROLE_LISTENING  "slisten1"
#define ROLE_CONNECTING "sconnec1"
#define ROLE_SESSION    "ssessio1"

static void derive(const struct handshake *hs, const char *purpose, uint8_t number, uint8_t out[32])
{
    uint8_t text[9];
    memcpy(text, purpose, 8);
    text[8] = number;
    hmac_sha256(hs->session_key, sizeof hs->session_key, text, sizeof text, out);
}

uint64_t handshake_session(const struct handshake *hs)
{
    uint8_t mac[32];
    derive(hs, "sessnum1", 0, mac);
    return get_le64(mac);
}

uint32_t handshake_generation(const struct handshake *hs)
{
    uint8_t mac[32];
    derive(hs, "generat1", 0, mac);
    uint32_t generation = get_le32(mac);
    return generation != 0 ? generation : 1; /* 0 is the handshake's */
}

void handshake_token(const struct handshake *hs, enum transport_lane lane, uint8_t out[32])
{
    derive(hs, "lanetok1", (uint8_t)lane, out);
}

void handshake_wipe(struct handshake *hs)
{
    explicit_bzero(hs->session_key, sizeof hs->session_key);
}

/* ---- messages ---- */

#define ANOTHER_CLUSTER                                                                            \
    "it belongs to another cluster, or has another list of nodes: check its address, and that "    \
    "both have the same name and peers"

static void greet(const struct handshake *hs, struct rand *rand, uint8_t out[WIRE_GREETING_BYTES])
{
    struct wire_greeting greeting = {.version = WIRE_VERSION, .identity = hs->rules->self};
    rand_fill(rand, greeting.nonce, sizeof greeting.nonce);
    memcpy(greeting.depth, hs->rules->depth, sizeof greeting.depth);
    wire_greeting_encode(&greeting, out);
}

static void put_message(struct handshake_message *out, enum wire_op op, const void *body,
                        uint32_t size)
{
    CHECK(size <= sizeof out->body);
    out->op = (uint8_t)op;
    out->size = size;
    if (size > 0)
        memcpy(out->body, body, size);
}

static enum err refuse(struct handshake_message *out, enum wire_refusal why, enum err e)
{
    uint8_t body[8];
    put_le32(body, why);
    put_le32(body + 4, WIRE_VERSION);
    put_message(out, OP_REFUSE, body, sizeof body);
    return e;
}

static enum err refused(const uint8_t *body, uint32_t size, struct err_trail *trail)
{
    if (size != 8)
        return err_say(trail, ERR_CORRUPT, "its refusal is malformed");
    switch (get_le32(body)) {
    case REFUSED_VERSION:
        return err_say(trail, ERR_DENIED,
                       "it speaks version %u of the peer protocol and this node %u: update the "
                       "older of the two",
                       get_le32(body + 4), WIRE_VERSION);
    case REFUSED_CLUSTER:
        return err_say(trail, ERR_DENIED, ANOTHER_CLUSTER);
    case REFUSED_KEY:
        return err_say(trail, ERR_DENIED,
                       "it does not accept this node's cluster key: give all nodes of a cluster "
                       "the same one");
    case REFUSED_SELF:
        return err_say(trail, ERR_DENIED,
                       "it has this node's own number: give each node a number of its own");
    case REFUSED_NODE:
        return err_say(trail, ERR_DENIED, "it does not admit this node: its log says why");
    case REFUSED_FULL:
        return err_say(trail, ERR_BUSY, "it has as many peers as it takes");
    default:
        return err_say(trail, ERR_DENIED, "it refused for a reason this version does not know");
    }
}

/* Whether the two belong together; asked before a key is proved, and says nothing of ours but no.
 */
static enum err judge_greeting(struct handshake *hs, struct handshake_message *out,
                               struct err_trail *trail)
{
    const struct wire_greeting *peer = &hs->peer;
    const struct transport_identity *self = &hs->rules->self;
    if (peer->version != WIRE_VERSION)
        return refuse(out, REFUSED_VERSION,
                      err_say(trail, ERR_DENIED,
                              "it speaks version %u of the peer protocol and this node %u: update "
                              "the older of the two",
                              peer->version, WIRE_VERSION));
    if (memcmp(peer->identity.cluster, self->cluster, sizeof self->cluster) != 0)
        return refuse(out, REFUSED_CLUSTER, err_say(trail, ERR_DENIED, ANOTHER_CLUSTER));
    if (peer->identity.node == self->node)
        return refuse(out, REFUSED_SELF,
                      err_say(trail, ERR_DENIED,
                              "it has this node's own number, %u: give each node a number of its "
                              "own",
                              self->node));
    for (int lane = 0; lane < LANE_COUNT; lane++)
        if (peer->depth[lane] < TRANSPORT_DEPTH_MIN)
            return err_say(trail, ERR_CORRUPT, "it offers a lane of depth %u", peer->depth[lane]);
    return ERR_OK;
}

static enum err admit(struct handshake *hs, struct handshake_message *out, struct err_trail *trail)
{
    enum wire_refusal refusal = REFUSED_NODE;
    enum err e = hs->rules->admit(hs, &refusal, trail);
    return e ? refuse(out, refusal, e) : ERR_OK;
}

static enum err check_mac(const struct handshake *hs, const char *role, const uint8_t *mac,
                          struct handshake_message *out, struct err_trail *trail)
{
    uint8_t expected[32];
    mac_of(hs, role, expected);
    if (bytes_equal_secret(bytes_of(expected, 32), bytes_of(mac, 32)))
        return ERR_OK;
    return refuse(out, REFUSED_KEY,
                  err_say(trail, ERR_DENIED,
                          "it does not have this cluster's key: give all nodes of a cluster the "
                          "same one"));
}

/* ---- steps ---- */

static enum err take_hello(struct handshake *hs, struct rand *rand, const uint8_t *body,
                           struct handshake_message *out, struct err_trail *trail)
{
    memcpy(hs->hello, body, WIRE_GREETING_BYTES);
    wire_greeting_decode(body, &hs->peer);
    enum err e = judge_greeting(hs, out, trail);
    if (e)
        return e;
    greet(hs, rand, hs->challenge);
    uint8_t answer[WIRE_GREETING_BYTES + WIRE_MAC_BYTES];
    memcpy(answer, hs->challenge, WIRE_GREETING_BYTES);
    mac_of(hs, ROLE_LISTENING, answer + WIRE_GREETING_BYTES);
    put_message(out, OP_CHALLENGE, answer, sizeof answer);
    hs->state = HANDSHAKE_WAIT_PROOF;
    return ERR_OK;
}

static enum err take_challenge(struct handshake *hs, const uint8_t *body,
                               struct handshake_message *out, struct err_trail *trail)
{
    memcpy(hs->challenge, body, WIRE_GREETING_BYTES);
    wire_greeting_decode(body, &hs->peer);
    enum err e = judge_greeting(hs, out, trail);
    if (e == ERR_OK)
        e = check_mac(hs, ROLE_LISTENING, body + WIRE_GREETING_BYTES, out, trail);
    if (e == ERR_OK)
        e = admit(hs, out, trail);
    if (e)
        return e;
    uint8_t mac[32];
    mac_of(hs, ROLE_CONNECTING, mac);
    mac_of(hs, ROLE_SESSION, hs->session_key);
    put_message(out, OP_PROOF, mac, sizeof mac);
    hs->state = HANDSHAKE_WAIT_WELCOME;
    return ERR_OK;
}

static enum err take_proof(struct handshake *hs, const uint8_t *body, struct handshake_message *out,
                           struct err_trail *trail)
{
    enum err e = check_mac(hs, ROLE_CONNECTING, body, out, trail);
    if (e == ERR_OK)
        e = admit(hs, out, trail);
    if (e)
        return e;
    mac_of(hs, ROLE_SESSION, hs->session_key);
    put_message(out, OP_WELCOME, NULL, 0);
    hs->state = HANDSHAKE_DONE;
    return ERR_OK;
}

void handshake_begin(struct handshake *hs, const struct handshake_rules *rules, struct rand *rand,
                     struct handshake_message *out)
{
    *hs = (struct handshake){
        .rules = rules, .is_connecting = true, .state = HANDSHAKE_WAIT_CHALLENGE};
    greet(hs, rand, hs->hello);
    put_message(out, OP_HELLO, hs->hello, sizeof hs->hello);
}

void handshake_listen(struct handshake *hs, const struct handshake_rules *rules)
{
    *hs = (struct handshake){.rules = rules, .state = HANDSHAKE_WAIT_HELLO};
}

static enum err take(struct handshake *hs, struct rand *rand, uint8_t op, const uint8_t *body,
                     uint32_t size, struct handshake_message *out, struct err_trail *trail)
{
    if (op == OP_REFUSE)
        return refused(body, size, trail);
    switch (hs->state) {
    case HANDSHAKE_WAIT_HELLO:
        /* An older or newer one may have a longer greeting: its version still stands first. */
        if (op == OP_HELLO && size >= 4 && get_le32(body) != WIRE_VERSION) {
            hs->peer.version = get_le32(body);
            return judge_greeting(hs, out, trail);
        }
        if (op == OP_HELLO && size == WIRE_GREETING_BYTES)
            return take_hello(hs, rand, body, out, trail);
        break;
    case HANDSHAKE_WAIT_CHALLENGE:
        if (op == OP_CHALLENGE && size == WIRE_GREETING_BYTES + WIRE_MAC_BYTES)
            return take_challenge(hs, body, out, trail);
        break;
    case HANDSHAKE_WAIT_PROOF:
        if (op == OP_PROOF && size == WIRE_MAC_BYTES)
            return take_proof(hs, body, out, trail);
        break;
    case HANDSHAKE_WAIT_WELCOME:
        if (op == OP_WELCOME && size == 0) {
            hs->state = HANDSHAKE_DONE;
            return ERR_OK;
        }
        break;
    case HANDSHAKE_DONE:
    case HANDSHAKE_FAILED:
        break;
    }
    return err_say(trail, ERR_CORRUPT, "it sent something else than the handshake's next message");
}

enum err handshake_take(struct handshake *hs, struct rand *rand, uint8_t op, const uint8_t *body,
                        uint32_t size, struct handshake_message *out, struct err_trail *trail)
{
    out->op = 0;
    enum err e = take(hs, rand, op, body, size, out, trail);
    if (e)
        hs->state = HANDSHAKE_FAILED;
    return e;
}
