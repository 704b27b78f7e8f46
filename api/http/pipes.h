/*
 * A worker's pipes for splicing. They are made when first needed, enlarged once, and kept. There is
 * a most: each holds descriptors, and pages while a slow client keeps it filled; who gets none
 * takes another path.
 *
 * A pipe that comes back with bytes in it is closed: they belong to somebody's response and must
 * never be in another's. One worker owns a pool.
 */
#ifndef API_HTTP_PIPES_H
#define API_HTTP_PIPES_H

#include "base/err.h"
#include "base/limits.h"
#include "base/list.h"

#define PIPES_MAX 64u /* a worker's: at most as many responses are spliced at once */
/* Wanted of each: what fs.pipe-max-size lets anybody have. */
#define PIPE_BYTES MIB(1)
/* What is smaller (fs.pipe-user-pages-soft is used up) saves nothing over sendfile. */
#define PIPE_BYTES_MIN KIB(64)
_Static_assert(PIPE_BYTES_MIN >= SUM_CHUNK_BYTES, "a pipe takes a window of whole sum chunks");

struct pipe {
    int in, out;       /* owned */
    uint32_t capacity; /* bytes of whole sum chunks it takes; they begin at a page's start */
    uint32_t level;    /* bytes in it: kept by whoever uses it */
    struct list link;  /* pool's */
};

struct pipes;

enum err pipes_open(struct pipes **ret_pipes) MUST_USE;
void pipes_close(struct pipes *pipes);        /* none may be in use; NULL does nothing */
struct pipe *pipes_take(struct pipes *pipes); /* empty; NULL: all are in use, or none can be made */
void pipes_put(struct pipes *pipes, struct pipe *pipe); /* NULL does nothing */
unsigned pipes_in_use(const struct pipes *pipes);

#endif
