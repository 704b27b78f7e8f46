/*
 * A small pool of threads for what can block: index reads that miss the cache, listings, scans. A
 * job's run() is executed on one of the threads, its done() afterwards on the loop that submitted
 * it. The queue is bounded by the jobs' owners: a job is embedded in a request, and requests are
 * bounded by connections.
 */
#ifndef BASE_WORK_H
#define BASE_WORK_H

#include "base/loop.h"

struct work_pool;

struct work {
    void (*run)(struct work *work);  /* on a pool thread */
    void (*done)(struct work *work); /* on `loop`, once, after run() */
    struct loop *loop;               /* borrowed */
    struct loop_msg msg;             /* pool's */
    struct work *next;               /* pool's */
};

enum err work_pool_open(unsigned thread_count, const char *name,
                        struct work_pool **ret_pool) MUST_USE;
/* Finishes what is queued; done() messages must still be deliverable. */
void work_pool_close(struct work_pool *pool);
/* Set run, done and loop first. */
void work_submit(struct work_pool *pool, struct work *work);

#endif
