#include "server/steps.h"

#include <stdatomic.h>

#include "base/check.h"
#include "base/log.h"

enum err steps_start(struct start_run *run, struct err_trail *trail)
{
    CHECK(run->started == 0);
    while (run->started < run->count) {
        const struct start_step *step = &run->steps[run->started];
        LOG(LOG_DEBUG, "start", "%s", step->name);
        enum err e = step->start(run->context, trail);
        if (e) {
            steps_stop(run);
            return err_note(trail, e, "%s", step->name);
        }
        run->started++;
    }
    return ERR_OK;
}

void steps_stop(struct start_run *run)
{
    while (run->started > 0) {
        const struct start_step *step = &run->steps[--run->started];
        LOG(LOG_DEBUG, "start", "stopping: %s", step->name);
        atomic_store(&run->stopping, step->name);
        if (step->stop != NULL)
            step->stop(run->context);
    }
    atomic_store(&run->stopping, NULL);
}
