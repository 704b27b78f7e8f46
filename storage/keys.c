#include "storage/keys.h"

#include "base/check.h"

_Static_assert(4 + 2 * KEY_BYTES_MAX + 2 + sizeof(struct upload_id) <= KV_KEY_BYTES_MAX,
               "the longest key is an upload's");
_Static_assert(SETTING_NAME_BYTES_MAX + 8 <= KV_KEY_BYTES_MAX, "a setting's name fits");

#define DATA_ID_BYTES 16u

static void start(struct kv_key *key)
{
    key->size = 0;
}

static void add_bytes(struct kv_key *key, const void *data, size_t size)
{
    CHECK(size <= sizeof key->data - key->size);
    if (size > 0)
        memcpy(key->data + key->size, data, size);
    key->size = (uint16_t)(key->size + size);
}

static void add_be32(struct kv_key *key, uint32_t value)
{
    uint8_t bytes[4];
    put_be32(bytes, value);
    add_bytes(key, bytes, sizeof bytes);
}

static void add_data_id(struct kv_key *key, struct data_id id)
{
    uint8_t bytes[DATA_ID_BYTES];
    put_be64(bytes, id.epoch);
    put_be64(bytes + 8, id.counter);
    add_bytes(key, bytes, sizeof bytes);
}

static void add_escaped(struct kv_key *key, struct bytes name)
{
    CHECK(2 * name.size <= sizeof key->data - key->size);
    for (size_t i = 0; i < name.size; i++) {
        key->data[key->size++] = (uint8_t)name.data[i];
        if (name.data[i] == 0)
            key->data[key->size++] = 0xff;
    }
}

/* ---- sys ---- */

void key_segment(struct kv_key *key, uint32_t segment)
{
    start(key);
    add_bytes(key, KEY_SEGMENT_PREFIX.data, KEY_SEGMENT_PREFIX.size);
    add_be32(key, segment);
}

void key_setting(struct kv_key *key, struct bytes name)
{
    CHECK(name.size <= SETTING_NAME_BYTES_MAX);
    start(key);
    add_bytes(key, KEY_SETTING_PREFIX.data, KEY_SETTING_PREFIX.size);
    add_bytes(key, name.data, name.size);
}

void key_completed(struct kv_key *key, const struct upload_id *id)
{
    start(key);
    add_bytes(key, "done/", 5);
    add_bytes(key, id->bytes, sizeof id->bytes);
}

void key_completed_slot(struct kv_key *key, uint32_t slot)
{
    start(key);
    add_bytes(key, "ring/", 5);
    add_be32(key, slot);
}

/* ---- names ---- */

void key_bucket(struct kv_key *key, struct bytes name)
{
    CHECK(name.size <= BUCKET_NAME_BYTES_MAX);
    start(key);
    add_bytes(key, name.data, name.size);
}

void key_object(struct kv_key *key, struct bucket_id bucket, struct bytes name)
{
    CHECK(name.size <= KEY_BYTES_MAX);
    start(key);
    add_be32(key, bucket.value);
    add_bytes(key, name.data, name.size);
}

void key_upload_prefix(struct kv_key *key, struct bucket_id bucket, struct bytes name_prefix)
{
    CHECK(name_prefix.size <= KEY_BYTES_MAX);
    start(key);
    add_be32(key, bucket.value);
    add_escaped(key, name_prefix);
}

void key_upload(struct kv_key *key, struct bucket_id bucket, struct bytes name,
                const struct upload_id *id)
{
    key_upload_prefix(key, bucket, name);
    add_bytes(key, "\0\1", 2);
    add_bytes(key, id->bytes, sizeof id->bytes);
}

void key_upload_after_name(struct kv_key *key, struct bucket_id bucket, struct bytes name)
{
    key_upload_prefix(key, bucket, name);
    add_bytes(key, "\0\2", 2);
}

void key_parts(struct kv_key *key, const struct upload_id *id)
{
    start(key);
    add_bytes(key, id->bytes, sizeof id->bytes);
}

void key_part(struct kv_key *key, const struct upload_id *id, uint16_t number)
{
    uint8_t bytes[2];
    key_parts(key, id);
    put_be16(bytes, number);
    add_bytes(key, bytes, sizeof bytes);
}

/* ---- data ---- */

void key_data(struct kv_key *key, struct data_id id, uint32_t shard)
{
    start(key);
    add_data_id(key, id);
    add_be32(key, shard);
}

void key_inline(struct kv_key *key, struct data_id id)
{
    start(key);
    add_data_id(key, id);
}

void key_extent(struct kv_key *key, uint32_t segment, uint32_t unit)
{
    start(key);
    add_be32(key, segment);
    add_be32(key, unit);
}

void key_manifest(struct kv_key *key, struct data_id id, uint32_t shard)
{
    key_data(key, id, shard);
}

/* ---- deferred deletion ---- */

static void start_gc(struct kv_key *key, enum gc_kind kind)
{
    uint8_t byte = (uint8_t)kind;
    start(key);
    add_bytes(key, &byte, 1);
}

void key_gc_id(struct kv_key *key, enum gc_kind kind, struct data_id id)
{
    CHECK(kind == GC_DATA || kind == GC_MANIFEST);
    start_gc(key, kind);
    add_data_id(key, id);
}

void key_gc_parts(struct kv_key *key, const struct upload_id *id)
{
    start_gc(key, GC_PARTS);
    add_bytes(key, id->bytes, sizeof id->bytes);
}

void key_gc_uploads(struct kv_key *key, struct bucket_id bucket)
{
    start_gc(key, GC_UPLOADS);
    add_be32(key, bucket.value);
}

/* ---- the log ---- */

void key_log(struct kv_key *key, uint64_t psn)
{
    uint8_t bytes[8];
    put_be64(bytes, psn);
    start(key);
    add_bytes(key, bytes, sizeof bytes);
}

void key_successor(struct kv_key *key)
{
    while (key->size > 0 && key->data[key->size - 1] == 0xff)
        key->size--;
    if (key->size > 0)
        key->data[key->size - 1]++;
}

/* ---- the way back ---- */

static struct data_id get_data_id(const char *data)
{
    return (struct data_id){.epoch = get_be64(data), .counter = get_be64(data + 8)};
}

enum err key_segment_parse(struct bytes key, uint32_t *ret_segment)
{
    size_t prefix = KEY_SEGMENT_PREFIX.size;
    if (key.size != prefix + 4 || !bytes_start_with(key, KEY_SEGMENT_PREFIX))
        return ERR_CORRUPT;
    *ret_segment = get_be32(key.data + prefix);
    return ERR_OK;
}

enum err key_log_parse(struct bytes key, uint64_t *ret_psn)
{
    if (key.size != 8)
        return ERR_CORRUPT;
    *ret_psn = get_be64(key.data);
    return ERR_OK;
}

enum err key_object_parse(struct bytes key, struct bucket_id *ret_bucket, struct bytes *ret_name)
{
    if (key.size <= 4 || key.size - 4 > KEY_BYTES_MAX)
        return ERR_CORRUPT;
    ret_bucket->value = get_be32(key.data);
    *ret_name = bytes_of(key.data + 4, key.size - 4);
    return ERR_OK;
}

enum err key_extent_parse(struct bytes key, uint32_t *ret_segment, uint32_t *ret_unit)
{
    if (key.size != 8)
        return ERR_CORRUPT;
    *ret_segment = get_be32(key.data);
    *ret_unit = get_be32(key.data + 4);
    return ERR_OK;
}

enum err key_data_parse(struct bytes key, struct data_id *ret_id, uint32_t *ret_shard)
{
    if (key.size != DATA_ID_BYTES + 4)
        return ERR_CORRUPT;
    *ret_id = get_data_id(key.data);
    *ret_shard = get_be32(key.data + DATA_ID_BYTES);
    return ERR_OK;
}

enum err key_inline_parse(struct bytes key, struct data_id *ret_id)
{
    if (key.size != DATA_ID_BYTES)
        return ERR_CORRUPT;
    *ret_id = get_data_id(key.data);
    return ERR_OK;
}

enum err key_upload_parse(struct bytes key, struct bucket_id *ret_bucket, char name[KEY_BYTES_MAX],
                          size_t *ret_name_size, struct upload_id *ret_id)
{
    if (key.size < 4)
        return ERR_CORRUPT;
    size_t name_size = 0, i = 4;
    for (;; i++) {
        if (key.size - i < 2)
            return ERR_CORRUPT;
        char c = key.data[i];
        if (c == 0) {
            uint8_t escape = (uint8_t)key.data[++i];
            if (escape == 1)
                break;
            if (escape != 0xff)
                return ERR_CORRUPT;
        }
        if (name_size == KEY_BYTES_MAX)
            return ERR_CORRUPT;
        name[name_size++] = c;
    }
    i++;
    if (name_size == 0 || key.size - i != sizeof ret_id->bytes)
        return ERR_CORRUPT;
    ret_bucket->value = get_be32(key.data);
    *ret_name_size = name_size;
    memcpy(ret_id->bytes, key.data + i, sizeof ret_id->bytes);
    return ERR_OK;
}

enum err key_part_parse(struct bytes key, struct upload_id *ret_id, uint16_t *ret_number)
{
    if (key.size != sizeof ret_id->bytes + 2)
        return ERR_CORRUPT;
    memcpy(ret_id->bytes, key.data, sizeof ret_id->bytes);
    *ret_number = get_be16(key.data + sizeof ret_id->bytes);
    return ERR_OK;
}

enum err key_gc_parse(struct bytes key, enum gc_kind *ret_kind, struct data_id *ret_id,
                      struct upload_id *ret_upload, struct bucket_id *ret_bucket)
{
    if (key.size < 1)
        return ERR_CORRUPT;
    switch (key.data[0]) {
    case GC_DATA:
    case GC_MANIFEST:
        if (key.size != 1 + DATA_ID_BYTES)
            return ERR_CORRUPT;
        *ret_id = get_data_id(key.data + 1);
        break;
    case GC_PARTS:
        if (key.size != 1 + sizeof ret_upload->bytes)
            return ERR_CORRUPT;
        memcpy(ret_upload->bytes, key.data + 1, sizeof ret_upload->bytes);
        break;
    case GC_UPLOADS:
        if (key.size != 1 + 4)
            return ERR_CORRUPT;
        ret_bucket->value = get_be32(key.data + 1);
        break;
    default:
        return ERR_CORRUPT;
    }
    *ret_kind = (enum gc_kind)key.data[0];
    return ERR_OK;
}
