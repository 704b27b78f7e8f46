/*
 * The index as a small table of functions: RocksDB (index_rocks.c, the only file that knows it),
 * one that records the batches it is given (kv_record.c) and one in memory that fails on demand and
 * forgets unsynced batches in a crash (kv_sim.c).
 *
 * Keys are ordered bytewise in each family. A batch is applied wholly or not at all. One thread
 * writes (the volume's committer); any may read. A read sees every batch whose kv_write() returned
 * before it began.
 */
#ifndef STORAGE_KV_H
#define STORAGE_KV_H

#include "base/bytes.h"
#include "base/disk.h"

/* The numbers travel between nodes (replication/message.h). */
enum kv_family {
    KV_SYS, /* volume identity, commit sequence, segments, settings */
    KV_BUCKET,
    KV_OBJECT,
    KV_MANIFEST, /* piece and part tables of objects made of several pieces */
    KV_DATA,     /* data_id, shard -> references, extents, sums */
    KV_EXTENT,   /* segment, unit -> data_id: free-space truth and reverse map */
    KV_INLINE,   /* data_id -> bytes of small data */
    KV_UPLOAD,
    KV_PART,
    KV_GC,  /* data to be deleted in bounded batches */
    KV_LOG, /* psn -> a record of the group's log; last, for only volumes with a log have it */
    KV_FAMILY_COUNT,
};

extern const char *const kv_family_names[KV_FAMILY_COUNT];

struct kv;

struct kv_value {
    struct bytes bytes; /* borrowed from the backend until kv_value_put() */
    void *pin;
    struct kv *kv;
};

enum kv_tier {
    KV_ANY,         /* may read the disk */
    KV_MEMORY_ONLY, /* ERR_WOULD_BLOCK when the answer is not in memory */
};

/* ---- a batch: puts and deletes in order, readable before it is written ---- */
struct kv_batch;
enum err kv_batch_open(struct kv_batch **ret_batch) MUST_USE;
void kv_batch_close(struct kv_batch *batch);
void kv_batch_clear(struct kv_batch *batch); /* keeps its memory for the next one */
/* Keys are at most KV_KEY_BYTES_MAX, a longer one is our own bug. key and value may not lie in the
 * batch itself. ERR_NO_MEMORY leaves the batch as it was. */
#define KV_KEY_BYTES_MAX 2304u /* KV_UPLOAD: 4 + twice KEY_BYTES_MAX + 2 + 16, rounded up */
enum err kv_batch_put(struct kv_batch *batch, enum kv_family family, struct bytes key,
                      struct bytes value) MUST_USE;
/* A put whose value the caller writes into the batch, before the next call on it. */
enum err kv_batch_reserve(struct kv_batch *batch, enum kv_family family, struct bytes key,
                          size_t value_size, uint8_t **ret_value) MUST_USE;
enum err kv_batch_delete(struct kv_batch *batch, enum kv_family family, struct bytes key) MUST_USE;
size_t kv_batch_count(const struct kv_batch *batch);
size_t kv_batch_size_bytes(const struct kv_batch *batch);
size_t kv_batch_memory_bytes(const struct kv_batch *batch); /* held, whether filled or not */
/* A mark to which a failed mutation rolls the batch back. */
struct kv_mark {
    size_t count, size;
};
struct kv_mark kv_batch_mark(const struct kv_batch *batch);
void kv_batch_rollback(struct kv_batch *batch, struct kv_mark mark);
/* What the batch would leave under a key: 1 a value (borrowed until the batch changes), 0 deleted,
 * -1 the batch says nothing. */
int kv_batch_find(const struct kv_batch *batch, enum kv_family family, struct bytes key,
                  struct bytes *ret_value);
/* For backends: operation i in order; is_delete tells which. */
void kv_batch_at(const struct kv_batch *batch, size_t i, enum kv_family *ret_family,
                 struct bytes *ret_key, struct bytes *ret_value, bool *ret_is_delete);
/* The operations of one family, newest first, so that a merge with the index looks at no other:
 * `before` is the operation last seen or KV_BATCH_END; returns an operation's number or
 * KV_BATCH_END. */
#define KV_BATCH_END SIZE_MAX
size_t kv_batch_previous(const struct kv_batch *batch, enum kv_family family, size_t before);

/* The index as it was at one moment, all families alike. What batches replace or delete meanwhile
 * keeps its space until it is closed. */
struct kv_snapshot;

struct kv_iter;
struct kv_iter_options {
    enum kv_family family;
    /* Borrowed until close; NULL: as it is when the iterator is opened. */
    struct kv_snapshot *snapshot;
    struct bytes lower, upper; /* borrowed until close; upper exclusive, empty: none */
    bool scan;                 /* a long sequential scan: read ahead, do not fill the cache */
};

struct kv_stats {
    uint64_t memory_bytes; /* block cache, memtables, table readers */
    uint64_t disk_bytes;
    uint64_t rows; /* of all families, estimated */
    bool write_stopped;
};

struct kv_ops {
    enum err (*get)(struct kv *kv, enum kv_family family, struct bytes key, enum kv_tier tier,
                    struct kv_value *ret_value); /* ERR_NO_SUCH_OBJECT */
    void (*value_put)(struct kv_value *value);
    enum err (*write)(struct kv *kv, const struct kv_batch *batch, bool sync,
                      struct err_trail *trail);
    enum err (*iter_open)(struct kv *kv, const struct kv_iter_options *options,
                          struct kv_iter **ret_iter);
    void (*iter_close)(struct kv_iter *iter);
    void (*iter_seek)(struct kv_iter *iter, struct bytes key); /* first key >= */
    void (*iter_next)(struct kv_iter *iter);
    bool (*iter_valid)(const struct kv_iter *iter);
    struct bytes (*iter_key)(const struct kv_iter *iter);
    struct bytes (*iter_value)(const struct kv_iter *iter);
    enum err (*iter_err)(const struct kv_iter *iter); /* to be asked when no longer valid */
    enum err (*snapshot_open)(struct kv *kv, struct kv_snapshot **ret_snapshot);
    /* No iterator on it is open; NULL does nothing. */
    void (*snapshot_close)(struct kv *kv, struct kv_snapshot *snapshot);
    void (*stats)(struct kv *kv, struct kv_stats *ret_stats);
    /* B. Gives back the disk space of deleted records; NULL: there is none to give. Any thread. */
    void (*compact)(struct kv *kv);
    void (*close)(struct kv *kv);
};

struct kv {
    const struct kv_ops *ops;
};

struct kv_rocks_options {
    const char *path;
    uint64_t cache_bytes;    /* block cache */
    uint64_t memtable_bytes; /* of all families together */
    bool create;
    bool read_only;
    bool has_log; /* with KV_LOG, made when it is not there; without, nothing is ever in that family
                     and nothing may be put there */
};
enum err kv_rocks_open(const struct kv_rocks_options *options, struct kv **ret_kv,
                       struct err_trail *trail) MUST_USE;

struct kv_record;
enum err kv_record_open(struct kv *inner, struct kv **ret_kv) MUST_USE; /* takes inner */
size_t kv_record_batches(const struct kv *recording);                   /* batches written so far */
/* A copy of batch i as it was given to write(), borrowed; a test replays any prefix of them into a
 * fresh kv_sim. */
const struct kv_batch *kv_record_batch(const struct kv *recording, size_t i, bool *ret_synced);

enum err kv_sim_open(struct kv **ret_kv) MUST_USE;
/* Forgets batches written without sync since the last synced one. */
void kv_sim_crash(struct kv *kv);
/* 0 disarms; every get, write and iterator open counts. */
void kv_sim_fail_nth(struct kv *kv, unsigned nth, enum err e);
bool kv_sim_fault_fired(const struct kv *kv);
/* close() keeps the state for the next volume_open on it; false frees at close. */
void kv_sim_set_kept(struct kv *kv, bool kept);

#endif
