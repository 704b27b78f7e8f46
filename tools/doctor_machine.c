/* The machine apart from its ring, disks and networks: kernel, limits, memory, kTLS, clock,
 * processor. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <sys/utsname.h>
#include <unistd.h>
#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

#include "base/check.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "server/config.h"
#include "server/start.h"
#include "tools/doctor.h"
#include "tools/loopback.h"

#ifndef TCP_ULP
#define TCP_ULP 31
#endif
#ifndef SOL_TLS
#define SOL_TLS 282
#endif
/* On every architecture since Linux 6.5; older headers do not name it. */
#define SYS_CACHESTAT 451

/* ---- small files ---- */

int doctor_read(const char *path, char *out, size_t out_size)
{
    out[0] = '\0';
    CLEANUP(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    size_t size = 0;
    for (ssize_t got; size < out_size - 1; size += (size_t)got) {
        got = read(fd, out + size, out_size - 1 - size);
        if (got < 0) {
            out[0] = '\0';
            return errno;
        }
        if (got == 0)
            break;
    }
    while (size > 0 && (out[size - 1] == '\n' || out[size - 1] == ' '))
        size--;
    out[size] = '\0';
    return 0;
}

int64_t doctor_read_number(const char *path)
{
    char text[32];
    uint64_t value;
    if (doctor_read(path, text, sizeof text) != 0 ||
        bytes_to_u64(bytes_of_string(text), &value) != ERR_OK || value > INT64_MAX)
        return -1;
    return (int64_t)value;
}

bool doctor_parse_field(struct bytes text, const char *name, int base, uint64_t *ret_value)
{
    while (text.size > 0) {
        struct bytes line = bytes_split(&text, '\n');
        struct bytes key = bytes_split(&line, ':');
        if (!bytes_equal(key, bytes_of_string(name)))
            continue;
        char number[32], *end;
        struct bytes value = bytes_trim(line);
        snprintf(number, sizeof number, "%.*s", (int)value.size,
                 value.data != NULL ? value.data : "");
        errno = 0;
        *ret_value = strtoull(number, &end, base);
        return end != number && errno == 0;
    }
    return false;
}

void doctor_parse_bracketed(const char *text, char *out, size_t out_size)
{
    const char *from = strchr(text, '['), *to = from != NULL ? strchr(from, ']') : NULL;
    if (to == NULL)
        out[0] = '\0';
    else
        snprintf(out, out_size, "%.*s", (int)(to - from - 1), from + 1);
}

/* ---- kernel ---- */

void doctor_look_kernel(struct doctor_kernel *kernel)
{
    struct utsname name;
    *kernel = (struct doctor_kernel){0};
    CHECK(uname(&name) == 0);
    snprintf(kernel->release, sizeof kernel->release, "%s", name.release);
    snprintf(kernel->machine, sizeof kernel->machine, "%s", name.machine);
    if (sscanf(name.release, "%u.%u", &kernel->major, &kernel->minor) != 2)
        kernel->major = kernel->minor = 0;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    kernel->cores = cores > 0 ? (unsigned)cores : 1;
    /* A kernel that has it looks at the descriptor first; one that has not says so. */
    (void)syscall(SYS_CACHESTAT, -1, NULL, NULL, 0);
    kernel->cachestat_errno = errno == EBADF ? 0 : errno;
}

/* ---- limits and memory ---- */

static uint64_t limit_value(rlim_t limit)
{
    return limit == RLIM_INFINITY ? UINT64_MAX : limit;
}

static bool has_capability(struct bytes status, unsigned capability)
{
    uint64_t effective = 0;
    return doctor_parse_field(status, "CapEff", 16, &effective) && effective >> capability & 1;
}

static void look_huge_pages(struct bytes meminfo, struct doctor_memory *memory)
{
    uint64_t kib = 0;
    char text[128];
    (void)doctor_parse_field(meminfo, "HugePages_Free", 10, &memory->huge_free);
    if (doctor_parse_field(meminfo, "Hugepagesize", 10, &kib))
        memory->huge_bytes = kib << 10;
    (void)doctor_read("/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof text);
    doctor_parse_bracketed(text, memory->thp, sizeof memory->thp);
}

void doctor_look_memory(struct doctor_memory *memory)
{
    struct rlimit limit;
    char text[8192];
    uint64_t kib = 0;
    *memory = (struct doctor_memory){0};
    CHECK(getrlimit(RLIMIT_MEMLOCK, &limit) == 0);
    memory->memlock_soft = limit_value(limit.rlim_cur);
    memory->memlock_hard = limit_value(limit.rlim_max);
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    memory->files_soft = limit_value(limit.rlim_cur);
    memory->files_hard = limit_value(limit.rlim_max);
    if (doctor_read("/proc/self/status", text, sizeof text) == 0) {
        memory->may_lock = has_capability(bytes_of_string(text), CAP_IPC_LOCK);
        memory->may_raise = has_capability(bytes_of_string(text), CAP_SYS_RESOURCE);
    }
    if (doctor_read("/proc/meminfo", text, sizeof text) == 0) {
        struct bytes meminfo = bytes_of_string(text);
        if (doctor_parse_field(meminfo, "MemTotal", 10, &kib))
            memory->total_bytes = kib << 10;
        if (doctor_parse_field(meminfo, "MemAvailable", 10, &kib))
            memory->available_bytes = kib << 10;
        look_huge_pages(meminfo, memory);
    }
    struct config config;
    config_init(&config);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    memory->arena_bytes = arena_default_bytes(memory->total_bytes);
    memory->rings = cores > 2 ? (uint64_t)cores : 2;
    memory->connections = config.s3_connections_max;
}

/* ---- kTLS ---- */

void doctor_look_tls(struct doctor_tls *tls)
{
    *tls = (struct doctor_tls){0};
    CLEANUP(fd_close) int server = -1;
    CLEANUP(fd_close) int client = -1;
    tls->socket_errno = loopback_pair(&server, &client);
    if (tls->socket_errno != 0)
        return;
    if (setsockopt(server, IPPROTO_TCP, TCP_ULP, "tls", sizeof "tls") < 0) {
        tls->ulp_errno = errno;
        return;
    }
    /* No secret: nothing is sent with it. */
    struct tls12_crypto_info_aes_gcm_128 key = {
        .info = {.version = TLS_1_3_VERSION, .cipher_type = TLS_CIPHER_AES_GCM_128}};
    if (setsockopt(server, SOL_TLS, TLS_TX, &key, sizeof key) < 0)
        tls->cipher_errno = errno;
}

/* ---- clock ---- */

void doctor_look_clock(struct doctor_clock *clock)
{
    struct timex time = {.modes = 0}; /* asks, and sets nothing */
    int state = adjtimex(&time);
    *clock = (struct doctor_clock){.adjtimex_errno = state < 0 ? errno : 0};
    clock->is_synchronised = state >= 0 && state != TIME_ERROR && !(time.status & STA_UNSYNC);
    clock->error_max_us = time.maxerror;
}

/* ---- processor ---- */

static void look_model(struct doctor_cpu *cpu)
{
    char text[2048];
    if (doctor_read("/proc/cpuinfo", text, sizeof text) != 0)
        return;
    struct bytes rest = bytes_of_string(text);
    while (rest.size > 0) {
        struct bytes line = bytes_split(&rest, '\n');
        if (!bytes_start_with(line, BYTES("model name")))
            continue;
        (void)bytes_split(&line, ':');
        line = bytes_trim(line);
        snprintf(cpu->model, sizeof cpu->model, "%.*s", (int)line.size,
                 line.data != NULL ? line.data : "");
        return;
    }
}

void doctor_look_cpu(struct doctor_cpu *cpu)
{
    *cpu = (struct doctor_cpu){0};
    look_model(cpu);
#if defined(__x86_64__) || defined(__i386__)
    unsigned a, b, c, d;
    cpu->is_x86 = true;
    /* The compiler's own test also asks whether the kernel saves the wide registers. */
    cpu->avx2 = __builtin_cpu_supports("avx2");
    cpu->avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512vl");
    if (__get_cpuid(1, &a, &b, &c, &d)) {
        cpu->sse42 = c & bit_SSE4_2;
        cpu->pclmul = c & bit_PCLMUL;
        cpu->aes = c & bit_AES;
    }
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
        cpu->sha = b & bit_SHA;
        cpu->vpclmul = c & bit_VPCLMULQDQ;
    }
#endif
}
