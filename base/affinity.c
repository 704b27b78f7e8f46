#include "base/affinity.h"

static void begin(struct affinity *affinity)
{
    affinity->is_begun = true;
    affinity->is_let_be = sched_getaffinity(0, sizeof affinity->all, &affinity->all) != 0 ||
                          CPU_COUNT(&affinity->all) < 2;
}

/* A kernel that does not let it, a sandbox: then it moves as any thread does. */
static void bind_here(struct affinity *affinity, uint64_t now_ns)
{
    int cpu = sched_getcpu();
    if (cpu < 0 || cpu >= CPU_SETSIZE) {
        affinity->is_let_be = true;
        return;
    }
    CPU_ZERO(&affinity->one);
    CPU_SET(cpu, &affinity->one);
    affinity->is_bound = sched_setaffinity(0, sizeof affinity->one, &affinity->one) == 0;
    affinity->is_let_be = !affinity->is_bound;
    affinity->since_ns = now_ns;
}

static void unbind(struct affinity *affinity, uint64_t now_ns)
{
    cpu_set_t set;
    bool is_ours =
        sched_getaffinity(0, sizeof set, &set) == 0 && CPU_EQUAL(&set, &affinity->one) != 0;
    affinity->is_bound = false;
    affinity->is_let_be =
        !is_ours || sched_setaffinity(0, sizeof affinity->all, &affinity->all) != 0;
    affinity->since_ns = now_ns;
}

void affinity_stay(struct affinity *affinity, uint64_t now_ns)
{
    if (!affinity->is_begun)
        begin(affinity);
    if (affinity->is_let_be)
        return;
    if (affinity->is_bound && now_ns - affinity->since_ns >= AFFINITY_STAY_NS)
        unbind(affinity, now_ns);
    else if (!affinity->is_bound && now_ns != affinity->since_ns)
        bind_here(affinity, now_ns);
}

void affinity_end(struct affinity *affinity)
{
    if (affinity->is_bound)
        unbind(affinity, affinity->since_ns);
    affinity->is_let_be = true;
}
