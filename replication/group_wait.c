#include <pthread.h>

#include "base/check.h"
#include "replication/group.h"

/* Asking the group from a thread without a loop. */

struct waiter {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool is_done;
};

static void waiter_init(struct waiter *waiter)
{
    waiter->is_done = false;
    CHECK(pthread_mutex_init(&waiter->lock, NULL) == 0);
    CHECK(pthread_cond_init(&waiter->wake, NULL) == 0);
}

static void waiter_wake(struct waiter *waiter)
{
    pthread_mutex_lock(&waiter->lock);
    waiter->is_done = true;
    pthread_cond_signal(&waiter->wake);
    pthread_mutex_unlock(&waiter->lock);
}

/* No deadline of its own: each question of the group's has one, and so has a group that closes. */
static void waiter_wait(struct waiter *waiter)
{
    pthread_mutex_lock(&waiter->lock);
    while (!waiter->is_done)
        pthread_cond_wait(&waiter->wake, &waiter->lock);
    pthread_mutex_unlock(&waiter->lock);
    pthread_cond_destroy(&waiter->wake);
    pthread_mutex_destroy(&waiter->lock);
}

static void repaired(struct group_repair *repair)
{
    waiter_wake(repair->context);
}

enum err group_repair_wait(struct group *group, struct data_id data, uint64_t offset,
                           struct err_trail *trail)
{
    struct waiter waiter;
    struct group_repair repair = {
        .data = data, .offset = offset, .done = repaired, .context = &waiter};
    waiter_init(&waiter);
    group_repair(group, &repair);
    waiter_wait(&waiter);
    *trail = repair.trail;
    return repair.err;
}

struct fresh {
    struct group_ask ask;
    struct waiter waiter;
};

static void fresh(struct group_ask *ask)
{
    waiter_wake(&CONTAINER_OF(ask, struct fresh, ask)->waiter);
}

enum err group_fresh_wait(struct group *group)
{
    struct fresh wait = {.ask = {.done = fresh}};
    waiter_init(&wait.waiter);
    group_fresh(group, &wait.ask);
    waiter_wait(&wait.waiter);
    return wait.ask.err;
}
