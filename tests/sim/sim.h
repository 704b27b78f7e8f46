/*
 * A cluster of one placement group in virtual time: the product's pg (replication/pg.h) on every
 * node, and all that is around it made here and broken here, by one seed: network, disks, clocks,
 * the configuration register, crashes, pauses, partitions. The same seed gives the same run.
 *
 *     sim_cluster.c   nodes, network, disks, register: the effects of struct pg_ops
 *     sim_faults.c    what goes wrong, and when
 *     sim_check.c     what must hold after each event, and at the end
 *     sim_main.c      seeds, seeded bugs, the command line
 */
#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

#include "base/rand.h"
#include "replication/pg_priv.h"

#define SIM_RECORDS_MAX 4096u /* of a run; the clients stop there */
#define SIM_EVENTS_MAX  65536u
#define SIM_DISK_QUEUE  1024u

typedef uint64_t record_id; /* 0: a term's barrier */

struct sim_record {
    record_id id;
    uint64_t term;
};

enum sim_event_kind {
    SIM_TICK,
    SIM_DELIVER,   /* a message */
    SIM_PERSISTED, /* the disk has done what was asked of it up to a point */
    SIM_SWAP,      /* a swap reaches the register */
    SIM_SWAPPED,   /* its answer reaches the node */
    SIM_CONFIG,    /* a read's answer reaches the node */
    SIM_CLIENT,
    SIM_FAULT,
    SIM_RESTART,
    SIM_HEAL,
};

struct sim_event {
    uint64_t at_ns, order; /* order: first come, first served at the same time */
    enum sim_event_kind kind;
    uint8_t node, from;
    uint32_t life; /* of the node it is for; 0: any */
    uint64_t number;
    struct pg_config config;
    enum pg_swap outcome;
    struct pg_message message;
};

/* One thing asked of a disk. */
struct sim_write {
    bool is_save;
    uint64_t version;
    struct pg_durable state;
    uint64_t psn;
    struct sim_record record;
};

struct sim_disk {
    struct pg_durable state;
    struct sim_record log[SIM_RECORDS_MAX + 1]; /* by psn */
    uint64_t version;
    struct sim_write queue[SIM_DISK_QUEUE]; /* a ring: done..asked */
    uint64_t asked, done;
    uint64_t busy_until_ns;
};

struct sim_node {
    struct sim *sim;
    uint8_t index;
    bool is_up;
    uint32_t life;
    uint64_t paused_until_ns; /* what comes meanwhile comes then */
    uint64_t clock_offset_ns;
    int64_t clock_rate_ppm;
    struct pg pg;
    struct sim_record log[SIM_RECORDS_MAX + 1];
    uint64_t asked_psn[SIM_RECORDS_MAX + 1]; /* proposed here and not answered: psn by record */
    struct sim_disk disk;
};

struct sim_options {
    uint64_t seed;
    unsigned node_count;
    uint64_t duration_ns; /* with faults; then all is healed and must come together */
    bool is_told;         /* print every event */
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
    struct pg_config present; /* in the register */
    bool register_is_down;

    /* history */
    record_id next_id;
    record_id committed[SIM_RECORDS_MAX + 1]; /* by psn, once anybody has said so */
    uint64_t committed_to, acked_to, read_to;
    uint64_t acks, reads, unknown, crashes, swaps, events;
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
uint64_t sim_local_ns(const struct sim_node *node); /* what its clock says */
void sim_node_start(struct sim_node *node);
void sim_node_crash(struct sim_node *node);
void sim_violated(struct sim *sim, const char *format, ...) PRINTF_LIKE(2, 3);
#define SIM_TELL(sim, ...)                                                                         \
    do {                                                                                           \
        if ((sim)->options.is_told)                                                                \
            sim_tell(sim, __VA_ARGS__);                                                            \
    } while (0)
void sim_tell(struct sim *sim, const char *format, ...) PRINTF_LIKE(2, 3);

/* sim_faults.c */
void sim_fault(struct sim *sim);
void sim_heal(struct sim *sim);

/* sim_check.c */
void sim_check_committed(struct sim_node *node, uint64_t psn);
void sim_check_acked(struct sim_node *node, uint64_t psn);
void sim_check_read(struct sim_node *node);
void sim_check_replicas(struct sim *sim); /* after the register or a commit moved */
void sim_check_leases(struct sim *sim);
void sim_check_end(struct sim *sim);

#endif
