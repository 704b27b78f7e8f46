#include "api/http/path.h"

#include <sys/socket.h>

/*
 * A window's bytes sent from where they lie: the kernel takes them piece by piece, and each piece
 * is a flight that ends when nothing refers to its memory any more, as a rule with the peer's
 * acknowledgement.
 *
 *     head (copied, held back by MSG_MORE) -> piece -> piece ... -> next()
 *                                              |        |
 *                                           back     back      a slot is put when its last is back
 *
 * A peer may delay its last acknowledgement by 40 ms, and never give it: the path does not wait for
 * it, the end of the response does, and the connection's deadline resets it.
 */

static void flights_go(struct path_send *send);

bool path__is_in_flight(const struct path_send *send, const struct slot *slot)
{
    for (uint32_t i = 0; i < PATH_FLIGHTS_MAX && send->flights_out > 0; i++)
        if (send->flights[i].slot == slot)
            return true;
    return false;
}

/*
 * A copy is the socket's, and the slot free at once; what flies is pinned as long as its reader
 * takes. So that slow readers cannot pin all there is, half of a worker's slots are left to sends
 * that copy.
 */
bool path__slots_are_scarce(const struct path_send *send, enum slot_size size)
{
    const struct arena_share *share = loop_arena(send->loop);
    return share->free_count[size] * 2 < share->total_count[size];
}

static bool is_in_window(const struct path_send *send, const struct slot *slot)
{
    return send->windows[0].slot == slot || send->windows[1].slot == slot;
}

uint32_t path__flight_slots(const struct path_send *send)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < PATH_FLIGHTS_MAX && send->flights_out > 0; i++) {
        const struct slot *slot = send->flights[i].slot;
        bool is_first = slot != NULL && !is_in_window(send, slot);
        for (uint32_t before = 0; before < i && is_first; before++)
            is_first = send->flights[before].slot != slot;
        count += is_first;
    }
    return count;
}

static struct path_flight *flight_take(struct path_send *send)
{
    for (uint32_t i = 0; i < PATH_FLIGHTS_MAX; i++)
        if (send->flights[i].slot == NULL)
            return &send->flights[i];
    return NULL;
}

/* ---- results ---- */

static void was_sent(struct path_send *send, enum err e, uint32_t count)
{
    size_t of_head = count < send->head.size ? count : send->head.size;
    send->head = bytes_slice(send->head, of_head, SIZE_MAX);
    send->body = bytes_slice(send->body, count - of_head, SIZE_MAX);
    send->has_sent |= count > 0;
    if (!send->err && (e || count == 0))
        send->err = e ? e : ERR_PEER_CLOSED;
    if (!send->err && !path_progress(send, count))
        send->err = ERR_TIMEOUT;
    flights_go(send);
}

static void head_sent(struct ring_op *op, enum err e, uint32_t count)
{
    was_sent(CONTAINER_OF(op, struct path_send, op), e, count);
}

static void flight_sent(struct ring_zero_copy *op, enum err e, uint32_t count)
{
    struct path_flight *flight = CONTAINER_OF(op, struct path_flight, op);
    flight->count = count;
    was_sent(flight->send, e, count);
}

static void flight_released(struct ring_zero_copy *op, enum ring_usage usage)
{
    struct path_flight *flight = CONTAINER_OF(op, struct path_flight, op);
    struct path_send *send = flight->send;
    struct slot *slot = TAKE(flight->slot);
    CHECK(send->flights_out > 0);
    send->flights_out--;
    if (!path__is_in_flight(send, slot) && !is_in_window(send, slot))
        slot_put(slot);
    if (flight->count > 0)
        path_zero_copied(send, usage, flight->count);
    if (send->wants_flight) {
        send->wants_flight = false;
        flights_go(send);
    } else if (send->flight_back) {
        void (*back)(struct path_send *) = TAKE(send->flight_back);
        back(send);
    } else if (send->flights_out == 0) {
        path_flights_are_back(send);
    }
}

/* ---- sending ---- */

static void flights_go(struct path_send *send)
{
    struct ring *ring = loop_ring(send->loop);
    if (send->err || send->head.size + send->body.size == 0) {
        send->next(send);
        return;
    }
    if (send->head.size > 0) {
        ring_send(ring, &send->op, send->fd, send->head.data, (uint32_t)send->head.size, MSG_MORE,
                  head_sent);
        return;
    }
    struct path_flight *flight = flight_take(send);
    if (flight == NULL) {
        send->wants_flight = true;
        return;
    }
    *flight = (struct path_flight){.send = send,
                                   .slot = send->flight_slot,
                                   .op = {.sent = flight_sent, .released = flight_released}};
    send->flights_out++;
    ring_send_zero_copy(ring, &flight->op, send->fd, send->body.data, (uint32_t)send->body.size, 0);
}

void path__flight_send(struct path_send *send, struct slot *slot,
                       void (*next)(struct path_send *send))
{
    CHECK(send->body.size > 0 && !send->wants_flight);
    CHECK((const uint8_t *)send->body.data >= slot->data &&
          (const uint8_t *)send->body.data + send->body.size <= slot->data + slot->size);
    send->next = next;
    send->flight_slot = slot;
    flights_go(send);
}

void path__flights_abort(struct path_send *send)
{
    static const struct sockaddr nobody = {.sa_family = AF_UNSPEC};
    if (send->flights_out > 0)
        (void)connect(send->fd, &nobody, sizeof nobody); /* it is reset already when this fails */
}
