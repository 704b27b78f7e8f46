#include <stdio.h>
#include <string.h>

#include "api/admin/describe.h"
#include "base/check.h"
#include "base/cleanup.h"
#include "server/units.h"
#include "tools/cli.h"

/* ---- list ---- */

static enum err describe_list(struct volume *volume, const void *context, json_t **ret_json)
{
    return describe_extents(volume, context, ret_json);
}

static void print_extents(const json_t *extents)
{
    static const char *const columns[] = {">SEGMENT", ">UNIT", ">UNITS",      ">FILE OFFSET",
                                          ">BYTES",   "DATA",  ">SHARD.INDEX"};
    struct table *table = table_open(columns, COUNT_OF(columns));
    size_t i;
    json_t *extent;
    json_array_foreach(extents, i, extent)
    {
        char offset[32], bytes[32];
        print_count(json_number(extent, "file_offset"), offset);
        print_count(json_number(extent, "bytes"), bytes);
        table_add(table, "%08llX\t%llu\t%llu\t%s\t%s\t%s\t%llu.%llu",
                  (unsigned long long)json_number(extent, "segment"),
                  (unsigned long long)json_number(extent, "unit"),
                  (unsigned long long)json_number(extent, "units"), offset, bytes,
                  json_text(extent, "data"), (unsigned long long)json_number(extent, "shard"),
                  (unsigned long long)json_number(extent, "index"));
    }
    table_print(table);
}

static enum exit_code extents_list(struct cli *cli, int argc, char *argv[])
{
    const char *segment = NULL, *unit = NULL, *max = NULL;
    struct describe_page page = {.max = 1000};
    unsigned words;
    const struct flag flags[] = {
        {.name = "--segment", .value = "N", .text = &segment},
        {.name = "--unit", .value = "N", .text = &unit},
        {.name = "--max", .value = "N", .text = &max},
    };
    enum exit_code code =
        flags_parse(cli, argc, argv, flags, COUNT_OF(flags), NULL, 0, 0, &words, "");
    if (code == EXIT_DONE)
        code = flag_u32(cli, "--segment", segment, &page.segment);
    if (code == EXIT_DONE)
        code = flag_u32(cli, "--unit", unit, &page.unit);
    if (code == EXIT_DONE)
        code = flag_u32(cli, "--max", max, &page.max);
    if (code != EXIT_DONE)
        return code;
    page.one_segment = segment != NULL && unit == NULL;
    char path[128];
    json_t *reply = NULL;
    snprintf(path, sizeof path, "/v1/extents?segment=%u&unit=%u&max=%u&only=%d", page.segment,
             page.unit, page.max, page.one_segment);
    code = source_ask(cli, path, describe_list, &page, &reply);
    if (code != EXIT_DONE)
        return code;
    if (cli->json)
        print_json(reply);
    else {
        const json_t *next = json_object_get(reply, "next");
        print_extents(json_object_get(reply, "extents"));
        if (json_is_object(next))
            printf("... more: sluice extents list --segment %llu --unit %llu\n",
                   (unsigned long long)json_number(next, "segment"),
                   (unsigned long long)json_number(next, "unit"));
    }
    json_decref(reply);
    return EXIT_DONE;
}

/* ---- map ---- */

static enum err describe_whole_map(struct volume *volume, const void *context, json_t **ret_json)
{
    return describe_map(volume, ret_json);
}

/* Two hex digits a cell, 00 free to ff full. */
static void draw_map(const char *hex, char out[65])
{
    static const char levels[] = ".:-=+*%#"; /* eighths */
    size_t cells = strlen(hex) / 2, i;
    for (i = 0; i < cells && i < 64; i++) {
        uint8_t level = 0;
        if (hex_decode(bytes_of(hex + 2 * i, 2), &level, 1) != ERR_OK)
            break;
        out[i] = level == 0 ? ' ' : levels[level / 32];
    }
    out[i] = '\0';
}

static void print_map(const json_t *segments)
{
    static const char *const columns[] = {"SEGMENT",  "FULL",       ">USED",       ">OF",
                                          ">EXTENTS", ">FREE RUNS", ">LARGEST RUN"};
    struct table *table = table_open(columns, COUNT_OF(columns));
    size_t i;
    json_t *segment;
    json_array_foreach(segments, i, segment)
    {
        char map[65], extents[32], runs[32], largest[32];
        struct buf largest_text = {.data = largest, .capacity = sizeof largest - 1};
        uint64_t unit = json_number(segment, "unit_bytes"), all = json_number(segment, "units");
        uint64_t used = json_number(segment, "units_used");
        draw_map(json_text(segment, "map"), map);
        print_count(json_number(segment, "extents"), extents);
        print_count(json_number(segment, "free_runs"), runs);
        size_print_human(json_number(segment, "largest_free_run") * unit, &largest_text);
        largest[largest_text.size] = '\0';
        table_add(table, "%08llX\t[%-64s]\t%llu%%\t%llu MiB\t%s\t%s\t%s",
                  (unsigned long long)json_number(segment, "segment"), map,
                  (unsigned long long)(all > 0 ? used * 100 / all : 0),
                  (unsigned long long)(all * unit >> 20), extents, runs, largest);
    }
    table_print(table);
    printf("\nEach cell is 1/64 of a segment file: blank is free, then .:-=+*%%# to full.\n");
}

static enum exit_code extents_map(struct cli *cli, int argc, char *argv[])
{
    json_t *reply = NULL;
    unsigned words;
    enum exit_code code = flags_parse(cli, argc, argv, NULL, 0, NULL, 0, 0, &words, "");
    if (code == EXIT_DONE)
        code = source_ask(cli, "/v1/extents/map", describe_whole_map, NULL, &reply);
    if (code != EXIT_DONE)
        return code;
    if (cli->json)
        print_json(reply);
    else
        print_map(json_object_get(reply, "segments"));
    json_decref(reply);
    return EXIT_DONE;
}

/* ---- show ---- */

struct name {
    struct bytes bucket, key;
};

static enum err describe_one(struct volume *volume, const void *context, json_t **ret_json)
{
    const struct name *name = context;
    return describe_object(volume, name->bucket, name->key, DESCRIBE_EXTENTS, ret_json);
}

static enum exit_code extents_show(struct cli *cli, int argc, char *argv[])
{
    const char *text[1];
    struct name name;
    unsigned words;
    enum exit_code code = flags_parse(cli, argc, argv, NULL, 0, text, 1, 1, &words, "BUCKET/KEY");
    if (code == EXIT_DONE)
        code = object_name_split(cli, text[0], &name.bucket, &name.key);
    if (code != EXIT_DONE)
        return code;
    CLEANUP(free) char *bucket = client_escape(name.bucket.data, name.bucket.size);
    CLEANUP(free) char *key = client_escape(name.key.data, name.key.size);
    CLEANUP(free) char *path = NULL;
    json_t *object = NULL;
    if (bucket == NULL || key == NULL ||
        asprintf(&path, "/v1/extents/show?bucket=%s&key=%s", bucket, key) < 0)
        return cli_fail(cli, EXIT_REFUSED, "NO_MEMORY", NULL, "out of memory");
    code = source_ask(cli, path, describe_one, &name, &object);
    if (code != EXIT_DONE)
        return code;
    if (cli->json)
        print_json(object);
    else {
        char size[64];
        print_size(json_number(object, "size"), size);
        printf(
            "%s/%s: %s in %llu extent%s%s\n", json_text(object, "bucket"), json_text(object, "key"),
            size, (unsigned long long)json_number(object, "extent_count"),
            json_number(object, "extent_count") == 1 ? "" : "s",
            json_is_true(json_object_get(object, "inline")) ? ": its bytes lie in the index" : "");
        if (json_array_size(json_object_get(object, "extents")) > 0)
            print_extents(json_object_get(object, "extents"));
    }
    json_decref(object);
    return EXIT_DONE;
}

static enum exit_code extents_run(struct cli *cli, int argc, char *argv[])
{
    static const char *const names[] = {"list", "map", "show"};
    switch (subcommand_find(cli, argc, argv, names, COUNT_OF(names))) {
    case 0:
        return extents_list(cli, argc - 1, argv + 1);
    case 1:
        return extents_map(cli, argc - 1, argv + 1);
    case 2:
        return extents_show(cli, argc - 1, argv + 1);
    default:
        return EXIT_WRONG_USAGE;
    }
}

const struct command cmd_extents = {
    .name = "extents",
    .summary = "where bytes lie on the disk: list, map, show",
    .run = extents_run,
    .help = "sluice extents list [--segment N] [--unit N] [--max N]\n"
            "sluice extents map\n"
            "sluice extents show BUCKET/KEY\n"
            "\n"
            "An extent is a run of 4 KiB units in a segment file (DIR/seg/<segment in hex>) that "
            "holds bytes of\n"
            "some data. list walks them in the order they lie on the disk, map draws how full each "
            "segment is,\n"
            "show tells where one object lies: `dd if=DIR/seg/00000000 skip=FILE_OFFSET "
            "iflag=skip_bytes` reads\n"
            "it. All of it also works while no node runs.\n"
            "\n"
            "  sluice extents map\n"
            "  sluice extents show photos/2024/cat.jpg\n"
            "  sluice extents list --segment 3 --json\n",
};
