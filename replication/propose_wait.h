/*
 * Waiting for a mutation on a thread that has no loop of its own: start-up, the admin port's
 * threads, tests. A private loop receives the answer, so the volume answers everybody in the same
 * way. With a volume that has no threads the waiting thread does its steps.
 */
#ifndef REPLICATION_PROPOSE_WAIT_H
#define REPLICATION_PROPOSE_WAIT_H

#include "storage/volume.h"

typedef void submit_fn(void *context, struct mutation *m);

/* Sets m->loop and m->done, calls submit(context, m), returns m->err after done. `stepped`: a
 * VOLUME_NO_THREADS volume to step, or NULL. */
enum err replication__wait(struct mutation *m, submit_fn *submit, void *context,
                           struct volume *stepped) MUST_USE;

#endif
