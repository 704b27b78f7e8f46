/*
 * Looking inside a volume: what lies where. For the admin port and the CLI; over a volume that is
 * open, for serving or read-only, without stopping anybody. Everything here reads the index as of
 * the moment it is asked; blocking, for threads that may.
 */
#ifndef STORAGE_INSPECT_H
#define STORAGE_INSPECT_H

#include "storage/data.h"
#include "storage/volume.h"

/* ---- extents in the order they lie on the disk ---- */
struct inspect_extent {
    struct extent extent;
    uint64_t file_offset; /* in the segment file */
    struct data_id data;
    uint32_t shard, index;
};
typedef enum err inspect_extent_fn(void *context, const struct inspect_extent *extent);

struct inspect_place {
    uint32_t segment, unit;
};
/* At most `max` extents from `from` on; *ret_next is where to go on when *ret_more. */
enum err inspect_extents(struct volume *volume, struct inspect_place from, uint32_t max,
                         inspect_extent_fn *each, void *context, struct inspect_place *ret_next,
                         bool *ret_more) MUST_USE;

/* ---- segments: how full, how scattered ---- */
#define INSPECT_MAP_CELLS 64u
struct inspect_segment {
    uint32_t number;
    uint32_t units;      /* of the file */
    uint32_t units_used; /* header included */
    uint32_t extents;
    uint32_t free_runs, largest_free_run; /* units */
    uint8_t map[INSPECT_MAP_CELLS]; /* each cell an equal part of the file: 0 free .. 255 full */
};
typedef enum err inspect_segment_fn(void *context, const struct inspect_segment *segment);
enum err inspect_segments(struct volume *volume, inspect_segment_fn *each, void *context) MUST_USE;

/* ---- one object ---- */
struct inspect_object {
    struct bucket_info bucket;
    struct object_info info; /* attrs borrowed from `object` */
    struct object *object;   /* a reference: object_put() */
    bool is_inline;          /* all of it lies in the index */
    uint64_t resident_bytes; /* in the page cache, of those in extents */
    uint32_t extents;
};
/* Calls each(), where not NULL, for every extent in the order of the object's bytes.
 * ERR_NO_SUCH_BUCKET, ERR_NO_SUCH_OBJECT. */
enum err inspect_object(struct volume *volume, struct bytes bucket, struct bytes key,
                        inspect_extent_fn *each, void *context,
                        struct inspect_object *ret_object) MUST_USE;

#endif
