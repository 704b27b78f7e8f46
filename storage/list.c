/*
 * Listing: a walk over the object family from the first key that can matter. With a delimiter, keys
 * below a common prefix are passed by: a few steps first, because a small group is left behind
 * faster than sought past, then one seek to the prefix's successor. So a page costs what it shows,
 * however much stands below its prefixes. A seek costs some ten steps: where groups turn out to be
 * large, fewer are tried.
 */
#include "storage/keys.h"
#include "storage/records.h"
#include "storage/volume_priv.h"

#define STEPS_MAX 8u
#define STEPS_MIN 1u

struct listing {
    const struct list_query *query;
    const struct kv_ops *ops;
    struct kv_iter *iter; /* owned */
    struct kv_key lower, upper;
    struct list_result *result;
    unsigned steps; /* to be tried before a seek */
    enum err err;
};

/* The common prefix a name belongs under: empty when it is listed itself. */
static struct bytes group_of(const struct list_query *query, struct bytes name)
{
    if (query->delimiter.size == 0)
        return (struct bytes){0};
    size_t at = bytes_find(name, query->prefix.size, query->delimiter);
    return at == SIZE_MAX ? (struct bytes){0} : bytes_slice(name, 0, at + query->delimiter.size);
}

static bool name_here(struct listing *listing, struct bytes *ret_name)
{
    if (listing->err)
        return false;
    if (!listing->ops->iter_valid(listing->iter)) {
        listing->err = listing->ops->iter_err(listing->iter);
        return false;
    }
    struct bucket_id bucket;
    listing->err = key_object_parse(listing->ops->iter_key(listing->iter), &bucket, ret_name);
    return listing->err == ERR_OK;
}

/* Onto the first name that neither is nor begins with `group`. */
static void pass_group(struct listing *listing, struct bytes group)
{
    struct bytes name;
    for (unsigned i = 0; i <= listing->steps; i++) {
        if (!name_here(listing, &name) || !bytes_start_with(name, group)) {
            listing->steps = STEPS_MAX;
            return;
        }
        if (i < listing->steps)
            listing->ops->iter_next(listing->iter);
    }
    listing->steps = listing->steps / 2 > STEPS_MIN ? listing->steps / 2 : STEPS_MIN;
    struct kv_key beyond;
    key_object(&beyond, listing->query->bucket, group);
    key_successor(&beyond);
    if (beyond.size > 0 && bytes_compare(key_bytes(&beyond), key_bytes(&listing->upper)) < 0)
        listing->ops->iter_seek(listing->iter, key_bytes(&beyond));
    else
        listing->ops->iter_seek(listing->iter, key_bytes(&listing->upper)); /* past the end */
}

/* Where the page begins: behind `after`, and behind everything below it when it is a common prefix.
 */
static void start(struct listing *listing)
{
    const struct list_query *query = listing->query;
    bool is_within = bytes_compare(query->after, query->prefix) >= 0 && query->after.size > 0;
    struct kv_key first;
    key_object(&first, query->bucket, is_within ? query->after : query->prefix);
    listing->ops->iter_seek(listing->iter, key_bytes(&first));
    struct bytes name;
    if (!is_within || !name_here(listing, &name))
        return;
    if (bytes_start_with(query->after, query->prefix) &&
        bytes_equal(group_of(query, query->after), query->after))
        pass_group(listing, query->after);
    else if (bytes_equal(name, query->after))
        listing->ops->iter_next(listing->iter);
}

static void remember_last(struct list_result *result, struct bytes key)
{
    memcpy(result->last, key.data, key.size);
    result->last_size = (uint32_t)key.size;
}

/* Gives out what stands here and moves past it. */
static void give(struct listing *listing, struct bytes name, list_each_fn *each, void *context)
{
    struct bytes group = group_of(listing->query, name);
    struct list_entry entry = {.is_prefix = group.size > 0, .key = group.size > 0 ? group : name};
    if (!entry.is_prefix) {
        struct object_record record;
        listing->err = record_object_get(listing->ops->iter_value(listing->iter), &record);
        entry.info = record.info;
    }
    if (listing->err == ERR_OK)
        listing->err = each(context, &entry);
    if (listing->err)
        return;
    remember_last(listing->result, entry.key);
    listing->result->count++;
    /* The name goes with the step. */
    if (entry.is_prefix)
        pass_group(listing, bytes_of(listing->result->last, listing->result->last_size));
    else
        listing->ops->iter_next(listing->iter);
}

static enum err open_listing(struct volume *volume, const struct list_query *query,
                             struct listing *listing)
{
    key_object(&listing->lower, query->bucket, query->prefix);
    listing->upper = listing->lower;
    key_successor(&listing->upper);
    struct kv_iter_options options = {
        .family = KV_OBJECT,
        .lower = key_bytes(&listing->lower),
        .upper = key_bytes(&listing->upper),
    };
    listing->query = query;
    listing->ops = volume->kv->ops;
    return volume->kv->ops->iter_open(volume->kv, &options, &listing->iter);
}

enum err volume_list(struct volume *volume, const struct list_query *query, list_each_fn *each,
                     void *context, struct list_result *ret_result)
{
    ret_result->count = 0;
    ret_result->truncated = false;
    ret_result->last_size = 0;
    if (query->max == 0 || query->prefix.size > KEY_BYTES_MAX)
        return ERR_OK; /* no key is that long */
    if (query->after.size > KEY_BYTES_MAX)
        return ERR_INVALID;
    enum err e = volume__index_usable(volume);
    if (e)
        return e;
    struct listing listing = {.result = ret_result, .steps = STEPS_MAX};
    e = open_listing(volume, query, &listing);
    if (e)
        return e;
    struct bytes name;
    for (start(&listing); name_here(&listing, &name); give(&listing, name, each, context)) {
        if (ret_result->count == query->max) {
            ret_result->truncated = true;
            break;
        }
    }
    listing.ops->iter_close(listing.iter);
    return listing.err;
}
