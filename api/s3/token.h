/*
 * Continuation tokens of ListObjectsV2 and of ListBuckets: where the next page begins, opaque to
 * clients and safe against being made up by accident. A token names the last key given out and
 * nothing else, so it survives inserts, deletes and restarts.
 *
 * base64url without padding of: u8 version (1), the name's bytes, u32 little-endian of XXH3-64 over
 * what is before.
 */
#ifndef API_S3_TOKEN_H
#define API_S3_TOKEN_H

#include "base/bytes.h"
#include "base/limits.h"

#define TOKEN_TEXT_BYTES ((1 + KEY_BYTES_MAX + 4) * 4 / 3 + 4)

/* At most KEY_BYTES_MAX. */
struct bytes s3_token_make(struct bytes name, char out[TOKEN_TEXT_BYTES]);
/* ERR_BAD_SYNTAX. */
enum err s3_token_read(struct bytes token, char out[KEY_BYTES_MAX], size_t *ret_size) MUST_USE;

#endif
