#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* the four above first: cmocka wants them */
#include <cmocka.h>
#include <fcntl.h>

#include "transport_conformance.h"

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

int main(void)
{
    static char addresses[2][64];
    const char *given = getenv("SLUICE_RDMA_ADDRESSES");
    const struct CMUnitTest always[] = {
        cmocka_unit_test(without_a_device_verbs_says_why_and_auto_takes_tcp)};
    const struct CMUnitTest tests[] = {CONFORMANCE_TESTS};
    int failed = cmocka_run_group_tests_name("no device", always, NULL, NULL);
    if (given == NULL || sscanf(given, "%63s %63s", addresses[0], addresses[1]) != 2)
        return failed;
    conformance =
        (struct conformance_case){TRANSPORT_FORCE_VERBS, RING_AUTO, {addresses[0], addresses[1]}};
    return failed + cmocka_run_group_tests_name("verbs", tests, NULL, NULL);
}
