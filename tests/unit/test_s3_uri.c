/* Targets, percent-coding and queries: tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "api/s3/range.h"
#include "api/s3/uri.h"
#include "base/check.h"

static void targets_split_into_bucket_and_key(void **state)
{
    (void)state;
    static const struct bytes domains[] = {{"s3.example.com", 14}, {"localhost", 9}};
    static const struct {
        const char *path, *host, *bucket, *key;
        enum s3_target_fault fault;
    } rows[] = {
        {"/", "localhost:9000", "", "", S3_TARGET_OK},
        {"/b", "localhost:9000", "b", "", S3_TARGET_OK},
        {"/b/", "localhost:9000", "b", "", S3_TARGET_OK},
        {"/b/k", "127.0.0.1", "b", "k", S3_TARGET_OK},
        {"/b//k", "127.0.0.1", "b", "/k", S3_TARGET_OK},
        {"/b/../k", "127.0.0.1", "b", "../k", S3_TARGET_OK},
        {"/b/a%20b+c%2Fd", "h", "b", "a b+c/d", S3_TARGET_OK},
        {"/b/%C3%A9", "h", "b", "\xc3\xa9", S3_TARGET_OK},
        {"/k/x", "b.s3.example.com", "b", "k/x", S3_TARGET_OK},
        {"/k", "b.c.s3.example.com:9000", "b.c", "k", S3_TARGET_OK},
        {"/b/k", "s3.example.com", "b", "k", S3_TARGET_OK},
        {"/k", "b.LOCALHOST", "b", "k", S3_TARGET_OK},
        {"/b/k", "bs3.example.com", "b", "k", S3_TARGET_OK},
        {"/b/%00", "h", NULL, NULL, S3_TARGET_BAD_URI},
        {"/b/%FF", "h", NULL, NULL, S3_TARGET_BAD_URI},
        {"/b/%ED%A0%80", "h", NULL, NULL, S3_TARGET_BAD_URI},
        {"/b/%C0%AF", "h", NULL, NULL, S3_TARGET_BAD_URI},
        {"/b/%4", "h", NULL, NULL, S3_TARGET_BAD_URI},
        {"/b/%zz", "h", NULL, NULL, S3_TARGET_BAD_URI},
        {"b/k", "h", NULL, NULL, S3_TARGET_BAD_URI},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char text[KEY_BYTES_MAX + 1];
        struct s3_target target;
        enum s3_target_fault fault =
            s3_target_parse(bytes_of_string(rows[i].path), bytes_of_string(rows[i].host), domains,
                            COUNT_OF(domains), text, &target);
        if (fault != rows[i].fault)
            fail_msg("%s: fault %d", rows[i].path, (int)fault);
        if (fault != S3_TARGET_OK)
            continue;
        assert_true(bytes_equal(target.bucket, bytes_of_string(rows[i].bucket)));
        assert_true(bytes_equal(target.key, bytes_of_string(rows[i].key)));
    }
}

/* One domain may lie inside another; the list's order means nothing. */
static void the_longest_domain_is_the_nodes_name(void **state)
{
    (void)state;
    static const struct bytes orders[][2] = {{{"example.com", 11}, {"s3.example.com", 14}},
                                             {{"s3.example.com", 14}, {"example.com", 11}}};
    static const struct {
        const char *host, *bucket, *key;
    } rows[] = {
        {"s3.example.com", "x", "y"},     {"S3.Example.com:9000", "x", "y"},
        {"b.s3.example.com", "b", "x/y"}, {"b.example.com", "b", "x/y"},
        {"example.com", "x", "y"},
    };
    for (size_t order = 0; order < COUNT_OF(orders); order++)
        for (size_t i = 0; i < COUNT_OF(rows); i++) {
            char text[KEY_BYTES_MAX + 1];
            struct s3_target target;
            assert_int_equal(s3_target_parse(BYTES("/x/y"), bytes_of_string(rows[i].host),
                                             orders[order], 2, text, &target),
                             S3_TARGET_OK);
            if (!bytes_equal(target.bucket, bytes_of_string(rows[i].bucket)) ||
                !bytes_equal(target.key, bytes_of_string(rows[i].key)))
                fail_msg("%s, order %zu", rows[i].host, order);
        }
}

static void a_key_has_at_most_1024_bytes(void **state)
{
    (void)state;
    char path[3 + 1026], text[KEY_BYTES_MAX + 1];
    memcpy(path, "/b/", 3);
    memset(path + 3, 'k', 1026);
    struct s3_target target;
    assert_int_equal(s3_target_parse(bytes_of(path, 3 + 1024), BYTES("h"), NULL, 0, text, &target),
                     S3_TARGET_OK);
    assert_int_equal(s3_target_parse(bytes_of(path, 3 + 1025), BYTES("h"), NULL, 0, text, &target),
                     S3_TARGET_KEY_TOO_LONG);
}

static void bucket_names_follow_the_rules(void **state)
{
    (void)state;
    static const char *const good[] = {"abc", "my-bucket", "my.bucket.1", "0ab", "a--b"};
    static const char *const bad[] = {
        "ab",         "Abc",  "a_b",  "-abc",        "abc-",    ".abc",       "abc.",
        "a..b",       "a.-b", "a-.b", "192.168.5.4", "xn--abc", "sthree-abc", "abc-s3alias",
        "abc--ol-s3", "a b",  ""};
    for (size_t i = 0; i < COUNT_OF(good); i++)
        assert_true(s3_bucket_name_is_valid(bytes_of_string(good[i])));
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        if (s3_bucket_name_is_valid(bytes_of_string(bad[i])))
            fail_msg("%s", bad[i]);
    char longest[64];
    memset(longest, 'a', sizeof longest);
    assert_true(s3_bucket_name_is_valid(bytes_of(longest, 63)));
    assert_false(s3_bucket_name_is_valid(bytes_of(longest, 64)));
}

static void queries_are_lists(void **state)
{
    (void)state;
    struct s3_query query;
    struct bytes value;
    assert_int_equal(s3_query_parse(BYTES("uploads&prefix=a%2Fb+c&empty=&&x=1=2"), &query), ERR_OK);
    assert_int_equal(query.count, 4);
    assert_true(s3_query_find(&query, BYTES("uploads"), &value) && value.size == 0 &&
                value.data != NULL);
    assert_true(s3_query_find(&query, BYTES("prefix"), &value) &&
                bytes_equal(value, BYTES("a/b c")));
    assert_true(s3_query_find(&query, BYTES("empty"), &value) && value.size == 0);
    assert_true(s3_query_find(&query, BYTES("x"), &value) && bytes_equal(value, BYTES("1=2")));
    assert_false(s3_query_find(&query, BYTES("Prefix"), &value));
    assert_int_equal(s3_query_parse(BYTES("a=%"), &query), ERR_BAD_SYNTAX);
    assert_int_equal(s3_query_parse(BYTES("a=%00"), &query), ERR_BAD_SYNTAX);
    /* what is told back in XML must be text */
    assert_int_equal(s3_query_parse(BYTES("prefix=%FF"), &query), ERR_BAD_SYNTAX);
    assert_int_equal(s3_query_parse(BYTES("%C3=a"), &query), ERR_BAD_SYNTAX);
    assert_int_equal(s3_query_parse(BYTES("prefix=\xed\xa0\x80"), &query), ERR_BAD_SYNTAX);
    assert_int_equal(s3_query_parse(BYTES("prefix=%C3%A9"), &query), ERR_OK);
    char many[3 * (S3_QUERY_PARAMS_MAX + 1)];
    for (size_t i = 0; i < sizeof many; i++)
        many[i] = i % 3 == 2 ? '&' : 'a';
    assert_int_equal(s3_query_parse(bytes_of(many, sizeof many), &query), ERR_TOO_LARGE);
    char coded[3 * (S3_QUERY_TEXT_BYTES + 1)];
    for (size_t i = 0; i < sizeof coded; i++)
        coded[i] = "%41"[i % 3];
    assert_int_equal(s3_query_parse(bytes_of(coded, sizeof coded), &query), ERR_TOO_LARGE);
    assert_int_equal(s3_query_parse(bytes_of(coded, sizeof coded - 3), &query), ERR_OK);
}

static void encoding_keeps_what_rfc_3986_leaves_unreserved(void **state)
{
    (void)state;
    struct text_buf out = {0};
    uri_encode(BYTES("a-._~/ +\xc3\xa9%"), URI_SLASH_KEPT, &out);
    assert_string_equal(out.data, "a-._~/%20%2B%C3%A9%25");
    text_free(&out);
    uri_encode(BYTES("a/b"), URI_SLASH_ENCODED, &out);
    assert_string_equal(out.data, "a%2Fb");
    text_free(&out);
}

static void ranges_are_read_as_s3_reads_them(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        uint64_t size;
        enum s3_range_kind kind;
        uint64_t offset, length;
    } rows[] = {
        {"bytes=0-0", 10, S3_RANGE_OK, 0, 1},
        {"bytes=0-9", 10, S3_RANGE_OK, 0, 10},
        {"bytes=2-99", 10, S3_RANGE_OK, 2, 8},
        {"bytes=9-", 10, S3_RANGE_OK, 9, 1},
        {"bytes=-3", 10, S3_RANGE_OK, 7, 3},
        {"bytes=-99", 10, S3_RANGE_OK, 0, 10},
        {"bytes=0-99999999999999999999999", 10, S3_RANGE_OK, 0, 10},
        {"bytes=10-", 10, S3_RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=10-11", 10, S3_RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=-0", 10, S3_RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=0-", 0, S3_RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=99999999999999999999999-", 10, S3_RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=5-4", 10, S3_RANGE_NONE, 0, 0},
        {"bytes=", 10, S3_RANGE_NONE, 0, 0},
        {"bytes=-", 10, S3_RANGE_NONE, 0, 0},
        {"bytes=0-1,", 10, S3_RANGE_OK, 0, 2},
        {"bytes= 0-1 ", 10, S3_RANGE_OK, 0, 2},
        {"BYTES=0-1", 10, S3_RANGE_OK, 0, 2},
        {"bytes =0-1", 10, S3_RANGE_NONE, 0, 0},
        {"bytes=0 - 1", 10, S3_RANGE_NONE, 0, 0},
        {"bytes=,,", 10, S3_RANGE_NONE, 0, 0},
        {"bytes=a-b", 10, S3_RANGE_NONE, 0, 0},
        {"items=0-1", 10, S3_RANGE_NONE, 0, 0},
        {"bytes=--1", 10, S3_RANGE_NONE, 0, 0},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct s3_ranges ranges = {0};
        enum s3_range_kind kind =
            s3_ranges_parse(bytes_of_string(rows[i].header), rows[i].size, &ranges);
        struct s3_range range = ranges.at[0];
        if (kind != rows[i].kind || (kind == S3_RANGE_OK) != (ranges.count == 1) ||
            (kind == S3_RANGE_OK &&
             (range.offset != rows[i].offset || range.size != rows[i].length)))
            fail_msg("%s of %d", rows[i].header, (int)rows[i].size);
    }
}

static void several_ranges_keep_their_order_and_overlap_nowhere(void **state)
{
    (void)state;
    static const struct {
        const char *header, *expected; /* of 1000 bytes */
    } rows[] = {
        {"bytes=0-1,3-4", "0-1 3-4"},
        {"bytes=3-4 ,\t0-1", "3-4 0-1"},
        {"bytes=0-0,-1", "0-0 999-999"},
        {"bytes=,0-0,,-1,", "0-0 999-999"},
        {"bytes=0-1,2-3", "0-3"},
        {"bytes=2-3,0-1", "0-3"},
        {"bytes=0-9,5-14", "0-14"},
        {"bytes=0-9,0-9,0-9,0-9", "0-9"},
        {"bytes=10-19,30-39,50-59,15-34", "10-39 50-59"},
        {"bytes=50-59,10-19,30-39,20-29", "50-59 10-39"},
        {"bytes=5-6,50-59,100-,0-", "0-999"},
        {"bytes=0-1,5000-,3-4", "0-1 3-4"},
        {"bytes=5000-,3-4", "3-4"},
        {"bytes=5000-,-0", "416"},
        {"bytes=0-1,4-3", "none"},
        {"bytes=0-1,x", "none"},
        {"bytes=0-1 3-4", "none"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct s3_ranges ranges;
        char got[200] = "none";
        struct buf text = BUF_ON(got);
        enum s3_range_kind kind = s3_ranges_parse(bytes_of_string(rows[i].header), 1000, &ranges);
        if (kind == S3_RANGE_UNSATISFIABLE)
            buf_put_string(&text, "416");
        for (uint32_t j = 0; kind == S3_RANGE_OK && j < ranges.count; j++)
            buf_printf(&text, "%s%d-%d", j > 0 ? " " : "", (int)ranges.at[j].offset,
                       (int)(ranges.at[j].offset + ranges.at[j].size - 1));
        if (kind != S3_RANGE_NONE)
            buf_put_char(&text, '\0');
        assert_string_equal(got, rows[i].expected);
    }
}

static void more_ranges_than_anybody_needs_are_none(void **state)
{
    (void)state;
    struct s3_ranges ranges;
    char text[4096];
    for (unsigned count = S3_RANGES_MAX; count <= S3_RANGES_MAX + 1; count++) {
        struct buf header = BUF_ON(text);
        buf_put_string(&header, "bytes=");
        for (unsigned i = 0; i < count; i++)
            buf_printf(&header, "%u-%u,", 3 * i, 3 * i + 1);
        bool is_few = count <= S3_RANGES_MAX;
        assert_int_equal(s3_ranges_parse(buf_bytes(&header), 1000, &ranges),
                         is_few ? S3_RANGE_OK : S3_RANGE_NONE);
        if (is_few)
            assert_int_equal(ranges.count, count);
    }
}

static void copy_ranges_must_lie_inside(void **state)
{
    (void)state;
    struct s3_range range;
    assert_int_equal(s3_copy_range_parse(BYTES("bytes=1-9"), 10, &range), ERR_OK);
    assert_int_equal(range.offset, 1);
    assert_int_equal(range.size, 9);
    static const char *const bad[] = {"bytes=1-10", "bytes=1-", "bytes=-1", "1-2", "bytes=2-1"};
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_int_equal(s3_copy_range_parse(bytes_of_string(bad[i]), 10, &range), ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(targets_split_into_bucket_and_key),
        cmocka_unit_test(the_longest_domain_is_the_nodes_name),
        cmocka_unit_test(a_key_has_at_most_1024_bytes),
        cmocka_unit_test(bucket_names_follow_the_rules),
        cmocka_unit_test(queries_are_lists),
        cmocka_unit_test(encoding_keeps_what_rfc_3986_leaves_unreserved),
        cmocka_unit_test(ranges_are_read_as_s3_reads_them),
        cmocka_unit_test(several_ranges_keep_their_order_and_overlap_nowhere),
        cmocka_unit_test(more_ranges_than_anybody_needs_are_none),
        cmocka_unit_test(copy_ranges_must_lie_inside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
