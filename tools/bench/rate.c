/*
 * sluice-rate: GETs of one URL, or of many in turn, at a fixed rate to measure latency, or as fast
 * as they are answered to measure the server.
 *
 *   sluice-rate --address 127.0.0.1 --port 9000 --target /b/k?X-Amz-... --rate 20000
 *               --connections 64 --seconds 4
 *
 * At a fixed rate request i is due at start + i / rate, whatever became of those before; what finds
 * no free connection waits for one, and its latency counts from when it was due. So a server that
 * stands still for a moment is charged for everybody who would have come meanwhile, which a client
 * that waits for each answer would never notice. Prints one line of JSON: requests, errors, p50_us,
 * p90_us, p99_us, max_us and late (requests that were not sent at all in time). Between requests it
 * looks at the clock, so it wants a core for itself.
 *
 * --target - reads targets from standard input, one a line, and asks for each in turn.
 *
 * With --rate 0 each connection asks again as soon as it is answered. Prints requests, errors,
 * seconds and cpu_s, its own CPU: where that is less than the seconds, the server was the limit. It
 * is made to cost less than any server: a request is one receive and one send, and what of a body
 * is left after the first 64 KiB is dropped in the kernel (MSG_TRUNC) instead of being copied.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX 4096u
#define REQUESTS_MAX    4096u
#define ANSWER_BYTES    65536u
#define NS_PER_S        1000000000ull
#define DRAIN_S         2u /* for the last answers */

struct connection {
    int fd;
    bool is_busy;
    uint64_t due_ns;
    uint64_t left; /* of the answer; UINT64_MAX: its head is not complete */
    char head[4096];
    size_t head_size;
};

static struct connection *connections;
static struct connection **idle; /* a stack */
static unsigned idle_count;
static uint32_t *latencies_us;
static size_t answered, errors;
static struct {
    char *text;
    size_t size;
} requests[REQUESTS_MAX]; /* asked in turn */
static size_t request_count, request_next;

static void die(const char *what)
{
    fprintf(stderr, "sluice-rate: %s: %s\n", what, errno ? strerror(errno) : "");
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static void ask(struct connection *c, uint64_t due_ns)
{
    c->is_busy = true;
    c->due_ns = due_ns;
    c->left = UINT64_MAX;
    c->head_size = 0;
    if (send(c->fd, requests[request_next].text, requests[request_next].size, MSG_NOSIGNAL) !=
        (ssize_t)requests[request_next].size)
        die("send");
    request_next = request_next + 1 < request_count ? request_next + 1 : 0;
}

/* The head's end is in c->head: its status and length. `body`: bytes of the body that came with it.
 */
static void head_came(struct connection *c, char *end, size_t body)
{
    *end = '\0';
    const char *length = strcasestr(c->head, "\r\nContent-Length:");
    if (length == NULL)
        die("an answer without a length");
    errors += strncmp(c->head, "HTTP/1.1 2", 10) != 0;
    c->left = strtoull(length + strlen("\r\nContent-Length:"), NULL, 10) - body;
}

static void take(struct connection *c, char *data, size_t size)
{
    if (c->left != UINT64_MAX) {
        c->left -= size < c->left ? size : c->left;
        return;
    }
    size_t part = sizeof c->head - 1 - c->head_size;
    part = size < part ? size : part;
    memcpy(c->head + c->head_size, data, part);
    c->head_size += part;
    c->head[c->head_size] = '\0';
    char *end = strstr(c->head, "\r\n\r\n");
    if (end != NULL)
        head_came(c, end, c->head_size - (size_t)(end + 4 - c->head) + size - part);
    else if (c->head_size == sizeof c->head - 1)
        die("the answer's head is too long");
}

/* Whether the answer is complete. */
static bool received(struct connection *c)
{
    static char data[ANSWER_BYTES];
    bool drops = c->left != UINT64_MAX; /* a head has come: the rest need not be seen */
    ssize_t got = recv(c->fd, drops ? NULL : data, drops ? c->left : sizeof data,
                       MSG_DONTWAIT | (drops ? MSG_TRUNC : 0));
    if (got < 0 && errno == EAGAIN)
        return false;
    if (got <= 0 || !c->is_busy)
        die("the server closed a connection");
    take(c, data, (size_t)got);
    return c->left == 0;
}

static void readable(struct connection *c)
{
    if (!received(c))
        return;
    uint64_t us = (now_ns() - c->due_ns) / 1000;
    latencies_us[answered++] = us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
    c->is_busy = false;
    idle[idle_count++] = c;
}

static void turn(int epoll_fd)
{
    struct epoll_event events[256];
    int count = epoll_wait(epoll_fd, events, 256, 0);
    for (int i = 0; i < count; i++)
        readable(events[i].data.ptr);
}

/* ---- as fast as they are answered ---- */

static void ask_for_ever(int epoll_fd, unsigned long seconds)
{
    uint64_t start = now_ns(), now = start, end = start + seconds * NS_PER_S;
    while (idle_count > 0)
        ask(idle[--idle_count], 0);
    for (; now < end; now = now_ns()) {
        struct epoll_event events[256];
        int count = epoll_wait(epoll_fd, events, 256, 1000);
        for (int i = 0; i < count; i++) {
            struct connection *c = events[i].data.ptr;
            if (!received(c))
                continue;
            answered++;
            ask(c, 0);
        }
    }
    struct timespec cpu;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    printf("{\"requests\": %zu, \"errors\": %zu, \"seconds\": %.3f, \"cpu_s\": %.3f}\n", answered,
           errors, (double)(now - start) / NS_PER_S,
           (double)cpu.tv_sec + (double)cpu.tv_nsec / NS_PER_S);
}

/* ---- at a fixed rate ---- */

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static uint32_t percentile(double part)
{
    return answered > 0 ? latencies_us[(size_t)((double)(answered - 1) * part)] : 0;
}

static int connect_all(const char *address, unsigned port, unsigned count)
{
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC), one = 1;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    connections = calloc(count, sizeof *connections);
    idle = calloc(count, sizeof *idle);
    if (inet_pton(AF_INET, address, &to.sin_addr) != 1 || epoll_fd < 0 || connections == NULL ||
        idle == NULL)
        die("set up");
    for (unsigned i = 0; i < count; i++) {
        struct connection *c = &connections[i];
        c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0 ||
            epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event) != 0)
            die("connect");
        (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        idle[idle_count++] = c;
    }
    return epoll_fd;
}

static void ask_at_rate(int epoll_fd, unsigned long rate, unsigned long seconds)
{
    size_t total = rate * seconds, sent = 0;
    latencies_us = calloc(total, sizeof *latencies_us);
    if (latencies_us == NULL)
        die("memory");
    uint64_t start = now_ns(), end = start + (seconds + DRAIN_S) * NS_PER_S;
    for (uint64_t now = start; answered < total && now < end; now = now_ns()) {
        while (sent < total && idle_count > 0) {
            uint64_t due = start + sent * NS_PER_S / rate;
            if (due > now)
                break;
            ask(idle[--idle_count], due);
            sent++;
        }
        turn(epoll_fd);
    }
    qsort(latencies_us, answered, sizeof *latencies_us, compare);
    printf("{\"requests\": %zu, \"errors\": %zu, \"late\": %zu, \"p50_us\": %u, \"p90_us\": %u, "
           "\"p99_us\": %u, \"max_us\": %u}\n",
           answered, errors, total - answered, percentile(0.5), percentile(0.9), percentile(0.99),
           percentile(1.0));
}

/* ---- what to ask ---- */

struct options {
    const char *address, *target;
    unsigned long port, rate, count, seconds;
    bool has_rate;
};

static void add_request(const struct options *options, const char *target)
{
    char *text;
    int size = asprintf(&text, "GET %s HTTP/1.1\r\nHost: %s:%lu\r\n\r\n", target, options->address,
                        options->port);
    if (size < 0 || request_count == REQUESTS_MAX)
        die("too many targets");
    requests[request_count].text = text;
    requests[request_count++].size = (size_t)size;
}

static void add_requests(const struct options *options)
{
    char line[8192];
    if (strcmp(options->target, "-") != 0)
        add_request(options, options->target);
    else
        while (fgets(line, sizeof line, stdin) != NULL) {
            line[strcspn(line, "\n")] = '\0';
            add_request(options, line);
        }
    if (request_count == 0)
        die("no target");
}

static bool parse(int argc, char **argv, struct options *options)
{
    static const struct option longs[] = {{"address", 1, NULL, 'a'},
                                          {"port", 1, NULL, 'p'},
                                          {"target", 1, NULL, 't'},
                                          {"rate", 1, NULL, 'r'},
                                          {"connections", 1, NULL, 'c'},
                                          {"seconds", 1, NULL, 's'},
                                          {0}};
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        switch (c) {
        case 'a':
            options->address = optarg;
            break;
        case 'p':
            options->port = strtoul(optarg, NULL, 10);
            break;
        case 't':
            options->target = optarg;
            break;
        case 'r':
            options->rate = strtoul(optarg, NULL, 10);
            options->has_rate = true;
            break;
        case 'c':
            options->count = strtoul(optarg, NULL, 10);
            break;
        case 's':
            options->seconds = strtoul(optarg, NULL, 10);
            break;
        default:
            return false;
        }
    }
    return options->target != NULL && options->port > 0 && options->port <= 65535 &&
           options->has_rate && options->rate <= 10000000 && options->count > 0 &&
           options->count <= CONNECTIONS_MAX && options->seconds > 0 && options->seconds <= 600;
}

int main(int argc, char **argv)
{
    struct options options = {.address = "127.0.0.1", .count = 64, .seconds = 4};
    if (!parse(argc, argv, &options)) {
        fprintf(stderr, "usage: sluice-rate --port N --target T|- --rate R [--address A] "
                        "[--connections C] [--seconds S]\n");
        return 2;
    }
    add_requests(&options);
    int epoll_fd = connect_all(options.address, (unsigned)options.port, (unsigned)options.count);
    if (options.rate == 0)
        ask_for_ever(epoll_fd, options.seconds);
    else
        ask_at_rate(epoll_fd, options.rate, options.seconds);
    return 0;
}
