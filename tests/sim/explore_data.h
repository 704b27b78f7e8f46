/*
 * What happens to data in a group, in small: three nodes, two keys, three data, five records, and
 * all ways in which they can go. Bodies are pushed ahead of their records, pulled and dropped;
 * records wait for them, are logged, committed, applied, cut off and trimmed; references come and
 * go with names, copies of objects and deferred deletion; what a crash loses is lost; a node that
 * the log cannot fill any more is filled by a copy.
 *
 *     explore_data.c        walks, the search, seeded bugs, the command line
 *     explore_data_acts.c   what can happen to bodies, records and data
 *     explore_data_group.c  ... and to nodes: copies, take-overs, crashes
 *     explore_data_node.c   one node's volume: rows, names, references, space, copies
 *     explore_data_check.c  what must hold, and whether all comes to rest with nothing left over
 *
 * Who is primary and in sync is here what the protocol makes of it (explore.h and sim.h run that
 * itself): a configuration that all nodes know at once, a commit when all in sync have it on the
 * disk. What a node decides about data is decided by the product's own functions, of
 * replication/data_way.h and storage/retain.h; beside each rule that is only a model stands the
 * name of the function it stands for.
 */
#ifndef TESTS_SIM_EXPLORE_DATA_H
#define TESTS_SIM_EXPLORE_DATA_H

#include <stdbool.h>
#include <stdint.h>

#include "replication/data_way.h"
#include "storage/retain.h"

#define DX_NODES   3u
#define DX_KEYS    2u /* an object under the last one has a manifest: gc lets go of its pieces */
#define DX_DATA    3u /* the first is large: deleted in two steps, by gc */
#define DX_RECORDS 5u
#define DX_NONE    255u
#define DX_KEPT    1u /* records of the log, when nobody needs more */
#define DX_ACTIONS 160u

/* ---- records ---- */

enum dx_kind { DX_PUT, DX_PUT_NEW, DX_DELETE, DX_COPY };
struct dx_record {
    uint8_t kind, key, psn;
    uint8_t data;       /* PUT: that it brings; COPY: that it refers to once more; else DX_NONE */
    uint8_t is_excused; /* a crash, or a disk that refused, may have taken its data with it */
};

/* ---- a node ---- */

enum dx_bytes { DX_NOTHING, DX_ABSENT, DX_PART, DX_WHOLE };

/* What the index says. All of it is bytes, compared and hashed as such. */
struct dx_index {
    uint8_t applied, first, last;
    uint8_t row[DX_RECORDS + 1]; /* numbers of records, plus one; 0: no row */
    uint8_t name[DX_KEYS];       /* data, plus one; 0: no such object */
    uint8_t noted[DX_DATA];      /* references of manifests whose names are gone */
    uint8_t state[DX_DATA];      /* enum dx_bytes */
    uint8_t references[DX_DATA];
    uint8_t is_shared[DX_DATA]; /* the count is written down */
    uint8_t is_noted[DX_DATA];  /* for deletion by gc */
    uint8_t extent[DX_DATA];    /* where it lies: which of those ever given to it */
    uint8_t phase, copy_psn;    /* struct copy_mark */
};

enum dx_dying { DX_NOT_DYING, DX_HELD, DX_FRESH };
enum dx_ask { DX_NO_ASK, DX_ASKED, DX_LOOKING, DX_COMING, DX_NOT_YET, DX_GONE };

struct dx_node {
    struct dx_index index, disk; /* `disk`: of the last synced batch; index.last is synced always */
    struct {
        uint8_t state, extent;
    } dying[DX_DATA];         /* space on its way back */
    uint8_t extents[DX_DATA]; /* given so far */

    uint8_t log[DX_RECORDS + 1], last; /* pg's; behind index.last records wait for their data */
    uint8_t commit, term;              /* told; whose log ours is a prefix of */
    uint8_t gone;                      /* mask of psns: their data was said to be gone */
    uint8_t applied;                   /* as it says to others */

    uint8_t body[DX_DATA];        /* enum incoming_state */
    uint8_t on_its_way, dropping; /* masks of data: chunks and DROPs under way to here */
    struct {
        uint8_t state, to, psn, applied, extent, is_wanted;
    } ask[DX_DATA]; /* PULL; extent: that the other side sends, which it has pinned */

    struct {
        uint8_t is_said, epoch, first;
    } too_old; /* under way to here */
    struct {
        uint8_t is_on, run, has_run, from, psn, skipped, told_psn;
    } copy; /* this one is the target; told_psn: as the others know it */
    struct {
        uint8_t is_on, psn, promised;
    } hold[DX_NODES]; /* rows that are kept here for that node */
};

enum dx_data { DX_UNUSED, DX_WITHOUT_NAME, DX_NUMBERED, DX_GIVEN_UP };

/* How often things may happen on one way. */
struct dx_limits {
    uint8_t bodies, records, crashes, leads, outs, copies, refusals;
};

/* What a way has met, for what is told at the end. */
enum dx_met {
    DX_MET_CUT,
    DX_MET_CUT_DATA,
    DX_MET_TAKE_OVER,
    DX_MET_GONE,
    DX_MET_PULLED,
    DX_MET_GC,
    DX_MET_TRIM,
    DX_MET_COPY,
    DX_MET_COPY_KEPT,
    DX_MET_COPY_AGAIN,
    DX_MET_COPY_FILLED,
    DX_MET_COPY_ENDED,
    DX_MET_SHARED,
    DX_MET_REFUSED,
    DX_MET_CRASH,
    DX_MET_COUNT
};

struct dworld {
    struct dx_node nodes[DX_NODES];
    struct dx_record records[DX_RECORDS];
    uint8_t data[DX_DATA], origin[DX_DATA];

    /* the group, as pg makes it */
    uint8_t primary, in_sync, term, epoch, barrier, must_lead;
    uint8_t committed[DX_RECORDS + 1], commit; /* numbers of records, plus one */

    /* the one snapshot there is, for `target` */
    struct dx_index snapshot;
    uint8_t snapshot_of; /* node, plus one */

    struct dx_limits so_far;

    /* behind this nothing is part of the state */
    uint32_t met;
    char violation[160];
};

enum dx_action_kind {
    DX_BODY,    /* a gateway has a body on its disk, and chunks of it are under way to all */
    DX_ARRIVE,  /* there, whole */
    DX_GIVE_UP, /* a body that gets no number */
    DX_DROP,    /* word of that arrives */
    DX_PROPOSE, /* to the primary's log */
    DX_SEND,    /* the next record, to a node */
    DX_LOG,     /* the record at the head of the line */
    DX_REFUSE,  /* it was given to the volume, which did not take it: its body is gone */
    DX_COMMIT,
    DX_LEARN, /* what is committed */
    DX_APPLY,
    DX_SYNC,      /* of what was applied */
    DX_ASK,       /* PULL is sent */
    DX_ASK_COMES, /* there */
    DX_LOOK,      /* its data is looked up there */
    DX_ANSWER,    /* COMING with all chunks, NOT_YET or GONE arrives */
    DX_IDLE,      /* nothing has happened to a body for long */
    DX_COLLECT,   /* a step of gc: data */
    DX_RELEASE,   /* a step of gc: a piece of a manifest */
    DX_FREE,
    DX_TRIM,
    DX_SAY_TOO_OLD,
    DX_TOO_OLD, /* arrives */
    DX_RUN,     /* of rows, merged and synced */
    DX_NAMED,
    DX_STORE, /* data of the copy */
    DX_END,
    DX_TELL,      /* the others hear what is being copied */
    DX_MATCH,     /* logs, at the start of a term */
    DX_MATCH_LOW, /* of who has forgotten the terms: as far as is known to be committed */
    DX_OUT,       /* of the in-sync set */
    DX_JOIN,
    DX_LEAD,       /* take-over; of the primary, a new term */
    DX_CRASH,      /* and restart: what was not synced is lost, */
    DX_CRASH_LATE, /* or is not */
    DX_KINDS
};

struct dx_action {
    uint8_t kind, node, what, to;
};

/* ---- explore_data_node.c: a volume ---- */
void dx_violated(struct dworld *world, const char *text, unsigned node, unsigned what);
void dx_synced(struct dx_node *node);
bool dx_is_read(const struct dworld *world, unsigned node, unsigned data);
bool dx_append(struct dworld *world, unsigned node, bool has_body); /* false: later */
void dx_apply(struct dworld *world, unsigned node);
void dx_cut(struct dworld *world, unsigned node, unsigned last);
void dx_collect(struct dworld *world, unsigned node, unsigned data);
void dx_release(struct dworld *world, unsigned node, unsigned data);
void dx_free(struct dworld *world, unsigned node, unsigned data);
bool dx_copy_step(struct dworld *world, unsigned node, enum copy_step_kind kind, unsigned psn,
                  unsigned data);
#define DX_RUNS (DX_DATA + 3u) /* the log, each data, notes of gc, names */
void dx_add(struct dx_node *node, unsigned data);

/* ---- explore_data_acts.c ---- */
void dworld_init(struct dworld *world);
unsigned dworld_actions(const struct dworld *world, const struct dx_limits *limits,
                        struct dx_action ret_actions[DX_ACTIONS]);
void dworld_act(struct dworld *world, struct dx_action action); /* and looks at what must hold */
void dworld_tell(const struct dworld *world, struct dx_action action, char *out, size_t size);

/* ---- explore_data_check.c ---- */
struct dx_truth { /* behind record `psn` */
    uint8_t name[DX_KEYS], refused;
};
void dx_truth(const struct dworld *world, unsigned psn, struct dx_truth *ret_truth);
bool dx_is_let_go(const struct dworld *world, unsigned data); /* by what is committed */
void dx_check(struct dworld *world);
/* No more faults and no more changes: all that is under way ends. */
void dx_settle(struct dworld *world);
uint64_t dworld_hash(const struct dworld *world);

#endif
