/*
 * Looking at uploads and their parts. The order of keys in KV_UPLOAD is that of
 * ListMultipartUploads: by key, then by age, for an upload id begins with its time.
 */
#include "storage/keys.h"
#include "storage/records.h"
#include "storage/volume_priv.h"

#define STEPS_BEFORE_SEEK 8u

enum err volume_upload(struct volume *volume, struct bucket_id bucket, struct bytes key,
                       const struct upload_id *id, struct upload_info *ret_info,
                       uint8_t attrs[META_BYTES_MAX])
{
    enum err e = volume__index_usable(volume);
    if (e)
        return e;
    if (key.size == 0 || key.size > KEY_BYTES_MAX)
        return ERR_NO_SUCH_UPLOAD;
    struct kv_key upload_key;
    struct kv_value value;
    struct upload_record record;
    key_upload(&upload_key, bucket, key, id);
    e = volume->kv->ops->get(volume->kv, KV_UPLOAD, key_bytes(&upload_key), KV_ANY, &value);
    if (e)
        return e == ERR_NO_SUCH_OBJECT ? ERR_NO_SUCH_UPLOAD : e;
    e = record_upload_get(value.bytes, &record);
    if (e == ERR_OK) {
        if (record.attrs.size > 0)
            memcpy(attrs, record.attrs.data, record.attrs.size);
        *ret_info = (struct upload_info){
            .id = *id,
            .created_ns = record.created_ns,
            .checksum = record.checksum,
            .attrs = bytes_of(attrs, record.attrs.size),
        };
    }
    volume->kv->ops->value_put(&value);
    return e;
}

/* ---- all of a bucket's ---- */

struct walk {
    const struct upload_query *query;
    const struct kv_ops *ops;
    struct kv_iter *iter; /* owned */
    struct kv_key lower, upper;
    char name[KEY_BYTES_MAX]; /* of the upload here */
    size_t name_size;
    struct upload_id id;
    char group[KEY_BYTES_MAX];
    enum err err;
};

static struct bytes group_of(const struct upload_query *query, struct bytes name)
{
    if (query->delimiter.size == 0)
        return (struct bytes){0};
    size_t at = bytes_find(name, query->prefix.size, query->delimiter);
    return at == SIZE_MAX ? (struct bytes){0} : bytes_slice(name, 0, at + query->delimiter.size);
}

/* Decodes the key the walk stands on. */
static bool upload_here(struct walk *walk)
{
    if (walk->err)
        return false;
    if (!walk->ops->iter_valid(walk->iter)) {
        walk->err = walk->ops->iter_err(walk->iter);
        return false;
    }
    struct bucket_id bucket;
    walk->err = key_upload_parse(walk->ops->iter_key(walk->iter), &bucket, walk->name,
                                 &walk->name_size, &walk->id);
    return walk->err == ERR_OK;
}

static void pass_group(struct walk *walk, struct bytes group)
{
    for (unsigned i = 0; i < STEPS_BEFORE_SEEK; i++) {
        if (!upload_here(walk) || !bytes_start_with(bytes_of(walk->name, walk->name_size), group))
            return;
        walk->ops->iter_next(walk->iter);
    }
    struct kv_key beyond;
    key_upload_prefix(&beyond, walk->query->bucket, group);
    key_successor(&beyond);
    if (beyond.size == 0 || bytes_compare(key_bytes(&beyond), key_bytes(&walk->upper)) > 0)
        beyond = walk->upper;
    walk->ops->iter_seek(walk->iter, key_bytes(&beyond));
}

static void start(struct walk *walk)
{
    const struct upload_query *query = walk->query;
    struct kv_key first;
    if (query->key_marker.size == 0) {
        walk->ops->iter_seek(walk->iter, key_bytes(&walk->lower));
        return;
    }
    bool is_group = bytes_start_with(query->key_marker, query->prefix) &&
                    bytes_equal(group_of(query, query->key_marker), query->key_marker);
    if (is_group) {
        key_upload_prefix(&first, query->bucket, query->key_marker);
        key_successor(&first);
    } else if (query->has_upload_marker) {
        key_upload(&first, query->bucket, query->key_marker, &query->upload_marker);
    } else {
        key_upload_after_name(&first, query->bucket, query->key_marker);
    }
    if (bytes_compare(key_bytes(&first), key_bytes(&walk->lower)) < 0)
        first = walk->lower;
    walk->ops->iter_seek(walk->iter, key_bytes(&first));
    bool is_marker = query->has_upload_marker && walk->ops->iter_valid(walk->iter) &&
                     bytes_equal(walk->ops->iter_key(walk->iter), key_bytes(&first));
    if (is_marker)
        walk->ops->iter_next(walk->iter);
}

static void give(struct walk *walk, upload_each_fn *each, void *context)
{
    struct bytes name = bytes_of(walk->name, walk->name_size);
    struct bytes group = group_of(walk->query, name);
    if (group.size > 0) {
        memcpy(walk->group, group.data, group.size);
        group.data = walk->group; /* walk->name changes with each step */
        walk->err = each(context, true, group, NULL);
        if (walk->err == ERR_OK)
            pass_group(walk, group);
        return;
    }
    struct upload_record record;
    walk->err = record_upload_get(walk->ops->iter_value(walk->iter), &record);
    if (walk->err)
        return;
    struct upload_info info = {
        .id = walk->id,
        .created_ns = record.created_ns,
        .checksum = record.checksum,
        .attrs = record.attrs,
    };
    walk->err = each(context, false, name, &info);
    if (walk->err == ERR_OK)
        walk->ops->iter_next(walk->iter);
}

enum err volume_uploads(struct volume *volume, const struct upload_query *query,
                        upload_each_fn *each, void *context, bool *ret_truncated)
{
    *ret_truncated = false;
    if (query->max == 0 || query->prefix.size > KEY_BYTES_MAX)
        return ERR_OK;
    if (query->key_marker.size > KEY_BYTES_MAX)
        return ERR_INVALID;
    enum err e = volume__index_usable(volume);
    if (e)
        return e;
    struct walk walk = {.query = query, .ops = volume->kv->ops};
    key_upload_prefix(&walk.lower, query->bucket, query->prefix);
    walk.upper = walk.lower;
    key_successor(&walk.upper);
    struct kv_iter_options options = {
        .family = KV_UPLOAD,
        .lower = key_bytes(&walk.lower),
        .upper = key_bytes(&walk.upper),
    };
    e = volume->kv->ops->iter_open(volume->kv, &options, &walk.iter);
    if (e)
        return e;
    uint32_t count = 0;
    for (start(&walk); upload_here(&walk); give(&walk, each, context)) {
        if (count++ == query->max) {
            *ret_truncated = true;
            break;
        }
    }
    walk.ops->iter_close(walk.iter);
    return walk.err;
}

/* ---- parts ---- */

static enum err walk_parts(struct kv *kv, struct kv_iter *iter, uint32_t max, part_each_fn *each,
                           void *context, bool *ret_truncated)
{
    uint32_t count = 0;
    for (; kv->ops->iter_valid(iter); kv->ops->iter_next(iter)) {
        if (count++ == max) {
            *ret_truncated = max > 0;
            return ERR_OK;
        }
        struct upload_id id;
        uint16_t number;
        struct part_record part;
        enum err e = key_part_parse(kv->ops->iter_key(iter), &id, &number);
        if (e == ERR_OK)
            e = record_part_get(number, kv->ops->iter_value(iter), &part);
        if (e == ERR_OK)
            e = each(context, &part.info);
        if (e)
            return e;
    }
    return kv->ops->iter_err(iter);
}

enum err volume_parts(struct volume *volume, struct bucket_id bucket, struct bytes key,
                      const struct upload_id *id, uint16_t after, uint32_t max, part_each_fn *each,
                      void *context, bool *ret_truncated)
{
    uint8_t attrs[META_BYTES_MAX];
    struct upload_info upload;
    enum err e = volume_upload(volume, bucket, key, id, &upload, attrs);
    if (e)
        return e;
    *ret_truncated = false;
    if (after >= PARTS_MAX)
        return ERR_OK;
    struct kv *kv = volume->kv;
    struct kv_key lower, upper;
    struct kv_iter *iter;
    key_part(&lower, id, (uint16_t)(after + 1));
    key_parts(&upper, id);
    key_successor(&upper);
    struct kv_iter_options options = {
        .family = KV_PART, .lower = key_bytes(&lower), .upper = key_bytes(&upper)};
    e = kv->ops->iter_open(kv, &options, &iter);
    if (e)
        return e;
    kv->ops->iter_seek(iter, key_bytes(&lower));
    e = walk_parts(kv, iter, max, each, context, ret_truncated);
    kv->ops->iter_close(iter);
    return e;
}
