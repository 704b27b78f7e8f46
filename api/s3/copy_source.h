/*
 * The source of a copy: x-amz-copy-source and its conditions, the right to read it, the object
 * itself.
 *
 * A copy is ordered with the source as it was looked up. When that was replaced or deleted
 * meanwhile the order is refused, for nodes free its bytes at times of their own, and the copy
 * begins anew with what is there now. Its conditions are judged again; a client sees one of the
 * source's versions, never a mixture. One that changes faster than it can be copied is 503, which
 * clients try again.
 */
#ifndef API_S3_COPY_SOURCE_H
#define API_S3_COPY_SOURCE_H

#include "api/s3/request.h"

#define COPY_BYTES_MAX PUT_BYTES_MAX /* of one copy, as of one upload */
#define COPY_TRIES_MAX 4u            /* by then somebody replaces the source all the time */

struct s3_copy_source {
    struct bucket_info bucket;
    struct bytes key; /* in text */
    struct s3_lookup lookup;
    struct s3_ask *fresh; /* before it is looked up again */
    unsigned tries;
    char text[KEY_BYTES_MAX + BUCKET_NAME_BYTES_MAX + 2];
};

/* Parses the header, finds the bucket, judges permission. False: answered with an error. */
bool s3_copy_source_parse(struct s3_request *r, struct s3_copy_source *source);
/* true: found or not at once; false: r->op is woken. */
bool s3_copy_source_find(struct s3_request *r, struct s3_copy_source *source);
/* Then: the object meets the x-amz-copy-source-if-* conditions. False: answered with an error. */
bool s3_copy_source_judge(struct s3_request *r, struct s3_copy_source *source);
/* What the mutation was made of. */
void s3_copy_source_note(const struct s3_copy_source *source, struct mutation *m);
/* The mutation was refused, for the source has changed (ERR_CONFLICT). True: r->op is woken, then
 * s3_copy_source_find(). False: answered with an error. */
bool s3_copy_source_again(struct s3_request *r, struct s3_copy_source *source);
void s3_copy_source_fini(struct s3_copy_source *source);

#endif
