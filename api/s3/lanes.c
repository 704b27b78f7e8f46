#include "api/s3/lanes.h"

#include "base/metric.h"

#define STEP_LANES_MAX 16u /* no CPU has vectors for more: digest_md5_lanes() */

static struct metric metric_bytes = {
    .name = "sluice_md5_bytes_total", .help = "Bytes hashed for ETags.", .kind = METRIC_COUNTER};
static struct metric metric_steps = {.name = "sluice_md5_steps_total",
                                     .help = "Steps in which they were hashed.",
                                     .kind = METRIC_COUNTER};
static struct metric metric_lanes = {.name = "sluice_md5_lanes_total",
                                     .help = "Uploads hashed side by side, summed over steps.",
                                     .kind = METRIC_COUNTER};

static void look(struct loop_msg *msg);

/* ---- life ---- */

void s3_lanes_init(struct s3_lanes *lanes)
{
    *lanes = (struct s3_lanes){0};
    CHECK(pthread_mutex_init(&lanes->lock, NULL) == 0);
    list_init(&lanes->shared.filled);
    metric_register(&metric_bytes);
    metric_register(&metric_steps);
    metric_register(&metric_lanes);
}

void s3_lanes_fini(struct s3_lanes *lanes)
{
    CHECK(list_is_empty(&lanes->shared.filled) && lanes->shared.expected == 0);
    CHECK(pthread_mutex_destroy(&lanes->lock) == 0);
}

void s3_lane_worker_init(struct s3_lane_worker *worker, struct s3_lanes *lanes)
{
    *worker = (struct s3_lane_worker){.lanes = lanes, .look.deliver = look};
    list_init(&worker->own.filled);
}

/* The worker's own set needs no lock, and takes none. */
static void set_lock(struct s3_lane_worker *worker, const struct s3_lane_set *set)
{
    if (set == &worker->lanes->shared)
        CHECK(pthread_mutex_lock(&worker->lanes->lock) == 0);
}

static void set_unlock(struct s3_lane_worker *worker, const struct s3_lane_set *set)
{
    if (set == &worker->lanes->shared)
        CHECK(pthread_mutex_unlock(&worker->lanes->lock) == 0);
}

void s3_lane_open(struct s3_lane *lane, struct s3_lane_worker *worker, struct loop *loop,
                  uint64_t size)
{
    if (worker->loop == NULL) /* written once: other workers read it */
        worker->loop = loop;
    CHECK(worker->loop == loop);
    *lane = (struct s3_lane){
        .worker = worker,
        .set = size >= LANE_SHARED_BYTES_MIN ? &worker->lanes->shared : &worker->own,
        .is_open = true,
    };
    list_init(&lane->jobs);
    set_lock(worker, lane->set);
    lane->set->expected++;
    set_unlock(worker, lane->set);
}

void s3_lane_close(struct s3_lane *lane)
{
    if (!lane->is_open)
        return;
    lane->is_open = false;
    set_lock(lane->worker, lane->set);
    CHECK(lane->set->expected > 0);
    lane->set->expected--;
    set_unlock(lane->worker, lane->set);
}

void s3_lane_drop(struct s3_lane *lane)
{
    atomic_store_explicit(&lane->is_unwanted, true, memory_order_relaxed);
}

/* ---- waiting ---- */

/* Messages are delivered when the turn's callbacks are through. */
static void look_later(struct s3_lane_worker *worker)
{
    if (worker->is_posted)
        return;
    worker->is_posted = true;
    loop_post(worker->loop, &worker->look);
}

static void set_fill(struct s3_lane_set *set, struct s3_lane *lane)
{
    list_push_back(&set->filled, &lane->link);
    set->filled_count++;
}

void s3_lane_add(struct s3_lane *lane, struct s3_lane_job *job)
{
    CHECK(lane->is_open);
    job->lane = lane;
    job->done_size = 0;
    set_lock(lane->worker, lane->set);
    if (list_is_empty(&lane->jobs))
        set_fill(lane->set, lane);
    list_push_back(&lane->jobs, &job->link);
    lane->set->added++;
    set_unlock(lane->worker, lane->set);
    look_later(lane->worker);
}

/* ---- a step ---- */

struct step {
    struct s3_lane_job *jobs[STEP_LANES_MAX]; /* each of another lane */
    unsigned count;
};

static void set_take(struct s3_lane_set *set, struct step *step)
{
    while (step->count < STEP_LANES_MAX && set->filled_count > 0) {
        struct s3_lane *lane = LIST_ENTRY(list_pop_front(&set->filled), struct s3_lane, link);
        lane->is_taken = true;
        set->filled_count--;
        set->taken_count++;
        step->jobs[step->count++] = LIST_ENTRY(list_first(&lane->jobs), struct s3_lane_job, link);
    }
}

static void hash(struct step *step)
{
    struct digest_feed feeds[STEP_LANES_MAX];
    unsigned count = 0;
    int64_t bytes = 0;
    for (unsigned i = 0; i < step->count; i++) {
        struct s3_lane_job *job = step->jobs[i];
        uint32_t left = job->size - job->done_size;
        if (atomic_load_explicit(&job->lane->is_unwanted, memory_order_relaxed)) {
            job->done_size = job->size;
            continue;
        }
        uint32_t size = left < LANE_STEP_BYTES ? left : LANE_STEP_BYTES;
        feeds[count++] = (struct digest_feed){job->digest, job->data + job->done_size, size};
        job->done_size += size;
        bytes += size;
    }
    digest_update_md5s(feeds, count);
    metric_add(&metric_bytes, bytes);
    metric_add(&metric_lanes, count);
    metric_add(&metric_steps, count > 0);
}

/* Back in line, if there is more; jobs that are done leave their lane. */
static void set_put_back(struct s3_lane_set *set, const struct step *step)
{
    for (unsigned i = 0; i < step->count; i++) {
        struct s3_lane *lane = step->jobs[i]->lane;
        if (step->jobs[i]->done_size == step->jobs[i]->size)
            list_remove(&step->jobs[i]->link);
        lane->is_taken = false;
        set->taken_count--;
        if (!list_is_empty(&lane->jobs))
            set_fill(set, lane);
    }
}

static void deliver_hashed(struct loop_msg *msg)
{
    struct s3_lane_job *job = CONTAINER_OF(msg, struct s3_lane_job, msg);
    job->hashed(job);
}

static void tell(struct s3_lane_worker *worker, struct s3_lane_job *job)
{
    struct s3_lane_worker *whose = job->lane->worker;
    if (whose == worker) {
        job->hashed(job);
        return;
    }
    job->msg.deliver = deliver_hashed;
    loop_post(whose->loop, &job->msg);
}

/* True: there are lanes with jobs left in the set. */
static bool run(struct s3_lane_worker *worker, struct s3_lane_set *set, struct step *step)
{
    bool is_done[STEP_LANES_MAX];
    ring_flush(loop_ring(worker->loop)); /* disks and sockets go on meanwhile */
    hash(step);
    for (unsigned i = 0; i < step->count; i++)
        is_done[i] = step->jobs[i]->done_size == step->jobs[i]->size;
    set_lock(worker, set);
    set_put_back(set, step);
    bool more = set->filled_count > 0;
    set_unlock(worker, set);
    for (unsigned i = 0; i < step->count; i++) /* a job told of, or its lane, may be gone */
        if (is_done[i])
            tell(worker, step->jobs[i]);
    return more;
}

/* Whether the shared lanes are this worker's to hash now. */
static bool may_take_shared(struct s3_lane_worker *worker)
{
    struct s3_lane_set *set = &worker->lanes->shared;
    bool comes_more = set->added != worker->looked;
    worker->looked = set->added;
    if (set->filled_count >= digest_md5_lanes())
        return true;
    if (set->taken_count > 0)
        return false; /* whoever hashes now takes them next */
    return set->filled_count >= set->expected || !comes_more;
}

static bool look_at_own(struct s3_lane_worker *worker)
{
    struct step step = {.count = 0};
    set_take(&worker->own, &step);
    return step.count > 0 && run(worker, &worker->own, &step);
}

static bool look_at_shared(struct s3_lane_worker *worker)
{
    struct s3_lane_set *shared = &worker->lanes->shared;
    struct step step = {.count = 0};
    set_lock(worker, shared);
    if (may_take_shared(worker))
        set_take(shared, &step);
    bool more = shared->filled_count > 0 && shared->taken_count == 0;
    set_unlock(worker, shared);
    return step.count > 0 ? run(worker, shared, &step) : more;
}

static void look(struct loop_msg *msg)
{
    struct s3_lane_worker *worker = CONTAINER_OF(msg, struct s3_lane_worker, look);
    worker->is_posted = false;
    bool more_own = look_at_own(worker); /* first: they are short */
    bool more_shared = look_at_shared(worker);
    if (more_own || more_shared)
        look_later(worker);
}
