#include <stdio.h>
#include <string.h>

#include "api/admin/describe.h"
#include "base/check.h"
#include "server/units.h"
#include "tools/cli.h"

static void print_volume(const json_t *volume)
{
    static const struct {
        const char *label, *name;
    } sizes[] = {
        {"used", "used_bytes"},
        {"room for", "capacity_bytes"},
        {"disk free", "disk_free_bytes"},
        {"disk", "disk_total_bytes"},
        {"being written", "reserved_bytes"},
        {"being freed", "reclaiming_bytes"},
        {"segment size", "segment_bytes"},
        {"index on disk", "index_disk_bytes"},
    };
    print_field("directory", "%s", json_text(volume, "dir"));
    print_field("volume", "%s", json_text(volume, "uuid"));
    print_field("state", "%s%s%s", json_text(volume, "state"),
                json_text(volume, "reason")[0] != '\0' ? ": " : "", json_text(volume, "reason"));
    print_field("file system", "%s, %s", json_text(volume, "file_system"),
                json_is_true(json_object_get(volume, "direct_io")) ? "Direct I/O is real"
                                                                   : "WITHOUT Direct I/O");
    print_field("format", "%llu.%llu, opened %llu times",
                (unsigned long long)json_number(volume, "format_major"),
                (unsigned long long)json_number(volume, "format_minor"),
                (unsigned long long)json_number(volume, "mount_epoch"));
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        char size[64];
        print_size(json_number(volume, sizes[i].name), size);
        print_field(sizes[i].label, "%s", size);
    }
    print_field("segments", "%llu", (unsigned long long)json_number(volume, "segment_count"));
    print_field("last change", "psn %llu", (unsigned long long)json_number(volume, "last_psn"));
    const json_t *log = json_object_get(volume, "log");
    if (log != NULL)
        print_field("log", "records %llu to %llu, applied up to %llu",
                    (unsigned long long)json_number(log, "first"),
                    (unsigned long long)json_number(log, "last"),
                    (unsigned long long)json_number(log, "applied"));
}

static enum err describe(struct volume *volume, const void *context, json_t **ret_json)
{
    *ret_json = describe_volume(volume);
    return *ret_json != NULL ? ERR_OK : ERR_NO_MEMORY;
}

static enum exit_code volume_status_run(struct cli *cli, int argc, char *argv[])
{
    json_t *volume = NULL;
    unsigned words;
    enum exit_code code = flags_parse(cli, argc, argv, NULL, 0, NULL, 0, 0, &words, "");
    if (code == EXIT_DONE)
        code = source_ask(cli, "/v1/volume", describe, NULL, &volume);
    if (code != EXIT_DONE)
        return code;
    if (cli->json)
        print_json(volume);
    else
        print_volume(volume);
    json_decref(volume);
    return EXIT_DONE;
}

/* Its first opening makes the index: done here, so that the volume can be looked at and checked
 * before a node ever serves it. */
static enum err volume_make(const char *dir, uint64_t segment_bytes, enum volume_direct direct,
                            struct err_trail *trail)
{
    struct volume *volume = NULL;
    enum err e = volume_format(&(struct volume_format_options){.dir = dir,
                                                               .segment_bytes = segment_bytes,
                                                               .direct = direct},
                               trail);
    if (e == ERR_OK)
        e = volume_open(
            &(struct volume_options){.dir = dir, .direct = direct, .threads = VOLUME_NO_THREADS},
            &volume, trail);
    volume_close(volume);
    return e;
}

static enum exit_code volume_format_run(struct cli *cli, int argc, char *argv[])
{
    const char *dir[1], *segment_text = NULL;
    bool allow_buffered = false;
    unsigned words;
    uint64_t segment_bytes = 0;
    const struct flag flags[] = {
        {.name = "--segment-size", .value = "SIZE", .text = &segment_text},
        {.name = "--allow-buffered", .on = &allow_buffered},
    };
    enum exit_code code =
        flags_parse(cli, argc, argv, flags, COUNT_OF(flags), dir, 1, 1, &words, "the directory");
    if (code != EXIT_DONE)
        return code;
    if (segment_text != NULL &&
        (size_parse(bytes_of_string(segment_text), &segment_bytes) != ERR_OK ||
         segment_bytes < MIB(16) || segment_bytes > GIB(16) ||
         (segment_bytes & (segment_bytes - 1)) != 0))
        return cli_fail(cli, EXIT_WRONG_USAGE, "INVALID", "such as 64MiB or 1GiB",
                        "--segment-size %.40s is not a power of two from 16MiB to 16GiB",
                        segment_text);
    struct err_trail trail = {0};
    enum volume_direct direct = allow_buffered ? VOLUME_DIRECT_ANY : VOLUME_DIRECT_REQUIRED;
    enum err e = volume_make(dir[0], segment_bytes, direct, &trail);
    if (e)
        return cli_fail(
            cli, EXIT_REFUSED, err_name(e),
            e == ERR_FILE_EXISTS
                ? "only an empty or absent directory is made a volume; nothing is ever overwritten"
                : NULL,
            "%s", err_trail_text(&trail, e));
    if (cli->json)
        printf("{\"formatted\": true}\n");
    else
        printf("%s is a volume now; serve it: sluiced %s\n", dir[0], dir[0]);
    return EXIT_DONE;
}

static enum exit_code volume_run(struct cli *cli, int argc, char *argv[])
{
    static const char *const names[] = {"format", "status"};
    switch (subcommand_find(cli, argc, argv, names, COUNT_OF(names))) {
    case 0:
        return volume_format_run(cli, argc - 1, argv + 1);
    case 1:
        return volume_status_run(cli, argc - 1, argv + 1);
    default:
        return EXIT_WRONG_USAGE;
    }
}

const struct command cmd_volume = {
    .name = "volume",
    .summary = "the volume: format, status",
    .run = volume_run,
    .help = "sluice volume format DIR [--segment-size SIZE] [--allow-buffered]\n"
            "sluice volume status\n"
            "\n"
            "format makes an empty or absent directory a volume; sluiced does that by itself at "
            "its first start,\n"
            "so it is only needed to choose the segment size beforehand. status also works while "
            "no node runs.\n"
            "\n"
            "  sluice volume format /srv/sluice --segment-size 256MiB\n"
            "  sluice --dir /srv/sluice volume status\n",
};
