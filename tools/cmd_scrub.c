#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "server/units.h"
#include "tools/cli.h"

#define WAIT_SECONDS 1u

static void print_scrub(const json_t *scrub)
{
    char verified[64], total[64], rate[64];
    uint64_t done = json_number(scrub, "verified_bytes"), all = json_number(scrub, "total_bytes");
    uint64_t damaged = json_number(scrub, "damaged_chunks");
    uint64_t repaired = json_number(scrub, "repaired_chunks");
    const char *state = json_text(scrub, "state"), *ended = json_text(scrub, "ended");
    print_size(done, verified);
    print_size(all, total);
    print_size(json_number(scrub, "rate_bytes"), rate);
    print_field("state", "%s", state);
    print_field("rate", "%s a second", rate);
    if (strcmp(state, "never") != 0) {
        print_field("started", "%s", json_text(scrub, "started"));
        if (ended[0] != '\0')
            print_field("ended", "%s", ended);
        print_field("verified", "%s in %llu pieces of data", verified,
                    (unsigned long long)json_number(scrub, "data"));
        print_field("of about", "%s", total);
        print_field("damaged", "%llu chunks of 64 KiB, %llu of them repaired",
                    (unsigned long long)damaged, (unsigned long long)repaired);
    }
    if (json_text(scrub, "sentence")[0] != '\0')
        print_field("last", "%s", json_text(scrub, "sentence"));
}

/* Lost: more is damaged than was repaired. */
static enum exit_code told(struct cli *cli, json_t *scrub)
{
    bool is_whole = json_number(scrub, "damaged_chunks") == json_number(scrub, "repaired_chunks");
    if (cli->json)
        print_json(scrub);
    else
        print_scrub(scrub);
    json_decref(scrub);
    return is_whole ? EXIT_DONE : EXIT_FOUND;
}

static enum exit_code scrub_status_run(struct cli *cli, int argc, char *argv[])
{
    unsigned words;
    json_t *scrub = NULL;
    enum exit_code code = flags_parse(cli, argc, argv, NULL, 0, NULL, 0, 0, &words, "");
    if (code == EXIT_DONE)
        code = client_call(cli, "GET", "/v1/scrub", NULL, &scrub);
    return code == EXIT_DONE ? told(cli, scrub) : code;
}

static enum exit_code act(struct cli *cli, json_t *body, json_t **ret_scrub)
{
    enum exit_code code = client_call(cli, "POST", "/v1/scrub", body, ret_scrub);
    json_decref(body);
    return code;
}

static enum exit_code wait_end(struct cli *cli, json_t **scrub)
{
    while (strcmp(json_text(*scrub, "state"), "running") == 0) {
        json_decref(*scrub);
        *scrub = NULL;
        sleep(WAIT_SECONDS);
        enum exit_code code = client_call(cli, "GET", "/v1/scrub", NULL, scrub);
        if (code != EXIT_DONE)
            return code;
    }
    return EXIT_DONE;
}

static enum exit_code scrub_start_run(struct cli *cli, int argc, char *argv[])
{
    const char *rate_text = NULL;
    bool anew = false, waits = false;
    uint64_t rate = 0;
    unsigned words;
    const struct flag flags[] = {
        {.name = "--rate", .value = "SIZE", .text = &rate_text},
        {.name = "--anew", .on = &anew},
        {.name = "--wait", .on = &waits},
    };
    enum exit_code code =
        flags_parse(cli, argc, argv, flags, COUNT_OF(flags), NULL, 0, 0, &words, "");
    if (code != EXIT_DONE)
        return code;
    if (rate_text != NULL && size_parse(bytes_of_string(rate_text), &rate) != ERR_OK)
        return cli_fail(cli, EXIT_WRONG_USAGE, "INVALID", "such as 64MiB: so much a second",
                        "--rate %.40s is no size", rate_text);
    json_t *scrub = NULL;
    json_t *body = json_pack("{s:s, s:I, s:b}", "action", "start", "rate_bytes", (json_int_t)rate,
                             "anew", (int)anew);
    code = act(cli, body, &scrub);
    if (code == EXIT_DONE && waits)
        code = wait_end(cli, &scrub);
    return code == EXIT_DONE ? told(cli, scrub) : code;
}

static enum exit_code scrub_pause_run(struct cli *cli, int argc, char *argv[])
{
    unsigned words;
    json_t *scrub = NULL;
    enum exit_code code = flags_parse(cli, argc, argv, NULL, 0, NULL, 0, 0, &words, "");
    if (code == EXIT_DONE)
        code = act(cli, json_pack("{s:s}", "action", "pause"), &scrub);
    return code == EXIT_DONE ? told(cli, scrub) : code;
}

static enum exit_code scrub_run(struct cli *cli, int argc, char *argv[])
{
    static const char *const names[] = {"status", "start", "pause"};
    switch (subcommand_find(cli, argc, argv, names, COUNT_OF(names))) {
    case 0:
        return scrub_status_run(cli, argc - 1, argv + 1);
    case 1:
        return scrub_start_run(cli, argc - 1, argv + 1);
    case 2:
        return scrub_pause_run(cli, argc - 1, argv + 1);
    default:
        return EXIT_WRONG_USAGE;
    }
}

const struct command cmd_scrub = {
    .name = "scrub",
    .summary =
        "all that is stored, held against its checksums while it is served: status, start, pause",
    .run = scrub_run,
    .help =
        "sluice scrub status\n"
        "sluice scrub start [--rate SIZE] [--anew] [--wait]\n"
        "sluice scrub pause\n"
        "\n"
        "A running node reads everything it stores by Direct I/O, beside what it serves, and\n"
        "compares each 64 KiB with its checksum. What is damaged is fetched from another node\n"
        "of the cluster and rewritten in its place; a node alone can only say what is lost, in\n"
        "its log and here. (sluice fsck --data does the same to a volume that nobody serves.)\n"
        "\n"
        "start goes on where the last pass was paused, or begins a new one; --anew always\n"
        "begins. A pass that was running goes on by itself when the node is started again, and\n"
        "one begins by itself every four weeks, or as [storage] scrub-every says.\n"
        "\n"
        "  --rate SIZE   so much a second: 1MiB to 16GiB; 32MiB to begin with, then as before\n"
        "  --wait        until the pass has ended\n"
        "\n"
        "Exit code 4: there are damaged chunks that were not repaired.\n"
        "\n"
        "  sluice scrub start --rate 100MiB\n"
        "  sluice scrub status --json\n",
};
