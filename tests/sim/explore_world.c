#include <stdio.h>
#include <string.h>

#include "base/digest.h"
#include "tests/sim/explore.h"

#define LITTLE_NS (200 * NS_PER_MS)
#define LONG_NS   (1700 * NS_PER_MS) /* > grace */

static void violated(struct world *world, const char *text, unsigned node, uint64_t psn)
{
    if (world->violation[0] == '\0')
        snprintf(world->violation, sizeof world->violation, "%s (node %u, psn %llu)", text, node,
                 (unsigned long long)psn);
}

/* ---- effects ---- */

static void put_message(struct world *world, const struct ex_message *message)
{
    if (world->message_count == EX_MESSAGES) {
        world->message_count--;
        memmove(&world->messages[0], &world->messages[1],
                world->message_count * sizeof world->messages[0]);
    }
    world->messages[world->message_count++] = *message;
}

static uint64_t hash_message(const struct world *world, const struct ex_message *message);

static bool is_under_way(const struct world *world, const struct ex_message *message)
{
    uint64_t hash = hash_message(world, message);
    for (unsigned i = 0; i < world->message_count; i++)
        if (hash_message(world, &world->messages[i]) == hash)
            return true;
    return false;
}

static void op_send(void *context, uint8_t to, const struct pg_message *pg)
{
    struct ex_node *node = context;
    struct ex_message message = {.kind = EX_PG, .from = node->index, .to = to, .pg = *pg};
    if (!is_under_way(node->world, &message)) /* twice the same is what a copy is for */
        put_message(node->world, &message);
}

static void op_send_records(void *context, uint8_t to, uint64_t from_psn, uint64_t to_psn)
{
    struct ex_node *node = context;
    for (uint64_t psn = from_psn; psn <= to_psn; psn++) {
        struct pg_message message;
        const struct ex_record *record = &node->log[psn];
        pg_append_message(&node->pg, psn, record->term, (const void *)(uintptr_t)record->id,
                          &message);
        op_send(context, to, &message);
    }
}

static void ask_disk(struct ex_node *node, const struct ex_write *write)
{
    CHECK(node->disk.count < EX_WRITES);
    node->disk.writes[node->disk.count++] = *write;
}

static void op_save(void *context, uint64_t version, const struct pg_durable *state)
{
    ask_disk(context, &(struct ex_write){.is_save = true, .version = version, .state = *state});
}

static void op_append(void *context, uint64_t psn, uint64_t term, const void *record)
{
    struct ex_node *node = context;
    CHECK(psn <= EX_RECORDS);
    node->log[psn] = (struct ex_record){.id = (uintptr_t)record, .term = term};
    ask_disk(node, &(struct ex_write){.psn = psn, .record = node->log[psn]});
}

static void op_swap(void *context, const struct pg_config *next)
{
    struct ex_node *node = context;
    put_message(node->world, &(struct ex_message){
                                 .kind = EX_SWAP,
                                 .from = node->index,
                                 .to = node->index,
                                 .life = node->life,
                                 .config = *next,
                             });
}

static void op_read_config(void *context)
{
    struct ex_node *node = context;
    struct ex_message message = {.kind = EX_CONFIG,
                                 .from = node->index,
                                 .to = node->index,
                                 .life = node->life,
                                 .config = node->world->present};
    for (unsigned i = 0; i < node->world->message_count; i++) {
        struct ex_message *other = &node->world->messages[i];
        if (other->kind == EX_CONFIG && other->to == node->index) {
            *other = message; /* one answer is enough */
            return;
        }
    }
    put_message(node->world, &message);
}

static void op_committed(void *context, uint64_t psn, bool may_acknowledge)
{
    struct ex_node *node = context;
    node->committed = psn;
    node->may_answer = may_acknowledge;
}

static void op_opened(void *context)
{
    (void)context;
}

static void op_lost(void *context)
{
    struct ex_node *node = context;
    memset(node->is_asked, 0, sizeof node->is_asked);
}

static const struct pg_ops ops = {
    .send = op_send,
    .send_records = op_send_records,
    .save = op_save,
    .append = op_append,
    .swap = op_swap,
    .read_config = op_read_config,
    .committed = op_committed,
    .opened = op_opened,
    .lost = op_lost,
};

/* ---- nodes ---- */

static void start(struct ex_node *node)
{
    struct pg_options options = {
        .ops = &ops,
        .context = node,
        .times = pg_times_default,
        .self = node->index,
        .node_count = EX_NODES,
        .in_sync_min = 2,
        .nonce_seed = (uint64_t)node->index << 32 | (uint64_t)node->life << 40,
    };
    node->life++;
    memcpy(node->log, node->disk.log, sizeof node->log);
    memset(node->is_asked, 0, sizeof node->is_asked);
    node->disk.version = 0;
    memset(&node->pg, 0, sizeof node->pg);
    pg_init(&node->pg, &options, &node->disk.state, node->world->now_ns);
    node->committed = node->pg.d.commit;
    pg_applied(&node->pg, node->committed);
}

static void do_writes(struct ex_node *node)
{
    for (unsigned i = 0; i < node->disk.count; i++) {
        const struct ex_write *write = &node->disk.writes[i];
        if (write->is_save) {
            node->disk.state = write->state;
            node->disk.version = write->version;
        } else {
            pg_log_append(&node->disk.state.log, write->record.term);
            node->disk.log[write->psn] = write->record;
        }
    }
    node->disk.count = 0;
}

static void crash(struct ex_node *node, bool is_late)
{
    if (is_late)
        do_writes(node);
    node->disk.count = 0;
    start(node);
}

void world_init(struct world *world)
{
    memset(world, 0, sizeof *world);
    world->now_ns = 10 * NS_PER_SECOND;
    world->present = (struct pg_config){.epoch = 1, .term = 1, .in_sync = (1u << EX_NODES) - 1};
    for (uint8_t i = 0; i < EX_NODES; i++) {
        struct ex_node *node = &world->nodes[i];
        node->world = world;
        node->index = i;
        node->disk.state.config = world->present;
        start(node);
    }
}

void world_copy(struct world *to, const struct world *from)
{
    memcpy(to, from, sizeof *to);
    for (unsigned i = 0; i < EX_NODES; i++) {
        to->nodes[i].world = to;
        to->nodes[i].pg.options.context = &to->nodes[i];
    }
}

/* ---- invariants: sim_check.c has their names ---- */

static void check_committed(struct world *world, struct ex_node *node)
{
    for (uint64_t psn = 1; psn <= node->committed; psn++) {
        if (psn > world->committed_to)
            world->committed[world->committed_to = psn] = node->log[psn].id;
        else if (world->committed[psn] != node->log[psn].id)
            violated(world, "I2: committed as two records", node->index, psn);
    }
}

static void check_disks(struct world *world)
{
    for (unsigned i = 0; i < EX_NODES; i++) {
        const struct ex_node *node = &world->nodes[i];
        for (uint64_t psn = 1; psn <= world->committed_to; psn++) {
            bool has_it =
                psn <= node->disk.state.log.last && node->disk.log[psn].id == world->committed[psn];
            if (pg_mask_has(world->present.in_sync, i) && !has_it)
                violated(world, "I1: in sync, and its disk lacks what is committed", i, psn);
        }
    }
}

static void check_reads(struct world *world)
{
    uint64_t seen = world->acked_to > world->read_to ? world->acked_to : world->read_to;
    for (unsigned round = 0; round < 2; round++) /* each may read before and after each other */
        for (unsigned i = 0; i < EX_NODES; i++) {
            const struct pg *pg = &world->nodes[i].pg;
            if (!pg_may_read(pg, world->now_ns))
                continue;
            if (pg->applied < seen)
                violated(world, "I4: may read less than was acknowledged or read", i, pg->applied);
            else
                world->read_to = seen = pg->applied;
        }
}

static void check_leases(struct world *world)
{
    for (unsigned i = 0; i < EX_NODES; i++)
        for (unsigned j = 0; j < EX_NODES; j++) {
            const struct pg *holder = &world->nodes[i].pg, *giver = &world->nodes[j].pg;
            if (i != j && pg__is_primary(holder) && holder->peers[j].lease_ns > world->now_ns &&
                giver->peers[i].promise_ns <= world->now_ns)
                violated(world, "I6: a lease without a promise", i, j);
        }
}

/* The driver applies at once, and answers who had asked. */
static void apply(struct world *world, struct ex_node *node)
{
    if (node->committed <= node->pg.applied)
        return;
    pg_applied(&node->pg, node->committed);
    bool may_answer = node->may_answer && pg__is_primary(&node->pg);
    for (uint64_t psn = 1; psn <= node->committed; psn++) {
        if (node->is_asked[psn] && may_answer && psn > world->acked_to)
            world->acked_to = psn;
        node->is_asked[psn] = false;
    }
}

static void check(struct world *world)
{
    for (unsigned i = 0; i < EX_NODES; i++) {
        struct ex_node *node = &world->nodes[i];
        check_committed(world, node);
        apply(world, node);
        if (node->pg.is_damaged)
            violated(world, "finds its log damaged", i, node->pg.d.log.last);
    }
    check_disks(world);
    check_reads(world);
    check_leases(world);
}

/* ---- actions ---- */

static bool has_room(const struct ex_node *node)
{
    return node->pg.d.log.last < EX_RECORDS && node->disk.count + 4 <= EX_WRITES;
}

/* Where a log is full the world ends: a new term would have no place. */
static bool is_full(const struct world *world)
{
    for (unsigned i = 0; i < EX_NODES; i++)
        if (!has_room(&world->nodes[i]))
            return true;
    return false;
}

static bool may_tick(const struct world *world, const struct pg *pg)
{
    uint64_t now_ns = world->now_ns;
    if (pg__is_primary(pg))
        return true;
    return now_ns >= pg->ask_due_ns || now_ns >= pg->peers[pg->d.config.primary].promise_ns;
}

unsigned world_actions(const struct world *world, const struct ex_limits *limits,
                       struct ex_action ret_actions[EX_ACTIONS])
{
    unsigned count = 0;
#define ADD(what, which)                                                                           \
    (ret_actions[count++] = (struct ex_action){.kind = (what), .number = (uint8_t)(which)})
    if (is_full(world))
        return 0;
    for (unsigned i = 0; i < world->message_count; i++) {
        ADD(EX_DELIVER, i);
        if (world->copies < limits->copies && world->messages[i].kind == EX_PG)
            ADD(EX_DELIVER_COPY, i);
    }
    for (unsigned i = 0; i < EX_NODES; i++) {
        const struct ex_node *node = &world->nodes[i];
        if (node->disk.count > 0)
            ADD(EX_SYNC, i);
        if (may_tick(world, &node->pg))
            ADD(EX_TICK, i);
        if (node->pg.role == PG_OPEN && world->proposals < limits->proposals)
            ADD(EX_PROPOSE, i);
        if (world->crashes < limits->crashes) {
            ADD(EX_CRASH, i);
            if (node->disk.count > 0)
                ADD(EX_CRASH_LATE, i);
        }
        if (node->pg.swap_state == PG_SWAP_SENT && world->doubts < limits->doubts)
            ADD(EX_DOUBT, i);
        if (node->pg.has_resigned)
            ADD(EX_STAND, i);
        else if (world->resigns < limits->resigns)
            ADD(EX_RESIGN, i);
    }
    ADD(EX_PASS_LITTLE, 0);
    ADD(EX_PASS_LONG, 0);
#undef ADD
    CHECK(count <= EX_ACTIONS);
    return count;
}

static void deliver(struct world *world, const struct ex_message *message)
{
    struct ex_node *node = &world->nodes[message->to];
    bool is_for_it = message->life == node->life;
    switch (message->kind) {
    case EX_PG:
        pg_receive(&node->pg, world->now_ns, message->from, &message->pg);
        break;
    case EX_SWAP: {
        bool fits = message->config.epoch == world->present.epoch + 1;
        if (fits)
            world->present = message->config;
        put_message(world, &(struct ex_message){
                               .kind = EX_SWAPPED,
                               .from = message->from,
                               .to = message->to,
                               .life = message->life,
                               .config = world->present,
                               .outcome = fits ? PG_SWAP_DONE : PG_SWAP_LOST,
                               .nonce = message->config.nonce,
                           });
        break;
    }
    case EX_SWAPPED:
        if (is_for_it && message->nonce == node->pg.wanted.nonce)
            pg_swapped(&node->pg, world->now_ns, message->outcome, &message->config);
        break;
    case EX_CONFIG:
        if (is_for_it)
            pg_config_read(&node->pg, world->now_ns, &message->config);
        break;
    }
}

static void take_message(struct world *world, unsigned number, bool stays)
{
    struct ex_message message = world->messages[number];
    CHECK(number < world->message_count);
    if (!stays) {
        world->message_count--;
        memmove(&world->messages[number], &world->messages[number + 1],
                (world->message_count - number) * sizeof message);
    }
    deliver(world, &message);
}

static void propose(struct world *world, struct ex_node *node)
{
    uint64_t psn;
    void *record = (void *)(uintptr_t)++world->proposals;
    if (pg_propose(&node->pg, world->now_ns, record, &psn) == ERR_OK)
        node->is_asked[psn] = true;
}

void world_act(struct world *world, struct ex_action action)
{
    struct ex_node *node = &world->nodes[action.number < EX_NODES ? action.number : 0];
    switch ((enum ex_action_kind)action.kind) {
    case EX_DELIVER:
        take_message(world, action.number, false);
        break;
    case EX_DELIVER_COPY:
        world->copies++;
        take_message(world, action.number, true);
        break;
    case EX_SYNC:
        do_writes(node);
        pg_persisted(&node->pg, world->now_ns, node->disk.version, node->disk.state.log.last);
        break;
    case EX_TICK:
        pg_tick(&node->pg, world->now_ns);
        break;
    case EX_PASS_LITTLE:
        world->now_ns += LITTLE_NS;
        break;
    case EX_PASS_LONG:
        world->now_ns += LONG_NS;
        break;
    case EX_PROPOSE:
        propose(world, node);
        break;
    case EX_CRASH:
    case EX_CRASH_LATE:
        world->crashes++;
        crash(node, action.kind == EX_CRASH_LATE);
        break;
    case EX_DOUBT:
        world->doubts++;
        pg_swapped(&node->pg, world->now_ns, PG_SWAP_UNKNOWN, &world->present);
        break;
    case EX_RESIGN:
        world->resigns++;
        pg_resign(&node->pg, world->now_ns);
        break;
    case EX_STAND:
        pg_stand(&node->pg, world->now_ns);
        break;
    }
    check(world);
}

/* ---- the hash: what matters of a state, times as they are seen from now ---- */

struct hash {
    uint64_t words[192];
    unsigned count;
};

static void add(struct hash *hash, uint64_t word)
{
    CHECK(hash->count < COUNT_OF(hash->words));
    hash->words[hash->count++] = word;
}

/* A time that is over matters no more, however long ago; what is older is told apart by steps. */
static void add_time(struct hash *hash, const struct world *world, uint64_t at_ns)
{
    add(hash, at_ns > world->now_ns ? at_ns - world->now_ns : 0);
}

static void add_age(struct hash *hash, const struct world *world, uint64_t at_ns)
{
    uint64_t age_ns = world->now_ns - at_ns;
    add(hash, age_ns < 4 * NS_PER_SECOND ? age_ns : 4 * NS_PER_SECOND);
}

static void add_config(struct hash *hash, const struct pg_config *config)
{
    add(hash, config->epoch << 32 | config->term << 16 | (uint64_t)config->primary << 8 |
                  config->in_sync);
    add(hash, config->nonce);
}

static void add_log(struct hash *hash, const struct pg_log *log)
{
    add(hash, log->last << 32 | log->base << 16 | log->run_count);
    for (uint32_t i = 0; i < log->run_count; i++)
        add(hash, log->runs[i].first_psn << 32 | log->runs[i].term);
}

static void add_durable(struct hash *hash, const struct pg_durable *d)
{
    add_config(hash, &d->config);
    add(hash, d->synced_term << 32 | d->commit);
    add_log(hash, &d->log);
}

static uint64_t hash_end(const struct hash *hash)
{
    return xxh3_64(hash->words, hash->count * sizeof hash->words[0]);
}

static uint64_t hash_pg(const struct world *world, const struct ex_node *node)
{
    struct hash hash = {.count = 0};
    const struct pg *pg = &node->pg;
    add(&hash,
        (uint64_t)pg->role << 8 | pg->is_starting | pg->is_damaged << 1 | pg->has_resigned << 2);
    add_durable(&hash, &pg->d);
    add(&hash, pg->durable << 48 | pg->applied << 32 | pg->barrier << 16 | pg->armed);
    add(&hash, pg->version - pg->saved_version);
    add(&hash, pg->swap_state);
    if (pg->swap_state != PG_SWAP_IDLE)
        add_config(&hash, &pg->wanted);
    add(&hash, pg->nonce_count << 8 | node->life);
    add_time(&hash, world, pg->beacon_due_ns);
    add_time(&hash, world, pg->ask_due_ns);
    add_time(&hash, world, pg->take_over_due_ns);
    add(&hash, pg->take_over_due_ns > 0);
    for (unsigned i = 0; i < EX_NODES; i++) {
        const struct pg_peer *peer = &pg->peers[i];
        add(&hash, peer->acked << 32 | peer->next << 16 | peer->is_synced | peer->has_promise << 1);
        add_time(&hash, world, peer->lease_ns);
        add_time(&hash, world, peer->promise_ns);
        if (pg__is_primary(pg)) {
            add_age(&hash, world, peer->heard_ns);
            add_age(&hash, world, peer->progress_ns);
            add_age(&hash, world, peer->resent_ns);
        }
    }
    return hash_end(&hash);
}

static uint64_t hash_disk(const struct ex_node *node)
{
    struct hash hash = {.count = 0};
    add_durable(&hash, &node->disk.state);
    add(&hash, node->disk.version);
    for (unsigned i = 0; i < node->disk.count; i++) {
        const struct ex_write *write = &node->disk.writes[i];
        add(&hash, write->is_save ? UINT64_MAX : write->psn << 32 | write->record.id);
        add(&hash, write->is_save ? write->state.config.epoch << 32 | write->state.log.last
                                  : write->record.term);
    }
    for (uint64_t psn = 1; psn <= EX_RECORDS; psn++)
        add(&hash, node->log[psn].id << 48 | node->log[psn].term << 32 |
                       node->disk.log[psn].id << 16 | node->disk.log[psn].term);
    return hash_end(&hash);
}

static uint64_t hash_message(const struct world *world, const struct ex_message *message)
{
    struct hash hash = {.count = 0};
    const struct pg_message *pg = &message->pg;
    add(&hash, (uint64_t)message->kind << 24 | message->from << 16 | message->to << 8);
    add(&hash, (uint64_t)message->life << 8 | message->outcome);
    add_config(&hash, &message->config);
    add(&hash, message->nonce);
    add(&hash, (uint64_t)pg->type << 8 | pg->has_gap);
    add_config(&hash, &pg->config);
    add_age(&hash, world, pg->beacon_ns > 0 ? pg->beacon_ns : world->now_ns);
    add(&hash, pg->commit << 48 | pg->psn << 32 | pg->last << 16 | pg->term);
    add(&hash, (uintptr_t)pg->record);
    add_log(&hash, &pg->log);
    return hash_end(&hash);
}

uint64_t world_hash(const struct world *world)
{
    struct hash hash = {.count = 0};
    /* Their order is no state: it only says which is lost when they are many. */
    uint64_t messages = 0;
    for (unsigned i = 0; i < world->message_count; i++)
        messages += hash_message(world, &world->messages[i]);
    add(&hash, messages);
    for (unsigned i = 0; i < EX_NODES; i++) {
        add(&hash, hash_pg(world, &world->nodes[i]));
        add(&hash, hash_disk(&world->nodes[i]));
    }
    add_config(&hash, &world->present);
    add(&hash, (uint64_t)world->resigns << 32 | world->proposals << 24 | world->crashes << 16 |
                   world->copies << 8 | world->doubts);
    add(&hash, world->committed_to << 32 | world->acked_to << 16 | world->read_to);
    return hash_end(&hash);
}

/* ---- telling ---- */

static const char *const type_names[] = {
    [PG_BEACON] = "BEACON",     [PG_BEACON_ACK] = "BEACON_ACK",
    [PG_NEW_TERM] = "NEW_TERM", [PG_APPEND] = "APPEND",
    [PG_ACK] = "ACK",           [PG_TELL] = "TELL",
    [PG_COMMIT] = "COMMIT",
};

static void tell_message(const struct ex_message *m, bool stays, char *out, size_t size)
{
    static const char *const kinds[] = {"", "swap reaches the register", "swap's answer reaches it",
                                        "record reaches it"};
    if (m->kind == EX_PG)
        snprintf(out, size, "%s of epoch %llu, psn %llu, from %u to %u%s", type_names[m->pg.type],
                 (unsigned long long)m->pg.config.epoch, (unsigned long long)m->pg.psn, m->from,
                 m->to, stays ? ", and may come again" : "");
    else
        snprintf(out, size, "node %u: %s, epoch %llu", m->to, kinds[m->kind],
                 (unsigned long long)m->config.epoch);
}

void world_tell(const struct world *world, struct ex_action action, char *out, size_t size)
{
    static const char *const texts[] = {
        [EX_SYNC] = "disk has done all",
        [EX_TICK] = "tick",
        [EX_PROPOSE] = "is asked for a change",
        [EX_CRASH] = "crashes and loses what was not synced",
        [EX_CRASH_LATE] = "crashes, all synced",
        [EX_DOUBT] = "waits no longer for its swap",
        [EX_RESIGN] = "resigns",
        [EX_STAND] = "stands again",
    };
    if (action.kind == EX_DELIVER || action.kind == EX_DELIVER_COPY)
        tell_message(&world->messages[action.number], action.kind == EX_DELIVER_COPY, out, size);
    else if (action.kind == EX_PASS_LITTLE || action.kind == EX_PASS_LONG)
        snprintf(out, size, "%s time passes", action.kind == EX_PASS_LONG ? "much" : "a little");
    else
        snprintf(out, size, "node %u: %s", action.number, texts[action.kind]);
}
