#include "api/http/path.h"

#include "api/http/measure.h"

/*
 * What the paths out of arena slots share: two windows in turn, one is read and checked while the
 * other is sent. Sent without a copy, a window leaves its slot to the kernel for a while and goes
 * on with another one. Where they are read from is the path's: the disk itself (direct) or the page
 * cache (copy). The plan runs ahead of what is sent, so a window keeps what it needs of its span.
 *
 *     EMPTY --slot, span--> READING --equals its sums--> READY --its turn--> SENDING --> EMPTY
 *                            |   ^
 *                            +---+ differs: read again, twice at most;
 *                                  still: repaired from another node, and read again
 *
 * Nothing of a window leaves before all of it was checked, and the head leaves with the first: bad
 * bytes are told as an error whenever they can be, and otherwise by a connection that ends short.
 */

/* Bits that flip on the way are rare and read right the second time; those on the disk are not. */
#define ATTEMPTS_MAX 3u

static void slots_go(struct path_send *send);

static bool any_in_state(const struct path_send *send, enum path_window_state state)
{
    return send->windows[0].state == state || send->windows[1].state == state;
}

/* ---- reading ---- */

static void window_read(struct path_window *window);

static void window_is_read(struct path_window *window, enum err e)
{
    struct path_send *send = window->send;
    if (e == ERR_CORRUPT)
        path__log_corrupt(window);
    if (e && !send->err)
        send->err = e;
    if (!e && send->path == &path_copy)
        path__remember_checked(send, window); /* it came through the page cache */
    window->state = WINDOW_READY;
    slots_go(send);
}

static void window_was_repaired(struct group_repair *repair)
{
    struct path_window *window = CONTAINER_OF(repair, struct path_window, repair);
    if (repair->err || window->send->err) {
        window_is_read(window, window->damage);
        return;
    }
    window->attempts = 0;
    window_read(window);
}

/* Each chunk once. What the disk does not give back at all may be any of them. */
static void window_repair(struct path_window *window, enum err e)
{
    const struct read_span *span = &window->span;
    uint32_t chunk = window->repairs;
    if (e == ERR_CORRUPT)
        chunk = read_span_first_bad(span, window->slot->data, window->checked_size);
    CHECK(chunk < span->chunk_count);
    window->repairs++;
    window->damage = e;
    window->repair = (struct group_repair){
        .data = span->data,
        .offset = span->chunk_data_offset + (uint64_t)chunk * SUM_CHUNK_BYTES,
        .loop = window->send->loop,
        .done = window_was_repaired,
    };
    group_repair(window->send->group, &window->repair);
}

static void window_was_read(struct disk_io *io, enum err e, uint32_t count)
{
    struct path_window *window = CONTAINER_OF(io, struct path_window, io);
    struct path_send *send = window->send;
    e = path__window_check(window, e, count);
    bool is_damaged = e == ERR_CORRUPT || err_family(e) == FAM_IO;
    if (e == ERR_CORRUPT && ++window->attempts < ATTEMPTS_MAX && !send->err) {
        measure_reread();
        window_read(window);
    } else if (is_damaged && window->repairs < window->span.chunk_count && !send->err) {
        window_repair(window, e);
    } else {
        window_is_read(window, e);
    }
}

static void window_read(struct path_window *window)
{
    bool is_copy = window->send->path == &path_copy;
    struct disk_file *file = is_copy ? window->span.buffered : window->span.direct;
    window->state = WINDOW_READING;
    file->disk->ops->read(file, window->send->loop, &window->io, window->slot->data,
                          path__window_read_size(window), window->span.chunk_file_offset,
                          window_was_read);
}

static void slot_ready(struct arena_waiter *waiter, struct slot *slot)
{
    struct path_send *send = CONTAINER_OF(waiter, struct path_send, waiter);
    CHECK(send->windows[send->to_read].slot == NULL);
    send->windows[send->to_read].slot = slot;
    send->is_in_line = false;
    path_admitted(send);
    slots_go(send);
}

/* Of one response with zero-copy sends: one whose bytes are not acknowledged yet, one that is sent,
 * one that is read. A slow reader keeps as many from others. */
#define SLOTS_HELD_MAX 3u

static uint32_t slots_held(const struct path_send *send)
{
    return (send->windows[0].slot != NULL) + (send->windows[1].slot != NULL) +
           path__flight_slots(send);
}

/*
 * A slot for the next window. Only the first has to be waited for: with one the response goes on,
 * slower, and so the ones that wait get the second. Whose own slots are on their way waits for
 * those instead of standing in line, for how long is up to its reader.
 */
static bool has_slot(struct path_send *send)
{
    struct path_window *window = &send->windows[send->to_read],
                       *other = &send->windows[send->to_read ^ 1];
    if (window->slot || send->is_in_line)
        return window->slot != NULL;
    if (other->state == WINDOW_EMPTY && other->slot) {
        window->slot = TAKE(other->slot);
        return true;
    }
    struct arena_share *share = loop_arena(send->loop);
    enum slot_size size = path__slot_size(send, read_plan_left(send->plan));
    bool may_take = send->flights_out == 0 || slots_held(send) < SLOTS_HELD_MAX;
    window->slot = may_take ? slot_take(share, size) : NULL;
    if (window->slot == NULL && send->flights_out > 0) {
        send->flight_back = slots_go;
    } else if (window->slot == NULL && other->slot == NULL) {
        send->is_in_line = true;
        send->waiter.ready = slot_ready;
        path_waits_for_slot(send);
        arena_wait(share, &send->waiter, size);
    }
    return window->slot != NULL;
}

/* Starts reading the next window, if there is one and room for it. True: something was started that
 * may allow more. */
static bool read_ahead(struct path_send *send)
{
    struct path_window *window = &send->windows[send->to_read];
    if (send->is_loading || window->state != WINDOW_EMPTY || read_plan_left(send->plan) == 0)
        return false;
    struct read_span span;
    enum err e = read_plan_span(send->plan, &span);
    if (e == ERR_WOULD_BLOCK) {
        path__load(send, slots_go);
        return false;
    }
    if (e) {
        send->err = e;
        return false;
    }
    if (span.inline_data || !has_slot(send))
        return false;
    path__count_extent(send, &span);
    path__window_cut(window, &span, window->slot->size);
    read_plan_advance(send->plan, window->size);
    send->to_read ^= 1;
    window_read(window);
    return true;
}

/* ---- sending ---- */

static void window_release(struct path_window *window)
{
    struct slot *slot = TAKE(window->slot);
    window->state = WINDOW_EMPTY;
    if (slot != NULL && !path__is_in_flight(window->send, slot))
        slot_put(slot); /* else the last of its flights does */
}

static void window_sent(struct path_send *send)
{
    struct path_window *window = &send->windows[send->to_send];
    struct arena_share *share = window->slot->share;
    bool others_wait = !list_is_empty(&share->waiting[window->slot->size_class]);
    bool keeps_other = send->windows[send->to_send ^ 1].slot != NULL;
    bool needs_it = !send->err && read_plan_left(send->plan) > 0;
    send->to_send ^= 1;
    if (needs_it && !(others_wait && keeps_other) && !path__is_in_flight(send, window->slot))
        window->state = WINDOW_EMPTY; /* the slot stays for the next */
    else
        window_release(window);
    slots_go(send);
}

static bool may_fly(const struct path_send *send, const struct slot *slot)
{
    bool is_required = send->policy.require == PATH_ZEROCOPY;
    return send->path == &path_direct && send->tries_zero_copy &&
           (is_required || !path__slots_are_scarce(send, slot->size_class));
}

static void send_ready(struct path_send *send)
{
    struct path_window *window = &send->windows[send->to_send];
    if (window->state != WINDOW_READY || any_in_state(send, WINDOW_SENDING))
        return;
    window->state = WINDOW_SENDING;
    send->body = bytes_of(window->slot->data + window->from, window->size);
    send->flies = may_fly(send, window->slot);
    send->facts.sends_zero_copy &= send->flies;
    if (send->flies)
        path__flight_send(send, window->slot, window_sent);
    else
        path__send(send, window_sent);
}

/* ---- the whole ---- */

static void release_all(struct path_send *send)
{
    if (send->is_in_line) {
        arena_wait_cancel(&send->waiter);
        send->is_in_line = false;
        path_admitted(send);
    }
    for (int i = 0; i < 2; i++)
        window_release(&send->windows[i]);
}

static bool is_busy(const struct path_send *send)
{
    return send->is_loading || any_in_state(send, WINDOW_READING) ||
           any_in_state(send, WINDOW_SENDING);
}

static void slots_go(struct path_send *send)
{
    send->flight_back = NULL;
    if (!send->err) {
        while (read_ahead(send))
            ;
        send_ready(send);
    }
    if (is_busy(send) || ((send->is_in_line || send->flight_back) && !send->err))
        return;
    release_all(send);
    if (!send->err && read_plan_left(send->plan) > 0)
        path_hand_over(send, &path_inline, OBSTACLE_NONE); /* an inline end: the only thing
                                               read_ahead() leaves alone with a slot at hand */
    else
        path_done(send, send->err);
}

void path__slots_start(struct path_send *send)
{
    for (int i = 0; i < 2; i++) {
        send->windows[i].send = send;
        send->windows[i].state = WINDOW_EMPTY;
        send->windows[i].slot = NULL;
    }
    send->to_read = send->to_send = 0;
    slots_go(send);
}

void path__slots_cancel(struct path_send *send)
{
    send->is_cancelled = true;
    if (send->is_in_line || send->flight_back)
        slots_go(send); /* nothing else is under way that would end */
}
