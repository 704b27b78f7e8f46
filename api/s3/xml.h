/*
 * XML in both directions. Out: a few functions on a growing text; everything a client chose is
 * escaped, control characters as character references, as S3 does. In: the three documents clients
 * send, read by expat with what XML can do and S3 never needs switched off: a document type,
 * entities of one's own, depth and size beyond the schema are MalformedXML (so there is nothing to
 * expand or fetch).
 */
#ifndef API_S3_XML_H
#define API_S3_XML_H

#include "storage/object.h"

#define S3_XMLNS "http://s3.amazonaws.com/doc/2006-03-01/"

void xml_put_escaped(struct text_buf *out, struct bytes text);
/* Writes <name>escaped</name>. */
void xml_put_element(struct text_buf *out, const char *name, struct bytes text);

/* ---- reading ---- */
/* ERR_BAD_SYNTAX: not the document wanted; ERR_TOO_LARGE: more items than S3 allows;
 * ERR_NO_MEMORY. */

struct xml_completed_part {
    uint64_t number;            /* as sent: the caller judges 1..PARTS_MAX and the order */
    struct bytes etag;          /* borrowed from the result; with or without quotes */
    struct bytes checksum;      /* base64; empty: none */
    uint8_t checksum_algorithm; /* as struct checksum's: 0 none */
};
struct xml_complete {
    struct xml_completed_part *parts; /* owned */
    size_t count;
    char *text; /* owned: what the views point into */
};
enum err xml_read_complete(struct bytes document, struct xml_complete *ret_complete) MUST_USE;
void xml_complete_free(struct xml_complete *complete);

struct xml_delete_key {
    struct bytes key;
    struct bytes version; /* empty: none */
    struct bytes etag;    /* condition; empty: none */
};
struct xml_delete {
    struct xml_delete_key *keys; /* owned */
    size_t count;
    bool is_quiet;
    char *text; /* owned */
};
enum err xml_read_delete(struct bytes document, struct xml_delete *ret_delete) MUST_USE;
void xml_delete_free(struct xml_delete *delete);

/* CreateBucketConfiguration: the location constraint, or "" when there is none. An empty document
 * is fine. */
enum err xml_read_create_bucket(struct bytes document, char region[32]) MUST_USE;

#endif
