/*
 * The committer: the one thread that changes the index. Mutations are queued by any thread and
 * answered in the order they were queued; those of the log stand in a line of their own and go
 * first.
 *
 *     take what is queued -> fdatasync each segment its bodies were written to
 *     -> apply each to one batch -> one synced write of the index
 *     -> publish: buckets, names out of the cache -> released extents to reclaim -> answer
 *
 * While one batch syncs the next one gathers in the queue, so there is no timer: an idle volume
 * answers at the speed of the disk, a busy one shares each flush among all who wait. A batch that
 * changes nothing is not written, and one of nothing but what the log holds is not synced (log.h).
 *
 * Everything in a batch is answered alike when the disk fails: a failed sync or write fails the
 * volume (VOLUME_FAILED) and nothing is tried again; whether that batch is there will be known at
 * the next open. Only a full disk is survived: the batch is not there, but as long as no later
 * batch is, its space stays taken (limbo), in case it comes back from the log after a crash.
 */
#ifndef STORAGE_COMMIT_H
#define STORAGE_COMMIT_H

#include <pthread.h>
#include <stdatomic.h>

#include "storage/apply.h"
#include "storage/copy.h"
#include "storage/log.h"
#include "storage/reclaim.h"

struct volume;

#define COMMIT_MUTATIONS_MAX   1024u
#define COMMIT_BATCH_BYTES_MAX MIB(8)
#define COMMIT_SEGMENTS_MAX    64u /* records of segments on their way into or out of the index */

enum commit_kind { COMMIT_MUTATION, COMMIT_LOG_APPEND, COMMIT_LOG_SAVE, COMMIT_COPY };

/* What was taken from the queue, oldest first. */
struct commit_line {
    struct commit_item *first, *last; /* NULL: nothing waits */
};

struct segment_change {
    uint32_t number;
    bool is_new; /* else: to be forgotten */
};

struct commit {
    _Atomic(struct commit_item *) queue; /* newest first */
    pthread_mutex_t lock;                /* over wake, the segment changes and what is shown */
    pthread_cond_t wake;
    atomic_bool is_asleep;
    atomic_bool is_stopping;
    struct segment_change changes[COMMIT_SEGMENTS_MAX];
    uint32_t change_count;
    /* Records durably gone: the keeper removes the files. */
    uint32_t forgotten[COMMIT_SEGMENTS_MAX];
    uint32_t forgotten_count;
    atomic_bool gc_wanted;       /* there may be deferred deletions to be done */
    atomic_bool probe_wanted;    /* write something, to see whether the index can */
    atomic_bool flush_wanted;    /* write segment changes, and sync, even though nobody commits */
    _Atomic uint64_t trim_below; /* rows of the log below it are not needed any more */
    struct log_range log_shown;  /* as of the last batch written */
    struct copy_mark copy_shown; /* the same */

    /* What the disk was asked by the batch at hand, by a number of its own; 0: nothing. */
    _Atomic uint64_t under_way;

    /* the committer's own */
    uint64_t asked;             /* the last of these numbers */
    struct commit_line replays; /* of the log: these go first, without a sync */
    struct commit_line own;     /* all others */
    struct kv_batch *batch;     /* owned */
    struct effects effects;
    struct apply apply;
    struct released_list limbo;
    struct log_range log;   /* as the batch at hand leaves it */
    struct copy_mark copy;  /* the same */
    uint64_t log_rows_from; /* there may be rows from here on; those below log.first are to go */
    bool gc_is_broken, trim_is_broken;
    bool is_blocked; /* the last write found the disk full: only mutations and probes try again */
    uint64_t ticked_ns; /* when the keeper was last asked to look at the disk */

    _Atomic uint64_t seq; /* of the last batch written */
    /* Of the last one that was synced: it and all before are durable. */
    _Atomic uint64_t synced_seq;
    _Atomic uint64_t unsynced_since_ns; /* when the first batch behind it was written; 0: none */
    _Atomic uint64_t last_psn;
    _Atomic uint64_t batches, mutations;
};

void commit_init_locks(struct commit *commit);
enum err commit_init(struct volume *volume) MUST_USE; /* kv, buckets and pins are open */
void commit_fini(struct commit *commit);              /* nothing may be queued */
void *commit_run(void *volume);                       /* the thread */
void commit_stop(struct volume *volume); /* the thread ends after its batch; then commit_drain() */
void commit_wake(struct volume *volume); /* any thread */
/* B. When the thread has ended: answers what is queued and writes segment changes. */
void commit_drain(struct volume *volume);
/* B. One batch. False: there was nothing to do. */
bool commit_step(struct volume *volume);
/* The committer's `log` and `copy` are what others see from now on. */
void commit_show_log(struct volume *volume);

/*
 * The keeper's, who alone adds changes. A new segment must be told before anything is allocated in
 * it.
 */
bool commit_has_room(struct volume *volume, uint32_t changes);
bool commit_segment(struct volume *volume, struct segment_change change); /* false: no room */
uint32_t commit_take_forgotten(struct volume *volume, uint32_t numbers[COMMIT_SEGMENTS_MAX]);

#endif
