#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/digest.h"
#include "replication/link_priv.h"

/* ---- slots go back ---- */

/* META slots are done with in the order they came, so a total is enough; a sender that waits for
 * one has filled them all, so a quarter is always told in time. */
static bool owes_meta(const struct link_receiver *in)
{
    return in->meta_taken - in->meta_told >= in->layout.meta_slots / 4;
}

void link__return_slots(struct link *link)
{
    struct link_receiver *in = &link->in;
    uint32_t sent = 0;
    while (link__is_connected(link) && (sent < in->return_count || owes_meta(in))) {
        uint8_t body[LINK_CTL_BYTES_MAX];
        uint32_t count = in->return_count - sent;
        if (count > LINK_RETURNS_MAX)
            count = LINK_RETURNS_MAX;
        for (uint32_t i = 0; i < count; i++)
            link_return_encode(&in->returns[sent + i], body + i * LINK_RETURN_BYTES);
        if (link__ctl(link, LINK_CTL_RETURN, (uint16_t)count, body, count * LINK_RETURN_BYTES))
            break; /* room() asks again */
        sent += count;
    }
    in->return_count -= sent;
    memmove(in->returns, in->returns + sent, in->return_count * sizeof *in->returns);
}

void link_chunk_done(struct links *links, struct link_token token, enum err e)
{
    CHECK_MAGIC(links, LINKS_MAGIC);
    CHECK(token.link < links->count && token.slot < LINK_BULK_SLOTS_MAX && token.life > 0);
    struct link *link = &links->links[token.link];
    struct link_receiver *in = &link->in;
    /* The area is lent again only when all slots are back: so a slot that is out is of one life. */
    CHECK(in->held & 1ull << token.slot);
    CHECK((uint16_t)in->uses[token.slot] == token.use);
    in->held &= ~(1ull << token.slot);
    if (token.life == link->life && link__is_connected(link)) {
        CHECK(in->return_count < LINK_BULK_SLOTS_MAX);
        in->returns[in->return_count++] =
            (struct link_return){.slot = token.slot, .word = link_word_of(e), .use = token.use};
    }
    link__turn_later(links);
}

/* ---- META ---- */

static void assembly_drop(struct link_receiver *in)
{
    free(in->assembly);
    in->assembly = NULL;
}

static void deliver_message(struct link *link, uint8_t kind, const uint8_t *data, uint32_t size)
{
    struct links *links = link->links;
    link->counts.messages_in++;
    link->counts.message_bytes_in += size;
    if (links->handlers.message)
        links->handlers.message(links->context, link, kind, bytes_of(data, size));
}

/* One part of a message of several slots: its place in the assembly, NULL: it has none. */
static uint8_t *assembly_place(struct link *link, const struct link_meta_head *head)
{
    struct link_receiver *in = &link->in;
    if (in->assembly == NULL && head->offset == 0) {
        in->assembly = malloc(head->total);
        if (in->assembly == NULL) {
            link__end(link, "no memory for a message of %u bytes", head->total);
            return NULL;
        }
        in->assembly_total = head->total;
        in->assembly_kind = head->kind;
        in->assembly_have = 0;
    }
    if (in->assembly == NULL || head->offset != in->assembly_have ||
        head->total != in->assembly_total || head->kind != in->assembly_kind) {
        link__violated(link, "it sent a part of a message that does not follow the last one");
        return NULL;
    }
    return in->assembly + head->offset;
}

/*
 * The payload is copied before it is judged and handed on: the peer may write the slot at any time,
 * and what was found whole must be what is used. It also lets the slot go back at once.
 */
static void take_meta(struct link *link, const struct link_meta_head *head, const uint8_t *payload)
{
    struct link_receiver *in = &link->in;
    bool is_whole = head->size == head->total;
    uint8_t *place = link->links->scratch;
    if (!is_whole || in->assembly != NULL)
        place = assembly_place(link, head);
    if (place == NULL)
        return;
    memcpy(place, payload, head->size);
    if (xxh3_64(place, head->size) != head->sum) {
        link__violated(link, "a message does not match its checksum");
        return;
    }
    in->meta_taken++;
    if (is_whole) {
        deliver_message(link, head->kind, place, head->size);
    } else {
        in->assembly_have += head->size;
        if (in->assembly_have == in->assembly_total) {
            deliver_message(link, head->kind, in->assembly, in->assembly_total);
            assembly_drop(in);
        }
    }
    if (owes_meta(in))
        link__return_slots(link);
}

static void meta_in(struct link *link, uint32_t imm, uint32_t size)
{
    struct link_receiver *in = &link->in;
    uint32_t slot = in->meta_taken % in->layout.meta_slots;
    uint32_t use = in->meta_taken / in->layout.meta_slots + 1;
    const uint8_t *bytes = in->landing->data + (size_t)slot * LINK_META_SLOT_BYTES;
    uint8_t copy[LINK_META_HEAD_BYTES];
    struct link_meta_head head;
    memcpy(copy, bytes, sizeof copy);
    if (imm != link_imm(slot, use) || size < LINK_META_HEAD_BYTES ||
        link_meta_head_decode(copy, &head) || head.slot != slot || head.use != use ||
        head.size != size - LINK_META_HEAD_BYTES) {
        link__violated(link, "what it wrote to META slot %u is no message, or an old one", slot);
        return;
    }
    take_meta(link, &head, bytes + LINK_META_HEAD_BYTES);
}

/* ---- BULK ---- */

static void bulk_in(struct link *link, uint32_t imm, uint32_t size)
{
    struct link_receiver *in = &link->in;
    struct links *links = link->links;
    uint32_t slot = imm >> 16;
    if (slot >= in->layout.bulk_slots || in->held & 1ull << slot) {
        link__violated(link, "it wrote to BULK slot %u, which is not its own", slot);
        return;
    }
    uint32_t use = in->uses[slot] + 1, head_use;
    uint8_t *payload = in->landing->data + in->layout.bulk_offset +
                       (size_t)slot * LINK_BULK_SLOT_BYTES + LINK_BULK_HEAD_BYTES;
    uint8_t copy[LINK_CHUNK_WIRE_BYTES];
    struct link_chunk_head head;
    uint16_t head_slot;
    memcpy(copy, payload - LINK_CHUNK_WIRE_BYTES, sizeof copy);
    if (imm != link_imm(slot, use) || size < LINK_CHUNK_WIRE_BYTES ||
        link_chunk_head_decode(copy, &head, &head_slot, &head_use) || head_slot != slot ||
        head_use != use || head.size != size - LINK_CHUNK_WIRE_BYTES) {
        link__violated(link, "what it wrote to BULK slot %u is no chunk, or an old one", slot);
        return;
    }
    in->uses[slot] = use;
    in->held |= 1ull << slot;
    link->counts.chunks_in++;
    link->counts.chunk_bytes_in += head.size;
    struct link_token token = {.life = link->life,
                               .link = (uint8_t)link->index,
                               .slot = (uint8_t)slot,
                               .use = (uint16_t)use};
    if (links->handlers.chunk)
        links->handlers.chunk(links->context, link, &head, payload, token);
    else
        link_chunk_done(links, token, ERR_UNSUPPORTED);
}

void link__write_in(struct link *link, enum transport_lane lane, uint32_t imm, uint32_t size)
{
    if (!link__is_connected(link))
        return;             /* fenced meanwhile */
    link__ready_came(link); /* it would not write otherwise; its READY is on another lane */
    if (!link_is_up(link))
        return;
    if (lane == LANE_META)
        meta_in(link, imm, size);
    else
        bulk_in(link, imm, size);
}

/* ---- CTL ---- */

static void take_returns(struct link *link, const uint8_t *body, unsigned count)
{
    for (unsigned i = 0; i < count && link__is_connected(link); i++) {
        struct link_return one;
        link_return_decode(body + i * LINK_RETURN_BYTES, &one);
        if (!link__bulk_returned(link, &one)) {
            link__violated(link, "it gave back BULK slot %u, which it does not have", one.slot);
            return;
        }
    }
    if (link__is_connected(link))
        link__send(link, LANE_BULK);
}

static void take_ready(struct link *link, const uint8_t *body)
{
    uint64_t lent;
    if (link->heard_ready) {
        link__violated(link, "it said twice that it is ready");
    } else if (link_ready_decode(body, &lent) || lent != link->area_bytes) {
        link__violated(link, "it cuts its landing area in another way: another version of Sluice?");
    } else {
        link->heard_ready = true;
        link__ready_came(link);
    }
}

void link__ctl_in(struct link *link, const uint8_t *data, size_t size)
{
    struct links *links = link->links;
    struct link_ctl_head head;
    if (link->state == LINK_ENDING)
        return;
    if (!link__is_connected(link) || link_ctl_head_decode(data, size, &head) ||
        (head.type != LINK_CTL_READY && !link->heard_ready)) {
        link__violated(link, "it sent a message that makes no sense, or none yet");
        return;
    }
    if (!link__meta_returned(link, head.meta)) {
        link__violated(link, "it gave back more META slots than it has");
        return;
    }
    const uint8_t *body = data + LINK_CTL_HEAD_BYTES;
    if (head.type == LINK_CTL_READY) {
        take_ready(link, body);
    } else if (head.type == LINK_CTL_RETURN) {
        take_returns(link, body, head.count);
    } else {
        link->counts.ctl_in++;
        if (links->handlers.ctl)
            links->handlers.ctl(links->context, link, body, size - LINK_CTL_HEAD_BYTES);
    }
}

/* ---- a connection's time ---- */

void link__receiver_begin(struct link *link)
{
    struct link_receiver *in = &link->in;
    CHECK(in->held == 0 && in->return_count == 0 && in->assembly == NULL);
    memset(in->uses, 0, sizeof in->uses);
    in->meta_taken = in->meta_told = 0;
}

void link__receiver_end(struct link *link)
{
    link->in.return_count = 0; /* whoever would hear it is gone */
    assembly_drop(&link->in);
}
