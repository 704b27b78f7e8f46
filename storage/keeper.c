#include "storage/keeper.h"

#include <stdio.h>
#include <time.h>

#include "base/check.h"
#include "base/log.h"
#include "storage/volume_priv.h"

#define MEASURE_NS      NS_PER_SECOND
#define SUPERBLOCK_NS   (10 * NS_PER_SECOND) /* how old its durable_commit_seq may be */
#define SYNC_NS         NS_PER_SECOND        /* how long batches of the log may stay unsynced */
#define RETRY_NS        NS_PER_SECOND        /* while the disk is full */
#define COMPACT_NS      (10 * NS_PER_SECOND) /* at least between two compactions of a full index */
#define REFUSED_NS      (30 * NS_PER_SECOND) /* after a segment could not be made */
#define PLENTY_SEGMENTS 16u                  /* room for so many more: one is kept ready */
#define MAKE_MAX        8u                   /* segments in one pass */
#define FORGET_MAX      16u

/* ---- the thread ---- */

void keeper_init(struct keeper *keeper)
{
    pthread_condattr_t monotonic;
    CHECK(pthread_mutex_init(&keeper->lock, NULL) == 0);
    CHECK(pthread_condattr_init(&monotonic) == 0);
    CHECK(pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(&keeper->wake, &monotonic) == 0);
    pthread_condattr_destroy(&monotonic);
}

void keeper_fini(struct keeper *keeper)
{
    pthread_cond_destroy(&keeper->wake);
    pthread_mutex_destroy(&keeper->lock);
}

void keeper_wake(struct volume *volume)
{
    struct keeper *keeper = &volume->keeper;
    pthread_mutex_lock(&keeper->lock);
    if (!keeper->is_wanted) {
        keeper->is_wanted = true;
        pthread_cond_signal(&keeper->wake);
    }
    pthread_mutex_unlock(&keeper->lock);
}

void keeper_stop(struct volume *volume)
{
    struct keeper *keeper = &volume->keeper;
    pthread_mutex_lock(&keeper->lock);
    keeper->is_stopping = true;
    pthread_cond_signal(&keeper->wake);
    pthread_mutex_unlock(&keeper->lock);
}

/* Waits to be woken, at most for_ns. False: it is over. */
static bool wait(struct keeper *keeper, uint64_t for_ns)
{
    struct timespec until = {0};
    if (for_ns != UINT64_MAX) {
        /* What the condition variable counts in, whatever clock the volume has. */
        uint64_t at_ns = clock_mono_ns(clock_system()) + for_ns;
        until = (struct timespec){.tv_sec = (time_t)(at_ns / NS_PER_SECOND),
                                  .tv_nsec = (long)(at_ns % NS_PER_SECOND)};
    }
    pthread_mutex_lock(&keeper->lock);
    int result = 0;
    while (!keeper->is_wanted && !keeper->is_stopping && result == 0)
        result = for_ns == UINT64_MAX
                     ? pthread_cond_wait(&keeper->wake, &keeper->lock)
                     : pthread_cond_timedwait(&keeper->wake, &keeper->lock, &until);
    keeper->is_wanted = false;
    bool goes_on = !keeper->is_stopping;
    pthread_mutex_unlock(&keeper->lock);
    return goes_on;
}

void *keeper_run(void *context)
{
    struct volume *volume = context;
    (void)pthread_setname_np(pthread_self(), "keeper");
    uint64_t next_ns = 0;
    do
        next_ns = keeper_step(volume);
    while (wait(&volume->keeper, next_ns));
    return NULL;
}

/* ---- segments ---- */

static void refuse_growth(struct volume *volume, enum err e, const struct err_trail *trail)
{
    struct space *space = &volume->space;
    LOG_LIMITED(e == ERR_DISK_FULL ? LOG_INFO : LOG_ERROR, "storage",
                "no new segment dir=%s error=\"%s\"", volume->dir, err_trail_text(trail, e));
    pthread_mutex_lock(&space->lock);
    space->refused_at_bytes = space->view.disk_free_bytes > 0 ? space->view.disk_free_bytes : 1;
    pthread_mutex_unlock(&space->lock);
    atomic_store(&space->growable, 0);
    volume->keeper.refused_ns = clock_mono_ns(volume->clock);
}

static bool make_segment(struct volume *volume)
{
    struct err_trail trail = {0};
    struct segment *segment = NULL;
    if (!commit_has_room(volume, 2)) {
        /* Many were made and none used: let the committer write their records. */
        atomic_store(&volume->commit.flush_wanted, true);
        commit_wake(volume);
        return false;
    }
    uint32_t number = segments_free_number(&volume->segments);
    enum err e =
        number == SEGMENTS_MAX
            ? err_say(&trail, ERR_DISK_FULL, "%u segments are the most there can be", SEGMENTS_MAX)
            : segments_create(&volume->segments, number, &segment, &trail);
    if (e) {
        refuse_growth(volume, e, &trail);
        return false;
    }
    bool told = commit_segment(volume, (struct segment_change){.number = number, .is_new = true});
    CHECK(told);
    e = alloc_add(volume->alloc, number);
    if (e) { /* nobody knows it yet: let it go again */
        told = commit_segment(volume, (struct segment_change){.number = number});
        CHECK(told);
        refuse_growth(volume, e, &trail);
    }
    if (space_measure(volume))
        atomic_store(&volume->space.growable, 0); /* until the next measure tells */
    return e == ERR_OK;
}

/* How many segments should be made now. */
static uint32_t segments_wanted(struct volume *volume, const struct alloc_stats *stats)
{
    struct space *space = &volume->space;
    uint32_t growable = atomic_load(&space->growable);
    uint64_t units = volume->segments.segment_bytes / UNIT_BYTES;
    pthread_mutex_lock(&space->lock);
    bool is_asked = space->segment_wanted;
    space->segment_wanted = false;
    uint64_t claimed = space->claimed_units;
    pthread_mutex_unlock(&space->lock);
    uint64_t wanted = 0;
    if (growable >= PLENTY_SEGMENTS ? stats->segments_empty == 0 : stats->units_free < units / 2)
        wanted = 1;
    if (is_asked) {
        uint64_t missing = claimed > stats->units_free ? claimed - stats->units_free : 0;
        wanted = missing / units + 1;
    }
    wanted = wanted < growable ? wanted : growable;
    return wanted < MAKE_MAX ? (uint32_t)wanted : MAKE_MAX;
}

static bool is_low(struct volume *volume)
{
    const struct space_view *view = &volume->space.view;
    return view->disk_free_bytes < space_low_bytes(view->disk_total_bytes);
}

/* Empty segments beyond `kept`, and not promised to bodies. */
static bool has_too_many(struct volume *volume, uint32_t kept)
{
    struct alloc_stats stats;
    alloc_stats(volume->alloc, &stats);
    pthread_mutex_lock(&volume->space.lock);
    uint64_t claimed = volume->space.claimed_units;
    pthread_mutex_unlock(&volume->space.lock);
    return stats.segments_empty > kept &&
           stats.units_free >= claimed + volume->segments.segment_bytes / UNIT_BYTES;
}

/* Whole empty segments go back to the file system, all but one; on a full disk that one too. */
static void give_back_segments(struct volume *volume)
{
    uint32_t kept = volume__state(volume) == VOLUME_OK ? 1 : 0, count = 0;
    while (count < FORGET_MAX && has_too_many(volume, kept)) {
        uint32_t number = alloc_find_empty(volume->alloc);
        if (number == UINT32_MAX || !commit_has_room(volume, 1) ||
            !alloc_remove(volume->alloc, number))
            break;
        bool told = commit_segment(volume, (struct segment_change){.number = number});
        CHECK(told);
        count++;
    }
    if (count == 0)
        return;
    atomic_store(&volume->commit.flush_wanted, true);
    commit_wake(volume);
}

static bool remove_forgotten(struct volume *volume)
{
    uint32_t numbers[COMMIT_SEGMENTS_MAX];
    uint32_t count = commit_take_forgotten(volume, numbers);
    for (uint32_t i = 0; i < count; i++) {
        enum err e = segments_remove(&volume->segments, numbers[i]);
        if (e) /* the file stays and goes at the next open, or when its number is used again */
            LOG_LIMITED(LOG_WARN, "storage",
                        "an empty segment could not be removed dir=%s segment=%08x error=\"%s\"",
                        volume->dir, numbers[i], err_text(e));
    }
    return count > 0;
}

/* ---- a full disk ---- */

/* Whether there is room for the ballast and some more. */
static bool is_relieved(struct volume *volume)
{
    const struct space_view *view = &volume->space.view;
    uint64_t needed = 2 * space_low_bytes(view->disk_total_bytes);
    if (!view->has_ballast)
        needed += space_ballast_bytes(view->disk_total_bytes);
    return view->disk_free_bytes >= needed;
}

static void restore_ballast(struct volume *volume)
{
    enum err e = space_ballast_make(volume);
    if (e)
        LOG_LIMITED(LOG_WARN, "storage", "the ballast could not be set aside dir=%s error=\"%s\"",
                    volume->dir, err_text(e));
}

static void watch_space(struct volume *volume)
{
    const struct space_view *view = &volume->space.view;
    if (volume__state(volume) == VOLUME_OK) {
        if (is_low(volume)) {
            space_enter_low(volume, view->disk_free_bytes);
        } else if (!view->has_ballast && is_relieved(volume)) {
            restore_ballast(volume);
        }
        return;
    }
    if (is_relieved(volume)) {
        if (!view->has_ballast)
            restore_ballast(volume);
        if (view->has_ballast) { /* a batch that gets through ends it */
            atomic_store(&volume->commit.probe_wanted, true);
            commit_wake(volume);
        }
    } else if (view->has_ballast && volume->keeper.was_read_only) {
        /* Not before giving back segments was tried, one pass ago. */
        enum err e = space_ballast_drop(volume);
        if (e)
            LOG_LIMITED(LOG_WARN, "storage",
                        "the ballast could not be given up dir=%s error=\"%s\"", volume->dir,
                        err_text(e));
    }
}

/* Deletions were taken while the disk is full: have the index let go of what they marked. */
static void compact_index(struct volume *volume)
{
    struct keeper *keeper = &volume->keeper;
    uint64_t now_ns = clock_mono_ns(volume->clock), seq = atomic_load(&volume->commit.seq);
    bool is_due = keeper->compacted_ns == 0 || now_ns - keeper->compacted_ns >= COMPACT_NS;
    if (volume->kv->ops->compact == NULL || seq == keeper->compacted_seq || !is_due)
        return;
    volume->kv->ops->compact(volume->kv);
    keeper->compacted_ns = clock_mono_ns(volume->clock);
    keeper->compacted_seq = seq;
}

static bool needs_measure(struct volume *volume, bool has_changed)
{
    struct keeper *keeper = &volume->keeper;
    uint64_t now_ns = clock_mono_ns(volume->clock);
    pthread_mutex_lock(&volume->space.lock);
    bool is_asked = volume->space.segment_wanted;
    if (keeper->refused_ns != 0 && now_ns - keeper->refused_ns >= REFUSED_NS) {
        volume->space.refused_at_bytes = 0;
        keeper->refused_ns = 0;
    }
    pthread_mutex_unlock(&volume->space.lock);
    bool is_due = keeper->measured_ns == 0 || now_ns - keeper->measured_ns >= MEASURE_NS;
    if (!is_due && !is_asked && !has_changed && volume__state(volume) == VOLUME_OK)
        return false;
    keeper->measured_ns = now_ns;
    return true;
}

static void keep_space(struct volume *volume, bool has_changed)
{
    if (needs_measure(volume, has_changed)) {
        enum err e = space_measure(volume);
        if (e) {
            LOG_LIMITED(LOG_WARN, "storage", "cannot tell how full the disk is dir=%s error=\"%s\"",
                        volume->dir, err_text(e));
            return;
        }
    }
    watch_space(volume);
    volume->keeper.was_read_only = volume__state(volume) == VOLUME_READ_ONLY;
    if (volume->keeper.was_read_only)
        compact_index(volume);
    struct alloc_stats stats;
    alloc_stats(volume->alloc, &stats);
    uint32_t wanted = volume__state(volume) == VOLUME_OK ? segments_wanted(volume, &stats) : 0;
    while (wanted > 0 && make_segment(volume))
        wanted--;
    give_back_segments(volume);
}

/* ---- batches that were not synced ---- */

/* Somebody waits for space that only a sync gives back. */
static bool is_pressed(struct volume *volume)
{
    if (atomic_load(&volume->reclaim.held_units) == 0)
        return false;
    pthread_mutex_lock(&volume->space.lock);
    bool is_asked = volume->space.segment_wanted;
    pthread_mutex_unlock(&volume->space.lock);
    return is_asked || volume__state(volume) != VOLUME_OK;
}

/* Sees to it that they are synced before long. Returns in how many ns to look again. */
static uint64_t keep_synced(struct volume *volume)
{
    uint64_t since_ns = atomic_load(&volume->commit.unsynced_since_ns);
    uint64_t now_ns = clock_mono_ns(volume->clock);
    if (since_ns == 0)
        return UINT64_MAX;
    if (now_ns - since_ns < SYNC_NS && !is_pressed(volume))
        return SYNC_NS - (now_ns - since_ns);
    atomic_store(&volume->commit.flush_wanted, true);
    commit_wake(volume);
    return SYNC_NS;
}

/* ---- the superblock ---- */

/* Returns in how many ns it wants to be written; UINT64_MAX: it is up to date. */
static uint64_t keep_superblock(struct volume *volume)
{
    struct keeper *keeper = &volume->keeper;
    uint64_t now_ns = clock_mono_ns(volume->clock), seq = atomic_load(&volume->commit.synced_seq);
    if (seq == volume->superblock.durable_commit_seq) {
        keeper->superblock_at_ns = 0;
        return UINT64_MAX;
    }
    if (keeper->superblock_at_ns == 0)
        keeper->superblock_at_ns = now_ns + SUPERBLOCK_NS;
    if (now_ns < keeper->superblock_at_ns)
        return keeper->superblock_at_ns - now_ns;
    struct err_trail trail = {0};
    uint64_t before = volume->superblock.durable_commit_seq;
    volume->superblock.durable_commit_seq = seq;
    enum err e = superblock_write(volume->superblock_file, &volume->superblock, &trail);
    if (e) {
        volume->superblock.durable_commit_seq = before; /* an older one is true as well */
        LOG_LIMITED(LOG_ERROR, "storage", "the superblock could not be written dir=%s error=\"%s\"",
                    volume->dir, err_trail_text(&trail, e));
    }
    keeper->superblock_at_ns = 0;
    return e ? SUPERBLOCK_NS : UINT64_MAX;
}

/* ---- one pass ---- */

uint64_t keeper_step(struct volume *volume)
{
    uint64_t next_ns = UINT64_MAX;
    if (volume__state(volume) != VOLUME_FAILED && !volume->is_damaged && !volume->read_only) {
        uint64_t sync_ns = keep_synced(volume);
        bool has_changed = reclaim_step(volume) > 0;
        has_changed = remove_forgotten(volume) || has_changed;
        keep_space(volume, has_changed);
        next_ns = keep_superblock(volume);
        next_ns = next_ns < sync_ns ? next_ns : sync_ns;
        if (volume__state(volume) == VOLUME_READ_ONLY && next_ns > RETRY_NS)
            next_ns = RETRY_NS;
    } else {
        atomic_store(&volume->space.growable, 0);
    }
    space_wake(volume);
    return next_ns;
}

void keeper_provide(struct volume *volume)
{
    if (volume__state(volume) != VOLUME_OK)
        return;
    if (atomic_load(&volume->reclaim.held_units) > 0) {
        atomic_store(&volume->commit.flush_wanted, true);
        (void)commit_step(volume);
    }
    (void)reclaim_step(volume);
    if (atomic_load(&volume->space.growable) > 0)
        (void)make_segment(volume);
}
