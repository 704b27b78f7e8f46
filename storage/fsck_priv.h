/* What the phases of fsck share: fsck.c (outside: superblock, segments), fsck_index.c (records
 * against each other), fsck_data.c (bytes against sums), fsck_tally.c (who refers to which data).
 */
#ifndef STORAGE_FSCK_PRIV_H
#define STORAGE_FSCK_PRIV_H

#include "storage/data.h"
#include "storage/fsck.h"

/* ---- the tally: for each data what was found and how often it is referred to ---- */
struct tally_entry {
    struct data_id id;
    uint64_t size;
    uint32_t named;       /* references counted in names */
    uint32_t counted;     /* references its record counts, when it has one */
    uint32_t shards_left; /* of those its size says there are */
    bool exists;          /* some record of the data itself was seen */
    bool has_count;
    bool is_inline;
    bool is_going; /* its deletion is queued */
};

struct tally {
    struct tally_entry *entries; /* owned; open addressing, id none: free */
    size_t capacity, count;
};

/* Made when absent; valid until the next call. */
enum err tally_get(struct tally *tally, struct data_id id, struct tally_entry **ret_entry) MUST_USE;
struct tally_entry *tally_find(struct tally *tally, struct data_id id); /* or NULL */
void tally_fini(struct tally *tally);

struct segment_entry {
    uint32_t number;
    bool on_disk;
};

struct data_pass {          /* fsck_data.c's */
    uint8_t *memory;        /* owned; aligned */
    struct disk_file *file; /* owned; of `segment` */
    uint32_t segment;
    bool is_open;
};

struct upload_set {        /* fsck_index.c's: uploads seen, so that parts can ask */
    struct upload_id *ids; /* owned; sorted once all are in */
    size_t count, capacity;
};

struct fsck {
    const struct fsck_options *options; /* borrowed */
    struct disk *disk;                  /* borrowed */
    struct kv *kv;                      /* borrowed */
    struct disk_file *superblock_file;  /* owned; carries the lock */
    uint64_t segment_bytes;
    uint32_t first_unit;            /* units before it are the segment's header */
    struct segment_entry *segments; /* owned; sorted by number */
    size_t segment_count;
    struct tally data, manifests;
    struct tally buckets; /* under {0, bucket id} */
    struct upload_set uploads;
    struct data_pass pass;
    struct {
        uint32_t segment;
        uint64_t end_unit;
    } last_extent;
    struct {
        uint64_t first, applied; /* rows from `first` on count; those behind `applied` hold data */
        uint64_t last;           /* row seen; 0: none */
    } log;
    struct fsck_counts counts;
    struct err_trail *trail; /* borrowed */
    uint64_t told_ns;        /* when progress was last told */
};

void fsck__find(struct fsck *fsck, enum fsck_class class, const char *format, ...)
    PRINTF_LIKE(3, 4);
void fsck__progress(struct fsck *fsck, const char *phase, uint64_t done, uint64_t total);
bool fsck__has_segment(const struct fsck *fsck, uint32_t number);

/* Walks a family; each() returns an error only when the check cannot go on. A record each() finds
 * undecodable it reports itself. */
typedef enum err fsck_each_fn(struct fsck *fsck, struct bytes key, struct bytes value);
enum err fsck__walk(struct fsck *fsck, enum kv_family family, struct bytes prefix,
                    const char *phase, fsck_each_fn *each) MUST_USE;

enum err fsck__index(struct fsck *fsck) MUST_USE;
enum err fsck__data(struct fsck *fsck) MUST_USE;

#endif
