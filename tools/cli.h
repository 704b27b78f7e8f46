/*
 * sluice, the admin tool: what its commands share. A command is a file with one struct command;
 * sluice.c has the list.
 *
 * A command asks a source for JSON and prints it: a running node over its admin port, or, for what
 * only looks, the volume itself when no node runs. Both say the same (api/admin/describe.h). With
 * --json the JSON is printed as it came, errors too.
 *
 * Exit codes: 0 done; 1 refused or failed; 2 wrong usage; 3 no node to ask; 4 fsck or scrub found
 * something.
 */
#ifndef TOOLS_CLI_H
#define TOOLS_CLI_H

#include <jansson.h>

#include "server/node_files.h"
#include "storage/volume.h"

enum exit_code {
    EXIT_DONE = 0,
    EXIT_REFUSED = 1,
    EXIT_WRONG_USAGE = 2,
    EXIT_NO_NODE = 3,
    EXIT_FOUND = 4
};

struct cli {
    char dir[NODE_PATH_MAX]; /* of the node; empty when none is known */
    /* "--dir", "SLUICE_DIR" or where the last node started is noted; for messages. */
    const char *dir_from;
    const char *admin;      /* --admin, or NULL */
    const char *token_file; /* --token-file, or NULL */
    bool json;
    const struct command *command; /* running */
};

struct command {
    const char *name, *summary;
    /* argv[0] is the command's name. */
    enum exit_code (*run)(struct cli *cli, int argc, char *argv[]);
    const char *help; /* usage, meaning, examples */
};

extern const struct command cmd_key, cmd_status, cmd_volume, cmd_extents, cmd_object, cmd_bucket,
    cmd_explain, cmd_fsck, cmd_doctor, cmd_bench;
extern const struct command cmd_tls, cmd_cluster, cmd_peers, cmd_replication, cmd_scrub;

/* ---- flags of one command (flags.c) ---- */
struct flag {
    const char *name;  /* "--segment" */
    const char *value; /* what follows, for people: "N"; NULL: a switch */
    const char **text; /* set to what follows */
    bool *on;          /* set for a switch */
    const char **many; /* a flag that may come several times: each is put here, at most many_max */
    unsigned many_max, *many_count;
};
/*
 * Sorts argv[1..] into flags and words. EXIT_DONE, or EXIT_WRONG_USAGE after saying what is wrong.
 * `words` must have room for words_max; words_min..words_max of them must come; `usage` names them:
 * "BUCKET/KEY".
 */
enum exit_code flags_parse(struct cli *cli, int argc, char *argv[], const struct flag *flags,
                           size_t flag_count, const char *words[], unsigned words_min,
                           unsigned words_max, unsigned *ret_words, const char *usage);
/* A whole number below 2^32 given to a flag; text NULL keeps *value. */
enum exit_code flag_u32(struct cli *cli, const char *name, const char *text, uint32_t *value);
/* The subcommand argv[1] names, by its position in names[]; or -1 after saying what is wrong. */
int subcommand_find(struct cli *cli, int argc, char *argv[], const char *const names[],
                    size_t count);

/* ---- saying (print.c) ---- */
/* One error in the form asked for. hint may be NULL. Returns `code`, so that it ends a command. */
enum exit_code cli_fail(const struct cli *cli, enum exit_code code, const char *error,
                        const char *hint, const char *format, ...) PRINTF_LIKE(5, 6);
void print_json(const json_t *json);
void print_size(uint64_t bytes, char out[64]);  /* "1.2 GiB (1,288,490,189 B)" */
void print_count(uint64_t value, char out[32]); /* "1,288,490,189" */
/* The name, then the value, aligned. */
void print_field(const char *name, const char *format, ...) PRINTF_LIKE(2, 3);
/* "" when absent; name_hex when the bytes were no text. */
const char *json_text(const json_t *object, const char *name);
uint64_t json_number(const json_t *object, const char *name);

/* Rows of text in aligned columns. Column names that begin with '>' are flush right. */
struct table;
struct table *table_open(const char *const columns[], size_t count);
/* Cells separated by tabs. */
void table_add(struct table *table, const char *format, ...) PRINTF_LIKE(2, 3);
void table_print(struct table *table); /* and frees it */

/* ---- asking (client.c, source.c) ---- */
/* The admin port. EXIT_DONE with *ret_reply (owned), or another code after saying what is wrong.
 * body may be NULL. */
enum exit_code client_call(struct cli *cli, const char *method, const char *path,
                           const json_t *body, json_t **ret_reply) MUST_USE;
/* Whether a node seems to run on cli->dir: its endpoint file is there and the port in it
 * answers. */
bool client_node_runs(const struct cli *cli);
/* %-encodes everything but letters, digits and -._~; the caller frees. NULL: no memory. */
char *client_escape(const char *text, size_t size);

/* What only looks: asked of the running node (path), else of the volume on the disk by
 * describe(). */
typedef enum err source_describe_fn(struct volume *volume, const void *context, json_t **ret_json);
enum exit_code source_ask(struct cli *cli, const char *path, source_describe_fn *describe,
                          const void *context, json_t **ret_json) MUST_USE;
/* "BUCKET/KEY" in two. EXIT_WRONG_USAGE after saying so. */
enum exit_code object_name_split(const struct cli *cli, const char *name, struct bytes *ret_bucket,
                                 struct bytes *ret_key) MUST_USE;

#endif
