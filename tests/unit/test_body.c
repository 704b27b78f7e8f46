#include "volume_fixture.h"

static void small_ones_are_kept_in_memory(void **state)
{
    static const struct {
        uint64_t size;
        bool is_known, is_inline;
    } table[] = {
        {0, true, true},
        {0, false, true},
        {1, true, true},
        {1, false, true},
        {INLINE_BYTES_MAX, true, true},
        {INLINE_BYTES_MAX, false, true},
        {INLINE_BYTES_MAX + 1, true, false},
        {INLINE_BYTES_MAX + 1, false, false},
        {SUM_CHUNK_BYTES, true, false},
        {SLOT_LARGE_BYTES, false, false}, /* ends by a write of nothing */
        {3 * SLOT_LARGE_BYTES + 77, true, false},
        {3 * SLOT_LARGE_BYTES + 77, false, false},
    };
    struct fixture f;
    fixture_up(&f, MIB(256), MIB(16));
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct body *body;
        struct data_layout layout;
        assert_int_equal(fixture_body(&f, table[i].size, table[i].is_known, i, &body), ERR_OK);
        assert_int_equal(body_is_inline(body), table[i].is_inline);
        assert_int_equal(body__judge(body, &f.trail), ERR_OK);
        body__layout(body, &layout);
        assert_int_equal(layout.size, table[i].size);
        assert_int_equal(layout.is_inline, table[i].is_inline);
        uint64_t units = (table[i].size + UNIT_BYTES - 1) / UNIT_BYTES;
        uint64_t reserved = table[i].is_inline ? 0 : units * UNIT_BYTES;
        assert_int_equal(fixture_status(&f).reserved_bytes, reserved); /* and not a unit more */
        if (!table[i].is_inline)
            assert_int_equal(layout.sum_count,
                             (table[i].size + SUM_CHUNK_BYTES - 1) / SUM_CHUNK_BYTES);
        body_close(body);
        fixture_check(&f);
    }
    fixture_fini(&f);
}

static void the_tail_of_the_last_unit_is_zero(void **state)
{
    struct fixture f;
    struct body *body;
    struct data_layout layout;
    uint8_t *unit = aligned_alloc(DISK_ALIGN, UNIT_BYTES);
    fixture_up(&f, MIB(256), MIB(16));
    memset(f.slots[0], 0xff, SLOT_LARGE_BYTES);
    assert_int_equal(fixture_body(&f, 5 * UNIT_BYTES + 100, true, 9, &body), ERR_OK);
    assert_int_equal(body__judge(body, &f.trail), ERR_OK);
    body__layout(body, &layout);
    assert_int_equal(layout.extent_count, 1);
    assert_int_equal(layout.extents[0].units, 6);
    assert_int_equal(layout.extents[0].bytes, 5 * UNIT_BYTES + 100);
    struct disk_file *file = segments_find(&f.volume->segments, layout.extents[0].segment)->direct;
    uint64_t offset = (uint64_t)(layout.extents[0].unit + 5) * UNIT_BYTES;
    assert_int_equal(file->disk->ops->pread(file, unit, UNIT_BYTES, offset), ERR_OK);
    assert_int_equal(unit[99], fixture_byte(9, 5 * UNIT_BYTES + 99));
    for (size_t i = 100; i < UNIT_BYTES; i++)
        assert_int_equal(unit[i], 0);
    body_close(body);
    free(unit);
    fixture_fini(&f);
}

static void a_body_that_lies_about_its_size_is_refused(void **state)
{
    struct fixture f;
    struct body *body;
    struct write_wait wait = {0};
    fixture_up(&f, MIB(256), MIB(16));
    struct body_options options = {f.loop, 100000};
    assert_int_equal(body_open(f.volume, &options, &body, &f.trail), ERR_OK);
    assert_int_equal(
        body_write(body, &wait.write, f.slots[0], 99999, true, fixture_written, &f.trail),
        ERR_INVALID);
    assert_non_null(strstr(f.trail.text, "1 bytes early"));
    assert_int_equal(
        body_write(body, &wait.write, f.slots[0], 100001, true, fixture_written, &f.trail),
        ERR_INVALID);
    assert_int_equal(body_writes_pending(body), 0);
    assert_int_equal(
        body_write(body, &wait.write, f.slots[0], 65536, false, fixture_written, &f.trail), ERR_OK);
    fixture_finish_writes(&f, &wait, 1);
    struct commit_wait commit;
    fixture_put_mutation(&f, &commit, "k", body, 100000); /* it has not ended */
    assert_int_equal(fixture_commit(&f, &commit), ERR_INVALID);
    assert_null(commit.m.body); /* taken all the same */
    fixture_check(&f);
    options.size = OBJECT_BYTES_MAX + 1;
    assert_int_equal(body_open(f.volume, &options, &body, &f.trail), ERR_TOO_LARGE);
    fixture_fini(&f);
}

static void closing_gives_everything_back_even_under_way(void **state)
{
    struct fixture f;
    fixture_up(&f, MIB(256), MIB(16));
    for (unsigned writes = 0; writes <= 3; writes++)
        for (unsigned turns = 0; turns < 4; turns++) {
            struct body *body;
            struct write_wait waits[3] = {{{{{0}}}}};
            struct body_options options = {f.loop, MIB(5)};
            assert_int_equal(body_open(f.volume, &options, &body, &f.trail), ERR_OK);
            for (unsigned i = 0; i < writes; i++)
                assert_int_equal(body_write(body, &waits[i].write, f.slots[i], SLOT_LARGE_BYTES,
                                            false, fixture_written, &f.trail),
                                 ERR_OK);
            for (unsigned i = 0; i < turns; i++)
                loop_run_once(f.loop, 0);
            body_close(body);
            fixture_finish_writes(&f, waits, writes);
            fixture_check(&f);
        }
    body_close(NULL);
    fixture_fini(&f);
}

/* Every second run of 16 units is taken, so that no body finds more than 64 KiB in a row. */
static void cut_up(struct fixture *f, uint32_t segments)
{
    for (uint32_t s = 0; s < segments; s++) {
        while (segments_find(&f->volume->segments, s) == NULL) {
            struct alloc_stats stats;
            keeper_provide(f->volume);
            alloc_stats(f->volume->alloc, &stats);
            assert_true(atomic_load(&f->volume->space.growable) > 0 || stats.segments == segments);
        }
        uint32_t units = (uint32_t)(f->volume->segments.segment_bytes / UNIT_BYTES);
        for (uint32_t u = 16; u + 16 <= units; u += 32)
            assert_int_equal(alloc_mark(f->volume->alloc, &(struct alloc_run){s, u, 16}), ERR_OK);
    }
    atomic_store(&f->volume->space.growable, 0);
    f->volume->space.refused_at_bytes = GIB(1); /* and it stays so */
}

static void a_disk_cut_to_pieces_still_takes_large_objects(void **state)
{
    static const uint64_t sizes[] = {20000, 65536, 65537, 1 << 20, MIB(5) + 12345};
    struct fixture f;
    fixture_up(&f, MIB(256), MIB(16));
    cut_up(&f, 2);
    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        for (unsigned known = 0; known < 2; known++) {
            struct body *body;
            struct data_layout layout;
            assert_int_equal(fixture_body(&f, sizes[i], known, i, &body), ERR_OK);
            assert_int_equal(body__judge(body, &f.trail), ERR_OK);
            body__layout(body, &layout);
            assert_int_equal(layout.extent_count, (sizes[i] + 65535) / 65536);
            for (uint32_t k = 0; k + 1 < layout.extent_count; k++)
                assert_int_equal(layout.extents[k].bytes % SUM_CHUNK_BYTES, 0);
            struct commit_wait commit;
            fixture_put_mutation(&f, &commit, "k", body, sizes[i]);
            assert_int_equal(fixture_commit(&f, &commit), ERR_OK);
            assert_int_equal(fixture_get(&f, "k", sizes[i], i), ERR_OK);
        }
    fixture_fini(&f);
}

static void what_cannot_fit_is_refused_before_its_first_byte(void **state)
{
    struct fixture f;
    struct body *body, *big;
    fixture_up(&f, MIB(256), MIB(16));
    uint64_t capacity = fixture_status(&f).capacity_bytes;
    struct body_options options = {f.loop, capacity + 1};
    assert_int_equal(body_open(f.volume, &options, &body, &f.trail), ERR_DISK_FULL);
    assert_int_equal(body_judge_size(f.volume, options.size, &f.trail), ERR_DISK_FULL);
    fixture_check(&f);
    options.size = capacity / 4 * 3;
    assert_int_equal(body_judge_size(f.volume, options.size, &f.trail), ERR_OK); /* keeps nothing */
    assert_int_equal(body_open(f.volume, &options, &big, &f.trail), ERR_OK);
    /* It is promised. */
    assert_int_equal(body_open(f.volume, &options, &body, &f.trail), ERR_DISK_FULL);
    assert_int_equal(body_judge_size(f.volume, options.size, &f.trail), ERR_DISK_FULL);
    assert_int_equal(body_judge_size(f.volume, INLINE_BYTES_MAX, &f.trail), ERR_OK);
    options.size = capacity / 4 - UNIT_BYTES;
    assert_int_equal(body_open(f.volume, &options, &body, &f.trail), ERR_OK);
    body_close(body);
    body_close(big);
    fixture_check(&f);
    fixture_fini(&f);
}

static void a_body_of_unknown_size_may_fill_the_disk(void **state)
{
    struct fixture f;
    struct body *body;
    fixture_up(&f, MIB(64), MIB(4));
    uint64_t capacity = fixture_status(&f).capacity_bytes;
    assert_int_equal(fixture_body(&f, capacity + MIB(1), false, 1, &body), ERR_DISK_FULL);
    fixture_check(&f);
    assert_int_equal(fixture_put(&f, "k", 100000, 2), ERR_OK);
    assert_int_equal(fixture_get(&f, "k", 100000, 2), ERR_OK);
    fixture_fini(&f);
}

static void after_a_failed_write_only_closing_helps(void **state)
{
    struct fixture f;
    struct body *body;
    struct write_wait wait = {0};
    fixture_up(&f, MIB(256), MIB(16));
    assert_int_equal(fixture_put(&f, "before", 100000, 1), ERR_OK);
    struct body_options options = {f.loop, MIB(3)};
    assert_int_equal(body_open(f.volume, &options, &body, &f.trail), ERR_OK);
    disk_sim_fail_nth(f.sim, 1, ERR_IO);
    assert_int_equal(body_write(body, &wait.write, f.slots[0], SLOT_LARGE_BYTES, false,
                                fixture_written, &f.trail),
                     ERR_OK);
    fixture_finish_writes(&f, &wait, 1);
    disk_sim_fail_nth(f.sim, 0, ERR_OK);
    assert_int_equal(wait.err, ERR_IO);
    assert_int_equal(body_write(body, &wait.write, f.slots[0], SLOT_LARGE_BYTES, false,
                                fixture_written, &f.trail),
                     ERR_IO);
    body_close(body);
    fixture_check(&f);
    assert_int_equal(fixture_put(&f, "after", 100000, 2), ERR_OK);
    fixture_fini(&f);
}

/* Whatever the disk refuses, once: the body ends with an error or is whole, and no unit is lost. */
static void every_disk_error_while_writing_is_survived(void **state)
{
    unsigned failed = 0;
    for (unsigned nth = 1; nth < FAULTS_MAX; nth++) {
        struct fixture f;
        struct body *body;
        fixture_up(&f, MIB(256), MIB(16));
        disk_sim_fail_nth(f.sim, nth, ERR_IO);
        enum err e = fixture_body(&f, MIB(17) + 5, nth % 2, 3, &body);
        bool fired = disk_sim_fault_fired(f.sim);
        disk_sim_fail_nth(f.sim, 0, ERR_OK);
        failed += e != ERR_OK;
        if (e == ERR_OK)
            body_close(body);
        fixture_check(&f);
        assert_int_equal(fixture_put(&f, "k", MIB(2), nth), ERR_OK);
        assert_int_equal(fixture_get(&f, "k", MIB(2), nth), ERR_OK);
        fixture_fini(&f);
        if (!fired)
            break;
        assert_int_not_equal(nth + 1, FAULTS_MAX);
    }
    assert_true(failed > 10);
}

/* A segment that holds less than the largest extent, because of its header, is no reason to make
 * ever more of them. */
static void an_extent_is_never_larger_than_a_segment_has(void **state)
{
    struct fixture f;
    fixture_up(&f, MIB(256), MIB(16));
    assert_int_equal(fixture_put(&f, "k", MIB(40), 1), ERR_OK);
    assert_int_equal(fixture_get(&f, "k", MIB(40), 1), ERR_OK);
    assert_in_range(fixture_status(&f).segment_count, 3, 4);
    fixture_check(&f);
    fixture_fini(&f);
}

static void ids_are_never_given_twice(void **state)
{
    struct fixture f;
    struct body *body;
    fixture_up(&f, MIB(256), MIB(16));
    struct data_id last = {0};
    for (unsigned i = 0; i < 30; i++) {
        if (i % 10 == 9)
            fixture_reopen(&f);
        struct body_options options = {f.loop, 10};
        assert_int_equal(body_open(f.volume, &options, &body, &f.trail), ERR_OK);
        assert_true(body->id.epoch > last.epoch ||
                    (body->id.epoch == last.epoch && body->id.counter > last.counter));
        last = body->id;
        body_close(body);
    }
    fixture_fini(&f);
}

/* What a peer made keeps its name here, and what was written can be compared with what was sent. */
static void a_body_may_be_data_made_elsewhere(void **state)
{
    struct fixture f;
    struct write_wait wait = {0};
    struct body *body;
    fixture_up(&f, MIB(256), MIB(16));
    const struct data_id id = {.epoch = 1ull << 63 | 77, .counter = 5};
    struct body_options options = {.loop = f.loop, .size = 2 * SUM_CHUNK_BYTES + 9, .id = id};
    assert_int_equal(body_open(f.volume, &options, &body, &f.trail), ERR_OK);
    body_set_user(body, &f);
    assert_ptr_equal(body_user(body), &f);
    assert_true(data_id_equal(body_data_id(body), id));
    fixture_fill(f.slots[0], 3, 0, options.size);
    assert_int_equal(body_write(body, &wait.write, f.slots[0], (uint32_t)options.size, true,
                                fixture_written, &f.trail),
                     ERR_OK);
    uint32_t count;
    const uint64_t *sums = body_sums(body, &count);
    assert_int_equal(count, 3);
    assert_int_equal(sums[0], xxh3_64(f.slots[0], SUM_CHUNK_BYTES));
    assert_int_equal(sums[2], xxh3_64(f.slots[0] + 2 * SUM_CHUNK_BYTES, 9));
    fixture_finish_writes(&f, &wait, 1);

    struct commit_wait commit;
    struct object *object;
    struct piece *pieces;
    size_t piece_count;
    fixture_put_mutation(&f, &commit, "k", body, options.size);
    assert_int_equal(fixture_commit(&f, &commit), ERR_OK);
    assert_int_equal(fixture_get(&f, "k", options.size, 3), ERR_OK);
    assert_int_equal(fixture_lookup(&f, "k", &object), ERR_OK);
    assert_int_equal(object_pieces(object, 0, options.size, &pieces, &piece_count), ERR_OK);
    assert_true(data_id_equal(pieces[0].data, id));
    free(pieces);
    object_put(object);
    fixture_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_ones_are_kept_in_memory),
        cmocka_unit_test(the_tail_of_the_last_unit_is_zero),
        cmocka_unit_test(a_body_that_lies_about_its_size_is_refused),
        cmocka_unit_test(closing_gives_everything_back_even_under_way),
        cmocka_unit_test(a_disk_cut_to_pieces_still_takes_large_objects),
        cmocka_unit_test(what_cannot_fit_is_refused_before_its_first_byte),
        cmocka_unit_test(a_body_of_unknown_size_may_fill_the_disk),
        cmocka_unit_test(after_a_failed_write_only_closing_helps),
        cmocka_unit_test(every_disk_error_while_writing_is_survived),
        cmocka_unit_test(an_extent_is_never_larger_than_a_segment_has),
        cmocka_unit_test(ids_are_never_given_twice),
        cmocka_unit_test(a_body_may_be_data_made_elsewhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
