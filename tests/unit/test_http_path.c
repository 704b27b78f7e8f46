#include "tests/unit/http_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "api/http/measure.h"
#include "api/http/path.h"
#include "api/http/verified.h"
#include "base/metric.h"

/* A file of 5 MiB and a bit in extents of 2 MiB with holes between, and a tail of 3000 bytes in
 * memory. */
#define FILE_BYTES   ((5u << 20) + 12345)
#define TAIL_BYTES   3000u
#define EXTENT_BYTES (2u << 20)
#define OBJECT_BYTES (FILE_BYTES + TAIL_BYTES)

static enum ring_choice ring_choice;
static char dir[64];
static char file_path[80];

/*
 * ---- a disk whose page cache and whose reads are ours to spoil ----
 *
 * What is resident is told by a model, not by the kernel: that may evict any page at any time (where
 * it reclaims cold memory by itself, within seconds), and a test would then see another path.
 */

#define FILE_PAGES_MAX 4096 /* of 4 KiB; the extents lie apart in the file */

static _Atomic bool page_is_resident[FILE_PAGES_MAX];
static struct disk spoiled_disk;
static struct disk_ops spoiled_ops;
static _Atomic int never_resident; /* is_resident() says no */
static _Atomic int bad_reads;      /* so many direct reads come with a flipped bit */
static _Atomic int failed_reads;   /* so many direct reads fail */
static _Atomic int bad_from;       /* after so many good ones */
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
    bool is_resident = !never_resident;
    for (uint64_t page = offset / UNIT_BYTES; page * UNIT_BYTES < offset + size; page++)
        is_resident &= page_is_resident[page];
    return is_resident;
}

static void spoil_nothing(void)
{
    never_resident = bad_reads = failed_reads = bad_from = direct_reads = cached_reads =
        residency_asked = 0;
    fake_object->loads_due = 0;
    fake_object->load_says = ERR_OK;
    fake_object->without_fd = false;
}

static void drop_pages(void)
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

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->ring = ring_choice;
    *state = f;
    spoil_nothing();
    return 0;
}

static int set_up_running(void **state)
{
    set_up(state);
    fixture_start(*state);
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    fixture_stop(f, 5 * NS_PER_SECOND);
    free(f);
    return 0;
}

/* ---- helpers ---- */

static int64_t counted(const char *line)
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

static void get_range(struct client *c, uint64_t from, uint64_t size, const char *flags,
                      const char *path)
{
    char target[100], expected[60];
    struct response r;
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

static const uint64_t ranges[][2] = {
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

/* ---- choosing ---- */

static void the_choice_follows_the_facts(void **state)
{
    static const struct {
        struct path_facts facts;
        const struct path *expected;
    } rows[] = {
        {{.size = 100, .is_inline = true}, &path_inline},
        {{.size = 100, .is_inline = true, .has_fd = true, .is_hot = true, .is_resident = true},
         &path_inline},
        {{.size = 0, .has_fd = true, .is_hot = true}, &path_inline},
        {{.size = 100, .has_fd = true}, &path_direct},
        {{.size = 100, .has_fd = true, .is_hot = true}, &path_sendfile},
        {{.size = 100, .has_fd = true, .is_resident = true}, &path_sendfile},
        {{.size = 1ull << 40, .has_fd = true, .is_resident = true, .is_hot = true}, &path_sendfile},
        {{.size = 100, .is_resident = true, .is_hot = true}, &path_direct},
        {{.size = 100}, &path_direct},
        {{.size = 100, .has_fd = true, .is_hot = true, .tls = PATH_TLS_KERNEL}, &path_sendfile},
        {{.size = 100, .has_fd = true, .is_hot = true, .tls = PATH_TLS_USER}, &path_copy},
        {{.size = 100, .has_fd = true, .is_resident = true, .tls = PATH_TLS_USER}, &path_copy},
        {{.size = 100, .has_fd = true, .tls = PATH_TLS_USER}, &path_direct},
        {{.size = 100, .is_inline = true, .tls = PATH_TLS_USER}, &path_inline},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        assert_ptr_equal(path_choose(&rows[i].facts), rows[i].expected);
}

static void windows_are_cut_at_chunks(void **state)
{
    static const struct {
        uint64_t offset, size; /* of the span */
        uint32_t slot, from, sent, checked;
    } rows[] = {
        {0, 1, 262144, 0, 1, 65536},
        {0, 262144, 262144, 0, 262144, 262144},
        {0, 262145, 262144, 0, 262144, 262144},
        {5, 262144, 262144, 5, 262139, 262144},
        {65535, 2, 262144, 65535, 2, 131072},
        {65536, 100000, 1048576, 0, 100000, 131072},
        {FILE_BYTES - 12345, 12345, 1048576, 0, 12345, 12345},
        {FILE_BYTES - 1, 1, 262144, 12344, 1, 12345},
        {FILE_BYTES - 70000, 70000, 262144, 7881, 70000, 65536 + 12345},
    };
    struct read_plan plan;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct read_span span;
        struct path_window window;
        read_plan_open(&plan, fake_object, rows[i].offset, rows[i].size);
        assert_int_equal(read_plan_span(&plan, &span), ERR_OK);
        path__window_cut(&window, &span, rows[i].slot);
        assert_int_equal(window.from, rows[i].from);
        assert_int_equal(window.size, rows[i].sent);
        assert_int_equal(window.checked_size, rows[i].checked);
        assert_int_equal(path__window_read_size(&window) % UNIT_BYTES, 0);
        assert_int_equal(read_span_verify(&window.span,
                                          fake_object->bytes + rows[i].offset - rows[i].from,
                                          window.checked_size),
                         ERR_OK);
    }
}

static void checked_chunks_are_remembered_by_place_and_sum(void **state)
{
    struct verified *verified;
    assert_int_equal(verified_open(&verified), ERR_OK);
    struct verified_chunk chunk = {
        .segment = 1, .file_offset = 65536, .sum = 0x1234567890abcdefull};
    assert_false(verified_has(verified, &chunk));
    verified_add(verified, &chunk);
    assert_true(verified_has(verified, &chunk));
    struct verified_chunk others[] = {chunk, chunk, chunk};
    others[0].segment++, others[1].file_offset += 65536, others[2].sum++;
    for (int i = 0; i < 3; i++)
        assert_false(verified_has(verified, &others[i]));
    verified_close(verified);
}

/* ---- direct ---- */

static void direct_sends_any_range(void **state)
{
    struct client c;
    client_open(&c, *state);
    for (size_t i = 0; i < COUNT_OF(ranges); i++)
        get_range(&c, ranges[i][0], ranges[i][1], "", "direct");
    assert_int_equal(cached_reads, 0); /* and nothing of it went into the page cache */
    client_close(&c);
}

static void a_file_without_descriptor_is_served_directly(void **state)
{
    struct client c;
    fake_object->without_fd = true;
    client_open(&c, *state);
    get_range(&c, 1000, 2000000, "h", "direct");
    client_close(&c);
}

static void a_flipped_bit_is_read_again(void **state)
{
    struct client c;
    client_open(&c, *state);
    bad_reads = 2;
    get_range(&c, 0, 1000, "", "direct");
    assert_int_equal(direct_reads, 3);
    client_close(&c);
}

static void bad_bytes_at_the_beginning_are_an_error(void **state)
{
    static const struct {
        _Atomic int *spoil;
        int count;
        enum http_refusal why;
    } rows[] = {{&bad_reads, 3, HTTP_REFUSE_CORRUPT}, {&failed_reads, 1, HTTP_REFUSE_INTERNAL}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct client c;
        struct response r;
        char expected[60];
        client_open(&c, *state);
        *rows[i].spoil = rows[i].count;
        client_get(&c, "/object?0-5000r", &r);
        assert_int_equal(r.status, 500);
        assert_true(r.closes);
        assert_null(strstr(r.head, "ETag"));
        snprintf(expected, sizeof expected, "<Error><Why>%d</Why>", rows[i].why);
        assert_memory_equal(r.body, expected, strlen(expected));
        assert_true(client_is_at_end(&c));
        response_free(&r);
        client_close(&c);
    }
}

/* Each window in turn is bad: what came before it is whole, and the connection ends short of it. */
static void bad_bytes_further_on_end_the_connection_short(void **state)
{
    for (int good = 1; good < 5; good++) {
        struct client c;
        struct response r;
        client_open(&c, *state);
        bad_from = good;
        bad_reads = 1000;
        client_say(&c, "GET /object?0-5000000 HTTP/1.1\r\nHost: h\r\n\r\n");
        bool is_whole = client_read(&c, &r, true);
        assert_true(!is_whole ||
                    r.status == 500); /* two reads go out at once, and their order is anybody's */
        assert_true(client_is_at_end(&c));
        response_free(&r);
        client_close(&c);
        spoil_nothing();
    }
}

static void every_read_of_a_range_may_fail(void **state)
{
    for (int nth = 0; nth < 20; nth++) {
        struct client c;
        struct response r;
        client_open(&c, *state);
        bad_from = nth;
        failed_reads = 1;
        client_say(&c, "GET /object?0-5000000 HTTP/1.1\r\nHost: h\r\n\r\n");
        bool is_whole = client_read(&c, &r, true);
        bool fired = failed_reads == 0;
        assert_int_equal(fired, !is_whole || r.status == 500);
        response_free(&r);
        client_close(&c);
        spoil_nothing();
        if (!fired)
            return;
    }
    fail_msg("the fault fired each time");
}

static void plans_are_loaded_on_the_way(void **state)
{
    struct client c;
    struct response r;
    client_open(&c, *state);
    static const char *const flags[] = {"", "h"};
    for (int i = 0; i < 2; i++) {
        fake_object->loads_due = 1;
        get_range(&c, 0, 3000000, flags[i], i ? "sendfile" : "direct");
        assert_int_equal(fake_object->loads_due, 0);
    }
    fake_object->loads_due = 1;
    fake_object->load_says = ERR_CORRUPT;
    client_get(&c, "/object?0-5000", &r);
    assert_int_equal(r.status, 500);
    response_free(&r);
    client_close(&c);
}

/* ---- inline ---- */

static void bytes_in_memory_are_sent_with_the_head(void **state)
{
    struct client c;
    struct response r;
    client_open(&c, *state);
    get_range(&c, FILE_BYTES, TAIL_BYTES, "", "inline");
    get_range(&c, FILE_BYTES + 100, 200, "h", "inline");
    client_get(&c, "/object?5-0", &r); /* nothing at all */
    assert_int_equal(r.status, 200);
    assert_int_equal(r.size, 0);
    response_free(&r);
    client_close(&c);
}

static void an_inline_tail_follows_on_every_path(void **state)
{
    struct client c;
    client_open(&c, *state);
    get_range(&c, 0, OBJECT_BYTES, "", "direct");
    get_range(&c, FILE_BYTES - 10, 20, "", "direct");
    get_range(&c, 0, OBJECT_BYTES, "h", "sendfile");
    get_range(&c, FILE_BYTES - 10, 20, "h", "sendfile");
    client_close(&c);
}

/* ---- sendfile ---- */

static void hot_ranges_are_promoted_once_and_then_sent_from_the_cache(void **state)
{
    struct client c;
    client_open(&c, *state);
    drop_pages();
    for (size_t i = 0; i < COUNT_OF(ranges); i++)
        get_range(&c, ranges[i][0], ranges[i][1], "h", "sendfile");
    int after_first = cached_reads;
    assert_in_range(after_first, 6, 12);
    for (size_t i = 0; i < COUNT_OF(ranges); i++)
        get_range(&c, ranges[i][0], ranges[i][1], "h", "sendfile");
    assert_int_equal(cached_reads, after_first);
    for (size_t i = 0; i < COUNT_OF(ranges);
         i++) /* what is there is taken from there, hot or not */
        get_range(&c, ranges[i][0], ranges[i][1], "", "sendfile");
    assert_int_equal(cached_reads, after_first);
    assert_int_equal(direct_reads, 0);
    client_close(&c);
}

static void pages_that_nobody_checked_are_not_sent_as_they_are(void **state)
{
    struct client c;
    client_open(&c, *state);
    set_resident(0, FILE_BYTES, true); /* somebody else read the file */
    get_range(&c, 0, 100000, "", "direct");
    get_range(&c, 0, 100000, "h", "sendfile");
    assert_int_equal(cached_reads, 1); /* checked first */
    client_close(&c);
}

static void bad_pages_are_left_to_the_direct_path(void **state)
{
    struct client c;
    client_open(&c, *state);
    uint8_t flipped = fake_object->bytes[5000] ^ 1;
    int fd = open(file_path, O_RDWR);
    /* Spoil the page cache alone: the disk's bytes are put back by direct I/O below it, which would
     * drop the page again; so the sums tell. */
    assert_int_equal(pwrite(fd, &flipped, 1, 5000), 1);
    struct response r;
    client_get(&c, "/object?0-10000h", &r);
    assert_int_equal(r.status, 500); /* through the cache wrong, and from the disk, too */
    response_free(&r);
    assert_int_equal(pwrite(fd, fake_object->bytes + 5000, 1, 5000), 1);
    assert_int_equal(fsync(fd), 0);
    close(fd);
    client_close(&c);
    client_open(&c, *state);
    get_range(&c, 0, 10000, "h", "sendfile");
    client_close(&c);
}

static void pages_that_do_not_stay_are_read_directly(void **state)
{
    struct client c;
    client_open(&c, *state);
    never_resident = true;
    int64_t before = counted("sluice_http_path_fallbacks_total{reason=\"not_kept\"} ");
    get_range(&c, 0, 3000000, "h", "sendfile"); /* begun with it */
    assert_int_equal(counted("sluice_http_path_fallbacks_total{reason=\"not_kept\"} "), before + 1);
    assert_true(direct_reads >= 3);
    client_close(&c);
}

/* ---- a body in several pieces ---- */

static void expect_pieces(struct client *c, const char *pieces, const char *flags, const char *path)
{
    char target[480], expected[60];
    struct response r;
    struct bytes rest = bytes_of_string(pieces);
    snprintf(target, sizeof target, "/pieces?%s;%sr", pieces, flags);
    client_get(c, target, &r);
    assert_int_equal(r.status, 206);
    size_t at = 0;
    while (rest.data != NULL) {
        struct bytes piece = bytes_split(&rest, ',');
        assert_true(at + piece.size + 2 <= r.size);
        assert_memory_equal(r.body + at + 1, piece.data, piece.size);
        at += piece.size + 2;
        struct bytes size_text = piece, from_text = bytes_split(&size_text, '-');
        uint64_t from = number(from_text, 0), size = number(size_text, 0);
        assert_true(at + size <= r.size);
        assert_memory_equal(r.body + at, fake_object->bytes + from, size);
        at += size;
    }
    assert_int_equal(r.size, at);
    snprintf(expected, sizeof expected, "\r\nx-sluice-path: %s\r\n", path);
    assert_non_null(strstr(r.head, expected));
    response_free(&r);
}

static void pieces_follow_each_other_each_on_its_own_path(void **state)
{
    struct client c;
    char tail[60], many[440] = "", all[60];
    client_open(&c, *state);
    snprintf(tail, sizeof tail, "%u-100,0-10,end", FILE_BYTES + 5);
    snprintf(all, sizeof all, "0-%u,0-%u,end", OBJECT_BYTES, OBJECT_BYTES);
    for (unsigned i = 0; i < 30; i++)
        snprintf(many + strlen(many), sizeof many - strlen(many), "%u-3,", (30 - i) * 100000);
    strcat(many, "end");
    static const char *const flags[] = {"", "h", ""};
    static const char *const paths[] = {"direct", "sendfile", "sendfile"};
    for (int i = 0; i < 3; i++) { /* cold, hot, and then what is resident */
        if (i == 0)
            drop_pages();
        expect_pieces(&c, "0-1000,3000000-70000,end", flags[i], paths[i]);
        expect_pieces(&c, "4000000-1000000,0-2000000,end", flags[i], paths[i]);
        expect_pieces(&c, "0-1,0-1,5-0,0-1", flags[i], paths[i]);
        expect_pieces(&c, many, flags[i], paths[i]);
        expect_pieces(&c, tail, flags[i], "inline");
        expect_pieces(&c, "text_alone", flags[i], "inline");
        expect_pieces(&c, all, flags[i], paths[i]);
    }
    client_close(&c);
}

static void the_texts_of_pieces_are_no_bytes_of_a_path(void **state)
{
    static const char line[] = "sluice_http_path_bytes_total{path=\"sendfile\"} ";
    struct client c;
    client_open(&c, *state);
    expect_pieces(&c, "0-1000,3000000-70000,end", "h", "sendfile");
    int64_t before = counted(line);
    expect_pieces(&c, "0-1000,3000000-70000,end", "h", "sendfile");
    get_range(&c, 0, 10, "h", "sendfile"); /* counted only when the one before has been */
    assert_in_range(counted(line), before + 71000, before + 71010);
    client_close(&c);
}

static void every_read_of_pieces_may_fail(void **state)
{
    for (int nth = 0; nth < 20; nth++) {
        struct client c;
        struct response r;
        client_open(&c, *state);
        bad_from = nth;
        failed_reads = 1;
        client_say(&c, "GET /pieces?0-2000000,10-0,3000000-100,4000000-700000,end HTTP/1.1\r\n"
                       "Host: h\r\n\r\n");
        bool is_whole = client_read(&c, &r, true);
        bool fired = failed_reads == 0;
        assert_int_equal(fired, !is_whole || r.status == 500);
        if (is_whole && r.status == 500)
            assert_memory_equal(r.body, "<Error>", 7); /* and no piece's text before it */
        response_free(&r);
        client_close(&c);
        spoil_nothing();
        if (!fired)
            return;
    }
    fail_msg("the fault fired each time");
}

static void plans_of_pieces_are_loaded_on_the_way(void **state)
{
    struct client c;
    client_open(&c, *state);
    for (unsigned due = 1; due < 4; due++) {
        fake_object->loads_due = due;
        expect_pieces(&c, "0-1000,3000000-70000,4000000-2,end", "", "direct");
        assert_int_equal(fake_object->loads_due, 0);
    }
    client_close(&c);
}

/* ---- clients that are slow or leave; memory that is short ---- */

/*
 * Slower than its deadline by far, if progress were judged by what the socket takes; and never
 * standing still. The deadline is longer than TCP's own pauses: a receive buffer that is full drops
 * now and then what comes, and the sender tries again after 0.2, 0.4, 0.8 s.
 */
static void a_reader_may_take_its_time(void **state)
{
    enum { READERS = 2, SLOW_READS = 120, READ_BYTES = 20000 };
    struct fixture *f = *state;
    f->limits = test_limits;
    f->limits.body_timeout_ns = 1500 * NS_PER_MS;
    fixture_start(f);
    struct client readers[READERS];
    size_t sizes[READERS] = {0};
    uint8_t *part = malloc(READ_BYTES);
    for (int i = 0; i < READERS; i++) {
        char text[100];
        int small = 262144;
        client_open(&readers[i], f);
        setsockopt(readers[i].fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
        snprintf(text, sizeof text, "GET /object?0-%u%s HTTP/1.1\r\nHost: h\r\n\r\n", FILE_BYTES,
                 i ? "h" : "");
        client_say(&readers[i], text);
    }
    bool goes_on = true;
    for (int reads = 0; goes_on; reads++) {
        goes_on = false;
        for (int i = 0; i < READERS; i++) {
            if (sizes[i] >= FILE_BYTES)
                continue;
            ssize_t got = recv(readers[i].fd, part, READ_BYTES, 0);
            bool is_interrupted = got < 0 && errno == EINTR; /* see client_more() */
            sizes[i] += got > 0 ? (size_t)got : 0;
            goes_on |= got > 0 || is_interrupted;
        }
        if (reads < SLOW_READS)
            usleep(30000);
    }
    free(part);
    for (int i = 0; i < READERS; i++) {
        assert_in_range(sizes[i], FILE_BYTES, FILE_BYTES + 1000);
        client_close(&readers[i]);
    }
    assert_int_equal(cached_reads, 6); /* waiting does not make windows be promoted again */
}

static bool all_ended(void)
{
    return begins == ends;
}

static void readers_that_leave_or_stall_release_everything(void **state)
{
    struct fixture *f = *state;
    f->limits = test_limits;
    f->limits.body_timeout_ns = 300 * NS_PER_MS;
    fixture_start(f);
    static const char *const flags[] = {"", "h"};
    for (int i = 0; i < 24; i++) {
        struct client c;
        char text[100];
        client_open(&c, f);
        int small = 4096;
        setsockopt(c.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
        snprintf(text, sizeof text, "GET /%s0-%u%s HTTP/1.1\r\nHost: h\r\n\r\n",
                 i % 3 ? "object?" : "pieces?5-4000000,text,", FILE_BYTES, flags[i % 2]);
        client_say(&c, text);
        usleep((unsigned)i * 300);
        if (i < 20) {
            client_close(&c);
        } else { /* stays, and does not read */
            for (int t = 0; t < 3000 && begins != ends; t++)
                usleep(1000);
            assert_int_equal(begins, ends);
            client_close(&c);
        }
    }
    for (int t = 0; t < 2000 && !all_ended(); t++)
        usleep(1000);
    assert_true(all_ended());
}

static void responses_share_a_single_slot(void **state)
{
    struct fixture *f = *state;
    f->large_slots = f->small_slots = WORKERS;
    fixture_start(f);
    enum { CLIENTS = 8 };
    struct client *clients = calloc(CLIENTS, sizeof *clients);
    for (int i = 0; i < CLIENTS; i++) {
        client_open(&clients[i], f);
        client_say(&clients[i], i % 2 ? "GET /object?1000-3000000 HTTP/1.1\r\nHost: h\r\n\r\n"
                                      : "GET /object?1000-3000000h HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    for (int i = 0; i < CLIENTS; i++) {
        struct response r;
        assert_true(client_read(&clients[i], &r, true));
        assert_int_equal(r.status, 200);
        assert_int_equal(r.size, 3000000);
        assert_memory_equal(r.body, fake_object->bytes + 1000, 3000000);
        response_free(&r);
        client_close(&clients[i]);
    }
    free(clients);
}

static void waiting_for_a_slot_ends_with_503(void **state)
{
    struct fixture *f = *state;
    f->large_slots = f->small_slots = WORKERS;
    f->limits = test_limits;
    f->limits.admission_timeout_ns = 100 * NS_PER_MS;
    fixture_start(f);
    enum { CLIENTS = WORKERS * 2 + 4 };
    struct client clients[CLIENTS];
    unsigned busy = 0;
    for (int i = 0; i < CLIENTS; i++) { /* uploads that stop hold the slots */
        client_open(&clients[i], f);
        client_say(&clients[i],
                   "PUT /sink HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nhello");
    }
    usleep(300000);
    for (int i = 0; i < 10; i++) {
        struct client c;
        struct response r;
        client_open(&c, f);
        client_get(&c, "/object?0-1000", &r);
        if (r.status == 503) {
            assert_non_null(strstr(r.head, "Retry-After"));
            busy++;
        } else {
            assert_int_equal(r.status, 200);
        }
        response_free(&r);
        client_close(&c);
    }
    assert_true(busy > 0);
    for (int i = 0; i < CLIENTS; i++)
        client_close(&clients[i]);
}

/* By a drain that has waited long enough: nothing is under way then that would end by itself. */
static void responses_in_line_for_a_slot_can_be_cut(void **state)
{
    struct fixture *f = *state;
    f->large_slots = f->small_slots = WORKERS;
    fixture_start(f);
    enum { UPLOADS = WORKERS * 4, DOWNLOADS = 6 };
    struct client uploads[UPLOADS], downloads[DOWNLOADS];
    for (int i = 0; i < UPLOADS; i++) {
        client_open(&uploads[i], f);
        client_say(&uploads[i],
                   "PUT /sink HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nhello");
    }
    usleep(50000);
    for (int i = 0; i < DOWNLOADS; i++) {
        client_open(&downloads[i], f);
        client_say(&downloads[i], i % 2 ? "GET /object?0-1000 HTTP/1.1\r\nHost: h\r\n\r\n"
                                        : "GET /object?0-1000h HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    usleep(50000);
    fixture_stop(f, 50 * NS_PER_MS);
    for (int i = 0; i < UPLOADS; i++)
        client_close(&uploads[i]);
    for (int i = 0; i < DOWNLOADS; i++)
        client_close(&downloads[i]);
}

#define RUNNING(test) cmocka_unit_test_setup_teardown(test, set_up_running, tear_down)
#define STOPPED(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_choice_follows_the_facts),
        cmocka_unit_test(windows_are_cut_at_chunks),
        cmocka_unit_test(checked_chunks_are_remembered_by_place_and_sum),
        RUNNING(direct_sends_any_range),
        RUNNING(a_file_without_descriptor_is_served_directly),
        RUNNING(a_flipped_bit_is_read_again),
        RUNNING(bad_bytes_at_the_beginning_are_an_error),
        RUNNING(bad_bytes_further_on_end_the_connection_short),
        RUNNING(every_read_of_a_range_may_fail),
        RUNNING(plans_are_loaded_on_the_way),
        RUNNING(bytes_in_memory_are_sent_with_the_head),
        RUNNING(an_inline_tail_follows_on_every_path),
        RUNNING(hot_ranges_are_promoted_once_and_then_sent_from_the_cache),
        RUNNING(pages_that_nobody_checked_are_not_sent_as_they_are),
        RUNNING(bad_pages_are_left_to_the_direct_path),
        RUNNING(pages_that_do_not_stay_are_read_directly),
        RUNNING(pieces_follow_each_other_each_on_its_own_path),
        RUNNING(the_texts_of_pieces_are_no_bytes_of_a_path),
        RUNNING(every_read_of_pieces_may_fail),
        RUNNING(plans_of_pieces_are_loaded_on_the_way),
        STOPPED(a_reader_may_take_its_time),
        STOPPED(readers_that_leave_or_stall_release_everything),
        STOPPED(responses_share_a_single_slot),
        STOPPED(waiting_for_a_slot_ends_with_503),
        STOPPED(responses_in_line_for_a_slot_can_be_cut),
    };
    log_set_level(getenv("HTTP_TEST_LOG") ? LOG_INFO : LOG_ERROR);
    ring_choice = RING_AUTO;
    int failed = cmocka_run_group_tests_name("paths on io_uring", tests, make_object, drop_object);
    ring_choice = RING_FORCE_POLL;
    return failed + cmocka_run_group_tests_name("paths on epoll", tests, make_object, drop_object);
}
