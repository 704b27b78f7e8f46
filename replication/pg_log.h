/*
 * What a node knows of its log without reading it: which psns there are, and under which term each
 * was written. A primary writes many records in one term, so runs of equal terms say it all.
 *
 *     psn    1   2   3 | 4   5 | 6            runs: {1, term 1} {4, term 3} {6, term 4}
 *     term   1   1   1   3   3   4            base: the highest psn known to be committed when
 *                                             runs were last forgotten; its term is kept, and the
 *                                             one before: a log that ends there still matches
 *
 * The same psn under the same term is the same record, and all before it are the same too (Raft's
 * log matching property): each record is written by one primary, and a log is only continued where
 * it agreed. So two logs are compared by their runs, in one message.
 */
#ifndef REPLICATION_PG_LOG_H
#define REPLICATION_PG_LOG_H

#include <stdbool.h>
#include <stdint.h>

/* A term more is a take-over or a restart since the last forgotten run; when there is no room the
 * oldest run goes, and a log that differs that far back is sent again from what is committed. */
#define PG_RUNS_MAX 32u

struct pg_run {
    uint64_t first_psn, term;
};

struct pg_log {
    uint64_t last; /* highest psn; 0: empty */
    uint64_t base; /* committed; terms below it may be forgotten */
    uint32_t run_count;
    struct pg_run runs[PG_RUNS_MAX]; /* ascending in both */
};

uint64_t pg_log_term(const struct pg_log *log, uint64_t psn); /* 0: not known, or no such psn */
void pg_log_append(struct pg_log *log, uint64_t term);        /* psn last + 1; terms never fall */
void pg_log_cut(struct pg_log *log, uint64_t last);           /* what comes behind is gone */
void pg_log_forget(struct pg_log *log, uint64_t committed);   /* runs that end before it but one */
/* The highest psn at which both hold the same record; 0: none. Below what either has forgotten, it
 * is what `log` knows to be committed. */
uint64_t pg_log_match(const struct pg_log *log, const struct pg_log *other);
/* A log as a message brought it: sound in itself? */
bool pg_log_is_sound(const struct pg_log *log);

#endif
