/*
 * Access keys: who may sign requests and for whom they act. Kept among the group's settings
 * ("key/<access key id>"), so they are ordered and replicated like everything else; all of them
 * also in memory, where the S3 port finds them without waiting.
 *
 * A key acts for an owner, S3's canonical user: several keys may share one. A bucket belongs to the
 * owner that created it and only that owner's keys may use it, besides root keys, which may do
 * everything. A key can be narrowed to grants: then it may do only what one of them allows on the
 * bucket named.
 *
 * Secrets are sealed (AES-256-GCM) under the node's key file before they are stored, never logged,
 * and shown once by whoever made them.
 */
#ifndef API_S3_KEYRING_H
#define API_S3_KEYRING_H

#include "replication/group.h"

#define ACCESS_KEY_BYTES_MIN 3u
#define ACCESS_KEY_BYTES_MAX 128u
#define SECRET_BYTES_MIN     8u
#define SECRET_BYTES_MAX     128u
#define KEY_GRANTS_MAX       16u
#define KEYS_MAX             100000u /* 50 MB in memory */

enum grant_bits {
    GRANT_READ = 1,
    GRANT_WRITE = 2,
    GRANT_OWN = 4 /* create and delete the bucket, change its settings */
};

struct key_grant {
    char bucket[BUCKET_NAME_BYTES_MAX + 1];
    uint8_t bits;
};

struct access_key {
    char id[ACCESS_KEY_BYTES_MAX + 1];
    char secret[SECRET_BYTES_MAX + 1];
    char name[65];  /* for people: "backup" */
    char owner[65]; /* canonical user id */
    char display_name[129];
    bool is_root;
    uint64_t created_ns;
    uint8_t grant_count; /* 0: everything its owner may */
    struct key_grant grants[KEY_GRANTS_MAX];
};

struct keyring;

struct keyring_options {
    struct group *group; /* borrowed */
    struct clock *clock;
    struct rand *rand; /* fit for secrets */
    /* 32 bytes, borrowed for the call; of a cluster, the same on all its nodes. */
    const uint8_t *node_key;
};
/* B. Reads all keys, and follows what is changed through other nodes. ERR_CORRUPT when one cannot
 * be unsealed (wrong key file), with a sentence. */
enum err keyring_open(const struct keyring_options *options, struct keyring **ret_keyring,
                      struct err_trail *trail) MUST_USE;
void keyring_close(struct keyring *keyring);
size_t keyring_count(struct keyring *keyring);

/* Copies the key out, of its grants as many as there are; any thread, does not block on the disk.
 * ERR_NO_SUCH_KEY_ID. */
enum err keyring_find(struct keyring *keyring, struct bytes id,
                      struct access_key *ret_key) MUST_USE;
/* Copies key i in order of id, secret blanked; ERR_NO_SUCH_KEY_ID past the end. */
enum err keyring_at(struct keyring *keyring, size_t i, struct access_key *ret_key) MUST_USE;

/* Draws what a draft leaves empty of id, secret and owner, as keyring_create() does. */
void access_key_draw(struct rand *rand, struct access_key *key);
/* B. Makes a key from a draft: empty id and secret are drawn (20 upper-case alphanumerics beginning
 * with SLUI; 40 base64-like), an empty owner gets one drawn (64 hex), an empty created_ns is now.
 * ERR_KEY_ID_EXISTS, ERR_INVALID with a sentence. ret_key: with the secret. */
enum err keyring_create(struct keyring *keyring, const struct access_key *draft,
                        struct access_key *ret_key, struct err_trail *trail) MUST_USE;
/* B. The last root key stays: ERR_INVALID. */
enum err keyring_remove(struct keyring *keyring, struct bytes id, struct err_trail *trail) MUST_USE;

/* Whether the key may do `bits` on a bucket of that owner. Pure. */
bool access_key_may(const struct access_key *key, const struct bucket_info *bucket, uint8_t bits);

#endif
