/*
 * sluice peers, sluice replication status: what a node says of its group. What carries the bytes is
 * called by its name, and RDMA only when it is.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "server/units.h"
#include "tools/cli.h"

#define WATCH_SECONDS 2u

/* ---- words ---- */

/* "3 s", "2 min", "5 h", "-" */
static void ago(const json_t *seconds, char out[32])
{
    double value = json_number_value(seconds);
    if (!json_is_number(seconds))
        strcpy(out, "-");
    else if (value < 1)
        snprintf(out, 32, "%.0f ms", value * 1000);
    else if (value < 120)
        snprintf(out, 32, "%.0f s", value);
    else if (value < 7200)
        snprintf(out, 32, "%.0f min", value / 60);
    else
        snprintf(out, 32, "%.0f h", value / 3600);
}

static void known(const json_t *number, char out[32])
{
    if (json_is_integer(number))
        print_count((uint64_t)json_integer_value(number), out);
    else
        strcpy(out, "-");
}

static void human(uint64_t bytes, char out[32])
{
    struct buf text = {.data = out, .capacity = 31};
    size_print_human(bytes, &text);
    out[text.size] = '\0';
}

static bool is_true(const json_t *object, const char *name)
{
    return json_is_true(json_object_get(object, name));
}

#define COPY_TEXT 160u

/* Of a node that is being filled by a copy: how far, how quickly, and for how long. */
static bool copy_progress(const json_t *node, char out[COPY_TEXT])
{
    const json_t *copy = json_object_get(node, "copy");
    uint64_t bytes = json_number(copy, "bytes"), bytes_in_all = json_number(copy, "bytes_in_all");
    uint64_t per_second = json_number(copy, "per_second");
    char done[32], all[32], rate[32], left[32];
    if (!json_is_object(copy))
        return false;
    ago(json_object_get(copy, "seconds_left"), left);
    if (bytes_in_all > 0) {
        human(bytes, done);
        human(bytes_in_all, all);
        human(per_second, rate);
    } else {
        print_count(json_number(copy, "rows"), done);
        print_count(json_number(copy, "rows_in_all"), all);
        print_count(per_second, rate);
    }
    int size =
        snprintf(out, COPY_TEXT, bytes_in_all > 0 ? "data %s of %s" : "rows %s of ~%s", done, all);
    if (per_second > 0)
        snprintf(out + size, COPY_TEXT - (size_t)size, ", %s/s, %s left", rate, left);
    return true;
}

static void carrier_print(const char *backend, const char *device, char out[128])
{
    if (backend[0] == '\0')
        strcpy(out, "-");
    else
        snprintf(out, 128, "%s%s%s", strcmp(backend, "verbs") == 0 ? "RDMA verbs" : backend,
                 device[0] != '\0' ? " on " : "", device);
}

static void print_transport(const json_t *reply)
{
    const json_t *transport = json_object_get(reply, "transport");
    char carrier[128];
    carrier_print(json_text(transport, "backend"), json_text(transport, "device"), carrier);
    const char *reason = json_text(transport, "reason");
    print_field("carried by", "%s%s%s%s", carrier, reason[0] != '\0' ? " (" : "", reason,
                reason[0] != '\0' ? ")" : "");
    print_field("turned away", "%llu calls; %llu peers cut off that broke the rules",
                (unsigned long long)json_number(transport, "refused_calls"),
                (unsigned long long)json_number(transport, "rule_breaks"));
}

static bool is_alone(const json_t *reply)
{
    return json_is_null(json_object_get(reply, "node"));
}

static void print_alone(void)
{
    puts("This node is alone: it has no peers, and one copy of everything.\n"
         "sluice help cluster says how several nodes hold the same objects.");
}

/* ---- peers ---- */

static void print_peer_table(const json_t *peers)
{
    static const char *const columns[] = {
        "NODE",       "ADDRESS", "STATE",     ">SINCE",
        "CARRIED BY", ">HEARD",  ">CONNECTS", "FILLED, OR WHY DOWN"};
    struct table *table = table_open(columns, COUNT_OF(columns));
    size_t i;
    json_t *peer;
    json_array_foreach((json_t *)peers, i, peer)
    {
        char since[32], heard[32], carrier[128], copy[COPY_TEXT];
        bool is_copied = copy_progress(peer, copy);
        ago(json_object_get(peer, "since_seconds"), since);
        ago(json_object_get(peer, "heard_seconds"), heard);
        carrier_print(json_text(peer, "backend"), json_text(peer, "device"), carrier);
        table_add(table, "%llu\t%s\t%s\t%s\t%s\t%s\t%llu\t%s",
                  (unsigned long long)json_number(peer, "node"), json_text(peer, "address"),
                  json_text(peer, "state"), since, carrier, heard,
                  (unsigned long long)json_number(peer, "connects"),
                  is_copied ? copy : json_text(peer, "sentence"));
    }
    table_print(table);
}

static void add_lane(struct table *table, const json_t *peer, const char *name, const json_t *lane)
{
    char sent[32], sent_bytes[32], received[32], received_bytes[32];
    print_count(json_number(lane, "sent"), sent);
    human(json_number(lane, "sent_bytes"), sent_bytes);
    print_count(json_number(lane, "received"), received);
    human(json_number(lane, "received_bytes"), received_bytes);
    table_add(table, "%llu\t%s\t%s\t%s\t%s\t%s\t%llu",
              (unsigned long long)json_number(peer, "node"), name, sent, sent_bytes, received,
              received_bytes, (unsigned long long)json_number(lane, "in_flight"));
}

static void print_lane_table(const json_t *peers)
{
    static const char *const columns[] = {"NODE",      "LANE",   ">SENT",     ">BYTES",
                                          ">RECEIVED", ">BYTES", ">IN FLIGHT"};
    struct table *table = table_open(columns, COUNT_OF(columns));
    size_t i;
    json_t *peer, *lane;
    const char *name;
    json_array_foreach((json_t *)peers, i, peer)
    {
        json_object_foreach(json_object_get(peer, "lanes"), name, lane)
            add_lane(table, peer, name, lane);
    }
    table_print(table);
}

static void print_peers(const json_t *reply)
{
    if (is_alone(reply)) {
        print_alone();
        return;
    }
    const json_t *peers = json_object_get(reply, "peers");
    print_field("this node", "%llu", (unsigned long long)json_number(reply, "node"));
    print_transport(reply);
    putchar('\n');
    print_peer_table(peers);
    putchar('\n');
    print_lane_table(peers);
}

/* ---- replication status ---- */

static const char *copy_word(const json_t *node, char out[COPY_TEXT])
{
    if (copy_progress(node, out))
        return out;
    if (is_true(node, "in_sync"))
        return "in sync";
    return is_true(node, "armed") ? "joining" : "behind";
}

static void print_nodes(const json_t *nodes)
{
    static const char *const columns[] = {"NODE",   "ADDRESS",      "ROLE",   "STATE", "COPY",
                                          ">ACKED", ">LAG RECORDS", ">BYTES", ">TIME"};
    struct table *table = table_open(columns, COUNT_OF(columns));
    size_t i;
    json_t *node;
    json_array_foreach((json_t *)nodes, i, node)
    {
        char acked[32], lag[32], lag_bytes[32] = "-", lag_time[32], copy[COPY_TEXT];
        known(json_object_get(node, "acked_psn"), acked);
        known(json_object_get(node, "lag_records"), lag);
        ago(json_object_get(node, "lag_seconds"), lag_time);
        if (json_is_integer(json_object_get(node, "lag_bytes")))
            human(json_number(node, "lag_bytes"), lag_bytes);
        table_add(table, "%llu\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s",
                  (unsigned long long)json_number(node, "node"), json_text(node, "address"),
                  is_true(node, "primary") ? "primary" : "replica", json_text(node, "state"),
                  copy_word(node, copy), acked, lag, lag_bytes, lag_time);
    }
    table_print(table);
}

static void print_numbers(const json_t *reply)
{
    const json_t *log = json_object_get(reply, "log");
    char committed[32], applied[32], first[32], last[32], pulled[32];
    known(json_object_get(log, "committed"), committed);
    known(json_object_get(log, "applied"), applied);
    known(json_object_get(log, "first"), first);
    known(json_object_get(log, "last"), last);
    human(json_number(reply, "pulled_bytes"), pulled);
    print_field("changes", "%s committed, %s applied here; the log holds %s to %s", committed,
                applied, first, last);
    print_field("repaired", "%s pulled from the primary, %llu chunks refused, %llu with wrong sums",
                pulled, (unsigned long long)json_number(reply, "refused_chunks"),
                (unsigned long long)json_number(reply, "bad_sums"));
}

static void print_status(const json_t *reply)
{
    if (is_true(reply, "alone")) {
        print_alone();
        return;
    }
    const json_t *primary = json_object_get(reply, "primary");
    print_field("this node", "%llu, %s%s%s", (unsigned long long)json_number(reply, "node"),
                json_text(reply, "role"), json_text(reply, "sentence")[0] != '\0' ? ": " : "",
                json_text(reply, "sentence"));
    double waits = json_number_value(json_object_get(reply, "disk_waits_seconds"));
    if (json_text(reply, "refuses")[0] != '\0')
        print_field("disk", "%s", json_text(reply, "refuses"));
    else if (waits >= 1)
        print_field("disk", "has not answered for %.0f s", waits);
    if (json_is_integer(primary))
        print_field("primary", "node %llu, term %llu, configuration %llu (register: %s)",
                    (unsigned long long)json_integer_value(primary),
                    (unsigned long long)json_number(reply, "term"),
                    (unsigned long long)json_number(reply, "epoch"), json_text(reply, "register"));
    else
        print_field("primary", "none is known");
    print_field("copies",
                "%llu of %llu nodes in sync; nothing is acknowledged with fewer than %llu",
                (unsigned long long)json_number(reply, "in_sync"),
                (unsigned long long)json_number(reply, "members"),
                (unsigned long long)json_number(reply, "in_sync_min"));
    print_transport(reply);
    print_numbers(reply);
    putchar('\n');
    print_nodes(json_object_get(reply, "nodes"));
}

/* ---- asking, once or again and again ---- */

typedef void print_fn(const json_t *reply);

static enum exit_code ask_once(struct cli *cli, const char *path, print_fn *print)
{
    json_t *reply = NULL;
    enum exit_code code = client_call(cli, "GET", path, NULL, &reply);
    if (code != EXIT_DONE)
        return code;
    if (cli->json)
        print_json(reply);
    else
        print(reply);
    json_decref(reply);
    return EXIT_DONE;
}

/* A terminal is cleared each time; elsewhere the answers stand below each other. Until it is
 * stopped; a node that does not answer is part of what is watched. */
static enum exit_code watch(struct cli *cli, const char *path, print_fn *print)
{
    for (;;) {
        char text[32];
        time_t now = time(NULL);
        struct tm tm;
        localtime_r(&now, &tm);
        strftime(text, sizeof text, "%H:%M:%S", &tm);
        if (!cli->json)
            printf("%s%s\n", isatty(STDOUT_FILENO) ? "\033[H\033[2J" : "", text);
        (void)ask_once(cli, path, print); /* what went wrong was said */
        if (!cli->json)
            putchar('\n');
        if (fflush(stdout) != 0)
            return EXIT_REFUSED;
        sleep(WATCH_SECONDS);
    }
}

static enum exit_code ask(struct cli *cli, int argc, char *argv[], const char *path,
                          print_fn *print)
{
    bool is_watching = false;
    unsigned words;
    const struct flag flags[] = {{.name = "--watch", .on = &is_watching}};
    enum exit_code code =
        flags_parse(cli, argc, argv, flags, COUNT_OF(flags), NULL, 0, 0, &words, "");
    if (code != EXIT_DONE)
        return code;
    return is_watching ? watch(cli, path, print) : ask_once(cli, path, print);
}

static enum exit_code peers_run(struct cli *cli, int argc, char *argv[])
{
    return ask(cli, argc, argv, "/v1/peers", print_peers);
}

static enum exit_code replication_run(struct cli *cli, int argc, char *argv[])
{
    static const char *const names[] = {"status"};
    int which = subcommand_find(cli, argc, argv, names, COUNT_OF(names));
    return which < 0 ? EXIT_WRONG_USAGE
                     : ask(cli, argc - 1, argv + 1, "/v1/replication", print_status);
}

const struct command cmd_peers = {
    .name = "peers",
    .summary = "the other nodes: up or down, what carries bytes to them, how many went",
    .run = peers_run,
    .help =
        "sluice peers [--watch]\n"
        "\n"
        "Each other node of the cluster as this one sees it: where it is, whether there is a\n"
        "connection and since when, what carries the bytes (RDMA verbs and the device, or tcp),\n"
        "when it was last heard of, and why it is down. Below, by lane, what went to it and came\n"
        "from it since this node started: ctl carries acknowledgements and beacons, meta records\n"
        "and small objects, bulk the bytes of bodies; in flight is what its other side has not\n"
        "given back yet. --watch asks again every 2 s.\n"
        "\n"
        "  sluice peers\n"
        "  sluice --dir /srv/sluice peers --json\n",
};

const struct command cmd_replication = {
    .name = "replication",
    .summary = "the group of nodes: status",
    .run = replication_run,
    .help =
        "sluice replication status [--watch]\n"
        "\n"
        "Who puts changes into order (the primary), who has everything that was acknowledged (in\n"
        "sync), and how far behind the others are. A change is acknowledged when it is on the\n"
        "disk of every node in sync; a node that does not answer is taken out of that set, and\n"
        "comes back when it has caught up. The primary alone knows the others' lag: ask it.\n"
        "\n"
        "  role         joining (no configuration known yet), "
        "copying (away for longer than the log\n"
        "               reaches, or with an empty disk: filled by a copy), "
        "replica, opening (a new\n"
        "               primary, not yet serving), primary, stopped\n"
        "  copy         in sync; joining (caught up, about to be in sync); behind; "
        "rows, data: how\n"
        "               much of the index, and then of the data, of a copy is there; how much "
        "comes\n"
        "               in a second, and how long the rest of it takes at that\n"
        "  acked        the last change on its disk;  lag: what it lacks, in changes, bytes and "
        "time\n"
        "\n"
        "A node without a primary, or one that is behind, answers S3 requests with 503 and says\n"
        "why at /readyz. --watch asks again every 2 s.\n"
        "\n"
        "  sluice replication status\n"
        "  sluice --dir /srv/sluice replication status --json\n",
};
