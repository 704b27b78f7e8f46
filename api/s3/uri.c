#include "api/s3/uri.h"

/* ---- percent-coding ---- */

const bool uri_unreserved[256] = {
    ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1, ['0' ... '9'] = 1, ['-'] = 1,
    ['.'] = 1,         ['_'] = 1,         ['~'] = 1,
};

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool uri_decode(struct bytes text, enum uri_plus plus, struct buf *out)
{
    char coded_plus = plus == URI_PLUS_IS_SPACE ? '+' : '%';
    for (size_t i = 0; i < text.size;) {
        size_t from = i;
        while (i < text.size && text.data[i] != '%' && text.data[i] != coded_plus)
            i++;
        buf_put(out, bytes_slice(text, from, i - from));
        if (i == text.size)
            break;
        if (text.data[i] == '+') {
            buf_put_char(out, ' ');
            i++;
            continue;
        }
        if (text.size - i < 3)
            return false;
        int high = hex_value(text.data[i + 1]), low = hex_value(text.data[i + 2]);
        if (high < 0 || low < 0)
            return false;
        buf_put_char(out, (char)(high << 4 | low));
        i += 3;
    }
    return !out->overflowed;
}

size_t uri_encode_short(struct bytes text, enum uri_slash slash, char *out)
{
    static const char digits[] = "0123456789ABCDEF";
    char *to = out;
    for (size_t i = 0; i < text.size; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (uri_unreserved[c] || (c == '/' && slash == URI_SLASH_KEPT)) {
            *to++ = (char)c;
            continue;
        }
        *to++ = '%', *to++ = digits[c >> 4], *to++ = digits[c & 15];
    }
    return (size_t)(to - out);
}

void uri_encode(struct bytes text, enum uri_slash slash, struct text_buf *out)
{
    char coded[3 * 128];
    for (size_t done = 0; done < text.size; done += 128)
        text_put(out,
                 bytes_of(coded, uri_encode_short(bytes_slice(text, done, 128), slash, coded)));
}

/* ---- the query ---- */

/* Prefixes and markers are told back in XML, which can hold neither. */
static bool is_text(struct bytes decoded)
{
    return bytes_find_char(decoded, 0, '\0') == SIZE_MAX && bytes_is_utf8(decoded);
}

static enum err query_decode(struct s3_query *query, struct bytes *piece)
{
    struct buf out = {.data = query->text + query->text_size,
                      .capacity = sizeof query->text - query->text_size};
    if (!uri_decode(*piece, URI_PLUS_IS_SPACE, &out))
        return out.overflowed ? ERR_TOO_LARGE : ERR_BAD_SYNTAX;
    query->text_size += (uint32_t)out.size;
    *piece = buf_bytes(&out);
    return is_text(*piece) ? ERR_OK : ERR_BAD_SYNTAX;
}

static enum err query_add(struct s3_query *query, struct bytes raw, bool raw_is_text)
{
    if (query->count == S3_QUERY_PARAMS_MAX)
        return ERR_TOO_LARGE;
    struct s3_query_param *param = &query->params[query->count];
    size_t equals = bytes_find_char(raw, 0, '=');
    param->name = bytes_slice(raw, 0, equals);
    param->value =
        equals == SIZE_MAX ? (struct bytes){NULL, 0} : bytes_slice(raw, equals + 1, SIZE_MAX);
    /* The views themselves serve when there is nothing to decode. */
    if (bytes_find_char(raw, 0, '%') != SIZE_MAX || bytes_find_char(raw, 0, '+') != SIZE_MAX) {
        enum err e = query_decode(query, &param->name);
        if (!e && equals != SIZE_MAX)
            e = query_decode(query, &param->value);
        if (e)
            return e;
    } else if (!raw_is_text && !is_text(raw)) {
        return ERR_BAD_SYNTAX;
    }
    query->name_sizes |= s3_query_size_bit(param->name.size);
    query->count++;
    return ERR_OK;
}

enum err s3_query_parse(struct bytes raw, struct s3_query *ret_query)
{
    s3_query_clear(ret_query);
    bool raw_is_text = is_text(raw); /* all at once: then no piece has to be looked at again */
    while (raw.size > 0) {
        struct bytes part = bytes_split(&raw, '&');
        if (part.size == 0)
            continue;
        enum err e = query_add(ret_query, part, raw_is_text);
        if (e)
            return e;
    }
    return ERR_OK;
}

bool s3_query__find(const struct s3_query *query, struct bytes name, struct bytes *ret_value)
{
    for (uint32_t i = 0; i < query->count; i++)
        if (bytes_equal(query->params[i].name, name)) {
            *ret_value = query->params[i].value.data != NULL ? query->params[i].value : BYTES("");
            return true;
        }
    return false;
}

/* ---- bucket and key ---- */

static struct bytes without_port(struct bytes host)
{
    if (host.size > 0 && host.data[0] == '[')
        return host; /* an IPv6 address is nobody's domain */
    size_t colon = bytes_find_char(host, 0, ':');
    return bytes_slice(host, 0, colon);
}

/*
 * "photos.s3.example.com" in front of "s3.example.com" is the bucket photos. Where one domain lies
 * inside another the longest decides, and a host that is a domain itself names no bucket.
 */
static bool host_bucket(struct bytes host, const struct bytes *domains, size_t domain_count,
                        struct bytes *ret_bucket)
{
    host = without_port(host);
    size_t longest = 0;
    for (size_t i = 0; i < domain_count; i++) {
        struct bytes domain = domains[i];
        if (bytes_equal_nocase(host, domain))
            return false;
        if (host.size <= domain.size + 1 || domain.size <= longest)
            continue;
        size_t dot = host.size - domain.size - 1;
        if (host.data[dot] != '.' ||
            !bytes_equal_nocase(bytes_slice(host, dot + 1, SIZE_MAX), domain))
            continue;
        longest = domain.size;
        *ret_bucket = bytes_slice(host, 0, dot);
    }
    return longest > 0;
}

enum s3_target_fault s3_target_parse(struct bytes raw_path, struct bytes host,
                                     const struct bytes *domains, size_t domain_count,
                                     char text[KEY_BYTES_MAX + 1], struct s3_target *ret_target)
{
    struct s3_target target = {0};
    if (raw_path.size == 0 || raw_path.data[0] != '/')
        return S3_TARGET_BAD_URI;
    struct bytes raw_key = bytes_slice(raw_path, 1, SIZE_MAX);
    target.is_virtual_host = host_bucket(host, domains, domain_count, &target.bucket);
    if (!target.is_virtual_host) {
        size_t slash = bytes_find_char(raw_key, 0, '/');
        target.bucket = bytes_slice(raw_key, 0, slash);
        raw_key =
            slash == SIZE_MAX ? (struct bytes){NULL, 0} : bytes_slice(raw_key, slash + 1, SIZE_MAX);
    }
    struct buf key = {.data = text, .capacity = KEY_BYTES_MAX};
    if (!uri_decode(raw_key, URI_PLUS_LITERAL, &key))
        return key.overflowed ? S3_TARGET_KEY_TOO_LONG : S3_TARGET_BAD_URI;
    target.key = buf_bytes(&key);
    text[key.size] = '\0';
    if (bytes_find_char(target.key, 0, '\0') != SIZE_MAX || !bytes_is_utf8(target.key))
        return S3_TARGET_BAD_URI;
    *ret_target = target;
    return S3_TARGET_OK;
}

/* docs.aws.amazon.com, "General purpose bucket naming rules" */
static bool looks_like_ipv4(struct bytes name)
{
    unsigned dots = 0;
    for (size_t i = 0; i < name.size; i++) {
        if (name.data[i] == '.')
            dots++;
        else if (name.data[i] < '0' || name.data[i] > '9')
            return false;
    }
    return dots == 3;
}

bool s3_bucket_name_is_valid(struct bytes name)
{
    static const struct bytes bad_prefixes[] = {{"xn--", 4}, {"sthree-", 7}, {"amzn-s3-demo-", 13}};
    static const struct bytes bad_suffixes[] = {
        {"-s3alias", 8}, {"--ol-s3", 7}, {".mrap", 5}, {"--x-s3", 6}, {"--table-s3", 10}};
    if (name.size < BUCKET_NAME_BYTES_MIN || name.size > BUCKET_NAME_BYTES_MAX)
        return false;
    for (size_t i = 0; i < name.size; i++) {
        char c = name.data[i];
        bool is_edge = i == 0 || i + 1 == name.size;
        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
            continue;
        if (is_edge || (c != '-' && c != '.'))
            return false;
        /* Each label of a host name begins and ends with a letter or a digit. */
        char before = name.data[i - 1];
        if (before == '.' || (before == '-' && c == '.'))
            return false;
    }
    for (size_t i = 0; i < sizeof bad_prefixes / sizeof *bad_prefixes; i++)
        if (bytes_start_with(name, bad_prefixes[i]))
            return false;
    for (size_t i = 0; i < sizeof bad_suffixes / sizeof *bad_suffixes; i++)
        if (bytes_end_with(name, bad_suffixes[i]))
            return false;
    return !looks_like_ipv4(name);
}
