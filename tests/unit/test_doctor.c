/*
 * The doctor: what the kernel says in text and in netlink attributes, whole and cut; a verdict for
 * each fact that changes one; a fake sysfs; and a look at this machine, whatever it is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <errno.h>
#include <linux/ethtool_netlink.h>
#include <linux/netlink.h>
#include <sys/stat.h>

#include "base/check.h"
#include "base/limits.h"
#include "tests/unit/capture.h"
#include "tools/cli.h"
#include "tools/doctor.h"

struct fixture {
    char base[40];
    struct cli cli;
    struct capture out;
    struct doctor_facts facts;
    struct doctor_report report;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    *state = f;
    strcpy(f->base, "/var/tmp/sluice-doctor-XXXXXX");
    assert_non_null(mkdtemp(f->base));
    snprintf(f->out.path, sizeof f->out.path, "%s/out", f->base);
    f->cli.dir_from = "--dir";
    f->cli.json = true;
    f->cli.command = &cmd_doctor;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char command[96];
    capture_end(&f->out);
    snprintf(command, sizeof command, "rm -rf %s", f->base);
    int rc = system(command);
    free(f);
    return rc;
}

static void assert_contains(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("'%s' does not say '%s'", text, part);
}

/* ---- text of the kernel ---- */

static void a_mount_is_found_by_its_longest_point(void **state)
{
    static const char text[] =
        "22 1 253:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard\n"
        "23 22 0:21 / /proc rw - proc proc rw\n"
        "24 22 259:1 / /srv rw,noatime - xfs /dev/nvme0n1p1 rw,attr2,inode64\n"
        "25 22 0:40 / /srv/a\\040b rw,nosuid master:2 propagate_from:3 - btrfs /dev/sdb rw,ssd\n"
        "26 24 0:41 / /srv/over rw - tmpfs tmpfs rw\n"
        "27 24 259:2 / /srv/over ro - ext4 /dev/sdc rw\n"
        "broken\n";
    static const struct {
        const char *path, *file_system, *source, *point, *options;
    } rows[] = {
        {"/", "ext4", "/dev/vda", "/", "rw,relatime,discard"},
        {"/srvice", "ext4", "/dev/vda", "/", "rw,relatime,discard"},
        {"/srv", "xfs", "/dev/nvme0n1p1", "/srv", "rw,noatime,attr2,inode64"},
        {"/srv/sluice/deep", "xfs", "/dev/nvme0n1p1", "/srv", "rw,noatime,attr2,inode64"},
        {"/srv/a b/x", "btrfs", "/dev/sdb", "/srv/a b", "rw,nosuid,ssd"},
        {"/srv/over/x", "ext4", "/dev/sdc", "/srv/over",
         "ro"}, /* the later mount covers the first */
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct doctor_disk disk = {0};
        assert_true(doctor_parse_mountinfo(bytes_of_string(text), rows[i].path, &disk));
        assert_string_equal(disk.file_system, rows[i].file_system);
        assert_string_equal(disk.source, rows[i].source);
        assert_string_equal(disk.mount_point, rows[i].point);
        assert_string_equal(disk.options, rows[i].options);
    }
    struct doctor_disk disk = {0};
    assert_false(
        doctor_parse_mountinfo(BYTES("23 22 0:21 / /proc rw - proc proc rw\n"), "/srv", &disk));
    assert_false(doctor_parse_mountinfo(BYTES(""), "/", &disk));
}

static void every_cut_of_a_mountinfo_is_read_without_harm(void **state)
{
    static const char line[] =
        "25 22 0:40 / /srv/a\\040b rw,nosuid master:2 - btrfs /dev/sdb rw,ssd";
    for (size_t size = 0; size < sizeof line; size++) {
        struct doctor_disk disk = {0};
        char *copy = malloc(size + 1); /* of exactly that size: a read past it is seen by ASan */
        assert_non_null(copy);
        memcpy(copy, line, size);
        (void)doctor_parse_mountinfo(bytes_of(copy, size), "/srv/a b", &disk);
        free(copy);
    }
}

static void fields_and_brackets_are_read(void **state)
{
    static const struct {
        const char *text, *value;
    } brackets[] = {
        {"always [madvise] never", "madvise"},
        {"[none] mq-deadline", "none"},
        {"none", ""},
        {"", ""},
        {"broken [here", ""},
        {"]odd[", ""},
    };
    for (size_t i = 0; i < COUNT_OF(brackets); i++) {
        char out[16];
        doctor_parse_bracketed(brackets[i].text, out, sizeof out);
        assert_string_equal(out, brackets[i].value);
    }
    struct bytes text =
        BYTES("MemTotal:       24683652 kB\nCapEff:\t00000000a80425fb\nSeccomp:\t2\nOdd:\n");
    uint64_t value;
    assert_true(doctor_parse_field(text, "MemTotal", 10, &value));
    assert_int_equal(value, 24683652);
    assert_true(doctor_parse_field(text, "CapEff", 16, &value));
    assert_int_equal(value, 0xa80425fb);
    assert_true(doctor_parse_field(text, "Seccomp", 10, &value));
    assert_int_equal(value, 2);
    assert_false(doctor_parse_field(text, "Mem", 10, &value));
    assert_false(doctor_parse_field(text, "Odd", 10, &value));
    assert_false(doctor_parse_field(BYTES(""), "MemTotal", 10, &value));
}

/* ---- netlink ---- */

struct message {
    char data[1024];
    size_t size;
};

static size_t nest_begin(struct message *message, uint16_t type)
{
    size_t at = message->size;
    struct nlattr head = {.nla_type = type | NLA_F_NESTED};
    memcpy(message->data + at, &head, sizeof head);
    message->size += sizeof head;
    return at;
}

static void nest_end(struct message *message, size_t at)
{
    uint16_t size = (uint16_t)(message->size - at);
    memcpy(message->data + at, &size, sizeof size);
}

static void put_bit(struct message *message, const char *name)
{
    size_t bit = nest_begin(message, ETHTOOL_A_BITSET_BITS_BIT);
    struct nlattr head = {.nla_type = ETHTOOL_A_BITSET_BIT_NAME,
                          .nla_len = (uint16_t)(sizeof head + strlen(name) + 1)};
    memcpy(message->data + message->size, &head, sizeof head);
    strcpy(message->data + message->size + sizeof head, name);
    message->size += NLA_ALIGN(head.nla_len);
    nest_end(message, bit);
}

static void put_bitset(struct message *message, uint16_t type, const char *const names[])
{
    size_t set = nest_begin(message, type), bits = nest_begin(message, ETHTOOL_A_BITSET_BITS);
    for (size_t i = 0; names[i] != NULL; i++)
        put_bit(message, names[i]);
    nest_end(message, bits);
    nest_end(message, set);
}

static struct message features_reply(void)
{
    static const char *const changeable[] = {"tx-tcp-segmentation", "rx-lro", "rx-gro", NULL};
    static const char *const active[] = {"tx-checksum-ip-generic", "tx-scatter-gather", "rx-gro",
                                         "tx-tcp-segmentation-not", NULL};
    static const char *const fixed[] = {"rx-lro", NULL};
    struct message message = {0};
    put_bitset(&message, ETHTOOL_A_FEATURES_HW, changeable);
    put_bitset(&message, ETHTOOL_A_FEATURES_ACTIVE, active);
    put_bitset(&message, ETHTOOL_A_FEATURES_NOCHANGE, fixed);
    return message;
}

static void features_are_read_by_name(void **state)
{
    struct message message = features_reply();
    struct ethtool_features features;
    assert_true(ethtool_features_parse(message.data, message.size, &features));
    assert_true(features.is_on[ETHTOOL_TX_CHECKSUM]);
    assert_true(features.is_on[ETHTOOL_SG]);
    assert_true(features.is_on[ETHTOOL_GRO]);
    assert_false(features.is_on[ETHTOOL_TSO]);
    assert_false(features.is_on[ETHTOOL_RX_CHECKSUM]);
    assert_true(features.can_change[ETHTOOL_TSO]);
    assert_true(features.can_change[ETHTOOL_GRO]);
    assert_false(features.can_change[ETHTOOL_LRO]); /* fixed */
    assert_false(features.can_change[ETHTOOL_SG]);
}

/* A cut message is refused or, when the cut falls behind an attribute, told of what stood before
 * it. */
static void every_cut_and_lie_of_a_reply_is_read_without_harm(void **state)
{
    struct message whole = features_reply();
    struct ethtool_features features;
    for (size_t size = 0; size < whole.size; size++) {
        char *copy = malloc(size + 1);
        assert_non_null(copy);
        memcpy(copy, whole.data, size);
        if (ethtool_features_parse(copy, size, &features))
            assert_true(features.is_on[ETHTOOL_GRO]);
        free(copy);
    }
    for (size_t at = 0; at < whole.size; at++)
        for (unsigned value = 0; value < 256; value += 51) {
            char *copy = malloc(whole.size);
            assert_non_null(copy);
            memcpy(copy, whole.data, whole.size);
            copy[at] = (char)value;
            (void)ethtool_features_parse(copy, whole.size, &features);
            free(copy);
        }
}

/* ---- verdicts ---- */

/* A machine at which there is nothing to complain of. */
static void good_machine(struct doctor_facts *facts)
{
    *facts = (struct doctor_facts){
        .kernel = {.release = "6.12.0", .machine = "x86_64", .major = 6, .minor = 12, .cores = 8},
        .uring = {.disabled = 0,
                  .has_features = true,
                  .mode = "DEFER_TASKRUN",
                  .is_probed = true,
                  .ops = {{"READ", true, true}, {"SPLICE", false, true}},
                  .op_count = 2,
                  .send_zc = DOCTOR_ZC_SENT_AND_REPORTED},
        .memory = {.memlock_soft = UINT64_MAX,
                   .memlock_hard = UINT64_MAX,
                   .files_soft = 1024,
                   .files_hard = 1u << 20,
                   .arena_bytes = GIB(1),
                   .rings = 8,
                   .connections = 16384,
                   .total_bytes = GIB(32),
                   .available_bytes = GIB(20),
                   .huge_bytes = MIB(2),
                   .thp = "madvise"},
        .disk = {.wanted = "/srv",
                 .dir = "/srv",
                 .is_probed = true,
                 .is_reverse_tried = true,
                 .is_reverse_seen = true,
                 .dio_memory_align = 4,
                 .dio_offset_align = 512,
                 .sync_median_ns = 60000,
                 .total_bytes = GIB(900),
                 .free_bytes = GIB(800),
                 .has_mount = true,
                 .file_system = "xfs",
                 .source = "/dev/nvme0n1",
                 .mount_point = "/srv",
                 .options = "rw,noatime",
                 .device = "nvme0n1",
                 .write_cache = "write through",
                 .fua = 1,
                 .discard_max_bytes = 1 << 30,
                 .logical_block_bytes = 4096,
                 .scheduler = "none",
                 .probe = {.direct = DISK_DIRECT_REAL,
                           .file_system = "xfs",
                           .reason = "xfs does it"}},
        .network = {.chosen_by = "--interface",
                    .nic_count = 1,
                    .nics = {{.name = "eth0",
                              .driver = "mlx5_core",
                              .state = "up",
                              .speed_mbit = 100000,
                              .mtu = 9000}}},
        .rdma = {.port_count = 1,
                 .ports = {{.device = "mlx5_0",
                            .port = 1,
                            .state = "ACTIVE",
                            .link_layer = "Ethernet",
                            .rate = "100 Gb/sec",
                            .gids = 4,
                            .gids_v2 = 2,
                            .gid = "::ffff:10.0.0.1"}}},
        .clock = {.is_synchronised = true, .error_max_us = 4000},
        .cpu = {.is_x86 = true,
                .model = "EPYC",
                .sse42 = true,
                .pclmul = true,
                .vpclmul = true,
                .avx2 = true,
                .avx512 = true,
                .sha = true,
                .aes = true},
        .node = {.is_asked = true, .runs = true, .s3 = "10.0.0.1:9000", .admin = "127.0.0.1:9001"},
    };
    for (size_t i = 0; i < ETHTOOL_FEATURE_COUNT; i++)
        facts->network.nics[0].features.is_on[i] = facts->network.nics[0].features.can_change[i] =
            true;
}

static const struct doctor_check *find(const struct doctor_report *report, const char *name)
{
    for (size_t i = 0; i < report->count; i++)
        if (strcmp(report->checks[i].name, name) == 0)
            return &report->checks[i];
    fail_msg("there is no check %s", name);
    return NULL;
}

static void a_good_machine_is_ok_throughout(void **state)
{
    struct fixture *f = *state;
    good_machine(&f->facts);
    doctor_judge(&f->facts, &f->report);
    assert_true(f->report.count > 30);
    for (size_t i = 0; i < f->report.count; i++) {
        const struct doctor_check *check = &f->report.checks[i];
        if (check->verdict != DOCTOR_OK || check->advice[0] != '\0' || check->value[0] == '\0')
            fail_msg("%s: '%s' '%s'", check->name, check->value, check->advice);
        for (size_t k = 0; k < i; k++) /* names are what people select by */
            assert_string_not_equal(f->report.checks[k].name, check->name);
    }
}

#define NIC  facts->network.nics[0]
#define PORT facts->rdma.ports[0]
/* One change of the good machine, and what it does to one check. */
#define ROWS(X)                                                                                    \
    X("kernel.version", MISSING, true, "5.11", facts->kernel.major = 4)                            \
    X("kernel.version", MISSING, true, "5.11",                                                     \
      (facts->kernel.major = 5, facts->kernel.minor = 10))                                         \
    X("kernel.version", WARN, true, "6.1", (facts->kernel.major = 5, facts->kernel.minor = 15))    \
    X("kernel.version", OK, true, "", facts->kernel.minor = 1)                                     \
    X("kernel.cores", WARN, false, "second", facts->kernel.cores = 1)                              \
    X("kernel.cachestat", WARN, false, "6.5", facts->kernel.cachestat_errno = ENOSYS)              \
    X("kernel.cachestat", WARN, false, "seccomp", facts->kernel.cachestat_errno = EPERM)           \
    X("io_uring.setup", MISSING, true, "administrator",                                            \
      (facts->uring.setup_errno = EPERM, facts->uring.disabled = 2))                               \
    X("io_uring.setup", MISSING, true, "seccomp filter",                                           \
      (facts->uring.setup_errno = EPERM, facts->uring.seccomp = 2))                                \
    X("io_uring.setup", MISSING, true, "locked memory", facts->uring.setup_errno = ENOMEM)         \
    X("io_uring.setup", MISSING, true, "CONFIG_IO_URING", facts->uring.setup_errno = ENOSYS)       \
    X("io_uring.features", MISSING, true, "5.11", facts->uring.has_features = false)               \
    X("io_uring.flags", WARN, false, "6.1", facts->uring.mode_rank = 2)                            \
    X("io_uring.operations", MISSING, true, "register", facts->uring.is_probed = false)            \
    X("io_uring.operations", MISSING, true, "5.11", facts->uring.ops[0].is_there = false)          \
    X("io_uring.operations", WARN, true, "optional", facts->uring.ops[1].is_there = false)         \
    X("io_uring.fixed_buffers", WARN, false, "MEMLOCK", facts->uring.fixed_errno = ENOMEM)         \
    X("io_uring.send_zc", WARN, false, "6.0", facts->uring.send_zc = DOCTOR_ZC_NOT_TRIED)          \
    X("io_uring.send_zc", WARN, false, "6.3", facts->uring.send_zc = DOCTOR_ZC_SENT)               \
    X("io_uring.send_zc", WARN, false, "copying",                                                  \
      (facts->uring.send_zc = DOCTOR_ZC_REFUSED, facts->uring.send_zc_errno = EOPNOTSUPP))         \
    X("memory.memlock", WARN, false, "MEMLOCK", facts->memory.memlock_hard = MIB(8))               \
    X("memory.memlock", OK, false, "", facts->memory.memlock_hard = GIB(8))                        \
    X("memory.memlock", OK, false, "",                                                             \
      (facts->memory.memlock_hard = 0, facts->memory.may_lock = true))                             \
    X("memory.memlock", OK, false, "",                                                             \
      (facts->memory.memlock_hard = 0, facts->memory.may_raise = true))                            \
    X("memory.files", WARN, false, "NOFILE", facts->memory.files_hard = 4096)                      \
    X("memory.files", OK, false, "", facts->memory.files_hard = 16384 + 1024)                      \
    X("memory.huge_pages", WARN, false, "4 KiB", strcpy(facts->memory.thp, "never"))               \
    X("memory.huge_pages", OK, false, "",                                                          \
      (strcpy(facts->memory.thp, "never"), facts->memory.huge_free = 512))                         \
    X("memory.ram", WARN, false, "512 MiB", facts->memory.available_bytes = MIB(400))              \
    X("memory.ram", UNSEEN, false, "meminfo", facts->memory.total_bytes = 0)                       \
    X("disk.dir", MISSING, true, "Not a directory", facts->disk.dir_errno = ENOTDIR)               \
    X("disk.dir", UNSEEN, true, "Permission", facts->disk.dir_errno = EACCES)                      \
    X("disk.file_system", WARN, false, "XFS and ext4", strcpy(facts->disk.file_system, "btrfs"))   \
    X("disk.file_system", UNSEEN, false, "mountinfo", facts->disk.has_mount = false)               \
    X("disk.options", MISSING, true, "read-only", strcpy(facts->disk.options, "ro,noatime"))       \
    X("disk.options", MISSING, true, "power cut", strcpy(facts->disk.options, "rw,nobarrier"))     \
    X("disk.options", MISSING, true, "power cut", strcpy(facts->disk.options, "rw,barrier=0"))     \
    X("disk.options", OK, true, "", strcpy(facts->disk.options, "rw,errors=remount-ro"))           \
    X("disk.options", WARN, true, "journal", strcpy(facts->disk.options, "rw,data=journal"))       \
    X("disk.space", WARN, false, "300 MiB", facts->disk.free_bytes = MIB(299))                     \
    X("disk.direct_io", MISSING, true, "XFS or ext4",                                              \
      facts->disk.probe.direct = DISK_DIRECT_PRETENDED)                                            \
    X("disk.direct_io", MISSING, true, "XFS or ext4",                                              \
      facts->disk.probe.direct = DISK_DIRECT_REFUSED)                                              \
    X("disk.direct_io", UNSEEN, true, "user who will run",                                         \
      (facts->disk.is_probed = false, facts->disk.write_errno = EACCES))                           \
    X("disk.coherence", UNSEEN, false, "scratch", facts->disk.is_probed = false)                   \
    X("disk.coherence", MISSING, true, "disagree", facts->disk.is_reverse_seen = false)            \
    X("disk.alignment", MISSING, true, "larger blocks", facts->disk.dio_offset_align = 16384)      \
    X("disk.alignment", OK, false, "", facts->disk.dio_offset_align = 0)                           \
    X("disk.sync", WARN, false, "slow", facts->disk.sync_median_ns = 9000000)                      \
    X("disk.sync", UNSEEN, false, "scratch", facts->disk.sync_median_ns = 0)                       \
    X("disk.write_cache", WARN, false, "power-loss",                                               \
      (strcpy(facts->disk.write_cache, "write back"), facts->disk.fua = 0))                        \
    X("disk.write_cache", OK, false, "", strcpy(facts->disk.write_cache, "write back"))            \
    X("disk.write_cache", UNSEEN, false, "fdatasync", facts->disk.write_cache[0] = '\0')           \
    X("disk.rotational", WARN, false, "in vain", facts->disk.rotational = 1)                       \
    X("disk.rotational", WARN, false, "hundred a second",                                          \
      (facts->disk.rotational = 1, facts->disk.sync_median_ns = 9000000))                          \
    X("disk.rotational", UNSEEN, false, "sysfs", facts->disk.rotational = -1)                      \
    X("disk.discard", WARN, false, "free", facts->disk.discard_max_bytes = 0)                      \
    X("disk.scheduler", WARN, false, "desktops", strcpy(facts->disk.scheduler, "bfq"))             \
    X("disk.device", UNSEEN, false, "not known", facts->disk.device[0] = '\0')                     \
    X("network.eth0.link", WARN, false, "ip link set eth0 up", strcpy(NIC.state, "down"))          \
    X("network.eth0.offloads", UNSEEN, false, "ethtool", NIC.features_errno = EOPNOTSUPP)          \
    X("network.eth0.tso", WARN, false, "packets", NIC.features.is_on[ETHTOOL_TSO] = false)         \
    X("network.eth0.gso", WARN, false, "stack", NIC.features.is_on[ETHTOOL_GSO] = false)           \
    X("network.eth0.gro", WARN, false, "uploads", NIC.features.is_on[ETHTOOL_GRO] = false)         \
    X("network.eth0.lro", OK, false, "", NIC.features.is_on[ETHTOOL_LRO] = false)                  \
    X("network.eth0.scatter_gather", WARN, false, "zero-copy",                                     \
      NIC.features.is_on[ETHTOOL_SG] = false)                                                      \
    X("network.eth0.tx_checksum", WARN, false, "reads every byte",                                 \
      NIC.features.is_on[ETHTOOL_TX_CHECKSUM] = false)                                             \
    X("network.eth0.rx_checksum", WARN, false, "does not offer",                                   \
      (NIC.features.is_on[ETHTOOL_RX_CHECKSUM] = false,                                            \
       NIC.features.can_change[ETHTOOL_RX_CHECKSUM] = false))                                      \
    X("network.interfaces", UNSEEN, false, "--interface", facts->network.nic_count = 0)            \
    X("rdma.devices", MISSING, false, "optional",                                                  \
      (facts->rdma.port_count = 0, facts->rdma.list_errno = ENOENT))                               \
    X("rdma.devices", UNSEEN, false, "hidden",                                                     \
      (facts->rdma.port_count = 0, facts->rdma.list_errno = EACCES))                               \
    X("rdma.mlx5_0.1", WARN, false, "ACTIVE", strcpy(PORT.state, "DOWN"))                          \
    X("rdma.mlx5_0.1", WARN, false, "GID", PORT.gid[0] = '\0')                                     \
    X("rdma.rights", MISSING, false, "optional", facts->rdma.verbs_errno = EACCES)                 \
    X("rdma.rights", MISSING, false, "/dev/infiniband", facts->rdma.cm_errno = ENOENT)             \
    X("tls.ktls", MISSING, false, "optional", facts->tls.ulp_errno = ENOENT)                       \
    X("tls.ktls", MISSING, false, "optional", facts->tls.ulp_errno = EPERM)                        \
    X("tls.ktls", WARN, false, "cipher", facts->tls.cipher_errno = ENOENT)                         \
    X("tls.ktls", UNSEEN, false, "tried", facts->tls.socket_errno = EPERM)                         \
    X("time.clock", WARN, false, "15 minutes", facts->clock.is_synchronised = false)               \
    X("time.clock", WARN, false, "silent", facts->clock.error_max_us = 5000000)                    \
    X("time.clock", UNSEEN, false, "cannot be told", facts->clock.adjtimex_errno = EPERM)          \
    X("cpu.vectors", WARN, false, "AVX2", (facts->cpu.avx2 = false, facts->cpu.avx512 = false))    \
    X("cpu.vectors", OK, false, "", facts->cpu.avx512 = false)                                     \
    X("cpu.vectors", UNSEEN, false, "portable", facts->cpu.is_x86 = false)                         \
    X("cpu.sha", WARN, false, "signed uploads", facts->cpu.sha = false)                            \
    X("cpu.crc", WARN, false, "checksums", facts->cpu.pclmul = false)                              \
    X("cpu.aes", WARN, false, "TLS", facts->cpu.aes = false)                                       \
    X("node.runs", OK, false, "", facts->node.runs = false)

#define X(name, verdict, needed, says, change)                                                     \
    {                                                                                              \
        struct doctor_facts *facts = &f->facts;                                                    \
        good_machine(facts);                                                                       \
        (void)(change);                                                                            \
        doctor_judge(facts, &f->report);                                                           \
        assert_verdict(&f->report, name, DOCTOR_##verdict, needed, says);                          \
    }

static void assert_verdict(const struct doctor_report *report, const char *name,
                           enum doctor_verdict verdict, bool is_needed, const char *says)
{
    const struct doctor_check *check = find(report, name);
    if (check->verdict != verdict || check->is_needed != is_needed ||
        (says[0] == '\0') != (check->advice[0] == '\0') ||
        (strstr(check->advice, says) == NULL && strstr(check->command, says) == NULL))
        fail_msg(
            "%s is %d, needed %d, value '%s', advice '%s', command '%s'; expected %d, %d, '%s'",
            name, check->verdict, check->is_needed, check->value, check->advice, check->command,
            verdict, is_needed, says);
}

static void each_fact_has_its_verdict(void **state)
{
    struct fixture *f = *state;
    ROWS(X)
}
#undef X

/* ---- a sysfs of our own ---- */

static void put_file(const struct fixture *f, const char *path, const char *content)
{
    char whole[256], command[320];
    snprintf(whole, sizeof whole, "%s/%s", f->base, path);
    snprintf(command, sizeof command, "mkdir -p $(dirname %s)", whole);
    assert_int_equal(system(command), 0);
    FILE *file = fopen(whole, "w");
    assert_non_null(file);
    fputs(content, file);
    fclose(file);
}

static void rdma_ports_are_read_from_sysfs(void **state)
{
    struct fixture *f = *state;
    struct doctor_rdma rdma;
    doctor_look_rdma(f->base, f->base, &rdma);
    assert_int_equal(rdma.list_errno, ENOENT);
#define PORT1 "class/infiniband/rxe0/ports/1/"
    put_file(f, PORT1 "state", "4: ACTIVE\n");
    put_file(f, PORT1 "link_layer", "Ethernet\n");
    put_file(f, PORT1 "rate", "2.5 Gb/sec (1X SDR)\n");
    put_file(f, PORT1 "gids/0", "fe80:0000:0000:0000:0000:00ff:fe00:0001\n");
    put_file(f, PORT1 "gid_attrs/types/0", "IB/RoCE v1\n");
    put_file(f, PORT1 "gids/1", "0000:0000:0000:0000:0000:ffff:0a00:0001\n");
    put_file(f, PORT1 "gid_attrs/types/1", "RoCE v2\n");
    put_file(f, PORT1 "gid_attrs/ndevs/1", "n1\n");
    put_file(f, PORT1 "gids/2", "0000:0000:0000:0000:0000:0000:0000:0000\n");
    doctor_look_rdma(f->base, f->base, &rdma);
    assert_int_equal(rdma.list_errno, 0);
    assert_int_equal(rdma.port_count, 1);
    const struct doctor_rdma_port *port = &rdma.ports[0];
    assert_string_equal(port->device, "rxe0");
    assert_string_equal(port->state, "ACTIVE");
    assert_string_equal(port->link_layer, "Ethernet");
    assert_int_equal(port->gids, 2);
    assert_int_equal(port->gids_v2, 1);
    assert_string_equal(port->gid, "0000:0000:0000:0000:0000:ffff:0a00:0001");
    assert_string_equal(port->netdev, "n1");
    assert_int_equal(rdma.verbs_errno, ENOENT); /* no /dev/infiniband there */
    put_file(f, "infiniband/uverbs0", "");
    put_file(f, "infiniband/rdma_cm", "");
    doctor_look_rdma(f->base, f->base, &rdma);
    assert_int_equal(rdma.verbs_errno, 0);
    assert_int_equal(rdma.cm_errno, 0);
}

static void a_partition_has_its_disks_queue(void **state)
{
    struct fixture *f = *state;
    char target[128], link[128];
    struct doctor_disk disk = {0};
    put_file(f, "devices/sda/queue/write_cache", "write back\n");
    put_file(f, "devices/sda/queue/fua", "1\n");
    put_file(f, "devices/sda/queue/rotational", "0\n");
    put_file(f, "devices/sda/queue/scheduler", "none [mq-deadline] kyber\n");
    put_file(f, "devices/sda/sda1/partition", "1\n");
    put_file(f, "dev/block/keep", "");
    snprintf(target, sizeof target, "%s/devices/sda/sda1", f->base);
    snprintf(link, sizeof link, "%s/dev/block/8:1", f->base);
    assert_int_equal(symlink(target, link), 0);
    doctor_look_block_device(f->base, 8, 1, &disk);
    assert_string_equal(disk.device, "sda");
    assert_string_equal(disk.write_cache, "write back");
    assert_int_equal(disk.fua, 1);
    assert_int_equal(disk.rotational, 0);
    assert_int_equal(disk.discard_max_bytes, -1); /* no such file */
    assert_string_equal(disk.scheduler, "mq-deadline");
    disk = (struct doctor_disk){0};
    doctor_look_block_device(f->base, 8, 99, &disk);
    assert_string_equal(disk.device, "");
    assert_int_equal(disk.fua, -1);
}

/* ---- this machine ---- */

static json_t *run_on_this_machine(struct fixture *f, enum exit_code *ret_code, const char *a,
                                   const char *b)
{
    char *argv[] = {"doctor", (char *)a, (char *)b, NULL};
    f->cli.dir[0] = '\0';
    capture_begin(&f->out);
    *ret_code = cmd_doctor.run(&f->cli, a == NULL ? 1 : b == NULL ? 2 : 3, argv);
    capture_end(&f->out);
    return capture_json(&f->out);
}

static const json_t *find_json(const json_t *json, const char *name)
{
    size_t i;
    json_t *check;
    json_array_foreach(json_object_get(json, "checks"), i,
                       check) if (strcmp(json_text(check, "name"), name) == 0) return check;
    fail_msg("there is no check %s", name);
    return NULL;
}

static void this_machine_is_looked_at(void **state)
{
    struct fixture *f = *state;
    enum exit_code code;
    json_t *json = run_on_this_machine(f, &code, f->base, NULL);
    assert_non_null(json);
    assert_int_equal(code,
                     json_is_true(json_object_get(json, "usable")) ? EXIT_DONE : EXIT_REFUSED);
    static const char *const names[] = {"kernel.version", "io_uring.setup", "memory.memlock",
                                        "disk.dir",       "disk.direct_io", "tls.ktls",
                                        "time.clock",     "cpu.vectors"};
    for (size_t i = 0; i < COUNT_OF(names); i++)
        assert_true(json_text(find_json(json, names[i]), "value")[0] != '\0');
    json_decref(json);
    struct stat status; /* nothing of the probes is left */
    char path[64];
    snprintf(path, sizeof path, "%s/out", f->base);
    assert_int_equal(stat(f->base, &status), 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(f->base), 0);
    assert_int_equal(mkdir(f->base, 0700), 0);
}

static void a_directory_to_come_is_judged_by_the_one_above(void **state)
{
    struct fixture *f = *state;
    char path[96];
    enum exit_code code;
    snprintf(path, sizeof path, "%s/not/yet/there", f->base);
    json_t *json = run_on_this_machine(f, &code, path, NULL);
    assert_non_null(json);
    assert_string_equal(json_text(json, "dir"), f->base);
    assert_contains(json_text(find_json(json, "disk.dir"), "value"), "not/yet/there");
    json_decref(json);
}

static void what_is_not_there_is_told(void **state)
{
    struct fixture *f = *state;
    char path[96];
    enum exit_code code;
    snprintf(path, sizeof path, "%s/file", f->base);
    put_file(f, "file", "");
    json_t *json = run_on_this_machine(f, &code, path, NULL);
    assert_int_equal(code, EXIT_REFUSED); /* needed, and no directory */
    assert_string_equal(json_text(find_json(json, "disk.dir"), "verdict"), "missing");
    json_decref(json);
    json = run_on_this_machine(f, &code, "--interface", "no-such-if");
    assert_int_equal(code, EXIT_WRONG_USAGE);
    assert_contains(json_text(json_object_get(json, "error"), "message"), "no-such-if");
    json_decref(json);
    json = run_on_this_machine(f, &code, "--interface", "lo");
    assert_true(code == EXIT_DONE || code == EXIT_REFUSED);
    assert_contains(json_text(find_json(json, "network.lo.link"), "value"), "loopback");
    json_decref(json);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_mount_is_found_by_its_longest_point),
        TEST(every_cut_of_a_mountinfo_is_read_without_harm),
        TEST(fields_and_brackets_are_read),
        TEST(features_are_read_by_name),
        TEST(every_cut_and_lie_of_a_reply_is_read_without_harm),
        TEST(a_good_machine_is_ok_throughout),
        TEST(each_fact_has_its_verdict),
        TEST(rdma_ports_are_read_from_sysfs),
        TEST(a_partition_has_its_disks_queue),
        TEST(this_machine_is_looked_at),
        TEST(a_directory_to_come_is_judged_by_the_one_above),
        TEST(what_is_not_there_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
