/*
 * The bucket table: every bucket of the volume in memory, sorted by name. The committer changes it
 * after a batch is durable; any thread reads.
 */
#ifndef STORAGE_BUCKETS_H
#define STORAGE_BUCKETS_H

#include "storage/kv.h"
#include "storage/object.h"

struct buckets;

enum err buckets_open(struct kv *kv, struct buckets **ret_buckets,
                      struct err_trail *trail) MUST_USE; /* reads KV_BUCKET */
void buckets_close(struct buckets *buckets);
enum err buckets_find(struct buckets *buckets, struct bytes name,
                      struct bucket_info *ret_bucket) MUST_USE;
bool buckets_has_id(struct buckets *buckets, struct bucket_id id);
size_t buckets_count(struct buckets *buckets);
/* Copies bucket i in order of name; ERR_NO_SUCH_BUCKET past the end. */
enum err buckets_at(struct buckets *buckets, size_t i, struct bucket_info *ret_bucket) MUST_USE;
enum err buckets_add(struct buckets *buckets, const struct bucket_info *bucket) MUST_USE;
void buckets_remove(struct buckets *buckets, struct bucket_id id);

#endif
