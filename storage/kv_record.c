/*
 * Passes everything on to another index and keeps a copy of each batch written, so that a test can
 * say what was in it or replay any prefix of the history into a fresh index. Values and iterators
 * are the inner index's own.
 */
#include "storage/kv.h"

#include <stdlib.h>

#include "base/check.h"

#define RECORD_MAGIC 0x6b767265u

struct written {
    struct kv_batch *batch; /* owned */
    bool synced;
};

struct kv_record {
    struct kv kv;
    uint32_t magic;
    struct kv *inner;        /* owned */
    struct written *written; /* owned */
    size_t count, capacity;
};

/*
 * An iterator is known by nothing but its operations, and those are called with the iterator alone:
 * this one wraps the inner one to find its way back.
 */
struct kv_iter {
    const struct kv_ops *ops; /* inner's */
    struct kv_iter *inner;    /* owned */
};

static struct kv_record *to_record(const struct kv *kv)
{
    struct kv_record *record = (struct kv_record *)kv;
    CHECK_MAGIC(record, RECORD_MAGIC);
    return record;
}

static enum err record_get(struct kv *kv, enum kv_family family, struct bytes key,
                           enum kv_tier tier, struct kv_value *ret_value)
{
    struct kv *inner = to_record(kv)->inner;
    /* The value names the inner index: it is given back there. */
    return inner->ops->get(inner, family, key, tier, ret_value);
}

static void record_value_put(struct kv_value *value)
{
    if (value->kv != NULL)
        value->kv->ops->value_put(value);
}

static enum err copy_batch(const struct kv_batch *batch, struct kv_batch **ret_copy)
{
    struct kv_batch *copy;
    enum err e = kv_batch_open(&copy);
    if (e)
        return e;
    for (size_t i = 0; e == ERR_OK && i < kv_batch_count(batch); i++) {
        enum kv_family family;
        struct bytes key, value;
        bool is_delete;
        kv_batch_at(batch, i, &family, &key, &value, &is_delete);
        e = is_delete ? kv_batch_delete(copy, family, key) : kv_batch_put(copy, family, key, value);
    }
    if (e) {
        kv_batch_close(copy);
        return e;
    }
    *ret_copy = copy;
    return ERR_OK;
}

static enum err record_write(struct kv *kv, const struct kv_batch *batch, bool sync,
                             struct err_trail *trail)
{
    struct kv_record *record = to_record(kv);
    if (record->count == record->capacity) {
        size_t capacity = record->capacity < 64 ? 64 : record->capacity * 2;
        struct written *written = realloc(record->written, capacity * sizeof *written);
        if (written == NULL)
            return err_note(trail, ERR_NO_MEMORY, "record a batch");
        record->written = written;
        record->capacity = capacity;
    }
    struct kv_batch *copy;
    enum err e = copy_batch(batch, &copy);
    if (e)
        return err_note(trail, e, "record a batch");
    e = record->inner->ops->write(record->inner, batch, sync, trail);
    if (e) {
        kv_batch_close(copy);
        return e;
    }
    record->written[record->count++] = (struct written){.batch = copy, .synced = sync};
    return ERR_OK;
}

static enum err record_iter_open(struct kv *kv, const struct kv_iter_options *options,
                                 struct kv_iter **ret_iter)
{
    struct kv *inner = to_record(kv)->inner;
    struct kv_iter *iter = malloc(sizeof *iter);
    if (iter == NULL)
        return ERR_NO_MEMORY;
    iter->ops = inner->ops;
    enum err e = inner->ops->iter_open(inner, options, &iter->inner);
    if (e) {
        free(iter);
        return e;
    }
    *ret_iter = iter;
    return ERR_OK;
}

static void record_iter_close(struct kv_iter *iter)
{
    if (iter == NULL)
        return;
    iter->ops->iter_close(iter->inner);
    free(iter);
}

static void record_iter_seek(struct kv_iter *iter, struct bytes key)
{
    iter->ops->iter_seek(iter->inner, key);
}

static void record_iter_next(struct kv_iter *iter)
{
    iter->ops->iter_next(iter->inner);
}

static bool record_iter_valid(const struct kv_iter *iter)
{
    return iter->ops->iter_valid(iter->inner);
}

static struct bytes record_iter_key(const struct kv_iter *iter)
{
    return iter->ops->iter_key(iter->inner);
}

static struct bytes record_iter_value(const struct kv_iter *iter)
{
    return iter->ops->iter_value(iter->inner);
}

static enum err record_iter_err(const struct kv_iter *iter)
{
    return iter->ops->iter_err(iter->inner);
}

static enum err record_snapshot_open(struct kv *kv, struct kv_snapshot **ret_snapshot)
{
    struct kv *inner = to_record(kv)->inner;
    return inner->ops->snapshot_open(inner, ret_snapshot);
}

static void record_snapshot_close(struct kv *kv, struct kv_snapshot *snapshot)
{
    struct kv *inner = to_record(kv)->inner;
    inner->ops->snapshot_close(inner, snapshot);
}

static void record_stats(struct kv *kv, struct kv_stats *ret_stats)
{
    struct kv *inner = to_record(kv)->inner;
    inner->ops->stats(inner, ret_stats);
}

static void record_close(struct kv *kv)
{
    if (kv == NULL)
        return;
    struct kv_record *record = to_record(kv);
    record->inner->ops->close(record->inner);
    for (size_t i = 0; i < record->count; i++)
        kv_batch_close(record->written[i].batch);
    free(record->written);
    record->magic = 0;
    free(record);
}

static const struct kv_ops record_ops = {
    .get = record_get,
    .value_put = record_value_put,
    .write = record_write,
    .iter_open = record_iter_open,
    .iter_close = record_iter_close,
    .iter_seek = record_iter_seek,
    .iter_next = record_iter_next,
    .iter_valid = record_iter_valid,
    .iter_key = record_iter_key,
    .iter_value = record_iter_value,
    .iter_err = record_iter_err,
    .snapshot_open = record_snapshot_open,
    .snapshot_close = record_snapshot_close,
    .stats = record_stats,
    .close = record_close,
};

enum err kv_record_open(struct kv *inner, struct kv **ret_kv)
{
    struct kv_record *record = calloc(1, sizeof *record);
    if (record == NULL)
        return ERR_NO_MEMORY;
    record->kv.ops = &record_ops;
    record->magic = RECORD_MAGIC;
    record->inner = inner;
    *ret_kv = &record->kv;
    return ERR_OK;
}

size_t kv_record_batches(const struct kv *recording)
{
    return to_record(recording)->count;
}

const struct kv_batch *kv_record_batch(const struct kv *recording, size_t i, bool *ret_synced)
{
    const struct kv_record *record = to_record(recording);
    CHECK(i < record->count);
    *ret_synced = record->written[i].synced;
    return record->written[i].batch;
}
