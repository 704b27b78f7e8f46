/*
 * A loop is one thread's world: a ring, timers and a mailbox. Data has one owning loop; other
 * threads send it messages.
 *
 *     loop_open -> loop_run on the loop's own thread ... loop_stop from anywhere -> loop_close
 *
 * Everything here is to be called on the loop's own thread, except loop_post() and loop_stop().
 */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/list.h"
#include "base/ring.h"

struct loop;

struct loop_options {
    struct clock *clock;  /* borrowed; NULL: the system's */
    struct arena *arena;  /* borrowed; NULL: no slots on this loop */
    uint32_t arena_share; /* index of this loop's share */
    enum ring_choice ring_choice;
    const char *name; /* for logs and the thread's name */
};

/* The ring is created by loop_open but, for io_uring's SINGLE_ISSUER, must be used by one thread:
 * the first that calls loop_run*. */
enum err loop_open(const struct loop_options *options, struct loop **ret_loop,
                   struct err_trail *trail) MUST_USE;
void loop_close(struct loop *loop);

struct ring *loop_ring(struct loop *loop);
struct arena_share *loop_arena(struct loop *loop); /* NULL when the loop has none */
const char *loop_name(const struct loop *loop);

void loop_run(struct loop *loop); /* until loop_stop() */
/* One wait at most; for embedding and tests. */
void loop_run_once(struct loop *loop, uint64_t timeout_ns);
void loop_stop(struct loop *loop); /* thread-safe */

/*
 * For a loop whose next event mostly comes sooner than a sleeping CPU wakes up (a peer's answer):
 * it stays awake for it, at most max_ns, once two events have come so close together, and sleeps at
 * once again when one has not; nor does it while others want its CPU. So an idle loop costs
 * nothing, and one with traffic up to a core that was idle. 0, as at first: never.
 */
void loop_stay_awake(struct loop *loop, uint64_t max_ns);

/* Monotonic time as of this turn of the loop: no system call. */
uint64_t loop_now_ns(const struct loop *loop);
struct clock *loop_clock(const struct loop *loop);

/* ---- messages ---- */
struct loop_msg {
    void (*deliver)(struct loop_msg *msg); /* runs once on the loop's thread, in the order posted */
    struct loop_msg *next;                 /* mailbox's */
};
/* Thread-safe. The message is the loop's until deliver() is called. Posting from the loop itself is
 * fine: delivered next turn. */
void loop_post(struct loop *loop, struct loop_msg *msg);

/* ---- timers: embedded, coarse (1 ms), cheap to restart ---- */
struct timer {
    void (*fire)(struct timer *timer);
    uint64_t due_ns;
    uint32_t heap_index; /* loop's; 0 when not running */
};
void timer_start(struct loop *loop, struct timer *timer, uint64_t delay_ns,
                 void (*fire)(struct timer *timer)); /* restarts a running one */
/* Does nothing for one that does not run. */
void timer_stop(struct loop *loop, struct timer *timer);
static inline bool timer_is_running(const struct timer *timer)
{
    return timer->heap_index != 0;
}

#endif
