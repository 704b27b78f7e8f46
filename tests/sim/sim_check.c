#include "tests/sim/sim.h"

/*
 * The invariants of the design, by its numbers: I1 a committed record is on the disk of every
 * member of every later in-sync set; I2 one record a psn is ever committed; I3 a replica shows
 * nothing that no primary has shown; I4 a read never returns less than what was acknowledged or
 * read before it began; I6 a lease is covered by a promise; I12 in the end all replicas hold the
 * same, and all are in sync whose disks are not broken. All clients work on one register that the
 * log orders, so I2 and I4 together are linearizability.
 */

void sim_check_committed(struct sim_node *node, uint64_t psn)
{
    struct sim *sim = node->sim;
    if (psn <= sim->committed_to) {
        if (sim->committed[psn] != node->log[psn].id)
            sim_violated(sim, "I2: psn %llu is committed as record %llu, and as %llu at node %u",
                         (unsigned long long)psn, (unsigned long long)sim->committed[psn],
                         (unsigned long long)node->log[psn].id, node->index);
        return;
    }
    CHECK(psn == sim->committed_to + 1);
    sim->committed[psn] = node->log[psn].id;
    sim->committed_to = psn;
}

void sim_check_acked(struct sim_node *node, uint64_t psn)
{
    struct sim *sim = node->sim;
    sim->acks++;
    if (psn > sim->acked_to)
        sim->acked_to = psn;
}

void sim_check_read(struct sim_node *node)
{
    struct sim *sim = node->sim;
    uint64_t seen = node->applied;
    sim->reads++;
    if (seen < sim->acked_to)
        sim_violated(sim, "I4: node %u reads psn %llu after %llu was acknowledged", node->index,
                     (unsigned long long)seen, (unsigned long long)sim->acked_to);
    if (seen < sim->read_to)
        sim_violated(sim, "I4: node %u reads psn %llu after %llu was read", node->index,
                     (unsigned long long)seen, (unsigned long long)sim->read_to);
    if (seen > sim->read_to)
        sim->read_to = seen;
}

void sim_check_shown(struct sim_node *node, uint64_t psn)
{
    if (!pg__is_primary(&node->pg) && psn > node->sim->shown_to)
        sim_violated(node->sim, "I3: node %u may show psn %llu, and primaries show %llu",
                     node->index, (unsigned long long)psn, (unsigned long long)node->sim->shown_to);
}

void sim_check_replicas(struct sim *sim)
{
    for (unsigned i = 0; i < sim->options.node_count; i++) {
        const struct sim_disk *disk = &sim->nodes[i].disk;
        bool is_counted_on =
            pg_mask_has(sim->present.config.in_sync, i) && sim->present.disks[i] == disk->number;
        if (!is_counted_on)
            continue;
        for (uint64_t psn = sim->committed_to; psn > 0; psn--) {
            bool has_it = psn <= disk->state.log.last && disk->log[psn].id == sim->committed[psn];
            if (!has_it) {
                sim_violated(sim, "I1: node %u is in sync (epoch %llu) and its disk lacks psn %llu",
                             i, (unsigned long long)sim->present.config.epoch,
                             (unsigned long long)psn);
                return;
            }
        }
    }
}

void sim_check_leases(struct sim *sim)
{
    for (unsigned i = 0; i < sim->options.node_count; i++) {
        const struct sim_node *holder = &sim->nodes[i];
        if (!holder->is_up || holder->is_joining || !pg__is_primary(&holder->pg))
            continue;
        for (unsigned j = 0; j < sim->options.node_count; j++) {
            const struct sim_node *giver = &sim->nodes[j];
            if (j == i || !giver->is_up || giver->is_joining ||
                holder->pg.peers[j].lease_ns <= sim_local_ns(holder))
                continue;
            if (giver->pg.peers[i].promise_ns <= sim_local_ns(giver))
                sim_violated(sim, "I6: node %u has a lease of node %u without its promise", i, j);
        }
    }
}

#define LAG_MAX 64u /* records still on their way */

static uint8_t broken_disks(const struct sim *sim)
{
    uint8_t mask = 0;
    for (unsigned i = 0; i < sim->options.node_count; i++)
        if (sim_disk_refuses(&sim->nodes[i]))
            mask |= pg__bit(i);
    return mask;
}

/* Who may lead: what is committed is on its disk, and that takes more. */
static bool may_anybody_lead(const struct sim *sim, uint8_t broken)
{
    for (unsigned i = 0; i < sim->options.node_count; i++)
        if (pg_mask_has(sim->present.config.in_sync & ~broken, i) &&
            sim->present.disks[i] == sim->nodes[i].disk.number)
            return true;
    return false;
}

void sim_check_end(struct sim *sim)
{
    if (sim->options.reg != SIM_MAGIC)
        sim_quorum_check_end(sim);
    if (sim->options.reg == SIM_REGISTER_ONLY)
        return;
    const struct sim_node *primary = &sim->nodes[sim->present.config.primary];
    uint8_t broken = broken_disks(sim);
    uint8_t all = (uint8_t)(((1u << sim->options.node_count) - 1) & ~broken);
    if (broken && !may_anybody_lead(sim, broken))
        return; /* for it was alone in sync: its disk is waited for */
    if (pg_mask_has(broken, primary->index))
        sim_violated(sim, "the end: node %u is primary, and its disk takes nothing",
                     primary->index);
    else if (primary->pg.role != PG_OPEN)
        sim_violated(sim, "the end: node %u is primary and not open", primary->index);
    else if (sim->present.config.in_sync != all)
        sim_violated(sim, "I12: in sync are %x of %x in the end", sim->present.config.in_sync, all);
    for (unsigned i = 0; i < sim->options.node_count; i++) {
        const struct sim_node *node = &sim->nodes[i];
        if (pg_mask_has(broken, i))
            continue;
        if (node->is_joining || sim->present.disks[i] != node->disk.number)
            sim_violated(sim, "I12: node %u is not known by its disk in the end", i);
        if (node->pg.d.log.last + LAG_MAX < primary->pg.d.log.last)
            sim_violated(sim, "I12: node %u has psn %llu of %llu in the end", i,
                         (unsigned long long)node->pg.d.log.last,
                         (unsigned long long)primary->pg.d.log.last);
    }
}
