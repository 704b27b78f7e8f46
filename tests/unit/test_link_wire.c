#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* the four above first: cmocka wants them */
#include <cmocka.h>

#include "base/check.h"
#include "replication/link_priv.h"

/* What is put into slots, as bytes. */

static void areas_are_cut_the_same_way_on_both_sides(void **state)
{
    static const struct {
        uint64_t bytes;
        uint32_t meta, bulk;
    } rows[] = {{LINK_AREA_BYTES_MIN, 16, 3},
                {LINK_AREA_BYTES_USUAL, 64, 13},
                {MIB(6), 24, 5},
                {MIB(64), 128, 59},
                {MIB(68), 128, 63},
                {MIB(128), 128, 64}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct link_layout layout = link_layout_of(rows[i].bytes);
        assert_int_equal(layout.meta_slots, rows[i].meta);
        assert_int_equal(layout.bulk_slots, rows[i].bulk);
        assert_int_equal(layout.bulk_offset % 4096, 0);
        assert_true(layout.bulk_offset + (uint64_t)layout.bulk_slots * LINK_BULK_SLOT_BYTES <=
                    rows[i].bytes);
        uint8_t ready[LINK_READY_BYTES];
        uint64_t bytes = 0;
        link_ready_encode(rows[i].bytes, ready);
        assert_int_equal(link_ready_decode(ready, &bytes), ERR_OK);
        assert_int_equal(bytes, rows[i].bytes);
        ready[2]++;
        assert_int_equal(link_ready_decode(ready, &bytes), ERR_UNSUPPORTED);
    }
}

static void heads_come_back_as_they_were_and_no_damaged_byte_does(void **state)
{
    struct link_meta_head meta = {.use = 7,
                                  .slot = 15,
                                  .kind = 200,
                                  .size = 100,
                                  .total = 5000,
                                  .offset = 4900,
                                  .sum = 0x1122334455667788},
                          meta_back;
    uint8_t bytes[LINK_CHUNK_WIRE_BYTES];
    link_meta_head_encode(&meta, bytes);
    assert_int_equal(link_meta_head_decode(bytes, &meta_back), ERR_OK);
    uint8_t again[LINK_CHUNK_WIRE_BYTES];
    link_meta_head_encode(&meta_back, again);
    assert_memory_equal(bytes, again, LINK_META_HEAD_BYTES);
    assert_int_equal(meta_back.use, 7);
    assert_int_equal(meta_back.offset, 4900);
    for (size_t i = 0; i < LINK_META_HEAD_BYTES; i++) {
        bytes[i] ^= 0x10;
        assert_int_equal(link_meta_head_decode(bytes, &meta_back), ERR_CORRUPT);
        bytes[i] ^= 0x10;
    }
    struct link_chunk_head chunk = {.data = {.epoch = 1ull << 63 | 5, .counter = 9},
                                    .data_size = UINT64_MAX,
                                    .offset = MIB(3),
                                    .size = 70000,
                                    .sum_count = 2,
                                    .sums = {3, 4}},
                           chunk_back;
    uint16_t slot;
    uint32_t use;
    link_chunk_head_encode(&chunk, 63, 70001, bytes);
    assert_int_equal(link_chunk_head_decode(bytes, &chunk_back, &slot, &use), ERR_OK);
    link_chunk_head_encode(&chunk_back, slot, use, again);
    assert_memory_equal(bytes, again, LINK_CHUNK_WIRE_BYTES);
    assert_true(chunk_back.data.epoch == chunk.data.epoch && chunk_back.data.counter == 9);
    assert_true(chunk_back.sums[1] == 4 && chunk_back.offset == MIB(3));
    assert_int_equal(slot, 63);
    assert_int_equal(use, 70001);
    for (size_t i = 0; i < LINK_CHUNK_WIRE_BYTES; i++) {
        bytes[i] ^= 0x10;
        assert_int_equal(link_chunk_head_decode(bytes, &chunk_back, &slot, &use), ERR_CORRUPT);
        bytes[i] ^= 0x10;
    }
}

static void heads_that_say_the_impossible_are_refused(void **state)
{
    static const struct link_meta_head metas[] = {
        {.size = 10, .total = 5},
        {.size = 10, .total = 15, .offset = 6},
        {.size = 1, .total = 1, .offset = UINT32_MAX},
        {.size = 0, .total = 5},
        {.size = LINK_MESSAGE_SLOT_BYTES + 1, .total = LINK_MESSAGE_SLOT_BYTES + 1},
        {.size = 10, .total = LINK_MESSAGE_BYTES_MAX + 1},
    };
    uint8_t bytes[LINK_CHUNK_WIRE_BYTES];
    for (size_t i = 0; i < COUNT_OF(metas); i++) {
        struct link_meta_head back;
        link_meta_head_encode(&metas[i], bytes);
        assert_int_equal(link_meta_head_decode(bytes, &back), ERR_CORRUPT);
    }
    static const struct data_id id = {1, 1};
    static const struct link_chunk_head chunks[] = {
        {.data_size = UINT64_MAX, .size = 1},
        {.data = id, .data_size = UINT64_MAX, .size = 0},
        {.data = id, .data_size = UINT64_MAX, .size = LINK_CHUNK_BYTES_MAX + 1},
        {.data = id, .data_size = UINT64_MAX, .size = 100, .offset = UINT64_MAX - 50},
        {.data = id, .data_size = 100, .size = 50, .last = true},
        {.data = id, .data_size = 100, .size = 100},
        {.data = id, .data_size = 100, .size = 50, .offset = 60},
        {.data = id, .data_size = UINT64_MAX, .size = SUM_CHUNK_BYTES + 1, .sum_count = 1},
        {.data = id, .data_size = UINT64_MAX, .size = SUM_CHUNK_BYTES, .sum_count = 2},
        {.data = id, .data_size = UINT64_MAX, .size = 5, .offset = 4096, .sum_count = 1},
    };
    for (size_t i = 0; i < COUNT_OF(chunks); i++) {
        struct link_chunk_head back;
        uint16_t slot;
        uint32_t use;
        link_chunk_head_encode(&chunks[i], 0, 1, bytes);
        if (link_chunk_head_decode(bytes, &back, &slot, &use) != ERR_CORRUPT)
            fail_msg("row %zu is taken", i);
    }
}

static void a_word_means_the_same_on_both_sides(void **state)
{
    static const enum err same[] = {ERR_OK,        ERR_IO,        ERR_CORRUPT,
                                    ERR_DISK_FULL, ERR_BUSY,      ERR_NO_MEMORY,
                                    ERR_CANCELLED, ERR_READ_ONLY, ERR_VOLUME_FAILED};
    for (size_t i = 0; i < COUNT_OF(same); i++) {
        assert_int_equal(link_word_of(same[i]), i);
        assert_int_equal(link_word_err(link_word_of(same[i])), same[i]);
    }
    for (int e = 0; e < ERR_COUNT; e++)
        assert_true((link_word_err(link_word_of((enum err)e)) == ERR_OK) == (e == ERR_OK));
    assert_int_equal(link_word_err(link_word_of(ERR_TIMEOUT)), ERR_BUSY);
    assert_int_equal(link_word_err(200), ERR_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(areas_are_cut_the_same_way_on_both_sides),
        cmocka_unit_test(heads_come_back_as_they_were_and_no_damaged_byte_does),
        cmocka_unit_test(heads_that_say_the_impossible_are_refused),
        cmocka_unit_test(a_word_means_the_same_on_both_sides),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
