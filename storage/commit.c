#include "storage/commit.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "base/metric.h"
#include "storage/body_priv.h"
#include "storage/keeper.h"
#include "storage/keys.h"
#include "storage/volume_priv.h"

#define TICK_NS NS_PER_SECOND /* how often a busy committer lets the keeper look at the disk */

static struct metric metric_batches = {.name = "sluice_commit_batches_total",
                                       .help = "Index batches written and synced.",
                                       .kind = METRIC_COUNTER};
static struct metric metric_mutations = {.name = "sluice_commit_mutations_total",
                                         .help = "Changes answered after they were durable.",
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

static void register_metrics(void)
{
    struct metric *all[] = {&metric_batches, &metric_mutations, &metric_refused,
                            &metric_sync,    &metric_write,     &metric_wait};
    for (size_t i = 0; i < COUNT_OF(all); i++)
        metric_register(all[i]);
}

/* ---- life ---- */

void commit_init_locks(struct commit *commit)
{
    CHECK(pthread_mutex_init(&commit->lock, NULL) == 0);
    CHECK(pthread_cond_init(&commit->wake, NULL) == 0);
}

enum err commit_init(struct volume *volume)
{
    struct commit *commit = &volume->commit;
    enum err e = kv_batch_open(&commit->batch);
    if (e)
        return e;
    commit->apply.kv = volume->kv;
    commit->apply.batch = commit->batch;
    commit->apply.effects = &commit->effects;
    commit->apply.buckets = volume->buckets;
    commit->apply.pins = volume->pins;
    atomic_store(&commit->gc_wanted, true); /* what was deferred when the volume was last open */
    register_metrics();
    return ERR_OK;
}

void commit_fini(struct commit *commit)
{
    CHECK(atomic_load(&commit->queue) == NULL);
    CHECK(commit->first == NULL);
    kv_batch_close(commit->batch);
    effects_fini(&commit->effects);
    free(commit->limbo.items);
    pthread_cond_destroy(&commit->wake);
    pthread_mutex_destroy(&commit->lock);
}

/* ---- the queue ---- */

void commit_wake(struct volume *volume)
{
    struct commit *commit = &volume->commit;
    if (!atomic_load(&commit->is_asleep) || !atomic_exchange(&commit->is_asleep, false))
        return;
    pthread_mutex_lock(&commit->lock);
    pthread_cond_signal(&commit->wake);
    pthread_mutex_unlock(&commit->lock);
}

static void deliver(struct loop_msg *msg)
{
    struct mutation *m = CONTAINER_OF(msg, struct mutation, item.msg);
    CHECK_MAGIC(m, MUTATION_MAGIC);
    m->done(m);
}

static void answer(struct mutation *m)
{
    m->body = NULL;
    m->receipt = (struct receipt){
        .synced = m->err == ERR_OK, .replicas_synced = m->err == ERR_OK, .replicas_wanted = 1};
    m->item.msg.deliver = deliver;
    loop_post(m->loop, &m->item.msg);
}

static void enqueue(struct volume *volume, struct commit_item *item)
{
    struct commit *commit = &volume->commit;
    item->queued_ns = clock_mono_ns(volume->clock);
    item->next = atomic_load_explicit(&commit->queue, memory_order_relaxed);
    while (!atomic_compare_exchange_weak(&commit->queue, &item->next, item))
        ;
    commit_wake(volume);
}

void volume_commit(struct volume *volume, struct mutation *m)
{
    CHECK_MAGIC(volume, VOLUME_MAGIC);
    CHECK_MAGIC(m, MUTATION_MAGIC);
    CHECK(m->loop != NULL && m->done != NULL);
    if (m->body != NULL) {
        CHECK_MAGIC(m->body, BODY_MAGIC);
        CHECK(m->body->writes_pending == 0);
        CHECK(!m->body->is_waiting);
        CHECK(m->body->volume == volume);
    }
    if (volume->read_only) { /* there is no committer */
        m->err = volume__tell_state(volume, ERR_READ_ONLY, &m->trail);
        answer(m);
        return;
    }
    m->err = ERR_OK;
    enqueue(volume, &m->item);
}

static void take_queue(struct commit *commit)
{
    if (atomic_load_explicit(&commit->queue, memory_order_relaxed) == NULL)
        return;
    struct commit_item *newest = atomic_exchange(&commit->queue, NULL), *oldest = NULL,
                       *last = newest;
    while (newest != NULL) {
        struct commit_item *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    if (commit->last != NULL)
        commit->last->next = oldest;
    else
        commit->first = oldest;
    commit->last = last;
}

static struct commit_item *pop(struct commit *commit)
{
    struct commit_item *item = commit->first;
    commit->first = item->next;
    if (commit->first == NULL)
        commit->last = NULL;
    item->next = NULL;
    return item;
}

/* ---- one batch ---- */

struct round {
    struct commit_item *first, **end; /* in order, each decided or in the batch */
    uint32_t count;
    uint32_t changes;        /* segment changes in the batch */
    uint32_t next_bucket_id; /* before it */
    bool has_gc, gc_more;
    bool must_write;
};

/* On a volume that has no space left only what gives space back, or needs next to none, is taken.
 */
static bool frees_space(enum mutation_kind kind)
{
    switch (kind) {
    case MUTATION_BUCKET_DELETE:
    case MUTATION_OBJECT_DELETE:
    case MUTATION_UPLOAD_COMPLETE:
    case MUTATION_UPLOAD_ABORT:
    case MUTATION_SETTING_DELETE:
        return true;
    case MUTATION_BUCKET_CREATE:
    case MUTATION_OBJECT_PUT:
    case MUTATION_UPLOAD_CREATE:
    case MUTATION_PART_PUT:
    case MUTATION_SETTING_PUT:
        return false;
    case MUTATION_KIND_COUNT:
        break;
    }
    return false;
}

static struct mutation *mutation_of(struct commit_item *item)
{
    struct mutation *m = CONTAINER_OF(item, struct mutation, item);
    CHECK_MAGIC(m, MUTATION_MAGIC);
    return m;
}

static enum err judge(struct volume *volume, struct mutation *m)
{
    enum volume_state state = volume__state(volume);
    bool takes = state == VOLUME_OK || (state == VOLUME_READ_ONLY && !volume->is_damaged &&
                                        !volume->read_only && frees_space(m->kind));
    if (!takes)
        return volume__tell_state(volume, ERR_READ_ONLY, &m->trail);
    return m->body != NULL ? body__judge(m->body, &m->trail) : ERR_OK;
}

static enum err sync_segment(struct volume *volume, struct segment *segment,
                             struct err_trail *trail)
{
    uint64_t seq = atomic_load(&segment->write_seq), start_ns = clock_mono_ns(volume->clock);
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
    for (struct commit_item *item = volume->commit.first;
         item != NULL && count < COMMIT_MUTATIONS_MAX; item = item->next, count++) {
        struct mutation *m = mutation_of(item);
        m->err = judge(volume, m);
        if (m->err || m->body == NULL)
            continue;
        for (uint32_t i = 0; i < m->body->extent_count; i++) {
            struct segment *segment = segments_find(&volume->segments, m->body->extents[i].segment);
            CHECK(segment != NULL);
            if (m->body->written_seqs[i] <= atomic_load(&segment->sync_seq))
                continue;
            enum err e = sync_segment(volume, segment, trail);
            if (e)
                return e;
        }
    }
    return ERR_OK;
}

static void check_synced(const struct volume *volume, const struct body *body)
{
    for (uint32_t i = 0; i < body->extent_count; i++) {
        const struct segment *segment = segments_find(&volume->segments, body->extents[i].segment);
        CHECK(segment != NULL);
        CHECK(body->written_seqs[i] > 0);
        CHECK(body->written_seqs[i] <= atomic_load(&segment->sync_seq));
    }
}

static enum err number(struct commit *commit, struct mutation *m)
{
    uint64_t last = atomic_load(&commit->last_psn);
    if (m->psn == 0)
        m->psn = last + 1;
    if (m->psn <= last)
        return err_note(&m->trail, ERR_INVALID, "number %llu comes after %llu",
                        (unsigned long long)m->psn, (unsigned long long)last);
    atomic_store(&commit->last_psn, m->psn);
    return ERR_OK;
}

static void apply_one(struct volume *volume, struct mutation *m)
{
    struct commit *commit = &volume->commit;
    if (m->err == ERR_OK)
        m->err = number(commit, m);
    if (m->err == ERR_OK) {
        if (m->body != NULL)
            check_synced(volume, m->body);
        commit->apply.now_ns = clock_real_ns(volume->clock);
        m->err = apply_mutation(&commit->apply, m);
    }
    if (m->err && m->body != NULL) {
        body__dropped(m->body);
        m->body = NULL;
    }
}

static void gather(struct volume *volume, struct round *round)
{
    struct commit *commit = &volume->commit;
    while (commit->first != NULL && round->count < COMMIT_MUTATIONS_MAX &&
           kv_batch_size_bytes(commit->batch) < COMMIT_BATCH_BYTES_MAX) {
        struct commit_item *item = pop(commit);
        apply_one(volume, mutation_of(item));
        *round->end = item;
        round->end = &item->next;
        round->count++;
    }
}

static void add_gc(struct volume *volume, struct round *round)
{
    struct commit *commit = &volume->commit;
    if (!atomic_exchange(&commit->gc_wanted, false) || commit->gc_is_broken)
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

static enum err add_segments(struct volume *volume, struct round *round)
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

static enum err write_batch(struct volume *volume, struct round *round, struct err_trail *trail)
{
    struct commit *commit = &volume->commit;
    enum err e = add_segments(volume, round);
    if (e == ERR_OK)
        e = add_sys(volume);
    if (e)
        return err_note(trail, e, "gather a batch of the index");
    uint64_t start_ns = clock_mono_ns(volume->clock);
    e = volume->kv->ops->write(volume->kv, commit->batch, true, trail);
    if (e)
        return e;
    metric_observe(&metric_write, clock_mono_ns(volume->clock) - start_ns);
    metric_add(&metric_batches, 1);
    atomic_fetch_add(&commit->seq, 1);
    atomic_fetch_add(&commit->batches, 1);
    return ERR_OK;
}

/* ---- afterwards ---- */

static void settle_segments(struct volume *volume, const struct round *round)
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

static void publish(struct volume *volume, const struct round *round)
{
    struct commit *commit = &volume->commit;
    struct effects *effects = &commit->effects;
    settle_segments(volume, round);
    publish_buckets(volume);
    for (size_t i = 0; i < effects->published_count; i++) {
        const struct published_name *name = &effects->published[i];
        cache_forget(volume->cache, name->bucket, bytes_of(name->key, name->key_size));
    }
    reclaim_add(&volume->reclaim, commit->limbo.items, commit->limbo.count);
    commit->limbo.count = 0;
    reclaim_add(&volume->reclaim, effects->released, effects->released_count);
    if (effects->gc_pending || round->gc_more)
        atomic_store(&commit->gc_wanted, true);
}

static void answer_all(struct volume *volume, struct round *round)
{
    uint64_t now_ns = clock_mono_ns(volume->clock);
    uint32_t done = 0;
    for (struct commit_item *item = round->first, *next; item != NULL; item = next) {
        struct mutation *m = mutation_of(item);
        next = item->next; /* answered, it is its owner's */
        if (m->err == ERR_OK && m->body != NULL)
            body__named(m->body);
        done += m->err == ERR_OK;
        metric_observe(&metric_wait, now_ns - m->item.queued_ns);
        answer(m);
    }
    metric_add(&metric_mutations, done);
    metric_add(&metric_refused, round->count - done);
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
static void refuse_all(struct volume *volume, struct round *round, enum err e,
                       const struct err_trail *trail, struct released_list *limbo)
{
    for (struct commit_item *item = round->first, *next; item != NULL; item = next) {
        struct mutation *m = mutation_of(item);
        next = item->next;
        bool was_in_batch = m->err == ERR_OK;
        if (was_in_batch) {
            m->err = e;
            m->trail = *trail;
        }
        if (m->body != NULL)
            body__orphaned(m->body, was_in_batch && limbo ? keep_in_limbo : NULL, limbo);
        answer(m);
    }
    metric_add(&metric_refused, round->count);
}

static void take_all(struct commit *commit, struct round *round)
{
    while (commit->first != NULL) {
        struct commit_item *item = pop(commit);
        *round->end = item;
        round->end = &item->next;
        round->count++;
    }
}

/* The volume has failed: whatever is queued is answered so. */
static void refuse_failed(struct volume *volume, struct round *round)
{
    struct err_trail trail = {0};
    enum err e = volume__tell_state(volume, ERR_VOLUME_FAILED, &trail);
    take_all(&volume->commit, round);
    refuse_all(volume, round, e, &trail, NULL);
}

static void write_failed(struct volume *volume, struct round *round, enum err e,
                         struct err_trail *trail)
{
    struct commit *commit = &volume->commit;
    commit->apply.next_bucket_id = round->next_bucket_id;
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

static bool has_work(struct volume *volume)
{
    struct commit *commit = &volume->commit;
    if (commit->first != NULL || atomic_load(&commit->probe_wanted))
        return true;
    if (commit->is_blocked || volume->is_damaged || volume->read_only)
        return false;
    return atomic_load(&commit->gc_wanted) || atomic_load(&commit->flush_wanted);
}

static void let_keeper_look(struct volume *volume)
{
    struct commit *commit = &volume->commit;
    uint64_t now_ns = clock_mono_ns(volume->clock);
    bool is_due = now_ns - commit->ticked_ns >= TICK_NS || commit->ticked_ns == 0;
    if (is_due)
        commit->ticked_ns = now_ns;
    if (is_due || reclaim_coming_units(&volume->reclaim) > 0)
        keeper_wake(volume);
}

static void run_batch(struct volume *volume, struct round *round)
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
    round->next_bucket_id = commit->apply.next_bucket_id;
    gather(volume, round);
    if (!volume->is_damaged && !volume->read_only && !(commit->is_blocked && !is_probe))
        add_gc(volume, round);
    if (kv_batch_count(commit->batch) > 0 || round->must_write) {
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
    take_queue(commit);
    struct round round = {.end = &round.first};
    if (volume__state(volume) == VOLUME_FAILED) {
        bool had = commit->first != NULL;
        refuse_failed(volume, &round);
        return had;
    }
    if (!has_work(volume))
        return false;
    run_batch(volume, &round);
    return true;
}

/* ---- the thread ---- */

static void sleep_until_woken(struct volume *volume)
{
    struct commit *commit = &volume->commit;
    pthread_mutex_lock(&commit->lock);
    for (;;) {
        atomic_store(&commit->is_asleep, true);
        bool has = atomic_load(&commit->queue) != NULL || has_work(volume) ||
                   atomic_load(&commit->is_stopping);
        if (has)
            break;
        pthread_cond_wait(&commit->wake, &commit->lock);
    }
    atomic_store(&commit->is_asleep, false);
    pthread_mutex_unlock(&commit->lock);
}

void *commit_run(void *context)
{
    struct volume *volume = context;
    struct commit *commit = &volume->commit;
    (void)pthread_setname_np(pthread_self(), "committer");
    while (!atomic_load(&commit->is_stopping))
        if (!commit_step(volume))
            sleep_until_woken(volume);
    return NULL;
}

void commit_stop(struct volume *volume)
{
    struct commit *commit = &volume->commit;
    pthread_mutex_lock(&commit->lock);
    atomic_store(&commit->is_stopping, true);
    pthread_cond_signal(&commit->wake);
    pthread_mutex_unlock(&commit->lock);
}

void commit_drain(struct volume *volume)
{
    struct commit *commit = &volume->commit;
    while (atomic_load(&commit->queue) != NULL || commit->first != NULL)
        (void)commit_step(volume);
    atomic_store(&commit->flush_wanted, commit->change_count > 0);
    (void)commit_step(volume);
}

/* ---- segments on their way ---- */

bool commit_segment(struct volume *volume, struct segment_change change)
{
    struct commit *commit = &volume->commit;
    pthread_mutex_lock(&commit->lock);
    bool fits = commit->change_count + commit->forgotten_count < COMMIT_SEGMENTS_MAX;
    if (fits)
        commit->changes[commit->change_count++] = change;
    pthread_mutex_unlock(&commit->lock);
    return fits;
}

bool commit_has_room(struct volume *volume, uint32_t changes)
{
    struct commit *commit = &volume->commit;
    pthread_mutex_lock(&commit->lock);
    bool fits = commit->change_count + commit->forgotten_count + changes <= COMMIT_SEGMENTS_MAX;
    pthread_mutex_unlock(&commit->lock);
    return fits;
}

uint32_t commit_take_forgotten(struct volume *volume, uint32_t numbers[COMMIT_SEGMENTS_MAX])
{
    struct commit *commit = &volume->commit;
    pthread_mutex_lock(&commit->lock);
    uint32_t count = commit->forgotten_count;
    memcpy(numbers, commit->forgotten, count * sizeof numbers[0]);
    commit->forgotten_count = 0;
    pthread_mutex_unlock(&commit->lock);
    return count;
}
