/*
 * What the configuration says of the cluster this node belongs to: section [cluster], judged as a
 * whole.
 *
 *     name, node, peers  ->  cluster_plan  who is who, in order of their numbers: the same on every
 *                                          node, however its file is written
 *     key-file           ->  cluster_keys  what the nodes prove themselves with, and what seals the
 *                                          secrets they share
 *
 * Without peers a node serves alone, and nothing here has any effect.
 */
#ifndef SERVER_CLUSTER_H
#define SERVER_CLUSTER_H

#include "server/config.h"

#define CLUSTER_NODES_MAX     7u     /* replication/pg.h: replicas of one group */
#define CLUSTER_NODE_MAX      65535u /* a node's number: small enough to be read aloud */
#define CLUSTER_NAME_MAX      63u
#define CLUSTER_KEY_BYTES_MIN 32u

struct cluster_member {
    uint32_t node;
    struct address address;
};

struct cluster_plan {
    unsigned count;                                   /* 0: this node is alone */
    struct cluster_member members[CLUSTER_NODES_MAX]; /* ascending, this node among them */
    uint32_t self;
    /* Where the others' connections are taken: our own address unless said otherwise. */
    struct address listen;
    uint32_t in_sync_min; /* without so many copies nothing is acknowledged */
};

/* ERR_INVALID with a sentence. Reads no file: what is in key-file is cluster_keys_load()'s to
 * judge. */
enum err cluster_plan_make(const struct config *config, struct cluster_plan *ret_plan,
                           struct err_trail *trail) MUST_USE;

/* The cluster's id, by its name and the numbers of its nodes: the group's messages name a node by
 * its place among them, so whoever has another list must not be heard. Not by the key, so that
 * another cluster and another key are told apart when a node is turned away. Volumes keep it: made
 * in another way, it would refuse them all. */
void cluster_id(const char *name, const struct cluster_plan *plan, uint8_t ret_id[16]);

struct cluster_keys {
    uint8_t peers[32];   /* proves to each other who belongs to the cluster */
    uint8_t secrets[32]; /* seals access keys, on every node alike */
};
/* Any bytes do, at least 32; one line end behind them does not count. ERR_DENIED when others may
 * read the file. */
enum err cluster_keys_load(const char *path, struct cluster_keys *ret_keys,
                           struct err_trail *trail) MUST_USE;

#endif
