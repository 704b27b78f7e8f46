/*
 * fsck: is everything a volume says of itself true? Offline and read-only: it changes nothing and
 * repairs nothing; it walks every record and holds it against what it must agree with. Pure over an
 * index, a table of segments and a reader of bytes, so each class of damage is injected in tests.
 *
 *     segments    what the index knows  <->  files on the disk and their headers
 *     extents     in order, in bounds, no two overlapping (free space is what no extent covers)
 *     data        each extent of data has its extent record  <->  each extent record its data
 *     names       objects, manifests, parts -> data and buckets
 *                 references counted = references stored, those of log rows not applied yet among
 *                 them
 *     leftovers   data nobody names, unless deletion of it is queued
 *     checksums   with `data`: every 64 KiB of every extent, every inline value
 *
 * Memory: about 40 bytes for each data (an object or a part) in the volume.
 */
#ifndef STORAGE_FSCK_H
#define STORAGE_FSCK_H

#include "base/disk.h"
#include "storage/kv.h"

/* X(name, what it means for the one who reads it) */
#define FSCK_CLASSES(X)                                                                            \
    X(SUPERBLOCK, "the superblock is damaged or disagrees with the index")                         \
    X(RECORD, "a record of the index cannot be decoded")                                           \
    X(SEGMENT_MISSING, "a segment the index knows is not on the disk")                             \
    X(SEGMENT_UNKNOWN, "a file among the segments that is none")                                   \
    X(SEGMENT_SIZE, "a segment file has another size than the volume's segments")                  \
    X(EXTENT_BOUNDS, "an extent lies outside its segment")                                         \
    X(EXTENT_OVERLAP, "two extents share space")                                                   \
    X(EXTENT_ORPHAN, "an extent no data knows: its space is lost")                                 \
    X(DATA_EXTENT, "data names an extent that has no or another extent record")                    \
    X(DATA_SHARDS, "shards of some data are missing")                                              \
    X(DATA_REFERENCES, "more or fewer names refer to data than it counts")                         \
    X(DATA_ORPHAN, "data nobody names: its space is lost")                                         \
    X(DATA_MISSING, "a name refers to data that is not there: its bytes are lost")                 \
    X(PIECE_BOUNDS, "a name refers to bytes beyond the end of its data")                           \
    X(SIZE, "the pieces of an object or part do not add up to its size")                           \
    X(MANIFEST, "a manifest is missing, incomplete or nobody's")                                   \
    X(BUCKET, "an object or upload lies in a bucket that does not exist")                          \
    X(LOG, "records of the group's log are missing, or a row of it is not its own")                \
    X(UPLOAD, "parts lie under an upload that does not exist")                                     \
    X(CHECKSUM, "stored bytes do not match their checksum")                                        \
    X(UNREADABLE, "the disk does not give stored bytes back")

enum fsck_class {
#define X(name, text) FSCK_##name,
    FSCK_CLASSES(X) FSCK_CLASS_COUNT
#undef X
};

const char *fsck_class_name(enum fsck_class class); /* "EXTENT_OVERLAP" */
const char *fsck_class_text(enum fsck_class class);

struct fsck_counts {
    uint64_t records[KV_FAMILY_COUNT];
    uint64_t segments_unrecorded; /* files of segments that were being made in a crash: no finding,
                                     the next open removes them */
    uint64_t segments, extents, data, inline_data, objects, uploads, parts, log_rows;
    bool is_half_copied;  /* names are being copied from another node (storage/copy.h): only extents
                             and data were looked at */
    uint64_t absent_data; /* counted and not here, as a record of the log said: no finding */
    uint64_t bytes_stored;   /* in extents and inline */
    uint64_t bytes_verified; /* with `data` */
    uint64_t findings[FSCK_CLASS_COUNT];
    uint64_t findings_total;
};

struct fsck_progress {
    const char *phase;
    uint64_t done, total; /* of records, or of bytes when checking data; total 0: not known */
};

struct fsck_options {
    const char *dir;
    struct disk *disk;     /* NULL: the real one */
    struct kv *kv;         /* NULL: RocksDB in <dir>/meta, opened read-only; otherwise borrowed */
    bool data;             /* verify every checksum too */
    bool allow_buffered;   /* the volume lies on a file system without Direct I/O */
    uint64_t findings_max; /* told one by one; beyond it they are only counted. 0: 1000 */
    void (*finding)(void *context, enum fsck_class class, const char *text);
    /* At most a few times a second; NULL: none. */
    void (*progress)(void *context, const struct fsck_progress *progress);
    void *context;
};

/*
 * B. ERR_OK: the check ran to its end; what it found is in *ret_counts. An error: it could not be
 * done (not a volume, in use, unreadable index) and the trail is a sentence for people.
 */
enum err volume_fsck(const struct fsck_options *options, struct fsck_counts *ret_counts,
                     struct err_trail *trail) MUST_USE;

#endif
