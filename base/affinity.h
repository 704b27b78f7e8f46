/*
 * A thread that the scheduler moves now and then, and not at each wake-up: for one that sends
 * packets through the kernel, where those it sent on another CPU may still wait.
 *
 *     free --affinity_stay(): bound to the CPU it is on--> bound --AFFINITY_STAY_NS later--> free
 *
 * Free for one turn of the caller's, so that a CPU that others want is left at the next wake-up. A
 * thread that may use one CPU only, or whose CPUs somebody else has set meanwhile, is let be.
 */
#ifndef BASE_AFFINITY_H
#define BASE_AFFINITY_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

#define AFFINITY_STAY_NS (100 * NS_PER_MS)

struct affinity { /* zeroed at first; of one thread */
    bool is_begun, is_bound, is_let_be;
    uint64_t since_ns; /* bound or free */
    cpu_set_t all, one;
};

/* To be called again and again, with the time of the caller's turn. */
void affinity_stay(struct affinity *affinity, uint64_t now_ns);
/* The CPUs it had at first. */
void affinity_end(struct affinity *affinity);

#endif
