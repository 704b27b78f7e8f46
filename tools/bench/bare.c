/*
 * sluice-bare: the least that a server of durable PUTs can be, to compare with. A thread a
 * connection: receive the body into aligned memory, hash it with OpenSSL's MD5, write it by
 * O_DIRECT, fdatasync, answer with the ETag. No signature is checked, nothing is named, no checksum
 * is kept and nothing can be read back: each connection overwrites one preallocated file of its
 * own, which is the cheapest thing a disk can be asked for. Whoever does all that Sluice does for
 * less CPU than this moves bytes well.
 *
 *   sluice-bare --dir DIR --size-max BYTES [--no-md5]
 *               prints the port it listens on, on 127.0.0.1; ends with its standard input
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/md5.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER_BYTES   (1u << 20)
#define ALIGN_BYTES    4096u
#define HEAD_BYTES_MAX 8192u

static struct {
    const char *dir;
    uint64_t size_max;
    bool no_md5;
} options;

static void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
static void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("sluice-bare: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

/* ---- one connection ---- */

struct connection {
    int fd, file;
    uint8_t *buffer; /* the body passes through it, a piece after another */
    char head[HEAD_BYTES_MAX];
    size_t head_size; /* received; may hold the body's beginning */
};

/* The size of the head with its empty line; 0: the client has gone. */
static size_t receive_head(struct connection *c)
{
    for (;;) {
        c->head[c->head_size] = '\0';
        char *end = strstr(c->head, "\r\n\r\n");
        if (end != NULL)
            return (size_t)(end + 4 - c->head);
        if (c->head_size == sizeof c->head - 1)
            die("a head of more than %u bytes", HEAD_BYTES_MAX);
        ssize_t got = recv(c->fd, c->head + c->head_size, sizeof c->head - 1 - c->head_size, 0);
        if (got <= 0)
            return 0;
        c->head_size += (size_t)got;
    }
}

static bool receive_all(struct connection *c, uint8_t *to, size_t size)
{
    while (size > 0) {
        ssize_t got = recv(c->fd, to, size, MSG_WAITALL);
        if (got <= 0)
            return false;
        to += got, size -= (size_t)got;
    }
    return true;
}

static void write_piece(struct connection *c, size_t size, uint64_t offset)
{
    size_t padded = (size + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES;
    memset(c->buffer + size, 0, padded - size);
    if (pwrite(c->file, c->buffer, padded, (off_t)offset) != (ssize_t)padded)
        die("write: %s", strerror(errno));
}

static bool serve_one(struct connection *c)
{
    size_t head = receive_head(c);
    if (head == 0)
        return false;
    const char *length = strcasestr(c->head, "\r\ncontent-length:");
    uint64_t size = length != NULL ? strtoull(length + 17, NULL, 10) : 0;
    if (size > options.size_max)
        die("a body of %llu bytes is more than --size-max", (unsigned long long)size);
    MD5_CTX md5;
    MD5_Init(&md5);
    size_t here = c->head_size - head; /* of the body, come with the head */
    memcpy(c->buffer, c->head + head, here);
    c->head_size = 0;
    for (uint64_t done = 0; done < size; here = 0) {
        size_t piece = size - done < BUFFER_BYTES ? (size_t)(size - done) : BUFFER_BYTES;
        if (!receive_all(c, c->buffer + here, piece - here))
            return false;
        if (!options.no_md5)
            MD5_Update(&md5, c->buffer, piece);
        write_piece(c, piece, done);
        done += piece;
    }
    if (fdatasync(c->file) != 0)
        die("fdatasync: %s", strerror(errno));
    uint8_t digest[16];
    char etag[33], answer[200];
    MD5_Final(digest, &md5);
    for (int i = 0; i < 16; i++)
        snprintf(etag + 2 * i, 3, "%02x", digest[i]);
    int answer_size =
        snprintf(answer, sizeof answer,
                 "HTTP/1.1 200 OK\r\nETag: \"%s\"\r\nContent-Length: 0\r\n\r\n", etag);
    return send(c->fd, answer, (size_t)answer_size, MSG_NOSIGNAL) == answer_size;
}

static void *serve(void *context)
{
    struct connection *c = context;
    while (serve_one(c))
        ;
    close(c->fd);
    close(c->file);
    free(c->buffer);
    free(c);
    return NULL;
}

static struct connection *connection_new(int fd)
{
    static atomic_uint number;
    struct connection *c = calloc(1, sizeof *c);
    char path[4096];
    snprintf(path, sizeof path, "%s/bare.%u", options.dir, atomic_fetch_add(&number, 1) % 1024);
    if (c == NULL)
        die("no memory");
    c->fd = fd;
    c->buffer = aligned_alloc(ALIGN_BYTES, BUFFER_BYTES);
    c->file = open(path, O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
    if (c->file < 0)
        die("%s: %s", path, strerror(errno));
    uint64_t room = (options.size_max + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES;
    int result = posix_fallocate(c->file, 0, (off_t)room);
    if (c->buffer == NULL || result != 0)
        die("%s: %s", path, c->buffer == NULL ? "no memory" : strerror(result));
    return c;
}

/* ---- the process ---- */

static void *end_with_input(void *context)
{
    char byte;
    (void)context;
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
    exit(0);
}

static void read_options(int argc, char **argv)
{
    static const struct option names[] = {
        {"dir", 1, NULL, 'd'}, {"size-max", 1, NULL, 'm'}, {"no-md5", 0, NULL, 'n'}, {0}};
    for (int c; (c = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        switch (c) {
        case 'd':
            options.dir = optarg;
            break;
        case 'm':
            options.size_max = strtoull(optarg, NULL, 10);
            break;
        case 'n':
            options.no_md5 = true;
            break;
        default:
            exit(2);
        }
    }
    if (options.dir == NULL || options.size_max == 0)
        die("needs --dir and --size-max");
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) != 0 ||
        listen(listener, 1024) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) != 0)
        die("listen: %s", strerror(errno));
    printf("%u\n", ntohs(address.sin_port));
    fflush(stdout);
    pthread_t thread;
    if (pthread_create(&thread, NULL, end_with_input, NULL) != 0)
        die("no thread");
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            die("accept: %s", strerror(errno));
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (pthread_create(&thread, NULL, serve, connection_new(fd)) != 0)
            die("no thread for another connection");
        pthread_detach(thread);
    }
}
