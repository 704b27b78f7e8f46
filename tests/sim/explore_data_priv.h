/* Between the files that say what can happen: explore_data_acts.c, explore_data_group.c. */
#ifndef TESTS_SIM_EXPLORE_DATA_PRIV_H
#define TESTS_SIM_EXPLORE_DATA_PRIV_H

#include "base/check.h"
#include "tests/sim/explore_data.h"

typedef struct dx_action act;

static inline void met(struct dworld *world, enum dx_met what)
{
    world->met |= 1u << what;
}

static inline bool has(uint8_t mask, unsigned i)
{
    return mask >> i & 1;
}

static inline bool is_in_sync(const struct dworld *world, unsigned node)
{
    return has(world->in_sync, node);
}

static inline const struct dx_node *primary_of(const struct dworld *world)
{
    return &world->nodes[world->primary];
}

/* pg.role is not FOLLOWER */
static inline bool leads(const struct dworld *world)
{
    return !world->must_lead;
}

/* PG_OPEN: the barrier of the term is committed. */
static inline bool is_open(const struct dworld *world)
{
    if (!leads(world))
        return false;
    for (unsigned i = 0; i < DX_NODES; i++) {
        const struct dx_node *node = &world->nodes[i];
        if (is_in_sync(world, i) &&
            (node->term != world->term || node->index.last < world->barrier))
            return false;
    }
    return primary_of(world)->commit >= world->barrier;
}

static inline bool follows(const struct dworld *world, unsigned n)
{
    return leads(world) && n != world->primary && !world->nodes[n].copy.is_on &&
           world->nodes[n].term == world->term;
}

/* has_data() */
static inline enum data_way way_of_head(const struct dworld *world, const struct dx_node *node)
{
    unsigned psn = node->index.last + 1u;
    const struct dx_record *record = &world->records[node->log[psn] - 1];
    bool needs_body = record->kind <= DX_PUT_NEW && !has(node->gone, psn);
    uint8_t state = needs_body ? node->body[record->data] : (uint8_t)INCOMING_NONE;
    return data_way_of_record(needs_body, (enum incoming_state)state);
}

/* One kind of action: whether it can happen, and what it does. */
struct dx_rule {
    const char *text;
    bool (*can)(const struct dworld *world, act action);
    void (*act)(struct dworld *world, act action);
    uint8_t whats, tos; /* how many of each; 0: it has none */
    bool has_no_node;
};
/* By enum dx_action_kind; each kind is in one of them. */
extern const struct dx_rule dx_data_rules[DX_KINDS], dx_group_rules[DX_KINDS];

#endif
