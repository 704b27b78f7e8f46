#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* the four above first: cmocka wants them */
#include <cmocka.h>
#include <fcntl.h>

#include "sluice_config.h"
#include "transport_conformance.h"

#ifdef SLUICE_RDMA
#include <infiniband/verbs.h>
#endif

/*
 * The same contract over RDMA. Needs two addresses of RDMA devices that reach each other, in
 * SLUICE_RDMA_ADDRESSES="10.0.0.1 10.0.0.2"; without them there is nothing to run on and all is
 * skipped, but for what a node without a device says. tests/lab runs it on soft-RoCE.
 */

static void without_a_device_verbs_says_why_and_auto_takes_tcp(void **state)
{
    conformance =
        (struct conformance_case){TRANSPORT_FORCE_VERBS, RING_AUTO, {"127.0.0.1", "127.0.0.1"}};
    struct pair *pair = calloc(1, sizeof *pair);
    assert_non_null(pair);
    node_open(&pair->nodes[0], 0);
    struct transport_options options = options_of(&pair->nodes[0], 0);
    struct err_trail trail = {0};
    struct transport *transport = NULL;
    assert_int_equal(transport_open(&options, &transport, &trail), ERR_UNSUPPORTED);
    assert_null(transport);
    assert_non_null(strstr(trail.text, "RDMA"));

    options.choice = TRANSPORT_AUTO;
    assert_int_equal(transport_open(&options, &pair->nodes[0].transport, &trail), ERR_OK);
    struct transport_status status;
    transport_status(pair->nodes[0].transport, &status);
    assert_int_equal(status.backend, TRANSPORT_TCP);
    assert_non_null(strstr(status.reason, "RDMA"));
    void *as_state = pair;
    node_open(&pair->nodes[1], 1);
    assert_int_equal(pair_tear_down(&as_state), 0);
}

#ifdef SLUICE_RDMA
/*
 * Completions that say something else than soft-RoCE ever would: whichever it is, of a send or a
 * receive, the connection ends on both sides, every write comes back once, and the next works.
 */
static void whatever_a_completion_says_the_connection_ends_well(void **state)
{
    static const struct {
        enum ibv_wc_status status;
        enum transport_end why;
        const char *sentence;
    } rows[] = {
        {IBV_WC_RETRY_EXC_ERR, END_TIMEOUT, "it stopped answering"},
        {IBV_WC_RNR_RETRY_EXC_ERR, END_BROKEN, "the connection failed"},
        {IBV_WC_WR_FLUSH_ERR, END_PEER_CLOSED, "it closed the connection"},
        {IBV_WC_LOC_LEN_ERR, END_BROKEN, "the connection failed"},
        {IBV_WC_LOC_PROT_ERR, END_BROKEN, "the connection failed"},
        {IBV_WC_REM_ACCESS_ERR, END_BROKEN, "the connection failed"},
        {IBV_WC_FATAL_ERR, END_BROKEN, "the connection failed"},
    };
    struct pair *pair = *state;
    struct node *from = &pair->nodes[0], *to = &pair->nodes[1];
    for (unsigned n = 0; n < COUNT_OF(rows) * LANE_COUNT * 2; n++) {
        unsigned row = n % COUNT_OF(rows), lane = n / COUNT_OF(rows) % LANE_COUNT;
        struct node *told = n / COUNT_OF(rows) / LANE_COUNT ? to : from; /* a receive, a send */
        from->granted = to->granted = 0;
        memset(from->writes, 0, WRITES_MAX * sizeof *from->writes);
        from->posted = from->written = 0;
        node_call(from, to);
        AWAIT(pair, from->granted == 1 && to->granted == 1);
        pump_for(pair, 20 * NS_PER_MS); /* the completions of the grants are through */
        told->faults.lanes[lane].wc_status = rows[row].status;
        told->faults.lanes[lane].wc_after = n % 2;
        for (unsigned i = 0; i < 20; i++) {
            if (lane == LANE_CTL)
                assert_int_equal(transport_ctl(from->peer, "something", 9), ERR_OK);
            else
                assert_int_equal(post(from, (enum transport_lane)lane, i % SLOTS, 64, 2), ERR_OK);
        }
        AWAIT(pair, from->downs == n + 1 && to->downs == n + 1);
        if (told->why != rows[row].why || strstr(told->sentence, rows[row].sentence) == NULL)
            fail_msg("status %d on lane %u: %s", rows[row].status, lane, told->sentence);
        for (unsigned i = 0; i < from->posted; i++)
            assert_int_equal(from->writes[i].runs, 1);
        from->faults = to->faults = (struct transport_faults)TRANSPORT_NO_FAULTS;
    }
    to->writes_wrong = to->ctl_wrong = 0; /* sources were shared */
}
#endif

int main(void)
{
    static char addresses[2][64];
    const char *given = getenv("SLUICE_RDMA_ADDRESSES");
    const struct CMUnitTest always[] = {
        cmocka_unit_test(without_a_device_verbs_says_why_and_auto_takes_tcp)};
    const struct CMUnitTest tests[] = {
        CONFORMANCE_TESTS,
#ifdef SLUICE_RDMA
        CONFORMANCE_TEST(whatever_a_completion_says_the_connection_ends_well),
#endif
    };
    int failed = cmocka_run_group_tests_name("no device", always, NULL, NULL);
    if (given == NULL || sscanf(given, "%63s %63s", addresses[0], addresses[1]) != 2)
        return failed;
    conformance =
        (struct conformance_case){TRANSPORT_FORCE_VERBS, RING_AUTO, {addresses[0], addresses[1]}};
    return failed + cmocka_run_group_tests_name("verbs", tests, NULL, NULL);
}
