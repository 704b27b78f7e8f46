#include "tests/unit/path_fixture.h"

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
        {{.size = 262143, .has_fd = true, .is_hot = true}, &path_sendfile},
        {{.size = 262144, .has_fd = true, .is_hot = true}, &path_splice},
        {{.size = 262144, .has_fd = true, .is_resident = true}, &path_splice},
        {{.size = 262144, .has_fd = true}, &path_direct},
        {{.size = 262144, .has_fd = true, .is_hot = true, .tls = PATH_TLS_KERNEL}, &path_splice},
        {{.size = 262144, .has_fd = true, .is_hot = true, .tls = PATH_TLS_USER}, &path_copy},
        {{.size = 1ull << 40, .has_fd = true, .is_resident = true, .is_hot = true}, &path_splice},
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

/* Turns a bit of the file over, and puts right bytes back. */
static void damage_file(uint64_t offset)
{
    uint8_t flipped = fake_object->bytes[offset] ^ 1;
    int fd = open(file_path, O_RDWR);
    assert_int_equal(pwrite(fd, &flipped, 1, (off_t)file_offset_of(fake_object, offset)), 1);
    assert_int_equal(fsync(fd), 0);
    close(fd);
}

static enum err repair_file(uint64_t offset)
{
    uint64_t left = FILE_BYTES - offset;
    size_t size = left < SUM_CHUNK_BYTES ? left : SUM_CHUNK_BYTES;
    int fd = open(file_path, O_RDWR);
    ssize_t written =
        pwrite(fd, fake_object->bytes + offset, size, (off_t)file_offset_of(fake_object, offset));
    bool is_good = written == (ssize_t)size && fsync(fd) == 0;
    close(fd);
    return is_good ? ERR_OK : ERR_IO;
}

/* A few of one window, the last chunk, and every chunk of a whole one: each is repaired once, and
 * what is sent is whole. */
static void damaged_bytes_are_repaired_and_then_served(void **state)
{
    static const struct {
        uint64_t first, step;
        int count;
    } rows[] = {{5000, 1, 1},
                {SUM_CHUNK_BYTES - 1, 3 * SUM_CHUNK_BYTES, 4},
                {FILE_BYTES - 1, 1, 1},
                {0, SUM_CHUNK_BYTES, PATH_WINDOW_CHUNKS}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct client c;
        spoil_nothing();
        fake_repair = repair_file;
        for (int n = 0; n < rows[i].count; n++)
            damage_file(rows[i].first + (uint64_t)n * rows[i].step);
        client_open(&c, *state);
        get_range(&c, 0, FILE_BYTES, "", "direct");
        assert_int_equal(repairs_asked, rows[i].count);
        get_range(&c, 0, FILE_BYTES, "", "direct");
        assert_int_equal(repairs_asked, rows[i].count);
        client_close(&c);
    }
}

static enum err repair_in_vain(uint64_t offset)
{
    (void)offset;
    return ERR_OK; /* and the bytes are as bad as before */
}

static void a_disk_that_stays_bad_is_repaired_but_so_often(void **state)
{
    struct client c;
    struct response r;
    fake_repair = repair_in_vain;
    damage_file(70000);
    client_open(&c, *state);
    client_get(&c, "/object?0-200000r", &r);
    assert_int_equal(r.status, 500);
    assert_true(repairs_asked >= 1 && repairs_asked <= (int)PATH_WINDOW_CHUNKS);
    response_free(&r);
    client_close(&c);
    assert_int_equal(repair_file(65536), ERR_OK);
}

static void what_the_disk_does_not_give_back_is_repaired(void **state)
{
    struct client c;
    fake_repair = repair_in_vain;
    client_open(&c, *state);
    failed_reads = 2; /* as if a sector of the second chunk could not be read */
    get_range(&c, 0, 200000, "", "direct");
    assert_int_equal(repairs_asked, 2);
    client_close(&c);
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
        /* Two reads go out at once, and their order is anybody's. */
        assert_true(!is_whole || r.status == 500);
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
        get_range(&c, 0, 3000000, flags[i], i ? "cached" : "direct");
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
    get_range(&c, 0, OBJECT_BYTES, "h", "cached");
    get_range(&c, FILE_BYTES - 10, 20, "h", "cached");
    client_close(&c);
}

/* ---- sendfile ---- */

static void hot_ranges_are_promoted_once_and_then_sent_from_the_cache(void **state)
{
    struct client c;
    client_open(&c, *state);
    drop_pages();
    for (size_t i = 0; i < COUNT_OF(ranges); i++)
        get_range(&c, ranges[i][0], ranges[i][1], "h", "cached");
    int after_first = cached_reads;
    assert_in_range(after_first, 6, 12);
    for (size_t i = 0; i < COUNT_OF(ranges); i++)
        get_range(&c, ranges[i][0], ranges[i][1], "h", "cached");
    assert_int_equal(cached_reads, after_first);
    /* What is there is taken from there, hot or not. */
    for (size_t i = 0; i < COUNT_OF(ranges); i++)
        get_range(&c, ranges[i][0], ranges[i][1], "", "cached");
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
    get_range(&c, 0, 100000, "h", "cached");
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
    get_range(&c, 0, 10000, "h", "cached");
    client_close(&c);
}

static void pages_that_do_not_stay_are_read_directly(void **state)
{
    struct client c;
    client_open(&c, *state);
    never_resident = true;
    int64_t before = counted("sluice_http_path_fallbacks_total{reason=\"not_kept\"} ");
    get_range(&c, 0, 3000000, "h", "direct"); /* though chosen, the cache serves no byte */
    assert_int_equal(counted("sluice_http_path_fallbacks_total{reason=\"not_kept\"} "), before + 1);
    assert_true(direct_reads >= 3);
    client_close(&c);
}

/* ---- a body in several pieces ---- */

static void expect_pieces(struct client *c, const char *pieces, const char *flags, const char *path)
{
    char target[480], expected[60];
    struct response r;
    struct bytes rest = bytes_of_string(pieces), first = rest;
    if (strcmp(path, "cached") == 0) { /* the receipt tells of the first piece */
        struct bytes sizes = bytes_split(&first, ',');
        (void)bytes_split(&sizes, '-');
        path = number(sizes, 0) >= KIB(256) ? "splice" : "sendfile";
    }
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
    static const char *const paths[] = {"direct", "cached", "cached"};
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
    client_mss = 1400; /* a window below loopback's segments is probed by TCP every 0.2 s */
    for (int i = 0; i < READERS; i++) {
        char text[100];
        int small = 262144;
        client_open(&readers[i], f);
        setsockopt(readers[i].fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
        snprintf(text, sizeof text, "GET /object?0-%u%s HTTP/1.1\r\nHost: h\r\n\r\n", FILE_BYTES,
                 i ? "h" : "");
        client_say(&readers[i], text);
    }
    client_mss = 0;
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_choice_follows_the_facts),
        cmocka_unit_test(windows_are_cut_at_chunks),
        cmocka_unit_test(checked_chunks_are_remembered_by_place_and_sum),
        RUNNING(direct_sends_any_range),
        RUNNING(a_file_without_descriptor_is_served_directly),
        RUNNING(a_flipped_bit_is_read_again),
        RUNNING(damaged_bytes_are_repaired_and_then_served),
        RUNNING(a_disk_that_stays_bad_is_repaired_but_so_often),
        RUNNING(what_the_disk_does_not_give_back_is_repaired),
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
    return RUN_ON_ALL("paths", tests);
}
