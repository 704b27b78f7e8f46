/* Forms, tokens, conditions: the pure parts behind the operations, by tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "api/s3/conditions.h"
#include "api/s3/form.h"
#include "api/s3/object_headers.h"
#include "api/s3/token.h"
#include "base/clock.h"

/* ---- forms ---- */

static void boundaries_are_found_in_content_types(void **state)
{
    (void)state;
    static const struct {
        const char *type, *boundary; /* NULL: refused */
    } rows[] = {
        {"multipart/form-data; boundary=abc", "abc"},
        {"multipart/form-data; boundary=\"a b;c\"", "a b;c"},
        {"Multipart/Form-Data; charset=utf-8; Boundary=----x", "----x"},
        {"multipart/form-data", NULL},
        {"multipart/form-data; boundary=", NULL},
        {"multipart/form-data; boundary=\"abc", NULL},
        {"text/plain; boundary=abc", NULL},
        {"multipart/form-data; "
         "boundary=01234567890123456789012345678901234567890123456789012345678901234567890",
         NULL},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct form_delimiter d;
        enum err e = form_delimiter_parse(bytes_of_string(rows[i].type), &d);
        assert_int_equal(e == ERR_OK, rows[i].boundary != NULL);
        if (e)
            continue;
        assert_int_equal(d.size, 4 + strlen(rows[i].boundary));
        assert_memory_equal(d.text, "\r\n--", 4);
        assert_memory_equal(d.text + 4, rows[i].boundary, d.size - 4);
    }
}

#define PART(name, value)                                                                          \
    "--B\r\nContent-Disposition: form-data; name=\"" name "\"\r\n\r\n" value "\r\n"
#define FILE_PART(name)                                                                            \
    "--B\r\ncontent-disposition: form-data; name=\"file\"; filename=\"" name                       \
    "\"\r\nContent-Type: text/x\r\n\r\n"

static struct form_delimiter delimiter_b(void)
{
    struct form_delimiter d;
    assert_int_equal(form_delimiter_parse(BYTES("multipart/form-data; boundary=B"), &d), ERR_OK);
    return d;
}

static void fields_are_read_up_to_the_file(void **state)
{
    (void)state;
    struct form_delimiter d = delimiter_b();
    struct form_head head;
    struct bytes form = BYTES(PART("key", "a/${filename}") PART("x", "two\r\nlines")
                                  FILE_PART("C:\\dir\\cat.jpg") "BYTES\r\n--B--\r\n");
    assert_int_equal(form_head_parse(form, &d, &head), ERR_OK);
    assert_int_equal(head.field_count, 2);
    assert_true(bytes_equal(head.fields[0].name, BYTES("key")));
    assert_true(bytes_equal(head.fields[0].value, BYTES("a/${filename}")));
    assert_true(bytes_equal(head.fields[1].value, BYTES("two\r\nlines")));
    assert_true(bytes_equal(head.file_name, BYTES("cat.jpg")));
    assert_memory_equal(form.data + head.file_offset, "BYTES", 5);
    assert_int_equal(form_find_end(form, head.file_offset, &d), head.file_offset + 5);
}

static void forms_that_are_none_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *form;
        enum err e;
    } rows[] = {
        {"", ERR_BAD_SYNTAX},
        {"garbage", ERR_BAD_SYNTAX},
        {"--B", ERR_TOO_SMALL},
        {"--Bx\r\n", ERR_BAD_SYNTAX},
        {"--B--\r\n", ERR_TOO_SMALL},
        {PART("key", "a"), ERR_TOO_SMALL},
        {PART("key", "a") "--B--\r\n", ERR_TOO_SMALL},
        {"--B\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nno end", ERR_TOO_SMALL},
        {"--B\r\nContent-Disposition: attachment; name=\"key\"\r\n\r\na\r\n--B--", ERR_BAD_SYNTAX},
        {"--B\r\nContent-Type: text/plain\r\n\r\na\r\n--B--", ERR_BAD_SYNTAX},
    };
    struct form_delimiter d = delimiter_b();
    struct form_head head;
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        assert_int_equal(form_head_parse(bytes_of_string(rows[i].form), &d, &head), rows[i].e);
    struct text_buf many = {0};
    for (unsigned i = 0; i <= FORM_FIELDS_MAX; i++)
        text_put_string(&many, PART("a", "b"));
    text_put_string(&many, FILE_PART("x") "y\r\n--B--");
    assert_int_equal(form_head_parse(text_bytes(&many), &d, &head), ERR_TOO_LARGE);
    text_free(&many);
    struct text_buf big = {0};
    text_put_string(&big, "--B\r\nContent-Disposition: form-data; name=\"k\"\r\n\r\n");
    for (unsigned i = 0; i < FORM_HEAD_BYTES_MAX; i++)
        text_put_string(&big, "x");
    text_put_string(&big, "\r\n" FILE_PART("x") "y\r\n--B--");
    assert_int_equal(form_head_parse(text_bytes(&big), &d, &head), ERR_TOO_LARGE);
    text_free(&big);
}

/* Wherever the stream is cut, the end is found: in the left part, in the right one, or across. */
static void the_end_is_found_wherever_the_cut_lies(void **state)
{
    (void)state;
    struct form_delimiter d = delimiter_b();
    struct bytes whole = BYTES("some\r\n--file\r\n-\r\n--B--\r\n");
    size_t end = form_find_end(whole, 0, &d);
    assert_int_equal(end, 15);
    for (size_t cut = 0; cut <= whole.size; cut++) {
        struct bytes left = bytes_slice(whole, 0, cut), right = bytes_slice(whole, cut, SIZE_MAX);
        size_t in_left = form_find_end(left, 0, &d), in_right = form_find_end(right, 0, &d);
        size_t begun = form_find_end_across(left, right, &d);
        size_t found = in_left != SIZE_MAX ? in_left : begun > 0 ? cut - begun : cut + in_right;
        assert_int_equal(found, end);
        assert_int_equal(begun > 0, cut > end && cut < end + d.size);
    }
}

/* ---- tokens ---- */

static void tokens_come_back_and_made_up_ones_do_not(void **state)
{
    (void)state;
    char text[TOKEN_TEXT_BYTES], name[KEY_BYTES_MAX], back[KEY_BYTES_MAX];
    size_t size;
    for (size_t i = 0; i < sizeof name; i++)
        name[i] = (char)(i * 7);
    for (size_t n = 0; n <= sizeof name; n += n < 20 ? 1 : 251) {
        struct bytes token = s3_token_make(bytes_of(name, n), text);
        for (size_t i = 0; i < token.size; i++)
            assert_null(memchr("+/=&% ", token.data[i], 6)); /* fit for a query as it is */
        assert_int_equal(s3_token_read(token, back, &size), ERR_OK);
        assert_int_equal(size, n);
        assert_memory_equal(back, name, n);
        for (size_t i = 0; i < token.size && i < 8; i++) {
            text[i] = text[i] == 'A' ? 'B' : 'A';
            enum err e = s3_token_read(token, back, &size);
            assert_int_equal(e, ERR_BAD_SYNTAX);
            (void)s3_token_make(bytes_of(name, n), text);
        }
        assert_int_equal(s3_token_read(bytes_slice(token, 1, SIZE_MAX), back, &size),
                         ERR_BAD_SYNTAX);
    }
    assert_int_equal(s3_token_read(BYTES(""), back, &size), ERR_BAD_SYNTAX);
    assert_int_equal(s3_token_read(BYTES("a b"), back, &size), ERR_BAD_SYNTAX);
    char long_token[4096];
    memset(long_token, 'A', sizeof long_token);
    assert_int_equal(s3_token_read(bytes_of(long_token, sizeof long_token), back, &size),
                     ERR_BAD_SYNTAX);
}

/* ---- conditions ---- */

#define HEX          "0123456789abcdef0123456789abcdef"
#define OTHER        "ffffffffffffffffffffffffffffffff"
#define DATE         "Tue, 24 Nov 2026 09:10:11 GMT"
#define BEFORE       "Tue, 24 Nov 2026 09:10:10 GMT"
#define AFTER        "Tue, 24 Nov 2026 09:10:12 GMT"
#define DATE_SECONDS 1795511411ull

static struct object_info object_of(const char *etag)
{
    struct object_info info = {.mtime_ns = DATE_SECONDS * NS_PER_SECOND + 999};
    assert_true(s3_etag_parse(bytes_of_string(etag), &info.etag));
    return info;
}

static void etags_are_read_and_written(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *shown; /* NULL: none of ours */
    } rows[] = {
        {HEX, "\"" HEX "\""},
        {"\"" HEX "\"", "\"" HEX "\""},
        {" \"" HEX "-12\" ", "\"" HEX "-12\""},
        {"\"" HEX "-10000\"", "\"" HEX "-10000\""},
        {"\"" HEX "-10001\"", NULL},
        {"\"" HEX "-0\"", NULL},
        {"\"" HEX "-\"", NULL},
        {"\"" HEX "x\"", NULL},
        {"\"0123\"", NULL},
        {"", NULL},
        {"*", NULL},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct etag etag;
        char text[ETAG_TEXT_BYTES];
        bool is_ours = s3_etag_parse(bytes_of_string(rows[i].text), &etag);
        assert_int_equal(is_ours, rows[i].shown != NULL);
        if (is_ours)
            assert_true(bytes_equal(s3_etag_text(&etag, text), bytes_of_string(rows[i].shown)));
    }
}

static void reads_are_judged_in_the_rfcs_order(void **state)
{
    (void)state;
    static const struct {
        const char *match, *none_match, *modified, *unmodified;
        enum s3_verdict verdict;
    } rows[] = {
        {NULL, NULL, NULL, NULL, S3_HOLDS},
        {HEX, NULL, NULL, NULL, S3_HOLDS},
        {"*", NULL, NULL, NULL, S3_HOLDS},
        {"\"" OTHER "\", \"" HEX "\"", NULL, NULL, NULL, S3_HOLDS},
        {OTHER, NULL, NULL, NULL, S3_PRECONDITION_FAILED},
        {"nonsense", NULL, NULL, NULL, S3_PRECONDITION_FAILED},
        {NULL, HEX, NULL, NULL, S3_NOT_MODIFIED},
        {NULL, "*", NULL, NULL, S3_NOT_MODIFIED},
        {NULL, "W/\"" HEX "\"", NULL, NULL, S3_NOT_MODIFIED},
        {NULL, OTHER, NULL, NULL, S3_HOLDS},
        {NULL, NULL, BEFORE, NULL, S3_HOLDS},
        {NULL, NULL, DATE, NULL, S3_NOT_MODIFIED},
        {NULL, NULL, AFTER, NULL, S3_NOT_MODIFIED},
        {NULL, NULL, "not a date", NULL, S3_HOLDS},
        {NULL, NULL, NULL, BEFORE, S3_PRECONDITION_FAILED},
        {NULL, NULL, NULL, DATE, S3_HOLDS},
        {NULL, NULL, NULL, "not a date", S3_HOLDS},
        {HEX, NULL, NULL, BEFORE, S3_HOLDS},  /* If-Match silences If-Unmodified-Since */
        {NULL, OTHER, AFTER, NULL, S3_HOLDS}, /* If-None-Match silences If-Modified-Since */
        {NULL, HEX, BEFORE, NULL, S3_NOT_MODIFIED},
        {OTHER, HEX, NULL, NULL, S3_PRECONDITION_FAILED},
    };
    struct object_info info = object_of(HEX);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct s3_read_conditions c = {
            .if_match = bytes_of_string(rows[i].match),
            .if_none_match = bytes_of_string(rows[i].none_match),
            .if_modified_since = bytes_of_string(rows[i].modified),
            .if_unmodified_since = bytes_of_string(rows[i].unmodified),
        };
        assert_int_equal(s3_conditions_read(&c, &info), rows[i].verdict);
    }
    assert_true(s3_if_range_holds((struct bytes){0}, &info));
    assert_true(s3_if_range_holds(BYTES("\"" HEX "\""), &info));
    assert_false(s3_if_range_holds(BYTES("\"" OTHER "\""), &info));
    assert_true(s3_if_range_holds(BYTES(DATE), &info));
    assert_false(s3_if_range_holds(BYTES(BEFORE), &info));
    assert_false(s3_if_range_holds(BYTES("nonsense"), &info));
}

static void writes_are_foreseen_as_they_will_be_judged(void **state)
{
    (void)state;
    static const struct {
        const char *match, *none_match;
        bool any;
        enum err there, absent;
    } rows[] = {
        {NULL, NULL, false, ERR_OK, ERR_OK},
        {NULL, "*", true, ERR_PRECONDITION, ERR_OK},
        {NULL, "\"*\"", true, ERR_PRECONDITION, ERR_OK},
        {NULL, HEX, true, ERR_PRECONDITION, ERR_OK},
        {NULL, OTHER, true, ERR_OK, ERR_OK},
        {"*", NULL, true, ERR_OK, ERR_NO_SUCH_OBJECT},
        {HEX, NULL, true, ERR_OK, ERR_NO_SUCH_OBJECT},
        {OTHER, NULL, true, ERR_PRECONDITION, ERR_NO_SUCH_OBJECT},
        {"nonsense", NULL, true, ERR_PRECONDITION, ERR_NO_SUCH_OBJECT},
    };
    struct object_info info = object_of(HEX);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct conditions c;
        s3_conditions_write(bytes_of_string(rows[i].match), bytes_of_string(rows[i].none_match),
                            &c);
        assert_int_equal(s3_conditions_any(&c), rows[i].any);
        assert_int_equal(s3_conditions_foresee(&c, &info), rows[i].there);
        assert_int_equal(s3_conditions_foresee(&c, NULL), rows[i].absent);
    }
}

/* ---- receipts ---- */

static void receipts_name_each_way_the_copies_came(void **state)
{
    (void)state;
    static const struct {
        struct receipt receipt;
        const char *text;
    } rows[] = {
        {{.synced = true, .replicas_synced = 1, .replicas_wanted = 1},
         "local:fdatasync replicas:1/1"},
        {{.synced = true, .replicas_synced = 3, .replicas_wanted = 3, .by_tcp = true},
         "local:fdatasync replicas:3/3 path:tcp"},
        {{.synced = true, .replicas_synced = 2, .replicas_wanted = 3, .by_rdma = true},
         "local:fdatasync replicas:2/3 path:rdma"},
        {{.synced = true,
          .replicas_synced = 3,
          .replicas_wanted = 3,
          .by_rdma = true,
          .by_tcp = true},
         "local:fdatasync replicas:3/3 path:rdma,tcp"},
        {{.replicas_wanted = 3}, "local:none replicas:0/3"},
        {{.synced = true,
          .replicas_synced = UINT32_MAX,
          .replicas_wanted = UINT32_MAX,
          .by_rdma = true,
          .by_tcp = true},
         "local:fdatasync replicas:4294967295/4294967295 path:rdma,tcp"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char text[RECEIPT_TEXT_BYTES];
        assert_true(
            bytes_equal(s3_receipt_text(&rows[i].receipt, text), bytes_of_string(rows[i].text)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(boundaries_are_found_in_content_types),
        cmocka_unit_test(fields_are_read_up_to_the_file),
        cmocka_unit_test(forms_that_are_none_are_refused),
        cmocka_unit_test(the_end_is_found_wherever_the_cut_lies),
        cmocka_unit_test(tokens_come_back_and_made_up_ones_do_not),
        cmocka_unit_test(etags_are_read_and_written),
        cmocka_unit_test(reads_are_judged_in_the_rfcs_order),
        cmocka_unit_test(writes_are_foreseen_as_they_will_be_judged),
        cmocka_unit_test(receipts_name_each_way_the_copies_came),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
