#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "storage/fsck.h"
#include "tools/cli.h"

struct checking {
    struct cli *cli;
    json_t *findings; /* owned; with --json */
    bool shows_progress;
    bool has_progress_line;
};

static void clear_progress(struct checking *checking)
{
    if (checking->has_progress_line)
        fputs("\r\033[K", stderr);
    checking->has_progress_line = false;
}

static void take_finding(void *context, enum fsck_class class, const char *text)
{
    struct checking *checking = context;
    clear_progress(checking);
    if (checking->cli->json)
        json_array_append_new(checking->findings, json_pack("{s:s, s:s}", "class",
                                                            fsck_class_name(class), "text", text));
    else
        printf("%s: %s\n", fsck_class_name(class), text);
}

static void take_progress(void *context, const struct fsck_progress *progress)
{
    struct checking *checking = context;
    char done[32];
    if (!checking->shows_progress)
        return;
    clear_progress(checking);
    print_count(progress->done, done);
    fprintf(stderr, "%s: %s", progress->phase, done);
    if (progress->total > 0)
        fprintf(stderr, " (%llu%%)",
                (unsigned long long)((double)progress->done * 100 / (double)progress->total));
    if (isatty(STDERR_FILENO))
        checking->has_progress_line = true;
    else
        fputc('\n', stderr);
    (void)fflush(stderr);
}

static void print_report_json(const struct checking *checking, const struct fsck_counts *counts,
                              bool with_data)
{
    json_t *classes = json_object(), *report;
    for (size_t i = 0; i < FSCK_CLASS_COUNT; i++)
        if (counts->findings[i] > 0)
            json_object_set_new(classes, fsck_class_name((enum fsck_class)i),
                                json_pack("{s:I, s:s}", "count", (json_int_t)counts->findings[i],
                                          "meaning", fsck_class_text((enum fsck_class)i)));
    report = json_pack(
        "{s:b, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:O}", "clean",
        (int)(counts->findings_total == 0), "checksums_verified", (int)with_data, "segments",
        (json_int_t)counts->segments, "extents", (json_int_t)counts->extents, "data",
        (json_int_t)counts->data, "inline_data", (json_int_t)counts->inline_data, "objects",
        (json_int_t)counts->objects, "uploads", (json_int_t)counts->uploads, "parts",
        (json_int_t)counts->parts, "log_records", (json_int_t)counts->log_rows, "absent_data",
        (json_int_t)counts->absent_data, "bytes_stored", (json_int_t)counts->bytes_stored,
        "bytes_verified", (json_int_t)counts->bytes_verified, "findings_total",
        (json_int_t)counts->findings_total, "classes", classes, "findings", checking->findings);
    print_json(report);
    json_decref(report);
}

static void print_report(const struct fsck_counts *counts, bool with_data)
{
    char objects[32], extents[32], stored[64], verified[64], findings[32];
    print_count(counts->objects, objects);
    print_count(counts->extents, extents);
    print_count(counts->findings_total, findings);
    print_size(counts->bytes_stored, stored);
    print_size(counts->bytes_verified, verified);
    print_field("objects", "%s, %llu uploads, %llu parts", objects,
                (unsigned long long)counts->uploads, (unsigned long long)counts->parts);
    print_field("extents", "%s in %llu segments, %llu data inline", extents,
                (unsigned long long)counts->segments, (unsigned long long)counts->inline_data);
    if (counts->log_rows > 0)
        print_field("log", "%llu records of the group", (unsigned long long)counts->log_rows);
    if (counts->is_half_copied)
        print_field("copied", "names are being copied from another node, and were not looked at");
    if (counts->absent_data > 0)
        print_field("absent", "%llu data that a record of the log deletes; never read",
                    (unsigned long long)counts->absent_data);
    print_field("stored", "%s", stored);
    if (with_data)
        print_field("verified", "%s read and compared with their checksums", verified);
    else
        print_field("verified", "records only; --data reads every byte too");
    if (counts->segments_unrecorded > 0)
        print_field("left over",
                    "%llu segment files of an interrupted creation: the next start removes them",
                    (unsigned long long)counts->segments_unrecorded);
    for (size_t i = 0; i < FSCK_CLASS_COUNT; i++)
        if (counts->findings[i] > 0)
            print_field("found", "%llu x %s: %s", (unsigned long long)counts->findings[i],
                        fsck_class_name((enum fsck_class)i), fsck_class_text((enum fsck_class)i));
    print_field("result", counts->findings_total == 0 ? "clean" : "%s findings", findings);
}

static enum exit_code fsck_run(struct cli *cli, int argc, char *argv[])
{
    const char *dir[1] = {NULL};
    bool with_data = false, progress = false, allow_buffered = false;
    unsigned words;
    const struct flag flags[] = {
        {.name = "--data", .on = &with_data},
        {.name = "--progress", .on = &progress},
        {.name = "--allow-buffered", .on = &allow_buffered},
    };
    enum exit_code code =
        flags_parse(cli, argc, argv, flags, COUNT_OF(flags), dir, 0, 1, &words, "the directory");
    if (code != EXIT_DONE)
        return code;
    if (words == 0 && cli->dir[0] == '\0')
        return cli_fail(cli, EXIT_WRONG_USAGE, "INVALID", "sluice fsck DIR", "which directory?");
    struct checking checking = {
        .cli = cli, .findings = json_array(), .shows_progress = progress || isatty(STDERR_FILENO)};
    struct fsck_counts counts;
    struct err_trail trail = {0};
    enum err e = volume_fsck(
        &(struct fsck_options){
            .dir = words > 0 ? dir[0] : cli->dir,
            .data = with_data,
            .allow_buffered = allow_buffered,
            .finding = take_finding,
            .progress = take_progress,
            .context = &checking,
        },
        &counts, &trail);
    clear_progress(&checking);
    if (e)
        code = cli_fail(cli, EXIT_REFUSED, err_name(e), NULL, "%s", err_trail_text(&trail, e));
    else if (cli->json)
        print_report_json(&checking, &counts, with_data);
    else
        print_report(&counts, with_data);
    json_decref(checking.findings);
    if (e)
        return code;
    return counts.findings_total == 0 ? EXIT_DONE : EXIT_FOUND;
}

const struct command cmd_fsck = {
    .name = "fsck",
    .summary = "check a volume that no node serves",
    .run = fsck_run,
    .help = "sluice fsck [--data] [--progress] [--allow-buffered] [DIR]\n"
            "\n"
            "Holds every record of the index against what it must agree with; --data also reads "
            "every stored\n"
            "byte and compares it with its checksum. Read-only: it changes and repairs nothing. "
            "The node must be\n"
            "stopped. Exit code 0: clean; 4: something was found; 1: it could not be checked.\n"
            "\n"
            "  sluice fsck /srv/sluice\n"
            "  sluice fsck --data --progress /srv/sluice\n"
            "  sluice fsck --json /srv/sluice | jq .classes\n",
};
