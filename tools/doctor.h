/*
 * doctor: what this machine can do for Sluice, and how to get what is missing. Three parts that
 * know nothing of each other's insides:
 *
 *     facts   what was measured or read, without an opinion
 *             (doctor_machine.c, _uring.c, _disk.c, _net.c, _rdma.c)
 *     judge   a pure function from facts to checks: verdict, value, advice, command
 *             (doctor_judge.c, doctor_judge_io.c)
 *     print   checks as text or JSON (cmd_doctor.c)
 *
 * Looking changes nothing but a scratch file in DIR, which is removed. What could not be looked at
 * (no right, no such file) is a fact too: an errno, or -1 where 0 and 1 are answers.
 */
#ifndef TOOLS_DOCTOR_H
#define TOOLS_DOCTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/disk.h"
#include "server/node_files.h"
#include "tools/ethtool.h"

/* ---- facts ---- */

struct doctor_kernel {
    char release[65], machine[65];
    unsigned major, minor;
    unsigned cores;
    int cachestat_errno; /* 0: there */
};

enum doctor_zc {
    DOCTOR_ZC_NOT_TRIED,
    DOCTOR_ZC_REFUSED,
    DOCTOR_ZC_SENT,
    DOCTOR_ZC_SENT_AND_REPORTED
};

#define DOCTOR_OPS_MAX 32u
struct doctor_op {
    const char *name;
    bool is_needed, is_there;
};
struct doctor_uring {
    int setup_errno; /* 0: a ring could be made */
    int disabled; /* sysctl kernel.io_uring_disabled, 0 to 2; -1: the kernel has no such switch */
    int seccomp;  /* Seccomp of /proc/self/status: 0 none, 1 strict, 2 filter; -1: not told */
    bool has_features;  /* what base/ring_uring.c insists on */
    const char *mode;   /* the best set of flags that io_uring_setup takes */
    unsigned mode_rank; /* 0 is the best */
    bool is_probed;     /* ops were asked for */
    struct doctor_op ops[DOCTOR_OPS_MAX];
    unsigned op_count;
    int fixed_errno; /* of registering one MiB */
    enum doctor_zc send_zc;
    int send_zc_errno;
};

struct doctor_memory {
    uint64_t memlock_soft, memlock_hard; /* UINT64_MAX: none */
    uint64_t files_soft, files_hard;
    bool may_lock;  /* CAP_IPC_LOCK: the limit does not count */
    bool may_raise; /* CAP_SYS_RESOURCE: sluiced raises its hard limits itself */
    /* What a node of this size registers and serves by default. */
    uint64_t arena_bytes, rings, connections;
    uint64_t total_bytes, available_bytes;
    uint64_t huge_free, huge_bytes; /* pages free, and their size */
    char thp[16];                   /* "always", "madvise", "never", "" when it cannot be read */
};

struct doctor_disk {
    char wanted[NODE_PATH_MAX]; /* what was asked for */
    char dir[NODE_PATH_MAX];    /* what was looked at: that, or its nearest directory that exists */
    int dir_errno;              /* of finding one */
    int write_errno;            /* no scratch file could be made: nothing was probed */
    char probe_error[160];
    struct disk_probe probe;
    bool is_probed;
    bool is_reverse_seen; /* a direct read sees what a buffered write left */
    bool is_reverse_tried;
    uint32_t dio_memory_align, dio_offset_align; /* STATX_DIOALIGN; 0: the kernel does not tell */
    uint64_t sync_median_ns; /* a direct 4 KiB write and its fdatasync; 0: not measured */
    uint64_t total_bytes, free_bytes;
    bool has_mount;
    char file_system[32], source[128], mount_point[256], options[512];
    char device[64];      /* "vda", "nvme0n1", "dm-0"; "" when none stands behind the file system */
    char write_cache[32]; /* "write back", "write through"; "" when it cannot be read */
    int fua, rotational;  /* -1: cannot be read */
    int64_t discard_max_bytes, logical_block_bytes; /* -1 likewise */
    char scheduler[32];
};

#define DOCTOR_NICS_MAX 16u
struct doctor_nic {
    char name[17];
    char driver[32], state[16];
    int64_t speed_mbit, mtu; /* -1: not told */
    bool is_loopback;
    int features_errno; /* 0: features are known */
    struct ethtool_features features;
};
struct doctor_network {
    /* "--interface", "the node listens there", "every interface that is up". */
    const char *chosen_by;
    struct doctor_nic nics[DOCTOR_NICS_MAX];
    unsigned nic_count;
};

#define DOCTOR_PORTS_MAX 16u
struct doctor_rdma_port {
    char device[32], state[24], link_layer[24], rate[32], netdev[17];
    unsigned port, gids, gids_v2; /* GIDs that are not zero; of which RoCE v2 */
    char gid[40];                 /* the first one a RoCE v2 or InfiniBand connection would take */
};
struct doctor_rdma {
    int list_errno; /* of /sys/class/infiniband; ENOENT: the kernel has no RDMA core loaded */
    struct doctor_rdma_port ports[DOCTOR_PORTS_MAX];
    unsigned port_count;
    int verbs_errno; /* of opening /dev/infiniband/uverbs* for this user; 0 when it could */
    int cm_errno;    /* likewise rdma_cm */
};

struct doctor_tls {
    int socket_errno; /* no loopback connection: nothing was tried */
    int ulp_errno;    /* of TCP_ULP "tls" */
    int cipher_errno; /* of TLS 1.3 AES-128-GCM for sending */
};

struct doctor_clock {
    int adjtimex_errno;
    bool is_synchronised;
    int64_t error_max_us;
};

struct doctor_cpu {
    bool is_x86;
    char model[64];
    bool sse42, pclmul, vpclmul, avx2, avx512, sha, aes;
};

struct doctor_node {
    bool is_asked; /* DIR is a node's, or an admin port was named */
    bool runs;
    char s3[80], admin[80];
};

struct doctor_facts {
    struct doctor_kernel kernel;
    struct doctor_uring uring;
    struct doctor_memory memory;
    struct doctor_disk disk;
    struct doctor_network network;
    struct doctor_rdma rdma;
    struct doctor_tls tls;
    struct doctor_clock clock;
    struct doctor_cpu cpu;
    struct doctor_node node;
};

void doctor_look_kernel(struct doctor_kernel *kernel);
void doctor_look_uring(struct doctor_uring *uring);
void doctor_look_memory(struct doctor_memory *memory);
void doctor_look_disk(const char *dir, struct doctor_disk *disk);
/* `addresses`: of a node, numeric, "" for none; `interface`: by name, or NULL. False: there is no
 * such interface. */
bool doctor_look_network(const char *interface, const char *const addresses[],
                         unsigned address_count, struct doctor_network *network);
void doctor_look_rdma(const char *sys_root, const char *dev_root, struct doctor_rdma *rdma);
void doctor_look_tls(struct doctor_tls *tls);
void doctor_look_clock(struct doctor_clock *clock);
void doctor_look_cpu(struct doctor_cpu *cpu);

/* ---- parsers, of what the kernel says in text ---- */

/* The line of /proc/self/mountinfo whose mount point holds `path` (absolute, without links). False:
 * none. */
bool doctor_parse_mountinfo(struct bytes mountinfo, const char *path, struct doctor_disk *disk);
/* "always [madvise] never" -> "madvise". "" when nothing is bracketed. */
void doctor_parse_bracketed(const char *text, char *out, size_t out_size);
/* The number behind "Name:" in /proc/meminfo, /proc/self/status; false: no such line. base 10 or
 * 16. */
bool doctor_parse_field(struct bytes text, const char *name, int base, uint64_t *ret_value);
void doctor_look_block_device(const char *sys_root, unsigned major, unsigned minor,
                              struct doctor_disk *disk);

/* ---- small files of the kernel ---- */
/* What the file holds, without a newline at its end. 0, or an errno; then out is "". */
int doctor_read(const char *path, char *out, size_t out_size);
int64_t doctor_read_number(const char *path); /* -1: none */

/* ---- verdicts ---- */

enum doctor_verdict {
    DOCTOR_OK,      /* here, and as good as it gets */
    DOCTOR_WARN,    /* works, at a price that is told */
    DOCTOR_MISSING, /* not here. Whether Sluice needs it is told apart */
    DOCTOR_UNSEEN,  /* could not be looked at */
};

#define DOCTOR_CHECKS_MAX 224u /* 16 interfaces of 8 lines, 16 ports of 2, and 40 others */
struct doctor_check {
    const char *group;
    char name[48];  /* stable: "io_uring.setup", "network.eth0.tso" */
    char label[32]; /* for people */
    enum doctor_verdict verdict;
    bool is_needed;    /* MISSING ends in exit code 1 */
    char value[224];   /* measured */
    char advice[320];  /* what it means, and what to do; "" when all is well */
    char command[256]; /* to be typed; "" when none helps */
};
struct doctor_report {
    struct doctor_check checks[DOCTOR_CHECKS_MAX];
    size_t count;
};

void doctor_judge(const struct doctor_facts *facts, struct doctor_report *report);

/* For the judges alone. `name` is group.name; `label` what people see. */
struct doctor_check *doctor__add(struct doctor_report *report, const char *group, const char *name,
                                 const char *label);
void doctor__value(struct doctor_check *check, const char *format, ...) PRINTF_LIKE(2, 3);
void doctor__advise(struct doctor_check *check, enum doctor_verdict verdict, const char *command,
                    const char *format, ...) PRINTF_LIKE(4, 5);
void doctor__judge_disk(const struct doctor_disk *disk, struct doctor_report *report);
void doctor__judge_network(const struct doctor_network *network, struct doctor_report *report);
void doctor__judge_rdma(const struct doctor_rdma *rdma, struct doctor_report *report);

#endif
