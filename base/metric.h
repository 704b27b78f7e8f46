/*
 * Metrics: counters, gauges and histograms in one process-wide registry, written out in Prometheus'
 * text format (version 0.0.4). A metric is a static object registered once; adding to it is one
 * relaxed atomic add, fit for the hot path. Labels are fixed at registration ("path=\"sendfile\""):
 * several metrics may share a name and differ by labels.
 */
#ifndef BASE_METRIC_H
#define BASE_METRIC_H

#include <stdint.h>

#include "base/bytes.h"

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

#define METRIC_BUCKETS_MAX 24

struct metric {
    const char *name;   /* "sluice_http_requests_total" */
    const char *labels; /* "method=\"GET\"" or NULL */
    const char *help;
    enum metric_kind kind;
    _Atomic int64_t value; /* counter, gauge; sum of a histogram, in its unit */
    /* histogram: bucket i counts values <= first << i; the last one everything else */
    uint64_t bucket_first;
    /* Values are divided by it when written: 1e9 turns ns into seconds; 0 means 1. */
    uint64_t unit_per_one;
    _Atomic uint64_t buckets[METRIC_BUCKETS_MAX];
    struct metric *next; /* registry's */
};

void metric_register(struct metric *metric); /* static storage; registering twice does nothing */
static inline void metric_add(struct metric *metric, int64_t amount)
{
    __atomic_fetch_add((int64_t *)&metric->value, amount, __ATOMIC_RELAXED);
}
static inline void metric_set(struct metric *metric, int64_t value)
{
    __atomic_store_n((int64_t *)&metric->value, value, __ATOMIC_RELAXED);
}
static inline int64_t metric_get(const struct metric *metric)
{
    return __atomic_load_n((const int64_t *)&metric->value, __ATOMIC_RELAXED);
}
void metric_observe(struct metric *histogram, uint64_t value);

/* Called before each writing: brings gauges up to date that are cheaper to ask than to keep. */
struct metric_source {
    void (*refresh)(void *context);
    void *context;
    struct metric_source *next; /* registry's */
};
void metric_source_register(struct metric_source *source);
void metric_source_remove(struct metric_source *source);

void metric_write_all(struct text_buf *out);

#endif
