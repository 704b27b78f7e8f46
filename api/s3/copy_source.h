/* The source of a copy: x-amz-copy-source and its conditions, the right to read it, the object
 * itself. */
#ifndef API_S3_COPY_SOURCE_H
#define API_S3_COPY_SOURCE_H

#include "api/s3/request.h"

#define COPY_BYTES_MAX PUT_BYTES_MAX /* of one copy, as of one upload */

struct s3_copy_source {
    struct bucket_info bucket;
    struct bytes key; /* in text */
    struct s3_lookup lookup;
    char text[KEY_BYTES_MAX + BUCKET_NAME_BYTES_MAX + 2];
};

/* Parses the header, finds the bucket, judges permission. False: answered with an error. */
bool s3_copy_source_parse(struct s3_request *r, struct s3_copy_source *source);
/* true: found or not at once; false: r->op is woken. */
bool s3_copy_source_find(struct s3_request *r, struct s3_copy_source *source);
/* Then: the object meets the x-amz-copy-source-if-* conditions. False: answered with an error. */
bool s3_copy_source_judge(struct s3_request *r, struct s3_copy_source *source);
void s3_copy_source_fini(struct s3_copy_source *source);

#endif
