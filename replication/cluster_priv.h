/*
 * Between the files of the driver. All of it is the loop's, but where another owner is named.
 *
 * A record's way on one node:
 *
 *     pg asks to append -> NEW -> its data is here -> LOGGING -> LOGGED -> (committed)
 *                           \--- data missing: arriving, or pulled       -> APPLYING -> APPLIED
 *                                from the primary
 *
 * Appends and saves reach the volume in the order in which pg asked for them: `to_log` holds those
 * not given to the committer yet, and one whose data is missing holds up all behind it. So the
 * volume's log never has a record without its data.
 */
#ifndef REPLICATION_CLUSTER_PRIV_H
#define REPLICATION_CLUSTER_PRIV_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/check.h"
#include "base/list.h"
#include "replication/cluster.h"
#include "replication/cluster_state.h"
#include "replication/copy_pace.h"
#include "replication/group_priv.h"
#include "replication/incoming.h"
#include "replication/link.h"
#include "replication/message.h"
#include "replication/pull.h"
#include "replication/record.h"
#include "replication/register_quorum.h"
#include "replication/repair.h"
#include "storage/copy.h"
#include "storage/log.h"

#define CLUSTER_TICK_NS (10 * NS_PER_MS)
/* Records kept in memory: those not applied, and the last before them for peers that lag a
 * little. */
#define CLUSTER_WINDOW        2048u
#define CLUSTER_APPLY_MAX     512u  /* given to the committer and not answered */
#define CLUSTER_TRIM_EVERY    4096u /* records; a sixteenth of what is kept when that is less */
#define CLUSTER_PROPOSALS_MAX 8192u /* waiting here; more are refused at once */
/* Records are small but for copies of objects of many pieces, 2.8 MB: so they are bounded by bytes,
 * too. Of changes that wait, and of the window; at least one record of a peer that lags is read. */
#define CLUSTER_PROPOSAL_BYTES_MAX MIB(64)
#define CLUSTER_WINDOW_BYTES_MAX   MIB(64)
#define CLUSTER_LOAD_BYTES_MAX     MIB(4)
#define CLUSTER_WAIT_NS            (3 * NS_PER_SECOND)  /* a change waits so long for a primary */
#define CLUSTER_ANSWER_NS          (10 * NS_PER_SECOND) /* and so long for its outcome */
/* The volume could not take or apply something: it is given again after so long. */
#define CLUSTER_AGAIN_NS (200 * NS_PER_MS)
/* A primary's own log may stand still so long. */
#define CLUSTER_STUCK_NS (2 * NS_PER_SECOND)
/* A peer that gives back no place for bodies for so long gets none: what it lacks it asks for. */
#define CLUSTER_BODIES_NS (3 * NS_PER_SECOND)
/* A link that brings nothing for so long is cut. */
#define CLUSTER_SILENCE_NS (1500 * NS_PER_MS)
#define CLUSTER_PING_NS    (300 * NS_PER_MS)
/* Data on its way from a gateway may come behind its record. */
#define CLUSTER_PULL_AFTER_NS (100 * NS_PER_MS)
#define CLUSTER_LOAD_ROWS     64u /* read from the log at a time for a peer that lags */
/* The log is kept for a node that is being filled so long after it was last heard of. */
#define CLUSTER_HOLD_NS (600 * NS_PER_SECOND)

struct proposal;

/* In line for the volume, or given to it: the append of an entry, or a save. */
struct log_item {
    struct list link;
    bool is_save;
};

enum entry_state { ENTRY_NEW, ENTRY_LOGGING, ENTRY_LOGGED, ENTRY_APPLYING, ENTRY_APPLIED };

/* One record of the log in memory. */
struct entry {
    uint64_t psn, term; /* psn 0: pg has not taken it yet */
    uint8_t *record;    /* owned; NULL: a term's barrier */
    size_t record_size;
    struct log_data data;
    uint8_t *inline_bytes; /* owned: data.size of them, when data is inline and they are at hand */
    enum entry_state state;
    bool is_gone; /* the primary said: its data was deleted since */
    bool may_acknowledge;
    bool by_rdma, by_tcp;      /* how it came to the others in sync */
    uint32_t copies;           /* in sync when it was committed */
    struct proposal *proposal; /* who waits for it here; NULL: nobody, or elsewhere */
    uint8_t origin;            /* index of the node whose gateway proposed it */
    uint64_t op;               /* that node's number for it */

    struct body *body; /* owned until logged */
    struct body_write inline_write;
    bool inline_is_written, inline_is_pending;
    bool is_dropped; /* cut while that was pending */
    struct log_item item;
    struct log_append append;
    struct decoded *decoded; /* owned while APPLYING */
    struct cluster *cluster;
    uint64_t came_ns;
};

/* pg's state and the register's, to be kept. Owned by the line it is in. */
struct save {
    struct log_item item;
    struct cluster *cluster;
    uint64_t version; /* of pg's state; of the register's in quorum_version */
    uint64_t quorum_version;
    bool has_pg;
    struct pg_durable pg; /* made bytes when it is given, with the register's newest */
    uint8_t state[CLUSTER_STATE_BYTES_MAX];
    struct log_save log_save;
};

/* A change somebody here, or a peer's gateway, wants. */
struct proposal {
    struct list link;    /* waiting; of the peer it was sent to */
    struct list next;    /* while waiting: in ready, or in aside */
    struct mutation *m;  /* borrowed until its done(); NULL: of a peer's gateway */
    struct entry *entry; /* owned until pg has it */
    enum mutation_kind kind;
    uint8_t origin;
    uint64_t op;
    uint64_t deadline_ns;
    struct data_id body; /* incoming holds it until the outcome; none: there is none, or a peer's */
    uint64_t body_bytes; /* of memory */
    bool is_waiting;     /* in cluster->waiting */
    bool is_sent;        /* to another node; its outcome comes from there, or is unknown */
    uint8_t sent_to;
};

/* A copy of this node's index for a peer: cluster_copy_serve.c. */
struct copy_serve {
    uint64_t id;                /* 0: none */
    struct copy_source *old;    /* owned: to be closed by the pool */
    struct copy_source *source; /* owned; the pool's while is_running, as are the next ones */
    uint8_t *rows;              /* owned: COPY_ROWS_BYTES_MAX */
    enum kv_family family;
    struct kv_key after, upto;
    struct copy_run run;
    enum err err;
    struct err_trail trail;
    struct work work;
    bool is_running, is_over;
    uint64_t asked_ns;
};

/* Data that the copy lacks, on its way: cluster_copy.c. */
struct copy_fill {
    struct cluster *cluster;
    struct log_data data;
    enum { FILL_FREE, FILL_WANTED, FILL_STORING } state;
    unsigned turn; /* how many could not give it */
    uint64_t since_ns, due_ns;
    struct copy_step step;
};

/* What is absent of the data that a copy's names name. While it is running, all else is the
 * worker's. */
struct copy_look {
    struct work work;
    bool is_running, is_end;
    enum err err;
    struct data_id after;
    struct log_data found[64];
    size_t count, taken;
};

/* This node being filled by a copy: cluster_copy.c. */
struct copy_target {
    bool is_on; /* pg does not run */
    enum {
        COPY_DRAIN,
        COPY_BEGIN,
        COPY_ASK,
        COPY_ROWS_GIVEN,
        COPY_NAMED,
        COPY_COUNT,
        COPY_FILL,
        COPY_END
    } stage;
    uint64_t psn, term; /* of what is copied; 0: not known yet */
    struct copy_step step;
    bool is_stepping;
    uint8_t state[CLUSTER_STATE_BYTES_MAX]; /* of the step */
    uint64_t quorum_version;                /* in it */
    uint64_t due_ns, told_ns;

    /* names: where the next run begins */
    uint64_t id;
    uint8_t from; /* index of the peer that is asked */
    unsigned family;
    struct kv_key after;
    uint64_t asked_ns;
    uint8_t *message; /* owned: the run at hand */
    uint64_t rows, rows_in_all;

    /* data */
    struct copy_look look;
    bool has_left_out;
    struct copy_fill fills[PULLS_MAX];
    uint64_t bytes, bytes_in_all;
};

struct peer {
    struct cluster *cluster;
    uint8_t index;
    uint32_t node;
    struct link *link; /* NULL: ourselves */
    bool is_up;
    enum transport_backend backend; /* of the last connection */
    uint64_t heard_ns, pinged_ns;
    char disk_text[40];
    uint8_t disk[16];
    bool has_disk, is_other_disk; /* than the one it had before */
    uint64_t told_commit;         /* as of the last message that carried one */
    /* a lagging peer is sent what is no longer in memory */
    struct {
        struct work work;
        bool is_running, is_wanted;
        uint64_t from, to; /* wanted */
        uint64_t next;     /* being read */
        struct log_row rows[CLUSTER_LOAD_ROWS];
        uint8_t *inline_bytes[CLUSTER_LOAD_ROWS]; /* owned; NULL: not small, or gone */
        unsigned row_count;
        uint64_t upto;
        enum err err;
    } load;
    struct list proposals; /* sent there, answer outstanding */
    struct {
        bool is_asked;
        uint64_t id, asked_ns;
    } read;
    uint64_t landed_bytes;
    bool takes_no_bodies; /* its places for them are full, and none has come back since so many */
    uint64_t places_back;
    struct copy_serve serve;
    struct message_copy_state copy; /* as it said last, at copy_told_ns; 0: never */
    uint64_t copy_told_ns;
    struct copy_pace copy_pace;
    struct {
        uint64_t psn, until_ns; /* the log behind psn is kept for it until then */
    } hold;
};

struct setting_watch {
    struct setting_watch *next;
    struct bytes prefix;
    group_setting_changed_fn *changed;
    void *context;
};

/* Whether our disk takes records. When it does not, this node has resigned, unless no other could
 * lead. */
enum no_log {
    NO_LOG_FINE,
    NO_LOG_REFUSED, /* not for now */
    NO_LOG_DAMAGED, /* nor before it is opened anew */
    NO_LOG_HANGS,   /* what it was asked does not come back */
};

struct cluster {
    struct group *group; /* borrowed, as the next ones */
    struct volume *volume;
    struct work_pool *work_pool;
    struct rand *rand;
    struct group_peers_options options; /* a copy; nodes in order of their numbers */
    struct loop *loop;
    pthread_t thread;
    uint8_t self; /* index in options.nodes */
    uint8_t node_count;
    uint8_t disk[16]; /* our volume's uuid */
    struct peer peers[GROUP_NODES_MAX];
    struct links *links; /* owned */
    struct incoming *incoming;
    struct pull *pull;
    struct repair *repair;
    struct timer tick;

    /* the register */
    struct quorum quorum;
    bool has_config;   /* pg runs */
    bool has_saved_pg; /* from a life before */
    bool is_founding;
    struct quorum_value value; /* as last read or swapped */
    struct quorum_state saved_quorum;
    struct quorum_value wanted; /* by the swap pg has asked for last */
    uint8_t wanted_disks;
    struct cluster_answer {
        bool has_swapped, has_read;
        uint64_t nonce;
        enum pg_swap outcome;
        struct quorum_value swapped, read;
    } answer; /* of the register, not told to pg yet */
    uint64_t read_due_ns;

    struct pg pg;
    /* What the state on the disk is made of, besides the register's part. */
    struct pg_durable saved;
    uint64_t pg_version; /* of the last save asked for */
    uint64_t quorum_version;
    bool links_are_closed;
    bool is_stopped;    /* failed: takes no part any more */
    char sentence[200]; /* what is waited for, or why it is stopped */

    /* the log */
    struct entry *window[CLUSTER_WINDOW];                 /* owned, by psn */
    uint64_t window_bytes, window_first;                  /* none before it is there */
    struct list to_log;                                   /* log_items */
    struct list in_log;                                   /* given to the volume */
    uint64_t done_psn, done_version, done_quorum_version; /* durable */
    bool has_durable_pg;
    struct pg_durable durable_pg; /* of the save that done_version is of */
    bool persisted_is_due;        /* pg and the register are to hear of it */
    struct loop_msg turn_msg;
    bool turn_is_posted;
    /* log_items that the volume did not take: again, in order, from log_due_ns on. */
    struct list refused;
    uint64_t log_due_ns;
    uint64_t past_due_ns;         /* a save past the head of the line, likewise */
    const struct log_item *stuck; /* at the head of the line when that last stood; or NULL */
    uint64_t stuck_since_ns;
    char refusal[160]; /* of `stuck` by the volume; "": its data is not here */
    enum no_log no_log, before_hang;
    char no_log_text[160]; /* why */
    bool has_appended;     /* a record, since then */
    bool stands_late;      /* the disk answers again, and is to go on so before this node leads */
    struct {
        struct volume_owed owed; /* as last looked at */
        uint64_t looked_ns, batch_ns, bodies_ns, waits_ns;
        uint64_t calm_ns; /* since it last waited for a quarter of what is hanging */
    } disk_watch;
    atomic_bool disk_hangs; /* any thread: it is asked for no more than must be */
    uint64_t last_psn;      /* of the log, with what is in to_log */
    uint64_t commit;        /* to be applied up to here */
    uint64_t applying;      /* given to the volume up to here */
    uint64_t applied;
    uint32_t applies_pending;
    uint64_t apply_due_ns; /* the volume could not: again then */
    uint64_t trimmed_at;
    unsigned pull_turn; /* which peer is asked for data next, when it is not the primary */

    struct copy_target copy;

    /* changes */
    struct list waiting; /* proposals: for a primary, for room, for their bodies */
    struct list ready;   /* of these: to be looked at in this step */
    struct list aside;   /* the others: when something has come, or at the next tick */
    uint32_t waiting_count;
    uint64_t waiting_bytes, refused_proposals;
    uint64_t op_count;
    /* Owned; sent or ours in the log, by op number modulo CLUSTER_PROPOSALS_MAX. */
    struct proposal **by_op;

    /* reads */
    struct group_ask *fresh_first, *fresh_last; /* waiting for an index, oldest first */
    uint64_t read_count;
    _Atomic uint64_t read_until_ns; /* reads here need not ask until then, by cluster__now() */

    pthread_mutex_t watch_lock; /* over watches, and held while they are called */
    struct setting_watch *watches;

    /* other threads', under `lock` */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* status, readiness */
    struct group_status status;
    bool is_ready;
    enum err start_err;
    bool is_started;
    struct err_trail start_trail;
    uint64_t status_due_ns; /* in the loop's time, as its tick */

    /* what gateways on other loops use, under `gateway_lock` */
    pthread_mutex_t gateway_lock;
    struct gateway_write *gateway_free;
};

static inline struct entry *cluster__entry(const struct cluster *cluster, uint64_t psn)
{
    struct entry *entry = cluster->window[psn % CLUSTER_WINDOW];
    return entry != NULL && entry->psn == psn ? entry : NULL;
}
/* Of memory. */
static inline uint64_t cluster__entry_bytes(const struct entry *entry)
{
    return sizeof *entry + entry->record_size +
           (entry->inline_bytes != NULL ? entry->data.size : 0);
}
/* What leases and promises are judged by: a node that was suspended must not believe in what the
 * others gave it before. All of the driver counts in it, asked anew at each use: what was noted in
 * the same turn would be later than a time of the turn's beginning. Connections count in the loop's
 * time. */
static inline uint64_t cluster__now(const struct cluster *cluster)
{
    return clock_boot_ns(loop_clock(cluster->loop));
}

/* cluster.c */
void cluster__stop(struct cluster *cluster, enum err e, const char *format, ...) PRINTF_LIKE(3, 4);
/* After each call into pg, and what it may wait for: what follows. */
void cluster__after_step(struct cluster *cluster);
extern const struct pg_ops cluster__pg_ops;

/* cluster_log.c */
struct entry *cluster__entry_new(struct cluster *cluster, struct bytes record,
                                 const struct log_data *data, struct bytes inline_bytes);
void cluster__entry_free(struct entry *entry);
void cluster__append(struct cluster *cluster, uint64_t psn, uint64_t term, struct entry *entry);
/* pg's state or the register's has changed; the log ends at `last`, and what is behind it is gone.
 */
void cluster__save(struct cluster *cluster, uint64_t last);
void cluster__turn_soon(struct cluster *cluster);
void cluster__pump_log(struct cluster *cluster); /* gives the volume what can be given */
/* Of a struct cluster: whether a record that the volume has yet to be given brings this data. */
bool cluster__names_data(void *context, struct data_id id);
bool cluster__has_room(const struct cluster *cluster, uint64_t psn); /* for a record in memory */
void cluster__trim_window(struct cluster *cluster); /* of applied records there is no room for */
/* B, at start. */
enum err cluster__restore(struct cluster *cluster, struct err_trail *trail) MUST_USE;
/* What a later life restores. pg: NULL when there is none yet. */
struct bytes cluster__encode_state(const struct cluster *cluster, const struct pg_durable *pg,
                                   uint8_t out[CLUSTER_STATE_BYTES_MAX]);
/* Everything in line and in memory. What the volume was given has come back before. */
void cluster__forget_log(struct cluster *cluster);

/* cluster_apply.c */
void cluster__committed(struct cluster *cluster, uint64_t psn, bool may_acknowledge);
void cluster__pump_apply(struct cluster *cluster);
void cluster__setting_changed(struct cluster *cluster, struct bytes name);

/* cluster_peers.c */
/* Best effort: what is lost comes again, or is given up by who waits for it. */
bool cluster__ctl(struct peer *peer, const void *data, size_t size);
bool cluster__message(struct peer *peer, uint8_t kind, const struct bytes *parts,
                      unsigned part_count);
void cluster__send(struct cluster *cluster, uint8_t to, const struct pg_message *message);
void cluster__send_records(struct cluster *cluster, uint8_t to, uint64_t from_psn, uint64_t to_psn);
extern const struct links_handlers cluster__handlers;
void cluster__watch_links(struct cluster *cluster); /* each tick */

/* cluster_propose.c */
void cluster__pump_proposals(struct cluster *cluster);
void cluster__expire_proposals(struct cluster *cluster);
void cluster__look_at_proposals(struct cluster *cluster); /* in the next step, at all that wait */
void cluster__body_settled(struct cluster *cluster, struct data_id id);
void cluster__proposed_by_peer(struct cluster *cluster, struct peer *peer, struct bytes body);
void cluster__result(struct cluster *cluster, struct peer *peer, struct bytes body);
/* It is applied. */
void cluster__outcome(struct cluster *cluster, struct entry *entry, const struct mutation *applied);
void cluster__lost_lead(struct cluster *cluster);
void cluster__lost_peer(struct cluster *cluster, struct peer *peer);
void cluster__refuse_all(struct cluster *cluster, enum err e);

/* cluster_read.c */
void cluster__pump_reads(struct cluster *cluster);
void cluster__publish_lease(struct cluster *cluster);
void cluster__read_asked(struct cluster *cluster, struct peer *peer,
                         const struct message_read_index *ask);
void cluster__read_answered(struct cluster *cluster, struct peer *peer,
                            const struct message_read_index_ok *answer);

/* cluster_join.c */
void cluster__join_tick(struct cluster *cluster);
void cluster__swap(struct cluster *cluster, const struct pg_config *next);
void cluster__read_config(struct cluster *cluster);
uint8_t cluster__not_voting(const struct cluster *cluster); /* mask, as far as is known here */
/* Whether the register, as last read, has this disk for that node. */
bool cluster__is_registered(const struct cluster *cluster, unsigned index, const uint8_t disk[16]);
void cluster__register_open(struct cluster *cluster);
void cluster__register_received(struct cluster *cluster, struct peer *peer,
                                const struct quorum_message *message);
void cluster__register_answered(struct cluster *cluster);
void cluster__look_at_disks(struct cluster *cluster);
extern const struct quorum_ops cluster__quorum_ops;

/* cluster_copy.c */
enum kv_family cluster__copy_first_family(void);
bool cluster__copy_holds_log(const struct cluster *cluster); /* nothing is given to the log now */
void cluster__too_old(struct cluster *cluster, const struct peer *peer,
                      const struct message_too_old *old);
void cluster__copy_run(struct cluster *cluster, struct peer *peer, struct bytes body);
void cluster__copy_lost(struct cluster *cluster, const struct peer *peer, uint64_t id);
/* Bodies that no copy has asked for: records that name them are a long way off. */
bool cluster__copy_refuses(struct cluster *cluster, struct data_id id);
void cluster__copy_link_down(struct cluster *cluster, const struct peer *peer);
void cluster__copy_turn(struct cluster *cluster); /* when something was done, and each tick */
void cluster__copy_restore(struct cluster *cluster);
bool cluster__copy_is_idle(const struct cluster *cluster);
void cluster__copy_fini(struct cluster *cluster);

/* cluster_copy_serve.c */
void cluster__copy_asked(struct cluster *cluster, struct peer *peer, struct bytes body);
void cluster__copy_state_told(struct peer *peer, const struct message_copy_state *state);
void cluster__copy_serve_down(struct peer *peer);
void cluster__copy_serve_tick(struct cluster *cluster);
bool cluster__copy_serve_is_idle(const struct cluster *cluster);
void cluster__copy_serve_fini(struct cluster *cluster);
void cluster__hold_log(struct peer *peer, uint64_t psn);
/* The log is kept behind this record; UINT64_MAX: for nobody. */
uint64_t cluster__held_log(const struct cluster *cluster, uint64_t now_ns);

/* cluster_body.c */
void cluster__drop_at_peers(struct cluster *cluster, struct data_id id); /* no record names it */
void cluster__gateway_fini(struct cluster *cluster);

/* cluster_watch.c */
void cluster__watch_log(struct cluster *cluster);           /* each tick */
unsigned cluster__others_up(const struct cluster *cluster); /* peers that are linked */

/* cluster_status.c */
void cluster__say_no_log(const struct cluster *cluster, char out[200]); /* and what to do */
void cluster__publish_status(struct cluster *cluster);

#endif
