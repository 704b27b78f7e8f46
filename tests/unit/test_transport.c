#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* the four above first: cmocka wants them */
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "replication/wire.h"
#include "transport_conformance.h"

/* What only TCP has: a byte stream that may be cut, damaged or dribbled, and anybody who connects.
 */

static void forget_the_last_life(struct pair *pair)
{
    for (int i = 0; i < 2; i++) {
        struct node *node = &pair->nodes[i];
        memset(node->writes, 0, WRITES_MAX * sizeof *node->writes);
        node->posted = node->written = node->granted = node->ctl_in = node->ups = node->downs = 0;
        memset(node->next_imm, 0, sizeof node->next_imm);
        memset(node->writes_in, 0, sizeof node->writes_in);
        node->faults = (struct transport_faults)TRANSPORT_NO_FAULTS;
    }
}

static void connect_again(struct pair *pair)
{
    forget_the_last_life(pair);
    node_call(&pair->nodes[0], &pair->nodes[1]);
    AWAIT(pair, pair->nodes[0].granted == 1 && pair->nodes[1].granted == 1);
}

static void every_boundary_is_met_by_short_reads_and_writes(void **state)
{
    struct pair *pair = *state;
    static const uint32_t limits[][2] = {{1, 0}, {0, 1}, {1, 1}, {31, 33}, {64, 7}, {5000, 4096}};
    for (size_t i = 0; i < COUNT_OF(limits); i++) {
        forget_the_last_life(pair);
        for (int n = 0; n < 2; n++) {
            pair->nodes[n].faults.send_max = limits[i][n];
            pair->nodes[n].faults.recv_max = limits[i][!n];
        }
        node_call(&pair->nodes[0], &pair->nodes[1]); /* the handshake too */
        AWAIT(pair, pair->nodes[0].granted == 1 && pair->nodes[1].granted == 1);
        send_ctl(pair, &pair->nodes[0], 20);
        for (unsigned n = 0; n < 6; n++) {
            assert_int_equal(post(&pair->nodes[0], LANE_META, n, 72, 4), ERR_OK);
            assert_int_equal(post(&pair->nodes[1], LANE_BULK, n, 600, 3), ERR_OK);
        }
        AWAIT(pair, pair->nodes[1].writes_in[LANE_META] == 6 &&
                        pair->nodes[0].writes_in[LANE_BULK] == 6 && pair->nodes[1].ctl_in == 20);
        AWAIT(pair, pair->nodes[0].written == 6 && pair->nodes[1].written == 6);
        settle(pair);
        transport_fence(pair->nodes[0].peer);
        AWAIT(pair, pair->nodes[0].downs == 1 && pair->nodes[1].downs == 1);
    }
}

static void a_stream_cut_at_any_byte_delivers_what_was_whole(void **state)
{
    struct pair *pair = *state;
    struct node *from = &pair->nodes[0], *to = &pair->nodes[1];
    unsigned frame = WIRE_HEAD_BYTES + 40;
    for (unsigned cut = 0; cut <= 2 * frame; cut++) {
        connect_again(pair);
        from->faults.lanes[LANE_META].cut_at = cut;
        for (unsigned i = 0; i < 3; i++)
            assert_int_equal(post(from, LANE_META, i, 40, 1 + i), ERR_OK);
        AWAIT(pair, from->downs == 1 && to->downs == 1);
        assert_int_equal(to->writes_in[LANE_META], cut / frame);
        assert_int_equal(from->written_failed, from->written - cut / frame);
        from->written_failed = 0;
        settle(pair);
    }
}

static void every_damaged_byte_of_ours_is_noticed(void **state)
{
    struct pair *pair = *state;
    struct node *from = &pair->nodes[0], *to = &pair->nodes[1];
    for (unsigned at = 0; at < WIRE_HEAD_BYTES; at++) {
        connect_again(pair);
        from->faults.lanes[LANE_META].corrupt_at = at;
        assert_int_equal(post(from, LANE_META, 1, 64, 2), ERR_OK);
        AWAIT(pair, from->downs == 1 && to->downs == 1);
        assert_int_equal(to->why, END_PROTOCOL);
        assert_int_equal(to->writes_in[LANE_META], 0);
        assert_true(landing_is_untouched(to));
    }
    for (unsigned at = 0; at < WIRE_HEAD_BYTES + 8; at++) {
        connect_again(pair);
        struct transport_lane_counts counts[LANE_COUNT];
        transport_peer_counts(from->peer, counts);
        from->faults.lanes[LANE_CTL].corrupt_at = counts[LANE_CTL].sent_bytes + at;
        assert_int_equal(transport_ctl(from->peer, "\0\0\0\0\0\0\0\b", 8), ERR_OK);
        AWAIT(pair, from->downs == 1 && to->downs == 1);
        assert_int_equal(to->why, END_PROTOCOL);
        assert_int_equal(to->ctl_in, 0);
    }
}

static void be_of_another_connection(struct transport_lane_faults *faults)
{
    faults->wrong_gen = true;
}
static void a_write_of_another_connection_changes_nothing(void **state)
{
    refused_by_the_target(state, be_of_another_connection);
}

static void poll_busily(struct transport_options *options)
{
    options->busy_poll_ns = 2 * NS_PER_MS;
}
static void a_loop_that_polls_busily_delivers_the_same_and_sleeps_again(void **state)
{
    struct pair *pair = *state;
    reopen(pair, 0, poll_busily);
    reopen(pair, 1, poll_busily);
    connect_again(pair);
    send_ctl(pair, &pair->nodes[0], 100);
    post_all(pair, &pair->nodes[0], LANE_META, 14, 64, 2);
    AWAIT(pair, pair->nodes[1].ctl_in == 100 && pair->nodes[1].writes_in[LANE_META] == 14);
    /* Idle now: after its time a turn waits as long as it is let. */
    bool slept = false;
    for (unsigned i = 0; i < 10000 && !slept; i++) {
        uint64_t before = now_ns();
        loop_run_once(pair->nodes[1].loop, 5 * NS_PER_MS);
        slept = now_ns() - before >= 5 * NS_PER_MS;
    }
    assert_true(slept);
}

/* ---- strangers ---- */

static int raw_connect(const struct node *node)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&node->address, sizeof node->address), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

/* What comes until the end; -1 when it does not end in time. */
static ssize_t raw_read(struct pair *pair, int fd, uint8_t *out, size_t size)
{
    size_t have = 0;
    for (uint64_t until = now_ns() + WAIT_NS; now_ns() < until; pump(pair)) {
        ssize_t got = recv(fd, out + have, size - have, 0);
        if (got == 0 || (got < 0 && errno != EAGAIN))
            return (ssize_t)have;
        have += got > 0 ? (size_t)got : 0;
    }
    return -1;
}

static size_t frame(uint8_t *out, enum wire_op op, const void *body, uint32_t size)
{
    struct wire_head head = {.op = (uint8_t)op, .size = size};
    memcpy(out + WIRE_HEAD_BYTES, body, size);
    wire_head_encode(&head, out + WIRE_HEAD_BYTES, out);
    return WIRE_HEAD_BYTES + size;
}

static void strangers_get_nothing_and_are_counted(void **state)
{
    struct pair *pair = *state;
    struct node *node = &pair->nodes[1];
    uint8_t frames[6][WIRE_MESSAGE_BYTES] = {{0}}, zero[200] = {0}, attach[WIRE_ATTACH_BYTES] = {0};
    uint8_t write[WIRE_HEAD_BYTES + 8] = {0}, version[4];
    put_le32(attach + 8, LANE_BULK);
    put_le32(version, WIRE_VERSION);
    wire_head_encode(&(struct wire_head){.op = OP_WRITE, .lane = LANE_BULK, .size = 8}, NULL,
                     write);
    const struct {
        const void *data;
        size_t size;
        const char *sentence;
    } rows[] = {
        {"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 35, "is no Sluice node"},
        {zero, sizeof zero, "is no Sluice node"},
        {write, sizeof write, "is no Sluice node"},
        {frames[0], frame(frames[0], OP_ATTACH, attach, sizeof attach), "not its own"},
        {frames[1], frame(frames[1], OP_ATTACH, attach, 5), "not its own"},
        {frames[2], frame(frames[2], OP_CTL, "hi", 2), "is no Sluice node"},
        {frames[3], frame(frames[3], OP_HELLO, version, 4), "something else"},
        {frames[4], frame(frames[4], OP_HELLO, "", 0), "something else"},
        {"", 0, "did not say"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        int fd = raw_connect(node);
        unsigned away = node->turned_away;
        assert_int_equal(send(fd, rows[i].data, rows[i].size, MSG_NOSIGNAL), rows[i].size);
        if (rows[i].size == 0)
            assert_int_equal(shutdown(fd, SHUT_WR), 0);
        AWAIT(pair, node->turned_away == away + 1);
        if (strstr(node->sentence, rows[i].sentence) == NULL)
            fail_msg("row %zu: %s", i, node->sentence);
        uint8_t answer[16];
        assert_int_equal(raw_read(pair, fd, answer, sizeof answer), 0);
        (void)close(fd);
    }
    assert_int_equal(node->ups, 0);
    struct transport_counts counts;
    transport_counts(node->transport, &counts);
    assert_true(counts.ends[END_PROTOCOL] >= COUNT_OF(rows) - 1);
}

static void another_version_is_told_ours(void **state)
{
    struct pair *pair = *state;
    struct node *node = &pair->nodes[1];
    uint8_t out[WIRE_MESSAGE_BYTES], answer[WIRE_MESSAGE_BYTES];
    int fd = raw_connect(node);
    size_t size = frame(out, OP_HELLO, "\7\0\0\0 and whatever a later version says", 36);
    assert_int_equal(send(fd, out, size, MSG_NOSIGNAL), size);
    ssize_t got = raw_read(pair, fd, answer, sizeof answer);
    assert_int_equal(got, WIRE_HEAD_BYTES + 8);
    assert_int_equal(answer[2], OP_REFUSE);
    assert_int_equal(get_le32(answer + WIRE_HEAD_BYTES), REFUSED_VERSION);
    assert_int_equal(get_le32(answer + WIRE_HEAD_BYTES + 4), WIRE_VERSION);
    (void)close(fd);
    AWAIT(pair, node->turned_away == 1);
    assert_non_null(strstr(node->sentence, "version 7"));
}

static void silent_strangers_are_shown_out_and_keep_nobody_out_for_long(void **state)
{
    struct pair *pair = *state;
    struct node *node = &pair->nodes[1];
    int fds[24];
    for (size_t i = 0; i < COUNT_OF(fds); i++)
        fds[i] = raw_connect(node);
    struct transport_counts counts = {0};
    for (uint64_t until = now_ns() + WAIT_NS; counts.refused < COUNT_OF(fds) && now_ns() < until;) {
        pump(pair);
        transport_counts(node->transport, &counts);
    }
    assert_int_equal(counts.refused, COUNT_OF(fds));
    assert_int_equal(node->why, END_TIMEOUT);
    for (size_t i = 0; i < COUNT_OF(fds); i++) {
        uint8_t byte;
        assert_int_equal(raw_read(pair, fds[i], &byte, 1), 0);
        (void)close(fds[i]);
    }
    connect_again(pair);
}

static void one_who_listens_and_says_nothing_is_given_up(void **state)
{
    struct pair *pair = *state;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    struct transport_peer *peer;
    assert_int_equal(
        transport_connect(pair->nodes[0].transport, (struct sockaddr *)&address, size, &peer, NULL),
        ERR_OK);
    AWAIT(pair, pair->nodes[0].downs == 1);
    assert_int_equal(pair->nodes[0].why, END_TIMEOUT);
    assert_non_null(strstr(pair->nodes[0].sentence, "did not finish the handshake in time"));
    (void)close(fd);
}

/* No descriptor is left: the caller waits in the listener's queue, and is taken when there is one.
 */
static void who_calls_when_descriptors_are_out_is_taken_later(void **state)
{
    struct pair *pair = *state;
    struct node *node = &pair->nodes[1];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), next = dup(fd);
    struct rlimit limit, none;
    assert_true(fd >= 0 && next >= 0);
    (void)close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = (struct rlimit){.rlim_cur = (rlim_t)next, .rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    struct transport_peer *peer;
    enum err called = transport_connect(pair->nodes[0].transport, (struct sockaddr *)&node->address,
                                        sizeof node->address, &peer, NULL);
    int connected = connect(fd, (const struct sockaddr *)&node->address, sizeof node->address);
    ssize_t sent = send(fd, "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 35, MSG_NOSIGNAL);
    pump_for(pair, 250 * NS_PER_MS); /* tried again and again */
    unsigned away = node->turned_away;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(called, ERR_BUSY);
    assert_int_equal(connected, 0);
    assert_int_equal(sent, 35);
    assert_int_equal(away, 0);
    AWAIT(pair, node->turned_away == 1);
    assert_non_null(strstr(node->sentence, "is no Sluice node"));
    (void)close(fd);
    connect_again(pair);
}

static void an_address_in_use_is_said(void **state)
{
    struct pair *pair = *state;
    struct transport_options options = options_of(&pair->nodes[0], 0);
    options.address = (const struct sockaddr *)&pair->nodes[1].address;
    struct transport *transport = NULL;
    struct err_trail trail = {0};
    assert_int_equal(transport_open(&options, &transport, &trail), ERR_IN_USE);
    assert_null(transport);
    assert_non_null(strstr(trail.text, "listen on 127.0.0.1:"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONFORMANCE_TESTS,
        CONFORMANCE_TEST(every_boundary_is_met_by_short_reads_and_writes),
        CONFORMANCE_TEST(a_stream_cut_at_any_byte_delivers_what_was_whole),
        CONFORMANCE_TEST(every_damaged_byte_of_ours_is_noticed),
        CONFORMANCE_TEST(a_write_of_another_connection_changes_nothing),
        CONFORMANCE_TEST(a_loop_that_polls_busily_delivers_the_same_and_sleeps_again),
        CONFORMANCE_TEST(strangers_get_nothing_and_are_counted),
        CONFORMANCE_TEST(another_version_is_told_ours),
        CONFORMANCE_TEST(silent_strangers_are_shown_out_and_keep_nobody_out_for_long),
        CONFORMANCE_TEST(one_who_listens_and_says_nothing_is_given_up),
        CONFORMANCE_TEST(who_calls_when_descriptors_are_out_is_taken_later),
        CONFORMANCE_TEST(an_address_in_use_is_said),
    };
    int failed = 0;
    conformance =
        (struct conformance_case){TRANSPORT_FORCE_TCP, RING_AUTO, {"127.0.0.1", "127.0.0.1"}};
    failed += cmocka_run_group_tests_name("TCP, io_uring", tests, NULL, NULL);
    conformance.ring = RING_FORCE_POLL;
    failed += cmocka_run_group_tests_name("TCP, epoll", tests, NULL, NULL);
    return failed;
}
