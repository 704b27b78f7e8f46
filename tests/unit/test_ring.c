#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* the four above first: cmocka wants them */
#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/ring.h"

/* Every test here runs over both backends; a kernel without io_uring skips the first. */

struct fixture {
    enum ring_choice choice;
    struct arena *arena;
    struct ring *ring;
    int pair[2];   /* non-blocking stream sockets */
    int pipe[2];   /* blocking */
    char path[64]; /* scratch file */
    int file;
};

struct result {
    struct ring_op op;
    int runs;
    enum err e;
    uint32_t count;
};

static void note(struct ring_op *op, enum err e, uint32_t count)
{
    struct result *result = CONTAINER_OF(op, struct result, op);
    assert_false(ring_op_is_pending(op));
    result->runs++;
    result->e = e;
    result->count = count;
}

/* Waits until the result has come; fails after two seconds. */
static void await(struct fixture *f, struct result *result)
{
    for (int i = 0; i < 200 && result->runs == 0; i++)
        ring_wait(f->ring, 10 * NS_PER_MS);
    assert_int_equal(result->runs, 1);
}

static struct fixture fixture;

static int set_up(void **state, enum ring_choice choice)
{
    struct fixture *f = *state = &fixture;
    *f = (struct fixture){.choice = choice, .file = -1};
    if (arena_open(&(struct arena_options){.large_count = 1, .small_count = 4, .share_count = 1},
                   &f->arena))
        return -1;
    struct ring_options options = {.entries = 8, .arena = f->arena, .choice = choice};
    struct err_trail trail = {0};
    enum err e = ring_open(&options, &f->ring, &trail);
    if (e)
        print_message("no ring: %s\n", err_trail_text(&trail, e));
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, f->pair) ||
        pipe2(f->pipe, O_CLOEXEC))
        return -1;
    snprintf(f->path, sizeof f->path, "/tmp/sluice-ring-XXXXXX");
    f->file = mkstemp(f->path);
    return f->file < 0 ? -1 : 0;
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
    for (int i = 0; i < 2; i++) {
        (void)close(f->pair[i]);
        (void)close(f->pipe[i]);
    }
    (void)close(f->file);
    (void)unlink(f->path);
    return 0;
}

static struct fixture *need_ring(void **state)
{
    struct fixture *f = *state;
    if (f->ring == NULL)
        skip();
    return f;
}

static void a_receive_waits_for_bytes_and_a_send_brings_them(void **state)
{
    struct fixture *f = need_ring(state);
    char in[16] = "";
    struct result received = {0}, sent = {0};
    ring_recv(f->ring, &received.op, f->pair[0], in, sizeof in, note);
    assert_true(ring_op_is_pending(&received.op));
    assert_int_equal(ring_wait(f->ring, 0), 0);
    assert_int_equal(received.runs, 0);

    ring_send(f->ring, &sent.op, f->pair[1], "hello", 5, 0, note);
    assert_int_equal(sent.runs, 0); /* never from inside the submitting function */
    await(f, &received);
    await(f, &sent);
    assert_int_equal(sent.count, 5);
    assert_int_equal(received.e, ERR_OK);
    assert_int_equal(received.count, 5);
    assert_memory_equal(in, "hello", 5);
}

static void a_receive_for_later_takes_what_is_there_and_what_comes(void **state)
{
    struct fixture *f = need_ring(state);
    char in[16] = "";
    struct result early = {0}, late = {0}, closed = {0};
    assert_int_equal(send(f->pair[1], "there", 5, 0), 5);
    ring_recv_later(f->ring, &early.op, f->pair[0], in, sizeof in, note);
    await(f, &early);
    assert_int_equal(early.count, 5);
    assert_memory_equal(in, "there", 5);

    ring_recv_later(f->ring, &late.op, f->pair[0], in, sizeof in, note);
    assert_int_equal(ring_wait(f->ring, 0), 0);
    assert_int_equal(send(f->pair[1], "comes", 5, 0), 5);
    await(f, &late);
    assert_int_equal(late.count, 5);
    assert_memory_equal(in, "comes", 5);

    ring_recv_later(f->ring, &closed.op, f->pair[0], in, sizeof in, note);
    assert_int_equal(shutdown(f->pair[1], SHUT_RDWR), 0);
    await(f, &closed);
    assert_int_equal(closed.e, ERR_OK);
    assert_int_equal(closed.count, 0);
}

static void a_closed_peer_is_zero_bytes_for_a_receive_and_an_error_for_a_send(void **state)
{
    struct fixture *f = need_ring(state);
    char in[16];
    struct result received = {0}, sent = {0};
    ring_recv(f->ring, &received.op, f->pair[0], in, sizeof in, note);
    ring_wait(f->ring, 0);
    assert_int_equal(shutdown(f->pair[1], SHUT_RDWR), 0);
    await(f, &received);
    assert_int_equal(received.e, ERR_OK);
    assert_int_equal(received.count, 0);
    ring_send(f->ring, &sent.op, f->pair[0], "x", 1, 0, note); /* and no SIGPIPE */
    await(f, &sent);
    assert_int_equal(sent.e, ERR_PEER_CLOSED);
}

static void a_receive_and_a_send_may_be_pending_on_one_socket(void **state)
{
    struct fixture *f = need_ring(state);
    static char filler[65536];
    while (send(f->pair[0], filler, sizeof filler, MSG_DONTWAIT) > 0)
        ;
    char in[16];
    struct result received = {0}, sent = {0};
    ring_recv(f->ring, &received.op, f->pair[0], in, sizeof in, note);
    ring_send(f->ring, &sent.op, f->pair[0], "late", 4, 0, note);
    assert_int_equal(ring_wait(f->ring, 0), 0);

    assert_int_equal(send(f->pair[1], "in", 2, MSG_DONTWAIT), 2);
    await(f, &received);
    assert_int_equal(received.count, 2);
    assert_int_equal(sent.runs, 0);
    while (recv(f->pair[1], filler, sizeof filler, MSG_DONTWAIT) > 0)
        ;
    await(f, &sent);
    assert_int_equal(sent.count, 4);
}

static void messages_of_several_pieces_go_through(void **state)
{
    struct fixture *f = need_ring(state);
    char left[4] = "", right[4] = "";
    struct iovec out[2] = {{"abc", 3}, {"defg", 4}}, in[2] = {{left, 4}, {right, 4}};
    struct msghdr out_msg = {.msg_iov = out, .msg_iovlen = 2},
                  in_msg = {.msg_iov = in, .msg_iovlen = 2};
    struct result received = {0}, sent = {0};
    ring_recvmsg(f->ring, &received.op, f->pair[0], &in_msg, note);
    ring_wait(f->ring, 0);
    ring_sendmsg(f->ring, &sent.op, f->pair[1], &out_msg, 0, note);
    await(f, &received);
    await(f, &sent);
    assert_int_equal(received.count, 7);
    assert_memory_equal(left, "abcd", 4);
    assert_memory_equal(right, "efg", 3);
}

static void accept_gives_a_nonblocking_descriptor(void **state)
{
    struct fixture *f = need_ring(state);
    static const int kinds[] = {SOCK_NONBLOCK, 0}; /* a blocking listener must not block the ring */
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | kinds[i], 0);
        struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t size = sizeof address;
        assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
        assert_int_equal(listen(listener, 4), 0);
        assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
        struct result accepted = {0};
        ring_accept(f->ring, &accepted.op, listener, note);
        assert_int_equal(ring_wait(f->ring, 0), 0);
        int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(client, (struct sockaddr *)&address, sizeof address), 0);
        await(f, &accepted);
        assert_int_equal(accepted.e, ERR_OK);
        assert_true(fcntl((int)accepted.count, F_GETFL) & O_NONBLOCK);
        assert_true(fcntl((int)accepted.count, F_GETFD) & FD_CLOEXEC);
        (void)close((int)accepted.count);
        (void)close(client);
        (void)close(listener);
    }
}

static void pipes_are_read_when_something_comes(void **state)
{
    struct fixture *f = need_ring(state);
    static const int flags[] = {0, O_NONBLOCK};
    for (size_t i = 0; i < COUNT_OF(flags); i++) {
        assert_int_equal(fcntl(f->pipe[0], F_SETFL, flags[i]), 0);
        char in[8] = "";
        struct result got = {0}, put = {0};
        ring_read(f->ring, &got.op, f->pipe[0], in, sizeof in, 0, note);
        for (int turn = 0; turn < 4; turn++)
            assert_int_equal(ring_wait(f->ring, NS_PER_MS), 0);
        ring_write(f->ring, &put.op, f->pipe[1], "pipe", 4, 0, note);
        await(f, &got);
        await(f, &put);
        assert_int_equal(got.e, ERR_OK);
        assert_int_equal(got.count, 4);
        assert_memory_equal(in, "pipe", 4);
    }
}

static void poll_tells_the_ready_events_once(void **state)
{
    struct fixture *f = need_ring(state);
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct result readable = {0}, writable = {0};
    ring_poll(f->ring, &readable.op, fd, POLLIN, note);
    ring_poll(f->ring, &writable.op, fd, POLLOUT, note);
    await(f, &writable);
    assert_true(writable.count & POLLOUT);
    assert_int_equal(readable.runs, 0);
    for (int round = 0; round < 3; round++) {
        uint64_t one = 1;
        assert_int_equal(write(fd, &one, sizeof one), sizeof one);
        await(f, &readable);
        assert_true(readable.count & POLLIN);
        assert_int_equal(ring_wait(f->ring, 0), 0);
        assert_int_equal(read(fd, &one, sizeof one), sizeof one);
        readable = (struct result){0};
        ring_poll(f->ring, &readable.op, fd, POLLIN, note);
    }
    ring_cancel(f->ring, &readable.op);
    await(f, &readable);
    (void)close(fd);
}

static void files_are_written_and_read_at_offsets(void **state)
{
    struct fixture *f = need_ring(state);
    struct slot *slot = slot_take(arena_share(f->arena, 0), SLOT_SMALL);
    char stack[4096];
    /* A fixed buffer where there are any, and one that never is. */
    uint8_t *memories[] = {slot->data, (uint8_t *)stack};
    for (size_t i = 0; i < COUNT_OF(memories); i++) {
        uint64_t offset = i * 1000003;
        struct result put = {0}, got = {0}, past = {0};
        memset(memories[i], 'a' + (int)i, 4096);
        ring_write(f->ring, &put.op, f->file, memories[i], 4096, offset, note);
        await(f, &put);
        assert_int_equal(put.count, 4096);
        memset(memories[i], 0, 4096);
        ring_read(f->ring, &got.op, f->file, memories[i], 4096, offset + 96, note);
        await(f, &got);
        assert_int_equal(got.count, 4000); /* short at the end */
        assert_int_equal(memories[i][0], 'a' + i);
        assert_int_equal(memories[i][3999], 'a' + i);
        assert_int_equal(memories[i][4000], 0);
        ring_read(f->ring, &past.op, f->file, memories[i], 4096, offset + 4096, note);
        await(f, &past);
        assert_int_equal(past.e, ERR_OK);
        assert_int_equal(past.count, 0);
    }
    slot_put(slot);
}

/* ---- splices ---- */

#define SPLICED_BYTES 50000u

static uint8_t spliced_byte(size_t i)
{
    return (uint8_t)(i * 7 + i / 251);
}

static struct ring_splice splice_of_file(const struct fixture *f)
{
    static uint8_t bytes[SPLICED_BYTES];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = spliced_byte(i);
    assert_int_equal(pwrite(f->file, bytes, sizeof bytes, 0), sizeof bytes);
    return (struct ring_splice){
        .file_fd = f->file, .pipe_in = f->pipe[1], .pipe_out = f->pipe[0], .socket_fd = f->pair[0]};
}

static void splice_once(struct fixture *f, struct ring_splice *splice, struct result *result)
{
    *result = (struct result){0};
    ring_splice(f->ring, &result->op, splice, note);
    await(f, result);
    assert_int_equal(result->count, splice->drained);
}

/* How many bytes there were to read, each as it is in the file from *at on. */
static size_t read_spliced(const struct fixture *f, size_t *at)
{
    static uint8_t in[SPLICED_BYTES];
    ssize_t got = recv(f->pair[1], in, sizeof in, MSG_DONTWAIT);
    for (ssize_t i = 0; i < got; i++)
        assert_int_equal(in[i], spliced_byte(*at + (size_t)i));
    *at += got > 0 ? (size_t)got : 0;
    return got > 0 ? (size_t)got : 0;
}

static void a_file_goes_through_a_pipe_into_a_socket(void **state)
{
    struct fixture *f = need_ring(state);
    if (!ring_has_splice(f->ring))
        skip();
    struct ring_splice splice = splice_of_file(f);
    struct result result;
    size_t at = 100, level = 0;
    for (size_t offset = 100; offset < SPLICED_BYTES || level > 0;) {
        splice.file_offset = offset;
        splice.fill = offset < SPLICED_BYTES ? 20000 : 0; /* the last one gets less than it asks */
        splice.drain = (uint32_t)level + splice.fill;
        splice_once(f, &splice, &result);
        assert_int_equal(result.e, ERR_OK);
        assert_true(splice.drained > 0);
        offset += splice.filled;
        level += splice.filled;
        level -= splice.drained;
        while (read_spliced(f, &at) > 0)
            ;
    }
    assert_int_equal(at, SPLICED_BYTES);
}

static size_t fill_socket(int fd)
{
    static const char block[4096];
    size_t sent = 0;
    for (ssize_t got; (got = send(fd, block, sizeof block, MSG_DONTWAIT)) > 0;)
        sent += (size_t)got;
    return sent;
}

static void a_splice_waits_for_room_in_the_socket(void **state)
{
    struct fixture *f = need_ring(state);
    if (!ring_has_splice(f->ring))
        skip();
    struct ring_splice splice = splice_of_file(f);
    size_t full = fill_socket(f->pair[0]), at = 0;
    splice.fill = splice.drain = 40000;
    struct result result = {0};
    ring_splice(f->ring, &result.op, &splice, note);
    for (int i = 0; i < 5; i++)
        ring_wait(f->ring, 5 * NS_PER_MS);
    assert_int_equal(result.runs, 0);
    for (char in[4096]; full > 0;) {
        ssize_t got = recv(f->pair[1], in, full < sizeof in ? full : sizeof in, 0);
        assert_true(got > 0);
        full -= (size_t)got;
    }
    await(f, &result);
    assert_int_equal(result.e, ERR_OK);
    assert_int_equal(splice.filled, 40000);
    assert_in_range(splice.drained, 1, 40000);
    while (read_spliced(f, &at) > 0)
        ;
    assert_int_equal(at, splice.drained);
}

static void a_splice_of_nothing_or_to_nobody_says_so(void **state)
{
    struct fixture *f = need_ring(state);
    if (!ring_has_splice(f->ring))
        skip();
    struct ring_splice splice = splice_of_file(f);
    struct result result;
    splice.file_offset = SPLICED_BYTES, splice.fill = splice.drain = 1000;
    splice_once(f, &splice, &result); /* behind the end */
    assert_int_equal(result.e, ERR_OK);
    assert_int_equal(splice.filled, 0);
    assert_int_equal(splice.drained, 0);

    splice = splice_of_file(f);
    splice.file_fd = f->pair[1], splice.fill = splice.drain = 1000; /* no file at all */
    splice_once(f, &splice, &result);
    assert_int_not_equal(result.e, ERR_OK);
    assert_int_equal(splice.filled, 0);

    (void)signal(SIGPIPE, SIG_IGN); /* a splice has no flag for it */
    assert_int_equal(shutdown(f->pair[0], SHUT_RDWR), 0);
    splice = splice_of_file(f);
    splice.fill = splice.drain = 1000;
    splice_once(f, &splice, &result);
    assert_int_equal(result.e, ERR_PEER_CLOSED);
    assert_int_equal(splice.filled, 1000); /* and is still in the pipe */
}

static void a_waiting_splice_can_be_cancelled(void **state)
{
    struct fixture *f = need_ring(state);
    if (!ring_has_splice(f->ring))
        skip();
    struct ring_splice splice = splice_of_file(f);
    assert_true(fill_socket(f->pair[0]) > 0);
    splice.fill = splice.drain = 1000;
    struct result result = {0};
    ring_splice(f->ring, &result.op, &splice, note);
    for (int i = 0; i < 5; i++)
        ring_wait(f->ring, 5 * NS_PER_MS);
    assert_int_equal(result.runs, 0);
    ring_cancel(f->ring, &result.op);
    await(f, &result);
    assert_int_equal(result.e, ERR_CANCELLED);
}

/* Two entries each, in a queue of eight: what does not fit waits, and no link is torn. */
static void more_splices_than_queue_entries_all_end(void **state)
{
    struct fixture *f = need_ring(state);
    enum { SPLICES = 21 };
    static struct result results[SPLICES];
    static struct ring_splice splices[SPLICES];
    int pipes[SPLICES][2];
    if (!ring_has_splice(f->ring))
        skip();
    memset(results, 0, sizeof results);
    for (int i = 0; i < SPLICES; i++) {
        assert_int_equal(pipe2(pipes[i], O_CLOEXEC | O_NONBLOCK), 0);
        splices[i] = splice_of_file(f);
        splices[i].pipe_in = pipes[i][1], splices[i].pipe_out = pipes[i][0];
        splices[i].fill = splices[i].drain = 100;
        ring_splice(f->ring, &results[i].op, &splices[i], note);
    }
    for (int i = 0; i < SPLICES; i++) {
        await(f, &results[i]);
        assert_int_equal(results[i].e, ERR_OK);
        assert_int_equal(splices[i].filled, 100);
        assert_int_equal(splices[i].drained, 100);
        (void)close(pipes[i][0]);
        (void)close(pipes[i][1]);
    }
}

static void a_wrong_descriptor_is_an_error_in_the_callback(void **state)
{
    struct fixture *f = need_ring(state);
    char in[8];
    struct result bad = {0}, readonly = {0};
    ring_read(f->ring, &bad.op, 1000000, in, sizeof in, 0, note);
    ring_write(f->ring, &readonly.op, f->pipe[0], in, sizeof in, 0, note);
    await(f, &bad);
    await(f, &readonly);
    assert_int_equal(bad.e, ERR_IO);
    assert_int_equal(bad.count, 0);
    assert_int_equal(readonly.e, ERR_IO);
}

static void many_more_operations_than_queue_entries_all_end(void **state)
{
    enum { MANY = 1000 }; /* the ring has 8 entries */
    struct fixture *f = need_ring(state);
    static struct result results[MANY];
    static uint32_t numbers[MANY];
    memset(results, 0, sizeof results);
    for (uint32_t i = 0; i < MANY; i++) {
        numbers[i] = i * 2654435761u;
        ring_write(f->ring, &results[i].op, f->file, &numbers[i], sizeof numbers[i], i * 4ull,
                   note);
    }
    for (uint32_t i = 0; i < MANY; i++) {
        await(f, &results[i]);
        assert_int_equal(results[i].count, 4);
    }
    memset(results, 0, sizeof results);
    memset(numbers, 0, sizeof numbers);
    for (uint32_t i = 0; i < MANY; i++) {
        ring_read(f->ring, &results[i].op, f->file, &numbers[i], sizeof numbers[i], i * 4ull, note);
        if (i % 100 == 0)
            ring_flush(f->ring);
    }
    for (uint32_t i = 0; i < MANY; i++)
        await(f, &results[i]);
    for (uint32_t i = 0; i < MANY; i++)
        assert_int_equal(numbers[i], i * 2654435761u);
}

static void cancelling_ends_a_waiting_operation(void **state)
{
    struct fixture *f = need_ring(state);
    char in[8];
    static const bool submitted_before[] = {true, false};
    for (size_t i = 0; i < COUNT_OF(submitted_before); i++) {
        struct result received = {0};
        ring_recv(f->ring, &received.op, f->pair[0], in, sizeof in, note);
        if (submitted_before[i])
            ring_wait(f->ring, 0);
        ring_cancel(f->ring, &received.op);
        ring_cancel(f->ring, &received.op); /* twice asks once */
        assert_int_equal(received.runs, 0);
        await(f, &received);
        assert_int_equal(received.e, ERR_CANCELLED);
        assert_int_equal(received.count, 0);
        ring_cancel(f->ring, &received.op); /* ended: nothing */
        ring_wait(f->ring, 0);
        assert_int_equal(received.runs, 1);
    }
    /* The descriptor is as good as before. */
    struct result received = {0};
    ring_recv(f->ring, &received.op, f->pair[0], in, sizeof in, note);
    assert_int_equal(send(f->pair[1], "x", 1, 0), 1);
    await(f, &received);
    assert_int_equal(received.count, 1);
}

static void cancelling_more_than_the_queue_holds_ends_each(void **state)
{
    enum { MANY = 300 };
    struct fixture *f = need_ring(state);
    static struct result results[MANY];
    memset(results, 0, sizeof results);
    for (int i = 0; i < MANY; i++)
        ring_poll(f->ring, &results[i].op, f->pipe[0], POLLIN, note);
    for (int i = 0; i < MANY; i += 2)
        ring_cancel(f->ring, &results[i].op);
    for (int i = 0; i < MANY; i += 2) {
        await(f, &results[i]);
        assert_int_equal(results[i].e, ERR_CANCELLED);
    }
    assert_int_equal(write(f->pipe[1], "x", 1), 1);
    for (int i = 1; i < MANY; i += 2) {
        await(f, &results[i]);
        assert_int_equal(results[i].e, ERR_OK);
    }
}

struct echo {
    struct result result;
    struct fixture *f;
    int left;
    char byte;
};

static void send_again(struct ring_op *op, enum err e, uint32_t count)
{
    struct echo *echo = CONTAINER_OF(op, struct echo, result.op);
    note(op, e, count);
    if (--echo->left > 0)
        ring_send(echo->f->ring, op, echo->f->pair[0], &echo->byte, 1, 0, send_again);
}

static void a_callback_may_submit_its_operation_again(void **state)
{
    struct fixture *f = need_ring(state);
    struct echo echo = {.f = f, .left = 50, .byte = 'e'};
    ring_send(f->ring, &echo.result.op, f->pair[0], &echo.byte, 1, 0, send_again);
    for (int i = 0; i < 200 && echo.left > 0; i++)
        ring_wait(f->ring, 10 * NS_PER_MS);
    assert_int_equal(echo.result.runs, 50);
}

static void waiting_ends_with_its_time(void **state)
{
    struct fixture *f = need_ring(state);
    const uint64_t wait_ns = 30 * NS_PER_MS;
    uint64_t from = clock_mono_ns(clock_system()), took = 0;
    int calls = 0; /* a signal may end one early, but it must not spin */
    for (; took + NS_PER_MS < wait_ns; took = clock_mono_ns(clock_system()) - from, calls++)
        assert_int_equal(ring_wait(f->ring, wait_ns - took), 0);
    assert_in_range(calls, 1, 5);
    assert_in_range(took, 0, 2000 * NS_PER_MS);
}

static void the_backend_is_told_with_its_reason(void **state)
{
    struct fixture *f = need_ring(state);
    bool is_uring = f->choice == RING_FORCE_URING;
    assert_int_equal(ring_backend(f->ring), is_uring ? RING_BACKEND_URING : RING_BACKEND_POLL);
    assert_int_equal(ring_reason(f->ring)[0] == '\0', is_uring);
    assert_int_equal(ring_fixed_reason(f->ring)[0] == '\0', ring_has_fixed_buffers(f->ring));
}

/* ---- what may be missing: tried in a child, because a process cannot take it back ---- */

static bool in_child(bool (*holds)(void))
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(holds() ? 0 : 1);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* As a container's seccomp profile does. */
static bool forbid_io_uring(int errnum)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)errnum),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = COUNT_OF(filter), .filter = filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static bool auto_falls_back_and_force_refuses(int errnum, const char *word)
{
    struct ring *ring = NULL;
    struct err_trail trail = {0};
    struct ring_options automatic = {.choice = RING_AUTO}, forced = {.choice = RING_FORCE_URING};
    if (!forbid_io_uring(errnum) || ring_open(&automatic, &ring, NULL) != ERR_OK)
        return false;
    bool told = ring_backend(ring) == RING_BACKEND_POLL && strstr(ring_reason(ring), word) != NULL;
    ring_close(ring);
    enum err e = ring_open(&forced, &ring, &trail);
    return told && e == err_from_errno(errnum) && strstr(trail.text, word) != NULL;
}

static bool falls_back_when_not_permitted(void)
{
    return auto_falls_back_and_force_refuses(EPERM, "seccomp");
}

static bool falls_back_when_there_is_none(void)
{
    return auto_falls_back_and_force_refuses(ENOSYS, "kernel");
}

static bool falls_back_when_memory_is_locked_up(void)
{
    return auto_falls_back_and_force_refuses(ENOMEM, "memlock");
}

static void without_io_uring_auto_falls_back_and_says_what_to_do(void **state)
{
    assert_true(in_child(falls_back_when_not_permitted));
    assert_true(in_child(falls_back_when_there_is_none));
    assert_true(in_child(falls_back_when_memory_is_locked_up));
}

/* Who has CAP_IPC_LOCK may lock as much as there is. */
static bool drop_ipc_lock(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};
    if (syscall(SYS_capget, &header, data) != 0)
        return false;
    data[CAP_TO_INDEX(CAP_IPC_LOCK)].effective &= ~CAP_TO_MASK(CAP_IPC_LOCK);
    return syscall(SYS_capset, &header, data) == 0;
}

static bool goes_on_unregistered(void)
{
    struct rlimit limit = {65536, 65536};
    struct arena *arena = NULL;
    struct ring *ring = NULL;
    struct arena_options arena_options = {.large_count = 8, .share_count = 1};
    if (!drop_ipc_lock() || setrlimit(RLIMIT_MEMLOCK, &limit) || arena_open(&arena_options, &arena))
        return false;
    if (ring_open(&(struct ring_options){.arena = arena, .choice = RING_AUTO}, &ring, NULL))
        return false;
    /* Over epoll there are never fixed buffers, and another reason is told. */
    bool told =
        !ring_has_fixed_buffers(ring) && (ring_backend(ring) == RING_BACKEND_POLL ||
                                          strstr(ring_fixed_reason(ring), "memlock") != NULL);
    ring_close(ring);
    arena_close(arena);
    return told;
}

static void an_arena_over_the_lock_limit_is_used_unregistered(void **state)
{
    assert_true(in_child(goes_on_unregistered));
}

#define BOTH(test)                                                                                 \
    {"io_uring: " #test, test, set_up_uring, tear_down, NULL},                                     \
    {                                                                                              \
        "epoll: " #test, test, set_up_poll, tear_down, NULL                                        \
    }

int main(void)
{
    const struct CMUnitTest all[] = {
        BOTH(a_receive_waits_for_bytes_and_a_send_brings_them),
        BOTH(a_receive_for_later_takes_what_is_there_and_what_comes),
        BOTH(a_closed_peer_is_zero_bytes_for_a_receive_and_an_error_for_a_send),
        BOTH(a_receive_and_a_send_may_be_pending_on_one_socket),
        BOTH(messages_of_several_pieces_go_through),
        BOTH(accept_gives_a_nonblocking_descriptor),
        BOTH(pipes_are_read_when_something_comes),
        BOTH(poll_tells_the_ready_events_once),
        BOTH(files_are_written_and_read_at_offsets),
        BOTH(a_file_goes_through_a_pipe_into_a_socket),
        BOTH(a_splice_waits_for_room_in_the_socket),
        BOTH(a_splice_of_nothing_or_to_nobody_says_so),
        BOTH(a_waiting_splice_can_be_cancelled),
        BOTH(more_splices_than_queue_entries_all_end),
        BOTH(a_wrong_descriptor_is_an_error_in_the_callback),
        BOTH(many_more_operations_than_queue_entries_all_end),
        BOTH(cancelling_ends_a_waiting_operation),
        BOTH(cancelling_more_than_the_queue_holds_ends_each),
        BOTH(a_callback_may_submit_its_operation_again),
        BOTH(waiting_ends_with_its_time),
        BOTH(the_backend_is_told_with_its_reason),
        cmocka_unit_test(without_io_uring_auto_falls_back_and_says_what_to_do),
        cmocka_unit_test(an_arena_over_the_lock_limit_is_used_unregistered),
    };
    return cmocka_run_group_tests(all, NULL, NULL);
}
