/*
 * What a node of a group keeps on its disk besides the log: pg's state and its part of the
 * register, written together by volume_log_save(). Version 2, little-endian:
 *
 *     0 u8 version  1 u8 flags (1: there is a state of pg)  2 u16 runs
 *     4 u32 the node's number
 *     8 config: u64 epoch, u64 term, u64 nonce, u8 primary, u8 in_sync, u8[6] zero
 *    40 u64 synced_term  48 u64 commit  56 u64 log.last  64 u64 log.base
 *    72 the cluster's id (group_peers_options.cluster)
 *    88 runs, each u64 first_psn, u64 term
 *       then the register's part (register_quorum.h), then u64 XXH3-64 of all before
 *
 * Version 1 had no id, and the number not from the beginning: zeros where it is read.
 */
#ifndef REPLICATION_CLUSTER_STATE_H
#define REPLICATION_CLUSTER_STATE_H

#include "replication/pg.h"
#include "replication/register_quorum.h"

struct cluster_state {
    /* Whose promises these are: under another number they would be forgotten, and in another list
     * of nodes they would be about others. */
    uint32_t node;
    uint8_t cluster[16];
    bool has_pg;
    struct pg_durable pg;
    struct quorum_state quorum;
};

#define CLUSTER_STATE_BYTES_MAX (88u + PG_RUNS_MAX * 16u + QUORUM_STATE_BYTES + 8u)
size_t cluster_state_encode(const struct cluster_state *state,
                            uint8_t out[CLUSTER_STATE_BYTES_MAX]);
/* ERR_CORRUPT, ERR_FORMAT_NEWER */
enum err cluster_state_decode(struct bytes in, struct cluster_state *ret_state) MUST_USE;

#endif
