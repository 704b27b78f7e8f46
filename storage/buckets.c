#include "storage/buckets.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/check.h"
#include "storage/records.h"

struct buckets {
    pthread_rwlock_t lock;
    struct bucket_info **by_name; /* owned, and what it points to */
    struct bucket_info **by_id;   /* owned; the same buckets */
    size_t count, capacity;
};

/* ---- searching, below the lock ---- */

static size_t lower_name(const struct buckets *buckets, struct bytes name)
{
    size_t low = 0, high = buckets->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (bytes_compare(bytes_of_string(buckets->by_name[middle]->name), name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static size_t lower_id(const struct buckets *buckets, struct bucket_id id)
{
    size_t low = 0, high = buckets->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (buckets->by_id[middle]->id.value < id.value)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool name_is_at(const struct buckets *buckets, size_t at, struct bytes name)
{
    return at < buckets->count && bytes_equal(bytes_of_string(buckets->by_name[at]->name), name);
}

static bool id_is_at(const struct buckets *buckets, size_t at, struct bucket_id id)
{
    return at < buckets->count && buckets->by_id[at]->id.value == id.value;
}

/* ---- changes ---- */

static enum err make_room(struct buckets *buckets)
{
    if (buckets->count < buckets->capacity)
        return ERR_OK;
    size_t capacity = buckets->capacity < 16 ? 16 : buckets->capacity * 2;
    struct bucket_info **by_name = realloc(buckets->by_name, capacity * sizeof *by_name);
    if (by_name == NULL)
        return ERR_NO_MEMORY;
    buckets->by_name = by_name;
    struct bucket_info **by_id = realloc(buckets->by_id, capacity * sizeof *by_id);
    if (by_id == NULL)
        return ERR_NO_MEMORY;
    buckets->by_id = by_id;
    buckets->capacity = capacity;
    return ERR_OK;
}

static void insert(struct bucket_info **array, size_t count, size_t at, struct bucket_info *bucket)
{
    memmove(&array[at + 1], &array[at], (count - at) * sizeof(struct bucket_info *));
    array[at] = bucket;
}

static enum err add(struct buckets *buckets, const struct bucket_info *bucket)
{
    size_t by_name = lower_name(buckets, bytes_of_string(bucket->name)),
           by_id = lower_id(buckets, bucket->id);
    if (name_is_at(buckets, by_name, bytes_of_string(bucket->name)) ||
        id_is_at(buckets, by_id, bucket->id))
        return ERR_CORRUPT; /* two of a name or a number: the index contradicts itself */
    enum err e = make_room(buckets);
    if (e)
        return e;
    struct bucket_info *copy = malloc(sizeof *copy);
    if (copy == NULL)
        return ERR_NO_MEMORY;
    *copy = *bucket;
    insert(buckets->by_name, buckets->count, by_name, copy);
    insert(buckets->by_id, buckets->count, by_id, copy);
    buckets->count++;
    return ERR_OK;
}

enum err buckets_add(struct buckets *buckets, const struct bucket_info *bucket)
{
    pthread_rwlock_wrlock(&buckets->lock);
    enum err e = add(buckets, bucket);
    pthread_rwlock_unlock(&buckets->lock);
    return e;
}

void buckets_remove(struct buckets *buckets, struct bucket_id id)
{
    pthread_rwlock_wrlock(&buckets->lock);
    size_t by_id = lower_id(buckets, id);
    if (id_is_at(buckets, by_id, id)) {
        struct bucket_info *bucket = buckets->by_id[by_id];
        size_t by_name = lower_name(buckets, bytes_of_string(bucket->name));
        CHECK(name_is_at(buckets, by_name, bytes_of_string(bucket->name)));
        buckets->count--;
        memmove(&buckets->by_id[by_id], &buckets->by_id[by_id + 1],
                (buckets->count - by_id) * sizeof(struct bucket_info *));
        memmove(&buckets->by_name[by_name], &buckets->by_name[by_name + 1],
                (buckets->count - by_name) * sizeof(struct bucket_info *));
        free(bucket);
    }
    pthread_rwlock_unlock(&buckets->lock);
}

/* ---- opening ---- */

static enum err load(struct buckets *buckets, struct kv *kv, struct err_trail *trail)
{
    struct kv_iter *iter;
    struct kv_iter_options options = {.family = KV_BUCKET};
    enum err e = kv->ops->iter_open(kv, &options, &iter);
    if (e)
        return e;
    for (kv->ops->iter_seek(iter, (struct bytes){0}); e == ERR_OK && kv->ops->iter_valid(iter);
         kv->ops->iter_next(iter)) {
        struct bytes name = kv->ops->iter_key(iter);
        struct bucket_info bucket;
        e = record_bucket_get(name, kv->ops->iter_value(iter), &bucket);
        if (e == ERR_OK)
            e = add(buckets, &bucket);
        if (e)
            (void)err_note(trail, e, "bucket %.*s", (int)(name.size < 64 ? name.size : 64),
                           name.data);
    }
    if (e == ERR_OK)
        e = kv->ops->iter_err(iter);
    kv->ops->iter_close(iter);
    return e;
}

enum err buckets_open(struct kv *kv, struct buckets **ret_buckets, struct err_trail *trail)
{
    struct buckets *buckets = calloc(1, sizeof *buckets);
    if (buckets == NULL)
        return err_note(trail, ERR_NO_MEMORY, "read the buckets");
    pthread_rwlock_init(&buckets->lock, NULL);
    enum err e = load(buckets, kv, trail);
    if (e) {
        buckets_close(buckets);
        return err_note(trail, e, "read the buckets");
    }
    *ret_buckets = buckets;
    return ERR_OK;
}

void buckets_close(struct buckets *buckets)
{
    if (buckets == NULL)
        return;
    for (size_t i = 0; i < buckets->count; i++)
        free(buckets->by_name[i]);
    free(buckets->by_name);
    free(buckets->by_id);
    pthread_rwlock_destroy(&buckets->lock);
    free(buckets);
}

/* ---- looking ---- */

enum err buckets_find(struct buckets *buckets, struct bytes name, struct bucket_info *ret_bucket)
{
    pthread_rwlock_rdlock(&buckets->lock);
    size_t at = lower_name(buckets, name);
    bool found = name_is_at(buckets, at, name);
    if (found)
        *ret_bucket = *buckets->by_name[at];
    pthread_rwlock_unlock(&buckets->lock);
    return found ? ERR_OK : ERR_NO_SUCH_BUCKET;
}

bool buckets_has_id(struct buckets *buckets, struct bucket_id id)
{
    pthread_rwlock_rdlock(&buckets->lock);
    bool found = id_is_at(buckets, lower_id(buckets, id), id);
    pthread_rwlock_unlock(&buckets->lock);
    return found;
}

size_t buckets_count(struct buckets *buckets)
{
    pthread_rwlock_rdlock(&buckets->lock);
    size_t count = buckets->count;
    pthread_rwlock_unlock(&buckets->lock);
    return count;
}

enum err buckets_at(struct buckets *buckets, size_t i, struct bucket_info *ret_bucket)
{
    pthread_rwlock_rdlock(&buckets->lock);
    bool found = i < buckets->count;
    if (found)
        *ret_bucket = *buckets->by_name[i];
    pthread_rwlock_unlock(&buckets->lock);
    return found ? ERR_OK : ERR_NO_SUCH_BUCKET;
}
