#include "storage/space.h"

#include <stdio.h>

#include "base/check.h"
#include "storage/keeper.h"
#include "storage/volume_priv.h"

/* ---- policy ---- */

static uint64_t clamp(uint64_t value, uint64_t least, uint64_t most)
{
    return value < least ? least : value > most ? most : value;
}

static uint64_t power_of_two_below(uint64_t value)
{
    return value == 0 ? 0 : 1ull << (63 - __builtin_clzll(value));
}

uint64_t space_segment_bytes(uint64_t total)
{
    /* A thousand segments on any disk; at least 64 on a small one, where the last, unfilled one
     * would be missed. */
    uint64_t bytes = clamp(power_of_two_below(total / 1024), MIB(16), SEGMENT_BYTES_MAX);
    uint64_t small = clamp(power_of_two_below(total / 64), SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
    return small < bytes ? small : bytes;
}

uint64_t space_reserve_bytes(uint64_t total)
{
    uint64_t bytes = clamp(total / 20, MIB(32), GIB(8));
    return bytes < total / 8 ? bytes : total / 8;
}

uint64_t space_ballast_bytes(uint64_t total)
{
    return clamp(space_reserve_bytes(total) / 8, KIB(256), MIB(512)) / UNIT_BYTES * UNIT_BYTES;
}

uint64_t space_low_bytes(uint64_t total)
{
    return space_reserve_bytes(total) / 4;
}

uint32_t space_growable(const struct space_view *view)
{
    uint64_t reserve = space_reserve_bytes(view->disk_total_bytes);
    uint64_t left_to_index = reserve > view->index_bytes ? reserve - view->index_bytes : 0;
    if (left_to_index < reserve / 2)
        left_to_index = reserve / 2; /* it grows on, and compaction needs room */
    if (!view->has_ballast)
        left_to_index += space_ballast_bytes(view->disk_total_bytes);
    if (view->disk_free_bytes <= left_to_index)
        return 0;
    uint64_t segments = (view->disk_free_bytes - left_to_index) / view->segment_bytes;
    return segments < SEGMENTS_MAX ? (uint32_t)segments : SEGMENTS_MAX;
}

/* ---- state ---- */

void space_init(struct space *space)
{
    CHECK(pthread_mutex_init(&space->lock, NULL) == 0);
    list_init(&space->waiters);
}

void space_fini(struct space *space)
{
    CHECK(list_is_empty(&space->waiters)); /* a body is still open */
    pthread_mutex_destroy(&space->lock);
}

enum err space_measure(struct volume *volume)
{
    struct space *space = &volume->space;
    struct disk_space disk;
    struct kv_stats index = {0};
    enum err e = volume->disk->ops->space(volume->disk, volume->dir, &disk);
    if (e)
        return e;
    if (volume__state(volume) != VOLUME_FAILED)
        volume->kv->ops->stats(volume->kv, &index);
    pthread_mutex_lock(&space->lock);
    space->view.disk_total_bytes = disk.total_bytes;
    space->view.disk_free_bytes = disk.free_bytes;
    space->view.index_bytes = index.disk_bytes;
    if (disk.free_bytes >= space->refused_at_bytes + space->view.segment_bytes)
        space->refused_at_bytes = 0;
    space->growable = space->refused_at_bytes == 0 ? space_growable(&space->view) : 0;
    pthread_mutex_unlock(&space->lock);
    return ERR_OK;
}

void space_enter_low(struct volume *volume, uint64_t free_bytes)
{
    char reason[96];
    snprintf(reason, sizeof reason, "only %llu MiB are free on the disk, kept for the index",
             (unsigned long long)(free_bytes >> 20));
    volume__enter_read_only(volume, reason);
}

void space_spent(struct volume *volume, uint64_t index_bytes)
{
    struct space *space = &volume->space;
    struct disk_space disk;
    space->spent_bytes += index_bytes;
    pthread_mutex_lock(&space->lock);
    uint64_t low = space_low_bytes(space->view.disk_total_bytes);
    pthread_mutex_unlock(&space->lock);
    if (space->spent_bytes < low / 8)
        return;
    space->spent_bytes = 0;
    if (volume->disk->ops->space(volume->disk, volume->dir, &disk) == ERR_OK &&
        disk.free_bytes < low)
        space_enter_low(volume, disk.free_bytes);
}

static uint64_t segment_data_units(const struct volume *volume)
{
    return volume->segments.segment_bytes / UNIT_BYTES - SEGMENT_HEADER_UNITS;
}

static enum err judge_and_claim(struct volume *volume, uint64_t units, uint64_t claimed)
{
    struct space *space = &volume->space;
    struct alloc_stats stats;
    alloc_stats(volume->alloc, &stats);
    uint64_t coming = reclaim_coming_units(&volume->reclaim);
    pthread_mutex_lock(&space->lock);
    uint64_t there = stats.units_free + coming + space->growable * segment_data_units(volume);
    bool fits = there >= space->claimed_units && there - space->claimed_units >= units;
    if (fits)
        space->claimed_units += claimed;
    pthread_mutex_unlock(&space->lock);
    return fits ? ERR_OK : ERR_DISK_FULL;
}

enum err space_claim(struct volume *volume, uint64_t units)
{
    return judge_and_claim(volume, units, units);
}

enum err space_judge(struct volume *volume, uint64_t units)
{
    return judge_and_claim(volume, units, 0);
}

void space_unclaim(struct volume *volume, uint64_t units)
{
    struct space *space = &volume->space;
    pthread_mutex_lock(&space->lock);
    CHECK(space->claimed_units >= units);
    space->claimed_units -= units;
    pthread_mutex_unlock(&space->lock);
}

/* ---- waiting ---- */

bool space_wait(struct volume *volume, struct space_waiter *waiter)
{
    struct space *space = &volume->space;
    if (volume->threads == VOLUME_NO_THREADS)
        return false; /* what could be done has been done */
    bool can_come = reclaim_coming_units(&volume->reclaim) > 0;
    pthread_mutex_lock(&space->lock);
    can_come = can_come || space->growable > 0;
    if (can_come) {
        list_push_back(&space->waiters, &waiter->link);
        space->segment_wanted = true;
    }
    pthread_mutex_unlock(&space->lock);
    if (can_come)
        keeper_wake(volume);
    return can_come;
}

bool space_wait_cancel(struct volume *volume, struct space_waiter *waiter)
{
    struct space *space = &volume->space;
    pthread_mutex_lock(&space->lock);
    bool was_waiting = list_is_linked(&waiter->link);
    list_remove(&waiter->link);
    pthread_mutex_unlock(&space->lock);
    return was_waiting;
}

void space_wake(struct volume *volume)
{
    struct space *space = &volume->space;
    pthread_mutex_lock(&space->lock);
    for (struct list *node; (node = list_pop_front(&space->waiters)) != NULL;) {
        struct space_waiter *waiter = LIST_ENTRY(node, struct space_waiter, link);
        loop_post(waiter->loop, &waiter->msg); /* from now on the waiter's */
    }
    pthread_mutex_unlock(&space->lock);
}

/* ---- the ballast ---- */

static void ballast_path(const struct volume *volume, char out[SEGMENT_PATH_BYTES_MAX])
{
    snprintf(out, SEGMENT_PATH_BYTES_MAX, "%s/ballast", volume->dir);
}

static void set_ballast(struct volume *volume, bool has)
{
    pthread_mutex_lock(&volume->space.lock);
    volume->space.view.has_ballast = has;
    pthread_mutex_unlock(&volume->space.lock);
}

enum err space_ballast_make(struct volume *volume)
{
    const struct disk_ops *ops = volume->disk->ops;
    char path[SEGMENT_PATH_BYTES_MAX];
    ballast_path(volume, path);
    struct disk_file *file;
    enum err e = ops->open(volume->disk, path, DISK_WRITE | DISK_CREATE, &file);
    if (e == ERR_FILE_EXISTS)
        e = ops->open(volume->disk, path, DISK_WRITE, &file); /* a crash may have left it short */
    if (e)
        return e;
    e = ops->allocate(file, 0, space_ballast_bytes(volume->space.view.disk_total_bytes));
    if (e == ERR_OK)
        e = ops->sync(file);
    ops->close(file);
    if (e)
        (void)ops->remove(volume->disk, path); /* half a ballast helps nobody; tried again later */
    else
        set_ballast(volume, true);
    return e;
}

enum err space_ballast_drop(struct volume *volume)
{
    char path[SEGMENT_PATH_BYTES_MAX];
    ballast_path(volume, path);
    enum err e = volume->disk->ops->remove(volume->disk, path);
    if (e == ERR_NO_SUCH_FILE)
        e = ERR_OK;
    if (e == ERR_OK)
        set_ballast(volume, false);
    return e;
}
