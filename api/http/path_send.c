#include "api/http/path.h"

#include "base/log.h"

/* ---- memory to the socket ---- */

static void memory_submit(struct path_send *send);

static struct bytes without_front(struct bytes bytes, size_t size)
{
    return bytes_slice(bytes, size, SIZE_MAX);
}

static void memory_sent(struct ring_op *op, enum err e, uint32_t count)
{
    struct path_send *send = CONTAINER_OF(op, struct path_send, op);
    size_t of_head = count < send->head.size ? count : send->head.size;
    send->head = without_front(send->head, of_head);
    send->body = without_front(send->body, count - of_head);
    send->has_sent |= count > 0;
    if (!send->err && (e || count == 0))
        send->err = e ? e : ERR_PEER_CLOSED;
    if (!send->err && !path_progress(send, count))
        send->err = ERR_TIMEOUT;
    if (!send->err && send->head.size + send->body.size > 0)
        memory_submit(send);
    else
        send->next(send);
}

static void records_submit(struct path_send *send);

static void records_left(struct ring_op *op, enum err e, uint32_t events)
{
    struct path_send *send = CONTAINER_OF(op, struct path_send, op);
    e = e ? e : send->records_err;
    if (!e && send->records_count == 0)
        records_submit(send);
    else
        memory_sent(op, e, e ? 0 : send->records_count);
}

static void records_submit(struct path_send *send)
{
    struct tls_wait wait;
    send->records_err =
        tls_send(send->tls, send->fd, send->head, send->body, &send->records_count, &wait);
    ring_poll(loop_ring(send->loop), &send->op, wait.fd, wait.events, records_left);
}

/* A short body is cheaper copied behind the head than gathered by the kernel from two places. */
#define JOIN_BYTES_MAX 2048u

static bool is_joined(struct path_send *send)
{
    struct bytes head = send->head, body = send->body;
    if (head.size == 0 || body.size == 0 || body.size > send->head_room ||
        body.size > JOIN_BYTES_MAX)
        return false;
    memcpy((char *)head.data + head.size, body.data, body.size);
    send->head_room = 0; /* it is used up */
    return true;
}

static void memory_submit(struct path_send *send)
{
    struct ring *ring = loop_ring(send->loop);
    if (send->tls) {
        records_submit(send);
        return;
    }
    if (is_joined(send)) {
        ring_send(ring, &send->op, send->fd, send->head.data,
                  (uint32_t)(send->head.size + send->body.size), 0, memory_sent);
        return;
    }
    struct bytes only = send->head.size ? send->head : send->body;
    if (send->head.size == 0 || send->body.size == 0) {
        ring_send(ring, &send->op, send->fd, only.data, (uint32_t)only.size, 0, memory_sent);
        return;
    }
    send->iov[0] = (struct iovec){(void *)send->head.data, send->head.size};
    send->iov[1] = (struct iovec){(void *)send->body.data, send->body.size};
    send->msg = (struct msghdr){.msg_iov = send->iov, .msg_iovlen = 2};
    ring_sendmsg(ring, &send->op, send->fd, &send->msg, 0, memory_sent);
}

void path__send(struct path_send *send, void (*next)(struct path_send *send))
{
    CHECK(send->head.size + send->body.size > 0);
    CHECK(send->body.size <= INT32_MAX);
    send->next = next;
    memory_submit(send);
}

/* ---- plans ---- */

static void loaded(struct group_ask *ask)
{
    struct path_send *send = ask->context;
    send->is_loading = false;
    if (ask->err && !send->err)
        send->err = ask->err;
    send->loaded(send);
}

void path__load(struct path_send *send, void (*next)(struct path_send *send))
{
    CHECK(!send->is_loading);
    send->loaded = next;
    send->is_loading = true;
    send->ask->loop = send->loop;
    send->ask->plan = send->plan;
    send->ask->context = send;
    send->ask->done = loaded;
    group_plan_load(send->group, send->ask);
}

/* ---- windows ---- */

void path__window_cut(struct path_window *window, const struct read_span *span, uint32_t slot_size)
{
    CHECK(span->chunk_file_offset <= span->file_offset);
    uint64_t lead = span->file_offset - span->chunk_file_offset;
    CHECK(lead < SUM_CHUNK_BYTES && slot_size % SUM_CHUNK_BYTES == 0);
    uint64_t room = slot_size - lead;
    window->from = (uint32_t)lead;
    window->size = (uint32_t)(span->size < room ? span->size : room);
    uint32_t chunks = (window->from + window->size + SUM_CHUNK_BYTES - 1) / SUM_CHUNK_BYTES;
    CHECK(chunks <= span->chunk_count && chunks <= PATH_WINDOW_CHUNKS);
    memcpy(window->sums, span->sums, chunks * sizeof window->sums[0]);
    window->span = *span;
    window->span.size = window->size;
    window->span.sums = window->sums;
    window->span.chunk_count = chunks;
    if (chunks < span->chunk_count)
        window->span.last_chunk_size = SUM_CHUNK_BYTES;
    window->checked_size = (chunks - 1) * SUM_CHUNK_BYTES + window->span.last_chunk_size;
    window->attempts = window->repairs = 0;
}

uint32_t path__window_read_size(const struct path_window *window)
{
    return (window->checked_size + UNIT_BYTES - 1) / UNIT_BYTES * UNIT_BYTES;
}

enum err path__window_check(const struct path_window *window, enum err e, uint32_t count)
{
    if (e)
        return e;
    if (count < window->checked_size)
        return ERR_IO; /* the file ends before the data does */
    if (window->send->policy.verify == VERIFY_OFF)
        return ERR_OK;
    return read_span_verify(&window->span, window->slot->data, window->checked_size);
}

enum slot_size path__slot_size(const struct path_send *send, uint64_t bytes)
{
    const struct arena_share *share = loop_arena(send->loop);
    enum slot_size wanted = bytes + SUM_CHUNK_BYTES <= SLOT_SMALL_BYTES ? SLOT_SMALL : SLOT_LARGE;
    CHECK(share != NULL);
    if (share->total_count[wanted] == 0)
        wanted = wanted == SLOT_SMALL ? SLOT_LARGE : SLOT_SMALL;
    return wanted;
}

void path__log_corrupt(const struct path_window *window)
{
    LOG_LIMITED(LOG_ERROR, "http",
                "object bytes do not match their checksums segment=%u unit=%u offset=%llu size=%u",
                window->span.segment, window->span.unit,
                (unsigned long long)window->span.chunk_file_offset, window->checked_size);
}

void path__count_extent(struct path_send *send, const struct read_span *span)
{
    if (send->extents > 0 && span->segment == send->extent_segment &&
        span->unit == send->extent_unit)
        return;
    send->extents++;
    send->extent_segment = span->segment;
    send->extent_unit = span->unit;
}
