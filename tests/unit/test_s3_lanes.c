/* MD5s that meet: every upload gets its own right and hears of it on its own loop, whoever hashed
 * it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <time.h>

#include "api/s3/lanes.h"
#include "base/limits.h"
#include "base/metric.h"
#include "base/rand.h"

#define WORKERS      3u
#define UPLOADS      24u
#define ROUNDS       6u /* uploads one after another in each place */
#define JOBS         4u
#define DATA_BYTES   MIB(3)
#define UPLOAD_BYTES (DATA_BYTES - KIB(4))
#define GIVE_UP_S    120

static uint8_t data[DATA_BYTES];

struct worker {
    struct s3_lane_worker lanes;
    struct loop *loop;
    pthread_t thread;
};

struct upload {
    struct worker *worker;
    struct loop_msg start;
    struct s3_lane lane;
    struct digest digest;
    struct s3_lane_job jobs[JOBS];
    const uint8_t *from;
    uint64_t size, given, hashed;
    uint32_t piece_max;
    unsigned rounds_left;
    struct rand_seeded rand;
};

static struct s3_lanes lanes;
static struct worker workers[WORKERS];
static struct upload uploads[UPLOADS];
static atomic_uint left, wrong;

static void begin(struct loop_msg *msg);
static void hashed(struct s3_lane_job *job);

static void give(struct upload *upload, struct s3_lane_job *job)
{
    uint64_t size = upload->size - upload->given;
    if (size == 0)
        return;
    if (size > upload->piece_max)
        size = upload->piece_max;
    *job = (struct s3_lane_job){.digest = &upload->digest,
                                .data = upload->from + upload->given,
                                .size = (uint32_t)size,
                                .hashed = hashed};
    upload->given += size;
    s3_lane_add(&upload->lane, job);
    if (upload->given == upload->size)
        s3_lane_close(&upload->lane);
}

static void end(struct upload *upload)
{
    uint8_t got[DIGEST_BYTES_MAX], expected[16];
    digest_final(&upload->digest, got);
    md5(upload->from, upload->size, expected);
    if (memcmp(got, expected, sizeof expected) != 0)
        atomic_fetch_add(&wrong, 1);
    s3_lane_close(&upload->lane);
    if (--upload->rounds_left > 0)
        loop_post(upload->worker->loop, &upload->start);
    else
        atomic_fetch_sub(&left, 1);
}

static void hashed(struct s3_lane_job *job)
{
    struct upload *upload = CONTAINER_OF(job->lane, struct upload, lane);
    if (!pthread_equal(pthread_self(), upload->worker->thread))
        atomic_fetch_add(&wrong, 1);
    upload->hashed += job->size;
    give(upload, job);
    if (upload->hashed == upload->size)
        end(upload);
}

static void begin(struct loop_msg *msg)
{
    struct upload *upload = CONTAINER_OF(msg, struct upload, start);
    struct rand *rand = &upload->rand.rand;
    bool is_small = rand_below(rand, 3) == 0;
    upload->from = data + rand_below(rand, KIB(4));
    upload->size = 1 + rand_below(rand, is_small ? 5000 : UPLOAD_BYTES);
    upload->piece_max = (uint32_t)(KIB(64) << rand_below(rand, 5));
    upload->given = upload->hashed = 0;
    if (digest_init(&upload->digest, DIGEST_MD5))
        abort();
    s3_lane_open(&upload->lane, &upload->worker->lanes, upload->worker->loop, upload->size);
    for (unsigned i = 0; i < JOBS; i++)
        give(upload, &upload->jobs[i]);
}

static void *run(void *context)
{
    struct worker *worker = context;
    loop_run(worker->loop);
    return NULL;
}

static void workers_open(unsigned count)
{
    s3_lanes_init(&lanes);
    for (unsigned i = 0; i < count; i++) {
        struct err_trail trail = {0};
        assert_int_equal(
            loop_open(&(struct loop_options){.name = "lanes"}, &workers[i].loop, &trail), ERR_OK);
        s3_lane_worker_init(&workers[i].lanes, &lanes);
    }
}

static void workers_close(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        loop_close(workers[i].loop);
    s3_lanes_fini(&lanes);
}

static void uploads_of_several_workers_are_hashed_together(void **state)
{
    (void)state;
    struct rand_seeded seeded;
    rand_seeded_init(&seeded, 9);
    rand_fill(&seeded.rand, data, sizeof data);
    workers_open(WORKERS);
    atomic_store(&left, UPLOADS);
    for (unsigned i = 0; i < UPLOADS; i++) {
        uploads[i] = (struct upload){
            .worker = &workers[i % WORKERS], .start.deliver = begin, .rounds_left = ROUNDS};
        rand_seeded_init(&uploads[i].rand, i);
        loop_post(uploads[i].worker->loop, &uploads[i].start);
    }
    for (unsigned i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&workers[i].thread, NULL, run, &workers[i]), 0);
    time_t give_up = time(NULL) + GIVE_UP_S;
    while (atomic_load(&left) > 0 && time(NULL) < give_up)
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    unsigned unfinished = atomic_load(&left);
    for (unsigned i = 0; i < WORKERS; i++) {
        loop_stop(workers[i].loop);
        pthread_join(workers[i].thread, NULL);
    }
    assert_int_equal(unfinished, 0);
    assert_int_equal(atomic_load(&wrong), 0);
    workers_close(WORKERS);
}

/* ---- on one loop, turn by turn ---- */

static unsigned ended;

static void count_end(struct s3_lane_job *job)
{
    (void)job;
    ended++;
}

static unsigned long metric(const char *name)
{
    struct text_buf all = {0};
    metric_write_all(&all);
    text_put(&all, bytes_of("", 1));
    char pattern[64];
    snprintf(pattern, sizeof pattern, "\n%s ", name);
    const char *line = strstr(all.data, pattern);
    assert_non_null(line);
    unsigned long value = strtoul(line + strlen(pattern), NULL, 10);
    text_free(&all);
    return value;
}

static void add(struct upload *upload, uint32_t size)
{
    assert_int_equal(digest_init(&upload->digest, DIGEST_MD5), ERR_OK);
    s3_lane_open(&upload->lane, &workers[0].lanes, workers[0].loop, size);
    upload->jobs[0] = (struct s3_lane_job){
        .digest = &upload->digest, .data = data, .size = size, .hashed = count_end};
    s3_lane_add(&upload->lane, &upload->jobs[0]);
}

static void turns_until_ended(unsigned wanted)
{
    for (unsigned turn = 0; turn < 100 && ended < wanted; turn++)
        loop_run_once(workers[0].loop, 0);
    assert_int_equal(ended, wanted);
}

static void who_comes_in_one_turn_is_hashed_side_by_side(void **state)
{
    (void)state;
    workers_open(1);
    ended = 0;
    unsigned long steps = metric("sluice_md5_steps_total"), sum = metric("sluice_md5_lanes_total");
    for (unsigned i = 0; i < 4; i++)
        add(&uploads[i], MIB(1));
    turns_until_ended(4);
    assert_int_equal(metric("sluice_md5_steps_total") - steps, MIB(1) / LANE_STEP_BYTES);
    assert_int_equal(metric("sluice_md5_lanes_total") - sum, 4 * (MIB(1) / LANE_STEP_BYTES));
    for (unsigned i = 0; i < 4; i++)
        s3_lane_close(&uploads[i].lane);
    workers_close(1);
}

static void company_that_does_not_come_is_not_waited_for(void **state)
{
    (void)state;
    workers_open(1);
    ended = 0;
    struct s3_lane absent;
    s3_lane_open(&absent, &workers[0].lanes, workers[0].loop, UINT64_MAX);
    add(&uploads[0], KIB(256));
    turns_until_ended(1);
    s3_lane_close(&absent);
    s3_lane_close(&absent);
    s3_lane_close(&uploads[0].lane);
    workers_close(1);
}

static void a_dropped_lane_ends_without_being_hashed(void **state)
{
    (void)state;
    workers_open(1);
    ended = 0;
    unsigned long bytes = metric("sluice_md5_bytes_total");
    add(&uploads[0], MIB(1));
    add(&uploads[1], 1000);
    s3_lane_drop(&uploads[0].lane);
    s3_lane_drop(&uploads[1].lane);
    s3_lane_close(&uploads[0].lane);
    s3_lane_close(&uploads[1].lane);
    turns_until_ended(2);
    assert_int_equal(metric("sluice_md5_bytes_total"), bytes);
    workers_close(1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uploads_of_several_workers_are_hashed_together),
        cmocka_unit_test(who_comes_in_one_turn_is_hashed_side_by_side),
        cmocka_unit_test(company_that_does_not_come_is_not_waited_for),
        cmocka_unit_test(a_dropped_lane_ends_without_being_hashed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
