#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "tests/sim/explore_data.h"

/* One node's volume: storage/apply_log.c, apply_data.c, apply_gc.c, apply_copy.c, reclaim.c. */

void dx_violated(struct dworld *world, const char *text, unsigned node, unsigned what)
{
    if (world->violation[0] == '\0')
        snprintf(world->violation, sizeof world->violation, "%s (node %u, %u)", text, node, what);
}

/* ---- space: reclaim.c ---- */

/* publish(): what unsynced batches let go of is held until the next synced one. */
void dx_synced(struct dx_node *node)
{
    node->disk = node->index;
    for (unsigned d = 0; d < DX_DATA; d++)
        if (node->dying[d].state == DX_HELD)
            node->dying[d].state = DX_FRESH;
}

/* apply__release_extent() */
static void release_extent(struct dx_node *node, unsigned data)
{
    if (node->index.state[data] < DX_PART)
        return;
    node->dying[data].state = DX_HELD;
    node->dying[data].extent = node->index.extent[data];
}

/* pins_has(): a serve of pull_serve.c holds the object. */
bool dx_is_read(const struct dworld *world, unsigned node, unsigned data)
{
    for (unsigned i = 0; i < DX_NODES; i++)
        if (world->nodes[i].ask[data].state == DX_COMING && world->nodes[i].ask[data].to == node)
            return true;
    return false;
}

static bool lies_at(const struct dx_index *index, unsigned data, unsigned extent)
{
    return index->state[data] >= DX_PART && index->extent[data] == extent;
}

/* sift() */
void dx_free(struct dworld *world, unsigned n, unsigned data)
{
    struct dx_node *node = &world->nodes[n];
    unsigned extent = node->dying[data].extent;
    if (lies_at(&node->index, data, extent))
        dx_violated(world, "space is used again that a row or a name refers to", n, data);
    if (lies_at(&node->disk, data, extent))
        dx_violated(world, "space is used again that a crash would bring back", n, data);
    for (unsigned i = 0; i < DX_NODES; i++)
        if (world->nodes[i].ask[data].state == DX_COMING && world->nodes[i].ask[data].to == n &&
            world->nodes[i].ask[data].extent == extent)
            dx_violated(world, "space is used again while it is sent", n, data);
    node->dying[data].state = DX_NOT_DYING;
}

/* ---- data: apply_data.c ---- */

/* apply__data_state() */
static enum data_state state_of(const struct dx_index *index, unsigned data)
{
    if (index->state[data] == DX_NOTHING)
        return DATA_NONE;
    return index->references[data] == 0 ? DATA_GOING : DATA_HERE;
}

/* apply__data_add() */
void dx_add(struct dx_node *node, unsigned data)
{
    node->index.state[data] = DX_WHOLE;
    node->index.extent[data] = ++node->extents[data];
}

static void forget_data(struct dx_node *node, unsigned data)
{
    release_extent(node, data);
    node->index.state[data] = DX_NOTHING;
    node->index.references[data] = node->index.is_shared[data] = node->index.extent[data] = 0;
}

/* apply__data_drop(); the large one does not fit, and one of several shards may be read. */
static void drop(struct dworld *world, unsigned n, unsigned data, bool is_named_now)
{
    struct dx_node *node = &world->nodes[n];
    struct dx_index *index = &node->index;
    bool fits = data != 0 || index->state[data] == DX_ABSENT;
    bool has_no_readers =
        is_named_now ? !index->is_shared[data] && fits : !dx_is_read(world, n, data);
    switch (retain_drop(index->references[data], fits, has_no_readers)) {
    case RETAIN_DROP_NONE:
        dx_violated(world, "a name lets go of what no name refers to", n, data);
        break;
    case RETAIN_DROP_ONE:
        index->references[data]--;
        index->is_shared[data] = true;
        break;
    case RETAIN_DROP_NOW:
        forget_data(node, data);
        break;
    case RETAIN_DROP_LATER:
        index->references[data] = 0;
        index->is_shared[data] = index->is_noted[data] = true;
        break;
    }
}

/* apply__object_replace(): what the name referred to. */
static void let_go(struct dworld *world, unsigned n, unsigned key, unsigned name)
{
    if (name == 0)
        return;
    if (key == DX_KEYS - 1)
        world->nodes[n].index.noted[name - 1]++;
    else
        drop(world, n, name - 1, true);
}

/* apply_gc_step(): GC_DATA, whose shards go from the last to the first */
void dx_collect(struct dworld *world, unsigned n, unsigned data)
{
    struct dx_node *node = &world->nodes[n];
    world->met |= 1u << DX_MET_GC;
    if (data == 0 && node->index.state[data] == DX_WHOLE) {
        node->index.state[data] = DX_PART;
        return;
    }
    forget_data(node, data);
    node->index.is_noted[data] = false;
}

/* ... GC_MANIFEST */
void dx_release(struct dworld *world, unsigned n, unsigned data)
{
    world->nodes[n].index.noted[data]--;
    drop(world, n, data, false);
}

/* ---- the log: apply_log.c ---- */

static const struct dx_record *record_at(const struct dworld *world, const struct dx_node *node,
                                         unsigned psn)
{
    CHECK(node->log[psn] > 0);
    return &world->records[node->log[psn] - 1];
}

static bool brings_data(const struct dx_record *record)
{
    return record->kind == DX_PUT || record->kind == DX_PUT_NEW;
}

/* name_body(), name_absent() */
static enum retain_way refer_to(struct dx_node *node, unsigned data, bool has_body)
{
    struct dx_index *index = &node->index;
    enum retain_way way = retain_way(state_of(index, data), has_body);
    switch (way) {
    case RETAIN_ADD:
        if (has_body)
            dx_add(node, data);
        else if (HAS_BUG(D_GONE_UNCOUNTED))
            break;
        else
            index->state[data] = DX_ABSENT;
        index->references[data] = 1;
        break;
    case RETAIN_REFER:
        index->references[data]++;
        index->is_shared[data] = true;
        break;
    case RETAIN_LATER:
    case RETAIN_DOUBLE:
        break;
    }
    return way;
}

/* apply_log_append(); the batch is synced. */
bool dx_append(struct dworld *world, unsigned n, bool has_body)
{
    struct dx_node *node = &world->nodes[n];
    struct dx_index *index = &node->index;
    unsigned psn = index->last + 1u;
    const struct dx_record *record = record_at(world, node, psn);
    if (brings_data(record)) {
        enum retain_way way = refer_to(node, record->data, has_body);
        if (way == RETAIN_DOUBLE)
            node->gone |= (uint8_t)(1u << psn); /* appended() */
        if (way == RETAIN_LATER || way == RETAIN_DOUBLE)
            return false;
    }
    if (HAS_BUG(D_FREE_AT_APPEND) && record->kind != DX_COPY) {
        let_go(world, n, record->key, index->name[record->key]);
        index->name[record->key] = 0;
    }
    index->row[psn] = node->log[psn];
    index->last = (uint8_t)psn;
    dx_synced(node);
    return true;
}

/* apply_mutation(), of which only conditions and references matter here */
static enum err change_name(struct dworld *world, unsigned n, const struct dx_record *record)
{
    struct dx_index *index = &world->nodes[n].index;
    unsigned before = index->name[record->key], after = 0;
    switch ((enum dx_kind)record->kind) {
    case DX_PUT_NEW:
        if (before > 0)
            return ERR_PRECONDITION;
        after = record->data + 1u;
        break;
    case DX_PUT:
        after = record->data + 1u;
        break;
    case DX_DELETE:
        break;
    case DX_COPY: /* apply__judge_source(), then apply__data_refer() */
        after = record->data + 1u;
        if (index->name[1 - record->key] != after)
            return ERR_CONFLICT;
        world->met |= 1u << DX_MET_SHARED;
        if (!HAS_BUG(D_COPY_UNCOUNTED))
            index->references[record->data]++;
        index->is_shared[record->data] = true;
        break;
    }
    if (after > 0 && state_of(index, after - 1) != DATA_HERE)
        dx_violated(world, "a committed record cannot be applied: its data is not here", n,
                    after - 1);
    index->name[record->key] = (uint8_t)after;
    let_go(world, n, record->key, before);
    return ERR_OK;
}

/* apply_logged(); the batch is not synced. */
void dx_apply(struct dworld *world, unsigned n)
{
    struct dx_node *node = &world->nodes[n];
    const struct dx_record *record = record_at(world, node, node->index.applied + 1u);
    enum err outcome = change_name(world, n, record);
    bool is_taken = brings_data(record) && retain_takes(outcome, true, MUTATION_OBJECT_PUT);
    if (outcome)
        world->met |= 1u << DX_MET_REFUSED;
    if (brings_data(record) && !is_taken && !HAS_BUG(D_REFUSED_KEEPS_DATA))
        drop(world, n, record->data, true);
    node->applied = ++node->index.applied;
}

/* apply_log_save() */
void dx_cut(struct dworld *world, unsigned n, unsigned last)
{
    struct dx_node *node = &world->nodes[n];
    for (; node->index.last > last; node->index.last--) {
        const struct dx_record *record = record_at(world, node, node->index.last);
        world->met |= 1u << DX_MET_CUT_DATA;
        if (brings_data(record) && !HAS_BUG(D_CUT_KEEPS_DATA))
            drop(world, n, record->data, true);
        node->index.row[node->index.last] = 0;
    }
    dx_synced(node);
}

/* ---- a copy: apply_copy.c, copy_source.c ---- */

static unsigned held_by_log(const struct dworld *world, const struct dx_index *index, unsigned data)
{
    unsigned count = 0;
    for (unsigned psn = index->applied + 1u; psn <= index->last; psn++) {
        const struct dx_record *record = &world->records[index->row[psn] - 1];
        count += brings_data(record) && record->data == data;
    }
    return HAS_BUG(D_COPY_LOG_COUNTED) ? 0 : count;
}

/* merge_data(), with what put_data() of the source sends */
static void merge_data(struct dworld *world, unsigned n, unsigned data)
{
    struct dx_node *node = &world->nodes[n];
    struct dx_index *here = &node->index;
    const struct dx_index *there = &world->snapshot;
    uint64_t references =
        there->state[data] == DX_NOTHING
            ? 0
            : retain_copied(there->references[data], held_by_log(world, there, data));
    if (references == 0) {
        forget_data(node, data);
        return;
    }
    enum data_state state = state_of(here, data);
    if (HAS_BUG(D_COPY_KEEPS_GOING) && state == DATA_GOING)
        state = DATA_HERE;
    if (retain_keeps(state, here->state[data] == DX_ABSENT, 1, 1)) {
        world->met |= 1u << DX_MET_COPY_KEPT;
    } else {
        forget_data(node, data);
        here->state[data] = DX_ABSENT;
    }
    here->references[data] = (uint8_t)references;
    here->is_shared[data] = there->is_shared[data];
}

/* apply_run(), in the order of copy_families */
static void merge_run(struct dworld *world, unsigned n)
{
    struct dx_index *here = &world->nodes[n].index;
    unsigned run = world->nodes[n].copy.run;
    if (run == 0) {
        memset(here->row, 0, sizeof here->row);
    } else if (run <= DX_DATA) {
        merge_data(world, n, run - 1);
    } else if (run == DX_DATA + 1) { /* what waits for deletion is left out */
        memset(here->is_noted, 0, sizeof here->is_noted);
        memcpy(here->noted, world->snapshot.noted, sizeof here->noted);
    } else {
        memcpy(here->name, world->snapshot.name, sizeof here->name);
    }
}

/* copy_step(): apply_copy(), turn(); synced. */
bool dx_copy_step(struct dworld *world, unsigned n, enum copy_step_kind kind, unsigned psn,
                  unsigned data)
{
    struct dx_node *node = &world->nodes[n];
    struct dx_index *index = &node->index;
    if (!retain_step_is_due(kind, psn, 1, (enum copy_phase)index->phase, index->applied))
        return false;
    switch (kind) {
    case COPY_STEP_BEGIN:
        index->phase = COPY_ROWS;
        index->copy_psn = 0;
        index->first = index->applied + 1u;
        index->last = index->applied;
        break;
    case COPY_STEP_ROWS:
        merge_run(world, n);
        break;
    case COPY_STEP_NAMED:
        index->phase = COPY_DATA;
        index->copy_psn = (uint8_t)psn;
        break;
    case COPY_STEP_DATA:
        dx_add(node, data);
        break;
    case COPY_STEP_END:
        index->applied = index->last = index->copy_psn;
        index->first = index->copy_psn + 1u;
        index->phase = COPY_NONE;
        index->copy_psn = 0;
        break;
    }
    dx_synced(node);
    return true;
}
