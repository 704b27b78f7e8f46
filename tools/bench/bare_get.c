/*
 * sluice-bare-get: the least that can send a file over HTTP, to hold against Sluice: one thread,
 * epoll, one file, no logging, no checks. Whatever is asked for, the answer is the whole file,
 * moved without a copy by the way that --by names:
 *
 *   sendfile   send(MSG_MORE) of the head, then sendfile(2) until the socket is full
 *   splice     the same head, then splice(2) file -> pipe -> socket through a pipe of 1 MiB a
 *              connection
 *
 *   sluice-bare-get --file F --by sendfile|splice
 *              prints the port it listens on at 127.0.0.1 and serves until it is killed
 *
 * It reads a request up to its empty line and takes nothing else of it seriously. Not for anything
 * but measuring.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define REQUEST_BYTES_MAX 4096u
#define PIPE_BYTES        (1u << 20)
#define EVENTS_MAX        256

enum way { BY_SENDFILE, BY_SPLICE };

struct connection {
    int fd;
    int pipe[2];
    bool is_answering, waits_to_write;
    char request[REQUEST_BYTES_MAX];
    size_t request_size;
    off_t offset; /* of the file: what has left it */
    size_t in_pipe;
    size_t head_sent;
};

static enum way way;
static int file_fd, epoll_fd, listener;
static off_t file_size;
static char head[128];
static size_t head_size;

static void die(const char *what)
{
    fprintf(stderr, "sluice-bare-get: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void drop(struct connection *c)
{
    (void)close(c->fd);
    if (way == BY_SPLICE) {
        (void)close(c->pipe[0]);
        (void)close(c->pipe[1]);
    }
    free(c);
}

static void watch(struct connection *c, bool to_write)
{
    if (to_write == c->waits_to_write)
        return;
    struct epoll_event event = {.events = to_write ? EPOLLOUT : EPOLLIN, .data.ptr = c};
    c->waits_to_write = to_write;
    if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &event) != 0)
        die("epoll_ctl");
}

/* Moves some of the file to the socket: bytes, 0 when it would wait, -1 when the connection is
 * lost. */
static ssize_t move(struct connection *c)
{
    ssize_t moved;
    if (way == BY_SENDFILE) {
        moved = sendfile(c->fd, file_fd, &c->offset, (size_t)(file_size - c->offset));
        return moved < 0 && errno == EAGAIN ? 0 : moved == 0 ? -1 : moved;
    }
    if (c->in_pipe == 0) {
        moved = splice(file_fd, &c->offset, c->pipe[1], NULL, PIPE_BYTES, SPLICE_F_MOVE);
        if (moved <= 0)
            return -1;
        c->in_pipe = (size_t)moved;
    }
    unsigned more = c->offset < file_size ? SPLICE_F_MORE : 0;
    moved =
        splice(c->pipe[0], NULL, c->fd, NULL, c->in_pipe, SPLICE_F_MOVE | SPLICE_F_NONBLOCK | more);
    if (moved < 0)
        return errno == EAGAIN ? 0 : -1;
    c->in_pipe -= (size_t)moved;
    return moved;
}

/* False: the connection is lost. */
static bool answer(struct connection *c)
{
    while (c->head_sent < head_size) {
        ssize_t sent =
            send(c->fd, head + c->head_sent, head_size - c->head_sent, MSG_MORE | MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN)
            return false;
        if (sent < 0) {
            watch(c, true);
            return true;
        }
        c->head_sent += (size_t)sent;
    }
    while (c->offset < file_size || c->in_pipe > 0) {
        ssize_t moved = move(c);
        if (moved < 0)
            return false;
        if (moved == 0) {
            watch(c, true);
            return true;
        }
    }
    c->is_answering = false;
    watch(c, false);
    return true;
}

static bool serve(struct connection *c)
{
    if (c->is_answering)
        return answer(c);
    ssize_t got =
        recv(c->fd, c->request + c->request_size, sizeof c->request - 1 - c->request_size, 0);
    if (got < 0 && errno == EAGAIN)
        return true;
    if (got <= 0)
        return false;
    c->request_size += (size_t)got;
    c->request[c->request_size] = '\0';
    if (strstr(c->request, "\r\n\r\n") == NULL)
        return c->request_size < sizeof c->request - 1;
    c->request_size = 0;
    c->is_answering = true;
    c->offset = 0;
    c->head_sent = 0;
    return answer(c);
}

static void admit(void)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), one = 1;
    if (fd < 0)
        return;
    struct connection *c = calloc(1, sizeof *c);
    if (c == NULL)
        die("a connection");
    c->fd = fd;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (way == BY_SPLICE &&
        (pipe2(c->pipe, O_CLOEXEC) != 0 || fcntl(c->pipe[1], F_SETPIPE_SZ, PIPE_BYTES) < 0))
        die("a pipe of 1 MiB");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
        die("epoll_ctl");
}

static void open_all(const char *path)
{
    struct stat status;
    file_fd = open(path, O_RDONLY | O_CLOEXEC);
    if (file_fd < 0 || fstat(file_fd, &status) != 0)
        die(path);
    file_size = status.st_size;
    head_size = (size_t)snprintf(
        head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %lld\r\n\r\n", (long long)file_size);

    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) != 0 ||
        listen(listener, 1024) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) != 0)
        die("listen");
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event) != 0)
        die("epoll");
    printf("%u\n", ntohs(address.sin_port));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {{"file", 1, NULL, 'f'}, {"by", 1, NULL, 'b'}, {0}};
    const char *path = NULL, *by = "sendfile";
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        if (c == 'f')
            path = optarg;
        else if (c == 'b')
            by = optarg;
        else
            return 2;
    }
    if (path == NULL || (strcmp(by, "sendfile") != 0 && strcmp(by, "splice") != 0)) {
        fprintf(stderr, "usage: sluice-bare-get --file F --by sendfile|splice\n");
        return 2;
    }
    way = strcmp(by, "splice") == 0 ? BY_SPLICE : BY_SENDFILE;
    (void)signal(SIGPIPE, SIG_IGN); /* sendfile() and splice() have no MSG_NOSIGNAL */
    open_all(path);
    for (;;) {
        struct epoll_event events[EVENTS_MAX];
        int count = epoll_wait(epoll_fd, events, EVENTS_MAX, -1);
        for (int i = 0; i < count; i++) {
            struct connection *c = events[i].data.ptr;
            if (c == NULL)
                admit();
            else if (!serve(c))
                drop(c);
        }
    }
}
