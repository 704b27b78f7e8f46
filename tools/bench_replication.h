/*
 * sluice bench replication: what a durable change costs a group of nodes, beside one node alone.
 *
 *     this process:  [client loop] --body, change--> group of the primary --> its disk
 *                                                      \--links--> replicas' groups --> their disks
 *                                  <--receipt: replicas 3/3--
 *
 * The nodes are real: a volume each in a scratch directory, an arena, a thread for the links, the
 * quorum register. All of them share this machine's cores and its disk, which three machines would
 * not; what HTTP costs is not in it. Two measurements, of objects of 4 KiB (in the record, on the
 * way and in the index) and of 1 MiB (bodies); each first on a node alone, then through the group's
 * primary. Figures carry the backend's and the device's name; TCP is never called RDMA.
 */
#ifndef TOOLS_BENCH_REPLICATION_H
#define TOOLS_BENCH_REPLICATION_H

#include <stdatomic.h>

#include "base/work.h"
#include "replication/group.h"
#include "tools/bench.h"

enum exit_code bench_replication(struct cli *cli, int argc, char *argv[]);
#define BENCH_REPLICATION_HELP                                                                     \
    "sluice bench replication [--nodes N] [--backend auto|tcp|verbs] [--address ADDRESS]...\n"     \
    "                         [--in-flight N] [--seconds N] [--busy-poll MICROSECONDS] [--dir "    \
    "DIR]\n"                                                                                       \
    "\n"                                                                                           \
    "What a durable change costs a group: objects of 4 KiB and of 1 MiB stored through the "       \
    "primary\n"                                                                                    \
    "of N nodes, all of them in this process and on this disk, beside a node alone in the same "   \
    "run.\n"                                                                                       \
    "Each receipt must name all nodes. Says which backend and device carried them: TCP is not "    \
    "RDMA.\n"                                                                                      \
    "\n"                                                                                           \
    "  --nodes N          2 to 5; 3 by default\n"                                                  \
    "  --backend B        auto: verbs when the address belongs to an RDMA device, else tcp\n"      \
    "  --address ADDRESS  of all nodes, or given N times of one each; 127.0.0.1 by default. "      \
    "Ports\n"                                                                                      \
    "                     are chosen\n"                                                            \
    "  --in-flight N      4 KiB objects at once, up to 256; 64 by default. Of 1 MiB it is 16\n"    \
    "  --seconds N        for each of the four; 3 by default\n"                                    \
    "  --busy-poll US     stay awake so long for the next event while there is traffic; 50 by "    \
    "default, as in sluiced\n"                                                                     \
    "  --dir DIR          where a directory with the volumes is made, and removed afterwards; "    \
    "the\n"                                                                                        \
    "                     current directory by default. All that is stored lies there N times\n"   \
    "\n"                                                                                           \
    "  sluice bench replication\n"                                                                 \
    "  sluice bench replication --nodes 5 --seconds 10 --dir /srv\n"                               \
    "  sluice bench replication --backend verbs --address 10.0.0.1 --json\n"

#define BENCH_NODES_MAX     5u
#define BENCH_BODIES        16u  /* 1 MiB bodies in flight, a large slot each */
#define BENCH_IN_FLIGHT_MAX 256u /* small objects, 64 in a small slot */

struct bench_replication_options {
    const char *dir;
    unsigned node_count, address_count; /* 1 address, or one a node */
    struct sockaddr_storage addresses[BENCH_NODES_MAX];
    socklen_t address_sizes[BENCH_NODES_MAX];
    enum transport_choice choice;
    uint32_t in_flight;
    double seconds;
    uint64_t busy_poll_ns;
};

/* One measurement. */
struct bench_replication_figure {
    const char *name;
    uint32_t size, depth, nodes;
    uint64_t operations, elapsed_ns, cpu_ns; /* CPU of the whole process: all nodes */
    uint32_t p50_ns, p99_ns;                 /* body opened to receipt */
    uint32_t replicas_least;                 /* of all receipts */
    uint64_t by_rdma, by_tcp;                /* receipts that say so */
};

enum { BENCH_REPLICATION_FIGURES = 4 }; /* the node alone and the group, small and large in turn */
struct bench_replication_result {
    struct bench_replication_figure figures[BENCH_REPLICATION_FIGURES];
    char backend[12], device[80], reason[200]; /* of the primary's transport */
    char file_system[16];
    bool is_direct; /* Direct I/O is real there */
    enum err e;
    char sentence[400]; /* why it ended early, when e */
};

/* ---- bench_replication_run.c ---- */
/* Until done, failed or interrupted by SIGINT or SIGTERM; the scratch directory is gone then. */
void bench_replication_run(const struct bench_replication_options *options,
                           struct bench_replication_result *ret_result);

/* ---- bench_replication_nodes.c: the nodes of one measurement ---- */
struct bench_node {
    char dir[NODE_PATH_MAX];
    struct arena *arena; /* owned, as all of them */
    /* Where requests run, on the caller's thread; the group's own, NULL alone. */
    struct loop *loop, *group_loop;
    struct work_pool *pool;
    struct volume *volume;
    struct group *group;
};
struct bench_nodes {
    unsigned count;
    struct bench_node node[BENCH_NODES_MAX];
    struct group_peers_options peers; /* what all nodes know */
};
/* Formats and opens `count` nodes in dir, each in a directory "<name>-<number>". Whatever it
 * returns, bench_nodes_close(). */
enum err bench_nodes_open(struct bench_nodes *nodes,
                          const struct bench_replication_options *options, const char *dir,
                          const char *name, unsigned count, struct err_trail *trail) MUST_USE;
void bench_nodes_close(struct bench_nodes *nodes); /* nothing may be in flight */
/* B. Waits until all nodes are in sync, or *stop, or a time limit. */
enum err bench_nodes_wait(struct bench_nodes *nodes, const atomic_bool *stop,
                          struct bench_node **ret_primary, struct err_trail *trail) MUST_USE;

#endif
