/*
 * Reclaim: the way of dead units back to the allocator. In this order, and never another:
 *
 *     1  the batch that deleted the extent's record is synced (the committer calls reclaim_add only
 *        then; what an unsynced one let go of is held until the next synced one)
 *     2  no reader holds the data any more (pins; its name is out of the cache before 1 ends)
 *     3  its pages are dropped from the page cache (a later buffered read must not find the dead
 *        bytes)
 *     4  the units are free
 *
 * 2 to 4 happen on the keeper's thread. Data that is still pinned is parked; the last pin wakes the
 * keeper, nobody polls.
 */
#ifndef STORAGE_RECLAIM_H
#define STORAGE_RECLAIM_H

#include <pthread.h>
#include <stdatomic.h>

#include "storage/apply.h"

struct volume;

struct released_list {
    struct released_extent *items; /* owned */
    size_t count, capacity;
};

struct reclaim {
    pthread_mutex_t lock;
    struct released_list fresh;   /* since the keeper last looked */
    struct released_list parked;  /* the keeper's own: pinned when it looked */
    struct released_list working; /* the keeper's own */
    struct released_list held;    /* by batches that are not synced yet */
    _Atomic uint64_t fresh_units, held_units;
    _Atomic uint64_t dying_units; /* fresh, held and parked */
};

void reclaim_init(struct reclaim *reclaim);
void reclaim_fini(struct reclaim *reclaim);
/* Any thread. Without memory for the list the units stay taken until the next open, which finds
 * them free. */
void reclaim_add(struct reclaim *reclaim, const struct released_extent *released, size_t count);
/* The same of a batch that is not synced: waits for reclaim_release_held(), after one that is. */
void reclaim_hold(struct reclaim *reclaim, const struct released_extent *released, size_t count);
void reclaim_release_held(struct reclaim *reclaim);
/* B. Frees what nobody reads. Returns how many units. */
uint64_t reclaim_step(struct volume *volume);
/* Units that the next step may free. */
static inline uint64_t reclaim_fresh_units(struct reclaim *reclaim)
{
    return atomic_load_explicit(&reclaim->fresh_units, memory_order_relaxed);
}
/* ... or one soon after: whoever needs space may count on them. */
static inline uint64_t reclaim_coming_units(struct reclaim *reclaim)
{
    return reclaim_fresh_units(reclaim) +
           atomic_load_explicit(&reclaim->held_units, memory_order_relaxed);
}

#endif
