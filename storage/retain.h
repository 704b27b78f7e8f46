/*
 * What a volume keeps: decisions about data, rows of the log and copies that need no index. They
 * stand apart from where they are carried out, so that the model of data in a group (tests/sim,
 * explore_data.h) asks the very functions that serve.
 */
#ifndef STORAGE_RETAIN_H
#define STORAGE_RETAIN_H

#include "storage/copy.h"
#include "storage/log.h"

/* ---- data ---- */

enum data_state {
    DATA_NONE,
    DATA_HERE,  /* somebody refers to it; its bytes may be absent */
    DATA_GOING, /* waits for gc */
};

/* How a row that is appended comes to refer to the data it brings. */
enum retain_way {
    RETAIN_ADD,    /* records are made: of its body, or of data that is absent */
    RETAIN_REFER,  /* one reference more to what is here */
    RETAIN_LATER,  /* under that id something is being deleted: ERR_BUSY */
    RETAIN_DOUBLE, /* a body of what is here: ERR_FILE_EXISTS, and again without it */
};
static inline enum retain_way retain_way(enum data_state state, bool has_body)
{
    if (state == DATA_GOING)
        return RETAIN_LATER;
    if (state == DATA_NONE)
        return RETAIN_ADD;
    return has_body ? RETAIN_DOUBLE : RETAIN_REFER;
}

/* Whether the name takes over the reference that its row holds; else the row lets go of it. */
static inline bool retain_takes(enum err outcome, bool takes_reference, enum mutation_kind kind)
{
    return outcome == ERR_OK && takes_reference &&
           (kind == MUTATION_OBJECT_PUT || kind == MUTATION_PART_PUT);
}

/* One reference less. */
enum retain_drop {
    RETAIN_DROP_NONE,  /* there was none: ERR_CORRUPT, a name refers to what no name should */
    RETAIN_DROP_ONE,   /* others are left */
    RETAIN_DROP_NOW,   /* the last, and its records go in this batch */
    RETAIN_DROP_LATER, /* the last: it waits for gc */
};
static inline enum retain_drop retain_drop(uint64_t references, bool fits, bool has_no_readers)
{
    if (references == 0)
        return RETAIN_DROP_NONE;
    if (references > 1)
        return RETAIN_DROP_ONE;
    return fits && has_no_readers ? RETAIN_DROP_NOW : RETAIN_DROP_LATER;
}

/* ---- rows of the log ---- */

/* Rows below it may go: those asked for that are applied. The last of them stays, for its term. */
static inline uint64_t retain_trim_upper(uint64_t wanted, const struct log_range *log)
{
    uint64_t upper = wanted < log->applied ? wanted : log->applied;
    return upper > log->first ? upper : log->first;
}

/* ---- copies ---- */

/* Deferred deletion and trimming, which would not know what a copy has made of their notes yet. */
static inline bool retain_may_collect(enum copy_phase phase)
{
    return phase == COPY_NONE;
}

/* Whether a step of a copy may come now. `psn`, `term`: NAMED; `applied`: the last one here. */
static inline bool retain_step_is_due(enum copy_step_kind kind, uint64_t psn, uint64_t term,
                                      enum copy_phase phase, uint64_t applied)
{
    switch (kind) {
    case COPY_STEP_BEGIN:
        return true;
    case COPY_STEP_ROWS:
        return phase == COPY_ROWS;
    case COPY_STEP_NAMED:
        return phase == COPY_ROWS && term > 0 && psn >= applied;
    case COPY_STEP_DATA:
    case COPY_STEP_END:
        return phase == COPY_DATA;
    }
    return false;
}

/*
 * Whether data here stays where it lies when the source has data of that id; else it is deleted,
 * and counted as absent until it is fetched. Ids are never used twice, so what has its size is it,
 * but for what waits for gc: of that some may be gone. The source may have it all the same, for a
 * record that was cut off here can have been committed.
 */
static inline bool retain_keeps(enum data_state state, bool is_absent, uint64_t size,
                                uint64_t size_there)
{
    return state == DATA_HERE && !is_absent && size == size_there;
}

/* The source: of `references` to some data, those that a copy takes along; none: not the data.
 * Those of the log come again with its records. */
static inline uint64_t retain_copied(uint64_t references, uint64_t of_log)
{
    return references > of_log ? references - of_log : 0;
}

#endif
