/*
 * How an access key is written down: the value of the setting "key/<access key id>". Integers are
 * little-endian; the id is the setting's name and not repeated in the clear.
 *
 *     0 version (1)      4 owner size            8 le64 created
 *     1 flags (1 root)   5 display name size    16 name, owner, display name, sealed,
 *     2 grants           6 secret size             then per grant: bits, bucket name size,
 *     3 name size        7 0                       bucket name
 *
 * `sealed` is AES-256-GCM under the node's key of the secret followed by the id: a sealed secret
 * moved under another id does not open as that one's, and a secret is never on the disk in clear.
 *
 * The bytes come from a disk, so decoding judges all of them: ERR_CORRUPT unless every size and
 * limit holds, nothing is left over and the seal opens; ERR_FORMAT_NEWER for a version above ours.
 */
#ifndef API_S3_KEY_RECORD_H
#define API_S3_KEY_RECORD_H

#include "api/s3/keyring.h"
#include "base/digest.h"

#define KEY_RECORD_VERSION 1u
#define KEY_RECORD_BYTES_MAX                                                                       \
    (16u + 64u + 64u + 128u + SECRET_BYTES_MAX + ACCESS_KEY_BYTES_MAX + SEAL_OVERHEAD_BYTES +      \
     KEY_GRANTS_MAX * (2u + BUCKET_NAME_BYTES_MAX))

/* The key must have passed access_key_judge(). ERR_NO_MEMORY or ERR_INTERNAL when sealing fails. */
enum err key_record_put(uint8_t out[KEY_RECORD_BYTES_MAX], const struct access_key *key,
                        const uint8_t node_key[32], size_t *ret_size) MUST_USE;
enum err key_record_get(struct bytes id, struct bytes record, const uint8_t node_key[32],
                        struct access_key *ret_key) MUST_USE;

/* Whether these are the fields of a key that can be stored and used in a signature: ERR_INVALID
 * with a sentence. */
enum err access_key_judge(const struct access_key *key, struct err_trail *trail) MUST_USE;

#endif
