#include <stdio.h>

#include "tools/cli.h"

static void print_uptime(uint64_t seconds, char *out, size_t out_size)
{
    if (seconds >= 86400)
        snprintf(out, out_size, "%llu d %llu h", (unsigned long long)(seconds / 86400),
                 (unsigned long long)(seconds / 3600 % 24));
    else if (seconds >= 3600)
        snprintf(out, out_size, "%llu h %llu min", (unsigned long long)(seconds / 3600),
                 (unsigned long long)(seconds / 60 % 60));
    else
        snprintf(out, out_size, "%llu min %llu s", (unsigned long long)(seconds / 60),
                 (unsigned long long)(seconds % 60));
}

/* One port that speaks either, or one of each. */
static void print_s3(const char *endpoint, const char *tls, const char *region)
{
    if (strcmp(endpoint, tls) == 0)
        print_field("S3", "https://%s, region %s", tls, region);
    else if (tls[0] != '\0')
        print_field("S3", "https://%s, and http://%s, region %s", tls, endpoint, region);
    else
        print_field("S3", "http://%s, region %s", endpoint, region);
}

static void print_status(const json_t *status)
{
    const json_t *volume = json_object_get(status, "volume"),
                 *group = json_object_get(status, "group");
    char uptime[64], used[64], capacity[64], resident[64], mutations[32];
    print_uptime(json_number(status, "uptime_seconds"), uptime, sizeof uptime);
    print_size(json_number(volume, "used_bytes"), used);
    print_size(json_number(volume, "capacity_bytes"), capacity);
    print_size(json_number(status, "resident_bytes"), resident);
    print_count(json_number(volume, "committed_mutations"), mutations);

    print_field("node", "%s, Sluice %s, process %llu, up %s", json_text(status, "state"),
                json_text(status, "version"), (unsigned long long)json_number(status, "pid"),
                uptime);
    print_s3(json_text(status, "s3_endpoint"), json_text(status, "tls_endpoint"),
             json_text(status, "region"));
    print_field("data", "%s on %s, volume %s%s%s", json_text(volume, "dir"),
                json_text(volume, "file_system"), json_text(volume, "state"),
                json_text(volume, "reason")[0] != '\0' ? ": " : "", json_text(volume, "reason"));
    print_field("used", "%s", used);
    print_field("room for", "%s", capacity);
    if (json_number(group, "members") > 1)
        print_field("durability",
                    "an acknowledged PUT is on the disk of every node in sync, %llu at least",
                    (unsigned long long)json_number(group, "in_sync_min"));
    else
        print_field("durability", "%s", json_text(volume, "durability"));
    print_field("copies", "%llu node%s, %llu in sync, term %llu%s%s",
                (unsigned long long)json_number(group, "members"),
                json_number(group, "members") == 1 ? "" : "s",
                (unsigned long long)json_number(group, "in_sync"),
                (unsigned long long)json_number(group, "term"),
                json_number(group, "members") == 1 ? "" : ", this one is ",
                json_number(group, "members") == 1 ? "" : json_text(group, "role"));
    print_field("buckets", "%llu", (unsigned long long)json_number(status, "buckets"));
    print_field("access keys", "%llu", (unsigned long long)json_number(status, "access_keys"));
    print_field("changes", "%s since the start, in %llu commits", mutations,
                (unsigned long long)json_number(volume, "commits"));
    print_field("memory", "%s", resident);
    if (!json_is_true(json_object_get(volume, "direct_io")))
        print_field("WARNING",
                    "no Direct I/O on this file system: bytes pass through the page cache");
}

static enum exit_code status_run(struct cli *cli, int argc, char *argv[])
{
    json_t *status = NULL;
    unsigned words;
    enum exit_code code = flags_parse(cli, argc, argv, NULL, 0, NULL, 0, 0, &words, "");
    if (code == EXIT_DONE)
        code = client_call(cli, "GET", "/v1/status", NULL, &status);
    if (code != EXIT_DONE)
        return code;
    if (cli->json)
        print_json(status);
    else
        print_status(status);
    json_decref(status);
    return EXIT_DONE;
}

const struct command cmd_status = {
    .name = "status",
    .summary = "the running node at a glance",
    .run = status_run,
    .help = "sluice status\n"
            "\n"
            "Where the node listens, how full it is, how durable an acknowledged write is.\n"
            "\n"
            "  sluice status\n"
            "  sluice --dir /srv/sluice status --json\n"
            "  sluice --admin 127.0.0.1:9001 --token-file /srv/sluice/admin-token status\n",
};
