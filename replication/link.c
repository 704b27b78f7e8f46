#include "replication/link.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "replication/link_priv.h"
#include "replication/transport_faults.h"
#include "replication/transport_priv.h" /* for transport__format_address() */

static void call_now(struct timer *timer);

/* ---- the end of a connection ---- */

static void end_with(struct link *link, const char *format, va_list args)
{
    if (link->peer == NULL || link->state == LINK_ENDING)
        return;
    (void)vsnprintf(link->cause, sizeof link->cause, format, args); /* cut when too long */
    link->state = LINK_ENDING;
    timer_stop(link->links->loop, &link->timer);
    transport_fence(link->peer);
}

void link__end(struct link *link, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    end_with(link, format, args);
    va_end(args);
}

void link__violated(struct link *link, const char *format, ...)
{
    if (link->peer == NULL || link->state == LINK_ENDING)
        return;
    link->counts.violations++;
    va_list args;
    va_start(args, format);
    end_with(link, format, args);
    va_end(args);
    LOG_LIMITED(LOG_WARN, "link", "node %u (%s) broke the rules and is cut off: %s",
                link->peer_options.node, link->address, link->cause);
}

void link_violated(struct link *link, const char *sentence)
{
    link__violated(link, "%s", sentence);
}

void link_fence(struct link *link, const char *sentence)
{
    link__end(link, "%s", sentence);
}

/* Half as long again or half as short: nodes that lost each other do not meet again in step. */
static void call_later(struct link *link)
{
    struct links *links = link->links;
    if (!link->we_call || links->is_closing)
        return;
    uint64_t delay = LINK_RETRY_MIN_NS;
    for (unsigned i = 1; i < link->failures && delay < LINK_RETRY_MAX_NS; i++)
        delay *= 2;
    if (delay > LINK_RETRY_MAX_NS)
        delay = LINK_RETRY_MAX_NS;
    delay = delay - delay / 4 + rand_below(links->rand, delay / 2);
    if (links->faults != NULL && links->faults->retries_at_once)
        delay = 0;
    timer_start(links->loop, &link->timer, delay, call_now);
}

/* The same sentence again and again says nothing new. */
static void set_sentence(struct link *link, const char *sentence)
{
    bool is_new = link->was_up || strcmp(link->sentence, sentence) != 0;
    snprintf(link->sentence, sizeof link->sentence, "%s", sentence);
    if (is_new && !link->links->is_closing)
        LOG_LIMITED(LOG_WARN, "link", "node %u %s: %s", link->peer_options.node,
                    link->was_up ? "is gone" : "cannot be had", link->sentence);
}

/* A connection that the peer made has a port of the peer's that nobody listens on. */
static void say_configured_address(struct link *link)
{
    transport__format_address((const struct sockaddr *)&link->peer_options.address, link->address);
}

static void connection_ended(struct link *link, const char *sentence)
{
    struct links *links = link->links;
    uint64_t now = loop_now_ns(links->loop);
    char text[sizeof link->sentence];
    if (link->cause[0] != '\0')
        snprintf(text, sizeof text, "%s: %s", link->address, link->cause);
    else
        snprintf(text, sizeof text, "%s", sentence);
    timer_stop(links->loop, &link->timer);
    link->state = LINK_ENDING;
    link__receiver_end(link);
    link__sender_end(link);
    bool was_steady = link->was_up && now - link->since_ns >= LINK_STEADY_NS;
    link->failures = was_steady ? 1 : link->failures + 1;
    set_sentence(link, text);
    bool was_up = link->was_up;
    link->state = LINK_IDLE;
    link->peer = NULL;
    link->was_up = link->in.is_lent = false;
    link->area_bytes = 0;
    say_configured_address(link);
    if (was_up) {
        link->since_ns = now;
        links->handlers.down(links->context, link, link->sentence);
    }
}

/* ---- its beginning ---- */

static void peer_is_late(struct timer *timer)
{
    struct link *link = CONTAINER_OF(timer, struct link, timer);
    CHECK_MAGIC(link, LINK_MAGIC);
    link__end(link, link->in.is_lent ? "it lends no landing area"
                                     : "this node's disk has not let go of the landing area");
}

static void say_ready(struct link *link)
{
    if (link->state != LINK_GRANTING || !link->in.is_lent || link->area_bytes == 0)
        return;
    link__sender_begin(link);
    link->state = LINK_READY;
    uint8_t body[LINK_READY_BYTES];
    link_ready_encode(link->in.landing->size, body);
    enum err e = link__ctl(link, LINK_CTL_READY, 0, body, sizeof body);
    if (e)
        link__end(link, "it cannot be told that this node is ready: %s", err_text(e));
}

void link__lend(struct link *link)
{
    struct links *links = link->links;
    bool is_held_back = links->faults != NULL && links->faults->grants_nothing;
    if (link->state != LINK_GRANTING || link->in.is_lent || link->in.held != 0 || is_held_back)
        return;
    struct err_trail trail = {0};
    enum err e = transport_grant(link->peer, link->in.landing, &trail);
    if (e) {
        link__end(link, "%s", err_trail_text(&trail, e));
        return;
    }
    link->in.is_lent = true;
    link->life++;
    link__receiver_begin(link);
    say_ready(link);
}

void link__ready_came(struct link *link)
{
    struct links *links = link->links;
    if (link->state != LINK_READY)
        return;
    link->state = LINK_UP;
    link->was_up = true;
    link->since_ns = loop_now_ns(links->loop);
    link->counts.ups++;
    timer_stop(links->loop, &link->timer);
    LOG_LIMITED(LOG_INFO, "link", "node %u is there address=%s over=%s device=\"%s\"",
                link->peer_options.node, link->address,
                transport_backend_name(links->status.backend), links->status.device);
    links->handlers.up(links->context, link);
}

static void adopt(struct link *link, struct transport_peer *peer, uint64_t area_bytes)
{
    const struct transport_identity *identity = transport_peer_identity(peer);
    link->peer = peer;
    link->state = LINK_GRANTING;
    link->area_bytes = area_bytes;
    link->heard_ready = false;
    link->cause[0] = '\0';
    memcpy(link->disk, identity->disk, sizeof link->disk);
    memcpy(link->incarnation, identity->incarnation, sizeof link->incarnation);
    snprintf(link->address, sizeof link->address, "%s", transport_peer_address(peer));
    timer_start(link->links->loop, &link->timer, LINK_LEND_NS, peer_is_late);
    link__lend(link);
}

static void call_now(struct timer *timer)
{
    struct link *link = CONTAINER_OF(timer, struct link, timer);
    CHECK_MAGIC(link, LINK_MAGIC);
    CHECK(link->state == LINK_IDLE && link->we_call);
    struct err_trail trail = {0};
    const struct link_peer_options *to = &link->peer_options;
    link->cause[0] = '\0';
    link->counts.attempts++;
    enum err e = transport_connect(link->links->transport, (const struct sockaddr *)&to->address,
                                   to->address_size, &link->peer, &trail);
    if (e == ERR_OK) {
        transport_peer_set_user(link->peer, link);
        link->state = LINK_CALLING;
        return;
    }
    link->failures++;
    set_sentence(link, err_trail_text(&trail, e));
    call_later(link);
}

/* ---- what the transport tells ---- */

static enum err on_admit(void *context, const struct transport_identity *identity,
                         struct err_trail *trail)
{
    struct links *links = context;
    if (links_find(links, identity->node) == NULL)
        return err_say(trail, ERR_DENIED, "node %u is not in this node's configuration",
                       identity->node);
    if (links->handlers.admit == NULL)
        return ERR_OK;
    return links->handlers.admit(links->context, identity->node, identity->disk, trail);
}

/* A node that calls while its old connection still stands has lost that one, or was started anew.
 */
static void was_called(struct links *links, struct transport_peer *peer)
{
    uint32_t node = transport_peer_identity(peer)->node;
    struct link *link = links_find(links, node);
    CHECK(link != NULL); /* admitted */
    link->counts.attempts++;
    if (link->we_call) {
        LOG_LIMITED(LOG_WARN, "link", "node %u calls from %s, but waits to be called by this node",
                    node, transport_peer_address(peer));
        transport_fence(peer);
        return;
    }
    transport_peer_set_user(peer, link);
    if (link->peer == NULL) {
        adopt(link, peer, 0);
        return;
    }
    if (link->next != NULL)
        transport_fence(link->next);
    link->next = peer;
    link->next_area_bytes = 0;
    link__end(link, "it has called again");
}

static void on_up(void *context, struct transport_peer *peer)
{
    struct links *links = context;
    struct link *link = transport_peer_user(peer);
    if (link == NULL) {
        was_called(links, peer);
        return;
    }
    CHECK_MAGIC(link, LINK_MAGIC);
    if (link->state != LINK_CALLING)
        return; /* fenced meanwhile */
    uint32_t node = transport_peer_identity(peer)->node;
    if (node != link->peer_options.node)
        link__end(link, "node %u answers there, not node %u", node, link->peer_options.node);
    else
        adopt(link, peer, 0);
}

static void on_down(void *context, struct transport_peer *peer, enum transport_end why,
                    const char *sentence)
{
    struct link *link = transport_peer_user(peer);
    if (link == NULL)
        return; /* called when it should have waited */
    CHECK_MAGIC(link, LINK_MAGIC);
    if (peer == link->next)
        link->next = NULL;
    if (peer != link->peer)
        return;
    connection_ended(link, sentence);
    if (link->next != NULL)
        adopt(link, TAKE(link->next), link->next_area_bytes);
    else
        call_later(link);
}

static void on_turned_away(void *context, enum transport_end why, const char *sentence)
{
    LOG_LIMITED(LOG_WARN, "link", "somebody called and was not let in: %s", sentence);
}

static void on_granted(void *context, struct transport_peer *peer, uint8_t region, uint64_t size)
{
    struct link *link = transport_peer_user(peer);
    if (link == NULL)
        return;
    if (peer == link->next) {
        link->next_area_bytes = size; /* judged when its time has come */
        return;
    }
    if (peer != link->peer || link->state == LINK_ENDING)
        return;
    if (region != 0 || size < LINK_AREA_BYTES_MIN) {
        link__violated(link, "it lends area %u of %llu bytes", region, (unsigned long long)size);
        return;
    }
    link->area_bytes = size;
    say_ready(link);
}

static void on_ctl(void *context, struct transport_peer *peer, const uint8_t *data, size_t size)
{
    struct link *link = transport_peer_user(peer);
    if (link != NULL && peer == link->peer)
        link__ctl_in(link, data, size);
}

static void on_write(void *context, struct transport_peer *peer, enum transport_lane lane,
                     uint32_t imm, uint32_t size)
{
    struct link *link = transport_peer_user(peer);
    if (link != NULL && peer == link->peer)
        link__write_in(link, lane, imm, size);
}

static void on_room(void *context, struct transport_peer *peer, enum transport_lane lane)
{
    struct link *link = transport_peer_user(peer);
    if (link != NULL && peer == link->peer && link__is_connected(link))
        link__send(link, lane);
}

static const struct transport_handlers transport_events = {
    .admit = on_admit,
    .up = on_up,
    .down = on_down,
    .turned_away = on_turned_away,
    .granted = on_granted,
    .ctl_in = on_ctl,
    .write_in = on_write,
    .room = on_room,
};

/* ---- the end of a turn ---- */

static void take_turn(struct loop_msg *msg)
{
    struct links *links = CONTAINER_OF(msg, struct links, turn);
    CHECK_MAGIC(links, LINKS_MAGIC);
    links->turn_posted = false;
    bool holds = false;
    for (unsigned i = 0; i < links->count; i++) {
        struct link *link = &links->links[i];
        link__return_slots(link);
        link__lend(link);
        holds |= link->in.held != 0;
    }
    if (!links->is_transport_closed || links->is_closed || holds || links->turn_posted)
        return;
    links->is_closed = true;
    links->closed(links->context);
}

void link__turn_later(struct links *links)
{
    if (links->turn_posted)
        return;
    links->turn_posted = true;
    links->turn.deliver = take_turn;
    loop_post(links->loop, &links->turn);
}

bool link__is_connected(const struct link *link)
{
    return (link->state == LINK_READY || link->state == LINK_UP) &&
           transport_peer_is_up(link->peer);
}

/* ---- opening and closing ---- */

static enum err judge_peers(const struct links_options *options, struct err_trail *trail)
{
    for (unsigned i = 0; i < options->peer_count; i++) {
        const struct link_peer_options *peer = &options->peers[i];
        if (peer->node == 0 || peer->node == options->self.node)
            return err_say(trail, ERR_INVALID, "a peer has the number %u, %s", peer->node,
                           peer->node == 0 ? "which is none" : "which is this node's own");
        if (peer->address_size == 0 || peer->address_size > sizeof peer->address)
            return err_say(trail, ERR_INVALID, "node %u has no address", peer->node);
        for (unsigned j = 0; j < i; j++)
            if (options->peers[j].node == peer->node)
                return err_say(trail, ERR_INVALID, "two peers have the number %u", peer->node);
    }
    return ERR_OK;
}

static enum err take_memory(struct links *links, struct err_trail *trail)
{
    struct arena_share *share = loop_arena(links->loop);
    CHECK(share != NULL);
    unsigned slots = LINKS_SMALL_SLOTS(links->count);
    links->heads = slot_take(share, SLOT_SMALL);
    bool has_slots = links->heads != NULL, has_areas = true;
    for (unsigned i = 0; i < links->count; i++) {
        struct link *link = &links->links[i];
        for (unsigned s = 0; s < LINK_SEND_SLOTS; s++)
            has_slots &= (link->out.memory[s] = slot_take(share, SLOT_SMALL)) != NULL;
        has_areas &= (link->in.landing = arena_landing_take(links->arena)) != NULL;
        if (!has_slots || !has_areas)
            break;
        link->out.heads = links->heads->data + i * LINK_HEADS_BYTES;
        if (link->in.landing->size < LINK_AREA_BYTES_MIN)
            return err_say(trail, ERR_INVALID,
                           "a landing area has %llu bytes, at least %u are needed",
                           (unsigned long long)link->in.landing->size, LINK_AREA_BYTES_MIN);
        link->in.layout = link_layout_of(link->in.landing->size);
    }
    if (!has_slots)
        return err_say(trail, ERR_NO_MEMORY, "%u peers need %u free slots of %u KiB", links->count,
                       slots, SLOT_SMALL_BYTES / 1024);
    if (!has_areas)
        return err_say(trail, ERR_NO_MEMORY, "%u peers need a landing area each", links->count);
    return ERR_OK;
}

static void link_init(struct links *links, unsigned index, const struct link_peer_options *peer)
{
    struct link *link = &links->links[index];
    link->magic = LINK_MAGIC;
    link->links = links;
    link->index = index;
    link->peer_options = *peer;
    link->we_call = links->self < peer->node;
    link->since_ns = loop_now_ns(links->loop);
    list_init(&link->out.waiting);
    list_init(&link->out.chunks);
    say_configured_address(link);
}

static enum err open_transport(struct links *links, const struct links_options *options,
                               struct err_trail *trail)
{
    struct transport_options transport = {
        .loop = options->loop,
        .arena = options->arena,
        .rand = options->rand,
        .choice = options->choice,
        .address = options->address,
        .address_size = options->address_size,
        .self = options->self,
        .peers_max = 2 * options->peer_count, /* the ones that come while the old ones end */
        .busy_poll_ns = options->busy_poll_ns,
        .handlers = &transport_events,
        .context = links,
        .faults = options->transport_faults,
    };
    memcpy(transport.cluster_key, options->cluster_key, sizeof transport.cluster_key);
    enum err e = transport_open(&transport, &links->transport, trail);
    explicit_bzero(transport.cluster_key, sizeof transport.cluster_key);
    if (e == ERR_OK)
        transport_status(links->transport, &links->status);
    return e;
}

static void links_free__scope(struct links **links)
{
    if (*links == NULL)
        return;
    (*links)->is_closed = true; /* half-opened: nothing was started */
    links_free(*links);
}

enum err links_open(const struct links_options *options, struct links **ret_links,
                    struct err_trail *trail)
{
    CHECK(options->peer_count > 0 && options->peer_count <= LINKS_MAX);
    CHECK(options->handlers->up != NULL && options->handlers->down != NULL);
    enum err e = judge_peers(options, trail);
    if (e)
        return err_note(trail, e, "open the links to the peers");
    CLEANUP(links_free)
    struct links *links = calloc(1, sizeof *links + options->peer_count * sizeof links->links[0]);
    if (links == NULL)
        return err_note(trail, ERR_NO_MEMORY, "open the links to the peers");
    links->magic = LINKS_MAGIC;
    links->loop = options->loop;
    links->arena = options->arena;
    links->rand = options->rand ? options->rand : rand_system();
    links->handlers = *options->handlers;
    links->context = options->context;
    links->faults = options->faults;
    links->self = options->self.node;
    links->count = options->peer_count;
    for (unsigned i = 0; i < links->count; i++)
        link_init(links, i, &options->peers[i]);
    links->scratch = malloc(LINK_MESSAGE_SLOT_BYTES);
    e = links->scratch != NULL ? take_memory(links, trail) : ERR_NO_MEMORY;
    if (e == ERR_OK)
        e = open_transport(links, options, trail);
    if (e)
        return err_note(trail, e, "open the links to the peers");
    for (unsigned i = 0; i < links->count; i++)
        if (links->links[i].we_call)
            timer_start(links->loop, &links->links[i].timer, 0, call_now);
    *ret_links = TAKE(links);
    return ERR_OK;
}

static void transport_is_closed(void *context)
{
    struct links *links = context;
    CHECK_MAGIC(links, LINKS_MAGIC);
    links->is_transport_closed = true;
    link__turn_later(links);
}

void links_close(struct links *links, void (*closed)(void *context))
{
    CHECK_MAGIC(links, LINKS_MAGIC);
    CHECK(!links->is_closing);
    links->is_closing = true;
    links->closed = closed;
    for (unsigned i = 0; i < links->count; i++) {
        struct link *link = &links->links[i];
        link__end(link, "this node is closing its links");
        timer_stop(links->loop, &link->timer);
    }
    transport_close(links->transport, transport_is_closed);
}

void links_free(struct links *links)
{
    if (links == NULL)
        return;
    CHECK_MAGIC(links, LINKS_MAGIC);
    CHECK(links->is_closed && !links->turn_posted);
    transport_free(links->transport);
    for (unsigned i = 0; i < links->count; i++) {
        struct link *link = &links->links[i];
        CHECK(link->in.held == 0 && link->peer == NULL && !timer_is_running(&link->timer));
        for (unsigned s = 0; s < LINK_SEND_SLOTS; s++)
            slot_put(link->out.memory[s]);
        arena_landing_put(links->arena, link->in.landing);
        link->magic = 0;
    }
    slot_put(links->heads);
    free(links->scratch);
    links->magic = 0;
    free(links);
}

/* ---- looking ---- */

unsigned links_count(const struct links *links)
{
    return links->count;
}

struct link *links_at(struct links *links, unsigned index)
{
    CHECK(index < links->count);
    return &links->links[index];
}

struct link *links_find(struct links *links, uint32_t node)
{
    for (unsigned i = 0; i < links->count; i++)
        if (links->links[i].peer_options.node == node)
            return &links->links[i];
    return NULL;
}

void links_transport_status(const struct links *links, struct transport_status *ret_status)
{
    transport_status(links->transport, ret_status);
}

void links_transport_counts(const struct links *links, struct transport_counts *ret_counts)
{
    transport_counts(links->transport, ret_counts);
}

uint32_t link_node(const struct link *link)
{
    return link->peer_options.node;
}

unsigned link_index(const struct link *link)
{
    return link->index;
}

bool link_is_up(const struct link *link)
{
    CHECK_MAGIC(link, LINK_MAGIC);
    return link->state == LINK_UP && transport_peer_is_up(link->peer);
}

const uint8_t *link_disk(const struct link *link)
{
    return link->disk;
}

const uint8_t *link_incarnation(const struct link *link)
{
    return link->incarnation;
}

void link_set_user(struct link *link, void *user)
{
    link->user = user;
}

void *link_user(const struct link *link)
{
    return link->user;
}

void link_status(const struct link *link, struct link_status *ret_status)
{
    const struct link_sender *out = &link->out;
    const struct links *links = link->links;
    bool is_up = link_is_up(link);
    *ret_status = (struct link_status){
        .node = link->peer_options.node,
        .is_up = is_up,
        .we_call = link->we_call,
        .address = link->peer_options.address,
        .since_ns = link->since_ns,
        .backend = links->status.backend,
        .meta_slots = out->layout.meta_slots,
        .meta_in_flight = out->posted - out->returned,
        .bulk_slots = out->layout.bulk_slots,
        .chunks_waiting = out->chunk_count,
        .chunks_held = (uint32_t)__builtin_popcountll(link->in.held),
        .counts = link->counts,
    };
    ret_status->message_bytes_waiting = out->waiting_bytes + (uint32_t)(out->head - out->tail);
    for (unsigned slot = 0; slot < LINK_BULK_SLOTS_MAX; slot++)
        ret_status->bulk_in_flight += out->sent[slot] != NULL;
    memcpy(ret_status->address_text, link->address, sizeof ret_status->address_text);
    memcpy(ret_status->device, links->status.device, sizeof ret_status->device);
    memcpy(ret_status->disk, link->disk, sizeof ret_status->disk);
    memcpy(ret_status->incarnation, link->incarnation, sizeof ret_status->incarnation);
    memcpy(ret_status->sentence, link->sentence, sizeof ret_status->sentence);
}
