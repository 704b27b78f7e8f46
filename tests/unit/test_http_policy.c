#include "tests/unit/path_fixture.h"

/* What is wanted and required of paths, what that makes of the facts, and that every path tells the
 * truth and the same bytes. */

/* ---- words ---- */

static void policies_are_read_and_written_the_same(void **state)
{
    static const char *const verifies[] = {"off", "cold", "sample:1", "sample:1000", "always"};
    static const char *const bad[] = {
        "",          "sample", "sample:", "sample:0",  "sample:x", "sample:1:2",    "cold:1",
        "sometimes", "alway",  "offf",    "sample:-1", "always:3", "sample:9999999"};
    for (size_t i = 0; i < COUNT_OF(verifies); i++) {
        struct path_policy policy = {0};
        char text[40];
        struct buf out = BUF_ON(text);
        assert_int_equal(path_verify_parse(bytes_of_string(verifies[i]), &policy), ERR_OK);
        path_verify_print(&policy, &out);
        assert_true(bytes_equal(buf_bytes(&out), bytes_of_string(verifies[i])));
    }
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct path_policy policy = {.verify = VERIFY_COLD};
        assert_int_equal(path_verify_parse(bytes_of_string(bad[i]), &policy), ERR_INVALID);
        assert_int_equal(policy.verify, VERIFY_COLD);
    }
    for (uint8_t id = PATH_AUTO; id < PATH_ID_COUNT; id++) {
        uint8_t read = 99;
        assert_int_equal(path_name_parse(bytes_of_string(path_name(id)), &read), ERR_OK);
        assert_int_equal(read, id);
        if (id != PATH_AUTO)
            assert_int_equal(path_of(id)->id, id);
        if (id != PATH_AUTO)
            assert_string_equal(path_of(id)->name, path_name(id));
    }
    for (uint8_t id = PATH_AUTO; id <= PATH_ZEROCOPY; id++) {
        uint8_t read = 99;
        assert_int_equal(path_require_parse(bytes_of_string(path_require_name(id)), &read), ERR_OK);
        assert_int_equal(read, id);
    }
    uint8_t ignored;
    assert_int_equal(path_name_parse(BYTES("sendfiles"), &ignored), ERR_INVALID);
    assert_int_equal(path_name_parse(BYTES("zerocopy"), &ignored), ERR_INVALID);
    assert_int_equal(path_require_parse(BYTES("auto"), &ignored), ERR_INVALID);
}

/* ---- facts and wishes ---- */

#define IN_FILE .size = 100000, .has_fd = true, .has_ring_splice = true

static const struct {
    struct path_facts facts;
    struct path_policy policy;
    const struct path *expected; /* NULL: refused */
    enum path_obstacle obstacle;
} wishes[] = {
    /* wanted: had where possible, otherwise what auto takes, and the reason */
    {{IN_FILE}, {.path = PATH_SENDFILE}, &path_sendfile, OBSTACLE_NONE},
    {{IN_FILE}, {.path = PATH_SPLICE}, &path_splice, OBSTACLE_NONE},
    {{IN_FILE}, {.path = PATH_RING_SPLICE}, &path_ring_splice, OBSTACLE_NONE},
    {{IN_FILE}, {.path = PATH_MMAP}, &path_mmap, OBSTACLE_NONE},
    {{IN_FILE}, {.path = PATH_COPY}, &path_copy, OBSTACLE_NONE},
    {{IN_FILE, .is_hot = true}, {.path = PATH_DIRECT}, &path_direct, OBSTACLE_NONE},
    {{IN_FILE}, {.path = PATH_INLINE}, &path_direct, OBSTACLE_IN_FILE},
    {{.size = 100000, .has_fd = true},
     {.path = PATH_RING_SPLICE},
     &path_direct,
     OBSTACLE_NO_SPLICE},
    {{.size = 100000}, {.path = PATH_SENDFILE}, &path_direct, OBSTACLE_NO_FILE},
    {{.size = 100000}, {.path = PATH_MMAP}, &path_direct, OBSTACLE_NO_FILE},
    {{.size = 100000}, {.path = PATH_COPY}, &path_copy, OBSTACLE_NONE},
    {{.size = 100, .is_inline = true}, {.path = PATH_DIRECT}, &path_inline, OBSTACLE_INLINE},
    {{IN_FILE, .is_hot = true, .tls = PATH_TLS_USER},
     {.path = PATH_SENDFILE},
     &path_copy,
     OBSTACLE_TLS},
    {{IN_FILE, .tls = PATH_TLS_USER}, {.path = PATH_SPLICE}, &path_direct, OBSTACLE_TLS},
    {{IN_FILE, .tls = PATH_TLS_USER}, {.path = PATH_MMAP}, &path_mmap, OBSTACLE_NONE},
    {{IN_FILE, .tls = PATH_TLS_KERNEL}, {.path = PATH_SPLICE}, &path_splice, OBSTACLE_NONE},
    {{.size = 0}, {.path = PATH_SENDFILE}, &path_inline, OBSTACLE_NONE},
    /* required: had, or refused with the reason */
    {{IN_FILE}, {.require = PATH_SENDFILE}, &path_sendfile, OBSTACLE_NONE},
    {{IN_FILE}, {.path = PATH_DIRECT, .require = PATH_MMAP}, &path_mmap, OBSTACLE_NONE},
    {{IN_FILE}, {.require = PATH_INLINE}, NULL, OBSTACLE_IN_FILE},
    {{.size = 100, .is_inline = true}, {.require = PATH_INLINE}, &path_inline, OBSTACLE_NONE},
    {{.size = 100, .is_inline = true}, {.require = PATH_SENDFILE}, NULL, OBSTACLE_INLINE},
    {{.size = 100000}, {.require = PATH_SPLICE}, NULL, OBSTACLE_NO_FILE},
    {{IN_FILE, .tls = PATH_TLS_USER}, {.require = PATH_SENDFILE}, NULL, OBSTACLE_TLS},
    {{IN_FILE, .has_inline_tail = true}, {.require = PATH_SENDFILE}, NULL, OBSTACLE_INLINE_TAIL},
    {{IN_FILE, .has_inline_tail = true}, {.path = PATH_SENDFILE}, &path_sendfile, OBSTACLE_NONE},
    {{.size = 0}, {.require = PATH_SPLICE}, &path_inline, OBSTACLE_NONE},
    /* zerocopy: any that copies nothing, and what is cold is brought in for it */
    {{IN_FILE}, {.require = PATH_ZEROCOPY}, &path_sendfile, OBSTACLE_NONE},
    {{IN_FILE, .is_resident = true}, {.require = PATH_ZEROCOPY}, &path_sendfile, OBSTACLE_NONE},
    {{.size = MIB(1), .has_fd = true}, {.require = PATH_ZEROCOPY}, &path_splice, OBSTACLE_NONE},
    {{IN_FILE}, {.path = PATH_MMAP, .require = PATH_ZEROCOPY}, &path_sendfile, OBSTACLE_NONE},
    {{IN_FILE},
     {.path = PATH_RING_SPLICE, .require = PATH_ZEROCOPY},
     &path_ring_splice,
     OBSTACLE_NONE},
    {{IN_FILE, .sends_zero_copy = true},
     {.path = PATH_DIRECT, .require = PATH_ZEROCOPY},
     &path_direct,
     OBSTACLE_NONE},
    {{.size = 100, .is_inline = true}, {.require = PATH_ZEROCOPY}, NULL, OBSTACLE_INLINE},
    {{IN_FILE, .has_inline_tail = true}, {.require = PATH_ZEROCOPY}, NULL, OBSTACLE_INLINE_TAIL},
    {{.size = 100000}, {.require = PATH_ZEROCOPY}, NULL, OBSTACLE_NO_FILE},
    {{.size = 100000, .sends_zero_copy = true},
     {.require = PATH_ZEROCOPY},
     &path_direct,
     OBSTACLE_NONE},
    {{IN_FILE, .tls = PATH_TLS_USER}, {.require = PATH_ZEROCOPY}, NULL, OBSTACLE_TLS},
    {{IN_FILE, .tls = PATH_TLS_KERNEL, .tls_takes_memory = true},
     {.path = PATH_MMAP, .require = PATH_ZEROCOPY},
     &path_mmap,
     OBSTACLE_NONE},
};

static void wishes_are_held_against_the_facts(void **state)
{
    for (size_t i = 0; i < COUNT_OF(wishes); i++) {
        struct path_choice choice = path_resolve(&wishes[i].facts, &wishes[i].policy);
        struct text_buf why = {0};
        if (choice.path != wishes[i].expected || choice.obstacle != wishes[i].obstacle)
            print_error("row %zu: %s, obstacle %u\n", i, choice.path ? choice.path->name : "none",
                        choice.obstacle);
        assert_ptr_equal(choice.path, wishes[i].expected);
        assert_int_equal(choice.obstacle, wishes[i].obstacle);
        path_explain(&wishes[i].facts, &wishes[i].policy, &why);
        assert_non_null(strstr(why.data, path_choose(&wishes[i].facts)->name));
        assert_int_equal(strstr(why.data, "refused") != NULL, choice.path == NULL);
        if (choice.obstacle != OBSTACLE_NONE)
            assert_non_null(strstr(why.data, path_obstacle_text(choice.obstacle)));
        text_free(&why);
    }
}

static void copies_are_those_of_the_cpu(void **state)
{
    static const struct {
        const struct path *path;
        unsigned by_send, by_zero_copy_send, by_kernel_tls;
    } rows[] = {
        {&path_inline, 1, 1, 1}, {&path_sendfile, 0, 0, 0},    {&path_splice, 0, 0, 0},
        {&path_copy, 2, 2, 1},   {&path_ring_splice, 0, 0, 0}, {&path_direct, 1, 0, 0},
        {&path_mmap, 1, 1, 0},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        assert_int_equal(path_copies(rows[i].path, &(struct path_facts){0}), rows[i].by_send);
        assert_int_equal(path_copies(rows[i].path, &(struct path_facts){.sends_zero_copy = true}),
                         rows[i].by_zero_copy_send);
        assert_int_equal(path_copies(rows[i].path, &(struct path_facts){.tls_takes_memory = true}),
                         rows[i].by_kernel_tls);
    }
}

/* ---- every path, the same bytes ---- */

static const char *const forced[] = {"sendfile", "splice", "ring-splice", "direct", "mmap", "copy"};

/* Asks for a range with headers ("A: b\r\n" each), without judging the answer. */
static void ask(struct client *c, uint64_t from, uint64_t size, const char *headers)
{
    char text[300];
    snprintf(text, sizeof text, "GET /object?%llu-%llur HTTP/1.1\r\nHost: h\r\n%s\r\n",
             (unsigned long long)from, (unsigned long long)size, headers);
    client_say(c, text);
}

static void has_header(const struct response *r, const char *name, const char *value)
{
    char expected[100];
    snprintf(expected, sizeof expected, "\r\n%s: %s\r\n", name, value);
    if (strstr(r->head, expected) == NULL)
        print_error("expected %s: %s in %s\n", name, value, r->head);
    assert_non_null(strstr(r->head, expected));
}

static void get_by(struct client *c, const char *path, uint64_t from, uint64_t size,
                   const char *taken)
{
    char headers[80];
    struct response r;
    snprintf(headers, sizeof headers, "x-sluice-path: %s\r\n", path);
    ask(c, from, size, headers);
    assert_true(client_read(c, &r, true));
    assert_int_equal(r.status, 200);
    assert_int_equal(r.size, size);
    assert_memory_equal(r.body, fake_object->bytes + from, size);
    has_header(&r, "x-sluice-path", taken);
    response_free(&r);
}

static const char *taken_for(const char *path)
{
    bool has_ring_splice = ring_choice != RING_FORCE_POLL;
    return strcmp(path, "ring-splice") != 0 || has_ring_splice ? path : "direct";
}

static void every_path_sends_the_same_bytes(void **state)
{
    struct client c;
    client_open(&c, *state);
    for (size_t p = 0; p < COUNT_OF(forced); p++) {
        bool falls_back = strcmp(taken_for(forced[p]), forced[p]) != 0;
        for (int warm = 0; warm < 2 - falls_back; warm++) {
            if (!warm)
                drop_pages();
            for (size_t i = 0; i < COUNT_OF(ranges); i++)
                get_by(&c, forced[p], ranges[i][0], ranges[i][1], taken_for(forced[p]));
            get_by(&c, forced[p], 0, OBJECT_BYTES, taken_for(forced[p])); /* and its inline tail */
            get_by(&c, forced[p], FILE_BYTES - 1, 2, taken_for(forced[p]));
        }
        get_by(&c, forced[p], FILE_BYTES, TAIL_BYTES, "inline");
    }
    client_close(&c);
}

static void receipts_tell_copies_and_extents(void **state)
{
    static const char *const copies[] = {"0", "0", "0", "1", "1", "2"};
    static const struct {
        uint64_t from, size;
        const char *extents;
    } rows[] = {
        {0, 1, "1"},
        {0, EXTENT_BYTES, "1"},
        {0, EXTENT_BYTES + 1, "2"},
        {EXTENT_BYTES - 1, 2, "2"},
        {EXTENT_BYTES, EXTENT_BYTES, "1"},
        {0, OBJECT_BYTES, "3"},
        {FILE_BYTES - 1, 2, "1"},
        {FILE_BYTES, 1, "0"},
    };
    struct client c;
    client_open(&c, *state);
    for (size_t p = 0; p < COUNT_OF(forced); p++)
        for (size_t i = 0; i < COUNT_OF(rows); i++) {
            char headers[80];
            struct response r;
            bool is_inline = rows[i].from >= FILE_BYTES;
            bool has_tail = rows[i].from + rows[i].size > FILE_BYTES; /* which a send copies */
            const char *told = has_tail && strcmp(copies[p], "0") == 0 ? "1" : copies[p];
            bool falls_back = strcmp(taken_for(forced[p]), forced[p]) != 0;
            snprintf(headers, sizeof headers, "x-sluice-path: %s\r\n", forced[p]);
            ask(&c, rows[i].from, rows[i].size, headers);
            assert_true(client_read(&c, &r, true));
            has_header(&r, "x-sluice-extents", rows[i].extents);
            if (!falls_back)
                has_header(&r, "x-sluice-copies", is_inline ? "1" : told);
            response_free(&r);
        }
    client_close(&c);
}

static void a_receipt_names_who_takes_over_before_the_first_byte(void **state)
{
    static const char *const cached[] = {"sendfile", "splice", "mmap"};
    struct client c;
    client_open(&c, *state);
    never_resident = true; /* what is brought in does not stay: direct serves it all */
    for (size_t i = 0; i < COUNT_OF(cached); i++) {
        int64_t before = counted("sluice_http_path_fallbacks_total{reason=\"not_kept\"} ");
        struct response r;
        char headers[80];
        snprintf(headers, sizeof headers, "x-sluice-path: %s\r\n", cached[i]);
        ask(&c, 0, 3000000, headers);
        assert_true(client_read(&c, &r, true));
        assert_int_equal(r.size, 3000000);
        assert_memory_equal(r.body, fake_object->bytes, 3000000);
        has_header(&r, "x-sluice-path", "direct");
        has_header(&r, "x-sluice-copies", "1");
        has_header(&r, "x-sluice-extents", "2");
        assert_null(strstr(r.head, cached[i])); /* one receipt, not two */
        assert_int_equal(counted("sluice_http_path_fallbacks_total{reason=\"not_kept\"} "),
                         before + 1);
        response_free(&r);
    }
    never_resident = false;
    client_close(&c);
}

static void what_cannot_be_had_is_counted(void **state)
{
    struct client c;
    client_open(&c, *state);
    int64_t in_index = counted("sluice_http_path_fallbacks_total{reason=\"inline\"} ");
    int64_t no_file = counted("sluice_http_path_fallbacks_total{reason=\"no_file\"} ");
    int64_t requests = counted("sluice_http_path_requests_total{path=\"mmap\"} ");
    int64_t bytes = counted("sluice_http_path_bytes_total{path=\"copy\"} ");
    int64_t copied = counted("sluice_http_copied_bytes_total{path=\"copy\"} ");
    get_by(&c, "splice", FILE_BYTES, 100, "inline");
    get_by(&c, "mmap", 0, 100, "mmap");
    get_by(&c, "copy", 0, 70000, "copy");
    fake_object->without_fd = true;
    get_by(&c, "sendfile", 0, 100, "direct");
    get_by(&c, "mmap", 0, 100, "direct");
    assert_int_equal(counted("sluice_http_path_fallbacks_total{reason=\"inline\"} "), in_index + 1);
    assert_int_equal(counted("sluice_http_path_fallbacks_total{reason=\"no_file\"} "), no_file + 2);
    assert_int_equal(counted("sluice_http_path_requests_total{path=\"mmap\"} "), requests + 1);
    assert_int_equal(counted("sluice_http_path_bytes_total{path=\"copy\"} "), bytes + 70000);
    assert_int_equal(counted("sluice_http_copied_bytes_total{path=\"copy\"} "), copied + 140000);
    client_close(&c);
}

/* ---- strict ---- */

static void refused(struct client *c, uint64_t from, uint64_t size, const char *require, int status,
                    enum path_obstacle why)
{
    char headers[80];
    struct response r;
    snprintf(headers, sizeof headers, "x-sluice-require-path: %s\r\n", require);
    ask(c, from, size, headers);
    assert_true(client_read(c, &r, true));
    assert_int_equal(r.status, status);
    assert_non_null(strstr((const char *)r.body, path_obstacle_text(why)));
    assert_non_null(strstr((const char *)r.body, require));
    assert_null(strstr(r.head, "ETag"));
    assert_null(strstr(r.head, "x-sluice-path"));
    assert_false(r.closes); /* nothing is wrong with the connection */
    response_free(&r);
}

static void a_required_path_is_taken_or_refused(void **state)
{
    struct client c;
    struct response r;
    client_open(&c, *state);
    drop_pages();
    static const struct {
        const char *require, *taken;
    } rows[] = {{"zerocopy", "splice"}, {"sendfile", "sendfile"}, {"direct", "direct"},
                {"splice", "splice"},   {"mmap", "mmap"},         {"copy", "copy"}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char headers[80];
        snprintf(headers, sizeof headers, "x-sluice-require-path: %s\r\n", rows[i].require);
        ask(&c, 0, 3000000, headers);
        assert_true(client_read(&c, &r, true));
        assert_int_equal(r.status, 200);
        assert_memory_equal(r.body, fake_object->bytes, 3000000);
        has_header(&r, "x-sluice-path", rows[i].taken);
        response_free(&r);
    }
    int64_t before = counted("sluice_http_path_refused_total{reason=\"inline\"} ");
    refused(&c, FILE_BYTES, 100, "zerocopy", 412, OBSTACLE_INLINE);
    refused(&c, FILE_BYTES, 100, "direct", 412, OBSTACLE_INLINE);
    refused(&c, 0, OBJECT_BYTES, "sendfile", 412, OBSTACLE_INLINE_TAIL);
    refused(&c, 0, 100, "inline", 412, OBSTACLE_IN_FILE);
    never_resident = true; /* what is brought in does not stay */
    refused(&c, 0, 100, "splice", 503, OBSTACLE_NOT_KEPT);
    refused(&c, 0, 100, "mmap", 503, OBSTACLE_NOT_KEPT);
    never_resident = false;
    fake_object->without_fd = true;
    refused(&c, 0, 100, "zerocopy", 412, OBSTACLE_NO_FILE);
    assert_int_equal(counted("sluice_http_path_refused_total{reason=\"inline\"} "), before + 2);
    client_close(&c);
}

/* The first window is there and checked; the second one's pages do not stay. */
static void a_required_path_that_does_not_last_ends_short(void **state)
{
    static const char *const required[] = {"sendfile", "splice", "mmap", "zerocopy"};
    for (size_t i = 0; i < COUNT_OF(required); i++) {
        struct client c;
        struct response r;
        char headers[80];
        client_open(&c, *state);
        drop_pages();
        int64_t cuts = counted("\nsluice_http_path_cut_total ");
        never_resident_from = 1 << 20;
        snprintf(headers, sizeof headers, "x-sluice-require-path: %s\r\n", required[i]);
        ask(&c, 0, 3000000, headers);
        assert_false(client_read(&c, &r, true));
        assert_true(client_is_at_end(&c));
        response_free(&r);
        never_resident_from = 0;
        client_close(&c);
        for (int t = 0; t < 2000 && counted("\nsluice_http_path_cut_total ") == cuts; t++)
            usleep(1000);
        assert_int_equal(counted("\nsluice_http_path_cut_total "), cuts + 1);
    }
}

/* ---- when bytes are checked ---- */

static void get_verified(struct client *c, const char *verify, const char *path, uint64_t size)
{
    char headers[120];
    struct response r;
    snprintf(headers, sizeof headers, "x-sluice-path: %s\r\nx-sluice-verify: %s\r\n", path, verify);
    ask(c, 0, size, headers);
    assert_true(client_read(c, &r, true));
    assert_int_equal(r.status, 200);
    assert_memory_equal(r.body, fake_object->bytes, size);
    has_header(&r, "x-sluice-path", path);
    response_free(&r);
}

static void bytes_are_checked_as_often_as_is_wanted(void **state)
{
    static const char *const paths[] = {"sendfile", "splice", "mmap"};
    for (size_t p = 0; p < COUNT_OF(paths); p++) {
        struct client c;
        client_open(&c, *state);
        drop_pages();
        get_verified(&c, "cold", paths[p], MIB(2)); /* two windows */
        cached_reads = 0;
        for (int i = 0; i < 10; i++)
            get_verified(&c, "cold", paths[p], MIB(2));
        assert_int_equal(cached_reads, 0);
        for (int i = 0; i < 10; i++)
            get_verified(&c, "always", paths[p], MIB(2));
        assert_int_equal(cached_reads, 20);
        cached_reads = 0;
        for (int i = 0; i < 20; i++)
            get_verified(&c, "sample:4", paths[p], MIB(2));
        assert_int_equal(cached_reads, 10);
        client_close(&c);
    }
}

static void bad_pages_are_found_again_when_that_is_wanted(void **state)
{
    struct client c;
    struct response r;
    client_open(&c, *state);
    get_verified(&c, "cold", "sendfile", 10000);
    uint8_t flipped = fake_object->bytes[5000] ^ 1;
    int fd = open(file_path, O_RDWR);
    assert_int_equal(pwrite(fd, &flipped, 1, 5000), 1); /* memory goes bad below a checked page */

    ask(&c, 0, 10000, "x-sluice-path: sendfile\r\n"); /* checked once: trusted */
    assert_true(client_read(&c, &r, true));
    assert_int_equal(r.body[5000], flipped);
    response_free(&r);
    /* Found, and told: the disk says the same here. */
    ask(&c, 0, 10000, "x-sluice-path: sendfile\r\nx-sluice-verify: always\r\n");
    assert_true(client_read(&c, &r, true));
    assert_int_equal(r.status, 500);
    response_free(&r);
    client_close(&c);
    client_open(&c, *state);
    /* And not forgotten: what was found bad is not trusted by those who check but once. */
    ask(&c, 0, 10000, "x-sluice-path: sendfile\r\n");
    assert_true(client_read(&c, &r, true));
    assert_int_equal(r.status, 500);
    response_free(&r);
    client_close(&c);
    client_open(&c, *state);
    static const char *const unchecked[] = {"sendfile", "direct", "copy", "mmap", "splice"};
    for (size_t i = 0; i < COUNT_OF(unchecked); i++) { /* off is off */
        char headers[120];
        snprintf(headers, sizeof headers, "x-sluice-path: %s\r\nx-sluice-verify: off\r\n",
                 unchecked[i]);
        ask(&c, 0, 10000, headers);
        assert_true(client_read(&c, &r, true));
        assert_int_equal(r.status, 200);
        assert_int_equal(r.body[5000], flipped);
        response_free(&r);
    }
    assert_int_equal(pwrite(fd, fake_object->bytes + 5000, 1, 5000), 1);
    assert_int_equal(fsync(fd), 0);
    close(fd);
    client_close(&c);
}

/* ---- clients that leave ---- */

static bool all_ended(void)
{
    return begins == ends;
}

/* At every stage of a response there may be nobody left to read it. What a path holds (a slot, a
 * pipe, a mapping, the plan) is given back all the same: the teardown checks that none is missing.
 */
static void readers_that_leave_take_nothing_along(void **state)
{
    for (size_t p = 0; p < COUNT_OF(forced); p++)
        for (int i = 0; i < 8; i++) {
            struct client c;
            char headers[80], part[60000];
            client_open(&c, *state);
            int small = 65536;
            setsockopt(c.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
            if (i % 2)
                drop_pages();
            snprintf(headers, sizeof headers, "x-sluice-path: %s\r\n", forced[p]);
            ask(&c, 0, OBJECT_BYTES, headers);
            for (int reads = 0; reads < i / 2; reads++)
                assert_true(recv(c.fd, part, sizeof part, 0) != 0);
            usleep((unsigned)i * 100);
            client_close(&c);
        }
    for (int t = 0; t < 5000 && !all_ended(); t++)
        usleep(1000);
    assert_true(all_ended());
    for (size_t p = 0; p < COUNT_OF(forced); p++) { /* and the next ones get their own bytes */
        struct client c;
        if (strcmp(taken_for(forced[p]), forced[p]) != 0)
            continue; /* what is taken instead depends on what the worker has checked before */
        client_open(&c, *state);
        get_by(&c, forced[p], 0, 3000000, forced[p]);
        client_close(&c);
    }
}

/* ---- pipes ---- */

static void pipes_are_bounded_and_never_lent_with_bytes_in_them(void **state)
{
    struct pipes *pipes;
    struct pipe *taken[PIPES_MAX];
    assert_int_equal(pipes_open(&pipes), ERR_OK);
    for (unsigned i = 0; i < PIPES_MAX; i++)
        assert_non_null(taken[i] = pipes_take(pipes));
    assert_null(pipes_take(pipes));
    assert_int_equal(write(taken[0]->in, "left", 4), 4);
    taken[0]->level = 4;
    pipes_put(pipes, taken[0]);
    struct pipe *other = pipes_take(pipes); /* another one, made anew */
    char in[8];
    assert_non_null(other);
    assert_int_equal(other->level, 0);
    assert_int_equal(read(other->out, in, sizeof in), -1);
    assert_int_equal(errno, EAGAIN);
    assert_null(pipes_take(pipes));
    pipes_put(pipes, other);
    for (unsigned i = 1; i < PIPES_MAX; i++)
        pipes_put(pipes, taken[i]);
    assert_int_equal(pipes_in_use(pipes), 0);
    pipes_close(pipes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(policies_are_read_and_written_the_same),
        cmocka_unit_test(wishes_are_held_against_the_facts),
        cmocka_unit_test(copies_are_those_of_the_cpu),
        RUNNING(every_path_sends_the_same_bytes),
        RUNNING(receipts_tell_copies_and_extents),
        RUNNING(a_receipt_names_who_takes_over_before_the_first_byte),
        RUNNING(what_cannot_be_had_is_counted),
        RUNNING(a_required_path_is_taken_or_refused),
        RUNNING(a_required_path_that_does_not_last_ends_short),
        RUNNING(bytes_are_checked_as_often_as_is_wanted),
        RUNNING(bad_pages_are_found_again_when_that_is_wanted),
        RUNNING(readers_that_leave_take_nothing_along),
        cmocka_unit_test(pipes_are_bounded_and_never_lent_with_bytes_in_them),
    };
    return RUN_ON_ALL("policies", tests);
}
