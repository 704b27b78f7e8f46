/* Verdicts on the disk, the network interfaces and RDMA. Pure, like doctor_judge.c. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/limits.h"
#include "server/units.h"
#include "tools/doctor.h"

#define SPACE_LEAST_BYTES MIB(300) /* the smallest disk a node is tested on */
#define SYNC_FAST_NS      2000000u /* a platter needs 4 ms for half a turn */
#define SYNC_SLOW_NS      5000000u /* a spinning disk's, or a network's */

static const char *errno_text(int errnum)
{
    const char *text = strerrordesc_np(errnum);
    return text != NULL ? text : "unknown error";
}

/* ---- the file system ---- */

static bool has_option(const char *options, const char *name)
{
    struct bytes rest = bytes_of_string(options);
    while (rest.size > 0)
        if (bytes_equal(bytes_split(&rest, ','), bytes_of_string(name)))
            return true;
    return false;
}

static void judge_file_system(const struct doctor_disk *disk, struct doctor_report *report)
{
    struct doctor_check *check = doctor__add(report, "disk", "file_system", "file system");
    if (!disk->has_mount) {
        doctor__value(check, "%s", disk->is_probed ? disk->probe.file_system : "not told");
        doctor__advise(check, DOCTOR_UNSEEN, NULL, "/proc/self/mountinfo has no line for %s",
                       disk->dir);
    } else {
        doctor__value(check, "%s on %s, mounted at %s", disk->file_system, disk->source,
                      disk->mount_point);
        if (strcmp(disk->file_system, "xfs") != 0 && strcmp(disk->file_system, "ext4") != 0)
            doctor__advise(check, DOCTOR_WARN, NULL,
                           "Sluice is built for and tested on XFS and ext4: mkfs.xfs a disk and "
                           "mount it there");
        check = doctor__add(report, "disk", "options", "mount options");
        doctor__value(check, "%.200s", disk->options);
        check->is_needed = true;
        if (has_option(disk->options, "ro"))
            doctor__advise(check, DOCTOR_MISSING, "mount -o remount,rw MOUNT-POINT",
                           "it is mounted read-only");
        else if (has_option(disk->options, "nobarrier") || has_option(disk->options, "barrier=0"))
            doctor__advise(
                check, DOCTOR_MISSING, "mount -o remount,barrier=1 MOUNT-POINT",
                "without barriers fdatasync does not reach the disk: an acknowledged PUT "
                "can be lost in a power cut");
        else if (has_option(disk->options, "data=journal"))
            doctor__advise(check, DOCTOR_WARN, NULL,
                           "ext4 with data=journal writes everything twice and does no Direct I/O: "
                           "mount it with data=ordered, its default");
    }
}

static void judge_space(const struct doctor_disk *disk, struct doctor_report *report)
{
    struct doctor_check *check = doctor__add(report, "disk", "space", "space");
    char free_memory[32], total_memory[32];
    struct buf free_text = BUF_ON(free_memory), total = BUF_ON(total_memory);
    size_print_human(disk->free_bytes, &free_text);
    size_print_human(disk->total_bytes, &total);
    doctor__value(check, "%.*s free of %.*s", (int)free_text.size, free_text.data, (int)total.size,
                  total.data);
    if (disk->free_bytes < SPACE_LEAST_BYTES)
        doctor__advise(check, DOCTOR_WARN, NULL, "less than 300 MiB: a node is soon full here");
}

/* ---- Direct I/O ---- */

static void judge_direct(const struct doctor_disk *disk, struct doctor_report *report)
{
    struct doctor_check *check = doctor__add(report, "disk", "direct_io", "Direct I/O");
    check->is_needed = true;
    if (!disk->is_probed) {
        if (disk->write_errno != 0)
            doctor__value(check, "not tried: no scratch file can be made in %.120s: %s", disk->dir,
                          errno_text(disk->write_errno));
        else
            doctor__value(check, "not tried: %s", disk->probe_error);
        doctor__advise(
            check, DOCTOR_UNSEEN, NULL,
            "look again as the user who will run the node, or name a directory that user "
            "may write in");
        return;
    }
    doctor__value(check, "%s", disk->probe.reason);
    if (disk->probe.direct != DISK_DIRECT_REAL)
        doctor__advise(check, DOCTOR_MISSING, "mkfs.xfs /dev/DISK && mount /dev/DISK DIR",
                       "use XFS or ext4 on a real disk; or accept copies by name: "
                       "sluiced DIR --allow-buffered");
}

static void judge_coherence(const struct doctor_disk *disk, struct doctor_report *report)
{
    struct doctor_check *check = doctor__add(report, "disk", "coherence", "coherence");
    if (!disk->is_probed || !disk->is_reverse_tried) {
        doctor__value(check, "not tried");
        doctor__advise(check, DOCTOR_UNSEEN, NULL, "it takes a scratch file with Direct I/O");
        return;
    }
    bool is_seen = disk->probe.direct == DISK_DIRECT_REAL;
    check->is_needed = true;
    doctor__value(check, "a direct write %s, a buffered write %s by a direct read",
                  is_seen ? "is seen by a buffered read and leaves held pages alone"
                          : "changes pages that readers hold",
                  disk->is_reverse_seen ? "is seen" : "is NOT seen");
    if (!is_seen || !disk->is_reverse_seen)
        doctor__advise(check, DOCTOR_MISSING, NULL,
                       "page cache and disk disagree here: sendfile could send an object's "
                       "predecessor. Use XFS or ext4");
}

static void judge_alignment(const struct doctor_disk *disk, struct doctor_report *report)
{
    struct doctor_check *check = doctor__add(report, "disk", "alignment", "alignment");
    if (disk->dio_offset_align == 0) {
        doctor__value(check, "not told; Sluice keeps to %u B", DISK_ALIGN);
        if (!disk->is_probed)
            doctor__advise(check, DOCTOR_UNSEEN, NULL, "it is asked of an open file");
        return;
    }
    doctor__value(check, "memory %u B, offset %u B (statx); Sluice keeps to %u B",
                  disk->dio_memory_align, disk->dio_offset_align, DISK_ALIGN);
    if (disk->dio_offset_align > DISK_ALIGN || disk->dio_memory_align > DISK_ALIGN) {
        check->is_needed = true;
        doctor__advise(
            check, DOCTOR_MISSING, NULL,
            "this disk wants larger blocks than Sluice writes: use one of at most 4 KiB");
    }
}

static void judge_sync(const struct doctor_disk *disk, struct doctor_report *report)
{
    struct doctor_check *check = doctor__add(report, "disk", "sync", "durable write");
    if (disk->sync_median_ns == 0) {
        doctor__value(check, "not measured");
        doctor__advise(check, DOCTOR_UNSEEN, NULL, "it takes a scratch file with Direct I/O");
        return;
    }
    doctor__value(check, "%.2f ms for 4 KiB and its fdatasync (median of a few)",
                  (double)disk->sync_median_ns / 1e6);
    if (disk->sync_median_ns > SYNC_SLOW_NS)
        doctor__advise(check, DOCTOR_WARN, NULL,
                       "slow: each commit waits that long. Many small PUTs at once share a commit; "
                       "a disk with power-loss protection answers in a tenth of a millisecond");
}

/* ---- the device ---- */

static void judge_write_cache(const struct doctor_disk *disk, struct doctor_report *report)
{
    struct doctor_check *check = doctor__add(report, "disk", "write_cache", "write cache");
    if (disk->write_cache[0] == '\0') {
        doctor__value(check, "not told by %s", disk->device);
        doctor__advise(check, DOCTOR_UNSEEN, NULL, "fdatasync is trusted all the same");
        return;
    }
    bool is_back = strcmp(disk->write_cache, "write back") == 0;
    doctor__value(check, "%s, FUA %s", disk->write_cache,
                  disk->fua > 0    ? "yes"
                  : disk->fua == 0 ? "no"
                                   : "not told");
    if (is_back && disk->fua == 0)
        doctor__advise(
            check, DOCTOR_WARN, NULL,
            "safe, but each commit empties the disk's whole cache: a disk with power-loss "
            "protection shows write through, or has FUA");
}

static void judge_device(const struct doctor_disk *disk, struct doctor_report *report)
{
    struct doctor_check *check;
    char command[128];
    judge_write_cache(disk, report);

    check = doctor__add(report, "disk", "rotational", "kind");
    doctor__value(check, "%s: %s, %lld B blocks", disk->device,
                  disk->rotational == 0   ? "no moving parts"
                  : disk->rotational == 1 ? "a spinning disk"
                                          : "kind not told",
                  (long long)disk->logical_block_bytes);
    snprintf(command, sizeof command, "echo 0 > /sys/block/%s/queue/rotational", disk->device);
    if (disk->rotational == 1 && disk->sync_median_ns > 0 && disk->sync_median_ns < SYNC_FAST_NS)
        doctor__advise(
            check, DOCTOR_WARN, command,
            "the kernel takes it for one, and it answers faster than any platter turns (a "
            "guest's disk): requests are sorted and held back in vain");
    else if (disk->rotational == 1)
        doctor__advise(check, DOCTOR_WARN, NULL,
                       "each durable PUT waits for the platter: some hundred a second");
    else if (disk->rotational < 0)
        doctor__advise(check, DOCTOR_UNSEEN, NULL, "sysfs does not say");

    check = doctor__add(report, "disk", "discard", "discard");
    doctor__value(check, disk->discard_max_bytes > 0    ? "yes"
                         : disk->discard_max_bytes == 0 ? "no"
                                                        : "not told");
    if (disk->discard_max_bytes == 0 && disk->rotational == 0)
        doctor__advise(check, DOCTOR_WARN, NULL,
                       "the disk does not learn which blocks are free and slows down as it fills: "
                       "let a guest's or RAID's layer pass it on");

    check = doctor__add(report, "disk", "scheduler", "scheduler");
    doctor__value(check, "%s", disk->scheduler[0] != '\0' ? disk->scheduler : "not told");
    snprintf(command, sizeof command, "echo none > /sys/block/%s/queue/scheduler", disk->device);
    if (strcmp(disk->scheduler, "bfq") == 0 || strcmp(disk->scheduler, "cfq") == 0)
        doctor__advise(check, DOCTOR_WARN, command,
                       "made for desktops: it holds requests back. none (or mq-deadline) for disks "
                       "without moving parts");
}

void doctor__judge_disk(const struct doctor_disk *disk, struct doctor_report *report)
{
    struct doctor_check *check = doctor__add(report, "disk", "dir", "directory");
    if (disk->dir_errno != 0) {
        check->is_needed = true;
        doctor__value(check, "%.200s", disk->wanted);
        doctor__advise(check, disk->dir_errno == EACCES ? DOCTOR_UNSEEN : DOCTOR_MISSING, NULL,
                       "%s", errno_text(disk->dir_errno));
        return;
    }
    if (strcmp(disk->wanted, disk->dir) == 0)
        doctor__value(check, "%.200s", disk->dir);
    else
        doctor__value(check, "%.100s (asked for: %.90s)", disk->dir, disk->wanted);
    judge_file_system(disk, report);
    judge_space(disk, report);
    judge_direct(disk, report);
    judge_coherence(disk, report);
    judge_alignment(disk, report);
    judge_sync(disk, report);
    if (disk->device[0] != '\0') {
        judge_device(disk, report);
        return;
    }
    check = doctor__add(report, "disk", "device", "device");
    doctor__value(check, "none that sysfs shows");
    doctor__advise(check, DOCTOR_UNSEEN, NULL, "write cache, discard and scheduler are not known");
}

/* ---- network ---- */

static const struct {
    enum ethtool_feature feature;
    const char *name, *label, *option, *without;
} offloads[] = {
    {ETHTOOL_SG, "scatter_gather", "scatter-gather", "sg",
     "the kernel copies every packet together first: sendfile and SEND_ZC are zero-copy no more"},
    {ETHTOOL_TX_CHECKSUM, "tx_checksum", "checksums out", "tx",
     "the CPU reads every byte it sends, and segmentation offload is off with it"},
    {ETHTOOL_RX_CHECKSUM, "rx_checksum", "checksums in", "rx",
     "the CPU reads every byte it receives once more"},
    {ETHTOOL_TSO, "tso", "TSO", "tso", "the CPU cuts bodies into packets itself"},
    {ETHTOOL_GSO, "gso", "GSO", "gso", "each packet walks the whole stack alone"},
    {ETHTOOL_GRO, "gro", "GRO", "gro",
     "received packets are not put together: uploads cost more CPU"},
};

static void judge_offload(const struct doctor_nic *nic, size_t i, struct doctor_report *report)
{
    char name[48], label[32], command[64];
    snprintf(name, sizeof name, "%.16s.%s", nic->name, offloads[i].name);
    snprintf(label, sizeof label, "%.10s %s", nic->name, offloads[i].label);
    struct doctor_check *check = doctor__add(report, "network", name, label);
    bool is_on = nic->features.is_on[offloads[i].feature];
    bool can_change = nic->features.can_change[offloads[i].feature] || nic->features.by_ioctl;
    doctor__value(check, "%s", is_on ? "on" : "off");
    if (is_on)
        return;
    snprintf(command, sizeof command, "ethtool -K %.16s %s on", nic->name, offloads[i].option);
    doctor__advise(check, DOCTOR_WARN, can_change ? command : NULL, "%s%s", offloads[i].without,
                   can_change ? "" : " (its driver does not offer it)");
}

static void judge_nic(const struct doctor_nic *nic, struct doctor_report *report)
{
    char name[48], label[32], speed[32] = "speed not told";
    snprintf(name, sizeof name, "%.16s.link", nic->name);
    snprintf(label, sizeof label, "%.16s", nic->name);
    struct doctor_check *check = doctor__add(report, "network", name, label);
    if (nic->speed_mbit > 0)
        snprintf(speed, sizeof speed, "%lld Mbit/s", (long long)nic->speed_mbit);
    doctor__value(check, "%s, %s, MTU %lld, %s",
                  nic->is_loopback         ? "loopback"
                  : nic->driver[0] != '\0' ? nic->driver
                                           : "a virtual interface",
                  speed, (long long)nic->mtu,
                  nic->state[0] != '\0' ? nic->state : "state not told");
    if (strcmp(nic->state, "down") == 0)
        doctor__advise(check, DOCTOR_WARN, NULL,
                       "it carries nothing: ip link set %s up, or the cable", nic->name);
    if (nic->features_errno != 0) {
        snprintf(name, sizeof name, "%.16s.offloads", nic->name);
        snprintf(label, sizeof label, "%.16s offloads", nic->name);
        check = doctor__add(report, "network", name, label);
        doctor__value(check, "not told: %s", errno_text(nic->features_errno));
        doctor__advise(check, DOCTOR_UNSEEN, NULL,
                       "neither ethtool's netlink nor its ioctl answered");
        return;
    }
    for (size_t i = 0; i < COUNT_OF(offloads); i++)
        judge_offload(nic, i, report);
    snprintf(name, sizeof name, "%.16s.lro", nic->name);
    snprintf(label, sizeof label, "%.10s LRO", nic->name);
    check = doctor__add(report, "network", name, label);
    bool has_gro = nic->features.is_on[ETHTOOL_GRO];
    doctor__value(check, "%s",
                  nic->features.is_on[ETHTOOL_LRO] ? "on"
                  : has_gro                        ? "off; GRO does its work"
                                                   : "off, as GRO is");
}

void doctor__judge_network(const struct doctor_network *network, struct doctor_report *report)
{
    for (unsigned i = 0; i < network->nic_count; i++)
        judge_nic(&network->nics[i], report);
    if (network->nic_count > 0)
        return;
    struct doctor_check *check = doctor__add(report, "network", "interfaces", "interfaces");
    doctor__value(check, "none is up but loopback");
    doctor__advise(check, DOCTOR_UNSEEN, NULL, "--interface NAME looks at one all the same");
}

/* ---- RDMA ---- */

static void judge_port(const struct doctor_rdma_port *port, struct doctor_report *report)
{
    char name[48], label[32];
    snprintf(name, sizeof name, "%.24s.%u", port->device, port->port);
    snprintf(label, sizeof label, "%.14s port %u", port->device, port->port);
    struct doctor_check *check = doctor__add(report, "rdma", name, label);
    doctor__value(check, "%s, %s, %s, %u GIDs%s%s%s%s", port->state, port->link_layer, port->rate,
                  port->gids, port->gid[0] != '\0' ? ", " : "", port->gid,
                  port->netdev[0] != '\0' ? " on " : "", port->netdev);
    if (strcmp(port->state, "ACTIVE") != 0)
        doctor__advise(check, DOCTOR_WARN, port->netdev[0] != '\0' ? "ip link set NETDEV up" : NULL,
                       "a port that is not ACTIVE carries nothing");
    else if (port->gid[0] == '\0')
        doctor__advise(check, DOCTOR_WARN, NULL,
                       "no GID that a connection could use: give its network interface an address");
}

static void judge_rdma_rights(const struct doctor_rdma *rdma, struct doctor_report *report)
{
    struct doctor_check *check = doctor__add(report, "rdma", "rights", "use of it");
    int problem = rdma->verbs_errno != 0 ? rdma->verbs_errno : rdma->cm_errno;
    if (problem == 0) {
        doctor__value(check, "this user may open the devices");
        return;
    }
    doctor__value(check, "%s: %s",
                  rdma->verbs_errno != 0 ? "/dev/infiniband/uverbs*" : "/dev/infiniband/rdma_cm",
                  errno_text(problem));
    if (problem == ENOENT)
        doctor__advise(check, DOCTOR_MISSING, "modprobe -a ib_uverbs rdma_ucm",
                       "optional: replication by RDMA; containers: --device /dev/infiniband");
    else
        doctor__advise(check, DOCTOR_MISSING, NULL,
                       "optional: replication by RDMA wants read and write on them for the node's "
                       "user (Debian: group rdma, or a udev rule)");
}

void doctor__judge_rdma(const struct doctor_rdma *rdma, struct doctor_report *report)
{
    for (unsigned i = 0; i < rdma->port_count; i++)
        judge_port(&rdma->ports[i], report);
    if (rdma->port_count > 0) {
        judge_rdma_rights(rdma, report);
        return;
    }
    struct doctor_check *check = doctor__add(report, "rdma", "devices", "devices");
    if (rdma->list_errno != 0 && rdma->list_errno != ENOENT) {
        doctor__value(check, "/sys/class/infiniband: %s", errno_text(rdma->list_errno));
        doctor__advise(check, DOCTOR_UNSEEN, NULL, "sysfs is hidden from this user");
        return;
    }
    doctor__value(check, "none");
    doctor__advise(check, DOCTOR_MISSING,
                   "modprobe rdma_rxe && rdma link add rxe0 type rxe netdev ETH",
                   "optional: replicas then travel over TCP, and are labelled so. Without such "
                   "hardware, soft-RoCE shows how it works (Debian: rdma-core, iproute2)");
}
