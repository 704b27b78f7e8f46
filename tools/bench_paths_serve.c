/* The server of one technique, and its account. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "tools/bench_paths_priv.h"

static double seconds_of(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

/* The whole process: io_uring's workers are threads of it. */
static void account_add(struct account *account, const struct rusage *from, const struct rusage *to)
{
    account->user_s += seconds_of(to->ru_utime) - seconds_of(from->ru_utime);
    account->system_s += seconds_of(to->ru_stime) - seconds_of(from->ru_stime);
    account->switches +=
        (uint64_t)(to->ru_nvcsw - from->ru_nvcsw + to->ru_nivcsw - from->ru_nivcsw);
}

static int send_objects(const struct bench *bench, const struct bench_technique *technique,
                        struct bench_sender *sender, struct request request)
{
    int result = 0;
    for (uint32_t i = 0; i < request.count && result == 0; i++) {
        uint32_t object = bench->order[(request.first + i) % bench->objects];
        result = technique->send(sender, (uint64_t)object * bench->object_bytes);
    }
    return result;
}

/* What a batch leaves under way is the next one's, or the end's: a zero-copy send's notice comes
 * with the client's acknowledgement. */
static int end_sends(const struct bench_technique *technique, struct bench_sender *sender)
{
    return technique->finish != NULL ? technique->finish(sender) : 0;
}

static int serve_request(const struct bench *bench, const struct bench_technique *technique,
                         struct bench_sender *sender, const struct request *request)
{
    struct rusage from, to;
    struct account *account = bench->account;
    uint64_t calls = sender->calls;
    CHECK(getrusage(RUSAGE_SELF, &from) == 0);
    int result = request != NULL ? send_objects(bench, technique, sender, *request)
                                 : end_sends(technique, sender);
    CHECK(getrusage(RUSAGE_SELF, &to) == 0);
    if (request == NULL || request->is_counted) {
        account_add(account, &from, &to);
        account->calls += sender->calls - calls;
        account->objects += request != NULL ? request->count : 0;
    }
    account->zero_copy_sends = sender->zero_copy_sends;
    account->zero_copy_copied = sender->zero_copy_copied;
    return result;
}

/* Until the client closes. The first byte it hears says that the technique is open. */
static int serve(const struct bench *bench, const struct bench_technique *technique,
                 struct bench_sender *sender)
{
    struct request request;
    int result = bench_send_all(sender, "", 1, 0);
    while (result == 0) {
        ssize_t got = recv(sender->socket, &request, sizeof request, MSG_WAITALL);
        if (got == 0)
            return serve_request(bench, technique, sender, NULL);
        if (got != (ssize_t)sizeof request)
            return got < 0 ? errno : EPROTO;
        result = serve_request(bench, technique, sender, &request);
    }
    return result;
}

_Noreturn void bench__serve(const struct bench *bench, const struct bench_technique *technique,
                            int fd)
{
    struct bench_sender sender = {.socket = fd,
                                  .file_fd = bench->file_fd,
                                  .direct_fd = bench->direct_fd,
                                  .object_bytes = bench->object_bytes,
                                  .reason = bench->account->reason};
    int on = 1; /* without it a batch's last bytes wait for an acknowledgement, as no web server
                   lets them */
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0)
        _exit(1);
    (void)signal(SIGPIPE, SIG_IGN); /* sendfile and splice raise it where send need not */
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    int result = technique->open != NULL ? technique->open(&sender) : 0;
    if (result == 0)
        result = serve(bench, technique, &sender);
    if (technique->close != NULL)
        technique->close(&sender);
    bench->account->errnum = result;
    _exit(0);
}
