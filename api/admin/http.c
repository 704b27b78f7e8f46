/*
 * The door to libmicrohttpd, and nothing else. Each connection has a thread of its own, because
 * handlers wait for the disk; their number is bounded, and so are request bodies. The token is
 * judged before a body is read.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/admin/admin_priv.h"
#include "base/check.h"
#include "base/log.h"

#define CONNECTIONS_MAX 64u
#define TIMEOUT_SECONDS 30u
#define STACK_BYTES     (512u << 10) /* RocksDB's iterators want some */

struct call {                        /* one request, from its head to its end */
    const struct admin_route *route; /* NULL: refused at once */
    char *body;                      /* owned */
    size_t body_size;
};

/* ---- answering ---- */

static enum MHD_Result queue(struct MHD_Connection *connection, struct admin_reply *reply,
                             const char *methods)
{
    char *text = NULL;
    const char *type = "text/plain; charset=utf-8";
    size_t size = 0;
    if (reply->json != NULL) {
        text = json_dumps(reply->json, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
        type = "application/json";
        size = text != NULL ? strlen(text) : 0;
        json_decref(reply->json);
    } else if (!reply->text.failed) {
        text = reply->text.data; /* malloc'd, the response's from here on */
        size = reply->text.size;
        reply->text = (struct text_buf){0};
    }
    text_free(&reply->text);
    if (text == NULL && size == 0)
        text = strdup("");
    struct MHD_Response *response =
        text != NULL ? MHD_create_response_from_buffer(size, text, MHD_RESPMEM_MUST_FREE) : NULL;
    if (response == NULL) {
        free(text);
        return MHD_NO; /* out of memory: the connection is closed */
    }
    (void)MHD_add_response_header(response, "Content-Type", type);
    /* Answers hold secrets and change. */
    (void)MHD_add_response_header(response, "Cache-Control", "no-store");
    (void)MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (reply->status == 401)
        (void)MHD_add_response_header(response, "WWW-Authenticate", "Bearer");
    if (reply->status == 405)
        (void)MHD_add_response_header(response, "Allow", methods);
    enum MHD_Result result = MHD_queue_response(connection, (unsigned)reply->status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result refuse(struct MHD_Connection *connection, int status, enum err e,
                              const char *message, const char *hint, const char *methods)
{
    struct admin_reply reply = {0};
    struct err_trail trail = {0};
    (void)err_say(&trail, e, "%s", message);
    admin_reply_error(&reply, e, &trail, hint);
    reply.status = status;
    return queue(connection, &reply, methods);
}

/* ---- judging a request's head ---- */

static bool has_token(const struct admin *admin, struct MHD_Connection *connection)
{
    const char *given = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Authorization");
    struct bytes text = bytes_of_string(given);
    if (!bytes_start_with_nocase(text, BYTES("Bearer ")))
        return false;
    text = bytes_trim(bytes_slice(text, 7, SIZE_MAX));
    return bytes_equal_secret(text, bytes_of_string(admin->token));
}

static bool may_enter(const struct admin *admin, struct MHD_Connection *connection,
                      enum admin_access access)
{
    switch (access) {
    case ADMIN_OPEN:
        return true;
    case ADMIN_METRICS:
        return admin->metrics_open || has_token(admin, connection);
    case ADMIN_TOKEN:
        return has_token(admin, connection);
    }
    return false;
}

static bool body_is_too_long(struct MHD_Connection *connection)
{
    const char *length = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Content-Length");
    uint64_t size;
    return length != NULL &&
           (bytes_to_u64(bytes_of_string(length), &size) != ERR_OK || size > ADMIN_BODY_BYTES_MAX);
}

static enum MHD_Result begin(struct admin *admin, struct MHD_Connection *connection,
                             const char *path, const char *method, struct call *call)
{
    char methods[64];
    const struct admin_route *route = admin_route_find(method, path, methods);
    if (route == NULL && methods[0] != '\0')
        return refuse(connection, 405, ERR_UNSUPPORTED, "the path does not take this method", NULL,
                      methods);
    if (route == NULL)
        return refuse(connection, 404, ERR_NO_SUCH_FILE, "there is no such path",
                      "GET /healthz /readyz /metrics, /v1/status /v1/volume /v1/replication "
                      "/v1/peers /v1/keys /v1/extents /v1/object",
                      "");
    if (!may_enter(admin, connection, route->access))
        return refuse(connection, 401, ERR_DENIED, "the admin token is missing or wrong",
                      "send \"Authorization: Bearer TOKEN\"; the token is in the node's directory, "
                      "file admin-token",
                      "");
    if (body_is_too_long(connection))
        return refuse(connection, 413, ERR_TOO_LARGE, "the body is larger than 64 KiB", NULL, "");
    call->route = route;
    return MHD_YES;
}

static enum MHD_Result take_body(struct call *call, const char *data, size_t size)
{
    if (size > ADMIN_BODY_BYTES_MAX - call->body_size)
        return MHD_NO; /* chunked, and longer than any honest one: the connection is closed */
    if (call->body == NULL && (call->body = malloc(ADMIN_BODY_BYTES_MAX)) == NULL)
        return MHD_NO;
    memcpy(call->body + call->body_size, data, size);
    call->body_size += size;
    return MHD_YES;
}

static struct bytes query(const struct admin_request *request, const char *name)
{
    const char *value = NULL;
    size_t size = 0;
    if (MHD_lookup_connection_value_n(request->connection, MHD_GET_ARGUMENT_KIND, name,
                                      strlen(name), &value, &size) != MHD_YES)
        return (struct bytes){0};
    return bytes_of(value != NULL ? value : "", size);
}

static enum MHD_Result answer(struct admin *admin, struct MHD_Connection *connection,
                              const char *path, struct call *call)
{
    json_t *body = NULL;
    if (call->body_size > 0) {
        json_error_t fault;
        body = json_loadb(call->body, call->body_size, JSON_REJECT_DUPLICATES, &fault);
        if (body == NULL)
            return refuse(connection, 400, ERR_BAD_SYNTAX, "the body is not JSON", fault.text, "");
    }
    struct admin_reply reply = {.status = 500};
    struct admin_request request = {.rest = path + strlen(call->route->path),
                                    .query = query,
                                    .connection = connection,
                                    .body = body};
    call->route->handler(admin, &request, &reply);
    json_decref(body);
    return queue(connection, &reply, "");
}

/* libmicrohttpd calls this for the head, for pieces of the body, and at its end. */
static enum MHD_Result access_request(void *context, struct MHD_Connection *connection,
                                      const char *path, const char *method, const char *version,
                                      const char *data, size_t *data_size, void **state)
{
    struct admin *admin = context;
    struct call *call = *state;
    if (call == NULL) {
        call = calloc(1, sizeof *call);
        if (call == NULL)
            return MHD_NO;
        *state = call;
        return begin(admin, connection, path, method, call);
    }
    if (*data_size > 0) {
        enum MHD_Result result = take_body(call, data, *data_size);
        *data_size = 0;
        return result;
    }
    CHECK(call->route != NULL); /* a refused request has its response and does not come back */
    return answer(admin, connection, path, call);
}

static void complete(void *context, struct MHD_Connection *connection, void **state,
                     enum MHD_RequestTerminationCode why)
{
    struct call *call = *state;
    if (call == NULL)
        return;
    if (call->body != NULL)
        explicit_bzero(call->body, call->body_size); /* may hold a secret */
    free(call->body);
    free(call);
    *state = NULL;
}

static void log_line(void *context, const char *format, va_list args)
{
    char line[256];
    vsnprintf(line, sizeof line, format, args);
    line[strcspn(line, "\n")] = '\0';
    LOG_LIMITED(LOG_DEBUG, "admin", "%s", line);
}

/* ---- listening ---- */

static enum err bind_to(int fd, const char *host, uint16_t port, uint16_t *ret_port,
                        struct err_trail *trail)
{
    union {
        struct sockaddr any;
        struct sockaddr_in four;
        struct sockaddr_in6 six;
    } address = {0};
    socklen_t size = sizeof address.four;
    if (inet_pton(AF_INET, host, &address.four.sin_addr) == 1) {
        address.four.sin_family = AF_INET;
        address.four.sin_port = htons(port);
    } else {
        if (inet_pton(AF_INET6, host, &address.six.sin6_addr) != 1)
            return ERR_INVALID;
        address.six.sin6_family = AF_INET6;
        address.six.sin6_port = htons(port);
        size = sizeof address.six;
    }
    if (bind(fd, &address.any, size) != 0 || listen(fd, (int)CONNECTIONS_MAX) != 0 ||
        getsockname(fd, &address.any, &size) != 0)
        return err_say(trail, err_from_errno(errno), "%s", strerrordesc_np(errno));
    *ret_port =
        ntohs(address.any.sa_family == AF_INET ? address.four.sin_port : address.six.sin6_port);
    return ERR_OK;
}

static enum err listen_on(const char *host, uint16_t port, int *ret_fd, uint16_t *ret_port,
                          struct err_trail *trail)
{
    int on = 1,
        fd = socket(strchr(host, ':') != NULL ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_note(trail, err_from_errno(errno), "open a socket");
    /* Or a restart waits a minute. */
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    enum err e = bind_to(fd, host, port, ret_port, trail);
    if (e) {
        (void)close(fd);
        if (e == ERR_IN_USE)
            return err_say(
                trail, e,
                "port %u of %s is in use by another process: choose one with --admin ADDR:PORT",
                port, host);
        return err_note(trail, e, "listen on %s port %u", host, port);
    }
    *ret_fd = fd;
    return ERR_OK;
}

static enum err daemon_start(struct admin *admin, const struct admin_options *options,
                             struct err_trail *trail)
{
    int fd = -1;
    enum err e = listen_on(options->host, options->port, &fd, &admin->port, trail);
    if (e)
        return e;
    unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION |
                     MHD_USE_POLL | MHD_USE_ERROR_LOG;
    admin->daemon = MHD_start_daemon(
        flags, admin->port, NULL, NULL, access_request, admin, MHD_OPTION_EXTERNAL_LOGGER, log_line,
        NULL, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_NOTIFY_COMPLETED, complete, NULL,
        MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
        TIMEOUT_SECONDS, MHD_OPTION_THREAD_STACK_SIZE, (size_t)STACK_BYTES, MHD_OPTION_END);
    if (admin->daemon != NULL)
        return ERR_OK;
    (void)close(fd);
    return err_say(trail, ERR_INTERNAL, "libmicrohttpd did not start");
}

enum err admin_open(const struct admin_options *options, struct admin **ret_admin,
                    struct err_trail *trail)
{
    CHECK(strlen(options->token) > 0 &&
          strlen(options->token) < sizeof(((struct admin *)0)->token));
    struct admin *admin = calloc(1, sizeof *admin);
    if (admin == NULL)
        return ERR_NO_MEMORY;
    admin->group = options->group;
    admin->volume = options->volume;
    admin->keyring = options->keyring;
    admin->bucket_settings = options->bucket_settings;
    admin->scrub = options->scrub;
    admin->s3 = options->s3;
    admin->get_policy = options->get_policy;
    admin->clock = options->clock != NULL ? options->clock : clock_system();
    admin->version = options->version;
    admin->region = options->region;
    admin->s3_endpoint = options->s3_endpoint;
    admin->tls_endpoint = options->tls_endpoint ? options->tls_endpoint : "";
    admin->metrics_open = options->metrics_open;
    admin->started_ns = clock_mono_ns(admin->clock);
    strcpy(admin->token, options->token);
    atomic_store(&admin->why_not_ready, "starting");
    enum err e = daemon_start(admin, options, trail);
    if (e) {
        free(admin);
        return e;
    }
    admin_metrics_open(admin);
    *ret_admin = admin;
    return ERR_OK;
}

uint16_t admin_port(const struct admin *admin)
{
    return admin->port;
}

void admin_set_ready(struct admin *admin, const char *why_not)
{
    atomic_store(&admin->why_not_ready, why_not);
}

void admin_close(struct admin *admin)
{
    if (admin == NULL)
        return;
    MHD_stop_daemon(admin->daemon);
    admin_metrics_close(admin);
    explicit_bzero(admin->token, sizeof admin->token);
    free(admin);
}
