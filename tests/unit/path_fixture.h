/*
 * An object of several extents and a tail in memory on a disk whose reads fail and whose page cache
 * forgets on demand, behind a server (http_fixture.h): what the tests of the data paths share.
 */
#ifndef TESTS_UNIT_PATH_FIXTURE_H
#define TESTS_UNIT_PATH_FIXTURE_H

#include "tests/unit/http_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "api/http/measure.h"
#include "api/http/path.h"
#include "api/http/pipes.h"
#include "api/http/verified.h"
#include "base/metric.h"

/* A file of 5 MiB and a bit in extents of 2 MiB with holes between, and a tail of 3000 bytes in
 * memory. */
#define FILE_BYTES   ((5u << 20) + 12345)
#define TAIL_BYTES   3000u
#define EXTENT_BYTES (2u << 20)
#define OBJECT_BYTES (FILE_BYTES + TAIL_BYTES)

static enum ring_choice ring_choice;
static enum zero_copy_mode zero_copy_mode;
static char dir[64];
static char file_path[80];

/*
 * ---- a disk whose page cache and whose reads are ours to spoil ----
 *
 * What is resident is told by a model, not by the kernel: that may evict any page at any time
 * (where it reclaims cold memory by itself, within seconds), and a test would then see another
 * path.
 */

#define FILE_PAGES_MAX 4096 /* of 4 KiB; the extents lie apart in the file */

static _Atomic bool page_is_resident[FILE_PAGES_MAX];
static struct disk spoiled_disk;
static struct disk_ops spoiled_ops;
static _Atomic int never_resident; /* is_resident() says no */
/* ... of what lies behind this in the file; 0: it does not. */
static _Atomic uint64_t never_resident_from;
static _Atomic int bad_reads;    /* so many direct reads come with a flipped bit */
static _Atomic int failed_reads; /* so many direct reads fail */
static _Atomic int bad_from;     /* after so many good ones */
static _Atomic int direct_reads, cached_reads, residency_asked;

struct spoiled_read {
    struct disk_io io;
    struct disk_io *of;
    disk_done_fn *done;
};

static void spoiled_done(struct disk_io *io, enum err e, uint32_t count)
{
    struct spoiled_read *read = CONTAINER_OF(io, struct spoiled_read, io);
    struct disk_io *of = read->of;
    disk_done_fn *done = read->done;
    bool is_good_yet = bad_from > 0 && atomic_fetch_sub(&bad_from, 1) > 0;
    if (!is_good_yet && bad_reads > 0) {
        atomic_fetch_sub(&bad_reads, 1);
        ((uint8_t *)io->data)[count / 2] ^= 0x10;
    }
    if (!is_good_yet && failed_reads > 0) {
        atomic_fetch_sub(&failed_reads, 1);
        e = ERR_IO, count = 0;
    }
    free(read);
    done(of, e, count);
}

static void set_resident(uint64_t offset, uint64_t size, bool is_resident)
{
    for (uint64_t page = offset / UNIT_BYTES; page * UNIT_BYTES < offset + size; page++) {
        CHECK(page < FILE_PAGES_MAX);
        page_is_resident[page] = is_resident;
    }
}

static void spoiled_read(struct disk_file *file, struct loop *loop, struct disk_io *io, void *data,
                         uint32_t size, uint64_t offset, disk_done_fn *done)
{
    CHECK(size <= SLOT_LARGE_BYTES);
    if (file == fake_object->buffered) {
        atomic_fetch_add(&cached_reads, 1);
        set_resident(offset, size, true);
        disk_real()->ops->read(file, loop, io, data, size, offset, done);
        return;
    }
    CHECK(offset % DISK_ALIGN == 0 && size % DISK_ALIGN == 0 && (uintptr_t)data % DISK_ALIGN == 0);
    atomic_fetch_add(&direct_reads, 1);
    struct spoiled_read *read = calloc(1, sizeof *read);
    read->of = io;
    read->done = done;
    disk_real()->ops->read(file, loop, &read->io, data, size, offset, spoiled_done);
}

static bool spoiled_is_resident(struct disk_file *file, uint64_t offset, uint64_t size)
{
    CHECK(file == fake_object->buffered);
    atomic_fetch_add(&residency_asked, 1);
    bool is_resident =
        !never_resident && (never_resident_from == 0 || offset + size <= never_resident_from);
    for (uint64_t page = offset / UNIT_BYTES; page * UNIT_BYTES < offset + size; page++)
        is_resident &= page_is_resident[page];
    return is_resident;
}

static void spoil_nothing(void)
{
    fake_repair = NULL;
    repairs_asked = 0;
    never_resident_from = 0;
    never_resident = bad_reads = failed_reads = bad_from = direct_reads = cached_reads =
        residency_asked = 0;
    fake_object->loads_due = 0;
    fake_object->load_says = ERR_OK;
    fake_object->without_fd = false;
}

__attribute__((unused)) static void drop_pages(void)
{
    disk_real()->ops->drop_cache(fake_object->buffered, 0, 1u << 30);
    set_resident(0, (uint64_t)FILE_PAGES_MAX * UNIT_BYTES, false);
}

/* ---- fixture ---- */

static void write_file(const struct object *object)
{
    int fd = open(file_path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    for (uint64_t at = 0; at < object->file_size; at += object->extent_size) {
        uint64_t part = object->file_size - at < object->extent_size ? object->file_size - at
                                                                     : object->extent_size;
        assert_int_equal(pwrite(fd, object->bytes + at, part, (off_t)file_offset_of(object, at)),
                         part);
    }
    assert_int_equal(
        ftruncate(fd, (off_t)file_offset_of(object, object->file_size) / UNIT_BYTES * UNIT_BYTES +
                          UNIT_BYTES),
        0);
    assert_int_equal(fsync(fd), 0);
    close(fd);
}

static int make_object(void **state)
{
    struct object *object = calloc(1, sizeof *object);
    object->size = OBJECT_BYTES;
    object->file_size = FILE_BYTES;
    object->extent_size = EXTENT_BYTES;
    object->bytes = malloc(OBJECT_BYTES);
    unsigned seed = 7;
    for (size_t i = 0; i < OBJECT_BYTES; i++)
        object->bytes[i] = (uint8_t)((seed = seed * 1664525 + 1013904223) >> 24);
    size_t chunks = (FILE_BYTES + SUM_CHUNK_BYTES - 1) / SUM_CHUNK_BYTES;
    object->sums = calloc(chunks, sizeof *object->sums);
    for (size_t i = 0; i < chunks; i++) {
        size_t left = FILE_BYTES - i * SUM_CHUNK_BYTES;
        object->sums[i] = xxh3_64(object->bytes + i * SUM_CHUNK_BYTES,
                                  left < SUM_CHUNK_BYTES ? left : SUM_CHUNK_BYTES);
    }
    snprintf(dir, sizeof dir, "/var/tmp/sluice-http-path-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(file_path, sizeof file_path, "%s/file", dir);
    write_file(object);

    spoiled_ops = *disk_real()->ops;
    spoiled_ops.read = spoiled_read;
    spoiled_ops.is_resident = spoiled_is_resident;
    spoiled_disk.ops = &spoiled_ops;
    assert_int_equal(disk_real()->ops->open(disk_real(), file_path, DISK_READ, &object->buffered),
                     ERR_OK);
    enum err e =
        disk_real()->ops->open(disk_real(), file_path, DISK_READ | DISK_DIRECT, &object->direct);
    if (e) /* tmpfs and its like: the path is walked all the same */
        assert_int_equal(disk_real()->ops->open(disk_real(), file_path, DISK_READ, &object->direct),
                         ERR_OK);
    object->buffered->disk = object->direct->disk = &spoiled_disk;
    fake_object = object;
    return 0;
}

static int drop_object(void **state)
{
    struct object *object = TAKE(fake_object);
    disk_real()->ops->close(object->buffered);
    disk_real()->ops->close(object->direct);
    unlink(file_path);
    rmdir(dir);
    free(object->bytes);
    free(object->sums);
    free(object);
    return 0;
}

__attribute__((unused)) static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->ring = ring_choice;
    f->zero_copy = zero_copy_mode;
    *state = f;
    spoil_nothing();
    return 0;
}

__attribute__((unused)) static int set_up_running(void **state)
{
    set_up(state);
    fixture_start(*state);
    return 0;
}

__attribute__((unused)) static int tear_down(void **state)
{
    struct fixture *f = *state;
    fixture_stop(f, 5 * NS_PER_SECOND);
    free(f);
    return 0;
}

/* ---- helpers ---- */

__attribute__((unused)) static int64_t counted(const char *line)
{
    struct text_buf text = {0};
    metric_write_all(&text);
    const char *at = strstr(text.data, line);
    if (at == NULL)
        print_error("no metric %s\n", line);
    assert_non_null(at);
    int64_t value = atoll(at + strlen(line));
    text_free(&text);
    return value;
}

/* "cached": whichever auto takes out of the page cache for that size. */
__attribute__((unused)) static void get_range(struct client *c, uint64_t from, uint64_t size,
                                              const char *flags, const char *path)
{
    char target[100], expected[60];
    struct response r;
    if (strcmp(path, "cached") == 0)
        path = size >= KIB(256) ? "splice" : "sendfile";
    snprintf(target, sizeof target, "/object?%llu-%llu%sr", (unsigned long long)from,
             (unsigned long long)size, flags);
    client_get(c, target, &r);
    assert_int_equal(r.status, 200);
    assert_int_equal(r.size, size);
    if (memcmp(r.body, fake_object->bytes + from, size) != 0)
        print_error("wrong bytes: %llu + %llu %s\n", (unsigned long long)from,
                    (unsigned long long)size, flags);
    assert_memory_equal(r.body, fake_object->bytes + from, size);
    assert_non_null(strstr(r.head, "\r\nETag: \"etag\"\r\n"));
    snprintf(expected, sizeof expected, "\r\nx-sluice-path: %s\r\n", path);
    if (strstr(r.head, expected) == NULL)
        print_error("expected %s, got %s\n", path, r.head);
    assert_non_null(strstr(r.head, expected));
    response_free(&r);
}

__attribute__((unused)) static const uint64_t ranges[][2] = {
    {0, OBJECT_BYTES - TAIL_BYTES},
    {0, 1},
    {0, 1000},
    {0, 65536},
    {0, 65537},
    {65535, 2},
    {65536, 65536},
    {1, 262144},
    {0, 262144},
    {100, 1 << 20},
    {(1 << 20) - 1, 2},
    {EXTENT_BYTES - 1, 2},
    {EXTENT_BYTES - 70000, 140000},
    {EXTENT_BYTES + 4095, 3 << 20},
    {FILE_BYTES - 1, 1},
    {FILE_BYTES - 12345, 12345},
    {FILE_BYTES - 80000, 80000},
    {777777, 3333333},
};

#define RUNNING(test) cmocka_unit_test_setup_teardown(test, set_up_running, tear_down)
#define STOPPED(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

#define RUN_WITH(ring, zero_copy, name, tests)                                                     \
    (ring_choice = (ring), zero_copy_mode = (zero_copy),                                           \
     cmocka_run_group_tests_name(name, tests, make_object, drop_object))

/* On either backend of the ring; and with zero-copy sends, which loopback gets when they are asked
 * for in any case. */
#define RUN_ON_ALL(name, tests)                                                                    \
    ({                                                                                             \
        log_set_level(getenv("HTTP_TEST_LOG") ? LOG_INFO : LOG_ERROR);                             \
        int failed_ = RUN_WITH(RING_AUTO, ZERO_COPY_AUTO, name " on io_uring", tests);             \
        failed_ += RUN_WITH(RING_AUTO, ZERO_COPY_ON, name " with zero-copy sends", tests);         \
        failed_ + RUN_WITH(RING_FORCE_POLL, ZERO_COPY_ON, name " on epoll", tests);                \
    })

#endif
