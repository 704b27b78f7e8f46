/*
 * A cluster of one placement group in virtual time: the product's pg (replication/pg.h) on every
 * node, and all that is around it made here and broken here, by one seed: network, disks, clocks,
 * the configuration register, crashes, pauses, partitions. The same seed gives the same run.
 *
 *     sim_cluster.c   nodes, network, disks: the effects of struct pg_ops
 *     sim_register.c  the configuration register, and what a driver does with its records
 *     sim_quorum.c    the register that the nodes keep themselves, and what must hold of it
 *     sim_faults.c    what goes wrong, and when
 *     sim_check.c     what must hold after each event, and at the end
 *     sim_main.c      seeds, seeded bugs, the command line
 */
#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

#include "base/rand.h"
#include "replication/pg_priv.h"
#include "replication/register_quorum.h"

#define SIM_RECORDS_MAX 4096u /* of a run; the clients stop there */
#define SIM_EVENTS_MAX  65536u
#define SIM_DISK_QUEUE  1024u
#define SIM_EPOCHS_MAX  4096u
#define SIM_BALLOTS     256u /* the newest that anybody has taken something under */

typedef uint64_t record_id; /* 0: a term's barrier */

struct sim_record {
    record_id id;
    uint64_t term;
};

enum sim_event_kind {
    SIM_TICK,
    SIM_DELIVER,   /* a message */
    SIM_QUORUM,    /* a message of the register among the nodes */
    SIM_PERSISTED, /* the disk has done what was asked of it up to a point */
    SIM_APPLIED,   /* what is committed shows */
    SIM_SWAP,      /* a swap reaches the register */
    SIM_SWAPPED,   /* its answer reaches the node */
    SIM_CONFIG,    /* a read's answer reaches the node */
    SIM_CLIENT,
    SIM_FAULT,
    SIM_CRASH, /* of this node */
    SIM_RESTART,
    SIM_DISK_TAKES, /* again, what it was asked */
    SIM_HEAL,
};

/* The register's record. A disk is known by its number, which grows when it is replaced. */
struct sim_value {
    struct pg_config config;
    uint8_t disks[PG_NODES_MAX];
};

struct sim_event {
    uint64_t at_ns, order; /* order: first come, first served at the same time */
    enum sim_event_kind kind;
    uint8_t node, from;
    uint32_t life; /* of the node it is for; 0: any */
    uint64_t number;
    uint8_t disk;       /* DELIVER: the sender's */
    uint8_t disks_mask; /* SWAP: what of value.disks is new */
    struct sim_value value;
    enum pg_swap outcome;
    struct pg_message message;
    uint8_t quorum[QUORUM_MESSAGE_BYTES];
};

enum sim_register {
    SIM_MAGIC,         /* pg on a register outside, that answers late or not at all */
    SIM_AMONG,         /* pg on a register of the nodes */
    SIM_REGISTER_ONLY, /* that one alone, with proposers on all nodes */
    SIM_REGISTERS,
};

/* One thing asked of a disk. */
struct sim_write {
    enum { SIM_WRITE_SAVE, SIM_WRITE_APPEND, SIM_WRITE_QUORUM } kind;
    uint64_t version;
    struct pg_durable state;
    uint64_t psn;
    struct sim_record record;
    struct quorum_state quorum;
};

struct sim_disk {
    struct pg_durable state;
    struct sim_record log[SIM_RECORDS_MAX + 1]; /* by psn */
    uint64_t version;
    struct quorum_state quorum;
    uint64_t quorum_version;
    bool has_left_votes; /* of the disk before, that may still be counted */
    uint8_t number;
    uint64_t refuses_from_ns, refuses_until_ns; /* UINT64_MAX: for ever */
    bool hangs; /* and does not say so: what it was asked may be there, when nobody is told */
    struct sim_write queue[SIM_DISK_QUEUE]; /* a ring: done..asked */
    uint64_t asked, done;
    uint64_t busy_until_ns;
};

struct sim_node {
    struct sim *sim;
    uint8_t index;
    bool is_up;
    bool is_joining; /* up, and waits for the register's record before it takes part */
    uint32_t life;
    uint64_t paused_until_ns; /* what comes meanwhile comes then */
    uint64_t clock_offset_ns;
    int64_t clock_rate_ppm;
    struct pg pg;
    struct quorum quorum;
    uint64_t swap_floor, read_floor, next_read_floor; /* what had ended when it was asked for */
    uint64_t answered_ns;
    struct sim_record log[SIM_RECORDS_MAX + 1];
    bool is_asked[SIM_RECORDS_MAX + 1];   /* by psn: proposed here and not answered */
    bool may_answer[SIM_RECORDS_MAX + 1]; /* committed in enough copies */
    uint64_t applied;
    uint64_t led_to;        /* in any life: committed here as primary */
    struct sim_value known; /* the newest record the driver has seen */
    uint8_t peer_disks[PG_NODES_MAX];
    uint64_t swap_nonce; /* of the last swap asked for, and what it says of disks */
    uint8_t swap_mask, swap_disks[PG_NODES_MAX];
    struct sim_disk disk;
};

struct sim_options {
    uint64_t seed;
    unsigned node_count;
    uint64_t duration_ns; /* with faults; then all is healed and must come together */
    enum sim_register reg;
    bool breaks_disks; /* some take nothing for a while, or ever again */
    bool is_told;      /* print every event */
};

/* Who had it on the disk, in any life of that disk. */
struct sim_ballot {
    struct quorum_ballot ballot;
    struct quorum_value value;
    uint8_t taken;
    bool is_chosen;
};

/* What has been seen of the register among the nodes. */
struct sim_chosen {
    struct sim_ballot ballots[SIM_BALLOTS];
    uint64_t ballot_count;
    struct quorum_ballot newest;
    struct quorum_value by_epoch[SIM_EPOCHS_MAX];
    uint64_t lost_nonces[SIM_EPOCHS_MAX], lost_count; /* of swaps that never happen */
    uint64_t ended; /* highest epoch that an operation has ended with */
    uint64_t reads, unknown;
};

struct sim {
    struct sim_options options;
    struct rand_seeded rand;
    uint64_t now_ns, order;
    struct sim_event **heap; /* owned, as the events are */
    size_t heap_size;
    bool is_healing;

    struct sim_node nodes[PG_NODES_MAX];
    bool is_cut[PG_NODES_MAX][PG_NODES_MAX]; /* from, to */
    uint64_t last_arrival_ns[PG_NODES_MAX][PG_NODES_MAX];
    unsigned drop_percent, twice_percent;
    struct sim_value present; /* in the register */
    bool register_is_down;
    struct sim_chosen chosen;

    /* history */
    record_id next_id;
    record_id committed[SIM_RECORDS_MAX + 1]; /* by psn, once anybody has said so */
    uint64_t committed_to, acked_to, read_to;
    uint64_t shown_to; /* highest psn applied by whom it was committed */
    uint64_t acks, reads, unknown, crashes, lost_disks, broken_disks, resigned, swaps, events;
    char violation[300]; /* "": none */
};

enum { SIM_FINE = 0, SIM_VIOLATED = 1 };
/* Runs it to the end, or to the first violation. */
int sim_run(struct sim *sim, const struct sim_options *options);

/* ---- between the parts ---- */
uint64_t sim_between(struct sim *sim, uint64_t low, uint64_t high); /* both included */
bool sim_chance(struct sim *sim, unsigned percent);
struct sim_event *sim_event_new(struct sim *sim, enum sim_event_kind kind, uint8_t node,
                                uint64_t delay_ns);
/* The events to be filled in: none when it never comes, two when it comes twice. */
unsigned sim_net_send(struct sim_node *from, uint8_t to, enum sim_event_kind kind,
                      struct sim_event *ret_events[2]);
void sim_disk_ask(struct sim_node *node, const struct sim_write *write);
bool sim_disk_refuses(
    const struct sim_node *node); /* what it is asked: it is done later, or never */
uint64_t sim_local_ns(const struct sim_node *node); /* what its clock says */
void sim_node_start(struct sim_node *node);
void sim_node_join(struct sim_node *node); /* with node->known: now it takes part */
void sim_node_crash(struct sim_node *node);
void sim_node_lose_disk(struct sim_node *node);
void sim_violated(struct sim *sim, const char *format, ...) PRINTF_LIKE(2, 3);
#define SIM_TELL(sim, ...)                                                                         \
    do {                                                                                           \
        if ((sim)->options.is_told)                                                                \
            sim_tell(sim, __VA_ARGS__);                                                            \
    } while (0)
void sim_tell(struct sim *sim, const char *format, ...) PRINTF_LIKE(2, 3);

/* sim_register.c */
void sim_register_swap(void *context, const struct pg_config *next);
void sim_register_read(void *context);
void sim_register_asked(struct sim *sim, const struct sim_event *asked); /* SIM_SWAP */
void sim_register_answered(struct sim_node *node, const struct sim_event *answer);
/* False: from before the peer came with another disk, when the link was fenced. */
bool sim_register_linked(struct sim_node *node, uint8_t peer, uint8_t disk);
bool sim_register_may_lose_disk(const struct sim_node *node);

/* sim_quorum.c */
void sim_quorum_start(struct sim_node *node);
void sim_quorum_swap(struct sim_node *node, const struct sim_value *next, uint8_t disks);
void sim_quorum_read(struct sim_node *node);
void sim_quorum_deliver(struct sim_node *node, const struct sim_event *event);
void sim_quorum_taken(struct sim *sim, uint8_t node, const struct quorum_state *state);
void sim_quorum_disk_lost(struct sim_node *node);
bool sim_quorum_may_lose_disk(const struct sim_node *node);
void sim_quorum_client(struct sim_node *node);
void sim_quorum_check_end(struct sim *sim);

/* sim_faults.c */
void sim_fault(struct sim *sim);
void sim_crash(struct sim *sim, struct sim_node *node);
void sim_disk_takes(struct sim *sim, struct sim_node *node);
void sim_heal(struct sim *sim);

/* sim_check.c */
void sim_check_committed(struct sim_node *node, uint64_t psn);
void sim_check_acked(struct sim_node *node, uint64_t psn);
void sim_check_shown(struct sim_node *node, uint64_t psn); /* what it may apply from now on */
void sim_check_read(struct sim_node *node);
void sim_check_replicas(struct sim *sim); /* after the register or a commit moved */
void sim_check_leases(struct sim *sim);
void sim_check_end(struct sim *sim);

#endif
