/*
 * Bodies without a name: chunks of peers and what becomes of them, on a volume over a simulated
 * disk. A link is only a pointer here, told apart and never looked into.
 */
#include "volume_fixture.h"

#include "replication/incoming.h"

#define TOKENS 64u

struct world {
    struct fixture f;
    struct incoming *incoming;
    unsigned sent, done;
    bool is_done[TOKENS];
    enum err err[TOKENS]; /* by token.use */
    unsigned settled;
    struct data_id settled_id;
    enum incoming_state settled_state;
    struct incoming_watch watch;
    unsigned watched;
    bool is_named; /* whatever it is */
};

static const struct data_id ID = {.epoch = 1ull << 63 | 9, .counter = 4};
static char first_peer, second_peer;
static struct link *const PEER = (struct link *)(void *)&first_peer;
static struct link *const OTHER = (struct link *)(void *)&second_peer;

static void chunk_done(void *context, struct link_token token, enum err e)
{
    struct world *w = context;
    assert_true(token.use < w->sent && !w->is_done[token.use]);
    w->is_done[token.use] = true;
    w->err[token.use] = e;
    w->done++;
}

static void settled(void *context, struct data_id id, enum incoming_state state)
{
    struct world *w = context;
    w->settled++;
    w->settled_id = id;
    w->settled_state = state;
}

static bool is_named(void *context, struct data_id id)
{
    struct world *w = context;
    return w->is_named;
}

static void watched(struct incoming_watch *watch, struct data_id id, enum incoming_state state)
{
    struct world *w = CONTAINER_OF(watch, struct world, watch);
    assert_int_equal(w->settled, w->watched); /* before the owner */
    w->watched++;
}

static void world_open(struct world *w, uint32_t count_max, uint64_t bytes_max)
{
    assert_int_equal(incoming_open(&(struct incoming_options){.loop = w->f.loop,
                                                              .volume = w->f.volume,
                                                              .chunk_done = chunk_done,
                                                              .settled = settled,
                                                              .is_named = is_named,
                                                              .context = w,
                                                              .count_max = count_max,
                                                              .bytes_max = bytes_max},
                                   &w->incoming),
                     ERR_OK);
    w->watch.settled = watched;
    incoming_watch(w->incoming, &w->watch);
}

static void world_up(struct world *w)
{
    memset(w, 0, sizeof *w);
    fixture_up(&w->f, MIB(256), MIB(16));
    world_open(w, 0, 0);
}

static void turn(struct world *w)
{
    for (unsigned i = 0; i < 1000 && !incoming_is_idle(w->incoming); i++)
        loop_run_once(w->f.loop, 0);
    assert_true(incoming_is_idle(w->incoming));
    assert_int_equal(w->done, w->sent); /* each token exactly once */
}

static void world_down(struct world *w)
{
    turn(w);
    incoming_close(w->incoming);
    fixture_check(&w->f); /* all space is free again */
    fixture_fini(&w->f);
}

/* Chunk of data made from the id's counter. */
static struct link_chunk_head head_of(struct data_id id, uint64_t data_size, uint64_t offset,
                                      uint32_t size, uint8_t *payload)
{
    struct link_chunk_head head = {.data = id,
                                   .data_size = data_size,
                                   .offset = offset,
                                   .size = size,
                                   .last = offset + size == data_size,
                                   .sum_count = (size + SUM_CHUNK_BYTES - 1) / SUM_CHUNK_BYTES};
    fixture_fill(payload, id.counter, offset, size);
    for (uint32_t i = 0; i < head.sum_count; i++) {
        uint32_t left = size - i * SUM_CHUNK_BYTES;
        head.sums[i] = xxh3_64(payload + (size_t)i * SUM_CHUNK_BYTES,
                               left < SUM_CHUNK_BYTES ? left : SUM_CHUNK_BYTES);
    }
    return head;
}

static unsigned send_head(struct world *w, struct link *link, const struct link_chunk_head *head,
                          uint8_t *payload)
{
    assert_true(w->sent < TOKENS);
    unsigned number = w->sent++;
    incoming_chunk(w->incoming, link, head, payload,
                   (struct link_token){.life = 1, .use = (uint16_t)number});
    return number;
}

static unsigned send_chunk(struct world *w, struct link *link, struct data_id id,
                           uint64_t data_size, uint64_t offset, uint32_t size)
{
    uint8_t *payload = w->f.slots[w->sent % FIXTURE_SLOTS];
    struct link_chunk_head head = head_of(id, data_size, offset, size, payload);
    return send_head(w, link, &head, payload);
}

static enum incoming_state state_of(struct world *w, struct data_id id, uint64_t size)
{
    return incoming_state(w->incoming, &(struct log_data){.id = id, .size = size});
}

static void name_it(struct world *w, struct data_id id, uint64_t size)
{
    struct commit_wait commit;
    struct body *body = incoming_take(w->incoming, id);
    assert_true(data_id_equal(body_data_id(body), id));
    fixture_put_mutation(&w->f, &commit, "k", body, size);
    assert_int_equal(fixture_commit(&w->f, &commit), ERR_OK);
    assert_int_equal(fixture_get(&w->f, "k", size, id.counter), ERR_OK);
    assert_int_equal(state_of(w, id, size), INCOMING_NONE);
}

/* ---- what comes ---- */

static void chunks_become_a_body(void **state)
{
    static const uint64_t sizes[] = {1,
                                     INLINE_BYTES_MAX,
                                     INLINE_BYTES_MAX + 1,
                                     SUM_CHUNK_BYTES,
                                     SLOT_LARGE_BYTES,
                                     3 * SLOT_LARGE_BYTES + 77};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        struct world w;
        world_up(&w);
        assert_int_equal(state_of(&w, ID, sizes[i]), INCOMING_NONE);
        for (uint64_t offset = 0; offset < sizes[i]; offset += SLOT_LARGE_BYTES) {
            uint64_t left = sizes[i] - offset;
            send_chunk(&w, PEER, ID, sizes[i], offset,
                       left < SLOT_LARGE_BYTES ? (uint32_t)left : SLOT_LARGE_BYTES);
        }
        assert_int_equal(state_of(&w, ID, sizes[i]), INCOMING_ARRIVING);
        assert_int_equal(w.settled, 0); /* not before the disk has it */
        turn(&w);
        for (unsigned n = 0; n < w.sent; n++)
            assert_int_equal(w.err[n], ERR_OK);
        assert_int_equal(w.settled, 1);
        assert_int_equal(w.settled_state, INCOMING_COMPLETE);
        assert_true(data_id_equal(w.settled_id, ID));
        assert_int_equal(state_of(&w, ID, sizes[i]), INCOMING_COMPLETE);
        struct incoming_counts counts;
        incoming_counts(w.incoming, &counts);
        assert_int_equal(counts.complete, 1);
        assert_int_equal(counts.arriving, 0);
        assert_int_equal(counts.bytes, sizes[i]);
        assert_true(counts.landed_bytes >= sizes[i]);
        name_it(&w, ID, sizes[i]);
        incoming_counts(w.incoming, &counts);
        assert_int_equal(counts.complete, 0);
        assert_int_equal(counts.bytes, 0);
        world_down(&w);
    }
}

/* Two bodies of unknown size: of one the sender knew with its last chunk that it was, of the other
 * only the record says so. */
static void the_end_may_come_late(void **state)
{
    struct world w;
    struct data_id late = {ID.epoch, 5};
    world_up(&w);
    uint64_t size = 2 * SLOT_LARGE_BYTES;
    send_chunk(&w, PEER, ID, UINT64_MAX, 0, SLOT_LARGE_BYTES);
    struct link_chunk_head head = head_of(ID, UINT64_MAX, SLOT_LARGE_BYTES, 777, w.f.slots[1]);
    head.last = true;
    send_head(&w, PEER, &head, w.f.slots[1]);
    turn(&w);
    assert_int_equal(state_of(&w, ID, SLOT_LARGE_BYTES + 777), INCOMING_COMPLETE);
    send_chunk(&w, PEER, late, UINT64_MAX, 0, SLOT_LARGE_BYTES);
    send_chunk(&w, PEER, late, UINT64_MAX, SLOT_LARGE_BYTES, SLOT_LARGE_BYTES);
    assert_int_equal(state_of(&w, late, 3 * SLOT_LARGE_BYTES), INCOMING_ARRIVING); /* one to come */
    turn(&w);
    assert_int_equal(w.settled, 1);
    assert_int_equal(state_of(&w, late, size), INCOMING_ARRIVING);
    turn(&w);
    assert_int_equal(w.settled, 2);
    assert_int_equal(state_of(&w, late, size), INCOMING_COMPLETE);
    name_it(&w, late, size);
    world_down(&w);
}

static void what_a_peer_may_not_say_is_refused(void **state)
{
    static const struct {
        struct link_chunk_head head;
        const char *what;
    } table[] = {
        {{{0, 0}, 100, 0, 100, true, 1, {0}}, "no id"},
        {{{1, 1}, 100, 0, 0, true, 0, {0}}, "nothing"},
        {{{1, 1}, 2 * SLOT_LARGE_BYTES, 0, SLOT_LARGE_BYTES + 1, false, 16, {0}}, "too much"},
        {{{1, 1}, 100, 0, 100, true, 0, {0}}, "no sum"},
        {{{1, 1}, 100, 0, 100, true, 2, {0}}, "a sum too many"},
        {{{1, 1}, 100, 0, 101, true, 1, {0}}, "more than there is"},
        {{{1, 1}, 100, 50, 50, true, 1, {0}}, "beside the chunks of the sums"},
        {{{1, 1}, 100, SUM_CHUNK_BYTES, 100, true, 1, {0}}, "behind the end"},
        {{{1, 1}, 100, 0, 99, false, 1, {0}}, "a middle that is no whole chunk"},
        {{{1, 1}, 100, 0, 99, true, 1, {0}}, "a last one that is not"},
        {{{1, 1}, UINT64_MAX, 0, 99, false, 1, {0}}, "a middle of unknown size"},
        {{{1, 1}, OBJECT_BYTES_MAX + 1, 0, SUM_CHUNK_BYTES, false, 1, {0}}, "too large"},
        {{{1, 1}, UINT64_MAX, UINT64_MAX - 65535, SUM_CHUNK_BYTES, false, 1, {0}}, "overflow"},
        {{{1, 1}, 4 * SUM_CHUNK_BYTES, SUM_CHUNK_BYTES, SUM_CHUNK_BYTES, false, 1, {0}},
         "the middle of nothing"},
    };
    struct world w;
    world_up(&w);
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        unsigned n = send_head(&w, PEER, &table[i].head, w.f.slots[0]);
        if (!w.is_done[n] || w.err[n] == ERR_OK)
            fail_msg("%s is taken", table[i].what);
        assert_int_equal(state_of(&w, (struct data_id){1, 1}, 100), INCOMING_NONE);
    }
    struct incoming_counts counts;
    incoming_counts(w.incoming, &counts);
    assert_int_equal(counts.refused_chunks, COUNT_OF(table));
    assert_int_equal(counts.landed_bytes, 0);
    world_down(&w);
}

static void other_bytes_than_were_sent_are_refused(void **state)
{
    static const uint64_t sizes[] = {5000, 4 * SUM_CHUNK_BYTES + 5};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        struct world w;
        world_up(&w);
        struct link_chunk_head head = head_of(ID, sizes[i], 0, (uint32_t)sizes[i], w.f.slots[0]);
        w.f.slots[0][sizes[i] - 3] ^= 4;
        unsigned n = send_head(&w, PEER, &head, w.f.slots[0]);
        assert_int_equal(state_of(&w, ID, sizes[i]), INCOMING_NONE);
        assert_int_equal(w.settled_state, INCOMING_NONE);
        assert_int_equal(w.settled, 1);
        assert_false(w.is_done[n]); /* the disk still reads the slot */
        turn(&w);
        assert_int_equal(w.err[n], ERR_CORRUPT);
        struct incoming_counts counts;
        incoming_counts(w.incoming, &counts);
        assert_int_equal(counts.bad_sums, 1);
        assert_int_equal(counts.refused_chunks, 1);
        assert_int_equal(counts.landed_bytes, 0);
        /* and it may come again */
        send_chunk(&w, PEER, ID, sizes[i], 0, (uint32_t)sizes[i]);
        turn(&w);
        assert_int_equal(state_of(&w, ID, sizes[i]), INCOMING_COMPLETE);
        world_down(&w);
    }
}

static void a_failed_body_takes_its_later_chunks_with_it(void **state)
{
    struct world w;
    world_up(&w);
    uint64_t size = 3 * SLOT_LARGE_BYTES;
    send_chunk(&w, PEER, ID, size, 0, SLOT_LARGE_BYTES);
    struct link_chunk_head head =
        head_of(ID, size, SLOT_LARGE_BYTES, SLOT_LARGE_BYTES, w.f.slots[1]);
    head.sums[7]++;
    send_head(&w, PEER, &head, w.f.slots[1]);
    unsigned last = send_chunk(&w, PEER, ID, size, 2 * SLOT_LARGE_BYTES, SLOT_LARGE_BYTES);
    assert_int_equal(w.err[last], ERR_CANCELLED);
    /* A new stream of the same data may begin while the old one's writes are ending. */
    for (uint64_t offset = 0; offset < size; offset += SLOT_LARGE_BYTES)
        send_chunk(&w, OTHER, ID, size, offset, SLOT_LARGE_BYTES);
    turn(&w);
    assert_int_equal(w.err[0], ERR_CORRUPT); /* its body is none */
    assert_int_equal(w.err[1], ERR_CORRUPT);
    assert_int_equal(state_of(&w, ID, size), INCOMING_COMPLETE);
    name_it(&w, ID, size);
    world_down(&w);
}

static void twice_is_once_and_out_of_order_is_refused(void **state)
{
    struct world w;
    world_up(&w);
    uint64_t size = 3 * SLOT_LARGE_BYTES;
    send_chunk(&w, PEER, ID, size, 0, SLOT_LARGE_BYTES);
    unsigned again = send_chunk(&w, PEER, ID, size, 0, SLOT_LARGE_BYTES);
    unsigned ahead = send_chunk(&w, PEER, ID, size, 2 * SLOT_LARGE_BYTES, SLOT_LARGE_BYTES);
    unsigned alien = send_chunk(&w, OTHER, ID, size, SLOT_LARGE_BYTES, SLOT_LARGE_BYTES);
    unsigned longer = send_chunk(&w, PEER, ID, size + 1, SLOT_LARGE_BYTES, SLOT_LARGE_BYTES);
    assert_int_equal(w.err[again], ERR_OK);
    assert_int_equal(w.err[ahead], ERR_CANCELLED);
    assert_int_equal(w.err[alien], ERR_CANCELLED);
    assert_int_equal(w.err[longer], ERR_CANCELLED);
    send_chunk(&w, PEER, ID, size, SLOT_LARGE_BYTES, SLOT_LARGE_BYTES);
    send_chunk(&w, PEER, ID, size, 2 * SLOT_LARGE_BYTES, SLOT_LARGE_BYTES);
    turn(&w);
    unsigned late = send_chunk(&w, OTHER, ID, size, 0, SLOT_LARGE_BYTES);
    assert_int_equal(w.err[late], ERR_OK);
    name_it(&w, ID, size);
    world_down(&w);
}

/* ---- what goes ---- */

static void a_link_takes_its_unfinished_bodies_with_it(void **state)
{
    struct world w;
    struct data_id other = {ID.epoch, 5}, complete = {ID.epoch, 6};
    world_up(&w);
    send_chunk(&w, PEER, complete, 100, 0, 100);
    turn(&w);
    send_chunk(&w, PEER, ID, MIB(2), 0, SLOT_LARGE_BYTES);
    send_chunk(&w, OTHER, other, MIB(2), 0, SLOT_LARGE_BYTES);
    incoming_link_down(w.incoming, PEER);
    assert_int_equal(state_of(&w, ID, MIB(2)), INCOMING_NONE);
    assert_int_equal(state_of(&w, other, MIB(2)), INCOMING_ARRIVING);
    assert_int_equal(state_of(&w, complete, 100), INCOMING_COMPLETE);
    assert_int_equal(w.settled, 2);
    turn(&w);
    assert_int_equal(w.err[1], ERR_PEER_CLOSED);
    incoming_drop(w.incoming, other);
    incoming_drop(w.incoming, ID); /* of none does nothing */
    assert_int_equal(state_of(&w, other, MIB(2)), INCOMING_NONE);
    assert_int_equal(w.settled, 2); /* who dropped it knows */
    world_down(&w);
}

static unsigned send_third(struct world *w, struct link *link, unsigned third, bool knows_size)
{
    uint8_t *payload = w->f.slots[w->sent % FIXTURE_SLOTS];
    struct link_chunk_head head =
        head_of(ID, MIB(3), (uint64_t)third * SLOT_LARGE_BYTES, SLOT_LARGE_BYTES, payload);
    head.data_size = knows_size ? MIB(3) : UINT64_MAX;
    return send_head(w, link, &head, payload);
}

/* Its sender gave the second chunk up. */
static void goes_on_with_another(bool knows_size)
{
    struct world w;
    world_up(&w);
    send_third(&w, PEER, 0, knows_size);
    clock_manual_advance(&w.f.clock, INCOMING_STALLED_NS);
    assert_int_equal(state_of(&w, ID, MIB(3)), INCOMING_ARRIVING); /* our own disk's time */
    turn(&w);
    clock_manual_advance(&w.f.clock, INCOMING_STALLED_NS - 1);
    unsigned behind = send_third(&w, PEER, 2, knows_size);
    unsigned early = send_third(&w, OTHER, 1, true);
    assert_int_equal(w.err[behind], ERR_CANCELLED);
    assert_int_equal(w.err[early], ERR_CANCELLED);
    assert_int_equal(state_of(&w, ID, MIB(3)), INCOMING_ARRIVING);
    clock_manual_advance(&w.f.clock, 1);
    assert_int_equal(state_of(&w, ID, MIB(3)), INCOMING_STALLED);
    unsigned again = send_third(&w, OTHER, 0, true);
    assert_true(w.is_done[again]);
    assert_int_equal(w.err[again], ERR_OK);
    assert_int_equal(state_of(&w, ID, MIB(3)), INCOMING_STALLED);
    send_third(&w, OTHER, 1, true);
    assert_int_equal(state_of(&w, ID, MIB(3)), INCOMING_ARRIVING);
    incoming_link_down(w.incoming, PEER); /* has no part in it any more */
    send_third(&w, OTHER, 2, true);
    turn(&w);
    assert_int_equal(state_of(&w, ID, MIB(3)), INCOMING_COMPLETE);
    name_it(&w, ID, MIB(3));
    world_down(&w);
}

static void what_stands_still_goes_on_with_whoever_has_the_rest(void **state)
{
    goes_on_with_another(true);
    goes_on_with_another(false);
}

static void what_nobody_names_is_forgotten(void **state)
{
    struct world w;
    struct data_id slow = {ID.epoch, 5};
    world_up(&w);
    send_chunk(&w, PEER, ID, 100, 0, 100);
    send_chunk(&w, PEER, slow, MIB(2), 0, SLOT_LARGE_BYTES);
    turn(&w);
    clock_manual_advance(&w.f.clock, INCOMING_IDLE_NS / 2);
    incoming_tick(w.incoming, clock_boot_ns(&w.f.clock.clock));
    send_chunk(&w, PEER, slow, MIB(2), SLOT_LARGE_BYTES, SUM_CHUNK_BYTES); /* slow, but alive */
    clock_manual_advance(&w.f.clock, INCOMING_IDLE_NS / 2);
    incoming_tick(w.incoming, clock_boot_ns(&w.f.clock.clock));
    assert_int_equal(state_of(&w, ID, 100), INCOMING_NONE);
    assert_int_equal(state_of(&w, slow, MIB(2)), INCOMING_ARRIVING);
    turn(&w);
    clock_manual_advance(&w.f.clock, INCOMING_IDLE_NS);
    incoming_tick(w.incoming, clock_boot_ns(&w.f.clock.clock));
    assert_int_equal(state_of(&w, slow, MIB(2)), INCOMING_NONE);
    struct incoming_counts counts;
    incoming_counts(w.incoming, &counts);
    assert_int_equal(counts.dropped, 2);
    world_down(&w);
}

/* However long its record waits for its turn: nobody else may have it. */
static void what_a_record_names_is_kept_until_it_is_taken(void **state)
{
    struct world w;
    struct data_id partial = {ID.epoch, 5};
    world_up(&w);
    w.is_named = true;
    send_chunk(&w, PEER, ID, 100, 0, 100);
    send_chunk(&w, PEER, partial, MIB(2), 0, SLOT_LARGE_BYTES);
    turn(&w);
    for (unsigned i = 0; i < 5; i++) {
        clock_manual_advance(&w.f.clock, INCOMING_IDLE_NS);
        incoming_tick(w.incoming, clock_boot_ns(&w.f.clock.clock));
        assert_int_equal(state_of(&w, ID, 100), INCOMING_COMPLETE);
        /* what has stopped coming must be asked for again */
        assert_int_equal(state_of(&w, partial, MIB(2)), INCOMING_NONE);
    }
    w.is_named = false; /* its record was cut off */
    incoming_tick(w.incoming, clock_boot_ns(&w.f.clock.clock));
    assert_int_equal(state_of(&w, ID, 100), INCOMING_COMPLETE);
    clock_manual_advance(&w.f.clock, INCOMING_IDLE_NS);
    incoming_tick(w.incoming, clock_boot_ns(&w.f.clock.clock));
    assert_int_equal(state_of(&w, ID, 100), INCOMING_NONE);
    world_down(&w);
}

static void a_body_of_another_size_than_its_record_says_is_none(void **state)
{
    struct world w;
    world_up(&w);
    send_chunk(&w, PEER, ID, 100, 0, 100);
    turn(&w);
    assert_int_equal(state_of(&w, ID, 101), INCOMING_NONE);
    send_chunk(&w, PEER, ID, UINT64_MAX, 0, SLOT_LARGE_BYTES);
    assert_int_equal(state_of(&w, ID, 100), INCOMING_NONE);
    send_chunk(&w, PEER, ID, MIB(2), 0, SLOT_LARGE_BYTES);
    assert_int_equal(state_of(&w, ID, MIB(3)), INCOMING_NONE);
    world_down(&w);
}

static void peers_are_bounded_and_gateways_here_are_not(void **state)
{
    struct world w;
    world_up(&w);
    incoming_close(w.incoming);
    world_open(&w, 2, MIB(3));
    struct data_id ids[4];
    for (unsigned i = 0; i < 4; i++)
        ids[i] = (struct data_id){7, 1 + i};
    send_chunk(&w, PEER, ids[0], MIB(2), 0, SLOT_LARGE_BYTES);
    unsigned large = send_chunk(&w, PEER, ids[1], MIB(1) + 1, 0, SUM_CHUNK_BYTES);
    assert_int_equal(w.err[large], ERR_BUSY);
    send_chunk(&w, PEER, ids[1], MIB(1), 0, SUM_CHUNK_BYTES);
    unsigned third = send_chunk(&w, PEER, ids[2], 10, 0, 10);
    assert_int_equal(w.err[third], ERR_BUSY);
    turn(&w);
    struct body *body = NULL;
    assert_int_equal(fixture_body(&w.f, MIB(4), true, 1, &body), ERR_OK);
    struct data_id local = body_data_id(body);
    assert_int_equal(incoming_put(w.incoming, body), ERR_OK);
    assert_int_equal(state_of(&w, local, MIB(4)), INCOMING_COMPLETE);
    body_close(incoming_take(w.incoming, local));
    incoming_drop(w.incoming, ids[0]);
    send_chunk(&w, PEER, ids[3], 10, 0, 10);
    turn(&w);
    assert_int_equal(state_of(&w, ids[3], 10), INCOMING_COMPLETE);
    world_down(&w);
}

/* The word that nobody will name a body comes before the body does. */
static void what_nobody_names_does_not_begin(void **state)
{
    struct world w;
    struct data_id id = ID;
    world_up(&w);
    incoming_disown(w.incoming, ID);
    send_chunk(&w, PEER, ID, MIB(2), 0, SLOT_LARGE_BYTES);
    send_chunk(&w, PEER, ID, MIB(2), SLOT_LARGE_BYTES, SLOT_LARGE_BYTES);
    turn(&w);
    assert_int_equal(w.err[0], ERR_CANCELLED);
    assert_int_equal(w.err[1], ERR_CANCELLED);
    assert_int_equal(state_of(&w, ID, MIB(2)), INCOMING_NONE);
    for (id.counter = 1000; id.counter < 1000 + INCOMING_DISOWNED_KNOWN; id.counter++)
        incoming_disown(w.incoming, id); /* no more are remembered */
    send_chunk(&w, PEER, ID, 10, 0, 10);
    turn(&w);
    assert_int_equal(w.err[2], ERR_OK);
    world_down(&w);
}

/* What a gateway holds is bounded by who holds it; what nobody holds, with what peers have sent. */
static void what_is_let_go_is_bounded(void **state)
{
    struct world w;
    struct data_id ids[3];
    struct incoming_counts counts;
    world_up(&w);
    incoming_close(TAKE(w.incoming));
    world_open(&w, 2, GIB(1));
    for (unsigned i = 0; i < COUNT_OF(ids); i++) {
        struct body *body = NULL;
        assert_int_equal(fixture_body(&w.f, KIB(100), true, 1 + i, &body), ERR_OK);
        ids[i] = body_data_id(body);
        assert_int_equal(incoming_put(w.incoming, body), ERR_OK);
    }
    send_chunk(&w, PEER, ID, 10, 0, 10);
    turn(&w);
    assert_int_equal(state_of(&w, ID, 10), INCOMING_COMPLETE);
    incoming_let_go(w.incoming, ids[0]);
    incoming_let_go(w.incoming, ids[0]);
    assert_int_equal(state_of(&w, ids[0], KIB(100)), INCOMING_COMPLETE);
    incoming_let_go(w.incoming, ids[1]);
    assert_int_equal(state_of(&w, ids[1], KIB(100)), INCOMING_NONE);
    w.is_named = true; /* its turn is yet to come */
    incoming_let_go(w.incoming, ids[2]);
    assert_int_equal(state_of(&w, ids[2], KIB(100)), INCOMING_COMPLETE);
    incoming_counts(w.incoming, &counts);
    assert_int_equal(counts.dropped, 1);
    assert_int_equal(counts.complete, 3);
    for (unsigned i = 0; i < COUNT_OF(ids); i++)
        incoming_drop(w.incoming, ids[i]);
    send_chunk(&w, PEER, (struct data_id){ID.epoch, 5}, 10, 0, 10);
    turn(&w);
    assert_int_equal(w.err[w.sent - 1], ERR_OK); /* what went counts no more */
    world_down(&w);
}

static void every_disk_error_is_told_and_leaves_nothing(void **state)
{
    for (unsigned nth = 1; nth < FAULTS_MAX; nth++) {
        struct world w;
        world_up(&w);
        uint64_t size = 2 * SLOT_LARGE_BYTES + 5;
        disk_sim_fail_nth(w.f.sim, nth, ERR_IO);
        for (uint64_t offset = 0; offset < size; offset += SLOT_LARGE_BYTES) {
            uint64_t left = size - offset;
            send_chunk(&w, PEER, ID, size, offset,
                       left < SLOT_LARGE_BYTES ? (uint32_t)left : SLOT_LARGE_BYTES);
        }
        turn(&w);
        bool fired = disk_sim_fault_fired(w.f.sim);
        disk_sim_fail_nth(w.f.sim, 0, ERR_OK);
        bool any = false;
        for (unsigned n = 0; n < w.sent; n++)
            any = any || w.err[n] != ERR_OK;
        assert_int_equal(state_of(&w, ID, size), any ? INCOMING_NONE : INCOMING_COMPLETE);
        incoming_close(w.incoming);
        if (fixture_status(&w.f).state == VOLUME_OK)
            fixture_check(&w.f);
        fixture_fini(&w.f);
        if (!fired) {
            assert_true(nth > 3); /* each write has failed once */
            assert_false(any);
            return;
        }
    }
    fail_msg("faults never ended");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_become_a_body),
        cmocka_unit_test(the_end_may_come_late),
        cmocka_unit_test(what_a_peer_may_not_say_is_refused),
        cmocka_unit_test(other_bytes_than_were_sent_are_refused),
        cmocka_unit_test(a_failed_body_takes_its_later_chunks_with_it),
        cmocka_unit_test(twice_is_once_and_out_of_order_is_refused),
        cmocka_unit_test(a_link_takes_its_unfinished_bodies_with_it),
        cmocka_unit_test(what_stands_still_goes_on_with_whoever_has_the_rest),
        cmocka_unit_test(what_nobody_names_is_forgotten),
        cmocka_unit_test(what_a_record_names_is_kept_until_it_is_taken),
        cmocka_unit_test(a_body_of_another_size_than_its_record_says_is_none),
        cmocka_unit_test(peers_are_bounded_and_gateways_here_are_not),
        cmocka_unit_test(what_nobody_names_does_not_begin),
        cmocka_unit_test(what_is_let_go_is_bounded),
        cmocka_unit_test(every_disk_error_is_told_and_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
