#include <stdio.h>

#include "api/admin/describe.h"
#include "base/check.h"
#include "base/cleanup.h"
#include "tools/cli.h"

struct name {
    struct bytes bucket, key;
};

static enum err describe(struct volume *volume, const void *context, json_t **ret_json)
{
    const struct name *name = context;
    return describe_object(volume, name->bucket, name->key, DESCRIBE_RECORD, ret_json);
}

static void print_object(const json_t *object)
{
    char size[64], resident[64];
    uint64_t parts = json_number(object, "parts"), extents = json_number(object, "extent_count");
    const json_t *checksum = json_object_get(object, "checksum");
    print_size(json_number(object, "size"), size);
    print_size(json_number(object, "resident_bytes"), resident);

    print_field("bucket", "%s, owned by %s", json_text(object, "bucket"),
                json_text(object, "owner"));
    print_field("key", "%s", json_text(object, "key"));
    print_field("size", "%s", size);
    print_field("etag", "%s", json_text(object, "etag"));
    if (json_is_object(checksum))
        print_field("checksum", "%s %s (%s)", json_text(checksum, "algorithm"),
                    json_text(checksum, "value"), json_text(checksum, "type"));
    print_field("modified", "%s by change %llu", json_text(object, "modified"),
                (unsigned long long)json_number(object, "psn"));
    if (parts > 0)
        print_field("parts", "%llu", (unsigned long long)parts);
    if (json_is_true(json_object_get(object, "inline")))
        print_field("stored", "in the index");
    else
        print_field("stored", "in %llu extent%s (sluice extents show %s/%s)",
                    (unsigned long long)extents, extents == 1 ? "" : "s",
                    json_text(object, "bucket"), json_text(object, "key"));
    if (!json_is_true(json_object_get(object, "inline")))
        print_field("in page cache", "%s", resident);
    print_field("metadata", "%llu B", (unsigned long long)json_number(object, "metadata_bytes"));
}

static enum exit_code object_stat(struct cli *cli, int argc, char *argv[])
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
        asprintf(&path, "/v1/object?bucket=%s&key=%s", bucket, key) < 0)
        return cli_fail(cli, EXIT_REFUSED, "NO_MEMORY", NULL, "out of memory");
    code = source_ask(cli, path, describe, &name, &object);
    if (code != EXIT_DONE)
        return code;
    if (cli->json)
        print_json(object);
    else
        print_object(object);
    json_decref(object);
    return EXIT_DONE;
}

static enum exit_code object_run(struct cli *cli, int argc, char *argv[])
{
    static const char *const names[] = {"stat"};
    if (subcommand_find(cli, argc, argv, names, COUNT_OF(names)) < 0)
        return EXIT_WRONG_USAGE;
    return object_stat(cli, argc - 1, argv + 1);
}

const struct command cmd_object = {
    .name = "object",
    .summary = "one object's record: stat",
    .run = object_run,
    .help = "sluice object stat BUCKET/KEY\n"
            "\n"
            "Size, ETag, checksum, how it is stored, and how much of it is in the page cache. Also "
            "works while\n"
            "no node runs.\n"
            "\n"
            "  sluice object stat photos/2024/cat.jpg\n",
};
