/*
 * Compressed variants, as nginx's gzip_static serves them: in buckets that ask for it, `key`
 * requested by a client that takes gzip is answered with the bytes of `key.gz`, stored beside it by
 * whoever published both. Nothing is compressed here.
 *
 * The variant lends its bytes, ETag, date and checksum; what else is said comes from `key`, and
 * Content-Encoding: gzip. Every answer for a key that might have one says Vary: Accept-Encoding, so
 * that a cache keeps them apart. A variant older than its original is not used: it is of bytes that
 * are no more.
 */
#ifndef API_S3_VARIANT_H
#define API_S3_VARIANT_H

#include "api/s3/request.h"

struct s3_variant {
    struct s3_lookup lookup; /* of key.gz */
    char key[KEY_BYTES_MAX];
};

/* Whether the request's key is one that may have a variant: what its answer depends on. */
bool s3_variant_may_be(const struct s3_request *r);
/* Whether this client is to be served it, if it is there. */
bool s3_variant_is_wanted(const struct s3_request *r, const struct object_info *original);
/* Looks for it; true: at once, false: the operation is woken. */
bool s3_variant_begin(struct s3_request *r, struct s3_variant *variant);
/* Afterwards: whether it is there and serves. An error is one of the store's. */
enum err s3_variant_end(struct s3_variant *variant, const struct object_info *original,
                        bool *ret_serves) MUST_USE;

/* Accept-Encoding (RFC 9110, 12.5.3): gzip is named, and no less welcome than the bytes as they
 * are. Pure. */
bool s3_accepts_gzip(struct bytes accept_encoding);

#endif
