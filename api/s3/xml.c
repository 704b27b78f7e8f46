#include "api/s3/xml.h"

#include <expat.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/digest.h"

/* ---- writing ---- */

void xml_put_escaped(struct text_buf *out, struct bytes text)
{
    size_t clean_from = 0;
    for (size_t i = 0; i < text.size; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c >= 0x20 && c != '&' && c != '<' && c != '>' && c != '"')
            continue;
        text_put(out, bytes_slice(text, clean_from, i - clean_from));
        clean_from = i + 1;
        if (c == '&')
            text_put_string(out, "&amp;");
        else if (c == '<')
            text_put_string(out, "&lt;");
        else if (c == '>')
            text_put_string(out, "&gt;");
        else if (c == '"')
            text_put_string(out, "&quot;");
        else
            text_printf(out, "&#x%x;", c);
    }
    text_put(out, bytes_slice(text, clean_from, SIZE_MAX));
}

void xml_put_element(struct text_buf *out, const char *name, struct bytes text)
{
    text_put(out, BYTES("<"));
    text_put_string(out, name);
    text_put(out, BYTES(">"));
    xml_put_escaped(out, text);
    text_put(out, BYTES("</"));
    text_put_string(out, name);
    text_put(out, BYTES(">"));
}

/* ---- reading ---- */

#define DEPTH_MAX           4
#define NAMESPACE_SEPARATOR '|'

struct reader;

struct reader_kind {
    const char *root;
    /* Each sees an element's local name; depth 1 is the root's children. An error ends the
     * reading. */
    enum err (*open)(struct reader *reader, struct bytes name);
    enum err (*close)(struct reader *reader, struct bytes name, struct bytes text);
};

struct reader {
    const struct reader_kind *kind;
    XML_Parser parser;
    enum err err;
    int depth;
    bool seen_root;
    /* All text of the document, end to end: an element's is what was added since it began. A
     * document's text never exceeds the document, so this never grows and views into it stay
     * valid. */
    char *text;
    size_t text_size, text_capacity;
    size_t element_from;

    /* results under construction */
    struct xml_complete complete;
    size_t capacity;
    struct xml_delete delete;
    bool in_object; /* an Object of a Delete is open, not its Quiet */
    char *region;
};

/* Expat hands over "namespace|local" or "local". Only S3's namespace, or none, is S3's document. */
static bool local_name(const char *name, struct bytes *ret_local)
{
    struct bytes whole = bytes_of_string(name);
    size_t at = bytes_find_char(whole, 0, NAMESPACE_SEPARATOR);
    if (at == SIZE_MAX) {
        *ret_local = whole;
        return true;
    }
    *ret_local = bytes_slice(whole, at + 1, SIZE_MAX);
    return bytes_equal(bytes_slice(whole, 0, at), BYTES(S3_XMLNS));
}

static void reader_fail(struct reader *reader, enum err e)
{
    if (reader->err)
        return;
    reader->err = e;
    XML_StopParser(reader->parser, XML_FALSE);
}

static void XMLCALL on_start(void *context, const char *name, const char **attributes)
{
    (void)attributes;
    struct reader *reader = context;
    struct bytes local;
    if (reader->err)
        return;
    if (!local_name(name, &local) || reader->depth >= DEPTH_MAX) {
        reader_fail(reader, ERR_BAD_SYNTAX);
        return;
    }
    reader->element_from = reader->text_size;
    if (reader->depth++ == 0) {
        reader->seen_root = bytes_equal(local, bytes_of_string(reader->kind->root));
        if (!reader->seen_root)
            reader_fail(reader, ERR_BAD_SYNTAX);
        return;
    }
    enum err e = reader->kind->open(reader, local);
    if (e)
        reader_fail(reader, e);
}

static void XMLCALL on_end(void *context, const char *name)
{
    struct reader *reader = context;
    struct bytes local;
    if (reader->err || !local_name(name, &local) || --reader->depth == 0)
        return;
    struct bytes text =
        bytes_of(reader->text + reader->element_from, reader->text_size - reader->element_from);
    enum err e = reader->kind->close(reader, local, text);
    if (e)
        reader_fail(reader, e);
    reader->element_from = reader->text_size;
}

static void XMLCALL on_text(void *context, const char *text, int size)
{
    struct reader *reader = context;
    if (reader->err)
        return;
    if ((size_t)size > reader->text_capacity - reader->text_size) {
        reader_fail(reader, ERR_TOO_LARGE);
        return;
    }
    memcpy(reader->text + reader->text_size, text, (size_t)size);
    reader->text_size += (size_t)size;
}

static void XMLCALL on_doctype(void *context, const char *name, const char *system_id,
                               const char *public_id, int has_internal_subset)
{
    (void)name, (void)system_id, (void)public_id, (void)has_internal_subset;
    reader_fail(context, ERR_BAD_SYNTAX);
}

/* On success reader->text is the result's to free; on failure it is freed here. */
static enum err reader_run(struct reader *reader, struct bytes document)
{
    if (document.size > XML_BODY_BYTES_MAX)
        return ERR_TOO_LARGE;
    /* A character reference is longer than what it stands for; line ends only shrink. */
    reader->text_capacity = document.size + 1;
    reader->text = malloc(reader->text_capacity);
    reader->parser = XML_ParserCreateNS(NULL, NAMESPACE_SEPARATOR);
    if (reader->text == NULL || reader->parser == NULL) {
        reader->err = ERR_NO_MEMORY;
    } else {
        XML_SetUserData(reader->parser, reader);
        XML_SetElementHandler(reader->parser, on_start, on_end);
        XML_SetCharacterDataHandler(reader->parser, on_text);
        XML_SetStartDoctypeDeclHandler(reader->parser, on_doctype);
        if (XML_Parse(reader->parser, document.data, (int)document.size, 1) != XML_STATUS_OK &&
            !reader->err)
            reader->err = XML_GetErrorCode(reader->parser) == XML_ERROR_NO_MEMORY ? ERR_NO_MEMORY
                                                                                  : ERR_BAD_SYNTAX;
        if (!reader->err && !reader->seen_root)
            reader->err = ERR_BAD_SYNTAX;
    }
    if (reader->parser != NULL)
        XML_ParserFree(reader->parser);
    if (reader->err)
        free(TAKE(reader->text));
    return reader->err;
}

/* Makes room for one more item of `item_bytes` in *items; counts stay the caller's. */
static enum err grow(struct reader *reader, void **items, size_t count, size_t item_bytes)
{
    if (count < reader->capacity)
        return ERR_OK;
    size_t capacity = reader->capacity > 0 ? reader->capacity * 2 : 64;
    void *grown = realloc(*items, capacity * item_bytes);
    if (grown == NULL)
        return ERR_NO_MEMORY;
    *items = grown;
    reader->capacity = capacity;
    return ERR_OK;
}

/* ---- CompleteMultipartUpload ---- */

static enum err complete_open(struct reader *reader, struct bytes name)
{
    struct xml_complete *complete = &reader->complete;
    if (reader->depth == 2) {
        if (!bytes_equal(name, BYTES("Part")))
            return ERR_BAD_SYNTAX;
        if (complete->count == PARTS_MAX)
            return ERR_TOO_LARGE;
        enum err e =
            grow(reader, (void **)&complete->parts, complete->count, sizeof *complete->parts);
        if (e)
            return e;
        complete->parts[complete->count++] = (struct xml_completed_part){0};
    }
    return reader->depth > 3 ? ERR_BAD_SYNTAX : ERR_OK;
}

static enum err complete_close(struct reader *reader, struct bytes name, struct bytes text)
{
    static const struct {
        struct bytes name;
        enum digest_kind kind;
    } sums[] = {
        {{"ChecksumCRC32", 13}, DIGEST_CRC32},         {{"ChecksumCRC32C", 14}, DIGEST_CRC32C},
        {{"ChecksumCRC64NVME", 17}, DIGEST_CRC64NVME}, {{"ChecksumSHA1", 12}, DIGEST_SHA1},
        {{"ChecksumSHA256", 14}, DIGEST_SHA256},
    };
    struct xml_completed_part *part = &reader->complete.parts[reader->complete.count - 1];
    text = bytes_trim(text);
    if (reader->depth == 1) /* </Part> */
        return part->number > 0 && part->etag.size > 0 ? ERR_OK : ERR_BAD_SYNTAX;
    if (bytes_equal(name, BYTES("PartNumber"))) {
        enum err e = bytes_to_u64(text, &part->number);
        return e || part->number == 0 ? ERR_BAD_SYNTAX : ERR_OK;
    }
    if (bytes_equal(name, BYTES("ETag"))) {
        part->etag = text;
        return ERR_OK;
    }
    for (size_t i = 0; i < COUNT_OF(sums); i++)
        if (bytes_equal(name, sums[i].name)) {
            part->checksum = text;
            part->checksum_algorithm = (uint8_t)(1 + sums[i].kind);
            return ERR_OK;
        }
    return ERR_BAD_SYNTAX;
}

enum err xml_read_complete(struct bytes document, struct xml_complete *ret_complete)
{
    static const struct reader_kind kind = {"CompleteMultipartUpload", complete_open,
                                            complete_close};
    struct reader reader = {.kind = &kind};
    enum err e = reader_run(&reader, document);
    if (!e && reader.complete.count == 0) {
        free(reader.text);
        e = ERR_BAD_SYNTAX;
    }
    if (e) {
        free(reader.complete.parts);
        return e;
    }
    reader.complete.text = reader.text;
    *ret_complete = reader.complete;
    return ERR_OK;
}

void xml_complete_free(struct xml_complete *complete)
{
    free(complete->parts);
    free(complete->text);
    *complete = (struct xml_complete){0};
}

/* ---- Delete ---- */

static enum err delete_open(struct reader *reader, struct bytes name)
{
    struct xml_delete *delete = &reader->delete;
    if (reader->depth == 2) {
        reader->in_object = bytes_equal(name, BYTES("Object"));
        if (bytes_equal(name, BYTES("Quiet")))
            return ERR_OK;
        if (!reader->in_object)
            return ERR_BAD_SYNTAX;
        if (delete->count == DELETE_KEYS_MAX)
            return ERR_TOO_LARGE;
        enum err e = grow(reader, (void **)&delete->keys, delete->count, sizeof *delete->keys);
        if (e)
            return e;
        delete->keys[delete->count++] = (struct xml_delete_key){0};
    }
    return reader->depth > 3 || !reader->in_object ? ERR_BAD_SYNTAX : ERR_OK;
}

/* An object's fields stand one level below it; a key's blanks are its own. */
static enum err delete_close(struct reader *reader, struct bytes name, struct bytes text)
{
    struct xml_delete *delete = &reader->delete;
    if (reader->depth == 1) {
        if (bytes_equal(name, BYTES("Quiet"))) {
            delete->is_quiet = bytes_equal_nocase(bytes_trim(text), BYTES("true"));
            return ERR_OK;
        }
        return delete->keys[delete->count - 1].key.size > 0 ? ERR_OK : ERR_BAD_SYNTAX;
    }
    struct xml_delete_key *key = &delete->keys[delete->count - 1];
    if (bytes_equal(name, BYTES("Key"))) {
        if (key->key.size > 0) /* which one would it be? */
            return ERR_BAD_SYNTAX;
        key->key = text;
    } else if (bytes_equal(name, BYTES("VersionId"))) {
        key->version = bytes_trim(text);
    } else if (bytes_equal(name, BYTES("ETag"))) {
        key->etag = bytes_trim(text);
    } else if (bytes_equal(name, BYTES("LastModifiedTime")) || bytes_equal(name, BYTES("Size"))) {
        return ERR_UNSUPPORTED; /* a condition that would not be kept must not be passed over */
    } else {
        return ERR_BAD_SYNTAX;
    }
    return ERR_OK;
}

enum err xml_read_delete(struct bytes document, struct xml_delete *ret_delete)
{
    static const struct reader_kind kind = {"Delete", delete_open, delete_close};
    struct reader reader = {.kind = &kind};
    enum err e = reader_run(&reader, document);
    if (!e && reader.delete.count == 0) {
        free(reader.text);
        e = ERR_BAD_SYNTAX;
    }
    if (e) {
        free(reader.delete.keys);
        return e;
    }
    reader.delete.text = reader.text;
    *ret_delete = reader.delete;
    return ERR_OK;
}

void xml_delete_free(struct xml_delete *delete)
{
    free(delete->keys);
    free(delete->text);
    *delete = (struct xml_delete){0};
}

/* ---- CreateBucketConfiguration ---- */

static enum err create_open(struct reader *reader, struct bytes name)
{
    (void)reader, (void)name;
    return ERR_OK;
}

static enum err create_close(struct reader *reader, struct bytes name, struct bytes text)
{
    if (!bytes_equal(name, BYTES("LocationConstraint")))
        return ERR_OK; /* Location, Bucket, Tags: of directory buckets */
    text = bytes_trim(text);
    if (text.size > 31)
        return ERR_BAD_SYNTAX;
    memcpy(reader->region, text.data, text.size);
    reader->region[text.size] = '\0';
    return ERR_OK;
}

enum err xml_read_create_bucket(struct bytes document, char region[32])
{
    static const struct reader_kind kind = {"CreateBucketConfiguration", create_open, create_close};
    region[0] = '\0';
    if (bytes_trim(document).size == 0)
        return ERR_OK;
    struct reader reader = {.kind = &kind, .region = region};
    enum err e = reader_run(&reader, document);
    if (!e)
        free(reader.text);
    return e;
}
