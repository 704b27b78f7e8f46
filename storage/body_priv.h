/*
 * The inside of a body, for body.c and the committer. After volume_commit() it is the committer's
 * alone.
 */
#ifndef STORAGE_BODY_PRIV_H
#define STORAGE_BODY_PRIV_H

#include "storage/body.h"
#include "storage/data.h"
#include "storage/space.h"

#define BODY_MAGIC 0x626f6479u
/* More than any object up to 16 MiB has on a disk that is not cut up. */
#define BODY_EXTENTS_OWN 4u
#define BODY_SUMS_OWN    256u /* 16 MiB */

struct body {
    uint32_t magic;
    struct volume *volume; /* borrowed */
    struct loop *loop;     /* borrowed */
    struct data_id id;
    void *user;           /* borrowed: the layer's above */
    uint64_t size_wanted; /* or BODY_SIZE_UNKNOWN */
    uint64_t size;        /* taken so far */
    bool is_inline;
    bool is_decided; /* is_inline is final */
    bool has_ended;  /* the last write was taken */
    bool is_closing; /* body_close() came while something was under way */
    bool is_waiting; /* for space: waiter is in line or its message on the way */
    enum err err;    /* of the first write that failed */
    uint32_t writes_pending;

    struct extent *extents; /* own_extents or owned */
    uint64_t *written_seqs; /* of the segment, when the last write to that extent ended */
    uint32_t extent_count, extent_capacity;
    uint64_t *sums; /* own_sums or owned */
    uint32_t sum_count, sum_capacity;
    uint64_t reserved_bytes; /* in extents */
    uint64_t claimed_units;  /* promised by space, not taken yet */

    struct body_write *first_waiting, *last_waiting; /* for space, in order */
    struct space_waiter waiter;
    struct body *next_free; /* the pool's */

    struct extent own_extents[BODY_EXTENTS_OWN];
    uint64_t own_written_seqs[BODY_EXTENTS_OWN];
    uint64_t own_sums[BODY_SUMS_OWN];
    uint64_t inline_sum;
    uint8_t inline_data[INLINE_BYTES_MAX];
};

struct body_pool; /* volume_priv.h */
void body__pool_init(struct body_pool *pool);
void body__pool_fini(struct body_pool *pool);

/* ---- the committer's ---- */
/* May it be named? Also returns what was reserved in excess. */
enum err body__judge(struct body *body, struct err_trail *trail) MUST_USE;
/* The batch that names it is durable: its space is the index's now. Ends the body. */
void body__named(struct body *body);
/* It will not be named: its space is free. Ends the body. */
void body__dropped(struct body *body);
/* Whether it was named cannot be told: its space stays taken, and `keep`, if not NULL, learns what
 * it is. Ends the body. */
typedef void body_keep_fn(void *context, struct data_id data, const struct extent *extent);
void body__orphaned(struct body *body, body_keep_fn *keep, void *context);

#endif
