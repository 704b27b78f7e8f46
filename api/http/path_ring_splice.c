#include "api/http/path.h"

#include "api/http/pipes.h"

/*
 * As splice, with both halves of a window in one operation of the ring: two linked splices, done by
 * kernel workers while the loop serves others. A single large response gets there sooner when there
 * are idle cores; waking the workers costs more CPU than the calls it saves (README.md), so auto
 * does not take it.
 *
 * What the socket did not take is drained before more is filled, so a pipe never holds more than
 * one window. The engine puts the pipe back when the path ends, however that comes.
 */

static void ring_splice_go(struct path_send *send);

static void drain(struct path_send *send);

static void spliced(struct ring_op *op, enum err e, uint32_t count)
{
    struct path_send *send = CONTAINER_OF(op, struct path_send, op);
    const struct ring_splice *step = &send->splice;
    send->pipe->level += step->filled;
    CHECK(count <= send->pipe->level);
    send->pipe->level -= count;
    read_plan_advance(send->plan, count);
    if (!send->err && (e || count == 0))
        send->err = e ? e : ERR_IO; /* the file ends before the data does */
    if (count > 0 && !path_progress(send, count) && !send->err)
        send->err = ERR_TIMEOUT;
    if (!send->err && send->pipe->level > 0)
        drain(send);
    else
        ring_splice_go(send);
}

static void ring_splice_step(struct path_send *send, const struct path_window *window)
{
    send->splice = (struct ring_splice){
        .pipe_in = send->pipe->in, .pipe_out = send->pipe->out, .socket_fd = send->fd};
    if (window != NULL) {
        send->splice.file_fd = window->span.fd;
        send->splice.file_offset = window->span.file_offset;
        send->splice.fill = window->size;
    }
    send->splice.drain = send->pipe->level + send->splice.fill;
    send->splice.more = read_plan_left(send->plan) > send->splice.drain;
    ring_splice(loop_ring(send->loop), &send->op, &send->splice, spliced);
}

static void drain(struct path_send *send)
{
    ring_splice_step(send, NULL);
}

static void ring_splice_go(struct path_send *send)
{
    if (send->err || read_plan_left(send->plan) == 0) {
        path_done(send, send->err);
        return;
    }
    if (path__cached_window(send, send->pipe->capacity, ring_splice_go) &&
        path__cached_head(send, ring_splice_go))
        ring_splice_step(send, &send->windows[0]);
}

static void ring_splice_start(struct path_send *send)
{
    send->pipe = pipes_take(send->pipes);
    if (send->pipe == NULL)
        path_hand_over(send, &path_sendfile, OBSTACLE_NO_PIPE);
    else
        ring_splice_go(send);
}

static void ring_splice_cancel(struct path_send *send)
{
    send->is_cancelled = true; /* what is under way ends with the socket's shutdown */
}

const struct path path_ring_splice = {.name = "ring-splice",
                                      .id = PATH_RING_SPLICE,
                                      .copies = 0,
                                      .reads_cache = true,
                                      .start = ring_splice_start,
                                      .cancel = ring_splice_cancel};
