#include <string.h>

#include "tests/sim/sim.h"

/*
 * The register that the nodes keep themselves (replication/register_quorum.h), and what must hold
 * of it. What stands is told from the disks, not from its own word: Q1 an epoch stands with one
 * value, which no later ballot takes back; Q2 what an operation ends with stands; Q3 it is not
 * older than what any had ended with before this one began; Q4 a swap happens once, and not after
 * it was called lost.
 */

static bool is_same(const struct quorum_value *a, const struct quorum_value *b)
{
    return a->config.epoch == b->config.epoch && a->config.term == b->config.term &&
           a->config.nonce == b->config.nonce && a->config.primary == b->config.primary &&
           a->config.in_sync == b->config.in_sync &&
           memcmp(a->disks, b->disks, sizeof a->disks) == 0;
}

static bool is_same_ballot(const struct quorum_ballot *a, const struct quorum_ballot *b)
{
    return a->round == b->round && a->node == b->node && a->life == b->life;
}

static bool is_after(const struct quorum_ballot *a, const struct quorum_ballot *b)
{
    if (a->round != b->round)
        return a->round > b->round;
    return a->node != b->node ? a->node > b->node : a->life > b->life;
}

static struct sim_value to_sim(const struct quorum_value *value)
{
    struct sim_value out = {.config = value->config};
    for (unsigned i = 0; i < PG_NODES_MAX; i++)
        out.disks[i] = value->disks[i][0];
    return out;
}

static struct quorum_value from_sim(const struct sim_value *value)
{
    struct quorum_value out = {.config = value->config};
    for (unsigned i = 0; i < PG_NODES_MAX; i++)
        out.disks[i][0] = value->disks[i];
    return out;
}

/* ---- what stands ---- */

static void check_once(struct sim *sim, const struct pg_config *config)
{
    const struct sim_chosen *chosen = &sim->chosen;
    for (uint64_t epoch = 1; epoch < SIM_EPOCHS_MAX; epoch++)
        if (epoch != config->epoch && chosen->by_epoch[epoch].config.nonce == config->nonce)
            sim_violated(sim, "Q4: a swap has happened as epoch %llu and as epoch %llu",
                         (unsigned long long)epoch, (unsigned long long)config->epoch);
    for (uint64_t i = 0; i < chosen->lost_count; i++)
        if (chosen->lost_nonces[i] == config->nonce)
            sim_violated(sim, "Q4: a swap that was called lost stands as epoch %llu",
                         (unsigned long long)config->epoch);
}

static void stands(struct sim *sim, const struct sim_ballot *ballot)
{
    struct sim_chosen *chosen = &sim->chosen;
    uint64_t epoch = ballot->value.config.epoch, newest = sim->present.config.epoch;
    CHECK(epoch < SIM_EPOCHS_MAX);
    bool is_late = is_after(&chosen->newest, &ballot->ballot);
    if (!is_late)
        chosen->newest = ballot->ballot;
    if (!is_late && epoch < newest)
        sim_violated(sim, "Q1: epoch %llu stands after %llu did", (unsigned long long)epoch,
                     (unsigned long long)newest);
    struct quorum_value *present = &chosen->by_epoch[epoch];
    if (epoch == 0 || present->config.epoch != 0) {
        if (!is_same(present, &ballot->value))
            sim_violated(sim, "Q1: epoch %llu stands as two values", (unsigned long long)epoch);
        return;
    }
    *present = ballot->value;
    check_once(sim, &present->config);
    if (epoch < newest)
        return;
    sim->present = to_sim(&ballot->value);
    sim->swaps++;
    SIM_TELL(sim, "register: epoch %llu term %llu primary %u in sync %x", (unsigned long long)epoch,
             (unsigned long long)present->config.term, present->config.primary,
             present->config.in_sync);
    if (sim->options.reg == SIM_AMONG)
        sim_check_replicas(sim);
}

static struct sim_ballot *find_ballot(struct sim_chosen *chosen, const struct quorum_state *state)
{
    for (unsigned i = 0; i < SIM_BALLOTS; i++)
        if (is_same_ballot(&chosen->ballots[i].ballot, &state->accepted))
            return &chosen->ballots[i];
    struct sim_ballot *ballot = &chosen->ballots[chosen->ballot_count++ % SIM_BALLOTS];
    *ballot = (struct sim_ballot){.ballot = state->accepted, .value = state->value};
    return ballot;
}

void sim_quorum_taken(struct sim *sim, uint8_t node, const struct quorum_state *state)
{
    if (state->accepted.round == 0 || state->is_copied)
        return;
    struct sim_ballot *ballot = find_ballot(&sim->chosen, state);
    if (!is_same(&ballot->value, &state->value))
        sim_violated(sim, "Q1: two values under one ballot");
    ballot->taken |= pg__bit(node);
    unsigned count = (unsigned)__builtin_popcount(ballot->taken);
    if (ballot->is_chosen || count < sim->options.node_count / 2u + 1)
        return;
    ballot->is_chosen = true;
    stands(sim, ballot);
}

/* ---- operations ---- */

static void ended(struct sim_node *node, uint64_t floor, const struct quorum_value *value)
{
    struct sim *sim = node->sim;
    uint64_t epoch = value->config.epoch;
    node->answered_ns = sim->now_ns;
    bool has_stood =
        epoch == 0 || (epoch < SIM_EPOCHS_MAX && is_same(value, &sim->chosen.by_epoch[epoch]));
    if (!has_stood)
        sim_violated(sim, "Q2: node %u is told of an epoch %llu that does not stand", node->index,
                     (unsigned long long)epoch);
    if (epoch < floor)
        sim_violated(sim, "Q3: node %u is told of epoch %llu after %llu was known", node->index,
                     (unsigned long long)epoch, (unsigned long long)floor);
    if (epoch > sim->chosen.ended)
        sim->chosen.ended = epoch;
}

/* The driver hears of it a little later: pg must not be called from within the register. */
static struct sim_event *answer(struct sim_node *node, enum sim_event_kind kind)
{
    struct sim_event *event =
        sim_event_new(node->sim, kind, node->index, sim_between(node->sim, 1, NS_PER_MS / 10));
    event->life = node->life;
    return event;
}

static void op_swapped(void *context, uint64_t nonce, enum pg_swap outcome,
                       const struct quorum_value *value)
{
    struct sim_node *node = context;
    struct sim_chosen *chosen = &node->sim->chosen;
    struct sim_event *event = answer(node, SIM_SWAPPED);
    event->outcome = outcome;
    event->number = nonce;
    if (outcome == PG_SWAP_UNKNOWN) {
        chosen->unknown++;
        return;
    }
    event->value = to_sim(value);
    ended(node, node->swap_floor, value);
    bool is_there = value->config.nonce == nonce;
    if (is_there != (outcome == PG_SWAP_DONE))
        sim_violated(node->sim, "Q2: a swap's outcome is not what stands");
    if (outcome != PG_SWAP_LOST)
        return;
    for (uint64_t epoch = 1; epoch < SIM_EPOCHS_MAX; epoch++)
        if (chosen->by_epoch[epoch].config.nonce == nonce)
            sim_violated(node->sim, "Q4: a swap that stands as epoch %llu is called lost",
                         (unsigned long long)epoch);
    if (chosen->lost_count < SIM_EPOCHS_MAX)
        chosen->lost_nonces[chosen->lost_count++] = nonce;
}

static void op_read(void *context, const struct quorum_value *value)
{
    struct sim_node *node = context;
    node->sim->chosen.reads++;
    ended(node, node->read_floor, value);
    if (node->next_read_floor > node->read_floor)
        node->read_floor = node->next_read_floor;
    answer(node, SIM_CONFIG)->value = to_sim(value);
}

void sim_quorum_swap(struct sim_node *node, const struct sim_value *next, uint8_t disks)
{
    struct quorum_value value = from_sim(next);
    node->swap_floor = node->sim->chosen.ended;
    quorum_swap(&node->quorum, sim_local_ns(node), &value, disks);
}

void sim_quorum_read(struct sim_node *node)
{
    const struct quorum *q = &node->quorum;
    bool is_reading = q->phase != QUORUM_IDLE && !q->is_swap;
    node->next_read_floor = node->sim->chosen.ended;
    if (!is_reading)
        node->read_floor = node->next_read_floor;
    quorum_read(&node->quorum, sim_local_ns(node));
}

/* ---- effects ---- */

/* Where it hurts: a promise is made, and the ballot is not over. */
static void crash_soon(struct sim_node *node, enum quorum_message_type type)
{
    struct sim *sim = node->sim;
    bool is_time = sim->options.reg == SIM_REGISTER_ONLY && type == QUORUM_PROMISE &&
                   !sim->is_healing && sim_chance(sim, 2);
    if (is_time)
        sim_event_new(sim, SIM_CRASH, node->index, sim_between(sim, 1, 2 * NS_PER_MS));
}

static void op_send(void *context, uint8_t to, const struct quorum_message *message)
{
    struct sim_event *events[2];
    unsigned count = sim_net_send(context, to, SIM_QUORUM, events);
    crash_soon(context, message->type);
    for (unsigned i = 0; i < count; i++)
        quorum_message_encode(message, events[i]->quorum);
}

static void op_save(void *context, uint64_t version, const struct quorum_state *state)
{
    uint8_t bytes[QUORUM_STATE_BYTES];
    struct sim_write write = {.kind = SIM_WRITE_QUORUM, .version = version};
    quorum_state_encode(state, bytes);
    CHECK(quorum_state_decode(bytes_of(bytes, sizeof bytes), &write.quorum) == ERR_OK);
    sim_disk_ask(context, &write);
}

static const struct quorum_ops ops = {
    .send = op_send,
    .save = op_save,
    .swapped = op_swapped,
    .read = op_read,
};

void sim_quorum_start(struct sim_node *node)
{
    struct sim *sim = node->sim;
    struct quorum_options options = {
        .ops = &ops,
        .context = node,
        .times = quorum_times_default,
        .self = node->index,
        .node_count = (uint8_t)sim->options.node_count,
        .seed = rand_u64(&sim->rand.rand),
    };
    quorum_init(&node->quorum, &options, &node->disk.quorum, sim_local_ns(node));
}

/* Its votes may be counted until all others have heard that it is gone. */
static void forget_votes(struct sim_node *node)
{
    bool has_asked_all = node->quorum.pass == 2 && !HAS_BUG(Q_BLANK_ASKS_ONCE);
    bool is_known = has_asked_all || !node->quorum.state.is_blank;
    if (!node->disk.has_left_votes || !is_known)
        return;
    node->disk.has_left_votes = false;
    for (unsigned i = 0; i < SIM_BALLOTS; i++) {
        struct sim_ballot *ballot = &node->sim->chosen.ballots[i];
        if (!ballot->is_chosen)
            ballot->taken &= (uint8_t)~pg__bit(node->index);
    }
}

void sim_quorum_deliver(struct sim_node *node, const struct sim_event *event)
{
    struct quorum_message message;
    struct bytes bytes = bytes_of(event->quorum, sizeof event->quorum);
    uint8_t count = (uint8_t)node->sim->options.node_count;
    CHECK(quorum_message_decode(bytes, count, &message) == ERR_OK);
    quorum_receive(&node->quorum, sim_local_ns(node), event->from, &message);
    forget_votes(node);
}

/* ---- disks that are lost ---- */

void sim_quorum_disk_lost(struct sim_node *node)
{
    node->disk.quorum.is_blank = true;
    node->disk.has_left_votes = true;
}

/*
 * As many as may be blank at a time: fewer than a majority. And for the sake of the group on it,
 * no record is on its way that would count on this disk alone.
 */
bool sim_quorum_may_lose_disk(const struct sim_node *node)
{
    const struct sim *sim = node->sim;
    unsigned blank = 1;
    for (unsigned i = 0; i < sim->options.node_count; i++)
        blank += i != node->index && sim->nodes[i].disk.quorum.is_blank;
    if (blank >= sim->options.node_count / 2u + 1)
        return false;
    if (sim->options.reg == SIM_REGISTER_ONLY)
        return true;
    uint64_t epoch = sim->present.config.epoch;
    for (unsigned i = 0; i < sim->options.node_count; i++) {
        const struct sim_node *other = &sim->nodes[i];
        bool is_swapping =
            other->is_up && other->quorum.phase != QUORUM_IDLE && other->quorum.is_swap;
        if (is_swapping || other->disk.quorum.value.config.epoch > epoch ||
            (other->is_up && other->quorum.state.value.config.epoch > epoch))
            return false;
    }
    for (size_t i = 0; i < sim->heap_size; i++)
        if (sim->heap[i]->kind == SIM_QUORUM) {
            struct quorum_message message;
            struct bytes bytes = bytes_of(sim->heap[i]->quorum, QUORUM_MESSAGE_BYTES);
            CHECK(quorum_message_decode(bytes, PG_NODES_MAX, &message) == ERR_OK);
            if (message.value.config.epoch > epoch)
                return false;
        }
    return epoch > 0;
}

/* ---- the register alone ---- */

void sim_quorum_client(struct sim_node *node)
{
    struct sim *sim = node->sim;
    if (sim_chance(sim, 60)) {
        sim_quorum_read(node);
        return;
    }
    bool is_busy = node->quorum.phase != QUORUM_IDLE && node->quorum.is_swap;
    if (is_busy && sim_chance(sim, 95))
        return;
    struct sim_value next = {
        .config =
            {
                .epoch = node->known.config.epoch + 1,
                .primary = node->index,
                .in_sync = pg__bit(node->index),
                .nonce = rand_u64(&sim->rand.rand),
            },
    };
    if (next.config.epoch >= SIM_EPOCHS_MAX)
        return;
    next.disks[node->index] = (uint8_t)sim_between(sim, 1, 200);
    sim_quorum_swap(node, &next, pg__bit(node->index));
}

#define ANSWER_LIMIT_NS (5 * NS_PER_SECOND)

void sim_quorum_check_end(struct sim *sim)
{
    for (unsigned i = 0; i < sim->options.node_count; i++) {
        const struct sim_node *node = &sim->nodes[i];
        if (node->quorum.durable.is_blank && !sim_disk_refuses(node))
            sim_violated(sim, "the end: node %u does not vote", i);
        else if (sim->options.reg == SIM_REGISTER_ONLY &&
                 node->answered_ns + ANSWER_LIMIT_NS < sim->now_ns)
            sim_violated(sim, "the end: node %u gets no answers", i);
    }
}
