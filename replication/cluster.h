/*
 * A node among peers: the driver around the step machine (pg.h). It owns the links, the
 * configuration register, the records on their way and the bodies that have no name yet, and does
 * what pg asks for on the volume and the wire. Everything runs on one loop, on the group's own
 * thread; what other threads ask comes by message.
 *
 *     api, worker loops        the group's loop                                           peers
 *
 *     cluster_write  --slot--> own disk
 *                    \-------> cluster_body.c     --chunk---------------> incoming -> their disk
 *     cluster_propose -------> cluster_propose.c  --PROPOSE, when another is primary--> primary
 *                              pg_propose ------> cluster_log.c: volume_log_append
 *                                             \-> cluster_peers.c  --APPEND--------> append, ACK
 *     mutation.done  <-------- cluster_apply.c: volume_commit when all in sync have it
 *     cluster_fresh ---------> cluster_read.c     --READ_INDEX, when another is primary--> primary
 *
 *     cluster.c         life, time, the effects of pg, what comes in
 *     cluster_join.c    the register: founding, swaps, whose disk is whose
 *     cluster_status.c  what people are told
 */
#ifndef REPLICATION_CLUSTER_H
#define REPLICATION_CLUSTER_H

#include "replication/group.h"

struct cluster;

struct cluster_options {
    struct group *group;         /* for asks; borrowed */
    struct volume *volume;       /* borrowed */
    struct work_pool *work_pool; /* borrowed */
    struct rand *rand;           /* borrowed */
    const struct group_peers_options *peers;
};
/* B. Listens and calls the others when it returns. */
enum err cluster_open(const struct cluster_options *options, struct cluster **ret_cluster,
                      struct err_trail *trail) MUST_USE;
/* B. What is under way ends with ERR_CLOSED. NULL does nothing. */
void cluster_close(struct cluster *cluster);

/* What it takes at most, besides the arena, with so many other nodes. */
uint64_t cluster_memory_bytes(unsigned peers);

/* ---- any thread ---- */
/* ERR_BUSY: this node's disk hangs, and what is given to it would not come back. */
enum err cluster_judge_disk(struct cluster *cluster, struct err_trail *trail) MUST_USE;
/* As body_write(), and the same slot goes to every peer that is there: written() when the bytes may
 * be reused on all these ways. */
enum err cluster_write(struct cluster *cluster, struct body *body, struct body_write *write,
                       uint8_t *data, uint32_t size, bool last, body_written_fn *written,
                       struct err_trail *trail) MUST_USE;
void cluster_body_close(struct cluster *cluster, struct body *body);
void cluster_propose(struct cluster *cluster, struct mutation *m);
bool cluster_is_fresh(const struct cluster *cluster);
void cluster_fresh(struct cluster *cluster, struct group_ask *ask);
void cluster_repair(struct cluster *cluster, struct group_repair *repair);
void cluster_status(struct cluster *cluster, struct group_status *ret_status);
enum err cluster_wait_ready(struct cluster *cluster, uint64_t timeout_ns,
                            struct err_trail *trail) MUST_USE;
void cluster_watch_settings(struct cluster *cluster, struct bytes prefix,
                            group_setting_changed_fn *changed, void *context);

#endif
