#include <stdio.h>
#include <string.h>

#include "api/admin/describe.h"
#include "tools/cli.h"

static enum exit_code ask_disk(struct cli *cli, source_describe_fn *describe, const void *context,
                               json_t **ret_json)
{
    struct volume *volume = NULL;
    struct err_trail trail = {0};
    enum err e = volume_open(&(struct volume_options){.dir = cli->dir,
                                                      .direct = VOLUME_DIRECT_ANY,
                                                      .threads = VOLUME_NO_THREADS,
                                                      .read_only = true},
                             &volume, &trail);
    if (e == ERR_IN_USE)
        return cli_fail(cli, EXIT_REFUSED, err_name(e),
                        "it is starting or stopping: try again in a moment",
                        "%s is in use by a node that does not answer", cli->dir);
    if (e)
        return cli_fail(cli, EXIT_REFUSED, err_name(e), NULL, "%s", err_trail_text(&trail, e));
    e = describe(volume, context, ret_json);
    volume_close(volume);
    if (e)
        return cli_fail(cli, EXIT_REFUSED, err_name(e), NULL, "%s", err_text(e));
    return EXIT_DONE;
}

enum exit_code source_ask(struct cli *cli, const char *path, source_describe_fn *describe,
                          const void *context, json_t **ret_json)
{
    if (cli->admin != NULL || cli->dir[0] == '\0' || client_node_runs(cli))
        return client_call(cli, "GET", path, NULL, ret_json);
    return ask_disk(cli, describe, context, ret_json);
}

enum exit_code object_name_split(const struct cli *cli, const char *name, struct bytes *ret_bucket,
                                 struct bytes *ret_key)
{
    struct bytes key = bytes_of_string(name);
    if (bytes_start_with(key, BYTES("s3://")))
        key = bytes_slice(key, 5, SIZE_MAX);
    struct bytes bucket = bytes_split(&key, '/');
    if (bucket.size == 0 || bucket.size > BUCKET_NAME_BYTES_MAX || key.size == 0 ||
        key.size > KEY_BYTES_MAX)
        return cli_fail(cli, EXIT_WRONG_USAGE, "INVALID", "such as photos/2024/cat.jpg",
                        "'%.80s' is not BUCKET/KEY", name);
    *ret_bucket = bucket;
    *ret_key = key;
    return EXIT_DONE;
}
