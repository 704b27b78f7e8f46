/*
 * The keeper: the volume's second thread, for what may wait for the disk and nobody waits for. It
 * sleeps until woken; only while something is due (a superblock to be brought up to date, a full
 * disk to be looked at again) does it wake by itself.
 *
 *     one pass: reclaim what readers let go -> measure the disk -> enter or leave READ_ONLY
 *               -> make segments, or give empty ones back -> superblock -> wake bodies that wait
 *
 * A segment is made ahead of need: one wholly empty one is kept while the disk has room for many;
 * on a small disk, when what is free in the others falls below half a segment.
 */
#ifndef STORAGE_KEEPER_H
#define STORAGE_KEEPER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct volume;

struct keeper {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool is_wanted, is_stopping;
    uint64_t measured_ns;      /* when the disk was last asked */
    uint64_t refused_ns;       /* when a segment could not be made; 0: it could */
    uint64_t superblock_at_ns; /* when it is to be written; 0: it is up to date */
    bool was_read_only;        /* after the last pass */
    uint64_t compacted_ns;     /* when the index was last asked to give space back ... */
    uint64_t compacted_seq;    /* ... and how far it was then */
};

void keeper_init(struct keeper *keeper);
void keeper_fini(struct keeper *keeper);
void *keeper_run(void *volume); /* the thread */
void keeper_stop(struct volume *volume);
void keeper_wake(struct volume *volume); /* any thread */
/* B. One pass. Returns in how many ns it wants another; UINT64_MAX: when woken. */
uint64_t keeper_step(struct volume *volume);
/* B. For VOLUME_NO_THREADS: does at once what a body would wait for. */
void keeper_provide(struct volume *volume);

#endif
