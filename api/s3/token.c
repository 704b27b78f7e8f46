#include "api/s3/token.h"

#include "base/check.h"
#include "base/digest.h"

#define TOKEN_VERSION   1
#define TOKEN_SUM_BYTES 4

/* base64 to base64url: two characters are others, and no padding (RFC 4648 section 5). */
static size_t to_url(char *text, size_t size)
{
    while (size > 0 && text[size - 1] == '=')
        size--;
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '+')
            text[i] = '-';
        else if (text[i] == '/')
            text[i] = '_';
    }
    return size;
}

struct bytes s3_token_make(struct bytes name, char out[TOKEN_TEXT_BYTES])
{
    uint8_t raw[1 + KEY_BYTES_MAX + TOKEN_SUM_BYTES];
    CHECK(name.size <= KEY_BYTES_MAX);
    raw[0] = TOKEN_VERSION;
    memcpy(raw + 1, name.data, name.size);
    size_t size = 1 + name.size;
    put_le32(raw + size, (uint32_t)xxh3_64(raw, size));
    size += TOKEN_SUM_BYTES;
    base64_encode(raw, size, out);
    return bytes_of(out, to_url(out, BASE64_SIZE(size)));
}

enum err s3_token_read(struct bytes token, char out[KEY_BYTES_MAX], size_t *ret_size)
{
    char text[TOKEN_TEXT_BYTES];
    uint8_t raw[1 + KEY_BYTES_MAX + TOKEN_SUM_BYTES];
    if (token.size > sizeof text - 4)
        return ERR_BAD_SYNTAX;
    for (size_t i = 0; i < token.size; i++) {
        char c = token.data[i];
        if (c == '+' || c == '/' || c == '=')
            return ERR_BAD_SYNTAX;
        text[i] = c == '-' ? '+' : c == '_' ? '/' : c;
    }
    size_t text_size = token.size, size;
    while (text_size % 4 != 0)
        text[text_size++] = '=';
    enum err e = base64_decode(bytes_of(text, text_size), raw, sizeof raw, &size);
    if (e)
        return ERR_BAD_SYNTAX;
    if (size < 1 + TOKEN_SUM_BYTES || raw[0] != TOKEN_VERSION)
        return ERR_BAD_SYNTAX;
    size -= TOKEN_SUM_BYTES;
    if (get_le32(raw + size) != (uint32_t)xxh3_64(raw, size))
        return ERR_BAD_SYNTAX;
    memcpy(out, raw + 1, size - 1);
    *ret_size = size - 1;
    return ERR_OK;
}
