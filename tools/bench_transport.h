/*
 * sluice bench transport: what replication's transport carries between two nodes, without a disk.
 *
 *     this process or another:  [client loop] --writes--> landing area of [server loop]
 *                                             <--acks---  one CTL message for all that landed in a
 *                                                         turn
 *
 * Three measurements: one 4 KiB write and its ack at a time; many 4 KiB writes; many 1 MiB writes.
 * Each write's first bytes are compared at its landing. Figures carry the backend's and the
 * device's name; TCP is never called RDMA.
 */
#ifndef TOOLS_BENCH_TRANSPORT_H
#define TOOLS_BENCH_TRANSPORT_H

#include "tools/bench.h"

enum exit_code bench_transport(struct cli *cli, int argc, char *argv[]);
#define BENCH_TRANSPORT_HELP                                                                       \
    "sluice bench transport [--backend auto|tcp|verbs] [--from ADDRESS] [--to ADDRESS[:PORT]]\n"   \
    "                       [--serve] [--seconds N] [--busy-poll MICROSECONDS]\n"                  \
    "\n"                                                                                           \
    "What replication's transport carries from one node to another: a 4 KiB write and its\n"       \
    "acknowledgement, one at a time; 4 KiB writes, 64 in flight; 1 MiB writes, 16 in flight.\n"    \
    "No disk takes part. Says which backend and device carried them: TCP is not RDMA.\n"           \
    "\n"                                                                                           \
    "  --backend B      auto: verbs when the address belongs to an RDMA device, else tcp\n"        \
    "  --from ADDRESS   this side's; 127.0.0.1 by default\n"                                       \
    "  --to ADDRESS     the other side's; without a port it is started here, as a second thread\n" \
    "  --serve          be the other side, at --from ADDRESS:PORT, for one visitor\n"              \
    "  --seconds N      for each of the three; 3 by default\n"                                     \
    "  --busy-poll US   stay awake so long for the next event while there is traffic; "            \
    "50 by default, as in sluiced\n"                                                               \
    "\n"                                                                                           \
    "  sluice bench transport\n"                                                                   \
    "  sluice bench transport --backend verbs --from 10.0.0.1 --to 10.0.0.2\n"                     \
    "  sluice bench transport --serve --from 10.0.0.2:7200      on the other machine, first\n"     \
    "  sluice bench transport --from 10.0.0.1 --to 10.0.0.2:7200\n"                                \
    "\n"                                                                                           \
    "Beside it: ib_write_bw -s 4096 -t 64 and -s 1048576 -t 16, which nobody acknowledges. Take\n" \
    "turns, for what else the machine does changes both. Soft-RoCE over veth: give each veth's\n"  \
    "receive queue one CPU (rps_cpus), or packets overtake each other and are sent again.\n"       \
    "\n"                                                                                           \
    "While it serves, anybody who runs this command may write into 32 MiB of its memory.\n"

/* One write lands in one; as the protocol's large slots. */
#define BENCH_SLOT_BYTES  ((1u << 20) + 4096u)
#define BENCH_DEPTH_SMALL 64u /* writes in flight */
#define BENCH_DEPTH_LARGE 16u
#define BENCH_SAMPLES_MAX (1u << 20)

struct bench_transport_options {
    enum transport_choice choice;
    struct sockaddr_storage from, to;
    socklen_t from_size, to_size;
    bool is_local; /* the other side is a thread here */
    double seconds;
    uint64_t busy_poll_ns;
};

/* One measurement. */
struct bench_transport_figure {
    const char *name;
    uint32_t size, depth;
    enum transport_lane lane;
    uint64_t writes, elapsed_ns, cpu_ns, system_calls;
    uint32_t p50_ns, p99_ns; /* write posted to ack taken in */
};

enum { BENCH_FIGURES = 3 };
struct bench_transport_result {
    struct bench_transport_figure figures[BENCH_FIGURES];
    struct transport_status status;
    char peer[80];
    enum err e;
    char sentence[400]; /* why it ended early, when e */
};

/* ---- bench_transport_run.c ---- */
/* Runs the client, and the server when it is local. */
void bench_transport_run(const struct bench_transport_options *options,
                         struct bench_transport_result *ret_result);
/* Serves at `from` until one client has come and gone; announces with serving(). */
enum err bench_transport_serve(const struct bench_transport_options *options,
                               void (*serving)(const struct transport_status *status),
                               struct err_trail *trail);

#endif
