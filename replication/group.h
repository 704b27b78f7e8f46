/*
 * A group is the nodes that hold the same objects; the layers above read and change objects only
 * through it. One node alone is a group of one: the same operations, the same ordered mutations,
 * ISR = {self}, no peers and nothing to wait for but its own disk.
 *
 *     api  ->  group_body_* , group_propose()   bytes first (unordered), then one ordered mutation
 *                                               that names them
 *          ->  group_lookup(), read plans       immutable bytes, found by name
 *          ->  group_list() ...                 on a thread that may block
 *
 * The configuration record (epoch, term, primary, in-sync replicas) lives in a register; the
 * `local` register keeps it in the volume's settings and opens a new term at each start. A mutation
 * carries (term, psn): psn grows by one per mutation in the order in which group_propose() accepted
 * them, whichever thread called. A mutation is acknowledged when every in-sync replica has it
 * durable: its receipt says on how many nodes that was.
 *
 * Asynchronous calls follow the ring's promise: the callback runs exactly once, later, on the given
 * loop. Operations are embedded in the caller's request and bounded by it.
 */
#ifndef REPLICATION_GROUP_H
#define REPLICATION_GROUP_H

#include "base/work.h"
#include "replication/pg.h"
#include "replication/transport.h"
#include "storage/object.h"
#include "storage/read_plan.h"
#include "storage/volume.h"

struct group;

/*
 * Nodes that form a group. They are numbered; each is configured with the same list, itself in it.
 * Everything among them happens on one loop, which the group runs on a thread of its own until
 * group_close().
 */
#define GROUP_NODES_MAX PG_NODES_MAX
/* 1.2 GB of rows or so: 70 minutes of 1,000 changes a second, 7 of 10,000. Who was away for longer
 * is filled by a copy. */
#define GROUP_LOG_RECORDS     (4ull << 20)
#define GROUP_DISK_TIMEOUT_NS (10 * NS_PER_SECOND)
struct group_peer {
    uint32_t node; /* its number, > 0 */
    struct sockaddr_storage address;
    socklen_t address_size;
};
struct group_peers_options {
    /* Borrowed; has a share of the arena of its own; nobody runs it but the group. */
    struct loop *loop;
    struct arena *arena; /* borrowed; with a landing area for each other node */
    uint32_t self;       /* this node's number */
    struct group_peer nodes[GROUP_NODES_MAX];
    unsigned node_count;            /* 2..GROUP_NODES_MAX */
    struct sockaddr_storage listen; /* family 0: this node's own address in `nodes` */
    socklen_t listen_size;
    enum transport_choice choice;
    uint8_t cluster[16];  /* the id of the cluster and its list of nodes */
    uint8_t key[32];      /* known to all its nodes and to nobody else */
    uint32_t in_sync_min; /* copies without which nothing is acknowledged; 1..node_count */
    uint64_t log_records; /* kept behind what is applied, for who was away; 0: GROUP_LOG_RECORDS */
    uint64_t busy_poll_ns;
    /* A disk that answers nothing for so long hangs: this node neither leads, if another can, nor
     * is it ready. 0: GROUP_DISK_TIMEOUT_NS. */
    uint64_t disk_timeout_ns;
};

struct group_options {
    struct volume *volume;                   /* borrowed: this node's; outlives the group */
    struct work_pool *work_pool;             /* borrowed: for what can block */
    struct rand *rand;                       /* NULL: system */
    const struct group_peers_options *peers; /* NULL: a node alone. Borrowed for the call */
    /* The volume has no threads: whoever waits does its steps (tests, simulator). */
    bool volume_is_stepped;
};

/* B. ERR_INVALID with a sentence: the volume of a cluster's node without peers, or a lone node's
 * with peers. For who wants to know before there is all that a group needs. */
enum err group_judge_volume(struct volume *volume, bool has_peers,
                            struct err_trail *trail) MUST_USE;

/* B. Reads the register, opens a new term. ERR_CORRUPT when the record is not one; what
 * group_judge_volume() says of the volume. With peers it listens, calls them and returns:
 * group_wait_ready() tells when there is a group. */
enum err group_open(const struct group_options *options, struct group **ret_group,
                    struct err_trail *trail) MUST_USE;
void group_close(struct group *group); /* nothing may be in flight; NULL does nothing */
CLEANUP_DEFINE(group_close, struct group *)

/* B. Until reads and changes are possible here, or for timeout_ns: ERR_TIMEOUT and a sentence that
 * says what is waited for. At once alone. */
enum err group_wait_ready(struct group *group, uint64_t timeout_ns,
                          struct err_trail *trail) MUST_USE;

/* Memory that a group of one and so many other nodes takes at most, besides the arena; 0 alone. */
uint64_t group_memory_bytes(unsigned peers);

enum group_role {
    GROUP_JOINING, /* no configuration is known yet: the register has no majority, or is empty */
    GROUP_COPYING, /* filled by a copy, for the log does not reach back to it; serves nothing */
    GROUP_REPLICA, /* in sync or not */
    GROUP_OPENING, /* primary of a term whose first record is not committed yet */
    GROUP_PRIMARY,
    GROUP_STOPPED, /* takes no part any more: the volume failed, or its log is not the group's */
};
const char *group_role_name(enum group_role role);

struct group_peer_status {
    uint32_t node;
    char address[80];
    /* Armed: caught up, being put into the in-sync set. */
    bool is_self, is_primary, is_in_sync, is_armed;
    bool is_up;
    char backend[12], device[80]; /* "tcp", "verbs"; "" while down */
    char disk[40];                /* the volume's uuid; "" when not heard of yet */
    char sentence[320];           /* why it is down, or "" */
    uint64_t up_ns, heard_ns;     /* how long ago; UINT64_MAX: never */
    uint64_t connects;
    struct transport_lane_counts lanes[LANE_COUNT];
    uint64_t landed_bytes; /* of bodies it has written, as it says */
    /* as the primary sees it; UINT64_MAX elsewhere */
    uint64_t acked_psn, lag_records, lag_ns;
    /* is_copied: the log reaches it no more, and it is filled by a copy. As it says itself; in_all:
     * about, 0: not known yet. Rows of the index come first, then bytes of data that it lacks. */
    bool is_copied;
    uint64_t copied_rows, copied_rows_in_all, copied_bytes, copied_bytes_in_all;
    uint64_t copied_per_second; /* rows, or bytes, whichever come; 0: not known yet */
    uint64_t copied_left_ns;    /* until all of those are there; UINT64_MAX: not known */
    /* Of records and the data they bring; UINT64_MAX, too: more than can be told at once. */
    uint64_t lag_bytes;
};
struct group_status {
    uint64_t epoch, term, psn_committed, psn_applied;
    uint64_t psn_last, psn_first; /* the log: first..last */
    uint32_t members, in_sync;    /* 1 and 1 for a node alone */
    uint32_t in_sync_min;
    const char *config_register; /* "local", "quorum" */
    bool is_primary;
    enum group_role role;
    uint32_t self, primary; /* numbers of nodes; 0: alone, or not known */
    char backend[12], device[80], backend_reason[200]; /* of this node's transport; "" alone */
    char sentence[200];                                /* what it waits for, or "" */
    char refuses[200];      /* what its disk does not take, or "": it serves all the same */
    uint64_t disk_waits_ns; /* for what this node's disk has been asked and does not answer */
    uint64_t pulled_bytes, refused_chunks, bad_sums;
    /* Connections since open: refused, by us or by the other side; cut off by us for bytes that
     * break the rules. */
    uint64_t refused_calls, rule_breaks;
    /* Changes without a number yet, and their memory; bodies of those without an outcome, too. */
    uint64_t waiting_proposals, waiting_bytes;
    uint64_t refused_proposals; /* since open: more than may wait; ERR_BUSY */
    uint32_t peer_count;
    struct group_peer_status peers[GROUP_NODES_MAX]; /* all nodes, this one too; none alone */
};
void group_status(struct group *group, struct group_status *ret_status); /* any thread */

/* ---- writing: a body, then the mutation that names it (storage/body.h, storage/object.h) ---- */
/* As body_open(); ERR_BUSY also when this node's disk is known to hang. */
enum err group_body_open(struct group *group, const struct body_options *options,
                         struct body **ret_body, struct err_trail *trail) MUST_USE;
enum err group_body_write(struct group *group, struct body *body, struct body_write *write,
                          uint8_t *data, uint32_t size, bool last, body_written_fn *written,
                          struct err_trail *trail) MUST_USE;
void group_body_close(struct group *group, struct body *body);
/* Orders the mutation and has it applied; m->done on m->loop. Never fails by itself: every outcome
 * comes through done(). */
void group_propose(struct group *group, struct mutation *m);

/* ---- buckets: these do not block ---- */
enum err group_bucket(struct group *group, struct bytes name,
                      struct bucket_info *ret_bucket) MUST_USE;
enum err group_buckets(struct group *group, bucket_each_fn *each, void *context) MUST_USE;

/* ---- objects ---- */
/* Answers from memory or says ERR_WOULD_BLOCK: then group_lookup(). */
enum err group_lookup_now(struct group *group, struct bucket_id bucket, struct bytes key,
                          struct object **ret_object) MUST_USE;

/*
 * One question that may have to wait for the disk. Fill in the arguments of the call, the rest is
 * the group's until done() runs on `loop`; results are valid then. each() runs on another thread
 * while the asker waits, so what it touches must be the asker's alone.
 */
struct group_ask;
typedef void group_asked_fn(struct group_ask *ask);

struct group_ask {
    struct loop *loop;
    group_asked_fn *done;

    /* arguments, borrowed until done() */
    struct bucket_id bucket;
    struct bytes key;
    struct upload_id upload;
    struct list_query list;
    struct upload_query uploads;
    uint16_t after_part;
    uint32_t max;
    union {
        list_each_fn *list;
        upload_each_fn *upload;
        part_each_fn *part;
    } each;
    void *context; /* of each */
    struct read_plan *plan;
    struct object *of;

    /* results */
    enum err err;
    struct object *object;          /* group_lookup: a reference, the asker's */
    struct list_result list_result; /* group_list */
    bool truncated;                 /* group_uploads, group_parts */
    struct upload_info upload_info; /* group_upload; attrs point into upload_attrs */
    uint8_t upload_attrs[META_BYTES_MAX];
    struct object_part *parts; /* group_object_parts; the asker frees */
    struct piece *pieces;      /* group_object_pieces; the asker frees */
    size_t part_count, piece_count;

    /* the group's */
    struct group *group;
    struct work work;
    uint8_t kind;
    uint64_t offset, size, deadline_ns;
    struct group_ask *next;
};

/*
 * What each takes of `ask`, and where its answer is:
 *
 *     group_lookup         bucket, key -> object
 *     group_list           list, each.list -> list_result
 *     group_upload         bucket, key, upload -> upload_info
 *     group_uploads        uploads, each.upload -> truncated
 *     group_parts          bucket, key, upload, after_part, max, each.part -> truncated
 *     group_plan_load      plan: after read_plan_span said ERR_WOULD_BLOCK
 *     group_object_parts   of -> parts
 *     group_object_pieces  of -> pieces
 */
void group_lookup(struct group *group, struct group_ask *ask);
void group_list(struct group *group, struct group_ask *ask);
void group_upload(struct group *group, struct group_ask *ask);
void group_uploads(struct group *group, struct group_ask *ask);
void group_parts(struct group *group, struct group_ask *ask);
void group_plan_load(struct group *group, struct group_ask *ask);
void group_object_parts(struct group *group, struct group_ask *ask);
void group_object_pieces(struct group *group, struct group_ask *ask, uint64_t offset,
                         uint64_t size);

/*
 * ---- the read barrier ----
 * With peers, what this node has may be behind what another has acknowledged. A request first makes
 * sure that it is not; all functions that read then answer from this node with at least what was
 * acknowledged anywhere before the request came.
 */
/* Does not block: alone, or primary under the leases of all others in sync. */
bool group_is_fresh(const struct group *group);
/* loop and done of `ask`. ERR_OK; ERR_BUSY when it could not be made sure of in GROUP_FRESH_NS: no
 * primary, or this node lags. `loop` NULL: done() runs on the group's own thread, or at once, and
 * only wakes somebody. */
#define GROUP_FRESH_NS (3 * NS_PER_SECOND)
void group_fresh(struct group *group, struct group_ask *ask);
/* B. The same for who can wait, never on a loop. */
enum err group_fresh_wait(struct group *group) MUST_USE;

/* ---- settings: access keys and the like; B ---- */
enum err group_setting(struct group *group, struct bytes name, uint8_t *out, size_t out_max,
                       size_t *ret_size) MUST_USE;
enum err group_settings(struct group *group, struct bytes prefix, setting_each_fn *each,
                        void *context) MUST_USE;
/* Settings whose name begins with `prefix` may be changed through another node: changed() is then
 * called, on the group's own thread, after the change can be read here. `changed` NULL removes the
 * watcher of that prefix, which is not called any more when this returns. Alone nothing changes
 * under anybody, and nothing is called. */
typedef void group_setting_changed_fn(void *context, struct bytes name);
void group_watch_settings(struct group *group, struct bytes prefix,
                          group_setting_changed_fn *changed, void *context);

/*
 * ---- repair ----
 * Bytes of this node's disk that do not match their sums, or that it does not give back: replaced
 * by the right ones of another node, a chunk of 64 KiB at a time, where they lie. Whoever holds the
 * object reads on when it is done.
 */
struct group_repair;
typedef void group_repaired_fn(struct group_repair *repair);
struct group_repair {
    struct data_id data;
    uint64_t offset; /* in the data, of the sum chunk: a multiple of SUM_CHUNK_BYTES */
    /* NULL: done() runs on the group's own thread, or at once, and only wakes somebody. */
    struct loop *loop;
    group_repaired_fn *done;
    void *context; /* the asker's */

    /* results: ERR_OK, the chunk is whole; ERR_CORRUPT, no other node had it whole;
     * ERR_NO_SUCH_OBJECT, it was deleted; ERR_UNSUPPORTED, there is no other node */
    enum err err;
    struct err_trail trail;

    /* the group's */
    void *group_private;
    struct loop_msg msg;
    struct list link;
};
void group_repair(struct group *group, struct group_repair *repair); /* any thread */
/* B. The same for who can wait, never on a loop. */
enum err group_repair_wait(struct group *group, struct data_id data, uint64_t offset,
                           struct err_trail *trail) MUST_USE;

/* Runs a mutation and waits for it: for start-up, the admin port and tests; never on a loop.
 * m->loop and m->done are set by it. */
enum err group_propose_wait(struct group *group, struct mutation *m) MUST_USE;

#endif
