/*
 * Data paths: how an object's bytes get from the disk to the socket. One path is one file behind this interface; which one serves a
 * response is decided by path_choose(), a pure function of facts, so that it can be tested as a table and explained to a user.
 *
 *   inline    bytes of the index record, with the head in one send
 *   sendfile  page cache -> socket, nothing copied; for what is resident and verified
 *   direct    O_DIRECT read into arena slots, each 64 KiB checked against its sum before its first byte leaves, then send
 *
 * A path that cannot go on as it is (sendfile meets pages that are gone) hands over to another in mid-response; this is counted.
 */
#ifndef API_HTTP_PATH_H
#define API_HTTP_PATH_H

#include "base/loop.h"
#include "replication/group.h"

struct path_send;

struct path {
    const char *name;      /* as in x-sluice-path */
    unsigned copies;       /* copies of the body by the CPU in user space */
    /* Sends send->head (if any is left) and the plan to its end; then path_done(). Asynchronous. */
    void (*start)(struct path_send *send);
    /* The connection is to be given up: end soon, through path_done(). */
    void (*cancel)(struct path_send *send);
};

extern const struct path path_inline, path_sendfile, path_direct;

struct path_facts {
    uint64_t size;
    bool is_inline;
    bool is_resident;  /* wholly in the page cache, put there by a verified read */
    bool has_fd;       /* sendfile is possible */
    bool is_hot;       /* worth bringing into the page cache */
};
const struct path *path_choose(const struct path_facts *facts);

#endif
