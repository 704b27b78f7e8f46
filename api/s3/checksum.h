/*
 * S3's additional checksums ("Checking object integrity", Amazon S3 user guide): five algorithms,
 * sent in a header or a trailer in base64, stored with the object, told back on request. Of an
 * upload in parts the object's checksum is either of all bytes (FULL_OBJECT: CRCs, combined from
 * the parts' without reading them) or of the parts' checksums end to end (COMPOSITE, shown with
 * "-N"). Pure.
 */
#ifndef API_S3_CHECKSUM_H
#define API_S3_CHECKSUM_H

#include "api/s3/headers.h"
#include "base/digest.h"
#include "storage/object.h"

/* As struct checksum's type. */
enum s3_checksum_type { S3_CHECKSUM_FULL_OBJECT, S3_CHECKSUM_COMPOSITE };

/* An algorithm is 1 + enum digest_kind, 0 none, as in struct checksum. */
#define S3_CHECKSUM_ALGORITHM(kind) ((uint8_t)(1 + (kind)))

struct s3_checksum_name {
    uint8_t algorithm;
    const char *name;                   /* "CRC32": in x-amz-sdk-checksum-algorithm and XML */
    const char *header;                 /* "x-amz-checksum-crc32" */
    const char *element;                /* "ChecksumCRC32" */
    bool may_be_full, may_be_composite; /* for an upload in parts */
};
#define S3_CHECKSUM_COUNT 5
extern const struct s3_checksum_name s3_checksum_names[S3_CHECKSUM_COUNT];

const struct s3_checksum_name *s3_checksum_name(uint8_t algorithm); /* NULL: none */
/* "crc32", any case; NULL: unknown. */
const struct s3_checksum_name *s3_checksum_by_name(struct bytes name);
/* Of a header or trailer; NULL: not one. */
const struct s3_checksum_name *s3_checksum_by_header(struct bytes header);
static inline enum digest_kind s3_checksum_digest(uint8_t algorithm)
{
    return (enum digest_kind)(algorithm - 1);
}

/* Base64 of just the algorithm's size. */
bool s3_checksum_parse(uint8_t algorithm, struct bytes base64, struct checksum *ret_checksum);
/* What the request's headers promise: none (algorithm 0), or one. False: several, or one
 * malformed. */
bool s3_checksum_from_headers(const struct s3_headers *headers, struct checksum *ret_checksum);
/* Algorithm and value. */
bool s3_checksum_equal(const struct checksum *a, const struct checksum *b);

/* "FULL_OBJECT", "COMPOSITE" */
const char *s3_checksum_type_name(uint8_t type);
bool s3_checksum_type_parse(struct bytes text, uint8_t *ret_type);
/* The type an upload in parts gets when it asks for none. */
uint8_t s3_checksum_type_default(uint8_t algorithm);
bool s3_checksum_type_fits(uint8_t algorithm, uint8_t type);

/* ---- the whole object's from its parts' ---- */
struct s3_checksum_whole {
    struct checksum checksum; /* algorithm and type wanted */
    struct digest digest;     /* COMPOSITE */
    uint64_t crc;             /* FULL_OBJECT */
    bool is_empty;
};
/* `wanted`: algorithm and type, which fit each other. */
void s3_checksum_whole_init(struct s3_checksum_whole *whole, const struct checksum *wanted);
void s3_checksum_whole_add(struct s3_checksum_whole *whole, const struct checksum *part,
                           uint64_t part_size);
void s3_checksum_whole_final(struct s3_checksum_whole *whole, struct checksum *ret_checksum);

/* Content-MD5: 16 bytes in base64. */
bool s3_content_md5_parse(struct bytes text, uint8_t md5[16]);

#endif
