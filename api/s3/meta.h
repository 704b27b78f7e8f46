/*
 * What of a request's headers is stored with an object and told back: Content-Type and its like,
 * x-amz-meta-*, the storage class. Encoded for the store, which does not look inside (struct
 * object_info.attrs):
 *
 *     0 version (1)   then entries: 0 kind   1 le16 size of value   3 value
 *                     kind KIND_USER: 0 kind   1 size of name   2 le16 size   4 name, value
 *
 * A decoder judges: attrs come from the disk. Names of user metadata are kept as sent, without
 * "x-amz-meta-", in lower case.
 */
#ifndef API_S3_META_H
#define API_S3_META_H

#include "api/s3/error.h"
#include "api/s3/headers.h"
#include "base/limits.h"

/* Encodes what the headers hold. S3_E(MetadataTooLarge), S3_E(InvalidStorageClass), S3_E(None). A
 * missing Content-Type is stored as binary/octet-stream, as S3 does. */
enum s3_error s3_meta_encode(const struct s3_headers *headers, uint8_t out[META_BYTES_MAX],
                             size_t *ret_size);

/* Calls each() with the response header of every entry, "x-amz-meta-" in front of user metadata.
 * ERR_CORRUPT when attrs are not ours. */
typedef void s3_meta_each_fn(void *context, struct bytes name, struct bytes value);
enum err s3_meta_each(struct bytes attrs, s3_meta_each_fn *each, void *context) MUST_USE;

/* What was stored under that header, as spelt in a response; {NULL, 0}: nothing. A view into attrs.
 */
struct bytes s3_meta_find(struct bytes attrs, struct bytes header);

/* "STANDARD" unless another was asked for; views into attrs or static. */
struct bytes s3_meta_storage_class(struct bytes attrs);

/* The same attrs with another storage class: a copy may change it alone. S3_E(InvalidStorageClass),
 * S3_E(MetadataTooLarge), S3_E(None). */
enum s3_error s3_meta_with_storage_class(struct bytes attrs, struct bytes storage_class,
                                         uint8_t out[META_BYTES_MAX], size_t *ret_size);

#endif
