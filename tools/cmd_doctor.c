#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/cleanup.h"
#include "tools/cli.h"
#include "tools/doctor.h"

#define LABEL_WIDTH 19
#define TEXT_WIDTH  110 /* advice is broken into lines of that */
#define TEXT_INDENT 30  /* under the value: verdict and label stand before it */

static const struct {
    const char *name, *title;
} groups[] = {
    {"kernel", "Kernel"}, {"io_uring", "io_uring"}, {"memory", "Memory and limits"},
    {"disk", "Disk"},     {"network", "Network"},   {"rdma", "RDMA"},
    {"tls", "TLS"},       {"time", "Time"},         {"cpu", "Processor"},
    {"node", "Node"},
};

/* ---- looking ---- */

/* What the running node of DIR or of the admin port says of itself. A node that does not tell is no
 * reason to stop. */
static enum exit_code look_node(struct cli *cli, struct doctor_facts *facts)
{
    json_t *status = NULL;
    struct doctor_node *node = &facts->node;
    node->is_asked = cli->admin != NULL || cli->dir[0] != '\0';
    if (cli->admin == NULL) {
        char content[NODE_FILE_BYTES_MAX];
        size_t size = 0;
        if (!client_node_runs(cli) ||
            node_file_read(cli->dir, "endpoint.json", content, &size, false, NULL) != ERR_OK)
            return EXIT_DONE;
        status = json_loadb(content, size, 0, NULL);
        snprintf(node->s3, sizeof node->s3, "%s", json_text(status, "s3"));
        snprintf(node->admin, sizeof node->admin, "%s", json_text(status, "admin"));
    } else {
        enum exit_code code = client_call(cli, "GET", "/v1/status", NULL, &status);
        if (code != EXIT_DONE)
            return code;
        snprintf(node->s3, sizeof node->s3, "%s", json_text(status, "s3_endpoint"));
        snprintf(node->admin, sizeof node->admin, "%s", cli->admin);
        const char *dir = json_text(json_object_get(status, "volume"), "dir");
        if (cli->dir[0] == '\0' && strlen(dir) < sizeof cli->dir)
            strcpy(cli->dir, dir);
    }
    json_decref(status);
    node->runs = true;
    return EXIT_DONE;
}

static enum exit_code look(struct cli *cli, const char *interface, struct doctor_facts *facts)
{
    enum exit_code code = look_node(cli, facts);
    if (code != EXIT_DONE)
        return code;
    const char *addresses[] = {facts->node.s3};
    if (!doctor_look_network(interface, addresses, facts->node.s3[0] != '\0', &facts->network))
        return cli_fail(cli, EXIT_WRONG_USAGE, "INVALID", "`ip link` shows them",
                        "there is no network interface %.40s", interface);
    doctor_look_kernel(&facts->kernel);
    doctor_look_uring(&facts->uring);
    doctor_look_memory(&facts->memory);
    doctor_look_disk(cli->dir[0] != '\0' ? cli->dir : ".", &facts->disk);
    doctor_look_rdma("/sys", "/dev", &facts->rdma);
    doctor_look_tls(&facts->tls);
    doctor_look_clock(&facts->clock);
    doctor_look_cpu(&facts->cpu);
    return EXIT_DONE;
}

/* ---- saying ---- */

static const char *const verdict_names[] = {[DOCTOR_OK] = "ok",
                                            [DOCTOR_WARN] = "warn",
                                            [DOCTOR_MISSING] = "missing",
                                            [DOCTOR_UNSEEN] = "unseen"};

struct tally {
    unsigned of[4], needed;
};

static struct tally count_verdicts(const struct doctor_report *report)
{
    struct tally tally = {0};
    for (size_t i = 0; i < report->count; i++) {
        tally.of[report->checks[i].verdict]++;
        tally.needed += report->checks[i].verdict == DOCTOR_MISSING && report->checks[i].is_needed;
    }
    return tally;
}

static void say_json(const struct doctor_report *report, const struct doctor_facts *facts,
                     const struct tally *tally)
{
    json_t *checks = json_array();
    for (size_t i = 0; i < report->count; i++) {
        const struct doctor_check *check = &report->checks[i];
        json_array_append_new(
            checks, json_pack("{s:s, s:s, s:s, s:b, s:s, s:s*, s:s*}", "name", check->name, "group",
                              check->group, "verdict", verdict_names[check->verdict], "needed",
                              (int)check->is_needed, "value", check->value, "advice",
                              check->advice[0] != '\0' ? check->advice : NULL, "command",
                              check->command[0] != '\0' ? check->command : NULL));
    }
    json_t *operations = json_object();
    for (unsigned i = 0; i < facts->uring.op_count; i++)
        json_object_set_new(operations, facts->uring.ops[i].name,
                            json_boolean(facts->uring.ops[i].is_there));
    json_t *json = json_pack(
        "{s:b, s:s, s:{s:i, s:i, s:i, s:i}, s:o, s:o}", "usable", tally->needed == 0, "dir",
        facts->disk.dir, "count", "ok", (int)tally->of[DOCTOR_OK], "warn",
        (int)tally->of[DOCTOR_WARN], "missing", (int)tally->of[DOCTOR_MISSING], "unseen",
        (int)tally->of[DOCTOR_UNSEEN], "checks", checks, "io_uring_operations", operations);
    print_json(json);
    json_decref(json);
}

/* On a terminal verdicts have colours; NO_COLOR (no-color.org) and pipes have none. */
static void say_verdict(enum doctor_verdict verdict)
{
    static const struct {
        const char *text, *colour;
    } rows[] = {
        [DOCTOR_OK] = {"OK", "32"},
        [DOCTOR_WARN] = {"WARN", "33"},
        [DOCTOR_MISSING] = {"MISSING", "31"},
        [DOCTOR_UNSEEN] = {"?", "36"},
    };
    const char *no_color = getenv("NO_COLOR");
    bool has_colours = isatty(STDOUT_FILENO) && (no_color == NULL || no_color[0] == '\0');
    if (has_colours)
        printf("  \033[%sm%-8s\033[0m", rows[verdict].colour, rows[verdict].text);
    else
        printf("  %-8s", rows[verdict].text);
}

/* Words, broken at TEXT_WIDTH, each line under the label. */
static void say_indented(const char *text)
{
    struct bytes rest = bytes_of_string(text);
    size_t column = 0;
    while (rest.size > 0) {
        struct bytes word = bytes_split(&rest, ' ');
        if (column == 0 || column + 1 + word.size > TEXT_WIDTH - TEXT_INDENT) {
            printf("%s%*s", column > 0 ? "\n" : "", TEXT_INDENT, "");
            column = 0;
        } else
            column += (size_t)printf(" ");
        column += (size_t)printf("%.*s", (int)word.size, word.data);
    }
    if (column > 0)
        putchar('\n');
}

static void say_check(const struct doctor_check *check)
{
    say_verdict(check->verdict);
    printf("%-*s %s\n", LABEL_WIDTH, check->label, check->value);
    say_indented(check->advice);
    if (check->command[0] != '\0')
        printf("%*s$ %s\n", TEXT_INDENT, "", check->command);
}

static void say_text(const struct doctor_report *report, const struct doctor_facts *facts,
                     const struct tally *tally)
{
    for (size_t g = 0; g < COUNT_OF(groups); g++) {
        bool is_first = true;
        for (size_t i = 0; i < report->count; i++) {
            if (strcmp(report->checks[i].group, groups[g].name) != 0)
                continue;
            if (is_first)
                printf("%s%s%s%s%s\n", g > 0 ? "\n" : "", groups[g].title,
                       strcmp(groups[g].name, "network") == 0 ? " (" : "",
                       strcmp(groups[g].name, "network") == 0 ? facts->network.chosen_by : "",
                       strcmp(groups[g].name, "network") == 0 ? ")" : "");
            is_first = false;
            say_check(&report->checks[i]);
        }
    }
    printf("\n%u OK, %u warnings, %u missing, %u not looked at. ", tally->of[DOCTOR_OK],
           tally->of[DOCTOR_WARN], tally->of[DOCTOR_MISSING], tally->of[DOCTOR_UNSEEN]);
    if (tally->needed > 0)
        printf("Sluice needs %u of what is missing.\n", tally->needed);
    else
        printf("Nothing that Sluice needs is missing.\n");
}

static enum exit_code doctor_run(struct cli *cli, int argc, char *argv[])
{
    const char *words[1], *interface = NULL;
    unsigned count = 0;
    const struct flag flags[] = {{.name = "--interface", .value = "NAME", .text = &interface}};
    enum exit_code code =
        flags_parse(cli, argc, argv, flags, COUNT_OF(flags), words, 0, 1, &count, "[DIR]");
    if (code != EXIT_DONE)
        return code;
    if (count == 1 && strlen(words[0]) >= sizeof cli->dir)
        return cli_fail(cli, EXIT_WRONG_USAGE, "INVALID", NULL, "the directory's name is too long");
    if (count == 1) {
        strcpy(cli->dir, words[0]);
        cli->dir_from = "the command line";
    }
    CLEANUP(free) struct doctor_facts *facts = calloc(1, sizeof *facts);
    CLEANUP(free) struct doctor_report *report = calloc(1, sizeof *report);
    if (facts == NULL || report == NULL)
        return cli_fail(cli, EXIT_REFUSED, "NO_MEMORY", NULL, "out of memory");
    code = look(cli, interface, facts);
    if (code != EXIT_DONE)
        return code;
    doctor_judge(facts, report);
    struct tally tally = count_verdicts(report);
    if (cli->json)
        say_json(report, facts, &tally);
    else
        say_text(report, facts, &tally);
    return tally.needed > 0 ? EXIT_REFUSED : EXIT_DONE;
}

const struct command cmd_doctor = {
    .name = "doctor",
    .summary = "what this machine can do for Sluice, and how to get the rest",
    .run = doctor_run,
    .help =
        "sluice doctor [DIR] [--interface NAME]\n"
        "\n"
        "Looks at kernel, io_uring, limits, the disk under DIR (the node's directory, else the "
        "current "
        "one), the\n"
        "network interfaces the node listens on, RDMA, kernel TLS, clock and processor. It tries "
        "rather "
        "than\n"
        "believes: rings are made, memory registered, a scratch file written in DIR and removed.\n"
        "\n"
        "  OK       here\n"
        "  WARN     works, at a price that is told\n"
        "  MISSING  not here; `optional:` when Sluice does without\n"
        "  ?        could not be looked at, and why; run it as the user who runs the node\n"
        "\n"
        "A line that begins with $ is a command to type. Exit code 0: all is usable; 1: something "
        "needed "
        "is\n"
        "missing; 2: wrong usage.\n"
        "\n"
        "  sluice doctor /srv/sluice              before the first start: the directory need not "
        "exist\n"
        "  sluice doctor --interface eth0\n"
        "  sluice doctor --json | jq '.checks[] | select(.verdict != \"ok\")'\n",
};
