#include <stdio.h>
#include <string.h>

#include "api/s3/bucket_settings.h"
#include "base/check.h"
#include "base/cleanup.h"
#include "tools/cli.h"

#define SETTINGS_MAX 16u /* words of one `set` */

static void print_bucket(const json_t *bucket)
{
    const json_t *settings = json_object_get(bucket, "settings");
    print_field("bucket", "%s, owned by %s", json_text(bucket, "bucket"),
                json_text(bucket, "owner"));
    print_field("region", "%s", json_text(bucket, "region"));
    print_field("created", "%s", json_text(bucket, "created"));
#define X(field, name, values) print_field(name, "%s", json_text(settings, name));
    BUCKET_SETTINGS(X)
#undef X
}

static enum exit_code call(struct cli *cli, const char *method, const char *bucket,
                           const json_t *body)
{
    CLEANUP(free) char *name = client_escape(bucket, strlen(bucket)), *path = NULL;
    json_t *reply = NULL;
    if (name == NULL || asprintf(&path, "/v1/bucket?bucket=%s", name) < 0)
        return cli_fail(cli, EXIT_REFUSED, "NO_MEMORY", NULL, "out of memory");
    enum exit_code code = client_call(cli, method, path, body, &reply);
    if (code != EXIT_DONE)
        return code;
    if (cli->json)
        print_json(reply);
    else
        print_bucket(reply);
    json_decref(reply);
    return EXIT_DONE;
}

static enum exit_code bucket_show(struct cli *cli, int argc, char *argv[])
{
    const char *text[1];
    unsigned words;
    enum exit_code code = flags_parse(cli, argc, argv, NULL, 0, text, 1, 1, &words, "BUCKET");
    return code == EXIT_DONE ? call(cli, "GET", text[0], NULL) : code;
}

static enum exit_code bucket_set(struct cli *cli, int argc, char *argv[])
{
    const char *text[1 + SETTINGS_MAX];
    unsigned words;
    enum exit_code code = flags_parse(cli, argc, argv, NULL, 0, text, 2, COUNT_OF(text), &words,
                                      "BUCKET SETTING=VALUE...");
    if (code != EXIT_DONE)
        return code;
    json_t *body = json_object();
    for (unsigned i = 1; i < words && code == EXIT_DONE; i++) {
        struct bytes value = bytes_of_string(text[i]), name = bytes_split(&value, '=');
        if (name.size == 0 || value.size == 0)
            code = cli_fail(cli, EXIT_WRONG_USAGE, "INVALID", "such as get-path=splice",
                            "'%.80s' is not SETTING=VALUE", text[i]);
        else
            json_object_setn_new_nocheck(body, name.data, name.size,
                                         json_stringn(value.data, value.size));
    }
    if (code == EXIT_DONE)
        code = call(cli, "PUT", text[0], body);
    json_decref(body);
    return code;
}

static enum exit_code bucket_run(struct cli *cli, int argc, char *argv[])
{
    static const char *const names[] = {"show", "set"};
    switch (subcommand_find(cli, argc, argv, names, COUNT_OF(names))) {
    case 0:
        return bucket_show(cli, argc - 1, argv + 1);
    case 1:
        return bucket_set(cli, argc - 1, argv + 1);
    default:
        return EXIT_WRONG_USAGE;
    }
}

const struct command cmd_bucket = {
    .name = "bucket",
    .summary = "a bucket and what is set for it: show, set",
    .run = bucket_run,
    .help = "sluice bucket show BUCKET\n"
            "sluice bucket set BUCKET SETTING=VALUE...\n"
            "\n"
            "get-path       how object bytes get to the socket: auto, sendfile, splice,\n"
            "               ring-splice, direct, mmap or copy. "
            "               Taken where it is possible; where it is not, another one serves and is "
            "counted.\n"
            "require-path   none, zerocopy (any path on which the CPU copies nothing) or a path's "
            "name: a GET\n"
            "               is served so or refused, 412 when it can never be and 503 when it "
            "cannot now.\n"
            "verify         when bytes are held against their checksums before they are sent: off, "
            "cold,\n"
            "               sample:N or always; sluiced --print-config explains them.\n"
            "\n"
            "The value default takes a setting back: the node's configuration holds then. What a "
            "request asks for\n"
            "in x-sluice-path or x-sluice-require-path comes before the bucket's setting.\n"
            "\n"
            "  sluice bucket show videos\n"
            "  sluice bucket set videos get-path=splice verify=sample:1000\n"
            "  sluice bucket set videos get-path=default\n",
};
