/*
 * Damaged chunks brought back from peers: three nodes over simulated disks that hold the same data,
 * and links that carry messages at the turns of the test.
 */
#include "volume_fixture.h"

#include "replication/repair.h"
#include "storage/data.h"

#define NODES      3u
#define ITEM_BYTES (SUM_CHUNK_BYTES + 64u)
#define ITEMS      300u
#define SIZE       (MIB(2) + 100)

struct wire { /* what one node's link to another carries */
    struct node *from, *to;
    bool is_up;
    bool loses;  /* everything */
    bool spoils; /* a byte of what is sent */
    struct {
        uint8_t kind; /* 0: CTL */
        size_t size;
        uint8_t *bytes; /* owned */
    } items[ITEMS];
    unsigned first, past;
};

struct node {
    uint32_t number;
    struct fixture f;
    struct repair *repair;
    struct wire wires[NODES]; /* to each other node */
};

static struct world {
    struct loop *loop;
    struct work_pool *pool;
    struct node nodes[NODES];
    struct data_id id; /* the object's data, the same everywhere */
} * world;

static struct wire *wire_of(const struct link *link)
{
    return (struct wire *)(uintptr_t)link;
}
static struct link *link_of(struct wire *wire)
{
    return (struct link *)(void *)wire;
}
static struct wire *between(unsigned from, unsigned to)
{
    return &world->nodes[from].wires[to];
}

static enum err put(struct wire *wire, uint8_t kind, const struct bytes *parts, unsigned count)
{
    if (!wire->is_up)
        return ERR_CLOSED;
    if (wire->loses)
        return ERR_OK;
    assert_true(wire->past - wire->first < ITEMS);
    unsigned i = wire->past++ % ITEMS;
    wire->items[i].bytes = malloc(ITEM_BYTES);
    assert_non_null(wire->items[i].bytes);
    wire->items[i].kind = kind;
    wire->items[i].size = 0;
    for (unsigned part = 0; part < count; part++) {
        memcpy(wire->items[i].bytes + wire->items[i].size, parts[part].data, parts[part].size);
        wire->items[i].size += parts[part].size;
    }
    if (wire->spoils)
        wire->items[i].bytes[wire->items[i].size - 1] ^= 1;
    return ERR_OK;
}

static bool fake_is_up(const struct link *link)
{
    return wire_of(link)->is_up;
}
static uint32_t fake_node(const struct link *link)
{
    return wire_of(link)->to->number;
}
static enum err fake_ctl(struct link *link, const void *data, size_t size)
{
    const struct bytes part = bytes_of(data, size);
    return put(wire_of(link), 0, &part, 1);
}
static enum err fake_message(struct link *link, uint8_t kind, const struct bytes *parts,
                             unsigned count)
{
    return put(wire_of(link), kind, parts, count);
}
static const struct repair_links links = {fake_is_up, fake_node, fake_ctl, fake_message};

static bool carry(struct wire *wire)
{
    if (wire->first == wire->past)
        return false;
    unsigned i = wire->first++ % ITEMS;
    struct bytes body = bytes_of(wire->items[i].bytes, wire->items[i].size);
    struct link *back = link_of(&wire->to->wires[wire->from->number]);
    if (wire->items[i].kind == 0) {
        struct message m;
        assert_int_equal(message_decode(body, NODES, &m), ERR_OK);
        assert_int_equal(m.type, MESSAGE_FETCH);
        repair_asked(wire->to->repair, back, &m.fetch);
    } else {
        struct message_fetched fetched;
        assert_int_equal(wire->items[i].kind, MESSAGE_FETCHED);
        assert_int_equal(message_fetched_decode(body, &fetched), ERR_OK);
        repair_answered(wire->to->repair, back, &fetched);
    }
    free(wire->items[i].bytes);
    return true;
}

static bool carry_all(void)
{
    bool any = false;
    for (unsigned from = 0; from < NODES; from++)
        for (unsigned to = 0; to < NODES; to++)
            if (from != to)
                any = carry(between(from, to)) || any;
    return any;
}

/* ---- asks ---- */

struct wait {
    struct group_repair ask;
    unsigned runs;
};

static void done(struct group_repair *ask)
{
    CONTAINER_OF(ask, struct wait, ask)->runs++;
}

static void ask(struct wait *wait, uint64_t offset)
{
    wait->runs = 0;
    wait->ask = (struct group_repair){
        .data = world->id, .offset = offset, .loop = world->loop, .done = done};
    repair_chunk(world->nodes[0].repair, &wait->ask);
}

static void later(uint64_t by_ns)
{
    clock_manual_advance(&world->nodes[0].f.clock, by_ns);
    loop_run_once(world->loop, 0);
    repair_tick(world->nodes[0].repair, clock_boot_ns(&world->nodes[0].f.clock.clock));
}

static void turn(void)
{
    (void)carry_all();
    loop_run_once(world->loop, NS_PER_MS);
}

static enum err outcome(struct wait *wait)
{
    for (unsigned turns = 0; turns < 20000 && wait->runs == 0; turns++)
        turn();
    assert_int_equal(wait->runs, 1);
    return wait->ask.err;
}

/* ---- life ---- */

static void put_copy(struct fixture *f)
{
    struct write_wait waits[3] = {{.is_done = false}};
    struct body *body = NULL;
    struct commit_wait commit;
    struct body_options options = {.loop = f->loop, .size = SIZE, .id = world->id};
    assert_int_equal(body_open(f->volume, &options, &body, &f->trail), ERR_OK);
    for (unsigned i = 0; i < 3; i++) {
        uint32_t size = i < 2 ? SLOT_LARGE_BYTES : SIZE - 2 * SLOT_LARGE_BYTES;
        fixture_fill(f->slots[i], 5, i * (uint64_t)SLOT_LARGE_BYTES, size);
        assert_int_equal(body_write(body, &waits[i].write, f->slots[i], size, i == 2,
                                    fixture_written, &f->trail),
                         ERR_OK);
    }
    fixture_finish_writes(f, waits, 3);
    fixture_put_mutation(f, &commit, "k", body, SIZE);
    assert_int_equal(fixture_commit(f, &commit), ERR_OK);
}

static int setup(void **state)
{
    world = calloc(1, sizeof *world);
    assert_non_null(world);
    struct err_trail trail;
    world->id = (struct data_id){1ull << 63 | 3, 9};
    assert_int_equal(work_pool_open(1, "test", &world->pool), ERR_OK);
    for (unsigned i = 0; i < NODES; i++) {
        struct node *node = &world->nodes[i];
        node->number = i;
        fixture_up(&node->f, MIB(128), MIB(16));
        put_copy(&node->f);
        for (unsigned j = 0; j < NODES; j++)
            node->wires[j] = (struct wire){.from = node, .to = &world->nodes[j], .is_up = true};
    }
    assert_int_equal(loop_open(&(struct loop_options){.clock = &world->nodes[0].f.clock.clock,
                                                      .ring_choice = RING_FORCE_POLL,
                                                      .name = "test"},
                               &world->loop, &trail),
                     ERR_OK);
    for (unsigned i = 0; i < NODES; i++) {
        struct repair_options options = {.loop = world->loop,
                                         .volume = world->nodes[i].f.volume,
                                         .work_pool = world->pool,
                                         .links = &links};
        assert_int_equal(repair_open(&options, &world->nodes[i].repair), ERR_OK);
        for (unsigned j = 0; j < NODES; j++)
            if (j != i)
                repair_add_peer(world->nodes[i].repair, link_of(between(i, j)));
    }
    return 0;
}

static int teardown(void **state)
{
    for (unsigned i = 0; i < NODES; i++)
        repair_stop(world->nodes[i].repair);
    for (unsigned turns = 0; turns < 1000; turns++) {
        bool is_idle = true;
        for (unsigned i = 0; i < NODES; i++)
            is_idle = is_idle && repair_is_idle(world->nodes[i].repair);
        if (is_idle)
            break;
        turn();
    }
    while (carry_all())
        ;
    for (unsigned i = 0; i < NODES; i++)
        repair_close(world->nodes[i].repair);
    work_pool_close(world->pool);
    for (unsigned i = 0; i < NODES; i++)
        fixture_fini(&world->nodes[i].f);
    loop_close(world->loop);
    free(world);
    return 0;
}

/* ---- damage ---- */

static void damage_at(unsigned node, uint64_t offset)
{
    struct fixture *f = &world->nodes[node].f;
    struct object *object;
    struct read_plan plan;
    struct read_span span;
    char path[SEGMENT_PATH_BYTES_MAX];
    assert_int_equal(fixture_lookup(f, "k", &object), ERR_OK);
    read_plan_open(&plan, object, offset, 1);
    assert_int_equal(read_plan_span(&plan, &span), ERR_OK);
    segment_path(FIXTURE_DIR, span.segment, path);
    assert_int_equal(disk_sim_flip_bit(f->sim, path, span.file_offset, 6), ERR_OK);
    read_plan_close(&plan);
    object_put(object);
    assert_int_equal(fixture_get(f, "k", SIZE, 5), ERR_CORRUPT);
}

static void expect_whole(unsigned node)
{
    assert_int_equal(fixture_get(&world->nodes[node].f, "k", SIZE, 5), ERR_OK);
}

static uint64_t served(unsigned node)
{
    struct repair_counts counts;
    repair_counts(world->nodes[node].repair, &counts);
    return counts.served;
}

/* ---- tests ---- */

static void a_peer_brings_the_bytes(void **state)
{
    static const uint64_t at[] = {0, MIB(1) + 5, SIZE - 1};
    struct wait wait;
    for (size_t i = 0; i < COUNT_OF(at); i++) {
        damage_at(0, at[i]);
        ask(&wait, at[i] / SUM_CHUNK_BYTES * SUM_CHUNK_BYTES);
        assert_int_equal(outcome(&wait), ERR_OK);
        expect_whole(0);
    }
    struct repair_counts counts;
    repair_counts(world->nodes[0].repair, &counts);
    assert_int_equal(counts.repaired, COUNT_OF(at));
    assert_int_equal(counts.failed, 0);
    assert_int_equal(served(1), COUNT_OF(at));
    assert_int_equal(served(2), 0);
}

enum trouble { ABSENT, DAMAGED, DOWN, SILENT, LIES, BREAKS, TROUBLES };

static void trouble_with(unsigned node, enum trouble trouble)
{
    switch (trouble) {
    case ABSENT:
        assert_int_equal(fixture_delete(&world->nodes[node].f, "k"), ERR_OK);
        volume_step(world->nodes[node].f.volume);
        return;
    case DAMAGED:
        damage_at(node, 7);
        return;
    case DOWN:
        between(0, node)->is_up = false;
        return;
    case SILENT:
    case BREAKS:
        between(0, node)->loses = true;
        return;
    case LIES:
        between(node, 0)->spoils = true;
        return;
    case TROUBLES:
        break;
    }
    fail();
}

static void when_one_cannot_the_next_does(void **state)
{
    for (unsigned trouble = 0; trouble < TROUBLES; trouble++) {
        struct wait wait;
        if (trouble > 0)
            setup(NULL);
        damage_at(0, 3);
        trouble_with(1, (enum trouble)trouble);
        ask(&wait, 0);
        loop_run_once(world->loop, 0);
        if (trouble == SILENT) {
            later(REPAIR_SILENCE_NS - 1);
            for (unsigned i = 0; i < 5; i++)
                turn();
            assert_int_equal(wait.runs, 0);
            later(1);
        } else if (trouble == BREAKS) {
            between(0, 1)->is_up = false;
            repair_link_down(world->nodes[0].repair, link_of(between(0, 1)));
        }
        assert_int_equal(outcome(&wait), ERR_OK);
        expect_whole(0);
        assert_int_equal(served(2), 1);
        if (trouble + 1 < TROUBLES)
            teardown(NULL);
    }
}

static void when_nobody_can_it_is_said_why(void **state)
{
    struct wait wait;
    damage_at(0, 3);
    trouble_with(1, DAMAGED);
    trouble_with(2, LIES);
    ask(&wait, 0);
    assert_int_equal(outcome(&wait), ERR_CORRUPT);
    assert_string_equal(wait.ask.trail.text,
                        "no other node has these bytes: node 1 has them damaged, too, node 2 sent "
                        "other bytes");
    between(0, 1)->is_up = between(0, 2)->is_up = false;
    ask(&wait, 0);
    assert_int_equal(outcome(&wait), ERR_CORRUPT);
    assert_non_null(strstr(wait.ask.trail.text, "none is there"));
    struct repair_counts counts;
    repair_counts(world->nodes[0].repair, &counts);
    assert_int_equal(counts.failed, 2);
    assert_int_equal(fixture_get(&world->nodes[0].f, "k", SIZE, 5), ERR_CORRUPT);
}

static void what_was_deleted_needs_no_repair(void **state)
{
    struct wait wait;
    trouble_with(0, ABSENT);
    ask(&wait, 0);
    assert_int_equal(outcome(&wait), ERR_NO_SUCH_OBJECT);
}

static void who_asks_for_the_same_shares_the_answer(void **state)
{
    struct wait waits[20];
    damage_at(0, 3);
    for (unsigned i = 0; i < COUNT_OF(waits); i++)
        ask(&waits[i], 0);
    for (unsigned i = 0; i < COUNT_OF(waits); i++)
        assert_int_equal(outcome(&waits[i]), ERR_OK);
    assert_int_equal(served(1), 1);
}

static void many_wait_and_too_many_are_refused(void **state)
{
    enum { COUNT = REPAIRS_MAX + REPAIRS_WAITING_MAX + 10 };
    static struct wait waits[COUNT];
    unsigned repaired = 0, refused = 0;
    for (unsigned i = 0; i < COUNT; i++) /* of few chunks: those under way are shared */
        ask(&waits[i], (i % 33) * (uint64_t)SUM_CHUNK_BYTES);
    for (unsigned i = 0; i < COUNT; i++) {
        enum err e = outcome(&waits[i]);
        repaired += e == ERR_OK;
        refused += e == ERR_BUSY;
    }
    assert_int_equal(repaired + refused, COUNT);
    assert_true(repaired > REPAIRS_WAITING_MAX);
    expect_whole(0);
}

static void a_node_that_closes_answers_everybody(void **state)
{
    struct wait waits[REPAIRS_MAX + 3], late;
    between(0, 1)->loses = between(0, 2)->loses = true;
    for (unsigned i = 0; i < COUNT_OF(waits); i++)
        ask(&waits[i], i * (uint64_t)SUM_CHUNK_BYTES);
    loop_run_once(world->loop, 0);
    assert_false(repair_is_idle(world->nodes[0].repair));
    repair_stop(world->nodes[0].repair);
    assert_true(repair_is_idle(world->nodes[0].repair));
    for (unsigned i = 0; i < COUNT_OF(waits); i++)
        assert_int_equal(outcome(&waits[i]), ERR_CLOSED);
    ask(&late, 0);
    assert_int_equal(outcome(&late), ERR_CLOSED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_peer_brings_the_bytes),
        TEST(when_one_cannot_the_next_does),
        TEST(when_nobody_can_it_is_said_why),
        TEST(what_was_deleted_needs_no_repair),
        TEST(who_asks_for_the_same_shares_the_answer),
        TEST(many_wait_and_too_many_are_refused),
        TEST(a_node_that_closes_answers_everybody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
