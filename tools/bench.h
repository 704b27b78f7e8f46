/*
 * What the benches share: how their command lines are read, the clocks they measure by, and what is
 * said of many samples.
 */
#ifndef TOOLS_BENCH_H
#define TOOLS_BENCH_H

#include "replication/transport.h"
#include "tools/cli.h"

/* ---- command lines ---- */
#define BENCH_HINT "sluice bench --help shows how"
/* "--name: 'text' is what". Returns EXIT_WRONG_USAGE. */
enum exit_code bench_wrong(const struct cli *cli, const char *name, const char *text,
                           const char *what);
/* --seconds: above 0, at most `max`. EXIT_DONE, or EXIT_WRONG_USAGE after saying so. */
enum exit_code bench_seconds_parse(const struct cli *cli, const char *text, unsigned max,
                                   double *ret_seconds);
/* "10.0.0.1", "10.0.0.1:7200", "[fe80::1]:7200". ERR_BAD_SYNTAX */
enum err bench_address_parse(const char *text, struct sockaddr_storage *ret_address,
                             socklen_t *ret_size, bool *ret_has_port) MUST_USE;
/* "auto", "tcp", "verbs" */
bool bench_backend_parse(const char *text, enum transport_choice *ret_choice);

/* ---- measuring ---- */
uint64_t bench_now_ns(void); /* monotonic */
uint64_t bench_cpu_ns(void); /* of the whole process */
/* Sorts them. Without samples nothing is written. */
void bench_percentiles(uint32_t *samples, uint32_t count, uint32_t *ret_p50, uint32_t *ret_p99);

/* ---- telling ---- */
/* Takes the JSON; NULL: there was no memory for it. */
enum exit_code bench_tell_json(const struct cli *cli, json_t *json);

#endif
