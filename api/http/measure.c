#include "api/http/measure.h"

#include <stdio.h>

#include "api/http/conn.h"
#include "base/log.h"
#include "base/metric.h"

#define METHODS(X)                                                                                 \
    X(HTTP_GET, "GET")                                                                             \
    X(HTTP_HEAD, "HEAD")                                                                           \
    X(HTTP_PUT, "PUT")                                                                             \
    X(HTTP_POST, "POST")                                                                           \
    X(HTTP_DELETE, "DELETE")                                                                       \
    X(HTTP_OPTIONS, "OPTIONS")                                                                     \
    X(HTTP_METHOD_OTHER, "other")

#define METHOD_COUNT (HTTP_METHOD_OTHER + 1)
#define CLASS_COUNT  4 /* 2xx to 5xx */

#define REQUESTS(method, class_text)                                                               \
    {                                                                                              \
        .name = "sluice_http_requests_total",                                                      \
        .labels = "method=\"" method "\",status=\"" class_text "\"", .help = "Requests answered",  \
        .kind = METRIC_COUNTER                                                                     \
    }

static struct metric requests[METHOD_COUNT][CLASS_COUNT] = {
#define X(method, text)                                                                            \
    [method] = {REQUESTS(text, "2xx"), REQUESTS(text, "3xx"), REQUESTS(text, "4xx"),               \
                REQUESTS(text, "5xx")},
    METHODS(X)
#undef X
};

/* One counter a path, or an obstacle, of the same name and kind. */
#define COUNTER(name_, label, value, help_)                                                        \
    {                                                                                              \
        .name = name_, .labels = label "=\"" value "\"", .help = help_, .kind = METRIC_COUNTER     \
    }

static struct metric path_requests[PATH_ID_COUNT] = {
#define X(id, name)                                                                                \
    [PATH_##id] = COUNTER("sluice_http_path_requests_total", "path", name,                         \
                          "Responses with object bytes, by the path they began with"),
    PATHS(X)
#undef X
};
static struct metric path_bytes[PATH_ID_COUNT] = {
#define X(id, name)                                                                                \
    [PATH_##id] = COUNTER("sluice_http_path_bytes_total", "path", name, "Object bytes sent"),
    PATHS(X)
#undef X
};
static struct metric path_copied[PATH_ID_COUNT] = {
#define X(id, name)                                                                                \
    [PATH_##id] =                                                                                  \
        COUNTER("sluice_http_copied_bytes_total", "path", name,                                    \
                "Object bytes the CPU copied on their way to the socket or, promote, to "          \
                "be checked for it"),
    PATHS(X)
#undef X
};
static struct metric promoted_bytes =
    COUNTER("sluice_http_copied_bytes_total", "path", "promote",
            "Object bytes the CPU copied on their way to the socket or, promote, to be checked for "
            "it");
#define ZERO_COPY(kernel)                                                                          \
    COUNTER("sluice_http_zero_copy_bytes_total", "kernel", kernel,                                 \
            "Object bytes given to zero-copy sends, by what the kernel said it did with them")
static struct metric zero_copied[] = {
    [RING_USAGE_UNKNOWN] = ZERO_COPY("silent"),
    [RING_USAGE_ZERO_COPY] = ZERO_COPY("sent"),
    [RING_USAGE_COPIED] = ZERO_COPY("copied"),
};
static struct metric fallbacks[OBSTACLE_COUNT] = {
#define X(id, label, passes, text)                                                                 \
    [OBSTACLE_##id] = COUNTER("sluice_http_path_fallbacks_total", "reason", label,                 \
                              "Responses not served, or not to their end, by the path they were "  \
                              "to take"),
    PATH_OBSTACLES(X)
#undef X
};
static struct metric refusals[OBSTACLE_COUNT] = {
#define X(id, label, passes, text)                                                                 \
    [OBSTACLE_##id] = COUNTER("sluice_http_path_refused_total", "reason", label,                   \
                              "Requests refused because the path they require was not to be had"),
    PATH_OBSTACLES(X)
#undef X
};
static struct metric cuts = {
    .name = "sluice_http_path_cut_total",
    .help = "Responses ended short because the path they require did not last",
    .kind = METRIC_COUNTER,
};

static struct metric handshakes[] = {
    {.name = "sluice_tls_handshakes_total",
     .labels = "version=\"1.2\"",
     .help = "TLS handshakes that succeeded",
     .kind = METRIC_COUNTER},
    {.name = "sluice_tls_handshakes_total",
     .labels = "version=\"1.3\"",
     .help = "TLS handshakes that succeeded",
     .kind = METRIC_COUNTER},
};
static struct metric resumptions = {.name = "sluice_tls_resumptions_total",
                                    .help = "TLS handshakes shortened by a session ticket",
                                    .kind = METRIC_COUNTER};
static struct metric kernel_tls[] = {
    {.name = "sluice_tls_kernel_connections_total",
     .labels = "direction=\"send\"",
     .help = "TLS connections whose records the kernel makes (send) or opens (receive)",
     .kind = METRIC_COUNTER},
    {.name = "sluice_tls_kernel_connections_total",
     .labels = "direction=\"receive\"",
     .help = "TLS connections whose records the kernel makes (send) or opens (receive)",
     .kind = METRIC_COUNTER},
};
static struct metric handshake_failures[TLS_FAILURE_COUNT] = {
#define X(reason, label)                                                                           \
    [TLS_FAILURE_##reason] = {.name = "sluice_tls_handshake_failures_total",                       \
                              .labels = "reason=\"" label "\"",                                    \
                              .help = "TLS handshakes that failed",                                \
                              .kind = METRIC_COUNTER},
    TLS_FAILURES(X)
#undef X
};

static struct metric refused = {.name = "sluice_http_refused_total",
                                .help = "Requests refused before they were understood",
                                .kind = METRIC_COUNTER};
static struct metric connections = {
    .name = "sluice_http_connections", .help = "Open connections", .kind = METRIC_GAUGE};
static struct metric slots_waiting = {.name = "sluice_http_slots_waiting",
                                      .help = "Exchanges waiting for an arena slot",
                                      .kind = METRIC_GAUGE};
static struct metric promotions = {.name = "sluice_http_promotions_total",
                                   .help = "Windows read into the page cache and checked",
                                   .kind = METRIC_COUNTER};
static struct metric rereads = {.name = "sluice_http_rereads_total",
                                .help = "Windows read again because a checksum differed",
                                .kind = METRIC_COUNTER};
static struct metric cut_offs = {.name = "sluice_http_slow_peers_total",
                                 .help = "Connections cut because the peer took too long",
                                 .kind = METRIC_COUNTER};
static struct metric headers_left_out = {.name = "sluice_http_headers_left_out_total",
                                         .help = "Response headers that could not be sent",
                                         .kind = METRIC_COUNTER};
static struct metric durations = {
    .name = "sluice_http_request_seconds",
    .help = "From the end of the request's head to the last byte of the response",
    .kind = METRIC_HISTOGRAM,
    .bucket_first = 32 * 1000, /* 32 us .. 268 s */
    .unit_per_one = NS_PER_SECOND,
};

void measure_register(void)
{
    for (size_t m = 0; m < METHOD_COUNT; m++)
        for (size_t class = 0; class < CLASS_COUNT; class ++)
            metric_register(&requests[m][class]);
    struct metric *const by_path[] = {path_requests, path_bytes, path_copied};
    for (size_t m = 0; m < COUNT_OF(by_path); m++)
        for (size_t i = PATH_AUTO + 1; i < PATH_ID_COUNT; i++)
            metric_register(&by_path[m][i]);
    struct metric *const by_obstacle[] = {fallbacks, refusals};
    for (size_t m = 0; m < COUNT_OF(by_obstacle); m++)
        for (size_t i = OBSTACLE_NONE + 1; i < OBSTACLE_COUNT; i++)
            metric_register(&by_obstacle[m][i]);
    for (size_t i = 0; i < COUNT_OF(zero_copied); i++)
        metric_register(&zero_copied[i]);
    for (size_t i = 0; i < COUNT_OF(handshakes); i++)
        metric_register(&handshakes[i]);
    for (size_t i = 0; i < COUNT_OF(kernel_tls); i++)
        metric_register(&kernel_tls[i]);
    for (size_t i = TLS_FAILURE_NONE + 1; i < TLS_FAILURE_COUNT; i++)
        metric_register(&handshake_failures[i]);
    metric_register(&resumptions);
    struct metric *const rest[] = {&promoted_bytes,   &cuts,       &refused, &connections,
                                   &slots_waiting,    &promotions, &rereads, &cut_offs,
                                   &headers_left_out, &durations};
    for (size_t i = 0; i < COUNT_OF(rest); i++)
        metric_register(rest[i]);
}

/* ---- the access log ---- */

/* What a client sent, fit for a line of `key=value`: everything but plain characters is %-coded,
 * and it ends at the buffer's end. */
static const char *plain(struct bytes text, char *out, size_t out_size)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t used = 0;
    for (size_t i = 0; i < text.size && used + 4 <= out_size; i++) {
        uint8_t c = (uint8_t)text.data[i];
        if (c > 0x20 && c < 0x7f && c != '"' && c != '\\') {
            out[used++] = (char)c;
            continue;
        }
        out[used++] = '%', out[used++] = digits[c >> 4], out[used++] = digits[c & 15];
    }
    if (used == 0)
        out[used++] = '-';
    out[used] = '\0';
    return out;
}

static const char *tls_text(const struct conn *c)
{
    if (c->tls == NULL)
        return "-";
    bool is_13 = strcmp(tls_version(c->tls->tls), "1.3") == 0;
    if (tls_kernel_sends(c->tls->tls))
        return is_13 ? "1.3,kernel" : "1.2,kernel";
    return is_13 ? "1.3" : "1.2";
}

/* The query is left out: a presigned one lets whoever reads it act in its signer's name. */
static void log_exchange(struct exchange *x, uint64_t duration_ns)
{
    char method[HTTP_METHOD_BYTES_MAX + 4], target[512], key[64];
    struct bytes target_path = x->request.path;
    char via[40];
    /* "sendfile>direct": begun with the one, the last bytes by the other. */
    bool is_handed_over = x->last_path && x->last_path != x->path;
    snprintf(via, sizeof via, "%s%s%s", x->path ? x->path->name : "-", is_handed_over ? ">" : "",
             is_handed_over ? x->last_path->name : "");
    LOG(LOG_INFO, "http",
        "request id=%s peer=%s method=%s path=%s status=%d in=%llu out=%llu us=%llu via=%s "
        "copies=%u extents=%u tls=%s operation=%s key=%s",
        x->id, conn__peer(x->conn), plain(x->request.method_name, method, sizeof method),
        plain(target_path, target, sizeof target), x->status, (unsigned long long)x->body.received,
        (unsigned long long)x->bytes_out, (unsigned long long)(duration_ns / 1000), via, x->copies,
        x->send.extents, tls_text(x->conn), x->operation ? x->operation : "-",
        plain(x->access_key, key, sizeof key));
}

static void count_request(enum http_method method, int status)
{
    int class = status / 100 - 2;
    if (class >= 0 && class < CLASS_COUNT)
        metric_add(&requests[method][class], 1);
}

void measure_exchange(struct exchange *x)
{
    uint64_t duration_ns = loop_now_ns(x->conn->worker->loop) - x->begun_ns;
    count_request(x->request.method, x->status);
    metric_observe(&durations, duration_ns);
    if (x->conn->worker->server->access_log)
        log_exchange(x, duration_ns);
}

void measure_refused(enum http_refusal why)
{
    count_request(HTTP_METHOD_OTHER, http_refusal_status(why));
    metric_add(&refused, 1);
}

void measure_path_begun(const struct path *path)
{
    metric_add(&path_requests[path->id], 1);
}

void measure_path_bytes(const struct path *path, uint64_t size, unsigned copies)
{
    metric_add(&path_bytes[path->id], (int64_t)size);
    if (copies > 0)
        metric_add(&path_copied[path->id], (int64_t)(size * copies));
}

void measure_zero_copy(enum ring_usage usage, uint64_t size)
{
    metric_add(&zero_copied[usage], (int64_t)size);
    if (usage != RING_USAGE_ZERO_COPY)
        metric_add(&path_copied[PATH_DIRECT], (int64_t)size);
}

void measure_fallback(enum path_obstacle why)
{
    metric_add(&fallbacks[why], 1);
}

void measure_path_refused(enum path_obstacle why)
{
    metric_add(&refusals[why], 1);
}

void measure_path_cut(void)
{
    metric_add(&cuts, 1);
}

void measure_promotion(uint64_t size)
{
    metric_add(&promotions, 1);
    metric_add(&promoted_bytes, (int64_t)size);
}

void measure_reread(void)
{
    metric_add(&rereads, 1);
}

void measure_connections(int change)
{
    metric_add(&connections, change);
}

void measure_slot_wait(int change)
{
    metric_add(&slots_waiting, change);
}

void measure_cut_off(void)
{
    metric_add(&cut_offs, 1);
}

void measure_header_left_out(void)
{
    metric_add(&headers_left_out, 1);
}

void measure_handshake(const struct tls *tls)
{
    metric_add(&handshakes[strcmp(tls_version(tls), "1.3") == 0], 1);
    if (tls_is_resumed(tls))
        metric_add(&resumptions, 1);
    if (tls_kernel_sends(tls))
        metric_add(&kernel_tls[0], 1);
    if (tls_kernel_receives(tls))
        metric_add(&kernel_tls[1], 1);
}

void measure_handshake_failed(enum tls_failure why)
{
    metric_add(&handshake_failures[why], 1);
}
