#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* the four above first: cmocka wants them */
#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "base/work.h"

enum { JOBS = 2000, LOOPS = 2 };

struct job {
    struct work work;
    pthread_t ran_on, done_on;
    int runs, dones;
    uint64_t input, output;
};

static _Atomic int dones_left;
static struct loop *loops[LOOPS];

static int set_up(void **state)
{
    for (int i = 0; i < LOOPS; i++)
        if (loop_open(&(struct loop_options){.name = "work-test"}, &loops[i], NULL))
            return -1;
    return 0;
}

static int tear_down(void **state)
{
    for (int i = 0; i < LOOPS; i++)
        loop_close(loops[i]);
    return 0;
}

static void run_job(struct work *work)
{
    struct job *job = CONTAINER_OF(work, struct job, work);
    job->runs++;
    job->ran_on = pthread_self();
    job->output = job->input * job->input;
}

static void job_done(struct work *work)
{
    struct job *job = CONTAINER_OF(work, struct job, work);
    job->dones++;
    job->done_on = pthread_self();
    if (atomic_fetch_sub(&dones_left, 1) == 1)
        for (int i = 0; i < LOOPS; i++)
            loop_stop(loops[i]);
}

static void *loop_main(void *context)
{
    loop_run(context);
    return NULL;
}

static void each_job_runs_on_the_pool_and_ends_on_its_loop(void **state)
{
    static struct job jobs[JOBS];
    memset(jobs, 0, sizeof jobs);
    struct work_pool *pool = NULL;
    assert_int_equal(work_pool_open(3, "pool", &pool), ERR_OK);
    atomic_store(&dones_left, JOBS);
    pthread_t threads[LOOPS];
    for (int i = 0; i < LOOPS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, loop_main, loops[i]), 0);
    for (int i = 0; i < JOBS; i++) {
        jobs[i] = (struct job){.work = {.run = run_job, .done = job_done, .loop = loops[i % LOOPS]},
                               .input = (uint64_t)i};
        work_submit(pool, &jobs[i].work);
    }
    for (int i = 0; i < LOOPS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    work_pool_close(pool);
    for (int i = 0; i < JOBS; i++) {
        assert_int_equal(jobs[i].runs, 1);
        assert_int_equal(jobs[i].dones, 1);
        assert_int_equal(jobs[i].output, (uint64_t)i * (uint64_t)i);
        assert_true(pthread_equal(jobs[i].done_on, threads[i % LOOPS]));
        assert_false(pthread_equal(jobs[i].ran_on, jobs[i].done_on));
    }
}

static void slow_job(struct work *work)
{
    (void)nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    run_job(work);
}

static void closing_finishes_what_is_queued_and_its_ends_come_after(void **state)
{
    struct job jobs[20];
    struct work_pool *pool = NULL;
    assert_int_equal(work_pool_open(2, "a-name-longer-than-the-kernel-takes", &pool), ERR_OK);
    atomic_store(&dones_left, COUNT_OF(jobs) + 1); /* stops nobody */
    for (size_t i = 0; i < COUNT_OF(jobs); i++) {
        jobs[i] =
            (struct job){.work = {.run = slow_job, .done = job_done, .loop = loops[0]}, .input = i};
        work_submit(pool, &jobs[i].work);
    }
    work_pool_close(pool);
    for (size_t i = 0; i < COUNT_OF(jobs); i++) {
        assert_int_equal(jobs[i].runs, 1);
        assert_int_equal(jobs[i].dones, 0);
    }
    loop_run_once(loops[0], 0);
    for (size_t i = 0; i < COUNT_OF(jobs); i++)
        assert_int_equal(jobs[i].dones, 1);
}

static void resubmit(struct work *work)
{
    struct job *job = CONTAINER_OF(work, struct job, work);
    job->dones++;
}

static void a_job_may_be_submitted_again_after_its_end(void **state)
{
    struct work_pool *pool = NULL;
    assert_int_equal(work_pool_open(1, "again", &pool), ERR_OK);
    struct job job = {.work = {.run = run_job, .done = resubmit, .loop = loops[0]}};
    for (int round = 1; round <= 100; round++) {
        work_submit(pool, &job.work);
        for (int i = 0; i < 1000 && job.dones < round; i++)
            loop_run_once(loops[0], 10 * NS_PER_MS);
        assert_int_equal(job.dones, round);
        assert_int_equal(job.runs, round);
    }
    work_pool_close(pool);
    work_pool_close(NULL);
}

int main(void)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test_setup_teardown(each_job_runs_on_the_pool_and_ends_on_its_loop, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(closing_finishes_what_is_queued_and_its_ends_come_after,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_job_may_be_submitted_again_after_its_end, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(all, NULL, NULL);
}
