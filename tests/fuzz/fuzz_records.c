/*
 * Whatever lies in the index is judged before it is believed. The first byte chooses the decoder,
 * the rest is a record or a key. A decoder refuses or yields something whose encoding is the very
 * bytes it was given; the sanitizers say whether it stayed inside.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/check.h"
#include "storage/keys.h"
#include "storage/records.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define OUT_BYTES (256u * 1024)
static uint8_t encoded[OUT_BYTES];

static void expect_same(struct bytes record, size_t size)
{
    CHECK(size == record.size);
    CHECK(memcmp(encoded, record.data, size) == 0);
}

static void try_bucket(struct bytes record)
{
    struct bucket_info bucket;
    if (record_bucket_get(BYTES("photos"), record, &bucket) == ERR_OK)
        expect_same(record, record_bucket_put(encoded, &bucket));
}

static void try_object(struct bytes record)
{
    struct object_record object;
    if (record_object_get(record, &object) == ERR_OK)
        expect_same(record, record_object_put(encoded, &object));
}

static void try_pieces(struct bytes record)
{
    static struct stored_piece pieces[MANIFEST_SHARD_ENTRIES];
    struct manifest_record shard;
    if (record_pieces_get(record, &shard))
        return;
    for (uint32_t i = 0; i < shard.count; i++)
        pieces[i] = record_pieces_at(&shard, i);
    record_pieces_put(encoded, shard.start, pieces, shard.count);
    expect_same(record, record_pieces_size(shard.count));
}

static void try_parts(struct bytes record)
{
    static struct object_part parts[MANIFEST_SHARD_ENTRIES];
    uint32_t count;
    if (record_parts_get(record, parts, &count))
        return;
    record_parts_put(encoded, get_le64(record.data + 8), parts, count);
    expect_same(record, record_parts_size(parts, count));
}

static void try_data(struct bytes record)
{
    static struct extent extents[DATA_SHARD_EXTENTS_MAX];
    static uint64_t sums[DATA_SHARD_SUMS_MAX];
    struct data_record data;
    if (record_data_get(record, 0, &data))
        return;
    if (data.is_absent) {
        record_absent_put(encoded, data.size);
        expect_same(record, ABSENT_RECORD_BYTES);
        return;
    }
    for (uint32_t i = 0; i < data.extent_count; i++)
        extents[i] = record_data_extent(&data, i);
    for (uint32_t i = 0; i < data.sum_count; i++)
        sums[i] = record_data_sum(&data, i);
    record_data_put(encoded, &(struct data_shard){
                                 .size = data.size,
                                 .extents_in_all = data.extents_in_all,
                                 .extents = extents,
                                 .extent_count = data.extent_count,
                                 .sums = sums,
                                 .sum_count = data.sum_count,
                             });
    expect_same(record, record_data_size(data.extent_count, data.sum_count));
}

static void try_refs(struct bytes record)
{
    uint64_t references;
    if (record_refs_get(record, &references))
        return;
    record_refs_put(encoded, references);
    expect_same(record, REFS_RECORD_BYTES);
}

static void try_inline(struct bytes record)
{
    struct bytes data;
    uint64_t sum;
    if (record_inline_get(record, &data, &sum))
        return;
    record_inline_put(encoded, data, sum);
    expect_same(record, record_inline_size(data.size));
}

static void try_extent(struct bytes record)
{
    struct extent_record extent;
    if (record_extent_get(record, &extent))
        return;
    record_extent_put(encoded, &extent);
    expect_same(record, EXTENT_RECORD_BYTES);
}

static void try_upload(struct bytes record)
{
    struct upload_record upload;
    if (record_upload_get(record, &upload) == ERR_OK)
        expect_same(record, record_upload_put(encoded, &upload));
}

static void try_part(struct bytes record)
{
    static struct stored_piece pieces[PART_PIECES_MAX];
    struct part_record part;
    if (record_part_get(7, record, &part))
        return;
    for (uint32_t i = 0; i < part.piece_count; i++)
        pieces[i] = record_part_piece(&part, i);
    record_part_put(encoded, &part.info, pieces, part.piece_count);
    expect_same(record, record_part_size(&part.info, part.piece_count));
}

static void try_completed(struct bytes record)
{
    struct completed_record completed;
    if (record_completed_get(record, &completed) == ERR_OK)
        expect_same(record, record_completed_put(encoded, &completed));
}

static void try_gc(struct bytes record)
{
    struct gc_record gc;
    if (record_gc_get(record, &gc))
        return;
    record_gc_put(encoded, &gc);
    expect_same(record, GC_RECORD_BYTES);
}

static void try_setting(struct bytes record)
{
    struct bytes value;
    if (record_setting_get(record, &value))
        return;
    record_setting_put(encoded, value);
    expect_same(record, record_setting_size(value.size));
}

static void expect_key(const struct kv_key *key, struct bytes bytes)
{
    CHECK(bytes_equal(key_bytes(key), bytes));
}

/* A key that parses is the key that its parts make. */
static void try_keys(struct bytes bytes)
{
    struct kv_key key;
    struct bucket_id bucket = {0};
    struct bytes name;
    struct data_id id = {0};
    struct upload_id upload = {{0}};
    char upload_name[KEY_BYTES_MAX];
    size_t name_size;
    uint32_t a, b;
    uint16_t number;
    enum gc_kind kind;
    if (key_object_parse(bytes, &bucket, &name) == ERR_OK) {
        key_object(&key, bucket, name);
        expect_key(&key, bytes);
    }
    if (key_upload_parse(bytes, &bucket, upload_name, &name_size, &upload) == ERR_OK) {
        key_upload(&key, bucket, bytes_of(upload_name, name_size), &upload);
        expect_key(&key, bytes);
    }
    if (key_extent_parse(bytes, &a, &b) == ERR_OK) {
        key_extent(&key, a, b);
        expect_key(&key, bytes);
    }
    if (key_data_parse(bytes, &id, &a) == ERR_OK) {
        key_data(&key, id, a);
        expect_key(&key, bytes);
    }
    if (key_inline_parse(bytes, &id) == ERR_OK) {
        key_inline(&key, id);
        expect_key(&key, bytes);
    }
    if (key_part_parse(bytes, &upload, &number) == ERR_OK) {
        key_part(&key, &upload, number);
        expect_key(&key, bytes);
    }
    if (key_segment_parse(bytes, &a) == ERR_OK) {
        key_segment(&key, a);
        expect_key(&key, bytes);
    }
    (void)!key_gc_parse(bytes, &kind, &id, &upload, &bucket);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const tries[])(struct bytes record) = {
        try_bucket, try_object, try_pieces, try_parts,     try_data, try_refs,    try_inline,
        try_extent, try_upload, try_part,   try_completed, try_gc,   try_setting, try_keys,
    };
    if (size < 1 || size > OUT_BYTES / 2)
        return 0;
    tries[data[0] % COUNT_OF(tries)](bytes_of(data + 1, size - 1));
    return 0;
}
