/*
 * Looked-up objects kept ready, so that a hot GET does not ask the index: a hash of (bucket, key)
 * to struct object in shards, bounded in bytes, second-chance eviction. A struct object is
 * immutable and counted; the cache holds one reference.
 *
 * Two rules keep readers right under changes, without a lock around index reads:
 *  - A reader that missed notes the shard's `turn`, reads the index, makes an object (which pins
 *    its data), and asks cache_insert(). If a change to that shard was published in between, the
 *    insert fails and the reader looks again. So an old record is never cached, and data that was
 *    released before it was pinned is never read.
 *  - The committer calls cache_forget() after the synced write and before it hands released extents
 *    to reclaim, which waits for pins.
 */
#ifndef STORAGE_CACHE_H
#define STORAGE_CACHE_H

#include "storage/volume.h"

struct cache;

enum err cache_open(uint64_t size_bytes, struct cache **ret_cache) MUST_USE;
void cache_close(struct cache *cache);
/* A reference for the caller, or NULL. */
struct object *cache_find(struct cache *cache, struct bucket_id bucket, struct bytes key);
uint64_t cache_turn(struct cache *cache, struct bucket_id bucket, struct bytes key);
/* True: `object` is valid (and cached, the cache taking a reference of its own, unless it is too
 * big to keep). False: drop it and look up again. */
bool cache_insert(struct cache *cache, struct bucket_id bucket, struct bytes key, uint64_t turn,
                  struct object *object);
void cache_forget(struct cache *cache, struct bucket_id bucket, struct bytes key);
void cache_stats(struct cache *cache, uint64_t *ret_objects, uint64_t *ret_bytes);

#endif
