/*
 * Everything that can happen, for a few steps. Three nodes with the product's pg, a register
 * outside, a handful of messages under way: small enough that from a given state all next events
 * are tried, and all after each of those, breadth-first, no state twice. What a random walk of the
 * simulator meets by luck is met here for certain, if it is near enough. A seed leads there: a
 * random walk, from whose end the exploration starts.
 *
 *     explore.c        walks, the search, what is told of a violation
 *     explore_world.c  the world: effects, actions, invariants, the hash of a state
 *
 * After the bounded model checker of the design's study, which explored a model of the protocol;
 * this one runs pg*.c themselves.
 */
#ifndef TESTS_SIM_EXPLORE_H
#define TESTS_SIM_EXPLORE_H

#include "replication/pg_priv.h"

#define EX_NODES    3u
#define EX_RECORDS  12u /* of a log; none is proposed behind it */
#define EX_MESSAGES 10u /* under way; the oldest is lost when there are more */
#define EX_WRITES   8u  /* asked of a disk and not done */
#define EX_ACTIONS  96u /* possible in one state */

enum ex_kind { EX_PG, EX_SWAP, EX_SWAPPED, EX_CONFIG };

struct ex_message {
    enum ex_kind kind;
    uint8_t from, to;
    uint8_t life; /* of the node that asked the register: the answer is for that one */
    struct pg_config config;
    enum pg_swap outcome;
    uint64_t nonce;
    struct pg_message pg;
};

struct ex_record {
    uint64_t id, term;
};

struct ex_write {
    bool is_save;
    uint64_t version, psn;
    struct pg_durable state;
    struct ex_record record;
};

struct ex_node {
    struct world *world;
    uint8_t index, life;
    struct pg pg;
    struct ex_record log[EX_RECORDS + 1];
    bool is_asked[EX_RECORDS + 1];
    uint64_t committed; /* told by pg, to be applied when the action is over */
    bool may_answer;
    struct {
        struct pg_durable state;
        struct ex_record log[EX_RECORDS + 1];
        uint64_t version;
        struct ex_write writes[EX_WRITES];
        unsigned count;
    } disk;
};

/* Copied as a whole; node->world and pg.options.context point into it and are set right by the
 * copy. */
struct world {
    uint64_t now_ns;
    struct ex_node nodes[EX_NODES];
    struct ex_message messages[EX_MESSAGES]; /* oldest first */
    unsigned message_count;
    struct pg_config present;
    unsigned proposals, crashes, copies, doubts, resigns; /* so far */
    uint64_t committed[EX_RECORDS + 1], committed_to, acked_to, read_to;
    char violation[160];
};

enum ex_action_kind {
    EX_DELIVER,      /* message `number` */
    EX_DELIVER_COPY, /* and it may come again */
    EX_SYNC,         /* the node's disk does what it was asked */
    EX_TICK,
    EX_PASS_LITTLE, /* time, for all: until a beacon is due, */
    EX_PASS_LONG,   /* or until no lease and no promise holds any more */
    EX_PROPOSE,
    EX_CRASH,      /* and restart; what the disk had not done is lost, */
    EX_CRASH_LATE, /* or just done */
    EX_DOUBT,      /* the node gives up waiting for its swap's answer */
    EX_RESIGN,     /* the node is told that its disk takes nothing, */
    EX_STAND,      /* and that it does again */
};

struct ex_action {
    uint8_t kind, number;
};

/* How often things may happen on one way. */
struct ex_limits {
    unsigned proposals, crashes, copies, doubts, resigns;
};

void world_init(struct world *world);
void world_copy(struct world *to, const struct world *from);
unsigned world_actions(const struct world *world, const struct ex_limits *limits,
                       struct ex_action ret_actions[EX_ACTIONS]);
void world_act(struct world *world, struct ex_action action); /* and looks at the invariants */
uint64_t world_hash(const struct world *world);
void world_tell(const struct world *world, struct ex_action action, char *out, size_t size);

/* The command line's `--explore`: true when nothing was violated. */
struct explored {
    uint64_t seed, starts, states, acked;
    unsigned depth_min, depth_max; /* steps behind a start within which nothing was left out */
    char violation[200];
};
bool explore(uint64_t first_seed, double seconds, bool is_told, struct explored *ret_explored);

#endif
