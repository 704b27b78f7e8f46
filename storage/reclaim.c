#include "storage/reclaim.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "storage/volume_priv.h"

void reclaim_init(struct reclaim *reclaim)
{
    CHECK(pthread_mutex_init(&reclaim->lock, NULL) == 0);
}

void reclaim_fini(struct reclaim *reclaim)
{
    free(reclaim->fresh.items);
    free(reclaim->parked.items);
    free(reclaim->working.items);
    free(reclaim->held.items);
    pthread_mutex_destroy(&reclaim->lock);
}

static bool make_room(struct released_list *list, size_t more)
{
    if (list->capacity - list->count >= more)
        return true;
    size_t capacity = list->capacity ? list->capacity * 2 : 64;
    while (capacity - list->count < more)
        capacity *= 2;
    struct released_extent *items = realloc(list->items, capacity * sizeof *items);
    if (items == NULL)
        return false;
    list->items = items;
    list->capacity = capacity;
    return true;
}

static uint64_t units_of(const struct released_extent *released, size_t count)
{
    uint64_t units = 0;
    for (size_t i = 0; i < count; i++)
        units += released[i].extent.units;
    return units;
}

/* Appends to one of the lists that the lock guards, and to its count of units. */
static void add(struct reclaim *reclaim, struct released_list *list, _Atomic uint64_t *list_units,
                const struct released_extent *released, size_t count)
{
    if (count == 0)
        return;
    uint64_t units = units_of(released, count);
    pthread_mutex_lock(&reclaim->lock);
    bool fits = make_room(list, count);
    if (fits) {
        memcpy(list->items + list->count, released, count * sizeof *released);
        list->count += count;
        atomic_fetch_add(list_units, units);
        atomic_fetch_add(&reclaim->dying_units, units);
    }
    pthread_mutex_unlock(&reclaim->lock);
    if (!fits)
        LOG_LIMITED(LOG_WARN, "storage",
                    "no memory to reclaim deleted space before the next start units=%llu",
                    (unsigned long long)units);
}

void reclaim_add(struct reclaim *reclaim, const struct released_extent *released, size_t count)
{
    add(reclaim, &reclaim->fresh, &reclaim->fresh_units, released, count);
}

void reclaim_hold(struct reclaim *reclaim, const struct released_extent *released, size_t count)
{
    add(reclaim, &reclaim->held, &reclaim->held_units, released, count);
}

void reclaim_release_held(struct reclaim *reclaim)
{
    struct released_list *held = &reclaim->held;
    if (atomic_load_explicit(&reclaim->held_units, memory_order_relaxed) == 0)
        return;
    uint64_t units = units_of(held->items, held->count);
    atomic_fetch_sub(&reclaim->dying_units, units); /* add() counts them again */
    add(reclaim, &reclaim->fresh, &reclaim->fresh_units, held->items, held->count);
    atomic_fetch_sub(&reclaim->held_units, units);
    held->count = 0;
}

static void free_extent(struct volume *volume, const struct extent *extent)
{
    struct segment *segment = segments_find(&volume->segments, extent->segment);
    CHECK(segment != NULL); /* it has used units */
    volume->disk->ops->drop_cache(segment->buffered, (uint64_t)extent->unit * UNIT_BYTES,
                                  (uint64_t)extent->units * UNIT_BYTES);
    alloc_free(volume->alloc, &(struct alloc_run){extent->segment, extent->unit, extent->units});
    atomic_fetch_sub(&volume->reclaim.dying_units, extent->units);
}

/* Frees what can be; the rest is parked. `list` is empty afterwards. */
static uint64_t sift(struct volume *volume, struct released_list *list, bool is_fresh)
{
    struct reclaim *reclaim = &volume->reclaim;
    uint64_t freed = 0;
    for (size_t i = 0; i < list->count; i++) {
        const struct released_extent *one = &list->items[i];
        bool is_pinned = pins_watch(volume->pins, one->data);
        if (is_pinned && make_room(&reclaim->parked, 1)) {
            reclaim->parked.items[reclaim->parked.count++] = *one;
        } else if (is_pinned) {
            atomic_fetch_sub(&reclaim->dying_units, one->extent.units);
            LOG_LIMITED(LOG_WARN, "storage",
                        "no memory to reclaim deleted space before the next start units=%u",
                        one->extent.units);
        } else {
            free_extent(volume, &one->extent);
            freed += one->extent.units;
        }
        if (is_fresh)
            atomic_fetch_sub(&reclaim->fresh_units, one->extent.units);
    }
    list->count = 0;
    return freed;
}

uint64_t reclaim_step(struct volume *volume)
{
    struct reclaim *reclaim = &volume->reclaim;
    /* What is parked is looked at anew each time: there is one entry for each extent somebody still
     * reads, and a drop brought us here. */
    struct released_list again = reclaim->parked;
    reclaim->parked = reclaim->working;
    reclaim->parked.count = 0;
    uint64_t freed = sift(volume, &again, false);
    reclaim->working = again;

    pthread_mutex_lock(&reclaim->lock);
    struct released_list fresh = reclaim->fresh;
    reclaim->fresh = reclaim->working;
    pthread_mutex_unlock(&reclaim->lock);
    freed += sift(volume, &fresh, true);
    reclaim->working = fresh;
    return freed;
}
