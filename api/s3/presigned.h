/*
 * Presigned URLs whose signature was found right lately. A URL that is handed out is asked for
 * again and again, by browsers, players and caches, and everything its signature depends on is in
 * the request: the same bytes under the same secret are right again. Comparing them costs a tenth
 * of the two hashes that a check takes.
 *
 * What is remembered is all of what was signed and the secret, compared whole; no hash decides. So
 * nothing has to be forgotten when a key is removed, given another secret or narrowed: the key is
 * looked up each time, by whoever asks here. Whether the URL has expired is judged each time, too,
 * by sigv4_parse(). The signature is compared first, in a time that does not depend on what of it
 * is right.
 *
 * Each worker has its own; zeroed is empty. It holds secrets: to be cleared when it is given up.
 */
#ifndef API_S3_PRESIGNED_H
#define API_S3_PRESIGNED_H

#include "base/bytes.h"

#define PRESIGNED_ENTRIES 256u
/* Method, path, query, signed headers and secret: what is longer is checked each time. */
#define PRESIGNED_BYTES_MAX 950u

struct presigned {
    struct {
        char signature[64];
        uint16_t size; /* 0: empty */
        char text[PRESIGNED_BYTES_MAX];
    } entries[PRESIGNED_ENTRIES];
};

struct sigv4;
struct sigv4_request;

/* A request in the form that is compared. */
struct presigned_text {
    struct buf buf;
    char memory[PRESIGNED_BYTES_MAX];
};
/* False: this request is none to remember. */
bool presigned_write(const struct sigv4_request *request, const struct sigv4 *sigv4,
                     struct bytes secret, struct presigned_text *ret_text);
bool presigned_has(const struct presigned *presigned, const char signature[64],
                   const struct presigned_text *text);
void presigned_add(struct presigned *presigned, const char signature[64],
                   const struct presigned_text *text);

#endif
