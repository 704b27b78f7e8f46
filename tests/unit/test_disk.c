#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* the four above first: cmocka wants them */
#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/check.h"
#include "base/disk.h"
#include "base/rand.h"

/* What every disk promises, run against the real one (over both rings), the recording one and the
 * simulated one. */

enum disk_kind { REAL_URING, REAL_POLL, RECORD, SIM };

struct fixture {
    enum disk_kind kind;
    struct rand_seeded rand;
    struct loop *loop;
    struct disk_record *record;
    struct disk_sim *sim;
    struct disk *disk;
    char scratch[64]; /* real directory */
    char dir[80];     /* where tests work, on `disk` */
    struct disk_file *file, *other;
    uint8_t *block; /* 64 KiB, aligned */
};
static struct fixture fixture;

#define BLOCK_BYTES 65536u

static char *at(const char *name)
{
    static char paths[4][160];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", fixture.dir, name);
    return path;
}

static int set_up(void **state, enum disk_kind kind)
{
    struct fixture *f = *state = &fixture;
    *f = (struct fixture){.kind = kind};
    rand_seeded_init(&f->rand, 7);
    /* Not /tmp, which may be a tmpfs: where the build runs there is a disk. */
    snprintf(f->scratch, sizeof f->scratch, "./sluice-disk-XXXXXX");
    if (mkdtemp(f->scratch) == NULL || posix_memalign((void **)&f->block, 4096, BLOCK_BYTES))
        return -1;
    struct loop_options options = {.ring_choice = kind == REAL_POLL ? RING_FORCE_POLL : RING_AUTO,
                                   .name = "disk-test"};
    if (loop_open(&options, &f->loop, NULL))
        return -1;
    f->disk = disk_real();
    if (kind == SIM) {
        struct disk_sim_options sim = {.capacity_bytes = 16 << 20, .rand = &f->rand.rand};
        if (disk_sim_open(&sim, &f->sim))
            return -1;
        f->disk = disk_sim_disk(f->sim);
        snprintf(f->dir, sizeof f->dir, "/vol");
    } else {
        snprintf(f->dir, sizeof f->dir, "%.60s/vol", f->scratch);
    }
    if (kind == RECORD) {
        if (disk_record_open(f->disk, &f->record))
            return -1;
        f->disk = disk_record_disk(f->record);
    }
    return f->disk->ops->make_dir(f->disk, f->dir) ? -1 : 0;
}

static int set_up_uring(void **state)
{
    return set_up(state, REAL_URING);
}
static int set_up_poll(void **state)
{
    return set_up(state, REAL_POLL);
}
static int set_up_record(void **state)
{
    return set_up(state, RECORD);
}
static int set_up_sim(void **state)
{
    return set_up(state, SIM);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    f->disk->ops->close(f->file);
    f->disk->ops->close(f->other);
    loop_close(f->loop);
    disk_sim_close(f->sim);
    disk_record_close(f->record);
    char command[160];
    snprintf(command, sizeof command, "rm -rf -- '%s'", f->scratch);
    free(f->block);
    return system(command);
}

static struct disk_file *open_file(struct fixture *f, const char *name, int flags)
{
    struct disk_file *file = NULL;
    assert_int_equal(f->disk->ops->open(f->disk, at(name), flags, &file), ERR_OK);
    return file;
}

/* O_DIRECT where the scratch directory has it: a build tree on tmpfs of an old kernel has not. */
static int direct_if_any(struct fixture *f)
{
    struct disk_probe probe;
    if (f->kind == SIM)
        return DISK_DIRECT;
    assert_int_equal(disk_probe_dir(f->scratch, &probe, NULL), ERR_OK);
    return probe.direct == DISK_DIRECT_REFUSED ? 0 : DISK_DIRECT;
}

static void fill(uint8_t *data, size_t size, uint32_t seed)
{
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)((i * 2654435761u + seed * 97u) >> 8);
}

static void assert_filled(const uint8_t *data, size_t size, uint32_t seed)
{
    for (size_t i = 0; i < size; i++)
        assert_int_equal(data[i], (uint8_t)((i * 2654435761u + seed * 97u) >> 8));
}

struct awaited {
    struct disk_io io;
    int runs;
    enum err e;
    uint32_t count;
};

static void note(struct disk_io *io, enum err e, uint32_t count)
{
    struct awaited *awaited = CONTAINER_OF(io, struct awaited, io);
    assert_false(ring_op_is_pending(&io->op));
    awaited->runs++;
    awaited->e = e;
    awaited->count = count;
}

static void await(struct fixture *f, struct awaited *awaited)
{
    for (int i = 0; i < 500 && awaited->runs == 0; i++)
        loop_run_once(f->loop, 10 * NS_PER_MS);
    assert_int_equal(awaited->runs, 1);
}

static void what_is_written_is_read_back_by_every_way(void **state)
{
    struct fixture *f = *state;
    const struct disk_ops *ops = f->disk->ops;
    f->file = open_file(f, "data", DISK_WRITE | DISK_CREATE | direct_if_any(f));
    f->other = open_file(f, "data", DISK_READ);

    struct awaited put = {0}, got = {0};
    fill(f->block, BLOCK_BYTES, 1);
    ops->write(f->file, f->loop, &put.io, f->block, BLOCK_BYTES, 8192, note);
    assert_int_equal(put.runs, 0); /* never from inside */
    await(f, &put);
    assert_int_equal(put.e, ERR_OK);
    assert_int_equal(put.count, BLOCK_BYTES);

    memset(f->block, 0, BLOCK_BYTES);
    ops->read(f->file, f->loop, &got.io, f->block, BLOCK_BYTES, 8192, note);
    await(f, &got);
    assert_int_equal(got.count, BLOCK_BYTES);
    assert_filled(f->block, BLOCK_BYTES, 1);

    memset(f->block, 0, BLOCK_BYTES);
    assert_int_equal(ops->pread(f->other, f->block, BLOCK_BYTES, 8192), ERR_OK);
    assert_filled(f->block, BLOCK_BYTES, 1);

    fill(f->block, BLOCK_BYTES, 2);
    assert_int_equal(ops->pwrite(f->file, f->block, BLOCK_BYTES, 0), ERR_OK);
    assert_int_equal(ops->sync(f->file), ERR_OK);
    memset(f->block, 0, BLOCK_BYTES);
    got = (struct awaited){0};
    ops->read(f->other, f->loop, &got.io, f->block, BLOCK_BYTES, 0, note);
    await(f, &got);
    assert_filled(f->block, BLOCK_BYTES, 2);
}

static void bytes_at_any_offset_go_through_a_buffered_file(void **state)
{
    struct fixture *f = *state;
    const struct disk_ops *ops = f->disk->ops;
    f->file = open_file(f, "log", DISK_WRITE | DISK_CREATE);
    char text[32] = "";
    assert_int_equal(ops->pwrite(f->file, "hello", 5, 4094), ERR_OK); /* over a block's edge */
    uint64_t size = 0;
    assert_int_equal(ops->size(f->file, &size), ERR_OK);
    assert_int_equal(size, 4099);
    assert_int_equal(ops->pread(f->file, text, 5, 4094), ERR_OK);
    assert_string_equal(text, "hello");
    assert_int_equal(ops->pread(f->file, text, 3, 4000), ERR_OK);
    assert_memory_equal(text, "\0\0\0", 3); /* a hole */
}

static void reads_end_short_only_at_the_end_of_the_file(void **state)
{
    struct fixture *f = *state;
    const struct disk_ops *ops = f->disk->ops;
    f->other = open_file(f, "data", DISK_WRITE | DISK_CREATE);
    fill(f->block, 10000, 3);
    assert_int_equal(ops->pwrite(f->other, f->block, 10000, 0), ERR_OK);
    assert_int_equal(ops->sync(f->other), ERR_OK);
    f->file = open_file(f, "data", DISK_READ | direct_if_any(f));
    static const struct {
        uint64_t offset;
        uint32_t count;
    } rows[] = {{0, 10000}, {8192, 1808}, {12288, 0}, {1 << 20, 0}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct awaited got = {0};
        ops->read(f->file, f->loop, &got.io, f->block, 16384, rows[i].offset, note);
        await(f, &got);
        assert_int_equal(got.e, ERR_OK);
        assert_int_equal(got.count, rows[i].count);
        /* pread gives all or an error. */
        assert_int_equal(ops->pread(f->file, f->block, 16384, rows[i].offset), ERR_CORRUPT);
    }
}

static void many_ios_at_once_all_end(void **state)
{
    enum { MANY = 200 };
    struct fixture *f = *state;
    const struct disk_ops *ops = f->disk->ops;
    f->file = open_file(f, "data", DISK_WRITE | DISK_CREATE);
    static struct awaited ios[MANY];
    static uint64_t values[MANY];
    memset(ios, 0, sizeof ios);
    for (uint64_t i = 0; i < MANY; i++) {
        values[i] = i * i + 1;
        ops->write(f->file, f->loop, &ios[i].io, &values[i], sizeof values[i], i * 5000, note);
    }
    for (int i = 0; i < MANY; i++)
        await(f, &ios[i]);
    memset(ios, 0, sizeof ios);
    memset(values, 0, sizeof values);
    for (uint64_t i = 0; i < MANY; i++)
        ops->read(f->file, f->loop, &ios[i].io, &values[i], sizeof values[i], i * 5000, note);
    for (uint64_t i = 0; i < MANY; i++) {
        await(f, &ios[i]);
        assert_int_equal(ios[i].count, sizeof values[i]);
        assert_int_equal(values[i], i * i + 1);
    }
}

static void allocating_extends_with_zeros_and_takes_space(void **state)
{
    struct fixture *f = *state;
    const struct disk_ops *ops = f->disk->ops;
    struct disk_space before, after;
    f->file = open_file(f, "segment", DISK_WRITE | DISK_CREATE);
    assert_int_equal(ops->space(f->disk, f->dir, &before), ERR_OK);
    assert_true(before.free_bytes <= before.total_bytes);
    assert_int_equal(ops->allocate(f->file, 0, 5 << 20), ERR_OK);
    uint64_t size = 0;
    assert_int_equal(ops->size(f->file, &size), ERR_OK);
    assert_int_equal(size, 5 << 20);
    memset(f->block, 1, BLOCK_BYTES);
    assert_int_equal(ops->pread(f->file, f->block, BLOCK_BYTES, 3 << 20), ERR_OK);
    for (size_t i = 0; i < BLOCK_BYTES; i++)
        assert_int_equal(f->block[i], 0);
    /* Inside nothing changes. */
    assert_int_equal(ops->allocate(f->file, 1 << 20, 1 << 20), ERR_OK);
    assert_int_equal(ops->size(f->file, &size), ERR_OK);
    assert_int_equal(size, 5 << 20);
    assert_int_equal(ops->space(f->disk, f->dir, &after), ERR_OK);
    if (f->kind == SIM) /* others write to a real disk meanwhile */
        assert_int_equal(before.free_bytes - after.free_bytes, 5 << 20);
}

static enum err collect(void *context, const char *name)
{
    char *names = context;
    strcat(strcat(names, name), " ");
    return ERR_OK;
}

static enum err stop_at_once(void *context, const char *name)
{
    ++*(int *)context;
    return ERR_CLOSED;
}

static void names_come_and_go(void **state)
{
    struct fixture *f = *state;
    struct disk *disk = f->disk;
    const struct disk_ops *ops = disk->ops;
    struct disk_file *none = NULL;
    assert_int_equal(ops->open(disk, at("one"), DISK_READ, &none), ERR_NO_SUCH_FILE);
    assert_int_equal(ops->open(disk, at("nodir/one"), DISK_WRITE | DISK_CREATE, &none),
                     ERR_NO_SUCH_FILE);
    f->file = open_file(f, "one", DISK_WRITE | DISK_CREATE);
    assert_int_equal(ops->open(disk, at("one"), DISK_WRITE | DISK_CREATE, &none), ERR_FILE_EXISTS);
    assert_null(none);
    assert_int_equal(ops->make_dir(disk, at("sub")), ERR_OK);
    assert_int_equal(ops->make_dir(disk, at("sub")), ERR_FILE_EXISTS);
    assert_int_equal(ops->make_dir(disk, at("no/sub")), ERR_NO_SUCH_FILE);
    f->other = open_file(f, "sub/two", DISK_WRITE | DISK_CREATE);
    assert_int_equal(ops->sync_dir(disk, f->dir), ERR_OK);
    assert_int_equal(ops->sync_dir(disk, at("no")), ERR_NO_SUCH_FILE);

    char names[64] = "";
    assert_int_equal(ops->list(disk, f->dir, collect, names), ERR_OK);
    assert_true(strcmp(names, "one sub ") == 0 || strcmp(names, "sub one ") == 0);
    int calls = 0;
    assert_int_equal(ops->list(disk, f->dir, stop_at_once, &calls), ERR_CLOSED);
    assert_int_equal(calls, 1);
    assert_int_equal(ops->list(disk, at("no"), collect, names), ERR_NO_SUCH_FILE);

    assert_int_equal(ops->remove(disk, at("one")), ERR_OK);
    assert_int_equal(ops->remove(disk, at("one")), ERR_NO_SUCH_FILE);
    assert_int_equal(ops->open(disk, at("one"), DISK_READ, &none), ERR_NO_SUCH_FILE);
    assert_int_equal(ops->pwrite(f->file, "x", 1, 0), ERR_OK); /* an open file outlives its name */
    names[0] = '\0';
    assert_int_equal(ops->list(disk, at("sub"), collect, names), ERR_OK);
    assert_string_equal(names, "two ");
}

static void a_file_is_locked_by_one_handle(void **state)
{
    struct fixture *f = *state;
    const struct disk_ops *ops = f->disk->ops;
    f->file = open_file(f, "superblock", DISK_WRITE | DISK_CREATE);
    f->other = open_file(f, "superblock", DISK_WRITE);
    assert_int_equal(ops->lock(f->file), ERR_OK);
    assert_int_equal(ops->lock(f->other), ERR_IN_USE);
    ops->close(f->file);
    f->file = NULL;
    assert_int_equal(ops->lock(f->other), ERR_OK);
}

static void a_file_opened_for_reading_is_not_written(void **state)
{
    struct fixture *f = *state;
    const struct disk_ops *ops = f->disk->ops;
    f->other = open_file(f, "data", DISK_WRITE | DISK_CREATE);
    f->file = open_file(f, "data", DISK_READ);
    assert_int_equal(ops->pwrite(f->file, "x", 1, 0), ERR_IO);
    struct awaited put = {0};
    ops->write(f->file, f->loop, &put.io, "x", 1, 0, note);
    await(f, &put);
    assert_int_equal(put.e, ERR_IO);
    assert_int_equal(put.count, 0);
    ops->close(NULL);
}

/* ---- the real one's own ---- */

/* Brings in the pages and keeps them: the kernel may evict what nobody maps at any time. */
static void *hold_pages(struct fixture *f, uint32_t offset, uint32_t size)
{
    void *held =
        mmap(NULL, size, PROT_READ, MAP_SHARED | MAP_LOCKED, f->disk->ops->fd(f->file), offset);
    assert_true(held != MAP_FAILED);
    return held;
}

static void residency_follows_reading_and_dropping(void **state)
{
    struct fixture *f = *state;
    const struct disk_ops *ops = f->disk->ops;
    f->file = open_file(f, "data", DISK_WRITE | DISK_CREATE);
    assert_int_equal(ops->pwrite(f->file, f->block, BLOCK_BYTES, 0), ERR_OK);
    assert_int_equal(ops->sync(f->file), ERR_OK);
    assert_true(ops->fd(f->file) >= 0);
    void *held = hold_pages(f, 0, BLOCK_BYTES);
    assert_true(ops->is_resident(f->file, 0, BLOCK_BYTES));
    assert_true(ops->is_resident(f->file, 5000, 1));
    assert_false(ops->is_resident(f->file, 0, BLOCK_BYTES * 2ull)); /* behind the end nothing is */
    assert_int_equal(munmap(held, BLOCK_BYTES), 0);
    ops->drop_cache(f->file, 0, BLOCK_BYTES);
    struct disk_probe probe;
    assert_int_equal(disk_probe_dir(f->scratch, &probe, NULL), ERR_OK);
    if (strcmp(probe.file_system, "ext4") != 0 && strcmp(probe.file_system, "xfs") != 0)
        skip(); /* a tmpfs drops nothing */
    assert_false(ops->is_resident(f->file, 0, BLOCK_BYTES));
    assert_int_equal(ops->pread(f->file, f->block, 4096, 8192), ERR_OK);
    held = hold_pages(f, 8192, 4096);
    assert_true(ops->is_resident(f->file, 8192, 4096));
    assert_false(ops->is_resident(f->file, 0, BLOCK_BYTES));
    assert_int_equal(munmap(held, 4096), 0);
}

static void the_record_tells_what_was_asked_in_order(void **state)
{
    struct fixture *f = *state;
    const struct disk_ops *ops = f->disk->ops;
    f->file = open_file(f, "data", DISK_WRITE | DISK_CREATE | direct_if_any(f));
    struct awaited put = {0};
    assert_int_equal(ops->allocate(f->file, 0, 1 << 20), ERR_OK);
    ops->write(f->file, f->loop, &put.io, f->block, 4096, 8192, note);
    await(f, &put);
    assert_int_equal(ops->sync(f->file), ERR_OK);
    assert_int_equal(ops->sync_dir(f->disk, f->dir), ERR_OK);
    assert_int_equal(ops->remove(f->disk, at("data")), ERR_OK);

    static const struct disk_event expected[] = {
        {DISK_EVENT_OPEN, "data", 0, 0},        {DISK_EVENT_ALLOCATE, "data", 0, 1 << 20},
        {DISK_EVENT_WRITE, "data", 8192, 4096}, {DISK_EVENT_SYNC, "data", 0, 0},
        {DISK_EVENT_SYNC_DIR, "", 0, 0},        {DISK_EVENT_REMOVE, "data", 0, 0},
    };
    const struct disk_event *events = NULL;
    size_t count = disk_record_events(f->record, &events);
    assert_int_equal(count, COUNT_OF(expected));
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(events[i].kind, expected[i].kind);
        assert_string_equal(events[i].path, expected[i].path[0] ? at(expected[i].path) : f->dir);
        assert_int_equal(events[i].offset, expected[i].offset);
        assert_int_equal(events[i].size, expected[i].size);
    }
    assert_int_equal(events[2].direct, direct_if_any(f) != 0);
}

static void the_probe_judges_and_leaves_nothing_behind(void **state)
{
    struct fixture *f = *state;
    struct disk_probe probe = {0};
    struct err_trail trail = {0};
    static const char *const dirs[] = {".", "/dev/shm", "/tmp"};
    for (size_t i = 0; i < COUNT_OF(dirs); i++) {
        if (access(dirs[i], W_OK) != 0)
            continue;
        assert_int_equal(disk_probe_dir(dirs[i], &probe, &trail), ERR_OK);
        assert_true(strlen(probe.reason) > 10);
        assert_true(probe.align_bytes > 0 && 4096 % probe.align_bytes == 0);
        if (strcmp(probe.file_system, "ext4") == 0 || strcmp(probe.file_system, "xfs") == 0)
            assert_int_equal(probe.direct, DISK_DIRECT_REAL);
        /* Before Linux 6.6 it refuses, since then it pretends. */
        if (strcmp(probe.file_system, "tmpfs") == 0)
            assert_int_not_equal(probe.direct, DISK_DIRECT_REAL);
    }
    assert_int_equal(disk_probe_dir(f->scratch, &probe, &trail), ERR_OK);
    char names[64] = "";
    assert_int_equal(f->disk->ops->list(f->disk, f->scratch, collect, names), ERR_OK);
    assert_string_equal(names, "vol ");
    assert_int_equal(disk_probe_dir("./no-such-dir", &probe, &trail), ERR_NO_SUCH_FILE);
    assert_non_null(strstr(err_trail_text(&trail, ERR_NO_SUCH_FILE), "no-such-dir"));
}

#define EVERY(test)                                                                                \
    {"real, io_uring: " #test, test, set_up_uring, tear_down, NULL},                               \
        {"real, epoll: " #test, test, set_up_poll, tear_down, NULL},                               \
        {"record: " #test, test, set_up_record, tear_down, NULL},                                  \
    {                                                                                              \
        "sim: " #test, test, set_up_sim, tear_down, NULL                                           \
    }

int main(void)
{
    const struct CMUnitTest all[] = {
        EVERY(what_is_written_is_read_back_by_every_way),
        EVERY(bytes_at_any_offset_go_through_a_buffered_file),
        EVERY(reads_end_short_only_at_the_end_of_the_file),
        EVERY(many_ios_at_once_all_end),
        EVERY(allocating_extends_with_zeros_and_takes_space),
        EVERY(names_come_and_go),
        EVERY(a_file_is_locked_by_one_handle),
        EVERY(a_file_opened_for_reading_is_not_written),
        cmocka_unit_test_setup_teardown(residency_follows_reading_and_dropping, set_up_uring,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_record_tells_what_was_asked_in_order, set_up_record,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_probe_judges_and_leaves_nothing_behind, set_up_uring,
                                        tear_down),
    };
    return cmocka_run_group_tests(all, NULL, NULL);
}
