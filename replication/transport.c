#include "replication/transport.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/cleanup.h"
#include "replication/transport_priv.h"
#include "sluice_config.h"

const char *transport_backend_name(enum transport_backend backend)
{
    switch (backend) {
    case TRANSPORT_TCP:
        return "tcp";
    case TRANSPORT_VERBS:
        return "verbs";
    }
    CHECK(!"a known backend");
    return "";
}

const char *transport_lane_name(enum transport_lane lane)
{
    static const char *const names[LANE_COUNT] = {"ctl", "meta", "bulk"};
    CHECK((unsigned)lane < LANE_COUNT);
    return names[lane];
}

/* ---- the end of a turn ---- */

static void take_turn(struct loop_msg *msg);

/*
 * What callbacks of one turn of the loop post goes out together, at the turn's end: one system
 * call or doorbell for many, and no handler runs inside a call.
 */
void transport__turn_later(struct transport *t)
{
    if (t->turn_posted)
        return;
    t->turn_posted = true;
    t->turn.deliver = take_turn;
    loop_post(t->loop, &t->turn);
}

void transport__mark_dirty(struct transport_peer *peer)
{
    if (!list_is_linked(&peer->dirty_link))
        list_push_back(&peer->transport->dirty, &peer->dirty_link);
    transport__turn_later(peer->transport);
}

/* ---- a peer's life ---- */

static struct transport_peer *peer_take(struct transport *t, const struct sockaddr *address)
{
    struct list *node = list_pop_front(&t->free_peers);
    if (node == NULL)
        return NULL;
    struct transport_peer *peer = LIST_ENTRY(node, struct transport_peer, link);
    CHECK(peer->state == PEER_FREE);
    uint8_t(*ctl)[WIRE_MESSAGE_BYTES] = peer->ctl;
    void *backend = peer->backend;
    *peer = (struct transport_peer){
        .magic = PEER_MAGIC, .transport = t, .ctl = ctl, .backend = backend};
    for (int lane = 0; lane < LANE_COUNT; lane++) {
        peer->lanes[lane].peer = peer;
        list_init(&peer->lanes[lane].queue);
    }
    transport__format_address(address, peer->address);
    list_push_back(&t->peers, &peer->link);
    return peer;
}

void transport__peer_uncount(struct transport_peer *peer)
{
    struct transport *t = peer->transport;
    if (peer->is_counted) {
        CHECK(t->peers_taken > 0);
        t->peers_taken--;
    } else {
        CHECK(t->strangers > 0);
        t->strangers--;
    }
}

static void peer_free(struct transport_peer *peer)
{
    struct transport *t = peer->transport;
    handshake_wipe(&peer->handshake);
    list_remove(&peer->dirty_link);
    list_remove(&peer->link);
    peer->state = PEER_FREE;
    peer->magic = 0;
    list_push_back(&t->free_peers, &peer->link);
}

void transport__deadline_passed(struct timer *timer)
{
    struct transport_peer *peer = CONTAINER_OF(timer, struct transport_peer, deadline);
    CHECK_MAGIC(peer, PEER_MAGIC);
    transport__break(peer, END_TIMEOUT, "%s",
                     peer->state == PEER_DIALLING ? "it does not answer"
                                                  : "it did not finish the handshake in time");
}

struct transport_peer *transport__stranger(struct transport *t, const struct sockaddr *address)
{
    if (t->is_closing || t->strangers >= STRANGERS_MAX)
        return NULL;
    struct transport_peer *peer = peer_take(t, address);
    CHECK(peer != NULL); /* the pool is peers_max and as many strangers */
    t->strangers++;
    peer->state = PEER_GREETING;
    handshake_listen(&peer->handshake, &t->rules);
    timer_start(t->loop, &peer->deadline, TRANSPORT_HANDSHAKE_NS, transport__deadline_passed);
    return peer;
}

enum err transport_connect(struct transport *t, const struct sockaddr *address,
                           socklen_t address_size, struct transport_peer **ret_peer,
                           struct err_trail *trail)
{
    if (t->is_closing)
        return err_note(trail, ERR_CLOSED, "connect to a peer");
    if (t->peers_taken >= t->peers_max)
        return err_say(trail, ERR_BUSY, "there are as many peers as this node takes, %u",
                       t->peers_max);
    struct transport_peer *peer = peer_take(t, address);
    CHECK(peer != NULL);
    peer->is_connecting = peer->is_counted = true;
    t->peers_taken++;
    peer->state = PEER_DIALLING;
    enum err e = t->ops->dial(peer, address, address_size, trail);
    if (e) {
        e = err_note(trail, e, "connect to %s", peer->address);
        t->ops->release(peer);
        transport__peer_uncount(peer);
        peer_free(peer);
        return e;
    }
    t->counts.connects++;
    timer_start(t->loop, &peer->deadline, TRANSPORT_HANDSHAKE_NS, transport__deadline_passed);
    *ret_peer = peer;
    return ERR_OK;
}

void transport__break(struct transport_peer *peer, enum transport_end why, const char *format, ...)
{
    CHECK_MAGIC(peer, PEER_MAGIC);
    struct transport *t = peer->transport;
    if (peer->state == PEER_ENDING)
        return;
    if (peer->state != PEER_REFUSING) { /* whose reason is known already */
        char text[ERR_TRAIL_BYTES];
        va_list args;
        va_start(args, format);
        (void)vsnprintf(text, sizeof text, format, args); /* cut when too long */
        va_end(args);
        snprintf(peer->sentence, sizeof peer->sentence, "%s: %s", peer->address, text);
        peer->why = why;
    }
    peer->state = PEER_ENDING;
    timer_stop(t->loop, &peer->deadline);
    for (int lane = 0; lane < LANE_COUNT; lane++)
        timer_stop(t->loop, &peer->lanes[lane].hold);
    t->ops->end(peer);
    transport__turn_later(t);
}

void transport_fence(struct transport_peer *peer)
{
    transport__break(peer, END_FENCED, "fenced by this node");
}

static void count_end(struct transport *t, const struct transport_peer *peer)
{
    t->counts.ends[peer->why]++;
    switch (peer->why) {
    case END_FENCED:
        t->counts.fenced++;
        break;
    case END_PROTOCOL:
        t->counts.protocol_errors++;
        break;
    case END_REFUSED:
        t->counts.refused++;
        break;
    case END_PEER_CLOSED:
    case END_BROKEN:
    case END_TIMEOUT:
        t->counts.broken++;
        break;
    }
}

static void add_lane(struct transport_lane_counts *to, const struct transport_lane_counts *from)
{
    to->sent += from->sent;
    to->sent_bytes += from->sent_bytes;
    to->received += from->received;
    to->received_bytes += from->received_bytes;
}

/* The backend has let go of memory and writes: C5 and C7 hold from here. */
static void bury(struct transport_peer *peer)
{
    struct transport *t = peer->transport;
    t->ops->release(peer);
    for (int lane = 0; lane < LANE_COUNT; lane++)
        for (struct list *node; (node = list_pop_front(&peer->lanes[lane].queue)) != NULL;)
            transport__written(peer, LIST_ENTRY(node, struct transport_write, link),
                               ERR_PEER_CLOSED);
    count_end(t, peer);
    for (int lane = 0; lane < LANE_COUNT; lane++)
        add_lane(&t->counts.lanes[lane], &peer->lanes[lane].counts);
    transport__peer_uncount(peer);
    if (peer->was_up || peer->is_connecting)
        t->handlers.down(t->context, peer, peer->why, peer->sentence);
    else if (t->handlers.turned_away)
        t->handlers.turned_away(t->context, peer->why, peer->sentence);
    peer_free(peer);
}

static void flush_dirty(struct transport *t)
{
    struct list now;
    list_init(&now);
    list_splice_back(&now, &t->dirty);
    for (struct list *node; (node = list_pop_front(&now)) != NULL;) {
        struct transport_peer *peer = LIST_ENTRY(node, struct transport_peer, dirty_link);
        if (peer->state != PEER_ENDING)
            t->ops->flush(peer);
    }
}

static void take_turn(struct loop_msg *msg)
{
    struct transport *t = CONTAINER_OF(msg, struct transport, turn);
    t->turn_posted = false;
    flush_dirty(t);
    LIST_EACH (&t->peers, node) {
        struct transport_peer *peer = LIST_ENTRY(node, struct transport_peer, link);
        if (peer->state == PEER_ENDING && t->ops->is_ended(peer))
            bury(peer);
    }
    if (t->is_closing && !t->is_closed && list_is_empty(&t->peers) && t->ops->is_quiet(t) &&
        !t->turn_posted) {
        t->is_closed = true;
        t->closed(t->context);
    }
}

/* ---- opening and closing ---- */

void transport_free(struct transport *t)
{
    if (t == NULL)
        return;
    CHECK(t->is_closed && !t->turn_posted);
    t->ops->free(t);
    explicit_bzero(t->rules.key, sizeof t->rules.key);
    free(t->ctl_memory);
    free(t->pool);
    free(t);
}

static void transport_free__scope(struct transport **t)
{
    if (*t == NULL)
        return;
    (*t)->is_closed = true; /* half-opened: nothing was started */
    transport_free(*t);
}

static enum err make_pool(struct transport *t)
{
    t->pool_size = t->peers_max + STRANGERS_MAX;
    t->ctl_memory_size = (size_t)t->pool_size * CTL_RING * WIRE_MESSAGE_BYTES;
    t->pool = calloc(t->pool_size, sizeof *t->pool);
    t->ctl_memory = aligned_alloc(4096, t->ctl_memory_size); /* registered as a whole */
    if (t->pool == NULL || t->ctl_memory == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < t->pool_size; i++) {
        t->pool[i].transport = t;
        t->pool[i].ctl = (void *)(t->ctl_memory + (size_t)i * CTL_RING * WIRE_MESSAGE_BYTES);
        list_push_back(&t->free_peers, &t->pool[i].link);
    }
    return ERR_OK;
}

static enum err open_backend(struct transport *t, enum transport_choice choice,
                             struct err_trail *trail)
{
    struct err_trail why = {0};
    enum err e = ERR_UNSUPPORTED;
    if (choice != TRANSPORT_FORCE_TCP) {
#ifdef SLUICE_RDMA
        t->ops = &transport__verbs_ops;
        e = t->ops->open(t, &why);
        if (e == ERR_OK)
            return ERR_OK;
        t->ops->free(t);
        t->backend = NULL;
#else
        e = err_say(&why, ERR_UNSUPPORTED, "this Sluice was built without RDMA (librdmacm)");
#endif
        if (choice == TRANSPORT_FORCE_VERBS) {
            t->ops = &transport__tcp_ops;
            return err_say(trail, e, "%s", err_trail_text(&why, e));
        }
        snprintf(t->reason, sizeof t->reason, "%s", err_trail_text(&why, e));
    }
    t->ops = &transport__tcp_ops;
    return t->ops->open(t, trail);
}

enum err transport_open(const struct transport_options *options, struct transport **ret_transport,
                        struct err_trail *trail)
{
    CHECK(options->handlers != NULL && options->handlers->up != NULL);
    CHECK(options->handlers->down != NULL && options->peers_max > 0 && options->self.node > 0);
    CHECK(options->address_size <= sizeof((struct transport *)0)->address);
    CLEANUP(transport_free) struct transport *t = calloc(1, sizeof *t);
    if (t == NULL)
        return err_note(trail, ERR_NO_MEMORY, "open the peer transport");
    *t = (struct transport){
        .ops = &transport__tcp_ops,
        .loop = options->loop,
        .arena = options->arena,
        .rand = options->rand ? options->rand : rand_system(),
        .handlers = *options->handlers,
        .context = options->context,
        .faults = options->faults,
        .rules = {.self = options->self, .admit = transport__admit},
        .address_size = options->address_size,
        .busy_poll_ns = options->busy_poll_ns,
        .peers_max = options->peers_max,
    };
    memcpy(&t->address, options->address, options->address_size);
    memcpy(t->rules.key, options->cluster_key, sizeof t->rules.key);
    memcpy(t->rules.depth, transport__depth, sizeof t->rules.depth);
    list_init(&t->peers);
    list_init(&t->free_peers);
    list_init(&t->dirty);
    enum err e = make_pool(t);
    if (e == ERR_OK)
        e = open_backend(t, options->choice, trail);
    if (e)
        return err_note(trail, e, "open the peer transport");
    *ret_transport = TAKE(t);
    return ERR_OK;
}

void transport_close(struct transport *t, void (*closed)(void *context))
{
    CHECK(!t->is_closing);
    t->is_closing = true;
    t->closed = closed;
    LIST_EACH (&t->peers, node)
        transport__break(LIST_ENTRY(node, struct transport_peer, link), END_FENCED,
                         "this node's transport is closing");
    t->ops->stop_listening(t);
    transport__turn_later(t);
}

/* ---- looking ---- */

void transport_counts(const struct transport *t, struct transport_counts *ret_counts)
{
    *ret_counts = t->counts;
    for (uint32_t i = 0; i < t->pool_size; i++) {
        const struct transport_peer *peer = &t->pool[i];
        for (int lane = 0; lane < LANE_COUNT && peer->state != PEER_FREE; lane++) {
            add_lane(&ret_counts->lanes[lane], &peer->lanes[lane].counts);
            ret_counts->lanes[lane].in_flight +=
                peer->lanes[lane].posted - peer->lanes[lane].returned;
        }
    }
}

void transport_status(const struct transport *t, struct transport_status *ret_status)
{
    *ret_status = (struct transport_status){
        .backend = t->ops->backend, .address = t->address, .is_registered = t->is_registered};
    memcpy(ret_status->device, t->device, sizeof ret_status->device);
    memcpy(ret_status->reason, t->reason, sizeof ret_status->reason);
    for (uint32_t i = 0; i < t->pool_size; i++)
        ret_status->peers_up += t->pool[i].state == PEER_UP;
}
