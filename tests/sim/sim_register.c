#include <string.h>

#include "tests/sim/sim.h"

/*
 * The configuration register outside, which answers late, or not at all, or has done what it did
 * not answer. And a driver's part in who has which disk: a swap that puts a node in sync names the
 * disk that has caught up; whoever finds another one tells the pg.
 */

#define SWAP_LIMIT_NS (500 * NS_PER_MS) /* then its outcome is unknown */

/* ---- disks ---- */

static void compare_disks(struct sim_node *node)
{
    for (unsigned i = 0; i < node->sim->options.node_count; i++) {
        uint8_t disk = node->peer_disks[i];
        if (i != node->index && disk > 0 && disk != node->known.disks[i])
            pg_peer_disk_changed(&node->pg, (uint8_t)i);
    }
}

bool sim_register_linked(struct sim_node *node, uint8_t peer, uint8_t disk)
{
    if (disk <= node->peer_disks[peer])
        return disk == node->peer_disks[peer];
    node->peer_disks[peer] = disk;
    if (!node->is_joining)
        compare_disks(node);
    return true;
}

/* Another swap names the disks of those it puts in sync; the same one again says the same. */
static void name_disks(struct sim_node *node, const struct pg_config *next)
{
    if (next->nonce == node->swap_nonce)
        return;
    node->swap_nonce = next->nonce;
    node->swap_mask = (uint8_t)(next->in_sync & ~node->pg.d.config.in_sync);
    memcpy(node->swap_disks, node->peer_disks, sizeof node->swap_disks);
}

/* ---- what a node asks ---- */

void sim_register_swap(void *context, const struct pg_config *next)
{
    struct sim_node *node = context;
    struct sim *sim = node->sim;
    bool comes_late = sim_chance(sim, 5) && !sim->is_healing;
    uint64_t delay_ns = comes_late ? sim_between(sim, NS_PER_MS, 2000 * NS_PER_MS)
                                   : sim_between(sim, NS_PER_MS, 20 * NS_PER_MS);
    name_disks(node, next);
    if (sim->options.reg != SIM_MAGIC) {
        struct sim_value value = {.config = *next};
        memcpy(value.disks, node->swap_disks, sizeof value.disks);
        sim_quorum_swap(node, &value, node->swap_mask);
        return;
    }
    struct sim_event *event = sim_event_new(sim, SIM_SWAP, node->index, delay_ns);
    event->value.config = *next;
    memcpy(event->value.disks, node->swap_disks, sizeof event->value.disks);
    event->disks_mask = node->swap_mask;
    event->life = node->life;
    struct sim_event *limit = sim_event_new(sim, SIM_SWAPPED, node->index, SWAP_LIMIT_NS);
    limit->life = node->life;
    limit->outcome = PG_SWAP_UNKNOWN;
    limit->number = next->nonce;
}

void sim_register_read(void *context)
{
    struct sim_node *node = context;
    struct sim *sim = node->sim;
    if (sim->options.reg != SIM_MAGIC) {
        sim_quorum_read(node);
        return;
    }
    if (sim->register_is_down || sim_chance(sim, sim->drop_percent))
        return;
    struct sim_event *event =
        sim_event_new(sim, SIM_CONFIG, node->index, sim_between(sim, NS_PER_MS, 30 * NS_PER_MS));
    event->life = node->life;
    event->value = sim->present;
}

/* ---- the register ---- */

static void put(struct sim *sim, const struct sim_event *asked)
{
    struct sim_value *present = &sim->present;
    present->config = asked->value.config;
    for (unsigned i = 0; i < PG_NODES_MAX; i++)
        if (pg_mask_has(asked->disks_mask, i))
            present->disks[i] = asked->value.disks[i];
    sim->swaps++;
    SIM_TELL(sim, "register: epoch %llu term %llu primary %u in sync %x",
             (unsigned long long)present->config.epoch, (unsigned long long)present->config.term,
             present->config.primary, present->config.in_sync);
    sim_check_replicas(sim);
}

void sim_register_asked(struct sim *sim, const struct sim_event *asked)
{
    if (sim->register_is_down || sim_chance(sim, sim->drop_percent / 2))
        return; /* never came */
    bool fits = asked->value.config.epoch == sim->present.config.epoch + 1;
    if (fits)
        put(sim, asked);
    if (sim_chance(sim, sim->drop_percent / 2))
        return; /* the answer is lost */
    uint64_t delay_ns = sim_between(sim, NS_PER_MS, (sim_chance(sim, 10) ? 700 : 20) * NS_PER_MS);
    struct sim_event *answer = sim_event_new(sim, SIM_SWAPPED, asked->node, delay_ns);
    answer->life = asked->life;
    answer->outcome = fits ? PG_SWAP_DONE : PG_SWAP_LOST;
    answer->value = sim->present;
    answer->number = asked->value.config.nonce;
}

/* ---- what a node hears ---- */

static void know(struct sim_node *node, const struct sim_value *value)
{
    if (value->config.epoch >= node->known.config.epoch)
        node->known = *value;
    if (!node->is_joining && value->disks[node->index] == node->disk.number)
        pg_disk_known(&node->pg);
}

/* There is no record yet: all nodes are here, and begin with empty logs. */
static void found_group(struct sim_node *node)
{
    struct sim *sim = node->sim;
    uint8_t all = (uint8_t)((1u << sim->options.node_count) - 1);
    struct sim_value first = {
        .config = {.epoch = 1, .term = 1, .primary = node->index, .in_sync = all},
    };
    first.config.nonce = rand_u64(&sim->rand.rand);
    for (unsigned i = 0; i < sim->options.node_count; i++)
        first.disks[i] = sim->nodes[i].disk.number;
    sim_quorum_swap(node, &first, all);
}

void sim_register_answered(struct sim_node *node, const struct sim_event *answer)
{
    uint64_t now_ns = sim_local_ns(node);
    bool has_value = answer->kind == SIM_CONFIG || answer->outcome != PG_SWAP_UNKNOWN;
    if (has_value)
        know(node, &answer->value);
    if (node->is_joining) {
        if (has_value && answer->value.config.epoch == 0)
            found_group(node);
        else if (has_value && node->sim->options.reg != SIM_REGISTER_ONLY)
            sim_node_join(node);
        return;
    }
    /* A driver knows its own swap by the connection it went out on; here by the nonce. */
    if (answer->kind == SIM_CONFIG)
        pg_config_read(&node->pg, now_ns, &answer->value.config);
    else if (answer->number == node->pg.wanted.nonce)
        pg_swapped(&node->pg, now_ns, answer->outcome, &answer->value.config);
    compare_disks(node);
}

/* ---- faults ---- */

/*
 * One more disk may go: all that the record counts on are there, another one beside it, and nothing
 * is on its way that would make the record count on this one alone.
 */
bool sim_register_may_lose_disk(const struct sim_node *node)
{
    const struct sim *sim = node->sim;
    const struct sim_value *present = &sim->present;
    if (sim->options.reg != SIM_MAGIC && !sim_quorum_may_lose_disk(node))
        return false;
    if (sim->options.reg == SIM_REGISTER_ONLY)
        return true;
    for (size_t i = 0; i < sim->heap_size; i++)
        if (sim->heap[i]->kind == SIM_SWAP && sim->heap[i]->node == node->index)
            return false;
    for (unsigned i = 0; i < sim->options.node_count; i++)
        if (pg_mask_has(present->config.in_sync, i) &&
            present->disks[i] != sim->nodes[i].disk.number)
            return false;
    return (present->config.in_sync & ~pg__bit(node->index)) != 0;
}
