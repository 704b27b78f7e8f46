#include <stdio.h>

#include "base/check.h"
#include "base/cleanup.h"
#include "tools/cli.h"

/* Sentences in lines of about this width. */
#define LINE_WIDTH 76u

static void print_wrapped(const char *name, const char *text)
{
    while (*text != '\0') {
        size_t size = strlen(text);
        if (size > LINE_WIDTH) {
            size = LINE_WIDTH;
            while (size > 0 && text[size] != ' ')
                size--;
            if (size == 0)
                size = LINE_WIDTH;
        }
        print_field(name, "%.*s", (int)size, text);
        name = "";
        text += size;
        text += *text == ' ';
    }
}

static void print_explanation(const json_t *object)
{
    const json_t *get = json_object_get(object, "get");
    const json_t *workers = json_object_get(get, "workers");
    char size[64], resident[64];
    size_t ready = 0, i;
    json_t *worker;
    print_size(json_number(object, "size"), size);
    print_size(json_number(object, "resident_bytes"), resident);
    json_array_foreach((json_t *)workers, i, worker) ready +=
        json_is_true(json_object_get(worker, "checked_and_resident"));

    print_field("object", "%s/%s", json_text(object, "bucket"), json_text(object, "key"));
    print_field("size", "%s", size);
    if (json_is_true(json_object_get(object, "inline"))) {
        print_field("stored", "in the index");
    } else {
        uint64_t extents = json_number(object, "extent_count");
        print_field("stored", "in %llu extent%s", (unsigned long long)extents,
                    extents == 1 ? "" : "s");
        print_field("in page cache", "%s", resident);
        if (!json_is_true(json_object_get(get, "hot")))
            print_field("checked there", "its beginning, by %zu of %zu workers", ready,
                        json_array_size(workers));
        print_field("read lately", "%s",
                    json_is_true(json_object_get(get, "hot"))
                        ? "often: the next read is worth the page cache"
                        : "rarely: the next read is not worth the page cache");
    }
    print_field("asked for", "path %s, required %s, verify %s", json_text(get, "get_path"),
                json_text(get, "require_path"), json_text(get, "verify"));
    print_field("path", "%s", json_text(get, "path"));
    print_wrapped("why", json_text(get, "why"));
}

static enum exit_code explain_run(struct cli *cli, int argc, char *argv[])
{
    const char *text[1];
    unsigned words;
    struct bytes bucket_name, key_name;
    enum exit_code code = flags_parse(cli, argc, argv, NULL, 0, text, 1, 1, &words, "BUCKET/KEY");
    if (code == EXIT_DONE)
        code = object_name_split(cli, text[0], &bucket_name, &key_name);
    if (code != EXIT_DONE)
        return code;
    CLEANUP(free) char *bucket = client_escape(bucket_name.data, bucket_name.size);
    CLEANUP(free) char *key = client_escape(key_name.data, key_name.size);
    CLEANUP(free) char *path = NULL;
    json_t *object = NULL;
    if (bucket == NULL || key == NULL ||
        asprintf(&path, "/v1/explain?bucket=%s&key=%s", bucket, key) < 0)
        return cli_fail(cli, EXIT_REFUSED, "NO_MEMORY", NULL, "out of memory");
    code = client_call(cli, "GET", path, NULL, &object);
    if (code != EXIT_DONE)
        return code;
    if (cli->json)
        print_json(object);
    else
        print_explanation(object);
    json_decref(object);
    return EXIT_DONE;
}

const struct command cmd_explain = {
    .name = "explain",
    .summary = "which data path a GET of an object would take now, and why",
    .run = explain_run,
    .help =
        "sluice explain BUCKET/KEY\n"
        "\n"
        "Asks the running node how it would send the object if somebody asked for it now: where "
        "its bytes are,\n"
        "what the settings of the node and the bucket say, which path that makes, how often the "
        "CPU copies the\n"
        "bytes on it, and why. Nothing is read or changed by asking.\n"
        "\n"
        "  sluice explain photos/2024/cat.jpg\n"
        "  sluice --json explain photos/2024/cat.jpg\n",
};
