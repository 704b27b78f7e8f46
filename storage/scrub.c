#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "base/metric.h"
#include "storage/scrub_priv.h"
#include "storage/volume_priv.h"

static struct metric verified_bytes = {.name = "sluice_scrub_verified_bytes_total",
                                       .help = "Stored bytes read and held against their sums",
                                       .kind = METRIC_COUNTER};
static struct metric damaged_chunks = {.name = "sluice_scrub_damaged_chunks_total",
                                       .help = "Chunks of 64 KiB that did not match their sums",
                                       .kind = METRIC_COUNTER};
static struct metric repaired_chunks = {.name = "sluice_scrub_repaired_chunks_total",
                                        .help = "Of these, rewritten with right bytes of a peer",
                                        .kind = METRIC_COUNTER};
static struct metric passes = {.name = "sluice_scrub_passes_total",
                               .help = "Times that all of the volume was read",
                               .kind = METRIC_COUNTER};

const char *scrub_state_name(enum scrub_state state)
{
    static const char *const names[] = {
        [SCRUB_NEVER] = "never",
        [SCRUB_RUNNING] = "running",
        [SCRUB_PAUSED] = "paused",
        [SCRUB_DONE] = "done",
    };
    CHECK((unsigned)state < COUNT_OF(names));
    return names[state];
}

static uint64_t real_now(const struct scrub *scrub)
{
    return clock_real_ns(scrub->options.volume->clock);
}

/* Best effort: what is lost of it is read again. The caller has no lock. */
static void write_note(struct scrub *scrub)
{
    pthread_mutex_lock(&scrub->lock);
    struct scrub_note note = scrub->note;
    scrub->noted_bytes = note.status.verified_bytes;
    pthread_mutex_unlock(&scrub->lock);
    enum err e = scrub__note_write(scrub->options.volume, &note);
    if (e)
        LOG_LIMITED(LOG_WARN, "storage", "scrub: where it has come to is not kept: %s",
                    err_text(e));
}

/* ---- beginning a pass; under the lock ---- */

static void begin_pass(struct scrub *scrub)
{
    struct scrub_status *status = &scrub->note.status;
    *status = (struct scrub_status){
        .state = SCRUB_RUNNING, .rate_bytes = status->rate_bytes, .started_ns = real_now(scrub)};
    scrub->note.place = (struct scrub_place){.phase = SCRUB_EXTENTS};
    scrub->is_anew = true;
}

/* Until a pass begins by itself; UINT64_MAX: none does. */
static uint64_t due_in_ns(const struct scrub *scrub)
{
    const struct scrub_status *status = &scrub->note.status;
    bool may = status->state == SCRUB_NEVER || status->state == SCRUB_DONE;
    if (scrub->options.every_ns == 0 || !may)
        return UINT64_MAX; /* one that somebody paused stays so */
    uint64_t from_ns =
        status->started_ns > scrub->note.since_ns ? status->started_ns : scrub->note.since_ns;
    uint64_t now_ns = real_now(scrub), gone_ns = now_ns > from_ns ? now_ns - from_ns : 0;
    return gone_ns < scrub->options.every_ns ? scrub->options.every_ns - gone_ns : 0;
}

/* ---- a step ---- */

static void count(const struct scrub_result *result)
{
    metric_add(&verified_bytes, (int64_t)result->verified_bytes);
    metric_add(&damaged_chunks, result->damaged);
    metric_add(&repaired_chunks, result->repaired);
    metric_add(&passes, result->ended_pass);
}

/* Under the lock. True: the note is to be written. */
static bool take_in(struct scrub *scrub, const struct scrub_result *result)
{
    struct scrub_status *status = &scrub->note.status;
    scrub->note.place = result->place;
    status->verified_bytes += result->verified_bytes;
    status->damaged += result->damaged;
    status->repaired += result->repaired;
    status->data_count += result->ended_data;
    if (result->sentence[0] != '\0')
        snprintf(status->sentence, sizeof status->sentence, "%s", result->sentence);
    if (result->err) {
        status->state = SCRUB_PAUSED;
        snprintf(status->sentence, sizeof status->sentence, "paused: %s", err_text(result->err));
    } else if (result->ended_pass) {
        status->state = SCRUB_DONE;
        status->ended_ns = real_now(scrub);
    }
    return status->state != SCRUB_RUNNING ||
           status->verified_bytes - scrub->noted_bytes >= SCRUB_NOTE_BYTES;
}

static bool step(struct scrub *scrub, uint64_t *ret_bytes)
{
    pthread_mutex_lock(&scrub->lock);
    bool is_due = due_in_ns(scrub) == 0;
    if (is_due)
        begin_pass(scrub);
    bool is_running = scrub->note.status.state == SCRUB_RUNNING && !scrub->is_stopping;
    struct scrub_place place = scrub->note.place;
    if (scrub->is_anew) {
        scrub->is_anew = false;
        scrub__walk_reset(scrub);
    }
    pthread_mutex_unlock(&scrub->lock);
    *ret_bytes = 0;
    if (!is_running) {
        scrub__walk_reset(scrub); /* nothing stays pinned while it rests */
        return false;
    }
    struct scrub_result result;
    scrub__walk(scrub, &place, &result);
    count(&result);
    pthread_mutex_lock(&scrub->lock);
    bool is_noted = !scrub->is_anew && take_in(scrub, &result);
    struct scrub_status status = scrub->note.status;
    pthread_mutex_unlock(&scrub->lock);
    if (is_noted || is_due)
        write_note(scrub);
    if (result.ended_pass)
        LOG(LOG_INFO, "storage",
            "scrub: all was read bytes=%llu damaged_chunks=%llu repaired_chunks=%llu",
            (unsigned long long)status.verified_bytes, (unsigned long long)status.damaged,
            (unsigned long long)status.repaired);
    *ret_bytes = result.verified_bytes;
    return true;
}

bool scrub_step(struct scrub *scrub)
{
    CHECK_MAGIC(scrub, SCRUB_MAGIC);
    CHECK(!scrub->has_thread);
    uint64_t bytes;
    return step(scrub, &bytes);
}

/* ---- the thread ---- */

#define LOOK_NS (3600 * NS_PER_SECOND) /* the clock on the wall may be set */

/* Until told something, or for the time that so many bytes may take. UINT64_MAX: for as long as
 * there is nothing to do. */
static void rest(struct scrub *scrub, uint64_t for_ns)
{
    bool is_idle = for_ns == UINT64_MAX;
    pthread_mutex_lock(&scrub->lock);
    if (is_idle)
        for_ns = due_in_ns(scrub);
    pthread_mutex_unlock(&scrub->lock);
    bool is_timed = for_ns != UINT64_MAX;
    if (is_idle && is_timed && for_ns > LOOK_NS)
        for_ns = LOOK_NS;
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until); /* what the condition variable counts in */
    uint64_t until_ns =
        (uint64_t)until.tv_sec * NS_PER_SECOND + (uint64_t)until.tv_nsec + (is_timed ? for_ns : 0);
    until.tv_sec = (time_t)(until_ns / NS_PER_SECOND);
    until.tv_nsec = (long)(until_ns % NS_PER_SECOND);
    pthread_mutex_lock(&scrub->lock);
    int rc = 0;
    while (rc == 0 && !scrub->is_stopping) {
        if (is_idle && scrub->note.status.state == SCRUB_RUNNING)
            break;
        rc = is_timed ? pthread_cond_timedwait(&scrub->wake, &scrub->lock, &until)
                      : pthread_cond_wait(&scrub->wake, &scrub->lock);
    }
    pthread_mutex_unlock(&scrub->lock);
}

static uint64_t rate_now(struct scrub *scrub)
{
    pthread_mutex_lock(&scrub->lock);
    uint64_t rate = scrub->note.status.rate_bytes;
    pthread_mutex_unlock(&scrub->lock);
    return rate;
}

static bool is_stopping(struct scrub *scrub)
{
    pthread_mutex_lock(&scrub->lock);
    bool result = scrub->is_stopping;
    pthread_mutex_unlock(&scrub->lock);
    return result;
}

static void *run(void *context)
{
    struct scrub *scrub = context;
    pthread_setname_np(pthread_self(), "scrub");
    uint64_t owed_bytes = 0; /* small ones together: a sleep each would slow them down */
    while (!is_stopping(scrub)) {
        uint64_t bytes;
        if (!step(scrub, &bytes)) {
            rest(scrub, UINT64_MAX);
            continue;
        }
        owed_bytes += bytes;
        if (owed_bytes < SCRUB_READ_BYTES)
            continue;
        rest(scrub, owed_bytes * NS_PER_SECOND / rate_now(scrub));
        owed_bytes = 0;
    }
    return NULL;
}

/* ---- asked for ---- */

enum err scrub_start(struct scrub *scrub, uint64_t rate_bytes, bool anew, struct err_trail *trail)
{
    CHECK_MAGIC(scrub, SCRUB_MAGIC);
    if (rate_bytes != 0 && (rate_bytes < SCRUB_RATE_MIN || rate_bytes > SCRUB_RATE_MAX))
        return err_say(trail, ERR_INVALID, "the rate is from 1 MiB to 16 GiB a second");
    pthread_mutex_lock(&scrub->lock);
    struct scrub_status *status = &scrub->note.status;
    if (rate_bytes != 0)
        status->rate_bytes = rate_bytes;
    bool is_new = anew || status->state == SCRUB_NEVER || status->state == SCRUB_DONE;
    if (is_new) {
        *status =
            (struct scrub_status){.rate_bytes = status->rate_bytes, .started_ns = real_now(scrub)};
        scrub->note.place = (struct scrub_place){.phase = SCRUB_EXTENTS};
        scrub->is_anew = true;
    }
    status->state = SCRUB_RUNNING;
    status->sentence[0] = '\0';
    pthread_cond_signal(&scrub->wake);
    pthread_mutex_unlock(&scrub->lock);
    write_note(scrub);
    return ERR_OK;
}

void scrub_pause(struct scrub *scrub)
{
    CHECK_MAGIC(scrub, SCRUB_MAGIC);
    pthread_mutex_lock(&scrub->lock);
    bool was_running = scrub->note.status.state == SCRUB_RUNNING;
    if (was_running)
        scrub->note.status.state = SCRUB_PAUSED;
    pthread_mutex_unlock(&scrub->lock);
    if (was_running)
        write_note(scrub);
}

void scrub_status(struct scrub *scrub, struct scrub_status *ret_status)
{
    CHECK_MAGIC(scrub, SCRUB_MAGIC);
    struct volume_status volume;
    volume_status(scrub->options.volume, &volume);
    pthread_mutex_lock(&scrub->lock);
    *ret_status = scrub->note.status;
    pthread_mutex_unlock(&scrub->lock);
    ret_status->total_bytes = volume.used_bytes;
}

/* ---- life ---- */

static void init_lock(struct scrub *scrub)
{
    pthread_condattr_t monotonic;
    CHECK(pthread_condattr_init(&monotonic) == 0);
    CHECK(pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(&scrub->wake, &monotonic) == 0);
    CHECK(pthread_mutex_init(&scrub->lock, NULL) == 0);
    pthread_condattr_destroy(&monotonic);
}

static void restore(struct scrub *scrub)
{
    enum err e = scrub__note_read(scrub->options.volume, &scrub->note);
    if (e == ERR_OK) {
        scrub->noted_bytes = scrub->note.status.verified_bytes;
        return;
    }
    scrub->note = (struct scrub_note){.status = {.rate_bytes = SCRUB_RATE_DEFAULT}};
    if (e != ERR_NO_SUCH_FILE)
        LOG(LOG_WARN, "storage", "scrub: where it had come to is lost, so it begins anew: %s",
            err_text(e));
}

enum err scrub_open(const struct scrub_options *options, struct scrub **ret_scrub,
                    struct err_trail *trail)
{
    CHECK_MAGIC(options->volume, VOLUME_MAGIC);
    struct scrub *scrub = calloc(1, sizeof *scrub);
    if (scrub == NULL)
        return err_note(trail, ERR_NO_MEMORY, "scrub");
    scrub->memory = aligned_alloc(DISK_ALIGN, SCRUB_READ_BYTES);
    scrub->magic = SCRUB_MAGIC;
    scrub->options = *options;
    init_lock(scrub);
    metric_register(&verified_bytes);
    metric_register(&damaged_chunks);
    metric_register(&repaired_chunks);
    metric_register(&passes);
    restore(scrub);
    if (scrub->note.since_ns == 0 && options->every_ns > 0) {
        scrub->note.since_ns = real_now(scrub);
        write_note(scrub);
    }
    bool wants_thread = options->volume->threads == VOLUME_THREADS;
    bool has_memory = scrub->memory != NULL;
    if (has_memory && wants_thread)
        scrub->has_thread = pthread_create(&scrub->thread, NULL, run, scrub) == 0;
    if (!has_memory || scrub->has_thread != wants_thread) {
        scrub_close(scrub);
        return err_note(trail, ERR_NO_MEMORY, "scrub: a thread and its memory");
    }
    *ret_scrub = scrub;
    return ERR_OK;
}

void scrub_close(struct scrub *scrub)
{
    if (scrub == NULL)
        return;
    CHECK_MAGIC(scrub, SCRUB_MAGIC);
    pthread_mutex_lock(&scrub->lock);
    scrub->is_stopping = true;
    pthread_cond_signal(&scrub->wake);
    pthread_mutex_unlock(&scrub->lock);
    if (scrub->has_thread)
        pthread_join(scrub->thread, NULL);
    scrub__walk_reset(scrub);
    if (scrub->note.status.verified_bytes != scrub->noted_bytes)
        write_note(scrub);
    pthread_cond_destroy(&scrub->wake);
    pthread_mutex_destroy(&scrub->lock);
    free(scrub->memory);
    scrub->magic = 0;
    free(scrub);
}
