#include "storage/commit_priv.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "base/metric.h"
#include "storage/body_priv.h"
#include "storage/keeper.h"
#include "storage/keys.h"
#include "storage/retain.h"
#include "storage/volume_priv.h"

#define TICK_NS NS_PER_SECOND /* how often a busy committer lets the keeper look at the disk */

static struct metric metric_batches = {.name = "sluice_commit_batches_total",
                                       .help = "Index batches written.",
                                       .kind = METRIC_COUNTER};
static struct metric metric_mutations = {.name = "sluice_commit_mutations_total",
                                         .help = "Changes answered after they were durable.",
                                         .kind = METRIC_COUNTER};
static struct metric metric_appends = {.name = "sluice_log_appends_total",
                                       .help = "Records of the group's log made durable.",
                                       .kind = METRIC_COUNTER};
static struct metric metric_refused = {.name = "sluice_commit_refused_total",
                                       .help = "Changes answered with an error.",
                                       .kind = METRIC_COUNTER};
static struct metric metric_sync = {.name = "sluice_segment_sync_seconds",
                                    .help = "Time of one fdatasync of a segment file.",
                                    .kind = METRIC_HISTOGRAM,
                                    .bucket_first = 64000,
                                    .unit_per_one = NS_PER_SECOND};
static struct metric metric_write = {.name = "sluice_commit_write_seconds",
                                     .help = "Time of one synced write of the index.",
                                     .kind = METRIC_HISTOGRAM,
                                     .bucket_first = 64000,
                                     .unit_per_one = NS_PER_SECOND};
static struct metric metric_wait = {.name = "sluice_commit_seconds",
                                    .help = "Time from a change's submission to its answer.",
                                    .kind = METRIC_HISTOGRAM,
                                    .bucket_first = 64000,
                                    .unit_per_one = NS_PER_SECOND};

void commit__register_metrics(void)
{
    struct metric *all[] = {&metric_batches, &metric_mutations, &metric_appends, &metric_refused,
                            &metric_sync,    &metric_write,     &metric_wait};
    for (size_t i = 0; i < COUNT_OF(all); i++)
        metric_register(all[i]);
}

/* For who watches whether the disk answers (volume_owed()). */
static void asks_disk(struct commit *commit)
{
    atomic_store_explicit(&commit->under_way, ++commit->asked, memory_order_relaxed);
}

static enum err sync_segment(struct volume *volume, struct segment *segment,
                             struct err_trail *trail)
{
    uint64_t seq = atomic_load(&segment->write_seq), start_ns = clock_mono_ns(volume->clock);
    asks_disk(&volume->commit);
    enum err e = segment->direct->disk->ops->sync(segment->direct);
    if (e)
        return err_note(trail, e, "sync segment %08x", segment->number);
    metric_observe(&metric_sync, clock_mono_ns(volume->clock) - start_ns);
    atomic_store(&segment->sync_seq, seq);
    return ERR_OK;
}

/* Everything the coming batch may name is on the disk when this returns ERR_OK. */
static enum err sync_bodies(struct volume *volume, struct err_trail *trail)
{
    uint32_t count = 0;
    for (struct commit_item *item = commit__next_line(&volume->commit)->first;
         item != NULL && count < COMMIT_MUTATIONS_MAX; item = item->next, count++) {
        commit__judge(volume, item);
        const struct body *body = commit__body(item);
        if (item->err || body == NULL)
            continue;
        for (uint32_t i = 0; i < body->extent_count; i++) {
            struct segment *segment = segments_find(&volume->segments, body->extents[i].segment);
            CHECK(segment != NULL);
            if (body->written_seqs[i] <= atomic_load(&segment->sync_seq))
                continue;
            enum err e = sync_segment(volume, segment, trail);
            if (e)
                return e;
        }
    }
    return ERR_OK;
}

static void join(struct commit_round *round, struct commit_item *item)
{
    *round->end = item;
    round->end = &item->next;
    round->count++;
}

static void gather(struct volume *volume, struct commit_round *round)
{
    struct commit *commit = &volume->commit;
    struct commit_line *line = commit__next_line(commit);
    while (line->first != NULL && round->count < COMMIT_MUTATIONS_MAX &&
           kv_batch_size_bytes(commit->batch) < COMMIT_BATCH_BYTES_MAX) {
        struct commit_item *item = commit__pop(line);
        asks_disk(commit); /* for what is read to judge it */
        commit__apply(volume, round, item);
        join(round, item);
    }
}

static void add_gc(struct volume *volume, struct commit_round *round)
{
    struct commit *commit = &volume->commit;
    if (!retain_may_collect(commit->copy.phase) || !atomic_exchange(&commit->gc_wanted, false) ||
        commit->gc_is_broken)
        return;
    round->has_gc = true;
    enum err e = apply_gc_step(&commit->apply, &round->gc_more);
    if (e == ERR_OK)
        return;
    round->gc_more = false; /* the next deletion, or the next start, tries again */
    commit->gc_is_broken = err_family(e) == FAM_DATA;
    LOG_LIMITED(LOG_ERROR, "storage", "deferred deletion stopped dir=%s error=%s", volume->dir,
                err_text(e));
}

/* Rows below it are to be deleted, as far as is known now: those applied before this batch. */
static uint64_t trim_upper(struct commit *commit, const struct log_range *log)
{
    return retain_trim_upper(atomic_load(&commit->trim_below), log);
}

static bool has_trim(struct commit *commit)
{
    return !commit->trim_is_broken && retain_may_collect(commit->copy.phase) &&
           commit->log_rows_from < trim_upper(commit, &commit->log);
}

static void add_trim(struct volume *volume, struct commit_round *round)
{
    struct commit *commit = &volume->commit;
    uint64_t upper = trim_upper(commit, &round->before.log);
    if (!volume->has_log || commit->trim_is_broken || !retain_may_collect(commit->copy.phase) ||
        commit->log_rows_from >= upper)
        return;
    round->has_trim = true;
    enum err e = apply_log_trim(&commit->apply, upper, commit->log.first, &commit->log_rows_from);
    if (e == ERR_OK) {
        if (commit->log_rows_from > commit->log.first)
            commit->log.first = commit->log_rows_from;
        return;
    }
    commit->trim_is_broken = true; /* until the next start; the rows only take space */
    LOG_LIMITED(LOG_ERROR, "storage", "the log is not trimmed any more dir=%s error=%s",
                volume->dir, err_text(e));
}

static enum err add_segments(struct volume *volume, struct commit_round *round)
{
    struct commit *commit = &volume->commit;
    enum err e = ERR_OK;
    pthread_mutex_lock(&commit->lock);
    for (uint32_t i = 0; e == ERR_OK && i < commit->change_count; i++) {
        struct kv_key key;
        uint8_t record[8];
        key_segment(&key, commit->changes[i].number);
        put_le64(record, volume->segments.segment_bytes);
        e = commit->changes[i].is_new ? kv_batch_put(commit->batch, KV_SYS, key_bytes(&key),
                                                     bytes_of(record, sizeof record))
                                      : kv_batch_delete(commit->batch, KV_SYS, key_bytes(&key));
    }
    round->changes = commit->change_count;
    pthread_mutex_unlock(&commit->lock);
    return e;
}

static enum err add_sys(struct volume *volume)
{
    struct commit *commit = &volume->commit;
    uint8_t seq[8], psn[8];
    put_le64(seq, atomic_load(&commit->seq) + 1);
    put_le64(psn, atomic_load(&commit->last_psn));
    enum err e = kv_batch_put(commit->batch, KV_SYS, KEY_SYS_COMMIT_SEQ, bytes_of(seq, sizeof seq));
    return e ? e : kv_batch_put(commit->batch, KV_SYS, KEY_SYS_LAST_PSN, bytes_of(psn, sizeof psn));
}

/* What only the log brought needs no sync: a crash leaves the log, and it is applied again. */
static bool needs_sync(const struct commit_round *round)
{
    bool is_replayable = round->logged > 0 || round->has_trim;
    return round->own > 0 || round->changes > 0 || round->must_write || !is_replayable;
}

static void note_written(struct volume *volume, struct commit_round *round)
{
    struct commit *commit = &volume->commit;
    uint64_t seq = atomic_fetch_add(&commit->seq, 1) + 1;
    atomic_fetch_add(&commit->batches, 1);
    metric_add(&metric_batches, 1);
    if (round->is_synced) {
        atomic_store(&commit->synced_seq, seq);
        atomic_store(&commit->unsynced_since_ns, 0);
    } else if (atomic_load(&commit->unsynced_since_ns) == 0) {
        atomic_store(&commit->unsynced_since_ns, clock_mono_ns(volume->clock));
        keeper_wake(volume); /* sees to a synced one if nobody else does */
    }
}

static enum err write_batch(struct volume *volume, struct commit_round *round,
                            struct err_trail *trail)
{
    struct commit *commit = &volume->commit;
    enum err e = add_segments(volume, round);
    if (e == ERR_OK)
        e = add_sys(volume);
    if (e)
        return err_note(trail, e, "gather a batch of the index");
    round->is_synced = needs_sync(round);
    uint64_t start_ns = clock_mono_ns(volume->clock);
    asks_disk(commit);
    e = volume->kv->ops->write(volume->kv, commit->batch, round->is_synced, trail);
    if (e)
        return e;
    if (round->is_synced)
        metric_observe(&metric_write, clock_mono_ns(volume->clock) - start_ns);
    note_written(volume, round);
    return ERR_OK;
}

/* ---- afterwards ---- */

static void settle_segments(struct volume *volume, const struct commit_round *round)
{
    struct commit *commit = &volume->commit;
    if (round->changes == 0)
        return;
    pthread_mutex_lock(&commit->lock);
    for (uint32_t i = 0; i < round->changes; i++)
        if (!commit->changes[i].is_new) {
            CHECK(commit->forgotten_count < COMMIT_SEGMENTS_MAX);
            commit->forgotten[commit->forgotten_count++] = commit->changes[i].number;
        }
    bool has_forgotten = commit->forgotten_count > 0;
    commit->change_count -= round->changes;
    memmove(commit->changes, commit->changes + round->changes,
            commit->change_count * sizeof commit->changes[0]);
    pthread_mutex_unlock(&commit->lock);
    if (has_forgotten)
        keeper_wake(volume);
}

static void publish_buckets(struct volume *volume)
{
    struct effects *effects = &volume->commit.effects;
    for (size_t i = 0; i < effects->bucket_count; i++) {
        const struct bucket_change *change = &effects->buckets[i];
        if (!change->created) {
            buckets_remove(volume->buckets, change->bucket.id);
            continue;
        }
        enum err e = buckets_add(volume->buckets, &change->bucket);
        if (e) { /* it is durable, but nobody could see it: only opening anew helps */
            struct err_trail trail = {0};
            (void)err_note(&trail, e, "keep bucket %s in memory", change->bucket.name);
            volume__fail(volume, e, &trail);
        }
    }
}

static void publish(struct volume *volume, const struct commit_round *round)
{
    struct commit *commit = &volume->commit;
    struct effects *effects = &commit->effects;
    settle_segments(volume, round);
    publish_buckets(volume);
    for (size_t i = 0; i < effects->published_count; i++) {
        const struct published_name *name = &effects->published[i];
        cache_forget(volume->cache, name->bucket, bytes_of(name->key, name->key_size));
    }
    if (round->is_synced) {
        reclaim_add(&volume->reclaim, commit->limbo.items, commit->limbo.count);
        commit->limbo.count = 0;
        reclaim_release_held(&volume->reclaim);
        reclaim_add(&volume->reclaim, effects->released, effects->released_count);
    } else {
        reclaim_hold(&volume->reclaim, effects->released, effects->released_count);
    }
    commit_show_log(volume);
    if (effects->gc_pending || round->gc_more)
        atomic_store(&commit->gc_wanted, true);
}

static void answer_all(struct volume *volume, struct commit_round *round)
{
    uint64_t now_ns = clock_mono_ns(volume->clock);
    uint32_t done = 0, mutations = 0;
    for (struct commit_item *item = round->first, *next; item != NULL; item = next) {
        next = item->next; /* answered, it is its owner's */
        struct body *body = commit__body(item);
        if (item->err == ERR_OK && body != NULL)
            body__named(body);
        if (item->kind == COMMIT_MUTATION) {
            mutations++;
            done += item->err == ERR_OK && item->outcome == ERR_OK;
        } else if (item->kind == COMMIT_LOG_APPEND && item->err == ERR_OK) {
            metric_add(&metric_appends, 1);
        }
        metric_observe(&metric_wait, now_ns - item->queued_ns);
        commit__answer(item);
    }
    metric_add(&metric_mutations, done);
    metric_add(&metric_refused, mutations - done);
    atomic_fetch_add_explicit(&volume->commit.mutations, done, memory_order_relaxed);
}

static void keep_in_limbo(void *context, struct data_id data, const struct extent *extent)
{
    struct released_list *limbo = context;
    if (limbo->count == limbo->capacity) {
        size_t capacity = limbo->capacity ? limbo->capacity * 2 : 64;
        struct released_extent *items = realloc(limbo->items, capacity * sizeof *items);
        if (items == NULL)
            return; /* stays taken until the next open */
        limbo->items = items;
        limbo->capacity = capacity;
    }
    limbo->items[limbo->count++] = (struct released_extent){.data = data, .extent = *extent};
}

/* Nothing of the batch is stored, as far as can be told. */
static void refuse_all(struct volume *volume, struct commit_round *round, enum err e,
                       const struct err_trail *trail, struct released_list *limbo)
{
    for (struct commit_item *item = round->first, *next; item != NULL; item = next) {
        next = item->next;
        bool was_in_batch = item->err == ERR_OK;
        if (was_in_batch) {
            item->err = e;
            *commit__trail(item) = *trail;
        }
        struct body *body = commit__body(item);
        if (body != NULL)
            body__orphaned(body, was_in_batch && limbo ? keep_in_limbo : NULL, limbo);
        commit__answer(item);
    }
    metric_add(&metric_refused, round->count);
}

static void take_all(struct commit *commit, struct commit_round *round)
{
    struct commit_line *line;
    while ((line = commit__next_line(commit))->first != NULL)
        join(round, commit__pop(line));
}

/* The volume has failed: whatever is queued is answered so. */
static void refuse_failed(struct volume *volume, struct commit_round *round)
{
    struct err_trail trail = {0};
    enum err e = volume__tell_state(volume, ERR_VOLUME_FAILED, &trail);
    take_all(&volume->commit, round);
    refuse_all(volume, round, e, &trail, NULL);
}

static void write_failed(struct volume *volume, struct commit_round *round, enum err e,
                         struct err_trail *trail)
{
    struct commit *commit = &volume->commit;
    commit->apply.next_bucket_id = round->before.next_bucket_id;
    commit->log = round->before.log;
    commit->copy = round->before.copy;
    commit->log_rows_from = round->before.log_rows_from;
    if (volume->has_log)
        atomic_store(&commit->last_psn, round->before.last_psn);
    if (e == ERR_DISK_FULL || e == ERR_NO_MEMORY) {
        if (e == ERR_DISK_FULL)
            volume__enter_read_only(volume, "the index found no space left on the disk");
        commit->is_blocked = e == ERR_DISK_FULL;
        if (round->has_gc)
            atomic_store(&commit->gc_wanted, true);
        refuse_all(volume, round, e, trail, &commit->limbo);
        return;
    }
    volume__fail(volume, e, trail);
    refuse_failed(volume, round);
}

bool commit__has_work(struct volume *volume)
{
    struct commit *commit = &volume->commit;
    if (commit__next_line(commit)->first != NULL || atomic_load(&commit->probe_wanted))
        return true;
    if (commit->is_blocked || volume->is_damaged || volume->read_only)
        return false;
    bool may_collect = retain_may_collect(commit->copy.phase);
    return (may_collect && atomic_load(&commit->gc_wanted)) || atomic_load(&commit->flush_wanted) ||
           (volume->has_log && has_trim(commit));
}

static void let_keeper_look(struct volume *volume)
{
    struct commit *commit = &volume->commit;
    uint64_t now_ns = clock_mono_ns(volume->clock);
    bool is_due = now_ns - commit->ticked_ns >= TICK_NS || commit->ticked_ns == 0;
    if (is_due)
        commit->ticked_ns = now_ns;
    if (is_due || reclaim_fresh_units(&volume->reclaim) > 0)
        keeper_wake(volume);
}

static void note_before(const struct commit *commit, struct commit_round *round)
{
    round->before.next_bucket_id = commit->apply.next_bucket_id;
    round->before.last_psn = atomic_load(&commit->last_psn);
    round->before.log_rows_from = commit->log_rows_from;
    round->before.log = commit->log;
    round->before.copy = commit->copy;
}

static void run_batch(struct volume *volume, struct commit_round *round)
{
    struct commit *commit = &volume->commit;
    struct err_trail trail = {0};
    kv_batch_clear(commit->batch);
    effects_clear(&commit->effects);
    enum err e = sync_bodies(volume, &trail);
    if (e) {
        volume__fail(volume, e, &trail);
        refuse_failed(volume, round);
        return;
    }
    bool is_probe = atomic_exchange(&commit->probe_wanted, false);
    round->must_write = atomic_exchange(&commit->flush_wanted, false) || is_probe;
    note_before(commit, round);
    gather(volume, round);
    if (round->failed) {
        volume__fail(volume, round->failed, &round->failed_trail);
        refuse_failed(volume, round);
        return;
    }
    if (!volume->is_damaged && !volume->read_only && !(commit->is_blocked && !is_probe)) {
        add_gc(volume, round);
        add_trim(volume, round);
    }
    bool has_applied = commit->log.applied != round->before.log.applied && round->logged > 0;
    if (kv_batch_count(commit->batch) > 0 || round->must_write || has_applied) {
        e = write_batch(volume, round, &trail);
        if (e) {
            write_failed(volume, round, e, &trail);
            return;
        }
        commit->is_blocked = false;
        space_spent(volume, kv_batch_size_bytes(commit->batch));
        if (is_probe)
            volume__leave_read_only(volume);
        publish(volume, round);
    }
    answer_all(volume, round);
    let_keeper_look(volume);
}

bool commit_step(struct volume *volume)
{
    struct commit *commit = &volume->commit;
    commit__take_queue(commit);
    struct commit_round round = {.end = &round.first};
    if (volume__state(volume) == VOLUME_FAILED) {
        bool had = commit__next_line(commit)->first != NULL;
        refuse_failed(volume, &round);
        return had;
    }
    if (!commit__has_work(volume))
        return false;
    asks_disk(commit); /* also what is read to judge the batch */
    run_batch(volume, &round);
    atomic_store_explicit(&commit->under_way, 0, memory_order_relaxed);
    return true;
}
