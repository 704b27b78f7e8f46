#include "storage/commit_priv.h"

#include <stdlib.h>

#include "base/check.h"
#include "storage/body_priv.h"
#include "storage/volume_priv.h"

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
    commit__register_metrics();
    return ERR_OK;
}

void commit_fini(struct commit *commit)
{
    CHECK(atomic_load(&commit->queue) == NULL);
    CHECK(commit__next_line(commit)->first == NULL);
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

static void enqueue(struct volume *volume, struct commit_item *item, enum commit_kind kind)
{
    struct commit *commit = &volume->commit;
    item->kind = (uint8_t)kind;
    item->err = item->outcome = ERR_OK;
    item->queued_ns = clock_mono_ns(volume->clock);
    if (volume->read_only) { /* there is no committer */
        item->err = volume__tell_state(volume, ERR_READ_ONLY, commit__trail(item));
        commit__answer(item);
        return;
    }
    item->next = atomic_load_explicit(&commit->queue, memory_order_relaxed);
    while (!atomic_compare_exchange_weak(&commit->queue, &item->next, item))
        ;
    commit_wake(volume);
}

static void check_body(const struct volume *volume, const struct body *body)
{
    if (body == NULL)
        return;
    CHECK_MAGIC(body, BODY_MAGIC);
    CHECK(body->writes_pending == 0);
    CHECK(!body->is_waiting);
    CHECK(body->volume == volume);
}

void volume_commit(struct volume *volume, struct mutation *m)
{
    CHECK_MAGIC(volume, VOLUME_MAGIC);
    CHECK_MAGIC(m, MUTATION_MAGIC);
    CHECK(m->loop != NULL && m->done != NULL);
    CHECK(!m->is_logged || (volume->has_log && m->body == NULL));
    check_body(volume, m->body);
    enqueue(volume, &m->item, COMMIT_MUTATION);
}

void volume_log_append(struct volume *volume, struct log_append *append)
{
    CHECK_MAGIC(volume, VOLUME_MAGIC);
    CHECK_MAGIC(append, LOG_APPEND_MAGIC);
    CHECK(append->loop != NULL && append->done != NULL);
    CHECK(volume->has_log);
    check_body(volume, append->body);
    enqueue(volume, &append->item, COMMIT_LOG_APPEND);
}

void volume_log_save(struct volume *volume, struct log_save *save)
{
    CHECK_MAGIC(volume, VOLUME_MAGIC);
    CHECK_MAGIC(save, LOG_SAVE_MAGIC);
    CHECK(save->loop != NULL && save->done != NULL);
    CHECK(volume->has_log);
    enqueue(volume, &save->item, COMMIT_LOG_SAVE);
}

void volume_copy(struct volume *volume, struct copy_step *step)
{
    CHECK_MAGIC(volume, VOLUME_MAGIC);
    CHECK_MAGIC(step, COPY_STEP_MAGIC);
    CHECK(step->loop != NULL && step->done != NULL);
    CHECK(volume->has_log && (step->kind == COPY_STEP_DATA) == (step->body != NULL));
    check_body(volume, step->body);
    step->has_more = false;
    step->rows = 0;
    enqueue(volume, &step->item, COMMIT_COPY);
}

void volume_log_trim(struct volume *volume, uint64_t below_psn)
{
    CHECK_MAGIC(volume, VOLUME_MAGIC);
    CHECK(volume->has_log);
    struct commit *commit = &volume->commit;
    uint64_t before = atomic_load(&commit->trim_below);
    while (before < below_psn &&
           !atomic_compare_exchange_weak(&commit->trim_below, &before, below_psn))
        ;
    if (before < below_psn)
        commit_wake(volume);
}

/* Whether it only applies what the log holds: its batch needs no sync. */
static bool is_replay(const struct commit_item *item)
{
    return item->kind == COMMIT_MUTATION && CONTAINER_OF(item, struct mutation, item)->is_logged;
}

static void push(struct commit_line *line, struct commit_item *item)
{
    item->next = NULL;
    if (line->first == NULL)
        line->first = item;
    else
        line->last->next = item;
    line->last = item;
}

void commit__take_queue(struct commit *commit)
{
    if (atomic_load_explicit(&commit->queue, memory_order_relaxed) == NULL)
        return;
    struct commit_item *newest = atomic_exchange(&commit->queue, NULL), *oldest = NULL;
    while (newest != NULL) {
        struct commit_item *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest != NULL) {
        struct commit_item *next = oldest->next;
        push(is_replay(oldest) ? &commit->replays : &commit->own, oldest);
        oldest = next;
    }
}

/*
 * What only applies goes first: it is written without a sync, so it is answered before the batch
 * behind it waits for the disk. The two lines do not depend on each other: a record is applied only
 * after its row is durable, and rows that are cut are not applied.
 */
struct commit_line *commit__next_line(struct commit *commit)
{
    return commit->replays.first != NULL ? &commit->replays : &commit->own;
}

struct commit_item *commit__pop(struct commit_line *line)
{
    struct commit_item *item = line->first;
    line->first = item->next;
    if (line->first == NULL)
        line->last = NULL;
    item->next = NULL;
    return item;
}

/* ---- the thread ---- */

static void sleep_until_woken(struct volume *volume)
{
    struct commit *commit = &volume->commit;
    pthread_mutex_lock(&commit->lock);
    for (;;) {
        atomic_store(&commit->is_asleep, true);
        bool has = atomic_load(&commit->queue) != NULL || commit__has_work(volume) ||
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
    while (atomic_load(&commit->queue) != NULL || commit__next_line(commit)->first != NULL)
        (void)commit_step(volume);
    bool is_unsynced = atomic_load(&commit->seq) != atomic_load(&commit->synced_seq);
    bool will_be = volume->has_log && commit__has_work(volume); /* without anybody who waits */
    atomic_store(&commit->flush_wanted, commit->change_count > 0 || is_unsynced || will_be);
    (void)commit_step(volume);
}

void commit_show_log(struct volume *volume)
{
    struct commit *commit = &volume->commit;
    if (!volume->has_log)
        return;
    pthread_mutex_lock(&commit->lock);
    commit->log_shown = commit->log;
    commit->copy_shown = commit->copy;
    pthread_mutex_unlock(&commit->lock);
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
