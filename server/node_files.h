/*
 * The small files beside the volume in a node's directory, and where `sluice` finds the last node
 * started:
 *
 *     DIR/node.key          32 random bytes, 0600: seals the secrets of the access keys in the
 *                           index. Back it up with the volume
 *     DIR/root-credentials  0600: access_key=, secret_key= of the first start, when they were drawn
 *                           and not given
 *     DIR/admin-token       0600: what the admin port asks for; kept over restarts
 *     DIR/endpoint.json     {"s3", "admin", "pid"} while the node serves
 *     DIR/start-flags       what was typed behind DIR at the last start, quoted for a shell
 *     ~/.config/sluice/node ($XDG_CONFIG_HOME): the directory of the node started last
 *
 * A file appears whole or not at all, also when the machine dies meanwhile: it is written and
 * synced under another name, then given its own. Nothing here replaces a secret that is there.
 */
#ifndef SERVER_NODE_FILES_H
#define SERVER_NODE_FILES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/bytes.h"
#include "base/rand.h"

#define NODE_PATH_MAX       4096
#define NODE_FILE_BYTES_MAX 4096

/* DIR/name; false when that is longer than a path can be. */
bool node_path(char out[NODE_PATH_MAX], const char *dir, const char *name);

/* Puts a file down, synced, with the mode given. NODE_FILE_NEW: ERR_FILE_EXISTS when there is
 * one. */
enum node_file_mode { NODE_FILE_NEW, NODE_FILE_REPLACE };
enum err node_file_write(const char *dir, const char *name, struct bytes content, mode_t mode,
                         enum node_file_mode file_mode, struct err_trail *trail) MUST_USE;
/* ERR_NO_SUCH_FILE without a sentence; ERR_DENIED when a secret's file can be read by others. */
enum err node_file_read(const char *dir, const char *name, char out[NODE_FILE_BYTES_MAX],
                        size_t *ret_size, bool is_secret, struct err_trail *trail) MUST_USE;
/* The same of a secret's file that lies elsewhere. */
enum err secret_file_read(const char *path, char out[NODE_FILE_BYTES_MAX], size_t *ret_size,
                          struct err_trail *trail) MUST_USE;
void node_file_remove(const char *dir, const char *name);

/* Reads node.key. `may_make`: draws one when there is none; else that is ERR_NO_SUCH_FILE with a
 * sentence. */
enum err node_key_load(const char *dir, struct rand *rand, bool may_make, uint8_t ret_key[32],
                       struct err_trail *trail) MUST_USE;

#define ADMIN_TOKEN_BYTES 32u
typedef char admin_token[2 * ADMIN_TOKEN_BYTES + 1]; /* hex and a NUL */
enum err admin_token_load(const char *dir, struct rand *rand, admin_token ret_token,
                          struct err_trail *trail) MUST_USE;

struct root_credentials {
    char access_key[129], secret_key[129];
};
enum err root_credentials_read(const char *dir, struct root_credentials *ret_credentials,
                               struct err_trail *trail) MUST_USE; /* ERR_NO_SUCH_FILE */
enum err root_credentials_write(const char *dir, const struct root_credentials *credentials,
                                enum node_file_mode file_mode, struct err_trail *trail) MUST_USE;

/* Remembers DIR (made absolute) as the last node started. Best effort: a home that cannot be
 * written is no reason not to start. */
void last_node_write(const char *dir);
/* Where it stands, for messages: "/home/me/.config/sluice/node"; false without a home. */
bool last_node_path(char out[NODE_PATH_MAX]);
/* ERR_NO_SUCH_FILE when there is none. */
enum err last_node_read(char ret_dir[NODE_PATH_MAX]) MUST_USE;

#endif
