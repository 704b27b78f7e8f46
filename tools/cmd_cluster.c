#include <libgen.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/cleanup.h"
#include "tools/cli.h"

#define KEY_BYTES 32u

/* As text, so that it can be pasted; the daemon takes any bytes. */
static enum err key_write(const char *path, struct err_trail *trail)
{
    uint8_t drawn[KEY_BYTES];
    char text[2 * KEY_BYTES + 2];
    CLEANUP(free) char *dir_copy = strdup(path), *name_copy = strdup(path);
    if (dir_copy == NULL || name_copy == NULL)
        return ERR_NO_MEMORY;
    rand_fill(rand_system(), drawn, sizeof drawn);
    hex_encode(drawn, sizeof drawn, text);
    text[2 * KEY_BYTES] = '\n';
    enum err e = node_file_write(dirname(dir_copy), basename(name_copy),
                                 bytes_of(text, 2 * KEY_BYTES + 1), 0600, NODE_FILE_NEW, trail);
    explicit_bzero(drawn, sizeof drawn);
    explicit_bzero(text, sizeof text);
    return e;
}

static enum exit_code cluster_key(struct cli *cli, int argc, char *argv[])
{
    const char *path = NULL;
    unsigned words;
    enum exit_code code = flags_parse(cli, argc, argv, NULL, 0, &path, 1, 1, &words, "FILE");
    if (code != EXIT_DONE)
        return code;
    struct err_trail trail = {0};
    enum err e = key_write(path, &trail);
    if (e)
        return cli_fail(cli, EXIT_REFUSED, err_name(e),
                        e == ERR_FILE_EXISTS ? "a key in use is not replaced: copy that one" : NULL,
                        "%s", err_trail_text(&trail, e));
    if (cli->json)
        printf("{\"key_file\": \"written\"}\n");
    else
        printf(
            "%s: a new cluster key. Copy it to every node (mode 600) and name it in\n"
            "[cluster] key-file. Whoever has it can join the cluster and unseal its access keys.\n",
            path);
    return EXIT_DONE;
}

static enum exit_code cluster_run(struct cli *cli, int argc, char *argv[])
{
    static const char *const names[] = {"key"};
    int which = subcommand_find(cli, argc, argv, names, COUNT_OF(names));
    return which < 0 ? EXIT_WRONG_USAGE : cluster_key(cli, argc - 1, argv + 1);
}

const struct command cmd_cluster = {
    .name = "cluster",
    .summary = "what a cluster of nodes needs: key",
    .run = cluster_run,
    .help = "sluice cluster key FILE\n"
            "\n"
            "Makes the secret by which the nodes of a cluster know each other, 32 random bytes in\n"
            "hex, mode 600. It also seals the access keys that they share: back it up.\n"
            "\n"
            "A cluster is two to seven nodes that hold the same objects. Each has a section like\n"
            "this in its configuration, with a `node` of its own and everything else the same:\n"
            "\n"
            "  [cluster]\n"
            "  name = photos\n"
            "  key-file = /etc/sluice/cluster.key\n"
            "  node = 1\n"
            "  peers = 1=10.0.0.1:9100, 2=10.0.0.2:9100, 3=10.0.0.3:9100\n"
            "\n"
            "  sluice cluster key /etc/sluice/cluster.key\n"
            "  sluiced /srv/sluice --config /etc/sluice/sluice.ini     # on each; they wait for "
            "each other\n"
            "  sluice replication status\n"
            "  deploy/three-nodes up                                   # three on this machine, to "
            "try\n",
};
