#include "api/http/head.h"

#include <strings.h>

/* Token characters: RFC 9110, 5.6.2. */
static const bool token_chars[256] = {
    ['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1,         ['&'] = 1,         ['\''] = 1,
    ['*'] = 1, ['+'] = 1, ['-'] = 1, ['.'] = 1,         ['^'] = 1,         ['_'] = 1,
    ['`'] = 1, ['|'] = 1, ['~'] = 1, ['0' ... '9'] = 1, ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1,
};

/* What a host may be made of: a name, an IPv4 address or [IPv6], and a port (RFC 3986, 3.2.2). */
static const bool host_chars[256] = {
    ['-'] = 1,         ['.'] = 1,         ['_'] = 1,         ['~'] = 1, ['%'] = 1, [':'] = 1,
    ['['] = 1,         [']'] = 1,         ['!'] = 1,         ['$'] = 1, ['&'] = 1, ['\''] = 1,
    ['('] = 1,         [')'] = 1,         ['*'] = 1,         ['+'] = 1, [';'] = 1, ['='] = 1,
    ['0' ... '9'] = 1, ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1,
};

bool head_is_token(struct bytes text)
{
    for (size_t i = 0; i < text.size; i++)
        if (!token_chars[(uint8_t)text.data[i]])
            return false;
    return text.size > 0;
}

#define ONES 0x0101010101010101ull

/* Eight bytes at a time: whether one of them is below 0x20 or is 0x7f. Exact for "any", which is
 * all that is asked. */
static bool word_has_control(uint64_t word)
{
    uint64_t del = word ^ ONES * 0x7f;
    uint64_t below_space = (word - ONES * 0x20) & ~word;
    return ((below_space | ((del - ONES) & ~del)) & ONES * 0x80) != 0;
}

static bool is_control(uint8_t byte)
{
    return byte < 0x20 || byte == 0x7f;
}

bool head_is_field_text(struct bytes text)
{
    size_t i = 0;
    for (; i + 8 <= text.size; i += 8) {
        uint64_t word;
        memcpy(&word, text.data + i, 8);
        if (word_has_control(word))
            break; /* perhaps a tab: looked at one by one */
    }
    for (; i < text.size; i++)
        if (is_control((uint8_t)text.data[i]) && text.data[i] != '\t')
            return false;
    return true;
}

/* ---- finding the end ---- */

static enum http_refusal too_long(const struct head_scan *scan, size_t size)
{
    bool in_request_line = scan->line_count == 0;
    if (in_request_line &&
        size - scan->line_start > HTTP_METHOD_BYTES_MAX + HTTP_URI_BYTES_MAX + sizeof " HTTP/1.1\r")
        return HTTP_REFUSE_URI_TOO_LONG;
    return size > HTTP_HEAD_BYTES_MAX ? HTTP_REFUSE_HEAD_TOO_LARGE : HTTP_REFUSE_NONE;
}

enum http_refusal head_scan(struct head_scan *scan, const char *data, size_t size,
                            uint32_t *ret_size)
{
    *ret_size = scan->head_size;
    if (scan->head_size > 0)
        return HTTP_REFUSE_NONE;
    /* Another protocol (TLS, SSH) would keep us waiting for a line's end that never comes. */
    if (size > 0 && !token_chars[(uint8_t)data[0]] && data[0] != '\r')
        return HTTP_REFUSE_BAD_SYNTAX;
    size_t limit = size < HTTP_HEAD_BYTES_MAX ? size : HTTP_HEAD_BYTES_MAX;
    const char *newline;
    while (scan->scanned < limit &&
           (newline = memchr(data + scan->scanned, '\n', limit - scan->scanned))) {
        uint32_t at = (uint32_t)(newline - data);
        if (at == 0 || data[at - 1] != '\r')
            return HTTP_REFUSE_BAD_SYNTAX;
        bool is_empty = at - scan->line_start == 1;
        scan->scanned = scan->line_start = at + 1;
        if (is_empty && scan->line_count == 0) {
            if (at > 1)
                return HTTP_REFUSE_BAD_SYNTAX; /* a second empty line before the request line */
            continue;
        }
        if (is_empty) {
            *ret_size = scan->head_size = at + 1;
            return HTTP_REFUSE_NONE;
        }
        scan->line_count++;
    }
    scan->scanned = (uint32_t)limit;
    return too_long(scan, size);
}

/* ---- the request line ---- */

static enum http_method method_of(struct bytes name)
{
    static const struct {
        struct bytes name;
        enum http_method method;
    } methods[] = {
        {{"GET", 3}, HTTP_GET},   {{"HEAD", 4}, HTTP_HEAD},     {{"PUT", 3}, HTTP_PUT},
        {{"POST", 4}, HTTP_POST}, {{"DELETE", 6}, HTTP_DELETE}, {{"OPTIONS", 7}, HTTP_OPTIONS},
    };
    for (size_t i = 0; i < COUNT_OF(methods); i++)
        if (name.size == methods[i].name.size &&
            memcmp(name.data, methods[i].name.data, name.size) == 0)
            return methods[i].method;
    return HTTP_METHOD_OTHER;
}

static bool is_host(struct bytes host)
{
    for (size_t i = 0; i < host.size; i++)
        if (!host_chars[(uint8_t)host.data[i]])
            return false;
    return true; /* an empty one is allowed: RFC 9112, 3.2 */
}

/* Printable and without blanks; a fragment is never sent by an honest client. */
static bool is_target_text(struct bytes target)
{
    if (memchr(target.data, '#', target.size) || memchr(target.data, '\t', target.size))
        return false;
    return head_is_field_text(target); /* a blank would have ended the target */
}

/* http://host[/path][?query]: leaves what an origin-form target would be in *rest. */
static enum http_refusal split_absolute(struct bytes *rest, struct bytes *ret_host)
{
    size_t scheme = bytes_start_with_nocase(*rest, BYTES("http://"))    ? 7
                    : bytes_start_with_nocase(*rest, BYTES("https://")) ? 8
                                                                        : 0;
    if (scheme == 0)
        return HTTP_REFUSE_BAD_SYNTAX;
    size_t end = scheme;
    while (end < rest->size && rest->data[end] != '/' && rest->data[end] != '?')
        end++;
    *ret_host = bytes_slice(*rest, scheme, end - scheme);
    *rest = bytes_slice(*rest, end, SIZE_MAX);
    return ret_host->size > 0 && is_host(*ret_host) ? HTTP_REFUSE_NONE : HTTP_REFUSE_BAD_HOST;
}

static enum http_refusal parse_target(struct http_request *r)
{
    if (r->target.size > HTTP_URI_BYTES_MAX)
        return HTTP_REFUSE_URI_TOO_LONG;
    if (r->target.size == 0 || !is_target_text(r->target))
        return HTTP_REFUSE_BAD_SYNTAX;
    struct bytes rest = r->target;
    if (bytes_equal(rest, BYTES("*"))) {
        r->path = rest;
        return r->method == HTTP_OPTIONS ? HTTP_REFUSE_NONE : HTTP_REFUSE_BAD_SYNTAX;
    }
    if (rest.data[0] != '/') {
        enum http_refusal why = split_absolute(&rest, &r->host);
        if (why)
            return why;
    }
    const char *mark = rest.size ? memchr(rest.data, '?', rest.size) : NULL;
    size_t path_size = mark ? (size_t)(mark - rest.data) : rest.size;
    r->path = path_size ? bytes_slice(rest, 0, path_size) : BYTES("/");
    if (mark)
        r->query = bytes_slice(rest, path_size + 1, SIZE_MAX);
    return HTTP_REFUSE_NONE;
}

static enum http_refusal parse_version(struct bytes text, uint8_t *ret_minor)
{
    bool is_version = text.size == 8 && memcmp(text.data, "HTTP/", 5) == 0 && text.data[5] >= '0' &&
                      text.data[5] <= '9' && text.data[6] == '.' && text.data[7] >= '0' &&
                      text.data[7] <= '9';
    if (!is_version)
        return HTTP_REFUSE_BAD_SYNTAX;
    if (text.data[5] != '1')
        return HTTP_REFUSE_BAD_VERSION;       /* the preface of HTTP/2 ends here */
    *ret_minor = text.data[7] == '0' ? 0 : 1; /* a higher minor is answered as 1.1: RFC 9110, 2.5 */
    return HTTP_REFUSE_NONE;
}

static enum http_refusal parse_request_line(struct bytes line, struct http_request *r)
{
    size_t method_end = bytes_find_char(line, 0, ' ');
    if (method_end > HTTP_METHOD_BYTES_MAX)
        return HTTP_REFUSE_BAD_SYNTAX;
    r->method_name = bytes_slice(line, 0, method_end);
    if (!head_is_token(r->method_name))
        return HTTP_REFUSE_BAD_SYNTAX;
    r->method = method_of(r->method_name);
    size_t target_end = bytes_find_char(line, method_end + 1, ' ');
    if (target_end == SIZE_MAX)
        return HTTP_REFUSE_BAD_SYNTAX;
    r->target = bytes_slice(line, method_end + 1, target_end - method_end - 1);
    enum http_refusal why =
        parse_version(bytes_slice(line, target_end + 1, SIZE_MAX), &r->minor_version);
    return why ? why : parse_target(r);
}

/* ---- header lines ---- */

/* What the engine itself has to know of the headers. */
struct framing_headers {
    bool has_host, has_transfer_encoding, says_close, says_keep_alive;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static void note_connection(struct framing_headers *seen, struct bytes value)
{
    while (value.size > 0) {
        struct bytes option = bytes_trim(bytes_split(&value, ','));
        seen->says_close |= bytes_equal_nocase(option, BYTES("close"));
        seen->says_keep_alive |= bytes_equal_nocase(option, BYTES("keep-alive"));
    }
}

static enum http_refusal note_host(struct framing_headers *seen, struct http_request *r,
                                   struct bytes value)
{
    if (seen->has_host || !is_host(value))
        return HTTP_REFUSE_BAD_HOST;
    seen->has_host = true;
    if (r->host.data == NULL) /* an absolute target's host goes before: RFC 9112, 3.2.2 */
        r->host = value;
    return HTTP_REFUSE_NONE;
}

static enum http_refusal note_length(struct http_request *r, struct bytes value)
{
    if (r->has_content_length || bytes_to_u64(value, &r->content_length) ||
        r->content_length > INT64_MAX)
        return HTTP_REFUSE_BAD_LENGTH;
    r->has_content_length = true;
    return HTTP_REFUSE_NONE;
}

static enum http_refusal note_transfer_encoding(struct framing_headers *seen,
                                                struct http_request *r, struct bytes value)
{
    if (seen->has_transfer_encoding || value.size == 0 || r->minor_version == 0)
        return HTTP_REFUSE_BAD_LENGTH;
    seen->has_transfer_encoding = true;
    if (!bytes_equal_nocase(value, BYTES("chunked")))
        return HTTP_REFUSE_BAD_CODING;
    r->is_chunked = true;
    return HTTP_REFUSE_NONE;
}

static enum http_refusal note_header(struct framing_headers *seen, struct http_request *r,
                                     const struct http_header *h)
{
    /* The length tells most headers apart from the five that matter here. */
    switch (h->name.size) {
    case 4:
        return bytes_equal_nocase(h->name, BYTES("host")) ? note_host(seen, r, h->value)
                                                          : HTTP_REFUSE_NONE;
    case 6:
        if (!bytes_equal_nocase(h->name, BYTES("expect")) || r->minor_version == 0)
            return HTTP_REFUSE_NONE;
        r->expects_continue = true;
        return bytes_equal_nocase(h->value, BYTES("100-continue")) ? HTTP_REFUSE_NONE
                                                                   : HTTP_REFUSE_EXPECTATION;
    case 10:
        if (bytes_equal_nocase(h->name, BYTES("connection")))
            note_connection(seen, h->value);
        return HTTP_REFUSE_NONE;
    case 14:
        return bytes_equal_nocase(h->name, BYTES("content-length")) ? note_length(r, h->value)
                                                                    : HTTP_REFUSE_NONE;
    case 17:
        return bytes_equal_nocase(h->name, BYTES("transfer-encoding"))
                   ? note_transfer_encoding(seen, r, h->value)
                   : HTTP_REFUSE_NONE;
    default:
        return HTTP_REFUSE_NONE;
    }
}

/* A first character that is a blank would be folding; it is no token character, so it is refused
 * like any other bad name. */
static enum http_refusal parse_header_line(struct bytes line, struct http_header *ret_header)
{
    size_t colon = 0;
    while (colon < line.size && token_chars[(uint8_t)line.data[colon]])
        colon++;
    if (colon == 0 || colon == line.size || line.data[colon] != ':')
        return HTTP_REFUSE_BAD_SYNTAX;
    const char *from = line.data + colon + 1, *to = line.data + line.size;
    while (from < to && is_blank(*from))
        from++;
    while (to > from && is_blank(to[-1]))
        to--;
    ret_header->name = bytes_of(line.data, colon);
    ret_header->value = bytes_of(from, (size_t)(to - from));
    return head_is_field_text(ret_header->value) ? HTTP_REFUSE_NONE : HTTP_REFUSE_BAD_SYNTAX;
}

/* The next line without its CR LF. False when there is none. */
static bool next_line(const char **at, const char *end, struct bytes *ret_line)
{
    const char *newline = memchr(*at, '\n', (size_t)(end - *at));
    if (newline == NULL || newline == *at || newline[-1] != '\r')
        return false;
    *ret_line = bytes_of(*at, (size_t)(newline - 1 - *at));
    *at = newline + 1;
    return true;
}

static enum http_refusal judge(const struct framing_headers *seen, struct http_request *r)
{
    if (!seen->has_host && r->minor_version == 1)
        return HTTP_REFUSE_BAD_HOST;
    if (r->is_chunked && r->has_content_length)
        return HTTP_REFUSE_BAD_LENGTH;
    r->keeps_alive = !seen->says_close && (r->minor_version == 1 || seen->says_keep_alive);
    return HTTP_REFUSE_NONE;
}

enum http_refusal head_parse(const char *data, size_t size, struct http_request *ret_request,
                             struct http_header *headers)
{
    struct http_request *r = ret_request;
    *r = (struct http_request){.headers = headers};
    const char *at = data, *end = data + size;
    struct bytes line;
    if (size >= 2 && data[0] == '\r' && data[1] == '\n')
        at += 2;
    if (!next_line(&at, end, &line))
        return HTTP_REFUSE_BAD_SYNTAX;
    enum http_refusal why = parse_request_line(line, r);
    struct framing_headers seen = {0};
    while (!why) {
        if (!next_line(&at, end, &line))
            return HTTP_REFUSE_BAD_SYNTAX;
        if (line.size == 0)
            return at == end ? judge(&seen, r) : HTTP_REFUSE_BAD_SYNTAX;
        if (r->header_count == HTTP_HEADERS_MAX)
            return HTTP_REFUSE_HEAD_TOO_LARGE;
        struct http_header *header = &headers[r->header_count];
        why = parse_header_line(line, header);
        if (!why) {
            r->header_count++;
            why = note_header(&seen, r, header);
        }
    }
    return why;
}

struct bytes http_request_header(const struct http_request *request, const char *name)
{
    size_t size = strlen(name);
    for (size_t i = 0; i < request->header_count; i++) {
        const struct http_header *header = &request->headers[i];
        if (header->name.size == size && strncasecmp(header->name.data, name, size) == 0)
            return header->value;
    }
    return (struct bytes){NULL, 0};
}

int http_refusal_status(enum http_refusal why)
{
    static const int statuses[] = {
#define X(name, status, text) status,
        HTTP_REFUSALS(X)
#undef X
    };
    CHECK((size_t)why < COUNT_OF(statuses));
    return statuses[why];
}

const char *http_refusal_text(enum http_refusal why)
{
    static const char *const texts[] = {
#define X(name, status, text) text,
        HTTP_REFUSALS(X)
#undef X
    };
    CHECK((size_t)why < COUNT_OF(texts));
    return texts[why];
}
