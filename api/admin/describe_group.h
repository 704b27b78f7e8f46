/*
 * What there is to say about the group of nodes this one belongs to, as JSON. Everything returned
 * is a new reference; NULL when memory ran out. What is not known is null, and never a number that
 * looks like one.
 */
#ifndef API_ADMIN_DESCRIBE_GROUP_H
#define API_ADMIN_DESCRIBE_GROUP_H

#include <jansson.h>

#include "replication/group.h"

/* {"node", "role", "primary", ..., "log": {...}, "transport": {...}, "nodes": [...]} */
json_t *describe_replication(const struct group_status *status);
/* {"node", "transport": {...}, "peers": [...]}: the other nodes, and what went to and came from
 * them. */
json_t *describe_peers(const struct group_status *status);

#endif
