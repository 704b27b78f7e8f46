#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* the four above first: cmocka wants them */
#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/loop.h"
#include "base/rand.h"

struct fixture {
    struct clock_manual clock;
    struct loop *manual; /* on that clock */
    struct loop *loop;   /* on the system's */
};
static struct fixture fixture;

static int set_up(void **state)
{
    struct fixture *f = *state = &fixture;
    memset(f, 0, sizeof *f);
    clock_manual_init(&f->clock, 0);
    f->clock.mono_now_ns = 5 * NS_PER_SECOND;
    if (loop_open(&(struct loop_options){.clock = &f->clock.clock, .name = "manual"}, &f->manual,
                  NULL))
        return -1;
    return loop_open(&(struct loop_options){.name = "system"}, &f->loop, NULL) ? -1 : 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    loop_close(f->manual);
    loop_close(f->loop);
    return 0;
}

/* ---- timers ---- */

struct counted_timer {
    struct timer timer;
    struct loop *loop;
    uint64_t restart_ns; /* 0: does not start itself again */
    uint64_t fired_at_ns;
    int runs, order;
};
static int order_next;

static void count_fire(struct timer *timer)
{
    struct counted_timer *counted = CONTAINER_OF(timer, struct counted_timer, timer);
    assert_false(timer_is_running(timer));
    counted->runs++;
    counted->order = ++order_next;
    counted->fired_at_ns = loop_now_ns(counted->loop);
    if (counted->restart_ns)
        timer_start(counted->loop, timer, counted->restart_ns, count_fire);
}

static void advance(struct fixture *f, uint64_t ns)
{
    clock_manual_advance(&f->clock, ns);
    loop_run_once(f->manual, 0);
}

static void a_timer_fires_once_when_its_time_has_come(void **state)
{
    struct fixture *f = *state;
    struct counted_timer timer = {.loop = f->manual};
    timer_start(f->manual, &timer.timer, 10 * NS_PER_MS, count_fire);
    assert_true(timer_is_running(&timer.timer));
    advance(f, 9 * NS_PER_MS);
    assert_int_equal(timer.runs, 0);
    advance(f, NS_PER_MS);
    assert_int_equal(timer.runs, 1);
    advance(f, NS_PER_SECOND);
    assert_int_equal(timer.runs, 1);
}

/* As the waits of the kernel, which are in the same time. */
static void a_timer_stands_still_while_the_machine_is_suspended(void **state)
{
    struct fixture *f = *state;
    struct counted_timer timer = {.loop = f->manual};
    timer_start(f->manual, &timer.timer, 10 * NS_PER_MS, count_fire);
    uint64_t mono_ns = clock_mono_ns(&f->clock.clock), boot_ns = clock_boot_ns(&f->clock.clock);
    clock_manual_suspend(&f->clock, NS_PER_SECOND);
    assert_int_equal(clock_mono_ns(&f->clock.clock), mono_ns);
    assert_int_equal(clock_boot_ns(&f->clock.clock), boot_ns + NS_PER_SECOND);
    loop_run_once(f->manual, 0);
    assert_int_equal(timer.runs, 0);
    advance(f, 10 * NS_PER_MS);
    assert_int_equal(timer.runs, 1);
}

static void a_timer_started_between_turns_counts_from_now(void **state)
{
    struct fixture *f = *state;
    struct counted_timer timer = {.loop = f->manual};
    clock_manual_advance(&f->clock, NS_PER_SECOND);
    timer_start(f->manual, &timer.timer, 10 * NS_PER_MS, count_fire);
    loop_run_once(f->manual, 0);
    assert_int_equal(timer.runs, 0);
    advance(f, 10 * NS_PER_MS);
    assert_int_equal(timer.runs, 1);
}

static void a_stopped_or_restarted_timer_forgets_its_old_time(void **state)
{
    struct fixture *f = *state;
    struct counted_timer stopped = {.loop = f->manual}, later = stopped, sooner = stopped;
    timer_stop(f->manual, &stopped.timer);
    timer_start(f->manual, &stopped.timer, 10, count_fire);
    timer_start(f->manual, &later.timer, 10, count_fire);
    timer_start(f->manual, &sooner.timer, 1000, count_fire);
    timer_stop(f->manual, &stopped.timer);
    timer_stop(f->manual, &stopped.timer);
    timer_start(f->manual, &later.timer, 1000, count_fire);
    timer_start(f->manual, &sooner.timer, 10, count_fire);
    advance(f, 500);
    assert_int_equal(stopped.runs, 0);
    assert_int_equal(later.runs, 0);
    assert_int_equal(sooner.runs, 1);
    advance(f, 500);
    assert_int_equal(later.runs, 1);
}

static void a_timer_that_restarts_itself_does_not_hold_the_turn(void **state)
{
    struct fixture *f = *state;
    struct counted_timer timer = {.loop = f->manual, .restart_ns = 1};
    timer_start(f->manual, &timer.timer, 0, count_fire);
    for (int i = 1; i <= 5; i++) {
        advance(f, 1);
        assert_int_equal(timer.runs, i);
    }
    timer_stop(f->manual, &timer.timer);
}

static void many_timers_fire_in_the_order_of_their_times(void **state)
{
    enum { MANY = 5000 }; /* more than the heap starts with */
    struct fixture *f = *state;
    static struct counted_timer timers[MANY];
    struct rand_seeded seeded;
    rand_seeded_init(&seeded, 42);
    memset(timers, 0, sizeof timers);
    for (int i = 0; i < MANY; i++) {
        timers[i].loop = f->manual;
        timer_start(f->manual, &timers[i].timer, rand_below(&seeded.rand, 1000000), count_fire);
    }
    for (int i = 0; i < MANY; i += 3)
        timer_start(f->manual, &timers[i].timer, rand_below(&seeded.rand, 1000000), count_fire);
    for (int i = 0; i < MANY; i += 7)
        timer_stop(f->manual, &timers[i].timer);
    order_next = 0;
    advance(f, 1000000);

    uint64_t due_by_order[MANY + 1] = {0};
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(timers[i].runs, i % 7 == 0 ? 0 : 1);
        if (timers[i].runs)
            due_by_order[timers[i].order] = timers[i].timer.due_ns;
    }
    for (int i = 2; i <= order_next; i++)
        assert_true(due_by_order[i - 1] <= due_by_order[i]);
}

static void an_idle_loop_sleeps_until_its_timer(void **state)
{
    struct fixture *f = *state;
    struct counted_timer timer = {.loop = f->loop};
    uint64_t before = clock_mono_ns(clock_system());
    timer_start(f->loop, &timer.timer, 50 * NS_PER_MS, count_fire);
    int turns = 0;
    for (; timer.runs == 0 && turns < 100; turns++)
        loop_run_once(f->loop, UINT64_MAX);
    uint64_t took = clock_mono_ns(clock_system()) - before;
    assert_int_equal(timer.runs, 1);
    assert_in_range(turns, 1, 3);
    assert_in_range(took, 50 * NS_PER_MS, 2 * NS_PER_SECOND);
    assert_true(timer.fired_at_ns >= before + 50 * NS_PER_MS);
}

/* ---- messages ---- */

struct numbered {
    struct loop_msg msg;
    struct loop *loop;
    int poster, number;
    bool posts_again;
};
static struct {
    int last[8];
    int delivered;
    bool in_order;
    struct loop *stop_at;
    int stop_count;
} seen;

static void take_numbered(struct loop_msg *msg)
{
    struct numbered *numbered = CONTAINER_OF(msg, struct numbered, msg);
    seen.in_order &= numbered->number == seen.last[numbered->poster] + 1;
    seen.last[numbered->poster] = numbered->number;
    seen.delivered++;
    if (numbered->posts_again) {
        numbered->posts_again = false;
        numbered->number++;
        loop_post(numbered->loop, msg);
    }
    if (seen.stop_at && seen.delivered == seen.stop_count)
        loop_stop(seen.stop_at);
}

static void see_nothing_yet(void)
{
    memset(&seen, 0, sizeof seen);
    seen.in_order = true;
}

static void messages_come_in_the_order_posted_and_own_ones_next_turn(void **state)
{
    struct fixture *f = *state;
    struct numbered messages[5];
    see_nothing_yet();
    for (int i = 0; i < 5; i++) {
        messages[i] = (struct numbered){.msg.deliver = take_numbered,
                                        .loop = f->manual,
                                        .number = i + 1,
                                        .posts_again = i == 4};
        loop_post(f->manual, &messages[i].msg);
    }
    assert_int_equal(seen.delivered, 0);
    loop_run_once(f->manual, UINT64_MAX);
    assert_int_equal(seen.delivered, 5);
    loop_run_once(f->manual, UINT64_MAX); /* must not sleep: a message is there */
    assert_int_equal(seen.delivered, 6);
    assert_true(seen.in_order);
}

enum { POSTERS = 4, EACH = 20000 };

struct poster {
    pthread_t thread;
    struct loop *loop;
    struct numbered messages[EACH];
};

static void *poster_main(void *context)
{
    struct poster *poster = context;
    const struct timespec pause = {.tv_nsec = 300000}; /* the loop falls asleep now and then */
    for (int i = 0; i < EACH; i++) {
        loop_post(poster->loop, &poster->messages[i].msg);
        if (i % 1000 == 0)
            (void)nanosleep(&pause, NULL);
    }
    return NULL;
}

static void messages_of_several_threads_all_arrive_and_wake_the_loop(void **state)
{
    struct fixture *f = *state;
    static struct poster posters[POSTERS];
    see_nothing_yet();
    seen.stop_at = f->loop;
    seen.stop_count = POSTERS * EACH;
    for (int p = 0; p < POSTERS; p++) {
        posters[p].loop = f->loop;
        for (int i = 0; i < EACH; i++)
            posters[p].messages[i] =
                (struct numbered){.msg.deliver = take_numbered, .poster = p, .number = i + 1};
        assert_int_equal(pthread_create(&posters[p].thread, NULL, poster_main, &posters[p]), 0);
    }
    loop_run(f->loop); /* hangs, and the test times out, when a wake-up is lost */
    for (int p = 0; p < POSTERS; p++)
        assert_int_equal(pthread_join(posters[p].thread, NULL), 0);
    assert_int_equal(seen.delivered, POSTERS * EACH);
    assert_true(seen.in_order);
}

struct pinger {
    struct loop_msg msg;
    _Atomic int round;
    struct loop *loop;
};

static void pong(struct loop_msg *msg)
{
    struct pinger *pinger = CONTAINER_OF(msg, struct pinger, msg);
    atomic_fetch_add(&pinger->round, 1);
}

static void *runner_main(void *context)
{
    loop_run(context);
    return NULL;
}

static void each_single_message_to_a_sleeping_loop_wakes_it(void **state)
{
    struct fixture *f = *state;
    pthread_t runner;
    assert_int_equal(pthread_create(&runner, NULL, runner_main, f->loop), 0);
    static struct pinger pinger;
    pinger = (struct pinger){.msg.deliver = pong};
    for (int i = 0; i < 2000; i++) {
        loop_post(f->loop, &pinger.msg);
        for (uint64_t from = clock_mono_ns(clock_system()); atomic_load(&pinger.round) == i;)
            assert_true(clock_mono_ns(clock_system()) - from < 10 * NS_PER_SECOND);
    }
    loop_stop(f->loop);
    assert_int_equal(pthread_join(runner, NULL), 0);
}

static void stopping_works_before_during_and_again(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 3; i++) {
        loop_stop(f->loop);
        loop_run(f->loop); /* returns at once */
    }
    for (int i = 0; i < 50; i++) {
        struct loop *loop = NULL;
        assert_int_equal(loop_open(&(struct loop_options){.name = "stopped"}, &loop, NULL), ERR_OK);
        pthread_t runner;
        assert_int_equal(pthread_create(&runner, NULL, runner_main, loop), 0);
        if (i % 2)
            (void)nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
        loop_stop(loop);
        assert_int_equal(pthread_join(runner, NULL), 0);
        loop_close(loop); /* its thread is gone, its wake-up is pending */
    }
}

/* How often a thread of ours has gone to sleep by itself; proc(5). */
static long sleeps_of(pid_t thread)
{
    char path[64], line[128];
    long sleeps = -1;
    snprintf(path, sizeof path, "/proc/self/task/%d/status", (int)thread);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file))
        (void)sscanf(line, "voluntary_ctxt_switches: %ld", &sleeps);
    fclose(file);
    return sleeps;
}

struct idler {
    struct loop *loop;
    _Atomic pid_t thread;
};

static void *idler_main(void *context)
{
    struct idler *idler = context;
    idler->thread = gettid();
    loop_run(idler->loop);
    return NULL;
}

/* The loop's own thread is looked at: what else the process does, a sanitizer's thread say, is its
 * own affair. */
static void an_idle_loop_takes_no_processor_time(void **state)
{
    struct fixture *f = *state;
    struct idler idler = {.loop = f->loop};
    pthread_t runner;
    assert_int_equal(pthread_create(&runner, NULL, idler_main, &idler), 0);
    while (idler.thread == 0)
        (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    (void)nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    long before = sleeps_of(idler.thread);
    (void)nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
    long after = sleeps_of(idler.thread);
    loop_stop(f->loop); /* before anything is asserted: a failed assertion closes the loop */
    assert_int_equal(pthread_join(runner, NULL), 0);
    assert_true(before >= 0);
    assert_in_range(after - before, 0, 3); /* on its way to sleep yet, on a busy machine */
}

static uint64_t thread_cpu_ns(void)
{
    struct timespec time;
    assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time), 0);
    return (uint64_t)time.tv_sec * NS_PER_SECOND + (uint64_t)time.tv_nsec;
}

static void do_nothing(struct loop_msg *msg)
{
}

/* Turns that follow each other at once make it stay awake; the first in which nothing comes makes
 * it sleep again. With epoll it never stays awake, and nothing else changes. */
static void a_loop_that_stays_awake_for_the_next_event_sleeps_when_none_comes(void **state)
{
    struct fixture *f = *state;
    enum { MAX_MS = 20, IDLE = 10 };
    loop_stay_awake(f->loop, MAX_MS * NS_PER_MS);
    for (unsigned i = 0; i < 100; i++) {
        struct loop_msg msg = {.deliver = do_nothing};
        loop_post(f->loop, &msg);
        loop_run_once(f->loop, UINT64_MAX);
    }
    uint64_t before = thread_cpu_ns();
    for (unsigned i = 0; i < IDLE; i++)
        loop_run_once(f->loop, 2 * MAX_MS * NS_PER_MS);
    /* Once all of it, and not ten times. */
    assert_in_range(thread_cpu_ns() - before, 0, 3 * MAX_MS * NS_PER_MS);
    loop_stay_awake(f->loop, 0);
    before = thread_cpu_ns();
    loop_run_once(f->loop, 2 * MAX_MS * NS_PER_MS);
    assert_in_range(thread_cpu_ns() - before, 0, MAX_MS * NS_PER_MS / 2);
}

static void each_single_message_to_a_loop_that_stays_awake_is_delivered(void **state)
{
    struct fixture *f = *state;
    loop_stay_awake(f->loop, 100000);
    each_single_message_to_a_sleeping_loop_wakes_it(state);
}

/* ---- the ring in the loop ---- */

struct late {
    struct ring_op op;
    struct loop *loop;
    struct timer timer;
    struct counted_timer deadline;
    int pipe[2];
    uint64_t now_ns;
};

static void late_read(struct ring_op *op, enum err e, uint32_t count)
{
    struct late *late = CONTAINER_OF(op, struct late, op);
    late->now_ns = loop_now_ns(late->loop);
}

static void late_write(struct timer *timer)
{
    struct late *late = CONTAINER_OF(timer, struct late, timer);
    assert_int_equal(write(late->pipe[1], "x", 1), 1);
}

static void callbacks_see_the_time_after_the_wait_not_before(void **state)
{
    struct fixture *f = *state;
    struct late late = {.loop = f->loop};
    char byte;
    assert_int_equal(pipe(late.pipe), 0);
    uint64_t before = clock_mono_ns(clock_system());
    ring_read(loop_ring(f->loop), &late.op, late.pipe[0], &byte, 1, 0, late_read);
    timer_start(f->loop, &late.timer, 30 * NS_PER_MS, late_write);
    for (int i = 0; i < 100 && late.now_ns == 0; i++)
        loop_run_once(f->loop, NS_PER_SECOND);
    assert_true(late.now_ns >= before + 30 * NS_PER_MS);
    (void)close(late.pipe[0]);
    (void)close(late.pipe[1]);
}

static void a_loop_has_its_share_of_the_arena(void **state)
{
    struct arena *arena = NULL;
    struct arena_options options = {.large_count = 4, .share_count = 2};
    assert_int_equal(arena_open(&options, &arena), ERR_OK);
    struct loop *loop = NULL;
    struct loop_options loop_options = {.arena = arena, .arena_share = 1};
    assert_int_equal(loop_open(&loop_options, &loop, NULL), ERR_OK);
    assert_ptr_equal(loop_arena(loop), arena_share(arena, 1));
    loop_close(loop);
    arena_close(arena);
    struct fixture *f = *state;
    assert_null(loop_arena(f->loop));
    assert_string_equal(loop_name(f->loop), "system");
    assert_ptr_equal(loop_clock(f->manual), &f->clock.clock);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest all[] = {
        TEST(a_timer_fires_once_when_its_time_has_come),
        TEST(a_timer_stands_still_while_the_machine_is_suspended),
        TEST(a_timer_started_between_turns_counts_from_now),
        TEST(a_stopped_or_restarted_timer_forgets_its_old_time),
        TEST(a_timer_that_restarts_itself_does_not_hold_the_turn),
        TEST(many_timers_fire_in_the_order_of_their_times),
        TEST(an_idle_loop_sleeps_until_its_timer),
        TEST(messages_come_in_the_order_posted_and_own_ones_next_turn),
        TEST(messages_of_several_threads_all_arrive_and_wake_the_loop),
        TEST(each_single_message_to_a_sleeping_loop_wakes_it),
        TEST(stopping_works_before_during_and_again),
        TEST(an_idle_loop_takes_no_processor_time),
        TEST(a_loop_that_stays_awake_for_the_next_event_sleeps_when_none_comes),
        TEST(each_single_message_to_a_loop_that_stays_awake_is_delivered),
        TEST(callbacks_see_the_time_after_the_wait_not_before),
        TEST(a_loop_has_its_share_of_the_arena),
    };
    return cmocka_run_group_tests(all, NULL, NULL);
}
