/*
 * The inside of struct object, for storage alone: what a lookup found out, complete enough that a
 * GET of a small or single-piece object asks the index nothing more. Made once, immutable from then
 * on but for its counters, so any thread may read it while holding a reference.
 *
 * An object of one piece whose data fits one shard carries that shard's extents and sums, or the
 * inline bytes themselves, in `layout`. Pieces of any other object are looked up when read
 * (read_plan_load).
 *
 * Everything is one allocation: struct object, then what its pointers point to.
 */
#ifndef STORAGE_OBJECT_PRIV_H
#define STORAGE_OBJECT_PRIV_H

#include "base/list.h"
#include "storage/data.h"
#include "storage/kv.h"
#include "storage/object.h"
#include "storage/pins.h"
#include "storage/records.h"

struct volume;

#define OBJECT_MAGIC 0x6f626a65u

struct object_piece {
    struct stored_piece stored;
    uint64_t start; /* offset of its first byte in the object */
};

struct object {
    uint32_t magic;
    uint32_t references;   /* atomic */
    uint64_t recency;      /* atomic: seconds << 32 | reads lately */
    struct volume *volume; /* borrowed: it outlives every object; NULL in tests without one */
    struct kv *kv;         /* borrowed */
    struct pins *pins;     /* borrowed; the data of each piece is pinned */
    /* Borrowed: the files read plans read from; NULL in tests that do not read. */
    struct segments *segments;
    struct object_info info; /* attrs lies behind the struct */
    struct data_id manifest; /* none: no pieces beyond `pieces`, no part table */

    const struct object_piece *pieces; /* all of them, by start */
    uint32_t piece_count;
    bool has_layout;           /* `layout` describes the data of pieces[0] as a whole */
    struct data_layout layout; /* pointers lie behind the struct */

    size_t memory_bytes;

    /* the cache's, under its shard's lock; a second-chance ring of what it holds */
    struct list ring;
    struct object *chain;
    uint64_t name_hash;
    struct bucket_id bucket;
    uint32_t key_size;
    bool touched;    /* read since the hand last passed */
    const char *key; /* lies behind the struct */
};

/* What of the object stands at `offset` (below its size): the piece's index. */
uint32_t object__piece_at(const struct object *object, uint64_t offset);

/* The name's place in the cache. */
uint64_t object__hash_name(struct bucket_id bucket, struct bytes key);

struct object_source {     /* where object__make looks */
    struct volume *volume; /* kept in the object, not asked */
    struct kv *kv;
    struct pins *pins;
    struct segments *segments;
    enum kv_tier tier;
};
/*
 * Makes an object of a record just read, pinning its data, with one reference. ERR_NO_SUCH_OBJECT:
 * its manifest or data is gone from the index, which means the name changed in between, or that the
 * index is broken: the caller knows which. ERR_WOULD_BLOCK, ERR_CORRUPT, ERR_NO_MEMORY.
 */
enum err object__make(const struct object_source *source, struct bucket_id bucket, struct bytes key,
                      struct bytes record, struct object **ret_object) MUST_USE;

#endif
