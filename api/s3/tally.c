#include "api/s3/tally.h"

#include <pthread.h>

#include "base/check.h"
#include "base/metric.h"

#define TALLY_ROUTES_MAX  160
#define TALLY_LABEL_BYTES 80
#define TALLY_FIRST_NS    65536 /* 66 us; 24 doublings reach 9 minutes */

/* Row 0 is for requests that found no route; row 1 + i is s3_routes[i]. */
static struct metric requests[TALLY_ROUTES_MAX + 1];
static struct metric seconds[TALLY_ROUTES_MAX + 1];
static struct metric errors[S3_ERROR_COUNT];
static char route_labels[TALLY_ROUTES_MAX + 1][TALLY_LABEL_BYTES];
static char error_labels[S3_ERROR_COUNT][TALLY_LABEL_BYTES];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void register_route(size_t row, const char *operation, bool is_ours)
{
    struct buf label = {.data = route_labels[row], .capacity = TALLY_LABEL_BYTES - 1};
    buf_printf(&label, "operation=\"%s\"", operation);
    requests[row] = (struct metric){
        .name = "sluice_s3_requests_total",
        .labels = route_labels[row],
        .help = "S3 requests answered, by operation",
        .kind = METRIC_COUNTER,
    };
    metric_register(&requests[row]);
    if (!is_ours)
        return; /* how long a 501 takes interests nobody */
    seconds[row] = (struct metric){
        .name = "sluice_s3_request_seconds",
        .labels = route_labels[row],
        .help = "From a request's head to its answer's last byte, by operation",
        .kind = METRIC_HISTOGRAM,
        .bucket_first = TALLY_FIRST_NS,
        .unit_per_one = 1000000000,
    };
    metric_register(&seconds[row]);
}

static void register_all(void)
{
    CHECK(s3_route_count <= TALLY_ROUTES_MAX);
    register_route(0, "none", false);
    for (size_t i = 0; i < s3_route_count; i++)
        register_route(1 + i, s3_routes[i].operation, s3_routes[i].handler != NULL);
    for (unsigned i = 1; i < S3_ERROR_COUNT; i++) {
        struct buf label = {.data = error_labels[i], .capacity = TALLY_LABEL_BYTES - 1};
        buf_printf(&label, "code=\"%s\"", s3_error_code((enum s3_error)i));
        errors[i] = (struct metric){
            .name = "sluice_s3_errors_total",
            .labels = error_labels[i],
            .help = "S3 requests answered with an error, by code",
            .kind = METRIC_COUNTER,
        };
        metric_register(&errors[i]);
    }
}

void tally_register(void)
{
    CHECK(pthread_once(&once, register_all) == 0);
}

void tally_request(const struct s3_route *route, enum s3_error error, uint64_t took_ns)
{
    size_t row = route == NULL ? 0 : 1 + (size_t)(route - s3_routes);
    metric_add(&requests[row], 1);
    if (route != NULL && route->handler != NULL)
        metric_observe(&seconds[row], took_ns);
    if (error != S3_E(None))
        metric_add(&errors[error], 1);
}
