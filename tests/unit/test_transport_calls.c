#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* the four above first: cmocka wants them */
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>

#include "sluice_config.h"
#include "transport_fixture.h"

#ifdef SLUICE_RDMA
#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>
#undef ibv_reg_mr
#endif

/*
 * Every call of the library, the kernel and the adapter's library that opening a transport, calling
 * and being called make fails once, by its number; the linker puts ours in their place ('wrap' in
 * meson.build). Over TCP, and over RDMA where SLUICE_RDMA_ADDRESSES names two addresses of devices.
 */

static struct {
    bool is_armed, has_fired;
    unsigned nth, calls;
    const char *name; /* of the one that failed */
} fault;

static void arm(unsigned nth)
{
    fault.is_armed = true;
    fault.has_fired = false;
    fault.nth = nth;
    fault.calls = 0;
    fault.name = "none";
}

/* The calls that fail, and how. */
static bool fails(const char *name, int errnum)
{
    if (!fault.is_armed || ++fault.calls != fault.nth)
        return false;
    fault.has_fired = true;
    fault.name = name;
    errno = errnum;
    return true;
}

#define WRAP(type, name, on_failure, errnum, parameters, arguments)                                \
    type __real_##name parameters;                                                                 \
    type __wrap_##name parameters;                                                                 \
    type __wrap_##name parameters                                                                  \
    {                                                                                              \
        return fails(#name, errnum) ? (on_failure) : __real_##name arguments;                      \
    }

WRAP(void *, malloc, NULL, ENOMEM, (size_t size), (size))
WRAP(void *, calloc, NULL, ENOMEM, (size_t count, size_t size), (count, size))
WRAP(void *, aligned_alloc, NULL, ENOMEM, (size_t alignment, size_t size), (alignment, size))
WRAP(int, socket, -1, ENOBUFS, (int family, int type, int protocol), (family, type, protocol))
WRAP(int, bind, -1, EADDRNOTAVAIL, (int fd, const struct sockaddr *address, socklen_t size),
     (fd, address, size))
WRAP(int, listen, -1, EADDRINUSE, (int fd, int backlog), (fd, backlog))
WRAP(int, connect, -1, ENETUNREACH, (int fd, const struct sockaddr *address, socklen_t size),
     (fd, address, size))
WRAP(int, setsockopt, -1, ENOPROTOOPT,
     (int fd, int level, int option, const void *value, socklen_t size),
     (fd, level, option, value, size))
WRAP(int, getsockopt, -1, ENOBUFS, (int fd, int level, int option, void *value, socklen_t *size),
     (fd, level, option, value, size))
WRAP(int, getsockname, -1, ENOBUFS, (int fd, struct sockaddr *address, socklen_t *size),
     (fd, address, size))
WRAP(int, getpeername, -1, ENOTCONN, (int fd, struct sockaddr *address, socklen_t *size),
     (fd, address, size))
#ifdef SLUICE_RDMA
WRAP(struct ibv_mr *, ibv_reg_mr, NULL, ENOMEM,
     (struct ibv_pd * domain, void *data, size_t size, int access), (domain, data, size, access))
WRAP(struct ibv_mr *, ibv_reg_mr_iova2, NULL, ENOMEM,
     (struct ibv_pd * domain, void *data, size_t size, uint64_t iova, unsigned access),
     (domain, data, size, iova, access))
WRAP(struct ibv_pd *, ibv_alloc_pd, NULL, ENOMEM, (struct ibv_context * device), (device))
WRAP(struct ibv_comp_channel *, ibv_create_comp_channel, NULL, EMFILE,
     (struct ibv_context * device), (device))
WRAP(struct ibv_cq *, ibv_create_cq, NULL, EINVAL,
     (struct ibv_context * device, int size, void *context, struct ibv_comp_channel *channel,
      int vector),
     (device, size, context, channel, vector))
WRAP(struct rdma_event_channel *, rdma_create_event_channel, NULL, ENODEV, (void), ())
WRAP(int, rdma_create_id, -1, ENODEV,
     (struct rdma_event_channel * channel, struct rdma_cm_id **id, void *context,
      enum rdma_port_space space),
     (channel, id, context, space))
WRAP(int, rdma_bind_addr, -1, EADDRNOTAVAIL, (struct rdma_cm_id * id, struct sockaddr *address),
     (id, address))
WRAP(int, rdma_listen, -1, EADDRINUSE, (struct rdma_cm_id * id, int backlog), (id, backlog))
WRAP(int, rdma_set_option, -1, ENOSYS,
     (struct rdma_cm_id * id, int level, int name, void *value, size_t size),
     (id, level, name, value, size))
WRAP(int, rdma_resolve_addr, -1, ENETUNREACH,
     (struct rdma_cm_id * id, struct sockaddr *from, struct sockaddr *to, int timeout_ms),
     (id, from, to, timeout_ms))
WRAP(int, rdma_resolve_route, -1, ENETUNREACH, (struct rdma_cm_id * id, int timeout_ms),
     (id, timeout_ms))
WRAP(int, rdma_create_qp, -1, ENOMEM,
     (struct rdma_cm_id * id, struct ibv_pd *domain, struct ibv_qp_init_attr *attributes),
     (id, domain, attributes))
WRAP(int, rdma_connect, -1, ECONNREFUSED,
     (struct rdma_cm_id * id, struct rdma_conn_param *parameters), (id, parameters))
WRAP(int, rdma_accept, -1, ENOMEM, (struct rdma_cm_id * id, struct rdma_conn_param *parameters),
     (id, parameters))
#endif

static unsigned fds_open(void)
{
    unsigned count = 0;
    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

#define CALLS_MAX 200u /* more than any of these make */

static void a_transport_that_cannot_be_opened_leaves_nothing_behind(void **state)
{
    struct pair *pair = *state;
    struct node *node = &pair->nodes[0];
    node_close_transport(pair, node);
    struct transport_options options = options_of(node, 0);
    unsigned fds = fds_open(), failed = 0, nth = 1;
    for (; nth < CALLS_MAX; nth++) {
        struct err_trail trail = {0};
        arm(nth);
        enum err e = transport_open(&options, &node->transport, &trail);
        fault.is_armed = false;
        if (e == ERR_OK) { /* it can do without that one, or there was none left */
            node_close_transport(pair, node);
            if (!fault.has_fired)
                break;
            continue;
        }
        if (!fault.has_fired)
            fail_msg("call %u did not fail, and yet: %s", nth, trail.text);
        failed++;
        assert_null(node->transport);
        if (strstr(trail.text, "open the peer transport: ") == NULL)
            fail_msg("when %s fails: \"%s\"", fault.name, trail.text);
        if (fds_open() != fds)
            fail_msg("a descriptor is left when %s fails", fault.name);
    }
    assert_in_range(nth, 5, CALLS_MAX - 1);
    assert_in_range(failed, 5, nth);
    node_listen(node, &options);
    connected(state);
}

/* Both sides live in this process: calls of the caller and of the called fail in turn. */
static void a_connection_that_cannot_be_made_ends_and_the_next_is_made(void **state)
{
    struct pair *pair = *state;
    struct node *from = &pair->nodes[0], *to = &pair->nodes[1];
    unsigned failed = 0, nth = 1;
    from->grants_may_fail = to->grants_may_fail = true;
    for (; nth < CALLS_MAX; nth++) {
        struct err_trail trail = {0};
        unsigned downs = from->downs;
        from->granted = to->granted = 0;
        arm(nth);
        enum err e = transport_connect(from->transport, (const struct sockaddr *)&to->address,
                                       sizeof to->address, &from->peer, &trail);
        if (e == ERR_OK)
            AWAIT(pair, from->downs > downs || (from->granted == 1 && to->granted == 1));
        fault.is_armed = false;
        if (e) {
            assert_true(fault.has_fired);
            assert_non_null(strstr(trail.text, "connect to "));
        } else if (from->downs > downs) {
            if (!fault.has_fired || from->sentence[0] == '\0')
                fail_msg("call %u (%s): \"%s\"", nth, fault.name, from->sentence);
        } else {
            transport_fence(from->peer);
        }
        failed += e != ERR_OK || from->downs > downs;
        AWAIT(pair, e != ERR_OK || from->downs == downs + 1);
        AWAIT(pair, to->downs == to->ups); /* what came up there is gone again */
        downs = from->downs;
        unsigned to_downs = to->downs;
        from->granted = to->granted = 0;
        node_call(from, to);
        AWAIT(pair, from->granted == 1 && to->granted == 1);
        transport_fence(from->peer);
        AWAIT(pair, from->downs == downs + 1 && to->downs == to_downs + 1);
        if (!fault.has_fired)
            break;
    }
    assert_in_range(nth, 5, CALLS_MAX - 1);
    assert_in_range(failed, 3, nth);
}

#define CALLS_TEST(name) cmocka_unit_test_setup_teardown(name, pair_set_up, pair_tear_down)

int main(void)
{
    static char addresses[2][64];
    const char *given = getenv("SLUICE_RDMA_ADDRESSES");
    const struct CMUnitTest tests[] = {
        CALLS_TEST(a_transport_that_cannot_be_opened_leaves_nothing_behind),
        CALLS_TEST(a_connection_that_cannot_be_made_ends_and_the_next_is_made),
    };
    if (given != NULL && sscanf(given, "%63s %63s", addresses[0], addresses[1]) == 2) {
        conformance = (struct conformance_case){
            TRANSPORT_FORCE_VERBS, RING_AUTO, {addresses[0], addresses[1]}};
        return cmocka_run_group_tests_name("verbs", tests, NULL, NULL);
    }
    conformance =
        (struct conformance_case){TRANSPORT_FORCE_TCP, RING_AUTO, {"127.0.0.1", "127.0.0.1"}};
    return cmocka_run_group_tests_name("TCP", tests, NULL, NULL);
}
