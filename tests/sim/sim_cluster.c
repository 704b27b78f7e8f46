#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

#define TICK_NS        (10 * NS_PER_MS)
#define CLIENTS        3u
#define CLIENT_WAIT_NS (15 * NS_PER_MS)

/* ---- chance and telling ---- */

uint64_t sim_between(struct sim *sim, uint64_t low, uint64_t high)
{
    return low + rand_below(&sim->rand.rand, high - low + 1);
}

bool sim_chance(struct sim *sim, unsigned percent)
{
    return rand_below(&sim->rand.rand, 100) < percent;
}

static void tell(struct sim *sim, const char *format, va_list args)
{
    printf("%9.3f  ", (double)sim->now_ns / 1e9);
    vprintf(format, args);
    putchar('\n');
}

void sim_tell(struct sim *sim, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    tell(sim, format, args);
    va_end(args);
}

void sim_violated(struct sim *sim, const char *format, ...)
{
    if (sim->violation[0])
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(sim->violation, sizeof sim->violation, format, args);
    va_end(args);
    SIM_TELL(sim, "VIOLATED: %s", sim->violation);
}

/* ---- events: a binary heap by time, then by order ---- */

static bool is_before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

static void heap_push(struct sim *sim, struct sim_event *event)
{
    CHECK(sim->heap_size < SIM_EVENTS_MAX);
    size_t at = sim->heap_size++;
    for (; at > 0 && is_before(event, sim->heap[(at - 1) / 2]); at = (at - 1) / 2)
        sim->heap[at] = sim->heap[(at - 1) / 2];
    sim->heap[at] = event;
}

static struct sim_event *heap_pop(struct sim *sim)
{
    struct sim_event *first = sim->heap[0], *last = sim->heap[--sim->heap_size];
    size_t at = 0;
    for (size_t child; (child = at * 2 + 1) < sim->heap_size; at = child) {
        if (child + 1 < sim->heap_size && is_before(sim->heap[child + 1], sim->heap[child]))
            child++;
        if (!is_before(sim->heap[child], last))
            break;
        sim->heap[at] = sim->heap[child];
    }
    if (sim->heap_size > 0)
        sim->heap[at] = last;
    return first;
}

struct sim_event *sim_event_new(struct sim *sim, enum sim_event_kind kind, uint8_t node,
                                uint64_t delay_ns)
{
    struct sim_event *event = calloc(1, sizeof *event);
    CHECK(event != NULL);
    event->kind = kind;
    event->node = node;
    event->at_ns = sim->now_ns + delay_ns;
    event->order = ++sim->order;
    heap_push(sim, event);
    return event;
}

/* ---- clocks ---- */

uint64_t sim_local_ns(const struct sim_node *node)
{
    int64_t drift = (int64_t)(node->sim->now_ns / 1000000) * node->clock_rate_ppm;
    return node->clock_offset_ns + node->sim->now_ns + (uint64_t)drift;
}

/* ---- network ---- */

/* A lane keeps the order; what was sent on a connection before may come long after it broke. */
static uint64_t way_ns(struct sim *sim, uint8_t from, uint8_t to)
{
    unsigned late_percent = sim->options.reg == SIM_REGISTER_ONLY ? 8 : 2;
    if (sim_chance(sim, late_percent) && !sim->is_healing)
        return sim_between(sim, 50 * NS_PER_MS, 900 * NS_PER_MS);
    uint64_t at_ns = sim->now_ns + sim_between(sim, NS_PER_MS / 20, 3 * NS_PER_MS);
    if (at_ns <= sim->last_arrival_ns[from][to])
        at_ns = sim->last_arrival_ns[from][to] + 1;
    sim->last_arrival_ns[from][to] = at_ns;
    return at_ns - sim->now_ns;
}

static struct sim_event *send_once(struct sim_node *from, uint8_t to, enum sim_event_kind kind)
{
    struct sim_event *event =
        sim_event_new(from->sim, kind, to, way_ns(from->sim, from->index, to));
    event->from = from->index;
    event->disk = from->disk.number;
    return event;
}

unsigned sim_net_send(struct sim_node *from, uint8_t to, enum sim_event_kind kind,
                      struct sim_event *ret_events[2])
{
    struct sim *sim = from->sim;
    if (sim->is_cut[from->index][to] || sim_chance(sim, sim->drop_percent))
        return 0;
    unsigned copies = sim_chance(sim, sim->twice_percent) ? 2 : 1;
    for (unsigned i = 0; i < copies; i++)
        ret_events[i] = send_once(from, to, kind);
    return copies;
}

static void net_send(void *context, uint8_t to, const struct pg_message *message)
{
    struct sim_event *events[2];
    unsigned count = sim_net_send(context, to, SIM_DELIVER, events);
    for (unsigned i = 0; i < count; i++)
        events[i]->message = *message;
}

static void net_send_records(void *context, uint8_t to, uint64_t from_psn, uint64_t to_psn)
{
    struct sim_node *node = context;
    for (uint64_t psn = from_psn; psn <= to_psn; psn++) {
        struct pg_message message;
        const struct sim_record *record = &node->log[psn];
        pg_append_message(&node->pg, psn, record->term, (const void *)(uintptr_t)record->id,
                          &message);
        net_send(context, to, &message);
    }
}

/* ---- disks: one queue, done in order; a crash keeps any beginning of it ---- */

static void disk_do(struct sim_node *node, const struct sim_write *write)
{
    struct sim_disk *disk = &node->disk;
    switch (write->kind) {
    case SIM_WRITE_SAVE:
        disk->state = write->state;
        disk->version = write->version;
        break;
    case SIM_WRITE_APPEND:
        CHECK(write->psn == disk->state.log.last + 1);
        pg_log_append(&disk->state.log, write->record.term);
        disk->log[write->psn] = write->record;
        break;
    case SIM_WRITE_QUORUM:
        disk->quorum = write->quorum;
        disk->quorum_version = write->version;
        sim_quorum_taken(node->sim, node->index, &write->quorum);
        break;
    }
}

void sim_disk_ask(struct sim_node *node, const struct sim_write *write)
{
    struct sim *sim = node->sim;
    struct sim_disk *disk = &node->disk;
    CHECK(disk->asked - disk->done < SIM_DISK_QUEUE);
    disk->queue[disk->asked++ % SIM_DISK_QUEUE] = *write;
    uint64_t now_ns = sim->now_ns > disk->busy_until_ns ? sim->now_ns : disk->busy_until_ns;
    unsigned slow_percent = sim->options.reg == SIM_REGISTER_ONLY ? 8 : 1;
    uint64_t takes_ns = sim_chance(sim, slow_percent)
                            ? sim_between(sim, 20 * NS_PER_MS, 200 * NS_PER_MS)
                            : sim_between(sim, NS_PER_MS / 10, 2 * NS_PER_MS);
    disk->busy_until_ns = now_ns + takes_ns;
    struct sim_event *event =
        sim_event_new(sim, SIM_PERSISTED, node->index, disk->busy_until_ns - sim->now_ns);
    event->life = node->life;
    event->number = disk->asked;
}

static void disk_save(void *context, uint64_t version, const struct pg_durable *state)
{
    sim_disk_ask(context,
                 &(struct sim_write){.kind = SIM_WRITE_SAVE, .version = version, .state = *state});
}

static void disk_append(void *context, uint64_t psn, uint64_t term, const void *record)
{
    struct sim_node *node = context;
    CHECK(psn <= SIM_RECORDS_MAX);
    node->log[psn] = (struct sim_record){.id = (record_id)(uintptr_t)record, .term = term};
    sim_disk_ask(
        node, &(struct sim_write){.kind = SIM_WRITE_APPEND, .psn = psn, .record = node->log[psn]});
}

bool sim_disk_refuses(const struct sim_node *node)
{
    return node->disk.refuses_until_ns > node->sim->now_ns;
}

static void disk_persisted(struct sim_node *node, uint64_t number)
{
    struct sim_disk *disk = &node->disk;
    if (sim_disk_refuses(node))
        return; /* all of it comes when it takes again */
    while (disk->done < number)
        disk_do(node, &disk->queue[disk->done++ % SIM_DISK_QUEUE]);
    if (!node->is_joining)
        pg_persisted(&node->pg, sim_local_ns(node), disk->version, disk->state.log.last);
    if (node->sim->options.reg != SIM_MAGIC)
        quorum_persisted(&node->quorum, sim_local_ns(node), disk->quorum_version);
}

/* ---- clients ---- */

static void op_committed(void *context, uint64_t psn, bool may_acknowledge)
{
    struct sim_node *node = context;
    struct sim *sim = node->sim;
    for (uint64_t at = sim->committed_to + 1; at <= psn; at++)
        sim_check_committed(node, at);
    sim_check_committed(node, psn);
    sim_check_shown(node, psn);
    if (pg__is_primary(&node->pg))
        node->led_to = psn;
    for (uint64_t at = 1; at <= psn && may_acknowledge; at++)
        node->may_answer[at] = true;
    uint64_t takes_ns = sim_chance(sim, 3) ? sim_between(sim, NS_PER_MS, 300 * NS_PER_MS)
                                           : sim_between(sim, 1, 2 * NS_PER_MS);
    struct sim_event *event = sim_event_new(sim, SIM_APPLIED, node->index, takes_ns);
    event->life = node->life;
    event->number = psn;
    sim_check_replicas(sim);
}

/* Proposers hear of it, readers see it, then the replicas are told. */
static void applied(struct sim_node *node, uint64_t psn)
{
    struct sim *sim = node->sim;
    bool is_primary = pg__is_primary(&node->pg);
    if (psn <= node->applied)
        return;
    node->applied = psn;
    pg_applied(&node->pg, psn);
    if (psn <= node->led_to && psn > sim->shown_to)
        sim->shown_to = psn;
    for (uint64_t at = 1; at <= psn; at++) {
        if (!node->is_asked[at])
            continue;
        node->is_asked[at] = false;
        if (node->may_answer[at] && is_primary)
            sim_check_acked(node, at);
        else
            sim->unknown++;
    }
    if (pg_may_read(&node->pg, sim_local_ns(node))) /* the hastiest client there could be */
        sim_check_read(node);
    for (unsigned i = 0; i < sim->options.node_count; i++)
        if (i != node->index && sim_chance(sim, 30))
            pg_tell_commit(&node->pg, (uint8_t)i);
}

static void op_opened(void *context)
{
    struct sim_node *node = context;
    SIM_TELL(node->sim, "node %u is open in term %llu", node->index,
             (unsigned long long)node->pg.d.config.term);
}

static void op_lost(void *context)
{
    struct sim_node *node = context;
    SIM_TELL(node->sim, "node %u is primary no more", node->index);
    for (uint64_t psn = 1; psn <= SIM_RECORDS_MAX; psn++) {
        node->sim->unknown += node->is_asked[psn];
        node->is_asked[psn] = false;
    }
}

static void client_turn(struct sim *sim)
{
    struct sim_node *node = &sim->nodes[sim_between(sim, 0, sim->options.node_count - 1)];
    sim_event_new(sim, SIM_CLIENT, 0, sim_between(sim, 1, CLIENT_WAIT_NS));
    if (!node->is_up || node->paused_until_ns > sim->now_ns)
        return;
    if (sim->options.reg == SIM_REGISTER_ONLY)
        sim_quorum_client(node);
    if (node->is_joining)
        return;
    uint64_t now_ns = sim_local_ns(node), psn;
    if (sim_chance(sim, 50)) {
        if (pg_may_read(&node->pg, now_ns))
            sim_check_read(node);
        return;
    }
    bool has_room = node->pg.d.log.last + 200 < SIM_RECORDS_MAX;
    if (has_room &&
        pg_propose(&node->pg, now_ns, (void *)(uintptr_t)++sim->next_id, &psn) == ERR_OK)
        node->is_asked[psn] = true;
}

/* ---- nodes ---- */

static const struct pg_ops node_ops = {
    .send = net_send,
    .send_records = net_send_records,
    .save = disk_save,
    .append = disk_append,
    .swap = sim_register_swap,
    .read_config = sim_register_read,
    .committed = op_committed,
    .opened = op_opened,
    .lost = op_lost,
};

/* The record comes first: by it a node knows whether its disk is still the one that is counted on.
 */
void sim_node_start(struct sim_node *node)
{
    struct sim *sim = node->sim;
    node->is_up = node->is_joining = true;
    node->life++;
    memcpy(node->log, node->disk.log, sizeof node->log);
    memset(node->is_asked, 0, sizeof node->is_asked);
    memset(node->may_answer, 0, sizeof node->may_answer);
    memset(node->peer_disks, 0, sizeof node->peer_disks);
    node->known = (struct sim_value){0};
    node->swap_nonce = 0;
    node->disk.version = node->disk.quorum_version = 0; /* a life counts anew */
    if (sim->options.reg != SIM_MAGIC)
        sim_quorum_start(node);
    sim_event_new(sim, SIM_TICK, node->index, sim_between(sim, 1, TICK_NS))->life = node->life;
    SIM_TELL(sim, "node %u starts, log to %llu", node->index,
             (unsigned long long)node->disk.state.log.last);
}

/* Between what it had for certain and all it had applied: the volume syncs when it likes. */
static uint64_t applied_before(struct sim_node *node)
{
    uint64_t highest = node->applied;
    if (highest > node->disk.state.log.last)
        highest = node->disk.state.log.last;
    return sim_between(node->sim, 0, highest);
}

void sim_node_join(struct sim_node *node)
{
    struct sim *sim = node->sim;
    struct pg_options options = {
        .ops = &node_ops,
        .context = node,
        .times = pg_times_default,
        .self = node->index,
        .node_count = (uint8_t)sim->options.node_count,
        .in_sync_min = sim->options.node_count > 1 ? 2 : 1,
        .is_new_disk = node->known.disks[node->index] != node->disk.number,
        .nonce_seed = rand_u64(&sim->rand.rand),
    };
    struct pg_durable restored = node->disk.state;
    if (restored.config.epoch == 0) /* an empty disk */
        restored.config = node->known.config;
    node->applied = applied_before(node);
    if (restored.commit < node->applied)
        restored.commit = node->applied;
    node->is_joining = false;
    pg_init(&node->pg, &options, &restored, sim_local_ns(node));
    pg_applied(&node->pg, node->applied);
    if (restored.commit > node->applied) {
        struct sim_event *event = sim_event_new(sim, SIM_APPLIED, node->index, NS_PER_MS);
        event->life = node->life;
        event->number = restored.commit;
    }
    SIM_TELL(sim, "node %u takes part, epoch %llu, disk %u%s", node->index,
             (unsigned long long)node->pg.d.config.epoch, node->disk.number,
             options.is_new_disk ? ", which the record does not know" : "");
}

void sim_node_crash(struct sim_node *node)
{
    struct sim *sim = node->sim;
    struct sim_disk *disk = &node->disk;
    bool has_refused = sim_disk_refuses(node) && !disk->hangs;
    uint64_t under_way = has_refused ? 0 : disk->asked - disk->done;
    uint64_t kept = disk->done + sim_between(sim, 0, under_way);
    while (disk->done < kept)
        disk_do(node, &disk->queue[disk->done++ % SIM_DISK_QUEUE]);
    disk->asked = disk->done;
    disk->busy_until_ns = 0;
    node->is_up = false;
    node->paused_until_ns = 0;
    sim->crashes++;
    SIM_TELL(sim, "node %u crashes, its disk has psn %llu", node->index,
             (unsigned long long)disk->state.log.last);
}

/* After a crash: what it comes back with is another disk, and empty. */
void sim_node_lose_disk(struct sim_node *node)
{
    uint8_t number = node->disk.number + 1;
    CHECK(!node->is_up && number > 0);
    node->disk = (struct sim_disk){.number = number};
    node->applied = 0;
    sim_quorum_disk_lost(node);
    node->sim->lost_disks++;
    SIM_TELL(node->sim, "node %u loses its disk", node->index);
}

/* ---- the run ---- */

#define NOTICED_NS (300 * NS_PER_MS) /* of refusals: then the driver says so */

static void watch_disk(struct sim_node *node)
{
    const struct sim_disk *disk = &node->disk;
    bool is_refusing = sim_disk_refuses(node);
    bool was_primary = pg__is_primary(&node->pg);
    if (is_refusing && node->sim->now_ns >= disk->refuses_from_ns + NOTICED_NS)
        pg_resign(&node->pg, sim_local_ns(node));
    else if (!is_refusing)
        pg_stand(&node->pg, sim_local_ns(node));
    node->sim->resigned += was_primary && !pg__is_primary(&node->pg);
}

static void to_node(struct sim *sim, struct sim_node *node, const struct sim_event *event)
{
    uint64_t now_ns = sim_local_ns(node);
    switch (event->kind) {
    case SIM_TICK:
        if (sim->options.reg != SIM_MAGIC)
            quorum_tick(&node->quorum, now_ns);
        if (!node->is_joining) {
            watch_disk(node);
            pg_tick(&node->pg, now_ns);
        } else if (sim->options.reg != SIM_REGISTER_ONLY && sim_chance(sim, 20)) {
            sim_register_read(node);
        }
        sim_event_new(sim, SIM_TICK, node->index, TICK_NS)->life = node->life;
        break;
    case SIM_DELIVER:
        if (sim_register_linked(node, event->from, event->disk) && !node->is_joining)
            pg_receive(&node->pg, now_ns, event->from, &event->message);
        break;
    case SIM_QUORUM:
        if (sim_register_linked(node, event->from, event->disk))
            sim_quorum_deliver(node, event);
        break;
    case SIM_APPLIED:
        applied(node, event->number);
        break;
    case SIM_PERSISTED:
        disk_persisted(node, event->number);
        break;
    case SIM_SWAPPED:
    case SIM_CONFIG:
        sim_register_answered(node, event);
        break;
    case SIM_SWAP:
    case SIM_CLIENT:
    case SIM_FAULT:
    case SIM_CRASH:
    case SIM_RESTART:
    case SIM_DISK_TAKES:
    case SIM_HEAL:
        CHECK(!"an event for a node");
    }
    if (!node->is_joining && node->pg.is_damaged)
        sim_violated(sim, "node %u finds its log damaged", node->index);
}

static void happen(struct sim *sim, struct sim_event *event)
{
    struct sim_node *node = &sim->nodes[event->node];
    switch (event->kind) {
    case SIM_SWAP:
        sim_register_asked(sim, event);
        return;
    case SIM_CLIENT:
        if (!sim->is_healing || sim_chance(sim, 30))
            client_turn(sim);
        else
            sim_event_new(sim, SIM_CLIENT, 0, CLIENT_WAIT_NS);
        return;
    case SIM_FAULT:
        if (!sim->is_healing)
            sim_fault(sim);
        return;
    case SIM_CRASH:
        if (!sim->is_healing)
            sim_crash(sim, node);
        return;
    case SIM_DISK_TAKES:
        sim_disk_takes(sim, node);
        return;
    case SIM_HEAL:
        sim_heal(sim);
        return;
    case SIM_RESTART:
        if (!node->is_up)
            sim_node_start(node);
        return;
    case SIM_TICK:
    case SIM_DELIVER:
    case SIM_QUORUM:
    case SIM_PERSISTED:
    case SIM_APPLIED:
    case SIM_SWAPPED:
    case SIM_CONFIG:
        break;
    }
    bool is_for_it = node->is_up && (event->life == 0 || event->life == node->life);
    if (!is_for_it)
        return;
    if (node->paused_until_ns > sim->now_ns && event->kind != SIM_PERSISTED) {
        struct sim_event *later =
            sim_event_new(sim, event->kind, event->node, node->paused_until_ns - sim->now_ns);
        uint64_t at_ns = later->at_ns, order = later->order;
        *later = *event;
        later->at_ns = at_ns, later->order = order;
        return;
    }
    to_node(sim, node, event);
}

static void sim_begin(struct sim *sim)
{
    uint8_t all = (uint8_t)((1u << sim->options.node_count) - 1);
    bool has_record = sim->options.reg == SIM_MAGIC;
    if (has_record)
        sim->present.config =
            (struct pg_config){.epoch = 1, .term = 1, .primary = 0, .in_sync = all};
    for (unsigned i = 0; i < sim->options.node_count; i++) {
        struct sim_node *node = &sim->nodes[i];
        node->sim = sim;
        node->index = (uint8_t)i;
        node->clock_offset_ns = sim_between(sim, NS_PER_SECOND, 1000 * NS_PER_SECOND);
        node->clock_rate_ppm = (int64_t)sim_between(sim, 0, 8000) - 4000;
        node->disk.number = 1;
        node->disk.quorum.is_blank = true;
        node->disk.state.config = sim->present.config;
        sim->present.disks[i] = has_record;
        sim_node_start(node);
    }
    for (unsigned i = 0; i < CLIENTS; i++)
        sim_event_new(sim, SIM_CLIENT, 0, sim_between(sim, 1, CLIENT_WAIT_NS));
    sim_event_new(sim, SIM_FAULT, 0, 2 * NS_PER_SECOND);
    sim_event_new(sim, SIM_HEAL, 0, sim->options.duration_ns);
}

#define HEALING_NS (15 * NS_PER_SECOND)

int sim_run(struct sim *sim, const struct sim_options *options)
{
    *sim = (struct sim){.options = *options, .twice_percent = 2};
    rand_seeded_init(&sim->rand, options->seed);
    sim->heap = calloc(SIM_EVENTS_MAX, sizeof(struct sim_event *));
    CHECK(sim->heap != NULL);
    sim_begin(sim);
    uint64_t end_ns = options->duration_ns + HEALING_NS;
    while (sim->heap_size > 0 && !sim->violation[0]) {
        struct sim_event *event = heap_pop(sim);
        sim->now_ns = event->at_ns;
        if (sim->now_ns <= end_ns) {
            happen(sim, event);
            sim_check_leases(sim);
        }
        free(event);
        sim->events++;
        if (sim->now_ns > end_ns)
            break;
    }
    if (!sim->violation[0])
        sim_check_end(sim);
    while (sim->heap_size > 0)
        free(heap_pop(sim));
    free(sim->heap);
    sim->heap = NULL;
    return sim->violation[0] ? SIM_VIOLATED : SIM_FINE;
}
