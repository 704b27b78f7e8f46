/*
 * Which sum chunks of the page cache have been checked. Pages come into the cache by our own
 * verified reads, but also by the kernel's read-ahead or by another process reading the file; so
 * being resident does not mean having been checked. A worker remembers in a table of fixed size
 * which chunks it has read through the cache and found equal to their sums; only these are sent by
 * sendfile.
 *
 * What remains: a chunk that was checked, evicted, and read in again by somebody else between two
 * looks is taken for checked. The disk would have to go bad within that time; scrubbing and the
 * next cold read find it.
 *
 * A forgotten chunk (another one took its place) is only checked again. One worker owns a table.
 */
#ifndef API_HTTP_VERIFIED_H
#define API_HTTP_VERIFIED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define VERIFIED_CHUNKS (1u << 18) /* 16 GiB of cached data a worker, in 1 MiB of table */

struct verified;

enum err verified_open(struct verified **ret_verified) MUST_USE;
void verified_close(struct verified *verified); /* NULL does nothing */

/* A chunk is where it lies and what its sum is: space that is used again for other bytes is another
 * chunk. */
struct verified_chunk {
    uint32_t segment;
    uint64_t file_offset;
    uint64_t sum;
};
void verified_add(struct verified *verified, const struct verified_chunk *chunk);
void verified_remove(struct verified *verified, const struct verified_chunk *chunk);
bool verified_has(const struct verified *verified, const struct verified_chunk *chunk);
/* True every so often: each Nth window of the worker's, whose ever it is. */
bool verified_sample(struct verified *verified, uint32_t every);

#endif
