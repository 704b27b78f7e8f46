/*
 * The Range header (RFC 9110 section 14). One range is read as S3 reads it. Of several, S3 knows
 * nothing and sends the whole object; we answer them by multipart/byteranges, as web servers do:
 *
 *   - what the object does not have is left out; nothing left is 416
 *   - ranges that overlap or touch become one, in the place of the first: no byte is sent twice,
 *     however often it was asked for
 *   - the rest stays in the order asked for
 *   - more than S3_RANGES_MAX, another unit or a malformed value: as if there were no Range (14.2
 *     allows it)
 *
 * Pure.
 */
#ifndef API_S3_RANGE_H
#define API_S3_RANGE_H

#include "base/bytes.h"

struct s3_range {
    uint64_t offset, size; /* inside the object; size > 0 */
};

/* A viewer of PDFs or a reader of archives asks for a dozen; each costs up to one read of a sum
 * chunk, and some 120 bytes of head. */
#define S3_RANGES_MAX 64u
struct s3_ranges {
    uint32_t count;
    struct s3_range at[S3_RANGES_MAX]; /* disjoint */
};

enum s3_range_kind {
    S3_RANGE_NONE,          /* answer with the whole object */
    S3_RANGE_OK,            /* one or more */
    S3_RANGE_UNSATISFIABLE, /* 416 */
};
enum s3_range_kind s3_ranges_parse(struct bytes header, uint64_t object_size,
                                   struct s3_ranges *ret_ranges);

/* x-amz-copy-source-range: only "bytes=a-b", wholly inside the source. ERR_INVALID otherwise. */
enum err s3_copy_range_parse(struct bytes header, uint64_t source_size,
                             struct s3_range *ret_range) MUST_USE;

#endif
