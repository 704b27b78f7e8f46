#include "replication/propose_wait.h"

struct waiter {
    struct mutation *m; /* borrowed */
    bool finished;
};

static void waiter_done(struct mutation *m)
{
    struct waiter *waiter = m->group_private;
    waiter->finished = true;
}

CLEANUP_DEFINE(loop_close, struct loop *)

enum err replication__wait(struct mutation *m, submit_fn *submit, void *context,
                           struct volume *stepped)
{
    CLEANUP(loop_close) struct loop *loop = NULL;
    /* The poll backend: one eventfd is all this loop ever waits for, and a ring for each call would
     * cost more than the wait. */
    enum err e =
        loop_open(&(struct loop_options){.name = "propose-wait", .ring_choice = RING_FORCE_POLL},
                  &loop, &m->trail);
    if (e)
        return err_note(&m->trail, e, "wait for a change");

    struct waiter waiter = {.m = m};
    m->loop = loop;
    m->done = waiter_done;
    m->group_private = &waiter;
    submit(context, m);
    /* No deadline here: until the volume answers it may still use the mutation's memory; a wedged
     * disk is the volume's to judge. */
    while (!waiter.finished) {
        if (stepped != NULL)
            volume_step(stepped);
        loop_run_once(loop, stepped != NULL ? 0 : UINT64_MAX);
    }
    m->loop = NULL;
    m->group_private = NULL;
    return m->err;
}
