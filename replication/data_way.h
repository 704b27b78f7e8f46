/*
 * The way of a record's data between nodes: decisions that need nothing but what they are given.
 * The driver asks them where it acts, and so does the model of data in a group (tests/sim,
 * explore_data.h), which proves them with each known mistake built in (seeded_bugs.h).
 */
#ifndef REPLICATION_DATA_WAY_H
#define REPLICATION_DATA_WAY_H

#include "replication/incoming.h"
#include "replication/message.h"
#include "replication/seeded_bugs.h"

/* What a record on its way to this node's log waits for. */
enum data_way {
    DATA_WAY_READY,   /* nothing: it brings no data, or all of it is here, or is gone for good */
    DATA_WAY_COMING,  /* its body, which is arriving */
    DATA_WAY_MISSING, /* its body, or the rest of it, which is to be asked for */
};
static inline enum data_way data_way_of_record(bool needs_body, enum incoming_state state)
{
    if (!needs_body || HAS_BUG(D_LOG_WITHOUT_DATA))
        return DATA_WAY_READY;
    switch (state) {
    case INCOMING_COMPLETE:
        return DATA_WAY_READY;
    case INCOMING_ARRIVING:
        return DATA_WAY_COMING;
    case INCOMING_STALLED:
    case INCOMING_NONE:
        break;
    }
    return DATA_WAY_MISSING;
}

/*
 * To who asks for data that record `psn` names, or that the state behind it refers to. Who had
 * applied the record before it looked, and found nothing, will never have the data again: a later
 * record let go of it.
 */
static inline enum message_pull_outcome data_way_answer(bool is_here, uint64_t psn,
                                                        uint64_t applied)
{
    if (is_here)
        return MESSAGE_PULL_COMING;
    return psn <= applied || HAS_BUG(D_GONE_UNAPPLIED) ? MESSAGE_PULL_GONE : MESSAGE_PULL_NOT_YET;
}

/* Whether a body that nothing happens to is kept: other nodes may lack it for the same reason that
 * keeps its record waiting here. */
static inline bool data_way_is_awaited(bool is_complete, bool is_named)
{
    return is_complete && is_named && !HAS_BUG(D_DROP_NAMED);
}

/* Rows of the log below it may go: all but the last `kept`, and none behind `held`. */
static inline uint64_t data_way_trim_below(uint64_t applied, uint64_t kept, uint64_t held)
{
    if (applied <= kept)
        return 0;
    uint64_t below = applied - kept;
    return below <= held || HAS_BUG(D_TRIM_HELD) ? below : held + 1;
}

/* Whether a primary's word that its log begins at `first` makes this node one that is filled by a
 * copy. */
struct data_way_too_old {
    bool is_follower; /* of the one who says it, in its term, and with no swap under way */
    bool is_in_sync;  /* by the configuration that both have */
    uint64_t epoch, own_epoch;
    uint64_t first, own_last;
};
static inline bool data_way_needs_copy(const struct data_way_too_old *old)
{
    if (HAS_BUG(D_TOO_OLD_STALE))
        return old->is_follower;
    return old->is_follower && !old->is_in_sync && old->epoch == old->own_epoch &&
           old->first > old->own_last + 1;
}

#endif
