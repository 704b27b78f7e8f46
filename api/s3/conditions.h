/*
 * Conditional requests (RFC 9110 section 13, and S3's use of it for writes). Reads are judged here,
 * against the object looked up. Writes are only parsed here: they are judged where the mutation is
 * applied, in order with all others, and so are exact under races; the same judgement beforehand
 * spares the client sending a body in vain.
 */
#ifndef API_S3_CONDITIONS_H
#define API_S3_CONDITIONS_H

#include "api/s3/error.h"
#include "storage/object.h"

/* `"` 32 hex digits [`-` parts] `"`, with or without the quotes. False: no ETag of ours, so it
 * matches nothing. */
bool s3_etag_parse(struct bytes text, struct etag *ret_etag);
#define ETAG_TEXT_BYTES 48
struct bytes s3_etag_text(const struct etag *etag, char out[ETAG_TEXT_BYTES]); /* quoted */
bool s3_etag_equal(const struct etag *a, const struct etag *b);

struct s3_read_conditions { /* header values; {NULL, 0}: absent */
    struct bytes if_match, if_none_match, if_modified_since, if_unmodified_since;
};
enum s3_verdict { S3_HOLDS, S3_NOT_MODIFIED, S3_PRECONDITION_FAILED };
enum s3_verdict s3_conditions_read(const struct s3_read_conditions *conditions,
                                   const struct object_info *info);
/* Whether a Range is to be honoured under this If-Range value (an ETag or a date). */
bool s3_if_range_holds(struct bytes if_range, const struct object_info *info);

/* If-Match: "*" or one ETag; If-None-Match: "*" or one ETag. An ETag that is none of ours can match
 * nothing. */
void s3_conditions_write(struct bytes if_match, struct bytes if_none_match,
                         struct conditions *ret_conditions);
static inline bool s3_conditions_any(const struct conditions *c)
{
    return c->if_none_match_any || c->if_match_any || c->has_if_match || c->has_if_none_match;
}
/* What applying would say, given the present object (NULL: none): ERR_OK, ERR_PRECONDITION,
 * ERR_NO_SUCH_OBJECT. */
enum err s3_conditions_foresee(const struct conditions *conditions,
                               const struct object_info *info) MUST_USE;

#endif
