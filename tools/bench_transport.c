#include "tools/bench_transport.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

#define SECONDS_MAX 60u

/* ---- options ---- */

static enum exit_code options_parse(struct cli *cli, int argc, char *argv[],
                                    struct bench_transport_options *options, bool *serves)
{
    const char *backend = "auto", *from = "127.0.0.1", *to = "127.0.0.1", *seconds = "3",
               *busy_poll = "50", *words[1];
    unsigned count;
    uint32_t busy_poll_us = 0;
    bool from_has_port, to_has_port;
    const struct flag flags[] = {
        {.name = "--backend", .value = "B", .text = &backend},
        {.name = "--from", .value = "ADDRESS", .text = &from},
        {.name = "--to", .value = "ADDRESS", .text = &to},
        {.name = "--serve", .on = serves},
        {.name = "--seconds", .value = "N", .text = &seconds},
        {.name = "--busy-poll", .value = "US", .text = &busy_poll},
    };
    enum exit_code code =
        flags_parse(cli, argc, argv, flags, COUNT_OF(flags), words, 0, 0, &count, "");
    if (code == EXIT_DONE && !bench_backend_parse(backend, &options->choice))
        return bench_wrong(cli, "--backend", backend, "none of auto, tcp, verbs");
    if (code == EXIT_DONE)
        code = flag_u32(cli, "--busy-poll", busy_poll, &busy_poll_us);
    if (code != EXIT_DONE)
        return code;
    options->busy_poll_ns = busy_poll_us * 1000ull;
    if (bench_address_parse(from, &options->from, &options->from_size, &from_has_port))
        return bench_wrong(cli, "--from", from, "no address");
    if (bench_address_parse(to, &options->to, &options->to_size, &to_has_port))
        return bench_wrong(cli, "--to", to, "no address");
    options->is_local = !to_has_port;
    if (*serves && !from_has_port)
        return bench_wrong(cli, "--from", from, "an address without a port: --serve wants one");
    return bench_seconds_parse(cli, seconds, SECONDS_MAX, &options->seconds);
}

/* ---- telling ---- */

static double per_second(const struct bench_transport_figure *figure, double amount)
{
    return amount * 1e9 / (double)figure->elapsed_ns;
}

static double cpu_per_gb(const struct bench_transport_figure *figure)
{
    double gb = (double)figure->writes * figure->size / 1e9;
    return gb > 0 ? (double)figure->cpu_ns / 1e9 / gb : 0;
}

/* What the path costs in copies of each byte, where that is known without measuring. */
static const char *copies_of(const struct transport_status *status)
{
    if (status->backend == TRANSPORT_TCP)
        return "1 by each side's kernel, 0 in user space";
    return strncmp(status->device, "rxe", 3) == 0
               ? "soft-RoCE: by each side's kernel, 0 in user space"
               : "0";
}

static const char *cpu_of(const struct bench_transport_options *options)
{
    return options->is_local ? "both sides" : "this side";
}

static void print_result(const struct bench_transport_options *options,
                         const struct bench_transport_result *result)
{
    print_field("backend", "%s", transport_backend_name(result->status.backend));
    print_field("device", "%s", result->status.device);
    if (result->status.reason[0] != '\0')
        print_field("not RDMA", "%s", result->status.reason);
    print_field("to", "%s%s", result->peer, options->is_local ? ", a thread of this process" : "");
    print_field("copies", "%s", copies_of(&result->status));
    static const char *const columns[] = {"writes",    ">in flight", ">p50 us",   ">p99 us",
                                          ">writes/s", ">MB/s",      ">CPU s/GB", ">calls/write"};
    struct table *table = table_open(columns, COUNT_OF(columns));
    for (unsigned i = 0; i < BENCH_FIGURES; i++) {
        const struct bench_transport_figure *f = &result->figures[i];
        table_add(table, "%s\t%u\t%.1f\t%.1f\t%.0f\t%.0f\t%.2f\t%.2f", f->name, f->depth,
                  f->p50_ns / 1e3, f->p99_ns / 1e3, per_second(f, (double)f->writes),
                  per_second(f, (double)f->writes * f->size) / 1e6, cpu_per_gb(f),
                  f->writes > 0 ? (double)f->system_calls / (double)f->writes : 0);
    }
    printf("\n");
    table_print(table);
    printf(
        "\nA latency is from the post of a write to its acknowledgement; CPU is of %s; calls are "
        "this side's sends\nand receives (tcp) or doorbells and polls (verbs).\n",
        cpu_of(options));
}

static json_t *json_of(const struct bench_transport_options *options,
                       const struct bench_transport_result *result)
{
    json_t *figures = json_array();
    for (unsigned i = 0; i < BENCH_FIGURES; i++) {
        const struct bench_transport_figure *f = &result->figures[i];
        json_array_append_new(
            figures,
            json_pack("{s:s, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f}", "name", f->name, "size",
                      (json_int_t)f->size, "in_flight", (json_int_t)f->depth, "writes",
                      (json_int_t)f->writes, "seconds", (double)f->elapsed_ns / 1e9, "p50_us",
                      f->p50_ns / 1e3, "p99_us", f->p99_ns / 1e3, "mb_per_second",
                      per_second(f, (double)f->writes * f->size) / 1e6, "cpu_seconds_per_gb",
                      cpu_per_gb(f), "calls_per_write",
                      f->writes > 0 ? (double)f->system_calls / (double)f->writes : 0.0));
    }
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o}", "backend",
                     transport_backend_name(result->status.backend), "device",
                     result->status.device, "not_rdma_because", result->status.reason, "to",
                     result->peer, "copies", copies_of(&result->status), "cpu_of", cpu_of(options),
                     "figures", figures);
}

static void say_serving(const struct transport_status *status)
{
    char host[INET6_ADDRSTRLEN] = "?";
    uint16_t port;
    if (status->address.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&status->address;
        (void)inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
        port = ntohs(in6->sin6_port);
    } else {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&status->address;
        (void)inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
        port = ntohs(in->sin_port);
    }
    printf("serving on %s port %u by %s (%s), for one visitor\n", host, port,
           transport_backend_name(status->backend), status->device);
    (void)fflush(stdout); /* whoever waits for the line; a lost one is seen at the end */
}

enum exit_code bench_transport(struct cli *cli, int argc, char *argv[])
{
    struct bench_transport_options options = {0};
    struct bench_transport_result result;
    bool serves = false;
    enum exit_code code = options_parse(cli, argc, argv, &options, &serves);
    if (code != EXIT_DONE)
        return code;
    if (serves) {
        struct err_trail trail = {0};
        enum err e = bench_transport_serve(&options, say_serving, &trail);
        return e ? cli_fail(cli, EXIT_REFUSED, err_name(e), NULL, "%s", err_trail_text(&trail, e))
                 : EXIT_DONE;
    }
    bench_transport_run(&options, &result);
    if (result.e)
        return cli_fail(cli, EXIT_REFUSED, err_name(result.e), NULL, "%s", result.sentence);
    if (!cli->json) {
        print_result(&options, &result);
        return EXIT_DONE;
    }
    return bench_tell_json(cli, json_of(&options, &result));
}
