/*
 * A copy of one volume's names into another, for a node of a group that the log cannot fill any
 * more. The source gives rows out of a snapshot of its index, in runs of keys of one family; the
 * target makes each run of its own index equal to the source's, and fetches data apart.
 *
 *     source:  copy_source_open: snapshot as of record psn -> copy_source_read, run by run -> close
 *     target:  BEGIN --> ROWS, run by run, in the order of copy_families --> NAMED --> DATA ...
 *              log dropped,   names as the source's, data by reference:      each that
 *              copy marked    here already, inline, or counted as absent     is absent
 *                                                                        --> END: the log begins
 *                                                                            at psn + 1
 *
 * A run is applied by going through both sides at once: what only the target has goes, what differs
 * is replaced. So there is no time of clearing before, data that the target has already stays where
 * it is, and a copy that begins again finds the most of its work done. What is copied is what the
 * log makes: not where data lies, nor the log, nor what the volume or the layer above keeps of
 * itself. References that rows of the log hold are taken off, and data that waits for deletion is
 * left out.
 *
 * From BEGIN to END the index says that it is being copied, and so does volume_copy_mark() in every
 * life: until then the volume takes no mutation and no record of the log, deletes nothing by
 * itself, and what it shows is no state that the group ever had. NAMED is when all names are there;
 * what it counts as absent (storage/log.h) is still to be fetched, or is gone at the source since,
 * for a record behind psn has let go of it. Each step is synced before it is answered.
 */
#ifndef STORAGE_COPY_H
#define STORAGE_COPY_H

#include "storage/keys.h"
#include "storage/kv.h"
#include "storage/log.h"

struct volume;

/* Families in the order in which they are copied; the log is one, of which nothing is sent. */
#define COPY_FAMILIES 10u
extern const enum kv_family copy_families[COPY_FAMILIES];

/*
 * Rows of one family with keys above `after` and up to `upto`, ascending: all that the source has.
 * Each is le16 size of the key, le32 size of the value, key, value.
 */
struct copy_run {
    enum kv_family family;
    struct bytes after; /* empty: from the first key on */
    struct bytes upto;  /* empty: to the end of the family */
    struct bytes rows;
};
#define COPY_ROW_HEAD_BYTES 6u
#define COPY_ROWS_BYTES_MAX KIB(256)
/* Of memory at most: a source, for what rows of the log hold; a step, until it is on the disk. */
#define COPY_SOURCE_BYTES_MAX MIB(4)
#define COPY_STEP_BYTES_MAX   MIB(16)
/* Whether the run is one: keys of their family, in order and in its bounds, and records that
 * decode. */
enum err copy_run_judge(const struct copy_run *run) MUST_USE;

/* ---- the source; B, any thread, one call at a time ---- */
struct copy_source;
/* ERR_BUSY: what is applied cannot be told yet. ERR_CORRUPT, or the index's own errors. */
enum err copy_source_open(struct volume *volume, struct copy_source **ret_source,
                          struct err_trail *trail) MUST_USE;
void copy_source_close(struct copy_source *source);         /* NULL does nothing */
uint64_t copy_source_psn(const struct copy_source *source); /* the copy is of this record's state */
uint64_t copy_source_term(const struct copy_source *source); /* and this is its term */
uint64_t copy_source_rows(const struct copy_source *source); /* about so many, all families */
/* The run behind `after`, into `rows`; `upto` of the run lies in *ret_upto. */
enum err copy_source_read(struct copy_source *source, enum kv_family family, struct bytes after,
                          uint8_t rows[COPY_ROWS_BYTES_MAX], struct kv_key *ret_upto,
                          struct copy_run *ret_run) MUST_USE;

/* ---- the target ---- */
enum copy_phase { COPY_NONE, COPY_ROWS, COPY_DATA };
struct copy_mark {
    enum copy_phase phase;
    uint64_t psn, term; /* COPY_DATA: of what is copied */
};
struct copy_mark volume_copy_mark(struct volume *volume); /* any thread */

enum copy_step_kind {
    COPY_STEP_BEGIN,
    COPY_STEP_ROWS,
    COPY_STEP_NAMED,
    COPY_STEP_DATA,
    COPY_STEP_END
};

#define COPY_STEP_MAGIC 0x636f7079u
/* One at a time but for DATA; what is borrowed stays until done(). A step out of its turn is
 * ERR_INVALID, and nothing has changed. */
struct copy_step {
    uint32_t magic;
    enum copy_step_kind kind;
    struct bytes state;  /* BEGIN, END: as log_save's */
    struct copy_run run; /* ROWS; ERR_CORRUPT: it is none */
    uint64_t psn, term;  /* NAMED; psn is not below the last one applied here */
    struct body *body; /* DATA: whole; taken on success and on failure. ERR_NO_SUCH_OBJECT: nothing
                          of that id and size is absent */

    struct loop *loop;
    void (*done)(struct copy_step *step);

    enum err err;
    struct err_trail trail;
    bool has_more;      /* ROWS: much was to be deleted; give the same run again, and `from` */
    struct kv_key from; /* ROWS: size 0 with a new run; the volume's */
    uint32_t rows;      /* ROWS: of the run */
    uint8_t *changed;   /* ROWS: settings that are other now, le16 size and name each; the
                           owner frees it */
    size_t changed_size;
    struct commit_item item; /* the committer's */
};
void volume_copy(struct volume *volume, struct copy_step *step);

/*
 * B. Data that is absent here, in the order of ids, behind `after`: at most `max`, which may be
 * none although there is more. *ret_after is where to go on; *ret_is_end: there is none behind it.
 */
enum err volume_copy_absent(struct volume *volume, struct data_id after, struct log_data *ret_data,
                            size_t max, size_t *ret_count, struct data_id *ret_after,
                            bool *ret_is_end) MUST_USE;

#endif
