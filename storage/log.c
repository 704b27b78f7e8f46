/* Reading the log, and data by its id. */
#include "storage/log.h"

#include <stdlib.h>

#include "base/check.h"
#include "storage/keys.h"
#include "storage/object_priv.h"
#include "storage/records.h"
#include "storage/volume_priv.h"

void volume_log_range(struct volume *volume, struct log_range *ret_range)
{
    CHECK_MAGIC(volume, VOLUME_MAGIC);
    struct commit *commit = &volume->commit;
    pthread_mutex_lock(&commit->lock);
    *ret_range = commit->log_shown;
    pthread_mutex_unlock(&commit->lock);
}

/* ERR_NO_SUCH_OBJECT: not there. */
static enum err get(struct volume *volume, enum kv_family family, struct bytes key,
                    struct kv_value *ret_value)
{
    CHECK_MAGIC(volume, VOLUME_MAGIC);
    enum err e = volume__index_usable(volume);
    return e ? e : volume->kv->ops->get(volume->kv, family, key, KV_ANY, ret_value);
}

enum err volume_log_state(struct volume *volume, uint8_t *out, size_t max, size_t *ret_size)
{
    struct kv_value value;
    enum err e = get(volume, KV_SYS, KEY_SYS_LOG_STATE, &value);
    if (e)
        return e;
    if (value.bytes.size > max) {
        e = ERR_TOO_LARGE;
    } else {
        memcpy(out, value.bytes.data, value.bytes.size);
        *ret_size = value.bytes.size;
    }
    volume->kv->ops->value_put(&value);
    return e;
}

enum err volume_log_read(struct volume *volume, uint64_t psn, struct log_row *ret_row)
{
    struct kv_key key;
    struct kv_value value;
    struct log_record record;
    key_log(&key, psn);
    enum err e = get(volume, KV_LOG, key_bytes(&key), &value);
    if (e)
        return e;
    e = record_log_get(value.bytes, &record);
    uint8_t *memory = e ? NULL : malloc(record.record.size + 1);
    if (e == ERR_OK && memory == NULL)
        e = ERR_NO_MEMORY;
    if (e == ERR_OK) {
        if (record.record.size > 0)
            memcpy(memory, record.record.data, record.record.size);
        *ret_row = (struct log_row){
            .psn = psn,
            .term = record.term,
            .data = record.data,
            .record = bytes_of(memory, record.record.size),
            .memory = memory,
        };
    }
    volume->kv->ops->value_put(&value);
    return e;
}

void log_row_fini(struct log_row *row)
{
    free(row->memory);
    *row = (struct log_row){0};
}

/* ---- data by its id ---- */

/* Whether somebody refers to it, as of now. */
static enum err judge_references(struct volume *volume, struct data_id id)
{
    struct kv_key key;
    struct kv_value value;
    uint64_t references;
    key_data(&key, id, DATA_REFS_SHARD);
    enum err e = get(volume, KV_DATA, key_bytes(&key), &value);
    if (e)
        return e == ERR_NO_SUCH_OBJECT ? ERR_OK : e; /* one, if it is there at all */
    e = record_refs_get(value.bytes, &references);
    volume->kv->ops->value_put(&value);
    return e == ERR_OK && references == 0 ? ERR_NO_SUCH_OBJECT : e;
}

static enum err find_data(struct volume *volume, struct data_id id, struct stored_piece *ret_piece)
{
    struct kv_key key;
    struct kv_value value;
    struct bytes bytes;
    uint64_t sum;
    struct data_record data = {0};
    key_inline(&key, id);
    enum err e = get(volume, KV_INLINE, key_bytes(&key), &value);
    bool is_inline = e == ERR_OK;
    if (e == ERR_NO_SUCH_OBJECT) {
        key_data(&key, id, 0);
        e = get(volume, KV_DATA, key_bytes(&key), &value);
    }
    if (e)
        return e;
    if (is_inline) {
        e = record_inline_get(value.bytes, &bytes, &sum);
        data.size = e ? 0 : bytes.size;
    } else {
        e = record_data_get(value.bytes, 0, &data);
        if (e == ERR_OK && data.is_absent)
            e = ERR_NO_SUCH_OBJECT;
    }
    volume->kv->ops->value_put(&value);
    if (e == ERR_OK)
        *ret_piece =
            (struct stored_piece){.piece = {.data = id, .size = data.size}, .is_inline = is_inline};
    return e;
}

static enum err make_object(struct volume *volume, const struct stored_piece *piece,
                            struct object **ret_object)
{
    uint8_t record[OBJECT_RECORD_BYTES_MAX];
    struct object_record object = {
        .info = {.size = piece->piece.size}, .piece_count = 1, .piece = *piece};
    size_t size = record_object_put(record, &object);
    struct object_source source = {
        .volume = volume,
        .kv = volume->kv,
        .pins = volume->pins,
        .segments = &volume->segments,
        .tier = KV_ANY,
    };
    return object__make(&source, (struct bucket_id){0}, (struct bytes){0}, bytes_of(record, size),
                        ret_object);
}

enum err volume_data_lookup(struct volume *volume, struct data_id id, struct object **ret_object)
{
    CHECK_MAGIC(volume, VOLUME_MAGIC);
    struct stored_piece piece;
    /* Pinned before it is looked at: what is found then is not used again while the pin is there,
     * and the object brings its own. */
    enum err e = pins_add(volume->pins, id);
    if (e)
        return e;
    e = judge_references(volume, id);
    if (e == ERR_OK)
        e = find_data(volume, id, &piece);
    if (e == ERR_OK)
        e = make_object(volume, &piece, ret_object);
    pins_drop(volume->pins, id);
    return e;
}
