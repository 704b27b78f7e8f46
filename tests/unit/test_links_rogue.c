#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* the four above first: cmocka wants them */
#include <cmocka.h>

#include "links_fixture.h"

/* A peer that has the key and does not keep the rules. */

struct rogue {
    struct cluster *cluster;
    struct node *node;
    struct transport *transport;
    struct transport_peer *peer;
    unsigned ups, downs, written;
    uint64_t granted;
    uint64_t lends; /* how much */
    bool closed;
    struct transport_write writes[4];
    unsigned write_count;
};
static struct rogue rogue;

static void rogue_up(void *context, struct transport_peer *peer)
{
    struct landing *landing = arena_landing_take(rogue.node->arena);
    struct landing lent = {.data = landing->data, .size = rogue.lends};
    rogue.ups++;
    rogue.peer = peer;
    EXPECT(rogue.node, transport_grant(peer, &lent, NULL) == ERR_OK);
    arena_landing_put(rogue.node->arena, landing); /* nobody else takes it */
}
static void rogue_down(void *context, struct transport_peer *peer, enum transport_end why,
                       const char *sentence)
{
    rogue.downs++;
    rogue.peer = NULL;
}
static void rogue_granted(void *context, struct transport_peer *peer, uint8_t region, uint64_t size)
{
    rogue.granted = size;
}
static void rogue_written(struct transport_write *write, enum err e)
{
    rogue.written++;
}
static void rogue_closed(void *context)
{
    rogue.closed = true;
}
static const struct transport_handlers rogue_handlers = {
    .up = rogue_up, .down = rogue_down, .granted = rogue_granted};

static void say(enum link_ctl_type type, uint16_t count, uint32_t meta, const void *body,
                size_t size)
{
    uint8_t message[TRANSPORT_CTL_BYTES_MAX];
    link_ctl_head_encode(&(struct link_ctl_head){(uint8_t)type, count, meta}, message);
    memcpy(message + LINK_CTL_HEAD_BYTES, body, size);
    assert_int_equal(transport_ctl(rogue.peer, message, LINK_CTL_HEAD_BYTES + size), ERR_OK);
}

static void say_ready_for(uint64_t bytes)
{
    uint8_t body[LINK_READY_BYTES];
    link_ready_encode(bytes, body);
    say(LINK_CTL_READY, 0, 0, body, sizeof body);
}

static void rogue_write(enum transport_lane lane, uint64_t offset, uint32_t imm, uint32_t size)
{
    struct transport_write *write = &rogue.writes[rogue.write_count];
    uint8_t *bytes = rogue.node->source->data + KIB(4) * rogue.write_count++;
    *write = (struct transport_write){.written = rogue_written,
                                      .lane = lane,
                                      .imm = imm,
                                      .offset = offset,
                                      .piece_count = 1,
                                      .pieces = {{bytes, size}}};
    assert_int_equal(transport_write(rogue.peer, write), ERR_OK);
}

/* The next META frame's head, as it should be; a row spoils it. */
static struct link_meta_head honest_meta(void)
{
    uint8_t *bytes = rogue.node->source->data + KIB(4) * rogue.write_count;
    fill_pattern(bytes + LINK_META_HEAD_BYTES, 100, 0);
    return (struct link_meta_head){
        .use = 1, .size = 100, .total = 100, .sum = xxh3_64(bytes + LINK_META_HEAD_BYTES, 100)};
}
static void write_meta(const struct link_meta_head *head, uint32_t imm_slot, uint32_t size)
{
    link_meta_head_encode(head, rogue.node->source->data + KIB(4) * rogue.write_count);
    rogue_write(LANE_META, head->slot * (uint64_t)LINK_META_SLOT_BYTES,
                link_imm(imm_slot, head->use), size);
}
static void write_chunk(uint16_t slot, uint32_t use, uint32_t imm_slot, uint64_t data_size)
{
    struct link_chunk_head head = {
        .data = {1, 1}, .data_size = data_size, .size = 50, .last = true};
    uint8_t *bytes = rogue.node->source->data + KIB(4) * rogue.write_count;
    link_chunk_head_encode(&head, slot, use, bytes);
    fill_pattern(bytes + LINK_CHUNK_WIRE_BYTES, 50, 1);
    struct link_layout layout = link_layout_of(AREA_BYTES);
    rogue_write(LANE_BULK,
                layout.bulk_offset + slot * (uint64_t)LINK_BULK_SLOT_BYTES + LINK_BULK_HEAD_BYTES -
                    LINK_CHUNK_WIRE_BYTES,
                link_imm(imm_slot, use), LINK_CHUNK_WIRE_BYTES + 50);
}

static void speaks_nonsense(void)
{
    assert_int_equal(transport_ctl(rogue.peer, "\x09 what?", 8), ERR_OK);
}
static void speaks_before_it_is_ready(void)
{
    say(LINK_CTL_ABOVE, 0, 0, "hello", 5);
}
static void lends_otherwise_than_it_says(void)
{
    say_ready_for(MIB(8));
}
static void speaks_another_version(void)
{
    uint8_t body[LINK_READY_BYTES];
    link_ready_encode(AREA_BYTES, body);
    body[0]++;
    say(LINK_CTL_READY, 0, 0, body, sizeof body);
}
static void is_ready_twice(void)
{
    say_ready_for(AREA_BYTES);
    say_ready_for(AREA_BYTES);
}
static void returns_meta_it_has_not(void)
{
    say_ready_for(AREA_BYTES);
    say(LINK_CTL_RETURN, 0, 1, "", 0);
}
static void returns_bulk_it_has_not(void)
{
    say_ready_for(AREA_BYTES);
    say(LINK_CTL_RETURN, 1, 0, "\0\0\1\0", 4);
}
static void returns_bulk_there_is_not(void)
{
    say_ready_for(AREA_BYTES);
    say(LINK_CTL_RETURN, 1, 0, "\x70\0\1\0", 4);
}
static void counts_returns_wrong(void)
{
    say_ready_for(AREA_BYTES);
    say(LINK_CTL_RETURN, 9, 0, "\0\0\1\0", 4);
}
static void writes_another_slot(void)
{
    struct link_meta_head head = honest_meta();
    head.slot = 1;
    write_meta(&head, 1, 164);
}
static void tells_another_slot(void)
{
    struct link_meta_head head = honest_meta();
    write_meta(&head, 1, 164);
}
static void tells_another_use(void)
{
    struct link_meta_head head = honest_meta();
    head.use = 2;
    write_meta(&head, 0, 164);
}
static void tells_another_size(void)
{
    struct link_meta_head head = honest_meta();
    write_meta(&head, 0, 165);
}
static void writes_less_than_a_head(void)
{
    struct link_meta_head head = honest_meta();
    write_meta(&head, 0, 20);
}
static void tells_another_sum(void)
{
    struct link_meta_head head = honest_meta();
    head.sum ^= 1;
    write_meta(&head, 0, 164);
}
static void begins_in_the_middle(void)
{
    struct link_meta_head head = honest_meta();
    head.offset = 100, head.total = 300;
    write_meta(&head, 0, 164);
}
static void changes_its_mind_about_the_total(void)
{
    struct link_meta_head head = honest_meta();
    head.total = 300;
    write_meta(&head, 0, 164);
    head = honest_meta();
    head.slot = 1, head.offset = 100, head.total = 299;
    write_meta(&head, 1, 164);
}
static void begins_anew_before_the_end(void)
{
    struct link_meta_head head = honest_meta();
    head.total = 300;
    write_meta(&head, 0, 164);
    head = honest_meta();
    head.slot = 1;
    write_meta(&head, 1, 164);
}
static void writes_a_slot_that_is_none(void)
{
    write_chunk(0, 1, 60, 50);
}
static void writes_a_chunk_of_an_old_use(void)
{
    write_chunk(1, 0, 1, 50);
}
static void writes_a_chunk_that_cannot_be(void)
{
    write_chunk(1, 1, 1, 51);
}
static void writes_a_chunk_to_a_slot_that_is_held(void)
{
    write_chunk(1, 1, 1, 50);
    /* An adapter would put the second over the first before anybody has looked. */
    AWAIT(rogue.cluster, rogue.cluster->nodes[1].held_count == 1);
    write_chunk(1, 2, 1, 50);
}

static const struct {
    void (*misbehave)(void);
    const char *sentence;
    unsigned messages, chunks; /* that come before */
} rogue_rows[] = {
    {speaks_nonsense, "makes no sense", 0, 0},
    {speaks_before_it_is_ready, "makes no sense", 0, 0},
    {lends_otherwise_than_it_says, "another version of Sluice", 0, 0},
    {speaks_another_version, "another version of Sluice", 0, 0},
    {is_ready_twice, "twice", 0, 0},
    {returns_meta_it_has_not, "more META slots", 0, 0},
    {returns_bulk_it_has_not, "gave back BULK slot 0", 0, 0},
    {returns_bulk_there_is_not, "gave back BULK slot 112", 0, 0},
    {counts_returns_wrong, "makes no sense", 0, 0},
    {writes_another_slot, "META slot 0", 0, 0},
    {tells_another_slot, "META slot 0", 0, 0},
    {tells_another_use, "META slot 0", 0, 0},
    {tells_another_size, "META slot 0", 0, 0},
    {writes_less_than_a_head, "META slot 0", 0, 0},
    {tells_another_sum, "checksum", 0, 0},
    {begins_in_the_middle, "does not follow", 0, 0},
    {changes_its_mind_about_the_total, "does not follow", 0, 0},
    {begins_anew_before_the_end, "does not follow", 0, 0},
    {writes_a_slot_that_is_none, "not its own", 0, 0},
    {writes_a_chunk_of_an_old_use, "BULK slot 1 is no chunk", 0, 0},
    {writes_a_chunk_that_cannot_be, "BULK slot 1 is no chunk", 0, 0},
    {writes_a_chunk_to_a_slot_that_is_held, "not its own", 0, 1},
};

/* The rogue is node 1, so that it calls; node 2 is real. */
static struct cluster *rogue_open(void **state, uint32_t number)
{
    struct cluster *cluster = *state;
    cluster->count = 2;
    node_init(cluster, 0);
    node_init(cluster, 1);
    node_open_links(cluster, 1);
    rogue = (struct rogue){.cluster = cluster, .node = &cluster->nodes[0], .lends = AREA_BYTES};
    struct link_peer_options peers[NODES];
    struct links_options links = options_of(cluster, 0, peers);
    struct transport_options options = {.loop = links.loop,
                                        .arena = links.arena,
                                        .choice = links.choice,
                                        .address = links.address,
                                        .address_size = links.address_size,
                                        .self = links.self,
                                        .peers_max = 2,
                                        .handlers = &rogue_handlers,
                                        .context = &rogue};
    options.self.node = number;
    memcpy(options.cluster_key, links.cluster_key, 32);
    assert_int_equal(transport_open(&options, &rogue.transport, NULL), ERR_OK);
    return cluster;
}

static void rogue_call(struct cluster *cluster)
{
    rogue.granted = 0;
    rogue.written = rogue.write_count = 0;
    struct sockaddr_in *to = &cluster->nodes[1].address;
    assert_int_equal(
        transport_connect(rogue.transport, (struct sockaddr *)to, sizeof *to, &rogue.peer, NULL),
        ERR_OK);
}

static int rogue_tear_down(void **state)
{
    if (rogue.transport != NULL) {
        transport_close(rogue.transport, rogue_closed);
        AWAIT((struct cluster *)*state, rogue.closed);
        transport_free(rogue.transport);
    }
    rogue = (struct rogue){0};
    return tear_down(state);
}

static void whoever_breaks_the_rules_is_cut_off(void **state)
{
    struct cluster *cluster = rogue_open(state, 1);
    struct node *real = &cluster->nodes[1];
    real->holds_chunks = true;
    for (unsigned i = 0; i < COUNT_OF(rogue_rows); i++) {
        rogue_call(cluster);
        AWAIT(cluster, rogue.granted == AREA_BYTES);
        rogue_rows[i].misbehave();
        AWAIT(cluster, rogue.downs == i + 1);
        struct link_status status = {0};
        AWAIT(cluster, (link_status(link_to(cluster, 1, 0), &status),
                        status.sentence[0] != '\0' && real->seen[0].downs == real->seen[0].ups &&
                            !link_to(cluster, 1, 0)->peer));
        if (strstr(status.sentence, rogue_rows[i].sentence) == NULL)
            fail_msg("row %u: %s", i, status.sentence);
        assert_int_equal(status.counts.violations, i + 1);
        assert_int_equal(real->seen[0].messages_in, rogue_rows[i].messages);
        assert_int_equal(real->seen[0].chunks_in, rogue_rows[i].chunks);
        let_go(real, ERR_OK);
        forget(cluster);
    }
}

static void who_lends_too_little_is_not_linked(void **state)
{
    struct cluster *cluster = rogue_open(state, 1);
    rogue.lends = MIB(2);
    rogue_call(cluster);
    AWAIT(cluster, rogue.downs == 1);
    struct link_status status;
    link_status(link_to(cluster, 1, 0), &status);
    assert_int_equal(status.counts.violations, 1);
    assert_non_null(strstr(status.sentence, "lends area 0 of 2097152 bytes"));
    assert_int_equal(cluster->nodes[1].seen[0].ups, 0);
}

static void who_is_not_configured_is_turned_away(void **state)
{
    struct cluster *cluster = rogue_open(state, 9);
    rogue_call(cluster);
    AWAIT(cluster, rogue.downs == 1);
    assert_int_equal(rogue.ups, 0);
}

#define ROGUE_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, rogue_tear_down)

static int run(const char *name)
{
    const struct CMUnitTest tests[] = {
        ROGUE_TEST(whoever_breaks_the_rules_is_cut_off),
        ROGUE_TEST(who_lends_too_little_is_not_linked),
        ROGUE_TEST(who_is_not_configured_is_turned_away),
    };
    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

int main(void)
{
    return links_run(run);
}
