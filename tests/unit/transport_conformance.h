/*
 * The contract of replication/transport.h, point by point, for whichever backend includes it.
 * test_transport.c runs it over TCP (io_uring and epoll), test_transport_verbs.c over RDMA, where
 * there is a device.
 */
#ifndef TESTS_TRANSPORT_CONFORMANCE_H
#define TESTS_TRANSPORT_CONFORMANCE_H

#include "transport_fixture.h"

static void two_nodes_come_up_and_know_each_other(void **state)
{
    struct pair *pair = connected(state);
    for (unsigned i = 0; i < 2; i++) {
        struct node *node = &pair->nodes[i];
        assert_true(transport_peer_is_up(node->peer));
        assert_int_equal(transport_peer_identity(node->peer)->node, 2 - i);
        struct transport_status status;
        transport_status(node->transport, &status);
        assert_int_equal(status.peers_up, 1);
        assert_true(status.device[0] != '\0');
        assert_int_equal(status.backend, conformance.choice == TRANSPORT_FORCE_VERBS
                                             ? TRANSPORT_VERBS
                                             : TRANSPORT_TCP);
    }
    transport_fence(pair->nodes[0].peer);
    transport_fence(pair->nodes[0].peer);      /* twice is once */
    assert_int_equal(pair->nodes[0].downs, 0); /* never from inside */
    AWAIT(pair, pair->nodes[0].downs == 1 && pair->nodes[1].downs == 1);
    assert_int_equal(pair->nodes[0].why, END_FENCED);
    assert_int_equal(pair->nodes[1].why, END_PEER_CLOSED);
}

static void send_ctl(struct pair *pair, struct node *from, uint32_t count)
{
    for (uint32_t i = 0; i < count;) {
        uint8_t message[TRANSPORT_CTL_BYTES_MAX];
        size_t size = 8 + i % (sizeof message - 7);
        memset(message, 0, sizeof message);
        put_le32(message, i);
        message[size - 1] = (uint8_t)size;
        enum err e = transport_ctl(from->peer, message, size);
        if (e == ERR_OK) {
            i++;
            continue;
        }
        assert_int_equal(e, ERR_BUSY);
        unsigned rooms = from->rooms[LANE_CTL];
        AWAIT(pair, from->rooms[LANE_CTL] > rooms);
    }
}

static void messages_come_in_order_both_ways_and_a_full_lane_says_busy(void **state)
{
    struct pair *pair = connected(state);
    uint32_t count = 1000;
    send_ctl(pair, &pair->nodes[0], count);
    send_ctl(pair, &pair->nodes[1], count);
    AWAIT(pair, pair->nodes[0].ctl_in == count && pair->nodes[1].ctl_in == count);
    assert_true(pair->nodes[0].rooms[LANE_CTL] > 0);
    settle(pair);
}

static void post_all(struct pair *pair, struct node *node, enum transport_lane lane, uint32_t count,
                     uint32_t size, unsigned pieces)
{
    for (uint32_t i = 0; i < count;) {
        enum err e = post(node, lane, i % SLOTS, size, pieces);
        if (e == ERR_BUSY) {
            unsigned rooms = node->rooms[lane];
            AWAIT(pair, node->rooms[lane] > rooms || node->downs > 0);
        } else if (e == ERR_CLOSED) {
            return;
        } else {
            assert_int_equal(e, ERR_OK);
            i++;
        }
        /* A slot and a source are used again only when what was in them has been looked at: the
         * protocol's rule, kept here in the plainest way. */
        if (size > SMALL_BYTES || i % SLOTS == 0)
            AWAIT(pair, node->downs > 0 ||
                            pair->nodes[node == &pair->nodes[0]].writes_in[lane] == node->posted);
    }
}

static void writes_land_whole_in_order_and_each_once(void **state)
{
    struct pair *pair = connected(state);
    for (unsigned size = 8; size <= 128; size += 24) {
        unsigned before = pair->nodes[0].posted;
        post_all(pair, &pair->nodes[0], LANE_META, 14, size, size >= 56 ? 4 : 1);
        AWAIT(pair, pair->nodes[1].writes_in[LANE_META] == before + 14);
    }
    AWAIT(pair, pair->nodes[0].written == pair->nodes[0].posted);
    assert_int_equal(pair->nodes[0].written_failed, 0);
    settle(pair);
}

static void bodies_land_whole_both_ways(void **state)
{
    struct pair *pair = connected(state);
    post_all(pair, &pair->nodes[0], LANE_BULK, 9, (uint32_t)MIB(1), 4);
    post_all(pair, &pair->nodes[1], LANE_BULK, 9, (uint32_t)(MIB(1) - KIB(60)), 1);
    for (int i = 0; i < 2; i++) {
        AWAIT(pair, pair->nodes[i].writes_in[LANE_BULK] == 9);
        AWAIT(pair, pair->nodes[i].written == 9);
    }
    struct transport_counts counts;
    transport_counts(pair->nodes[1].transport, &counts);
    assert_int_equal(counts.lanes[LANE_BULK].received_bytes, 9 * MIB(1));
    settle(pair);
}

/* As many as the lane takes in one turn, so that frames share system calls and doorbells. */
static void a_lane_takes_its_depth_and_no_more(void **state)
{
    struct pair *pair = connected(state);
    struct node *from = &pair->nodes[0], *to = &pair->nodes[1];
    for (unsigned round = 0; round < 3; round++) {
        unsigned before = from->posted;
        enum err e;
        while ((e = post(from, LANE_META, 0, 64, 2)) == ERR_OK)
            ;
        assert_int_equal(e, ERR_BUSY);
        assert_int_equal(from->posted - before, TRANSPORT_META_DEPTH);
        unsigned rooms = from->rooms[LANE_META];
        AWAIT(pair, to->writes_in[LANE_META] == from->posted);
        AWAIT(pair, from->rooms[LANE_META] > rooms);
        AWAIT(pair, from->written == from->posted);
        /* All credit comes back with any message. */
        uint8_t message[8] = {0, 0, 0, 0, 0, 0, 0, 8};
        put_le32(message, from->ctl_in);
        assert_int_equal(transport_ctl(to->peer, message, sizeof message), ERR_OK);
        AWAIT(pair, from->ctl_in == round + 1);
        to->writes_wrong = 0; /* all went to one slot: what is in it is the last one's */
    }
    assert_int_equal(to->writes_in[LANE_META], from->posted);
    assert_int_equal(to->next_imm[LANE_META], from->posted);
}

static void what_is_wrong_here_is_refused_here(void **state)
{
    struct pair *pair = connected(state);
    struct node *node = &pair->nodes[0];
    static const struct {
        uint64_t offset;
        uint32_t size;
        uint8_t region;
    } rows[] = {
        {LANDING_BYTES, 8, 0}, {LANDING_BYTES - 4, 8, 0}, {UINT64_MAX - 3, 8, 0}, {0, 8, 1}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct transport_write write = {.written = on_written,
                                        .lane = LANE_META,
                                        .region = rows[i].region,
                                        .offset = rows[i].offset,
                                        .piece_count = 1,
                                        .pieces = {{node->source->data, rows[i].size}}};
        assert_int_equal(transport_write(node->peer, &write), ERR_INVALID);
    }
    pump_for(pair, 20 * NS_PER_MS);
    assert_true(transport_peer_is_up(node->peer));
    assert_int_equal(node->written, 0);
}

static bool landing_is_untouched(const struct node *node)
{
    for (size_t i = 0; i < node->landing->size; i++)
        if (node->landing->data[i] != 0xee)
            return false;
    return true;
}

/* C4, with a sender that does what ours would not. */
static void refused_by_the_target(void **state, void (*misbehave)(struct transport_lane_faults *))
{
    struct pair *pair = connected(state);
    struct node *from = &pair->nodes[0], *to = &pair->nodes[1];
    misbehave(&from->faults.lanes[LANE_META]);
    assert_int_equal(post(from, LANE_META, 1, 4096, 2), ERR_OK);
    assert_int_equal(post(from, LANE_META, 2, 64, 2), ERR_OK);
    AWAIT(pair, from->downs == 1 && to->downs == 1);
    assert_true(landing_is_untouched(to));
    assert_int_equal(to->writes_in[LANE_META], 0);
    if (conformance.choice == TRANSPORT_FORCE_TCP) { /* an RDMA adapter tells only the writer */
        assert_int_equal(to->why, END_PROTOCOL);
        struct transport_counts counts;
        transport_counts(to->transport, &counts);
        assert_int_equal(counts.protocol_errors, 1);
    }
    settle(pair);
}

static void use_a_wrong_key(struct transport_lane_faults *faults)
{
    faults->wrong_key = true;
}
static void a_write_with_a_wrong_key_changes_nothing(void **state)
{
    refused_by_the_target(state, use_a_wrong_key);
}

static void go_past_the_end(struct transport_lane_faults *faults)
{
    faults->offset_add = LANDING_BYTES - SLOT_BYTES - 8;
}
static void a_write_past_the_end_changes_nothing(void **state)
{
    refused_by_the_target(state, go_past_the_end);
}

/* C5, C6, C7: fenced in the middle of a stream, by the receiver. */
static void nothing_lands_after_a_fence(void **state)
{
    struct pair *pair = connected(state);
    struct node *from = &pair->nodes[0], *to = &pair->nodes[1];
    to->fence_on_write = true;
    for (unsigned i = 0; i < 32; i++)
        assert_int_equal(post(from, LANE_BULK, i % SLOTS, (uint32_t)KIB(512), 1), ERR_OK);
    AWAIT(pair, to->downs == 1);
    assert_int_equal(to->why, END_FENCED);
    assert_int_equal(to->writes_in[LANE_BULK], 3);
    uint64_t sum = to->sum_at_down;
    pump_for(pair, 100 * NS_PER_MS);
    assert_true(landing_sum(to->landing) == sum);
    AWAIT(pair, from->downs == 1);
    pump_for(pair, 50 * NS_PER_MS);
    assert_true(landing_sum(to->landing) == sum);
    for (unsigned w = 0; w < from->posted; w++)
        assert_int_equal(from->writes[w].runs, 1);
    to->writes_wrong = 0; /* one source for all: only the fence was looked at */
}

static void a_fenced_writer_gets_every_write_back(void **state)
{
    struct pair *pair = connected(state);
    struct node *from = &pair->nodes[0];
    for (unsigned i = 0; i < 64; i++)
        assert_int_equal(post(from, i % 2 ? LANE_BULK : LANE_META, i % SLOTS,
                              i % 2 ? (uint32_t)KIB(256) : 64, 1),
                         ERR_OK);
    transport_fence(from->peer);
    AWAIT(pair, from->downs == 1 && pair->nodes[1].downs == 1);
    assert_int_equal(from->written, 64);
    struct transport_write late = {.written = on_written,
                                   .lane = LANE_META,
                                   .piece_count = 1,
                                   .pieces = {{from->source->data, 8}}};
    pair->nodes[1].writes_wrong = 0;
    from->granted = pair->nodes[1].granted = 0;
    node_call(from, &pair->nodes[1]); /* a new life, not up yet */
    assert_int_equal(transport_write(from->peer, &late), ERR_CLOSED);
    assert_int_equal(transport_ctl(from->peer, "late", 4), ERR_CLOSED);
    AWAIT(pair, from->ups == 2 && pair->nodes[1].ups == 2);
}

static void lanes_do_not_wait_for_each_other(void **state)
{
    struct pair *pair = connected(state);
    struct node *from = &pair->nodes[0], *to = &pair->nodes[1];
    from->faults.lanes[LANE_BULK].delay_ns = 150 * NS_PER_MS;
    assert_int_equal(post(from, LANE_BULK, 0, 4096, 1), ERR_OK);
    assert_int_equal(post(from, LANE_BULK, 1, 4096, 1), ERR_OK);
    assert_int_equal(post(from, LANE_META, 2, 4096, 1), ERR_OK);
    AWAIT(pair, to->writes_in[LANE_META] == 1);
    assert_int_equal(to->writes_in[LANE_BULK], 0);
    from->faults.lanes[LANE_META].delay_ns = 100 * NS_PER_MS;
    assert_int_equal(post(from, LANE_META, 3, 4096, 1), ERR_OK);
    send_ctl(pair, from, 3);
    AWAIT(pair, to->ctl_in == 3);
    AWAIT(pair, to->writes_in[LANE_BULK] == 2 && to->writes_in[LANE_META] == 2);
    AWAIT(pair, from->written == 4);
    settle(pair);
}

static void a_cut_lane_ends_the_peer_on_both_sides(void **state)
{
    struct pair *pair = *state;
    for (unsigned lane = 0; lane < LANE_COUNT; lane++) {
        struct node *from = &pair->nodes[0], *to = &pair->nodes[1];
        unsigned downs = from->downs;
        memset(from->writes, 0, WRITES_MAX * sizeof *from->writes);
        from->posted = from->written = to->next_imm[LANE_META] = to->next_imm[LANE_BULK] = 0;
        from->granted = to->granted = to->ctl_in = 0;
        node_call(from, to);
        AWAIT(pair, from->granted == 1 && to->granted == 1);
        struct transport_lane_counts counts[LANE_COUNT];
        transport_peer_counts(from->peer, counts);
        from->faults.lanes[lane].cut_at =
            conformance.choice == TRANSPORT_FORCE_TCP && lane == LANE_CTL
                ? counts[LANE_CTL].sent_bytes + 40
            : lane == LANE_CTL                          ? counts[LANE_CTL].sent + 1
            : conformance.choice == TRANSPORT_FORCE_TCP ? 3000
                                                        : 1;
        for (unsigned i = 0; i < 3; i++) {
            if (lane == LANE_CTL)
                assert_int_equal(
                    transport_ctl(from->peer, (uint8_t[8]){(uint8_t)i, 0, 0, 0, 0, 0, 0, 8}, 8),
                    ERR_OK);
            else
                assert_int_equal(post(from, (enum transport_lane)lane, i, 2048, 1), ERR_OK);
        }
        AWAIT(pair, from->downs == downs + 1 && to->downs == downs + 1);
        assert_true(from->why == END_BROKEN || from->why == END_PEER_CLOSED);
        from->faults.lanes[lane].cut_at = FAULT_NEVER;
        settle(pair);
    }
}

/*
 * Credit that comes back is told at once, so one who ignores it is noticed only where the receiver
 * can tell no more: the sender says nothing of what it takes either. Until then nothing grows.
 */
static void who_sends_more_than_its_credit_is_cut_off(void **state)
{
    struct pair *pair = *state;
    enum { AHEAD = 1024, MOST = 40000 }; /* one CREDIT each half depth, as many as CTL is deep */
    for (unsigned lane = 0; lane < LANE_COUNT; lane++) {
        struct node *from = &pair->nodes[0], *to = &pair->nodes[1];
        unsigned downs = from->downs;
        memset(from->writes, 0, WRITES_MAX * sizeof *from->writes);
        from->posted = from->written = from->granted = to->granted = 0;
        node_call(from, to);
        AWAIT(pair, from->granted == 1 && to->granted == 1);
        from->faults.withholds_credit = from->faults.lanes[lane].ignores_credit = true;
        unsigned sent = 0;
        while (from->downs == downs && sent < MOST) {
            struct node_write *one = &from->writes[sent % WRITES_MAX];
            enum err e = ERR_BUSY;
            one->node = from;
            if (lane == LANE_CTL) {
                e = transport_ctl(from->peer, "more", 4);
            } else if (one->write.magic == 0 && from->posted - from->written < AHEAD) {
                one->write = (struct transport_write){.written = on_written,
                                                      .lane = (enum transport_lane)lane,
                                                      .piece_count = 1,
                                                      .pieces = {{from->source->data, 8}}};
                e = transport_write(from->peer, &one->write);
                from->posted += e == ERR_OK;
            }
            sent += e == ERR_OK;
            if (e != ERR_OK)
                pump(pair);
            if (e == ERR_CLOSED)
                AWAIT(pair, from->downs > downs);
        }
        AWAIT(pair, from->downs == downs + 1 && to->downs == downs + 1);
        assert_int_equal(from->written, from->posted);
        /* Verbs: RNR is found first, by the sender. */
        if (conformance.choice == TRANSPORT_FORCE_TCP) {
            assert_int_equal(to->why, END_PROTOCOL);
            assert_non_null(strstr(to->sentence, "more on its"));
        }
        from->faults = to->faults = (struct transport_faults)TRANSPORT_NO_FAULTS;
    }
    pair->nodes[1].writes_wrong = pair->nodes[1].ctl_wrong = 0; /* what they carried was nothing */
}

/* ---- who is let in ---- */

static void reopen(struct pair *pair, unsigned index, void (*change)(struct transport_options *))
{
    struct node *node = &pair->nodes[index];
    node_close_transport(pair, node);
    struct transport_options options = options_of(node, index);
    change(&options);
    node_listen(node, &options);
}

static void forget_key(struct transport_options *options)
{
    options->cluster_key[31] ^= 1;
}
static void change_cluster(struct transport_options *options)
{
    options->self.cluster[0] ^= 1;
}
static void take_number_two(struct transport_options *options)
{
    options->self.node = 2;
}
static void take_one_peer(struct transport_options *options)
{
    options->peers_max = 1;
}

static void nobody_is_let_in_who_does_not_belong(void **state)
{
    struct pair *pair = *state;
    static const struct {
        void (*change)(struct transport_options *);
        const char *caller, *listener;
    } rows[] = {
        {forget_key, "cluster's key", "cluster key"},
        {change_cluster, "another cluster", "another cluster"},
        {take_number_two, "number", "number"},
    };
    struct node *caller = &pair->nodes[0], *listener = &pair->nodes[1];
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        reopen(pair, 0, rows[i].change);
        unsigned downs = caller->downs, away = listener->turned_away;
        node_call(caller, listener);
        AWAIT(pair, caller->downs == downs + 1 && listener->turned_away == away + 1);
        assert_int_equal(caller->why, END_REFUSED);
        assert_int_equal(listener->why, END_REFUSED);
        assert_non_null(strstr(caller->sentence, rows[i].caller));
        assert_non_null(strstr(listener->sentence, rows[i].listener));
        assert_int_equal(caller->ups + listener->ups, 0);
        assert_int_equal(caller->granted + listener->granted, 0);
    }
}

static void the_layer_above_may_refuse_and_its_sentence_stays_here(void **state)
{
    struct pair *pair = *state;
    struct node *caller = &pair->nodes[0], *listener = &pair->nodes[1];
    listener->admits = ERR_DENIED;
    node_call(caller, listener);
    AWAIT(pair, caller->downs == 1 && listener->turned_away == 1);
    assert_non_null(strstr(listener->sentence, "node 1 is not in the configuration"));
    assert_non_null(strstr(caller->sentence, "does not admit this node"));
    assert_null(strstr(caller->sentence, "configuration"));
    listener->admits = ERR_OK;
    node_call(caller, listener);
    AWAIT(pair, caller->granted == 1 && listener->granted == 1);
}

static void there_are_peers_max_and_no_more(void **state)
{
    struct pair *pair = *state;
    struct node *caller = &pair->nodes[0], *listener = &pair->nodes[1];
    reopen(pair, 1, take_one_peer);
    node_call(caller, listener);
    AWAIT(pair, caller->granted == 1 && listener->granted == 1);
    struct transport_peer *first = caller->peer;
    node_call(caller, listener); /* the same node once more: a second connection */
    AWAIT(pair, caller->downs == 1);
    assert_non_null(strstr(caller->sentence, "as many peers as it takes"));
    struct transport_peer *second = NULL;
    assert_int_equal(transport_connect(listener->transport, (struct sockaddr *)&caller->address,
                                       sizeof caller->address, &second, NULL),
                     ERR_BUSY);
    assert_null(second);
    assert_true(transport_peer_is_up(first));
    assert_true(transport_peer_is_up(listener->peer));
}

static void a_call_nobody_takes_ends_with_a_sentence(void **state)
{
    struct pair *pair = *state;
    node_close_transport(pair, &pair->nodes[1]);
    node_call(&pair->nodes[0], &pair->nodes[1]);
    AWAIT(pair, pair->nodes[0].downs == 1);
    assert_true(pair->nodes[0].why == END_BROKEN || pair->nodes[0].why == END_TIMEOUT);
    assert_non_null(strchr(pair->nodes[0].sentence, ':'));
}

/* Connections come and go; nothing is left of them, and the last works as the first. */
static void count_fds(unsigned *ret_count)
{
    *ret_count = 0;
    for (int fd = 0; fd < 256; fd++)
        *ret_count += fcntl(fd, F_GETFD) >= 0;
}

static void many_lives_leave_nothing_behind(void **state)
{
    struct pair *pair = *state;
    struct node *from = &pair->nodes[0], *to = &pair->nodes[1];
    unsigned lives = conformance.choice == TRANSPORT_FORCE_TCP ? 60 : 12, fds = 0, fds_now;
    for (unsigned life = 0; life < lives; life++) {
        from->granted = to->granted = to->ctl_in = 0;
        to->next_imm[LANE_META] = to->next_imm[LANE_BULK] = 0;
        memset(from->writes, 0, WRITES_MAX * sizeof *from->writes);
        from->posted = from->written = 0;
        node_call(from, to);
        AWAIT(pair, from->granted == 1 && to->granted == 1);
        for (unsigned i = 0; i < 4; i++)
            assert_int_equal(post(from, LANE_META, i, 64, 2), ERR_OK);
        if (life % 2)
            AWAIT(pair, to->writes_in[LANE_META] == (life / 2 + 1) * 4);
        else
            to->writes_in[LANE_META] = life / 2 * 4; /* set again below */
        transport_fence(life % 3 ? from->peer : to->peer);
        AWAIT(pair, from->downs == life + 1 && to->downs == life + 1);
        to->writes_in[LANE_META] = (life + 1) / 2 * 4;
        count_fds(&fds_now);
        if (life == 2)
            fds = fds_now;
        if (life > 2)
            assert_in_range(fds_now, 0, fds);
    }
    settle(pair);
}

static void closing_ends_everything_in_flight(void **state)
{
    struct pair *pair = connected(state);
    struct node *from = &pair->nodes[0];
    for (unsigned i = 0; i < 16; i++)
        assert_int_equal(post(from, LANE_BULK, i % SLOTS, (uint32_t)KIB(512), 1), ERR_OK);
    pump(pair);
    node_close_transport(pair, from);
    assert_int_equal(from->downs, 1);
    assert_int_equal(from->written, 16);
    AWAIT(pair, pair->nodes[1].downs == 1);
    pair->nodes[1].writes_wrong = 0;
}

#define CONFORMANCE_TEST(name) cmocka_unit_test_setup_teardown(name, pair_set_up, pair_tear_down)
#define CONFORMANCE_TESTS                                                                          \
    CONFORMANCE_TEST(two_nodes_come_up_and_know_each_other),                                       \
        CONFORMANCE_TEST(messages_come_in_order_both_ways_and_a_full_lane_says_busy),              \
        CONFORMANCE_TEST(writes_land_whole_in_order_and_each_once),                                \
        CONFORMANCE_TEST(bodies_land_whole_both_ways),                                             \
        CONFORMANCE_TEST(a_lane_takes_its_depth_and_no_more),                                      \
        CONFORMANCE_TEST(what_is_wrong_here_is_refused_here),                                      \
        CONFORMANCE_TEST(a_write_with_a_wrong_key_changes_nothing),                                \
        CONFORMANCE_TEST(a_write_past_the_end_changes_nothing),                                    \
        CONFORMANCE_TEST(nothing_lands_after_a_fence),                                             \
        CONFORMANCE_TEST(a_fenced_writer_gets_every_write_back),                                   \
        CONFORMANCE_TEST(lanes_do_not_wait_for_each_other),                                        \
        CONFORMANCE_TEST(a_cut_lane_ends_the_peer_on_both_sides),                                  \
        CONFORMANCE_TEST(who_sends_more_than_its_credit_is_cut_off),                               \
        CONFORMANCE_TEST(nobody_is_let_in_who_does_not_belong),                                    \
        CONFORMANCE_TEST(the_layer_above_may_refuse_and_its_sentence_stays_here),                  \
        CONFORMANCE_TEST(there_are_peers_max_and_no_more),                                         \
        CONFORMANCE_TEST(a_call_nobody_takes_ends_with_a_sentence),                                \
        CONFORMANCE_TEST(many_lives_leave_nothing_behind),                                         \
        CONFORMANCE_TEST(closing_ends_everything_in_flight)

#endif
