/*
 * What the files of the committer share:
 *
 *     commit.c        the queue, the thread, segments on their way
 *     commit_item.c   what is asked: judged, applied, answered
 *     commit_batch.c  one batch, from the queue to the answers
 */
#ifndef STORAGE_COMMIT_PRIV_H
#define STORAGE_COMMIT_PRIV_H

#include "storage/commit.h"

struct commit_round {
    struct commit_item *first, **end; /* in order, each decided or in the batch */
    uint32_t count;
    uint32_t own;     /* what must be synced: all but mutations of the log */
    uint32_t logged;  /* mutations of the log */
    uint32_t changes; /* segment changes in the batch */
    bool has_gc, gc_more;
    bool has_trim;
    bool must_write;
    bool is_synced;  /* once it is written */
    enum err failed; /* the volume has: a mutation of the log could not be applied here */
    struct err_trail failed_trail;
    struct {
        uint32_t next_bucket_id;
        uint64_t last_psn, log_rows_from;
        struct log_range log;
        struct copy_mark copy;
    } before;
};

/* ---- commit.c ---- */
void commit__take_queue(struct commit *commit);
/* The line the next batch is taken from. Empty: nothing waits. */
struct commit_line *commit__next_line(struct commit *commit);
struct commit_item *commit__pop(struct commit_line *line); /* there is one */

/* ---- commit_item.c ---- */
struct err_trail *commit__trail(struct commit_item *item);
struct body *commit__body(struct commit_item *item); /* NULL: it has none */
/* Whether it may be tried in the state the volume is in; into item->err. */
void commit__judge(struct volume *volume, struct commit_item *item);
/* Adds it to the batch; item->err, or what it comes to. */
void commit__apply(struct volume *volume, struct commit_round *round, struct commit_item *item);
/* To its owner's loop; the body is somebody else's or ended by now. */
void commit__answer(struct commit_item *item);

/* ---- commit_batch.c ---- */
void commit__register_metrics(void);
bool commit__has_work(struct volume *volume);

#endif
