/*
 * Looking up: a name becomes a struct object, out of the cache or out of the index.
 *
 * Reading the index without a lock meets changes in two ways. The name changes after its record was
 * read: then cache_insert() refuses, and we look again. Or what the record refers to is already
 * gone: a name's record is gone no later than what it refers to, so reading the record again shows
 * another one, and only the same record twice means a broken index.
 */
#include "storage/object_priv.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/digest.h"
#include "storage/keys.h"
#include "storage/volume_priv.h"

/* A name that changes faster than it can be read so often: ERR_BUSY. */
#define LOOKUPS_MAX         100u
#define RECENCY_HALF_LIFE_S 32u

uint64_t object__hash_name(struct bucket_id bucket, struct bytes key)
{
    return xxh3_64(key.data, key.size) ^ (bucket.value * 0x9e3779b97f4a7c15ull);
}

/* ---- making ---- */

/* What is to be copied behind the struct. */
struct plan {
    struct object_record record;
    struct data_record data;  /* extent_count 0: no layout of extents */
    struct bytes inline_data; /* size 0: none */
    uint64_t inline_sum;
};

static size_t aligned(size_t size)
{
    return (size + 15) & ~(size_t)15;
}

static void *carve(char **at, size_t size)
{
    void *room = *at;
    *at += aligned(size);
    return room;
}

static size_t memory_needed(const struct plan *plan, struct bytes key)
{
    return aligned(sizeof(struct object)) +
           aligned(plan->record.piece_count * sizeof(struct object_piece)) +
           aligned(plan->data.extent_count * sizeof(struct extent)) +
           aligned(plan->data.sum_count * sizeof(uint64_t)) + aligned(plan->inline_data.size) +
           aligned(plan->record.info.attrs.size) + aligned(key.size);
}

static const void *copy_behind(char **at, struct bytes bytes)
{
    void *room = carve(at, bytes.size);
    if (bytes.size > 0)
        memcpy(room, bytes.data, bytes.size);
    return room;
}

static void fill_layout(struct object *object, const struct plan *plan, char **at)
{
    const struct data_record *data = &plan->data;
    struct data_layout *layout = &object->layout;
    layout->id = plan->record.piece.piece.data;
    if (plan->inline_data.size > 0) {
        object->has_layout = true;
        layout->is_inline = true;
        layout->size = plan->inline_data.size;
        layout->inline_data = copy_behind(at, plan->inline_data);
        layout->inline_sum = plan->inline_sum;
    } else if (data->extent_count > 0) {
        struct extent *extents = carve(at, data->extent_count * sizeof *extents);
        uint64_t *sums = carve(at, data->sum_count * sizeof *sums);
        for (uint32_t i = 0; i < data->extent_count; i++)
            extents[i] = record_data_extent(data, i);
        for (uint32_t i = 0; i < data->sum_count; i++)
            sums[i] = record_data_sum(data, i);
        object->has_layout = true;
        layout->size = data->size;
        layout->extents = extents;
        layout->extent_count = data->extent_count;
        layout->sums = sums;
        layout->sum_count = data->sum_count;
    }
}

/* An object with everything but its pieces beyond the first, and nothing pinned yet: *ret_pieces is
 * to be filled. */
static struct object *allocate(const struct plan *plan, struct bucket_id bucket, struct bytes key,
                               struct object_piece **ret_pieces)
{
    size_t size = memory_needed(plan, key);
    struct object *object = malloc(size);
    if (object == NULL)
        return NULL;
    memset(object, 0, sizeof *object);
    char *at = (char *)object + aligned(sizeof *object);
    object->magic = OBJECT_MAGIC;
    object->references = 1;
    object->info = plan->record.info;
    object->manifest = plan->record.manifest;
    object->memory_bytes = size;
    object->bucket = bucket;
    object->key_size = (uint32_t)key.size;
    object->name_hash = object__hash_name(bucket, key);
    *ret_pieces = carve(&at, plan->record.piece_count * sizeof **ret_pieces);
    if (plan->record.piece_count == 1)
        (*ret_pieces)[0] = (struct object_piece){.stored = plan->record.piece};
    object->pieces = *ret_pieces;
    fill_layout(object, plan, &at);
    object->info.attrs.data = copy_behind(&at, plan->record.info.attrs);
    object->key = copy_behind(&at, key);
    CHECK(at <= (char *)object + size);
    return object;
}

static enum err load_shard(const struct object_source *source, const struct object_record *record,
                           uint32_t shard_number, struct object_piece *pieces, uint64_t *offset)
{
    struct kv_key key;
    struct kv_value value;
    struct manifest_record shard;
    key_manifest(&key, record->manifest, shard_number);
    enum err e =
        source->kv->ops->get(source->kv, KV_MANIFEST, key_bytes(&key), source->tier, &value);
    if (e)
        return e;
    uint32_t first = shard_number * MANIFEST_SHARD_ENTRIES;
    uint32_t left = record->piece_count - first;
    e = record_pieces_get(value.bytes, &shard);
    if (e == ERR_OK &&
        (shard.count != (left < MANIFEST_SHARD_ENTRIES ? left : MANIFEST_SHARD_ENTRIES) ||
         shard.start != *offset))
        e = ERR_CORRUPT;
    for (uint32_t i = 0; e == ERR_OK && i < shard.count; i++) {
        pieces[first + i] =
            (struct object_piece){.stored = record_pieces_at(&shard, i), .start = *offset};
        *offset += pieces[first + i].stored.piece.size;
    }
    source->kv->ops->value_put(&value);
    return e;
}

static enum err load_pieces(const struct object_source *source, const struct object_record *record,
                            struct object_piece *pieces)
{
    uint64_t offset = 0;
    for (uint32_t i = 0; i * MANIFEST_SHARD_ENTRIES < record->piece_count; i++) {
        enum err e = load_shard(source, record, i, pieces, &offset);
        if (e)
            return e;
    }
    return offset == record->info.size ? ERR_OK : ERR_CORRUPT;
}

static enum err pin_pieces(struct object *object, uint32_t piece_count)
{
    for (uint32_t i = 0; i < piece_count; i++) {
        enum err e = pins_add(object->pins, object->pieces[i].stored.piece.data);
        if (e)
            return e;
        object->piece_count = i + 1; /* what object_put() will let go */
    }
    return ERR_OK;
}

/* Reads what the single piece's data is; *value holds it. A piece of large data has no layout in
 * memory. */
static enum err load_data(const struct object_source *source, struct plan *plan,
                          struct kv_value *value)
{
    const struct stored_piece *piece = &plan->record.piece;
    struct kv_key key;
    uint64_t end = piece->piece.offset + piece->piece.size;
    if (end > DATA_SHARD_BYTES)
        return ERR_OK;
    if (piece->is_inline)
        key_inline(&key, piece->piece.data);
    else
        key_data(&key, piece->piece.data, 0);
    enum err e = source->kv->ops->get(source->kv, piece->is_inline ? KV_INLINE : KV_DATA,
                                      key_bytes(&key), source->tier, value);
    if (e)
        return e;
    if (piece->is_inline) {
        e = record_inline_get(value->bytes, &plan->inline_data, &plan->inline_sum);
        if (e == ERR_OK &&
            (end > plan->inline_data.size ||
             xxh3_64(plan->inline_data.data, plan->inline_data.size) != plan->inline_sum))
            e = ERR_CORRUPT;
        return e;
    }
    struct data_record data;
    e = record_data_get(value->bytes, 0, &data);
    if (e)
        return e;
    if (end > data.size)
        return ERR_CORRUPT;
    if (data.size <= DATA_SHARD_BYTES && !data.is_absent)
        plan->data = data;
    return ERR_OK;
}

enum err object__make(const struct object_source *source, struct bucket_id bucket, struct bytes key,
                      struct bytes record, struct object **ret_object)
{
    struct plan plan = {0};
    struct kv_value value = {0};
    enum err e = record_object_get(record, &plan.record);
    if (e)
        return e;
    if (plan.record.piece_count == 1)
        e = load_data(source, &plan, &value);
    struct object *object = NULL;
    struct object_piece *pieces = NULL;
    if (e == ERR_OK) {
        object = allocate(&plan, bucket, key, &pieces);
        e = object == NULL ? ERR_NO_MEMORY : ERR_OK;
    }
    if (value.kv != NULL)
        value.kv->ops->value_put(&value);
    if (e)
        return e;
    object->volume = source->volume;
    object->segments = source->segments;
    object->kv = source->kv;
    object->pins = source->pins;
    if (plan.record.piece_count > 1)
        e = load_pieces(source, &plan.record, pieces);
    if (e == ERR_OK)
        e = pin_pieces(object, plan.record.piece_count);
    if (e) {
        object_put(object);
        return e;
    }
    *ret_object = object;
    return ERR_OK;
}

/* ---- references ---- */

const struct object_info *object_info(const struct object *object)
{
    CHECK_MAGIC(object, OBJECT_MAGIC);
    return &object->info;
}

struct object *object_get(struct object *object)
{
    CHECK_MAGIC(object, OBJECT_MAGIC);
    uint32_t before = __atomic_fetch_add(&object->references, 1, __ATOMIC_RELAXED);
    CHECK(before > 0);
    return object;
}

void object_put(struct object *object)
{
    if (object == NULL)
        return;
    CHECK_MAGIC(object, OBJECT_MAGIC);
    uint32_t before = __atomic_fetch_sub(&object->references, 1, __ATOMIC_ACQ_REL);
    CHECK(before > 0);
    if (before > 1)
        return;
    for (uint32_t i = 0; i < object->piece_count; i++)
        pins_drop(object->pins, object->pieces[i].stored.piece.data);
    object->magic = 0;
    free(object);
}

uint32_t object_reads(const struct object *object, uint64_t now_ns)
{
    uint64_t recency = __atomic_load_n(&object->recency, __ATOMIC_RELAXED);
    uint32_t now = (uint32_t)(now_ns / NS_PER_SECOND), since = (uint32_t)(recency >> 32);
    uint32_t halvings = now > since ? (now - since) / RECENCY_HALF_LIFE_S : 0;
    return halvings < 32 ? (uint32_t)recency >> halvings : 0;
}

uint32_t object_touch(struct object *object, uint64_t now_ns)
{
    uint32_t now = (uint32_t)(now_ns / NS_PER_SECOND);
    uint64_t old = __atomic_load_n(&object->recency, __ATOMIC_RELAXED), new;
    uint32_t reads;
    do {
        uint32_t since = (uint32_t)(old >> 32);
        uint32_t halvings = now > since ? (now - since) / RECENCY_HALF_LIFE_S : 0;
        reads = halvings < 32 ? (uint32_t)old >> halvings : 0;
        if (reads < UINT32_MAX)
            reads++;
        /* The time moves on by whole half lives, so that reads in between do not keep old ones
         * alive. */
        uint32_t mark = since == 0 || halvings >= 32 ? now : since + halvings * RECENCY_HALF_LIFE_S;
        new = (uint64_t)mark << 32 | reads;
    } while (!__atomic_compare_exchange_n(&object->recency, &old, new, true, __ATOMIC_RELAXED,
                                          __ATOMIC_RELAXED));
    return reads;
}

/* ---- pieces and parts ---- */

uint32_t object__piece_at(const struct object *object, uint64_t offset)
{
    CHECK(offset < object->info.size);
    uint32_t low = 0, high = object->piece_count;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (object->pieces[middle].start <= offset)
            low = middle;
        else
            high = middle;
    }
    return low;
}

enum err object_pieces(struct object *object, uint64_t offset, uint64_t size,
                       struct piece **ret_pieces, size_t *ret_count)
{
    CHECK_MAGIC(object, OBJECT_MAGIC);
    if (offset > object->info.size || size > object->info.size - offset)
        return ERR_INVALID;
    if (size == 0) {
        *ret_pieces = NULL;
        *ret_count = 0;
        return ERR_OK;
    }
    uint32_t first = object__piece_at(object, offset),
             last = object__piece_at(object, offset + size - 1);
    struct piece *pieces = malloc((last - first + 1) * sizeof *pieces);
    if (pieces == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = first; i <= last; i++) {
        const struct object_piece *from = &object->pieces[i];
        struct piece *piece = &pieces[i - first];
        *piece = from->stored.piece;
        uint64_t skipped = offset > from->start ? offset - from->start : 0;
        uint64_t end = from->start + from->stored.piece.size;
        uint64_t cut = end > offset + size ? end - (offset + size) : 0;
        piece->offset += skipped;
        piece->size -= skipped + cut;
    }
    *ret_pieces = pieces;
    *ret_count = last - first + 1;
    return ERR_OK;
}

static enum err load_parts(struct object *object, uint32_t shard,
                           struct object_part parts[MANIFEST_SHARD_ENTRIES], uint32_t *ret_count)
{
    struct kv_key key;
    struct kv_value value;
    key_manifest(&key, object->manifest, MANIFEST_PARTS_SHARD + shard);
    enum err e = object->kv->ops->get(object->kv, KV_MANIFEST, key_bytes(&key), KV_ANY, &value);
    if (e)
        return e; /* absent: the name has changed since, and its manifest went with it */
    e = record_parts_get(value.bytes, parts, ret_count);
    object->kv->ops->value_put(&value);
    return e;
}

enum err object_parts(struct object *object, struct object_part **ret_parts, size_t *ret_count)
{
    CHECK_MAGIC(object, OBJECT_MAGIC);
    enum err e = object->volume != NULL ? volume__index_usable(object->volume) : ERR_OK;
    if (e)
        return e;
    uint32_t total = object->info.part_count;
    uint32_t shards = (total + MANIFEST_SHARD_ENTRIES - 1) / MANIFEST_SHARD_ENTRIES;
    if (total == 0) {
        *ret_parts = NULL;
        *ret_count = 0;
        return ERR_OK;
    }
    struct object_part *parts = calloc((size_t)shards * MANIFEST_SHARD_ENTRIES, sizeof *parts);
    if (parts == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; e == ERR_OK && i < shards; i++) {
        uint32_t count, left = total - i * MANIFEST_SHARD_ENTRIES;
        e = load_parts(object, i, parts + (size_t)i * MANIFEST_SHARD_ENTRIES, &count);
        if (e == ERR_OK && count != (left < MANIFEST_SHARD_ENTRIES ? left : MANIFEST_SHARD_ENTRIES))
            e = ERR_CORRUPT;
    }
    if (e) {
        free(parts);
        return e;
    }
    *ret_parts = parts;
    *ret_count = total;
    return ERR_OK;
}

/* ---- looking up ---- */

struct lookup {
    struct object_source source;
    struct bucket_id bucket;
    struct bytes key;
    bool has_broken;      /* a record was read whose data was not there ... */
    uint64_t broken_hash; /* ... namely this one */
};

/* ERR_CONFLICT: something changed meanwhile, look again. */
static enum err look_once(struct lookup *lookup, struct cache *cache, struct object **ret_object)
{
    struct kv *kv = lookup->source.kv;
    struct kv_key key;
    struct kv_value value;
    struct object *object;
    uint64_t turn = cache_turn(cache, lookup->bucket, lookup->key);
    key_object(&key, lookup->bucket, lookup->key);
    enum err e = kv->ops->get(kv, KV_OBJECT, key_bytes(&key), lookup->source.tier, &value);
    if (e)
        return e;
    e = object__make(&lookup->source, lookup->bucket, lookup->key, value.bytes, &object);
    if (e == ERR_NO_SUCH_OBJECT) {
        uint64_t hash = xxh3_64(value.bytes.data, value.bytes.size);
        e = lookup->has_broken && lookup->broken_hash == hash ? ERR_CORRUPT : ERR_CONFLICT;
        lookup->has_broken = true;
        lookup->broken_hash = hash;
    }
    kv->ops->value_put(&value);
    if (e)
        return e;
    if (!cache_insert(cache, lookup->bucket, lookup->key, turn, object)) {
        object_put(object);
        return ERR_CONFLICT;
    }
    *ret_object = object;
    return ERR_OK;
}

enum err volume_lookup(struct volume *volume, struct bucket_id bucket, struct bytes key,
                       enum kv_tier tier, struct object **ret_object)
{
    if (key.size == 0 || key.size > KEY_BYTES_MAX)
        return ERR_NO_SUCH_OBJECT;
    struct object *cached = cache_find(volume->cache, bucket, key);
    if (cached != NULL) {
        *ret_object = cached;
        return ERR_OK;
    }
    enum err e = volume__index_usable(volume);
    if (e)
        return e;
    struct lookup lookup = {
        .source =
            {
                .volume = volume,
                .kv = volume->kv,
                .pins = volume->pins,
                .segments = &volume->segments,
                .tier = tier,
            },
        .bucket = bucket,
        .key = key,
    };
    for (unsigned i = 0; i < LOOKUPS_MAX; i++) {
        e = look_once(&lookup, volume->cache, ret_object);
        if (e != ERR_CONFLICT)
            return e;
    }
    return ERR_BUSY;
}
