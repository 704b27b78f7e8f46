/*
 * sluiced: the process. It says what it was asked wrong, starts a node, says that it is ready, and
 * waits for signals:
 *
 *     TERM, INT   drain: finish what runs, take nothing new, stop, exit 0; a second one cuts
 *     HUP         read [log] level and format again, and the TLS certificates
 *
 * Exit codes: 0 stopped as asked, 1 failed to start or to run, 2 wrong usage or configuration.
 */
#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "api/s3/key_record.h"
#include "base/check.h"
#include "base/log.h"
#include "server/args.h"
#include "server/banner.h"
#include "server/start.h"
#include "sluice_config.h"

#define EXIT_FAILED 1
#define EXIT_USAGE  2
/* Cut requests end when their disk writes have: then at the latest. */
#define CUT_WAIT_NS (5 * NS_PER_SECOND)
/* A disk that hangs holds up who stops for as long: it is said now and then, and left at last. */
#define STOP_WAIT_NS   (30 * NS_PER_SECOND)
#define STOP_SAY_NS    (5 * NS_PER_SECOND)
#define REMOVE_WAIT_NS NS_PER_SECOND

extern char **environ;

/* ---- signals: blocked everywhere, read from one descriptor by the main thread ---- */

static int signals_open(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
    /* A client that went away is an error of its write. */
    CHECK(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
    return signalfd(-1, &set, SFD_CLOEXEC);
}

static int signal_take(int signals)
{
    struct signalfd_siginfo info;
    return read(signals, &info, sizeof info) == (ssize_t)sizeof info ? (int)info.ssi_signo : 0;
}

/* While the start waits for peers: whether somebody wants it to end. */
static bool is_asked_to_stop(void *context)
{
    struct pollfd fd = {.fd = *(const int *)context, .events = POLLIN};
    while (poll(&fd, 1, 0) == 1) {
        int signal = signal_take(fd.fd);
        if (signal != 0 && signal != SIGHUP)
            return true;
    }
    return false;
}

static void ended(void *context)
{
    uint64_t one = 1;
    CHECK(write(*(int *)context, &one, sizeof one) == (ssize_t)sizeof one);
}

struct process {
    struct node *node;
    struct args args;
    int argc;
    char **argv;
    int signals, ended; /* descriptors; `ended` tells that what is waited for has */
};

static void reload(struct process *process)
{
    struct args args;
    struct config config;
    struct err_trail trail = {0};
    if (args_parse(process->argc, process->argv, environ, &args, &config, &trail)) {
        LOG(LOG_ERROR, "server", "reload: %s; everything stays as it was", trail.text);
        return;
    }
    log_set_level((enum log_level)config.log_level);
    log_set_format((enum log_format)config.log_format);
    enum err e = node_reload_tls(process->node, &config, &trail);
    if (e)
        LOG(LOG_ERROR, "server", "reload: %s; connections go on with the certificates as they were",
            err_trail_text(&trail, e));
    LOG(LOG_INFO, "server",
        "reload: [log] level and format%s are read again; other keys count at a start",
        process->node->tls != NULL && !e ? " and the TLS certificates" : "");
}

/* Waits for a signal to stop. */
static void serve(struct process *process)
{
    for (;;) {
        int signal = signal_take(process->signals);
        if (signal == SIGHUP)
            reload(process);
        else if (signal != 0)
            return;
    }
}

enum wait_end { WAIT_ENDED, WAIT_TOLD_AGAIN, WAIT_TOO_LONG };

/* For ended(), a signal to stop or the deadline, whatever comes first. */
static enum wait_end wait_for_end(struct process *process, uint64_t limit_ns)
{
    struct pollfd fds[2] = {{.fd = process->ended, .events = POLLIN},
                            {.fd = process->signals, .events = POLLIN}};
    uint64_t end_ns = clock_mono_ns(clock_system()) + limit_ns, times;
    for (;;) {
        uint64_t now_ns = clock_mono_ns(clock_system());
        if (now_ns >= end_ns)
            return WAIT_TOO_LONG;
        int count = poll(fds, 2, (int)((end_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS));
        if (count < 0 && errno != EINTR)
            return WAIT_TOO_LONG;
        if (count > 0 && fds[0].revents != 0) {
            CHECK(read(process->ended, &times, sizeof times) == (ssize_t)sizeof times);
            return WAIT_ENDED;
        }
        if (count > 0 && fds[1].revents != 0 && signal_take(process->signals) != SIGHUP)
            return WAIT_TOLD_AGAIN;
    }
}

static void *stop_main(void *context)
{
    struct process *process = context;
    node_stop(process->node);
    ended(&process->ended);
    return NULL;
}

/* False: something does not end. */
static bool stop_in_time(struct process *process)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, stop_main, process) == 0);
    for (uint64_t waited_ns = 0; waited_ns < STOP_WAIT_NS; waited_ns += STOP_SAY_NS) {
        const char *step;
        switch (wait_for_end(process, STOP_SAY_NS)) {
        case WAIT_ENDED:
            CHECK(pthread_join(thread, NULL) == 0);
            return true;
        case WAIT_TOLD_AGAIN:
            return false;
        case WAIT_TOO_LONG:
            step = atomic_load(&process->node->run.stopping);
            LOG(LOG_WARN, "server",
                "still stopping (%s): does the disk answer? A second signal, or %u s, ends this",
                step != NULL ? step : "done",
                (unsigned)((STOP_WAIT_NS - waited_ns - STOP_SAY_NS) / NS_PER_SECOND));
            break;
        }
    }
    return false;
}

static void *remove_endpoint(void *context)
{
    struct process *process = context;
    node_file_remove(process->node->dir, "endpoint.json");
    ended(&process->ended);
    return NULL;
}

/*
 * As a crash would, which loses nothing that was acknowledged. Tidying up under what still runs
 * could.
 */
static void leave(struct process *process, const char *what)
{
    pthread_t thread;
    LOG(LOG_WARN, "server",
        "stopped at once: %s. What waits for a disk that hangs keeps the process until that "
        "answers",
        what);
    if (pthread_create(&thread, NULL, remove_endpoint, process) == 0)
        (void)wait_for_end(process,
                           REMOVE_WAIT_NS); /* else it only says where a dead process was */
    _exit(0);
}

/* The engine cuts what still runs after the grace; the wait is longer by what the disk may take to
 * give cut requests' memory back. */
static int drain(struct process *process)
{
    uint64_t grace_ns = process->node->config.server_drain_timeout;
    LOG(LOG_INFO, "server", "stopping: running requests have %llu s; a second signal cuts them",
        (unsigned long long)(grace_ns / NS_PER_SECOND));
    node_drain(process->node, grace_ns, ended, &process->ended);
    if (wait_for_end(process, grace_ns + CUT_WAIT_NS) != WAIT_ENDED)
        leave(process, "requests that were running are cut");
    else if (!stop_in_time(process))
        leave(process, "what was still under way is left");
    LOG(LOG_INFO, "server", "stopped");
    return 0;
}

static int run(struct process *process)
{
    struct err_trail trail = {0};
    process->node->is_asked_to_stop = is_asked_to_stop;
    process->node->stop_context = &process->signals;
    enum err e = node_start(process->node, &trail);
    if (e == ERR_CANCELLED) {
        LOG(LOG_INFO, "server", "%s", err_trail_text(&trail, e));
        return 0;
    }
    if (e) {
        fprintf(stderr, "sluiced: cannot start: %s\n", err_trail_text(&trail, e));
        return e == ERR_INVALID ? EXIT_USAGE : EXIT_FAILED;
    }
    struct text_buf banner = {0};
    banner_print(process->node, &banner);
    (void)fwrite(banner.data, 1, banner.size, stdout); /* nobody need be listening */
    (void)fflush(stdout);
    if (banner.data != NULL)
        explicit_bzero(banner.data, banner.size);
    text_free(&banner);
    explicit_bzero(process->node->root.secret_key, sizeof process->node->root.secret_key);
    serve(process);
    return drain(process);
}

/* ---- what is asked for ---- */

static enum err take_given_key(struct node *node, struct err_trail *trail)
{
    const char *id = getenv("SLUICE_ACCESS_KEY"), *secret = getenv("SLUICE_SECRET_KEY");
    if (id == NULL && secret == NULL)
        return ERR_OK;
    if (id == NULL || secret == NULL)
        return err_say(trail, ERR_INVALID, "%s is set and %s is not: the root key needs both",
                       id != NULL ? "SLUICE_ACCESS_KEY" : "SLUICE_SECRET_KEY",
                       id != NULL ? "SLUICE_SECRET_KEY" : "SLUICE_ACCESS_KEY");
    struct access_key key = {.owner = "root"};
    bool fits = strlen(id) < sizeof key.id && strlen(secret) < sizeof key.secret;
    if (fits) {
        strcpy(key.id, id);
        strcpy(key.secret, secret);
    }
    enum err e = access_key_judge(&key, trail);
    explicit_bzero(&key, sizeof key);
    if (e)
        return err_note(trail, e, "SLUICE_ACCESS_KEY, SLUICE_SECRET_KEY");
    strcpy(node->given.access_key, id);
    strcpy(node->given.secret_key, secret);
    (void)unsetenv("SLUICE_SECRET_KEY"); /* children and core files need not know */
    return ERR_OK;
}

static int print_config(const struct config *config)
{
    struct text_buf text = {0};
    config_print(config, &text);
    bool is_written =
        !text.failed && fwrite(text.data, 1, text.size, stdout) == text.size && fflush(stdout) == 0;
    text_free(&text);
    return is_written ? 0 : EXIT_FAILED;
}

static int usage(const struct err_trail *trail)
{
    fprintf(stderr, "sluiced: %s\n", trail->text);
    return EXIT_USAGE;
}

/* What is printed and noted for the tools must mean the same from everywhere. */
static bool place_take(struct process *process)
{
    struct node *node = process->node;
    const char *dir = process->args.dir;
    char here[NODE_PATH_MAX];
    bool is_known = getcwd(here, sizeof here) != NULL;
    struct buf flags = {.data = node->start_flags, .capacity = sizeof node->start_flags - 1};
    args_flags(process->argc, process->argv, is_known ? here : "", &flags);
    if (flags.overflowed) /* it can be started all the same */
        flags.size = 0;
    node->start_flags[flags.size] = '\0';
    return dir[0] == '/' ? snprintf(node->dir, NODE_PATH_MAX, "%s", dir) < NODE_PATH_MAX
                         : is_known && node_path(node->dir, here, dir);
}

/* A few heaps instead of eight a core: what RocksDB and others allocate and free then stays near
 * what is in use. */
static void heap_tame(void)
{
    (void)mallopt(M_ARENA_MAX, 2);
    (void)mallopt(M_MMAP_THRESHOLD, 256 << 10); /* set, it no longer grows with what was freed */
    (void)mallopt(M_TRIM_THRESHOLD, 1 << 20);
}

int main(int argc, char *argv[])
{
    static struct node node; /* big, and its workers point into it */
    struct process process = {.node = &node, .argc = argc, .argv = argv};
    struct err_trail trail = {0};
    if (args_parse(argc, argv, environ, &process.args, &node.config, &trail))
        return usage(&trail);
    switch (process.args.action) {
    case ARGS_HELP:
        fputs(args_help, stdout);
        return 0;
    case ARGS_VERSION:
        printf("sluiced %s\n", SLUICE_VERSION);
        return 0;
    case ARGS_PRINT_CONFIG:
        return print_config(&node.config);
    case ARGS_CHECK_CONFIG:
        if (node_judge(&node.config, &trail))
            return usage(&trail);
        puts("the configuration is good");
        return 0;
    case ARGS_SERVE:
        break;
    }
    if (take_given_key(&node, &trail))
        return usage(&trail);
    if (!place_take(&process)) {
        fprintf(stderr, "sluiced: the directory's name is too long\n");
        return EXIT_USAGE;
    }
    heap_tame();
    process.signals = signals_open();
    process.ended = eventfd(0, EFD_CLOEXEC);
    if (process.signals < 0 || process.ended < 0) {
        fprintf(stderr, "sluiced: cannot watch signals: %s\n", strerror(errno));
        return EXIT_FAILED;
    }
    return run(&process);
}
