/*
 * Digests and checksums, the one door to OpenSSL's hashes, ISA-L's CRCs and xxHash. Each is a
 * stream: init, update, final. MD5 is what S3's ETag is; SHA-256 what SigV4 signs; the CRCs what
 * SDKs send. XXH3 (xxHash 0.8) guards our own extents. CRC-64/NVME: polynomial 0xad93d23594c93659,
 * reflected, init and xorout all ones (NVM Express spec; S3's CRC64NVME).
 */
#ifndef BASE_DIGEST_H
#define BASE_DIGEST_H

#include <stdint.h>

#include "base/bytes.h"

enum digest_kind {
    DIGEST_MD5,
    DIGEST_SHA1,
    DIGEST_SHA256,
    DIGEST_CRC32,
    DIGEST_CRC32C,
    DIGEST_CRC64NVME,
    DIGEST_KIND_COUNT
};

#define DIGEST_BYTES_MAX 32
size_t digest_size_bytes(enum digest_kind kind);

struct digest {
    enum digest_kind kind;
    uint64_t crc;
    uint64_t state[16]; /* a hash's running state, kept here so that hashing allocates nothing */
};

/* ERR_UNSUPPORTED for a kind that is none. A digest is finished by digest_final(), or just
 * forgotten. */
enum err digest_init(struct digest *digest, enum digest_kind kind) MUST_USE;
void digest_update(struct digest *digest, const void *data, size_t size);
/* CRCs big-endian, as S3 base64s them. */
void digest_final(struct digest *digest, uint8_t out[DIGEST_BYTES_MAX]);
void digest_fini(struct digest *digest); /* wipes the state: for hashes of secrets */

/*
 * Feeds several MD5s at once, each digest named once: 4, 8 or 16 of them take the time of one, by
 * the vectors this CPU has. One alone is fed as by digest_update(). Any sizes; in any company.
 */
struct digest_feed {
    struct digest *digest; /* DIGEST_MD5 */
    const void *data;
    size_t size;
};
void digest_update_md5s(const struct digest_feed *feeds, unsigned count);
unsigned digest_md5_lanes(void); /* how many at most; 1: there are no vectors */

/* CRC of A followed by B from the two CRCs and B's length, for full-object checksums of multipart
 * uploads. Values as numbers. */
uint64_t digest_crc_combine(enum digest_kind kind, uint64_t crc_a, uint64_t crc_b, uint64_t size_b);
uint64_t digest_crc_value(enum digest_kind kind, const uint8_t *big_endian);
void digest_crc_bytes(enum digest_kind kind, uint64_t value, uint8_t *big_endian);

void sha256(const void *data, size_t size, uint8_t out[32]);
void hmac_sha256(const void *key, size_t key_size, const void *data, size_t size, uint8_t out[32]);
/* HMAC under a key that is used often: what does not depend on the data is hashed once, and half of
 * a short text's work with it. As good as the key for whoever reads it: to be wiped likewise. */
struct hmac_key {
    uint64_t inner[14], outer[14]; /* running states */
};
void hmac_key_init(struct hmac_key *key, const void *bytes, size_t size);
void hmac_key_sha256(const struct hmac_key *key, const void *data, size_t size, uint8_t out[32]);
void md5(const void *data, size_t size, uint8_t out[16]);

uint64_t xxh3_64(const void *data, size_t size);
void xxh3_128(const void *data, size_t size, uint8_t out[16]);

/* Authenticated encryption of small secrets (AES-256-GCM): out is nonce 12, ciphertext, tag 16. */
#define SEAL_OVERHEAD_BYTES 28
/* Writes plain.size + SEAL_OVERHEAD_BYTES. */
enum err seal(const uint8_t key[32], struct bytes plain, uint8_t *out) MUST_USE;
/* ERR_CORRUPT: wrong key or bytes. */
enum err unseal(const uint8_t key[32], struct bytes sealed, uint8_t *out) MUST_USE;

#endif
