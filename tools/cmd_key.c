#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api/s3/keyring.h"
#include "base/check.h"
#include "base/cleanup.h"
#include "tools/cli.h"

/* ---- create ---- */

static enum exit_code read_secret(struct cli *cli, char out[SECRET_BYTES_MAX + 2])
{
    if (isatty(STDIN_FILENO))
        fputs("secret: ", stderr);
    if (fgets(out, SECRET_BYTES_MAX + 2, stdin) == NULL)
        out[0] = '\0';
    size_t size = strcspn(out, "\r\n");
    bool is_whole = out[size] != '\0' || feof(stdin);
    out[size] = '\0';
    if (!is_whole || size < SECRET_BYTES_MIN)
        return cli_fail(cli, EXIT_WRONG_USAGE, "INVALID",
                        "printf %s \"$SECRET\" | sluice key create --access-key ID --secret-stdin",
                        "standard input does not hold a secret of %u to %u characters",
                        SECRET_BYTES_MIN, SECRET_BYTES_MAX);
    return EXIT_DONE;
}

/* "photos:rw" */
static json_t *grant_parse(const char *text)
{
    struct bytes permissions = bytes_of_string(text), bucket = bytes_split(&permissions, ':');
    if (bucket.size == 0 || permissions.size == 0)
        return NULL;
    return json_pack("{s:s%, s:s%}", "bucket", bucket.data, bucket.size, "permissions",
                     permissions.data, permissions.size);
}

static void print_key(const json_t *key)
{
    print_field("access key", "%s", json_text(key, "access_key"));
    if (json_text(key, "secret_key")[0] != '\0')
        print_field("secret key", "%s   (shown this once)", json_text(key, "secret_key"));
    if (json_text(key, "name")[0] != '\0')
        print_field("name", "%s", json_text(key, "name"));
    print_field("acts for", "%s%s%s", json_text(key, "owner"),
                json_text(key, "display_name")[0] != '\0' ? ", " : "",
                json_text(key, "display_name"));
}

/* "everything", "its owner's buckets", "photos:rw logs:r" */
static void rights_print(const json_t *key, char *out, size_t out_size)
{
    const json_t *grants = json_object_get(key, "grants");
    struct buf text = {.data = out, .capacity = out_size - 1};
    if (json_is_true(json_object_get(key, "root")))
        buf_put_string(&text, "everything");
    else if (json_array_size(grants) == 0)
        buf_put_string(&text, "its owner's buckets");
    for (size_t i = 0; i < json_array_size(grants); i++) {
        const json_t *grant = json_array_get(grants, i);
        buf_printf(&text, "%s%s:%s", i > 0 ? " " : "", json_text(grant, "bucket"),
                   json_text(grant, "permissions"));
    }
    out[text.size] = '\0';
}

static void set_given(json_t *body, const char *name, const char *value)
{
    if (value != NULL)
        json_object_set_new(body, name, json_string(value));
}

static enum exit_code key_create(struct cli *cli, int argc, char *argv[])
{
    const char *name = NULL, *id = NULL, *owner = NULL, *display = NULL, *buckets[KEY_GRANTS_MAX];
    bool secret_stdin = false, root = false;
    unsigned bucket_count = 0, words = 0;
    const struct flag flags[] = {
        {.name = "--name", .value = "NAME", .text = &name},
        {.name = "--access-key", .value = "ID", .text = &id},
        {.name = "--secret-stdin", .on = &secret_stdin},
        {.name = "--owner", .value = "ID", .text = &owner},
        {.name = "--display-name", .value = "NAME", .text = &display},
        {.name = "--bucket",
         .value = "NAME:PERMISSIONS",
         .many = buckets,
         .many_max = KEY_GRANTS_MAX,
         .many_count = &bucket_count},
        {.name = "--root", .on = &root},
    };
    char secret[SECRET_BYTES_MAX + 2] = "";
    enum exit_code code =
        flags_parse(cli, argc, argv, flags, COUNT_OF(flags), NULL, 0, 0, &words, "");
    if (code == EXIT_DONE && (id != NULL) != secret_stdin)
        code = cli_fail(cli, EXIT_WRONG_USAGE, "INVALID",
                        "printf %s \"$SECRET\" | sluice key create --access-key ID --secret-stdin",
                        "--access-key and --secret-stdin go together");
    if (code == EXIT_DONE && secret_stdin)
        code = read_secret(cli, secret);
    if (code != EXIT_DONE)
        return code;

    json_t *body = json_object(), *grants = json_array(), *key = NULL;
    set_given(body, "name", name);
    set_given(body, "access_key", id);
    set_given(body, "secret_key", secret_stdin ? secret : NULL);
    set_given(body, "owner", owner);
    set_given(body, "display_name", display);
    if (root)
        json_object_set_new(body, "root", json_true());
    for (unsigned i = 0; i < bucket_count && code == EXIT_DONE; i++) {
        json_t *grant = grant_parse(buckets[i]);
        if (grant == NULL)
            code = cli_fail(cli, EXIT_WRONG_USAGE, "INVALID",
                            "r reads, w writes, o owns: --bucket photos:rw",
                            "'%.80s' is not BUCKET:PERMISSIONS", buckets[i]);
        else
            json_array_append_new(grants, grant);
    }
    json_object_set_new(body, "grants", grants);
    if (code == EXIT_DONE)
        code = client_call(cli, "POST", "/v1/keys", body, &key);
    explicit_bzero(secret, sizeof secret);
    json_decref(body);
    if (code != EXIT_DONE)
        return code;
    if (cli->json)
        print_json(key);
    else {
        char rights[2048];
        print_key(key);
        rights_print(key, rights, sizeof rights);
        print_field("may use", "%s", rights);
    }
    json_decref(key);
    return EXIT_DONE;
}

/* ---- list, rm ---- */

static enum exit_code key_list(struct cli *cli, int argc, char *argv[])
{
    static const char *const columns[] = {"ACCESS KEY", "NAME", "MAY USE", "ACTS FOR", "CREATED"};
    json_t *reply = NULL;
    unsigned words;
    enum exit_code code = flags_parse(cli, argc, argv, NULL, 0, NULL, 0, 0, &words, "");
    if (code == EXIT_DONE)
        code = client_call(cli, "GET", "/v1/keys", NULL, &reply);
    if (code != EXIT_DONE)
        return code;
    if (cli->json)
        print_json(reply);
    else {
        struct table *table = table_open(columns, COUNT_OF(columns));
        size_t i;
        json_t *key;
        json_array_foreach(json_object_get(reply, "keys"), i, key)
        {
            char rights[2048];
            const char *display = json_text(key, "display_name"), *owner = json_text(key, "owner");
            rights_print(key, rights, sizeof rights);
            table_add(table, "%s\t%s\t%s\t%.16s%s\t%.19s", json_text(key, "access_key"),
                      json_text(key, "name"), rights, display[0] != '\0' ? display : owner,
                      display[0] == '\0' && strlen(owner) > 16 ? "..." : "",
                      json_text(key, "created"));
        }
        table_print(table);
    }
    json_decref(reply);
    return EXIT_DONE;
}

static enum exit_code key_remove(struct cli *cli, int argc, char *argv[])
{
    const char *id[1];
    unsigned words;
    enum exit_code code =
        flags_parse(cli, argc, argv, NULL, 0, id, 1, 1, &words, "the access key's ID");
    if (code != EXIT_DONE)
        return code;
    CLEANUP(free) char *escaped = client_escape(id[0], strlen(id[0]));
    char path[512];
    json_t *reply = NULL;
    if (escaped == NULL || snprintf(path, sizeof path, "/v1/keys/%s", escaped) >= (int)sizeof path)
        return cli_fail(cli, EXIT_WRONG_USAGE, "INVALID", NULL, "that is no access key's ID");
    code = client_call(cli, "DELETE", path, NULL, &reply);
    if (code != EXIT_DONE)
        return code;
    if (cli->json)
        print_json(reply);
    else
        printf("removed %s: requests signed with it are refused from now on\n", id[0]);
    json_decref(reply);
    return EXIT_DONE;
}

static enum exit_code key_run(struct cli *cli, int argc, char *argv[])
{
    static const char *const names[] = {"create", "list", "rm"};
    switch (subcommand_find(cli, argc, argv, names, COUNT_OF(names))) {
    case 0:
        return key_create(cli, argc - 1, argv + 1);
    case 1:
        return key_list(cli, argc - 1, argv + 1);
    case 2:
        return key_remove(cli, argc - 1, argv + 1);
    default:
        return EXIT_WRONG_USAGE;
    }
}

const struct command cmd_key = {
    .name = "key",
    .summary = "access keys: create, list, rm",
    .run = key_run,
    .help = "sluice key create [--name NAME] [--bucket NAME:PERMISSIONS]... [--owner ID] "
            "[--display-name NAME]\n"
            "                  [--access-key ID --secret-stdin] [--root]\n"
            "sluice key list\n"
            "sluice key rm ID\n"
            "\n"
            "A key signs requests and acts for an owner: buckets belong to the owner that made "
            "them, and all of\n"
            "an owner's keys may use them. A new key gets an owner of its own unless --owner names "
            "one. With\n"
            "--bucket the key may use just those buckets, whoever owns them, and those "
            "permissions: r reads,\n"
            "w writes, o makes and deletes the bucket. A root key may do everything. The secret is "
            "shown once\n"
            "and kept sealed.\n"
            "\n"
            "  sluice key create --name backup --bucket backups:rw\n"
            "  sluice key create --name alice --owner alice --display-name \"Alice Liddell\"\n"
            "  printf %s \"$SECRET\" | sluice key create --access-key AKIAOLDID --secret-stdin\n"
            "                                              bring a key along from another store\n"
            "  sluice key list\n"
            "  sluice key rm SLUIABCDEFGHIJKLMNOP\n",
};
