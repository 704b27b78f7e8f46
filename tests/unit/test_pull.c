/*
 * Data pulled from one node's disk to another's: two volumes over simulated disks, and links that
 * carry messages and chunks at the turns of the test, lose some, or go down.
 */
#include "volume_fixture.h"

#include "replication/pull.h"
#include "storage/log.h"
#include "storage/repair.h"

#define ITEMS 256u

/* What a link carries: a message, or a chunk. */
struct item {
    bool is_used;
    uint8_t bytes[LINK_CTL_BYTES_MAX];
    size_t size;
    struct link_chunk *chunk; /* NULL: a message */
};

struct node {
    struct fixture f;
    struct incoming *incoming;
    struct pull *pull;
    struct node *other;
    struct item out[ITEMS];
    unsigned first, past; /* of out */
    uint64_t applied;
    struct link_chunk *landing[ITEMS]; /* chunks given to incoming here, by token.use */
    unsigned landed;
    unsigned lose; /* so many messages get lost */
    bool is_down;
    bool damages; /* a byte of each chunk on its way */
    bool may_repair;
    unsigned repairs_asked;
    unsigned told_to_wait; /* NOT_YET came */
    unsigned done_runs;
    enum pull_outcome outcome;
    struct data_id done_id;
};

static struct world {
    struct arena *arena;
    struct loop *loop; /* both nodes' */
    struct work_pool *pool;
    struct node nodes[2];
} * world;

/* Links are nodes: a node's link leads to the other. */
static struct node *node_of(struct link *link)
{
    return (struct node *)(void *)link;
}
static struct link *link_of(struct node *node)
{
    return (struct link *)(void *)node;
}

static struct item *push(struct node *node)
{
    struct item *item = &node->out[node->past++ % ITEMS];
    assert_false(item->is_used);
    *item = (struct item){.is_used = true};
    return item;
}

static enum err send_ctl(struct link *link, const void *data, size_t size)
{
    struct node *node = node_of(link);
    if (node->is_down)
        return ERR_CLOSED;
    if (node->lose > 0) {
        node->lose--;
        return ERR_OK;
    }
    struct item *item = push(node);
    memcpy(item->bytes, data, size);
    item->size = size;
    return ERR_OK;
}

static enum err send_chunk(struct link *link, struct link_chunk *chunk)
{
    struct node *node = node_of(link);
    if (node->is_down)
        return ERR_CLOSED;
    chunk->magic = LINK_CHUNK_MAGIC;
    push(node)->chunk = chunk;
    return ERR_OK;
}

static void repaired(struct loop_msg *msg)
{
    struct group_repair *repair = CONTAINER_OF(msg, struct group_repair, msg);
    repair->done(repair);
}

/* Brings the seed's bytes, as a third node would. */
#define SEED 5u
static void fake_repair(void *context, struct group_repair *repair)
{
    struct node *node = context;
    static _Alignas(DISK_ALIGN) uint8_t memory[SUM_CHUNK_BYTES];
    struct object *object;
    node->repairs_asked++;
    repair->err = ERR_CORRUPT;
    if (node->may_repair) {
        assert_int_equal(volume_data_lookup(node->f.volume, repair->data, &object), ERR_OK);
        uint64_t left = object_info(object)->size - repair->offset;
        uint32_t size = left < SUM_CHUNK_BYTES ? (uint32_t)left : SUM_CHUNK_BYTES;
        object_put(object);
        fixture_fill(memory, SEED, repair->offset, size);
        repair->err = volume_chunk_rewrite(node->f.volume, repair->data, repair->offset, memory,
                                           size, &repair->trail);
    }
    repair->msg.deliver = repaired;
    loop_post(repair->loop, &repair->msg);
}

static const struct pull_links links = {.ctl = send_ctl, .chunk_send = send_chunk};

/* ---- the other end ---- */

static void chunk_done(void *context, struct link_token token, enum err e)
{
    struct node *node = context;
    struct link_chunk *chunk = TAKE(node->landing[token.use % ITEMS]);
    if (chunk == NULL)
        return; /* its link went down */
    chunk->magic = 0;
    chunk->landed(chunk, e);
}

/* In memory of the receiver's, as a landing slot is. */
static void deliver_chunk(struct node *to, struct link_chunk *chunk)
{
    uint8_t *slot = to->f.slots[to->landed % FIXTURE_SLOTS];
    memcpy(slot, chunk->data, chunk->head.size);
    if (to->other->damages)
        slot[chunk->head.size / 2] ^= 1;
    struct link_chunk_head head = chunk->head;
    unsigned use = to->landed++;
    assert_null(to->landing[use % ITEMS]);
    to->landing[use % ITEMS] = chunk;
    chunk->written(chunk, ERR_OK);
    incoming_chunk(to->incoming, link_of(to), &head, slot,
                   (struct link_token){.use = (uint16_t)use});
}

static void deliver(struct node *to, struct item *item)
{
    struct message m;
    if (item->chunk != NULL) {
        deliver_chunk(to, item->chunk);
        return;
    }
    assert_int_equal(message_decode(bytes_of(item->bytes, item->size), 2, &m), ERR_OK);
    if (m.type == MESSAGE_PULL) {
        pull_asked(to->pull, link_of(to), &m.pull, to->applied);
        return;
    }
    assert_int_equal(m.type, MESSAGE_PULL_ANSWER);
    to->told_to_wait += m.pull_answer.outcome == MESSAGE_PULL_NOT_YET;
    pull_answered(to->pull, link_of(to), &m.pull_answer);
}

static bool carry_one(struct node *from)
{
    if (from->first == from->past)
        return false;
    struct item item = from->out[from->first % ITEMS];
    from->out[from->first++ % ITEMS].is_used = false;
    deliver(from->other, &item);
    return true;
}

/* The link is cut: what was on its way ends as link.h says. */
static void cut(void)
{
    for (unsigned i = 0; i < 2; i++)
        world->nodes[i].is_down = true;
    for (unsigned i = 0; i < 2; i++) {
        struct node *node = &world->nodes[i];
        while (node->first != node->past) {
            struct item item = node->out[node->first % ITEMS];
            node->out[node->first++ % ITEMS].is_used = false;
            if (item.chunk == NULL)
                continue;
            item.chunk->written(item.chunk, ERR_PEER_CLOSED);
            item.chunk->magic = 0;
            item.chunk->landed(item.chunk, ERR_PEER_CLOSED);
        }
        for (unsigned use = 0; use < ITEMS; use++) {
            struct link_chunk *chunk = TAKE(node->landing[use]);
            if (chunk != NULL)
                chunk->landed(chunk, ERR_PEER_CLOSED);
        }
    }
    for (unsigned i = 0; i < 2; i++) {
        incoming_link_down(world->nodes[i].incoming, link_of(&world->nodes[i]));
        pull_link_down(world->nodes[i].pull, link_of(&world->nodes[i]));
    }
}

/* ---- time ---- */

static void step(void)
{
    for (unsigned i = 0; i < 2; i++)
        (void)carry_one(&world->nodes[i]);
    loop_run_once(world->loop, 0);
}

/* Turns until nothing is on its way; the pool takes real time. */
static void settle(void)
{
    for (unsigned quiet = 0; quiet < 3;) {
        bool any = carry_one(&world->nodes[0]);
        any = carry_one(&world->nodes[1]) || any;
        bool is_idle = true;
        for (unsigned i = 0; i < 2; i++)
            is_idle = is_idle && pull_is_idle(world->nodes[i].pull) &&
                      incoming_is_idle(world->nodes[i].incoming);
        loop_run_once(world->loop, is_idle || any ? 0 : NS_PER_MS);
        quiet = any || !is_idle ? 0 : quiet + 1;
    }
}

static void later(uint64_t by_ns)
{
    clock_manual_advance(&world->nodes[0].f.clock, by_ns);
    loop_run_once(world->loop, 0);
    for (unsigned i = 0; i < 2; i++)
        pull_tick(world->nodes[i].pull, clock_boot_ns(&world->nodes[0].f.clock.clock));
    settle();
}

/* ---- life ---- */

static void node_up(struct node *node)
{
    fixture_up(&node->f, MIB(256), MIB(16));
    assert_int_equal(incoming_open(&(struct incoming_options){.loop = world->loop,
                                                              .volume = node->f.volume,
                                                              .chunk_done = chunk_done,
                                                              .context = node},
                                   &node->incoming),
                     ERR_OK);
    assert_int_equal(pull_open(&(struct pull_options){.loop = world->loop,
                                                      .volume = node->f.volume,
                                                      .work_pool = world->pool,
                                                      .incoming = node->incoming,
                                                      .links = &links,
                                                      .repair = fake_repair,
                                                      .context = node},
                               &node->pull),
                     ERR_OK);
}

static int setup(void **state)
{
    world = calloc(1, sizeof *world);
    assert_non_null(world);
    struct err_trail trail;
    assert_int_equal(
        arena_open(&(struct arena_options){.large_count = 2, .small_count = 1, .share_count = 1},
                   &world->arena),
        ERR_OK);
    world->nodes[0].other = &world->nodes[1];
    world->nodes[1].other = &world->nodes[0];
    clock_manual_init(&world->nodes[0].f.clock, NS_PER_SECOND);
    assert_int_equal(work_pool_open(1, "test", &world->pool), ERR_OK);
    assert_int_equal(loop_open(&(struct loop_options){.clock = &world->nodes[0].f.clock.clock,
                                                      .arena = world->arena,
                                                      .ring_choice = RING_FORCE_POLL,
                                                      .name = "test"},
                               &world->loop, &trail),
                     ERR_OK);
    node_up(&world->nodes[0]);
    node_up(&world->nodes[1]);
    return 0;
}

static int teardown(void **state)
{
    for (unsigned i = 0; i < 2; i++)
        if (!pull_is_idle(world->nodes[i].pull))
            return -1; /* a test failed in the middle: it has said where */
    for (unsigned i = 0; i < 2; i++) {
        pull_close(world->nodes[i].pull);
        incoming_close(world->nodes[i].incoming);
    }
    for (unsigned i = 0; i < 2; i++) {
        fixture_check(&world->nodes[i].f);
        fixture_fini(&world->nodes[i].f);
    }
    work_pool_close(world->pool);
    loop_close(world->loop);
    arena_close(world->arena);
    free(world);
    return 0;
}

/* An object on node 1; its data. */
static struct log_data put(const char *key, uint64_t size)
{
    struct fixture *f = &world->nodes[1].f;
    struct body *body = NULL;
    struct commit_wait commit;
    assert_int_equal(fixture_body(f, size, true, 5, &body), ERR_OK);
    struct log_data data = {body_data_id(body), size, body_is_inline(body)};
    fixture_put_mutation(f, &commit, key, body, size);
    assert_int_equal(fixture_commit(f, &commit), ERR_OK);
    return data;
}

static void done(void *context, struct data_id id, enum pull_outcome outcome)
{
    struct node *node = context;
    node->done_runs++;
    node->done_id = id;
    node->outcome = outcome;
}

#define PSN 100u

static void ask(const struct log_data *data)
{
    struct node *node = &world->nodes[0];
    pull_ask(node->pull, link_of(node), data, PSN, done, node);
}

static void expect_outcome(unsigned runs, enum pull_outcome outcome)
{
    struct node *node = &world->nodes[0];
    assert_int_equal(node->done_runs, runs);
    assert_int_equal(node->outcome, outcome);
    assert_true(pull_is_idle(node->pull));
    assert_true(pull_is_idle(node->other->pull));
}

/* Names what was pulled, and reads it. */
static void expect_pulled(const struct log_data *data)
{
    struct fixture *f = &world->nodes[0].f;
    struct commit_wait commit;
    assert_int_equal(incoming_state(world->nodes[0].incoming, data), INCOMING_COMPLETE);
    struct body *body = incoming_take(world->nodes[0].incoming, data->id);
    fixture_put_mutation(f, &commit, "k", body, data->size);
    assert_int_equal(fixture_commit(f, &commit), ERR_OK);
    assert_int_equal(fixture_get(f, "k", data->size, 5), ERR_OK);
}

/* ---- tests ---- */

static void data_of_any_size_comes_whole(void **state)
{
    static const uint64_t sizes[] = {1,
                                     INLINE_BYTES_MAX,
                                     INLINE_BYTES_MAX + 1,
                                     SUM_CHUNK_BYTES,
                                     SLOT_LARGE_BYTES + SUM_CHUNK_BYTES + 1,
                                     MIB(33) + 77}; /* several extents */
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        struct log_data data = put("k", sizes[i]);
        ask(&data);
        ask(&data); /* once is enough */
        settle();
        expect_outcome((unsigned)i + 1, PULL_COMPLETE);
        assert_true(data_id_equal(world->nodes[0].done_id, data.id));
        expect_pulled(&data);
    }
    struct pull_counts here, there;
    pull_counts(world->nodes[0].pull, &here);
    pull_counts(world->nodes[1].pull, &there);
    assert_int_equal(here.pulled, COUNT_OF(sizes));
    assert_int_equal(here.asking, 0);
    assert_int_equal(there.served, COUNT_OF(sizes));
    assert_int_equal(there.served_bytes, here.pulled_bytes);
    assert_int_equal(there.damaged, 0);
}

static void what_is_not_there_is_expected_or_gone(void **state)
{
    struct node *there = &world->nodes[1];
    struct log_data data = {{77, 1}, 1000, true};
    there->applied = PSN - 1; /* it may still come */
    ask(&data);
    settle();
    later(PULL_AGAIN_NS);
    later(PULL_AGAIN_NS);
    assert_int_equal(world->nodes[0].done_runs, 0);
    there->applied = PSN;
    later(PULL_AGAIN_NS);
    expect_outcome(1, PULL_GONE);
}

static void lost_messages_are_sent_again(void **state)
{
    for (unsigned side = 0; side < 2; side++) {
        struct log_data data = put("k", 100000);
        world->nodes[side].lose = 2;
        ask(&data);
        settle();
        for (unsigned i = 0; i < 3 && world->nodes[0].done_runs == side; i++)
            later(PULL_SILENCE_NS);
        expect_outcome(side + 1, PULL_COMPLETE);
        expect_pulled(&data);
    }
}

static void bytes_damaged_on_the_way_are_pulled_again(void **state)
{
    struct log_data data = put("k", MIB(3));
    world->nodes[1].damages = true;
    ask(&data);
    settle();
    assert_int_equal(world->nodes[0].done_runs, 0);
    world->nodes[1].damages = false;
    later(PULL_FAILED_NS);
    expect_outcome(1, PULL_COMPLETE);
    expect_pulled(&data);
}

static void damage_at(struct node *node, const char *key, uint64_t offset)
{
    struct object *object;
    struct read_plan plan;
    struct read_span span;
    char path[SEGMENT_PATH_BYTES_MAX];
    assert_int_equal(fixture_lookup(&node->f, key, &object), ERR_OK);
    read_plan_open(&plan, object, offset, 1);
    assert_int_equal(read_plan_span(&plan, &span), ERR_OK);
    segment_path(FIXTURE_DIR, span.segment, path);
    assert_int_equal(disk_sim_flip_bit(node->f.sim, path, span.file_offset + 3, 2), ERR_OK);
    read_plan_close(&plan);
    object_put(object);
}

static void bytes_damaged_on_its_disk_are_not_sent(void **state)
{
    struct node *there = &world->nodes[1];
    struct log_data data = put("k", MIB(3));
    damage_at(there, "k", MIB(2));
    ask(&data);
    settle();
    assert_int_equal(world->nodes[0].done_runs, 0);
    assert_int_not_equal(incoming_state(world->nodes[0].incoming, &data), INCOMING_COMPLETE);
    later(PULL_FAILED_NS);
    expect_outcome(1, PULL_FAILED);
    struct pull_counts counts;
    pull_counts(there->pull, &counts);
    assert_int_equal(counts.damaged, 1);
    assert_int_equal(there->repairs_asked, 1);
    incoming_drop(world->nodes[0].incoming, data.id);
}

static void bytes_damaged_on_its_disk_are_repaired_and_sent(void **state)
{
    static const uint64_t at[] = {5, SUM_CHUNK_BYTES, MIB(2) - 4000, MIB(3) - 10};
    struct node *there = &world->nodes[1];
    struct log_data data = put("k", MIB(3));
    there->may_repair = true;
    for (size_t i = 0; i < COUNT_OF(at); i++)
        damage_at(there, "k", at[i]);
    ask(&data);
    settle();
    expect_outcome(1, PULL_COMPLETE);
    assert_int_equal(there->repairs_asked, COUNT_OF(at));
    expect_pulled(&data);
}

static void a_cut_at_any_moment_leaves_nothing_behind(void **state)
{
    struct log_data data = put("k", MIB(5));
    unsigned runs = 0;
    for (unsigned steps = 0; steps < 60; steps++) {
        world->nodes[0].is_down = world->nodes[1].is_down = false;
        ask(&data);
        for (unsigned i = 0; i < steps; i++)
            step();
        cut();
        settle();
        expect_outcome(++runs, world->nodes[0].outcome);
        if (incoming_state(world->nodes[0].incoming, &data) == INCOMING_COMPLETE)
            incoming_drop(world->nodes[0].incoming, data.id);
        else
            assert_int_equal(world->nodes[0].outcome, PULL_FAILED);
    }
    world->nodes[0].is_down = world->nodes[1].is_down = false;
    ask(&data);
    settle();
    expect_outcome(runs + 1, PULL_COMPLETE);
    expect_pulled(&data);
}

/* A node that lags asks for as much as it may; being told to come again would cost it
 * PULL_AGAIN_NS each time. */
static void what_one_may_ask_for_at_once_comes_at_once(void **state)
{
    static const uint64_t sizes[] = {100, 100000, MIB(2) + 1, MIB(5)};
    struct node *here = &world->nodes[0];
    struct log_data data[PULLS_MAX];
    for (unsigned i = 0; i < COUNT_OF(data); i++) {
        char key[16];
        snprintf(key, sizeof key, "k%u", i);
        data[i] = put(key, sizes[i % COUNT_OF(sizes)] + i);
    }
    for (unsigned i = 0; i < COUNT_OF(data); i++)
        ask(&data[i]);
    settle(); /* no time goes by */
    expect_outcome(COUNT_OF(data), PULL_COMPLETE);
    assert_int_equal(here->told_to_wait, 0);
    for (unsigned i = 0; i < COUNT_OF(data); i++)
        expect_pulled(&data[i]);
}

static void too_many_at_once_wait_their_turn(void **state)
{
    struct node *here = &world->nodes[0];
    struct log_data data[PULLS_MAX + 2];
    for (unsigned i = 0; i < COUNT_OF(data); i++) {
        char key[16];
        snprintf(key, sizeof key, "k%u", i);
        data[i] = put(key, MIB(1) + i);
    }
    for (unsigned turns = 0; turns < 100 && here->done_runs < COUNT_OF(data); turns++) {
        for (unsigned i = 0; i < COUNT_OF(data); i++)
            if (incoming_state(here->incoming, &data[i]) == INCOMING_NONE)
                ask(&data[i]);
        later(PULL_AGAIN_NS);
    }
    expect_outcome(COUNT_OF(data), PULL_COMPLETE);
    for (unsigned i = 0; i < COUNT_OF(data); i++)
        expect_pulled(&data[i]);
}

static void what_is_forgotten_gives_its_place_to_others(void **state)
{
    struct node *here = &world->nodes[0];
    struct log_data wanted = put("k", MIB(1)), never = {.size = MIB(1)};
    for (unsigned i = 0; i < PULLS_MAX; i++) {
        never.id = (struct data_id){.epoch = wanted.id.epoch, .counter = 1000000 + i};
        ask(&never); /* NOT_YET, again and again */
    }
    later(PULL_AGAIN_NS);
    ask(&wanted);
    later(PULL_SILENCE_NS);
    assert_int_equal(incoming_state(here->incoming, &wanted), INCOMING_NONE);
    pull_forget(here->pull);
    ask(&wanted);
    settle();
    expect_outcome(1, PULL_COMPLETE);
    expect_pulled(&wanted);
}

static void a_disk_error_on_either_side_is_got_over(void **state)
{
    for (unsigned side = 0; side < 2; side++) {
        unsigned faults = 0;
        for (unsigned nth = 1; nth < 6; nth++) {
            struct fixture *f = &world->nodes[side].f;
            struct node *here = &world->nodes[0];
            struct log_data data = put("k", MIB(3));
            unsigned runs = here->done_runs;
            here->outcome = PULL_FAILED;
            disk_sim_fail_nth(f->sim, nth, ERR_IO);
            ask(&data);
            settle();
            faults += disk_sim_fault_fired(f->sim);
            disk_sim_fail_nth(f->sim, 0, ERR_OK);
            for (unsigned i = 0; i < 10 && here->outcome != PULL_COMPLETE; i++) {
                later(PULL_FAILED_NS);
                if (here->done_runs > runs && here->outcome == PULL_FAILED)
                    ask(&data);
            }
            assert_true(here->done_runs > runs);
            assert_int_equal(here->outcome, PULL_COMPLETE);
            expect_pulled(&data);
        }
        assert_true(faults >= 3); /* each chunk's read, or write, has failed once */
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(data_of_any_size_comes_whole),
        TEST(what_is_not_there_is_expected_or_gone),
        TEST(lost_messages_are_sent_again),
        TEST(bytes_damaged_on_the_way_are_pulled_again),
        TEST(bytes_damaged_on_its_disk_are_not_sent),
        TEST(bytes_damaged_on_its_disk_are_repaired_and_sent),
        TEST(a_cut_at_any_moment_leaves_nothing_behind),
        TEST(what_one_may_ask_for_at_once_comes_at_once),
        TEST(too_many_at_once_wait_their_turn),
        TEST(what_is_forgotten_gives_its_place_to_others),
        TEST(a_disk_error_on_either_side_is_got_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
