/* Verdicts on the machine apart from its disk and its networks. Pure: what is not in the facts is
 * not known here. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/limits.h"
#include "server/units.h"
#include "tools/doctor.h"

/* A second: leases and signatures bear 15 minutes, people read logs. */
#define CLOCK_ERROR_MAX_US 1000000

struct doctor_check *doctor__add(struct doctor_report *report, const char *group, const char *name,
                                 const char *label)
{
    CHECK(report->count < DOCTOR_CHECKS_MAX);
    struct doctor_check *check = &report->checks[report->count++];
    *check = (struct doctor_check){.group = group};
    snprintf(check->name, sizeof check->name, "%s.%s", group, name);
    snprintf(check->label, sizeof check->label, "%s", label);
    return check;
}

void doctor__value(struct doctor_check *check, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(check->value, sizeof check->value, format, args);
    va_end(args);
}

void doctor__advise(struct doctor_check *check, enum doctor_verdict verdict, const char *command,
                    const char *format, ...)
{
    va_list args;
    check->verdict = verdict;
    if (command != NULL)
        snprintf(check->command, sizeof check->command, "%s", command);
    va_start(args, format);
    vsnprintf(check->advice, sizeof check->advice, format, args);
    va_end(args);
}

static const char *errno_text(int errnum)
{
    const char *text = strerrordesc_np(errnum);
    return text != NULL ? text : "unknown error";
}

static void size_text(uint64_t bytes, char out[32])
{
    struct buf text = {.data = out, .capacity = 31};
    if (bytes == UINT64_MAX)
        buf_put_string(&text, "unlimited");
    else
        size_print_human(bytes, &text);
    out[text.size] = '\0';
}

/* ---- kernel ---- */

static bool is_older(const struct doctor_kernel *kernel, unsigned major, unsigned minor)
{
    return kernel->major < major || (kernel->major == major && kernel->minor < minor);
}

static void judge_kernel(const struct doctor_kernel *kernel, struct doctor_report *report)
{
    struct doctor_check *check = doctor__add(report, "kernel", "version", "version");
    check->is_needed = true;
    doctor__value(check, "Linux %s %s", kernel->release, kernel->machine);
    if (is_older(kernel, 5, 11))
        doctor__advise(
            check, DOCTOR_MISSING, NULL,
            "Sluice's I/O needs Linux 5.11; 6.1 and newer is better (Debian 12 has 6.1)");
    else if (is_older(kernel, 6, 1))
        doctor__advise(check, DOCTOR_WARN, NULL,
                       "6.1 brings io_uring's DEFER_TASKRUN and SEND_ZC, and tells the disk's "
                       "alignment (Debian 12 has 6.1)");

    check = doctor__add(report, "kernel", "cores", "cores");
    doctor__value(check, "%u", kernel->cores);
    if (kernel->cores < 2)
        doctor__advise(
            check, DOCTOR_WARN, NULL,
            "network and disk share one core: a second one lets a commit and a GET go on "
            "at once");

    check = doctor__add(report, "kernel", "cachestat", "cachestat");
    if (kernel->cachestat_errno == 0) {
        doctor__value(check, "there: asks for a file's pages in the cache with one call");
    } else if (kernel->cachestat_errno == ENOSYS) {
        doctor__value(check, "not in this kernel");
        doctor__advise(check, DOCTOR_WARN, NULL,
                       "Linux 6.5 has it (Debian 13); until then Sluice maps the pages and asks "
                       "mincore, which costs a GET a little more");
    } else {
        doctor__value(check, "refused: %s", errno_text(kernel->cachestat_errno));
        doctor__advise(check, DOCTOR_WARN, "docker run --security-opt seccomp=FILE ...",
                       "a seccomp filter hides it: allow cachestat in the profile");
    }
}

/* ---- io_uring ---- */

static void judge_setup(const struct doctor_uring *uring, struct doctor_report *report)
{
    struct doctor_check *check = doctor__add(report, "io_uring", "setup", "allowed");
    const char *seccomp = uring->seccomp == 0   ? "no seccomp filter"
                          : uring->seccomp == 2 ? "under a seccomp filter"
                          : uring->seccomp == 1 ? "under strict seccomp"
                                                : "seccomp not told";
    check->is_needed = true;
    if (uring->setup_errno == 0) {
        if (uring->disabled >= 0)
            doctor__value(check, "yes (kernel.io_uring_disabled = %d, %s)", uring->disabled,
                          seccomp);
        else
            doctor__value(check, "yes (%s)", seccomp);
        return;
    }
    doctor__value(check, "no: %s (kernel.io_uring_disabled = %d, %s)",
                  errno_text(uring->setup_errno), uring->disabled, seccomp);
    if (uring->setup_errno == EPERM && uring->disabled > 0)
        doctor__advise(
            check, DOCTOR_MISSING, "sysctl -w kernel.io_uring_disabled=0",
            "the administrator has turned it off; without it Sluice falls back to epoll, "
            "pread and pwrite and copies more");
    else if ((uring->setup_errno == EPERM || uring->setup_errno == ENOSYS) && uring->seccomp == 2)
        doctor__advise(check, DOCTOR_MISSING, "docker run --security-opt seccomp=FILE ...",
                       "the seccomp filter refuses it (Docker's own since version 25): allow "
                       "io_uring_setup, io_uring_enter and io_uring_register in the profile");
    else if (uring->setup_errno == ENOMEM)
        doctor__advise(check, DOCTOR_MISSING, "ulimit -l unlimited",
                       "over the limit of locked memory (systemd: LimitMEMLOCK=infinity, docker: "
                       "--ulimit memlock=-1)");
    else
        doctor__advise(check, DOCTOR_MISSING, NULL,
                       "this kernel has none: Linux 5.11 and newer, built with CONFIG_IO_URING");
}

static void judge_mode(const struct doctor_uring *uring, struct doctor_report *report)
{
    struct doctor_check *check = doctor__add(report, "io_uring", "features", "features");
    check->is_needed = true;
    doctor__value(check, "%s",
                  uring->has_features ? "EXT_ARG, NODROP, FAST_POLL, SUBMIT_STABLE" : "too few");
    if (!uring->has_features)
        doctor__advise(check, DOCTOR_MISSING, NULL, "Linux 5.11 has what Sluice needs");

    check = doctor__add(report, "io_uring", "flags", "flags");
    doctor__value(check, "%s", uring->mode);
    if (uring->mode_rank > 0)
        doctor__advise(check, DOCTOR_WARN, NULL,
                       "Linux 6.1 has SINGLE_ISSUER with DEFER_TASKRUN: fewer interruptions of a "
                       "worker");
}

static void judge_operations(const struct doctor_uring *uring, struct doctor_report *report)
{
    struct doctor_check *check = doctor__add(report, "io_uring", "operations", "operations");
    unsigned there = 0;
    char missing[160];
    struct buf names = BUF_ON(missing);
    check->is_needed = true;
    if (!uring->is_probed) {
        doctor__value(check, "cannot be asked for");
        doctor__advise(check, DOCTOR_MISSING, "docker run --security-opt seccomp=FILE ...",
                       "allow io_uring_register in the seccomp profile");
        return;
    }
    bool misses_needed = false;
    for (unsigned i = 0; i < uring->op_count; i++) {
        there += uring->ops[i].is_there;
        if (uring->ops[i].is_there)
            continue;
        misses_needed |= uring->ops[i].is_needed;
        buf_printf(&names, "%s%s", names.size > 0 ? ", " : "", uring->ops[i].name);
    }
    if (names.size == 0) {
        doctor__value(check, "all %u that Sluice uses", there);
        return;
    }
    doctor__value(check, "%u of %u; not here: %.*s", there, uring->op_count, (int)names.size,
                  names.data);
    doctor__advise(check, misses_needed ? DOCTOR_MISSING : DOCTOR_WARN, NULL, "%s",
                   misses_needed ? "Linux 5.11 has what Sluice needs"
                                 : "optional ones: SPLICE came with Linux 5.7, SEND_ZC with 6.0, "
                                   "SENDMSG_ZC with 6.1");
}

static void judge_fixed(const struct doctor_uring *uring, struct doctor_report *report)
{
    struct doctor_check *check = doctor__add(report, "io_uring", "fixed_buffers", "fixed buffers");
    if (uring->fixed_errno == 0) {
        doctor__value(check, "1 MiB was registered");
        return;
    }
    doctor__value(check, "1 MiB could not be registered: %s", errno_text(uring->fixed_errno));
    doctor__advise(check, DOCTOR_WARN, uring->fixed_errno == ENOMEM ? "ulimit -l unlimited" : NULL,
                   "the disk then pins a buffer's pages anew for each transfer (systemd: "
                   "LimitMEMLOCK=infinity, docker: --ulimit memlock=-1)");
}

static void judge_send_zc(const struct doctor_uring *uring, struct doctor_report *report)
{
    struct doctor_check *check = doctor__add(report, "io_uring", "send_zc", "SEND_ZC");
    switch (uring->send_zc) {
    case DOCTOR_ZC_SENT_AND_REPORTED:
        doctor__value(check, "sends, and reports whether the kernel copied after all: the direct "
                             "path uses it where it does not");
        return;
    case DOCTOR_ZC_SENT:
        doctor__value(check, "sends, and cannot report copies");
        doctor__advise(check, DOCTOR_WARN, NULL,
                       "Linux 6.3 reports them: [get] zero-copy = auto needs that, and copies "
                       "without");
        return;
    case DOCTOR_ZC_REFUSED:
        doctor__value(check, "refused: %s", errno_text(uring->send_zc_errno));
        doctor__advise(check, DOCTOR_WARN,
                       uring->send_zc_errno == ENOMEM ? "ulimit -l unlimited" : NULL,
                       "direct reads are then sent by copying them into the socket");
        return;
    case DOCTOR_ZC_NOT_TRIED:
        doctor__value(check, "not in this kernel");
        doctor__advise(check, DOCTOR_WARN, NULL,
                       "Linux 6.0 has it; direct reads are sent by copying them into the socket");
        return;
    }
    CHECK(!"a value of enum doctor_zc");
}

static void judge_uring(const struct doctor_uring *uring, struct doctor_report *report)
{
    judge_setup(uring, report);
    if (uring->setup_errno != 0)
        return;
    judge_mode(uring, report);
    judge_operations(uring, report);
    judge_fixed(uring, report);
    judge_send_zc(uring, report);
}

/* ---- memory ---- */

static void judge_memlock(const struct doctor_memory *memory, struct doctor_report *report)
{
    struct doctor_check *check = doctor__add(report, "memory", "memlock", "locked memory");
    uint64_t needed = memory->arena_bytes * memory->rings;
    char limit[32], wanted[32], command[128];
    size_text(memory->memlock_hard, limit);
    size_text(needed, wanted);
    if (memory->may_lock) {
        doctor__value(check, "%s, which does not bind this user (CAP_IPC_LOCK)", limit);
        return;
    }
    doctor__value(check, "%s for this user; a node here registers %s", limit, wanted);
    if (memory->memlock_hard >= needed || memory->may_raise)
        return;
    snprintf(command, sizeof command,
             "systemctl edit sluiced    # [Service] LimitMEMLOCK=infinity");
    doctor__advise(check, DOCTOR_WARN, command,
                   "the arena then stays unregistered: slower disk I/O, and no RDMA. In a shell: "
                   "`ulimit -l unlimited` as root first; docker: --ulimit memlock=-1; or lower "
                   "[memory] arena");
}

static void judge_files(const struct doctor_memory *memory, struct doctor_report *report)
{
    struct doctor_check *check = doctor__add(report, "memory", "files", "open files");
    if (memory->files_hard == UINT64_MAX)
        doctor__value(check, "unlimited");
    else
        doctor__value(check, "%llu (now %llu; sluiced raises it)",
                      (unsigned long long)memory->files_hard,
                      (unsigned long long)memory->files_soft);
    if (memory->files_hard >= memory->connections + 1024 || memory->may_raise)
        return;
    doctor__advise(check, DOCTOR_WARN, "systemctl edit sluiced    # [Service] LimitNOFILE=65536",
                   "fewer than the %llu connections that [s3] connections-max allows (docker: "
                   "--ulimit nofile=65536)",
                   (unsigned long long)memory->connections);
}

static void judge_pages(const struct doctor_memory *memory, struct doctor_report *report)
{
    struct doctor_check *check = doctor__add(report, "memory", "huge_pages", "huge pages");
    uint64_t reserved = memory->huge_free * memory->huge_bytes;
    char free_text[32], arena[32];
    size_text(reserved, free_text);
    size_text(memory->arena_bytes, arena);
    if (reserved >= memory->arena_bytes && reserved > 0) {
        doctor__value(check, "%s reserved and free: the arena (%s) fits", free_text, arena);
        return;
    }
    doctor__value(check, "%s reserved and free, transparent ones: %s", free_text,
                  memory->thp[0] != '\0' ? memory->thp : "not told");
    if (strcmp(memory->thp, "never") == 0 || memory->thp[0] == '\0')
        doctor__advise(check, DOCTOR_WARN,
                       "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
                       "the arena lies in 4 KiB pages: more work to register it and to reach it");
}

static void judge_ram(const struct doctor_memory *memory, struct doctor_report *report)
{
    struct doctor_check *check = doctor__add(report, "memory", "ram", "memory");
    char total[32], available[32];
    size_text(memory->total_bytes, total);
    size_text(memory->available_bytes, available);
    if (memory->total_bytes == 0) {
        doctor__value(check, "not told");
        doctor__advise(check, DOCTOR_UNSEEN, NULL, "/proc/meminfo cannot be read");
        return;
    }
    doctor__value(check, "%s, %s of it available", total, available);
    if (memory->available_bytes < MIB(512))
        doctor__advise(check, DOCTOR_WARN, NULL,
                       "a node wants 512 MiB and gives the rest to the page cache: lower [memory] "
                       "arena and index-cache");
}

/* ---- TLS, clock, processor, node ---- */

static void judge_tls(const struct doctor_tls *tls, struct doctor_report *report)
{
    struct doctor_check *check = doctor__add(report, "tls", "ktls", "kernel TLS");
    if (tls->socket_errno != 0) {
        doctor__value(check, "no loopback connection: %s", errno_text(tls->socket_errno));
        doctor__advise(check, DOCTOR_UNSEEN, NULL, "nothing could be tried");
    } else if (tls->ulp_errno == ENOENT) {
        doctor__value(check, "not in this kernel, or its module is not loaded");
        doctor__advise(
            check, DOCTOR_MISSING, "modprobe tls && echo tls > /etc/modules-load.d/tls.conf",
            "optional: without it TLS copies each body through OpenSSL; with it sendfile "
            "and splice go on");
    } else if (tls->ulp_errno != 0) {
        doctor__value(check, "refused: %s", errno_text(tls->ulp_errno));
        doctor__advise(check, DOCTOR_MISSING, NULL,
                       "optional: without it TLS copies each body through OpenSSL");
    } else if (tls->cipher_errno != 0) {
        doctor__value(check, "there, without AES-128-GCM: %s", errno_text(tls->cipher_errno));
        doctor__advise(check, DOCTOR_WARN, "modprobe -a aesni_intel gcm ctr ghash_generic",
                       "the cipher's modules are not loaded");
    } else
        doctor__value(check, "TLS 1.3, AES-128-GCM: sendfile and splice go on under TLS");
}

static void judge_clock(const struct doctor_clock *clock, struct doctor_report *report)
{
    struct doctor_check *check = doctor__add(report, "time", "clock", "clock");
    if (clock->adjtimex_errno != 0) {
        doctor__value(check, "adjtimex: %s", errno_text(clock->adjtimex_errno));
        doctor__advise(check, DOCTOR_UNSEEN, NULL,
                       "whether something keeps the clock right cannot be told here");
        return;
    }
    if (!clock->is_synchronised) {
        doctor__value(check, "nothing keeps it right");
        doctor__advise(
            check, DOCTOR_WARN, "apt-get install chrony",
            "S3 refuses requests whose clock is 15 minutes off, and the node's own clock "
            "decides (a container or guest may be kept right from outside)");
        return;
    }
    doctor__value(check, "synchronised, at most %lld ms off",
                  (long long)clock->error_max_us / 1000);
    if (clock->error_max_us > CLOCK_ERROR_MAX_US)
        doctor__advise(check, DOCTOR_WARN, "chronyc tracking",
                       "its source has been silent for long");
}

static void judge_cpu(const struct doctor_cpu *cpu, struct doctor_report *report)
{
    struct doctor_check *check = doctor__add(report, "cpu", "vectors", "vectors");
    if (!cpu->is_x86) {
        doctor__value(check, "not an x86 processor: not looked at");
        doctor__advise(check, DOCTOR_UNSEEN, NULL, "portable code is used");
        return;
    }
    doctor__value(check, "%s (%s)",
                  cpu->avx512 ? "AVX-512"
                  : cpu->avx2 ? "AVX2"
                              : "SSE2 only",
                  cpu->model[0] != '\0' ? cpu->model : "model not told");
    if (!cpu->avx2)
        doctor__advise(check, DOCTOR_WARN, NULL,
                       "XXH3 and MD5 take less than half of what AVX2 gives; in a guest, let the "
                       "host's processor through (QEMU: -cpu host)");

    check = doctor__add(report, "cpu", "sha", "SHA-256");
    doctor__value(check, cpu->sha ? "in hardware (SHA)" : "in software");
    if (!cpu->sha)
        doctor__advise(check, DOCTOR_WARN, NULL,
                       "signed uploads cost about four times the CPU; clients over TLS may send "
                       "UNSIGNED-PAYLOAD");

    check = doctor__add(report, "cpu", "crc", "CRCs");
    doctor__value(check, "%s%s",
                  cpu->sse42 && cpu->pclmul ? "in hardware (SSE4.2, PCLMUL" : "in software",
                  !(cpu->sse42 && cpu->pclmul) ? ""
                  : cpu->vpclmul               ? ", VPCLMUL)"
                                               : ")");
    if (!cpu->sse42 || !cpu->pclmul)
        doctor__advise(check, DOCTOR_WARN, NULL, "checksums of uploads cost many times the CPU");

    check = doctor__add(report, "cpu", "aes", "AES");
    doctor__value(check, cpu->aes ? "in hardware (AES-NI)" : "in software");
    if (!cpu->aes)
        doctor__advise(check, DOCTOR_WARN, NULL, "TLS costs many times the CPU");
}

static void judge_node(const struct doctor_node *node, struct doctor_report *report)
{
    if (!node->is_asked)
        return;
    struct doctor_check *check = doctor__add(report, "node", "runs", "running");
    if (!node->runs) {
        doctor__value(check, "no");
        return;
    }
    doctor__value(check, "S3 on %s, admin on %s", node->s3, node->admin);
}

void doctor_judge(const struct doctor_facts *facts, struct doctor_report *report)
{
    report->count = 0;
    judge_kernel(&facts->kernel, report);
    judge_uring(&facts->uring, report);
    judge_memlock(&facts->memory, report);
    judge_files(&facts->memory, report);
    judge_pages(&facts->memory, report);
    judge_ram(&facts->memory, report);
    doctor__judge_disk(&facts->disk, report);
    doctor__judge_network(&facts->network, report);
    doctor__judge_rdma(&facts->rdma, report);
    judge_tls(&facts->tls, report);
    judge_clock(&facts->clock, report);
    judge_cpu(&facts->cpu, report);
    judge_node(&facts->node, report);
}
