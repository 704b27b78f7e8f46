#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/digest.h"
#include "replication/link_priv.h"
#include "replication/transport_faults.h"

/* ---- CTL ---- */

enum err link__ctl(struct link *link, enum link_ctl_type type, uint16_t count, const void *body,
                   size_t size)
{
    uint8_t message[TRANSPORT_CTL_BYTES_MAX];
    CHECK(size <= LINK_CTL_BYTES_MAX);
    struct link_ctl_head head = {
        .type = (uint8_t)type, .count = count, .meta = link->in.meta_taken};
    link_ctl_head_encode(&head, message);
    if (size > 0)
        memcpy(message + LINK_CTL_HEAD_BYTES, body, size);
    enum err e = transport_ctl(link->peer, message, LINK_CTL_HEAD_BYTES + size);
    if (e == ERR_OK)
        link->in.meta_told = link->in.meta_taken;
    return e;
}

enum err link_ctl(struct link *link, const void *data, size_t size)
{
    CHECK(size > 0 && size <= LINK_CTL_BYTES_MAX);
    if (!link_is_up(link))
        return ERR_CLOSED;
    enum err e = link__ctl(link, LINK_CTL_ABOVE, 0, data, size);
    if (e)
        link->counts.ctl_dropped++;
    else
        link->counts.ctl_out++;
    return e;
}

/* ---- META: frames in a ring of memory ---- */

static void frame_written(struct transport_write *write, enum err e);

/* Room for one frame's bytes, NULL: none. A frame does not lie across two slots of the arena. */
static uint8_t *ring_take(struct link_sender *out, uint32_t bytes, uint64_t *ret_end)
{
    uint64_t at = out->head, left = SLOT_SMALL_BYTES - at % SLOT_SMALL_BYTES;
    if (bytes > left)
        at += left;
    bytes = (bytes + LINK_FRAME_ALIGN - 1) & ~(LINK_FRAME_ALIGN - 1);
    if (out->queued - out->written == LINK_FRAMES || at + bytes - out->tail > LINK_RING_BYTES)
        return NULL;
    *ret_end = out->head = at + bytes;
    struct slot *slot = out->memory[at / SLOT_SMALL_BYTES % LINK_SEND_SLOTS];
    return slot->data + at % SLOT_SMALL_BYTES;
}

static void frame_queue(struct link *link, struct link_meta_head *head, uint8_t *bytes,
                        uint64_t end)
{
    struct link_sender *out = &link->out;
    uint32_t number = out->queued++, slots = out->layout.meta_slots;
    head->slot = (uint16_t)(number % slots);
    head->use = number / slots + 1;
    head->sum = xxh3_64(bytes + LINK_META_HEAD_BYTES, head->size);
    link_meta_head_encode(head, bytes);
    struct link_faults *faults = link->links->faults;
    if (faults != NULL && faults->flip_meta_at < LINK_META_HEAD_BYTES + head->size) {
        bytes[faults->flip_meta_at] ^= 1;
        faults->flip_meta_at = FAULT_NEVER;
    }
    struct meta_frame *frame = &out->frames[number % LINK_FRAMES];
    frame->link = link;
    frame->end = end;
    frame->write = (struct transport_write){
        .written = frame_written,
        .lane = LANE_META,
        .imm = link_imm(head->slot, head->use),
        .offset = (uint64_t)head->slot * LINK_META_SLOT_BYTES,
        .piece_count = 1,
        .pieces = {{bytes, LINK_META_HEAD_BYTES + head->size}},
    };
}

static void post_frames(struct link *link)
{
    struct link_sender *out = &link->out;
    while (out->posted != out->queued && out->posted - out->returned < out->layout.meta_slots) {
        enum err e = transport_write(link->peer, &out->frames[out->posted % LINK_FRAMES].write);
        CHECK(e == ERR_OK || e == ERR_BUSY || e == ERR_CLOSED);
        if (e)
            return; /* full: room() follows; closed: the end does */
        out->posted++;
    }
}

/* Cuts what waits on the heap into frames, as many as there is room for. */
static void cut_waiting(struct link *link)
{
    struct link_sender *out = &link->out;
    for (struct list *node; (node = list_first(&out->waiting)) != NULL;) {
        struct waiting_message *message = LIST_ENTRY(node, struct waiting_message, link);
        do {
            uint32_t size = message->size - message->sent;
            if (size > LINK_MESSAGE_SLOT_BYTES)
                size = LINK_MESSAGE_SLOT_BYTES;
            uint64_t end;
            uint8_t *bytes = ring_take(out, LINK_META_HEAD_BYTES + size, &end);
            if (bytes == NULL)
                return;
            memcpy(bytes + LINK_META_HEAD_BYTES, message->data + message->sent, size);
            struct link_meta_head head = {.kind = message->kind,
                                          .size = size,
                                          .total = message->size,
                                          .offset = message->sent};
            frame_queue(link, &head, bytes, end);
            message->sent += size;
        } while (message->sent < message->size);
        list_remove(node);
        out->waiting_bytes -= message->size;
        free(message);
    }
}

static void tell_room(struct link *link)
{
    struct link_sender *out = &link->out;
    struct links *links = link->links;
    /* Half of everything: not a handler called for each frame that leaves a full ring. */
    if (!out->wants_room || !link_is_up(link) || out->waiting_bytes > LINK_QUEUE_BYTES_MAX / 2 ||
        out->queued - out->written > LINK_FRAMES / 2 || out->head - out->tail > LINK_RING_BYTES / 2)
        return;
    out->wants_room = false;
    if (links->handlers.room)
        links->handlers.room(links->context, link);
}

/* Frames are written in the order they were posted, so memory comes free in order too. */
static void frame_written(struct transport_write *write, enum err e)
{
    struct meta_frame *frame = CONTAINER_OF(write, struct meta_frame, write);
    struct link *link = frame->link;
    CHECK_MAGIC(link, LINK_MAGIC);
    struct link_sender *out = &link->out;
    CHECK(frame == &out->frames[out->written % LINK_FRAMES]);
    out->written++;
    out->tail = frame->end;
    if (e || !link__is_connected(link))
        return;
    if (!list_is_empty(&out->waiting)) {
        cut_waiting(link);
        post_frames(link);
    }
    tell_room(link);
}

bool link__meta_returned(struct link *link, uint32_t total)
{
    struct link_sender *out = &link->out;
    if (total - out->returned > out->posted - out->returned)
        return false;
    if (total == out->returned)
        return true;
    out->returned = total;
    post_frames(link);
    return true;
}

/* ---- messages ---- */

static void copy_parts(uint8_t *to, const struct bytes *parts, unsigned count)
{
    for (unsigned i = 0; i < count; to += parts[i++].size)
        if (parts[i].size > 0)
            memcpy(to, parts[i].data, parts[i].size);
}

static enum err message_wait(struct link *link, uint8_t kind, const struct bytes *parts,
                             unsigned count, uint32_t size)
{
    struct link_sender *out = &link->out;
    if (out->waiting_bytes + size > LINK_QUEUE_BYTES_MAX)
        return ERR_BUSY;
    struct waiting_message *message = malloc(sizeof *message + size);
    if (message == NULL)
        return ERR_NO_MEMORY;
    *message = (struct waiting_message){.size = size, .kind = kind};
    copy_parts(message->data, parts, count);
    list_push_back(&out->waiting, &message->link);
    out->waiting_bytes += size;
    cut_waiting(link);
    return ERR_OK;
}

static enum err message_frame(struct link *link, uint8_t kind, const struct bytes *parts,
                              unsigned count, uint32_t size)
{
    uint64_t end;
    uint8_t *bytes = ring_take(&link->out, LINK_META_HEAD_BYTES + size, &end);
    if (bytes == NULL)
        return ERR_BUSY;
    copy_parts(bytes + LINK_META_HEAD_BYTES, parts, count);
    struct link_meta_head head = {.kind = kind, .size = size, .total = size};
    frame_queue(link, &head, bytes, end);
    return ERR_OK;
}

enum err link_message(struct link *link, uint8_t kind, const struct bytes *parts,
                      unsigned part_count)
{
    CHECK_MAGIC(link, LINK_MAGIC);
    CHECK(part_count <= LINK_PARTS_MAX);
    size_t size = 0;
    for (unsigned i = 0; i < part_count; i++) {
        if (parts[i].size > LINK_MESSAGE_BYTES_MAX - size)
            return ERR_TOO_LARGE;
        size += parts[i].size;
    }
    if (!link_is_up(link))
        return ERR_CLOSED;
    struct link_sender *out = &link->out;
    bool must_wait = size > LINK_MESSAGE_SLOT_BYTES || !list_is_empty(&out->waiting);
    enum err e = must_wait ? message_wait(link, kind, parts, part_count, (uint32_t)size)
                           : message_frame(link, kind, parts, part_count, (uint32_t)size);
    if (e) {
        out->wants_room = e == ERR_BUSY || out->wants_room;
        return e;
    }
    link->counts.messages_out++;
    link->counts.message_bytes_out += size;
    post_frames(link);
    return ERR_OK;
}

/* ---- BULK ---- */

static void chunk_finish(struct link *link, struct link_chunk *chunk)
{
    CHECK(link->out.sent[chunk->slot] == chunk);
    link->out.sent[chunk->slot] = NULL;
    link->out.slots_free |= 1ull << chunk->slot;
    link->out.given_back++;
    link->counts.chunks_refused += chunk->answer != ERR_OK && chunk->answer != ERR_PEER_CLOSED;
    chunk->magic = 0;
    chunk->landed(chunk, chunk->answer);
}

/* On TCP the peer's answer may come before we hear that its bytes are away: lanes have no order. */
static void chunk_written(struct transport_write *write, enum err e)
{
    struct link_chunk *chunk = CONTAINER_OF(write, struct link_chunk, write);
    CHECK_MAGIC(chunk, LINK_CHUNK_MAGIC);
    struct link *link = chunk->link;
    chunk->is_written = true;
    if (e && !chunk->is_answered) {
        chunk->is_answered = true;
        chunk->answer = ERR_PEER_CLOSED;
    }
    chunk->written(chunk, e);
    if (!chunk->is_answered)
        return;
    chunk_finish(link, chunk);
    if (link__is_connected(link))
        link__send(link, LANE_BULK);
}

static enum err post_chunk(struct link *link, struct link_chunk *chunk)
{
    struct link_sender *out = &link->out;
    unsigned slot = (unsigned)__builtin_ctzll(out->slots_free);
    uint32_t use = out->uses[slot] + 1;
    uint8_t *head = out->heads + (size_t)slot * LINK_CHUNK_WIRE_BYTES;
    link_chunk_head_encode(&chunk->head, (uint16_t)slot, use, head);
    struct link_faults *faults = link->links->faults;
    if (faults != NULL && faults->flip_chunk_at < LINK_CHUNK_WIRE_BYTES) {
        head[faults->flip_chunk_at] ^= 1;
        faults->flip_chunk_at = FAULT_NEVER;
    }
    chunk->write = (struct transport_write){
        .written = chunk_written,
        .lane = LANE_BULK,
        .imm = link_imm(slot, use),
        .offset = out->layout.bulk_offset + (uint64_t)slot * LINK_BULK_SLOT_BYTES +
                  LINK_BULK_HEAD_BYTES - LINK_CHUNK_WIRE_BYTES,
        .piece_count = 2,
        .pieces = {{head, LINK_CHUNK_WIRE_BYTES},
                   {(void *)(uintptr_t)chunk->data, chunk->head.size}},
    };
    enum err e = transport_write(link->peer, &chunk->write);
    CHECK(e == ERR_OK || e == ERR_BUSY || e == ERR_CLOSED);
    if (e)
        return e; /* full: room() follows; closed: the end does */
    chunk->slot = (uint8_t)slot;
    out->uses[slot] = use;
    out->slots_free &= ~(1ull << slot);
    out->sent[slot] = chunk;
    return ERR_OK;
}

static void post_chunks(struct link *link)
{
    struct link_sender *out = &link->out;
    while (out->slots_free != 0 && !list_is_empty(&out->chunks)) {
        struct link_chunk *chunk = LIST_ENTRY(list_first(&out->chunks), struct link_chunk, queue);
        if (post_chunk(link, chunk))
            return;
        list_remove(&chunk->queue);
        out->chunk_count--;
        out->moved_ns = loop_now_ns(link->links->loop);
    }
}

enum err link_chunk_send(struct link *link, struct link_chunk *chunk)
{
    CHECK_MAGIC(link, LINK_MAGIC);
    CHECK(chunk->magic != LINK_CHUNK_MAGIC); /* still ours */
    CHECK(chunk->written != NULL && chunk->landed != NULL);
    CHECK(link_chunk_head_is_sane(&chunk->head));
    if (!link_is_up(link))
        return ERR_CLOSED;
    chunk->magic = LINK_CHUNK_MAGIC;
    chunk->link = link;
    chunk->queue = (struct list){NULL, NULL};
    chunk->is_written = chunk->is_answered = false;
    chunk->answer = ERR_OK;
    if (list_is_empty(&link->out.chunks))
        link->out.moved_ns = loop_now_ns(link->links->loop);
    list_push_back(&link->out.chunks, &chunk->queue);
    link->out.chunk_count++;
    link->counts.chunks_out++;
    link->counts.chunk_bytes_out += chunk->head.size;
    post_chunks(link);
    return ERR_OK;
}

uint64_t link_chunks_wait_ns(const struct link *link)
{
    CHECK_MAGIC(link, LINK_MAGIC);
    return link->out.chunk_count > 0 ? loop_now_ns(link->links->loop) - link->out.moved_ns : 0;
}

uint64_t link_chunks_back(const struct link *link)
{
    CHECK_MAGIC(link, LINK_MAGIC);
    return link->out.given_back;
}

static void drop_chunks(struct link *link, enum err e)
{
    struct link_sender *out = &link->out;
    for (struct list *node; (node = list_pop_front(&out->chunks)) != NULL;) {
        struct link_chunk *chunk = LIST_ENTRY(node, struct link_chunk, queue);
        out->chunk_count--;
        chunk->written(chunk, e);
        chunk->magic = 0;
        chunk->landed(chunk, e);
    }
}

void link_chunks_give_up(struct link *link)
{
    CHECK_MAGIC(link, LINK_MAGIC);
    drop_chunks(link, ERR_BUSY);
}

bool link__bulk_returned(struct link *link, const struct link_return *one)
{
    struct link_sender *out = &link->out;
    if (one->slot >= out->layout.bulk_slots)
        return false;
    struct link_chunk *chunk = out->sent[one->slot];
    if (chunk == NULL || chunk->is_answered || (uint16_t)out->uses[one->slot] != one->use)
        return false;
    chunk->is_answered = true;
    chunk->answer = link_word_err(one->word);
    if (chunk->is_written)
        chunk_finish(link, chunk);
    return true;
}

/* ---- a connection's time ---- */

void link__send(struct link *link, enum transport_lane lane)
{
    switch (lane) {
    case LANE_CTL:
        link__return_slots(link);
        break;
    case LANE_META:
        post_frames(link);
        break;
    case LANE_BULK:
        post_chunks(link);
        break;
    case LANE_COUNT:
        break;
    }
}

void link__sender_begin(struct link *link)
{
    struct link_sender *out = &link->out;
    CHECK(out->queued == 0 && list_is_empty(&out->waiting) && list_is_empty(&out->chunks));
    out->layout = link_layout_of(link->area_bytes);
    out->slots_free =
        out->layout.bulk_slots == 64 ? UINT64_MAX : (1ull << out->layout.bulk_slots) - 1;
    memset(out->uses, 0, sizeof out->uses);
}

void link__sender_end(struct link *link)
{
    struct link_sender *out = &link->out;
    CHECK(out->written == out->posted); /* C7 */
    out->queued = out->posted = out->written = out->returned = 0;
    out->head = out->tail = 0;
    out->wants_room = false;
    for (struct list *node; (node = list_pop_front(&out->waiting)) != NULL;)
        free(LIST_ENTRY(node, struct waiting_message, link));
    out->waiting_bytes = 0;
    for (unsigned slot = 0; slot < LINK_BULK_SLOTS_MAX; slot++) {
        struct link_chunk *chunk = out->sent[slot];
        if (chunk == NULL)
            continue;
        CHECK(chunk->is_written);
        chunk->answer = ERR_PEER_CLOSED;
        chunk_finish(link, chunk);
    }
    drop_chunks(link, ERR_PEER_CLOSED);
    out->slots_free = 0;
}
