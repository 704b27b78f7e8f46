/*
 * What two volumes of one group hold, compared: buckets, objects, uploads, parts, settings, and how
 * often what refers to which data. Where it lies is each one's own affair.
 */
#ifndef TESTS_LOG_COMPARE_H
#define TESTS_LOG_COMPARE_H

#include "log_fixture.h"

#include "base/digest.h"
#include "storage/keys.h"
#include "storage/records.h"

typedef uint64_t hash_fn(struct fixture *f, struct bytes key, struct bytes value);

static inline uint64_t mix(uint64_t hash, const void *data, size_t size)
{
    return hash * 0x9e3779b97f4a7c15ull ^ xxh3_64(data, size);
}

static inline uint64_t hash_pieces(uint64_t hash, struct piece piece)
{
    uint64_t line[] = {piece.data.epoch, piece.data.counter, piece.offset, piece.size};
    return mix(hash, line, sizeof line);
}

static inline uint64_t hash_object(struct fixture *f, struct bytes key, struct bytes value)
{
    struct object_record object;
    uint8_t record[OBJECT_RECORD_BYTES_MAX];
    (void)f;
    (void)key;
    assert_int_equal(record_object_get(value, &object), ERR_OK);
    object.piece.is_inline = false; /* where it lies is its own affair */
    size_t size = record_object_put(record, &object);
    return xxh3_64(record, size);
}

static inline uint64_t hash_part(struct fixture *f, struct bytes key, struct bytes value)
{
    struct part_record part;
    (void)f;
    (void)key;
    assert_int_equal(record_part_get(1, value, &part), ERR_OK);
    uint64_t hash = mix(part.info.size, part.info.etag.md5, 16) ^ part.info.mtime_ns;
    for (uint32_t i = 0; i < part.piece_count; i++)
        hash = hash_pieces(hash, record_part_piece(&part, i).piece);
    return hash;
}

static inline uint64_t hash_manifest(struct fixture *f, struct bytes key, struct bytes value)
{
    struct data_id id;
    uint32_t shard;
    struct manifest_record record;
    (void)f;
    assert_int_equal(key_data_parse(key, &id, &shard), ERR_OK);
    if (shard >= MANIFEST_PARTS_SHARD)
        return xxh3_64(value.data, value.size);
    assert_int_equal(record_pieces_get(value, &record), ERR_OK);
    uint64_t hash = record.start;
    for (uint32_t i = 0; i < record.count; i++)
        hash = hash_pieces(hash, record_pieces_at(&record, i).piece);
    return hash;
}

static inline uint64_t hash_whole(struct fixture *f, struct bytes key, struct bytes value)
{
    (void)f;
    (void)key;
    return xxh3_64(value.data, value.size);
}

/* All but what is the volume's own. */
static inline uint64_t hash_sys(struct fixture *f, struct bytes key, struct bytes value)
{
    static const char *const own[] = {"uuid", "commit_seq", "seg/", "log_"};
    for (unsigned i = 0; i < COUNT_OF(own); i++)
        if (bytes_start_with(key, bytes_of_string(own[i])))
            return 0;
    return hash_whole(f, key, value) | 1;
}

/* How many refer to it; each data once, whether inline, in extents or absent. */
static inline uint64_t hash_references(struct fixture *f, struct bytes key, struct bytes value)
{
    struct data_id id;
    uint32_t shard = 0;
    struct kv_key refs;
    struct kv_value counted;
    uint64_t references = 1;
    (void)value;
    if (key_inline_parse(key, &id) && key_data_parse(key, &id, &shard))
        fail_msg("a key of data");
    if (shard != 0)
        return 0;
    key_data(&refs, id, DATA_REFS_SHARD);
    if (f->kv->ops->get(f->kv, KV_DATA, key_bytes(&refs), KV_ANY, &counted) == ERR_OK) {
        assert_int_equal(record_refs_get(counted.bytes, &references), ERR_OK);
        f->kv->ops->value_put(&counted);
    }
    assert_true(references > 0); /* gc is done */
    uint64_t line[] = {id.epoch, id.counter, references};
    return xxh3_64(line, sizeof line);
}

static inline uint64_t hash_family(struct fixture *f, enum kv_family family, hash_fn *each,
                                   bool with_keys)
{
    struct kv_iter *iter;
    const struct kv_ops *ops = f->kv->ops;
    uint64_t hash = 0;
    struct kv_iter_options options = {.family = family};
    assert_int_equal(ops->iter_open(f->kv, &options, &iter), ERR_OK);
    for (ops->iter_seek(iter, (struct bytes){0}); ops->iter_valid(iter); ops->iter_next(iter)) {
        struct bytes key = ops->iter_key(iter);
        uint64_t one = each(f, key, ops->iter_value(iter));
        if (one != 0)
            hash += with_keys ? mix(one, key.data, key.size) : one;
    }
    ops->iter_close(iter);
    return hash;
}

static inline void log_compare(struct fixture *a, struct fixture *b)
{
    static const struct {
        enum kv_family family;
        hash_fn *each;
    } table[] = {
        {KV_SYS, hash_sys},           {KV_BUCKET, hash_whole}, {KV_OBJECT, hash_object},
        {KV_MANIFEST, hash_manifest}, {KV_UPLOAD, hash_whole}, {KV_PART, hash_part},
    };
    for (unsigned i = 0; i < COUNT_OF(table); i++)
        if (hash_family(a, table[i].family, table[i].each, true) !=
            hash_family(b, table[i].family, table[i].each, true))
            fail_msg("the volumes differ in %s", kv_family_names[table[i].family]);
    uint64_t references[2];
    for (unsigned i = 0; i < 2; i++) {
        struct fixture *f = i == 0 ? a : b;
        references[i] = hash_family(f, KV_DATA, hash_references, false) +
                        hash_family(f, KV_INLINE, hash_references, false);
    }
    assert_int_equal(references[0], references[1]);
}

#endif
