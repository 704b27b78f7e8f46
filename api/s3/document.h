/* Pieces of the XML documents that answers are made of, on a growing text: elements in S3's order
 * and namespace. */
#ifndef API_S3_DOCUMENT_H
#define API_S3_DOCUMENT_H

#include "storage/object.h"

/* The XML declaration and the root element with S3's namespace. */
void doc_begin(struct text_buf *text, const char *root);
void doc_end(struct text_buf *text, const char *root);
void doc_open(struct text_buf *text, const char *element);
void doc_close(struct text_buf *text, const char *element);

void doc_text(struct text_buf *text, const char *element, struct bytes value); /* escaped */
void doc_u64(struct text_buf *text, const char *element, uint64_t value);
void doc_bool(struct text_buf *text, const char *element, bool value);
/* As 2026-11-24T09:10:11.000Z. */
void doc_time(struct text_buf *text, const char *element, uint64_t real_ns);
void doc_etag(struct text_buf *text, const struct etag *etag);

/* Names of objects under encoding-type=url or not. */
enum doc_names { DOC_NAMES_PLAIN, DOC_NAMES_URL };
void doc_name(struct text_buf *text, const char *element, struct bytes name, enum doc_names names);

void doc_owner(struct text_buf *text, const char *element, struct bytes id); /* <Owner><ID>.. */
/* <ChecksumCRC32> or its like and nothing for none; with `part_count` a composite one is "value-N".
 */
void doc_checksum(struct text_buf *text, const struct checksum *checksum, uint32_t part_count);
/* ChecksumAlgorithm, ChecksumType. */
void doc_checksum_kind(struct text_buf *text, const struct checksum *checksum);

#endif
