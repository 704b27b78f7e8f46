#include "api/s3/form.h"

#include "base/check.h"

/* ---- parameters of a header: name=token or name="quoted" ---- */

/* A quoted value is taken up to its quote; browsers write %22 for one inside. */
static bool header_param(struct bytes header, struct bytes name, struct bytes *ret_value)
{
    struct bytes rest = header;
    (void)bytes_split(&rest, ';');
    while (rest.size > 0) {
        rest = bytes_trim(rest);
        size_t equals = bytes_find_char(rest, 0, '=');
        if (equals == SIZE_MAX)
            return false;
        struct bytes found = bytes_slice(rest, 0, equals), value;
        rest = bytes_slice(rest, equals + 1, SIZE_MAX);
        if (rest.size > 0 && rest.data[0] == '"') {
            size_t quote = bytes_find_char(rest, 1, '"');
            if (quote == SIZE_MAX)
                return false;
            value = bytes_slice(rest, 1, quote - 1);
            rest = bytes_slice(rest, quote + 1, SIZE_MAX);
            (void)bytes_split(&rest, ';');
        } else {
            value = bytes_trim(bytes_split(&rest, ';'));
        }
        if (bytes_equal_nocase(found, name)) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

enum err form_delimiter_parse(struct bytes content_type, struct form_delimiter *ret_delimiter)
{
    struct bytes boundary;
    if (!bytes_start_with_nocase(content_type, BYTES("multipart/form-data")) ||
        !header_param(content_type, BYTES("boundary"), &boundary) || boundary.size == 0 ||
        boundary.size > FORM_BOUNDARY_BYTES_MAX)
        return ERR_BAD_SYNTAX;
    struct buf text = BUF_ON(ret_delimiter->text);
    buf_put_string(&text, "\r\n--");
    buf_put(&text, boundary);
    ret_delimiter->size = text.size;
    return ERR_OK;
}

static struct bytes delimiter_bytes(const struct form_delimiter *delimiter)
{
    return bytes_of(delimiter->text, delimiter->size);
}

/* ---- the head: fields up to the file ---- */

struct part {
    struct bytes name, file_name;
    bool has_file_name;
};

/* Reads a part's header lines, from *at behind them. */
static enum err part_headers(struct bytes data, size_t *at, struct part *ret_part)
{
    struct part part = {0};
    for (;;) {
        size_t end = bytes_find(data, *at, BYTES("\r\n"));
        if (end == SIZE_MAX)
            return ERR_TOO_SMALL;
        struct bytes line = bytes_slice(data, *at, end - *at);
        *at = end + 2;
        if (line.size == 0)
            break;
        struct bytes value = line;
        struct bytes name = bytes_split(&value, ':');
        if (!bytes_equal_nocase(name, BYTES("Content-Disposition")))
            continue;
        value = bytes_trim(value);
        if (!bytes_start_with_nocase(value, BYTES("form-data")) ||
            !header_param(value, BYTES("name"), &part.name))
            return ERR_BAD_SYNTAX;
        part.has_file_name = header_param(value, BYTES("filename"), &part.file_name);
    }
    *ret_part = part;
    return part.name.size > 0 ? ERR_OK : ERR_BAD_SYNTAX;
}

static struct bytes base_name(struct bytes path)
{
    for (size_t i = path.size; i > 0; i--)
        if (path.data[i - 1] == '/' || path.data[i - 1] == '\\')
            return bytes_slice(path, i, SIZE_MAX);
    return path;
}

static enum err head_part(struct bytes data, const struct form_delimiter *delimiter, size_t *at,
                          struct form_head *head, bool *ret_is_file)
{
    struct part part;
    enum err e = part_headers(data, at, &part);
    if (e)
        return e;
    *ret_is_file = bytes_equal_nocase(part.name, BYTES("file"));
    if (*ret_is_file) {
        head->file_name = base_name(part.file_name);
        head->file_offset = *at;
        return ERR_OK;
    }
    size_t end = bytes_find(data, *at, delimiter_bytes(delimiter));
    if (end == SIZE_MAX)
        return ERR_TOO_SMALL;
    if (head->field_count == FORM_FIELDS_MAX)
        return ERR_TOO_LARGE;
    head->fields[head->field_count++] =
        (struct post_field){.name = part.name, .value = bytes_slice(data, *at, end - *at)};
    *at = end + delimiter->size;
    return ERR_OK;
}

enum err form_head_parse(struct bytes data, const struct form_delimiter *delimiter,
                         struct form_head *ret_head)
{
    bool is_cut = data.size > FORM_HEAD_BYTES_MAX;
    data = bytes_slice(data, 0, FORM_HEAD_BYTES_MAX);
    /* The first delimiter stands at the very beginning, mostly without its line end. */
    size_t line_end = bytes_start_with(data, BYTES("\r\n")) ? 0 : 2;
    struct bytes opening = bytes_slice(delimiter_bytes(delimiter), line_end, SIZE_MAX);
    if (!bytes_start_with(data, opening))
        return ERR_BAD_SYNTAX;
    size_t at = opening.size;
    bool is_file = false;
    ret_head->field_count = 0;
    while (!is_file) {
        if (data.size - at < 2)
            return is_cut ? ERR_TOO_LARGE : ERR_TOO_SMALL;
        if (!bytes_equal(bytes_slice(data, at, 2), BYTES("\r\n")))
            return bytes_equal(bytes_slice(data, at, 2), BYTES("--")) ? ERR_TOO_SMALL
                                                                      : ERR_BAD_SYNTAX;
        at += 2;
        enum err e = head_part(data, delimiter, &at, ret_head, &is_file);
        if (e)
            return e == ERR_TOO_SMALL && is_cut ? ERR_TOO_LARGE : e;
    }
    return ERR_OK;
}

/* ---- the file's end ---- */

size_t form_find_end(struct bytes data, size_t from, const struct form_delimiter *delimiter)
{
    return bytes_find(data, from, delimiter_bytes(delimiter));
}

size_t form_find_end_across(struct bytes left, struct bytes right,
                            const struct form_delimiter *delimiter)
{
    char joined[2 * FORM_DELIMITER_BYTES_MAX];
    size_t reach = delimiter->size - 1;
    struct bytes tail = bytes_slice(left, left.size > reach ? left.size - reach : 0, SIZE_MAX);
    struct buf buf = BUF_ON(joined);
    buf_put(&buf, tail);
    buf_put(&buf, bytes_slice(right, 0, reach));
    size_t at = bytes_find(buf_bytes(&buf), 0, delimiter_bytes(delimiter));
    return at < tail.size ? tail.size - at : 0;
}
