/*
 * A volume is one directory on one disk: a superblock, segment files written only by O_DIRECT, and
 * an index that knows every object, extent and checksum. One process has it open.
 *
 *     volume_format -> volume_open ... volume_close
 *                      any crash -> volume_open repairs nothing because nothing is half
 *
 *     <dir>/superblock      4 slots of 4 KiB, two a generation (storage/superblock.h)
 *     <dir>/meta/           the index (RocksDB)
 *     <dir>/seg/XXXXXXXX    segment files of equal size, preallocated when they are needed
 *     <dir>/ballast         space set aside so that deletes work on a full disk
 *
 * What is acknowledged: volume_commit() runs a mutation's done() with ERR_OK after fdatasync of
 * every segment its bytes went to and a synced index write. What was not acknowledged is there
 * wholly or not at all.
 *
 * Threads: functions taking a loop object run on that loop; volume_commit() from any thread; the
 * blocking functions (marked B) are for threads that may wait for the disk. A failed fdatasync or
 * index write fails the volume for good (ERR_VOLUME_FAILED until restarted): retrying a failed
 * fsync lies (research: fsyncgate).
 */
#ifndef STORAGE_VOLUME_H
#define STORAGE_VOLUME_H

#include "base/disk.h"
#include "base/rand.h"
#include "storage/body.h"
#include "storage/kv.h"
#include "storage/object.h"

struct volume;

enum volume_direct {
    VOLUME_DIRECT_REQUIRED, /* refuse file systems that refuse or only pretend Direct I/O */
    VOLUME_DIRECT_ANY,      /* accept them: opened without O_DIRECT where refused; said in status */
};

struct volume_format_options {
    const char *dir;        /* empty or absent directory; made when absent */
    struct disk *disk;      /* NULL: the real one */
    struct clock *clock;    /* NULL: system */
    struct rand *rand;      /* NULL: system */
    uint64_t segment_bytes; /* 0: chosen from the disk's size, 16 MiB..16 GiB; a power of two */
    enum volume_direct direct;
};
/* B. ERR_FILE_EXISTS when the directory holds anything (a volume or not: nothing is ever
 * overwritten). A failure leaves what was there. */
enum err volume_format(const struct volume_format_options *options,
                       struct err_trail *trail) MUST_USE;

enum volume_threads {
    VOLUME_THREADS,    /* its own committer and preparation thread */
    VOLUME_NO_THREADS, /* the caller runs volume_step(): tests and the simulator */
};

struct volume_options {
    const char *dir;
    struct disk *disk;   /* NULL: the real one */
    struct kv *kv;       /* NULL: RocksDB in <dir>/meta; otherwise taken (closed with the volume) */
    struct clock *clock; /* NULL: system */
    struct rand *rand;   /* NULL: system */
    enum volume_direct direct;
    enum volume_threads threads;
    uint64_t index_cache_bytes;  /* block cache; 0: 64 MiB */
    uint64_t record_cache_bytes; /* looked-up objects kept ready; 0: 32 MiB */
    bool read_only;              /* inspection: takes the lock as well, changes nothing */
    bool has_log;                /* keeps a group's log (storage/log.h), from now on */
    /* Of the ids of data made here; 0: how often the volume was opened. Else bit 63 and 63 random
     * bits, drawn at each start, so that ids are unique among the nodes of a group. */
    uint64_t data_epoch;
};
#define DATA_EPOCH_DRAWN (1ull << 63)

/* B. ERR_NO_SUCH_FILE, ERR_NOT_VOLUME, ERR_FORMAT_NEWER, ERR_IN_USE, ERR_NO_DIRECT_IO, ERR_CORRUPT;
 * the trail is a sentence for people. */
enum err volume_open(const struct volume_options *options, struct volume **ret_volume,
                     struct err_trail *trail) MUST_USE;
/* B. Waits for queued mutations; no body, object or plan may be in use any more. NULL does
 * nothing. */
void volume_close(struct volume *volume);
/* VOLUME_NO_THREADS: commits what is queued, reclaims, prepares segments. */
void volume_step(struct volume *volume);

enum volume_state { VOLUME_OK, VOLUME_READ_ONLY, VOLUME_FAILED };
struct volume_status {
    uint8_t uuid[16];
    char dir[256];
    enum volume_state state;
    char reason[160]; /* why it is not OK, or "" */
    char file_system[16];
    bool direct; /* O_DIRECT is real here */
    uint32_t format_major, format_minor;
    uint64_t mount_epoch;
    uint64_t segment_bytes;
    uint32_t segment_count;
    uint64_t disk_total_bytes, disk_free_bytes;
    uint64_t capacity_bytes;   /* object bytes that could ever fit with what is free now */
    uint64_t used_bytes;       /* units in use times UNIT_BYTES */
    uint64_t reserved_bytes;   /* of bodies being written */
    uint64_t reclaiming_bytes; /* deleted, waiting for readers */
    uint64_t commits, committed_mutations, last_psn;
    bool has_log;                              /* keeps the log of a group: storage/log.h */
    uint64_t log_first, log_last, log_applied; /* first > last: no records */
    struct kv_stats index;
    uint64_t cached_objects, cached_bytes;
};
void volume_status(struct volume *volume, struct volume_status *ret_status);

/* ---- changes ---- */
/* Applied in the order of the calls. */
void volume_commit(struct volume *volume, struct mutation *mutation);
/* Whether the volume takes such a change in the state it is in: for whoever orders changes that
 * many nodes are to apply. Any thread. */
enum err volume_judge(struct volume *volume, enum mutation_kind kind,
                      struct err_trail *trail) MUST_USE;
/* Whether it takes records of a group's log (storage/log.h) that bring no data: what it refuses as
 * damaged or failed it refuses until it is opened anew. Any thread. */
enum err volume_judge_log(struct volume *volume, struct err_trail *trail) MUST_USE;

/*
 * What the disk has under way, for whoever watches whether it answers at all: of each kind 0, or a
 * number that stays the same while nothing of it comes back. Any thread, never blocks.
 */
struct volume_owed {
    uint64_t batch;  /* what the committer waits for */
    uint64_t bodies; /* writes of bodies' bytes */
};
void volume_owed(const struct volume *volume, struct volume_owed *ret_owed);

/* ---- buckets: kept in memory ---- */
enum err volume_bucket(struct volume *volume, struct bytes name,
                       struct bucket_info *ret_bucket) MUST_USE; /* ERR_NO_SUCH_BUCKET */
typedef enum err bucket_each_fn(void *context, const struct bucket_info *bucket);
/* In order of name; no lock is held in each(). */
enum err volume_buckets(struct volume *volume, bucket_each_fn *each, void *context) MUST_USE;

/* ---- objects ---- */
/* A looked-up object; holding it keeps its bytes where they are, whatever happens to its name. */
struct object;

/* KV_MEMORY_ONLY answers ERR_WOULD_BLOCK instead of touching the disk; KV_ANY is B.
 * ERR_NO_SUCH_OBJECT. */
enum err volume_lookup(struct volume *volume, struct bucket_id bucket, struct bytes key,
                       enum kv_tier tier, struct object **ret_object) MUST_USE;
const struct object_info *object_info(const struct object *object);
struct object *object_get(struct object *object); /* another reference */
void object_put(struct object *object);           /* NULL does nothing; any thread */
/* Counts this read; returns how often the object was read lately, this time included (decides what
 * is worth the page cache). */
uint32_t object_touch(struct object *object, uint64_t now_ns);
/* The same without counting one. */
uint32_t object_reads(const struct object *object, uint64_t now_ns);
/* B. The part table of an object made by a multipart upload, pieces of any object; freed by the
 * caller. */
enum err object_parts(struct object *object, struct object_part **ret_parts,
                      size_t *ret_count) MUST_USE;
enum err object_pieces(struct object *object, uint64_t offset, uint64_t size,
                       struct piece **ret_pieces, size_t *ret_count) MUST_USE;

/* ---- B: listings, in bytewise key order; uploads and parts ---- */
enum err volume_list(struct volume *volume, const struct list_query *query, list_each_fn *each,
                     void *context, struct list_result *ret_result) MUST_USE;
/* ERR_NO_SUCH_UPLOAD; info.attrs points into attrs. */
enum err volume_upload(struct volume *volume, struct bucket_id bucket, struct bytes key,
                       const struct upload_id *id, struct upload_info *ret_info,
                       uint8_t attrs[META_BYTES_MAX]) MUST_USE;
enum err volume_uploads(struct volume *volume, const struct upload_query *query,
                        upload_each_fn *each, void *context, bool *ret_truncated) MUST_USE;
enum err volume_parts(struct volume *volume, struct bucket_id bucket, struct bytes key,
                      const struct upload_id *id, uint16_t after, uint32_t max, part_each_fn *each,
                      void *context, bool *ret_truncated) MUST_USE;

/* ---- B: settings of the layers above ---- */
enum err volume_setting(struct volume *volume, struct bytes name, uint8_t *out, size_t out_max,
                        size_t *ret_size) MUST_USE; /* ERR_NO_SUCH_KEY_ID */
typedef enum err setting_each_fn(void *context, struct bytes name, struct bytes value);
enum err volume_settings(struct volume *volume, struct bytes prefix, setting_each_fn *each,
                         void *context) MUST_USE;

#endif
