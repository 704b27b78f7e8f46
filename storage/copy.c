/* A run of rows as bytes, and what both sides of a copy ask of the index. */
#include "storage/copy_priv.h"

#include <stdlib.h>

#include "base/check.h"
#include "storage/records.h"
#include "storage/volume_priv.h"

/* Data before the names that refer to it, deletions queued for names after both. */
const enum kv_family copy_families[COPY_FAMILIES] = {
    KV_LOG, KV_SYS,    KV_BUCKET, KV_DATA,     KV_INLINE,
    KV_GC,  KV_UPLOAD, KV_PART,   KV_MANIFEST, KV_OBJECT,
};

bool copy__is_replicated(enum kv_family family, struct bytes key)
{
    if (family != KV_SYS)
        return true;
    return bytes_equal(key, KEY_SYS_COMPLETED) || bytes_equal(key, KEY_SYS_NEXT_BUCKET) ||
           bytes_start_with(key, KEY_SETTING_PREFIX) || bytes_start_with(key, BYTES("done/")) ||
           bytes_start_with(key, BYTES("ring/"));
}

/* ---- rows ---- */

bool copy__row_put(struct copy_rows *rows, struct bytes key, struct bytes value)
{
    size_t size = COPY_ROW_HEAD_BYTES + key.size + value.size;
    if (size > COPY_ROWS_BYTES_MAX - rows->size)
        return false;
    uint8_t *out = rows->data + rows->size;
    put_le16(out, (uint16_t)key.size);
    put_le32(out + 2, (uint32_t)value.size);
    memcpy(out + COPY_ROW_HEAD_BYTES, key.data, key.size);
    memcpy(out + COPY_ROW_HEAD_BYTES + key.size, value.data, value.size);
    rows->size += size;
    return true;
}

bool copy__row_next(struct copy_reader *reader)
{
    struct bytes rest = reader->rest;
    reader->is_valid = false;
    if (rest.size == 0 || reader->is_bad)
        return false;
    reader->is_bad = true;
    if (rest.size < COPY_ROW_HEAD_BYTES)
        return false;
    size_t key = get_le16(rest.data), value = get_le32(rest.data + 2);
    rest = bytes_slice(rest, COPY_ROW_HEAD_BYTES, SIZE_MAX);
    if (key == 0 || key > KV_KEY_BYTES_MAX || key > rest.size || value > rest.size - key)
        return false;
    reader->key = bytes_slice(rest, 0, key);
    reader->value = bytes_slice(rest, key, value);
    reader->rest = bytes_slice(rest, key + value, SIZE_MAX);
    reader->is_bad = false;
    reader->is_valid = true;
    return true;
}

/* ---- judging ---- */

static enum err judge_sys(struct bytes key, struct bytes value)
{
    struct bytes setting;
    struct completed_record completed;
    if (bytes_start_with(key, KEY_SETTING_PREFIX)) {
        bool is_name = key.size > KEY_SETTING_PREFIX.size &&
                       key.size <= KEY_SETTING_PREFIX.size + SETTING_NAME_BYTES_MAX;
        return is_name ? record_setting_get(value, &setting) : ERR_CORRUPT;
    }
    if (bytes_start_with(key, BYTES("done/")))
        return record_completed_get(value, &completed);
    if (bytes_start_with(key, BYTES("ring/")))
        return value.size == sizeof(struct upload_id) ? ERR_OK : ERR_CORRUPT;
    if (bytes_equal(key, KEY_SYS_NEXT_BUCKET))
        return value.size == 4 && get_le32(value.data) > 0 ? ERR_OK : ERR_CORRUPT;
    return bytes_equal(key, KEY_SYS_COMPLETED) && value.size == 8 ? ERR_OK : ERR_CORRUPT;
}

static enum err judge_data(struct bytes key, struct bytes value)
{
    struct data_id id;
    uint32_t shard;
    uint64_t references;
    struct data_record data;
    enum err e = key_data_parse(key, &id, &shard);
    if (e || data_id_is_none(id) || (shard != 0 && shard != DATA_REFS_SHARD))
        return ERR_CORRUPT;
    if (shard == DATA_REFS_SHARD) {
        e = record_refs_get(value, &references);
        return e ? e : references > 0 ? ERR_OK : ERR_CORRUPT;
    }
    e = record_data_get(value, 0, &data);
    return e ? e : data.is_absent ? ERR_OK : ERR_CORRUPT;
}

static enum err judge_manifest(struct bytes key, struct bytes value)
{
    struct data_id id;
    uint32_t shard, count;
    struct manifest_record pieces;
    enum err e = key_data_parse(key, &id, &shard);
    if (e)
        return e;
    if (shard < MANIFEST_PARTS_SHARD)
        return record_pieces_get(value, &pieces);
    struct object_part *parts = malloc(MANIFEST_SHARD_ENTRIES * sizeof *parts);
    if (parts == NULL)
        return ERR_NO_MEMORY;
    e = record_parts_get(value, parts, &count);
    free(parts);
    return e;
}

static enum err judge_upload(struct bytes key, struct bytes value)
{
    struct bucket_id bucket;
    char name[KEY_BYTES_MAX];
    size_t name_size;
    struct upload_id id;
    struct upload_record upload;
    enum err e = key_upload_parse(key, &bucket, name, &name_size, &id);
    return e ? e : record_upload_get(value, &upload);
}

static enum err judge_gc(struct bytes key, struct bytes value)
{
    enum gc_kind kind;
    struct data_id id;
    struct upload_id upload;
    struct bucket_id bucket;
    struct gc_record gc;
    enum err e = key_gc_parse(key, &kind, &id, &upload, &bucket);
    if (e == ERR_OK && kind == GC_DATA)
        e = ERR_CORRUPT;
    return e ? e : record_gc_get(value, &gc);
}

static enum err judge_name(enum kv_family family, struct bytes key, struct bytes value)
{
    struct bucket_info bucket;
    struct bucket_id in;
    struct bytes name;
    struct object_record object;
    struct upload_id upload;
    uint16_t number;
    struct part_record part;
    if (family == KV_BUCKET)
        return record_bucket_get(key, value, &bucket);
    if (family == KV_OBJECT) {
        enum err e = key_object_parse(key, &in, &name);
        return e ? e : record_object_get(value, &object);
    }
    enum err e = key_part_parse(key, &upload, &number);
    return e ? e : record_part_get(number, value, &part);
}

static enum err judge_inline(struct bytes key, struct bytes value)
{
    struct data_id id;
    struct bytes data;
    uint64_t sum;
    enum err e = key_inline_parse(key, &id);
    return e ? e : record_inline_get(value, &data, &sum);
}

static enum err judge_row(enum kv_family family, struct bytes key, struct bytes value)
{
    switch (family) {
    case KV_SYS:
        return judge_sys(key, value);
    case KV_DATA:
        return judge_data(key, value);
    case KV_MANIFEST:
        return judge_manifest(key, value);
    case KV_INLINE:
        return judge_inline(key, value);
    case KV_UPLOAD:
        return judge_upload(key, value);
    case KV_GC:
        return judge_gc(key, value);
    case KV_BUCKET:
    case KV_OBJECT:
    case KV_PART:
        return judge_name(family, key, value);
    case KV_EXTENT:
    case KV_LOG:
    case KV_FAMILY_COUNT:
        break;
    }
    return ERR_CORRUPT; /* a row of what is not copied */
}

/* Data is not cut in two: a run ends behind all that is of one id. */
static bool cuts_data(const struct copy_run *run)
{
    struct data_id id;
    uint32_t shard;
    return run->family == KV_DATA && run->upto.size > 0 &&
           (key_data_parse(run->upto, &id, &shard) != ERR_OK || shard != DATA_REFS_SHARD);
}

enum err copy_run_judge(const struct copy_run *run)
{
    bool is_known = false;
    for (size_t i = 0; i < COPY_FAMILIES; i++)
        is_known = is_known || copy_families[i] == run->family;
    if (!is_known || run->after.size > KV_KEY_BYTES_MAX || run->upto.size > KV_KEY_BYTES_MAX ||
        run->rows.size > COPY_ROWS_BYTES_MAX || cuts_data(run))
        return ERR_CORRUPT;
    struct bytes before = run->after;
    struct copy_reader reader = {.rest = run->rows};
    while (copy__row_next(&reader)) {
        bool is_in_order = bytes_compare(reader.key, before) > 0 &&
                           (run->upto.size == 0 || bytes_compare(reader.key, run->upto) <= 0);
        enum err e = is_in_order ? judge_row(run->family, reader.key, reader.value) : ERR_CORRUPT;
        if (e)
            return e;
        before = reader.key;
    }
    bool is_before = run->upto.size == 0 || bytes_compare(run->after, run->upto) < 0;
    return reader.is_bad || !is_before ? ERR_CORRUPT : ERR_OK;
}

/* ---- the mark ---- */

void copy__mark_put(uint8_t out[COPY_MARK_BYTES], const struct copy_mark *mark)
{
    memset(out, 0, COPY_MARK_BYTES);
    out[0] = RECORD_VERSION;
    out[1] = (uint8_t)mark->phase;
    put_le64(out + 8, mark->psn);
    put_le64(out + 16, mark->term);
}

enum err copy__mark_get(struct bytes record, struct copy_mark *ret_mark)
{
    if (record.size < 1 || (uint8_t)record.data[0] < RECORD_VERSION)
        return ERR_CORRUPT;
    if ((uint8_t)record.data[0] > RECORD_VERSION)
        return ERR_FORMAT_NEWER;
    if (record.size != COPY_MARK_BYTES || get_le32(record.data + 2) != 0 ||
        get_le16(record.data + 6) != 0 ||
        (record.data[1] != COPY_ROWS && record.data[1] != COPY_DATA))
        return ERR_CORRUPT;
    *ret_mark = (struct copy_mark){.phase = (enum copy_phase)record.data[1],
                                   .psn = get_le64(record.data + 8),
                                   .term = get_le64(record.data + 16)};
    return ERR_OK;
}

struct copy_mark volume_copy_mark(struct volume *volume)
{
    CHECK_MAGIC(volume, VOLUME_MAGIC);
    struct commit *commit = &volume->commit;
    pthread_mutex_lock(&commit->lock);
    struct copy_mark mark = commit->copy_shown;
    pthread_mutex_unlock(&commit->lock);
    return mark;
}

/* ---- what is still to be fetched ---- */

#define ABSENT_ROWS_MAX 65536u /* looked at in one call */

static enum err see_absent(const struct kv_ops *ops, struct kv_iter *iter, struct log_data *out,
                           size_t *count, struct data_id *ret_id)
{
    struct data_record data;
    uint32_t shard;
    enum err e = key_data_parse(ops->iter_key(iter), ret_id, &shard);
    if (e || shard != 0)
        return e;
    e = record_data_get(ops->iter_value(iter), 0, &data);
    /* What is absent and small is so at the source, too: there small data is inline. */
    if (e == ERR_OK && data.is_absent && data.size > INLINE_BYTES_MAX)
        out[(*count)++] = (struct log_data){.id = *ret_id, .size = data.size};
    return e;
}

enum err volume_copy_absent(struct volume *volume, struct data_id after, struct log_data *ret_data,
                            size_t max, size_t *ret_count, struct data_id *ret_after,
                            bool *ret_is_end)
{
    CHECK_MAGIC(volume, VOLUME_MAGIC);
    const struct kv_ops *ops = volume->kv->ops;
    struct kv_iter *iter;
    struct kv_key from;
    size_t count = 0, seen = 0;
    struct data_id id = after;
    enum err e = volume__index_usable(volume);
    if (e == ERR_OK)
        e = ops->iter_open(volume->kv, &(struct kv_iter_options){.family = KV_DATA, .scan = true},
                           &iter);
    if (e)
        return e;
    key_data(&from, after, DATA_REFS_SHARD);
    for (ops->iter_seek(iter, key_bytes(&from));
         e == ERR_OK && ops->iter_valid(iter) && count < max && seen < ABSENT_ROWS_MAX;
         ops->iter_next(iter), seen++)
        e = see_absent(ops, iter, ret_data, &count, &id);
    bool is_end = !ops->iter_valid(iter);
    if (e == ERR_OK && is_end)
        e = ops->iter_err(iter);
    ops->iter_close(iter);
    if (e)
        return e;
    *ret_count = count;
    *ret_after = id;
    *ret_is_end = is_end;
    return ERR_OK;
}
