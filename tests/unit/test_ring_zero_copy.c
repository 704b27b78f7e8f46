#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* the four above first: cmocka wants them */
#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/ring.h"

/*
 * Zero-copy sends over loopback, where the kernel copies when the receiver gets the packet, but not
 * before: what waits in the sender's socket is held as it would be on a network card's way.
 */

struct fixture {
    struct arena *arena;
    struct ring *ring;
    int sender, receiver; /* a TCP connection; the sender does not block */
};

struct sending {
    struct ring_zero_copy send;
    int sents, releases;
    enum err e;
    uint32_t count;
    enum ring_usage usage;
};

static void was_sent(struct ring_zero_copy *send, enum err e, uint32_t count)
{
    struct sending *sending = CONTAINER_OF(send, struct sending, send);
    assert_int_equal(sending->sents, 0);
    assert_int_equal(sending->releases, 0);
    sending->sents++;
    sending->e = e;
    sending->count = count;
}

static void was_released(struct ring_zero_copy *send, enum ring_usage usage)
{
    struct sending *sending = CONTAINER_OF(send, struct sending, send);
    assert_int_equal(sending->sents, 1);
    assert_int_equal(sending->releases, 0);
    assert_false(ring_op_is_pending(&send->op));
    sending->releases++;
    sending->usage = usage;
}

static void submit(struct fixture *f, struct sending *sending, int fd, const void *data,
                   uint32_t size)
{
    *sending = (struct sending){.send = {.sent = was_sent, .released = was_released}};
    ring_send_zero_copy(f->ring, &sending->send, fd, data, size, 0);
    assert_int_equal(sending->sents, 0); /* never from inside the submitting function */
}

static void turn(struct fixture *f, int turns)
{
    for (int i = 0; i < turns; i++)
        ring_wait(f->ring, 5 * NS_PER_MS);
}

static void await(struct fixture *f, const int *runs)
{
    for (int i = 0; i < 1000 && *runs == 0; i++)
        ring_wait(f->ring, 10 * NS_PER_MS);
    assert_int_equal(*runs, 1);
}

static int connected_pair(int *ret_sender, int *ret_receiver)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) ||
        listen(listener, 1) || getsockname(listener, (struct sockaddr *)&address, &size))
        return -1;
    *ret_receiver = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (*ret_receiver < 0 || connect(*ret_receiver, (struct sockaddr *)&address, sizeof address))
        return -1;
    *ret_sender = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    (void)close(listener);
    return *ret_sender < 0 ? -1 : 0;
}

static struct fixture fixture;

static int set_up(void **state, enum ring_choice choice)
{
    struct fixture *f = *state = &fixture;
    *f = (struct fixture){.sender = -1, .receiver = -1};
    struct ring_options options = {.entries = 8, .choice = choice};
    struct err_trail trail = {0};
    if (arena_open(&(struct arena_options){.large_count = 4, .share_count = 1}, &f->arena))
        return -1;
    options.arena = f->arena;
    enum err e = ring_open(&options, &f->ring, &trail);
    if (e)
        print_message("no ring: %s\n", err_trail_text(&trail, e));
    return connected_pair(&f->sender, &f->receiver);
}

static int set_up_uring(void **state)
{
    return set_up(state, RING_FORCE_URING);
}

static int set_up_poll(void **state)
{
    return set_up(state, RING_FORCE_POLL);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    ring_close(f->ring);
    arena_close(f->arena);
    (void)close(f->sender);
    (void)close(f->receiver);
    return 0;
}

static struct fixture *need_zero_copy(void **state)
{
    struct fixture *f = *state;
    if (f->ring == NULL || !ring_has_zero_copy(f->ring))
        skip();
    return f;
}

static uint8_t byte_at(size_t at)
{
    return (uint8_t)(at * 2654435761u >> 24);
}

static void fill(uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        data[i] = byte_at(i);
}

/* Reads all there is, and what comes while the ring turns, until `size` bytes were seen. */
static void expect_bytes(struct fixture *f, size_t size)
{
    static uint8_t in[65536];
    for (size_t at = 0, tries = 0; at < size;) {
        assert_true(tries++ < 100000);
        ssize_t got = recv(f->receiver, in, sizeof in, MSG_DONTWAIT);
        for (ssize_t i = 0; i < got; i++)
            assert_int_equal(in[i], byte_at(at + (size_t)i));
        at += got > 0 ? (size_t)got : 0;
        if (got <= 0)
            ring_wait(f->ring, NS_PER_MS);
    }
}

static void bytes_are_sent_and_then_released(void **state)
{
    struct fixture *f = need_zero_copy(state);
    static uint8_t ordinary[40000];
    struct slot *slot = slot_take(arena_share(f->arena, 0), SLOT_LARGE);
    uint8_t *const memories[] = {ordinary, slot->data}; /* pinned for the send, and registered */
    for (size_t i = 0; i < COUNT_OF(memories); i++) {
        struct sending sending;
        fill(memories[i], sizeof ordinary);
        submit(f, &sending, f->sender, memories[i], sizeof ordinary);
        await(f, &sending.sents);
        assert_int_equal(sending.e, ERR_OK);
        assert_int_equal(sending.count, sizeof ordinary);
        expect_bytes(f, sizeof ordinary);
        await(f, &sending.releases);
        assert_int_equal(sending.usage,
                         ring_tells_usage(f->ring) ? RING_USAGE_COPIED : RING_USAGE_UNKNOWN);
    }
    slot_put(slot);
}

/* What the receiver does not take stays in the slot, held; every byte comes as it was. */
static void memory_is_held_until_the_reader_has_taken_it(void **state)
{
    struct fixture *f = need_zero_copy(state);
    enum { SENDS_MAX = 64 };
    static struct sending sendings[SENDS_MAX];
    struct slot *slot = slot_take(arena_share(f->arena, 0), SLOT_LARGE);
    fill(slot->data, slot->size);
    uint32_t at = 0, count = 0, held = 0;
    int room = 65536; /* so that a slot does not fit */
    assert_int_equal(setsockopt(f->sender, SOL_SOCKET, SO_SNDBUF, &room, sizeof room), 0);
    assert_int_equal(setsockopt(f->receiver, SOL_SOCKET, SO_RCVBUF, &room, sizeof room), 0);
    /* until a send waits for room in the socket */
    for (bool is_full = false; !is_full && at < slot->size; count++) {
        assert_in_range(count, 0, SENDS_MAX - 1);
        submit(f, &sendings[count], f->sender, slot->data + at, slot->size - at);
        for (int i = 0; i < 40 && sendings[count].sents == 0; i++)
            ring_wait(f->ring, 5 * NS_PER_MS);
        is_full = sendings[count].sents == 0;
        at += sendings[count].count;
    }
    assert_true(count > 1 && at < slot->size);
    for (uint32_t i = 0; i < count; i++)
        held += sendings[i].releases == 0;
    assert_true(held >= 2); /* the one that waits, and at least one that lies in the socket */

    struct sending *last = &sendings[count - 1];
    ring_cancel(f->ring, &sendings[0].send.op); /* it is sent: cancelling changes nothing */
    ring_cancel(f->ring, &last->send.op);
    await(f, &last->releases);
    assert_int_equal(last->e, ERR_CANCELLED);
    assert_int_equal(last->count, 0);
    expect_bytes(f, at);
    for (uint32_t i = 0; i < count; i++)
        await(f, &sendings[i].releases);
    slot_put(slot);
}

static void a_send_that_waits_goes_on_when_there_is_room(void **state)
{
    struct fixture *f = need_zero_copy(state);
    static char block[4096];
    static uint8_t data[30000];
    size_t full = 0;
    fill(data, sizeof data);
    for (ssize_t got; (got = send(f->sender, block, sizeof block, MSG_DONTWAIT)) > 0;)
        full += (size_t)got;
    struct sending sending;
    submit(f, &sending, f->sender, data, sizeof data);
    turn(f, 5);
    assert_int_equal(sending.sents, 0);
    for (ssize_t got; full > 0; full -= (size_t)got) {
        got = recv(f->receiver, block, full < sizeof block ? full : sizeof block, 0);
        assert_true(got > 0);
        ring_wait(f->ring, 0);
    }
    await(f, &sending.sents);
    assert_int_equal(sending.e, ERR_OK);
    expect_bytes(f, sending.count);
    await(f, &sending.releases);
}

/* The one way to get memory back from a reader that takes nothing. */
static void a_reset_gives_the_memory_back(void **state)
{
    struct fixture *f = need_zero_copy(state);
    static struct sending sendings[64];
    static const struct sockaddr nobody = {.sa_family = AF_UNSPEC};
    struct slot *slot = slot_take(arena_share(f->arena, 0), SLOT_LARGE);
    uint32_t count = 0;
    for (bool is_full = false; !is_full && count < COUNT_OF(sendings); count++) {
        submit(f, &sendings[count], f->sender, slot->data, slot->size);
        for (int i = 0; i < 40 && sendings[count].sents == 0; i++)
            ring_wait(f->ring, 5 * NS_PER_MS);
        is_full = sendings[count].sents == 0;
    }
    assert_int_equal(sendings[count - 1].sents, 0);
    assert_int_equal(sendings[count - 2].releases, 0);
    assert_int_equal(shutdown(f->sender, SHUT_RDWR), 0); /* ends what waits for room */
    await(f, &sendings[count - 1].releases);
    assert_int_equal(sendings[count - 1].e, ERR_PEER_CLOSED);
    assert_int_equal(sendings[count - 2].releases, 0); /* and nothing else */
    assert_int_equal(connect(f->sender, &nobody, sizeof nobody), 0);
    for (uint32_t i = 0; i < count; i++)
        await(f, &sendings[i].releases);
    slot_put(slot);
}

static void errors_are_told_and_the_memory_comes_back(void **state)
{
    struct fixture *f = need_zero_copy(state);
    static uint8_t data[5000];
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    assert_int_equal(shutdown(f->sender, SHUT_WR), 0);
    const struct {
        int fd;
        enum err expected;
    } rows[] = {
        {f->sender, ERR_PEER_CLOSED}, {pair[0], ERR_UNSUPPORTED}, {1 << 20, err_from_errno(EBADF)}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct sending sending;
        submit(f, &sending, rows[i].fd, data, sizeof data);
        await(f, &sending.releases);
        assert_int_equal(sending.count, 0);
        assert_int_equal(sending.e, rows[i].expected);
    }
    close(pair[0]);
    close(pair[1]);
}

static void many_more_sends_than_queue_entries_all_end(void **state)
{
    struct fixture *f = need_zero_copy(state);
    enum { COUNT = 100, SIZE = 1000 };
    static struct sending sendings[COUNT];
    static uint8_t data[COUNT * SIZE];
    fill(data, sizeof data);
    for (int i = 0; i < COUNT; i++)
        submit(f, &sendings[i], f->sender, data + i * SIZE, SIZE);
    /* The last stands in line outside of the kernel: it is not sent, and told so. */
    ring_cancel(f->ring, &sendings[COUNT - 1].send.op);
    for (int i = 0; i < COUNT; i++)
        await(f, &sendings[i].sents);
    expect_bytes(f, (COUNT - 1) * SIZE);
    for (int i = 0; i < COUNT; i++) {
        await(f, &sendings[i].releases);
        assert_int_equal(sendings[i].e, i < COUNT - 1 ? ERR_OK : ERR_CANCELLED);
        assert_int_equal(sendings[i].count, i < COUNT - 1 ? SIZE : 0);
    }
}

static void the_fallback_backend_offers_none(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(ring_backend(f->ring), RING_BACKEND_POLL);
    assert_false(ring_has_zero_copy(f->ring));
    assert_false(ring_tells_usage(f->ring));
}

#define URING(test) cmocka_unit_test_setup_teardown(test, set_up_uring, tear_down)

int main(void)
{
    static const struct CMUnitTest all[] = {
        URING(bytes_are_sent_and_then_released),
        URING(memory_is_held_until_the_reader_has_taken_it),
        URING(a_send_that_waits_goes_on_when_there_is_room),
        URING(a_reset_gives_the_memory_back),
        URING(errors_are_told_and_the_memory_comes_back),
        URING(many_more_sends_than_queue_entries_all_end),
        cmocka_unit_test_setup_teardown(the_fallback_backend_offers_none, set_up_poll, tear_down),
    };
    return cmocka_run_group_tests(all, NULL, NULL);
}
