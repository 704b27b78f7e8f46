/*
 * The log of a group of nodes, kept by the volume beside the names: records in the order of their
 * numbers, each opaque but for the data it brings.
 *
 *     volume_log_append --> row and data durable --> committed (the group says so)
 *                                  |                      \--> volume_commit(is_logged): applied
 *                                  \--> volume_log_save(last): cut off, its data dropped
 *
 * The row holds the one reference to its data until it is applied: then the name takes it over, or,
 * when the mutation is refused, it is dropped. So data is never without an owner, whatever crashes
 * when. Rows that are applied stay for nodes that are behind, until volume_log_trim().
 *
 * The committer does appends and saves in the order of the calls, as many in one synced write as
 * are waiting. A record is applied after its append was answered, and what is applied goes before
 * whatever waits for a sync. A batch of applied mutations is not synced itself: after a crash the
 * volume may be some numbers behind, and whoever keeps the group has the rows behind `applied`
 * applied again, those that are committed; volume_open() cannot know which. Space that such a batch
 * frees is used again only after the next synced one.
 *
 * An applied mutation has the same outcome on every node. What is wrong with this node alone is no
 * outcome: mutation_is_outcome() tells them apart. Then nothing of it was applied, its number
 * stays the next one, and what was queued behind it is refused as well (ERR_CANCELLED): apply
 * again, from range.applied + 1. A node's own disk or index that refuses fails the volume.
 *
 * A volume has a log when it was once opened with volume_options.has_log; a build that does not
 * know logs can then only read it. One without has no trace of it.
 */
#ifndef STORAGE_LOG_H
#define STORAGE_LOG_H

#include "storage/object.h"

struct volume;

#define LOG_RECORD_BYTES_MAX MIB(4) /* a copy of an object of 65,536 pieces has 2.8 MB */
#define LOG_STATE_BYTES_MAX  KIB(2) /* what the layer above keeps of itself beside the log */

/* The data that a record brings. */
struct log_data {
    struct data_id id; /* none: it brings none */
    uint64_t size;
    bool is_inline; /* on this node */
};

/* ---- changing it: any thread; done() on `loop`, exactly once ---- */

#define LOG_APPEND_MAGIC 0x6c6f6761u
struct log_append {
    uint32_t magic;
    uint64_t psn; /* range.last + 1 as of this append's turn; else ERR_INVALID */
    uint64_t term;
    struct bytes record; /* borrowed until done(); empty: a barrier */
    struct body *body;   /* its data, whole; taken on success and on failure; NULL: none */
    /*
     * Without a body: data that another node says is gone since, for a later record let go of it.
     * It is counted as if it were here, so that every outcome is the same as everywhere; only its
     * bytes are not. Data that this node has gains a reference instead. Size 0 or id none: none.
     */
    struct log_data absent;

    struct loop *loop;
    void (*done)(struct log_append *append);

    enum err err; /* ERR_BUSY: deletion of data under that id is under way, again later */
    struct err_trail trail;
    struct log_data data;    /* what the row refers to */
    struct commit_item item; /* the committer's */
};
void volume_log_append(struct volume *volume, struct log_append *append);

#define LOG_SAVE_MAGIC 0x6c6f6773u
struct log_save {
    uint32_t magic;
    struct bytes state; /* replaces the one before; borrowed until done() */
    /* Rows behind it are cut off; below range.applied: ERR_INVALID. UINT64_MAX: none is; else more
     * than there are: ERR_CANCELLED, for an append before it was refused. */
    uint64_t last;

    struct loop *loop;
    void (*done)(struct log_save *save);

    enum err err;
    struct err_trail trail;
    struct commit_item item; /* the committer's */
};
void volume_log_save(struct volume *volume, struct log_save *save);

/*
 * Rows below `below_psn` go, some at a time as the committer has time; the last applied one stays.
 * A later call with a lower number changes nothing.
 */
void volume_log_trim(struct volume *volume, uint64_t below_psn);

/* Whether `err`, of a mutation with is_logged, is what every node comes to. */
bool mutation_is_outcome(enum err err);

/* ---- reading it: any thread ---- */

/* first > last: no rows; the next one is last + 1 all the same. Of synced batches, `applied` of
 * any. */
struct log_range {
    uint64_t first, last, applied;
};
void volume_log_range(struct volume *volume, struct log_range *ret_range);

/* B. ERR_NO_SUCH_OBJECT: none was ever saved. ERR_TOO_LARGE: more than `max` bytes. */
enum err volume_log_state(struct volume *volume, uint8_t *out, size_t max,
                          size_t *ret_size) MUST_USE;

struct log_row {
    uint64_t psn, term;
    struct log_data data; /* may be gone: a record that is applied holds it no longer */
    struct bytes record;  /* in `memory` */
    uint8_t *memory;      /* owned */
};
/* B. ERR_NO_SUCH_OBJECT: no such row. */
enum err volume_log_read(struct volume *volume, uint64_t psn, struct log_row *ret_row) MUST_USE;
void log_row_fini(struct log_row *row);

/*
 * B. Data by its id, for who asks on behalf of another node: an object of just these bytes, for
 * read plans. It has no name and is in no cache. ERR_NO_SUCH_OBJECT: it is gone, or is here as
 * absent. Data of more than one shard may go while its plan is read: ERR_CORRUPT, look up again.
 */
struct object;
enum err volume_data_lookup(struct volume *volume, struct data_id id,
                            struct object **ret_object) MUST_USE;

#endif
