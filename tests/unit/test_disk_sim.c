#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* the four above first: cmocka wants them */
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/cleanup.h"
#include "base/disk.h"
#include "base/rand.h"

struct fixture {
    struct rand_seeded rand;
    struct disk_sim *sim;
    struct disk *disk;
    struct loop *loop;
    struct disk_file *file, *other;
};
static struct fixture fixture;

#define CAPACITY_BLOCKS 64u
#define BLOCK_BYTES     4096u
#define SEEDS           200

static void open_sim(struct fixture *f, uint64_t seed)
{
    rand_seeded_init(&f->rand, seed);
    struct disk_sim_options options = {.capacity_bytes = CAPACITY_BLOCKS * BLOCK_BYTES,
                                       .rand = &f->rand.rand};
    assert_int_equal(disk_sim_open(&options, &f->sim), ERR_OK);
    f->disk = disk_sim_disk(f->sim);
    assert_int_equal(f->disk->ops->make_dir(f->disk, "/v"), ERR_OK);
    assert_int_equal(f->disk->ops->sync_dir(f->disk, "/"), ERR_OK);
}

static void close_sim(struct fixture *f)
{
    if (f->disk) {
        f->disk->ops->close(f->file);
        f->disk->ops->close(f->other);
    }
    f->file = f->other = NULL;
    disk_sim_close(f->sim);
    f->sim = NULL;
    f->disk = NULL;
}

static int set_up(void **state)
{
    struct fixture *f = *state = &fixture;
    *f = (struct fixture){0};
    return loop_open(&(struct loop_options){.ring_choice = RING_FORCE_POLL, .name = "sim"},
                     &f->loop, NULL)
               ? -1
               : 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    close_sim(f);
    loop_close(f->loop);
    return 0;
}

static enum err try_open(struct fixture *f, const char *path, int flags,
                         struct disk_file **ret_file)
{
    return f->disk->ops->open(f->disk, path, flags, ret_file);
}

static struct disk_file *open_file(struct fixture *f, const char *path, int flags)
{
    struct disk_file *file = NULL;
    assert_int_equal(try_open(f, path, flags, &file), ERR_OK);
    return file;
}

static void write_block(struct fixture *f, uint64_t block, int value)
{
    uint8_t data[BLOCK_BYTES];
    memset(data, value, sizeof data);
    assert_int_equal(f->disk->ops->pwrite(f->file, data, sizeof data, block * BLOCK_BYTES), ERR_OK);
}

/* A file /v/f of `blocks` blocks of 'o', all of it durable. */
static void make_durable_file(struct fixture *f, uint64_t blocks)
{
    f->file = open_file(f, "/v/f", DISK_WRITE | DISK_CREATE);
    for (uint64_t block = 0; block < blocks; block++)
        write_block(f, block, 'o');
    assert_int_equal(f->disk->ops->sync(f->file), ERR_OK);
    assert_int_equal(f->disk->ops->sync_dir(f->disk, "/v"), ERR_OK);
}

static void crash_and_open_again(struct fixture *f)
{
    disk_sim_crash(f->sim);
    f->disk->ops->close(f->file);
    f->file = NULL;
    f->file = open_file(f, "/v/f", DISK_WRITE);
}

enum block_state { BLOCK_OLD, BLOCK_NEW, BLOCK_TORN };

static enum block_state state_of(struct fixture *f, uint64_t block)
{
    uint8_t data[BLOCK_BYTES];
    assert_int_equal(f->disk->ops->pread(f->file, data, sizeof data, block * BLOCK_BYTES), ERR_OK);
    int new_sectors = 0;
    for (size_t sector = 0; sector < BLOCK_BYTES; sector += 512) {
        assert_true(data[sector] == 'o' || data[sector] == 'n');
        for (size_t i = 0; i < 512; i++)
            assert_int_equal(data[sector + i], data[sector]); /* a sector is never torn */
        new_sectors += data[sector] == 'n';
    }
    return new_sectors == 0 ? BLOCK_OLD : new_sectors == 8 ? BLOCK_NEW : BLOCK_TORN;
}

/* ---- the power cut ---- */

static void a_crash_keeps_the_synced_and_plays_dice_for_the_rest(void **state)
{
    struct fixture *f = *state;
    unsigned seen[3] = {0};
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        open_sim(f, seed);
        make_durable_file(f, 4);
        write_block(f, 1, 'n');
        write_block(f, 2, 'x');
        write_block(f, 2, 'n'); /* of several writes, the last or what was synced */
        crash_and_open_again(f);
        assert_int_equal(state_of(f, 0), BLOCK_OLD);
        assert_int_equal(state_of(f, 3), BLOCK_OLD);
        seen[state_of(f, 1)]++;
        seen[state_of(f, 2)]++;

        write_block(f, 1, 'n');
        assert_int_equal(f->disk->ops->sync(f->file), ERR_OK);
        crash_and_open_again(f);
        assert_int_equal(state_of(f, 1), BLOCK_NEW);
        close_sim(f);
    }
    for (size_t i = 0; i < COUNT_OF(seen); i++)
        assert_in_range(seen[i], SEEDS / 5, 2 * SEEDS);
}

static void an_unsynced_size_is_old_or_new_and_nothing_shows_behind_the_end(void **state)
{
    struct fixture *f = *state;
    unsigned grown = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        open_sim(f, seed);
        make_durable_file(f, 1);
        write_block(f, 1, 'n');
        crash_and_open_again(f);
        uint64_t size = 0;
        assert_int_equal(f->disk->ops->size(f->file, &size), ERR_OK);
        assert_true(size == BLOCK_BYTES || size == 2 * BLOCK_BYTES);
        grown += size == 2 * BLOCK_BYTES;
        if (size == BLOCK_BYTES) {
            write_block(f, 2, 'n');
            uint8_t data[BLOCK_BYTES], zeros[BLOCK_BYTES] = {0};
            assert_int_equal(f->disk->ops->pread(f->file, data, sizeof data, BLOCK_BYTES), ERR_OK);
            assert_memory_equal(data, zeros, sizeof data);
        }
        close_sim(f);
    }
    assert_in_range(grown, SEEDS / 5, SEEDS * 4 / 5);
}

static void names_are_durable_with_their_directory_only(void **state)
{
    struct fixture *f = *state;
    unsigned new_lost = 0, removed_back = 0, dir_lost = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        open_sim(f, seed);
        const struct disk_ops *ops = f->disk->ops;
        make_durable_file(f, 1);
        ops->close(f->file);
        f->file = open_file(f, "/v/kept", DISK_WRITE | DISK_CREATE);
        ops->close(f->file);
        assert_int_equal(ops->remove(f->disk, "/v/f"), ERR_OK);
        assert_int_equal(ops->sync_dir(f->disk, "/v"), ERR_OK);
        assert_int_equal(ops->remove(f->disk, "/v/kept"), ERR_OK);
        f->file = open_file(f, "/v/new", DISK_WRITE | DISK_CREATE);
        assert_int_equal(ops->sync(f->file), ERR_OK); /* of the file: does not help its name */
        ops->close(f->file);
        assert_int_equal(ops->make_dir(f->disk, "/v/d"), ERR_OK);
        f->file = open_file(f, "/v/d/f", DISK_WRITE | DISK_CREATE);
        ops->close(f->file);
        f->file = NULL;
        assert_int_equal(ops->sync_dir(f->disk, "/v/d"), ERR_OK);
        disk_sim_crash(f->sim);

        struct disk_file *file = NULL;
        assert_int_equal(try_open(f, "/v/f", DISK_READ, &file), ERR_NO_SUCH_FILE);
        enum err e = try_open(f, "/v/new", DISK_READ, &f->file);
        new_lost += e == ERR_NO_SUCH_FILE;
        ops->close(TAKE(f->file));
        e = try_open(f, "/v/kept", DISK_READ, &f->file);
        removed_back += e == ERR_OK;
        ops->close(TAKE(f->file));
        /* What a lost directory held is lost with it. */
        e = try_open(f, "/v/d/f", DISK_READ, &f->file);
        dir_lost += e == ERR_NO_SUCH_FILE;
        assert_int_equal(ops->sync_dir(f->disk, "/v/d"), e);
        close_sim(f);
    }
    assert_in_range(new_lost, SEEDS / 5, SEEDS * 4 / 5);
    assert_in_range(removed_back, SEEDS / 5, SEEDS * 4 / 5);
    assert_in_range(dir_lost, SEEDS / 5, SEEDS * 4 / 5);
}

static void handles_and_locks_do_not_outlive_a_crash(void **state)
{
    struct fixture *f = *state;
    open_sim(f, 1);
    make_durable_file(f, 1);
    const struct disk_ops *ops = f->disk->ops;
    assert_int_equal(ops->lock(f->file), ERR_OK);
    disk_sim_crash(f->sim);
    char byte;
    uint64_t size;
    assert_int_equal(ops->pread(f->file, &byte, 1, 0), ERR_IO);
    assert_int_equal(ops->pwrite(f->file, "x", 1, 0), ERR_IO);
    assert_int_equal(ops->sync(f->file), ERR_IO);
    assert_int_equal(ops->allocate(f->file, 0, 1), ERR_IO);
    assert_int_equal(ops->size(f->file, &size), ERR_IO);
    assert_int_equal(ops->lock(f->file), ERR_IO);
    f->other = open_file(f, "/v/f", DISK_WRITE);
    assert_int_equal(ops->lock(f->other), ERR_OK);
}

/* ---- asynchronous ios ---- */

enum { IOS = 8 };

struct counted_io {
    struct disk_io io;
    int runs;
    enum err e;
    uint32_t count;
    int order;
};
static int order_next;

static void note(struct disk_io *io, enum err e, uint32_t count)
{
    struct counted_io *counted = CONTAINER_OF(io, struct counted_io, io);
    counted->runs++;
    counted->e = e;
    counted->count = count;
    counted->order = order_next++;
}

static void run_until(struct fixture *f, const struct counted_io *ios, size_t count)
{
    for (int turns = 0; turns < 1000; turns++) {
        size_t ended = 0;
        for (size_t i = 0; i < count; i++)
            ended += ios[i].runs > 0;
        if (ended == count)
            break;
        loop_run_once(f->loop, 0);
    }
    for (size_t i = 0; i < count; i++)
        assert_int_equal(ios[i].runs, 1);
}

static uint64_t order_of_completion(struct fixture *f, uint64_t seed)
{
    static uint8_t data[BLOCK_BYTES];
    struct counted_io ios[IOS] = {0};
    uint64_t order = 0;
    open_sim(f, seed);
    make_durable_file(f, IOS);
    order_next = 0;
    for (int i = 0; i < IOS; i++)
        f->disk->ops->write(f->file, f->loop, &ios[i].io, data, sizeof data,
                            (uint64_t)i * BLOCK_BYTES, note);
    run_until(f, ios, IOS);
    for (int i = 0; i < IOS; i++)
        order = order * IOS + (uint64_t)ios[i].order;
    close_sim(f);
    return order;
}

static void ios_end_in_an_order_of_chance_that_the_seed_repeats(void **state)
{
    struct fixture *f = *state;
    unsigned different = 0;
    uint64_t first = order_of_completion(f, 0);
    for (uint64_t seed = 0; seed < 20; seed++) {
        uint64_t order = order_of_completion(f, seed);
        assert_int_equal(order, order_of_completion(f, seed));
        different += order != first;
    }
    assert_true(different > 15);
}

static void a_sync_does_not_cover_writes_that_are_still_on_their_way(void **state)
{
    struct fixture *f = *state;
    static uint8_t data[BLOCK_BYTES];
    memset(data, 'n', sizeof data);
    unsigned lost = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct counted_io io[1] = {0};
        open_sim(f, seed);
        make_durable_file(f, 1);
        f->disk->ops->write(f->file, f->loop, &io->io, data, sizeof data, 0, note);
        assert_int_equal(f->disk->ops->sync(f->file), ERR_OK);
        disk_sim_crash(f->sim);
        run_until(f, io, 1); /* its callback still comes */
        assert_int_equal(io->e, ERR_IO);
        assert_int_equal(io->count, 0);
        f->disk->ops->close(f->file);
        f->file = open_file(f, "/v/f", DISK_READ);
        lost += state_of(f, 0) != BLOCK_NEW;
        close_sim(f);
    }
    assert_in_range(lost, SEEDS / 5, SEEDS - 1);
}

static void a_read_that_crosses_a_crash_fails(void **state)
{
    struct fixture *f = *state;
    static uint8_t data[BLOCK_BYTES];
    struct counted_io io[1] = {0};
    open_sim(f, 3);
    make_durable_file(f, 1);
    f->disk->ops->read(f->file, f->loop, &io->io, data, sizeof data, 0, note);
    disk_sim_crash(f->sim);
    run_until(f, io, 1);
    assert_int_equal(io->e, ERR_IO);
}

/* ---- space ---- */

static uint64_t free_blocks(struct fixture *f)
{
    struct disk_space space = {0};
    assert_int_equal(f->disk->ops->space(f->disk, "/v", &space), ERR_OK);
    assert_int_equal(space.total_bytes, CAPACITY_BLOCKS * BLOCK_BYTES);
    return space.free_bytes / BLOCK_BYTES;
}

static void a_full_disk_refuses_to_grow_but_not_to_overwrite(void **state)
{
    struct fixture *f = *state;
    open_sim(f, 1);
    const struct disk_ops *ops = f->disk->ops;
    make_durable_file(f, 4);
    assert_int_equal(free_blocks(f), CAPACITY_BLOCKS - 4);
    assert_int_equal(ops->allocate(f->file, 0, (CAPACITY_BLOCKS + 1) * BLOCK_BYTES), ERR_DISK_FULL);
    assert_int_equal(free_blocks(f), CAPACITY_BLOCKS - 4); /* and took nothing */
    assert_int_equal(ops->allocate(f->file, 0, CAPACITY_BLOCKS * BLOCK_BYTES), ERR_OK);
    assert_int_equal(free_blocks(f), 0);
    write_block(f, 2, 'n');
    write_block(f, CAPACITY_BLOCKS - 1, 'n');
    uint8_t data[BLOCK_BYTES] = {0};
    assert_int_equal(ops->pwrite(f->file, data, sizeof data, CAPACITY_BLOCKS * BLOCK_BYTES),
                     ERR_DISK_FULL);
    uint64_t size = 0;
    assert_int_equal(ops->size(f->file, &size), ERR_OK);
    assert_int_equal(size, CAPACITY_BLOCKS * BLOCK_BYTES);

    struct counted_io io[1] = {0};
    f->other = open_file(f, "/v/more", DISK_WRITE | DISK_CREATE);
    ops->write(f->other, f->loop, &io->io, data, sizeof data, 0, note);
    run_until(f, io, 1);
    assert_int_equal(io->e, ERR_DISK_FULL);

    assert_int_equal(ops->remove(f->disk, "/v/f"), ERR_OK);
    assert_int_equal(free_blocks(f), 0); /* still open */
    ops->close(TAKE(f->file));
    assert_int_equal(free_blocks(f), CAPACITY_BLOCKS);
}

static void a_large_file_is_allocated_sparsely(void **state)
{
    struct fixture *f = *state;
    const uint64_t size = 1ull << 40;
    rand_seeded_init(&f->rand, 1);
    assert_int_equal(disk_sim_open(&(struct disk_sim_options){.capacity_bytes = 2ull << 30,
                                                              .rand = &f->rand.rand},
                                   &f->sim),
                     ERR_OK);
    f->disk = disk_sim_disk(f->sim);
    f->file = open_file(f, "/big", DISK_WRITE | DISK_CREATE);
    assert_int_equal(f->disk->ops->allocate(f->file, 12345, 1 << 30), ERR_OK);
    struct disk_space space = {0};
    assert_int_equal(f->disk->ops->space(f->disk, "/", &space), ERR_OK);
    /* Neither the start nor the end lies on a block's edge: one more is taken. */
    assert_int_equal(space.free_bytes, (2ull << 30) - (1 << 30) - BLOCK_BYTES);
    write_block(f, size / BLOCK_BYTES - 1, 'n');
    uint64_t got = 0;
    assert_int_equal(f->disk->ops->size(f->file, &got), ERR_OK);
    assert_int_equal(got, size);
    assert_int_equal(state_of(f, size / BLOCK_BYTES - 1), BLOCK_NEW);
    disk_sim_crash(f->sim);
}

/* ---- faults ---- */

static enum err list_each(void *context, const char *name)
{
    return ERR_OK;
}

/* Each kind of operation once; the first error is returned. */
static enum err do_everything(struct fixture *f)
{
    const struct disk_ops *ops = f->disk->ops;
    struct disk_space space;
    struct counted_io io[2] = {0};
    static uint8_t data[2][BLOCK_BYTES];
    uint64_t size;
    enum err e = ops->make_dir(f->disk, "/v/d");
    if (e == ERR_OK)
        e = try_open(f, "/v/d/f", DISK_WRITE | DISK_CREATE, &f->file);
    if (e == ERR_OK)
        e = ops->lock(f->file);
    if (e == ERR_OK)
        e = ops->allocate(f->file, 0, 8 * BLOCK_BYTES);
    if (e == ERR_OK)
        e = ops->pwrite(f->file, data, sizeof data, 0);
    if (e == ERR_OK)
        e = ops->pread(f->file, data, sizeof data, 0);
    if (e == ERR_OK) {
        ops->write(f->file, f->loop, &io[0].io, data[0], sizeof data[0], 0, note);
        ops->read(f->file, f->loop, &io[1].io, data[1], sizeof data[1], BLOCK_BYTES, note);
        run_until(f, io, 2);
        e = io[0].e ? io[0].e : io[1].e;
    }
    if (e == ERR_OK)
        e = ops->sync(f->file);
    if (e == ERR_OK)
        e = ops->size(f->file, &size);
    if (e == ERR_OK)
        e = ops->sync_dir(f->disk, "/v/d");
    if (e == ERR_OK)
        e = ops->space(f->disk, "/v", &space);
    if (e == ERR_OK)
        e = ops->list(f->disk, "/v", list_each, NULL);
    return e ? e : ops->remove(f->disk, "/v/d/f");
}

static void each_operation_fails_once_when_told(void **state)
{
    struct fixture *f = *state;
    unsigned nth = 1;
    for (; nth < 100; nth++) {
        open_sim(f, nth);
        disk_sim_fail_nth(f->sim, nth, ERR_CANCELLED); /* one that nothing else here gives */
        assert_false(disk_sim_fault_fired(f->sim));
        enum err e = do_everything(f);
        bool fired = disk_sim_fault_fired(f->sim);
        assert_int_equal(e, fired ? ERR_CANCELLED : ERR_OK);
        close_sim(f);
        if (!fired)
            break;
    }
    assert_int_equal(nth, 15); /* fourteen operations */
}

static void a_disarmed_fault_does_not_fire(void **state)
{
    struct fixture *f = *state;
    open_sim(f, 1);
    disk_sim_fail_nth(f->sim, 3, ERR_IO);
    disk_sim_fail_nth(f->sim, 0, ERR_IO);
    assert_int_equal(do_everything(f), ERR_OK);
    assert_false(disk_sim_fault_fired(f->sim));
}

static void a_failed_write_leaves_whole_blocks_from_its_start(void **state)
{
    struct fixture *f = *state;
    unsigned by_blocks[5] = {0};
    static uint8_t data[4 * BLOCK_BYTES];
    memset(data, 'n', sizeof data);
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        open_sim(f, seed);
        make_durable_file(f, 4);
        disk_sim_fail_nth(f->sim, 1, ERR_IO);
        if (seed % 2) {
            assert_int_equal(f->disk->ops->pwrite(f->file, data, sizeof data, 0), ERR_IO);
        } else {
            struct counted_io io[1] = {0};
            f->disk->ops->write(f->file, f->loop, &io->io, data, sizeof data, 0, note);
            run_until(f, io, 1);
            assert_int_equal(io->e, ERR_IO);
            assert_int_equal(io->count, 0);
        }
        unsigned blocks = 0;
        while (blocks < 4 && state_of(f, blocks) == BLOCK_NEW)
            blocks++;
        by_blocks[blocks]++;
        for (unsigned rest = blocks; rest < 4; rest++)
            assert_int_equal(state_of(f, rest), BLOCK_OLD);
        close_sim(f);
    }
    for (size_t i = 0; i < COUNT_OF(by_blocks); i++)
        assert_true(by_blocks[i] > 0);
}

static void a_failed_sync_makes_nothing_durable(void **state)
{
    struct fixture *f = *state;
    unsigned lost = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        open_sim(f, seed);
        make_durable_file(f, 1);
        write_block(f, 0, 'n');
        disk_sim_fail_nth(f->sim, 1, ERR_IO);
        assert_int_equal(f->disk->ops->sync(f->file), ERR_IO);
        crash_and_open_again(f);
        lost += state_of(f, 0) != BLOCK_NEW;
        close_sim(f);
    }
    assert_true(lost > SEEDS / 5);
}

static void a_flipped_bit_stays_flipped(void **state)
{
    struct fixture *f = *state;
    open_sim(f, 1);
    make_durable_file(f, 2);
    assert_int_equal(disk_sim_flip_bit(f->sim, "/v/f", BLOCK_BYTES + 7, 3), ERR_OK);
    assert_int_equal(disk_sim_flip_bit(f->sim, "/v/f", 2 * BLOCK_BYTES, 0), ERR_INVALID);
    assert_int_equal(disk_sim_flip_bit(f->sim, "/v/none", 0, 0), ERR_NO_SUCH_FILE);
    assert_int_equal(disk_sim_flip_bit(f->sim, "/v", 0, 0), ERR_NO_SUCH_FILE);
    crash_and_open_again(f);
    uint8_t data[2 * BLOCK_BYTES];
    assert_int_equal(f->disk->ops->pread(f->file, data, sizeof data, 0), ERR_OK);
    for (size_t i = 0; i < sizeof data; i++)
        assert_int_equal(data[i], i == BLOCK_BYTES + 7 ? 'o' ^ 8 : 'o');
}

/* ---- threads ---- */

static void *hammer(void *context)
{
    struct fixture *f = context;
    const struct disk_ops *ops = f->disk->ops;
    static _Atomic int thread_next;
    int thread = thread_next++;
    char path[32];
    snprintf(path, sizeof path, "/v/t%d", thread);
    struct disk_file *file = NULL;
    uint8_t data[BLOCK_BYTES];
    uintptr_t errors = ops->open(f->disk, path, DISK_WRITE | DISK_CREATE, &file) != ERR_OK;
    for (int i = 0; i < 200 && errors == 0; i++) {
        memset(data, thread * 31 + i, sizeof data);
        errors += ops->pwrite(file, data, sizeof data, (uint64_t)(i % 4) * BLOCK_BYTES) != ERR_OK;
        errors += ops->sync(file) != ERR_OK;
        memset(data, 0, sizeof data);
        errors += ops->pread(file, data, sizeof data, (uint64_t)(i % 4) * BLOCK_BYTES) != ERR_OK;
        errors += data[100] != (uint8_t)(thread * 31 + i);
    }
    ops->close(file);
    return (void *)errors;
}

static void several_threads_share_a_disk(void **state)
{
    struct fixture *f = *state;
    open_sim(f, 1);
    pthread_t threads[4];
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, f), 0);
    for (size_t i = 0; i < COUNT_OF(threads); i++) {
        void *errors = NULL;
        assert_int_equal(pthread_join(threads[i], &errors), 0);
        assert_null(errors);
    }
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest all[] = {
        TEST(a_crash_keeps_the_synced_and_plays_dice_for_the_rest),
        TEST(an_unsynced_size_is_old_or_new_and_nothing_shows_behind_the_end),
        TEST(names_are_durable_with_their_directory_only),
        TEST(handles_and_locks_do_not_outlive_a_crash),
        TEST(ios_end_in_an_order_of_chance_that_the_seed_repeats),
        TEST(a_sync_does_not_cover_writes_that_are_still_on_their_way),
        TEST(a_read_that_crosses_a_crash_fails),
        TEST(a_full_disk_refuses_to_grow_but_not_to_overwrite),
        TEST(a_large_file_is_allocated_sparsely),
        TEST(each_operation_fails_once_when_told),
        TEST(a_disarmed_fault_does_not_fire),
        TEST(a_failed_write_leaves_whole_blocks_from_its_start),
        TEST(a_failed_sync_makes_nothing_durable),
        TEST(a_flipped_bit_stays_flipped),
        TEST(several_threads_share_a_disk),
    };
    return cmocka_run_group_tests(all, NULL, NULL);
}
