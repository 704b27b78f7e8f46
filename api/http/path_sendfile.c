#include "api/http/path.h"

#include <errno.h>
#include <sys/sendfile.h>

/*
 * Page cache to socket by sendfile(2), called right here: the socket does not block and the pages
 * are known to be there (path_cached.c), so it never waits for a disk.
 */

#define TURN_BYTES_MAX MIB(4) /* then other connections have their turn */

static void sendfile_go(struct path_send *send);

static bool is_transient(int errnum)
{
    return errnum == EAGAIN || errnum == EINTR;
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
                path__wait_writable(send, sendfile_go);
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

static void sendfile_go(struct path_send *send)
{
    uint64_t budget = TURN_BYTES_MAX;
    while (!send->err && read_plan_left(send->plan) > 0) {
        if (budget == 0) {
            path__wait_writable(send, sendfile_go); /* which it is at once, after the others */
            return;
        }
        if (!path__cached_window(send, PATH_WINDOW_BYTES, sendfile_go) ||
            !path__cached_head(send, sendfile_go) ||
            !sent_window(send, &send->windows[0].span, &budget))
            return;
    }
    path_done(send, send->err);
}

static void sendfile_cancel(struct path_send *send)
{
    send->is_cancelled = true; /* a poll ends with the socket's shutdown, a read by itself */
}

const struct path path_sendfile = {.name = "sendfile",
                                   .id = PATH_SENDFILE,
                                   .copies = 0,
                                   .reads_cache = true,
                                   .start = sendfile_go,
                                   .cancel = sendfile_cancel};
