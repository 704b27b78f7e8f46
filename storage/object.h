/*
 * What is stored, as the layers above see it: buckets, objects, uploads, parts, access keys; and
 * the mutations that change them.
 *
 * Bytes and names are apart. Object bytes are *data*, named by a data_id that is never reused and
 * never says where they lie. A name (an object or a part) refers to data by *pieces*; physical
 * placement is known only to the volume. So completing an upload, copying and relocating move no
 * bytes, and a mutation means the same on every node that applies it.
 *
 * A mutation is the unit of ordering: the replication layer numbers mutations (term, psn) and the
 * volume applies them in that order, each wholly or not at all. Conditions (If-Match ...) are
 * judged at that point and so are exact under races.
 */
#ifndef STORAGE_OBJECT_H
#define STORAGE_OBJECT_H

#include "base/bytes.h"
#include "base/limits.h"
#include "base/loop.h"

struct body; /* storage/body.h: bytes written but not yet named */

struct bucket_id {
    uint32_t value;
};

struct data_id {
    uint64_t epoch;   /* mount epoch of the volume that made it */
    uint64_t counter; /* within the epoch, from 1; 0 with epoch 0 means none */
};

struct upload_id {
    uint8_t bytes[16]; /* time-ordered: mtime_ns big-endian, then random */
};

/* A run of bytes of some data. Sizes of an object's pieces add up to its size. */
struct piece {
    struct data_id data;
    uint64_t offset; /* in the data, any byte */
    uint64_t size;
    uint32_t data_group; /* placement group holding the data; 0 now */
};

/* ---- etags and checksums ---- */
struct etag {
    uint8_t md5[16];
    uint32_t parts; /* 0: MD5 of the bytes; N: MD5 of N parts' MD5s, shown with "-N" */
};

#define CHECKSUM_BYTES_MAX 32
struct checksum {
    /* 0: none; else 1 + enum digest_kind of base/digest.h; storage does not interpret it. */
    uint8_t algorithm;
    uint8_t type; /* 0 FULL_OBJECT, 1 COMPOSITE */
    uint8_t size;
    uint8_t value[CHECKSUM_BYTES_MAX];
};

/* ---- buckets ---- */
struct bucket_info {
    struct bucket_id id;
    uint64_t created_ns;
    char name[BUCKET_NAME_BYTES_MAX + 1];
    char region[32];
    char owner[65]; /* canonical user id */
};

/* ---- objects: what one lookup yields ---- */
/* Immutable and shared: any number of readers, put with object_put(). */
struct object_part {
    uint16_t number;
    uint64_t size;
    struct checksum checksum;
};

struct object_info {
    uint64_t size;
    uint64_t mtime_ns;
    uint64_t psn; /* of the mutation that made it: unique, grows with each change */
    struct etag etag;
    struct checksum checksum;
    uint32_t part_count; /* 0: not made by a multipart upload */
    /* The api layer's headers and metadata, opaque here; at most META_BYTES_MAX. */
    struct bytes attrs;
};

/* ---- conditions of a mutation, judged in order when it is applied ---- */
struct conditions {
    bool if_none_match_any; /* ERR_PRECONDITION when the object exists */
    bool if_match_any;      /* ERR_PRECONDITION (absent: ERR_NO_SUCH_OBJECT) unless it exists */
    bool has_if_match;      /* ... unless it exists with this etag */
    bool has_if_none_match; /* ERR_PRECONDITION when it exists with this etag */
    struct etag if_match, if_none_match;
    uint64_t if_psn; /* not 0: ERR_CONFLICT unless the present object has this psn */
};

/* What a copy was made of. Nodes free deleted data at times of their own, so whether the pieces are
 * there yet must not decide: what does is whether the source is still the object that was looked
 * up. */
struct mutation_source {
    struct bucket_id bucket;
    struct bytes key;
    uint64_t psn; /* 0: no source; else ERR_CONFLICT unless that object has this psn */
};

/* ---- mutations ---- */
enum mutation_kind {
    MUTATION_BUCKET_CREATE,
    MUTATION_BUCKET_DELETE,
    MUTATION_OBJECT_PUT,    /* a body, or pieces of existing data (copy) */
    MUTATION_OBJECT_DELETE, /* of an absent key: ERR_OK, nothing written */
    MUTATION_UPLOAD_CREATE,
    MUTATION_PART_PUT, /* a body, or pieces of existing data */
    MUTATION_UPLOAD_COMPLETE,
    MUTATION_UPLOAD_ABORT,
    MUTATION_SETTING_PUT, /* small named values of the layers above: access keys, node settings */
    MUTATION_SETTING_DELETE,
    MUTATION_KIND_COUNT,
};

struct completed_part { /* one line of CompleteMultipartUpload */
    uint16_t number;
    struct etag etag;
    struct checksum checksum; /* algorithm 0: not given; else must equal the stored part's */
};

/* How anything stands in the committer's queue: embedded in what is asked of it, and its own until
 * answered. */
struct commit_item {
    struct loop_msg msg;
    struct commit_item *next;
    uint64_t queued_ns;
    uint8_t kind;          /* enum commit_kind of storage/commit.h */
    enum err err, outcome; /* why it cannot be done; else what it comes to */
};

struct receipt {
    bool synced;              /* on this node's disk, by fdatasync and a synced index write */
    uint32_t replicas_synced; /* nodes, this one included */
    uint32_t replicas_wanted;
    bool by_rdma, by_tcp; /* how it came to the others; neither: there are none */
};

struct mutation;
typedef void mutation_done_fn(struct mutation *mutation);

#define MUTATION_MAGIC 0x4d757461u
/*
 * Embedded in a request. The submitter fills in the arguments of its kind, `loop` and `done`;
 * everything borrowed stays valid until done() runs on `loop`, exactly once. After a failure
 * nothing of the mutation is stored.
 */
struct mutation {
    uint32_t magic;
    enum mutation_kind kind;

    /* arguments */
    struct bytes bucket_name; /* BUCKET_* */
    /* All but BUCKET_CREATE, SETTING_*: from bucket lookup; ERR_NO_SUCH_BUCKET when gone. */
    struct bucket_id bucket;
    struct bytes key;           /* OBJECT_*, UPLOAD_*, PART_PUT; setting's name for SETTING_* */
    struct bytes attrs;         /* OBJECT_PUT, UPLOAD_CREATE; setting's value for SETTING_PUT */
    struct bytes owner, region; /* BUCKET_CREATE */
    struct body *body; /* OBJECT_PUT, PART_PUT: taken on success and on failure; NULL: pieces */
    const struct piece *pieces; /* when body is NULL; their data gains references */
    size_t piece_count;
    /* OBJECT_PUT with pieces: part table to keep (copy of a multipart object), or NULL. */
    const struct object_part *parts;
    size_t part_count;
    uint64_t size;    /* of body or pieces together; for checking */
    struct etag etag; /* OBJECT_PUT, PART_PUT; set by UPLOAD_COMPLETE */
    /* OBJECT_PUT, PART_PUT; UPLOAD_CREATE: algorithm and type wanted; COMPLETE: set by it or given
     * (judged by the api). */
    struct checksum checksum;
    struct upload_id upload;                /* UPLOAD_*, PART_PUT */
    uint16_t part_number;                   /* PART_PUT, 1..PARTS_MAX */
    const struct completed_part *completed; /* UPLOAD_COMPLETE, ascending numbers */
    size_t completed_count;
    struct conditions conditions;  /* OBJECT_PUT, OBJECT_DELETE, UPLOAD_COMPLETE */
    struct mutation_source source; /* OBJECT_PUT, PART_PUT with pieces */
    /* SETTING_*: with has_if_value, ERR_PRECONDITION unless the present value is this. */
    struct bytes if_value;
    bool has_if_value;
    bool must_be_new; /* SETTING_PUT: ERR_KEY_ID_EXISTS when there is one */

    /* of a group's log (storage/log.h): psn and term are given, and the log already holds the
     * data */
    bool is_logged;
    /* pieces[0] is the record's data: the name takes the log's reference over. */
    bool takes_reference;
    bool is_barrier; /* only its number counts as applied: `kind` and arguments mean nothing */
    uint64_t now_ns; /* the time to use, the same on every node; 0: the volume's clock */

    struct loop *loop;
    mutation_done_fn *done;

    /* results, valid in done() */
    enum err err;
    struct err_trail trail;
    uint64_t term, psn; /* order given by the replication layer */
    uint64_t mtime_ns;  /* as stored */
    /* OBJECT_DELETE: there was one; UPLOAD_COMPLETE: already completed with the same parts
     * (idempotent retry). */
    bool existed;
    struct bucket_id new_bucket; /* BUCKET_CREATE */
    struct receipt receipt;

    /* the layers' own while in flight */
    struct commit_item item;
    void *group_private, *driver; /* who waits for it; who brings it to its place */
};

/* ---- listings ---- */
/* each() is called in order, on a pool thread; the bytes are borrowed for the call. Returning an
 * error stops. */
struct list_query {
    struct bucket_id bucket;
    struct bytes prefix;
    struct bytes delimiter; /* empty: none; any string */
    /* Only keys > this; and, if it ends in a common prefix, none below that prefix. */
    struct bytes after;
    uint32_t max; /* entries and common prefixes together, 0..LIST_KEYS_MAX */
};
struct list_entry {
    bool is_prefix; /* key is a common prefix and info means nothing */
    struct bytes key;
    struct object_info info;
};
typedef enum err list_each_fn(void *context, const struct list_entry *entry);
struct list_result {
    uint32_t count;
    bool truncated;
    char last[KEY_BYTES_MAX]; /* last key or prefix given out: the next page's `after` */
    uint32_t last_size;
};

struct upload_info {
    struct upload_id id;
    uint64_t created_ns;
    struct checksum checksum; /* wanted: algorithm and type */
    struct bytes attrs;
};
struct upload_query {
    struct bucket_id bucket;
    struct bytes prefix, delimiter;
    struct bytes key_marker;
    struct upload_id upload_marker;
    bool has_upload_marker;
    uint32_t max;
};
typedef enum err upload_each_fn(void *context, bool is_prefix, struct bytes key,
                                const struct upload_info *upload);

struct part_info {
    uint16_t number;
    uint64_t size, mtime_ns;
    struct etag etag;
    struct checksum checksum;
};
typedef enum err part_each_fn(void *context, const struct part_info *part);

#endif
