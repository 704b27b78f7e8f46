/*
 * The index as a batch under construction would leave it: what the batch says, and where it is
 * silent what the index holds. Conditions of a mutation are judged against this, so that two
 * mutations of one batch see each other in their order.
 */
#ifndef STORAGE_VIEW_H
#define STORAGE_VIEW_H

#include "storage/keys.h"
#include "storage/kv.h"

struct view {
    struct kv *kv;          /* borrowed */
    struct kv_batch *batch; /* borrowed */
};

struct view_value {
    struct bytes bytes; /* borrowed until the batch changes or view_put() */
    struct kv_value value;
};
/* ERR_NO_SUCH_OBJECT when there is none: then nothing is to be put back. */
enum err view_get(const struct view *view, enum kv_family family, const struct kv_key *key,
                  struct view_value *ret_value) MUST_USE;
void view_put(struct view_value *value); /* a zeroed one is fine */

/*
 * A walk over the keys that begin with a prefix, in order, as they were when it was opened:
 * changing the batch while walking is fine and does not show. Keys and values are borrowed until
 * the next step or the next change of the batch.
 */
struct view_walk {
    const struct view *view;
    enum kv_family family;
    struct kv_key lower, upper;
    struct kv_iter *iter; /* owned */
    /* Owned: the batch's newest operation on each key in the range, in order of keys. */
    uint32_t *ops;
    size_t op_count, op_at;
    bool at_op; /* the present entry is the batch's */
    bool valid;
    enum err err;
};
enum err view_walk_open(struct view_walk *walk, const struct view *view, enum kv_family family,
                        const struct kv_key *prefix) MUST_USE;
void view_walk_close(struct view_walk *walk); /* a zeroed one is fine */
/* Steps onto the first, then the next entry. False at the end or on an error, which view_walk_err()
 * tells apart. */
bool view_walk_next(struct view_walk *walk);
struct bytes view_walk_key(const struct view_walk *walk);
struct bytes view_walk_value(const struct view_walk *walk);
static inline enum err view_walk_err(const struct view_walk *walk)
{
    return walk->err;
}

#endif
