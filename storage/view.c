#include "storage/view.h"

#include <stdlib.h>

#include "base/check.h"

enum err view_get(const struct view *view, enum kv_family family, const struct kv_key *key,
                  struct view_value *ret_value)
{
    struct view_value found = {0};
    switch (kv_batch_find(view->batch, family, key_bytes(key), &found.bytes)) {
    case 1:
        break;
    case 0:
        return ERR_NO_SUCH_OBJECT;
    default: {
        enum err e = view->kv->ops->get(view->kv, family, key_bytes(key), KV_ANY, &found.value);
        if (e)
            return e;
        found.bytes = found.value.bytes;
    }
    }
    *ret_value = found;
    return ERR_OK;
}

void view_put(struct view_value *value)
{
    if (value->value.kv != NULL)
        value->value.kv->ops->value_put(&value->value);
    *value = (struct view_value){0};
}

/* ---- walks ---- */

static struct bytes op_key(const struct view_walk *walk, uint32_t op)
{
    enum kv_family family;
    struct bytes key, value;
    bool is_delete;
    kv_batch_at(walk->view->batch, op, &family, &key, &value, &is_delete);
    return key;
}

static int compare_ops(const void *a, const void *b, void *context)
{
    const struct view_walk *walk = context;
    uint32_t op_a = *(const uint32_t *)a, op_b = *(const uint32_t *)b;
    int order = bytes_compare(op_key(walk, op_a), op_key(walk, op_b));
    if (order != 0)
        return order;
    return op_a > op_b ? -1 : op_a < op_b; /* of one key the newest first */
}

static bool in_range(const struct view_walk *walk, struct bytes key)
{
    return bytes_start_with(key, key_bytes(&walk->lower));
}

static enum err collect_ops(struct view_walk *walk)
{
    const struct kv_batch *batch = walk->view->batch;
    size_t count = 0, capacity = 0;
    for (size_t i = kv_batch_previous(batch, walk->family, KV_BATCH_END); i != KV_BATCH_END;
         i = kv_batch_previous(batch, walk->family, i)) {
        if (!in_range(walk, op_key(walk, (uint32_t)i)))
            continue;
        if (count == capacity) {
            capacity = capacity == 0 ? 64 : capacity * 2;
            uint32_t *ops = realloc(walk->ops, capacity * sizeof *ops);
            if (ops == NULL)
                return ERR_NO_MEMORY;
            walk->ops = ops;
        }
        walk->ops[count++] = (uint32_t)i;
    }
    if (count == 0)
        return ERR_OK;
    qsort_r(walk->ops, count, sizeof *walk->ops, compare_ops, walk);
    size_t kept = 1;
    for (size_t i = 1; i < count; i++)
        if (!bytes_equal(op_key(walk, walk->ops[i]), op_key(walk, walk->ops[kept - 1])))
            walk->ops[kept++] = walk->ops[i];
    walk->op_count = kept;
    return ERR_OK;
}

enum err view_walk_open(struct view_walk *walk, const struct view *view, enum kv_family family,
                        const struct kv_key *prefix)
{
    memset(walk, 0, sizeof *walk);
    walk->view = view;
    walk->family = family;
    walk->lower = *prefix;
    walk->upper = *prefix;
    key_successor(&walk->upper);
    enum err e = collect_ops(walk);
    if (e == ERR_OK) {
        struct kv_iter_options options = {
            .family = family,
            .lower = key_bytes(&walk->lower),
            .upper = key_bytes(&walk->upper),
        };
        e = view->kv->ops->iter_open(view->kv, &options, &walk->iter);
    }
    if (e) {
        walk->iter = NULL;
        view_walk_close(walk);
        return e;
    }
    view->kv->ops->iter_seek(walk->iter, key_bytes(&walk->lower));
    return ERR_OK;
}

void view_walk_close(struct view_walk *walk)
{
    if (walk->iter != NULL)
        walk->view->kv->ops->iter_close(walk->iter);
    free(walk->ops);
    walk->iter = NULL;
    walk->ops = NULL;
    walk->valid = false;
}

/* Leaves the present entry: both sides move on when both stand on its key. */
static void leave(struct view_walk *walk)
{
    const struct kv_ops *ops = walk->view->kv->ops;
    if (!walk->at_op) {
        ops->iter_next(walk->iter);
        return;
    }
    if (ops->iter_valid(walk->iter) &&
        bytes_equal(ops->iter_key(walk->iter), op_key(walk, walk->ops[walk->op_at])))
        ops->iter_next(walk->iter);
    walk->op_at++;
}

bool view_walk_next(struct view_walk *walk)
{
    const struct kv_ops *ops = walk->view->kv->ops;
    if (walk->valid)
        leave(walk);
    for (;;) {
        bool has_iter = ops->iter_valid(walk->iter), has_op = walk->op_at < walk->op_count;
        if (!has_iter) {
            walk->err = ops->iter_err(walk->iter);
            if (walk->err || !has_op)
                return walk->valid = false;
        }
        walk->at_op = has_op && (!has_iter || bytes_compare(op_key(walk, walk->ops[walk->op_at]),
                                                            ops->iter_key(walk->iter)) <= 0);
        if (!walk->at_op)
            return walk->valid = true;
        enum kv_family family;
        struct bytes key, value;
        bool is_delete;
        kv_batch_at(walk->view->batch, walk->ops[walk->op_at], &family, &key, &value, &is_delete);
        if (!is_delete)
            return walk->valid = true;
        leave(walk);
    }
}

struct bytes view_walk_key(const struct view_walk *walk)
{
    CHECK(walk->valid);
    return walk->at_op ? op_key(walk, walk->ops[walk->op_at])
                       : walk->view->kv->ops->iter_key(walk->iter);
}

struct bytes view_walk_value(const struct view_walk *walk)
{
    CHECK(walk->valid);
    if (!walk->at_op)
        return walk->view->kv->ops->iter_value(walk->iter);
    enum kv_family family;
    struct bytes key, value;
    bool is_delete;
    kv_batch_at(walk->view->batch, walk->ops[walk->op_at], &family, &key, &value, &is_delete);
    return value;
}
