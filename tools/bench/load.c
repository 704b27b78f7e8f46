/*
 * sluice-load: many S3 clients in one thread, for measuring. Each connection sends one presigned
 * request after another and reads the answer; epoll says whose turn it is. What a client costs here
 * is a signature and the system calls, so that on two cores the server is measured and not the
 * client.
 *
 *   sluice-load --endpoint 127.0.0.1:9000 --access-key ID --secret KEY --bucket b
 *               --method PUT --size 4096 --connections 64 --seconds 5
 *
 * Keys are PREFIX and a number: --keys N goes round N of them, without it each request has a new
 * one; --per-folder N puts N into a folder. It ends after --seconds or --count requests and prints
 * one line of JSON. An answer that is not 2xx counts as an error and ends nothing; a connection
 * that breaks ends the run. Knows nothing of Sluice: libc and libcrypto.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX 4096u
#define HEAD_BYTES_MAX  4096u
#define DRAIN_BYTES     (1u << 20)
#define NS_PER_S        1000000000ull
#define DRAIN_LIMIT_S   60u
#define HISTOGRAM_STEPS 32u /* of each power of two: 3 % of error */

struct options {
    const char *endpoint, *access_key, *secret, *bucket, *method, *prefix;
    uint64_t size, connections, seconds, count, keys, per_folder, first;
};

enum phase { PHASE_SEND, PHASE_HEAD, PHASE_BODY, PHASE_DONE };

struct connection {
    int fd;
    enum phase phase;
    uint32_t events; /* what epoll watches now */
    char head[HEAD_BYTES_MAX];
    size_t head_size, sent; /* sent: of head and body together */
    char answer[HEAD_BYTES_MAX];
    size_t answer_size;
    uint64_t left; /* of the answer's body */
    int status;
    uint64_t began_ns;
};

static struct options options = {
    .method = "GET", .prefix = "load/", .connections = 1, .seconds = 5};
static struct connection connections[CONNECTIONS_MAX];
static char *body;
static int poller;
static uint64_t issued, finished, errors, received_bytes, deadline_ns;
static uint64_t histogram[64 * HISTOGRAM_STEPS];
static unsigned char signing_key[32];
static char amz_date[17], query[512];

static void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
static void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("sluice-load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * NS_PER_S + (uint64_t)time.tv_nsec;
}

/* ---- signatures ---- */
/* https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html */

static void hmac(const void *key, size_t key_size, const char *text, unsigned char out[32])
{
    unsigned int size = 32;
    HMAC(EVP_sha256(), key, (int)key_size, (const unsigned char *)text, strlen(text), out, &size);
}

static void hex(const unsigned char bytes[32], char out[65])
{
    for (int i = 0; i < 32; i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

/* All that is the same for every request of this run. */
static void prepare_signing(void)
{
    char date[9], secret[256];
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(amz_date, sizeof amz_date, "%Y%m%dT%H%M%SZ", &utc);
    strftime(date, sizeof date, "%Y%m%d", &utc);
    snprintf(query, sizeof query,
             "X-Amz-Algorithm=AWS4-HMAC-SHA256"
             "&X-Amz-Credential=%s%%2F%s%%2Fus-east-1%%2Fs3%%2Faws4_request"
             "&X-Amz-Date=%s&X-Amz-Expires=86400&X-Amz-SignedHeaders=host",
             options.access_key, date, amz_date);
    int size = snprintf(secret, sizeof secret, "AWS4%s", options.secret);
    hmac(secret, (size_t)size, date, signing_key);
    hmac(signing_key, 32, "us-east-1", signing_key);
    hmac(signing_key, 32, "s3", signing_key);
    hmac(signing_key, 32, "aws4_request", signing_key);
}

static void sign(const char *path, char signature[65])
{
    char text[2048], digest_hex[65];
    unsigned char digest[32];
    int size = snprintf(text, sizeof text, "%s\n%s\n%s\nhost:%s\n\nhost\nUNSIGNED-PAYLOAD",
                        options.method, path, query, options.endpoint);
    EVP_Digest(text, (size_t)size, digest, NULL, EVP_sha256(), NULL);
    hex(digest, digest_hex);
    snprintf(text, sizeof text, "AWS4-HMAC-SHA256\n%s\n%.8s/us-east-1/s3/aws4_request\n%s",
             amz_date, amz_date, digest_hex);
    hmac(signing_key, 32, text, digest);
    hex(digest, signature);
}

static void make_path(uint64_t number, char out[512])
{
    if (options.keys > 0)
        number = number % options.keys;
    number += options.first;
    if (options.per_folder > 0)
        snprintf(out, 512, "/%s/%s%05llu/%06llu", options.bucket, options.prefix,
                 (unsigned long long)(number / options.per_folder),
                 (unsigned long long)(number % options.per_folder));
    else
        snprintf(out, 512, "/%s/%s%09llu", options.bucket, options.prefix,
                 (unsigned long long)number);
}

/* ---- one request after another ---- */

static bool has_body(void)
{
    return strcmp(options.method, "PUT") == 0;
}

static void watch(struct connection *connection, uint32_t events)
{
    if (connection->events == events)
        return;
    struct epoll_event event = {.events = events, .data.ptr = connection};
    if (epoll_ctl(poller, EPOLL_CTL_MOD, connection->fd, &event) != 0)
        die("epoll: %s", strerror(errno));
    connection->events = events;
}

static bool over(void)
{
    return (options.count > 0 && issued >= options.count) ||
           (deadline_ns > 0 && now_ns() >= deadline_ns);
}

static void issue(struct connection *connection)
{
    if (over()) {
        connection->phase = PHASE_DONE;
        return;
    }
    char path[512], signature[65], length[48] = "";
    make_path(issued++, path);
    sign(path, signature);
    if (has_body())
        snprintf(length, sizeof length, "Content-Length: %llu\r\n",
                 (unsigned long long)options.size);
    int size = snprintf(connection->head, sizeof connection->head,
                        "%s %s?%s&X-Amz-Signature=%s HTTP/1.1\r\nHost: %s\r\n%s\r\n",
                        options.method, path, query, signature, options.endpoint, length);
    connection->head_size = (size_t)size;
    connection->sent = 0;
    connection->answer_size = 0;
    connection->phase = PHASE_SEND;
    connection->began_ns = now_ns();
}

/* A log-linear histogram of microseconds. */
static unsigned bucket_of(uint64_t us)
{
    if (us < HISTOGRAM_STEPS)
        return (unsigned)us;
    unsigned power = 63 - (unsigned)__builtin_clzll(us);
    return (power - 4) * HISTOGRAM_STEPS + (unsigned)((us >> (power - 5)) & (HISTOGRAM_STEPS - 1));
}

static uint64_t bucket_us(unsigned bucket)
{
    if (bucket < 2 * HISTOGRAM_STEPS)
        return bucket;
    unsigned power = bucket / HISTOGRAM_STEPS + 4;
    return (1ull << power) + ((uint64_t)(bucket % HISTOGRAM_STEPS) << (power - 5));
}

static uint64_t percentile_us(double share)
{
    uint64_t seen = 0, wanted = (uint64_t)((double)finished * share);
    for (unsigned i = 0; i < sizeof histogram / sizeof histogram[0]; i++) {
        seen += histogram[i];
        if (seen > wanted)
            return bucket_us(i);
    }
    return 0;
}

static void complete(struct connection *connection)
{
    finished++;
    histogram[bucket_of((now_ns() - connection->began_ns) / 1000)]++;
    if (connection->status < 200 || connection->status > 299) {
        if (errors++ == 0)
            fprintf(stderr, "sluice-load: the first answer that is no success: %.*s\n", 300,
                    connection->answer);
    }
    issue(connection);
}

/* ---- the socket ---- */

static bool would_block(ssize_t result)
{
    if (result >= 0)
        return false;
    if (errno == EAGAIN || errno == EINTR)
        return true;
    die("the connection broke: %s", strerror(errno));
}

/* False: wait for the socket. */
static bool do_send(struct connection *connection)
{
    size_t body_size = has_body() ? options.size : 0, total = connection->head_size + body_size;
    struct iovec parts[2];
    int count = 0;
    if (connection->sent < connection->head_size)
        parts[count++] = (struct iovec){connection->head + connection->sent,
                                        connection->head_size - connection->sent};
    size_t body_sent =
        connection->sent > connection->head_size ? connection->sent - connection->head_size : 0;
    if (body_size > body_sent)
        parts[count++] = (struct iovec){body + body_sent, body_size - body_sent};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)count};
    ssize_t sent = sendmsg(connection->fd, &message, MSG_NOSIGNAL);
    if (would_block(sent)) {
        watch(connection, EPOLLOUT);
        return false;
    }
    connection->sent += (size_t)sent;
    if (connection->sent == total)
        connection->phase = PHASE_HEAD;
    return true;
}

static uint64_t content_length(const char *head)
{
    const char *line = strcasestr(head, "\r\ncontent-length:");
    return line != NULL ? strtoull(line + 17, NULL, 10) : 0;
}

static bool do_head(struct connection *connection)
{
    size_t room = sizeof connection->answer - 1 - connection->answer_size;
    if (room == 0)
        die("an answer's head has more than %u bytes", HEAD_BYTES_MAX);
    ssize_t got = recv(connection->fd, connection->answer + connection->answer_size, room, 0);
    if (would_block(got)) {
        watch(connection, EPOLLIN);
        return false;
    }
    if (got == 0)
        die("the server closed a connection in the middle of a request");
    connection->answer_size += (size_t)got;
    connection->answer[connection->answer_size] = '\0';
    char *end = strstr(connection->answer, "\r\n\r\n");
    if (end == NULL)
        return true;
    if (sscanf(connection->answer, "HTTP/1.1 %d", &connection->status) != 1)
        die("not an HTTP answer: %.60s", connection->answer);
    uint64_t size = content_length(connection->answer);
    uint64_t here = connection->answer_size - (size_t)(end + 4 - connection->answer);
    received_bytes += size;
    connection->left = size > here ? size - here : 0;
    connection->phase = PHASE_BODY;
    return true;
}

static bool do_body(struct connection *connection)
{
    static char drain[DRAIN_BYTES];
    if (connection->left == 0) {
        complete(connection);
        return true;
    }
    size_t want = connection->left < sizeof drain ? connection->left : sizeof drain;
    /* MSG_TRUNC on a TCP socket drops the bytes in the kernel: the client does not pay for a copy
     * that it does not look at. */
    ssize_t got = recv(connection->fd, drain, want, MSG_TRUNC);
    if (would_block(got)) {
        watch(connection, EPOLLIN);
        return false;
    }
    if (got == 0)
        die("the server closed a connection in the middle of a body");
    connection->left -= (uint64_t)got;
    return true;
}

static void turn(struct connection *connection)
{
    bool going = true;
    while (going && connection->phase != PHASE_DONE) {
        switch (connection->phase) {
        case PHASE_SEND:
            going = do_send(connection);
            break;
        case PHASE_HEAD:
            going = do_head(connection);
            break;
        case PHASE_BODY:
            going = do_body(connection);
            break;
        case PHASE_DONE:
            break;
        }
    }
}

static void open_connection(struct connection *connection)
{
    char host[64];
    const char *colon = strrchr(options.endpoint, ':');
    if (colon == NULL || (size_t)(colon - options.endpoint) >= sizeof host)
        die("--endpoint is ADDR:PORT, not %s", options.endpoint);
    snprintf(host, sizeof host, "%.*s", (int)(colon - options.endpoint), options.endpoint);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)atoi(colon + 1))};
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1)
        die("not an IPv4 address: %s", host);
    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection->fd < 0 ||
        connect(connection->fd, (struct sockaddr *)&address, sizeof address) != 0)
        die("connect to %s: %s", options.endpoint, strerror(errno));
    int on = 1;
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(connection->fd, F_SETFL, O_NONBLOCK);
    connection->events = EPOLLOUT;
    struct epoll_event event = {.events = EPOLLOUT, .data.ptr = connection};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, connection->fd, &event) != 0)
        die("epoll: %s", strerror(errno));
}

static bool all_done(void)
{
    for (uint64_t i = 0; i < options.connections; i++)
        if (connections[i].phase != PHASE_DONE)
            return false;
    return true;
}

static void run(void)
{
    struct epoll_event events[256];
    uint64_t give_up_ns = now_ns() + (options.seconds + 3600) * NS_PER_S;
    for (uint64_t i = 0; i < options.connections; i++) {
        issue(&connections[i]);
        turn(&connections[i]);
    }
    while (!all_done()) {
        int count = epoll_wait(poller, events, 256, 1000);
        for (int i = 0; i < count; i++)
            turn(events[i].data.ptr);
        if (deadline_ns > 0)
            give_up_ns = deadline_ns + DRAIN_LIMIT_S * NS_PER_S;
        if (now_ns() > give_up_ns)
            die("requests are still unanswered %u s after the end", DRAIN_LIMIT_S);
    }
}

/* ---- the command line ---- */

static uint64_t number(const char *text)
{
    char *end;
    uint64_t value = strtoull(text, &end, 10);
    if (*text == '\0' || *end != '\0')
        die("not a number: %s", text);
    return value;
}

static void read_options(int argc, char **argv)
{
    static const struct option names[] = {{"endpoint", 1, NULL, 'e'}, {"access-key", 1, NULL, 'a'},
                                          {"secret", 1, NULL, 's'},   {"bucket", 1, NULL, 'b'},
                                          {"method", 1, NULL, 'm'},   {"prefix", 1, NULL, 'p'},
                                          {"size", 1, NULL, 'z'},     {"connections", 1, NULL, 'c'},
                                          {"seconds", 1, NULL, 't'},  {"count", 1, NULL, 'n'},
                                          {"keys", 1, NULL, 'k'},     {"per-folder", 1, NULL, 'f'},
                                          {"first", 1, NULL, 'i'},    {0}};
    for (int c; (c = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        switch (c) {
        case 'e':
            options.endpoint = optarg;
            break;
        case 'a':
            options.access_key = optarg;
            break;
        case 's':
            options.secret = optarg;
            break;
        case 'b':
            options.bucket = optarg;
            break;
        case 'm':
            options.method = optarg;
            break;
        case 'p':
            options.prefix = optarg;
            break;
        case 'z':
            options.size = number(optarg);
            break;
        case 'c':
            options.connections = number(optarg);
            break;
        case 't':
            options.seconds = number(optarg);
            break;
        case 'n':
            options.count = number(optarg);
            break;
        case 'k':
            options.keys = number(optarg);
            break;
        case 'f':
            options.per_folder = number(optarg);
            break;
        case 'i':
            options.first = number(optarg);
            break;
        default:
            exit(2);
        }
    }
    if (options.endpoint == NULL || options.access_key == NULL || options.secret == NULL ||
        options.bucket == NULL)
        die("needs --endpoint, --access-key, --secret and --bucket");
    if (options.connections < 1 || options.connections > CONNECTIONS_MAX)
        die("--connections is 1 to %u", CONNECTIONS_MAX);
}

static void fill_body(void)
{
    body = malloc(options.size + 1);
    if (body == NULL)
        die("no memory for a body of %llu bytes", (unsigned long long)options.size);
    uint64_t state = 88172645463325252ull;
    for (uint64_t i = 0; i < options.size; i++) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        body[i] = (char)state;
    }
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    prepare_signing();
    fill_body();
    poller = epoll_create1(EPOLL_CLOEXEC);
    for (uint64_t i = 0; i < options.connections; i++)
        open_connection(&connections[i]);
    uint64_t began = now_ns();
    deadline_ns = options.count > 0 ? 0 : began + options.seconds * NS_PER_S;
    run();
    double seconds = (double)(now_ns() - began) / NS_PER_S;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("{\"requests\": %llu, \"errors\": %llu, \"seconds\": %.6f, "
           "\"sent_bytes\": %llu, \"received_bytes\": %llu, "
           "\"p50_us\": %llu, \"p99_us\": %llu, \"client_cpu_s\": %.3f}\n",
           (unsigned long long)finished, (unsigned long long)errors, seconds,
           (unsigned long long)(has_body() ? finished * options.size : 0),
           (unsigned long long)received_bytes, (unsigned long long)percentile_us(0.5),
           (unsigned long long)percentile_us(0.99),
           (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
               (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
    return errors > 0 ? 3 : 0;
}
