/*
 * One node's part in one placement group, as a pure step machine: events come in by these
 * functions, effects go out by a table of functions, and nothing here reads a clock, a disk or a
 * socket. So the very code that serves runs in the simulator (tests/sim), with years of faults in a
 * minute.
 *
 * The protocol is PacificA's (MSR-TR-2008-25), with Raft's log matching. A primary puts every
 * change into one order, the log; a record is committed when *every* in-sync replica has it on its
 * disk. Who is primary and who is in sync stands in the configuration register outside, changed
 * only by compare-and-swap. Safety needs neither clocks nor the register's time-outs; clocks (their
 * rate, not their time) only bound how long a primary may answer reads without asking.
 *
 *              take-over, or restart as primary          barrier committed
 *     FOLLOWER -----------------------------> OPENING -----------------------> OPEN
 *         ^                                      |                               |
 *         +--- a newer configuration names another primary, or it has resigned --+
 *
 *   epoch   grows by one with each change of the configuration; older messages are refused
 *   term    the epoch at which the primary took the group; a new term makes replicas match logs
 *           anew. A change of the in-sync set keeps it, so what is on its way stays valid
 *   lease   a replica's promise not to take over for a while: the primary reads only under the
 *           promises of all others in sync
 *   armed   a caught-up replica whose acknowledgement a commit already waits for, before the
 *           register calls it in sync
 *
 * Effects on the disk are done in the order they were asked for. They are known to be durable when
 * pg_persisted() says so; nothing is acknowledged to a peer before.
 */
#ifndef REPLICATION_PG_H
#define REPLICATION_PG_H

#include "base/clock.h"
#include "base/err.h"
#include "replication/pg_log.h"

#define PG_NODES_MAX 7u /* replicas of one group; masks are of 8 bits */

/* The record in the register. */
struct pg_config {
    uint64_t epoch, term;
    uint64_t nonce;  /* drawn for each swap: whose record this is, when an outcome is unknown */
    uint8_t primary; /* a node's index in the group */
    uint8_t in_sync; /* mask; holds the primary */
};

/* What survives a crash. The records themselves are the driver's, by psn. */
struct pg_durable {
    struct pg_config config;
    uint64_t synced_term; /* the term whose primary's log ours is a prefix of */
    uint64_t commit;      /* known to be committed: may be older than the truth; what is restored
                           * is not older than what is applied */
    struct pg_log log;
};

enum pg_message_type {
    PG_BEACON,     /* primary: "promise me, and this is committed" */
    PG_BEACON_ACK, /* the promise */
    PG_NEW_TERM,   /* primary's log: match yours */
    PG_APPEND,     /* one record */
    PG_ACK,        /* what is on the disk */
    PG_TELL,       /* only the configuration, to one that is behind */
    PG_COMMIT,     /* primary: this is committed; a beacon that asks for no promise */
};

struct pg_message {
    enum pg_message_type type;
    struct pg_config config; /* the sender's: peers are trusted, and learn from each other */
    uint64_t commit;         /* known to the sender, and applied there */
    uint64_t beacon_ns;      /* BEACON: sender's clock; echoed in BEACON_ACK */
    uint64_t psn;            /* APPEND: the record's; ACK: all up to this is durable */
    uint64_t last;           /* ACK: what has arrived, durable or not */
    uint64_t term;           /* APPEND: under which the record was written */
    bool has_gap;            /* ACK: records are missing behind `last` */
    struct pg_log log;       /* NEW_TERM */
    const void *record;      /* APPEND: the driver's; NULL: the barrier of a term, no change */
};

struct pg_times {
    uint64_t beacon_ns;  /* between two beacons */
    uint64_t lease_ns;   /* a primary reads this long after it sent the beacon that was answered */
    uint64_t grace_ns;   /* a replica keeps still this long after it answered; > lease_ns */
    uint64_t silence_ns; /* an in-sync replica heard nothing of for so long is taken out */
    uint64_t resend_ns;  /* without progress, send again */
    uint64_t gap_ns;     /* a replica that lacks records is sent them at most so often */
};
extern const struct pg_times pg_times_default;

enum pg_swap { PG_SWAP_DONE, PG_SWAP_LOST, PG_SWAP_UNKNOWN };

/* Effects. None of them may call back into the pg. */
struct pg_ops {
    void (*send)(void *context, uint8_t to, const struct pg_message *message);
    /* Records from..to of the log, each as PG_APPEND made by pg_append_message(): the driver keeps
     * with each record the term it was written under. */
    void (*send_records)(void *context, uint8_t to, uint64_t from_psn, uint64_t to_psn);
    /* The state on the disk becomes this; records behind state->log.last are gone. */
    void (*save)(void *context, uint64_t version, const struct pg_durable *state);
    void (*append)(void *context, uint64_t psn, uint64_t term, const void *record);
    /* To the register: `next` if its epoch is next->epoch - 1; pg_swapped() follows. */
    void (*swap)(void *context, const struct pg_config *next);
    /* A linearizable read; pg_config_read() follows, or never. */
    void (*read_config)(void *context);
    /* Records up to `psn` are committed. Proposers may be told only if may_acknowledge: else there
     * are fewer copies than promised, and their outcome is unknown to them. */
    void (*committed)(void *context, uint64_t psn, bool may_acknowledge);
    void (*opened)(void *context); /* proposals and reads are welcome */
    void (*lost)(void *context);   /* no longer primary: outcomes not told yet are unknown */
};

enum pg_role { PG_FOLLOWER, PG_OPENING, PG_OPEN };
enum pg_swap_state { PG_SWAP_IDLE, PG_SWAP_SENT, PG_SWAP_IN_DOUBT };

struct pg_peer {
    bool is_synced;       /* has matched its log in this term */
    uint64_t acked;       /* durable there, in this term */
    uint64_t next;        /* psn to be sent next */
    uint64_t heard_ns;    /* last message of it */
    uint64_t progress_ns; /* `acked` grew */
    uint64_t resent_ns;   /* what it lacks was sent again */
    uint64_t lease_ns;    /* we may read until then, for its part */
    uint64_t promise_ns;  /* we have promised it not to take over until then */
    bool has_promise;     /* in this life, and not only perhaps in one before */
};

struct pg_options {
    const struct pg_ops *ops; /* borrowed */
    void *context;
    struct pg_times times;
    uint8_t self, node_count;
    uint8_t in_sync_min; /* copies without which nothing is acknowledged to clients */
    /* The register's record (read before pg_init) knows this node by another disk than it has now:
     * what the group counted on is not here. It neither leads nor takes over until pg_disk_known().
     */
    bool is_new_disk;
    uint64_t nonce_seed; /* random at each start */
};

#define PG_WINDOW 256u /* records on their way to one replica */

struct pg {
    struct pg_options options;
    struct pg_durable d;
    enum pg_role role;
    bool is_starting;  /* this process has not led yet: a primary restarted must take a new term */
    bool is_damaged;   /* our log lacks what was committed: takes no part any more */
    bool is_new_disk;  /* of the options, until pg_disk_known() */
    bool has_resigned; /* neither leads nor takes over, until pg_stand() */
    uint64_t durable;  /* our own log is on the disk up to here */
    uint64_t applied;  /* the driver's word */
    uint64_t version, saved_version; /* of save() */
    uint64_t barrier;                /* first record of our term */
    uint8_t armed;                   /* mask: at most one */
    uint8_t disk_changed;            /* mask: in sync by the record, and with another disk */
    enum pg_swap_state swap_state;
    struct pg_config wanted; /* by the swap under way */
    uint64_t nonce_count;
    uint64_t beacon_due_ns, ask_due_ns, take_over_due_ns;
    struct pg_peer peers[PG_NODES_MAX];
};

/* ---- life ---- */
/* `restored`: what save() and append() made durable in the life before; the register's first record
 * for a new group. */
void pg_init(struct pg *pg, const struct pg_options *options, const struct pg_durable *restored,
             uint64_t now_ns);
void pg_tick(struct pg *pg, uint64_t now_ns); /* every few ms; cheap when nothing is due */

/*
 * What is in this primary's log and not on its disk cannot get there: its data is lost, or the disk
 * is full. As after a restart it takes a new term, which begins behind what is on the disk; lost()
 * comes at once. Does nothing unless it is primary and no swap is under way: say it again.
 */
void pg_lead_anew(struct pg *pg, uint64_t now_ns);

/*
 * This node's disk takes no records at all, not even the barrier of a new term: it leads no more.
 * lost() comes at once, and no promise is asked for, so another one in sync takes over when those
 * that were given are over. It follows as it can, and neither takes over nor leads, also by a swap
 * that is under way, until its disk takes records again and pg_stand() is called. Then, if nobody
 * has taken over, it takes a new term as after a restart. No harm when said twice.
 */
void pg_resign(struct pg *pg, uint64_t now_ns);
void pg_stand(struct pg *pg, uint64_t now_ns);

/* ---- clients' wishes ---- */
/* Gives the record the next psn and sends it on its way. ERR_WOULD_BLOCK: not the open primary.
 * ERR_BUSY: too few replicas in sync, or too much on its way. */
enum err pg_propose(struct pg *pg, uint64_t now_ns, const void *record, uint64_t *ret_psn) MUST_USE;
/* Whether a read of what is applied here would be linearizable now. */
bool pg_may_read(const struct pg *pg, uint64_t now_ns);

/* ---- what came of effects ---- */
/* Everything asked of the disk up to save() number `version` and the log up to `psn` is durable. */
void pg_persisted(struct pg *pg, uint64_t now_ns, uint64_t version, uint64_t psn);
/* The driver has applied the committed records up to `psn`, and whoever reads here sees them. Only
 * then are peers told that they are committed: a replica never shows what its primary does not. */
void pg_applied(struct pg *pg, uint64_t psn);
/* `present`: the register's record after a DONE or LOST. */
void pg_swapped(struct pg *pg, uint64_t now_ns, enum pg_swap outcome,
                const struct pg_config *present);
void pg_config_read(struct pg *pg, uint64_t now_ns, const struct pg_config *present);

/* A record of the register names the disk that is here: who put it there had it caught up. To be
 * said at each record that does, before pg_swapped() or pg_config_read() with it. */
void pg_disk_known(struct pg *pg);

/* ---- peers ---- */
/* The node is there with a disk that is not the record's (the driver compares when a link is up and
 * when it has a record, before it hands over anything the node says): nothing it has acknowledged
 * counts any more, and the primary takes it out of the in-sync set. No harm when said twice. */
void pg_peer_disk_changed(struct pg *pg, uint8_t node);
/* Tells a replica what is committed, between beacons: nothing unless this node is primary. */
void pg_tell_commit(struct pg *pg, uint8_t to);
void pg_receive(struct pg *pg, uint64_t now_ns, uint8_t from, const struct pg_message *message);
void pg_append_message(const struct pg *pg, uint64_t psn, uint64_t term, const void *record,
                       struct pg_message *ret_message);

static inline bool pg_mask_has(uint8_t mask, unsigned node)
{
    return mask >> node & 1;
}

#endif
