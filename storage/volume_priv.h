/*
 * The inside of a volume, for storage alone. Who owns what:
 *
 *     any loop       body_*, read_plan_*, object_put             takes space, writes, reads
 *     any thread     volume_commit(): pushes onto the committer's queue
 *     committer      judges, syncs, writes the index, publishes: the only writer of kv and buckets
 *     keeper         frees what readers have let go, makes and removes segments, watches space
 *
 * With VOLUME_NO_THREADS volume_step() is both threads in turn.
 *
 * Locks, in this order and each held shortly: commit.lock, reclaim.lock, space.lock, alloc's, pins'
 * shards, bodies.lock.
 *
 * Reading the index: volume__index_usable() first. After a failed write the handle is only closed
 * (VOLUME_FAILED), so everything that would ask it answers ERR_VOLUME_FAILED instead; what is
 * cached may still be read.
 */
#ifndef STORAGE_VOLUME_PRIV_H
#define STORAGE_VOLUME_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "storage/alloc.h"
#include "storage/apply.h"
#include "storage/buckets.h"
#include "storage/cache.h"
#include "storage/commit.h"
#include "storage/keeper.h"
#include "storage/pins.h"
#include "storage/reclaim.h"
#include "storage/segment.h"
#include "storage/space.h"
#include "storage/superblock.h"
#include "storage/volume.h"

#define VOLUME_MAGIC     0x766f6c75u
#define VOLUME_DIR_BYTES 256u /* of its path, with the NUL */

struct body_pool { /* bodies not in use, so that the next PUT allocates nothing */
    pthread_mutex_t lock;
    struct body *free; /* owned */
    uint32_t free_count;
    _Atomic uint64_t writes_begun, writes_ended; /* on the disk */
};

struct volume {
    uint32_t magic;
    char dir[VOLUME_DIR_BYTES];
    struct disk *disk;       /* borrowed */
    struct clock *clock;     /* borrowed */
    struct rand *rand;       /* borrowed */
    struct kv *kv;           /* owned */
    struct cache *cache;     /* owned */
    struct buckets *buckets; /* owned */
    struct pins *pins;       /* owned */
    struct segments segments;
    struct alloc *alloc; /* owned */
    struct space space;
    struct reclaim reclaim;
    struct commit commit;
    struct body_pool bodies;

    struct keeper keeper;
    struct superblock superblock;      /* the keeper's, once open */
    struct disk_file *superblock_file; /* owned; carries the lock */
    uint64_t data_epoch;               /* mount epoch: first half of data ids made now */
    _Atomic uint64_t data_counter;     /* second half of the last one */

    _Atomic int state; /* enum volume_state */
    bool is_damaged;   /* READ_ONLY for good: the index contradicts itself */
    bool read_only;    /* opened so */
    bool is_direct;
    enum volume_threads threads;
    pthread_mutex_t reason_lock;
    char reason[160];
    char file_system[16];

    pthread_t keeper_thread, committer_thread;
    bool has_log; /* KV_LOG is there */
    bool has_keeper, has_committer;
    struct volume *next_open; /* the metrics' list */
};

/* A data id nobody has had before. */
static inline struct data_id volume__new_data_id(struct volume *volume)
{
    return (struct data_id){
        volume->data_epoch,
        atomic_fetch_add_explicit(&volume->data_counter, 1, memory_order_relaxed) + 1};
}

static inline enum volume_state volume__state(const struct volume *volume)
{
    return (enum volume_state)atomic_load_explicit(&volume->state, memory_order_acquire);
}

/* ERR_OK, or ERR_VOLUME_FAILED: ask it before reading the index. */
static inline enum err volume__index_usable(const struct volume *volume)
{
    return volume__state(volume) == VOLUME_FAILED ? ERR_VOLUME_FAILED : ERR_OK;
}

/* For good. Thread-safe; the first reason stays. */
void volume__fail(struct volume *volume, enum err e, const struct err_trail *trail);
/* From VOLUME_OK, and back when nothing else is wrong. */
void volume__enter_read_only(struct volume *volume, const char *reason);
void volume__leave_read_only(struct volume *volume);
/* Puts the reason of the state into the trail and returns `e`. */
enum err volume__tell_state(struct volume *volume, enum err e, struct err_trail *trail);

/* ---- open.c: what volume_open reads, step by step ---- */
enum err volume__load(struct volume *volume, const struct volume_options *options,
                      struct err_trail *trail) MUST_USE;
/* Whether the directory does what `direct` asks for. */
enum err volume__judge_direct(const char *dir, struct disk *disk, enum volume_direct direct,
                              struct disk_probe *ret_probe, struct err_trail *trail) MUST_USE;

#endif
