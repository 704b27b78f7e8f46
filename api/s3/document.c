#include "api/s3/document.h"

#include "api/s3/checksum.h"
#include "api/s3/conditions.h"
#include "api/s3/object_headers.h"
#include "api/s3/time.h"
#include "api/s3/uri.h"
#include "api/s3/xml.h"

void doc_begin(struct text_buf *text, const char *root)
{
    text_put_string(text, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<");
    text_put_string(text, root);
    text_put_string(text, " xmlns=\"" S3_XMLNS "\">");
}

void doc_end(struct text_buf *text, const char *root)
{
    doc_close(text, root);
}

void doc_open(struct text_buf *text, const char *element)
{
    text_put(text, BYTES("<"));
    text_put_string(text, element);
    text_put(text, BYTES(">"));
}

void doc_close(struct text_buf *text, const char *element)
{
    text_put(text, BYTES("</"));
    text_put_string(text, element);
    text_put(text, BYTES(">"));
}

void doc_text(struct text_buf *text, const char *element, struct bytes value)
{
    xml_put_element(text, element, value);
}

void doc_u64(struct text_buf *text, const char *element, uint64_t value)
{
    doc_open(text, element);
    text_put_u64(text, value);
    doc_close(text, element);
}

void doc_bool(struct text_buf *text, const char *element, bool value)
{
    doc_text(text, element, value ? BYTES("true") : BYTES("false"));
}

void doc_time(struct text_buf *text, const char *element, uint64_t real_ns)
{
    char iso[S3_TIME_ISO_BYTES];
    s3_time_iso(real_ns, iso);
    doc_text(text, element, bytes_of_string(iso));
}

void doc_etag(struct text_buf *text, const struct etag *etag)
{
    char shown[ETAG_TEXT_BYTES];
    doc_text(text, "ETag", s3_etag_text(etag, shown));
}

void doc_name(struct text_buf *text, const char *element, struct bytes name, enum doc_names names)
{
    if (names == DOC_NAMES_PLAIN) {
        doc_text(text, element, name);
        return;
    }
    doc_open(text, element);
    uri_encode(name, URI_SLASH_KEPT, text);
    doc_close(text, element);
}

void doc_owner(struct text_buf *text, const char *element, struct bytes id)
{
    doc_open(text, element);
    doc_text(text, "ID", id);
    doc_close(text, element);
}

void doc_checksum(struct text_buf *text, const struct checksum *checksum, uint32_t part_count)
{
    const struct s3_checksum_name *name = s3_checksum_name(checksum->algorithm);
    char shown[CHECKSUM_TEXT_BYTES];
    if (name != NULL)
        doc_text(text, name->element, s3_checksum_text(checksum, part_count, shown));
}

void doc_checksum_kind(struct text_buf *text, const struct checksum *checksum)
{
    const struct s3_checksum_name *name = s3_checksum_name(checksum->algorithm);
    if (name == NULL)
        return;
    doc_text(text, "ChecksumAlgorithm", bytes_of_string(name->name));
    doc_text(text, "ChecksumType", bytes_of_string(s3_checksum_type_name(checksum->type)));
}
