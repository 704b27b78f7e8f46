/*
 * Applying a mutation: judge its conditions against the index as the batch under construction would
 * leave it, then add to the batch what it changes, and tell what follows from it once the batch is
 * durable. Pure but for reads of the index: no disk, no clock, no threads, so every kind is tested
 * by tables on kv_sim.
 *
 * Effects are collected for the whole batch and carried out by the committer after the synced
 * write, in this order: names published (the record cache forgets them), data released (reclaim
 * frees the units after its readers), mutations acknowledged.
 */
#ifndef STORAGE_APPLY_H
#define STORAGE_APPLY_H

#include "storage/buckets.h"
#include "storage/data.h"
#include "storage/kv.h"
#include "storage/log.h"

/* Its KV_EXTENT record is deleted in the batch; units are to be freed after readers of the data are
 * gone. */
struct released_extent {
    struct data_id data;
    struct extent extent;
};

struct published_name {
    struct bucket_id bucket;
    uint32_t key_size;
    char key[KEY_BYTES_MAX];
};

/* One for the bucket table in memory. */
struct bucket_change {
    bool created; /* else deleted */
    struct bucket_info bucket;
};

struct effects {
    struct released_extent *released; /* owned, growing */
    size_t released_count, released_capacity;
    struct published_name *published; /* owned, growing */
    size_t published_count, published_capacity;
    struct bucket_change *buckets; /* owned, growing; in order */
    size_t bucket_count, bucket_capacity;
    bool gc_pending; /* KV_GC holds work: run apply_gc_step until it says none is left */
};
void effects_clear(struct effects *effects); /* keeps memory */
void effects_fini(struct effects *effects);

struct apply {
    struct kv *kv;           /* borrowed */
    struct kv_batch *batch;  /* borrowed; gains the changes */
    struct effects *effects; /* borrowed */
    struct buckets *buckets; /* borrowed; read only: changes go through effects */
    /* Borrowed; NULL: nobody reads. Data whose records a reader may still ask for is not deleted,
     * see below. */
    struct pins *pins;
    uint64_t now_ns;         /* mtime given to what is made */
    uint32_t next_bucket_id; /* kept by the volume, stored in KV_SYS by apply when it grows */
};

/*
 * Adds mutation `m` to the batch. On an error the batch and the effects are as before, m->trail
 * says why and m stays unapplied. Sets m's results (existed, mtime_ns, etag, new_bucket). ERR_OK
 * with nothing added is possible (delete of an absent key). A name refers to at most 64 extents'
 * worth of deletions directly; more go through KV_GC in bounded steps.
 */
enum err apply_mutation(struct apply *apply, struct mutation *m) MUST_USE;

/*
 * Adds one bounded step of deferred deletion to the batch; *ret_more: there is more. Called at open
 * and while gc_pending.
 *
 * A reader of an object of several pieces, or of data of several shards, looks records up as it
 * goes. So their deletion always goes through KV_GC, and gc leaves records of data whose last
 * reference it would drop alone while pins_watch() says it is pinned: it goes on to other work, and
 * *ret_more counts only what can be done now. When the last pin goes the volume calls again.
 */
enum err apply_gc_step(struct apply *apply, bool *ret_more) MUST_USE;

/* ---- the log (storage/log.h) ---- */
/* On an error batch and effects are as before, and the trail of what was asked says why. */

/* The row, and the data it brings. ERR_BUSY: data of that id waits for gc. ERR_FILE_EXISTS: it is
 * here already. */
enum err apply_log_append(struct apply *apply, struct log_append *append) MUST_USE;
/* A mutation of a row that is there. ERR_OK: it has *ret_outcome, which may be an error, on every
 * node. An error: this node could not tell. */
enum err apply_logged(struct apply *apply, struct mutation *m, enum err *ret_outcome) MUST_USE;
/* The state, and rows save->last + 1..last gone with what they brought. */
enum err apply_log_save(struct apply *apply, struct log_save *save, uint64_t last) MUST_USE;
/* Deletes rows *from.. below `upper`, at most LOG_TRIM_ROWS, and moves *from behind them. All of
 * them are applied. */
#define LOG_TRIM_ROWS 256u
enum err apply_log_trim(struct apply *apply, uint64_t upper, uint64_t first,
                        uint64_t *from) MUST_USE;
struct copy_step;
struct copy_mark;
/* A step of a copy coming in (storage/copy.h), one that is due after `mark`. */
enum err apply_copy(struct apply *apply, struct copy_step *step, const struct copy_mark *mark,
                    const struct log_range *log) MUST_USE;
/* From now on the log begins here. */
enum err apply_log_first(struct apply *apply, uint64_t first) MUST_USE;

#endif
