/*
 * A copy coming in (storage/copy.h). A run makes what lies between two keys of a family equal to
 * the source's rows, by going through both sides in order:
 *
 *     here only   goes (data with its extents), at most COPY_CHANGES_MAX in one batch
 *     there only  comes
 *     both        becomes the source's; data that is here, of that size, stays where it lies
 */
#include "storage/apply_priv.h"
#include "storage/copy_priv.h"

#include <stdlib.h>

#include "base/check.h"

#define COPY_CHANGES_MAX 1024u /* rows deleted, and extents let go of */

#define OBJECT_ROW_BYTES_MIN 64u
_Static_assert(2 * ((COPY_ROWS_BYTES_MAX / OBJECT_ROW_BYTES_MIN + COPY_CHANGES_MAX) *
                        sizeof(struct published_name) +
                    COPY_ROWS_BYTES_MAX + COPY_CHANGES_MAX * KV_KEY_BYTES_MAX) <=
                   COPY_STEP_BYTES_MAX,
               "the batch, and a name to be forgotten for each row; both grow by doubling");

struct merge {
    struct apply *apply;
    struct copy_step *step;
    const struct copy_run *run;
    struct copy_reader rows;
    uint32_t changes;
    struct data_id kept; /* data that stays: its other shards do, too */
    struct kv_key gone;  /* the last row that went; size 0: none */
};

/* ---- what follows from a row ---- */

static enum err note_setting(struct copy_step *step, struct bytes key)
{
    struct bytes name = bytes_slice(key, KEY_SETTING_PREFIX.size, SIZE_MAX);
    uint8_t *grown = realloc(step->changed, step->changed_size + 2 + name.size);
    if (grown == NULL)
        return ERR_NO_MEMORY;
    step->changed = grown;
    put_le16(grown + step->changed_size, (uint16_t)name.size);
    memcpy(grown + step->changed_size + 2, name.data, name.size);
    step->changed_size += 2 + name.size;
    return ERR_OK;
}

static enum err note_bucket(struct apply *apply, struct bytes key, struct bytes value, bool created)
{
    struct bucket_info bucket;
    enum err e = record_bucket_get(key, value, &bucket);
    return e ? e : apply__change_bucket(apply, &bucket, created);
}

static enum err note_object(struct apply *apply, struct bytes key)
{
    struct bucket_id bucket;
    struct bytes name;
    enum err e = key_object_parse(key, &bucket, &name);
    return e ? e : apply__publish(apply, bucket, name);
}

/* Memory that follows the index: buckets, cached names, settings of the layers above. */
static enum err note_change(struct merge *merge, struct bytes key, struct bytes before,
                            struct bytes after)
{
    struct apply *apply = merge->apply;
    enum err e = ERR_OK;
    switch (merge->run->family) {
    case KV_BUCKET:
        if (before.size > 0)
            e = note_bucket(apply, key, before, false);
        return e || after.size == 0 ? e : note_bucket(apply, key, after, true);
    case KV_OBJECT:
        return note_object(apply, key);
    case KV_SYS:
        if (bytes_equal(key, KEY_SYS_NEXT_BUCKET))
            apply->next_bucket_id = after.size == 4 ? get_le32(after.data) : 1;
        return bytes_start_with(key, KEY_SETTING_PREFIX) ? note_setting(merge->step, key) : ERR_OK;
    default:
        return ERR_OK;
    }
}

/* ---- rows ---- */

static enum err put_row(struct merge *merge, struct bytes key, struct bytes before,
                        struct bytes after)
{
    enum err e = kv_batch_put(merge->apply->batch, merge->run->family, key, after);
    return e ? e : note_change(merge, key, before, after);
}

static void note_gone(struct merge *merge, struct bytes key)
{
    memcpy(merge->gone.data, key.data, key.size);
    merge->gone.size = (uint16_t)key.size;
}

static enum err delete_row(struct merge *merge, struct bytes key, struct bytes before)
{
    merge->changes++;
    note_gone(merge, key);
    enum err e = kv_batch_delete(merge->apply->batch, merge->run->family, key);
    return e ? e : note_change(merge, key, before, (struct bytes){0});
}

/* Whether the data here is the source's. */
static enum err judge_kept(struct apply *apply, struct data_id id, struct bytes here,
                           struct bytes there, bool *ret_is_kept)
{
    struct data_record mine, wanted;
    enum data_state state = DATA_NONE;
    enum err e = record_data_get(here, 0, &mine);
    if (e == ERR_OK)
        e = record_data_get(there, 0, &wanted);
    if (e == ERR_OK)
        e = apply__data_state(apply, id, &state);
    *ret_is_kept = e == ERR_OK && retain_keeps(state, mine.is_absent, mine.size, wanted.size);
    return e;
}

/* A row of data that is here; `there`: the source's under the same key, or none. */
static enum err merge_data(struct merge *merge, struct bytes key, struct bytes here,
                           struct bytes there)
{
    struct data_id id;
    uint32_t shard, extents = 0;
    bool is_kept = false;
    enum err e = key_data_parse(key, &id, &shard);
    if (e)
        return e;
    if (shard == DATA_REFS_SHARD)
        return there.size > 0 ? put_row(merge, key, here, there) : delete_row(merge, key, here);
    if (shard > 0 && data_id_equal(merge->kept, id))
        return ERR_OK;
    if (shard == 0 && there.size > 0)
        e = judge_kept(merge->apply, id, here, there, &is_kept);
    if (e == ERR_OK && is_kept)
        merge->kept = id;
    if (e || is_kept)
        return e;
    e = apply__shard_delete(merge->apply, id, shard, &extents);
    merge->changes += 1 + extents;
    if (e == ERR_OK && there.size > 0)
        return put_row(merge, key, here, there);
    note_gone(merge, key);
    return e;
}

/* A row that is here. The batch does not show in the walk, which is of the index alone. */
static enum err merge_row(struct merge *merge, struct bytes key, struct bytes here,
                          struct bytes there)
{
    if (bytes_equal(here, there))
        return ERR_OK;
    if (merge->run->family == KV_DATA)
        return merge_data(merge, key, here, there);
    return there.size > 0 ? put_row(merge, key, here, there) : delete_row(merge, key, here);
}

static void next_row(struct merge *merge)
{
    merge->step->rows += copy__row_next(&merge->rows);
}

/* Rows of the source below `key`, which are not here. */
static enum err put_missing(struct merge *merge, struct bytes key, bool is_end)
{
    enum err e = ERR_OK;
    while (e == ERR_OK && merge->rows.is_valid &&
           (is_end || bytes_compare(merge->rows.key, key) < 0)) {
        e = put_row(merge, merge->rows.key, (struct bytes){0}, merge->rows.value);
        next_row(merge);
    }
    return e;
}

static enum err merge_here(struct merge *merge, struct bytes key, struct bytes here)
{
    struct bytes there = {0};
    if (!copy__is_replicated(merge->run->family, key))
        return ERR_OK;
    enum err e = put_missing(merge, key, false);
    if (e == ERR_OK && merge->rows.is_valid && bytes_equal(merge->rows.key, key)) {
        there = merge->rows.value;
        next_row(merge);
    }
    return e ? e : merge_row(merge, key, here, there);
}

static bool is_within(const struct copy_run *run, struct bytes key)
{
    return run->upto.size == 0 || bytes_compare(key, run->upto) <= 0;
}

/* Behind the row that went last: what has gone is not walked over once more for each batch. */
static struct bytes begin_rows(struct merge *merge)
{
    const struct copy_step *step = merge->step;
    struct bytes from = step->from.size > 0 ? key_bytes(&step->from) : step->run.after;
    do
        next_row(merge);
    while (merge->rows.is_valid && bytes_compare(merge->rows.key, from) <= 0);
    return from;
}

static enum err merge_all(struct merge *merge)
{
    struct kv *kv = merge->apply->kv;
    const struct copy_run *run = merge->run;
    struct bytes from = begin_rows(merge);
    struct kv_iter *iter;
    enum err e = kv->ops->iter_open(
        kv, &(struct kv_iter_options){.family = run->family, .scan = true}, &iter);
    if (e)
        return e;
    kv->ops->iter_seek(iter, from);
    for (; e == ERR_OK && kv->ops->iter_valid(iter) && is_within(run, kv->ops->iter_key(iter));
         kv->ops->iter_next(iter)) {
        if (merge->changes >= COPY_CHANGES_MAX) {
            merge->step->has_more = true;
            break;
        }
        if (from.size > 0 && bytes_equal(kv->ops->iter_key(iter), from))
            continue;
        e = merge_here(merge, kv->ops->iter_key(iter), kv->ops->iter_value(iter));
    }
    if (e == ERR_OK && !kv->ops->iter_valid(iter))
        e = kv->ops->iter_err(iter);
    kv->ops->iter_close(iter);
    if (e == ERR_OK && merge->step->has_more && merge->gone.size > 0)
        merge->step->from = merge->gone;
    return e || merge->step->has_more ? e : put_missing(merge, (struct bytes){0}, true);
}

static enum err apply_run(struct apply *apply, struct copy_step *step)
{
    struct merge merge = {
        .apply = apply, .step = step, .run = &step->run, .rows = {.rest = step->run.rows}};
    enum err e = copy_run_judge(&step->run);
    return e ? e : merge_all(&merge);
}

/* ---- data ---- */

static enum err apply_data(struct apply *apply, const struct copy_step *step)
{
    struct data_layout layout;
    struct data_record data;
    struct kv_value value;
    struct kv_key key;
    struct stored_piece piece;
    uint32_t count;
    body__layout(step->body, &layout);
    if (layout.is_inline)
        return ERR_INVALID;
    key_data(&key, layout.id, 0);
    enum err e = apply->kv->ops->get(apply->kv, KV_DATA, key_bytes(&key), KV_ANY, &value);
    if (e)
        return e;
    e = record_data_get(value.bytes, 0, &data);
    if (e == ERR_OK && (!data.is_absent || data.size != layout.size))
        e = ERR_NO_SUCH_OBJECT;
    apply->kv->ops->value_put(&value);
    return e ? e : apply__data_add(apply, step->body, layout.size, &piece, &count);
}

/* ---- steps ---- */

static enum err put_mark(struct apply *apply, const struct copy_mark *mark)
{
    uint8_t record[COPY_MARK_BYTES];
    copy__mark_put(record, mark);
    return kv_batch_put(apply->batch, KV_SYS, KEY_SYS_COPY, bytes_of(record, sizeof record));
}

static enum err begin(struct apply *apply, const struct copy_step *step,
                      const struct log_range *log)
{
    enum err e = put_mark(apply, &(struct copy_mark){.phase = COPY_ROWS});
    if (e == ERR_OK)
        e = kv_batch_put(apply->batch, KV_SYS, KEY_SYS_LOG_STATE, step->state);
    return e ? e : apply_log_first(apply, log->applied + 1);
}

static enum err end(struct apply *apply, const struct copy_step *step, const struct copy_mark *mark)
{
    enum err e = kv_batch_delete(apply->batch, KV_SYS, KEY_SYS_COPY);
    if (e == ERR_OK)
        e = kv_batch_put(apply->batch, KV_SYS, KEY_SYS_LOG_STATE, step->state);
    return e ? e : apply_log_first(apply, mark->psn + 1);
}

static enum err apply_step(struct apply *apply, struct copy_step *step,
                           const struct copy_mark *mark, const struct log_range *log)
{
    switch (step->kind) {
    case COPY_STEP_BEGIN:
        return begin(apply, step, log);
    case COPY_STEP_ROWS:
        return apply_run(apply, step);
    case COPY_STEP_NAMED:
        return put_mark(apply, &(struct copy_mark){COPY_DATA, step->psn, step->term});
    case COPY_STEP_DATA:
        return apply_data(apply, step);
    case COPY_STEP_END:
        return end(apply, step, mark);
    }
    return ERR_INVALID;
}

enum err apply_copy(struct apply *apply, struct copy_step *step, const struct copy_mark *mark,
                    const struct log_range *log)
{
    CHECK_MAGIC(step, COPY_STEP_MAGIC);
    struct effects before = *apply->effects;
    struct kv_mark at = kv_batch_mark(apply->batch);
    uint32_t next_bucket_id = apply->next_bucket_id;
    enum err e = apply_step(apply, step, mark, log);
    if (e == ERR_OK)
        return ERR_OK;
    apply__rollback(apply, at, &before);
    apply->next_bucket_id = next_bucket_id;
    step->has_more = false;
    return err_note(&step->trail, e, "copy the group's state into this volume");
}
