#include "tests/unit/path_fixture.h"

#include "api/http/conn.h"
#include "api/http/zero_copy.h"

/*
 * Zero-copy sends chosen by themselves: whom they are tried with, what is learned, what a receipt
 * and a requirement then mean. The peers are on loopback, where the kernel always copies; one that
 * is bound to 127.0.0.2 is not known to be there.
 */

/* ---- what is known of a peer ---- */

static void a_send_tells_what_a_peer_is(void **state)
{
    static const struct {
        enum zero_copy_peer before;
        enum ring_usage usage;
        enum zero_copy_peer after;
    } rows[] = {
        {ZERO_COPY_UNKNOWN, RING_USAGE_ZERO_COPY, ZERO_COPY_WORKS},
        {ZERO_COPY_UNKNOWN, RING_USAGE_COPIED, ZERO_COPY_COPIED},
        {ZERO_COPY_UNKNOWN, RING_USAGE_UNKNOWN, ZERO_COPY_UNKNOWN},
        {ZERO_COPY_WORKS, RING_USAGE_ZERO_COPY, ZERO_COPY_WORKS},
        {ZERO_COPY_WORKS, RING_USAGE_COPIED, ZERO_COPY_COPIED},
        {ZERO_COPY_WORKS, RING_USAGE_UNKNOWN, ZERO_COPY_WORKS},
        {ZERO_COPY_COPIED, RING_USAGE_ZERO_COPY, ZERO_COPY_COPIED},
        {ZERO_COPY_COPIED, RING_USAGE_COPIED, ZERO_COPY_COPIED},
        {ZERO_COPY_COPIED, RING_USAGE_UNKNOWN, ZERO_COPY_COPIED},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        assert_int_equal(zero_copy_after(rows[i].before, rows[i].usage), rows[i].after);
}

static void a_small_send_said_to_be_copied_fared_as_those_before(void **state)
{
    static const struct {
        enum zero_copy_peer state;
        enum ring_usage told;
        uint64_t size;
        enum ring_usage judged;
    } rows[] = {
        {ZERO_COPY_UNKNOWN, RING_USAGE_COPIED, KIB(64), RING_USAGE_UNKNOWN},
        {ZERO_COPY_UNKNOWN, RING_USAGE_COPIED, KIB(64) + 1, RING_USAGE_COPIED},
        {ZERO_COPY_WORKS, RING_USAGE_COPIED, 1, RING_USAGE_ZERO_COPY},
        {ZERO_COPY_WORKS, RING_USAGE_COPIED, KIB(64) + 1, RING_USAGE_COPIED},
        {ZERO_COPY_COPIED, RING_USAGE_COPIED, 1, RING_USAGE_COPIED},
        {ZERO_COPY_UNKNOWN, RING_USAGE_ZERO_COPY, 1, RING_USAGE_ZERO_COPY},
        {ZERO_COPY_COPIED, RING_USAGE_ZERO_COPY, 1, RING_USAGE_ZERO_COPY},
        {ZERO_COPY_UNKNOWN, RING_USAGE_UNKNOWN, MIB(1), RING_USAGE_UNKNOWN},
        {ZERO_COPY_WORKS, RING_USAGE_UNKNOWN, 1, RING_USAGE_UNKNOWN},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        assert_int_equal(zero_copy_judge(rows[i].state, rows[i].told, rows[i].size),
                         rows[i].judged);
}

/* The server's end of a connection from that address; the client's is left in *ret_client. */
static int accepted_from(const char *address, int *ret_client)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in from = {.sin_family = AF_INET};
    socklen_t size = sizeof to;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(inet_pton(AF_INET, address, &from.sin_addr), 1);
    assert_int_equal(bind(listener, (struct sockaddr *)&to, sizeof to), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&to, &size), 0);
    *ret_client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(*ret_client, (struct sockaddr *)&from, sizeof from), 0);
    assert_int_equal(connect(*ret_client, (struct sockaddr *)&to, sizeof to), 0);
    int accepted = accept(listener, NULL, NULL);
    assert_true(accepted >= 0);
    close(listener);
    return accepted;
}

static void peers_are_remembered_by_address_and_for_a_while(void **state)
{
    struct zero_copy_table *table = calloc(1, sizeof *table);
    int clients[3],
        fds[3] = {accepted_from("127.0.0.1", &clients[0]), accepted_from("127.0.0.2", &clients[1]),
                  accepted_from("127.0.0.2", &clients[2])};
    assert_int_equal(zero_copy_find(table, fds[0], 1), ZERO_COPY_COPIED); /* our own address */
    assert_int_equal(zero_copy_find(table, fds[1], 1), ZERO_COPY_UNKNOWN);
    zero_copy_remember(table, fds[1], ZERO_COPY_WORKS, 1);
    assert_int_equal(zero_copy_find(table, fds[2], 2), ZERO_COPY_WORKS);
    assert_int_equal(zero_copy_find(table, fds[2], ZERO_COPY_REMEMBER_NS), ZERO_COPY_WORKS);
    assert_int_equal(zero_copy_find(table, fds[2], 1 + ZERO_COPY_REMEMBER_NS), ZERO_COPY_UNKNOWN);
    zero_copy_remember(table, fds[2], ZERO_COPY_COPIED, 5);
    assert_int_equal(zero_copy_find(table, fds[1], 6), ZERO_COPY_COPIED);

    /* another peer, wherever its place is, is never taken for this one */
    for (unsigned i = 3; i < 200; i++) {
        char address[20];
        int client;
        snprintf(address, sizeof address, "127.0.1.%u", i);
        int fd = accepted_from(address, &client);
        assert_int_equal(zero_copy_find(table, fd, 6), ZERO_COPY_UNKNOWN);
        zero_copy_remember(table, fd, ZERO_COPY_WORKS, 6);
        assert_int_equal(zero_copy_find(table, fd, 6), ZERO_COPY_WORKS);
        close(fd);
        close(client);
    }
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0); /* no address to know it by */
    assert_int_equal(zero_copy_find(table, pair[0], 6), ZERO_COPY_COPIED);
    for (int i = 0; i < 3; i++) {
        close(fds[i]);
        close(clients[i]);
    }
    close(pair[0]);
    close(pair[1]);
    free(table);
}

/* ---- a running server ---- */

static bool is_possible;

static void find_out(const struct fixture *f)
{
    struct ring *ring = loop_ring(f->loops[0]);
    is_possible =
        ring_has_zero_copy(ring) && ring_tells_usage(ring) && ring_has_fixed_buffers(ring);
}

static void open_from(struct client *c, const struct fixture *f, const char *address)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(f->port)};
    struct sockaddr_in from = {.sin_family = AF_INET};
    struct timeval timeout = {.tv_sec = 15};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(inet_pton(AF_INET, address, &from.sin_addr), 1);
    *c = (struct client){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    assert_int_equal(bind(c->fd, (struct sockaddr *)&from, sizeof from), 0);
    assert_int_equal(connect(c->fd, (struct sockaddr *)&to, sizeof to), 0);
}

static void ask(struct client *c, uint64_t size, const char *headers)
{
    char text[300];
    snprintf(text, sizeof text, "GET /object?0-%llur HTTP/1.1\r\nHost: h\r\n%s\r\n",
             (unsigned long long)size, headers);
    client_say(c, text);
}

#define DIRECT "x-sluice-path: direct\r\n"

static void get_with_copies(struct client *c, uint64_t size, const char *copies)
{
    struct response r;
    char expected[40];
    snprintf(expected, sizeof expected, "\r\nx-sluice-copies: %s\r\n", copies);
    ask(c, size, DIRECT);
    assert_true(client_read(c, &r, true));
    assert_int_equal(r.size, size);
    assert_memory_equal(r.body, fake_object->bytes, size);
    if (strstr(r.head, expected) == NULL)
        print_error("wanted %s copies: %s\n", copies, r.head);
    assert_non_null(strstr(r.head, expected));
    response_free(&r);
}

static int64_t tried(void)
{
    return counted("sluice_http_zero_copy_bytes_total{kernel=\"copied\"} ") +
           counted("sluice_http_zero_copy_bytes_total{kernel=\"sent\"} ") +
           counted("sluice_http_zero_copy_bytes_total{kernel=\"silent\"} ");
}

/* Whether the counter gets there: the last notice comes with the client's acknowledgement. */
static bool reaches(int64_t (*value)(void), int64_t wanted)
{
    for (int i = 0; i < 10000 && value() < wanted; i++)
        usleep(1000);
    return value() >= wanted;
}

static int64_t copied(void)
{
    return counted("sluice_http_copied_bytes_total{path=\"direct\"} ");
}

/* Each byte, sent either way, is copied once here, and has been counted everywhere when it is
 * counted so: a client has the last ones before the worker has counted them. */
static void expect_copied(int64_t wanted)
{
    assert_true(reaches(copied, wanted));
    assert_int_equal(copied(), wanted);
}

static void a_peer_is_tried_once(void **state)
{
    struct fixture *f = *state;
    struct client c;
    int64_t before = tried(), bytes = copied();
    open_from(&c, f, "127.0.0.2");
    find_out(f);
    get_with_copies(&c, ZERO_COPY_BYTES_MIN - 1, "1");
    expect_copied(bytes += ZERO_COPY_BYTES_MIN - 1);
    assert_int_equal(tried(), before);    /* not worth it */
    get_with_copies(&c, FILE_BYTES, "1"); /* nothing is known yet, so nothing is promised */
    expect_copied(bytes += FILE_BYTES);
    int64_t after = tried();
    if (is_possible)
        assert_in_range(after - before, 1, FILE_BYTES);
    else
        assert_int_equal(after, before);
    get_with_copies(&c, FILE_BYTES, "1"); /* what is known is not tried again */
    expect_copied(bytes += FILE_BYTES);
    assert_int_equal(tried(), after);
    client_close(&c);

    client_open(&c, f); /* from our own address */
    get_with_copies(&c, FILE_BYTES, "1");
    expect_copied(bytes += FILE_BYTES);
    assert_int_equal(tried(), after);
    client_close(&c);
}

struct seed {
    struct loop_msg msg;
    struct worker *worker;
    int fd;
    _Atomic bool is_sown;
};

static void sow(struct loop_msg *msg)
{
    struct seed *seed = CONTAINER_OF(msg, struct seed, msg);
    zero_copy_remember(&seed->worker->zero_copy, seed->fd, ZERO_COPY_WORKS,
                       loop_now_ns(seed->worker->loop));
    seed->is_sown = true;
}

/* Lets all workers believe that 127.0.0.2 is behind a network card. */
static void believe(const struct fixture *f)
{
    int client, fd = accepted_from("127.0.0.2", &client);
    for (unsigned i = 0; i < WORKERS; i++) {
        struct worker *worker = &f->server->workers[i];
        struct seed seed = {.msg = {.deliver = sow}, .worker = worker, .fd = fd};
        loop_post(worker->loop, &seed.msg);
        while (!seed.is_sown)
            usleep(100);
    }
    close(fd);
    close(client);
}

static void a_receipt_tells_what_is_known(void **state)
{
    struct fixture *f = *state;
    struct client c;
    find_out(f);
    believe(f);
    open_from(&c, f, "127.0.0.2");
    get_with_copies(&c, FILE_BYTES, is_possible ? "0" : "1");
    get_with_copies(&c, FILE_BYTES, "1"); /* it was wrong, and the kernel said so */
    client_close(&c);
}

static int64_t cut(void)
{
    return counted("\nsluice_http_path_cut_total ") /* not its HELP line */;
}

static void what_is_required_ends_short_when_the_kernel_copies(void **state)
{
    struct fixture *f = *state;
    struct client c;
    struct response r;
    static const char headers[] = DIRECT "x-sluice-require-path: zerocopy\r\n";
    find_out(f);
    believe(f);
    int64_t before = cut();
    open_from(&c, f, "127.0.0.2");
    ask(&c, FILE_BYTES, headers);
    unsigned cuts = 0;
    for (; !client_read(&c, &r, true); cuts++) { /* now it is known, to one worker more */
        assert_in_range(cuts, 0, WORKERS - 1);
        assert_true(reaches(cut, before + cuts + 1));
        client_close(&c);
        open_from(&c, f, "127.0.0.2");
        ask(&c, FILE_BYTES, headers);
    }
    assert_true((cuts > 0) == is_possible);
    assert_int_equal(r.status, 200);
    assert_memory_equal(r.body, fake_object->bytes, FILE_BYTES); /* another path copies nothing */
    assert_non_null(strstr(r.head, "\r\nx-sluice-path: splice\r\n"));
    assert_non_null(strstr(r.head, "\r\nx-sluice-copies: 0\r\n"));
    response_free(&r);
    client_close(&c);
}

/* The end of the stream is not held back until the last byte is acknowledged, and a request behind
 * another is answered. */
static void the_end_and_the_next_request_do_not_wait(void **state)
{
    struct fixture *f = *state;
    struct client c;
    struct response r;
    believe(f);
    open_from(&c, f, "127.0.0.2");
    ask(&c, FILE_BYTES, DIRECT);
    ask(&c, 1 << 20, DIRECT "Connection: close\r\n");
    for (int i = 0; i < 2; i++) {
        assert_true(client_read(&c, &r, true));
        assert_int_equal(r.size, i ? 1 << 20 : FILE_BYTES);
        assert_memory_equal(r.body, fake_object->bytes, r.size);
        response_free(&r);
    }
    assert_true(client_is_at_end(&c));
    client_close(&c);
}

static bool all_ended(void)
{
    return begins == ends;
}

/* Cut in the middle by a drain: what the kernel holds comes back, or the arena would not close. */
static void a_drain_takes_back_what_is_not_acknowledged(void **state)
{
    struct fixture *f = *state;
    enum { CLIENTS = 4 };
    struct client *clients = calloc(CLIENTS, sizeof *clients);
    f->zero_copy = ZERO_COPY_ON;
    f->large_slots = 16 * WORKERS;
    fixture_start(f);
    for (int i = 0; i < CLIENTS; i++) {
        client_open(&clients[i], f);
        int small = 4096;
        setsockopt(clients[i].fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
        ask(&clients[i], FILE_BYTES, DIRECT);
    }
    usleep(100000);
    fixture_stop(f, 20 * NS_PER_MS);
    assert_true(all_ended());
    for (int i = 0; i < CLIENTS; i++)
        client_close(&clients[i]);
    free(clients);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_send_tells_what_a_peer_is),
        cmocka_unit_test(a_small_send_said_to_be_copied_fared_as_those_before),
        cmocka_unit_test(peers_are_remembered_by_address_and_for_a_while),
        RUNNING(a_peer_is_tried_once),
        RUNNING(a_receipt_tells_what_is_known),
        RUNNING(what_is_required_ends_short_when_the_kernel_copies),
        RUNNING(the_end_and_the_next_request_do_not_wait),
        STOPPED(a_drain_takes_back_what_is_not_acknowledged),
    };
    log_set_level(getenv("HTTP_TEST_LOG") ? LOG_INFO : LOG_ERROR);
    int failed = RUN_WITH(RING_AUTO, ZERO_COPY_AUTO, "zero-copy sends on io_uring", tests);
    return failed + RUN_WITH(RING_FORCE_POLL, ZERO_COPY_AUTO, "zero-copy sends on epoll", tests);
}
