/* The response headers that describe an object: shared by GET, HEAD and what else shows one. */
#ifndef API_S3_OBJECT_HEADERS_H
#define API_S3_OBJECT_HEADERS_H

#include "api/s3/request.h"

void s3_header_etag(struct s3_request *r, const struct etag *etag);
void s3_header_last_modified(struct s3_request *r, uint64_t mtime_ns);
/* x-amz-checksum-<algorithm> and x-amz-checksum-type; nothing for none. `part_count` > 0 shows a
 * composite one as "value-N". */
void s3_header_checksum(struct s3_request *r, const struct checksum *checksum, uint32_t part_count);
/* The value alone. */
void s3_header_part_checksum(struct s3_request *r, const struct checksum *checksum);
/* x-amz-checksum-algorithm and -type: what an upload's parts are to carry */
void s3_header_checksum_kind(struct s3_request *r, const struct checksum *checksum);
/* What was stored with the object: Content-Type and its like, x-amz-meta-*, storage class;
 * response-* parameters win. */
enum s3_attrs {
    S3_ATTRS_ALL,
    S3_ATTRS_OF_PIECES,    /* all but Content-Type, which the pieces of the body carry */
    S3_ATTRS_NOT_MODIFIED, /* what a cache has to learn from a 304: RFC 9110, 15.4.5 */
};
void s3_header_attrs(struct s3_request *r, const struct object_info *info, enum s3_attrs which);
/* One of them, as s3_header_attrs() would say it; {NULL, 0}: it would not. */
struct bytes s3_attr(const struct s3_request *r, const struct object_info *info, const char *name);
/* `x-sluice-durable: local:fdatasync replicas:3/3 path:rdma,tcp`: what carried the copies to the
 * other nodes; without a path there are none. */
void s3_header_receipt(struct s3_request *r, const struct receipt *receipt);
#define RECEIPT_TEXT_BYTES 80
struct bytes s3_receipt_text(const struct receipt *receipt, char out[RECEIPT_TEXT_BYTES]);

/* "value" or "value-N" as XML and headers show it. */
#define CHECKSUM_TEXT_BYTES 64
struct bytes s3_checksum_text(const struct checksum *checksum, uint32_t part_count,
                              char out[CHECKSUM_TEXT_BYTES]);

#endif
