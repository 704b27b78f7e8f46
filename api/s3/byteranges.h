/*
 * Several ranges of an object in one answer: multipart/byteranges (RFC 9110 14.6), handed to the
 * engine piece by piece so that each range leaves by a data path of its own.
 *
 *     --B  Content-Type, Content-Range  bytes   --B ... bytes   --B--
 *
 * Lives in a block of the request; the object is the request's, too.
 */
#ifndef API_S3_BYTERANGES_H
#define API_S3_BYTERANGES_H

#include "api/s3/range.h"
#include "api/s3/request.h"

#define BYTERANGES_TYPE_BYTES_MAX 256u /* a Content-Type that fits a piece's text */
#define BYTERANGES_BOUNDARY_BYTES 24u

struct s3_byteranges {
    struct http_pieces pieces;
    struct object *object;     /* borrowed */
    struct bytes content_type; /* of the object; borrowed */
    struct s3_ranges ranges;
    uint32_t next; /* piece */
    char boundary[BYTERANGES_BOUNDARY_BYTES + 1];
};

/* The boundary is random: who stores an object must not be able to end a part in it. */
void s3_byteranges_init(struct s3_byteranges *b, const struct s3_ranges *ranges,
                        struct object *object, struct bytes content_type, struct rand *rand);
/* "multipart/byteranges; boundary=B" */
void s3_byteranges_header(struct s3_request *r, const struct s3_byteranges *b);
/* "bytes 0-99/1000" */
void s3_range_put(struct buf *out, const struct s3_range *range, uint64_t object_size);

#endif
