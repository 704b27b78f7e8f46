#include "api/http/pipes.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"

struct pipes {
    struct list free;
    unsigned open, in_use; /* open: those in use included */
};

enum err pipes_open(struct pipes **ret_pipes)
{
    struct pipes *pipes = calloc(1, sizeof *pipes);
    if (pipes == NULL)
        return ERR_NO_MEMORY;
    list_init(&pipes->free);
    *ret_pipes = pipes;
    return ERR_OK;
}

static void pipe_free(struct pipes *pipes, struct pipe *pipe)
{
    (void)close(pipe->in); /* what is in it is nobody's any more */
    (void)close(pipe->out);
    free(pipe);
    pipes->open--;
}

void pipes_close(struct pipes *pipes)
{
    if (pipes == NULL)
        return;
    CHECK(pipes->in_use == 0);
    for (struct list *node; (node = list_pop_front(&pipes->free)) != NULL;)
        pipe_free(pipes, LIST_ENTRY(node, struct pipe, link));
    CHECK(pipes->open == 0);
    free(pipes);
}

static struct pipe *pipe_make(struct pipes *pipes)
{
    int fds[2];
    struct pipe *pipe = calloc(1, sizeof *pipe);
    if (pipe == NULL)
        return NULL;
    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) != 0) {
        free(pipe);
        return NULL;
    }
    pipe->in = fds[1], pipe->out = fds[0];
    pipes->open++;
    (void)fcntl(pipe->in, F_SETPIPE_SZ, (int)PIPE_BYTES); /* over a limit: it stays as it is */
    int size = fcntl(pipe->in, F_GETPIPE_SZ);
    if (size < (int)PIPE_BYTES_MIN) {
        pipe_free(pipes, pipe);
        return NULL;
    }
    pipe->capacity = (uint32_t)size / SUM_CHUNK_BYTES * SUM_CHUNK_BYTES;
    return pipe;
}

struct pipe *pipes_take(struct pipes *pipes)
{
    struct list *node = list_pop_front(&pipes->free);
    struct pipe *pipe = node ? LIST_ENTRY(node, struct pipe, link) : NULL;
    if (pipe == NULL && pipes->open < PIPES_MAX)
        pipe = pipe_make(pipes);
    if (pipe == NULL)
        return NULL;
    CHECK(pipe->level == 0);
    pipes->in_use++;
    return pipe;
}

void pipes_put(struct pipes *pipes, struct pipe *pipe)
{
    if (pipe == NULL)
        return;
    CHECK(pipes->in_use > 0);
    pipes->in_use--;
    if (pipe->level > 0)
        pipe_free(pipes, pipe);
    else
        list_push_front(&pipes->free, &pipe->link);
}

unsigned pipes_in_use(const struct pipes *pipes)
{
    return pipes->in_use;
}
