/*
 * The Range header (RFC 9110 section 14) as S3 reads it: one range of bytes. Several ranges, another unit or a malformed value are as if
 * there were none: the whole object, 200. Pure.
 */
#ifndef API_S3_RANGE_H
#define API_S3_RANGE_H

#include "base/bytes.h"

struct s3_range {
    uint64_t offset, size; /* inside the object; size > 0 */
};

enum s3_range_kind {
    S3_RANGE_NONE,          /* answer with the whole object */
    S3_RANGE_OK,
    S3_RANGE_UNSATISFIABLE, /* 416 */
};
enum s3_range_kind s3_range_parse(struct bytes header, uint64_t object_size, struct s3_range *ret_range);

/* x-amz-copy-source-range: only "bytes=a-b", wholly inside the source. ERR_INVALID otherwise. */
enum err s3_copy_range_parse(struct bytes header, uint64_t source_size, struct s3_range *ret_range) MUST_USE;

#endif
