#include "base/work.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/cleanup.h"

struct work_pool {
    pthread_mutex_t mutex; /* over all below but the threads */
    pthread_cond_t wanted;
    struct work *first, *last; /* borrowed; in the order submitted */
    bool is_closing;
    char name[16];
    unsigned thread_count; /* running ones */
    pthread_t threads[];
};

/* The next job, or NULL when the pool closes and all is done. */
static struct work *take_job(struct work_pool *pool)
{
    CHECK(pthread_mutex_lock(&pool->mutex) == 0);
    while (pool->first == NULL && !pool->is_closing)
        CHECK(pthread_cond_wait(&pool->wanted, &pool->mutex) == 0);
    struct work *work = pool->first;
    if (work) {
        pool->first = work->next;
        if (pool->first == NULL)
            pool->last = NULL;
        work->next = NULL;
    }
    CHECK(pthread_mutex_unlock(&pool->mutex) == 0);
    return work;
}

static void deliver_done(struct loop_msg *msg)
{
    struct work *work = CONTAINER_OF(msg, struct work, msg);
    work->done(work);
}

static void *thread_main(void *context)
{
    struct work_pool *pool = context;
    (void)pthread_setname_np(pthread_self(), pool->name); /* only for people who look at it */
    for (struct work *work; (work = take_job(pool)) != NULL;) {
        work->run(work);
        work->msg.deliver = deliver_done;
        loop_post(work->loop, &work->msg); /* from here on it is not ours */
    }
    return NULL;
}

CLEANUP_DEFINE(work_pool_close, struct work_pool *)

enum err work_pool_open(unsigned thread_count, const char *name, struct work_pool **ret_pool)
{
    CHECK(thread_count > 0);
    CLEANUP(work_pool_close)
    struct work_pool *pool = calloc(1, sizeof *pool + thread_count * sizeof(pthread_t));
    if (pool == NULL)
        return ERR_NO_MEMORY;
    CHECK(pthread_mutex_init(&pool->mutex, NULL) == 0);
    CHECK(pthread_cond_init(&pool->wanted, NULL) == 0);
    snprintf(pool->name, sizeof pool->name, "%s", name);
    for (; pool->thread_count < thread_count; pool->thread_count++) {
        int result = pthread_create(&pool->threads[pool->thread_count], NULL, thread_main, pool);
        if (result != 0)
            return err_from_errno(result); /* those that run are ended by the close */
    }
    *ret_pool = TAKE(pool);
    return ERR_OK;
}

void work_pool_close(struct work_pool *pool)
{
    if (pool == NULL)
        return;
    CHECK(pthread_mutex_lock(&pool->mutex) == 0);
    pool->is_closing = true;
    CHECK(pthread_cond_broadcast(&pool->wanted) == 0);
    CHECK(pthread_mutex_unlock(&pool->mutex) == 0);
    for (unsigned i = 0; i < pool->thread_count; i++)
        CHECK(pthread_join(pool->threads[i], NULL) == 0);
    CHECK(pool->first == NULL);
    CHECK(pthread_cond_destroy(&pool->wanted) == 0);
    CHECK(pthread_mutex_destroy(&pool->mutex) == 0);
    free(pool);
}

void work_submit(struct work_pool *pool, struct work *work)
{
    CHECK(work->run != NULL);
    CHECK(work->done != NULL);
    CHECK(work->loop != NULL);
    work->next = NULL;
    CHECK(pthread_mutex_lock(&pool->mutex) == 0);
    CHECK(!pool->is_closing);
    if (pool->last)
        pool->last->next = work;
    else
        pool->first = work;
    pool->last = work;
    CHECK(pthread_cond_signal(&pool->wanted) == 0);
    CHECK(pthread_mutex_unlock(&pool->mutex) == 0);
}
