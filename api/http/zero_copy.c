#include "api/http/zero_copy.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

/* ---- addresses ---- */

static bool address_of(const struct sockaddr_storage *from, uint8_t out[16])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (from->ss_family == AF_INET6) {
        memcpy(out, &((const struct sockaddr_in6 *)from)->sin6_addr, 16);
        return true;
    }
    if (from->ss_family != AF_INET)
        return false;
    memcpy(out, mapped, sizeof mapped);
    memcpy(out + 12, &((const struct sockaddr_in *)from)->sin_addr, 4);
    return true;
}

/* False: the client is gone, or no TCP socket. */
static bool peer_of(int fd, uint8_t out[16])
{
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    return getpeername(fd, (struct sockaddr *)&address, &size) == 0 && address_of(&address, out);
}

/* Loopback: the peer has our own address, 127.0.0.1 or another. */
static bool is_local(int fd, const uint8_t peer[16])
{
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    uint8_t own[16];
    return getsockname(fd, (struct sockaddr *)&address, &size) != 0 || !address_of(&address, own) ||
           memcmp(own, peer, sizeof own) == 0;
}

/* FNV-1a. Who makes addresses collide has them tried more often, which harms nobody else. */
static size_t place_of(const uint8_t address[16])
{
    uint32_t hash = 2166136261u;
    for (int i = 0; i < 16; i++)
        hash = (hash ^ address[i]) * 16777619u;
    return (hash ^ hash >> 16) % ZERO_COPY_PEERS;
}

/* ---- peers ---- */

enum zero_copy_peer zero_copy_find(const struct zero_copy_table *table, int fd, uint64_t now_ns)
{
    uint8_t peer[16];
    if (!peer_of(fd, peer) || is_local(fd, peer))
        return ZERO_COPY_COPIED;
    const struct zero_copy_entry *entry = &table->entries[place_of(peer)];
    bool is_known = entry->state != ZERO_COPY_UNASKED && now_ns < entry->until_ns &&
                    memcmp(entry->address, peer, sizeof peer) == 0;
    return is_known ? (enum zero_copy_peer)entry->state : ZERO_COPY_UNKNOWN;
}

void zero_copy_remember(struct zero_copy_table *table, int fd, enum zero_copy_peer state,
                        uint64_t now_ns)
{
    struct zero_copy_entry entry = {.until_ns = now_ns + ZERO_COPY_REMEMBER_NS,
                                    .state = (uint8_t)state};
    if (peer_of(fd, entry.address)) /* else it has left, and nothing is learned */
        table->entries[place_of(entry.address)] = entry;
}

enum ring_usage zero_copy_judge(enum zero_copy_peer state, enum ring_usage told, uint64_t size)
{
    static const enum ring_usage known[] = {
        [ZERO_COPY_UNASKED] = RING_USAGE_UNKNOWN,
        [ZERO_COPY_UNKNOWN] = RING_USAGE_UNKNOWN,
        [ZERO_COPY_WORKS] = RING_USAGE_ZERO_COPY,
        [ZERO_COPY_COPIED] = RING_USAGE_COPIED,
    };
    bool says_nothing = told == RING_USAGE_COPIED && size <= ZERO_COPY_PACKET_BYTES_MAX;
    return says_nothing ? known[state] : told;
}

enum zero_copy_peer zero_copy_after(enum zero_copy_peer state, enum ring_usage usage)
{
    switch (usage) {
    case RING_USAGE_COPIED:
        return ZERO_COPY_COPIED;
    case RING_USAGE_ZERO_COPY:
        return state == ZERO_COPY_COPIED ? state : ZERO_COPY_WORKS;
    case RING_USAGE_UNKNOWN:
        break;
    }
    return state;
}
