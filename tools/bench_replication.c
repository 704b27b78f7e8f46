#include "tools/bench_replication.h"

#include <stdio.h>
#include <string.h>

#include "tools/bench.h"

#define SECONDS_MAX 60u /* what is stored stays until the end */

/* ---- options ---- */

static enum exit_code addresses_parse(const struct cli *cli, const char *const texts[],
                                      unsigned count, struct bench_replication_options *options)
{
    if (count > 1 && count != options->node_count)
        return cli_fail(cli, EXIT_WRONG_USAGE, "INVALID", BENCH_HINT,
                        "--address: %u are given for %u nodes", count, options->node_count);
    options->address_count = count;
    for (unsigned i = 0; i < count; i++) {
        bool has_port;
        if (bench_address_parse(texts[i], &options->addresses[i], &options->address_sizes[i],
                                &has_port))
            return bench_wrong(cli, "--address", texts[i], "no address");
        if (has_port)
            return bench_wrong(cli, "--address", texts[i],
                               "an address with a port: ports are chosen here");
    }
    return EXIT_DONE;
}

static enum exit_code numbers_parse(struct cli *cli, const char *nodes, const char *in_flight,
                                    const char *seconds, const char *busy_poll,
                                    struct bench_replication_options *options)
{
    uint32_t node_count = 0, busy_poll_us = 0;
    enum exit_code code = flag_u32(cli, "--nodes", nodes, &node_count);
    if (code == EXIT_DONE)
        code = flag_u32(cli, "--in-flight", in_flight, &options->in_flight);
    if (code == EXIT_DONE)
        code = flag_u32(cli, "--busy-poll", busy_poll, &busy_poll_us);
    if (code != EXIT_DONE)
        return code;
    if (node_count < 2 || node_count > BENCH_NODES_MAX)
        return bench_wrong(cli, "--nodes", nodes, "not from 2 to 5");
    if (options->in_flight == 0 || options->in_flight > BENCH_IN_FLIGHT_MAX)
        return bench_wrong(cli, "--in-flight", in_flight, "not from 1 to 256");
    options->node_count = node_count;
    options->busy_poll_ns = busy_poll_us * 1000ull;
    return bench_seconds_parse(cli, seconds, SECONDS_MAX, &options->seconds);
}

static enum exit_code options_parse(struct cli *cli, int argc, char *argv[],
                                    struct bench_replication_options *options)
{
    const char *backend = "auto", *nodes = "3", *in_flight = "64", *seconds = "3",
               *busy_poll = "50", *addresses[BENCH_NODES_MAX] = {"127.0.0.1"}, *words[1];
    unsigned count, address_count = 0;
    const struct flag flags[] = {
        {.name = "--backend", .value = "B", .text = &backend},
        {.name = "--address",
         .value = "ADDRESS",
         .many = addresses,
         .many_max = BENCH_NODES_MAX,
         .many_count = &address_count},
        {.name = "--nodes", .value = "N", .text = &nodes},
        {.name = "--in-flight", .value = "N", .text = &in_flight},
        {.name = "--seconds", .value = "N", .text = &seconds},
        {.name = "--busy-poll", .value = "US", .text = &busy_poll},
    };
    enum exit_code code =
        flags_parse(cli, argc, argv, flags, COUNT_OF(flags), words, 0, 0, &count, "");
    if (code == EXIT_DONE && !bench_backend_parse(backend, &options->choice))
        return bench_wrong(cli, "--backend", backend, "none of auto, tcp, verbs");
    if (code == EXIT_DONE)
        code = numbers_parse(cli, nodes, in_flight, seconds, busy_poll, options);
    if (code == EXIT_DONE)
        code = addresses_parse(cli, addresses, address_count > 0 ? address_count : 1, options);
    return code;
}

/* ---- telling ---- */

static double per_second(const struct bench_replication_figure *figure, double amount)
{
    return amount * 1e9 / (double)figure->elapsed_ns;
}

static double operations_per_second(const struct bench_replication_figure *figure)
{
    return per_second(figure, (double)figure->operations);
}

static double mb_per_second(const struct bench_replication_figure *figure)
{
    return per_second(figure, (double)figure->operations * figure->size) / 1e6;
}

static double cpu_per_thousand(const struct bench_replication_figure *figure)
{
    return (double)figure->cpu_ns / 1e6 / (double)figure->operations;
}

/* How the receipts say that it came to the others. */
static const char *carried_by(const struct bench_replication_figure *figure)
{
    if (figure->nodes == 1)
        return "none";
    if (figure->by_rdma == figure->operations && figure->by_tcp == 0)
        return "rdma";
    return figure->by_tcp == figure->operations && figure->by_rdma == 0 ? "tcp" : "mixed";
}

/* Of operations a second: the group's, of the node's alone. */
static double share_of_alone(const struct bench_replication_result *result, unsigned size)
{
    return operations_per_second(&result->figures[2 + size]) /
           operations_per_second(&result->figures[size]);
}

static void print_result(const struct bench_replication_options *options,
                         const struct bench_replication_result *result)
{
    print_field("backend", "%s", result->backend);
    print_field("device", "%s", result->device);
    if (result->reason[0] != '\0')
        print_field("not RDMA", "%s", result->reason);
    print_field("disk", "%s, %s; one for all nodes", result->file_system,
                result->is_direct ? "Direct I/O" : "no Direct I/O");
    static const char *const columns[] = {"objects",   ">nodes", ">in flight",      ">p50 us",
                                          ">p99 us",   ">ops/s", ">MB/s",           ">CPU s/1000",
                                          ">replicas", "by",     ">of a node alone"};
    struct table *table = table_open(columns, COUNT_OF(columns));
    for (unsigned i = 0; i < BENCH_REPLICATION_FIGURES; i++) {
        const struct bench_replication_figure *f = &result->figures[i / 2 + i % 2 * 2];
        char share[16] = "";
        if (f->nodes > 1)
            snprintf(share, sizeof share, "%.2f", share_of_alone(result, i / 2));
        table_add(table, "%s\t%u\t%u\t%.0f\t%.0f\t%.0f\t%.1f\t%.3f\t%u/%u\t%s\t%s", f->name,
                  f->nodes, f->depth, f->p50_ns / 1e3, f->p99_ns / 1e3, operations_per_second(f),
                  mb_per_second(f), cpu_per_thousand(f), f->replicas_least, f->nodes, carried_by(f),
                  share);
    }
    printf("\n");
    table_print(table);
    printf("\nEach operation is durable on all of its nodes when its latency ends. CPU is of the "
           "whole process: all %u nodes\nand the client share this machine's cores and its disk.\n",
           options->node_count);
}

static json_t *json_of(const struct bench_replication_options *options,
                       const struct bench_replication_result *result)
{
    json_t *figures = json_array();
    for (unsigned i = 0; i < BENCH_REPLICATION_FIGURES; i++) {
        const struct bench_replication_figure *f = &result->figures[i];
        json_array_append_new(
            figures,
            json_pack("{s:s, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:I, s:s}", "name",
                      f->name, "nodes", (json_int_t)f->nodes, "size", (json_int_t)f->size,
                      "in_flight", (json_int_t)f->depth, "operations", (json_int_t)f->operations,
                      "seconds", (double)f->elapsed_ns / 1e9, "p50_us", f->p50_ns / 1e3, "p99_us",
                      f->p99_ns / 1e3, "operations_per_second", operations_per_second(f),
                      "mb_per_second", mb_per_second(f), "cpu_seconds_per_1000",
                      cpu_per_thousand(f), "replicas_in_each_receipt",
                      (json_int_t)f->replicas_least, "carried_by", carried_by(f)));
    }
    return json_pack("{s:s, s:s, s:s, s:I, s:s, s:b, s:f, s:f, s:o}", "backend", result->backend,
                     "device", result->device, "not_rdma_because", result->reason, "nodes",
                     (json_int_t)options->node_count, "file_system", result->file_system,
                     "direct_io", result->is_direct, "small_of_alone", share_of_alone(result, 0),
                     "large_of_alone", share_of_alone(result, 1), "figures", figures);
}

enum exit_code bench_replication(struct cli *cli, int argc, char *argv[])
{
    /* As for bench paths: a node's own disk is not to be busied by default. */
    struct bench_replication_options options = {
        .dir = strcmp(cli->dir_from, "--dir") == 0 ? cli->dir : "."};
    struct bench_replication_result result;
    enum exit_code code = options_parse(cli, argc, argv, &options);
    if (code != EXIT_DONE)
        return code;
    bench_replication_run(&options, &result);
    if (result.e)
        return cli_fail(cli, EXIT_REFUSED, err_name(result.e), NULL, "%s", result.sentence);
    if (!cli->json) {
        print_result(&options, &result);
        return EXIT_DONE;
    }
    return bench_tell_json(cli, json_of(&options, &result));
}
