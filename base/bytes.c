#include "base/bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"

/* ---- views ---- */

/* Not strncasecmp(): it ends at a NUL, which is a byte like any other in a form's field, and asks
 * the locale. */
static bool letters_are_equal(const char *a, const char *b, size_t size)
{
    if (memcmp(a, b, size) == 0)
        return true;
    for (size_t i = 0; i < size; i++) {
        if (a[i] == b[i])
            continue;
        char lower = (char)(a[i] | 0x20);
        if ((a[i] ^ b[i]) != 0x20 || lower < 'a' || lower > 'z')
            return false;
    }
    return true;
}

bool bytes__equal_letters(struct bytes a, struct bytes b)
{
    return letters_are_equal(a.data, b.data, a.size);
}

bool bytes_equal_secret(struct bytes a, struct bytes b)
{
    if (a.size != b.size)
        return false;
    unsigned char difference = 0;
    for (size_t i = 0; i < a.size; i++)
        difference |= (unsigned char)(a.data[i] ^ b.data[i]);
    return difference == 0;
}

int bytes_compare(struct bytes a, struct bytes b)
{
    size_t common = a.size < b.size ? a.size : b.size;
    int order = common > 0 ? memcmp(a.data, b.data, common) : 0;
    if (order != 0)
        return order;
    return a.size < b.size ? -1 : a.size > b.size;
}

bool bytes_end_with(struct bytes whole, struct bytes suffix)
{
    return whole.size >= suffix.size &&
           (suffix.size == 0 ||
            memcmp(whole.data + whole.size - suffix.size, suffix.data, suffix.size) == 0);
}

size_t bytes_find(struct bytes whole, size_t from, struct bytes part)
{
    if (from > whole.size)
        return SIZE_MAX;
    if (part.size == 0)
        return from;
    if (whole.size == 0)
        return SIZE_MAX;
    const char *at = memmem(whole.data + from, whole.size - from, part.data, part.size);
    return at != NULL ? (size_t)(at - whole.data) : SIZE_MAX;
}

struct bytes bytes_trim(struct bytes whole)
{
    while (whole.size > 0 && (*whole.data == ' ' || *whole.data == '\t'))
        whole.data++, whole.size--;
    while (whole.size > 0 &&
           (whole.data[whole.size - 1] == ' ' || whole.data[whole.size - 1] == '\t'))
        whole.size--;
    return whole;
}

enum err bytes_to_u64(struct bytes text, uint64_t *ret_value)
{
    if (text.size == 0)
        return ERR_BAD_SYNTAX;
    uint64_t value = 0;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return ERR_BAD_SYNTAX;
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(text.data[i] - '0'), &value))
            return ERR_TOO_LARGE;
    }
    *ret_value = value;
    return ERR_OK;
}

/* Length of the UTF-8 sequence at `p`, 0 when it is not one (RFC 3629, table of section 4). */
static size_t utf8_sequence(const unsigned char *p, size_t left)
{
    if (p[0] < 0x80)
        return 1;
    size_t length = p[0] >= 0xc2 && p[0] <= 0xdf   ? 2
                    : (p[0] & 0xf0) == 0xe0        ? 3
                    : p[0] >= 0xf0 && p[0] <= 0xf4 ? 4
                                                   : 0;
    if (length == 0 || length > left)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f))
        return 0; /* overlong; surrogate */
    if ((p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0; /* overlong; beyond U+10FFFF */
    return length;
}

bool bytes_is_utf8(struct bytes text)
{
    for (size_t i = 0; i < text.size;) {
        if (text.size - i >= 8 && (get_le64(text.data + i) & 0x8080808080808080ull) == 0) {
            i += 8; /* ASCII, as most of most keys */
            continue;
        }
        size_t length = utf8_sequence((const unsigned char *)text.data + i, text.size - i);
        if (length == 0)
            return false;
        i += length;
    }
    return true;
}

/* ---- hex and base64 ---- */

/* A digit's value and 16, so that what is none is 0. */
#define DIGIT 16
static const uint8_t hex_digits[256] = {
    ['0'] = DIGIT,      ['1'] = DIGIT + 1,  ['2'] = DIGIT + 2,  ['3'] = DIGIT + 3,
    ['4'] = DIGIT + 4,  ['5'] = DIGIT + 5,  ['6'] = DIGIT + 6,  ['7'] = DIGIT + 7,
    ['8'] = DIGIT + 8,  ['9'] = DIGIT + 9,  ['a'] = DIGIT + 10, ['b'] = DIGIT + 11,
    ['c'] = DIGIT + 12, ['d'] = DIGIT + 13, ['e'] = DIGIT + 14, ['f'] = DIGIT + 15,
    ['A'] = DIGIT + 10, ['B'] = DIGIT + 11, ['C'] = DIGIT + 12, ['D'] = DIGIT + 13,
    ['E'] = DIGIT + 14, ['F'] = DIGIT + 15,
};

enum err hex_decode(struct bytes hex, void *out, size_t out_size)
{
    if (hex.size != 2 * out_size)
        return ERR_BAD_SYNTAX;
    uint8_t *to = out;
    uint8_t all = DIGIT;
    for (size_t i = 0; i < out_size; i++) {
        uint8_t high = hex_digits[(uint8_t)hex.data[2 * i]];
        uint8_t low = hex_digits[(uint8_t)hex.data[2 * i + 1]];
        all &= high & low;
        to[i] = (uint8_t)(high << 4 | (low & 15));
    }
    return all ? ERR_OK : ERR_BAD_SYNTAX;
}

/* Four bytes to eight digits at once: each signature takes 160 of them. */
static uint64_t hex_of_four(uint32_t bytes)
{
    uint64_t each = (bytes | (uint64_t)bytes << 16) & 0x0000ffff0000ffffull; /* two bytes a half */
    each = (each | each << 8) & 0x00ff00ff00ff00ffull;                       /* one a quarter */
    uint64_t nibbles = (each >> 4 & 0x000f000f000f000full) | (each & 0x000f000f000f000full) << 8;
    uint64_t letters = (nibbles + 0x0606060606060606ull) >> 4 & 0x0101010101010101ull;
    return nibbles + 0x3030303030303030ull + letters * ('a' - '0' - 10);
}

void hex_encode(const void *data, size_t size, char *out)
{
    const uint8_t *from = data;
    size_t i = 0;
    for (; i + 4 <= size; i += 4)
        put_le64(out + 2 * i, hex_of_four(get_le32(from + i)));
    for (; i < size; i++) {
        char pair[8];
        put_le64(pair, hex_of_four(from[i]));
        memcpy(out + 2 * i, pair, 2);
    }
    out[2 * size] = '\0';
}

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

enum err base64_decode(struct bytes text, void *out, size_t out_max, size_t *ret_size)
{
    if (text.size % 4 != 0)
        return ERR_BAD_SYNTAX;
    size_t padding = 0;
    while (padding < 2 && padding < text.size && text.data[text.size - 1 - padding] == '=')
        padding++;
    size_t size = text.size / 4 * 3 - padding;
    if (size > out_max)
        return ERR_TOO_LARGE;
    uint8_t *to = out;
    size_t done = 0;
    for (size_t i = 0; i < text.size; i += 4) {
        uint32_t group = 0;
        for (size_t j = 0; j < 4; j++) {
            bool is_padding = i + j >= text.size - padding;
            int digit = is_padding ? 0 : base64_digit(text.data[i + j]);
            if (digit < 0)
                return ERR_BAD_SYNTAX;
            group = group << 6 | (uint32_t)digit;
        }
        for (int shift = 16; shift >= 0 && done < size; shift -= 8)
            to[done++] = (uint8_t)(group >> shift);
        /* Bits beyond the last byte must be zero: each value has one encoding. */
        if (i + 4 == text.size && padding > 0 && (group & (padding == 2 ? 0xffffu : 0xffu)) != 0)
            return ERR_BAD_SYNTAX;
    }
    *ret_size = size;
    return ERR_OK;
}

void base64_encode(const void *data, size_t size, char *out)
{
    const uint8_t *from = data;
    for (size_t i = 0; i < size; i += 3) {
        size_t left = size - i;
        uint32_t group = (uint32_t)from[i] << 16 | (left > 1 ? (uint32_t)from[i + 1] << 8 : 0) |
                         (left > 2 ? from[i + 2] : 0);
        *out++ = base64_digits[group >> 18];
        *out++ = base64_digits[group >> 12 & 63];
        *out++ = left > 1 ? base64_digits[group >> 6 & 63] : '=';
        *out++ = left > 2 ? base64_digits[group & 63] : '=';
    }
    *out = '\0';
}

/* ---- writer of fixed size ---- */

/* Writes the digits into the end of `digits`; returns the view of them. */
static struct bytes u64_digits(uint64_t value, char digits[20])
{
    size_t at = 20;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    return (struct bytes){digits + at, 20 - at};
}

void buf_put_u64(struct buf *buf, uint64_t value)
{
    char digits[20];
    buf_put(buf, u64_digits(value, digits));
}

void buf_printf(struct buf *buf, const char *format, ...)
{
    size_t room = buf->capacity - buf->size;
    va_list args;
    va_start(args, format);
    int length = vsnprintf(room > 0 ? buf->data + buf->size : NULL, room, format, args);
    va_end(args);
    CHECK(length >= 0);
    /* vsnprintf wants a byte for its NUL, so text that would just fit counts as overflow here:
     * callers size by their maximum. */
    if ((size_t)length < room) {
        buf->size += (size_t)length;
    } else {
        buf->size += room > 0 ? room - 1 : 0;
        buf->overflowed = true;
    }
}

/* ---- growing text ---- */

/* Makes room for `size` more bytes and a NUL. */
static bool text_reserve(struct text_buf *text, size_t size)
{
    if (text->failed)
        return false;
    if (text->capacity - text->size > size)
        return true;
    size_t capacity = text->capacity > 0 ? text->capacity : 256;
    while (capacity - text->size <= size) {
        if (capacity > SIZE_MAX / 2) {
            text->failed = true;
            return false;
        }
        capacity *= 2;
    }
    char *data = realloc(text->data, capacity);
    if (data == NULL) {
        text->failed = true;
        return false;
    }
    text->data = data;
    text->capacity = capacity;
    return true;
}

void text_put(struct text_buf *text, struct bytes bytes)
{
    if (!text_reserve(text, bytes.size))
        return;
    if (bytes.size > 0)
        memcpy(text->data + text->size, bytes.data, bytes.size);
    text->size += bytes.size;
    text->data[text->size] = '\0';
}

void text_put_string(struct text_buf *text, const char *string)
{
    text_put(text, bytes_of_string(string));
}

void text_put_u64(struct text_buf *text, uint64_t value)
{
    char digits[20];
    text_put(text, u64_digits(value, digits));
}

void text_printf(struct text_buf *text, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    CHECK(length >= 0);
    if (text_reserve(text, (size_t)length)) {
        vsnprintf(text->data + text->size, (size_t)length + 1, format, again);
        text->size += (size_t)length;
    }
    va_end(again);
}

void text_free(struct text_buf *text)
{
    free(text->data);
    *text = (struct text_buf){0};
}
