/* Techniques that hand the socket the page cache's own pages. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "tools/bench_paths.h"

#define PIPE_BYTES (1u << 20) /* what anybody may have: fs.pipe-max-size */

/* ---- sendfile ---- */

static int sendfile_send(struct bench_sender *sender, uint64_t offset)
{
    off_t at = (off_t)offset, end = (off_t)(offset + sender->object_bytes);
    while (at < end) {
        ssize_t moved = sendfile(sender->socket, sender->file_fd, &at, (size_t)(end - at));
        sender->calls++;
        if (moved < 0 && errno == EINTR)
            continue;
        if (moved <= 0)
            return moved < 0 ? errno : EIO;
    }
    return 0;
}

const struct bench_technique bench_sendfile = {
    .id = "sendfile",
    .name = "sendfile",
    .short_name = "sendfile",
    .how = "the kernel puts the cached pages into the socket",
    .copies = 0,
    .send = sendfile_send,
};

/* ---- splice ---- */

struct pipe {
    int out, in;
    uint32_t bytes;
};

static int splice_open(struct bench_sender *sender)
{
    int fds[2];
    struct pipe *pipe = calloc(1, sizeof *pipe);
    sender->state = pipe;
    if (pipe == NULL)
        return ENOMEM;
    pipe->out = pipe->in = -1;
    if (pipe2(fds, O_CLOEXEC) < 0)
        return errno;
    pipe->out = fds[0], pipe->in = fds[1];
    int bytes = fcntl(pipe->in, F_SETPIPE_SZ, PIPE_BYTES);
    if (bytes < 0) /* a user with many pipes gets small ones */
        bytes = fcntl(pipe->in, F_GETPIPE_SZ);
    if (bytes < 0)
        return errno;
    pipe->bytes = (uint32_t)bytes;
    return 0;
}

static void splice_close(struct bench_sender *sender)
{
    struct pipe *pipe = sender->state;
    if (pipe == NULL)
        return;
    if (pipe->out >= 0)
        (void)close(pipe->out);
    if (pipe->in >= 0)
        (void)close(pipe->in);
    free(pipe);
}

static int splice_send(struct bench_sender *sender, uint64_t offset)
{
    struct pipe *pipe = sender->state;
    off_t at = (off_t)offset, end = (off_t)(offset + sender->object_bytes);
    uint32_t in_pipe = 0;
    while (at < end || in_pipe > 0) {
        ssize_t moved;
        if (in_pipe == 0) {
            size_t wanted = (size_t)(end - at) < pipe->bytes ? (size_t)(end - at) : pipe->bytes;
            moved = splice(sender->file_fd, &at, pipe->in, NULL, wanted, SPLICE_F_MOVE);
            in_pipe += moved > 0 ? (uint32_t)moved : 0;
        } else {
            moved = splice(pipe->out, NULL, sender->socket, NULL, in_pipe,
                           SPLICE_F_MOVE | (at < end ? SPLICE_F_MORE : 0));
            in_pipe -= moved > 0 ? (uint32_t)moved : 0;
        }
        sender->calls++;
        if (moved < 0 && errno == EINTR)
            continue;
        if (moved <= 0)
            return moved < 0 ? errno : EIO;
    }
    return 0;
}

const struct bench_technique bench_splice = {
    .id = "splice",
    .name = "splice",
    .short_name = "splice",
    .how = "the cached pages through a pipe of 1 MiB into the socket",
    .copies = 0,
    .open = splice_open,
    .send = splice_send,
    .close = splice_close,
};
