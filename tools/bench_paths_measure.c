/* The file, the client, the rounds. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/disk.h"
#include "base/limits.h"
#include "base/rand.h"
#include "tools/bench_paths_priv.h"
#include "tools/doctor.h"
#include "tools/loopback.h"

#define RECEIVE_BYTES (1u << 20)
/* Of a server, before the client gives up: a disk that needs longer is not one to measure. */
#define SILENCE_SECONDS   30
#define CONTENT_SEED      20241u
#define FIRST_BATCH_BYTES (1u << 20) /* of a measurement, whose speed is not known yet */

const struct bench_technique *const bench_techniques[BENCH_TECHNIQUES] = {
    &bench_read_write,   &bench_mmap_write,    &bench_sendfile,    &bench_splice,
    &bench_uring_splice, &bench_mmap_zerocopy, &bench_direct_send, &bench_direct_send_zc,
};

static void pin(int core)
{
    cpu_set_t cores;
    if (core < 0)
        return;
    CPU_ZERO(&cores);
    CPU_SET(core, &cores);
    (void)sched_setaffinity(0, sizeof cores, &cores); /* only makes figures steadier */
}

/* ---- client ---- */

/* 0, or an errno; EPIPE when the server has hung up, who says why in its account. */
static int receive(struct bench *bench, int fd, char *out, size_t size, bool is_kept)
{
    for (size_t done = 0; done < size;) {
        size_t wanted = size - done < RECEIVE_BYTES || is_kept ? size - done : RECEIVE_BYTES;
        ssize_t got = recv(fd, is_kept ? out + done : out, wanted, is_kept ? 0 : MSG_TRUNC);
        if (got < 0 && errno == EINTR)
            continue;
        if (got == 0)
            return EPIPE;
        if (got < 0)
            return errno == EAGAIN ? ETIMEDOUT : errno;
        done += (size_t)got;
    }
    return 0;
}

static int ask(struct bench *bench, int fd, uint32_t count, bool is_counted)
{
    struct request request = {.first = bench->next, .count = count, .is_counted = is_counted};
    bench->next = (bench->next + count) % bench->objects;
    return send(fd, &request, sizeof request, MSG_NOSIGNAL) == (ssize_t)sizeof request ? 0 : EPIPE;
}

/* At most; at least one object. */
static uint32_t objects_in(const struct bench *bench, double bytes)
{
    double count = bytes / bench->object_bytes;
    count = count < 1 ? 1 : count;
    return count < bench->objects ? (uint32_t)count : bench->objects;
}

static bool are_right_bytes(const struct bench *bench, uint32_t first, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t object = bench->order[(first + i) % bench->objects];
        if (memcmp(bench->received + (size_t)i * bench->object_bytes,
                   bench->content + (size_t)object * bench->object_bytes, bench->object_bytes) != 0)
            return false;
    }
    return true;
}

/* One batch, compared. EILSEQ: other bytes came. */
static int verify(struct bench *bench, int fd)
{
    uint32_t first = bench->next, count = objects_in(bench, FIRST_BATCH_BYTES);
    size_t bytes = (size_t)count * bench->object_bytes;
    int result = ask(bench, fd, count, false);
    if (result == 0)
        result = receive(bench, fd, bench->received, bytes, true);
    return result == 0 && !are_right_bytes(bench, first, count) ? EILSEQ : result;
}

static int batch(struct bench *bench, int fd, bool is_cold, uint32_t count, bool is_counted,
                 double *ret_took_s)
{
    struct clock *clock = clock_system();
    if (is_cold)
        (void)posix_fadvise(bench->file_fd, 0, 0, POSIX_FADV_DONTNEED);
    uint64_t began = clock_mono_ns(clock);
    int result = ask(bench, fd, count, is_counted);
    if (result == 0)
        result = receive(bench, fd, bench->received, (size_t)count * bench->object_bytes, false);
    *ret_took_s = (double)(clock_mono_ns(clock) - began) / 1e9;
    return result;
}

/*
 * Batches until `seconds` are over. The first one opens the connection's windows and is not
 * counted; the others grow with what the last ones managed, so that a slow disk does not make a
 * long one.
 */
static int load(struct bench *bench, int fd, bool is_cold, double seconds, double *ret_took_s)
{
    uint32_t count = objects_in(bench, FIRST_BATCH_BYTES);
    double took_s = 0, moved = 0, one_s;
    int result = batch(bench, fd, is_cold, count, false, &one_s);
    double rate = (double)count * bench->object_bytes / one_s;
    while (result == 0 && took_s < seconds) {
        double bytes = rate * (seconds - took_s);
        count = objects_in(bench, bytes < BENCH_BATCH_BYTES ? bytes : BENCH_BATCH_BYTES);
        result = batch(bench, fd, is_cold, count, true, &one_s);
        took_s += one_s;
        moved += (double)count * bench->object_bytes;
        rate = moved / took_s;
    }
    *ret_took_s = took_s;
    return result;
}

/* ---- one measurement ---- */

enum mode { VERIFY, MEASURE };

static struct bench_figures figures_of(const struct bench *bench, double took_s)
{
    const struct account *account = bench->account;
    double bytes = (double)account->objects * bench->object_bytes, gib = bytes / (double)GIB(1);
    double cpu_s = account->user_s + account->system_s;
    return (struct bench_figures){
        .mib_per_s = bytes / (double)MIB(1) / took_s,
        .cpu_s_per_gib = cpu_s / gib,
        .user_share = cpu_s > 0 ? account->user_s / cpu_s : 0,
        .calls_per_object = (double)account->calls / (double)account->objects,
        .switches_per_gib = (double)account->switches / gib,
        .copied_share = account->zero_copy_sends > 0
                            ? (double)account->zero_copy_copied / (double)account->zero_copy_sends
                            : -1,
    };
}

static void explain(const struct bench *bench, int client_errno, struct bench_point *point)
{
    const struct account *account = bench->account;
    int errnum = account->errnum != 0 ? account->errnum : client_errno;
    if (errnum == EILSEQ)
        snprintf(point->reason, sizeof point->reason, "delivered other bytes than the file's");
    else if (account->reason[0] != '\0')
        snprintf(point->reason, sizeof point->reason, "%s", account->reason);
    else
        snprintf(point->reason, sizeof point->reason, "%s",
                 strerrordesc_np(errnum) != NULL ? strerrordesc_np(errnum) : "unknown error");
}

/* Talks to the server until there is what the mode wants. */
static int converse(struct bench *bench, int fd, enum mode mode, bool is_cold, double *ret_took_s)
{
    char greeting;
    struct timeval silence = {.tv_sec = SILENCE_SECONDS};
    int on = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof silence) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0)
        return errno;
    int result = receive(bench, fd, &greeting, 1, true);
    if (result != 0)
        return result;
    if (mode == VERIFY)
        return verify(bench, fd);
    return load(bench, fd, is_cold, bench->options->seconds / BENCH_ROUNDS, ret_took_s);
}

/* Forks the server and ends it. point->reason says what went wrong. */
static void measure(struct bench *bench, struct bench_point *point, enum mode mode)
{
    CLEANUP(fd_close) int server = -1;
    CLEANUP(fd_close) int client = -1;
    double took_s = 0;
    memset(bench->account, 0, sizeof *bench->account);
    if (point->technique->is_direct && bench->direct_fd < 0) {
        snprintf(point->reason, sizeof point->reason, "%s", bench->no_direct);
        return;
    }
    int result = loopback_pair(&server, &client);
    pid_t pid = result == 0 ? fork() : -1;
    if (pid < 0) {
        explain(bench, result != 0 ? result : errno, point);
        return;
    }
    if (pid == 0) {
        (void)close(client);
        pin(bench->server_core);
        bench__serve(bench, point->technique, server);
    }
    (void)close(TAKE_FD(server));
    result = converse(bench, client, mode, point->is_cold, &took_s);
    if (result == ETIMEDOUT)
        (void)kill(pid, SIGKILL);
    (void)close(TAKE_FD(client));
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (result == EPIPE && WIFSIGNALED(status))
        snprintf(bench->account->reason, sizeof bench->account->reason,
                 "the server died of signal %d", WTERMSIG(status));
    if (result != 0)
        explain(bench, result, point);
    else if (mode == VERIFY)
        point->is_verified = true;
    else
        point->round[point->rounds++] = figures_of(bench, took_s);
}

/* ---- the file ---- */

static void fill_content(struct bench *bench)
{
    struct rand_seeded seeded;
    rand_seeded_init(&seeded, CONTENT_SEED);
    rand_fill(&seeded.rand, bench->content, bench->file_bytes);
}

static int write_content(const struct bench *bench)
{
    for (size_t done = 0; done < bench->file_bytes;) {
        ssize_t put = write(bench->file_fd, bench->content + done, bench->file_bytes - done);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return put < 0 ? errno : EIO;
        done += (size_t)put;
    }
    return fdatasync(bench->file_fd) < 0 ? errno : 0; /* clean pages can be dropped */
}

static void open_direct(struct bench *bench, const char *path)
{
    struct disk_probe probe;
    struct err_trail trail = {0};
    enum err e = disk_probe_dir(bench->options->dir, &probe, &trail);
    if (e)
        snprintf(bench->no_direct, sizeof bench->no_direct, "%.150s", err_trail_text(&trail, e));
    else if (probe.direct != DISK_DIRECT_REAL)
        snprintf(bench->no_direct, sizeof bench->no_direct, "%s", probe.reason);
    else {
        bench->direct_fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
        if (bench->direct_fd < 0)
            snprintf(bench->no_direct, sizeof bench->no_direct, "O_DIRECT: %s",
                     strerrordesc_np(errno));
    }
}

static enum exit_code file_make(struct bench *bench)
{
    char path[NODE_PATH_MAX];
    const char *dir = bench->options->dir;
    int length = snprintf(path, sizeof path, "%s/.sluice-bench-XXXXXX", dir);
    if (length < 0 || (size_t)length >= sizeof path)
        return cli_fail(bench->cli, EXIT_REFUSED, "INVALID", NULL,
                        "the directory's name is too long");
    bench->file_fd = mkostemp(path, O_CLOEXEC);
    if (bench->file_fd < 0)
        return cli_fail(bench->cli, EXIT_REFUSED, "IO", "--dir DIR names another one",
                        "cannot make a scratch file in %s: %s", dir, strerrordesc_np(errno));
    open_direct(bench, path);
    (void)unlink(path); /* gone with the process, however that ends */
    fill_content(bench);
    int result = write_content(bench);
    if (result != 0)
        return cli_fail(bench->cli, EXIT_REFUSED, "IO",
                        "it takes as much as the largest object, at least 64 MiB",
                        "cannot write %zu MiB in %s: %s", bench->file_bytes >> 20, dir,
                        strerrordesc_np(result));
    return EXIT_DONE;
}

static void warm_up(struct bench *bench)
{
    for (size_t done = 0; done < bench->file_bytes;) {
        ssize_t got = pread(bench->file_fd, bench->received, RECEIVE_BYTES, (off_t)done);
        if (got <= 0)
            return; /* the server will meet it, and say so */
        done += (size_t)got;
    }
}

/* ---- rounds ---- */

/* Objects of the size at hand in an order that readahead cannot guess; the same for every
 * technique. */
static void objects_order(struct bench *bench, uint32_t object_bytes)
{
    struct rand_seeded seeded;
    rand_seeded_init(&seeded, object_bytes);
    bench->object_bytes = object_bytes;
    bench->objects = (uint32_t)(bench->file_bytes / object_bytes);
    bench->next = 0;
    for (uint32_t i = 0; i < bench->objects; i++)
        bench->order[i] = i;
    for (uint32_t i = bench->objects - 1; i > 0; i--) {
        uint32_t other = (uint32_t)rand_below(&seeded.rand, i + 1), held = bench->order[i];
        bench->order[i] = bench->order[other];
        bench->order[other] = held;
    }
}

static void progress(const struct bench_point *point, const char *what)
{
    char size[24];
    if (!isatty(STDERR_FILENO))
        return;
    bench_size_text(point->object_bytes, size);
    fprintf(stderr, "\r\033[K%s: %s, %s, %s", what, point->is_cold ? "cold" : "warm", size,
            point->technique->name);
    (void)fflush(stderr);
}

static void progress_end(void)
{
    if (isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
}

/* Every technique once at one size and temperature, beginning with another one each round. */
static void round_run(struct bench *bench, struct bench_point *points, unsigned round,
                      enum mode mode)
{
    char what[40];
    snprintf(what, sizeof what, "round %u of %u", round + 1, BENCH_ROUNDS);
    objects_order(bench, points->object_bytes);
    for (unsigned i = 0; i < BENCH_TECHNIQUES; i++) {
        struct bench_point *point = &points[(i + round) % BENCH_TECHNIQUES];
        progress(point, mode == VERIFY ? "comparing" : what);
        if (point->reason[0] == '\0')
            measure(bench, point, mode);
    }
}

double bench_median(double *values, size_t count)
{
    for (size_t i = 1; i < count; i++)
        for (size_t k = i; k > 0 && values[k] < values[k - 1]; k--) {
            double held = values[k];
            values[k] = values[k - 1];
            values[k - 1] = held;
        }
    if (count == 0)
        return 0;
    return count % 2 == 1 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static void take_medians(struct bench_point *point)
{
    /* Each figure's own median: struct bench_figures is doubles and nothing else. */
    enum { FIGURES = sizeof(struct bench_figures) / sizeof(double) };
    _Static_assert(sizeof(struct bench_figures) == FIGURES * sizeof(double), "doubles alone");
    for (size_t f = 0; f < FIGURES; f++) {
        double values[BENCH_ROUNDS], median;
        for (unsigned r = 0; r < point->rounds; r++)
            memcpy(&values[r], (const char *)&point->round[r] + f * sizeof(double), sizeof(double));
        median = bench_median(values, point->rounds);
        memcpy((char *)&point->median + f * sizeof(double), &median, sizeof median);
    }
}

static void all_rounds(struct bench *bench, struct bench_run *run)
{
    size_t groups = run->point_count / BENCH_TECHNIQUES;
    for (size_t g = 0; g < groups; g++)
        round_run(bench, &run->points[g * BENCH_TECHNIQUES], 0, VERIFY);
    for (unsigned half = 0; half < (run->options.with_cold ? 2u : 1u); half++) {
        if (half == 0)
            warm_up(bench);
        for (unsigned r = 0; r < BENCH_ROUNDS; r++)
            for (size_t g = half * run->options.size_count;
                 g < (half + 1) * run->options.size_count; g++)
                round_run(bench, &run->points[g * BENCH_TECHNIQUES], r, MEASURE);
    }
    progress_end();
    for (size_t i = 0; i < run->point_count; i++)
        take_medians(&run->points[i]);
}

/* ---- set-up ---- */

static void choose_cores(struct bench *bench)
{
    bench->server_core = bench->client_core = -1;
    if (sched_getaffinity(0, sizeof bench->own_cores, &bench->own_cores) != 0 ||
        CPU_COUNT(&bench->own_cores) < 2)
        return;
    for (int core = 0; core < CPU_SETSIZE && bench->client_core < 0; core++) {
        if (!CPU_ISSET(core, &bench->own_cores))
            continue;
        if (bench->server_core < 0)
            bench->server_core = core;
        else
            bench->client_core = core;
    }
}

static void describe_machine(const struct bench_options *options, struct bench_run *run)
{
    struct doctor_kernel kernel;
    struct doctor_cpu cpu;
    CLEANUP(free) struct doctor_disk *disk = calloc(1, sizeof *disk);
    doctor_look_kernel(&kernel);
    doctor_look_cpu(&cpu);
    snprintf(run->kernel, sizeof run->kernel, "Linux %s", kernel.release);
    snprintf(run->cpu, sizeof run->cpu, "%.64s", cpu.model[0] != '\0' ? cpu.model : kernel.machine);
    run->cores = kernel.cores;
    if (disk != NULL) {
        doctor_look_disk(options->dir, disk);
        snprintf(run->file_system, sizeof run->file_system, "%s", disk->file_system);
    }
    time_t now = (time_t)(clock_real_ns(clock_system()) / NS_PER_SECOND);
    struct tm calendar;
    (void)strftime(run->date, sizeof run->date, "%Y-%m-%d", gmtime_r(&now, &calendar));
}

static void points_init(struct bench_run *run)
{
    size_t i = 0;
    for (unsigned half = 0; half < (run->options.with_cold ? 2u : 1u); half++)
        for (unsigned s = 0; s < run->options.size_count; s++)
            for (unsigned t = 0; t < BENCH_TECHNIQUES; t++)
                run->points[i++] = (struct bench_point){.technique = bench_techniques[t],
                                                        .object_bytes = run->options.sizes[s],
                                                        .is_cold = half == 1};
    run->point_count = i;
}

static enum exit_code memory_get(struct bench *bench, struct bench_run *run)
{
    size_t points = (run->options.with_cold ? 2u : 1u) * run->options.size_count * BENCH_TECHNIQUES;
    uint32_t largest = 0, smallest = UINT32_MAX;
    for (unsigned i = 0; i < run->options.size_count; i++) {
        largest = run->options.sizes[i] > largest ? run->options.sizes[i] : largest;
        smallest = run->options.sizes[i] < smallest ? run->options.sizes[i] : smallest;
    }
    /* Whole objects of every size only: a power of two holds those of the usual sizes. */
    bench->file_bytes = largest > BENCH_FILE_BYTES ? largest : BENCH_FILE_BYTES;
    size_t received = largest > BENCH_BATCH_BYTES ? largest : BENCH_BATCH_BYTES;
    bench->content = malloc(bench->file_bytes);
    bench->received = malloc(received > RECEIVE_BYTES ? received : RECEIVE_BYTES);
    bench->order = malloc(bench->file_bytes / smallest * sizeof *bench->order);
    run->points = calloc(points, sizeof *run->points);
    bench->account = mmap(NULL, sizeof *bench->account, PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (bench->account == MAP_FAILED)
        bench->account = NULL;
    if (bench->content == NULL || bench->received == NULL || bench->order == NULL ||
        run->points == NULL || bench->account == NULL)
        return cli_fail(bench->cli, EXIT_REFUSED, "NO_MEMORY", "smaller --sizes need less",
                        "out of memory");
    return EXIT_DONE;
}

static void bench_fini(struct bench *bench)
{
    if (bench->client_core >= 0)
        (void)sched_setaffinity(0, sizeof bench->own_cores, &bench->own_cores);
    if (bench->file_fd >= 0)
        (void)close(bench->file_fd);
    if (bench->direct_fd >= 0)
        (void)close(bench->direct_fd);
    if (bench->account != NULL)
        CHECK(munmap(bench->account, sizeof *bench->account) == 0);
    free(bench->content);
    free(bench->received);
    free(bench->order);
}

enum exit_code bench_paths_run(struct cli *cli, const struct bench_options *options,
                               struct bench_run *ret_run)
{
    struct bench bench = {.cli = cli,
                          .options = options,
                          .file_fd = -1,
                          .direct_fd = -1,
                          .server_core = -1,
                          .client_core = -1};
    struct bench_run run = {.options = *options};
    enum exit_code code = memory_get(&bench, &run);
    if (code == EXIT_DONE)
        code = file_make(&bench);
    if (code == EXIT_DONE) {
        describe_machine(options, &run);
        points_init(&run);
        choose_cores(&bench);
        run.is_pinned = bench.client_core >= 0;
        pin(bench.client_core);
        fflush(stdout); /* a forked server must not print it again */
        all_rounds(&bench, &run);
        *ret_run = run;
    } else
        bench_run_fini(&run);
    bench_fini(&bench);
    return code;
}

void bench_run_fini(struct bench_run *run)
{
    free(run->points);
    *run = (struct bench_run){0};
}
