#include "tools/bench.h"

#include <arpa/inet.h>
#include <math.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/clock.h"

/* ---- command lines ---- */

enum exit_code bench_wrong(const struct cli *cli, const char *name, const char *text,
                           const char *what)
{
    return cli_fail(cli, EXIT_WRONG_USAGE, "INVALID", BENCH_HINT, "%s: '%.60s' is %s", name, text,
                    what);
}

enum exit_code bench_seconds_parse(const struct cli *cli, const char *text, unsigned max,
                                   double *ret_seconds)
{
    char *end, what[60];
    double value = strtod(text, &end);
    snprintf(what, sizeof what, "not a number above 0, at most %u", max);
    if (end == text || *end != '\0' || !isfinite(value) || value <= 0 || value > max)
        return bench_wrong(cli, "--seconds", text, what);
    *ret_seconds = value;
    return EXIT_DONE;
}

enum err bench_address_parse(const char *text, struct sockaddr_storage *ret_address,
                             socklen_t *ret_size, bool *ret_has_port)
{
    char host[64];
    const char *colon = strrchr(text, ':'), *end = colon;
    uint64_t port = 0;
    bool is_6 = text[0] == '[' || (colon != NULL && strchr(text, ':') != colon);
    if (is_6) {
        const char *bracket = strchr(text, ']');
        if (text[0] == '[' && (bracket == NULL || (bracket[1] != '\0' && bracket[1] != ':')))
            return ERR_BAD_SYNTAX;
        colon = text[0] == '[' && bracket[1] == ':' ? bracket + 1 : NULL;
        end = text[0] == '[' ? bracket : text + strlen(text);
    } else if (colon == NULL) {
        end = text + strlen(text);
    }
    size_t skip = text[0] == '[', size = (size_t)(end - text) - skip;
    if (size == 0 || size >= sizeof host)
        return ERR_BAD_SYNTAX;
    memcpy(host, text + skip, size);
    host[size] = '\0';
    if (colon != NULL &&
        (bytes_to_u64(bytes_of_string(colon + 1), &port) || port == 0 || port > UINT16_MAX))
        return ERR_BAD_SYNTAX;
    *ret_has_port = colon != NULL;
    memset(ret_address, 0, sizeof *ret_address);
    if (is_6) {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret_address;
        *in6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
        *ret_size = sizeof *in6;
        return inet_pton(AF_INET6, host, &in6->sin6_addr) == 1 ? ERR_OK : ERR_BAD_SYNTAX;
    }
    struct sockaddr_in *in = (struct sockaddr_in *)ret_address;
    *in = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    *ret_size = sizeof *in;
    return inet_pton(AF_INET, host, &in->sin_addr) == 1 ? ERR_OK : ERR_BAD_SYNTAX;
}

bool bench_backend_parse(const char *text, enum transport_choice *ret_choice)
{
    static const char *const names[] = {[TRANSPORT_AUTO] = "auto",
                                        [TRANSPORT_FORCE_TCP] = "tcp",
                                        [TRANSPORT_FORCE_VERBS] = "verbs"};
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (strcmp(names[i], text) == 0) {
            *ret_choice = (enum transport_choice)i;
            return true;
        }
    return false;
}

/* ---- measuring ---- */

uint64_t bench_now_ns(void)
{
    return clock_mono_ns(clock_system());
}

uint64_t bench_cpu_ns(void)
{
    struct timespec time;
    CHECK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time) == 0);
    return (uint64_t)time.tv_sec * NS_PER_SECOND + (uint64_t)time.tv_nsec;
}

static int compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

void bench_percentiles(uint32_t *samples, uint32_t count, uint32_t *ret_p50, uint32_t *ret_p99)
{
    qsort(samples, count, sizeof *samples, compare_u32);
    if (count == 0)
        return;
    *ret_p50 = samples[count / 2];
    *ret_p99 = samples[(uint64_t)count * 99 / 100];
}

/* ---- telling ---- */

enum exit_code bench_tell_json(const struct cli *cli, json_t *json)
{
    if (json == NULL)
        return cli_fail(cli, EXIT_REFUSED, "NO_MEMORY", NULL, "out of memory");
    print_json(json);
    json_decref(json);
    return EXIT_DONE;
}
