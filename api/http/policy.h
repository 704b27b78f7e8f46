/*
 * What is wanted of a response's data path, by who may say so: the node's configuration, a bucket's
 * settings, a request's headers. The nearest one that says anything is followed; the merging is the
 * service's.
 *
 *     path      which one to take: auto lets path_choose() decide from the facts
 *     require   take that one or refuse: a path's name, or zerocopy for any that copies nothing
 *     verify    when the bytes of a file are held against their sums before they are sent:
 *                 off        never, as a web server would
 *                 cold       before they are first sent since they came from the disk
 *                 sample:N   so, and each Nth window again that is sent out of the page cache
 *                 always     before each time they are sent
 *
 * Of paths that read into memory (direct, copy) a check costs no extra read, so off is the only
 * word that changes them.
 */
#ifndef API_HTTP_POLICY_H
#define API_HTTP_POLICY_H

#include "base/bytes.h"

/* X(ID, name): the order is that of the metrics and of the configuration's words. */
#define PATHS(X)                                                                                   \
    X(INLINE, "inline")                                                                            \
    X(SENDFILE, "sendfile")                                                                        \
    X(SPLICE, "splice")                                                                            \
    X(RING_SPLICE, "ring-splice")                                                                  \
    X(DIRECT, "direct")                                                                            \
    X(MMAP, "mmap")                                                                                \
    X(COPY, "copy")

enum path_id {
    PATH_AUTO, /* as a requirement: none */
#define X(id, name) PATH_##id,
    PATHS(X)
#undef X
        PATH_ID_COUNT,
    PATH_ZEROCOPY = PATH_ID_COUNT, /* as a requirement only */
};

enum verify_mode { VERIFY_COLD, VERIFY_OFF, VERIFY_SAMPLE, VERIFY_ALWAYS };

struct path_policy {
    uint8_t path;          /* enum path_id */
    uint8_t require;       /* enum path_id, or PATH_ZEROCOPY */
    uint8_t verify;        /* enum verify_mode */
    uint32_t sample_every; /* of VERIFY_SAMPLE: at least 1 */
};

/* "auto" or a path's name. ERR_INVALID. */
enum err path_name_parse(struct bytes text, uint8_t *ret_path) MUST_USE;
/* "none", "zerocopy" or a path's name. */
enum err path_require_parse(struct bytes text, uint8_t *ret_require) MUST_USE;
/* "off", "cold", "sample:N", "always": into verify and sample_every. */
enum err path_verify_parse(struct bytes text, struct path_policy *policy) MUST_USE;
const char *path_name(uint8_t path);            /* "auto", ... */
const char *path_require_name(uint8_t require); /* "none", ... */
void path_verify_print(const struct path_policy *policy, struct buf *out);

#endif
