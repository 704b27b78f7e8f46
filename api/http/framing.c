#include "api/http/framing.h"

#include "api/http/head.h"

/*
 * outer:  IDENTITY, or
 *
 *     SIZE -> [EXTENSION] -> SIZE_LF -> DATA -> DATA_CR -> DATA_LF -> SIZE ...
 *                               |
 *                               +size 0-> TRAILER -> END_LF -> DONE
 *                                         |     ^
 *                                         +-> NAME -> VALUE -> VALUE_LF
 */
enum outer_state {
    OUTER_IDENTITY,
    OUTER_SIZE,
    OUTER_EXTENSION,
    OUTER_SIZE_LF,
    OUTER_DATA,
    OUTER_DATA_CR,
    OUTER_DATA_LF,
    OUTER_TRAILER,
    OUTER_NAME,
    OUTER_VALUE,
    OUTER_VALUE_LF,
    OUTER_END_LF,
    OUTER_DONE,
};

/* inner:  NONE, or LINE -> DATA -> DATA_CR -> DATA_LF -> LINE ... -> TRAILER -> DONE */
enum inner_state {
    INNER_NONE,
    INNER_LINE,
    INNER_DATA,
    INNER_DATA_CR,
    INNER_DATA_LF,
    INNER_TRAILER,
    INNER_DONE
};

enum err framing_init(struct framing *f, const struct framing_options *options)
{
    f->outer = options->is_chunked ? OUTER_SIZE : OUTER_IDENTITY;
    f->inner = options->aws ? INNER_LINE : INNER_NONE;
    f->line_after_bare_lf = f->may_end = false;
    f->trailer_count = f->digits = 0;
    f->line_size = f->inner_line_size = 0;
    f->waste = 0;
    f->outer_left = options->is_chunked ? 0 : options->content_length;
    f->inner_left = f->announced = 0;
    f->size_max = options->size_max;
    f->aws = options->aws;
    if (f->outer == OUTER_IDENTITY && f->inner == INNER_NONE) {
        if (f->outer_left > f->size_max)
            return ERR_TOO_LARGE;
        f->announced = f->outer_left;
    }
    return ERR_OK;
}

static bool outer_is_over(const struct framing *f)
{
    return f->outer == OUTER_DONE || (f->outer == OUTER_IDENTITY && f->outer_left == 0);
}

static bool outer_has_data(const struct framing *f)
{
    return (f->outer == OUTER_IDENTITY || f->outer == OUTER_DATA) && f->outer_left > 0;
}

enum framing_next framing_next(const struct framing *f)
{
    if (outer_is_over(f)) {
        bool inner_is_over = f->inner == INNER_NONE || f->inner == INNER_DONE ||
                             (f->inner == INNER_TRAILER && f->may_end && f->inner_line_size == 0);
        return inner_is_over ? FRAMING_OVER : FRAMING_BROKEN;
    }
    bool is_payload = outer_has_data(f) && (f->inner == INNER_NONE || f->inner == INNER_DATA);
    return is_payload ? FRAMING_PAYLOAD : FRAMING_MARKUP;
}

uint64_t framing_run(const struct framing *f)
{
    if (framing_next(f) != FRAMING_PAYLOAD)
        return 0;
    return f->inner == INNER_DATA && f->inner_left < f->outer_left ? f->inner_left : f->outer_left;
}

uint64_t framing_left(const struct framing *f)
{
    return f->outer == OUTER_IDENTITY ? f->outer_left : f->outer == OUTER_DONE ? 0 : UINT64_MAX;
}

/* Bytes that the outer framing calls data have been dealt with. */
static void outer_passed(struct framing *f, uint64_t size)
{
    CHECK(size <= f->outer_left);
    f->outer_left -= size;
    if (f->outer == OUTER_DATA && f->outer_left == 0)
        f->outer = OUTER_DATA_CR;
}

void framing_passed(struct framing *f, const uint8_t *data, uint64_t size)
{
    CHECK(size > 0 && size <= framing_run(f));
    outer_passed(f, size);
    if (f->inner == INNER_NONE)
        return;
    f->aws->chunk_data(f->aws, data, (size_t)size);
    f->inner_left -= size;
    if (f->inner_left == 0)
        f->inner = INNER_DATA_CR;
}

static int hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A chunk of payload is announced. */
static enum err announce(struct framing *f, uint64_t size)
{
    if (size > f->size_max - f->announced)
        return ERR_TOO_LARGE;
    f->announced += size;
    return ERR_OK;
}

/* ---- inner: whole lines, kept until their end has come ---- */

/* hex-size[;chunk-signature=...] without its CR LF; `left`: of what the outer framing holds behind
 * the line */
static enum err inner_chunk_line(struct framing *f, uint64_t left)
{
    struct bytes rest = {f->line, f->inner_line_size};
    struct bytes size_text = bytes_split(&rest, ';');
    uint64_t size = 0;
    if (size_text.size == 0 || size_text.size > 16)
        return ERR_BAD_SYNTAX;
    for (size_t i = 0; i < size_text.size; i++) {
        int value = hex_value((uint8_t)size_text.data[i]);
        if (value < 0)
            return ERR_BAD_SYNTAX;
        size = size << 4 | (uint64_t)value;
    }
    struct bytes signature = {NULL, 0};
    bool has_extension = size_text.size < f->inner_line_size;
    if (has_extension) {
        struct bytes name = bytes_split(&rest, '=');
        if (!bytes_equal(name, BYTES("chunk-signature")) || rest.size != 64)
            return ERR_BAD_SYNTAX;
        signature = rest;
    }
    if (f->aws->is_signed && signature.size == 0)
        return ERR_BAD_SYNTAX;
    if (f->outer == OUTER_IDENTITY && size > left)
        return ERR_BAD_SYNTAX; /* the message ends before the chunk would */
    enum err e = announce(f, size);
    if (e)
        return e;
    f->inner_left = size;
    f->inner = size > 0 ? INNER_DATA : INNER_TRAILER;
    e = f->aws->chunk_begin(f->aws, size, signature);
    return e || size > 0 ? e : f->aws->chunk_end(f->aws);
}

static enum err inner_trailer_line(struct framing *f, bool has_cr)
{
    if (f->inner_line_size == 0) {
        if (!has_cr)
            return ERR_BAD_SYNTAX;
        if (!f->line_after_bare_lf) {
            f->inner = INNER_DONE;
            return ERR_OK;
        }
        f->line_after_bare_lf = false;
        f->may_end = true;
        return ERR_OK;
    }
    f->line_after_bare_lf = !has_cr;
    f->may_end = false;
    struct bytes value = {f->line, f->inner_line_size};
    struct bytes name = bytes_split(&value, ':');
    bool is_trailer =
        name.size < f->inner_line_size && head_is_token(name) && head_is_field_text(value);
    if (!is_trailer || !f->aws->has_trailer || ++f->trailer_count > HTTP_TRAILERS_MAX)
        return ERR_BAD_SYNTAX;
    return f->aws->trailer(f->aws, name, bytes_trim(value));
}

/* Keeps bytes of a line; once its LF is there, has it read. */
static enum err inner_line(struct framing *f, const uint8_t *data, size_t size, size_t *ret_used)
{
    const uint8_t *newline = memchr(data, '\n', size);
    size_t part = newline ? (size_t)(newline - data) : size;
    size_t line_max = f->inner == INNER_LINE ? HTTP_CHUNK_LINE_BYTES_MAX : sizeof f->line;
    if (part > line_max - f->inner_line_size)
        return ERR_BAD_SYNTAX;
    memcpy(f->line + f->inner_line_size, data, part);
    f->inner_line_size += (uint16_t)part;
    *ret_used = part + (newline != NULL);
    if (newline == NULL)
        return ERR_OK;
    bool has_cr = f->inner_line_size > 0 && f->line[f->inner_line_size - 1] == '\r';
    f->inner_line_size -= has_cr;
    enum err e = f->inner == INNER_TRAILER ? inner_trailer_line(f, has_cr)
                 : has_cr                  ? inner_chunk_line(f, f->outer_left - *ret_used)
                                           : ERR_BAD_SYNTAX;
    f->inner_line_size = 0;
    return e;
}

static enum err inner_feed(struct framing *f, const uint8_t *data, size_t size, size_t *ret_used)
{
    switch ((enum inner_state)f->inner) {
    case INNER_LINE:
    case INNER_TRAILER:
        return inner_line(f, data, size, ret_used);
    case INNER_DATA_CR:
        f->inner = INNER_DATA_LF;
        *ret_used = 1;
        return data[0] == '\r' ? ERR_OK : ERR_BAD_SYNTAX;
    case INNER_DATA_LF:
        f->inner = INNER_LINE;
        *ret_used = 1;
        return data[0] == '\n' ? f->aws->chunk_end(f->aws) : ERR_BAD_SYNTAX;
    case INNER_DONE:
        return ERR_BAD_SYNTAX; /* bytes behind the end, inside the message */
    case INNER_NONE:
    case INNER_DATA:
        break;
    }
    CHECK(!"markup was fed where payload is due");
    return ERR_INTERNAL;
}

/* ---- outer: byte by byte, nothing kept ---- */

static enum err outer_size_digit(struct framing *f, uint8_t c)
{
    int value = hex_value(c);
    if (value >= 0) {
        if (++f->digits > 16)
            return ERR_BAD_SYNTAX;
        f->outer_left = f->outer_left << 4 | (uint64_t)value;
        return ERR_OK;
    }
    if (f->digits == 0 || (c != '\r' && c != ';'))
        return ERR_BAD_SYNTAX;
    f->outer = c == '\r' ? OUTER_SIZE_LF : OUTER_EXTENSION;
    return ERR_OK;
}

/* Text that is skipped up to its CR. */
static enum err outer_skip(struct framing *f, uint8_t c, size_t line_max, enum outer_state after)
{
    if (c == '\r') {
        f->outer = after;
        return ERR_OK;
    }
    bool is_control = (c < 0x20 && c != '\t') || c == 0x7f;
    return is_control || ++f->line_size > line_max ? ERR_BAD_SYNTAX : ERR_OK;
}

static enum err outer_chunk_begins(struct framing *f)
{
    f->digits = 0;
    f->line_size = 0;
    if (f->outer_left == 0) {
        f->trailer_count = 0; /* the inner framing's are over by now, or never will be */
        f->outer = OUTER_TRAILER;
        return ERR_OK;
    }
    f->outer = OUTER_DATA;
    uint64_t honest =
        f->outer_left > HTTP_CHUNK_WASTE_BYTES_MAX ? UINT32_MAX : 16 + 2 * f->outer_left;
    f->waste -= f->waste < honest ? f->waste : (uint32_t)honest;
    return f->inner == INNER_NONE ? announce(f, f->outer_left) : ERR_OK;
}

static enum err outer_trailer_begins(struct framing *f, uint8_t c)
{
    if (c == '\r') {
        f->outer = OUTER_END_LF;
        return ERR_OK;
    }
    f->outer = OUTER_NAME;
    f->line_size = 1;
    return head_is_token(bytes_of(&c, 1)) && ++f->trailer_count <= HTTP_TRAILERS_MAX
               ? ERR_OK
               : ERR_BAD_SYNTAX;
}

static enum err outer_name(struct framing *f, uint8_t c)
{
    if (c == ':') {
        f->outer = OUTER_VALUE;
        return ERR_OK;
    }
    return head_is_token(bytes_of(&c, 1)) && ++f->line_size <= HTTP_TRAILER_LINE_BYTES_MAX
               ? ERR_OK
               : ERR_BAD_SYNTAX;
}

static enum err outer_expect(struct framing *f, uint8_t c, uint8_t wanted, enum outer_state after)
{
    f->outer = after;
    return c == wanted ? ERR_OK : ERR_BAD_SYNTAX;
}

static enum err outer_feed(struct framing *f, uint8_t c)
{
    if (++f->waste > HTTP_CHUNK_WASTE_BYTES_MAX)
        return ERR_BAD_SYNTAX;
    switch ((enum outer_state)f->outer) {
    case OUTER_SIZE:
        return outer_size_digit(f, c);
    case OUTER_EXTENSION:
        return outer_skip(f, c, HTTP_CHUNK_LINE_BYTES_MAX, OUTER_SIZE_LF);
    case OUTER_SIZE_LF:
        return c == '\n' ? outer_chunk_begins(f) : ERR_BAD_SYNTAX;
    case OUTER_DATA_CR:
        return outer_expect(f, c, '\r', OUTER_DATA_LF);
    case OUTER_DATA_LF:
        return outer_expect(f, c, '\n', OUTER_SIZE);
    case OUTER_TRAILER:
        return outer_trailer_begins(f, c);
    case OUTER_NAME:
        return outer_name(f, c);
    case OUTER_VALUE:
        return outer_skip(f, c, HTTP_TRAILER_LINE_BYTES_MAX, OUTER_VALUE_LF);
    case OUTER_VALUE_LF:
        return outer_expect(f, c, '\n', OUTER_TRAILER);
    case OUTER_END_LF:
        return outer_expect(f, c, '\n', OUTER_DONE);
    case OUTER_IDENTITY:
    case OUTER_DATA:
    case OUTER_DONE:
        break;
    }
    CHECK(!"outer markup was fed where data is due");
    return ERR_INTERNAL;
}

enum err framing_markup(struct framing *f, const uint8_t *data, size_t size, size_t *ret_used)
{
    size_t used = 0;
    enum err e = ERR_OK;
    while (!e && used < size && framing_next(f) == FRAMING_MARKUP) {
        if (!outer_has_data(f)) {
            e = outer_feed(f, data[used++]);
            continue;
        }
        size_t part = size - used, inner_used = 0;
        if (part > f->outer_left)
            part = (size_t)f->outer_left;
        e = inner_feed(f, data + used, part, &inner_used);
        if (e)
            break;
        outer_passed(f, inner_used);
        used += inner_used;
    }
    *ret_used = used;
    return e;
}
