#include <stdio.h>
#include <string.h>

#include "tests/sim/explore_data_priv.h"

/* What can happen to bodies, records and data. Of two nodes one is `node`: where the driver runs
 * whose rule it is. */

static bool brings(const struct dworld *world, const struct dx_node *node, unsigned psn,
                   unsigned data)
{
    const struct dx_record *record = &world->records[node->log[psn] - 1];
    return record->kind <= DX_PUT_NEW && record->data == data;
}

/* The record in to_log that brings the data; 0: none. cluster__names_data() */
static unsigned waiting_with(const struct dworld *world, const struct dx_node *node, unsigned data)
{
    for (unsigned psn = node->index.last + 1u; psn <= node->last; psn++)
        if (brings(world, node, psn, data))
            return psn;
    return 0;
}

/* ---- bodies: cluster_body.c, incoming.c ---- */

static bool can_body(const struct dworld *world, act a)
{
    return world->data[a.what] == DX_UNUSED && !world->nodes[a.node].copy.is_on &&
           (a.what == 0 || world->data[a.what - 1] != DX_UNUSED);
}

static void do_body(struct dworld *world, act a)
{
    world->data[a.what] = DX_WITHOUT_NAME;
    world->origin[a.what] = a.node;
    world->so_far.bodies++;
    for (unsigned i = 0; i < DX_NODES; i++)
        if (i != a.node)
            world->nodes[i].on_its_way |= (uint8_t)(1u << a.what);
    world->nodes[a.node].body[a.what] = INCOMING_COMPLETE; /* incoming_put() */
}

/* cluster__copy_refuses() */
static bool refuses(const struct dx_node *node, unsigned data)
{
    return node->copy.is_on && !node->ask[data].is_wanted;
}

/* incoming_chunk() of all of them; what is complete stays, and who waits for it is told. */
static void arrive(struct dx_node *node, unsigned data)
{
    if (refuses(node, data))
        return;
    node->body[data] = INCOMING_COMPLETE;
    node->ask[data].is_wanted = false;
}

static bool can_arrive(const struct dworld *world, act a)
{
    return has(world->nodes[a.node].on_its_way, a.what);
}

static void do_arrive(struct dworld *world, act a)
{
    world->nodes[a.node].on_its_way &= (uint8_t) ~(1u << a.what);
    arrive(&world->nodes[a.node], a.what);
}

/* fail() of cluster_propose.c, cluster_body_close() */
static bool can_give_up(const struct dworld *world, act a)
{
    return world->data[a.what] == DX_WITHOUT_NAME ||
           (world->data[a.what] == DX_NUMBERED && HAS_BUG(D_DROP_NUMBERED));
}

static void do_give_up(struct dworld *world, act a)
{
    world->data[a.what] = DX_GIVEN_UP;
    world->nodes[world->origin[a.what]].body[a.what] = INCOMING_NONE;
    for (unsigned i = 0; i < DX_NODES; i++)
        if (i != world->origin[a.what])
            world->nodes[i].dropping |= (uint8_t)(1u << a.what);
}

static bool can_drop(const struct dworld *world, act a)
{
    return has(world->nodes[a.node].dropping, a.what);
}

/* incoming_drop() */
static void do_drop(struct dworld *world, act a)
{
    world->nodes[a.node].dropping &= (uint8_t) ~(1u << a.what);
    world->nodes[a.node].body[a.what] = INCOMING_NONE;
}

/* incoming_tick(); a change waits for a primary, and so does its body, for less than that. */
static bool can_idle(const struct dworld *world, act a)
{
    const struct dx_node *node = &world->nodes[a.node];
    return node->body[a.what] == INCOMING_COMPLETE && world->data[a.what] != DX_WITHOUT_NAME &&
           !data_way_is_awaited(true, waiting_with(world, node, a.what) > 0);
}

static void do_idle(struct dworld *world, act a)
{
    world->nodes[a.node].body[a.what] = INCOMING_NONE;
}

/* ---- records: cluster_propose.c, cluster_log.c ---- */

#define VARIANT(kind, key, data) ((uint8_t)((kind)*8u + (key)*4u + (data)))
#define VARIANTS                 32u

static struct dx_record record_of(unsigned variant)
{
    return (struct dx_record){
        .kind = (uint8_t)(variant / 8), .key = variant / 4 % 2, .data = variant % 4};
}

/* propose_here(): the body is complete with the primary. An object that is deleted or copied is one
 * that its primary shows. */
static bool can_propose(const struct dworld *world, act a)
{
    struct dx_record record = record_of(a.what);
    const struct dx_node *node = primary_of(world);
    if (!is_open(world) || node->last == DX_RECORDS || world->so_far.records == DX_RECORDS)
        return false;
    switch ((enum dx_kind)record.kind) {
    case DX_PUT:
    case DX_PUT_NEW:
        return record.data < DX_DATA && world->data[record.data] == DX_WITHOUT_NAME &&
               node->body[record.data] == INCOMING_COMPLETE;
    case DX_DELETE:
        return record.data == 0 && node->index.name[record.key] > 0;
    case DX_COPY:
        return record.data < DX_DATA && node->index.name[1 - record.key] == record.data + 1;
    }
    return false;
}

static void do_propose(struct dworld *world, act a)
{
    struct dx_node *node = &world->nodes[world->primary];
    struct dx_record *record = &world->records[world->so_far.records++];
    *record = record_of(a.what);
    if (record->kind <= DX_PUT_NEW)
        world->data[record->data] = DX_NUMBERED;
    node->log[++node->last] = world->so_far.records;
    record->psn = node->last;
}

/* send_log(), of what its primary has and it has not */
static bool can_send(const struct dworld *world, act a)
{
    const struct dx_node *to = &world->nodes[a.node], *from = primary_of(world);
    return follows(world, a.node) && to->last < from->last && to->last + 1u >= from->index.first;
}

static void do_send(struct dworld *world, act a)
{
    struct dx_node *to = &world->nodes[a.node];
    to->last++;
    to->log[to->last] = primary_of(world)->log[to->last];
}

static bool can_log(const struct dworld *world, act a)
{
    const struct dx_node *node = &world->nodes[a.node];
    return !node->copy.is_on && node->index.last < node->last &&
           way_of_head(world, node) == DATA_WAY_READY;
}

/* incoming_take(), unless the data is gone or there is none: true, there is a body */
static bool take_body(struct dworld *world, struct dx_node *node, struct dx_record **ret_record)
{
    unsigned psn = node->index.last + 1u;
    struct dx_record *record = &world->records[node->log[psn] - 1];
    *ret_record = record;
    if (record->kind > DX_PUT_NEW || has(node->gone, psn) ||
        node->body[record->data] != INCOMING_COMPLETE)
        return false;
    node->body[record->data] = INCOMING_NONE;
    return true;
}

/* give_append(): the body is taken on success and on failure. */
static void do_log(struct dworld *world, act a)
{
    struct dx_record *record;
    bool has_body = take_body(world, &world->nodes[a.node], &record);
    if (!dx_append(world, a.node, has_body))
        record->is_excused = true;
}

static bool can_refuse(const struct dworld *world, act a)
{
    const struct dx_node *node = &world->nodes[a.node];
    if (!can_log(world, a) || has(node->gone, node->index.last + 1u))
        return false;
    const struct dx_record *record = &world->records[node->log[node->index.last + 1] - 1];
    return record->kind <= DX_PUT_NEW && node->body[record->data] == INCOMING_COMPLETE;
}

static void do_refuse(struct dworld *world, act a)
{
    struct dx_record *record;
    (void)take_body(world, &world->nodes[a.node], &record);
    record->is_excused = true;
    world->so_far.refusals++;
}

/* pg__commit() */
static unsigned committed_by_all(const struct dworld *world)
{
    unsigned commit = primary_of(world)->index.last;
    for (unsigned i = 0; i < DX_NODES; i++) {
        const struct dx_node *node = &world->nodes[i];
        if (!is_in_sync(world, i))
            continue;
        if (node->term != world->term)
            return 0;
        commit = node->index.last < commit ? node->index.last : commit;
    }
    return commit;
}

static bool can_commit(const struct dworld *world, act a)
{
    return a.node == world->primary && leads(world) &&
           committed_by_all(world) > primary_of(world)->commit;
}

static void do_commit(struct dworld *world, act a)
{
    struct dx_node *node = &world->nodes[a.node];
    node->commit = (uint8_t)committed_by_all(world);
    for (unsigned psn = 1; psn <= node->commit; psn++) {
        if (world->committed[psn] > 0 && world->committed[psn] != node->log[psn])
            dx_violated(world, "two records are committed under one number", a.node, psn);
        world->committed[psn] = node->log[psn];
    }
    if (node->commit > world->commit)
        world->commit = node->commit;
}

/* follow_commit(): told when the primary has applied it */
static unsigned commit_told(const struct dworld *world, const struct dx_node *node)
{
    unsigned applied = primary_of(world)->index.applied;
    return applied < node->last ? applied : node->last;
}

static bool can_learn(const struct dworld *world, act a)
{
    return follows(world, a.node) &&
           commit_told(world, &world->nodes[a.node]) > world->nodes[a.node].commit;
}

static void do_learn(struct dworld *world, act a)
{
    world->nodes[a.node].commit = (uint8_t)commit_told(world, &world->nodes[a.node]);
}

static bool can_apply(const struct dworld *world, act a)
{
    const struct dx_node *node = &world->nodes[a.node];
    return !node->copy.is_on && node->index.applied < node->commit &&
           node->index.applied < node->index.last;
}

static void do_apply(struct dworld *world, act a)
{
    dx_apply(world, a.node);
}

static bool can_sync(const struct dworld *world, act a)
{
    const struct dx_node *node = &world->nodes[a.node];
    return memcmp(&node->index, &node->disk, sizeof node->index) != 0;
}

static void do_sync(struct dworld *world, act a)
{
    dx_synced(&world->nodes[a.node]);
}

/* ---- data that is missing: pull.c, pull_serve.c ---- */

/* For which record, or state: want_data() and fetch(); 0: it is not missing. */
static unsigned missing_for(const struct dworld *world, const struct dx_node *node, unsigned data)
{
    if (node->copy.is_on) {
        bool is_absent = node->index.phase == COPY_DATA && node->index.state[data] == DX_ABSENT &&
                         node->body[data] == INCOMING_NONE && !has(node->copy.skipped, data);
        return is_absent ? node->index.copy_psn : 0;
    }
    unsigned psn = waiting_with(world, node, data);
    enum data_way way =
        data_way_of_record(!has(node->gone, psn), (enum incoming_state)node->body[data]);
    return psn > 0 && way == DATA_WAY_MISSING ? psn : 0;
}

/* The primary, and while it cannot be reached any other; of a copy, who is in sync. */
static bool can_ask(const struct dworld *world, act a)
{
    const struct dx_node *node = &world->nodes[a.node];
    return a.to != a.node && missing_for(world, node, a.what) > 0 && !node->ask[a.what].is_wanted &&
           (!node->copy.is_on || is_in_sync(world, a.to));
}

/* What was asked before and forgotten is still on its way, and its answer is as good. */
static void do_ask(struct dworld *world, act a)
{
    struct dx_node *node = &world->nodes[a.node];
    node->ask[a.what].is_wanted = true;
    if (node->ask[a.what].state != DX_NO_ASK)
        return;
    node->ask[a.what].state = DX_ASKED;
    node->ask[a.what].to = a.to;
    node->ask[a.what].psn = (uint8_t)missing_for(world, node, a.what);
}

static bool can_ask_comes(const struct dworld *world, act a)
{
    return world->nodes[a.node].ask[a.what].state == DX_ASKED;
}

/* pull_asked() */
static void do_ask_comes(struct dworld *world, act a)
{
    struct dx_node *node = &world->nodes[a.node];
    node->ask[a.what].state = DX_LOOKING;
    node->ask[a.what].applied = world->nodes[node->ask[a.what].to].applied;
}

static bool can_look(const struct dworld *world, act a)
{
    return world->nodes[a.node].ask[a.what].state == DX_LOOKING;
}

/* run_lookup(), looked_up() */
static void do_look(struct dworld *world, act a)
{
    struct dx_node *node = &world->nodes[a.node];
    const struct dx_node *there = &world->nodes[node->ask[a.what].to];
    unsigned applied = HAS_BUG(D_GONE_LATE) ? DX_RECORDS : node->ask[a.what].applied;
    bool is_here = there->index.state[a.what] >= DX_PART && there->index.references[a.what] > 0;
    switch (data_way_answer(is_here, node->ask[a.what].psn, applied)) {
    case MESSAGE_PULL_COMING:
        node->ask[a.what].state = DX_COMING;
        node->ask[a.what].extent = there->index.extent[a.what];
        break;
    case MESSAGE_PULL_NOT_YET:
    case MESSAGE_PULL_DAMAGED:
        node->ask[a.what].state = DX_NOT_YET;
        break;
    case MESSAGE_PULL_GONE:
        node->ask[a.what].state = DX_GONE;
        if (!dx_is_let_go(world, a.what))
            dx_violated(world, "data is called gone that no committed record has let go of",
                        node->ask[a.what].to, a.what);
        break;
    }
}

static bool can_answer(const struct dworld *world, act a)
{
    return world->nodes[a.node].ask[a.what].state >= DX_COMING;
}

/* pulled(), fetched() */
static void gone(struct dworld *world, struct dx_node *node, unsigned data)
{
    node->body[data] = INCOMING_NONE;
    met(world, DX_MET_GONE);
    if (node->copy.is_on)
        node->copy.skipped |= (uint8_t)(1u << data);
    for (unsigned psn = node->index.last + 1u; !node->copy.is_on && psn <= node->last; psn++)
        if (brings(world, node, psn, data))
            node->gone |= (uint8_t)(1u << psn);
}

/* pull_answered(), or its chunks */
static void do_answer(struct dworld *world, act a)
{
    struct dx_node *node = &world->nodes[a.node];
    bool is_wanted = node->ask[a.what].is_wanted;
    if (node->ask[a.what].state == DX_COMING) {
        met(world, DX_MET_PULLED);
        arrive(node, a.what);
    } else if (node->ask[a.what].state == DX_GONE && is_wanted) {
        gone(world, node, a.what);
    }
    memset(&node->ask[a.what], 0, sizeof node->ask[a.what]);
}

/* ---- what a volume does by itself ---- */

static bool may_collect(const struct dworld *world, unsigned n)
{
    return retain_may_collect((enum copy_phase)world->nodes[n].index.phase) ||
           HAS_BUG(D_COPY_COLLECTS);
}

static bool can_collect(const struct dworld *world, act a)
{
    return world->nodes[a.node].index.is_noted[a.what] && may_collect(world, a.node) &&
           !dx_is_read(world, a.node, a.what);
}

static void do_collect(struct dworld *world, act a)
{
    dx_collect(world, a.node, a.what);
}

static bool can_release(const struct dworld *world, act a)
{
    return world->nodes[a.node].index.noted[a.what] > 0 && may_collect(world, a.node);
}

static void do_release(struct dworld *world, act a)
{
    dx_release(world, a.node, a.what);
}

static bool can_free(const struct dworld *world, act a)
{
    unsigned dying = world->nodes[a.node].dying[a.what].state;
    return (dying == DX_FRESH || (dying == DX_HELD && HAS_BUG(D_FREE_UNSYNCED))) &&
           (!dx_is_read(world, a.node, a.what) || HAS_BUG(D_FREE_READ));
}

static void do_free(struct dworld *world, act a)
{
    dx_free(world, a.node, a.what);
}

/* trim(), cluster__held_log(), apply_log_trim() */
static unsigned trim_upper(const struct dworld *world, const struct dx_node *node)
{
    uint64_t held = UINT64_MAX;
    for (unsigned i = 0; i < DX_NODES; i++)
        if (node->hold[i].is_on && node->hold[i].psn < held)
            held = node->hold[i].psn;
    struct log_range range = {
        .first = node->index.first, .last = node->index.last, .applied = node->index.applied};
    (void)world;
    if (HAS_BUG(D_TRIM_UNAPPLIED))
        return node->index.last;
    return (unsigned)retain_trim_upper(data_way_trim_below(node->index.applied, DX_KEPT, held),
                                       &range);
}

static bool can_trim(const struct dworld *world, act a)
{
    const struct dx_node *node = &world->nodes[a.node];
    return !node->copy.is_on && trim_upper(world, node) > node->index.first;
}

static void do_trim(struct dworld *world, act a)
{
    struct dx_node *node = &world->nodes[a.node];
    unsigned upper = trim_upper(world, node);
    met(world, DX_MET_TRIM);
    for (; node->index.first < upper; node->index.first++)
        node->index.row[node->index.first] = 0;
    for (unsigned i = 0; i < DX_NODES; i++)
        if (node->hold[i].is_on && upper > node->hold[i].promised + 1u)
            dx_violated(world, "the log is trimmed that was kept for a copy", a.node, i);
}

const struct dx_rule dx_data_rules[DX_KINDS] = {
    [DX_BODY] = {"a gateway has a body", can_body, do_body, DX_DATA, 0, false},
    [DX_ARRIVE] = {"a pushed body arrives", can_arrive, do_arrive, DX_DATA, 0, false},
    [DX_GIVE_UP] = {"a body is given up", can_give_up, do_give_up, DX_DATA, 0, true},
    [DX_DROP] = {"word arrives to drop a body", can_drop, do_drop, DX_DATA, 0, false},
    [DX_PROPOSE] = {"a change gets its number", can_propose, do_propose, VARIANTS, 0, true},
    [DX_SEND] = {"the next record is received", can_send, do_send, 0, 0, false},
    [DX_LOG] = {"the record at the head is logged", can_log, do_log, 0, 0, false},
    [DX_REFUSE] = {"the volume refuses a record", can_refuse, do_refuse, 0, 0, false},
    [DX_COMMIT] = {"all in sync have it: committed", can_commit, do_commit, 0, 0, false},
    [DX_LEARN] = {"is told what is committed", can_learn, do_learn, 0, 0, false},
    [DX_APPLY] = {"a record is applied", can_apply, do_apply, 0, 0, false},
    [DX_SYNC] = {"a batch is synced", can_sync, do_sync, 0, 0, false},
    [DX_ASK] = {"asks for data", can_ask, do_ask, DX_DATA, DX_NODES, false},
    [DX_ASK_COMES] = {"its question for data arrives", can_ask_comes, do_ask_comes, DX_DATA, 0,
                      false},
    [DX_LOOK] = {"the data it asked for is looked up", can_look, do_look, DX_DATA, 0, false},
    [DX_ANSWER] = {"what it asked for is answered", can_answer, do_answer, DX_DATA, 0, false},
    [DX_IDLE] = {"a body nobody names is dropped", can_idle, do_idle, DX_DATA, 0, false},
    [DX_COLLECT] = {"gc deletes data", can_collect, do_collect, DX_DATA, 0, false},
    [DX_RELEASE] = {"gc lets go of a piece", can_release, do_release, DX_DATA, 0, false},
    [DX_FREE] = {"space is free again", can_free, do_free, DX_DATA, 0, false},
    [DX_TRIM] = {"the log is trimmed", can_trim, do_trim, 0, 0, false},
};

/* ---- all of it ---- */

static const struct dx_rule *rule_of(unsigned kind)
{
    return dx_data_rules[kind].can != NULL ? &dx_data_rules[kind] : &dx_group_rules[kind];
}

void dworld_init(struct dworld *world)
{
    memset(world, 0, sizeof *world);
    world->in_sync = (1u << DX_NODES) - 1;
    world->term = world->epoch = 1;
    for (unsigned i = 0; i < DX_NODES; i++) {
        world->nodes[i].term = 1;
        world->nodes[i].index.first = world->nodes[i].disk.first = 1;
    }
}

/* Faults and wishes are counted; what follows from them is not. */
static bool is_within(const struct dx_limits *so_far, const struct dx_limits *limits, unsigned kind)
{
    switch (kind) {
    case DX_BODY:
        return so_far->bodies < limits->bodies;
    case DX_PROPOSE:
        return so_far->records < limits->records;
    case DX_CRASH:
    case DX_CRASH_LATE:
        return so_far->crashes < limits->crashes;
    case DX_LEAD:
        return so_far->leads < limits->leads;
    case DX_OUT:
        return so_far->outs < limits->outs;
    case DX_TOO_OLD:
        return so_far->copies < limits->copies;
    case DX_REFUSE:
        return so_far->refusals < limits->refusals;
    default:
        return true;
    }
}

unsigned dworld_actions(const struct dworld *world, const struct dx_limits *limits,
                        struct dx_action ret_actions[DX_ACTIONS])
{
    unsigned count = 0;
    for (unsigned kind = 0; kind < DX_KINDS; kind++) {
        const struct dx_rule *rule = rule_of(kind);
        if (!is_within(&world->so_far, limits, kind))
            continue;
        unsigned whats = rule->whats > 0 ? rule->whats : 1, tos = rule->tos > 0 ? rule->tos : 1;
        for (unsigned node = 0; node < (rule->has_no_node ? 1 : DX_NODES); node++)
            for (unsigned i = 0; i < whats * tos; i++) {
                act action = {(uint8_t)kind, (uint8_t)node, (uint8_t)(i / tos), (uint8_t)(i % tos)};
                if (!rule->can(world, action))
                    continue;
                CHECK(count < DX_ACTIONS);
                ret_actions[count++] = action;
            }
    }
    return count;
}

void dworld_act(struct dworld *world, struct dx_action action)
{
    rule_of(action.kind)->act(world, action);
    dx_check(world);
}

void dworld_tell(const struct dworld *world, struct dx_action action, char *out, size_t size)
{
    static const char *const kinds[] = {"PUT", "PUT if it is new", "DELETE", "COPY"};
    const struct dx_rule *rule = rule_of(action.kind);
    int length = rule->has_no_node ? snprintf(out, size, "%s", rule->text)
                                   : snprintf(out, size, "node %u %s", action.node, rule->text);
    if (action.kind == DX_PROPOSE) {
        struct dx_record record = record_of(action.what);
        snprintf(out + length, size - (size_t)length, ": record %u, %s of key %u, data %u",
                 primary_of(world)->last + 1u, kinds[record.kind], record.key, record.data);
    } else if (rule->whats > 0 && rule->tos > 0) {
        snprintf(out + length, size - (size_t)length, ": data %u, of node %u", action.what,
                 action.to);
    } else if (rule->whats > 0) {
        snprintf(out + length, size - (size_t)length, ": data %u", action.what);
    } else if (rule->tos > 0) {
        snprintf(out + length, size - (size_t)length, ": by node %u", action.to);
    }
}
