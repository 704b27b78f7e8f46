/*
 * The arena is the one memory that object bytes pass through: a single anonymous mapping, cut at
 * start into slots of 1 MiB and 256 KiB, all 4 KiB-aligned. It is registered once with each ring
 * (so a slot is an io_uring fixed buffer) and once with each RDMA protection domain. Sockets
 * receive into slots, O_DIRECT writes go out of them; nobody copies.
 *
 * Each loop owns a share of the slots and only that loop takes and returns them, so there is no
 * lock. An empty share is back-pressure: the caller waits in line (arena_wait) and its socket stays
 * unread meanwhile.
 *
 *     arena_open -> one arena_share per loop -> slot_take / slot_put ...
 *                -> arena_close (all slots returned)
 *
 * At the mapping's end lie the landing areas, whole aligned 2 MiB pieces apart from every slot:
 * what one peer may be allowed to write into (replication/transport.h). No page holds both bytes
 * that a peer may change and bytes that it may not, so granting an area is registering an address
 * range and can expose nothing else.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/list.h"

#define SLOT_LARGE_BYTES (1u << 20)
#define SLOT_SMALL_BYTES (256u << 10)

enum slot_size { SLOT_SMALL, SLOT_LARGE, SLOT_SIZE_COUNT };

struct arena_share;

struct slot {
    uint8_t *data; /* 4 KiB-aligned, inside the mapping */
    uint32_t size; /* SLOT_SMALL_BYTES or SLOT_LARGE_BYTES */
    enum slot_size size_class;
    struct arena_share *share; /* borrowed: where it goes back to */
    struct list link;          /* share's while free, the taker's meanwhile */
};

struct arena_waiter {
    /* Owns the slot; called from slot_put() of another owner. */
    void (*ready)(struct arena_waiter *waiter, struct slot *slot);
    enum slot_size size_class;
    struct list link;
};

struct arena_share {
    struct arena *arena; /* borrowed */
    struct list free[SLOT_SIZE_COUNT];
    struct list waiting[SLOT_SIZE_COUNT];
    uint32_t free_count[SLOT_SIZE_COUNT];
    uint32_t total_count[SLOT_SIZE_COUNT];
    bool is_serving; /* a slot_put() is handing slots to waiters further up the stack */
};

struct arena_options {
    uint32_t large_count; /* of all shares together */
    uint32_t small_count;
    uint32_t share_count;
    uint32_t landing_count; /* areas, one per peer; 0: none */
    uint64_t landing_bytes; /* of each; rounded up to 2 MiB */
};

struct landing {
    uint8_t *data;    /* 2 MiB-aligned */
    uint64_t size;    /* a multiple of 2 MiB */
    struct list link; /* arena's while free, the taker's meanwhile */
};

enum arena_pages { ARENA_PAGES_HUGETLB, ARENA_PAGES_THP, ARENA_PAGES_PLAIN };

enum err arena_open(const struct arena_options *options, struct arena **ret_arena) MUST_USE;
void arena_close(struct arena *arena);

/* The mapping, for registration; size is a multiple of 2 MiB. */
uint8_t *arena_base(const struct arena *arena);
size_t arena_size_bytes(const struct arena *arena);
/* From its base: all but the landing areas. */
size_t arena_slots_size_bytes(const struct arena *arena);
enum arena_pages arena_pages(const struct arena *arena);
static inline bool arena_holds(const struct arena *arena, const void *data, size_t size);

/* Share `index` of share_count, to be used by one loop only. Valid until arena_close. */
struct arena_share *arena_share(struct arena *arena, uint32_t index);

struct slot *slot_take(struct arena_share *share, enum slot_size size_class); /* NULL: none free */
void slot_put(struct slot *slot); /* NULL does nothing */

/* Areas are taken and put by one thread, that of the transport, whichever thread opened the
 * arena. */
struct landing *arena_landing_take(struct arena *arena);              /* NULL: none free */
void arena_landing_put(struct arena *arena, struct landing *landing); /* NULL does nothing */
/* Whether the bytes lie in landing areas: what a peer may change under its reader. */
bool arena_is_landing(const struct arena *arena, const void *data, size_t size);

/* Puts `waiter` in line; its ready() gets the next slot returned. Never calls back from inside this
 * function. */
void arena_wait(struct arena_share *share, struct arena_waiter *waiter, enum slot_size size_class);
void arena_wait_cancel(struct arena_waiter *waiter); /* does nothing for one that is not in line */

/* ---- */
static inline bool arena_holds(const struct arena *arena, const void *data, size_t size)
{
    const uint8_t *base = arena_base(arena), *from = data;
    return from >= base && size <= arena_size_bytes(arena) &&
           (size_t)(from - base) <= arena_size_bytes(arena) - size;
}

#endif
