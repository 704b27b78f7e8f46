#include "volume_fixture.h"

#include "storage/superblock.h"

static struct superblock example(void)
{
    struct superblock sb = {.format_major = FORMAT_MAJOR,
                            .format_minor = 3,
                            .features_compat = 1ull << 40,
                            .unit_bytes = UNIT_BYTES,
                            .sum_chunk_bytes = SUM_CHUNK_BYTES,
                            .segment_bytes = MIB(64),
                            .created_ns = 1700000000123456789,
                            .generation = 7,
                            .mount_epoch = 5,
                            .state = SUPERBLOCK_DIRTY,
                            .durable_commit_seq = 1234567890123};
    memset(sb.uuid, 0xab, sizeof sb.uuid);
    return sb;
}

static void assert_same(const struct superblock *a, const struct superblock *b)
{
    uint8_t x[SUPERBLOCK_SLOT_BYTES], y[SUPERBLOCK_SLOT_BYTES];
    superblock_encode(a, x);
    superblock_encode(b, y);
    assert_memory_equal(x, y, sizeof x);
}

static void what_was_encoded_is_decoded(void **state)
{
    struct superblock sb = example(), back = {0};
    uint8_t slot[SUPERBLOCK_SLOT_BYTES];
    superblock_encode(&sb, slot);
    assert_int_equal(superblock_decode(slot, &back), ERR_OK);
    assert_same(&sb, &back);
    assert_int_equal(back.durable_commit_seq, 1234567890123);
    assert_int_equal(back.format_minor, 3);
}

static void any_turned_bit_is_refused(void **state)
{
    struct superblock sb = example(), back;
    uint8_t slot[SUPERBLOCK_SLOT_BYTES];
    superblock_encode(&sb, slot);
    for (unsigned bit = 0; bit < sizeof slot * 8; bit++) {
        slot[bit / 8] ^= (uint8_t)(1 << bit % 8);
        enum err e = superblock_decode(slot, &back);
        assert_true(e == (bit < 64 ? ERR_NOT_VOLUME : ERR_CORRUPT));
        slot[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void bytes_with_a_right_sum_are_judged_all_the_same(void **state)
{
    static const struct {
        size_t offset;
        uint64_t value;
        unsigned size;
        enum err expected;
    } table[] = {
        {8, FORMAT_MAJOR + 1, 4, ERR_FORMAT_NEWER},
        {8, 0, 4, ERR_CORRUPT},
        {32, 1, 8, ERR_FORMAT_NEWER},         /* a feature that forbids opening */
        {24, 1, 8, ERR_OK},                   /* one that allows reading: open judges it */
        {16, 1ull << 63, 8, ERR_OK},          /* one to be ignored */
        {56, 8192, 4, ERR_FORMAT_NEWER},      /* another unit */
        {60, 131072, 4, ERR_FORMAT_NEWER},    /* another sum chunk */
        {64, MIB(64) + 4096, 8, ERR_CORRUPT}, /* no power of two */
        {64, 0, 8, ERR_CORRUPT},
        {64, SEGMENT_BYTES_MIN / 2, 8, ERR_CORRUPT},
        {64, SEGMENT_BYTES_MAX * 2, 8, ERR_CORRUPT},
        {96, 0, 4, ERR_CORRUPT},
        {96, 3, 4, ERR_CORRUPT},
        {80, 0, 8, ERR_CORRUPT}, /* no generation */
    };
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct superblock sb = example(), back;
        uint8_t slot[SUPERBLOCK_SLOT_BYTES];
        superblock_encode(&sb, slot);
        if (table[i].size == 4)
            put_le32(slot + table[i].offset, (uint32_t)table[i].value);
        else
            put_le64(slot + table[i].offset, table[i].value);
        put_le64(slot + SUPERBLOCK_SLOT_BYTES - 8, xxh3_64(slot, SUPERBLOCK_SLOT_BYTES - 8));
        enum err e = superblock_decode(slot, &back);
        if (e != table[i].expected)
            fail_msg("row %zu: %s", i, err_name(e));
    }
}

/* ---- the file ---- */

static struct disk_file *make_file(struct fixture *f)
{
    static const uint8_t zeros[SUPERBLOCK_BYTES];
    struct disk_file *file;
    int flags = DISK_WRITE | DISK_CREATE;
    assert_int_equal(f->disk->ops->open(f->disk, "/superblock", flags, &file), ERR_OK);
    assert_int_equal(file->disk->ops->pwrite(file, zeros, sizeof zeros, 0), ERR_OK);
    assert_int_equal(file->disk->ops->sync(file), ERR_OK);
    assert_int_equal(f->disk->ops->sync_dir(f->disk, ""), ERR_OK);
    return file;
}

static void the_newest_generation_is_read(void **state)
{
    struct fixture f;
    fixture_init(&f, MIB(64));
    struct disk_file *file = make_file(&f);
    struct superblock sb = example(), back;
    sb.generation = 0;
    assert_int_equal(superblock_read(file, &back, &f.trail), ERR_NOT_VOLUME);
    for (uint64_t i = 1; i < 9; i++) {
        sb.mount_epoch = i;
        assert_int_equal(superblock_write(file, &sb, &f.trail), ERR_OK);
        assert_int_equal(sb.generation, i);
        assert_int_equal(superblock_read(file, &back, &f.trail), ERR_OK);
        assert_same(&sb, &back);
    }
    file->disk->ops->close(file);
    fixture_fini(&f);
}

/* Every write fails at every place, is torn by a power cut, and still one of the two is there,
 * whole. */
static void an_interrupted_write_leaves_the_generation_before(void **state)
{
    unsigned olds = 0, news = 0;
    for (unsigned seed = 0; seed < 40; seed++) {
        struct fixture f;
        fixture_init(&f, MIB(64));
        rand_seeded_init(&f.chances, seed);
        struct disk_file *file = make_file(&f);
        struct superblock sb = example(), back;
        sb.generation = 0;
        for (unsigned i = 0; i <= seed % 3; i++)
            assert_int_equal(superblock_write(file, &sb, &f.trail), ERR_OK);
        uint64_t before = sb.generation;
        disk_sim_fail_nth(f.sim, 1 + seed % 3, ERR_IO);
        enum err e = superblock_write(file, &sb, &f.trail);
        assert_int_equal(e, ERR_IO);
        assert_int_equal(sb.generation, before);
        disk_sim_fail_nth(f.sim, 0, ERR_OK);
        disk_sim_crash(f.sim);
        file->disk->ops->close(file);
        assert_int_equal(f.disk->ops->open(f.disk, "/superblock", DISK_WRITE, &file), ERR_OK);
        assert_int_equal(superblock_read(file, &back, &f.trail), ERR_OK);
        assert_in_range(back.generation, before, before + 1);
        olds += back.generation == before;
        news += back.generation == before + 1;
        assert_int_equal(superblock_write(file, &back, &f.trail), ERR_OK);
        file->disk->ops->close(file);
        fixture_fini(&f);
    }
    assert_true(olds > 0 && news > 0);
}

static void one_lost_copy_is_not_missed(void **state)
{
    static const uint64_t offsets[] = {0, 16384, 32768, 49152};
    for (size_t i = 0; i < COUNT_OF(offsets); i++) {
        struct fixture f;
        fixture_init(&f, MIB(64));
        struct disk_file *file = make_file(&f);
        struct superblock sb = example(), back;
        assert_int_equal(superblock_write(file, &sb, &f.trail), ERR_OK);
        assert_int_equal(superblock_write(file, &sb, &f.trail), ERR_OK);
        assert_int_equal(disk_sim_flip_bit(f.sim, "/superblock", offsets[i] + 100, 3), ERR_OK);
        assert_int_equal(superblock_read(file, &back, &f.trail), ERR_OK);
        assert_int_equal(back.generation, sb.generation);
        file->disk->ops->close(file);
        fixture_fini(&f);
    }
}

static void nothing_whole_is_called_damage(void **state)
{
    struct fixture f;
    fixture_init(&f, MIB(64));
    struct disk_file *file = make_file(&f);
    struct superblock sb = example(), back;
    assert_int_equal(superblock_write(file, &sb, &f.trail), ERR_OK);
    assert_int_equal(disk_sim_flip_bit(f.sim, "/superblock", 100, 3), ERR_OK);
    assert_int_equal(disk_sim_flip_bit(f.sim, "/superblock", 16384 + 101, 3), ERR_OK);
    assert_int_equal(superblock_read(file, &back, &f.trail), ERR_CORRUPT);
    file->disk->ops->close(file);
    fixture_fini(&f);
}

static void a_newer_format_is_named(void **state)
{
    struct fixture f;
    fixture_init(&f, MIB(64));
    struct disk_file *file = make_file(&f);
    struct superblock sb = example(), back;
    assert_int_equal(superblock_write(file, &sb, &f.trail), ERR_OK);
    sb.features_incompat = 4;
    assert_int_equal(superblock_write(file, &sb, &f.trail), ERR_OK);
    assert_int_equal(superblock_read(file, &back, &f.trail), ERR_FORMAT_NEWER);
    assert_non_null(strstr(f.trail.text, "features 0x4"));
    file->disk->ops->close(file);
    fixture_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_encoded_is_decoded),
        cmocka_unit_test(any_turned_bit_is_refused),
        cmocka_unit_test(bytes_with_a_right_sum_are_judged_all_the_same),
        cmocka_unit_test(the_newest_generation_is_read),
        cmocka_unit_test(an_interrupted_write_leaves_the_generation_before),
        cmocka_unit_test(one_lost_copy_is_not_missed),
        cmocka_unit_test(nothing_whole_is_called_damage),
        cmocka_unit_test(a_newer_format_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
