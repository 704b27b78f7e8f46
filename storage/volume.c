#include "storage/volume.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "base/metric.h"
#include "storage/body_priv.h"
#include "storage/log.h"
#include "storage/volume_priv.h"

/* ---- metrics of all open volumes together ---- */

static pthread_mutex_t open_lock = PTHREAD_MUTEX_INITIALIZER;
static struct volume *open_volumes;

#define VOLUME_GAUGES(X)                                                                           \
    X(capacity, "sluice_volume_capacity_bytes", "Object bytes that fit: used, and what is free.")  \
    X(used, "sluice_volume_used_bytes", "Space of stored objects.")                                \
    X(reserved, "sluice_volume_reserved_bytes", "Space of objects being written.")                 \
    X(reclaiming, "sluice_volume_reclaiming_bytes",                                                \
      "Space of deleted objects that are still read.")                                             \
    X(disk_free, "sluice_volume_disk_free_bytes", "Free space of the file systems.")               \
    X(index, "sluice_volume_index_bytes", "Disk space of the indexes.")                            \
    X(segments, "sluice_volume_segments", "Segment files.")                                        \
    X(not_ok, "sluice_volumes_not_ok", "Volumes that are read-only or failed.")

#define X(short_name, full_name, text)                                                             \
    static struct metric gauge_##short_name = {                                                    \
        .name = full_name, .help = text, .kind = METRIC_GAUGE};
VOLUME_GAUGES(X)
#undef X

static void refresh_gauges(void *context)
{
    int64_t capacity = 0, used = 0, reserved = 0, reclaiming = 0, disk_free = 0, index = 0,
            segments = 0, not_ok = 0;
    pthread_mutex_lock(&open_lock);
    for (struct volume *volume = open_volumes; volume != NULL; volume = volume->next_open) {
        struct volume_status status;
        volume_status(volume, &status);
        capacity += (int64_t)status.capacity_bytes;
        used += (int64_t)status.used_bytes;
        reserved += (int64_t)status.reserved_bytes;
        reclaiming += (int64_t)status.reclaiming_bytes;
        disk_free += (int64_t)status.disk_free_bytes;
        index += (int64_t)status.index.disk_bytes;
        segments += status.segment_count;
        not_ok += status.state != VOLUME_OK;
    }
    pthread_mutex_unlock(&open_lock);
#define X(short_name, full_name, text) metric_set(&gauge_##short_name, short_name);
    VOLUME_GAUGES(X)
#undef X
}

static struct metric_source gauges = {.refresh = refresh_gauges};

static void show_metrics(struct volume *volume)
{
    pthread_mutex_lock(&open_lock);
    bool is_first = open_volumes == NULL;
    volume->next_open = open_volumes;
    open_volumes = volume;
    pthread_mutex_unlock(&open_lock);
#define X(short_name, full_name, text) metric_register(&gauge_##short_name);
    VOLUME_GAUGES(X)
#undef X
    if (is_first)
        metric_source_register(&gauges);
}

static void hide_metrics(struct volume *volume)
{
    bool was_there = false;
    pthread_mutex_lock(&open_lock);
    for (struct volume **at = &open_volumes; *at != NULL && !was_there; at = &(*at)->next_open)
        if (*at == volume) {
            *at = volume->next_open;
            was_there = true;
            break;
        }
    bool was_last = was_there && open_volumes == NULL;
    pthread_mutex_unlock(&open_lock);
    if (was_last)
        metric_source_remove(&gauges);
}

/* ---- state ---- */

void volume__fail(struct volume *volume, enum err e, const struct err_trail *trail)
{
    if (atomic_exchange(&volume->state, VOLUME_FAILED) == VOLUME_FAILED)
        return;
    pthread_mutex_lock(&volume->reason_lock);
    snprintf(volume->reason, sizeof volume->reason, "%s", err_trail_text(trail, e));
    pthread_mutex_unlock(&volume->reason_lock);
    LOG(LOG_ERROR, "storage",
        "volume failed; it takes no more work until restarted dir=%s error=\"%s\"", volume->dir,
        err_trail_text(trail, e));
    keeper_wake(volume);
}

void volume__enter_read_only(struct volume *volume, const char *reason)
{
    int expected = VOLUME_OK;
    if (!atomic_compare_exchange_strong(&volume->state, &expected, VOLUME_READ_ONLY))
        return;
    pthread_mutex_lock(&volume->reason_lock);
    snprintf(volume->reason, sizeof volume->reason, "%s", reason);
    pthread_mutex_unlock(&volume->reason_lock);
    LOG(LOG_WARN, "storage", "volume is read-only dir=%s why=\"%s\"", volume->dir, reason);
    keeper_wake(volume);
}

void volume__leave_read_only(struct volume *volume)
{
    int expected = VOLUME_READ_ONLY;
    if (volume->is_damaged || volume->read_only ||
        !atomic_compare_exchange_strong(&volume->state, &expected, VOLUME_OK))
        return;
    pthread_mutex_lock(&volume->reason_lock);
    volume->reason[0] = '\0';
    pthread_mutex_unlock(&volume->reason_lock);
    LOG(LOG_INFO, "storage", "volume takes writes again dir=%s", volume->dir);
    keeper_wake(volume);
}

enum err volume__tell_state(struct volume *volume, enum err e, struct err_trail *trail)
{
    pthread_mutex_lock(&volume->reason_lock);
    const char *state = e == ERR_READ_ONLY ? "the volume is read-only" : "the volume has failed";
    (void)err_say(trail, e, "%s: %s", state, volume->reason);
    pthread_mutex_unlock(&volume->reason_lock);
    return e;
}

/* ---- opening and closing ---- */

static void fini_parts(struct volume *volume)
{
    hide_metrics(volume);
    cache_close(volume->cache);
    buckets_close(volume->buckets);
    pins_close(volume->pins);
    commit_fini(&volume->commit);
    reclaim_fini(&volume->reclaim);
    segments_fini(&volume->segments);
    alloc_close(volume->alloc);
    if (volume->kv != NULL)
        volume->kv->ops->close(volume->kv);
}

static void free_volume(struct volume *volume)
{
    if (volume->superblock_file != NULL)
        volume->disk->ops->close(volume->superblock_file);
    space_fini(&volume->space);
    body__pool_fini(&volume->bodies);
    keeper_fini(&volume->keeper);
    pthread_mutex_destroy(&volume->reason_lock);
    volume->magic = 0;
    free(volume);
}

static void write_clean(struct volume *volume)
{
    if (volume->read_only || volume->is_damaged || volume__state(volume) == VOLUME_FAILED)
        return; /* it stays DIRTY, which harms nothing: the next open reads the same */
    struct err_trail trail = {0};
    volume->superblock.state = SUPERBLOCK_CLEAN;
    volume->superblock.durable_commit_seq = atomic_load(&volume->commit.synced_seq);
    enum err e = superblock_write(volume->superblock_file, &volume->superblock, &trail);
    if (e)
        LOG(LOG_ERROR, "storage",
            "the superblock could not be written at close dir=%s error=\"%s\"", volume->dir,
            err_trail_text(&trail, e));
}

static void join_threads(struct volume *volume)
{
    if (volume->has_keeper) {
        keeper_stop(volume);
        pthread_join(volume->keeper_thread, NULL);
        volume->has_keeper = false;
    }
    if (volume->has_committer) {
        commit_stop(volume);
        pthread_join(volume->committer_thread, NULL);
        volume->has_committer = false;
    }
}

void volume_close(struct volume *volume)
{
    if (volume == NULL)
        return;
    CHECK_MAGIC(volume, VOLUME_MAGIC);
    join_threads(volume);
    commit_drain(volume);
    fini_parts(volume);
    write_clean(volume);
    free_volume(volume);
}

static enum err start_threads(struct volume *volume, struct err_trail *trail)
{
    if (volume->threads == VOLUME_NO_THREADS || volume->read_only)
        return ERR_OK;
    volume->has_committer =
        pthread_create(&volume->committer_thread, NULL, commit_run, volume) == 0;
    volume->has_keeper = volume->has_committer &&
                         pthread_create(&volume->keeper_thread, NULL, keeper_run, volume) == 0;
    return volume->has_keeper ? ERR_OK : err_note(trail, ERR_NO_MEMORY, "start its threads");
}

static struct volume *new_volume(const struct volume_options *options)
{
    struct volume *volume = calloc(1, sizeof *volume);
    if (volume == NULL)
        return NULL;
    volume->magic = VOLUME_MAGIC;
    snprintf(volume->dir, sizeof volume->dir, "%s", options->dir);
    volume->disk = options->disk ? options->disk : disk_real();
    volume->clock = options->clock ? options->clock : clock_system();
    volume->rand = options->rand ? options->rand : rand_system();
    volume->kv = options->kv;
    volume->threads = options->threads;
    volume->read_only = options->read_only;
    CHECK(pthread_mutex_init(&volume->reason_lock, NULL) == 0);
    keeper_init(&volume->keeper);
    space_init(&volume->space);
    reclaim_init(&volume->reclaim);
    commit_init_locks(&volume->commit);
    body__pool_init(&volume->bodies);
    if (options->read_only)
        volume__enter_read_only(volume, "opened for reading only");
    return volume;
}

static void pin_went(void *context)
{
    struct volume *volume = context;
    atomic_store(&volume->commit.gc_wanted, true); /* records may have waited for it, too */
    commit_wake(volume);
    keeper_wake(volume);
}

enum err volume_open(const struct volume_options *options, struct volume **ret_volume,
                     struct err_trail *trail)
{
    enum err e = ERR_OK;
    struct volume *volume = NULL;
    if (options->data_epoch != 0 && (options->data_epoch & DATA_EPOCH_DRAWN) == 0)
        e = err_say(trail, ERR_INVALID, "an epoch that was drawn has bit 63 set");
    else if (options->dir == NULL || options->dir[0] == '\0' ||
             strlen(options->dir) >= VOLUME_DIR_BYTES)
        e = err_say(trail, ERR_INVALID, "a volume's directory has 1 to %u bytes",
                    VOLUME_DIR_BYTES - 1);
    else if ((volume = new_volume(options)) == NULL)
        e = ERR_NO_MEMORY;
    if (volume == NULL) {
        if (options->kv != NULL)
            options->kv->ops->close(options->kv); /* taken, whatever happens */
        return e;
    }
    e = volume__load(volume, options, trail);
    if (e == ERR_OK) {
        pins_on_idle(volume->pins, pin_went, volume);
        if (volume->threads == VOLUME_NO_THREADS)
            volume_step(volume);
        e = start_threads(volume, trail);
    }
    if (e) {
        join_threads(volume);
        fini_parts(volume);
        free_volume(volume);
        return err_note(trail, e, "open volume %s", options->dir);
    }
    show_metrics(volume);
    *ret_volume = volume;
    return ERR_OK;
}

void volume_step(struct volume *volume)
{
    CHECK_MAGIC(volume, VOLUME_MAGIC);
    CHECK(volume->threads == VOLUME_NO_THREADS);
    while (commit_step(volume))
        ;
    (void)keeper_step(volume);
    while (commit_step(volume))
        ;
}

/* ---- telling ---- */

static void fill_space(struct volume *volume, struct volume_status *status)
{
    struct alloc_stats stats;
    alloc_stats(volume->alloc, &stats);
    pthread_mutex_lock(&volume->space.lock);
    status->disk_total_bytes = volume->space.view.disk_total_bytes;
    status->disk_free_bytes = volume->space.view.disk_free_bytes;
    pthread_mutex_unlock(&volume->space.lock);
    uint64_t reserved = atomic_load(&volume->space.reserved_units),
             dying = atomic_load(&volume->reclaim.dying_units);
    uint64_t taken = reserved + dying; /* they change while we look */
    status->used_bytes = stats.units_used > taken ? (stats.units_used - taken) * UNIT_BYTES : 0;
    status->reserved_bytes = reserved * UNIT_BYTES;
    status->reclaiming_bytes = dying * UNIT_BYTES;
    uint64_t per_segment = volume->segments.segment_bytes - SEGMENT_HEADER_UNITS * UNIT_BYTES;
    status->capacity_bytes = (stats.units_used + stats.units_free) * UNIT_BYTES +
                             atomic_load(&volume->space.growable) * per_segment;
    status->segment_count = stats.segments;
    status->segment_bytes = volume->segments.segment_bytes;
}

void volume_owed(const struct volume *volume, struct volume_owed *ret_owed)
{
    const struct body_pool *bodies = &volume->bodies;
    uint64_t ended = atomic_load(&bodies->writes_ended), begun = atomic_load(&bodies->writes_begun);
    ret_owed->batch = atomic_load(&volume->commit.under_way);
    ret_owed->bodies = begun != ended ? ended + 1 : 0;
}

void volume_status(struct volume *volume, struct volume_status *ret_status)
{
    CHECK_MAGIC(volume, VOLUME_MAGIC);
    struct volume_status status = {
        .state = volume__state(volume),
        .direct = volume->is_direct,
        .format_major = volume->superblock.format_major,
        .format_minor = volume->superblock.format_minor,
        .mount_epoch = volume->superblock.mount_epoch,
        .commits = atomic_load(&volume->commit.batches),
        .committed_mutations = atomic_load(&volume->commit.mutations),
        .last_psn = atomic_load(&volume->commit.last_psn),
    };
    if (volume->has_log) {
        struct log_range log;
        volume_log_range(volume, &log);
        status.has_log = true;
        status.log_first = log.first;
        status.log_last = log.last;
        status.log_applied = log.applied;
    }
    memcpy(status.uuid, volume->superblock.uuid, sizeof status.uuid);
    memcpy(status.dir, volume->dir, sizeof status.dir);
    memcpy(status.file_system, volume->file_system, sizeof status.file_system);
    pthread_mutex_lock(&volume->reason_lock);
    memcpy(status.reason, volume->reason, sizeof status.reason);
    pthread_mutex_unlock(&volume->reason_lock);
    fill_space(volume, &status);
    if (status.state != VOLUME_FAILED)
        volume->kv->ops->stats(volume->kv, &status.index);
    cache_stats(volume->cache, &status.cached_objects, &status.cached_bytes);
    *ret_status = status;
}

/* ---- buckets ---- */

enum err volume_bucket(struct volume *volume, struct bytes name, struct bucket_info *ret_bucket)
{
    return buckets_find(volume->buckets, name, ret_bucket);
}

enum err volume_buckets(struct volume *volume, bucket_each_fn *each, void *context)
{
    struct bucket_info bucket;
    for (size_t i = 0; buckets_at(volume->buckets, i, &bucket) == ERR_OK; i++) {
        enum err e = each(context, &bucket);
        if (e)
            return e;
    }
    return ERR_OK;
}
