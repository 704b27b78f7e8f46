#include "base/loop.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/check.h"
#include "base/cleanup.h"
#include "base/ring_priv.h"

#define TIMERS_FIRST  1024u    /* the heap's size at start; it doubles */
#define SPIN_FIRST_NS 10000ull /* about what a short answer takes between CPUs that are awake */
/* When others want the CPU; doubles while they go on wanting it. */
#define SPIN_PAUSE_NS     NS_PER_MS
#define SPIN_PAUSE_MAX_NS NS_PER_SECOND
#define SPIN_CALM_NS      (100 * NS_PER_MS) /* without them: SPIN_PAUSE_NS again */

/*
 * A turn of the loop: wait on the ring (its callbacks run), deliver messages, fire timers.
 *
 * The mailbox is a stack that posters push onto without a lock and the loop takes whole and
 * reverses. A poster makes the system call that wakes the loop only when the loop has announced
 * that it is going to sleep:
 *
 *     poster: push; if is_asleep was set (cleared by exchange): write the eventfd
 *     loop:   set is_asleep; look into the mailbox once more; sleep; clear is_asleep
 *
 * All four are sequentially consistent, so at least one of the two sees the other. An idle loop
 * sleeps in the kernel without limit.
 */
struct loop {
    struct ring *ring;         /* owned */
    struct clock *clock;       /* borrowed */
    struct arena_share *arena; /* borrowed; NULL: none */
    char name[16];             /* what the kernel takes as a thread's name */
    uint64_t now_ns;
    bool is_in_turn;
    uint64_t spin_ns, spin_max_ns, spin_pause_ns, spin_from_ns; /* see adapt_spin() */

    /* Owned array of borrowed timers; [0] is unused, so that index 0 means "not running". */
    struct timer **heap;
    uint32_t heap_size; /* timers in it */
    uint32_t heap_capacity;

    int wake_fd; /* owned eventfd */
    struct ring_op wake_op;

    /* Other threads' part, on a cache line of its own. */
    _Alignas(64) _Atomic(struct loop_msg *) mailbox;
    atomic_bool is_asleep;
    atomic_uint posters; /* threads inside loop_post() */
    atomic_bool is_stopping;
};

/* ---- waking ---- */

static void wake_drained(struct ring_op *op, enum err e, uint32_t count);
static void loop_woken(void *context);

static void wake_arm(struct loop *loop)
{
    /* A poll, not a read: it refers to no memory of ours, so the ring may be closed with it
     * pending. */
    ring_poll(loop->ring, &loop->wake_op, loop->wake_fd, POLLIN, wake_drained);
}

static void wake_drained(struct ring_op *op, enum err e, uint32_t count)
{
    struct loop *loop = CONTAINER_OF(op, struct loop, wake_op);
    CHECK(e == ERR_OK);
    uint64_t value;
    ssize_t got = read(loop->wake_fd, &value, sizeof value);
    CHECK(got == sizeof value || errno == EAGAIN || errno == EINTR);
    wake_arm(loop);
}

static void wake_if_asleep(struct loop *loop)
{
    if (!atomic_load(&loop->is_asleep) || !atomic_exchange(&loop->is_asleep, false))
        return;
    uint64_t one = 1;
    ssize_t put;
    do
        put = write(loop->wake_fd, &one, sizeof one);
    while (put < 0 && errno == EINTR);
    /* EAGAIN: the counter is full, so it is readable. */
    CHECK(put == sizeof one || errno == EAGAIN);
}

/* ---- life ---- */

static void loop_close__scope(struct loop **loop)
{
    if (*loop)
        loop_close(*loop);
}

enum err loop_open(const struct loop_options *options, struct loop **ret_loop,
                   struct err_trail *trail)
{
    CLEANUP(loop_close) struct loop *loop = aligned_alloc(_Alignof(struct loop), sizeof *loop);
    if (loop == NULL)
        return err_note(trail, ERR_NO_MEMORY, "open a loop");
    *loop = (struct loop){
        .clock = options->clock ? options->clock : clock_system(),
        .wake_fd = -1,
        .heap_capacity = TIMERS_FIRST,
    };
    snprintf(loop->name, sizeof loop->name, "%s", options->name ? options->name : "loop");
    loop->heap = calloc(loop->heap_capacity, sizeof *loop->heap);
    if (loop->heap == NULL)
        return err_note(trail, ERR_NO_MEMORY, "open loop %s", loop->name);
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->wake_fd < 0)
        return err_note(trail, err_from_errno(errno), "make loop %s's eventfd", loop->name);

    struct ring_options ring_options = {.arena = options->arena, .choice = options->ring_choice};
    enum err e = ring_open(&ring_options, &loop->ring, trail);
    if (e)
        return err_note(trail, e, "open loop %s", loop->name);
    if (options->arena)
        loop->arena = arena_share(options->arena, options->arena_share);
    loop->ring->woken = loop_woken;
    loop->ring->woken_context = loop;
    wake_arm(loop);
    loop->now_ns = clock_mono_ns(loop->clock);
    *ret_loop = TAKE(loop);
    return ERR_OK;
}

void loop_close(struct loop *loop)
{
    if (loop == NULL)
        return;
    CHECK(atomic_load(&loop->mailbox) == NULL); /* a message that would never be delivered */
    /* Whoever waited for one message alone may be here while its poster is still about to wake
     * us. */
    while (atomic_load(&loop->posters) > 0)
        sched_yield();
    if (loop->ring) {
        ring__abandon(loop->ring, &loop->wake_op);
        ring_close(loop->ring);
    }
    if (loop->wake_fd >= 0)
        (void)close(loop->wake_fd); /* an eventfd has nothing to lose */
    free(loop->heap);
    free(loop);
}

struct ring *loop_ring(struct loop *loop)
{
    return loop->ring;
}

struct arena_share *loop_arena(struct loop *loop)
{
    return loop->arena;
}

const char *loop_name(const struct loop *loop)
{
    return loop->name;
}

uint64_t loop_now_ns(const struct loop *loop)
{
    return loop->now_ns;
}

struct clock *loop_clock(const struct loop *loop)
{
    return loop->clock;
}

/* ---- messages ---- */

void loop_post(struct loop *loop, struct loop_msg *msg)
{
    CHECK(msg->deliver != NULL);
    atomic_fetch_add(&loop->posters, 1);
    struct loop_msg *head = atomic_load_explicit(&loop->mailbox, memory_order_relaxed);
    do
        msg->next = head;
    while (!atomic_compare_exchange_weak(&loop->mailbox, &head, msg));
    wake_if_asleep(loop);
    atomic_fetch_sub(&loop->posters, 1); /* the last touch: see loop_close() */
}

static void deliver_messages(struct loop *loop)
{
    if (atomic_load_explicit(&loop->mailbox, memory_order_relaxed) == NULL)
        return;
    struct loop_msg *newest = atomic_exchange(&loop->mailbox, NULL), *oldest = NULL;
    while (newest) {
        struct loop_msg *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest) {
        struct loop_msg *msg = oldest;
        oldest = msg->next; /* before deliver(), which may free or post it again */
        msg->next = NULL;
        msg->deliver(msg);
    }
}

/* ---- timers: a binary heap by due_ns, the earliest at 1 ---- */

static void heap_set(struct loop *loop, uint32_t index, struct timer *timer)
{
    loop->heap[index] = timer;
    timer->heap_index = index;
}

static void heap_sift_up(struct loop *loop, uint32_t index, struct timer *timer)
{
    for (; index > 1 && loop->heap[index / 2]->due_ns > timer->due_ns; index /= 2)
        heap_set(loop, index, loop->heap[index / 2]);
    heap_set(loop, index, timer);
}

static void heap_sift_down(struct loop *loop, uint32_t index, struct timer *timer)
{
    for (uint32_t child; (child = index * 2) <= loop->heap_size; index = child) {
        if (child < loop->heap_size && loop->heap[child + 1]->due_ns < loop->heap[child]->due_ns)
            child++;
        if (loop->heap[child]->due_ns >= timer->due_ns)
            break;
        heap_set(loop, index, loop->heap[child]);
    }
    heap_set(loop, index, timer);
}

static void heap_place(struct loop *loop, uint32_t index, struct timer *timer)
{
    if (index > 1 && loop->heap[index / 2]->due_ns > timer->due_ns)
        heap_sift_up(loop, index, timer);
    else
        heap_sift_down(loop, index, timer);
}

/*
 * The heap grows by doubling and never shrinks: a server that has once seen its connections
 * allocates here no more. Its bound is that of the objects that embed timers. Failing to start a
 * timer is not an option a caller could handle (its deadline would never come), so a process that
 * cannot get these few KiB stops.
 */
static void heap_grow(struct loop *loop)
{
    uint32_t capacity = loop->heap_capacity * 2;
    struct timer **heap = realloc(loop->heap, capacity * sizeof *heap);
    CHECK(heap != NULL);
    loop->heap = heap;
    loop->heap_capacity = capacity;
}

void timer_start(struct loop *loop, struct timer *timer, uint64_t delay_ns,
                 void (*fire)(struct timer *timer))
{
    /* Between turns the cached time is as old as the last one. */
    if (!loop->is_in_turn)
        loop->now_ns = clock_mono_ns(loop->clock);
    timer->fire = fire;
    timer->due_ns = delay_ns < UINT64_MAX - loop->now_ns ? loop->now_ns + delay_ns : UINT64_MAX;
    if (timer_is_running(timer)) {
        CHECK(loop->heap[timer->heap_index] == timer);
        heap_place(loop, timer->heap_index, timer);
        return;
    }
    if (loop->heap_size + 1 == loop->heap_capacity)
        heap_grow(loop);
    heap_sift_up(loop, ++loop->heap_size, timer);
}

void timer_stop(struct loop *loop, struct timer *timer)
{
    if (!timer_is_running(timer))
        return;
    uint32_t index = timer->heap_index;
    CHECK(index <= loop->heap_size);
    CHECK(loop->heap[index] == timer);
    struct timer *last = loop->heap[loop->heap_size--];
    if (last != timer)
        heap_place(loop, index, last);
    timer->heap_index = 0;
}

static void fire_timers(struct loop *loop)
{
    /* At most those running now: one that restarts itself with no delay must not hold the turn. */
    for (uint32_t left = loop->heap_size; left > 0 && loop->heap_size > 0; left--) {
        struct timer *timer = loop->heap[1];
        if (timer->due_ns > loop->now_ns)
            break;
        timer_stop(loop, timer);
        timer->fire(timer);
    }
}

/* Rounded up to whole milliseconds: timers due close to each other share a wake-up. */
static uint64_t timeout_until_timer(const struct loop *loop, uint64_t timeout_ns)
{
    if (loop->heap_size == 0)
        return timeout_ns;
    uint64_t due_ns = loop->heap[1]->due_ns;
    if (due_ns <= loop->now_ns)
        return 0;
    uint64_t left_ns = due_ns - loop->now_ns;
    if (left_ns < UINT64_MAX - NS_PER_MS)
        left_ns = (left_ns + NS_PER_MS - 1) / NS_PER_MS * NS_PER_MS;
    return left_ns < timeout_ns ? left_ns : timeout_ns;
}

/* ---- turns ---- */

/* The wait is over and callbacks come next: from here on nobody has to wake us, and it is later
 * than it was. */
static void loop_woken(void *context)
{
    struct loop *loop = context;
    atomic_store_explicit(&loop->is_asleep, false, memory_order_relaxed);
    loop->now_ns = clock_mono_ns(loop->clock);
}

/*
 * As KVM polls before it halts: longer while events come soon, not at all once one has not. And not
 * where somebody else computes on this CPU: the scheduler then makes one that never sleeps wait its
 * turn, milliseconds, and wakes one that did at once.
 */
static void adapt_spin(struct loop *loop, uint64_t waited_ns)
{
    if (ring_spin_was_preempted(loop->ring)) {
        if (loop->now_ns > loop->spin_from_ns + SPIN_CALM_NS)
            loop->spin_pause_ns = SPIN_PAUSE_NS;
        else if (loop->spin_pause_ns < SPIN_PAUSE_MAX_NS)
            loop->spin_pause_ns *= 2;
        loop->spin_from_ns = loop->now_ns + loop->spin_pause_ns;
    }
    if (waited_ns > loop->spin_max_ns || loop->now_ns < loop->spin_from_ns)
        loop->spin_ns = 0;
    else if (waited_ns > loop->spin_ns)
        loop->spin_ns = loop->spin_ns == 0 ? SPIN_FIRST_NS : 2 * loop->spin_ns;
    if (loop->spin_ns > loop->spin_max_ns)
        loop->spin_ns = loop->spin_max_ns;
    ring_set_spin(loop->ring, loop->spin_ns);
}

void loop_stay_awake(struct loop *loop, uint64_t max_ns)
{
    loop->spin_max_ns = max_ns;
    loop->spin_pause_ns = SPIN_PAUSE_NS;
    adapt_spin(loop, 0);
}

static void turn(struct loop *loop, uint64_t timeout_ns)
{
    CHECK(!loop->is_in_turn); /* loop_run_once() from a callback */
    loop->is_in_turn = true;
    timeout_ns = timeout_until_timer(loop, timeout_ns);
    uint64_t began_ns = loop->spin_max_ns > 0 ? clock_mono_ns(loop->clock) : 0;
    if (timeout_ns > 0) {
        atomic_store(&loop->is_asleep, true);
        if (atomic_load(&loop->mailbox) != NULL || atomic_load(&loop->is_stopping))
            timeout_ns = 0;
    }
    ring_wait(loop->ring, timeout_ns);
    if (loop->spin_max_ns > 0)
        adapt_spin(loop, loop->now_ns - began_ns);
    deliver_messages(loop);
    fire_timers(loop);
    loop->is_in_turn = false;
}

void loop_run_once(struct loop *loop, uint64_t timeout_ns)
{
    loop->now_ns = clock_mono_ns(loop->clock);
    turn(loop, timeout_ns);
}

void loop_run(struct loop *loop)
{
    (void)pthread_setname_np(pthread_self(), loop->name); /* only for people who look at it */
    loop->now_ns = clock_mono_ns(loop->clock);
    while (!atomic_load_explicit(&loop->is_stopping, memory_order_acquire))
        turn(loop, UINT64_MAX);
    atomic_store(&loop->is_stopping, false); /* it may be run again, to deliver what is left */
}

void loop_stop(struct loop *loop)
{
    atomic_store(&loop->is_stopping, true);
    wake_if_asleep(loop);
}
