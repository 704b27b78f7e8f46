#include "api/s3/meta.h"

#include "base/check.h"

#define META_VERSION 1
#define USER_PREFIX  BYTES("x-amz-meta-")

enum meta_kind {
    KIND_USER,
    KIND_CONTENT_TYPE,
    KIND_CONTENT_ENCODING,
    KIND_CONTENT_DISPOSITION,
    KIND_CONTENT_LANGUAGE,
    KIND_CACHE_CONTROL,
    KIND_EXPIRES,
    KIND_STORAGE_CLASS,
    KIND_REDIRECT,
    KIND_COUNT,
};

static const struct bytes kind_headers[KIND_COUNT] = {
    [KIND_CONTENT_TYPE] = {"Content-Type", 12},
    [KIND_CONTENT_ENCODING] = {"Content-Encoding", 16},
    [KIND_CONTENT_DISPOSITION] = {"Content-Disposition", 19},
    [KIND_CONTENT_LANGUAGE] = {"Content-Language", 16},
    [KIND_CACHE_CONTROL] = {"Cache-Control", 13},
    [KIND_EXPIRES] = {"Expires", 7},
    [KIND_STORAGE_CLASS] = {"x-amz-storage-class", 19},
    [KIND_REDIRECT] = {"x-amz-website-redirect-location", 31},
};

static const struct bytes storage_classes[] = {
    {"STANDARD", 8},         {"REDUCED_REDUNDANCY", 18},  {"STANDARD_IA", 11},
    {"ONEZONE_IA", 10},      {"INTELLIGENT_TIERING", 19}, {"GLACIER", 7},
    {"DEEP_ARCHIVE", 12},    {"GLACIER_IR", 10},          {"OUTPOSTS", 8},
    {"EXPRESS_ONEZONE", 15},
};

/* ---- encoding ---- */

static void put_u16(struct buf *out, size_t value)
{
    char bytes[2];
    put_le16(bytes, (uint16_t)value);
    buf_put(out, bytes_of(bytes, sizeof bytes));
}

static void put_entry(struct buf *out, enum meta_kind kind, struct bytes value)
{
    buf_put_char(out, (char)kind);
    put_u16(out, value.size);
    buf_put(out, value);
}

static void put_user(struct buf *out, struct bytes name, struct bytes value)
{
    buf_put_char(out, KIND_USER);
    buf_put_char(out, (char)name.size);
    put_u16(out, value.size);
    for (size_t i = 0; i < name.size; i++)
        buf_put_char(out, name.data[i] >= 'A' && name.data[i] <= 'Z' ? (char)(name.data[i] | 0x20)
                                                                     : name.data[i]);
    buf_put(out, value);
}

/* aws-chunked tells how the body was sent, not what it is: S3 does not store it. */
static struct bytes without_aws_chunked(struct bytes encoding, struct buf *kept)
{
    while (encoding.data != NULL) {
        struct bytes coding = bytes_trim(bytes_split(&encoding, ','));
        if (coding.size == 0 || bytes_equal_nocase(coding, BYTES("aws-chunked")))
            continue;
        if (kept->size > 0)
            buf_put(kept, BYTES(", "));
        buf_put(kept, coding);
    }
    return buf_bytes(kept);
}

static bool storage_class_is_known(struct bytes name)
{
    for (size_t i = 0; i < COUNT_OF(storage_classes); i++)
        if (bytes_equal(name, storage_classes[i]))
            return true;
    return false;
}

static enum s3_error put_known(struct buf *out, const struct s3_headers *headers,
                               enum meta_kind kind)
{
    char memory[1024];
    struct buf kept = BUF_ON(memory);
    struct bytes value = s3_headers_find(headers, kind_headers[kind]);
    if (kind == KIND_CONTENT_TYPE && bytes_trim(value).size == 0)
        value = BYTES("binary/octet-stream");
    if (value.data == NULL)
        return S3_E(None);
    if (kind == KIND_CONTENT_ENCODING)
        value = without_aws_chunked(value, &kept);
    if (kind == KIND_STORAGE_CLASS && !storage_class_is_known(value))
        return S3_E(InvalidStorageClass);
    if (value.size > 0)
        put_entry(out, kind, value);
    return kept.overflowed ? S3_E(MetadataTooLarge) : S3_E(None);
}

enum s3_error s3_meta_encode(const struct s3_headers *headers, uint8_t out[META_BYTES_MAX],
                             size_t *ret_size)
{
    struct buf buf = {.data = (char *)out, .capacity = META_BYTES_MAX};
    buf_put_char(&buf, META_VERSION);
    for (enum meta_kind kind = KIND_CONTENT_TYPE; kind < KIND_COUNT; kind++) {
        enum s3_error error = put_known(&buf, headers, kind);
        if (error != S3_E(None))
            return error;
    }
    size_t user_size = 0;
    for (size_t i = 0; i < headers->count; i++) {
        struct bytes name = headers->at[i].name, value = headers->at[i].value;
        if (!bytes_start_with_nocase(name, USER_PREFIX) || name.size == USER_PREFIX.size)
            continue;
        name = bytes_slice(name, USER_PREFIX.size, SIZE_MAX);
        user_size += name.size + value.size;
        if (name.size > 255 || user_size > USER_META_BYTES_MAX)
            return S3_E(MetadataTooLarge);
        put_user(&buf, name, value);
    }
    if (buf.overflowed)
        return S3_E(MetadataTooLarge);
    *ret_size = buf.size;
    return S3_E(None);
}

/* ---- decoding ---- */

struct entry {
    enum meta_kind kind;
    struct bytes name, value;
};

/* Cuts the next entry off *rest. */
static bool next_entry(struct bytes *rest, struct entry *ret_entry)
{
    if (rest->size < 3)
        return false;
    struct entry entry = {.kind = (enum meta_kind)(unsigned char)rest->data[0]};
    if ((unsigned)entry.kind >= KIND_COUNT)
        return false;
    size_t head = entry.kind == KIND_USER ? 4 : 3;
    if (rest->size < head)
        return false;
    size_t name_size = entry.kind == KIND_USER ? (unsigned char)rest->data[1] : 0;
    size_t value_size = get_le16(rest->data + head - 2);
    if (rest->size - head < name_size + value_size)
        return false;
    entry.name =
        entry.kind == KIND_USER ? bytes_slice(*rest, head, name_size) : kind_headers[entry.kind];
    entry.value = bytes_slice(*rest, head + name_size, value_size);
    *rest = bytes_slice(*rest, head + name_size + value_size, SIZE_MAX);
    *ret_entry = entry;
    return true;
}

enum err s3_meta_each(struct bytes attrs, s3_meta_each_fn *each, void *context)
{
    if (attrs.size == 0)
        return ERR_OK; /* stored by somebody who had no headers: libsluice */
    if (attrs.data[0] != META_VERSION)
        return ERR_CORRUPT;
    struct bytes rest = bytes_slice(attrs, 1, SIZE_MAX);
    while (rest.size > 0) {
        struct entry entry;
        if (!next_entry(&rest, &entry))
            return ERR_CORRUPT;
        if (entry.kind != KIND_USER) {
            each(context, entry.name, entry.value);
            continue;
        }
        char memory[11 + 255];
        struct buf name = BUF_ON(memory);
        buf_put(&name, USER_PREFIX);
        buf_put(&name, entry.name);
        each(context, buf_bytes(&name), entry.value);
    }
    return ERR_OK;
}

struct bytes s3_meta_find(struct bytes attrs, struct bytes header)
{
    struct bytes rest = bytes_slice(attrs, 1, SIZE_MAX);
    struct entry entry;
    while (rest.size > 0 && next_entry(&rest, &entry))
        if (entry.kind != KIND_USER && bytes_equal(entry.name, header))
            return entry.value;
    return (struct bytes){NULL, 0};
}

struct bytes s3_meta_storage_class(struct bytes attrs)
{
    struct bytes value = s3_meta_find(attrs, kind_headers[KIND_STORAGE_CLASS]);
    return value.data != NULL ? value : BYTES("STANDARD");
}

enum s3_error s3_meta_with_storage_class(struct bytes attrs, struct bytes storage_class,
                                         uint8_t out[META_BYTES_MAX], size_t *ret_size)
{
    if (!storage_class_is_known(storage_class))
        return S3_E(InvalidStorageClass);
    struct buf buf = {.data = (char *)out, .capacity = META_BYTES_MAX};
    buf_put_char(&buf, META_VERSION);
    struct bytes rest = bytes_slice(attrs, 1, SIZE_MAX);
    struct entry entry;
    while (rest.size > 0) {
        struct bytes from = rest;
        if (!next_entry(&rest, &entry))
            return S3_E(InternalError);
        if (entry.kind != KIND_STORAGE_CLASS)
            buf_put(&buf, bytes_slice(from, 0, from.size - rest.size));
    }
    put_entry(&buf, KIND_STORAGE_CLASS, storage_class);
    if (buf.overflowed)
        return S3_E(MetadataTooLarge);
    *ret_size = buf.size;
    return S3_E(None);
}
