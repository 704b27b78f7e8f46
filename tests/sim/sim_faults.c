#include "tests/sim/sim.h"

/* What goes wrong. One fault comes 100 to 700 ms after the other; they overlap. */

/* Of a group, or of the register alone: a ballot takes few ms, what breaks one must be as quick. */
static const struct pace {
    uint64_t fault_min_ns, fault_max_ns, down_short_ns, down_long_ns;
    unsigned short_percent, lose_disk_percent;
} group_pace = {100 * NS_PER_MS, 700 * NS_PER_MS, 300 * NS_PER_MS, 4000 * NS_PER_MS, 50, 15},
  register_pace = {5 * NS_PER_MS, 100 * NS_PER_MS, 10 * NS_PER_MS, 500 * NS_PER_MS, 80, 30};

static const struct pace *pace_of(const struct sim *sim)
{
    return sim->options.reg == SIM_REGISTER_ONLY ? &register_pace : &group_pace;
}

void sim_crash(struct sim *sim, struct sim_node *node)
{
    if (!node->is_up)
        return;
    const struct pace *pace = pace_of(sim);
    sim_node_crash(node);
    if (sim_chance(sim, pace->lose_disk_percent) && sim_register_may_lose_disk(node))
        sim_node_lose_disk(node);
    uint64_t down_ns = sim_chance(sim, pace->short_percent)
                           ? sim_between(sim, NS_PER_MS, pace->down_short_ns)
                           : sim_between(sim, pace->down_short_ns, pace->down_long_ns);
    sim_event_new(sim, SIM_RESTART, node->index, down_ns);
}

/* A primary's disk does not take what comes next. */
static bool lead_anew(struct sim_node *node)
{
    bool leads = node->is_up && !node->is_joining && node->pg.role != PG_FOLLOWER;
    if (!leads)
        return false;
    SIM_TELL(node->sim, "node %u is to lead anew", node->index);
    pg_lead_anew(&node->pg, sim_local_ns(node));
    return true;
}

/* The disk takes nothing for a while, or ever again; every other time it does not say so, either.
 * One at a time: the others must be able to go on.
 */
static bool refuse(struct sim *sim, struct sim_node *node)
{
    for (unsigned i = 0; i < sim->options.node_count; i++)
        if (sim_disk_refuses(&sim->nodes[i]))
            return false;
    bool is_for_ever = sim_chance(sim, 20);
    uint64_t for_ns = sim_between(sim, 20 * NS_PER_MS, 3000 * NS_PER_MS);
    node->disk.refuses_from_ns = sim->now_ns;
    node->disk.refuses_until_ns = is_for_ever ? UINT64_MAX : sim->now_ns + for_ns;
    node->disk.hangs = sim->broken_disks % 2 == 1;
    if (!is_for_ever)
        sim_event_new(sim, SIM_DISK_TAKES, node->index, for_ns);
    sim->broken_disks++;
    SIM_TELL(sim, "node %u's disk %s %s", node->index,
             node->disk.hangs ? "answers nothing" : "takes nothing",
             is_for_ever ? "any more" : "for a while");
    return true;
}

/* Unless it was replaced, or has begun to refuse anew. */
void sim_disk_takes(struct sim *sim, struct sim_node *node)
{
    struct sim_disk *disk = &node->disk;
    if (disk->refuses_until_ns == 0 || sim_disk_refuses(node))
        return;
    disk->refuses_until_ns = 0;
    SIM_TELL(sim, "node %u's disk takes what it is asked", node->index);
    if (!node->is_up)
        return;
    struct sim_event *event = sim_event_new(sim, SIM_PERSISTED, node->index, 1);
    event->life = node->life;
    event->number = disk->asked;
}

static void stand_still(struct sim *sim, struct sim_node *node)
{
    uint64_t for_ns = sim_between(sim, 50 * NS_PER_MS, 3000 * NS_PER_MS);
    node->paused_until_ns = sim->now_ns + for_ns;
    SIM_TELL(sim, "node %u stands still for %llu ms", node->index,
             (unsigned long long)(for_ns / NS_PER_MS));
}

/* One node from the others, or one direction between two. */
static void cut(struct sim *sim, struct sim_node *node)
{
    unsigned other = (unsigned)sim_between(sim, 0, sim->options.node_count - 1);
    bool is_whole = sim_chance(sim, 50), is_one_way = sim_chance(sim, 30);
    for (unsigned i = 0; i < sim->options.node_count; i++) {
        if (!is_whole && i != other)
            continue;
        sim->is_cut[node->index][i] = true;
        sim->is_cut[i][node->index] = !is_one_way;
    }
    SIM_TELL(sim, "node %u is cut off from %s%s", node->index, is_whole ? "all" : "one",
             is_one_way ? ", one way" : "");
}

static void mend(struct sim *sim)
{
    for (unsigned i = 0; i < PG_NODES_MAX; i++)
        for (unsigned j = 0; j < PG_NODES_MAX; j++)
            sim->is_cut[i][j] = false;
    sim->register_is_down = false;
    sim->drop_percent = 0;
    SIM_TELL(sim, "the network is mended");
}

void sim_fault(struct sim *sim)
{
    struct sim_node *node = &sim->nodes[sim_between(sim, 0, sim->options.node_count - 1)];
    /* Half of the time it is the primary's turn: that is where the protocol works. */
    if (sim_chance(sim, 40))
        node = &sim->nodes[sim->present.config.primary];
    switch (sim_between(sim, 0, sim->options.breaks_disks ? 10 : 9)) {
    case 0:
    case 1:
        sim_crash(sim, node);
        break;
    case 2:
        if (!lead_anew(node))
            sim_crash(sim, node);
        break;
    case 3:
    case 4:
        stand_still(sim, node);
        break;
    case 5:
        cut(sim, node);
        break;
    case 6:
        sim->drop_percent = (unsigned)sim_between(sim, 1, 40);
        break;
    case 7:
        sim->register_is_down = true;
        break;
    case 10:
        if (!refuse(sim, node))
            mend(sim);
        break;
    default:
        mend(sim);
        break;
    }
    const struct pace *pace = pace_of(sim);
    sim_event_new(sim, SIM_FAULT, 0, sim_between(sim, pace->fault_min_ns, pace->fault_max_ns));
}

/* The others can go on without it: a majority for the register, and enough copies. */
static bool may_stay_broken(const struct sim_node *node)
{
    const struct sim *sim = node->sim;
    return node->disk.refuses_until_ns == UINT64_MAX && sim->options.node_count >= 3 &&
           sim->options.reg != SIM_REGISTER_ONLY;
}

void sim_heal(struct sim *sim)
{
    SIM_TELL(sim, "all is healed");
    sim->is_healing = true;
    sim->twice_percent = 0;
    mend(sim);
    for (unsigned i = 0; i < sim->options.node_count; i++) {
        struct sim_node *node = &sim->nodes[i];
        node->paused_until_ns = 0;
        if (sim_disk_refuses(node) && !may_stay_broken(node)) {
            node->disk.refuses_until_ns = sim->now_ns;
            sim_disk_takes(sim, node);
        }
        if (!node->is_up)
            sim_node_start(node);
    }
}
