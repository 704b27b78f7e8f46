#include "api/http/path.h"

#include <errno.h>
#include <fcntl.h>

#include "api/http/pipes.h"

/*
 * Page cache to pipe to socket by splice(2), called right here: the socket does not block and the
 * pages are known to be there (path_cached.c). sendfile does the same through a pipe of 64 KiB that
 * it keeps for itself; through one of 1 MiB the socket is handed sixteen times as much a call.
 *
 *     take a pipe -> [ drain what is left -> window -> fill ... ] -> done or handed over
 *
 * What the socket did not take is drained before more is filled, so a pipe never holds more than
 * one window. The engine puts the pipe back when the path ends, however that comes; one that is not
 * empty then (the client left) is closed by the pool.
 */

#define TURN_BYTES_MAX MIB(4) /* then other connections have their turn */

static void splice_go(struct path_send *send);

/* The window's pages into the empty pipe. False: it failed. */
static bool filled(struct path_send *send, const struct path_window *window)
{
    struct pipe *pipe = send->pipe;
    off_t offset = (off_t)window->span.file_offset;
    ssize_t size;
    CHECK(pipe->level == 0);
    do
        size = splice(window->span.fd, &offset, pipe->in, NULL, window->size,
                      SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    while (size < 0 && errno == EINTR);
    if (size <= 0) {
        path_done(send, size == 0 ? ERR_IO : err_from_errno(errno)); /* 0: the file ends too soon */
        return false;
    }
    pipe->level = (uint32_t)size;
    return true;
}

/* What is in the pipe into the socket. False: wait, or it failed. */
static bool drained(struct path_send *send, uint64_t *budget)
{
    struct pipe *pipe = send->pipe;
    while (pipe->level > 0) {
        bool more = read_plan_left(send->plan) > pipe->level;
        ssize_t size = splice(pipe->out, NULL, send->fd, NULL, pipe->level,
                              SPLICE_F_MOVE | SPLICE_F_NONBLOCK | (more ? SPLICE_F_MORE : 0));
        if (size < 0 && errno == EINTR)
            continue;
        if (size <= 0) {
            if (size < 0 && errno == EAGAIN)
                path__wait_writable(send, splice_go);
            else
                path_done(send, size == 0 ? ERR_PEER_CLOSED : err_from_errno(errno));
            return false;
        }
        pipe->level -= (uint32_t)size;
        read_plan_advance(send->plan, (uint64_t)size);
        *budget -= (uint64_t)size < *budget ? (uint64_t)size : *budget;
        if (!path_progress(send, (uint64_t)size)) {
            path_done(send, ERR_TIMEOUT);
            return false;
        }
    }
    return true;
}

static void splice_go(struct path_send *send)
{
    uint64_t budget = TURN_BYTES_MAX;
    while (!send->err && read_plan_left(send->plan) > 0) {
        if (budget == 0) {
            path__wait_writable(send, splice_go); /* which it is at once, after the others */
            return;
        }
        bool has_some = send->pipe->level > 0;
        if (!has_some && (!path__cached_window(send, send->pipe->capacity, splice_go) ||
                          !path__cached_head(send, splice_go) || !filled(send, &send->windows[0])))
            return;
        if (!drained(send, &budget))
            return;
    }
    path_done(send, send->err);
}

static void splice_start(struct path_send *send)
{
    send->pipe = pipes_take(send->pipes);
    if (send->pipe == NULL)
        path_hand_over(send, &path_sendfile, OBSTACLE_NO_PIPE);
    else
        splice_go(send);
}

static void splice_cancel(struct path_send *send)
{
    send->is_cancelled = true; /* a poll ends with the socket's shutdown, a read by itself */
}

const struct path path_splice = {.name = "splice",
                                 .id = PATH_SPLICE,
                                 .copies = 0,
                                 .reads_cache = true,
                                 .start = splice_start,
                                 .cancel = splice_cancel};
