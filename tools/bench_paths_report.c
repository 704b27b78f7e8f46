/* What was measured, as a table and as JSON. */
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/limits.h"
#include "server/units.h"
#include "tools/bench_paths.h"

void bench_size_text(uint64_t bytes, char out[24])
{
    struct buf text = {.data = out, .capacity = 23};
    if (bytes % MIB(1) == 0)
        buf_printf(&text, "%llu MiB", (unsigned long long)(bytes >> 20));
    else
        buf_printf(&text, "%llu KiB", (unsigned long long)(bytes >> 10));
    out[text.size] = '\0';
}

/* ---- table ---- */

/* Three digits that mean something. */
static void number_text(double value, char out[32])
{
    if (value >= 100) {
        print_count((uint64_t)(value + 0.5), out);
        return;
    }
    snprintf(out, 32, "%.*f", value >= 10 ? 1 : value >= 1 ? 2 : 3, value);
}

static const struct bench_point *read_write_of(const struct bench_run *run, size_t group)
{
    for (size_t i = 0; i < BENCH_TECHNIQUES; i++) {
        const struct bench_point *point = &run->points[group * BENCH_TECHNIQUES + i];
        if (point->technique == &bench_read_write && point->rounds > 0)
            return point;
    }
    return NULL;
}

static void add_point(struct table *table, const struct bench_point *point,
                      const struct bench_point *base)
{
    char speed[32], cpu[32], calls[32], switches[32], ratio[32] = "-", copied[32] = "-";
    const struct bench_figures *median = &point->median;
    number_text(median->mib_per_s, speed);
    number_text(median->cpu_s_per_gib, cpu);
    number_text(median->calls_per_object, calls);
    number_text(median->switches_per_gib, switches);
    if (base != NULL && base->median.cpu_s_per_gib > 0)
        snprintf(ratio, sizeof ratio, "%.2f", median->cpu_s_per_gib / base->median.cpu_s_per_gib);
    if (median->copied_share >= 0)
        snprintf(copied, sizeof copied, "%.2f", median->copied_share);
    table_add(table, "  %s\t%s\t%s\t%s\t%s\t%s\t%u\t%s", point->technique->name, speed, cpu, ratio,
              calls, switches, point->technique->copies, copied);
}

static void print_group(const struct bench_run *run, size_t group)
{
    const struct bench_point *points = &run->points[group * BENCH_TECHNIQUES];
    char size[24], title[64];
    bench_size_text(points->object_bytes, size);
    snprintf(title, sizeof title, "%s, %s", size, points->is_cold ? "cold" : "warm");
    const char *const columns[] = {title,           ">MiB/s",        ">CPU s/GiB", ">ratio",
                                   ">calls/object", ">switches/GiB", ">copies",    ">measured"};
    struct table *table = table_open(columns, COUNT_OF(columns));
    for (unsigned i = 0; i < BENCH_TECHNIQUES; i++)
        if (points[i].rounds > 0)
            add_point(table, &points[i], read_write_of(run, group));
    table_print(table);
    for (unsigned i = 0; i < BENCH_TECHNIQUES; i++)
        if (points[i].reason[0] != '\0')
            printf("  %s: not measured: %s\n", points[i].technique->name, points[i].reason);
    putchar('\n');
}

void bench_paths_print(const struct bench_run *run)
{
    printf("%s, %s, %u cores, %s, %s%s\n", run->date, run->cpu, run->cores, run->kernel,
           run->file_system, run->is_pinned ? ", server and client on a core each" : "");
    printf(
        "One loopback connection, medians of %u alternating rounds of %.2g s. The server's CPU "
        "alone; "
        "ratio: to read + write.\n"
        "copies: of the body by the CPU, in theory; measured: what the kernel tells of zero-copy "
        "sends (over loopback it copies).\n"
        "Direct I/O passes the page cache by: warm or cold, its bytes come from the disk.\n\n",
        BENCH_ROUNDS, run->options.seconds / BENCH_ROUNDS);
    for (size_t g = 0; g < run->point_count / BENCH_TECHNIQUES; g++)
        print_group(run, g);
}

/* ---- JSON ---- */

static json_t *figures_json(const struct bench_figures *figures)
{
    return json_pack("{s:f, s:f, s:f, s:f, s:f, s:o}", "mib_per_s", figures->mib_per_s,
                     "cpu_s_per_gib", figures->cpu_s_per_gib, "cpu_user_share", figures->user_share,
                     "system_calls_per_object", figures->calls_per_object,
                     "context_switches_per_gib", figures->switches_per_gib, "copied_share",
                     figures->copied_share >= 0 ? json_real(figures->copied_share) : json_null());
}

static json_t *point_json(const struct bench_point *point)
{
    json_t *json = json_pack("{s:s, s:I, s:s, s:i, s:b, s:b}", "technique", point->technique->id,
                             "object_bytes", (json_int_t)point->object_bytes, "cache",
                             point->is_cold ? "cold" : "warm", "copies_in_theory",
                             (int)point->technique->copies, "bytes_verified",
                             (int)point->is_verified, "measured", (int)(point->rounds > 0));
    if (point->reason[0] != '\0')
        json_object_set_new(json, "reason", json_string(point->reason));
    if (point->rounds == 0)
        return json;
    json_t *rounds = json_array();
    for (unsigned i = 0; i < point->rounds; i++)
        json_array_append_new(rounds, figures_json(&point->round[i]));
    json_object_set_new(json, "median", figures_json(&point->median));
    json_object_set_new(json, "rounds", rounds);
    return json;
}

json_t *bench_paths_json(const struct bench_run *run)
{
    json_t *techniques = json_array(), *points = json_array();
    for (unsigned i = 0; i < BENCH_TECHNIQUES; i++)
        json_array_append_new(
            techniques, json_pack("{s:s, s:s, s:s}", "id", bench_techniques[i]->id, "name",
                                  bench_techniques[i]->name, "how", bench_techniques[i]->how));
    for (size_t i = 0; i < run->point_count; i++)
        json_array_append_new(points, point_json(&run->points[i]));
    return json_pack("{s:s, s:s, s:{s:s, s:i, s:s, s:s, s:b}, s:f, s:i, s:o, s:o}", "bench",
                     "paths", "date", run->date, "machine", "cpu", run->cpu, "cores",
                     (int)run->cores, "kernel", run->kernel, "file_system", run->file_system,
                     "pinned", (int)run->is_pinned, "seconds_per_point", run->options.seconds,
                     "rounds", (int)BENCH_ROUNDS, "techniques", techniques, "points", points);
}
