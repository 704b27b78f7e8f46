#include "api/http/path.h"

#include <errno.h>
#include <poll.h>

#include "api/http/measure.h"
#include "api/http/verified.h"

/*
 * What the paths out of the page cache share. Before each window two questions are asked, in this
 * order:
 *
 *     checked?    every sum chunk of it was read through the cache and equalled its sum
 *                 (verified.h), and the policy does not want it checked again
 *     resident?   the pages are in the cache now; one that is not would be read while the loop
 *                 stands still, and sent unchecked
 *
 *     both yes          it may be sent
 *     no, and hot       promote: read through the cache into a slot, check, remember; ask again
 *     no otherwise      the direct path goes on; likewise when promoting was in vain
 *
 * Between the answer and the sending the kernel may still evict a page; then the loop waits for one
 * read. Asking costs 0.6 us a window. Not asking again for what was resident a moment ago would
 * save them, and would turn memory pressure into unchecked bytes.
 */

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
    if (send->policy.verify == VERIFY_OFF)
        return true;
    for (uint32_t i = 0; i < span->chunk_count; i++) {
        struct verified_chunk chunk = chunk_of(span, i);
        if (!verified_has(send->verified, &chunk))
            return false;
    }
    return true;
}

bool path__may_send_cached(const struct path_send *send, const struct read_span *span)
{
    struct disk_file *file = span->buffered;
    return span->fd >= 0 && is_checked(send, span) &&
           file->disk->ops->is_resident(file, span->file_offset, span->size);
}

/* Whether a window that was checked before is to be checked again. Asked once a window. */
static bool is_due(struct path_send *send, const struct path_window *window)
{
    if (send->plan->offset < send->judged_to)
        return false;
    send->judged_to = send->plan->offset + window->size;
    if (send->policy.verify == VERIFY_SAMPLE)
        return verified_sample(send->verified, send->policy.sample_every);
    return send->policy.verify == VERIFY_ALWAYS;
}

void path__remember_checked(struct path_send *send, const struct path_window *window)
{
    if (send->policy.verify == VERIFY_OFF)
        return;
    for (uint32_t i = 0; i < window->span.chunk_count; i++) {
        struct verified_chunk chunk = chunk_of(&window->span, i);
        verified_add(send->verified, &chunk);
    }
}

static void forget_checked(struct path_send *send, const struct path_window *window)
{
    for (uint32_t i = 0; i < window->span.chunk_count; i++) {
        struct verified_chunk chunk = chunk_of(&window->span, i);
        verified_remove(send->verified, &chunk);
    }
}

/* ---- promotion ---- */

static void promoted(struct disk_io *io, enum err e, uint32_t count)
{
    struct path_window *window = CONTAINER_OF(io, struct path_window, io);
    struct path_send *send = window->send;
    e = path__window_check(window, e, count);
    measure_promotion(count);
    slot_put(TAKE(window->slot));
    if (e) {
        /* Wrong or unreadable through the cache: the direct path has a look at the disk itself, and
         * the last word. */
        forget_checked(send, window);
        send->is_hot = false;
    } else {
        path__remember_checked(send, window);
    }
    send->go(send);
}

static void promote(struct path_send *send)
{
    struct path_window *window = &send->windows[0];
    struct disk_file *file = window->span.buffered;
    send->promoted_to = send->judged_to = send->plan->offset + window->size;
    window->send = send;
    file->disk->ops->read(file, send->loop, &window->io, window->slot->data,
                          path__window_read_size(window), window->span.chunk_file_offset, promoted);
}

/* The span's first window cannot be sent as it is. */
static void cannot_send(struct path_send *send, const struct read_span *span, bool is_due)
{
    struct path_window *window = &send->windows[0];
    bool was_tried = send->plan->offset < send->promoted_to, may_try = send->is_hot || is_due;
    if (may_try && !was_tried)
        window->slot = slot_take(loop_arena(send->loop), path__slot_size(send, window->size));
    if (window->slot) {
        path__window_cut(window, span, window->slot->size);
        promote(send);
        return;
    }
    path_hand_over(send, &path_direct,
                   was_tried  ? OBSTACLE_NOT_KEPT
                   : !may_try ? OBSTACLE_NOT_RESIDENT
                              : OBSTACLE_NO_SLOT);
}

/* ---- the next window ---- */

bool path__cached_window(struct path_send *send, uint32_t size_max,
                         void (*go)(struct path_send *send))
{
    struct path_window *window = &send->windows[0];
    struct read_span span;
    enum err e = read_plan_span(send->plan, &span);
    send->go = go;
    if (e == ERR_WOULD_BLOCK) {
        path__load(send, go);
        return false;
    }
    if (e) {
        path_done(send, e);
        return false;
    }
    if (span.inline_data) {
        path_hand_over(send, &path_inline, OBSTACLE_NONE);
        return false;
    }
    path__count_extent(send, &span);
    /* What was promoted is sent before the next is: a window begun anew after each wait would
     * always reach a bit beyond. */
    uint64_t offset = send->plan->offset;
    uint64_t decided_to = send->promoted_to > send->judged_to ? send->promoted_to : send->judged_to;
    if (offset < decided_to && span.size > decided_to - offset)
        span.size = decided_to - offset;
    window->slot = NULL;
    path__window_cut(window, &span, size_max);
    bool due = is_due(send, window);
    if (!due && path__may_send_cached(send, &window->span))
        return true;
    cannot_send(send, &span, due);
    return false;
}

/* ---- the socket ---- */

static void writable(struct ring_op *op, enum err e, uint32_t events)
{
    struct path_send *send = CONTAINER_OF(op, struct path_send, op);
    if (e && !send->err)
        send->err = e;
    send->go(send);
}

void path__wait_writable(struct path_send *send, void (*go)(struct path_send *send))
{
    send->go = go;
    ring_poll(loop_ring(send->loop), &send->op, send->fd, POLLOUT, writable);
}

bool path__cached_head(struct path_send *out, void (*go)(struct path_send *send))
{
    enum err e = ERR_OK;
    while (out->head.size > 0 && !e) {
        ssize_t sent =
            send(out->fd, out->head.data, out->head.size, MSG_MORE | MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) {
            path__wait_writable(out, go);
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
