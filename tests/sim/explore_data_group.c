#include <string.h>

#include "tests/sim/explore_data_priv.h"

/* What can happen to nodes: they are filled by copies, lead and follow, are in sync or not, crash.
 */

/* ---- a copy: cluster_copy.c, cluster_copy_serve.c ---- */

static bool can_say_too_old(const struct dworld *world, act a)
{
    const struct dx_node *node = &world->nodes[a.node];
    return follows(world, a.node) && node->last < primary_of(world)->last &&
           node->last + 1u < primary_of(world)->index.first && !node->too_old.is_said;
}

static void do_say_too_old(struct dworld *world, act a)
{
    struct dx_node *node = &world->nodes[a.node];
    node->too_old.is_said = true;
    node->too_old.epoch = world->epoch;
    node->too_old.first = primary_of(world)->index.first;
}

static bool can_too_old(const struct dworld *world, act a)
{
    for (unsigned i = 0; i < DX_NODES; i++)
        if (world->nodes[i].copy.is_on)
            return false; /* one at a time, here */
    return world->nodes[a.node].too_old.is_said;
}

static void rows_again(struct dworld *world, struct dx_node *node)
{
    node->copy.run = node->copy.psn = 0;
    node->copy.has_run = false;
    world->snapshot_of = 0;
}

/* begin() */
static void begin(struct dworld *world, unsigned n)
{
    struct dx_node *node = &world->nodes[n];
    node->copy.is_on = true;
    (void)dx_copy_step(world, n, COPY_STEP_BEGIN, 0, 0);
    memset(node->log + node->index.last + 1, 0, DX_RECORDS - node->index.last);
    node->last = node->index.last;
    node->gone = 0;
    node->applied = 0;
    for (unsigned d = 0; d < DX_DATA; d++)
        node->ask[d].is_wanted = false; /* pull_forget() */
    rows_again(world, node);
}

/* cluster__too_old() */
static void do_too_old(struct dworld *world, act a)
{
    struct dx_node *node = &world->nodes[a.node];
    struct data_way_too_old old = {.is_follower = follows(world, a.node),
                                   .is_in_sync = is_in_sync(world, a.node),
                                   .epoch = node->too_old.epoch,
                                   .own_epoch = world->epoch,
                                   .first = node->too_old.first,
                                   .own_last = node->last};
    memset(&node->too_old, 0, sizeof node->too_old);
    if (!data_way_needs_copy(&old))
        return;
    met(world, DX_MET_COPY);
    world->so_far.copies++;
    begin(world, a.node);
}

/* may_serve(), copy_source_open() */
static bool may_serve(const struct dworld *world, unsigned n)
{
    return is_open(world) && !is_in_sync(world, n) && primary_of(world)->index.applied > 0;
}

static bool can_run(const struct dworld *world, act a)
{
    const struct dx_node *node = &world->nodes[a.node];
    if (!node->copy.is_on || node->index.phase != COPY_ROWS || node->copy.run >= DX_RUNS)
        return false;
    return node->copy.run == 0 || world->snapshot_of == world->primary + 1 ||
           may_serve(world, a.node);
}

/* cluster__hold_log() */
static void hold(struct dx_node *node, unsigned target, unsigned psn)
{
    node->hold[target].psn = (uint8_t)psn;
    node->hold[target].promised = (uint8_t)(psn + 1u >= node->index.first ? psn : DX_NONE - 1u);
    node->hold[target].is_on = true;
}

/* read_run() with the first question */
static void open_snapshot(struct dworld *world, unsigned n)
{
    struct dx_node *node = &world->nodes[n], *from = &world->nodes[world->primary];
    world->snapshot = from->index;
    world->snapshot_of = world->primary + 1u;
    node->copy.from = world->primary;
    node->copy.psn = from->index.applied;
    hold(from, n, node->copy.psn);
}

/* ask(), cluster__copy_run(), cluster__copy_lost() */
static void do_run(struct dworld *world, act a)
{
    struct dx_node *node = &world->nodes[a.node];
    bool is_lost = world->snapshot_of != world->primary + 1 || node->copy.from != world->primary;
    if (node->copy.run > 1 && is_lost && !HAS_BUG(D_COPY_MIXED)) {
        met(world, DX_MET_COPY_AGAIN);
        rows_again(world, node);
        return;
    }
    if (node->copy.run > 0 && world->snapshot_of != world->primary + 1)
        open_snapshot(world, a.node);
    (void)dx_copy_step(world, a.node, COPY_STEP_ROWS, 0, 0);
    node->copy.run++;
}

static bool can_named(const struct dworld *world, act a)
{
    const struct dx_node *node = &world->nodes[a.node];
    return node->copy.is_on && node->index.phase == COPY_ROWS && node->copy.run == DX_RUNS;
}

static void do_named(struct dworld *world, act a)
{
    struct dx_node *node = &world->nodes[a.node];
    if (!dx_copy_step(world, a.node, COPY_STEP_NAMED, node->copy.psn, 0))
        rows_again(world, node); /* step_refused() */
    world->snapshot_of = 0;
}

static bool can_store(const struct dworld *world, act a)
{
    const struct dx_node *node = &world->nodes[a.node];
    return node->index.phase == COPY_DATA && node->index.state[a.what] == DX_ABSENT &&
           node->copy.is_on && node->body[a.what] == INCOMING_COMPLETE;
}

static void do_store(struct dworld *world, act a)
{
    world->nodes[a.node].body[a.what] = INCOMING_NONE;
    met(world, DX_MET_COPY_FILLED);
    (void)dx_copy_step(world, a.node, COPY_STEP_DATA, 0, a.what);
}

/* fill_all(): nothing is left but what is gone */
static bool can_end(const struct dworld *world, act a)
{
    const struct dx_node *node = &world->nodes[a.node];
    if (!node->copy.is_on || node->index.phase != COPY_DATA)
        return false;
    for (unsigned d = 0; d < DX_DATA; d++)
        if (node->index.state[d] == DX_ABSENT && !has(node->copy.skipped, d) &&
            !HAS_BUG(D_COPY_ABSENT))
            return false;
    return true;
}

/* ended() */
static void do_end(struct dworld *world, act a)
{
    struct dx_node *node = &world->nodes[a.node];
    (void)dx_copy_step(world, a.node, COPY_STEP_END, 0, 0);
    met(world, DX_MET_COPY_ENDED);
    memset(&node->copy, 0, sizeof node->copy);
    memset(node->log, 0, sizeof node->log);
    memcpy(node->log, world->committed, node->index.last + 1u);
    node->last = node->commit = node->applied = node->index.last;
    node->term = 0;
    for (unsigned d = 0; d < DX_DATA; d++)
        node->ask[d].is_wanted = false;
}

/* cluster__copy_state_told() */
static bool can_tell(const struct dworld *world, act a)
{
    const struct dx_node *node = &world->nodes[a.node], *target = &world->nodes[a.to];
    return a.node != a.to && target->copy.is_on && target->copy.psn > 0 &&
           (!node->hold[a.to].is_on || node->hold[a.to].promised != target->copy.psn) &&
           target->copy.psn + 1u >= node->index.first;
}

static void do_tell(struct dworld *world, act a)
{
    hold(&world->nodes[a.node], a.to, world->nodes[a.to].copy.psn);
}

/* ---- the group ---- */

/* pg_log_match(), by what was committed where the primary has trimmed */
static unsigned match(const struct dworld *world, const struct dx_node *node)
{
    const struct dx_node *primary = primary_of(world);
    unsigned upto = node->last < primary->last ? node->last : primary->last, psn = 0;
    while (psn < upto) {
        uint8_t theirs =
            psn + 1 <= world->commit ? world->committed[psn + 1] : primary->log[psn + 1];
        if (node->log[psn + 1] != theirs)
            break;
        psn++;
    }
    return psn;
}

static void adopt(struct dworld *world, unsigned n, unsigned upto)
{
    struct dx_node *node = &world->nodes[n];
    if (upto < node->last)
        met(world, DX_MET_CUT);
    if (upto < node->index.applied)
        dx_violated(world, "a record that is applied is cut off", n, upto);
    else if (upto < node->index.last)
        dx_cut(world, n, upto);
    memset(node->log + upto + 1, 0, DX_RECORDS - upto);
    node->last = (uint8_t)upto;
    node->gone &= (uint8_t)((1u << (upto + 1)) - 1);
    node->term = world->term;
}

static bool can_match(const struct dworld *world, act a)
{
    const struct dx_node *node = &world->nodes[a.node];
    return leads(world) && a.node != world->primary && !node->copy.is_on &&
           node->term != world->term;
}

static void do_match(struct dworld *world, act a)
{
    adopt(world, a.node, match(world, &world->nodes[a.node]));
}

/* pg_log_forget(): the primary knows no term before its own any more. What was committed by then
 * and is known to be so here stays. */
static bool can_match_low(const struct dworld *world, act a)
{
    const struct dx_node *node = &world->nodes[a.node];
    return can_match(world, a) && is_open(world) && match(world, node) > node->commit;
}

static void do_match_low(struct dworld *world, act a)
{
    adopt(world, a.node, world->nodes[a.node].commit);
}

/* silent() */
static bool can_out(const struct dworld *world, act a)
{
    return leads(world) && a.node != world->primary && is_in_sync(world, a.node);
}

static void do_out(struct dworld *world, act a)
{
    world->in_sync &= (uint8_t) ~(1u << a.node);
    world->epoch++;
    world->so_far.outs++;
}

/* caught_up(); armed and in sync at once */
static bool can_join(const struct dworld *world, act a)
{
    return !is_in_sync(world, a.node) && follows(world, a.node) && is_open(world) &&
           world->nodes[a.node].index.last >= primary_of(world)->commit;
}

static void do_join(struct dworld *world, act a)
{
    world->in_sync |= (uint8_t)(1u << a.node);
    world->epoch++;
    for (unsigned i = 0; i < DX_NODES; i++)
        memset(&world->nodes[i].hold[a.node], 0, sizeof world->nodes[i].hold[a.node]);
}

/* pg__replica_tick(), pg_lead_anew() */
static bool can_lead(const struct dworld *world, act a)
{
    const struct dx_node *node = &world->nodes[a.node];
    bool is_stuck = node->index.last < node->last && way_of_head(world, node) != DATA_WAY_READY;
    return is_in_sync(world, a.node) && !node->copy.is_on &&
           (a.node != world->primary || world->must_lead || is_stuck);
}

/* pg__lead(): what is not on its own disk goes. */
static void do_lead(struct dworld *world, act a)
{
    struct dx_node *node = &world->nodes[a.node];
    if (a.node != world->primary) {
        world->in_sync &= (uint8_t) ~(1u << world->primary);
        met(world, DX_MET_TAKE_OVER);
    }
    world->primary = a.node;
    world->term++;
    world->epoch++;
    world->must_lead = false;
    world->so_far.leads++;
    adopt(world, a.node, node->index.last);
    world->barrier = node->last;
}

/* ---- crashes ---- */

static bool can_crash(const struct dworld *world, act a)
{
    (void)world;
    (void)a;
    return true;
}

/* down(): what was under way from and to it is lost. */
static void lose_links(struct dworld *world, unsigned n)
{
    struct dx_node *node = &world->nodes[n];
    node->on_its_way = node->dropping = 0;
    memset(node->ask, 0, sizeof node->ask);
    memset(&node->too_old, 0, sizeof node->too_old);
    for (unsigned i = 0; i < DX_NODES; i++)
        for (unsigned d = 0; d < DX_DATA; d++) {
            struct dx_node *other = &world->nodes[i];
            if (other->ask[d].state != DX_NO_ASK && other->ask[d].to == n)
                memset(&other->ask[d], 0, sizeof other->ask[d]);
            if (world->origin[d] == n)
                other->on_its_way &= (uint8_t) ~(1u << d);
        }
    if (world->snapshot_of == n + 1 || node->copy.is_on)
        world->snapshot_of = 0;
}

/* cluster__restore(), cluster__copy_restore() */
static void restore(struct dx_node *node)
{
    memset(node->dying, 0, sizeof node->dying); /* what no record covers is free */
    memset(node->body, 0, sizeof node->body);
    memset(node->hold, 0, sizeof node->hold);
    memset(&node->copy, 0, sizeof node->copy);
    memset(node->log + node->index.last + 1, 0, DX_RECORDS - node->index.last);
    node->last = node->index.last;
    node->gone = 0;
    node->commit = node->applied = node->index.applied;
    if (HAS_BUG(D_COPY_FORGOTTEN))
        node->index.phase = node->disk.phase = COPY_NONE;
    if (node->index.phase == COPY_NONE)
        return;
    node->applied = 0;
    node->copy.is_on = true;
    node->copy.psn = node->index.copy_psn;
    node->copy.run = node->index.phase == COPY_DATA ? DX_RUNS : 0;
}

static void crash(struct dworld *world, unsigned n)
{
    struct dx_node *node = &world->nodes[n];
    met(world, DX_MET_CRASH);
    world->so_far.crashes++;
    lose_links(world, n);
    node->index = node->disk;
    restore(node);
    world->must_lead |= n == world->primary;
    for (unsigned r = 0; r < DX_RECORDS; r++)
        world->records[r].is_excused = true;
}

static void do_crash(struct dworld *world, act a)
{
    crash(world, a.node);
}

static void do_crash_late(struct dworld *world, act a)
{
    world->nodes[a.node].disk = world->nodes[a.node].index;
    crash(world, a.node);
}

const struct dx_rule dx_group_rules[DX_KINDS] = {
    [DX_SAY_TOO_OLD] = {"is to hear that it is too old", can_say_too_old, do_say_too_old, 0, 0,
                        false},
    [DX_TOO_OLD] = {"hears that it is too old", can_too_old, do_too_old, 0, 0, false},
    [DX_RUN] = {"a run of rows is merged", can_run, do_run, 0, 0, false},
    [DX_NAMED] = {"all names are here", can_named, do_named, 0, 0, false},
    [DX_STORE] = {"data of the copy is stored", can_store, do_store, DX_DATA, 0, false},
    [DX_END] = {"the copy ends", can_end, do_end, 0, 0, false},
    [DX_TELL] = {"hears what is copied", can_tell, do_tell, 0, DX_NODES, false},
    [DX_MATCH] = {"matches its log", can_match, do_match, 0, 0, false},
    [DX_MATCH_LOW] = {"matches its log as far as it must", can_match_low, do_match_low, 0, 0,
                      false},
    [DX_OUT] = {"is out of sync", can_out, do_out, 0, 0, false},
    [DX_JOIN] = {"is in sync", can_join, do_join, 0, 0, false},
    [DX_LEAD] = {"takes a new term", can_lead, do_lead, 0, 0, false},
    [DX_CRASH] = {"crashes", can_crash, do_crash, 0, 0, false},
    [DX_CRASH_LATE] = {"crashes when all is synced", can_crash, do_crash_late, 0, 0, false},
};
