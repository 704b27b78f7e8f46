#include "api/http/path.h"

#include <errno.h>
#include <poll.h>
#include <sys/sendfile.h>

#include "api/http/measure.h"
#include "api/http/verified.h"

/*
 * Page cache to socket by sendfile(2), called right here: the socket does not block and the pages
 * are known to be there, so it never waits for a disk. Before each window two questions are asked,
 * in this order:
 *
 *     checked?   every sum chunk of it was read through the cache and equalled its sum (verified.h)
 *     resident?  the pages are in the cache now; one that is not would be read while the loop
 *                stands still, and sent unchecked
 *
 *     both yes          sendfile
 *     no, and hot       promote: read through the cache into a slot, check, remember; ask again
 *     no otherwise      the direct path goes on; likewise when promoting was in vain
 *
 * Between the answer and the sendfile the kernel may still evict a page; then the loop waits for
 * one read. Asking costs 0.6 us a window. Not asking again for what was resident a moment ago would
 * save them, and would turn memory pressure into unchecked bytes.
 */

#define TURN_BYTES_MAX MIB(4) /* then other connections have their turn */

static void sendfile_go(struct path_send *send);

/* ---- may a window be sent? ---- */

static struct verified_chunk chunk_of(const struct read_span *span, uint32_t index)
{
    return (struct verified_chunk){
        .segment = span->segment,
        .file_offset = span->chunk_file_offset + (uint64_t)index * SUM_CHUNK_BYTES,
        .sum = span->sums[index],
    };
}

static bool is_checked(const struct path_send *send, const struct read_span *span)
{
    for (uint32_t i = 0; i < span->chunk_count; i++) {
        struct verified_chunk chunk = chunk_of(span, i);
        if (!verified_has(send->verified, &chunk))
            return false;
    }
    return true;
}

bool path__may_sendfile(const struct path_send *send, const struct read_span *span)
{
    struct disk_file *file = span->buffered;
    return span->fd >= 0 && is_checked(send, span) &&
           file->disk->ops->is_resident(file, span->file_offset, span->size);
}

/* ---- promotion ---- */

static void promoted(struct disk_io *io, enum err e, uint32_t count)
{
    struct path_window *window = CONTAINER_OF(io, struct path_window, io);
    struct path_send *send = window->send;
    e = path__window_check(window, e, count);
    for (uint32_t i = 0; !e && i < window->span.chunk_count; i++) {
        struct verified_chunk chunk = chunk_of(&window->span, i);
        verified_add(send->verified, &chunk);
    }
    slot_put(TAKE(window->slot));
    /* Wrong or unreadable through the cache: the direct path has a look at the disk itself, and the
     * last word. */
    if (e)
        send->is_hot = false;
    sendfile_go(send);
}

static void promote(struct path_send *send)
{
    struct path_window *window = &send->windows[0];
    struct disk_file *file = window->span.buffered;
    send->promoted_to = send->plan->offset + window->size;
    window->send = send;
    measure_promotion();
    file->disk->ops->read(file, send->loop, &window->io, window->slot->data,
                          path__window_read_size(window), window->span.chunk_file_offset, promoted);
}

/* ---- sending ---- */

static void writable(struct ring_op *op, enum err e, uint32_t events)
{
    struct path_send *send = CONTAINER_OF(op, struct path_send, op);
    if (e && !send->err)
        send->err = e;
    sendfile_go(send);
}

static void wait_writable(struct path_send *send)
{
    ring_poll(loop_ring(send->loop), &send->op, send->fd, POLLOUT, writable);
}

static bool is_transient(int errnum)
{
    return errnum == EAGAIN || errnum == EINTR;
}

/* Puts the head into the socket, which holds it back until the body's first bytes join it. False:
 * wait, or it failed. */
static bool sent_head(struct path_send *out)
{
    enum err e = ERR_OK;
    while (out->head.size > 0 && !e) {
        ssize_t sent =
            send(out->fd, out->head.data, out->head.size, MSG_MORE | MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) {
            wait_writable(out);
            return false;
        }
        if (sent < 0) {
            e = errno == EINTR ? ERR_OK : err_from_errno(errno);
            continue;
        }
        out->has_sent = true;
        out->head = bytes_slice(out->head, (size_t)sent, SIZE_MAX);
        if (!path_progress(out, (uint64_t)sent))
            e = ERR_TIMEOUT;
    }
    if (e)
        path_done(out, e);
    return !e;
}

/* Sends of one window what the socket takes. False: wait, or it failed. */
static bool sent_window(struct path_send *send, const struct read_span *span, uint64_t *budget)
{
    uint64_t done = 0;
    while (done < span->size) {
        off_t offset = (off_t)(span->file_offset + done);
        ssize_t sent = sendfile(send->fd, span->fd, &offset, (size_t)(span->size - done));
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0) {
            if (sent < 0 && is_transient(errno))
                wait_writable(send);
            else
                path_done(send, sent == 0 ? ERR_IO : err_from_errno(errno));
            return false;
        }
        done += (uint64_t)sent;
        read_plan_advance(send->plan, (uint64_t)sent);
        *budget -= (uint64_t)sent < *budget ? (uint64_t)sent : *budget;
        if (!path_progress(send, (uint64_t)sent)) {
            path_done(send, ERR_TIMEOUT);
            return false;
        }
    }
    return true;
}

/* The span's first window cannot be sent as it is. */
static void cannot_send(struct path_send *send, const struct read_span *span)
{
    struct path_window *window = &send->windows[0];
    bool was_tried = send->plan->offset < send->promoted_to;
    if (send->is_hot && !was_tried)
        window->slot = slot_take(loop_arena(send->loop), path__slot_size(send, window->size));
    if (window->slot) {
        path__window_cut(window, span, window->slot->size);
        promote(send);
        return;
    }
    measure_fallback(!send->is_hot ? FALLBACK_NOT_RESIDENT
                     : was_tried   ? FALLBACK_NOT_KEPT
                                   : FALLBACK_NO_SLOT);
    path_hand_over(send, &path_direct);
}

/* One window. False: somebody calls back, or it is over. */
static bool sendfile_window(struct path_send *send, uint64_t *budget)
{
    struct path_window *window = &send->windows[0];
    struct read_span span;
    enum err e = read_plan_span(send->plan, &span);
    if (e == ERR_WOULD_BLOCK) {
        path__load(send, sendfile_go);
        return false;
    }
    if (e) {
        path_done(send, e);
        return false;
    }
    if (span.inline_data) {
        path_hand_over(send, &path_inline);
        return false;
    }
    /* What was promoted is sent before the next is: a window begun anew after each wait would
     * always reach a bit beyond. */
    uint64_t offset = send->plan->offset;
    if (offset < send->promoted_to && span.size > send->promoted_to - offset)
        span.size = send->promoted_to - offset;
    window->slot = NULL;
    path__window_cut(window, &span, PATH_WINDOW_BYTES);
    if (!path__may_sendfile(send, &window->span)) {
        cannot_send(send, &span);
        return false;
    }
    return sent_head(send) && sent_window(send, &window->span, budget);
}

static void sendfile_go(struct path_send *send)
{
    uint64_t budget = TURN_BYTES_MAX;
    while (!send->err && read_plan_left(send->plan) > 0) {
        if (budget == 0) {
            wait_writable(send); /* which it is at once, after the others */
            return;
        }
        if (!sendfile_window(send, &budget))
            return;
    }
    path_done(send, send->err);
}

static void sendfile_cancel(struct path_send *send)
{
    send->is_cancelled = true; /* a poll ends with the socket's shutdown, a read by itself */
}

const struct path path_sendfile = {
    .name = "sendfile", .copies = 0, .start = sendfile_go, .cancel = sendfile_cancel};
