#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/cleanup.h"
#include "server/units.h"
#include "tools/bench.h"
#include "tools/bench_paths.h"
#include "tools/bench_replication.h"
#include "tools/bench_transport.h"

#define SECONDS_MAX 600u

/* ---- paths ---- */

/* "4KiB,1MiB": each a whole number of units. */
static enum exit_code sizes_parse(const struct cli *cli, const char *text,
                                  struct bench_options *options)
{
    struct bytes rest = bytes_of_string(text);
    options->size_count = 0;
    while (rest.size > 0) {
        struct bytes word = bytes_trim(bytes_split(&rest, ','));
        uint64_t bytes = 0;
        if (size_parse(word, &bytes) != ERR_OK || bytes == 0 || bytes % BENCH_ALIGN != 0 ||
            bytes > BENCH_SIZE_MAX)
            return cli_fail(cli, EXIT_WRONG_USAGE, "INVALID", "such as --sizes 4KiB,64KiB,1MiB",
                            "--sizes: '%.*s' is no multiple of 4 KiB up to 256 MiB",
                            (int)bytes_slice(word, 0, 40).size, word.data);
        if (options->size_count == BENCH_SIZES_MAX)
            return cli_fail(cli, EXIT_WRONG_USAGE, "INVALID", NULL,
                            "--sizes takes at most %u of them", BENCH_SIZES_MAX);
        for (unsigned i = 0; i < options->size_count; i++)
            if (options->sizes[i] >= bytes)
                return cli_fail(cli, EXIT_WRONG_USAGE, "INVALID", NULL,
                                "--sizes: they must grow from one to the next");
        options->sizes[options->size_count++] = (uint32_t)bytes;
    }
    if (options->size_count == 0)
        return cli_fail(cli, EXIT_WRONG_USAGE, "INVALID", "such as --sizes 4KiB,64KiB,1MiB",
                        "--sizes wants at least one");
    return EXIT_DONE;
}

static enum exit_code file_write(const struct cli *cli, const char *path, struct bytes content)
{
    FILE *file = fopen(path, "we");
    bool is_good = file != NULL && fwrite(content.data, 1, content.size, file) == content.size;
    int problem = errno;
    if (file != NULL && fclose(file) != 0 && is_good) {
        is_good = false;
        problem = errno;
    }
    if (is_good)
        return EXIT_DONE;
    return cli_fail(cli, EXIT_REFUSED, "IO", NULL, "cannot write %s: %s", path, strerror(problem));
}

static enum exit_code tell_json(const struct cli *cli, const struct bench_run *run,
                                const char *path)
{
    json_t *json = bench_paths_json(run);
    CLEANUP(free)
    char *text =
        json != NULL
            ? json_dumps(json, JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(6))
            : NULL;
    json_decref(json);
    if (text == NULL)
        return cli_fail(cli, EXIT_REFUSED, "NO_MEMORY", NULL, "out of memory");
    if (path != NULL)
        return file_write(cli, path, bytes_of_string(text));
    printf("%s\n", text);
    return EXIT_DONE;
}

static enum exit_code tell_svg(const struct cli *cli, const struct bench_run *run, const char *path)
{
    CLEANUP(text_free) struct text_buf svg = {0};
    if (!bench_paths_svg(run, &svg))
        return cli_fail(cli, EXIT_REFUSED, "INVALID", NULL,
                        "nothing was measured that could be drawn");
    return file_write(cli, path, text_bytes(&svg));
}

/* A technique that delivers wrong bytes is no row of a table. */
static enum exit_code judge_bytes(const struct cli *cli, const struct bench_run *run)
{
    for (size_t i = 0; i < run->point_count; i++)
        if (run->points[i].rounds > 0 && !run->points[i].is_verified)
            return cli_fail(cli, EXIT_REFUSED, "CORRUPT", NULL,
                            "%s was measured and never compared", run->points[i].technique->name);
        else if (strstr(run->points[i].reason, "other bytes") != NULL)
            return cli_fail(cli, EXIT_REFUSED, "CORRUPT", "please report this", "%s %s",
                            run->points[i].technique->name, run->points[i].reason);
    return EXIT_DONE;
}

static enum exit_code tell(struct cli *cli, const struct bench_run *run, const char *json_path,
                           const char *svg_path)
{
    enum exit_code code = EXIT_DONE;
    if (!cli->json)
        bench_paths_print(run);
    if (cli->json || json_path != NULL)
        code = tell_json(cli, run, json_path);
    if (code == EXIT_DONE && svg_path != NULL)
        code = tell_svg(cli, run, svg_path);
    return code == EXIT_DONE ? judge_bytes(cli, run) : code;
}

static enum exit_code bench_paths(struct cli *cli, int argc, char *argv[])
{
    const char *words[1], *sizes = "4KiB,64KiB,1MiB,16MiB,64MiB", *seconds = "1", *svg_path = NULL,
                          *json_path = NULL;
    unsigned count = 0;
    /* --dir is everybody's; here it must be given to count: a node's own disk is not to be busied
     * by default. */
    struct bench_options options = {.dir = strcmp(cli->dir_from, "--dir") == 0 ? cli->dir : "."};
    const struct flag flags[] = {
        {.name = "--sizes", .value = "SIZE,...", .text = &sizes},
        {.name = "--seconds", .value = "N", .text = &seconds},
        {.name = "--cold", .on = &options.with_cold},
        {.name = "--json",
         .value = "FILE",
         .text = &json_path}, /* --json=FILE; --json alone was taken before */
        {.name = "--svg", .value = "FILE", .text = &svg_path},
    };
    enum exit_code code = flags_parse(cli, argc, argv, flags, COUNT_OF(flags), words, 0,
                                      cli->json ? 1 : 0, &count, "");
    if (code == EXIT_DONE && count == 1) {
        json_path = words[0]; /* --json FILE */
        cli->json = false;    /* standard output has the table, and errors are for its reader */
    }
    if (code == EXIT_DONE)
        code = sizes_parse(cli, sizes, &options);
    if (code == EXIT_DONE)
        code = bench_seconds_parse(cli, seconds, SECONDS_MAX, &options.seconds);
    if (code != EXIT_DONE)
        return code;
    struct bench_run run;
    code = bench_paths_run(cli, &options, &run);
    if (code != EXIT_DONE)
        return code;
    code = tell(cli, &run, json_path, svg_path);
    bench_run_fini(&run);
    return code;
}

/* ---- the family ---- */

static enum exit_code bench_run(struct cli *cli, int argc, char *argv[])
{
    static const struct {
        const char *name;
        enum exit_code (*run)(struct cli *cli, int argc, char *argv[]);
    } benches[] = {
        {"paths", bench_paths}, {"replication", bench_replication}, {"transport", bench_transport}};
    const char *names[COUNT_OF(benches)];
    for (size_t i = 0; i < COUNT_OF(benches); i++)
        names[i] = benches[i].name;
    int chosen = subcommand_find(cli, argc, argv, names, COUNT_OF(benches));
    return chosen < 0 ? EXIT_WRONG_USAGE : benches[chosen].run(cli, argc - 1, argv + 1);
}

const struct command cmd_bench = {
    .name = "bench",
    .summary = "techniques measured on this machine: paths, replication, transport",
    .run = bench_run,
    .help = "sluice bench paths [--sizes SIZE,...] [--seconds N] [--cold] [--json FILE] [--svg "
            "FILE] [--dir "
            "DIR]\n"
            "\n"
            "The ways bytes can take from a file to a socket, side by side: read + write, mmap + "
            "write, "
            "sendfile,\n"
            "splice, io_uring splice, mmap + MSG_ZEROCOPY, Direct I/O + send, Direct I/O + "
            "SEND_ZC. No node "
            "takes\n"
            "part: a small server of its own sends over loopback, and its CPU time alone is "
            "counted. Each "
            "technique's\n"
            "bytes are compared first. Progress goes to standard error.\n"
            "\n"
            "  --sizes SIZE,...  of an object; by default 4KiB,64KiB,1MiB,16MiB,64MiB\n"
            "  --seconds N       for each technique and size, in 5 alternating rounds; 1 by "
            "default (40 s in "
            "all)\n"
            "  --cold            once more with the page cache dropped before each batch\n"
            "  --json FILE       every round's figures; without FILE on standard output, instead "
            "of the "
            "table\n"
            "  --svg FILE        a plot\n"
            "  --dir DIR         where the scratch file lies (64 MiB); the current directory by "
            "default\n"
            "\n"
            "  sluice bench paths\n"
            "  sluice bench paths --cold --dir /srv --svg paths.svg --json paths.json\n"
            "  sluice bench paths --sizes 1MiB --seconds 5\n"
            "\n" BENCH_TRANSPORT_HELP "\n" BENCH_REPLICATION_HELP,
};
