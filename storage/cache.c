#include "storage/cache.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/limits.h"
#include "storage/object_priv.h"

#define CACHE_MAGIC 0x63616368u
#define SHARDS_MAX  64u
/* Nothing above this part of a shard is kept: one big object must not push out a thousand. */
#define KEPT_FRACTION 16u
/* So that an object of 5,000 pieces is still worth keeping: half a MiB, a sixteenth of this. */
#define SHARD_BYTES MIB(8)
/* About a small object's size: one to a chain when full. */
#define BYTES_PER_CHAIN 512u

struct shard {
    pthread_mutex_t lock;
    uint64_t turn;          /* atomic; changed under the lock */
    struct object **chains; /* owned */
    struct list ring;       /* the hand stands before its first */
    size_t objects;
    uint64_t bytes;
} __attribute__((aligned(64)));

struct cache {
    uint32_t magic;
    uint32_t shard_count; /* a power of two */
    uint32_t chain_count; /* of a shard; a power of two */
    uint64_t shard_bytes;
    struct shard *shards; /* owned */
};

static uint32_t power_of_two_below(uint64_t value, uint32_t max)
{
    uint32_t power = 1;
    while (power < max && (uint64_t)power * 2 <= value)
        power *= 2;
    return power;
}

enum err cache_open(uint64_t size_bytes, struct cache **ret_cache)
{
    struct cache *cache = calloc(1, sizeof *cache);
    if (cache == NULL)
        return ERR_NO_MEMORY;
    cache->magic = CACHE_MAGIC;
    cache->shard_count = power_of_two_below(size_bytes / SHARD_BYTES, SHARDS_MAX);
    cache->shard_bytes = size_bytes / cache->shard_count;
    cache->chain_count = power_of_two_below(cache->shard_bytes / BYTES_PER_CHAIN, 1u << 24);
    cache->shards = aligned_alloc(64, cache->shard_count * sizeof *cache->shards);
    if (cache->shards == NULL) {
        free(cache);
        return ERR_NO_MEMORY;
    }
    memset(cache->shards, 0, cache->shard_count * sizeof *cache->shards);
    bool is_complete = true;
    for (uint32_t i = 0; i < cache->shard_count; i++) {
        struct shard *shard = &cache->shards[i];
        pthread_mutex_init(&shard->lock, NULL);
        list_init(&shard->ring);
        shard->chains = calloc(cache->chain_count, sizeof(struct object *));
        is_complete = is_complete && shard->chains != NULL;
    }
    if (!is_complete) {
        cache_close(cache);
        return ERR_NO_MEMORY;
    }
    *ret_cache = cache;
    return ERR_OK;
}

void cache_close(struct cache *cache)
{
    if (cache == NULL)
        return;
    CHECK_MAGIC(cache, CACHE_MAGIC);
    for (uint32_t i = 0; i < cache->shard_count; i++) {
        struct shard *shard = &cache->shards[i];
        struct list *node;
        while ((node = list_pop_front(&shard->ring)) != NULL)
            object_put(LIST_ENTRY(node, struct object, ring));
        free(shard->chains);
        pthread_mutex_destroy(&shard->lock);
    }
    free(cache->shards);
    cache->magic = 0;
    free(cache);
}

/* ---- within a shard, below its lock ---- */

static struct shard *shard_of(const struct cache *cache, uint64_t hash)
{
    return &cache->shards[(hash >> 40) & (cache->shard_count - 1)];
}

static bool is_named(const struct object *object, uint64_t hash, struct bucket_id bucket,
                     struct bytes key)
{
    return object->name_hash == hash && object->bucket.value == bucket.value &&
           bytes_equal(bytes_of(object->key, object->key_size), key);
}

/* The pointer that points to the object of that name, or to NULL at the chain's end. */
static struct object **find(const struct cache *cache, struct shard *shard, uint64_t hash,
                            struct bucket_id bucket, struct bytes key)
{
    struct object **link = &shard->chains[hash & (cache->chain_count - 1)];
    while (*link != NULL && !is_named(*link, hash, bucket, key))
        link = &(*link)->chain;
    return link;
}

/* Takes the object out; the cache's reference becomes the caller's, to be put without the lock. */
static struct object *unlink_object(struct shard *shard, struct object **link)
{
    struct object *object = *link;
    *link = object->chain;
    object->chain = NULL;
    list_remove(&object->ring);
    shard->objects--;
    shard->bytes -= object->memory_bytes;
    return object;
}

/* Second chance: whoever was read since the hand last came by goes round once more. Returns what
 * was put out, chained. */
static struct object *make_room(const struct cache *cache, struct shard *shard, size_t bytes)
{
    struct object *out = NULL;
    while (shard->bytes + bytes > cache->shard_bytes) {
        struct list *node = list_first(&shard->ring);
        CHECK(node != NULL);
        struct object *object = LIST_ENTRY(node, struct object, ring);
        if (object->touched) {
            object->touched = false;
            list_remove(node);
            list_push_back(&shard->ring, node);
            continue;
        }
        struct object **link = &shard->chains[object->name_hash & (cache->chain_count - 1)];
        while (*link != object)
            link = &(*link)->chain;
        object = unlink_object(shard, link);
        object->chain = out;
        out = object;
    }
    return out;
}

static void put_chain(struct object *object)
{
    while (object != NULL) {
        struct object *next = object->chain;
        object->chain = NULL;
        object_put(object);
        object = next;
    }
}

/* ---- for readers and the committer ---- */

struct object *cache_find(struct cache *cache, struct bucket_id bucket, struct bytes key)
{
    uint64_t hash = object__hash_name(bucket, key);
    struct shard *shard = shard_of(cache, hash);
    pthread_mutex_lock(&shard->lock);
    struct object *object = *find(cache, shard, hash, bucket, key);
    if (object != NULL) {
        object->touched = true;
        (void)object_get(object);
    }
    pthread_mutex_unlock(&shard->lock);
    return object;
}

uint64_t cache_turn(struct cache *cache, struct bucket_id bucket, struct bytes key)
{
    struct shard *shard = shard_of(cache, object__hash_name(bucket, key));
    return __atomic_load_n(&shard->turn, __ATOMIC_ACQUIRE);
}

bool cache_insert(struct cache *cache, struct bucket_id bucket, struct bytes key, uint64_t turn,
                  struct object *object)
{
    uint64_t hash = object->name_hash;
    CHECK(is_named(object, object__hash_name(bucket, key), bucket, key));
    struct shard *shard = shard_of(cache, hash);
    struct object *out = NULL;
    pthread_mutex_lock(&shard->lock);
    bool is_valid = __atomic_load_n(&shard->turn, __ATOMIC_RELAXED) == turn;
    /* Another reader was first: his is as good. */
    bool is_kept = is_valid && object->memory_bytes <= cache->shard_bytes / KEPT_FRACTION &&
                   *find(cache, shard, hash, bucket, key) == NULL;
    if (is_kept) {
        out = make_room(cache, shard, object->memory_bytes);
        struct object **chain = &shard->chains[hash & (cache->chain_count - 1)];
        object->chain = *chain;
        *chain = object_get(object);
        object->touched = false;
        list_push_back(&shard->ring, &object->ring);
        shard->objects++;
        shard->bytes += object->memory_bytes;
    }
    pthread_mutex_unlock(&shard->lock);
    put_chain(out);
    return is_valid;
}

void cache_forget(struct cache *cache, struct bucket_id bucket, struct bytes key)
{
    uint64_t hash = object__hash_name(bucket, key);
    struct shard *shard = shard_of(cache, hash);
    pthread_mutex_lock(&shard->lock);
    __atomic_store_n(&shard->turn, shard->turn + 1, __ATOMIC_RELEASE);
    struct object **link = find(cache, shard, hash, bucket, key);
    struct object *object = *link != NULL ? unlink_object(shard, link) : NULL;
    pthread_mutex_unlock(&shard->lock);
    object_put(object);
}

void cache_stats(struct cache *cache, uint64_t *ret_objects, uint64_t *ret_bytes)
{
    *ret_objects = *ret_bytes = 0;
    for (uint32_t i = 0; i < cache->shard_count; i++) {
        struct shard *shard = &cache->shards[i];
        pthread_mutex_lock(&shard->lock);
        *ret_objects += shard->objects;
        *ret_bytes += shard->bytes;
        pthread_mutex_unlock(&shard->lock);
    }
}
