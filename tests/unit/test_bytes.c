/* Views, parsers and writers: tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/check.h"

static void comparing_is_bytewise_and_shorter_first(void **state)
{
    (void)state;
    assert_true(bytes_compare(BYTES("a"), BYTES("b")) < 0);
    assert_true(bytes_compare(BYTES("a"), BYTES("ab")) < 0);
    assert_true(bytes_compare(BYTES("b"), BYTES("ab")) > 0);
    assert_true(bytes_compare(BYTES("\x7f"), BYTES("\x80")) < 0);
    assert_int_equal(bytes_compare((struct bytes){NULL, 0}, BYTES("")), 0);
    assert_true(bytes_equal_secret(BYTES("abc"), BYTES("abc")));
    assert_false(bytes_equal_secret(BYTES("abc"), BYTES("abd")));
    assert_false(bytes_equal_secret(BYTES("abc"), BYTES("ab")));
}

/* Form fields and percent-decoded text can hold a NUL: it is a byte like any other. */
static void case_is_ignored_in_ascii_alone(void **state)
{
    (void)state;
    assert_true(bytes_equal_nocase(BYTES("Content-MD5"), BYTES("content-md5")));
    assert_false(bytes_equal_nocase(BYTES("a"), BYTES("ab")));
    assert_false(bytes_equal_nocase(BYTES("a\0bz"), BYTES("a\0cz")));
    assert_true(bytes_equal_nocase(BYTES("a\0B"), BYTES("A\0b")));
    assert_false(bytes_equal_nocase(BYTES("\xc3\xa9"), BYTES("\xc3\x89")));
    assert_false(bytes_equal_nocase(BYTES("@[`{"), BYTES("`{@[")));
    assert_true(bytes_start_with_nocase(BYTES("X-Amz-Meta-a"), BYTES("x-amz-meta-")));
    assert_false(bytes_start_with_nocase(BYTES("a\0bc"), BYTES("a\0d")));
    assert_true(bytes_equal_nocase((struct bytes){NULL, 0}, BYTES("")));
}

static void splitting_ends_with_null(void **state)
{
    (void)state;
    struct bytes rest = BYTES("a,,b");
    assert_true(bytes_equal(bytes_split(&rest, ','), BYTES("a")));
    assert_true(bytes_equal(bytes_split(&rest, ','), BYTES("")));
    assert_non_null(rest.data);
    assert_true(bytes_equal(bytes_split(&rest, ','), BYTES("b")));
    assert_null(rest.data);
    rest = BYTES("a,");
    bytes_split(&rest, ',');
    assert_non_null(rest.data);
    assert_int_equal(rest.size, 0);
}

static void finding_and_slicing_stay_inside(void **state)
{
    (void)state;
    assert_int_equal(bytes_find(BYTES("hello"), 0, BYTES("l")), 2);
    assert_int_equal(bytes_find(BYTES("hello"), 3, BYTES("l")), 3);
    assert_int_equal(bytes_find(BYTES("hello"), 4, BYTES("l")), SIZE_MAX);
    assert_int_equal(bytes_find(BYTES("hello"), 9, BYTES("l")), SIZE_MAX);
    assert_int_equal(bytes_find((struct bytes){NULL, 0}, 0, BYTES("l")), SIZE_MAX);
    assert_true(bytes_equal(bytes_slice(BYTES("hello"), 3, 99), BYTES("lo")));
    assert_int_equal(bytes_slice(BYTES("hello"), 9, 1).size, 0);
    assert_true(bytes_equal(bytes_trim(BYTES(" \t a b \t")), BYTES("a b")));
    assert_int_equal(bytes_trim(BYTES("  ")).size, 0);
}

static void numbers_are_decimal_and_bounded(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum err err;
        uint64_t value;
    } rows[] = {
        {"0", ERR_OK, 0},
        {"18446744073709551615", ERR_OK, UINT64_MAX},
        {"18446744073709551616", ERR_TOO_LARGE, 0},
        {"99999999999999999999999", ERR_TOO_LARGE, 0},
        {"", ERR_BAD_SYNTAX, 0},
        {"-1", ERR_BAD_SYNTAX, 0},
        {"+1", ERR_BAD_SYNTAX, 0},
        {" 1", ERR_BAD_SYNTAX, 0},
        {"0x1", ERR_BAD_SYNTAX, 0},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint64_t value = 0;
        assert_int_equal(bytes_to_u64(bytes_of_string(rows[i].text), &value), rows[i].err);
        assert_int_equal(value, rows[i].value);
    }
}

static void utf8_is_strict(void **state)
{
    (void)state;
    static const char *const good[] = {"",
                                       "a",
                                       "\xc3\xa9",
                                       "\xe2\x82\xac",
                                       "\xf0\x9f\x98\x80",
                                       "\xf4\x8f\xbf\xbf",
                                       "\xee\x80\x80"};
    static const char *const bad[] = {
        "\x80",         "\xc3",         "\xc0\xaf",         "\xc1\xbf",
        "\xe0\x80\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80",
        "\xff",         "a\xe2\x82",    "\xf0\x80\x80\x80"};
    for (size_t i = 0; i < COUNT_OF(good); i++)
        assert_true(bytes_is_utf8(bytes_of_string(good[i])));
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_false(bytes_is_utf8(bytes_of_string(bad[i])));
    for (size_t before = 0; before < 20; before++) /* wherever it stands */
        for (size_t i = 0; i < COUNT_OF(bad); i++) {
            char text[64];
            struct buf buf = BUF_ON(text);
            for (size_t j = 0; j < before; j++)
                buf_put_char(&buf, 'a');
            buf_put_string(&buf, bad[i]);
            assert_false(bytes_is_utf8(buf_bytes(&buf)));
            buf.size = before;
            buf_put_string(&buf, "\xe2\x82\xac and more text");
            assert_true(bytes_is_utf8(buf_bytes(&buf)));
        }
}

static void hex_and_base64_go_both_ways(void **state)
{
    (void)state;
    uint8_t bytes[256], back[256];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7 + 3);
    for (size_t size = 0; size <= sizeof bytes; size++) {
        char hex[513], base64[BASE64_SIZE(256) + 1];
        size_t got;
        hex_encode(bytes, size, hex);
        assert_int_equal(hex_decode(bytes_of_string(hex), back, size), ERR_OK);
        assert_memory_equal(back, bytes, size);
        base64_encode(bytes, size, base64);
        assert_int_equal(strlen(base64), BASE64_SIZE(size));
        assert_int_equal(base64_decode(bytes_of_string(base64), back, sizeof back, &got), ERR_OK);
        assert_int_equal(got, size);
        assert_memory_equal(back, bytes, size);
    }
}

static void other_base64_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"A",    "AA",   "AAA",  "A===",     "====", "AA=A",
                                      "AB==", "AAB=", "A-==", "AA==AAAA", "AA= "};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        uint8_t out[16];
        size_t size;
        if (base64_decode(bytes_of_string(bad[i]), out, sizeof out, &size) != ERR_BAD_SYNTAX)
            fail_msg("%s", bad[i]);
    }
    uint8_t two[2];
    size_t size;
    assert_int_equal(base64_decode(BYTES("AAAA"), two, sizeof two, &size), ERR_TOO_LARGE);
    assert_int_equal(hex_decode(BYTES("0g"), two, 1), ERR_BAD_SYNTAX);
    assert_int_equal(hex_decode(BYTES("000"), two, 1), ERR_BAD_SYNTAX);
}

static void a_full_buffer_remembers(void **state)
{
    (void)state;
    char memory[4];
    struct buf buf = BUF_ON(memory);
    buf_put(&buf, BYTES("abcd"));
    assert_false(buf.overflowed);
    buf_put_char(&buf, 'e');
    assert_true(buf.overflowed);
    assert_int_equal(buf.size, 4);
    struct buf second = BUF_ON(memory);
    buf_put_u64(&second, 12345);
    assert_true(second.overflowed);
    assert_memory_equal(memory, "1234", 4);
    struct buf third = BUF_ON(memory);
    buf_printf(&third, "%d", 123);
    assert_false(third.overflowed);
    buf_printf(&third, "%d", 4);
    assert_true(third.overflowed);
}

static void text_grows(void **state)
{
    (void)state;
    struct text_buf text = {0};
    for (unsigned i = 0; i < 10000; i++) {
        text_put_u64(&text, i % 10);
        text_printf(&text, "%s", i % 2 ? "," : ";");
    }
    assert_int_equal(text.size, 20000);
    assert_int_equal(strlen(text.data), 20000);
    assert_memory_equal(text.data, "0;1,2;3,", 8);
    text_free(&text);
    assert_null(text.data);
}

static void integers_have_their_order_of_bytes(void **state)
{
    (void)state;
    uint8_t b[8];
    put_le64(b, 0x0102030405060708ull);
    assert_int_equal(b[0], 8);
    assert_int_equal(get_le64(b), 0x0102030405060708ull);
    put_be64(b, 0x0102030405060708ull);
    assert_int_equal(b[0], 1);
    assert_int_equal(get_be64(b), 0x0102030405060708ull);
    put_be16(b, 0xfffe);
    assert_int_equal(get_be16(b), 0xfffe);
    put_le32(b, 0xdeadbeef);
    assert_int_equal(get_le32(b), 0xdeadbeef);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comparing_is_bytewise_and_shorter_first),
        cmocka_unit_test(case_is_ignored_in_ascii_alone),
        cmocka_unit_test(splitting_ends_with_null),
        cmocka_unit_test(finding_and_slicing_stay_inside),
        cmocka_unit_test(numbers_are_decimal_and_bounded),
        cmocka_unit_test(utf8_is_strict),
        cmocka_unit_test(hex_and_base64_go_both_ways),
        cmocka_unit_test(other_base64_is_refused),
        cmocka_unit_test(a_full_buffer_remembers),
        cmocka_unit_test(text_grows),
        cmocka_unit_test(integers_have_their_order_of_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
