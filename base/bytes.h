/*
 * Bytes travel as pointer plus size. `struct bytes` is a borrowed, read-only view; `struct buf` is
 * a writer over memory of fixed size that remembers whether it ever overflowed, so that a formatter
 * writes on without looking and its caller asks once at the end. Neither owns memory; struct
 * text_buf (growing, owned) is for things whose size has no useful bound, such as a listing's XML.
 */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"

struct bytes {
    const char *data; /* borrowed; may be NULL when size is 0 */
    size_t size;
};

#define BYTES(literal) ((struct bytes){(literal), sizeof(literal) - 1})

static inline struct bytes bytes_of(const void *data, size_t size)
{
    return (struct bytes){data, size};
}

static inline struct bytes bytes_of_string(const char *string)
{
    return (struct bytes){string, string ? strlen(string) : 0};
}

/* The short ones are inline: a request's head is compared, cut and searched some hundred times. */
static inline bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

bool bytes__equal_letters(struct bytes a, struct bytes b); /* sizes are the same and not 0 */
/* ASCII only. Most pairs differ in size, last or first letter: asked for before a function is
 * called. */
static inline bool bytes_equal_nocase(struct bytes a, struct bytes b)
{
    if (a.size != b.size)
        return false;
    return a.size == 0 || (((a.data[a.size - 1] ^ b.data[b.size - 1]) & ~0x20) == 0 &&
                           ((a.data[0] ^ b.data[0]) & ~0x20) == 0 && bytes__equal_letters(a, b));
}

bool bytes_equal_secret(struct bytes a, struct bytes b); /* time does not depend on content */
int bytes_compare(struct bytes a, struct bytes b); /* bytewise, shorter first: S3's listing order */
static inline bool bytes_start_with(struct bytes whole, struct bytes prefix)
{
    return whole.size >= prefix.size &&
           (prefix.size == 0 || memcmp(whole.data, prefix.data, prefix.size) == 0);
}
static inline bool bytes_start_with_nocase(struct bytes whole, struct bytes prefix)
{
    if (whole.size < prefix.size)
        return false;
    whole.size = prefix.size;
    return bytes_equal_nocase(whole, prefix);
}
bool bytes_end_with(struct bytes whole, struct bytes suffix);
/* Position of the first occurrence at or after `from`, or SIZE_MAX. */
size_t bytes_find(struct bytes whole, size_t from, struct bytes part);
static inline size_t bytes_find_char(struct bytes whole, size_t from, char c)
{
    if (from >= whole.size)
        return SIZE_MAX;
    const char *at = (const char *)memchr(whole.data + from, c, whole.size - from);
    return at != NULL ? (size_t)(at - whole.data) : SIZE_MAX;
}
/* Clamped to whole. */
static inline struct bytes bytes_slice(struct bytes whole, size_t from, size_t size)
{
    if (from > whole.size)
        from = whole.size;
    if (size > whole.size - from)
        size = whole.size - from;
    return (struct bytes){whole.data != NULL ? whole.data + from : NULL, size};
}
struct bytes bytes_trim(struct bytes whole); /* without blanks and tabs at both ends */
/* Cuts *rest at the first `separator`; returns what stands before it. *rest becomes what follows,
 * or {NULL, 0} at the end. */
static inline struct bytes bytes_split(struct bytes *rest, char separator)
{
    struct bytes whole = *rest;
    size_t at = bytes_find_char(whole, 0, separator);
    if (at == SIZE_MAX) {
        *rest = (struct bytes){NULL, 0};
        return whole;
    }
    *rest = bytes_slice(whole, at + 1, SIZE_MAX);
    return bytes_slice(whole, 0, at);
}
/* Decimal without sign, no blanks, no overflow. ERR_BAD_SYNTAX or ERR_TOO_LARGE otherwise. */
enum err bytes_to_u64(struct bytes text, uint64_t *ret_value) MUST_USE;
/* Strict: no surrogates, no overlong forms, at most U+10FFFF. */
bool bytes_is_utf8(struct bytes text);

/* Exactly out_size bytes, either case. */
enum err hex_decode(struct bytes hex, void *out, size_t out_size) MUST_USE;
void hex_encode(const void *data, size_t size, char *out); /* lower case, 2*size chars and a NUL */
/* Strict base64 (RFC 4648, with padding). ret_size: bytes written, at most out_max. */
enum err base64_decode(struct bytes text, void *out, size_t out_max, size_t *ret_size) MUST_USE;
#define BASE64_SIZE(size) (((size) + 2) / 3 * 4)
/* BASE64_SIZE(size) chars and a NUL. */
void base64_encode(const void *data, size_t size, char *out);

/* ---- writer of fixed size ---- */
struct buf {
    char *data; /* borrowed */
    size_t size;
    size_t capacity;
    bool overflowed; /* something did not fit; data is cut there */
};

#define BUF_ON(array) ((struct buf){.data = (array), .capacity = sizeof(array)})

static inline void buf_put(struct buf *buf, struct bytes bytes)
{
    size_t room = buf->capacity - buf->size;
    size_t size = bytes.size <= room ? bytes.size : room;
    buf->overflowed |= size < bytes.size;
    if (size > 0)
        memcpy(buf->data + buf->size, bytes.data, size);
    buf->size += size;
}
static inline void buf_put_char(struct buf *buf, char c)
{
    if (buf->size < buf->capacity)
        buf->data[buf->size++] = c;
    else
        buf->overflowed = true;
}
static inline void buf_put_string(struct buf *buf, const char *string)
{
    buf_put(buf, bytes_of_string(string));
}
void buf_put_u64(struct buf *buf, uint64_t value);
void buf_printf(struct buf *buf, const char *format, ...) PRINTF_LIKE(2, 3);
static inline struct bytes buf_bytes(const struct buf *buf)
{
    return (struct bytes){buf->data, buf->size};
}

/* ---- growing text, owned ---- */
struct text_buf {
    char *data; /* owned, NUL-terminated once something was put */
    size_t size;
    size_t capacity;
    bool failed; /* an allocation failed; later puts do nothing */
};

void text_put(struct text_buf *text, struct bytes bytes);
void text_put_string(struct text_buf *text, const char *string);
void text_put_u64(struct text_buf *text, uint64_t value);
void text_printf(struct text_buf *text, const char *format, ...) PRINTF_LIKE(2, 3);
void text_free(struct text_buf *text); /* empties; the struct can be used again */
static inline struct bytes text_bytes(const struct text_buf *text)
{
    return (struct bytes){text->data, text->size};
}
static inline void text_free__scope(struct text_buf *text)
{
    text_free(text);
}

/* ---- fixed-width integers in formats ---- */
/* Little-endian values, big-endian where order must be bytewise. */
static inline void put_le16(void *p, uint16_t v)
{
    uint8_t *b = p;
    b[0] = (uint8_t)v, b[1] = (uint8_t)(v >> 8);
}
static inline void put_le32(void *p, uint32_t v)
{
    put_le16(p, (uint16_t)v), put_le16((uint8_t *)p + 2, (uint16_t)(v >> 16));
}
static inline void put_le64(void *p, uint64_t v)
{
    put_le32(p, (uint32_t)v), put_le32((uint8_t *)p + 4, (uint32_t)(v >> 32));
}
static inline uint16_t get_le16(const void *p)
{
    const uint8_t *b = p;
    return (uint16_t)(b[0] | b[1] << 8);
}
static inline uint32_t get_le32(const void *p)
{
    return (uint32_t)get_le16(p) | (uint32_t)get_le16((const uint8_t *)p + 2) << 16;
}
static inline uint64_t get_le64(const void *p)
{
    return (uint64_t)get_le32(p) | (uint64_t)get_le32((const uint8_t *)p + 4) << 32;
}
static inline void put_be16(void *p, uint16_t v)
{
    uint8_t *b = p;
    b[0] = (uint8_t)(v >> 8), b[1] = (uint8_t)v;
}
static inline void put_be32(void *p, uint32_t v)
{
    put_be16(p, (uint16_t)(v >> 16)), put_be16((uint8_t *)p + 2, (uint16_t)v);
}
static inline void put_be64(void *p, uint64_t v)
{
    put_be32(p, (uint32_t)(v >> 32)), put_be32((uint8_t *)p + 4, (uint32_t)v);
}
static inline uint16_t get_be16(const void *p)
{
    const uint8_t *b = p;
    return (uint16_t)(b[0] << 8 | b[1]);
}
static inline uint32_t get_be32(const void *p)
{
    return (uint32_t)get_be16(p) << 16 | get_be16((const uint8_t *)p + 2);
}
static inline uint64_t get_be64(const void *p)
{
    return (uint64_t)get_be32(p) << 32 | get_be32((const uint8_t *)p + 4);
}

#endif
