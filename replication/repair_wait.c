#include <pthread.h>

#include "base/check.h"
#include "replication/group.h"

struct repair_waiter {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool is_done;
};

static void wake(struct group_repair *repair)
{
    struct repair_waiter *waiter = repair->context;
    pthread_mutex_lock(&waiter->lock);
    waiter->is_done = true;
    pthread_cond_signal(&waiter->wake);
    pthread_mutex_unlock(&waiter->lock);
}

enum err group_repair_wait(struct group *group, struct data_id data, uint64_t offset,
                           struct err_trail *trail)
{
    struct repair_waiter waiter = {.is_done = false};
    struct group_repair repair = {.data = data, .offset = offset, .done = wake, .context = &waiter};
    CHECK(pthread_mutex_init(&waiter.lock, NULL) == 0);
    CHECK(pthread_cond_init(&waiter.wake, NULL) == 0);
    group_repair(group, &repair);
    /* No deadline of its own: each peer has one, and so has a group that closes. */
    pthread_mutex_lock(&waiter.lock);
    while (!waiter.is_done)
        pthread_cond_wait(&waiter.wake, &waiter.lock);
    pthread_mutex_unlock(&waiter.lock);
    pthread_cond_destroy(&waiter.wake);
    pthread_mutex_destroy(&waiter.lock);
    *trail = repair.trail;
    return repair.err;
}
