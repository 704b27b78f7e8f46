/* What the measuring process and the server it forks share (bench_paths_measure.c,
 * bench_paths_serve.c). */
#ifndef TOOLS_BENCH_PATHS_PRIV_H
#define TOOLS_BENCH_PATHS_PRIV_H

#include <sched.h>

#include "tools/bench_paths.h"

/* What the server counts, in memory shared with the client, who reads it when the server has
 * ended. */
struct account {
    int errnum;
    char reason[BENCH_REASON_BYTES];
    double user_s, system_s;
    uint64_t switches, calls, objects, zero_copy_sends, zero_copy_copied;
};

struct request {
    uint32_t first, count; /* places in the order */
    uint32_t is_counted;   /* 0: to warm the connection and to compare */
};

struct bench {
    struct cli *cli;
    const struct bench_options *options;
    char *content; /* owned: what the file holds */
    size_t file_bytes;
    int file_fd, direct_fd;
    char no_direct[BENCH_REASON_BYTES]; /* why there is no Direct I/O */
    uint32_t *order; /* owned: of the objects of the size at hand, as they are asked for */
    uint32_t object_bytes, objects, next;
    struct account *account;      /* shared mapping */
    char *received;               /* owned */
    int server_core, client_core; /* negative: not pinned */
    cpu_set_t own_cores;
};

/* The server's whole life, in its own process: until the client closes. What it counted and why it
 * failed is in bench->account. */
_Noreturn void bench__serve(const struct bench *bench, const struct bench_technique *technique,
                            int fd);

#endif
