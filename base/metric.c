#include "base/metric.h"

#include <inttypes.h>
#include <pthread.h>

#include "base/check.h"

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct metric *registry;       /* under the lock; metrics are never removed */
static struct metric_source *sources; /* under the lock */

void metric_register(struct metric *metric)
{
    pthread_mutex_lock(&registry_lock);
    struct metric **at = &registry;
    while (*at != NULL && *at != metric)
        at = &(*at)->next;
    if (*at == NULL)
        *at = metric;
    pthread_mutex_unlock(&registry_lock);
}

void metric_observe(struct metric *histogram, uint64_t value)
{
    CHECK(histogram->kind == METRIC_HISTOGRAM);
    unsigned bucket = 0;
    for (uint64_t limit = histogram->bucket_first; value > limit && bucket < METRIC_BUCKETS_MAX - 1;
         limit <<= 1)
        bucket++;
    __atomic_fetch_add((uint64_t *)&histogram->buckets[bucket], 1, __ATOMIC_RELAXED);
    metric_add(histogram, (int64_t)value);
}

void metric_source_register(struct metric_source *source)
{
    pthread_mutex_lock(&registry_lock);
    source->next = sources;
    sources = source;
    pthread_mutex_unlock(&registry_lock);
}

void metric_source_remove(struct metric_source *source)
{
    pthread_mutex_lock(&registry_lock);
    for (struct metric_source **at = &sources; *at != NULL; at = &(*at)->next)
        if (*at == source) {
            *at = source->next;
            break;
        }
    pthread_mutex_unlock(&registry_lock);
}

static double in_unit(const struct metric *metric, uint64_t value)
{
    return (double)value / (double)(metric->unit_per_one > 0 ? metric->unit_per_one : 1);
}

static void write_histogram(const struct metric *metric, struct text_buf *out)
{
    const char *labels = metric->labels != NULL ? metric->labels : "";
    const char *comma = *labels != '\0' ? "," : "";
    uint64_t total = 0;
    for (unsigned i = 0; i < METRIC_BUCKETS_MAX - 1; i++) {
        total += __atomic_load_n((const uint64_t *)&metric->buckets[i], __ATOMIC_RELAXED);
        text_printf(out, "%s_bucket{%s%sle=\"%.9g\"} %" PRIu64 "\n", metric->name, labels, comma,
                    in_unit(metric, metric->bucket_first << i), total);
    }
    total += __atomic_load_n((const uint64_t *)&metric->buckets[METRIC_BUCKETS_MAX - 1],
                             __ATOMIC_RELAXED);
    text_printf(out, "%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", metric->name, labels, comma,
                total);
    const char *open = *labels != '\0' ? "{" : "", *close = *labels != '\0' ? "}" : "";
    text_printf(out, "%s_sum%s%s%s %.9g\n", metric->name, open, labels, close,
                in_unit(metric, (uint64_t)metric_get(metric)));
    text_printf(out, "%s_count%s%s%s %" PRIu64 "\n", metric->name, open, labels, close, total);
}

static void write_one(const struct metric *metric, struct text_buf *out)
{
    if (metric->kind == METRIC_HISTOGRAM) {
        write_histogram(metric, out);
        return;
    }
    text_put_string(out, metric->name);
    if (metric->labels != NULL)
        text_printf(out, "{%s}", metric->labels);
    if (metric->unit_per_one > 1)
        text_printf(out, " %.9g\n", (double)metric_get(metric) / (double)metric->unit_per_one);
    else
        text_printf(out, " %" PRId64 "\n", metric_get(metric));
}

void metric_write_all(struct text_buf *out)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    pthread_mutex_lock(&registry_lock);
    for (struct metric_source *source = sources; source != NULL; source = source->next)
        source->refresh(source->context);
    /* Metrics of one name stand together, below one HELP and TYPE, as the format wants. */
    for (struct metric *first = registry; first != NULL; first = first->next) {
        bool is_first = true;
        for (struct metric *m = registry; m != first && is_first; m = m->next)
            is_first = strcmp(m->name, first->name) != 0;
        if (!is_first)
            continue;
        text_printf(out, "# HELP %s %s\n# TYPE %s %s\n", first->name, first->help, first->name,
                    kinds[first->kind]);
        for (struct metric *m = first; m != NULL; m = m->next)
            if (strcmp(m->name, first->name) == 0)
                write_one(m, out);
    }
    pthread_mutex_unlock(&registry_lock);
}
