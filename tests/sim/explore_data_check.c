#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/digest.h"
#include "tests/sim/explore_data.h"

/* ---- what is true ---- */

void dx_truth(const struct dworld *world, unsigned psn, struct dx_truth *ret_truth)
{
    struct dx_truth truth = {{0}};
    for (unsigned i = 1; i <= psn; i++) {
        const struct dx_record *record = &world->records[world->committed[i] - 1];
        uint8_t *name = &truth.name[record->key];
        switch ((enum dx_kind)record->kind) {
        case DX_PUT:
            *name = record->data + 1u;
            break;
        case DX_PUT_NEW:
            *name = *name > 0 ? *name : record->data + 1u;
            break;
        case DX_DELETE:
            *name = 0;
            break;
        case DX_COPY:
            if (truth.name[1 - record->key] == record->data + 1)
                *name = record->data + 1u;
            break;
        }
    }
    *ret_truth = truth;
}

static bool brings(const struct dworld *world, unsigned number, unsigned data)
{
    const struct dx_record *record = &world->records[number - 1];
    return number > 0 && record->kind <= DX_PUT_NEW && record->data == data;
}

static bool is_named(const uint8_t name[DX_KEYS], unsigned data)
{
    for (unsigned k = 0; k < DX_KEYS; k++)
        if (name[k] == data + 1)
            return true;
    return false;
}

/* By a committed record: one that replaced or refused it, or that took its number. */
bool dx_is_let_go(const struct dworld *world, unsigned data)
{
    struct dx_truth truth;
    for (unsigned i = 0; i < world->so_far.records; i++) {
        unsigned psn = world->records[i].psn;
        if (!brings(world, i + 1, data) || psn > world->commit)
            continue;
        dx_truth(world, world->commit, &truth);
        return world->committed[psn] != i + 1 || !is_named(truth.name, data);
    }
    return false;
}

/* ---- what must hold at any time ---- */

static unsigned referring(const struct dworld *world, const struct dx_index *index, unsigned data)
{
    unsigned count = index->noted[data];
    for (unsigned k = 0; k < DX_KEYS; k++)
        count += index->name[k] == data + 1;
    for (unsigned psn = index->applied + 1u; psn <= index->last; psn++)
        count += brings(world, index->row[psn], data);
    return count;
}

/* No more and no fewer references than there are, and no data without one but what waits for gc. */
static void check_references(struct dworld *world, unsigned n)
{
    const struct dx_index *index = &world->nodes[n].index;
    for (unsigned d = 0; d < DX_DATA; d++) {
        unsigned count = referring(world, index, d);
        if (index->references[d] != count)
            dx_violated(world, "references are not counted as they are", n, d);
        else if (count > 0 ? index->state[d] == DX_NOTHING || index->is_noted[d]
                           : index->state[d] != DX_NOTHING && !index->is_noted[d])
            dx_violated(world, "data is here that nothing refers to, or the reverse", n, d);
    }
}

static void check_names(struct dworld *world, unsigned n)
{
    const struct dx_index *index = &world->nodes[n].index;
    struct dx_truth truth;
    if (index->applied > world->commit) {
        dx_violated(world, "a record is applied that is not committed", n, index->applied);
        return;
    }
    dx_truth(world, index->applied, &truth);
    if (memcmp(truth.name, index->name, sizeof truth.name) != 0)
        dx_violated(world, "a node shows what the records have not made", n, index->applied);
    for (unsigned psn = index->applied + 1u; psn <= index->last; psn++)
        if (index->row[psn] != world->nodes[n].log[psn])
            dx_violated(world, "a record that is to be applied is not in the log", n, psn);
}

/* Whoever is in sync has all that what is committed refers to, and all that it has itself under a
 * name or on the way to one, but what a committed record has let go of. */
static void check_held(struct dworld *world, unsigned n)
{
    const struct dx_index *index = &world->nodes[n].index;
    struct dx_truth truth;
    if (index->phase != COPY_NONE) {
        dx_violated(world, "a node is in sync and being copied", n, 0);
        return;
    }
    dx_truth(world, world->commit, &truth);
    for (unsigned d = 0; d < DX_DATA; d++) {
        bool is_needed = is_named(truth.name, d) || referring(world, index, d) > index->noted[d];
        if (is_needed && index->state[d] != DX_WHOLE && !dx_is_let_go(world, d))
            dx_violated(world, "a node in sync has not the data of a record", n, d);
    }
}

/* What was given a number with its body here is with somebody, crashes and refusals apart: else the
 * group would stand still, and take a new term to get over it. */
static void check_holders(struct dworld *world)
{
    const struct dx_node *primary = &world->nodes[world->primary];
    for (unsigned psn = world->commit + 1u; psn <= primary->last; psn++) {
        const struct dx_record *record = &world->records[primary->log[psn] - 1];
        bool has_holder = record->kind > DX_PUT_NEW || record->is_excused;
        for (unsigned i = 0; i < DX_NODES; i++)
            has_holder |= !has_holder && (world->nodes[i].body[record->data] == INCOMING_COMPLETE ||
                                          world->nodes[i].index.state[record->data] == DX_WHOLE);
        if (!has_holder)
            dx_violated(world, "the data of a record on its way is with nobody", world->primary,
                        psn);
    }
}

void dx_check(struct dworld *world)
{
    for (unsigned n = 0; n < DX_NODES; n++) {
        if (world->nodes[n].index.phase == COPY_NONE) {
            check_references(world, n);
            check_names(world, n);
        }
        if (world->in_sync >> n & 1)
            check_held(world, n);
    }
    if (!world->must_lead)
        check_holders(world);
}

/* ---- rest ---- */

#define SETTLE_STEPS 1000u
#define SETTLE_ASKS  60u /* of which none brings anything: the group stands still */
#define SETTLE_LEADS 8u

/* Earlier ones first; those that are not here do not happen. */
static const uint8_t settle_order[] = {
    DX_GIVE_UP, DX_DROP, DX_ARRIVE, DX_ANSWER, DX_LOOK,  DX_ASK_COMES, DX_SYNC, DX_COLLECT,
    DX_RELEASE, DX_FREE, DX_LOG,    DX_COMMIT, DX_LEARN, DX_APPLY,     DX_RUN,  DX_NAMED,
    DX_STORE,   DX_END,  DX_MATCH,  DX_SEND,   DX_IDLE,  DX_TOO_OLD,   DX_JOIN, DX_SAY_TOO_OLD,
};

static const struct dx_action *find(const struct dx_action *actions, unsigned count, unsigned kind,
                                    unsigned skip)
{
    const struct dx_action *found = NULL;
    for (unsigned i = 0; i < count; i++)
        if (actions[i].kind == kind) {
            found = &actions[i];
            if (skip-- == 0)
                break;
        }
    return found;
}

static const struct dx_action *choose(const struct dworld *world, const struct dx_action *actions,
                                      unsigned count, unsigned asks)
{
    const struct dx_action *chosen = NULL;
    for (unsigned i = 0; i < sizeof settle_order && chosen == NULL; i++)
        chosen = find(actions, count, settle_order[i], 0);
    if (chosen == NULL && asks < SETTLE_ASKS)
        chosen = find(actions, count, DX_ASK, asks % 4);
    for (unsigned i = 0; i < count && chosen == NULL; i++)
        if (actions[i].kind == DX_LEAD && actions[i].node == world->primary)
            chosen = &actions[i];
    return chosen;
}

static void check_rest(struct dworld *world, unsigned n)
{
    const struct dx_node *node = &world->nodes[n];
    struct dx_truth truth;
    dx_truth(world, world->commit, &truth);
    if ((world->in_sync >> n & 1) == 0 || node->index.applied != world->commit ||
        node->last != world->commit || node->copy.is_on)
        dx_violated(world, "a node does not come to rest", n, node->index.applied);
    for (unsigned d = 0; d < DX_DATA; d++) {
        bool is_left = node->body[d] != INCOMING_NONE || node->dying[d].state != DX_NOT_DYING ||
                       node->index.noted[d] > 0 || node->index.is_noted[d];
        unsigned wanted = is_named(truth.name, d) ? DX_WHOLE : DX_NOTHING;
        if (is_left || node->index.state[d] != wanted)
            dx_violated(world, "at rest there is more or less than what is referred to", n, d);
    }
}

void dx_settle(struct dworld *world)
{
    struct dx_limits limits = world->so_far;
    unsigned asks = 0, leads = 0, steps = 0;
    limits.leads = limits.copies = DX_NONE;
    for (; steps < SETTLE_STEPS && world->violation[0] == '\0'; steps++) {
        struct dx_action actions[DX_ACTIONS];
        unsigned count = dworld_actions(world, &limits, actions);
        const struct dx_action *action = choose(world, actions, count, asks);
        if (action == NULL)
            break;
        asks = action->kind == DX_ASK ? asks + 1 : action->kind == DX_LEAD ? 0 : asks;
        leads += action->kind == DX_LEAD;
        if (leads > SETTLE_LEADS)
            break;
        dworld_act(world, *action);
    }
    for (unsigned n = 0; n < DX_NODES && world->violation[0] == '\0'; n++)
        check_rest(world, n);
}

uint64_t dworld_hash(const struct dworld *world)
{
    return xxh3_64(world, offsetof(struct dworld, met));
}
