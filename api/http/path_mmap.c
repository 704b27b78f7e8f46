#include "api/http/path.h"

#include <sys/mman.h>
#include <unistd.h>

/*
 * The page cache mapped, window by window, and sent from there: the kernel copies once, and pays
 * for page tables. auto never takes it; it is here to be compared with.
 *
 * This process never reads the mapping itself: a page that cannot be read from the disk would be a
 * SIGBUS then, and is an error of send() now. What is sent was checked by way of path_cached.c.
 */

static void mmap_go(struct path_send *send);

static void unmap(struct path_send *send)
{
    if (send->map == NULL)
        return;
    CHECK(munmap(TAKE(send->map), send->map_size) == 0);
}

static void mmap_sent(struct path_send *send)
{
    unmap(send);
    if (!send->err)
        read_plan_advance(send->plan, send->windows[0].size);
    mmap_go(send);
}

/* The window's bytes in memory, or {NULL, 0}. */
static struct bytes map_window(struct path_send *send, const struct path_window *window)
{
    uint64_t offset = window->span.file_offset;
    size_t lead = (size_t)(offset & ((uint64_t)sysconf(_SC_PAGESIZE) - 1));
    send->map_size = lead + window->size;
    void *map = mmap(NULL, send->map_size, PROT_READ, MAP_SHARED | MAP_POPULATE, window->span.fd,
                     (off_t)(offset - lead));
    if (map == MAP_FAILED)
        return (struct bytes){NULL, 0};
    send->map = map;
    return bytes_of((const char *)map + lead, window->size);
}

static void mmap_go(struct path_send *send)
{
    if (send->err || read_plan_left(send->plan) == 0) {
        path_done(send, send->err);
        return;
    }
    if (!path__cached_window(send, PATH_WINDOW_BYTES, mmap_go))
        return;
    send->body = map_window(send, &send->windows[0]);
    if (send->body.data == NULL)
        path_hand_over(send, &path_copy, OBSTACLE_NO_MAP);
    else
        path__send(send, mmap_sent);
}

static void mmap_cancel(struct path_send *send)
{
    send->is_cancelled = true; /* a send on a socket that is shut down, or a read, ends by itself */
}

const struct path path_mmap = {.name = "mmap",
                               .id = PATH_MMAP,
                               .copies = 0,
                               .sends_memory = true,
                               .reads_cache = true,
                               .start = mmap_go,
                               .cancel = mmap_cancel};
