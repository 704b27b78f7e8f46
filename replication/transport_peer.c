#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/check.h"
#include "replication/transport_priv.h"

const uint16_t transport__depth[LANE_COUNT] = {
    [LANE_CTL] = TRANSPORT_CTL_DEPTH,
    [LANE_META] = TRANSPORT_META_DEPTH,
    [LANE_BULK] = TRANSPORT_BULK_DEPTH,
};

static bool withholds_credit(const struct transport_peer *peer)
{
    const struct transport_faults *faults = peer->transport->faults;
    return faults != NULL && faults->withholds_credit;
}

/* ---- the handshake ---- */

static void queue_message(struct transport_peer *peer, enum wire_op op, const void *body,
                          uint32_t size)
{
    struct transport_lane_state *ctl = &peer->lanes[LANE_CTL];
    CHECK(peer->ctl_queued - peer->ctl_freed < CTL_RING);
    uint8_t *message = peer->ctl[peer->ctl_queued++ % CTL_RING];
    for (int lane = 0; lane < LANE_COUNT && !withholds_credit(peer); lane++)
        peer->lanes[lane].told = peer->lanes[lane].taken;
    if (size > 0)
        memcpy(message + WIRE_HEAD_BYTES, body, size);
    struct wire_head head = {.op = (uint8_t)op,
                             .lane = LANE_CTL,
                             .seq = ctl->seq_out++,
                             .gen = peer->generation,
                             .size = size,
                             .a = peer->lanes[LANE_CTL].told,
                             .b = peer->lanes[LANE_META].told,
                             .c = peer->lanes[LANE_BULK].told};
    const struct transport_lane_faults *faults = transport__faults(peer, LANE_CTL);
    if (faults != NULL && faults->wrong_gen)
        head.gen++;
    wire_head_encode(&head, message + WIRE_HEAD_BYTES, message);
    if (peer->generation != 0)
        ctl->posted++;
    ctl->counts.sent++;
    ctl->counts.sent_bytes += WIRE_HEAD_BYTES + size;
    transport__mark_dirty(peer);
}

static void send_handshake(struct transport_peer *peer, const struct handshake_message *message)
{
    if (message->op != 0)
        queue_message(peer, message->op, message->body, message->size);
}

void transport__dialled(struct transport_peer *peer)
{
    CHECK(peer->state == PEER_DIALLING);
    struct handshake_message out;
    peer->state = PEER_GREETING;
    handshake_begin(&peer->handshake, &peer->transport->rules, peer->transport->rand, &out);
    send_handshake(peer, &out);
}

/* Asked by the handshake when the key is proved. */
enum err transport__admit(struct handshake *hs, enum wire_refusal *refusal, struct err_trail *trail)
{
    struct transport_peer *peer = CONTAINER_OF(hs, struct transport_peer, handshake);
    struct transport *t = peer->transport;
    if (!peer->is_counted && t->peers_taken >= t->peers_max) {
        *refusal = REFUSED_FULL;
        return err_say(trail, ERR_BUSY, "it would be one more peer than this node takes, %u",
                       t->peers_max);
    }
    enum err e =
        t->handlers.admit ? t->handlers.admit(t->context, &hs->peer.identity, trail) : ERR_OK;
    if (e)
        return e;
    if (!peer->is_counted) {
        transport__peer_uncount(peer);
        peer->is_counted = true;
        t->peers_taken++;
    }
    return ERR_OK;
}

static void refuse(struct transport_peer *peer, enum err e, const struct handshake_message *out,
                   const struct err_trail *trail)
{
    enum transport_end why = e == ERR_CORRUPT ? END_PROTOCOL : END_REFUSED;
    if (out->op == 0) {
        transport__break(peer, why, "%s", err_trail_text(trail, e));
        return;
    }
    send_handshake(peer, out);
    peer->why = why;
    snprintf(peer->sentence, sizeof peer->sentence, "%s: %s", peer->address,
             err_trail_text(trail, e));
    peer->state = PEER_REFUSING;
    timer_start(peer->transport->loop, &peer->deadline, REFUSE_LINGER_NS,
                transport__deadline_passed);
}

static void handshake_is_done(struct transport_peer *peer)
{
    struct transport *t = peer->transport;
    t->counts.handshakes++;
    peer->state = PEER_ATTACHING;
    peer->attached = 1u << LANE_CTL;
    peer->generation = handshake_generation(&peer->handshake);
    peer->session = handshake_session(&peer->handshake);
    for (int lane = 0; lane < LANE_COUNT; lane++) {
        uint32_t depth = peer->handshake.peer.depth[lane];
        peer->lanes[lane].depth = depth < DEPTH_MAX ? depth : DEPTH_MAX;
    }
    if (!peer->is_connecting)
        return; /* the other lanes come to us */
    struct err_trail trail = {0};
    enum err e = t->ops->attach(peer, &trail);
    if (e)
        transport__break(peer, END_BROKEN, "%s", err_trail_text(&trail, e));
}

static void take_handshake(struct transport_peer *peer, const struct wire_head *head,
                           const uint8_t *body)
{
    struct handshake_message out;
    struct err_trail trail = {0};
    enum err e = handshake_take(&peer->handshake, peer->transport->rand, head->op, body, head->size,
                                &out, &trail);
    if (e) {
        refuse(peer, e, &out, &trail);
        return;
    }
    send_handshake(peer, &out);
    if (peer->handshake.state == HANDSHAKE_DONE)
        handshake_is_done(peer);
}

void transport__attach_of(const struct transport_peer *peer, enum transport_lane lane,
                          struct wire_attach *ret_attach)
{
    ret_attach->session = peer->session;
    ret_attach->lane = lane;
    handshake_token(&peer->handshake, lane, ret_attach->token);
}

struct transport_peer *transport__attach_to(struct transport *t, const struct wire_attach *attach)
{
    LIST_EACH (&t->peers, node) {
        struct transport_peer *peer = LIST_ENTRY(node, struct transport_peer, link);
        if (peer->state != PEER_ATTACHING || peer->is_connecting ||
            peer->session != attach->session)
            continue;
        uint8_t token[32];
        if (attach->lane != LANE_META && attach->lane != LANE_BULK)
            break;
        handshake_token(&peer->handshake, (enum transport_lane)attach->lane, token);
        if ((peer->attached & 1u << attach->lane) == 0 &&
            bytes_equal_secret(bytes_of(token, 32), bytes_of(attach->token, 32)))
            return peer;
        break;
    }
    t->counts.refused++;
    return NULL;
}

static void come_up(struct transport_peer *peer)
{
    struct transport *t = peer->transport;
    timer_stop(t->loop, &peer->deadline);
    peer->state = PEER_UP;
    peer->was_up = true;
    t->ops->ready(peer);
    t->handlers.up(t->context, peer);
}

void transport__attached(struct transport_peer *peer, enum transport_lane lane)
{
    peer->attached |= 1u << lane;
    if (peer->is_connecting || peer->attached != (1u << LANE_COUNT) - 1)
        return;
    queue_message(peer, OP_READY, NULL, 0);
    come_up(peer);
}

/* ---- credit ---- */

static bool has_credit(const struct transport_peer *peer, enum transport_lane lane,
                       uint32_t reserve)
{
    const struct transport_lane_faults *faults = transport__faults(peer, lane);
    return lane_room(&peer->lanes[lane], reserve) > 0 || (faults != NULL && faults->ignores_credit);
}

static void tell_room(struct transport_peer *peer, enum transport_lane lane)
{
    struct transport *t = peer->transport;
    struct transport_lane_state *state = &peer->lanes[lane];
    bool has_room = has_credit(peer, lane, lane == LANE_CTL ? CTL_RESERVE : 0);
    if (lane == LANE_CTL && peer->ctl_queued - peer->ctl_freed >= CTL_RING - CTL_RESERVE)
        has_room = false;
    if (!state->wants_room || !has_room || peer->state != PEER_UP)
        return;
    state->wants_room = false;
    if (t->handlers.room)
        t->handlers.room(t->context, peer, lane);
}

/* Totals may only grow, and not past what was posted. */
static bool credit_is_sane(const struct transport_lane_state *lane, uint32_t total)
{
    return total - lane->returned <= lane->posted - lane->returned;
}

static bool take_credit(struct transport_peer *peer, const struct wire_head *head)
{
    const uint32_t totals[LANE_COUNT] = {head->a, head->b, head->c};
    for (int lane = 0; lane < LANE_COUNT; lane++) {
        if (!credit_is_sane(&peer->lanes[lane], totals[lane])) {
            transport__break(peer, END_PROTOCOL,
                             "it returned more credit on its %s lane than there is",
                             transport_lane_name((enum transport_lane)lane));
            return false;
        }
        peer->lanes[lane].returned = totals[lane];
    }
    for (int lane = 0; lane < LANE_COUNT && peer->state == PEER_UP; lane++)
        tell_room(peer, (enum transport_lane)lane);
    return true;
}

static void return_credit(struct transport_peer *peer)
{
    /* Room for READY and the grants stays, however large a depth the peer offered. */
    if (peer->state != PEER_UP || withholds_credit(peer) ||
        lane_room(&peer->lanes[LANE_CTL], 0) == 0 ||
        peer->ctl_queued - peer->ctl_freed >= CTL_RING - TRANSPORT_REGIONS_MAX - 1)
        return; /* tried again with the next message that comes */
    for (int lane = 0; lane < LANE_COUNT; lane++)
        if (peer->lanes[lane].taken - peer->lanes[lane].told >= transport__depth[lane] / 2u) {
            queue_message(peer, OP_CREDIT, NULL, 0);
            return;
        }
}

/* Counts one message or write in; false when the peer had no credit for it. */
static bool take_one(struct transport_peer *peer, enum transport_lane lane, uint32_t size)
{
    struct transport_lane_state *state = &peer->lanes[lane];
    state->taken++;
    state->counts.received++;
    state->counts.received_bytes += size;
    if (state->taken - state->told <= transport__depth[lane])
        return true;
    transport__break(peer, END_PROTOCOL, "it sent more on its %s lane than it had credit for",
                     transport_lane_name(lane));
    return false;
}

void transport__landed(struct transport_peer *peer, enum transport_lane lane, uint32_t imm,
                       uint32_t size)
{
    struct transport *t = peer->transport;
    if (peer->state != PEER_UP || !take_one(peer, lane, size))
        return;
    if (t->handlers.write_in)
        t->handlers.write_in(t->context, peer, lane, imm, size);
    return_credit(peer);
}

/* ---- messages ---- */

static void take_grant(struct transport_peer *peer, const struct wire_head *head,
                       const uint8_t *body)
{
    struct transport *t = peer->transport;
    struct wire_grant grant = {0};
    if (head->size == WIRE_GRANT_BYTES)
        wire_grant_decode(body, &grant);
    if (head->size != WIRE_GRANT_BYTES || grant.region != peer->regions_out_count ||
        grant.region >= TRANSPORT_REGIONS_MAX || grant.size == 0 || grant.size > UINT32_MAX) {
        transport__break(peer, END_PROTOCOL, "it granted an area that makes no sense");
        return;
    }
    peer->regions_out[peer->regions_out_count++] = (struct transport_region_out){
        .size = grant.size, .address = grant.address, .key = grant.key};
    if (t->handlers.granted)
        t->handlers.granted(t->context, peer, (uint8_t)grant.region, grant.size);
}

static void take_message(struct transport_peer *peer, const struct wire_head *head,
                         const uint8_t *body)
{
    struct transport *t = peer->transport;
    if (head->op == OP_READY && peer->state == PEER_ATTACHING && peer->is_connecting &&
        peer->attached == (1u << LANE_COUNT) - 1) {
        if (take_one(peer, LANE_CTL, WIRE_HEAD_BYTES))
            come_up(peer);
        return;
    }
    if (peer->state != PEER_UP ||
        !(head->op == OP_CTL || head->op == OP_GRANT || head->op == OP_CREDIT)) {
        transport__break(peer, END_PROTOCOL, "it sent a message out of turn");
        return;
    }
    if (!take_one(peer, LANE_CTL, WIRE_HEAD_BYTES + head->size) || !take_credit(peer, head) ||
        peer->state != PEER_UP)
        return;
    if (head->op == OP_GRANT)
        take_grant(peer, head, body);
    else if (head->op == OP_CTL && t->handlers.ctl_in)
        t->handlers.ctl_in(t->context, peer, body, head->size);
    return_credit(peer);
}

void transport__message_in(struct transport_peer *peer, const uint8_t *message)
{
    struct wire_head head;
    if (peer->state == PEER_ENDING || peer->state == PEER_REFUSING)
        return;
    if (wire_head_decode(message, &head) || head.op == OP_WRITE || head.lane != LANE_CTL) {
        transport__break(peer, END_PROTOCOL, "it sent a damaged message, or is no Sluice node");
        return;
    }
    if (head.seq != peer->lanes[LANE_CTL].seq_in++ ||
        wire_message_generation(message, &head) != peer->generation) {
        transport__break(peer, END_PROTOCOL,
                         "it sent a damaged message, or one of another connection");
        return;
    }
    if (peer->state == PEER_GREETING)
        take_handshake(peer, &head, message + WIRE_HEAD_BYTES);
    else
        take_message(peer, &head, message + WIRE_HEAD_BYTES);
}

void transport__ctl_freed(struct transport_peer *peer, uint32_t count)
{
    peer->ctl_freed += count;
    CHECK(peer->ctl_sent - peer->ctl_freed <= CTL_RING);
    tell_room(peer, LANE_CTL);
}

enum err transport_ctl(struct transport_peer *peer, const void *data, size_t size)
{
    CHECK_MAGIC(peer, PEER_MAGIC);
    CHECK(size > 0 && size <= TRANSPORT_CTL_BYTES_MAX);
    if (peer->state != PEER_UP)
        return ERR_CLOSED;
    if (!has_credit(peer, LANE_CTL, CTL_RESERVE) ||
        peer->ctl_queued - peer->ctl_freed >= CTL_RING - CTL_RESERVE) {
        peer->lanes[LANE_CTL].wants_room = true;
        return ERR_BUSY;
    }
    queue_message(peer, OP_CTL, data, (uint32_t)size);
    return ERR_OK;
}

/* ---- writes ---- */

enum err transport_write(struct transport_peer *peer, struct transport_write *write)
{
    CHECK_MAGIC(peer, PEER_MAGIC);
    CHECK(write->magic != TRANSPORT_WRITE_MAGIC); /* still the transport's */
    CHECK(write->lane == LANE_META || write->lane == LANE_BULK);
    CHECK(write->piece_count > 0 && write->piece_count <= TRANSPORT_PIECES_MAX);
    CHECK(write->written != NULL);
    struct transport_lane_state *lane = &peer->lanes[write->lane];
    if (peer->state != PEER_UP)
        return ERR_CLOSED;
    uint64_t size = 0;
    for (unsigned i = 0; i < write->piece_count; i++) {
        CHECK(arena_holds(peer->transport->arena, write->pieces[i].iov_base,
                          write->pieces[i].iov_len));
        CHECK(!arena_is_landing(peer->transport->arena, write->pieces[i].iov_base, 1));
        CHECK(write->pieces[i].iov_len > 0);
        size += write->pieces[i].iov_len;
    }
    if (size == 0 || size > TRANSPORT_WRITE_BYTES_MAX || write->region >= peer->regions_out_count)
        return ERR_INVALID;
    uint64_t region_size = peer->regions_out[write->region].size;
    if (write->offset > region_size || size > region_size - write->offset)
        return ERR_INVALID;
    if (!has_credit(peer, write->lane, 0)) {
        lane->wants_room = true;
        return ERR_BUSY;
    }
    write->magic = TRANSPORT_WRITE_MAGIC;
    write->size = (uint32_t)size;
    write->link = (struct list){NULL, NULL};
    lane->posted++;
    lane->counts.sent++;
    lane->counts.sent_bytes += size;
    list_push_back(&lane->queue, &write->link);
    transport__mark_dirty(peer);
    return ERR_OK;
}

void transport__written(struct transport_peer *peer, struct transport_write *write, enum err e)
{
    CHECK_MAGIC(write, TRANSPORT_WRITE_MAGIC);
    CHECK(!list_is_linked(&write->link));
    write->magic = 0;
    write->written(write, e);
}

const struct transport_region_out *transport__target(struct transport_peer *peer,
                                                     const struct transport_write *write,
                                                     uint64_t *ret_offset, uint32_t *ret_key)
{
    CHECK(write->region < peer->regions_out_count);
    const struct transport_region_out *region = &peer->regions_out[write->region];
    const struct transport_lane_faults *faults = transport__faults(peer, write->lane);
    *ret_offset = write->offset + (faults != NULL ? faults->offset_add : 0);
    *ret_key = region->key ^ (faults != NULL && faults->wrong_key ? 0x5a5a5a00u : 0);
    return region;
}

static void hold_is_over(struct timer *timer)
{
    struct transport_lane_state *lane = CONTAINER_OF(timer, struct transport_lane_state, hold);
    struct transport_peer *peer = lane->peer;
    CHECK_MAGIC(peer, PEER_MAGIC);
    lane->hold_is_over = true;
    transport__mark_dirty(peer);
}

bool transport__lane_may_send(struct transport_peer *peer, enum transport_lane lane)
{
    struct transport_lane_state *state = &peer->lanes[lane];
    const struct transport_lane_faults *faults = transport__faults(peer, lane);
    if (faults == NULL || faults->delay_ns == 0 || state->hold_is_over) {
        state->hold_is_over = false;
        return true;
    }
    if (!timer_is_running(&state->hold))
        timer_start(peer->transport->loop, &state->hold, faults->delay_ns, hold_is_over);
    return false;
}

enum err transport_grant(struct transport_peer *peer, const struct landing *landing,
                         struct err_trail *trail)
{
    CHECK_MAGIC(peer, PEER_MAGIC);
    struct transport *t = peer->transport;
    CHECK(arena_is_landing(t->arena, landing->data, landing->size));
    CHECK(landing->size <= UINT32_MAX);
    unsigned region = peer->regions_in_count;
    if (peer->state != PEER_UP || region == TRANSPORT_REGIONS_MAX)
        return err_note(trail, ERR_BUSY, "grant memory to %s", peer->address);
    struct wire_grant grant = {.size = landing->size, .region = region};
    peer->regions_in[region] =
        (struct transport_region_in){.data = landing->data, .size = landing->size};
    rand_fill(t->rand, &peer->regions_in[region].key, sizeof peer->regions_in[region].key);
    enum err e = t->ops->grant(peer, region, &grant.address, trail);
    if (e)
        return err_note(trail, e, "grant memory to %s", peer->address);
    grant.key = peer->regions_in[region].key;
    peer->regions_in_count++;
    uint8_t body[WIRE_GRANT_BYTES];
    wire_grant_encode(&grant, body);
    queue_message(peer, OP_GRANT, body, sizeof body);
    return ERR_OK;
}

/* ---- looking ---- */

const struct transport_identity *transport_peer_identity(const struct transport_peer *peer)
{
    CHECK(peer->was_up);
    return &peer->handshake.peer.identity;
}

const char *transport_peer_address(const struct transport_peer *peer)
{
    return peer->address;
}

bool transport_peer_is_up(const struct transport_peer *peer)
{
    return peer->state == PEER_UP;
}

void transport_peer_set_user(struct transport_peer *peer, void *user)
{
    peer->user = user;
}

void *transport_peer_user(const struct transport_peer *peer)
{
    return peer->user;
}

void transport_peer_counts(const struct transport_peer *peer,
                           struct transport_lane_counts ret_lanes[LANE_COUNT])
{
    for (int lane = 0; lane < LANE_COUNT; lane++) {
        ret_lanes[lane] = peer->lanes[lane].counts;
        ret_lanes[lane].in_flight = peer->lanes[lane].posted - peer->lanes[lane].returned;
    }
}
