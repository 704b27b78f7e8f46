/* Steps of the table in start.c that stand in files of their own. */
#ifndef SERVER_START_PRIV_H
#define SERVER_START_PRIV_H

#include <sys/socket.h>

#include "server/start.h"

/* start_ports.c */
#define START_HOW_S3 "--s3 ADDR:PORT"
enum err start__ports(void *context, struct err_trail *trail) MUST_USE;
/* The sentence, and ERR_IN_USE; `how`: to choose another port. */
enum err start__port_in_use(const struct address *address, const char *how,
                            struct err_trail *trail);

/* start_group.c: the cluster as configured, the group, and waiting for it */
enum err start__cluster(void *context, struct err_trail *trail) MUST_USE;
void start__cluster_stop(void *context);
socklen_t start__socket_address(const struct address *address, struct sockaddr_storage *out);
enum err start__whose_volume(void *context, struct err_trail *trail) MUST_USE;
enum err start__group(void *context, struct err_trail *trail) MUST_USE;
void start__group_stop(void *context);
enum err start__wait_for_group(void *context, struct err_trail *trail) MUST_USE;
enum err start__tidy(void *context, struct err_trail *trail) MUST_USE;
/* Whether a step that was told `e` is to be tried again: the group had a primary and has none now.
 * It was waited for then. *ret_err is what to end with otherwise. */
bool start__try_again(struct node *node, enum err e, enum err *ret_err, struct err_trail *trail);

/* start_scrub.c: reads all that is stored, when told to, and repairs it from peers */
enum err start__scrub(void *context, struct err_trail *trail) MUST_USE;
void start__scrub_stop(void *context);

/* start_keys.c: the access keys, and the first of them */
enum err start__keyring(void *context, struct err_trail *trail) MUST_USE;
void start__keyring_stop(void *context);
enum err start__root_key_alone(void *context, struct err_trail *trail) MUST_USE;
enum err start__root_key_shared(void *context, struct err_trail *trail) MUST_USE;

#endif
