/* Between group.c and the driver of a node among peers (cluster.h). */
#ifndef REPLICATION_GROUP_PRIV_H
#define REPLICATION_GROUP_PRIV_H

#include "replication/group.h"

void group__answer(struct mutation *m);   /* its outcome is in it: done() on its loop */
void group__asked(struct group_ask *ask); /* likewise */

#endif
