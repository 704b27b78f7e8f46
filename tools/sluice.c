/*
 * sluice: the admin tool. The list of commands, the options that come before or after any of them,
 * and help.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "server/nearest.h"
#include "sluice_config.h"
#include "tools/cli.h"

static enum exit_code version_run(struct cli *cli, int argc, char *argv[])
{
    if (cli->json)
        printf("{\"version\": \"%s\"}\n", SLUICE_VERSION);
    else
        printf("sluice %s\n", SLUICE_VERSION);
    return EXIT_DONE;
}

static const struct command cmd_version = {.name = "version",
                                           .summary = "the version of this tool",
                                           .run = version_run,
                                           .help = "sluice version\n"};

static const struct command *const commands[] = {
    &cmd_status, &cmd_key,         &cmd_object, &cmd_explain, &cmd_bucket, &cmd_extents,
    &cmd_volume, &cmd_replication, &cmd_peers,  &cmd_cluster, &cmd_fsck,   &cmd_scrub,
    &cmd_doctor, &cmd_bench,       &cmd_tls,    &cmd_version,
};

static const char options_help[] =
    "Options, before or after the command:\n"
    "  --dir DIR            the node's directory; else SLUICE_DIR, else the node this user started "
    "last\n"
    "  --admin URL          ask this admin port (with --token-file FILE, or --dir for its token)\n"
    "  --json               JSON on standard output, errors too\n"
    "  --help\n"
    "\n"
    "Exit codes: 0 done, 1 refused, failed or (doctor) something missing, 2 wrong usage, "
    "3 no node to ask, 4 fsck or scrub found something.\n";

static void print_overview(FILE *out)
{
    fputs("sluice [options] COMMAND ...     administer a Sluice node\n\n", out);
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        fprintf(out, "  %-11s %s\n", commands[i]->name, commands[i]->summary);
    fputs("\nBegin with:  sluice doctor DIR   sluiced DIR &   sluice status   "
          "sluice key create --name me   sluice help key\n\n",
          out);
    fputs(options_help, out);
}

static const struct command *command_find(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

static enum exit_code unknown_command(const struct cli *cli, const char *name)
{
    struct nearest nearest = {.wanted = name};
    char hint[96] = "sluice --help shows the commands";
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        nearest_offer(&nearest, commands[i]->name);
    if (nearest.name != NULL)
        snprintf(hint, sizeof hint, "did you mean sluice %s?", nearest.name);
    return cli_fail(cli, EXIT_WRONG_USAGE, "INVALID", hint, "there is no command %.60s", name);
}

static enum exit_code help_run(const struct cli *cli, const char *name)
{
    if (name == NULL) {
        print_overview(stdout);
        return EXIT_DONE;
    }
    const struct command *command = command_find(name);
    if (command == NULL)
        return unknown_command(cli, name);
    printf("%s\n%s", command->help, options_help);
    return EXIT_DONE;
}

/* ---- options that belong to every command ---- */

struct globals {
    const char *dir;
    bool help;
};

/* The value of option argv[*i] if it is `name`, given as "--dir X" or "--dir=X"; NULL otherwise. ""
 * when it is missing. */
static const char *global_value(const char *name, int argc, char *argv[], int *i)
{
    size_t size = strlen(name);
    if (strcmp(argv[*i], name) == 0)
        return *i + 1 < argc ? argv[++*i] : "";
    if (strncmp(argv[*i], name, size) == 0 && argv[*i][size] == '=')
        return argv[*i] + size + 1;
    return NULL;
}

/* Takes them out of argv; what is left begins at argv[1]. Behind "--" nothing is an option. */
static enum exit_code globals_take(struct cli *cli, int *argc, char *argv[],
                                   struct globals *globals)
{
    const struct {
        const char *name, **out;
    } values[] = {
        {"--dir", &globals->dir}, {"--admin", &cli->admin}, {"--token-file", &cli->token_file}};
    int kept = 1, i;
    for (i = 1; i < *argc && strcmp(argv[i], "--") != 0; i++) {
        const char *value = NULL;
        for (size_t k = 0; k < COUNT_OF(values) && value == NULL; k++) {
            value = global_value(values[k].name, *argc, argv, &i);
            if (value != NULL && value[0] == '\0')
                return cli_fail(cli, EXIT_WRONG_USAGE, "INVALID", NULL, "%s wants a value",
                                values[k].name);
            if (value != NULL)
                *values[k].out = value;
        }
        if (value != NULL)
            continue;
        if (strcmp(argv[i], "--json") == 0)
            cli->json = true;
        else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            globals->help = true;
        else
            argv[kept++] = argv[i];
    }
    for (; i < *argc; i++)
        argv[kept++] = argv[i];
    *argc = kept;
    return EXIT_DONE;
}

static enum exit_code dir_find(struct cli *cli, const struct globals *globals)
{
    const char *dir = globals->dir, *variable = getenv("SLUICE_DIR");
    cli->dir_from = "--dir";
    if (dir == NULL && variable != NULL && variable[0] != '\0') {
        dir = variable;
        cli->dir_from = "SLUICE_DIR";
    }
    if (dir != NULL) {
        if (strlen(dir) >= sizeof cli->dir)
            return cli_fail(cli, EXIT_WRONG_USAGE, "INVALID", NULL,
                            "the directory's name is too long");
        strcpy(cli->dir, dir);
        return EXIT_DONE;
    }
    cli->dir_from = "the last start";
    if (cli->admin != NULL || last_node_read(cli->dir) != ERR_OK)
        cli->dir[0] = '\0'; /* commands that want one say so */
    return EXIT_DONE;
}

int main(int argc, char *argv[])
{
    struct cli cli = {0};
    struct globals globals = {0};
    log_set_level(LOG_ERROR); /* what the layers below have to say is for a daemon */
    enum exit_code code = globals_take(&cli, &argc, argv, &globals);
    if (code != EXIT_DONE)
        return code;
    if (argc > 1 && strcmp(argv[1], "--version") == 0)
        return version_run(&cli, argc, argv);
    if (argc > 1 && strcmp(argv[1], "help") == 0)
        return help_run(&cli, argc > 2 ? argv[2] : NULL);
    if (globals.help)
        return help_run(&cli, argc > 1 ? argv[1] : NULL);
    if (argc < 2) {
        print_overview(stderr);
        return EXIT_WRONG_USAGE;
    }
    cli.command = command_find(argv[1]);
    if (cli.command == NULL)
        return unknown_command(&cli, argv[1]);
    code = dir_find(&cli, &globals);
    if (code == EXIT_DONE)
        code = cli.command->run(&cli, argc - 1, argv + 1);
    if (fflush(stdout) != 0 || ferror(stdout))
        return cli_fail(&cli, EXIT_REFUSED, "IO", NULL, "standard output cannot be written");
    return code;
}
