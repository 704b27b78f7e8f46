/*
 * What is set for one bucket besides S3's own subresources: which data path its objects take,
 * whether that is required, when their bytes are checked (api/http/policy.h). Kept among the
 * group's settings ("bucket/<id in hex>", a line "name=value" each), all of them also in memory,
 * where a GET finds them without waiting; a node whose buckets have none pays for one load.
 *
 * They belong to the bucket's id, not to its name: a bucket that is removed and made again has
 * none.
 */
#ifndef API_S3_BUCKET_SETTINGS_H
#define API_S3_BUCKET_SETTINGS_H

#include "api/http/policy.h"
#include "replication/group.h"

/* X(field, name, values): the names are those of `sluice bucket set`. */
#define BUCKET_SETTINGS(X)                                                                         \
    X(path, "get-path", "auto|sendfile|splice|ring-splice|direct|mmap|copy")                       \
    X(require, "require-path",                                                                     \
      "none|zerocopy|inline|sendfile|splice|ring-splice|direct|mmap|copy")                         \
    X(verify, "verify", "off|cold|sample:N|always")

struct bucket_policy {
#define X(field, name, values) bool has_##field;
    BUCKET_SETTINGS(X)
#undef X
    struct path_policy policy;
};

struct bucket_settings;

/* B. Reads all, and follows what is changed through other nodes. */
enum err bucket_settings_open(struct group *group, struct bucket_settings **ret_settings,
                              struct err_trail *trail) MUST_USE;
void bucket_settings_close(struct bucket_settings *settings); /* NULL does nothing */
CLEANUP_DEFINE(bucket_settings_close, struct bucket_settings *)

/* B. Removes settings of buckets that are gone: once after a start. */
enum err bucket_settings_tidy(struct bucket_settings *settings, struct err_trail *trail) MUST_USE;

/* Any thread, does not block on the disk. False: nothing is set for the bucket. */
bool bucket_settings_find(struct bucket_settings *settings, struct bucket_id bucket,
                          struct bucket_policy *ret_policy);
/* What the bucket says, over what holds without it. */
void bucket_policy_apply(const struct bucket_policy *bucket, struct path_policy *policy);

/* Pure: one setting by name; "default" takes it back. ERR_INVALID with a sentence. */
enum err bucket_policy_set(struct bucket_policy *policy, struct bytes name, struct bytes value,
                           struct err_trail *trail) MUST_USE;
/* Writes the value of a setting, or "default". */
void bucket_policy_print(const struct bucket_policy *policy, const char *name, struct buf *out);
/*
 * B. Reads what is stored, lets change() change it, stores it durably unless somebody else was
 * faster (then it begins anew with what is there now), and shows it to bucket_settings_find(). A
 * bucket without settings has no record. What change() says ends it, with nothing stored.
 * ERR_PRECONDITION: others changed it each of BUCKET_CHANGE_TRIES_MAX times.
 */
/* People and scripts change settings: a second try is rare already. */
#define BUCKET_CHANGE_TRIES_MAX 8u
typedef enum err bucket_change_fn(void *context, struct bucket_policy *policy,
                                  struct err_trail *trail);
enum err bucket_settings_change(struct bucket_settings *settings, struct bucket_id bucket,
                                bucket_change_fn *change, void *context,
                                struct bucket_policy *ret_policy, struct err_trail *trail) MUST_USE;

#endif
