/*
 * Records: what is encoded decodes to the same; cut short anywhere it is refused; with any bit
 * turned it is refused or decodes to something within every limit, whose encoding is the bytes that
 * were decoded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/rand.h"
#include "storage/records.h"

/*
 * Each kind of record: makes a random one, and decodes bytes into something that is encoded again.
 * again() returns the error of decoding, or ERR_OK with the new encoding in out.
 */
struct kind {
    const char *name;
    size_t (*make)(struct rand *rand, uint8_t *out);
    enum err (*again)(struct bytes record, uint8_t *out, size_t *ret_size);
};
#define RECORD_BYTES_MAX (256u * 1024)

static struct checksum random_checksum(struct rand *rand)
{
    static const uint8_t sizes[] = {0, 4, 8, 20, 32};
    struct checksum checksum = {.algorithm = (uint8_t)rand_below(rand, 7),
                                .type = (uint8_t)rand_below(rand, 2)};
    checksum.size = sizes[rand_below(rand, COUNT_OF(sizes))];
    rand_fill(rand, checksum.value, checksum.size);
    return checksum;
}

static struct etag random_etag(struct rand *rand)
{
    struct etag etag = {.parts = (uint32_t)rand_below(rand, 10001)};
    rand_fill(rand, etag.md5, sizeof etag.md5);
    return etag;
}

static struct stored_piece random_piece(struct rand *rand)
{
    bool is_inline = rand_below(rand, 2) == 0;
    return (struct stored_piece){
        .piece =
            {
                .data = {.epoch = 1 + rand_below(rand, 100), .counter = rand_u64(rand)},
                .offset = is_inline ? rand_below(rand, 4096) : rand_below(rand, 1ull << 40),
                .size = 1 + (is_inline ? rand_below(rand, 4096) : rand_below(rand, 1ull << 32)),
                .data_group = (uint32_t)rand_below(rand, 3),
            },
        .is_inline = is_inline,
    };
}

static size_t make_bucket(struct rand *rand, uint8_t *out)
{
    struct bucket_info bucket = {
        .id = {(uint32_t)rand_u64(rand)}, .created_ns = rand_u64(rand), .name = "photos"};
    memset(bucket.region, 'r', rand_below(rand, sizeof bucket.region));
    memset(bucket.owner, 'o', rand_below(rand, sizeof bucket.owner));
    return record_bucket_put(out, &bucket);
}
static enum err again_bucket(struct bytes record, uint8_t *out, size_t *ret_size)
{
    struct bucket_info bucket;
    enum err e = record_bucket_get(BYTES("photos"), record, &bucket);
    if (e == ERR_OK)
        *ret_size = record_bucket_put(out, &bucket);
    return e;
}

static size_t make_object(struct rand *rand, uint8_t *out)
{
    static char attrs[META_BYTES_MAX];
    struct object_record object = {
        .info =
            {
                .mtime_ns = rand_u64(rand),
                .psn = rand_u64(rand),
                .etag = random_etag(rand),
                .checksum = random_checksum(rand),
                .attrs =
                    bytes_of(attrs, rand_below(rand, rand_below(rand, 8) ? 200 : sizeof attrs + 1)),
            },
        .piece_count = (uint32_t)rand_below(rand, 4),
    };
    rand_fill(rand, attrs, object.info.attrs.size);
    if (object.piece_count == 1) {
        object.piece = random_piece(rand);
        object.info.size = object.piece.piece.size;
    } else if (object.piece_count > 1) {
        object.info.size = 1 + rand_below(rand, 1ull << 40);
    }
    if (rand_below(rand, 2))
        object.info.part_count = 1 + (uint32_t)rand_below(rand, PARTS_MAX);
    if (object.piece_count > 1 || object.info.part_count > 0)
        object.manifest = (struct data_id){.epoch = rand_u64(rand), .counter = 1};
    return record_object_put(out, &object);
}
static enum err again_object(struct bytes record, uint8_t *out, size_t *ret_size)
{
    struct object_record object;
    enum err e = record_object_get(record, &object);
    if (e == ERR_OK)
        *ret_size = record_object_put(out, &object);
    return e;
}

static size_t make_pieces(struct rand *rand, uint8_t *out)
{
    static struct stored_piece pieces[MANIFEST_SHARD_ENTRIES];
    uint32_t count =
        1 + (uint32_t)rand_below(rand, rand_below(rand, 8) ? 5 : MANIFEST_SHARD_ENTRIES);
    for (uint32_t i = 0; i < count; i++)
        pieces[i] = random_piece(rand);
    record_pieces_put(out, rand_below(rand, 1ull << 40), pieces, count);
    return record_pieces_size(count);
}
static enum err again_pieces(struct bytes record, uint8_t *out, size_t *ret_size)
{
    static struct stored_piece pieces[MANIFEST_SHARD_ENTRIES];
    struct manifest_record shard;
    enum err e = record_pieces_get(record, &shard);
    if (e)
        return e;
    for (uint32_t i = 0; i < shard.count; i++)
        pieces[i] = record_pieces_at(&shard, i);
    record_pieces_put(out, shard.start, pieces, shard.count);
    *ret_size = record_pieces_size(shard.count);
    return ERR_OK;
}

static size_t make_parts(struct rand *rand, uint8_t *out)
{
    static struct object_part parts[MANIFEST_SHARD_ENTRIES];
    uint32_t count =
        1 + (uint32_t)rand_below(rand, rand_below(rand, 8) ? 5 : MANIFEST_SHARD_ENTRIES);
    for (uint32_t i = 0; i < count; i++)
        parts[i] = (struct object_part){
            .number = (uint16_t)(i * 9 + 1 + rand_below(rand, 9)),
            .size = rand_below(rand, PUT_BYTES_MAX),
            .checksum = random_checksum(rand),
        };
    record_parts_put(out, 0, parts, count);
    return record_parts_size(parts, count);
}
static enum err again_parts(struct bytes record, uint8_t *out, size_t *ret_size)
{
    static struct object_part parts[MANIFEST_SHARD_ENTRIES];
    uint32_t count;
    enum err e = record_parts_get(record, parts, &count);
    if (e)
        return e;
    record_parts_put(out, get_le64(record.data + 8), parts, count);
    *ret_size = record_parts_size(parts, count);
    return ERR_OK;
}

/* Shard 0 of data that fits one. */
static size_t make_data(struct rand *rand, uint8_t *out)
{
    static struct extent extents[64];
    static uint64_t sums[DATA_SHARD_SUMS_MAX];
    struct data_shard shard = {.extents = extents, .sums = sums};
    shard.extent_count = 1 + (uint32_t)rand_below(rand, 16);
    for (uint32_t i = 0; i < shard.extent_count; i++) {
        bool is_last = i + 1 == shard.extent_count;
        uint32_t bytes = (uint32_t)(is_last ? 1 + rand_below(rand, EXTENT_BYTES_MAX)
                                            : SUM_CHUNK_BYTES * (1 + rand_below(rand, 256)));
        extents[i] = (struct extent){
            .segment = (uint32_t)rand_u64(rand),
            .unit = (uint32_t)rand_below(rand, 1u << 30),
            .units = (bytes + UNIT_BYTES - 1) / UNIT_BYTES,
            .bytes = bytes,
        };
        shard.size += bytes;
    }
    shard.extents_in_all = shard.extent_count;
    shard.sum_count = (uint32_t)((shard.size + SUM_CHUNK_BYTES - 1) / SUM_CHUNK_BYTES);
    rand_fill(rand, sums, shard.sum_count * sizeof *sums);
    record_data_put(out, &shard);
    return record_data_size(shard.extent_count, shard.sum_count);
}
static enum err again_data(struct bytes record, uint8_t *out, size_t *ret_size)
{
    static struct extent extents[DATA_SHARD_EXTENTS_MAX];
    static uint64_t sums[DATA_SHARD_SUMS_MAX];
    struct data_record data;
    enum err e = record_data_get(record, 0, &data);
    if (e)
        return e;
    struct data_shard shard = {
        .size = data.size,
        .extents_in_all = data.extents_in_all,
        .extents = extents,
        .extent_count = data.extent_count,
        .sums = sums,
        .sum_count = data.sum_count,
    };
    for (uint32_t i = 0; i < data.extent_count; i++)
        extents[i] = record_data_extent(&data, i);
    for (uint32_t i = 0; i < data.sum_count; i++)
        sums[i] = record_data_sum(&data, i);
    record_data_put(out, &shard);
    *ret_size = record_data_size(data.extent_count, data.sum_count);
    return ERR_OK;
}

static size_t make_refs(struct rand *rand, uint8_t *out)
{
    record_refs_put(out, rand_u64(rand));
    return REFS_RECORD_BYTES;
}
static enum err again_refs(struct bytes record, uint8_t *out, size_t *ret_size)
{
    uint64_t references;
    enum err e = record_refs_get(record, &references);
    if (e == ERR_OK)
        record_refs_put(out, references);
    *ret_size = REFS_RECORD_BYTES;
    return e;
}

static size_t make_inline(struct rand *rand, uint8_t *out)
{
    static char data[INLINE_BYTES_MAX];
    size_t size = 1 + rand_below(rand, rand_below(rand, 8) ? 100 : sizeof data);
    rand_fill(rand, data, size);
    record_inline_put(out, bytes_of(data, size), rand_u64(rand));
    return record_inline_size(size);
}
static enum err again_inline(struct bytes record, uint8_t *out, size_t *ret_size)
{
    struct bytes data;
    uint64_t sum;
    enum err e = record_inline_get(record, &data, &sum);
    if (e)
        return e;
    record_inline_put(out, data, sum);
    *ret_size = record_inline_size(data.size);
    return ERR_OK;
}

static size_t make_extent(struct rand *rand, uint8_t *out)
{
    uint32_t bytes = 1 + (uint32_t)rand_below(rand, EXTENT_BYTES_MAX);
    record_extent_put(out, &(struct extent_record){
                               .units = (bytes + UNIT_BYTES - 1) / UNIT_BYTES,
                               .bytes = bytes,
                               .data = {.epoch = rand_u64(rand), .counter = 1},
                               .shard = (uint32_t)rand_below(rand, 1000),
                               .index = (uint32_t)rand_below(rand, DATA_SHARD_EXTENTS_MAX),
                           });
    return EXTENT_RECORD_BYTES;
}
static enum err again_extent(struct bytes record, uint8_t *out, size_t *ret_size)
{
    struct extent_record extent;
    enum err e = record_extent_get(record, &extent);
    if (e == ERR_OK)
        record_extent_put(out, &extent);
    *ret_size = EXTENT_RECORD_BYTES;
    return e;
}

static size_t make_upload(struct rand *rand, uint8_t *out)
{
    static char attrs[META_BYTES_MAX];
    struct upload_record upload = {
        .created_ns = rand_u64(rand),
        .checksum = random_checksum(rand),
        .attrs = bytes_of(attrs, rand_below(rand, rand_below(rand, 8) ? 200 : sizeof attrs + 1)),
    };
    rand_fill(rand, attrs, upload.attrs.size);
    return record_upload_put(out, &upload);
}
static enum err again_upload(struct bytes record, uint8_t *out, size_t *ret_size)
{
    struct upload_record upload;
    enum err e = record_upload_get(record, &upload);
    if (e == ERR_OK)
        *ret_size = record_upload_put(out, &upload);
    return e;
}

static size_t make_part(struct rand *rand, uint8_t *out)
{
    static struct stored_piece pieces[PART_PIECES_MAX];
    uint32_t count = (uint32_t)rand_below(rand, rand_below(rand, 8) ? 5 : PART_PIECES_MAX + 1);
    struct part_info info = {.number = 7,
                             .mtime_ns = rand_u64(rand),
                             .etag = random_etag(rand),
                             .checksum = random_checksum(rand)};
    for (uint32_t i = 0; i < count; i++) {
        pieces[i] = random_piece(rand);
        info.size += pieces[i].piece.size;
    }
    record_part_put(out, &info, pieces, count);
    return record_part_size(&info, count);
}
static enum err again_part(struct bytes record, uint8_t *out, size_t *ret_size)
{
    static struct stored_piece pieces[PART_PIECES_MAX];
    struct part_record part;
    enum err e = record_part_get(7, record, &part);
    if (e)
        return e;
    for (uint32_t i = 0; i < part.piece_count; i++)
        pieces[i] = record_part_piece(&part, i);
    record_part_put(out, &part.info, pieces, part.piece_count);
    *ret_size = record_part_size(&part.info, part.piece_count);
    return ERR_OK;
}

static size_t make_completed(struct rand *rand, uint8_t *out)
{
    return record_completed_put(out, &(struct completed_record){
                                         .etag = random_etag(rand),
                                         .mtime_ns = rand_u64(rand),
                                         .parts_hash = rand_u64(rand),
                                         .name_hash = rand_u64(rand),
                                         .checksum = random_checksum(rand),
                                     });
}
static enum err again_completed(struct bytes record, uint8_t *out, size_t *ret_size)
{
    struct completed_record completed;
    enum err e = record_completed_get(record, &completed);
    if (e == ERR_OK)
        *ret_size = record_completed_put(out, &completed);
    return e;
}

static size_t make_gc(struct rand *rand, uint8_t *out)
{
    uint32_t shards = (uint32_t)rand_below(rand, 1000);
    record_gc_put(out, &(struct gc_record){
                           .shards = shards,
                           .next_shard = (uint32_t)rand_below(rand, shards + 1),
                           .next_index = (uint32_t)rand_below(rand, MANIFEST_SHARD_ENTRIES),
                       });
    return GC_RECORD_BYTES;
}
static enum err again_gc(struct bytes record, uint8_t *out, size_t *ret_size)
{
    struct gc_record gc;
    enum err e = record_gc_get(record, &gc);
    if (e == ERR_OK)
        record_gc_put(out, &gc);
    *ret_size = GC_RECORD_BYTES;
    return e;
}

static size_t make_setting(struct rand *rand, uint8_t *out)
{
    static char value[SETTING_BYTES_MAX];
    size_t size = rand_below(rand, rand_below(rand, 8) ? 100 : sizeof value + 1);
    rand_fill(rand, value, size);
    record_setting_put(out, bytes_of(value, size));
    return record_setting_size(size);
}
static enum err again_setting(struct bytes record, uint8_t *out, size_t *ret_size)
{
    struct bytes value;
    enum err e = record_setting_get(record, &value);
    if (e)
        return e;
    record_setting_put(out, value);
    *ret_size = record_setting_size(value.size);
    return ERR_OK;
}

static const struct kind kinds[] = {
    {"bucket", make_bucket, again_bucket},
    {"object", make_object, again_object},
    {"pieces", make_pieces, again_pieces},
    {"parts", make_parts, again_parts},
    {"data", make_data, again_data},
    {"refs", make_refs, again_refs},
    {"inline", make_inline, again_inline},
    {"extent", make_extent, again_extent},
    {"upload", make_upload, again_upload},
    {"part", make_part, again_part},
    {"completed", make_completed, again_completed},
    {"gc", make_gc, again_gc},
    {"setting", make_setting, again_setting},
};

static uint8_t record[RECORD_BYTES_MAX], copy[RECORD_BYTES_MAX];

/* Decodes from memory of just that size, so that a sanitizer sees a step past its end. */
static enum err again(const struct kind *kind, const uint8_t *bytes, size_t size, size_t *ret_size)
{
    char *exact = malloc(size > 0 ? size : 1);
    assert_non_null(exact);
    memcpy(exact, bytes, size);
    enum err e = kind->again(bytes_of(exact, size), copy, ret_size);
    free(exact);
    return e;
}

static void what_is_encoded_decodes_to_the_same(void **state)
{
    struct rand_seeded seeded;
    rand_seeded_init(&seeded, 1);
    for (size_t k = 0; k < COUNT_OF(kinds); k++)
        for (unsigned i = 0; i < 500; i++) {
            size_t size = kinds[k].make(&seeded.rand, record), size_again = 0;
            assert_true(size <= sizeof record);
            if (again(&kinds[k], record, size, &size_again))
                fail_msg("%s: a record of ours is refused", kinds[k].name);
            assert_int_equal(size_again, size);
            assert_memory_equal(copy, record, size);
        }
}

static void a_record_cut_short_or_too_long_is_refused(void **state)
{
    struct rand_seeded seeded;
    rand_seeded_init(&seeded, 2);
    for (size_t k = 0; k < COUNT_OF(kinds); k++)
        for (unsigned i = 0; i < 40; i++) {
            /* Their bytes are all that is left. */
            bool has_no_size = kinds[k].make == make_inline || kinds[k].make == make_setting;
            size_t size = kinds[k].make(&seeded.rand, record), size_again;
            size_t floor = kinds[k].make == make_inline    ? 17
                           : kinds[k].make == make_setting ? 1
                                                           : size;
            size_t step = size > 2000 ? 17 : 1;
            for (size_t cut = 0; cut < floor; cut += step)
                if (again(&kinds[k], record, cut, &size_again) != ERR_CORRUPT)
                    fail_msg("%s: %zu of %zu bytes are taken", kinds[k].name, cut, size);
            record[size] = 0;
            if (!has_no_size && again(&kinds[k], record, size + 1, &size_again) != ERR_CORRUPT)
                fail_msg("%s: a byte too many is taken", kinds[k].name);
        }
}

static void a_turned_bit_is_refused_or_means_something_within_the_limits(void **state)
{
    struct rand_seeded seeded;
    rand_seeded_init(&seeded, 3);
    for (size_t k = 0; k < COUNT_OF(kinds); k++)
        for (unsigned i = 0; i < 40; i++) {
            size_t size = kinds[k].make(&seeded.rand, record);
            unsigned tries = size < 300 ? (unsigned)size * 8 : 2000;
            for (unsigned t = 0; t < tries; t++) {
                size_t bit =
                    size < 300 ? t : rand_below(&seeded.rand, (size < 4000 ? size : 4000) * 8);
                record[bit / 8] ^= (uint8_t)(1u << (bit % 8));
                size_t size_again = 0;
                enum err e = again(&kinds[k], record, size, &size_again);
                if (e == ERR_OK) {
                    if (size_again != size || memcmp(copy, record, size) != 0)
                        fail_msg("%s: bit %zu is ignored", kinds[k].name, bit);
                } else if (e != ERR_CORRUPT && e != ERR_FORMAT_NEWER) {
                    fail_msg("%s: %s", kinds[k].name, err_name(e));
                }
                record[bit / 8] ^= (uint8_t)(1u << (bit % 8));
            }
        }
}

static void a_newer_version_is_called_newer(void **state)
{
    struct rand_seeded seeded;
    rand_seeded_init(&seeded, 4);
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        size_t size_again, size = kinds[k].make(&seeded.rand, record);
        record[0] = 2;
        assert_int_equal(again(&kinds[k], record, size, &size_again), ERR_FORMAT_NEWER);
        record[0] = 0;
        assert_int_equal(again(&kinds[k], record, size, &size_again), ERR_CORRUPT);
    }
}

static void random_bytes_never_hurt_the_decoders(void **state)
{
    struct rand_seeded seeded;
    rand_seeded_init(&seeded, 5);
    for (size_t k = 0; k < COUNT_OF(kinds); k++)
        for (unsigned i = 0; i < 5000; i++) {
            size_t size_again, size = rand_below(&seeded.rand, 200);
            for (size_t j = 0; j < size; j++)
                record[j] = (uint8_t)(rand_below(&seeded.rand, 2) ? 0 : rand_u64(&seeded.rand));
            record[0] = 1;
            (void)!again(&kinds[k], record, size, &size_again);
        }
}

static void a_data_shard_is_judged_by_its_place(void **state)
{
    struct extent extents[16];
    static uint64_t sums[DATA_SHARD_SUMS_MAX];
    for (uint32_t i = 0; i < 16; i++)
        extents[i] = (struct extent){
            .segment = i, .units = EXTENT_BYTES_MAX / UNIT_BYTES, .bytes = EXTENT_BYTES_MAX};
    struct data_shard shard = {
        .size = DATA_SHARD_BYTES + 1,
        .extents_in_all = 17,
        .extents = extents,
        .extent_count = 16,
        .sums = sums,
        .sum_count = DATA_SHARD_SUMS_MAX,
    };
    struct data_record data;
    record_data_put(record, &shard);
    struct bytes bytes = bytes_of(record, record_data_size(16, DATA_SHARD_SUMS_MAX));
    assert_int_equal(record_data_get(bytes, 0, &data), ERR_OK);
    /* One byte is left for shard 1. */
    assert_int_equal(record_data_get(bytes, 1, &data), ERR_CORRUPT);
    assert_int_equal(record_data_get(bytes, 2, &data), ERR_CORRUPT);
    extents[0].bytes = 1;
    extents[0].units = 1;
    shard.extent_count = shard.sum_count = 1;
    record_data_put(record, &shard);
    assert_int_equal(record_data_get(bytes_of(record, record_data_size(1, 1)), 1, &data), ERR_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_encoded_decodes_to_the_same),
        cmocka_unit_test(a_record_cut_short_or_too_long_is_refused),
        cmocka_unit_test(a_turned_bit_is_refused_or_means_something_within_the_limits),
        cmocka_unit_test(a_newer_version_is_called_newer),
        cmocka_unit_test(random_bytes_never_hurt_the_decoders),
        cmocka_unit_test(a_data_shard_is_judged_by_its_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
