/*
 * Starting and stopping as a table: each step is a name, what it does and what undoes it. A failure
 * runs the finished steps' stops backwards, so no step ever has to know what comes after it, and a
 * half-started node is never left.
 */
#ifndef SERVER_STEPS_H
#define SERVER_STEPS_H

#include <stddef.h>

#include "base/err.h"

struct start_step {
    const char *name; /* ends the sentence "cannot start: <name>" */
    /* A failed start leaves nothing of its own behind. */
    enum err (*start)(void *context, struct err_trail *trail);
    void (*stop)(void *context); /* NULL: nothing to undo */
};

struct start_run {
    const struct start_step *steps; /* borrowed */
    size_t count;
    void *context;
    size_t started; /* steps whose start succeeded and whose stop has not run */
    /* The step whose stop runs, or NULL: any thread may look what is waited for. */
    _Atomic(const char *) stopping;
};

/* All of them or none. */
enum err steps_start(struct start_run *run, struct err_trail *trail) MUST_USE;
void steps_stop(struct start_run *run); /* backwards; does nothing the second time */

#endif
