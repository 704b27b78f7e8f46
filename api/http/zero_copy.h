/*
 * Which peers a send out of memory reaches without being copied. Nobody knows before it was tried:
 * a network card fetches bytes from where they lie, loopback and the links between containers have
 * the kernel copy them for the receiver, and so does whoever looks at packets (tcpdump). So each
 * peer is tried with one response, the kernel tells, and a worker remembers by the peer's address:
 *
 *     UNASKED --loopback, or an address of our own--> COPIED
 *        |
 *        +--> UNKNOWN --a send told "not copied"--> WORKS
 *                |                                    |
 *                +--------a send told "copied"--------+--> COPIED, for ZERO_COPY_REMEMBER_NS
 *
 * One worker's; not thread-safe.
 */
#ifndef API_HTTP_ZERO_COPY_H
#define API_HTTP_ZERO_COPY_H

#include "base/clock.h"
#include "base/limits.h"
#include "base/ring.h"

/* As [get] zero-copy. ON: also where it does not pay, to compare with. */
enum zero_copy_mode { ZERO_COPY_AUTO, ZERO_COPY_ON, ZERO_COPY_OFF };

/* Below, the kernel's bookkeeping, a second completion and the slot that is held until the peer has
 * acknowledged cost more than copying what lies in the cache anyway (25 us for 256 KiB). */
#define ZERO_COPY_BYTES_MIN KIB(256)

/* Then the peer is tried anew: routes change, and tcpdump ends. */
#define ZERO_COPY_REMEMBER_NS (600 * NS_PER_SECOND)
#define ZERO_COPY_PEERS       256u /* a power of two; two that share a place are tried more often */

enum zero_copy_peer { ZERO_COPY_UNASKED, ZERO_COPY_UNKNOWN, ZERO_COPY_WORKS, ZERO_COPY_COPIED };

struct zero_copy_table {
    struct zero_copy_entry {
        uint8_t address[16]; /* of the peer, IPv4 as ::ffff:a.b.c.d */
        uint64_t until_ns;
        uint8_t state; /* enum zero_copy_peer; UNASKED: empty */
    } entries[ZERO_COPY_PEERS];
};

/* What is known of the socket's peer: not UNASKED. */
enum zero_copy_peer zero_copy_find(const struct zero_copy_table *table, int fd, uint64_t now_ns);
/* Remembers it for the socket's peer. */
void zero_copy_remember(struct zero_copy_table *table, int fd, enum zero_copy_peer state,
                        uint64_t now_ns);
/*
 * What really became of a send of so many bytes to such a peer. From Linux 6.10 on a send that was
 * wholly appended to the packet of the one before it has no packet of its own, and the kernel,
 * which looks for one that was not copied, says "copied". Its bytes fared as those they were
 * appended to.
 */
#define ZERO_COPY_PACKET_BYTES_MAX KIB(64)
enum ring_usage zero_copy_judge(enum zero_copy_peer state, enum ring_usage told, uint64_t size);
/* What a peer is after a send. */
enum zero_copy_peer zero_copy_after(enum zero_copy_peer state, enum ring_usage usage);

#endif
