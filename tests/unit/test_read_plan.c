#include "volume_fixture.h"

static enum err read_range(struct fixture *f, const char *key, uint64_t seed, uint64_t offset,
                           uint64_t size)
{
    struct object *object;
    struct read_plan plan;
    enum err e = fixture_lookup(f, key, &object);
    if (e)
        return e;
    read_plan_open(&plan, object, offset, size);
    object_put(object);
    e = fixture_read_plan(&plan, seed, offset);
    read_plan_close(&plan);
    return e;
}

static void any_range_gives_its_bytes(void **state)
{
    static const uint64_t sizes[] = {1,     100,   INLINE_BYTES_MAX, INLINE_BYTES_MAX + 1,
                                     65536, 65537, MIB(1),           MIB(20) + 4097};
    struct fixture f;
    fixture_up(&f, MIB(256), MIB(16));
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        uint64_t size = sizes[i];
        assert_int_equal(fixture_put(&f, "k", size, i), ERR_OK);
        assert_int_equal(read_range(&f, "k", i, 0, size), ERR_OK);
        assert_int_equal(read_range(&f, "k", i, size - 1, 1), ERR_OK);
        assert_int_equal(read_range(&f, "k", i, size, 0), ERR_OK);
        for (unsigned k = 0; k < 40; k++) {
            uint64_t from = rand_below(&f.chances.rand, size);
            uint64_t count = rand_below(&f.chances.rand, size - from + 1);
            assert_int_equal(read_range(&f, "k", i, from, count), ERR_OK);
        }
    }
    fixture_fini(&f);
}

static void spans_end_where_extents_do(void **state)
{
    struct fixture f;
    struct object *object;
    struct read_plan plan;
    struct read_span span;
    fixture_up(&f, MIB(256), MIB(16));
    assert_int_equal(fixture_put(&f, "k", MIB(40), 1), ERR_OK);
    assert_int_equal(fixture_lookup(&f, "k", &object), ERR_OK);
    read_plan_open(&plan, object, 100000, MIB(40) - 100000);
    for (uint32_t i = 0; i < object->layout.extent_count; i++) {
        const struct extent *extent = &object->layout.extents[i];
        assert_int_equal(read_plan_span(&plan, &span), ERR_OK);
        uint64_t skipped = i == 0 ? 100000 : 0;
        assert_int_equal(span.segment, extent->segment);
        assert_int_equal(span.unit, extent->unit);
        assert_int_equal(span.size, extent->bytes - skipped);
        assert_int_equal(span.file_offset, (uint64_t)extent->unit * UNIT_BYTES + skipped);
        assert_int_equal(span.chunk_file_offset,
                         (uint64_t)extent->unit * UNIT_BYTES + (i == 0 ? 65536 : 0));
        assert_int_equal(span.chunk_file_offset % UNIT_BYTES, 0);
        read_plan_advance(&plan, span.size / 3); /* a part of a span is fine */
        uint64_t left = span.size - span.size / 3;
        assert_int_equal(read_plan_span(&plan, &span), ERR_OK);
        assert_int_equal(span.size, left);
        read_plan_advance(&plan, left);
    }
    assert_int_equal(read_plan_left(&plan), 0);
    read_plan_close(&plan);
    object_put(object);
    fixture_fini(&f);
}

static void a_turned_bit_is_never_given_out(void **state)
{
    const uint64_t size = MIB(2) + 777;
    struct fixture f;
    struct object *object;
    char path[SEGMENT_PATH_BYTES_MAX];
    fixture_up(&f, MIB(256), MIB(16));
    assert_int_equal(fixture_put(&f, "k", size, 1), ERR_OK);
    assert_int_equal(fixture_lookup(&f, "k", &object), ERR_OK);
    struct extent extent = object->layout.extents[0];
    assert_int_equal(object->layout.extent_count, 1);
    object_put(object);
    segment_path(FIXTURE_DIR, extent.segment, path);
    static const uint64_t places[] = {0, 65535, 65536, MIB(1) + 3, MIB(2) + 776};
    for (size_t i = 0; i < COUNT_OF(places); i++) {
        uint64_t at = (uint64_t)extent.unit * UNIT_BYTES + places[i];
        uint64_t chunk = places[i] / SUM_CHUNK_BYTES * SUM_CHUNK_BYTES;
        assert_int_equal(disk_sim_flip_bit(f.sim, path, at, i), ERR_OK);
        assert_int_equal(read_range(&f, "k", 1, places[i], 1), ERR_CORRUPT);
        if (chunk > 0)
            assert_int_equal(read_range(&f, "k", 1, 0, chunk), ERR_OK); /* only its chunk is lost */
        if (chunk + SUM_CHUNK_BYTES < size)
            assert_int_equal(read_range(&f, "k", 1, chunk + SUM_CHUNK_BYTES, 10), ERR_OK);
        assert_int_equal(disk_sim_flip_bit(f.sim, path, at, i), ERR_OK);
    }
    assert_int_equal(read_range(&f, "k", 1, 0, size), ERR_OK);
    fixture_fini(&f);
}

static void verifying_wants_whole_chunks(void **state)
{
    static uint8_t bytes[3 * SUM_CHUNK_BYTES];
    uint64_t sums[3];
    fixture_fill(bytes, 1, 0, sizeof bytes);
    sums[0] = xxh3_64(bytes, SUM_CHUNK_BYTES);
    sums[1] = xxh3_64(bytes + SUM_CHUNK_BYTES, SUM_CHUNK_BYTES);
    sums[2] = xxh3_64(bytes + 2 * SUM_CHUNK_BYTES, 100);
    struct read_span span = {.sums = sums, .chunk_count = 3, .last_chunk_size = 100};
    assert_int_equal(read_span_verify(&span, bytes, 2 * SUM_CHUNK_BYTES + 100), ERR_OK);
    assert_int_equal(read_span_verify(&span, bytes, 2 * SUM_CHUNK_BYTES), ERR_OK);
    assert_int_equal(read_span_verify(&span, bytes, SUM_CHUNK_BYTES), ERR_OK);
    assert_int_equal(read_span_verify(&span, bytes, SUM_CHUNK_BYTES - 1), ERR_CORRUPT);
    assert_int_equal(read_span_verify(&span, bytes, 2 * SUM_CHUNK_BYTES + 101), ERR_CORRUPT);
    bytes[SUM_CHUNK_BYTES] ^= 1;
    assert_int_equal(read_span_verify(&span, bytes, SUM_CHUNK_BYTES), ERR_OK);
    assert_int_equal(read_span_verify(&span, bytes, 2 * SUM_CHUNK_BYTES), ERR_CORRUPT);
}

/* ---- objects of several pieces, which are looked up as they are read ---- */

static void a_copy_of_slices_is_read_through_windows(void **state)
{
    const uint64_t size = MIB(2) + 5;
    struct fixture f;
    struct object *whole, *object;
    struct read_plan plan;
    fixture_up(&f, MIB(256), MIB(16));
    assert_int_equal(fixture_put(&f, "large", size, 1), ERR_OK);
    assert_int_equal(fixture_put(&f, "small", 5000, 2), ERR_OK);
    assert_int_equal(fixture_lookup(&f, "large", &whole), ERR_OK);
    struct data_id large = whole->pieces[0].stored.piece.data;
    object_put(whole);
    assert_int_equal(fixture_lookup(&f, "small", &whole), ERR_OK);
    struct data_id small = whole->pieces[0].stored.piece.data;
    object_put(whole);
    const struct piece pieces[] = {
        {.data = large, .offset = 70000, .size = MIB(1)},
        {.data = small, .offset = 1, .size = 4999},
        {.data = large, .offset = 3, .size = 100},
    };
    struct commit_wait wait = {.m = {.kind = MUTATION_OBJECT_PUT,
                                     .bucket = f.bucket,
                                     .key = BYTES("copy"),
                                     .pieces = pieces,
                                     .piece_count = COUNT_OF(pieces),
                                     .size = MIB(1) + 4999 + 100}};
    assert_int_equal(fixture_commit(&f, &wait), ERR_OK);
    assert_int_equal(fixture_delete(&f, "large"), ERR_OK); /* the copy keeps its data */
    assert_int_equal(fixture_delete(&f, "small"), ERR_OK);
    volume_step(f.volume);
    fixture_reopen(&f);
    assert_int_equal(fixture_lookup(&f, "copy", &object), ERR_OK);
    uint64_t at = 0;
    static const uint64_t seeds[] = {1, 2, 1};
    for (size_t i = 0; i < COUNT_OF(pieces); i++) {
        read_plan_open(&plan, object, at, pieces[i].size);
        assert_int_equal(fixture_read_plan(&plan, seeds[i], pieces[i].offset), ERR_OK);
        read_plan_close(&plan);
        at += pieces[i].size;
    }
    read_plan_open(&plan, object, 0, at); /* and across them */
    while (read_plan_left(&plan) > 0) {
        struct read_span span;
        assert_int_equal(read_plan_span(&plan, &span), ERR_OK);
        read_plan_advance(&plan, span.size);
    }
    read_plan_close(&plan);
    object_put(object);
    fixture_fini(&f);
}

/* Records that point where nothing is are judged before anything is read there. */
static void records_that_point_nowhere_are_damage(void **state)
{
    static const struct extent wrong[] = {
        {.segment = 77, .unit = 10, .units = 64, .bytes = 262144},  /* no such segment */
        {.segment = 0, .unit = 1, .units = 64, .bytes = 262144},    /* a header */
        {.segment = 0, .unit = 4095, .units = 64, .bytes = 262144}, /* past the end */
        {.segment = 0, .unit = UINT32_MAX, .units = 64, .bytes = 262144},
    };
    struct fixture f;
    struct object *object;
    struct read_plan plan;
    struct read_span span;
    fixture_up(&f, MIB(256), MIB(16));
    assert_int_equal(fixture_put(&f, "k", 262144, 1), ERR_OK);
    assert_int_equal(fixture_lookup(&f, "k", &object), ERR_OK);
    struct data_id data = object->pieces[0].stored.piece.data;
    uint64_t sums[4];
    memcpy(sums, object->layout.sums, sizeof sums);
    object_put(object);
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        struct kv_batch *batch;
        struct kv_key key;
        uint8_t record[256];
        struct data_shard shard = {.size = 262144,
                                   .extents_in_all = 1,
                                   .extents = &wrong[i],
                                   .extent_count = 1,
                                   .sums = sums,
                                   .sum_count = 4};
        fixture_close_volume(&f);
        assert_int_equal(kv_batch_open(&batch), ERR_OK);
        key_data(&key, data, 0);
        record_data_put(record, &shard);
        struct bytes value = bytes_of(record, record_data_size(1, 4));
        assert_int_equal(kv_batch_put(batch, KV_DATA, key_bytes(&key), value), ERR_OK);
        assert_int_equal(f.kv->ops->write(f.kv, batch, true, &f.trail), ERR_OK);
        kv_batch_close(batch);
        assert_int_equal(fixture_open(&f), ERR_OK);
        enum err e = fixture_lookup(&f, "k", &object);
        if (e == ERR_OK) {
            read_plan_open(&plan, object, 0, 262144);
            e = read_plan_span(&plan, &span);
            read_plan_close(&plan);
            object_put(object);
        }
        assert_int_equal(e, ERR_CORRUPT);
    }
    fixture_fini(&f);
}

static void a_failing_index_is_told_and_tried_again(void **state)
{
    const uint64_t size = DATA_SHARD_BYTES + 100;
    struct fixture f;
    struct object *object;
    struct read_plan plan;
    struct read_span span;
    fixture_up(&f, GIB(1), MIB(64));
    assert_int_equal(fixture_put(&f, "k", size, 1), ERR_OK);
    assert_int_equal(fixture_lookup(&f, "k", &object), ERR_OK);
    read_plan_open(&plan, object, DATA_SHARD_BYTES - 50, 150);
    object_put(object);
    kv_sim_fail_nth(f.kv, 1, ERR_IO);
    assert_int_equal(read_plan_span(&plan, &span), ERR_IO);
    kv_sim_fail_nth(f.kv, 1, ERR_WOULD_BLOCK);
    assert_int_equal(read_plan_span(&plan, &span), ERR_WOULD_BLOCK);
    kv_sim_fail_nth(f.kv, 1, ERR_IO);
    assert_int_equal(read_plan_load(&plan), ERR_IO);
    kv_sim_fail_nth(f.kv, 0, ERR_OK);
    assert_int_equal(read_plan_load(&plan), ERR_OK);
    assert_int_equal(read_plan_load(&plan), ERR_OK);
    assert_int_equal(fixture_read_plan(&plan, 1, DATA_SHARD_BYTES - 50), ERR_OK);
    read_plan_close(&plan);
    fixture_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_range_gives_its_bytes),
        cmocka_unit_test(spans_end_where_extents_do),
        cmocka_unit_test(a_turned_bit_is_never_given_out),
        cmocka_unit_test(verifying_wants_whole_chunks),
        cmocka_unit_test(a_copy_of_slices_is_read_through_windows),
        cmocka_unit_test(records_that_point_nowhere_are_damage),
        cmocka_unit_test(a_failing_index_is_told_and_tried_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
