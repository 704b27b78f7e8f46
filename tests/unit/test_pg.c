/* One node's part in a group, event by event. What holds whatever happens is the simulator's
 * (tests/sim); here is what no invariant asks for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "replication/pg.h"

#define SELF  0u
#define OTHER 1u

static struct world {
    struct pg pg;
    uint64_t now_ns;
    unsigned swaps, losses, opens, config_reads, beacons;
    struct pg_config wanted;
    uint64_t saved_last; /* of the log, as saved */
    uint64_t appended;   /* the last psn */
} world;

static void op_send(void *context, uint8_t to, const struct pg_message *message)
{
    (void)context, (void)to;
    world.beacons += message->type == PG_BEACON;
}
static void op_send_records(void *context, uint8_t to, uint64_t from_psn, uint64_t to_psn)
{
    (void)context, (void)to, (void)from_psn, (void)to_psn;
}
static void op_save(void *context, uint64_t version, const struct pg_durable *state)
{
    (void)context, (void)version;
    world.saved_last = state->log.last;
}
static void op_append(void *context, uint64_t psn, uint64_t term, const void *record)
{
    (void)context, (void)term, (void)record;
    world.appended = psn;
}
static void op_swap(void *context, const struct pg_config *next)
{
    (void)context;
    world.swaps++;
    world.wanted = *next;
}
static void op_read_config(void *context)
{
    (void)context;
    world.config_reads++;
}
static void op_committed(void *context, uint64_t psn, bool may_acknowledge)
{
    (void)context, (void)psn, (void)may_acknowledge;
}
static void op_opened(void *context)
{
    (void)context;
    world.opens++;
}
static void op_lost(void *context)
{
    (void)context;
    world.losses++;
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

/* ---- what happens ---- */

static void start(uint8_t primary, const struct pg_log *log)
{
    struct pg_durable restored = {
        .config = {.epoch = 1, .term = 1, .primary = primary, .in_sync = 1u << SELF | 1u << OTHER},
        .synced_term = 1,
        .log = *log,
    };
    world = (struct world){.now_ns = NS_PER_SECOND};
    pg_init(&world.pg,
            &(struct pg_options){.ops = &ops,
                                 .times = pg_times_default,
                                 .self = SELF,
                                 .node_count = 2,
                                 .in_sync_min = 1,
                                 .nonce_seed = 5},
            &restored, world.now_ns);
}

static void tick_for(uint64_t ns)
{
    for (uint64_t until_ns = world.now_ns + ns; world.now_ns < until_ns;) {
        world.now_ns += 10 * NS_PER_MS;
        pg_tick(&world.pg, world.now_ns);
    }
}

static void persist(uint64_t psn)
{
    pg_persisted(&world.pg, world.now_ns, world.pg.version, psn);
}

static void swap_is_done(void)
{
    struct pg_config present = world.wanted;
    pg_swapped(&world.pg, world.now_ns, PG_SWAP_DONE, &present);
}

static void register_says(void)
{
    struct pg_config present = world.pg.d.config;
    pg_config_read(&world.pg, world.now_ns, &present);
}

static void other_says(enum pg_message_type type, uint64_t durable, uint64_t last)
{
    pg_receive(&world.pg, world.now_ns, OTHER,
               &(struct pg_message){.type = type,
                                    .config = world.pg.d.config,
                                    .beacon_ns = world.now_ns,
                                    .psn = durable,
                                    .last = last});
}

/* Primary of an open group of two. */
static void lead(void)
{
    start(SELF, &(struct pg_log){0});
    tick_for(10 * NS_PER_MS);
    register_says();
    assert_int_equal(world.swaps, 1);
    swap_is_done();
    assert_int_equal(world.appended, 1);
    persist(1);
    other_says(PG_ACK, 1, 1);
    pg_applied(&world.pg, 1);
    assert_int_equal(world.pg.role, PG_OPEN);
}

static void change(uint64_t expected_psn)
{
    uint64_t psn;
    assert_int_equal(pg_propose(&world.pg, world.now_ns, "a change", &psn), ERR_OK);
    assert_int_equal(psn, expected_psn);
    persist(psn);
}

/* ---- tests ---- */

static void a_replica_that_had_nothing_to_do_is_not_stuck(void **state)
{
    (void)state;
    lead();
    unsigned swaps = world.swaps;
    for (unsigned i = 0; i < 200; i++) { /* a quiet night */
        tick_for(100 * NS_PER_MS);
        other_says(PG_BEACON_ACK, 0, 0);
    }
    change(2);
    tick_for(100 * NS_PER_MS);
    other_says(PG_ACK, 2, 2);
    tick_for(100 * NS_PER_MS);
    assert_int_equal(world.swaps, swaps);
    assert_int_equal(world.pg.d.commit, 2);
}

static void a_replica_that_answers_and_gets_nowhere_is_taken_out(void **state)
{
    (void)state;
    lead();
    unsigned swaps = world.swaps;
    change(2);
    uint64_t patience_ns = 5 * pg_times_default.silence_ns;
    for (uint64_t waited_ns = 0; waited_ns < patience_ns; waited_ns += 100 * NS_PER_MS) {
        assert_int_equal(world.swaps, swaps);
        tick_for(100 * NS_PER_MS);
        other_says(PG_ACK, 1, 2); /* it has come, and does not get to its disk */
    }
    tick_for(100 * NS_PER_MS);
    assert_int_equal(world.swaps, swaps + 1);
    assert_int_equal(world.wanted.in_sync, 1u << SELF);
    swap_is_done();
    assert_int_equal(world.pg.d.commit, 2);
}

/* The data of records that have not reached our disk may have gone with the primary before. */
static void who_takes_over_keeps_what_is_on_its_disk(void **state)
{
    static const struct {
        uint64_t durable, committed, kept;
    } cases[] = {{3, 0, 3}, {5, 0, 5}, {3, 4, 4}, {0, 0, 0}};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        start(OTHER, &(struct pg_log){0});
        struct pg_message append = {.type = PG_APPEND,
                                    .config = world.pg.d.config,
                                    .term = 1,
                                    .commit = cases[i].committed};
        for (append.psn = 1; append.psn <= 5; append.psn++)
            pg_receive(&world.pg, world.now_ns, OTHER, &append);
        persist(cases[i].durable);
        assert_int_equal(world.pg.d.log.last, 5);
        tick_for(3 * NS_PER_SECOND); /* the primary is silent */
        assert_int_equal(world.swaps, 1);
        assert_int_equal(world.wanted.primary, SELF);
        swap_is_done();
        assert_int_equal(world.saved_last, cases[i].kept);
        assert_int_equal(world.appended, cases[i].kept + 1);
        assert_int_equal(world.pg.barrier, cases[i].kept + 1);
    }
}

/* A record that does not come to the primary's disk: the new term begins in its place. */
static void who_leads_anew_begins_behind_what_is_on_its_disk(void **state)
{
    (void)state;
    lead();
    uint64_t psn, term = world.pg.d.config.term;
    assert_int_equal(pg_propose(&world.pg, world.now_ns, "a change", &psn), ERR_OK);
    other_says(PG_ACK, psn, psn);
    pg_lead_anew(&world.pg, world.now_ns);
    assert_int_equal(world.losses, 1);
    assert_int_equal(pg_propose(&world.pg, world.now_ns, "another", &psn), ERR_WOULD_BLOCK);
    tick_for(10 * NS_PER_MS);
    assert_int_equal(world.config_reads, 2);
    register_says();
    pg_lead_anew(&world.pg, world.now_ns); /* it is on its way */
    swap_is_done();
    assert_int_equal(world.losses, 1);
    assert_true(world.pg.d.config.term > term);
    assert_int_equal(world.saved_last, 1);
    assert_int_equal(world.pg.barrier, 2);
    persist(2);
    other_says(PG_ACK, 2, 2);
    assert_int_equal(world.opens, 2);
    assert_int_equal(world.pg.d.commit, 2);
}

/* The swap may keep the term: what it would cut stays in it under the same numbers. */
static void nobody_leads_anew_while_a_swap_is_under_way(void **state)
{
    (void)state;
    lead();
    tick_for(2 * pg_times_default.silence_ns); /* the other is silent */
    assert_int_equal(world.swaps, 2);
    pg_lead_anew(&world.pg, world.now_ns);
    assert_int_equal(world.losses, 0);
    assert_int_equal(world.pg.role, PG_OPEN);
    swap_is_done();
    pg_lead_anew(&world.pg, world.now_ns);
    assert_int_equal(world.losses, 1);
}

/* Its disk takes nothing: a new term would not come to it either. */
static void who_resigns_leaves_the_group_to_others_until_it_stands(void **state)
{
    (void)state;
    lead();
    uint64_t psn, term = world.pg.d.config.term;
    unsigned beacons = world.beacons;
    assert_int_equal(pg_propose(&world.pg, world.now_ns, "a change", &psn), ERR_OK);
    pg_resign(&world.pg, world.now_ns);
    pg_resign(&world.pg, world.now_ns);
    assert_int_equal(world.losses, 1);
    other_says(PG_ACK, psn, psn);
    persist(psn);
    assert_int_equal(world.pg.d.commit, 1);
    other_says(PG_BEACON_ACK, 0, 0);
    assert_false(pg_may_read(&world.pg, world.now_ns));
    for (unsigned i = 0; i < 50; i++) {
        tick_for(100 * NS_PER_MS);
        register_says();
    }
    assert_int_equal(world.swaps, 1);
    assert_int_equal(world.beacons, beacons);
    pg_stand(&world.pg, world.now_ns);
    tick_for(10 * NS_PER_MS);
    register_says();
    assert_int_equal(world.swaps, 2);
    swap_is_done();
    assert_int_equal(world.pg.role, PG_OPENING);
    assert_true(world.pg.d.config.term > term);
}

/* The swap keeps the term, in which others may have what is not on this disk. */
static void who_resigned_with_a_swap_under_way_takes_a_new_term(void **state)
{
    (void)state;
    lead();
    tick_for(2 * pg_times_default.silence_ns); /* the other is silent */
    assert_int_equal(world.swaps, 2);
    uint64_t term = world.pg.d.config.term;
    pg_resign(&world.pg, world.now_ns);
    pg_stand(&world.pg, world.now_ns);
    swap_is_done();
    assert_int_equal(world.pg.role, PG_FOLLOWER);
    assert_int_equal(world.pg.d.config.in_sync, 1u << SELF);
    tick_for(10 * NS_PER_MS);
    register_says();
    assert_int_equal(world.swaps, 3);
    swap_is_done();
    assert_int_equal(world.pg.role, PG_OPENING);
    assert_true(world.pg.d.config.term > term);
}

static void who_has_resigned_does_not_take_over(void **state)
{
    (void)state;
    start(OTHER, &(struct pg_log){0});
    pg_resign(&world.pg, world.now_ns);
    tick_for(3 * NS_PER_SECOND); /* the primary is silent */
    assert_int_equal(world.swaps, 0);
    pg_stand(&world.pg, world.now_ns);
    tick_for(NS_PER_SECOND);
    assert_int_equal(world.swaps, 1);
    pg_resign(&world.pg, world.now_ns);
    swap_is_done();
    assert_int_equal(world.pg.role, PG_FOLLOWER);
    assert_int_equal(world.appended, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_replica_that_had_nothing_to_do_is_not_stuck),
        cmocka_unit_test(a_replica_that_answers_and_gets_nowhere_is_taken_out),
        cmocka_unit_test(who_takes_over_keeps_what_is_on_its_disk),
        cmocka_unit_test(who_leads_anew_begins_behind_what_is_on_its_disk),
        cmocka_unit_test(nobody_leads_anew_while_a_swap_is_under_way),
        cmocka_unit_test(who_resigns_leaves_the_group_to_others_until_it_stands),
        cmocka_unit_test(who_resigned_with_a_swap_under_way_takes_a_new_term),
        cmocka_unit_test(who_has_resigned_does_not_take_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
