/*
 * sluiced's command line. Parsing is pure: it says what was asked for, and main() does it.
 *
 *     sluiced DIR [--s3 ADDR:PORT] [--admin ADDR:PORT] [--config FILE] [--allow-buffered]
 *                 [--set SECTION.KEY=VALUE]
 *     sluiced --print-config | --check-config | --version | --help
 */
#ifndef SERVER_ARGS_H
#define SERVER_ARGS_H

#include "server/config.h"

enum args_action { ARGS_SERVE, ARGS_PRINT_CONFIG, ARGS_CHECK_CONFIG, ARGS_VERSION, ARGS_HELP };

struct args {
    enum args_action action;
    const char *dir;         /* borrowed from argv; NULL when none was named */
    const char *config_file; /* the same */
};

extern const char args_help[];

/*
 * Reads flags, then file and environment, each where it belongs: *config ends up as in effect.
 * ERR_INVALID with one sentence. `variables` as environ(7).
 */
enum err args_parse(int argc, char *const argv[], char *const *variables, struct args *ret_args,
                    struct config *ret_config, struct err_trail *trail) MUST_USE;

/*
 * The flags of a command line that args_parse() took, as a shell takes them from any directory:
 * each behind a blank, names of files made absolute from `here` (not those in what --set sets). So
 * that who finds the node stopped can be told what to type.
 */
void args_flags(int argc, char *const argv[], const char *here, struct buf *out);

#endif
